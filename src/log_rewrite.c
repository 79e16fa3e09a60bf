/*-------------------------------------------------------------------------
 *
 * log_rewrite.c
 *	  Rewriting closed segments without some of their records.
 *
 * Compaction and erasure stand on this.  The new segment is written to
 * reserved blocks aside, by whole pages; then one WAL record puts it into the
 * segment map in the place of the old ones.  A crash before that leaves the
 * log as it was, and the reservation to be freed by the next who comes.
 *
 * A batch keeps its base offset and its range of offsets however few of its
 * records are left; a batch with none goes.  So offsets do not change, and
 * where a batch begins, it began before: a reader in the middle of the log
 * finds its place again (log_scan.c).
 *
 * The frozen position is moved along with the entry that it stands before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "guc.h"
#include "log_meta.h"
#include "log_page.h"
#include "log_rewrite.h"
#include "log_scan.h"

#define WRITE_PAGES		XLR_MAX_BLOCK_ID

/* Work for at least this long before a rest, which is at most twice that. */
#define WORK_US			5000

/* Numbers are given anew where this many have no segment, and more than do. */
#define RENUMBER_MINIMUM	127

/* A segment that is being written, by whole pages. */
typedef struct Writer
{
	Relation	rel;
	uint32		incarnation;
	EventlogRun run;			/* reserved for it */
	EventlogSegment segment;	/* its entry as it is going to be */
	char	   *pages;			/* WRITE_PAGES of them */
	int			npages;			/* begun */
	BlockNumber block;			/* of the last one begun */
	uint16		byte;			/* behind its last entry */
	EventlogPos *place;			/* in: an offset; out: where the first entry at
								 * or behind it went; block 0 if none did */
} Writer;

void
eventlog_rewrite_rest(void)
{
	static instr_time rested;
	instr_time	now;
	instr_time	worked;

	INSTR_TIME_SET_CURRENT(now);
	worked = now;
	INSTR_TIME_SUBTRACT(worked, rested);
	if (INSTR_TIME_GET_MICROSEC(worked) < WORK_US)
		return;
	pg_usleep(Min((long) INSTR_TIME_GET_MICROSEC(worked), 2 * WORK_US));
	INSTR_TIME_SET_CURRENT(rested);
}

/* ---- writing ---- */

static void
write_pages(Writer *w)
{
	if (w->npages > 0)
		eventlog_storage_write_pages(w->rel, w->block - (w->npages - 1), w->pages, w->npages);
	w->npages = 0;
}

static Page
begin_page(Writer *w, const xl_eventlog_append_init *init, bool continues)
{
	Page		page;

	if (w->npages == WRITE_PAGES)
		write_pages(w);
	w->block = w->block == InvalidBlockNumber ? w->run.first_block : w->block + 1;
	if (w->block >= w->run.first_block + w->run.nblocks)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("records of partition \"%s\" take more space rewritten than before",
						RelationGetRelationName(w->rel)),
				 errdetail("They were compressed better when they were written. Nothing has changed.")));
	page = w->pages + (Size) w->npages++ * BLCKSZ;
	eventlog_page_begin(page, init, continues);
	w->byte = EVENTLOG_PAYLOAD_START;
	return page;
}

