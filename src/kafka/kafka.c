/*-------------------------------------------------------------------------
 *
 * kafka.c
 *	  pg_eventlog_kafka.so: opening and closing clients, what they have to say,
 *	  and the table of functions by which the core reaches the library.
 *
 * kafka_api.h says what each function promises.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#ifndef FRONTEND
#include "fmgr.h"

PG_MODULE_MAGIC;
#endif

typedef struct Setting
{
	const char *name;
	const char *value;
} Setting;

/* Before the caller's options. */
static const Setting any_default[] = {
	{"client.id", "pg_eventlog"},
	{NULL, NULL}
};
static const Setting producer_default[] = {
	{"retry.backoff.ms", "5"},	/* 100 costs a transaction 45 ms */
	{"linger.ms", "5"},
	{"batch.num.messages", "100000"},
	{"queue.buffering.max.messages", "200000"},
	{"queue.buffering.max.kbytes", "32768"},
	{"message.max.bytes", "100000000"},
	{NULL, NULL}
};
static const Setting consumer_default[] = {
	{"queued.min.messages", "100000"},
	{"queued.max.messages.kbytes", "16384"},
	{"fetch.error.backoff.ms", "20"},
	{NULL, NULL}
};

/* After them. */
static const Setting any_always[] = {
	{"log.queue", "true"},
	{"allow.auto.create.topics", "false"},
	{NULL, NULL}
};
static const Setting producer_always[] = {
	{"enable.idempotence", "true"},
	{"delivery.report.only.error", "true"},
	{NULL, NULL}
};
static const Setting consumer_always[] = {
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"isolation.level", "read_committed"},
	{"enable.partition.eof", "true"},
	{"auto.offset.reset", "error"},
	{"check.crcs", "true"},
	{NULL, NULL}
};

int64
eventlog_kafka_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static const char *
library_version(void)
{
	return rd_kafka_version_str();
}

/* May the option's value be a secret, so that no message can hold it? */
static bool
maybe_secret(const char *name)
{
	static const char *const marks[] = {"password", "secret", "pem", "key", "token", "config", "jaas"};
	int			i;

	for (i = 0; i < lengthof(marks); i++)
	{
		if (strstr(name, marks[i]) != NULL)
			return true;
	}
	return false;
}

static bool
set_option(rd_kafka_conf_t *conf, const char *name, const char *value,
		   EventlogKafkaError *error)
{
	char		text[256];
	rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, name, value, text, sizeof(text));

	if (result == RD_KAFKA_CONF_OK)
		return true;
	if (result == RD_KAFKA_CONF_UNKNOWN)
		eventlog_kafka_set_error(NULL, error, RD_KAFKA_RESP_ERR__INVALID_ARG,
								 "librdkafka %s knows no option \"%s\"",
								 rd_kafka_version_str(), name);
	else if (maybe_secret(name))
		eventlog_kafka_set_error(NULL, error, RD_KAFKA_RESP_ERR__INVALID_ARG,
								 "invalid value for option \"%s\"", name);
	else
		eventlog_kafka_set_error(NULL, error, RD_KAFKA_RESP_ERR__INVALID_ARG,
								 "option \"%s\": %s", name, text);
	return false;
}

static bool
set_all(rd_kafka_conf_t *conf, const Setting *settings, EventlogKafkaError *error)
{
	for (; settings->name != NULL; settings++)
	{
		if (!set_option(conf, settings->name, settings->value, error))
			return false;
	}
	return true;
}

/* For options that not every librdkafka has. */
static void
set_if_known(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		text[256];

	(void) rd_kafka_conf_set(conf, name, value, text, sizeof(text));
}

static bool
check_option(EventlogKafkaKind kind, const char *name, const char *value,
			 EventlogKafkaError *error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool		good = set_option(conf, name, value, error);

	rd_kafka_conf_destroy(conf);
	return good;
}

static void
on_throttle(rd_kafka_t *rk, const char *broker, int32_t broker_id, int ms, void *opaque)
{
	EventlogKafkaClient *client = opaque;

	pthread_mutex_lock(&client->lock);
	client->throttled_ms += ms;
	pthread_mutex_unlock(&client->lock);
}

