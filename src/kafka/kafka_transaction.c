/*-------------------------------------------------------------------------
 *
 * kafka_transaction.c
 *	  Transactions: who may, begin, commit with positions, abort; and the
 *	  records that a target did not take.
 *
 * librdkafka's calls are made in slices of time, so that an operation ends soon
 * after its deadline, or after the client is closed.  Only
 * rd_kafka_send_offsets_to_transaction() goes on regardless; then the helper
 * thread stays in it, and close() leaves it there.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

/* Longest slice (ms). */
#define SLICE		200

/* Between two attempts (ms). */
#define PAUSE		20

/* In the operation's error; true if it may be tried again. */
static bool
note_failure(EventlogKafkaClient *client, rd_kafka_error_t *from, const char *what)
{
	eventlog_kafka_take_error(client, &client->op.error, from, what);
	return client->op.error.retriable;
}

static void
succeeded(EventlogKafkaClient *client)
{
	memset(&client->op.error, 0, sizeof(client->op.error));
}

/* --- init --- */

static void
run_init(EventlogKafkaClient *client)
{
	int			slice;

	while ((slice = eventlog_kafka_op_slice(client, SLICE)) > 0)
	{
		rd_kafka_error_t *failure = rd_kafka_init_transactions(client->rk, slice);

		if (failure == NULL)
		{
			succeeded(client);
			return;
		}
		if (!note_failure(client, failure, "init_transactions"))
			return;
		eventlog_kafka_op_pause(client, PAUSE);
	}
	eventlog_kafka_op_expired(client, "init_transactions");
}

static bool
check_transactional(EventlogKafkaClient *client, EventlogKafkaError *error)
{
	if (client->transactional)
		return true;
	eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR__STATE,
							 "this client has no transactions");
	return false;
}

bool
eventlog_kafka_start_init(EventlogKafkaClient *client, int timeout_ms,
						  EventlogKafkaError *error)
{
	if (!check_transactional(client, error) || !eventlog_kafka_op_begin(client, error))
		return false;
	eventlog_kafka_op_start(client, run_init, timeout_ms);
	return true;
}

/* --- begin --- */

bool
eventlog_kafka_begin(EventlogKafkaClient *client, EventlogKafkaError *error)
{
	rd_kafka_error_t *failure;
	rd_kafka_resp_err_t fatal;
	char		reason[256];

	if (!check_transactional(client, error) || !eventlog_kafka_op_begin(client, error))
		return false;

	/* librdkafka may be late to refuse one that has just been fenced */
	fatal = rd_kafka_fatal_error(client->rk, reason, sizeof(reason));
	if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		eventlog_kafka_set_error(client, error, fatal, "begin_transaction");
		return false;
	}
	failure = rd_kafka_begin_transaction(client->rk);
	if (failure != NULL)
	{
		eventlog_kafka_take_error(client, error, failure, "begin_transaction");
		return false;
	}
	client->in_transaction = true;
	client->positions_sent = false;
	client->produced_bytes = 0;
	pthread_mutex_lock(&client->lock);
	memset(&client->delivery, 0, sizeof(client->delivery));
	pthread_mutex_unlock(&client->lock);
	return true;
}

/* --- commit --- */

/* Send the positions; false with the operation's error. */
static bool
send_positions(EventlogKafkaClient *client)
{
	rd_kafka_topic_partition_list_t *list = eventlog_kafka_offset_list(client);
	rd_kafka_consumer_group_metadata_t *group =
	rd_kafka_consumer_group_metadata_new(client->op.group);
	bool		again = true;
	bool		asked = false;
	int			slice;

	while (again && !client->positions_sent &&
		   (slice = eventlog_kafka_op_slice(client, SLICE)) > 0)
	{
		rd_kafka_error_t *failure;

		failure = rd_kafka_send_offsets_to_transaction(client->rk, list, group, slice);
		if (failure == NULL)
			client->positions_sent = true;
		else
		{
			again = note_failure(client, failure, "send_offsets_to_transaction");
			/* the transaction failed meanwhile: asked again, librdkafka says why */
			if (client->op.error.code == RD_KAFKA_RESP_ERR__STATE && !asked)
				again = asked = true;
			if (again)
				eventlog_kafka_op_pause(client, PAUSE);
		}
	}
	rd_kafka_consumer_group_metadata_destroy(group);
	rd_kafka_topic_partition_list_destroy(list);
	if (!client->positions_sent)
		eventlog_kafka_op_expired(client, "send_offsets_to_transaction");
	return client->positions_sent;
}

/*
 * The positions go first: while they are under way, so are the records.  The
 * broker takes them as part of the transaction, in whatever order they come.
 *
 * commit_transaction() waits for the records.  If one of them fails it notices
 * only in the next slice, and only when the delivery error has been taken.
 */
static void
run_commit(EventlogKafkaClient *client)
{
	int			slice;

	if (client->op.noffsets > 0 && !client->positions_sent)
	{
		/* librdkafka would stall for a minute where there is no coordinator yet */
		if (!client->group_known && !eventlog_kafka_ask_group(client, NULL))
			return;
		if (!send_positions(client))
			return;
	}
	while ((slice = eventlog_kafka_op_slice(client, SLICE)) > 0)
	{
		rd_kafka_error_t *failure = rd_kafka_commit_transaction(client->rk, slice);

		if (failure == NULL)
		{
			client->in_transaction = false;
			succeeded(client);
			return;
		}
		if (!note_failure(client, failure, "commit_transaction"))
			return;
		eventlog_kafka_serve(client);
	}
	eventlog_kafka_op_expired(client, "commit_transaction");
}

