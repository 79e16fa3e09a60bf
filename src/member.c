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

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "member_group.h"
#include "metrics.h"
#include "wakeup.h"

/* my membership */
static int32 my_group = NOTHING;
static uint32 my_incarnation = 0;
static bool exit_callback = false;

/* Lock the group that I am a member of; false if I am not. */
static bool
lock_mine(void)
{
	if (my_group == NOTHING)
		return false;
	LWLockAcquire(eventlog_member_group_lock(my_group), LW_EXCLUSIVE);
	if (eventlog_members[eventlog_my_procno()].group == my_group &&
		eventlog_members[eventlog_my_procno()].incarnation == my_incarnation)
		return true;
	LWLockRelease(eventlog_member_group_lock(my_group));
	return false;
}

/* ---- membership ---- */

/* Forget what a member wants, and take what it has, used or not. */
static void
strip(Group *group, int32 m)
{
	eventlog_member_forget_subscriptions(&eventlog_members[m]);
	for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
	{
		Partition  *p = &eventlog_assignments[i];

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
		link = &eventlog_members[*link].next;
	*link = eventlog_members[m].next;
	group->nmembers--;
	eventlog_members[m].group = NOTHING;
	eventlog_members[m].incarnation++;
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
		TimestampTz end = TimestampTzPlusMilliseconds(eventlog_members[m].last_poll, eventlog_members[m].max_poll_ms);

		next = eventlog_members[m].next;
		if (end < now)
		{
			ereport(LOG_SERVER_ONLY,
					(errmsg("member %d of consumer group \"%s\" is removed: it has not polled for %d ms",
							eventlog_members[m].pid, group->name, eventlog_members[m].max_poll_ms)));
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

static void
check_manual(const Group *group, const EventlogWanted *wanted, int nwanted)
{
	for (int w = 0; w < nwanted; w++)
	{
		for (int n = 0; n < wanted[w].npartitions; n++)
		{
			Partition  *p = eventlog_member_find_partition(group, wanted[w].leaves[n]);

			if (p != NULL && p->owner != NOBODY && p->owner != eventlog_my_procno())
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_IN_USE),
						 errmsg("partition %d is assigned to another member of group \"%s\"",
								p->number, group->name),
						 errdetail("That is process %d.", eventlog_members[p->owner].pid)));
		}
	}
}

