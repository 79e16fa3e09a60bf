/*-------------------------------------------------------------------------
 *
 * frozen_test.c
 *	  A broker that is there, but does not answer (SIGSTOP), or is not there.
 *
 *-------------------------------------------------------------------------
 */
#include "client_test.h"

#include <signal.h>
#include <unistd.h>

/* Close, and say how long it took. */
static void
close_quickly(EventlogKafkaClient *client, const char *what)
{
	int64		start = test_now();
	bool		gone = api->close(client, 500);
	int64		took = test_now() - start;

	test_ok(took < 900, "%s: closed within a second", what);
	test_note("%lld ms, %s", (long long) took, gone ? "all gone" : "left to its thread");
}

void
frozen_tests(const char *brokers, pid_t pid)
{
	EventlogKafkaClient *idle;
	EventlogKafkaClient *committing;
	EventlogKafkaClient *aborting;
	EventlogKafkaClient *opening;
	EventlogKafkaClient *reading;
	EventlogKafkaClient *asking;
	EventlogKafkaClient *asked;
	EventlogKafkaClient *unreachable;
	EventlogKafkaOffset offset = {.topic = "frozen",.offset = 1};
	EventlogKafkaError error = {0};
	EventlogKafkaError failed;
	EventlogKafkaBatch *batch = NULL;
	int			target;
	int			i;

	test_create(brokers, "frozen", 1, NULL, NULL);
	idle = test_producer(brokers, "frozen1", "frozen", &target);
	committing = test_producer(brokers, "frozen2", "frozen", &target);
	aborting = test_producer(brokers, "frozen3", "frozen", &target);
	opening = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, "frozen4", NULL);
	asking = test_producer(brokers, "frozen5", "frozen", &target);
	asked = test_producer(brokers, "frozen6", "frozen", &target);
	reading = test_open(EVENTLOG_KAFKA_CONSUMER, brokers, "r", NULL);
	test_begin(idle);
	test_produce(idle, target, 0, "a", "1", 1, &error);
	test_commit(idle, "g", "frozen", 1);
	test_assign(reading, "frozen", 0);
	while ((batch = api->fetch(reading, 10, 1000)) == NULL)
	{
		usleep(5000);
		api->poll(reading);
	}

	kill(pid, SIGSTOP);
	test_begin(committing);
	for (i = 0; i < 1000; i++)
		test_produce(committing, target, 0, "c", "1", 1, &error);
	test_ok(api->start_commit(committing, "g", &offset, 1, PATIENCE, &error), "commit");
	test_begin(aborting);
	test_produce(aborting, target, 0, "d", "1", 1, &error);
	test_ok(api->start_abort(aborting, PATIENCE, &error), "abort");
	test_ok(!api->start_abort(aborting, PATIENCE, &error), "one thing at a time: %s", error.message);
	failed = test_failed(opening, api->start_init(opening, 700, &error), &error);
	test_ok(failed.retriable && failed.code == EVENTLOG_KAFKA_ERR_TIMED_OUT,
			"init gives up in time: %s", failed.message);
	test_ok(api->op_state(committing, NULL) == EVENTLOG_KAFKA_OP_RUNNING, "the commit waits");

	failed = test_failed(asked, api->start_committed(asked, "g", &offset, 1, 700, &error), &error);
	test_ok(failed.retriable, "a question gives up in time: %s", failed.message);
	test_ok(api->start_committed(asking, "g", &offset, 1, PATIENCE, &error), "another one");
	close_quickly(asking, "a producer that asks");
	close_quickly(asked, "one that asked");
	close_quickly(idle, "a producer that does nothing");
	close_quickly(committing, "one that commits");
	close_quickly(aborting, "one that aborts");
	test_ok(api->start_init(opening, PATIENCE, &error), "init again");
	close_quickly(opening, "one that initialises");
	close_quickly(reading, "a consumer that holds records");
	kill(pid, SIGCONT);

	unreachable = test_open(EVENTLOG_KAFKA_PRODUCER, "127.0.0.1:1", "u", NULL);
	failed = test_failed(unreachable, api->start_init(unreachable, 500, &error), &error);
	test_ok(failed.retriable && strstr(failed.message, "refused"), "nobody there: %s", failed.message);
	api->poll(unreachable);
	test_ok(api->broker_error(unreachable, &error) && error.code < 0, "the reason is told: %s",
			error.message);
	close_quickly(unreachable, "one without a broker");
}
