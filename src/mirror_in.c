/*-------------------------------------------------------------------------
 *
 * mirror_in.c
 *	  Mirrors from Kafka into topics.
 *
 * One consumer serves all of a worker's mirrors of one owner.  Partitions are
 * assigned, not subscribed to; only committed records come.  The records of a
 * batch, and the positions behind them, are committed in one transaction of
 * ours.  So the table eventlog.mirror_position is always right, and the
 * consumer is only ever told where to go on.
 *
 * Records keep their partition, timestamp, key, value and headers; offsets are
 * our own.
 *
 * If the records of one mirror cannot be appended, the whole batch is rolled
 * back, that mirror is taken out for a while, and the others are set back to
 * where they were and go on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

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
#include "mirror_task.h"
#include "payload.h"
#include "produce.h"
#include "subtransaction.h"

#define OP_TIMEOUT_MS		10000
#define BATCH_RECORDS		50000
#define BATCH_BYTES			(16 * 1024 * 1024)
#define LOOK_MS				1000
#define CAREFUL_MS			10000	/* after a record that was refused */
#define CAREFUL_RECORDS		1000
#define GONE_FAILURES		6		/* until a topic that was there is gone */

typedef enum InState
{
	IN_CLOSED,
	IN_METADATA,				/* how many partitions are there? */
	IN_START,					/* where do new mirrors start? */
	IN_READY
} InState;

/* A mirror. */
typedef struct Incoming
{
	const EventlogMirrorPair *pair;
	int			npartitions;	/* Kafka's */
	int64	   *position;		/* next offset of Kafka's, by partition */
	int64	   *end;			/* of Kafka's log, as told last; -1: not known */
	int64	   *pending;		/* after the batch in work; -1: unchanged */
	bool		restart;		/* to begin where resume_mirror() has said, and not
								 * yet committed */
	bool		forget_restart; /* the transaction in work forgets that */
	bool		assigned;
	int64		records;		/* of the batch in work */
	int64		bytes;
	bool	   *has_records;	/* the batch in work has some, by partition */
	TimestampTz synced_at;		/* when pairs of offsets were kept */
	EventlogTopic *topic;		/* in the transaction in work */
	EventlogTopic *letters;		/* the dead-letter topic; as "topic" */
	int64		nletters;		/* of the batch in work */
	TimestampTz careful_until;	/* each record is appended by itself; 0: no */
	TimestampTz retry_at;		/* of a pattern: when to look for topics */
	int			failures;
	bool		pattern;		/* finds topics, and has no partitions itself */
} Incoming;

struct EventlogMirrorIn
{
	const EventlogKafkaApi *api;
	EventlogKafkaClient *client;
	InState		state;
	int			nmirrors;
	Incoming   *mirrors;
	int			current;		/* whose partitions are being asked for */
	Incoming   *at_work;		/* whose record is being appended */
	EventlogKafkaBatch *batch;	/* in work */
	bool		at_record;		/* ... and it may be the record's fault */
	bool		stop;			/* what is being raised does not go away by itself */
	TimestampTz retry_at;
	int			failures;
};

EventlogMirrorIn *
eventlog_mirror_in_create(const EventlogMirrorPair *pairs, int npairs, const EventlogKafkaApi *api)
{
	EventlogMirrorIn *in = MemoryContextAllocZero(TopMemoryContext, sizeof(EventlogMirrorIn));

	in->api = api;
	in->nmirrors = npairs;
	in->mirrors = MemoryContextAllocZero(TopMemoryContext, sizeof(Incoming) * Max(npairs, 1));
	for (int i = 0; i < npairs; i++)
	{
		in->mirrors[i].pair = &pairs[i];
		in->mirrors[i].restart = pairs[i].mirror->restart != NULL;
		in->mirrors[i].pattern = pairs[i].mirror->pattern;
	}
	return in;
}

int
eventlog_mirror_in_fd(EventlogMirrorIn *in)
{
	return in->client != NULL ? in->api->event_fd(in->client) : -1;
}

