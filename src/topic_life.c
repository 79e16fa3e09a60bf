/*-------------------------------------------------------------------------
 *
 * topic_life.c
 *	  Maintenance of whole topics: maintain(), delete_records(), erase(),
 *	  adopt_topic(), and what compaction has done.
 *
 * All that a partition's log goes through is done under
 * ShareUpdateExclusiveLock on its leaf, which neither producers nor readers
 * conflict with; VACUUM and ANALYZE do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "log_compaction.h"
#include "log_erase.h"
#include "log_retention.h"
#include "log_scan.h"
#include "log_storage.h"
#include "log_tableam.h"
#include "partition_catalog.h"
#include "payload.h"
#include "pg_eventlog.h"
#include "produce.h"
#include "topic_config.h"
#include "topic_ddl.h"
#include "topic_life.h"

PG_FUNCTION_INFO_V1(eventlog_maintain);
PG_FUNCTION_INFO_V1(eventlog_delete_records);
PG_FUNCTION_INFO_V1(eventlog_erase);
PG_FUNCTION_INFO_V1(eventlog_adopt_topic);
PG_FUNCTION_INFO_V1(eventlog_compaction_status);

/*
 * A file that has grown past the first of these (64 MB) is kept the second
 * (16 MB) longer than it is full, so that producers seldom wait for the file
 * system.
 */
#define PREPARE_FROM	8192
#define PREPARE_AHEAD	2048

/* ---- maintenance ---- */

/* See to it that there is space for what comes next. */
static void
prepare_space(Relation rel)
{
	EventlogMeta meta;

	eventlog_storage_read_all(rel, &meta);
	if (meta.head.alloc_block >= PREPARE_FROM && meta.head.nfree == 0 &&
		meta.head.active.nblocks == 0)
		eventlog_storage_extend_ahead(rel, Min(meta.head.alloc_block, MaxBlockNumber - PREPARE_AHEAD) +
									  PREPARE_AHEAD);
}

/* True if relfrozenxid has been moved. */
static bool
maintain_leaf(Oid leafid, const EventlogTopicConfig *config, bool wait)
{
	Relation	leaf;
	EventlogMeta meta;
	uint32		layout;
	TransactionId oldest;
	bool		aging;
	bool		noted = false;

	if (wait)
		LockRelationOid(leafid, ShareUpdateExclusiveLock);
	else if (!ConditionalLockRelationOid(leafid, ShareUpdateExclusiveLock))
		return false;
	leaf = try_relation_open(leafid, NoLock);
	if (leaf == NULL)
	{
		UnlockRelationOid(leafid, ShareUpdateExclusiveLock);
		return false;			/* dropped meanwhile */
	}

	/* what opening has left behind would hold the horizon back for all of this */
	InvalidateCatalogSnapshot();
	aging = eventlog_freeze_due(leaf);
	eventlog_freeze(leaf, aging ? &oldest : NULL);
	eventlog_storage_read_all(leaf, &meta);
	layout = meta.life.layout;
	eventlog_retention_apply(leaf, config, true);
	eventlog_retention_tidy(leaf);
	if (config->compacted && eventlog_compaction_run(leaf, config))
		eventlog_retention_tidy(leaf);
	prepare_space(leaf);
	if (aging)
		eventlog_freeze_note(leaf, oldest);

	eventlog_storage_read_all(leaf, &meta);
	if (meta.head.log_start_offset > 0 || meta.life.layout != layout)
		noted = eventlog_partition_note(leaf, meta.head.log_start_offset, meta.life.layout != layout);

	/*
	 * What was retired may wait for an xid that is not given out yet.  See to
	 * it that this happens also in a server in which nothing else does.
	 */
	if (eventlog_retention_waits(&meta))
		(void) GetTopTransactionId();
	relation_close(leaf, NoLock);
	if (!noted)
		UnlockRelationOid(leafid, ShareUpdateExclusiveLock);
	return aging;
}

