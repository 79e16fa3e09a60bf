/*-------------------------------------------------------------------------
 *
 * capture_metadata.c
 *	  Records that are not of a row: transactions, logical messages,
 *	  heartbeats, notifications.
 *
 * The counts of a transaction are of the events that were emitted; a table's
 * place among them is valid while the table's number of the transaction is the
 * encoder's, so beginning a transaction resets all tables at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "capture_event.h"

/* What Debezium calls the collection of messages, before an arbitrary number. */
#define MESSAGE_COLLECTION \
	"io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$LogicalDecodingMessageId@"

/* From 1970 to 2000. */
#define EPOCH_MICROS	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

#define MESSAGE_SOURCE	"\"schema\":\"\",\"table\":\"\",\"txId\":"

void
eventlog_metadata_init(EventlogEncoder *encoder)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	const EventlogCaptureConfig *config = encoder->config;
	char	   *name;

	name = psprintf("%s%s%s", encoder->prefix, ec->delimiter, ec->transaction_topic);
	encoder->transaction_topic = eventlog_encoder_topic(encoder, name, false);
	name = psprintf("%s%s%s", ec->heartbeat_prefix, ec->delimiter, encoder->prefix);
	encoder->heartbeat_topic = eventlog_encoder_topic(encoder, name, false);
	name = psprintf("%s.message", encoder->prefix);
	encoder->message_topic = eventlog_encoder_topic(encoder, name, false);
	if (config->notification_topic != NULL)
		encoder->notification_topic =
			eventlog_encoder_topic(encoder, config->notification_topic, false);
	encoder->transaction_context = AllocSetContextCreate(encoder->context,
														 "eventlog encoder transaction",
														 ALLOCSET_SMALL_SIZES);
}

/* Begin a key or value, inside of its schema if schemas are on. */
static void
open_payload(EventlogBuf *out, bool schemas, const char *schema)
{
	out->len = 0;
	if (!schemas)
		return;
	eventlog_json_literal(out, "{\"schema\":");
	eventlog_json_raw(out, schema, strlen(schema));
	eventlog_json_literal(out, ",\"payload\":");
}

static void
close_payload(EventlogBuf *out, bool schemas)
{
	if (schemas)
		eventlog_json_literal(out, "}");
}

static void
emit(EventlogEncoder *encoder, EventlogCaptureTopic *topic)
{
	encoder->headers.len = 0;
	eventlog_encoder_emit(encoder, topic, true, true, 0, eventlog_event_millis(encoder), -1);
}

/* --- transactions --- */

static int
add_collection(EventlogEncoder *encoder, const char *name)
{
	if (encoder->ncollections == encoder->max_collections)
	{
		encoder->max_collections = encoder->max_collections == 0 ? 8 :
			encoder->max_collections * 2;
		encoder->collections = encoder->collections == NULL ?
			MemoryContextAlloc(encoder->transaction_context,
							   sizeof(EventlogCollection) * encoder->max_collections) :
			repalloc_huge(encoder->collections,
						  sizeof(EventlogCollection) * encoder->max_collections);
	}
	encoder->collections[encoder->ncollections].name =
		MemoryContextStrdup(encoder->transaction_context, name);
	encoder->collections[encoder->ncollections].count = 0;
	return encoder->ncollections++;
}

/* Messages are one collection; to Debezium, each is one of its own. */
static int
message_collection(EventlogEncoder *encoder)
{
	if (encoder->config->compatible)
		return add_collection(encoder, psprintf(MESSAGE_COLLECTION "%08x",
												(uint32) (encoder->transaction * 31 +
														  encoder->events)));
	for (int i = 0; i < encoder->ncollections; i++)
	{
		if (strcmp(encoder->collections[i].name, "message") == 0)
			return i;
	}
	return add_collection(encoder, "message");
}

