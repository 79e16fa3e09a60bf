/*-------------------------------------------------------------------------
 *
 * capture_apply.h
 *	  pgoutput's messages, parsed, to the encoder.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_APPLY_H
#define EVENTLOG_CAPTURE_APPLY_H

#include "capture_encoder.h"

/* What a message was, and means for the appender's transactions. */
typedef enum EventlogApplied
{
	EVENTLOG_APPLIED_CHANGE,	/* something inside a transaction */
	EVENTLOG_APPLIED_BEGIN,
	EVENTLOG_APPLIED_COMMIT,	/* a source transaction is whole */
	EVENTLOG_APPLIED_ALONE,		/* a message outside of transactions */
	EVENTLOG_APPLIED_TABLE,		/* a description of a table */
	EVENTLOG_APPLIED_STREAMED	/* put aside until its transaction commits */
} EventlogApplied;

/* Called with each row before it is encoded; false: it is not to be. */
typedef struct EventlogApplyHooks
{
	/* op is 'I', 'U', 'D' or 'T'; old is NULL without old_kind, row for D and T */
	void		(*change) (void *arg, EventlogEncoderTable *table,
						   const EventlogRelationDesc *desc, char op,
						   const EventlogSource *source, char old_kind,
						   const EventlogColumnValue *old, const EventlogColumnValue *row);

	/* true: it was for us, and is not encoded */
	bool		(*message) (void *arg, const EventlogSource *source, bool transactional,
							const char *prefix, const char *content, int32 len);

	/* a table is known now: may it be read? */
	void		(*table) (void *arg, const EventlogRelationDesc *desc);
	void	   *arg;
} EventlogApplyHooks;

extern void eventlog_apply_init(EventlogEncoder *encoder, const EventlogApplyHooks *hooks,
								XLogRecPtr last_commit_lsn);

/*
 * Apply a message of the queue.  After COMMIT and ALONE *end_lsn is the
 * position that follows, and *time the commit's time.
 */
extern EventlogApplied eventlog_apply_message(uint32 kind, XLogRecPtr lsn,
											  const char *bytes, uint32 len,
											  XLogRecPtr *end_lsn, TimestampTz *time);

/* Bytes of the transaction in work, and of those that are put aside. */
extern uint64 eventlog_apply_bytes(void);

/* Have all tables that are known checked again, by the hook. */
extern void eventlog_apply_check_tables(void);

/*
 * The row that is being encoded, as "table public.t, key {...}", and the LSN of
 * its change; NULL if none is.  For who reports an error: raises nothing.
 */
extern const char *eventlog_apply_describe(XLogRecPtr *lsn);

/* Is it the row's fault that it could not be encoded? */
extern bool eventlog_apply_is_bad_row(int sqlerrcode);

/*
 * A row at this LSN could not be encoded: up to there, and for some time after,
 * rows are encoded each in a subtransaction, and those that fail go to the
 * dead-letter topic.
 */
extern void eventlog_apply_set_careful(XLogRecPtr lsn, const char *dead_letter_topic,
									   EventlogCaptureSink *sink);

/* Set source.xmin of what comes. */
extern void eventlog_apply_set_xmin(TransactionId xmin);

/* End of the last commit that was applied; for what is emitted in between. */
extern XLogRecPtr eventlog_apply_last_commit(void);

#endif							/* EVENTLOG_CAPTURE_APPLY_H */
