/*-------------------------------------------------------------------------
 *
 * mirror_position.c
 *	  The progress of mirrors, and pairs of offsets that stand for one place.
 *
 * A position is a row for each partition of the source, updated in place with
 * each transaction of the mirror: its plans are kept, and no index is touched.
 * A pair is kept now and then, so that consumers can be moved from one side to
 * the other; the newest ones of a partition stay.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/pg_authid.h"

#include "mirror.h"
#include "pg_eventlog.h"

PG_FUNCTION_INFO_V1(eventlog_mirror_offsets);

/* Pairs of offsets that are kept for a partition. */
#define MAX_SYNCS		1000

/* Statements that each transaction of a mirror runs. */
typedef struct Statement
{
	const char *sql;
	int			nargs;
	SPIPlanPtr	plan;
} Statement;

/* $1 mirror, $2 Kafka's topic, $3 partition, $4 ours, $5 and $6 offsets, $7 epoch, $8 table */
static Statement update_position = {
	"UPDATE eventlog.mirror_position SET topic = $4, record_offset = $5, kafka_offset = $6, epoch = $7, relation = $8"
	" WHERE mirror OPERATOR(pg_catalog.=) $1 AND kafka_topic OPERATOR(pg_catalog.=) $2"
	" AND partition OPERATOR(pg_catalog.=) $3", 8, NULL
};

static Statement insert_position = {
	"INSERT INTO eventlog.mirror_position (mirror, kafka_topic, partition, topic, record_offset,"
	" kafka_offset, epoch, relation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", 8, NULL
};

static Statement insert_sync = {
	"INSERT INTO eventlog.mirror_sync (mirror, kafka_topic, partition, topic, record_offset, kafka_offset)"
	" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING", 6, NULL
};

static Statement trim_syncs = {
	"DELETE FROM eventlog.mirror_sync WHERE mirror OPERATOR(pg_catalog.=) $1"
	" AND kafka_topic OPERATOR(pg_catalog.=) $2 AND partition OPERATOR(pg_catalog.=) $3"
	" AND record_offset OPERATOR(pg_catalog.<) (SELECT record_offset FROM eventlog.mirror_sync"
	" WHERE mirror OPERATOR(pg_catalog.=) $1 AND kafka_topic OPERATOR(pg_catalog.=) $2"
	" AND partition OPERATOR(pg_catalog.=) $3"
	" ORDER BY record_offset DESC OFFSET $4 LIMIT 1)", 4, NULL
};

static uint64
run(Statement *statement, Oid *types, Datum *values, const char *nulls)
{
	int			result;

	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs, types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed for \"%s\"", statement->sql);
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	result = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "\"%s\" failed: %s", statement->sql, SPI_result_code_string(result));
	return SPI_processed;
}

void
eventlog_mirror_position_set(int32 id, const EventlogMirrorPosition *position)
{
	static Oid	types[8] = {INT4OID, TEXTOID, INT4OID, TEXTOID, INT8OID, INT8OID, INT4OID, REGCLASSOID};
	Datum		values[8];
	char		nulls[9] = "        ";
	EventlogCatalogSql session;

	values[0] = Int32GetDatum(id);
	values[1] = CStringGetTextDatum(position->kafka_topic);
	values[2] = Int32GetDatum(position->partition);
	values[3] = CStringGetTextDatum(position->topic);
	values[4] = Int64GetDatum(position->record_offset);
	values[5] = Int64GetDatum(position->kafka_offset);
	values[6] = Int32GetDatum(position->epoch);
	nulls[4] = position->record_offset < 0 ? 'n' : ' ';
	nulls[5] = position->kafka_offset < 0 ? 'n' : ' ';
	nulls[6] = position->epoch < 0 ? 'n' : ' ';
	values[7] = ObjectIdGetDatum(position->relation);
	nulls[7] = OidIsValid(position->relation) ? ' ' : 'n';

	eventlog_mirror_sql_begin(&session);
	if (run(&update_position, types, values, nulls) == 0)
	{
		CommandCounterIncrement();
		(void) run(&insert_position, types, values, nulls);
	}
	eventlog_catalog_sql_end(&session);
	CommandCounterIncrement();
}

