/*-------------------------------------------------------------------------
 *
 * capture_event.c
 *	  Debezium's change events: envelope, source block, key, headers.
 *
 * What does not change is rendered once: for each table the labels of its
 * columns, the names in its source block and its schemas; for each transaction
 * the part of the source block that says when and after what it was committed.
 * A row then costs its values, an LSN and the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/builtins.h"

#include "capture_event.h"

static const char *const marker_names[] = {
	[EVENTLOG_MARKER_FALSE] = "false",
	[EVENTLOG_MARKER_TRUE] = "true",
	[EVENTLOG_MARKER_FIRST] = "first",
	[EVENTLOG_MARKER_FIRST_IN_TABLE] = "first_in_data_collection",
	[EVENTLOG_MARKER_LAST_IN_TABLE] = "last_in_data_collection",
	[EVENTLOG_MARKER_LAST] = "last",
	[EVENTLOG_MARKER_INCREMENTAL] = "incremental",
};

/* The bytes of a buffer as a text of the current context. */
static EventlogText
keep(const EventlogBuf *buf)
{
	EventlogText text;

	text.data = pnstrdup(buf->data, buf->len);
	text.len = (int32) buf->len;
	return text;
}

/* --- headers --- */

int32
eventlog_event_context_headers(EventlogEncoder *encoder)
{
	eventlog_json_raw(&encoder->headers, encoder->context_headers.data,
					  encoder->context_headers.len);
	return encoder->ncontext_headers;
}

/* Render the headers that every event has. */
static void
init_context_headers(EventlogEncoder *encoder)
{
	EventlogBuf *headers = &encoder->headers;

	if (!encoder->ec->context_headers)
		return;
	headers->len = 0;
	eventlog_convert_add_text(encoder, "__debezium.context.connectorLogicalName",
								   encoder->prefix, (int32) strlen(encoder->prefix));
	eventlog_convert_add_text(encoder, "__debezium.context.taskId", "0", 1);
	eventlog_convert_add_text(encoder, "__debezium.context.connectorName", "postgresql", 10);
	eventlog_json_raw(&encoder->context_headers, headers->data, headers->len);
	encoder->ncontext_headers = 3;
}

/* The headers of a row's event: the other key, if that has changed, and the context. */
static int32
write_headers(EventlogEncoder *encoder, const EventlogEncoderTable *table, const char *name,
			  const char *key, size_t len)
{
	encoder->headers.len = 0;
	if (name != NULL)
		eventlog_convert_add_key(encoder, table, name, key, len);
	return eventlog_event_context_headers(encoder) + (name != NULL ? 1 : 0);
}

/* --- the source block --- */

const char *
eventlog_event_marker(EventlogSnapshotMarker marker)
{
	return marker_names[marker];
}

void
eventlog_event_init(EventlogEncoder *encoder)
{
	EventlogBuf *out = &encoder->scratch;

	init_context_headers(encoder);

	out->len = 0;
	eventlog_json_literal(out, "\"source\":{\"version\":\"" EVENTLOG_DEBEZIUM_VERSION
						  "\",\"connector\":\"postgresql\",\"name\":");
	eventlog_json_string(out, encoder->prefix, (int32) strlen(encoder->prefix));
	eventlog_json_literal(out, ",\"ts_ms\":");
	encoder->source_start = keep(out);

	out->len = 0;
	eventlog_json_literal(out, ",\"db\":");
	eventlog_json_string(out, encoder->database, (int32) strlen(encoder->database));
	eventlog_json_literal(out, ",\"sequence\":\"[");
	encoder->source_middle = keep(out);
}

/*
 * Debezium leaves the marker of a streamed change null, and has "false" as the
 * default that takes its place.
 */
