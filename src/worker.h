/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The skeleton that background workers share, and what they tell of
 *	  themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_WORKER_H
#define EVENTLOG_WORKER_H

#include "postmaster/bgworker.h"

#include "shmem.h"

/* What a maintenance worker is given: its slot and the slot's generation. */
typedef struct EventlogWorkerArgs
{
	int			slot;
	uint32		generation;
} EventlogWorkerArgs;

/*
 * Fill in the registration of a worker that connects to databases and runs
 * "function" of this library.  kind, such as "launcher", names it in
 * pg_stat_activity and in the server's log.
 */
extern void eventlog_worker_describe(BackgroundWorker *worker, const char *kind,
									 const char *function);

/* First thing in a worker: signals. */
extern void eventlog_worker_begin(void);

/* Connect, InvalidOid for no database, and shed settings that would disturb. */
extern void eventlog_worker_connect(Oid dboid);

/*
 * Run the worker's body.  An error is reported to the log and given to
 * "failed", and the transaction is rolled back; then false.
 */
extern bool eventlog_worker_run(void (*body)(void), void (*failed)(const char *message));

/*
 * For loops of workers, outside of transactions: leaves if the worker was told
 * to, and reads the configuration files again if they have changed.
 */
extern void eventlog_worker_check(void);

/* Has this worker been told to end?  For exit callbacks. */
extern bool eventlog_worker_told_to_leave(void);

/* What a maintenance worker is doing, for views; no line breaks. */
extern void eventlog_worker_progress(const char *fmt, ...) pg_attribute_printf(1, 2);

/*
 * Something went wrong in a maintenance worker that goes on nevertheless.
 * The database then backs off after the run.
 */
extern void eventlog_worker_note_error(const char *message);

/* Entry points of workers. */
extern PGDLLEXPORT void eventlog_launcher_main(Datum arg);
extern PGDLLEXPORT void eventlog_maintenance_main(Datum arg);

/* launcher.c: register the launcher; from _PG_init. */
extern void eventlog_launcher_init(void);

#endif							/* EVENTLOG_WORKER_H */
