/*-------------------------------------------------------------------------
 *
 * capture_incremental.c
 *	  Incremental snapshots: tables are read in chunks beside the stream.
 *
 * A chunk is read between two watermarks: things that are written to the WAL
 * just to be met in the stream.  Its rows are kept until the stream has come to
 * the second one; of those that the stream has had a change in between, only
 * the change counts.  What is left is emitted where the second watermark is,
 * in the same transaction as the stream's own changes, the position, and the
 * key up to which the table has been read.  So after a crash it goes on behind
 * what has been emitted.
 *
 * In compatible mode the watermarks are Debezium's, rows in the signal table;
 * else they are logical messages, and there is no need for the first one,
 * since the appender reads only when it has come to the end of something: what
 * it meets next is younger.
 *
 * Two things need care.  What is met before the chunk is read must be visible
 * to its reading, and a transaction's commit can be in the WAL a while before
 * others see it: so those that are between the two are waited for.  And what
 * signals ask for takes effect at once where they are met, but a chunk that a
 * watermark has asked for is read even if a signal behind it says to pause:
 * Debezium would have read it by then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "capture_chunk.h"
#include "capture_incremental.h"
#include "capture_incremental_state.h"
#include "capture_notify.h"
#include "capture_sink.h"
#include "capture_snapshot.h"
#include "capture_window.h"
#include "capture_start.h"
#include "guc.h"

/* How long a chunk waits for a table's lock, and when it is tried again. */
#define LOCK_TIMEOUT		"1s"
#define LOCKED_RETRY_MS		1000

static EventlogCapture *capture = NULL;
static EventlogCaptureSink *sink = NULL;
static EventlogEncoder *encoder = NULL; /* of our own: tables may be described
										 * otherwise than in the stream's */
static EventlogIncrementalState *state = NULL;

static bool dirty = false;		/* the state is to be saved */
static bool read_requested = false;
static TimestampTz read_not_before = 0; /* a table was locked: it is tried again */

/* The chunk that waits for its watermark. */
static char chunk_id[EVENTLOG_UUID_LEN + 1];
static char chunk_opened[64];	/* when: for the watermarks */
static bool chunk_pending = false;
static bool window_open = false;
static Oid	window_relid = InvalidOid;
static EventlogWindow *window = NULL;	/* NULL: there was nothing to read */

/* What is done outside of the appender's transaction is done in this context. */
static MemoryContext work_context = NULL;

/* The watermark was met; its own change comes first. */
static bool emit_requested = false;
static EventlogSource emit_source;

/* ---- what signals ask for ---- */

static bool
is_running(void)
{
	return state->collections != NIL;
}

char *
eventlog_incremental_collection_names(void)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, state->collections)
		names = lappend(names, ((EventlogCollection *) lfirst(lc))->name);
	return eventlog_names_join(names);
}

static void
notify_collections(const char *type, char *names)
{
	eventlog_capture_notify(capture, encoder, state->correlation, EVENTLOG_NOTIFY_INCREMENTAL, type,
							"connector_name", capture->topic_prefix,
							"data_collections", names, NULL);
}

void
eventlog_incremental_next_collection(void)
{
	eventlog_state_next_collection(state);
	dirty = true;
	if (is_running())
		return;
	eventlog_capture_notify(capture, encoder, state->correlation, EVENTLOG_NOTIFY_INCREMENTAL,
							"COMPLETED", "connector_name", capture->topic_prefix, NULL);
	eventlog_state_set_correlation(state, NULL);
}

