/*-------------------------------------------------------------------------
 *
 * subscription.c
 *	  This session as a member of a consumer group: its partitions, and how far
 *	  it has read them.
 *
 * A subscription belongs to the session and is not undone by a rollback.  What
 * is undone are positions: a rolled back transaction's records are handed out
 * again.  commit() only notes what is to be written.  It is written right
 * before the transaction commits, after shared memory has been asked whether
 * the partition is still this session's (member.c); so a session that was
 * stopped and has lost its partitions blocks nobody, and cannot commit.
 *
 * A partition is in use, and stays with this session, from when its records
 * are handed out until they are committed or rolled back.  Records that a
 * transaction got and did not commit are forgotten at the next poll, if the
 * partition is to go to another member: it will get them anew.  That the
 * session had them is remembered, for its next commit() to be an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "lib/qunique.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "group.h"
#include "guc.h"
#include "position.h"
#include "subscription.h"
#include "topic_ddl.h"
#include "wakeup.h"

/* How a partition was before a subtransaction changed it. */
typedef struct Undo
{
	SubTransactionId subid;
	int32		index;			/* of the shared entry, and its epoch */
	uint32		epoch;
	int64		position;
	int64		pending;
} Undo;

/* What has been subscribed to; names == NIL: nothing. */
static MemoryContext context = NULL;
static char *group = NULL;
static char *client_id = NULL;
static List *names = NIL;
static bool manual = false;
static int32 *manual_partitions = NULL; /* NULL: all */
static int	nmanual = 0;
static List *topics = NIL;		/* oids of the topics that are subscribed to now */
static int	ntopic_partitions = 0;	/* theirs, when they were last looked up */
static uint64 looked_up = 0;	/* invalidations before that */
static bool look_again = false;

/* What this session owns. */
static MemoryContext assigned_context = NULL;
static EventlogAssigned *assigned = NULL;
static int	nassigned = 0;
static EventlogActivity *activities = NULL; /* [nassigned] */
static uint64 *seen = NULL;		/* [nassigned] */
static int *active = NULL;		/* [nassigned]: numbers of those that are */
static int	nactive = 0;
static uint64 generation = 0;
static bool some_leaving = false;

/* A partition that was lost with records that were not committed. */
static bool has_lost = false;
static bool told_lost = false;	/* this transaction has been told */
static char lost_group[EVENTLOG_GROUP_NAME_MAX + 1];
static Oid	lost_topic;
static int32 lost_partition;

/* in TopTransactionContext */
static Undo *undos = NULL;
static int	nundos = 0;
static int	maxundos = 0;
static bool in_transaction = false; /* this one has used or changed something */
static bool leave_at_end = false;
static bool joined = false;		/* this one has looked up topics and the group */

const char *
eventlog_subscription_group(void)
{
	return leave_at_end ? NULL : group;
}

EventlogAssigned *
eventlog_subscription_assigned(int *count)
{
	*count = nassigned;
	return assigned;
}

int
eventlog_subscription_next(int from)
{
	EventlogActivity database = eventlog_activity_of(InvalidOid);

	for (int i = from; i < nassigned; i++)
	{
		if (eventlog_activity_read(activities[i], database) != seen[i])
			return i;
	}
	return nassigned;
}

void
eventlog_subscription_set_seen(EventlogAssigned *a, uint64 activity)
{
	seen[a - assigned] = activity;
}

EventlogAssigned *
eventlog_subscription_find(Oid topic, int32 partition)
{
	for (int i = 0; i < nassigned; i++)
	{
		if (assigned[i].owned.topic == topic && assigned[i].owned.partition == partition)
			return &assigned[i];
	}
	return NULL;
}

pg_noreturn static void
raise_lost(Oid topic, int32 partition)
{
	char	   *name = get_rel_name(topic);

	/* not forgotten before its end: the error may be caught */
	told_lost = true;
	ereport(ERROR,
			(errcode(ERRCODE_EVENTLOG_FENCED),
			 errmsg("partition %d of topic \"%s\" does not belong to this member of group \"%s\" any more",
					partition, name ? name : "(dropped)", group ? group : lost_group),
			 errdetail("It had read records there that it has not committed; another member gets them."),
			 errhint("Roll back and call eventlog.poll(). A member that does not poll for max.poll.interval.ms is removed from its group.")));
}

/* For the next commit() to be an error. */
static void
note_lost(const EventlogAssigned *a)
{
	has_lost = true;
	strlcpy(lost_group, group, sizeof(lost_group));
	lost_topic = a->owned.topic;
	lost_partition = a->owned.partition;
}

