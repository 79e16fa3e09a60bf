/*-------------------------------------------------------------------------
 *
 * segment.h
 *	  A segment in memory, for tests without a server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_SEGMENT_H
#define EVENTLOG_SEGMENT_H

#include "fuzz.h"
#include "log_page.h"

typedef struct TestSegment
{
	EventlogSegment segment;	/* closed; end_block and end_byte are the tail */
	uint32		incarnation;
	int64		next_offset;
	char	   *pages;			/* block segment.first_block and following */
	int			npages;
	int			cap;
} TestSegment;

extern void segment_begin(TestSegment *s);
extern void segment_free(TestSegment *s);

static inline char *
segment_page(const TestSegment *s, BlockNumber block)
{
	return s->pages + (size_t) (block - s->segment.first_block) * BLCKSZ;
}

/*
 * Append what the server would append.  With finish false the tail stays where
 * it was, as after a crash before the last WAL record.
 */
extern void segment_append(TestSegment *s, char *batch, size_t len, int64 skip_offsets,
						   bool finish);

/*
 * Append a batch of "count" records whose values have "value_len" bytes, first
 * of which is a number that tells them apart.
 */
extern void segment_append_records(TestSegment *s, int count, int value_len,
								   EventlogCodec codec, int64 timestamp,
								   int64 skip_offsets, bool finish);

/* Bytes of payload that are left on the tail page. */
extern int	segment_room(const TestSegment *s);

/* An entry of one record that takes exactly this many bytes. */
extern void segment_fill(TestSegment *s, int bytes, int64 timestamp);

#endif							/* EVENTLOG_SEGMENT_H */
