/*-------------------------------------------------------------------------
 *
 * poll.c
 *	  Consuming as a member of a group: subscribe(), poll() and their like.
 *
 * What the session owns, and how far it has read, is in subscription.c; here
 * are the SQL functions, and the reading.
 *
 * A look at a partition: note its activity, tell shared memory that it is in
 * use, see that no former owner is just committing, then a fresh snapshot,
 * then the position, if it is not known.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "consume.h"
#include "log_storage.h"
#include "metrics.h"
#include "pg_eventlog.h"
#include "poll.h"
#include "seen.h"
#include "subscription.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(eventlog_subscribe);
PG_FUNCTION_INFO_V1(eventlog_assign);
PG_FUNCTION_INFO_V1(eventlog_unsubscribe);
PG_FUNCTION_INFO_V1(eventlog_poll);
PG_FUNCTION_INFO_V1(eventlog_poll_typed);
PG_FUNCTION_INFO_V1(eventlog_seek);
PG_FUNCTION_INFO_V1(eventlog_pause);
PG_FUNCTION_INFO_V1(eventlog_resume);
PG_FUNCTION_INFO_V1(eventlog_assignment);
PG_FUNCTION_INFO_V1(eventlog_wait_for);
PG_FUNCTION_INFO_V1(eventlog_member_status);

/* Single partitions are waited for if there are not more than this. */
#define MAX_WAITS	6

/* Where the next poll begins: behind what the last one has read. */
static uint32 turn = 0;

static void
check_not_null(FunctionCallInfo fcinfo, int count, const char *function)
{
	for (int i = 0; i < count; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arguments of %s must not be null", function)));
	}
}

/*
 * The names of an array of topics; "purpose" is what they are for.
 */
static List *
topics_argument(FunctionCallInfo fcinfo, int arg, const char *purpose)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	List	   *names = NIL;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a topic to %s must not be null", purpose)));
		names = lappend(names, TextDatumGetCString(elements[i]));
	}
	return names;
}

static void
check_subscribed(void)
{
	if (eventlog_subscription_group() == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this session has not subscribed"),
				 errhint("Call eventlog.subscribe() or eventlog.assign() first; behind a pooler in transaction mode, use eventlog.consume().")));
}

/* ---- membership ---- */

static char *
client_id_argument(FunctionCallInfo fcinfo, int arg)
{
	if (!PG_ARGISNULL(arg))
		return text_to_cstring(PG_GETARG_TEXT_PP(arg));
	return pstrdup(application_name ? application_name : "");
}

/*
 * subscribe(consumer_group, topics, client_id)
 */
Datum
eventlog_subscribe(PG_FUNCTION_ARGS)
{
	List	   *names;

	check_not_null(fcinfo, 2, "subscribe()");
	PreventCommandDuringRecovery("subscribe()");
	PreventCommandIfParallelMode("subscribe()");
	names = topics_argument(fcinfo, 1, "subscribe to");
	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no topics to subscribe to"),
				 errhint("To leave the group, call eventlog.unsubscribe().")));
	eventlog_subscription_begin(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								client_id_argument(fcinfo, 2), names, false, NULL, 0);
	PG_RETURN_VOID();
}

/*
 * assign(consumer_group, topic, partitions, client_id)
 */
Datum
eventlog_assign(PG_FUNCTION_ARGS)
{
	int32	   *partitions = NULL;
	int			count = 0;

	check_not_null(fcinfo, 2, "assign()");
	PreventCommandDuringRecovery("assign()");
	PreventCommandIfParallelMode("assign()");
	if (!PG_ARGISNULL(2))
	{
		Datum	   *elements;
		bool	   *nulls;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), INT4OID, sizeof(int32), true, TYPALIGN_INT,
						  &elements, &nulls, &count);
		partitions = palloc(sizeof(int32) * Max(count, 1));
		for (int i = 0; i < count; i++)
		{
			if (nulls[i])
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("a partition to assign must not be null")));
			partitions[i] = DatumGetInt32(elements[i]);
		}
	}
	eventlog_subscription_begin(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								client_id_argument(fcinfo, 3),
								list_make1(text_to_cstring(PG_GETARG_TEXT_PP(1))), true,
								partitions, count);
	PG_RETURN_VOID();
}

