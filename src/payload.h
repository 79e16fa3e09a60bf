/*-------------------------------------------------------------------------
 *
 * payload.h
 *	  Between SQL values and the bytes that a record carries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_PAYLOAD_H
#define EVENTLOG_PAYLOAD_H

#include "batch.h"
#include "topic.h"

/* Milliseconds since 1970, Kafka's timestamps. */
#define EVENTLOG_EPOCH_MS \
	(((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * SECS_PER_DAY * 1000)

/* Floor a timestamptz to milliseconds since 1970; infinity is an error. */
extern int64 eventlog_timestamp_to_ms(TimestampTz timestamp);

/* Errors: ERRCODE_DATETIME_VALUE_OUT_OF_RANGE for what SQL cannot show. */
extern TimestampTz eventlog_ms_to_timestamp(int64 ms);

/*
 * The bytes of a value whose type is the column's own.  They point into the
 * datum or into palloc'd memory.
 */
extern void eventlog_payload_from_column(EventlogPayloadType type, Datum value,
										 const char **bytes, int32 *len);

/*
 * The bytes of a value of any type for a column of this type: as is for
 * bytea; by its output function for text; parsed text or to_jsonb for json.
 * Errors: invalid JSON, invalid UTF-8, null bytes in text.
 */
extern void eventlog_payload_from_any(EventlogPayloadType type, Datum value, Oid value_type,
									  const char *what, const char **bytes, int32 *len);

/*
 * Raise unless bytes that came from elsewhere are right for a column of this
 * type.  len -1: null, which is.
 */
extern void eventlog_payload_check(EventlogPayloadType type, const char *bytes, int32 len,
								   const char *what);

/* A datum of the column's type from a record's bytes; palloc'd. */
extern Datum eventlog_payload_to_datum(EventlogPayloadType type, const char *bytes, int32 len);

/* Encode an eventlog.header[] for a record; appends to buf, returns the count. */
extern int32 eventlog_payload_encode_headers(Datum headers, EventlogBuf *buf);

/* An eventlog.header[] from a record's headers; array_type is its type. */
extern Datum eventlog_payload_decode_headers(const EventlogRecord *rec, Oid array_type);

#endif							/* EVENTLOG_PAYLOAD_H */
