/*-------------------------------------------------------------------------
 *
 * mirror_in.h
 *	  The inside of mirrors from Kafka, for the files that make them up:
 *	  mirror_in.c (their states), mirror_in_assign.c, mirror_in_append.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_IN_H
#define EVENTLOG_MIRROR_IN_H

#include "mirror_task.h"

#define OP_TIMEOUT_MS		10000
#define BATCH_RECORDS		50000
#define BATCH_BYTES			(16 * 1024 * 1024)
#define LOOK_MS				1000
#define CAREFUL_MS			10000	/* after a record that was refused */
#define CAREFUL_RECORDS		1000
#define GONE_FAILURES		6		/* until a topic that was there is gone */

typedef enum InState
{
	IN_CLOSED,
	IN_METADATA,				/* how many partitions are there? */
	IN_START,					/* where does a new mirror start? */
	IN_END,						/* ... where there is no record at its time yet? */
	IN_READY
} InState;

/* A mirror. */
typedef struct Incoming
{
	EventlogMirrorPair *pair;
	int			npartitions;	/* Kafka's */
	int64	   *position;		/* next offset of Kafka's, by partition; or
								 * EVENTLOG_KAFKA_OFFSET_BEGINNING */
	int64	   *end;			/* of Kafka's log, as told last; -1: not known */
	bool		in_batch;		/* the batch in work has something of it */
	int64	   *pending;		/* after the batch in work; -1: unchanged */
	bool		restart;		/* to begin where resume_mirror() has said */
	bool		assigned;
	int64		records;		/* of the batch in work */
	int64		bytes;
	bool	   *has_records;	/* the batch in work has some, by partition */
	bool	   *paired;			/* there is a pair of offsets, by partition */
	TimestampTz synced_at;		/* when pairs of offsets were kept */
	bool		unpaired;		/* records have come since then */
	EventlogTopic *topic;		/* in the transaction in work */
	EventlogTopic *letters;		/* the dead-letter topic; as "topic" */
	int64		nletters;		/* of the batch in work */
	TimestampTz careful_until;	/* each record is appended by itself; 0: no */
	TimestampTz retry_at;		/* of a pattern: when to look for topics */
	TimestampTz look_at;		/* once assigned: when to look at the topic again */
	int			failures;
	bool		pattern;		/* finds topics, and has no partitions itself */
} Incoming;

struct EventlogMirrorIn
{
	const EventlogKafkaApi *api;
	EventlogKafkaClient *client;
	InState		state;
	int			nmirrors;
	Incoming   *mirrors;
	int			current;		/* whose partitions are being asked for */
	Incoming   *asked;			/* ... if only its topic is; NULL: all topics */
	Incoming   *at_work;		/* whose record is being appended */
	EventlogKafkaBatch *batch;	/* in work */
	bool		at_record;		/* ... and it may be the record's fault */
	bool		stop;			/* what is being raised does not go away by itself */
	bool		diverged;		/* ... and somebody has to say from where to go on */
	TimestampTz stats_at;		/* when statistics were taken */
	TimestampTz retry_at;
	int			failures;
};

/* --- mirror_in.c --- */

/* What is kept by partition, if any. */
extern void eventlog_in_free_partitions(Incoming *mirror);
extern void eventlog_in_fail_mirror(Incoming *mirror, const char *message);
extern void eventlog_in_stop_mirror(Incoming *mirror, EventlogMirrorPhase phase, const char *message);
extern void eventlog_in_fail_all(EventlogMirrorIn *in, const char *what, const EventlogKafkaError *error);
extern void eventlog_in_reopen(EventlogMirrorIn *in);
extern void eventlog_in_streaming(Incoming *mirror);

/* --- mirror_in_assign.c --- */

extern bool eventlog_in_is_due(const Incoming *mirror, TimestampTz now);
extern void eventlog_in_ask_for_partitions(EventlogMirrorIn *in, TimestampTz now);
extern void eventlog_in_take_partitions(EventlogMirrorIn *in, Incoming *mirror, const EventlogKafkaTopic *topic);
extern void eventlog_in_take_start(EventlogMirrorIn *in, Incoming *mirror);

/* --- mirror_in_append.c --- */

extern void eventlog_in_keep_idle_pairs(EventlogMirrorIn *in, TimestampTz now);
extern void eventlog_in_take_batch(EventlogMirrorIn *in, EventlogKafkaBatch *batch);

#endif							/* EVENTLOG_MIRROR_IN_H */
