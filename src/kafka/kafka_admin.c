/*-------------------------------------------------------------------------
 *
 * kafka_admin.c
 *	  Brokers and topics: what there is, creating, describing.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

#include <time.h>

#define SLICE		500
#define PAUSE		50

/* librdkafka allows requests an hour. */
#define LONGEST_REQUEST	3600000

/* How long after its own time-out the answer to a request may come (ms). */
#define GRACE		1000

/* --- requests of librdkafka's admin interface --- */

static rd_kafka_AdminOptions_t *
admin_options(EventlogKafkaClient *client, rd_kafka_admin_op_t api)
{
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client->rk, api);
	char		text[128];

	(void) rd_kafka_AdminOptions_set_request_timeout(options,
													 Max(eventlog_kafka_op_slice(client, LONGEST_REQUEST), 1),
													 text, sizeof(text));
	return options;
}

/*
 * Wait for the answer to a request; NULL with the operation's error if it is
 * an error, or does not come.  librdkafka answers in any case when the request's
 * time is up, so the wait is cut short only when the client is closed.
 */
static rd_kafka_event_t *
admin_wait(EventlogKafkaClient *client, rd_kafka_queue_t *queue, const char *what)
{
	rd_kafka_event_t *event = NULL;
	int64		until = client->op.deadline + GRACE;

	while (event == NULL && !eventlog_kafka_op_closing(client) && eventlog_kafka_now() < until)
		event = rd_kafka_queue_poll(queue, 100);
	if (event == NULL)
	{
		eventlog_kafka_op_expired(client, what);
		return NULL;
	}
	if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		eventlog_kafka_set_error(client, &client->op.error, rd_kafka_event_error(event),
								 "%s: %s", what, rd_kafka_event_error_string(event));
		rd_kafka_event_destroy(event);
		return NULL;
	}
	return event;
}

/* --- metadata --- */

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec * 1000 + (double) ts.tv_nsec / 1e6;
}

static bool
copy_topic(EventlogKafkaPool *pool, EventlogKafkaTopic *to,
		   const struct rd_kafka_metadata_topic *from)
{
	int			i;

	to->name = eventlog_kafka_copy(pool, from->topic);
	to->code = from->err;
	to->partitions = from->err ? 0 : from->partition_cnt;
	for (i = 0; i < from->partition_cnt; i++)
	{
		if (from->partitions[i].leader < 0)
			to->leaderless++;
		if (from->partitions[i].id == 0)
			to->replication_factor = from->partitions[i].replica_cnt;
	}
	return to->name != NULL;
}

static bool
copy_metadata(EventlogKafkaClient *client, const struct rd_kafka_metadata *from)
{
	EventlogKafkaPool *pool = &client->op.pool;
	EventlogKafkaMetadata *to = &client->op.metadata;
	EventlogKafkaBroker *brokers;
	EventlogKafkaTopic *topics;
	int			i;

	brokers = eventlog_kafka_alloc(pool, (from->broker_cnt + 1) * sizeof(*brokers));
	topics = eventlog_kafka_alloc(pool, (from->topic_cnt + 1) * sizeof(*topics));
	if (brokers == NULL || topics == NULL)
		return false;
	for (i = 0; i < from->broker_cnt; i++)
	{
		brokers[i].id = from->brokers[i].id;
		brokers[i].port = from->brokers[i].port;
		brokers[i].host = eventlog_kafka_copy(pool, from->brokers[i].host);
		if (brokers[i].host == NULL)
			return false;
	}
	for (i = 0; i < from->topic_cnt; i++)
	{
		if (!copy_topic(pool, &topics[i], &from->topics[i]))
			return false;
	}
	to->brokers = brokers;
	to->nbrokers = from->broker_cnt;
	to->topics = topics;
	to->ntopics = from->topic_cnt;
	return true;
}

/* What librdkafka has learnt of the cluster; does not wait for more. */
static bool
copy_cluster(EventlogKafkaClient *client)
{
	EventlogKafkaMetadata *to = &client->op.metadata;
	char	   *cluster = rd_kafka_clusterid(client->rk, 0);

	to->controller_id = rd_kafka_controllerid(client->rk, 0);
	to->cluster_id = eventlog_kafka_copy(&client->op.pool, cluster ? cluster : "");
	if (cluster != NULL)
		rd_kafka_mem_free(client->rk, cluster);
	return to->cluster_id != NULL;
}

