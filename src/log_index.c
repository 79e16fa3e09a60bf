/*-------------------------------------------------------------------------
 *
 * log_index.c
 *	  The table access method's part in indexes on key or value.
 *
 * Index entries hold TIDs, which follow from offsets.  Fetching by TID is
 * therefore a search by offset; entries that come in the order of the log
 * find the next record in the batch that is at hand.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "log_storage.h"
#include "log_tableam.h"

typedef struct EventlogIndexFetch
{
	IndexFetchTableData base;
	EventlogCursor *cur;
	int32		partition;
} EventlogIndexFetch;

struct IndexFetchTableData *
eventlog_index_fetch_begin(Relation rel)
{
	EventlogIndexFetch *fetch = palloc0(sizeof(EventlogIndexFetch));

	fetch->base.rel = rel;
	if (eventlog_topic_by_leaf(RelationGetRelid(rel), &fetch->partition) == NULL)
		fetch->partition = -1;
	return &fetch->base;
}

void
eventlog_index_fetch_reset(struct IndexFetchTableData *data)
{
	/* the cursor holds no pin and no lock */
}

void
eventlog_index_fetch_end(struct IndexFetchTableData *data)
{
	EventlogIndexFetch *fetch = (EventlogIndexFetch *) data;

	if (fetch->cur)
		eventlog_cursor_close(fetch->cur);
	pfree(fetch);
}

bool
eventlog_index_fetch_tuple(struct IndexFetchTableData *data, ItemPointer tid,
						   Snapshot snapshot, TupleTableSlot *slot,
						   bool *call_again, bool *all_dead)
{
	EventlogIndexFetch *fetch = (EventlogIndexFetch *) data;
	EventlogCursor *cur = fetch->cur;
	EventlogRecord record;
	int64		offset;

	*call_again = false;
	if (all_dead)
		*all_dead = false;

	if (cur == NULL)
		cur = fetch->cur = eventlog_cursor_open(data->rel, snapshot, false);
	offset = eventlog_tid_to_offset(tid, cur->meta.tid_base);
	if (cur->snapshot != snapshot || offset >= cur->meta.next_offset ||
		!IsMVCCSnapshot(snapshot))
		eventlog_cursor_refresh(cur, snapshot);
	if (offset < 0 || !eventlog_fetch_offset(cur, offset, &record))
	{
		ExecClearTuple(slot);
		return false;
	}
	eventlog_slot_store(slot, &record, fetch->partition, cur->entry.xmin, cur->entry.cmin,
						cur->meta.tid_base);
	slot->tts_tableOid = RelationGetRelid(data->rel);
	return true;
}

double
eventlog_index_build_range_scan(Relation rel, Relation index, struct IndexInfo *info,
								bool allow_sync, bool anyvisible, bool progress,
								BlockNumber start, BlockNumber nblocks,
								IndexBuildCallback callback, void *callback_state,
								TableScanDesc scan)
{
	/* everything but what is known to be aborted */
	static SnapshotData all_live = {.snapshot_type = SNAPSHOT_NON_VACUUMABLE};
	bool		own_scan = (scan == NULL);
	EState	   *estate = CreateExecutorState();
	ExprContext *econtext = GetPerTupleExprContext(estate);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ExprState  *predicate;
	Snapshot	snapshot = InvalidSnapshot;
	double		ntuples = 0;
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	if (start != 0 || nblocks != InvalidBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("topics do not support indexes on ranges of blocks"),
				 errhint("Use a btree or hash index.")));

	econtext->ecxt_scantuple = slot;
	predicate = ExecPrepareQual(info->ii_Predicate, estate);
	if (own_scan)
	{
		if (info->ii_Concurrent)
			snapshot = RegisterSnapshot(GetTransactionSnapshot());
		scan = table_beginscan_strat(rel, snapshot ? snapshot : &all_live, 0, NULL, true, false);
	}

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		ItemPointerData tid = slot->tts_tid;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(econtext->ecxt_per_tuple_memory);
		if (predicate && !ExecQual(predicate, econtext))
			continue;
		FormIndexDatum(info, slot, estate, values, isnull);
		callback(index, &tid, values, isnull, true, callback_state);
		ntuples++;
	}

	table_endscan(scan);
	if (snapshot)
		UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);

	/* these may have been pointing to the now-gone estate */
	info->ii_ExpressionsState = NIL;
	info->ii_PredicateState = NULL;
	return ntuples;
}

void
eventlog_index_validate_scan(Relation rel, Relation index, struct IndexInfo *info,
							 Snapshot snapshot, struct ValidateIndexState *state)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("topics do not support building indexes concurrently"),
			 errhint("Use CREATE INDEX without CONCURRENTLY.")));
}
