/*-------------------------------------------------------------------------
 *
 * log_scan.c
 *	  Walking a partition's log batch by batch, under a snapshot.
 *
 * A cursor copies the metapage's head once and reads up to the tail that it
 * names; bytes below the tail do not change, so no lock is held between two
 * calls, nor a pin.  Pages are copied into local memory; a batch inside one
 * page is read from that copy, one that runs across pages is put together.
 *
 * Closed segments may be rewritten (compaction, erasure), or removed
 * (retention), under an open cursor.  It goes on in the blocks that it knows
 * while their generation is the segment's; where that has changed, or another
 * segment is to be entered and the layout of segments is not the same any
 * more, the cursor is "lost": it reads the metapage anew and looks its place
 * up by offset.  Batches keep their base offsets and ranges when they are
 * rewritten, so nothing is skipped and nothing comes twice.
 *
 * Which batches a snapshot sees is log_visibility.c's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "guc.h"
#include "log_page.h"
#include "log_scan.h"
#include "log_storage.h"
#include "log_visibility.h"

/* ---- damage ---- */

void
eventlog_cursor_damaged(const EventlogCursor *cur, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("log of partition \"%s\" is damaged: %s",
					RelationGetRelationName(cur->rel), problem),
			 errdetail("Block %u, byte %u, offset %lld.",
					   cur->bad_block != InvalidBlockNumber ? cur->bad_block :
					   cur->on_batch ? cur->batch_pos.block : cur->pos.block,
					   cur->on_batch ? cur->batch_pos.byte : cur->pos.byte,
					   (long long) (cur->on_batch ? cur->batch_pos.offset : cur->pos.offset)),
			 errhint("Restore the relation from a backup, or set eventlog.skip_damaged_records to read on behind the damage. eventlog.verify() tells all of it.")));
}

/* ---- pages ---- */

/*
 * Is this page still one of the current segment?
 */
static bool
same_segment(EventlogCursor *cur, const EventlogPageSpecial *special)
{
	cur->pages_read++;
	if (special->generation == cur->segment.generation &&
		special->incarnation == cur->meta.incarnation)
		return true;
	cur->lost = true;
	return false;
}

/* The server itself complains of a page: say what was read there. */
static void
tell_place(void *arg)
{
	EventlogCursor *cur = arg;

	errcontext("reading partition \"%s\" at offset %lld",
			   RelationGetRelationName(cur->rel), (long long) cur->pos.offset);
}

/* Copy the payload of a block to dst. */
static void
read_block(EventlogCursor *cur, BlockNumber block, char *dst, EventlogPageSpecial *special,
		   uint16 *end)
{
	ErrorContextCallback context = {error_context_stack, tell_place, cur};
	const char *problem;

	error_context_stack = &context;
	problem = eventlog_storage_read_page(cur->rel, block, cur->strategy,
										 EVENTLOG_PAYLOAD_START, dst, special, end);
	error_context_stack = context.previous;
	if (problem)
	{
		cur->bad_block = block;
		eventlog_cursor_damaged(cur, problem);
	}
}

/*
 * Have a copy of this block at hand, with all that the cursor can see of it.
 * False if the cursor is lost.
 */
static bool
load_page(EventlogCursor *cur, BlockNumber block)
{
	if (cur->page_block == block)
		return true;
	cur->page_block = InvalidBlockNumber;
	read_block(cur, block, cur->page + EVENTLOG_PAYLOAD_START, &cur->page_special, &cur->page_end);
	if (!same_segment(cur, &cur->page_special))
		return false;
	cur->page_block = block;
	return true;
}

/* Byte at which the first batch of the loaded page starts, or 0. */
static uint16
page_first_start(const EventlogCursor *cur)
{
	uint16		start = cur->page_special.first_start;

	/* left over from an append that did not finish? */
	if (cur->page_block == cur->segment.end_block && start >= cur->segment.end_byte)
		return 0;
	return start;
}

/* ---- segments ---- */