static void
write_marker(EventlogBuf *out, const EventlogEncoder *encoder, EventlogSnapshotMarker marker)
{
	const EventlogValueModes *modes = &encoder->config->values;

	if (marker == EVENTLOG_MARKER_FALSE && modes->compatible && !modes->null_is_default)
		eventlog_json_literal(out, "null");
	else
		eventlog_json_string(out, marker_names[marker], (int32) strlen(marker_names[marker]));
}

/* Render what depends on the transaction only. */
static void
render_source(EventlogEncoder *encoder, const EventlogSource *source)
{
	EventlogBuf *head = &encoder->source_head;
	EventlogBuf *times = &encoder->source_times;
	int64		micros = source->time +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	encoder->source_valid = false;
	head->len = 0;
	eventlog_json_text(head, encoder->source_start);
	eventlog_json_int(head, micros / 1000);
	eventlog_json_literal(head, ",\"snapshot\":");
	write_marker(head, encoder, source->marker);
	eventlog_json_text(head, encoder->source_middle);
	if (source->last_commit_lsn == InvalidXLogRecPtr)
		eventlog_json_literal(head, "null,");
	else
	{
		eventlog_json_literal(head, "\\\"");
		eventlog_json_int(head, (int64) source->last_commit_lsn);
		eventlog_json_literal(head, "\\\",");
	}

	times->len = 0;
	eventlog_json_literal(times, "]\",\"ts_us\":");
	eventlog_json_int(times, micros);
	eventlog_json_literal(times, ",\"ts_ns\":");
	eventlog_json_int(times, micros);
	eventlog_json_literal(times, "000,");

	encoder->source_of = *source;
	encoder->source_valid = true;
}

void
eventlog_event_write_source(EventlogBuf *out, EventlogEncoder *encoder,
							const EventlogText *table, const EventlogSource *source)
{
	/* an incremental snapshot's rows have a place in the sequence, but none in the WAL */
	bool		incremental = source->marker == EVENTLOG_MARKER_INCREMENTAL;
	char		lsn[24];
	int			lsn_len = 0;

	if (!encoder->source_valid || encoder->source_of.time != source->time ||
		encoder->source_of.last_commit_lsn != source->last_commit_lsn ||
		encoder->source_of.marker != source->marker)
		render_source(encoder, source);

	eventlog_json_raw(out, encoder->source_head.data, encoder->source_head.len);
	if (source->lsn == InvalidXLogRecPtr)
		eventlog_json_literal(out, "null");
	else
	{
		lsn_len = pg_lltoa((int64) source->lsn, lsn);
		eventlog_json_literal(out, "\\\"");
		eventlog_json_raw(out, lsn, lsn_len);
		eventlog_json_literal(out, "\\\"");
	}
	eventlog_json_raw(out, encoder->source_times.data, encoder->source_times.len);
	eventlog_json_text(out, *table);
	if (!TransactionIdIsValid(source->xid) || incremental)
		eventlog_json_literal(out, "null,\"lsn\":");
	else
	{
		eventlog_json_int(out, source->xid);
		eventlog_json_literal(out, ",\"lsn\":");
	}
	if (lsn_len == 0 || incremental)
		eventlog_json_literal(out, "null");
	else
		eventlog_json_raw(out, lsn, lsn_len);
	if (!TransactionIdIsValid(source->xmin))
		eventlog_json_literal(out, ",\"xmin\":null}");
	else
	{
		eventlog_json_literal(out, ",\"xmin\":");
		eventlog_json_int(out, source->xmin);
		eventlog_json_literal(out, "}");
	}
}

/* --- rows --- */

/* A value; kind is 'N' or 'O' of whole rows, 'K' of a replica identity alone. */
void
eventlog_event_write_value(EventlogBuf *out, const EventlogField *field,
						   const EventlogColumnValue *value, char kind)
{
	if (unlikely(field->mask != NULL))
		eventlog_mask_write(out, field, value, kind);
	else if (likely(value->kind == 't'))
		eventlog_value_write(out, field->plan, value->text, value->len);
	else if (value->kind == 'u')
		eventlog_value_write_unavailable(out, field->plan);
	else if (kind == 'K')
		eventlog_value_write_missing(out, field->plan);
	else
		eventlog_value_write_null(out, field->plan);
}

