/*-------------------------------------------------------------------------
 *
 * log_retention.h
 *	  Moving a log's start, and using again the space of what lies below.
 *
 * But for the last one, callers hold ShareUpdateExclusiveLock on the relation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_RETENTION_H
#define EVENTLOG_LOG_RETENTION_H

#include "log_storage.h"
#include "topic.h"

/*
 * Move the log start as far as the topic's limits ask for.  With "roll", the
 * active segment is closed if that is needed to remove what it holds.
 */
extern void eventlog_retention_apply(Relation rel, const EventlogTopicConfig *config, bool roll);

/*
 * Ask for a log start of "offset" (at most the last stable offset), as part of
 * the current transaction.  Errors: too many in one transaction.
 */
extern void eventlog_retention_ask(Relation rel, int64 offset);

/*
 * Make log starts hold for which committed transactions have asked, and put
 * blocks that nobody can be reading any more on the free list.
 */
extern void eventlog_retention_tidy(Relation rel);

/* Do retired blocks wait for an xid that is not given out yet? */
extern bool eventlog_retention_waits(const EventlogMeta *meta);

/*
 * Give free blocks at the end of the file back, if nobody uses the relation.
 * Not "eager": only if that is half of the file, since a log under retention
 * is going to use them again.
 */
extern void eventlog_retention_truncate(Relation rel, bool eager);

/* For a dump that is being restored: offsets of an empty or shorter log. */
extern void eventlog_retention_restore(Relation rel, int64 log_start, int64 next_offset);

/*
 * A producer has begun a segment: apply the limits and tidy up, unless
 * somebody else is at it.  Never waits.
 */
extern void eventlog_retention_after_switch(Relation rel, const EventlogTopicConfig *config);

#endif							/* EVENTLOG_LOG_RETENTION_H */
