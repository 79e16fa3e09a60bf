/*-------------------------------------------------------------------------
 *
 * read.c
 *	  SQL functions that read without a consumer group: read(), tail(), and
 *	  the state of partitions for the views.
 *
 * Like consumers they give only records below the last stable offset, whose
 * commits are on disk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "emit.h"
#include "group.h"
#include "log_storage.h"
#include "metrics.h"
#include "payload.h"
#include "produce.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(eventlog_read);
PG_FUNCTION_INFO_V1(eventlog_tail);
PG_FUNCTION_INFO_V1(eventlog_partition_status);
PG_FUNCTION_INFO_V1(eventlog_partition_leaf);

/* ---- read ---- */

Datum
eventlog_read(PG_FUNCTION_ARGS)
{
	EventlogEmitter emitter;
	int32		partition;
	int64		from;
	int64		max_records;
	TimestampTz deadline;
	Relation	leaf;
	EventlogCursor *cur = NULL;

	eventlog_emit_begin(&emitter, fcinfo, 0);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("partition and from_offset must not be null")));
	partition = PG_GETARG_INT32(1);
	from = PG_GETARG_INT64(2);
	max_records = eventlog_max_records(fcinfo, 3);
	deadline = eventlog_deadline(fcinfo, 4);
	eventlog_topic_check_partition(emitter.topic, partition);

	leaf = table_open(emitter.topic->leaves[partition], AccessShareLock);
	for (bool waiting = false;; waiting = true)
	{
		Snapshot	snapshot;
		EventlogRecord rec;

		if (waiting)
			eventlog_wait_on(RelationGetRelid(leaf), EVENTLOG_WAIT_ALONE, NULL);
		snapshot = eventlog_fresh_snapshot();
		if (cur == NULL)
		{
			PredicateLockRelation(leaf, snapshot);
			cur = eventlog_cursor_open(leaf, snapshot, true);
			eventlog_check_offset(emitter.topic, partition, from, &cur->meta);
			eventlog_cursor_seek(cur, from);
		}
		else
			eventlog_cursor_refresh(cur, snapshot);

		while (emitter.count < max_records && eventlog_cursor_next(cur))
		{
			while (emitter.count < max_records && eventlog_batch_next(&cur->reader, &rec))
			{
				if (rec.offset >= from && rec.offset >= cur->meta.log_start_offset)
					eventlog_emit(&emitter, partition, &rec);
			}
			if (cur->reader.error)
				eventlog_cursor_damaged(cur, cur->reader.error);
		}
		UnregisterSnapshot(snapshot);
		if (emitter.count > 0 || max_records == 0 || !eventlog_wait_possible(deadline))
			break;
		if (waiting && !eventlog_wait_sleep(deadline))
			break;
	}
	eventlog_wait_end();
	eventlog_cursor_close(cur);
	table_close(leaf, NoLock);
	eventlog_metrics_consumed(emitter.topic->relid, EVENTLOG_VIA_READ, emitter.count, emitter.bytes);
	return (Datum) 0;
}

/* ---- tail ---- */

/* Where this session's tail() of a topic goes on. */
typedef struct TailState
{
	Oid			topic;			/* hash key */
	int32		npartitions;
	int64	   *next;			/* [npartitions] */
} TailState;

typedef struct TailRecord
{
	int32		partition;
	int64		offset;
	int64		timestamp;
	int64		order;			/* never falls within a partition */
	int32		bytes;			/* of key, value and headers */
	Datum		key;			/* text; 0: null */
	Datum		value;
} TailRecord;

static HTAB *tails = NULL;

/* Bytes as text: as they are if they are text, else in hex. */
static Datum
printable(const char *bytes, int32 len)
{
	if (len < 0)
		return (Datum) 0;
	if (pg_verify_mbstr(PG_UTF8, bytes, len, true) && memchr(bytes, 0, len) == NULL)
		return PointerGetDatum(cstring_to_text_with_len(bytes, len));
	return DirectFunctionCall1(textin, DirectFunctionCall1(byteaout,
														   PointerGetDatum(cstring_to_text_with_len(bytes, len))));
}

static int
compare_tail(const void *a, const void *b)
{
	const TailRecord *x = a;
	const TailRecord *y = b;

	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	if (x->partition == y->partition)
		return x->offset < y->offset ? -1 : 1;
	return x->partition < y->partition ? -1 : 1;
}

/*
 * Offset from which a partition's newest n records can be read.
 */
