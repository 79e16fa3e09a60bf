/*-------------------------------------------------------------------------
 *
 * segment.c
 *	  A segment in memory, for tests without a server.
 *
 * Pages are made by log_page.c's functions, in the order in which
 * log_storage.c calls them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "segment.h"

void
segment_begin(TestSegment *s)
{
	memset(s, 0, sizeof(*s));
	s->incarnation = FUZZ_WALK_INCARNATION;
	s->next_offset = FUZZ_WALK_BASE_OFFSET;
	s->segment.base_offset = FUZZ_WALK_BASE_OFFSET;
	s->segment.max_timestamp = EVENTLOG_NO_TIMESTAMP;
	s->segment.first_block = FUZZ_WALK_FIRST_BLOCK;
	s->segment.end_block = FUZZ_WALK_FIRST_BLOCK;
	s->segment.end_byte = EVENTLOG_PAYLOAD_START;
	s->segment.generation = FUZZ_WALK_GENERATION;
	s->segment.state = EVENTLOG_SEGMENT_CLOSED;
}

void
segment_free(TestSegment *s)
{
	free(s->pages);
	memset(s, 0, sizeof(*s));
}

static void
need_page(TestSegment *s, BlockNumber block)
{
	int			n = block - s->segment.first_block + 1;

	if (n > s->cap)
	{
		s->pages = pg_realloc(s->pages, (size_t) n * 2 * BLCKSZ);
		memset(s->pages + (size_t) s->cap * BLCKSZ, 0, (size_t) (n * 2 - s->cap) * BLCKSZ);
		s->cap = n * 2;
	}
	s->npages = Max(s->npages, n);
}

void
segment_append(TestSegment *s, char *batch, size_t len, int64 skip_offsets, bool finish)
{
	EventlogSegment *segment = &s->segment;
	EventlogBatchHeader header;
	EventlogEntry entry = {0};
	xl_eventlog_append_init init;
	int64		base_offset = s->next_offset + skip_offsets;
	BlockNumber block = segment->end_block;
	uint16		byte = eventlog_page_next_start(segment->end_byte);
	size_t		size = sizeof(entry) + len;
	size_t		pos = 0;
	char	   *bytes = pg_malloc(size);

	CHECK(eventlog_batch_parse_header(batch, &header) == NULL);
	eventlog_batch_set_base(batch, base_offset, 1);
	entry.length = len;
	entry.xmin = 700;
	memcpy(bytes, &entry, sizeof(entry));
	memcpy(bytes + sizeof(entry), batch, len);

	init.incarnation = s->incarnation;
	init.generation = segment->generation;
	init.next_offset = base_offset + header.last_offset_delta + 1;
	init.max_timestamp = segment->max_timestamp;
	init.max_timestamp_after = Max(segment->max_timestamp, header.max_timestamp);

	if (byte == 0)
	{
		block++;
		byte = EVENTLOG_PAYLOAD_START;
	}
	for (;;)
	{
		size_t		room = EVENTLOG_PAYLOAD_END - byte;
		Page		page;

		need_page(s, block);
		page = segment_page(s, block);
		if (byte == EVENTLOG_PAYLOAD_START)
			eventlog_page_begin(page, &init, pos > 0);
		if (pos == 0)
			eventlog_page_note_start(page, byte, base_offset);
		room = Min(room, size - pos);
		eventlog_page_put(page, byte, bytes + pos, room);
		pos += room;
		byte += room;
		if (pos == size)
			break;
		block++;
		byte = EVENTLOG_PAYLOAD_START;
	}
	free(bytes);
	if (!finish)
		return;
	segment->max_timestamp = init.max_timestamp_after;
	segment->end_block = block;
	segment->end_byte = byte;
	s->next_offset = init.next_offset;
}

void
segment_append_records(TestSegment *s, int count, int value_len, EventlogCodec codec,
					   int64 timestamp, int64 skip_offsets, bool finish)
{
	EventlogBatchBuilder b = {{0}};
	EventlogBuf scratch = {0};
	char	   *value = pg_malloc(Max(value_len, 1));
	char	   *data;
	size_t		len;

	memset(value, 'x', Max(value_len, 1));
	eventlog_batch_begin(&b);
	for (int i = 0; i < count; i++)
	{
		EventlogRecord rec = {0};

		value[0] = (char) (s->next_offset + i);
		rec.timestamp = timestamp + i;
		rec.key = "key";
		rec.key_len = 3;
		rec.value = value;
		rec.value_len = value_len;
		eventlog_batch_add(&b, &rec, i);
	}
	CHECK(eventlog_batch_finish(&b, codec, false, 0, &scratch, &data, &len) == NULL);
	segment_append(s, data, len, skip_offsets, finish);
	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&scratch);
	free(value);
}

int
segment_room(const TestSegment *s)
{
	return EVENTLOG_PAYLOAD_END - s->segment.end_byte;
}

/* Bytes of a length as a varint. */
static int
length_size(int v)
{
	return v < 64 ? 1 : v < 8192 ? 2 : 3;
}

void
segment_fill(TestSegment *s, int bytes, int64 timestamp)
{
	BlockNumber block = s->segment.end_block;
	int			byte = eventlog_page_next_start(s->segment.end_byte);
	int			value_len = bytes - EVENTLOG_ENTRY_HEAD;
	int			size;
	int			took;

	do
	{
		value_len--;
		/* attributes, two deltas, key, value, number of headers */
		size = 1 + 1 + 1 + 1 + 3 + length_size(value_len) + value_len + 1;
		size += length_size(size) + EVENTLOG_ENTRY_HEAD;
	} while (size > bytes);
	if (byte == 0)
	{
		block++;
		byte = EVENTLOG_PAYLOAD_START;
	}
	segment_append_records(s, 1, value_len, EVENTLOG_CODEC_NONE, timestamp, 0, true);
	took = (int) (s->segment.end_block - block) * EVENTLOG_PAYLOAD_SIZE +
		(s->segment.end_byte - byte);
	CHECK(took == bytes);
}
