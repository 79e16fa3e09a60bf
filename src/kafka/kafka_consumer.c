/*-------------------------------------------------------------------------
 *
 * kafka_consumer.c
 *	  Reading partitions that are assigned, without joining a group.
 *
 * Messages stay in librdkafka's memory until their batch is released; only
 * headers are written anew, as they come parsed.  librdkafka gives messages of
 * a partition in runs, so what is known of a partition is looked up once a run.
 *
 * All of this is the caller's thread's.  Assigning is a request to
 * librdkafka's own thread, which waits for no broker.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

/* Messages taken in one call of librdkafka's. */
#define STEP		500

/* --- the partitions that are read --- */

static int
find_assigned(EventlogKafkaClient *client, const char *topic, int32 partition)
{
	int			i;

	for (i = 0; i < client->nassigned; i++)
	{
		if (client->assigned[i].partition == partition &&
			strcmp(client->assigned[i].topic, topic) == 0)
			return i;
	}
	return -1;
}

static bool
add_assigned(EventlogKafkaClient *client, const EventlogKafkaAssign *partition)
{
	EventlogKafkaAssigned *entry;

	if (client->nassigned == client->assigned_capacity)
	{
		int			capacity = Max(client->assigned_capacity * 2, 16);

		entry = realloc(client->assigned, capacity * sizeof(*entry));
		if (entry == NULL)
			return false;
		client->assigned = entry;
		client->assigned_capacity = capacity;
	}
	entry = &client->assigned[client->nassigned];
	entry->topic = strdup(partition->topic);
	if (entry->topic == NULL)
		return false;
	entry->partition = partition->partition;
	entry->tag = partition->tag;
	entry->stopped = false;
	client->nassigned++;
	return true;
}

/* Everything that the caller's side of a consumer has. */
void
eventlog_kafka_assigned_free(EventlogKafkaClient *client)
{
	while (client->held != NULL)
		eventlog_kafka_release(client, &client->held->batch);
	if (client->spare != NULL)
	{
		free(client->spare->raw);
		free(client->spare->batch.messages);
		free(client->spare);
		client->spare = NULL;
	}
	while (client->nassigned > 0)
		free(client->assigned[--client->nassigned].topic);
	free(client->assigned);
	client->assigned = NULL;
	client->last_rkt = NULL;
	if (client->records != NULL)
	{
		rd_kafka_queue_io_event_enable(client->records, -1, NULL, 0);
		rd_kafka_queue_destroy(client->records);
		client->records = NULL;
	}
}

static rd_kafka_topic_partition_list_t *
partition_list(const EventlogKafkaAssign *partitions, int count)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count + 1);
	int			i;

	for (i = 0; i < count; i++)
	{
		rd_kafka_topic_partition_t *entry;

		entry = rd_kafka_topic_partition_list_add(list, partitions[i].topic,
												  partitions[i].partition);
		entry->offset = partitions[i].offset;
	}
	return list;
}

bool
eventlog_kafka_assign(EventlogKafkaClient *client, const EventlogKafkaAssign *partitions,
					  int count, EventlogKafkaError *error)
{
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_error_t *failure;
	int			i;

	if (client->records == NULL)
	{
		eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR__STATE,
								 "this client consumes nothing");
		return false;
	}
	for (i = 0; i < count; i++)
	{
		if (find_assigned(client, partitions[i].topic, partitions[i].partition) >= 0)
		{
			eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR__STATE,
									 "topic \"%s\", partition %d is assigned already",
									 partitions[i].topic, partitions[i].partition);
			return false;
		}
	}
	list = partition_list(partitions, count);
	failure = rd_kafka_incremental_assign(client->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (failure != NULL)
	{
		eventlog_kafka_take_error(client, error, failure, "assign");
		return false;
	}
	for (i = 0; i < count; i++)
	{
		if (!add_assigned(client, &partitions[i]))
			return eventlog_kafka_out_of_memory(error);
	}
	client->last_rkt = NULL;
	return true;
}

int64
eventlog_kafka_end_offset(EventlogKafkaClient *client, const char *topic, int32 partition)
{
	int64_t		low;
	int64_t		high;

	if (rd_kafka_get_watermark_offsets(client->rk, topic, partition, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
		high < 0)
		return -1;
	return high;
}

/* --- records --- */

/* A batch with room for "max" messages; NULL if there is no memory. */
static EventlogKafkaHeld *
new_batch(EventlogKafkaClient *client, int max)
{
	EventlogKafkaHeld *held = client->spare;

	client->spare = NULL;
	if (held != NULL && held->capacity < max)
	{
		free(held->raw);
		free(held->batch.messages);
		free(held);
		held = NULL;
	}
	if (held == NULL)
	{
		held = calloc(1, sizeof(*held));
		if (held == NULL)
			return NULL;
		held->capacity = max;
		held->raw = malloc(max * sizeof(*held->raw));
		held->batch.messages = malloc(max * sizeof(*held->batch.messages));
		if (held->raw == NULL || held->batch.messages == NULL)
		{
			free(held->raw);
			free(held->batch.messages);
			free(held);
			return NULL;
		}
	}
	held->batch.count = 0;
	held->batch.bytes = 0;
	held->nraw = 0;
	return held;
}

/* Find a message's partition; false if that is not assigned. */
static bool
look_up(EventlogKafkaClient *client, const rd_kafka_message_t *message)
{
	int			i;

	if (likely(message->rkt == client->last_rkt && message->partition == client->last_partition))
		return true;
	i = find_assigned(client, rd_kafka_topic_name(message->rkt), message->partition);
	if (i < 0)
		return false;
	client->last_rkt = message->rkt;
	client->last_partition = message->partition;
	client->last_assigned = i;
	return true;
}

static void
note_trouble(EventlogKafkaClient *client, const rd_kafka_message_t *message)
{
	EventlogKafkaError error;

	eventlog_kafka_set_error(client, &error, message->err, "%s", rd_kafka_message_errstr(message));
	eventlog_kafka_note_trouble(client, &error);
}

/*
 * The partition has ended for the caller: what librdkafka can still read would
 * leave a gap.
 */
static void
stop_partition(EventlogKafkaClient *client, const rd_kafka_message_t *message)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	client->assigned[client->last_assigned].stopped = true;
	rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(message->rkt), message->partition);
	rd_kafka_pause_partitions(client->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
}

