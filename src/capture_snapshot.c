/*-------------------------------------------------------------------------
 *
 * capture_snapshot.c
 *	  Snapshots of captured tables: the initial one and blocking ones.
 *
 * The appender leads.  Small snapshots it reads itself; for others it has
 * workers read chunks (tables, or blocks of big ones), and takes what they have
 * encoded.  Either way the rows go through its sink and become visible with
 * its commit, all or none.
 *
 * What it sees to is which rows are marked as first and last, of a table and
 * of all, since no reader can know.  Each chunk's first and last rows reach it
 * as they were read.  A last row is held back until it is known what it is:
 * the next last row of the same table makes it one from the middle, and a row
 * of a later table makes it the last of its own.  The very last one has none
 * behind it, even if later tables are empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "capture_notify.h"
#include "capture_query.h"
#include "capture_snapshot.h"

/* Below so many blocks, workers cost more than they save. */
#define PARALLEL_MIN_BLOCKS		1024	/* 8 MB */
/* Tables above so many are divided, into parts of between so many blocks. */
#define DIVIDED_MIN_BLOCKS		4096	/* 32 MB */
#define CHUNK_MIN_BLOCKS		2048
#define CHUNK_MAX_BLOCKS		32768

/* How far a table is. */
typedef struct TableState
{
	int			chunks_left;
	bool		has_rows;
	int64		emitted;		/* rows that the leader has encoded */
	int64		rows;
	bool		pending;		/* last is a row that is held back */
	EventlogHeldRow last;
} TableState;

typedef struct SnapshotRun
{
	EventlogSnapshotOutput output;	/* must be first */
	EventlogSnapshotWork work;
	EventlogEncoder *encoder;
	const EventlogSnapshotRequest *request;
	TableState *states;
	bool		first_given;	/* some row was marked as first of all */
	int			tables_done;

	/* notifications, told in the tables' order */
	char	   *names_in_progress;
	char	   *names_completed;
	int			notified;		/* tables of which all was told ... */
	bool		notified_begin; /* ... and of the next, that it has begun */
} SnapshotRun;

/* ---- rows that may need a marker ---- */

static bool
table_is_done(SnapshotRun *snapshot, int table)
{
	return snapshot->states[table].chunks_left == 0;
}

/*
 * Debezium marks the first row of the first table as first of all: there is no
 * such mark if that table is empty.  We have one nevertheless.
 */
static bool
is_first_of_all(SnapshotRun *snapshot, int table)
{
	if (snapshot->work.capture->config->compatible)
		return table == 0;
	return !snapshot->first_given;
}

static EventlogSnapshotMarker
marker_of(SnapshotRun *snapshot, int table, bool last_of_table, bool last_of_all)
{
	bool		first = snapshot->states[table].emitted == 0;

	if (last_of_all)
		return EVENTLOG_MARKER_LAST;
	if (first && is_first_of_all(snapshot, table))
		return EVENTLOG_MARKER_FIRST;
	if (last_of_table)
		return EVENTLOG_MARKER_LAST_IN_TABLE;
	return first ? EVENTLOG_MARKER_FIRST_IN_TABLE : EVENTLOG_MARKER_TRUE;
}

static void
emit_row(SnapshotRun *snapshot, int table, const EventlogColumnValue *row,
		 bool last_of_table, bool last_of_all)
{
	EventlogSource source = snapshot->work.source;
	EventlogEncoderTable *encoder_table = eventlog_encoder_find(snapshot->encoder,
																snapshot->work.tables[table]->relid);

	source.marker = marker_of(snapshot, table, last_of_table, last_of_all);
	if (source.marker == EVENTLOG_MARKER_FIRST)
		snapshot->first_given = true;
	snapshot->states[table].emitted++;
	eventlog_encoder_read(snapshot->encoder, encoder_table, &source, row);
}

static void
emit_pending(SnapshotRun *snapshot, int table, bool last_of_table, bool last_of_all)
{
	TableState *state = &snapshot->states[table];

	if (!state->pending)
		return;
	state->pending = false;
	emit_row(snapshot, table, state->last.values, last_of_table, last_of_all);
	if (last_of_table)
		eventlog_held_row_free(&state->last);
}

