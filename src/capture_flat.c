/*-------------------------------------------------------------------------
 *
 * capture_flat.c
 *	  The unwrapped row, with what the envelope said in headers and fields: as
 *	  Debezium's ExtractNewRecordState makes of its events.
 *
 * A delete is a tombstone, or (delete.tombstone.handling.mode) nothing, or the
 * old row with "__deleted".  Truncates have no flat form and are left out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"

#include "capture_event.h"

/* What can be added to a record, and where the envelope has it. */
typedef enum FlatField
{
	FLAT_OP,
	FLAT_TS_MS,
	FLAT_TS_US,
	FLAT_TS_NS,
	FLAT_SOURCE_VERSION,
	FLAT_SOURCE_CONNECTOR,
	FLAT_SOURCE_NAME,
	FLAT_SOURCE_TS_MS,
	FLAT_SOURCE_SNAPSHOT,
	FLAT_SOURCE_DB,
	FLAT_SOURCE_SEQUENCE,
	FLAT_SOURCE_TS_US,
	FLAT_SOURCE_TS_NS,
	FLAT_SOURCE_SCHEMA,
	FLAT_SOURCE_TABLE,
	FLAT_SOURCE_TXID,
	FLAT_SOURCE_LSN,
	FLAT_SOURCE_XMIN,
	FLAT_TRANSACTION_ID,
	FLAT_TRANSACTION_ORDER,
	FLAT_TRANSACTION_TABLE_ORDER
} FlatField;

/* The names; those that are not of the envelope itself go without "source.", too. */
static const struct
{
	const char *name;
	bool		is_text;
}			flat_fields[] = {
	[FLAT_OP] = {"op", true},
	[FLAT_TS_MS] = {"ts_ms", false},
	[FLAT_TS_US] = {"ts_us", false},
	[FLAT_TS_NS] = {"ts_ns", false},
	[FLAT_SOURCE_VERSION] = {"source.version", true},
	[FLAT_SOURCE_CONNECTOR] = {"source.connector", true},
	[FLAT_SOURCE_NAME] = {"source.name", true},
	[FLAT_SOURCE_TS_MS] = {"source.ts_ms", false},
	[FLAT_SOURCE_SNAPSHOT] = {"source.snapshot", true},
	[FLAT_SOURCE_DB] = {"source.db", true},
	[FLAT_SOURCE_SEQUENCE] = {"source.sequence", true},
	[FLAT_SOURCE_TS_US] = {"source.ts_us", false},
	[FLAT_SOURCE_TS_NS] = {"source.ts_ns", false},
	[FLAT_SOURCE_SCHEMA] = {"source.schema", true},
	[FLAT_SOURCE_TABLE] = {"source.table", true},
	[FLAT_SOURCE_TXID] = {"source.txId", false},
	[FLAT_SOURCE_LSN] = {"source.lsn", false},
	[FLAT_SOURCE_XMIN] = {"source.xmin", false},
	[FLAT_TRANSACTION_ID] = {"transaction.id", true},
	[FLAT_TRANSACTION_ORDER] = {"transaction.total_order", false},
	[FLAT_TRANSACTION_TABLE_ORDER] = {"transaction.data_collection_order", false},
};

#define TEXT_SCHEMA		"{\"type\":\"string\",\"optional\":true}"
#define NUMBER_SCHEMA	"{\"type\":\"int64\",\"optional\":true}"
#define DELETED_FIELD	"\"__deleted\":"

int
eventlog_flat_field(const char *name)
{
	for (int i = 0; i < (int) lengthof(flat_fields); i++)
	{
		const char *dot = strchr(flat_fields[i].name, '.');

		if (strcmp(flat_fields[i].name, name) == 0 ||
			(dot != NULL && strcmp(dot + 1, name) == 0))
			return i;
	}
	return -1;
}

/* --- what is added --- */

static void
write_text(EventlogBuf *out, const char *text)
{
	eventlog_json_string(out, text, (int32) strlen(text));
}

