/*-------------------------------------------------------------------------
 *
 * mirror_out.c
 *	  A mirror from a topic to Kafka.
 *
 * Records below the last stable offset, flushed ones only, are produced in
 * Kafka transactions.  Each such transaction also commits, as the offsets of a
 * consumer group without members, the positions up to which it has got: so a
 * record and the word that it has been sent are committed together, and
 * whatever happens, Kafka itself knows where to go on.  PostgreSQL keeps lower
 * bounds of these positions, for when the group's offsets have expired.
 *
 * The transactional id belongs to the mirror.  Whoever initialises it fences
 * whoever had it, in the middle of a transaction, too; what that one had sent
 * is aborted.
 *
 * A client is opened when there is something to send, and closed when there
 * has been nothing for a while.
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
#include "mirror_task.h"
#include "wakeup.h"

/* Kafka's codes for records that are not as they have to be */
#define INVALID_MSG			2
#define INVALID_RECORD		87

#define OP_TIMEOUT_MS		10000
#define DEFAULT_BATCH_SIZE	1000000 /* librdkafka's */
#define CREATE_WAIT_MS		1000	/* for a topic that would be created if it is missing */
#define IDLE_CLOSE_MS		60000	/* when a client with nothing to do is closed */
#define LOOK_MS				1000	/* how often to look although nobody woke us */
#define FULL_WAIT_MS		2		/* the queue is full */
#define SAVE_MS				5000	/* how often lower bounds are written down */
#define STEP_BYTES			(8 * 1024 * 1024)	/* read in one step */

typedef enum OutState
{
	OUT_CLOSED,
	OUT_INIT,					/* registering the transactional id */
	OUT_TARGET,					/* looking up the topic */
	OUT_CREATE,					/* creating it */
	OUT_DESCRIBE,				/* asking how large its records may be */
	OUT_LETTERS,				/* looking up the dead-letter topic */
	OUT_CREATE_LETTERS,
	OUT_COMMITTED,				/* asking for the group's positions */
	OUT_READY,					/* a transaction may be open */
	OUT_COMMITTING
} OutState;

struct EventlogMirrorOut
{
	const EventlogMirrorPair *pair;
	const EventlogKafkaApi *api;
	EventlogKafkaClient *client;
	OutState	state;
	int			target;
	bool		created;		/* tried to create the topic */
	int			target_partitions;
	bool		described;
	int64		max_batch_bytes;	/* of the target; 0: not known */
	int64		batch_size;		/* option of the client; 0: its default */
	int			letters;		/* target for dead letters; -1: none */
	bool		letters_created;

	/*
	 * When the broker has refused a batch, which does not say because of which
	 * record, transactions get shorter until one has that record alone.
	 */
	int64		limit;			/* records in a transaction; 0: as configured */
	int			last_partition; /* of the record sent last */
	int64		last_offset;
	int			refused_partition;	/* the record that was refused; -1: none */
	int64		refused_offset;
	EventlogKafkaError refused;

	Oid			relid;			/* of our topic, when it was looked up last */
	int			npartitions;	/* ours */
	int64	   *position;		/* committed in Kafka: next offset to send */
	int64	   *sent;			/* in the open transaction */
	int64	   *end;			/* where the log ended when it was looked at; -1: unknown */
	int64	   *saved;			/* lower bounds that are written down */
	bool		known;			/* positions are */
	bool		restart;		/* to begin where resume_mirror() has said, and not
								 * yet committed */
	bool		pin;			/* the target's group does not have them all yet */

	bool		in_transaction;
	int64		transaction_records;
	int64		transaction_bytes;
	int64		transaction_letters;
	TimestampTz transaction_began;
	bool		all_sent;		/* there was no more below the LSO */

	uint64		activity;		/* of the topic, when all was sent; 0: unknown */
	TimestampTz used_at;
	TimestampTz saved_at;
	bool		keeping;		/* the commit under way has all positions */
	TimestampTz kept_at;		/* when all positions were committed last */
	TimestampTz retry_at;
	int			failures;
};

