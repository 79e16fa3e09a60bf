/*-------------------------------------------------------------------------
 *
 * capture_sink.h
 *	  The encoder's records, into topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_SINK_H
#define EVENTLOG_CAPTURE_SINK_H

#include "capture.h"
#include "capture_encoder.h"

/* The appender's sink; topics that are missing are created. */
extern EventlogCaptureSink *eventlog_capture_sink(const EventlogCapture *capture);

/* A transaction begins: topics may have changed. */
extern void eventlog_capture_sink_begin(void);

/* A subtransaction was rolled back: topics that it made are gone. */
extern void eventlog_capture_sink_forget(void);

/* Records taken since then, and their bytes. */
extern uint64 eventlog_capture_sink_records(void);
extern uint64 eventlog_capture_sink_bytes(void);

#endif							/* EVENTLOG_CAPTURE_SINK_H */
