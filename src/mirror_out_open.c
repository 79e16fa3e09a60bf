/*-------------------------------------------------------------------------
 *
 * mirror_out_open.c
 *	  A mirror from a topic to Kafka: opening a client.
 *
 * Its topics are looked up, and made if they are to be, and the positions
 * are found from which to go on.  mirror_out.c has the whole.
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

void
eventlog_out_create_target(EventlogMirrorOut *out)
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
		eventlog_out_fail_by_kafka(out, "could not create the topic", &error);
	CommitTransactionCommand();
}

/*
 * Do the partition counts fit?  A group's offsets have to carry the positions of
 * all of ours.
 */
bool
eventlog_out_partitions_fit(EventlogMirrorOut *out)
{
	char		message[256];

	out->target_partitions = out->api->target_partitions(out->client, out->target);
	if (out->target_partitions == out->npartitions)
		return true;
	if (!out->pair->mirror->config->repartition)
		snprintf(message, sizeof(message), "the topic has %d partitions, and Kafka's has %d",
				 out->npartitions, out->target_partitions);
	else if (out->pair->transactional_id != NULL &&
			 !eventlog_out_can_carry(out->npartitions, out->target_partitions))
		snprintf(message, sizeof(message),
				 "the topic has %d partitions, and Kafka's has only %d, too few to carry the positions",
				 out->npartitions, out->target_partitions);
	else
		return true;
	eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_STOPPED, message);
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

void
eventlog_out_ask_for_target(EventlogMirrorOut *out)
{
	bool		may_create = out->pair->mirror->config->create_topic && !out->created;
	EventlogKafkaError error = {0};

	out->state = OUT_TARGET;
	if (!out->api->start_target(out->client, out->pair->kafka_topic,
								out->created ? wanted_partitions(out) : 1,
								is_compressed(out) ? 0 : out->max_batch_bytes,
								may_create ? CREATE_WAIT_MS : OP_TIMEOUT_MS, &error))
		eventlog_out_fail_by_kafka(out, "could not look up the topic", &error);
}

void
eventlog_out_open_client(EventlogMirrorOut *out)
{
	EventlogKafkaOpen how = {
		.kind = EVENTLOG_KAFKA_PRODUCER,
		.transactional_id = out->pair->transactional_id,
		.stats_interval_ms = out->pair->mirror->config->stats_ms,
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
		eventlog_out_fail_by_kafka(out, "could not open a producer", &error);
		return;
	}
	out->created = out->described = out->letters_created = false;
	out->letters = -1;
	if (how.transactional_id != NULL)
	{
		out->state = OUT_INIT;
		if (!out->api->start_init(out->client, OP_TIMEOUT_MS, &error))
			eventlog_out_fail_by_kafka(out, "could not register the transactional id", &error);
	}
	else
		eventlog_out_ask_for_target(out);
	out->used_at = GetCurrentTimestamp();
}

void
eventlog_out_ask_for_sizes(EventlogMirrorOut *out)
{
	EventlogKafkaError error = {0};

	out->described = true;
	out->state = OUT_DESCRIBE;
	if (!out->api->start_describe_topic(out->client, out->pair->kafka_topic, OP_TIMEOUT_MS, &error))
		eventlog_out_fail_by_kafka(out, "could not ask for the topic's configs", &error);
}

/*
 * Batches must not be larger than the topic allows: if the client's would be,
 * it is opened anew.
 */
void
eventlog_out_take_sizes(EventlogMirrorOut *out)
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
		eventlog_out_close_client(out);
		eventlog_out_open_client(out);
	}
	else
		eventlog_out_ask_for_target(out);
}

void
eventlog_out_ask_for_letters(EventlogMirrorOut *out)
{
	const EventlogMirrorConfig *config = out->pair->mirror->config;
	EventlogKafkaError error = {0};

	out->state = OUT_LETTERS;
	if (!out->api->start_target(out->client, config->dead_letter_topic, 1, 0,
								config->create_topic && !out->letters_created ? CREATE_WAIT_MS : OP_TIMEOUT_MS,
								&error))
		eventlog_out_fail_by_kafka(out, "could not look up the dead-letter topic", &error);
}

