/*-------------------------------------------------------------------------
 *
 * log_walk.c
 *	  Checking one segment entry by entry, whatever its bytes are.
 *
 * log_scan.c reads what a running server has written and stops at the first
 * thing that cannot be.  This reads pages as if an enemy had written them,
 * checks everything that log_format.h promises about them, and can go on
 * behind damage.  It is pure: bytes come from a callback, problems are
 * constant English texts, nothing is locked and nothing raised.  Compiled with
 * -DFRONTEND it links without a server (the fuzzer does that).
 *
 * Invariants:
 *	- Nothing outside the images that the callback gave is read, and none that
 *	  it gave before the last one.
 *	- Each step forward moves pos forward, and so does each resync, so every
 *	  walk ends.
 *	- Memory is taken for no more than what the segment can hold.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "log_page.h"
#include "log_walk.h"

#define KNOWN_ENTRY_FLAGS	EVENTLOG_ENTRY_ABORTED

static bool
damaged(EventlogWalk *w, BlockNumber block, uint16 byte, const char *problem)
{
	w->problem = problem;
	w->problem_block = block;
	w->problem_byte = byte;
	return false;
}

static inline const EventlogPageSpecial *
special_of(const EventlogWalk *w)
{
	return (const EventlogPageSpecial *) (w->page + EVENTLOG_PAYLOAD_END);
}

static inline uint16
page_end(const EventlogWalk *w)
{
	return ((const PageHeaderData *) w->page)->pd_lower;
}

/*
 * Have the image of this block at hand, if it is a page of our segment.
 */
static bool
load_page(EventlogWalk *w, BlockNumber block)
{
	const EventlogPageSpecial *special;
	const char *problem;

	if (w->page != NULL && w->page_block == block)
		return true;
	w->page = w->get_page(w->arg, block);
	if (w->page == NULL)
		return damaged(w, block, 0, "page cannot be read");
	w->page_block = block;

	problem = eventlog_page_check(unconstify(char *, w->page), EVENTLOG_PAGE_DATA);
	if (problem == NULL)
	{
		special = special_of(w);
		if (page_end(w) < EVENTLOG_PAYLOAD_START)
			problem = "payload ends before it starts";
		else if (page_end(w) > EVENTLOG_PAYLOAD_END)
			problem = "payload runs into the special area";
		else if (special->incarnation != w->incarnation)
			problem = "page belongs to another file";
		else if (special->generation != w->segment.generation)
			problem = "page belongs to another segment";
		else if (special->first_start != 0 &&
				 (special->first_start < EVENTLOG_PAYLOAD_START ||
				  eventlog_page_next_start(special->first_start) == 0))
			problem = "page says that an entry starts where none can";
	}
	if (problem != NULL)
	{
		w->page = NULL;
		return damaged(w, block, 0, problem);
	}
	return true;
}

/*
 * Byte at which the first entry of the loaded page starts, or 0.
 */
static uint16
page_first_start(const EventlogWalk *w)
{
	uint16		start = special_of(w)->first_start;

	/* left over from an append that did not finish? */
	if (w->page_block == w->segment.end_block && start >= w->segment.end_byte)
		return 0;
	return start;
}

/*
 * The loaded page begins inside the entry that ends at "next".  Does its
 * special area say so?  Whether an entry that starts behind it is the one
 * named there is checked when that is read.
 */
static bool
check_covered_page(EventlogWalk *w, const EventlogPos *next)
{
	const EventlogPageSpecial *special = special_of(w);
	uint16		start = page_first_start(w);

	if (start != 0 && (w->page_block != next->block || start != next->byte))
		return damaged(w, w->page_block, start, "page says that an entry starts inside another");
	if (special->first_offset < next->offset)
		return damaged(w, w->page_block, 0, "first offset of a page is too low");
	if (special->max_timestamp < Max(w->max_timestamp, w->header.max_timestamp))
		return damaged(w, w->page_block, 0, "greatest timestamp of a page is too low");
	return true;
}

/*
 * Have the batch of the entry at "at" in one piece.  That it ends within the
 * segment is known.
 */
static bool
read_batch(EventlogWalk *w, const EventlogPos *at, const EventlogPos *next)
{
	uint32		length = w->entry.length;
	uint16		byte = at->byte + sizeof(EventlogEntry);
	BlockNumber block = at->block;
	uint32		have;

	if (next->block == at->block)
	{
		if (next->byte > page_end(w))
			return damaged(w, block, at->byte, "page ends inside a batch");
		w->batch = w->page + byte;
		return true;
	}

	if (page_end(w) != EVENTLOG_PAYLOAD_END)
		return damaged(w, block, at->byte, "page ends inside a batch");
	have = EVENTLOG_PAYLOAD_END - byte;
	w->body.len = 0;
	eventlog_buf_reserve(&w->body, length);
	memcpy(w->body.data, w->page + byte, have);
	while (have < length)
	{
		uint32		take = Min(length - have, (uint32) EVENTLOG_PAYLOAD_SIZE);

		block++;
		if (!load_page(w, block) || !check_covered_page(w, next))
			return false;
		if (page_end(w) < EVENTLOG_PAYLOAD_START + take)
			return damaged(w, block, EVENTLOG_PAYLOAD_START, "page ends inside a batch");
		memcpy(w->body.data + have, w->page + EVENTLOG_PAYLOAD_START, take);
		have += take;
	}
	w->batch = w->body.data;
	return true;
}

/*
 * Decode the head of the entry at "at", whose page is loaded, and say where
 * the entry ends.
 */
