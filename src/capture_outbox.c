/*-------------------------------------------------------------------------
 *
 * capture_outbox.c
 *	  The outbox: rows, or logical messages, that say themselves which topic,
 *	  key and payload they are for.
 *
 * A row is an event once: its insert (or its row in a snapshot) is routed, its
 * delete is nothing, for outboxes are emptied, and an update is a mistake that
 * table.op.invalid.behavior judges.  In default mode key, payload and headers
 * are the columns' text as it is; with a JSON converter, and so in compatible
 * mode, they are what it makes of them: JSON strings, mostly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "capture_event.h"

/* The columns of an outbox; those that a table does not have are NULL. */
typedef struct EventlogOutbox
{
	const char *missing;		/* name of a column that there has to be */
	bool		ignored;		/* the signal table is no outbox */
	bool		envelope;		/* some column is added to the value */
	EventlogField *id;
	EventlogField *key;
	EventlogField *payload;
	bool		payload_is_json;	/* of type json or jsonb */
	EventlogField *route;
	EventlogField *timestamp;
	EventlogField *version;
	bool		timestamp_has_zone;
	EventlogField **added;		/* as in outbox_added */
	EventlogText *labels;
} EventlogOutbox;

/* --- the columns --- */

/* The field of a column, or NULL if there is none of the name. */
static EventlogField *
find_column(EventlogEncoder *encoder, EventlogEncoderTable *table, EventlogOutbox *outbox,
			const char *name, bool required)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	const EventlogRelationDesc *desc = table->desc;
	EventlogField *field;

	for (int i = 0; name != NULL && i < desc->ncolumns; i++)
	{
		if (strcmp(desc->columns[i].name, name) != 0)
			continue;
		field = palloc(sizeof(EventlogField));
		if (!eventlog_event_make_field(encoder, table, i, field, true))
			continue;
		if (ec->key_schemas || ec->value_schemas || ec->header_schemas)
			field->schema = eventlog_event_schema_field(encoder, field);
		return field;
	}
	if (name != NULL && required && outbox->missing == NULL)
		outbox->missing = name;
	return NULL;
}

static void
prepare_added(EventlogEncoder *encoder, EventlogEncoderTable *table, EventlogOutbox *outbox)
{
	const EventlogEncoderConfig *ec = encoder->ec;

	outbox->added = palloc(sizeof(EventlogField *) * Max(ec->noutbox_added, 1));
	outbox->labels = palloc0(sizeof(EventlogText) * Max(ec->noutbox_added, 1));
	for (int i = 0; i < ec->noutbox_added; i++)
	{
		const EventlogAddedField *added = &ec->outbox_added[i];
		EventlogBuf *out = &encoder->scratch;

		outbox->added[i] = find_column(encoder, table, outbox, added->field,
									   ec->outbox_missing_is_error);
		if (outbox->added[i] == NULL)
			continue;
		if (added->place != EVENTLOG_PLACE_ENVELOPE)
			continue;
		outbox->envelope = true;
		out->len = 0;
		eventlog_json_literal(out, ",");
		eventlog_json_string(out, added->alias, (int32) strlen(added->alias));
		eventlog_json_literal(out, ":");
		outbox->labels[i].data = pnstrdup(out->data, out->len);
		outbox->labels[i].len = (int32) out->len;
	}
}

