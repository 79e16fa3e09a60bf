/*-------------------------------------------------------------------------
 *
 * capture_appender.c
 *	  The worker that appends captured changes to topics.
 *
 * It takes the decoder's messages from the queue, has them encoded, and
 * appends whole source transactions: several in one transaction of its own
 * while there is a backlog, one at a time while there is none.  The position
 * after the last of them is in the same commit, as the progress of a
 * replication origin; so after a crash, streaming goes on exactly behind what
 * has been appended.
 *
 * Commits are asynchronous: whoever reads a topic flushes what it is about to
 * see.  The slot is confirmed only up to what is known to be flushed.
 *
 * Where there is nothing to append, nothing is written; the position moves on
 * in memory, and is written down once in a while.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "capture.h"
#include "capture_apply.h"
#include "capture_heartbeat.h"
#include "capture_incremental.h"
#include "capture_queue.h"
#include "capture_settings.h"
#include "capture_sink.h"
#include "capture_snapshot.h"
#include "capture_start.h"
#include "guc.h"
#include "worker.h"
#include "worker_slot.h"

/* One of our transactions takes source transactions until it has this much. */
#define GROUP_BYTES			(4 * 1024 * 1024)
#define GROUP_MS			100

/* WAL that may pass by before an idle position is written down. */
#define IDLE_LOG_BYTES		(64 * 1024 * 1024)

/* How long to wait for messages, and for the flush of what can be confirmed. */
#define WAIT_MS				1000
#define FLUSH_WAIT_MS		50

/* How often the owner's rights are looked at again. */
#define RIGHTS_MS			2000

/* Buffers of this worker, which has nobody's rows but its own. */
#define BUFFER_SIZE			"8MB"

static EventlogCaptureSlot *my_slot = NULL;
static EventlogCapture *capture = NULL;
static EventlogQueueShared *shared = NULL;
static EventlogQueue *queue = NULL;
static EventlogEncoder *encoder = NULL;
static EventlogCaptureSink *sink = NULL;

/* Our transaction. */
static bool is_open = false;
static bool inside = false;		/* in the middle of a source transaction */
static TimestampTz opened_at = 0;
static TimestampTz rights_checked_at = 0;
static int	group_transactions = 0;
static XLogRecPtr group_end = InvalidXLogRecPtr;	/* end of its last source
													 * transaction */
static TimestampTz group_time = 0;

/* What is done: all up to done_lsn, by commits up to done_commit. */
static XLogRecPtr done_lsn = InvalidXLogRecPtr;
static XLogRecPtr done_commit = InvalidXLogRecPtr;

/* What is being waited for, so that it can be confirmed. */
static XLogRecPtr flush_lsn = InvalidXLogRecPtr;
static XLogRecPtr flush_commit = InvalidXLogRecPtr;
static XLogRecPtr logged_lsn = InvalidXLogRecPtr;	/* in the origin */

EventlogCaptureSlot *
eventlog_capture_my_slot(void)
{
	return my_slot;
}

/* ---- our transactions ---- */

static void
open_transaction(void)
{
	if (is_open)
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	eventlog_capture_sink_begin();
	opened_at = GetCurrentTimestamp();
	group_transactions = 0;
	is_open = true;
	if (opened_at > rights_checked_at + RIGHTS_MS * INT64CONST(1000))
	{
		rights_checked_at = opened_at;
		eventlog_capture_check_replication(capture->owner);
		eventlog_apply_check_tables();
	}
}

/* All that the transaction has ends at "end". */
static void
commit_transaction(XLogRecPtr end, TimestampTz time)
{
	uint64		records = eventlog_capture_sink_records();
	XLogRecPtr	before = XactLastCommitEnd;

	eventlog_incremental_before_commit();
	EVENTLOG_PAUSE_INTERRUPTIBLE("capture-commit", capture->name);
	PopActiveSnapshot();
	replorigin_session_origin_lsn = end;
	replorigin_session_origin_timestamp = time;
	CommitTransactionCommand();
	is_open = false;
	if (XactLastCommitEnd != before)
	{
		done_commit = XactLastCommitEnd;
		logged_lsn = end;
	}
	if (end > done_lsn)
		done_lsn = end;
	pg_atomic_write_u64(&my_slot->appended_lsn, done_lsn);
	pg_atomic_add_fetch_u64(&my_slot->rows, records);
	pg_atomic_add_fetch_u64(&my_slot->transactions, group_transactions);
	if (time != 0)
		pg_atomic_write_u64(&my_slot->source_time, (uint64) time);
	pg_atomic_write_u64(&my_slot->current_bytes, eventlog_apply_bytes());
	eventlog_service_works();
	pgstat_report_stat(false);
}

static void
commit_group(void)
{
	if (is_open && !inside)
		commit_transaction(group_end, group_time);
}

/*
 * Everything up to lsn has been received, and there was nothing in it for a
 * while.  The origin is told only after much WAL, since that writes some.
 */
