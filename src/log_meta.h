/*-------------------------------------------------------------------------
 *
 * log_meta.h
 *	  The metapage: end of the log, segments, free and retired blocks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_META_H
#define EVENTLOG_LOG_META_H

#include "log_format.h"

extern void eventlog_meta_init(Page page, uint32 incarnation, int64 next_offset,
							   int64 min_next_offset, int64 now_ms);
extern void eventlog_meta_appended(EventlogMetaHead *meta,
								   const xl_eventlog_append_summary *sum,
								   BlockNumber end_block, uint16 end_byte);
extern void eventlog_meta_switched(Page page, const xl_eventlog_segment *xlrec,
								   BlockNumber map_block);

/* The page's EventlogLife, or NULL if it is of version 1 and has none. */
extern const EventlogLife *eventlog_meta_life(Page page);

/* About how many records the log holds. */
extern double eventlog_meta_records(const EventlogMeta *meta);

/* Copy all of a metapage, of whatever version. */
extern void eventlog_meta_copy(Page page, EventlogMeta *meta);

/* Bytes of "life" that are in use. */
extern Size eventlog_life_size(const EventlogLife *life);

/*
 * Write what a META or SWAP record changes.  "frees" are head.nfree runs,
 * "life" its used bytes.
 */
extern void eventlog_meta_replace(Page page, const xl_eventlog_meta *xlrec,
								  const char *frees, const char *life, Size life_size);

/* --- editing a copy; false if there is no room left for it --- */

extern bool eventlog_meta_add_free(EventlogMeta *meta, EventlogRun run);
extern bool eventlog_meta_add_retired(EventlogMeta *meta, EventlogRun run,
									  FullTransactionId xid);

/*
 * The free run that a segment of "want" blocks, and at least "need", should
 * take: its index, or -1.
 */
extern int	eventlog_meta_choose_free(const EventlogMeta *meta, BlockNumber need,
									  BlockNumber want);

/* Take n blocks from the front of a free run. */
extern EventlogRun eventlog_meta_take_free(EventlogMeta *meta, int index, BlockNumber n);

/*
 * Take n blocks for a segment that is written aside: from a free run, or at
 * the end of the file (where the active segment, if it lies there, is given an
 * end).  Returns a run with nblocks 0 if the file cannot grow so far.
 */
extern EventlogRun eventlog_meta_reserve(EventlogMeta *meta, BlockNumber n);

/*
 * Give back the end of such a run, to which nothing was written: to the file's
 * unused end, if it lies there, else to the free list; false if that is full.
 */
extern bool eventlog_meta_unreserve(EventlogMeta *meta, EventlogRun run);

#endif							/* EVENTLOG_LOG_META_H */
