/*-------------------------------------------------------------------------
 *
 * produce.c
 *	  The producer's buffer: records of this transaction, not yet appended.
 *
 * Everything that writes to a topic (produce(), INSERT, COPY) puts its records
 * here, one buffer a partition, so that a transaction's records have the
 * order of its calls.  The buffer is appended just before the transaction
 * commits or is prepared; earlier when it outgrows eventlog.producer_buffer,
 * when the same transaction is about to read the topic, and before DDL.  So a
 * transaction that stays open holds up nobody, and one that rolls back leaves
 * nothing behind.
 *
 * Savepoints.  A buffer carries a stack of marks, one for each subtransaction
 * that has put something into it: where the buffer stood then, and the xid
 * that an early append has to use.  Rolling back to a savepoint cuts the
 * buffer back to its mark.  At commit no subtransaction is left to roll back,
 * so all records go under the top transaction's xid, in full batches.
 *
 * cmin.  A batch takes the command id of its newest record.  Who could tell
 * older ones apart is a query that was running when the newer ones came: the
 * query may call functions that read the topic under its snapshot.  Where such
 * a query divides a batch, the batch carries a cut, and an append before the
 * end of the transaction divides it there.
 *
 * A partition's leaf is locked (RowExclusiveLock) from the first record on,
 * by the subtransaction that put it there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "guc.h"
#include "log_storage.h"
#include "payload.h"
#include "produce.h"

/* A batch is closed at this many bytes; larger ones compress better. */
#define BATCH_BYTES				(32 * 1024)
#define BATCH_BYTES_COMPRESSED	(64 * 1024)

/* Batches kept for the next transaction, and the most memory of one. */
#define MAX_SPARE_BATCHES		4
#define MAX_SPARE_BYTES			(256 * 1024)

/* Where a running query divides the records of a batch. */
typedef struct Cut
{
	CommandId	query;			/* the query's snapshot sees what lies before */
	CommandId	cmin;			/* of the newest record before */
	EventlogBatchBuilder saved; /* state of the batch there */
} Cut;

typedef struct PendingBatch
{
	struct PendingBatch *next;
	EventlogBatchBuilder builder;
	int64		base_offset;	/* -1, or explicit */
	CommandId	cmin;
	Cut		   *cuts;			/* not more than there are running queries */
	int			ncuts;
	int			maxcuts;
} PendingBatch;

typedef struct Mark
{
	SubTransactionId subid;
	TransactionId xid;
	PendingBatch *batch;		/* last one at that time; NULL: buffer was empty */
	EventlogBatchBuilder saved; /* its state */
} Mark;

typedef struct LeafBuffer
{
	Oid			leaf;			/* hash key */
	Oid			topic;
	int32		partition;
	SubTransactionId lock_subid;	/* holder of the lock; Invalid: none */
	bool		listed;			/* in "touched" */
	bool		checked;		/* needs_insert is known */
	bool		needs_insert;	/* leaf has indexes or row triggers */
	PendingBatch *first;
	PendingBatch *last;
	Mark	   *marks;
	int			nmarks;
	int			maxmarks;
} LeafBuffer;

static MemoryContext buffer_context = NULL;
static HTAB *leaf_buffers = NULL;
static LeafBuffer **touched = NULL; /* by this transaction */
static int	ntouched = 0;
static int	maxtouched = 0;
static LeafBuffer *last_buffer = NULL;	/* of the last lookup */
static uint64 pending_bytes = 0;
static uint64 pending_records = 0;
static int64 last_append_time = 0;	/* ms, of the last batch under LogAppendTime */

/* Snapshots' command ids of the queries that are running, outermost first. */
static CommandId *running = NULL;
static int	nrunning = 0;
static int	maxrunning = 0;

static PendingBatch *spares = NULL;
static int	nspares = 0;
static EventlogBuf scratch;

static EventlogRange *ranges = NULL;	/* of this transaction */
static int	nranges = 0;
static int	maxranges = 0;
static EventlogRange *last_ranges = NULL;	/* of the last one that committed */
static int	nlast_ranges = 0;
static int	maxlast_ranges = 0;

/* ---- memory ---- */

