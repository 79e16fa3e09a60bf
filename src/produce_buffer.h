/*-------------------------------------------------------------------------
 *
 * produce_buffer.h
 *	  The inside of the producer's buffer, for the files that make it up:
 *	  produce.c (what is buffered), produce_flush.c (appending it),
 *	  produce_range.c (the offsets that it got).
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_PRODUCE_BUFFER_H
#define EVENTLOG_PRODUCE_BUFFER_H

#include "produce.h"

/* A batch is closed at this many bytes; larger ones compress better. */
#define BATCH_BYTES				(16 * 1024)
#define BATCH_BYTES_COMPRESSED	(64 * 1024)

/* Memory of batches kept for the next transaction, and the most of one. */
#define MAX_SPARE_TOTAL			(4 * 1024 * 1024)
#define MAX_SPARE_BYTES			(256 * 1024)

/* A transaction that has outgrown the buffer once goes on in steps of this. */
#define OVERFLOW_STEP			((uint64) 1024 * 1024)

/* Where a running query divides the records of a batch. */
typedef struct Cut
{
	CommandId	query;			/* the query's snapshot sees what lies before */
	CommandId	cmin;			/* of the newest record before */
	EventlogBatchBuilder saved; /* state of the batch there */
} Cut;

typedef struct PendingBatch
{
	struct PendingBatch *next;
	EventlogBatchBuilder builder;
	int64		base_offset;	/* -1, or explicit */
	CommandId	cmin;
	Cut		   *cuts;			/* not more than there are running queries */
	int			ncuts;
	int			maxcuts;
} PendingBatch;

typedef struct Mark
{
	SubTransactionId subid;
	TransactionId xid;
	PendingBatch *batch;		/* last one at that time; NULL: buffer was empty */
	EventlogBatchBuilder saved; /* its state */
} Mark;

typedef struct LeafBuffer
{
	Oid			leaf;			/* hash key */
	Oid			topic;
	int32		partition;
	SubTransactionId lock_subid;	/* holder of the lock; Invalid: none */
	bool		listed;			/* in "touched" */
	bool		checked;		/* needs_insert is known */
	bool		needs_insert;	/* leaf has indexes or row triggers */
	PendingBatch *first;
	PendingBatch *last;
	Mark	   *marks;
	int			nmarks;
	int			maxmarks;
} LeafBuffer;

/* produce.c: batches, and their bytes and records, which it counts */
extern PendingBatch *eventlog_buffer_new_batch(void);
extern void eventlog_buffer_free_batch(PendingBatch *batch);
extern void eventlog_buffer_add_to_batch(PendingBatch *batch, const EventlogRecord *rec,
										 int32 delta);
extern void eventlog_buffer_truncate_batch(PendingBatch *batch,
										   const EventlogBatchBuilder *saved);
extern bool eventlog_buffer_is_running(CommandId query);

/* produce_flush.c; append_time is that of the last batch under LogAppendTime */
extern void eventlog_buffer_append(LeafBuffer *buffer, bool final);
extern int64 eventlog_buffer_append_time;

/* produce_range.c */
extern void eventlog_range_note(const LeafBuffer *buffer, SubTransactionId subid,
								int64 first, int64 last);
extern int64 eventlog_range_last_offset(Oid leaf);
extern void eventlog_range_end_xact(bool keep);
extern void eventlog_range_end_subxact(SubTransactionId subid, SubTransactionId parent,
									   bool commit);

#endif							/* EVENTLOG_PRODUCE_BUFFER_H */
