/*-------------------------------------------------------------------------
 *
 * broker_test.c
 *	  The library against a real broker.
 *
 *-------------------------------------------------------------------------
 */
#include "client_test.h"

#include <poll.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

static EventlogKafkaConfig
find_config(EventlogKafkaClient *client, const char *name)
{
	int			count;
	const EventlogKafkaConfig *configs = api->configs(client, &count);
	EventlogKafkaConfig none = {0};

	for (; count > 0; count--, configs++)
	{
		if (strcmp(configs->name, name) == 0)
			return *configs;
	}
	return none;
}

static void
test_admin(const char *brokers)
{
	EventlogKafkaClient *client = test_open(EVENTLOG_KAFKA_ADMIN, brokers, NULL, NULL);
	EventlogKafkaError error = {0};
	EventlogKafkaOption option = {"max.message.bytes", "2000000"};
	EventlogKafkaOption wrong = {"cleanup.policy", "sweep"};
	const EventlogKafkaMetadata *metadata;
	EventlogKafkaError failure;

	test_done(client, api->start_create_topic(client, "admin", 3, -1, &option, 1, PATIENCE, &error),
			  &error, "create");
	failure = test_failed(client, api->start_create_topic(client, "admin", 3, 1, NULL, 0,
														  PATIENCE, &error), &error);
	test_ok(failure.code == EVENTLOG_KAFKA_ERR_TOPIC_ALREADY_EXISTS && !failure.retriable,
			"a topic that exists is not created: %s", failure.message);
	failure = test_failed(client, api->start_create_topic(client, "b", 1, 1, &wrong, 1,
														  PATIENCE, &error), &error);
	test_ok(failure.code != 0 && strstr(failure.message, "sweep"),
			"nor one with a wrong config: %s", failure.message);

	test_done(client, api->start_metadata(client, "admin", PATIENCE, &error), &error, "metadata");
	metadata = api->metadata(client);
	test_ok(metadata->nbrokers == 1 && metadata->ntopics == 1 &&
			metadata->topics[0].partitions == 3 && metadata->topics[0].code == 0 &&
			metadata->topics[0].replication_factor == 1 && metadata->topics[0].leaderless == 0 &&
			metadata->latency_ms > 0 && metadata->latency_ms < 5000 &&
			strlen(metadata->cluster_id) > 0 && metadata->brokers[0].port > 0,
			"metadata of one topic");
	test_note("latency %.2f ms", metadata->latency_ms);
	test_done(client, api->start_metadata(client, NULL, PATIENCE, &error), &error, "metadata");
	test_ok(api->metadata(client)->ntopics >= 1, "metadata of all topics");
	test_done(client, api->start_metadata(client, "nothing", PATIENCE, &error), &error, "metadata");
	test_ok(api->metadata(client)->topics[0].code == EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART,
			"metadata of no topic");

	test_done(client, api->start_describe_topic(client, "admin", PATIENCE, &error), &error, "describe");
	test_ok(strcmp(find_config(client, "max.message.bytes").value, "2000000") == 0 &&
			!find_config(client, "max.message.bytes").is_default &&
			find_config(client, "cleanup.policy").is_default, "configs of a topic");
	failure = test_failed(client, api->start_describe_topic(client, "nothing", PATIENCE, &error), &error);
	test_ok(failure.code == EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART, "configs of no topic: %s",
			failure.message);
	test_close(client);
}

static void
test_options(const char *brokers)
{
	EventlogKafkaError error = {0};
	EventlogKafkaOption options[2] = {{"bootstrap.servers", brokers}, {"linger.ms", "soon"}};
	EventlogKafkaOpen how = {.kind = EVENTLOG_KAFKA_PRODUCER,.options = options,.noptions = 2};

	test_ok(api->check_option(EVENTLOG_KAFKA_PRODUCER, "compression.type", "lz4", &error),
			"a good option");
	test_ok(!api->check_option(EVENTLOG_KAFKA_PRODUCER, "compression.type", "zip", &error),
			"a bad value: %s", error.message);
	test_ok(!api->check_option(EVENTLOG_KAFKA_PRODUCER, "compression", "lz4", &error),
			"a bad option: %s", error.message);
	test_ok(!api->check_option(EVENTLOG_KAFKA_PRODUCER, "ssl.key.pem", "hunter2", &error) ||
			!strstr(error.message, "hunter2"), "secrets are not told");
	test_ok(api->open(&how, &error) == NULL && strstr(error.message, "linger.ms") != NULL,
			"no client with a bad option: %s", error.message);
}

