/*-------------------------------------------------------------------------
 *
 * capture_window.h
 *	  Rows of a chunk that wait for what the stream has about them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_WINDOW_H
#define EVENTLOG_CAPTURE_WINDOW_H

#include "capture_desc.h"
#include "capture_encoder.h"

typedef struct EventlogWindow EventlogWindow;

/*
 * An empty window for rows of this table, in a memory context of its own below
 * the current one.  keys are indexes of the columns that tell rows apart.
 */
extern EventlogWindow *eventlog_window_create(const EventlogRelationDesc *desc,
											  int nkeys, const int *keys);
extern void eventlog_window_free(EventlogWindow *window);

extern void eventlog_window_add(EventlogWindow *window, const EventlogColumnValue *row);

/*
 * The stream has this row: take it from the window.  desc is that of the
 * stream, whose columns may be others or in another order.  Of several that
 * are alike, one is taken.
 */
extern void eventlog_window_remove(EventlogWindow *window, const EventlogRelationDesc *desc,
								   const EventlogColumnValue *row);
extern void eventlog_window_clear(EventlogWindow *window);

/* Rows, those that were taken included. */
extern int	eventlog_window_size(const EventlogWindow *window);

/* The i-th row; NULL if it was taken. */
extern const EventlogColumnValue *eventlog_window_row(const EventlogWindow *window, int i);

#endif							/* EVENTLOG_CAPTURE_WINDOW_H */
