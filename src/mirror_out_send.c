/*-------------------------------------------------------------------------
 *
 * mirror_out_send.c
 *	  A mirror from a topic to Kafka: sending records.
 *
 * Reading below the last stable offset, transactions, dead letters, and what
 * is written down of positions.  mirror_out.c has the whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "emit.h"
#include "guc.h"
#include "log_scan.h"
#include "log_storage.h"
#include "mirror_out.h"
#include "wakeup.h"

/* Has the open transaction what it may have? */
static bool
is_full(const EventlogMirrorOut *out)
{
	return (out->limit > 0 && out->transaction_records >= out->limit) ||
		out->transaction_records >= out->pair->mirror->config->transaction_records ||
		out->transaction_bytes >= out->pair->mirror->config->transaction_bytes;
}

static inline int
target_partition(const EventlogMirrorOut *out, int p, const EventlogRecord *rec)
{
	if (!out->pair->mirror->config->repartition)
		return p;
	if (rec->key_len < 0)
		return p % out->target_partitions;
	return eventlog_partition_for_key(rec->key, rec->key_len, out->target_partitions);
}

bool
eventlog_out_begin_transaction(EventlogMirrorOut *out)
{
	EventlogKafkaError error = {0};

	if (out->pair->transactional_id != NULL && !out->api->begin(out->client, &error))
	{
		eventlog_out_fail_by_kafka(out, "could not begin a transaction", &error);
		return false;
	}
	out->in_transaction = true;
	out->transaction_began = GetCurrentTimestamp();
	out->transaction_records = out->transaction_bytes = out->transaction_letters = 0;
	return true;
}

/*
 * A record that the target refuses: it goes to the dead-letter topic, with
 * headers as Kafka Connect has them, or else the mirror stops.
 */
static EventlogKafkaProduced
send_letter(EventlogMirrorOut *out, int p, const EventlogRecord *rec, EventlogKafkaError *error)
{
	EventlogKafkaProduced result;
	EventlogRecord letter = *rec;
	EventlogBuf headers = {0};
	char		message[700];
	char		number[32];

	if (out->letters < 0)
	{
		snprintf(message, sizeof(message), "partition %d, offset %lld: %s (%s)",
				 p, (long long) rec->offset, error->message, error->name);
		eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_STOPPED, message);
		return EVENTLOG_KAFKA_FAILED;
	}
	eventlog_buf_reserve(&headers, rec->headers_len + 1024);
	memcpy(headers.data, rec->headers, rec->headers_len);
	headers.len = rec->headers_len;
	eventlog_batch_add_header(&headers, "__connect.errors.topic", 22,
							  out->pair->topic, strlen(out->pair->topic));
	snprintf(number, sizeof(number), "%d", p);
	eventlog_batch_add_header(&headers, "__connect.errors.partition", 26, number, strlen(number));
	snprintf(number, sizeof(number), "%lld", (long long) rec->offset);
	eventlog_batch_add_header(&headers, "__connect.errors.offset", 23, number, strlen(number));
	eventlog_batch_add_header(&headers, "__connect.errors.exception.message", 34,
							  error->message, strlen(error->message));
	letter.headers = headers.data;
	letter.headers_len = headers.len;
	letter.headers_count += 4;
	snprintf(message, sizeof(message), "%s", error->message);
	result = out->api->produce(out->client, out->letters,
							   p % out->api->target_partitions(out->client, out->letters),
							   &letter, rec->offset, error);
	eventlog_buf_free(&headers);
	if (result == EVENTLOG_KAFKA_PRODUCED)
	{
		out->transaction_letters++;
		ereport(LOG,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("mirror \"%s\": partition %d, offset %lld goes to the dead-letter topic: %s",
						out->pair->mirror->name, p, (long long) rec->offset, message)));
	}
	else if (result == EVENTLOG_KAFKA_REFUSED)
	{
		snprintf(message, sizeof(message), "dead-letter topic, partition %d, offset %lld: %s (%s)",
				 p, (long long) rec->offset, error->message, error->name);
		eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_STOPPED, message);
		result = EVENTLOG_KAFKA_FAILED;
	}
	return result;
}