/* Records that are hard to carry: what is sent, and is to come back. */
static const char header_bytes[] = {
	2, 'a', 6, '1', '2', '3',	/* a = "123" */
	4, 'n', 'u', 1,				/* nu = null */
	0, 0,						/* "" = "" */
	2, 'a', 4, 0, 1				/* a = two bytes, once more */
};
static const EventlogRecord hard[] = {
	{.timestamp = 1700000000123,.key = "k",.key_len = 1,.value = "v",.value_len = 1},
	{.timestamp = 0,.key = NULL,.key_len = -1,.value = NULL,.value_len = -1},
	{.timestamp = -1,.key = "",.key_len = 0,.value = "",.value_len = 0},
	{.timestamp = 1,.key = "\0\1",.key_len = 2,.value = "\377",.value_len = 1,
		.headers = header_bytes,.headers_len = sizeof(header_bytes),.headers_count = 4},
	{.timestamp = 0,.key = "z",.key_len = 1,.value = "z",.value_len = 1,
		.headers = header_bytes,.headers_len = 6,.headers_count = 1},
	{.timestamp = 1600000000000,.key = NULL,.key_len = -1,.value = "x",.value_len = 1},
};

static bool
same_bytes(const char *a, int32 alen, const char *b, int32 blen)
{
	return alen == blen && (a == NULL) == (b == NULL) &&
		(alen <= 0 || memcmp(a, b, alen) == 0);
}

/* Does what was read equal hard[i]? */
static bool
same_record(const EventlogRecord *a, const EventlogRecord *b)
{
	return a->timestamp == b->timestamp &&
		same_bytes(a->key, a->key_len, b->key, b->key_len) &&
		same_bytes(a->value, a->value_len, b->value, b->value_len) &&
		a->headers_count == b->headers_count &&
		same_bytes(a->headers, a->headers_len, b->headers, b->headers_len);
}

static void
test_hard_records(const char *brokers, const char *compression)
{
	char		topic[50];
	char		options[80];
	EventlogKafkaClient *client;
	EventlogKafkaError error = {0};
	EventlogKafkaBatch *batch = NULL;
	int			target;
	int			i;
	int			found = 0;
	int64		until;

	snprintf(topic, sizeof(topic), "hard_%s", compression);
	snprintf(options, sizeof(options), "compression.type=%s", compression);
	test_create(brokers, topic, 1, NULL, NULL);
	client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, topic, options);
	test_done(client, api->start_init(client, PATIENCE, &error), &error, "init");
	test_done(client, api->start_target(client, topic, 1, 0, PATIENCE, &error), &error, "target");
	target = api->target(client);

	/* the first record of a batch is its base time: begin with each once */
	for (i = 0; i < lengthof(hard); i++)
	{
		int			j;

		test_begin(client);
		for (j = i; j < lengthof(hard); j++)
		{
			if (api->produce(client, target, 0, &hard[j], j, &error) != EVENTLOG_KAFKA_PRODUCED)
				test_ok(false, "produce: %s", error.message);
		}
		test_commit(client, "g", NULL, 0);
	}
	test_close(client);

	client = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_assign(client, topic, EVENTLOG_KAFKA_OFFSET_BEGINNING);
	until = test_now() + PATIENCE;
	i = 0;
	while (found < 21 && test_now() < until)
	{
		int			m;

		api->poll(client);
		batch = api->fetch(client, 100, 1 << 20);
		if (batch == NULL)
		{
			usleep(5000);
			continue;
		}
		for (m = 0; m < batch->count; m++)
		{
			EventlogKafkaMessage *message = &batch->messages[m];
			int			want = 0;
			int			first = 0;

			if (message->kind != EVENTLOG_KAFKA_RECORD)
				continue;
			for (want = found; want >= lengthof(hard) - first; first++)
				want -= lengthof(hard) - first;
			want += first;
			if (message->tag != 7 || message->append_time ||
				!same_record(&message->record, &hard[want]))
				test_ok(false, "record %d: ts %lld key_len %d value_len %d headers %d", want,
						(long long) message->record.timestamp, message->record.key_len,
						message->record.value_len, message->record.headers_count);
			found++;
		}
		api->release(client, batch);
	}
	test_ok(found == 21, "nulls, empty values, headers and timestamps arrive as they are: %s, %d",
			compression, found);
	test_close(client);
}

