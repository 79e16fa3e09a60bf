/*-------------------------------------------------------------------------
 *
 * client_bench.c
 *	  What the library of src/kafka costs beside bare librdkafka.
 *
 *	client_bench BROKERS TOPIC [COUNT [EACH]]
 *	client_bench BROKERS TOPIC idle N
 *
 * Produces COUNT (1,000,000) records of 100 bytes in transactions of EACH
 * (100,000), then 20 transactions of 10 records, ten a second, then consumes
 * all of it with isolation level read_committed; each once with librdkafka
 * alone, once with the library, by turns.  The topic exists and has at least
 * one partition.  Prints a line a measurement.  Settings are the same for both.
 *
 * With CLIENT_BENCH_COMPRESSION in the environment librdkafka alone compresses
 * so.
 *
 * "idle" opens N producers and a consumer and tells what they take while
 * nothing happens for 20 seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#include "kafka_api.h"

#define VALUE_BYTES	100
#define SMALL		20
#define PAUSE		100000	/* microseconds */

static const EventlogKafkaApi *api;
static const char *brokers;
static const char *topic;
static int64 count = 1000000;
static int64 each = 100000;
static char value[VALUE_BYTES];

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "client_bench: %s: %s\n", what, why);
	_exit(1);
}

static void
report(const char *who, const char *what, int64 records, double seconds)
{
	printf("%-10s %-32s %9.0f records/s\n", who, what, (double) records / seconds);
	fflush(stdout);
}

static void
report_small(const char *who, double seconds)
{
	printf("%-10s %-32s %9.2f ms\n", who, "a transaction of 10 records", seconds * 1000 / SMALL);
	fflush(stdout);
}

/* --- librdkafka alone --- */

