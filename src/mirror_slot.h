/*-------------------------------------------------------------------------
 *
 * mirror_slot.h
 *	  Mirrors in shared memory: the workers, and how each mirror fares.
 *
 * A worker serves one Kafka server of a database, for all mirrors of that
 * server: it is a service (service.h), whose id is the foreign server's oid.
 * It reads eventlog.mirror when it starts and whenever service.reloads
 * changes, and gives each of its mirrors a slot, in which it says how things
 * are.  Slots are written by the worker alone, under eventlog_shared->lock
 * unless a field is atomic, and read by everybody, for views.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_SLOT_H
#define EVENTLOG_MIRROR_SLOT_H

#include "service.h"

/* Kafka servers that can have workers at a time, in all databases. */
#define EVENTLOG_MAX_MIRROR_WORKERS	32

/* Mirrors whose state can be seen. */
#define EVENTLOG_MAX_MIRRORS		256

#define EVENTLOG_MIRROR_NAME_MAX	63

/* Partitions of a mirror whose progress is told one by one. */
#define EVENTLOG_MIRROR_PARTITIONS	64

/* librdkafka's statistics, as JSON, cut down by the worker to what fits. */
#define EVENTLOG_MIRROR_STATS_BYTES	4096

typedef enum EventlogMirrorPhase
{
	EVENTLOG_MIRROR_STARTING,
	EVENTLOG_MIRROR_CONNECTING, /* no broker has answered yet */
	EVENTLOG_MIRROR_STREAMING,
	EVENTLOG_MIRROR_FAILED,		/* tries again by itself, when due */
	EVENTLOG_MIRROR_STOPPED,	/* by an error that does not go away by itself;
								 * resume_mirror() tries again */
	EVENTLOG_MIRROR_DIVERGED,	/* the two sides do not fit together */
	EVENTLOG_MIRROR_FENCED,		/* another owner has taken the mirror over */
	EVENTLOG_MIRROR_ADOPTION	/* this is a copy; resume_mirror() adopts it */
} EventlogMirrorPhase;

typedef struct EventlogMirrorPartition
{
	char		topic[64];		/* of patterns, the source's name, cut; else "" */
	int32		partition;		/* of the source */
	int64		position;		/* next offset to be mirrored */
	int64		end;			/* where the source ends, for who reads what is
								 * committed; -1: not known */
	int64		target;			/* next offset of the target; -1: not known */
} EventlogMirrorPartition;

typedef struct EventlogMirrorSlot
{
	Oid			dboid;			/* InvalidOid: free */
	int32		id;
	Oid			owner;
	int			pid;			/* of the worker that has it; 0: none */
	EventlogMirrorPhase phase;
	int			failures;		/* in a row */
	TimestampTz due;			/* next attempt; 0: none */
	TimestampTz error_at;		/* 0: none yet */
	char		error[EVENTLOG_ERROR_BYTES];
	TimestampTz broker_error_at;	/* 0: none yet */
	char		broker_error[EVENTLOG_ERROR_BYTES];
	TimestampTz transaction_at; /* the newest that was committed; 0: none yet */

	int			ntopics;		/* of a pattern, those that match */
	int			troubled;		/* pairs that do not work: the worker's own count */
	int			npartitions;	/* entries below */
	EventlogMirrorPartition partitions[EVENTLOG_MIRROR_PARTITIONS];

	TimestampTz stats_at;		/* 0: none yet */
	char		stats[EVENTLOG_MIRROR_STATS_BYTES];

	/* all since the server was started */
	pg_atomic_uint64 records;
	pg_atomic_uint64 bytes;		/* of keys, values and headers */
	pg_atomic_uint64 transactions;
	pg_atomic_uint64 aborted;	/* transactions */
	pg_atomic_uint64 dead_letters;
	pg_atomic_uint64 broker_errors;
	pg_atomic_uint64 throttled_ms;

	/* of all partitions; UINT64_MAX: not known */
	pg_atomic_uint64 lag;		/* records */
	pg_atomic_uint64 records_per_s; /* over the last seconds */
	pg_atomic_uint64 bytes_per_s;
} EventlogMirrorSlot;

typedef struct EventlogMirrorShared
{
	EventlogService workers[EVENTLOG_MAX_MIRROR_WORKERS];
	EventlogMirrorSlot slots[EVENTLOG_MAX_MIRRORS];
} EventlogMirrorShared;

extern EventlogMirrorShared *eventlog_mirrors;

extern Size eventlog_mirror_shmem_size(void);
extern void eventlog_mirror_shmem_init(void);

/* --- for who changes the catalogue: what the worker of a server is to do --- */

/* When this transaction commits, it is to look at the catalogue again. */
extern void eventlog_mirror_reload_at_commit(Oid serverid);

/* The catalogue has mirrors of this server that are to run. */
extern void eventlog_mirror_note_server(Oid serverid);

/* --- for the worker --- */

/* As eventlog_service_enter(); the id is the server's oid. */
extern EventlogService *eventlog_mirror_worker_enter(void);

/*
 * A slot for a mirror of this database, with pid set to this process: that
 * which it has had, if any, with its counts, else a new one.  NULL if all are
 * in use.
 */
extern EventlogMirrorSlot *eventlog_mirror_slot_take(int32 id, Oid owner);

/* The mirror is no longer this worker's; what it said stays, but for pid. */
extern void eventlog_mirror_slot_release(EventlogMirrorSlot *slot);

/* Set the phase; with a message, note the error as well (NULL: none). */
extern void eventlog_mirror_slot_phase(EventlogMirrorSlot *slot, EventlogMirrorPhase phase,
									   const char *message);

/* The same, with how many failures there were in a row and when it tries again. */
extern void eventlog_mirror_slot_failed(EventlogMirrorSlot *slot, EventlogMirrorPhase phase,
										const char *message, int failures, TimestampTz due);

/* Note trouble with a broker. */
extern void eventlog_mirror_slot_broker_error(EventlogMirrorSlot *slot, const char *message);

/* Statistics, shorter than EVENTLOG_MIRROR_STATS_BYTES. */
extern void eventlog_mirror_slot_stats(EventlogMirrorSlot *slot, const char *stats);

/* Forget a mirror that is dropped, if nobody works on it any more. */
extern void eventlog_mirror_slot_forget(Oid dboid, int32 id);

/* ... and those of this database that are not in the catalogue. */
extern void eventlog_mirror_slot_sweep(bool (*is_there) (int32 id));

/* Entry point of workers. */
extern PGDLLEXPORT void eventlog_mirror_main(Datum arg);

#endif							/* EVENTLOG_MIRROR_SLOT_H */
