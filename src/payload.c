/*-------------------------------------------------------------------------
 *
 * payload.c
 *	  Between SQL values and the bytes that a record carries.
 *
 * On disk a key or value is always the bytes that Kafka would carry: UTF-8
 * for text and JSON, the bytes themselves for bytea.  The database is UTF-8
 * (CREATE EXTENSION sees to that), so text needs no conversion, but bytes
 * that are to be read as text must be valid when they are written, not first
 * when they are read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "payload.h"

/* ---- timestamps ---- */

int64
eventlog_timestamp_to_ms(TimestampTz timestamp)
{
	int64		ms;

	if (TIMESTAMP_NOT_FINITE(timestamp))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of a record must not be infinite"),
				 errhint("Leave it null to have the current time.")));
	ms = timestamp / 1000;
	if (timestamp % 1000 < 0)
		ms--;					/* floor, not towards zero */
	return ms + EVENTLOG_EPOCH_MS;
}

TimestampTz
eventlog_ms_to_timestamp(int64 ms)
{
	int64		us;

	if (pg_sub_s64_overflow(ms, EVENTLOG_EPOCH_MS, &ms) ||
		pg_mul_s64_overflow(ms, 1000, &us) || !IS_VALID_TIMESTAMP(us))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of a record is out of SQL's range")));
	return us;
}

/* ---- values ---- */

void
eventlog_payload_from_column(EventlogPayloadType type, Datum value,
							 const char **bytes, int32 *len)
{
	if (type == EVENTLOG_PAYLOAD_JSONB)
	{
		Jsonb	   *jb = DatumGetJsonbP(value);
		char	   *str = JsonbToCString(NULL, &jb->root, VARSIZE(jb));

		*bytes = str;
		*len = strlen(str);
	}
	else
	{
		struct varlena *v = PG_DETOAST_DATUM_PACKED(value);

		*bytes = VARDATA_ANY(v);
		*len = VARSIZE_ANY_EXHDR(v);
	}
}

/*
 * Refuse what is no text: the column would not be readable as its type.
 */
static void
check_text(const char *bytes, int32 len, const char *what)
{
	if (memchr(bytes, 0, len) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("%s contains a null byte", what),
				 errdetail("The topic's type for it is a text type."),
				 errhint("Create the topic with type bytea to carry any bytes.")));
	(void) pg_verify_mbstr(PG_UTF8, bytes, len, false);
}

/*
 * Refuse what the type's own input function refuses (bad JSON; for jsonb also
 * what it cannot hold, such as \u0000), with its message.
 */
static void
check_json(EventlogPayloadType type, const char *bytes, int32 len)
{
	char	   *str = pnstrdup(bytes, len);
	Datum		parsed;

	parsed = DirectFunctionCall1(type == EVENTLOG_PAYLOAD_JSONB ? jsonb_in : json_in,
								 CStringGetDatum(str));
	pfree(DatumGetPointer(parsed));
	pfree(str);
}

/*
 * to_jsonb() of a value, whose type it takes from the call's expression.
 */
static Datum
value_to_jsonb(Datum value, Oid type)
{
	static FmgrInfo flinfo;
	static Const *arg = NULL;

	if (unlikely(arg == NULL))
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		Const	   *dummy = makeNullConst(type, -1, InvalidOid);

		fmgr_info_cxt(F_TO_JSONB, &flinfo, TopMemoryContext);
		fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(dummy),
												 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
						   &flinfo);
		arg = dummy;
		MemoryContextSwitchTo(old);
	}
	arg->consttype = type;
	return FunctionCall1(&flinfo, value);
}

void
eventlog_payload_check(EventlogPayloadType type, const char *bytes, int32 len, const char *what)
{
	if (len < 0 || type == EVENTLOG_PAYLOAD_BYTEA)
		return;
	check_text(bytes, len, what);
	if (type != EVENTLOG_PAYLOAD_TEXT)
		check_json(type, bytes, len);
}

