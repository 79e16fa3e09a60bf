/*-------------------------------------------------------------------------
 *
 * mock_test.c
 *	  The library against librdkafka's mock cluster, whose brokers can be made
 *	  to answer with errors.
 *
 *-------------------------------------------------------------------------
 */
#include "client_test.h"

#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

/* Kafka's numbers of requests */
#define PRODUCE			0
#define ADD_PARTITIONS	24
#define ADD_OFFSETS		25
#define END_TXN			26
#define INIT_PRODUCER	22
#define TXN_OFFSETS		28

static rd_kafka_t *home;
static rd_kafka_mock_cluster_t *cluster;

static void
start_cluster(void)
{
	char		text[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	rd_kafka_conf_set(conf, "log_level", "0", text, sizeof(text));
	home = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	cluster = rd_kafka_mock_cluster_new(home, 1);
	rd_kafka_mock_topic_create(cluster, "t", 2, 1);
}

/* The cluster answers the next such requests with these errors. */
static void
inject(int request, rd_kafka_resp_err_t error, int times)
{
	int			i;

	for (i = 0; i < times; i++)
		rd_kafka_mock_push_request_errors(cluster, (int16_t) request, 1, error);
}

/* A transaction of one record; its commit has to work, whatever was injected. */
static void
test_survives(const char *what)
{
	const char *brokers = rd_kafka_mock_cluster_bootstraps(cluster);
	EventlogKafkaError error = {0};
	EventlogKafkaOffset offset = {.topic = "t",.offset = 1};
	int			target;
	EventlogKafkaClient *client = test_producer(brokers, what, "t", &target);

	test_begin(client);
	test_produce(client, target, 0, "k", "v", 1, &error);
	test_done(client, api->start_commit(client, "g", &offset, 1, PATIENCE, &error), &error, what);
	test_ok(true, "survived: %s", what);
	test_close(client);
}

/* One whose commit fails; tells how. */
static EventlogKafkaError
test_fails(const char *what, EventlogKafkaDelivery *failure)
{
	const char *brokers = rd_kafka_mock_cluster_bootstraps(cluster);
	EventlogKafkaError error = {0};
	EventlogKafkaError failed;
	EventlogKafkaOffset offset = {.topic = "t",.offset = 1};
	int			target;
	EventlogKafkaClient *client = test_producer(brokers, what, "t", &target);

	test_begin(client);
	test_produce(client, target, 1, "k", "v", 77, &error);
	failed = test_failed(client, api->start_commit(client, "g", &offset, 1, PATIENCE, &error), &error);
	memset(failure, 0, sizeof(*failure));
	api->delivery_failure(client, failure);
	if (failed.abortable)
		test_done(client, api->start_abort(client, PATIENCE, &error), &error, "abort");
	test_close(client);
	return failed;
}

void
mock_tests(void)
{
	EventlogKafkaDelivery failure;
	EventlogKafkaError failed;
	EventlogKafkaClient *client;
	EventlogKafkaError error = {0};
	int			target;

	start_cluster();

	test_survives("nothing");
	inject(INIT_PRODUCER, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 2);
	test_survives("coordinator loading at init");
	inject(PRODUCE, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2);
	test_survives("not enough replicas for records");
	inject(ADD_OFFSETS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, 2);
	test_survives("concurrent transactions");
	inject(END_TXN, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, 2);
	test_survives("no coordinator at the end");
	inject(END_TXN, RD_KAFKA_RESP_ERR__TRANSPORT, 1);
	test_survives("connection lost at the end");

	inject(PRODUCE, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 1);
	failed = test_fails("authorisation lost", &failure);
	test_ok(failed.abortable && !failed.fatal, "authorisation lost: %s", failed.message);
	test_ok(failure.count == 1 && failure.tag == 77 && failure.partition == 1 &&
			failure.error.code == EVENTLOG_KAFKA_ERR_TOPIC_AUTHORIZATION && failure.error.abortable,
			"the record is told: %s", failure.error.message);

	inject(PRODUCE, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, 1);
	failed = test_fails("timestamp", &failure);
	test_ok(failed.abortable && failure.error.code == EVENTLOG_KAFKA_ERR_INVALID_TIMESTAMP,
			"a timestamp refused: %s", failure.error.message);

	/* what librdkafka does not try again itself is for a new client */
	inject(TXN_OFFSETS, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, 1);
	failed = test_fails("positions", &failure);
	test_ok(failed.code == 0 || failed.abortable, "coordinator loading at positions: %s",
			failed.code ? failed.message : "survived");

	inject(TXN_OFFSETS, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, 1);
	failed = test_fails("group", &failure);
	test_ok(failed.abortable && failed.code == EVENTLOG_KAFKA_ERR_GROUP_AUTHORIZATION,
			"the group refused: %s", failed.message);

	inject(END_TXN, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, 1);
	failed = test_fails("fenced", &failure);
	test_ok(failed.fenced && failed.fatal, "fenced at the end: %s %s", failed.name, failed.message);

	inject(ADD_PARTITIONS, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 1);
	failed = test_fails("id", &failure);
	test_ok(failed.code != 0 && !failed.retriable, "the id refused: %s %s", failed.name, failed.message);

	/* the cluster goes away, and comes back */
	client = test_producer(rd_kafka_mock_cluster_bootstraps(cluster), "down", "t", &target);
	test_begin(client);
	test_produce(client, target, 0, "k", "v", 1, &error);
	rd_kafka_mock_broker_set_down(cluster, 1);
	failed = test_failed(client, api->start_commit(client, "g", NULL, 0, 500, &error), &error);
	test_ok(failed.retriable && !failed.abortable, "down: %s %s", failed.name, failed.message);
	rd_kafka_mock_broker_set_up(cluster, 1);
	test_commit(client, "g", NULL, 0);
	test_ok(true, "and up again: the same commit, started again, succeeds");
	test_close(client);

	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(home);
}
