/*-------------------------------------------------------------------------
 *
 * log_scan.h
 *	  Walking a partition's log batch by batch, under a snapshot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_SCAN_H
#define EVENTLOG_LOG_SCAN_H

#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "compat.h"
#include "log_format.h"

/*
 * A cursor stands before, on or after a batch.  After a successful move,
 * "header", "entry" and "reader" describe the batch that it stands on; their
 * bytes stay valid until the next move.
 */
typedef struct EventlogCursor
{
	Relation	rel;
	Snapshot	snapshot;

	/*
	 * Stop before the first batch whose writer the snapshot sees as running,
	 * own transaction included (consumers), instead of skipping it (SELECT).
	 */
	bool		stop_at_lso;
	bool		stopped;		/* that has happened */
	BufferAccessStrategy strategy;	/* or NULL */

	EventlogMetaHead meta;		/* what of the log this cursor can see */
	uint32		layout;			/* of segments, when meta was read */
	EventlogSegment segment;	/* the one in which pos lies */
	EventlogPos pos;			/* where the next entry is looked for */

	/* Do not go past entries that start on this block; Invalid: no limit. */
	BlockNumber limit_block;

	/* Batches that end before this time (ms) may be skipped unread ... */
	int64		min_time;
	/* ... and so may those that can only hold later records than this. */
	int64		max_time;

	/* the batch on which the cursor stands */
	bool		on_batch;
	EventlogPos batch_pos;
	EventlogEntry entry;
	EventlogBatchHeader header;
	EventlogBatchReader reader;
	const char *batch;			/* its bytes, once they were read */

	int64		last_fetched;	/* offset that eventlog_fetch_offset() stands on */
	uint64		pages_read;		/* for EXPLAIN ANALYZE */

	/* private */
	BlockNumber bad_block;		/* that could not be read, or Invalid */
	bool		lost;			/* blocks hold something else by now: look up anew */
	int64		prefix_max;		/* greatest timestamp before pos, in segment */
	int64		prefix_before;	/* the same before batch_pos */
	TransactionId judged_xid;	/* memory of the last look at a writer */
	int			judged;
	BlockNumber page_block;		/* which block "page" is a copy of */
	uint16		page_end;
	EventlogPageSpecial page_special;
	EventlogBuf body;			/* a batch that runs across pages */
	EventlogBuf scratch;		/* decompressed records */
	char	   *page;			/* BLCKSZ, bytes at their places */
} EventlogCursor;

/*
 * Open a cursor before the first record of the log.  It lives in the current
 * memory context and sees what is in the log now; the caller keeps relation
 * and snapshot.
 */
extern EventlogCursor *eventlog_cursor_open(Relation rel, Snapshot snapshot, bool stop_at_lso);
extern void eventlog_cursor_close(EventlogCursor *cur);

/* See what has come to the log since, under another snapshot. */
extern void eventlog_cursor_refresh(EventlogCursor *cur, Snapshot snapshot);

/*
 * Stand before the batch that holds this offset, or else the next higher one.
 */
extern void eventlog_cursor_seek(EventlogCursor *cur, int64 offset);

/* Stand before the first batch that may hold a record of this time (ms) or later. */
extern void eventlog_cursor_seek_time(EventlogCursor *cur, int64 time_ms);

/* Stand behind the batch that holds this offset (or the next lower one). */
extern void eventlog_cursor_seek_behind(EventlogCursor *cur, int64 offset);

/* Stand behind the last batch. */
extern void eventlog_cursor_seek_end(EventlogCursor *cur);

/*
 * Stand before the first batch that starts on this block, and do not go past
 * those that start on it (ANALYZE's random blocks).  False if none does.  The
 * caller's lock keeps segments from being rewritten meanwhile.
 */
extern bool eventlog_cursor_seek_physical(EventlogCursor *cur, BlockNumber block);

/* Stand before the first record of a segment, which is there. */
extern void eventlog_cursor_seek_segment(EventlogCursor *cur, uint32 segment);

/*
 * Move to the next or previous batch that the snapshot sees; false at the
 * end.  Errors: ERRCODE_DATA_CORRUPTED with relation, block and offset.
 */
extern bool eventlog_cursor_next(EventlogCursor *cur);
extern bool eventlog_cursor_prev(EventlogCursor *cur);

/*
 * eventlog_cursor_next() in two steps, for who may not need the records: move
 * to the next batch that the snapshot sees, "header" and "entry" of which are
 * then known; and read its records.
 */
extern bool eventlog_cursor_next_seen(EventlogCursor *cur);
extern void eventlog_cursor_read(EventlogCursor *cur);

/* Move to the next batch whatever its writer; the body is not read. */
extern bool eventlog_cursor_next_head(EventlogCursor *cur);

/* A batch's bytes do not read as records: raise, naming the place. */
pg_noreturn extern void eventlog_cursor_damaged(const EventlogCursor *cur, const char *problem);

/*
 * Last stable offset: base offset of the first batch whose writer the
 * snapshot (a fresh one) sees as running, or the high watermark.  *holder is
 * that writer's xid or InvalidTransactionId.
 */
extern int64 eventlog_scan_lso(Relation rel, Snapshot snapshot, TransactionId *holder);

/* The same as of now: with the newest snapshot. */
extern int64 eventlog_scan_lso_now(Relation rel, TransactionId *holder);

#endif							/* EVENTLOG_LOG_SCAN_H */
