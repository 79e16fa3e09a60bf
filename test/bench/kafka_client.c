/*-------------------------------------------------------------------------
 *
 * kafka_client.c
 *	  Kafka's rates, for comparison: librdkafka as a producer and a consumer.
 *
 *	kafka_client produce BROKERS TOPIC PARTITION COUNT VALUE_BYTES
 *	kafka_client consume BROKERS TOPIC PARTITION COUNT [GROUP EACH]
 *
 * Prints one line, "records_per_s=N seconds=S".  "produce" waits for all
 * replicas (acks=all), lingers 5 ms and fills batches of up to 10,000 records;
 * the clock runs from the first record handed over until every one was
 * acknowledged.  "consume" reads from offset 0; its clock runs from the first
 * record received to the last.  With a GROUP, the group's position is committed,
 * and the broker's answer waited for, after every EACH records.  A record lost
 * or refused is an error.
 *
 * Further settings of librdkafka come from the environment as
 * KAFKA_CLIENT_CONF="name=value name=value", compression.type=lz4 for example.
 *
 *	cc -O2 kafka_client.c -o kafka_client -lrdkafka
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

/* messages handed over, or taken, in one call */
#define BATCH		10000

/* seconds without a record until the consumer gives up */
#define PATIENCE	30

static int64_t delivered;
static int64_t refused;
static const char *refusal;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "kafka_client: %s: %s\n", what, why);
	exit(1);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void
report(int64_t count, double seconds)
{
	printf("records_per_s=%.0f seconds=%.3f\n",
		   seconds > 0 ? (double) count / seconds : 0, seconds);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die(name, error);
}

static void
set_from_environment(rd_kafka_conf_t *conf)
{
	const char *given = getenv("KAFKA_CLIENT_CONF");
	char	   *copy;
	char	   *word;

	if (given == NULL)
		return;
	copy = strdup(given);
	for (word = strtok(copy, " "); word != NULL; word = strtok(NULL, " "))
	{
		char	   *equals = strchr(word, '=');

		if (equals == NULL)
			die(word, "expected name=value");
		*equals = '\0';
		set(conf, word, equals + 1);
	}
	free(copy);
}

static void
on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		delivered++;
	else
	{
		refused++;
		refusal = rd_kafka_err2str(message->err);
	}
}

static rd_kafka_t *
new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char		error[512];
	rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof(error));

	if (rk == NULL)
		die("could not start librdkafka", error);
	return rk;
}

static rd_kafka_topic_t *
new_topic(rd_kafka_t *rk, const char *name)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);

	if (topic == NULL)
		die(name, rd_kafka_err2str(rd_kafka_last_error()));
	return topic;
}

/* Connecting and the first look at the cluster are not what is measured. */
static void
wait_for_metadata(rd_kafka_t *rk, rd_kafka_topic_t *topic)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &metadata, PATIENCE * 1000);

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (metadata->topic_cnt > 0)
			err = metadata->topics[0].err;
		rd_kafka_metadata_destroy(metadata);
	}
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		die(rd_kafka_topic_name(topic), rd_kafka_err2str(err));
}

static int
produce(const char *brokers, const char *topic_name, int32_t partition,
		int64_t count, size_t value_bytes)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	char	   *value = malloc(value_bytes + 32);
	double		start;
	double		seconds;
	int64_t		i;

	set(conf, "bootstrap.servers", brokers);
	set(conf, "acks", "all");
	set(conf, "linger.ms", "5");
	set(conf, "batch.num.messages", "10000");
	set(conf, "queue.buffering.max.messages", "1000000");
	set(conf, "queue.buffering.max.kbytes", "1048576");
	set(conf, "enable.idempotence", "false");
	set_from_environment(conf);
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rk = new_client(RD_KAFKA_PRODUCER, conf);
	topic = new_topic(rk, topic_name);
	wait_for_metadata(rk, topic);

	/* printable, and each another */
	memset(value, 'x', value_bytes + 1);

	start = now();
	for (i = 0; i < count; i++)
	{
		if (value_bytes >= 20)
		{
			uint64_t	n = (uint64_t) i;
			int			d;

			for (d = 19; d >= 0; d--, n /= 10)
				value[d] = (char) ('0' + n % 10);
		}
		while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY,
								value, value_bytes, NULL, 0, NULL) != 0)
		{
			if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				die("could not produce", rd_kafka_err2str(rd_kafka_last_error()));
			rd_kafka_poll(rk, 10);
		}
		if (i % 1000 == 0)
			rd_kafka_poll(rk, 0);
	}
	if (rd_kafka_flush(rk, 600 * 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("could not flush", "timed out");
	seconds = now() - start;

	if (refused > 0)
		die("records were refused", refusal);
	if (delivered != count)
		die("records are missing", "not all were acknowledged");
	report(count, seconds);

	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	free(value);
	return 0;
}

/*
 * A queue of the partition's records from offset 0 on.  The group's position
 * can be committed only by librdkafka's newer consumer, which joins the group
 * but is told here what to read.
 */
static rd_kafka_queue_t *
start_to_consume(rd_kafka_t *rk, rd_kafka_topic_t *topic, int32_t partition,
				 const char *group)
{
	rd_kafka_queue_t *queue;

	if (group == NULL)
	{
		queue = rd_kafka_queue_new(rk);
		if (rd_kafka_consume_start_queue(topic, partition, 0, queue) != 0)
			die("could not start to consume", rd_kafka_err2str(rd_kafka_last_error()));
	}
	else
	{
		rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
		rd_kafka_resp_err_t err;

		rd_kafka_poll_set_consumer(rk);
		rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(topic), partition)->offset = 0;
		err = rd_kafka_assign(rk, list);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			die("could not start to consume", rd_kafka_err2str(err));
		rd_kafka_topic_partition_list_destroy(list);
		queue = rd_kafka_queue_get_consumer(rk);
	}
	return queue;
}

