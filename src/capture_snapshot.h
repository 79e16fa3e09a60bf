/*-------------------------------------------------------------------------
 *
 * capture_snapshot.h
 *	  Snapshots of captured tables: the initial one and blocking ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_SNAPSHOT_H
#define EVENTLOG_CAPTURE_SNAPSHOT_H

#include "nodes/pg_list.h"
#include "storage/block.h"

#include "capture.h"
#include "capture_encoder.h"

/* A table that is read. */
typedef struct EventlogSnapshotTable
{
	Oid			relid;
	char	   *name;			/* schema.table */
	EventlogRelationDesc *desc; /* of the columns that are read */
	char	   *sql;
	bool		has_where;		/* sql ends in a WHERE clause */
	bool		users_sql;		/* sql is, or has in it, a configured statement */
	bool		by_blocks;		/* ranges of ctid may be added to it */
	BlockNumber nblocks;
	Oid			file;			/* relfilenode */
} EventlogSnapshotTable;

/* A table, or some of its blocks: what a reader takes at a time. */
typedef struct EventlogSnapshotChunk
{
	int32		table;
	BlockNumber from;			/* from and to 0: all of it */
	BlockNumber to;				/* InvalidBlockNumber: to the end */
} EventlogSnapshotChunk;

/* What to snapshot, beside what the capture says. */
typedef struct EventlogSnapshotRequest
{
	bool		initial;		/* the initial one, with configured statements */
	XLogRecPtr	lsn;			/* source.lsn of the rows */
	XLogRecPtr	last_commit_lsn;	/* Invalid: none seen */
	TransactionId xid;			/* source.txId; Invalid: null */

	/* of signals: patterns of "schema.table", NIL for all; statements of tables */
	List	   *patterns;
	List	   *override_tables;	/* patterns (strings) ... */
	List	   *override_statements;	/* ... and their statements */
} EventlogSnapshotRequest;

/*
 * Read all tables of the publication under the current transaction's snapshot
 * (REPEATABLE READ, equal to the slot's consistent point), and hand their rows
 * to the encoder, and so to sink, in this process' transaction.  start_lsn is
 * the slot's consistent point.  Errors: whatever reading or encoding meets;
 * ERRCODE_T_R_SERIALIZATION_FAILURE if a table or the publication has changed
 * since that point in a way that rows would be missed: begin again.
 */
extern void eventlog_capture_snapshot(EventlogCapture *capture, EventlogCaptureSink *sink,
									  EventlogEncoder *encoder, XLogRecPtr start_lsn);

/* There is none to be made, by snapshot.mode: tell so, where that is wanted. */
extern void eventlog_capture_snapshot_skipped(EventlogCapture *capture, EventlogEncoder *encoder);

/* The same for any request. */
extern void eventlog_capture_snapshot_run(EventlogCapture *capture, EventlogCaptureSink *sink,
										  EventlogEncoder *encoder,
										  const EventlogSnapshotRequest *request);

/* ---- between the files of snapshots ---- */

/*
 * The tables to read, in order, locked against being rewritten; in the current
 * context.  If all_tables is given, it gets the names of those that Debezium
 * lists in notifications, which has the signal table too.
 */
extern List *eventlog_snapshot_plan(EventlogCapture *capture, EventlogEncoder *encoder,
									const EventlogSnapshotRequest *request, List **all_tables);

/* One table, by its name; NULL if it is not captured. */
extern EventlogSnapshotTable *eventlog_snapshot_plan_table(EventlogCapture *capture,
														   EventlogEncoder *encoder,
														   const char *name);

/* Names of all tables that are captured, and that of the signal table. */
extern List *eventlog_snapshot_table_names(EventlogCapture *capture);

/* The query for a chunk of a table. */
extern char *eventlog_snapshot_chunk_sql(const EventlogSnapshotTable *table,
										 const EventlogSnapshotChunk *chunk);

/*
 * Where what is read goes: the leader's bookkeeping, which emits the rows that
 * it is given, or, in a worker, the queue to the leader.
 */
typedef struct EventlogSnapshotOutput
{
	/* a chunk's first row, unless it is its only one */
	void		(*first) (struct EventlogSnapshotOutput *output, int chunk,
						  const EventlogColumnValue *row);
	/* so many rows of a chunk have gone to the encoder */
	void		(*rows) (struct EventlogSnapshotOutput *output, int chunk, int64 rows);
	/* a chunk's last row */
	void		(*last) (struct EventlogSnapshotOutput *output, int chunk,
						 const EventlogColumnValue *row);
	void		(*done) (struct EventlogSnapshotOutput *output, int chunk);
} EventlogSnapshotOutput;

/*
 * Read a chunk.  Its first row, if it has two, and its last are given to the
 * output as they are; those between to the encoder, as from the middle of a
 * table.
 */
extern void eventlog_snapshot_read_chunk(EventlogEncoder *encoder,
										 const EventlogSnapshotTable *table,
										 const EventlogSnapshotChunk *chunks, int chunk,
										 const EventlogSource *source,
										 EventlogSnapshotOutput *output);

/* Does the table's name match the pattern, as a whole?  Java's regular expressions. */
extern bool eventlog_capture_name_matches(const char *name, const char *pattern,
										  bool ignore_case);

/* ---- parallel readers (capture_reader_lead.c, capture_reader.c) ---- */

/* What a snapshot is for its readers. */
typedef struct EventlogSnapshotWork
{
	EventlogCapture *capture;
	EventlogCaptureSink *sink;	/* of the leader, for what readers have encoded */
	EventlogSource source;
	int			ntables;
	EventlogSnapshotTable **tables;
	int			nchunks;
	EventlogSnapshotChunk *chunks;

	/* may rows of this chunk be taken now?  If not, it is asked again */
	bool		(*ready) (EventlogSnapshotOutput *output, int chunk);
	EventlogSnapshotOutput *output;
} EventlogSnapshotWork;

/*
 * Have up to "wanted" workers read the chunks, and hand on what they send until
 * all is read.  False if no worker could be had: nothing has been read then.
 */
extern bool eventlog_snapshot_read_parallel(EventlogSnapshotWork *work, int wanted);

extern PGDLLEXPORT void eventlog_snapshot_reader_main(Datum arg);

#endif							/* EVENTLOG_CAPTURE_SNAPSHOT_H */
