/*-------------------------------------------------------------------------
 *
 * secure_test.c
 *	  The library against a broker that wants passwords, TLS, or both, and one
 *	  that allows a user nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "client_test.h"

#include <librdkafka/rdkafka.h>

/* the first librdkafka whose SCRAM Kafka 4 takes */
#define FIRST_SCRAM		0x02060100

/* A transaction as that user has to work. */
static void
test_works(const char *brokers, const char *topic, const char *options)
{
	EventlogKafkaClient *client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, topic, options);
	EventlogKafkaError error = {0};
	int			target;

	test_done(client, api->start_init(client, PATIENCE, &error), &error, "init");
	test_done(client, api->start_create_topic(client, topic, 1, 1, NULL, 0, PATIENCE, &error),
			  &error, "create_topic");
	test_done(client, api->start_target(client, topic, 1, 0, PATIENCE, &error), &error, "target");
	target = api->target(client);
	test_begin(client);
	test_produce(client, target, 0, "k", "v", 1, &error);
	test_commit(client, topic, topic, 5);
	test_ok(test_committed(client, topic, topic) == 5, "works: %s", topic);
	test_close(client);
}

/* Nobody gets in; why is told, without the password. */
static void
test_refused(const char *brokers, const char *what, const char *options, int code,
			 const char *hint)
{
	EventlogKafkaClient *client = test_open(EVENTLOG_KAFKA_ADMIN, brokers, NULL, options);
	EventlogKafkaError error = {0};
	EventlogKafkaError failed;
	EventlogKafkaError seen = {0};
	int64		until = test_now() + PATIENCE;
	char		line[500];
	int			level;
	bool		told = false;

	failed = test_failed(client, api->start_metadata(client, NULL, 1500, &error), &error);
	while (seen.code != code && test_now() < until)
	{
		api->poll(client);
		if (api->broker_error(client, &error))
			seen = error;
	}
	while (api->poll_log(client, &level, line, sizeof(line)))
		told |= strstr(line, "wrong-secret") != NULL;
	test_ok(failed.code != 0 && strchr(failed.message, '('), "%s: %s", what, failed.message);
	test_ok(seen.code == code && (hint == NULL || strstr(seen.message, hint)), "the reason: %s %s", seen.name, seen.message);
	test_ok(!told && !strstr(seen.message, "wrong-secret"), "and not the password");
	api->close(client, PATIENCE);
}

static void
test_not_allowed(const char *brokers, const char *options)
{
	EventlogKafkaClient *client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, "bob", options);
	EventlogKafkaError error = {0};
	EventlogKafkaError failed;

	failed = test_failed(client, api->start_create_topic(client, "bobs", 1, 1, NULL, 0, PATIENCE, &error), &error);
	test_ok(failed.code != 0 && !failed.retriable, "bob may not create: %s %s", failed.name, failed.message);
	failed = test_failed(client, api->start_target(client, "plain", 1, 0, 2000, &error), &error);
	test_ok(failed.code == EVENTLOG_KAFKA_ERR_TOPIC_AUTHORIZATION && !failed.retriable,
			"nor produce: %s", failed.message);
	failed = test_failed(client, api->start_init(client, PATIENCE, &error), &error);
	test_ok(failed.code == EVENTLOG_KAFKA_ERR_TRANSACTION_AUTHORIZATION && !failed.retriable,
			"nor have transactions: %s", failed.message);
	test_close(client);
}

void
secure_tests(void)
{
	const char *certs = getenv("KAFKA_CERTS");
	char		options[2000];

	test_works(getenv("KAFKA_SASL"), "plain",
			   "security.protocol=sasl_plaintext sasl.mechanism=PLAIN"
			   " sasl.username=alice sasl.password=alice-secret");
	if (rd_kafka_version() < FIRST_SCRAM)
	{
		test_note("skipped: SCRAM: librdkafka before 2.6.1 cannot do it with Kafka 4");
		test_refused(getenv("KAFKA_SASL"), "SCRAM",
					 "security.protocol=sasl_plaintext sasl.mechanism=SCRAM-SHA-256"
					 " sasl.username=alice sasl.password=alice-secret",
					 EVENTLOG_KAFKA_ERR_AUTHENTICATION, "2.6.1");
	}
	else
		test_works(getenv("KAFKA_SASL"), "scram256",
					   "security.protocol=sasl_plaintext sasl.mechanism=SCRAM-SHA-256"
				   " sasl.username=alice sasl.password=alice-secret");
	snprintf(options, sizeof(options),
			 "security.protocol=sasl_ssl sasl.mechanism=%s"
			 " sasl.username=alice sasl.password=alice-secret ssl.ca.location=%s/ca.pem",
			 rd_kafka_version() < FIRST_SCRAM ? "PLAIN" : "SCRAM-SHA-512", certs);
	test_works(getenv("KAFKA_TLS"), "password-tls", options);
	snprintf(options, sizeof(options),
			 "security.protocol=ssl ssl.ca.location=%s/ca.pem"
			 " ssl.certificate.location=%s/client.pem ssl.key.location=%s/client.key",
			 certs, certs, certs);
	test_works(getenv("KAFKA_MTLS"), "certificate", options);

	test_refused(getenv("KAFKA_SASL"), "a wrong password",
				 "security.protocol=sasl_plaintext sasl.mechanism=PLAIN"
				 " sasl.username=alice sasl.password=wrong-secret",
				 EVENTLOG_KAFKA_ERR_AUTHENTICATION, NULL);
	test_refused(getenv("KAFKA_SASL"), "a wrong password, SCRAM",
				 "security.protocol=sasl_plaintext sasl.mechanism=SCRAM-SHA-512"
				 " sasl.username=alice sasl.password=wrong-secret",
				 EVENTLOG_KAFKA_ERR_AUTHENTICATION, NULL);
	/* signed by nobody that the system trusts */
	test_refused(getenv("KAFKA_TLS"), "a broker that is not trusted",
				 "security.protocol=sasl_ssl sasl.mechanism=PLAIN"
				 " sasl.username=alice sasl.password=wrong-secret",
				 EVENTLOG_KAFKA_ERR_SSL, NULL);
	test_not_allowed(getenv("KAFKA_SASL"),
					 "security.protocol=sasl_plaintext sasl.mechanism=PLAIN"
					 " sasl.username=bob sasl.password=bob-secret");
}