static void
test_transactions(const char *brokers)
{
	EventlogKafkaClient *producer;
	EventlogKafkaClient *consumer;
	EventlogKafkaError error = {0};
	EventlogKafkaOffset partition = {.topic = "txn"};
	EventlogKafkaOffset start;
	int			target;
	int			count;
	int64		next = -1;
	const char *text;

	test_create(brokers, "txn", 1, NULL, NULL);
	producer = test_producer(brokers, "txn", "txn", &target);
	consumer = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_ok(test_committed(producer, "positions", "txn") == -1, "no position at first");

	test_begin(producer);
	test_produce(producer, target, 0, "a", "1", 1, &error);
	test_produce(producer, target, 0, NULL, "2", 2, &error);
	test_ok(api->produced_bytes(producer) == 3, "bytes are counted");
	test_commit(producer, "positions", "txn", 1002);
	test_ok(test_committed(producer, "positions", "txn") == 1002,
			"a transaction carries a position of a group");

	test_begin(producer);
	test_produce(producer, target, 0, "lost", "3", 3, &error);
	test_done(producer, api->start_flush(producer, PATIENCE, &error), &error, "flush");
	test_done(producer, api->start_abort(producer, PATIENCE, &error), &error, "abort");
	test_ok(test_committed(producer, "positions", "txn") == 1002, "abort leaves the position");

	test_begin(producer);
	test_produce(producer, target, 0, "b", NULL, 4, &error);
	test_commit(producer, "positions", "txn", 1004);
	test_begin(producer);
	test_commit(producer, "positions", "txn", 1005);
	test_ok(test_committed(producer, "positions", "txn") == 1005, "a position alone");

	test_assign(consumer, "txn", EVENTLOG_KAFKA_OFFSET_BEGINNING);
	text = test_read(consumer, 100, &next);
	test_ok(strcmp(text, "a=1@0 null=2@1 b=null@5 ") == 0, "what is committed is read: %s", text);
	test_ok(next == 7, "and the end is behind control records: %lld", (long long) next);

	/* what is not yet committed is not seen, and then it is */
	test_begin(producer);
	test_produce(producer, target, 0, "c", "5", 5, &error);
	test_done(producer, api->start_flush(producer, PATIENCE, &error), &error, "flush");
	usleep(300000);
	api->poll(consumer);
	test_ok(api->fetch(consumer, 10, 1000) == NULL, "an open transaction is not read");
	test_done(producer, api->start_watermarks(producer, &partition, 1, PATIENCE, &error),
			  &error, "watermarks");
	test_ok(api->offsets(producer, &count)[0].offset == 0 &&
			api->offsets(producer, &count)[0].high == 8 && count == 1,
			"but it counts for the high watermark: %lld",
			(long long) api->offsets(producer, &count)[0].high);
	test_commit(producer, "positions", "txn", 1006);
	{
		struct pollfd fd = {.fd = api->event_fd(consumer),.events = POLLIN};
		int			ready = poll(&fd, 1, PATIENCE);

		test_ok(ready == 1, "the descriptor tells of records");
	}
	text = test_read(consumer, 100, &next);
	test_ok(strcmp(text, "c=5@7 ") == 0, "then it is: %s", text);

	partition.offset = 1700000000000;
	test_done(producer, api->start_offsets_for_times(producer, &partition, 1, PATIENCE, &error),
			  &error, "offsets for times");
	start = api->offsets(producer, &count)[0];
	test_ok(start.offset == 0 && start.code == 0, "the first record at a time");
	partition.offset = INT64CONST(4000000000000);
	test_done(producer, api->start_offsets_for_times(producer, &partition, 1, PATIENCE, &error),
			  &error, "offsets for times");
	test_ok(api->offsets(producer, &count)[0].offset == -1, "no record after the last");
	test_close(producer);
	test_close(consumer);
}

