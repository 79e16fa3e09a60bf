/*-------------------------------------------------------------------------
 *
 * log_visibility.h
 *	  Which batches a snapshot sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_VISIBILITY_H
#define EVENTLOG_LOG_VISIBILITY_H

#include "log_scan.h"

typedef enum EventlogVisibility
{
	EVENTLOG_SEEN,
	EVENTLOG_UNSEEN,			/* aborted, or written later */
	EVENTLOG_RUNNING			/* its writer is in progress */
} EventlogVisibility;

/*
 * Of the batch on which a cursor stands, to the cursor's snapshot.  Flushes
 * the writer's commit record if the answer is EVENTLOG_SEEN.
 */
extern EventlogVisibility eventlog_visibility(EventlogCursor *cur);

#endif							/* EVENTLOG_LOG_VISIBILITY_H */
