/*-------------------------------------------------------------------------
 *
 * capture_snapshot.h
 *	  The rows that captured tables have already.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_SNAPSHOT_H
#define EVENTLOG_CAPTURE_SNAPSHOT_H

#include "capture.h"
#include "capture_encoder.h"

/*
 * Read all tables of the publication under the transaction's snapshot and hand
 * their rows to the encoder, which gives them to the sink.  start_lsn is the
 * slot's position, which the snapshot belongs to.
 */
extern void eventlog_capture_snapshot(EventlogCapture *capture, EventlogCaptureSink *sink,
									  EventlogEncoder *encoder, XLogRecPtr start_lsn);

#endif							/* EVENTLOG_CAPTURE_SNAPSHOT_H */
