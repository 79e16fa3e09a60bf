/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Starts maintenance workers in the databases that are due.
 *
 * One process for the whole server, connected to no database.  It keeps a list
 * of all databases that can be connected to, in memory of its own, and reads
 * pg_database again when a utility statement has changed it, and every few
 * minutes.  What is shared is in the slots (shmem.h); there may be more
 * databases than slots.  Then the list remembers when a database without a slot
 * is due, and it is given the slot of an idle one.  So all take their turns,
 * the longest overdue first.
 *
 * Between the points in time at which something is due the launcher sleeps.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "service.h"
#include "worker.h"
#include "worker_slot.h"

/* How long the launcher's death keeps it from coming back. */
#define RESTART_SECONDS		5

/* How long to wait when the server has no room for a worker. */
#define NO_ROOM_WAIT_MS		5000

/* A database that can be connected to. */
typedef struct Known
{
	Oid			dboid;
	TimestampTz due;			/* as in its slot, if it has one */
	int			failures;		/* likewise */
	EventlogPresence presence;	/* likewise */
} Known;

static Known *known = NULL;
static int	nknown = 0;
static TimestampTz next_scan = 0;
static MemoryContext known_context = NULL;

/* Workers that were started, by slot, and the slot's generation at that time. */
static BackgroundWorkerHandle *handles[EVENTLOG_MAX_DATABASES];
static uint32 handle_generations[EVENTLOG_MAX_DATABASES];

/* The last attempt to start a worker failed: none is made until then. */
static TimestampTz no_room_until = 0;

static Known *
find_known(Oid dboid)
{
	for (int i = 0; i < nknown; i++)
	{
		if (known[i].dboid == dboid)
			return &known[i];
	}
	return NULL;
}

static bool
is_known(Oid dboid)
{
	return find_known(dboid) != NULL;
}

static int
slot_number(const EventlogDatabase *slot)
{
	return slot - eventlog_shared->databases;
}

/*
 * Read the databases that can be connected to into a new list, which keeps
 * what the old one knows, and free the slots of those that are gone.
 */
static void
scan_databases(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "eventlog databases",
												  ALLOCSET_SMALL_SIZES);
	int			max = 16;
	int			n = 0;
	Known	   *list = MemoryContextAlloc(context, sizeof(Known) * max);
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		Known	   *old;

		if (!database->datallowconn || database->datconnlimit == DATCONNLIMIT_INVALID_DB)
			continue;
		if (n == max)
		{
			max *= 2;
			list = repalloc(list, sizeof(Known) * max);
		}
		old = find_known(database->oid);
		if (old != NULL)
			list[n] = *old;
		else
			memset(&list[n], 0, sizeof(Known));
		list[n].dboid = database->oid;
		n++;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	if (known_context != NULL)
		MemoryContextDelete(known_context);
	known_context = context;
	known = list;
	nknown = n;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		EventlogDatabase *slot = &eventlog_shared->databases[i];

		if (OidIsValid(slot->dboid) && slot->state == EVENTLOG_WORKER_NONE &&
			find_known(slot->dboid) == NULL)
			slot->dboid = InvalidOid;
	}
	eventlog_service_sweep_locked(is_known);
	LWLockRelease(eventlog_shared->lock);
}

/*
 * Forget workers that have ended.  One that has not attached to its slot never
 * came up: the process could not be made, or failed early.
 */
static void
reap(TimestampTz now)
{
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		EventlogDatabase *slot = &eventlog_shared->databases[i];
		pid_t		pid;

		if (handles[i] == NULL ||
			GetBackgroundWorkerPid(handles[i], &pid) != BGWH_STOPPED)
			continue;
		pfree(handles[i]);
		handles[i] = NULL;

		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		if (slot->state == EVENTLOG_WORKER_STARTING &&
			slot->generation == handle_generations[i])
		{
			slot->state = EVENTLOG_WORKER_NONE;
			slot->history.failures++;
			slot->due = now + eventlog_slot_backoff_ms(slot->history.failures) * (int64) 1000;
			eventlog_slot_note_error_locked(&slot->history,
											"worker did not come up; the server's log says why");
		}
		LWLockRelease(eventlog_shared->lock);
	}
}

/*
 * Choose the database that has been due for longest, and reserve its slot for
 * a worker.  Returns NULL if none is due or as many workers run as may; then
 * *next is when to look again.
 */
static EventlogDatabase *
reserve(TimestampTz now, TimestampTz *next)
{
	Known	   *best = NULL;
	EventlogDatabase *slot = NULL;
	int			active = 0;

	*next = next_scan;
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		if (eventlog_shared->databases[i].state != EVENTLOG_WORKER_NONE)
			active++;
	}
	for (int i = 0; i < nknown && eventlog_maintenance; i++)
	{
		Known	   *k = &known[i];

		slot = eventlog_slot_find_locked(k->dboid);
		if (slot != NULL)
		{
			k->due = slot->due;
			k->failures = slot->history.failures;
			k->presence = slot->presence;
			if (slot->state != EVENTLOG_WORKER_NONE)
				continue;		/* its end wakes us */
		}
		if (eventlog_slot_is_blocked_locked(k->dboid))
			continue;			/* likewise */
		if (k->due > now)
			*next = Min(*next, k->due);
		else if (best == NULL || k->due < best->due)
			best = k;
	}

	slot = NULL;
	if (best != NULL && now < no_room_until)
		*next = Min(*next, no_room_until);
	else if (best != NULL && active < eventlog_max_maintenance_workers)
		slot = eventlog_slot_take_locked(best->dboid);
	if (slot != NULL)
	{
		slot->presence = best->presence;
		slot->history.failures = best->failures;
		slot->state = EVENTLOG_WORKER_STARTING;
		slot->generation++;
		strlcpy(slot->history.activity, "starting", EVENTLOG_ACTIVITY_BYTES);
	}
	LWLockRelease(eventlog_shared->lock);
	return slot;
}