EventlogMirrorOut *
eventlog_mirror_out_create(const EventlogMirrorPair *pair, const EventlogKafkaApi *api)
{
	EventlogMirrorOut *out = MemoryContextAllocZero(TopMemoryContext, sizeof(EventlogMirrorOut));

	out->pair = pair;
	out->restart = pair->mirror->restart != NULL;
	out->api = api;
	out->letters = out->refused_partition = -1;
	return out;
}

int
eventlog_mirror_out_fd(EventlogMirrorOut *out)
{
	return out->client != NULL ? out->api->event_fd(out->client) : -1;
}

static void
close_client(EventlogMirrorOut *out)
{
	if (out->client != NULL)
	{
		pg_atomic_add_fetch_u64(&out->pair->slot->throttled_ms,
								out->api->throttled_ms(out->client));
		(void) out->api->close(out->client, 0);
	}
	out->client = NULL;
	out->state = OUT_CLOSED;
	out->known = out->keeping = false;
	out->in_transaction = false;
	out->transaction_records = out->transaction_bytes = out->transaction_letters = 0;
}

void
eventlog_mirror_out_close(EventlogMirrorOut *out)
{
	close_client(out);
}

void
eventlog_mirror_out_fail(EventlogMirrorOut *out, const char *message)
{
	close_client(out);
	out->retry_at = GetCurrentTimestamp() + eventlog_mirror_backoff_ms(out->failures++) * 1000;
	eventlog_mirror_slot_phase(out->pair->slot, EVENTLOG_MIRROR_FAILED, message);
}

/* It is not to go on by itself. */
static void
stop(EventlogMirrorOut *out, EventlogMirrorPhase phase, const char *message)
{
	close_client(out);
	out->retry_at = DT_NOEND;
	eventlog_mirror_slot_phase(out->pair->slot, phase, message);
}

/* The same, and not after a restart either, until somebody resumes it. */
static void
stop_for_good(EventlogMirrorOut *out, EventlogMirrorPhase phase, const char *message)
{
	bool		in_transaction = IsTransactionState();

	if (!in_transaction)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
	}
	eventlog_mirror_set_stopped(out->pair->mirror->id,
								psprintf("%s: %s", phase == EVENTLOG_MIRROR_DIVERGED ?
										 "diverged" : "stopped", message));
	if (!in_transaction)
		CommitTransactionCommand();
	ereport(LOG,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("mirror \"%s\" has stopped: %s", out->pair->mirror->name, message)));
	stop(out, phase, message);
}

/* An error of Kafka's; transient ones begin anew as well, after a wait. */
static void
fail_by_kafka(EventlogMirrorOut *out, const char *what, const EventlogKafkaError *error)
{
	char		message[700];

	snprintf(message, sizeof(message), "%s: %s (%s)", what, error->message, error->name);
	eventlog_mirror_out_fail(out, message);
}

/* ---- opening ---- */

static void open_client(EventlogMirrorOut *out);

static int
wanted_partitions(const EventlogMirrorOut *out)
{
	int			n = out->pair->mirror->config->topic_partitions;

	return n > 0 ? n : out->npartitions;
}

/*
 * Configs for the topic to be created: those of ours that say the same in
 * Kafka, and what the mirror sets.  Timestamps are kept, whatever their type.
 */
