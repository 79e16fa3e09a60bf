/*-------------------------------------------------------------------------
 *
 * capture.h
 *	  A capture: changes of a publication's tables, appended to topics.
 *
 *	  capture_sql.c		 create_capture() and its like
 *	  capture_catalog.c	 the table eventlog.capture
 *	  capture_slot.c	 what processes share of captures, and waking decoders
 *	  capture_decoder.c	 worker: decodes WAL with the server's pgoutput
 *	  capture_wal.c		 reading WAL as it comes, and being woken for it
 *	  capture_queue.c	 messages from the decoder to the appender
 *	  capture_appender.c worker: appends whole source transactions
 *	  capture_apply.c	 pgoutput's messages, parsed, to the encoder
 *	  capture_letter.c	 rows that cannot be encoded
 *	  capture_spool.c	 transactions that are streamed before they commit
 *	  capture_sink.c	 the encoder's records, into topics
 *	  capture_start.c	 slot, origin, adoption: what is done before streaming
 *	  capture_snapshot*.c	 tables as a whole: which, how, and marks of rows
 *	  capture_reader*.c	 workers that read them, and their leader
 *	  capture_query.c	 rows of a query, as texts
 *	  capture_signal.c	 signals in the stream
 *	  capture_incremental*.c tables in chunks beside the stream, and the state
 *	  capture_chunk.c	 reading a chunk
 *	  capture_window.c	 its rows, until the stream has come to them
 *	  capture_notify.c	 notifications of all that
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_H
#define EVENTLOG_CAPTURE_H

#include "access/xlogdefs.h"
#include "utils/jsonb.h"

#include "capture_config.h"
#include "capture_slot.h"

/* Where the capture's initial snapshot is: eventlog.capture.snapshot. */
typedef enum EventlogCaptureStage
{
	EVENTLOG_STAGE_PENDING,		/* a slot and a snapshot are to be made */
	EVENTLOG_STAGE_STREAMING,	/* the slot must be there */
	EVENTLOG_STAGE_FINISHED		/* initial_only: nothing more to do */
} EventlogCaptureStage;

/* A row of eventlog.capture, with what follows from it. */
typedef struct EventlogCapture
{
	int32		id;
	char	   *name;
	Oid			owner;
	char	   *publication;
	char	   *topic_prefix;
	Jsonb	   *config_json;
	EventlogCaptureConfig *config;
	bool		paused;
	EventlogCaptureStage stage;
	char		slot_name[NAMEDATALEN];
	char		origin_name[NAMEDATALEN];
	XLogRecPtr	start_lsn;		/* where the slot began; Invalid: not yet */
	uint64		system_identifier;	/* where it has been working ... */
	Oid			database;
	uint32		timeline;
	Jsonb	   *signal_state;	/* of incremental snapshots; NULL: none */
} EventlogCapture;

/* --- capture_catalog.c --- */

/*
 * Load a capture by name, or by id if name is NULL; palloc'd in the current
 * context.  NULL if there is none (missing_ok), else ERRCODE_UNDEFINED_OBJECT.
 * With lock, its row is locked until the end of the transaction.
 */
extern EventlogCapture *eventlog_capture_load(const char *name, int32 id, bool lock,
											  bool missing_ok);

/* Raise unless the current user owns the capture. */
extern void eventlog_capture_check_owner(const EventlogCapture *capture);

/* Tell shared memory of all captures of this database. */
extern void eventlog_capture_register_all(void);

/* Raise if there is a capture in this database: the extension is to go. */
extern void eventlog_capture_check_none(void);

/* Add a row; returns the id. */
extern int32 eventlog_capture_insert(const char *name, Oid owner, const char *publication,
									 const char *topic_prefix, Jsonb *config);
extern void eventlog_capture_delete(int32 id);
extern void eventlog_capture_set_config(int32 id, Jsonb *config);
extern void eventlog_capture_set_paused(int32 id, bool paused);
extern void eventlog_capture_set_stage(int32 id, EventlogCaptureStage stage,
									   XLogRecPtr start_lsn);

/* This server, database and timeline are where it works now. */
extern void eventlog_capture_set_home(int32 id);
extern void eventlog_capture_set_signal_state(int32 id, Jsonb *state);

/* Is this where the capture has been working, as far as that can be told? */
extern bool eventlog_capture_is_home(const EventlogCapture *capture);

/* Names of the slot and the origin, each of NAMEDATALEN bytes. */
extern void eventlog_capture_names(int32 id, char *slot_name, char *origin_name);

#endif							/* EVENTLOG_CAPTURE_H */
