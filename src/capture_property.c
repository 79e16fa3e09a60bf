/*-------------------------------------------------------------------------
 *
 * capture_property.c
 *	  The properties of captures: names, forms, defaults, and why not.
 *
 * Names are Debezium's where it has the property.  Every property of its
 * PostgreSQL connector is here: those that are not supported are refused by
 * name with a reason, so that nobody's setting is silently without effect.
 * Ignored are only those that every connector.json has and that say what is
 * the case here anyway.  docs/capture-config.md lists the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "capture_property.h"

static const EventlogWord snapshot_words[] = {
	{"initial", EVENTLOG_SNAPSHOT_INITIAL},
	{"always", EVENTLOG_SNAPSHOT_ALWAYS},
	{"initial_only", EVENTLOG_SNAPSHOT_INITIAL_ONLY},
	{"no_data", EVENTLOG_SNAPSHOT_NO_DATA},
	{"never", EVENTLOG_SNAPSHOT_NO_DATA},
	{"when_needed", EVENTLOG_SNAPSHOT_WHEN_NEEDED},
	{NULL, 0}
};

static const EventlogWord decimal_words[] = {
	{"exact", EVENTLOG_DECIMAL_EXACT},
	{"precise", EVENTLOG_DECIMAL_PRECISE},
	{"string", EVENTLOG_DECIMAL_STRING},
	{"double", EVENTLOG_DECIMAL_DOUBLE},
	{NULL, 0}
};

static const EventlogWord decimal_format_words[] = {
	{"BASE64", 0},
	{"NUMERIC", 1},
	{NULL, 0}
};

static const EventlogWord time_words[] = {
	{"adaptive", EVENTLOG_TIME_ADAPTIVE},
	{"adaptive_time_microseconds", EVENTLOG_TIME_ADAPTIVE_MICROSECONDS},
	{"connect", EVENTLOG_TIME_CONNECT},
	{"isostring", EVENTLOG_TIME_ISOSTRING},
	{"microseconds", EVENTLOG_TIME_MICROSECONDS},
	{"nanoseconds", EVENTLOG_TIME_NANOSECONDS},
	{NULL, 0}
};

static const EventlogWord binary_words[] = {
	{"bytes", EVENTLOG_BINARY_BYTES},
	{"base64", EVENTLOG_BINARY_BASE64},
	{"base64-url-safe", EVENTLOG_BINARY_BASE64_URL_SAFE},
	{"hex", EVENTLOG_BINARY_HEX},
	{NULL, 0}
};

static const EventlogWord interval_words[] = {
	{"numeric", EVENTLOG_INTERVAL_NUMERIC},
	{"string", EVENTLOG_INTERVAL_STRING},
	{NULL, 0}
};

static const EventlogWord hstore_words[] = {
	{"json", EVENTLOG_HSTORE_JSON},
	{"map", EVENTLOG_HSTORE_MAP},
	{NULL, 0}
};

static const EventlogWord name_words[] = {
	{"none", EVENTLOG_NAME_NONE},
	{"avro", EVENTLOG_NAME_AVRO},
	{"avro_unicode", EVENTLOG_NAME_AVRO_UNICODE},
	{NULL, 0}
};

static const EventlogWord converter_words[] = {
	{"org.apache.kafka.connect.json.JsonConverter", EVENTLOG_CONVERTER_JSON},
	{"org.apache.kafka.connect.storage.StringConverter", EVENTLOG_CONVERTER_STRING},
	{NULL, 0}
};

static const EventlogWord header_converter_words[] = {
	{"org.apache.kafka.connect.json.JsonConverter", EVENTLOG_CONVERTER_JSON},
	{"org.apache.kafka.connect.storage.StringConverter", EVENTLOG_CONVERTER_SIMPLE},
	{"org.apache.kafka.connect.storage.SimpleHeaderConverter", EVENTLOG_CONVERTER_SIMPLE},
	{NULL, 0}
};

static const EventlogWord watermark_words[] = {
	{"insert_insert", 0},
	{"insert_delete", 1},
	{NULL, 0}
};

static const EventlogWord flat_delete_words[] = {
	{"drop", EVENTLOG_FLAT_DELETE_DROP},
	{"tombstone", EVENTLOG_FLAT_DELETE_TOMBSTONE},
	{"delete-to-tombstone", EVENTLOG_FLAT_DELETE_TOMBSTONE},
	{"rewrite", EVENTLOG_FLAT_DELETE_REWRITE},
	{"rewrite-with-tombstone", EVENTLOG_FLAT_DELETE_REWRITE_TOMBSTONE},
	{NULL, 0}
};

static const EventlogWord null_words[] = {
	{"ignore", 0},
	{"optional_bytes", 1},
	{NULL, 0}
};

static const EventlogWord invalid_words[] = {
	{"warn", EVENTLOG_INVALID_WARN},
	{"error", EVENTLOG_INVALID_ERROR},
	{"fatal", EVENTLOG_INVALID_FATAL},
	{NULL, 0}
};

/* words of properties that may only say what is the case */
static const EventlogWord connector_words[] = {
	{"io.debezium.connector.postgresql.PostgresConnector", 0}, {NULL, 0}
};
static const EventlogWord plugin_words[] = {{"pgoutput", 0}, {NULL, 0}};
static const EventlogWord one_words[] = {{"1", 0}, {NULL, 0}};
static const EventlogWord replication_factor_words[] = {{"1", 0}, {"-1", 0}, {NULL, 0}};
static const EventlogWord true_words[] = {{"true", 0}, {NULL, 0}};
static const EventlogWord false_words[] = {{"false", 0}, {NULL, 0}};
static const EventlogWord bool_words[] = {{"true", 0}, {"false", 0}, {NULL, 0}};
static const EventlogWord disabled_words[] = {{"disabled", 0}, {NULL, 0}};
static const EventlogWord source_words[] = {{"source", 0}, {NULL, 0}};
static const EventlogWord none_words[] = {{"none", 0}, {NULL, 0}};
static const EventlogWord select_all_words[] = {{"select_all", 0}, {NULL, 0}};
static const EventlogWord isolation_words[] = {
	{"serializable", 0}, {"repeatable_read", 0}, {NULL, 0}
};
static const EventlogWord fail_words[] = {{"fail", 0}, {NULL, 0}};
static const EventlogWord naming_words[] = {
	{"io.debezium.schema.SchemaTopicNamingStrategy", 0}, {NULL, 0}
};

