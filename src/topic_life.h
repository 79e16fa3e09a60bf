/*-------------------------------------------------------------------------
 *
 * topic_life.h
 *	  Maintenance of whole topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_TOPIC_LIFE_H
#define EVENTLOG_TOPIC_LIFE_H

#include "topic.h"

/*
 * Freeze, apply the limits of retention, compact, free space and prepare
 * more, for all partitions of a topic.  Partitions that somebody else is
 * maintaining or vacuuming are waited for, or with "wait" false passed over.
 */
extern void eventlog_topic_maintain(Oid relid, bool wait);

#endif							/* EVENTLOG_TOPIC_LIFE_H */
