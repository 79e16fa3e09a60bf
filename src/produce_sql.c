/*-------------------------------------------------------------------------
 *
 * produce_sql.c
 *	  SQL functions that produce: produce(), produce_batch(), flush(),
 *	  last_produced().
 *
 * They check and convert arguments; what a record is then is produce.c's.
 * Topics with indexes or row triggers get their records by an INSERT through
 * the executor, so that those work as on any table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "log_slot.h"
#include "payload.h"
#include "produce.h"

PG_FUNCTION_INFO_V1(eventlog_produce);
PG_FUNCTION_INFO_V1(eventlog_produce_batch);
PG_FUNCTION_INFO_V1(eventlog_flush);
PG_FUNCTION_INFO_V1(eventlog_last_produced);

/*
 * Where calls convert their arguments.  A call during another one (from a cast
 * or a trigger) has a context of its own; call_subid is that of the call that
 * uses call_context, and says nothing once it has been rolled back.
 */
static MemoryContext call_context = NULL;
static SubTransactionId call_subid = InvalidSubTransactionId;
static LocalTransactionId call_lxid;

/* ---- what all calls begin with ---- */

/* What a call site's arguments are, found out once. */
typedef struct CallSite
{
	Oid			key_type;
	Oid			value_type;
	bool		stable_topic;	/* the topic's name is the same in every call */
	EventlogTopic *topic;		/* then: what the last call found, or NULL */
	uint32		topic_reads;	/* and whether it is still the same */
} CallSite;

static CallSite *
get_call_site(FunctionCallInfo fcinfo)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;

	if (unlikely(site == NULL))
	{
		Node	   *expr = fcinfo->flinfo->fn_expr;

		site = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(CallSite));
		site->key_type = get_fn_expr_argtype(fcinfo->flinfo, 1);
		site->value_type = get_fn_expr_argtype(fcinfo->flinfo, 2);
		site->stable_topic = expr && IsA(expr, FuncExpr) &&
			IsA(linitial(((FuncExpr *) expr)->args), Const);
		site->topic = NULL;
		fcinfo->flinfo->fn_extra = site;
	}
	return site;
}

/*
 * The topic that argument 0 names, with the right to produce to it.
 */
static EventlogTopic *
get_topic(FunctionCallInfo fcinfo, CallSite *site, const char *function)
{
	char		name[EVENTLOG_TOPIC_NAME_MAX + 1];
	text	   *arg;
	int			len;
	EventlogTopic *topic;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("topic must not be null")));
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);

	topic = site->topic;
	if (topic == NULL || !topic->valid || topic->reads != site->topic_reads)
	{
		arg = PG_GETARG_TEXT_PP(0);
		len = Min(VARSIZE_ANY_EXHDR(arg), EVENTLOG_TOPIC_NAME_MAX);
		memcpy(name, VARDATA_ANY(arg), len);
		name[len] = '\0';
		if (VARSIZE_ANY_EXHDR(arg) > EVENTLOG_TOPIC_NAME_MAX)
			topic = eventlog_topic_by_name(text_to_cstring(arg), false);
		else
			topic = eventlog_topic_by_name(name, false);
		if (site->stable_topic)
		{
			site->topic = topic;
			site->topic_reads = topic->reads;
		}
	}
	eventlog_topic_check_acl(topic, ACL_INSERT);
	return topic;
}

static MemoryContext
begin_conversion(void)
{
	if (unlikely(call_context == NULL))
		call_context = AllocSetContextCreate(TopMemoryContext, "eventlog produce call",
											 ALLOCSET_DEFAULT_SIZES);
	if (unlikely(call_subid != InvalidSubTransactionId))
	{
		if (call_lxid == EventlogMyLxid() && SubTransactionIsActive(call_subid))
			return AllocSetContextCreate(CurrentMemoryContext, "eventlog nested produce call",
										 ALLOCSET_SMALL_SIZES);
		MemoryContextReset(call_context);	/* that call failed */
	}
	call_subid = GetCurrentSubTransactionId();
	call_lxid = EventlogMyLxid();
	return call_context;
}

