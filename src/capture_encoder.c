/*-------------------------------------------------------------------------
 *
 * capture_encoder.c
 *	  The encoder of captured changes: its making, its tables and topics, and
 *	  the way of an event to the format that was chosen.
 *
 * Anything below may raise in the middle of an event.  Nothing is lost by it:
 * the buffers of a record are begun anew by every event, tables and topics are
 * complete before they are entered, and the counts of a transaction begin with
 * eventlog_encoder_begin().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "capture_event.h"

/* What is being encoded, for errors. */
typedef struct EventContext
{
	ErrorContextCallback callback;
	EventlogEncoderTable *table;
	const EventlogColumnValue *row;
} EventContext;

#define CONTEXT_VALUE_MAX	200

/* Bytes that the buffers begin with, and that a value's may keep. */
#define BUFFER_MIN	1024
#define BUFFER_MAX	(16 * 1024 * 1024)

/* --- making --- */

static void
make_buffer(EventlogBuf *buf)
{
	eventlog_buf_reserve(buf, BUFFER_MIN);	/* of the current context, for good */
}

EventlogEncoder *
eventlog_encoder_create(const EventlogCaptureConfig *config, const char *prefix,
						const char *database, EventlogCaptureSink *sink)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventlog encoder",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	EventlogEncoder *encoder = palloc0(sizeof(EventlogEncoder));
	HASHCTL		ctl = {0};

	encoder->context = context;
	encoder->config = config;
	encoder->ec = config->encoder;
	encoder->prefix = pstrdup(prefix);
	encoder->database = pstrdup(database);
	encoder->sink = sink;

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(EventlogEncoderTable);
	ctl.hcxt = context;
	encoder->tables = hash_create("eventlog encoder tables", 64, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.keysize = sizeof(((EventlogTopicEntry *) NULL)->name);
	ctl.entrysize = sizeof(EventlogTopicEntry);
	encoder->topics = hash_create("eventlog encoder topics", 64, &ctl,
								  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);

	make_buffer(&encoder->key);
	make_buffer(&encoder->value);
	make_buffer(&encoder->headers);
	make_buffer(&encoder->other_key);
	make_buffer(&encoder->scratch);
	make_buffer(&encoder->source_field);
	make_buffer(&encoder->framed);
	make_buffer(&encoder->context_headers);
	make_buffer(&encoder->source_head);
	make_buffer(&encoder->source_times);
	eventlog_event_init(encoder);
	eventlog_metadata_init(encoder);
	MemoryContextSwitchTo(old);
	return encoder;
}

EventlogCaptureTopic *
eventlog_encoder_topic(EventlogEncoder *encoder, const char *name, bool plain)
{
	char		legal[250];
	EventlogTopicEntry *entry;
	EventlogCaptureTopic *topic;

	eventlog_topic_name(legal, sizeof(legal), name);
	entry = hash_search(encoder->topics, legal, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->topic;

	topic = MemoryContextAllocZero(encoder->context, sizeof(EventlogCaptureTopic));
	strlcpy(topic->name, legal, sizeof(topic->name));
	topic->plain = plain;
	entry = hash_search(encoder->topics, legal, HASH_ENTER, NULL);
	entry->topic = topic;
	return topic;
}

/* --- tables --- */

/* A copy of the description that lives in the current context. */
static EventlogRelationDesc *
copy_desc(const EventlogRelationDesc *desc)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	eventlog_desc_write(&bytes, desc);
	return eventlog_desc_read(&bytes);
}

/* Has Debezium trouble with a name of the table? */
static bool
has_odd_names(const EventlogRelationDesc *desc)
{
	if (!eventlog_name_is_ascii(desc->schema) || !eventlog_name_is_ascii(desc->name))
		return true;
	for (int i = 0; i < desc->ncolumns; i++)
	{
		if (!eventlog_name_is_ascii(desc->columns[i].name))
			return true;
	}
	return false;
}

static void
prepare_table(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	eventlog_event_prepare(encoder, table);
	eventlog_event_schema_prepare(encoder, table);
	if (encoder->config->format == EVENTLOG_FORMAT_OUTBOX)
		eventlog_outbox_prepare(encoder, table);
}