/* ---- what is assigned ---- */

static int
compare_assigned(const void *a, const void *b)
{
	return oid_cmp(&((const EventlogAssigned *) a)->owned.leaf,
				   &((const EventlogAssigned *) b)->owned.leaf);
}

/*
 * Take up what this session owns by now.  Errors: it has lost something that
 * this transaction has used.
 */
static void
take_up(uint64 new_generation)
{
	int			count;
	EventlogOwned *owned = eventlog_member_owned(&count);
	int			room = Max(count, 1);
	EventlogAssigned *new = MemoryContextAllocZero(assigned_context, sizeof(EventlogAssigned) * room);
	EventlogActivity *new_activities = MemoryContextAlloc(assigned_context, sizeof(EventlogActivity) * room);
	uint64	   *new_seen = MemoryContextAllocZero(assigned_context, sizeof(uint64) * room);
	int		   *new_active = MemoryContextAlloc(assigned_context, sizeof(int) * room);

	for (int i = 0; i < count; i++)
	{
		new[i].owned = owned[i];
		new[i].position = new[i].clean = new[i].pending = -1;
		new[i].base = EVENTLOG_BASE_UNKNOWN;
	}
	qsort(new, count, sizeof(EventlogAssigned), compare_assigned);
	for (int i = 0; i < nassigned; i++)
	{
		EventlogAssigned *old = &assigned[i];
		EventlogAssigned *same = bsearch(old, new, count, sizeof(EventlogAssigned), compare_assigned);

		if (same != NULL && same->owned.epoch == old->owned.epoch &&
			same->owned.index == old->owned.index)
		{
			EventlogOwned now = same->owned;

			*same = *old;
			same->owned = now;
			new_seen[same - new] = seen[i];
		}
		else if (old->used || old->pending >= 0)
		{
			pfree(new);
			pfree(new_activities);
			pfree(new_seen);
			pfree(new_active);
			raise_lost(old->owned.topic, old->owned.partition);
		}
		else if (old->in_use)
			note_lost(old);
	}
	if (assigned)
	{
		pfree(assigned);
		pfree(activities);
		pfree(seen);
		pfree(active);
	}
	assigned = new;
	activities = new_activities;
	seen = new_seen;
	active = new_active;
	some_leaving = false;
	nactive = 0;
	for (int i = 0; i < count; i++)
	{
		some_leaving |= new[i].owned.leaving;
		activities[i] = eventlog_activity_of(new[i].owned.leaf);
		if (new[i].active)
			active[nactive++] = i;
	}
	nassigned = count;
	generation = new_generation;
	if (owned)
		pfree(owned);
}

static void
forget_assigned(void)
{
	nassigned = nactive = 0;
	generation = 0;
}

/* ---- what is subscribed to ---- */

static bool
matches(const char *name, const char *pattern)
{
	return RE_compile_and_execute(cstring_to_text(pattern), unconstify(char *, name), strlen(name),
								  REG_ADVANCED, C_COLLATION_OID, 0, NULL);
}

static void
add_wanted(List **result, EventlogTopic *topic)
{
	EventlogWanted *wanted;
	Oid		   *leaves;

	wanted = palloc0(sizeof(EventlogWanted));
	leaves = eventlog_topic_copy_leaves(topic);
	wanted->topic = topic->relid;
	wanted->npartitions = topic->npartitions;
	wanted->leaves = leaves;
	if (manual_partitions != NULL)
	{
		Oid		   *chosen = palloc(sizeof(Oid) * Max(nmanual, 1));

		for (int i = 0; i < nmanual; i++)
		{
			eventlog_topic_check_partition(topic, manual_partitions[i]);
			chosen[i] = leaves[manual_partitions[i]];
		}
		wanted->npartitions = nmanual;
		wanted->partitions = manual_partitions;
		wanted->leaves = chosen;
	}
	*result = lappend(*result, wanted);
}

/*
 * The topics, by name and pattern.  first: names must exist.
 */
