/*-------------------------------------------------------------------------
 *
 * log_storage.c
 *	  Changing a partition's file: create, append, segments, freeze, rewrite.
 *
 * Knows bytes, blocks and offsets; knows nothing of rows, topics or
 * visibility.  Every critical section of the project that is not redo is in
 * this file.
 *
 * Locks.  The exclusive lock on the metapage's buffer is the partition's
 * append lock: whoever holds it may write behind the tail, move the tail,
 * switch segments and move the frozen position.  Data pages are locked after
 * the metapage and in the order of the log, never the other way round; map
 * pages likewise.  Readers: storage_read.c.
 *
 * A log's bytes below the tail never change, but for the aborted mark in an
 * entry's header (VACUUM, under the page's exclusive lock).  So a reader that
 * has copied the metapage's head may read everything below that tail at
 * leisure.  Blocks are used again, for other bytes, only when nobody can be
 * reading them any more, or under another generation, which readers check.
 *
 * Whoever closes, rewrites, retires or frees segments that are closed, moves
 * the log start or the frozen position, or shortens the file holds
 * ShareUpdateExclusiveLock on the relation; so there is one of them at a time.
 *
 * The file is extended before the append lock is taken; the tail is not
 * allowed to come near a block that the file system has not got.  The file's
 * length is not WAL-logged and may differ after a crash: only the file system
 * is asked for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/pg_control.h"
#include "catalog/storage.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "guc.h"
#include "log_meta.h"
#include "log_page.h"
#include "log_storage.h"

/* Data pages in one WAL record; block 0 is the metapage's. */
#define MAX_RECORD_PAGES	XLR_MAX_BLOCK_ID

/* At most this many blocks are added to a file ahead of need (4 MB). */
#define MAX_EXTEND_AHEAD	512

/* Free runs of at least this many blocks (1 MB) are used before a file grows. */
#define USE_FREE_MINIMUM	128

/* ---- creation ---- */

void
eventlog_storage_create(EventlogFileId file, char persistence, int64 next_offset,
						int64 min_next_offset)
{
	SMgrRelation smgr = RelationCreateStorage(file, persistence, true);
	PGAlignedBlock zero;
	Buffer		metabuf;
	uint32		incarnation = pg_prng_uint32(&pg_global_prng_state);
	int64		now = eventlog_now_ms();

	/*
	 * Go through shared buffers, not past them: then nothing has to be synced
	 * here, and a thousand partitions cost no thousand fsyncs.
	 */
	memset(zero.data, 0, BLCKSZ);
	smgrextend(smgr, MAIN_FORKNUM, EVENTLOG_METAPAGE_BLKNO, zero.data, false);
	metabuf = ReadBufferWithoutRelcache(file, MAIN_FORKNUM, EVENTLOG_METAPAGE_BLKNO,
										RBM_ZERO_AND_LOCK, NULL, true);

	START_CRIT_SECTION();
	eventlog_meta_init(BufferGetPage(metabuf), incarnation, next_offset, min_next_offset, now);
	MarkBufferDirty(metabuf);
	if (XLogIsNeeded())			/* else it is synced at commit, as all new files */
		log_newpage_buffer(metabuf, true);
	END_CRIT_SECTION();

	UnlockReleaseBuffer(metabuf);
}

void
eventlog_storage_reset(Relation rel)
{
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	EventlogMeta old;
	int64		now = eventlog_now_ms();

	LockBuffer(metabuf, BUFFER_LOCK_EXCLUSIVE);
	eventlog_meta_copy(eventlog_storage_meta_page(rel, metabuf), &old);

	START_CRIT_SECTION();
	eventlog_meta_init(BufferGetPage(metabuf), old.head.incarnation + 1, old.head.next_offset,
					   old.life.min_next_offset, now);
	MarkBufferDirty(metabuf);
	if (RelationNeedsWAL(rel))
		log_newpage_buffer(metabuf, true);
	END_CRIT_SECTION();

	UnlockReleaseBuffer(metabuf);

	/* what was there would not be found any more, even by who erases it */
	RelationTruncate(rel, EVENTLOG_METAPAGE_BLKNO + 1);
}

/* ---- appending ---- */

/*
 * See to it that the file has at least "need" blocks.  Called without any
 * buffer lock, since it may wait for the disk.  Blocks are really written:
 * holes would move the full disk's error from here to a checkpoint.
 */
static void
extend_file(Relation rel, BlockNumber need)
{
	BlockNumber have;

	LockRelationForExtension(rel, ExclusiveLock);
	have = smgrnblocks(RelationGetSmgr(rel), MAIN_FORKNUM);
	if (have < need)
	{
		BlockNumber ahead = Min(have / 4, MAX_EXTEND_AHEAD);

		if (ahead > MaxBlockNumber - need)
			ahead = 0;
		EVENTLOG_PAUSE("extend");
		eventlog_extend_fork(RelationGetSmgr(rel), have, need + ahead - have);
	}
	UnlockRelationForExtension(rel, ExclusiveLock);
}

