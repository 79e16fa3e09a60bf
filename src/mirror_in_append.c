/*-------------------------------------------------------------------------
 *
 * mirror_in_append.c
 *	  Mirrors from Kafka into topics: appending batches.
 *
 * Records, positions and dead letters of a batch are one transaction.
 * mirror_in.c has the whole.
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
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "log_storage.h"
#include "mirror_in.h"
#include "payload.h"
#include "produce.h"
#include "subtransaction.h"

static EventlogTopic *
get_topic(Incoming *mirror)
{
	if (mirror->topic == NULL)
	{
		mirror->topic = eventlog_topic_by_name(mirror->pair->topic, false);
		eventlog_mirror_check_target(mirror->pair->mirror->owner, mirror->topic);
	}
	return mirror->topic;
}

static void
append(Incoming *mirror, const EventlogKafkaMessage *message)
{
	EventlogTopic *topic = get_topic(mirror);
	EventlogRecord rec = message->record;
	int			partition = message->partition;

	eventlog_payload_check(topic->key_type, rec.key, rec.key_len, "key");
	eventlog_payload_check(topic->value_type, rec.value, rec.value_len, "value");
	if (mirror->pair->mirror->config->repartition)
		partition = -1;
	else
		eventlog_topic_check_partition(topic, partition);
	eventlog_produce_any(topic, partition, &rec);
	mirror->pending[message->partition] = rec.offset + 1;
	mirror->has_records[message->partition] = true;
	mirror->bytes += Max(rec.key_len, 0) + Max(rec.value_len, 0) + rec.headers_len;
	mirror->records++;
}

/* A record that our topic refuses, with headers as Kafka Connect has them. */
static void
append_letter(Incoming *mirror, const EventlogKafkaMessage *message, const char *why)
{
	const EventlogMirrorPair *pair = mirror->pair;
	EventlogRecord rec = message->record;
	EventlogBuf headers = {0};
	char		number[32];
	int			partition;

	if (mirror->letters == NULL)
	{
		mirror->letters = eventlog_topic_by_name(pair->mirror->config->dead_letter_topic, false);
		eventlog_mirror_check_target(pair->mirror->owner, mirror->letters);
	}
	partition = message->partition % mirror->letters->npartitions;
	eventlog_payload_check(mirror->letters->key_type, rec.key, rec.key_len, "key");
	eventlog_payload_check(mirror->letters->value_type, rec.value, rec.value_len, "value");
	eventlog_buf_reserve(&headers, rec.headers_len + 1024);
	memcpy(headers.data, rec.headers, rec.headers_len);
	headers.len = rec.headers_len;
	eventlog_batch_add_header(&headers, "__connect.errors.topic", 22,
							  pair->kafka_topic, strlen(pair->kafka_topic));
	snprintf(number, sizeof(number), "%d", message->partition);
	eventlog_batch_add_header(&headers, "__connect.errors.partition", 26, number, strlen(number));
	snprintf(number, sizeof(number), "%lld", (long long) message->record.offset);
	eventlog_batch_add_header(&headers, "__connect.errors.offset", 23, number, strlen(number));
	eventlog_batch_add_header(&headers, "__connect.errors.exception.message", 34, why, strlen(why));
	rec.headers = headers.data;
	rec.headers_len = headers.len;
	rec.headers_count += 4;
	rec.timestamp = eventlog_timestamp_to_ms(GetCurrentTimestamp());
	eventlog_produce_any(mirror->letters, partition, &rec);
	eventlog_buf_free(&headers);
	mirror->pending[message->partition] = message->record.offset + 1;
	mirror->nletters++;
	ereport(LOG,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("mirror \"%s\": partition %d, offset %lld goes to the dead-letter topic: %s",
					pair->mirror->name, message->partition, (long long) message->record.offset, why)));
}

/* Is it the record that is wrong, so that it would be at each attempt? */
static bool
is_bad_record(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION ||
		category == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION ||
		category == ERRCODE_FEATURE_NOT_SUPPORTED ||
		category == ERRCODE_RAISE_EXCEPTION;
}

typedef struct Appending
{
	Incoming   *mirror;
	const EventlogKafkaMessage *message;
} Appending;