void
eventlog_outbox_prepare(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	EventlogOutbox *outbox = palloc0(sizeof(EventlogOutbox));
	const char *signal_table = encoder->config->signal_table;

	table->outbox = outbox;
	outbox->ignored = signal_table != NULL && strcmp(signal_table, table->full_name) == 0;
	if (outbox->ignored)
		return;
	outbox->id = find_column(encoder, table, outbox, ec->outbox_id, true);
	outbox->key = find_column(encoder, table, outbox, ec->outbox_key, true);
	outbox->payload = find_column(encoder, table, outbox, ec->outbox_payload, true);
	if (outbox->payload != NULL)
	{
		Oid			type = table->desc->columns[outbox->payload->column].type->oid;

		outbox->payload_is_json = type == JSONOID || type == JSONBOID;
	}
	outbox->route = find_column(encoder, table, outbox, ec->outbox_route, true);
	outbox->timestamp = find_column(encoder, table, outbox, ec->outbox_timestamp, true);
	outbox->version = find_column(encoder, table, outbox, ec->outbox_schema_version, true);
	if (outbox->timestamp != NULL)
	{
		Oid			type = table->desc->columns[outbox->timestamp->column].type->oid;

		outbox->timestamp_has_zone = type == TIMESTAMPTZOID;
		if (type != TIMESTAMPOID && type != TIMESTAMPTZOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of outbox \"%s\" is no timestamp",
							ec->outbox_timestamp, table->full_name),
					 errhint("See the property \"table.field.event.timestamp\".")));
	}
	prepare_added(encoder, table, outbox);
}

static void
check_columns(const EventlogEncoderTable *table)
{
	if (table->outbox->missing != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" is no outbox: it has no column \"%s\"",
						table->full_name, table->outbox->missing),
				 errhint("Leave the table out with table.include.list or of the publication, or name the columns with table.field.event.*.")));
}

/* --- values --- */

/* What Java's toString() says: the text as it is, where the server prints the same. */
static bool
is_plain_number(EventlogEncoder *encoder, const EventlogEncoderTable *table,
				const EventlogField *field)
{
	const EventlogTypeDesc *type = table->desc->columns[field->column].type;

	return encoder->config->values.decimal == EVENTLOG_DECIMAL_PRECISE &&
		type->oid == NUMERICOID && type->typmod >= 0;
}

/* A value as its converter writes it; it is not null. */
static void
write_converted(EventlogBuf *out, EventlogEncoder *encoder, const EventlogEncoderTable *table,
				EventlogConverter converter, const EventlogField *field,
				const EventlogColumnValue *value)
{
	EventlogBuf *json = &encoder->scratch;

	if (converter == EVENTLOG_CONVERTER_JSON)
		eventlog_event_write_value(out, field, value, 'N');
	else if (field->mask == NULL && is_plain_number(encoder, table, field))
		eventlog_json_raw(out, value->text, value->len);
	else
	{
		json->len = 0;
		eventlog_event_write_value(json, field, value, 'N');
		eventlog_convert_unquote(out, json->data, json->len);
	}
}

static void
add_header(EventlogEncoder *encoder, const EventlogEncoderTable *table, const char *name,
		   const EventlogField *field, const EventlogColumnValue *value)
{
	EventlogBuf *text = &encoder->other_key;

	text->len = 0;
	if (value->kind == 'n')
		eventlog_json_literal(text, "null");
	else
		write_converted(text, encoder, table, encoder->ec->header_converter, field, value);
	if (value->kind == 'n' || encoder->ec->header_converter == EVENTLOG_CONVERTER_JSON)
		eventlog_convert_add_json(encoder, name, field->schema, text->data, text->len);
	else
		eventlog_batch_add_header(&encoder->headers, name, (int32) strlen(name),
								  text->data, (int32) text->len);
}

/* --- routing --- */

/* The topic for a value of route.by.field. */
static EventlogCaptureTopic *
route(EventlogEncoder *encoder, const char *value, int32 len, bool plain)
{
	EventlogBuf *name = &encoder->other_key;

	name->len = 0;
	eventlog_route_apply(name, &encoder->ec->outbox_router, value, len);
	eventlog_json_raw(name, "", 1);

	if (encoder->config->compatible && !eventlog_topic_name_is_legal(name->data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("event of an outbox is for topic \"%s\", which is no legal name",
						name->data),
				 errdetail("Topic names are 1 to 249 of [a-zA-Z0-9._-].")));
	return eventlog_encoder_topic(encoder, name->data, plain);
}

