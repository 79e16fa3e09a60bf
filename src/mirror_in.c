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
 * back and the consumer closed.  The others go on at once from their positions
 * with a new one; that mirror later.
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

EventlogMirrorIn *
eventlog_mirror_in_create(EventlogMirrorPair *pairs, int npairs, const EventlogKafkaApi *api)
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
eventlog_in_free_partitions(Incoming *mirror)
{
	if (mirror->npartitions == 0)
		return;
	pfree(mirror->position);
	pfree(mirror->end);
	pfree(mirror->pending);
	pfree(mirror->has_records);
	pfree(mirror->paired);
	mirror->npartitions = 0;
}

void
eventlog_mirror_in_close(EventlogMirrorIn *in)
{
	close_client(in);
	for (int i = 0; i < in->nmirrors; i++)
		eventlog_in_free_partitions(&in->mirrors[i]);
	pfree(in->mirrors);
	pfree(in);
}

void
eventlog_in_fail_mirror(Incoming *mirror, const char *message)
{
	mirror->retry_at = GetCurrentTimestamp() + eventlog_mirror_backoff_ms(mirror->failures++) * 1000;
	mirror->assigned = false;
	eventlog_mirror_pair_failed(mirror->pair, message, mirror->failures, mirror->retry_at);
}

/* A mirror is not to go on until somebody resumes it. */
void
eventlog_in_stop_mirror(Incoming *mirror, EventlogMirrorPhase phase, const char *message)
{
	eventlog_mirror_pair_stop(mirror->pair, phase, message);
	mirror->retry_at = DT_NOEND;
	mirror->assigned = false;
}

/* The client is of no use: all begin anew. */
void
eventlog_in_fail_all(EventlogMirrorIn *in, const char *what, const EventlogKafkaError *error)
{
	char		message[700];

	snprintf(message, sizeof(message), "%s: %s (%s)", what, error->message, error->name);
	close_client(in);
	in->retry_at = GetCurrentTimestamp() + eventlog_mirror_backoff_ms(in->failures++) * 1000;
	for (int i = 0; i < in->nmirrors; i++)
	{
		if (in->mirrors[i].retry_at != DT_NOEND)
			eventlog_mirror_pair_failed(in->mirrors[i].pair, message, in->failures, in->retry_at);
	}
}

/*
 * Go on from the positions in our table, with a new client: there is one way to
 * begin, after a failed batch as when the worker starts.
 */
void
eventlog_in_reopen(EventlogMirrorIn *in)
{
	close_client(in);
	in->retry_at = 0;
}

