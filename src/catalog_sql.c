/*-------------------------------------------------------------------------
 *
 * catalog_sql.c
 *	  SQL on the extension's own tables, in the name of their owner.
 *
 * Captures and mirrors have tables that are read and written seldom enough for
 * SQL.  Users have no rights on them: functions check what the user may, and
 * then work as the tables' owner.  An error ends that by itself, as it ends
 * SPI.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog_sql.h"

static Oid
table_oid(const char *table)
{
	Oid			schema = get_namespace_oid("eventlog", true);

	return OidIsValid(schema) ? get_relname_relid(table, schema) : InvalidOid;
}

bool
eventlog_catalog_has(const char *table)
{
	return OidIsValid(table_oid(table));
}

void
eventlog_catalog_sql_begin(EventlogCatalogSql *session, const char *table, const char *what)
{
	Oid			relid = table_oid(table);
	Relation	rel;
	Oid			owner;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("%s need version 0.2 of extension pg_eventlog", what),
				 errhint("Use ALTER EXTENSION pg_eventlog UPDATE.")));
	rel = table_open(relid, AccessShareLock);
	owner = rel->rd_rel->relowner;
	table_close(rel, NoLock);
	GetUserIdAndSecContext(&session->user, &session->context);
	SetUserIdAndSecContext(owner, session->context | SECURITY_LOCAL_USERID_CHANGE);
	session->snapshot = !ActiveSnapshotSet();
	if (session->snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
eventlog_catalog_sql_end(EventlogCatalogSql *session)
{
	SPI_finish();
	if (session->snapshot)
		PopActiveSnapshot();
	SetUserIdAndSecContext(session->user, session->context);
}

void
eventlog_catalog_sql_execute(const char *table, const char *what, const char *sql,
							 int nargs, Oid *types, Datum *values, const char *nulls)
{
	EventlogCatalogSql session;
	int			result;

	eventlog_catalog_sql_begin(&session, table, what);
	result = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "\"%s\" failed: %s", sql, SPI_result_code_string(result));
	eventlog_catalog_sql_end(&session);
}
