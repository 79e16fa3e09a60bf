/*-------------------------------------------------------------------------
 *
 * log_tableam.c
 *	  The table access method: scans, inserts, DDL, planning.
 *
 * Knows rows; bytes and pages are log_scan.c's and log_storage.c's.  What an
 * append-only log cannot do (update, delete, lock or rewrite rows) raises
 * here.  Inserted rows go to the producer's buffer (produce.c), which appends
 * them by commit.
 *
 * Invariants: records come out in the order of their offsets; a record's TID
 * is a function of its offset (log_slot.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/multixact.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "catalog/storage.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "optimizer/plancat.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "log_meta.h"
#include "log_page.h"
#include "log_storage.h"
#include "log_tableam.h"
#include "pg_eventlog.h"
#include "produce.h"

PG_FUNCTION_INFO_V1(eventlog_am_handler);

/* Into how many shares of offsets a parallel scan divides a log, about. */
#define PARALLEL_SHARES	512

typedef struct EventlogParallelScan
{
	ParallelTableScanDescData base;
	int64		first_offset;	/* what the processes of the scan share out */
	int64		end_offset;
	int64		share;			/* offsets taken at a time */
	pg_atomic_uint64 taken;		/* offsets handed out so far */
} EventlogParallelScan;

static const TupleTableSlotOps *
am_slot_callbacks(Relation rel)
{
	return &eventlog_slot_ops;
}

static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("topics do not support %s", what),
			 errdetail("A topic is an append-only log: a record does not change once it is written.")));
}

/* ---- scans ---- */

static void
open_cursor(EventlogScanDesc *scan)
{
	Relation	rel = scan->rs_base.rs_rd;

	scan->cur = eventlog_cursor_open(rel, scan->rs_base.rs_snapshot, false);
	if ((scan->rs_base.rs_flags & SO_ALLOW_STRAT) &&
		scan->cur->meta.alloc_block > NBuffers / 4)
		scan->cur->strategy = GetAccessStrategy(BAS_BULKREAD);
	scan->tid_base = scan->cur->meta.tid_base;
	scan->started = false;
	scan->use_records = false;
}

static void
close_cursor(EventlogScanDesc *scan)
{
	if (scan->cur == NULL)
		return;
	if (scan->cur->strategy)
		FreeAccessStrategy(scan->cur->strategy);
	eventlog_cursor_close(scan->cur);
	scan->cur = NULL;
}

static TableScanDesc
am_scan_begin(Relation rel, Snapshot snapshot, int nkeys, ScanKey key,
			  ParallelTableScanDesc parallel_scan, uint32 flags)
{
	EventlogScanDesc *scan = palloc0(sizeof(EventlogScanDesc));

	if (nkeys > 0)
		elog(ERROR, "scans of topics take no scan keys");

	RelationIncrementReferenceCount(rel);
	scan->rs_base.rs_rd = rel;
	scan->rs_base.rs_snapshot = snapshot;
	scan->rs_base.rs_flags = flags;
	scan->rs_base.rs_parallel = parallel_scan;

	if (snapshot && IsMVCCSnapshot(snapshot) &&
		(flags & (SO_TYPE_SEQSCAN | SO_TYPE_SAMPLESCAN)))
		PredicateLockRelation(rel, snapshot);

	if (eventlog_topic_by_leaf(RelationGetRelid(rel), &scan->partition) == NULL)
		scan->partition = -1;
	if (snapshot)
		open_cursor(scan);
	pgstat_count_heap_scan(rel);
	return (TableScanDesc) scan;
}

static void
am_scan_end(TableScanDesc sscan)
{
	EventlogScanDesc *scan = (EventlogScanDesc *) sscan;

	close_cursor(scan);
	RelationDecrementReferenceCount(sscan->rs_rd);
	if (scan->analyze_snapshot)
		UnregisterSnapshot(scan->analyze_snapshot);
	if (sscan->rs_flags & SO_TEMP_SNAPSHOT)
		UnregisterSnapshot(sscan->rs_snapshot);
	if (scan->records)
		pfree(scan->records);
	pfree(scan);
}

static void
am_scan_rescan(TableScanDesc sscan, ScanKey key, bool set_params,
			   bool allow_strat, bool allow_sync, bool allow_pagemode)
{
	EventlogScanDesc *scan = (EventlogScanDesc *) sscan;

	close_cursor(scan);
	if (sscan->rs_snapshot)
		open_cursor(scan);
}

