/*-------------------------------------------------------------------------
 *
 * group.c
 *	  Consumer groups and their committed offsets, as catalogue rows.
 *
 * eventlog.consumer_group has a row for each topic that a group consumes;
 * eventlog.committed_offset one for each partition of which it has committed
 * an offset.  Both are ordinary tables, so positions commit and roll back with
 * everything else; a claim (consume.c) makes the writer of a position single.
 *
 * A first consume makes the group.  Workers that start together must not wait
 * for each other's transactions there: whoever finds that another one is just
 * making the group goes on without it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "group.h"
#include "guc.h"
#include "locktag.h"
#include "log_scan.h"
#include "log_storage.h"
#include "payload.h"
#include "position.h"

PG_FUNCTION_INFO_V1(eventlog_create_group);

/* eventlog.consumer_group */
#define GROUP_NAME		1
#define GROUP_TOPIC		2
#define GROUP_OWNER		3
#define GROUP_START		4
#define GROUP_CONFIG	5
#define GROUP_CREATED	6
#define GROUP_NATTS		6

static Oid
eventlog_relation(const char *name)
{
	Oid			oid = get_relname_relid(name, get_namespace_oid("eventlog", false));

	if (!OidIsValid(oid))
		elog(ERROR, "relation eventlog.%s does not exist", name);
	return oid;
}

uint32
eventlog_group_hash(const char *group)
{
	return DatumGetUInt32(hash_any((const unsigned char *) group, strlen(group)));
}

static void
check_name(const char *group)
{
	if (group[0] == '\0' || strlen(group) > EVENTLOG_GROUP_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a consumer group: \"%s\"", group),
				 errdetail("A group's name has 1 to %d bytes.", EVENTLOG_GROUP_NAME_MAX)));
}

/* ---- groups ---- */

/*
 * Find the row of a group and topic.  The copy is palloc'd.
 */
static HeapTuple
find_group(Relation rel, const char *group, Oid topic, Snapshot snapshot)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], GROUP_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(group));
	keys[0].sk_collation = C_COLLATION_OID;
	ScanKeyInit(&keys[1], GROUP_TOPIC, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(topic));
	scan = systable_beginscan(rel, eventlog_relation("consumer_group_pkey"), true, snapshot, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static void
insert_group(Relation rel, const char *group, Oid topic, const char *start, Datum config)
{
	Datum		values[GROUP_NATTS];
	bool		nulls[GROUP_NATTS] = {false};
	HeapTuple	tuple;

	values[GROUP_NAME - 1] = CStringGetTextDatum(group);
	values[GROUP_TOPIC - 1] = ObjectIdGetDatum(topic);
	values[GROUP_OWNER - 1] = ObjectIdGetDatum(GetUserId());
	values[GROUP_START - 1] = CStringGetTextDatum(start);
	values[GROUP_CONFIG - 1] = config;
	values[GROUP_CREATED - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	CatalogTupleInsert(rel, tuple);
	CommandCounterIncrement();
}

static Datum
empty_config(void)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
}

static void
check_owner(HeapTuple tuple, TupleDesc desc, const char *group)
{
	bool		isnull;
	Oid			owner = DatumGetObjectId(heap_getattr(tuple, GROUP_OWNER, desc, &isnull));

	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for consumer group \"%s\"", group),
				 errdetail("It belongs to role \"%s\".", GetUserNameFromId(owner, false)),
				 errhint("Consume as a member of that role, or under another group's name.")));
}