static void
close_client(EventlogMirrorIn *in)
{
	if (in->client != NULL)
		(void) in->api->close(in->client, 0);
	in->batch = NULL;
	in->client = NULL;
	in->state = IN_CLOSED;
	in->current = 0;
	for (int i = 0; i < in->nmirrors; i++)
		in->mirrors[i].assigned = false;
}

void
eventlog_mirror_in_close(EventlogMirrorIn *in)
{
	close_client(in);
}

static void
fail_mirror(Incoming *mirror, const char *message)
{
	mirror->retry_at = GetCurrentTimestamp() + eventlog_mirror_backoff_ms(mirror->failures++) * 1000;
	mirror->assigned = false;
	eventlog_mirror_slot_phase(mirror->pair->slot, EVENTLOG_MIRROR_FAILED, message);
}

/*
 * A mirror is not to go on until somebody resumes it.  In a transaction or
 * outside of one.
 */
static void
stop_mirror(Incoming *mirror, const char *message)
{
	bool		in_transaction = IsTransactionState();

	if (!in_transaction)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
	}
	eventlog_mirror_set_stopped(mirror->pair->mirror->id, psprintf("stopped: %s", message));
	if (!in_transaction)
		CommitTransactionCommand();
	ereport(LOG,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("mirror \"%s\" has stopped: %s", mirror->pair->mirror->name, message)));
	mirror->retry_at = DT_NOEND;
	mirror->assigned = false;
	eventlog_mirror_slot_phase(mirror->pair->slot, EVENTLOG_MIRROR_STOPPED, message);
}

/* The client is of no use: all begin anew. */
static void
fail_all(EventlogMirrorIn *in, const char *what, const EventlogKafkaError *error)
{
	char		message[700];

	snprintf(message, sizeof(message), "%s: %s (%s)", what, error->message, error->name);
	close_client(in);
	in->retry_at = GetCurrentTimestamp() + eventlog_mirror_backoff_ms(in->failures++) * 1000;
	for (int i = 0; i < in->nmirrors; i++)
	{
		if (in->mirrors[i].retry_at != DT_NOEND)
			eventlog_mirror_slot_phase(in->mirrors[i].pair->slot, EVENTLOG_MIRROR_FAILED, message);
	}
}

static void
streaming(Incoming *mirror)
{
	if (mirror->pair->slot->phase != EVENTLOG_MIRROR_STREAMING)
		eventlog_mirror_slot_phase(mirror->pair->slot, EVENTLOG_MIRROR_STREAMING, NULL);
}

/* ---- assigning ---- */

/* The next mirror that is to be assigned, from "current" on. */
static Incoming *
next_unassigned(EventlogMirrorIn *in, TimestampTz now)
{
	for (; in->current < in->nmirrors; in->current++)
	{
		Incoming   *mirror = &in->mirrors[in->current];

		if (!mirror->assigned && mirror->retry_at <= now)
			return mirror;
	}
	in->current = 0;
	return NULL;
}

static void
ask_for_partitions(EventlogMirrorIn *in, TimestampTz now)
{
	Incoming   *mirror = next_unassigned(in, now);
	EventlogKafkaError error = {0};

	if (mirror == NULL)
	{
		in->state = IN_READY;
		return;
	}
	in->state = IN_METADATA;
	if (!in->api->start_metadata(in->client, mirror->pattern ? NULL : mirror->pair->kafka_topic, OP_TIMEOUT_MS, &error))
		fail_all(in, "could not ask for the topic", &error);
}

static void
assign(EventlogMirrorIn *in, Incoming *mirror)
{
	EventlogKafkaAssign *partitions = palloc(sizeof(EventlogKafkaAssign) * mirror->npartitions);
	EventlogKafkaError error = {0};

	for (int p = 0; p < mirror->npartitions; p++)
	{
		partitions[p].topic = mirror->pair->kafka_topic;
		partitions[p].partition = p;
		partitions[p].offset = mirror->position[p];
		partitions[p].tag = mirror - in->mirrors;
	}
	if (in->api->assign(in->client, partitions, mirror->npartitions, &error))
	{
		mirror->assigned = true;
		streaming(mirror);
	}
	else
		fail_mirror(mirror, error.message);
	pfree(partitions);
	in->current++;
	in->state = IN_METADATA;
}

