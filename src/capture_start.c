/*-------------------------------------------------------------------------
 *
 * capture_start.c
 *	  What an appender does before it streams: slot, origin, snapshot.
 *
 * Two things tell where a capture is.  The slot is where WAL is retained from;
 * the replication origin is what has been appended, and it is part of the
 * appender's commit records, so it cannot be wrong.  Streaming goes on from
 * whichever is later: the slot's position may be ahead only by WAL that had
 * nothing for the capture.
 *
 * The first time, the slot is created inside the transaction that also copies
 * the tables' rows and sets the origin.  The slot is made persistent before
 * that transaction commits; if it does not, the slot is dropped at the next
 * attempt, since the catalogue still says that the snapshot is pending.
 *
 * A slot that is lost afterwards is not made again silently: changes may be
 * missing from then on.
 *
 * Copies.  A server that comes from a backup, or a database from a template or
 * a dump, has captures that belong to the original.  They stand still until
 * somebody resumes them.  A standby that has been promoted is the original's
 * successor, and goes on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/snapbuild.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "capture_snapshot.h"
#include "capture_start.h"
#include "capture_sink.h"
#include "capture_wal.h"
#include "guc.h"

void
eventlog_capture_check_replication(Oid role)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that owns the capture has been dropped"),
				 errhint("A superuser can drop the capture.")));
	if (!superuser_arg(role) && !has_rolreplication(role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not capture changes", GetUserNameFromId(role, false)),
				 errhint("Give the role the attribute REPLICATION.")));
}

bool
eventlog_capture_trusts(Oid role, Oid owner)
{
	return role == owner || superuser_arg(owner) || is_member_of_role_nosuper(role, owner);
}

void
eventlog_capture_slot_state(const char *name, EventlogSlotState *state)
{
	ReplicationSlot *slot;

	memset(state, 0, sizeof(*state));
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		state->exists = true;
		state->active = slot->active_pid != 0;
		state->invalid = eventlog_slot_is_invalid(slot);
		state->logical = slot->data.database != InvalidOid;
		state->pgoutput = strcmp(NameStr(slot->data.plugin), "pgoutput") == 0;
		state->database = slot->data.database;
		state->confirmed = slot->data.confirmed_flush;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
}

/* ---- entering ---- */

/* A capture that was working on another timeline: may it go on? */
static bool
follow_timeline(EventlogCapture *capture)
{
	if (capture->timeline == (uint32) GetWALInsertionTimeLine())
		return true;
	if (!eventlog_service_is_successor())
		return false;
	ereport(LOG,
			(errmsg("capture \"%s\" goes on after a promotion, on timeline %u",
					capture->name, (uint32) GetWALInsertionTimeLine())));
	eventlog_capture_set_home(capture->id);
	return true;
}

EventlogCapture *
eventlog_capture_enter(int32 id, EventlogCapturePhase *phase)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "eventlog capture",
												  ALLOCSET_DEFAULT_SIZES);
	EventlogCapture *capture;
	RepOriginId origin;

	*phase = EVENTLOG_PHASE_STOPPED;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	capture = eventlog_capture_load(NULL, id, false, true);
	if (capture != NULL && (capture->paused || capture->stage == EVENTLOG_STAGE_FINISHED))
		capture = NULL;
	if (capture != NULL && (!eventlog_capture_is_home(capture) || !follow_timeline(capture)))
	{
		ereport(LOG,
				(errmsg("capture \"%s\" waits to be adopted", capture->name),
				 errdetail("This server or database seems to be a copy of the one where it has been working."),
				 errhint("If it is to work here, use eventlog.resume_capture().")));
		*phase = EVENTLOG_PHASE_ADOPTION;
		capture = NULL;
	}
	if (capture != NULL)
	{
		eventlog_capture_check_replication(capture->owner);
		origin = replorigin_by_name(capture->origin_name, true);
		if (origin == InvalidRepOriginId)
			origin = replorigin_create(capture->origin_name);
		CommitTransactionCommand();
		eventlog_origin_setup(origin);
		replorigin_session_origin = origin;
		replorigin_session_origin_lsn = replorigin_session_get_progress(false);
	}
	else
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return capture;
}

/* ---- slots ---- */

static void
drop_slot(const char *name)
{
	EventlogSlotState state;

	eventlog_capture_slot_state(name, &state);
	if (state.exists)
		ReplicationSlotDrop(name, false);
}

/*
 * Create the slot, inside a new transaction, whose snapshot becomes that of
 * the slot's position if "full".
 */
static XLogRecPtr
create_slot(const EventlogCapture *capture, EventlogCaptureSlot *slot, bool full)
{
	LogicalDecodingContext *ctx;
	XLogRecPtr	start;

	XactReadOnly = false;
	XactIsoLevel = XACT_REPEATABLE_READ;
	eventlog_slot_create(capture->slot_name, RS_EPHEMERAL);
	ctx = CreateInitDecodingContext("pgoutput", NIL, full, InvalidXLogRecPtr,
									XL_ROUTINE(.page_read = eventlog_wal_read_page,
											   .segment_open = wal_segment_open,
											   .segment_close = wal_segment_close),
									NULL, NULL, NULL);
	DecodingContextFindStartpoint(ctx);
	start = MyReplicationSlot->data.confirmed_flush;
	if (full)
		RestoreTransactionSnapshot(SnapBuildInitialSnapshot(ctx->snapshot_builder), MyProc);
	FreeDecodingContext(ctx);
	ReplicationSlotPersist();
	ReplicationSlotRelease();
	return start;
}

