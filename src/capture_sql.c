/*-------------------------------------------------------------------------
 *
 * capture_sql.c
 *	  create_capture() and its like, and what the view of captures shows.
 *
 * These functions check and change the catalogue; slots and workers follow when
 * the transaction has committed.  Only drop_capture() does it all at once,
 * since nobody would look for a slot whose capture is gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/publicationcmds.h"
#include "catalog/pg_publication.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "capture.h"
#include "capture_queue.h"
#include "capture_start.h"
#include "pg_eventlog.h"
#include "topic_ddl.h"
#include "worker_slot.h"

PG_FUNCTION_INFO_V1(eventlog_create_capture);
PG_FUNCTION_INFO_V1(eventlog_alter_capture);
PG_FUNCTION_INFO_V1(eventlog_pause_capture);
PG_FUNCTION_INFO_V1(eventlog_resume_capture);
PG_FUNCTION_INFO_V1(eventlog_drop_capture);
PG_FUNCTION_INFO_V1(eventlog_capture_status);
PG_FUNCTION_INFO_V1(eventlog_capture_is_home_sql);

/* ---- checks ---- */

static void
check_server(void)
{
	eventlog_require_preloaded();
	PreventCommandIfReadOnly("this function");
	if (wal_level < WAL_LEVEL_LOGICAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("capturing changes needs wal_level = logical"),
				 errhint("Set wal_level to \"logical\" and restart the server.")));
	if (max_replication_slots == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("capturing changes needs max_replication_slots > 0")));
}

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > EVENTLOG_CAPTURE_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a capture must have 1 to %d bytes", EVENTLOG_CAPTURE_NAME_MAX)));
}

static void
check_publication(const char *publication)
{
	if (!OidIsValid(get_publication_oid(publication, true)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("publication \"%s\" does not exist", publication),
				 errhint("It says which tables are captured: create it first, for example by CREATE PUBLICATION %s FOR TABLE orders.",
						 quote_identifier(publication))));
}

/* May the user read all that is published now? */
static void
check_tables(const char *publication)
{
	Oid			types[1] = {NAMEOID};
	NameData	name;
	Datum		values[1];

	namestrcpy(&name, publication);
	values[0] = NameGetDatum(&name);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT t.schemaname, t.tablename"
							  " FROM pg_catalog.pg_publication_tables t"
							  " JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) t.schemaname"
							  " JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid"
							  " AND c.relname OPERATOR(pg_catalog.=) t.tablename"
							  " WHERE t.pubname OPERATOR(pg_catalog.=) $1"
							  " AND t.schemaname OPERATOR(pg_catalog.<>) 'eventlog'"
							  " AND NOT pg_catalog.has_any_column_privilege(c.oid, 'SELECT')"
							  " ORDER BY 1, 2",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of the publication");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table \"%s.%s\"",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errdetail("Publication \"%s\" publishes it, and whoever captures changes must be able to read what is captured.", publication)));
	SPI_finish();
}

/* The capture of this name, if the current user owns it; its row is locked. */
static EventlogCapture *
own_capture(text *name)
{
	EventlogCapture *capture = eventlog_capture_load(text_to_cstring(name), 0, true, false);

	eventlog_capture_check_owner(capture);
	return capture;
}

/* ---- the functions ---- */

/* create_capture(name text, publication name, topic_prefix text, config jsonb) */
Datum
eventlog_create_capture(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "publication", "", "config"};
	char	   *name;
	char	   *publication;
	char	   *prefix;
	Jsonb	   *config;
	int32		id;

	check_server();
	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i) && names[i][0] != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
	}
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	check_name(name);
	publication = NameStr(*PG_GETARG_NAME(1));
	prefix = PG_ARGISNULL(2) ? name : text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (prefix[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic_prefix must not be empty")));
	config = PG_GETARG_JSONB_P(3);
	(void) eventlog_capture_config_parse(config);
	check_publication(publication);
	eventlog_capture_check_replication(GetUserId());
	check_tables(publication);
	if (eventlog_capture_load(name, 0, false, true) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("capture \"%s\" already exists", name)));

	id = eventlog_capture_insert(name, GetUserId(), publication, prefix, config);
	eventlog_capture_want_at_commit(id, true);
	PG_RETURN_VOID();
}