static EventlogKafkaProduced
send_record(EventlogMirrorOut *out, int p, const EventlogRecord *rec, EventlogKafkaError *error)
{
	EventlogKafkaProduced result;

	out->last_partition = p;
	out->last_offset = rec->offset;
	if (p == out->refused_partition && rec->offset == out->refused_offset)
	{
		*error = out->refused;
		return send_letter(out, p, rec, error);
	}
	result = out->api->produce(out->client, out->target, target_partition(out, p, rec),
							   rec, rec->offset, error);
	if (unlikely(result == EVENTLOG_KAFKA_REFUSED))
		result = send_letter(out, p, rec, error);
	return result;
}

/*
 * Has the broker refused records for what they are?  Then the next transaction
 * is a shorter one, or the record is known.
 */
bool
eventlog_out_is_refusal(EventlogMirrorOut *out, const EventlogKafkaDelivery *failure)
{
	if (failure->error.code != EVENTLOG_KAFKA_ERR_MSG_SIZE_TOO_LARGE &&
		failure->error.code != EVENTLOG_KAFKA_ERR_INVALID_TIMESTAMP &&
		failure->error.code != INVALID_MSG && failure->error.code != INVALID_RECORD)
		return false;
	if (failure->target != out->target)
		return false;
	if (out->transaction_records == 1)
	{
		out->refused_partition = out->last_partition;
		out->refused_offset = out->last_offset;
		out->refused = failure->error;
	}
	out->limit = Max(out->transaction_records / 16, 1);
	pg_atomic_add_fetch_u64(&out->pair->slot->aborted, 1);
	eventlog_out_close_client(out);
	out->retry_at = 0;
	out->activity = 0;
	return true;
}

/*
 * Send what one partition has, until something says that it is enough.
 * Returns false if the client has failed, or its queue is full (*full).
 */
static bool
send_partition(EventlogMirrorOut *out, Relation leaf, int p, Snapshot snapshot,
			   int64 *bytes, bool *full)
{
	EventlogCursor *cur = eventlog_cursor_open(leaf, snapshot, true);
	EventlogRecord rec;
	bool		ok = true;

	out->end[p] = cur->meta.next_offset;
	if (out->sent[p] < cur->meta.log_start_offset)
	{
		char		message[256];

		snprintf(message, sizeof(message),
				 "partition %d: offsets %lld to %lld of ours were removed before they were sent",
				 p, (long long) out->sent[p], (long long) cur->meta.log_start_offset - 1);
		eventlog_cursor_close(cur);
		eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_DIVERGED, message);
		return false;
	}
	eventlog_cursor_seek(cur, out->sent[p]);
	while (ok && *bytes < STEP_BYTES && !is_full(out))
	{
		if (!eventlog_cursor_next(cur))
		{
			/* what is left was rolled back */
			if (!cur->stopped)
				out->sent[p] = Max(out->sent[p], cur->meta.next_offset);
			break;
		}
		while (ok && !(out->limit > 0 && is_full(out)) && eventlog_batch_next(&cur->reader, &rec))
		{
			EventlogKafkaError error = {0};
			int64		size;

			if (rec.offset < out->sent[p])
				continue;
			if (!out->in_transaction && !eventlog_out_begin_transaction(out))
			{
				ok = false;
				break;
			}
			switch (send_record(out, p, &rec, &error))
			{
				case EVENTLOG_KAFKA_PRODUCED:
					out->sent[p] = rec.offset + 1;
					out->transaction_records++;
					size = Max(rec.key_len, 0) + Max(rec.value_len, 0) + rec.headers_len;
					*bytes += size;
					out->transaction_bytes += size;
					break;
				case EVENTLOG_KAFKA_QUEUE_FULL:
					*full = true;
					ok = false;
					break;
				case EVENTLOG_KAFKA_REFUSED:
				case EVENTLOG_KAFKA_FAILED:
					ok = false;
					if (out->client != NULL)
					{
						char		what[64];

						snprintf(what, sizeof(what), "partition %d, offset %lld", p, (long long) rec.offset);
						eventlog_out_fail_by_kafka(out, what, &error);
					}
					break;
			}
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
		if (ok && !(out->limit > 0 && is_full(out)))
			out->sent[p] = Max(out->sent[p], cur->header.base_offset + cur->header.last_offset_delta + 1);
	}
	if (*bytes >= STEP_BYTES || is_full(out))
		out->all_sent = false;
	eventlog_cursor_close(cur);
	return ok;
}

