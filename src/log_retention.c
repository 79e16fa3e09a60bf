/*-------------------------------------------------------------------------
 *
 * log_retention.c
 *	  Moving a log's start, and using again the space of what lies below.
 *
 * In two steps.  First the log start moves: new readers do not see what lies
 * below it, and segments that lie there whole are retired under an xid of that
 * moment, read under the append lock.  Every reader that was there before has
 * a snapshot whose xmin is at most that; so once all snapshots' are greater,
 * their blocks go to the free list, for the next segment.  The WAL record of
 * that carries the xid, so that a standby ends queries whose snapshots are
 * older.
 *
 * That xid is our own, if we have one: all snapshots take it for running, so
 * the blocks are free as soon as we have ended.  VACUUM's does not count, since
 * it is in nobody's snapshot.  There, and where we have none, it is the next
 * one, which costs another transaction.
 *
 * A log start that a user asks for (delete_records) is part of his
 * transaction: it is noted with his xid, readers honour it once he has
 * committed, and the next one who comes here makes it the log's own.
 *
 * Limits never remove what a transaction in progress has written, nor
 * anything behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/storage.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/smgr.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "guc.h"
#include "log_meta.h"
#include "log_retention.h"
#include "log_scan.h"

/* Segments whose blocks are freed by one WAL record, at most. */
#define RECYCLE_AT_ONCE		64

/* An empty active segment is not moved to less space than this (1 MB). */
#define MOVE_MINIMUM		128

/* ... nor to more than this part of the file. */
#define MOVE_FRACTION		16

/* As the server's own VACUUM: do not bother for less. */
#define TRUNCATE_MINIMUM	1000
#define TRUNCATE_FRACTION	16

/* ---- moving the log start ---- */

typedef struct StartEdit
{
	int64		start;
	uint32		segment;		/* in which it lies */
} StartEdit;

/* The xid under which to retire what nobody is going to see any more. */
static FullTransactionId
retirement_xid(void)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	if (FullTransactionIdIsValid(own) && !(MyProc->statusFlags & PROC_IN_VACUUM))
		return own;
	return ReadNextFullTransactionId();
}

static bool
edit_start(EventlogMeta *meta, void *arg)
{
	StartEdit  *edit = arg;
	EventlogLife *life = &meta->life;
	int			n = 0;

	/* Whoever has asked is this transaction or has ended: we hold the lock. */
	for (int i = 0; i < life->npending; i++)
	{
		if (TransactionIdIsCurrentTransactionId(XidFromFullTransactionId(life->pending[i].xid)))
			life->pending[n++] = life->pending[i];
	}
	life->npending = n;

	meta->head.log_start_offset = Max(meta->head.log_start_offset, edit->start);
	life->cleaned_offset = Max(life->cleaned_offset, meta->head.log_start_offset);
	if (edit->segment > meta->head.first_segment)
	{
		FullTransactionId xid = retirement_xid();
		EventlogRetirement *retired = &life->retired[0];

		/* each also stands for those that it takes along: xids do not go back */
		for (int i = 0; i < lengthof(life->retired); i++)
		{
			if (FullTransactionIdPrecedes(xid, life->retired[i].xid))
				xid = life->retired[i].xid;
		}
		if (FullTransactionIdIsValid(retired->xid) && !FullTransactionIdEquals(retired->xid, xid))
			retired = &life->retired[1];
		retired->xid = xid;
		retired->upto = edit->segment;
		meta->head.first_segment = edit->segment;
	}
	return true;
}

