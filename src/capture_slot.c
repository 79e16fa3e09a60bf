/*-------------------------------------------------------------------------
 *
 * capture_slot.c
 *	  Captures in shared memory: their workers, and being woken.
 *
 * Each capture that is to run has a slot.  Slots are filled by maintenance
 * workers, which read eventlog.capture at the begin of each run, and by the
 * functions that change captures, when their transactions commit.  The
 * launcher starts an appender for each slot that is due; the appender starts
 * its decoder.  An appender that fails is started again after a wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "capture_slot.h"
#include "worker.h"
#include "worker_slot.h"

/* How long drop and pause wait for workers to go, and how often they look. */
#define LEAVE_TIMEOUT_MS	10000
#define LEAVE_POLL_MS		5
#define LEAVE_ASK_AGAIN		50

/* How long to wait when the server has no room for a worker. */
#define NO_ROOM_WAIT_MS		5000

/* Changes of this transaction; more than these are found by the next run. */
#define MAX_PENDING			8

EventlogCaptureShared *eventlog_captures = NULL;

/* The launcher's: workers that it started. */
static BackgroundWorkerHandle *handles[EVENTLOG_MAX_CAPTURES];
static uint32 handle_generations[EVENTLOG_MAX_CAPTURES];

typedef struct Pending
{
	int32		id;
	bool		wanted;
	bool		restart;
} Pending;

static Pending pending[MAX_PENDING];
static int	npending = 0;

/* The end of this backend's last commit that it has told of. */
static XLogRecPtr told_lsn = InvalidXLogRecPtr;

Size
eventlog_capture_shmem_size(void)
{
	return sizeof(EventlogCaptureShared);
}

void
eventlog_capture_shmem_init(void)
{
	bool		found;

	eventlog_captures = ShmemInitStruct("pg_eventlog captures",
										eventlog_capture_shmem_size(), &found);
	if (found)
		return;
	memset(eventlog_captures, 0, eventlog_capture_shmem_size());
	pg_atomic_init_u32(&eventlog_captures->ndecoders, 0);
	pg_atomic_init_u32(&eventlog_captures->nasleep, 0);
	pg_atomic_init_u64(&eventlog_captures->commit_lsn, 0);
	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[i];

		pg_atomic_init_u32(&slot->asleep, 0);
		pg_atomic_init_u64(&slot->careful_lsn, 0);
		pg_atomic_init_u64(&slot->decoded_lsn, 0);
		pg_atomic_init_u64(&slot->appended_lsn, 0);
		pg_atomic_init_u64(&slot->confirm_lsn, 0);
		pg_atomic_init_u64(&slot->confirmed_lsn, 0);
		pg_atomic_init_u64(&slot->rows, 0);
		pg_atomic_init_u64(&slot->transactions, 0);
		pg_atomic_init_u64(&slot->current_bytes, 0);
		pg_atomic_init_u64(&slot->queued_bytes, 0);
		pg_atomic_init_u64(&slot->source_time, 0);
	}
}

EventlogCaptureSlot *
eventlog_capture_find_locked(Oid dboid, int32 id)
{
	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[i];

		if (slot->dboid == dboid && slot->id == id)
			return slot;
	}
	return NULL;
}

static void
clear_slot(EventlogCaptureSlot *slot)
{
	slot->dboid = InvalidOid;
	slot->id = 0;
	slot->owner = InvalidOid;
	slot->wanted = false;
	slot->phase = EVENTLOG_PHASE_STARTING;
	memset(&slot->history, 0, sizeof(slot->history));
	slot->tables_total = slot->tables_done = slot->ntables = 0;
	pg_atomic_write_u64(&slot->careful_lsn, 0);
	pg_atomic_write_u64(&slot->decoded_lsn, 0);
	pg_atomic_write_u64(&slot->appended_lsn, 0);
	pg_atomic_write_u64(&slot->confirm_lsn, 0);
	pg_atomic_write_u64(&slot->confirmed_lsn, 0);
	pg_atomic_write_u64(&slot->rows, 0);
	pg_atomic_write_u64(&slot->transactions, 0);
	pg_atomic_write_u64(&slot->current_bytes, 0);
	pg_atomic_write_u64(&slot->queued_bytes, 0);
	pg_atomic_write_u64(&slot->source_time, 0);
}

