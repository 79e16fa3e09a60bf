/*-------------------------------------------------------------------------
 *
 * log_walk.h
 *	  Checking one segment entry by entry, whatever its bytes are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_WALK_H
#define EVENTLOG_LOG_WALK_H

#include "log_format.h"

/*
 * Gives the image of a block: BLCKSZ bytes, MAXALIGNed, that stay as they are
 * until the next call; or NULL if there is none.  May raise.
 */
typedef const char *(*EventlogWalkPage)(void *arg, BlockNumber block);

/*
 * A walk stands before an entry ("pos"), or behind the segment's last one.
 * Zeroed memory is a valid walk to begin.
 */
typedef struct EventlogWalk
{
	/* what eventlog_walk_begin() was given */
	EventlogSegment segment;
	uint32		incarnation;	/* of the file */
	int64		end_offset;		/* offsets in the segment lie below this */
	EventlogWalkPage get_page;
	void	   *arg;

	/*
	 * Where the next entry is looked for; pos.offset is the least that it can
	 * have.  Stays where it is when damage is met.
	 */
	EventlogPos pos;

	/*
	 * The entry that eventlog_walk_next() has found.  The bytes of the batch
	 * are in one piece, and they and the reader, which stands before the first
	 * record, are valid until the next call.
	 */
	EventlogPos entry_pos;
	EventlogEntry entry;
	EventlogBatchHeader header;
	const char *batch;			/* entry.length bytes */
	EventlogBatchReader reader;

	/* what is wrong, or NULL, and where; byte 0: the page as a whole */
	const char *problem;
	BlockNumber problem_block;
	uint16		problem_byte;

	/* private */
	const char *page;			/* image of page_block, if not NULL */
	BlockNumber page_block;
	BlockNumber start_block;	/* where the last entry started; Invalid: none */
	int64		max_timestamp;	/* of the entries so far */
	EventlogBuf body;			/* a batch that runs across pages */
	EventlogBuf scratch;		/* decompressed records */
} EventlogWalk;

/*
 * Stand before the first entry of segment "number", whose end_block and
 * end_byte are set (the active one's are the log's tail).  end_offset is the
 * base offset of the segment that follows, or the log's next offset.  Memory
 * of an earlier walk is used again.
 */
extern void eventlog_walk_begin(EventlogWalk *w, const EventlogSegment *segment,
								uint32 number, uint32 incarnation, int64 end_offset,
								EventlogWalkPage get_page, void *arg);

/*
 * Go to the next entry, and check it, its batch's checksum, and the pages on
 * which it lies.  The records are the caller's to read.  False at the end of
 * the segment (problem is NULL) or on damage (problem says what).  A further
 * call after damage reports the same again.
 */
extern bool eventlog_walk_next(EventlogWalk *w);

/*
 * Go on behind damage: stand before the first entry of the next page that
 * looks sound and on which an entry starts.  What is passed over are the
 * offsets from pos.offset as it was to pos.offset as it then is; the latter is
 * the lower one if an offset that was read before the damage was wrong.  False
 * if there is no such page.
 */
extern bool eventlog_walk_resync(EventlogWalk *w);

/* Give the memory back. */
extern void eventlog_walk_end(EventlogWalk *w);

#endif							/* EVENTLOG_LOG_WALK_H */
