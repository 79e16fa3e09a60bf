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

/* Where the group begins without a committed offset: 0, or -1 if nowhere. */
extern int64 eventlog_group_start(const char *group, Oid topic);

/* What a group does whose position lies below the log start. */
typedef enum EventlogResetPolicy
{
	EVENTLOG_RESET_ERROR,
	EVENTLOG_RESET_EARLIEST,
	EVENTLOG_RESET_LATEST
} EventlogResetPolicy;

/* The group's auto.offset.reset. */
extern EventlogResetPolicy eventlog_group_reset_policy(const char *group, Oid topic);

/* Raise unless the group exists for this topic and is the current user's. */
extern void eventlog_group_check_own(const char *group, EventlogTopic *topic);

/*
 * Offset of the first committed record of a time (ms) or later, or the last
 * stable offset.
 */
extern int64 eventlog_group_offset_for_time(Relation leaf, int64 time_ms);

/* Forget a topic that is being dropped. */
extern void eventlog_group_forget_topic(Oid topic);

/*
 * Errors of our own about positions: below the log start, and past its end.
 * Classes that begin with L are for implementations to use.
 */
#define ERRCODE_EVENTLOG_OFFSET_OUT_OF_RANGE	MAKE_SQLSTATE('L', 'G', '0', '0', '1')
#define ERRCODE_EVENTLOG_OFFSET_DIVERGED		MAKE_SQLSTATE('L', 'G', '0', '0', '2')

/* A group's part of its claims' lock tags. */
extern uint32 eventlog_group_hash(const char *group);

#endif							/* EVENTLOG_GROUP_H */