/*
 * The topic, locked against nothing.  If its partitions have become more, or it is
 * another one of that name, the client is closed, and positions are looked up anew.
 */
EventlogTopic *
eventlog_out_get_topic(EventlogMirrorOut *out)
{
	EventlogTopic *topic = eventlog_topic_by_name(out->pair->topic, false);

	eventlog_topic_check_acl(topic, ACL_SELECT);
	if (out->relid == topic->relid && out->npartitions == topic->npartitions)
		return topic;
	if (OidIsValid(out->relid))
		eventlog_out_close_client(out);
	out->activity = 0;
	if (out->relid != topic->relid)
	{
		out->relid = topic->relid;
		out->limit = 0;
		out->refused_partition = -1;
	}
	if (out->npartitions != topic->npartitions)
	{
		int			n = topic->npartitions;

		out->position = out->position == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->position, sizeof(int64) * n);
		out->sent = out->sent == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->sent, sizeof(int64) * n);
		out->end = out->end == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->end, sizeof(int64) * n);
		out->saved = out->saved == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->saved, sizeof(int64) * n);
		out->exact = out->exact == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(bool) * n) :
			repalloc(out->exact, sizeof(bool) * n);
		out->moved_at = out->moved_at == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(TimestampTz) * n) :
			repalloc(out->moved_at, sizeof(TimestampTz) * n);
		out->paired = out->paired == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->paired, sizeof(int64) * n);
		out->npartitions = n;
	}
	for (int p = 0; p < out->npartitions; p++)
		out->end[p] = out->paired[p] = -1;
	return topic;
}

/*
 * Is it time to commit all positions, so that the group's offsets do not
 * expire?  At first too, since nobody knows how old they are, and so that a
 * start at the end is one for good.
 */
bool
eventlog_out_keep_is_due(const EventlogMirrorOut *out, TimestampTz now)
{
	int32		keep_ms = out->pair->mirror->config->idle_commit_ms;

	if (out->pair->transactional_id == NULL)
		return false;
	return out->pin || (keep_ms > 0 && now - out->kept_at >= keep_ms * INT64CONST(1000));
}

/*
 * From now on what is written down is a lower bound only, of the partitions
 * that are about to move.
 */
static void
take_back_exact(EventlogMirrorOut *out)
{
	bool		any = false;

	for (int p = 0; p < out->npartitions; p++)
		any |= out->exact[p] && out->sent[p] != out->position[p];
	if (!any)
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	for (int p = 0; p < out->npartitions; p++)
	{
		if (out->exact[p] && out->sent[p] != out->position[p])
			eventlog_out_save_position(out, p, out->position[p], false);
	}
	ForceSyncCommit();
	CommitTransactionCommand();
}

void
eventlog_out_start_commit(EventlogMirrorOut *out)
{
	bool		transactional = out->pair->transactional_id != NULL;
	int			carriers = transactional ? Min(out->npartitions, out->target_partitions) : 0;
	EventlogKafkaOffset *positions = palloc0(sizeof(EventlogKafkaOffset) * Max(carriers, 1));
	EventlogKafkaError error = {0};
	int			n = 0;
	bool		keep = eventlog_out_keep_is_due(out, GetCurrentTimestamp());
	bool		ok;

	take_back_exact(out);
	for (int t = 0; t < carriers; t++)
	{
		bool		moved = keep;

		for (int p = t; p < out->npartitions && !moved; p += out->target_partitions)
			moved = out->sent[p] != out->position[p];
		if (!moved)
			continue;
		positions[n].topic = out->pair->kafka_topic;
		positions[n].partition = t;
		positions[n].metadata = eventlog_out_metadata(out, t);
		positions[n++].offset = out->sent[t];
	}
	EVENTLOG_PAUSE_INTERRUPTIBLE("mirror-commit", out->pair->mirror->name);
	if (keep)
		out->keeping = true;
	out->state = OUT_COMMITTING;
	if (transactional)
		ok = out->api->start_commit(out->client, out->pair->group, positions, n, OP_TIMEOUT_MS, &error);
	else
		ok = out->api->start_flush(out->client, OP_TIMEOUT_MS, &error);
	if (!ok)
		eventlog_out_fail_by_kafka(out, "could not commit", &error);
	for (int i = 0; i < n; i++)
		pfree(unconstify(char *, positions[i].metadata));
	pfree(positions);
}

