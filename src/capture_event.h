/*-------------------------------------------------------------------------
 *
 * capture_event.h
 *	  Inside the encoder: its configuration, its state, and what its parts
 *	  offer each other.
 *
 * capture_encoder.c	makes the encoder and its tables known, and is the door
 * capture_event.c		Debezium's envelope, keys and headers
 * capture_convert.c	headers and texts as Kafka Connect's converters write them
 * capture_mask.c		masked, hashed and truncated columns
 * capture_event_schema.c		the Connect schemas around them, if asked for
 * capture_metadata.c	transaction records, heartbeats, messages, notifications
 * capture_flat.c		the unwrapped row
 * capture_outbox.c		the outbox; capture_outbox_json.c expands its payload
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_EVENT_H
#define EVENTLOG_CAPTURE_EVENT_H

#include <time.h>

#include "common/cryptohash.h"
#include "utils/hsearch.h"

#include "capture_encoder.h"
#include "capture_naming.h"

/* --- configuration --- */

typedef enum EventlogConverter
{
	EVENTLOG_CONVERTER_JSON,
	EVENTLOG_CONVERTER_STRING,
	EVENTLOG_CONVERTER_SIMPLE	/* of headers only */
} EventlogConverter;

typedef enum EventlogMaskKind
{
	EVENTLOG_MASK_TRUNCATE,
	EVENTLOG_MASK_CHARS,
	EVENTLOG_MASK_HASH
} EventlogMaskKind;

/* column.mask.with.N.chars and the like */
typedef struct EventlogMask
{
	EventlogMaskKind kind;
	EventlogPatterns columns;
	int32		length;			/* characters */
	pg_cryptohash_type algorithm;	/* of a hash */
	bool		md5;
	bool		java_object;	/* the first version of the hash */
	char	   *salt;
} EventlogMask;

typedef enum EventlogFlatDelete
{
	EVENTLOG_FLAT_DELETE_DROP,
	EVENTLOG_FLAT_DELETE_TOMBSTONE,
	EVENTLOG_FLAT_DELETE_REWRITE,
	EVENTLOG_FLAT_DELETE_REWRITE_TOMBSTONE
} EventlogFlatDelete;

typedef enum EventlogInvalidOperation
{
	EVENTLOG_INVALID_WARN,
	EVENTLOG_INVALID_ERROR,
	EVENTLOG_INVALID_FATAL
} EventlogInvalidOperation;

/* Where a field is put that is added to the flat form or the outbox. */
typedef enum EventlogPlacement
{
	EVENTLOG_PLACE_HEADER,
	EVENTLOG_PLACE_ENVELOPE,
	EVENTLOG_PLACE_PARTITION
} EventlogPlacement;

typedef struct EventlogAddedField
{
	char	   *field;			/* a column, or "op", "source.lsn" and so on */
	char	   *alias;			/* the name that it gets */
	EventlogPlacement place;	/* of the outbox */
	int			what;			/* of the flat form: see capture_flat.c */
} EventlogAddedField;

/* What only the encoder looks at. */
typedef struct EventlogEncoderConfig
{
	bool		tombstones;
	bool		context_headers;	/* extended.headers.enabled */
	bool		skip_unchanged;
	EventlogConverter key_converter;
	EventlogConverter value_converter;
	EventlogConverter header_converter;
	bool		key_schemas;
	bool		value_schemas;
	bool		header_schemas;
	EventlogNameMode field_names;
	EventlogNameMode schema_names;
	char	   *delimiter;
	char	   *heartbeat_prefix;
	char	   *transaction_topic;	/* after the prefix */

	EventlogPatterns schema_include;
	EventlogPatterns schema_exclude;
	EventlogPatterns table_include;
	EventlogPatterns table_exclude;
	EventlogPatterns snapshot_include;
	EventlogPatterns column_include;
	EventlogPatterns column_exclude;
	EventlogPatterns message_include;
	EventlogPatterns message_exclude;

	int			nmasks;
	EventlogMask *masks;
	EventlogPatterns key_columns;	/* message.key.columns: of schema.table.column */

	/* format flat */
	EventlogFlatDelete flat_delete;
	char	   *flat_header_prefix;
	char	   *flat_field_prefix;
	int			nflat_headers;
	EventlogAddedField *flat_headers;
	int			nflat_fields;
	EventlogAddedField *flat_fields;
	char	   *flat_route_field;	/* NULL: none */

	/* format outbox */
	char	   *outbox_id;
	char	   *outbox_key;
	char	   *outbox_type;	/* NULL: none is needed */
	char	   *outbox_payload;
	char	   *outbox_timestamp;	/* NULL: none */
	char	   *outbox_schema_version;	/* NULL: none */
	char	   *outbox_route;
	char	   *outbox_topic;	/* the replacement */
	EventlogRoute outbox_router;
	bool		outbox_missing_is_error;
	bool		outbox_keep_nulls;	/* of an expanded payload */
	bool		outbox_tombstone;
	bool		outbox_expand;
	EventlogInvalidOperation outbox_invalid;
	int			noutbox_added;
	EventlogAddedField *outbox_added;
} EventlogEncoderConfig;