/* Names of tables that match a pattern; the pattern itself if there are none. */
static List *
expand(List *patterns)
{
	List	   *all = eventlog_snapshot_table_names(capture);
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *name;

	if (capture->config->compatible)
		all = eventlog_names_java_set(all);
	foreach(lc, patterns)
	{
		bool		found = false;

		foreach(name, all)
		{
			if (!eventlog_capture_name_matches(lfirst(name), lfirst(lc), false))
				continue;
			found = true;
			if (!eventlog_names_contain(result, lfirst(name)))
				result = lappend(result, lfirst(name));
		}
		if (!found && !eventlog_names_contain(result, lfirst(lc)))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

/* Debezium looks at these only before it reads a chunk. */
static void
process_stop(void)
{
	List	   *names;
	List	   *stopped = NIL;
	bool		stop_current = false;
	ListCell   *lc;

	if (state->to_stop == NIL)
		return;
	names = expand(state->to_stop);
	eventlog_state_clear_stop(state);
	dirty = true;
	if (!is_running())
		return;
	foreach(lc, names)
	{
		EventlogCollection *current = linitial(state->collections);

		if (strcmp(current->name, lfirst(lc)) == 0)
			stop_current = true;
		else if (eventlog_state_remove_collection(state, lfirst(lc)))
			stopped = lappend(stopped, lfirst(lc));
	}
	if (stop_current)
	{
		stopped = lappend(stopped, pstrdup(((EventlogCollection *) linitial(state->collections))->name));
		eventlog_incremental_next_collection();
	}
	notify_collections("ABORTED", eventlog_names_join(stopped));
}

static void
request_chunk(void)
{
	process_stop();
	if (is_running() && !state->paused && !chunk_pending)
		read_requested = true;
}

void
eventlog_incremental_execute(const char *id, List *patterns, List *conditions,
							 const char *surrogate_key)
{
	List	   *names = expand(patterns);
	bool		was_running = is_running();
	ListCell   *lc;

	/* raises if there is something wrong with a pattern */
	foreach(lc, conditions)
		(void) eventlog_capture_name_matches("", ((EventlogSnapshotCondition *) lfirst(lc))->pattern, true);

	foreach(lc, names)
	{
		const char *filter = NULL;
		ListCell   *c;

		foreach(c, conditions)
		{
			EventlogSnapshotCondition *condition = lfirst(c);

			if (filter == NULL && eventlog_capture_name_matches(lfirst(lc), condition->pattern, true))
				filter = condition->filter;
		}
		eventlog_state_add_collection(state, lfirst(lc), filter, surrogate_key);
	}
	eventlog_state_set_correlation(state, id);
	dirty = true;
	if (was_running)
		return;
	notify_collections("STARTED", eventlog_incremental_collection_names());
	request_chunk();
}

void
eventlog_incremental_execute_blocking(const EventlogSource *source, List *patterns,
									  List *conditions)
{
	eventlog_state_add_blocking(state, source->xid, patterns, conditions);
	dirty = true;
}

void
eventlog_incremental_stop(List *patterns)
{
	if (!is_running())
		return;
	(void) expand(patterns);	/* raises if there is something wrong with one */
	eventlog_state_add_stop(state, patterns == NIL ? list_make1(".*") : patterns);
	dirty = true;
}

void
eventlog_incremental_pause(void)
{
	if (!is_running() || state->paused)
		return;
	state->paused = true;
	dirty = true;
	notify_collections("PAUSED", eventlog_incremental_collection_names());
}

void
eventlog_incremental_resume(void)
{
	if (!is_running() || !state->paused)
		return;
	state->paused = false;
	dirty = true;
	notify_collections("RESUMED", eventlog_incremental_collection_names());
	request_chunk();
}

/* ---- the stream ---- */

void
eventlog_incremental_change(const EventlogRelationDesc *desc, char op,
							const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	if (!window_open || window == NULL || desc->relid != window_relid)
		return;
	if (op == 'T')
		eventlog_window_clear(window);
	if (old)
		eventlog_window_remove(window, desc, old);
	if (row)
		eventlog_window_remove(window, desc, row);
}

void
eventlog_incremental_watermark(const char *id, bool open, const EventlogSource *source)
{
	if (!chunk_pending || strncmp(id, chunk_id, EVENTLOG_UUID_LEN) != 0)
		return;
	if (open)
	{
		window_open = true;
		return;
	}
	window_open = false;
	emit_requested = true;
	emit_source = *source;
}

static void
drop_window(void)
{
	if (window)
		eventlog_window_free(window);
	window = NULL;
	window_relid = InvalidOid;
	window_open = false;
	chunk_pending = false;
}

void
eventlog_incremental_flush(void)
{
	if (!emit_requested)
		return;
	emit_requested = false;
	emit_source.marker = EVENTLOG_MARKER_INCREMENTAL;
	for (int i = 0; window && i < eventlog_window_size(window); i++)
	{
		const EventlogColumnValue *row = eventlog_window_row(window, i);

		if (row == NULL)
			continue;
		emit_source.time = GetCurrentTimestamp();
		eventlog_encoder_read(encoder, eventlog_encoder_find(encoder, window_relid),
							  &emit_source, row);
	}
	drop_window();
	eventlog_state_sent(state);
	dirty = true;
	request_chunk();
}

void
eventlog_incremental_at_end(void)
{
	eventlog_incremental_flush();
}

void
eventlog_incremental_before_commit(void)
{
	if (!dirty)
		return;
	dirty = false;
	eventlog_notify_flush(encoder);
	eventlog_capture_set_signal_state(capture->id, eventlog_state_to_jsonb(state));
}

/* ---- transactions beside the stream ---- */

static void
begin_transaction(bool repeatable)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (repeatable)
		XactIsoLevel = XACT_REPEATABLE_READ;
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(work_context);
}

/*
 * Wait until all that has been committed in the WAL so far is visible.  Those
 * on their way from one to the other either delay checkpoints still, or count
 * as running although they are known to be committed.
 */
static void
wait_for_visibility(void)
{
	VirtualTransactionId *vxids;
	int			nvxids;
	Snapshot	snapshot;

	begin_transaction(false);
	vxids = GetVirtualXIDsDelayingChkpt(&nvxids, DELAY_CHKPT_START);
	while (nvxids > 0 && HaveVirtualXIDsDelayingChkpt(vxids, nvxids, DELAY_CHKPT_START))
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
	}
	snapshot = GetLatestSnapshot();
	for (uint32 i = 0; i < snapshot->xcnt; i++)
	{
		TransactionId xid = snapshot->xip[i];

		while (TransactionIdDidCommit(xid) && TransactionIdIsInProgress(xid))
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(1000);
		}
	}
	end_transaction();
}