static void
write_number(EventlogBuf *out, bool known, int64 number)
{
	if (known)
		eventlog_json_int(out, number);
	else
		eventlog_json_literal(out, "null");
}

static void
write_sequence(EventlogBuf *out, const EventlogSource *source)
{
	char		text[64];

	if (source->last_commit_lsn == InvalidXLogRecPtr)
		snprintf(text, sizeof(text), "[null,\"" UINT64_FORMAT "\"]", source->lsn);
	else
		snprintf(text, sizeof(text), "[\"" UINT64_FORMAT "\",\"" UINT64_FORMAT "\"]",
				 source->last_commit_lsn, source->lsn);
	write_text(out, text);
}

/* A field of the envelope that there would be, as JSON. */
static void
write_field(EventlogBuf *out, EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
			const EventlogSource *source, FlatField what)
{
	int64		now = eventlog_event_nanos(encoder);
	int64		time = source->time + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	bool		streamed = source->marker != EVENTLOG_MARKER_INCREMENTAL;
	bool		counted = encoder->transaction != 0 && table->transaction == encoder->transaction &&
		source->marker == EVENTLOG_MARKER_FALSE;
	char		text[64];

	switch (what)
	{
		case FLAT_OP:
			eventlog_json_string(out, &op, 1);
			break;
		case FLAT_TS_MS:
			eventlog_json_int(out, now / 1000000);
			break;
		case FLAT_TS_US:
			eventlog_json_int(out, now / 1000);
			break;
		case FLAT_TS_NS:
			eventlog_json_int(out, now);
			break;
		case FLAT_SOURCE_VERSION:
			write_text(out, EVENTLOG_DEBEZIUM_VERSION);
			break;
		case FLAT_SOURCE_CONNECTOR:
			write_text(out, "postgresql");
			break;
		case FLAT_SOURCE_NAME:
			write_text(out, encoder->prefix);
			break;
		case FLAT_SOURCE_TS_MS:
			eventlog_json_int(out, time / 1000);
			break;
		case FLAT_SOURCE_SNAPSHOT:
			/* "false" is a default, which does not come along to the new field */
			if (encoder->config->compatible && source->marker == EVENTLOG_MARKER_FALSE)
				eventlog_json_literal(out, "null");
			else
				write_text(out, eventlog_event_marker(source->marker));
			break;
		case FLAT_SOURCE_DB:
			write_text(out, encoder->database);
			break;
		case FLAT_SOURCE_SEQUENCE:
			write_sequence(out, source);
			break;
		case FLAT_SOURCE_TS_US:
			eventlog_json_int(out, time);
			break;
		case FLAT_SOURCE_TS_NS:
			eventlog_json_int(out, time);
			eventlog_json_literal(out, "000");
			break;
		case FLAT_SOURCE_SCHEMA:
			write_text(out, table->shown_schema);
			break;
		case FLAT_SOURCE_TABLE:
			write_text(out, table->shown_table);
			break;
		case FLAT_SOURCE_TXID:
			write_number(out, TransactionIdIsValid(source->xid) && streamed, source->xid);
			break;
		case FLAT_SOURCE_LSN:
			write_number(out, source->lsn != InvalidXLogRecPtr && streamed, (int64) source->lsn);
			break;
		case FLAT_SOURCE_XMIN:
			write_number(out, TransactionIdIsValid(source->xmin), source->xmin);
			break;
		case FLAT_TRANSACTION_ID:
			snprintf(text, sizeof(text), "%u:" UINT64_FORMAT, source->xid, source->lsn);
			if (counted)
				write_text(out, text);
			else
				eventlog_json_literal(out, "null");
			break;
		case FLAT_TRANSACTION_ORDER:
			write_number(out, counted, encoder->events);
			break;
		case FLAT_TRANSACTION_TABLE_ORDER:
			write_number(out, counted,
						 counted ? encoder->collections[table->collection].count : 0);
			break;
	}
}

/*
 * All headers: the other key, the context, and what add.headers says.  Debezium
 * has no more than the operation for the tombstone after a delete.
 */
