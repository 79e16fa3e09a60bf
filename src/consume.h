/*-------------------------------------------------------------------------
 *
 * consume.h
 *	  Consuming in transactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CONSUME_H
#define EVENTLOG_CONSUME_H

extern void eventlog_consume_init(void);

/*
 * The claim on a group's partition: take it, waiting for who has it, for the
 * rest of the transaction.
 */
extern void eventlog_consume_claim(const char *group, Oid leaf);

/* The group's committed offset has been set: this transaction goes on there. */
extern void eventlog_consume_moved(const char *group, Oid leaf, int64 next_offset);

#endif							/* EVENTLOG_CONSUME_H */