static PendingBatch *
new_batch(void)
{
	PendingBatch *batch = spares;

	if (batch)
	{
		spares = batch->next;
		nspares--;
	}
	else
	{
		MemoryContext old = MemoryContextSwitchTo(buffer_context);

		batch = palloc0(sizeof(PendingBatch));
		eventlog_batch_begin(&batch->builder);
		MemoryContextSwitchTo(old);
	}
	eventlog_batch_begin(&batch->builder);
	batch->next = NULL;
	batch->base_offset = -1;
	batch->ncuts = 0;
	pending_bytes += batch->builder.buf.cap;
	return batch;
}

/* Frees without allocating or raising: used at the end of transactions. */
static void
free_batch(PendingBatch *batch)
{
	pending_bytes -= batch->builder.buf.cap;
	pending_records -= batch->builder.count;
	if (nspares < MAX_SPARE_BATCHES && batch->builder.buf.cap <= MAX_SPARE_BYTES)
	{
		batch->next = spares;
		spares = batch;
		nspares++;
		return;
	}
	eventlog_buf_free(&batch->builder.buf);
	if (batch->cuts)
		pfree(batch->cuts);
	pfree(batch);
}

static void
free_batches(PendingBatch *batch)
{
	while (batch)
	{
		PendingBatch *next = batch->next;

		free_batch(batch);
		batch = next;
	}
}

static void
init_memory(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(LeafBuffer)};

	ctl.hcxt = TopMemoryContext;
	leaf_buffers = hash_create("eventlog producer buffers", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	buffer_context = AllocSetContextCreate(TopMemoryContext, "eventlog producer buffer",
										   ALLOCSET_DEFAULT_SIZES);
}

/* ---- buffers and marks ---- */

/*
 * The buffer of a leaf, locked and marked for the current subtransaction.
 */
static LeafBuffer *
get_buffer(Oid topic, Oid leaf, int32 partition)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	LeafBuffer *buffer = last_buffer;
	Mark	   *mark;

	if (buffer == NULL || buffer->leaf != leaf)
	{
		bool		found;

		if (buffer_context == NULL)
			init_memory();
		buffer = hash_search(leaf_buffers, &leaf, HASH_ENTER, &found);
		if (!found)
		{
			memset(buffer, 0, sizeof(LeafBuffer));
			buffer->leaf = leaf;
		}
		last_buffer = buffer;
	}
	buffer->topic = topic;
	buffer->partition = partition;

	if (buffer->lock_subid == InvalidSubTransactionId || !buffer->checked)
	{
		Relation	rel = table_open(leaf, RowExclusiveLock);

		if (!eventlog_is_leaf(rel))
			elog(ERROR, "relation %u is not a topic's leaf", leaf);
		CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
		buffer->needs_insert = rel->rd_rel->relhasindex || rel->trigdesc != NULL;
		buffer->checked = true;
		table_close(rel, NoLock);
		if (!buffer->listed)
		{
			if (ntouched == maxtouched)
			{
				int			n = Max(maxtouched * 2, 16);

				touched = touched ? repalloc(touched, n * sizeof(LeafBuffer *)) :
					MemoryContextAlloc(TopMemoryContext, n * sizeof(LeafBuffer *));
				maxtouched = n;
			}
			touched[ntouched++] = buffer;
			buffer->listed = true;
		}
		if (buffer->lock_subid == InvalidSubTransactionId)
			buffer->lock_subid = subid;
	}

	if (buffer->nmarks > 0 && buffer->marks[buffer->nmarks - 1].subid == subid)
		return buffer;

	if (buffer->nmarks == buffer->maxmarks)
	{
		int			n = Max(buffer->maxmarks * 2, 4);

		buffer->marks = buffer->marks ? repalloc(buffer->marks, n * sizeof(Mark)) :
			MemoryContextAlloc(TopMemoryContext, n * sizeof(Mark));
		buffer->maxmarks = n;
	}
	mark = &buffer->marks[buffer->nmarks];
	mark->xid = GetCurrentTransactionId();	/* may raise: count it afterwards */
	mark->subid = subid;
	mark->batch = buffer->last;
	if (buffer->last)
		mark->saved = buffer->last->builder;
	buffer->nmarks++;
	return buffer;
}

/* Add a record to a batch, and count it. */
static void
add_to_batch(PendingBatch *batch, const EventlogRecord *rec, int32 delta)
{
	size_t		cap = batch->builder.buf.cap;

	eventlog_batch_add(&batch->builder, rec, delta);
	pending_bytes += batch->builder.buf.cap - cap;
	pending_records++;
}

static void
add_batch(LeafBuffer *buffer, PendingBatch *batch)
{
	if (buffer->last)
		buffer->last->next = batch;
	else
		buffer->first = batch;
	buffer->last = batch;
}