static void
append_one(void *arg)
{
	Appending  *appending = arg;

	append(appending->mirror, appending->message);
}

/* Append a record in a subtransaction; if that fails, it is a dead letter. */
static void
append_carefully(EventlogMirrorIn *in, Incoming *mirror, const EventlogKafkaMessage *message)
{
	Appending	appending = {mirror, message};
	ErrorData  *error = eventlog_subtransaction_run(append_one, &appending);

	if (error == NULL)
		return;
	mirror->topic = mirror->letters = NULL;
	if (!is_bad_record(error->sqlerrcode))
		ReThrowError(error);
	if (mirror->pair->mirror->config->dead_letter_topic == NULL)
	{
		in->stop = true;
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("partition %d, offset %lld: %s", message->partition,
						(long long) message->record.offset, error->message)));
	}
	append_letter(mirror, message, error->message);
	FreeErrorData(error);
}

/*
 * Why a partition cannot be read on.  That a position is not in Kafka's log is
 * believed of the one that we have asked for only: behind a batch with a wrong
 * checksum librdkafka (2.0.2 at least) reads on at an offset that it takes from
 * whatever bytes are there.
 */
static void
raise_trouble(EventlogMirrorIn *in, const Incoming *mirror, const EventlogKafkaMessage *message)
{
	const char *why = "";

	if ((message->code == EVENTLOG_KAFKA_ERR_AUTO_OFFSET_RESET ||
		 message->code == EVENTLOG_KAFKA_ERR_OFFSET_OUT_OF_RANGE) &&
		message->record.offset == mirror->position[message->partition])
	{
		in->stop = in->diverged = true;
		why = "; the position is not in Kafka's log, which may have lost it by its retention, or been made anew: ";
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("partition %d at offset %lld%s%.*s", message->partition,
					(long long) message->record.offset, *why != '\0' ? why : ": ",
					message->record.value_len, message->record.value)));
}

/* Offset in Kafka of the batch's first record of a partition; -1: it has none. */
static int64
first_of_batch(const EventlogMirrorIn *in, const Incoming *mirror, int32 partition)
{
	for (int i = 0; i < in->batch->count; i++)
	{
		const EventlogKafkaMessage *message = &in->batch->messages[i];

		if (message->kind == EVENTLOG_KAFKA_RECORD && message->partition == partition &&
			&in->mirrors[message->tag] == mirror)
			return message->record.offset;
	}
	return -1;
}

/*
 * Keep pairs of offsets, of the records after those of the batch, so that
 * consumers can be moved from one side to the other; at first also of where the
 * batch begins.
 */
static void
keep_pairs(const EventlogMirrorIn *in, Incoming *mirror)
{
	const EventlogMirrorPair *pair = mirror->pair;
	TimestampTz now = GetCurrentTimestamp();
	EventlogTopic *topic = mirror->topic;
	Oid		   *leaves;
	bool		due = now - mirror->synced_at >= pair->mirror->config->sync_ms * INT64CONST(1000);

	if (topic == NULL || pair->mirror->config->repartition)
		return;
	leaves = eventlog_topic_copy_leaves(topic);
	for (int p = 0; p < Min(mirror->npartitions, topic->npartitions); p++)
	{
		EventlogMirrorPosition position = {
			.topic = unconstify(char *, pair->topic),
			.kafka_topic = unconstify(char *, pair->kafka_topic),
			.partition = p,
			.epoch = -1
		};
		EventlogRange *ranges;
		int64		begin = PG_INT64_MAX;
		int64		end = -1;
		int			n;

		if (!mirror->has_records[p] || (mirror->paired[p] && !due))
			continue;
		eventlog_produce_flush_all();
		n = eventlog_produce_ranges(&ranges);
		for (int i = 0; i < n; i++)
		{
			if (ranges[i].leaf != leaves[p])
				continue;
			begin = Min(begin, ranges[i].first_offset);
			end = Max(end, ranges[i].last_offset + 1);
		}
		if (end < 0)
			continue;
		if (!mirror->paired[p])
		{
			position.record_offset = begin;
			position.kafka_offset = first_of_batch(in, mirror, p);
			eventlog_mirror_sync_add(pair->mirror->id, &position);
			mirror->paired[p] = true;
		}
		position.record_offset = end;
		position.kafka_offset = mirror->pending[p];
		eventlog_mirror_sync_add(pair->mirror->id, &position);
	}
	pfree(leaves);
	if (!due)
		return;
	mirror->synced_at = now;
	mirror->unpaired = false;
}

