/*-------------------------------------------------------------------------
 *
 * capture_catalog.c
 *	  The table eventlog.capture: a row for each capture.
 *
 * It is read and written by SQL, in the name of the table's owner: whoever
 * calls has checked what the user may.  Names in the statements are all
 * qualified.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"


#include "capture.h"
#include "catalog_sql.h"

static const char *const stage_names[] = {"pending", "streaming", "finished"};

static void
begin_sql(EventlogCatalogSql *session)
{
	eventlog_catalog_sql_begin(session, "capture", "captures");
}

static void
execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	eventlog_catalog_sql_execute("capture", "captures", sql, nargs, types, values, nulls);
}

void
eventlog_capture_names(int32 id, char *slot_name, char *origin_name)
{
	snprintf(slot_name, NAMEDATALEN, "eventlog_%u_%d", MyDatabaseId, id);
	snprintf(origin_name, NAMEDATALEN, "eventlog_%u_%d", MyDatabaseId, id);
}

/* ---- reading ---- */

#define COLUMNS \
	"id, name, owner::pg_catalog.oid, publication, topic_prefix, config, paused, stage, " \
	"start_lsn, system_identifier, database_oid, timeline, signal_state"

static Datum
column(int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, isnull);
}

static char *
text_column(int number)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number);
}

