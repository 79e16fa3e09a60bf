/*-------------------------------------------------------------------------
 *
 * kafka_offsets.c
 *	  Positions of a group, and where partitions begin and end.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

#define SLICE		300
#define PAUSE		50

/* Copy an operation's partitions. */
bool
eventlog_kafka_copy_offsets(EventlogKafkaClient *client, const EventlogKafkaOffset *offsets,
							int count, EventlogKafkaError *error)
{
	EventlogKafkaOp *op = &client->op;
	int			i;

	op->offsets = eventlog_kafka_alloc(&op->pool, (count + 1) * sizeof(*offsets));
	if (op->offsets == NULL)
		return eventlog_kafka_out_of_memory(error);
	for (i = 0; i < count; i++)
	{
		op->offsets[i].topic = eventlog_kafka_copy(&op->pool, offsets[i].topic);
		if (op->offsets[i].topic == NULL)
			return eventlog_kafka_out_of_memory(error);
		op->offsets[i].partition = offsets[i].partition;
		op->offsets[i].offset = offsets[i].offset;
		op->offsets[i].metadata = eventlog_kafka_copy(&op->pool, offsets[i].metadata);
		if (offsets[i].metadata != NULL && op->offsets[i].metadata == NULL)
			return eventlog_kafka_out_of_memory(error);
	}
	op->noffsets = count;
	return true;
}

/* The operation's partitions and offsets, for librdkafka. */
rd_kafka_topic_partition_list_t *
eventlog_kafka_offset_list(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(op->noffsets + 1);
	int			i;

	for (i = 0; i < op->noffsets; i++)
	{
		rd_kafka_topic_partition_t *entry;

		entry = rd_kafka_topic_partition_list_add(list, op->offsets[i].topic,
												  op->offsets[i].partition);
		entry->offset = op->offsets[i].offset;
		if (op->offsets[i].metadata != NULL)
		{
			/* librdkafka frees it */
			entry->metadata = strdup(op->offsets[i].metadata);
			entry->metadata_size = entry->metadata != NULL ? strlen(entry->metadata) : 0;
		}
	}
	return list;
}

/* A group's metadata, as far as it is text. */
static const char *
copy_metadata(EventlogKafkaPool *pool, const rd_kafka_topic_partition_t *from)
{
	char	   *text;

	if (from == NULL || from->metadata == NULL || from->metadata_size == 0)
		return NULL;
	text = eventlog_kafka_alloc(pool, from->metadata_size + 1);
	if (text != NULL)
	{
		memcpy(text, from->metadata, from->metadata_size);
		text[from->metadata_size] = '\0';
	}
	return text;
}

/* Offsets and errors back into the operation; what is not in the list is -1. */
static void
take_list(EventlogKafkaClient *client, const rd_kafka_topic_partition_list_t *list)
{
	EventlogKafkaOp *op = &client->op;
	int			i;

	for (i = 0; i < op->noffsets; i++)
	{
		const rd_kafka_topic_partition_t *found;

		found = rd_kafka_topic_partition_list_find(unconstify(rd_kafka_topic_partition_list_t *, list),
												   op->offsets[i].topic,
												   op->offsets[i].partition);
		op->offsets[i].offset = found != NULL && found->offset >= 0 ? found->offset : -1;
		op->offsets[i].code = found != NULL ? found->err : RD_KAFKA_RESP_ERR_NO_ERROR;
		op->offsets[i].metadata = copy_metadata(&op->pool, found);
	}
}

/* --- what a group has committed --- */

/*
 * A group's positions are asked for by a consumer, which is there as long as
 * the question.  librdkafka's admin interface could ask on a producer's handle,
 * but if the group's coordinator is not there yet (a new cluster), it gives up
 * silently, and later uses memory that is free (2.0 to 2.8 at least).  With
 * isolation level read_committed the answer has no transaction pending.
 */
static rd_kafka_t *
open_reader(EventlogKafkaClient *client, const char *group, const char *isolation)
{
	EventlogKafkaOp *op = &client->op;
	rd_kafka_conf_t *conf = rd_kafka_conf_dup(client->group_conf);
	rd_kafka_t *reader = NULL;
	char		text[256];

	if (rd_kafka_conf_set(conf, "group.id", group, text, sizeof(text)) == RD_KAFKA_CONF_OK &&
		rd_kafka_conf_set(conf, "isolation.level", isolation, text, sizeof(text)) == RD_KAFKA_CONF_OK)
		reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
	if (reader == NULL)
	{
		rd_kafka_conf_destroy(conf);
		eventlog_kafka_set_error(client, &op->error, RD_KAFKA_RESP_ERR__INVALID_ARG,
								 "%s", text);
	}
	return reader;
}