bool
eventlog_topic_maintain(Oid relid, int32 partition, bool wait)
{
	EventlogTopic *topic = eventlog_topic_by_relid(relid);
	EventlogTopicConfig config;

	CHECK_FOR_INTERRUPTS();
	if (topic == NULL || partition >= topic->npartitions || !OidIsValid(topic->leaves[partition]))
		return false;
	config = topic->config;
	if (partition == 0 && OidIsValid(topic->null_leaf))
	{
		/* it is always empty, and yet its relfrozenxid grows old */
		EventlogTopicConfig none = {.retention_bytes = -1, .retention_ms = -1};

		(void) maintain_leaf(topic->null_leaf, &none, wait);
		topic = eventlog_topic_by_relid(relid);
		if (topic == NULL || topic->npartitions == 0)
			return false;
	}
	return maintain_leaf(topic->leaves[partition], &config, wait);
}

static EventlogTopic *
own_topic(FunctionCallInfo fcinfo, const char *function)
{
	EventlogTopic *topic;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("topic must not be null")));
	eventlog_require_preloaded();
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eventlog_topic_check_owner(topic);
	return topic;
}

/*
 * maintain(topic)
 */
Datum
eventlog_maintain(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic = own_topic(fcinfo, "maintain()");
	Oid			relid = topic->relid;
	int32		npartitions = topic->npartitions;

	eventlog_produce_flush_all();
	for (int32 p = 0; p < npartitions; p++)
		(void) eventlog_topic_maintain(relid, p, true);
	PG_RETURN_VOID();
}

/* ---- delete_records ---- */

/*
 * delete_records(topic, partition, before_offset) returns the new log start
 */
Datum
eventlog_delete_records(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic = own_topic(fcinfo, "delete_records()");
	int32		partition;
	int64		before;
	int64		lso;
	Oid			leafid;
	Relation	leaf;
	EventlogMetaHead meta;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("partition and before_offset must not be null")));
	partition = PG_GETARG_INT32(1);
	before = PG_GETARG_INT64(2);
	eventlog_topic_check_partition(topic, partition);
	leafid = topic->leaves[partition];

	/* kept to the end of the transaction: it decides where the log starts */
	eventlog_produce_flush_all();
	leaf = table_open(leafid, ShareUpdateExclusiveLock);
	lso = eventlog_scan_lso_now(leaf, NULL);
	eventlog_storage_read_meta(leaf, &meta, NULL);
	if (before == -1)
		before = lso;			/* Kafka's way to say "all" */
	if (before < 0 || before > lso)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("offset %lld is out of range for partition %d of topic \"%s\"",
						(long long) before, partition, topic->name),
				 errdetail("The partition holds offsets %lld up to, not including, %lld that are committed.",
						   (long long) meta.log_start_offset, (long long) lso)));
	if (before > meta.log_start_offset)
	{
		eventlog_retention_ask(leaf, before);
		(void) eventlog_partition_note(leaf, before, false);
	}
	table_close(leaf, NoLock);
	PG_RETURN_INT64(Max(before, meta.log_start_offset));
}

/* ---- erase ---- */

/*
 * erase(topic, key) returns the number of records removed
 */
Datum
eventlog_erase(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic = own_topic(fcinfo, "erase()");
	int			npartitions = topic->npartitions;
	Oid		   *leaves;
	const char *key;
	int32		key_len;
	int64		count = 0;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("key must not be null"),
				 errhint("Records without a key can be removed by eventlog.delete_records().")));
	eventlog_payload_from_any(topic->key_type, PG_GETARG_DATUM(1),
							  get_fn_expr_argtype(fcinfo->flinfo, 1), "key", &key, &key_len);
	leaves = eventlog_topic_copy_leaves(topic);
	eventlog_produce_flush_all();
	for (int p = 0; p < npartitions; p++)
	{
		Relation	leaf;
		EventlogMetaHead meta;
		int64		erased;

		CHECK_FOR_INTERRUPTS();
		leaf = try_table_open(leaves[p], ShareUpdateExclusiveLock);
		if (leaf == NULL)
			continue;
		eventlog_freeze(leaf, NULL);
		erased = eventlog_erase_key(leaf, key, key_len);
		eventlog_storage_read_meta(leaf, &meta, NULL);
		if (erased > 0 && eventlog_partition_note(leaf, meta.log_start_offset, true))
			table_close(leaf, NoLock);
		else
			table_close(leaf, ShareUpdateExclusiveLock);
		count += erased;
	}
	(void) GetTopTransactionId();	/* as in maintain_leaf() */
	PG_RETURN_INT64(count);
}

