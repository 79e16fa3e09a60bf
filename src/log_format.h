/*-------------------------------------------------------------------------
 *
 * log_format.h
 *	  The file of a partition and its WAL records, byte by byte.
 *
 * A partition's file is an ordinary relation fork of BLCKSZ pages:
 *
 *	block 0			metapage: one EventlogMeta
 *	other blocks	data pages, grouped in segments (runs of neighbouring
 *					blocks), and map pages, which list closed segments
 *
 * The log is a stream of entries inside each segment.  An entry is an
 * EventlogEntry followed by one Kafka RecordBatch v2.  Entries follow each
 * other without padding and run across pages, except that entry header and
 * batch header (EVENTLOG_ENTRY_HEAD bytes) always lie on one page: where
 * fewer bytes than that remain on a page, the next entry starts on the next
 * one.  No entry runs across segments.
 *
 * The log ends at the metapage's tail.  Whatever lies behind the tail, on the
 * tail page or past it, is left over from an append that did not finish and
 * means nothing.
 *
 * Positions are (segment number, block, byte in page); byte 0 of a page is
 * its page header, so payload runs from EVENTLOG_PAYLOAD_START to
 * EVENTLOG_PAYLOAD_END and pd_lower is the first byte behind it.
 *
 * Format policy: every page and every WAL record carries the version of its
 * kind.  A reader refuses versions that it does not know.  What a version
 * means never changes; a new layout takes a new number and the old one stays
 * readable for every server version that could have written it.
 *
 * Versions so far: 1, all kinds.  2, metapages only: EventlogLife follows
 * EventlogMeta.  A metapage of version 1 becomes one of version 2 when its
 * EventlogLife is first written; until then that is all zeroes but for
 * recycle_segment, which is first_segment.
 *
 * Numbers in pages and WAL records are in the machine's byte order, as
 * everywhere in the server; only what is inside a RecordBatch is big-endian.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_FORMAT_H
#define EVENTLOG_LOG_FORMAT_H

#include "access/rmgr.h"
#include "access/transam.h"
#include "storage/block.h"
#include "storage/bufpage.h"

#include "batch.h"

#define EVENTLOG_FORMAT_VERSION		1	/* all kinds but the next two */
#define EVENTLOG_META_VERSION		2	/* metapages */
#define EVENTLOG_WAL_META_VERSION	2	/* META, SWAP and BLANK records */
#define EVENTLOG_MAGIC				0x45764C67	/* "EvLg" */
#define EVENTLOG_METAPAGE_BLKNO		0

/* The last two bytes of every page of ours, as other access methods have. */
#define EVENTLOG_PAGE_META			0xEE01
#define EVENTLOG_PAGE_MAP			0xEE02
#define EVENTLOG_PAGE_DATA			0xEE03

/* Special area of every page.  The first four fields are for data pages. */
typedef struct EventlogPageSpecial
{
	/*
	 * Base offset of the first batch that starts on this page or, where none
	 * does, of the batch that comes next.  So it never falls from one page of
	 * a segment to the next, and a binary search over pages works whatever
	 * the sizes of batches.
	 */
	int64		first_offset;

	/*
	 * Greatest timestamp (ms) of the segment's batches before the one that
	 * first_offset names; EVENTLOG_NO_TIMESTAMP when there is none.
	 */
	int64		max_timestamp;
	uint32		generation;		/* of the segment, when the page was begun */
	uint32		incarnation;	/* of the file */
	uint16		first_start;	/* byte at which the first batch starts; 0: none */
	uint16		reserved;
	uint16		version;		/* EVENTLOG_FORMAT_VERSION, EVENTLOG_META_VERSION */
	uint16		page_id;		/* EVENTLOG_PAGE_xxx */
} EventlogPageSpecial;

#define EVENTLOG_PAYLOAD_START	((uint16) MAXALIGN(SizeOfPageHeaderData))
#define EVENTLOG_PAYLOAD_END	((uint16) (BLCKSZ - MAXALIGN(sizeof(EventlogPageSpecial))))
#define EVENTLOG_PAYLOAD_SIZE	(EVENTLOG_PAYLOAD_END - EVENTLOG_PAYLOAD_START)

#define EVENTLOG_NO_TIMESTAMP	PG_INT64_MIN

/* Local header in front of each batch. */
typedef struct EventlogEntry
{
	uint32		length;			/* bytes of the batch that follows */
	TransactionId xmin;			/* writer, possibly a subtransaction */
	CommandId	cmin;
	uint32		flags;			/* EVENTLOG_ENTRY_xxx */
} EventlogEntry;

