/*-------------------------------------------------------------------------
 *
 * log_plan.h
 *	  Planning scans of a partition by offset and time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_PLAN_H
#define EVENTLOG_LOG_PLAN_H

extern void eventlog_plan_init(void);

#endif							/* EVENTLOG_LOG_PLAN_H */
