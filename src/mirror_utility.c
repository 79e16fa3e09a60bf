/*-------------------------------------------------------------------------
 *
 * mirror_utility.c
 *	  Utility statements about what mirrors hang on: servers, roles, the
 *	  extension.
 *
 * A row of eventlog.mirror has the name of its server and its owner, which the
 * server knows no dependencies of.  So:
 *
 *	- a server that a mirror uses cannot be dropped, with CASCADE neither, and
 *	  when it is renamed the mirror follows;
 *	- DROP OWNED and REASSIGN OWNED take mirrors as they take other objects, and
 *	  a role that has mirrors in this database cannot be dropped;
 *	- the extension cannot be dropped while there are mirrors: what they have
 *	  in Kafka would go on from where nobody knows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "mirror.h"
#include "mirror_utility.h"

/* Run a statement about mirrors that returns servers' names, and have them look. */
static void
change(const char *sql, int nargs, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *servers = NIL;
	ListCell   *lc;
	EventlogCatalogSql session;

	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) < 0)
		elog(ERROR, "\"%s\" failed", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(context);

		servers = lappend(servers, pstrdup(name));
		MemoryContextSwitchTo(old);
	}
	eventlog_catalog_sql_end(&session);
	foreach(lc, servers)
	{
		ForeignServer *server = GetForeignServerByName(lfirst(lc), true);

		if (server != NULL)
			eventlog_mirror_reload_at_commit(server->serverid);
	}
}

/* Name of a mirror for which the condition holds, or NULL; $1 is an oid or a text. */
static char *
find_mirror(const char *sql, Oid type, Datum value)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = NULL;
	EventlogCatalogSql session;

	if (!eventlog_catalog_has("mirror"))
		return NULL;
	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args(sql, type == InvalidOid ? 0 : 1, &type, &value, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.mirror");
	if (SPI_processed > 0)
		name = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	eventlog_catalog_sql_end(&session);
	return name;
}

/* ---- servers ---- */

void
eventlog_mirror_check_server_drop(Oid serverid)
{
	ForeignServer *server = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	char	   *mirror;

	if (server == NULL)
		return;
	mirror = find_mirror("SELECT name FROM eventlog.mirror WHERE server OPERATOR(pg_catalog.=) $1::pg_catalog.name"
						 " ORDER BY id", TEXTOID, CStringGetTextDatum(server->servername));
	if (mirror != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop server \"%s\" because a mirror uses it", server->servername),
				 errdetail("Mirror \"%s\" is to or from this Kafka cluster.", mirror),
				 errhint("Use eventlog.drop_mirror().")));
}

static void
follow_rename(const RenameStmt *stmt)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {CStringGetTextDatum(strVal(stmt->object)), CStringGetTextDatum(stmt->newname)};

	change("UPDATE eventlog.mirror SET server = $2::pg_catalog.name"
		   " WHERE server OPERATOR(pg_catalog.=) $1::pg_catalog.name RETURNING server", 2, types, values);
}

/* ---- roles ---- */

/* Only of roles whose mirrors are the user's: of others the server says so. */
static void
drop_owned(const DropOwnedStmt *stmt)
{
	Oid			types[1] = {OIDOID};
	ListCell   *lc;

	foreach(lc, stmt->roles)
	{
		Oid			role = get_rolespec_oid(lfirst(lc), true);
		Datum		values[1] = {ObjectIdGetDatum(role)};

		if (OidIsValid(role) && has_privs_of_role(GetUserId(), role))
			change("DELETE FROM eventlog.mirror WHERE owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1"
				   " RETURNING server", 1, types, values);
	}
}

static void
follow_reassign(const ReassignOwnedStmt *stmt)
{
	Oid			types[2] = {OIDOID, OIDOID};
	ListCell   *lc;

	foreach(lc, stmt->roles)
	{
		Datum		values[2] = {ObjectIdGetDatum(get_rolespec_oid(lfirst(lc), false)),
		ObjectIdGetDatum(get_rolespec_oid(stmt->newrole, false))};

		change("UPDATE eventlog.mirror SET owner = $2::pg_catalog.regrole"
			   " WHERE owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1 RETURNING server", 2, types, values);
	}
}

static void
check_role_drop(const DropRoleStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->roles)
	{
		Oid			role = get_rolespec_oid(lfirst(lc), true);
		char	   *mirror;

		if (!OidIsValid(role) || !has_createrole_privilege(GetUserId()))
			continue;
		mirror = find_mirror("SELECT name FROM eventlog.mirror WHERE owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1"
							 " ORDER BY id", OIDOID, ObjectIdGetDatum(role));
		if (mirror != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("role \"%s\" cannot be dropped because it has mirrors",
							GetUserNameFromId(role, false)),
					 errdetail("It owns mirror \"%s\".", mirror),
					 errhint("Use REASSIGN OWNED, or eventlog.drop_mirror().")));
	}
}

/* ---- the extension ---- */

void
eventlog_mirror_check_none(void)
{
	char	   *mirror = find_mirror("SELECT name FROM eventlog.mirror ORDER BY id", InvalidOid, (Datum) 0);

	if (mirror != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("extension pg_eventlog cannot be dropped while there are mirrors"),
				 errdetail("Where mirror \"%s\" has got to would be forgotten.", mirror),
				 errhint("Use eventlog.drop_mirror().")));
}

/* ---- statements ---- */

void
eventlog_mirror_utility_before(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropRoleStmt:
			check_role_drop((DropRoleStmt *) statement);
			break;
		case T_DropOwnedStmt:
			/* before it drops servers that they use */
			if (eventlog_catalog_has("mirror"))
				drop_owned((DropOwnedStmt *) statement);
			break;
		default:
			break;
	}
}

bool
eventlog_mirror_utility_concerns(Node *statement)
{
	return IsA(statement, ReassignOwnedStmt) ||
		(IsA(statement, RenameStmt) &&
		 ((RenameStmt *) statement)->renameType == OBJECT_FOREIGN_SERVER);
}

void
eventlog_mirror_utility_after(Node *statement)
{
	if (!eventlog_catalog_has("mirror"))
		return;
	if (IsA(statement, ReassignOwnedStmt))
		follow_reassign((ReassignOwnedStmt *) statement);
	else
		follow_rename((RenameStmt *) statement);
}