/* It takes whatever the mirror's topic does not. */
void
eventlog_out_create_letters(EventlogMirrorOut *out)
{
	const EventlogMirrorConfig *config = out->pair->mirror->config;
	EventlogKafkaOption size = {"max.message.bytes", "100000000"};
	EventlogKafkaError error = {0};

	out->letters_created = true;
	out->state = OUT_CREATE_LETTERS;
	if (!out->api->start_create_topic(out->client, config->dead_letter_topic, 1,
									  config->replication_factor, &size, 1, OP_TIMEOUT_MS, &error))
		eventlog_out_fail_by_kafka(out, "could not create the dead-letter topic", &error);
}

void
eventlog_out_ask_for_positions(EventlogMirrorOut *out)
{
	int			n = Min(out->npartitions, out->target_partitions);
	EventlogKafkaOffset *partitions = palloc0(sizeof(EventlogKafkaOffset) * n);
	EventlogKafkaError error = {0};

	for (int p = 0; p < n; p++)
	{
		partitions[p].topic = out->pair->kafka_topic;
		partitions[p].partition = p;
	}
	out->state = OUT_COMMITTED;
	if (!out->api->start_committed(out->client, out->pair->group, partitions, n,
								   OP_TIMEOUT_MS, &error))
		eventlog_out_fail_by_kafka(out, "could not ask for positions", &error);
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
 * What is written down of positions, and whether it is what Kafka has.  False if
 * it is of another topic that had the name of ours, and so is nothing.
 */
static bool
load_positions(EventlogMirrorOut *out)
{
	EventlogMirrorPosition *positions;
	int			n = eventlog_mirror_positions_load(out->pair->mirror->id, &positions);
	bool		ours = true;

	for (int p = 0; p < out->npartitions; p++)
	{
		out->saved[p] = -1;
		out->exact[p] = false;
	}
	for (int i = 0; i < n; i++)
	{
		EventlogMirrorPosition *position = &positions[i];

		if (strcmp(position->topic, out->pair->topic) != 0 ||
			strcmp(position->kafka_topic, out->pair->kafka_topic) != 0 ||
			position->partition >= out->npartitions)
			continue;
		if (position->relation != out->relid)
		{
			ours = false;
			continue;
		}
		out->saved[position->partition] = position->record_offset;
		out->exact[position->partition] = position->epoch >= 0;
	}
	return ours;
}

/*
 * The topic is not there.  Is it one that the mirror has had, which is then not
 * made anew, as it would lack all that it had?
 */
bool
eventlog_out_is_gone(EventlogMirrorOut *out, const EventlogKafkaError *error)
{
	bool		had = false;
	char		message[400];

	if (out->restart)
		return false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) load_positions(out);
	CommitTransactionCommand();
	for (int p = 0; p < out->npartitions; p++)
		had |= out->saved[p] >= 0;
	if (!had)
		return false;
	if (out->failures < GONE_FAILURES)
		eventlog_out_fail_by_kafka(out, "could not connect", error);
	else
	{
		snprintf(message, sizeof(message),
				 "topic \"%s\" is not in Kafka any more; resume_mirror() with a start fills a new one",
				 out->pair->kafka_topic);
		eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_STOPPED, message);
	}
	return true;
}

/*
 * Why a position that Kafka has, or lacks (-1), cannot be gone on from; false
 * if it can.
 */
