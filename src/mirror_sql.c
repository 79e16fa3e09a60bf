/*-------------------------------------------------------------------------
 *
 * mirror_sql.c
 *	  create_mirror() and its like, and what the view of mirrors shows.
 *
 * These functions check and change the catalogue; when the transaction has
 * committed, the worker of the Kafka server looks at it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "mirror.h"
#include "pg_eventlog.h"
#include "topic.h"
#include "topic_ddl.h"

PG_FUNCTION_INFO_V1(eventlog_create_mirror);
PG_FUNCTION_INFO_V1(eventlog_alter_mirror);
PG_FUNCTION_INFO_V1(eventlog_pause_mirror);
PG_FUNCTION_INFO_V1(eventlog_resume_mirror);
PG_FUNCTION_INFO_V1(eventlog_drop_mirror);
PG_FUNCTION_INFO_V1(eventlog_mirror_status);
PG_FUNCTION_INFO_V1(eventlog_mirror_worker_status);

/* ---- checks ---- */

static void
check_server(void)
{
	eventlog_require_preloaded();
	PreventCommandIfReadOnly("this function");
}

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > EVENTLOG_MIRROR_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a mirror must have 1 to %d bytes", EVENTLOG_MIRROR_NAME_MAX)));
}

/* The mirror of this name, if the current user owns it; its row is locked. */
static EventlogMirror *
own_mirror(text *name)
{
	EventlogMirror *mirror = eventlog_mirror_load(text_to_cstring(name), 0, true, false);

	if (!has_privs_of_role(GetUserId(), mirror->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of mirror \"%s\"", mirror->name)));
	return mirror;
}

/* The pattern and what it makes of names: names are checked when they come up. */
static void
check_pattern(EventlogMirror *mirror)
{
	const char *target = mirror->out ? mirror->kafka_topic : mirror->topic;

	if (mirror->config->start.kind == EVENTLOG_START_OFFSETS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a mirror of a pattern cannot start at explicit offsets")));
	if (target[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name that topics of a pattern are given must not be empty")));
	/* raises for what cannot be compiled */
	(void) eventlog_mirror_map_topic(mirror, "x");
}

static void
check_topics(EventlogMirror *mirror)
{
	const char *source = mirror->out ? mirror->topic : mirror->kafka_topic;
	const char *target = mirror->out ? mirror->kafka_topic : mirror->topic;

	if (mirror->pattern)
	{
		check_pattern(mirror);
		return;
	}
	if (eventlog_mirror_is_pattern(target))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is a pattern, and \"%s\" is not", target, source),
				 errdetail("The names of the source can be a pattern; the other name then says what they become.")));
	eventlog_topic_check_name(source);
	eventlog_topic_check_name(target);
	if (!mirror->out && mirror->config->create_topic &&
		eventlog_topic_by_name(mirror->topic, true) == NULL)
		return;					/* the worker makes it, if the owner may */
	if (!mirror->out && eventlog_topic_by_name(mirror->topic, true) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("topic \"%s\" does not exist", mirror->topic),
				 errhint("Create it, or have it made by {\"create.topic\": true}.")));
	eventlog_mirror_check_topic(GetUserId(), mirror->topic, mirror->out);
}

static void
check_loop(const EventlogMirror *mirror, bool at_work)
{
	char	   *other;

	other = eventlog_mirror_find_double(mirror, at_work);
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("mirror \"%s\" does that already", other)));
	other = eventlog_mirror_find_loop(mirror, mirror->pattern ? NULL : mirror->topic,
									  mirror->kafka_topic, at_work);
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("mirror \"%s\" goes the other way between the same topics", other),
				 errdetail("Records would go round for ever."),
				 errhint("Let one of the two have a topic of its own.")));
}

/* ---- configurations ---- */

/* A point in time, independent of the session's time zone and of now. */
static char *
start_text(const EventlogMirrorStart *start, const char *given)
{
	Timestamp	utc;

	if (start->kind != EVENTLOG_START_TIME)
		return pstrdup(given);
	utc = (start->time_ms - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000) * 1000;
	return text_to_cstring(DatumGetTextPP(DirectFunctionCall2(timestamp_to_char, TimestampGetDatum(utc),
															  CStringGetTextDatum("YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\""))));
}

