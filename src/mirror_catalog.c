/*-------------------------------------------------------------------------
 *
 * mirror_catalog.c
 *	  The tables of mirrors: eventlog.mirror and what hangs on it.
 *
 * They are read and written by SQL, in the name of the tables' owner: whoever
 * calls has checked what the user may.  Names in the statements are all
 * qualified.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "mirror.h"

static void
execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	eventlog_catalog_sql_execute("mirror", "mirrors", sql, nargs, types, values, nulls);
}

/* ---- reading ---- */

#define COLUMNS \
	"id, name, owner::pg_catalog.oid, server, direction, topic, kafka_topic, config, paused," \
	" stopped, restart, identity, system_identifier, database_oid, timeline, generation"

static Datum
column(uint64 row, int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

static char *
text_column(uint64 row, int number)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}

bool
eventlog_mirror_is_pattern(const char *name)
{
	return name[0] == '^';
}

/* From a row of SPI's result; in the context.  The configuration is not read. */
static EventlogMirror *
make_mirror(uint64 row, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	EventlogMirror *mirror = palloc0(sizeof(EventlogMirror));
	bool		isnull;

	mirror->id = DatumGetInt32(column(row, 1, &isnull));
	mirror->name = text_column(row, 2);
	mirror->owner = DatumGetObjectId(column(row, 3, &isnull));
	mirror->server = text_column(row, 4);
	mirror->out = strcmp(text_column(row, 5), "out") == 0;
	mirror->topic = text_column(row, 6);
	mirror->kafka_topic = text_column(row, 7);
	mirror->pattern = eventlog_mirror_is_pattern(mirror->out ? mirror->topic : mirror->kafka_topic);
	mirror->config_json = DatumGetJsonbPCopy(column(row, 8, &isnull));
	mirror->paused = DatumGetBool(column(row, 9, &isnull));
	mirror->stopped = text_column(row, 10);
	if (text_column(row, 11) != NULL)
	{
		mirror->restart = palloc(sizeof(EventlogMirrorStart));
		eventlog_mirror_start_parse(text_column(row, 11), mirror->restart);
	}
	snprintf(mirror->identity, sizeof(mirror->identity), "pg_eventlog-%s", text_column(row, 12));
	mirror->system_identifier = (uint64) DatumGetInt64(column(row, 13, &isnull));
	mirror->database = DatumGetObjectId(column(row, 14, &isnull));
	mirror->timeline = (uint32) DatumGetInt32(column(row, 15, &isnull));
	mirror->generation = DatumGetInt64(column(row, 16, &isnull));
	MemoryContextSwitchTo(old);
	return mirror;
}

EventlogMirror *
eventlog_mirror_load(const char *name, int32 id, bool lock, bool missing_ok)
{
	MemoryContext context = CurrentMemoryContext;
	EventlogMirror *mirror = NULL;
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2] = {0};
	char		nulls[3] = "  ";
	EventlogCatalogSql session;

	if (missing_ok && !eventlog_catalog_has("mirror"))
		return NULL;
	values[0] = name != NULL ? CStringGetTextDatum(name) : (Datum) 0;
	nulls[0] = name != NULL ? ' ' : 'n';
	values[1] = Int32GetDatum(id);
	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args(lock ?
							  "SELECT " COLUMNS " FROM eventlog.mirror WHERE CASE WHEN $1 IS NULL"
							  " THEN id OPERATOR(pg_catalog.=) $2 ELSE name OPERATOR(pg_catalog.=) $1 END FOR UPDATE" :
							  "SELECT " COLUMNS " FROM eventlog.mirror WHERE CASE WHEN $1 IS NULL"
							  " THEN id OPERATOR(pg_catalog.=) $2 ELSE name OPERATOR(pg_catalog.=) $1 END",
							  2, types, values, nulls, !lock, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.mirror");
	if (SPI_processed > 0)
		mirror = make_mirror(0, context);
	eventlog_catalog_sql_end(&session);

	if (mirror == NULL)
	{
		if (!missing_ok && name != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("mirror \"%s\" does not exist", eventlog_mirror_clip_name(name)),
					 errhint("The view eventlog.mirrors lists them.")));
		if (!missing_ok)
			elog(ERROR, "mirror %d does not exist", id);
		return NULL;
	}
	return mirror;
}

void
eventlog_mirror_read_config(EventlogMirror *mirror)
{
	mirror->config = eventlog_mirror_config_parse(mirror->config_json, mirror->out);
}