static bool
read_head(EventlogWalk *w, const EventlogPos *at, EventlogPos *next)
{
	const EventlogPageSpecial *special = special_of(w);
	const char *head = w->page + at->byte;
	const char *problem;
	uint64		block;
	uint64		byte;

	if (at->byte + EVENTLOG_ENTRY_HEAD > page_end(w))
		return damaged(w, at->block, at->byte, "page ends inside the head of an entry");
	memcpy(&w->entry, head, sizeof(EventlogEntry));
	problem = eventlog_batch_parse_header(head + sizeof(EventlogEntry), &w->header);
	if (problem != NULL)
		return damaged(w, at->block, at->byte, problem);
	if (w->entry.length != (uint32) w->header.batch_length + 12)
		return damaged(w, at->block, at->byte, "entry and batch disagree about their length");
	if ((w->entry.flags & ~KNOWN_ENTRY_FLAGS) != 0)
		return damaged(w, at->block, at->byte, "entry has unknown flags");
	if (w->header.base_offset < at->offset)
		return damaged(w, at->block, at->byte, "offsets do not rise");
	if (w->header.base_offset + w->header.last_offset_delta >= w->end_offset)
		return damaged(w, at->block, at->byte, "offset is beyond the end of its segment");
	if (w->header.max_timestamp > w->segment.max_timestamp)
		return damaged(w, at->block, at->byte, "timestamp is greater than the greatest of its segment");

	/* the first one that starts on its page is named there */
	if (w->start_block != at->block)
	{
		if (page_first_start(w) != at->byte)
			return damaged(w, at->block, at->byte, "page does not say that an entry starts here");
		if (special->first_offset != w->header.base_offset)
			return damaged(w, at->block, at->byte, "page and batch disagree about their first offset");
		if (special->max_timestamp < w->max_timestamp)
			return damaged(w, at->block, 0, "greatest timestamp of a page is too low");
	}

	block = at->block;
	byte = at->byte;
	eventlog_page_entry_end(&block, &byte, sizeof(EventlogEntry) + (uint64) w->entry.length);
	if (block > w->segment.end_block ||
		(block == w->segment.end_block && byte > w->segment.end_byte))
		return damaged(w, at->block, at->byte, "entry runs past the end of its segment");

	next->offset = w->header.base_offset + w->header.last_offset_delta + 1;
	next->segment = at->segment;
	next->block = (BlockNumber) block;
	next->byte = (uint16) byte;
	memset(next->pad, 0, sizeof(next->pad));
	return true;
}

void
eventlog_walk_begin(EventlogWalk *w, const EventlogSegment *segment,
					uint32 number, uint32 incarnation, int64 end_offset,
					EventlogWalkPage get_page, void *arg)
{
	w->segment = *segment;
	w->incarnation = incarnation;
	w->end_offset = end_offset;
	w->get_page = get_page;
	w->arg = arg;

	w->pos.offset = segment->base_offset;
	w->pos.segment = number;
	w->pos.block = segment->first_block;
	w->pos.byte = EVENTLOG_PAYLOAD_START;
	memset(w->pos.pad, 0, sizeof(w->pos.pad));

	w->batch = NULL;
	w->problem = NULL;
	w->page = NULL;
	w->start_block = InvalidBlockNumber;
	w->max_timestamp = EVENTLOG_NO_TIMESTAMP;
}

bool
eventlog_walk_next(EventlogWalk *w)
{
	EventlogPos at = w->pos;
	EventlogPos next;
	const char *problem;

	w->batch = NULL;
	w->problem = NULL;

	if (at.block == w->segment.end_block && at.byte == w->segment.end_byte)
		return false;
	if (eventlog_page_next_start(at.byte) == 0 && at.block < w->segment.end_block)
	{
		at.block++;
		at.byte = EVENTLOG_PAYLOAD_START;
	}
	if (at.block > w->segment.end_block ||
		(at.block == w->segment.end_block && at.byte + EVENTLOG_ENTRY_HEAD > w->segment.end_byte))
		return damaged(w, at.block, at.byte, "entries end before their segment does");

	if (!load_page(w, at.block) ||
		!read_head(w, &at, &next) ||
		!read_batch(w, &at, &next))
		return false;
	problem = eventlog_batch_open(&w->reader, w->batch, w->entry.length, &w->scratch);
	if (problem != NULL)
		return damaged(w, at.block, at.byte, problem);

	w->entry_pos = at;
	w->entry_pos.offset = w->header.base_offset;
	w->start_block = at.block;
	w->max_timestamp = Max(w->max_timestamp, w->header.max_timestamp);
	w->pos = next;
	return true;
}

bool
eventlog_walk_resync(EventlogWalk *w)
{
	BlockNumber block = w->pos.block;

	while (block < w->segment.end_block)
	{
		const EventlogPageSpecial *special;

		block++;
		if (!load_page(w, block) || page_first_start(w) == 0)
			continue;
		special = special_of(w);
		if (special->first_offset < w->segment.base_offset ||
			special->first_offset >= w->end_offset ||
			special->max_timestamp > w->segment.max_timestamp)
			continue;

		/*
		 * The page is believed against what was read before: a batch's offset
		 * is not covered by its checksum, so it may be that which was wrong.
		 */
		w->pos.offset = special->first_offset;
		w->pos.block = block;
		w->pos.byte = special->first_start;
		w->max_timestamp = special->max_timestamp;
		w->start_block = InvalidBlockNumber;
		w->problem = NULL;
		return true;
	}

	/* nothing is left */
	w->pos.block = w->segment.end_block;
	w->pos.byte = w->segment.end_byte;
	w->batch = NULL;
	w->problem = NULL;
	return false;
}

void
eventlog_walk_end(EventlogWalk *w)
{
	eventlog_buf_free(&w->body);
	eventlog_buf_free(&w->scratch);
}
