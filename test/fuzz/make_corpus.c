/*-------------------------------------------------------------------------
 *
 * make_corpus.c
 *	  The inputs with which the fuzzers begin.
 *
 *	make_corpus CORPUS KAFKA		writes CORPUS/batch/ and CORPUS/walk/;
 *									KAFKA is test/data/kafka
 *
 * Batches are some that Kafka wrote and some of ours, for each first byte that
 * fuzz_batch.c knows; segments are small ones with an entry of each kind.
 * Inputs that a fuzzer has found are kept beside these, under other names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "segment.h"

/* batches that are taken from each of Kafka's segments */
#define BATCHES_OF_A_FILE	3

static const char *corpus;

static void
write_input(const char *kind, const char *name, const char *head, size_t head_len,
			const char *data, size_t len)
{
	char		path[MAXPGPATH];
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/%s/%s", corpus, kind, name);
	f = fopen(path, "wb");
	if (f == NULL ||
		fwrite(head, 1, head_len, f) != head_len ||
		fwrite(data, 1, len, f) != len ||
		fclose(f) != 0)
	{
		fprintf(stderr, "could not write \"%s\": %m\n", path);
		exit(2);
	}
}

/* ---- batches ---- */

static void
write_batch(const char *name, char what, const char *batch, size_t len)
{
	write_input("batch", name, &what, 1, batch, len);
}

static void
batches_of_kafka(const char *dir)
{
	static const char *const files[] = {
		"none", "lz4", "zstd", "append-time", "transactions", "compacted"
	};

	for (int i = 0; i < lengthof(files); i++)
	{
		char		path[MAXPGPATH];
		char		name[100];
		char		data[65536];
		size_t		len;
		size_t		at = 0;
		FILE	   *f;

		snprintf(path, sizeof(path), "%s/%s.log", dir, files[i]);
		f = fopen(path, "rb");
		if (f == NULL)
		{
			fprintf(stderr, "could not open \"%s\": %m\n", path);
			exit(2);
		}
		len = fread(data, 1, sizeof(data), f);
		fclose(f);
		for (int n = 0; n < BATCHES_OF_A_FILE && at + EVENTLOG_BATCH_HEADER_SIZE <= len; n++)
		{
			EventlogBatchHeader header;

			CHECK(eventlog_batch_parse_header(data + at, &header) == NULL);
			CHECK(at + 12 + header.batch_length <= len);
			snprintf(name, sizeof(name), "kafka_%s_%d", files[i], n);
			write_batch(name, n & 1, data + at, 12 + header.batch_length);
			at += 12 + header.batch_length;
		}
	}
}

static void
our_batches(void)
{
	EventlogBatchBuilder b = {{0}};
	EventlogBuf scratch = {0};
	EventlogBuf headers = {0};
	char		name[100];
	char	   *data;
	size_t		len;

	eventlog_batch_add_header(&headers, "trace", 5, "a1b2", 4);
	eventlog_batch_add_header(&headers, "none", 4, NULL, -1);
	eventlog_batch_add_header(&headers, "", 0, "", 0);

	for (int count = 1; count <= 300; count = count * 7 + 1)
	{
		EventlogRecord rec = {0};

		eventlog_batch_begin(&b);
		for (int i = 0; i < count; i++)
		{
			rec.timestamp = INT64CONST(1700000000000) - (i % 3) * 100000;
			rec.key = i % 2 ? "a key" : NULL;
			rec.key_len = i % 2 ? 5 : -1;
			rec.value = i % 5 ? "a value of some bytes" : NULL;
			rec.value_len = i % 5 ? 20 : -1;
			rec.headers = headers.data;
			rec.headers_len = i % 4 == 0 ? (int32) headers.len : 0;
			rec.headers_count = i % 4 == 0 ? 3 : 0;
			eventlog_batch_add(&b, &rec, i * 3);
		}
		CHECK(eventlog_batch_finish(&b, EVENTLOG_CODEC_NONE, count == 8, 5, &scratch, &data, &len) == NULL);
		for (char what = 0; what < 4; what++)
		{
			snprintf(name, sizeof(name), "ours_%d_%d", count, what);
			write_batch(name, what, data, len);
		}
		CHECK(eventlog_batch_finish(&b, EVENTLOG_CODEC_LZ4, false, 0, &scratch, &data, &len) == NULL);
		snprintf(name, sizeof(name), "ours_%d_lz4", count);
		write_batch(name, 1, data, len);
		CHECK(eventlog_batch_finish(&b, EVENTLOG_CODEC_ZSTD, false, 0, &scratch, &data, &len) == NULL);
		snprintf(name, sizeof(name), "ours_%d_zstd", count);
		write_batch(name, 1, data, len);
	}
	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&scratch);
	eventlog_buf_free(&headers);
}

/* ---- segments ---- */