/* Java's hash of a string, spread as by its HashMap. */
static uint32
java_hash(const char *text)
{
	uint32		hash = 0;

	for (const unsigned char *p = (const unsigned char *) text; *p != '\0';)
	{
		int			len = strnlen((const char *) p, pg_utf_mblen(p));
		pg_wchar	c = len == 1 ? *p : utf8_to_unicode(p);

		if (c >= 0x10000)
		{
			hash = hash * 31 + 0xD800 + ((c - 0x10000) >> 10);
			c = 0xDC00 + (c & 0x3FF);
		}
		hash = hash * 31 + c;
		p += len;
	}
	return hash ^ (hash >> 16);
}

static int
compare_collections(const void *a, const void *b)
{
	const EventlogCollection *x = a;
	const EventlogCollection *y = b;

	if (x->bucket != y->bucket)
		return x->bucket < y->bucket ? -1 : 1;
	return x->place < y->place ? -1 : 1;
}

/*
 * Debezium counts in a HashMap, which lasts as long as the connector runs, and
 * tells the counts in its order.  Ours is that of the first events.
 */
static void
order_collections(EventlogEncoder *encoder)
{
	if (encoder->buckets == 0)
		encoder->buckets = 16;
	while (encoder->ncollections > encoder->buckets / 4 * 3)
		encoder->buckets *= 2;
	for (int i = 0; i < encoder->ncollections; i++)
	{
		EventlogCollection *collection = &encoder->collections[i];

		collection->bucket = java_hash(collection->name) & (encoder->buckets - 1);
		collection->place = i;
	}
	if (encoder->ncollections > 1)
		qsort(encoder->collections, encoder->ncollections, sizeof(EventlogCollection),
			  compare_collections);
}

static void
write_id(EventlogBuf *out, const EventlogSource *source)
{
	eventlog_json_literal(out, "\"");
	eventlog_json_int(out, source->xid);
	eventlog_json_literal(out, ":");
	eventlog_json_int(out, (int64) source->lsn);
	eventlog_json_literal(out, "\"");
}

/* Is the event one of a transaction that is counted? */
static bool
is_counted(const EventlogEncoder *encoder, const EventlogSource *source)
{
	return encoder->transaction != 0 && TransactionIdIsValid(source->xid) &&
		source->marker == EVENTLOG_MARKER_FALSE;
}

/* The collection of an event that is now counted; table is NULL for messages. */
static EventlogCollection *
count(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	int			collection;

	if (table == NULL)
		collection = message_collection(encoder);
	else
	{
		if (table->transaction != encoder->transaction)
		{
			table->collection = add_collection(encoder, table->shown_name);
			table->transaction = encoder->transaction;
		}
		collection = table->collection;
	}
	encoder->events++;
	encoder->collections[collection].count++;
	return &encoder->collections[collection];
}

void
eventlog_metadata_count(EventlogEncoder *encoder, EventlogEncoderTable *table,
						const EventlogSource *source)
{
	if (is_counted(encoder, source))
		(void) count(encoder, table);
}

void
eventlog_metadata_block(EventlogBuf *out, EventlogEncoder *encoder, EventlogEncoderTable *table,
						const EventlogSource *source)
{
	const EventlogCollection *collection;

	if (!is_counted(encoder, source))
	{
		eventlog_json_literal(out, "null");
		return;
	}
	collection = count(encoder, table);
	eventlog_json_literal(out, "{\"id\":");
	write_id(out, source);
	eventlog_json_literal(out, ",\"total_order\":");
	eventlog_json_int(out, encoder->events);
	eventlog_json_literal(out, ",\"data_collection_order\":");
	eventlog_json_int(out, collection->count);
	eventlog_json_literal(out, "}");
}