/* --- state --- */

typedef struct EventlogText
{
	char	   *data;
	int32		len;
} EventlogText;

/* How a column of a table goes into a row, or into a key. */
typedef struct EventlogField
{
	int			column;			/* index in desc->columns */
	EventlogValuePlan *plan;
	EventlogText label;			/* "name": with the comma before it, if any */
	const EventlogMask *mask;	/* NULL: none */
	int32		mask_length;	/* characters that are left of it */
	char	   *mask_parameter; /* of the column's schema: JSON; NULL: none */
	bool		mask_makes_text;	/* of a column that is no text */
	bool		compatible;
	bool		binary;			/* truncated by bytes */
	bool		not_null;
	const char *placeholder;
	char	   *name;			/* adjusted */
	EventlogText schema;		/* of an outbox, if schemas are on */
} EventlogField;

struct EventlogEncoderTable
{
	Oid			relid;			/* hash key */
	MemoryContext context;
	EventlogRelationDesc *desc;
	char	   *full_name;		/* schema.table */
	char	   *shown_name;		/* as records have it */
	char	   *shown_schema;
	char	   *shown_table;
	bool		latin1;			/* names are shown as Debezium misreads them */
	struct EventlogEncoderTable *snapshot;	/* for a snapshot's rows; NULL: itself */
	EventlogCaptureTopic *topic;
	bool		captured;

	int			nfields;
	EventlogField *fields;
	int			nkeys;
	EventlogField *keys;
	int			nrow_keys;		/* what tells rows apart: the keys, unless */
	EventlogField *row_keys;	/* message.key.columns chose those */

	EventlogText source;		/* "schema":...,"table":...,"txId": */
	EventlogText key_schema;	/* of a key; empty if not needed */
	EventlogText key_head;		/* {"schema":...,"payload": or empty */
	EventlogText value_head;

	struct EventlogOutbox *outbox;	/* format outbox: its columns */

	/* transaction metadata */
	uint64		transaction;	/* in which collection is valid */
	int			collection;
};

/* One table's events in the current transaction. */
typedef struct EventlogCollection
{
	char	   *name;
	int64		count;
	uint32		bucket;			/* for Debezium's order of them */
	int			place;
} EventlogCollection;

typedef struct EventlogTopicEntry
{
	char		name[250];		/* hash key */
	EventlogCaptureTopic *topic;
} EventlogTopicEntry;

struct EventlogEncoder
{
	MemoryContext context;
	const EventlogCaptureConfig *config;
	const EventlogEncoderConfig *ec;
	char	   *prefix;
	char	   *database;
	EventlogCaptureSink *sink;
	HTAB	   *tables;
	HTAB	   *topics;

	/* of the record that is being made */
	EventlogBuf key;
	EventlogBuf value;
	EventlogBuf headers;
	EventlogBuf other_key;		/* the old key of an update */
	EventlogBuf scratch;
	EventlogBuf source_field;	/* a field of the flat form */
	EventlogBuf framed;			/* a header, key or value within its schema */
	struct timespec now;

	EventlogBuf context_headers;	/* encoded */
	int32		ncontext_headers;

	/* the source block's text that stays while time and last commit do */
	EventlogSource source_of;
	bool		source_valid;
	EventlogBuf source_head;	/* from "source" to within "sequence" */
	EventlogBuf source_times;	/* after "sequence", to ts_ns */
	EventlogText source_start;
	EventlogText source_middle;

	/* the current transaction */
	uint64		transaction;	/* number, to know stale counts by; 0: none */
	uint64		transactions;	/* so far */
	bool		transaction_begun;	/* its record was emitted */
	int			buckets;		/* of Debezium's HashMap; a power of two */
	int64		events;
	int			ncollections;
	int			max_collections;
	EventlogCollection *collections;
	MemoryContext transaction_context;
	EventlogCaptureTopic *transaction_topic;
	EventlogCaptureTopic *heartbeat_topic;
	EventlogCaptureTopic *message_topic;
	EventlogCaptureTopic *notification_topic;
};

