/*-------------------------------------------------------------------------
 *
 * consume.c
 *	  Consuming in transactions: claims, consume(), commit().
 *
 * A claim is a group's right to a partition for one transaction: a
 * heavyweight lock that nobody waits for.  It is released with the
 * transaction, or the savepoint, that took it, and by the death of its
 * backend; PREPARE TRANSACTION keeps it.
 *
 * Order, always: claim, then a fresh snapshot, then the position.  So the
 * position that is read is the one that the claim's last holder committed.
 * Under REPEATABLE READ the snapshot is the transaction's; a position that
 * was committed after it is a serialization failure.
 *
 * What a claim has read so far is kept here, in memory, with enough history
 * to take it back when a savepoint is rolled back; commit() writes it to the
 * group's rows, which roll back by themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "consume.h"
#include "emit.h"
#include "group.h"
#include "locktag.h"
#include "log_scan.h"
#include "log_storage.h"
#include "metrics.h"
#include "poll.h"
#include "position.h"
#include "seen.h"
#include "subscription.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(eventlog_consume);
PG_FUNCTION_INFO_V1(eventlog_commit_all);
PG_FUNCTION_INFO_V1(eventlog_commit_one);
PG_FUNCTION_INFO_V1(eventlog_claim_key);

typedef struct Claim
{
	char	   *group;
	Oid			topic;
	Oid			leaf;
	int32		partition;
	int64		first;			/* where this transaction began to read */
	int64		position;		/* next offset that a call reads */
	int64		committed;		/* as in the group's row; -1: no row */
	SubTransactionId subid;		/* which took the claim */
	bool		drained;		/* the last look came to the end of the log */
	uint64		activity;		/* of the leaf before that look */
} Claim;

/* What a claim was before a subtransaction changed it. */
typedef struct Undo
{
	SubTransactionId subid;
	int			claim;			/* index */
	int64		position;
	int64		committed;
} Undo;

/* All in TopTransactionContext; forgotten at the end of the transaction. */
static Claim *claims = NULL;
static int	nclaims = 0;
static int	maxclaims = 0;
static Undo *undos = NULL;
static int	nundos = 0;
static int	maxundos = 0;

/* Claims whose locks are just being released. */
static const Claim *released = NULL;
static int	nreleased = 0;

/* ---- claims ---- */

/* The group among those who wait. */
static uint32
group_id(const char *group)
{
	return Max(eventlog_group_hash(group), EVENTLOG_WAIT_ALONE + 1);
}

static void
claim_tag(LOCKTAG *tag, const char *group, Oid leaf)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, leaf, eventlog_group_hash(group), EVENTLOG_LOCK_CLAIM);
}

/*
 * Having got a claim: is the group still there, and for us?  Who drops it or
 * changes its type has had all its claims until that was committed.
 */
static void
check_claimed(const char *group, EventlogTopic *topic)
{
	AcceptInvalidationMessages();
	eventlog_group_check(group, topic, EVENTLOG_GROUP_CONSUME);
}

static Claim *
find_claim(const char *group, Oid leaf)
{
	for (int i = 0; i < nclaims; i++)
	{
		if (claims[i].leaf == leaf && strcmp(claims[i].group, group) == 0)
			return &claims[i];
	}
	return NULL;
}

/*
 * Before a claim changes: remember how to take that back.
 */
static void
save_claim(Claim *claim)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	int			index = claim - claims;
	Undo	   *undo;

	if (claim->subid == subid)
		return;					/* rolling back drops the claim itself */
	for (int i = nundos - 1; i >= 0 && undos[i].subid == subid; i--)
	{
		if (undos[i].claim == index)
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
	undo->claim = index;
	undo->position = claim->position;
	undo->committed = claim->committed;
}

