/*-------------------------------------------------------------------------
 *
 * log_vacuum.c
 *	  VACUUM of a leaf: freezing by log position.
 *
 * There are no dead rows to remove, only index entries of records that are
 * gone, and free space at the end of the file.  VACUUM walks forward from the
 * frozen position over batches whose writers every snapshot takes for
 * finished, marks the aborted ones, and moves the position.  Below it no xid
 * is looked at again, so relfrozenxid advances to the oldest writer behind it.
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
#include "log_meta.h"
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
 * Move the frozen position as far as every snapshot allows.
 *
 * Readers do not look at the xids of frozen batches, and so cannot flush the
 * commits either: that is done here, before the position moves past them.
 */
void
eventlog_freeze(Relation rel, TransactionId *oldest)
{
	TransactionId horizon = GetOldestNonRemovableTransactionId(rel);
	EventlogCursor *cur = eventlog_cursor_open(rel, SnapshotAny, false);
	EventlogPos frozen = cur->meta.frozen;
	int64		start = frozen.offset;
	TransactionId newest = InvalidTransactionId;
	XLogRecPtr	commits = InvalidXLogRecPtr;
	MarkState	marks = {.block = InvalidBlockNumber, .n = 0};
	bool		moving = true;

	if (oldest)
		*oldest = horizon;
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
			if (oldest == NULL)
				break;
			if (TransactionIdPrecedes(xmin, *oldest))
				*oldest = xmin;
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
}

/* Tell pg_class what the log is like, and its oldest xid. */
static double
update_statistics(Relation rel, TransactionId oldest)
{
	EventlogMeta meta;
	double		tuples;
	bool		frozenxid_updated,
				minmulti_updated;

	eventlog_storage_read_all(rel, &meta);
	tuples = eventlog_meta_records(&meta);
	vac_update_relstats(rel, RelationGetNumberOfBlocks(rel), tuples, 0 EVENTLOG_ALL_FROZEN(0),
						rel->rd_rel->relhasindex, oldest, ReadNextMultiXactId(),
						&frozenxid_updated, &minmulti_updated, false);
	return tuples;
}

/* Which offsets have a record. */
typedef struct Present
{
	EventlogMetaHead meta;
	int64		end;			/* known from the log start up to here */
	uint8	   *bits;
} Present;

/* Has this TID no record any more? */
static bool
is_removed(ItemPointer tid, void *arg)
{
	const Present *present = arg;
	int64		offset = eventlog_tid_to_offset(tid, present->meta.tid_base);
	int64		bit = offset - present->meta.log_start_offset;

	if (bit < 0)
		return true;
	return offset < present->end && (present->bits[bit / 8] & (1 << (bit % 8))) == 0;
}

/*
 * Find out what compaction and erasure have left, as far as memory allows.
 * Records without a key have index entries, too, so headers do not suffice.
 */
static void
find_present(Relation rel, Present *present)
{
	EventlogMeta meta;
	EventlogCursor *cur;
	int64		start = present->meta.log_start_offset;

	eventlog_storage_read_all(rel, &meta);
	present->end = start;
	if (meta.life.layout == 0)
		return;					/* nothing was ever rewritten */
	present->end = Min(present->meta.frozen.offset, start + (int64) maintenance_work_mem * 1024 * 8);
	if (present->end <= start)
		return;
	present->bits = MemoryContextAllocExtended(CurrentMemoryContext, (present->end - start) / 8 + 1,
											   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	cur = eventlog_cursor_open(rel, SnapshotAny, false);
	cur->strategy = GetAccessStrategy(BAS_VACUUM);
	while (eventlog_cursor_next_head(cur) && cur->header.base_offset < present->end)
	{
		EventlogRecord record;

		eventlog_vacuum_delay_point();
		eventlog_cursor_read(cur);
		while (eventlog_batch_step(&cur->reader, &record))
		{
			int64		bit = record.offset - start;

			if (bit >= 0 && record.offset < present->end)
				present->bits[bit / 8] |= 1 << (bit % 8);
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
	}
	FreeAccessStrategy(cur->strategy);
	eventlog_cursor_close(cur);
}

/* Remove index entries of records that are gone. */
static void
clean_indexes(Relation rel, BufferAccessStrategy strategy)
{
	Relation   *indexes;
	int			nindexes;
	Present		present = {0};

	if (!rel->rd_rel->relhasindex)
		return;
	eventlog_storage_read_meta(rel, &present.meta, NULL);
	find_present(rel, &present);
	vac_open_indexes(rel, RowExclusiveLock, &nindexes, &indexes);
	for (int i = 0; i < nindexes; i++)
	{
		IndexVacuumInfo info = {0};
		IndexBulkDeleteResult *result;

		info.index = indexes[i];
		info.message_level = DEBUG2;
		info.num_heap_tuples = (double) (present.meta.next_offset - present.meta.log_start_offset);
		info.estimated_count = true;
		info.strategy = strategy;
		EVENTLOG_SET_HEAPREL(info, rel);
		result = index_bulk_delete(&info, NULL, is_removed, &present);
		(void) index_vacuum_cleanup(&info, result);
	}
	vac_close_indexes(nindexes, indexes, NoLock);
	if (present.bits)
		pfree(present.bits);
}

void
eventlog_relation_vacuum(Relation rel, struct VacuumParams *params,
						 BufferAccessStrategy strategy)
{
	TimestampTz start = GetCurrentTimestamp();
	TransactionId oldest;
	double		tuples;

	eventlog_freeze(rel, &oldest);
	eventlog_retention_tidy(rel);
	clean_indexes(rel, strategy);
	if (params->truncate != VACOPTVALUE_DISABLED)
		eventlog_retention_truncate(rel, !EventlogIsAutovacuum());
	tuples = update_statistics(rel, oldest);
	eventlog_report_vacuum(rel, tuples, start);
}

bool
eventlog_freeze_due(Relation rel)
{
	TransactionId next = ReadNextTransactionId();
	int32		age = (int32) (next - rel->rd_rel->relfrozenxid);

	return age >= autovacuum_freeze_max_age / FREEZE_FRACTION;
}

void
eventlog_freeze_note(Relation rel, TransactionId oldest)
{
	(void) update_statistics(rel, oldest);
}