Datum
eventlog_unsubscribe(PG_FUNCTION_ARGS)
{
	eventlog_subscription_end();
	PG_RETURN_VOID();
}

/* ---- poll ---- */

/*
 * Look at one partition.
 */
static void
look(EventlogAssigned *a, EventlogEmitter *emitter, int64 max_records)
{
	const char *group = eventlog_subscription_group();
	EventlogTopic *topic = eventlog_topic_by_relid(a->owned.topic);
	uint64		before = emitter->count;
	int64		bytes = emitter->bytes;
	uint64		activity = eventlog_activity(a->owned.leaf);
	TransactionId writer;
	Relation	leaf;
	Snapshot	snapshot;
	bool		first = false;
	int64		went_to = -1;
	int64		position;

	if (topic == NULL || !eventlog_member_use(&a->owned))
		return;
	leaf = try_table_open(a->owned.leaf, AccessShareLock);
	writer = eventlog_member_writer(&a->owned);
	if (leaf == NULL ||
		(a->position < 0 && TransactionIdIsValid(writer) &&
		 !TransactionIdIsCurrentTransactionId(writer) && TransactionIdIsInProgress(writer)))
	{
		if (leaf != NULL)
			table_close(leaf, AccessShareLock);
		if (!a->in_use)
			eventlog_member_done(&a->owned);
		return;
	}

	PG_TRY();
	{
		eventlog_topic_check_acl(topic, ACL_SELECT);
		eventlog_emit_set_topic(emitter, topic);
		snapshot = eventlog_fresh_snapshot();
		position = a->position;
		if (position < 0)
		{
			int64		committed = -1;

			position = eventlog_consume_position(group, topic, a->owned.partition, snapshot,
												 &committed);
			first = committed < 0;
		}
		if (position >= 0)
		{
			eventlog_subscription_save(a);
			if (a->position < 0)
			{
				a->clean = position;
				a->base = first ? -1 : position;
			}
			position = eventlog_consume_records(emitter, group, leaf, a->owned.partition,
												snapshot, position, first, max_records, &went_to);
		}
		UnregisterSnapshot(snapshot);
	}
	PG_CATCH();
	{
		if (!a->in_use)
			eventlog_member_done(&a->owned);
		PG_RE_THROW();
	}
	PG_END_TRY();
	/* who has got nothing does not keep the topic while it waits for more */
	table_close(leaf, emitter->count > before ? NoLock : AccessShareLock);
	if (position < 0)
	{
		/* a prepared transaction has written it; its end wakes everybody */
		eventlog_member_done(&a->owned);
		return;
	}

	if (a->position < 0 && went_to < 0 && emitter->count == before)
		a->clean = position;
	else if (went_to >= 0)
		a->clean = -1;			/* to be committed even if nothing is read */
	a->position = position;
	if (emitter->count > before)
	{
		a->used = a->in_use = true;
		eventlog_metrics_consumed(topic->relid, EVENTLOG_VIA_POLL, emitter->count - before,
								  emitter->bytes - bytes);
	}
	else if (!a->in_use)
		eventlog_member_done(&a->owned);
	eventlog_subscription_set_seen(a, emitter->count < max_records && !IsolationUsesXactSnapshot() ?
								   activity : 0);
}

/*
 * One look at all that is assigned.
 */
static void
look_at_all(EventlogEmitter *emitter, int64 max_records)
{
	Oid			only = emitter->typed ? emitter->topic->relid : InvalidOid;
	EventlogAssigned *assigned;
	int			count;
	int			start;

	assigned = eventlog_subscription_assigned(&count);
	start = count > 0 ? turn % count : 0;
	for (int pass = 0; pass < 2; pass++)
	{
		int			end = pass == 0 ? count : start;

		for (int n = eventlog_subscription_next(pass == 0 ? start : 0);
			 n < end && emitter->count < max_records; n = eventlog_subscription_next(n + 1))
		{
			EventlogAssigned *a = &assigned[n];

			if (a->paused || a->owned.leaving || (OidIsValid(only) && a->owned.topic != only))
				continue;
			look(a, emitter, max_records);
			turn = n + 1;
			CHECK_FOR_INTERRUPTS();
		}
	}
}

/*
 * Register for what could bring records.
 */
