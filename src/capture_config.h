/*-------------------------------------------------------------------------
 *
 * capture_config.h
 *	  The configuration of a capture: Debezium's property names and ours.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_CONFIG_H
#define EVENTLOG_CAPTURE_CONFIG_H

#include "utils/jsonb.h"

#include "capture_value.h"

typedef enum EventlogSnapshotMode
{
	EVENTLOG_SNAPSHOT_INITIAL,
	EVENTLOG_SNAPSHOT_ALWAYS,
	EVENTLOG_SNAPSHOT_INITIAL_ONLY,
	EVENTLOG_SNAPSHOT_NO_DATA,
	EVENTLOG_SNAPSHOT_WHEN_NEEDED
} EventlogSnapshotMode;

typedef enum EventlogCaptureFormat
{
	EVENTLOG_FORMAT_DEBEZIUM,
	EVENTLOG_FORMAT_FLAT,
	EVENTLOG_FORMAT_OUTBOX
} EventlogCaptureFormat;

/*
 * Parsed; palloc'd in one context.  Strings are never NULL unless it says so.
 * What only the encoder looks at is kept behind "encoder".
 */
typedef struct EventlogCaptureConfig
{
	EventlogCaptureFormat format;
	bool		compatible;		/* "compatibility": "debezium" */
	EventlogSnapshotMode snapshot_mode;
	EventlogValueModes values;

	/* what the stream leaves out: op codes of skipped.operations */
	bool		skip_create;
	bool		skip_update;
	bool		skip_delete;
	bool		skip_truncate;
	bool		skip_messages;	/* message */

	int64		heartbeat_interval_ms;	/* 0: none */
	char	   *heartbeat_action_query; /* NULL: none */
	int64		xmin_fetch_interval_ms; /* 0: source.xmin is null */
	bool		transaction_metadata;
	char	   *slot_name;		/* NULL: one of our own */

	/* topics that are made */
	int32		topic_partitions;
	Jsonb	   *topic_config;	/* topic.creation.default.*: Kafka's configs;
								 * lz4 unless given */
	char	   *topic_schema;	/* schema of their tables */
	char	   *dead_letter_topic;	/* errors.deadletterqueue.topic.name; NULL:
									 * a row that cannot be encoded stops the
									 * capture */

	/* signals and incremental snapshots */
	char	   *signal_table;	/* signal.data.collection; NULL: none */
	int32		incremental_chunk_size;
	bool		watermark_delete;	/* insert_delete watermarking */
	char	   *notification_topic; /* NULL: no notifications */
	int32		snapshot_threads;	/* snapshot.max.threads */

	/* snapshot.select.statement.overrides: table (schema.table) -> statement */
	int			noverrides;
	char	  **override_tables;
	char	  **override_statements;

	struct EventlogEncoderConfig *encoder;
} EventlogCaptureConfig;

/*
 * Parse and check.  Errors: ERRCODE_INVALID_PARAMETER_VALUE for values,
 * ERRCODE_FEATURE_NOT_SUPPORTED for properties of Debezium that are not
 * supported, ERRCODE_INVALID_PARAMETER_VALUE for unknown ones: each names the
 * property.
 */
extern EventlogCaptureConfig *eventlog_capture_config_parse(Jsonb *config);

/* May this table (schema, name) be captured, by table.include.list and the like? */
extern bool eventlog_capture_config_has_table(const EventlogCaptureConfig *config,
											  const char *schema, const char *name);

/* Is it ("schema.table") in initial snapshots, by snapshot.include.collection.list? */
extern bool eventlog_capture_config_in_snapshot(const EventlogCaptureConfig *config,
												const char *name);

#endif							/* EVENTLOG_CAPTURE_CONFIG_H */
