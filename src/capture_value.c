/*-------------------------------------------------------------------------
 *
 * capture_value.c
 *	  Which type is written how, and the types that are written as they are.
 *
 * The choice is made here, by a type's OID or, for extensions' types, by its
 * name; what takes work is in capture_value_*.c.  Types that Debezium does
 * not know are left out in compatible mode, or written as the bytes of their
 * text with include.unknown.datatypes; in our default mode they are written as
 * text, and composites as objects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "capture_value_plan.h"

/* --- what is written as it is --- */

void
eventlog_value_write_text(EventlogBuf *out, const EventlogValuePlan *plan,
						  const char *text, int32 len)
{
	eventlog_json_string(out, text, len);
}

void
eventlog_value_write_raw(EventlogBuf *out, const EventlogValuePlan *plan,
						 const char *text, int32 len)
{
	eventlog_json_raw(out, text, len);
}

/* Text that never has to be escaped. */
static void
write_quoted(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	if (unlikely(out->cap - out->len < (size_t) len + 2))
		eventlog_buf_reserve(out, (size_t) len + 2);
	out->data[out->len++] = '"';
	memcpy(out->data + out->len, text, len);
	out->len += len;
	out->data[out->len++] = '"';
}

static void
write_bool(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	if (len > 0 && text[0] == 't')
		eventlog_json_literal(out, "true");
	else
		eventlog_json_literal(out, "false");
}

void
eventlog_value_write_always_null(EventlogBuf *out, const EventlogValuePlan *plan,
								 const char *text, int32 len)
{
	eventlog_json_literal(out, "null");
}

void
eventlog_value_malformed(const EventlogValuePlan *plan)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("captured value of type \"%s\" is not in the form that the type prints",
					plan->type->name)));
}

/* --- the choice --- */

static bool
plan_as(EventlogValuePlan *plan, EventlogConnectType connect, const char *semantic,
		EventlogValueWriter write)
{
	plan->connect = connect;
	plan->semantic = semantic;
	plan->write = write;
	return true;
}

/* A type that Debezium has no mapping for. */
static bool
plan_unknown(EventlogValuePlan *plan)
{
	if (!plan->modes->compatible)
		return plan_as(plan, EVENTLOG_CONNECT_STRING, NULL, eventlog_value_write_text);
	if (!plan->modes->include_unknown)
		return false;
	eventlog_value_plan_unknown(plan);
	return true;
}

static bool
plan_composite(EventlogValuePlan *plan)
{
	const EventlogTypeDesc *type = plan->type;

	if (plan->modes->compatible)
		return plan_unknown(plan);

	plan_as(plan, EVENTLOG_CONNECT_STRUCT, NULL, eventlog_value_write_composite);
	plan->nfields = type->nfields;
	plan->fields = palloc_array(EventlogValuePlan *, type->nfields + 1);
	plan->field_names = palloc_array(EventlogJsonPiece, type->nfields + 1);
	for (int i = 0; i < type->nfields; i++)
	{
		EventlogBuf name = {0};

		plan->fields[i] = palloc0_object(EventlogValuePlan);
		eventlog_value_plan_type(plan->fields[i], type->field_types[i], plan->modes);
		eventlog_json_string(&name, type->field_names[i], strlen(type->field_names[i]));
		eventlog_json_literal(&name, ":");
		plan->field_names[i].data = name.data;
		plan->field_names[i].len = name.len;
	}
	return true;
}

/*
 * int2vector and oidvector, "1 2", as arrays.  (Debezium's are always empty.)
 */
static void
write_vector(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	eventlog_json_literal(out, "[");
	for (int32 i = 0; i < len; i++)
		eventlog_json_raw(out, text[i] == ' ' ? "," : text + i, 1);
	eventlog_json_literal(out, "]");
}

static bool
plan_vector(EventlogValuePlan *plan, EventlogConnectType element)
{
	plan->element = palloc0_object(EventlogValuePlan);
	plan->element->type = plan->type;
	plan->element->modes = plan->modes;
	plan->element->connect = element;
	return plan_as(plan, EVENTLOG_CONNECT_ARRAY, NULL, write_vector);
}

