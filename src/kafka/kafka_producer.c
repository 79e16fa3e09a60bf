/*-------------------------------------------------------------------------
 *
 * kafka_producer.c
 *	  Targets, and records on their way to them.
 *
 * A timestamp of 0 is 1970-01-01, but librdkafka takes it for "now".  Such a
 * record is produced with a timestamp that stands for it, which an interceptor
 * replaces in the message before anybody else sees it; on_send() says how.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

/* A time that no record has; it stands for 0 on the way into librdkafka. */
#define ZERO_TIMESTAMP	INT64CONST(-7654321012345678901)

/* How far behind the public part of a message its timestamp is looked for. */
#define TIMESTAMP_WITHIN	64

/*
 * librdkafka runs this in produce()'s thread, before the message is queued.
 * The message is the first member of a structure of librdkafka's own, whose
 * next members are links, flags and the timestamp; it is found by its value.
 * librdkafka has to agree, before and after, that it was the timestamp.
 */
static rd_kafka_resp_err_t
on_send(rd_kafka_t *rk, rd_kafka_message_t *message, void *opaque)
{
	EventlogKafkaClient *client = opaque;
	rd_kafka_timestamp_type_t type;
	int64	   *place;
	int64	   *found = NULL;

	if (likely(!client->zero_timestamp))
		return RD_KAFKA_RESP_ERR_NO_ERROR;

	if (rd_kafka_message_timestamp(message, &type) != ZERO_TIMESTAMP)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	for (place = (int64 *) (message + 1);
		 (char *) place < (char *) (message + 1) + TIMESTAMP_WITHIN; place++)
	{
		if (*place == ZERO_TIMESTAMP)
		{
			found = place;
			break;
		}
	}
	if (found != NULL)
	{
		*found = 0;
		if (rd_kafka_message_timestamp(message, &type) == 0)
			client->zero_failed = false;
		else
			*found = ZERO_TIMESTAMP;
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t
eventlog_kafka_on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
					  char *text, size_t size)
{
	return rd_kafka_interceptor_add_on_send(rk, "pg_eventlog", on_send, opaque);
}

/* --- targets --- */

static EventlogKafkaTarget *
find_target(EventlogKafkaClient *client, const char *topic)
{
	int			i;

	for (i = 0; i < client->ntargets; i++)
	{
		if (strcmp(client->targets[i].name, topic) == 0)
			return &client->targets[i];
	}
	return NULL;
}

/* A target for the operation's topic; NULL with the operation's error. */
static EventlogKafkaTarget *
make_target(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	EventlogKafkaTarget *targets;
	EventlogKafkaTarget *target;
	rd_kafka_topic_conf_t *conf;

	targets = realloc(client->targets, (client->ntargets + 1) * sizeof(*targets));
	if (targets == NULL)
	{
		eventlog_kafka_out_of_memory(&op->error);
		return NULL;
	}
	client->targets = targets;
	target = &targets[client->ntargets];
	memset(target, 0, sizeof(*target));
	target->name = strdup(op->topic);
	if (target->name == NULL)
	{
		eventlog_kafka_out_of_memory(&op->error);
		return NULL;
	}

	/* failed deliveries know their target by it */
	conf = rd_kafka_default_topic_conf_dup(client->rk);
	rd_kafka_topic_conf_set_opaque(conf, (void *) (intptr_t) client->ntargets);
	target->rkt = rd_kafka_topic_new(client->rk, op->topic, conf);
	if (target->rkt == NULL)
	{
		rd_kafka_topic_conf_destroy(conf);
		free(target->name);
		eventlog_kafka_set_error(client, &op->error, rd_kafka_last_error(), "topic \"%s\": %s",
								 op->topic, rd_kafka_err2str(rd_kafka_last_error()));
		return NULL;
	}
	client->ntargets++;
	return target;
}

/*
 * librdkafka learns of the partitions by the same answer, before we see it, so
 * that produce() can rely on them.
 */
static void
run_target(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	EventlogKafkaTarget *target = find_target(client, op->topic);
	int			slice;

	if (target == NULL)
		target = make_target(client);
	if (target == NULL)
		return;
	target->partitions = 0;
	target->max_record_bytes = op->max_record_bytes;

	while ((slice = eventlog_kafka_op_slice(client, 1000)) > 0)
	{
		const struct rd_kafka_metadata *metadata;
		rd_kafka_resp_err_t err;
		int			known = 0;

		err = rd_kafka_metadata(client->rk, 0, target->rkt, &metadata, slice);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			if (metadata->topic_cnt == 1)
			{
				err = metadata->topics[0].err;
				known = metadata->topics[0].partition_cnt;
			}
			rd_kafka_metadata_destroy(metadata);
		}
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR && known > 0 && known >= op->partitions)
		{
			target->partitions = known;
			op->target = (int) (target - client->targets);
			memset(&op->error, 0, sizeof(op->error));
			return;
		}
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			eventlog_kafka_set_error(client, &op->error, err, "topic \"%s\": %s", op->topic,
									 rd_kafka_err2str(err));
		else
			eventlog_kafka_set_error(client, &op->error, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
									 "topic \"%s\" has %d partitions, not %d", op->topic,
									 known, op->partitions);

		/* a topic that was created just now is not known everywhere at once */
		if (op->error.fatal || (!op->error.retriable &&
								err != RD_KAFKA_RESP_ERR_NO_ERROR &&
								err != RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC &&
								err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART))
			return;
		eventlog_kafka_op_pause(client, 50);
	}
	eventlog_kafka_op_expired(client, "topic");
}