/* Stand at the start of a segment.  False if the cursor is lost. */
static bool
enter_segment(EventlogCursor *cur, uint32 number)
{
	if (!eventlog_storage_read_segment(cur->rel, &cur->meta, cur->layout, number, &cur->segment))
	{
		cur->lost = true;
		return false;
	}
	cur->pos.segment = number;
	cur->pos.block = cur->segment.first_block;
	cur->pos.byte = EVENTLOG_PAYLOAD_START;
	cur->pos.offset = cur->segment.base_offset;
	cur->prefix_max = EVENTLOG_NO_TIMESTAMP;
	cur->page_block = InvalidBlockNumber;
	cur->on_batch = false;
	return true;
}

/* Stand at the end of the current segment. */
static void
leave_segment(EventlogCursor *cur)
{
	cur->pos.block = cur->segment.end_block;
	cur->pos.byte = cur->segment.end_byte;
	cur->on_batch = false;
}

/*
 * The last page of the current segment that holds anything, or
 * InvalidBlockNumber.
 */
static BlockNumber
last_page(const EventlogCursor *cur)
{
	if (cur->segment.end_byte > EVENTLOG_PAYLOAD_START)
		return cur->segment.end_block;
	if (cur->segment.end_block > cur->segment.first_block)
		return cur->segment.end_block - 1;
	return InvalidBlockNumber;
}

/* ---- lost and found ---- */

static void
read_meta(EventlogCursor *cur)
{
	eventlog_storage_read_meta(cur->rel, &cur->meta, &cur->layout);
	cur->page_block = InvalidBlockNumber;
	cur->on_batch = false;
}

/*
 * The cursor is lost: see what the log is like now.  "offset" is where it was
 * going to read on.  That the same thing happens over and over is damage.
 */
static void
find_again(EventlogCursor *cur, int64 offset)
{
	int64		start = cur->meta.log_start_offset;
	uint32		layout = cur->layout;
	uint32		first = cur->meta.first_segment;
	uint32		active = cur->meta.active_segment;

	CHECK_FOR_INTERRUPTS();
	cur->lost = false;
	read_meta(cur);
	if (cur->meta.log_start_offset > offset && cur->meta.log_start_offset > start)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("records of partition \"%s\" were removed while they were read",
						RelationGetRelationName(cur->rel)),
				 errdetail("The read stood at offset %lld; the log now starts at %lld.",
						   (long long) offset, (long long) cur->meta.log_start_offset),
				 errhint("Read again, from the new log start.")));
	if (cur->layout == layout && cur->meta.first_segment == first &&
		cur->meta.active_segment == active)
	{
		cur->pos.offset = offset;
		eventlog_cursor_damaged(cur, "page belongs to another segment");
	}
}

/* ---- reading on behind damage ---- */

/*
 * Run a step of reading.  Returns NULL, or, if it met damage, what the error
 * says.  Damage is reported without any lock or pin held, so there is nothing
 * to clean up.
 */
