/*-------------------------------------------------------------------------
 *
 * service.h
 *	  Background services: workers that run for as long as something in a
 *	  database's catalogue wants them, such as a capture.
 *
 * A class of services has an array of slots in shared memory.  Each slot
 * begins with an EventlogService; what follows is the class's own.  Fields are
 * read and written under eventlog_shared->lock.  Functions named ..._locked
 * want it to be held, in exclusive mode unless they say otherwise; the others
 * take it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_SERVICE_H
#define EVENTLOG_SERVICE_H

#include "shmem.h"

typedef enum EventlogServicePhase
{
	EVENTLOG_PHASE_STARTING,
	EVENTLOG_PHASE_SNAPSHOT,	/* of captures only */
	EVENTLOG_PHASE_STREAMING,	/* works */
	EVENTLOG_PHASE_FAILED,
	EVENTLOG_PHASE_ADOPTION,	/* stands still until somebody resumes it */
	EVENTLOG_PHASE_STOPPED
} EventlogServicePhase;

typedef struct EventlogService
{
	Oid			dboid;			/* InvalidOid: free */
	uint32		id;				/* within class and database */
	Oid			owner;			/* a role, as soon as known */
	bool		wanted;			/* is to be running */
	EventlogWorkerState state;
	int			pid;			/* while RUNNING */
	int			helper_pid;		/* of a process that the worker has started in
								 * the database; 0: none */
	uint32		generation;		/* counts the workers */
	uint32		reloads;		/* changes when the worker is to look at the
								 * catalogue again */
	TimestampTz due;			/* when a worker is to be started */
	EventlogServicePhase phase;
	EventlogWorkerHistory history;
	Latch	   *latch;			/* the worker's, while RUNNING */
} EventlogService;

/* One for each class; a static variable of the module that it belongs to. */
typedef struct EventlogServiceClass
{
	const char *worker;			/* name of its workers, for pg_stat_activity */
	const char *function;		/* entry point */
	int			count;			/* slots */
	Size		size;			/* of one */
	char	   *slots;			/* in shared memory */
	void		(*clear) (EventlogService *service);	/* the class's own fields; NULL:
														 * none.  Lock held. */

	/* the launcher's: workers that it started */
	struct EventlogServiceHandle *handles;
} EventlogServiceClass;

/* What a change in the catalogue means for a service. */
typedef enum EventlogServiceRequest
{
	EVENTLOG_SERVICE_WANT,		/* is to run: at once, if it backs off */
	EVENTLOG_SERVICE_UNWANT,	/* is not */
	EVENTLOG_SERVICE_RESTART,	/* is to start anew */
	EVENTLOG_SERVICE_RELOAD		/* is to run, and to look at the catalogue again */
} EventlogServiceRequest;

/* Make a class known in this process; from its shmem_init. */
extern void eventlog_service_register(EventlogServiceClass *class);

extern void eventlog_service_init(void);	/* from _PG_init */

extern EventlogService *eventlog_service_slot(const EventlogServiceClass *class, int number);

/* The slot of a service, or NULL.  Lock held, shared will do. */
extern EventlogService *eventlog_service_find_locked(const EventlogServiceClass *class,
													 Oid dboid, uint32 id);

/* Safe in commit callbacks.  Returns false if all slots are in use. */
extern bool eventlog_service_request(EventlogServiceClass *class, Oid dboid, uint32 id,
									 EventlogServiceRequest request);

/* Do that, in this database, when this transaction commits. */
extern void eventlog_service_request_at_commit(EventlogServiceClass *class, uint32 id,
											   EventlogServiceRequest request);

/*
 * The catalogue has this service.  If it is known, it is left as it is: it may
 * have reasons of its own to stand still.
 */
extern void eventlog_service_note(EventlogServiceClass *class, Oid dboid, uint32 id, bool wanted);

/*
 * Have the service's processes gone; waits until they are.  They come back
 * only if wanted again.  False if they do not go in time.
 */
extern bool eventlog_service_stop(EventlogServiceClass *class, Oid dboid, uint32 id);

/* It is no longer in the catalogue: free its slot if nothing runs. */
extern void eventlog_service_forget(EventlogServiceClass *class, Oid dboid, uint32 id);

/*
 * Is a process of any service in the database?  If asked to, end it.  Lock
 * held, shared will do.
 */
extern bool eventlog_service_send_away_locked(Oid dboid, bool ask);

/*
 * Is this server the successor of the one that it is a copy of: a standby that
 * was promoted, and may go on by itself?
 */
extern bool eventlog_service_is_successor(void);

/* --- the launcher's --- */

/* Workers that an earlier launcher has registered will leave by themselves. */
extern void eventlog_service_launcher_enter_locked(void);

/* Start what is due; *next falls to when to look again. */
extern void eventlog_service_launch(TimestampTz now, TimestampTz *next);

/* Forget services of databases that are gone. */
extern void eventlog_service_sweep_locked(bool (*is_known) (Oid dboid));

/* --- a worker's --- */

/*
 * Attach to the slot that the launcher has chosen.  NULL: the worker came too
 * late, and is to exit with 0.  At exit, the slot says that the process is gone,
 * and when the next one is due.
 */
extern EventlogService *eventlog_service_enter(EventlogServiceClass *class);

/* An error ended the work.  With again, the next attempt is made at once. */
extern void eventlog_service_failed(const char *message, bool again);

/* The work is done, or stands still: nothing is started until it is wanted again. */
extern void eventlog_service_finish(EventlogServicePhase phase);

/* It works: forget failures, if there were any. */
extern void eventlog_service_works(void);

#endif							/* EVENTLOG_SERVICE_H */
