/*-------------------------------------------------------------------------
 *
 * mirror_in_assign.c
 *	  Mirrors from Kafka into topics: which partitions are read, and from where.
 *
 * mirror_in.c has the whole.
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
#include "mirror_in.h"
#include "payload.h"
#include "produce.h"
#include "subtransaction.h"

/*
 * Is the mirror's topic to be looked at?  To be assigned, or once in a while,
 * since its partitions may become more, or the topic go.
 */
bool
eventlog_in_is_due(const Incoming *mirror, TimestampTz now)
{
	return (mirror->assigned ? mirror->look_at : mirror->retry_at) <= now;
}

/* The next mirror whose topic is to be looked at, from "current" on. */
static Incoming *
next_unassigned(EventlogMirrorIn *in, TimestampTz now)
{
	for (; in->current < in->nmirrors; in->current++)
	{
		Incoming   *mirror = &in->mirrors[in->current];

		if (eventlog_in_is_due(mirror, now))
			return mirror;
	}
	in->current = 0;
	return NULL;
}

void
eventlog_in_ask_for_partitions(EventlogMirrorIn *in, TimestampTz now)
{
	Incoming   *mirror = next_unassigned(in, now);
	EventlogKafkaError error = {0};

	if (mirror == NULL)
	{
		in->state = IN_READY;
		return;
	}
	in->state = IN_METADATA;
	in->asked = in->nmirrors == 1 && !mirror->pattern ? mirror : NULL;
	if (!in->api->start_metadata(in->client, in->asked != NULL ? mirror->pair->kafka_topic : NULL,
								 OP_TIMEOUT_MS, &error))
		eventlog_in_fail_all(in, "could not ask for the topic", &error);
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
		in->current++;
		in->state = IN_METADATA;
		mirror->assigned = true;
		mirror->look_at = GetCurrentTimestamp() + mirror->pair->mirror->config->refresh_ms * INT64CONST(1000);
		eventlog_in_streaming(mirror);
	}
	else
		eventlog_in_fail_all(in, "could not assign partitions", &error);
	pfree(partitions);
}

/* Where the mirror is to start, as it was created or resumed. */
static const EventlogMirrorStart *
start_of(const Incoming *mirror)
{
	const EventlogMirror *def = mirror->pair->mirror;

	return mirror->restart ? def->restart : &def->config->start;
}

/* Where a partition starts that we have no position for; at a time: the end so far. */
static int64
start_offset(const EventlogMirrorStart *at, int p)
{
	if (at->kind == EVENTLOG_START_LATEST || at->kind == EVENTLOG_START_TIME)
		return EVENTLOG_KAFKA_OFFSET_END;
	for (int i = 0; at->kind == EVENTLOG_START_OFFSETS && i < at->noffsets; i++)
		if (at->partitions[i] == p)
			return at->offsets[i];
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

/*
 * Keep where the mirror starts before anything is read: asked again, the answer
 * would be another one.
 */
static void
save_start(Incoming *mirror)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int p = 0; p < mirror->npartitions; p++)
		if (mirror->position[p] >= 0)
			eventlog_mirror_pair_save(mirror->pair, p, -1, mirror->position[p]);
	if (mirror->restart)
		eventlog_mirror_set_restart(mirror->pair->mirror->id, NULL);
	PopActiveSnapshot();
	CommitTransactionCommand();
	mirror->restart = false;
}

/*
 * Assign the mirror's partitions, once it is known where they start.  The end
 * and times are asked for.  So is the beginning, if the mirror is started anew:
 * then positions that are no longer true are to be replaced.
 */
