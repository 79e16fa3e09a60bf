/*-------------------------------------------------------------------------
 *
 * member.c
 *	  Members of consumer groups and the partitions that they own, in shared
 *	  memory.
 *
 * A group is here while it has members.  It has a list of members, each with
 * the topics that it wants, and a list of partitions, each with its owner and
 * its target: the member that is to own it as the group is balanced now.
 * Whoever joins, leaves or is found dead sets the targets anew (balance.c).
 *
 * Ownership is a fact of this memory, not a lock.  A partition changes hands
 * at once, without its owner being asked, unless it is in use: its owner has
 * handed out records and has neither committed past them nor rolled back.
 * Then the owner gives it up when it has done so, at the latest with its next
 * poll.  Partitions whose target does not change notice nothing.
 *
 * Who has not polled for longer than it may is removed, and what it used is
 * taken from it (fencing).  Its transaction cannot commit positions any more:
 * before writing one it comes here and finds that it owns nothing.  If it had
 * come here before it was removed, its transaction is noted as the partition's
 * writer, and the next owner waits for the end of that transaction before it
 * reads the position.
 *
 * All of a group is protected by its lock, the lists of what is free by the
 * pool's.  The pool's is taken last, except by those who look for a group, who
 * let go of it before they take the group's.  Memory is allocated before
 * anything is changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "balance.h"
#include "guc.h"
#include "member.h"
#include "metrics.h"
#include "wakeup.h"

#define TRANCHE_NAME	"pg_eventlog_groups"
#define NOBODY			(-1)
#define NOTHING			(-1)

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

typedef struct MemberShared
{
	int32		free_partitions;
	int32		free_subscriptions;
	int			nfree_partitions;	/* and not reserved */
	int			nfree_subscriptions;
} MemberShared;

static MemberShared *shared = NULL;
static Group *groups = NULL;	/* [ngroups()] */
static Member *members = NULL;	/* [eventlog_max_procno()] */
static Partition *partitions = NULL;	/* [eventlog_max_assignments] */
static Subscription *subscriptions = NULL;	/* [eventlog_max_assignments] */
static LWLockPadded *locks = NULL;	/* the pool's, and one for each group */

/* my membership */
static int32 my_group = NOTHING;
static uint32 my_incarnation = 0;
static bool exit_callback = false;

#define pool_lock			(&locks[0].lock)
#define group_lock(group)	(&locks[1 + (group)].lock)

static inline int
ngroups(void)
{
	return MaxBackends;
}

/* ---- groups ---- */

static int32
find_group(const char *name)
{
	for (int32 g = 0; g < ngroups(); g++)
	{
		if (groups[g].dboid == MyDatabaseId && strcmp(groups[g].name, name) == 0)
			return g;
	}
	return NOTHING;
}

/*
 * Lock a group, which is made if need be and wanted.
 */
static int32
lock_group(const char *name, bool make)
{
	for (;;)
	{
		int32		g;

		LWLockAcquire(pool_lock, LW_EXCLUSIVE);
		g = find_group(name);
		for (int32 i = 0; g == NOTHING && make && i < ngroups(); i++)
		{
			if (groups[i].dboid == InvalidOid)
			{
				uint64		generation = groups[i].generation;

				g = i;
				memset(&groups[g], 0, sizeof(Group));
				strlcpy(groups[g].name, name, sizeof(groups[g].name));
				groups[g].members = NOBODY;
				groups[g].partitions = NOTHING;
				groups[g].generation = generation + 1;
				/* who lists groups does not have this lock */
				pg_write_barrier();
				groups[g].dboid = MyDatabaseId;
			}
		}
		LWLockRelease(pool_lock);
		if (g == NOTHING)
			return NOTHING;
		LWLockAcquire(group_lock(g), LW_EXCLUSIVE);
		if (groups[g].dboid == MyDatabaseId && strcmp(groups[g].name, name) == 0)
			return g;
		LWLockRelease(group_lock(g));	/* its last member has left */
	}
}