/* The configuration as it is stored. */
static Jsonb *
fix_config(Jsonb *json, const EventlogMirrorConfig *config)
{
	StringInfoData buf;

	json = DatumGetJsonbP(DirectFunctionCall1(jsonb_strip_nulls, JsonbPGetDatum(json)));
	if (config->start.kind != EVENTLOG_START_TIME)
		return json;
	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"start\": ");
	escape_json(&buf, start_text(&config->start, ""));
	appendStringInfoChar(&buf, '}');
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(json),
											  DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data))));
}

/* Have the worker of the mirror's server look; the server may be gone. */
static void
reload(const EventlogMirror *mirror)
{
	ForeignServer *server = GetForeignServerByName(mirror->server, true);

	if (server != NULL)
		eventlog_mirror_reload_at_commit(server->serverid);
}

/* ---- the functions ---- */

static bool
read_direction(text *direction)
{
	char	   *word = text_to_cstring(direction);

	if (strcmp(word, "out") != 0 && strcmp(word, "in") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid direction of a mirror: \"%s\"", eventlog_mirror_clip_name(word)),
				 errdetail("Expected is \"out\", from here to Kafka, or \"in\".")));
	return word[0] == 'o';
}

/*
 * create_mirror(name text, server name, direction text, topic text,
 * kafka_topic text, config jsonb)
 */
Datum
eventlog_create_mirror(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "server", "direction", "topic", "", "config"};
	EventlogMirror mirror = {0};
	EventlogMirrorOption *options;
	Oid			serverid;

	check_server();
	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i) && names[i][0] != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
	}
	mirror.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	mirror.owner = GetUserId();
	mirror.server = NameStr(*PG_GETARG_NAME(1));
	mirror.out = read_direction(PG_GETARG_TEXT_PP(2));
	mirror.topic = text_to_cstring(PG_GETARG_TEXT_PP(3));
	mirror.kafka_topic = PG_ARGISNULL(4) ? mirror.topic : text_to_cstring(PG_GETARG_TEXT_PP(4));
	mirror.pattern = eventlog_mirror_is_pattern(mirror.out ? mirror.topic : mirror.kafka_topic);
	mirror.config = eventlog_mirror_config_parse(PG_GETARG_JSONB_P(5), mirror.out);

	check_name(mirror.name);
	/* what the others have done must be seen */
	eventlog_mirror_lock_catalog();
	eventlog_mirror_lock_server(mirror.server);
	PushActiveSnapshot(GetLatestSnapshot());
	(void) eventlog_mirror_options_load(mirror.server, mirror.owner, &serverid, &options);
	check_topics(&mirror);
	if (eventlog_mirror_load(mirror.name, 0, false, true) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("mirror \"%s\" already exists", mirror.name)));
	check_loop(&mirror, false);
	PopActiveSnapshot();
	(void) eventlog_mirror_insert(mirror.name, mirror.owner, mirror.server, mirror.out,
								  mirror.topic, mirror.kafka_topic,
								  fix_config(PG_GETARG_JSONB_P(5), mirror.config));
	eventlog_mirror_reload_at_commit(serverid);
	PG_RETURN_VOID();
}

/* alter_mirror(name text, config jsonb) */
Datum
eventlog_alter_mirror(PG_FUNCTION_ARGS)
{
	EventlogMirror *mirror;
	Jsonb	   *config;

	check_server();
	mirror = own_mirror(PG_GETARG_TEXT_PP(0));
	config = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(mirror->config_json),
												PG_GETARG_DATUM(1)));
	mirror->config = eventlog_mirror_config_parse(config, mirror->out);
	if (mirror->pattern)
		check_pattern(mirror);
	eventlog_mirror_set_config(mirror->id, fix_config(config, mirror->config));
	reload(mirror);
	PG_RETURN_VOID();
}

/* pause_mirror(name text) */
Datum
eventlog_pause_mirror(PG_FUNCTION_ARGS)
{
	EventlogMirror *mirror;

	check_server();
	mirror = own_mirror(PG_GETARG_TEXT_PP(0));
	eventlog_mirror_set_paused(mirror->id, true);
	reload(mirror);
	PG_RETURN_VOID();
}