static Claim *
add_claim(const char *group, EventlogTopic *topic, int32 partition,
		  int64 first, int64 position, int64 committed)
{
	Claim	   *claim;

	if (nclaims == maxclaims)
	{
		int			n = Max(maxclaims * 2, 16);

		claims = claims ? repalloc(claims, n * sizeof(Claim)) :
			MemoryContextAlloc(TopTransactionContext, n * sizeof(Claim));
		maxclaims = n;
	}
	claim = &claims[nclaims];
	claim->group = MemoryContextStrdup(TopTransactionContext, group);
	claim->topic = topic->relid;
	claim->leaf = topic->leaves[partition];
	claim->partition = partition;
	claim->first = first;
	claim->position = position;
	claim->committed = committed;
	claim->subid = GetCurrentSubTransactionId();
	nclaims++;
	return claim;
}

static void
consume_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			released = claims;
			nreleased = nclaims;
			for (int i = 0; i < nclaims; i++)
			{
				if (event == XACT_EVENT_ABORT)
					claims[i].drained = false;
				else if (claims[i].drained && claims[i].position == claims[i].committed &&
						 !IsolationUsesXactSnapshot())
					eventlog_seen_note(claims[i].group, claims[i].topic, claims[i].partition,
									   claims[i].activity);
			}
			/* FALLTHROUGH */
		case XACT_EVENT_PREPARE:
			claims = NULL;
			undos = NULL;
			nclaims = maxclaims = nundos = maxundos = 0;
			break;
		default:
			break;
	}
}

static void
consume_subxact_callback(SubXactEvent event, SubTransactionId subid,
						 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nundos > 0 && undos[nundos - 1].subid == subid)
		{
			Undo	   *undo = &undos[--nundos];

			claims[undo->claim].position = undo->position;
			claims[undo->claim].committed = undo->committed;
		}
		/* claims are in the order in which they were taken */
		nreleased = 0;
		while (nclaims > 0 && claims[nclaims - 1].subid == subid)
		{
			claims[--nclaims].drained = false;
			nreleased++;
		}
		released = claims + nclaims;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		int			keep = nundos;

		for (int i = nclaims - 1; i >= 0 && claims[i].subid == subid; i--)
			claims[i].subid = parent;

		/* of several undos of one claim, the parent needs the oldest */
		while (keep > 0 && undos[keep - 1].subid == subid)
			keep--;
		for (int i = keep, n = nundos; i < n; i++)
		{
			bool		known = claims[undos[i].claim].subid == parent;

			for (int j = keep - 1; !known && j >= 0 && undos[j].subid == parent; j--)
				known = undos[j].claim == undos[i].claim;
			if (!known)
			{
				undos[keep] = undos[i];
				undos[keep++].subid = parent;
			}
		}
		nundos = keep;
	}
}

/*
 * Claims have been released: if there may be more in their partitions, wake
 * the next of the group.  In the memory of the transaction, which is still
 * there.
 */
static void
consume_release_callback(ResourceReleasePhase phase, bool commit, bool top_level, void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || nreleased == 0)
		return;
	for (int i = 0; i < nreleased; i++)
	{
		const Claim *claim = &released[i];

		if (!claim->drained || claim->position > claim->committed ||
			eventlog_activity(claim->leaf) != claim->activity)
			eventlog_wakeup_next(claim->topic, group_id(claim->group));
	}
	nreleased = 0;
}

void
eventlog_consume_init(void)
{
	RegisterXactCallback(consume_xact_callback, NULL);
	RegisterResourceReleaseCallback(consume_release_callback, NULL);
	RegisterSubXactCallback(consume_subxact_callback, NULL);
}

