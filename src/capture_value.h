/*-------------------------------------------------------------------------
 *
 * capture_value.h
 *	  Column values of captured rows as JSON.
 *
 * Input is what a type's output function prints (DateStyle ISO, IntervalStyle
 * postgres, extra_float_digits 3, bytea_output hex, UTF-8; timestamptz in
 * whatever time zone its offset says); output is what Kafka Connect's
 * JsonConverter writes for Debezium's representation of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_VALUE_H
#define EVENTLOG_CAPTURE_VALUE_H

#include "batch.h"
#include "capture_desc.h"

typedef enum EventlogDecimalMode
{
	EVENTLOG_DECIMAL_EXACT,		/* ours: text, with all digits */
	EVENTLOG_DECIMAL_PRECISE,
	EVENTLOG_DECIMAL_STRING,
	EVENTLOG_DECIMAL_DOUBLE
} EventlogDecimalMode;

typedef enum EventlogTimeMode
{
	EVENTLOG_TIME_ADAPTIVE,
	EVENTLOG_TIME_ADAPTIVE_MICROSECONDS,	/* adaptive_time_microseconds */
	EVENTLOG_TIME_CONNECT,
	EVENTLOG_TIME_ISOSTRING,
	EVENTLOG_TIME_MICROSECONDS,
	EVENTLOG_TIME_NANOSECONDS
} EventlogTimeMode;

typedef enum EventlogBinaryMode
{
	EVENTLOG_BINARY_BYTES,
	EVENTLOG_BINARY_BASE64,
	EVENTLOG_BINARY_BASE64_URL_SAFE,
	EVENTLOG_BINARY_HEX
} EventlogBinaryMode;

typedef enum EventlogIntervalMode
{
	EVENTLOG_INTERVAL_NUMERIC,
	EVENTLOG_INTERVAL_STRING
} EventlogIntervalMode;

typedef enum EventlogHstoreMode
{
	EVENTLOG_HSTORE_JSON,
	EVENTLOG_HSTORE_MAP
} EventlogHstoreMode;

typedef struct EventlogValueModes
{
	bool		compatible;		/* "compatibility": "debezium": its flaws, too */
	EventlogDecimalMode decimal;
	bool		decimal_numeric;	/* JsonConverter's decimal.format=NUMERIC */
	EventlogTimeMode time;
	EventlogBinaryMode binary;
	EventlogIntervalMode interval;
	EventlogHstoreMode hstore;
	bool		include_unknown;	/* include.unknown.datatypes */
	bool		null_is_default;	/* JsonConverter's replace.null.with.default */
	const char *placeholder;	/* unavailable.value.placeholder */
} EventlogValueModes;

/* How one column is written; allocated in the context of its making. */
typedef struct EventlogValuePlan EventlogValuePlan;

/*
 * The plan for a column, or NULL if the column is left out: in compatible mode
 * some types are, as Debezium does.  modes must outlive it.
 */
extern EventlogValuePlan *eventlog_value_plan(const EventlogColumnDesc *column,
											  const EventlogValueModes *modes);

/*
 * Append a value's JSON.  The text need not end in a null byte.  Raises
 * ERRCODE_DATA_EXCEPTION for text that the type cannot have printed.
 */
extern void eventlog_value_write(EventlogBuf *out, const EventlogValuePlan *plan,
								 const char *text, int32 len);

/* ... of a null (in compatible mode maybe the column's default). */
extern void eventlog_value_write_null(EventlogBuf *out, const EventlogValuePlan *plan);

/* ... of an unchanged TOASTed value, which is not in the WAL. */
extern void eventlog_value_write_unavailable(EventlogBuf *out, const EventlogValuePlan *plan);

/*
 * ... of a column that the WAL does not tell, as those beside the key in a
 * delete's "before": null, or an empty value where the column is NOT NULL.
 */
extern void eventlog_value_write_missing(EventlogBuf *out, const EventlogValuePlan *plan);

/*
 * Append the Connect schema of the field, as JsonConverter writes it with
 * schemas.enable: a JSON object that ends in "field":name.  field is given
 * apart, because it may have been adjusted.
 */
extern void eventlog_value_write_schema(EventlogBuf *out, const EventlogValuePlan *plan,
										const char *field, bool in_key);

/* --- JSON text, for others too --- */

/* Append bytes. */
static inline void
eventlog_json_raw(EventlogBuf *out, const char *bytes, size_t len)
{
	if (unlikely(out->cap - out->len < len))
		eventlog_buf_reserve(out, len);
	if (likely(len > 0))		/* else there may be no memory at all */
		memcpy(out->data + out->len, bytes, len);
	out->len += len;
}

#define eventlog_json_literal(out, text) eventlog_json_raw((out), (text), sizeof(text) - 1)

/* A JSON string, quotes included, escaped as Jackson does. */
extern void eventlog_json_string(EventlogBuf *out, const char *text, int32 len);

/* A decimal integer. */
extern void eventlog_json_int(EventlogBuf *out, int64 value);

#endif							/* EVENTLOG_CAPTURE_VALUE_H */