static void
write_entry(Writer *w, const EventlogEntry *entry, const char *batch,
			const EventlogBatchHeader *header, int64 min_timestamp)
{
	EventlogSegment *segment = &w->segment;
	uint64		size = sizeof(EventlogEntry) + (uint64) entry->length;
	uint64		done = sizeof(EventlogEntry);
	xl_eventlog_append_init init;
	Page		page;

	init.incarnation = w->incarnation;
	init.generation = segment->generation;
	init.next_offset = header->base_offset + header->last_offset_delta + 1;
	init.max_timestamp = segment->max_timestamp;
	init.max_timestamp_after = Max(segment->max_timestamp, header->max_timestamp);

	if (w->npages == 0 || eventlog_page_next_start(w->byte) == 0)
		page = begin_page(w, &init, false);
	else
		page = w->pages + (Size) (w->npages - 1) * BLCKSZ;

	if (w->place->block == 0 && header->base_offset >= w->place->offset)
	{
		w->place->block = w->block;
		w->place->byte = w->byte;
	}
	eventlog_page_note_start(page, w->byte, header->base_offset);
	eventlog_page_put(page, w->byte, (const char *) entry, sizeof(EventlogEntry));
	w->byte += sizeof(EventlogEntry);
	for (;;)
	{
		int			n = Min(size - done, (uint64) (EVENTLOG_PAYLOAD_END - w->byte));

		eventlog_page_put(page, w->byte, batch + (done - sizeof(EventlogEntry)), n);
		w->byte += n;
		done += n;
		if (done == size)
			break;
		page = begin_page(w, &init, true);
	}

	if (segment->max_timestamp != EVENTLOG_NO_TIMESTAMP &&
		segment->max_timestamp - min_timestamp > segment->disorder)
		segment->disorder = segment->max_timestamp - min_timestamp;
	segment->max_timestamp = init.max_timestamp_after;
}

/* ---- choosing records ---- */

typedef struct Chosen
{
	EventlogBatchBuilder builder;
	EventlogBuf scratch;
	bool	   *keep;			/* by record */
	int			maxkeep;
} Chosen;

/*
 * Write the batch on which the cursor stands, without what is not to be kept.
 */
static void
rewrite_batch(EventlogRewrite *rewrite, Writer *w, EventlogCursor *cur, Chosen *chosen)
{
	const EventlogBatchHeader *header = &cur->header;
	bool		append_time = (header->attributes & EVENTLOG_BATCH_LOG_APPEND_TIME) != 0;
	bool		has_horizon = (header->attributes & EVENTLOG_BATCH_DELETE_HORIZON) != 0;
	bool		tombstones = false;
	int			count = 0;
	int			kept = 0;
	int64		min_timestamp = PG_INT64_MAX;
	EventlogRecord record;
	EventlogEntry entry = cur->entry;
	EventlogBatchHeader written;
	const char *problem;
	char	   *data;
	size_t		len;
	bool		running = header->base_offset >= cur->meta.frozen.offset &&
		!TransactionIdIsCurrentTransactionId(entry.xmin) && TransactionIdIsInProgress(entry.xmin);

	eventlog_cursor_read(cur);
	if (chosen->maxkeep < header->count)
	{
		chosen->maxkeep = Max(header->count, 1024);
		chosen->keep = chosen->keep ? repalloc_huge(chosen->keep, chosen->maxkeep) :
			palloc_extended(chosen->maxkeep, MCXT_ALLOC_HUGE);
	}
	while (eventlog_batch_next(&cur->reader, &record))
	{
		bool		keep = running || rewrite->keep(rewrite->arg, header, &record);

		chosen->keep[count++] = keep;
		if (keep)
		{
			kept++;
			tombstones |= (record.value_len < 0);
			min_timestamp = Min(min_timestamp, record.timestamp);
		}
	}
	if (cur->reader.error)
		eventlog_cursor_damaged(cur, cur->reader.error);
	rewrite->records_read += count;
	rewrite->records_kept += kept;
	if (kept == 0)
		return;

	if (tombstones && !has_horizon && header->base_offset < rewrite->horizon_below)
	{
		eventlog_batch_begin_at(&chosen->builder, rewrite->horizon);
		has_horizon = true;
	}
	else if (kept == count)
	{
		/* as it is */
		if (tombstones && has_horizon &&
			(rewrite->first_horizon == 0 || header->base_timestamp < rewrite->first_horizon))
			rewrite->first_horizon = header->base_timestamp;
		write_entry(w, &entry, cur->batch, header, min_timestamp);
		return;
	}
	else
	{
		has_horizon &= tombstones;
		if (has_horizon)
			eventlog_batch_begin_at(&chosen->builder, header->base_timestamp);
		else
			eventlog_batch_begin(&chosen->builder);
	}
	if (has_horizon &&
		(rewrite->first_horizon == 0 || chosen->builder.base_timestamp < rewrite->first_horizon))
		rewrite->first_horizon = chosen->builder.base_timestamp;

	eventlog_batch_rewind(&cur->reader);
	for (int i = 0; i < count && eventlog_batch_next(&cur->reader, &record); i++)
	{
		if (chosen->keep[i])
			eventlog_batch_add(&chosen->builder, &record, (int32) (record.offset - header->base_offset));
	}
	problem = eventlog_batch_finish_like(&chosen->builder, header, has_horizon,
										 &chosen->scratch, &data, &len);
	if (problem)
		elog(ERROR, "could not finish a batch: %s", problem);
	eventlog_batch_set_base(data, header->base_offset, header->leader_epoch);
	(void) eventlog_batch_parse_header(data, &written);
	entry.length = len;
	write_entry(w, &entry, data, &written, append_time ? written.max_timestamp : min_timestamp);
}

