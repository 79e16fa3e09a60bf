/*-------------------------------------------------------------------------
 *
 * mirror_stats.c
 *	  librdkafka's statistics, cut down to what has room in a mirror's slot.
 *
 * What is kept is for eventlog.mirror_statistics() to say.  Some of the text
 * comes from brokers, so nothing about it is taken for granted: what cannot be
 * read is left out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "mirror_task.h"
#include "subtransaction.h"

/* What a slot has room for, less the end of the text. */
#define MAX_BYTES	(EVENTLOG_MIRROR_STATS_BYTES - 1)

typedef struct Cutting
{
	const char *json;
	char	   *result;			/* NULL: none */
	MemoryContext context;
} Cutting;

static void
cut(void *arg)
{
	Cutting    *cutting = arg;
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2];
	EventlogCatalogSql session;
	char	   *text;

	values[0] = CStringGetTextDatum(pg_any_to_server(cutting->json, strlen(cutting->json), PG_UTF8));
	values[1] = Int32GetDatum(MAX_BYTES);
	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args("SELECT eventlog.mirror_statistics($1::pg_catalog.jsonb, $2)",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not cut statistics");
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (text != NULL && strlen(text) <= MAX_BYTES)
		cutting->result = MemoryContextStrdup(cutting->context, text);
	eventlog_catalog_sql_end(&session);
}

char *
eventlog_mirror_cut_stats(const char *json)
{
	Cutting		cutting = {.json = json, .context = CurrentMemoryContext};
	ErrorData  *error;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	error = eventlog_subtransaction_run(cut, &cutting);
	if (error != NULL && eventlog_subtransaction_must_rethrow(error))
		ReThrowError(error);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cutting.context);
	return cutting.result;
}