/* ---- running queries and cuts ---- */

void
eventlog_produce_query_begin(CommandId query)
{
	if (nrunning == maxrunning)
	{
		int			n = Max(maxrunning * 2, 16);

		running = running ? repalloc(running, n * sizeof(CommandId)) :
			MemoryContextAlloc(TopMemoryContext, n * sizeof(CommandId));
		maxrunning = n;
	}
	running[nrunning++] = query;
}

void
eventlog_produce_query_end(void)
{
	nrunning--;
}

static bool
is_running(CommandId query)
{
	for (int i = nrunning - 1; i >= 0; i--)
	{
		if (running[i] == query)
			return true;
	}
	return false;
}

/*
 * A record of command "cid" is about to come behind older ones: remember the
 * place if a running query sees those and not the new one.  Of several, the
 * outermost stands for all.
 */
static void
note_cut(PendingBatch *batch, CommandId cid)
{
	for (int i = 0; i < nrunning; i++)
	{
		Cut		   *cut;

		if (running[i] <= batch->cmin || running[i] > cid)
			continue;
		while (batch->ncuts > 0 && !is_running(batch->cuts[batch->ncuts - 1].query))
			batch->ncuts--;
		if (batch->ncuts == batch->maxcuts)
		{
			int			n = Max(batch->maxcuts * 2, 2);

			batch->cuts = batch->cuts ? repalloc(batch->cuts, n * sizeof(Cut)) :
				MemoryContextAlloc(buffer_context, n * sizeof(Cut));
			batch->maxcuts = n;
		}
		cut = &batch->cuts[batch->ncuts++];
		cut->query = running[i];
		cut->cmin = batch->cmin;
		cut->saved = batch->builder;
		break;
	}
}

/*
 * Cut a batch back to an earlier state.
 */
static void
truncate_batch(PendingBatch *batch, const EventlogBatchBuilder *saved)
{
	pending_records -= batch->builder.count - saved->count;
	eventlog_batch_truncate(&batch->builder, saved);
	while (batch->ncuts > 0 && batch->cuts[batch->ncuts - 1].saved.count >= saved->count)
		batch->cmin = batch->cuts[--batch->ncuts].cmin;
}

/*
 * Put one record into a buffer.  base_offset is its explicit offset or -1.
 */
static void
add_record(LeafBuffer *buffer, const EventlogTopic *topic, const EventlogRecord *rec,
		   int64 explicit_offset)
{
	size_t		limit = topic->config.codec == EVENTLOG_CODEC_NONE ? BATCH_BYTES : BATCH_BYTES_COMPRESSED;
	int64		payload = (int64) Max(rec->key_len, 0) + Max(rec->value_len, 0) + rec->headers_len;
	PendingBatch *batch = buffer->last;
	CommandId	cid;
	int32		delta;

	if (payload > topic->config.max_message_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record of %lld bytes is too large for topic \"%s\"",
						(long long) payload, topic->name),
				 errdetail("The topic's max.message.bytes is %d.", topic->config.max_message_bytes),
				 errhint("Raise it with eventlog.alter_topic().")));

	limit = Min(limit, (size_t) topic->config.max_message_bytes);
	if (batch != NULL &&
		(batch->builder.buf.len >= limit ||
		 batch->builder.buf.len + payload > Max(limit, (size_t) BATCH_BYTES) ||
		 (batch->base_offset >= 0) != (explicit_offset >= 0)))
		batch = NULL;
	if (batch != NULL && explicit_offset >= 0)
	{
		int64		distance = explicit_offset - batch->base_offset;

		if (distance <= batch->builder.last_offset_delta)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("record_offset %lld is not above the record before it",
							(long long) explicit_offset),
					 errhint("Explicit offsets must rise; leave record_offset out to have the next one assigned.")));
		if (distance > PG_INT32_MAX)
			batch = NULL;
	}
	if (batch == NULL)
	{
		batch = new_batch();
		batch->base_offset = explicit_offset;
		add_batch(buffer, batch);
	}

	delta = explicit_offset >= 0 ? (int32) (explicit_offset - batch->base_offset) :
		batch->builder.last_offset_delta + 1;
	cid = GetCurrentCommandId(true);
	if (batch->builder.count > 0 && batch->cmin != cid)
		note_cut(batch, cid);
	batch->cmin = cid;
	add_to_batch(batch, rec, delta);
}