void
eventlog_payload_from_any(EventlogPayloadType type, Datum value, Oid value_type,
						  const char *what, const char **bytes, int32 *len)
{
	/* most types are their own base type, which is known without a look-up */
	Oid			base_type = value_type == TEXTOID || value_type == BYTEAOID ? value_type :
		getBaseType(value_type);
	bool		is_json = (type == EVENTLOG_PAYLOAD_JSON || type == EVENTLOG_PAYLOAD_JSONB);
	Oid			out;
	bool		isvarlena;

	switch (base_type)
	{
		case BYTEAOID:
		case TEXTOID:
		case VARCHAROID:
		case JSONOID:
			{
				struct varlena *v = PG_DETOAST_DATUM_PACKED(value);

				*bytes = VARDATA_ANY(v);
				*len = VARSIZE_ANY_EXHDR(v);
				break;
			}
		case UNKNOWNOID:
		case CSTRINGOID:
			*bytes = DatumGetCString(value);
			*len = strlen(*bytes);
			break;
		case JSONBOID:
			eventlog_payload_from_column(EVENTLOG_PAYLOAD_JSONB, value, bytes, len);
			break;
		default:
			if (is_json)
			{
				Datum		jb = value_to_jsonb(value, value_type);

				eventlog_payload_from_column(EVENTLOG_PAYLOAD_JSONB, jb, bytes, len);
			}
			else
			{
				getTypeOutputInfo(value_type, &out, &isvarlena);
				*bytes = OidOutputFunctionCall(out, value);
				*len = strlen(*bytes);
			}
			return;				/* the server's own output is valid */
	}

	/* What is not known to be valid for the column's type is checked. */
	if (type == EVENTLOG_PAYLOAD_BYTEA)
		return;
	if (base_type == BYTEAOID)
		check_text(*bytes, *len, what);
	if (!is_json || base_type == JSONBOID)
		return;
	if (type == EVENTLOG_PAYLOAD_JSONB || base_type != JSONOID)
		check_json(type, *bytes, *len);
}

Datum
eventlog_payload_to_datum(EventlogPayloadType type, const char *bytes, int32 len)
{
	if (type == EVENTLOG_PAYLOAD_JSONB)
	{
		char	   *str = pnstrdup(bytes, len);
		Datum		jb = DirectFunctionCall1(jsonb_in, CStringGetDatum(str));

		pfree(str);
		return jb;
	}
	return PointerGetDatum(cstring_to_text_with_len(bytes, len));
}

/* ---- headers ---- */

#define HEADER_NATTS	2

/* Row type of eventlog.header, which is not for others to change. */
static TupleDesc
header_tupdesc(Oid type)
{
	TupleDesc	desc = lookup_type_cache(type, TYPECACHE_TUPDESC)->tupDesc;

	if (desc == NULL || desc->natts != HEADER_NATTS)
		elog(ERROR, "type eventlog.header has been changed");
	return desc;
}

int32
eventlog_payload_encode_headers(Datum headers, EventlogBuf *buf)
{
	ArrayType  *array = DatumGetArrayTypeP(headers);
	TupleDesc	desc = header_tupdesc(ARR_ELEMTYPE(array));
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be a one-dimensional array")));

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE,
					  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		HeapTupleHeader th;
		HeapTupleData tuple;
		Datum		values[HEADER_NATTS];
		bool		isnull[HEADER_NATTS];
		text	   *name;
		bytea	   *value = NULL;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a header must not be null"),
					 errhint("The value of a header may be null, and a record may have none.")));
		th = DatumGetHeapTupleHeader(elements[i]);
		tuple.t_len = HeapTupleHeaderGetDatumLength(th);
		ItemPointerSetInvalid(&tuple.t_self);
		tuple.t_tableOid = InvalidOid;
		tuple.t_data = th;
		heap_deform_tuple(&tuple, desc, values, isnull);
		if (isnull[0])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name of a header must not be null")));
		name = DatumGetTextPP(values[0]);
		if (!isnull[1])
			value = DatumGetByteaPP(values[1]);
		eventlog_batch_add_header(buf, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name),
								  value ? VARDATA_ANY(value) : NULL,
								  value ? (int32) VARSIZE_ANY_EXHDR(value) : -1);
	}
	return count;
}

Datum
eventlog_payload_decode_headers(const EventlogRecord *rec, Oid array_type)
{
	Oid			element = get_element_type(array_type);
	TupleDesc	desc = header_tupdesc(element);
	Datum	   *elements = palloc(sizeof(Datum) * Max(rec->headers_count, 1));
	const char *p = rec->headers;
	const char *end = rec->headers + rec->headers_len;
	const char *name,
			   *value;
	int32		name_len,
				value_len;
	int			count = 0;

	while (count < rec->headers_count &&
		   eventlog_batch_next_header(&p, end, &name, &name_len, &value, &value_len))
	{
		Datum		values[HEADER_NATTS];
		bool		nulls[HEADER_NATTS] = {false, value_len < 0};

		values[0] = PointerGetDatum(cstring_to_text_with_len(name, name_len));
		values[1] = value_len < 0 ? (Datum) 0 :
			PointerGetDatum(cstring_to_text_with_len(value, value_len));
		elements[count++] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	if (count != rec->headers_count)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("headers of the record at offset %lld are damaged",
						(long long) rec->offset)));
	return PointerGetDatum(construct_array(elements, count, element, -1, false, TYPALIGN_DOUBLE));
}