bool
eventlog_kafka_start_commit(EventlogKafkaClient *client, const char *group,
							const EventlogKafkaOffset *positions, int count,
							int timeout_ms, EventlogKafkaError *error)
{
	if (!check_transactional(client, error) || !eventlog_kafka_op_begin(client, error) ||
		!eventlog_kafka_copy_offsets(client, positions, count, error))
		return false;
	client->op.group = eventlog_kafka_copy(&client->op.pool, group);
	if (count > 0 && client->op.group == NULL)
		return eventlog_kafka_out_of_memory(error);
	eventlog_kafka_op_start(client, run_commit, timeout_ms);
	return true;
}

/* --- abort --- */

static void
run_abort(EventlogKafkaClient *client)
{
	int			slice;

	/* short, since what is dropped counts until its delivery error is taken */
	while ((slice = eventlog_kafka_op_slice(client, 100)) > 0)
	{
		rd_kafka_error_t *failure = rd_kafka_abort_transaction(client->rk, slice);

		eventlog_kafka_serve(client);
		if (failure == NULL)
		{
			client->in_transaction = false;
			succeeded(client);
			return;
		}
		if (!note_failure(client, failure, "abort_transaction"))
			return;
	}
	eventlog_kafka_op_expired(client, "abort_transaction");
}

bool
eventlog_kafka_start_abort(EventlogKafkaClient *client, int timeout_ms,
						   EventlogKafkaError *error)
{
	if (!check_transactional(client, error) || !eventlog_kafka_op_begin(client, error))
		return false;
	eventlog_kafka_op_start(client, run_abort, timeout_ms);
	return true;
}

/* --- flush --- */

static bool
has_delivery_failure(EventlogKafkaClient *client)
{
	bool		failed;

	pthread_mutex_lock(&client->lock);
	failed = client->delivery.count > 0;
	pthread_mutex_unlock(&client->lock);
	return failed;
}

/*
 * Wait until nothing is queued or under way.  librdkafka counts records that
 * failed until their delivery error is taken: serve() does that.  Once one has
 * failed in a transaction, no other leaves any more.
 */
static bool
wait_delivered(EventlogKafkaClient *client)
{
	int			slice;

	while ((slice = eventlog_kafka_op_slice(client, 100)) > 0)
	{
		rd_kafka_resp_err_t err = rd_kafka_flush(client->rk, slice);

		eventlog_kafka_serve(client);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR ||
			(client->transactional && has_delivery_failure(client)))
			return true;
	}
	eventlog_kafka_set_error(client, &client->op.error, RD_KAFKA_RESP_ERR__TIMED_OUT,
							 "%d records are not delivered yet",
							 rd_kafka_outq_len(client->rk));
	return false;
}

/* Delivered, or found not to be. */
static void
run_flush(EventlogKafkaClient *client)
{
	if (!wait_delivered(client))
		return;
	pthread_mutex_lock(&client->lock);
	if (client->delivery.count > 0)
		client->op.error = client->delivery.error;
	pthread_mutex_unlock(&client->lock);
}

bool
eventlog_kafka_start_flush(EventlogKafkaClient *client, int timeout_ms,
						   EventlogKafkaError *error)
{
	if (!eventlog_kafka_op_begin(client, error))
		return false;
	if (client->kind != EVENTLOG_KAFKA_PRODUCER)
	{
		eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR__STATE,
								 "this client produces nothing");
		return false;
	}
	eventlog_kafka_op_start(client, run_flush, timeout_ms);
	return true;
}

/* --- delivery errors --- */

/* Either thread.  What an abort has dropped is no failure of the target's. */
void
eventlog_kafka_note_delivery(EventlogKafkaClient *client, const rd_kafka_message_t *message)
{
	EventlogKafkaDelivery *delivery = &client->delivery;

	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR ||
		message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
		message->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
		return;
	pthread_mutex_lock(&client->lock);
	if (delivery->count++ == 0)
	{
		delivery->target = (int) (intptr_t) rd_kafka_topic_opaque(message->rkt);
		delivery->partition = message->partition;
		delivery->tag = (int64) (intptr_t) message->_private;
		eventlog_kafka_set_error(client, &delivery->error, message->err,
								 "topic \"%s\", partition %d: %s",
								 rd_kafka_topic_name(message->rkt), message->partition,
								 rd_kafka_err2str(message->err));
		delivery->error.retriable = false;
		delivery->error.abortable = client->transactional && !delivery->error.fatal;
	}
	pthread_mutex_unlock(&client->lock);
}

bool
eventlog_kafka_delivery_failure(EventlogKafkaClient *client, EventlogKafkaDelivery *failure)
{
	bool		found;

	pthread_mutex_lock(&client->lock);
	found = client->delivery.count > 0;
	if (found)
		*failure = client->delivery;
	if (!client->transactional)
		memset(&client->delivery, 0, sizeof(client->delivery));
	pthread_mutex_unlock(&client->lock);
	return found;
}