/* A row of this table is there: those before it cannot have the last of all. */
static void
note_row(SnapshotRun *snapshot, int table)
{
	if (snapshot->states[table].has_rows)
		return;
	snapshot->states[table].has_rows = true;
	for (int i = 0; i < table; i++)
	{
		if (table_is_done(snapshot, i))
			emit_pending(snapshot, i, true, false);
	}
}

static bool
later_has_rows(SnapshotRun *snapshot, int table)
{
	for (int i = table + 1; i < snapshot->work.ntables; i++)
	{
		if (snapshot->states[i].has_rows)
			return true;
	}
	return false;
}

/* ---- notifications and progress ---- */

static void
notify_progress(SnapshotRun *snapshot)
{
	EventlogCapture *capture = snapshot->work.capture;
	EventlogEncoder *encoder = snapshot->encoder;

	if (capture->config->notification_topic == NULL)
		return;
	while (snapshot->notified < snapshot->work.ntables)
	{
		EventlogSnapshotTable *table = snapshot->work.tables[snapshot->notified];
		char		rows[MAXINT8LEN + 1];

		if (!snapshot->notified_begin)
			eventlog_capture_notify(capture, encoder, NULL, EVENTLOG_NOTIFY_INITIAL, "IN_PROGRESS",
									"current_collection_in_progress", table->name,
									"connector_name", capture->topic_prefix,
									"data_collections", snapshot->names_in_progress, NULL);
		snapshot->notified_begin = true;
		if (!table_is_done(snapshot, snapshot->notified))
			break;
		pg_lltoa(snapshot->states[snapshot->notified].rows, rows);
		eventlog_capture_notify(capture, encoder, NULL, EVENTLOG_NOTIFY_INITIAL, "TABLE_SCAN_COMPLETED",
								"scanned_collection", table->name,
								"connector_name", capture->topic_prefix,
								"total_rows_scanned", rows,
								"status", "SUCCEEDED",
								"data_collections", snapshot->names_completed, NULL);
		snapshot->notified++;
		snapshot->notified_begin = false;
	}
}

static void
notify_plain(SnapshotRun *snapshot, const char *type)
{
	eventlog_capture_notify(snapshot->work.capture, snapshot->encoder, NULL,
							EVENTLOG_NOTIFY_INITIAL, type,
							"connector_name", snapshot->work.capture->topic_prefix, NULL);
}

static void
report_progress(SnapshotRun *snapshot, int table)
{
	eventlog_capture_progress(eventlog_capture_my_slot(), snapshot->work.ntables,
							  snapshot->tables_done, table, snapshot->work.tables[table]->name,
							  snapshot->states[table].rows, table_is_done(snapshot, table));
}

/* ---- what readers send ---- */

static bool
output_ready(EventlogSnapshotOutput *output, int chunk)
{
	SnapshotRun *snapshot = (SnapshotRun *) output;
	int			table = snapshot->work.chunks[chunk].table;

	if (snapshot->first_given || snapshot->work.capture->config->compatible)
		return true;
	for (int i = 0; i < table; i++)
	{
		if (!table_is_done(snapshot, i))
			return false;
	}
	return true;
}

static void
output_first(EventlogSnapshotOutput *output, int chunk, const EventlogColumnValue *row)
{
	SnapshotRun *snapshot = (SnapshotRun *) output;
	int			table = snapshot->work.chunks[chunk].table;

	note_row(snapshot, table);
	emit_pending(snapshot, table, false, false);
	emit_row(snapshot, table, row, false, false);
	snapshot->states[table].rows++;
}

static void
output_rows(EventlogSnapshotOutput *output, int chunk, int64 rows)
{
	SnapshotRun *snapshot = (SnapshotRun *) output;
	int			table = snapshot->work.chunks[chunk].table;

	snapshot->states[table].rows += rows;
	report_progress(snapshot, table);
}

static void
output_last(EventlogSnapshotOutput *output, int chunk, const EventlogColumnValue *row)
{
	SnapshotRun *snapshot = (SnapshotRun *) output;
	int			table = snapshot->work.chunks[chunk].table;
	TableState *state = &snapshot->states[table];

	note_row(snapshot, table);
	emit_pending(snapshot, table, false, false);
	eventlog_held_row_set(&state->last, snapshot->work.tables[table]->desc->ncolumns, row);
	state->pending = true;
	state->rows++;
}

