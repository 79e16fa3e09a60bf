/*-------------------------------------------------------------------------
 *
 * log_compaction.c
 *	  Compaction: of each key, the newest record stays.
 *
 * As Kafka's log cleaner, in two passes.  The first one reads the records that
 * have come since the last run (the dirty section) and notes the newest
 * offset of each key in a table of fixed size; where that is full, this run
 * ends there.  The second one rewrites all closed segments up to there, from
 * the log's start, without the records for whose key the table has a greater
 * offset (log_rewrite.c).
 *
 * Both only look at what is frozen: every snapshot sees the record that makes
 * another one superfluous.  So a query that is running, with however old a
 * snapshot, finds some record of each key.
 *
 * Keys are told apart by 128 bits of hash, with seeds drawn for each run.
 *
 * Tombstones are kept until delete.retention.ms after the first run that has
 * seen them, which is noted in the batch (KIP-534).  Records without a key,
 * which a topic can have from before it was compacted, go.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "guc.h"
#include "log_compaction.h"
#include "log_rewrite.h"
#include "log_scan.h"

/*
 * Segments that are made one, at most.  However they lie scattered, there is
 * room to note what becomes free when a run begins.
 */
#define GROUP_SEGMENTS	(EVENTLOG_MAX_RETIRED_RUNS / 2)

/* Room in maintenance_work_mem for all but the table of keys. */
#define OTHER_MEMORY	((Size) 2 * 1024 * 1024)

/* ---- newest offset of each key ---- */

typedef struct KeySlot
{
	uint64		hash[2];
	int64		offset;			/* -1: unused */
} KeySlot;

typedef struct KeyTable
{
	KeySlot    *slots;
	uint64		nslots;
	uint64		used;
	uint64		seed[2];
} KeyTable;

static KeyTable *
make_table(int64 records)
{
	KeyTable   *table = palloc0(sizeof(KeyTable));
	Size		memory = Max((Size) maintenance_work_mem * 1024, 2 * OTHER_MEMORY) - OTHER_MEMORY;

	/* at most three quarters are used */
	table->nslots = Max(Min(memory / sizeof(KeySlot), (uint64) records * 4 / 3 + 16), 1024);
	table->slots = MemoryContextAllocHuge(CurrentMemoryContext, table->nslots * sizeof(KeySlot));
	for (uint64 i = 0; i < table->nslots; i++)
		table->slots[i].offset = -1;
	table->seed[0] = pg_prng_uint64(&pg_global_prng_state);
	table->seed[1] = pg_prng_uint64(&pg_global_prng_state);
	return table;
}

static KeySlot *
find_slot(KeyTable *table, const char *key, int len)
{
	uint64		h0 = hash_bytes_extended((const unsigned char *) key, len, table->seed[0]);
	uint64		h1 = hash_bytes_extended((const unsigned char *) key, len, table->seed[1]);
	uint64		i = h0 % table->nslots;

	while (table->slots[i].offset >= 0 &&
		   (table->slots[i].hash[0] != h0 || table->slots[i].hash[1] != h1))
	{
		if (++i == table->nslots)
			i = 0;
	}
	if (table->slots[i].offset < 0)
	{
		table->slots[i].hash[0] = h0;
		table->slots[i].hash[1] = h1;
	}
	return &table->slots[i];
}

/*
 * Note the keys of [from, to).  Returns "to", or the base offset of the batch
 * for which there was no room.
 */
