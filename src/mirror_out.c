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
#include "mirror_out.h"
#include "wakeup.h"

EventlogMirrorOut *
eventlog_mirror_out_create(EventlogMirrorPair *pair, const EventlogKafkaApi *api)
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

void
eventlog_out_close_client(EventlogMirrorOut *out)
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
	eventlog_out_close_client(out);
	if (out->npartitions > 0)
	{
		pfree(out->position);
		pfree(out->sent);
		pfree(out->end);
		pfree(out->saved);
		pfree(out->exact);
		pfree(out->moved_at);
		pfree(out->paired);
	}
	pfree(out);
}

void
eventlog_mirror_out_fail(EventlogMirrorOut *out, const char *message)
{
	eventlog_out_close_client(out);
	/* what has been read is not sent: there is work, even if nothing new comes */
	out->activity = 0;
	out->retry_at = GetCurrentTimestamp() + eventlog_mirror_backoff_ms(out->failures++) * 1000;
	eventlog_mirror_pair_failed(out->pair, message, out->failures, out->retry_at);
}

/* It is not to go on by itself. */
static void
stop(EventlogMirrorOut *out, EventlogMirrorPhase phase, const char *message)
{
	eventlog_out_close_client(out);
	out->retry_at = DT_NOEND;
	eventlog_mirror_pair_phase(out->pair, phase, message);
}

/* The same, and not after a restart either, until somebody resumes it. */
void
eventlog_out_stop_for_good(EventlogMirrorOut *out, EventlogMirrorPhase phase, const char *message)
{
	eventlog_mirror_pair_stop(out->pair, phase, message);
	eventlog_out_close_client(out);
	out->retry_at = DT_NOEND;
}

static void
tell_failure(EventlogMirrorOut *out, const char *what, const EventlogKafkaError *error,
			 int failures, TimestampTz due)
{
	char		message[700];

	snprintf(message, sizeof(message), "%s: %s (%s)", what, error->message, error->name);
	eventlog_mirror_pair_failed(out->pair, message, failures, due);
}

/* An error of Kafka's; transient ones begin anew as well, after a wait. */
void
eventlog_out_fail_by_kafka(EventlogMirrorOut *out, const char *what, const EventlogKafkaError *error)
{
	char		message[700];

	snprintf(message, sizeof(message), "%s: %s (%s)", what, error->message, error->name);
	eventlog_mirror_out_fail(out, message);
}

/* ---- the states ---- */

bool
eventlog_mirror_out_is_waiting(const EventlogMirrorOut *out)
{
	return out->state == OUT_READY ||
		(out->state == OUT_CLOSED && out->retry_at <= GetCurrentTimestamp());
}

void
eventlog_mirror_out_check_topic(EventlogMirrorOut *out)
{
	EventlogTopic *topic = eventlog_topic_by_name(out->pair->topic, true);

	/* nothing that happens to the new one would be seen by the old one's number */
	if (topic == NULL || topic->relid != out->relid)
		out->activity = 0;
}

bool
eventlog_mirror_out_has_news(const EventlogMirrorOut *out)
{
	return out->activity == 0 || eventlog_activity(out->relid) != out->activity;
}

/*
 * Another producer has our transactional id, or the broker has timed our
 * transaction out: it looks the same.  If the catalogue says that the mirror
 * is not ours any more, we are the one to stay away.  Else a new client finds
 * out, before it sends anything, by who has committed last: see
 * mirror_out_owner.c.
 */
static void
fail_fenced(EventlogMirrorOut *out, const EventlogKafkaError *error)
{
	if (eventlog_mirror_is_mine(out->pair->mirror))
		eventlog_out_fail_by_kafka(out, "the transaction was ended by the broker", error);
	else
		stop(out, EVENTLOG_MIRROR_FENCED, "another worker has taken the mirror over");
}

/*
 * The cluster has answered, or may have: is the mirror to go on?  Before the
 * topic is made, too.
 */
static bool
is_admitted(EventlogMirrorOut *out, bool answered)
{
	char		cluster[EVENTLOG_MIRROR_CLUSTER_BYTES];

	answered |= out->api->cluster_id(out->client, cluster, sizeof(cluster));
	if (!answered || eventlog_mirror_pair_admit(out->pair, cluster))
		return true;
	eventlog_out_close_client(out);
	out->retry_at = DT_NOEND;
	return false;
}

static void
op_failed(EventlogMirrorOut *out, const EventlogKafkaError *error)
{
	EventlogKafkaDelivery failure;

	if (out->state == OUT_TARGET && !is_admitted(out, false))
		return;
	if (out->state == OUT_TARGET && error->code == EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART &&
		eventlog_out_is_gone(out, error))
		return;
	if (out->state == OUT_TARGET && error->code == EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART &&
		out->pair->mirror->config->create_topic && !out->created)
	{
		eventlog_out_create_target(out);
		return;
	}
	if (out->state == OUT_LETTERS && error->code == EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART &&
		out->pair->mirror->config->create_topic && !out->letters_created)
	{
		eventlog_out_create_letters(out);
		return;
	}
	if (out->state == OUT_DESCRIBE && !error->retriable && !error->fatal)
	{
		/* we may not know: the broker will tell */
		eventlog_out_ask_for_target(out);
		return;
	}
	if ((out->state == OUT_CREATE || out->state == OUT_CREATE_LETTERS) &&
		error->code == EVENTLOG_KAFKA_ERR_TOPIC_ALREADY_EXISTS)
	{
		if (out->state == OUT_CREATE)
			eventlog_out_ask_for_target(out);
		else
			eventlog_out_ask_for_letters(out);
		return;
	}
	if (out->state == OUT_PAIRING && !error->fatal)
	{
		out->state = OUT_READY; /* another time, then */
		return;
	}
	if (out->state == OUT_COMMITTING && out->api->delivery_failure(out->client, &failure))
	{
		if (!eventlog_out_is_refusal(out, &failure))
			eventlog_out_fail_by_kafka(out, "a record was not taken", &failure.error);
		return;
	}
	if (out->state == OUT_COMMITTING && error->retriable)
	{
		/* what has been done of it is not done twice */
		tell_failure(out, "could not commit", error, ++out->failures, GetCurrentTimestamp());
		eventlog_out_start_commit(out);
		return;
	}
	if (error->fenced)
	{
		fail_fenced(out, error);
		return;
	}
	eventlog_out_fail_by_kafka(out, out->state == OUT_COMMITTING ? "could not commit" : "could not connect", error);
}