/* Unlock a group, which goes if it has no members. */
static void
unlock_group(int32 g)
{
	if (groups[g].nmembers == 0)
	{
		LWLockAcquire(pool_lock, LW_EXCLUSIVE);
		groups[g].dboid = InvalidOid;
		LWLockRelease(pool_lock);
	}
	LWLockRelease(group_lock(g));
}

/* Lock the group that I am a member of; false if I am not. */
static bool
lock_mine(void)
{
	if (my_group == NOTHING)
		return false;
	LWLockAcquire(group_lock(my_group), LW_EXCLUSIVE);
	if (members[eventlog_my_procno()].group == my_group &&
		members[eventlog_my_procno()].incarnation == my_incarnation)
		return true;
	LWLockRelease(group_lock(my_group));
	return false;
}

/* ---- partitions ---- */

static bool
is_wanted(const Group *group, Oid topic)
{
	for (int32 m = group->members; m != NOBODY; m = members[m].next)
	{
		for (int32 s = members[m].topics; s != NOTHING; s = subscriptions[s].next)
		{
			if (subscriptions[s].topic == topic)
				return true;
		}
	}
	return false;
}

/* Let a partition go to whom it is meant for. */
static void
hand_over(Group *group, Partition *p)
{
	if (p->owner == p->target || p->in_use)
		return;
	p->owner = p->target;
	p->epoch++;
	group->generation++;
	if (p->owner != NOBODY)
		eventlog_wakeup_backend(p->owner);
}

/* Take partitions off the list that nobody wants. */
static void
drop_unwanted(Group *group)
{
	int32	   *link = &group->partitions;
	Oid			topic = InvalidOid;
	bool		wanted = false;

	LWLockAcquire(pool_lock, LW_EXCLUSIVE);
	while (*link != NOTHING)
	{
		Partition  *p = &partitions[*link];
		int32		index = *link;

		if (p->topic != topic)
		{
			topic = p->topic;
			wanted = is_wanted(group, topic);
		}
		if (wanted || p->pinned || p->in_use)
		{
			link = &p->next;
			continue;
		}
		*link = p->next;
		p->group = NOTHING;
		p->next = shared->free_partitions;
		shared->free_partitions = index;
		shared->nfree_partitions++;
		group->npartitions--;
		group->generation++;
	}
	LWLockRelease(pool_lock);
}

static Partition *
find_partition(const Group *group, Oid leaf)
{
	for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
	{
		if (partitions[i].leaf == leaf)
			return &partitions[i];
	}
	return NULL;
}

/* How many of a topic's partitions are in the group's list? */
static int
count_known(const Group *group, Oid topic)
{
	int			known = 0;

	for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
		known += (partitions[i].topic == topic);
	return known;
}

/* How many partitions are wanted that are not in the list? */
static int
count_missing(const Group *group, const EventlogWanted *wanted, int nwanted)
{
	int			missing = 0;

	for (int w = 0; w < nwanted; w++)
	{
		int			known = count_known(group, wanted[w].topic);

		if (known == 0)
			missing += wanted[w].npartitions;
		else if (known != wanted[w].npartitions || wanted[w].partitions != NULL)
		{
			for (int n = 0; n < wanted[w].npartitions; n++)
				missing += (find_partition(group, wanted[w].leaves[n]) == NULL);
		}
	}
	return missing;
}

/*
 * Put what is wanted into the group's list.  It has been reserved.
 */
static void
add_partitions(int32 g, const EventlogWanted *wanted, int nwanted)
{
	Group	   *group = &groups[g];

	for (int w = 0; w < nwanted; w++)
	{
		int			known = count_known(group, wanted[w].topic);

		if (known == wanted[w].npartitions && wanted[w].partitions == NULL)
			continue;
		LWLockAcquire(pool_lock, LW_EXCLUSIVE);
		for (int n = 0; n < wanted[w].npartitions; n++)
		{
			Partition  *p;
			int32		index;
			uint32		epoch;

			if (known > 0 && find_partition(group, wanted[w].leaves[n]) != NULL)
				continue;
			index = shared->free_partitions;
			p = &partitions[index];
			shared->free_partitions = p->next;
			epoch = p->epoch;
			memset(p, 0, sizeof(Partition));
			p->epoch = epoch + 1;
			p->next = group->partitions;
			p->group = g;
			p->topic = wanted[w].topic;
			p->leaf = wanted[w].leaves[n];
			p->number = wanted[w].partitions ? wanted[w].partitions[n] : n;
			p->owner = p->target = NOBODY;
			group->partitions = index;
			group->npartitions++;
		}
		LWLockRelease(pool_lock);
	}
}

