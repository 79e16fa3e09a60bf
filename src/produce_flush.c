/*-------------------------------------------------------------------------
 *
 * produce_flush.c
 *	  Appending the producer's buffer of one partition to its log.
 *
 * At the end of the transaction batches go to the log as they are.  Earlier
 * they are divided first, where subtransactions meet (each has a writer's xid
 * of its own) and where a running query's snapshot divides them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"

#include "clock.h"
#include "log_retention.h"
#include "log_storage.h"
#include "metrics.h"
#include "produce_buffer.h"
#include "wakeup.h"
#include "worker_slot.h"

/* WAL of a bulk load that is left to the WAL writer at a time. */
#define WRITE_BEHIND_BYTES	(256 * 1024)

int64		eventlog_buffer_append_time = 0;

static EventlogBuf scratch;

/*
 * Replace a batch by two: the state that it had once, and what came later.
 */
static void
split_batch(LeafBuffer *buffer, PendingBatch *whole, EventlogBatchBuilder at)
{
	PendingBatch *rest = eventlog_buffer_new_batch();
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
		eventlog_buffer_add_to_batch(rest, &rec, (int32) (rec.offset - first_delta));
	}
	rest->cmin = whole->cmin;
	if (whole->base_offset >= 0)
		rest->base_offset = base + first_delta;
	eventlog_buffer_truncate_batch(whole, &at);
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
			PendingBatch *copy = eventlog_buffer_new_batch();

			problem = eventlog_batch_finish(&rest->builder, EVENTLOG_CODEC_NONE, false, 0,
											&scratch, &data, &len);
			if (problem == NULL)
				problem = eventlog_batch_open(&reader, data, len, &unused);
			if (problem)
				elog(ERROR, "buffered batch is invalid: %s", problem);
			while (copy->builder.count < count && eventlog_batch_next(&reader, &rec))
				eventlog_buffer_add_to_batch(copy, &rec, (int32) rec.offset);
			partial = copy->builder;
			eventlog_buffer_free_batch(copy);
			later->batch = rest;
			later->saved = partial;
		}
	}
}

/*
 * In a bulk load, have the WAL writer write behind us: a commit that finds most
 * of its WAL on disk is quick, and on more than one processor the work is
 * shared.
 */
static void
write_behind(uint32 length)
{
	static uint64 written = 0;

	written += length;
	if (written < WRITE_BEHIND_BYTES)
		return;
	written = 0;
	if (!XLogRecPtrIsInvalid(XactLastRecEnd))
		XLogSetAsyncXactLSN(XactLastRecEnd);
}

/*
 * Append all of a buffer.  "final" is true at the end of the transaction.
 * A batch leaves the buffer as soon as it is in the log, so that an error
 * half-way neither repeats nor loses anything that a surrounding
 * subtransaction has buffered.
 */
void
eventlog_buffer_append(LeafBuffer *buffer, bool final)
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

				if (eventlog_buffer_is_running(cut->query))
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

	eventlog_wakeup_at_end(buffer->topic, buffer->leaf, buffer->partition);
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
		SubTransactionId subid;
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
			app.segment_ms = config.segment_ms;
			base = eventlog_storage_append(rel, &app);
			if (app.switched)
			{
				eventlog_retention_after_switch(rel, &config);
				if (config.compacted)
					eventlog_maintenance_wake(MyDatabaseId);
			}
			if (app.waited)
				eventlog_metrics_append_waited(buffer->topic, app.wait_us);
			eventlog_buffer_append_time = now;
			if (buffer->first->next != NULL)
				write_behind(app.length);
			subid = final ? GetCurrentSubTransactionId() : buffer->marks[nmark - 1].subid;
			eventlog_range_note(buffer, subid, base, base + last_delta);
			eventlog_metrics_produced(buffer->topic, subid, count, app.length);
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
		eventlog_buffer_free_batch(batch);
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