/* Arrays of these Debezium leaves out, whatever it is told. */
static bool
is_array_left_out(Oid element)
{
	switch (element)
	{
		case MONEYOID:
		case NAMEOID:
		case INTERVALOID:
		case VARBITOID:
		case XMLOID:
		case POINTOID:
		case REFCURSOROID:
			return true;
		default:
			return false;
	}
}

static bool
plan_array(EventlogValuePlan *plan)
{
	const EventlogTypeDesc *element = plan->type->element;
	EventlogValuePlan *inner = palloc0_object(EventlogValuePlan);

	plan_as(plan, EVENTLOG_CONNECT_ARRAY, NULL, eventlog_value_write_array);
	plan->element = inner;
	if (!plan->modes->compatible)
		return eventlog_value_plan_type(inner, element, plan->modes);

	if (element->domain != NULL)
	{
		inner->type = element;
		inner->modes = plan->modes;
		inner->optional = true;
		return plan_unknown(inner);
	}
	if (is_array_left_out(element->oid))
		return false;
	if (element->oid == BITOID)
	{
		/* taken for a bit string, which no array's text can be read as */
		eventlog_value_plan_type(plan, element, plan->modes);
		plan->type = element;
		plan->write = eventlog_value_write_always_null;
		return true;
	}
	if (!eventlog_value_plan_type(inner, element, plan->modes))
		return false;
	if (element->kind == EVENTLOG_TYPE_ENUM)
		inner->optional = false;
	return true;
}

/* Types of extensions, which have no fixed OID. */
static bool
plan_by_name(EventlogValuePlan *plan)
{
	const char *name = plan->type->name;

	if (strcmp(name, "hstore") == 0)
	{
		eventlog_value_plan_hstore(plan);
		return true;
	}
	if (strcmp(name, "ltree") == 0)
		return plan_as(plan, EVENTLOG_CONNECT_STRING, "io.debezium.data.Ltree",
					   eventlog_value_write_text);
	if (strcmp(name, "citext") == 0 || strcmp(name, "isbn") == 0)
		return plan_as(plan, EVENTLOG_CONNECT_STRING, NULL, eventlog_value_write_text);
	return plan_unknown(plan);
}

static bool
plan_base(EventlogValuePlan *plan)
{
	switch (plan->type->oid)
	{
		case INT2OID:
			return plan_as(plan, EVENTLOG_CONNECT_INT16, NULL, eventlog_value_write_raw);
		case INT4OID:
			return plan_as(plan, EVENTLOG_CONNECT_INT32, NULL, eventlog_value_write_raw);
		case INT8OID:
		case OIDOID:
			return plan_as(plan, EVENTLOG_CONNECT_INT64, NULL, eventlog_value_write_raw);
		case BOOLOID:
			return plan_as(plan, EVENTLOG_CONNECT_BOOLEAN, NULL, write_bool);
		case FLOAT4OID:
			return plan_as(plan, EVENTLOG_CONNECT_FLOAT, NULL, eventlog_value_write_float);
		case FLOAT8OID:
			return plan_as(plan, EVENTLOG_CONNECT_DOUBLE, NULL, eventlog_value_write_float);
		case NUMERICOID:
			eventlog_value_plan_numeric(plan);
			return true;
		case MONEYOID:
			eventlog_value_plan_money(plan);
			return true;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case CHAROID:
		case NAMEOID:
			return plan_as(plan, EVENTLOG_CONNECT_STRING, NULL, eventlog_value_write_text);
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
			return plan_as(plan, EVENTLOG_CONNECT_STRING, NULL, write_quoted);
		case UUIDOID:
			return plan_as(plan, EVENTLOG_CONNECT_STRING, "io.debezium.data.Uuid", write_quoted);
		case JSONOID:
		case JSONBOID:
			return plan_as(plan, EVENTLOG_CONNECT_STRING, "io.debezium.data.Json",
						   eventlog_value_write_text);
		case XMLOID:
			return plan_as(plan, EVENTLOG_CONNECT_STRING, "io.debezium.data.Xml",
						   eventlog_value_write_text);
		case BYTEAOID:
			eventlog_value_plan_bytea(plan);
			return true;
		case BITOID:
		case VARBITOID:
			eventlog_value_plan_bits(plan);
			return true;
		case DATEOID:
			eventlog_value_plan_date(plan);
			return true;
		case TIMEOID:
			eventlog_value_plan_time(plan);
			return true;
		case TIMETZOID:
			return plan_as(plan, EVENTLOG_CONNECT_STRING, "io.debezium.time.ZonedTime",
						   eventlog_value_write_timetz);
		case TIMESTAMPOID:
			eventlog_value_plan_timestamp(plan);
			return true;
		case TIMESTAMPTZOID:
			eventlog_value_plan_timestamptz(plan);
			return true;
		case INTERVALOID:
			eventlog_value_plan_interval(plan);
			return true;
		case INT2VECTOROID:
			return plan_vector(plan, EVENTLOG_CONNECT_INT16);
		case OIDVECTOROID:
			return plan_vector(plan, EVENTLOG_CONNECT_INT64);
		case POINTOID:
			return plan_as(plan, EVENTLOG_CONNECT_STRUCT, "io.debezium.data.geometry.Point",
						   eventlog_value_write_point);
		default:
			return plan_by_name(plan);
	}
}