static void
op_done(EventlogMirrorOut *out, TimestampTz now)
{
	EventlogTopic *topic;

	switch (out->state)
	{
		case OUT_INIT:
			eventlog_out_ask_for_target(out);
			break;
		case OUT_CREATE:
			eventlog_out_ask_for_target(out);
			break;
		case OUT_TARGET:
			if (!is_admitted(out, true))
				break;
			out->target = out->api->target(out->client);
			if (!eventlog_out_partitions_fit(out))
				break;
			if (!out->described)
				eventlog_out_ask_for_sizes(out);
			else if (out->pair->mirror->config->dead_letter_topic != NULL)
				eventlog_out_ask_for_letters(out);
			else
				eventlog_out_ask_for_positions(out);
			break;
		case OUT_DESCRIBE:
			eventlog_out_take_sizes(out);
			break;
		case OUT_CREATE_LETTERS:
			eventlog_out_ask_for_letters(out);
			break;
		case OUT_LETTERS:
			out->letters = out->api->target(out->client);
			eventlog_out_ask_for_positions(out);
			break;
		case OUT_COMMITTED:
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			topic = eventlog_out_get_topic(out);
			if (out->client != NULL && eventlog_out_take_positions(out, topic))
			{
				out->state = OUT_READY;
				eventlog_out_streaming(out);
			}
			CommitTransactionCommand();
			if (out->state == OUT_READY && out->restart && out->pair->transactional_id == NULL)
				eventlog_out_forget_restart(out, now);
			break;
		case OUT_COMMITTING:
			eventlog_out_committed(out, now);
			break;
		case OUT_PAIRING:
			eventlog_out_take_ends(out);
			break;
		case OUT_CLOSED:
		case OUT_READY:
			break;
	}
}

static void
take_stats(EventlogMirrorOut *out, TimestampTz now)
{
	const char *json = out->api->stats(out->client);
	char	   *stats;

	if (json == NULL || now - out->stats_at < out->pair->mirror->config->stats_ms * INT64CONST(1000))
		return;
	out->stats_at = now;
	stats = eventlog_mirror_cut_stats(json);
	if (stats == NULL)
		return;
	eventlog_mirror_slot_stats(out->pair->slot, stats);
	pfree(stats);
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
		if (!eventlog_mirror_out_has_news(out) && !eventlog_out_keep_is_due(out, now))
		{
			eventlog_out_streaming(out);
			return;
		}
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		(void) eventlog_out_get_topic(out);
		CommitTransactionCommand();
		eventlog_out_open_client(out);
		return;
	}

	out->api->poll(out->client);
	eventlog_mirror_log(out->api, out->client, out->pair->mirror->name);
	take_stats(out, now);
	if (out->api->broker_error(out->client, &error))
	{
		pg_atomic_add_fetch_u64(&out->pair->slot->broker_errors, 1);
		eventlog_mirror_slot_broker_error(out->pair->slot, error.message);
	}
	if (out->state == OUT_READY)
	{
		if (out->pin && !out->in_transaction && out->pair->transactional_id != NULL)
		{
			/*
			 * First the positions where it begins, in its name: until Kafka has
			 * them, those that are written down are exact.
			 */
			if (eventlog_out_begin_transaction(out))
				eventlog_out_start_commit(out);
		}
		else if (eventlog_out_pairs_are_due(out, now, false))
			eventlog_out_ask_for_ends(out, now);
		else if (out->in_transaction || eventlog_mirror_out_has_news(out))
			eventlog_out_send_records(out, now, wait_ms);
		else if (eventlog_out_keep_is_due(out, now))
		{
			/* positions alone */
			if (eventlog_out_begin_transaction(out))
				eventlog_out_start_commit(out);
		}
		else if (now - out->used_at > IDLE_CLOSE_MS * INT64CONST(1000))
		{
			/*
			 * Behind the last record there may be what was rolled back: retention
			 * takes it too, some day.
			 */
			if (out->pair->transactional_id != NULL &&
				memcmp(out->sent, out->position, sizeof(int64) * out->npartitions) != 0)
			{
				if (eventlog_out_begin_transaction(out))
					eventlog_out_start_commit(out);
				return;
			}
			memcpy(out->position, out->sent, sizeof(int64) * out->npartitions);
			if (out->paired_at < out->used_at && eventlog_out_pairs_are_due(out, now, true))
			{
				eventlog_out_ask_for_ends(out, now);
				return;
			}
			eventlog_out_save_positions(out, now);
			eventlog_out_close_client(out);
		}
		else if (now - out->saved_at >= SAVE_MS * INT64CONST(1000))
			eventlog_out_save_positions(out, now);
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