static int
creation_configs(EventlogMirrorOut *out, EventlogKafkaOption **configs)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[2] = {TEXTOID, JSONBOID};
	Datum		values[2] = {CStringGetTextDatum(out->pair->topic),
		JsonbPGetDatum(out->pair->mirror->config->topic_config)};
	EventlogCatalogSql session;
	MemoryContext old;
	int			n;

	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args("SELECT k, v FROM eventlog.topic,"
							  " LATERAL pg_catalog.jsonb_each_text(config) c (k, v)"
							  " WHERE name OPERATOR(pg_catalog.=) $1"
							  " AND k OPERATOR(pg_catalog.!~~) 'message.timestamp%'"
							  " AND k OPERATOR(pg_catalog.!~~) 'segment.%'"
							  " AND NOT $2 OPERATOR(pg_catalog.?) k"
							  " UNION ALL SELECT k, v FROM pg_catalog.jsonb_each_text($2) d (k, v)",
							  2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.topic");
	n = (int) SPI_processed;
	old = MemoryContextSwitchTo(context);
	*configs = palloc(sizeof(EventlogKafkaOption) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		(*configs)[i].name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		(*configs)[i].value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
	}
	MemoryContextSwitchTo(old);
	eventlog_catalog_sql_end(&session);
	return n;
}

static void
create_target(EventlogMirrorOut *out)
{
	EventlogKafkaOption *configs;
	EventlogKafkaError error = {0};
	int			n;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	n = creation_configs(out, &configs);
	out->created = true;
	out->state = OUT_CREATE;
	if (!out->api->start_create_topic(out->client, out->pair->kafka_topic, wanted_partitions(out),
									  out->pair->mirror->config->replication_factor,
									  configs, n, OP_TIMEOUT_MS, &error))
		fail_by_kafka(out, "could not create the topic", &error);
	CommitTransactionCommand();
}

/*
 * Do the partition counts fit?  Positions of source partition p are kept as the
 * group's offset of target partition p, so there must be one.
 */
static bool
partitions_fit(EventlogMirrorOut *out)
{
	char		message[256];

	out->target_partitions = out->api->target_partitions(out->client, out->target);
	if (out->target_partitions == out->npartitions)
		return true;
	if (!out->pair->mirror->config->repartition)
		snprintf(message, sizeof(message), "the topic has %d partitions, and Kafka's has %d",
				 out->npartitions, out->target_partitions);
	else if (out->target_partitions < out->npartitions && out->pair->transactional_id != NULL)
		snprintf(message, sizeof(message),
				 "the topic has %d partitions, and Kafka's has only %d, which cannot carry the positions",
				 out->npartitions, out->target_partitions);
	else
		return true;
	stop_for_good(out, EVENTLOG_MIRROR_STOPPED, message);
	return false;
}

/* Sizes are those of uncompressed batches. */
static bool
is_compressed(const EventlogMirrorOut *out)
{
	for (int i = out->pair->noptions - 1; i >= 0; i--)
	{
		const EventlogKafkaOption *option = &out->pair->options[i];

		if (strcmp(option->name, "compression.type") == 0 ||
			strcmp(option->name, "compression.codec") == 0)
			return strcmp(option->value, "none") != 0;
	}
	return false;
}

static void
ask_for_target(EventlogMirrorOut *out)
{
	bool		may_create = out->pair->mirror->config->create_topic && !out->created;
	EventlogKafkaError error = {0};

	out->state = OUT_TARGET;
	if (!out->api->start_target(out->client, out->pair->kafka_topic,
								out->created ? wanted_partitions(out) : 1,
								is_compressed(out) ? 0 : out->max_batch_bytes,
								may_create ? CREATE_WAIT_MS : OP_TIMEOUT_MS, &error))
		fail_by_kafka(out, "could not look up the topic", &error);
}

