/*-------------------------------------------------------------------------
 *
 * capture_signal.c
 *	  Signals to captures: what rows and messages in the stream ask for.
 *
 * Signals come as Debezium's do, as rows inserted into the table that
 * signal.data.collection names, or by eventlog.capture_signal().  Both are met
 * in the stream, so they take effect at a known place between changes.
 *
 * A signal makes the capture read tables in its owner's name, so it counts only
 * if the owner lets it be given: the signal table must have belonged to the
 * capture's owner, or to somebody whom he trusts, when the signal was written;
 * GRANT INSERT says who else may signal.  The function is the owner's alone.  It writes the signal into a table of the extension that
 * nobody else can write, and into the WAL a message that names the row: who
 * forges a message names a row that is not there.
 *
 * A signal that makes no sense is mentioned in the server's log, and ignored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "capture_incremental.h"
#include "capture_start.h"
#include "catalog_sql.h"
#include "pg_eventlog.h"
#include "subtransaction.h"

PG_FUNCTION_INFO_V1(eventlog_capture_signal);

/* A signal, in the server's encoding. */
typedef struct Signal
{
	char	   *id;
	char	   *type;
	char	   *data;			/* NULL: none */
	const EventlogSource *source;
} Signal;

static EventlogCapture *capture = NULL;
static Oid	refused_table = InvalidOid; /* a signal table that was complained of */

/* ---- what a signal says ---- */

static char *
value_string(JsonbValue *value)
{
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static JsonbValue *
member(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

static char *
member_string(JsonbContainer *object, const char *name)
{
	return value_string(member(object, name));
}

/* The strings of an array, without blanks around them; NIL if there are none. */
static List *
member_strings(JsonbContainer *object, const char *name)
{
	JsonbValue *array = member(object, name);
	List	   *result = NIL;
	uint32		n;

	if (array == NULL || array->type != jbvBinary || !JsonContainerIsArray(array->val.binary.data))
		return NIL;
	n = JsonContainerSize(array->val.binary.data);
	for (uint32 i = 0; i < n; i++)
	{
		char	   *text = value_string(getIthJsonbValueFromContainer(array->val.binary.data, i));
		char	   *end;

		if (text == NULL)
			continue;
		while (isspace((unsigned char) *text))
			text++;
		for (end = text + strlen(text); end > text && isspace((unsigned char) end[-1]);)
			*--end = '\0';
		result = lappend(result, text);
	}
	return result;
}

static List *
member_conditions(JsonbContainer *object)
{
	JsonbValue *array = member(object, "additional-conditions");
	List	   *result = NIL;
	uint32		n;

	if (array == NULL || array->type != jbvBinary || !JsonContainerIsArray(array->val.binary.data))
		return NIL;
	n = JsonContainerSize(array->val.binary.data);
	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array->val.binary.data, i);
		EventlogSnapshotCondition *condition = palloc(sizeof(EventlogSnapshotCondition));

		if (item->type != jbvBinary || !JsonContainerIsObject(item->val.binary.data))
			continue;
		condition->pattern = member_string(item->val.binary.data, "data-collection");
		condition->filter = member_string(item->val.binary.data, "filter");
		if (condition->pattern && condition->filter)
			result = lappend(result, condition);
	}
	return result;
}

static void
ignore_signal(const Signal *signal, const char *why)
{
	ereport(LOG,
			(errmsg("capture \"%s\": signal \"%s\" of type \"%s\" is ignored: %s",
					capture->name, signal->id, signal->type, why)));
}

/* ---- types of signals ---- */

static void
execute_snapshot(const Signal *signal, JsonbContainer *data)
{
	List	   *patterns = member_strings(data, "data-collections");
	List	   *conditions = member_conditions(data);
	char	   *type = member_string(data, "type");

	if (patterns == NIL)
		ignore_signal(signal, "it names no data-collections");
	else if (type == NULL || pg_strcasecmp(type, "incremental") == 0)
		eventlog_incremental_execute(signal->id, patterns, conditions,
									 member_string(data, "surrogate-key"));
	else if (pg_strcasecmp(type, "blocking") == 0)
		eventlog_incremental_execute_blocking(signal->source, patterns, conditions);
	else
		ignore_signal(signal, "there is no such type of snapshot");
}

static void
stop_snapshot(const Signal *signal, JsonbContainer *data)
{
	eventlog_incremental_stop(member_strings(data, "data-collections"));
}

static void
pause_snapshot(const Signal *signal, JsonbContainer *data)
{
	eventlog_incremental_pause();
}

static void
resume_snapshot(const Signal *signal, JsonbContainer *data)
{
	eventlog_incremental_resume();
}

