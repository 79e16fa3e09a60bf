/*-------------------------------------------------------------------------
 *
 * capture_heartbeat.h
 *	  What a capture does by the clock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_HEARTBEAT_H
#define EVENTLOG_CAPTURE_HEARTBEAT_H

#include "capture.h"
#include "capture_encoder.h"

/*
 * Do what is due: heartbeat.interval.ms, heartbeat.action.query,
 * xmin.fetch.interval.ms.  Outside of transactions.  Returns for how many ms
 * there is nothing to do.
 */
extern int64 eventlog_capture_heartbeat(const EventlogCapture *capture, EventlogEncoder *encoder);

#endif							/* EVENTLOG_CAPTURE_HEARTBEAT_H */