/*
 * Does the file have at least this many blocks?  The number that the storage
 * manager remembers is a lower bound, since files shrink only under locks that
 * an appender excludes.
 */
static bool
file_has_blocks(Relation rel, BlockNumber need)
{
	SMgrRelation smgr = RelationGetSmgr(rel);
	BlockNumber known = smgr->smgr_cached_nblocks[MAIN_FORKNUM];

	if (known != InvalidBlockNumber && known >= need)
		return true;
	return smgrnblocks(smgr, MAIN_FORKNUM) >= need;
}

/* Blocks that an entry needs if it starts at this byte of its first page. */
static BlockNumber
entry_blocks(uint64 size, uint16 byte)
{
	uint64		first = EVENTLOG_PAYLOAD_END - byte;

	if (size <= first)
		return 1;
	return 1 + (size - first + EVENTLOG_PAYLOAD_SIZE - 1) / EVENTLOG_PAYLOAD_SIZE;
}

/*
 * Close the active segment and begin another with room for "blocks" blocks at
 * least; it is going to have about "want".  Metapage locked by the caller.
 * Returns 0, or how many blocks the file must have before this can be done
 * (then nothing was changed).
 */
static BlockNumber
switch_segment(Relation rel, Buffer metabuf, BlockNumber blocks, BlockNumber want)
{
	EventlogMeta *meta = EventlogPageGetMeta(BufferGetPage(metabuf));
	EventlogMetaHead *head = &meta->head;
	const EventlogLife *life = eventlog_meta_life(BufferGetPage(metabuf));
	uint32		oldest = life ? life->recycle_segment : head->first_segment;
	xl_eventlog_segment xlrec;
	BlockNumber map_block;
	Buffer		mapbuf;
	int			index;

	if (head->active_segment - oldest + 2 >=
		(uint32) EVENTLOG_SEGMENTS_PER_MAP * (EVENTLOG_MAP_BLOCKS - 1))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("partition \"%s\" has too many segments", RelationGetRelationName(rel)),
				 errhint("Raise the topic's segment.bytes, or limit its retention.")));

	memset(&xlrec, 0, sizeof(xlrec));
	xlrec.version = EVENTLOG_FORMAT_VERSION;
	xlrec.closed_number = head->active_segment;
	xlrec.incarnation = head->incarnation;
	xlrec.closed = head->active;
	xlrec.closed.state = EVENTLOG_SEGMENT_CLOSED;
	xlrec.closed.end_block = head->tail_block;
	xlrec.closed.end_byte = head->tail_byte;
	if (xlrec.closed.nblocks == 0)
		xlrec.closed.nblocks = head->alloc_block - xlrec.closed.first_block;
	else if (head->nfree < EVENTLOG_MAX_FREE_SEGMENTS)
		xlrec.closed.nblocks = head->tail_block - xlrec.closed.first_block +
			(head->tail_byte > EVENTLOG_PAYLOAD_START ? 1 : 0); /* the rest is free */
	xlrec.alloc_block = head->alloc_block;

	map_block = meta->map_blocks[(xlrec.closed_number / EVENTLOG_SEGMENTS_PER_MAP) % EVENTLOG_MAP_BLOCKS];
	xlrec.init_map = (xlrec.closed_number % EVENTLOG_SEGMENTS_PER_MAP) == 0;
	if (map_block == 0 && life && life->nspare_maps > 0)
		map_block = xlrec.spare_map = life->spare_maps[life->nspare_maps - 1];
	if (map_block == 0)
		map_block = xlrec.alloc_block++;

	xlrec.active.base_offset = head->next_offset;
	xlrec.active.max_timestamp = EVENTLOG_NO_TIMESTAMP;
	xlrec.active.begun_at = eventlog_now_ms();
	xlrec.active.generation = head->next_generation;
	xlrec.active.state = EVENTLOG_SEGMENT_ACTIVE;
	xlrec.active.first_block = xlrec.alloc_block;
	xlrec.free_index = PG_UINT16_MAX;
	index = eventlog_meta_choose_free(meta, blocks, want);
	if (index >= 0)
	{
		xlrec.free_index = index;
		xlrec.active.first_block = meta->free_segments[index].first_block;
		xlrec.active.nblocks = Min(meta->free_segments[index].nblocks, Max(want, blocks));
	}

	if (!file_has_blocks(rel, map_block + 1))
		return map_block + 1;

	if (xlrec.init_map)
		mapbuf = ReadBufferExtended(rel, MAIN_FORKNUM, map_block, RBM_ZERO_AND_LOCK, NULL);
	else
	{
		const char *problem;

		mapbuf = ReadBuffer(rel, map_block);
		LockBuffer(mapbuf, BUFFER_LOCK_EXCLUSIVE);
		problem = eventlog_page_check(BufferGetPage(mapbuf), EVENTLOG_PAGE_MAP);
		if (problem)
			eventlog_storage_damaged(rel, map_block, problem);
	}

	START_CRIT_SECTION();
	if (xlrec.init_map)
		eventlog_page_init(BufferGetPage(mapbuf), EVENTLOG_PAGE_MAP, head->incarnation, 0);
	eventlog_page_put_segment(BufferGetPage(mapbuf), xlrec.closed_number, &xlrec.closed);
	eventlog_meta_switched(BufferGetPage(metabuf), &xlrec, map_block);
	MarkBufferDirty(mapbuf);
	MarkBufferDirty(metabuf);
	EVENTLOG_PAUSE("segment-before-wal");
	if (RelationNeedsWAL(rel))
	{
		XLogRecPtr	lsn;

		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, sizeof(xlrec));
		XLogRegisterBuffer(0, metabuf, REGBUF_STANDARD);
		XLogRegisterBuffer(1, mapbuf, REGBUF_STANDARD | (xlrec.init_map ? REGBUF_WILL_INIT : 0));
		lsn = XLogInsert(EVENTLOG_RMGR_ID, XLOG_EVENTLOG_SEGMENT);
		PageSetLSN(BufferGetPage(metabuf), lsn);
		PageSetLSN(BufferGetPage(mapbuf), lsn);
	}
	END_CRIT_SECTION();
	EVENTLOG_PAUSE("segment-after-wal");

	UnlockReleaseBuffer(mapbuf);
	return 0;
}