/*
 * A row's object.  Values that are unchanged and thus not there are taken from
 * the other row, if that has them.
 */
static void
write_row(EventlogBuf *out, const EventlogField *fields, int nfields,
		  const EventlogColumnValue *row, char kind, const EventlogColumnValue *other)
{
	eventlog_json_literal(out, "{");
	for (int i = 0; i < nfields; i++)
	{
		const EventlogField *field = &fields[i];
		const EventlogColumnValue *value = &row[field->column];

		if (unlikely(value->kind == 'u' && other != NULL && other[field->column].kind == 't'))
			value = &other[field->column];
		eventlog_json_text(out, field->label);
		eventlog_event_write_value(out, field, value, kind);
	}
	eventlog_json_literal(out, "}");
}

void
eventlog_event_write_fields(EventlogBuf *out, const EventlogEncoderTable *table,
							const EventlogColumnValue *row, char kind,
							const EventlogColumnValue *other)
{
	write_row(out, table->fields, table->nfields, row, kind, other);
}

void
eventlog_event_write_row_key(EventlogBuf *out, const EventlogEncoderTable *table,
							 const EventlogColumnValue *row)
{
	write_row(out, table->row_keys, table->nrow_keys, row, 'N', NULL);
}

void
eventlog_event_write_key(EventlogBuf *out, EventlogEncoder *encoder, EventlogEncoderTable *table,
						 const EventlogColumnValue *row, char kind, bool schema)
{
	schema = schema && encoder->ec->key_schemas;
	if (schema)
		eventlog_json_text(out, table->key_head);
	write_row(out, table->keys, table->nkeys, row, kind, NULL);
	if (schema)
		eventlog_json_literal(out, "}");
}

/* --- envelopes --- */

/* The time of encoding in all three units. */
static void
write_clock(EventlogBuf *out, EventlogEncoder *encoder)
{
	char		nanos[24];
	int			len = pg_lltoa(eventlog_event_nanos(encoder), nanos);

	eventlog_json_literal(out, "\",\"ts_ms\":");
	eventlog_json_raw(out, nanos, Max(len - 6, 1));
	eventlog_json_literal(out, ",\"ts_us\":");
	eventlog_json_raw(out, nanos, Max(len - 3, 1));
	eventlog_json_literal(out, ",\"ts_ns\":");
	eventlog_json_raw(out, nanos, len);
	eventlog_json_literal(out, "}");
}

/*
 * An envelope.  old is written as "before" if there is an old_kind, and lends
 * its values to those of the row that are not there in any case.
 */
static void
write_envelope(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
			   const EventlogSource *source, char old_kind, const EventlogColumnValue *old,
			   const EventlogColumnValue *row)
{
	EventlogBuf *out = &encoder->value;

	out->len = 0;
	eventlog_json_text(out, table->value_head);
	if (old_kind == 0)
		eventlog_json_literal(out, "{\"before\":null,\"after\":");
	else
	{
		eventlog_json_literal(out, "{\"before\":");
		write_row(out, table->fields, table->nfields, old, old_kind, NULL);
		eventlog_json_literal(out, ",\"after\":");
	}
	if (row == NULL)
		eventlog_json_literal(out, "null,");
	else
	{
		write_row(out, table->fields, table->nfields, row, 'N', old);
		eventlog_json_literal(out, ",");
	}
	eventlog_event_write_source(out, encoder, &table->source, source);
	eventlog_json_literal(out, ",\"transaction\":");
	eventlog_metadata_block(out, encoder, table, source);
	eventlog_json_literal(out, ",\"op\":\"");
	eventlog_json_raw(out, &op, 1);
	write_clock(out, encoder);
	if (table->value_head.len > 0)
		eventlog_json_literal(out, "}");
}