static int64
newest_offset(Relation leaf, Snapshot snapshot, int n)
{
	EventlogCursor *cur = eventlog_cursor_open(leaf, snapshot, true);
	int64		lso = eventlog_scan_lso(leaf, snapshot, NULL);
	int64		result = cur->meta.log_start_offset;
	int64		left = n;

	eventlog_cursor_seek_behind(cur, lso - 1);
	while (left > 0 && eventlog_cursor_prev(cur))
	{
		if (cur->header.base_offset >= lso)
			continue;
		left -= cur->header.count;
		if (left <= 0)
		{
			EventlogRecord rec;

			/* the first -left records of this batch are not wanted */
			while (eventlog_batch_next(&cur->reader, &rec))
			{
				if (left++ >= 0)
				{
					result = rec.offset;
					break;
				}
			}
			left = 0;
		}
	}
	if (n == 0)
		result = lso;
	eventlog_cursor_close(cur);
	return Max(result, 0);
}

static TailState *
get_tail(EventlogTopic *topic, Snapshot snapshot, int n)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(TailState)};
	TailState  *state;
	bool		found;

	if (tails == NULL)
	{
		ctl.hcxt = TopMemoryContext;
		tails = hash_create("eventlog tails", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	state = hash_search(tails, &topic->relid, HASH_ENTER, &found);
	if (!found)
	{
		state->npartitions = 0;
		state->next = NULL;
	}
	if (state->npartitions < topic->npartitions)
	{
		int64	   *next = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * topic->npartitions);

		for (int p = 0; p < topic->npartitions; p++)
		{
			if (p < state->npartitions)
				next[p] = state->next[p];
			else if (found)
				next[p] = 0;	/* a partition that was added */
			else
				next[p] = -1;
		}
		if (state->next)
			pfree(state->next);
		state->next = next;
		state->npartitions = topic->npartitions;
	}
	for (int p = 0; p < topic->npartitions; p++)
	{
		if (state->next[p] < 0)
		{
			Relation	leaf = table_open(topic->leaves[p], AccessShareLock);

			state->next[p] = newest_offset(leaf, snapshot, n);
			table_close(leaf, NoLock);
		}
	}
	return state;
}

Datum
eventlog_tail(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EventlogTopic *topic;
	int64		n = eventlog_max_records(fcinfo, 1);
	TimestampTz deadline = eventlog_deadline(fcinfo, 2);
	bool		first_call;
	TailRecord *records = NULL;
	int			nrecords = 0;
	int			maxrecords = 0;
	int64		given = 0;
	int64		bytes = 0;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("topic must not be null")));
	n = Min(n, PG_INT32_MAX / 2);
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	eventlog_topic_check_acl(topic, ACL_SELECT);
	InitMaterializedSRF(fcinfo, 0);
	first_call = (tails == NULL || hash_search(tails, &topic->relid, HASH_FIND, NULL) == NULL);

	for (bool waiting = false;; waiting = true)
	{
		Snapshot	snapshot;
		TailState  *state;
		int			from;

		if (waiting)
			eventlog_wait_on(topic->relid, EVENTLOG_WAIT_ALONE, NULL);
		snapshot = eventlog_fresh_snapshot();
		state = get_tail(topic, snapshot, (int) n);

		for (int p = 0; p < topic->npartitions; p++)
		{
			Relation	leaf = table_open(topic->leaves[p], AccessShareLock);
			EventlogCursor *cur = eventlog_cursor_open(leaf, snapshot, true);
			EventlogRecord rec;
			int64		taken = 0;
			int64		order = PG_INT64_MIN;

			if (state->next[p] < cur->meta.log_start_offset ||
				state->next[p] > cur->meta.next_offset)
				state->next[p] = cur->meta.log_start_offset;
			eventlog_cursor_seek(cur, state->next[p]);
			while (taken < n && eventlog_cursor_next(cur))
			{
				while (taken < n && eventlog_batch_next(&cur->reader, &rec))
				{
					TailRecord *tr;

					if (rec.offset < state->next[p])
						continue;
					if (nrecords == maxrecords)
					{
						maxrecords = Max(maxrecords * 2, 64);
						records = records ? repalloc_huge(records, maxrecords * sizeof(TailRecord)) :
							palloc(maxrecords * sizeof(TailRecord));
					}
					tr = &records[nrecords++];
					tr->partition = p;
					tr->offset = rec.offset;
					tr->timestamp = rec.timestamp;
					tr->bytes = Max(rec.key_len, 0) + Max(rec.value_len, 0) + rec.headers_len;
					tr->order = order = Max(order, rec.timestamp);
					tr->key = printable(rec.key, rec.key_len);
					tr->value = printable(rec.value, rec.value_len);
					taken++;
				}
				if (cur->reader.error)
					eventlog_cursor_damaged(cur, cur->reader.error);
			}
			eventlog_cursor_close(cur);
			table_close(leaf, NoLock);
		}
		UnregisterSnapshot(snapshot);

		/*
		 * The first call wants the newest n of all partitions, so the older
		 * ones are passed over; later calls go on with the oldest of the new
		 * ones and leave the rest for the next.
		 */
		qsort(records, nrecords, sizeof(TailRecord), compare_tail);
		from = first_call ? Max(nrecords - n, 0) : 0;
		for (int i = 0; i < nrecords && i < from + n; i++)
		{
			TailRecord *tr = &records[i];
			Datum		values[5];
			bool		nulls[5] = {false};

			state->next[tr->partition] = Max(state->next[tr->partition], tr->offset + 1);
			if (i < from)
				continue;
			given++;
			bytes += tr->bytes;
			values[0] = Int32GetDatum(tr->partition);
			values[1] = Int64GetDatum(tr->offset);
			values[2] = TimestampTzGetDatum(eventlog_ms_to_timestamp(tr->timestamp));
			values[3] = tr->key;
			values[4] = tr->value;
			nulls[3] = (tr->key == (Datum) 0);
			nulls[4] = (tr->value == (Datum) 0);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
		if (nrecords > 0 || n == 0 || !eventlog_wait_possible(deadline))
			break;
		if (waiting)
		{
			if (!eventlog_wait_sleep(deadline))
				break;
			topic = eventlog_topic_after_wait(topic);
		}
	}
	eventlog_wait_end();
	eventlog_metrics_consumed(topic->relid, EVENTLOG_VIA_TAIL, given, bytes);
	return (Datum) 0;
}