/*
 * Cut a buffer back to a mark.
 */
static void
cut_back(LeafBuffer *buffer, const Mark *mark)
{
	if (mark->batch == NULL)
	{
		free_batches(buffer->first);
		buffer->first = buffer->last = NULL;
		return;
	}
	free_batches(mark->batch->next);
	mark->batch->next = NULL;
	buffer->last = mark->batch;
	truncate_batch(mark->batch, &mark->saved);
}

/* ---- appending ---- */

/*
 * Remember offsets that went to records of this subtransaction.
 */
static void
note_range(LeafBuffer *buffer, SubTransactionId subid, int64 first, int64 last)
{
	EventlogRange *range;

	/* does it go on where this partition's last range ended? */
	for (int i = nranges - 1; i >= 0 && i >= nranges - 16; i--)
	{
		range = &ranges[i];
		if (range->leaf == buffer->leaf)
		{
			if (range->last_offset + 1 == first && range->subid == subid && !range->reported)
			{
				range->last_offset = last;
				return;
			}
			break;
		}
	}
	if (nranges == maxranges)
	{
		int			n = Max(maxranges * 2, 16);

		ranges = ranges ? repalloc_huge(ranges, n * sizeof(EventlogRange)) :
			MemoryContextAlloc(TopMemoryContext, n * sizeof(EventlogRange));
		maxranges = n;
	}
	range = &ranges[nranges++];
	range->topic = buffer->topic;
	range->leaf = buffer->leaf;
	range->partition = buffer->partition;
	range->first_offset = first;
	range->last_offset = last;
	range->subid = subid;
	range->reported = false;
}

/*
 * Replace a batch by two: the state that it had once, and what came later.
 */
static void
split_batch(LeafBuffer *buffer, PendingBatch *whole, EventlogBatchBuilder at)
{
	PendingBatch *rest = new_batch();
	EventlogBatchReader reader;
	EventlogRecord rec;
	char	   *data;
	size_t		len;
	EventlogBuf unused = {0};
	const char *problem;
	int64		base = Max(whole->base_offset, 0);
	int32		first_delta = -1;

	problem = eventlog_batch_finish(&whole->builder, EVENTLOG_CODEC_NONE, false, 0, &scratch, &data, &len);
	if (problem == NULL)
		problem = eventlog_batch_open(&reader, data, len, &unused);
	if (problem)
		elog(ERROR, "buffered batch is invalid: %s", problem);
	for (int i = 0; eventlog_batch_next(&reader, &rec); i++)
	{
		if (i < at.count)
			continue;
		if (first_delta < 0)
			first_delta = rec.offset;
		add_to_batch(rest, &rec, (int32) (rec.offset - first_delta));
	}
	rest->cmin = whole->cmin;
	if (whole->base_offset >= 0)
		rest->base_offset = base + first_delta;
	truncate_batch(whole, &at);
	rest->next = whole->next;
	whole->next = rest;
	if (buffer->last == whole)
		buffer->last = rest;

	/* later marks in the same batch lie in the rest */
	for (int i = 0; i < buffer->nmarks; i++)
	{
		Mark	   *later = &buffer->marks[i];

		if (later->batch == whole && later->saved.count > at.count)
		{
			/* recount what the rest held at that time */
			int32		count = later->saved.count - at.count;
			EventlogBatchBuilder partial;
			PendingBatch *copy = new_batch();

			problem = eventlog_batch_finish(&rest->builder, EVENTLOG_CODEC_NONE, false, 0,
											&scratch, &data, &len);
			if (problem == NULL)
				problem = eventlog_batch_open(&reader, data, len, &unused);
			if (problem)
				elog(ERROR, "buffered batch is invalid: %s", problem);
			while (copy->builder.count < count && eventlog_batch_next(&reader, &rec))
				add_to_batch(copy, &rec, (int32) rec.offset);
			partial = copy->builder;
			free_batch(copy);
			later->batch = rest;
			later->saved = partial;
		}
	}
}

/*
 * Append all of a buffer.  "final" is true at the end of the transaction.
 * A batch leaves the buffer as soon as it is in the log, so that an error
 * half-way neither repeats nor loses anything that a surrounding
 * subtransaction has buffered.
 */
