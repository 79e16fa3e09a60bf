/*-------------------------------------------------------------------------
 *
 * query.h
 *	  Executor hooks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_QUERY_H
#define EVENTLOG_QUERY_H

extern void eventlog_query_init(void);

#endif							/* EVENTLOG_QUERY_H */