/* Put a row's key into encoder->key; false without one. */
static bool
set_key(EventlogEncoder *encoder, EventlogEncoderTable *table, const EventlogColumnValue *row,
		char kind)
{
	encoder->key.len = 0;
	if (table->nkeys == 0)
		return false;
	eventlog_event_write_key(&encoder->key, encoder, table, row, kind, true);
	return true;
}

/* The same into encoder->other_key, and without a schema: for headers. */
static void
set_other_key(EventlogEncoder *encoder, EventlogEncoderTable *table,
			  const EventlogColumnValue *row, char kind)
{
	encoder->other_key.len = 0;
	if (table->nkeys > 0)
		eventlog_event_write_key(&encoder->other_key, encoder, table, row, kind, false);
}

static void
emit_row(EventlogEncoder *encoder, EventlogEncoderTable *table, bool has_key, bool has_value,
		 int32 nheaders)
{
	eventlog_encoder_emit(encoder, table->topic, has_key, has_value, nheaders,
						  eventlog_event_millis(encoder), -1);
}

void
eventlog_event_row(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
				   const EventlogSource *source, const EventlogColumnValue *row)
{
	bool		has_key = set_key(encoder, table, row, 'N');

	write_envelope(encoder, table, op, source, 0, NULL, row);
	emit_row(encoder, table, has_key, true, write_headers(encoder, table, NULL, NULL, 0));
}

/* Delete and tombstone, which say the key that a row has got instead, if any. */
static void
emit_delete(EventlogEncoder *encoder, EventlogEncoderTable *table, const EventlogSource *source,
			char old_kind, const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	bool		has_key = set_key(encoder, table, old, old_kind);
	int32		nheaders;

	if (row != NULL)
		set_other_key(encoder, table, row, 'N');
	write_envelope(encoder, table, 'd', source, old_kind, old, NULL);
	nheaders = write_headers(encoder, table, row == NULL ? NULL : EVENTLOG_HEADER_NEW_KEY,
							 encoder->other_key.data, encoder->other_key.len);
	emit_row(encoder, table, has_key, true, nheaders);
	if (encoder->ec->tombstones)
		emit_row(encoder, table, has_key, false, nheaders);
}

bool
eventlog_event_is_unchanged(const EventlogEncoderTable *table, const EventlogColumnValue *old,
							const EventlogColumnValue *row)
{
	for (int i = 0; i < table->nfields; i++)
	{
		const EventlogColumnValue *a = &old[table->fields[i].column];
		const EventlogColumnValue *b = &row[table->fields[i].column];

		if (b->kind == 'u')
			continue;
		if (a->kind != b->kind ||
			(a->kind == 't' && (a->len != b->len || memcmp(a->text, b->text, a->len) != 0)))
			return false;
	}
	return true;
}

bool
eventlog_event_key_is_changed(EventlogEncoder *encoder, EventlogEncoderTable *table,
							  char old_kind, const EventlogColumnValue *old,
							  const EventlogColumnValue *row)
{
	if (old_kind == 0 || table->nkeys == 0)
		return false;
	encoder->scratch.len = 0;
	set_other_key(encoder, table, old, old_kind);
	eventlog_event_write_key(&encoder->scratch, encoder, table, row, 'N', false);
	return encoder->scratch.len != encoder->other_key.len ||
		memcmp(encoder->scratch.data, encoder->other_key.data, encoder->scratch.len) != 0;
}