static int64
event_time(EventlogEncoder *encoder, const EventlogOutbox *outbox, const EventlogColumnValue *row)
{
	const EventlogColumnValue *value;
	char	   *text;
	int64		micros;

	if (outbox->timestamp == NULL || row[outbox->timestamp->column].kind != 't')
		return eventlog_event_millis(encoder);
	value = &row[outbox->timestamp->column];
	text = pnstrdup(value->text, value->len);
	micros = outbox->timestamp_has_zone ?
		DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												ObjectIdGetDatum(InvalidOid),
												Int32GetDatum(-1))) :
		DatumGetTimestamp(DirectFunctionCall3(timestamp_in, CStringGetDatum(text),
											  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	pfree(text);
	if (TIMESTAMP_NOT_FINITE(micros))
		return eventlog_event_millis(encoder);
	micros += (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	return Max(micros / 1000, 0);
}

static int32
event_partition(const EventlogEncoder *encoder, const EventlogOutbox *outbox,
				const EventlogColumnValue *row)
{
	for (int i = 0; i < encoder->ec->noutbox_added; i++)
	{
		const EventlogColumnValue *value;
		char		digits[12];

		if (encoder->ec->outbox_added[i].place != EVENTLOG_PLACE_PARTITION ||
			outbox->added[i] == NULL)
			continue;
		value = &row[outbox->added[i]->column];
		if (value->kind != 't')
			continue;
		if (value->len == 0 || value->len >= (int32) sizeof(digits) ||
			strspn(value->text, "0123456789") < (size_t) value->len)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("partition \"%.*s\" of an event of an outbox is no number",
							value->len, value->text)));
		memcpy(digits, value->text, value->len);
		digits[value->len] = '\0';
		return pg_strtoint32(digits);
	}
	return -1;
}

/* Put what a buffer has within its schema. */
static void
frame(EventlogBuf *out, EventlogEncoder *encoder, EventlogText schema)
{
	eventlog_convert_frame(encoder, schema, out->data, out->len);
	out->len = 0;
	eventlog_json_raw(out, encoder->framed.data, encoder->framed.len);
}

/* One field of an envelope's schema. */
static void
add_field_schema(EventlogBuf *out, const EventlogField *field, const char *name)
{
	eventlog_json_raw(out, field->schema.data, field->schema.len - 1);
	eventlog_json_literal(out, ",\"field\":");
	eventlog_json_string(out, name, (int32) strlen(name));
	eventlog_json_literal(out, "}");
}

/* The schema of a value that is an envelope: named after the event's route. */
static EventlogText
envelope_schema(EventlogEncoder *encoder, const EventlogEncoderTable *table,
				const EventlogColumnValue *row)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	const EventlogOutbox *outbox = table->outbox;
	const EventlogColumnValue *type = &row[outbox->route->column];
	const EventlogColumnValue *version = outbox->version == NULL ? NULL :
		&row[outbox->version->column];
	EventlogBuf *out = &encoder->other_key;
	char	   *name;
	EventlogText schema;

	out->len = 0;
	eventlog_json_literal(out, "{\"type\":\"struct\",\"fields\":[");
	add_field_schema(out, outbox->payload, "payload");
	for (int i = 0; i < ec->noutbox_added; i++)
	{
		if (ec->outbox_added[i].place != EVENTLOG_PLACE_ENVELOPE || outbox->added[i] == NULL)
			continue;
		eventlog_json_literal(out, ",");
		add_field_schema(out, outbox->added[i], ec->outbox_added[i].alias);
	}
	name = psprintf("%s%s%s%s%s.%.*s.Value", encoder->prefix, ec->delimiter, table->shown_schema,
					ec->delimiter, table->shown_table, type->len, type->text);
	eventlog_json_literal(out, "],\"optional\":false,\"name\":");
	eventlog_json_string(out, name, (int32) strlen(name));
	pfree(name);
	if (version != NULL && version->kind == 't')
	{
		eventlog_json_literal(out, ",\"version\":");
		eventlog_json_raw(out, version->text, version->len);
	}
	eventlog_json_literal(out, "}");
	schema.data = out->data;
	schema.len = (int32) out->len;
	return schema;
}

