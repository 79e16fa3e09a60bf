/*-------------------------------------------------------------------------
 *
 * inspect.c
 *	  Looking into a log: verify(), dump_batches().
 *
 * Both read pages as they are and report what is wrong with them, where a
 * reader of records would raise.  What a page and an entry must be like is
 * log_walk.c's; here are the metapage, the segment map, and that each block of
 * the file has one use and no more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "log_meta.h"
#include "log_page.h"
#include "log_storage.h"
#include "log_walk.h"
#include "payload.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventlog_verify);
PG_FUNCTION_INFO_V1(eventlog_dump_batches);

/* One partition that is being looked into. */
typedef struct Inspection
{
	ReturnSetInfo *rsinfo;
	Relation	rel;
	int32		partition;
	EventlogMeta meta;
	BlockNumber nblocks;		/* of the file */
	BufferAccessStrategy strategy;
	char	   *image;			/* a page */
	char	   *map_image;
	BlockNumber map_block;		/* of which map_image is a copy */
	EventlogWalk walk;
	char	   *uses;			/* what each block is used for; verify() only */
	uint64		problems;
} Inspection;

/* Uses of a block; 0: none that is known. */
static const char *const use_names[] = {
	"nothing", "a live segment", "a segment below the log start", "replaced segments",
	"a compaction", "free space", "a map page", "a spare map page"
};

enum
{
	USE_LIVE = 1, USE_RETIRED, USE_REPLACED, USE_RESERVED, USE_FREE, USE_MAP, USE_SPARE
};

static EventlogTopic *
inspected_topic(FunctionCallInfo fcinfo)
{
	EventlogTopic *topic;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("topic must not be null")));
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	if (!eventlog_topic_may_look(topic->relid))
		eventlog_topic_check_acl(topic, ACL_SELECT);
	return topic;
}

static const char *
get_page(void *arg, BlockNumber block)
{
	Inspection *in = arg;

	CHECK_FOR_INTERRUPTS();
	return eventlog_storage_read_image(in->rel, block, in->strategy, in->image);
}

/* An entry of the segment map; NULL or what is wrong with its page. */
static const char *
map_entry(Inspection *in, uint32 number, EventlogSegment *segment, BlockNumber *block)
{
	const EventlogMetaHead *head = &in->meta.head;
	const char *problem;

	*block = EVENTLOG_METAPAGE_BLKNO;
	if (number == head->active_segment)
	{
		*segment = head->active;
		segment->end_block = head->tail_block;
		segment->end_byte = head->tail_byte;
		return NULL;
	}
	*block = in->meta.map_blocks[(number / EVENTLOG_SEGMENTS_PER_MAP) % EVENTLOG_MAP_BLOCKS];
	if (*block != in->map_block)
	{
		in->map_block = InvalidBlockNumber;
		if (*block == 0 ||
			eventlog_storage_read_image(in->rel, *block, in->strategy, in->map_image) == NULL)
			return "segment map has no page for this segment";
		problem = eventlog_page_check(in->map_image, EVENTLOG_PAGE_MAP);
		if (problem)
			return problem;
		in->map_block = *block;
	}
	*segment = EventlogPageGetSegments(in->map_image)[number % EVENTLOG_SEGMENTS_PER_MAP];
	return NULL;
}

static void
begin(Inspection *in, ReturnSetInfo *rsinfo, Relation rel, int32 partition)
{
	in->rsinfo = rsinfo;
	in->rel = rel;
	in->partition = partition;
	in->map_block = InvalidBlockNumber;
	in->problems = 0;
	if (in->image == NULL)
	{
		in->image = palloc(BLCKSZ);
		in->map_image = palloc(BLCKSZ);
		in->strategy = GetAccessStrategy(BAS_BULKREAD);
	}
}

/* ---- verify ---- */

static void
report(Inspection *in, int64 segment, int64 block, int64 offset, const char *problem)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	in->problems++;
	values[0] = Int32GetDatum(in->partition);
	values[1] = Int64GetDatum(segment);
	nulls[1] = segment < 0;
	values[2] = Int64GetDatum(block);
	nulls[2] = block < 0;
	values[3] = Int64GetDatum(offset);
	nulls[3] = offset < 0;
	values[4] = CStringGetTextDatum(problem);
	tuplestore_putvalues(in->rsinfo->setResult, in->rsinfo->setDesc, values, nulls);
}