static void
wait_for_assigned(void)
{
	int			count;
	EventlogAssigned *assigned = eventlog_subscription_assigned(&count);
	int			ntopics = 0;
	Oid			known[MAX_WAITS];
	EventlogWaitMask masks[MAX_WAITS];

	if (count <= MAX_WAITS)
	{
		for (int i = 0; i < count; i++)
		{
			if (!assigned[i].paused)
				eventlog_wait_on(assigned[i].owned.leaf, EVENTLOG_WAIT_ALONE, NULL);
		}
		return;
	}
	for (int i = 0; i < count; i++)
	{
		int			t = ntopics - 1;

		if (assigned[i].paused)
			continue;
		while (t >= 0 && known[t] != assigned[i].owned.topic)
			t--;
		if (t < 0 && ntopics == MAX_WAITS)
		{
			eventlog_wait_on(InvalidOid, EVENTLOG_WAIT_ALONE, NULL);
			return;
		}
		if (t < 0)
		{
			t = ntopics++;
			known[t] = assigned[i].owned.topic;
			memset(&masks[t], 0, sizeof(EventlogWaitMask));
		}
		eventlog_wait_mask_add(&masks[t], assigned[i].owned.partition);
	}
	for (int t = 0; t < ntopics; t++)
		eventlog_wait_on(known[t], EVENTLOG_WAIT_ALONE, &masks[t]);
}

static Datum
poll(FunctionCallInfo fcinfo, int topic_arg)
{
	int			arg = topic_arg + 1;
	int64		max_records = eventlog_max_records(fcinfo, arg);
	TimestampTz deadline = eventlog_deadline(fcinfo, arg + 1);
	EventlogEmitter emitter;

	PreventCommandDuringRecovery("poll()");
	PreventCommandIfParallelMode("poll()");
	check_subscribed();
	eventlog_emit_begin_topics(&emitter, fcinfo, topic_arg);
	for (bool waiting = false;; waiting = true)
	{
		if (waiting)
			eventlog_wait_begin();
		eventlog_subscription_refresh();
		if (waiting)
			wait_for_assigned();
		look_at_all(&emitter, max_records);
		if (emitter.count > 0 || max_records == 0 || !eventlog_wait_possible(deadline))
			break;
		if (waiting)
		{
			/* who waits is alive: let the group see that in time */
			int			ms = Max(eventlog_subscription_max_poll_ms() / 2, 1);
			TimestampTz look_again = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

			if (!eventlog_wait_sleep(Min(deadline, look_again)) && deadline <= GetCurrentTimestamp())
				break;
		}
	}
	eventlog_wait_end();
	eventlog_metrics_count(EVENTLOG_METRIC_POLLS, 1);
	if (emitter.count == 0)
		eventlog_metrics_count(EVENTLOG_METRIC_EMPTY_POLLS, 1);
	return (Datum) 0;
}

/*
 * poll(max_records, max_wait)
 */
Datum
eventlog_poll(PG_FUNCTION_ARGS)
{
	return poll(fcinfo, -1);
}

/*
 * poll(null::topics.name, max_records, max_wait)
 */
Datum
eventlog_poll_typed(PG_FUNCTION_ARGS)
{
	return poll(fcinfo, 0);
}

/* ---- positions ---- */

static EventlogAssigned *
assigned_argument(FunctionCallInfo fcinfo, EventlogTopic **topic)
{
	int32		partition = PG_GETARG_INT32(1);
	EventlogAssigned *a;

	check_subscribed();
	*topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eventlog_topic_check_partition(*topic, partition);
	eventlog_subscription_refresh();
	a = eventlog_subscription_find((*topic)->relid, partition);
	if (a == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition %d of topic \"%s\" is not assigned to this session",
						partition, (*topic)->name),
				 errhint("eventlog.assignment() tells what is.")));
	return a;
}

/*
 * seek(topic, partition, next_offset)
 */