/* resume_mirror(name text, start text) */
Datum
eventlog_resume_mirror(PG_FUNCTION_ARGS)
{
	EventlogMirror *mirror;
	EventlogMirrorStart begin;
	Oid			serverid;
	EventlogMirrorOption *options;

	check_server();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	mirror = own_mirror(PG_GETARG_TEXT_PP(0));
	(void) eventlog_mirror_options_load(mirror->server, mirror->owner, &serverid, &options);
	if (!PG_ARGISNULL(1))
	{
		char	   *given = text_to_cstring(PG_GETARG_TEXT_PP(1));

		eventlog_mirror_start_parse(given, &begin);
		if (mirror->pattern && begin.kind == EVENTLOG_START_OFFSETS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a mirror of a pattern cannot start at explicit offsets")));
		eventlog_mirror_set_restart(mirror->id, start_text(&begin, given));
		/* one side may have begun anew */
		eventlog_mirror_syncs_forget(mirror->id);
	}
	else if (mirror->stopped != NULL && strncmp(mirror->stopped, "diverged", 8) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mirror \"%s\" is diverged", mirror->name),
				 errdetail("%s", mirror->stopped),
				 errhint("Say from where it is to go on: resume_mirror(name, start => 'latest'), 'earliest', a timestamp, or offsets.")));
	if (mirror->pattern)
		eventlog_mirror_read_config(mirror);
	PushActiveSnapshot(GetLatestSnapshot());
	check_loop(mirror, true);
	PopActiveSnapshot();
	eventlog_mirror_set_home(mirror->id);
	eventlog_mirror_set_stopped(mirror->id, NULL);
	eventlog_mirror_set_paused(mirror->id, false);
	eventlog_mirror_reload_at_commit(serverid);
	PG_RETURN_VOID();
}

/* drop_mirror(name text) */
Datum
eventlog_drop_mirror(PG_FUNCTION_ARGS)
{
	EventlogMirror *mirror;

	check_server();
	mirror = own_mirror(PG_GETARG_TEXT_PP(0));
	eventlog_mirror_delete(mirror->id);
	reload(mirror);
	PG_RETURN_VOID();
}

/* ---- what the view shows ---- */

static const char *const phase_names[] = {
	"starting", "connecting", "streaming", "failed", "stopped", "diverged", "fenced",
	"needs_adoption"
};

static const char *const worker_phase_names[] = {
	"starting", "starting", "streaming", "failed", "needs_adoption", "stopped"
};

#define STATUS_COLUMNS	24
#define WORKER_COLUMNS	7

static char *
clean(const char *text)
{
	char	   *copy = pstrdup(text);

	if (!pg_verifymbstr(copy, strlen(copy), true))
	{
		for (char *p = copy; *p != '\0'; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
	}
	return copy;
}

static void
put_number(StringInfo buf, const char *name, int64 number)
{
	if (number >= 0)
		appendStringInfo(buf, ",\"%s\":" INT64_FORMAT, name, number);
	else
		appendStringInfo(buf, ",\"%s\":null", name);
}

/* Partitions, as jsonb. */
static Datum
partitions_of(const EventlogMirrorSlot *slot)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	for (int i = 0; i < Min(slot->npartitions, EVENTLOG_MIRROR_PARTITIONS); i++)
	{
		const EventlogMirrorPartition *partition = &slot->partitions[i];

		appendStringInfo(&buf, "%s{\"partition\":%d", i == 0 ? "" : ",", partition->partition);
		if (partition->topic[0] != '\0')
		{
			appendStringInfoString(&buf, ",\"topic\":");
			escape_json(&buf, clean(partition->topic));
		}
		put_number(&buf, "position", partition->position);
		put_number(&buf, "end", partition->end);
		put_number(&buf, "lag", partition->end < 0 || partition->position < 0 ? -1 :
				   Max(partition->end - partition->position, 0));
		put_number(&buf, "target", partition->target);
		appendStringInfoChar(&buf, '}');
	}
	appendStringInfoChar(&buf, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}

static Datum
counter(pg_atomic_uint64 *value)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(value));
}

static void
put_time(Datum *value, bool *isnull, TimestampTz time)
{
	*value = TimestampTzGetDatum(time);
	*isnull = time == 0;
}