/*
 * Where the next entry goes.  *byte is never 0.
 */
static void
next_entry_place(const EventlogMetaHead *head, BlockNumber *block, uint16 *byte)
{
	*block = head->tail_block;
	*byte = eventlog_page_next_start(head->tail_byte);
	if (*byte == 0)
	{
		(*block)++;
		*byte = EVENTLOG_PAYLOAD_START;
	}
}

/*
 * Must the active segment be closed before an entry that ends in "last"?
 */
static bool
segment_is_full(const EventlogMetaHead *head, BlockNumber last, const EventlogAppend *app)
{
	const EventlogSegment *active = &head->active;

	if (active->nblocks != 0 && last - active->first_block >= active->nblocks)
		return true;
	if (head->next_offset == active->base_offset)
		return false;			/* empty: takes an entry of any size */
	if (app->segment_ms > 0 && eventlog_now_ms() - active->begun_at >= app->segment_ms)
		return true;
	return ((int64) last - active->first_block + 1) * BLCKSZ > app->segment_bytes;
}

/*
 * The active segment can go on only in blocks that the file has not got: is
 * there free space that can be used instead?  So a disk that is full keeps
 * nobody from using what retention has freed.
 */
static bool
has_free_space(Relation rel, const EventlogMeta *meta, BlockNumber blocks, BlockNumber want)
{
	int			index;

	if (meta->head.next_offset == meta->head.active.base_offset)
		return false;			/* it is empty: that would leave a segment of nothing */
	index = eventlog_meta_choose_free(meta, Max(blocks, USE_FREE_MINIMUM), want);
	return index >= 0 && file_has_blocks(rel, meta->free_segments[index].first_block + blocks);
}

/*
 * Write one WAL record's worth of an entry, from byte *done of the entry on,
 * to "npages" pages from "block" on.
 */