/* alter_capture(name text, config jsonb) */
Datum
eventlog_alter_capture(PG_FUNCTION_ARGS)
{
	EventlogCapture *capture;
	EventlogCaptureConfig *parsed;
	Jsonb	   *config;

	check_server();
	capture = own_capture(PG_GETARG_TEXT_PP(0));
	config = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
												JsonbPGetDatum(capture->config_json),
												PG_GETARG_DATUM(1)));
	config = DatumGetJsonbP(DirectFunctionCall2(jsonb_strip_nulls, JsonbPGetDatum(config),
												BoolGetDatum(false)));
	parsed = eventlog_capture_config_parse(config);

	/*
	 * The slot that it has would be nobody's, and what lies between the two
	 * would be missing.
	 */
	if ((parsed->slot_name == NULL) != (capture->config->slot_name == NULL) ||
		(parsed->slot_name != NULL && strcmp(parsed->slot_name, capture->config->slot_name) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("property \"slot.name\" of a capture cannot be changed"),
				 errhint("Drop the capture, and create it again.")));
	eventlog_capture_set_config(capture->id, config);
	if (!capture->paused)
		eventlog_capture_restart_at_commit(capture->id);
	PG_RETURN_VOID();
}

/* pause_capture(name text) */
Datum
eventlog_pause_capture(PG_FUNCTION_ARGS)
{
	EventlogCapture *capture;

	check_server();
	capture = own_capture(PG_GETARG_TEXT_PP(0));
	eventlog_capture_set_paused(capture->id, true);
	eventlog_capture_want_at_commit(capture->id, false);
	PG_RETURN_VOID();
}

/* resume_capture(name text) */
Datum
eventlog_resume_capture(PG_FUNCTION_ARGS)
{
	EventlogCapture *capture;
	EventlogSlotState state;

	check_server();
	capture = own_capture(PG_GETARG_TEXT_PP(0));
	eventlog_capture_check_replication(capture->owner);
	eventlog_capture_slot_state(capture->slot_name, &state);

	/*
	 * Adopted: without a slot of this database there is nothing to go on from.
	 */
	if (!eventlog_capture_is_home(capture))
	{
		if (capture->stage == EVENTLOG_STAGE_STREAMING &&
			(!state.exists || state.database != MyDatabaseId))
			eventlog_capture_set_stage(capture->id, EVENTLOG_STAGE_PENDING, InvalidXLogRecPtr);
	}
	else if (capture->paused && capture->config->snapshot_mode == EVENTLOG_SNAPSHOT_ALWAYS)
		eventlog_capture_set_stage(capture->id, EVENTLOG_STAGE_PENDING, InvalidXLogRecPtr);
	eventlog_capture_set_home(capture->id);
	eventlog_capture_set_paused(capture->id, false);
	eventlog_capture_want_at_commit(capture->id, true);
	PG_RETURN_VOID();
}

/*
 * Topics are a capture's by their names.  Those of another capture, whose prefix
 * continues this one's, stay.
 */
static void
drop_topics_of(const EventlogCapture *capture)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];

	values[0] = CStringGetTextDatum(capture->topic_prefix);
	values[1] = CStringGetTextDatum(capture->name);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT name FROM eventlog.captures"
							  " WHERE topic_prefix OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.<>) $2",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.captures");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("topics of capture \"%s\" cannot be dropped", capture->name),
				 errdetail("Capture \"%s\" has the same topic prefix.",
						   SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Drop the capture without its topics.")));
	if (SPI_execute_with_args("SELECT eventlog.drop_topic(topic) FROM (SELECT t.topic FROM eventlog.topics t"
							  " WHERE (pg_catalog.starts_with(t.topic, $1 OPERATOR(pg_catalog.||) '.')"
							  " OR t.topic OPERATOR(pg_catalog.=) ('__debezium-heartbeat.' OPERATOR(pg_catalog.||) $1))"
							  " AND NOT EXISTS (SELECT FROM eventlog.captures c"
							  " WHERE pg_catalog.starts_with(c.topic_prefix, $1 OPERATOR(pg_catalog.||) '.')"
							  " AND pg_catalog.starts_with(t.topic, c.topic_prefix OPERATOR(pg_catalog.||) '.'))"
							  " ORDER BY t.topic OFFSET 0) t",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not drop the topics of the capture");
	SPI_finish();
}

/* drop_capture(name text, drop_topics boolean) */
Datum
eventlog_drop_capture(PG_FUNCTION_ARGS)
{
	EventlogCapture *capture;
	EventlogSlotState state;

	eventlog_require_preloaded();
	PreventCommandIfReadOnly("drop_capture()");
	if (IsTransactionBlock() || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("drop_capture() cannot run inside a transaction block"),
				 errdetail("Dropping its replication slot could not be rolled back.")));
	capture = own_capture(PG_GETARG_TEXT_PP(0));
	if (!eventlog_capture_stop(MyDatabaseId, capture->id))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("workers of capture \"%s\" do not end", capture->name),
				 errhint("Try again; the server's log may say what they do.")));
	if (PG_GETARG_BOOL(1))
		drop_topics_of(capture);
	eventlog_capture_delete(capture->id);
	if (eventlog_capture_is_home(capture))
	{
		replorigin_drop_by_name(capture->origin_name, true, false);
		eventlog_capture_slot_state(capture->slot_name, &state);
		if (state.exists && state.database == MyDatabaseId)
			ReplicationSlotDrop(capture->slot_name, false);
	}
	eventlog_capture_forget(MyDatabaseId, capture->id);
	PG_RETURN_VOID();
}