/*
 * Start a worker for a reserved slot.  If the server has no room for one, it
 * has none for others: the next attempt is made later, in a database that has
 * been due for longer by then.
 */
static void
start_worker(EventlogDatabase *slot, TimestampTz now)
{
	static const char *const reason =
		"no worker could be started: all of max_worker_processes are in use";
	BackgroundWorker worker;
	EventlogWorkerArgs args;
	BackgroundWorkerHandle *handle;
	int			number = slot_number(slot);
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	TimestampTz try_again = now + NO_ROOM_WAIT_MS * (int64) 1000;
	bool		started;

	/* of a worker that has detached, and whose end we have not heard of yet */
	if (handles[number] != NULL)
		pfree(handles[number]);
	handles[number] = NULL;

	eventlog_worker_describe(&worker, "maintenance", "eventlog_maintenance_main");
	args.slot = number;
	args.generation = slot->generation; /* ours while STARTING */
	memcpy(worker.bgw_extra, &args, sizeof(args));
	worker.bgw_notify_pid = MyProcPid;
	started = RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(old);

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	if (started)
	{
		handles[number] = handle;
		handle_generations[number] = args.generation;
		eventlog_shared->launcher.runs++;
	}
	else
	{
		slot->state = EVENTLOG_WORKER_NONE;
		slot->not_started = true;
		slot->due = try_again;
		slot->history.activity[0] = '\0';
		eventlog_slot_note_error_locked(&slot->history, reason);
		eventlog_slot_note_error_locked(&eventlog_shared->launcher, reason);
	}
	LWLockRelease(eventlog_shared->lock);

	if (!started && no_room_until == 0)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("pg_eventlog cannot start a maintenance worker"),
				 errdetail("All of max_worker_processes are in use."),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
	no_room_until = started ? 0 : try_again;
}

/* The interval may have become shorter: nobody waits for longer than that. */
static void
apply_interval(TimestampTz now)
{
	TimestampTz latest = now + eventlog_maintenance_interval * (int64) 1000;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		EventlogDatabase *slot = &eventlog_shared->databases[i];

		if (slot->presence == EVENTLOG_PRESENT && slot->history.failures == 0 &&
			slot->due > latest)
			slot->due = latest;
	}
	LWLockRelease(eventlog_shared->lock);
}

/* Do what is due; returns when something is due again. */
static TimestampTz
serve(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;
	EventlogDatabase *slot;
	bool		rescan;

	reap(now);

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	rescan = eventlog_shared->rescan || now >= next_scan;
	eventlog_shared->rescan = false;
	LWLockRelease(eventlog_shared->lock);
	if (rescan)
	{
		next_scan = now + EVENTLOG_PROBE_INTERVAL_MS * (int64) 1000;
		scan_databases();
	}

	while ((slot = reserve(now, &next)) != NULL)
		start_worker(slot, now);
	eventlog_service_launch(now, &next);

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_shared->launcher_due = next;
	eventlog_shared->launcher.failures = 0;
	LWLockRelease(eventlog_shared->lock);
	return next;
}

/* Exit callback. */
static void
leave(int code, Datum arg)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_shared->launcher_pid = 0;
	eventlog_shared->launcher_latch = NULL;
	eventlog_shared->launcher.finished_at = GetCurrentTimestamp();
	LWLockRelease(eventlog_shared->lock);
}

/*
 * Tell everybody that we are here.  Workers which an earlier launcher has
 * registered and that have not attached yet are not waited for: they will find
 * another generation and leave.
 */
static void
enter(void)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_shared->launcher_pid = MyProcPid;
	eventlog_shared->launcher_latch = MyLatch;
	eventlog_shared->launcher.started_at = GetCurrentTimestamp();
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		EventlogDatabase *slot = &eventlog_shared->databases[i];

		if (slot->state == EVENTLOG_WORKER_STARTING)
		{
			slot->state = EVENTLOG_WORKER_NONE;
			slot->generation++;
			slot->history.activity[0] = '\0';
		}
	}
	eventlog_service_launcher_enter_locked();
	LWLockRelease(eventlog_shared->lock);
	on_shmem_exit(leave, 0);
}

static void
launch(void)
{
	int			interval;

	eventlog_worker_connect(InvalidOid);
	interval = eventlog_maintenance_interval;
	for (;;)
	{
		TimestampTz next;
		long		wait_ms;

		eventlog_worker_check();
		if (interval != eventlog_maintenance_interval)
		{
			interval = eventlog_maintenance_interval;
			apply_interval(GetCurrentTimestamp());
		}
		next = serve();
		wait_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(wait_ms, 1), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static void
note_failure(const char *message)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_shared->launcher.failures++;
	eventlog_slot_note_error_locked(&eventlog_shared->launcher, message);
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_launcher_main(Datum arg)
{
	eventlog_worker_begin();
	enter();

	/* ends by an exit or an error; then the postmaster starts another one */
	(void) eventlog_worker_run(launch, note_failure);
	proc_exit(1);
}

/*
 * A server in binary upgrade mode is alone with pg_upgrade, which does not
 * want anybody else in its databases.
 */
void
eventlog_launcher_init(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	eventlog_worker_describe(&worker, "launcher", "eventlog_launcher_main");
	worker.bgw_restart_time = RESTART_SECONDS;
	RegisterBackgroundWorker(&worker);
}