static void
test_fencing(const char *brokers)
{
	EventlogKafkaClient *old;
	EventlogKafkaClient *new;
	EventlogKafkaClient *consumer;
	EventlogKafkaError error = {0};
	EventlogKafkaOffset offset = {.topic = "fence",.offset = 1};
	EventlogKafkaError failure;
	int			old_target;
	int			new_target;
	int64		next;
	const char *text;

	test_create(brokers, "fence", 1, NULL, NULL);
	old = test_producer(brokers, "fence", "fence", &old_target);
	test_begin(old);
	test_produce(old, old_target, 0, "old", "1", 1, &error);
	test_done(old, api->start_flush(old, PATIENCE, &error), &error, "flush");

	new = test_producer(brokers, "fence", "fence", &new_target);
	test_ok(test_committed(new, "positions", "fence") == -1, "the new one has no position yet");
	test_begin(new);
	test_produce(new, new_target, 0, "new", "1", 1, &error);
	test_commit(new, "positions", "fence", 5);

	test_produce(old, old_target, 0, "old", "2", 2, &error);
	failure = test_failed(old, api->start_commit(old, "positions", &offset, 1, PATIENCE, &error),
						  &error);
	test_ok(failure.fenced && failure.fatal && !failure.retriable,
			"an old producer is fenced: %s %s", failure.name, failure.message);
	test_ok(!api->begin(old, &error) && error.fatal, "and has no more to say: %s", error.message);
	test_close(old);
	test_ok(test_committed(new, "positions", "fence") == 5, "the position is the new one's");
	test_close(new);

	consumer = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_assign(consumer, "fence", EVENTLOG_KAFKA_OFFSET_BEGINNING);
	text = test_read(consumer, 100, &next);
	test_ok(strcmp(text, "new=1@2 ") == 0, "so are the records: %s", text);
	test_close(consumer);
}

/*
 * A position that is part of an open transaction: whoever asks has to wait for
 * its end.  The library does not leave one open, so librdkafka is used here.
 */
static void
test_stable(const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata_new("stable");
	EventlogKafkaClient *client;
	EventlogKafkaOffset offset = {.topic = "stable",.offset = 10};
	EventlogKafkaError error = {0};
	EventlogKafkaError failed;
	rd_kafka_t *rk;
	char		text[256];
	int			target;

	test_create(brokers, "stable", 1, NULL, NULL);
	client = test_producer(brokers, "stable", "stable", &target);
	test_begin(client);
	test_commit(client, "stable", "stable", 10);
	test_close(client);

	rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text));
	rd_kafka_conf_set(conf, "transactional.id", "stable", text, sizeof(text));
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	rd_kafka_topic_partition_list_add(list, "stable", 0)->offset = 20;
	test_ok(rd_kafka_init_transactions(rk, PATIENCE) == NULL &&
			rd_kafka_begin_transaction(rk) == NULL &&
			rd_kafka_send_offsets_to_transaction(rk, list, group, PATIENCE) == NULL,
			"a position in an open transaction");
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_consumer_group_metadata_destroy(group);

	client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, "stable", NULL);
	failed = test_failed(client, api->start_committed(client, "stable", &offset, 1, 1000, &error),
						 &error);
	test_ok(failed.retriable, "the old one is not told: %s %s", failed.name, failed.message);
	test_done(client, api->start_init(client, PATIENCE, &error), &error, "init");
	test_ok(test_committed(client, "stable", "stable") == 10,
			"it is when a new producer has ended the transaction");
	test_close(client);
	rd_kafka_destroy(rk);
}

