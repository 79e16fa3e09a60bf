/*-------------------------------------------------------------------------
 *
 * consume.h
 *	  Consuming in transactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CONSUME_H
#define EVENTLOG_CONSUME_H

#include "emit.h"

extern void eventlog_consume_init(void);

/*
 * The claim on a group's partition: take it, waiting for who has it, for the
 * rest of the transaction.
 */
extern void eventlog_consume_claim(const char *group, Oid leaf);

/* The group's committed offset has been set: this transaction goes on there. */
extern void eventlog_consume_moved(const char *group, Oid leaf, int64 next_offset);

/*
 * Emit what a partition has for a group from "position" on, until the emitter
 * has max_records, and return the next offset to read.  "first" says that the
 * group has never had a position.  *went_to: where the group went on, elsewhere
 * than at its position or the log start, as its auto.offset.reset says, which
 * is to be written down; or -1.
 * Errors: LG001, LG002.
 */
extern int64 eventlog_consume_records(EventlogEmitter *emitter, const char *group, Relation leaf,
									  int32 partition, Snapshot snapshot, int64 position,
									  bool first, int64 max_records, int64 *went_to);

/*
 * Committed offset of a group's partition, or where the group starts; then
 * *committed is -1.  Returns -1 if another transaction, in progress, has
 * written it; which the holder of a claim does not meet.  Errors: ERRCODE_T_R_SERIALIZATION_FAILURE (the snapshot
 * does not see it), ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE (start "none").
 */
extern int64 eventlog_consume_position(const char *group, EventlogTopic *topic, int32 partition,
									   Snapshot snapshot, int64 *committed);

/*
 * Where this transaction goes on with a partition, and where it began; whose claim it takes if it
 * has not got it, waiting for who has; and to pass over what lies before an
 * offset, and commit that.
 */
extern int64 eventlog_consume_take(const char *group, EventlogTopic *topic, int32 partition,
								   int64 *first);
extern void eventlog_consume_pass(const char *group, EventlogTopic *topic, int32 partition,
								  int64 next_offset);

#endif							/* EVENTLOG_CONSUME_H */
