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
#include "storage/predicate.h"
#include "utils/memutils.h"

#include "guc.h"
#include "metrics.h"
#include "produce_buffer.h"

static MemoryContext buffer_context = NULL;
static HTAB *leaf_buffers = NULL;
static LeafBuffer **touched = NULL; /* by this transaction */
static int	ntouched = 0;
static int	maxtouched = 0;
static LeafBuffer *last_buffer = NULL;	/* of the last lookup */
static uint64 pending_bytes = 0;
static uint64 pending_records = 0;

/* Snapshots' command ids of the queries that are running, outermost first. */
static CommandId *running = NULL;
static int	nrunning = 0;
static int	maxrunning = 0;

static PendingBatch *spares = NULL;
static uint64 spare_bytes = 0;
static bool overflowed = false; /* in this transaction */
/* ---- memory ---- */

PendingBatch *
eventlog_buffer_new_batch(void)
{
	PendingBatch *batch = spares;

	if (batch)
	{
		spares = batch->next;
		spare_bytes -= batch->builder.buf.cap;
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
void
eventlog_buffer_free_batch(PendingBatch *batch)
{
	pending_bytes -= batch->builder.buf.cap;
	pending_records -= batch->builder.count;
	if (batch->builder.buf.cap <= MAX_SPARE_BYTES &&
		spare_bytes + batch->builder.buf.cap <= MAX_SPARE_TOTAL)
	{
		batch->next = spares;
		spares = batch;
		spare_bytes += batch->builder.buf.cap;
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

		eventlog_buffer_free_batch(batch);
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
			eventlog_metrics_touch(topic);
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
void
eventlog_buffer_add_to_batch(PendingBatch *batch, const EventlogRecord *rec, int32 delta)
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

bool
eventlog_buffer_is_running(CommandId query)
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
		while (batch->ncuts > 0 && !eventlog_buffer_is_running(batch->cuts[batch->ncuts - 1].query))
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
void
eventlog_buffer_truncate_batch(PendingBatch *batch, const EventlogBatchBuilder *saved)
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
	if (unlikely(rec->key_len < 0 && topic->config.compacted && explicit_offset < 0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("record without a key for compacted topic \"%s\"", topic->name),
				 errdetail("Compaction keeps the newest record of each key."),
				 errhint("Give the record a key, or take \"compact\" out of the topic's cleanup.policy.")));

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
		batch = eventlog_buffer_new_batch();
		batch->base_offset = explicit_offset;
		if (buffer->last != NULL && batch->builder.buf.cap < limit + BLCKSZ)
		{
			/* after a full batch another one is likely */
			uint64		cap = batch->builder.buf.cap;

			eventlog_buf_reserve(&batch->builder.buf, limit + BLCKSZ - batch->builder.buf.len);
			pending_bytes += batch->builder.buf.cap - cap;
		}
		add_batch(buffer, batch);
	}

	delta = explicit_offset >= 0 ? (int32) (explicit_offset - batch->base_offset) :
		batch->builder.last_offset_delta + 1;
	cid = GetCurrentCommandId(true);
	if (batch->builder.count > 0 && batch->cmin != cid)
		note_cut(batch, cid);
	batch->cmin = cid;
	eventlog_buffer_add_to_batch(batch, rec, delta);
}

/*
 * Cut a buffer back to a mark.
 */
static void
cut_back(LeafBuffer *buffer, const Mark *mark)
{
	uint64		before = pending_records;

	if (mark->batch == NULL)
	{
		free_batches(buffer->first);
		buffer->first = buffer->last = NULL;
	}
	else
	{
		free_batches(mark->batch->next);
		mark->batch->next = NULL;
		buffer->last = mark->batch;
		eventlog_buffer_truncate_batch(mark->batch, &mark->saved);
	}
	eventlog_metrics_discarded(buffer->topic, before - pending_records);
}

/* ---- appending ---- */

static void
flush_all(bool final)
{
	MemoryContext old;

	if (pending_records == 0)
		return;
	old = MemoryContextSwitchTo(buffer_context);
	for (int i = 0; i < ntouched; i++)
		eventlog_buffer_append(touched[i], final);
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
eventlog_produce_leaf_needs_insert(EventlogTopic *topic, int32 partition)
{
	return get_buffer(topic->relid, topic->leaves[partition], partition)->needs_insert;
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

/* How much may be buffered. */
static inline uint64
append_at(void)
{
	uint64		limit = (uint64) eventlog_producer_buffer * 1024;

	return overflowed ? Min(limit, OVERFLOW_STEP) : limit;
}

/*
 * The buffer is full.  From now on the transaction holds the last stable
 * offset, and would gain nothing by letting much memory fill up again.
 */
static void
append_early(void)
{
	eventlog_produce_flush_all();
	overflowed = true;
}

void
eventlog_produce_record(EventlogTopic *topic, int32 partition, const EventlogRecord *rec,
						int64 explicit_offset)
{
	LeafBuffer *buffer = get_buffer(topic->relid, topic->leaves[partition], partition);

	add_record(buffer, topic, rec, explicit_offset);
	if (unlikely(pending_bytes > append_at()))
		append_early();
}

bool
eventlog_produce_try(EventlogTopic *topic, int32 partition, const EventlogRecord *rec)
{
	LeafBuffer *buffer = get_buffer(topic->relid, topic->leaves[partition], partition);

	if (unlikely(buffer->needs_insert || topic->has_transition_table))
		return false;
	add_record(buffer, topic, rec, -1);
	if (unlikely(pending_bytes > append_at()))
		append_early();
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
	*append_time = eventlog_buffer_append_time;
	return eventlog_range_last_offset(leaf);
}

/* ---- ends of transactions: nothing here may allocate or raise ---- */

static void
forget_all(bool keep_ranges)
{
	for (int i = 0; i < ntouched; i++)
	{
		LeafBuffer *buffer = touched[i];
		uint64		before = pending_records;

		free_batches(buffer->first);
		eventlog_metrics_discarded(buffer->topic, before - pending_records);
		buffer->first = buffer->last = NULL;
		buffer->nmarks = 0;
		buffer->lock_subid = InvalidSubTransactionId;
		buffer->listed = false;
	}
	eventlog_range_end_xact(keep_ranges);
	overflowed = false;
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

	eventlog_range_end_subxact(subid, parent, event == SUBXACT_EVENT_COMMIT_SUB);
}

void
eventlog_produce_init(void)
{
	RegisterXactCallback(produce_xact_callback, NULL);
	RegisterSubXactCallback(produce_subxact_callback, NULL);
}
