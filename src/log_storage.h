/*-------------------------------------------------------------------------
 *
 * log_storage.h
 *	  A partition's file: create, append, segments, freeze, rewrite; reading.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_STORAGE_H
#define EVENTLOG_LOG_STORAGE_H

#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "compat.h"
#include "log_format.h"

/* One entry to append. */
typedef struct EventlogAppend
{
	char	   *batch;			/* finished batch; its base offset is filled in */
	uint32		length;			/* its bytes */
	TransactionId xmin;
	CommandId	cmin;
	int64		min_timestamp;	/* of its records; the header has the greatest */
	int64		base_offset;	/* the base offset to use, or -1: next in turn */
	int64		segment_bytes;	/* begin another segment beyond this size ... */
	int64		segment_ms;		/* ... or age; 0: whatever its age */
	bool		switched;		/* out: another segment was begun */
	bool		waited;			/* out: somebody else had the append lock */
	int64		wait_us;		/* out: how long */
} EventlogAppend;

/*
 * Make the file of a new, empty log.  Takes the place of the relation's own
 * creation of storage; next_offset is where offsets go on, min_next_offset
 * the least that is given out (EventlogLife).
 */
extern void eventlog_storage_create(EventlogFileId file, char persistence, int64 next_offset,
									int64 min_next_offset);

/*
 * Empty a log that only this transaction can see, keeping its next offset.
 */
extern void eventlog_storage_reset(Relation rel);

/*
 * Copy the head of the metapage.  Its log_start_offset is what holds now,
 * transactions that have committed since it was last moved included.  *layout
 * (unless NULL) is what eventlog_storage_read_segment() wants to know.
 */
extern void eventlog_storage_read_meta(Relation rel, EventlogMetaHead *meta, uint32 *layout);

/* Copy all of the metapage, as it is stored. */
extern void eventlog_storage_read_all(Relation rel, EventlogMeta *meta);

/* Has the transaction that asked for a log start committed, or is it this one? */
extern bool eventlog_storage_start_holds(const EventlogPendingStart *pending);

/*
 * Segment "number", from the head itself or its map page; at most
 * meta->active_segment.  False if segments have been rewritten or recycled
 * since "meta" was read: then read it anew, and look up by offset.
 */
extern bool eventlog_storage_read_segment(Relation rel, const EventlogMetaHead *meta,
										  uint32 layout, uint32 number,
										  EventlogSegment *segment);

/*
 * The same for who holds ShareUpdateExclusiveLock and has read "meta" since:
 * the segment is there.
 */
extern void eventlog_storage_get_segment(Relation rel, const EventlogMeta *meta,
										 uint32 number, EventlogSegment *segment);

/* The metapage in a locked buffer, checked. */
extern Page eventlog_storage_meta_page(Relation rel, Buffer metabuf);

/* A page does not look as it should: raise ERRCODE_DATA_CORRUPTED. */
pg_noreturn extern void eventlog_storage_damaged(Relation rel, BlockNumber block,
												 const char *problem);

/*
 * Append one entry; returns its base offset.  When it returns, the entry is
 * in the log, whatever becomes of the transaction.  Errors: an explicit base
 * offset below the high watermark (ERRCODE_INVALID_PARAMETER_VALUE), no more
 * offsets, segments or disk space; then nothing has been appended.
 */
extern int64 eventlog_storage_append(Relation rel, EventlogAppend *app);

/* Mark entries of one block aborted; "bytes" are where they start. */
extern void eventlog_storage_mark_aborted(Relation rel, BlockNumber block,
										  const uint16 *bytes, int nbytes);

/* Move the frozen position; see xl_eventlog_freeze. */
extern void eventlog_storage_set_frozen(Relation rel, const EventlogPos *frozen,
										TransactionId conflict_xid);

/*
 * Move the resolved hint forward, if that can be had without waiting, and the
 * layout of segments is still that in which the position was found.
 */
extern void eventlog_storage_hint_resolved(Relation rel, const EventlogPos *resolved,
										   uint32 layout);

/*
 * The life of closed segments.  The caller holds ShareUpdateExclusiveLock, or
 * a stronger one, on the relation.
 */

/* Close the active segment, if it is not empty or "even_empty"; was it closed? */
extern bool eventlog_storage_roll(Relation rel, bool even_empty);

/*
 * Change the metapage's bookkeeping: "edit" changes a copy and returns true,
 * or false to leave all as it is.  It runs under the append lock and must not
 * raise.  conflict_xid, if valid, is the newest xid whose end was waited for
 * before blocks were freed: standbys wait for their readers.
 */
typedef bool (*EventlogMetaEdit) (EventlogMeta *meta, void *arg);
extern bool eventlog_storage_edit(Relation rel, EventlogMetaEdit edit, void *arg,
								  TransactionId conflict_xid);

/*
 * The same, and replace "count" entries of closed segments from "first" on, at
 * most as many as fit on a map page.
 */
extern bool eventlog_storage_swap(Relation rel, EventlogMetaEdit edit, void *arg,
								  uint32 first, uint32 count,
								  const EventlogSegment *segments);

/* Write finished pages to reserved blocks; at most XLR_MAX_BLOCK_ID. */
extern void eventlog_storage_write_pages(Relation rel, BlockNumber first,
										 const char *pages, int npages);

/*
 * Overwrite blocks that hold no live record with empty pages.  conflict_xid:
 * as above.
 */
extern void eventlog_storage_blank(Relation rel, EventlogRun run, uint32 incarnation,
								   TransactionId conflict_xid);

/* See to it that the file has this many blocks. */
extern void eventlog_storage_extend_ahead(Relation rel, BlockNumber nblocks);

/*
 * Copy a data page's bytes from "from" up to its end into dst (unless NULL),
 * and its special area into *special; *end is the byte behind the last one.
 * Returns NULL, or what is wrong with the page; then nothing was copied.  The
 * generation is checked by the caller, which knows which one it wants.
 */
extern const char *eventlog_storage_read_page(Relation rel, BlockNumber block,
											  BufferAccessStrategy strategy, uint16 from,
											  char *dst, EventlogPageSpecial *special,
											  uint16 *end);

/*
 * Copy a whole page, good or bad; NULL if the file has no such block.  Of a
 * page whose checksum is wrong the server gives zeroes, and a warning.
 */
extern const char *eventlog_storage_read_image(Relation rel, BlockNumber block,
											   BufferAccessStrategy strategy, char *image);

#endif							/* EVENTLOG_LOG_STORAGE_H */
