/*-------------------------------------------------------------------------
 *
 * service.c
 *	  Background services: being wanted, started, backing off, sent away.
 *
 * Slots are filled by maintenance workers, which read the catalogue at the
 * begin of each run, and by the functions that change the catalogue, when
 * their transactions commit.  The launcher starts a worker for each slot that
 * is due.  A worker attaches to its slot, and its slot is RUNNING until the
 * process has left the server's list of processes; so whoever finds no slot of
 * a database RUNNING, while new workers are blocked, knows that none is there.
 * A worker that fails is started again after a wait, doubled each time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include <signal.h>
#include <sys/stat.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "guc.h"
#include "service.h"
#include "worker.h"
#include "worker_slot.h"

/* How long stop waits for workers to go, and how often it looks. */
#define LEAVE_TIMEOUT_MS	10000
#define LEAVE_POLL_MS		5
#define LEAVE_ASK_AGAIN		50

/* How long to wait when the server has no room for a worker. */
#define NO_ROOM_WAIT_MS		5000

#define MAX_CLASSES			4

#define STANDBY_FILE		"standby.signal"

/* Requests of this transaction; more than these are found by the next run. */
#define MAX_PENDING			16

typedef struct EventlogServiceHandle
{
	BackgroundWorkerHandle *handle; /* NULL: none */
	uint32		generation;
} EventlogServiceHandle;

typedef struct Pending
{
	EventlogServiceClass *class;
	uint32		id;
	EventlogServiceRequest request;
} Pending;

static EventlogServiceClass *classes[MAX_CLASSES];
static int	nclasses = 0;

static Pending pending[MAX_PENDING];
static int	npending = 0;

/* Was this server started as a standby?  Set by the postmaster, inherited. */
static bool was_standby = false;

/* The service of this process, if it is a worker of one, and how it ends. */
static EventlogService *my_service = NULL;
static bool finished = false;
static bool had_errors = false;
static bool again = false;

void
eventlog_service_register(EventlogServiceClass *class)
{
	for (int i = 0; i < nclasses; i++)
	{
		if (classes[i] == class)
			return;
	}
	if (nclasses == MAX_CLASSES)
		elog(ERROR, "too many classes of services");
	classes[nclasses++] = class;
}

EventlogService *
eventlog_service_slot(const EventlogServiceClass *class, int number)
{
	return (EventlogService *) (class->slots + class->size * number);
}

EventlogService *
eventlog_service_find_locked(const EventlogServiceClass *class, Oid dboid, uint32 id)
{
	for (int i = 0; i < class->count; i++)
	{
		EventlogService *service = eventlog_service_slot(class, i);

		if (service->dboid == dboid && service->id == id)
			return service;
	}
	return NULL;
}

/* Free a slot.  Its generation goes on: workers of old are to be told apart. */
static void
clear_slot(EventlogServiceClass *class, EventlogService *service)
{
	service->dboid = InvalidOid;
	service->id = 0;
	service->owner = InvalidOid;
	service->wanted = false;
	service->due = 0;
	service->phase = EVENTLOG_PHASE_STARTING;
	memset(&service->history, 0, sizeof(service->history));
	if (class->clear != NULL)
		class->clear(service);
}

/* Has it no process, nor one that is on its way? */
static bool
is_gone(const EventlogService *service)
{
	return service->state == EVENTLOG_WORKER_NONE && service->helper_pid == 0;
}

/* Is there a process in the database?  If asked to, end it. */
static bool
send_away(EventlogService *service, bool ask)
{
	if (ask && service->state == EVENTLOG_WORKER_RUNNING)
		kill(service->pid, SIGTERM);
	if (ask && service->helper_pid != 0)
		kill(service->helper_pid, SIGTERM);
	return service->state == EVENTLOG_WORKER_RUNNING || service->helper_pid != 0;
}

/* ---- requests ---- */

static EventlogService *
take_slot(EventlogServiceClass *class, Oid dboid, uint32 id)
{
	EventlogService *service = eventlog_service_find_locked(class, InvalidOid, 0);

	if (service != NULL)
	{
		clear_slot(class, service);
		service->dboid = dboid;
		service->id = id;
	}
	return service;
}