bool
eventlog_kafka_cluster_id(EventlogKafkaClient *client, char *id, size_t size)
{
	char	   *cluster = rd_kafka_clusterid(client->rk, 0);

	snprintf(id, size, "%s", cluster ? cluster : "");
	if (cluster != NULL)
		rd_kafka_mem_free(client->rk, cluster);
	return id[0] != '\0';
}

/*
 * Asks twice: the first answer may have had to wait for a connection, the
 * second one tells how long a request takes.
 */
static void
run_metadata(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	rd_kafka_topic_t *rkt = NULL;
	int			answers = 0;
	int			slice;

	if (op->topic != NULL)
	{
		rkt = rd_kafka_topic_new(client->rk, op->topic, NULL);
		if (rkt == NULL)
		{
			eventlog_kafka_set_error(client, &op->error, rd_kafka_last_error(), "topic \"%s\": %s",
									 op->topic, rd_kafka_err2str(rd_kafka_last_error()));
			return;
		}
	}
	while (answers < 2 && (slice = eventlog_kafka_op_slice(client, SLICE)) > 0)
	{
		const struct rd_kafka_metadata *metadata;
		double		start = now_ms();
		rd_kafka_resp_err_t err;

		err = rd_kafka_metadata(client->rk, rkt == NULL, rkt, &metadata, slice);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			op->metadata.latency_ms = now_ms() - start;
			memset(&op->error, 0, sizeof(op->error));
			if (++answers == 2 && !(copy_metadata(client, metadata) && copy_cluster(client)))
				eventlog_kafka_out_of_memory(&op->error);
			rd_kafka_metadata_destroy(metadata);
			continue;
		}
		eventlog_kafka_set_error(client, &op->error, err, "metadata: %s", rd_kafka_err2str(err));
		if (!op->error.retriable)
			break;
		eventlog_kafka_op_pause(client, PAUSE);
	}
	if (answers < 2)
		eventlog_kafka_op_expired(client, "metadata");
	if (rkt != NULL)
		rd_kafka_topic_destroy(rkt);
}

bool
eventlog_kafka_start_metadata(EventlogKafkaClient *client, const char *topic,
							  int timeout_ms, EventlogKafkaError *error)
{
	if (!eventlog_kafka_op_begin(client, error))
		return false;
	client->op.topic = eventlog_kafka_copy(&client->op.pool, topic);
	if (topic != NULL && client->op.topic == NULL)
		return eventlog_kafka_out_of_memory(error);
	eventlog_kafka_op_start(client, run_metadata, timeout_ms);
	return true;
}

/* --- creating --- */

/* The topic to be created; NULL with the operation's error. */
static rd_kafka_NewTopic_t *
new_topic(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	char		text[256] = "";
	rd_kafka_NewTopic_t *topic;
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
	int			i;

	topic = rd_kafka_NewTopic_new(op->topic, op->partitions, op->replication_factor,
								  text, sizeof(text));
	if (topic == NULL)
		err = RD_KAFKA_RESP_ERR__INVALID_ARG;
	for (i = 0; !err && i < op->noptions; i++)
	{
		err = rd_kafka_NewTopic_set_config(topic, op->options[i].name, op->options[i].value);
		if (err)
			snprintf(text, sizeof(text), "invalid config \"%s\"", op->options[i].name);
	}
	if (!err)
		return topic;
	if (topic != NULL)
		rd_kafka_NewTopic_destroy(topic);
	eventlog_kafka_set_error(client, &op->error, err, "topic \"%s\": %s", op->topic, text);
	return NULL;
}

