/*-------------------------------------------------------------------------
 *
 * emit.c
 *	  Returning records from functions, as eventlog.record or typed; what
 *	  read(), tail() and consume() have in common.
 *
 * Results are materialized.  So a call reads all that it is to return at
 * once, whatever the plan around it then does with the rows: LIMIT, WHERE,
 * cursors and rescans do not change what was consumed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "emit.h"
#include "group.h"
#include "log_slot.h"
#include "payload.h"

/* attributes of eventlog.record */
#define RECORD_TOPIC	0
#define RECORD_NATTS	7

/* The topic whose row type the argument has. */
static EventlogTopic *
topic_of_type(Oid type)
{
	Oid			relid = get_typ_typrelid(type);
	EventlogTopic *topic = OidIsValid(relid) ? eventlog_topic_by_relid(relid) : NULL;

	if (topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s is not the row type of a topic", format_type_be(type)),
				 errhint("Write null::topics.name, or give the topic's name as text.")));
	return topic;
}

static void
begin_result(EventlogEmitter *emitter, FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, 0);
	if (emitter->rsinfo->setDesc->natts != (emitter->typed ? EVENTLOG_NATTS : RECORD_NATTS))
		elog(ERROR, "type eventlog.record has been changed");
	emitter->headers_type = TupleDescAttr(emitter->rsinfo->setDesc,
										  emitter->typed ? EVENTLOG_ATT_HEADERS : RECORD_NATTS - 1)->atttypid;
	emitter->key_type = emitter->typed ? emitter->topic->key_type : EVENTLOG_PAYLOAD_BYTEA;
	emitter->value_type = emitter->typed ? emitter->topic->value_type : EVENTLOG_PAYLOAD_BYTEA;
	eventlog_buf_reserve(&emitter->key, 256);
	eventlog_buf_reserve(&emitter->value, 1024);
	emitter->row = AllocSetContextCreate(CurrentMemoryContext, "eventlog row", ALLOCSET_SMALL_SIZES);
}

void
eventlog_emit_begin(EventlogEmitter *emitter, FunctionCallInfo fcinfo, int arg)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, arg);
	EventlogTopic *topic;

	memset(emitter, 0, sizeof(*emitter));
	emitter->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	emitter->typed = type != TEXTOID && OidIsValid(type);
	if (emitter->typed)
		topic = topic_of_type(type);
	else
	{
		if (PG_ARGISNULL(arg))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("topic must not be null")));
		topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(arg)), false);
	}
	eventlog_topic_check_acl(topic, ACL_SELECT);
	eventlog_emit_set_topic(emitter, topic);
	begin_result(emitter, fcinfo);
}

void
eventlog_emit_begin_topics(EventlogEmitter *emitter, FunctionCallInfo fcinfo, int arg)
{
	memset(emitter, 0, sizeof(*emitter));
	emitter->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	if (arg >= 0)
	{
		emitter->typed = true;
		emitter->topic = topic_of_type(get_fn_expr_argtype(fcinfo->flinfo, arg));
	}
	begin_result(emitter, fcinfo);
}

void
eventlog_emit_set_topic(EventlogEmitter *emitter, EventlogTopic *topic)
{
	if (!emitter->typed && emitter->topic != topic)
		emitter->topic_name = CStringGetTextDatum(topic->name);
	emitter->topic = topic;
}

static Datum
payload_datum(EventlogPayloadType type, EventlogBuf *buf, const char *bytes, int32 len)
{
	if (type == EVENTLOG_PAYLOAD_JSONB)
		return eventlog_payload_to_datum(type, bytes, len);
	buf->len = 0;
	eventlog_buf_reserve(buf, (size_t) len + VARHDRSZ);
	SET_VARSIZE(buf->data, len + VARHDRSZ);
	memcpy(VARDATA(buf->data), bytes, len);
	return PointerGetDatum(buf->data);
}

void
eventlog_emit(EventlogEmitter *emitter, int32 partition, const EventlogRecord *rec)
{
	Datum		values[RECORD_NATTS];
	bool		nulls[RECORD_NATTS] = {false};
	Datum	   *v = values;
	bool	   *n = nulls;
	MemoryContext old = MemoryContextSwitchTo(emitter->row);

	if (!emitter->typed)
	{
		*v++ = emitter->topic_name;
		n++;
	}
	v[EVENTLOG_ATT_PARTITION] = Int32GetDatum(partition);
	v[EVENTLOG_ATT_OFFSET] = Int64GetDatum(rec->offset);
	v[EVENTLOG_ATT_TIMESTAMP] = TimestampTzGetDatum(eventlog_ms_to_timestamp(rec->timestamp));
	if (rec->key_len >= 0)
		v[EVENTLOG_ATT_KEY] = payload_datum(emitter->key_type, &emitter->key, rec->key, rec->key_len);
	else
		n[EVENTLOG_ATT_KEY] = true;
	if (rec->value_len >= 0)
		v[EVENTLOG_ATT_VALUE] = payload_datum(emitter->value_type, &emitter->value,
											  rec->value, rec->value_len);
	else
		n[EVENTLOG_ATT_VALUE] = true;
	if (rec->headers_count > 0)
		v[EVENTLOG_ATT_HEADERS] = eventlog_payload_decode_headers(rec, emitter->headers_type);
	else
		n[EVENTLOG_ATT_HEADERS] = true;
	tuplestore_putvalues(emitter->rsinfo->setResult, emitter->rsinfo->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(emitter->row);
	emitter->count++;
	emitter->bytes += Max(rec->key_len, 0) + Max(rec->value_len, 0) + rec->headers_len;
}

Snapshot
eventlog_fresh_snapshot(void)
{
	return RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
							GetLatestSnapshot());
}

EventlogTopic *
eventlog_topic_after_wait(EventlogTopic *topic)
{
	EventlogTopic *now;

	AcceptInvalidationMessages();
	now = eventlog_topic_by_relid(topic->relid);
	if (now == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("topic \"%s\" does not exist any more", topic->name)));
	return now;
}

TimestampTz
eventlog_deadline(FunctionCallInfo fcinfo, int arg)
{
	Interval   *wait;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline;

	if (PG_ARGISNULL(arg))
		return now;
	wait = PG_GETARG_INTERVAL_P(arg);
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(now),
													   IntervalPGetDatum(wait)));
	if (deadline < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_wait must not be negative")));
	return deadline;
}

void
eventlog_check_offset(const EventlogTopic *topic, int32 partition, int64 offset,
					  const EventlogMetaHead *meta)
{
	if (offset >= meta->log_start_offset && offset <= meta->next_offset)
		return;
	ereport(ERROR,
			(errcode(offset >= 0 && offset < meta->log_start_offset ?
					 ERRCODE_EVENTLOG_OFFSET_OUT_OF_RANGE : ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("offset %lld is out of range for partition %d of topic \"%s\"",
					(long long) offset, partition, topic->name),
			 errdetail("The partition holds offsets %lld up to, not including, %lld.",
					   (long long) meta->log_start_offset, (long long) meta->next_offset)));
}

int64
eventlog_max_records(FunctionCallInfo fcinfo, int arg)
{
	int32		n;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	switch (get_fn_expr_argtype(fcinfo->flinfo, arg))
	{
		case INT2OID:
			n = PG_GETARG_INT16(arg);
			break;
		case TEXTOID:
			n = pg_strtoint32(text_to_cstring(PG_GETARG_TEXT_PP(arg)));
			break;
		default:
			n = PG_GETARG_INT32(arg);
			break;
	}
	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records must not be negative"),
				 errhint("Null means no limit.")));
	return n;
}