static char *
try_reading(EventlogCursor *cur, void (*step) (EventlogCursor *cur))
{
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile message = NULL;

	cur->bad_block = InvalidBlockNumber;
	PG_TRY();
	{
		step(cur);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		if (geterrcode() != ERRCODE_DATA_CORRUPTED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		message = psprintf("%s", error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	return message;
}

/* ---- entries ---- */

/*
 * Go to the start of the next entry and decode its head.  False at the end
 * of the segment, and if the cursor is lost.  pos stays before the entry;
 * *next is the place behind it.
 */
static bool
read_head(EventlogCursor *cur, EventlogPos *next)
{
	uint16		start = eventlog_page_next_start(cur->pos.byte);
	uint64		block;
	uint64		byte;
	const char *problem;

	if (start == 0)
	{
		cur->pos.block++;
		cur->pos.byte = EVENTLOG_PAYLOAD_START;
	}
	if (cur->pos.block > cur->segment.end_block ||
		(cur->pos.block == cur->segment.end_block && cur->pos.byte >= cur->segment.end_byte))
		return false;

	if (!load_page(cur, cur->pos.block))
		return false;
	if (cur->pos.byte == cur->page_special.first_start)
		cur->prefix_max = cur->page_special.max_timestamp;
	cur->on_batch = false;
	if (cur->page_end < cur->pos.byte + EVENTLOG_ENTRY_HEAD)
		eventlog_cursor_damaged(cur, "page ends inside the head of an entry");
	memcpy(&cur->entry, cur->page + cur->pos.byte, sizeof(EventlogEntry));
	problem = eventlog_batch_parse_header(cur->page + cur->pos.byte + sizeof(EventlogEntry),
										  &cur->header);
	if (problem)
		eventlog_cursor_damaged(cur, problem);
	if (cur->entry.length != (uint32) cur->header.batch_length + 12)
		eventlog_cursor_damaged(cur, "entry and batch disagree about their length");
	if (cur->header.base_offset < cur->pos.offset)
		eventlog_cursor_damaged(cur, "offsets do not rise");

	next->segment = cur->pos.segment;
	next->offset = cur->header.base_offset + cur->header.last_offset_delta + 1;
	memset(next->pad, 0, sizeof(next->pad));
	block = cur->pos.block;
	byte = cur->pos.byte;
	eventlog_page_entry_end(&block, &byte, sizeof(EventlogEntry) + (uint64) cur->entry.length);
	if (block > cur->segment.end_block ||
		(block == cur->segment.end_block && byte > cur->segment.end_byte))
		eventlog_cursor_damaged(cur, "entry runs past the end of its segment");
	next->block = (BlockNumber) block;
	next->byte = (uint16) byte;
	return true;
}

/*
 * Stand on the entry that read_head() has found.
 */
static void
step_onto(EventlogCursor *cur, const EventlogPos *next)
{
	cur->batch_pos = cur->pos;
	cur->batch_pos.offset = cur->header.base_offset;
	cur->on_batch = true;
	cur->pos = *next;
	cur->prefix_before = cur->prefix_max;
	if (cur->header.max_timestamp > cur->prefix_max)
		cur->prefix_max = cur->header.max_timestamp;
}

/*
 * Have the bytes of the batch on which the cursor stands at hand.  False if
 * the cursor is lost.
 */
static bool
load_batch(EventlogCursor *cur)
{
	uint32		length = cur->entry.length;
	uint16		byte = cur->batch_pos.byte + sizeof(EventlogEntry);
	uint32		have = EVENTLOG_PAYLOAD_END - byte;
	BlockNumber block = cur->batch_pos.block;

	if (!load_page(cur, block))
		return false;
	if (byte + length <= EVENTLOG_PAYLOAD_END)
	{
		if (byte + length > cur->page_end)
			eventlog_cursor_damaged(cur, "page ends inside a batch");
		cur->batch = cur->page + byte;
		return true;
	}

	if (cur->page_end != EVENTLOG_PAYLOAD_END)
		eventlog_cursor_damaged(cur, "page ends inside a batch");
	cur->body.len = 0;
	eventlog_buf_reserve(&cur->body, length + BLCKSZ);
	memcpy(cur->body.data, cur->page + byte, have);
	while (have < length)
	{
		uint32		take = Min(length - have, (uint32) EVENTLOG_PAYLOAD_SIZE);

		CHECK_FOR_INTERRUPTS();
		block++;
		if (take == EVENTLOG_PAYLOAD_SIZE)
		{
			/* a page of this batch only goes where it is needed */
			EventlogPageSpecial special;
			uint16		end;

			read_block(cur, block, cur->body.data + have, &special, &end);
			if (!same_segment(cur, &special))
				return false;
			if (end != EVENTLOG_PAYLOAD_END)
				eventlog_cursor_damaged(cur, "page ends inside a batch");
		}
		else
		{
			if (!load_page(cur, block))
				return false;
			if (cur->page_end < EVENTLOG_PAYLOAD_START + take)
				eventlog_cursor_damaged(cur, "page ends inside a batch");
			memcpy(cur->body.data + have, cur->page + EVENTLOG_PAYLOAD_START, take);
		}
		have += take;
	}
	cur->batch = cur->body.data;
	return true;
}

/*
 * Read the records of the batch on which the cursor stands.  Has it been
 * rewritten meanwhile, the cursor moves to where it is now, or, if nothing is
 * left of it, to the next one; at the end of the log to one without records.
 */
static void
read_batch(EventlogCursor *cur)
{
	const char *problem;

	while (!load_batch(cur))
	{
		int64		offset = cur->batch_pos.offset;

		find_again(cur, offset);
		eventlog_cursor_seek(cur, offset);
		if (!eventlog_cursor_next_seen(cur))
		{
			memset(&cur->reader, 0, sizeof(cur->reader));
			return;
		}
	}
	problem = eventlog_batch_open(&cur->reader, cur->batch, cur->entry.length, &cur->scratch);
	if (problem)
		eventlog_cursor_damaged(cur, problem);
}

void
eventlog_cursor_read(EventlogCursor *cur)
{
	char	   *message;

	if (likely(!eventlog_skip_damaged_records))
	{
		read_batch(cur);
		return;
	}
	message = try_reading(cur, read_batch);
	if (message != NULL)
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s", message),
				 errdetail("Skipped offsets %lld to %lld.", (long long) cur->header.base_offset,
						   (long long) (cur->header.base_offset + cur->header.last_offset_delta))));
		memset(&cur->reader, 0, sizeof(cur->reader));
	}
}