static void
flush_buffer(LeafBuffer *buffer, bool final)
{
	Relation	rel;
	EventlogTopic *topic;
	EventlogTopicConfig config;
	int32		partition;
	int			nmark = 0;
	TransactionId xid = InvalidTransactionId;

	if (buffer->first == NULL)
		return;

	rel = table_open(buffer->leaf, NoLock);
	topic = eventlog_topic_by_leaf(buffer->leaf, &partition);
	if (topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("topic of partition \"%s\" does not exist any more",
						RelationGetRelationName(rel))));
	config = topic->config;

	if (final)
		xid = GetTopTransactionId();
	else
	{
		/* what a running query sees apart from what it does not see */
		for (PendingBatch *batch = buffer->first; batch; batch = batch->next)
		{
			while (batch->ncuts > 0)
			{
				Cut		   *cut = &batch->cuts[batch->ncuts - 1];

				if (is_running(cut->query))
					split_batch(buffer, batch, cut->saved);
				else
					batch->ncuts--;
			}
		}

		/* one writer to a batch */
		for (int i = 1; i < buffer->nmarks; i++)
		{
			Mark	   *mark = &buffer->marks[i];

			if (mark->batch && mark->saved.count < mark->batch->builder.count &&
				mark->saved.count > 0)
				split_batch(buffer, mark->batch, mark->saved);
		}
	}

	while (buffer->first)
	{
		PendingBatch *batch = buffer->first;
		EventlogAppend app;
		char	   *data;
		size_t		len;
		int64		now = config.log_append_time ? eventlog_now_ms() : 0;
		int64		base;
		int32		count = batch->builder.count;
		int32		last_delta = batch->builder.last_offset_delta;
		const char *problem;

		if (!final)
		{
			/* marks whose place is before this batch are passed */
			while (nmark < buffer->nmarks && buffer->marks[nmark].batch == NULL)
				xid = buffer->marks[nmark++].xid;
		}
		if (count > 0)
		{
			problem = eventlog_batch_finish(&batch->builder, config.codec, config.log_append_time,
											now, &scratch, &data, &len);
			if (problem)
				elog(ERROR, "could not finish a batch: %s", problem);

			app.batch = data;
			app.length = len;
			app.xmin = xid;
			app.cmin = batch->cmin;
			app.min_timestamp = config.log_append_time ? now : batch->builder.min_timestamp;
			app.base_offset = batch->base_offset;
			app.segment_bytes = config.segment_bytes;
			base = eventlog_storage_append(rel, &app);
			last_append_time = now;
			note_range(buffer, final ? GetCurrentSubTransactionId() : buffer->marks[nmark - 1].subid,
					   base, base + last_delta);
			pgstat_count_heap_insert(rel, count);
		}

		for (int i = nmark; i < buffer->nmarks; i++)
		{
			if (buffer->marks[i].batch == batch)
				buffer->marks[i].batch = NULL;
		}
		buffer->first = batch->next;
		if (buffer->first == NULL)
			buffer->last = NULL;
		free_batch(batch);
	}

	/*
	 * Readers that were faster hold their predicate locks by now; slower ones
	 * find the batches, and the conflict with them (log_scan.c).
	 */
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);

	if (scratch.cap > MAX_SPARE_BYTES)
		eventlog_buf_free(&scratch);
	table_close(rel, NoLock);
}

static void
flush_all(bool final)
{
	MemoryContext old;

	if (pending_records == 0)
		return;
	old = MemoryContextSwitchTo(buffer_context);
	for (int i = 0; i < ntouched; i++)
		flush_buffer(touched[i], final);
	MemoryContextSwitchTo(old);
}

void
eventlog_produce_flush_all(void)
{
	flush_all(false);
}

void
eventlog_produce_before_utility(void)
{
	flush_all(false);
	for (int i = 0; i < ntouched; i++)
		touched[i]->checked = false;	/* indexes and triggers may come */
}

bool
eventlog_produce_needs_insert(EventlogTopic *topic, int32 partition)
{
	LeafBuffer *buffer = get_buffer(topic->relid, topic->leaves[partition], partition);

	return buffer->needs_insert || topic->has_transition_table;
}

void
eventlog_produce_flush_for(PlannedStmt *plan)
{
	ListCell   *lc;
	int			rti = 0;

	if (pending_records == 0)
		return;
	foreach(lc, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		LeafBuffer *buffer;

		rti++;
		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION ||
			list_member_int(plan->resultRelations, rti))
			continue;
		buffer = hash_search(leaf_buffers, &rte->relid, HASH_FIND, NULL);
		if (buffer && buffer->first)
		{
			eventlog_produce_flush_all();
			return;
		}
	}
}