/*
 * The same where nothing comes any more: what has been mirrored is before the
 * end of our log, and what is to come will be behind it, whoever else produces.
 */
static void
keep_idle_pairs(Incoming *mirror)
{
	EventlogTopic *topic;
	Oid		   *leaves;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	topic = eventlog_topic_by_name(mirror->pair->topic, false);
	leaves = eventlog_topic_copy_leaves(topic);
	for (int p = 0; p < Min(mirror->npartitions, topic->npartitions); p++)
	{
		EventlogMirrorPosition position = {
			.topic = unconstify(char *, mirror->pair->topic),
			.kafka_topic = unconstify(char *, mirror->pair->kafka_topic),
			.partition = p,
			.kafka_offset = mirror->position[p],
			.epoch = -1
		};
		Relation	leaf = table_open(leaves[p], AccessShareLock);
		EventlogMetaHead meta;
		uint32		layout;

		eventlog_storage_read_meta(leaf, &meta, &layout);
		position.record_offset = meta.next_offset;
		eventlog_mirror_sync_add(mirror->pair->mirror->id, &position);
		table_close(leaf, AccessShareLock);
	}
	CommitTransactionCommand();
}

void
eventlog_in_keep_idle_pairs(EventlogMirrorIn *in, TimestampTz now)
{
	for (int i = 0; i < in->nmirrors; i++)
	{
		Incoming   *mirror = &in->mirrors[i];

		if (!mirror->unpaired || !mirror->assigned || mirror->npartitions == 0 ||
			now - mirror->synced_at < mirror->pair->mirror->config->sync_ms * INT64CONST(1000))
			continue;
		in->at_work = mirror;
		keep_idle_pairs(mirror);
		in->at_work = NULL;
		mirror->synced_at = now;
		mirror->unpaired = false;
	}
}

/*
 * A batch's offset is not covered by its checksum: one past the end of the
 * partition comes from a damaged answer, and would make us pass over records.
 */
static void
check_position(EventlogMirrorIn *in, const Incoming *mirror, int p)
{
	int64		end = in->api->end_offset(in->client, mirror->pair->kafka_topic, p);

	if (end >= 0 && mirror->pending[p] > end)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("partition %d: the broker has given offset %lld, and says that the partition ends at %lld",
						p, (long long) mirror->pending[p], (long long) end)));
}

static void
save_positions(EventlogMirrorIn *in, Incoming *mirror)
{
	for (int p = 0; p < mirror->npartitions; p++)
		if (mirror->pending[p] >= 0)
			check_position(in, mirror, p);

	if (mirror->records > 0 && !mirror->pair->mirror->config->repartition)
		mirror->unpaired = true;
	keep_pairs(in, mirror);
	memset(mirror->has_records, 0, sizeof(bool) * mirror->npartitions);
	for (int p = 0; p < mirror->npartitions; p++)
		if (mirror->pending[p] >= 0)
			eventlog_mirror_pair_save(mirror->pair, p, -1, mirror->pending[p]);
}

/*
 * For the views.  At the end of a log, its end is what can be read; otherwise
 * what the broker has said of it.
 */
static void
tell_position(EventlogMirrorIn *in, Incoming *mirror, int p)
{
	int64		end = mirror->end[p];

	if (mirror->position[p] < 0)
		return;
	if (end != mirror->position[p])
		end = in->api->end_offset(in->client, mirror->pair->kafka_topic, p);
	eventlog_mirror_pair_tell(mirror->pair, p, mirror->position[p],
							  end < 0 ? -1 : Max(end, mirror->position[p]));
}