static void
append_part(Relation rel, Buffer metabuf, EventlogEntry *entry, const EventlogAppend *app,
			xl_eventlog_append_init *init, xl_eventlog_append_summary *sum, int64 base_offset,
			const EventlogBatchHeader *header, BlockNumber block, uint16 byte, int npages, uint64 *done)
{
	EventlogMetaHead *head = &EventlogPageGetMeta(BufferGetPage(metabuf))->head;
	uint64		size = sizeof(EventlogEntry) + app->length;
	uint64		pos = *done;
	bool		needs_wal = RelationNeedsWAL(rel);
	bool		first = (pos == 0);
	bool		last;
	bool		single = (pos == 0 && npages == 1 && eventlog_entry_is_single(header));
	Buffer		bufs[MAX_RECORD_PAGES];
	uint16		start = byte;
	xl_eventlog_append xlrec;

	/* pins, locks and memory first: nothing below may fail */
	if (npages > 3)
		XLogEnsureRecordSpace(npages, npages + 8);
	for (int i = 0; i < npages; i++)
	{
		if (i == 0 && start != EVENTLOG_PAYLOAD_START)
		{
			const char *problem;

			bufs[i] = ReadBuffer(rel, block);
			LockBuffer(bufs[i], BUFFER_LOCK_EXCLUSIVE);
			problem = eventlog_page_check(BufferGetPage(bufs[i]), EVENTLOG_PAGE_DATA);
			if (problem)
				eventlog_storage_damaged(rel, block, problem);
		}
		else
			bufs[i] = ReadBufferExtended(rel, MAIN_FORKNUM, block + i, RBM_ZERO_AND_LOCK, NULL);
	}

	START_CRIT_SECTION();

	if (needs_wal)
		XLogBeginInsert();

	for (int i = 0; i < npages; i++)
	{
		Page		page = BufferGetPage(bufs[i]);
		uint16		at = (i == 0) ? start : EVENTLOG_PAYLOAD_START;
		bool		fresh = (at == EVENTLOG_PAYLOAD_START);
		int			room = EVENTLOG_PAYLOAD_END - at;

		if (needs_wal)
			XLogRegisterBuffer(i + 1, bufs[i], REGBUF_STANDARD | (fresh ? REGBUF_WILL_INIT : 0));
		if (fresh)
			eventlog_page_begin(page, init, pos > 0);
		if (pos == 0)
		{
			eventlog_page_note_start(page, at, base_offset);
			eventlog_page_put(page, at, (char *) entry, sizeof(EventlogEntry));
			if (needs_wal)
				XLogRegisterBufData(i + 1, (char *) entry, sizeof(EventlogEntry));
			at += sizeof(EventlogEntry);
			room -= sizeof(EventlogEntry);
			pos = sizeof(EventlogEntry);
		}
		if ((uint64) room > size - pos)
			room = size - pos;
		eventlog_page_put(page, at, app->batch + (pos - sizeof(EventlogEntry)), room);
		if (needs_wal && single)
		{
			XLogRegisterBufData(i + 1, app->batch, EVENTLOG_SINGLE_GAP1_FROM);
			XLogRegisterBufData(i + 1, app->batch + EVENTLOG_SINGLE_GAP1_TO,
								EVENTLOG_SINGLE_GAP2_FROM - EVENTLOG_SINGLE_GAP1_TO);
			XLogRegisterBufData(i + 1, app->batch + EVENTLOG_SINGLE_GAP2_TO,
								app->length - EVENTLOG_SINGLE_GAP2_TO);
		}
		else if (needs_wal)
			XLogRegisterBufData(i + 1, app->batch + (pos - sizeof(EventlogEntry)), room);
		pos += room;
		byte = at + room;
		MarkBufferDirty(bufs[i]);
	}

	last = (pos == size);
	if (last)
	{
		eventlog_meta_appended(head, sum, block + npages - 1, byte);
		MarkBufferDirty(metabuf);
	}

	EVENTLOG_PAUSE(last ? "append-before-wal" : "part-before-wal");

	if (needs_wal)
	{
		XLogRecPtr	lsn;

		xlrec.version = EVENTLOG_FORMAT_VERSION;
		xlrec.flags = (first ? EVENTLOG_APPEND_FIRST : 0) | (last ? EVENTLOG_APPEND_LAST : 0);
		xlrec.start_byte = start;
		XLogRegisterData((char *) &xlrec, sizeof(xlrec));
		if (npages > 1 || start == EVENTLOG_PAYLOAD_START)
		{
			xlrec.flags |= EVENTLOG_APPEND_INIT;
			XLogRegisterData((char *) init, sizeof(*init));
		}
		if (single && last)
			xlrec.flags |= EVENTLOG_APPEND_SINGLE;
		if (last && !(first && sum->min_timestamp == header->max_timestamp))
		{
			xlrec.flags |= EVENTLOG_APPEND_SUMMARY;
			XLogRegisterData((char *) sum, sizeof(*sum));
		}
		if (last)
			XLogRegisterBuffer(0, metabuf, REGBUF_STANDARD);
		lsn = XLogInsert(EVENTLOG_RMGR_ID, XLOG_EVENTLOG_APPEND);
		for (int i = 0; i < npages; i++)
			PageSetLSN(BufferGetPage(bufs[i]), lsn);
		if (last)
			PageSetLSN(BufferGetPage(metabuf), lsn);
	}

	END_CRIT_SECTION();

	EVENTLOG_PAUSE(last ? "append-after-wal" : "part-after-wal");

	for (int i = 0; i < npages; i++)
		UnlockReleaseBuffer(bufs[i]);
	*done = pos;
}

/*
 * Take the append lock; if it is not free, note how long that took.
 */
static void
lock_for_append(Buffer metabuf, EventlogAppend *app)
{
	instr_time	start,
				end;

	if (likely(ConditionalLockBuffer(metabuf)))
		return;
	INSTR_TIME_SET_CURRENT(start);
	LockBuffer(metabuf, BUFFER_LOCK_EXCLUSIVE);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	app->waited = true;
	app->wait_us += INSTR_TIME_GET_MICROSEC(end);
}