void
eventlog_mirror_sync_add(int32 id, const EventlogMirrorPosition *position)
{
	static Oid	types[6] = {INT4OID, TEXTOID, INT4OID, TEXTOID, INT8OID, INT8OID};
	static Oid	trim_types[4] = {INT4OID, TEXTOID, INT4OID, INT8OID};
	Datum		values[6];
	EventlogCatalogSql session;

	if (position->record_offset < 0 || position->kafka_offset < 0)
		return;
	values[0] = Int32GetDatum(id);
	values[1] = CStringGetTextDatum(position->kafka_topic);
	values[2] = Int32GetDatum(position->partition);
	values[3] = CStringGetTextDatum(position->topic);
	values[4] = Int64GetDatum(position->record_offset);
	values[5] = Int64GetDatum(position->kafka_offset);

	eventlog_mirror_sql_begin(&session);
	(void) run(&insert_sync, types, values, NULL);
	values[3] = Int64GetDatum(MAX_SYNCS - 1);
	(void) run(&trim_syncs, trim_types, values, NULL);
	eventlog_catalog_sql_end(&session);
	CommandCounterIncrement();
}

void
eventlog_mirror_syncs_forget(int32 id)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(id)};

	eventlog_catalog_sql_execute("mirror", "mirrors",
								 "DELETE FROM eventlog.mirror_sync WHERE mirror OPERATOR(pg_catalog.=) $1",
								 1, types, values, NULL);
}

void
eventlog_mirror_positions_forget(int32 id, const char *kafka_topic)
{
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2] = {Int32GetDatum(id), CStringGetTextDatum(kafka_topic)};

	eventlog_catalog_sql_execute("mirror", "mirrors",
								 "WITH pairs AS (DELETE FROM eventlog.mirror_sync"
								 " WHERE mirror OPERATOR(pg_catalog.=) $1 AND kafka_topic OPERATOR(pg_catalog.=) $2)"
								 " DELETE FROM eventlog.mirror_position"
								 " WHERE mirror OPERATOR(pg_catalog.=) $1 AND kafka_topic OPERATOR(pg_catalog.=) $2",
								 2, types, values, NULL);
}

/* ---- reading ---- */

static int64
int64_column(uint64 row, int number)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? -1 : DatumGetInt64(datum);
}

static int32
int32_column(uint64 row, int number)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? -1 : DatumGetInt32(datum);
}

static char *
text_column(uint64 row, int number)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}

int
eventlog_mirror_positions_load(int32 id, EventlogMirrorPosition **positions)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(id)};
	EventlogCatalogSql session;
	MemoryContext old;
	int			n;

	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args("SELECT topic, kafka_topic, partition, record_offset, kafka_offset, epoch,"
							  " relation::pg_catalog.oid::pg_catalog.int8"
							  " FROM eventlog.mirror_position WHERE mirror OPERATOR(pg_catalog.=) $1"
							  " ORDER BY kafka_topic, partition",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.mirror_position");
	n = (int) SPI_processed;
	old = MemoryContextSwitchTo(context);
	*positions = palloc(sizeof(EventlogMirrorPosition) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		EventlogMirrorPosition *position = &(*positions)[i];

		position->topic = text_column(i, 1);
		position->kafka_topic = text_column(i, 2);
		position->partition = int32_column(i, 3);
		position->record_offset = int64_column(i, 4);
		position->kafka_offset = int64_column(i, 5);
		position->epoch = int32_column(i, 6);
		position->relation = (Oid) Max(int64_column(i, 7), 0);
	}
	MemoryContextSwitchTo(old);
	eventlog_catalog_sql_end(&session);
	return n;
}

/* Pairs and current positions, as one. */
#define PAIRS \
	"(SELECT mirror, topic, kafka_topic, partition, record_offset, kafka_offset, synced_at" \
	" FROM eventlog.mirror_sync UNION ALL" \
	" SELECT mirror, topic, kafka_topic, partition, record_offset, kafka_offset, NULL" \
	" FROM eventlog.mirror_position WHERE record_offset IS NOT NULL AND kafka_offset IS NOT NULL) p"