#define CONFIG(field)	false, offsetof(EventlogCaptureConfig, field)
#define VALUES(field)	false, offsetof(EventlogCaptureConfig, values.field)
#define ENCODER(field)	true, offsetof(EventlogEncoderConfig, field)

#define BOOL(name, value, compatible, where) \
	{name, EVENTLOG_PROPERTY_BOOL, value, compatible, where, NULL, 0, 0, -1, NULL}
#define CHOICE(name, value, where, words) \
	{name, EVENTLOG_PROPERTY_BOOL, value, NULL, where, words, 0, 0, -1, NULL}
#define INT(name, value, where, min, max) \
	{name, EVENTLOG_PROPERTY_INT, value, NULL, where, NULL, min, max, -1, NULL}
#define LONG(name, value, where, min, max) \
	{name, EVENTLOG_PROPERTY_LONG, value, NULL, where, NULL, min, max, -1, NULL}
#define STRING(name, value, where) \
	{name, EVENTLOG_PROPERTY_STRING, value, NULL, where, NULL, 0, 0, -1, NULL}
#define WORD(name, value, compatible, where, words) \
	{name, EVENTLOG_PROPERTY_WORD, value, compatible, where, words, 0, 0, -1, NULL}
#define PATTERNS(name, where) \
	{name, EVENTLOG_PROPERTY_PATTERNS, NULL, NULL, where, NULL, 0, 0, -1, NULL}