/* ---- moves ---- */

EventlogCursor *
eventlog_cursor_open(Relation rel, Snapshot snapshot, bool stop_at_lso)
{
	EventlogCursor *cur = palloc0(sizeof(EventlogCursor));

	cur->rel = rel;
	cur->snapshot = snapshot;
	cur->stop_at_lso = stop_at_lso;
	cur->limit_block = InvalidBlockNumber;
	cur->bad_block = InvalidBlockNumber;
	cur->min_time = PG_INT64_MIN;
	cur->max_time = PG_INT64_MAX;
	cur->page = palloc(BLCKSZ);
	cur->page_block = InvalidBlockNumber;
	eventlog_buf_reserve(&cur->body, 1024);
	eventlog_buf_reserve(&cur->scratch, 1024);
	read_meta(cur);
	while (!enter_segment(cur, cur->meta.first_segment))
		find_again(cur, cur->meta.log_start_offset);
	return cur;
}

void
eventlog_cursor_close(EventlogCursor *cur)
{
	eventlog_buf_free(&cur->body);
	eventlog_buf_free(&cur->scratch);
	pfree(cur->page);
	pfree(cur);
}

void
eventlog_cursor_refresh(EventlogCursor *cur, Snapshot snapshot)
{
	EventlogPos pos = cur->pos;
	uint32		layout = cur->layout;

	cur->snapshot = snapshot;
	cur->judged_xid = InvalidTransactionId;
	cur->stopped = false;
	read_meta(cur);
	if (cur->layout != layout || pos.segment < cur->meta.first_segment ||
		!eventlog_storage_read_segment(cur->rel, &cur->meta, cur->layout, pos.segment, &cur->segment))
		eventlog_cursor_seek(cur, pos.offset);
}

/* Step onto the next entry; on_batch says whether there is one. */
static void
next_head(EventlogCursor *cur)
{
	EventlogPos next;

	while (!read_head(cur, &next))
	{
		int64		offset = cur->pos.offset;

		if (!cur->lost)
		{
			if (cur->pos.segment == cur->meta.active_segment ||
				cur->limit_block != InvalidBlockNumber)
			{
				cur->on_batch = false;
				return;
			}
			(void) enter_segment(cur, cur->pos.segment + 1);
		}
		if (cur->lost)
		{
			find_again(cur, offset);
			eventlog_cursor_seek(cur, offset);
		}
	}
	if (cur->limit_block != InvalidBlockNumber && cur->pos.block > cur->limit_block)
	{
		cur->on_batch = false;
		return;
	}
	step_onto(cur, &next);
}

