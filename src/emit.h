/*-------------------------------------------------------------------------
 *
 * emit.h
 *	  Returning records from functions, as eventlog.record or typed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_EMIT_H
#define EVENTLOG_EMIT_H

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/timestamp.h"

#include "log_scan.h"
#include "topic.h"

typedef struct EventlogEmitter
{
	ReturnSetInfo *rsinfo;
	EventlogTopic *topic;
	bool		typed;			/* rows of the topic's own type */
	Datum		topic_name;		/* for eventlog.record */
	Oid			headers_type;
	EventlogPayloadType key_type;
	EventlogPayloadType value_type;
	EventlogBuf key;
	EventlogBuf value;
	MemoryContext row;			/* what a row needs beyond its bytes */
	uint64		count;			/* rows returned so far */
	uint64		bytes;			/* of their keys, values and headers */
} EventlogEmitter;

/*
 * Begin the result of a set-returning function whose argument "arg" names the
 * topic: text, or a value of the topic's row type for the typed form.  The
 * caller's SELECT privilege is checked.
 */
extern void eventlog_emit_begin(EventlogEmitter *emitter, FunctionCallInfo fcinfo, int arg);

/*
 * The same for a function whose records are of several topics: name the topic
 * of those that follow by eventlog_emit_set_topic().  If "arg" is not negative,
 * the form is typed, and records of only that topic are wanted.
 */
extern void eventlog_emit_begin_topics(EventlogEmitter *emitter, FunctionCallInfo fcinfo, int arg);
extern void eventlog_emit_set_topic(EventlogEmitter *emitter, EventlogTopic *topic);

/* Return one record. */
extern void eventlog_emit(EventlogEmitter *emitter, int32 partition, const EventlogRecord *rec);

/*
 * A snapshot for one look at a log: the newest one, or the transaction's own
 * under REPEATABLE READ and above.  Unregister it.
 */
extern Snapshot eventlog_fresh_snapshot(void);

/*
 * The topic as it is now, after a wait: partitions may have been added.
 * Errors: it does not exist any more.
 */
extern EventlogTopic *eventlog_topic_after_wait(EventlogTopic *topic);

/* Deadline of a max_wait argument that starts now.  Errors: negative, null. */
extern TimestampTz eventlog_deadline(FunctionCallInfo fcinfo, int arg);

/*
 * Raise unless a partition's log can be read from this offset on:
 * LG001 (below the log start), ERRCODE_INVALID_PARAMETER_VALUE.
 */
extern void eventlog_check_offset(const EventlogTopic *topic, int32 partition, int64 offset,
								  const EventlogMetaHead *meta);

/* The max_records argument: int, smallint or text.  Errors: below 0. */
extern int64 eventlog_max_records(FunctionCallInfo fcinfo, int arg);

#endif							/* EVENTLOG_EMIT_H */
