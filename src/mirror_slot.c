/*-------------------------------------------------------------------------
 *
 * mirror_slot.c
 *	  Mirrors in shared memory: the workers, and how each mirror fares.
 *
 * A slot outlives its worker, so that what was counted and the last error stay
 * to be seen.  It is freed when the mirror is dropped, or taken for another one
 * if all are in use and its database is gone or nobody works on it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "mirror_slot.h"

EventlogMirrorShared *eventlog_mirrors = NULL;

static EventlogServiceClass mirror_class = {
	.worker = "mirror",
	.function = "eventlog_mirror_main",
	.count = EVENTLOG_MAX_MIRROR_WORKERS,
	.size = sizeof(EventlogService)
};

Size
eventlog_mirror_shmem_size(void)
{
	return sizeof(EventlogMirrorShared);
}

void
eventlog_mirror_shmem_init(void)
{
	bool		found;

	eventlog_mirrors = ShmemInitStruct("pg_eventlog mirrors",
									   eventlog_mirror_shmem_size(), &found);
	mirror_class.slots = (char *) eventlog_mirrors->workers;
	eventlog_service_register(&mirror_class);
	if (found)
		return;
	memset(eventlog_mirrors, 0, eventlog_mirror_shmem_size());
	for (int i = 0; i < EVENTLOG_MAX_MIRRORS; i++)
	{
		EventlogMirrorSlot *slot = &eventlog_mirrors->slots[i];

		pg_atomic_init_u64(&slot->records, 0);
		pg_atomic_init_u64(&slot->bytes, 0);
		pg_atomic_init_u64(&slot->transactions, 0);
		pg_atomic_init_u64(&slot->aborted, 0);
		pg_atomic_init_u64(&slot->dead_letters, 0);
		pg_atomic_init_u64(&slot->broker_errors, 0);
		pg_atomic_init_u64(&slot->throttled_ms, 0);
		pg_atomic_init_u64(&slot->lag, PG_UINT64_MAX);
		pg_atomic_init_u64(&slot->records_per_s, 0);
		pg_atomic_init_u64(&slot->bytes_per_s, 0);
	}
}

/* ---- workers ---- */

void
eventlog_mirror_reload_at_commit(Oid serverid)
{
	eventlog_service_request_at_commit(&mirror_class, serverid, EVENTLOG_SERVICE_RELOAD);
}

void
eventlog_mirror_note_server(Oid serverid)
{
	eventlog_service_note(&mirror_class, MyDatabaseId, serverid, true);
}

EventlogService *
eventlog_mirror_worker_enter(void)
{
	return eventlog_service_enter(&mirror_class);
}

/* ---- mirrors ---- */

static EventlogMirrorSlot *
find_locked(Oid dboid, int32 id)
{
	for (int i = 0; i < EVENTLOG_MAX_MIRRORS; i++)
	{
		EventlogMirrorSlot *slot = &eventlog_mirrors->slots[i];

		if (slot->dboid == dboid && slot->id == id)
			return slot;
	}
	return NULL;
}

/* A free slot, or one that nobody works on. */
static EventlogMirrorSlot *
find_room_locked(void)
{
	EventlogMirrorSlot *slot = find_locked(InvalidOid, 0);

	for (int i = 0; slot == NULL && i < EVENTLOG_MAX_MIRRORS; i++)
	{
		if (eventlog_mirrors->slots[i].pid == 0)
			slot = &eventlog_mirrors->slots[i];
	}
	return slot;
}

static void
clear_locked(EventlogMirrorSlot *slot)
{
	memset(slot, 0, offsetof(EventlogMirrorSlot, records));
	pg_atomic_write_u64(&slot->records, 0);
	pg_atomic_write_u64(&slot->bytes, 0);
	pg_atomic_write_u64(&slot->transactions, 0);
	pg_atomic_write_u64(&slot->aborted, 0);
	pg_atomic_write_u64(&slot->dead_letters, 0);
	pg_atomic_write_u64(&slot->broker_errors, 0);
	pg_atomic_write_u64(&slot->throttled_ms, 0);
	pg_atomic_write_u64(&slot->lag, PG_UINT64_MAX);
	pg_atomic_write_u64(&slot->records_per_s, 0);
	pg_atomic_write_u64(&slot->bytes_per_s, 0);
}

EventlogMirrorSlot *
eventlog_mirror_slot_take(int32 id, Oid owner)
{
	EventlogMirrorSlot *slot;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot = find_locked(MyDatabaseId, id);
	if (slot == NULL)
	{
		slot = find_room_locked();
		if (slot != NULL)
		{
			clear_locked(slot);
			slot->dboid = MyDatabaseId;
			slot->id = id;
		}
	}
	if (slot != NULL)
	{
		slot->owner = owner;
		slot->pid = MyProcPid;
		slot->troubled = slot->npartitions = 0;
	}
	LWLockRelease(eventlog_shared->lock);
	return slot;
}

void
eventlog_mirror_slot_release(EventlogMirrorSlot *slot)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	if (slot->pid == MyProcPid)
	{
		slot->pid = 0;
		pg_atomic_write_u64(&slot->records_per_s, 0);
		pg_atomic_write_u64(&slot->bytes_per_s, 0);
	}
	LWLockRelease(eventlog_shared->lock);
}

static void
copy_message(char *to, const char *message)
{
	int			len = strlen(message);

	if (len >= EVENTLOG_ERROR_BYTES)
		len = pg_mbcliplen(message, len, EVENTLOG_ERROR_BYTES - 1);
	memcpy(to, message, len);
	to[len] = '\0';
}

void
eventlog_mirror_slot_phase(EventlogMirrorSlot *slot, EventlogMirrorPhase phase,
						   const char *message)
{
	eventlog_mirror_slot_failed(slot, phase, message, 0, 0);
}

void
eventlog_mirror_slot_failed(EventlogMirrorSlot *slot, EventlogMirrorPhase phase,
							const char *message, int failures, TimestampTz due)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot->phase = phase;
	slot->failures = failures;
	slot->due = due;
	if (message != NULL)
	{
		copy_message(slot->error, message);
		slot->error_at = now;
	}
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_mirror_slot_broker_error(EventlogMirrorSlot *slot, const char *message)
{
	TimestampTz now = GetCurrentTimestamp();

	pg_atomic_add_fetch_u64(&slot->broker_errors, 1);
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	copy_message(slot->broker_error, message);
	slot->broker_error_at = now;
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_mirror_slot_stats(EventlogMirrorSlot *slot, const char *stats)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	strlcpy(slot->stats, stats, sizeof(slot->stats));
	slot->stats_at = now;
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_mirror_slot_forget(Oid dboid, int32 id)
{
	EventlogMirrorSlot *slot;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot = find_locked(dboid, id);
	if (slot != NULL && slot->pid == 0)
		clear_locked(slot);
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_mirror_slot_sweep(bool (*is_there) (int32 id))
{
	int32		ids[EVENTLOG_MAX_MIRRORS];
	int			n = 0;

	LWLockAcquire(eventlog_shared->lock, LW_SHARED);
	for (int i = 0; i < EVENTLOG_MAX_MIRRORS; i++)
	{
		EventlogMirrorSlot *slot = &eventlog_mirrors->slots[i];

		if (slot->dboid == MyDatabaseId && slot->pid == 0)
			ids[n++] = slot->id;
	}
	LWLockRelease(eventlog_shared->lock);
	for (int i = 0; i < n; i++)
	{
		if (!is_there(ids[i]))
			eventlog_mirror_slot_forget(MyDatabaseId, ids[i]);
	}
}
