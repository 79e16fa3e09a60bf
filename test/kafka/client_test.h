/*
 * client_test.h: what the tests of src/kafka share.
 */
#ifndef CLIENT_TEST_H
#define CLIENT_TEST_H

#include "postgres_fe.h"

#include "kafka_api.h"

/* Longest that a step may take (ms); only something broken takes as long. */
#define PATIENCE	30000

extern const EventlogKafkaApi *api;

/* --- TAP --- */
extern void test_ok(bool good, const char *format,...) pg_attribute_printf(2, 3);
extern void test_note(const char *format,...) pg_attribute_printf(1, 2);
extern int64 test_now(void);

/* --- clients; these end the program if something does not work --- */
extern EventlogKafkaClient *test_open(EventlogKafkaKind kind, const char *brokers,
									  const char *id, const char *options);
extern void test_close(EventlogKafkaClient *client);

/* Wait for an operation that a start_xxx() has started, and has to work. */
extern void test_done(EventlogKafkaClient *client, bool started, EventlogKafkaError *error,
					  const char *what);

/* The same for one that has to fail: its error. */
extern EventlogKafkaError test_failed(EventlogKafkaClient *client, bool started,
									  EventlogKafkaError *error);

extern void test_create(const char *brokers, const char *topic, int partitions,
						const char *config, const char *value);

/* A transactional producer with a target, ready to begin(). */
extern EventlogKafkaClient *test_producer(const char *brokers, const char *id,
										  const char *topic, int *target);
extern void test_begin(EventlogKafkaClient *client);
extern void test_commit(EventlogKafkaClient *client, const char *group, const char *topic,
						int64 position);

/* Produce texts; NULL is null. */
extern EventlogKafkaProduced test_produce(EventlogKafkaClient *client, int target, int partition,
										  const char *key, const char *value, int64 tag,
										  EventlogKafkaError *error);

/* What a group has committed for partition 0 of a topic. */
extern int64 test_committed(EventlogKafkaClient *client, const char *group, const char *topic);

/*
 * Read partition 0 of a topic until its end, or max records, appending
 * "key=value@offset " for each to a static text; *next is the position.
 */
extern const char *test_read(EventlogKafkaClient *client, int max, int64 *next);
extern void test_assign(EventlogKafkaClient *client, const char *topic, int64 offset);

/* --- the tests --- */
extern void broker_tests(const char *brokers);
extern void frozen_tests(const char *brokers, pid_t pid);
extern void secure_tests(void);
extern void mock_tests(void);

#endif							/* CLIENT_TEST_H */
