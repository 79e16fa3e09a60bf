/*-------------------------------------------------------------------------
 *
 * log_rewrite.h
 *	  Rewriting closed segments without some of their records.
 *
 * The caller holds ShareUpdateExclusiveLock on the relation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_REWRITE_H
#define EVENTLOG_LOG_REWRITE_H

#include "log_storage.h"

/*
 * Is this record of a batch to be kept?  Not asked about what transactions in
 * progress have written: that stays.
 */
typedef bool (*EventlogRecordFilter) (void *arg, const EventlogBatchHeader *header,
									  const EventlogRecord *record);

typedef struct EventlogRewrite
{
	Relation	rel;
	EventlogRecordFilter keep;
	void	   *arg;

	/*
	 * Batches below this offset that keep tombstones get a delete horizon, a
	 * time in ms (KIP-534), if they have none.
	 */
	int64		horizon_below;
	int64		horizon;

	/* out: sums over all calls, and the earliest delete horizon (0: none) */
	int64		records_read;
	int64		records_kept;
	int64		first_horizon;
} EventlogRewrite;

/*
 * Write what is to be kept of the closed segments first .. last into one new
 * segment, which takes the last one's number; batches of aborted transactions
 * go.  False, and nothing has changed, if there is no room to note the blocks
 * that become free, which is so until readers have ended.
 */
extern bool eventlog_rewrite_segments(EventlogRewrite *rewrite, uint32 first, uint32 last);

/*
 * Between two batches of a rewrite, or of the reading before it: from time to
 * time sleep as long as the work has taken.  Nobody waits for a compaction,
 * and those who produce meanwhile need the processor and the WAL.
 */
extern void eventlog_rewrite_rest(void);

/* Give segments numbers that follow on each other, if many were merged. */
extern void eventlog_rewrite_renumber(Relation rel);

#endif							/* EVENTLOG_LOG_REWRITE_H */