/* Has the writer of the batch on which the cursor stands aborted? */
static bool
is_aborted(const EventlogCursor *cur)
{
	TransactionId xmin = cur->entry.xmin;

	if (cur->entry.flags & EVENTLOG_ENTRY_ABORTED)
		return true;
	if (cur->header.base_offset < cur->meta.frozen.offset)
		return false;
	return !TransactionIdIsCurrentTransactionId(xmin) && !TransactionIdIsInProgress(xmin) &&
		!TransactionIdDidCommit(xmin);
}

/* ---- putting segments in each other's place ---- */

typedef struct ReserveEdit
{
	BlockNumber nblocks;
	int			count;
	const EventlogSegment *old; /* [count] that are going to be retired */
	EventlogRun run;
	uint32		generation;
	bool		full;			/* there is no room to note what becomes free */
} ReserveEdit;

/* Retire the blocks of segments; false if there is no room to note them. */
static bool
retire_segments(EventlogMeta *meta, const EventlogSegment *old, int count, FullTransactionId xid)
{
	for (int i = 0; i < count; i++)
	{
		EventlogRun run = {old[i].first_block, old[i].nblocks};

		if (!eventlog_meta_add_retired(meta, run, xid))
			return false;
	}
	return true;
}

static bool
edit_reserve(EventlogMeta *meta, void *arg)
{
	ReserveEdit *edit = arg;
	EventlogMeta later = *meta;

	/* Before all that is written: will there be room in the end? */
	edit->full = meta->life.reserved.nblocks > 0 ||
		!retire_segments(&later, edit->old, edit->count, ReadNextFullTransactionId());
	if (edit->full)
		return false;
	edit->run = eventlog_meta_reserve(meta, edit->nblocks);
	if (edit->run.nblocks == 0)
		return false;
	edit->generation = meta->head.next_generation++;
	meta->life.reserved = edit->run;
	return true;
}

static bool
edit_unreserve(EventlogMeta *meta, void *arg)
{
	if (!eventlog_meta_add_free(meta, meta->life.reserved))
		return false;			/* later */
	memset(&meta->life.reserved, 0, sizeof(meta->life.reserved));
	return true;
}

typedef struct SwapEdit
{
	uint32		first;
	uint32		last;
	const EventlogSegment *old; /* [last - first + 1] */
	EventlogSegment *segment;	/* the new one; nblocks 0: nothing was kept */
	EventlogRun rest;			/* of the reserved blocks */
	EventlogPos frozen;			/* where it is now, if it was in one of these */
} SwapEdit;

static bool
edit_swap(EventlogMeta *meta, void *arg)
{
	SwapEdit   *edit = arg;
	EventlogMetaHead *head = &meta->head;
	FullTransactionId xid = ReadNextFullTransactionId();	/* see log_retention.c */

	if (!retire_segments(meta, edit->old, edit->last - edit->first + 1, xid))
		return false;
	if (!eventlog_meta_unreserve(meta, edit->rest))
	{
		/* it stays with the segment, or waits with those that it replaces */
		if (edit->segment->nblocks > 0)
			edit->segment->nblocks += edit->rest.nblocks;
		else if (!eventlog_meta_add_retired(meta, edit->rest, xid))
			return false;
	}
	memset(&meta->life.reserved, 0, sizeof(meta->life.reserved));
	if (head->first_segment == edit->first)
		head->first_segment = edit->segment->nblocks > 0 ? edit->last : edit->last + 1;
	if (head->frozen.segment >= edit->first && head->frozen.segment <= edit->last)
		head->frozen = edit->frozen;
	head->resolved = head->frozen;
	return true;
}