static void
set(rd_kafka_conf_t *conf, const char *name, const char *text)
{
	char		error[256];

	if (rd_kafka_conf_set(conf, name, text, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die(name, error);
}

static void
must(rd_kafka_error_t *error, const char *what)
{
	if (error != NULL)
		die(what, rd_kafka_error_string(error));
}

static void
bare_transaction(rd_kafka_t *rk, rd_kafka_topic_t *rkt, int64 records)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata_new("bench");
	int64		i;

	must(rd_kafka_begin_transaction(rk), "begin");
	for (i = 0; i < records; i++)
	{
		rd_kafka_resp_err_t err;

		while ((err = rd_kafka_producev(rk, RD_KAFKA_V_RKT(rkt), RD_KAFKA_V_PARTITION(0),
										RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
										RD_KAFKA_V_VALUE(value, VALUE_BYTES),
										RD_KAFKA_V_TIMESTAMP(1700000000000),
										RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
			usleep(1000);
		if (err)
			die("produce", rd_kafka_err2str(err));
	}
	rd_kafka_topic_partition_list_add(list, topic, 0)->offset = 1;
	must(rd_kafka_send_offsets_to_transaction(rk, list, group, 30000), "positions");
	must(rd_kafka_commit_transaction(rk, 30000), "commit");
	rd_kafka_consumer_group_metadata_destroy(group);
	rd_kafka_topic_partition_list_destroy(list);
}

static void
bare_produce(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		error[256];
	rd_kafka_t *rk;
	rd_kafka_topic_t *rkt;
	double		start;
	double		took;
	int64		done;
	int			i;

	set(conf, "bootstrap.servers", brokers);
	set(conf, "transactional.id", "bare");
	set(conf, "retry.backoff.ms", "5");
	set(conf, "linger.ms", "5");
	set(conf, "batch.num.messages", "100000");
	set(conf, "queue.buffering.max.messages", "200000");
	set(conf, "queue.buffering.max.kbytes", "32768");
	if (getenv("CLIENT_BENCH_COMPRESSION") != NULL)
		set(conf, "compression.type", getenv("CLIENT_BENCH_COMPRESSION"));
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (rk == NULL)
		die("librdkafka", error);
	must(rd_kafka_init_transactions(rk, 30000), "init");
	rkt = rd_kafka_topic_new(rk, topic, NULL);
	bare_transaction(rk, rkt, 1);
	start = now();
	for (done = 0; done < count; done += each)
		bare_transaction(rk, rkt, each);
	report("librdkafka", "produced in transactions", count, now() - start);
	for (took = 0, i = 0; i < SMALL; i++)
	{
		usleep(PAUSE);
		start = now();
		bare_transaction(rk, rkt, 10);
		took += now() - start;
	}
	report_small("librdkafka", took);
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
}

static void
bare_consume(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_message_t *messages[10000];
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_queue_t *queue;
	rd_kafka_t *rk;
	char		error[256];
	int64		got = 0;
	int64		bytes = 0;
	bool		end = false;
	double		first = 0;

	set(conf, "bootstrap.servers", brokers);
	set(conf, "group.id", "bare");
	set(conf, "enable.auto.commit", "false");
	set(conf, "enable.auto.offset.store", "false");
	set(conf, "enable.partition.eof", "true");
	set(conf, "check.crcs", "true");
	set(conf, "queued.max.messages.kbytes", "16384");
	set(conf, "fetch.error.backoff.ms", "20");
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	if (rk == NULL)
		die("librdkafka", error);
	rd_kafka_topic_partition_list_add(list, topic, 0)->offset = 0;
	rd_kafka_assign(rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	queue = rd_kafka_queue_get_consumer(rk);
	while (!end)
	{
		ssize_t		n = rd_kafka_consume_batch_queue(queue, 100, messages, lengthof(messages));
		ssize_t		i;

		if (n > 0 && first == 0)
			first = now();
		for (i = 0; i < n; i++)
		{
			if (messages[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
				end = true;
			else if (messages[i]->err)
				die("consume", rd_kafka_message_errstr(messages[i]));
			else
			{
				got++;
				bytes += messages[i]->len;
			}
			rd_kafka_message_destroy(messages[i]);
		}
	}
	report("librdkafka", "consumed, read_committed", got, now() - first);
	if (bytes != got * VALUE_BYTES)
		die("consume", "not all bytes came");
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

/* --- the library --- */

static void
done_or_die(EventlogKafkaClient *client, bool started, EventlogKafkaError *error, const char *what)
{
	EventlogKafkaOpState state;

	/* as a worker waits */
	while (started && (state = api->op_state(client, error)) == EVENTLOG_KAFKA_OP_RUNNING)
	{
		struct pollfd fd = {.fd = api->event_fd(client),.events = POLLIN};

		poll(&fd, 1, 1000);
		api->poll(client);
	}
	if (!started || state != EVENTLOG_KAFKA_OP_DONE)
		die(what, error->message);
}

static void
our_transaction(EventlogKafkaClient *client, int target, int64 records)
{
	EventlogKafkaOffset position = {.topic = topic,.offset = 1};
	EventlogRecord record = {.timestamp = 1700000000000,.key_len = -1,
	.value = value,.value_len = VALUE_BYTES};
	EventlogKafkaError error = {0};
	int64		i;

	if (!api->begin(client, &error))
		die("begin", error.message);
	for (i = 0; i < records; i++)
	{
		EventlogKafkaProduced produced;

		while ((produced = api->produce(client, target, 0, &record, i, &error)) ==
			   EVENTLOG_KAFKA_QUEUE_FULL)
			usleep(1000);
		if (produced != EVENTLOG_KAFKA_PRODUCED)
			die("produce", error.message);
	}
	done_or_die(client, api->start_commit(client, "bench", &position, 1, 30000, &error),
				&error, "commit");
}

/* The first one is short, and sees to it that the cluster has all it needs. */
static void
our_produce(int64 records)
{
	EventlogKafkaOption option = {"bootstrap.servers", brokers};
	EventlogKafkaOpen how = {.kind = EVENTLOG_KAFKA_PRODUCER,.transactional_id = "ours",
	.options = &option,.noptions = 1};
	EventlogKafkaError error = {0};
	EventlogKafkaClient *client = api->open(&how, &error);
	double		start;
	double		took;
	int64		done;
	int			target;
	int			i;

	if (client == NULL)
		die("open", error.message);
	done_or_die(client, api->start_init(client, 30000, &error), &error, "init");
	done_or_die(client, api->start_target(client, topic, 1, 1000000, 30000, &error), &error, "target");
	target = api->target(client);
	our_transaction(client, target, 1);
	if (records > 1)
	{
		start = now();
		for (done = 0; done < records; done += each)
			our_transaction(client, target, each);
		report("ours", "produced in transactions", records, now() - start);
		for (took = 0, i = 0; i < SMALL; i++)
		{
			usleep(PAUSE);
			start = now();
			our_transaction(client, target, 10);
			took += now() - start;
		}
		report_small("ours", took);
	}
	api->close(client, 5000);
}

static void
our_consume(void)
{
	EventlogKafkaOption option = {"bootstrap.servers", brokers};
	EventlogKafkaOpen how = {.kind = EVENTLOG_KAFKA_CONSUMER,.options = &option,.noptions = 1};
	EventlogKafkaAssign from = {.topic = topic};
	EventlogKafkaError error = {0};
	EventlogKafkaClient *client = api->open(&how, &error);
	int64		got = 0;
	int64		bytes = 0;
	bool		end = false;
	double		first = 0;

	if (client == NULL || !api->assign(client, &from, 1, &error))
		die("assign", error.message);
	while (!end)
	{
		EventlogKafkaBatch *batch;
		int			i;

		api->poll(client);
		batch = api->fetch(client, 10000, 16 << 20);
		if (batch == NULL)
		{
			struct pollfd fd = {.fd = api->event_fd(client),.events = POLLIN};

			poll(&fd, 1, 1000);
			continue;
		}
		if (first == 0)
			first = now();
		for (i = 0; i < batch->count; i++)
		{
			EventlogKafkaMessage *message = &batch->messages[i];

			if (message->kind == EVENTLOG_KAFKA_RECORD)
			{
				got++;
				bytes += message->record.value_len;
			}
			else if (message->kind == EVENTLOG_KAFKA_END)
				end = true;
			else
				die("consume", message->record.value);
		}
		api->release(client, batch);
	}
	report("ours", "consumed, read_committed", got, now() - first);
	if (bytes != got * VALUE_BYTES)
		die("consume", "not all bytes came");
	api->close(client, 5000);
}

/* --- doing nothing --- */

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static long
resident_kb(void)
{
	FILE	   *f = fopen("/proc/self/statm", "r");
	long		total = 0;
	long		resident = 0;

	if (f == NULL || fscanf(f, "%ld %ld", &total, &resident) != 2)
		resident = 0;
	if (f != NULL)
		fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void
idle(int producers)
{
	EventlogKafkaOption option = {"bootstrap.servers", brokers};
	EventlogKafkaOpen how = {.options = &option,.noptions = 1};
	EventlogKafkaClient **clients = calloc(producers + 1, sizeof(*clients));
	EventlogKafkaAssign from = {.topic = topic,.offset = EVENTLOG_KAFKA_OFFSET_END};
	EventlogKafkaError error = {0};
	double		cpu;
	int			second;
	int			i;

	for (i = 0; i <= producers; i++)
	{
		char		id[50];

		snprintf(id, sizeof(id), "idle%d", i);
		how.kind = i < producers ? EVENTLOG_KAFKA_PRODUCER : EVENTLOG_KAFKA_CONSUMER;
		how.transactional_id = id;
		clients[i] = api->open(&how, &error);
		if (clients[i] == NULL)
			die("open", error.message);
		if (i == producers)
			api->assign(clients[i], &from, 1, &error);
		else
		{
			done_or_die(clients[i], api->start_init(clients[i], 30000, &error), &error, "init");
			done_or_die(clients[i], api->start_target(clients[i], topic, 1, 0, 30000, &error),
						&error, "target");
		}
	}
	sleep(3);
	cpu = cpu_seconds();
	for (second = 0; second < 20; second++)
	{
		sleep(1);
		for (i = 0; i <= producers; i++)
			api->poll(clients[i]);
	}
	printf("%d idle producers and a consumer: %.2f %% of a core, %ld MB resident\n", producers,
		   (cpu_seconds() - cpu) * 5, resident_kb() / 1024);
	for (i = 0; i <= producers; i++)
		api->close(clients[i], 5000);
}

int
main(int argc, char **argv)
{
	if (argc < 3)
	{
		fprintf(stderr, "usage: client_bench BROKERS TOPIC [COUNT [EACH]]\n");
		return 2;
	}
	brokers = argv[1];
	topic = argv[2];
	if (argc == 5 && strcmp(argv[3], "idle") == 0)
	{
		signal(SIGPIPE, SIG_IGN);
		api = eventlog_kafka_api();
		idle(atoi(argv[4]));
		return 0;
	}
	if (argc > 3)
		count = atoll(argv[3]);
	if (argc > 4)
		each = atoll(argv[4]);
	signal(SIGPIPE, SIG_IGN);
	memset(value, 'x', sizeof(value));
	api = eventlog_kafka_api();
	printf("librdkafka %s\n", api->library_version());
	our_produce(1);
	bare_produce();
	our_produce(count);
	bare_consume();
	our_consume();
	return 0;
}