#define SPECIAL(name) \
	{name, EVENTLOG_PROPERTY_SPECIAL, NULL, NULL, false, 0, NULL, 0, 0, -1, NULL}
#define SPECIAL_AS(name, value, compatible) \
	{name, EVENTLOG_PROPERTY_SPECIAL, value, compatible, false, 0, NULL, 0, 0, -1, NULL}
#define IGNORED(name, words) \
	{name, EVENTLOG_PROPERTY_IGNORED, NULL, NULL, false, 0, words, 0, 0, -1, NULL}
#define REFUSED(name, text) \
	{name, EVENTLOG_PROPERTY_REFUSED, NULL, NULL, false, 0, NULL, 0, 0, -1, text}

/* of a format */
#define F_STRING(f, name, value, where) \
	{name, EVENTLOG_PROPERTY_STRING, value, NULL, where, NULL, 0, 0, f, NULL}
#define F_BOOL(f, name, value, where) \
	{name, EVENTLOG_PROPERTY_BOOL, value, NULL, where, NULL, 0, 0, f, NULL}
#define F_CHOICE(f, name, value, where, words) \
	{name, EVENTLOG_PROPERTY_BOOL, value, NULL, where, words, 0, 0, f, NULL}
#define F_WORD(f, name, value, where, words) \
	{name, EVENTLOG_PROPERTY_WORD, value, NULL, where, words, 0, 0, f, NULL}
#define F_SPECIAL(f, name, value, compatible) \
	{name, EVENTLOG_PROPERTY_SPECIAL, value, compatible, false, 0, NULL, 0, 0, f, NULL}
#define F_IGNORED(f, name, words) \
	{name, EVENTLOG_PROPERTY_IGNORED, NULL, NULL, false, 0, words, 0, 0, f, NULL}
#define F_REFUSED(f, name, text) \
	{name, EVENTLOG_PROPERTY_REFUSED, NULL, NULL, false, 0, NULL, 0, 0, f, text}

#define ARGUMENT(what)	"This is what the argument \"" what "\" of create_capture() says."
#define IN_SERVER		"A capture runs inside of the server and connects to nothing."
#define PACING			"A capture is woken by the commits themselves; there is nothing to tune."
#define CLASSES			"Java classes cannot be run here."

