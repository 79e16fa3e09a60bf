/*-------------------------------------------------------------------------
 *
 * log_tableam.h
 *	  Shared by the files of the table access method.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_TABLEAM_H
#define EVENTLOG_LOG_TABLEAM_H

#include "access/tableam.h"

#include "log_scan.h"
#include "log_slot.h"

typedef struct EventlogScanDesc
{
	TableScanDescData rs_base;
	EventlogCursor *cur;
	int32		partition;
	int64		tid_base;
	int64		share_first;	/* parallel scan: this process reads these offsets */
	int64		share_end;
	bool		started;

	/*
	 * Records of the current batch, once a scan has gone backward: a batch
	 * can only be decoded forward.  "at" is the record that was returned.
	 */
	EventlogRecord *records;
	int			nrecords;
	int			maxrecords;
	int			at;
	bool		use_records;

	/* ANALYZE and TABLESAMPLE */
	Snapshot	analyze_snapshot;
	int64		sample_first;	/* offsets of the sample's current block */
	BlockNumber sample_block;
} EventlogScanDesc;

extern bool eventlog_scan_step(EventlogScanDesc *scan, bool forward, EventlogRecord *record);

/*
 * Find the record of this offset, if the cursor's snapshot sees it.  Used
 * for random access; neighbours in one batch are cheap.
 */
extern bool eventlog_fetch_offset(EventlogCursor *cur, int64 offset, EventlogRecord *record);

/* log_index.c */
extern struct IndexFetchTableData *eventlog_index_fetch_begin(Relation rel);
extern void eventlog_index_fetch_reset(struct IndexFetchTableData *data);
extern void eventlog_index_fetch_end(struct IndexFetchTableData *data);
extern bool eventlog_index_fetch_tuple(struct IndexFetchTableData *data, ItemPointer tid,
									   Snapshot snapshot, TupleTableSlot *slot,
									   bool *call_again, bool *all_dead);
extern double eventlog_index_build_range_scan(Relation rel, Relation index,
											  struct IndexInfo *info, bool allow_sync,
											  bool anyvisible, bool progress,
											  BlockNumber start, BlockNumber nblocks,
											  IndexBuildCallback callback,
											  void *callback_state, TableScanDesc scan);
extern void eventlog_index_validate_scan(Relation rel, Relation index,
										 struct IndexInfo *info, Snapshot snapshot,
										 struct ValidateIndexState *state);

/* log_sample.c */
#ifdef EVENTLOG_ANALYZE_STREAM
extern bool eventlog_analyze_next_block(TableScanDesc scan, ReadStream *stream);
#else
extern bool eventlog_analyze_next_block(TableScanDesc scan, BlockNumber block,
										BufferAccessStrategy strategy);
#endif
extern bool eventlog_analyze_next_tuple(TableScanDesc scan, TransactionId oldest_xmin,
										double *liverows, double *deadrows,
										TupleTableSlot *slot);
extern bool eventlog_sample_next_block(TableScanDesc scan, struct SampleScanState *state);
extern bool eventlog_sample_next_tuple(TableScanDesc scan, struct SampleScanState *state,
									   TupleTableSlot *slot);

/* log_vacuum.c */
/*
 * Move the frozen position as far as it can be.  *oldest, unless NULL, is then
 * the oldest xid that still stands in the log, or the horizon; to know it, all
 * of the log behind the frozen position is read.  The caller holds
 * ShareUpdateExclusiveLock.
 */
extern void eventlog_freeze(Relation rel, TransactionId *oldest);

/* Is relfrozenxid so old that maintenance is to move it? */
extern bool eventlog_freeze_due(Relation rel);

/*
 * Move relfrozenxid to what eventlog_freeze() has found.  Log starts that were
 * asked for must have been dealt with (eventlog_retention_tidy), since their
 * xids are looked up.
 */
extern void eventlog_freeze_note(Relation rel, TransactionId oldest);

extern void eventlog_relation_vacuum(Relation rel, struct VacuumParams *params,
									 BufferAccessStrategy strategy);

#endif							/* EVENTLOG_LOG_TABLEAM_H */
