/*-------------------------------------------------------------------------
 *
 * mirror_group.c
 *	  kafka_check(), and moving consumer groups from one side to the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "group.h"
#include "kafka_request.h"
#include "mirror.h"
#include "pg_eventlog.h"

PG_FUNCTION_INFO_V1(eventlog_kafka_check);
PG_FUNCTION_INFO_V1(eventlog_mirror_group);

#define MIN_TIMEOUT_MS		100
#define MAX_TIMEOUT_MS		(5 * 60 * 1000)
#define GROUP_TIMEOUT_MS	30000

#define CHECK_COLUMNS		7

/* ---- kafka_check() ---- */

static int
timeout_of(Interval *interval)
{
	double		ms = (interval->month * (double) DAYS_PER_MONTH + interval->day) * SECS_PER_DAY * 1000.0 +
		interval->time / 1000.0;

	if (ms < MIN_TIMEOUT_MS || ms > MAX_TIMEOUT_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be from %d ms to %d minutes", MIN_TIMEOUT_MS, MAX_TIMEOUT_MS / 60000)));
	return (int) ms;
}

static Datum
field_of(Jsonb *answer, const char *field, bool as_text, bool *isnull)
{
	JsonbValue	buf;
	JsonbValue *value = getKeyJsonValueFromContainer(&answer->root, field, strlen(field), &buf);

	*isnull = value == NULL || (as_text && value->type != jbvString);
	if (*isnull)
		return (Datum) 0;
	return as_text ? PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len)) :
		JsonbPGetDatum(JsonbValueToJsonb(value));
}

/* kafka_check(server name, timeout interval) */
Datum
eventlog_kafka_check(PG_FUNCTION_ARGS)
{
	EventlogKafkaRequest request = {.ask = EVENTLOG_ASK_CLUSTER};
	EventlogMirrorOption *options;
	TupleDesc	desc;
	Datum		values[CHECK_COLUMNS] = {0};
	bool		nulls[CHECK_COLUMNS];
	Oid			serverid;
	Jsonb	   *answer;
	char	   *error;

	eventlog_require_preloaded();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	request.timeout_ms = timeout_of(PG_GETARG_INTERVAL_P(1));
	request.noptions = eventlog_mirror_options_load(NameStr(*PG_GETARG_NAME(0)), GetUserId(),
													&serverid, &options);
	request.options = options;
	answer = eventlog_kafka_ask(&request, &error);

	memset(nulls, true, sizeof(nulls));
	values[0] = BoolGetDatum(answer != NULL);
	nulls[0] = false;
	if (answer == NULL)
	{
		values[1] = CStringGetTextDatum(error);
		nulls[1] = false;
	}
	else
	{
		Datum		latency;

		values[2] = field_of(answer, "cluster_id", true, &nulls[2]);
		latency = field_of(answer, "latency_ms", false, &nulls[3]);
		if (!nulls[3])
			values[3] = DirectFunctionCall1(jsonb_float8, latency);
		values[4] = field_of(answer, "brokers", false, &nulls[4]);
		values[5] = field_of(answer, "topics", false, &nulls[5]);
		values[6] = field_of(answer, "librdkafka", true, &nulls[6]);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- mirror_group() ---- */

/* A partition of a mirror, and a group's offsets on both sides; -1: none. */
typedef struct Place
{
	char	   *topic;
	char	   *kafka_topic;
	int32		partition;
	int64		record_offset;
	int64		kafka_offset;
} Place;

/* Partitions that the mirror has got to. */
static int
load_places(const EventlogMirror *mirror, Place **places)
{
	EventlogMirrorPosition *positions;
	int			n = eventlog_mirror_positions_load(mirror->id, &positions);

	*places = palloc0(sizeof(Place) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		(*places)[i].topic = positions[i].topic;
		(*places)[i].kafka_topic = positions[i].kafka_topic;
		(*places)[i].partition = positions[i].partition;
		(*places)[i].record_offset = (*places)[i].kafka_offset = -1;
	}
	return n;
}

/* Where the group is here; the user must be able to see it. */
static void
read_here(const char *group, Place *place)
{
	Oid			types[3] = {TEXTOID, TEXTOID, INT4OID};
	Datum		values[3];
	bool		isnull;

	values[0] = CStringGetTextDatum(group);
	values[1] = CStringGetTextDatum(place->topic);
	values[2] = Int32GetDatum(place->partition);
	if (SPI_execute_with_args("SELECT current_offset FROM eventlog.consumer_groups"
							  " WHERE consumer_group OPERATOR(pg_catalog.=) $1"
							  " AND topic OPERATOR(pg_catalog.=) $2"
							  " AND partition OPERATOR(pg_catalog.=) $3",
							  3, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.consumer_groups");
	if (SPI_processed == 0)
		return;
	place->record_offset = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
													   1, &isnull));
	if (isnull)
		place->record_offset = -1;
}

/* Set it here; the user must own the group, which is made if it is missing. */
static void
write_here(const char *group, const Place *place)
{
	Oid			types[4] = {TEXTOID, TEXTOID, INT4OID, TEXTOID};
	Datum		values[4];

	values[0] = CStringGetTextDatum(group);
	values[1] = CStringGetTextDatum(place->topic);
	values[2] = Int32GetDatum(place->partition);
	values[3] = CStringGetTextDatum(psprintf(INT64_FORMAT, place->record_offset));
	if (SPI_execute_with_args("SELECT eventlog.create_group($1, $2) WHERE NOT EXISTS"
							  " (SELECT FROM eventlog.consumer_groups WHERE consumer_group OPERATOR(pg_catalog.=) $1"
							  " AND topic OPERATOR(pg_catalog.=) $2)",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not create a group");
	if (SPI_execute_with_args("SELECT eventlog.reset_offsets($1, $2, 'offset', $4, $3)",
							  4, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not set the offsets of a group");
}

static void
ask(EventlogMirror *mirror, EventlogKafkaAsk what, const char *group, Place *places, int n)
{
	EventlogKafkaRequest request = {.ask = what, .timeout_ms = GROUP_TIMEOUT_MS};
	EventlogMirrorOption *options;
	Oid			serverid;
	char	   *error;

	if (n == 0)
		return;
	request.noptions = eventlog_mirror_options_load(mirror->server, mirror->owner, &serverid, &options);
	request.options = options;
	request.group = group;
	request.nplaces = n;
	request.places = palloc(sizeof(EventlogKafkaPlace) * n);
	for (int i = 0; i < n; i++)
	{
		request.places[i].topic = places[i].kafka_topic;
		request.places[i].partition = places[i].partition;
		request.places[i].offset = places[i].kafka_offset;
	}
	if (eventlog_kafka_ask(&request, &error) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("could not ask Kafka server \"%s\": %s", mirror->server, error)));
	for (int i = 0; i < n; i++)
		places[i].kafka_offset = request.places[i].offset;
}

/* Keep the places whose offsets are known on both sides; returns how many. */
static int
translate_places(const EventlogMirror *mirror, Place *places, int n)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		Place	   *place = &places[i];

		if (place->record_offset < 0 && place->kafka_offset < 0)
			continue;			/* the group has no position */
		if (!eventlog_mirror_translate(mirror->id, place->kafka_topic, place->partition,
									   &place->record_offset, &place->kafka_offset))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("offset " INT64_FORMAT " of partition %d of topic \"%s\" cannot be translated",
							Max(place->record_offset, place->kafka_offset), place->partition,
							place->record_offset >= 0 ? place->topic : place->kafka_topic),
					 errdetail("It is before what mirror \"%s\" has pairs of offsets for.", mirror->name),
					 errhint("eventlog.mirror_offsets() shows them.")));
		places[kept++] = *place;
	}
	return kept;
}

static bool
read_destination(text *destination)
{
	char	   *word = text_to_cstring(destination);

	if (strcmp(word, "kafka") != 0 && strcmp(word, "here") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid destination: \"%s\"", eventlog_mirror_clip_name(word)),
				 errdetail("Expected is \"kafka\" or \"here\".")));
	return word[0] == 'k';
}