static int32
write_headers(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
			  const EventlogSource *source, const char *key_header, bool tombstone)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	EventlogText text_schema = {TEXT_SCHEMA, sizeof(TEXT_SCHEMA) - 1};
	EventlogText number_schema = {NUMBER_SCHEMA, sizeof(NUMBER_SCHEMA) - 1};
	EventlogText schema;
	EventlogBuf *json = &encoder->source_field;
	int32		n = 0;

	encoder->headers.len = 0;
	if (key_header != NULL)
	{
		eventlog_convert_add_key(encoder, table, key_header, encoder->other_key.data,
								 encoder->other_key.len);
		n++;
	}
	n += eventlog_event_context_headers(encoder);
	for (int i = 0; i < ec->nflat_headers; i++)
	{
		if (tombstone && encoder->config->compatible && ec->flat_headers[i].what != FLAT_OP)
			continue;
		json->len = 0;
		write_field(json, encoder, table, op, source, ec->flat_headers[i].what);
		schema = flat_fields[ec->flat_headers[i].what].is_text ? text_schema : number_schema;
		eventlog_convert_add_json(encoder, ec->flat_headers[i].alias, schema, json->data,
								  json->len);
		n++;
	}
	return n;
}

/* --- records --- */

static bool
rewrites(const EventlogEncoder *encoder)
{
	return encoder->ec->flat_delete == EVENTLOG_FLAT_DELETE_REWRITE ||
		encoder->ec->flat_delete == EVENTLOG_FLAT_DELETE_REWRITE_TOMBSTONE;
}

/* The row with what is added to it, into encoder->value. */
static void
write_value(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
			const EventlogSource *source, const EventlogColumnValue *row, char kind,
			const EventlogColumnValue *other)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	EventlogBuf *out = &encoder->value;
	bool		first = table->nfields == 0;

	out->len = 0;
	eventlog_json_text(out, table->value_head);
	eventlog_event_write_fields(out, table, row, kind, other);
	out->len--;					/* the brace */
	if (rewrites(encoder))
	{
		eventlog_json_raw(out, ",", first ? 0 : 1);
		eventlog_json_literal(out, DELETED_FIELD);
		write_text(out, op == 'd' ? "true" : "false");
		first = false;
	}
	for (int i = 0; i < ec->nflat_fields; i++)
	{
		eventlog_json_raw(out, ",", first ? 0 : 1);
		write_text(out, ec->flat_fields[i].alias);
		eventlog_json_literal(out, ":");
		write_field(out, encoder, table, op, source, ec->flat_fields[i].what);
		first = false;
	}
	eventlog_json_literal(out, "}");
	if (table->value_head.len > 0)
		eventlog_json_literal(out, "}");
}

/* The topic: the table's, or what a column says. */
static EventlogCaptureTopic *
route(EventlogEncoder *encoder, EventlogEncoderTable *table, const EventlogColumnValue *row)
{
	const char *column = encoder->ec->flat_route_field;

	for (int i = 0; column != NULL && i < table->desc->ncolumns; i++)
	{
		char		name[250];

		if (strcmp(table->desc->columns[i].name, column) != 0)
			continue;
		if (row[i].kind != 't' || row[i].len == 0)
			break;
		snprintf(name, sizeof(name), "%.*s", row[i].len, row[i].text);
		return eventlog_encoder_topic(encoder, name, false);
	}
	return table->topic;
}

static void
emit(EventlogEncoder *encoder, EventlogEncoderTable *table, const EventlogColumnValue *row,
	 char kind, bool has_value, int32 nheaders)
{
	encoder->key.len = 0;
	if (table->nkeys > 0)
		eventlog_event_write_key(&encoder->key, encoder, table, row, kind, true);
	eventlog_encoder_emit(encoder, route(encoder, table, row), table->nkeys > 0, has_value,
						  nheaders, eventlog_event_millis(encoder), -1);
}