/* Number of the segment in which an offset lies, or is going to lie. */
static uint32
find_segment(Relation rel, const EventlogMeta *meta, int64 offset)
{
	uint32		lo = meta->head.first_segment;
	uint32		hi = meta->head.active_segment;

	while (lo < hi)
	{
		uint32		mid = lo + (hi - lo + 1) / 2;
		EventlogSegment segment;

		eventlog_storage_get_segment(rel, meta, mid, &segment);
		if (segment.base_offset <= offset)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

/*
 * Move the log start to "start", or to what committed transactions have asked
 * for, if that is more.
 */
static void
move_start(Relation rel, int64 start)
{
	EventlogMeta meta;
	StartEdit	edit;
	bool		pending = false;

	eventlog_storage_read_all(rel, &meta);
	for (int i = 0; i < meta.life.npending; i++)
	{
		EventlogPendingStart *asked = &meta.life.pending[i];

		if (TransactionIdIsCurrentTransactionId(XidFromFullTransactionId(asked->xid)))
			continue;
		pending = true;
		if (eventlog_storage_start_holds(asked))
			start = Max(start, asked->offset);
	}
	if (start <= meta.head.log_start_offset && !pending)
		return;
	edit.start = Max(start, meta.head.log_start_offset);
	edit.segment = find_segment(rel, &meta, edit.start);
	EVENTLOG_PAUSE("retention-start");
	(void) eventlog_storage_edit(rel, edit_start, &edit, InvalidTransactionId);
}

/* ---- limits ---- */

/* Blocks of live segments, the active one's only as far as they are filled. */
static int64
live_blocks(Relation rel, const EventlogMeta *meta)
{
	const EventlogMetaHead *head = &meta->head;
	const EventlogLife *life = &meta->life;
	BlockNumber active = head->active.nblocks != 0 ? head->active.nblocks :
		head->alloc_block - head->active.first_block;
	int64		blocks = (int64) head->alloc_block - 1 - life->reserved.nblocks - life->nspare_maps;

	for (int i = 0; i < EVENTLOG_MAP_BLOCKS; i++)
		blocks -= (meta->map_blocks[i] != 0);
	for (int i = 0; i < head->nfree; i++)
		blocks -= meta->free_segments[i].nblocks;
	for (int i = 0; i < life->nretired_runs; i++)
		blocks -= life->retired_runs[i].run.nblocks;
	for (uint32 n = life->recycle_segment; n < head->first_segment; n++)
	{
		EventlogSegment segment;

		eventlog_storage_get_segment(rel, meta, n, &segment);
		blocks -= segment.nblocks;
	}
	return blocks - active + (head->tail_block - head->active.first_block + 1);
}

/*
 * The log start that the limits ask for.  *roll is set if the active segment
 * could go, too.
 */
static int64
limited_start(Relation rel, const EventlogMeta *meta, const EventlogTopicConfig *config,
			  bool *roll)
{
	const EventlogMetaHead *head = &meta->head;
	int64		now = eventlog_now_ms();
	int64		bytes = -1;
	uint32		number;

	*roll = false;
	if (config->retention_bytes >= 0 &&
		((int64) head->alloc_block - 1) * BLCKSZ > config->retention_bytes)
		bytes = live_blocks(rel, meta) * BLCKSZ;

	for (number = head->first_segment; number <= head->active_segment; number++)
	{
		bool		is_active = (number == head->active_segment);
		EventlogSegment segment,
					next;
		int64		size;

		CHECK_FOR_INTERRUPTS();
		eventlog_storage_get_segment(rel, meta, number, &segment);
		size = is_active ? ((int64) head->tail_block - segment.first_block + 1) * BLCKSZ :
			(int64) segment.nblocks * BLCKSZ;
		if (is_active && head->next_offset == segment.base_offset)
			break;				/* empty */

		if (segment.state == EVENTLOG_SEGMENT_MERGED)
			continue;			/* nothing of its own */

		/* as Kafka: as much stays as keeps at least what the limit says */
		if (bytes >= 0 && bytes - size >= config->retention_bytes)
			;
		else if (config->retention_ms < 0)
			break;
		else if (!config->retention_by_age)
		{
			if (segment.max_timestamp >= now - config->retention_ms)
				break;
		}
		else
		{
			/* it was written to until the next one was begun */
			if (is_active)
				break;
			for (uint32 n = number + 1;; n++)
			{
				eventlog_storage_get_segment(rel, meta, n, &next);
				if (next.state != EVENTLOG_SEGMENT_MERGED)
					break;
			}
			if (next.begun_at >= now - config->retention_ms)
				break;
		}
		bytes = bytes >= 0 ? bytes - size : -1;
		if (is_active)
			*roll = true;
	}

	if (number > head->active_segment)
		return head->next_offset;
	else
	{
		EventlogSegment segment;

		eventlog_storage_get_segment(rel, meta, number, &segment);
		return segment.base_offset;
	}
}

void
eventlog_retention_apply(Relation rel, const EventlogTopicConfig *config, bool roll)
{
	EventlogMeta meta;
	bool		roll_active;
	int64		start;

	if (!config->expires || (config->retention_bytes < 0 && config->retention_ms < 0))
		return;
	eventlog_storage_read_all(rel, &meta);
	if (meta.head.next_offset == meta.head.log_start_offset)
		return;
	if (roll && eventlog_now_ms() - meta.head.active.begun_at >= config->segment_ms &&
		eventlog_storage_roll(rel, false))
		eventlog_storage_read_all(rel, &meta);
	start = limited_start(rel, &meta, config, &roll_active);
	if (start <= meta.head.log_start_offset)
		return;
	if (roll_active)
	{
		if (roll)
			(void) eventlog_storage_roll(rel, false);
		else
			start = meta.head.active.base_offset;
	}

	/* what is being written stays, and all behind it */
	move_start(rel, Min(start, eventlog_scan_lso_now(rel, NULL)));
}

/* ---- log starts that users ask for ---- */

typedef struct AskEdit
{
	FullTransactionId xid;
	int64		offset;
	bool		full;
} AskEdit;

static bool
edit_ask(EventlogMeta *meta, void *arg)
{
	AskEdit    *edit = arg;
	EventlogLife *life = &meta->life;

	for (int i = 0; i < life->npending; i++)
	{
		if (FullTransactionIdEquals(life->pending[i].xid, edit->xid))
		{
			life->pending[i].offset = Max(life->pending[i].offset, edit->offset);
			return true;
		}
	}
	edit->full = (life->npending == EVENTLOG_MAX_PENDING_STARTS);
	if (edit->full)
		return false;
	life->pending[life->npending].xid = edit->xid;
	life->pending[life->npending++].offset = edit->offset;
	return true;
}

void
eventlog_retention_ask(Relation rel, int64 offset)
{
	AskEdit		edit = {.offset = offset};

	move_start(rel, 0);			/* make room: what others asked for */
	(void) GetCurrentTransactionId();
	edit.xid = GetCurrentFullTransactionId();
	(void) eventlog_storage_edit(rel, edit_ask, &edit, InvalidTransactionId);
	if (edit.full)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many savepoints have deleted records of partition \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("A transaction can delete records of a partition in at most %d subtransactions.",
						   EVENTLOG_MAX_PENDING_STARTS)));
}