static void
output_done(EventlogSnapshotOutput *output, int chunk)
{
	SnapshotRun *snapshot = (SnapshotRun *) output;
	int			table = snapshot->work.chunks[chunk].table;

	if (--snapshot->states[table].chunks_left > 0)
		return;
	snapshot->tables_done++;
	if (later_has_rows(snapshot, table))
		emit_pending(snapshot, table, true, false);
	report_progress(snapshot, table);
	notify_progress(snapshot);
}

/* ---- reading ---- */

/* A reader's look at the rows of a chunk: the last one is held back. */
typedef struct ChunkRows
{
	EventlogEncoder *encoder;
	EventlogEncoderTable *table;
	const EventlogSource *source;
	EventlogSnapshotOutput *output;
	int			chunk;
	int			ncolumns;
	int64		rows;
	int64		encoded;		/* and not told yet */
	EventlogHeldRow held;
} ChunkRows;

static void
chunk_row(void *arg, const EventlogColumnValue *row)
{
	ChunkRows  *rows = arg;

	if (rows->rows == 1)
		rows->output->first(rows->output, rows->chunk, rows->held.values);
	else if (rows->rows > 1)
	{
		eventlog_encoder_read(rows->encoder, rows->table, rows->source, rows->held.values);
		if (++rows->encoded == 1000)
		{
			rows->output->rows(rows->output, rows->chunk, rows->encoded);
			rows->encoded = 0;
		}
	}
	eventlog_held_row_set(&rows->held, rows->ncolumns, row);
	rows->rows++;
}