static rd_kafka_conf_t *
make_conf(EventlogKafkaClient *client, const EventlogKafkaOpen *how, EventlogKafkaError *error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	bool		producer = how->kind == EVENTLOG_KAFKA_PRODUCER;
	bool		consumer = how->kind == EVENTLOG_KAFKA_CONSUMER;
	char		interval[32];
	bool		good;
	int			i;

	good = set_all(conf, any_default, error) &&
		(!producer || set_all(conf, producer_default, error)) &&
		(!consumer || set_all(conf, consumer_default, error));
	if (consumer)
		set_if_known(conf, "fetch.queue.backoff.ms", "10");
	for (i = 0; good && i < how->noptions; i++)
		good = set_option(conf, how->options[i].name, how->options[i].value, error);
	good = good && set_all(conf, any_always, error);
	set_if_known(conf, "enable.metrics.push", "false");
	if (good)
	{
		client->group_conf = rd_kafka_conf_dup(conf);
		good = set_all(client->group_conf, consumer_always, error);
	}

	snprintf(interval, sizeof(interval), "%d", how->stats_interval_ms);
	good = good && (!producer || set_all(conf, producer_always, error)) &&
		(!consumer || set_all(conf, consumer_always, error)) &&
		set_option(conf, "statistics.interval.ms", interval, error);
	if (producer && how->transactional_id != NULL)
		good = good && set_option(conf, "transactional.id", how->transactional_id, error);
	if (consumer)
		good = good && set_option(conf, "group.id", how->group ? how->group : "pg_eventlog", error);
	if (!good)
	{
		rd_kafka_conf_destroy(conf);
		return NULL;
	}

	rd_kafka_conf_set_opaque(conf, client);
	rd_kafka_conf_set_throttle_cb(conf, on_throttle);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR |
							 RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_STATS);
	if (producer)
		rd_kafka_conf_interceptor_add_on_new(conf, "pg_eventlog", eventlog_kafka_on_new, client);
	return conf;
}

/* Free a client whose librdkafka instance is gone, or never was. */
void
eventlog_kafka_client_free(EventlogKafkaClient *client)
{
	EventlogKafkaPool pool = client->op.pool;

	eventlog_kafka_free(&pool);
	if (client->wake[0] >= 0)
	{
		close(client->wake[0]);
		close(client->wake[1]);
	}
	pthread_mutex_destroy(&client->lock);
	pthread_cond_destroy(&client->changed);
	if (client->group_conf != NULL)
		rd_kafka_conf_destroy(client->group_conf);
	if (client->nudge != NULL)
		rd_kafka_topic_partition_list_destroy(client->nudge);
	free(client->log);
	free(client->new_stats);
	free(client->stats);
	free(client);
}

/* A client with all but librdkafka's instance. */
static EventlogKafkaClient *
client_new(EventlogKafkaError *error)
{
	EventlogKafkaClient *client = calloc(1, sizeof(*client));
	pthread_condattr_t attr;

	if (client == NULL)
	{
		eventlog_kafka_out_of_memory(error);
		return NULL;
	}
	pthread_mutex_init(&client->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&client->changed, &attr);
	pthread_condattr_destroy(&attr);
	client->wake[0] = client->wake[1] = -1;
	client->log = calloc(EVENTLOG_KAFKA_LOG_LINES, sizeof(*client->log));
	if (client->log == NULL)
	{
		eventlog_kafka_out_of_memory(error);
		eventlog_kafka_client_free(client);
		return NULL;
	}
	if (pipe2(client->wake, O_CLOEXEC | O_NONBLOCK) != 0)
	{
		eventlog_kafka_set_error(NULL, error, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
								 "could not make a pipe: error %d", errno);
		error->retriable = true;
		client->wake[0] = client->wake[1] = -1;
		eventlog_kafka_client_free(client);
		return NULL;
	}
	return client;
}