static EventlogMirror *
check_mirror(text *name)
{
	EventlogMirror *mirror = eventlog_mirror_load(text_to_cstring(name), 0, false, false);

	if (!has_privs_of_role(GetUserId(), mirror->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of mirror \"%s\"", mirror->name)));
	eventlog_mirror_read_config(mirror);
	if (mirror->config->repartition)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("offsets of mirror \"%s\" cannot be translated", mirror->name),
				 errdetail("It chooses partitions by keys.")));
	return mirror;
}

/*
 * mirror_group(name text, consumer_group text, destination text,
 * kafka_group text)
 */
Datum
eventlog_mirror_group(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EventlogMirror *mirror;
	Place	   *places;
	char	   *here;
	char	   *there;
	bool		to_kafka;
	int			n;

	eventlog_require_preloaded();
	PreventCommandIfReadOnly("mirror_group()");
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("arguments of mirror_group() must not be null, but for kafka_group")));
	mirror = check_mirror(PG_GETARG_TEXT_PP(0));
	here = text_to_cstring(PG_GETARG_TEXT_PP(1));
	to_kafka = read_destination(PG_GETARG_TEXT_PP(2));
	there = PG_ARGISNULL(3) ? here : text_to_cstring(PG_GETARG_TEXT_PP(3));
	eventlog_group_check_name(here);
	eventlog_group_check_name(there);
	if (strncmp(there, "pg_eventlog-", 12) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("name of group \"%s\" is reserved for mirrors", there),
				 errhint("Give the group another name in Kafka: kafka_group.")));

	n = load_places(mirror, &places);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < n && to_kafka; i++)
		read_here(here, &places[i]);
	if (!to_kafka)
		ask(mirror, EVENTLOG_ASK_COMMITTED, there, places, n);
	n = translate_places(mirror, places, n);
	for (int i = 0; i < n && !to_kafka; i++)
		write_here(here, &places[i]);
	if (to_kafka)
		ask(mirror, EVENTLOG_ASK_COMMIT, there, places, n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[4];
		bool		nulls[4] = {0};

		values[0] = CStringGetTextDatum(places[i].topic);
		values[1] = Int32GetDatum(places[i].partition);
		values[2] = Int64GetDatum(places[i].record_offset);
		values[3] = Int64GetDatum(places[i].kafka_offset);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
