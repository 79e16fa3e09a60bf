/*-------------------------------------------------------------------------
 *
 * log_page.h
 *	  One page of a partition's file: initialise, check, find, append.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_PAGE_H
#define EVENTLOG_LOG_PAGE_H

#include "log_format.h"

#define EventlogPageGetSpecial(page) \
	((EventlogPageSpecial *) PageGetSpecialPointer(page))
#define EventlogPageGetMeta(page) \
	((EventlogMeta *) ((char *) (page) + EVENTLOG_PAYLOAD_START))
#define EventlogPageGetSegments(page) \
	((EventlogSegment *) ((char *) (page) + EVENTLOG_PAYLOAD_START))

/*
 * Where the entry after one that ends at "byte" starts, if on the same page;
 * 0 if it starts on the next one.
 */
static inline uint16
eventlog_page_next_start(int byte)
{
	return byte + EVENTLOG_ENTRY_HEAD <= EVENTLOG_PAYLOAD_END ? (uint16) byte : 0;
}

/*
 * Where an entry of this many bytes ends that starts at *byte of *block: both
 * move to the place behind its last byte, which is never a page's first.
 */
static inline void
eventlog_page_entry_end(uint64 *block, uint64 *byte, uint64 size)
{
	if (*byte + size <= EVENTLOG_PAYLOAD_END)
		*byte += size;
	else
	{
		size -= EVENTLOG_PAYLOAD_END - *byte;
		*block += 1 + (size - 1) / EVENTLOG_PAYLOAD_SIZE;
		*byte = EVENTLOG_PAYLOAD_START + 1 + (size - 1) % EVENTLOG_PAYLOAD_SIZE;
	}
}

extern void eventlog_page_init(Page page, uint16 page_id, uint32 incarnation,
							   uint32 generation);
extern void eventlog_page_note_start(Page page, uint16 byte, int64 base_offset);
extern void eventlog_page_put(Page page, uint16 byte, const char *data, int len);

extern void eventlog_page_begin(Page page, const xl_eventlog_append_init *init,
								bool continues);
extern bool eventlog_entry_is_single(const EventlogBatchHeader *header);
extern int	eventlog_entry_expand_single(char *dst, const char *logged, int len);
extern void eventlog_page_mark_aborted(Page page, uint16 byte);
extern void eventlog_page_put_segment(Page page, uint32 number,
									  const EventlogSegment *segment);
extern void eventlog_page_set_segment(Page page, uint32 number,
									  const EventlogSegment *segment);

/* NULL if the page is a good one of that kind, else what is wrong. */
extern const char *eventlog_page_check(Page page, uint16 page_id);

#endif							/* EVENTLOG_LOG_PAGE_H */
