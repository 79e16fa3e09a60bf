/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Settings, and the named pause points that tests use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_GUC_H
#define EVENTLOG_GUC_H

extern int	eventlog_producer_buffer;	/* kB */
extern bool eventlog_auto_create_groups;
extern char *eventlog_pause_at;

extern void eventlog_guc_init(void);
extern void eventlog_guc_pause(const char *point);

/*
 * A place at which a test can stop a backend, in order to kill it there or
 * to make a race certain.  Does nothing unless eventlog.pause_at names it.
 * May be used inside critical sections.
 */
#define EVENTLOG_PAUSE(point) \
	do { \
		if (unlikely(eventlog_pause_at != NULL && eventlog_pause_at[0] != '\0')) \
			eventlog_guc_pause(point); \
	} while (0)

#endif							/* EVENTLOG_GUC_H */
