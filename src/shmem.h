/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  What server processes share: the table of databases and their workers.
 *
 * Unless a field says otherwise, it is read and written under
 * eventlog_shared->lock.  The lock is held for moments only: nothing that
 * waits, raises or allocates is done under it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_SHMEM_H
#define EVENTLOG_SHMEM_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* Databases whose state is kept; more are served in rotation. */
#define EVENTLOG_MAX_DATABASES	64

#define EVENTLOG_ERROR_BYTES	256
#define EVENTLOG_ACTIVITY_BYTES	128

/* Is the extension there, as far as anybody has looked? */
typedef enum EventlogPresence
{
	EVENTLOG_PRESENCE_UNKNOWN,
	EVENTLOG_PRESENT,
	EVENTLOG_ABSENT
} EventlogPresence;

typedef enum EventlogWorkerState
{
	EVENTLOG_WORKER_NONE,
	EVENTLOG_WORKER_STARTING,	/* registered; not yet heard of */
	EVENTLOG_WORKER_RUNNING		/* its process may be in the database */
} EventlogWorkerState;

/* How the runs of a worker have ended. */
typedef struct EventlogWorkerHistory
{
	TimestampTz started_at;		/* the last run; 0: none yet */
	TimestampTz finished_at;
	int64		runs;			/* that got to their end, errors or not */
	int			failures;		/* in a row */
	TimestampTz error_at;		/* 0: none yet */
	char		error[EVENTLOG_ERROR_BYTES];
	char		activity[EVENTLOG_ACTIVITY_BYTES];	/* what it does now */
} EventlogWorkerHistory;

/* A database; the slot of one that is idle is given to another if need be. */
typedef struct EventlogDatabase
{
	Oid			dboid;			/* InvalidOid: free.  Also read without the
								 * lock, as a hint, to find one's own slot */
	EventlogPresence presence;
	EventlogWorkerState state;
	int			pid;			/* while RUNNING */
	uint32		generation;		/* counts the workers of this slot: one that
								 * comes up too late finds another number */
	TimestampTz due;			/* when the next worker is to be started */
	bool		not_started;	/* the last attempt to start one failed */
	EventlogWorkerHistory history;

	/*
	 * There is work: set by anybody, under the lock; cleared under it by the
	 * worker that begins, before it looks at anything.  Read without the lock
	 * by those who would set it.
	 */
	pg_atomic_uint32 wake;
} EventlogDatabase;

/* A utility statement wants no worker in a database. */
typedef struct EventlogBlock
{
	Oid			dboid;			/* InvalidOid: free */
	int			pid;			/* backend that runs the statement */
} EventlogBlock;

typedef struct EventlogShared
{
	LWLock	   *lock;			/* set at start, then constant */

	/* the launcher */
	int			launcher_pid;	/* 0: not running */
	Latch	   *launcher_latch; /* NULL: not running */
	TimestampTz launcher_due;	/* when it wakes up by itself */
	bool		rescan;			/* pg_database has changed */
	EventlogWorkerHistory launcher;

	EventlogDatabase databases[EVENTLOG_MAX_DATABASES];

	/* one for each backend that could need one at a time */
	int			nblocks;		/* in use */
	int			maxblocks;		/* constant */
	EventlogBlock blocks[FLEXIBLE_ARRAY_MEMBER];
} EventlogShared;

/* NULL unless the library was loaded by shared_preload_libraries. */
extern EventlogShared *eventlog_shared;

/* Install the hooks; from _PG_init. */
extern void eventlog_shmem_init(void);

#endif							/* EVENTLOG_SHMEM_H */