#define EVENTLOG_HEADER_NEW_KEY	"__debezium.newkey"
#define EVENTLOG_HEADER_OLD_KEY	"__debezium.oldkey"

#define EVENTLOG_DEBEZIUM_VERSION	"3.2.3.Final"

#define eventlog_json_text(out, text)	eventlog_json_raw((out), (text).data, (text).len)

/* --- capture_encoder.c --- */

/* The topic of this name, which is made legal. */
extern EventlogCaptureTopic *eventlog_encoder_topic(EventlogEncoder *encoder, const char *name,
													bool plain);

/* Hand over the record in encoder->key, value and headers. */
extern void eventlog_encoder_emit(EventlogEncoder *encoder, EventlogCaptureTopic *topic,
								  bool has_key, bool has_value, int32 nheaders,
								  int64 timestamp, int32 partition);

/* --- capture_event.c --- */

/* Render what stays the same for all events; for all of a table's. */
extern void eventlog_event_init(EventlogEncoder *encoder);
extern void eventlog_event_prepare(EventlogEncoder *encoder, EventlogEncoderTable *table);

/* Take the time for the records to come. */
static inline void
eventlog_event_clock(EventlogEncoder *encoder)
{
	clock_gettime(CLOCK_REALTIME, &encoder->now);
}

static inline int64
eventlog_event_millis(const EventlogEncoder *encoder)
{
	return encoder->now.tv_sec * INT64CONST(1000) + encoder->now.tv_nsec / 1000000;
}

static inline int64
eventlog_event_nanos(const EventlogEncoder *encoder)
{
	return encoder->now.tv_sec * INT64CONST(1000000000) + encoder->now.tv_nsec;
}

extern void eventlog_event_row(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
							   const EventlogSource *source, const EventlogColumnValue *row);
extern void eventlog_event_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
								  const EventlogSource *source, char old_kind,
								  const EventlogColumnValue *old, const EventlogColumnValue *row);
extern void eventlog_event_delete(EventlogEncoder *encoder, EventlogEncoderTable *table,
								  const EventlogSource *source, char old_kind,
								  const EventlogColumnValue *old);
extern void eventlog_event_truncate(EventlogEncoder *encoder, EventlogEncoderTable *table,
									const EventlogSource *source);

/* Parts for the others: append to out. */
extern void eventlog_event_write_fields(EventlogBuf *out, const EventlogEncoderTable *table,
										const EventlogColumnValue *row, char kind,
										const EventlogColumnValue *other);
extern void eventlog_event_write_key(EventlogBuf *out, EventlogEncoder *encoder,
									 EventlogEncoderTable *table,
									 const EventlogColumnValue *row, char kind, bool schema);
extern void eventlog_event_write_row_key(EventlogBuf *out, const EventlogEncoderTable *table,
										 const EventlogColumnValue *row);
extern void eventlog_event_write_source(EventlogBuf *out, EventlogEncoder *encoder,
										const EventlogText *table, const EventlogSource *source);
extern void eventlog_event_write_value(EventlogBuf *out, const EventlogField *field,
									   const EventlogColumnValue *value, char kind);

/* Fill in a field for a column; false if its type is left out. */
extern bool eventlog_event_make_field(EventlogEncoder *encoder, EventlogEncoderTable *table,
									  int column, EventlogField *field, bool first);

/* Has the row got another key?  Then the old one is in encoder->other_key. */
extern bool eventlog_event_key_is_changed(EventlogEncoder *encoder, EventlogEncoderTable *table,
										  char old_kind, const EventlogColumnValue *old,
										  const EventlogColumnValue *row);

/* Are all columns that are captured as they were? */
extern bool eventlog_event_is_unchanged(const EventlogEncoderTable *table,
										const EventlogColumnValue *old,
										const EventlogColumnValue *row);

/* The word for a marker. */
extern const char *eventlog_event_marker(EventlogSnapshotMarker marker);

/* Append the headers of the context; their count. */
extern int32 eventlog_event_context_headers(EventlogEncoder *encoder);

/* --- capture_convert.c --- */

/* Append the characters of a JSON string, or any other JSON as it is. */
extern void eventlog_convert_unquote(EventlogBuf *out, const char *json, size_t len);