typedef struct RestoreEdit
{
	int64		log_start;
	int64		next_offset;
} RestoreEdit;

static bool
edit_restore(EventlogMeta *meta, void *arg)
{
	RestoreEdit *edit = arg;
	EventlogMetaHead *head = &meta->head;
	bool		changed = false;

	if (edit->next_offset > meta->life.min_next_offset)
	{
		meta->life.min_next_offset = edit->next_offset;
		changed = true;
	}

	/* an empty log's offsets can simply be others */
	if (edit->log_start > head->next_offset && head->next_offset == head->active.base_offset &&
		head->first_segment == head->active_segment)
	{
		head->next_offset = edit->log_start;
		head->active.base_offset = edit->log_start;
		head->log_start_offset = edit->log_start;
		head->frozen.offset = edit->log_start;
		meta->life.cleaned_offset = edit->log_start;
		changed = true;
	}
	return changed;
}

void
eventlog_retention_restore(Relation rel, int64 log_start, int64 next_offset)
{
	RestoreEdit edit = {log_start, next_offset};
	EventlogMetaHead head;

	(void) eventlog_storage_edit(rel, edit_restore, &edit, InvalidTransactionId);
	eventlog_storage_read_meta(rel, &head, NULL);
	if (log_start > head.log_start_offset && head.next_offset > head.log_start_offset)
		move_start(rel, Min(log_start, head.next_offset));
}

/* ---- using blocks again ---- */

typedef struct RecycleEdit
{
	TransactionId horizon;		/* xids before it are finished to everybody */
	uint32		upto;			/* segments below it are recycled ... */
	int			nruns;
	EventlogRun runs[RECYCLE_AT_ONCE];	/* ... which are these */
	uint32		numbers[RECYCLE_AT_ONCE];
	bool		more;
} RecycleEdit;

/*
 * Is a transaction finished to every snapshot that there is?  True also of
 * those that are so old that their 32 bits may be in use again.
 */
static bool
is_past(FullTransactionId xid, TransactionId horizon)
{
	FullTransactionId next = ReadNextFullTransactionId();

	return FullTransactionIdIsValid(xid) &&
		(U64FromFullTransactionId(next) - U64FromFullTransactionId(xid) > PG_INT32_MAX ||
		 TransactionIdPrecedes(XidFromFullTransactionId(xid), horizon));
}

