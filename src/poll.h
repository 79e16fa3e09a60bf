/*-------------------------------------------------------------------------
 *
 * poll.h
 *	  Consuming as a member of a group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_POLL_H
#define EVENTLOG_POLL_H

#include "topic.h"

/*
 * commit(consumer_group, topic, partition, next_offset), if this session is a
 * member of the group; false if it is not.
 */
extern bool eventlog_poll_commit_one(const char *group, EventlogTopic *topic, int32 partition,
									 int64 next_offset);

#endif							/* EVENTLOG_POLL_H */