/* ---- records ---- */

void
eventlog_produce_record(EventlogTopic *topic, int32 partition, const EventlogRecord *rec,
						int64 explicit_offset)
{
	LeafBuffer *buffer = get_buffer(topic->relid, topic->leaves[partition], partition);

	add_record(buffer, topic, rec, explicit_offset);
	if (unlikely(pending_bytes > (uint64) eventlog_producer_buffer * 1024))
		eventlog_produce_flush_all();
}

bool
eventlog_produce_try(EventlogTopic *topic, int32 partition, const EventlogRecord *rec)
{
	LeafBuffer *buffer = get_buffer(topic->relid, topic->leaves[partition], partition);

	if (unlikely(buffer->needs_insert || topic->has_transition_table))
		return false;
	add_record(buffer, topic, rec, -1);
	if (unlikely(pending_bytes > (uint64) eventlog_producer_buffer * 1024))
		eventlog_produce_flush_all();
	return true;
}

bool
eventlog_produce_batch_is_full(Oid leaf)
{
	LeafBuffer *buffer = last_buffer;

	return buffer && buffer->leaf == leaf && buffer->last &&
		buffer->last->builder.buf.len >= BATCH_BYTES;
}

int64
eventlog_produce_append_now(Oid leaf, int64 *append_time)
{
	eventlog_produce_flush_all();
	*append_time = last_append_time;
	for (int i = nranges - 1; i >= 0; i--)
	{
		if (ranges[i].leaf == leaf)
			return ranges[i].last_offset;
	}
	elog(ERROR, "nothing was appended to relation %u", leaf);
	return -1;					/* keep compilers quiet */
}

/* ---- ranges ---- */

int
eventlog_produce_ranges(EventlogRange **result)
{
	*result = ranges;
	return nranges;
}

int
eventlog_produce_last_ranges(EventlogRange **result)
{
	*result = last_ranges;
	return nlast_ranges;
}

/* ---- ends of transactions: nothing here may allocate or raise ---- */

static void
forget_all(bool keep_ranges)
{
	for (int i = 0; i < ntouched; i++)
	{
		LeafBuffer *buffer = touched[i];

		free_batches(buffer->first);
		buffer->first = buffer->last = NULL;
		buffer->nmarks = 0;
		buffer->lock_subid = InvalidSubTransactionId;
		buffer->listed = false;
	}
	if (keep_ranges && nranges > 0)
	{
		EventlogRange *swap = last_ranges;
		int			swapmax = maxlast_ranges;

		last_ranges = ranges;
		nlast_ranges = nranges;
		maxlast_ranges = maxranges;
		ranges = swap;
		maxranges = swapmax;
	}
	nranges = 0;
	ntouched = 0;
}

static void
produce_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			flush_all(true);
			break;
		case XACT_EVENT_COMMIT:
			if (ntouched > 0)
				forget_all(true);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			if (ntouched > 0)
				forget_all(false);
			break;
		default:
			break;
	}
}

static void
produce_subxact_callback(SubXactEvent event, SubTransactionId subid,
						 SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;

	for (int i = 0; i < ntouched; i++)
	{
		LeafBuffer *buffer = touched[i];
		Mark	   *mark = buffer->nmarks > 0 ? &buffer->marks[buffer->nmarks - 1] : NULL;

		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			if (mark && mark->subid == subid)
			{
				cut_back(buffer, mark);
				buffer->nmarks--;
			}
			if (buffer->lock_subid == subid)
				buffer->lock_subid = InvalidSubTransactionId;
		}
		else
		{
			/* what was the child's is the parent's now */
			if (mark && mark->subid == subid)
			{
				if (buffer->nmarks > 1 && mark[-1].subid == parent)
					buffer->nmarks--;
				else
					mark->subid = parent;
			}
			if (buffer->lock_subid == subid)
				buffer->lock_subid = parent;
		}
	}

	for (int i = nranges - 1; i >= 0; i--)
	{
		if (ranges[i].subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			ranges[i].subid = parent;
		else
		{
			memmove(&ranges[i], &ranges[i + 1], (nranges - i - 1) * sizeof(EventlogRange));
			nranges--;
		}
	}
}

void
eventlog_produce_init(void)
{
	RegisterXactCallback(produce_xact_callback, NULL);
	RegisterSubXactCallback(produce_subxact_callback, NULL);
}
