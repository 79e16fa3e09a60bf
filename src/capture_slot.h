/*-------------------------------------------------------------------------
 *
 * capture_slot.h
 *	  Captures in shared memory: their workers, their progress, being woken.
 *
 * Each capture that is to run is a service (service.h).  Fields are read and
 * written under eventlog_shared->lock, unless they are atomic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_SLOT_H
#define EVENTLOG_CAPTURE_SLOT_H

#include "access/xlogdefs.h"

#include "service.h"

/* Captures of all databases that can be running at a time. */
#define EVENTLOG_MAX_CAPTURES		64

#define EVENTLOG_CAPTURE_NAME_MAX	63

typedef EventlogServicePhase EventlogCapturePhase;

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
	EventlogService service;	/* of the appender; the decoder is its helper */
	Latch	   *decoder_latch;	/* for who wakes it; NULL: none */

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
 * The catalogue has this capture: it is to run, or not.  One that is known is
 * left as it is, since it may have reasons of its own to stand still.
 */
extern void eventlog_capture_note(Oid dboid, int32 id, bool wanted);

/* When this transaction commits, it is to run, or not ... */
extern void eventlog_capture_want_at_commit(int32 id, bool wanted);

/* ... or to start anew, since its configuration has changed. */
extern void eventlog_capture_restart_at_commit(int32 id);

/* As eventlog_service_enter(). */
extern EventlogCaptureSlot *eventlog_capture_worker_enter(void);

/* The slot of this process, if it is an appender. */
extern EventlogCaptureSlot *eventlog_capture_my_slot(void);

/*
 * Have a capture's workers gone; waits until they are.  They come back only if
 * wanted again.  False if they do not go in time.
 */
extern bool eventlog_capture_stop(Oid dboid, int32 id);

/* Forget a capture that has been dropped. */
extern void eventlog_capture_forget(Oid dboid, int32 id);

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