/*
 * Make a message one of trouble.
 */
static void
tell_trouble(EventlogKafkaClient *client, EventlogKafkaMessage *to,
			 const rd_kafka_message_t *message, int code, const char *text)
{
	EventlogRecord *record = &to->record;

	to->kind = EVENTLOG_KAFKA_TROUBLE;
	to->code = code;
	record->timestamp = -1;
	record->key = NULL;
	record->key_len = -1;
	record->value = text;
	record->value_len = (int32) strlen(text);
	stop_partition(client, message);
}

/*
 * Tell a message to the caller; false if it is none of its business.
 */
static bool
tell(EventlogKafkaClient *client, EventlogKafkaHeld *held, rd_kafka_message_t *message)
{
	EventlogKafkaMessage *to = &held->batch.messages[held->batch.count];
	EventlogRecord *record = &to->record;
	rd_kafka_timestamp_type_t type;
	rd_kafka_headers_t *headers;

	if (message->rkt == NULL)
	{
		note_trouble(client, message);
		return false;
	}
	if (!look_up(client, message) || client->assigned[client->last_assigned].stopped)
		return false;

	to->tag = client->assigned[client->last_assigned].tag;
	to->partition = message->partition;
	to->code = 0;
	to->append_time = false;
	record->offset = message->offset;
	record->headers = NULL;
	record->headers_len = 0;
	record->headers_count = 0;
	if (unlikely(message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF))
	{
		to->kind = EVENTLOG_KAFKA_END;
		record->timestamp = -1;
		record->key = record->value = NULL;
		record->key_len = record->value_len = -1;
		return true;
	}
	if (unlikely(message->err != RD_KAFKA_RESP_ERR_NO_ERROR))
	{
		tell_trouble(client, to, message, message->err, rd_kafka_message_errstr(message));
		return true;
	}

	to->kind = EVENTLOG_KAFKA_RECORD;
	record->timestamp = rd_kafka_message_timestamp(message, &type);
	to->append_time = type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
	record->key = message->key;
	record->key_len = message->key ? (int32) message->key_len : -1;
	record->value = message->payload;
	record->value_len = message->payload ? (int32) message->len : -1;
	if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		!eventlog_kafka_write_headers(headers, &held->headers, record))
	{
		tell_trouble(client, to, message, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "out of memory");
		return true;
	}
	held->batch.bytes += message->key_len + message->len + record->headers_len;
	return true;
}

EventlogKafkaBatch *
eventlog_kafka_fetch(EventlogKafkaClient *client, int max, int64 max_bytes)
{
	EventlogKafkaHeld *held;
	ssize_t		got = STEP;

	if (client->records == NULL || max <= 0)
		return NULL;
	held = new_batch(client, max);
	if (held == NULL)
		return NULL;

	while (got > 0 && held->nraw < max && held->batch.bytes < max_bytes)
	{
		rd_kafka_message_t **raw = held->raw + held->nraw;
		ssize_t		i;

		got = rd_kafka_consume_batch_queue(client->records, 0, raw,
										   Min(STEP, max - held->nraw));
		for (i = 0; i < got; i++)
		{
			if (tell(client, held, raw[i]))
				held->batch.count++;
		}
		held->nraw += Max((int) got, 0);
	}

	eventlog_kafka_nudge(client, held);

	/* it has no list to leave yet */
	held->prev = NULL;
	held->next = client->held;
	if (client->held != NULL)
		client->held->prev = held;
	client->held = held;
	if (held->batch.count == 0)
	{
		eventlog_kafka_release(client, &held->batch);
		return NULL;
	}
	return &held->batch;
}

void
eventlog_kafka_release(EventlogKafkaClient *client, EventlogKafkaBatch *batch)
{
	EventlogKafkaHeld *held = (EventlogKafkaHeld *) batch;
	int			i;

	for (i = 0; i < held->nraw; i++)
		rd_kafka_message_destroy(held->raw[i]);
	held->nraw = 0;
	eventlog_kafka_free(&held->headers);

	if (held->prev != NULL)
		held->prev->next = held->next;
	else
		client->held = held->next;
	if (held->next != NULL)
		held->next->prev = held->prev;

	if (client->spare == NULL)
		client->spare = held;
	else
	{
		free(held->raw);
		free(held->batch.messages);
		free(held);
	}
}