void
eventlog_in_streaming(Incoming *mirror)
{
	if (mirror->pair->phase != EVENTLOG_MIRROR_STREAMING)
		eventlog_mirror_pair_phase(mirror->pair, EVENTLOG_MIRROR_STREAMING, NULL);
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
	pair->phase = EVENTLOG_MIRROR_STARTING;
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

		if (strncmp(name, "__", 2) == 0 || metadata->topics[i].code != 0)
			continue;
		topic = eventlog_mirror_map_topic(pair->mirror, name);
		if (topic == NULL)
			continue;
		ntopics++;
		if (!has_pair(in, pair->mirror, name) && !eventlog_mirror_would_loop(pair->mirror, topic, name))
			add_pair(in, pair, topic, name);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pair->slot->ntopics = ntopics;
	in->mirrors[number].retry_at = GetCurrentTimestamp() +
		pair->mirror->config->refresh_ms * INT64CONST(1000);
	eventlog_in_streaming(&in->mirrors[number]);
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

/* NULL if it is not there, or must not be seen. */
static const EventlogKafkaTopic *
find_topic(const EventlogKafkaMetadata *metadata, const char *name)
{
	for (int i = 0; i < metadata->ntopics; i++)
	{
		const EventlogKafkaTopic *topic = &metadata->topics[i];

		if (strcmp(topic->name, name) == 0)
			return topic->code == 0 && topic->partitions > 0 ? topic : NULL;
	}
	return NULL;
}

/* What Kafka says of a mirror's topic, or of all topics for a pattern. */
static void
take_metadata(EventlogMirrorIn *in, Incoming *mirror, const EventlogKafkaMetadata *metadata,
			  TimestampTz now)
{
	const EventlogKafkaTopic *topic;
	char		message[400];

	in->at_work = mirror;
	if (!eventlog_mirror_pair_admit(mirror->pair, metadata->cluster_id))
	{
		bool		was_assigned = mirror->assigned;

		mirror->assigned = false;
		mirror->retry_at = DT_NOEND;
		in->current++;
		if (was_assigned)
			eventlog_in_reopen(in);
		in->at_work = NULL;
		return;
	}
	if (mirror->pattern)
	{
		find_topics(in, in->current, metadata);
		in->current++;
		in->at_work = NULL;
		return;
	}
	topic = find_topic(metadata, mirror->pair->kafka_topic);
	if (topic != NULL && mirror->assigned && topic->partitions == mirror->npartitions)
	{
		mirror->look_at = now + mirror->pair->mirror->config->refresh_ms * INT64CONST(1000);
		in->current++;
		in->at_work = NULL;
		return;
	}
	if (topic != NULL && mirror->assigned)
		eventlog_in_reopen(in);
	else if (topic != NULL)
		eventlog_in_take_partitions(in, mirror, topic);
	else
	{
		bool		was_assigned = mirror->assigned;

		snprintf(message, sizeof(message), "topic \"%s\" is not there", mirror->pair->kafka_topic);
		if (mirror->failures >= GONE_FAILURES && has_positions(mirror))
			eventlog_in_stop_mirror(mirror, EVENTLOG_MIRROR_STOPPED, message);
		else
			eventlog_in_fail_mirror(mirror, message);
		in->current++;
		if (was_assigned)
			eventlog_in_reopen(in);
	}
	in->at_work = NULL;
}

/*
 * One answer serves all that are to be looked at: a consumer's questions wait
 * in line behind its fetches, so they are slow once it reads.
 */
static void
op_done(EventlogMirrorIn *in, TimestampTz now)
{
	const EventlogKafkaMetadata *metadata;

	if (in->state == IN_START || in->state == IN_END)
	{
		eventlog_in_take_start(in, &in->mirrors[in->current]);
		if (in->state == IN_METADATA)
			eventlog_in_ask_for_partitions(in, now);
		return;
	}
	metadata = in->api->metadata(in->client);
	for (in->current = 0; in->current < in->nmirrors;)
	{
		Incoming   *mirror = &in->mirrors[in->current];

		/* a question for one topic says nothing of others */
		if (!eventlog_in_is_due(mirror, now) ||
			(in->asked != NULL && mirror != in->asked))
		{
			in->current++;
			continue;
		}
		take_metadata(in, mirror, metadata, now);
		if (in->state != IN_METADATA)
			return;
	}
	in->current = 0;
	in->state = IN_READY;
}

/* How often some mirror wants statistics, in ms; 0: none does. */
static int
stats_interval(const EventlogMirrorIn *in)
{
	int			shortest = 0;

	for (int i = 0; i < in->nmirrors; i++)
	{
		int			ms = in->mirrors[i].pair->mirror->config->stats_ms;

		if (ms > 0 && (shortest == 0 || ms < shortest))
			shortest = ms;
	}
	return shortest;
}

static void
take_stats(EventlogMirrorIn *in, TimestampTz now)
{
	const char *json = in->api->stats(in->client);
	char	   *stats;

	if (json == NULL || now - in->stats_at < stats_interval(in) * INT64CONST(1000))
		return;
	in->stats_at = now;
	stats = eventlog_mirror_cut_stats(json);
	if (stats == NULL)
		return;
	for (int i = 0; i < in->nmirrors; i++)
		if (in->mirrors[i].pair->mirror->config->stats_ms > 0)
			eventlog_mirror_slot_stats(in->mirrors[i].pair->slot, stats);
	pfree(stats);
}

static void
open_client(EventlogMirrorIn *in, TimestampTz now)
{
	const EventlogMirrorPair *spec = in->mirrors[0].pair;
	EventlogKafkaOpen how = {
		.kind = EVENTLOG_KAFKA_CONSUMER,
		.group = spec->group,
		.stats_interval_ms = stats_interval(in),
		.options = spec->options,
		.noptions = spec->noptions
	};
	EventlogKafkaError error = {0};

	in->client = in->api->open(&how, &error);
	if (in->client == NULL)
		eventlog_in_fail_all(in, "could not open a consumer", &error);
	else
		eventlog_in_ask_for_partitions(in, now);
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
	take_stats(in, now);
	if (in->api->broker_error(in->client, &error))
	{
		for (int i = 0; i < in->nmirrors; i++)
		{
			pg_atomic_add_fetch_u64(&in->mirrors[i].pair->slot->broker_errors, 1);
			eventlog_mirror_slot_broker_error(in->mirrors[i].pair->slot, error.message);
		}
		if (error.fatal)
		{
			eventlog_in_fail_all(in, "consumer failed", &error);
			return;
		}
	}
	if (in->state == IN_METADATA || in->state == IN_START || in->state == IN_END)
	{
		switch (in->api->op_state(in->client, &error))
		{
			case EVENTLOG_KAFKA_OP_RUNNING:
				break;
			case EVENTLOG_KAFKA_OP_FAILED:
				eventlog_in_fail_all(in, "could not ask for the topic", &error);
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
		eventlog_in_take_batch(in, batch);
		*wait_ms = 0;
	}
	if (in->client != NULL && in->state == IN_READY)
	{
		eventlog_in_keep_idle_pairs(in, now);
		for (int i = 0; i < in->nmirrors; i++)
		{
			Incoming   *mirror = &in->mirrors[i];

			if (eventlog_in_is_due(mirror, now))
			{
				in->current = 0;
				eventlog_in_ask_for_partitions(in, now);
				break;
			}
			if (!mirror->assigned)
				*wait_ms = Min(*wait_ms, Max((mirror->retry_at - now) / 1000, 1));
		}
	}
}