/*
 * Stand on the next page of the segment, behind the damage, that is sound and
 * on which an entry starts; else at the segment's end.
 */
static void
skip_damage(EventlogCursor *cur, const char *message)
{
	int64		from = cur->pos.offset;
	BlockNumber block = cur->bad_block != InvalidBlockNumber ? cur->bad_block : cur->pos.block;

	/* not in this segment: there is no way around it */
	if (cur->pos.block == cur->segment.end_block && cur->pos.byte == cur->segment.end_byte)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s", message),
				 errhint("Restore the relation from a backup.")));

	cur->bad_block = InvalidBlockNumber;
	cur->page_block = InvalidBlockNumber;
	cur->on_batch = false;
	for (block++; last_page(cur) != InvalidBlockNumber && block <= last_page(cur); block++)
	{
		EventlogPageSpecial special;
		uint16		end;

		CHECK_FOR_INTERRUPTS();
		if (eventlog_storage_read_page(cur->rel, block, cur->strategy, EVENTLOG_PAYLOAD_END,
									   NULL, &special, &end) == NULL &&
			same_segment(cur, &special) && special.first_start >= EVENTLOG_PAYLOAD_START &&
			special.first_start < end && special.first_offset >= from &&
			(block != cur->segment.end_block || special.first_start < cur->segment.end_byte))
		{
			cur->pos.block = block;
			cur->pos.byte = special.first_start;
			cur->pos.offset = special.first_offset;
			break;
		}
		cur->lost = false;
	}
	if (cur->pos.offset == from)
		leave_segment(cur);
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("%s", message),
			 cur->pos.offset > from ?
			 errdetail("Skipped offsets %lld to %lld.", (long long) from, (long long) (cur->pos.offset - 1)) :
			 errdetail("Skipped the rest of the segment, from offset %lld on.", (long long) from)));
}

bool
eventlog_cursor_next_head(EventlogCursor *cur)
{
	char	   *message;

	if (likely(!eventlog_skip_damaged_records))
		next_head(cur);
	else
	{
		while ((message = try_reading(cur, next_head)) != NULL)
			skip_damage(cur, message);
	}
	return cur->on_batch;
}

bool
eventlog_cursor_next(EventlogCursor *cur)
{
	if (!eventlog_cursor_next_seen(cur))
		return false;
	eventlog_cursor_read(cur);
	return true;
}

bool
eventlog_cursor_next_seen(EventlogCursor *cur)
{
	while (eventlog_cursor_next_head(cur))
	{
		EventlogVisibility state;

		CHECK_FOR_INTERRUPTS();

		/* can only later records follow in this segment? */
		if (cur->max_time != PG_INT64_MAX &&
			cur->prefix_before > cur->max_time &&
			cur->prefix_before - cur->max_time > cur->segment.disorder &&
			cur->limit_block == InvalidBlockNumber)
		{
			leave_segment(cur);
			continue;
		}

		state = eventlog_visibility(cur);
		if (state == EVENTLOG_RUNNING && cur->stop_at_lso)
		{
			cur->pos = cur->batch_pos;	/* look at it again next time */
			cur->on_batch = false;
			cur->stopped = true;
			return false;
		}
		if (state == EVENTLOG_SEEN &&
			cur->header.base_offset + cur->header.last_offset_delta >= cur->meta.log_start_offset &&
			cur->header.max_timestamp >= cur->min_time)
			return true;
	}
	return false;
}

/*
 * Find the last entry of the current segment that starts before (block, byte)
 * and step onto it.  False if there is none, or the cursor is lost.
 */