static void
emit_transaction(EventlogEncoder *encoder, const EventlogSource *source, bool end)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	EventlogBuf *out = &encoder->key;

	open_payload(out, ec->key_schemas, eventlog_event_schema_transaction_key);
	eventlog_json_literal(out, "{\"id\":");
	write_id(out, source);
	eventlog_json_literal(out, "}");
	close_payload(out, ec->key_schemas);

	out = &encoder->value;
	open_payload(out, ec->value_schemas, eventlog_event_schema_transaction_value);
	if (end)
		eventlog_json_literal(out, "{\"status\":\"END\",\"id\":");
	else
		eventlog_json_literal(out, "{\"status\":\"BEGIN\",\"id\":");
	write_id(out, source);
	if (!end)
		eventlog_json_literal(out, ",\"event_count\":null,\"data_collections\":null");
	else
	{
		eventlog_json_literal(out, ",\"event_count\":");
		eventlog_json_int(out, encoder->events);
		eventlog_json_literal(out, ",\"data_collections\":[");
		if (encoder->config->compatible)
			order_collections(encoder);
		for (int i = 0; i < encoder->ncollections; i++)
		{
			const EventlogCollection *collection = &encoder->collections[i];

			if (i > 0)
				eventlog_json_literal(out, ",");
			eventlog_json_literal(out, "{\"data_collection\":");
			eventlog_json_string(out, collection->name, (int32) strlen(collection->name));
			eventlog_json_literal(out, ",\"event_count\":");
			eventlog_json_int(out, collection->count);
			eventlog_json_literal(out, "}");
		}
		eventlog_json_literal(out, "]");
	}
	eventlog_json_literal(out, ",\"ts_ms\":");
	eventlog_json_int(out, (source->time + EPOCH_MICROS) / 1000);
	eventlog_json_literal(out, "}");
	close_payload(out, ec->value_schemas);
	emit(encoder, encoder->transaction_topic);
}

/* Its record waits for the first change, whose LSN it has. */
void
eventlog_encoder_begin(EventlogEncoder *encoder, const EventlogSource *source)
{
	if (!encoder->config->transaction_metadata)
		return;
	encoder->transaction = ++encoder->transactions;
	encoder->transaction_begun = false;
	encoder->events = 0;
	encoder->ncollections = 0;
	encoder->max_collections = 0;
	encoder->collections = NULL;
	MemoryContextReset(encoder->transaction_context);
}

void
eventlog_metadata_begin(EventlogEncoder *encoder, const EventlogSource *source)
{
	if (encoder->transaction == 0 || encoder->transaction_begun ||
		!TransactionIdIsValid(source->xid) || source->marker != EVENTLOG_MARKER_FALSE)
		return;
	encoder->transaction_begun = true;
	eventlog_event_clock(encoder);
	emit_transaction(encoder, source, false);
}

void
eventlog_encoder_commit(EventlogEncoder *encoder, const EventlogSource *source)
{
	if (encoder->transaction == 0)
		return;
	eventlog_metadata_begin(encoder, source);
	eventlog_event_clock(encoder);
	emit_transaction(encoder, source, true);
	encoder->transaction = 0;
}

/* --- logical messages --- */

static void
write_base64(EventlogBuf *out, const char *content, int32 len, bool url_safe)
{
	int			cap = pg_b64_enc_len(len);
	char	   *start;
	int			written;

	eventlog_buf_reserve(out, cap + 1);
	start = out->data + out->len;
	written = pg_b64_encode((const void *) content, len, start, cap);
	if (written < 0)
		elog(ERROR, "could not encode the content of a logical message");
	for (int i = 0; url_safe && i < written; i++)
	{
		if (start[i] == '+')
			start[i] = '-';
		else if (start[i] == '/')
			start[i] = '_';
	}
	out->len += written;
}

static void
write_content(EventlogBuf *out, EventlogBinaryMode mode, const char *content, int32 len)
{
	static const char digits[] = "0123456789abcdef";

	eventlog_json_literal(out, "\"");
	if (mode != EVENTLOG_BINARY_HEX)
		write_base64(out, content, len, mode == EVENTLOG_BINARY_BASE64_URL_SAFE);
	else
	{
		eventlog_buf_reserve(out, (size_t) len * 2);
		for (int32 i = 0; i < len; i++)
		{
			out->data[out->len++] = digits[((uint8) content[i]) >> 4];
			out->data[out->len++] = digits[((uint8) content[i]) & 15];
		}
	}
	eventlog_json_literal(out, "\"");
}

