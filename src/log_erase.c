/*-------------------------------------------------------------------------
 *
 * log_erase.c
 *	  Erasing the records of one key from a partition's file.
 *
 * Segments that hold the key are rewritten without it (log_rewrite.c).  Then
 * all blocks that hold no live segment are overwritten with empty pages:
 * those that have just been replaced, what retention and compaction have left
 * behind, and the unused end of segments that were given used blocks.  Free
 * blocks are taken off the free list first, so that no producer writes to
 * them meanwhile; they come back to it as other retired blocks do.
 *
 * Readers in the middle of a block that is overwritten notice (the page's
 * generation), and look their place up anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "storage/smgr.h"
#include "utils/snapmgr.h"

#include "guc.h"
#include "log_erase.h"
#include "log_meta.h"
#include "log_retention.h"
#include "log_rewrite.h"
#include "log_scan.h"

typedef struct Key
{
	const char *bytes;
	int32		len;
} Key;

static bool
is_key(const Key *key, const EventlogRecord *record)
{
	return record->key_len == key->len && memcmp(record->key, key->bytes, key->len) == 0;
}

static bool
keep_others(void *arg, const EventlogBatchHeader *header, const EventlogRecord *record)
{
	return !is_key(arg, record);
}

static bool
is_running(const EventlogCursor *cur)
{
	return cur->header.base_offset >= cur->meta.frozen.offset &&
		!TransactionIdIsCurrentTransactionId(cur->entry.xmin) &&
		TransactionIdIsInProgress(cur->entry.xmin);
}

static bool
is_live(const EventlogCursor *cur)
{
	if (cur->entry.flags & EVENTLOG_ENTRY_ABORTED)
		return false;
	return cur->header.base_offset < cur->meta.frozen.offset ||
		TransactionIdIsCurrentTransactionId(cur->entry.xmin) ||
		TransactionIdDidCommit(cur->entry.xmin);
}

/*
 * Count the key's records in one segment: those that can be read, and all
 * others that are to go.
 */
static int64
count_in_segment(Relation rel, uint32 number, const Key *key, int64 *hidden)
{
	EventlogCursor *cur = eventlog_cursor_open(rel, SnapshotAny, false);
	int64		count = 0;

	cur->strategy = GetAccessStrategy(BAS_BULKREAD);
	eventlog_cursor_seek_segment(cur, number);
	while (eventlog_cursor_next_head(cur) && cur->batch_pos.segment == number)
	{
		bool		live;
		EventlogRecord record;

		CHECK_FOR_INTERRUPTS();
		if (is_running(cur))
			continue;
		live = is_live(cur);
		eventlog_cursor_read(cur);
		while (eventlog_batch_next(&cur->reader, &record))
		{
			if (!is_key(key, &record))
				continue;
			if (live && record.offset >= cur->meta.log_start_offset)
				count++;
			else
				(*hidden)++;
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
	}
	FreeAccessStrategy(cur->strategy);
	eventlog_cursor_close(cur);
	return count;
}

/* Take all runs off the free list: retire them. */
static bool
edit_hold(EventlogMeta *meta, void *arg)
{
	FullTransactionId xid = ReadNextFullTransactionId();
	bool		changed = false;

	while (meta->head.nfree > 0 &&
		   eventlog_meta_add_retired(meta, meta->free_segments[meta->head.nfree - 1], xid))
	{
		meta->head.nfree--;
		changed = true;
	}
	return changed;
}

/* Overwrite all that is not part of the live log. */
static void
blank_the_rest(Relation rel)
{
	EventlogMeta meta;
	uint32		incarnation;

	eventlog_storage_read_all(rel, &meta);
	incarnation = meta.head.incarnation;
	for (int i = 0; i < meta.life.nretired_runs; i++)
		eventlog_storage_blank(rel, meta.life.retired_runs[i].run, incarnation, InvalidTransactionId);
	for (uint32 n = meta.life.recycle_segment; n < meta.head.active_segment; n++)
	{
		EventlogSegment segment;
		EventlogRun run;

		eventlog_storage_get_segment(rel, &meta, n, &segment);
		run.first_block = segment.first_block;
		run.nblocks = segment.nblocks;
		if (n >= meta.head.first_segment && segment.nblocks > 0)
		{
			BlockNumber used = segment.end_block - segment.first_block +
				(segment.end_byte > EVENTLOG_PAYLOAD_START ? 1 : 0);

			run.first_block += used;
			run.nblocks -= used;
		}
		if (run.nblocks > 0)
			eventlog_storage_blank(rel, run, incarnation, InvalidTransactionId);
	}
}

int64
eventlog_erase_key(Relation rel, const char *key, int32 key_len)
{
	Key			wanted = {key, key_len};
	EventlogMeta meta;
	int64		count = 0;
	int			tries = 0;

	eventlog_retention_tidy(rel);

	/*
	 * The active segment is closed, and the next one must not be given used
	 * blocks: nor may what is left over of those that this one was given.
	 */
	do
	{
		(void) eventlog_storage_edit(rel, edit_hold, NULL, InvalidTransactionId);
		eventlog_storage_read_all(rel, &meta);
		(void) eventlog_storage_roll(rel, meta.head.active.nblocks != 0);
		(void) eventlog_storage_edit(rel, edit_hold, NULL, InvalidTransactionId);
		eventlog_storage_read_all(rel, &meta);
	} while ((meta.head.active.nblocks != 0 || meta.head.nfree > 0) && ++tries < 10);
	if (meta.head.active.nblocks != 0 || meta.head.nfree > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("too many freed blocks of partition \"%s\" wait for readers to end",
						RelationGetRelationName(rel)),
				 errhint("Try again when transactions that are open now have ended.")));

	for (uint32 n = meta.head.first_segment; n < meta.head.active_segment; n++)
	{
		EventlogRewrite rewrite;
		int64		hidden = 0;
		int64		found = count_in_segment(rel, n, &wanted, &hidden);

		if (found + hidden == 0)
			continue;
		memset(&rewrite, 0, sizeof(rewrite));
		rewrite.rel = rel;
		rewrite.keep = keep_others;
		rewrite.arg = &wanted;
		EVENTLOG_PAUSE("erase-segment");
		if (!eventlog_rewrite_segments(&rewrite, n, n))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("too many replaced segments of partition \"%s\" wait for readers to end",
							RelationGetRelationName(rel)),
					 errdetail("The key has been erased from a part of the log."),
					 errhint("Try again when transactions that are open now have ended.")));
		count += found;
	}

	EVENTLOG_PAUSE("erase-blank");
	blank_the_rest(rel);
	FlushRelationBuffers(rel);
	smgrimmedsync(RelationGetSmgr(rel), MAIN_FORKNUM);
	return count;
}
