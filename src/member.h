/*-------------------------------------------------------------------------
 *
 * member.h
 *	  Members of consumer groups and the partitions that they own, in shared
 *	  memory.
 *
 * A backend is a member of one group at most.  What this interface calls "I"
 * is the calling backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MEMBER_H
#define EVENTLOG_MEMBER_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "group.h"

#define EVENTLOG_CLIENT_ID_MAX	63

/* A member has lost what its transaction worked on. */
#define ERRCODE_EVENTLOG_FENCED		MAKE_SQLSTATE('L', 'G', '0', '0', '3')

/* A topic, and those of its partitions that are wanted. */
typedef struct EventlogWanted
{
	Oid			topic;
	int			npartitions;
	const int32 *partitions;	/* [npartitions]; NULL: 0, 1, 2 ... */
	const Oid  *leaves;			/* [npartitions] */
} EventlogWanted;

/* A partition that is mine. */
typedef struct EventlogOwned
{
	int32		index;			/* in shared memory */
	uint32		epoch;			/* another one whenever it changes hands */
	Oid			topic;
	Oid			leaf;
	int32		partition;
	bool		leaving;		/* to be somebody else's when I have done with it */
} EventlogOwned;

/*
 * Become a member, or, if I am one of this group, change what I want.
 * "manual": the partitions are mine alone and take no part in balancing.
 * Errors: ERRCODE_PROGRAM_LIMIT_EXCEEDED (eventlog.max_assignments),
 * ERRCODE_OBJECT_IN_USE (manual: somebody else's).
 */
extern void eventlog_member_join(const char *group, const char *client_id, int max_poll_ms,
								 bool manual, const EventlogWanted *wanted, int nwanted);

/* Leave, if I am a member. */
extern void eventlog_member_leave(void);

/* Am I a member still?  False: never was, has left, or was removed. */
extern bool eventlog_member_is_live(void);

/*
 * I am about to poll: count me among the living, and remove those who are not.
 * False if I was removed myself.  *generation: another number whenever what I
 * own has changed.
 */
extern bool eventlog_member_poll(uint64 *generation);

/* Has what I own changed since, or was I removed?  A guess, without a lock. */
extern bool eventlog_member_has_news(uint64 generation);

/* What I own; a palloc'd array. */
extern EventlogOwned *eventlog_member_owned(int *count);

/*
 * I am about to hand out records of a partition: nobody else gets it until I
 * say that I am done.  False if it is not mine any more, or is to leave me.
 */
extern bool eventlog_member_use(const EventlogOwned *owned);
extern void eventlog_member_done(const EventlogOwned *owned);

/* Is it mine? */
extern bool eventlog_member_owns(const EventlogOwned *owned);

/*
 * A transaction of mine is about to write the partition's position and to
 * commit.  False if the partition is not mine any more.  From now on the next
 * owner waits for that transaction's end.
 */
extern bool eventlog_member_begin_commit(const EventlogOwned *owned, FullTransactionId xid);

/* The transaction that last began to commit there, if it may still run. */
extern TransactionId eventlog_member_writer(const EventlogOwned *owned);

/*
 * How long members of a group may be silent: set it for those that there are,
 * from now on; and what it is for me.
 */
extern void eventlog_member_set_max_poll(const char *group, int max_poll_ms);
extern int	eventlog_member_max_poll(void);

/* Members of a group of this database. */
extern int	eventlog_member_count(const char *group);

/* One row of eventlog.group_members: a member's partition, or none. */
typedef struct EventlogMemberState
{
	char		group[EVENTLOG_GROUP_NAME_MAX + 1];
	int			pid;
	Oid			role;
	char		client_id[EVENTLOG_CLIENT_ID_MAX + 1];
	bool		manual;
	TimestampTz joined_at;
	TimestampTz last_poll_at;
	int			max_poll_ms;
	Oid			topic;			/* InvalidOid: owns nothing */
	int32		partition;
	bool		leaving;
} EventlogMemberState;

/* All members of groups of this database; a palloc'd array. */
extern EventlogMemberState *eventlog_member_states(int *count);

extern Size eventlog_member_shmem_size(void);
extern void eventlog_member_shmem_init(void);

#endif							/* EVENTLOG_MEMBER_H */
