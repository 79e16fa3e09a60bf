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

#endif							/* EVENTLOG_CONSUME_H */