static bool
step_back(EventlogCursor *cur, BlockNumber block, uint16 byte)
{
	BlockNumber last = last_page(cur);

	if (last == InvalidBlockNumber)
		return false;
	if (block > last)
	{
		block = last;
		byte = PG_UINT16_MAX;
	}
	for (;; byte = PG_UINT16_MAX)
	{
		EventlogPos next,
					found;
		bool		any = false;

		if (!load_page(cur, block))
			return false;
		cur->pos.block = block;
		cur->pos.byte = page_first_start(cur);
		cur->pos.offset = cur->page_special.first_offset;
		if (cur->pos.byte != 0 && cur->pos.byte < byte)
		{
			found = cur->pos;
			while (read_head(cur, &next))
			{
				if (cur->pos.block != block || cur->pos.byte >= byte)
					break;
				found = cur->pos;
				any = true;
				cur->pos = next;
			}
			if (cur->lost)
				return false;
		}
		if (any)
		{
			cur->pos = found;
			if (!read_head(cur, &next))
				return false;	/* lost */
			step_onto(cur, &next);
			return true;
		}
		if (block == cur->segment.first_block)
			return false;
		CHECK_FOR_INTERRUPTS();
		block--;
	}
}

bool
eventlog_cursor_prev(EventlogCursor *cur)
{
	EventlogPos from = cur->on_batch ? cur->batch_pos : cur->pos;

	for (;;)
	{
		if (!step_back(cur, from.block, from.byte))
		{
			uint32		number = from.segment;

			if (!cur->lost)
			{
				if (number <= cur->meta.first_segment)
				{
					if (enter_segment(cur, number))
						return false;
				}
				else if (enter_segment(cur, number - 1))
				{
					leave_segment(cur);
					cur->pos.offset = from.offset;	/* for who gets lost here */
					from = cur->pos;
					continue;
				}
			}
			find_again(cur, from.offset);
			eventlog_cursor_seek(cur, from.offset);
			from = cur->pos;
			continue;
		}
		from = cur->batch_pos;
		if (cur->header.base_offset + cur->header.last_offset_delta < cur->meta.log_start_offset)
			continue;
		if (eventlog_visibility(cur) == EVENTLOG_SEEN && cur->header.max_timestamp >= cur->min_time)
		{
			eventlog_cursor_read(cur);
			if (cur->on_batch && cur->header.base_offset == from.offset)
				return true;

			/* nothing is left of it, and the next one is not what we want */
			eventlog_cursor_seek(cur, from.offset);
			from = cur->pos;
		}
	}
}

/* ---- seeking ---- */

/* Times that search_pages() guesses, before it halves. */
#define GUESSES		6

/*
 * Stand on the right page of the current segment: the last one for which
 * "before" holds of its special area, else the first page.  False if the
 * cursor is lost.
 */
static bool
search_pages(EventlogCursor *cur, bool by_time, int64 target)
{
	BlockNumber lo = cur->segment.first_block;
	BlockNumber hi = last_page(cur);
	double		lo_key = 0,
				hi_key = 0;
	bool		has_lo,
				has_hi;

	if (hi == InvalidBlockNumber)
		return true;

	/*
	 * Offsets spread evenly over most logs, and times over many, so guess
	 * where the target lies between the known ends; when guesses have not
	 * settled it, halve.
	 */
	has_lo = !by_time;
	if (has_lo)
		lo_key = (double) cur->segment.base_offset;
	if (by_time)
	{
		has_hi = true;
		hi_key = (double) Max(cur->segment.max_timestamp, target);
	}
	else if (cur->pos.segment == cur->meta.active_segment)
	{
		has_hi = true;
		hi_key = (double) cur->meta.next_offset;
	}
	else
	{
		EventlogSegment next;

		has_hi = eventlog_storage_read_segment(cur->rel, &cur->meta, cur->layout,
											   cur->pos.segment + 1, &next);
		if (has_hi)
			hi_key = (double) next.base_offset;
	}
	for (int round = 0; lo < hi; round++)
	{
		BlockNumber mid = lo + (hi - lo + 1) / 2;
		EventlogPageSpecial special;
		BlockNumber probe;
		const char *problem;
		uint16		end;
		int64		key;
		bool		before;

		if (has_lo && has_hi && round < GUESSES && hi_key > lo_key && (double) target > lo_key)
		{
			double		part = Min(((double) target - lo_key) / (hi_key - lo_key), 1);
			BlockNumber guess = lo + (BlockNumber) (part * (hi - lo));

			/* lean over the target's sides by turns, to close in from both */
			guess += (round & 1) ? 2 : 0;
			mid = Max(lo + 1, Min(guess, hi));
		}

		/* a page that cannot be read does not say: the next one may */
		probe = mid;
		while ((problem = eventlog_storage_read_page(cur->rel, probe, cur->strategy,
													 EVENTLOG_PAYLOAD_END, NULL,
													 &special, &end)) != NULL && probe < hi)
			probe++;
		if (problem)
		{
			hi = mid - 1;
			continue;
		}
		mid = probe;
		if (!same_segment(cur, &special))
			return false;
		key = by_time ? special.max_timestamp : special.first_offset;
		before = by_time ? key < target : key <= target;
		if (mid == cur->segment.end_block &&
			(special.first_start == 0 || special.first_start >= cur->segment.end_byte))
			before = false;		/* nothing starts there yet */
		if (before)
		{
			lo = mid;
			lo_key = (double) key;
			has_lo = (!by_time || key != EVENTLOG_NO_TIMESTAMP);
		}
		else
		{
			hi = mid - 1;
			hi_key = (double) Max(key, target);
			has_hi = true;
		}
	}
	if (!load_page(cur, lo))
		return false;
	/* a gap in the offsets follows a batch that fills pages */
	if (page_first_start(cur) == 0 && lo < last_page(cur) && !load_page(cur, ++lo))
		return false;
	cur->pos.block = lo;
	cur->pos.byte = page_first_start(cur);
	cur->pos.offset = cur->page_special.first_offset;
	if (cur->pos.byte == 0)
		leave_segment(cur);
	return true;
}

