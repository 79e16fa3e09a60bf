/*-------------------------------------------------------------------------
 *
 * capture_schema.c
 *	  Connect schemas of columns, as JsonConverter writes them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "capture_value_plan.h"

static const char *const type_names[] = {
	[EVENTLOG_CONNECT_INT16] = "int16",
	[EVENTLOG_CONNECT_INT32] = "int32",
	[EVENTLOG_CONNECT_INT64] = "int64",
	[EVENTLOG_CONNECT_FLOAT] = "float",
	[EVENTLOG_CONNECT_DOUBLE] = "double",
	[EVENTLOG_CONNECT_BOOLEAN] = "boolean",
	[EVENTLOG_CONNECT_STRING] = "string",
	[EVENTLOG_CONNECT_BYTES] = "bytes",
	[EVENTLOG_CONNECT_ARRAY] = "array",
	[EVENTLOG_CONNECT_MAP] = "map",
	[EVENTLOG_CONNECT_STRUCT] = "struct",
};

static void put_schema(EventlogBuf *out, const EventlogValuePlan *plan);

static void
put_string(EventlogBuf *out, const char *text)
{
	eventlog_json_string(out, text, strlen(text));
}

/* Fields of the structs that stand for single values, and of composites. */
static void
put_fields(EventlogBuf *out, const EventlogValuePlan *plan)
{
	if (plan->type->oid == NUMERICOID)
		eventlog_json_literal(out, ",\"fields\":["
							  "{\"type\":\"int32\",\"optional\":false,\"field\":\"scale\"},"
							  "{\"type\":\"bytes\",\"optional\":false,\"field\":\"value\"}]");
	else if (plan->type->oid == POINTOID)
		eventlog_json_literal(out, ",\"fields\":["
							  "{\"type\":\"double\",\"optional\":false,\"field\":\"x\"},"
							  "{\"type\":\"double\",\"optional\":false,\"field\":\"y\"},"
							  "{\"type\":\"bytes\",\"optional\":true,\"field\":\"wkb\"},"
							  "{\"type\":\"int32\",\"optional\":true,\"field\":\"srid\"}]");
	else
	{
		eventlog_json_literal(out, ",\"fields\":[");
		for (int i = 0; i < plan->nfields; i++)
		{
			if (i > 0)
				eventlog_json_literal(out, ",");
			put_schema(out, plan->fields[i]);
			eventlog_json_literal(out, ",\"field\":");
			put_string(out, plan->type->field_names[i]);
			eventlog_json_literal(out, "}");
		}
		eventlog_json_literal(out, "]");
	}
}

/* What the type is made of. */
static void
put_inside(EventlogBuf *out, const EventlogValuePlan *plan)
{
	switch (plan->connect)
	{
		case EVENTLOG_CONNECT_ARRAY:
			eventlog_json_literal(out, ",\"items\":");
			put_schema(out, plan->element);
			eventlog_json_literal(out, "}");
			break;
		case EVENTLOG_CONNECT_MAP:
			eventlog_json_literal(out, ",\"keys\":{\"type\":\"string\",\"optional\":false},"
								  "\"values\":{\"type\":\"string\",\"optional\":true}");
			break;
		case EVENTLOG_CONNECT_STRUCT:
			put_fields(out, plan);
			break;
		default:
			break;
	}
}

static void
put_int_parameter(EventlogBuf *out, const char *name, int value)
{
	put_string(out, name);
	eventlog_json_literal(out, ":\"");
	eventlog_json_int(out, value);
	eventlog_json_literal(out, "\"");
}

static void
put_parameters(EventlogBuf *out, const EventlogValuePlan *plan)
{
	const EventlogTypeDesc *type = plan->type;

	if (type->kind == EVENTLOG_TYPE_ENUM)
	{
		EventlogBuf labels = {0};

		for (int i = 0; i < type->nlabels; i++)
		{
			if (i > 0)
				eventlog_json_literal(&labels, ",");
			eventlog_json_raw(&labels, type->labels[i], strlen(type->labels[i]));
		}
		eventlog_json_literal(out, ",\"parameters\":{\"allowed\":");
		eventlog_json_string(out, labels.data, labels.len);
		eventlog_json_literal(out, "}");
		eventlog_buf_free(&labels);
	}
	else if (plan->connect != EVENTLOG_CONNECT_BYTES || plan->semantic == NULL)
		return;
	else if (type->oid == BITOID || type->oid == VARBITOID)
	{
		eventlog_json_literal(out, ",\"parameters\":{");
		put_int_parameter(out, "length", plan->precision);
		eventlog_json_literal(out, "}");
	}
	else
	{
		eventlog_json_literal(out, ",\"parameters\":{");
		put_int_parameter(out, "scale", plan->scale);
		if (type->oid == NUMERICOID)
		{
			eventlog_json_literal(out, ",");
			put_int_parameter(out, "connect.decimal.precision", plan->precision);
		}
		eventlog_json_literal(out, "}");
	}
}

/* A schema but for its closing brace. */
static void
put_schema(EventlogBuf *out, const EventlogValuePlan *plan)
{
	check_stack_depth();
	eventlog_json_literal(out, "{\"type\":");
	put_string(out, type_names[plan->connect]);
	put_inside(out, plan);
	if (plan->optional)
		eventlog_json_literal(out, ",\"optional\":true");
	else
		eventlog_json_literal(out, ",\"optional\":false");
	if (plan->semantic != NULL)
	{
		eventlog_json_literal(out, ",\"name\":");
		put_string(out, plan->semantic);
		eventlog_json_literal(out, ",\"version\":1");
	}
	if (plan->connect == EVENTLOG_CONNECT_STRUCT && plan->type->oid == NUMERICOID)
		eventlog_json_literal(out, ",\"doc\":\"Variable scaled decimal\"");
	else if (plan->type->oid == POINTOID && plan->connect == EVENTLOG_CONNECT_STRUCT)
		eventlog_json_literal(out, ",\"doc\":\"Geometry (POINT)\"");
	put_parameters(out, plan);
	if (plan->default_value.data != NULL)
	{
		eventlog_json_literal(out, ",\"default\":");
		eventlog_json_raw(out, plan->default_value.data, plan->default_value.len);
	}
}

void
eventlog_value_write_schema(EventlogBuf *out, const EventlogValuePlan *plan, const char *field,
							bool in_key)
{
	put_schema(out, plan);
	eventlog_json_literal(out, ",\"field\":");
	put_string(out, field);
	eventlog_json_literal(out, "}");
}
