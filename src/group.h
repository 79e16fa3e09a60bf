/*-------------------------------------------------------------------------
 *
 * group.h
 *	  Consumer groups and their committed offsets, as catalogue rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_GROUP_H
#define EVENTLOG_GROUP_H

#include "utils/snapshot.h"

#include "topic.h"

#define EVENTLOG_GROUP_NAME_MAX	255

/*
 * See to it that the group consumes this topic: it is found, or made as
 * eventlog.auto_create_groups says.  Errors: ERRCODE_UNDEFINED_OBJECT,
 * ERRCODE_INSUFFICIENT_PRIVILEGE (somebody else's group).
 */
extern void eventlog_group_check(const char *group, EventlogTopic *topic);

/*
 * Committed offset (the next to read) of a group's partition as a snapshot
 * sees it, or -1 if there is none.  *newer is set if a version exists that
 * the snapshot does not see.
 */
extern int64 eventlog_group_get_offset(const char *group, Oid topic, int32 partition,
									   Snapshot snapshot, bool *newer);

/*
 * Set it, in this transaction.  The caller holds the claim, so nobody else
 * writes the row.
 */
extern void eventlog_group_set_offset(const char *group, Oid topic, int32 partition,
									  int64 next_offset);

/* Where the group begins without a committed offset: 0, or -1 if nowhere. */
extern int64 eventlog_group_start(const char *group, Oid topic);

/* Forget a topic that is being dropped. */
extern void eventlog_group_forget_topic(Oid topic);

/* A group's part of its claims' lock tags. */
extern uint32 eventlog_group_hash(const char *group);

#endif							/* EVENTLOG_GROUP_H */
