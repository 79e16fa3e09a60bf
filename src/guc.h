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
extern int	eventlog_max_assignments;
extern int	eventlog_max_topic_metrics;
extern bool eventlog_skip_damaged_records;
extern bool eventlog_resume_after_promotion;
extern bool eventlog_maintenance;
extern int	eventlog_maintenance_interval;	/* ms */
extern int	eventlog_max_maintenance_workers;
extern char *eventlog_pause_at;
extern char *eventlog_fail_at;

extern void eventlog_guc_init(void);
extern void eventlog_guc_pause(const char *point);
extern void eventlog_guc_pause_interruptible(const char *point, const char *object);
extern void eventlog_guc_fail(const char *point, const char *object);

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

/*
 * The same where an interrupt may end the wait, which EVENTLOG_PAUSE ignores.
 * "object" is a name: the point is hit by "point" and by "point:object".
 */
#define EVENTLOG_PAUSE_INTERRUPTIBLE(point, object) \
	do { \
		if (unlikely(eventlog_pause_at != NULL && eventlog_pause_at[0] != '\0')) \
			eventlog_guc_pause_interruptible(point, object); \
	} while (0)

/* A place at which a test can have an error raised, by eventlog.fail_at. */
#define EVENTLOG_FAIL(point, object) \
	do { \
		if (unlikely(eventlog_fail_at != NULL && eventlog_fail_at[0] != '\0')) \
			eventlog_guc_fail(point, object); \
	} while (0)

#endif							/* EVENTLOG_GUC_H */