void
eventlog_event_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
					  const EventlogSource *source, char old_kind, const EventlogColumnValue *old,
					  const EventlogColumnValue *row)
{
	const EventlogCaptureConfig *config = encoder->config;
	bool		has_key;

	if (old_kind == 0)
		old = NULL;
	if (encoder->ec->skip_unchanged && old_kind == 'O' && eventlog_event_is_unchanged(table, old, row))
		return;

	if (!eventlog_event_key_is_changed(encoder, table, old_kind, old, row))
	{
		if (config->skip_update)
			return;
		has_key = set_key(encoder, table, row, 'N');
		write_envelope(encoder, table, 'u', source, old_kind, old, row);
		emit_row(encoder, table, has_key, true, write_headers(encoder, table, NULL, NULL, 0));
		return;
	}

	/* the row goes away under one key and comes under another */
	if (!config->skip_delete)
		emit_delete(encoder, table, source, old_kind, old, row);
	if (!config->skip_create)
	{
		set_other_key(encoder, table, old, old_kind);
		has_key = set_key(encoder, table, row, 'N');
		write_envelope(encoder, table, 'c', source, 0, old, row);
		emit_row(encoder, table, has_key, true,
				 write_headers(encoder, table, EVENTLOG_HEADER_OLD_KEY, encoder->other_key.data,
							   encoder->other_key.len));
	}
}

void
eventlog_event_delete(EventlogEncoder *encoder, EventlogEncoderTable *table,
					  const EventlogSource *source, char old_kind, const EventlogColumnValue *old)
{
	emit_delete(encoder, table, source, old_kind, old, NULL);
}

void
eventlog_event_truncate(EventlogEncoder *encoder, EventlogEncoderTable *table,
						const EventlogSource *source)
{
	write_envelope(encoder, table, 't', source, 0, NULL, NULL);
	emit_row(encoder, table, false, true, write_headers(encoder, table, NULL, NULL, 0));
}

/* --- templates --- */

/* Make the label of a field: its name as JSON, after a comma unless it is the first. */
static void
make_label(EventlogEncoder *encoder, EventlogField *field, bool first)
{
	EventlogBuf *out = &encoder->scratch;

	out->len = 0;
	if (!first)
		eventlog_json_literal(out, ",");
	eventlog_json_string(out, field->name, (int32) strlen(field->name));
	eventlog_json_literal(out, ":");
	field->label = keep(out);
}

bool
eventlog_event_make_field(EventlogEncoder *encoder, EventlogEncoderTable *table, int column,
						  EventlogField *field, bool first)
{
	const EventlogColumnDesc *desc = &table->desc->columns[column];
	const char *name;

	memset(field, 0, sizeof(*field));
	field->column = column;
	field->plan = eventlog_value_plan(desc, &encoder->config->values);
	if (field->plan == NULL)
		return false;
	name = table->latin1 ? eventlog_name_as_latin1(desc->name) : desc->name;
	field->name = eventlog_adjust_name(encoder->ec->field_names, name, false);
	make_label(encoder, field, first);
	eventlog_mask_prepare(encoder, field, desc, psprintf("%s.%s", table->full_name, desc->name));
	return true;
}

static void
prepare_fields(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	const EventlogRelationDesc *desc = table->desc;

	table->fields = palloc(sizeof(EventlogField) * Max(desc->ncolumns, 1));
	for (int i = 0; i < desc->ncolumns; i++)
	{
		EventlogField *field = &table->fields[table->nfields];
		char	   *name = psprintf("%s.%s", table->full_name, desc->columns[i].name);

		if ((ec->column_include.n > 0 && !eventlog_patterns_match(&ec->column_include, name)) ||
			eventlog_patterns_match(&ec->column_exclude, name))
			continue;
		if (eventlog_event_make_field(encoder, table, i, field, table->nfields == 0))
			table->nfields++;
	}
}

/* The columns of message.key.columns for this table; 0 if it is not there. */
static int
custom_key(EventlogEncoder *encoder, const EventlogEncoderTable *table, int *columns)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	const EventlogRelationDesc *desc = table->desc;
	int			n = 0;

	for (int i = 0; i < ec->key_columns.n; i++)
	{
		for (int k = 0; k < desc->ncolumns; k++)
		{
			char	   *name = psprintf("%s.%s", table->full_name, desc->columns[k].name);
			bool		there = false;

			if (!eventlog_pattern_match(ec->key_columns.regexes[i], name))
				continue;
			for (int j = 0; j < n && !there; j++)
				there = columns[j] == k;
			if (!there)
				columns[n++] = k;
		}
	}
	return n;
}