static void
apply_request(EventlogService *service, EventlogServiceRequest request)
{
	bool		running = service->state == EVENTLOG_WORKER_RUNNING;

	if (request == EVENTLOG_SERVICE_UNWANT)
	{
		service->wanted = false;
		if (running)
			kill(service->pid, SIGTERM);
		return;
	}

	/* one that runs keeps its count, so that its failures are not forgotten */
	if (!service->wanted || service->state == EVENTLOG_WORKER_NONE ||
		request == EVENTLOG_SERVICE_RESTART)
	{
		service->due = 0;
		service->history.failures = 0;
	}
	if (!service->wanted || service->state == EVENTLOG_WORKER_NONE)
		service->phase = EVENTLOG_PHASE_STARTING;
	service->wanted = true;
	service->reloads++;
	if (running && request == EVENTLOG_SERVICE_RESTART)
		kill(service->pid, SIGTERM);
	else if (service->latch != NULL && request == EVENTLOG_SERVICE_RELOAD)
		SetLatch(service->latch);
}

bool
eventlog_service_request(EventlogServiceClass *class, Oid dboid, uint32 id,
						 EventlogServiceRequest request)
{
	EventlogService *service;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	service = eventlog_service_find_locked(class, dboid, id);
	if (service == NULL && request != EVENTLOG_SERVICE_UNWANT)
		service = take_slot(class, dboid, id);
	if (service != NULL)
	{
		apply_request(service, request);
		eventlog_slot_wake_launcher_locked();
	}
	LWLockRelease(eventlog_shared->lock);
	return service != NULL || request == EVENTLOG_SERVICE_UNWANT;
}

void
eventlog_service_note(EventlogServiceClass *class, Oid dboid, uint32 id, bool wanted)
{
	bool		known;

	if (!wanted)
		return;
	LWLockAcquire(eventlog_shared->lock, LW_SHARED);
	known = eventlog_service_find_locked(class, dboid, id) != NULL;
	LWLockRelease(eventlog_shared->lock);
	if (!known)
		(void) eventlog_service_request(class, dboid, id, EVENTLOG_SERVICE_WANT);
}

void
eventlog_service_request_at_commit(EventlogServiceClass *class, uint32 id,
								   EventlogServiceRequest request)
{
	int			i;

	for (i = 0; i < npending && !(pending[i].class == class && pending[i].id == id); i++)
		;
	if (i == MAX_PENDING)
		return;
	if (i == npending)
		npending++;
	pending[i].class = class;
	pending[i].id = id;
	pending[i].request = request;
}

/* Nothing here can raise or allocate. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			for (int i = 0; i < npending; i++)
				(void) eventlog_service_request(pending[i].class, MyDatabaseId, pending[i].id,
												pending[i].request);
			break;
		case XACT_EVENT_PRE_PREPARE:
			/* whoever ends it would not know what to tell whom */
			if (npending > 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has created or changed captures or mirrors"),
						 errhint("Do that in a transaction of its own.")));
			return;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	npending = 0;
}

bool
eventlog_service_is_successor(void)
{
	return was_standby && eventlog_resume_after_promotion;
}

void
eventlog_service_init(void)
{
	struct stat st;

	was_standby = stat(STANDBY_FILE, &st) == 0;
	RegisterXactCallback(at_end_of_transaction, NULL);
}

/* ---- ending ---- */

bool
eventlog_service_send_away_locked(Oid dboid, bool ask)
{
	bool		there = false;

	for (int c = 0; c < nclasses; c++)
	{
		for (int i = 0; i < classes[c]->count; i++)
		{
			EventlogService *service = eventlog_service_slot(classes[c], i);

			if (service->dboid == dboid && send_away(service, ask))
				there = true;
		}
	}
	return there;
}