bool
eventlog_kafka_start_target(EventlogKafkaClient *client, const char *topic,
							int32 min_partitions, int64 max_record_bytes,
							int timeout_ms, EventlogKafkaError *error)
{
	if (!eventlog_kafka_op_begin(client, error))
		return false;
	client->op.topic = eventlog_kafka_copy(&client->op.pool, topic);
	if (client->op.topic == NULL)
		return eventlog_kafka_out_of_memory(error);
	client->op.partitions = min_partitions;
	client->op.max_record_bytes = max_record_bytes;
	eventlog_kafka_op_start(client, run_target, timeout_ms);
	return true;
}

int32
eventlog_kafka_target_partitions(EventlogKafkaClient *client, int target)
{
	if (target < 0 || target >= client->ntargets)
		return 0;
	return client->targets[target].partitions;
}

void
eventlog_kafka_targets_free(EventlogKafkaClient *client)
{
	int			i;

	for (i = 0; i < client->ntargets; i++)
	{
		rd_kafka_topic_destroy(client->targets[i].rkt);
		free(client->targets[i].name);
	}
	free(client->targets);
	client->targets = NULL;
	client->ntargets = 0;
}

/* --- records --- */

/* Bytes of a length as zigzag varint. */
static int64
length_size(int64 length)
{
	uint64		bits = (uint64) (length < 0 ? 1 : length * 2);
	int64		size = 1;

	while (bits >= 0x80)
	{
		bits >>= 7;
		size++;
	}
	return size;
}

/* What an uncompressed batch of this record alone takes. */
static int64
batch_size(const EventlogRecord *record)
{
	int64		size = 3;		/* attributes, time and offset deltas of 0 */

	size += length_size(record->key_len) + Max(record->key_len, 0);
	size += length_size(record->value_len) + Max(record->value_len, 0);
	size += length_size(record->headers_count) + record->headers_len;
	return EVENTLOG_BATCH_HEADER_SIZE + length_size(size) + size;
}

/* What to do about an error of librdkafka's when it takes a record. */
static EventlogKafkaProduced
not_produced(EventlogKafkaClient *client, rd_kafka_error_t *from, EventlogKafkaError *error)
{
	int			code = rd_kafka_error_code(from);

	if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
	{
		rd_kafka_error_destroy(from);
		return EVENTLOG_KAFKA_QUEUE_FULL;
	}
	eventlog_kafka_take_error(client, error, from, "could not produce");
	if (error->fatal)
		return EVENTLOG_KAFKA_FAILED;
	error->retriable = false;
	if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
		code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
		code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
		return EVENTLOG_KAFKA_REFUSED;
	/* the transaction has failed meanwhile, or there is none */
	error->abortable = client->in_transaction;
	return EVENTLOG_KAFKA_FAILED;
}

