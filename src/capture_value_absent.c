/*-------------------------------------------------------------------------
 *
 * capture_value_absent.c
 *	  What is written where there is no value: nulls, columns that the WAL
 *	  does not tell, unchanged TOASTed values; and the schema's default.
 *
 * All of it is settled when a column's plan is made, as pieces of JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/md5.h"

#include "capture_value_plan.h"

static const EventlogJsonPiece null_piece = {"null", 4};

static EventlogJsonPiece
piece_of(const EventlogBuf *buf)
{
	EventlogJsonPiece piece = {buf->data, (int32) buf->len};

	return piece;
}

/* --- default and empty values --- */

/*
 * The default as JSON.  What Debezium sees was read out of an expression, and
 * need not be what the type prints; then there is none.  Writing takes no locks
 * or other resources, so an error can be left behind without more ado.
 */
static void
plan_default(EventlogValuePlan *plan, const EventlogColumnDesc *column)
{
	const char *text = plan->modes->compatible ? column->default_seen : column->default_value;
	MemoryContext context = CurrentMemoryContext;
	EventlogBuf buf = {0};

	if (text == NULL || plan->connect == EVENTLOG_CONNECT_STRUCT)
		return;
	PG_TRY();
	{
		if (plan->type->oid == NUMERICOID)
			eventlog_value_write_decimal_default(&buf, plan, text, strlen(text));
		else
			plan->write(&buf, plan, text, strlen(text));
		plan->default_value = piece_of(&buf);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
}

/* Text of a type that comes out as its empty value; NULL: there is none. */
static const char *
empty_text(const EventlogValuePlan *plan)
{
	switch (plan->connect)
	{
		case EVENTLOG_CONNECT_INT16:
		case EVENTLOG_CONNECT_FLOAT:
			return "0";
		case EVENTLOG_CONNECT_BOOLEAN:
			return "f";
		case EVENTLOG_CONNECT_ARRAY:
			return plan->type->kind == EVENTLOG_TYPE_ARRAY ? "{}" : "";
		case EVENTLOG_CONNECT_MAP:
			return "";
		default:
			break;
	}
	switch (plan->type->oid)
	{
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case FLOAT8OID:
		case MONEYOID:
			return "0";
		case NUMERICOID:
			return plan->scale > 0 ? psprintf("0.%0*d", plan->scale, 0) : "0";
		case BYTEAOID:
			return "\\x";
		case DATEOID:
			return "1970-01-01";
		case TIMEOID:
		case INTERVALOID:
			return "00:00:00";
		case TIMETZOID:
			return "00:00:00+00";
		case TIMESTAMPOID:
			return "1970-01-01 00:00:00";
		case POINTOID:
			return "(0,0)";
		default:
			return plan->connect == EVENTLOG_CONNECT_STRUCT ? NULL : "";
	}
}

static EventlogJsonPiece
empty_value(EventlogValuePlan *plan)
{
	const char *text = empty_text(plan);
	EventlogBuf buf = {0};

	if (plan->write == eventlog_value_write_always_null || text == NULL)
		return null_piece;
	if (plan->type->oid == TIMESTAMPTZOID && plan->connect == EVENTLOG_CONNECT_STRING)
		eventlog_json_literal(&buf, "\"1970-01-01T00:00:00Z\"");
	else
		plan->write(&buf, plan, text, strlen(text));
	return piece_of(&buf);
}

/* --- unchanged TOASTed values --- */

static void
put_placeholder(EventlogBuf *out, const EventlogValueModes *modes)
{
	eventlog_json_string(out, modes->placeholder, strlen(modes->placeholder));
}

static void
put_placeholder_bytes(EventlogBuf *out, const EventlogValueModes *modes)
{
	eventlog_json_binary(out, EVENTLOG_BINARY_BYTES, (const unsigned char *) modes->placeholder,
						 strlen(modes->placeholder));
}

/* The UUID that Java makes of bytes: their MD5, marked as version 3. */
static void
put_placeholder_uuid(EventlogBuf *out, const EventlogValueModes *modes)
{
	unsigned char md5[MD5_DIGEST_LENGTH];
	const char *error = NULL;
	char		text[40];
	int			at = 0;

	if (!pg_md5_binary(modes->placeholder, strlen(modes->placeholder), md5, &error))
		elog(ERROR, "could not compute an MD5 hash: %s", error);
	md5[6] = (md5[6] & 0x0F) | 0x30;
	md5[8] = (md5[8] & 0x3F) | 0x80;
	for (int i = 0; i < MD5_DIGEST_LENGTH; i++)
		at += snprintf(text + at, sizeof(text) - at, "%s%02x",
					   i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", md5[i]);
	eventlog_json_string(out, text, at);
}

/* Each byte of the placeholder as a number of its own. */
static void
put_placeholder_numbers(EventlogBuf *out, const EventlogValueModes *modes, const char *suffix)
{
	for (const char *p = modes->placeholder; *p != '\0'; p++)
	{
		if (p != modes->placeholder)
			eventlog_json_literal(out, ",");
		eventlog_json_int(out, (signed char) *p);
		eventlog_json_raw(out, suffix, strlen(suffix));
	}
}

static void
put_unavailable_hstore(EventlogBuf *out, const EventlogValuePlan *plan)
{
	EventlogBuf map = {0};

	eventlog_json_literal(&map, "{");
	put_placeholder(&map, plan->modes);
	eventlog_json_literal(&map, ":");
	put_placeholder(&map, plan->modes);
	eventlog_json_literal(&map, "}");
	if (plan->connect == EVENTLOG_CONNECT_MAP)
		eventlog_json_raw(out, map.data, map.len);
	else
		eventlog_json_string(out, map.data, map.len);
	eventlog_buf_free(&map);
}

/* Does Debezium have a placeholder for arrays of this element? */
static bool
debezium_array_has_placeholder(const EventlogValuePlan *plan)
{
	const EventlogValueModes *modes = plan->modes;

	if (plan->type->domain != NULL || plan->element->type->domain != NULL)
		return false;
	switch (plan->element->type->oid)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
		case JSONBOID:
		case INT4OID:
		case INT8OID:
		case UUIDOID:
			return true;
		case BYTEAOID:
			return modes->binary == EVENTLOG_BINARY_BYTES;
		case DATEOID:
			return modes->time != EVENTLOG_TIME_ISOSTRING && modes->time != EVENTLOG_TIME_CONNECT;
		default:
			return false;
	}
}

static void
put_unavailable_array(EventlogBuf *out, const EventlogValuePlan *plan)
{
	const EventlogValuePlan *element = plan->element;

	if (plan->modes->compatible && !debezium_array_has_placeholder(plan))
	{
		eventlog_json_literal(out, "null");
		return;
	}
	eventlog_json_literal(out, "[");
	switch (element->connect)
	{
		case EVENTLOG_CONNECT_INT16:
		case EVENTLOG_CONNECT_INT32:
		case EVENTLOG_CONNECT_INT64:
			put_placeholder_numbers(out, plan->modes, "");
			break;
		case EVENTLOG_CONNECT_FLOAT:
		case EVENTLOG_CONNECT_DOUBLE:
			put_placeholder_numbers(out, plan->modes, ".0");
			break;
		case EVENTLOG_CONNECT_BYTES:
			put_placeholder_bytes(out, plan->modes);
			break;
		default:
			if (element->type->oid == UUIDOID)
				put_placeholder_uuid(out, plan->modes);
			else
				put_placeholder(out, plan->modes);
			break;
	}
	eventlog_json_literal(out, "]");
}

/* Where Debezium has no placeholder of its own, ours is the text. */
static void
put_unavailable(EventlogBuf *out, const EventlogValuePlan *plan)
{
	const EventlogValueModes *modes = plan->modes;
	const EventlogTypeDesc *type = plan->type;

	if (plan->write == eventlog_value_write_always_null)
		eventlog_json_literal(out, "null");
	else if (plan->connect == EVENTLOG_CONNECT_ARRAY)
		put_unavailable_array(out, plan);
	else if (type->kind == EVENTLOG_TYPE_BASE && strcmp(type->name, "hstore") == 0 &&
			 !(modes->compatible && type->domain != NULL))
		put_unavailable_hstore(out, plan);
	else if (!modes->compatible)
	{
		if (plan->connect == EVENTLOG_CONNECT_BYTES)
			put_placeholder_bytes(out, modes);
		else
			put_placeholder(out, modes);
	}
	else if (plan->connect == EVENTLOG_CONNECT_BYTES && plan->binary)
		put_placeholder_bytes(out, modes);
	else if (plan->connect != EVENTLOG_CONNECT_STRING ||
			 (plan->binary && modes->binary != EVENTLOG_BINARY_HEX))
		eventlog_json_literal(out, "null");
	else
		put_placeholder(out, modes);
}

/* Settle what a column without a value looks like. */
void
eventlog_value_plan_absent(EventlogValuePlan *plan, const EventlogColumnDesc *column)
{
	EventlogBuf unavailable = {0};

	plan_default(plan, column);

	plan->null = null_piece;
	if (plan->optional && plan->default_value.data != NULL && plan->modes->null_is_default)
		plan->null = plan->default_value;

	if (plan->optional)
		plan->missing = plan->null;
	else if (plan->default_value.data != NULL)
		plan->missing = plan->default_value;
	else
		plan->missing = empty_value(plan);

	put_unavailable(&unavailable, plan);
	plan->unavailable = piece_of(&unavailable);
}