/*
 * Take the next share of a parallel scan.  Shares are ranges of offsets, so
 * that it does not matter where the log's segments lie, nor when.
 */
static bool
next_parallel_share(EventlogScanDesc *scan)
{
	EventlogParallelScan *shared = (EventlogParallelScan *) scan->rs_base.rs_parallel;
	int64		from;

	from = shared->first_offset + (int64) pg_atomic_fetch_add_u64(&shared->taken, shared->share);
	if (from >= shared->end_offset)
		return false;
	scan->share_first = from;
	scan->share_end = Min(from + shared->share, shared->end_offset);
	eventlog_cursor_seek(scan->cur, from);
	return true;
}

static bool
next_batch(EventlogScanDesc *scan)
{
	EventlogCursor *cur = scan->cur;

	if (scan->rs_base.rs_parallel == NULL)
		return eventlog_cursor_next(cur);

	for (;;)
	{
		if (!scan->started && !next_parallel_share(scan))
			return false;
		scan->started = true;
		if (eventlog_cursor_next_seen(cur) && cur->header.base_offset < scan->share_end)
		{
			eventlog_cursor_read(cur);
			return true;
		}
		scan->started = false;
	}
}

/*
 * Decode the whole current batch, so that it can be walked both ways.
 */
static void
collect_records(EventlogScanDesc *scan)
{
	EventlogBatchReader *reader = &scan->cur->reader;

	eventlog_batch_rewind(reader);
	if (scan->maxrecords < reader->header.count)
	{
		if (scan->records)
			pfree(scan->records);
		scan->maxrecords = Max(reader->header.count, 128);
		scan->records = MemoryContextAllocHuge(GetMemoryChunkContext(scan),
											   sizeof(EventlogRecord) * scan->maxrecords);
	}
	scan->nrecords = 0;
	while (eventlog_batch_next(reader, &scan->records[scan->nrecords]))
		scan->nrecords++;
	if (reader->error)
		eventlog_cursor_damaged(scan->cur, reader->error);
}

static bool
step_both_ways(EventlogScanDesc *scan, bool forward, EventlogRecord *record)
{
	EventlogCursor *cur = scan->cur;

	if (!scan->use_records)
	{
		/* how far has the forward reader come in this batch? */
		int			returned = 0;

		if (cur->on_batch)
		{
			returned = cur->reader.header.count - cur->reader.remaining;
			collect_records(scan);
		}
		else
			scan->nrecords = 0;
		scan->at = cur->on_batch ? returned - 1 : 0;
		scan->use_records = true;
	}

	for (;;)
	{
		if (cur->on_batch)
		{
			scan->at += forward ? 1 : -1;
			if (scan->at >= 0 && scan->at < scan->nrecords)
			{
				EventlogRecord *rec = &scan->records[scan->at];

				if (rec->offset < cur->meta.log_start_offset)
					continue;
				*record = *rec;
				return true;
			}
		}
		if (!(forward ? eventlog_cursor_next(cur) : eventlog_cursor_prev(cur)))
			return false;
		collect_records(scan);
		scan->at = forward ? -1 : scan->nrecords;
	}
}

/*
 * The next record in either direction.  Its fields may be undecoded yet
 * (eventlog_batch_fields).
 */
bool
eventlog_scan_step(EventlogScanDesc *scan, bool forward, EventlogRecord *record)
{
	EventlogCursor *cur = scan->cur;

	if (unlikely(scan->use_records || !forward))
	{
		if (!scan->started && !forward)
			eventlog_cursor_seek_end(cur);
		scan->started = true;
		return step_both_ways(scan, forward, record);
	}

	for (;;)
	{
		if (likely(cur->on_batch))
		{
			if (likely(eventlog_batch_step(&cur->reader, record)))
			{
				if (unlikely(record->offset < cur->meta.log_start_offset))
					continue;
				/* a batch may reach into the shares next to this one */
				if (unlikely(scan->rs_base.rs_parallel) &&
					(record->offset < scan->share_first || record->offset >= scan->share_end))
					continue;
				return true;
			}
			if (cur->reader.error)
				eventlog_cursor_damaged(cur, cur->reader.error);
		}
		if (!next_batch(scan))
			return false;
		scan->started = true;
	}
}