static void
note_position(XLogRecPtr lsn)
{
	commit_group();
	if (is_open || lsn <= done_lsn)
		return;
	if (lsn > logged_lsn + IDLE_LOG_BYTES)
	{
		open_transaction();
		(void) GetCurrentTransactionId();
		commit_transaction(lsn, 0);
	}
	done_lsn = lsn;
	pg_atomic_write_u64(&my_slot->appended_lsn, done_lsn);
}

/* Let the decoder confirm what is flushed; returns whether there is more. */
static bool
update_confirmable(void)
{
	XLogRecPtr	flushed = GetFlushRecPtr(NULL);

	while (true)
	{
		if (XLogRecPtrIsInvalid(flush_lsn))
		{
			if (done_lsn <= pg_atomic_read_u64(&my_slot->confirm_lsn))
				break;
			flush_lsn = done_lsn;
			flush_commit = done_commit;
		}
		if (flush_commit > flushed)
			break;
		pg_atomic_write_u64(&my_slot->confirm_lsn, flush_lsn);
		flush_lsn = InvalidXLogRecPtr;
	}
	return !XLogRecPtrIsInvalid(flush_lsn);
}

/* ---- messages ---- */

static void
check_table(void *arg, const EventlogRelationDesc *desc)
{
	AclResult	result;
	bool		gone = false;

	/* what is gone, table or column, has been published while it was there */
	result = pg_class_aclcheck_ext(desc->relid, capture->owner, ACL_SELECT, &gone);
	if (gone)
		return;
	for (int i = 0; result != ACLCHECK_OK && i < desc->ncolumns; i++)
	{
		gone = false;
		if (pg_attribute_aclcheck_ext(desc->relid, desc->columns[i].attnum, capture->owner,
									  ACL_SELECT, &gone) != ACLCHECK_OK && !gone)
			break;
		if (i == desc->ncolumns - 1)
			result = ACLCHECK_OK;
	}
	if (result != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table \"%s.%s\"", desc->schema, desc->name),
				 errdetail("Role \"%s\", which owns the capture, may not read it.",
						   GetUserNameFromId(capture->owner, false)),
				 errhint("Grant SELECT on the table to the role, or take the table out of the publication.")));
}

static void
handle_message(const EventlogMessageHeader *header, const char *bytes)
{
	XLogRecPtr	end;
	TimestampTz time;

	if (header->kind == EVENTLOG_MESSAGE_POSITION)
	{
		note_position(header->lsn);
		return;
	}
	open_transaction();
	switch (eventlog_apply_message(header->kind, header->lsn, bytes, header->len, &end, &time))
	{
		case EVENTLOG_APPLIED_BEGIN:
			inside = true;
			break;
		case EVENTLOG_APPLIED_COMMIT:
			inside = false;
			eventlog_incremental_at_end();
			group_transactions++;
			group_end = end;
			group_time = time;
			if (eventlog_capture_sink_bytes() >= GROUP_BYTES ||
				GetCurrentTimestamp() - opened_at > GROUP_MS * INT64CONST(1000) ||
				end <= pg_atomic_read_u64(&my_slot->careful_lsn))
				commit_group();
			break;
		case EVENTLOG_APPLIED_ALONE:
			group_end = end;
			group_time = 0;
			break;
		case EVENTLOG_APPLIED_CHANGE:
		case EVENTLOG_APPLIED_TABLE:
		case EVENTLOG_APPLIED_STREAMED:
			break;
	}
}

/* The decoder has ended: say why. */
pg_noreturn static void
report_decoder(void)
{
	if (shared->error[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not decode: %s", shared->error)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the decoder has ended"),
			 errdetail("The server's log may say why.")));
}

/* ---- the loop ---- */

static void
start_decoder(XLogRecPtr start)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	dsm_handle	segment;

	queue = eventlog_queue_create(&shared, &segment);
	shared->dboid = MyDatabaseId;
	shared->owner = capture->owner;
	shared->slot = my_slot - eventlog_captures->slots;
	shared->generation = my_slot->service.generation;
	shared->start_lsn = start;
	shared->origin = replorigin_session_origin;
	shared->messages = true;
	strlcpy(shared->slot_name, capture->slot_name, NAMEDATALEN);
	strlcpy(shared->publication, capture->publication, NAMEDATALEN);
	strlcpy(shared->name, capture->name, sizeof(shared->name));
	pg_atomic_write_u64(&my_slot->queued_bytes, 0);

	eventlog_worker_describe(&worker, "capture decoder", "eventlog_decoder_main");
	worker.bgw_main_arg = UInt32GetDatum(segment);
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no worker could be started: all of max_worker_processes are in use"),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
	eventlog_queue_set_handle(queue, handle);
}

/* What signals have asked for beside the stream; false: there is nothing. */
static bool
work_for_signals(void)
{
	if (likely(!eventlog_incremental_is_due()) || inside)
		return false;
	commit_group();
	if (is_open)
		return false;
	eventlog_incremental_work();
	return true;
}