/* Where a partition begins that we have no position for. */
static int64
start_offset(const EventlogMirrorStart *start, int p)
{
	if (start->kind == EVENTLOG_START_LATEST)
		return EVENTLOG_KAFKA_OFFSET_END;
	for (int i = 0; start->kind == EVENTLOG_START_OFFSETS && i < start->noffsets; i++)
		if (start->partitions[i] == p)
			return start->offsets[i];
	return EVENTLOG_KAFKA_OFFSET_BEGINNING;
}

/* Make a topic that is missing, in the owner's name. */
static void
create_topic(const char *name, int partitions, const EventlogMirrorConfig *config, bool letters)
{
	Oid			types[6] = {TEXTOID, INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID};
	Datum		values[6];
	const char *key_type = letters || config->key_type == NULL ? "bytea" : config->key_type;
	const char *value_type = letters || config->value_type == NULL ? "bytea" : config->value_type;
	Jsonb	   *configs = config->topic_config;

	if (letters)
		configs = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"max.message.bytes\": 67108864}")));
	values[0] = CStringGetTextDatum(name);
	values[1] = Int32GetDatum(partitions);
	values[2] = CStringGetTextDatum(key_type);
	values[3] = CStringGetTextDatum(value_type);
	values[4] = JsonbPGetDatum(configs);
	values[5] = CStringGetTextDatum(config->topic_schema != NULL ? config->topic_schema : "topics");
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute_with_args("SELECT eventlog.create_topic($1, $2, $3::pg_catalog.regtype,"
							  " $4::pg_catalog.regtype, $5, $6::pg_catalog.name)",
							  6, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not create topic \"%s\"", name);
	SPI_finish();
	PopActiveSnapshot();
	CommandCounterIncrement();
}

static void
create_topics(Incoming *mirror, int partitions)
{
	const EventlogMirrorConfig *config = mirror->pair->mirror->config;

	if (!config->create_topic)
		return;
	if (eventlog_topic_by_name(mirror->pair->topic, true) == NULL)
		create_topic(mirror->pair->topic,
					 config->topic_partitions > 0 ? config->topic_partitions : partitions, config, false);
	if (config->dead_letter_topic != NULL &&
		eventlog_topic_by_name(config->dead_letter_topic, true) == NULL)
		create_topic(config->dead_letter_topic, 1, config, true);
}

/* The topic's partitions are known: load positions, and see where to start. */
static void
take_partitions(EventlogMirrorIn *in, Incoming *mirror, const EventlogKafkaTopic *topic)
{
	int			n = topic->partitions;
	const EventlogMirrorStart *start = &mirror->pair->mirror->config->start;
	int64	   *ours;
	bool		is_new = false;
	EventlogTopic *our_topic;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	create_topics(mirror, n);
	our_topic = eventlog_topic_by_name(mirror->pair->topic, false);
	eventlog_topic_check_acl(our_topic, ACL_INSERT);
	if (our_topic->npartitions != n && !mirror->pair->mirror->config->repartition)
	{
		char		message[256];

		snprintf(message, sizeof(message), "Kafka's topic has %d partitions, and ours has %d",
				 n, our_topic->npartitions);
		stop_mirror(mirror, message);
		CommitTransactionCommand();
		in->current++;
		return;
	}
	if (mirror->position != NULL)
	{
		pfree(mirror->position);
		pfree(mirror->pending);
		pfree(mirror->end);
		pfree(mirror->has_records);
	}
	mirror->npartitions = n;
	mirror->position = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n);
	mirror->end = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n);
	mirror->has_records = MemoryContextAllocZero(TopMemoryContext, sizeof(bool) * n);
	mirror->pending = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n);
	ours = palloc(sizeof(int64) * n);
	eventlog_mirror_pair_load(mirror->pair, n, ours, mirror->position);
	CommitTransactionCommand();
	if (mirror->restart)
		start = mirror->pair->mirror->restart;
	for (int p = 0; p < n; p++)
	{
		if (mirror->restart)
			mirror->position[p] = -1;
		mirror->pending[p] = mirror->end[p] = -1;
		if (mirror->position[p] < 0)
		{
			mirror->position[p] = start_offset(start, p);
			is_new = true;
		}
	}
	if (is_new && start->kind == EVENTLOG_START_TIME)
	{
		EventlogKafkaOffset *times = palloc0(sizeof(EventlogKafkaOffset) * n);
		EventlogKafkaError error = {0};

		for (int p = 0; p < n; p++)
		{
			times[p].topic = mirror->pair->kafka_topic;
			times[p].partition = p;
			times[p].offset = start->time_ms;
		}
		in->state = IN_START;
		if (!in->api->start_offsets_for_times(in->client, times, n, OP_TIMEOUT_MS, &error))
			fail_all(in, "could not ask for offsets", &error);
		pfree(times);
		return;
	}
	assign(in, mirror);
}

