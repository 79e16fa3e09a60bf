/*-------------------------------------------------------------------------
 *
 * utility_database.c
 *	  Utility statements about whole databases, and about the extension.
 *
 * DROP DATABASE, CREATE DATABASE from a template, and ALTER DATABASE RENAME
 * and SET TABLESPACE fail while anybody else is in the database.  The server
 * ends autovacuum's workers by itself (procarray.c, CountOtherDBBackends), but
 * knows nothing of ours: they are sent away before, and kept away until the
 * transaction has ended.  From when the statement has locked the database
 * nobody can connect to it, so that is all that is needed.
 *
 * Whatever makes a database worth a look is passed on to the launcher when the
 * transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/syscache.h"

#include "capture.h"
#include "mirror_utility.h"
#include "utility.h"
#include "worker_slot.h"

/* To be said at commit. */
static bool probe_at_commit = false;
static bool rescan_at_commit = false;

/* May the current user make databases?  As have_createdb_privilege(). */
static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may = false;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

static bool
is_template(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return result;
}

static const char *
get_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/*
 * The database that a statement wants for itself, or InvalidOid.  So that
 * nobody disturbs workers who has no right to the statement, it must be the
 * current user's, or in CREATE DATABASE a template; any other error is the
 * server's to find.
 */
static Oid
wanted_alone(Node *statement)
{
	const char *name = NULL;
	bool		copied = false;
	Oid			dboid;

	switch (nodeTag(statement))
	{
		case T_CreatedbStmt:
			name = get_option(((CreatedbStmt *) statement)->options, "template");
			if (name == NULL)
				name = "template1";
			copied = true;
			break;
		case T_DropdbStmt:
			name = ((DropdbStmt *) statement)->dbname;
			break;
		case T_AlterDatabaseStmt:
			if (get_option(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL)
				name = ((AlterDatabaseStmt *) statement)->dbname;
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				name = ((RenameStmt *) statement)->subname;
			break;
		default:
			break;
	}
	if (name == NULL)
		return InvalidOid;

	dboid = get_database_oid(name, true);
	if (!OidIsValid(dboid))
		return InvalidOid;
	if (copied)
	{
		if (!may_create_databases() ||
			!(is_template(dboid) || eventlog_user_owns_database(dboid)))
			return InvalidOid;
	}
	else if (dboid == MyDatabaseId || !eventlog_user_owns_database(dboid))
		return InvalidOid;
	return dboid;
}

/* Does a statement drop the extension? */
static bool
drops_extension(Node *statement)
{
	DropStmt   *drop = (DropStmt *) statement;
	ListCell   *lc;

	if (!IsA(statement, DropStmt) || drop->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, drop->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "pg_eventlog") == 0)
			return OidIsValid(get_extension_oid("pg_eventlog", true));
	}
	return false;
}

void
eventlog_utility_database_before(Node *statement)
{
	Oid			dboid = wanted_alone(statement);

	if (drops_extension(statement))
	{
		eventlog_capture_check_none();
		eventlog_mirror_check_none();
	}

	if (OidIsValid(dboid))
		eventlog_slot_block(dboid);
}

void
eventlog_utility_database_after(NodeTag statement)
{
	switch (statement)
	{
		case T_CreateExtensionStmt:
			/* another extension may have required this one */
			if (OidIsValid(get_extension_oid("pg_eventlog", true)))
				probe_at_commit = true;
			break;
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
			rescan_at_commit = true;
			break;
		default:
			break;
	}
}

/* Nothing here can raise or allocate. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (probe_at_commit)
				eventlog_maintenance_probe(MyDatabaseId);
			if (rescan_at_commit)
				eventlog_maintenance_rescan();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	probe_at_commit = false;
	rescan_at_commit = false;
	eventlog_slot_unblock();
}

void
eventlog_utility_database_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
}