/* ---- what the view shows ---- */

static const char *const phase_names[] = {
	"starting", "snapshot", "streaming", "failed", "needs_adoption", "stopped"
};

#define STATUS_COLUMNS	20

static Datum
text_of(const char *text)
{
	char	   *copy = pstrdup(text);

	if (!pg_verifymbstr(copy, strlen(copy), true))
	{
		for (char *p = copy; *p != '\0'; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
	}
	return CStringGetTextDatum(copy);
}

/* Tables of a snapshot, as jsonb. */
static Datum
tables_of(const EventlogCaptureSlot *slot)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	for (int i = 0; i < slot->ntables; i++)
	{
		const EventlogTableProgress *table = &slot->tables[i];

		if (table->name[0] == '\0')
			continue;
		if (buf.len > 1)
			appendStringInfoChar(&buf, ',');
		appendStringInfoString(&buf, "{\"table\":");
		escape_json(&buf, TextDatumGetCString(text_of(table->name)));
		appendStringInfo(&buf, ",\"rows\":" INT64_FORMAT ",\"done\":%s}", table->rows,
						 table->done ? "true" : "false");
	}
	appendStringInfoChar(&buf, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}

static void
put_lsn(Datum *value, bool *isnull, pg_atomic_uint64 *lsn)
{
	uint64		v = pg_atomic_read_u64(lsn);

	*value = LSNGetDatum(v);
	*isnull = v == 0;
}

Datum
eventlog_capture_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		sees_all;

	eventlog_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	sees_all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	for (int n = 0; n < EVENTLOG_MAX_CAPTURES; n++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[n];
		EventlogCaptureSlot copy;
		Datum		values[STATUS_COLUMNS] = {0};
		bool		nulls[STATUS_COLUMNS] = {0};
		int			i = 0;

		LWLockAcquire(eventlog_shared->lock, LW_SHARED);
		copy = *slot;
		LWLockRelease(eventlog_shared->lock);
		if (copy.service.dboid != MyDatabaseId)
			continue;
		if (!sees_all && OidIsValid(copy.service.owner) && !has_privs_of_role(GetUserId(), copy.service.owner))
			continue;

		values[i++] = Int32GetDatum(copy.service.id);
		values[i++] = CStringGetTextDatum(phase_names[copy.service.phase]);
		nulls[i] = copy.service.pid == 0;
		values[i++] = Int32GetDatum(copy.service.pid);
		nulls[i] = copy.service.helper_pid == 0;
		values[i++] = Int32GetDatum(copy.service.helper_pid);
		nulls[i] = nulls[i + 1] = copy.service.history.error_at == 0;
		values[i++] = text_of(copy.service.history.error);
		values[i++] = TimestampTzGetDatum(copy.service.history.error_at);
		values[i++] = Int32GetDatum(copy.service.history.failures);
		nulls[i] = copy.service.phase != EVENTLOG_PHASE_FAILED || !copy.service.wanted;
		values[i++] = TimestampTzGetDatum(copy.service.due);
		nulls[i] = nulls[i + 1] = nulls[i + 2] = copy.tables_total == 0;
		values[i++] = Int32GetDatum(copy.tables_total);
		values[i++] = Int32GetDatum(copy.tables_done);
		values[i++] = tables_of(&copy);
		put_lsn(&values[i], &nulls[i], &slot->decoded_lsn);
		i++;
		put_lsn(&values[i], &nulls[i], &slot->appended_lsn);
		i++;
		put_lsn(&values[i], &nulls[i], &slot->confirmed_lsn);
		i++;
		nulls[i] = pg_atomic_read_u64(&slot->source_time) == 0;
		values[i++] = TimestampTzGetDatum((TimestampTz) pg_atomic_read_u64(&slot->source_time));
		values[i++] = Int64GetDatum((int64) pg_atomic_read_u64(&slot->rows));
		values[i++] = Int64GetDatum((int64) pg_atomic_read_u64(&slot->transactions));
		values[i++] = Int64GetDatum((int64) pg_atomic_read_u64(&slot->current_bytes));
		values[i++] = Int64GetDatum((int64) pg_atomic_read_u64(&slot->queued_bytes));
		values[i++] = Int64GetDatum(EVENTLOG_CAPTURE_QUEUE_BYTES);
		Assert(i == STATUS_COLUMNS);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* capture_is_home(system_identifier bigint, database_oid oid) */
Datum
eventlog_capture_is_home_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL((uint64) PG_GETARG_INT64(0) == GetSystemIdentifier() &&
				   PG_GETARG_OID(1) == MyDatabaseId);
}