void
eventlog_member_join(const char *group_name, const char *client_id, int max_poll_ms,
					 bool manual, const EventlogWanted *wanted, int nwanted)
{
	int32		me = eventlog_my_procno();
	Member	   *member = &eventlog_members[me];
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
	if (my_group != NOTHING && strcmp(eventlog_groups[my_group].name, group_name) != 0)
		eventlog_member_leave();
	for (int w = 0; w < nwanted; w++)
		nwanted_partitions += wanted[w].npartitions;

	g = eventlog_member_lock_group(group_name, true);
	if (g == NOTHING)
		elog(ERROR, "no room for a group of members");
	group = &eventlog_groups[g];
	joined = (member->group != g);

	/* what can fail comes first */
	PG_TRY();
	{
		(void) eventlog_member_get_room(&room, group, 1, nwanted, nwanted_partitions, true);
		if (manual)
			check_manual(group, wanted, nwanted);
		eventlog_member_reserve(eventlog_member_count_missing(group, wanted, nwanted), manual ? 0 : nwanted);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();		/* the error has forgotten that the lock does */
		eventlog_member_unlock_group(g);
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

	eventlog_member_add_partitions(g, wanted, nwanted);
	eventlog_member_forget_subscriptions(member);
	if (manual)
	{
		for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
		{
			if (eventlog_assignments[i].owner == me)
			{
				eventlog_assignments[i].pinned = false;
				eventlog_assignments[i].target = NOBODY;
			}
		}
		for (int w = 0; w < nwanted; w++)
		{
			for (int n = 0; n < wanted[w].npartitions; n++)
			{
				Partition  *p = eventlog_member_find_partition(group, wanted[w].leaves[n]);

				p->pinned = true;
				p->target = me;
				eventlog_member_hand_over(group, p);
			}
		}
		for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
			eventlog_member_hand_over(group, &eventlog_assignments[i]);
	}
	else
	{
		for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
			eventlog_assignments[i].pinned = eventlog_assignments[i].pinned && eventlog_assignments[i].owner != me;
		eventlog_member_add_subscriptions(member, wanted, nwanted);
	}
	(void) remove_dead(group, now);
	eventlog_member_rebalance(group, &room);
	eventlog_member_unlock_group(g);
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
	if (eventlog_member_get_room(&room, &eventlog_groups[g], 0, 0, 0, false))
	{
		remove_member(&eventlog_groups[g], eventlog_my_procno());
		eventlog_member_rebalance(&eventlog_groups[g], &room);
		pfree(room.topics);
	}
	else
	{
		remove_member(&eventlog_groups[g], eventlog_my_procno());
		eventlog_groups[g].unbalanced = true;
		eventlog_groups[g].look_for_dead = 0;
	}
	eventlog_member_unlock_group(g);
}

bool
eventlog_member_is_live(void)
{
	Member	   *me = &eventlog_members[eventlog_my_procno()];

	return my_group != NOTHING && me->group == my_group && me->incarnation == my_incarnation;
}

bool
eventlog_member_poll(uint64 *generation)
{
	TimestampTz now = GetCurrentTimestamp();
	Group	   *group;

	if (!lock_mine())
		return false;
	group = &eventlog_groups[my_group];
	eventlog_members[eventlog_my_procno()].last_poll = now;
	if (now >= group->look_for_dead)
	{
		Room		room;

		(void) eventlog_member_get_room(&room, group, 0, 0, 0, true);
		if (remove_dead(group, now))
			eventlog_member_rebalance(group, &room);
	}
	*generation = group->generation;
	LWLockRelease(eventlog_member_group_lock(my_group));
	return true;
}

bool
eventlog_member_has_news(uint64 generation)
{
	return !eventlog_member_is_live() || eventlog_groups[my_group].generation != generation;
}

EventlogOwned *
eventlog_member_owned(int *count)
{
	EventlogOwned *owned;

	*count = 0;
	if (!lock_mine())
		return NULL;
	owned = palloc(sizeof(EventlogOwned) * eventlog_groups[my_group].npartitions + 1);
	for (int32 i = eventlog_groups[my_group].partitions; i != NOTHING; i = eventlog_assignments[i].next)
	{
		Partition  *p = &eventlog_assignments[i];
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
	LWLockRelease(eventlog_member_group_lock(my_group));
	return owned;
}

/* ---- using a partition ---- */

/* The partition, if it is mine; then the group is locked. */
static Partition *
lock_owned(const EventlogOwned *owned)
{
	Partition  *p = &eventlog_assignments[owned->index];

	if (!lock_mine())
		return NULL;
	if (p->group == my_group && p->epoch == owned->epoch && p->owner == eventlog_my_procno())
		return p;
	LWLockRelease(eventlog_member_group_lock(my_group));
	return NULL;
}

bool
eventlog_member_owns(const EventlogOwned *owned)
{
	Partition  *p = lock_owned(owned);

	if (p != NULL)
		LWLockRelease(eventlog_member_group_lock(my_group));
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
	LWLockRelease(eventlog_member_group_lock(my_group));
	return stays;
}

void
eventlog_member_done(const EventlogOwned *owned)
{
	Partition  *p = lock_owned(owned);

	if (p == NULL)
	{
		/* who has it by now may be waiting for the end of this transaction */
		int32		heir = eventlog_assignments[owned->index].owner;

		if (heir != NOBODY)
			eventlog_wakeup_backend(heir);
		return;
	}
	p->in_use = false;
	eventlog_member_hand_over(&eventlog_groups[my_group], p);
	LWLockRelease(eventlog_member_group_lock(my_group));
}

bool
eventlog_member_begin_commit(const EventlogOwned *owned, FullTransactionId xid)
{
	Partition  *p = lock_owned(owned);

	if (p == NULL)
		return false;
	p->writer = xid;
	p->in_use = true;			/* until the transaction has ended */
	LWLockRelease(eventlog_member_group_lock(my_group));
	return true;
}

TransactionId
eventlog_member_writer(const EventlogOwned *owned)
{
	FullTransactionId writer = eventlog_assignments[owned->index].writer;
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
	int32		g = eventlog_member_lock_group(group, false);
	int			count;

	if (g == NOTHING)
		return 0;
	count = eventlog_groups[g].nmembers;
	LWLockRelease(eventlog_member_group_lock(g));
	return count;
}

void
eventlog_member_set_max_poll(const char *group_name, int max_poll_ms)
{
	int32		g = eventlog_member_lock_group(group_name, false);

	if (g == NOTHING)
		return;
	for (int32 m = eventlog_groups[g].members; m != NOBODY; m = eventlog_members[m].next)
	{
		eventlog_members[m].max_poll_ms = max_poll_ms;
		eventlog_members[m].last_poll = GetCurrentTimestamp();
		eventlog_wakeup_backend(m);	/* who waits has to look as often as that takes */
	}
	eventlog_groups[g].look_for_dead = 0;
	eventlog_member_unlock_group(g);
}

int
eventlog_member_max_poll(void)
{
	return eventlog_members[eventlog_my_procno()].max_poll_ms;
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
	state->leaving = p && p->target != p->owner;
}

EventlogMemberState *
eventlog_member_states(int *count)
{
	EventlogMemberState *states;
	int			room = 64;

	states = palloc(sizeof(EventlogMemberState) * room);
	*count = 0;
	for (int32 g = 0; g < eventlog_member_ngroups(); g++)
	{
		Group	   *group = &eventlog_groups[g];
		int			needed;

		if (group->dboid != MyDatabaseId)
			continue;
		LWLockAcquire(eventlog_member_group_lock(g), LW_SHARED);
		needed = *count + group->nmembers + group->npartitions;
		if (needed > room)
		{
			room = needed * 2;
			states = repalloc_huge(states, sizeof(EventlogMemberState) * room);
		}
		for (int32 m = group->dboid == MyDatabaseId ? group->members : NOBODY; m != NOBODY;
			 m = eventlog_members[m].next)
		{
			bool		any = false;

			for (int32 i = group->partitions; i != NOTHING; i = eventlog_assignments[i].next)
			{
				if (eventlog_assignments[i].owner != m)
					continue;
				describe(&states[(*count)++], group, &eventlog_members[m], &eventlog_assignments[i]);
				any = true;
			}
			if (!any)
				describe(&states[(*count)++], group, &eventlog_members[m], NULL);
		}
		LWLockRelease(eventlog_member_group_lock(g));
	}
	return states;
}