static bool
is_diverged(EventlogMirrorOut *out, int p, const EventlogKafkaOffset *kafka,
			const EventlogMetaHead *meta, Relation leaf, char *message, size_t size)
{
	int64		committed = kafka->offset;
	int64		sent = out->saved[p];
	uint32		timeline;

	if (committed < 0 && out->pair->transactional_id != NULL && sent >= 0 && !out->exact[p])
		snprintf(message, size,
				 "partition %d: Kafka has no position of ours any more, as if the group or the topic had been deleted; all before offset %lld was sent, and perhaps more",
				 p, (long long) sent);
	else if (committed > meta->next_offset || (committed >= 0 && committed < sent))
		snprintf(message, size,
				 "partition %d: Kafka has offset %lld of ours, our log ends at %lld and %lld was sent for certain",
				 p, (long long) committed, (long long) meta->next_offset, (long long) sent);
	else if (committed >= 0 && eventlog_out_is_foreign(out, leaf, kafka, &timeline))
		snprintf(message, size,
				 "partition %d: Kafka has offset %lld of ours, committed on timeline %u; our log, which ends at %lld, has other records before it, of another timeline",
				 p, (long long) committed, timeline, (long long) meta->next_offset);
	else
		return false;
	return true;
}

/*
 * Where to go on: at the group's offset, or else where what is written down
 * says for certain, or at the start.  Sets "saved" for new partitions.
 * Partitions that never had a position get theirs written down at once.
 */
bool
eventlog_out_take_positions(EventlogMirrorOut *out, EventlogTopic *topic)
{
	int			count;
	const EventlogKafkaOffset *offsets = out->api->offsets(out->client, &count);
	Oid		   *leaves = eventlog_topic_copy_leaves(topic);
	bool		transactional = out->pair->transactional_id != NULL;
	bool		ours = load_positions(out);
	bool		had;
	EventlogMirrorStart earliest = {.kind = EVENTLOG_START_EARLIEST};

	/* its name counts for the mirror: what had it before was followed to its end */
	had = !ours || (transactional && eventlog_out_has_other_topic(out, offsets, count));
	if (had && !out->pair->mirror->pattern && !out->restart)
	{
		char		message[400];

		snprintf(message, sizeof(message),
				 "topic \"%s\" is another one than that of which records were sent", out->pair->topic);
		eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_DIVERGED, message);
		return false;
	}
	if (!ours)
		eventlog_mirror_positions_forget(out->pair->mirror->id, out->pair->kafka_topic);
	for (int p = 0; p < out->npartitions; p++)
		had |= out->saved[p] >= 0;
	if (transactional && !eventlog_out_may_own(out, offsets, count))
	{
		eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_FENCED,
								   "another server, which has been promoted or was told to go on, has taken the mirror over; resume_mirror() with a start takes it back");
		return false;
	}
	out->pin = true;
	for (int p = 0; p < out->npartitions; p++)
	{
		EventlogKafkaOffset committed = {.partition = p,.offset = -1};
		int64		position;
		EventlogMetaHead meta;
		uint32		layout;
		char		message[512];
		Relation	leaf = table_open(leaves[p], AccessShareLock);

		eventlog_storage_read_meta(leaf, &meta, &layout);
		if (transactional)
			committed = eventlog_out_committed_position(out, offsets, count, p);
		position = committed.offset;
		if (out->restart)
			position = start_offset(out->pair->mirror->restart, p, &meta, leaf);
		else if (is_diverged(out, p, &committed, &meta, leaf, message, sizeof(message)))
		{
			table_close(leaf, AccessShareLock);
			eventlog_out_stop_for_good(out, EVENTLOG_MIRROR_DIVERGED, message);
			return false;
		}
		if (position < 0)
			position = out->saved[p];
		if (position < 0)
		{
			/* a partition that came later is mirrored from its beginning, as is a topic */
			position = start_offset(had ? &earliest : &out->pair->mirror->config->start, p, &meta, leaf);
			eventlog_out_save_position(out, p, position, true);
		}
		out->position[p] = out->sent[p] = position;
		out->moved_at[p] = GetCurrentTimestamp();
		table_close(leaf, AccessShareLock);
	}
	out->known = true;
	return true;
}
