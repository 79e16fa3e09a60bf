/*-------------------------------------------------------------------------
 *
 * log_page.c
 *	  One page of a partition's file: initialise, check, find, append.
 *
 * Works on page images only: takes no lock, writes no WAL, does not allocate
 * and does not raise, so all of it may run inside a critical section and in
 * redo.  The caller holds the page's exclusive lock where it writes.
 *
 * Invariants: payload lies below pd_lower (what lies between pd_lower and
 * pd_upper is lost in full-page images and in CREATE DATABASE's copy); the
 * special area never changes its size.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "log_page.h"

StaticAssertDecl(sizeof(EventlogPageSpecial) == 32, "page special area has changed its size");
StaticAssertDecl(sizeof(EventlogEntry) == 16, "entry header has changed its size");
StaticAssertDecl(sizeof(EventlogPos) == 24, "a position has changed its size");

/*
 * Make an empty page.  Also resets a page that was something else before.
 */
void
eventlog_page_init(Page page, uint16 page_id, uint32 incarnation, uint32 generation)
{
	EventlogPageSpecial *special;

	PageInit(page, BLCKSZ, sizeof(EventlogPageSpecial));
	special = EventlogPageGetSpecial(page);
	special->first_offset = 0;
	special->max_timestamp = EVENTLOG_NO_TIMESTAMP;
	special->generation = generation;
	special->incarnation = incarnation;
	special->first_start = 0;
	special->reserved = 0;
	special->version = EVENTLOG_FORMAT_VERSION;
	special->page_id = page_id;
}

/*
 * A batch with this base offset starts at this byte.  A start that was noted
 * at or behind it is left over from an append that did not finish.
 */
void
eventlog_page_note_start(Page page, uint16 byte, int64 base_offset)
{
	EventlogPageSpecial *special = EventlogPageGetSpecial(page);

	if (special->first_start == 0 || special->first_start >= byte)
	{
		special->first_start = byte;
		special->first_offset = base_offset;
	}
}

/*
 * Put bytes where they belong.  pd_lower follows even downwards: what lay
 * behind was left over.
 */
void
eventlog_page_put(Page page, uint16 byte, const char *data, int len)
{
	Assert(byte >= EVENTLOG_PAYLOAD_START && byte + len <= EVENTLOG_PAYLOAD_END);

	memcpy((char *) page + byte, data, len);
	((PageHeader) page)->pd_lower = byte + len;
}

/*
 * Begin a data page that takes part of an entry.  "continues" says that the
 * entry started on an earlier page.
 */
void
eventlog_page_begin(Page page, const xl_eventlog_append_init *init, bool continues)
{
	EventlogPageSpecial *special;

	eventlog_page_init(page, EVENTLOG_PAGE_DATA, init->incarnation, init->generation);
	special = EventlogPageGetSpecial(page);
	special->first_offset = init->next_offset;
	special->max_timestamp = continues ? init->max_timestamp_after : init->max_timestamp;
}

/*
 * Can an entry with this batch be logged as EVENTLOG_APPEND_SINGLE?
 */
bool
eventlog_entry_is_single(const EventlogBatchHeader *header)
{
	return header->count == 1 && header->last_offset_delta == 0 &&
		header->max_timestamp == header->base_timestamp &&
		header->producer_id == -1 && header->producer_epoch == -1 &&
		header->base_sequence == -1;
}

/*
 * Put back what EVENTLOG_APPEND_SINGLE left out of an entry.  Returns the
 * length of the whole entry.
 */
int
eventlog_entry_expand_single(char *dst, const char *logged, int len)
{
	static const char one[4] = {0, 0, 0, 1};
	const int	head1 = sizeof(EventlogEntry) + EVENTLOG_SINGLE_GAP1_FROM;
	const int	gap1 = EVENTLOG_SINGLE_GAP1_TO - EVENTLOG_SINGLE_GAP1_FROM;
	const int	base_timestamp = EVENTLOG_SINGLE_GAP2_FROM - EVENTLOG_SINGLE_GAP1_TO;
	char	   *p = dst;

	memcpy(p, logged, head1);
	p += head1;
	memset(p, 0, gap1);			/* last offset delta */
	p += gap1;
	memcpy(p, logged + head1, base_timestamp);
	p += base_timestamp;
	memcpy(p, logged + head1, base_timestamp);	/* max timestamp */
	p += base_timestamp;
	memset(p, 0xFF, 14);		/* producer id, epoch, sequence: -1 */
	p += 14;
	memcpy(p, one, sizeof(one));	/* count */
	p += sizeof(one);
	Assert(p - dst == EVENTLOG_ENTRY_HEAD);
	memcpy(p, logged + head1 + base_timestamp, len - head1 - base_timestamp);
	return EVENTLOG_ENTRY_HEAD + len - head1 - base_timestamp;
}

/*
 * Mark the entry at this byte aborted.
 */
void
eventlog_page_mark_aborted(Page page, uint16 byte)
{
	EventlogEntry entry;
	char	   *at = (char *) page + byte;

	memcpy(&entry, at, sizeof(entry));	/* entries are not aligned */
	entry.flags |= EVENTLOG_ENTRY_ABORTED;
	memcpy(at, &entry, sizeof(entry));
}

/*
 * Enter a closed segment on its map page.
 */
void
eventlog_page_put_segment(Page page, uint32 number, const EventlogSegment *segment)
{
	int			index = number % EVENTLOG_SEGMENTS_PER_MAP;

	EventlogPageGetSegments(page)[index] = *segment;
	((PageHeader) page)->pd_lower =
		EVENTLOG_PAYLOAD_START + (index + 1) * sizeof(EventlogSegment);
}

/*
 * Replace the entry of a closed segment that is on the page already.
 */
void
eventlog_page_set_segment(Page page, uint32 number, const EventlogSegment *segment)
{
	EventlogPageGetSegments(page)[number % EVENTLOG_SEGMENTS_PER_MAP] = *segment;
}

const char *
eventlog_page_check(Page page, uint16 page_id)
{
	EventlogPageSpecial *special;

	if (PageIsNew(page))
		return "page is empty";
	/* before anything is read there */
	if (PageGetPageSize(page) != BLCKSZ ||
		((PageHeader) page)->pd_special != EVENTLOG_PAYLOAD_END)
		return "special area has a wrong size";
	special = EventlogPageGetSpecial(page);
	if (special->page_id != page_id)
		return "page is of another kind";
	if (special->version != EVENTLOG_FORMAT_VERSION &&
		!(page_id == EVENTLOG_PAGE_META && special->version == EVENTLOG_META_VERSION))
		return "format version is unknown";
	if (page_id == EVENTLOG_PAGE_META &&
		EventlogPageGetMeta(page)->head.magic != EVENTLOG_MAGIC)
		return "magic number is wrong";
	return NULL;
}