static void
put_status(ReturnSetInfo *rsinfo, EventlogMirrorSlot *slot, const EventlogMirrorSlot *copy)
{
	Datum		values[STATUS_COLUMNS] = {0};
	bool		nulls[STATUS_COLUMNS] = {0};
	int			i = 0;

	values[i++] = Int32GetDatum(copy->id);
	values[i++] = CStringGetTextDatum(phase_names[copy->phase]);
	nulls[i] = copy->pid == 0;
	values[i++] = Int32GetDatum(copy->pid);
	nulls[i] = copy->error_at == 0;
	values[i++] = CStringGetTextDatum(clean(copy->error));
	put_time(&values[i], &nulls[i], copy->error_at);
	i++;
	values[i++] = Int32GetDatum(copy->failures);
	put_time(&values[i], &nulls[i], copy->phase == EVENTLOG_MIRROR_FAILED ? copy->due : 0);
	i++;
	nulls[i] = copy->broker_error_at == 0;
	values[i++] = CStringGetTextDatum(clean(copy->broker_error));
	put_time(&values[i], &nulls[i], copy->broker_error_at);
	i++;
	values[i++] = Int32GetDatum(copy->ntopics);
	nulls[i] = copy->npartitions == 0;
	values[i++] = partitions_of(copy);
	nulls[i] = pg_atomic_read_u64(&slot->lag) == PG_UINT64_MAX;
	values[i++] = counter(&slot->lag);
	values[i++] = counter(&slot->records);
	values[i++] = counter(&slot->bytes);
	values[i++] = counter(&slot->transactions);
	values[i++] = counter(&slot->aborted);
	values[i++] = counter(&slot->dead_letters);
	values[i++] = counter(&slot->records_per_s);
	values[i++] = counter(&slot->bytes_per_s);
	values[i++] = counter(&slot->broker_errors);
	values[i++] = counter(&slot->throttled_ms);
	put_time(&values[i], &nulls[i], copy->transaction_at);
	i++;
	nulls[i] = copy->stats_at == 0 || copy->stats[0] == '\0';
	if (!nulls[i])
		values[i] = DirectFunctionCall1(jsonb_in, CStringGetDatum(clean(copy->stats)));
	i++;
	put_time(&values[i], &nulls[i], copy->stats_at);
	i++;
	Assert(i == STATUS_COLUMNS);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static bool
may_see(Oid owner)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		(OidIsValid(owner) && has_privs_of_role(GetUserId(), owner));
}

/* mirror_status() */
Datum
eventlog_mirror_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EventlogMirrorSlot *copy = palloc(sizeof(EventlogMirrorSlot));

	eventlog_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	for (int n = 0; n < EVENTLOG_MAX_MIRRORS; n++)
	{
		EventlogMirrorSlot *slot = &eventlog_mirrors->slots[n];

		LWLockAcquire(eventlog_shared->lock, LW_SHARED);
		memcpy(copy, slot, offsetof(EventlogMirrorSlot, records));
		LWLockRelease(eventlog_shared->lock);
		if (copy->dboid == MyDatabaseId && may_see(copy->owner))
			put_status(rsinfo, slot, copy);
	}
	return (Datum) 0;
}

/* May the user use the Kafka server, or see all? */
static bool
may_use(Oid serverid)
{
	if (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return true;
	return SearchSysCacheExists1(FOREIGNSERVEROID, ObjectIdGetDatum(serverid)) &&
		eventlog_server_aclcheck(serverid, GetUserId(), ACL_USAGE) == ACLCHECK_OK;
}

/* mirror_worker_status() */
Datum
eventlog_mirror_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	eventlog_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	for (int n = 0; n < EVENTLOG_MAX_MIRROR_WORKERS; n++)
	{
		EventlogService copy;
		Datum		values[WORKER_COLUMNS] = {0};
		bool		nulls[WORKER_COLUMNS] = {0};
		int			i = 0;

		LWLockAcquire(eventlog_shared->lock, LW_SHARED);
		copy = eventlog_mirrors->workers[n];
		LWLockRelease(eventlog_shared->lock);
		if (copy.dboid != MyDatabaseId || !may_use(copy.id))
			continue;

		values[i++] = ObjectIdGetDatum(copy.id);
		values[i++] = CStringGetTextDatum(worker_phase_names[copy.phase]);
		nulls[i] = copy.pid == 0;
		values[i++] = Int32GetDatum(copy.pid);
		nulls[i] = copy.history.error_at == 0;
		values[i++] = CStringGetTextDatum(clean(copy.history.error));
		put_time(&values[i], &nulls[i], copy.history.error_at);
		i++;
		values[i++] = Int32GetDatum(copy.history.failures);
		put_time(&values[i], &nulls[i], copy.phase == EVENTLOG_PHASE_FAILED && copy.wanted ? copy.due : 0);
		i++;
		Assert(i == WORKER_COLUMNS);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