bool
eventlog_capture_want(Oid dboid, int32 id, bool wanted)
{
	EventlogCaptureSlot *slot;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot = eventlog_capture_find_locked(dboid, id);
	if (slot == NULL && wanted)
	{
		slot = eventlog_capture_find_locked(InvalidOid, 0);
		if (slot != NULL)
		{
			clear_slot(slot);
			slot->dboid = dboid;
			slot->id = id;
		}
	}
	if (slot != NULL)
	{
		if (wanted && (!slot->wanted || slot->state == EVENTLOG_WORKER_NONE))
		{
			slot->due = 0;
			slot->history.failures = 0;
			slot->phase = EVENTLOG_PHASE_STARTING;
		}
		slot->wanted = wanted;
		if (!wanted && slot->state == EVENTLOG_WORKER_RUNNING)
			kill(slot->pid, SIGTERM);
		eventlog_slot_wake_launcher_locked();
	}
	LWLockRelease(eventlog_shared->lock);
	return slot != NULL || !wanted;
}

void
eventlog_capture_note(Oid dboid, int32 id, bool wanted)
{
	bool		known;

	LWLockAcquire(eventlog_shared->lock, LW_SHARED);
	known = eventlog_capture_find_locked(dboid, id) != NULL;
	LWLockRelease(eventlog_shared->lock);
	if (!known && wanted)
		(void) eventlog_capture_want(dboid, id, true);
}

void
eventlog_capture_restart(Oid dboid, int32 id)
{
	EventlogCaptureSlot *slot;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot = eventlog_capture_find_locked(dboid, id);
	if (slot != NULL && slot->wanted)
	{
		slot->due = 0;
		slot->history.failures = 0;
		if (slot->state == EVENTLOG_WORKER_RUNNING)
			kill(slot->pid, SIGTERM);
	}
	eventlog_slot_wake_launcher_locked();
	LWLockRelease(eventlog_shared->lock);
	if (slot == NULL)
		(void) eventlog_capture_want(dboid, id, true);
}

static void
at_commit(int32 id, bool wanted, bool restart)
{
	int			i;

	for (i = 0; i < npending && pending[i].id != id; i++)
		;
	if (i == MAX_PENDING)
		return;
	if (i == npending)
		npending++;
	pending[i].id = id;
	pending[i].wanted = wanted;
	pending[i].restart = restart;
}

void
eventlog_capture_want_at_commit(int32 id, bool wanted)
{
	at_commit(id, wanted, false);
}

void
eventlog_capture_restart_at_commit(int32 id)
{
	at_commit(id, true, true);
}

/* Is there a process of this capture?  If asked to, end it. */
static bool
send_slot_away(EventlogCaptureSlot *slot, bool ask)
{
	if (ask && slot->state == EVENTLOG_WORKER_RUNNING)
		kill(slot->pid, SIGTERM);
	if (ask && slot->decoder_pid != 0)
		kill(slot->decoder_pid, SIGTERM);
	return slot->state == EVENTLOG_WORKER_RUNNING || slot->decoder_pid != 0;
}

bool
eventlog_capture_send_away_locked(Oid dboid, bool ask)
{
	bool		there = false;

	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		if (eventlog_captures->slots[i].dboid == dboid &&
			send_slot_away(&eventlog_captures->slots[i], ask))
			there = true;
	}
	return there;
}

bool
eventlog_capture_stop(Oid dboid, int32 id)
{
	TimestampTz until = GetCurrentTimestamp() + LEAVE_TIMEOUT_MS * (int64) 1000;

	for (int looks = 0;; looks++)
	{
		EventlogCaptureSlot *slot;
		bool		there = false;

		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		slot = eventlog_capture_find_locked(dboid, id);
		if (slot != NULL)
		{
			slot->wanted = false;
			there = send_slot_away(slot, looks % LEAVE_ASK_AGAIN == 0);
			if (slot->state == EVENTLOG_WORKER_STARTING)
				there = true;
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
eventlog_capture_forget(Oid dboid, int32 id)
{
	EventlogCaptureSlot *slot;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot = eventlog_capture_find_locked(dboid, id);
	if (slot != NULL)
	{
		slot->wanted = false;
		if (slot->state == EVENTLOG_WORKER_NONE && slot->decoder_pid == 0)
			clear_slot(slot);
	}
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_capture_progress(EventlogCaptureSlot *slot, int tables_total, int tables_done,
						  int number, const char *table, int64 rows, bool done)
{
	EventlogTableProgress *progress;
	int			len;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	if (tables_total != slot->tables_total || slot->ntables == 0)
		memset(slot->tables, 0, sizeof(slot->tables));
	slot->tables_total = tables_total;
	slot->tables_done = tables_done;
	slot->ntables = Min(tables_total, EVENTLOG_MAX_TABLE_PROGRESS);
	if (number < slot->ntables)
	{
		progress = &slot->tables[number];
		len = pg_mbcliplen(table, strlen(table), sizeof(progress->name) - 1);
		memcpy(progress->name, table, len);
		progress->name[len] = '\0';
		progress->rows = rows;
		progress->done = done;
	}
	LWLockRelease(eventlog_shared->lock);
}

/* ---- starting appenders: the launcher's ---- */

/* Appenders that an earlier launcher has registered will leave by themselves. */
void
eventlog_capture_launcher_enter_locked(void)
{
	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[i];

		if (slot->state == EVENTLOG_WORKER_STARTING)
		{
			slot->state = EVENTLOG_WORKER_NONE;
			slot->generation++;
		}
	}
}

void
eventlog_capture_sweep_locked(bool (*is_known) (Oid dboid))
{
	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[i];

		if (OidIsValid(slot->dboid) && slot->state == EVENTLOG_WORKER_NONE &&
			slot->decoder_pid == 0 && !is_known(slot->dboid))
			clear_slot(slot);
	}
}

/* Forget appenders that have ended without having come up. */
static void
reap(TimestampTz now)
{
	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[i];
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
			slot->phase = EVENTLOG_PHASE_FAILED;
			eventlog_slot_note_error_locked(&slot->history,
											"worker did not come up; the server's log says why");
		}
		LWLockRelease(eventlog_shared->lock);
	}
}