bool
eventlog_service_stop(EventlogServiceClass *class, Oid dboid, uint32 id)
{
	TimestampTz until = GetCurrentTimestamp() + LEAVE_TIMEOUT_MS * (int64) 1000;

	for (int looks = 0;; looks++)
	{
		EventlogService *service;
		bool		there = false;

		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		service = eventlog_service_find_locked(class, dboid, id);
		if (service != NULL)
		{
			service->wanted = false;
			there = send_away(service, looks % LEAVE_ASK_AGAIN == 0) ||
				service->state == EVENTLOG_WORKER_STARTING;
		}
		LWLockRelease(eventlog_shared->lock);
		if (!there)
			return true;
		if (GetCurrentTimestamp() > until)
			return false;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LEAVE_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
eventlog_service_forget(EventlogServiceClass *class, Oid dboid, uint32 id)
{
	EventlogService *service;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	service = eventlog_service_find_locked(class, dboid, id);
	if (service != NULL)
	{
		service->wanted = false;
		if (is_gone(service))
			clear_slot(class, service);
	}
	LWLockRelease(eventlog_shared->lock);
}

/* ---- starting workers: the launcher's ---- */

void
eventlog_service_launcher_enter_locked(void)
{
	for (int c = 0; c < nclasses; c++)
	{
		for (int i = 0; i < classes[c]->count; i++)
		{
			EventlogService *service = eventlog_service_slot(classes[c], i);

			if (service->state != EVENTLOG_WORKER_STARTING)
				continue;
			service->state = EVENTLOG_WORKER_NONE;
			service->generation++;
		}
	}
}

void
eventlog_service_sweep_locked(bool (*is_known) (Oid dboid))
{
	for (int c = 0; c < nclasses; c++)
	{
		for (int i = 0; i < classes[c]->count; i++)
		{
			EventlogService *service = eventlog_service_slot(classes[c], i);

			if (OidIsValid(service->dboid) && is_gone(service) && !is_known(service->dboid))
				clear_slot(classes[c], service);
		}
	}
}

/* No worker came of it. */
static void
note_not_started(EventlogService *service, TimestampTz due, const char *message)
{
	service->state = EVENTLOG_WORKER_NONE;
	service->due = due;
	service->phase = EVENTLOG_PHASE_FAILED;
	eventlog_slot_note_error_locked(&service->history, message);
}

/* Forget workers that have ended without having come up. */
static void
reap(EventlogServiceClass *class, TimestampTz now)
{
	for (int i = 0; i < class->count; i++)
	{
		EventlogServiceHandle *handle = &class->handles[i];
		EventlogService *service = eventlog_service_slot(class, i);
		pid_t		pid;

		if (handle->handle == NULL ||
			GetBackgroundWorkerPid(handle->handle, &pid) != BGWH_STOPPED)
			continue;
		pfree(handle->handle);
		handle->handle = NULL;

		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		if (service->state == EVENTLOG_WORKER_STARTING &&
			service->generation == handle->generation)
		{
			service->history.failures++;
			note_not_started(service, now +
							 eventlog_slot_backoff_ms(service->history.failures) * (int64) 1000,
							 "worker did not come up; the server's log says why");
		}
		LWLockRelease(eventlog_shared->lock);
	}
}

static void
start_worker(EventlogServiceClass *class, int number, TimestampTz now)
{
	EventlogService *service = eventlog_service_slot(class, number);
	EventlogServiceHandle *handle = &class->handles[number];
	BackgroundWorker worker;
	EventlogWorkerArgs args;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (handle->handle != NULL)
		pfree(handle->handle);
	handle->handle = NULL;
	eventlog_worker_describe(&worker, class->worker, class->function);
	args.slot = number;
	args.generation = service->generation;	/* ours while STARTING */
	memcpy(worker.bgw_extra, &args, sizeof(args));
	worker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&worker, &handle->handle))
		handle->generation = args.generation;
	else
	{
		handle->handle = NULL;
		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		note_not_started(service, now + NO_ROOM_WAIT_MS * (int64) 1000,
						 "no worker could be started: all of max_worker_processes are in use");
		LWLockRelease(eventlog_shared->lock);
	}
	MemoryContextSwitchTo(old);
}