/* The value's text is in encoder->value; false if the record has none. */
static bool
write_payload(EventlogEncoder *encoder, const EventlogEncoderTable *table,
			  const EventlogColumnValue *row)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	const EventlogOutbox *outbox = table->outbox;
	const EventlogColumnValue *payload = &row[outbox->payload->column];
	bool		json = ec->value_converter == EVENTLOG_CONVERTER_JSON || outbox->envelope;
	EventlogBuf *out = &encoder->value;
	bool		empty = payload->kind == 'n' ||
		(payload->kind == 't' && (int32) strspn(payload->text, " \t\r\n") >= payload->len);

	out->len = 0;
	if (empty && ec->outbox_tombstone)
		return false;
	if (payload->kind == 'n' && !json)
		return false;

	if (outbox->envelope)
		eventlog_json_literal(out, "{\"payload\":");
	if (payload->kind == 'n')
		eventlog_json_literal(out, "null");
	else if (!json || !ec->outbox_expand || payload->kind != 't' ||
			 !eventlog_outbox_expand(out, encoder, payload->text, payload->len,
									 outbox->payload_is_json))
		write_converted(out, encoder, table,
						json ? EVENTLOG_CONVERTER_JSON : EVENTLOG_CONVERTER_STRING,
						outbox->payload, payload);
	for (int i = 0; outbox->envelope && i < ec->noutbox_added; i++)
	{
		if (ec->outbox_added[i].place != EVENTLOG_PLACE_ENVELOPE || outbox->added[i] == NULL)
			continue;
		eventlog_json_text(out, outbox->labels[i]);
		eventlog_event_write_value(out, outbox->added[i], &row[outbox->added[i]->column], 'N');
	}
	if (outbox->envelope)
		eventlog_json_literal(out, "}");
	if (ec->value_schemas && outbox->envelope)
		frame(out, encoder, envelope_schema(encoder, table, row));
	else if (ec->value_schemas)
		frame(out, encoder, outbox->payload->schema);
	return true;
}

/* Route a row; the headers may begin with that of an old key. */
static void
route_row(EventlogEncoder *encoder, EventlogEncoderTable *table, const EventlogColumnValue *row,
		  int32 nheaders)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	const EventlogOutbox *outbox = table->outbox;
	const EventlogColumnValue *key = &row[outbox->key->column];
	bool		plain = ec->value_converter != EVENTLOG_CONVERTER_JSON && !outbox->envelope;
	EventlogCaptureTopic *topic;
	bool		has_value;

	nheaders += eventlog_event_context_headers(encoder);
	add_header(encoder, table, "id", outbox->id, &row[outbox->id->column]);
	nheaders++;
	for (int i = 0; i < ec->noutbox_added; i++)
	{
		if (ec->outbox_added[i].place != EVENTLOG_PLACE_HEADER || outbox->added[i] == NULL)
			continue;
		add_header(encoder, table, ec->outbox_added[i].alias, outbox->added[i],
				   &row[outbox->added[i]->column]);
		nheaders++;
	}

	if (row[outbox->route->column].kind != 't')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event of an outbox has no value in column \"%s\", which routes it",
						ec->outbox_route)));
	topic = route(encoder, row[outbox->route->column].text, row[outbox->route->column].len, plain);

	encoder->key.len = 0;
	if (key->kind != 'n')
		write_converted(&encoder->key, encoder, table, ec->key_converter, outbox->key, key);
	if (key->kind != 'n' && ec->key_schemas)
		frame(&encoder->key, encoder, outbox->key->schema);
	has_value = write_payload(encoder, table, row);
	eventlog_encoder_emit(encoder, topic, key->kind != 'n', has_value, nheaders,
						  event_time(encoder, outbox, row),
						  event_partition(encoder, outbox, row));
}

