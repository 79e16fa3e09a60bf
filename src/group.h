/*-------------------------------------------------------------------------
 *
 * group.h
 *	  Finding consumer groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_GROUP_H
#define EVENTLOG_GROUP_H

#include "utils/relcache.h"

#include "group_config.h"
#include "topic.h"

#define EVENTLOG_GROUP_NAME_MAX	255

/* A group as one topic has it. */
typedef struct EventlogGroup
{
	char		name[EVENTLOG_GROUP_NAME_MAX + 1];	/* hash key, zero-padded, */
	Oid			topic;			/* with this */
	Oid			owner;
	int64		start;			/* where it begins without a committed offset:
								 * 0, or -1 if nowhere */
	EventlogGroupUse use;
	EventlogGroupConfig config;
	uint64		generation;		/* private: when it was read */
} EventlogGroup;

/*
 * Find a group, in this backend's memory if nothing has changed; NULL if it
 * does not exist for this topic.  Good until the next call.
 */
extern const EventlogGroup *eventlog_group_find(const char *group, Oid topic);

/*
 * See to it that the group consumes this topic, and in this way: it is found,
 * or made as eventlog.auto_create_groups says, and its first use decides which
 * way that is; for consume(), that is its first commit, if the group is there
 * already.  EVENTLOG_GROUP_CONSUME waits for nobody: while another transaction
 * is just making the group, it goes on without a row of it.
 * EVENTLOG_GROUP_MEMBERS waits.
 *
 * Errors: ERRCODE_INVALID_NAME, ERRCODE_UNDEFINED_OBJECT,
 * ERRCODE_INSUFFICIENT_PRIVILEGE (somebody else's group),
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE (used in the other way).
 */
extern void eventlog_group_check(const char *group, EventlogTopic *topic, EventlogGroupUse use);

/* A group commits offsets of consume().  Errors: it is used by members. */
extern void eventlog_group_note_commit(const char *group, EventlogTopic *topic);

/* Raise ERRCODE_INVALID_NAME unless a group can have this name. */
extern void eventlog_group_check_name(const char *group);

/* Raise unless the group exists for this topic and is the current user's. */
extern void eventlog_group_check_own(const char *group, EventlogTopic *topic);

/* Raise unless the current user has the privileges of a group's owner. */
extern void eventlog_group_check_owner(const char *group, Oid owner);

/* Where the group begins without a committed offset: 0, or -1 if nowhere. */
extern int64 eventlog_group_start(const char *group, Oid topic);

/* The group's auto.offset.reset. */
extern EventlogResetPolicy eventlog_group_reset_policy(const char *group, Oid topic);

/*
 * Time (ms) at which a group goes on with EVENTLOG_RESET_DURATION or
 * EVENTLOG_RESET_TIME.
 */
extern int64 eventlog_group_reset_time(const char *group, Oid topic);

/*
 * Offset of the first committed record of a time (ms) or later, or the last
 * stable offset.
 */
extern int64 eventlog_group_offset_for_time(Relation leaf, int64 time_ms);

/*
 * Take the lock under which a group of a topic is made and changed, for the
 * rest of the transaction.  False, without "wait", if somebody else has it.
 */
extern bool eventlog_group_lock(const char *group, Oid topic, bool wait);
extern void eventlog_group_unlock(const char *group, Oid topic);

/* Forget a topic that is being dropped. */
extern void eventlog_group_forget_topic(Oid topic);

/*
 * Errors of our own about positions: below the log start, and past its end.
 * Classes that begin with L are for implementations to use.
 */
#define ERRCODE_EVENTLOG_OFFSET_OUT_OF_RANGE	MAKE_SQLSTATE('L', 'G', '0', '0', '1')
#define ERRCODE_EVENTLOG_OFFSET_DIVERGED		MAKE_SQLSTATE('L', 'G', '0', '0', '2')

/* Another number whenever a catalogue row of a group may have changed. */
extern uint64 eventlog_group_generation(void);

/* A group's part of its claims' lock tags. */
extern uint32 eventlog_group_hash(const char *group);

extern void eventlog_group_init(void);	/* from _PG_init */

#endif							/* EVENTLOG_GROUP_H */