static void
end_conversion(MemoryContext context)
{
	if (unlikely(context != call_context))
	{
		MemoryContextDelete(context);
		return;
	}
	MemoryContextReset(context);
	call_subid = InvalidSubTransactionId;
}

static int32
get_partition(FunctionCallInfo fcinfo, int arg, const EventlogTopic *topic)
{
	int32		partition;

	if (PG_ARGISNULL(arg))
		return -1;
	partition = PG_GETARG_INT32(arg);
	eventlog_topic_check_partition(topic, partition);
	return partition;
}

static void
get_headers(FunctionCallInfo fcinfo, int arg, EventlogRecord *rec)
{
	EventlogBuf buf = {0};

	rec->headers = NULL;
	rec->headers_len = rec->headers_count = 0;
	if (PG_ARGISNULL(arg))
		return;
	rec->headers_count = eventlog_payload_encode_headers(PG_GETARG_DATUM(arg), &buf);
	rec->headers = buf.data;
	rec->headers_len = buf.len;
}

/* ---- through the executor ---- */

bool
eventlog_produce_by_insert(EventlogTopic *topic, Datum *values, bool *isnull)
{
	static Oid	plan_topic = InvalidOid;
	static char *plan_sql = NULL;
	static SPIPlanPtr plan = NULL;
	char	   *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(topic->relid)),
												   get_rel_name(topic->relid));
	char	   *sql = psprintf("INSERT INTO %s (partition, record_offset, \"timestamp\", key, value, headers) "
							   "VALUES ($1, $2, $3, $4, $5, $6) RETURNING record_offset, \"timestamp\"",
							   table);
	char		nulls[EVENTLOG_NATTS];
	bool		null;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (plan_topic != topic->relid || strcmp(plan_sql, sql) != 0)
	{
		static const Oid payload_types[] = {BYTEAOID, TEXTOID, JSONOID, JSONBOID};
		Oid			types[EVENTLOG_NATTS] = {INT4OID, INT8OID, TIMESTAMPTZOID};
		SPIPlanPtr	new_plan;

		types[EVENTLOG_ATT_KEY] = payload_types[topic->key_type];
		types[EVENTLOG_ATT_VALUE] = payload_types[topic->value_type];
		types[EVENTLOG_ATT_HEADERS] = get_atttype(topic->relid, EVENTLOG_ATT_HEADERS + 1);
		new_plan = SPI_prepare(sql, EVENTLOG_NATTS, types);
		if (new_plan == NULL || SPI_keepplan(new_plan) != 0)
			elog(ERROR, "could not prepare the insert into topic \"%s\"", topic->name);
		if (plan)
			SPI_freeplan(plan);
		if (plan_sql)
			pfree(plan_sql);
		plan = new_plan;
		plan_sql = MemoryContextStrdup(TopMemoryContext, sql);
		plan_topic = topic->relid;
	}
	for (int i = 0; i < EVENTLOG_NATTS; i++)
		nulls[i] = isnull[i] ? 'n' : ' ';

	/* no limit: the executor fires statement triggers when it finds the end */
	if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT_RETURNING ||
		SPI_processed > 1)
		elog(ERROR, "insert into topic \"%s\" went wrong", topic->name);
	if (SPI_processed == 0)
	{
		SPI_finish();			/* a trigger did not want the row */
		return false;
	}
	values[EVENTLOG_ATT_OFFSET] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	values[EVENTLOG_ATT_TIMESTAMP] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null);
	isnull[EVENTLOG_ATT_OFFSET] = isnull[EVENTLOG_ATT_TIMESTAMP] = false;
	SPI_finish();
	return true;
}