void
eventlog_outbox_row(EventlogEncoder *encoder, EventlogEncoderTable *table,
					const EventlogSource *source, const EventlogColumnValue *row)
{
	if (table->outbox->ignored)
		return;
	check_columns(table);
	eventlog_metadata_count(encoder, table, source);
	encoder->headers.len = 0;
	route_row(encoder, table, row, 0);
}

void
eventlog_outbox_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
					   const EventlogSource *source, char old_kind,
					   const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	if (table->outbox->ignored)
		return;
	check_columns(table);
	eventlog_metadata_count(encoder, table, source);

	/* with another key it is another event */
	if (eventlog_event_key_is_changed(encoder, table, old_kind, old, row))
	{
		eventlog_metadata_count(encoder, table, source);
		encoder->headers.len = 0;
		eventlog_convert_add_key(encoder, table, EVENTLOG_HEADER_OLD_KEY,
								 encoder->other_key.data, encoder->other_key.len);
		route_row(encoder, table, row, 1);
		return;
	}
	if (encoder->ec->outbox_invalid == EVENTLOG_INVALID_FATAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row of outbox \"%s\" was updated", table->full_name),
				 errhint("Events are only inserted; see the property \"table.op.invalid.behavior\".")));
	ereport(encoder->ec->outbox_invalid == EVENTLOG_INVALID_WARN ? WARNING : LOG,
			(errmsg("row of outbox \"%s\" was updated, which is no event", table->full_name)));
}

/* --- logical messages --- */

/* Keys and payloads of messages are texts. */
#define MESSAGE_SCHEMA	"{\"type\":\"string\",\"optional\":true}"

typedef struct Message
{
	JsonbValue *id;
	JsonbValue *key;
	JsonbValue *type;
	JsonbValue *payload;
	JsonbValue *headers;
} Message;

static void
message_error_context(void *arg)
{
	errcontext("logical message with prefix \"%s\"", (char *) arg);
}

/* Append a JSON value: a string's characters, else its JSON. */
static void
write_json_value(EventlogBuf *out, JsonbValue *value)
{
	Jsonb	   *jsonb;
	char	   *text;

	if (value->type == jbvString)
	{
		eventlog_json_raw(out, value->val.string.val, value->val.string.len);
		return;
	}
	jsonb = JsonbValueToJsonb(value);
	text = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	/* a scalar is stored as an array of one, but printed as itself */
	eventlog_json_raw(out, text, strlen(text));
}

static JsonbValue *
member(Jsonb *json, const char *name)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&json->root, name, (int) strlen(name), NULL);

	return value == NULL || value->type == jbvNull ? NULL : value;
}

static pg_noinline void
bad_message(const char *prefix, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("logical message with prefix \"%s\" is no event of an outbox", prefix),
			 errdetail("%s", detail),
			 errhint("Messages that are no events can be left out with message.prefix.include.list and message.prefix.exclude.list.")));
}

/* The text as JSON; the server's error says less than is wanted here. */
static Jsonb *
parse_json(const char *prefix, char *text)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *json = NULL;

	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		bad_message(prefix, psprintf("Its content is no JSON: %s.", error->message));
	}
	PG_END_TRY();
	return json;
}