void
eventlog_group_check(const char *group, EventlogTopic *topic)
{
	Relation	rel;
	Snapshot	snapshot;
	HeapTuple	tuple;
	LOCKTAG		tag;

	check_name(group);
	rel = table_open(eventlog_relation("consumer_group"), AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	tuple = find_group(rel, group, topic->relid, snapshot);
	UnregisterSnapshot(snapshot);
	if (HeapTupleIsValid(tuple))
	{
		check_owner(tuple, RelationGetDescr(rel), group);
		heap_freetuple(tuple);
		table_close(rel, AccessShareLock);
		return;
	}
	if (!eventlog_auto_create_groups)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer group \"%s\" of topic \"%s\" does not exist", group, topic->name),
				 errhint("Create it with eventlog.create_group(), or set eventlog.auto_create_groups.")));
	PreventCommandIfReadOnly("consume()");

	/* is somebody else just making it? */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, topic->relid, eventlog_group_hash(group),
						 EVENTLOG_LOCK_NEW_GROUP);
	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
	{
		snapshot = RegisterSnapshot(GetLatestSnapshot());
		tuple = find_group(rel, group, topic->relid, snapshot);
		UnregisterSnapshot(snapshot);
		if (!HeapTupleIsValid(tuple))
		{
			table_close(rel, NoLock);
			rel = table_open(eventlog_relation("consumer_group"), RowExclusiveLock);
			insert_group(rel, group, topic->relid, "earliest", empty_config());
			ereport(NOTICE,
					(errmsg("consumer group \"%s\" of topic \"%s\" has been created", group, topic->name),
					 errdetail("It starts at the earliest record.")));
		}
	}
	table_close(rel, NoLock);
}

int64
eventlog_group_start(const char *group, Oid topic)
{
	Relation	rel = table_open(eventlog_relation("consumer_group"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	HeapTuple	tuple = find_group(rel, group, topic, snapshot);
	int64		start = 0;

	UnregisterSnapshot(snapshot);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, GROUP_START, RelationGetDescr(rel), &isnull);

		if (strcmp(TextDatumGetCString(value), "none") == 0)
			start = -1;
		heap_freetuple(tuple);
	}
	table_close(rel, AccessShareLock);
	return start;
}

/* ---- configs ---- */

#define AUTO_OFFSET_RESET	"auto.offset.reset"

static const char *const reset_policies[] = {
	[EVENTLOG_RESET_ERROR] = "none",
	[EVENTLOG_RESET_EARLIEST] = "earliest",
	[EVENTLOG_RESET_LATEST] = "latest"
};

static bool
find_policy(const JsonbValue *value, EventlogResetPolicy *policy)
{
	for (int i = 0; value != NULL && value->type == jbvString && i < lengthof(reset_policies); i++)
	{
		if (strlen(reset_policies[i]) == value->val.string.len &&
			memcmp(reset_policies[i], value->val.string.val, value->val.string.len) == 0)
		{
			*policy = (EventlogResetPolicy) i;
			return true;
		}
	}
	return false;
}

static void
check_config(Jsonb *config)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	EventlogResetPolicy policy;

	if (!JB_ROOT_IS_OBJECT(config))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("configs of a consumer group must be a JSON object"),
				 errhint("For example: '{\"auto.offset.reset\": \"earliest\"}'.")));
	it = JsonbIteratorInit(&config->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY &&
			(value.val.string.len != strlen(AUTO_OFFSET_RESET) ||
			 memcmp(value.val.string.val, AUTO_OFFSET_RESET, value.val.string.len) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown config \"%s\" of a consumer group",
							pnstrdup(value.val.string.val, value.val.string.len)),
					 errhint("Groups have the config \"%s\".", AUTO_OFFSET_RESET)));
		if (token == WJB_VALUE && !find_policy(&value, &policy))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for config \"%s\" of a consumer group", AUTO_OFFSET_RESET),
					 errdetail("It must be \"earliest\", \"latest\" or \"none\".")));
	}
}

EventlogResetPolicy
eventlog_group_reset_policy(const char *group, Oid topic)
{
	Relation	rel = table_open(eventlog_relation("consumer_group"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	HeapTuple	tuple = find_group(rel, group, topic, snapshot);
	EventlogResetPolicy policy = EVENTLOG_RESET_ERROR;

	UnregisterSnapshot(snapshot);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Jsonb	   *config = DatumGetJsonbP(heap_getattr(tuple, GROUP_CONFIG, RelationGetDescr(rel), &isnull));
		JsonbValue	value;

		(void) find_policy(getKeyJsonValueFromContainer(&config->root, AUTO_OFFSET_RESET,
														strlen(AUTO_OFFSET_RESET), &value),
						   &policy);
		heap_freetuple(tuple);
	}
	table_close(rel, AccessShareLock);
	return policy;
}

void
eventlog_group_check_own(const char *group, EventlogTopic *topic)
{
	Relation	rel = table_open(eventlog_relation("consumer_group"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	HeapTuple	tuple = find_group(rel, group, topic->relid, snapshot);

	UnregisterSnapshot(snapshot);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer group \"%s\" of topic \"%s\" does not exist", group, topic->name),
				 errhint("Create it with eventlog.create_group().")));
	check_owner(tuple, RelationGetDescr(rel), group);
	heap_freetuple(tuple);
	table_close(rel, AccessShareLock);
}