/* Note what blocks are used for; report blocks that have a use already. */
static void
use_blocks(Inspection *in, int64 segment, BlockNumber first, BlockNumber n, int use)
{
	BlockNumber end = in->meta.head.alloc_block;

	if (n == 0)
		return;
	if (first == EVENTLOG_METAPAGE_BLKNO || first >= end || n > end - first)
	{
		report(in, segment, first, -1,
			   psprintf("blocks %u to %u of %s are not part of the file", first, first + n - 1, use_names[use]));
		return;
	}
	for (BlockNumber block = first; block < first + n; block++)
	{
		if (in->uses[block] != 0)
		{
			report(in, segment, block, -1,
				   psprintf("block belongs to %s and to %s", use_names[(int) in->uses[block]], use_names[use]));
			return;
		}
		in->uses[block] = use;
	}
}

static void
verify_blocks(Inspection *in)
{
	const EventlogMeta *meta = &in->meta;
	const EventlogMetaHead *head = &meta->head;
	const EventlogLife *life = &meta->life;
	BlockNumber lost = 0;
	BlockNumber first_lost = 0;

	for (int i = 0; i < head->nfree; i++)
		use_blocks(in, -1, meta->free_segments[i].first_block, meta->free_segments[i].nblocks, USE_FREE);
	for (int i = 0; i < life->nretired_runs; i++)
		use_blocks(in, -1, life->retired_runs[i].run.first_block, life->retired_runs[i].run.nblocks,
				   USE_REPLACED);
	use_blocks(in, -1, life->reserved.first_block, life->reserved.nblocks, USE_RESERVED);
	for (int i = 0; i < EVENTLOG_MAP_BLOCKS; i++)
		use_blocks(in, -1, meta->map_blocks[i], meta->map_blocks[i] != 0, USE_MAP);
	for (int i = 0; i < life->nspare_maps; i++)
		use_blocks(in, -1, life->spare_maps[i], 1, USE_SPARE);

	for (BlockNumber block = 1; block < head->alloc_block; block++)
	{
		if (in->uses[block] == 0 && lost++ == 0)
			first_lost = block;
	}
	if (lost > 0)
		report(in, -1, first_lost, -1, psprintf("%u blocks, of which this is the first, are used for nothing", lost));
}

static void
verify_segment(Inspection *in, uint32 number, int64 *last_base)
{
	const EventlogMetaHead *head = &in->meta.head;
	bool		live = number >= head->first_segment;
	bool		active = (number == head->active_segment);
	EventlogSegment segment,
				next;
	BlockNumber block;
	BlockNumber nblocks;
	int64		end_offset = head->next_offset;
	const char *problem = map_entry(in, number, &segment, &block);

	if (problem)
	{
		report(in, number, block, -1, problem);
		return;
	}
	if (!active && map_entry(in, number + 1, &next, &block) == NULL)
		end_offset = next.base_offset;
	if (segment.base_offset < *last_base)
		report(in, number, block, segment.base_offset, "base offsets of segments do not rise");
	*last_base = Max(*last_base, segment.base_offset);
	if (segment.state == EVENTLOG_SEGMENT_MERGED)
		return;
	if (segment.state != (active ? EVENTLOG_SEGMENT_ACTIVE : EVENTLOG_SEGMENT_CLOSED))
	{
		report(in, number, block, segment.base_offset, "segment is in a wrong state");
		return;
	}
	nblocks = active && segment.nblocks == 0 ? head->alloc_block - segment.first_block : segment.nblocks;
	use_blocks(in, number, segment.first_block, nblocks, live ? USE_LIVE : USE_RETIRED);
	if (segment.generation >= head->next_generation)
		report(in, number, block, segment.base_offset, "segment has a generation that was not given out yet");
	if (segment.end_block < segment.first_block || segment.end_block > segment.first_block + nblocks ||
		segment.end_byte < EVENTLOG_PAYLOAD_START || segment.end_byte > EVENTLOG_PAYLOAD_END)
	{
		report(in, number, block, segment.base_offset, "segment ends outside of its blocks");
		return;
	}
	if (!live)
		return;					/* nobody reads it any more */

	eventlog_walk_begin(&in->walk, &segment, number, head->incarnation, end_offset, get_page, in);
	for (;;)
	{
		EventlogRecord record;

		if (eventlog_walk_next(&in->walk))
		{
			while (eventlog_batch_next(&in->walk.reader, &record))
				;
			if (in->walk.reader.error)
				report(in, number, in->walk.entry_pos.block, in->walk.header.base_offset,
					   in->walk.reader.error);
		}
		else if (in->walk.problem == NULL)
			break;
		else
		{
			report(in, number, in->walk.problem_block, in->walk.pos.offset, in->walk.problem);
			if (!eventlog_walk_resync(&in->walk))
				break;
		}
	}
}