static void
open_client(EventlogMirrorOut *out)
{
	EventlogKafkaOpen how = {
		.kind = EVENTLOG_KAFKA_PRODUCER,
		.transactional_id = out->pair->transactional_id,
		.options = out->pair->options,
		.noptions = out->pair->noptions
	};
	EventlogKafkaError error = {0};
	EventlogKafkaOption *options = palloc(sizeof(EventlogKafkaOption) * (how.noptions + 1));
	char		batch_size[32];

	if (out->batch_size > 0)
	{
		memcpy(options, how.options, sizeof(EventlogKafkaOption) * how.noptions);
		snprintf(batch_size, sizeof(batch_size), "%lld", (long long) out->batch_size);
		options[how.noptions].name = "batch.size";
		options[how.noptions++].value = batch_size;
		how.options = options;
	}
	out->client = out->api->open(&how, &error);
	pfree(options);
	if (out->client == NULL)
	{
		fail_by_kafka(out, "could not open a producer", &error);
		return;
	}
	out->created = out->described = out->letters_created = false;
	out->letters = -1;
	if (how.transactional_id != NULL)
	{
		out->state = OUT_INIT;
		if (!out->api->start_init(out->client, OP_TIMEOUT_MS, &error))
			fail_by_kafka(out, "could not register the transactional id", &error);
	}
	else
		ask_for_target(out);
	out->used_at = GetCurrentTimestamp();
}

static void
ask_for_sizes(EventlogMirrorOut *out)
{
	EventlogKafkaError error = {0};

	out->described = true;
	out->state = OUT_DESCRIBE;
	if (!out->api->start_describe_topic(out->client, out->pair->kafka_topic, OP_TIMEOUT_MS, &error))
		fail_by_kafka(out, "could not ask for the topic's configs", &error);
}

/*
 * Batches must not be larger than the topic allows: if the client's would be,
 * it is opened anew.
 */
static void
take_sizes(EventlogMirrorOut *out)
{
	int			count;
	const EventlogKafkaConfig *configs = out->api->configs(out->client, &count);

	for (int i = 0; i < count; i++)
	{
		if (strcmp(configs[i].name, "max.message.bytes") == 0 && configs[i].value != NULL)
			out->max_batch_bytes = strtoll(configs[i].value, NULL, 10);
	}
	if (out->max_batch_bytes > 0 &&
		out->max_batch_bytes < (out->batch_size > 0 ? out->batch_size : DEFAULT_BATCH_SIZE))
	{
		out->batch_size = out->max_batch_bytes;
		close_client(out);
		open_client(out);
	}
	else
		ask_for_target(out);
}

static void
ask_for_letters(EventlogMirrorOut *out)
{
	const EventlogMirrorConfig *config = out->pair->mirror->config;
	EventlogKafkaError error = {0};

	out->state = OUT_LETTERS;
	if (!out->api->start_target(out->client, config->dead_letter_topic, 1, 0,
								config->create_topic && !out->letters_created ? CREATE_WAIT_MS : OP_TIMEOUT_MS,
								&error))
		fail_by_kafka(out, "could not look up the dead-letter topic", &error);
}

/* It takes whatever the mirror's topic does not. */
static void
create_letters(EventlogMirrorOut *out)
{
	const EventlogMirrorConfig *config = out->pair->mirror->config;
	EventlogKafkaOption size = {"max.message.bytes", "100000000"};
	EventlogKafkaError error = {0};

	out->letters_created = true;
	out->state = OUT_CREATE_LETTERS;
	if (!out->api->start_create_topic(out->client, config->dead_letter_topic, 1,
									  config->replication_factor, &size, 1, OP_TIMEOUT_MS, &error))
		fail_by_kafka(out, "could not create the dead-letter topic", &error);
}

static void
ask_for_positions(EventlogMirrorOut *out)
{
	EventlogKafkaOffset *partitions = palloc0(sizeof(EventlogKafkaOffset) * out->npartitions);
	EventlogKafkaError error = {0};

	for (int p = 0; p < out->npartitions; p++)
	{
		partitions[p].topic = out->pair->kafka_topic;
		partitions[p].partition = p;
	}
	out->state = OUT_COMMITTED;
	if (!out->api->start_committed(out->client, out->pair->group, partitions, out->npartitions,
								   OP_TIMEOUT_MS, &error))
		fail_by_kafka(out, "could not ask for positions", &error);
	pfree(partitions);
}