/*
 * librdkafka's instance.  The configuration becomes its own, or is freed.
 *
 * When rd_kafka_new() fails, as with a key that is none, and there is an
 * interceptor, the configuration has been freed by half (2.0 at least), and
 * cannot be touched any more: it is lost.  So that this does not happen with
 * each attempt, those after the first are tried without the interceptor, which
 * a duplicate does not have.
 */
static rd_kafka_t *
start_instance(EventlogKafkaClient *client, rd_kafka_conf_t *conf, EventlogKafkaError *error)
{
	static bool has_failed = false;
	rd_kafka_type_t type = client->kind == EVENTLOG_KAFKA_CONSUMER ? RD_KAFKA_CONSUMER :
		RD_KAFKA_PRODUCER;
	bool		intercepted = client->kind == EVENTLOG_KAFKA_PRODUCER;
	rd_kafka_t *rk;
	char		text[512];

	if (intercepted && has_failed)
	{
		rd_kafka_conf_t *trial = rd_kafka_conf_dup(conf);

		rk = rd_kafka_new(type, trial, text, sizeof(text));
		if (rk == NULL)
		{
			eventlog_kafka_set_error(NULL, error, rd_kafka_last_error(),
									 "could not start librdkafka: %s", text);
			rd_kafka_conf_destroy(trial);
			rd_kafka_conf_destroy(conf);
			return NULL;
		}
		rd_kafka_destroy(rk);
		has_failed = false;
	}
	rk = rd_kafka_new(type, conf, text, sizeof(text));
	if (rk != NULL)
		return rk;
	eventlog_kafka_set_error(NULL, error, rd_kafka_last_error(),
							 "could not start librdkafka: %s", text);
	if (intercepted)
		has_failed = true;
	else
		rd_kafka_conf_destroy(conf);
	return NULL;
}

static EventlogKafkaClient *
client_open(const EventlogKafkaOpen *how, EventlogKafkaError *error)
{
	EventlogKafkaClient *client = client_new(error);
	bool		consumer = how->kind == EVENTLOG_KAFKA_CONSUMER;
	rd_kafka_conf_t *conf;

	if (client == NULL)
		return NULL;
	client->kind = how->kind;
	client->transactional = how->kind == EVENTLOG_KAFKA_PRODUCER && how->transactional_id != NULL;
	conf = make_conf(client, how, error);
	if (conf != NULL)
		client->rk = start_instance(client, conf, error);
	if (client->rk == NULL)
	{
		eventlog_kafka_client_free(client);
		return NULL;
	}

	rd_kafka_set_log_queue(client->rk, NULL);
	client->main_queue = rd_kafka_queue_get_main(client->rk);
	rd_kafka_queue_io_event_enable(client->main_queue, client->wake[1], "", 1);
	if (consumer)
	{
		client->records = rd_kafka_queue_get_consumer(client->rk);
		rd_kafka_queue_io_event_enable(client->records, client->wake[1], "", 1);
		eventlog_kafka_nudge_init(client);
	}
	if (!eventlog_kafka_thread_start(client, error))
	{
		if (client->records)
			rd_kafka_queue_destroy(client->records);
		rd_kafka_queue_destroy(client->main_queue);
		rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
		eventlog_kafka_client_free(client);
		return NULL;
	}
	return client;
}

static bool
client_close(EventlogKafkaClient *client, int timeout_ms)
{
	bool		gone;

	eventlog_kafka_assigned_free(client);
	rd_kafka_queue_io_event_enable(client->main_queue, -1, NULL, 0);
	gone = eventlog_kafka_thread_end(client, timeout_ms);
	if (gone)
		eventlog_kafka_client_free(client);
	return gone;
}

static int
event_fd(EventlogKafkaClient *client)
{
	return client->wake[0];
}

/* --- what librdkafka has to say --- */