/*
 * An active segment in which nothing has been written can be anywhere: move
 * it to free space further down, so that the end of the file becomes free.
 */
static bool
move_empty_active(EventlogMeta *meta)
{
	EventlogMetaHead *head = &meta->head;
	int			index;
	EventlogRun run;

	if (head->next_offset != head->active.base_offset ||
		head->tail_block != head->active.first_block || head->tail_byte != EVENTLOG_PAYLOAD_START ||
		head->nfree == EVENTLOG_MAX_FREE_SEGMENTS)
		return false;
	index = eventlog_meta_choose_free(meta, MOVE_MINIMUM, MOVE_MINIMUM);
	if (index < 0 || meta->free_segments[index].first_block > head->active.first_block)
		return false;
	run.first_block = head->active.first_block;
	run.nblocks = head->active.nblocks != 0 ? head->active.nblocks :
		head->alloc_block - head->active.first_block;

	/* not all of a long one: what the segment has cannot be given back */
	head->active.nblocks = Min(meta->free_segments[index].nblocks,
							   Max(MOVE_MINIMUM, head->alloc_block / MOVE_FRACTION));
	head->active.first_block = eventlog_meta_take_free(meta, index, head->active.nblocks).first_block;
	head->active.generation = head->next_generation++;
	head->tail_block = head->active.first_block;
	if (head->frozen.segment == head->active_segment)
	{
		head->frozen.block = head->tail_block;
		head->frozen.byte = head->tail_byte;
	}
	head->resolved = head->frozen;
	meta->life.layout++;
	(void) eventlog_meta_add_free(meta, run);	/* there is room */
	return true;
}

static bool
edit_recycle(EventlogMeta *meta, void *arg)
{
	RecycleEdit *edit = arg;
	EventlogLife *life = &meta->life;
	bool		changed = false;
	int			n = 0;

	for (int i = 0; i < edit->nruns; i++)
	{
		if (!eventlog_meta_add_free(meta, edit->runs[i]))
		{
			edit->upto = edit->numbers[i];
			edit->more = false;
			break;
		}
	}
	if (edit->upto > life->recycle_segment)
	{
		life->recycle_segment = edit->upto;
		changed = true;
	}
	while (FullTransactionIdIsValid(life->retired[0].xid) &&
		   life->recycle_segment >= life->retired[0].upto)
	{
		life->retired[0] = life->retired[1];
		memset(&life->retired[1], 0, sizeof(life->retired[1]));
		changed = true;
	}

	for (int i = 0; i < life->nretired_runs; i++)
	{
		if (is_past(life->retired_runs[i].xid, edit->horizon) &&
			eventlog_meta_add_free(meta, life->retired_runs[i].run))
			changed = true;
		else
			life->retired_runs[n++] = life->retired_runs[i];
	}
	life->nretired_runs = n;

	/* left over from a compaction that did not end: the lock says so */
	if (life->reserved.nblocks > 0 && eventlog_meta_add_free(meta, life->reserved))
	{
		memset(&life->reserved, 0, sizeof(life->reserved));
		changed = true;
	}
	if (!edit->more && move_empty_active(meta))
		changed = true;
	return changed;
}

/*
 * Free what is due.  The conflict xid is that of the newest retirement among
 * it; what was retired before that is gone then as well.
 */
static void
recycle(Relation rel)
{
	TransactionId horizon = GetOldestNonRemovableTransactionId(rel);
	RecycleEdit edit;

	do
	{
		EventlogMeta meta;
		EventlogLife *life = &meta.life;
		TransactionId conflict = InvalidTransactionId;
		uint32		number;
		uint32		upto;

		CHECK_FOR_INTERRUPTS();
		eventlog_storage_read_all(rel, &meta);
		memset(&edit, 0, sizeof(edit));
		edit.horizon = horizon;
		upto = number = life->recycle_segment;
		for (int i = 0; i < lengthof(life->retired) && is_past(life->retired[i].xid, horizon); i++)
		{
			upto = Max(upto, life->retired[i].upto);
			conflict = XidFromFullTransactionId(life->retired[i].xid);
		}

		/* compaction may have merged all that was in front of the log start */
		if (!FullTransactionIdIsValid(life->retired[0].xid))
			upto = meta.head.first_segment;
		for (; number < upto && edit.nruns < RECYCLE_AT_ONCE; number++)
		{
			EventlogSegment segment;

			eventlog_storage_get_segment(rel, &meta, number, &segment);
			edit.numbers[edit.nruns] = number;
			edit.runs[edit.nruns].first_block = segment.first_block;
			edit.runs[edit.nruns].nblocks = segment.nblocks;
			if (segment.nblocks > 0)
				edit.nruns++;
		}
		edit.upto = number;
		edit.more = number < upto;
		for (int i = 0; i < life->nretired_runs; i++)
		{
			TransactionId xid = XidFromFullTransactionId(life->retired_runs[i].xid);

			if (is_past(life->retired_runs[i].xid, horizon) &&
				(!TransactionIdIsValid(conflict) || TransactionIdFollows(xid, conflict)))
				conflict = xid;
		}
		EVENTLOG_PAUSE("retention-recycle");
		(void) eventlog_storage_edit(rel, edit_recycle, &edit, conflict);
	} while (edit.more);
}

