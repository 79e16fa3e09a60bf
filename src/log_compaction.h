/*-------------------------------------------------------------------------
 *
 * log_compaction.h
 *	  Compaction: of each key, the newest record stays.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_COMPACTION_H
#define EVENTLOG_LOG_COMPACTION_H

#include "log_storage.h"
#include "topic.h"

/* How much of a log compaction has not seen yet. */
typedef struct EventlogDirt
{
	int64		clean_bytes;
	int64		dirty_bytes;
	double		ratio;			/* dirty of all; 0 for an empty log */
} EventlogDirt;

/* Measures a log; takes no lock. */
extern void eventlog_compaction_measure(Relation rel, const EventlogMeta *meta, EventlogDirt *dirt);

/*
 * Compact a log, if its topic's configs say that it is time.  The caller holds
 * ShareUpdateExclusiveLock on the relation and has frozen it.  Memory: up to
 * maintenance_work_mem.  True if something was rewritten.
 */
extern bool eventlog_compaction_run(Relation rel, const EventlogTopicConfig *config);

#endif							/* EVENTLOG_LOG_COMPACTION_H */
