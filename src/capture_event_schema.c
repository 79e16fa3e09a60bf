/*-------------------------------------------------------------------------
 *
 * capture_event_schema.c
 *	  The Connect schemas that JsonConverter puts around keys and values when
 *	  schemas are on.
 *
 * A schema is constant for a table as it is described, so it is rendered once,
 * up to and with the "payload" label; whoever writes a record closes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "capture_event.h"

#define STRING(field)	"{\"type\":\"string\",\"optional\":false,\"field\":\"" field "\"}"
#define LONG(field)		"{\"type\":\"int64\",\"optional\":false,\"field\":\"" field "\"}"
#define OPT_STRING(field) "{\"type\":\"string\",\"optional\":true,\"field\":\"" field "\"}"
#define OPT_LONG(field)	"{\"type\":\"int64\",\"optional\":true,\"field\":\"" field "\"}"
#define STRUCT(fields, optional, name, version) \
	"{\"type\":\"struct\",\"fields\":[" fields "],\"optional\":" optional ",\"name\":\"" name \
	"\",\"version\":" version
#define COMMON			"io.debezium.connector.common."
#define CONNECTOR		"io.debezium.connector.postgresql."

#define SNAPSHOT_SCHEMA \
	"{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\"version\":1," \
	"\"parameters\":{\"allowed\":\"true,first,first_in_data_collection," \
	"last_in_data_collection,last,false,incremental\"},\"default\":\"false\"," \
	"\"field\":\"snapshot\"}"

#define SOURCE_SCHEMA \
	STRUCT(STRING("version") "," STRING("connector") "," STRING("name") "," LONG("ts_ms") "," \
		   SNAPSHOT_SCHEMA "," STRING("db") "," OPT_STRING("sequence") "," OPT_LONG("ts_us") "," \
		   OPT_LONG("ts_ns") "," STRING("schema") "," STRING("table") "," OPT_LONG("txId") "," \
		   OPT_LONG("lsn") "," OPT_LONG("xmin"), "false", CONNECTOR "Source", "1") \
	",\"field\":\"source\"}"

#define BLOCK_SCHEMA \
	STRUCT(STRING("id") "," LONG("total_order") "," LONG("data_collection_order"), \
		   "true", "event.block", "1") ",\"field\":\"transaction\"}"

#define COLLECTION_SCHEMA \
	STRUCT(STRING("data_collection") "," LONG("event_count"), "true", "event.collection", "1") "}"

const char *const eventlog_event_schema_transaction_key =
	STRUCT(STRING("id"), "false", COMMON "TransactionMetadataKey", "1") "}";

const char *const eventlog_event_schema_transaction_value =
	STRUCT(STRING("status") "," STRING("id") "," OPT_LONG("event_count") ","
	   "{\"type\":\"array\",\"items\":" COLLECTION_SCHEMA
	   ",\"optional\":true,\"field\":\"data_collections\"}," LONG("ts_ms"),
	   "false", COMMON "TransactionMetadataValue", "1") "}";

const char *const eventlog_event_schema_heartbeat_key =
	STRUCT(STRING("serverName"), "false", COMMON "ServerNameKey", "1") "}";

const char *const eventlog_event_schema_heartbeat_value =
	STRUCT(LONG("ts_ms"), "false", COMMON "Heartbeat", "1") "}";

const char *const eventlog_event_schema_notification_key =
	STRUCT(STRING("id"), "false", COMMON "NotificationKey", "1") "}";

const char *const eventlog_event_schema_notification_value =
	STRUCT(STRING("id") "," STRING("type") "," STRING("aggregate_type") ","
	   "{\"type\":\"map\",\"keys\":{\"type\":\"string\",\"optional\":false},"
	   "\"values\":{\"type\":\"string\",\"optional\":false},"
	   "\"optional\":true,\"field\":\"additional_data\"}," LONG("timestamp"),
	   "false", COMMON "Notification", "1") "}";

const char *const eventlog_event_schema_message_key =
	STRUCT(OPT_STRING("prefix"), "false", CONNECTOR "MessageKey", "1") "}";

/* an envelope's fields after the rows */
#define ENVELOPE_TAIL \
	"," SOURCE_SCHEMA "," BLOCK_SCHEMA "," STRING("op") "," OPT_LONG("ts_ms") "," \
	OPT_LONG("ts_us") "," OPT_LONG("ts_ns") "],\"optional\":false"

