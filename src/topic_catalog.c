/*-------------------------------------------------------------------------
 *
 * topic_catalog.c
 *	  The table eventlog.topic: one row for each topic.
 *
 * It is written and read as system catalogues are: by index, with the newest
 * snapshot, past the executor and its permission checks.  That is why nobody
 * has privileges on it, and why functions that change it check what they need
 * before.
 *
 * Two topics must not have the same name, nor names that differ only in "."
 * and "_", which Kafka maps to one and the same metric.  The column
 * folded_name, whose unique index sees to that, has "_" for both.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "topic_ddl.h"

/* columns of eventlog.topic, as in sql/30_topics.sql */
#define ATTNUM_RELATION		1
#define ATTNUM_NAME			2
#define ATTNUM_FOLDED_NAME	3
#define ATTNUM_CONFIG		4
#define ATTNUM_CREATED_AT	5
#define ATTNUM_DEFAULT_RETENTION	6	/* from 0.2 on */
#define NATTS				6

PG_FUNCTION_INFO_V1(eventlog_topic_changed);

/* A table or index of schema eventlog, or InvalidOid. */
static Oid
catalog_oid(const char *name)
{
	Oid			schema = get_namespace_oid("eventlog", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/*
 * Open eventlog.topic; NULL if there is none, as in a database without the
 * extension or while the extension is being dropped.
 */
static Relation
open_catalog(LOCKMODE mode)
{
	Oid			relid = catalog_oid("topic");

	return OidIsValid(relid) ? table_open(relid, mode) : NULL;
}

/* Start looking for the rows, one at most, that have a value in a column. */
static SysScanDesc
begin_scan(Relation catalog, AttrNumber attnum, Datum value)
{
	ScanKeyData key;
	const char *index;

	switch (attnum)
	{
		case ATTNUM_RELATION:
			index = "topic_pkey";
			ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_OIDEQ, value);
			break;
		case ATTNUM_NAME:
			index = "topic_name_key";
			ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_TEXTEQ, value);
			break;
		default:
			index = "topic_folded_name_key";
			ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_TEXTEQ, value);
			break;
	}
	return systable_beginscan(catalog, catalog_oid(index), true, NULL, 1, &key);
}

static Datum
get_attr(Relation catalog, HeapTuple tuple, AttrNumber attnum)
{
	bool		isnull;
	Datum		datum;

	datum = heap_getattr(tuple, attnum, RelationGetDescr(catalog), &isnull);
	if (isnull)
		elog(ERROR, "null in column %d of eventlog.topic", attnum);
	return datum;
}

static char *
fold_name(const char *name)
{
	char	   *folded = pstrdup(name);

	for (char *p = folded; *p != '\0'; p++)
		if (*p == '.')
			*p = '_';
	return folded;
}

bool
eventlog_topic_catalog_get(Oid relid, char **name, Jsonb **config, bool *default_retention)
{
	Relation	catalog = open_catalog(AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	if (catalog == NULL)
		return false;
	scan = begin_scan(catalog, ATTNUM_RELATION, ObjectIdGetDatum(relid));
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		*name = TextDatumGetCString(get_attr(catalog, tuple, ATTNUM_NAME));
		*config = DatumGetJsonbPCopy(get_attr(catalog, tuple, ATTNUM_CONFIG));
		*default_retention = RelationGetDescr(catalog)->natts >= ATTNUM_DEFAULT_RETENTION &&
			DatumGetBool(get_attr(catalog, tuple, ATTNUM_DEFAULT_RETENTION));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

Oid
eventlog_topic_catalog_find(const char *name)
{
	Relation	catalog = open_catalog(AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	if (catalog == NULL)
		return InvalidOid;
	scan = begin_scan(catalog, ATTNUM_NAME, CStringGetTextDatum(name));
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		relid = DatumGetObjectId(get_attr(catalog, tuple, ATTNUM_RELATION));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return relid;
}

List *
eventlog_topic_catalog_list(MemoryContext context)
{
	Relation	catalog = open_catalog(AccessShareLock);
	List	   *relids = NIL;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (catalog == NULL)
		return NIL;
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			relid = DatumGetObjectId(get_attr(catalog, tuple, ATTNUM_RELATION));
		MemoryContext old = MemoryContextSwitchTo(context);

		relids = lappend_oid(relids, relid);
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return relids;
}

void
eventlog_topic_catalog_claim_name(const char *name, Oid relid)
{
	Relation	catalog = open_catalog(AccessShareLock);
	char	   *folded = fold_name(name);
	char	   *other = NULL;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (catalog == NULL)
		elog(ERROR, "eventlog.topic is missing");

	/*
	 * The lock makes the second of two sessions wait here and then see the
	 * first one's row, rather than fail at the index.  Names whose hashes are
	 * equal wait for each other needlessly.
	 */
	LockDatabaseObject(RelationGetRelid(catalog),
					   hash_bytes((unsigned char *) folded, strlen(folded)),
					   0, ExclusiveLock);

	scan = begin_scan(catalog, ATTNUM_FOLDED_NAME, CStringGetTextDatum(folded));
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) &&
		DatumGetObjectId(get_attr(catalog, tuple, ATTNUM_RELATION)) != relid)
		other = TextDatumGetCString(get_attr(catalog, tuple, ATTNUM_NAME));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	if (other != NULL && strcmp(other, name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("topic \"%s\" already exists", name),
				 errhint("A topic's name is unique in its database, whatever the schema of its table.")));
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("topic name \"%s\" collides with topic \"%s\"", name, other),
				 errdetail("As in Kafka, names must differ in more than \".\" and \"_\".")));
}