static bool
am_scan_getnextslot(TableScanDesc sscan, ScanDirection direction, TupleTableSlot *slot)
{
	EventlogScanDesc *scan = (EventlogScanDesc *) sscan;
	EventlogCursor *cur = scan->cur;

	if (unlikely(!eventlog_scan_step(scan, !ScanDirectionIsBackward(direction),
									 &((EventlogSlot *) slot)->record)))
	{
		ExecClearTuple(slot);
		return false;
	}
	eventlog_slot_show(slot, scan->partition, cur->entry.xmin, cur->entry.cmin, scan->tid_base);
	pgstat_count_heap_getnext(sscan->rs_rd);
	return true;
}

/* ---- parallel scans ---- */

static Size
am_parallelscan_estimate(Relation rel)
{
	return sizeof(EventlogParallelScan);
}

static Size
am_parallelscan_initialize(Relation rel, ParallelTableScanDesc pscan)
{
	EventlogParallelScan *shared = (EventlogParallelScan *) pscan;
	EventlogMetaHead meta;

	eventlog_set_parallel_relation(&shared->base, rel);
	shared->base.phs_syncscan = false;
	eventlog_storage_read_meta(rel, &meta, NULL);
	shared->first_offset = meta.log_start_offset;
	shared->end_offset = meta.next_offset;
	shared->share = (meta.next_offset - meta.log_start_offset) / PARALLEL_SHARES + 1;
	pg_atomic_init_u64(&shared->taken, 0);
	return sizeof(EventlogParallelScan);
}

static void
am_parallelscan_reinitialize(Relation rel, ParallelTableScanDesc pscan)
{
	pg_atomic_write_u64(&((EventlogParallelScan *) pscan)->taken, 0);
}

/* ---- single rows ---- */

bool
eventlog_fetch_offset(EventlogCursor *cur, int64 offset, EventlogRecord *record)
{
	if (offset < cur->meta.log_start_offset)
		return false;
	if (cur->on_batch && offset >= cur->header.base_offset &&
		offset <= cur->header.base_offset + cur->header.last_offset_delta)
	{
		/* go on from the last record fetched, or from the batch's first */
		if (offset <= cur->last_fetched)
			eventlog_batch_rewind(&cur->reader);
	}
	else
	{
		eventlog_cursor_seek(cur, offset);
		if (!eventlog_cursor_next(cur))
			return false;
	}
	while (eventlog_batch_next(&cur->reader, record))
	{
		cur->last_fetched = record->offset;
		if (record->offset >= offset)
			return record->offset == offset;
	}
	if (cur->reader.error)
		eventlog_cursor_damaged(cur, cur->reader.error);
	return false;
}

static bool
am_tuple_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot,
						   TupleTableSlot *slot)
{
	EventlogCursor *cur = eventlog_cursor_open(rel, snapshot, false);
	int64		offset = eventlog_tid_to_offset(tid, cur->meta.tid_base);
	EventlogRecord record;
	int32		partition = -1;
	bool		found = offset >= 0 && eventlog_fetch_offset(cur, offset, &record);

	if (found)
	{
		(void) eventlog_topic_by_leaf(RelationGetRelid(rel), &partition);
		eventlog_slot_store(slot, &record, partition, cur->entry.xmin, cur->entry.cmin,
							cur->meta.tid_base);
		slot->tts_tableOid = RelationGetRelid(rel);
		ExecMaterializeSlot(slot);	/* the record's bytes go with the cursor */
	}
	eventlog_cursor_close(cur);
	return found;
}

static bool
am_tuple_tid_valid(TableScanDesc sscan, ItemPointer tid)
{
	EventlogMetaHead meta;
	int64		offset;

	if (!ItemPointerIsValid(tid))
		return false;
	eventlog_storage_read_meta(sscan->rs_rd, &meta, NULL);
	offset = eventlog_tid_to_offset(tid, meta.tid_base);
	return offset >= meta.log_start_offset && offset < meta.next_offset;
}

static void
am_tuple_get_latest_tid(TableScanDesc sscan, ItemPointer tid)
{
	/* there is but one version of a record */
}

