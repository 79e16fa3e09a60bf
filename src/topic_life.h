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
 * more, for one partition of a topic.  If somebody else is maintaining or
 * vacuuming it, wait for him, or with "wait" false leave it.  True if
 * relfrozenxid has been moved.
 */
extern bool eventlog_topic_maintain(Oid relid, int32 partition, bool wait);

#endif							/* EVENTLOG_TOPIC_LIFE_H */