/* Where a partition begins that nobody has a position for. */
static int64
start_offset(const EventlogMirrorStart *start, int p, const EventlogMetaHead *meta, Relation leaf)
{
	int64		offset = meta->log_start_offset;
	Snapshot	snapshot;
	EventlogCursor *cur;

	switch (start->kind)
	{
		case EVENTLOG_START_EARLIEST:
			break;
		case EVENTLOG_START_LATEST:
			offset = meta->next_offset;
			break;
		case EVENTLOG_START_OFFSETS:
			for (int i = 0; i < start->noffsets; i++)
				if (start->partitions[i] == p)
					offset = start->offsets[i];
			break;
		case EVENTLOG_START_TIME:
			snapshot = eventlog_fresh_snapshot();
			cur = eventlog_cursor_open(leaf, snapshot, true);
			eventlog_cursor_seek_time(cur, start->time_ms);
			offset = eventlog_cursor_next(cur) ? cur->header.base_offset : meta->next_offset;
			eventlog_cursor_close(cur);
			UnregisterSnapshot(snapshot);
			break;
	}
	return Max(offset, meta->log_start_offset);
}

/*
 * Where to go on: at the group's offset, or else at the lower bound, or at the
 * start.  A position past the end of our log, or below what was sent for
 * certain, means that one side has lost something.
 */
static bool
take_positions(EventlogMirrorOut *out, EventlogTopic *topic)
{
	int			count;
	const EventlogKafkaOffset *offsets = out->api->offsets(out->client, &count);
	int64	   *kafka = palloc(sizeof(int64) * out->npartitions);
	Oid		   *leaves = eventlog_topic_copy_leaves(topic);

	out->pin = out->restart;
	eventlog_mirror_pair_load(out->pair, out->npartitions, out->saved, kafka);
	for (int p = 0; p < out->npartitions; p++)
	{
		int64		committed = p < count && out->pair->transactional_id != NULL ? offsets[p].offset : -1;
		EventlogMetaHead meta;
		uint32		layout;
		Relation	leaf = table_open(leaves[p], AccessShareLock);

		eventlog_storage_read_meta(leaf, &meta, &layout);
		if (out->restart)
			committed = start_offset(out->pair->mirror->restart, p, &meta, leaf);
		else if (committed > meta.next_offset || (committed >= 0 && committed < out->saved[p]))
		{
			char		message[512];

			snprintf(message, sizeof(message),
					 "partition %d: Kafka has offset %lld of ours, our log ends at %lld and %lld was sent for certain",
					 p, (long long) committed, (long long) meta.next_offset, (long long) out->saved[p]);
			table_close(leaf, AccessShareLock);
			stop_for_good(out, EVENTLOG_MIRROR_DIVERGED, message);
			return false;
		}
		if (committed < 0)
		{
			committed = out->saved[p];
			out->pin = true;
		}
		if (committed < 0)
			committed = start_offset(&out->pair->mirror->config->start, p, &meta, leaf);
		out->position[p] = out->sent[p] = committed;
		table_close(leaf, AccessShareLock);
	}
	out->known = true;
	return true;
}

/* ---- sending ---- */

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