void
eventlog_produce_any(EventlogTopic *topic, int32 partition, EventlogRecord *rec)
{
	Datum		values[EVENTLOG_NATTS];
	bool		isnull[EVENTLOG_NATTS];
	MemoryContext context,
				old;

	if (partition < 0)
		partition = eventlog_produce_partition(topic, rec->key, rec->key_len);
	if (likely(eventlog_produce_try(topic, partition, rec)))
		return;

	context = AllocSetContextCreate(CurTransactionContext, "eventlog insert", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	memset(isnull, 0, sizeof(isnull));
	values[EVENTLOG_ATT_PARTITION] = Int32GetDatum(partition);
	isnull[EVENTLOG_ATT_OFFSET] = true;
	values[EVENTLOG_ATT_TIMESTAMP] = TimestampTzGetDatum(eventlog_ms_to_timestamp(rec->timestamp));
	if ((isnull[EVENTLOG_ATT_KEY] = (rec->key_len < 0)) == false)
		values[EVENTLOG_ATT_KEY] = eventlog_payload_to_datum(topic->key_type, rec->key, rec->key_len);
	if ((isnull[EVENTLOG_ATT_VALUE] = (rec->value_len < 0)) == false)
		values[EVENTLOG_ATT_VALUE] = eventlog_payload_to_datum(topic->value_type, rec->value, rec->value_len);
	if ((isnull[EVENTLOG_ATT_HEADERS] = (rec->headers_count == 0)) == false)
		values[EVENTLOG_ATT_HEADERS] =
			eventlog_payload_decode_headers(rec, get_atttype(topic->relid, EVENTLOG_ATT_HEADERS + 1));
	(void) eventlog_produce_by_insert(topic, values, isnull);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* ---- produce ---- */

Datum
eventlog_produce(PG_FUNCTION_ARGS)
{
	CallSite   *site = get_call_site(fcinfo);
	EventlogTopic *topic = get_topic(fcinfo, site, "produce()");
	int32		partition = get_partition(fcinfo, 4, topic);
	EventlogRecord rec;
	MemoryContext context = begin_conversion();
	MemoryContext old = MemoryContextSwitchTo(context);

	rec.key = rec.value = NULL;
	rec.key_len = rec.value_len = -1;
	if (!PG_ARGISNULL(1))
		eventlog_payload_from_any(topic->key_type, PG_GETARG_DATUM(1),
								  site->key_type, "key",
								  &rec.key, &rec.key_len);
	if (!PG_ARGISNULL(2))
		eventlog_payload_from_any(topic->value_type, PG_GETARG_DATUM(2),
								  site->value_type, "value",
								  &rec.value, &rec.value_len);
	get_headers(fcinfo, 3, &rec);
	rec.timestamp = eventlog_produce_timestamp(topic, !PG_ARGISNULL(5),
											   PG_ARGISNULL(5) ? 0 : PG_GETARG_TIMESTAMPTZ(5));
	eventlog_produce_any(topic, partition, &rec);

	MemoryContextSwitchTo(old);
	end_conversion(context);
	PG_RETURN_VOID();
}

/* An array argument of produce_batch(), taken apart. */
typedef struct BatchColumn
{
	Oid			type;			/* of its elements */
	Datum	   *values;
	bool	   *nulls;
	int			count;			/* -1: argument is null */
} BatchColumn;

static void
get_column(FunctionCallInfo fcinfo, int arg, const char *name, BatchColumn *column)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, arg);
	ArrayType  *array;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	column->count = -1;
	if (PG_ARGISNULL(arg))
		return;
	if (type == UNKNOWNOID)
	{
		/* a literal: let it be an array of text */
		array = DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, PG_GETARG_POINTER(arg),
														TEXTOID, -1));
		column->type = TEXTOID;
		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
						  &column->values, &column->nulls, &column->count);
		return;
	}
	column->type = get_base_element_type(type);
	if (!OidIsValid(column->type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s of produce_batch() must be an array, not %s", name, format_type_be(type))));
	array = PG_GETARG_ARRAYTYPE_P(arg);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%s of produce_batch() must be a one-dimensional array", name)));
	get_typlenbyvalalign(column->type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, column->type, typlen, typbyval, typalign,
					  &column->values, &column->nulls, &column->count);
}

Datum
eventlog_produce_batch(PG_FUNCTION_ARGS)
{
	CallSite   *site = get_call_site(fcinfo);
	EventlogTopic *topic = get_topic(fcinfo, site, "produce_batch()");
	int32		partition = get_partition(fcinfo, 4, topic);
	BatchColumn keys,
				vals,
				times;
	int			count;
	EventlogRecord rec;
	MemoryContext context,
				old;

	get_column(fcinfo, 1, "keys", &keys);
	get_column(fcinfo, 2, "vals", &vals);
	get_column(fcinfo, 5, "event_times", &times);
	count = Max(keys.count, vals.count);
	if ((keys.count >= 0 && keys.count != count) || (vals.count >= 0 && vals.count != count) ||
		(times.count >= 0 && times.count != Max(count, 0)))
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("arrays of produce_batch() differ in length"),
				 errdetail("There are %d keys, %d vals and %d event_times (-1: null).",
						   keys.count, vals.count, times.count),
				 errhint("Give arrays of the same length, or null for an array of nulls.")));
	get_headers(fcinfo, 3, &rec);
	rec.timestamp = eventlog_produce_timestamp(topic, false, 0);

	context = begin_conversion();
	old = MemoryContextSwitchTo(context);
	for (int i = 0; i < count; i++)
	{
		rec.key = rec.value = NULL;
		rec.key_len = rec.value_len = -1;
		if (keys.count >= 0 && !keys.nulls[i])
			eventlog_payload_from_any(topic->key_type, keys.values[i], keys.type, "key",
									  &rec.key, &rec.key_len);
		if (vals.count >= 0 && !vals.nulls[i])
			eventlog_payload_from_any(topic->value_type, vals.values[i], vals.type, "value",
									  &rec.value, &rec.value_len);
		if (times.count >= 0)
			rec.timestamp = eventlog_produce_timestamp(topic, !times.nulls[i],
													   times.nulls[i] ? 0 :
													   DatumGetTimestampTz(times.values[i]));
		eventlog_produce_any(topic, partition, &rec);
		MemoryContextReset(context);
		if ((i & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old);
	end_conversion(context);
	PG_RETURN_INT32(Max(count, 0));
}

/* ---- offsets ---- */

static int
compare_ranges(const void *a, const void *b)
{
	const EventlogRange *left = a;
	const EventlogRange *right = b;

	if (left->topic != right->topic)
		return left->topic < right->topic ? -1 : 1;
	if (left->partition != right->partition)
		return left->partition < right->partition ? -1 : 1;
	return left->first_offset < right->first_offset ? -1 : 1;
}

/*
 * Return ranges in order, those that touch as one.
 */
static void
return_ranges(FunctionCallInfo fcinfo, EventlogRange *ranges, int count, bool once)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EventlogRange *sorted;
	int			nsorted = 0;
	int			first = 0;

	/* a call tells all that there is, so what was told lies in front */
	if (once)
	{
		for (first = count; first > 0 && !ranges[first - 1].reported;)
			first--;
	}
	sorted = MemoryContextAllocHuge(CurrentMemoryContext,
									sizeof(EventlogRange) * Max(count - first, 1));
	for (int i = first; i < count; i++)
	{
		sorted[nsorted++] = ranges[i];
		if (once)
			ranges[i].reported = true;
	}
	qsort(sorted, nsorted, sizeof(EventlogRange), compare_ranges);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < nsorted;)
	{
		EventlogRange range = sorted[i];
		EventlogTopic *topic = eventlog_topic_by_relid(range.topic);
		Datum		values[4];
		bool		nulls[4] = {false};

		while (++i < nsorted && sorted[i].topic == range.topic &&
			   sorted[i].partition == range.partition &&
			   sorted[i].first_offset == range.last_offset + 1)
			range.last_offset = sorted[i].last_offset;
		if (topic)
			values[0] = CStringGetTextDatum(topic->name);
		else
			nulls[0] = true;	/* dropped since */
		values[1] = Int32GetDatum(range.partition);
		values[2] = Int64GetDatum(range.first_offset);
		values[3] = Int64GetDatum(range.last_offset);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	pfree(sorted);
}

Datum
eventlog_flush(PG_FUNCTION_ARGS)
{
	EventlogRange *ranges;
	int			count;

	eventlog_produce_flush_all();
	count = eventlog_produce_ranges(&ranges);
	return_ranges(fcinfo, ranges, count, true);
	return (Datum) 0;
}

Datum
eventlog_last_produced(PG_FUNCTION_ARGS)
{
	EventlogRange *ranges;
	int			count = eventlog_produce_last_ranges(&ranges);

	return_ranges(fcinfo, ranges, count, false);
	return (Datum) 0;
}