static void
note_log(EventlogKafkaClient *client, rd_kafka_event_t *event)
{
	EventlogKafkaLogLine *line;
	const char *facility;
	const char *text;
	int			level;
	char	   *c;

	if (rd_kafka_event_log(event, &facility, &text, &level) != 0)
		return;
	pthread_mutex_lock(&client->lock);
	if (client->log_count == EVENTLOG_KAFKA_LOG_LINES)
		client->log_dropped++;
	else
	{
		line = &client->log[(client->log_first + client->log_count++) % EVENTLOG_KAFKA_LOG_LINES];
		line->level = level;
		snprintf(line->text, sizeof(line->text), "%s: %s", facility, text);
		for (c = line->text; *c; c++)
		{
			if ((unsigned char) *c < ' ')
				*c = ' ';
		}
	}
	pthread_mutex_unlock(&client->lock);
}

/*
 * Before 2.6.1 librdkafka repeats the server's nonce in SCRAM's last message,
 * which Kafka refuses from 4.0 on as if the password were wrong.
 */
static const char *
scram_hint(int code, const char *text)
{
	if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION && strstr(text, "SCRAM") != NULL &&
		rd_kafka_version() < 0x02060100)
		return "; with Kafka 4, SCRAM takes librdkafka 2.6.1 or later";
	return "";
}

static void
note_error(EventlogKafkaClient *client, rd_kafka_event_t *event)
{
	EventlogKafkaError error;
	int			code = rd_kafka_event_error(event);
	const char *text = rd_kafka_event_error_string(event);

	eventlog_kafka_set_error(client, &error, code, "%s%s", text, scram_hint(code, text));
	eventlog_kafka_note_trouble(client, &error);
}

/*
 * Trouble with brokers.  That all of them are down is no news when it has just
 * been said why.
 */
void
eventlog_kafka_note_trouble(EventlogKafkaClient *client, const EventlogKafkaError *error)
{
	int64		now = eventlog_kafka_now();

	pthread_mutex_lock(&client->lock);
	if (error->code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
		client->broker_error.code == 0 || now - client->broker_error_at > 5000)
	{
		client->broker_error = *error;
		client->broker_error_at = now;
		client->has_broker_error = true;
	}
	pthread_mutex_unlock(&client->lock);
}

static void
note_stats(EventlogKafkaClient *client, rd_kafka_event_t *event)
{
	char	   *stats = strdup(rd_kafka_event_stats(event));

	pthread_mutex_lock(&client->lock);
	free(client->new_stats);
	client->new_stats = stats;
	pthread_mutex_unlock(&client->lock);
}

/*
 * Take what is in the main queue.  Called by both threads, since some
 * operations end only when delivery errors have been taken.
 */
void
eventlog_kafka_serve(EventlogKafkaClient *client)
{
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(client->main_queue, 0)) != NULL)
	{
		const rd_kafka_message_t *message;

		switch (rd_kafka_event_type(event))
		{
			case RD_KAFKA_EVENT_DR:
				while ((message = rd_kafka_event_message_next(event)) != NULL)
					eventlog_kafka_note_delivery(client, message);
				break;
			case RD_KAFKA_EVENT_LOG:
				note_log(client, event);
				break;
			case RD_KAFKA_EVENT_ERROR:
				note_error(client, event);
				break;
			case RD_KAFKA_EVENT_STATS:
				note_stats(client, event);
				break;
			default:
				break;
		}
		rd_kafka_event_destroy(event);
	}
}

static void
client_poll(EventlogKafkaClient *client)
{
	char		buf[256];
	ssize_t		n;

	/* first: what comes while we look makes it readable again */
	do
		n = read(client->wake[0], buf, sizeof(buf));
	while (n == sizeof(buf) || (n < 0 && errno == EINTR));

	eventlog_kafka_serve(client);

	pthread_mutex_lock(&client->lock);
	if (client->new_stats != NULL)
	{
		free(client->stats);
		client->stats = client->new_stats;
		client->new_stats = NULL;
	}
	pthread_mutex_unlock(&client->lock);
}

static bool
poll_log(EventlogKafkaClient *client, int *level, char *line, size_t size)
{
	bool		found = true;

	pthread_mutex_lock(&client->lock);
	if (client->log_count > 0)
	{
		const EventlogKafkaLogLine *next = &client->log[client->log_first];

		*level = next->level;
		snprintf(line, size, "%s", next->text);
		client->log_first = (client->log_first + 1) % EVENTLOG_KAFKA_LOG_LINES;
		client->log_count--;
	}
	else if (client->log_dropped > 0)
	{
		*level = LOG_WARNING;
		snprintf(line, size, "%lld further lines were not kept", (long long) client->log_dropped);
		client->log_dropped = 0;
	}
	else
		found = false;
	pthread_mutex_unlock(&client->lock);
	return found;
}

