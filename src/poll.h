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

/*
 * For reject(): is this session a member of the group; where does it go on with
 * a partition, and what has it not committed; pass over what lies before an offset, and commit that.
 * Errors: LG003, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
extern bool eventlog_poll_is_member(const char *group);
extern int64 eventlog_poll_position(EventlogTopic *topic, int32 partition, int64 *first);
extern void eventlog_poll_pass(EventlogTopic *topic, int32 partition, int64 next_offset);

#endif							/* EVENTLOG_POLL_H */
