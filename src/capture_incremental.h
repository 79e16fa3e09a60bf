/*-------------------------------------------------------------------------
 *
 * capture_incremental.h
 *	  Incremental snapshots, and the state of what signals have asked for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_INCREMENTAL_H
#define EVENTLOG_CAPTURE_INCREMENTAL_H

#include "nodes/pg_list.h"

#include "capture.h"
#include "capture_apply.h"
#include "capture_encoder.h"

/* Logical messages of ours begin so; they are not captured. */
#define EVENTLOG_SIGNAL_PREFIX		"eventlog.signal"
#define EVENTLOG_WATERMARK_PREFIX	"eventlog.watermark"

/* ---- for the appender (capture_signal.c) ---- */

/* Before streaming; hooks get what looks for signals in the stream. */
extern void eventlog_signals_init(EventlogCapture *capture, EventlogCaptureSink *sink,
								  const char *database, EventlogApplyHooks *hooks);

/* ---- for the appender (capture_incremental.c) ---- */

/*
 * A source transaction, or a message alone, has been applied; in the appender's
 * transaction.
 */
extern void eventlog_incremental_at_end(void);

/* The appender's transaction is about to commit: what has changed is saved. */
extern void eventlog_incremental_before_commit(void);

/*
 * Is there something to do for which the appender's transaction has to be
 * committed first?  Then, outside of transactions, do it.
 */
extern bool eventlog_incremental_is_due(void);
extern void eventlog_incremental_work(void);

/* ---- for signals ---- */

extern void eventlog_incremental_init(EventlogCapture *capture, EventlogCaptureSink *sink,
									  const char *database);

/* A condition for one table, or a whole statement if the snapshot is blocking. */
typedef struct EventlogSnapshotCondition
{
	char	   *pattern;
	char	   *filter;
} EventlogSnapshotCondition;

/*
 * What the signals ask for; in the appender's transaction.  Strings are copied.
 * id is the signal's own.
 */
extern void eventlog_incremental_execute(const char *id, List *patterns, List *conditions,
										 const char *surrogate_key);
extern void eventlog_incremental_execute_blocking(const EventlogSource *source, List *patterns,
												  List *conditions);
extern void eventlog_incremental_stop(List *patterns);
extern void eventlog_incremental_pause(void);
extern void eventlog_incremental_resume(void);

/* ---- for chunks ---- */

/* Names of the tables that are not done, joined by commas. */
extern char *eventlog_incremental_collection_names(void);

/* The first table is done. */
extern void eventlog_incremental_next_collection(void);

/* ---- for the stream's hooks ---- */

/* A change in the stream, before it is encoded. */
extern void eventlog_incremental_change(const EventlogRelationDesc *desc, char op,
										const EventlogColumnValue *old,
										const EventlogColumnValue *row);

/* A watermark, "<chunk>-open" or "-close", was met. */
extern void eventlog_incremental_watermark(const char *id, bool open,
										   const EventlogSource *source);

/* Emit what waits for the end of the change that was met before. */
extern void eventlog_incremental_flush(void);

#endif							/* EVENTLOG_CAPTURE_INCREMENTAL_H */