static void
start_appender(int number, TimestampTz now)
{
	EventlogCaptureSlot *slot = &eventlog_captures->slots[number];
	BackgroundWorker worker;
	EventlogWorkerArgs args;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	if (handles[number] != NULL)
		pfree(handles[number]);
	handles[number] = NULL;
	eventlog_worker_describe(&worker, "capture appender", "eventlog_appender_main");
	args.slot = number;
	args.generation = slot->generation; /* ours while STARTING */
	memcpy(worker.bgw_extra, &args, sizeof(args));
	worker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&worker, &handles[number]))
		handle_generations[number] = args.generation;
	else
	{
		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		slot->state = EVENTLOG_WORKER_NONE;
		slot->due = now + NO_ROOM_WAIT_MS * (int64) 1000;
		slot->phase = EVENTLOG_PHASE_FAILED;
		eventlog_slot_note_error_locked(&slot->history,
										"no worker could be started: all of max_worker_processes are in use");
		LWLockRelease(eventlog_shared->lock);
	}
	MemoryContextSwitchTo(old);
}

void
eventlog_capture_launch(TimestampTz now, TimestampTz *next)
{
	reap(now);
	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[i];
		bool		start = false;

		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		if (OidIsValid(slot->dboid) && slot->wanted &&
			slot->state == EVENTLOG_WORKER_NONE &&
			!eventlog_slot_is_blocked_locked(slot->dboid))
		{
			if (slot->due <= now)
			{
				start = true;
				slot->state = EVENTLOG_WORKER_STARTING;
				slot->generation++;
			}
			else
				*next = Min(*next, slot->due);
		}
		LWLockRelease(eventlog_shared->lock);
		if (start)
		{
			start_appender(i, now);
			*next = Min(*next, now + NO_ROOM_WAIT_MS * (int64) 1000);
		}
	}
}

/* ---- waking decoders ---- */

void
eventlog_capture_wake(XLogRecPtr lsn)
{
	uint64		seen;

	if (pg_atomic_read_u32(&eventlog_captures->ndecoders) == 0)
		return;
	seen = pg_atomic_read_u64(&eventlog_captures->commit_lsn);
	while (seen < lsn &&
		   !pg_atomic_compare_exchange_u64(&eventlog_captures->commit_lsn, &seen, lsn))
		;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&eventlog_captures->nasleep) == 0)
		return;
	LWLockAcquire(eventlog_shared->lock, LW_SHARED);
	for (int i = 0; i < EVENTLOG_MAX_CAPTURES; i++)
	{
		EventlogCaptureSlot *slot = &eventlog_captures->slots[i];

		if (slot->decoder_latch != NULL && pg_atomic_exchange_u32(&slot->asleep, 0) != 0)
		{
			pg_atomic_sub_fetch_u32(&eventlog_captures->nasleep, 1);
			SetLatch(slot->decoder_latch);
		}
	}
	LWLockRelease(eventlog_shared->lock);
}

/* Nothing here can raise or allocate. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			if (eventlog_captures == NULL)
				break;
			for (int i = 0; i < npending; i++)
			{
				if (pending[i].restart)
					eventlog_capture_restart(MyDatabaseId, pending[i].id);
				else
					(void) eventlog_capture_want(MyDatabaseId, pending[i].id, pending[i].wanted);
			}
			if (XactLastCommitEnd != told_lsn)
			{
				told_lsn = XactLastCommitEnd;
				eventlog_capture_wake(told_lsn);
			}
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	npending = 0;
}

void
eventlog_capture_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
}