bool
eventlog_retention_waits(const EventlogMeta *meta)
{
	const EventlogLife *life = &meta->life;
	FullTransactionId next = ReadNextFullTransactionId();

	for (int i = 0; i < lengthof(life->retired); i++)
	{
		if (FullTransactionIdFollowsOrEquals(life->retired[i].xid, next))
			return true;
	}
	for (int i = 0; i < life->nretired_runs; i++)
	{
		if (FullTransactionIdFollowsOrEquals(life->retired_runs[i].xid, next))
			return true;
	}
	return false;
}

void
eventlog_retention_tidy(Relation rel)
{
	EventlogMeta meta;

	move_start(rel, 0);
	eventlog_storage_read_all(rel, &meta);

	/* nothing in the active segment is live: let its space be used again */
	if (meta.head.log_start_offset == meta.head.next_offset && eventlog_storage_roll(rel, false))
	{
		StartEdit	edit;

		edit.start = meta.head.log_start_offset;
		eventlog_storage_read_all(rel, &meta);
		edit.segment = find_segment(rel, &meta, edit.start);
		(void) eventlog_storage_edit(rel, edit_start, &edit, InvalidTransactionId);
	}
	recycle(rel);
}

/* ---- giving space back ---- */

static bool
edit_truncate(EventlogMeta *meta, void *arg)
{
	EventlogMetaHead *head = &meta->head;
	BlockNumber *length = arg;
	bool		changed = false;

	/* an active segment without an end lies there, if only with no block yet */
	*length = head->alloc_block;
	if (head->active.nblocks == 0)
		return false;

	for (int i = 0; i < head->nfree; i++)
	{
		EventlogRun *run = &meta->free_segments[i];

		if (run->first_block + run->nblocks == head->alloc_block)
		{
			head->alloc_block = run->first_block;
			*run = meta->free_segments[--head->nfree];
			changed = true;
			break;				/* runs are joined: there is no other */
		}
	}
	*length = head->alloc_block;
	return changed;
}

void
eventlog_retention_truncate(Relation rel, bool eager)
{
	EventlogMeta meta;
	BlockNumber have = smgrnblocks(RelationGetSmgr(rel), MAIN_FORKNUM);
	BlockNumber length;

	eventlog_storage_read_all(rel, &meta);
	(void) edit_truncate(&meta, &length);
	if (have <= length)
		return;
	if (eager ? (have - length < TRUNCATE_MINIMUM && have - length < have / TRUNCATE_FRACTION) :
		have - length < have / 2)
		return;
	if (!ConditionalLockRelation(rel, AccessExclusiveLock))
		return;
	(void) eventlog_storage_edit(rel, edit_truncate, &length, InvalidTransactionId);
	EVENTLOG_PAUSE("retention-truncate");
	if (smgrnblocks(RelationGetSmgr(rel), MAIN_FORKNUM) > length)
		RelationTruncate(rel, length);
	UnlockRelation(rel, AccessExclusiveLock);
}

/* ---- on the way ---- */

void
eventlog_retention_after_switch(Relation rel, const EventlogTopicConfig *config)
{
	if (!config->expires || (config->retention_bytes < 0 && config->retention_ms < 0))
		return;
	if (!ConditionalLockRelation(rel, ShareUpdateExclusiveLock))
		return;
	eventlog_retention_apply(rel, config, false);
	recycle(rel);
	UnlockRelation(rel, ShareUpdateExclusiveLock);
}