static bool
begin_transaction(EventlogMirrorOut *out)
{
	EventlogKafkaError error = {0};

	if (out->pair->transactional_id != NULL && !out->api->begin(out->client, &error))
	{
		fail_by_kafka(out, "could not begin a transaction", &error);
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
		stop_for_good(out, EVENTLOG_MIRROR_STOPPED, message);
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
		stop_for_good(out, EVENTLOG_MIRROR_STOPPED, message);
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
static bool
is_refusal(EventlogMirrorOut *out, const EventlogKafkaDelivery *failure)
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
	close_client(out);
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

	if (out->sent[p] < cur->meta.log_start_offset)
		out->sent[p] = cur->meta.log_start_offset;
	out->end[p] = cur->meta.next_offset;
	eventlog_cursor_seek(cur, out->sent[p]);
	while (ok && *bytes < STEP_BYTES && !is_full(out) && eventlog_cursor_next(cur))
	{
		while (ok && !(out->limit > 0 && is_full(out)) && eventlog_batch_next(&cur->reader, &rec))
		{
			EventlogKafkaError error = {0};
			int64		size;

			if (rec.offset < out->sent[p])
				continue;
			if (!out->in_transaction && !begin_transaction(out))
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
						fail_by_kafka(out, what, &error);
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

/* The topic, locked against nothing; its partitions may have become more. */
static EventlogTopic *
get_topic(EventlogMirrorOut *out)
{
	EventlogTopic *topic = eventlog_topic_by_name(out->pair->topic, false);

	eventlog_topic_check_acl(topic, ACL_SELECT);
	if (out->relid != topic->relid)
		out->activity = 0;
	out->relid = topic->relid;
	if (out->npartitions != topic->npartitions)
	{
		int			n = topic->npartitions;

		if (out->npartitions > 0)
			close_client(out);
		out->position = out->position == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->position, sizeof(int64) * n);
		out->sent = out->sent == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->sent, sizeof(int64) * n);
		out->end = out->end == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->end, sizeof(int64) * n);
		out->saved = out->saved == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n) :
			repalloc(out->saved, sizeof(int64) * n);
		for (int p = 0; p < n; p++)
			out->end[p] = -1;
		out->npartitions = n;
		out->known = false;
	}
	return topic;
}

/*
 * Is it time to commit all positions, so that the group's offsets do not
 * expire?  At first too, since nobody knows how old they are, and so that a
 * start at the end is one for good.
 */
static bool
keep_is_due(const EventlogMirrorOut *out, TimestampTz now)
{
	int32		keep_ms = out->pair->mirror->config->idle_commit_ms;

	if (out->pair->transactional_id == NULL)
		return false;
	return out->pin || (keep_ms > 0 && now - out->kept_at >= keep_ms * INT64CONST(1000));
}

static void
start_commit(EventlogMirrorOut *out)
{
	EventlogKafkaOffset *positions = palloc0(sizeof(EventlogKafkaOffset) * out->npartitions);
	EventlogKafkaError error = {0};
	int			n = 0;
	bool		keep = keep_is_due(out, GetCurrentTimestamp());
	bool		ok;

	for (int p = 0; p < out->npartitions; p++)
	{
		if (out->sent[p] == out->position[p] && !keep)
			continue;
		positions[n].topic = out->pair->kafka_topic;
		positions[n].partition = p;
		positions[n++].offset = out->sent[p];
	}
	EVENTLOG_PAUSE_INTERRUPTIBLE("mirror-commit", out->pair->mirror->name);
	if (keep)
		out->keeping = true;
	out->state = OUT_COMMITTING;
	if (out->pair->transactional_id != NULL)
		ok = out->api->start_commit(out->client, out->pair->group, positions, n, OP_TIMEOUT_MS, &error);
	else
		ok = out->api->start_flush(out->client, OP_TIMEOUT_MS, &error);
	if (!ok)
		fail_by_kafka(out, "could not commit", &error);
	pfree(positions);
}

static void
send_records(EventlogMirrorOut *out, TimestampTz now, int64 *wait_ms)
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
	topic = get_topic(out);
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
			start_commit(out);
		*wait_ms = 0;
	}
}

/* Write lower bounds down, if they have moved. */
static void
save_positions(EventlogMirrorOut *out, TimestampTz now)
{
	bool		moved = false;

	out->saved_at = now;
	for (int p = 0; p < out->npartitions; p++)
		moved |= out->position[p] != out->saved[p];
	if (!moved)
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	for (int p = 0; p < out->npartitions; p++)
	{
		if (out->position[p] != out->saved[p])
			eventlog_mirror_pair_save(out->pair, p, out->position[p], -1);
	}
	CommitTransactionCommand();
	memcpy(out->saved, out->position, sizeof(int64) * out->npartitions);
}

