/*-------------------------------------------------------------------------
 *
 * group_catalog.c
 *	  The table eventlog.consumer_group: a row for each topic of a group.
 *
 * It is written and read as system catalogues are, past the executor and its
 * permission checks, with the newest snapshot.  Whoever changes it sends a
 * relcache invalidation of the table, for the caches of group.c; a trigger
 * does so for who changes it by SQL, as restoring a dump does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "group_catalog.h"

PG_FUNCTION_INFO_V1(eventlog_consumer_group_changed);

/* eventlog.consumer_group, as in sql/50_consume.sql */
#define ATTNUM_NAME			1
#define ATTNUM_TOPIC		2
#define ATTNUM_OWNER		3
#define ATTNUM_START		4
#define ATTNUM_CONFIG		5
#define ATTNUM_CREATED_AT	6
#define ATTNUM_TYPE			7	/* from 0.2 on */
#define NATTS				7

static Oid
relation_oid(const char *name)
{
	Oid			schema = get_namespace_oid("eventlog", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

Oid
eventlog_group_catalog_oid(void)
{
	return relation_oid("consumer_group");
}

static Relation
open_catalog(LOCKMODE mode)
{
	Oid			relid = eventlog_group_catalog_oid();

	if (!OidIsValid(relid))
		elog(ERROR, "eventlog.consumer_group does not exist");
	return table_open(relid, mode);
}

static Datum
get_attr(Relation catalog, HeapTuple tuple, AttrNumber attnum)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, attnum, RelationGetDescr(catalog), &isnull);

	if (isnull)
		elog(ERROR, "null in column %d of eventlog.consumer_group", attnum);
	return datum;
}

static EventlogGroupRow *
make_row(Relation catalog, HeapTuple tuple)
{
	EventlogGroupRow *row = palloc0(sizeof(*row));
	Datum		type;
	bool		isnull;

	row->name = TextDatumGetCString(get_attr(catalog, tuple, ATTNUM_NAME));
	row->topic = DatumGetObjectId(get_attr(catalog, tuple, ATTNUM_TOPIC));
	row->owner = DatumGetObjectId(get_attr(catalog, tuple, ATTNUM_OWNER));
	row->start = TextDatumGetCString(get_attr(catalog, tuple, ATTNUM_START));
	row->config = DatumGetJsonbPCopy(get_attr(catalog, tuple, ATTNUM_CONFIG));
	row->created_at = DatumGetTimestampTz(get_attr(catalog, tuple, ATTNUM_CREATED_AT));
	row->tid = tuple->t_self;
	if (RelationGetDescr(catalog)->natts < ATTNUM_TYPE)
		row->use = EVENTLOG_GROUP_CONSUME;	/* 0.1 knew no other */
	else
	{
		type = heap_getattr(tuple, ATTNUM_TYPE, RelationGetDescr(catalog), &isnull);
		row->use = isnull ? EVENTLOG_GROUP_UNUSED : eventlog_group_use_of(TextDatumGetCString(type));
	}
	return row;
}

/* Rows of a group, of one topic if that is valid. */
static List *
find_rows(const char *group, Oid topic)
{
	Relation	catalog = open_catalog(AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	List	   *rows = NIL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], ATTNUM_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(group));
	keys[0].sk_collation = C_COLLATION_OID;
	ScanKeyInit(&keys[1], ATTNUM_TOPIC, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(topic));
	scan = systable_beginscan(catalog, relation_oid("consumer_group_pkey"), true, snapshot,
							  OidIsValid(topic) ? 2 : 1, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		rows = lappend(rows, make_row(catalog, tuple));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(catalog, AccessShareLock);
	return rows;
}

EventlogGroupRow *
eventlog_group_catalog_get(const char *group, Oid topic)
{
	List	   *rows = find_rows(group, topic);

	return rows == NIL ? NULL : linitial(rows);
}

List *
eventlog_group_catalog_list(const char *group)
{
	return find_rows(group, InvalidOid);
}

/* ---- changes ---- */

static void
changed(Relation catalog)
{
	CacheInvalidateRelcache(catalog);
	table_close(catalog, NoLock);
	CommandCounterIncrement();
}

static void
set_type(EventlogGroupUse use, Datum *values, bool *nulls)
{
	const char *name = eventlog_group_use_name(use);

	nulls[ATTNUM_TYPE - 1] = name == NULL;
	if (name != NULL)
		values[ATTNUM_TYPE - 1] = CStringGetTextDatum(name);
}

void
eventlog_group_catalog_insert(const char *group, Oid topic, const char *start,
							  Jsonb *config, EventlogGroupUse use)
{
	Relation	catalog = open_catalog(RowExclusiveLock);
	Datum		values[NATTS] = {0};
	bool		nulls[NATTS] = {false};

	values[ATTNUM_NAME - 1] = CStringGetTextDatum(group);
	values[ATTNUM_TOPIC - 1] = ObjectIdGetDatum(topic);
	values[ATTNUM_OWNER - 1] = ObjectIdGetDatum(GetUserId());
	values[ATTNUM_START - 1] = CStringGetTextDatum(start);
	values[ATTNUM_CONFIG - 1] = JsonbPGetDatum(config);
	values[ATTNUM_CREATED_AT - 1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	set_type(use, values, nulls);
	CatalogTupleInsert(catalog, heap_form_tuple(RelationGetDescr(catalog), values, nulls));
	changed(catalog);
}

void
eventlog_group_catalog_update(EventlogGroupRow *row, Jsonb *config, EventlogGroupUse use)
{
	Relation	catalog = open_catalog(RowExclusiveLock);
	Datum		values[NATTS] = {0};
	bool		nulls[NATTS] = {false};

	values[ATTNUM_NAME - 1] = CStringGetTextDatum(row->name);
	values[ATTNUM_TOPIC - 1] = ObjectIdGetDatum(row->topic);
	values[ATTNUM_OWNER - 1] = ObjectIdGetDatum(row->owner);
	values[ATTNUM_START - 1] = CStringGetTextDatum(row->start);
	values[ATTNUM_CONFIG - 1] = JsonbPGetDatum(config);
	values[ATTNUM_CREATED_AT - 1] = TimestampTzGetDatum(row->created_at);
	set_type(use, values, nulls);
	CatalogTupleUpdate(catalog, &row->tid,
					   heap_form_tuple(RelationGetDescr(catalog), values, nulls));
	changed(catalog);
}

void
eventlog_group_catalog_delete(EventlogGroupRow *row)
{
	Relation	catalog = open_catalog(RowExclusiveLock);

	CatalogTupleDelete(catalog, &row->tid);
	changed(catalog);
}

void
eventlog_group_catalog_forget(Oid topic)
{
	Oid			relid = eventlog_group_catalog_oid();
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return;					/* the extension is being dropped, too */
	catalog = table_open(relid, RowExclusiveLock);
	ScanKeyInit(&key, ATTNUM_TOPIC, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(topic));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(catalog, &tuple->t_self);
	systable_endscan(scan);
	CacheInvalidateRelcache(catalog);
	table_close(catalog, NoLock);
}

/*
 * Trigger on eventlog.consumer_group, once a statement.
 */
Datum
eventlog_consumer_group_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" is a trigger of eventlog.consumer_group",
						"eventlog.consumer_group_changed")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
