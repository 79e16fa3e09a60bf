/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The skeleton that background workers share, and the maintenance worker.
 *
 * A worker never takes the server down: it leaves by exit code 0 or 1, since
 * any other makes the postmaster restart everything.  It leaves at once when
 * told to, also in the middle of work and of waits: SIGTERM is handled as in a
 * session, by CHECK_FOR_INTERRUPTS().
 *
 * A maintenance worker is started by the launcher for one run in one database.
 * It attaches to the database's slot before it connects, and detaches by an
 * exit callback when the server no longer lists it (worker_slot.c says why).
 * However it ends, that callback writes down how, and when the next one is due.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/extension.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "maintain.h"
#include "worker.h"
#include "worker_slot.h"

/* ---- the skeleton ---- */

static volatile sig_atomic_t told_to_leave = false;

void
eventlog_worker_describe(BackgroundWorker *worker, const char *kind, const char *function)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	snprintf(worker->bgw_name, BGW_MAXLEN, "pg_eventlog %s", kind);
	snprintf(worker->bgw_type, BGW_MAXLEN, "pg_eventlog %s", kind);
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "pg_eventlog", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
}

static void
handle_sigterm(SIGNAL_ARGS)
{
	told_to_leave = true;
	die(postgres_signal_arg);
}

void
eventlog_worker_begin(void)
{
	pqsignal(SIGTERM, handle_sigterm);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
}

/*
 * Settings of the database and of the bootstrap superuser are meant for
 * sessions: a timeout would break the work off, a search path could make it
 * run somebody else's functions.
 */
void
eventlog_worker_connect(Oid dboid)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"},
		{EVENTLOG_TRANSACTION_TIMEOUT, "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"zero_damaged_pages", "off"}};

	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_SESSION);
}

bool
eventlog_worker_run(void (*body)(void), void (*failed)(const char *message))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		body();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		ok = false;
		HOLD_INTERRUPTS();
		EmitErrorReport();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		failed(error->message);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return ok;
}

bool
eventlog_worker_told_to_leave(void)
{
	return told_to_leave;
}

void
eventlog_worker_check(void)
{
	/* without the FATAL that CHECK_FOR_INTERRUPTS() would write to the log */
	if (told_to_leave)
		proc_exit(1);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* ---- the maintenance worker ---- */

static EventlogDatabase *my_slot = NULL;
static bool finished = false;	/* the run has got to its end */
static bool had_errors = false; /* in the run, or it ended by one */

void
eventlog_worker_progress(const char *fmt, ...)
{
	char		text[EVENTLOG_ACTIVITY_BYTES];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	/* a cut must not leave half a character */
	text[pg_mbcliplen(text, strlen(text), sizeof(text) - 1)] = '\0';

	pgstat_report_activity(STATE_RUNNING, text);
	if (my_slot == NULL)
		return;
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	strlcpy(my_slot->history.activity, text, EVENTLOG_ACTIVITY_BYTES);
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_worker_note_error(const char *message)
{
	had_errors = true;
	if (my_slot == NULL)
		return;
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_slot_note_error_locked(&my_slot->history, message);
	LWLockRelease(eventlog_shared->lock);
}

/* Exit callback: the server no longer lists this process. */
static void
detach(int code, Datum arg)
{
	EventlogWorkerHistory *history = &my_slot->history;
	TimestampTz now = GetCurrentTimestamp();
	int64		wait_ms;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	if (!finished && !had_errors && !told_to_leave)
	{
		/* by a FATAL: most likely it could not connect */
		had_errors = true;
		eventlog_slot_note_error_locked(history,
										"worker ended before its work was done; the server's log says why");
		eventlog_shared->rescan = true;
	}

	if (had_errors)
		history->failures++;
	else if (finished)
		history->failures = 0;
	if ((finished || had_errors) && my_slot->presence == EVENTLOG_PRESENT)
		history->runs++;

	if (had_errors)
		wait_ms = eventlog_slot_backoff_ms(history->failures);
	else if (pg_atomic_read_u32(&my_slot->wake) != 0 ||
			 eventlog_slot_is_blocked_locked(my_slot->dboid))
		wait_ms = 0;
	else if (my_slot->presence == EVENTLOG_ABSENT)
		wait_ms = EVENTLOG_PROBE_INTERVAL_MS;
	else
		wait_ms = eventlog_maintenance_interval;

	history->finished_at = now;
	history->activity[0] = '\0';
	my_slot->due = now + wait_ms * 1000;
	my_slot->state = EVENTLOG_WORKER_NONE;
	my_slot->pid = 0;
	eventlog_slot_wake_launcher_locked();
	LWLockRelease(eventlog_shared->lock);
	my_slot = NULL;
}

/*
 * Take the slot over from the launcher, which has reserved it.  False if
 * nobody waits for this worker any more, or it must not go where it should.
 */
static bool
attach(const EventlogWorkerArgs *args)
{
	EventlogDatabase *slot = &eventlog_shared->databases[args->slot];
	bool		welcome;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	welcome = slot->state == EVENTLOG_WORKER_STARTING && slot->generation == args->generation;
	if (welcome && eventlog_slot_is_blocked_locked(slot->dboid))
	{
		slot->state = EVENTLOG_WORKER_NONE;
		slot->history.activity[0] = '\0';
		welcome = false;
	}
	if (welcome)
	{
		my_slot = slot;
		slot->state = EVENTLOG_WORKER_RUNNING;
		slot->pid = MyProcPid;
		slot->not_started = false;
		slot->history.started_at = GetCurrentTimestamp();
		strlcpy(slot->history.activity, "connecting", EVENTLOG_ACTIVITY_BYTES);

		/* what is said from now on needs another run */
		pg_atomic_write_u32(&slot->wake, 0);
		pg_memory_barrier();
	}
	LWLockRelease(eventlog_shared->lock);

	/*
	 * Before connecting, which registers the callback that takes this process
	 * from the server's list: callbacks run in reverse order.
	 */
	if (welcome)
		on_shmem_exit(detach, 0);
	return welcome;
}

/* Is the extension in this database?  Written down in the slot. */
static bool
probe(void)
{
	bool		present;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	present = OidIsValid(get_extension_oid("pg_eventlog", true));
	CommitTransactionCommand();

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	my_slot->presence = present ? EVENTLOG_PRESENT : EVENTLOG_ABSENT;
	LWLockRelease(eventlog_shared->lock);
	return present;
}

static void
run_once(void)
{
	eventlog_worker_connect(my_slot->dboid);
	eventlog_worker_progress("looking for the extension");
	if (probe())
		eventlog_maintain_database();
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_stat(true);
	finished = true;
}

void
eventlog_maintenance_main(Datum arg)
{
	EventlogWorkerArgs args;

	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	eventlog_worker_begin();
	if (!attach(&args))
		proc_exit(0);
	proc_exit(eventlog_worker_run(run_once, eventlog_worker_note_error) ? 0 : 1);
}