static void
test_refused(const char *brokers)
{
	EventlogKafkaClient *client;
	EventlogKafkaDelivery failure;
	EventlogKafkaError error = {0};
	EventlogKafkaError failed;
	EventlogRecord record = {.timestamp = 1,.key_len = -1};
	char	   *big = malloc(2 << 20);
	int			target;

	memset(big, 'x', 2 << 20);
	record.value = big;
	record.value_len = 100000;
	test_create(brokers, "small", 2, "max.message.bytes", "50000");
	client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, "small", NULL);
	test_ok(!api->begin(client, &error), "no transaction before init: %s", error.message);
	test_done(client, api->start_init(client, PATIENCE, &error), &error, "init");
	test_done(client, api->start_target(client, "small", 2, 50000, PATIENCE, &error), &error, "target");
	target = api->target(client);
	test_ok(api->target_partitions(client, target) == 2, "a target's partitions");

	test_begin(client);
	test_ok(api->produce(client, target, 0, &record, 1, &error) == EVENTLOG_KAFKA_REFUSED &&
			error.code == EVENTLOG_KAFKA_ERR_MSG_SIZE_TOO_LARGE, "too large: %s", error.message);
	test_ok(test_produce(client, target, 2, "a", "b", 1, &error) == EVENTLOG_KAFKA_REFUSED &&
			error.code == EVENTLOG_KAFKA_ERR_UNKNOWN_PARTITION, "no such partition: %s", error.message);
	record.value_len = 1;
	record.headers = "\2a\7";
	record.headers_len = 3;
	record.headers_count = 1;
	test_ok(api->produce(client, target, 0, &record, 1, &error) == EVENTLOG_KAFKA_REFUSED,
			"headers that are none: %s", error.message);
	record.headers_count = 0;
	record.headers_len = 0;

	/* the largest that fits: 61 bytes of batch, 3 of length, 3, null key, 3 of length, no headers */
	record.value_len = 50000 - 61 - 3 - 3 - 1 - 3 - 1;
	test_ok(api->produce(client, target, 0, &record, 1, &error) == EVENTLOG_KAFKA_PRODUCED,
			"the largest that fits is taken");
	test_commit(client, "p", NULL, 0);
	record.value_len++;
	test_begin(client);
	test_ok(api->produce(client, target, 0, &record, 1, &error) == EVENTLOG_KAFKA_REFUSED,
			"one byte more is not");

	/* not looked at before: the broker refuses it */
	test_done(client, api->start_target(client, "small", 2, 0, PATIENCE, &error), &error, "target");
	test_ok(api->target(client) == target, "a target looked up again keeps its number");
	test_produce(client, target, 0, "a", "b", 41, &error);
	test_ok(api->produce(client, target, 1, &record, 42, &error) == EVENTLOG_KAFKA_PRODUCED,
			"without a limit it is");
	failed = test_failed(client, api->start_commit(client, "p", NULL, 0, PATIENCE, &error), &error);
	test_ok(failed.abortable && !failed.fatal && !failed.retriable,
			"and fails the transaction: %s %s", failed.name, failed.message);
	test_ok(api->delivery_failure(client, &failure) && failure.tag == 42 && failure.partition == 1 &&
			failure.count == 1 && failure.target == target &&
			failure.error.code == EVENTLOG_KAFKA_ERR_MSG_SIZE_TOO_LARGE,
			"which record it was is told: %s", failure.error.message);
	test_done(client, api->start_abort(client, PATIENCE, &error), &error, "abort");
	test_close(client);

	/* a topic that is not there, more partitions than there are */
	client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, NULL, NULL);
	failed = test_failed(client, api->start_target(client, "nothing", 1, 0, 500, &error), &error);
	test_ok(failed.code != 0 && !failed.retriable, "no such topic: %s %s", failed.name, failed.message);
	failed = test_failed(client, api->start_target(client, "small", 3, 0, 500, &error), &error);
	test_ok(failed.code == EVENTLOG_KAFKA_ERR_UNKNOWN_PARTITION, "too few partitions: %s", failed.message);
	test_close(client);
	free(big);
}

static void
test_large(const char *brokers)
{
	EventlogKafkaClient *client;
	EventlogKafkaError error = {0};
	EventlogRecord record = {.timestamp = 1,.key_len = -1};
	const int	size = 1 << 20;
	char	   *big = malloc(size);
	int64		until = test_now() + PATIENCE;
	int			target;
	int			found = 0;
	bool		same = true;
	int			i;

	test_create(brokers, "large", 1, "max.message.bytes", "1200000");
	client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, "large", "queue.buffering.max.kbytes=4096");
	test_done(client, api->start_init(client, PATIENCE, &error), &error, "init");
	test_done(client, api->start_target(client, "large", 1, 1200000, PATIENCE, &error), &error, "target");
	target = api->target(client);
	test_begin(client);
	for (i = 0; i < 20; i++)
	{
		EventlogKafkaProduced produced;

		memset(big, 'a' + i, size);
		record.value = big;
		record.value_len = size;
		while ((produced = api->produce(client, target, 0, &record, i, &error)) ==
			   EVENTLOG_KAFKA_QUEUE_FULL)
		{
			found = 1;
			usleep(1000);
			api->poll(client);
		}
		if (produced != EVENTLOG_KAFKA_PRODUCED)
			test_ok(false, "produce: %s", error.message);
	}
	test_ok(found == 1, "a full queue is told");
	test_commit(client, "p", NULL, 0);
	test_close(client);

	client = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_assign(client, "large", 0);
	for (found = 0; found < 20 && test_now() < until;)
	{
		EventlogKafkaBatch *batch;

		api->poll(client);
		batch = api->fetch(client, 1000, 1 << 22);
		if (batch == NULL)
		{
			usleep(5000);
			continue;
		}
		for (i = 0; i < batch->count; i++)
		{
			EventlogRecord *r = &batch->messages[i].record;

			if (batch->messages[i].kind != EVENTLOG_KAFKA_RECORD)
				continue;
			same &= r->value_len == size && r->value[0] == 'a' + found && r->value[size - 1] == 'a' + found;
			found++;
		}
		api->release(client, batch);
	}
	test_ok(found == 20 && same, "records of 1 MB: %d", found);
	test_close(client);
	free(big);
}