#define EVENTLOG_ENTRY_ABORTED	0x0001	/* xmin aborted; set by VACUUM */
#define EVENTLOG_ENTRY_HEAD		((int) (sizeof(EventlogEntry) + EVENTLOG_BATCH_HEADER_SIZE))

/* A place in the log.  "offset" is the base offset expected there, or later. */
typedef struct EventlogPos
{
	int64		offset;
	uint32		segment;		/* segment number, from 0, never reused */
	BlockNumber block;
	uint16		byte;
	uint16		pad[3];			/* 0; explicit, as it goes to pages and WAL */
} EventlogPos;

/* One segment, in the metapage (the active one) or on a map page. */
typedef struct EventlogSegment
{
	int64		base_offset;	/* next offset when the segment was begun */
	int64		max_timestamp;	/* EVENTLOG_NO_TIMESTAMP while empty */

	/*
	 * How far below the greatest earlier timestamp any record of the segment
	 * lies, at most (ms); 0 if timestamps never fall.  Lets a scan with an
	 * upper bound in time stop early even if timestamps are not in order.
	 */
	int64		disorder;
	int64		begun_at;		/* ms since 1970 when begun, for segment.ms */
	BlockNumber first_block;
	BlockNumber nblocks;		/* 0: open-ended, grows at the file's end */
	BlockNumber end_block;		/* where the last entry ends; closed ones only */
	uint32		generation;
	uint16		end_byte;
	uint16		state;			/* EVENTLOG_SEGMENT_xxx */
	uint32		pad;
} EventlogSegment;

#define EVENTLOG_SEGMENT_ACTIVE	1
#define EVENTLOG_SEGMENT_CLOSED	2

/*
 * Number of a segment whose records are part of a later one since compaction.
 * It has no blocks (nblocks 0) and ends where it begins; its base offset is
 * that of the next segment which has any.
 */
#define EVENTLOG_SEGMENT_MERGED	3

/* A run of neighbouring blocks. */
typedef struct EventlogRun
{
	BlockNumber first_block;
	BlockNumber nblocks;		/* 0: none */
} EventlogRun;

#define EVENTLOG_MAX_FREE_SEGMENTS	64

/*
 * Closed segments are listed on map pages: segment n is entry
 * n % EVENTLOG_SEGMENTS_PER_MAP of the page whose block is
 * map_blocks[(n / EVENTLOG_SEGMENTS_PER_MAP) % EVENTLOG_MAP_BLOCKS].
 */
#define EVENTLOG_SEGMENTS_PER_MAP	((int) (EVENTLOG_PAYLOAD_SIZE / sizeof(EventlogSegment)))
#define EVENTLOG_MAP_BLOCKS			1024

/* What readers copy out of the metapage. */
typedef struct EventlogMetaHead
{
	uint32		magic;
	uint32		incarnation;	/* drawn at random when the file is made */

	/* what the log holds */
	int64		next_offset;	/* high watermark */
	int64		log_start_offset;

	/*
	 * Below this position every batch is committed unless its entry is marked
	 * aborted; no xmin there is ever looked at.
	 */
	EventlogPos frozen;

	/*
	 * Hint, not WAL-logged: below this position no batch's writer was in
	 * progress when somebody looked.  May lag, is never ahead.
	 */
	EventlogPos resolved;

	/* the end of the log: where the next entry goes */
	BlockNumber tail_block;
	uint16		tail_byte;
	uint16		nfree;			/* used entries of free_segments */

	/* segments */
	uint32		first_segment;	/* the one in which log_start_offset lies */
	uint32		active_segment; /* number of "active" */
	EventlogSegment active;
	uint32		next_generation;
	BlockNumber alloc_block;	/* first block that was never handed out */
	int64		tid_base;		/* record_offset of TID (0,1) */
} EventlogMetaHead;

/*
 * A log start that a transaction has asked for (delete_records).  It holds
 * once that transaction has committed.
 */
typedef struct EventlogPendingStart
{
	FullTransactionId xid;		/* possibly a subtransaction's */
	int64		offset;
} EventlogPendingStart;

#define EVENTLOG_MAX_PENDING_STARTS	8

/*
 * Segments below "upto" are below the log start.  Readers that opened their
 * cursors before may still be in them, until every snapshot takes "xid" for
 * finished.
 */
