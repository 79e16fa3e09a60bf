/*-------------------------------------------------------------------------
 *
 * pg_eventlog.h
 *	  The library as a whole.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_EVENTLOG_H
#define PG_EVENTLOG_H

/*
 * Raises unless the library was loaded by shared_preload_libraries: called
 * where anything begins that needs hooks, callbacks or caches.
 */
extern void eventlog_require_preloaded(void);

#endif							/* PG_EVENTLOG_H */