/* ---- balancing ---- */

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

/*
 * Memory for balancing a group as it is now with some more members, topics and
 * partitions.  Failing here changes nothing: it raises, or returns false.
 */
static bool
get_room(Room *room, const Group *group, int members_more, int topics_more, int partitions_more,
		 bool raise)
{
	Size		nmembers = group->nmembers + members_more;
	Size		ntopics = topics_more;
	Size		npartitions = group->npartitions + partitions_more;
	Oid			last = InvalidOid;
	char	   *p;

	for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
	{
		ntopics += (partitions[i].topic != last);
		last = partitions[i].topic;
	}
	p = MemoryContextAllocExtended(CurrentMemoryContext,
								   sizeof(Oid) * ntopics +
								   (sizeof(int) * 2 + sizeof(int32)) * npartitions +
								   (sizeof(int) * 3 + sizeof(int32)) * nmembers +
								   sizeof(int) * eventlog_max_procno() +
								   nmembers * ntopics,
								   MCXT_ALLOC_HUGE | (raise ? 0 : MCXT_ALLOC_NO_OOM));
	if (p == NULL)
		return false;
#define TAKE(field, type, n)	((field) = (type *) p, p += sizeof(type) * (n))
	TAKE(room->topics, Oid, ntopics);
	TAKE(room->topic, int, npartitions);
	TAKE(room->balance.target, int, npartitions);
	TAKE(room->partition, int32, npartitions);
	TAKE(room->balance.count, int, nmembers);
	TAKE(room->balance.scratch, int, 2 * nmembers);
	TAKE(room->member, int32, nmembers);
	TAKE(room->number, int, eventlog_max_procno());
	TAKE(room->subscribed, bool, nmembers * ntopics);
#undef TAKE
	return true;
}

/*
 * Set all targets, and hand over what can be.
 */
static void
rebalance(Group *group, Room *room)
{
	EventlogBalance *b = &room->balance;

	eventlog_metrics_count(EVENTLOG_METRIC_REBALANCES, 1);
	group->unbalanced = false;
	drop_unwanted(group);
	b->nmembers = b->ntopics = b->npartitions = 0;
	for (int i = 0; i < eventlog_max_procno(); i++)
		room->number[i] = -1;
	for (int32 m = group->members; m != NOBODY; m = members[m].next)
	{
		if (members[m].manual)
			continue;
		room->number[m] = b->nmembers;
		room->member[b->nmembers++] = m;
	}
	for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
	{
		Partition  *p = &partitions[i];
		int			t;

		if (p->pinned)
			continue;
		for (t = b->ntopics - 1; t >= 0 && room->topics[t] != p->topic; t--)
			;
		if (t < 0)
		{
			t = b->ntopics++;
			room->topics[t] = p->topic;
		}
		room->topic[b->npartitions] = t;
		b->target[b->npartitions] = p->target == NOBODY ? -1 : room->number[p->target];
		room->partition[b->npartitions++] = i;
	}
	memset(room->subscribed, 0, (Size) b->nmembers * b->ntopics);
	for (int m = 0; m < b->nmembers; m++)
	{
		for (int32 s = members[room->member[m]].topics; s != NOTHING; s = subscriptions[s].next)
		{
			for (int t = 0; t < b->ntopics; t++)
			{
				if (room->topics[t] == subscriptions[s].topic)
					room->subscribed[m * b->ntopics + t] = true;
			}
		}
	}
	b->subscribed = room->subscribed;
	b->topic = room->topic;
	eventlog_balance(b);

	for (int i = 0; i < b->npartitions; i++)
	{
		Partition  *p = &partitions[room->partition[i]];
		int32		target = b->target[i] < 0 ? NOBODY : room->member[b->target[i]];

		if (p->target != target)
			group->generation++;
		p->target = target;
		hand_over(group, p);
	}
	group->generation++;
}