static void
take_start(EventlogMirrorIn *in, Incoming *mirror)
{
	int			count;
	const EventlogKafkaOffset *offsets = in->api->offsets(in->client, &count);

	for (int p = 0; p < mirror->npartitions && p < count; p++)
	{
		if (mirror->position[p] < 0)
			mirror->position[p] = offsets[p].offset >= 0 ? offsets[p].offset : EVENTLOG_KAFKA_OFFSET_END;
	}
	assign(in, mirror);
}

/* ---- appending ---- */

static EventlogTopic *
get_topic(Incoming *mirror)
{
	if (mirror->topic == NULL)
	{
		mirror->topic = eventlog_topic_by_name(mirror->pair->topic, false);
		eventlog_topic_check_acl(mirror->topic, ACL_INSERT);
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
		eventlog_topic_check_acl(mirror->letters, ACL_INSERT);
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

/* Why a partition cannot be read on. */
static void
raise_trouble(EventlogMirrorIn *in, const EventlogKafkaMessage *message)
{
	const char *why = "";

	if (message->code == EVENTLOG_KAFKA_ERR_AUTO_OFFSET_RESET ||
		message->code == EVENTLOG_KAFKA_ERR_OFFSET_OUT_OF_RANGE)
	{
		in->stop = true;
		why = "; the position is not in Kafka's log, which may have lost it by its retention, or been made anew: ";
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("partition %d at offset %lld%s%.*s", message->partition,
					(long long) message->record.offset, *why != '\0' ? why : ": ",
					message->record.value_len, message->record.value)));
}

/* Set a mirror's partitions back to where they were before the batch. */
static void
set_back(EventlogMirrorIn *in, Incoming *mirror)
{
	EventlogKafkaAssign *partitions = palloc(sizeof(EventlogKafkaAssign) * mirror->npartitions);
	EventlogKafkaError error = {0};
	int			n = 0;

	for (int p = 0; p < mirror->npartitions; p++)
	{
		if (mirror->pending[p] < 0)
			continue;
		partitions[n].topic = mirror->pair->kafka_topic;
		partitions[n].partition = p;
		partitions[n].offset = mirror->position[p] >= 0 ? mirror->position[p] : mirror->pending[p];
		partitions[n++].tag = mirror - in->mirrors;
		mirror->pending[p] = -1;
	}
	if (n > 0 && mirror->assigned && !in->api->seek(in->client, partitions, n, &error))
		fail_mirror(mirror, error.message);
	pfree(partitions);
}

static void
take_out(EventlogMirrorIn *in, Incoming *mirror)
{
	EventlogKafkaAssign *partitions = palloc0(sizeof(EventlogKafkaAssign) * Max(mirror->npartitions, 1));
	EventlogKafkaError error = {0};

	for (int p = 0; p < mirror->npartitions; p++)
	{
		partitions[p].topic = mirror->pair->kafka_topic;
		partitions[p].partition = p;
	}
	(void) in->api->unassign(in->client, partitions, mirror->npartitions, &error);
	pfree(partitions);
}

/*
 * Keep pairs of offsets, of the records after those of the batch, so that
 * consumers can be moved from one side to the other.
 */
static void
keep_pairs(Incoming *mirror)
{
	const EventlogMirrorPair *pair = mirror->pair;
	TimestampTz now = GetCurrentTimestamp();
	EventlogTopic *topic = mirror->topic;
	Oid		   *leaves;

	if (topic == NULL || pair->mirror->config->repartition ||
		now - mirror->synced_at < pair->mirror->config->sync_ms * INT64CONST(1000))
		return;
	leaves = eventlog_topic_copy_leaves(topic);
	for (int p = 0; p < Min(mirror->npartitions, topic->npartitions); p++)
	{
		EventlogMirrorPosition position = {
			.topic = unconstify(char *, pair->topic),
			.kafka_topic = unconstify(char *, pair->kafka_topic),
			.partition = p,
			.kafka_offset = mirror->pending[p],
			.epoch = -1
		};
		EventlogRange *ranges;
		int			n;

		if (!mirror->has_records[p])
			continue;
		eventlog_produce_flush_all();
		position.record_offset = -1;
		n = eventlog_produce_ranges(&ranges);
		for (int i = 0; i < n; i++)
		{
			if (ranges[i].leaf == leaves[p])
				position.record_offset = Max(position.record_offset, ranges[i].last_offset + 1);
		}
		if (position.record_offset >= 0)
			eventlog_mirror_sync_add(pair->mirror->id, &position);
	}
	pfree(leaves);
	mirror->synced_at = now;
}

static void
save_positions(Incoming *mirror)
{
	bool		all = true;

	keep_pairs(mirror);
	memset(mirror->has_records, 0, sizeof(bool) * mirror->npartitions);
	for (int p = 0; p < mirror->npartitions; p++)
	{
		int64		position = mirror->pending[p];

		/* after a restart, all that is known, so that it can be forgotten */
		if (position < 0 && mirror->restart)
			position = mirror->position[p];
		if (position >= 0)
			eventlog_mirror_pair_save(mirror->pair, p, -1, position);
		else
			all = false;
	}
	mirror->forget_restart = mirror->restart && all;
	if (mirror->forget_restart)
		eventlog_mirror_set_restart(mirror->pair->mirror->id, NULL);
}

static void
take_batch(EventlogMirrorIn *in, EventlogKafkaBatch *batch)
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
				raise_trouble(in, message);
		}
	}
	for (int i = 0; i < in->nmirrors; i++)
	{
		in->at_work = &in->mirrors[i];
		if (in->mirrors[i].assigned && in->mirrors[i].npartitions > 0)
			save_positions(&in->mirrors[i]);
	}
	in->at_work = NULL;
	EVENTLOG_PAUSE_INTERRUPTIBLE("mirror-in-commit", in->mirrors[0].pair->mirror->name);
	PopActiveSnapshot();
	CommitTransactionCommand();
	for (int i = 0; i < in->nmirrors; i++)
	{
		Incoming   *mirror = &in->mirrors[i];
		bool		moved = false;

		if (mirror->forget_restart)
			mirror->restart = mirror->forget_restart = false;
		for (int p = 0; p < mirror->npartitions; p++)
		{
			if (mirror->pending[p] < 0)
				continue;
			mirror->position[p] = mirror->pending[p];
			mirror->pending[p] = -1;
			eventlog_mirror_pair_tell(mirror->pair, p, mirror->position[p],
									  Max(mirror->end[p], mirror->position[p]));
			moved = true;
		}
		if (moved)
		{
			pg_atomic_add_fetch_u64(&mirror->pair->slot->records, mirror->records);
			pg_atomic_add_fetch_u64(&mirror->pair->slot->bytes, mirror->bytes);
			pg_atomic_add_fetch_u64(&mirror->pair->slot->transactions, 1);
			pg_atomic_add_fetch_u64(&mirror->pair->slot->dead_letters, mirror->nletters);
			mirror->pair->slot->transaction_at = GetCurrentTimestamp();
			streaming(mirror);
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

	in->at_work = NULL;
	in->at_record = in->stop = false;
	if (guilty == NULL || in->client == NULL)
	{
		EventlogKafkaError error = {0};

		strlcpy(error.message, message, sizeof(error.message));
		fail_all(in, "failed", &error);
		return;
	}

	/*
	 * All partitions that have something in the batch are to be set back, those
	 * too whose turn had not come: at the latest to what it began with.
	 */
	for (int i = in->batch != NULL ? in->batch->count - 1 : -1; i >= 0; i--)
	{
		const EventlogKafkaMessage *of = &in->batch->messages[i];
		Incoming   *mirror = &in->mirrors[of->tag];

		if (mirror->assigned && of->partition < mirror->npartitions)
			mirror->pending[of->partition] = of->record.offset;
	}
	if (in->batch != NULL)
		in->api->release(in->client, in->batch);
	in->batch = NULL;

	/*
	 * If a record may be to blame, the next attempt finds out which.
	 */
	if (at_record && !stop && guilty->careful_until == 0)
		guilty->careful_until = GetCurrentTimestamp() + CAREFUL_MS * INT64CONST(1000);
	else
	{
		take_out(in, guilty);
		for (int p = 0; p < guilty->npartitions; p++)
			guilty->pending[p] = -1;
		if (stop)
			stop_mirror(guilty, message);
		else
			fail_mirror(guilty, message);
	}
	for (int i = 0; i < in->nmirrors; i++)
	{
		if (in->mirrors[i].assigned)
			set_back(in, &in->mirrors[i]);
	}
}

/* ---- the states ---- */

static bool
is_careful(const EventlogMirrorIn *in)
{
	for (int i = 0; i < in->nmirrors; i++)
		if (in->mirrors[i].careful_until != 0)
			return true;
	return false;
}

static bool
has_pair(const EventlogMirrorIn *in, const EventlogMirror *mirror, const char *kafka_topic)
{
	for (int i = 0; i < in->nmirrors; i++)
	{
		if (!in->mirrors[i].pattern && in->mirrors[i].pair->mirror == mirror &&
			strcmp(in->mirrors[i].pair->kafka_topic, kafka_topic) == 0)
			return true;
	}
	return false;
}

static void
add_pair(EventlogMirrorIn *in, const EventlogMirrorPair *of, const char *topic, const char *kafka_topic)
{
	EventlogMirrorPair *pair = MemoryContextAlloc(TopMemoryContext, sizeof(EventlogMirrorPair));

	*pair = *of;
	pair->topic = MemoryContextStrdup(TopMemoryContext, topic);
	pair->kafka_topic = MemoryContextStrdup(TopMemoryContext, kafka_topic);
	in->at_work = NULL;
	in->mirrors = repalloc(in->mirrors, sizeof(Incoming) * (in->nmirrors + 1));
	memset(&in->mirrors[in->nmirrors], 0, sizeof(Incoming));
	in->mirrors[in->nmirrors++].pair = pair;
}

/* A pattern: Kafka's topics that match and are not mirrored yet. */
static void
find_topics(EventlogMirrorIn *in, int number, const EventlogKafkaMetadata *metadata)
{
	const EventlogMirrorPair *pair = in->mirrors[number].pair;
	int			ntopics = 0;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < metadata->ntopics; i++)
	{
		const char *name = metadata->topics[i].name;
		char	   *topic;
		char	   *loop;

		if (strncmp(name, "__", 2) == 0 || metadata->topics[i].code != 0)
			continue;
		topic = eventlog_mirror_map_topic(pair->mirror, name);
		if (topic == NULL)
			continue;
		ntopics++;
		if (has_pair(in, pair->mirror, name))
			continue;
		loop = eventlog_mirror_find_loop(pair->mirror, topic, name);
		if (loop == NULL)
			add_pair(in, pair, topic, name);
		else
			ereport(LOG,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("mirror \"%s\" leaves out topic \"%s\"", pair->mirror->name, name),
					 errdetail("Mirror \"%s\" goes the other way.", loop)));
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pair->slot->ntopics = ntopics;
	in->mirrors[number].retry_at = GetCurrentTimestamp() +
		pair->mirror->config->refresh_ms * INT64CONST(1000);
	streaming(&in->mirrors[number]);
}

