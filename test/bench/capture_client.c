/*-------------------------------------------------------------------------
 *
 * capture_client.c
 *	  Writes rows, and waits for their records in a topic.
 *
 *	capture_client CONNINFO TOPIC RATE COUNT SYNC SQL
 *
 * One session runs SQL, which has the row's number as $1, so many times a second
 * in a transaction of its own each.  Another consumes the topic, whose keys have
 * that number as their only digits.  Milliseconds are counted from before COMMIT
 * is sent until the consumer has the row; that it then commits its position is
 * not in them.  Prints "p50=N p99=N commit_p50=N commit_p99=N", the latter of
 * what the writer itself waits for its COMMIT.
 *
 * COUNT 0: until standard input ends.  SYNC is on or off: synchronous_commit of
 * both sessions.
 *
 *	cc -O2 capture_client.c -o capture_client -I$(pg_config --includedir) -lpq -lpthread
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

/* Rows that are not counted: sessions and caches are new. */
#define WARM_UP		50

#define MAX_ROWS	1000000

static const char *conninfo;
static const char *topic;
static const char *synchronous_commit;
static const char *write_sql;
static int	rate;

static double *sent;			/* by the row's number */
static double *taken;			/* ms until it has arrived */
static double *committed;		/* ms until COMMIT was answered */
static atomic_int written;		/* rows */
static atomic_int finished;		/* no more will be written */
static atomic_int ready;		/* the consumer is there */

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "capture_client: %s: %s\n", what, why);
	exit(1);
}

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}

static PGresult *
checked(PGconn *conn, PGresult *res, const char *what)
{
	ExecStatusType status = PQresultStatus(res);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
		die(what, PQerrorMessage(conn));
	return res;
}

static void
run(PGconn *conn, const char *sql)
{
	PQclear(checked(conn, PQexec(conn, sql), sql));
}

static PGconn *
open_session(void)
{
	PGconn	   *conn = PQconnectdb(conninfo);
	char		sql[64];

	if (PQstatus(conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(conn));
	run(conn, "SET client_min_messages = error");
	snprintf(sql, sizeof(sql), "SET synchronous_commit = %s", synchronous_commit);
	run(conn, sql);
	return conn;
}

static int
number_in(const char *key)
{
	key += strcspn(key, "0123456789");
	return atoi(key);
}

/* Takes rows until the last one that was written has come. */
static void *
consumer(void *arg)
{
	PGconn	   *conn = open_session();
	char		sql[512];
	int			received = 0;

	(void) arg;
	snprintf(sql, sizeof(sql), "SELECT eventlog.consume('capture_client', '%s', null, auto_commit => true)", topic);
	run(conn, sql);
	snprintf(sql, sizeof(sql),
			 "PREPARE c AS SELECT key, value FROM eventlog.consume('capture_client', null::topics.\"%s\", 500, '200 ms')",
			 topic);
	run(conn, sql);
	atomic_store(&ready, 1);
	while (!atomic_load(&finished) || received < atomic_load(&written))
	{
		PGresult   *res;
		double		now;

		run(conn, "BEGIN");
		res = checked(conn, PQexec(conn, "EXECUTE c"), "consume");
		now = now_ms();
		for (int i = 0; i < PQntuples(res); i++)
		{
			int			n = number_in(PQgetvalue(res, i, 0));

			if (n >= MAX_ROWS || n != received)
				die("consume", "a record is not the next one");
			taken[n] = now - sent[n];
			received++;
		}
		PQclear(res);
		run(conn, "SELECT eventlog.commit()");
		run(conn, "COMMIT");
	}
	PQfinish(conn);
	return NULL;
}

static int
input_has_ended(void)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	char		byte;

	return poll(&input, 1, 0) > 0 && read(0, &byte, 1) <= 0;
}

static void
write_rows(int count)
{
	PGconn	   *conn = open_session();
	double		due = now_ms();

	PQclear(checked(conn, PQprepare(conn, "w", write_sql, 0, NULL), write_sql));
	for (int i = 0; count > 0 ? i < count : i < MAX_ROWS && !input_has_ended(); i++)
	{
		char		number[16];
		const char *params[1] = {number};
		double		wait = due - now_ms();

		if (wait > 0)
			usleep((useconds_t) (wait * 1e3));
		due += 1e3 / rate;
		snprintf(number, sizeof(number), "%d", i);
		run(conn, "BEGIN");
		PQclear(checked(conn, PQexecPrepared(conn, "w", 1, params, NULL, NULL, 0), write_sql));
		sent[i] = now_ms();
		atomic_store(&written, i + 1);
		run(conn, "COMMIT");
		committed[i] = now_ms() - sent[i];
	}
	atomic_store(&finished, 1);
	PQfinish(conn);
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

int
main(int argc, char **argv)
{
	pthread_t	thread;
	int			n;
	double	   *times;

	if (argc != 7)
		die("usage", "capture_client CONNINFO TOPIC RATE COUNT SYNC SQL");
	conninfo = argv[1];
	topic = argv[2];
	rate = atoi(argv[3]);
	synchronous_commit = argv[5];
	write_sql = argv[6];
	if (rate < 1 || atoi(argv[4]) < 0 || atoi(argv[4]) >= MAX_ROWS)
		die("usage", "RATE or COUNT is out of range");
	sent = calloc(MAX_ROWS, sizeof(double));
	taken = calloc(MAX_ROWS, sizeof(double));
	committed = calloc(MAX_ROWS, sizeof(double));
	pthread_create(&thread, NULL, consumer, NULL);
	while (!atomic_load(&ready))
		usleep(1000);
	write_rows(atoi(argv[4]));
	pthread_join(thread, NULL);

	n = atomic_load(&written) - WARM_UP;
	if (n < 1)
		die("usage", "too few rows were written");
	times = taken + WARM_UP;
	qsort(times, n, sizeof(double), compare);
	qsort(committed + WARM_UP, n, sizeof(double), compare);
	printf("p50=%.3f p99=%.3f commit_p50=%.3f commit_p99=%.3f\n",
		   times[n / 2], times[(int) (n * 0.99)],
		   committed[WARM_UP + n / 2], committed[WARM_UP + (int) (n * 0.99)]);
	return 0;
}