/* A key or value; what is empty needs an address, or it would be null. */
static inline void
set_bytes(rd_kafka_vu_t *vu, const char *data, int32 len)
{
	if (len < 0)
		vu->u.mem.ptr = NULL;
	else if (len == 0)
		vu->u.mem.ptr = "";
	else
		vu->u.mem.ptr = unconstify(char *, data);
	vu->u.mem.size = Max(len, 0);
}

EventlogKafkaProduced
eventlog_kafka_produce(EventlogKafkaClient *client, int target, int32 partition,
					   const EventlogRecord *record, int64 tag, EventlogKafkaError *error)
{
	rd_kafka_vu_t vus[8];
	rd_kafka_headers_t *headers = NULL;
	rd_kafka_error_t *failure;
	EventlogKafkaTarget *to;
	int			n = 7;

	if (target < 0 || target >= client->ntargets ||
		partition < 0 || partition >= client->targets[target].partitions)
	{
		eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
								 "the target has no partition %d", partition);
		return EVENTLOG_KAFKA_REFUSED;
	}
	to = &client->targets[target];
	if (to->max_record_bytes > 0 && batch_size(record) > to->max_record_bytes)
	{
		eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
								 "a batch of this record takes %lld bytes, and topic \"%s\" allows %lld",
								 (long long) batch_size(record), to->name,
								 (long long) to->max_record_bytes);
		return EVENTLOG_KAFKA_REFUSED;
	}
	if (record->headers_count > 0)
	{
		headers = eventlog_kafka_read_headers(record);
		if (headers == NULL)
		{
			eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR__BAD_MSG,
									 "the record's headers are malformed");
			return EVENTLOG_KAFKA_REFUSED;
		}
		vus[7].vtype = RD_KAFKA_VTYPE_HEADERS;
		vus[7].u.headers = headers;
		n = 8;
	}

	vus[0].vtype = RD_KAFKA_VTYPE_RKT;
	vus[0].u.rkt = to->rkt;
	vus[1].vtype = RD_KAFKA_VTYPE_PARTITION;
	vus[1].u.i32 = partition;
	vus[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
	vus[2].u.i = RD_KAFKA_MSG_F_COPY;
	vus[3].vtype = RD_KAFKA_VTYPE_VALUE;
	set_bytes(&vus[3], record->value, record->value_len);
	vus[4].vtype = RD_KAFKA_VTYPE_KEY;
	set_bytes(&vus[4], record->key, record->key_len);
	vus[5].vtype = RD_KAFKA_VTYPE_OPAQUE;
	vus[5].u.ptr = (void *) (intptr_t) tag;
	vus[6].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
	vus[6].u.i64 = record->timestamp;

	if (unlikely(record->timestamp == 0))
	{
		vus[6].u.i64 = ZERO_TIMESTAMP;
		client->zero_timestamp = true;
		client->zero_failed = true;
		failure = rd_kafka_produceva(client->rk, vus, n);
		client->zero_timestamp = false;
		if (failure == NULL && client->zero_failed)
		{
			eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
									 "librdkafka %s cannot be made to send timestamp 0",
									 rd_kafka_version_str());
			error->abortable = client->in_transaction;
			return EVENTLOG_KAFKA_FAILED;
		}
	}
	else
		failure = rd_kafka_produceva(client->rk, vus, n);

	if (unlikely(failure != NULL))
	{
		if (headers != NULL)
			rd_kafka_headers_destroy(headers);
		return not_produced(client, failure, error);
	}
	client->produced_bytes += Max(record->key_len, 0) + Max(record->value_len, 0) +
		record->headers_len;
	return EVENTLOG_KAFKA_PRODUCED;
}

int64
eventlog_kafka_produced_bytes(EventlogKafkaClient *client)
{
	return client->produced_bytes;
}