/* Has the mirror read from the topic before? */
static bool
has_positions(Incoming *mirror)
{
	int64		ours;
	int64		kafka;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	eventlog_mirror_pair_load(mirror->pair, 1, &ours, &kafka);
	CommitTransactionCommand();
	return kafka >= 0;
}

static void
op_done(EventlogMirrorIn *in, TimestampTz now)
{
	Incoming   *mirror = &in->mirrors[in->current];
	const EventlogKafkaMetadata *metadata;

	if (in->state == IN_START)
	{
		take_start(in, mirror);
		ask_for_partitions(in, now);
		return;
	}
	metadata = in->api->metadata(in->client);
	if (mirror->pattern)
	{
		in->at_work = mirror;
		find_topics(in, in->current, metadata);
		in->at_work = NULL;
		in->current++;
		ask_for_partitions(in, now);
		return;
	}
	if (metadata->ntopics != 1 || metadata->topics[0].code != 0 || metadata->topics[0].partitions == 0)
	{
		char		message[400];

		snprintf(message, sizeof(message), "topic \"%s\" is not there", mirror->pair->kafka_topic);
		if (mirror->failures >= GONE_FAILURES && has_positions(mirror))
			stop_mirror(mirror, message);
		else
			fail_mirror(mirror, message);
		in->current++;
	}
	else
	{
		in->at_work = mirror;
		take_partitions(in, mirror, &metadata->topics[0]);
		in->at_work = NULL;
		if (in->state == IN_START || in->client == NULL)
			return;
	}
	ask_for_partitions(in, now);
}