typedef struct EventlogRetirement
{
	FullTransactionId xid;		/* invalid: none */
	uint32		upto;			/* segment number */
	uint32		pad;
} EventlogRetirement;

/* Blocks that compaction has replaced; the same holds for them. */
typedef struct EventlogRetiredRun
{
	FullTransactionId xid;
	EventlogRun run;
} EventlogRetiredRun;

#define EVENTLOG_MAX_RETIRED_RUNS	96
#define EVENTLOG_MAX_SPARE_MAPS		16

/* What becomes of segments after they are closed. */
typedef struct EventlogLife
{
	/*
	 * Changes whenever closed segments are rewritten or the active one, empty,
	 * is moved: who remembers segment numbers, blocks or bytes must look them
	 * up anew by offset.
	 */
	uint32		layout;

	/*
	 * Oldest segment whose blocks have not been put on the free list.  Those
	 * from here up to first_segment wait for their readers to end, the first
	 * ones for retired[0], the others for retired[1]: two are enough, since
	 * what comes while both are taken joins the second.
	 */
	uint32		recycle_segment;
	EventlogRetirement retired[2];

	/*
	 * Offsets are not given out below this, unless explicitly: a restored
	 * dump's records may come after what is known of their offsets.
	 */
	int64		min_next_offset;

	/* compaction */
	int64		cleaned_offset; /* below it, no key has two records */
	int64		cleaned_at;		/* ms since 1970 when that was reached; 0: never */
	int64		cleaned_read;	/* records that the last run has read ... */
	int64		cleaned_kept;	/* ... and kept */
	int64		tombstones_until;	/* first tombstone that may go then, ms; 0: none */
	EventlogRun reserved;		/* being written by compaction; free after a crash */

	uint16		npending;
	uint16		nretired_runs;
	uint16		nspare_maps;
	uint16		pad;
	EventlogPendingStart pending[EVENTLOG_MAX_PENDING_STARTS];
	BlockNumber spare_maps[EVENTLOG_MAX_SPARE_MAPS];	/* map pages to use again */
	EventlogRetiredRun retired_runs[EVENTLOG_MAX_RETIRED_RUNS];
} EventlogLife;

typedef struct EventlogMeta
{
	EventlogMetaHead head;
	EventlogRun free_segments[EVENTLOG_MAX_FREE_SEGMENTS];
	BlockNumber map_blocks[EVENTLOG_MAP_BLOCKS];
	EventlogLife life;			/* version 2 on */
} EventlogMeta;

#define EVENTLOG_META_SIZE_V1	offsetof(EventlogMeta, life)

/*
 * TIDs.  A record's ctid follows from its offset, one to one: block is the
 * distance from tid_base divided by EVENTLOG_TIDS_PER_BLOCK, position the
 * rest plus one.  Positions beyond MaxHeapTuplesPerPage are why bitmap scans
 * and GIN are not offered (tidbitmap.c, ginpostinglist.c).
 */
#define EVENTLOG_TID_BITS		15
#define EVENTLOG_TIDS_PER_BLOCK	(1 << EVENTLOG_TID_BITS)
#define EVENTLOG_MAX_OFFSET		(((int64) MaxBlockNumber << EVENTLOG_TID_BITS) - 1)

/* ---- WAL ---- */

/*
 * 128 is the server's number for experiments; see docs/architecture.md on
 * reserving one.
 */
#define EVENTLOG_RMGR_ID		RM_EXPERIMENTAL_ID
#define EVENTLOG_RMGR_NAME		"eventlog"

#define XLOG_EVENTLOG_APPEND	0x00	/* (end of) one entry */
#define XLOG_EVENTLOG_SEGMENT	0x10	/* close the active segment, begin another */
#define XLOG_EVENTLOG_MARK		0x20	/* mark entries of a page aborted */
#define XLOG_EVENTLOG_FREEZE	0x30	/* move the frozen position */
#define XLOG_EVENTLOG_META		0x40	/* log start, free blocks and the like */
#define XLOG_EVENTLOG_SWAP		0x50	/* replace closed segments */
#define XLOG_EVENTLOG_BLANK		0x60	/* blank blocks that are free */

/*
 * APPEND.  Main data: xl_eventlog_append, then the parts that flags name, in
 * this order.  Block 0 is the metapage, absent unless EVENTLOG_APPEND_LAST;
 * blocks 1..n are data pages in log order, each with the bytes that go there:
 * on the first at start_byte, on the others at EVENTLOG_PAYLOAD_START.  A page
 * that is written from EVENTLOG_PAYLOAD_START on is initialised.
 *
 * An entry too long for one record is written by several; only the last one
 * moves the tail.
 */
