/*-------------------------------------------------------------------------
 *
 * capture_chunk.h
 *	  Reading tables of incremental snapshots, a chunk at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_CHUNK_H
#define EVENTLOG_CAPTURE_CHUNK_H

#include "capture.h"
#include "capture_encoder.h"
#include "capture_incremental_state.h"
#include "capture_window.h"

extern void eventlog_chunk_init(EventlogCapture *capture, EventlogEncoder *encoder,
								EventlogIncrementalState *state);

/*
 * Read the next rows of the first table of the state that has some left, in a
 * transaction of its own under REPEATABLE READ.  Tables that have none are done
 * with.  NULL if there is nothing left, or, with *locked, if the table was
 * locked for too long.  *relid is the table; the encoder knows it.
 */
extern EventlogWindow *eventlog_chunk_read(Oid *relid, bool *locked);

#endif							/* EVENTLOG_CAPTURE_CHUNK_H */