static void
verify_partition(Inspection *in)
{
	const EventlogMetaHead *head = &in->meta.head;
	const char *problem;
	int64		last_base = 0;

	if (eventlog_storage_read_image(in->rel, EVENTLOG_METAPAGE_BLKNO, in->strategy, in->image) == NULL)
		problem = "file is empty";
	else
		problem = eventlog_page_check(in->image, EVENTLOG_PAGE_META);
	if (problem)
	{
		report(in, -1, EVENTLOG_METAPAGE_BLKNO, -1, problem);
		return;
	}
	eventlog_meta_copy(in->image, &in->meta);
	in->nblocks = smgrnblocks(RelationGetSmgr(in->rel), MAIN_FORKNUM);	/* after that: it grows */
	if (head->log_start_offset > head->next_offset || head->first_segment > head->active_segment ||
		in->meta.life.recycle_segment > head->first_segment ||
		head->frozen.offset > head->next_offset ||
		(head->tail_byte > EVENTLOG_PAYLOAD_START && head->tail_block >= in->nblocks) ||
		head->alloc_block < head->active.first_block ||
		head->nfree > EVENTLOG_MAX_FREE_SEGMENTS ||
		in->meta.life.nretired_runs > EVENTLOG_MAX_RETIRED_RUNS ||
		in->meta.life.nspare_maps > EVENTLOG_MAX_SPARE_MAPS ||
		in->meta.life.npending > EVENTLOG_MAX_PENDING_STARTS)
	{
		report(in, -1, EVENTLOG_METAPAGE_BLKNO, head->next_offset, "metapage contradicts itself");
		return;
	}

	in->uses = MemoryContextAllocExtended(CurrentMemoryContext, (Size) head->alloc_block + 1,
										  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 n = in->meta.life.recycle_segment; n <= head->active_segment; n++)
		verify_segment(in, n, &last_base);
	verify_blocks(in);
	pfree(in->uses);
}

/*
 * verify(topic): problems as rows
 */
Datum
eventlog_verify(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic = inspected_topic(fcinfo);
	int			npartitions = topic->npartitions;
	Oid		   *leaves = eventlog_topic_copy_leaves(topic);
	LOCKMODE	mode = RecoveryInProgress() ? AccessShareLock : ShareUpdateExclusiveLock;
	Inspection	in = {0};

	InitMaterializedSRF(fcinfo, 0);
	for (int p = 0; p < npartitions; p++)
	{
		Relation	rel = try_table_open(leaves[p], mode);

		if (rel == NULL)
			continue;			/* dropped meanwhile */
		begin(&in, (ReturnSetInfo *) fcinfo->resultinfo, rel, p);
		verify_partition(&in);
		table_close(rel, mode);
	}
	return (Datum) 0;
}

/* ---- dump_batches ---- */

static const char *
codec_name(int16 attributes)
{
	static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};
	int			codec = attributes & EVENTLOG_BATCH_CODEC_MASK;

	return codec < lengthof(names) ? names[codec] : "unknown";
}

static const char *
writer_state(const Inspection *in, const EventlogWalk *w)
{
	TransactionId xmin = w->entry.xmin;

	if (w->entry.flags & EVENTLOG_ENTRY_ABORTED)
		return "aborted";
	if (w->header.base_offset < in->meta.head.frozen.offset)
		return "frozen";
	if (TransactionIdIsCurrentTransactionId(xmin) || TransactionIdIsInProgress(xmin))
		return "in progress";
	return TransactionIdDidCommit(xmin) ? "committed" : "aborted";
}