static void
nothing_to_do(bool caught_up)
{
	CHECK_FOR_INTERRUPTS();
}

static void
start_anew(EventlogCapture *capture, EventlogCaptureSlot *slot, EventlogEncoder *encoder,
		   EventlogCaptureSink *sink)
{
	EventlogSnapshotMode mode = capture->config->snapshot_mode;
	bool		copy = mode != EVENTLOG_SNAPSHOT_NO_DATA;
	XLogRecPtr	start;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	slot->service.phase = copy ? EVENTLOG_PHASE_SNAPSHOT : EVENTLOG_PHASE_STARTING;
	LWLockRelease(eventlog_shared->lock);

	drop_slot(capture->slot_name);
	EVENTLOG_PAUSE_INTERRUPTIBLE("capture-slot", capture->name);
	eventlog_wal_wait_setup(slot, nothing_to_do);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	start = create_slot(capture, slot, copy);
	EVENTLOG_PAUSE_INTERRUPTIBLE("capture-snapshot", capture->name);
	eventlog_capture_sink_begin();
	if (copy)
		eventlog_capture_snapshot(capture, sink, encoder, start);
	EVENTLOG_PAUSE_INTERRUPTIBLE("capture-copied", capture->name);
	eventlog_capture_set_stage(capture->id, mode == EVENTLOG_SNAPSHOT_INITIAL_ONLY ?
							   EVENTLOG_STAGE_FINISHED : EVENTLOG_STAGE_STREAMING, start);
	replorigin_session_origin_lsn = start;
	replorigin_session_origin_timestamp = GetCurrentTimestamp();
	pg_atomic_add_fetch_u64(&slot->rows, eventlog_capture_sink_records());
	CommitTransactionCommand();
	if (mode == EVENTLOG_SNAPSHOT_INITIAL_ONLY)
		drop_slot(capture->slot_name);
	capture->start_lsn = start;
	capture->stage = mode == EVENTLOG_SNAPSHOT_INITIAL_ONLY ?
		EVENTLOG_STAGE_FINISHED : EVENTLOG_STAGE_STREAMING;
}

/* Take over a slot that somebody else has made, at its position. */
static void
adopt_slot(EventlogCapture *capture, const EventlogSlotState *state)
{
	if (!state->logical || !state->pgoutput || state->database != MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" cannot be taken over", capture->slot_name),
				 errdetail("It must be a logical slot of this database with output plugin pgoutput.")));
	if (state->active)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("replication slot \"%s\" is in use", capture->slot_name),
				 errhint("Stop the connector that uses it.")));
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	eventlog_capture_set_stage(capture->id, EVENTLOG_STAGE_STREAMING, state->confirmed);
	replorigin_session_origin_lsn = state->confirmed;
	replorigin_session_origin_timestamp = GetCurrentTimestamp();
	CommitTransactionCommand();
	capture->start_lsn = state->confirmed;
	capture->stage = EVENTLOG_STAGE_STREAMING;
}

/* Changes may be missing: make a new snapshot if that is configured. */
static void
handle_loss(const EventlogCapture *capture, const EventlogSlotState *state, XLogRecPtr progress)
{
	const char *what = state->exists ? "invalidated" : "lost";

	if (capture->config->snapshot_mode != EVENTLOG_SNAPSHOT_WHEN_NEEDED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" was %s: changes committed after %X/%X may be missing from the topics",
						capture->slot_name, what, LSN_FORMAT_ARGS(progress)),
				 errhint("To go on with a new snapshot, set the capture's snapshot.mode to \"when_needed\" by eventlog.alter_capture().")));
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("capture \"%s\": replication slot \"%s\" was %s: changes committed after %X/%X may be missing from the topics; it goes on with a new snapshot",
					capture->name, capture->slot_name, what, LSN_FORMAT_ARGS(progress))));
}

XLogRecPtr
eventlog_capture_prepare(EventlogCapture *capture, EventlogCaptureSlot *slot,
						 EventlogEncoder *encoder, EventlogCaptureSink *sink,
						 bool *after_commit)
{
	EventlogSlotState state;
	XLogRecPtr	progress;

	CheckLogicalDecodingRequirements();
	progress = replorigin_session_get_progress(false);
	eventlog_capture_slot_state(capture->slot_name, &state);
	if (capture->stage == EVENTLOG_STAGE_PENDING)
	{
		if (capture->config->slot_name != NULL && state.exists && !state.invalid)
			adopt_slot(capture, &state);
		else
			start_anew(capture, slot, encoder, sink);
	}
	else if (!state.exists || state.invalid)
	{
		handle_loss(capture, &state, progress);
		start_anew(capture, slot, encoder, sink);
	}


	/* flushed, so that the slot can be confirmed up to there */
	progress = replorigin_session_get_progress(true);
	*after_commit = progress != capture->start_lsn;
	return progress;
}