int64
eventlog_storage_append(Relation rel, EventlogAppend *app)
{
	uint64		size = sizeof(EventlogEntry) + app->length;
	uint64		done = 0;
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	EventlogMetaHead *head;
	const EventlogLife *life;
	EventlogBatchHeader header;
	EventlogEntry entry;
	xl_eventlog_append_init init;
	xl_eventlog_append_summary sum;
	BlockNumber block,
				blocks;
	uint16		byte;
	int64		base_offset;
	const char *problem = eventlog_batch_parse_header(app->batch, &header);

	if (problem)
		elog(ERROR, "batch to append is invalid: %s", problem);
	app->switched = false;
	app->waited = false;
	app->wait_us = 0;

	/* Find room, outside the lock where that can take time. */
	for (;;)
	{
		BlockNumber missing = 0;
		BlockNumber want = Min(app->segment_bytes / BLCKSZ, MaxBlockNumber);
		BlockNumber fresh = entry_blocks(size, EVENTLOG_PAYLOAD_START);

		lock_for_append(metabuf, app);
		head = &EventlogPageGetMeta(eventlog_storage_meta_page(rel, metabuf))->head;
		next_entry_place(head, &block, &byte);
		blocks = entry_blocks(size, byte);
		if (blocks > MaxBlockNumber - block)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("partition \"%s\" has reached the greatest size of a file",
							RelationGetRelationName(rel)),
					 errhint("Add partitions to the topic, or limit its retention.")));
		if (segment_is_full(head, block + blocks - 1, app) ||
			(!file_has_blocks(rel, block + blocks) &&
			 has_free_space(rel, EventlogPageGetMeta(BufferGetPage(metabuf)), fresh, want)))
		{
			missing = switch_segment(rel, metabuf, fresh, want);
			if (missing == 0)
			{
				app->switched = true;
				next_entry_place(head, &block, &byte);
				blocks = entry_blocks(size, byte);
			}
		}
		if (missing == 0)
		{
			if (file_has_blocks(rel, block + blocks))
				break;
			missing = block + blocks;
		}
		LockBuffer(metabuf, BUFFER_LOCK_UNLOCK);
		extend_file(rel, missing);
	}

	/* Offsets. */
	life = eventlog_meta_life(BufferGetPage(metabuf));
	base_offset = head->next_offset;
	if (app->base_offset < 0 && life)
		base_offset = Max(base_offset, life->min_next_offset);
	if (app->base_offset >= 0)
	{
		if (app->base_offset < base_offset)
		{
			int64		next_offset = base_offset;

			UnlockReleaseBuffer(metabuf);
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("record_offset %lld is below the high watermark %lld of partition \"%s\"",
							(long long) app->base_offset, (long long) next_offset,
							RelationGetRelationName(rel)),
					 errhint("Leave record_offset out to have the next one assigned.")));
		}
		base_offset = app->base_offset;
	}
	if (base_offset > head->tid_base + EVENTLOG_MAX_OFFSET - header.last_offset_delta)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("partition \"%s\" has no offset left", RelationGetRelationName(rel)),
				 errdetail("The greatest offset that a topic's table can hold is %lld.",
						   (long long) (head->tid_base + EVENTLOG_MAX_OFFSET))));

	/* All that the locked part does not have to compute has been computed. */
	eventlog_batch_set_base(app->batch, base_offset, (int32) GetWALInsertionTimeLine());
	entry.length = app->length;
	entry.xmin = app->xmin;
	entry.cmin = app->cmin;
	entry.flags = 0;

	sum.next_offset = base_offset + header.last_offset_delta + 1;
	sum.min_timestamp = app->min_timestamp;
	sum.max_timestamp = header.max_timestamp;

	init.incarnation = head->incarnation;
	init.generation = head->active.generation;
	init.next_offset = sum.next_offset;
	init.max_timestamp = head->active.max_timestamp;
	init.max_timestamp_after = Max(init.max_timestamp, sum.max_timestamp);

	while (done < size)
	{
		int			npages = Min(blocks, MAX_RECORD_PAGES);

		append_part(rel, metabuf, &entry, app, &init, &sum, base_offset,
					&header, block, byte, npages, &done);
		block += npages;
		blocks -= npages;
		byte = EVENTLOG_PAYLOAD_START;
	}

	UnlockReleaseBuffer(metabuf);
	return base_offset;
}

/* ---- freezing ---- */

