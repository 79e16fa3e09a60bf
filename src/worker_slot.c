/*-------------------------------------------------------------------------
 *
 * worker_slot.c
 *	  Databases and their workers, in shared memory.
 *
 * The launcher starts workers for databases that are due; a worker attaches
 * to its database's slot, works, and detaches (worker.c).  A slot is RUNNING
 * from before the worker connects until its process has left the server's
 * list of processes.  So whoever finds a slot that is not RUNNING, while new
 * workers are blocked, knows that no worker is in the database: that is what
 * DROP DATABASE and its like rely on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "service.h"
#include "worker_slot.h"

/*
 * How long a utility statement waits for a worker to go, how often it looks,
 * and after how many looks it asks again.
 */
#define LEAVE_TIMEOUT_MS	5000
#define LEAVE_POLL_MS		5
#define LEAVE_ASK_AGAIN		50

/* The block of this backend, or -1. */
static int	my_block = -1;

/* The slot last found by eventlog_maintenance_wake(): a hint. */
static EventlogDatabase *last_woken = NULL;

EventlogDatabase *
eventlog_slot_find_locked(Oid dboid)
{
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		if (eventlog_shared->databases[i].dboid == dboid)
			return &eventlog_shared->databases[i];
	}
	return NULL;
}

EventlogDatabase *
eventlog_slot_take_locked(Oid dboid)
{
	EventlogDatabase *best = eventlog_slot_find_locked(dboid);
	uint32		generation;

	if (best != NULL)
		return best;
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		EventlogDatabase *slot = &eventlog_shared->databases[i];

		if (slot->dboid == InvalidOid)
		{
			best = slot;
			break;
		}
		if (slot->state == EVENTLOG_WORKER_NONE && (best == NULL || slot->due > best->due))
			best = slot;
	}
	if (best == NULL)
		return NULL;

	/* a late worker of the slot's last database must not take it for its own */
	generation = best->generation + 1;
	memset(best, 0, offsetof(EventlogDatabase, wake));
	pg_atomic_write_u32(&best->wake, 0);
	best->generation = generation;
	best->dboid = dboid;
	return best;
}

bool
eventlog_slot_is_blocked_locked(Oid dboid)
{
	int			left = eventlog_shared->nblocks;

	for (int i = 0; left > 0 && i < eventlog_shared->maxblocks; i++)
	{
		if (!OidIsValid(eventlog_shared->blocks[i].dboid))
			continue;
		if (eventlog_shared->blocks[i].dboid == dboid)
			return true;
		left--;
	}
	return false;
}

void
eventlog_slot_note_error_locked(EventlogWorkerHistory *history, const char *message)
{
	int			len = strlen(message);

	if (len >= EVENTLOG_ERROR_BYTES)
		len = pg_mbcliplen(message, len, EVENTLOG_ERROR_BYTES - 1);
	memcpy(history->error, message, len);
	history->error[len] = '\0';
	history->error_at = GetCurrentTimestamp();
}

int
eventlog_slot_backoff_ms(int failures)
{
	/* 2^9 s are more than 5 minutes */
	if (failures > 9)
		return 5 * 60 * 1000;
	return Min(1000 << Max(failures - 1, 0), 5 * 60 * 1000);
}

void
eventlog_slot_wake_launcher_locked(void)
{
	if (eventlog_shared->launcher_latch != NULL)
		SetLatch(eventlog_shared->launcher_latch);
}

void
eventlog_maintenance_wake(Oid dboid)
{
	EventlogDatabase *slot = last_woken;
	TimestampTz now;

	if (eventlog_shared == NULL)
		return;

	/*
	 * Whoever clears the flag looks at the database after that.  The barrier
	 * orders what this transaction did before the test: if the flag is still
	 * set, that will be seen.
	 */
	pg_memory_barrier();
	if (slot != NULL && slot->dboid == dboid && pg_atomic_read_u32(&slot->wake) != 0)
		return;

	now = GetCurrentTimestamp();
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot = eventlog_slot_find_locked(dboid);
	if (slot == NULL)
	{
		/* let the launcher find out whose turn it is */
		slot = eventlog_slot_take_locked(dboid);
		eventlog_shared->rescan = true;
	}
	if (slot != NULL)
	{
		pg_atomic_write_u32(&slot->wake, 1);
		if (slot->history.failures == 0 && !slot->not_started)
			slot->due = Min(slot->due, now);
		last_woken = slot;
	}
	eventlog_slot_wake_launcher_locked();
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_maintenance_probe(Oid dboid)
{
	EventlogDatabase *slot;

	if (eventlog_shared == NULL)
		return;
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot = eventlog_slot_take_locked(dboid);
	if (slot != NULL)
	{
		slot->presence = EVENTLOG_PRESENCE_UNKNOWN;
		slot->history.failures = 0;
		slot->not_started = false;
		slot->due = 0;
		pg_atomic_write_u32(&slot->wake, 1);
	}
	eventlog_shared->rescan = true;
	eventlog_slot_wake_launcher_locked();
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_maintenance_rescan(void)
{
	if (eventlog_shared == NULL)
		return;
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_shared->rescan = true;
	eventlog_slot_wake_launcher_locked();
	LWLockRelease(eventlog_shared->lock);
}

/* Enter the block of this backend. */
static void
add_block(Oid dboid)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < eventlog_shared->maxblocks; i++)
	{
		EventlogBlock *block = &eventlog_shared->blocks[i];

		if (OidIsValid(block->dboid))
			continue;
		block->dboid = dboid;
		block->pid = MyProcPid;
		eventlog_shared->nblocks++;
		my_block = i;
		break;
	}
	LWLockRelease(eventlog_shared->lock);
}

/*
 * Is a worker in a database?  If so, ask it to leave.  The signal is sent
 * under the lock: as long as the slot says so, the pid is the worker's.
 */
static bool
send_away(Oid dboid, bool ask)
{
	EventlogDatabase *slot;
	bool		there;

	LWLockAcquire(eventlog_shared->lock, LW_SHARED);
	slot = eventlog_slot_find_locked(dboid);
	there = slot != NULL && slot->state == EVENTLOG_WORKER_RUNNING;
	if (there && ask)
		kill(slot->pid, SIGTERM);
	if (eventlog_service_send_away_locked(dboid, ask))
		there = true;
	LWLockRelease(eventlog_shared->lock);
	return there;
}

void
eventlog_slot_block(Oid dboid)
{
	TimestampTz until = GetCurrentTimestamp() + LEAVE_TIMEOUT_MS * (int64) 1000;
	int			looks = 0;

	eventlog_slot_unblock();
	add_block(dboid);

	/*
	 * A worker that is only registered will find the block when it attaches.
	 * One that does not go in time is left to the server's own check, whose
	 * error says what there is to say.
	 */
	while (send_away(dboid, looks++ % LEAVE_ASK_AGAIN == 0) &&
		   GetCurrentTimestamp() < until)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LEAVE_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
eventlog_slot_unblock(void)
{
	if (my_block < 0)
		return;
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	eventlog_shared->blocks[my_block].dboid = InvalidOid;
	eventlog_shared->blocks[my_block].pid = 0;
	eventlog_shared->nblocks--;
	my_block = -1;
	eventlog_slot_wake_launcher_locked();
	LWLockRelease(eventlog_shared->lock);
}