/* eventlog_cursor_seek(), once; false if the cursor is lost. */
static bool
seek(EventlogCursor *cur, int64 offset)
{
	uint32		lo = cur->meta.first_segment;
	uint32		hi = cur->meta.active_segment;
	EventlogPos next;

	if (offset >= cur->meta.next_offset)
	{
		eventlog_cursor_seek_end(cur);
		return true;
	}
	if (offset >= cur->meta.active.base_offset)
		lo = hi;
	while (lo < hi)
	{
		uint32		mid = lo + (hi - lo + 1) / 2;
		EventlogSegment segment;

		if (!eventlog_storage_read_segment(cur->rel, &cur->meta, cur->layout, mid, &segment))
			cur->lost = true;
		if (cur->lost)
			return false;
		if (segment.base_offset <= offset)
			lo = mid;
		else
			hi = mid - 1;
	}
	if (!enter_segment(cur, lo) || !search_pages(cur, false, offset))
		return false;
	while (read_head(cur, &next) && next.offset <= offset)
		step_onto(cur, &next);
	cur->on_batch = false;
	return !cur->lost;
}

void
eventlog_cursor_seek(EventlogCursor *cur, int64 offset)
{
	cur->stopped = false;
	cur->limit_block = InvalidBlockNumber;
	while (!seek(cur, offset))
		find_again(cur, offset);
}