EventlogEncoderTable *
eventlog_encoder_table(EventlogEncoder *encoder, const EventlogRelationDesc *desc)
{
	EventlogEncoderTable *entry;
	EventlogEncoderTable table = {0};
	MemoryContext old;
	bool		found;

	table.relid = desc->relid;
	table.captured = eventlog_capture_config_has_table(encoder->config, desc->schema, desc->name);
	table.context = AllocSetContextCreate(encoder->context, "eventlog encoder table",
										  ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(table.context);
	table.full_name = psprintf("%s.%s", desc->schema, desc->name);
	if (table.captured)
	{
		table.desc = copy_desc(desc);
		if (encoder->config->compatible && has_odd_names(desc))
		{
			table.snapshot = palloc(sizeof(EventlogEncoderTable));
			*table.snapshot = table;
			table.snapshot->snapshot = NULL;
			prepare_table(encoder, table.snapshot);
			table.latin1 = true;
		}
		prepare_table(encoder, &table);
	}
	MemoryContextSwitchTo(old);

	/* all is well: it takes the place of the one before, and goes on counting */
	entry = hash_search(encoder->tables, &desc->relid, HASH_ENTER, &found);
	if (found)
	{
		if (table.captured && entry->captured && strcmp(entry->full_name, table.full_name) == 0)
		{
			table.transaction = entry->transaction;
			table.collection = entry->collection;
		}
		MemoryContextDelete(entry->context);
	}
	*entry = table;
	return entry->captured ? entry : NULL;
}

EventlogEncoderTable *
eventlog_encoder_find(EventlogEncoder *encoder, Oid relid)
{
	EventlogEncoderTable *table = hash_search(encoder->tables, &relid, HASH_FIND, NULL);

	return table != NULL && table->captured ? table : NULL;
}

const char *
eventlog_encoder_table_name(const EventlogEncoderTable *table)
{
	return table->full_name;
}

/* --- errors --- */

/* Name the row: its key, or all columns where it has none, as they came. */
static void
row_error_context(void *arg)
{
	EventContext *context = (EventContext *) arg;
	EventlogEncoderTable *table = context->table;
	int			n = table->nrow_keys > 0 ? table->nrow_keys : table->desc->ncolumns;
	StringInfoData names;
	StringInfoData values;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; context->row != NULL && i < n; i++)
	{
		int			column = table->nrow_keys > 0 ? table->row_keys[i].column : i;
		const EventlogColumnValue *value = &context->row[column];

		appendStringInfo(&names, "%s%s", i == 0 ? "" : ", ", table->desc->columns[column].name);
		appendStringInfoString(&values, i == 0 ? "" : ", ");
		if (value->kind == 't')
			appendBinaryStringInfo(&values, value->text, Min(value->len, CONTEXT_VALUE_MAX));
		else
			appendStringInfoString(&values, value->kind == 'u' ? "unchanged" : "null");
	}
	if (context->row == NULL)
		errcontext("capture of table \"%s\" into topic \"%s\"",
				   table->full_name, table->topic == NULL ? "" : table->topic->name);
	else
		errcontext("capture of table \"%s\" into topic \"%s\", row (%s)=(%s)",
				   table->full_name, table->topic == NULL ? "" : table->topic->name,
				   names.data, values.data);
}

static inline void
push_context(EventContext *context, EventlogEncoderTable *table, const EventlogColumnValue *row)
{
	context->table = table;
	context->row = row;
	context->callback.callback = row_error_context;
	context->callback.arg = context;
	context->callback.previous = error_context_stack;
	error_context_stack = &context->callback;
}

static inline void
pop_context(EventContext *context)
{
	error_context_stack = context->callback.previous;
}

/* --- records --- */

void
eventlog_encoder_emit(EventlogEncoder *encoder, EventlogCaptureTopic *topic, bool has_key,
					  bool has_value, int32 nheaders, int64 timestamp, int32 partition)
{
	EventlogRecord rec = {0};

	rec.timestamp = timestamp;
	rec.key = has_key ? encoder->key.data : NULL;
	rec.key_len = has_key ? (int32) encoder->key.len : -1;
	rec.value = has_value ? encoder->value.data : NULL;
	rec.value_len = has_value ? (int32) encoder->value.len : -1;
	rec.headers = encoder->headers.data;
	rec.headers_len = (int32) encoder->headers.len;
	rec.headers_count = nheaders;
	if (unlikely(Max(encoder->value.len, encoder->key.len) > MaxAllocSize))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record of %zu bytes for topic \"%s\" is too large",
						Max(encoder->value.len, encoder->key.len), topic->name)));
	encoder->sink->emit(encoder->sink, topic, &rec, partition);

	/* one large row shall not cost its memory for good */
	if (unlikely(encoder->value.cap > BUFFER_MAX))
	{
		encoder->value.data = repalloc(encoder->value.data, BUFFER_MIN);
		encoder->value.cap = BUFFER_MIN;
		encoder->value.len = 0;
	}
}