void
eventlog_out_send_records(EventlogMirrorOut *out, TimestampTz now, int64 *wait_ms)
{
	EventlogTopic *topic;
	Oid		   *leaves;
	Snapshot	snapshot;
	uint64		activity;
	int64		bytes = 0;
	bool		full = false;
	bool		ok = true;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	topic = eventlog_out_get_topic(out);
	if (out->client == NULL)
	{
		CommitTransactionCommand();
		return;
	}
	activity = eventlog_activity(topic->relid);
	leaves = eventlog_topic_copy_leaves(topic);
	snapshot = eventlog_fresh_snapshot();
	out->all_sent = true;
	for (int p = 0; ok && p < out->npartitions; p++)
	{
		Relation	leaf = table_open(leaves[p], AccessShareLock);

		ok = send_partition(out, leaf, p, snapshot, &bytes, &full);
		table_close(leaf, AccessShareLock);
	}
	UnregisterSnapshot(snapshot);
	CommitTransactionCommand();

	if (out->client == NULL)
		return;
	if (full)
	{
		*wait_ms = FULL_WAIT_MS;
		return;
	}
	if (out->all_sent)
		out->activity = activity;
	if (out->in_transaction)
	{
		out->used_at = now;
		if (out->all_sent || is_full(out) ||
			now - out->transaction_began >= out->pair->mirror->config->transaction_ms * INT64CONST(1000))
			eventlog_out_start_commit(out);
		*wait_ms = 0;
	}
}

/* Write a position down, in this transaction. */
void
eventlog_out_save_position(EventlogMirrorOut *out, int p, int64 position, bool exact)
{
	EventlogMirrorPosition row = {
		.topic = unconstify(char *, out->pair->topic),
		.kafka_topic = unconstify(char *, out->pair->kafka_topic),
		.partition = p,
		.record_offset = position,
		.kafka_offset = -1,
		.epoch = exact ? (int32) out->pair->mirror->timeline : -1,
		.relation = out->relid
	};

	eventlog_mirror_position_set(out->pair->mirror->id, &row);
	out->saved[p] = position;
	out->exact[p] = exact;
}

/*
 * Write lower bounds down, if they have moved, and where a partition has stood
 * still, that they are exact.
 */
void
eventlog_out_save_positions(EventlogMirrorOut *out, TimestampTz now)
{
	bool		any = false;

	out->saved_at = now;
	for (int p = 0; p < out->npartitions; p++)
	{
		bool		still = now - out->moved_at[p] >= EXACT_MS * INT64CONST(1000);

		if (out->position[p] == out->saved[p] && (out->exact[p] || !still))
			continue;
		if (!any)
		{
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			any = true;
		}
		eventlog_out_save_position(out, p, out->position[p], still);
	}
	if (any)
		CommitTransactionCommand();
}

/*
 * Pairs of offsets, for consumers that move.  What was sent before our position
 * lies before the end of Kafka's partition, and what is sent from there on will
 * lie behind it, whoever else writes there; but that is so only while nothing is
 * on its way.  So the end is asked for between two transactions, once in a
 * while, and before the client is closed (leaving).
 */
bool
eventlog_out_pairs_are_due(const EventlogMirrorOut *out, TimestampTz now, bool leaving)
{
	const EventlogMirrorConfig *config = out->pair->mirror->config;

	if (out->in_transaction || config->repartition || out->target_partitions != out->npartitions ||
		(!leaving && now - out->paired_at < config->sync_ms * INT64CONST(1000)))
		return false;
	for (int p = 0; p < out->npartitions; p++)
		if (out->position[p] != out->paired[p])
			return true;
	return false;
}