void
eventlog_storage_mark_aborted(Relation rel, BlockNumber block,
							  const uint16 *bytes, int nbytes)
{
	Buffer		buf = ReadBuffer(rel, block);
	Page		page;
	const char *problem;

	LockBuffer(buf, BUFFER_LOCK_EXCLUSIVE);
	page = BufferGetPage(buf);
	problem = eventlog_page_check(page, EVENTLOG_PAGE_DATA);
	if (problem)
		eventlog_storage_damaged(rel, block, problem);

	START_CRIT_SECTION();
	for (int i = 0; i < nbytes; i++)
		eventlog_page_mark_aborted(page, bytes[i]);
	MarkBufferDirty(buf);
	if (RelationNeedsWAL(rel))
	{
		xl_eventlog_mark xlrec;
		XLogRecPtr	lsn;

		xlrec.version = EVENTLOG_FORMAT_VERSION;
		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, sizeof(xlrec));
		XLogRegisterBuffer(0, buf, REGBUF_STANDARD);
		XLogRegisterBufData(0, (char *) bytes, nbytes * sizeof(uint16));
		lsn = XLogInsert(EVENTLOG_RMGR_ID, XLOG_EVENTLOG_MARK);
		PageSetLSN(page, lsn);
	}
	END_CRIT_SECTION();

	UnlockReleaseBuffer(buf);
}

void
eventlog_storage_set_frozen(Relation rel, const EventlogPos *frozen, TransactionId conflict_xid)
{
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	EventlogMetaHead *head;

	LockBuffer(metabuf, BUFFER_LOCK_EXCLUSIVE);
	head = &EventlogPageGetMeta(eventlog_storage_meta_page(rel, metabuf))->head;

	START_CRIT_SECTION();
	head->frozen = *frozen;
	MarkBufferDirty(metabuf);
	if (RelationNeedsWAL(rel))
	{
		xl_eventlog_freeze xlrec;
		XLogRecPtr	lsn;

		memset(&xlrec, 0, sizeof(xlrec));
		xlrec.version = EVENTLOG_FORMAT_VERSION;
		xlrec.conflict_xid = conflict_xid;
		xlrec.frozen = *frozen;
		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, sizeof(xlrec));
		XLogRegisterBuffer(0, metabuf, REGBUF_STANDARD);
		lsn = XLogInsert(EVENTLOG_RMGR_ID, XLOG_EVENTLOG_FREEZE);
		PageSetLSN(BufferGetPage(metabuf), lsn);
	}
	END_CRIT_SECTION();

	UnlockReleaseBuffer(metabuf);
}