/* ---- membership ---- */

static void
forget_subscriptions(Member *member)
{
	LWLockAcquire(pool_lock, LW_EXCLUSIVE);
	while (member->topics != NOTHING)
	{
		int32		s = member->topics;

		member->topics = subscriptions[s].next;
		subscriptions[s].next = shared->free_subscriptions;
		shared->free_subscriptions = s;
		shared->nfree_subscriptions++;
	}
	LWLockRelease(pool_lock);
}

/* Forget what a member wants, and take what it has, used or not. */
static void
strip(Group *group, int32 m)
{
	forget_subscriptions(&members[m]);
	for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
	{
		Partition  *p = &partitions[i];

		if (p->target == m)
			p->target = NOBODY;
		if (p->owner == m)
		{
			p->owner = NOBODY;
			p->epoch++;
			p->in_use = false;
			p->pinned = false;
		}
	}
	group->generation++;
}

/* Take a member off its group. */
static void
remove_member(Group *group, int32 m)
{
	int32	   *link = &group->members;

	strip(group, m);
	while (*link != m)
		link = &members[*link].next;
	*link = members[m].next;
	group->nmembers--;
	members[m].group = NOTHING;
	members[m].incarnation++;
}

/*
 * Remove those who have been silent for too long.  True if there were any:
 * the group is to be balanced.
 */
static bool
remove_dead(Group *group, TimestampTz now)
{
	bool		any = group->unbalanced;

	if (now < group->look_for_dead)
		return false;
	group->look_for_dead = DT_NOEND;
	for (int32 m = group->members, next; m != NOBODY; m = next)
	{
		TimestampTz end = TimestampTzPlusMilliseconds(members[m].last_poll, members[m].max_poll_ms);

		next = members[m].next;
		if (end < now)
		{
			ereport(LOG_SERVER_ONLY,
					(errmsg("member %d of consumer group \"%s\" is removed: it has not polled for %d ms",
							members[m].pid, group->name, members[m].max_poll_ms)));
			eventlog_metrics_count(EVENTLOG_METRIC_MEMBERS_FENCED, 1);
			remove_member(group, m);
			eventlog_wakeup_backend(m);
			any = true;
		}
		else
			group->look_for_dead = Min(group->look_for_dead, end);
	}
	return any;
}

static void
member_exit(int code, Datum arg)
{
	eventlog_member_leave();
}

/*
 * Reserve entries for what is wanted.  Errors: there are too few.
 */
static void
reserve(int npartitions, int nsubscriptions)
{
	int			left;
	bool		enough;

	LWLockAcquire(pool_lock, LW_EXCLUSIVE);
	left = Min(shared->nfree_partitions, shared->nfree_subscriptions);
	enough = npartitions <= shared->nfree_partitions &&
		nsubscriptions <= shared->nfree_subscriptions;
	if (enough)
	{
		shared->nfree_partitions -= npartitions;
		shared->nfree_subscriptions -= nsubscriptions;
	}
	LWLockRelease(pool_lock);
	if (!enough)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("members of consumer groups share too many partitions"),
				 errdetail("%d more are wanted, and %d are left of %d.",
						   Max(npartitions, nsubscriptions), left, eventlog_max_assignments),
				 errhint("Increase \"eventlog.max_assignments\" and restart the server.")));
}

static void
check_manual(const Group *group, const EventlogWanted *wanted, int nwanted)
{
	for (int w = 0; w < nwanted; w++)
	{
		for (int n = 0; n < wanted[w].npartitions; n++)
		{
			Partition  *p = find_partition(group, wanted[w].leaves[n]);

			if (p != NULL && p->owner != NOBODY && p->owner != eventlog_my_procno())
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_IN_USE),
						 errmsg("partition %d is assigned to another member of group \"%s\"",
								p->number, group->name),
						 errdetail("That is process %d.", members[p->owner].pid)));
		}
	}
}

