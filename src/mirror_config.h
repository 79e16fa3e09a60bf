/*-------------------------------------------------------------------------
 *
 * mirror_config.h
 *	  The configuration of a mirror: a JSON object of names and scalars.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_CONFIG_H
#define EVENTLOG_MIRROR_CONFIG_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "mirror_option.h"

/* Where a partition begins that the mirror has no position for. */
typedef enum EventlogMirrorStartKind
{
	EVENTLOG_START_EARLIEST,
	EVENTLOG_START_LATEST,
	EVENTLOG_START_TIME,		/* first record of that time or later */
	EVENTLOG_START_OFFSETS		/* given; partitions that are not: earliest */
} EventlogMirrorStartKind;

typedef struct EventlogMirrorStart
{
	EventlogMirrorStartKind kind;
	int64		time_ms;		/* since 1970 */
	int			noffsets;
	int32	   *partitions;		/* of the source: ours for "out", Kafka's for "in" */
	int64	   *offsets;
} EventlogMirrorStart;

/* Parsed; palloc'd in the context of the call. */
typedef struct EventlogMirrorConfig
{
	EventlogMirrorStart start;	/* start */

	/*
	 * repartition: partition counts of the two sides differ, or may come to.
	 * False: the mirror stops if they do.  True: each record's partition is
	 * chosen by its key, and order is kept for each key only; records without
	 * one go to their own partition's number modulo the target's count.
	 */
	bool		repartition;

	/*
	 * delivery = at_least_once: Kafka transactions are not used ("out").
	 * "in" is always exactly once.
	 */
	bool		at_least_once;

	/*
	 * errors.deadletterqueue.topic.name: where records go that the target
	 * refuses, on the target's side: a Kafka topic for "out", one of ours for
	 * "in".  NULL: such a record stops the mirror.
	 */
	char	   *dead_letter_topic;

	/* a target that is missing: make it (create.topic), or stop */
	bool		create_topic;
	int32		topic_partitions;	/* topic.creation.default.partitions; 0: as
									 * many as the source has */
	int32		replication_factor; /* ....replication.factor; -1: the broker's
									 * default; "out" only */
	Jsonb	   *topic_config;	/* other topic.creation.default.*, by Kafka's
								 * config names, {} if none; those of the
								 * source that are set come first */
	char	   *topic_schema;	/* topic.schema; "in" only */
	char	   *key_type;		/* topic.key.type, topic.value.type; "in" only */
	char	   *value_type;

	/*
	 * One transaction, Kafka's or ours, takes at most so much, and is not kept
	 * open for longer than that while there is a backlog.
	 */
	int32		transaction_records;	/* transaction.max.records */
	int32		transaction_bytes;	/* transaction.max.bytes */
	int32		transaction_ms; /* transaction.max.ms */

	/* patterns */
	char	   *exclude;		/* topics.exclude: a regular expression; NULL: none */
	int32		refresh_ms;		/* topics.refresh.interval.ms */

	int32		stats_ms;		/* statistics.interval.ms; 0: none */
	int32		sync_ms;		/* offset.sync.interval.ms: how often pairs of
								 * offsets are kept for translation */
	int32		idle_commit_ms; /* offset.keepalive.interval.ms: a transaction of
								 * offsets alone, so that they do not expire;
								 * "out" only; 0: none */

	/* librdkafka's options that the mirror sets for itself */
	int			noptions;
	EventlogMirrorOption *options;
} EventlogMirrorConfig;

/*
 * Parse and check.  Errors name the key: ERRCODE_INVALID_PARAMETER_VALUE for
 * unknown ones and values that do not fit, ERRCODE_FEATURE_NOT_SUPPORTED for
 * what cannot be had.
 */
extern EventlogMirrorConfig *eventlog_mirror_config_parse(Jsonb *config, bool out);

/* "earliest", "latest", a timestamp, or {"0": 100, "1": 200} as text. */
extern void eventlog_mirror_start_parse(const char *text, EventlogMirrorStart *start);

#endif							/* EVENTLOG_MIRROR_CONFIG_H */
