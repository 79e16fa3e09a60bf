/*-------------------------------------------------------------------------
 *
 * metrics.h
 *	  Cumulative counters of topics and databases, in shared memory.
 *
 * What is counted for a topic is kept in the backend's memory until the
 * transaction ends, and then added to shared memory: records that were
 * appended count as produced if it has committed (or was prepared), else as
 * aborted; all else counts either way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_METRICS_H
#define EVENTLOG_METRICS_H

#include "datatype/timestamp.h"

/* How records were given out. */
typedef enum EventlogVia
{
	EVENTLOG_VIA_CONSUME,
	EVENTLOG_VIA_POLL,
	EVENTLOG_VIA_READ,
	EVENTLOG_VIA_TAIL
} EventlogVia;

#define EVENTLOG_VIAS	4

/* Counters of a topic; the last four have one for each EventlogVia. */
typedef enum EventlogTopicMetric
{
	EVENTLOG_TOPIC_RECORDS,		/* produced and committed */
	EVENTLOG_TOPIC_BYTES,		/* of their batches, as appended */
	EVENTLOG_TOPIC_BATCHES,
	EVENTLOG_TOPIC_TRANSACTIONS,	/* that produced to it and committed */
	EVENTLOG_TOPIC_ABORTED,		/* records rolled back, appended or not */
	EVENTLOG_TOPIC_LOCK_WAITS,	/* appends that waited for the append lock */
	EVENTLOG_TOPIC_LOCK_WAIT_US,
	EVENTLOG_TOPIC_OUT_RECORDS,
	EVENTLOG_TOPIC_OUT_BYTES = EVENTLOG_TOPIC_OUT_RECORDS + EVENTLOG_VIAS,
	EVENTLOG_TOPIC_OUT_CALLS = EVENTLOG_TOPIC_OUT_BYTES + EVENTLOG_VIAS,
	EVENTLOG_TOPIC_OUT_EMPTY = EVENTLOG_TOPIC_OUT_CALLS + EVENTLOG_VIAS
} EventlogTopicMetric;

#define EVENTLOG_TOPIC_METRICS	(EVENTLOG_TOPIC_OUT_EMPTY + EVENTLOG_VIAS)

/* Counters of a database. */
typedef enum EventlogMetric
{
	EVENTLOG_METRIC_REBALANCES,
	EVENTLOG_METRIC_MEMBERS_FENCED,
	EVENTLOG_METRIC_WAITS,		/* times that a session slept in max_wait */
	EVENTLOG_METRIC_WAIT_US,
	EVENTLOG_METRIC_WAKEUPS_SENT,
	EVENTLOG_METRIC_POLLS,
	EVENTLOG_METRIC_EMPTY_POLLS
} EventlogMetric;

#define EVENTLOG_METRICS	(EVENTLOG_METRIC_EMPTY_POLLS + 1)

/*
 * Counting.  A topic is named by its table.  None of these waits for anything
 * but the counters' own lock, held for moments.
 *
 * produced: a batch was appended for this subtransaction.  discarded: records
 * were rolled back before they were appended; of a topic that was named to
 * eventlog_metrics_touch() before.  consumed: a call has given out records of
 * a topic, or found none; bytes are those of keys, values and headers.
 *
 * eventlog_metrics_discarded() and eventlog_metrics_count() neither raise nor
 * allocate, and may be called at the end of a transaction; the latter adds to
 * shared memory at once and needs no transaction.
 */
extern void eventlog_metrics_touch(Oid topic);
extern void eventlog_metrics_produced(Oid topic, SubTransactionId subid,
									  int64 records, int64 bytes);
extern void eventlog_metrics_append_waited(Oid topic, int64 microseconds);
extern void eventlog_metrics_discarded(Oid topic, int64 records);
extern void eventlog_metrics_consumed(Oid topic, EventlogVia via, int64 records, int64 bytes);
extern void eventlog_metrics_count(EventlogMetric metric, int64 n);

/*
 * Copy the counters of a topic of this database; InvalidOid: of those that
 * found no place (of all databases).  False: nothing was counted yet; then
 * they are 0.
 */
extern bool eventlog_metrics_get_topic(Oid topic, uint64 *counters);

/* Copy the counters of this database, and since when they count. */
extern TimestampTz eventlog_metrics_get_database(uint64 *counters);

/* Set the counters of this database, and of its topics, to 0. */
extern void eventlog_metrics_reset(void);

/*
 * Give the places of dropped topics of this database, and of dropped databases,
 * back.  Needs a transaction.
 */
extern void eventlog_metrics_sweep(void);

/* Install hooks; before modules whose ends of transactions count something. */
extern void eventlog_metrics_init(void);

#endif							/* EVENTLOG_METRICS_H */