static void
streaming(EventlogMirrorOut *out)
{
	if (out->pair->slot->phase != EVENTLOG_MIRROR_STREAMING)
		eventlog_mirror_slot_phase(out->pair->slot, EVENTLOG_MIRROR_STREAMING, NULL);
}

/* Kafka has the positions that resume_mirror() has given: now ours follow. */
static void
forget_restart(EventlogMirrorOut *out, TimestampTz now)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	for (int p = 0; p < out->npartitions; p++)
		eventlog_mirror_pair_save(out->pair, p, out->position[p], -1);
	eventlog_mirror_set_restart(out->pair->mirror->id, NULL);
	CommitTransactionCommand();
	memcpy(out->saved, out->position, sizeof(int64) * out->npartitions);
	out->saved_at = now;
	out->restart = false;
}

static void
committed(EventlogMirrorOut *out, TimestampTz now)
{
	EventlogKafkaDelivery failure;

	if (out->pair->transactional_id == NULL && out->api->delivery_failure(out->client, &failure))
	{
		if (!is_refusal(out, &failure))
			fail_by_kafka(out, "a record was not taken", &failure.error);
		return;
	}
	out->limit *= 2;
	if (out->limit >= out->pair->mirror->config->transaction_records)
		out->limit = 0;
	out->refused_partition = -1;
	pg_atomic_add_fetch_u64(&out->pair->slot->dead_letters, out->transaction_letters);
	memcpy(out->position, out->sent, sizeof(int64) * out->npartitions);
	out->in_transaction = false;
	if (out->keeping)
	{
		out->kept_at = now;
		out->pin = false;
		if (out->restart)
			forget_restart(out, now);
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
	streaming(out);
	if (out->pair->transactional_id == NULL || now - out->saved_at >= SAVE_MS * INT64CONST(1000))
		save_positions(out, now);
}

/* ---- the states ---- */

bool
eventlog_mirror_out_is_waiting(const EventlogMirrorOut *out)
{
	return out->state == OUT_READY ||
		(out->state == OUT_CLOSED && out->retry_at <= GetCurrentTimestamp());
}

bool
eventlog_mirror_out_has_news(const EventlogMirrorOut *out)
{
	return out->activity == 0 || eventlog_activity(out->relid) != out->activity;
}

/*
 * Another producer has our transactional id, or the broker has timed our
 * transaction out: it looks the same.  If the catalogue says that the mirror
 * is not ours any more, we are the one to stay away.
 */
static void
fail_fenced(EventlogMirrorOut *out, const EventlogKafkaError *error)
{
	if (eventlog_mirror_is_mine(out->pair->mirror))
		fail_by_kafka(out, "the transaction was ended by the broker", error);
	else
		stop(out, EVENTLOG_MIRROR_FENCED, "another server has taken the mirror over");
}

static void
op_failed(EventlogMirrorOut *out, const EventlogKafkaError *error)
{
	EventlogKafkaDelivery failure;

	if (out->state == OUT_TARGET && error->code == EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART &&
		out->pair->mirror->config->create_topic && !out->created)
	{
		create_target(out);
		return;
	}
	if (out->state == OUT_LETTERS && error->code == EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART &&
		out->pair->mirror->config->create_topic && !out->letters_created)
	{
		create_letters(out);
		return;
	}
	if (out->state == OUT_DESCRIBE && !error->retriable && !error->fatal)
	{
		/* we may not know: the broker will tell */
		ask_for_target(out);
		return;
	}
	if ((out->state == OUT_CREATE || out->state == OUT_CREATE_LETTERS) &&
		error->code == EVENTLOG_KAFKA_ERR_TOPIC_ALREADY_EXISTS)
	{
		if (out->state == OUT_CREATE)
			ask_for_target(out);
		else
			ask_for_letters(out);
		return;
	}
	if (out->state == OUT_COMMITTING && out->api->delivery_failure(out->client, &failure))
	{
		if (!is_refusal(out, &failure))
			fail_by_kafka(out, "a record was not taken", &failure.error);
		return;
	}
	if (out->state == OUT_COMMITTING && error->retriable)
	{
		start_commit(out);
		return;
	}
	if (error->fenced)
	{
		fail_fenced(out, error);
		return;
	}
	fail_by_kafka(out, out->state == OUT_COMMITTING ? "could not commit" : "could not connect", error);
}

static void
op_done(EventlogMirrorOut *out, TimestampTz now)
{
	EventlogTopic *topic;

	switch (out->state)
	{
		case OUT_INIT:
			ask_for_target(out);
			break;
		case OUT_CREATE:
			ask_for_target(out);
			break;
		case OUT_TARGET:
			out->target = out->api->target(out->client);
			if (!partitions_fit(out))
				break;
			if (!out->described)
				ask_for_sizes(out);
			else if (out->pair->mirror->config->dead_letter_topic != NULL)
				ask_for_letters(out);
			else
				ask_for_positions(out);
			break;
		case OUT_DESCRIBE:
			take_sizes(out);
			break;
		case OUT_CREATE_LETTERS:
			ask_for_letters(out);
			break;
		case OUT_LETTERS:
			out->letters = out->api->target(out->client);
			ask_for_positions(out);
			break;
		case OUT_COMMITTED:
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			topic = get_topic(out);
			if (out->client != NULL && take_positions(out, topic))
			{
				out->state = OUT_READY;
				streaming(out);
			}
			CommitTransactionCommand();
			if (out->state == OUT_READY && out->pair->transactional_id == NULL)
				save_positions(out, now);
			break;
		case OUT_COMMITTING:
			committed(out, now);
			break;
		case OUT_CLOSED:
		case OUT_READY:
			break;
	}
}

void
eventlog_mirror_out_step(EventlogMirrorOut *out, TimestampTz now, int64 *wait_ms)
{
	EventlogKafkaError error = {0};

	*wait_ms = LOOK_MS;
	if (out->state == OUT_CLOSED)
	{
		if (now < out->retry_at)
		{
			*wait_ms = out->retry_at == DT_NOEND ? LOOK_MS : Max((out->retry_at - now) / 1000, 1);
			return;
		}
		if (!eventlog_mirror_out_has_news(out) && !keep_is_due(out, now))
		{
			streaming(out);
			return;
		}
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		(void) get_topic(out);
		CommitTransactionCommand();
		open_client(out);
		return;
	}

	out->api->poll(out->client);
	eventlog_mirror_log(out->api, out->client, out->pair->mirror->name);
	if (out->api->broker_error(out->client, &error))
	{
		pg_atomic_add_fetch_u64(&out->pair->slot->broker_errors, 1);
		eventlog_mirror_slot_broker_error(out->pair->slot, error.message);
	}
	if (out->state == OUT_READY)
	{
		if (out->in_transaction || eventlog_mirror_out_has_news(out))
			send_records(out, now, wait_ms);
		else if (keep_is_due(out, now))
		{
			/* positions alone */
			if (begin_transaction(out))
				start_commit(out);
		}
		else if (now - out->used_at > IDLE_CLOSE_MS * INT64CONST(1000))
		{
			save_positions(out, now);
			close_client(out);
		}
		else if (now - out->saved_at >= SAVE_MS * INT64CONST(1000))
			save_positions(out, now);
		return;
	}
	switch (out->api->op_state(out->client, &error))
	{
		case EVENTLOG_KAFKA_OP_RUNNING:
			break;
		case EVENTLOG_KAFKA_OP_FAILED:
			op_failed(out, &error);
			*wait_ms = 1;
			break;
		case EVENTLOG_KAFKA_OP_DONE:
		case EVENTLOG_KAFKA_OP_NONE:
			op_done(out, now);
			*wait_ms = 0;
			break;
	}
}