static void
launch_class(EventlogServiceClass *class, TimestampTz now, TimestampTz *next)
{
	if (class->handles == NULL)
		class->handles = MemoryContextAllocZero(TopMemoryContext,
												sizeof(EventlogServiceHandle) * class->count);
	reap(class, now);
	for (int i = 0; i < class->count; i++)
	{
		EventlogService *service = eventlog_service_slot(class, i);
		bool		start = false;

		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		if (OidIsValid(service->dboid) && service->wanted &&
			service->state == EVENTLOG_WORKER_NONE &&
			!eventlog_slot_is_blocked_locked(service->dboid))
		{
			if (service->due <= now)
			{
				start = true;
				service->state = EVENTLOG_WORKER_STARTING;
				service->generation++;
			}
			else
				*next = Min(*next, service->due);
		}
		LWLockRelease(eventlog_shared->lock);
		if (start)
		{
			start_worker(class, i, now);
			*next = Min(*next, now + NO_ROOM_WAIT_MS * (int64) 1000);
		}
	}
}

void
eventlog_service_launch(TimestampTz now, TimestampTz *next)
{
	for (int c = 0; c < nclasses; c++)
		launch_class(classes[c], now, next);
}

/* ---- a worker's ---- */

/* Exit callback: the server no longer lists this process. */
static void
leave(int code, Datum arg)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	if (my_service->helper_pid != 0)
		kill(my_service->helper_pid, SIGTERM);
	if (!finished && !had_errors && !again && !eventlog_worker_told_to_leave())
	{
		/* by a FATAL: most likely it could not connect */
		had_errors = true;
		eventlog_slot_note_error_locked(&my_service->history,
										"worker ended; the server's log says why");
		eventlog_shared->rescan = true;
	}
	my_service->history.finished_at = now;
	my_service->due = now;
	if (had_errors)
	{
		my_service->history.failures++;
		my_service->due = now +
			eventlog_slot_backoff_ms(my_service->history.failures) * (int64) 1000;
		my_service->phase = EVENTLOG_PHASE_FAILED;
	}
	else if (!finished)
		my_service->phase = EVENTLOG_PHASE_STARTING;
	my_service->state = EVENTLOG_WORKER_NONE;
	my_service->pid = 0;
	my_service->latch = NULL;
	eventlog_slot_wake_launcher_locked();
	LWLockRelease(eventlog_shared->lock);
}

EventlogService *
eventlog_service_enter(EventlogServiceClass *class)
{
	EventlogWorkerArgs args;
	EventlogService *service;
	bool		welcome;

	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	service = eventlog_service_slot(class, args.slot);
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	welcome = service->state == EVENTLOG_WORKER_STARTING &&
		service->generation == args.generation;
	if (welcome && (!service->wanted || eventlog_slot_is_blocked_locked(service->dboid)))
	{
		service->state = EVENTLOG_WORKER_NONE;
		welcome = false;
	}
	if (welcome)
	{
		my_service = service;
		service->state = EVENTLOG_WORKER_RUNNING;
		service->pid = MyProcPid;
		service->latch = MyLatch;
		service->phase = EVENTLOG_PHASE_STARTING;
		service->history.started_at = GetCurrentTimestamp();
	}
	LWLockRelease(eventlog_shared->lock);
	if (!welcome)
		return NULL;
	on_shmem_exit(leave, 0);
	return service;
}

void
eventlog_service_failed(const char *message, bool try_again)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_slot_note_error_locked(&my_service->history, message);
	LWLockRelease(eventlog_shared->lock);
	again = try_again;
	had_errors = !try_again;
}

void
eventlog_service_finish(EventlogServicePhase phase)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	my_service->wanted = false;
	my_service->phase = phase;
	LWLockRelease(eventlog_shared->lock);
	finished = true;
}

void
eventlog_service_works(void)
{
	/* only this process writes it while it runs, but for a request to start anew */
	if (likely(my_service->history.failures == 0))
		return;
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	my_service->history.failures = 0;
	LWLockRelease(eventlog_shared->lock);
}
