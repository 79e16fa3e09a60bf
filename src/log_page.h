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