void
eventlog_member_join(const char *group_name, const char *client_id, int max_poll_ms,
					 bool manual, const EventlogWanted *wanted, int nwanted)
{
	int32		me = eventlog_my_procno();
	Member	   *member = &members[me];
	TimestampTz now = GetCurrentTimestamp();
	Group	   *group;
	Room		room;
	int32		g;
	int			nwanted_partitions = 0;
	bool		joined;

	if (!exit_callback)
	{
		before_shmem_exit(member_exit, (Datum) 0);
		exit_callback = true;
	}
	if (my_group != NOTHING && strcmp(groups[my_group].name, group_name) != 0)
		eventlog_member_leave();
	for (int w = 0; w < nwanted; w++)
		nwanted_partitions += wanted[w].npartitions;

	g = lock_group(group_name, true);
	if (g == NOTHING)
		elog(ERROR, "no room for a group of members");
	group = &groups[g];
	joined = (member->group != g);

	/* what can fail comes first */
	PG_TRY();
	{
		(void) get_room(&room, group, 1, nwanted, nwanted_partitions, true);
		if (manual)
			check_manual(group, wanted, nwanted);
		reserve(count_missing(group, wanted, nwanted), manual ? 0 : nwanted);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();		/* the error has forgotten that the lock does */
		unlock_group(g);
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (joined)
	{
		member->group = g;
		member->incarnation++;
		member->pid = MyProcPid;
		member->role = GetUserId();
		member->topics = NOTHING;
		member->joined_at = now;
		member->next = group->members;
		group->members = me;
		group->nmembers++;
		my_group = g;
		my_incarnation = member->incarnation;
	}
	member->manual = manual;
	member->max_poll_ms = max_poll_ms;
	member->last_poll = now;
	strlcpy(member->client_id, client_id, sizeof(member->client_id));
	group->look_for_dead = Min(group->look_for_dead, TimestampTzPlusMilliseconds(now, max_poll_ms));
	if (joined && group->nmembers == 1)
		group->look_for_dead = now;

	add_partitions(g, wanted, nwanted);
	forget_subscriptions(member);
	if (manual)
	{
		for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
		{
			if (partitions[i].owner == me)
			{
				partitions[i].pinned = false;
				partitions[i].target = NOBODY;
			}
		}
		for (int w = 0; w < nwanted; w++)
		{
			for (int n = 0; n < wanted[w].npartitions; n++)
			{
				Partition  *p = find_partition(group, wanted[w].leaves[n]);

				p->pinned = true;
				p->target = me;
				hand_over(group, p);
			}
		}
		for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
			hand_over(group, &partitions[i]);
	}
	else
	{
		for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
			partitions[i].pinned = partitions[i].pinned && partitions[i].owner != me;
		LWLockAcquire(pool_lock, LW_EXCLUSIVE);
		for (int w = 0; w < nwanted; w++)
		{
			int32		s = shared->free_subscriptions;

			shared->free_subscriptions = subscriptions[s].next;
			subscriptions[s].topic = wanted[w].topic;
			subscriptions[s].next = member->topics;
			member->topics = s;
		}
		LWLockRelease(pool_lock);
	}
	(void) remove_dead(group, now);
	rebalance(group, &room);
	unlock_group(g);
}

void
eventlog_member_leave(void)
{
	Room		room;
	int32		g = my_group;

	if (!lock_mine())
	{
		my_group = NOTHING;
		return;
	}
	my_group = NOTHING;

	/* may be at the end of a transaction or of the session: must not raise */
	if (get_room(&room, &groups[g], 0, 0, 0, false))
	{
		remove_member(&groups[g], eventlog_my_procno());
		rebalance(&groups[g], &room);
		pfree(room.topics);
	}
	else
	{
		remove_member(&groups[g], eventlog_my_procno());
		groups[g].unbalanced = true;
		groups[g].look_for_dead = 0;
	}
	unlock_group(g);
}

bool
eventlog_member_is_live(void)
{
	Member	   *me = &members[eventlog_my_procno()];

	return my_group != NOTHING && me->group == my_group && me->incarnation == my_incarnation;
}

bool
eventlog_member_poll(uint64 *generation)
{
	TimestampTz now = GetCurrentTimestamp();
	Group	   *group;

	if (!lock_mine())
		return false;
	group = &groups[my_group];
	members[eventlog_my_procno()].last_poll = now;
	if (now >= group->look_for_dead)
	{
		Room		room;

		(void) get_room(&room, group, 0, 0, 0, true);
		if (remove_dead(group, now))
			rebalance(group, &room);
	}
	*generation = group->generation;
	LWLockRelease(group_lock(my_group));
	return true;
}

bool
eventlog_member_has_news(uint64 generation)
{
	return !eventlog_member_is_live() || groups[my_group].generation != generation;
}

EventlogOwned *
eventlog_member_owned(int *count)
{
	EventlogOwned *owned;

	*count = 0;
	if (!lock_mine())
		return NULL;
	owned = palloc(sizeof(EventlogOwned) * groups[my_group].npartitions + 1);
	for (int32 i = groups[my_group].partitions; i != NOTHING; i = partitions[i].next)
	{
		Partition  *p = &partitions[i];
		EventlogOwned *o = &owned[*count];

		if (p->owner != eventlog_my_procno())
			continue;
		o->index = i;
		o->epoch = p->epoch;
		o->topic = p->topic;
		o->leaf = p->leaf;
		o->partition = p->number;
		o->leaving = p->target != p->owner;
		(*count)++;
	}
	LWLockRelease(group_lock(my_group));
	return owned;
}

/* ---- using a partition ---- */

/* The partition, if it is mine; then the group is locked. */
static Partition *
lock_owned(const EventlogOwned *owned)
{
	Partition  *p = &partitions[owned->index];

	if (!lock_mine())
		return NULL;
	if (p->group == my_group && p->epoch == owned->epoch && p->owner == eventlog_my_procno())
		return p;
	LWLockRelease(group_lock(my_group));
	return NULL;
}

bool
eventlog_member_owns(const EventlogOwned *owned)
{
	Partition  *p = lock_owned(owned);

	if (p != NULL)
		LWLockRelease(group_lock(my_group));
	return p != NULL;
}

bool
eventlog_member_use(const EventlogOwned *owned)
{
	Partition  *p = lock_owned(owned);
	bool		stays;

	if (p == NULL)
		return false;
	stays = p->target == p->owner;
	if (stays)
		p->in_use = true;
	LWLockRelease(group_lock(my_group));
	return stays;
}

void
eventlog_member_done(const EventlogOwned *owned)
{
	Partition  *p = lock_owned(owned);

	if (p == NULL)
	{
		/* who has it by now may be waiting for the end of this transaction */
		int32		heir = partitions[owned->index].owner;

		if (heir != NOBODY)
			eventlog_wakeup_backend(heir);
		return;
	}
	p->in_use = false;
	hand_over(&groups[my_group], p);
	LWLockRelease(group_lock(my_group));
}

bool
eventlog_member_begin_commit(const EventlogOwned *owned, FullTransactionId xid)
{
	Partition  *p = lock_owned(owned);

	if (p == NULL)
		return false;
	p->writer = xid;
	p->in_use = true;			/* until the transaction has ended */
	LWLockRelease(group_lock(my_group));
	return true;
}

TransactionId
eventlog_member_writer(const EventlogOwned *owned)
{
	FullTransactionId writer = partitions[owned->index].writer;
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	/* one from before half a round of xids would seem to be in the future */
	if (!FullTransactionIdIsValid(writer) ||
		next - U64FromFullTransactionId(writer) > PG_INT32_MAX)
		return InvalidTransactionId;
	return XidFromFullTransactionId(writer);
}

/* ---- what others want to know ---- */

int
eventlog_member_count(const char *group)
{
	int32		g = lock_group(group, false);
	int			count;

	if (g == NOTHING)
		return 0;
	count = groups[g].nmembers;
	LWLockRelease(group_lock(g));
	return count;
}

static void
describe(EventlogMemberState *state, const Group *group, const Member *member, const Partition *p)
{
	strlcpy(state->group, group->name, sizeof(state->group));
	state->pid = member->pid;
	state->role = member->role;
	strlcpy(state->client_id, member->client_id, sizeof(state->client_id));
	state->manual = member->manual;
	state->joined_at = member->joined_at;
	state->last_poll_at = member->last_poll;
	state->max_poll_ms = member->max_poll_ms;
	state->topic = p ? p->topic : InvalidOid;
	state->partition = p ? p->number : -1;
	state->in_use = p && p->in_use;
	state->leaving = p && p->target != p->owner;
}

EventlogMemberState *
eventlog_member_states(int *count)
{
	EventlogMemberState *states;
	int			room = 64;

	states = palloc(sizeof(EventlogMemberState) * room);
	*count = 0;
	for (int32 g = 0; g < ngroups(); g++)
	{
		Group	   *group = &groups[g];
		int			needed;

		if (group->dboid != MyDatabaseId)
			continue;
		LWLockAcquire(group_lock(g), LW_SHARED);
		needed = *count + group->nmembers + group->npartitions;
		if (needed > room)
		{
			room = needed * 2;
			states = repalloc_huge(states, sizeof(EventlogMemberState) * room);
		}
		for (int32 m = group->dboid == MyDatabaseId ? group->members : NOBODY; m != NOBODY;
			 m = members[m].next)
		{
			bool		any = false;

			for (int32 i = group->partitions; i != NOTHING; i = partitions[i].next)
			{
				if (partitions[i].owner != m)
					continue;
				describe(&states[(*count)++], group, &members[m], &partitions[i]);
				any = true;
			}
			if (!any)
				describe(&states[(*count)++], group, &members[m], NULL);
		}
		LWLockRelease(group_lock(g));
	}
	return states;
}

/* ---- shared memory ---- */

Size
eventlog_member_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(MemberShared));

	RequestNamedLWLockTranche(TRANCHE_NAME, 1 + ngroups());
	size = add_size(size, mul_size(ngroups(), MAXALIGN(sizeof(Group))));
	size = add_size(size, mul_size(eventlog_max_procno(), MAXALIGN(sizeof(Member))));
	size = add_size(size, mul_size(eventlog_max_assignments, MAXALIGN(sizeof(Partition))));
	return add_size(size, mul_size(eventlog_max_assignments, MAXALIGN(sizeof(Subscription))));
}