/* "{}" in the message stands for the position. */
static void
log_message(const Signal *signal, JsonbContainer *data)
{
	char	   *message = member_string(data, "message");
	char	   *place = message ? strstr(message, "{}") : NULL;

	if (message == NULL)
		ignore_signal(signal, "it has no message");
	else if (place == NULL)
		ereport(LOG, (errmsg("capture \"%s\": %s", capture->name, message)));
	else
		ereport(LOG,
				(errmsg("capture \"%s\": %.*s%X/%X%s", capture->name, (int) (place - message), message,
						LSN_FORMAT_ARGS(signal->source->lsn), place + 2)));
}

static const struct
{
	const char *type;
	void		(*act) (const Signal *signal, JsonbContainer *data);
}			actions[] =
{
	{"execute-snapshot", execute_snapshot},
	{"stop-snapshot", stop_snapshot},
	{"pause-snapshot", pause_snapshot},
	{"resume-snapshot", resume_snapshot},
	{"log", log_message}
};

static void
act(void *arg)
{
	const Signal *signal = arg;

	for (int i = 0; i < lengthof(actions); i++)
	{
		Jsonb	   *data;

		if (strcmp(signal->type, actions[i].type) != 0)
			continue;
		data = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(signal->data ? signal->data : "{}")));
		if (!JB_ROOT_IS_OBJECT(data))
			ignore_signal(signal, "its data is no object");
		else
			actions[i].act(signal, &data->root);
		return;
	}
	ignore_signal(signal, "there is no such type");
}

/*
 * An error in a signal, such as one in its JSON or in a pattern, does not stop
 * the capture.
 */
static void
handle_signal(const Signal *signal)
{
	ErrorData  *error = eventlog_subtransaction_run(act, unconstify(Signal *, signal));

	if (error == NULL)
		return;
	if (eventlog_subtransaction_must_rethrow(error))
		ReThrowError(error);
	ignore_signal(signal, error->message);
	FreeErrorData(error);
}

/* ---- the signal table ---- */

static bool
is_signal_table(const EventlogRelationDesc *desc)
{
	const char *name = capture->config->signal_table;
	size_t		schema_len = strlen(desc->schema);

	return name != NULL && strncmp(name, desc->schema, schema_len) == 0 &&
		name[schema_len] == '.' && strcmp(name + schema_len + 1, desc->name) == 0;
}

static bool
may_signal(const EventlogRelationDesc *desc)
{
	if (eventlog_capture_trusts(capture->owner, desc->owner))
		return true;
	if (refused_table != desc->relid)
		ereport(LOG,
				(errmsg("capture \"%s\": signals in table \"%s.%s\" are ignored",
						capture->name, desc->schema, desc->name),
				 errdetail("The table belongs to neither role \"%s\", which owns the capture, nor a role that it is a member of, nor a superuser.",
						   GetUserNameFromId(capture->owner, false))));
	refused_table = desc->relid;
	return false;
}

static char *
column_string(const EventlogColumnValue *value)
{
	char	   *text;

	if (value->kind != 't')
		return NULL;
	text = pnstrdup(value->text, value->len);
	return pg_any_to_server(text, value->len, PG_UTF8);
}

/* "<chunk>-open" and "<chunk>-close"; the deletion of the first is like the second. */
static bool
is_watermark(const char *id, const char *type, bool *open)
{
	*open = strcmp(type, "snapshot-window-open") == 0;
	return *open || strcmp(type, "snapshot-window-close") == 0;
}

static void
signal_table_change(const EventlogRelationDesc *desc, char op, const EventlogSource *source,
					const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	Signal		signal = {.source = source};
	bool		open;

	if (desc->ncolumns != 3 || !may_signal(desc))
		return;
	if (op == 'D')
	{
		char	   *id = column_string(&old[0]);

		if (id && capture->config->watermark_delete)
			eventlog_incremental_watermark(id, false, source);
		return;
	}
	if (op != 'I')
		return;
	signal.id = column_string(&row[0]);
	signal.type = column_string(&row[1]);
	signal.data = column_string(&row[2]);
	if (signal.id == NULL || signal.type == NULL)
		return;
	if (is_watermark(signal.id, signal.type, &open))
		eventlog_incremental_watermark(signal.id, open, source);
	else
		handle_signal(&signal);
}

static void
change_hook(void *arg, EventlogEncoderTable *table, const EventlogRelationDesc *desc, char op,
			const EventlogSource *source, char old_kind, const EventlogColumnValue *old,
			const EventlogColumnValue *row)
{
	eventlog_incremental_flush();
	if (is_signal_table(desc))
		signal_table_change(desc, op, source, old, row);
	eventlog_incremental_change(desc, op, old, row);
}

