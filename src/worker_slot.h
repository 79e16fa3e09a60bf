/*-------------------------------------------------------------------------
 *
 * worker_slot.h
 *	  Databases and their workers, in shared memory.
 *
 * Functions named ..._locked want eventlog_shared->lock to be held, in
 * exclusive mode unless they say otherwise; the others take it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_WORKER_SLOT_H
#define EVENTLOG_WORKER_SLOT_H

#include "shmem.h"

/* How often a database without the extension is looked at again. */
#define EVENTLOG_PROBE_INTERVAL_MS	(5 * 60 * 1000)

/* Slot of a database, or NULL.  The lock in shared mode will do. */
extern EventlogDatabase *eventlog_slot_find_locked(Oid dboid);

/*
 * Slot of a database.  If it has none, a free one, or that of the idle
 * database that is due last.  NULL if workers are in all of them.
 */
extern EventlogDatabase *eventlog_slot_take_locked(Oid dboid);

/* Does a utility statement want no worker here?  Shared mode will do. */
extern bool eventlog_slot_is_blocked_locked(Oid dboid);

/* Write down an error.  Text of any length; it is cut. */
extern void eventlog_slot_note_error_locked(EventlogWorkerHistory *history, const char *message);

/* How long to wait after so many failures in a row: 1 s, doubled, 5 minutes at most. */
extern int	eventlog_slot_backoff_ms(int failures);

/* Wake the launcher, if there is one.  Shared mode will do. */
extern void eventlog_slot_wake_launcher_locked(void);

/*
 * There is work in a database: its worker is to be started now, or again if
 * it runs.  If it backs off, it goes on doing so.  Cheap if that has been said
 * already, and safe in commit and abort callbacks: raises nothing, allocates
 * nothing.  Not for the maintenance worker itself, which would never end.
 */
extern void eventlog_maintenance_wake(Oid dboid);

/*
 * The extension has been created in a database: look there now, whatever was
 * known of it.  Safe in commit callbacks.
 */
extern void eventlog_maintenance_probe(Oid dboid);

/* pg_database has changed.  Safe in commit callbacks. */
extern void eventlog_maintenance_rescan(void);

/*
 * Start no worker in a database until eventlog_slot_unblock(), and send the
 * one that is there away.  Waits until its process has left the database, but
 * not for ever.  A backend blocks one database: a second call frees the first.
 */
extern void eventlog_slot_block(Oid dboid);

/* Safe in commit and abort callbacks, and if nothing is blocked. */
extern void eventlog_slot_unblock(void);

#endif							/* EVENTLOG_WORKER_SLOT_H */