void
eventlog_in_take_batch(EventlogMirrorIn *in, EventlogKafkaBatch *batch)
{
	in->batch = batch;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < in->nmirrors; i++)
	{
		in->mirrors[i].topic = NULL;
		in->mirrors[i].letters = NULL;
		in->mirrors[i].records = in->mirrors[i].bytes = in->mirrors[i].nletters = 0;
	}
	for (int i = 0; i < batch->count; i++)
	{
		const EventlogKafkaMessage *message = &batch->messages[i];
		Incoming   *mirror = &in->mirrors[message->tag];

		if (!mirror->assigned || message->partition >= mirror->npartitions)
			continue;
		in->at_work = mirror;
		mirror->in_batch = true;
		switch (message->kind)
		{
			case EVENTLOG_KAFKA_RECORD:
				in->at_record = true;
				if (unlikely(mirror->careful_until != 0))
					append_carefully(in, mirror, message);
				else
					append(mirror, message);
				in->at_record = false;
				break;
			case EVENTLOG_KAFKA_END:
				mirror->end[message->partition] = message->record.offset;
				if (message->record.offset > Max(mirror->position[message->partition],
												 mirror->pending[message->partition]))
					mirror->pending[message->partition] = message->record.offset;
				break;
			case EVENTLOG_KAFKA_TROUBLE:
				raise_trouble(in, mirror, message);
		}
	}
	for (int i = 0; i < in->nmirrors; i++)
	{
		in->at_work = &in->mirrors[i];
		if (in->mirrors[i].assigned && in->mirrors[i].npartitions > 0)
			save_positions(in, &in->mirrors[i]);
	}
	in->at_work = NULL;
	EVENTLOG_PAUSE_INTERRUPTIBLE("mirror-in-commit", in->mirrors[0].pair->mirror->name);
	PopActiveSnapshot();
	CommitTransactionCommand();
	for (int i = 0; i < in->nmirrors; i++)
	{
		Incoming   *mirror = &in->mirrors[i];
		bool		moved = false;

		if (!mirror->in_batch)
			continue;
		mirror->in_batch = false;

		for (int p = 0; p < mirror->npartitions; p++)
		{
			if (mirror->pending[p] >= 0)
			{
				mirror->position[p] = mirror->pending[p];
				mirror->pending[p] = -1;
				moved = true;
			}
			tell_position(in, mirror, p);
		}
		if (moved)
		{
			pg_atomic_add_fetch_u64(&mirror->pair->slot->records, mirror->records);
			pg_atomic_add_fetch_u64(&mirror->pair->slot->bytes, mirror->bytes);
			pg_atomic_add_fetch_u64(&mirror->pair->slot->transactions, 1);
			pg_atomic_add_fetch_u64(&mirror->pair->slot->dead_letters, mirror->nletters);
			mirror->pair->slot->transaction_at = GetCurrentTimestamp();
			eventlog_in_streaming(mirror);
			mirror->failures = 0;
			if (mirror->careful_until != 0 && GetCurrentTimestamp() > mirror->careful_until)
				mirror->careful_until = 0;
		}
	}
	in->batch = NULL;
	in->api->release(in->client, batch);
	in->failures = 0;
}

/* A step has raised, and the transaction was rolled back. */
void
eventlog_mirror_in_fail(EventlogMirrorIn *in, const char *message)
{
	Incoming   *guilty = in->at_work;
	bool		at_record = in->at_record;
	bool		stop = in->stop;
	EventlogMirrorPhase phase = in->diverged ? EVENTLOG_MIRROR_DIVERGED : EVENTLOG_MIRROR_STOPPED;

	in->at_work = NULL;
	in->at_record = in->stop = in->diverged = false;
	if (guilty == NULL || in->client == NULL)
	{
		EventlogKafkaError error = {0};

		strlcpy(error.message, message, sizeof(error.message));
		eventlog_in_fail_all(in, "failed", &error);
		return;
	}

	/*
	 * If a record may be to blame, the next attempt finds out which.
	 */
	if (at_record && !stop && guilty->careful_until == 0)
		guilty->careful_until = GetCurrentTimestamp() + CAREFUL_MS * INT64CONST(1000);
	else if (stop)
		eventlog_in_stop_mirror(guilty, phase, message);
	else
		eventlog_in_fail_mirror(guilty, message);
	eventlog_in_reopen(in);
}