const char *
eventlog_mirror_clip_name(const char *name)
{
	int			len = strlen(name);

	return len <= EVENTLOG_MIRROR_NAME_MAX ? name :
		psprintf("%.*s...", pg_mbcliplen(name, len, EVENTLOG_MIRROR_NAME_MAX), name);
}

static void
lock(uint16 number)
{
	Oid			relid = get_relname_relid("mirror", get_namespace_oid("eventlog", false));

	if (OidIsValid(relid))
		LockDatabaseObject(relid, 0, number, ExclusiveLock);
}

void
eventlog_mirror_lock_catalog(void)
{
	lock(0);
}

void
eventlog_mirror_lock_admission(void)
{
	lock(1);
}

/* Read the configuration.  If it is bad, "stopped" says why. */
static void
read_config(EventlogMirror *mirror)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		mirror->config = eventlog_mirror_config_parse(mirror->config_json, mirror->out);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* parsing does nothing that would have to be rolled back */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		mirror->config = NULL;
		mirror->stopped = error->message;
	}
	PG_END_TRY();
}

/*
 * All mirrors, of a server or (NULL) of all.  Of one whose configuration cannot
 * be read, "config" is NULL.
 */
List *
eventlog_mirror_load_list(const char *server)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {0};
	List	   *list = NIL;
	ListCell   *lc;
	EventlogCatalogSql session;

	if (!eventlog_catalog_has("mirror"))
		return NIL;
	if (server != NULL)
		values[0] = CStringGetTextDatum(server);
	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args("SELECT " COLUMNS " FROM eventlog.mirror"
							  " WHERE $1 IS NULL OR server::pg_catalog.text OPERATOR(pg_catalog.=) $1"
							  " ORDER BY id",
							  1, types, values, server == NULL ? "n" : NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.mirror");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		EventlogMirror *mirror = make_mirror(i, context);
		MemoryContext old = MemoryContextSwitchTo(context);

		list = lappend(list, mirror);
		MemoryContextSwitchTo(old);
	}
	eventlog_catalog_sql_end(&session);
	foreach(lc, list)
		read_config(lfirst(lc));
	return list;
}

static List *known = NIL;

static bool
is_there(int32 id)
{
	ListCell   *lc;

	foreach(lc, known)
	{
		if (((EventlogMirror *) lfirst(lc))->id == id)
			return true;
	}
	return false;
}

void
eventlog_mirror_register_all(void)
{
	ListCell   *lc;

	known = eventlog_mirror_load_list(NULL);
	foreach(lc, known)
	{
		EventlogMirror *mirror = lfirst(lc);
		ForeignServer *server;

		if (mirror->paused || mirror->stopped != NULL)
			continue;
		server = GetForeignServerByName(mirror->server, true);
		if (server != NULL)
			eventlog_mirror_note_server(server->serverid);
	}
	eventlog_mirror_slot_sweep(is_there);
	known = NIL;
}

/* ---- writing ---- */

int32
eventlog_mirror_insert(const char *name, Oid owner, const char *server, bool out,
					   const char *topic, const char *kafka_topic, Jsonb *config)
{
	Oid			types[10] = {TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, INT8OID, OIDOID, INT4OID};
	Datum		values[10];
	EventlogCatalogSql session;
	bool		isnull;
	int32		id;

	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(owner);
	values[2] = CStringGetTextDatum(server);
	values[3] = CStringGetTextDatum(out ? "out" : "in");
	values[4] = CStringGetTextDatum(topic);
	values[5] = CStringGetTextDatum(kafka_topic);
	values[6] = JsonbPGetDatum(config);
	values[7] = Int64GetDatum((int64) GetSystemIdentifier());
	values[8] = ObjectIdGetDatum(MyDatabaseId);
	values[9] = Int32GetDatum((int32) GetWALInsertionTimeLine());

	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args("INSERT INTO eventlog.mirror (id, name, owner, server, direction, topic,"
							  " kafka_topic, config, system_identifier, database_oid, timeline)"
							  " VALUES (pg_catalog.nextval('eventlog.mirror_id'), $1,"
							  " $2::pg_catalog.regrole, $3, $4, $5, $6, $7, $8, $9, $10)"
							  " RETURNING id",
							  10, types, values, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write eventlog.mirror");
	id = DatumGetInt32(column(0, 1, &isnull));
	eventlog_catalog_sql_end(&session);
	return id;
}

void
eventlog_mirror_delete(int32 id)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(id)};

	execute("DELETE FROM eventlog.mirror WHERE id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
}

