/*-------------------------------------------------------------------------
 *
 * log_visibility.c
 *	  Which batches a snapshot sees.
 *
 * Visibility is a matter of whole batches, since a batch has one writer:
 *	1. marked aborted: never seen;
 *	2. below the frozen position: committed, its xid is not looked at;
 *	3. written by this transaction: by cmin, as in a heap;
 *	4. in progress to the snapshot: skipped, or the end of the walk;
 *	5. committed: seen, but not before the commit record is on disk, so that
 *	   nobody acts on an event that a crash can take back;
 *	6. else aborted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#include "log_visibility.h"

/*
 * A serializable reader does not see what this transaction wrote: tell the
 * server of the conflict, by the top-level xid, as heapam.c does.
 */
static void
note_unseen_writer(const EventlogCursor *cur, TransactionId xmin)
{
	if (!CheckForSerializableConflictOutNeeded(cur->rel, cur->snapshot))
		return;
	xmin = SubTransGetTopmostTransaction(xmin);
	if (!TransactionIdPrecedes(xmin, TransactionXmin))
		CheckForSerializableConflictOut(cur->rel, xmin, cur->snapshot);
}

static EventlogVisibility
judge_mvcc(const EventlogCursor *cur, TransactionId xmin)
{
	if (TransactionIdIsCurrentTransactionId(xmin))
	{
		if (cur->stop_at_lso)
			return EVENTLOG_RUNNING;
		return cur->entry.cmin < cur->snapshot->curcid ? EVENTLOG_SEEN : EVENTLOG_UNSEEN;
	}
	if (XidInMVCCSnapshot(xmin, cur->snapshot))
	{
		note_unseen_writer(cur, xmin);
		return EVENTLOG_RUNNING;
	}
	if (TransactionIdDidCommit(xmin))
	{
		if (!RecoveryInProgress())
		{
			XLogRecPtr	lsn = TransactionIdGetCommitLSN(xmin);

			if (!XLogRecPtrIsInvalid(lsn) && XLogNeedsFlush(lsn))
				XLogFlush(lsn);
		}
		return EVENTLOG_SEEN;
	}
	return EVENTLOG_UNSEEN;
}

EventlogVisibility
eventlog_visibility(EventlogCursor *cur)
{
	TransactionId xmin = cur->entry.xmin;
	EventlogVisibility state;

	if (cur->snapshot->snapshot_type == SNAPSHOT_ANY)
		return EVENTLOG_SEEN;
	if (cur->entry.flags & EVENTLOG_ENTRY_ABORTED)
		return EVENTLOG_UNSEEN;
	if (cur->header.base_offset < cur->meta.frozen.offset)
		return EVENTLOG_SEEN;

	switch (cur->snapshot->snapshot_type)
	{
		case SNAPSHOT_MVCC:
			if (xmin == cur->judged_xid)
				return (EventlogVisibility) cur->judged;
			state = judge_mvcc(cur, xmin);
			/* own batches differ in cmin */
			if (!TransactionIdIsCurrentTransactionId(xmin))
			{
				cur->judged_xid = xmin;
				cur->judged = state;
			}
			return state;

		case SNAPSHOT_SELF:
			if (TransactionIdIsCurrentTransactionId(xmin))
				return EVENTLOG_SEEN;
			if (TransactionIdIsInProgress(xmin))
				return EVENTLOG_RUNNING;
			return TransactionIdDidCommit(xmin) ? EVENTLOG_SEEN : EVENTLOG_UNSEEN;

		case SNAPSHOT_DIRTY:
			cur->snapshot->xmin = cur->snapshot->xmax = InvalidTransactionId;
			cur->snapshot->speculativeToken = 0;
			if (TransactionIdIsCurrentTransactionId(xmin))
				return EVENTLOG_SEEN;
			if (TransactionIdIsInProgress(xmin))
			{
				cur->snapshot->xmin = xmin;
				return EVENTLOG_SEEN;
			}
			return TransactionIdDidCommit(xmin) ? EVENTLOG_SEEN : EVENTLOG_UNSEEN;

		case SNAPSHOT_NON_VACUUMABLE:
			if (TransactionIdIsCurrentTransactionId(xmin) || TransactionIdIsInProgress(xmin))
				return EVENTLOG_SEEN;
			return TransactionIdDidCommit(xmin) ? EVENTLOG_SEEN : EVENTLOG_UNSEEN;

		default:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("topics cannot be read with this kind of snapshot")));
	}
	return EVENTLOG_UNSEEN;		/* keep compilers quiet */
}