static void
emit_row(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
		 const EventlogSource *source, const EventlogColumnValue *row,
		 const EventlogColumnValue *other, const char *key_header)
{
	int32		nheaders;

	eventlog_metadata_count(encoder, table, source);
	write_value(encoder, table, op, source, row, 'N', other);
	nheaders = write_headers(encoder, table, op, source, key_header, false);
	emit(encoder, table, row, 'N', true, nheaders);
}

static void
emit_delete(EventlogEncoder *encoder, EventlogEncoderTable *table, const EventlogSource *source,
			char old_kind, const EventlogColumnValue *old, const char *key_header)
{
	EventlogFlatDelete mode = encoder->ec->flat_delete;
	int32		nheaders;

	eventlog_metadata_count(encoder, table, source);
	if (mode == EVENTLOG_FLAT_DELETE_DROP)
		return;
	nheaders = write_headers(encoder, table, 'd', source, key_header, false);
	if (mode == EVENTLOG_FLAT_DELETE_TOMBSTONE)
	{
		emit(encoder, table, old, old_kind, false, nheaders);
		return;
	}
	write_value(encoder, table, 'd', source, old, old_kind, NULL);
	emit(encoder, table, old, old_kind, true, nheaders);
	if (mode == EVENTLOG_FLAT_DELETE_REWRITE_TOMBSTONE && encoder->ec->tombstones)
	{
		nheaders = write_headers(encoder, table, 'd', source, key_header, true);
		emit(encoder, table, old, old_kind, false, nheaders);
	}
}

void
eventlog_flat_row(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
				  const EventlogSource *source, const EventlogColumnValue *row)
{
	emit_row(encoder, table, op, source, row, NULL, NULL);
}

/* The key of a row without schema, for the header of the other record. */
static void
set_other_key(EventlogEncoder *encoder, EventlogEncoderTable *table,
			  const EventlogColumnValue *row, char kind)
{
	encoder->other_key.len = 0;
	eventlog_event_write_key(&encoder->other_key, encoder, table, row, kind, false);
}

void
eventlog_flat_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
					 const EventlogSource *source, char old_kind,
					 const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	const EventlogCaptureConfig *config = encoder->config;

	if (old_kind == 0)
		old = NULL;
	if (encoder->ec->skip_unchanged && old_kind == 'O' &&
		eventlog_event_is_unchanged(table, old, row))
		return;
	if (!eventlog_event_key_is_changed(encoder, table, old_kind, old, row))
	{
		if (!config->skip_update)
			emit_row(encoder, table, 'u', source, row, old, NULL);
		return;
	}
	if (!config->skip_delete)
	{
		set_other_key(encoder, table, row, 'N');
		emit_delete(encoder, table, source, old_kind, old, EVENTLOG_HEADER_NEW_KEY);
	}
	if (!config->skip_create)
	{
		set_other_key(encoder, table, old, old_kind);
		emit_row(encoder, table, 'c', source, row, old, EVENTLOG_HEADER_OLD_KEY);
	}
}

void
eventlog_flat_delete(EventlogEncoder *encoder, EventlogEncoderTable *table,
					 const EventlogSource *source, char old_kind,
					 const EventlogColumnValue *old)
{
	emit_delete(encoder, table, source, old_kind, old, NULL);
}

/* --- the schema --- */

void
eventlog_flat_schema(EventlogBuf *out, const EventlogEncoderConfig *ec)
{
	if (ec->flat_delete == EVENTLOG_FLAT_DELETE_REWRITE ||
		ec->flat_delete == EVENTLOG_FLAT_DELETE_REWRITE_TOMBSTONE)
		eventlog_json_literal(out, ",{\"type\":\"string\",\"optional\":true,"
							  "\"field\":\"__deleted\"}");
	for (int i = 0; i < ec->nflat_fields; i++)
	{
		if (flat_fields[ec->flat_fields[i].what].is_text)
			eventlog_json_literal(out, ",{\"type\":\"string\",\"optional\":true,\"field\":");
		else
			eventlog_json_literal(out, ",{\"type\":\"int64\",\"optional\":true,\"field\":");
		write_text(out, ec->flat_fields[i].alias);
		eventlog_json_literal(out, "}");
	}
}