static bool
am_tuple_satisfies_snapshot(Relation rel, TupleTableSlot *slot, Snapshot snapshot)
{
	EventlogCursor *cur = eventlog_cursor_open(rel, snapshot, false);
	EventlogRecord record;
	bool		found;

	found = eventlog_fetch_offset(cur, eventlog_tid_to_offset(&slot->tts_tid, cur->meta.tid_base),
								  &record);
	eventlog_cursor_close(cur);
	return found;
}

static TransactionId
am_index_delete_tuples(Relation rel, TM_IndexDeleteOp *delstate)
{
	delstate->ndeltids = 0;		/* nothing of a log is ever dead to an index */
	return InvalidTransactionId;
}

/* ---- inserts, and what is refused ---- */

static void
am_tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
				struct BulkInsertStateData *bistate)
{
	eventlog_produce_row(rel, slot);
}

static void
am_multi_insert(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid,
				int options, struct BulkInsertStateData *bistate)
{
	eventlog_produce_rows(rel, slots, nslots);
}

static void
am_tuple_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
							struct BulkInsertStateData *bistate, uint32 token)
{
	refuse("ON CONFLICT");
}

static void
am_tuple_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token, bool succeeded)
{
	refuse("ON CONFLICT");
}

static TM_Result
am_tuple_delete(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot,
				Snapshot crosscheck, bool wait, TM_FailureData *tmfd, bool changing_part)
{
	refuse("DELETE");
	return TM_Invisible;
}

static TM_Result
am_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot, CommandId cid,
				Snapshot snapshot, Snapshot crosscheck, bool wait, TM_FailureData *tmfd,
				LockTupleMode *lockmode, EventlogUpdateIndexes *update_indexes)
{
	refuse("UPDATE");
	return TM_Invisible;
}

static TM_Result
am_tuple_lock(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
			  CommandId cid, LockTupleMode mode, LockWaitPolicy wait_policy, uint8 flags,
			  TM_FailureData *tmfd)
{
	refuse("row locks");
	return TM_Invisible;
}

/* ---- DDL ---- */

/*
 * A table of ours has just the columns of a topic.
 */
static void
check_columns(Relation rel)
{
	static const struct
	{
		const char *name;
		Oid			type;		/* Invalid: checked apart */
	}			columns[EVENTLOG_NATTS] = {
		{"partition", INT4OID}, {"record_offset", INT8OID}, {"timestamp", TIMESTAMPTZOID},
		{"key", InvalidOid}, {"value", InvalidOid}, {"headers", InvalidOid}
	};
	TupleDesc	desc = RelationGetDescr(rel);
	bool		good = (desc->natts == EVENTLOG_NATTS);

	for (int i = 0; good && i < EVENTLOG_NATTS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		good = !att->attisdropped && strcmp(NameStr(att->attname), columns[i].name) == 0;
		if (good && OidIsValid(columns[i].type))
			good = att->atttypid == columns[i].type;
		if (good && (i == EVENTLOG_ATT_KEY || i == EVENTLOG_ATT_VALUE))
			good = att->atttypid == BYTEAOID || att->atttypid == TEXTOID ||
				att->atttypid == JSONOID || att->atttypid == JSONBOID;
	}
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("a table using access method \"eventlog\" must have the columns of a topic"),
				 errhint("Make topics with eventlog.create_topic().")));
}

static void
am_relation_set_new_filenode(Relation rel, const EventlogFileId *newfile, char persistence,
							 TransactionId *freeze_xid, MultiXactId *minmulti)
{
	EventlogFileId old = EventlogRelFile(rel);
	int64		next_offset = 0;
	int64		min_next_offset = 0;

	if (persistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("topics cannot be unlogged or temporary"),
				 errhint("Make topics with eventlog.create_topic().")));
	check_columns(rel);

	/*
	 * Another file for an existing log (TRUNCATE) goes on with the next
	 * offset, so that no offset is ever given out twice.
	 */
	if (EventlogFileNumber(old) != EventlogFileNumber(*newfile) &&
		smgrexists(RelationGetSmgr(rel), MAIN_FORKNUM) &&
		smgrnblocks(RelationGetSmgr(rel), MAIN_FORKNUM) > 0)
	{
		EventlogMeta meta;

		eventlog_storage_read_all(rel, &meta);
		next_offset = meta.head.next_offset;
		min_next_offset = meta.life.min_next_offset;
	}

	*freeze_xid = RecentXmin;
	*minmulti = GetOldestMultiXactId();
	eventlog_storage_create(*newfile, persistence, next_offset, min_next_offset);
}