void
eventlog_consume_claim(const char *group, Oid leaf)
{
	LOCKTAG		tag;

	claim_tag(&tag, group, leaf);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
eventlog_consume_moved(const char *group, Oid leaf, int64 next_offset)
{
	Claim	   *claim = find_claim(group, leaf);

	if (claim == NULL)
		return;
	save_claim(claim);
	claim->first = claim->position = claim->committed = next_offset;
}

static void
commit_claim(Claim *claim, int64 next_offset)
{
	EventlogTopic *topic = eventlog_topic_by_relid(claim->topic);

	if (topic != NULL)
		eventlog_group_note_commit(claim->group, topic);
	eventlog_position_set(claim->group, claim->topic, claim->partition, next_offset);
	save_claim(claim);
	claim->committed = next_offset;
}

/* ---- consume ---- */

/*
 * Where to go on if the log does not hold the position.  "first" says that the
 * group has never had one.  *skipped is set if the group goes on elsewhere than
 * at the log's start: that has to be written down, or it would skip what comes
 * meanwhile.
 */
static int64
position_in_log(const char *group, EventlogTopic *topic, int32 partition, EventlogCursor *cur,
				int64 position, bool first, bool *skipped)
{
	int64		start = cur->meta.log_start_offset;

	*skipped = false;
	if (position < start && !first)
	{
		switch (eventlog_group_reset_policy(group, topic->relid))
		{
			case EVENTLOG_RESET_EARLIEST:
				break;
			case EVENTLOG_RESET_LATEST:
				*skipped = true;
				return eventlog_scan_lso(cur->rel, cur->snapshot, NULL);
			case EVENTLOG_RESET_DURATION:
			case EVENTLOG_RESET_TIME:
				*skipped = true;
				return eventlog_group_offset_for_time(cur->rel,
													  eventlog_group_reset_time(group, topic->relid));
			case EVENTLOG_RESET_ERROR:
				ereport(ERROR,
						(errcode(ERRCODE_EVENTLOG_OFFSET_OUT_OF_RANGE),
						 errmsg("consumer group \"%s\" has missed records of partition %d of topic \"%s\"",
								group, partition, topic->name),
						 errdetail("The group's position is offset %lld, and the log starts at %lld: offsets %lld to %lld were removed.",
								   (long long) position, (long long) start,
								   (long long) position, (long long) (start - 1)),
						 errhint("Call eventlog.reset_offsets() to go on, or give the group a config \"auto.offset.reset\".")));
		}
	}
	if (position > cur->meta.next_offset)
	{
		EventlogMeta meta;

		/* a restored dump's next offset may be ahead of its records */
		eventlog_storage_read_all(cur->rel, &meta);
		if (position > Max(meta.head.next_offset, meta.life.min_next_offset))
			ereport(ERROR,
					(errcode(ERRCODE_EVENTLOG_OFFSET_DIVERGED),
					 errmsg("position of consumer group \"%s\" in partition %d of topic \"%s\" is diverged",
							group, partition, topic->name),
					 errdetail("The group's position is offset %lld, and the next offset of the log is %lld: the group has read records that the log has lost.",
							   (long long) position, (long long) meta.head.next_offset),
					 errhint("Call eventlog.reset_offsets() once it is clear what that means for those who consumed them.")));
	}
	return Max(position, start);
}

int64
eventlog_consume_position(const char *group, EventlogTopic *topic, int32 partition,
						  Snapshot snapshot, int64 *committed)
{
	EventlogPosition found;
	int64		position;

	eventlog_position_get(group, topic->relid, partition, snapshot, &found);
	if (TransactionIdIsValid(found.writer))
		return -1;
	*committed = found.next_offset;
	if (found.newer)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent consumption"),
				 errdetail("Group \"%s\" has committed an offset of partition %d since this transaction's snapshot was taken.",
						   group, partition),
				 errhint("The transaction might succeed if retried.")));
	position = *committed >= 0 ? *committed : eventlog_group_start(group, topic->relid);
	if (position < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("consumer group \"%s\" has no committed offset for partition %d of topic \"%s\"",
						group, partition, topic->name),
				 errdetail("The group was created with start \"none\"."),
				 errhint("Consume with another group, created with start \"earliest\", \"latest\" or a timestamp.")));
	return position;
}