#define MESSAGE_VALUE_SCHEMA(content) \
	STRUCT(STRING("op") "," OPT_LONG("ts_ms") "," SOURCE_SCHEMA "," BLOCK_SCHEMA "," \
		   STRUCT(OPT_STRING("prefix") "," content, "false", CONNECTOR "Message", "1") \
		   ",\"field\":\"message\"}", "false", CONNECTOR "MessageValue", "1") "}"

const char *
eventlog_event_schema_message_value(EventlogBinaryMode mode)
{
	return mode == EVENTLOG_BINARY_BYTES ?
		MESSAGE_VALUE_SCHEMA("{\"type\":\"bytes\",\"optional\":true,\"field\":\"content\"}") :
		MESSAGE_VALUE_SCHEMA(OPT_STRING("content"));
}

static void
write_name(EventlogBuf *out, const EventlogEncoder *encoder, const char *prefix,
		   const char *suffix)
{
	char	   *name = eventlog_adjust_name(encoder->ec->schema_names,
											psprintf("%s.%s", prefix, suffix), true);

	eventlog_json_literal(out, ",\"name\":");
	eventlog_json_string(out, name, (int32) strlen(name));
}

/* Where a text begins in what a buffer has from "start" on; NULL: nowhere. */
static char *
find_text(const EventlogBuf *out, size_t start, const char *text)
{
	size_t		len = strlen(text);

	for (size_t i = start; i + len <= out->len; i++)
	{
		if (memcmp(out->data + i, text, len) == 0)
			return out->data + i;
	}
	return NULL;
}

/*
 * The schema of a column that has a mask: Debezium's has a parameter that says
 * so, after those that the type has.  A mask makes strings of what is none.
 */
static void
write_masked_schema(EventlogBuf *out, const EventlogField *field, bool optional)
{
	size_t		start = out->len;
	char	   *parameters;
	char	   *at;
	char	   *rest;
	char	   *own;

	eventlog_value_write_schema(out, field->plan, field->name, false);
	if (field->mask_parameter == NULL)
		return;
	own = field->mask_parameter;
	if (field->mask_makes_text)
	{
		out->len = start;
		eventlog_json_literal(out, "{\"type\":\"string\",\"optional\":");
		if (optional)
			eventlog_json_literal(out, "true,\"field\":");
		else
			eventlog_json_literal(out, "false,\"field\":");
		eventlog_json_string(out, field->name, (int32) strlen(field->name));
		eventlog_json_literal(out, "}");
	}
	parameters = find_text(out, start, ",\"parameters\":{");
	at = find_text(out, parameters == NULL ? start : parameters - out->data, ",\"default\":");
	if (at == NULL)
		at = find_text(out, parameters == NULL ? start : parameters - out->data, ",\"field\":");
	if (at == NULL)
		return;
	rest = pnstrdup(at, out->data + out->len - at);
	out->len = at - out->data;
	if (parameters != NULL)
	{
		out->len--;				/* the brace */
		eventlog_json_literal(out, ",");
	}
	else
		eventlog_json_literal(out, ",\"parameters\":{");
	eventlog_json_raw(out, own, strlen(own));
	eventlog_json_literal(out, "}");
	eventlog_json_raw(out, rest, strlen(rest));
}