/* ---- watermarks ---- */

/* As Java prints an Instant: digits of the second in groups of three. */
static void
print_instant(char *out, size_t size)
{
	struct timespec now;
	struct tm	parts;
	time_t		seconds;
	char		date[32];

	clock_gettime(CLOCK_REALTIME, &now);
	seconds = now.tv_sec;
	gmtime_r(&seconds, &parts);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
	if (now.tv_nsec == 0)
		snprintf(out, size, "%sZ", date);
	else if (now.tv_nsec % 1000000 == 0)
		snprintf(out, size, "%s.%03ldZ", date, now.tv_nsec / 1000000);
	else if (now.tv_nsec % 1000 == 0)
		snprintf(out, size, "%s.%06ldZ", date, now.tv_nsec / 1000);
	else
		snprintf(out, size, "%s.%09ldZ", date, now.tv_nsec);
}

/*
 * Are watermarks rows of the signal table?  Only if the stream has them, and
 * if its triggers are of somebody who may do in the owner's name what he likes.
 */
static bool
by_rows(void)
{
	static int	known = -1;
	Oid			types[2] = {NAMEOID, TEXTOID};
	Datum		values[2];
	bool		isnull;

	if (!capture->config->compatible || capture->config->signal_table == NULL)
		return false;
	if (known >= 0)
		return known;
	begin_transaction(false);
	SPI_connect();
	values[0] = CStringGetDatum(capture->publication);
	values[1] = CStringGetTextDatum(capture->config->signal_table);
	if (SPI_execute_with_args("SELECT c.relowner FROM pg_catalog.pg_publication_tables p"
							  " JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname"
							  " JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid"
							  " AND c.relname = p.tablename"
							  " WHERE p.pubname = $1 AND p.schemaname || '.' || p.tablename = $2",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of the publication");
	known = SPI_processed > 0 &&
		eventlog_capture_trusts(capture->owner,
								DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
															   SPI_tuptable->tupdesc, 1, &isnull)));
	SPI_finish();
	end_transaction();
	return known;
}

/*
 * Run a statement of its own transaction, which is captured as anybody else's.
 * Triggers of the table may run, and expect a usual search path.
 */
static void
execute_captured(const char *sql)
{
	RepOriginId origin = replorigin_session_origin;
	int			level;

	replorigin_session_origin = InvalidRepOriginId;
	begin_transaction(false);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", "\"$user\", public", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not write a watermark");
	SPI_finish();
	AtEOXact_GUC(true, level);
	end_transaction();
	replorigin_session_origin = origin;
}

static char *
quoted_signal_table(void)
{
	const char *name = capture->config->signal_table;
	const char *dot = strchr(name, '.');

	if (dot == NULL)
		return pstrdup(quote_identifier(name));
	return psprintf("%s.%s", quote_identifier(pnstrdup(name, dot - name)), quote_identifier(dot + 1));
}

