/*-------------------------------------------------------------------------
 *
 * pg_eventlog.h
 *	  The library as a whole.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_EVENTLOG_H
#define PG_EVENTLOG_H

/* Was the library loaded by shared_preload_libraries? */
extern bool eventlog_is_preloaded(void);

#endif							/* PG_EVENTLOG_H */