/* An entry for a number that has no segment of its own. */
static EventlogSegment
merged_segment(int64 base_offset)
{
	EventlogSegment segment;

	memset(&segment, 0, sizeof(segment));
	segment.base_offset = base_offset;
	segment.max_timestamp = EVENTLOG_NO_TIMESTAMP;
	segment.end_byte = EVENTLOG_PAYLOAD_START;
	segment.state = EVENTLOG_SEGMENT_MERGED;
	return segment;
}

/* The place at which a segment begins. */
static EventlogPos
segment_start(Relation rel, const EventlogMeta *meta, uint32 number, int64 offset)
{
	EventlogSegment segment;
	EventlogPos pos;

	eventlog_storage_get_segment(rel, meta, number, &segment);
	memset(&pos, 0, sizeof(pos));
	pos.offset = offset;
	pos.segment = number;
	pos.block = segment.first_block;
	pos.byte = EVENTLOG_PAYLOAD_START;
	return pos;
}

bool
eventlog_rewrite_segments(EventlogRewrite *rewrite, uint32 first, uint32 last)
{
	Relation	rel = rewrite->rel;
	int			count = last - first + 1;
	EventlogSegment *old = palloc(sizeof(EventlogSegment) * count);
	EventlogSegment *new = palloc(sizeof(EventlogSegment) * count);
	int64		blocks = 0;
	EventlogMeta meta;
	ReserveEdit reserve;
	SwapEdit	swap;
	Writer		w;
	Chosen		chosen;
	EventlogCursor *cur;
	EventlogPos place;
	bool		done;

	memset(&w, 0, sizeof(w));
	memset(&chosen, 0, sizeof(chosen));
	eventlog_storage_read_all(rel, &meta);
	Assert(count > 0 && count <= EVENTLOG_SEGMENTS_PER_MAP && last < meta.head.active_segment);
	for (int i = 0; i < count; i++)
	{
		eventlog_storage_get_segment(rel, &meta, first + i, &old[i]);
		if (old[i].nblocks > 0)
			blocks += old[i].end_block - old[i].first_block + 1;
	}

	/* subsets of compressed batches may compress a little less well */
	reserve.nblocks = Min(blocks + blocks / 16 + 4, MaxBlockNumber);
	reserve.old = old;
	reserve.count = count;
	if (!eventlog_storage_edit(rel, edit_reserve, &reserve, InvalidTransactionId))
	{
		if (reserve.full)
		{
			pfree(old);
			pfree(new);
			return false;
		}
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("no room in the file of partition \"%s\" to rewrite a segment",
						RelationGetRelationName(rel)),
				 errhint("Lower the topic's segment.bytes, or limit its retention.")));
	}
	EVENTLOG_PAUSE("rewrite-reserved");

	w.rel = rel;
	w.incarnation = meta.head.incarnation;
	w.run = reserve.run;
	w.pages = palloc(WRITE_PAGES * BLCKSZ);
	w.block = InvalidBlockNumber;
	for (int i = count - 1; i >= 0; i--)
	{
		/* begun when the first one was: until then the one before was written */
		if (old[i].state != EVENTLOG_SEGMENT_MERGED)
			w.segment.begun_at = old[i].begun_at;
	}
	w.segment.base_offset = old[0].base_offset;
	w.segment.max_timestamp = EVENTLOG_NO_TIMESTAMP;
	w.segment.disorder = 0;
	w.segment.generation = reserve.generation;
	w.segment.state = EVENTLOG_SEGMENT_CLOSED;
	memset(&place, 0, sizeof(place));
	place.offset = meta.head.frozen.offset;
	place.segment = last;
	w.place = &place;
	eventlog_batch_begin(&chosen.builder);
	eventlog_buf_reserve(&chosen.scratch, BLCKSZ);

	cur = eventlog_cursor_open(rel, SnapshotAny, false);
	cur->strategy = GetAccessStrategy(BAS_BULKREAD);
	eventlog_cursor_seek_segment(cur, first);
	while (eventlog_cursor_next_head(cur) && cur->batch_pos.segment <= last)
	{
		CHECK_FOR_INTERRUPTS();
		eventlog_rewrite_rest();
		if (!is_aborted(cur))
			rewrite_batch(rewrite, &w, cur, &chosen);
	}
	write_pages(&w);
	FreeAccessStrategy(cur->strategy);
	eventlog_cursor_close(cur);

	/* the map's new entries */
	for (int i = 0; i < count; i++)
		new[i] = merged_segment(old[0].base_offset);
	swap.rest = reserve.run;
	if (w.block != InvalidBlockNumber)
	{
		w.segment.first_block = reserve.run.first_block;
		w.segment.nblocks = w.block - reserve.run.first_block + 1;
		w.segment.end_block = w.block;
		w.segment.end_byte = w.byte;
		new[count - 1] = w.segment;
		swap.rest.first_block += w.segment.nblocks;
		swap.rest.nblocks -= w.segment.nblocks;
	}
	swap.first = first;
	swap.last = last;
	swap.old = old;
	swap.segment = &new[count - 1];
	if (place.block == 0)
	{
		eventlog_storage_read_all(rel, &meta);	/* the next segment may have ended */
		place = segment_start(rel, &meta, last + 1, place.offset);
	}
	swap.frozen = place;
	done = eventlog_storage_swap(rel, edit_swap, &swap, first, count, new);
	if (!done)
		(void) eventlog_storage_edit(rel, edit_unreserve, NULL, InvalidTransactionId);

	eventlog_buf_free(&chosen.builder.buf);
	eventlog_buf_free(&chosen.scratch);
	if (chosen.keep)
		pfree(chosen.keep);
	pfree(w.pages);
	pfree(old);
	pfree(new);
	return done;
}

