/*-------------------------------------------------------------------------
 *
 * kafka_request.h
 *	  A question to a Kafka cluster, asked by a process that lives for it alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_KAFKA_REQUEST_H
#define EVENTLOG_KAFKA_REQUEST_H

#include "utils/jsonb.h"

#include "mirror_option.h"

typedef enum EventlogKafkaAsk
{
	/* brokers, topics, latency */
	EVENTLOG_ASK_CLUSTER,
	/* what a group has committed, of partitions */
	EVENTLOG_ASK_COMMITTED,
	/* commit offsets of partitions for a group */
	EVENTLOG_ASK_COMMIT
} EventlogKafkaAsk;

typedef struct EventlogKafkaPlace
{
	const char *topic;
	int32		partition;
	int64		offset;			/* next to read; -1: none */
} EventlogKafkaPlace;

typedef struct EventlogKafkaRequest
{
	EventlogKafkaAsk ask;
	int			timeout_ms;
	int			noptions;
	const EventlogMirrorOption *options;
	const char *group;			/* NULL: none */
	int			nplaces;
	EventlogKafkaPlace *places; /* of ASK_COMMITTED, offsets are set */
} EventlogKafkaRequest;

/*
 * Ask, and wait for the answer; a cancelled statement leaves nothing behind.
 * Returns NULL, with *error in words, if the cluster could not be asked or has
 * refused; else the answer as JSON: for ASK_CLUSTER cluster_id, latency_ms,
 * brokers, topics, librdkafka; else an empty object.
 * Errors: ERRCODE_CONFIGURATION_LIMIT_EXCEEDED if no process could be started.
 */
extern Jsonb *eventlog_kafka_ask(EventlogKafkaRequest *request, char **error);

/* Entry point of the process. */
extern PGDLLEXPORT void eventlog_kafka_request_main(Datum arg);

#endif							/* EVENTLOG_KAFKA_REQUEST_H */