/* {"type":"struct","fields":[…] */
static void
write_struct(EventlogBuf *out, const EventlogRelationDesc *desc, const EventlogField *fields,
			 int nfields, bool in_key)
{
	eventlog_json_literal(out, "{\"type\":\"struct\",\"fields\":[");
	for (int i = 0; i < nfields; i++)
	{
		if (i > 0)
			eventlog_json_literal(out, ",");
		if (in_key)
			eventlog_value_write_schema(out, fields[i].plan, fields[i].name, true);
		else
			write_masked_schema(out, &fields[i], !desc->columns[fields[i].column].not_null);
	}
	eventlog_json_literal(out, "]");
}

/* "before" or "after" */
static void
write_row_schema(EventlogBuf *out, EventlogEncoder *encoder, EventlogEncoderTable *table,
				 const char *prefix, const char *field)
{
	write_struct(out, table->desc, table->fields, table->nfields, false);
	eventlog_json_literal(out, ",\"optional\":true");
	write_name(out, encoder, prefix, "Value");
	eventlog_json_literal(out, ",\"field\":\"");
	eventlog_json_raw(out, field, strlen(field));
	eventlog_json_literal(out, "\"}");
}

static EventlogText
as_text(const EventlogBuf *out)
{
	EventlogText text;

	text.data = pnstrdup(out->data, out->len);
	text.len = (int32) out->len;
	return text;
}

EventlogText
eventlog_event_schema_field(EventlogEncoder *encoder, const EventlogField *field)
{
	EventlogBuf *out = &encoder->scratch;
	EventlogText schema;
	size_t		end;

	out->len = 0;
	eventlog_json_string(out, field->name, (int32) strlen(field->name));
	end = out->len + strlen(",\"field\":") + 1;
	out->len = 0;
	eventlog_value_write_schema(out, field->plan, field->name, false);
	Assert(out->len > end);
	out->len -= end;
	eventlog_json_literal(out, "}");
	schema = as_text(out);
	return schema;
}

void
eventlog_event_schema_prepare(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	EventlogBuf *out = &encoder->scratch;
	char	   *record = psprintf("%s%s%s%s%s", encoder->prefix, encoder->ec->delimiter,
								  table->shown_schema, encoder->ec->delimiter,
								  table->shown_table);

	if ((encoder->ec->key_schemas || encoder->ec->header_schemas) && table->nkeys > 0)
	{
		out->len = 0;
		write_struct(out, table->desc, table->keys, table->nkeys, true);
		eventlog_json_literal(out, ",\"optional\":false");
		write_name(out, encoder, record, "Key");
		eventlog_json_literal(out, "}");
		table->key_schema = as_text(out);
		eventlog_convert_frame(encoder, table->key_schema, "", 0);
		table->key_head = as_text(&encoder->framed);
		table->key_head.len--;	/* the brace */
	}
	if (encoder->ec->value_schemas && encoder->config->format == EVENTLOG_FORMAT_FLAT)
	{
		out->len = 0;
		eventlog_json_literal(out, "{\"schema\":");
		write_struct(out, table->desc, table->fields, table->nfields, false);
		out->len--;				/* the bracket */
		eventlog_flat_schema(out, encoder->ec);
		eventlog_json_literal(out, "],\"optional\":false");
		write_name(out, encoder, record, "Value");
		eventlog_json_literal(out, "},\"payload\":");
		table->value_head = as_text(out);
	}
	if (encoder->ec->value_schemas && encoder->config->format == EVENTLOG_FORMAT_DEBEZIUM)
	{
		out->len = 0;
		eventlog_json_literal(out, "{\"schema\":{\"type\":\"struct\",\"fields\":[");
		write_row_schema(out, encoder, table, record, "before");
		eventlog_json_literal(out, ",");
		write_row_schema(out, encoder, table, record, "after");
		eventlog_json_literal(out, ENVELOPE_TAIL);
		write_name(out, encoder, table->topic->name, "Envelope");
		eventlog_json_literal(out, ",\"version\":2},\"payload\":");
		table->value_head = as_text(out);
	}
}