/* Without transactions: flush, and what is not delivered. */
static void
test_at_least_once(const char *brokers)
{
	EventlogKafkaClient *client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, NULL, NULL);
	EventlogKafkaClient *consumer;
	EventlogKafkaError error = {0};
	int			target;
	int64		next;

	test_create(brokers, "plain", 1, NULL, NULL);
	test_done(client, api->start_target(client, "plain", 1, 0, PATIENCE, &error), &error, "target");
	target = api->target(client);
	test_produce(client, target, 0, "a", "1", 1, &error);
	test_done(client, api->start_flush(client, PATIENCE, &error), &error, "flush");
	test_ok(api->queue_length(client) == 0, "flushed");
	test_ok(!api->begin(client, &error), "no transactions here: %s", error.message);
	test_close(client);
	consumer = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_assign(consumer, "plain", 0);
	test_ok(strcmp(test_read(consumer, 10, &next), "a=1@0 ") == 0 && next == 1, "and read");
	test_close(consumer);
}

/* A batch, as soon as there is one. */
static EventlogKafkaBatch *
test_fetch(EventlogKafkaClient *client, int max)
{
	int64		until = test_now() + PATIENCE;
	EventlogKafkaBatch *batch;

	while ((batch = api->fetch(client, max, 1000)) == NULL)
	{
		api->poll(client);
		if (test_now() > until)
		{
			test_ok(false, "records come");
			exit(1);
		}
		usleep(5000);
	}
	if (batch->messages[0].kind == EVENTLOG_KAFKA_TROUBLE)
	{
		test_ok(false, "trouble %d: %.*s", batch->messages[0].code,
				batch->messages[0].record.value_len, batch->messages[0].record.value);
		exit(1);
	}
	return batch;
}

static void
test_consumer(const char *brokers)
{
	EventlogKafkaClient *client;
	EventlogKafkaError error = {0};
	EventlogKafkaAssign at = {.topic = "read",.tag = 9};
	EventlogKafkaOffset times[2] = {{.topic = "read"}, {.topic = "read"}};
	EventlogKafkaBatch *first;
	EventlogKafkaBatch *second;
	int64		until;
	int			count;
	int			target;
	int64		next = -1;
	int			i;
	const char *text;

	test_create(brokers, "read", 1, NULL, NULL);
	client = test_producer(brokers, "read", "read", &target);
	test_begin(client);
	for (i = 0; i < 10; i++)
	{
		char		key[2] = {(char) ('0' + i), '\0'};

		test_produce(client, target, 0, key, "v", i, &error);
	}
	test_commit(client, "p", NULL, 0);
	test_close(client);

	client = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	times[0].offset = EVENTLOG_KAFKA_OFFSET_BEGINNING;
	times[1].offset = EVENTLOG_KAFKA_OFFSET_END;
	test_done(client, api->start_offsets_for_times(client, &times[0], 1, PATIENCE, &error),
			  &error, "beginning");
	test_ok(api->offsets(client, &count)[0].offset == 0, "where the log begins");
	/* a commit has ended before its marker is in the log */
	until = test_now() + PATIENCE;
	do
		test_done(client, api->start_offsets_for_times(client, &times[1], 1, PATIENCE, &error),
				  &error, "end");
	while (api->offsets(client, &count)[0].offset != 11 && test_now() < until);
	test_ok(api->offsets(client, &count)[0].offset == 11, "where it ends");
	test_assign(client, "read", 7);
	text = test_read(client, 100, &next);
	test_ok(strcmp(text, "7=v@7 8=v@8 9=v@9 ") == 0 && next == 11, "from an offset: %s", text);
	test_ok(!api->assign(client, &at, 1, &error), "not twice: %s", error.message);
	test_close(client);

	/* what is held survives another fetch, and the close of the client */
	client = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_assign(client, "read", 0);
	first = test_fetch(client, 2);
	second = test_fetch(client, 2);
	test_ok(first->count == 2 && memcmp(first->messages[1].record.key, "1", 1) == 0 &&
			second->count == 2 && memcmp(second->messages[0].record.key, "2", 1) == 0 &&
			first->messages[0].tag == 7,
			"two batches are held");
	api->release(client, first);
	text = test_read(client, 100, &next);
	test_ok(strcmp(text, "4=v@4 5=v@5 6=v@6 7=v@7 8=v@8 9=v@9 ") == 0, "nothing is lost: %s", text);
	test_close(client);

	/* a position that is not there is told, not reset */
	client = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_assign(client, "read", 1000);
	text = test_read(client, 100, &next);
	test_ok(strncmp(text, "trouble", 7) == 0, "out of range: %s", text);
	test_close(client);

	/* more than one partition; a topic that is not there */
	client = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_assign(client, "nothing", 0);
	test_assign(client, "read", 9);
	text = test_read(client, 1, &next);
	test_ok(strcmp(text, "9=v@9 ") == 0 || strncmp(text, "trouble", 7) == 0, "%s", text);
	test_close(client);
}

