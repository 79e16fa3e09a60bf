/*-------------------------------------------------------------------------
 *
 * maintain.h
 *	  What a maintenance worker does in a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MAINTAIN_H
#define EVENTLOG_MAINTAIN_H

/*
 * Maintain every topic of the database, each in transactions of its own.
 * Called outside of a transaction.  An error in one topic is written down and
 * does not keep the others from being maintained.
 */
extern void eventlog_maintain_database(void);

#endif							/* EVENTLOG_MAINTAIN_H */
