/*-------------------------------------------------------------------------
 *
 * member_group.c
 *	  Groups with members, in shared memory: their lists of members, topics and
 *	  partitions, and balancing them.
 *
 * A group's lists are chains of entries of arrays that are shared by all
 * groups; what no group uses is in the pool.  See member.c for the rules.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "member_group.h"
#include "metrics.h"
#include "wakeup.h"

#define TRANCHE_NAME	"pg_eventlog_groups"

typedef struct MemberShared
{
	int32		free_partitions;
	int32		free_subscriptions;
	int			nfree_partitions;	/* and not reserved */
	int			nfree_subscriptions;
} MemberShared;

Group	   *eventlog_groups = NULL;
Member	   *eventlog_members = NULL;
Partition  *eventlog_assignments = NULL;
static Subscription *eventlog_subscriptions = NULL; /* [eventlog_max_assignments] */
static MemberShared *shared = NULL;
static LWLockPadded *locks = NULL;	/* the pool's, and one for each group */

#define pool_lock			(&locks[0].lock)

int
eventlog_member_ngroups(void)
{
	return MaxBackends;
}

LWLock *
eventlog_member_group_lock(int32 group)
{
	return &locks[1 + group].lock;
}

/* ---- groups ---- */

static int32
find_group(const char *name)
{
	for (int32 g = 0; g < eventlog_member_ngroups(); g++)
	{
		if (eventlog_groups[g].dboid == MyDatabaseId && strcmp(eventlog_groups[g].name, name) == 0)
			return g;
	}
	return NOTHING;
}

/*
 * Lock a group, which is made if need be and wanted.
 */
int32
eventlog_member_lock_group(const char *name, bool make)
{
	for (;;)
	{
		int32		g;

		LWLockAcquire(pool_lock, LW_EXCLUSIVE);
		g = find_group(name);
		for (int32 i = 0; g == NOTHING && make && i < eventlog_member_ngroups(); i++)
		{
			if (eventlog_groups[i].dboid == InvalidOid)
			{
				uint64		generation = eventlog_groups[i].generation;

				g = i;
				memset(&eventlog_groups[g], 0, sizeof(Group));
				strlcpy(eventlog_groups[g].name, name, sizeof(eventlog_groups[g].name));
				eventlog_groups[g].members = NOBODY;
				eventlog_groups[g].partitions = NOTHING;
				eventlog_groups[g].generation = generation + 1;
				/* who lists groups does not have this lock */
				pg_write_barrier();
				eventlog_groups[g].dboid = MyDatabaseId;
			}
		}
		LWLockRelease(pool_lock);
		if (g == NOTHING)
			return NOTHING;
		LWLockAcquire(eventlog_member_group_lock(g), LW_EXCLUSIVE);
		if (eventlog_groups[g].dboid == MyDatabaseId && strcmp(eventlog_groups[g].name, name) == 0)
			return g;
		LWLockRelease(eventlog_member_group_lock(g));	/* its last member has left */
	}
}

/* Unlock a group, which goes if it has no members. */
void
eventlog_member_unlock_group(int32 g)
{
	if (eventlog_groups[g].nmembers == 0)
	{
		LWLockAcquire(pool_lock, LW_EXCLUSIVE);
		eventlog_groups[g].dboid = InvalidOid;
		LWLockRelease(pool_lock);
	}
	LWLockRelease(eventlog_member_group_lock(g));
}

/* ---- partitions ---- */

static bool
is_wanted(const Group *group, Oid topic)
{
	for (int32 m = group->members; m != NOBODY; m = eventlog_members[m].next)
	{
		for (int32 s = eventlog_members[m].topics; s != NOTHING; s = eventlog_subscriptions[s].next)
		{
			if (eventlog_subscriptions[s].topic == topic)
				return true;
		}
	}
	return false;
}

/* Let a partition go to whom it is meant for. */
void
eventlog_member_hand_over(Group *group, Partition *p)
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
		Partition  *p = &eventlog_assignments[*link];
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

Partition *
eventlog_member_find_partition(const Group *group, Oid leaf)
{
	for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
	{
		if (eventlog_assignments[i].leaf == leaf)
			return &eventlog_assignments[i];
	}
	return NULL;
}

/* How many of a topic's partitions are in the group's list? */
static int
count_known(const Group *group, Oid topic)
{
	int			known = 0;

	for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
		known += (eventlog_assignments[i].topic == topic);
	return known;
}

/* How many partitions are wanted that are not in the list? */
int
eventlog_member_count_missing(const Group *group, const EventlogWanted *wanted, int nwanted)
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
				missing += (eventlog_member_find_partition(group, wanted[w].leaves[n]) == NULL);
		}
	}
	return missing;
}

/*
 * Put what is wanted into the group's list.  It has been reserved.
 */
