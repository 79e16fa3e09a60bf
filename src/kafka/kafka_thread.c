/*-------------------------------------------------------------------------
 *
 * kafka_thread.c
 *	  Operations, and the thread of a client that runs them.
 *
 * Several of librdkafka's functions wait for a broker, some of them whatever
 * timeout they are given.  Here they run in a thread of the client, so that
 * the caller never waits and can always leave.  The thread blocks all signals,
 * which are for the server's own, and calls nothing of the server's.
 *
 * "op" belongs to the helper while op_state is OP_RUNNING, else to the caller;
 * the state changes under the lock.
 *
 * Destroying the client is the helper's last task, since it can wait as well.
 * If the caller does not wait for the end of it, the helper frees the client.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* librdkafka's functions need little; its own threads have their own stacks. */
#define STACK_SIZE	(512 * 1024)

/* As long as an int can say in milliseconds. */
#define LONGEST_MS	(24 * 3600 * 1000)

static void
wake_caller(EventlogKafkaClient *client)
{
	/* If the pipe is full, the caller is awake. */
	while (write(client->wake[1], "", 1) < 0 && errno == EINTR)
		;
}

/* Wait for a change until a time; false when it has passed.  Lock is held. */
static bool
wait_change(EventlogKafkaClient *client, int64 until)
{
	struct timespec ts;

	ts.tv_sec = until / 1000;
	ts.tv_nsec = (until % 1000) * 1000000;
	return pthread_cond_timedwait(&client->changed, &client->lock, &ts) == 0;
}

/* How long an open transaction has to be given up (ms). */
#define ABORT_MS	200

/*
 * Destroy librdkafka's instance.  An open transaction is aborted first: while
 * partitions wait to be registered with it, librdkafka (2.0.2 at least) would
 * send a request as it ends, and fail an assertion when it is refused.  The
 * broker need not answer for that, only librdkafka's own thread.  An instance
 * that was fenced sends nothing, and has freed something twice when it was asked
 * to abort.  All that refers to the instance goes first, or it would wait for
 * that for ever.
 */