static void
stream(void)
{
	EventlogMessageHeader header;
	const char *bytes;

	for (;;)
	{
		bool		more;
		int64		wait_ms;

		eventlog_worker_check();
		switch (eventlog_queue_next(queue, my_slot, &header, &bytes))
		{
			case EVENTLOG_QUEUE_MESSAGE:
				handle_message(&header, bytes);
				if (!is_open)
					(void) update_confirmable();
				(void) work_for_signals();
				continue;
			case EVENTLOG_QUEUE_CLOSED:
				report_decoder();
			case EVENTLOG_QUEUE_EMPTY:
				break;
		}
		commit_group();
		if (work_for_signals())
			continue;
		pg_atomic_write_u64(&my_slot->current_bytes, eventlog_apply_bytes());
		more = update_confirmable();
		wait_ms = more ? FLUSH_WAIT_MS : WAIT_MS;
		if (!is_open)
		{
			int64		due_ms = eventlog_capture_heartbeat(capture, encoder);

			wait_ms = Min(wait_ms, due_ms);
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/*
 * Debezium tells at each start that it makes no snapshot; we, only at the first
 * one.
 */
static void
tell_skipped(bool first_start, XLogRecPtr start)
{
	bool		copied = first_start && capture->config->snapshot_mode != EVENTLOG_SNAPSHOT_NO_DATA;

	if (copied || capture->config->notification_topic == NULL ||
		(!first_start && !capture->config->compatible))
		return;
	open_transaction();
	eventlog_capture_snapshot_skipped(capture, encoder);
	commit_transaction(start, 0);
}

static void
run(void)
{
	EventlogCapturePhase phase;
	EventlogApplyHooks apply_hooks = {.table = check_table};
	XLogRecPtr	start;
	bool		after_commit;
	bool		first_start;
	char	   *database;

	eventlog_worker_connect(my_slot->service.dboid);
	eventlog_capture_settings();
	SetConfigOption("eventlog.producer_buffer", BUFFER_SIZE, PGC_SUSET, PGC_S_OVERRIDE);
	capture = eventlog_capture_enter(my_slot->service.id, &phase);
	if (capture == NULL)
	{
		eventlog_service_finish(phase);
		return;
	}
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	my_slot->service.owner = capture->owner;
	LWLockRelease(eventlog_shared->lock);
	pgstat_report_activity(STATE_RUNNING, capture->name);
	StartTransactionCommand();
	database = MemoryContextStrdup(TopMemoryContext, get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	SetUserIdAndSecContext(capture->owner, SECURITY_RESTRICTED_OPERATION);

	MemoryContextSwitchTo(TopMemoryContext);
	sink = eventlog_capture_sink(capture);
	encoder = eventlog_encoder_create(capture->config, capture->topic_prefix, database, sink);
	first_start = capture->stage == EVENTLOG_STAGE_PENDING;
	start = eventlog_capture_prepare(capture, my_slot, encoder, sink, &after_commit);
	if (capture->stage == EVENTLOG_STAGE_FINISHED)
	{
		eventlog_service_finish(EVENTLOG_PHASE_STOPPED);
		return;
	}

	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("temp_file_limit", "-1", PGC_SUSET, PGC_S_OVERRIDE);
	MemoryContextSwitchTo(TopMemoryContext);
	eventlog_signals_init(capture, sink, database, &apply_hooks);
	eventlog_apply_init(encoder, &apply_hooks, after_commit ? start : InvalidXLogRecPtr);
	if (capture->config->dead_letter_topic != NULL &&
		pg_atomic_read_u64(&my_slot->careful_lsn) != 0)
		eventlog_apply_set_careful(pg_atomic_read_u64(&my_slot->careful_lsn),
								   capture->config->dead_letter_topic, sink);
	done_lsn = logged_lsn = start;
	pg_atomic_write_u64(&my_slot->appended_lsn, start);
	pg_atomic_write_u64(&my_slot->confirm_lsn, 0);
	tell_skipped(first_start, start);
	start_decoder(start);
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	my_slot->service.phase = EVENTLOG_PHASE_STREAMING;
	LWLockRelease(eventlog_shared->lock);
	stream();
}

/* ---- the worker ---- */

/*
 * The error is told with the row that it is about.  Another attempt is made at
 * once: what comes before that row is then committed transaction by
 * transaction, so that it is not held up; and if there is a dead-letter topic,
 * the row goes there.
 */
static void
failed(const char *message)
{
	XLogRecPtr	lsn;
	const char *row = encoder != NULL ? eventlog_apply_describe(&lsn) : NULL;

	if (row != NULL)
		message = psprintf("%s: %s", row, message);
	if (row != NULL && pg_atomic_read_u64(&my_slot->careful_lsn) < lsn)
	{
		pg_atomic_write_u64(&my_slot->careful_lsn, lsn);
		eventlog_service_failed(message, true);
	}
	else
		eventlog_service_failed(message, false);
}

void
eventlog_appender_main(Datum arg)
{
	eventlog_worker_begin();
	my_slot = eventlog_capture_worker_enter();
	if (my_slot == NULL)
		proc_exit(0);
	proc_exit(eventlog_worker_run(run, failed) ? 0 : 1);
}
