/*-------------------------------------------------------------------------
 *
 * capture_slot.c
 *	  Captures in shared memory, and waking their decoders.
 *
 * A capture is a service (service.c), whose worker is the appender; that one
 * starts the decoder.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "replication/origin.h"
#include "storage/shmem.h"

#include "capture_slot.h"

EventlogCaptureShared *eventlog_captures = NULL;

static void clear(EventlogService *service);

static EventlogServiceClass capture_class = {
	.worker = "capture appender",
	.function = "eventlog_appender_main",
	.count = EVENTLOG_MAX_CAPTURES,
	.size = sizeof(EventlogCaptureSlot),
	.clear = clear
};

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
	capture_class.slots = (char *) eventlog_captures->slots;
	eventlog_service_register(&capture_class);
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

static void
clear(EventlogService *service)
{
	EventlogCaptureSlot *slot = (EventlogCaptureSlot *) service;

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

void
eventlog_capture_note(Oid dboid, int32 id, bool wanted)
{
	eventlog_service_note(&capture_class, dboid, id, wanted);
}

void
eventlog_capture_want_at_commit(int32 id, bool wanted)
{
	eventlog_service_request_at_commit(&capture_class, id, wanted ?
									   EVENTLOG_SERVICE_WANT : EVENTLOG_SERVICE_UNWANT);
}

void
eventlog_capture_restart_at_commit(int32 id)
{
	eventlog_service_request_at_commit(&capture_class, id, EVENTLOG_SERVICE_RESTART);
}

bool
eventlog_capture_stop(Oid dboid, int32 id)
{
	return eventlog_service_stop(&capture_class, dboid, id);
}

void
eventlog_capture_forget(Oid dboid, int32 id)
{
	eventlog_service_forget(&capture_class, dboid, id);
}

EventlogCaptureSlot *
eventlog_capture_worker_enter(void)
{
	return (EventlogCaptureSlot *) eventlog_service_enter(&capture_class);
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

		if (slot->decoder_latch == NULL || pg_atomic_read_u64(&slot->decoded_lsn) >= lsn)
			continue;			/* commits that are flushed together come one by one */
		if (pg_atomic_exchange_u32(&slot->asleep, 0) != 0)
		{
			pg_atomic_sub_fetch_u32(&eventlog_captures->nasleep, 1);
			SetLatch(slot->decoder_latch);
		}
	}
	LWLockRelease(eventlog_shared->lock);
}

/*
 * What an appender commits under its replication origin is of no decoder's
 * concern: it is in topics, which are not captured.
 */
static bool
is_own_append(void)
{
	return eventlog_capture_my_slot() != NULL && replorigin_session_origin != InvalidRepOriginId;
}

/* Nothing here can raise or allocate. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if ((event != XACT_EVENT_COMMIT && event != XACT_EVENT_PARALLEL_COMMIT) ||
		eventlog_captures == NULL || XactLastCommitEnd == told_lsn)
		return;
	told_lsn = XactLastCommitEnd;
	if (!is_own_append())
		eventlog_capture_wake(told_lsn);
}

void
eventlog_capture_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
}