/* Leave out the longest run of equal bytes, and the zeroes at the end. */
static void
pack_page(EventlogBuf *out, const char *page)
{
	const char *payload = page + EVENTLOG_PAYLOAD_START;
	FuzzWalkPage parts = {{0}};
	int			len = EVENTLOG_PAYLOAD_SIZE;
	int			run_at = 0;
	int			run = 0;

	while (len > 0 && payload[len - 1] == 0)
		len--;
	for (int i = 0, from = 0; i <= len; i++)
	{
		if (i < len && payload[i] == payload[from])
			continue;
		if (i - from > run)
		{
			run = i - from;
			run_at = from;
		}
		from = i;
	}
	memcpy(parts.header, page, sizeof(parts.header));
	memcpy(parts.special, page + EVENTLOG_PAYLOAD_END, sizeof(parts.special));
	parts.stored = len - run;
	parts.run_at = run_at;
	parts.run_length = run;
	parts.run_byte = (unsigned char) payload[run_at];

	eventlog_buf_reserve(out, sizeof(parts) + len);
	memcpy(out->data + out->len, &parts, sizeof(parts));
	out->len += sizeof(parts);
	memcpy(out->data + out->len, payload, run_at);
	out->len += run_at;
	memcpy(out->data + out->len, payload + run_at + run, len - run - run_at);
	out->len += len - run - run_at;
}

static void
write_segment(TestSegment *s, const char *name)
{
	static const uint8 fixes[] = {
		0, FUZZ_WALK_FIX_CRC, FUZZ_WALK_FIX_PAGES | FUZZ_WALK_FIX_CRC
	};
	EventlogBuf out = {0};

	for (int i = 0; i < s->npages; i++)
		pack_page(&out, s->pages + (size_t) i * BLCKSZ);
	for (int i = 0; i < lengthof(fixes); i++)
	{
		char		path[100];
		FuzzWalkHead head = {0};
		int			problems;
		int			entries;
		EventlogBuf input = {0};

		head.flags = FUZZ_WALK_PACKED | fixes[i];
		head.end_byte = s->segment.end_byte;
		snprintf(path, sizeof(path), "%s_%d", name, i);
		write_input("walk", path, (char *) &head, sizeof(head), out.data, out.len);

		/* packing must have lost nothing */
		eventlog_buf_reserve(&input, sizeof(head) + out.len);
		memcpy(input.data, &head, sizeof(head));
		memcpy(input.data + sizeof(head), out.data, out.len);
		entries = fuzz_check_walk(input.data, sizeof(head) + out.len, &problems);
		CHECK(problems == 0 && entries > 0);
		eventlog_buf_free(&input);
	}
	eventlog_buf_free(&out);
	segment_free(s);
}

static void
segments(void)
{
	const int64 now = INT64CONST(1700000000000);
	TestSegment s;

	segment_begin(&s);
	segment_append_records(&s, 1, 20, EVENTLOG_CODEC_NONE, now, 0, true);
	write_segment(&s, "one");

	segment_begin(&s);
	for (int i = 0; i < 4; i++)
		segment_append_records(&s, 1 + i, 30, EVENTLOG_CODEC_NONE, now - i, i, true);
	write_segment(&s, "some");

	segment_begin(&s);
	segment_append_records(&s, 20, 30, EVENTLOG_CODEC_LZ4, now, 0, true);
	segment_append_records(&s, 20, 30, EVENTLOG_CODEC_ZSTD, now + 5, 0, true);
	write_segment(&s, "compressed");

	segment_begin(&s);
	segment_append_records(&s, 1, 100, EVENTLOG_CODEC_NONE, now, 0, true);
	segment_append_records(&s, 1, 9000, EVENTLOG_CODEC_NONE, now, 0, true);
	segment_append_records(&s, 1, 100, EVENTLOG_CODEC_NONE, now, 0, true);
	write_segment(&s, "two_pages");

	segment_begin(&s);
	segment_append_records(&s, 1, 100, EVENTLOG_CODEC_NONE, now, 0, true);
	segment_append_records(&s, 1, 30000, EVENTLOG_CODEC_NONE, now, 0, true);
	segment_append_records(&s, 1, 100, EVENTLOG_CODEC_NONE, now, 0, true);
	write_segment(&s, "five_pages");

	segment_begin(&s);
	segment_fill(&s, EVENTLOG_PAYLOAD_SIZE, now);
	segment_fill(&s, EVENTLOG_PAYLOAD_SIZE - EVENTLOG_ENTRY_HEAD + 1, now);
	segment_fill(&s, EVENTLOG_PAYLOAD_SIZE - EVENTLOG_ENTRY_HEAD, now);
	segment_append_records(&s, 1, 100, EVENTLOG_CODEC_NONE, now, 0, true);
	write_segment(&s, "page_ends");

	segment_begin(&s);
	segment_append_records(&s, 1, 100, EVENTLOG_CODEC_NONE, now, 0, true);
	segment_append_records(&s, 1, 9000, EVENTLOG_CODEC_NONE, now, 0, false);
	s.npages = 1;
	write_segment(&s, "unfinished");
}

int
main(int argc, char **argv)
{
	if (argc != 3)
	{
		fprintf(stderr, "usage: make_corpus CORPUS KAFKA\n");
		return 2;
	}
	corpus = argv[1];
	batches_of_kafka(argv[2]);
	our_batches();
	segments();
	return 0;
}