static void
destroy(EventlogKafkaClient *client)
{
	if (client->in_transaction &&
		rd_kafka_fatal_error(client->rk, NULL, 0) == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		rd_kafka_error_t *failure = rd_kafka_abort_transaction(client->rk, ABORT_MS);

		if (failure != NULL)
			rd_kafka_error_destroy(failure);
	}
	eventlog_kafka_targets_free(client);
	if (client->kind == EVENTLOG_KAFKA_PRODUCER)
		rd_kafka_purge(client->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
					   RD_KAFKA_PURGE_F_NON_BLOCKING);
	eventlog_kafka_serve(client);
	rd_kafka_queue_destroy(client->main_queue);
	rd_kafka_destroy_flags(client->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

/*
 * An operation that had no answer says why, if librdkafka has said it since it
 * began (a connection refused, a wrong password).  Lock is held.
 */
static void
add_reason(EventlogKafkaClient *client)
{
	EventlogKafkaError *error = &client->op.error;
	size_t		len = strlen(error->message);

	if ((error->code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
		 error->code == RD_KAFKA_RESP_ERR__TRANSPORT ||
		 error->code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) &&
		client->broker_error.code != 0 &&
		client->broker_error_at >= client->op.started)
		snprintf(error->message + len, sizeof(error->message) - len, " (%s)",
				 client->broker_error.message);
}

static void *
helper_main(void *arg)
{
	EventlogKafkaClient *client = arg;
	bool		abandoned;

	pthread_mutex_lock(&client->lock);
	for (;;)
	{
		if (client->op_state == EVENTLOG_KAFKA_OP_RUNNING)
		{
			pthread_mutex_unlock(&client->lock);
			client->op.run(client);
			/* so that what the operation has caused is there when it has ended */
			eventlog_kafka_serve(client);
			pthread_mutex_lock(&client->lock);
			add_reason(client);
			client->op_state = client->op.error.name[0] ? EVENTLOG_KAFKA_OP_FAILED :
				EVENTLOG_KAFKA_OP_DONE;
			pthread_cond_broadcast(&client->changed);
			wake_caller(client);
		}
		else if (client->closing)
			break;
		else if (client->nudge != NULL)
			eventlog_kafka_nudge_run(client);
		else
			pthread_cond_wait(&client->changed, &client->lock);
	}
	pthread_mutex_unlock(&client->lock);

	destroy(client);

	pthread_mutex_lock(&client->lock);
	client->destroyed = true;
	abandoned = client->abandoned;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
	if (abandoned)
		eventlog_kafka_client_free(client);
	return NULL;
}

bool
eventlog_kafka_thread_start(EventlogKafkaClient *client, EventlogKafkaError *error)
{
	pthread_attr_t attr;
	sigset_t	all;
	sigset_t	old;
	int			rc;

	/* a new thread has the mask of the one that starts it */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	rc = pthread_create(&client->helper, &attr, helper_main, client);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
	{
		eventlog_kafka_set_error(NULL, error, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
								 "could not start a thread: error %d", rc);
		error->retriable = true;
		return false;
	}
	return true;
}

/*
 * End the thread and with it librdkafka's instance; true when both are gone.
 */
bool
eventlog_kafka_thread_end(EventlogKafkaClient *client, int timeout_ms)
{
	int64		until = eventlog_kafka_now() + Min(Max(timeout_ms, 0), LONGEST_MS);
	bool		destroyed;

	pthread_mutex_lock(&client->lock);
	client->closing = true;
	pthread_cond_broadcast(&client->changed);
	while (!client->destroyed)
	{
		if (!wait_change(client, until) && eventlog_kafka_now() >= until)
			break;
	}
	destroyed = client->destroyed;
	client->abandoned = !destroyed;
	pthread_mutex_unlock(&client->lock);

	if (destroyed)
		pthread_join(client->helper, NULL);
	else
		pthread_detach(client->helper);
	return destroyed;
}

/*
 * Make room for the arguments of the next operation.  False if one is running.
 */
bool
eventlog_kafka_op_begin(EventlogKafkaClient *client, EventlogKafkaError *error)
{
	EventlogKafkaPool pool;
	bool		running;

	pthread_mutex_lock(&client->lock);
	running = client->op_state == EVENTLOG_KAFKA_OP_RUNNING;
	pthread_mutex_unlock(&client->lock);
	if (running)
	{
		eventlog_kafka_set_error(client, error, RD_KAFKA_RESP_ERR__CONFLICT,
								 "an operation is running already");
		return false;
	}
	pool = client->op.pool;
	eventlog_kafka_free(&pool);
	memset(&client->op, 0, sizeof(client->op));
	client->op.target = -1;
	client->op_state = EVENTLOG_KAFKA_OP_NONE;
	return true;
}

void
eventlog_kafka_op_start(EventlogKafkaClient *client, EventlogKafkaRun run, int timeout_ms)
{
	client->op.run = run;
	client->op.started = eventlog_kafka_now();
	client->op.deadline = client->op.started + Min(Max(timeout_ms, 1), LONGEST_MS);
	pthread_mutex_lock(&client->lock);
	client->op_state = EVENTLOG_KAFKA_OP_RUNNING;
	pthread_cond_broadcast(&client->changed);
	pthread_mutex_unlock(&client->lock);
}

/* For the helper: is the client being closed? */
bool
eventlog_kafka_op_closing(EventlogKafkaClient *client)
{
	bool		closing;

	pthread_mutex_lock(&client->lock);
	closing = client->closing;
	pthread_mutex_unlock(&client->lock);
	return closing;
}

/*
 * For the helper: how long to wait next (ms), at most "most"; 0 if the
 * operation is to end, since its time is up or the client is being closed.
 */
int
eventlog_kafka_op_slice(EventlogKafkaClient *client, int most)
{
	int64		left = client->op.deadline - eventlog_kafka_now();

	if (left <= 0 || eventlog_kafka_op_closing(client))
		return 0;
	return (int) Min(left, most);
}

/* For the helper: sleep, but not once the client is being closed. */
void
eventlog_kafka_op_pause(EventlogKafkaClient *client, int ms)
{
	int64		until = Min(eventlog_kafka_now() + ms, client->op.deadline);

	pthread_mutex_lock(&client->lock);
	while (!client->closing && wait_change(client, until))
		;
	pthread_mutex_unlock(&client->lock);
}

/* For the helper: the time is up, and there is no better error to tell. */
void
eventlog_kafka_op_expired(EventlogKafkaClient *client, const char *what)
{
	if (client->op.error.name[0] == '\0')
		eventlog_kafka_set_error(client, &client->op.error, RD_KAFKA_RESP_ERR__TIMED_OUT,
								 "%s: no answer in time", what);
}

EventlogKafkaOpState
eventlog_kafka_op_state(EventlogKafkaClient *client, EventlogKafkaError *error)
{
	EventlogKafkaOpState state;

	pthread_mutex_lock(&client->lock);
	state = client->op_state;
	if (state == EVENTLOG_KAFKA_OP_FAILED && error != NULL)
		*error = client->op.error;
	pthread_mutex_unlock(&client->lock);
	return state;
}

EventlogKafkaOpState
eventlog_kafka_op_wait(EventlogKafkaClient *client, int timeout_ms, EventlogKafkaError *error)
{
	int64		until = eventlog_kafka_now() + timeout_ms;

	for (;;)
	{
		EventlogKafkaOpState state = eventlog_kafka_op_state(client, error);
		int64		now = eventlog_kafka_now();

		if (state != EVENTLOG_KAFKA_OP_RUNNING || now >= until)
			return state;

		/* delivery errors have to be taken for some operations to end */
		eventlog_kafka_serve(client);
		pthread_mutex_lock(&client->lock);
		if (client->op_state == EVENTLOG_KAFKA_OP_RUNNING)
			(void) wait_change(client, Min(until, now + 20));
		pthread_mutex_unlock(&client->lock);
	}
}
