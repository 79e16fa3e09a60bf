/*-------------------------------------------------------------------------
 *
 * log_xlog.h
 *	  The resource manager: registration.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_XLOG_H
#define EVENTLOG_LOG_XLOG_H

/* From _PG_init, while shared_preload_libraries is processed. */
extern void eventlog_xlog_init(void);

#endif							/* EVENTLOG_LOG_XLOG_H */