/* ---- numbers ---- */

typedef struct MoveEdit
{
	uint32		from;
	uint32		to;
} MoveEdit;

static bool
edit_move(EventlogMeta *meta, void *arg)
{
	MoveEdit   *edit = arg;
	EventlogMetaHead *head = &meta->head;

	if (head->first_segment == edit->from)
		head->first_segment = edit->to;
	head->resolved = head->frozen;
	return true;
}

/*
 * Segments move up over numbers that have none, the newest first, until the
 * numbers without segments are all in front of the first one, where they can
 * be forgotten.  Those behind the frozen position stay.
 */
void
eventlog_rewrite_renumber(Relation rel)
{
	EventlogMeta meta;
	EventlogSegment segment;
	uint32		live = 0;
	uint32		total;
	uint32		to;

	eventlog_storage_read_all(rel, &meta);
	if (meta.head.frozen.segment <= meta.head.first_segment)
		return;
	total = meta.head.frozen.segment - meta.head.first_segment;
	for (uint32 n = meta.head.first_segment; n < meta.head.frozen.segment; n++)
	{
		eventlog_storage_get_segment(rel, &meta, n, &segment);
		live += (segment.nblocks > 0);
	}
	if (total - live < RENUMBER_MINIMUM || total - live < live)
		return;

	to = meta.head.frozen.segment - 1;
	for (uint32 from = to; live > 0; from--)
	{
		uint32		at = from;

		CHECK_FOR_INTERRUPTS();
		eventlog_storage_get_segment(rel, &meta, from, &segment);
		if (segment.nblocks == 0)
			continue;
		live--;
		while (at < to)
		{
			EventlogSegment entries[EVENTLOG_SEGMENTS_PER_MAP];
			MoveEdit	move;

			move.from = at;
			move.to = Min(to, at + (EVENTLOG_SEGMENTS_PER_MAP - 1));
			for (uint32 n = move.from; n < move.to; n++)
				entries[n - at] = merged_segment(segment.base_offset);
			entries[move.to - at] = segment;
			(void) eventlog_storage_swap(rel, edit_move, &move, move.from,
										 move.to - move.from + 1, entries);
			at = move.to;
		}
		eventlog_storage_read_all(rel, &meta);
		to--;
	}
}