static List *
look_up(bool first, List **oids)
{
	List	   *result = NIL;
	List	   *all = NIL;
	ListCell   *lc;

	joined = true;
	foreach(lc, names)
	{
		const char *name = lfirst(lc);
		EventlogTopic *topic;
		ListCell   *lc2;

		if (name[0] != '^')
		{
			topic = eventlog_topic_by_name(name, !first);
			if (topic == NULL)
				continue;
			eventlog_topic_check_acl(topic, ACL_SELECT);
			*oids = list_append_unique_oid(*oids, topic->relid);
			continue;
		}
		if (all == NIL)
			all = eventlog_topic_catalog_list(CurrentMemoryContext);
		foreach(lc2, all)
		{
			topic = eventlog_topic_by_relid(lfirst_oid(lc2));
			if (topic != NULL && matches(topic->name, name) &&
				pg_class_aclcheck(topic->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
				*oids = list_append_unique_oid(*oids, topic->relid);
		}
	}

	/* everybody takes locks in the same order */
	list_sort(*oids, list_oid_cmp);
	foreach(lc, *oids)
	{
		EventlogTopic *topic = eventlog_topic_by_relid(lfirst_oid(lc));

		if (topic != NULL)
			eventlog_group_check(group, topic, EVENTLOG_GROUP_MEMBERS);
		topic = eventlog_topic_by_relid(lfirst_oid(lc));
		if (topic != NULL)
			add_wanted(&result, topic);
	}
	return result;
}

/* The group's max.poll.interval.ms. */
static int
max_poll_of_group(List *oids)
{
	const EventlogGroup *found = oids == NIL ? NULL : eventlog_group_find(group, linitial_oid(oids));

	return found ? found->config.max_poll_interval_ms : EVENTLOG_DEFAULT_MAX_POLL_MS;
}

/* Tell the group what is wanted. */
static void
join(List *wanted, List *oids)
{
	EventlogWanted *array = palloc(sizeof(EventlogWanted) * Max(list_length(wanted), 1));
	MemoryContext old;
	int			n = 0;
	int			npartitions = 0;
	ListCell   *lc;

	foreach(lc, wanted)
	{
		array[n] = *(EventlogWanted *) lfirst(lc);
		npartitions += array[n++].npartitions;
	}
	eventlog_member_join(group, client_id, max_poll_of_group(oids), manual, array, n);
	old = MemoryContextSwitchTo(context);
	list_free(topics);
	topics = list_copy(oids);
	MemoryContextSwitchTo(old);
	ntopic_partitions = npartitions;
}

static int
compare_int32(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x == y ? 0 : x < y ? -1 : 1;
}

/* Has commit() noted something in this transaction? */
static bool
has_noted(void)
{
	for (int i = 0; i < nactive; i++)
	{
		if (assigned[active[i]].pending >= 0)
			return true;
	}
	return false;
}

/*
 * Leave the group at once.  What this transaction has read and not committed
 * is remembered until its end.
 */
static void
leave_group(void)
{
	has_lost = false;
	for (int i = 0; i < nactive; i++)
	{
		if (assigned[active[i]].used)
			note_lost(&assigned[active[i]]);
	}
	eventlog_member_leave();
	forget_assigned();
	leave_at_end = false;
}

static void
leave(void)
{
	leave_group();
	group = NULL;
}

/* An error leaves the subscription as it was, as far as that can be. */
void
eventlog_subscription_begin(const char *new_group, const char *new_client_id, List *new_names,
							bool new_manual, const int32 *partitions, int npartitions)
{
	MemoryContext old_context = context;
	char	   *old_group = group;
	char	   *old_client_id = client_id;
	List	   *old_names = names;
	bool		old_manual = manual;
	int32	   *old_manual_partitions = manual_partitions;
	int			old_nmanual = nmanual;
	List	   *old_topics = topics;
	bool		moves = group != NULL && strcmp(group, new_group) != 0;
	volatile bool left = false;
	MemoryContext old;
	List	   *wanted;
	List	   *oids = NIL;
	ListCell   *lc;

	if (moves && has_noted())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this transaction commits offsets of group \"%s\"", group),
				 errhint("Subscribe in the next transaction.")));
	if (assigned_context == NULL)
		assigned_context = AllocSetContextCreate(TopMemoryContext, "eventlog assignment",
												 ALLOCSET_SMALL_SIZES);
	context = AllocSetContextCreate(TopMemoryContext, "eventlog subscription",
									ALLOCSET_SMALL_SIZES);
	PG_TRY();
	{
		old = MemoryContextSwitchTo(context);
		names = NIL;
		topics = NIL;
		foreach(lc, new_names)
			names = lappend(names, pstrdup(lfirst(lc)));
		client_id = pstrdup(new_client_id);
		client_id[pg_mbcliplen(client_id, strlen(client_id), EVENTLOG_CLIENT_ID_MAX)] = '\0';
		manual = new_manual;
		manual_partitions = NULL;
		nmanual = npartitions;
		if (partitions != NULL)
		{
			manual_partitions = palloc(sizeof(int32) * Max(npartitions, 1));
			memcpy(manual_partitions, partitions, sizeof(int32) * npartitions);
			qsort(manual_partitions, npartitions, sizeof(int32), compare_int32);
			nmanual = qunique(manual_partitions, npartitions, sizeof(int32), compare_int32);
		}
		group = pstrdup(new_group);
		MemoryContextSwitchTo(old);

		looked_up = eventlog_topic_invalidations();
		wanted = look_up(true, &oids);
		if (moves)
		{
			leave_group();
			left = true;
		}
		join(wanted, oids);
	}
	PG_CATCH();
	{
		MemoryContextDelete(context);
		context = old_context;
		group = left ? NULL : old_group;
		client_id = old_client_id;
		names = old_names;
		manual = old_manual;
		manual_partitions = old_manual_partitions;
		nmanual = old_nmanual;
		topics = old_topics;
		look_again = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (old_context != NULL)
		MemoryContextDelete(old_context);
	leave_at_end = false;
	generation = 0;
}

