/*-------------------------------------------------------------------------
 *
 * capture_query.h
 *	  Reading rows of captured tables by a query, as texts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_QUERY_H
#define EVENTLOG_CAPTURE_QUERY_H

#include "lib/stringinfo.h"
#include "nodes/params.h"

#include "capture_desc.h"
#include "capture_encoder.h"

/*
 * Is given each row, in the order of the description's columns, in the memory
 * context of who asked.  The texts are UTF-8 and good until it returns.
 */
typedef void (*EventlogRowHandler) (void *arg, const EventlogColumnValue *row);

/*
 * Settings that keep plans simple, beside those of capture_settings.h, which
 * the worker has.  They last until eventlog_capture_query_end(), or the
 * transaction's abort.  users_sql: somebody has written the statement or a part
 * of it, and expects a usual search path.
 */
extern int	eventlog_capture_query_begin(bool users_sql);
extern void eventlog_capture_query_end(int level);

/*
 * Run a SELECT under the active snapshot and hand out its rows.  Its columns
 * are found by name; those that it lacks are null, and others are ignored.
 * Returns the number of rows.  params: NULL for none.
 */
extern uint64 eventlog_capture_query(const char *sql, ParamListInfo params,
									 const EventlogRelationDesc *desc,
									 EventlogRowHandler handler, void *arg);

/* A row that was copied. */
typedef struct EventlogHeldRow
{
	MemoryContext context;		/* to be set before use; else zeroes */
	int			ncolumns;
	int			room;			/* columns that there is space for */
	EventlogColumnValue *values;	/* point into bytes */
	StringInfoData bytes;
} EventlogHeldRow;

/* Copy a row; the memory is used again for the next one. */
extern void eventlog_held_row_set(EventlogHeldRow *held, int ncolumns,
								  const EventlogColumnValue *row);
extern void eventlog_held_row_free(EventlogHeldRow *held);

/* To bytes and back; what was read points into them. */
extern void eventlog_row_write(StringInfo out, int ncolumns, const EventlogColumnValue *row);
extern EventlogColumnValue *eventlog_row_read(const char **cursor, const char *end, int ncolumns);

#endif							/* EVENTLOG_CAPTURE_QUERY_H */