/* eventlog_cursor_seek_time(), once; false if the cursor is lost. */
static bool
seek_time(EventlogCursor *cur, int64 time_ms)
{
	for (uint32 number = cur->meta.first_segment;; number++)
	{
		if (!enter_segment(cur, number))
			return false;
		if (cur->segment.max_timestamp >= time_ms)
			return search_pages(cur, true, time_ms);
		if (number == cur->meta.active_segment)
		{
			leave_segment(cur);
			return true;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

void
eventlog_cursor_seek_time(EventlogCursor *cur, int64 time_ms)
{
	cur->stopped = false;
	cur->limit_block = InvalidBlockNumber;
	while (!seek_time(cur, time_ms))
		find_again(cur, cur->meta.next_offset);
}

void
eventlog_cursor_seek_behind(EventlogCursor *cur, int64 offset)
{
	EventlogPos next;

	do
	{
		eventlog_cursor_seek(cur, offset);
		if (read_head(cur, &next) && cur->header.base_offset <= offset)
			cur->pos = next;
		if (cur->lost)
			find_again(cur, offset);
		else
			break;
	} while (true);
}

void
eventlog_cursor_seek_end(EventlogCursor *cur)
{
	cur->stopped = false;
	cur->limit_block = InvalidBlockNumber;
	(void) enter_segment(cur, cur->meta.active_segment);
	leave_segment(cur);
	cur->pos.offset = cur->meta.next_offset;
}

void
eventlog_cursor_seek_segment(EventlogCursor *cur, uint32 segment)
{
	cur->stopped = false;
	cur->limit_block = InvalidBlockNumber;
	if (!enter_segment(cur, segment))
		elog(ERROR, "segment %u of \"%s\" is not there", segment, RelationGetRelationName(cur->rel));
}

/* Enter a segment; does the block lie in it? */
static bool
enter_if_holds(EventlogCursor *cur, uint32 number, BlockNumber block)
{
	return enter_segment(cur, number) &&
		block >= cur->segment.first_block && block <= cur->segment.end_block;
}

/*
 * Enter the segment that holds a block.  ANALYZE asks for blocks in rising
 * order, and most segments lie in the order of their numbers: so look where
 * the last block was, and behind it, before looking through all of them.
 */
static bool
enter_segment_of(EventlogCursor *cur, BlockNumber block)
{
	uint32		here = cur->pos.segment;

	if (enter_if_holds(cur, here, block) ||
		(here < cur->meta.active_segment && enter_if_holds(cur, here + 1, block)))
		return true;
	for (uint32 number = cur->meta.active_segment; number + 1 > cur->meta.first_segment; number--)
	{
		if (enter_if_holds(cur, number, block))
			return true;
		if (number == 0)
			break;
	}
	return false;
}

bool
eventlog_cursor_seek_physical(EventlogCursor *cur, BlockNumber block)
{
	bool		found;

	cur->stopped = false;
	found = enter_segment_of(cur, block) &&
		last_page(cur) != InvalidBlockNumber && block <= last_page(cur) &&
		load_page(cur, block) && page_first_start(cur) != 0;
	cur->lost = false;
	if (!found)
		return false;
	cur->pos.block = block;
	cur->pos.byte = page_first_start(cur);
	cur->pos.offset = cur->page_special.first_offset;
	cur->limit_block = block;
	return true;
}

/* ---- last stable offset ---- */

int64
eventlog_scan_lso(Relation rel, Snapshot snapshot, TransactionId *holder)
{
	EventlogCursor *cur = eventlog_cursor_open(rel, snapshot, true);
	EventlogPos start = cur->meta.resolved;
	int64		lso;

	if (start.offset < cur->meta.frozen.offset)
		start = cur->meta.frozen;
	if (start.segment >= cur->meta.first_segment)
	{
		if (enter_segment(cur, start.segment))
			cur->pos = start;
		else
		{
			find_again(cur, start.offset);
			eventlog_cursor_seek(cur, start.offset);
		}
	}
	if (holder)
		*holder = InvalidTransactionId;
	lso = cur->meta.next_offset;
	while (eventlog_cursor_next_head(cur))
	{
		TransactionId xmin = cur->entry.xmin;

		CHECK_FOR_INTERRUPTS();
		if (cur->header.base_offset < cur->meta.frozen.offset || xmin == cur->judged_xid)
			continue;
		if (TransactionIdIsCurrentTransactionId(xmin) || XidInMVCCSnapshot(xmin, snapshot))
		{
			cur->pos = cur->batch_pos;
			lso = cur->header.base_offset;
			if (holder)
				*holder = xmin;
			break;
		}
		cur->judged_xid = xmin;
	}
	if (cur->pos.offset > start.offset + 1000)
		eventlog_storage_hint_resolved(rel, &cur->pos, cur->layout);
	eventlog_cursor_close(cur);
	return lso;
}

int64
eventlog_scan_lso_now(Relation rel, TransactionId *holder)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int64		lso = eventlog_scan_lso(rel, snapshot, holder);

	UnregisterSnapshot(snapshot);
	return lso;
}
