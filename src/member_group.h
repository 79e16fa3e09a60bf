/*-------------------------------------------------------------------------
 *
 * member_group.h
 *	  Groups with members, in shared memory: what member.c stands on.
 *
 * Where not said otherwise, the caller holds the lock of the group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MEMBER_GROUP_H
#define EVENTLOG_MEMBER_GROUP_H

#include "access/transam.h"
#include "storage/lwlock.h"

#include "balance.h"
#include "member.h"

#define NOBODY			(-1)	/* no backend */
#define NOTHING			(-1)	/* no entry */

typedef struct Group
{
	Oid			dboid;			/* InvalidOid: free */
	char		name[EVENTLOG_GROUP_NAME_MAX + 1];
	int32		members;		/* list, by number of the backend */
	int			nmembers;
	int32		partitions;		/* list, by index */
	int			npartitions;
	uint64		generation;		/* grows whenever an owner or target changes */
	TimestampTz look_for_dead;	/* when a member could have been silent too long */
	bool		unbalanced;		/* a member has left without balancing it */
} Group;

typedef struct Member
{
	int32		group;			/* index, or NOTHING; written by the backend
								 * itself, and by who removes it under the lock
								 * of the group */
	int32		next;
	uint32		incarnation;	/* counts memberships of this backend's slot */
	int			pid;
	Oid			role;
	bool		manual;
	int			max_poll_ms;
	TimestampTz joined_at;
	TimestampTz last_poll;
	int32		topics;			/* list of subscriptions */
	char		client_id[EVENTLOG_CLIENT_ID_MAX + 1];
} Member;

typedef struct Partition
{
	int32		next;
	int32		group;			/* NOTHING: free */
	Oid			topic;
	Oid			leaf;
	int32		number;
	int32		owner;
	uint32		epoch;			/* grows whenever the owner changes; goes on when
								 * the entry is used for another partition */
	int32		target;
	bool		pinned;			/* to a manual member */
	bool		in_use;
	FullTransactionId writer;
} Partition;

typedef struct Subscription
{
	int32		next;
	Oid			topic;
} Subscription;

/* Memory in which a group is balanced. */
typedef struct Room
{
	EventlogBalance balance;
	bool	   *subscribed;
	int		   *topic;
	Oid		   *topics;
	int		   *number;			/* [eventlog_max_procno()] of a member in the balance */
	int32	   *member;
	int32	   *partition;
} Room;

extern Group *eventlog_groups;	/* [eventlog_member_ngroups()] */
extern Member *eventlog_members;	/* [eventlog_max_procno()] */
extern Partition *eventlog_assignments; /* [eventlog_max_assignments] */

extern int	eventlog_member_ngroups(void);
extern LWLock *eventlog_member_group_lock(int32 group);

/*
 * Find a group of this database, or make it, and lock it; NOTHING if there is
 * none.  Unlocking forgets a group without members.
 */
extern int32 eventlog_member_lock_group(const char *name, bool make);
extern void eventlog_member_unlock_group(int32 g);

/* Its partitions. */
extern Partition *eventlog_member_find_partition(const Group *group, Oid leaf);
extern int	eventlog_member_count_missing(const Group *group, const EventlogWanted *wanted,
										  int nwanted);
extern void eventlog_member_hand_over(Group *group, Partition *p);

/*
 * Take entries out of the pool, in two steps: reserve() raises
 * ERRCODE_CONFIGURATION_LIMIT_EXCEEDED if there are too few, and the others
 * cannot fail then.
 */
extern void eventlog_member_reserve(int npartitions, int nsubscriptions);
extern void eventlog_member_add_partitions(int32 g, const EventlogWanted *wanted, int nwanted);
extern void eventlog_member_add_subscriptions(Member *member, const EventlogWanted *wanted,
											  int nwanted);
extern void eventlog_member_forget_subscriptions(Member *member);

/*
 * Set all targets, and hand over what can be, in memory that was got before for
 * so many more members, topics and partitions.  Getting it raises, or returns
 * false.
 */
extern bool eventlog_member_get_room(Room *room, const Group *group, int members_more,
									 int topics_more, int partitions_more, bool raise);
extern void eventlog_member_rebalance(Group *group, Room *room);

#endif							/* EVENTLOG_MEMBER_GROUP_H */