int64
eventlog_consume_records(EventlogEmitter *emitter, const char *group, Relation leaf,
						 int32 partition, Snapshot snapshot, int64 position, bool first,
						 int64 max_records, int64 *went_to)
{
	uint64		before = emitter->count;
	EventlogCursor *cur;
	EventlogRecord rec;
	bool		skipped;

	PredicateLockRelation(leaf, snapshot);
	cur = eventlog_cursor_open(leaf, snapshot, true);
	position = position_in_log(group, emitter->topic, partition, cur, position, first, &skipped);
	*went_to = skipped ? position : -1;
	eventlog_cursor_seek(cur, position);
	while (emitter->count < max_records && eventlog_cursor_next(cur))
	{
		while (emitter->count < max_records && eventlog_batch_next(&cur->reader, &rec))
		{
			if (rec.offset < position)
				continue;
			eventlog_emit(emitter, partition, &rec);
			position = rec.offset + 1;
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
	}

	/* having come to the end, pass over what aborted behind the last record */
	if (emitter->count > before && !cur->on_batch)
		position = Max(position, cur->pos.offset);
	eventlog_cursor_close(cur);
	return position;
}

/*
 * Read what one partition has for the group, up to max_records in all.  True
 * if there was nothing, and nobody else has it: then *activity is what the
 * leaf's was before that look.
 */
static bool
consume_partition(EventlogEmitter *emitter, const char *group, int32 partition, int64 max_records,
				  uint64 *activity)
{
	EventlogTopic *topic = emitter->topic;
	Oid			leafid = topic->leaves[partition];
	Claim	   *claim = find_claim(group, leafid);
	uint64		before = emitter->count;
	LOCKTAG		tag;
	Relation	leaf;
	Snapshot	snapshot;
	int64		first,
				position,
				committed;
	int64		went_to;

	if (claim == NULL)
	{
		claim_tag(&tag, group, leafid);
		if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
			return false;
		check_claimed(group, topic);
	}

	leaf = try_table_open(leafid, AccessShareLock);
	if (leaf == NULL)
	{
		/* dropped meanwhile */
		if (claim == NULL)
			LockRelease(&tag, ExclusiveLock, false);
		return false;
	}
	*activity = eventlog_activity(leafid);
	snapshot = eventlog_fresh_snapshot();
	if (claim)
	{
		position = claim->position;
		committed = claim->committed;
	}
	else
		position = eventlog_consume_position(group, topic, partition, snapshot, &committed);
	if (position < 0)
	{
		/* before a crash, a transaction had the claim that is now prepared */
		UnregisterSnapshot(snapshot);
		table_close(leaf, NoLock);
		LockRelease(&tag, ExclusiveLock, false);
		return false;
	}

	first = position;
	position = eventlog_consume_records(emitter, group, leaf, partition, snapshot, position,
										committed < 0 && claim == NULL, max_records, &went_to);
	UnregisterSnapshot(snapshot);
	table_close(leaf, NoLock);

	if (emitter->count > before || went_to >= 0)
	{
		if (claim == NULL)
			claim = add_claim(group, topic, partition, Max(first, went_to), position, committed);
		else
		{
			save_claim(claim);
			claim->position = position;
		}
		claim->drained = emitter->count < max_records;
		claim->activity = *activity;
		if (went_to >= 0 && !XactReadOnly)
			commit_claim(claim, went_to);
	}
	else if (claim == NULL)
	{
		/* nothing there: leave it to others, and spare the lock table */
		LockRelease(&tag, ExclusiveLock, false);
		UnlockRelationOid(leafid, AccessShareLock);
		return !IsolationUsesXactSnapshot();
	}
	else
		claim->activity = *activity;
	return false;
}

/*
 * One look at all partitions of the topic.
 */
static void
consume_topic(EventlogEmitter *emitter, const char *group, int64 max_records)
{
	EventlogTopic *topic = emitter->topic;
	EventlogSeen *seen = eventlog_seen(group, topic);
	int32		npartitions = topic->npartitions;
	uint64		all = eventlog_activity(topic->relid);
	uint64		activity = 0;
	int32		start;
	bool		empty = true;

	/* what this transaction holds comes first, so that it stays in order */
	for (int i = 0; i < nclaims && emitter->count < max_records; i++)
	{
		if (claims[i].topic != topic->relid || strcmp(claims[i].group, group) != 0)
			continue;
		empty = false;
		if (!claims[i].drained || claims[i].activity != eventlog_activity(claims[i].leaf))
			(void) consume_partition(emitter, group, claims[i].partition, max_records, &activity);
	}
	if (seen->topic == all)
		npartitions = 0;
	start = npartitions <= 1 ? 0 : (int32) (eventlog_next_turn(topic->relid) % npartitions);
	for (int i = 0; i < npartitions; i++)
	{
		int32		partition = (start + i) % npartitions;
		Oid			leaf = topic->leaves[partition];
		bool		nothing;

		activity = eventlog_activity(leaf);
		if (seen->partition[partition] == activity)
			continue;
		if (emitter->count >= max_records)
		{
			empty = false;
			break;
		}
		if (nclaims > 0 && find_claim(group, leaf) != NULL)
			continue;

		/*
		 * What comes while the claim is held wakes others in vain, so what
		 * has come meanwhile must not be left alone.
		 */
		do
			nothing = consume_partition(emitter, group, partition, max_records, &activity);
		while (nothing && activity != eventlog_activity(leaf));

		if (nothing)
		{
			/* looking may have rebuilt what is known of the topic */
			seen = eventlog_seen(group, topic);
			if (partition < seen->npartitions)
				seen->partition[partition] = activity;
		}
		else
			empty = false;
	}
	if (empty)
		seen->topic = all;
	if (!IsolationUsesXactSnapshot())
		eventlog_seen_set_last_look(topic->relid, emitter->count < max_records ? all : 0);
}

/* Write all positions, of one group or of all. */
static void
commit_claims(const char *group)
{
	for (int i = 0; i < nclaims; i++)
	{
		if (group && strcmp(claims[i].group, group) != 0)
			continue;
		if (claims[i].position > claims[i].committed &&
			eventlog_topic_by_relid(claims[i].topic) != NULL)	/* else dropped since */
			commit_claim(&claims[i], claims[i].position);
	}
}

static char *
group_argument(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("consumer_group must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/*
 * consume(consumer_group, topic, max_records, max_wait, auto_commit)
 */
Datum
eventlog_consume(PG_FUNCTION_ARGS)
{
	char	   *group = group_argument(fcinfo, 0);
	EventlogEmitter emitter;
	int64		max_records = eventlog_max_records(fcinfo, 2);
	TimestampTz deadline = eventlog_deadline(fcinfo, 3);
	bool		auto_commit = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);

	PreventCommandDuringRecovery("consume()");
	PreventCommandIfParallelMode("consume()");
	if (auto_commit)
		PreventCommandIfReadOnly("consume()");
	eventlog_emit_begin(&emitter, fcinfo, 1);
	eventlog_group_check(group, emitter.topic, EVENTLOG_GROUP_CONSUME);

	for (bool waiting = false; max_records > 0; waiting = true)
	{
		if (waiting)
			eventlog_wait_on(emitter.topic->relid, group_id(group), NULL);
		consume_topic(&emitter, group, max_records);
		if (emitter.count > 0 || !eventlog_wait_possible(deadline))
			break;
		if (waiting)
		{
			if (!eventlog_wait_sleep(deadline))
				break;
			emitter.topic = eventlog_topic_after_wait(emitter.topic);
		}
	}
	eventlog_wait_end();
	eventlog_metrics_consumed(emitter.topic->relid, EVENTLOG_VIA_CONSUME, emitter.count, emitter.bytes);
	if (auto_commit)
		commit_claims(group);
	return (Datum) 0;
}

/* ---- dead letters ---- */

int64
eventlog_consume_take(const char *group, EventlogTopic *topic, int32 partition, int64 *first)
{
	Oid			leafid = topic->leaves[partition];
	Claim	   *claim = find_claim(group, leafid);
	Snapshot	snapshot;
	Relation	leaf;
	EventlogCursor *cur;
	int64		committed = -1;
	int64		position;
	bool		skipped;

	if (claim != NULL)
	{
		*first = claim->first;
		return claim->position;
	}
	eventlog_group_check(group, topic, EVENTLOG_GROUP_CONSUME);
	eventlog_consume_claim(group, leafid);
	check_claimed(group, topic);
	leaf = table_open(leafid, AccessShareLock);
	snapshot = eventlog_fresh_snapshot();
	position = eventlog_consume_position(group, topic, partition, snapshot, &committed);
	if (position < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the position in partition %d of topic \"%s\" is not known yet",
						partition, topic->name),
				 errhint("Try again when the transaction that commits it has ended.")));
	cur = eventlog_cursor_open(leaf, snapshot, true);
	*first = position = position_in_log(group, topic, partition, cur, position, committed < 0, &skipped);
	eventlog_cursor_close(cur);
	UnregisterSnapshot(snapshot);
	table_close(leaf, NoLock);
	claim = add_claim(group, topic, partition, position, position, committed);
	claim->drained = false;
	claim->activity = 0;
	return position;
}