static void
show_batch(Inspection *in, uint32 number)
{
	const EventlogWalk *w = &in->walk;
	const EventlogBatchHeader *h = &w->header;
	bool		horizon = (h->attributes & EVENTLOG_BATCH_DELETE_HORIZON) != 0;
	Datum		values[22];
	bool		nulls[22] = {false};
	int			i = 0;

	values[i++] = Int64GetDatum(h->base_offset);
	values[i++] = Int64GetDatum(h->base_offset + h->last_offset_delta);
	values[i++] = Int32GetDatum(h->count);
	values[i++] = Int32GetDatum(h->base_sequence);
	values[i++] = Int32GetDatum(h->base_sequence < 0 ? -1 : h->base_sequence + h->last_offset_delta);
	values[i++] = Int64GetDatum(h->producer_id);
	values[i++] = Int32GetDatum(h->producer_epoch);
	values[i++] = Int32GetDatum(h->leader_epoch);
	values[i++] = BoolGetDatum((h->attributes & EVENTLOG_BATCH_TRANSACTIONAL) != 0);
	values[i++] = BoolGetDatum((h->attributes & EVENTLOG_BATCH_CONTROL) != 0);
	nulls[i] = !horizon;
	values[i++] = Int64GetDatum(h->base_timestamp);
	values[i++] = Int64GetDatum(number);
	values[i++] = Int64GetDatum(w->entry_pos.block);
	values[i++] = Int32GetDatum(w->entry_pos.byte);
	values[i++] = CStringGetTextDatum((h->attributes & EVENTLOG_BATCH_LOG_APPEND_TIME) ?
									  "LogAppendTime" : "CreateTime");
	values[i++] = Int64GetDatum(h->max_timestamp);
	values[i++] = Int32GetDatum((int32) w->entry.length);
	values[i++] = Int32GetDatum(EVENTLOG_BATCH_MAGIC);
	values[i++] = CStringGetTextDatum(codec_name(h->attributes));
	values[i++] = Int64GetDatum((int64) h->crc);
	values[i++] = TransactionIdGetDatum(w->entry.xmin);
	values[i++] = CStringGetTextDatum(writer_state(in, w));
	tuplestore_putvalues(in->rsinfo->setResult, in->rsinfo->setDesc, values, nulls);
}

/*
 * dump_batches(topic, partition, from_offset, to_offset)
 */
Datum
eventlog_dump_batches(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic = inspected_topic(fcinfo);
	int64		from = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	int64		to = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT64(3);
	int32		partition;
	Inspection	in = {0};
	Relation	rel;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("partition must not be null")));
	partition = PG_GETARG_INT32(1);
	eventlog_topic_check_partition(topic, partition);
	InitMaterializedSRF(fcinfo, 0);
	rel = table_open(topic->leaves[partition], AccessShareLock);
	begin(&in, (ReturnSetInfo *) fcinfo->resultinfo, rel, partition);
	eventlog_storage_read_all(rel, &in.meta);
	for (uint32 n = in.meta.head.first_segment; n <= in.meta.head.active_segment; n++)
	{
		EventlogSegment segment,
					next;
		BlockNumber block;
		int64		end_offset = in.meta.head.next_offset;
		const char *problem = map_entry(&in, n, &segment, &block);

		if (problem)
			eventlog_storage_damaged(rel, block, problem);
		if (n < in.meta.head.active_segment && map_entry(&in, n + 1, &next, &block) == NULL)
			end_offset = next.base_offset;
		if (segment.state == EVENTLOG_SEGMENT_MERGED || end_offset <= from)
			continue;
		if (segment.base_offset > to)
			break;
		eventlog_walk_begin(&in.walk, &segment, n, in.meta.head.incarnation, end_offset, get_page, &in);
		for (;;)
		{
			if (eventlog_walk_next(&in.walk))
			{
				const EventlogBatchHeader *h = &in.walk.header;

				if (h->base_offset > to)
					break;
				if (h->base_offset + h->last_offset_delta >= from)
					show_batch(&in, n);
			}
			else if (in.walk.problem == NULL)
				break;
			else
			{
				int64		damaged = in.walk.pos.offset;
				bool		found;

				problem = in.walk.problem;
				block = in.walk.problem_block;
				found = eventlog_walk_resync(&in.walk);
				ereport(WARNING,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("log of partition \"%s\" is damaged: %s",
								RelationGetRelationName(rel), problem),
						 found ?
						 errdetail("Block %u, offset %lld; going on with offset %lld.", block,
								   (long long) damaged, (long long) in.walk.pos.offset) :
						 errdetail("Block %u, offset %lld; the rest of the segment is left out.", block,
								   (long long) damaged)));
				if (!found)
					break;
			}
		}
	}
	table_close(rel, AccessShareLock);
	return (Datum) 0;
}