void
eventlog_storage_hint_resolved(Relation rel, const EventlogPos *resolved, uint32 layout)
{
	Buffer		metabuf;

	if (RecoveryInProgress())
		return;
	EVENTLOG_PAUSE("hint-resolved");
	metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	if (ConditionalLockBuffer(metabuf))
	{
		Page		page = eventlog_storage_meta_page(rel, metabuf);
		EventlogMetaHead *head = &EventlogPageGetMeta(page)->head;
		const EventlogLife *life = eventlog_meta_life(page);

		if (head->resolved.offset < resolved->offset && (life ? life->layout : 0) == layout)
		{
			head->resolved = *resolved;
			MarkBufferDirtyHint(metabuf, true);
		}
		LockBuffer(metabuf, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(metabuf);
}

/* ---- the life of closed segments ---- */

bool
eventlog_storage_roll(Relation rel, bool even_empty)
{
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	bool		rolled = false;

	for (;;)
	{
		BlockNumber missing = 0;
		EventlogMetaHead *head;

		LockBuffer(metabuf, BUFFER_LOCK_EXCLUSIVE);
		head = &EventlogPageGetMeta(eventlog_storage_meta_page(rel, metabuf))->head;
		if (even_empty || head->tail_block != head->active.first_block ||
			head->tail_byte != EVENTLOG_PAYLOAD_START)
		{
			missing = switch_segment(rel, metabuf, 1, 1);
			rolled = (missing == 0);
		}
		LockBuffer(metabuf, BUFFER_LOCK_UNLOCK);
		if (missing == 0)
			break;
		extend_file(rel, missing);
	}
	ReleaseBuffer(metabuf);
	return rolled;
}

/*
 * Fill in the record of a changed metapage.  The map pages of segments that
 * have been recycled become spare ones, as far as there is room to note them.
 */
static void
prepare_meta_record(xl_eventlog_meta *xlrec, EventlogMeta *meta, uint32 recycled_before,
					TransactionId conflict_xid)
{
	EventlogLife *life = &meta->life;
	uint32		page = recycled_before / EVENTLOG_SEGMENTS_PER_MAP;

	xlrec->version = EVENTLOG_WAL_META_VERSION;
	xlrec->conflict_xid = conflict_xid;
	xlrec->clear_maps = page * EVENTLOG_SEGMENTS_PER_MAP;
	while (page < life->recycle_segment / EVENTLOG_SEGMENTS_PER_MAP &&
		   life->nspare_maps < EVENTLOG_MAX_SPARE_MAPS)
	{
		life->spare_maps[life->nspare_maps++] = meta->map_blocks[page % EVENTLOG_MAP_BLOCKS];
		page++;
	}
	xlrec->clear_upto = page * EVENTLOG_SEGMENTS_PER_MAP;
	xlrec->head = meta->head;
}

/* Register what a META record, or the same part of another one, carries. */
static void
register_meta_record(Buffer metabuf, const EventlogMeta *meta)
{
	XLogRegisterData((char *) meta->free_segments, meta->head.nfree * sizeof(EventlogRun));
	XLogRegisterData((char *) &meta->life, eventlog_life_size(&meta->life));
	XLogRegisterBuffer(0, metabuf, REGBUF_STANDARD);
}

/* Write a changed copy to the metapage.  In a critical section. */
static void
replace_meta(Buffer metabuf, const xl_eventlog_meta *xlrec, const EventlogMeta *meta,
			 const EventlogPos *resolved)
{
	Page		page = BufferGetPage(metabuf);

	eventlog_meta_replace(page, xlrec, (char *) meta->free_segments, (char *) &meta->life,
						  eventlog_life_size(&meta->life));
	if (resolved->offset > meta->head.frozen.offset)
		EventlogPageGetMeta(page)->head.resolved = *resolved;
	MarkBufferDirty(metabuf);
}

bool
eventlog_storage_edit(Relation rel, EventlogMetaEdit edit, void *arg, TransactionId conflict_xid)
{
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	EventlogMeta meta;
	xl_eventlog_meta xlrec;
	uint32		recycled_before;
	bool		changed;

	LockBuffer(metabuf, BUFFER_LOCK_EXCLUSIVE);
	eventlog_meta_copy(eventlog_storage_meta_page(rel, metabuf), &meta);
	recycled_before = meta.life.recycle_segment;
	changed = edit(&meta, arg);
	if (changed)
	{
		prepare_meta_record(&xlrec, &meta, recycled_before, conflict_xid);

		START_CRIT_SECTION();
		EVENTLOG_PAUSE("meta-before-wal");
		replace_meta(metabuf, &xlrec, &meta, &meta.head.resolved);
		if (RelationNeedsWAL(rel))
		{
			XLogRecPtr	lsn;

			XLogBeginInsert();
			XLogRegisterData((char *) &xlrec, sizeof(xlrec));
			register_meta_record(metabuf, &meta);
			lsn = XLogInsert(EVENTLOG_RMGR_ID, XLOG_EVENTLOG_META);
			PageSetLSN(BufferGetPage(metabuf), lsn);
		}
		END_CRIT_SECTION();
		EVENTLOG_PAUSE("meta-after-wal");
	}
	UnlockReleaseBuffer(metabuf);
	return changed;
}

bool
eventlog_storage_swap(Relation rel, EventlogMetaEdit edit, void *arg,
					  uint32 first, uint32 count, const EventlogSegment *segments)
{
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	EventlogMeta meta;
	xl_eventlog_swap xlrec;
	Buffer		maps[2] = {InvalidBuffer, InvalidBuffer};
	int			nmaps;
	uint32		recycled_before;

	Assert(count > 0 && count <= EVENTLOG_SEGMENTS_PER_MAP);

	LockBuffer(metabuf, BUFFER_LOCK_EXCLUSIVE);
	eventlog_meta_copy(eventlog_storage_meta_page(rel, metabuf), &meta);
	recycled_before = meta.life.recycle_segment;
	if (!edit(&meta, arg))
	{
		UnlockReleaseBuffer(metabuf);
		return false;
	}
	meta.life.layout++;
	memset(&xlrec, 0, sizeof(xlrec));
	prepare_meta_record(&xlrec.meta, &meta, recycled_before, InvalidTransactionId);
	xlrec.first = first;
	xlrec.count = Min(count, EVENTLOG_SEGMENTS_PER_MAP - first % EVENTLOG_SEGMENTS_PER_MAP);
	xlrec.first2 = first + xlrec.count;
	xlrec.count2 = count - xlrec.count;
	nmaps = xlrec.count2 > 0 ? 2 : 1;
	for (int i = 0; i < nmaps; i++)
	{
		uint32		number = i == 0 ? xlrec.first : xlrec.first2;
		BlockNumber block = meta.map_blocks[(number / EVENTLOG_SEGMENTS_PER_MAP) % EVENTLOG_MAP_BLOCKS];
		const char *problem;

		maps[i] = ReadBuffer(rel, block);
		LockBuffer(maps[i], BUFFER_LOCK_EXCLUSIVE);
		problem = eventlog_page_check(BufferGetPage(maps[i]), EVENTLOG_PAGE_MAP);
		if (problem)
			eventlog_storage_damaged(rel, block, problem);
	}

	START_CRIT_SECTION();
	EVENTLOG_PAUSE("swap-before-wal");
	for (uint32 i = 0; i < count; i++)
		eventlog_page_set_segment(BufferGetPage(maps[i < xlrec.count ? 0 : 1]), first + i, &segments[i]);
	for (int i = 0; i < nmaps; i++)
		MarkBufferDirty(maps[i]);
	replace_meta(metabuf, &xlrec.meta, &meta, &meta.head.frozen);
	if (RelationNeedsWAL(rel))
	{
		XLogRecPtr	lsn;

		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, sizeof(xlrec));
		register_meta_record(metabuf, &meta);
		XLogRegisterBuffer(1, maps[0], REGBUF_STANDARD);
		XLogRegisterBufData(1, (char *) segments, xlrec.count * sizeof(EventlogSegment));
		if (nmaps == 2)
		{
			XLogRegisterBuffer(2, maps[1], REGBUF_STANDARD);
			XLogRegisterBufData(2, (char *) (segments + xlrec.count),
								xlrec.count2 * sizeof(EventlogSegment));
		}
		lsn = XLogInsert(EVENTLOG_RMGR_ID, XLOG_EVENTLOG_SWAP);
		for (int i = 0; i < nmaps; i++)
			PageSetLSN(BufferGetPage(maps[i]), lsn);
		PageSetLSN(BufferGetPage(metabuf), lsn);
	}
	END_CRIT_SECTION();
	EVENTLOG_PAUSE("swap-after-wal");

	for (int i = 0; i < nmaps; i++)
		UnlockReleaseBuffer(maps[i]);
	UnlockReleaseBuffer(metabuf);
	return true;
}

void
eventlog_storage_write_pages(Relation rel, BlockNumber first, const char *pages, int npages)
{
	Buffer		bufs[MAX_RECORD_PAGES];

	Assert(npages > 0 && npages <= MAX_RECORD_PAGES);
	if (!file_has_blocks(rel, first + npages))
		extend_file(rel, first + npages);
	XLogEnsureRecordSpace(npages - 1, 0);
	for (int i = 0; i < npages; i++)
		bufs[i] = ReadBufferExtended(rel, MAIN_FORKNUM, first + i, RBM_ZERO_AND_LOCK, NULL);

	START_CRIT_SECTION();
	for (int i = 0; i < npages; i++)
	{
		memcpy(BufferGetPage(bufs[i]), pages + (Size) i * BLCKSZ, BLCKSZ);
		MarkBufferDirty(bufs[i]);
	}
	EVENTLOG_PAUSE("rewrite-before-wal");
	if (RelationNeedsWAL(rel))
	{
		XLogRecPtr	lsn;

		/* the server's own record of whole pages needs nothing of ours */
		XLogBeginInsert();
		for (int i = 0; i < npages; i++)
			XLogRegisterBuffer(i, bufs[i], REGBUF_FORCE_IMAGE | REGBUF_STANDARD);
		lsn = XLogInsert(RM_XLOG_ID, XLOG_FPI);
		for (int i = 0; i < npages; i++)
			PageSetLSN(BufferGetPage(bufs[i]), lsn);
	}
	END_CRIT_SECTION();

	for (int i = 0; i < npages; i++)
		UnlockReleaseBuffer(bufs[i]);
}

void
eventlog_storage_blank(Relation rel, EventlogRun run, uint32 incarnation, TransactionId conflict_xid)
{
	BlockNumber block = run.first_block;
	BlockNumber end = Min(run.first_block + run.nblocks,
						  smgrnblocks(RelationGetSmgr(rel), MAIN_FORKNUM));

	XLogEnsureRecordSpace(MAX_RECORD_PAGES - 1, 0);
	while (block < end)
	{
		int			n = Min(end - block, MAX_RECORD_PAGES);
		Buffer		bufs[MAX_RECORD_PAGES];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
			bufs[i] = ReadBufferExtended(rel, MAIN_FORKNUM, block + i, RBM_ZERO_AND_LOCK, NULL);

		START_CRIT_SECTION();
		for (int i = 0; i < n; i++)
		{
			eventlog_page_init(BufferGetPage(bufs[i]), EVENTLOG_PAGE_DATA, incarnation, 0);
			MarkBufferDirty(bufs[i]);
		}
		EVENTLOG_PAUSE("blank-before-wal");
		if (RelationNeedsWAL(rel))
		{
			xl_eventlog_blank xlrec = {EVENTLOG_WAL_META_VERSION, conflict_xid, incarnation};
			XLogRecPtr	lsn;

			XLogBeginInsert();
			XLogRegisterData((char *) &xlrec, sizeof(xlrec));
			for (int i = 0; i < n; i++)
				XLogRegisterBuffer(i, bufs[i], REGBUF_STANDARD | REGBUF_WILL_INIT);
			lsn = XLogInsert(EVENTLOG_RMGR_ID, XLOG_EVENTLOG_BLANK);
			for (int i = 0; i < n; i++)
				PageSetLSN(BufferGetPage(bufs[i]), lsn);
		}
		END_CRIT_SECTION();

		for (int i = 0; i < n; i++)
			UnlockReleaseBuffer(bufs[i]);
		block += n;
	}
}

void
eventlog_storage_extend_ahead(Relation rel, BlockNumber nblocks)
{
	if (!file_has_blocks(rel, nblocks))
		extend_file(rel, nblocks);
}
