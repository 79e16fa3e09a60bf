/*-------------------------------------------------------------------------
 *
 * log_vacuum.c
 *	  VACUUM of a leaf: freezing by log position.
 *
 * There are no dead rows to remove, only index entries of records that are
 * below the log start, and free space at the end of the file.  VACUUM walks forward from the frozen
 * position over batches whose writers every snapshot takes for finished,
 * marks the aborted ones, and moves the position.  Below it no xid is looked
 * at again, so relfrozenxid advances to the oldest writer behind it.
 *
 * Marks are written, and WAL-logged, before the position moves past them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/autovacuum.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "log_retention.h"
#include "log_slot.h"
#include "log_storage.h"
#include "log_tableam.h"

/*
 * Maintenance moves relfrozenxid when it is older than this part of
 * autovacuum_freeze_max_age.
 */
#define FREEZE_FRACTION		4

/* At most this many entries start on one page. */
#define MAX_ENTRIES_PER_PAGE	(EVENTLOG_PAYLOAD_SIZE / EVENTLOG_ENTRY_HEAD + 1)

typedef struct MarkState
{
	BlockNumber block;
	int			n;
	uint16		bytes[MAX_ENTRIES_PER_PAGE];
} MarkState;

static void
write_marks(Relation rel, MarkState *marks)
{
	if (marks->n > 0)
		eventlog_storage_mark_aborted(rel, marks->block, marks->bytes, marks->n);
	marks->n = 0;
}

/*
 * Move the frozen position as far as "horizon" allows.  Returns the oldest
 * xid that still stands in the log, or horizon.
 *
 * Readers do not look at the xids of frozen batches, and so cannot flush the
 * commits either: that is done here, before the position moves past them.
 */
TransactionId
eventlog_freeze(Relation rel)
{
	TransactionId horizon = GetOldestNonRemovableTransactionId(rel);

	static SnapshotData any = {.snapshot_type = SNAPSHOT_ANY};
	EventlogCursor *cur = eventlog_cursor_open(rel, &any, false);
	EventlogPos frozen = cur->meta.frozen;
	int64		start = frozen.offset;
	TransactionId oldest = horizon;
	TransactionId newest = InvalidTransactionId;
	XLogRecPtr	commits = InvalidXLogRecPtr;
	MarkState	marks = {.block = InvalidBlockNumber, .n = 0};
	bool		moving = true;

	if (frozen.segment >= cur->meta.first_segment)
	{
		eventlog_cursor_seek_segment(cur, frozen.segment);
		cur->pos = frozen;
	}
	while (eventlog_cursor_next_head(cur))
	{
		TransactionId xmin = cur->entry.xmin;

		eventlog_vacuum_delay_point();
		if (moving && !TransactionIdPrecedes(xmin, horizon))
		{
			moving = false;
			frozen = cur->batch_pos;
		}
		if (!moving)
		{
			/* later batches may have older writers */
			if (TransactionIdPrecedes(xmin, oldest))
				oldest = xmin;
			continue;
		}
		if (!TransactionIdIsValid(newest) || TransactionIdFollows(xmin, newest))
			newest = xmin;
		if (TransactionIdDidCommit(xmin))
			commits = Max(commits, TransactionIdGetCommitLSN(xmin));
		else if (!(cur->entry.flags & EVENTLOG_ENTRY_ABORTED))
		{
			if (marks.block != cur->batch_pos.block)
				write_marks(rel, &marks);
			marks.block = cur->batch_pos.block;
			marks.bytes[marks.n++] = cur->batch_pos.byte;
		}
	}
	write_marks(rel, &marks);
	if (moving)
		frozen = cur->pos;
	XLogFlush(commits);
	if (frozen.offset > start)
		eventlog_storage_set_frozen(rel, &frozen, newest);
	eventlog_cursor_close(cur);
	return oldest;
}

/* Tell pg_class what the log is like, and its oldest xid. */
static double
update_statistics(Relation rel, TransactionId oldest)
{
	EventlogMetaHead meta;
	double		tuples;
	bool		frozenxid_updated,
				minmulti_updated;

	eventlog_storage_read_meta(rel, &meta, NULL);
	tuples = (double) (meta.next_offset - meta.log_start_offset);
	vac_update_relstats(rel, RelationGetNumberOfBlocks(rel), tuples, 0 EVENTLOG_ALL_FROZEN(0),
						rel->rd_rel->relhasindex, oldest, ReadNextMultiXactId(),
						&frozenxid_updated, &minmulti_updated, false);
	return tuples;
}

/* Is a record's offset below the log start? */
static bool
is_removed(ItemPointer tid, void *arg)
{
	const EventlogMetaHead *meta = arg;

	return eventlog_tid_to_offset(tid, meta->tid_base) < meta->log_start_offset;
}

/* Remove index entries of records below the log start. */
static void
clean_indexes(Relation rel, BufferAccessStrategy strategy)
{
	Relation   *indexes;
	int			nindexes;
	EventlogMetaHead meta;

	if (!rel->rd_rel->relhasindex)
		return;
	eventlog_storage_read_meta(rel, &meta, NULL);
	vac_open_indexes(rel, RowExclusiveLock, &nindexes, &indexes);
	for (int i = 0; i < nindexes; i++)
	{
		IndexVacuumInfo info = {0};
		IndexBulkDeleteResult *result;

		info.index = indexes[i];
		info.message_level = DEBUG2;
		info.num_heap_tuples = (double) (meta.next_offset - meta.log_start_offset);
		info.estimated_count = true;
		info.strategy = strategy;
		EVENTLOG_SET_HEAPREL(info, rel);
		result = index_bulk_delete(&info, NULL, is_removed, &meta);
		(void) index_vacuum_cleanup(&info, result);
	}
	vac_close_indexes(nindexes, indexes, NoLock);
}

void
eventlog_relation_vacuum(Relation rel, struct VacuumParams *params,
						 BufferAccessStrategy strategy)
{
	TimestampTz start = GetCurrentTimestamp();
	TransactionId oldest;
	double		tuples;

	oldest = eventlog_freeze(rel);
	eventlog_retention_tidy(rel);
	clean_indexes(rel, strategy);
	if (params->truncate != VACOPTVALUE_DISABLED)
		eventlog_retention_truncate(rel);
	tuples = update_statistics(rel, oldest);
	eventlog_report_vacuum(rel, tuples, start);
}

bool
eventlog_freeze_in_time(Relation rel)
{
	TransactionId oldest = eventlog_freeze(rel);
	TransactionId next = ReadNextTransactionId();
	int32		age = (int32) (next - rel->rd_rel->relfrozenxid);

	if (age < autovacuum_freeze_max_age / FREEZE_FRACTION)
		return false;
	(void) update_statistics(rel, oldest);
	return true;
}