int64
eventlog_group_offset_for_time(Relation leaf, int64 time_ms)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EventlogCursor *cur = eventlog_cursor_open(leaf, snapshot, true);
	int64		result = -1;
	EventlogRecord rec;

	cur->min_time = time_ms;
	eventlog_cursor_seek_time(cur, time_ms);
	while (result < 0 && eventlog_cursor_next(cur))
	{
		while (result < 0 && eventlog_batch_next(&cur->reader, &rec))
		{
			if (rec.timestamp >= time_ms && rec.offset >= cur->meta.log_start_offset)
				result = rec.offset;
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
	}
	if (result < 0)
		result = eventlog_scan_lso(leaf, snapshot, NULL);
	eventlog_cursor_close(cur);
	UnregisterSnapshot(snapshot);
	return result;
}

/*
 * create_group(consumer_group, topic, start, config)
 */
Datum
eventlog_create_group(PG_FUNCTION_ARGS)
{
	char	   *group,
			   *start;
	EventlogTopic *topic;
	Relation	rel;
	LOCKTAG		tag;
	Snapshot	snapshot;
	bool		latest,
				by_time;
	int64		time_ms = 0;

	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arguments of create_group() must not be null")));
	}
	group = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_name(group);
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	start = text_to_cstring(PG_GETARG_TEXT_PP(2));
	eventlog_topic_check_acl(topic, ACL_SELECT);
	PreventCommandIfReadOnly("create_group()");
	check_config(PG_GETARG_JSONB_P(3));

	latest = (strcmp(start, "latest") == 0);
	by_time = !latest && strcmp(start, "earliest") != 0 && strcmp(start, "none") != 0;
	if (by_time)
		time_ms = eventlog_timestamp_to_ms(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																				   CStringGetDatum(start),
																				   ObjectIdGetDatum(InvalidOid),
																				   Int32GetDatum(-1))));

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, topic->relid, eventlog_group_hash(group),
						 EVENTLOG_LOCK_NEW_GROUP);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	rel = table_open(eventlog_relation("consumer_group"), RowExclusiveLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (HeapTupleIsValid(find_group(rel, group, topic->relid, snapshot)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("consumer group \"%s\" of topic \"%s\" exists already", group, topic->name)));
	UnregisterSnapshot(snapshot);
	insert_group(rel, group, topic->relid, start, PG_GETARG_DATUM(3));
	table_close(rel, NoLock);

	if (latest || by_time)
	{
		for (int p = 0; p < topic->npartitions; p++)
		{
			Relation	leaf = table_open(topic->leaves[p], AccessShareLock);
			int64		offset;

			if (by_time)
				offset = eventlog_group_offset_for_time(leaf, time_ms);
			else
				offset = eventlog_scan_lso_now(leaf, NULL);
			table_close(leaf, NoLock);
			eventlog_position_set(group, topic->relid, p, offset);
		}
	}
	PG_RETURN_VOID();
}

/* ---- committed offsets ---- */

static void
delete_rows(const char *relname, AttrNumber topic_att, Oid topic)
{
	Oid			relid = get_relname_relid(relname, get_namespace_oid("eventlog", false));
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return;					/* the extension is being dropped, too */
	rel = table_open(relid, RowExclusiveLock);
	ScanKeyInit(&key, topic_att, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(topic));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

void
eventlog_group_forget_topic(Oid topic)
{
	eventlog_position_forget(NULL, topic);
	delete_rows("consumer_group", GROUP_TOPIC, topic);
}