static bool
is_known_range(Oid oid)
{
	return oid == INT4RANGEOID || oid == INT8RANGEOID || oid == NUMRANGEOID ||
		oid == TSRANGEOID || oid == TSTZRANGEOID || oid == DATERANGEOID;
}

/* Fill in how values of a type are written; false: they are left out. */
bool
eventlog_value_plan_type(EventlogValuePlan *plan, const EventlogTypeDesc *type,
						 const EventlogValueModes *modes)
{
	check_stack_depth();
	plan->type = type;
	plan->modes = modes;
	plan->optional = true;

	switch (type->kind)
	{
		case EVENTLOG_TYPE_BASE:
			return plan_base(plan);
		case EVENTLOG_TYPE_ENUM:
			return plan_as(plan, EVENTLOG_CONNECT_STRING, "io.debezium.data.Enum",
						   eventlog_value_write_text);
		case EVENTLOG_TYPE_COMPOSITE:
			return plan_composite(plan);
		case EVENTLOG_TYPE_RANGE:
			if (is_known_range(type->oid))
				return plan_as(plan, EVENTLOG_CONNECT_STRING, NULL, eventlog_value_write_text);
			return plan_unknown(plan);
		case EVENTLOG_TYPE_MULTIRANGE:
			return plan_unknown(plan);
		case EVENTLOG_TYPE_ARRAY:
			return plan_array(plan);
	}
	elog(ERROR, "unexpected kind of type %d", type->kind);
	return false;
}

EventlogValuePlan *
eventlog_value_plan(const EventlogColumnDesc *column, const EventlogValueModes *modes)
{
	EventlogValuePlan *plan = palloc0_object(EventlogValuePlan);

	if (!eventlog_value_plan_type(plan, column->type, modes))
		return NULL;
	plan->optional = !column->not_null;
	eventlog_value_plan_absent(plan, column);
	return plan;
}

/* --- writing --- */

void
eventlog_value_write(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	plan->write(out, plan, text, len);
}

void
eventlog_value_write_null(EventlogBuf *out, const EventlogValuePlan *plan)
{
	eventlog_json_raw(out, plan->null.data, plan->null.len);
}

void
eventlog_value_write_unavailable(EventlogBuf *out, const EventlogValuePlan *plan)
{
	eventlog_json_raw(out, plan->unavailable.data, plan->unavailable.len);
}

void
eventlog_value_write_missing(EventlogBuf *out, const EventlogValuePlan *plan)
{
	eventlog_json_raw(out, plan->missing.data, plan->missing.len);
}