static void
write_open(void)
{
	print_instant(chunk_opened, sizeof(chunk_opened));
	if (!by_rows())
		return;
	execute_captured(psprintf("INSERT INTO %s VALUES ('%s-open', 'snapshot-window-open',"
							  " '{\"openWindowTimestamp\": \"%s\"}')",
							  quoted_signal_table(), chunk_id, chunk_opened));
}

static void
write_message(void)
{
	RepOriginId origin = replorigin_session_origin;
	char	   *content = psprintf("%s-close", chunk_id);
	XLogRecPtr	lsn;

	replorigin_session_origin = InvalidRepOriginId;
	lsn = eventlog_log_message(EVENTLOG_WATERMARK_PREFIX, content, strlen(content), false);
	replorigin_session_origin = origin;
	XLogFlush(lsn);
	eventlog_capture_wake(lsn);
}

static void
write_close(void)
{
	char		closed[64];

	print_instant(closed, sizeof(closed));
	if (!by_rows())
		write_message();
	else if (capture->config->watermark_delete)
		execute_captured(psprintf("DELETE FROM %s WHERE id = '%s-open'",
								  quoted_signal_table(), chunk_id));
	else
		execute_captured(psprintf("INSERT INTO %s VALUES ('%s-close', 'snapshot-window-close',"
								  " '{\"openWindowTimestamp\": \"%s\", \"closeWindowTimestamp\": \"%s\"}')",
								  quoted_signal_table(), chunk_id, chunk_opened, closed));
}

/* ---- chunks ---- */

static void
read_chunk(void)
{
	bool		locked;

	eventlog_random_uuid(chunk_id);
	drop_window();
	write_open();
	wait_for_visibility();
	begin_transaction(true);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	window = eventlog_chunk_read(&window_relid, &locked);
	end_transaction();
	if (locked)
	{
		read_requested = true;
		read_not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOCKED_RETRY_MS);
		return;
	}
	chunk_pending = true;
	window_open = !by_rows();
	dirty = true;
	EVENTLOG_PAUSE_INTERRUPTIBLE("capture-chunk", capture->name);
	write_close();
}

/* ---- blocking snapshots ---- */

static void
run_blocking(void)
{
	EventlogBlockingRequest *blocking = linitial(state->blocking);
	EventlogSnapshotRequest request = {
		.xid = blocking->xid,
		.lsn = eventlog_apply_last_commit(),
		.last_commit_lsn = eventlog_apply_last_commit(),
		.patterns = blocking->patterns
	};
	ListCell   *lc;

	wait_for_visibility();
	begin_transaction(true);
	foreach(lc, blocking->conditions)
	{
		EventlogSnapshotCondition *condition = lfirst(lc);

		request.override_tables = lappend(request.override_tables, condition->pattern);
		request.override_statements = lappend(request.override_statements, condition->filter);
	}
	eventlog_capture_sink_begin();
	eventlog_capture_snapshot_run(capture, sink, encoder, &request);
	eventlog_state_next_blocking(state);
	dirty = true;
	eventlog_incremental_before_commit();
	end_transaction();
}

/* ---- the appender's calls ---- */

bool
eventlog_incremental_is_due(void)
{
	if (state->blocking != NIL && !chunk_pending)
		return true;
	return read_requested && (read_not_before == 0 || GetCurrentTimestamp() >= read_not_before);
}

void
eventlog_incremental_work(void)
{
	MemoryContext caller = MemoryContextSwitchTo(work_context);

	eventlog_notify_defer(true);
	if (read_requested)
	{
		read_requested = false;
		read_not_before = 0;
		read_chunk();
	}
	eventlog_notify_defer(false);

	/* not while rows wait that are as the encoder knows the tables now */
	while (state->blocking != NIL && !chunk_pending)
		run_blocking();
	MemoryContextSwitchTo(caller);
	MemoryContextReset(work_context);
}

void
eventlog_incremental_init(EventlogCapture *c, EventlogCaptureSink *s, const char *database)
{
	capture = c;
	sink = s;
	work_context = AllocSetContextCreate(TopMemoryContext, "eventlog incremental snapshot",
										 ALLOCSET_DEFAULT_SIZES);
	encoder = eventlog_encoder_create(c->config, c->topic_prefix, database, s);
	state = eventlog_state_from_jsonb(c->signal_state);
	eventlog_chunk_init(c, encoder, state);

	/* Debezium forgets that it was paused */
	if (c->config->compatible)
		state->paused = false;
	read_requested = is_running() && !state->paused;
}
