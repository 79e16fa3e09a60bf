/*-------------------------------------------------------------------------
 *
 * capture_encoder.h
 *	  Changes of rows as records of topics: Debezium's envelope, the flat
 *	  form, and the outbox.
 *
 * The encoder knows no relation, slot or transaction of the server: it turns
 * descriptions and texts into records and hands these to a sink.  The
 * appender's sink produces them; that of a snapshot's reader ships them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_ENCODER_H
#define EVENTLOG_CAPTURE_ENCODER_H

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "capture_config.h"

/* A topic that records are for; one object for each name. */
typedef struct EventlogCaptureTopic
{
	char		name[250];
	bool		plain;			/* made for flat or outbox: text, not JSON */
	void	   *sink;			/* the sink's own; NULL at first */
} EventlogCaptureTopic;

typedef struct EventlogCaptureSink
{
	/*
	 * Take a record, whose bytes are good until this returns.  partition: -1
	 * to have it chosen by the key.
	 */
	void		(*emit) (struct EventlogCaptureSink *sink, EventlogCaptureTopic *topic,
						 const EventlogRecord *rec, int32 partition);
} EventlogCaptureSink;

/* A column's value as the server's pgoutput gives it. */
typedef struct EventlogColumnValue
{
	char		kind;			/* 'n' null, 'u' unchanged TOAST, 't' text */
	const char *text;			/* not null-terminated */
	int32		len;
} EventlogColumnValue;

/* Which row of a snapshot this is: source.snapshot. */
typedef enum EventlogSnapshotMarker
{
	EVENTLOG_MARKER_FALSE,		/* a streamed change */
	EVENTLOG_MARKER_TRUE,
	EVENTLOG_MARKER_FIRST,
	EVENTLOG_MARKER_FIRST_IN_TABLE,
	EVENTLOG_MARKER_LAST_IN_TABLE,
	EVENTLOG_MARKER_LAST,
	EVENTLOG_MARKER_INCREMENTAL
} EventlogSnapshotMarker;

/* Where a change comes from.  Change fields between calls as needed. */
typedef struct EventlogSource
{
	EventlogSnapshotMarker marker;
	XLogRecPtr	lsn;			/* of the change; Invalid: null */
	XLogRecPtr	last_commit_lsn;	/* end of the last commit before; Invalid: null */
	TransactionId xid;			/* top-level; Invalid: null */
	TransactionId xmin;			/* Invalid: null */
	TimestampTz time;			/* commit time; of a snapshot, its begin */
} EventlogSource;

typedef struct EventlogEncoder EventlogEncoder;
typedef struct EventlogEncoderTable EventlogEncoderTable;

/*
 * An encoder, in a memory context of its own below the current one.  name is
 * the topic prefix (source.name), database that of source.db.
 */
extern EventlogEncoder *eventlog_encoder_create(const EventlogCaptureConfig *config,
												const char *prefix, const char *database,
												EventlogCaptureSink *sink);

/*
 * Make a table known, or known anew after it has changed.  desc has exactly
 * the columns, in their order, of the rows to come, and is copied.  NULL if
 * its rows are not to be captured.  The result is valid until the next call
 * for the same relid.
 */
extern EventlogEncoderTable *eventlog_encoder_table(EventlogEncoder *encoder,
													const EventlogRelationDesc *desc);

/* The table made known under this relid, or NULL. */
extern EventlogEncoderTable *eventlog_encoder_find(EventlogEncoder *encoder, Oid relid);

/* Of a table that is known: its name, as "schema.table". */
extern const char *eventlog_encoder_table_name(const EventlogEncoderTable *table);

/* A transaction begins, and ends (transaction metadata). */
extern void eventlog_encoder_begin(EventlogEncoder *encoder, const EventlogSource *source);
extern void eventlog_encoder_commit(EventlogEncoder *encoder, const EventlogSource *source);

/* One row of a snapshot (op "r"), or a row that was inserted ("c"). */
extern void eventlog_encoder_read(EventlogEncoder *encoder, EventlogEncoderTable *table,
								  const EventlogSource *source, const EventlogColumnValue *row);
extern void eventlog_encoder_insert(EventlogEncoder *encoder, EventlogEncoderTable *table,
									const EventlogSource *source, const EventlogColumnValue *row);

/*
 * An update or delete.  old_kind as in pgoutput: 'K' (old has the columns of
 * the replica identity, the others are null), 'O' (the whole old row), or 0
 * (update: nothing of the identity has changed).
 */
extern void eventlog_encoder_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
									const EventlogSource *source, char old_kind,
									const EventlogColumnValue *old,
									const EventlogColumnValue *row);
extern void eventlog_encoder_delete(EventlogEncoder *encoder, EventlogEncoderTable *table,
									const EventlogSource *source, char old_kind,
									const EventlogColumnValue *old);

/* One call for each table of the statement, in their order. */
extern void eventlog_encoder_truncate(EventlogEncoder *encoder, EventlogEncoderTable *table,
									  const EventlogSource *source);

/* A logical message.  Not transactional ones come between transactions. */
extern void eventlog_encoder_message(EventlogEncoder *encoder, const EventlogSource *source,
									 bool transactional, const char *prefix,
									 const char *content, int32 len);

extern void eventlog_encoder_heartbeat(EventlogEncoder *encoder, TimestampTz now);

/* A notification: JSON of key and value, to the notification topic. */
extern void eventlog_encoder_notify(EventlogEncoder *encoder, const char *key, const char *value);

/*
 * The JSON of a row's key ("null" without one) into out: to name rows in
 * errors, and to tell rows apart in incremental snapshots.  It is the table's,
 * whatever message.key.columns says.
 */
extern void eventlog_encoder_key(EventlogEncoder *encoder, EventlogEncoderTable *table,
								 const EventlogColumnValue *row, EventlogBuf *out);

#endif							/* EVENTLOG_CAPTURE_ENCODER_H */