static void
run_create_topic(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	rd_kafka_NewTopic_t *topic = new_topic(client);
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *event;
	char		text[128];

	if (topic == NULL)
		return;
	options = admin_options(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	(void) rd_kafka_AdminOptions_set_operation_timeout(options,
													   Max(eventlog_kafka_op_slice(client, LONGEST_REQUEST), 1),
													   text, sizeof(text));
	queue = rd_kafka_queue_new(client->rk);
	rd_kafka_CreateTopics(client->rk, &topic, 1, options, queue);
	event = admin_wait(client, queue, "creating the topic");
	if (event != NULL)
	{
		const rd_kafka_topic_result_t **results;
		size_t		count;

		results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
		if (count == 1 && rd_kafka_topic_result_error(results[0]) != RD_KAFKA_RESP_ERR_NO_ERROR)
			eventlog_kafka_set_error(client, &op->error, rd_kafka_topic_result_error(results[0]),
									 "topic \"%s\": %s", op->topic,
									 rd_kafka_topic_result_error_string(results[0]));
		rd_kafka_event_destroy(event);
	}
	rd_kafka_queue_destroy(queue);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_NewTopic_destroy(topic);
}

bool
eventlog_kafka_start_create_topic(EventlogKafkaClient *client, const char *topic,
								  int32 partitions, int replication_factor,
								  const EventlogKafkaOption *configs, int nconfigs,
								  int timeout_ms, EventlogKafkaError *error)
{
	EventlogKafkaOp *op = &client->op;
	int			i;

	if (!eventlog_kafka_op_begin(client, error))
		return false;
	op->topic = eventlog_kafka_copy(&op->pool, topic);
	op->options = eventlog_kafka_alloc(&op->pool, (nconfigs + 1) * sizeof(*op->options));
	if (op->topic == NULL || op->options == NULL)
		return eventlog_kafka_out_of_memory(error);
	for (i = 0; i < nconfigs; i++)
	{
		op->options[i].name = eventlog_kafka_copy(&op->pool, configs[i].name);
		op->options[i].value = eventlog_kafka_copy(&op->pool, configs[i].value);
		if (op->options[i].name == NULL || op->options[i].value == NULL)
			return eventlog_kafka_out_of_memory(error);
	}
	op->noptions = nconfigs;
	op->partitions = partitions;
	op->replication_factor = replication_factor;
	eventlog_kafka_op_start(client, run_create_topic, timeout_ms);
	return true;
}

/* --- describing --- */

static void
copy_configs(EventlogKafkaClient *client, const rd_kafka_ConfigResource_t *resource)
{
	EventlogKafkaOp *op = &client->op;
	const rd_kafka_ConfigEntry_t **entries;
	size_t		count;
	size_t		i;

	if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		eventlog_kafka_set_error(client, &op->error, rd_kafka_ConfigResource_error(resource),
								 "topic \"%s\": %s", op->topic,
								 rd_kafka_ConfigResource_error_string(resource));
		return;
	}
	entries = rd_kafka_ConfigResource_configs(resource, &count);
	op->configs = eventlog_kafka_alloc(&op->pool, (count + 1) * sizeof(*op->configs));
	if (op->configs == NULL)
	{
		eventlog_kafka_out_of_memory(&op->error);
		return;
	}
	for (i = 0; i < count; i++)
	{
		EventlogKafkaConfig *config = &op->configs[op->nconfigs];
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);

		config->name = eventlog_kafka_copy(&op->pool, rd_kafka_ConfigEntry_name(entries[i]));
		config->value = eventlog_kafka_copy(&op->pool, value);
		config->is_default = rd_kafka_ConfigEntry_is_default(entries[i]) != 0;
		if (config->name == NULL || (value != NULL && config->value == NULL))
		{
			eventlog_kafka_out_of_memory(&op->error);
			return;
		}
		op->nconfigs++;
	}
}

static void
run_describe_topic(EventlogKafkaClient *client)
{
	EventlogKafkaOp *op = &client->op;
	rd_kafka_ConfigResource_t *resource;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_queue_t *queue;
	rd_kafka_event_t *event;

	resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, op->topic);
	if (resource == NULL)
	{
		eventlog_kafka_set_error(client, &op->error, RD_KAFKA_RESP_ERR__INVALID_ARG,
								 "\"%s\" cannot be a topic", op->topic);
		return;
	}
	options = admin_options(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	queue = rd_kafka_queue_new(client->rk);
	rd_kafka_DescribeConfigs(client->rk, &resource, 1, options, queue);
	event = admin_wait(client, queue, "describing the topic");
	if (event != NULL)
	{
		const rd_kafka_ConfigResource_t **resources;
		size_t		count;

		resources = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
		if (count == 1)
			copy_configs(client, resources[0]);
		rd_kafka_event_destroy(event);
	}
	rd_kafka_queue_destroy(queue);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_ConfigResource_destroy(resource);
}

bool
eventlog_kafka_start_describe_topic(EventlogKafkaClient *client, const char *topic,
									int timeout_ms, EventlogKafkaError *error)
{
	if (!eventlog_kafka_op_begin(client, error))
		return false;
	client->op.topic = eventlog_kafka_copy(&client->op.pool, topic);
	if (client->op.topic == NULL)
		return eventlog_kafka_out_of_memory(error);
	eventlog_kafka_op_start(client, run_describe_topic, timeout_ms);
	return true;
}