/* ---- eventlog.capture_signal() and its messages ---- */

/* Take the signal from its table; false if it is not there. */
static bool
take_signal(int64 number, Signal *signal)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[2] = {INT8OID, INT4OID};
	Datum		values[2] = {Int64GetDatum(number), Int32GetDatum(capture->id)};
	EventlogCatalogSql session;
	bool		found;

	eventlog_catalog_sql_begin(&session, "capture_signal_queue", "signals");
	if (SPI_execute_with_args("DELETE FROM eventlog.capture_signal_queue"
							  " WHERE id OPERATOR(pg_catalog.=) $1"
							  " AND capture_id OPERATOR(pg_catalog.=) $2"
							  " RETURNING signal_id, type, data::pg_catalog.text",
							  2, types, values, NULL, false, 0) != SPI_OK_DELETE_RETURNING)
		elog(ERROR, "could not take a signal from its table");
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;

		signal->id = MemoryContextStrdup(context, SPI_getvalue(tuple, tupdesc, 1));
		signal->type = MemoryContextStrdup(context, SPI_getvalue(tuple, tupdesc, 2));
		signal->data = MemoryContextStrdup(context, SPI_getvalue(tuple, tupdesc, 3));
	}
	eventlog_catalog_sql_end(&session);
	return found;
}

static void
message_signal(const EventlogSource *source, bool transactional, const char *content, int32 len)
{
	char		text[64];
	int			id;
	long long	number;
	Signal		signal = {.source = source};

	if (!transactional || len >= sizeof(text))
		return;
	memcpy(text, content, len);
	text[len] = '\0';
	if (sscanf(text, "%d %lld", &id, &number) != 2 || id != capture->id)
		return;

	/* its commit is in the WAL, but maybe it is not seen by others yet */
	while (TransactionIdIsValid(source->xid) && TransactionIdIsInProgress(source->xid))
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
	}
	if (take_signal(number, &signal))
		handle_signal(&signal);
}

static bool
message_hook(void *arg, const EventlogSource *source, bool transactional, const char *prefix,
			 const char *content, int32 len)
{
	eventlog_incremental_flush();
	if (strcmp(prefix, EVENTLOG_SIGNAL_PREFIX) == 0)
		message_signal(source, transactional, content, len);
	else if (strcmp(prefix, EVENTLOG_WATERMARK_PREFIX) == 0)
	{
		eventlog_incremental_watermark(pnstrdup(content, len), false, source);
		eventlog_incremental_flush();
	}
	else
		return false;
	return true;
}

/* capture_signal(capture text, type text, data jsonb, id text) */
Datum
eventlog_capture_signal(PG_FUNCTION_ARGS)
{
	EventlogCapture *to;
	Oid			types[4] = {INT4OID, TEXTOID, TEXTOID, JSONBOID};
	Datum		values[4];
	const char *nulls = PG_ARGISNULL(3) ? " n  " : "    ";
	char	   *content;
	int64		number;
	bool		isnull;
	EventlogCatalogSql session;

	for (int i = 0; i < 3; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("capture, type and data of a signal must not be null")));
	}
	eventlog_require_preloaded();
	PreventCommandIfReadOnly("eventlog.capture_signal()");
	to = eventlog_capture_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), 0, false, false);
	eventlog_capture_check_owner(to);

	values[0] = Int32GetDatum(to->id);
	values[1] = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	values[2] = PG_GETARG_DATUM(1);
	values[3] = PG_GETARG_DATUM(2);
	eventlog_catalog_sql_begin(&session, "capture_signal_queue", "signals");
	if (SPI_execute_with_args("INSERT INTO eventlog.capture_signal_queue (capture_id, signal_id, type, data)"
							  " VALUES ($1, coalesce($2, pg_catalog.gen_random_uuid()::pg_catalog.text), $3, $4)"
							  " RETURNING id",
							  4, types, values, nulls, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write a signal");
	number = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	eventlog_catalog_sql_end(&session);

	content = psprintf("%d " INT64_FORMAT, to->id, number);
	(void) eventlog_log_message(EVENTLOG_SIGNAL_PREFIX, content, strlen(content), true);
	PG_RETURN_VOID();
}

void
eventlog_signals_init(EventlogCapture *c, EventlogCaptureSink *sink, const char *database,
					  EventlogApplyHooks *hooks)
{
	capture = c;
	hooks->change = change_hook;
	hooks->message = message_hook;
	eventlog_incremental_init(c, sink, database);
}