/* The first error among partitions. */
static rd_kafka_resp_err_t
first_error(const rd_kafka_topic_partition_list_t *list)
{
	int			i;

	for (i = 0; i < list->cnt; i++)
	{
		if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
			return list->elems[i].err;
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/*
 * Ask for the operation's partitions; false with the operation's error.  The
 * offsets go into *list, which the caller destroys, if it is not NULL.
 *
 * When this has worked, the group's coordinator is there.
 */
bool
eventlog_kafka_ask_group(EventlogKafkaClient *client, rd_kafka_topic_partition_list_t **result)
{
	EventlogKafkaOp *op = &client->op;
	rd_kafka_t *reader = open_reader(client, op->group, "read_committed");
	bool		done = reader == NULL;
	int			slice;

	while (!done && (slice = eventlog_kafka_op_slice(client, SLICE)) > 0)
	{
		rd_kafka_topic_partition_list_t *list = eventlog_kafka_offset_list(client);
		rd_kafka_resp_err_t err = rd_kafka_committed(reader, list, slice);

		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			err = first_error(list);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			memset(&op->error, 0, sizeof(op->error));
			client->group_known = true;
			if (result != NULL)
			{
				*result = list;
				list = NULL;
			}
		}
		else
			eventlog_kafka_set_error(client, &op->error, err, "committed offsets: %s",
									 rd_kafka_err2str(err));
		if (list != NULL)
			rd_kafka_topic_partition_list_destroy(list);
		done = !op->error.retriable;
		if (!done)
			eventlog_kafka_op_pause(client, PAUSE);
	}
	if (reader != NULL)
		rd_kafka_destroy_flags(reader, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	if (!done)
		eventlog_kafka_op_expired(client, "committed offsets");
	return op->error.name[0] == '\0';
}

static void
run_committed(EventlogKafkaClient *client)
{
	rd_kafka_topic_partition_list_t *list;

	if (eventlog_kafka_ask_group(client, &list))
	{
		take_list(client, list);
		rd_kafka_topic_partition_list_destroy(list);
	}
}

bool
eventlog_kafka_start_committed(EventlogKafkaClient *client, const char *group,
							   const EventlogKafkaOffset *partitions, int count,
							   int timeout_ms, EventlogKafkaError *error)
{
	if (!eventlog_kafka_op_begin(client, error) ||
		!eventlog_kafka_copy_offsets(client, partitions, count, error))
		return false;
	client->op.group = eventlog_kafka_copy(&client->op.pool, group);
	if (client->op.group == NULL)
		return eventlog_kafka_out_of_memory(error);
	eventlog_kafka_op_start(client, run_committed, timeout_ms);
	return true;
}

/* --- where partitions begin and end --- */

/*
 * librdkafka's function asks for the last stable offset if the isolation level
 * is read_committed, as it is unless told otherwise, with producers too.  That
 * may lie before records of a transaction that has just been committed, so a
 * consumer that is there as long as the question asks for the high watermark.
 */
static void
run_watermarks(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	rd_kafka_t *reader = open_reader(client, "pg_eventlog", "read_uncommitted");
	int			i = 0;
	int			slice;

	if (reader == NULL)
		return;
	while (i < op->noffsets && !op->error.fatal && (slice = eventlog_kafka_op_slice(client, SLICE)) > 0)
	{
		EventlogKafkaOffset *o = &op->offsets[i];
		int64_t		low;
		int64_t		high;
		rd_kafka_resp_err_t err;

		err = rd_kafka_query_watermark_offsets(reader, o->topic, o->partition, &low, &high, slice);
		o->offset = err ? -1 : low;
		o->high = err ? -1 : high;
		o->code = err;
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			eventlog_kafka_set_error(client, &op->error, err, "topic \"%s\", partition %d: %s",
									 o->topic, o->partition, rd_kafka_err2str(err));
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR || (!op->error.retriable && !op->error.fatal))
		{
			memset(&op->error, 0, sizeof(op->error));
			i++;
		}
		else if (!op->error.fatal)
			eventlog_kafka_op_pause(client, PAUSE);
	}
	rd_kafka_destroy_flags(reader, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	if (i < op->noffsets && !op->error.fatal)
		eventlog_kafka_op_expired(client, "watermarks");
}

bool
eventlog_kafka_start_watermarks(EventlogKafkaClient *client,
								const EventlogKafkaOffset *partitions, int count,
								int timeout_ms, EventlogKafkaError *error)
{
	if (!eventlog_kafka_op_begin(client, error) ||
		!eventlog_kafka_copy_offsets(client, partitions, count, error))
		return false;
	eventlog_kafka_op_start(client, run_watermarks, timeout_ms);
	return true;
}

static void
run_offsets_for_times(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	int			slice;

	while ((slice = eventlog_kafka_op_slice(client, SLICE)) > 0)
	{
		rd_kafka_topic_partition_list_t *list = eventlog_kafka_offset_list(client);
		rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(client->rk, list, slice);

		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			take_list(client, list);
			memset(&op->error, 0, sizeof(op->error));
		}
		else
			eventlog_kafka_set_error(client, &op->error, err, "offsets for times: %s",
									 rd_kafka_err2str(err));
		rd_kafka_topic_partition_list_destroy(list);
		if (!op->error.retriable)
			return;
		eventlog_kafka_op_pause(client, PAUSE);
	}
	eventlog_kafka_op_expired(client, "offsets for times");
}

bool
eventlog_kafka_start_offsets_for_times(EventlogKafkaClient *client,
									   const EventlogKafkaOffset *times, int count,
									   int timeout_ms, EventlogKafkaError *error)
{
	if (!eventlog_kafka_op_begin(client, error) ||
		!eventlog_kafka_copy_offsets(client, times, count, error))
		return false;
	eventlog_kafka_op_start(client, run_offsets_for_times, timeout_ms);
	return true;
}
