/*-------------------------------------------------------------------------
 *
 * produce.h
 *	  The producer's buffer: records of this transaction, not yet appended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_PRODUCE_H
#define EVENTLOG_PRODUCE_H

#include "executor/tuptable.h"
#include "nodes/plannodes.h"
#include "utils/rel.h"

#include "batch.h"
#include "topic.h"

/* A row that the access method is to store, with the offset it is to have. */
extern void eventlog_produce_row(Relation leaf, TupleTableSlot *slot);
extern void eventlog_produce_rows(Relation leaf, TupleTableSlot **slots, int nslots);

/*
 * Buffer one record for a partition of a topic.  explicit_offset is the offset
 * that it is to have, or -1 for the next in turn.  The caller has checked
 * privileges.
 */
extern void eventlog_produce_record(EventlogTopic *topic, int32 partition,
									const EventlogRecord *rec, int64 explicit_offset);

/*
 * Buffer a record with the next offset in turn, unless the topic's rows have
 * to go through the executor, because of indexes or triggers: then false.
 */
extern bool eventlog_produce_try(EventlogTopic *topic, int32 partition,
								 const EventlogRecord *rec);

/*
 * Hand a record over, to the buffer or, where rows have to, to the executor.
 * partition: -1 to have it chosen by the key.
 */
extern void eventlog_produce_any(EventlogTopic *topic, int32 partition, EventlogRecord *rec);

/* Has the partition that was written to last got a batch's worth of records? */
extern bool eventlog_produce_batch_is_full(Oid leaf);

/*
 * Append all, and return the offset of the last record of this leaf, with the
 * time of appending (ms; 0 unless the topic uses LogAppendTime).
 */
extern int64 eventlog_produce_append_now(Oid leaf, int64 *append_time);

/* Partition for a key (null: the sticky one), by Kafka's rules. */
extern int32 eventlog_produce_partition(EventlogTopic *topic, const char *key, int32 key_len);

/*
 * The timestamp of a new record in ms: event_time, or now.  Raises if it is
 * outside of the topic's limits.
 */
extern int64 eventlog_produce_timestamp(const EventlogTopic *topic, bool given,
										TimestampTz event_time);

/* Append whatever this transaction has buffered; does nothing if there is nothing. */
extern void eventlog_produce_flush_all(void);

/*
 * To be called before utility commands: appends, and has indexes and triggers
 * of the topics looked at again.
 */
extern void eventlog_produce_before_utility(void);

/*
 * Does the partition's leaf have indexes or row triggers, so that its rows have
 * to go through the executor?  Locks the leaf.
 */
extern bool eventlog_produce_leaf_needs_insert(EventlogTopic *topic, int32 partition);

/*
 * Insert a row through the executor; values are the topic's columns, the
 * partition given.  Offset and timestamp are filled in.  False if a trigger
 * has suppressed the row.
 */
extern bool eventlog_produce_by_insert(EventlogTopic *topic, Datum *values, bool *isnull);

/* The same if the buffer holds records of a relation that the plan reads. */
extern void eventlog_produce_flush_for(PlannedStmt *plan);

/*
 * A query runs whose snapshot has this command id; and it does no longer.
 * Pairs nest, errors included.
 */
extern void eventlog_produce_query_begin(CommandId query);
extern void eventlog_produce_query_end(void);

/* Contiguous offsets that were appended. */
typedef struct EventlogRange
{
	Oid			topic;
	Oid			leaf;
	int32		partition;
	int64		first_offset;
	int64		last_offset;
	SubTransactionId subid;
	bool		reported;		/* flush() has returned it */
} EventlogRange;

/* Ranges of the running transaction, and those of the last one that committed. */
extern int	eventlog_produce_ranges(EventlogRange **ranges);
extern int	eventlog_produce_last_ranges(EventlogRange **ranges);

/* Statements that ask for the offsets of the rows that they insert. */
extern bool eventlog_produce_at_once;

extern void eventlog_produce_init(void);

#endif							/* EVENTLOG_PRODUCE_H */
