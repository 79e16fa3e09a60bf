/*-------------------------------------------------------------------------
 *
 * capture_value_plan.h
 *	  Inside of capture_value*.c and capture_schema.c: how a column is written.
 *
 * A plan is settled once a table's description is known, so that a row costs
 * one indirect call a column.  It points into the column's description and
 * into the modes, which must outlive it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_VALUE_PLAN_H
#define EVENTLOG_CAPTURE_VALUE_PLAN_H

#include "compat.h"

#include "capture_value.h"

/* What a Connect schema says of a value's type. */
typedef enum EventlogConnectType
{
	EVENTLOG_CONNECT_INT16,
	EVENTLOG_CONNECT_INT32,
	EVENTLOG_CONNECT_INT64,
	EVENTLOG_CONNECT_FLOAT,
	EVENTLOG_CONNECT_DOUBLE,
	EVENTLOG_CONNECT_BOOLEAN,
	EVENTLOG_CONNECT_STRING,
	EVENTLOG_CONNECT_BYTES,
	EVENTLOG_CONNECT_ARRAY,
	EVENTLOG_CONNECT_MAP,
	EVENTLOG_CONNECT_STRUCT
} EventlogConnectType;

typedef enum EventlogTimeUnit
{
	EVENTLOG_UNIT_MILLIS,
	EVENTLOG_UNIT_MICROS,
	EVENTLOG_UNIT_NANOS,
	EVENTLOG_UNIT_ISO
} EventlogTimeUnit;

typedef void (*EventlogValueWriter) (EventlogBuf *out, const EventlogValuePlan *plan,
									 const char *text, int32 len);

/* JSON that is known beforehand. */
typedef struct EventlogJsonPiece
{
	const char *data;
	int32		len;
} EventlogJsonPiece;

struct EventlogValuePlan
{
	EventlogValueWriter write;
	const EventlogTypeDesc *type;
	const EventlogValueModes *modes;

	int			precision;		/* numeric; length of a bit string */
	int			scale;			/* numeric and money; fraction digits of a
								 * timestamptz */
	EventlogTimeUnit unit;

	EventlogConnectType connect;
	const char *semantic;		/* the schema's name; NULL: none */
	bool		optional;
	bool		binary;			/* written by binary.handling.mode */

	EventlogValuePlan *element; /* of an array */
	int			nfields;		/* of a composite */
	EventlogValuePlan **fields;
	EventlogJsonPiece *field_names; /* as "name": */

	EventlogJsonPiece null;
	EventlogJsonPiece missing;
	EventlogJsonPiece unavailable;
	EventlogJsonPiece default_value;	/* of the schema; data NULL: none */
};

/* capture_value.c */
extern bool eventlog_value_plan_type(EventlogValuePlan *plan, const EventlogTypeDesc *type,
									 const EventlogValueModes *modes);
extern void eventlog_value_write_text(EventlogBuf *out, const EventlogValuePlan *plan,
									  const char *text, int32 len);
extern void eventlog_value_write_raw(EventlogBuf *out, const EventlogValuePlan *plan,
									 const char *text, int32 len);
extern void eventlog_value_write_always_null(EventlogBuf *out, const EventlogValuePlan *plan,
											 const char *text, int32 len);
pg_noreturn extern void eventlog_value_malformed(const EventlogValuePlan *plan);

/* capture_value_number.c */
extern void eventlog_value_plan_numeric(EventlogValuePlan *plan);
extern void eventlog_value_write_decimal_default(EventlogBuf *out, const EventlogValuePlan *plan,
												 const char *text, int32 len);
extern void eventlog_value_plan_money(EventlogValuePlan *plan);
extern void eventlog_value_write_float(EventlogBuf *out, const EventlogValuePlan *plan,
									   const char *text, int32 len);
extern void eventlog_value_write_point(EventlogBuf *out, const EventlogValuePlan *plan,
									   const char *text, int32 len);
extern bool eventlog_json_java_number(EventlogBuf *out, const char *text, int32 len);

/* capture_value_time.c */
extern void eventlog_value_plan_date(EventlogValuePlan *plan);
extern void eventlog_value_plan_time(EventlogValuePlan *plan);
extern void eventlog_value_plan_timestamp(EventlogValuePlan *plan);
extern void eventlog_value_plan_timestamptz(EventlogValuePlan *plan);
extern void eventlog_value_write_timetz(EventlogBuf *out, const EventlogValuePlan *plan,
										const char *text, int32 len);
extern void eventlog_value_plan_interval(EventlogValuePlan *plan);

/* capture_value_binary.c */
extern void eventlog_value_plan_bytea(EventlogValuePlan *plan);
extern void eventlog_value_plan_bits(EventlogValuePlan *plan);
extern void eventlog_value_plan_unknown(EventlogValuePlan *plan);
extern void eventlog_json_binary(EventlogBuf *out, EventlogBinaryMode mode,
								 const unsigned char *bytes, size_t len);

/* capture_value_nested.c */
extern void eventlog_value_write_array(EventlogBuf *out, const EventlogValuePlan *plan,
									   const char *text, int32 len);
extern void eventlog_value_write_composite(EventlogBuf *out, const EventlogValuePlan *plan,
										   const char *text, int32 len);
extern void eventlog_value_plan_hstore(EventlogValuePlan *plan);

/* capture_value_absent.c */
extern void eventlog_value_plan_absent(EventlogValuePlan *plan, const EventlogColumnDesc *column);

#endif							/* EVENTLOG_CAPTURE_VALUE_PLAN_H */
