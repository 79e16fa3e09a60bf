/*-------------------------------------------------------------------------
 *
 * mirror_task.h
 *	  Pairs of topics at work in a mirror worker.
 *
 * A worker has many pairs and one thread: each does a bit of work at a step,
 * never waits, and says when it wants to be called again.  What a step raises
 * is that pair's failure: the worker rolls back, has the pair begin anew after
 * a while, and goes on with the others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_TASK_H
#define EVENTLOG_MIRROR_TASK_H

#include "datatype/timestamp.h"

#include "kafka_api.h"
#include "mirror.h"
#include "topic.h"

/* A cluster's id, cut: Kafka's own have 22 characters. */
#define EVENTLOG_MIRROR_CLUSTER_BYTES	64

/* A pair of topics of a mirror; a mirror that is no pattern has one. */
typedef struct EventlogMirrorPair
{
	const EventlogMirror *mirror;
	EventlogMirrorSlot *slot;
	const char *topic;			/* ours */
	const char *kafka_topic;
	const char *transactional_id;	/* out: NULL for at least once */
	const char *group;			/* out: the group that carries positions */
	const EventlogKafkaOption *options;
	int			noptions;
	EventlogMirrorPhase phase;	/* by eventlog_mirror_pair_phase() */
	bool		admitted;		/* by eventlog_mirror_pair_admit() ... */
	char		cluster[EVENTLOG_MIRROR_CLUSTER_BYTES]; /* ... in this cluster */
	bool		left_out;		/* of a pattern: another mirror goes the other way */
} EventlogMirrorPair;

/*
 * What a pair knows of its progress, in the catalogue: by partition of the
 * source; -1 where there is none.  In a transaction, as superuser.
 */
extern void eventlog_mirror_pair_load(const EventlogMirrorPair *pair, int npartitions,
									  int64 *ours, int64 *kafka);
extern void eventlog_mirror_pair_save(const EventlogMirrorPair *pair, int32 partition,
									  int64 ours, int64 kafka);

/*
 * For the views: how the pair fares.  A pattern is in trouble as long as one of
 * its pairs is.  With a failure come how many there were in a row, and when the
 * pair begins anew.
 */
extern void eventlog_mirror_pair_phase(EventlogMirrorPair *pair, EventlogMirrorPhase phase,
									   const char *message);
extern void eventlog_mirror_pair_failed(EventlogMirrorPair *pair, const char *message,
										int failures, TimestampTz due);

/*
 * The pair's mirror is not to go on, not after a restart either, until somebody
 * resumes it.  In a transaction or outside of one.
 */
extern void eventlog_mirror_pair_stop(EventlogMirrorPair *pair, EventlogMirrorPhase phase,
									  const char *message);

/*
 * To be asked when brokers have answered a client, before anything is read or
 * written: may the pair be mirrored in the cluster of this id ("": not told)?
 * If not, its mirror has been stopped, or leaves the pair out: nothing more is
 * to be done about it.  Costs nothing once it has been admitted.  Outside of
 * transactions.
 */
extern bool eventlog_mirror_pair_admit(EventlogMirrorPair *pair, const char *cluster);

/* For the views: where a partition is. */
extern void eventlog_mirror_pair_tell(const EventlogMirrorPair *pair, int32 partition,
									  int64 position, int64 end);

/* Warnings and errors that librdkafka has logged go to the server's log. */
extern void eventlog_mirror_log(const EventlogKafkaApi *api, EventlogKafkaClient *client,
								const char *mirror);

/*
 * librdkafka's statistics as text for eventlog_mirror_slot_stats(), palloc'd;
 * NULL if they cannot be read.  Outside of transactions.
 */
extern char *eventlog_mirror_cut_stats(const char *json);

/* How long to wait after so many failures in a row, in ms. */
extern int64 eventlog_mirror_backoff_ms(int failures);

/* --- mirror_out.c: one of them for each pair --- */

typedef struct EventlogMirrorOut EventlogMirrorOut;

extern EventlogMirrorOut *eventlog_mirror_out_create(EventlogMirrorPair *pair,
													 const EventlogKafkaApi *api);

/*
 * Do some work, outside of transactions, in the name of the mirror's owner.
 * *wait_ms: when to be called again at the latest; 0: at once.
 */
extern void eventlog_mirror_out_step(EventlogMirrorOut *out, TimestampTz now, int64 *wait_ms);

/*
 * In a transaction, when tables have changed: if its topic is not the one that it
 * was, or there is none of that name, it has news.
 */
extern void eventlog_mirror_out_check_topic(EventlogMirrorOut *out);

/* Has its topic changed since it was found empty?  Needs no transaction. */
extern bool eventlog_mirror_out_has_news(const EventlogMirrorOut *out);

/* Is news what it waits for? */
extern bool eventlog_mirror_out_is_waiting(const EventlogMirrorOut *out);

/* A descriptor to wait for, or -1. */
extern int	eventlog_mirror_out_fd(EventlogMirrorOut *out);

/* A step has raised: begin anew after a while. */
extern void eventlog_mirror_out_fail(EventlogMirrorOut *out, const char *message);
extern void eventlog_mirror_out_close(EventlogMirrorOut *out);

/* --- mirror_in.c: one for all pairs of an owner --- */

typedef struct EventlogMirrorIn EventlogMirrorIn;

extern EventlogMirrorIn *eventlog_mirror_in_create(EventlogMirrorPair *pairs, int npairs,
												   const EventlogKafkaApi *api);
extern void eventlog_mirror_in_step(EventlogMirrorIn *in, TimestampTz now, int64 *wait_ms);
extern int	eventlog_mirror_in_fd(EventlogMirrorIn *in);
extern void eventlog_mirror_in_fail(EventlogMirrorIn *in, const char *message);
extern void eventlog_mirror_in_close(EventlogMirrorIn *in);

#endif							/* EVENTLOG_MIRROR_TASK_H */
