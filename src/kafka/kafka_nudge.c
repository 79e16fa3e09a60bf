/*-------------------------------------------------------------------------
 *
 * kafka_nudge.c
 *	  Having librdkafka fetch again once its queue has room.
 *
 * When a consumer's queue is full, a broker's thread of librdkafka waits before
 * it looks again: for as long as fetch.queue.backoff.ms says, and where there
 * is no such option (2.0.2), for a second, unless it has something else to do.
 * Nothing tells it that the queue was emptied, so that a consumer with a small
 * queue does nothing for most of the time.
 *
 * So it is given something to do: the client's helper asks where a partition of
 * each broker ends.  The answer is of no interest.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

#include <stdlib.h>

/* How many brokers are nudged at once. */
#define MAX_BROKERS	8

/* How long an answer is waited for (ms). */
#define TIMEOUT		500

static int64
conf_number(EventlogKafkaClient *client, const char *name)
{
	char		text[32];
	size_t		size = sizeof(text);

	if (rd_kafka_conf_get(rd_kafka_conf(client->rk), name, text, &size) != RD_KAFKA_CONF_OK)
		return 0;
	return strtoll(text, NULL, 10);
}

/* Of a consumer that has just been made: does its queue need nudges, and when? */
void
eventlog_kafka_nudge_init(EventlogKafkaClient *client)
{
	if (conf_number(client, "fetch.queue.backoff.ms") > 0)
		return;
	client->full_messages = conf_number(client, "queued.min.messages");
	client->full_bytes = conf_number(client, "queued.max.messages.kbytes") * 1024;
}

/*
 * What is held was just taken from the queue: if that may have been full since
 * the last nudge, and has room now, nudge the brokers that they have come from.
 *
 * The queue grows while it is being read, so its length before tells little; it
 * was never longer than what was taken and what is left.
 */
void
eventlog_kafka_nudge(EventlogKafkaClient *client, const EventlogKafkaHeld *held)
{
	int64		left;
	int64		peak;
	int64		each;
	rd_kafka_topic_partition_list_t *list;
	int32		brokers[MAX_BROKERS];
	int			nbrokers = 0;
	int			i;

	if (client->full_messages == 0 || held->nraw == 0)
		return;
	left = rd_kafka_queue_length(client->records);
	peak = left + held->nraw;
	each = held->batch.bytes / held->nraw;
	/* values need not be of one size */
	if (peak >= client->full_messages || peak * each >= client->full_bytes / 4 * 3)
		client->was_full = true;
	if (!client->was_full || left >= client->full_messages || left * each >= client->full_bytes)
		return;
	client->was_full = false;

	list = rd_kafka_topic_partition_list_new(1);
	for (i = 0; i < held->nraw && nbrokers < MAX_BROKERS; i++)
	{
		const rd_kafka_message_t *message = held->raw[i];
		int32		broker;
		int			b = 0;

		/* a partition's come in runs, and from one broker */
		if (i > 0 && message->rkt == held->raw[i - 1]->rkt &&
			message->partition == held->raw[i - 1]->partition)
			continue;
		broker = rd_kafka_message_broker_id(message);
		while (b < nbrokers && brokers[b] != broker)
			b++;
		if (b < nbrokers || broker < 0 || message->rkt == NULL)
			continue;
		brokers[nbrokers++] = broker;
		rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(message->rkt),
										  message->partition)->offset = RD_KAFKA_OFFSET_END;
	}

	pthread_mutex_lock(&client->lock);
	if (nbrokers > 0 && client->nudge == NULL)
	{
		client->nudge = list;
		list = NULL;
		pthread_cond_broadcast(&client->changed);
	}
	pthread_mutex_unlock(&client->lock);
	if (list != NULL)
		rd_kafka_topic_partition_list_destroy(list);
}

/* For the helper; the lock is held, but not meanwhile. */
void
eventlog_kafka_nudge_run(EventlogKafkaClient *client)
{
	rd_kafka_topic_partition_list_t *list = client->nudge;

	client->nudge = NULL;
	pthread_mutex_unlock(&client->lock);
	(void) rd_kafka_offsets_for_times(client->rk, list, TIMEOUT);
	rd_kafka_topic_partition_list_destroy(list);
	pthread_mutex_lock(&client->lock);
}