bool
eventlog_mirror_translate(int32 id, const char *kafka_topic, int32 partition,
						  int64 *record_offset, int64 *kafka_offset)
{
	Oid			types[4] = {INT4OID, TEXTOID, INT4OID, INT8OID};
	Datum		values[4];
	EventlogCatalogSql session;
	bool		found;

	values[0] = Int32GetDatum(id);
	values[1] = CStringGetTextDatum(kafka_topic);
	values[2] = Int32GetDatum(partition);
	values[3] = Int64GetDatum(*record_offset >= 0 ? *record_offset : *kafka_offset);
	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args(*record_offset >= 0 ?
							  "SELECT record_offset, kafka_offset FROM " PAIRS
							  " WHERE mirror OPERATOR(pg_catalog.=) $1 AND kafka_topic OPERATOR(pg_catalog.=) $2"
							  " AND partition OPERATOR(pg_catalog.=) $3"
							  " AND record_offset OPERATOR(pg_catalog.<=) $4"
							  " ORDER BY record_offset DESC, kafka_offset DESC" :
							  "SELECT record_offset, kafka_offset FROM " PAIRS
							  " WHERE mirror OPERATOR(pg_catalog.=) $1 AND kafka_topic OPERATOR(pg_catalog.=) $2"
							  " AND partition OPERATOR(pg_catalog.=) $3"
							  " AND kafka_offset OPERATOR(pg_catalog.<=) $4"
							  " ORDER BY kafka_offset DESC, record_offset DESC",
							  4, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.mirror_sync");
	found = SPI_processed > 0;
	if (found)
	{
		*record_offset = int64_column(0, 1);
		*kafka_offset = int64_column(0, 2);
	}
	eventlog_catalog_sql_end(&session);
	return found;
}

/* ---- mirror_offsets() ---- */

/* May the user see the mirror? */
static EventlogMirror *
visible_mirror(text *name)
{
	EventlogMirror *mirror = eventlog_mirror_load(text_to_cstring(name), 0, false, false);

	if (!has_privs_of_role(GetUserId(), mirror->owner) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of mirror \"%s\"", mirror->name)));
	return mirror;
}

/*
 * mirror_offsets(name text, partition int, record_offset bigint,
 * kafka_offset bigint)
 */
Datum
eventlog_mirror_offsets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[4] = {INT4OID, INT4OID, INT8OID, INT8OID};
	Datum		values[4];
	char		nulls[5] = "    ";
	EventlogMirror *mirror;
	EventlogCatalogSql session;

	eventlog_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	if (!PG_ARGISNULL(2) && !PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record_offset and kafka_offset cannot both be given")));
	mirror = visible_mirror(PG_GETARG_TEXT_PP(0));
	eventlog_mirror_read_config(mirror);
	if (mirror->config->repartition && !(PG_ARGISNULL(2) && PG_ARGISNULL(3)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("offsets of mirror \"%s\" cannot be translated", mirror->name),
				 errdetail("It chooses partitions by keys.")));

	values[0] = Int32GetDatum(mirror->id);
	for (int i = 1; i < 4; i++)
	{
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args(PG_ARGISNULL(2) && PG_ARGISNULL(3) ?
							  "SELECT topic, kafka_topic, partition, record_offset, kafka_offset, synced_at"
							  " FROM " PAIRS " WHERE mirror OPERATOR(pg_catalog.=) $1"
							  " AND ($2 IS NULL OR partition OPERATOR(pg_catalog.=) $2)"
							  " AND $3 IS NULL AND $4 IS NULL"
							  " ORDER BY kafka_topic, partition, record_offset, synced_at" :
							  "SELECT DISTINCT ON (kafka_topic, partition)"
							  " topic, kafka_topic, partition, record_offset, kafka_offset, synced_at"
							  " FROM " PAIRS " WHERE mirror OPERATOR(pg_catalog.=) $1"
							  " AND ($2 IS NULL OR partition OPERATOR(pg_catalog.=) $2)"
							  " AND ($3 IS NULL OR record_offset OPERATOR(pg_catalog.<=) $3)"
							  " AND ($4 IS NULL OR kafka_offset OPERATOR(pg_catalog.<=) $4)"
							  " ORDER BY kafka_topic, partition,"
							  " CASE WHEN $4 IS NULL THEN record_offset ELSE kafka_offset END DESC,"
							  " CASE WHEN $4 IS NULL THEN kafka_offset ELSE record_offset END DESC",
							  4, types, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.mirror_sync");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		row[6];
		bool		isnull[6];

		for (int c = 0; c < 6; c++)
			row[c] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, c + 1, &isnull[c]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, isnull);
	}
	eventlog_catalog_sql_end(&session);
	return (Datum) 0;
}