void
eventlog_snapshot_read_chunk(EventlogEncoder *encoder, const EventlogSnapshotTable *table,
							 const EventlogSnapshotChunk *chunks, int chunk,
							 const EventlogSource *source, EventlogSnapshotOutput *output)
{
	ChunkRows	rows = {
		.encoder = encoder,
		.table = eventlog_encoder_find(encoder, table->relid),
		.source = source,
		.output = output,
		.chunk = chunk,
		.ncolumns = table->desc->ncolumns,
		.held = {.context = CurrentMemoryContext}
	};
	char	   *sql = eventlog_snapshot_chunk_sql(table, &chunks[chunk]);
	int			level = eventlog_capture_query_begin(table->users_sql);

	/* else the planner may read all of a table for each part of it */
	if (chunks[chunk].to != 0)
		(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	(void) eventlog_capture_query(sql, NULL, table->desc, chunk_row, &rows);
	eventlog_capture_query_end(level);

	if (rows.encoded > 0)
		output->rows(output, chunk, rows.encoded);
	if (rows.rows > 0)
		output->last(output, chunk, rows.held.values);
	output->done(output, chunk);
	eventlog_held_row_free(&rows.held);
	pfree(sql);
}

static void
read_alone(SnapshotRun *snapshot)
{
	EventlogSource source = snapshot->work.source;

	for (int i = 0; i < snapshot->work.nchunks; i++)
	{
		CHECK_FOR_INTERRUPTS();
		notify_progress(snapshot);
		eventlog_snapshot_read_chunk(snapshot->encoder,
									 snapshot->work.tables[snapshot->work.chunks[i].table],
									 snapshot->work.chunks, i, &source, &snapshot->output);
	}
}

/* ---- the whole ---- */

static void
add_chunk(SnapshotRun *snapshot, int *room, int table, BlockNumber from, BlockNumber to)
{
	EventlogSnapshotWork *work = &snapshot->work;

	if (work->nchunks == *room)
	{
		*room *= 2;
		work->chunks = repalloc_huge(work->chunks, *room * sizeof(EventlogSnapshotChunk));
	}
	work->chunks[work->nchunks++] = (EventlogSnapshotChunk) {
		.table = table,.from = from,.to = to
	};
	snapshot->states[table].chunks_left++;
}

static void
make_chunks(SnapshotRun *snapshot, int threads)
{
	int			room = Max(snapshot->work.ntables, 16);

	snapshot->work.chunks = palloc(room * sizeof(EventlogSnapshotChunk));
	for (int i = 0; i < snapshot->work.ntables; i++)
	{
		const EventlogSnapshotTable *table = snapshot->work.tables[i];
		BlockNumber size;

		if (!table->by_blocks || table->nblocks < DIVIDED_MIN_BLOCKS || threads < 2)
		{
			add_chunk(snapshot, &room, i, 0, 0);
			continue;
		}
		size = Max(Min(table->nblocks / (threads * 4), CHUNK_MAX_BLOCKS), CHUNK_MIN_BLOCKS);
		for (BlockNumber from = 0; from < table->nblocks; from += size)
		{
			bool		end = table->nblocks - from <= size + size / 2;

			add_chunk(snapshot, &room, i, from, end ? InvalidBlockNumber : from + size);
			if (end)
				break;
		}
	}
}

static void
begin(SnapshotRun *snapshot)
{
	List	   *all_names = NIL;
	List	   *names = NIL;
	List	   *tables = eventlog_snapshot_plan(snapshot->work.capture, snapshot->encoder,
												snapshot->request, &all_names);
	int			n = list_length(tables);
	ListCell   *lc;

	snapshot->work.tables = palloc0(Max(n, 1) * sizeof(EventlogSnapshotTable *));
	snapshot->states = palloc0(Max(n, 1) * sizeof(TableState));
	foreach(lc, tables)
	{
		snapshot->states[snapshot->work.ntables].last.context = CurrentMemoryContext;
		snapshot->work.tables[snapshot->work.ntables++] = lfirst(lc);
		names = lappend(names, ((EventlogSnapshotTable *) lfirst(lc))->name);
	}
	snapshot->names_in_progress = eventlog_names_join(eventlog_names_java_set(names));
	snapshot->names_completed = eventlog_names_join(all_names);
	make_chunks(snapshot, snapshot->work.capture->config->snapshot_threads);
}

static void
finish(SnapshotRun *snapshot)
{
	for (int i = 0; i < snapshot->work.ntables; i++)
	{
		if (!table_is_done(snapshot, i))
			elog(ERROR, "table \"%s\" was not read to its end", snapshot->work.tables[i]->name);
		emit_pending(snapshot, i, true, !later_has_rows(snapshot, i));
	}
	notify_plain(snapshot, "COMPLETED");
}

static bool
worth_workers(SnapshotRun *snapshot)
{
	uint64		blocks = 0;

	for (int i = 0; i < snapshot->work.ntables; i++)
		blocks += snapshot->work.tables[i]->nblocks;
	return blocks >= PARALLEL_MIN_BLOCKS && snapshot->work.capture->config->snapshot_threads > 1;
}

void
eventlog_capture_snapshot_run(EventlogCapture *capture, EventlogCaptureSink *sink,
							  EventlogEncoder *encoder, const EventlogSnapshotRequest *request)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventlog snapshot",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	SnapshotRun *snapshot = palloc0(sizeof(SnapshotRun));

	if (!IsolationUsesXactSnapshot())
		elog(ERROR, "snapshot needs a transaction under REPEATABLE READ");
	snapshot->output = (EventlogSnapshotOutput) {
		.first = output_first,.rows = output_rows,.last = output_last,.done = output_done
	};
	snapshot->work.capture = capture;
	snapshot->work.sink = sink;
	snapshot->work.output = &snapshot->output;
	snapshot->work.ready = output_ready;
	snapshot->work.source = (EventlogSource) {
		.marker = EVENTLOG_MARKER_TRUE,
		.lsn = request->lsn,
		.last_commit_lsn = request->last_commit_lsn,
		.xid = request->xid,
		.time = GetCurrentTransactionStartTimestamp()
	};
	snapshot->encoder = encoder;
	snapshot->request = request;

	PushActiveSnapshot(GetTransactionSnapshot());
	notify_plain(snapshot, "STARTED");
	begin(snapshot);
	notify_progress(snapshot);
	if (!worth_workers(snapshot) ||
		!eventlog_snapshot_read_parallel(&snapshot->work, capture->config->snapshot_threads))
		read_alone(snapshot);
	finish(snapshot);
	PopActiveSnapshot();

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

void
eventlog_capture_snapshot(EventlogCapture *capture, EventlogCaptureSink *sink,
						  EventlogEncoder *encoder, XLogRecPtr start_lsn)
{
	EventlogSnapshotRequest request = {
		.initial = true,
		.lsn = start_lsn,
		.last_commit_lsn = InvalidXLogRecPtr,
		.xid = GetTopTransactionId()
	};

	eventlog_capture_snapshot_run(capture, sink, encoder, &request);
}

void
eventlog_capture_snapshot_skipped(EventlogCapture *capture, EventlogEncoder *encoder)
{
	eventlog_capture_notify(capture, encoder, NULL, EVENTLOG_NOTIFY_INITIAL, "SKIPPED",
							"connector_name", capture->topic_prefix, NULL);
}