static const char *
client_stats(EventlogKafkaClient *client)
{
	return client->stats;
}

static bool
broker_error(EventlogKafkaClient *client, EventlogKafkaError *error)
{
	bool		found;

	pthread_mutex_lock(&client->lock);
	found = client->has_broker_error;
	if (found)
		*error = client->broker_error;
	client->has_broker_error = false;
	pthread_mutex_unlock(&client->lock);
	return found;
}

static int64
throttled_ms(EventlogKafkaClient *client)
{
	int64		ms;

	pthread_mutex_lock(&client->lock);
	ms = client->throttled_ms;
	pthread_mutex_unlock(&client->lock);
	return ms;
}

static int
queue_length(EventlogKafkaClient *client)
{
	return rd_kafka_outq_len(client->rk);
}

/* --- results of operations; they belong to the caller once those have ended --- */

static bool
op_is_done(EventlogKafkaClient *client)
{
	return eventlog_kafka_op_state(client, NULL) == EVENTLOG_KAFKA_OP_DONE;
}

static const EventlogKafkaMetadata *
op_metadata(EventlogKafkaClient *client)
{
	return op_is_done(client) ? &client->op.metadata : NULL;
}

static const EventlogKafkaConfig *
op_configs(EventlogKafkaClient *client, int *count)
{
	bool		done = op_is_done(client);

	*count = done ? client->op.nconfigs : 0;
	return done ? client->op.configs : NULL;
}

static const EventlogKafkaOffset *
op_offsets(EventlogKafkaClient *client, int *count)
{
	bool		done = op_is_done(client);

	*count = done ? client->op.noffsets : 0;
	return done ? client->op.offsets : NULL;
}

static int
op_target(EventlogKafkaClient *client)
{
	return op_is_done(client) ? client->op.target : -1;
}

static const EventlogKafkaApi api = {
	.version = EVENTLOG_KAFKA_API_VERSION,
	.library_version = library_version,
	.check_option = check_option,
	.open = client_open,
	.close = client_close,
	.event_fd = event_fd,
	.poll = client_poll,
	.poll_log = poll_log,
	.stats = client_stats,
	.broker_error = broker_error,
	.throttled_ms = throttled_ms,
	.op_state = eventlog_kafka_op_state,
	.op_wait = eventlog_kafka_op_wait,
	.start_metadata = eventlog_kafka_start_metadata,
	.metadata = op_metadata,
	.cluster_id = eventlog_kafka_cluster_id,
	.start_create_topic = eventlog_kafka_start_create_topic,
	.start_describe_topic = eventlog_kafka_start_describe_topic,
	.configs = op_configs,
	.start_committed = eventlog_kafka_start_committed,
	.start_watermarks = eventlog_kafka_start_watermarks,
	.start_offsets_for_times = eventlog_kafka_start_offsets_for_times,
	.offsets = op_offsets,
	.start_init = eventlog_kafka_start_init,
	.start_target = eventlog_kafka_start_target,
	.target = op_target,
	.target_partitions = eventlog_kafka_target_partitions,
	.begin = eventlog_kafka_begin,
	.produce = eventlog_kafka_produce,
	.queue_length = queue_length,
	.produced_bytes = eventlog_kafka_produced_bytes,
	.start_commit = eventlog_kafka_start_commit,
	.start_abort = eventlog_kafka_start_abort,
	.start_flush = eventlog_kafka_start_flush,
	.delivery_failure = eventlog_kafka_delivery_failure,
	.assign = eventlog_kafka_assign,
	.end_offset = eventlog_kafka_end_offset,
	.fetch = eventlog_kafka_fetch,
	.release = eventlog_kafka_release,
};

const EventlogKafkaApi *
eventlog_kafka_api(void)
{
	return &api;
}