static void
open_client(EventlogMirrorIn *in, TimestampTz now)
{
	const EventlogMirrorPair *spec = in->mirrors[0].pair;
	EventlogKafkaOpen how = {
		.kind = EVENTLOG_KAFKA_CONSUMER,
		.group = spec->group,
		.options = spec->options,
		.noptions = spec->noptions
	};
	EventlogKafkaError error = {0};

	in->client = in->api->open(&how, &error);
	if (in->client == NULL)
		fail_all(in, "could not open a consumer", &error);
	else
		ask_for_partitions(in, now);
}

void
eventlog_mirror_in_step(EventlogMirrorIn *in, TimestampTz now, int64 *wait_ms)
{
	EventlogKafkaError error = {0};
	EventlogKafkaBatch *batch;

	*wait_ms = LOOK_MS;
	if (in->nmirrors == 0)
		return;
	if (in->state == IN_CLOSED)
	{
		if (now >= in->retry_at)
			open_client(in, now);
		else
			*wait_ms = Max((in->retry_at - now) / 1000, 1);
		return;
	}
	in->api->poll(in->client);
	eventlog_mirror_log(in->api, in->client, in->mirrors[0].pair->mirror->name);
	if (in->api->broker_error(in->client, &error))
	{
		for (int i = 0; i < in->nmirrors; i++)
		{
			pg_atomic_add_fetch_u64(&in->mirrors[i].pair->slot->broker_errors, 1);
			eventlog_mirror_slot_broker_error(in->mirrors[i].pair->slot, error.message);
		}
		if (error.fatal)
		{
			fail_all(in, "consumer failed", &error);
			return;
		}
	}
	if (in->state == IN_METADATA || in->state == IN_START)
	{
		switch (in->api->op_state(in->client, &error))
		{
			case EVENTLOG_KAFKA_OP_RUNNING:
				break;
			case EVENTLOG_KAFKA_OP_FAILED:
				fail_all(in, "could not ask for the topic", &error);
				return;
			case EVENTLOG_KAFKA_OP_DONE:
			case EVENTLOG_KAFKA_OP_NONE:
				op_done(in, now);
				*wait_ms = 0;
				break;
		}
	}
	if (in->client == NULL)
		return;
	batch = in->api->fetch(in->client, is_careful(in) ? CAREFUL_RECORDS : BATCH_RECORDS, BATCH_BYTES);
	if (batch != NULL)
	{
		take_batch(in, batch);
		*wait_ms = 0;
	}
	else if (in->state == IN_READY)
	{
		for (int i = 0; i < in->nmirrors; i++)
		{
			Incoming   *mirror = &in->mirrors[i];

			if (mirror->assigned)
				continue;
			if (mirror->retry_at <= now)
			{
				in->current = 0;
				ask_for_partitions(in, now);
				break;
			}
			*wait_ms = Min(*wait_ms, Max((mirror->retry_at - now) / 1000, 1));
		}
	}
}