/* ---- adopt_topic ---- */

/*
 * adopt_topic(relation, config) returns the topic's name
 */
Datum
eventlog_adopt_topic(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Jsonb	   *config;
	char	   *name;
	EventlogTopic *topic;
	bool		good;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("arguments of adopt_topic() must not be null")));
	eventlog_require_preloaded();
	PreventCommandIfReadOnly("adopt_topic()");
	PreventCommandIfParallelMode("adopt_topic()");
	relid = PG_GETARG_OID(0);
	name = get_rel_name(relid);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!eventlog_user_owns_relation(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, name);
	LockRelationOid(relid, ShareUpdateExclusiveLock);
	topic = eventlog_topic_by_table(relid);
	if (topic != NULL && topic->is_topic)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("table \"%s\" is a topic already", name)));
	good = (topic != NULL && topic->npartitions > 0);
	for (int p = 0; good && p < topic->npartitions; p++)
		good = OidIsValid(topic->leaves[p]);
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" cannot be made a topic", name),
				 errdetail("It must be partitioned as topics are, with all partitions from 0 on, each using access method \"eventlog\"."),
				 errhint("Restore the table with all its partitions: pg_dump -t 'schema.topic' -t 'schema.topic:*'.")));
	eventlog_topic_check_name(name);
	config = eventlog_topic_config_apply(eventlog_topic_config_empty(), PG_GETARG_JSONB_P(1));
	eventlog_topic_catalog_claim_name(name, InvalidOid);
	eventlog_topic_catalog_insert(relid, name, config, false);
	eventlog_topic_catalog_depend(relid);
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

/* ---- state, for the view ---- */

/*
 * One row for each partition of a topic that the caller may see.
 */
Datum
eventlog_compaction_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = PG_GETARG_OID(0);
	EventlogTopic *topic = eventlog_topic_by_relid(relid);
	int			npartitions;
	Oid		   *leaves;

	InitMaterializedSRF(fcinfo, 0);
	if (topic == NULL || !eventlog_topic_may_look(relid))
		return (Datum) 0;
	npartitions = topic->npartitions;
	leaves = eventlog_topic_copy_leaves(topic);
	for (int p = 0; p < npartitions; p++)
	{
		Relation	leaf = try_table_open(leaves[p], AccessShareLock);
		EventlogMeta meta;
		EventlogDirt dirt;
		int64		free_blocks = 0;
		int64		retired_blocks = 0;
		Datum		values[10];
		bool		nulls[10] = {false};

		if (leaf == NULL)
			continue;
		eventlog_storage_read_all(leaf, &meta);
		eventlog_compaction_measure(leaf, &meta, &dirt);
		for (int i = 0; i < meta.head.nfree; i++)
			free_blocks += meta.free_segments[i].nblocks;
		for (int i = 0; i < meta.life.nretired_runs; i++)
			retired_blocks += meta.life.retired_runs[i].run.nblocks;
		for (uint32 n = meta.life.recycle_segment; n < meta.head.first_segment; n++)
		{
			EventlogSegment segment;

			if (!eventlog_storage_read_segment(leaf, &meta.head, meta.life.layout, n, &segment))
				break;
			retired_blocks += segment.nblocks;
		}
		values[0] = Int32GetDatum(p);
		values[1] = Int64GetDatum(meta.life.cleaned_offset);
		values[2] = Int64GetDatum(dirt.clean_bytes);
		values[3] = Int64GetDatum(dirt.dirty_bytes);
		values[4] = Float8GetDatum(dirt.ratio);
		nulls[5] = nulls[6] = nulls[7] = (meta.life.cleaned_at == 0);
		if (!nulls[5])
			values[5] = TimestampTzGetDatum(eventlog_ms_to_timestamp(meta.life.cleaned_at));
		values[6] = Int64GetDatum(meta.life.cleaned_read);
		values[7] = Int64GetDatum(meta.life.cleaned_kept);
		values[8] = Int64GetDatum(free_blocks * BLCKSZ);
		values[9] = Int64GetDatum(retired_blocks * BLCKSZ);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		table_close(leaf, AccessShareLock);
		CHECK_FOR_INTERRUPTS();
	}
	return (Datum) 0;
}