/* ---- state of partitions ---- */

/*
 * One row for each partition of one topic, if the caller may see it.
 */
Datum
eventlog_partition_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = PG_GETARG_OID(0);
	EventlogTopic *topic = eventlog_topic_by_relid(relid);
	int			npartitions;
	Oid		   *leaves;

	InitMaterializedSRF(fcinfo, 0);
	if (topic == NULL)
		return (Datum) 0;
	if (!eventlog_topic_may_look(relid))
		return (Datum) 0;
	npartitions = topic->npartitions;
	leaves = eventlog_topic_copy_leaves(topic);

	for (int p = 0; p < npartitions; p++)
	{
		Relation	leaf = try_table_open(leaves[p], AccessShareLock);
		EventlogMetaHead meta;
		uint32		layout;
		int32		segments;
		TransactionId holder;
		int64		lso;
		Datum		values[9];
		bool		nulls[9] = {false};

		if (leaf == NULL)
			continue;			/* dropped meanwhile */
		lso = eventlog_scan_lso_now(leaf, &holder);
		eventlog_storage_read_meta(leaf, &meta, &layout);
		segments = meta.active_segment - meta.first_segment + 1;
		for (uint32 n = meta.first_segment; layout != 0 && n < meta.active_segment; n++)
		{
			EventlogSegment segment;

			/* numbers without a segment of their own, since compaction */
			if (eventlog_storage_read_segment(leaf, &meta, layout, n, &segment) &&
				segment.state == EVENTLOG_SEGMENT_MERGED)
				segments--;
		}
		values[0] = Int32GetDatum(p);
		values[1] = Int64GetDatum(meta.log_start_offset);
		values[2] = Int64GetDatum(meta.next_offset);
		values[3] = Int64GetDatum(lso);
		values[4] = Int64GetDatum((int64) RelationGetNumberOfBlocks(leaf) * BLCKSZ);
		values[5] = Int32GetDatum(segments);
		values[6] = Int64GetDatum(meta.next_offset - meta.log_start_offset);
		values[7] = Int64GetDatum(meta.frozen.offset);
		values[8] = TransactionIdGetDatum(holder);
		nulls[8] = !TransactionIdIsValid(holder);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		table_close(leaf, AccessShareLock);
		CHECK_FOR_INTERRUPTS();
	}
	return (Datum) 0;
}

Datum
eventlog_partition_leaf(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic = eventlog_topic_by_relid(PG_GETARG_OID(0));
	int32		partition = PG_GETARG_INT32(1);

	if (topic == NULL || partition < 0 || partition >= topic->npartitions)
		PG_RETURN_NULL();
	PG_RETURN_OID(topic->leaves[partition]);
}