void
eventlog_subscription_end(void)
{
	if (group == NULL)
		return;
	if (has_noted())
		leave_at_end = true;
	else
		leave();
}

/*
 * Have topics come, gone, or got more partitions?
 */
static void
follow_topics(void)
{
	List	   *wanted;
	List	   *oids = NIL;
	ListCell   *lc;
	int			npartitions = 0;

	AcceptInvalidationMessages();
	if (looked_up == eventlog_topic_invalidations() && !look_again)
		return;
	look_again = false;
	looked_up = eventlog_topic_invalidations();
	wanted = look_up(false, &oids);
	foreach(lc, wanted)
		npartitions += ((EventlogWanted *) lfirst(lc))->npartitions;
	if (npartitions == ntopic_partitions && equal(oids, topics) &&
		max_poll_of_group(oids) == eventlog_member_max_poll())
		return;
	if (wanted == NIL && topics != NIL)
		ereport(WARNING,
				(errmsg("topics that group \"%s\" has subscribed to do not exist any more", group)));
	join(wanted, oids);
}

void
eventlog_subscription_refresh(void)
{
	uint64		now;

	if (!eventlog_member_is_live())
	{
		/* removed: what this transaction has read is somebody else's */
		for (int i = 0; i < nactive; i++)
		{
			EventlogAssigned *a = &assigned[active[i]];

			if (a->used || a->pending >= 0)
				raise_lost(a->owned.topic, a->owned.partition);
			if (a->in_use)
				note_lost(a);
		}
		forget_assigned();
		look_again = true;
		ntopic_partitions = -1;
		ereport(WARNING,
				(errmsg("this session was removed from group \"%s\" and joins it again", group),
				 errdetail("It had not polled for max.poll.interval.ms.")));
	}
	follow_topics();
	if (!eventlog_member_poll(&now))
		return;					/* removed just now; the next call joins again */
	if (now == generation && !some_leaving)
		return;

	/* what another transaction got and did not commit may go */
	for (int i = 0; i < nactive; i++)
	{
		EventlogAssigned *a = &assigned[active[i]];

		if (a->in_use && !a->used && a->pending < 0 && !eventlog_member_use(&a->owned))
			eventlog_member_done(&a->owned);
	}
	if (!eventlog_member_poll(&now))
		return;
	take_up(now);
}

/* ---- committing ---- */

void
eventlog_subscription_save(EventlogAssigned *a)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	Undo	   *undo;

	in_transaction = true;
	if (!a->active)
	{
		a->active = true;
		active[nactive++] = a - assigned;
	}
	for (int i = nundos - 1; i >= 0 && undos[i].subid == subid; i--)
	{
		if (undos[i].index == a->owned.index && undos[i].epoch == a->owned.epoch)
			return;
	}
	if (nundos == maxundos)
	{
		int			n = Max(maxundos * 2, 16);

		undos = undos ? repalloc(undos, n * sizeof(Undo)) :
			MemoryContextAlloc(TopTransactionContext, n * sizeof(Undo));
		maxundos = n;
	}
	undo = &undos[nundos++];
	undo->subid = subid;
	undo->index = a->owned.index;
	undo->epoch = a->owned.epoch;
	undo->position = a->position;
	undo->pending = a->pending;
}

void
eventlog_subscription_commit_one(EventlogAssigned *a, int64 next_offset)
{
	if (!eventlog_member_owns(&a->owned))
		raise_lost(a->owned.topic, a->owned.partition);
	eventlog_subscription_save(a);
	a->pending = next_offset;
}