const EventlogProperty eventlog_properties[] = {
	/* ours */
	SPECIAL_AS("format", "debezium", NULL),
	SPECIAL_AS("compatibility", "default", NULL),
	STRING("topic.schema", "topics", CONFIG(topic_schema)),

	/* snapshots */
	WORD("snapshot.mode", "initial", NULL, CONFIG(snapshot_mode), snapshot_words),
	INT("snapshot.max.threads", "2", CONFIG(snapshot_threads), 1, 64),
	PATTERNS("snapshot.include.collection.list", ENCODER(snapshot_include)),
	SPECIAL("snapshot.select.statement.overrides"),
	SPECIAL("snapshot.select.statement.overrides.*"),
	STRING("signal.data.collection", NULL, CONFIG(signal_table)),
	IGNORED("signal.enabled.channels", source_words),
	INT("incremental.snapshot.chunk.size", "1024", CONFIG(incremental_chunk_size), 1, 10000000),
	CHOICE("incremental.snapshot.watermarking.strategy", "insert_insert",
		   CONFIG(watermark_delete), watermark_words),

	/* what is captured */
	STRING("slot.name", NULL, CONFIG(slot_name)),
	PATTERNS("schema.include.list", ENCODER(schema_include)),
	PATTERNS("schema.exclude.list", ENCODER(schema_exclude)),
	PATTERNS("table.include.list", ENCODER(table_include)),
	PATTERNS("table.exclude.list", ENCODER(table_exclude)),
	PATTERNS("column.include.list", ENCODER(column_include)),
	PATTERNS("column.exclude.list", ENCODER(column_exclude)),
	PATTERNS("message.prefix.include.list", ENCODER(message_include)),
	PATTERNS("message.prefix.exclude.list", ENCODER(message_exclude)),
	SPECIAL("column.mask.with.*"),
	SPECIAL("column.mask.hash.*"),
	SPECIAL("column.truncate.to.*"),
	SPECIAL_AS("skipped.operations", "none", "t"),
	BOOL("skip.messages.without.change", "false", NULL, ENCODER(skip_unchanged)),
	BOOL("tombstones.on.delete", "true", NULL, ENCODER(tombstones)),
	SPECIAL("message.key.columns"),
	BOOL("provide.transaction.metadata", "false", NULL, CONFIG(transaction_metadata)),
	LONG("heartbeat.interval.ms", "0", CONFIG(heartbeat_interval_ms), 0, 86400000),
	STRING("heartbeat.action.query", NULL, CONFIG(heartbeat_action_query)),
	LONG("xmin.fetch.interval.ms", "0", CONFIG(xmin_fetch_interval_ms), 0, 86400000),
	SPECIAL("notification.enabled.channels"),
	STRING("notification.sink.topic.name", NULL, CONFIG(notification_topic)),

	/* values */
	WORD("decimal.handling.mode", "exact", "precise", VALUES(decimal), decimal_words),
	CHOICE("value.converter.decimal.format", "BASE64", VALUES(decimal_numeric),
		   decimal_format_words),
	WORD("time.precision.mode", "adaptive", NULL, VALUES(time), time_words),
	WORD("binary.handling.mode", "bytes", NULL, VALUES(binary), binary_words),
	WORD("interval.handling.mode", "string", "numeric", VALUES(interval), interval_words),
	WORD("hstore.handling.mode", "json", NULL, VALUES(hstore), hstore_words),
	BOOL("include.unknown.datatypes", "true", "false", VALUES(include_unknown)),
	BOOL("value.converter.replace.null.with.default", "false", "true", VALUES(null_is_default)),
	STRING("unavailable.value.placeholder", "__debezium_unavailable_value", VALUES(placeholder)),

	/* form */
	WORD("key.converter", "org.apache.kafka.connect.json.JsonConverter", NULL,
		 ENCODER(key_converter), converter_words),
	WORD("value.converter", "org.apache.kafka.connect.json.JsonConverter", NULL,
		 ENCODER(value_converter), converter_words),
	WORD("header.converter", "org.apache.kafka.connect.json.JsonConverter", NULL,
		 ENCODER(header_converter), header_converter_words),
	BOOL("key.converter.schemas.enable", "false", NULL, ENCODER(key_schemas)),
	BOOL("value.converter.schemas.enable", "false", NULL, ENCODER(value_schemas)),
	BOOL("header.converter.schemas.enable", "false", NULL, ENCODER(header_schemas)),
	BOOL("extended.headers.enabled", "true", NULL, ENCODER(context_headers)),
	WORD("field.name.adjustment.mode", "none", NULL, ENCODER(field_names), name_words),
	WORD("schema.name.adjustment.mode", "none", NULL, ENCODER(schema_names), name_words),

	/* topics */
	STRING("topic.delimiter", ".", ENCODER(delimiter)),
	STRING("topic.heartbeat.prefix", "__debezium-heartbeat", ENCODER(heartbeat_prefix)),
	STRING("topic.transaction", "transaction", ENCODER(transaction_topic)),
	IGNORED("topic.naming.strategy", naming_words),
	INT("topic.creation.default.partitions", "1", CONFIG(topic_partitions), 1, 10000),
	IGNORED("topic.creation.default.replication.factor", replication_factor_words),
	SPECIAL_AS("topic.creation.default.compression.type", "lz4", NULL),
	SPECIAL("topic.creation.default.*"),

	/* trouble */
	SPECIAL_AS("errors.tolerance", "none", NULL),
	STRING("errors.deadletterqueue.topic.name", NULL, CONFIG(dead_letter_topic)),
	IGNORED("errors.deadletterqueue.topic.replication.factor", replication_factor_words),
	IGNORED("event.processing.failure.handling.mode", fail_words),

	/* single message transforms, which choose the format */
	SPECIAL("transforms"),
	SPECIAL("transforms.*"),

	/* io.debezium.transforms.ExtractNewRecordState */
	F_WORD(EVENTLOG_FORMAT_FLAT, "delete.tombstone.handling.mode", "tombstone",
		   ENCODER(flat_delete), flat_delete_words),
	F_SPECIAL(EVENTLOG_FORMAT_FLAT, "add.headers", "op,table,lsn,source.ts_ms", ""),
	F_SPECIAL(EVENTLOG_FORMAT_FLAT, "add.fields", "", NULL),
	F_STRING(EVENTLOG_FORMAT_FLAT, "add.headers.prefix", "__", ENCODER(flat_header_prefix)),
	F_STRING(EVENTLOG_FORMAT_FLAT, "add.fields.prefix", "__", ENCODER(flat_field_prefix)),
	F_STRING(EVENTLOG_FORMAT_FLAT, "route.by.field", NULL, ENCODER(flat_route_field)),
	F_REFUSED(EVENTLOG_FORMAT_FLAT, "delete.handling.mode",
			  "Use delete.tombstone.handling.mode, which took its place."),
	F_REFUSED(EVENTLOG_FORMAT_FLAT, "drop.tombstones",
			  "Use delete.tombstone.handling.mode, which took its place."),
	F_REFUSED(EVENTLOG_FORMAT_FLAT, "drop.fields.*",
			  "Use column.exclude.list, or a column list of the publication."),
	F_REFUSED(EVENTLOG_FORMAT_FLAT, "replace.null.with.default",
			  "Use value.converter.replace.null.with.default."),

	/* io.debezium.transforms.outbox.EventRouter */
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "table.field.event.id", "id", ENCODER(outbox_id)),
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "table.field.event.key", "aggregateid", ENCODER(outbox_key)),
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "table.field.event.type", "type", ENCODER(outbox_type)),
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "table.field.event.payload", "payload",
			 ENCODER(outbox_payload)),
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "table.field.event.timestamp", NULL,
			 ENCODER(outbox_timestamp)),
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "table.field.event.schema.version", NULL,
			 ENCODER(outbox_schema_version)),
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "route.by.field", "aggregatetype", ENCODER(outbox_route)),
	F_SPECIAL(EVENTLOG_FORMAT_OUTBOX, "route.topic.regex", "(?<routedByValue>.*)", NULL),
	F_STRING(EVENTLOG_FORMAT_OUTBOX, "route.topic.replacement", "outbox.event.${routedByValue}",
			 ENCODER(outbox_topic)),
	F_BOOL(EVENTLOG_FORMAT_OUTBOX, "route.tombstone.on.empty.payload", "false",
		   ENCODER(outbox_tombstone)),
	F_BOOL(EVENTLOG_FORMAT_OUTBOX, "table.expand.json.payload", "false", ENCODER(outbox_expand)),
	F_WORD(EVENTLOG_FORMAT_OUTBOX, "table.op.invalid.behavior", "warn",
		   ENCODER(outbox_invalid), invalid_words),
	F_SPECIAL(EVENTLOG_FORMAT_OUTBOX, "table.fields.additional.placement", "", NULL),
	F_BOOL(EVENTLOG_FORMAT_OUTBOX, "table.fields.additional.error.on.missing", "true",
		   ENCODER(outbox_missing_is_error)),
	F_CHOICE(EVENTLOG_FORMAT_OUTBOX, "table.json.payload.null.behavior", "ignore",
			 ENCODER(outbox_keep_nulls), null_words),
	F_REFUSED(EVENTLOG_FORMAT_OUTBOX, "tracing.*", "There is no tracing here."),

	/* what every connector.json has, and says what is so */
	IGNORED("connector.class", connector_words),
	IGNORED("plugin.name", plugin_words),
	IGNORED("tasks.max", one_words),
	IGNORED("publication.autocreate.mode", disabled_words),
	IGNORED("snapshot.locking.mode", none_words),
	IGNORED("snapshot.isolation.mode", isolation_words),
	IGNORED("snapshot.query.mode", select_all_words),
	IGNORED("incremental.snapshot.allow.schema.changes", bool_words),
	IGNORED("slot.drop.on.stop", false_words),
	IGNORED("flush.lsn.source", true_words),

	/* said by the arguments, or by where this runs */
	REFUSED("name", ARGUMENT("name")),
	REFUSED("publication.name", ARGUMENT("publication")),
	REFUSED("topic.prefix", ARGUMENT("topic_prefix")),
	REFUSED("database.*", IN_SERVER),
	REFUSED("driver.*", IN_SERVER),
	REFUSED("replica.identity.autoset.values", "Set the replica identity of the tables."),
	REFUSED("slot.stream.params", IN_SERVER),
	REFUSED("slot.max.retries", IN_SERVER),
	REFUSED("slot.retry.delay.ms", IN_SERVER),
	REFUSED("slot.failover", "Slots are made with failover where the server has it."),
	REFUSED("offset.mismatch.strategy", "The position is kept in the server with the records."),
	REFUSED("lsn.flush.*", "The slot is confirmed when the records are flushed."),
	REFUSED("publish.via.partition.root", "This is an option of the publication."),
	REFUSED("include.schema.changes", "There are no records of changes of tables."),
	REFUSED("include.schema.comments", "Schemas have no comments."),
	REFUSED("event.converting.failure.handling.mode",
			"A value that cannot be written is an error; see errors.deadletterqueue.topic.name."),
	REFUSED("heartbeat.topics.prefix", "Use topic.heartbeat.prefix, which took its place."),
	REFUSED("table.ignore.builtin", "Publications do not have system tables."),
	REFUSED("topic.key.*", "Topics are named by prefix, schema and table."),
	REFUSED("topic.regex", "Topics are named by prefix, schema and table."),
	REFUSED("topic.replacement", "Topics are named by prefix, schema and table."),
	REFUSED("status.update.interval.ms", IN_SERVER),
	REFUSED("max.queue.size", PACING),
	REFUSED("max.queue.size.in.bytes", PACING),
	REFUSED("max.batch.size", PACING),
	REFUSED("poll.interval.ms", PACING),
	REFUSED("query.fetch.size", PACING),
	REFUSED("snapshot.fetch.size", PACING),
	REFUSED("snapshot.delay.ms", PACING),
	REFUSED("streaming.delay.ms", PACING),
	REFUSED("retriable.restart.connector.wait.ms", PACING),
	REFUSED("executor.shutdown.timeout.ms", PACING),
	REFUSED("errors.max.retries", PACING),
	REFUSED("errors.retry.*", PACING),
	REFUSED("errors.log.*", "Errors are in the server's log and in eventlog.captures."),
	REFUSED("errors.deadletterqueue.context.headers.enable",
			"Records of the dead-letter topic always have headers that say why."),
	REFUSED("snapshot.lock.timeout.ms", "Set lock_timeout for the owner of the capture."),
	REFUSED("snapshot.tables.order.by.row.count", "Tables are read in parallel."),
	REFUSED("snapshot.mode.*", CLASSES),
	REFUSED("snapshot.locking.mode.*", CLASSES),
	REFUSED("snapshot.query.mode.*", CLASSES),
	REFUSED("read.only", "Signals can be sent with eventlog.capture_signal() instead."),
	REFUSED("signal.*", "Signals come from the signal table and eventlog.capture_signal()."),
	REFUSED("notification.*", "Notifications go to a topic."),
	REFUSED("converters", CLASSES),
	REFUSED("predicates", CLASSES),
	REFUSED("predicates.*", CLASSES),
	REFUSED("post.processors", CLASSES),
	REFUSED("sourceinfo.struct.maker", CLASSES),
	REFUSED("custom.metric.tags", "See the view eventlog.captures."),
	REFUSED("schema.refresh.mode", "Rows are always read as what they were when written."),
	REFUSED("schema.history.*", "The server keeps the history of tables."),
	REFUSED("column.propagate.source.type", "Schemas hold Debezium's semantic types only."),
	REFUSED("datatype.propagate.source.type", "Schemas hold Debezium's semantic types only."),
	REFUSED("money.fraction.digits", "money has the digits that lc_monetary gives it."),
	REFUSED("topic.cache.size", PACING),
	REFUSED("topic.creation.*", "All topics are made with topic.creation.default.*."),
	REFUSED("openlineage.*", "There is no lineage reporting here."),
	REFUSED("internal.*", "Internal properties of Debezium mean nothing here."),
	REFUSED("guardrail.*", "The publication says what is captured."),
	REFUSED("producer.*", "There is no Kafka producer here."),
	REFUSED("consumer.*", "There is no Kafka consumer here."),
	REFUSED("exactly.once.support", "Captures are always exactly-once."),
	REFUSED("transaction.boundary*", "Transactions are always kept whole."),
	REFUSED("transaction.metadata.factory", CLASSES),
	REFUSED("key.converter.*", "Only schemas.enable can be set."),
	REFUSED("value.converter.*",
			"Only schemas.enable, decimal.format and replace.null.with.default can be set."),
	REFUSED("header.converter.*", "Only schemas.enable can be set."),
	REFUSED("config.providers*", "There are no configuration providers here."),
	REFUSED("config.action.reload", "There are no configuration providers here."),
	REFUSED("connection.validation.timeout.ms", IN_SERVER),
	REFUSED("kafka.*", "There is no Kafka client here."),
};

