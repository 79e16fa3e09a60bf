/*-------------------------------------------------------------------------
 *
 * log_meta.c
 *	  The metapage: end of the log, segments, free and retired blocks.
 *
 * Works on images and copies of the metapage only: takes no lock, writes no
 * WAL, does not allocate and does not raise, so all of it may run inside a
 * critical section and in redo.  The caller holds the page's exclusive lock
 * where it writes.
 *
 * A block is in one place at a time: in a live segment, in a segment below
 * the log start whose readers may not have ended, in the list of retired runs
 * (the same for what compaction has replaced), reserved by a compaction, on
 * the free list, a map page or a spare one, or past alloc_block.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "log_meta.h"
#include "log_page.h"

StaticAssertDecl(sizeof(EventlogMeta) <= EVENTLOG_PAYLOAD_SIZE, "metapage does not fit its page");

/*
 * When other blocks must follow the active segment, it is given so many more:
 * a quarter of what the file has, between these.
 */
#define MIN_ACTIVE_SLACK	16
#define MAX_ACTIVE_SLACK	1024

/*
 * Make the metapage of an empty log whose next offset is next_offset.
 */
void
eventlog_meta_init(Page page, uint32 incarnation, int64 next_offset,
				   int64 min_next_offset, int64 now_ms)
{
	EventlogMetaHead *meta;

	eventlog_page_init(page, EVENTLOG_PAGE_META, incarnation, 0);
	EventlogPageGetSpecial(page)->version = EVENTLOG_META_VERSION;
	memset(EventlogPageGetMeta(page), 0, sizeof(EventlogMeta));
	EventlogPageGetMeta(page)->life.cleaned_offset = next_offset;
	EventlogPageGetMeta(page)->life.min_next_offset = min_next_offset;
	meta = &EventlogPageGetMeta(page)->head;

	meta->magic = EVENTLOG_MAGIC;
	meta->incarnation = incarnation;
	meta->next_offset = next_offset;
	meta->log_start_offset = next_offset;
	meta->next_generation = 2;
	meta->alloc_block = EVENTLOG_METAPAGE_BLKNO + 1;

	meta->active.base_offset = next_offset;
	meta->active.max_timestamp = EVENTLOG_NO_TIMESTAMP;
	meta->active.begun_at = now_ms;
	meta->active.first_block = EVENTLOG_METAPAGE_BLKNO + 1;
	meta->active.generation = 1;
	meta->active.state = EVENTLOG_SEGMENT_ACTIVE;

	meta->tail_block = meta->active.first_block;
	meta->tail_byte = EVENTLOG_PAYLOAD_START;

	meta->frozen.offset = next_offset;
	meta->frozen.block = meta->tail_block;
	meta->frozen.byte = meta->tail_byte;
	meta->resolved = meta->frozen;

	((PageHeader) page)->pd_lower = EVENTLOG_PAYLOAD_START + sizeof(EventlogMeta);
}

/*
 * The metapage's part of an append whose last byte went to end_byte - 1 of
 * end_block.
 */
void
eventlog_meta_appended(EventlogMetaHead *meta, const xl_eventlog_append_summary *sum,
					   BlockNumber end_block, uint16 end_byte)
{
	EventlogSegment *active = &meta->active;

	if (active->max_timestamp != EVENTLOG_NO_TIMESTAMP &&
		active->max_timestamp - sum->min_timestamp > active->disorder)
		active->disorder = active->max_timestamp - sum->min_timestamp;
	if (sum->max_timestamp > active->max_timestamp)
		active->max_timestamp = sum->max_timestamp;

	meta->next_offset = sum->next_offset;
	meta->tail_block = end_block;
	meta->tail_byte = end_byte;
	if (meta->alloc_block <= end_block)
		meta->alloc_block = end_block + 1;
}

/*
 * The metapage's part of a segment switch.  map_block is where the closed
 * segment's entry went.
 */