static Jsonb *
jsonb_column(int number)
{
	bool		isnull;
	Datum		datum = column(number, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(datum);
}

/* From the first row of SPI's result; in the current context. */
static EventlogCapture *
make_capture(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	EventlogCapture *capture = palloc0(sizeof(EventlogCapture));
	bool		isnull;
	char	   *stage;

	capture->id = DatumGetInt32(column(1, &isnull));
	capture->name = text_column(2);
	capture->owner = DatumGetObjectId(column(3, &isnull));
	capture->publication = text_column(4);
	capture->topic_prefix = text_column(5);
	capture->config_json = jsonb_column(6);
	capture->paused = DatumGetBool(column(7, &isnull));
	stage = text_column(8);
	capture->stage = EVENTLOG_STAGE_PENDING;
	for (int i = 0; i < lengthof(stage_names); i++)
		if (strcmp(stage, stage_names[i]) == 0)
			capture->stage = i;
	capture->start_lsn = DatumGetLSN(column(9, &isnull));
	if (isnull)
		capture->start_lsn = InvalidXLogRecPtr;
	capture->system_identifier = (uint64) DatumGetInt64(column(10, &isnull));
	capture->database = DatumGetObjectId(column(11, &isnull));
	capture->timeline = (uint32) DatumGetInt32(column(12, &isnull));
	capture->signal_state = jsonb_column(13);
	MemoryContextSwitchTo(old);
	return capture;
}

EventlogCapture *
eventlog_capture_load(const char *name, int32 id, bool lock, bool missing_ok)
{
	MemoryContext context = CurrentMemoryContext;
	EventlogCapture *capture = NULL;
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2] = {0};
	char		nulls[3] = "  ";
	EventlogCatalogSql session;

	if (missing_ok && !eventlog_catalog_has("capture"))
		return NULL;
	values[0] = name != NULL ? CStringGetTextDatum(name) : (Datum) 0;
	nulls[0] = name != NULL ? ' ' : 'n';
	values[1] = Int32GetDatum(id);
	begin_sql(&session);
	if (SPI_execute_with_args(lock ?
							  "SELECT " COLUMNS " FROM eventlog.capture WHERE CASE WHEN $1 IS NULL"
							  " THEN id OPERATOR(pg_catalog.=) $2 ELSE name OPERATOR(pg_catalog.=) $1 END FOR UPDATE" :
							  "SELECT " COLUMNS " FROM eventlog.capture WHERE CASE WHEN $1 IS NULL"
							  " THEN id OPERATOR(pg_catalog.=) $2 ELSE name OPERATOR(pg_catalog.=) $1 END",
							  2, types, values, nulls, !lock, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.capture");
	if (SPI_processed > 0)
		capture = make_capture(context);
	eventlog_catalog_sql_end(&session);

	if (capture == NULL)
	{
		if (!missing_ok && name != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("capture \"%s\" does not exist", name),
					 errhint("The view eventlog.captures lists them.")));
		if (!missing_ok)
			elog(ERROR, "capture %d does not exist", id);
		return NULL;
	}
	eventlog_capture_names(capture->id, capture->slot_name, capture->origin_name);
	capture->config = eventlog_capture_config_parse(capture->config_json);
	if (capture->config->slot_name != NULL)
		strlcpy(capture->slot_name, capture->config->slot_name, NAMEDATALEN);
	return capture;
}

/*
 * Drop the origins of captures whose database is gone.  DROP DATABASE drops
 * their slots, but knows nothing of origins, and each has one of the places
 * that max_replication_slots counts.
 */
static void
drop_lost_origins(void)
{
	if (SPI_execute("SELECT roname::pg_catalog.text FROM pg_catalog.pg_replication_origin"
					" WHERE roname OPERATOR(pg_catalog.~) '^eventlog_[0-9]+_[0-9]+$' AND NOT EXISTS"
					"  (SELECT FROM pg_catalog.pg_database WHERE oid::pg_catalog.text OPERATOR(pg_catalog.=)"
					"   pg_catalog.split_part(roname, '_', 2))",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the replication origins");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		/* its database may be younger than the snapshot */
		if (get_database_name(atooid(name + strlen("eventlog_"))) == NULL)
			replorigin_drop_by_name(name, true, false);
	}
}

void
eventlog_capture_check_owner(const EventlogCapture *capture)
{
	if (!has_privs_of_role(GetUserId(), capture->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of capture \"%s\"", capture->name)));
}

void
eventlog_capture_register_all(void)
{
	EventlogCatalogSql session;

	if (!eventlog_catalog_has("capture"))
		return;
	begin_sql(&session);
	if (SPI_execute("SELECT id, paused OR stage OPERATOR(pg_catalog.=) 'finished' FROM eventlog.capture",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.capture");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int32		id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		bool		rests = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));

		/* one that stands still for other reasons knows them itself */
		eventlog_capture_note(MyDatabaseId, id, !rests);
	}
	drop_lost_origins();
	eventlog_catalog_sql_end(&session);
}

void
eventlog_capture_check_none(void)
{
	EventlogCatalogSql session;
	char	   *name = NULL;

	if (!eventlog_catalog_has("capture"))
		return;
	begin_sql(&session);
	if (SPI_execute("SELECT name FROM eventlog.capture ORDER BY id", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.capture");
	if (SPI_processed > 0)
		name = text_column(1);
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("extension pg_eventlog cannot be dropped while there are captures"),
				 errdetail("Capture \"%s\" has a replication slot, which would stay and retain WAL.", name),
				 errhint("Use eventlog.drop_capture().")));
	eventlog_catalog_sql_end(&session);
}

/* ---- writing ---- */

int32
eventlog_capture_insert(const char *name, Oid owner, const char *publication,
						const char *topic_prefix, Jsonb *config)
{
	Oid			types[8] = {TEXTOID, OIDOID, NAMEOID, TEXTOID, JSONBOID, INT8OID, OIDOID, INT4OID};
	Datum		values[8];
	NameData	publication_name;
	EventlogCatalogSql session;
	bool		isnull;
	int32		id;

	namestrcpy(&publication_name, publication);
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(owner);
	values[2] = NameGetDatum(&publication_name);
	values[3] = CStringGetTextDatum(topic_prefix);
	values[4] = JsonbPGetDatum(config);
	values[5] = Int64GetDatum((int64) GetSystemIdentifier());
	values[6] = ObjectIdGetDatum(MyDatabaseId);
	values[7] = Int32GetDatum((int32) GetWALInsertionTimeLine());

	begin_sql(&session);
	/* so that two do not get one id */
	if (SPI_execute("LOCK TABLE eventlog.capture IN SHARE ROW EXCLUSIVE MODE", false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not lock eventlog.capture");
	if (SPI_execute_with_args("INSERT INTO eventlog.capture (id, name, owner, publication, topic_prefix,"
							  " config, system_identifier, database_oid, timeline)"
							  " SELECT coalesce(pg_catalog.max(id), 0) OPERATOR(pg_catalog.+) 1,"
							  " $1, $2::pg_catalog.regrole, $3, $4, $5, $6, $7, $8 FROM eventlog.capture"
							  " RETURNING id",
							  8, types, values, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write eventlog.capture");
	id = DatumGetInt32(column(1, &isnull));
	eventlog_catalog_sql_end(&session);
	return id;
}

void
eventlog_capture_delete(int32 id)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(id)};

	execute("DELETE FROM eventlog.capture_signal_queue WHERE capture_id OPERATOR(pg_catalog.=) $1",
			1, types, values, NULL);
	execute("DELETE FROM eventlog.capture WHERE id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
}

void
eventlog_capture_set_config(int32 id, Jsonb *config)
{
	Oid			types[2] = {INT4OID, JSONBOID};
	Datum		values[2] = {Int32GetDatum(id), JsonbPGetDatum(config)};

	execute("UPDATE eventlog.capture SET config = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, NULL);
}

void
eventlog_capture_set_paused(int32 id, bool paused)
{
	Oid			types[2] = {INT4OID, BOOLOID};
	Datum		values[2] = {Int32GetDatum(id), BoolGetDatum(paused)};

	execute("UPDATE eventlog.capture SET paused = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, NULL);
}

void
eventlog_capture_set_stage(int32 id, EventlogCaptureStage stage, XLogRecPtr start_lsn)
{
	Oid			types[3] = {INT4OID, TEXTOID, PG_LSNOID};
	Datum		values[3] = {Int32GetDatum(id), CStringGetTextDatum(stage_names[stage]),
	LSNGetDatum(start_lsn)};
	const char *nulls = XLogRecPtrIsInvalid(start_lsn) ? "  n" : "   ";

	execute("UPDATE eventlog.capture SET stage = $2, start_lsn = $3 WHERE id OPERATOR(pg_catalog.=) $1",
			3, types, values, nulls);
}

void
eventlog_capture_set_home(int32 id)
{
	Oid			types[4] = {INT4OID, INT8OID, OIDOID, INT4OID};
	Datum		values[4] = {Int32GetDatum(id), Int64GetDatum((int64) GetSystemIdentifier()),
		ObjectIdGetDatum(MyDatabaseId), Int32GetDatum((int32) GetWALInsertionTimeLine())};

	execute("UPDATE eventlog.capture SET system_identifier = $2, database_oid = $3, timeline = $4"
			" WHERE id OPERATOR(pg_catalog.=) $1", 4, types, values, NULL);
}

void
eventlog_capture_set_signal_state(int32 id, Jsonb *state)
{
	Oid			types[2] = {INT4OID, JSONBOID};
	Datum		values[2] = {Int32GetDatum(id), state != NULL ? JsonbPGetDatum(state) : (Datum) 0};

	execute("UPDATE eventlog.capture SET signal_state = $2 WHERE id OPERATOR(pg_catalog.=) $1",
			2, types, values, state != NULL ? "  " : " n");
}

bool
eventlog_capture_is_home(const EventlogCapture *capture)
{
	return capture->system_identifier == GetSystemIdentifier() &&
		capture->database == MyDatabaseId;
}
