/*-------------------------------------------------------------------------
 *
 * capture_letter.h
 *	  Captured rows that could not be encoded.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_LETTER_H
#define EVENTLOG_CAPTURE_LETTER_H

#include "capture_encoder.h"

/*
 * Give the sink a record for a row with an error.  op: 'I', 'U', 'D' or 'T'; row
 * may be NULL; key: the row's, as JSON, or NULL.  Headers are named as those of
 * Kafka Connect's dead-letter queues.
 */
extern void eventlog_capture_letter(EventlogCaptureSink *sink, EventlogCaptureTopic *topic,
									const EventlogRelationDesc *desc, char op,
									const EventlogSource *source,
									const EventlogColumnValue *row,
									const EventlogBuf *key, const char *message);

#endif							/* EVENTLOG_CAPTURE_LETTER_H */
