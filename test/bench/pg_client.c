/*-------------------------------------------------------------------------
 *
 * pg_client.c
 *	  A client of pg_eventlog, for comparison with kafka_client.c.
 *
 *	pg_client produce CONNINFO TOPIC COUNT VALUE_BYTES ARRAY [WARM_UP]
 *	pg_client consume CONNINFO GROUP TOPIC COUNT MAX_RECORDS
 *
 * Prints one line, "records_per_s=N seconds=S".  "produce" sends arrays of
 * ARRAY values to produce_batch(), as binary parameters, a few calls ahead of
 * the answers (libpq's pipeline mode), and commits every million records; the
 * clock runs from the first value made to the last commit's answer.  If there is
 * a topic WARM_UP, the session does the same with that first, and drops it: the
 * process that serves us is then as old as a broker's is.  "consume"
 * gives one transaction to each batch of up to MAX_RECORDS records, which it
 * fetches in binary form; the commit of one batch and the query for the next
 * travel together.  Its clock runs from the first batch received to the last
 * commit.
 *
 *	cc -O2 pg_client.c -o pg_client -I$(pg_config --includedir) -lpq
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#define TEXT_OID		25
#define TEXT_ARRAY_OID	1009

#define RECORDS_PER_COMMIT	1000000

/* calls of produce_batch() on their way at once */
#define AHEAD			4

static PGconn *conn;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "pg_client: %s: %s\n", what, why);
	exit(1);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static void
report(int64_t count, double seconds)
{
	printf("records_per_s=%.0f seconds=%.3f\n",
		   seconds > 0 ? (double) count / seconds : 0, seconds);
}

static void
check(int sent, const char *what)
{
	if (!sent)
		die(what, PQerrorMessage(conn));
}

/*
 * The result of one statement, which must have succeeded.  In pipeline mode a
 * null follows it.
 */
static PGresult *
result(void)
{
	PGresult   *res = PQgetResult(conn);
	ExecStatusType status = PQresultStatus(res);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die("statement failed", res ? PQresultErrorMessage(res) : PQerrorMessage(conn));
	if (PQgetResult(conn) != NULL)
		die("protocol", "more results than expected");
	return res;
}

static void
finish(void)
{
	PQclear(result());
}

/* Have what was sent so far answered. */
static void
flush(void)
{
	check(PQsendFlushRequest(conn), "flush");
	check(PQflush(conn) == 0, "flush");
}

static void
leave_pipeline(void)
{
	PGresult   *res;

	check(PQpipelineSync(conn), "sync");
	res = PQgetResult(conn);
	if (PQresultStatus(res) != PGRES_PIPELINE_SYNC)
		die("sync", PQerrorMessage(conn));
	PQclear(res);
	check(PQexitPipelineMode(conn), "pipeline");
}

static void
drop_topic(const char *topic)
{
	const char *params[1] = {topic};
	PGresult   *res = PQexecParams(conn, "SELECT eventlog.drop_topic($1)", 1, NULL,
								   params, NULL, NULL, 0);

	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		die(topic, PQresultErrorMessage(res));
	PQclear(res);
}

static void
connect_to(const char *conninfo)
{
	conn = PQconnectdb(conninfo);
	if (PQstatus(conn) != CONNECTION_OK)
		die("could not connect", PQerrorMessage(conn));
}

static void
prepare(const char *name, const char *sql, int nparams, const Oid *types)
{
	PGresult   *res = PQprepare(conn, name, sql, nparams, types);

	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		die(sql, PQresultErrorMessage(res));
	PQclear(res);
}

static void
send_statement(const char *name)
{
	check(PQsendQueryPrepared(conn, name, 0, NULL, NULL, NULL, 1), name);
}

static char *
put_int(char *p, int32_t n)
{
	uint32_t	net = htonl((uint32_t) n);

	memcpy(p, &net, sizeof(net));
	return p + sizeof(net);
}

/* A text[] in binary form: values numbered from "first" on. */
static int
make_array(char *to, int64_t first, int count, int value_bytes)
{
	char	   *p = to;
	int			i;

	p = put_int(p, 1);			/* dimensions */
	p = put_int(p, 0);			/* no nulls */
	p = put_int(p, TEXT_OID);
	p = put_int(p, count);
	p = put_int(p, 1);			/* lower bound */
	for (i = 0; i < count; i++)
	{
		p = put_int(p, value_bytes);
		memset(p, 'x', (size_t) value_bytes);
		if (value_bytes >= 20)
		{
			uint64_t	n = (uint64_t) (first + i);
			int			d;

			for (d = 19; d >= 0; d--, n /= 10)
				p[d] = (char) ('0' + n % 10);
		}
		p += value_bytes;
	}
	return (int) (p - to);
}