void
eventlog_meta_switched(Page page, const xl_eventlog_segment *xlrec, BlockNumber map_block)
{
	EventlogMeta *meta = EventlogPageGetMeta(page);
	EventlogMetaHead *head = &meta->head;

	if (xlrec->free_index != PG_UINT16_MAX)
		(void) eventlog_meta_take_free(meta, xlrec->free_index, xlrec->active.nblocks);
	if (head->active.nblocks > xlrec->closed.nblocks)
	{
		EventlogRun rest;

		rest.first_block = xlrec->closed.first_block + xlrec->closed.nblocks;
		rest.nblocks = head->active.nblocks - xlrec->closed.nblocks;
		(void) eventlog_meta_add_free(meta, rest);	/* there is room */
	}
	if (xlrec->spare_map != 0)
		meta->life.nspare_maps--;	/* it was the last one */
	meta->map_blocks[(xlrec->closed_number / EVENTLOG_SEGMENTS_PER_MAP) % EVENTLOG_MAP_BLOCKS] = map_block;
	head->active = xlrec->active;
	head->active_segment = xlrec->closed_number + 1;
	head->next_generation = xlrec->active.generation + 1;
	head->alloc_block = xlrec->alloc_block;
	head->tail_block = xlrec->active.first_block;
	head->tail_byte = EVENTLOG_PAYLOAD_START;
}

/* ---- whole pages ---- */

const EventlogLife *
eventlog_meta_life(Page page)
{
	if (EventlogPageGetSpecial(page)->version < EVENTLOG_META_VERSION)
		return NULL;
	return &EventlogPageGetMeta(page)->life;
}

void
eventlog_meta_copy(Page page, EventlogMeta *meta)
{
	if (eventlog_meta_life(page) != NULL)
		memcpy(meta, EventlogPageGetMeta(page), sizeof(EventlogMeta));
	else
	{
		memcpy(meta, EventlogPageGetMeta(page), EVENTLOG_META_SIZE_V1);
		memset(&meta->life, 0, sizeof(EventlogLife));
		meta->life.recycle_segment = meta->head.first_segment;
		meta->life.cleaned_offset = meta->head.log_start_offset;
	}
}

double
eventlog_meta_records(const EventlogMeta *meta)
{
	const EventlogLife *life = &meta->life;
	int64		cleaned = Max(life->cleaned_offset, meta->head.log_start_offset);

	if (life->cleaned_at == 0)
		return (double) (meta->head.next_offset - meta->head.log_start_offset);
	return (double) Min(life->cleaned_kept, cleaned - meta->head.log_start_offset) +
		(double) (meta->head.next_offset - cleaned);
}

Size
eventlog_life_size(const EventlogLife *life)
{
	return offsetof(EventlogLife, retired_runs) +
		life->nretired_runs * sizeof(EventlogRetiredRun);
}

void
eventlog_meta_replace(Page page, const xl_eventlog_meta *xlrec,
					  const char *frees, const char *life, Size life_size)
{
	EventlogMeta *meta = EventlogPageGetMeta(page);

	meta->head = xlrec->head;
	meta->head.resolved = xlrec->head.frozen;
	memcpy(meta->free_segments, frees, xlrec->head.nfree * sizeof(EventlogRun));
	memcpy(&meta->life, life, life_size);
	for (uint32 n = xlrec->clear_maps / EVENTLOG_SEGMENTS_PER_MAP;
		 n < xlrec->clear_upto / EVENTLOG_SEGMENTS_PER_MAP; n++)
		meta->map_blocks[n % EVENTLOG_MAP_BLOCKS] = 0;
	EventlogPageGetSpecial(page)->version = EVENTLOG_META_VERSION;
	((PageHeader) page)->pd_lower = EVENTLOG_PAYLOAD_START + sizeof(EventlogMeta);
}

/* ---- runs of blocks ---- */