void
eventlog_subscription_commit(void)
{
	if (has_lost)
		raise_lost(lost_topic, lost_partition);
	if (group == NULL)
		return;
	for (int i = 0; i < nactive; i++)
	{
		EventlogAssigned *a = &assigned[active[i]];

		if (a->position >= 0 && (a->position != a->clean || a->pending >= 0))
			eventlog_subscription_commit_one(a, a->position);
	}
}

/* The transaction is about to commit: write what commit() has noted. */
static void
write_pending(void)
{
	for (int i = 0; i < nactive; i++)
	{
		EventlogAssigned *a = &assigned[active[i]];

		if (a->pending < 0 || eventlog_topic_by_relid(a->owned.topic) == NULL)
			continue;
		EVENTLOG_PAUSE_INTERRUPTIBLE("member-commit", NULL);
		if (!eventlog_member_begin_commit(&a->owned, GetTopFullTransactionId()))
			raise_lost(a->owned.topic, a->owned.partition);
		a->in_use = true;
		EVENTLOG_PAUSE_INTERRUPTIBLE("member-owned", NULL);

		/*
		 * Shared memory may have forgotten that a transaction was stopped
		 * right here.  The table does not: whoever moves the position first
		 * has it.
		 */
		if (a->base == EVENTLOG_BASE_UNKNOWN)
			eventlog_position_set(group, a->owned.topic, a->owned.partition, a->pending);
		else if (!eventlog_position_move(group, a->owned.topic, a->owned.partition, a->base,
										 a->pending))
		{
			a->astray = true;
			raise_lost(a->owned.topic, a->owned.partition);
		}
		EVENTLOG_PAUSE_INTERRUPTIBLE("member-committing", NULL);
	}
}

/* ---- transactions ---- */

static void
undo_back_to(int count)
{
	while (nundos > count)
	{
		Undo	   *undo = &undos[--nundos];

		for (int i = 0; i < nactive; i++)
		{
			EventlogAssigned *a = &assigned[active[i]];

			if (a->owned.index != undo->index || a->owned.epoch != undo->epoch)
				continue;
			a->position = undo->position;
			a->pending = undo->pending;
			seen[active[i]] = 0;
			break;
		}
	}
}

/* Nobody may wait for this session longer than it has to be waited for. */
static void
end_transaction(XactEvent event)
{
	int			keep = 0;

	if (event == XACT_EVENT_ABORT)
		undo_back_to(0);
	for (int i = 0; i < nactive; i++)
	{
		EventlogAssigned *a = &assigned[active[i]];

		if (a->astray || (event == XACT_EVENT_PREPARE && (a->used || a->pending >= 0)))
		{
			/* how it ends is seen in the table, later */
			a->position = a->clean = -1;
			a->base = EVENTLOG_BASE_UNKNOWN;
			a->astray = false;
			seen[active[i]] = 0;
		}
		else if (event == XACT_EVENT_COMMIT && a->pending >= 0)
			a->clean = a->base = a->pending;
		a->pending = -1;
		a->used = false;
		if (a->position >= 0 && a->position != a->clean)
		{
			active[keep++] = active[i];
			continue;
		}
		a->active = false;
		if (a->in_use)
		{
			a->in_use = false;
			eventlog_member_done(&a->owned);
		}
	}
	nactive = keep;
	undos = NULL;
	nundos = maxundos = 0;
	in_transaction = false;
}

static void
subscription_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (in_transaction)
				write_pending();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			if (in_transaction)
				end_transaction(event);
			if (event == XACT_EVENT_ABORT && joined)
				look_again = true;	/* the group may not have been made */
			if (leave_at_end)
				leave();
			if (group == NULL || told_lost)
				has_lost = false;
			joined = told_lost = false;
			break;
		default:
			break;
	}
}

static void
subscription_subxact_callback(SubXactEvent event, SubTransactionId subid,
							  SubTransactionId parent, void *arg)
{
	int			first = nundos;

	while (first > 0 && undos[first - 1].subid == subid)
		first--;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		undo_back_to(first);
		look_again |= joined;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/* undone in reverse, so the parent's own entries win */
		for (int i = first; i < nundos; i++)
			undos[i].subid = parent;
	}
}

/* ---- waiting ---- */

bool
eventlog_subscription_has_news(void)
{
	return group != NULL && eventlog_member_has_news(generation);
}

int
eventlog_subscription_max_poll_ms(void)
{
	return group != NULL ? eventlog_member_max_poll() : 0;
}

void
eventlog_subscription_init(void)
{
	RegisterXactCallback(subscription_xact_callback, NULL);
	RegisterSubXactCallback(subscription_subxact_callback, NULL);
}