static Jsonb *
parse_message(const char *prefix, const char *content, int32 len, Message *message)
{
	char	   *text = pnstrdup(content, len);
	Jsonb	   *json;

	if ((int32) strlen(text) != len || !pg_verify_mbstr(GetDatabaseEncoding(), text, len, true))
		bad_message(prefix, "Its content is no text.");
	json = parse_json(prefix, text);
	if (!JB_ROOT_IS_OBJECT(json))
		bad_message(prefix, "Its content is no JSON object.");
	message->id = member(json, "id");
	message->key = member(json, "key");
	if (message->key == NULL)
		message->key = member(json, "aggregateid");
	message->type = member(json, "type");
	message->payload = member(json, "payload");
	message->headers = member(json, "headers");
	if (message->headers != NULL && (message->headers->type != jbvBinary ||
									 !JsonContainerIsObject(message->headers->val.binary.data)))
		bad_message(prefix, "Its \"headers\" are no JSON object.");
	return json;
}

static void
add_message_header(EventlogEncoder *encoder, const char *name, JsonbValue *value)
{
	EventlogBuf *text = &encoder->other_key;

	text->len = 0;
	if (value->type != jbvNull)
		write_json_value(text, value);
	eventlog_convert_add_text(encoder, name, text->data,
								   value->type == jbvNull ? -1 : (int32) text->len);
}

static int32
add_message_headers(EventlogEncoder *encoder, const EventlogSource *source,
					const Message *message)
{
	int32		n = eventlog_event_context_headers(encoder);
	char		lsn[24];

	if (message->id != NULL)
		add_message_header(encoder, "id", message->id);
	else
		eventlog_convert_add_text(encoder, "id", lsn,
									   pg_lltoa((int64) source->lsn, lsn));
	n++;
	if (message->type != NULL)
	{
		add_message_header(encoder, "type", message->type);
		n++;
	}
	if (message->headers != NULL)
	{
		JsonbIterator *it = JsonbIteratorInit(message->headers->val.binary.data);
		JsonbIteratorToken token;
		JsonbValue	value;
		char	   *name = NULL;

		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				name = pnstrdup(value.val.string.val, value.val.string.len);
			else if (token == WJB_VALUE)
			{
				add_message_header(encoder, name, &value);
				n++;
			}
		}
	}
	return n;
}

/* As text, or as what a JSON converter makes of the text. */
static void
write_message_text(EventlogBuf *out, EventlogEncoder *encoder, EventlogConverter converter,
				   bool schemas, bool expand, JsonbValue *value)
{
	EventlogText schema = {MESSAGE_SCHEMA, sizeof(MESSAGE_SCHEMA) - 1};
	EventlogBuf *text = &encoder->other_key;

	text->len = 0;
	write_json_value(text, value);
	if (converter != EVENTLOG_CONVERTER_JSON || (expand && value->type != jbvString))
		eventlog_json_raw(out, text->data, text->len);
	else
		eventlog_json_string(out, text->data, (int32) text->len);
	if (schemas)
		frame(out, encoder, schema);
}

void
eventlog_outbox_message(EventlogEncoder *encoder, const EventlogSource *source,
						const char *prefix, const char *content, int32 len)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	ErrorContextCallback callback;
	Message		message;
	Jsonb	   *json;
	EventlogCaptureTopic *topic;
	int32		nheaders;

	callback.callback = message_error_context;
	callback.arg = unconstify(char *, prefix);
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	json = parse_message(prefix, content, len, &message);
	encoder->headers.len = 0;
	nheaders = add_message_headers(encoder, source, &message);
	encoder->key.len = 0;
	if (message.key != NULL)
		write_message_text(&encoder->key, encoder, ec->key_converter, ec->key_schemas, false,
						   message.key);
	encoder->value.len = 0;
	if (message.payload != NULL)
		write_message_text(&encoder->value, encoder, ec->value_converter, ec->value_schemas,
						   ec->outbox_expand, message.payload);
	topic = route(encoder, prefix, (int32) strlen(prefix), ec->value_converter != EVENTLOG_CONVERTER_JSON);
	eventlog_encoder_emit(encoder, topic, message.key != NULL, message.payload != NULL, nheaders,
						  eventlog_event_millis(encoder), -1);
	pfree(json);
	error_context_stack = callback.previous;
}