static int64
note_keys(Relation rel, KeyTable *table, int64 from, int64 to)
{
	EventlogCursor *cur = eventlog_cursor_open(rel, SnapshotAny, false);
	int64		noted = to;

	cur->strategy = GetAccessStrategy(BAS_BULKREAD);
	eventlog_cursor_seek(cur, from);
	while (eventlog_cursor_next_head(cur) && cur->header.base_offset < to)
	{
		EventlogRecord record;

		CHECK_FOR_INTERRUPTS();
		eventlog_rewrite_rest();
		if (cur->entry.flags & EVENTLOG_ENTRY_ABORTED)
			continue;
		if (table->used + cur->header.count > table->nslots * 3 / 4)
		{
			noted = cur->header.base_offset;
			break;
		}
		eventlog_cursor_read(cur);
		while (eventlog_batch_next(&cur->reader, &record))
		{
			KeySlot    *slot;

			if (record.key_len < 0 || record.offset < from)
				continue;
			slot = find_slot(table, record.key, record.key_len);
			table->used += (slot->offset < 0);
			slot->offset = record.offset;
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
	}
	FreeAccessStrategy(cur->strategy);
	eventlog_cursor_close(cur);
	return noted;
}

/* ---- which records stay ---- */

typedef struct Compaction
{
	KeyTable   *table;
	int64		log_start;
	int64		noted;			/* the table knows the keys below this offset */
	int64		now;
} Compaction;

static bool
keep_newest(void *arg, const EventlogBatchHeader *header, const EventlogRecord *record)
{
	Compaction *compaction = arg;
	KeySlot    *slot;

	if (record->offset >= compaction->noted)
		return true;
	if (record->key_len < 0 || record->offset < compaction->log_start)
		return false;
	slot = find_slot(compaction->table, record->key, record->key_len);
	if (slot->offset > record->offset)
		return false;
	if (record->value_len < 0 && (header->attributes & EVENTLOG_BATCH_DELETE_HORIZON) &&
		header->base_timestamp <= compaction->now)
		return false;
	return true;
}

/* ---- when, and how far ---- */

static int64
segment_bytes(const EventlogSegment *segment)
{
	if (segment->state == EVENTLOG_SEGMENT_MERGED)
		return 0;
	return (int64) (segment->end_block - segment->first_block) * BLCKSZ +
		segment->end_byte - EVENTLOG_PAYLOAD_START;
}

void
eventlog_compaction_measure(Relation rel, const EventlogMeta *meta, EventlogDirt *dirt)
{
	int64		cleaned = meta->life.cleaned_offset;

	memset(dirt, 0, sizeof(*dirt));
	for (uint32 n = meta->head.first_segment; n <= meta->head.active_segment; n++)
	{
		EventlogSegment segment,
					next;
		int64		end = meta->head.next_offset;
		int64		bytes;

		CHECK_FOR_INTERRUPTS();
		if (!eventlog_storage_read_segment(rel, &meta->head, meta->life.layout, n, &segment))
			return;				/* rewritten meanwhile: what we have will do */
		if (n < meta->head.active_segment)
		{
			if (!eventlog_storage_read_segment(rel, &meta->head, meta->life.layout, n + 1, &next))
				return;
			end = next.base_offset;
		}
		bytes = segment_bytes(&segment);
		if (end <= cleaned)
			dirt->clean_bytes += bytes;
		else if (segment.base_offset >= cleaned)
			dirt->dirty_bytes += bytes;
		else
		{
			int64		clean = bytes * ((double) (cleaned - segment.base_offset) /
										 (double) (end - segment.base_offset));

			dirt->clean_bytes += clean;
			dirt->dirty_bytes += bytes - clean;
		}
	}
	if (dirt->dirty_bytes > 0)
		dirt->ratio = (double) dirt->dirty_bytes / (double) (dirt->clean_bytes + dirt->dirty_bytes);
}

/* What a run may do. */
typedef struct Plan
{
	uint32		first;			/* closed segments first ... */
	uint32		last;			/* ... to last; less than first: none */
	int64		end;			/* offset behind the last one */
	bool		overdue;		/* max.compaction.lag.ms has passed */
} Plan;

/*
 * Which closed segments can be compacted: those that are frozen, and old
 * enough.
 */
static void
make_plan(Relation rel, const EventlogMeta *meta, const EventlogTopicConfig *config,
		  int64 now, Plan *plan)
{
	const EventlogMetaHead *head = &meta->head;

	plan->first = head->first_segment;
	plan->last = head->first_segment - 1;
	plan->end = head->log_start_offset;
	plan->overdue = false;
	for (uint32 n = head->first_segment; n < head->active_segment; n++)
	{
		EventlogSegment segment,
					next;

		eventlog_storage_get_segment(rel, meta, n, &segment);
		eventlog_storage_get_segment(rel, meta, n + 1, &next);
		if (next.base_offset > head->frozen.offset)
			break;
		if (next.base_offset > meta->life.cleaned_offset &&
			segment.state != EVENTLOG_SEGMENT_MERGED)
		{
			if (config->min_compaction_lag_ms > 0 &&
				segment.max_timestamp > now - config->min_compaction_lag_ms)
				break;
			if (config->max_compaction_lag_ms < PG_INT64_MAX &&
				segment.max_timestamp - segment.disorder < now - config->max_compaction_lag_ms)
				plan->overdue = true;
		}
		plan->last = n;
		plan->end = next.base_offset;
	}
}

/*
 * Is most of what the active segment holds such that it could be compacted,
 * were the segment closed?
 */
static bool
active_is_ripe(const EventlogMeta *meta, const EventlogTopicConfig *config, int64 now, bool *overdue)
{
	const EventlogMetaHead *head = &meta->head;
	int64		records = head->next_offset - head->active.base_offset;
	int64		frozen = head->frozen.offset - head->active.base_offset;

	*overdue = config->max_compaction_lag_ms < PG_INT64_MAX &&
		now - head->active.begun_at > config->max_compaction_lag_ms;
	return records > 0 && frozen >= records / 2 + 1 &&
		(config->min_compaction_lag_ms == 0 ||
		 head->active.max_timestamp <= now - config->min_compaction_lag_ms);
}

typedef struct DoneEdit
{
	int64		cleaned;
	int64		now;
	const EventlogRewrite *rewrite;
} DoneEdit;

static bool
edit_done(EventlogMeta *meta, void *arg)
{
	DoneEdit   *edit = arg;
	EventlogLife *life = &meta->life;

	life->cleaned_offset = Max(life->cleaned_offset, edit->cleaned);
	life->cleaned_at = edit->now;
	life->cleaned_read = edit->rewrite->records_read;
	life->cleaned_kept = edit->rewrite->records_kept;
	life->tombstones_until = edit->rewrite->first_horizon;
	return true;
}

/*
 * Rewrite the planned segments in groups, each as large as a segment is to
 * be.  False if that had to be broken off.
 */
static bool
rewrite_groups(Relation rel, const Plan *plan, const EventlogTopicConfig *config,
			   EventlogRewrite *rewrite)
{
	uint32		first = plan->first;

	while (first <= plan->last)
	{
		EventlogMeta meta;
		int64		bytes = 0;
		uint32		n;

		/* whoever wants the relation for himself need not wait for all of it */
		if (first > plan->first && LockHasWaitersRelation(rel, ShareUpdateExclusiveLock))
			return false;
		eventlog_storage_read_all(rel, &meta);
		for (n = first; n <= plan->last && n - first < GROUP_SEGMENTS; n++)
		{
			EventlogSegment segment;

			eventlog_storage_get_segment(rel, &meta, n, &segment);
			bytes += segment_bytes(&segment);
			if (n > first && bytes > config->segment_bytes)
				break;
		}
		/* it can take long: hold back nobody's VACUUM, nor our own recycling */
		InvalidateCatalogSnapshot();
		EVENTLOG_PAUSE("compaction-group");
		if (!eventlog_rewrite_segments(rewrite, first, n - 1))
			return false;
		first = n;
	}
	return true;
}

bool
eventlog_compaction_run(Relation rel, const EventlogTopicConfig *config)
{
	int64		now = eventlog_now_ms();
	EventlogMeta meta;
	EventlogDirt dirt;
	Plan		plan;
	Compaction	compaction;
	EventlogRewrite rewrite;
	MemoryContext context,
				old;
	bool		tombstones_due,
				active_overdue,
				due,
				done = false;

	eventlog_storage_read_all(rel, &meta);
	tombstones_due = meta.life.tombstones_until != 0 && meta.life.tombstones_until <= now;
	if (meta.life.cleaned_offset >= meta.head.next_offset && !tombstones_due)
		return false;

	/* much of what earlier runs have replaced waits for readers: so do we */
	if (meta.life.nretired_runs > EVENTLOG_MAX_RETIRED_RUNS - GROUP_SEGMENTS)
		return false;
	eventlog_compaction_measure(rel, &meta, &dirt);
	make_plan(rel, &meta, config, now, &plan);
	due = dirt.ratio >= config->min_dirty_ratio && dirt.dirty_bytes > 0;
	if (active_is_ripe(&meta, config, now, &active_overdue) && (due || active_overdue) &&
		eventlog_storage_roll(rel, false))
	{
		eventlog_storage_read_all(rel, &meta);
		make_plan(rel, &meta, config, now, &plan);
	}
	if (!due && !plan.overdue && !active_overdue && !tombstones_due)
		return false;
	if (plan.end <= meta.life.cleaned_offset && !tombstones_due)
		return false;
	if (plan.last + 1 == plan.first)
		return false;

	context = AllocSetContextCreate(CurrentMemoryContext, "eventlog compaction",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	memset(&compaction, 0, sizeof(compaction));
	memset(&rewrite, 0, sizeof(rewrite));
	compaction.now = now;
	compaction.log_start = meta.head.log_start_offset;
	compaction.noted = Max(plan.end, meta.life.cleaned_offset);
	InvalidateCatalogSnapshot();
	compaction.table = make_table(Max(plan.end - meta.life.cleaned_offset, 0));
	if (plan.end > meta.life.cleaned_offset)
		compaction.noted = note_keys(rel, compaction.table, meta.life.cleaned_offset, plan.end);

	/* what lies behind the last key noted stays as it is */
	while (plan.last > plan.first)
	{
		EventlogSegment segment;

		eventlog_storage_get_segment(rel, &meta, plan.last, &segment);
		if (segment.base_offset < compaction.noted)
			break;
		plan.last--;
	}

	if (compaction.noted > meta.life.cleaned_offset || tombstones_due)
	{
		rewrite.rel = rel;
		rewrite.keep = keep_newest;
		rewrite.arg = &compaction;
		rewrite.horizon_below = compaction.noted;
		rewrite.horizon = now > PG_INT64_MAX - config->delete_retention_ms ? PG_INT64_MAX :
			now + config->delete_retention_ms;
		done = rewrite_groups(rel, &plan, config, &rewrite);
		if (done)
		{
			DoneEdit	edit = {compaction.noted, now, &rewrite};

			(void) eventlog_storage_edit(rel, edit_done, &edit, InvalidTransactionId);
			eventlog_rewrite_renumber(rel);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return done;
}