typedef struct xl_eventlog_append
{
	uint8		version;
	uint8		flags;
	uint16		start_byte;
} xl_eventlog_append;

#define EVENTLOG_APPEND_FIRST	0x01	/* the entry starts in this record */
#define EVENTLOG_APPEND_LAST	0x02	/* the entry ends in this record */
#define EVENTLOG_APPEND_INIT	0x04	/* xl_eventlog_append_init follows */
#define EVENTLOG_APPEND_SUMMARY 0x08	/* xl_eventlog_append_summary follows */
#define EVENTLOG_APPEND_SINGLE	0x10	/* one record: see below */

/*
 * An entry of one record, in one record on one page, is logged without the
 * parts of its batch header that follow from that: lastOffsetDelta (0),
 * maxTimestamp (baseTimestamp), producer id, epoch and sequence (-1), count
 * (1).  Bytes of the batch that are left out, as [from, to).
 */
#define EVENTLOG_SINGLE_GAP1_FROM	23
#define EVENTLOG_SINGLE_GAP1_TO		27
#define EVENTLOG_SINGLE_GAP2_FROM	35
#define EVENTLOG_SINGLE_GAP2_TO		EVENTLOG_BATCH_HEADER_SIZE

typedef struct xl_eventlog_append_init
{
	uint32		incarnation;
	uint32		generation;
	int64		next_offset;	/* first_offset of pages after the first */
	int64		max_timestamp;	/* before this entry */
	int64		max_timestamp_after;	/* with this entry */
} xl_eventlog_append_init;

/*
 * Left out where it follows from the batch header in the record: whole entry
 * of one record (then both timestamps are the header's).
 */
typedef struct xl_eventlog_append_summary
{
	int64		next_offset;
	int64		min_timestamp;
	int64		max_timestamp;
} xl_eventlog_append_summary;

/*
 * SEGMENT.  Block 0: metapage.  Block 1: map page that takes the entry of the
 * closed segment, initialised if init_map.
 */
typedef struct xl_eventlog_segment
{
	uint8		version;
	bool		init_map;		/* map page is new and goes to map_blocks */
	uint16		free_index;		/* free run used, or UINT16_MAX */
	uint32		closed_number;
	uint32		incarnation;
	uint32		pad;
	EventlogSegment closed;
	EventlogSegment active;
	BlockNumber alloc_block;
	BlockNumber spare_map;		/* the map page was this spare one; else 0 */
} xl_eventlog_segment;

/* MARK.  Block 0: data page; its data: uint16 bytes at which entries start. */
typedef struct xl_eventlog_mark
{
	uint8		version;
} xl_eventlog_mark;

/* FREEZE.  Block 0: metapage. */
typedef struct xl_eventlog_freeze
{
	uint8		version;
	TransactionId conflict_xid; /* newest xid that is no longer compared */
	EventlogPos frozen;
} xl_eventlog_freeze;

/*
 * META.  Block 0: metapage.  Main data: xl_eventlog_meta, then head.nfree free
 * runs, then "life" without the unused end of retired_runs.  Both are the new
 * content of the metapage; the resolved hint becomes head.frozen.
 */
typedef struct xl_eventlog_meta
{
	uint8		version;
	TransactionId conflict_xid; /* newest xid whose readers' blocks are freed */
	uint32		clear_maps;		/* map pages to forget: that of this segment ... */
	uint32		clear_upto;		/* ... up to, not including, this one's */
	EventlogMetaHead head;
} xl_eventlog_meta;

/*
 * SWAP.  As META, with blocks 1 and 2 (if the segments are on two) the map
 * pages: their data are the new EventlogSegments, as many as "count" and
 * "count2" say, the first one for segment number "first" and "first2".
 */
typedef struct xl_eventlog_swap
{
	uint32		first;
	uint32		count;
	uint32		first2;
	uint32		count2;
	xl_eventlog_meta meta;
} xl_eventlog_swap;

/* BLANK.  All blocks: free ones, to become empty data pages. */
typedef struct xl_eventlog_blank
{
	uint8		version;
	TransactionId conflict_xid;
	uint32		incarnation;
} xl_eventlog_blank;

#endif							/* EVENTLOG_LOG_FORMAT_H */