/* Send that many records; returns the seconds it took. */
static double
send_records(const char *topic, int64_t count, int value_bytes, int array, char *values)
{
	int			ahead = 0;
	int64_t		sent = 0;
	double		start = now();

	check(PQenterPipelineMode(conn), "pipeline");
	while (sent < count)
	{
		int64_t		until = sent + RECORDS_PER_COMMIT < count ? sent + RECORDS_PER_COMMIT : count;

		send_statement("begin");
		ahead++;
		while (sent < until)
		{
			int			n = until - sent < array ? (int) (until - sent) : array;
			const char *params[2] = {topic, values};
			int			lengths[2] = {0, make_array(values, sent, n, value_bytes)};
			int			formats[2] = {0, 1};

			check(PQsendQueryPrepared(conn, "produce", 2, params, lengths, formats, 1), "produce");
			flush();
			sent += n;
			for (ahead++; ahead > AHEAD; ahead--)
				finish();
		}
		send_statement("commit");
		flush();
		for (ahead++; ahead > 0; ahead--)
			finish();
	}
	return now() - start;
}

static int
produce(const char *topic, int64_t count, int value_bytes, int array, const char *warm_up)
{
	const Oid	types[] = {TEXT_OID, TEXT_ARRAY_OID};
	char	   *values = malloc((size_t) array * ((size_t) value_bytes + 4) + 64);

	prepare("begin", "BEGIN", 0, NULL);
	prepare("commit", "COMMIT", 0, NULL);
	prepare("produce", "SELECT eventlog.produce_batch($1, null, $2)", 2, types);

	if (warm_up)
	{
		send_records(warm_up, count, value_bytes, array, values);
		leave_pipeline();
		drop_topic(warm_up);
	}
	report(count, send_records(topic, count, value_bytes, array, values));
	return 0;
}

static int64_t
get_int64(const PGresult *res, int row, int column)
{
	const unsigned char *p = (const unsigned char *) PQgetvalue(res, row, column);
	uint64_t	n = 0;
	int			i;

	for (i = 0; i < 8; i++)
		n = n << 8 | p[i];
	return (int64_t) n;
}

static int
consume(const char *group, const char *topic, int64_t count, int max_records)
{
	char		sql[1024];
	int64_t		received = 0;
	int64_t		last_offset = -1;
	int64_t		value_bytes = 0;
	int64_t		after_first = 0;
	double		start = 0;

	snprintf(sql, sizeof(sql),
			 "SELECT record_offset, \"timestamp\", key, value FROM eventlog.consume('%s', null::topics.%s, %d)",
			 group, topic, max_records);
	prepare("begin", "BEGIN", 0, NULL);
	prepare("consume", sql, 0, NULL);
	prepare("commit", "SELECT eventlog.commit()", 0, NULL);
	prepare("end", "COMMIT", 0, NULL);
	check(PQenterPipelineMode(conn), "pipeline");

	send_statement("begin");
	send_statement("consume");
	for (;;)
	{
		PGresult   *res;
		int			rows;
		int			i;

		flush();
		finish();				/* BEGIN */
		res = result();
		rows = PQntuples(res);
		for (i = 0; i < rows; i++)
		{
			int64_t		offset = get_int64(res, i, 0);

			if (offset <= last_offset)
				die("could not consume", "offsets do not rise");
			last_offset = offset;
			value_bytes += PQgetlength(res, i, 3);
		}
		PQclear(res);
		received += rows;
		if (start == 0)
		{
			start = now();
			after_first = received;
		}
		if (rows == 0 && received < count)
			die("records are missing", "nothing came any more");

		send_statement("commit");
		send_statement("end");
		if (received < count)
		{
			/* the next transaction starts in the same round trip */
			send_statement("begin");
			send_statement("consume");
		}
		flush();
		finish();				/* commit() */
		finish();				/* COMMIT */
		if (received >= count)
			break;
	}
	if (value_bytes == 0)
		die("could not consume", "values are empty");
	report(received - after_first, now() - start);
	return 0;
}

/* A number from the command line, from "low" on. */
static int64_t
number(const char *text, int64_t low)
{
	char	   *end;
	long long	n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || end == text || n < low)
		die(text, "not a valid number");
	return n;
}

int
main(int argc, char **argv)
{
	if (argc == 7 || argc == 8)
	{
		connect_to(argv[2]);
		if (strcmp(argv[1], "produce") == 0)
			return produce(argv[3], number(argv[4], 1), (int) number(argv[5], 1),
						   (int) number(argv[6], 1), argc == 8 ? argv[7] : NULL);
		if (strcmp(argv[1], "consume") == 0 && argc == 7)
			return consume(argv[3], argv[4], number(argv[5], 1), (int) number(argv[6], 1));
	}
	fprintf(stderr,
			"usage: pg_client produce CONNINFO TOPIC COUNT VALUE_BYTES ARRAY [WARM_UP]\n"
			"       pg_client consume CONNINFO GROUP TOPIC COUNT MAX_RECORDS\n");
	return 2;
}