void
eventlog_mirror_set_config(int32 id, Jsonb *config)
{
	Oid			types[2] = {INT4OID, JSONBOID};
	Datum		values[2] = {Int32GetDatum(id), JsonbPGetDatum(config)};

	execute("UPDATE eventlog.mirror SET config = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, NULL);
}

void
eventlog_mirror_set_paused(int32 id, bool paused)
{
	Oid			types[2] = {INT4OID, BOOLOID};
	Datum		values[2] = {Int32GetDatum(id), BoolGetDatum(paused)};

	execute("UPDATE eventlog.mirror SET paused = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, NULL);
}

void
eventlog_mirror_set_stopped(int32 id, const char *why)
{
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2] = {Int32GetDatum(id), why != NULL ? CStringGetTextDatum(why) : (Datum) 0};

	execute("UPDATE eventlog.mirror SET stopped = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, why != NULL ? "  " : " n");
}

void
eventlog_mirror_set_restart(int32 id, const char *start)
{
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2] = {Int32GetDatum(id), start != NULL ? CStringGetTextDatum(start) : (Datum) 0};

	execute("UPDATE eventlog.mirror SET restart = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, start != NULL ? "  " : " n");
}

void
eventlog_mirror_set_home(int32 id)
{
	Oid			types[4] = {INT4OID, INT8OID, OIDOID, INT4OID};
	Datum		values[4] = {Int32GetDatum(id), Int64GetDatum((int64) GetSystemIdentifier()),
		ObjectIdGetDatum(MyDatabaseId), Int32GetDatum((int32) GetWALInsertionTimeLine())};

	execute("UPDATE eventlog.mirror SET system_identifier = $2, database_oid = $3, timeline = $4,"
			" generation = ((generation OPERATOR(pg_catalog.>>) 32) OPERATOR(pg_catalog.+) 1)"
			" OPERATOR(pg_catalog.<<) 32 WHERE id OPERATOR(pg_catalog.=) $1", 4, types, values, NULL);
}

void
eventlog_mirror_set_generation(int32 id, int64 generation)
{
	Oid			types[2] = {INT4OID, INT8OID};
	Datum		values[2] = {Int32GetDatum(id), Int64GetDatum(generation)};

	execute("UPDATE eventlog.mirror SET generation = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, NULL);
}

/* ---- ownership ---- */

bool
eventlog_mirror_is_home(const EventlogMirror *mirror)
{
	return mirror->system_identifier == GetSystemIdentifier() && mirror->database == MyDatabaseId;
}

static bool
may_work_here(const EventlogMirror *mirror)
{
	return eventlog_mirror_is_home(mirror) &&
		(mirror->timeline == (uint32) GetWALInsertionTimeLine() || eventlog_service_is_successor());
}

bool
eventlog_mirror_enter(EventlogMirror *mirror, EventlogMirrorSlot *slot)
{
	Oid			types[3] = {INT4OID, INT8OID, INT4OID};
	Datum		values[3];
	MemoryContext context = CurrentMemoryContext;
	EventlogMirror *now;
	bool		mine;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	now = eventlog_mirror_load(NULL, mirror->id, true, true);
	mine = now != NULL && !now->paused && may_work_here(now);
	if (mine)
	{
		if (now->timeline != (uint32) GetWALInsertionTimeLine())
			ereport(LOG,
					(errmsg("mirror \"%s\" goes on after a promotion, on timeline %u",
							now->name, (uint32) GetWALInsertionTimeLine())));
		mirror->generation = now->generation + 1;
		mirror->timeline = (uint32) GetWALInsertionTimeLine();
		values[0] = Int32GetDatum(mirror->id);
		values[1] = Int64GetDatum(mirror->generation);
		values[2] = Int32GetDatum((int32) mirror->timeline);
		execute("UPDATE eventlog.mirror SET generation = $2, timeline = $3"
				" WHERE id OPERATOR(pg_catalog.=) $1", 3, types, values, NULL);
		/* before Kafka is touched, so that no successor can have the same number */
		ForceSyncCommit();
	}
	else if (now != NULL && !now->paused)
	{
		ereport(LOG,
				(errmsg("mirror \"%s\" waits to be adopted", now->name),
				 errdetail("This server or database seems to be a copy of the one where it has been working."),
				 errhint("If it is to work here, use eventlog.resume_mirror().")));
		eventlog_mirror_slot_phase(slot, EVENTLOG_MIRROR_ADOPTION, NULL);
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return mine;
}

bool
eventlog_mirror_is_mine(const EventlogMirror *mirror)
{
	MemoryContext context = CurrentMemoryContext;
	EventlogMirror *now;
	bool		mine;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	now = eventlog_mirror_load(NULL, mirror->id, false, true);
	mine = now != NULL && !now->paused && now->generation == mirror->generation &&
		may_work_here(now);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return mine;
}
