/*-------------------------------------------------------------------------
 *
 * mirror_client.c
 *	  How long a record takes through a mirror, seen by clients of both ends.
 *
 *	mirror_client out BROKERS KAFKA_TOPIC TOPIC COUNT
 *	mirror_client in BROKERS KAFKA_TOPIC TOPIC COUNT
 *
 * "out": COMMIT of one record here, until a read_committed consumer has it.
 * "in": one record is produced to Kafka; from when the broker has acknowledged
 * it until a session that waits for it in consume() has it.  One record is
 * under way at a time.  Prints "p50=MS p99=MS".  Both topics exist, have a
 * partition, and are mirrored; the connection comes from libpq's environment.
 *
 *	cc -O2 mirror_client.c -o mirror_client -lpq -lrdkafka
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

/* until a record counts as lost */
#define PATIENCE_MS		30000

/* before the clock counts */
#define WARM_UP			20

static double acknowledged;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "mirror_client: %s: %s\n", what, why);
	exit(1);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec * 1000 + (double) ts.tv_nsec / 1e6;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Run a statement; returns the first column of its first row as a number. */
static long
query(PGconn *conn, const char *sql)
{
	PGresult   *res = PQexec(conn, sql);
	long		n = 0;

	if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
		die(sql, PQerrorMessage(conn));
	if (PQntuples(res) > 0)
		n = atol(PQgetvalue(res, 0, 0));
	PQclear(res);
	return n;
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[256];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die(name, error);
}

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err)
		die("not delivered", rd_kafka_err2str(message->err));
	acknowledged = now();
}

static rd_kafka_t *
open_client(rd_kafka_type_t type, const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		error[256];

	set(conf, "bootstrap.servers", brokers);
	if (type == RD_KAFKA_CONSUMER)
	{
		set(conf, "group.id", "mirror_client");
		set(conf, "isolation.level", "read_committed");
		set(conf, "enable.auto.commit", "false");
		set(conf, "fetch.wait.max.ms", "100");
	}
	else
	{
		set(conf, "linger.ms", "0");
		rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	}
	rk = rd_kafka_new(type, conf, error, sizeof(error));
	if (rk == NULL)
		die("client", error);
	return rk;
}

static double
one_out(rd_kafka_t *rk, PGconn *conn, const char *sql)
{
	double		committed;
	double		until;

	(void) query(conn, sql);
	committed = now();
	until = committed + PATIENCE_MS;
	while (now() < until)
	{
		rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 100);
		bool		here = message != NULL && !message->err;

		if (message != NULL)
			rd_kafka_message_destroy(message);
		if (here)
			return now() - committed;
	}
	die("out", "a record does not arrive");
	return 0;
}

static double
one_in(rd_kafka_t *rk, PGconn *conn, const char *topic, const char *sql)
{
	rd_kafka_resp_err_t err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
												RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
												RD_KAFKA_V_VALUE("1", 1), RD_KAFKA_V_END);
	double		until = now() + PATIENCE_MS;

	if (err)
		die("produce", rd_kafka_err2str(err));
	acknowledged = 0;
	while (acknowledged == 0)
		rd_kafka_poll(rk, 1);
	while (query(conn, sql) == 0)
	{
		if (now() > until)
			die("in", "a record does not arrive");
	}
	return now() - acknowledged;
}

int
main(int argc, char **argv)
{
	bool		out = argc == 6 && strcmp(argv[1], "out") == 0;
	int			count = argc == 6 ? atoi(argv[5]) : 0;
	double	   *took;
	char		sql[512];
	rd_kafka_t *rk;
	PGconn	   *conn;

	if (count <= 0)
		die("usage", "mirror_client out|in BROKERS KAFKA_TOPIC TOPIC COUNT");
	took = calloc(count, sizeof(double));
	conn = PQconnectdb("");
	if (PQstatus(conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(conn));
	rk = open_client(out ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, argv[2]);
	if (out)
	{
		rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

		rd_kafka_topic_partition_list_add(list, argv[3], 0)->offset = RD_KAFKA_OFFSET_END;
		(void) rd_kafka_assign(rk, list);
		rd_kafka_topic_partition_list_destroy(list);
		/* until it knows where the end is */
		for (double until = now() + 2000; now() < until;)
		{
			rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 100);

			if (message != NULL)
				rd_kafka_message_destroy(message);
		}
		snprintf(sql, sizeof(sql), "SELECT eventlog.produce('%s', NULL::text, '1')", argv[4]);
	}
	else
	{
		snprintf(sql, sizeof(sql), "SELECT eventlog.create_group('mirror_client', '%s', 'latest')", argv[4]);
		(void) query(conn, sql);
		snprintf(sql, sizeof(sql),
				 "SELECT count(*) FROM eventlog.consume('mirror_client', null::topics.\"%s\", max_wait => '1 s', auto_commit => true)",
				 argv[4]);
	}
	for (int i = -WARM_UP; i < count; i++)
	{
		double		ms = out ? one_out(rk, conn, sql) : one_in(rk, conn, argv[3], sql);

		if (i >= 0)
			took[i] = ms;
		usleep(20000 + rand() % 30000);
	}
	qsort(took, count, sizeof(double), compare);
	printf("p50=%.1f p99=%.1f\n", took[count / 2], took[count * 99 / 100]);
	return 0;
}
