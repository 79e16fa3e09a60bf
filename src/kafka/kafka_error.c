/*-------------------------------------------------------------------------
 *
 * kafka_error.c
 *	  librdkafka's errors as values of ours.
 *
 * Any thread.  What an error asks for (fatal, abortable, retriable) is taken
 * from librdkafka where it says so, as with transactions; else by its code.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

#include <stdarg.h>

/* Will it probably work if it is tried again, without anybody doing anything? */
static bool
is_retriable(int code)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
		case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR__WAIT_COORD:
		case RD_KAFKA_RESP_ERR__WAIT_CACHE:
		case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
		case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
		case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
		case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
		case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
		case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
		case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
		case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
		case RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS:
		case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
		case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
			return true;
		default:
			return false;
	}
}

/* Another producer has the transactional id, or its transaction timed out. */
static bool
is_fenced(int code)
{
	return code == RD_KAFKA_RESP_ERR__FENCED ||
		code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
		code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

/* One line, whatever a broker wrote. */
static void
one_line(char *text)
{
	char	   *c;

	for (c = text; *c; c++)
	{
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			*c = ' ';
	}
}

/*
 * Fill in an error from a code and a text.  If the client has met a fatal
 * error, that is what is told, since it explains all that came after it.
 */
void
eventlog_kafka_set_error(EventlogKafkaClient *client, EventlogKafkaError *error,
						 int code, const char *format, ...)
{
	va_list		args;

	memset(error, 0, sizeof(*error));
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);

	if (client != NULL && client->rk != NULL)
	{
		char		text[256];
		rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(client->rk, text, sizeof(text));

		if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			code = fatal;
			error->fatal = true;
			if (strstr(error->message, text) == NULL)
			{
				size_t		len = strlen(error->message);

				snprintf(error->message + len, sizeof(error->message) - len, ": %s", text);
			}
		}
	}
	one_line(error->message);
	error->code = code;
	error->fenced = is_fenced(code);
	error->retriable = !error->fatal && is_retriable(code);
	snprintf(error->name, sizeof(error->name), "%s", rd_kafka_err2name(code));
}

/* The same from librdkafka's object, which is destroyed. */
void
eventlog_kafka_take_error(EventlogKafkaClient *client, EventlogKafkaError *error,
						  rd_kafka_error_t *from, const char *what)
{
	bool		abortable = rd_kafka_error_txn_requires_abort(from);
	bool		retriable = rd_kafka_error_is_retriable(from);
	bool		fatal = rd_kafka_error_is_fatal(from);

	eventlog_kafka_set_error(client, error, rd_kafka_error_code(from), "%s: %s",
							 what, rd_kafka_error_string(from));
	rd_kafka_error_destroy(from);
	error->fatal |= fatal;
	error->abortable = abortable && !error->fatal;
	error->retriable = (retriable || error->retriable) && !error->fatal && !error->abortable;
}

/* Always false, for the caller to return. */
bool
eventlog_kafka_out_of_memory(EventlogKafkaError *error)
{
	eventlog_kafka_set_error(NULL, error, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
							 "out of memory");
	error->retriable = true;
	return false;
}