/* Commit the group's position and wait for the answer. */
static void
commit_position(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t next)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t err;

	rd_kafka_topic_partition_list_add(list, topic, partition)->offset = next;
	err = rd_kafka_commit(rk, list, 0);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("could not commit", rd_kafka_err2str(err));
	rd_kafka_topic_partition_list_destroy(list);
}

static int
consume(const char *brokers, const char *topic_name, int32_t partition,
		int64_t count, const char *group, int64_t each)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_message_t **messages = malloc(BATCH * sizeof(*messages));
	size_t		most = group && each < BATCH ? (size_t) each : BATCH;
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	rd_kafka_queue_t *queue;
	int64_t		received = 0;
	int64_t		committed = 0;
	int64_t		last_offset = -1;
	double		first = 0;
	double		last = now();

	set(conf, "bootstrap.servers", brokers);
	set(conf, "fetch.wait.max.ms", "10");
	set(conf, "fetch.message.max.bytes", "8388608");
	set(conf, "queued.min.messages", "1000000");
	set(conf, "queued.max.messages.kbytes", "1048576");
	if (group)
	{
		set(conf, "group.id", group);
		set(conf, "enable.auto.commit", "false");
	}
	set_from_environment(conf);
	rk = new_client(RD_KAFKA_CONSUMER, conf);
	topic = new_topic(rk, topic_name);
	wait_for_metadata(rk, topic);
	queue = start_to_consume(rk, topic, partition, group);

	while (received < count)
	{
		ssize_t		n = rd_kafka_consume_batch_queue(queue, 100, messages, most);
		ssize_t		i;

		if (n < 0)
			die("could not consume", rd_kafka_err2str(rd_kafka_last_error()));
		if (n > 0)
		{
			last = now();
			if (first == 0)
				first = last;
		}
		else if (now() - last > PATIENCE)
			die("records are missing", "nothing came any more");
		for (i = 0; i < n; i++)
		{
			if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			{
				if (messages[i]->offset <= last_offset)
					die("could not consume", "offsets do not rise");
				last_offset = messages[i]->offset;
				received++;
			}
			else if (messages[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
				die("could not consume", rd_kafka_message_errstr(messages[i]));
			rd_kafka_message_destroy(messages[i]);
		}
		if (group && (received - committed >= each || (received >= count && n > 0)))
		{
			commit_position(rk, topic_name, partition, last_offset + 1);
			committed = received;
		}
	}
	report(received, now() - first);

	if (group)
		rd_kafka_consumer_close(rk);
	else
		rd_kafka_consume_stop(topic, partition);
	rd_kafka_queue_destroy(queue);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	free(messages);
	return 0;
}

/* A number from the command line, from "low" on. */
static int64_t
number(const char *text, int64_t low)
{
	char	   *end;
	long long	n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || end == text || n < low)
		die(text, "not a valid number");
	return n;
}

int
main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "produce") == 0)
		return produce(argv[2], argv[3], (int32_t) number(argv[4], 0),
					   number(argv[5], 1), (size_t) number(argv[6], 0));
	if ((argc == 6 || argc == 8) && strcmp(argv[1], "consume") == 0)
		return consume(argv[2], argv[3], (int32_t) number(argv[4], 0), number(argv[5], 1),
					   argc == 8 ? argv[6] : NULL, argc == 8 ? number(argv[7], 1) : 0);
	fprintf(stderr,
			"usage: kafka_client produce BROKERS TOPIC PARTITION COUNT VALUE_BYTES\n"
			"       kafka_client consume BROKERS TOPIC PARTITION COUNT [GROUP EACH]\n");
	return 2;
}