void
eventlog_consume_pass(const char *group, EventlogTopic *topic, int32 partition, int64 next_offset)
{
	Claim	   *claim = find_claim(group, topic->leaves[partition]);

	save_claim(claim);
	claim->position = next_offset;
	commit_claim(claim, next_offset);
}

/* ---- commit ---- */

/*
 * commit(): all that this transaction has consumed
 */
Datum
eventlog_commit_all(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("commit()");
	PreventCommandIfParallelMode("commit()");
	commit_claims(NULL);
	eventlog_subscription_commit();
	PG_RETURN_VOID();
}

/*
 * commit(consumer_group, topic, partition, next_offset)
 */
Datum
eventlog_commit_one(PG_FUNCTION_ARGS)
{
	char	   *group = group_argument(fcinfo, 0);
	EventlogTopic *topic;
	int32		partition;
	int64		next_offset;
	Claim	   *claim = NULL;

	for (int i = 1; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arguments of commit() must not be null")));
	}
	PreventCommandIfReadOnly("commit()");
	PreventCommandIfParallelMode("commit()");
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	partition = PG_GETARG_INT32(2);
	next_offset = PG_GETARG_INT64(3);
	eventlog_topic_check_acl(topic, ACL_SELECT);

	if (eventlog_poll_commit_one(group, topic, partition, next_offset))
		PG_RETURN_VOID();
	if (partition >= 0 && partition < topic->npartitions)
		claim = find_claim(group, topic->leaves[partition]);
	if (claim == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("group \"%s\" has not consumed partition %d of topic \"%s\" in this transaction",
						group, partition, topic->name),
				 errhint("An offset is committed in the transaction that consumed up to it.")));
	if (next_offset < claim->committed || next_offset < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset %lld is below the committed offset %lld of group \"%s\"",
						(long long) next_offset, (long long) Max(claim->committed, 0), group)));
	if (next_offset > claim->position)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset %lld is above offset %lld, up to which this transaction has consumed",
						(long long) next_offset, (long long) claim->position),
				 errdetail("Committing it would skip records that nobody has seen.")));
	commit_claim(claim, next_offset);
	PG_RETURN_VOID();
}

/*
 * The part of a claim's lock that stands for the group (pg_locks.objid).
 */
Datum
eventlog_claim_key(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(eventlog_group_hash(group_argument(fcinfo, 0)));
}