/* --- events --- */

static void
encode_row(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
		   const EventlogSource *source, const EventlogColumnValue *row)
{
	EventContext context;

	push_context(&context, table, row);
	eventlog_event_clock(encoder);
	switch (encoder->config->format)
	{
		case EVENTLOG_FORMAT_DEBEZIUM:
			eventlog_event_row(encoder, table, op, source, row);
			break;
		case EVENTLOG_FORMAT_FLAT:
			eventlog_flat_row(encoder, table, op, source, row);
			break;
		case EVENTLOG_FORMAT_OUTBOX:
			eventlog_outbox_row(encoder, table, source, row);
			break;
	}
	pop_context(&context);
}

void
eventlog_encoder_read(EventlogEncoder *encoder, EventlogEncoderTable *table,
					  const EventlogSource *source, const EventlogColumnValue *row)
{
	encode_row(encoder, table->snapshot != NULL ? table->snapshot : table, 'r', source, row);
}

void
eventlog_encoder_insert(EventlogEncoder *encoder, EventlogEncoderTable *table,
						const EventlogSource *source, const EventlogColumnValue *row)
{
	eventlog_metadata_begin(encoder, source);
	if (!encoder->config->skip_create)
		encode_row(encoder, table, 'c', source, row);
}

void
eventlog_encoder_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
						const EventlogSource *source, char old_kind,
						const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	EventContext context;

	eventlog_metadata_begin(encoder, source);
	push_context(&context, table, row);
	eventlog_event_clock(encoder);
	switch (encoder->config->format)
	{
		case EVENTLOG_FORMAT_DEBEZIUM:
			eventlog_event_update(encoder, table, source, old_kind, old, row);
			break;
		case EVENTLOG_FORMAT_FLAT:
			eventlog_flat_update(encoder, table, source, old_kind, old, row);
			break;
		case EVENTLOG_FORMAT_OUTBOX:
			eventlog_outbox_update(encoder, table, source, old_kind, old, row);
			break;
	}
	pop_context(&context);
}

void
eventlog_encoder_delete(EventlogEncoder *encoder, EventlogEncoderTable *table,
						const EventlogSource *source, char old_kind,
						const EventlogColumnValue *old)
{
	EventContext context;

	eventlog_metadata_begin(encoder, source);
	if (encoder->config->skip_delete)
		return;
	push_context(&context, table, old);
	eventlog_event_clock(encoder);
	switch (encoder->config->format)
	{
		case EVENTLOG_FORMAT_DEBEZIUM:
			eventlog_event_delete(encoder, table, source, old_kind, old);
			break;
		case EVENTLOG_FORMAT_FLAT:
			eventlog_flat_delete(encoder, table, source, old_kind, old);
			break;
		case EVENTLOG_FORMAT_OUTBOX:
			eventlog_metadata_count(encoder, table, source);
			break;				/* the outbox may be emptied */
	}
	pop_context(&context);
}

void
eventlog_encoder_truncate(EventlogEncoder *encoder, EventlogEncoderTable *table,
						  const EventlogSource *source)
{
	EventContext context;

	eventlog_metadata_begin(encoder, source);
	/* neither the flat row nor the outbox has a word for it */
	if (encoder->config->skip_truncate || encoder->config->format != EVENTLOG_FORMAT_DEBEZIUM)
		return;
	push_context(&context, table, NULL);
	eventlog_event_clock(encoder);
	eventlog_event_truncate(encoder, table, source);
	pop_context(&context);
}

void
eventlog_encoder_key(EventlogEncoder *encoder, EventlogEncoderTable *table,
					 const EventlogColumnValue *row, EventlogBuf *out)
{
	if (table->nrow_keys == 0)
		eventlog_json_literal(out, "null");
	else
		eventlog_event_write_row_key(out, table, row);
}
