/*-------------------------------------------------------------------------
 *
 * partition_catalog.c
 *	  What dumps need to know of partitions beside their records.
 *
 * A dump holds a partition's records with their offsets.  Where the log's
 * start has moved, or its last offsets belong to nobody (aborted, or removed),
 * that is not enough to go on: offsets would be given out anew that consumers
 * have passed.  So eventlog.partition_start has a row for each leaf whose log
 * start has moved, as of the last time that was noticed; and rows of it, and
 * of eventlog.committed_offset, that are inserted by SQL, as a restored dump
 * does, raise the offsets of the log, whether its records are there already
 * or come later.
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
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "log_retention.h"
#include "partition_catalog.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventlog_partition_start_restored);
PG_FUNCTION_INFO_V1(eventlog_committed_offset_restored);

/* eventlog.partition_start */
#define ATTNUM_RELATION		1
#define ATTNUM_LOG_START	2
#define ATTNUM_NEXT_OFFSET	3
#define NATTS				3

static Relation
open_catalog(void)
{
	Oid			schema = get_namespace_oid("eventlog", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid("partition_start", schema) : InvalidOid;

	return OidIsValid(relid) ? table_open(relid, RowExclusiveLock) : NULL;
}

static HeapTuple
find_row(Relation catalog, Oid leaf)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, ATTNUM_RELATION, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(leaf));
	scan = systable_beginscan(catalog,
							  get_relname_relid("partition_start_pkey",
												RelationGetNamespace(catalog)),
							  true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

static int64
get_int64(HeapTuple tuple, Relation catalog, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, RelationGetDescr(catalog), &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

bool
eventlog_partition_note(Oid leaf, int64 log_start, int64 next_offset)
{
	Relation	catalog = open_catalog();
	bool		changed = false;
	HeapTuple	old,
				new;
	Datum		values[NATTS];
	bool		nulls[NATTS] = {false};

	if (catalog == NULL)
		return false;
	old = find_row(catalog, leaf);
	if (!HeapTupleIsValid(old) || get_int64(old, catalog, ATTNUM_LOG_START) != log_start)
	{
		values[ATTNUM_RELATION - 1] = ObjectIdGetDatum(leaf);
		values[ATTNUM_LOG_START - 1] = Int64GetDatum(log_start);
		values[ATTNUM_NEXT_OFFSET - 1] = Int64GetDatum(next_offset);
		new = heap_form_tuple(RelationGetDescr(catalog), values, nulls);
		if (HeapTupleIsValid(old))
			CatalogTupleUpdate(catalog, &old->t_self, new);
		else
			CatalogTupleInsert(catalog, new);
		CommandCounterIncrement();
		changed = true;
	}
	table_close(catalog, NoLock);
	return changed;
}

void
eventlog_partition_forget(Oid leaf)
{
	Relation	catalog = open_catalog();
	HeapTuple	tuple;

	if (catalog == NULL)
		return;
	tuple = find_row(catalog, leaf);
	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(catalog, &tuple->t_self);
	table_close(catalog, NoLock);
}

/* ---- dumps that are being restored ---- */

static HeapTuple
trigger_row(FunctionCallInfo fcinfo, const char *table)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function is a trigger of eventlog.%s", table)));
	return trigger->tg_trigtuple;
}

static void
restore_offsets(Oid leafid, int64 log_start, int64 next_offset)
{
	Relation	leaf = try_table_open(leafid, ShareUpdateExclusiveLock);

	if (leaf == NULL)
		return;
	if (eventlog_is_leaf(leaf))
		eventlog_retention_restore(leaf, log_start, next_offset);
	table_close(leaf, NoLock);
}

Datum
eventlog_partition_start_restored(PG_FUNCTION_ARGS)
{
	HeapTuple	row = trigger_row(fcinfo, "partition_start");
	Relation	catalog = ((TriggerData *) fcinfo->context)->tg_relation;
	bool		isnull;
	Oid			leaf = DatumGetObjectId(heap_getattr(row, ATTNUM_RELATION, RelationGetDescr(catalog), &isnull));

	restore_offsets(leaf, get_int64(row, catalog, ATTNUM_LOG_START),
					get_int64(row, catalog, ATTNUM_NEXT_OFFSET));

	/* maintenance may have been here before the dump's row, but not any more */
	eventlog_partition_forget(leaf);
	CommandCounterIncrement();
	return PointerGetDatum(row);
}

/* Columns topic, partition, next_offset; see sql/50_consume.sql. */
Datum
eventlog_committed_offset_restored(PG_FUNCTION_ARGS)
{
	HeapTuple	row = trigger_row(fcinfo, "committed_offset");
	Relation	catalog = ((TriggerData *) fcinfo->context)->tg_relation;
	bool		isnull;
	Oid			relid = DatumGetObjectId(heap_getattr(row, 2, RelationGetDescr(catalog), &isnull));
	int32		partition = DatumGetInt32(heap_getattr(row, 3, RelationGetDescr(catalog), &isnull));
	EventlogTopic *topic = eventlog_topic_by_table(relid);

	if (topic != NULL && partition >= 0 && partition < topic->npartitions)
		restore_offsets(topic->leaves[partition], 0, get_int64(row, catalog, 4));
	return PointerGetDatum(row);
}
