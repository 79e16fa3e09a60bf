/*-------------------------------------------------------------------------
 *
 * capture_spool.h
 *	  Messages of transactions that are streamed before they commit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_SPOOL_H
#define EVENTLOG_CAPTURE_SPOOL_H

#include "capture_queue.h"

typedef struct EventlogSpool EventlogSpool;

/* The spool of a transaction, made if need be. */
extern EventlogSpool *eventlog_spool_open(TransactionId xid);

/* ... or NULL. */
extern EventlogSpool *eventlog_spool_find(TransactionId xid);

/* Add a message, of a subtransaction (or of the transaction itself). */
extern void eventlog_spool_add(EventlogSpool *spool, TransactionId subxid, uint64 sequence,
							   const EventlogMessageHeader *header, const char *bytes);

/* A subtransaction has been rolled back: forget what it and its own did. */
extern void eventlog_spool_abort(EventlogSpool *spool, TransactionId subxid);

/* Hand out the messages in their order, and forget the spool. */
typedef void (*EventlogSpoolReader) (uint64 sequence, const EventlogMessageHeader *header,
									 const char *bytes);
extern void eventlog_spool_replay(EventlogSpool *spool, EventlogSpoolReader reader);

extern void eventlog_spool_forget(EventlogSpool *spool);

/* Bytes in all spools. */
extern uint64 eventlog_spool_bytes(void);

#endif							/* EVENTLOG_CAPTURE_SPOOL_H */
