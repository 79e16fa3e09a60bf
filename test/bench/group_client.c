/*-------------------------------------------------------------------------
 *
 * group_client.c
 *	  Many sessions in one process, for what consumer groups have to reach.
 *
 *	group_client latency CONNINFO TOPIC ROUNDS
 *		One session waits in poll(), another commits a record: milliseconds from
 *		before the commit is sent until the record has arrived and the commit
 *		is answered, as Kafka's own end-to-end tool measures.  Prints
 *		"p50=N p99=N".
 *	group_client wait CONNINFO TOPIC SESSIONS (group|groups|members)
 *		Keeps sessions waiting for records: in consume() as one group or as one
 *		group each, or in poll() as members of one group.  Prints "ready" when
 *		all of them wait, and the number of records that came when its standard
 *		input ends.
 *	group_client takeover CONNINFO TOPIC ROUNDS
 *		A member's session ends, which has records that it has not committed;
 *		another waits in poll(): milliseconds until they arrive there.  Prints
 *		"p50=N max=N".
 *	group_client join CONNINFO TOPIC SESSIONS
 *		Sessions subscribe at once to a topic with as many partitions as there
 *		are sessions: milliseconds until each has one.  Prints "ms=N".
 *
 *	cc -O2 group_client.c -o group_client -I$(pg_config --includedir) -lpq
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "group_client: %s: %s\n", what, why);
	exit(1);
}

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}

static PGconn *
open_session(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(conn));
	PQclear(PQexec(conn, "SET client_min_messages = error"));
	return conn;
}

static void
send_query(PGconn *conn, const char *sql)
{
	if (!PQsendQuery(conn, sql))
		die(sql, PQerrorMessage(conn));
}

/* Rows of the query that was sent; waits for them. */
static int
finish_query(PGconn *conn)
{
	PGresult   *res;
	int			rows = 0;

	while ((res = PQgetResult(conn)) != NULL)
	{
		ExecStatusType status = PQresultStatus(res);

		if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
			die("query", PQresultErrorMessage(res));
		rows += PQntuples(res);
		PQclear(res);
	}
	return rows;
}