void
eventlog_out_ask_for_ends(EventlogMirrorOut *out, TimestampTz now)
{
	EventlogKafkaOffset *partitions = palloc0(sizeof(EventlogKafkaOffset) * out->npartitions);
	EventlogKafkaError error = {0};

	for (int p = 0; p < out->npartitions; p++)
	{
		partitions[p].topic = out->pair->kafka_topic;
		partitions[p].partition = p;
	}
	out->paired_at = now;
	out->state = OUT_PAIRING;
	if (!out->api->start_watermarks(out->client, partitions, out->npartitions, OP_TIMEOUT_MS, &error))
		eventlog_out_fail_by_kafka(out, "could not ask for the ends of partitions", &error);
	pfree(partitions);
}

void
eventlog_out_take_ends(EventlogMirrorOut *out)
{
	int			count;
	const EventlogKafkaOffset *ends = out->api->offsets(out->client, &count);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	for (int p = 0; p < Min(out->npartitions, count); p++)
	{
		EventlogMirrorPosition position = {
			.topic = unconstify(char *, out->pair->topic),
			.kafka_topic = unconstify(char *, out->pair->kafka_topic),
			.partition = p,
			.record_offset = out->position[p],
			.kafka_offset = ends[p].high,
			.epoch = -1
		};

		if (out->position[p] != out->paired[p])
			eventlog_mirror_sync_add(out->pair->mirror->id, &position);
		out->paired[p] = out->position[p];
	}
	CommitTransactionCommand();
	out->state = OUT_READY;
}

void
eventlog_out_streaming(EventlogMirrorOut *out)
{
	if (out->pair->phase != EVENTLOG_MIRROR_STREAMING)
		eventlog_mirror_pair_phase(out->pair, EVENTLOG_MIRROR_STREAMING, NULL);
}

/*
 * Kafka has the positions that resume_mirror() has given: now ours follow.  For
 * good, or a crash would make it begin there again.
 */
void
eventlog_out_forget_restart(EventlogMirrorOut *out, TimestampTz now)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	eventlog_mirror_positions_forget(out->pair->mirror->id, out->pair->kafka_topic);
	for (int p = 0; p < out->npartitions; p++)
		eventlog_out_save_position(out, p, out->position[p], false);
	eventlog_mirror_set_restart(out->pair->mirror->id, NULL);
	ForceSyncCommit();
	CommitTransactionCommand();
	out->saved_at = now;
	out->restart = false;
}

void
eventlog_out_committed(EventlogMirrorOut *out, TimestampTz now)
{
	EventlogKafkaDelivery failure;

	if (out->pair->transactional_id == NULL && out->api->delivery_failure(out->client, &failure))
	{
		if (!eventlog_out_is_refusal(out, &failure))
			eventlog_out_fail_by_kafka(out, "a record was not taken", &failure.error);
		return;
	}
	out->limit *= 2;
	if (out->limit >= out->pair->mirror->config->transaction_records)
		out->limit = 0;
	out->refused_partition = -1;
	pg_atomic_add_fetch_u64(&out->pair->slot->dead_letters, out->transaction_letters);
	for (int p = 0; p < out->npartitions; p++)
	{
		if (out->position[p] != out->sent[p])
			out->moved_at[p] = now;
		out->position[p] = out->sent[p];
	}
	out->in_transaction = false;
	if (out->keeping)
	{
		out->kept_at = now;
		out->pin = false;
		if (out->restart)
			eventlog_out_forget_restart(out, now);
	}
	out->keeping = false;
	pg_atomic_add_fetch_u64(&out->pair->slot->records, out->transaction_records);
	pg_atomic_add_fetch_u64(&out->pair->slot->bytes, out->transaction_bytes);
	pg_atomic_add_fetch_u64(&out->pair->slot->transactions, 1);
	for (int p = 0; p < out->npartitions; p++)
		eventlog_mirror_pair_tell(out->pair, p, out->position[p],
								  out->all_sent ? out->position[p] : Max(out->end[p], out->position[p]));
	out->transaction_records = out->transaction_bytes = out->transaction_letters = 0;
	out->failures = 0;
	out->state = OUT_READY;
	out->pair->slot->transaction_at = now;
	eventlog_out_streaming(out);
	if (out->pair->transactional_id == NULL || now - out->saved_at >= SAVE_MS * INT64CONST(1000))
		eventlog_out_save_positions(out, now);
}

