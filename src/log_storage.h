/*-------------------------------------------------------------------------
 *
 * log_storage.h
 *	  A partition's file: create, append, segments, freeze; reading pages.
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
	int64		segment_bytes;	/* begin another segment beyond this size */
} EventlogAppend;

/*
 * Make the file of a new, empty log.  Takes the place of the relation's own
 * creation of storage; next_offset is where offsets go on.
 */
extern void eventlog_storage_create(EventlogFileId file, char persistence, int64 next_offset);

/*
 * Empty a log that only this transaction can see, keeping its next offset.
 */
extern void eventlog_storage_reset(Relation rel);

/* Copy the head of the metapage.  Errors: ERRCODE_INDEX_CORRUPTED-like damage. */
extern void eventlog_storage_read_meta(Relation rel, EventlogMetaHead *meta);

/*
 * Segment "number", from the head itself or its map page.  The caller's
 * number lies between meta->first_segment and meta->active_segment.
 */
extern void eventlog_storage_read_segment(Relation rel, const EventlogMetaHead *meta,
										  uint32 number, EventlogSegment *segment);

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

/* Move the resolved hint forward, if that can be had without waiting. */
extern void eventlog_storage_hint_resolved(Relation rel, const EventlogPos *resolved);

/*
 * Copy a data page's bytes from "from" up to its end into dst, and its special
 * area into *special.  Returns the byte behind the last one.  *generation is
 * checked by the caller, which knows which one it wants.
 */
extern uint16 eventlog_storage_read_page(Relation rel, BlockNumber block,
										 BufferAccessStrategy strategy, uint16 from,
										 char *dst, EventlogPageSpecial *special);

#endif							/* EVENTLOG_LOG_STORAGE_H */