void
eventlog_topic_catalog_insert(Oid relid, const char *name, Jsonb *config, bool default_retention)
{
	Relation	catalog = open_catalog(RowExclusiveLock);
	Datum		values[NATTS];
	bool		nulls[NATTS] = {0};
	HeapTuple	tuple;

	if (catalog == NULL)
		elog(ERROR, "eventlog.topic is missing");

	values[ATTNUM_RELATION - 1] = ObjectIdGetDatum(relid);
	values[ATTNUM_NAME - 1] = CStringGetTextDatum(name);
	values[ATTNUM_FOLDED_NAME - 1] = CStringGetTextDatum(fold_name(name));
	values[ATTNUM_CONFIG - 1] = JsonbPGetDatum(config);
	values[ATTNUM_CREATED_AT - 1] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[ATTNUM_DEFAULT_RETENTION - 1] = BoolGetDatum(default_retention);
	tuple = heap_form_tuple(RelationGetDescr(catalog), values, nulls);
	CatalogTupleInsert(catalog, tuple);
	table_close(catalog, RowExclusiveLock);

	CacheInvalidateRelcacheByRelid(relid);
	CommandCounterIncrement();
}

void
eventlog_topic_catalog_update(Oid relid, const char *name, Jsonb *config)
{
	Relation	catalog = open_catalog(RowExclusiveLock);
	Datum		values[NATTS] = {0};
	bool		nulls[NATTS] = {0};
	bool		replace[NATTS] = {0};
	SysScanDesc scan;
	HeapTuple	tuple;

	if (catalog == NULL)
		elog(ERROR, "eventlog.topic is missing");

	if (name != NULL)
	{
		values[ATTNUM_NAME - 1] = CStringGetTextDatum(name);
		values[ATTNUM_FOLDED_NAME - 1] = CStringGetTextDatum(fold_name(name));
		replace[ATTNUM_NAME - 1] = true;
		replace[ATTNUM_FOLDED_NAME - 1] = true;
	}
	if (config != NULL)
	{
		values[ATTNUM_CONFIG - 1] = JsonbPGetDatum(config);
		replace[ATTNUM_CONFIG - 1] = true;
	}

	scan = begin_scan(catalog, ATTNUM_RELATION, ObjectIdGetDatum(relid));
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "no row in eventlog.topic for relation %u", relid);
	tuple = heap_modify_tuple(tuple, RelationGetDescr(catalog),
							  values, nulls, replace);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);

	CacheInvalidateRelcacheByRelid(relid);
	CommandCounterIncrement();
}

void
eventlog_topic_catalog_depend(Oid relid)
{
	ObjectAddress table;
	ObjectAddress am;

	ObjectAddressSet(table, RelationRelationId, relid);
	ObjectAddressSet(am, AccessMethodRelationId, eventlog_am_oid());
	recordDependencyOn(&table, &am, DEPENDENCY_NORMAL);
}

void
eventlog_topic_catalog_delete(Oid relid)
{
	Relation	catalog = open_catalog(RowExclusiveLock);
	SysScanDesc scan;
	HeapTuple	tuple;

	if (catalog == NULL)
		return;
	scan = begin_scan(catalog, ATTNUM_RELATION, ObjectIdGetDatum(relid));
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(catalog, &tuple->t_self);
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}

/*
 * Trigger on eventlog.topic: somebody changes it by SQL, as restoring a dump
 * does.  Tell the caches, and tie a restored topic to the access method, so
 * that DROP EXTENSION ... CASCADE takes the whole topic.
 */
Datum
eventlog_topic_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	rows[2] = {NULL, NULL};

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" is a trigger of eventlog.topic",
						"eventlog.topic_changed")));

	rows[0] = trigger->tg_trigtuple;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		rows[1] = trigger->tg_newtuple;
	for (int i = 0; i < lengthof(rows) && rows[i] != NULL; i++)
	{
		Oid			relid = DatumGetObjectId(get_attr(trigger->tg_relation,
													  rows[i], ATTNUM_RELATION));

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			continue;
		CacheInvalidateRelcacheByRelid(relid);
		if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) &&
			get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
			eventlog_topic_catalog_depend(relid);
	}
	return PointerGetDatum(NULL);
}