static int
query(PGconn *conn, const char *sql)
{
	send_query(conn, sql);
	return finish_query(conn);
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
percentile(double *times, int n, double share)
{
	int			i = (int) (share * n);

	return times[i < n ? i : n - 1];
}

/* The session sleeps, as far as another can tell. */
static void
until_waiting(PGconn *other, const char *backend_pids, int count)
{
	char		sql[512];

	snprintf(sql, sizeof(sql),
			 "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND state = 'active' AND %s",
			 backend_pids);
	while (query(other, sql) < count)
		usleep(1000);
}

static void
latency(const char *conninfo, const char *topic, int rounds)
{
	PGconn	   *consumer = open_session(conninfo);
	PGconn	   *producer = open_session(conninfo);
	double	   *times = malloc(sizeof(double) * rounds);
	char		sql[512];
	char		pid[64];

	snprintf(sql, sizeof(sql), "SELECT eventlog.subscribe('latency', array['%s'])", topic);
	query(consumer, sql);
	query(consumer, "SELECT eventlog.poll(null::int)");
	snprintf(pid, sizeof(pid), "pid = %d", PQbackendPID(consumer));
	snprintf(sql, sizeof(sql), "PREPARE p AS SELECT eventlog.produce('%s', null, repeat('x', 100))", topic);
	query(producer, sql);
	query(consumer, "PREPARE c AS SELECT * FROM eventlog.poll(1, '10 s')");
	for (int i = -100; i < rounds; i++)
	{
		double		from;

		send_query(consumer, "EXECUTE c");
		PQflush(consumer);
		if (i == -100)
			until_waiting(producer, pid, 1);
		usleep(2000);
		from = now_ms();
		query(producer, "EXECUTE p");
		if (finish_query(consumer) != 1)
			die("latency", "a record did not arrive");
		if (i >= 0)
			times[i] = now_ms() - from;
	}
	qsort(times, rounds, sizeof(double), compare);
	printf("p50=%.3f p99=%.3f\n", percentile(times, rounds, 0.5), percentile(times, rounds, 0.99));
}

static void
wait_for_records(const char *conninfo, const char *topic, int sessions, const char *how)
{
	PGconn	  **conns = malloc(sizeof(PGconn *) * sessions);
	struct pollfd *fds = malloc(sizeof(struct pollfd) * (sessions + 1));
	PGconn	   *control = open_session(conninfo);
	int64_t		records = 0;

	for (int i = 0; i < sessions; i++)
	{
		char		sql[512];

		conns[i] = open_session(conninfo);
		query(conns[i], "SET application_name = group_client");
		query(conns[i], "SET synchronous_commit = off");
		if (strcmp(how, "members") == 0)
		{
			snprintf(sql, sizeof(sql), "SELECT eventlog.subscribe('waiting', array['%s'])", topic);
			query(conns[i], sql);
			snprintf(sql, sizeof(sql), "PREPARE c AS SELECT partition FROM eventlog.poll(500, '1 hour')");
		}
		else
			snprintf(sql, sizeof(sql),
					 "PREPARE c AS SELECT partition FROM eventlog.consume('waiting%d', '%s', 500, '1 hour', true)",
					 strcmp(how, "groups") == 0 ? i : 0, topic);
		query(conns[i], sql);
		if (strcmp(how, "groups") == 0 || (strcmp(how, "group") == 0 && i == 0))
		{
			snprintf(sql, sizeof(sql),
					 "SELECT eventlog.consume('waiting%d', '%s', null, auto_commit => true)", i, topic);
			query(conns[i], sql);
		}
	}
	for (int i = 0; i < sessions && strcmp(how, "members") == 0; i++)
	{
		query(conns[i], "SELECT count(*) FROM eventlog.poll(null::int)");
		query(conns[i], "SELECT eventlog.commit()");
	}
	for (int i = 0; i < sessions; i++)
	{
		send_query(conns[i], "EXECUTE c");
		fds[i].fd = PQsocket(conns[i]);
		fds[i].events = POLLIN;
	}
	fds[sessions].fd = 0;
	fds[sessions].events = POLLIN;
	until_waiting(control, "application_name = 'group_client'", sessions);
	printf("ready\n");
	fflush(stdout);
	for (;;)
	{
		if (poll(fds, sessions + 1, -1) < 0)
			die("poll", "failed");
		for (int i = 0; i < sessions; i++)
		{
			if (fds[i].revents == 0)
				continue;
			if (!PQconsumeInput(conns[i]))
				die("connection", PQerrorMessage(conns[i]));
			if (PQisBusy(conns[i]))
				continue;
			records += finish_query(conns[i]);
			send_query(conns[i], "EXECUTE c");
		}
		if (fds[sessions].revents != 0)
			break;
	}
	printf("%lld\n", (long long) records);
	/* queries that still wait end with their sessions */
	_exit(fflush(stdout) == 0 ? 0 : 1);
}

static void
takeover(const char *conninfo, const char *topic, int rounds)
{
	double	   *times = malloc(sizeof(double) * rounds);
	PGconn	   *control = open_session(conninfo);
	char		subscribe[512];
	char		produce[512];

	snprintf(subscribe, sizeof(subscribe), "SELECT eventlog.subscribe('takeover', array['%s'])", topic);
	snprintf(produce, sizeof(produce),
			 "SELECT eventlog.produce('%s', null, 'x', partition => p) FROM generate_series(0, 7) p", topic);
	for (int i = 0; i < rounds; i++)
	{
		PGconn	   *victim = open_session(conninfo);
		PGconn	   *heir = open_session(conninfo);
		char		pid[64];
		double		from;

		query(victim, subscribe);
		query(heir, subscribe);
		query(victim, "SELECT eventlog.poll(null::int); SELECT eventlog.commit()");
		query(heir, "SELECT eventlog.poll(null::int); SELECT eventlog.commit()");
		query(control, produce);
		query(heir, "SELECT eventlog.poll(null::int); SELECT eventlog.commit()");
		query(victim, "BEGIN; SELECT eventlog.poll(null::int)");
		snprintf(pid, sizeof(pid), "pid = %d", PQbackendPID(heir));
		send_query(heir, "SELECT * FROM eventlog.poll(1, '10 s')");
		PQflush(heir);
		until_waiting(control, pid, 1);
		usleep(2000);
		from = now_ms();
		PQfinish(victim);
		if (finish_query(heir) == 0)
			die("takeover", "no record has arrived");
		times[i] = now_ms() - from;
		query(heir, "SELECT eventlog.poll(null::int); SELECT eventlog.commit()");
		PQfinish(heir);
		usleep(2000);
	}
	qsort(times, rounds, sizeof(double), compare);
	printf("p50=%.3f max=%.3f\n", percentile(times, rounds, 0.5), times[rounds - 1]);
}

static void
join(const char *conninfo, const char *topic, int sessions)
{
	PGconn	  **conns = malloc(sizeof(PGconn *) * sessions);
	int			settled = 0;
	char		sql[512];
	double		from;

	for (int i = 0; i < sessions; i++)
		conns[i] = open_session(conninfo);
	snprintf(sql, sizeof(sql), "SELECT eventlog.subscribe('join', array['%s'])", topic);
	from = now_ms();
	for (int i = 0; i < sessions; i++)
	{
		send_query(conns[i], sql);
		PQflush(conns[i]);
	}
	for (int i = 0; i < sessions; i++)
		finish_query(conns[i]);
	while (settled < sessions)
	{
		settled = 0;
		for (int i = 0; i < sessions; i++)
			settled += (query(conns[i], "SELECT FROM eventlog.assignment()") == 1);
	}
	printf("ms=%.1f\n", now_ms() - from);
}

int
main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "latency") == 0)
		latency(argv[2], argv[3], atoi(argv[4]));
	else if (argc == 6 && strcmp(argv[1], "wait") == 0)
		wait_for_records(argv[2], argv[3], atoi(argv[4]), argv[5]);
	else if (argc == 5 && strcmp(argv[1], "takeover") == 0)
		takeover(argv[2], argv[3], atoi(argv[4]));
	else if (argc == 5 && strcmp(argv[1], "join") == 0)
		join(argv[2], argv[3], atoi(argv[4]));
	else
		die("usage", "see the top of group_client.c");
	return 0;
}