/* Add a header, as the header converter writes a text (len -1: null) or a JSON value. */
extern void eventlog_convert_add_text(EventlogEncoder *encoder, const char *name,
									  const char *value, int32 len);
extern void eventlog_convert_add_json(EventlogEncoder *encoder, const char *name,
									  EventlogText schema, const char *json, size_t len);

/* ... that is the JSON of a row's key. */
extern void eventlog_convert_add_key(EventlogEncoder *encoder, const EventlogEncoderTable *table,
									 const char *name, const char *json, size_t len);

/* JSON within its schema, into encoder->framed. */
extern void eventlog_convert_frame(EventlogEncoder *encoder, EventlogText schema,
								   const char *json, size_t len);

/* --- capture_mask.c --- */

/* Read a property's name; false if it is of no mask.  Raises if it is of a wrong one. */
extern bool eventlog_mask_parse(EventlogMask *mask, const char *property);

/* Find the mask for a column, whose full name is given. */
extern void eventlog_mask_prepare(EventlogEncoder *encoder, EventlogField *field,
								  const EventlogColumnDesc *column, const char *full_name);

/* Write a value of a field that has a mask. */
extern void eventlog_mask_write(EventlogBuf *out, const EventlogField *field,
								const EventlogColumnValue *value, char kind);

/* --- capture_event_schema.c --- */

extern const char *const eventlog_event_schema_transaction_key;
extern const char *const eventlog_event_schema_transaction_value;
extern const char *const eventlog_event_schema_heartbeat_key;
extern const char *const eventlog_event_schema_heartbeat_value;
extern const char *const eventlog_event_schema_notification_key;
extern const char *const eventlog_event_schema_notification_value;
extern const char *const eventlog_event_schema_message_key;
extern const char *eventlog_event_schema_message_value(EventlogBinaryMode mode);

/* The schema of a field by itself, as a text of the current context. */
extern EventlogText eventlog_event_schema_field(EventlogEncoder *encoder,
												const EventlogField *field);
extern void eventlog_event_schema_prepare(EventlogEncoder *encoder, EventlogEncoderTable *table);

/* --- capture_metadata.c --- */

extern void eventlog_metadata_init(EventlogEncoder *encoder);

/* Before a change of a transaction: emits its begin, if that is still to do. */
extern void eventlog_metadata_begin(EventlogEncoder *encoder, const EventlogSource *source);

/* Count an event, and append its "transaction" block. */
extern void eventlog_metadata_block(EventlogBuf *out, EventlogEncoder *encoder,
									EventlogEncoderTable *table, const EventlogSource *source);

/* Count an event of a format that has no such block. */
extern void eventlog_metadata_count(EventlogEncoder *encoder, EventlogEncoderTable *table,
									const EventlogSource *source);

/* --- capture_flat.c --- */

/* The number of a field of the envelope, such as op or source.lsn; -1 if there is none. */
extern int	eventlog_flat_field(const char *name);

/* Append the Connect schema of the record's value, but for the columns' schemas. */
extern void eventlog_flat_schema(EventlogBuf *out, const EventlogEncoderConfig *ec);

extern void eventlog_flat_row(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
							  const EventlogSource *source, const EventlogColumnValue *row);
extern void eventlog_flat_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
								 const EventlogSource *source, char old_kind,
								 const EventlogColumnValue *old, const EventlogColumnValue *row);
extern void eventlog_flat_delete(EventlogEncoder *encoder, EventlogEncoderTable *table,
								 const EventlogSource *source, char old_kind,
								 const EventlogColumnValue *old);

/* --- capture_outbox.c --- */

extern void eventlog_outbox_prepare(EventlogEncoder *encoder, EventlogEncoderTable *table);
extern void eventlog_outbox_row(EventlogEncoder *encoder, EventlogEncoderTable *table,
								const EventlogSource *source, const EventlogColumnValue *row);
extern void eventlog_outbox_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
								   const EventlogSource *source, char old_kind,
								   const EventlogColumnValue *old,
								   const EventlogColumnValue *row);
extern bool eventlog_outbox_expand(EventlogBuf *out, EventlogEncoder *encoder,
								   const char *text, int32 len, bool is_json);
extern void eventlog_outbox_message(EventlogEncoder *encoder, const EventlogSource *source,
									const char *prefix, const char *content, int32 len);

#endif							/* EVENTLOG_CAPTURE_EVENT_H */