/*
 * A queue that is full after each batch: without nudges, each of them would
 * take librdkafka 2.0.2 a second.
 */
static void
test_small_queue(const char *brokers)
{
	EventlogKafkaClient *client;
	EventlogKafkaError error = {0};
	int64		until;
	int			target;
	int			got = 0;
	int			i;

	test_create(brokers, "queue", 1, NULL, NULL);
	client = test_producer(brokers, "queue", "queue", &target);
	for (i = 0; i < 500; i++)
	{
		int			j;

		test_begin(client);
		for (j = 0; j < 20; j++)
			test_produce(client, target, 0, NULL, "a value of some bytes", i, &error);
		test_commit(client, "queue", "queue", i);
	}
	test_close(client);

	client = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r",
					   "queued.min.messages=10 fetch.message.max.bytes=700");
	test_assign(client, "queue", 0);
	until = test_now() + PATIENCE;
	while (got < 10000 && test_now() < until)
	{
		EventlogKafkaBatch *batch = api->fetch(client, 1000, 1 << 20);

		api->poll(client);
		/* no pause: messages are to come while the queue is being read, too */
		if (batch == NULL)
			continue;
		for (i = 0; i < batch->count; i++)
		{
			const EventlogKafkaMessage *message = &batch->messages[i];

			if (message->kind == EVENTLOG_KAFKA_RECORD)
				got++;
			else if (message->kind == EVENTLOG_KAFKA_TROUBLE)
				test_ok(false, "trouble %d: %.*s", message->code, message->record.value_len,
						message->record.value);
		}
		api->release(client, batch);
	}
	test_ok(got == 10000, "a small queue is filled again as soon as it is empty: %d", got);
	test_close(client);
}

/*
 * A producer that is closed just when a record has begun its transaction: then
 * librdkafka is about to register the record's partition.
 */
static void
closing_tests(const char *brokers)
{
	EventlogKafkaError error = {0};
	int			target;
	int			i;

	test_create(brokers, "closing", 1, NULL, NULL);
	for (i = 0; i < 150; i++)
	{
		EventlogKafkaClient *client = test_producer(brokers, "closing", "closing", &target);

		/* a transaction right behind another one has to wait for its end */
		test_begin(client);
		test_produce(client, target, 0, "a", "1", 1, &error);
		test_commit(client, "closing", "closing", i);
		test_begin(client);
		test_produce(client, target, 0, "a", "1", 1, &error);
		/* from at once to some milliseconds later */
		usleep(i % 60 * 500);
		(void) api->close(client, i % 2 ? 0 : PATIENCE);
	}
	test_ok(true, "closed in the middle of beginning, %d times", i);
}

void
broker_tests(const char *brokers)
{
	closing_tests(brokers);
	test_admin(brokers);
	test_options(brokers);
	test_transactions(brokers);
	test_hard_records(brokers, "none");
	test_hard_records(brokers, "lz4");
	test_fencing(brokers);
	test_stable(brokers);
	test_refused(brokers);
	test_large(brokers);
	test_at_least_once(brokers);
	test_consumer(brokers);
	test_small_queue(brokers);
}