/*
 * The columns of a replica identity that does not hold the whole key.  Deletes
 * tell no more of a row than these, so they are the key of all its events;
 * Debezium's deletes then have a key of zeroes.  0 if the key will do.
 */
static int
identity_key(EventlogEncoder *encoder, const EventlogEncoderTable *table, int *columns)
{
	const EventlogRelationDesc *desc = table->desc;
	int			n = 0;
	int			covered = 0;

	if (encoder->config->compatible)
		return 0;
	for (int i = 0; i < desc->ncolumns; i++)
	{
		if (desc->columns[i].in_identity)
			columns[n++] = i;
	}
	for (int i = 0; i < desc->nkeys; i++)
		covered += desc->columns[desc->keys[i]].in_identity;
	return desc->nkeys > 0 && covered == desc->nkeys ? 0 : n;
}

static EventlogField *
make_keys(EventlogEncoder *encoder, EventlogEncoderTable *table, int n, const int *columns,
		  int *nkeys)
{
	EventlogField *keys = palloc(sizeof(EventlogField) * Max(n, 1));

	*nkeys = 0;
	for (int i = 0; i < n; i++)
	{
		EventlogField *field = &keys[*nkeys];

		if (!eventlog_event_make_field(encoder, table, columns[i], field, *nkeys == 0))
			continue;
		field->mask = NULL;		/* keys are told apart by their values */
		(*nkeys)++;
	}
	return keys;
}

static void
prepare_keys(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	const EventlogRelationDesc *desc = table->desc;
	int		   *columns = palloc(sizeof(int) * Max(desc->ncolumns, 1));
	int			n = identity_key(encoder, table, columns);

	if (n > 0)
		table->row_keys = make_keys(encoder, table, n, columns, &table->nrow_keys);
	else if (encoder->config->compatible)
		table->row_keys = make_keys(encoder, table, desc->nseen_keys, desc->seen_keys,
									&table->nrow_keys);
	else
		table->row_keys = make_keys(encoder, table, desc->nkeys, desc->keys, &table->nrow_keys);

	n = custom_key(encoder, table, columns);
	if (n > 0)
		table->keys = make_keys(encoder, table, n, columns, &table->nkeys);
	else
	{
		table->keys = table->row_keys;
		table->nkeys = table->nrow_keys;
	}
}

void
eventlog_event_prepare(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	EventlogBuf *out = &encoder->scratch;
	const char *delimiter = encoder->ec->delimiter;
	const EventlogRelationDesc *desc = table->desc;

	table->shown_schema = table->latin1 ? eventlog_name_as_latin1(desc->schema) : desc->schema;
	table->shown_table = table->latin1 ? eventlog_name_as_latin1(desc->name) : desc->name;
	table->shown_name = psprintf("%s.%s", table->shown_schema, table->shown_table);
	prepare_fields(encoder, table);
	prepare_keys(encoder, table);

	out->len = 0;
	eventlog_json_literal(out, "\"schema\":");
	eventlog_json_string(out, table->shown_schema, (int32) strlen(table->shown_schema));
	eventlog_json_literal(out, ",\"table\":");
	eventlog_json_string(out, table->shown_table, (int32) strlen(table->shown_table));
	eventlog_json_literal(out, ",\"txId\":");
	table->source = keep(out);

	/* the outbox routes each row by itself */
	if (encoder->config->format != EVENTLOG_FORMAT_OUTBOX)
		table->topic = eventlog_encoder_topic(encoder,
											  psprintf("%s%s%s%s%s", encoder->prefix, delimiter,
													   table->shown_schema, delimiter,
													   table->shown_table),
											  false);
}