Datum
eventlog_seek(PG_FUNCTION_ARGS)
{
	int64		next_offset = PG_GETARG_INT64(2);
	EventlogTopic *topic;
	EventlogAssigned *a;
	EventlogMetaHead meta;
	Relation	leaf;

	check_not_null(fcinfo, 3, "seek()");
	a = assigned_argument(fcinfo, &topic);
	eventlog_topic_check_acl(topic, ACL_SELECT);
	leaf = table_open(a->owned.leaf, AccessShareLock);
	eventlog_storage_read_meta(leaf, &meta, NULL);
	table_close(leaf, AccessShareLock);
	eventlog_check_offset(topic, a->owned.partition, next_offset, &meta);
	eventlog_subscription_save(a);
	a->position = next_offset;
	eventlog_subscription_set_seen(a, 0);
	PG_RETURN_VOID();
}

static void
set_paused(FunctionCallInfo fcinfo, bool paused)
{
	const char *function = paused ? "pause()" : "resume()";
	EventlogTopic *topic;
	EventlogAssigned *assigned;
	int			count;

	check_not_null(fcinfo, 1, function);
	if (!PG_ARGISNULL(1))
	{
		assigned_argument(fcinfo, &topic)->paused = paused;
		return;
	}
	check_subscribed();
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eventlog_subscription_refresh();
	assigned = eventlog_subscription_assigned(&count);
	for (int i = 0; i < count; i++)
	{
		if (assigned[i].owned.topic == topic->relid)
			assigned[i].paused = paused;
	}
}

/*
 * pause(topic, partition)
 */
Datum
eventlog_pause(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, true);
	PG_RETURN_VOID();
}

Datum
eventlog_resume(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, false);
	PG_RETURN_VOID();
}

/* A partition of this session that it had before this call. */
static EventlogAssigned *
find_owned(EventlogTopic *topic, int32 partition)
{
	EventlogAssigned *a = eventlog_subscription_find(topic->relid, partition);

	if (a == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EVENTLOG_FENCED),
				 errmsg("partition %d of topic \"%s\" does not belong to this member of group \"%s\"",
						partition, topic->name, eventlog_subscription_group()),
				 errhint("Roll back and call eventlog.poll(). A member that does not poll for max.poll.interval.ms is removed from its group.")));
	return a;
}

bool
eventlog_poll_is_member(const char *group)
{
	return eventlog_subscription_group() != NULL &&
		strcmp(eventlog_subscription_group(), group) == 0;
}

bool
eventlog_poll_commit_one(const char *group, EventlogTopic *topic, int32 partition, int64 next_offset)
{
	EventlogAssigned *a;

	if (!eventlog_poll_is_member(group))
		return false;
	a = find_owned(topic, partition);
	if (next_offset < 0 || a->position < 0 || next_offset > a->position)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset %lld is not among those that this session has read of partition %d of topic \"%s\"",
						(long long) next_offset, partition, topic->name),
				 errdetail("Its position is offset %lld.", (long long) Max(a->position, 0)),
				 errhint("To go elsewhere, call eventlog.seek() first.")));
	eventlog_subscription_commit_one(a, next_offset);
	return true;
}

int64
eventlog_poll_position(EventlogTopic *topic, int32 partition, int64 *first)
{
	EventlogAssigned *a;

	eventlog_subscription_refresh();
	a = find_owned(topic, partition);
	if (a->position < 0)
	{
		EventlogEmitter nothing = {.topic = topic, .typed = true};

		look(a, &nothing, 0);
	}
	if (a->position < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the position in partition %d of topic \"%s\" is not known yet",
						partition, topic->name),
				 errhint("Try again when the transaction that commits it has ended.")));
	*first = a->clean >= 0 ? Min(a->clean, a->position) : a->position;
	return a->position;
}

void
eventlog_poll_pass(EventlogTopic *topic, int32 partition, int64 next_offset)
{
	EventlogAssigned *a = find_owned(topic, partition);

	eventlog_subscription_save(a);
	a->position = next_offset;
	eventlog_subscription_set_seen(a, 0);
	eventlog_subscription_commit_one(a, next_offset);
}

/* ---- what is assigned ---- */

/*
 * assignment()
 */
