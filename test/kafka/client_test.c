/*-------------------------------------------------------------------------
 *
 * client_test.c
 *	  Tests of src/kafka, without a server.  Prints TAP.
 *
 *	client_test mock			against librdkafka's mock cluster
 *	client_test broker			against a real one: KAFKA_BROKERS, KAFKA_PID
 *
 *	client_test secure			against one with KAFKA_SECURE: KAFKA_SASL, ...
 *
 * To look into a failure: CLIENT_OPTIONS="debug=eos,broker" has librdkafka tell
 * more of most clients.
 *
 *-------------------------------------------------------------------------
 */
#include "client_test.h"

#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

const EventlogKafkaApi *api;

static int	tests;

/* --- TAP --- */

void
test_ok(bool good, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

void
test_note(const char *format,...)
{
	va_list		args;

	printf("# ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

int64
test_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What librdkafka has logged, as notes. */
static void
show_log(EventlogKafkaClient *client)
{
	int			level;
	char		line[500];

	api->poll(client);
	while (api->poll_log(client, &level, line, sizeof(line)))
		test_note("log %d: %s", level, line);
}

static void
die(EventlogKafkaClient *client, const char *what, const EventlogKafkaError *error)
{
	if (client != NULL)
		show_log(client);
	printf("Bail out! %s: %s (%s%s%s%s%s)\n", what, error->message, error->name,
		   error->fatal ? ", fatal" : "", error->abortable ? ", abortable" : "",
		   error->retriable ? ", retriable" : "", error->fenced ? ", fenced" : "");
	fflush(stdout);
	_exit(1);
}

/* --- clients --- */

/* "options" are separated by spaces: name=value. */
EventlogKafkaClient *
test_open(EventlogKafkaKind kind, const char *brokers, const char *id, const char *options)
{
	EventlogKafkaOption list[20];
	EventlogKafkaOpen how = {0};
	EventlogKafkaError error = {0};
	EventlogKafkaClient *client;
	char	   *copy = strdup(options ? options : getenv("CLIENT_OPTIONS") ? getenv("CLIENT_OPTIONS") : "");
	char	   *word;

	list[how.noptions++] = (EventlogKafkaOption) {"bootstrap.servers", brokers};
	for (word = strtok(copy, " "); word != NULL && how.noptions < 20; word = strtok(NULL, " "))
	{
		char	   *equals = strchr(word, '=');

		*equals = '\0';
		list[how.noptions++] = (EventlogKafkaOption) {word, equals + 1};
	}
	how.kind = kind;
	how.options = list;
	if (kind == EVENTLOG_KAFKA_PRODUCER)
		how.transactional_id = id;
	else
		how.group = id;
	client = api->open(&how, &error);
	if (client == NULL)
		die(NULL, "open", &error);
	free(copy);
	return client;
}

void
test_close(EventlogKafkaClient *client)
{
	show_log(client);
	if (!api->close(client, PATIENCE))
		test_ok(false, "a client closes");
}

void
test_done(EventlogKafkaClient *client, bool started, EventlogKafkaError *error, const char *what)
{
	if (!started)
		die(client, what, error);
	switch (api->op_wait(client, PATIENCE + 5000, error))
	{
		case EVENTLOG_KAFKA_OP_DONE:
			return;
		case EVENTLOG_KAFKA_OP_RUNNING:
			snprintf(error->message, sizeof(error->message), "does not end");
			/* FALLTHROUGH */
		default:
			die(client, what, error);
	}
}

EventlogKafkaError
test_failed(EventlogKafkaClient *client, bool started, EventlogKafkaError *error)
{
	EventlogKafkaError none = {0};

	if (!started)
		return *error;
	return api->op_wait(client, PATIENCE + 5000, error) == EVENTLOG_KAFKA_OP_FAILED ? *error : none;
}

/*
 * Many records have timestamps of long ago: Kafka's retention removes them half
 * a minute after the broker has started, if it may.
 */
void
test_create(const char *brokers, const char *topic, int partitions,
			const char *config, const char *value)
{
	EventlogKafkaClient *client = test_open(EVENTLOG_KAFKA_ADMIN, brokers, NULL, NULL);
	EventlogKafkaOption options[2] = {{"retention.ms", "-1"}, {config, value}};
	EventlogKafkaError error = {0};

	test_done(client, api->start_create_topic(client, topic, partitions, 1, options,
											  config ? 2 : 1, PATIENCE, &error),
			  &error, "create_topic");
	test_close(client);
}

EventlogKafkaClient *
test_producer(const char *brokers, const char *id, const char *topic, int *target)
{
	EventlogKafkaClient *client = test_open(EVENTLOG_KAFKA_PRODUCER, brokers, id, NULL);
	EventlogKafkaError error = {0};

	test_done(client, api->start_init(client, PATIENCE, &error), &error, "init");
	test_done(client, api->start_target(client, topic, 1, 0, PATIENCE, &error), &error, "target");
	*target = api->target(client);
	return client;
}

void
test_begin(EventlogKafkaClient *client)
{
	EventlogKafkaError error = {0};

	if (!api->begin(client, &error))
		die(client, "begin", &error);
}

void
test_commit(EventlogKafkaClient *client, const char *group, const char *topic, int64 position)
{
	EventlogKafkaOffset offset = {.topic = topic,.partition = 0,.offset = position};
	EventlogKafkaError error = {0};

	test_done(client, api->start_commit(client, group, &offset, topic ? 1 : 0, PATIENCE, &error),
			  &error, "commit");
}

EventlogKafkaProduced
test_produce(EventlogKafkaClient *client, int target, int partition,
			 const char *key, const char *value, int64 tag, EventlogKafkaError *error)
{
	EventlogRecord record = {.timestamp = 1700000000000};

	record.key = key;
	record.key_len = key ? (int32) strlen(key) : -1;
	record.value = value;
	record.value_len = value ? (int32) strlen(value) : -1;
	return api->produce(client, target, partition, &record, tag, error);
}

int64
test_committed(EventlogKafkaClient *client, const char *group, const char *topic)
{
	EventlogKafkaOffset offset = {.topic = topic,.partition = 0};
	EventlogKafkaError error = {0};
	int			count;

	test_done(client, api->start_committed(client, group, &offset, 1, PATIENCE, &error),
			  &error, "committed");
	return api->offsets(client, &count)[0].offset;
}

void
test_assign(EventlogKafkaClient *client, const char *topic, int64 offset)
{
	EventlogKafkaAssign assign = {.topic = topic,.offset = offset,.tag = 7};
	EventlogKafkaError error = {0};

	if (!api->assign(client, &assign, 1, &error))
		die(client, "assign", &error);
}

const char *
test_read(EventlogKafkaClient *client, int max, int64 *next)
{
	static char text[4000];
	int64		until = test_now() + PATIENCE;
	int			records = 0;
	bool		end = false;
	size_t		len = 0;

	text[0] = '\0';
	while (!end && records < max && test_now() < until)
	{
		EventlogKafkaBatch *batch;
		int			i;

		api->poll(client);
		batch = api->fetch(client, max - records, 1 << 20);
		if (batch == NULL)
		{
			usleep(5000);
			continue;
		}
		for (i = 0; i < batch->count; i++)
		{
			EventlogKafkaMessage *m = &batch->messages[i];
			EventlogRecord *r = &m->record;

			*next = r->offset;
			if (m->kind == EVENTLOG_KAFKA_END)
				end = true;
			else if (m->kind == EVENTLOG_KAFKA_TROUBLE)
			{
				snprintf(text, sizeof(text), "trouble %d: %.*s", m->code,
						 r->value_len, r->value);
				end = true;
			}
			else
			{
				records++;
				*next = r->offset + 1;
				if (len < 2000)
					len += snprintf(text + len, sizeof(text) - len, "%.*s=%.*s@%lld ",
									r->key ? r->key_len : 4, r->key ? r->key : "null",
									Min(r->value ? r->value_len : 4, 50),
									r->value ? r->value : "null", (long long) r->offset);
			}
		}
		api->release(client, batch);
	}
	return text;
}

int
main(int argc, char **argv)
{
	/* as the server does */
	signal(SIGPIPE, SIG_IGN);
	api = eventlog_kafka_api();
	test_note("librdkafka %s", api->library_version());
	if (argc == 2 && strcmp(argv[1], "mock") == 0)
		mock_tests();
	else if (argc == 2 && strcmp(argv[1], "broker") == 0 &&
			 getenv("KAFKA_BROKERS") && getenv("KAFKA_PID"))
	{
		broker_tests(getenv("KAFKA_BROKERS"));
		frozen_tests(getenv("KAFKA_BROKERS"), atoi(getenv("KAFKA_PID")));
	}
	else if (argc == 2 && strcmp(argv[1], "secure") == 0 && getenv("KAFKA_CERTS"))
		secure_tests();
	else
	{
		fprintf(stderr, "usage: client_test mock\n"
				"       KAFKA_BROKERS=... KAFKA_PID=... client_test broker\n"
				"       KAFKA_SASL=... KAFKA_TLS=... KAFKA_MTLS=... KAFKA_CERTS=... client_test secure\n");
		return 2;
	}
	printf("1..%d\n", tests);
	fflush(stdout);
	/* clients that a frozen broker kept may still have threads */
	_exit(0);
}