bool
eventlog_meta_add_free(EventlogMeta *meta, EventlogRun run)
{
	EventlogMetaHead *head = &meta->head;
	EventlogRun *free = meta->free_segments;
	int			i = 0;

	if (run.nblocks == 0)
		return true;

	/* join neighbours: at most two */
	while (i < head->nfree)
	{
		if (free[i].first_block + free[i].nblocks == run.first_block)
			run.first_block = free[i].first_block;
		else if (run.first_block + run.nblocks != free[i].first_block)
		{
			i++;
			continue;
		}
		run.nblocks += free[i].nblocks;
		free[i] = free[--head->nfree];
	}
	if (head->nfree == EVENTLOG_MAX_FREE_SEGMENTS)
		return false;
	free[head->nfree++] = run;
	return true;
}

bool
eventlog_meta_add_retired(EventlogMeta *meta, EventlogRun run, FullTransactionId xid)
{
	EventlogLife *life = &meta->life;
	EventlogRetiredRun *runs = life->retired_runs;
	int			i = 0;

	if (run.nblocks == 0)
		return true;
	while (i < life->nretired_runs)
	{
		if (runs[i].run.first_block + runs[i].run.nblocks == run.first_block)
			run.first_block = runs[i].run.first_block;
		else if (run.first_block + run.nblocks != runs[i].run.first_block)
		{
			i++;
			continue;
		}
		run.nblocks += runs[i].run.nblocks;
		if (FullTransactionIdFollowsOrEquals(runs[i].xid, xid))
			xid = runs[i].xid;
		runs[i] = runs[--life->nretired_runs];
	}
	if (life->nretired_runs == EVENTLOG_MAX_RETIRED_RUNS)
		return false;
	runs[life->nretired_runs].xid = xid;
	runs[life->nretired_runs++].run = run;
	return true;
}

/*
 * The lowest run that is not much smaller than wanted, so that the end of the
 * file becomes free; else the longest that is long enough at all.
 */
int
eventlog_meta_choose_free(const EventlogMeta *meta, BlockNumber need, BlockNumber want)
{
	const EventlogRun *free = meta->free_segments;
	BlockNumber good = Max(need, want / 4);
	int			best = -1;

	for (int i = 0; i < meta->head.nfree; i++)
	{
		if (free[i].nblocks < need)
			continue;
		if (best < 0)
			best = i;
		else if ((free[i].nblocks >= good) != (free[best].nblocks >= good))
		{
			if (free[i].nblocks >= good)
				best = i;
		}
		else if (free[i].nblocks >= good ? free[i].first_block < free[best].first_block :
				 free[i].nblocks > free[best].nblocks)
			best = i;
	}
	return best;
}

EventlogRun
eventlog_meta_take_free(EventlogMeta *meta, int index, BlockNumber n)
{
	EventlogRun *free = &meta->free_segments[index];
	EventlogRun run;

	run.first_block = free->first_block;
	run.nblocks = n;
	free->first_block += n;
	free->nblocks -= n;
	if (free->nblocks == 0)
		*free = meta->free_segments[--meta->head.nfree];
	return run;
}

EventlogRun
eventlog_meta_reserve(EventlogMeta *meta, BlockNumber n)
{
	EventlogMetaHead *head = &meta->head;
	EventlogRun run = {0, 0};
	BlockNumber slack = Max(MIN_ACTIVE_SLACK, Min(MAX_ACTIVE_SLACK, head->alloc_block / 4));
	int			index = eventlog_meta_choose_free(meta, n, n);

	if (index >= 0)
		return eventlog_meta_take_free(meta, index, n);
	if (n > MaxBlockNumber - slack - head->alloc_block)
		return run;
	if (head->active.nblocks == 0)
	{
		head->active.nblocks = head->alloc_block - head->active.first_block + slack;
		head->alloc_block += slack;
	}
	run.first_block = head->alloc_block;
	run.nblocks = n;
	head->alloc_block += n;
	return run;
}

bool
eventlog_meta_unreserve(EventlogMeta *meta, EventlogRun run)
{
	EventlogMetaHead *head = &meta->head;

	/* many little runs between segments would be of no use to anybody */
	if (run.nblocks > 0 && run.first_block + run.nblocks == head->alloc_block &&
		head->active.nblocks != 0)
	{
		head->alloc_block = run.first_block;
		return true;
	}
	return eventlog_meta_add_free(meta, run);
}