const int	eventlog_nproperties = lengthof(eventlog_properties);

const EventlogProperty *
eventlog_property_find(const char *name, int format)
{
	for (int i = 0; i < eventlog_nproperties; i++)
	{
		const EventlogProperty *property = &eventlog_properties[i];
		size_t		len = strlen(property->name);

		if (format >= 0 && property->format >= 0 && property->format != format)
			continue;
		if (property->name[len - 1] == '*' ?
			strncmp(property->name, name, len - 1) == 0 && strlen(name) >= len :
			strcmp(property->name, name) == 0)
			return property;
	}
	return NULL;
}

PG_FUNCTION_INFO_V1(eventlog_capture_properties);

/* The table as rows, in its order. */
Datum
eventlog_capture_properties(PG_FUNCTION_ARGS)
{
	static const char *const formats[] = {
		[EVENTLOG_FORMAT_DEBEZIUM] = "debezium",
		[EVENTLOG_FORMAT_FLAT] = "flat",
		[EVENTLOG_FORMAT_OUTBOX] = "outbox"
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < eventlog_nproperties; i++)
	{
		const EventlogProperty *property = &eventlog_properties[i];
		const char *compatible = eventlog_property_default(property, true);
		Datum		values[6];
		bool		nulls[6] = {false};

		values[0] = CStringGetTextDatum(property->name);
		nulls[1] = property->format < 0;
		values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(formats[property->format]);
		nulls[2] = property->value == NULL;
		values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(property->value);
		nulls[3] = compatible == NULL;
		values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(compatible);
		values[4] = CStringGetTextDatum(property->kind == EVENTLOG_PROPERTY_REFUSED ? "no" :
										property->kind == EVENTLOG_PROPERTY_IGNORED ? "ignored" :
										"yes");
		nulls[5] = property->text == NULL;
		values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(property->text);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