Datum
eventlog_assignment(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EventlogAssigned *assigned;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (eventlog_subscription_group() == NULL)
		return (Datum) 0;
	eventlog_subscription_refresh();
	assigned = eventlog_subscription_assigned(&count);
	for (int i = 0; i < count; i++)
	{
		EventlogTopic *topic = eventlog_topic_by_relid(assigned[i].owned.topic);
		Datum		values[4];
		bool		nulls[4] = {false};

		if (topic == NULL)
			continue;
		values[0] = CStringGetTextDatum(topic->name);
		values[1] = Int32GetDatum(assigned[i].owned.partition);
		values[2] = Int64GetDatum(assigned[i].position);
		nulls[2] = assigned[i].position < 0;
		values[3] = BoolGetDatum(assigned[i].paused);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Members of the database's groups, and what they own: those of one's own
 * roles, or all for pg_monitor.
 */
Datum
eventlog_member_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EventlogMemberState *states;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	eventlog_require_preloaded();
	states = eventlog_member_states(&count);
	for (int i = 0; i < count; i++)
	{
		EventlogMemberState *s = &states[i];
		Datum		values[11];
		bool		nulls[11] = {false};

		if (!has_privs_of_role(GetUserId(), s->role) &&
			!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
			continue;
		values[0] = CStringGetTextDatum(s->group);
		values[1] = Int32GetDatum(s->pid);
		values[2] = ObjectIdGetDatum(s->role);
		values[3] = CStringGetTextDatum(s->client_id);
		values[4] = CStringGetTextDatum(s->manual ? "assigned" : "subscribed");
		values[5] = TimestampTzGetDatum(s->joined_at);
		values[6] = TimestampTzGetDatum(s->last_poll_at);
		values[7] = Int32GetDatum(s->max_poll_ms);
		values[8] = ObjectIdGetDatum(s->topic);
		values[9] = Int32GetDatum(s->partition);
		values[10] = BoolGetDatum(s->leaving);
		nulls[8] = nulls[9] = nulls[10] = !OidIsValid(s->topic);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- wait_for ---- */

/* Would poll() look at a partition of this topic? */
static bool
poll_has_news(Oid topic)
{
	int			count;
	EventlogAssigned *assigned = eventlog_subscription_assigned(&count);

	for (int n = eventlog_subscription_next(0); n < count; n = eventlog_subscription_next(n + 1))
	{
		if (assigned[n].owned.topic == topic && !assigned[n].paused && !assigned[n].owned.leaving)
			return true;
	}
	return false;
}

/*
 * wait_for(topics, max_wait): a procedure
 *
 * Outside of a transaction block it holds no snapshot while it waits.
 */
Datum
eventlog_wait_for(PG_FUNCTION_ARGS)
{
	bool		atomic = fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
	List	   *names;
	ListCell   *lc;
	int			count = 0;
	Oid		   *relids;
	uint64	   *seen;
	TimestampTz deadline;
	bool		news = false;

	check_not_null(fcinfo, 2, "wait_for()");
	PreventCommandDuringRecovery("wait_for()");
	deadline = eventlog_deadline(fcinfo, 1);
	names = topics_argument(fcinfo, 0, "wait for");
	relids = palloc(sizeof(Oid) * Max(list_length(names), 1));
	seen = palloc(sizeof(uint64) * Max(list_length(names), 1));
	foreach(lc, names)
	{
		EventlogTopic *topic = eventlog_topic_by_name(lfirst(lc), false);

		eventlog_topic_check_acl(topic, ACL_SELECT);
		relids[count] = topic->relid;
		if (!eventlog_seen_last_look(relids[count], &seen[count]))
			seen[count] = eventlog_activity(relids[count]);
		count++;
	}

	if (!atomic)
	{
		ForgetPortalSnapshots();
		InvalidateCatalogSnapshot();
	}
	for (bool waiting = false; !news; waiting = true)
	{
		if (waiting && count <= EVENTLOG_MAX_WAITS)
		{
			for (int i = 0; i < count; i++)
				eventlog_wait_on(relids[i], EVENTLOG_WAIT_ALONE, NULL);
		}
		else if (waiting)
			eventlog_wait_on(InvalidOid, EVENTLOG_WAIT_ALONE, NULL);
		for (int i = 0; i < count; i++)
			news |= (eventlog_activity(relids[i]) != seen[i] || poll_has_news(relids[i]));
		news |= eventlog_subscription_has_news();
		if (news || deadline <= GetCurrentTimestamp())
			break;
		if (waiting && !eventlog_wait_sleep(deadline))
			break;
	}
	eventlog_wait_end();
	if (!atomic)
		EnsurePortalSnapshotExists();
	PG_RETURN_VOID();
}
