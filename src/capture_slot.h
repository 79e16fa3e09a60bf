/*-------------------------------------------------------------------------
 *
 * capture_slot.h
 *	  Captures in shared memory: their workers, their progress, being woken.
 *
 * Fields are read and written under eventlog_shared->lock, as those of
 * shmem.h are, unless they are atomic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_SLOT_H
#define EVENTLOG_CAPTURE_SLOT_H

#include "access/xlogdefs.h"

#include "shmem.h"

/* Captures of all databases that can be running at a time. */
#define EVENTLOG_MAX_CAPTURES		64

#define EVENTLOG_CAPTURE_NAME_MAX	63

typedef enum EventlogCapturePhase
{
	EVENTLOG_PHASE_STARTING,
	EVENTLOG_PHASE_SNAPSHOT,
	EVENTLOG_PHASE_STREAMING,
	EVENTLOG_PHASE_FAILED,
	EVENTLOG_PHASE_ADOPTION,	/* stands still until somebody resumes it */
	EVENTLOG_PHASE_STOPPED
} EventlogCapturePhase;

/* Tables of a snapshot whose progress is told one by one. */
#define EVENTLOG_MAX_TABLE_PROGRESS	64

typedef struct EventlogTableProgress
{
	char		name[2 * 64 + 2];	/* schema.table, cut */
	int64		rows;			/* copied so far */
	bool		done;
} EventlogTableProgress;

typedef struct EventlogCaptureSlot
{
	Oid			dboid;			/* InvalidOid: free */
	int32		id;
	Oid			owner;			/* of the capture, as soon as known */
	bool		wanted;			/* is to be running */
	EventlogWorkerState state;	/* of the appender */
	int			pid;			/* of the appender, while RUNNING */
	int			decoder_pid;	/* 0: none */
	uint32		generation;		/* counts the appenders */
	TimestampTz due;			/* when an appender is to be started */
	EventlogCapturePhase phase;
	EventlogWorkerHistory history;

	/* the decoder, for who wakes it; NULL: none */
	Latch	   *decoder_latch;
	Latch	   *appender_latch;

	/* progress of a snapshot */
	int			tables_total;
	int			tables_done;
	int			ntables;		/* of them, those below */
	EventlogTableProgress tables[EVENTLOG_MAX_TABLE_PROGRESS];

	pg_atomic_uint64 careful_lsn;	/* a row there could not be encoded */
	pg_atomic_uint32 asleep;	/* the decoder waits for WAL */
	pg_atomic_uint64 decoded_lsn;	/* decoded up to here */
	pg_atomic_uint64 appended_lsn;	/* appended and committed */
	pg_atomic_uint64 confirm_lsn;	/* may be confirmed: appended and flushed */
	pg_atomic_uint64 confirmed_lsn; /* has been */
	pg_atomic_uint64 rows;		/* records appended since the server's start */
	pg_atomic_uint64 transactions;	/* source transactions */
	pg_atomic_uint64 current_bytes; /* of the source transaction in work */
	pg_atomic_uint64 queued_bytes;	/* shipped and not yet taken */
	pg_atomic_uint64 source_time;	/* commit time of the newest appended */
} EventlogCaptureSlot;

/* Who is asleep, and what they are woken for. */
typedef struct EventlogCaptureShared
{
	pg_atomic_uint32 ndecoders; /* there are */
	char		pad[PG_CACHE_LINE_SIZE];	/* what follows changes often */
	pg_atomic_uint32 nasleep;	/* of them, those that wait for WAL */
	pg_atomic_uint64 commit_lsn;	/* end of the newest commit seen by a wake-up */
	EventlogCaptureSlot slots[EVENTLOG_MAX_CAPTURES];
} EventlogCaptureShared;

extern EventlogCaptureShared *eventlog_captures;

extern Size eventlog_capture_shmem_size(void);
extern void eventlog_capture_shmem_init(void);
extern void eventlog_capture_init(void);	/* from _PG_init */

/* Bytes of the queue between decoder and appender. */
#define EVENTLOG_CAPTURE_QUEUE_BYTES	(1024 * 1024)

/*
 * A capture is to run, or not.  Takes the lock; safe in commit callbacks.
 * Returns false if all slots are in use.
 */
extern bool eventlog_capture_want(Oid dboid, int32 id, bool wanted);

/* Have its workers start anew: its configuration has changed. */
extern void eventlog_capture_restart(Oid dboid, int32 id);

/*
 * The catalogue has this capture.  Like the former, but one that is known is
 * left as it is: it may have reasons of its own to stand still.
 */
extern void eventlog_capture_note(Oid dboid, int32 id, bool wanted);

/* Do that when this transaction commits. */
extern void eventlog_capture_want_at_commit(int32 id, bool wanted);
extern void eventlog_capture_restart_at_commit(int32 id);

/* The slot of this process, if it is an appender. */
extern EventlogCaptureSlot *eventlog_capture_my_slot(void);

/*
 * Have a capture's workers gone; waits until they are.  They come back only if
 * wanted again.  False if they do not go in time.
 */
extern bool eventlog_capture_stop(Oid dboid, int32 id);

/* Forget a capture that has been dropped. */
extern void eventlog_capture_forget(Oid dboid, int32 id);

/* Is a worker of a capture in the database?  If asked to, end it.  Lock held. */
extern bool eventlog_capture_send_away_locked(Oid dboid, bool ask);

/* The launcher's: start what is due; *next falls to when to look again. */
extern void eventlog_capture_launch(TimestampTz now, TimestampTz *next);
extern void eventlog_capture_launcher_enter_locked(void);

/* ... forget captures of databases that are gone. */
extern void eventlog_capture_sweep_locked(bool (*is_known) (Oid dboid));

/* The slot of a capture, or NULL.  Lock held, shared will do. */
extern EventlogCaptureSlot *eventlog_capture_find_locked(Oid dboid, int32 id);

/* WAL may have been written up to here: wake decoders that wait for it. */
extern void eventlog_capture_wake(XLogRecPtr lsn);

/* A snapshot's progress, for the view; number: of the table, from 0. */
extern void eventlog_capture_progress(EventlogCaptureSlot *slot, int tables_total,
									  int tables_done, int number, const char *table,
									  int64 rows, bool done);

/* Entry points of workers. */
extern PGDLLEXPORT void eventlog_appender_main(Datum arg);
extern PGDLLEXPORT void eventlog_decoder_main(Datum arg);

#endif							/* EVENTLOG_CAPTURE_SLOT_H */