void
eventlog_member_add_partitions(int32 g, const EventlogWanted *wanted, int nwanted)
{
	Group	   *group = &eventlog_groups[g];

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

			if (known > 0 && eventlog_member_find_partition(group, wanted[w].leaves[n]) != NULL)
				continue;
			index = shared->free_partitions;
			p = &eventlog_assignments[index];
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

/*
 * Memory for balancing a group as it is now with some more members, topics and
 * partitions.  Failing here changes nothing: it raises, or returns false.
 */
bool
eventlog_member_get_room(Room *room, const Group *group, int members_more, int topics_more,
						 int partitions_more, bool raise)
{
	Size		nmembers = group->nmembers + members_more;
	Size		ntopics = topics_more;
	Size		npartitions = group->npartitions + partitions_more;
	Oid			last = InvalidOid;
	char	   *p;

	for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
	{
		ntopics += (eventlog_assignments[i].topic != last);
		last = eventlog_assignments[i].topic;
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
void
eventlog_member_rebalance(Group *group, Room *room)
{
	EventlogBalance *b = &room->balance;

	eventlog_metrics_count(EVENTLOG_METRIC_REBALANCES, 1);
	group->unbalanced = false;
	drop_unwanted(group);
	b->nmembers = b->ntopics = b->npartitions = 0;
	for (int i = 0; i < eventlog_max_procno(); i++)
		room->number[i] = -1;
	for (int32 m = group->members; m != NOBODY; m = eventlog_members[m].next)
	{
		if (eventlog_members[m].manual)
			continue;
		room->number[m] = b->nmembers;
		room->member[b->nmembers++] = m;
	}
	for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
	{
		Partition  *p = &eventlog_assignments[i];
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
		for (int32 s = eventlog_members[room->member[m]].topics; s != NOTHING; s = eventlog_subscriptions[s].next)
		{
			for (int t = 0; t < b->ntopics; t++)
			{
				if (room->topics[t] == eventlog_subscriptions[s].topic)
					room->subscribed[m * b->ntopics + t] = true;
			}
		}
	}
	b->subscribed = room->subscribed;
	b->topic = room->topic;
	eventlog_balance(b);

	for (int i = 0; i < b->npartitions; i++)
	{
		Partition  *p = &eventlog_assignments[room->partition[i]];
		int32		target = b->target[i] < 0 ? NOBODY : room->member[b->target[i]];

		if (p->target != target)
			group->generation++;
		p->target = target;
		eventlog_member_hand_over(group, p);
	}
	group->generation++;
}

/* ---- what members want ---- */

void
eventlog_member_forget_subscriptions(Member *member)
{
	LWLockAcquire(pool_lock, LW_EXCLUSIVE);
	while (member->topics != NOTHING)
	{
		int32		s = member->topics;

		member->topics = eventlog_subscriptions[s].next;
		eventlog_subscriptions[s].next = shared->free_subscriptions;
		shared->free_subscriptions = s;
		shared->nfree_subscriptions++;
	}
	LWLockRelease(pool_lock);
}

void
eventlog_member_add_subscriptions(Member *member, const EventlogWanted *wanted, int nwanted)
{
	LWLockAcquire(pool_lock, LW_EXCLUSIVE);
	for (int w = 0; w < nwanted; w++)
	{
		int32		s = shared->free_subscriptions;

		shared->free_subscriptions = eventlog_subscriptions[s].next;
		eventlog_subscriptions[s].topic = wanted[w].topic;
		eventlog_subscriptions[s].next = member->topics;
		member->topics = s;
	}
	LWLockRelease(pool_lock);
}

/*
 * Reserve entries for what is wanted.  Errors: there are too few.
 */
void
eventlog_member_reserve(int npartitions, int nsubscriptions)
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

/* ---- shared memory ---- */

Size
eventlog_member_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(MemberShared));

	RequestNamedLWLockTranche(TRANCHE_NAME, 1 + eventlog_member_ngroups());
	size = add_size(size, mul_size(eventlog_member_ngroups(), MAXALIGN(sizeof(Group))));
	size = add_size(size, mul_size(eventlog_max_procno(), MAXALIGN(sizeof(Member))));
	size = add_size(size, mul_size(eventlog_max_assignments, MAXALIGN(sizeof(Partition))));
	return add_size(size, mul_size(eventlog_max_assignments, MAXALIGN(sizeof(Subscription))));
}

void
eventlog_member_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("pg_eventlog members", sizeof(MemberShared), &found);
	eventlog_groups = ShmemInitStruct("pg_eventlog groups of members", sizeof(Group) * eventlog_member_ngroups(), &found);
	eventlog_members = ShmemInitStruct("pg_eventlog member slots",
							  sizeof(Member) * eventlog_max_procno(), &found);
	eventlog_assignments = ShmemInitStruct("pg_eventlog assignments",
								 sizeof(Partition) * eventlog_max_assignments, &found);
	eventlog_subscriptions = ShmemInitStruct("pg_eventlog subscriptions",
									sizeof(Subscription) * eventlog_max_assignments, &found);
	locks = GetNamedLWLockTranche(TRANCHE_NAME);
	if (found)
		return;

	memset(eventlog_groups, 0, sizeof(Group) * eventlog_member_ngroups());
	memset(eventlog_members, 0, sizeof(Member) * eventlog_max_procno());
	for (int i = 0; i < eventlog_max_procno(); i++)
	{
		eventlog_members[i].group = NOTHING;
		eventlog_members[i].topics = NOTHING;
	}
	for (int i = 0; i < eventlog_max_assignments; i++)
	{
		int32		next = i + 1 < eventlog_max_assignments ? i + 1 : NOTHING;

		memset(&eventlog_assignments[i], 0, sizeof(Partition));
		eventlog_assignments[i].group = NOTHING;
		eventlog_assignments[i].next = next;
		eventlog_subscriptions[i].next = next;
	}
	shared->free_partitions = shared->free_subscriptions = 0;
	shared->nfree_partitions = shared->nfree_subscriptions = eventlog_max_assignments;
}