static void
start(EventlogMirrorIn *in, Incoming *mirror, InState state, bool is_new)
{
	const EventlogMirrorStart *at = start_of(mirror);
	EventlogKafkaOffset *times = palloc0(sizeof(EventlogKafkaOffset) * mirror->npartitions);
	EventlogKafkaError error = {0};
	int			n = 0;

	for (int p = 0; p < mirror->npartitions; p++)
	{
		int64		time = mirror->position[p];

		if (time >= 0 || (time == EVENTLOG_KAFKA_OFFSET_BEGINNING && !mirror->restart))
			continue;
		if (time == EVENTLOG_KAFKA_OFFSET_END && at->kind == EVENTLOG_START_TIME && state == IN_START)
			time = at->time_ms;
		times[n].topic = mirror->pair->kafka_topic;
		times[n].partition = p;
		times[n++].offset = time;
	}
	if (n > 0)
	{
		in->state = state;
		if (!in->api->start_offsets_for_times(in->client, times, n, OP_TIMEOUT_MS, &error))
			eventlog_in_fail_all(in, "could not ask for offsets", &error);
	}
	else
	{
		if (is_new)
			save_start(mirror);
		assign(in, mirror);
	}
	pfree(times);
}

/* The topic's partitions are known: load positions, and see where to start. */
void
eventlog_in_take_partitions(EventlogMirrorIn *in, Incoming *mirror, const EventlogKafkaTopic *topic)
{
	int			n = topic->partitions;
	int64	   *ours;
	bool		had = false;
	EventlogTopic *our_topic;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	create_topics(mirror, n);
	our_topic = eventlog_topic_by_name(mirror->pair->topic, false);
	eventlog_mirror_check_target(mirror->pair->mirror->owner, our_topic);
	if (our_topic->npartitions != n && !mirror->pair->mirror->config->repartition)
	{
		char		message[256];

		snprintf(message, sizeof(message), "Kafka's topic has %d partitions, and ours has %d",
				 n, our_topic->npartitions);
		eventlog_in_stop_mirror(mirror, EVENTLOG_MIRROR_STOPPED, message);
		CommitTransactionCommand();
		in->current++;
		return;
	}
	eventlog_in_free_partitions(mirror);
	mirror->npartitions = n;
	mirror->position = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n);
	mirror->end = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n);
	mirror->has_records = MemoryContextAllocZero(TopMemoryContext, sizeof(bool) * n);
	mirror->paired = MemoryContextAllocZero(TopMemoryContext, sizeof(bool) * n);
	mirror->pending = MemoryContextAlloc(TopMemoryContext, sizeof(int64) * n);
	ours = palloc(sizeof(int64) * n);
	eventlog_mirror_pair_load(mirror->pair, n, ours, mirror->position);
	CommitTransactionCommand();
	for (int p = 0; p < n; p++)
		had |= mirror->position[p] >= 0;
	for (int p = 0; p < n; p++)
	{
		if (mirror->restart)
			mirror->position[p] = -1;
		mirror->pending[p] = mirror->end[p] = -1;
		if (mirror->position[p] >= 0)
			continue;

		/* a partition that came later is mirrored from its beginning */
		if (had && !mirror->restart)
			mirror->position[p] = EVENTLOG_KAFKA_OFFSET_BEGINNING;
		else
			mirror->position[p] = start_offset(start_of(mirror), p);
	}
	start(in, mirror, IN_START, !had || mirror->restart);
}

void
eventlog_in_take_start(EventlogMirrorIn *in, Incoming *mirror)
{
	int			count;
	const EventlogKafkaOffset *offsets = in->api->offsets(in->client, &count);
	char		message[400];

	for (int i = 0; i < count; i++)
	{
		const EventlogKafkaOffset *answer = &offsets[i];

		/* there need not be a record at a time yet, but there is an end */
		if (answer->code != 0 || (answer->offset < 0 && in->state == IN_END))
		{
			snprintf(message, sizeof(message),
					 "topic \"%s\", partition %d: could not ask where to start (error %d)",
					 answer->topic, answer->partition, answer->code);
			eventlog_in_fail_mirror(mirror, message);
			in->current++;
			in->state = IN_METADATA;
			return;
		}
		mirror->position[answer->partition] =
			answer->offset >= 0 ? answer->offset : EVENTLOG_KAFKA_OFFSET_END;
	}
	in->at_work = mirror;
	start(in, mirror, IN_END, true);
	in->at_work = NULL;
}