void
eventlog_member_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("pg_eventlog members", sizeof(MemberShared), &found);
	groups = ShmemInitStruct("pg_eventlog groups of members", sizeof(Group) * ngroups(), &found);
	members = ShmemInitStruct("pg_eventlog member slots",
							  sizeof(Member) * eventlog_max_procno(), &found);
	partitions = ShmemInitStruct("pg_eventlog assignments",
								 sizeof(Partition) * eventlog_max_assignments, &found);
	subscriptions = ShmemInitStruct("pg_eventlog subscriptions",
									sizeof(Subscription) * eventlog_max_assignments, &found);
	locks = GetNamedLWLockTranche(TRANCHE_NAME);
	if (found)
		return;

	memset(groups, 0, sizeof(Group) * ngroups());
	memset(members, 0, sizeof(Member) * eventlog_max_procno());
	for (int i = 0; i < eventlog_max_procno(); i++)
	{
		members[i].group = NOTHING;
		members[i].topics = NOTHING;
	}
	for (int i = 0; i < eventlog_max_assignments; i++)
	{
		int32		next = i + 1 < eventlog_max_assignments ? i + 1 : NOTHING;

		memset(&partitions[i], 0, sizeof(Partition));
		partitions[i].group = NOTHING;
		partitions[i].next = next;
		subscriptions[i].next = next;
	}
	shared->free_partitions = shared->free_subscriptions = 0;
	shared->nfree_partitions = shared->nfree_subscriptions = eventlog_max_assignments;
}