static bool
message_is_wanted(const EventlogEncoder *encoder, const char *prefix)
{
	const EventlogEncoderConfig *ec = encoder->ec;

	if (encoder->config->skip_messages)
		return false;
	if (ec->message_include.n > 0 && !eventlog_patterns_match(&ec->message_include, prefix))
		return false;
	return !eventlog_patterns_match(&ec->message_exclude, prefix);
}

void
eventlog_encoder_message(EventlogEncoder *encoder, const EventlogSource *source,
						 bool transactional, const char *prefix, const char *content, int32 len)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	EventlogText table = {MESSAGE_SOURCE, sizeof(MESSAGE_SOURCE) - 1};
	EventlogSource of = *source;
	EventlogBuf *out = &encoder->key;

	if (transactional)
		eventlog_metadata_begin(encoder, source);
	if (!message_is_wanted(encoder, prefix))
		return;
	if (encoder->config->compatible)
		prefix = eventlog_name_as_latin1(prefix);
	eventlog_event_clock(encoder);
	if (encoder->config->format == EVENTLOG_FORMAT_OUTBOX && !encoder->config->compatible)
	{
		eventlog_outbox_message(encoder, source, prefix, content, len);
		return;
	}

	if (!transactional)
		of.xid = InvalidTransactionId;
	open_payload(out, ec->key_schemas, eventlog_event_schema_message_key);
	eventlog_json_literal(out, "{\"prefix\":");
	eventlog_json_string(out, prefix, (int32) strlen(prefix));
	eventlog_json_literal(out, "}");
	close_payload(out, ec->key_schemas);

	out = &encoder->value;
	open_payload(out, ec->value_schemas,
				 eventlog_event_schema_message_value(encoder->config->values.binary));
	eventlog_json_literal(out, "{\"op\":\"m\",\"ts_ms\":");
	eventlog_json_int(out, eventlog_event_millis(encoder));
	eventlog_json_literal(out, ",");
	eventlog_event_write_source(out, encoder, &table, &of);
	eventlog_json_literal(out, ",\"transaction\":");
	eventlog_metadata_block(out, encoder, NULL, &of);
	eventlog_json_literal(out, ",\"message\":{\"prefix\":");
	eventlog_json_string(out, prefix, (int32) strlen(prefix));
	eventlog_json_literal(out, ",\"content\":");
	write_content(out, encoder->config->values.binary, content, len);
	eventlog_json_literal(out, "}}");
	close_payload(out, ec->value_schemas);
	emit(encoder, encoder->message_topic);
}

/* --- heartbeats and notifications --- */

void
eventlog_encoder_heartbeat(EventlogEncoder *encoder, TimestampTz now)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	EventlogBuf *out = &encoder->key;

	eventlog_event_clock(encoder);
	open_payload(out, ec->key_schemas, eventlog_event_schema_heartbeat_key);
	eventlog_json_literal(out, "{\"serverName\":");
	eventlog_json_string(out, encoder->prefix, (int32) strlen(encoder->prefix));
	eventlog_json_literal(out, "}");
	close_payload(out, ec->key_schemas);

	out = &encoder->value;
	open_payload(out, ec->value_schemas, eventlog_event_schema_heartbeat_value);
	eventlog_json_literal(out, "{\"ts_ms\":");
	eventlog_json_int(out, (now + EPOCH_MICROS) / 1000);
	eventlog_json_literal(out, "}");
	close_payload(out, ec->value_schemas);
	emit(encoder, encoder->heartbeat_topic);
}

void
eventlog_encoder_notify(EventlogEncoder *encoder, const char *key, const char *value)
{
	if (encoder->notification_topic == NULL)
		return;
	eventlog_event_clock(encoder);
	open_payload(&encoder->key, encoder->ec->key_schemas, eventlog_event_schema_notification_key);
	eventlog_json_raw(&encoder->key, key, strlen(key));
	close_payload(&encoder->key, encoder->ec->key_schemas);
	open_payload(&encoder->value, encoder->ec->value_schemas, eventlog_event_schema_notification_value);
	eventlog_json_raw(&encoder->value, value, strlen(value));
	close_payload(&encoder->value, encoder->ec->value_schemas);
	emit(encoder, encoder->notification_topic);
}
