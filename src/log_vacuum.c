/*-------------------------------------------------------------------------
 *
 * log_vacuum.c
 *	  VACUUM of a leaf: freezing by log position.
 *
 * There are no dead rows to remove.  VACUUM walks forward from the frozen
 * position over batches whose writers every snapshot takes for finished,
 * marks the aborted ones, and moves the position.  Below it no xid is looked
 * at again, so relfrozenxid advances to the oldest writer behind it.
 *
 * Marks are written, and WAL-logged, before the position moves past them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "log_storage.h"
#include "log_tableam.h"

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
static TransactionId
freeze(Relation rel, TransactionId horizon)
{
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
		eventlog_storage_read_segment(rel, &cur->meta, frozen.segment, &cur->segment);
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

void
eventlog_relation_vacuum(Relation rel, struct VacuumParams *params,
						 BufferAccessStrategy strategy)
{
	TransactionId horizon = GetOldestNonRemovableTransactionId(rel);
	TimestampTz start = GetCurrentTimestamp();
	TransactionId oldest = freeze(rel, horizon);
	EventlogMetaHead meta;
	double		tuples;
	bool		frozenxid_updated,
				minmulti_updated;

	eventlog_storage_read_meta(rel, &meta);
	tuples = (double) (meta.next_offset - meta.log_start_offset);
	vac_update_relstats(rel, RelationGetNumberOfBlocks(rel), tuples, 0 EVENTLOG_ALL_FROZEN(0),
						rel->rd_rel->relhasindex, oldest, ReadNextMultiXactId(),
						&frozenxid_updated, &minmulti_updated, false);
	eventlog_report_vacuum(rel, tuples, start);
}
