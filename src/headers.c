/*-------------------------------------------------------------------------
 *
 * headers.c
 *	  SQL functions that build and search eventlog.header[].
 *
 * A record's headers are an array of (name text, value bytea): names may
 * repeat and their order counts, as in Kafka.  The layout of the composite
 * type is fixed by sql/10_types.sql; its oid need not be known beforehand, as
 * it is the element type of the function's own result or argument.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

/* attributes of eventlog.header */
#define HEADER_NAME		0
#define HEADER_VALUE	1
#define HEADER_NATTS	2

PG_FUNCTION_INFO_V1(eventlog_headers_from_text);
PG_FUNCTION_INFO_V1(eventlog_headers_from_jsonb);
PG_FUNCTION_INFO_V1(eventlog_header_last);

/* Row type of eventlog.header, looked up once for each call site. */
static TupleDesc
header_tupdesc(FunctionCallInfo fcinfo)
{
	TypeCacheEntry *type = (TypeCacheEntry *) fcinfo->flinfo->fn_extra;

	if (type == NULL)
	{
		Oid			array = get_func_rettype(fcinfo->flinfo->fn_oid);

		type = lookup_type_cache(get_element_type(array), TYPECACHE_TUPDESC);
		if (type->tupDesc == NULL || type->tupDesc->natts != HEADER_NATTS)
			elog(ERROR, "type %u is not eventlog.header", type->type_id);
		fcinfo->flinfo->fn_extra = type;
	}
	return type->tupDesc;
}

static Datum
make_header(TupleDesc tupdesc, Datum name, Datum value, bool value_is_null)
{
	Datum		values[HEADER_NATTS];
	bool		nulls[HEADER_NATTS] = {false, value_is_null};

	values[HEADER_NAME] = name;
	values[HEADER_VALUE] = value;
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

static ArrayType *
make_header_array(TupleDesc tupdesc, Datum *headers, int count)
{
	return construct_array(headers, count, tupdesc->tdtypeid,
						   -1, false, TYPALIGN_DOUBLE);
}

/* headers(VARIADIC text[]): pairs of name and value */
Datum
eventlog_headers_from_text(PG_FUNCTION_ARGS)
{
	ArrayType  *pairs = PG_GETARG_ARRAYTYPE_P(0);
	TupleDesc	tupdesc = header_tupdesc(fcinfo);
	Datum	   *texts;
	bool	   *nulls;
	Datum	   *headers;
	int			count;

	deconstruct_array(pairs, TEXTOID, -1, false, TYPALIGN_INT,
					  &texts, &nulls, &count);
	if (count % 2 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers() needs an even number of arguments"),
				 errhint("Arguments alternate between names and values. For headers from a JSON object, cast it to jsonb.")));

	headers = palloc(sizeof(Datum) * Max(count / 2, 1));
	for (int i = 0; i < count; i += 2)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("name of a header must not be null")));

		/* The database is UTF-8, so text and its bytes are the same. */
		headers[i / 2] = make_header(tupdesc, texts[i], texts[i + 1],
									 nulls[i + 1]);
	}
	PG_RETURN_ARRAYTYPE_P(make_header_array(tupdesc, headers, count / 2));
}

/* Bytes that a JSON value becomes: a string's own text, else JSON text. */
static text *
json_value_text(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return cstring_to_text_with_len(value->val.string.val,
											value->val.string.len);
		case jbvBool:
			return cstring_to_text(value->val.boolean ? "true" : "false");
		case jbvNumeric:
			return cstring_to_text(DatumGetCString(DirectFunctionCall1(numeric_out,
																	   NumericGetDatum(value->val.numeric))));
		case jbvBinary:
			return cstring_to_text(JsonbToCString(NULL,
												  value->val.binary.data,
												  value->val.binary.len));
		default:
			elog(ERROR, "unexpected type %d of a jsonb value", value->type);
	}
	return NULL;				/* keep compiler quiet */
}

/* headers(jsonb): one header for each key of an object */
Datum
eventlog_headers_from_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb	   *object = PG_GETARG_JSONB_P(0);
	TupleDesc	tupdesc = header_tupdesc(fcinfo);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	Datum	   *headers;
	Datum		name = (Datum) 0;
	int			count = 0;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be a JSON object"),
				 errhint("Write them as '{\"name\": \"value\"}'::jsonb, or use eventlog.headers('name', 'value').")));

	headers = palloc(sizeof(Datum) * Max(JB_ROOT_COUNT(object), 1));
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = PointerGetDatum(json_value_text(&v));
		else if (token == WJB_VALUE)
		{
			bool		is_null = (v.type == jbvNull);
			Datum		value = (Datum) 0;

			if (!is_null)
				value = PointerGetDatum(json_value_text(&v));
			headers[count++] = make_header(tupdesc, name, value, is_null);
		}
	}
	PG_RETURN_ARRAYTYPE_P(make_header_array(tupdesc, headers, count));
}

/* header(headers, name): value of the last header of that name */
Datum
eventlog_header_last(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	text	   *wanted = PG_GETARG_TEXT_PP(1);
	Datum	   *headers;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE,
					  &headers, &nulls, &count);
	for (int i = count - 1; i >= 0; i--)
	{
		HeapTupleHeader header;
		Datum		datum;
		bool		is_null;
		text	   *name;

		if (nulls[i])
			continue;
		header = DatumGetHeapTupleHeader(headers[i]);
		datum = GetAttributeByNum(header, HEADER_NAME + 1, &is_null);
		if (is_null)
			continue;
		name = DatumGetTextPP(datum);
		if (VARSIZE_ANY_EXHDR(name) != VARSIZE_ANY_EXHDR(wanted) ||
			memcmp(VARDATA_ANY(name), VARDATA_ANY(wanted),
				   VARSIZE_ANY_EXHDR(wanted)) != 0)
			continue;

		datum = GetAttributeByNum(header, HEADER_VALUE + 1, &is_null);
		if (is_null)
			PG_RETURN_NULL();
		PG_RETURN_BYTEA_P(PG_DETOAST_DATUM_COPY(datum));
	}
	PG_RETURN_NULL();
}