static void
am_relation_nontransactional_truncate(Relation rel)
{
	eventlog_storage_reset(rel);
}

static void
am_relation_copy_data(Relation rel, const EventlogFileId *newfile)
{
	SMgrRelation dst;

	/* the source's pages must be on disk, since the copy goes past buffers */
	FlushRelationBuffers(rel);
	dst = RelationCreateStorage(*newfile, rel->rd_rel->relpersistence, true);
	RelationCopyStorage(RelationGetSmgr(rel), dst, MAIN_FORKNUM, rel->rd_rel->relpersistence);
	RelationDropStorage(rel);
	smgrclose(dst);
}

static void
am_relation_copy_for_cluster(Relation old, Relation new, Relation index, bool use_sort,
							 TransactionId oldest_xmin, TransactionId *xid_cutoff,
							 MultiXactId *multi_cutoff, double *num_tuples,
							 double *tups_vacuumed, double *tups_recently_dead)
{
	refuse("CLUSTER and VACUUM FULL");
}

static bool
am_relation_needs_toast_table(Relation rel)
{
	return false;				/* values of any size are part of the log */
}

/* ---- planning ---- */

static void
am_relation_estimate_size(Relation rel, int32 *attr_widths, BlockNumber *pages,
						  double *tuples, double *allvisfrac)
{
	EventlogMeta meta;

	eventlog_storage_read_all(rel, &meta);
	*pages = Max(meta.head.alloc_block, 1);
	*tuples = eventlog_meta_records(&meta);
	*allvisfrac = 0;
}

/* ---- the routine ---- */

const TableAmRoutine eventlog_am_routine = {
	.type = T_TableAmRoutine,

	.slot_callbacks = am_slot_callbacks,

	.scan_begin = am_scan_begin,
	.scan_end = am_scan_end,
	.scan_rescan = am_scan_rescan,
	.scan_getnextslot = am_scan_getnextslot,

	.parallelscan_estimate = am_parallelscan_estimate,
	.parallelscan_initialize = am_parallelscan_initialize,
	.parallelscan_reinitialize = am_parallelscan_reinitialize,

	.index_fetch_begin = eventlog_index_fetch_begin,
	.index_fetch_reset = eventlog_index_fetch_reset,
	.index_fetch_end = eventlog_index_fetch_end,
	.index_fetch_tuple = eventlog_index_fetch_tuple,

	.tuple_fetch_row_version = am_tuple_fetch_row_version,
	.tuple_tid_valid = am_tuple_tid_valid,
	.tuple_get_latest_tid = am_tuple_get_latest_tid,
	.tuple_satisfies_snapshot = am_tuple_satisfies_snapshot,
	.index_delete_tuples = am_index_delete_tuples,

	.tuple_insert = am_tuple_insert,
	.tuple_insert_speculative = am_tuple_insert_speculative,
	.tuple_complete_speculative = am_tuple_complete_speculative,
	.multi_insert = am_multi_insert,
	.tuple_delete = am_tuple_delete,
	.tuple_update = am_tuple_update,
	.tuple_lock = am_tuple_lock,

	.EventlogAmSetNewFile = am_relation_set_new_filenode,
	.relation_nontransactional_truncate = am_relation_nontransactional_truncate,
	.relation_copy_data = am_relation_copy_data,
	.relation_copy_for_cluster = am_relation_copy_for_cluster,
	.relation_vacuum = eventlog_relation_vacuum,
	.scan_analyze_next_block = eventlog_analyze_next_block,
	.scan_analyze_next_tuple = eventlog_analyze_next_tuple,
	.index_build_range_scan = eventlog_index_build_range_scan,
	.index_validate_scan = eventlog_index_validate_scan,

	.relation_size = table_block_relation_size,
	.relation_needs_toast_table = am_relation_needs_toast_table,
	.relation_estimate_size = am_relation_estimate_size,

	.scan_sample_next_block = eventlog_sample_next_block,
	.scan_sample_next_tuple = eventlog_sample_next_tuple
};

Datum
eventlog_am_handler(PG_FUNCTION_ARGS)
{
	eventlog_require_preloaded();
	PG_RETURN_POINTER(&eventlog_am_routine);
}
