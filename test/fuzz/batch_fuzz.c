/*-------------------------------------------------------------------------
 *
 * batch_fuzz.c
 *	  Tests src/batch*.c and src/partitioner.c without a server.
 *
 *	batch_fuzz [SEED [COUNT]]		random round trips, hand-made and mutated
 *									batches; prints TAP
 *	batch_fuzz --decode FILE		print a segment's records, one a line
 *	batch_fuzz --murmur2 FILE		check murmur2.tsv against our partitioner
 *	batch_fuzz --write FILE CODEC	write the fixed segment that Kafka's
 *									DumpLogSegments was shown
 *	batch_fuzz --bench CODEC		nanoseconds per record
 *
 * test/t/001_batch.pl builds and runs it, and shows the flags.  With clang and
 * -DEVENTLOG_LIBFUZZER -fsanitize=fuzzer,address,undefined in place of the
 * sanitizers there it is a libFuzzer target instead; the batches that --write
 * makes, and test/data/kafka, are a corpus to begin with.
 *
 * Every batch under test lies in memory of exactly its size, decompressed
 * records too, so that the address sanitizer sees one byte read too many.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <inttypes.h>
#include <lz4frame.h>
#include <time.h>
#include <zstd.h>

#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

#include "batch.h"

/* not an assertion: it must hold in every build, and name its line */
#define CHECK(cond) \
	do { \
		if (!(cond)) \
			die(__LINE__, #cond); \
	} while (0)

static uint64 seed_in_use;

static void
die(int line, const char *what)
{
	fflush(stdout);
	fprintf(stderr, "# batch_fuzz.c:%d: failed: %s (seed " UINT64_FORMAT ")\n",
			line, what, seed_in_use);
	abort();
}

/*
 * What the fuzz target and the mutation test share: a walk over hostile bytes.
 */

static EventlogBuf walk_scratch;
static EventlogBuf walk_finish_scratch;
static EventlogBatchBuilder walk_builder;

static void
free_walk_buffers(void)
{
	eventlog_buf_free(&walk_scratch);
	eventlog_buf_free(&walk_finish_scratch);
	eventlog_buf_free(&walk_builder.buf);
}

static uint32
crc_of(const char *batch, size_t len)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, batch + 21, len - 21);
	FIN_CRC32C(crc);
	return crc;
}

/* Make length, magic and checksum right, so that the bytes behind are met. */
static void
fix_envelope(char *batch, size_t len)
{
	uint32		be;

	if (len < EVENTLOG_BATCH_HEADER_SIZE)
		return;
	be = pg_hton32((uint32) (len - 12));
	memcpy(batch + 8, &be, 4);
	batch[16] = EVENTLOG_BATCH_MAGIC;
	be = pg_hton32(crc_of(batch, len));
	memcpy(batch + 17, &be, 4);
}

/* Touch all bytes of a field, so that a bad pointer is noticed. */
static uint32
touch(const char *p, int32 len)
{
	uint32		sum = 0;
	int32		i;

	for (i = 0; i < len; i++)
		sum = sum * 31 + (unsigned char) p[i];
	return sum;
}

/* Step to the next record and look at nothing but its offset. */
static bool
step_over(EventlogBatchReader *r, int64 *offset)
{
	EventlogRecord rec;

	if (!eventlog_batch_step(r, &rec))
		return false;
	*offset = rec.offset;
	return true;
}

/*
 * Open and walk a batch, twice: by next and by skip, which must agree where
 * both get through.  What was read without an error must survive being written
 * again.  Returns the number of records, or -1 if an error was reported.
 */
static int
walk_batch(const char *bytes, size_t len)
{
	EventlogBatchReader reader;
	EventlogBatchReader skipper;
	EventlogBatchReader again;
	EventlogRecord rec;
	char	   *batch = pg_malloc(Max(len, 1));
	char	   *records = NULL;
	const char *error;
	int			n = 0;
	int			skipped = 0;
	int64		last = -1;
	int64		offset;
	bool		bad_header = false;
	uint32		sum = 0;
	uint32		sum_again = 0;

	if (len > 0)
		memcpy(batch, bytes, len);

	error = eventlog_batch_open(&reader, batch, len, &walk_scratch);
	CHECK(error == reader.error);
	if (error != NULL)
	{
		CHECK(!eventlog_batch_next(&reader, &rec));
		CHECK(!step_over(&reader, &offset));
		CHECK(reader.error == error);
		free(batch);
		return -1;
	}

	/* the scratch buffer may be larger than what is in it: copy it exactly */
	if (reader.records == walk_scratch.data && walk_scratch.data != NULL)
	{
		size_t		size = reader.end - reader.records;

		CHECK(size <= EVENTLOG_BATCH_MAX_SIZE);
		records = pg_malloc(Max(size, 1));
		memcpy(records, reader.records, size);
		reader.records = reader.next = records;
		reader.end = records + size;
	}
	skipper = reader;

	eventlog_batch_begin(&walk_builder);
	while (eventlog_batch_next(&reader, &rec))
	{
		const char *p = rec.headers;
		const char *name;
		const char *value;
		int32		name_len;
		int32		value_len;

		n++;
		CHECK(rec.offset > last);
		last = rec.offset;
		CHECK(rec.key_len >= -1 && (rec.key == NULL) == (rec.key_len == -1));
		CHECK(rec.value_len >= -1 && (rec.value == NULL) == (rec.value_len == -1));
		CHECK(rec.headers_count >= 0 && rec.headers_len >= 0);
		sum += touch(rec.key, rec.key_len) + touch(rec.value, rec.value_len);
		while (eventlog_batch_next_header(&p, rec.headers + rec.headers_len,
										  &name, &name_len, &value, &value_len))
			sum += touch(name, name_len) + touch(value, value_len);
		if (p != rec.headers + rec.headers_len)
			bad_header = true;

		eventlog_batch_add(&walk_builder, &rec,
						   (int32) (rec.offset - reader.header.base_offset));
	}
	CHECK(!eventlog_batch_next(&reader, &rec));

	while (step_over(&skipper, &offset))
	{
		skipped++;
		if (skipped == n)
			CHECK(offset == last);
	}
	CHECK(skipped >= n);
	if (reader.error == NULL)
	{
		CHECK(skipper.error == NULL && skipped == n);
		CHECK(n == reader.header.count);
	}

	/* what our own reader accepts, our builder and reader must carry */
	if (reader.error == NULL && n > 0 && !bad_header)
	{
		char	   *data;
		size_t		size;

		CHECK(eventlog_batch_finish(&walk_builder, EVENTLOG_CODEC_NONE,
									false, 0, &walk_finish_scratch,
									&data, &size) == NULL);
		eventlog_batch_set_base(data, reader.header.base_offset, 0);
		CHECK(eventlog_batch_open(&again, data, size, &walk_scratch) == NULL);
		while (eventlog_batch_next(&again, &rec))
		{
			const char *p = rec.headers;
			const char *name;
			const char *value;
			int32		name_len;
			int32		value_len;

			sum_again += touch(rec.key, rec.key_len) + touch(rec.value, rec.value_len);
			while (eventlog_batch_next_header(&p, rec.headers + rec.headers_len,
											  &name, &name_len, &value, &value_len))
				sum_again += touch(name, name_len) + touch(value, value_len);
		}
		CHECK(again.error == NULL);
		CHECK(sum == sum_again);
	}

	n = reader.error == NULL ? n : -1;
	free(batch);
	free(records);
	return n;
}

#ifdef EVENTLOG_LIBFUZZER

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	char	   *copy = pg_malloc(Max(size, 1));

	walk_batch((const char *) data, size);
	if (size > 0)
		memcpy(copy, data, size);
	fix_envelope(copy, size);
	walk_batch(copy, size);
	free(copy);
	return 0;
}

#else							/* !EVENTLOG_LIBFUZZER */

static int	tests_done = 0;

static void
ok(bool cond, const char *what)
{
	printf("%sok %d - %s\n", cond ? "" : "not ", ++tests_done, what);
	fflush(stdout);
}

static const EventlogCodec codecs[] = {
	EVENTLOG_CODEC_NONE, EVENTLOG_CODEC_LZ4, EVENTLOG_CODEC_ZSTD
};

static const char *
codec_name(EventlogCodec codec)
{
	switch (codec)
	{
		case EVENTLOG_CODEC_LZ4:
			return "lz4";
		case EVENTLOG_CODEC_ZSTD:
			return "zstd";
		default:
			return "none";
	}
}

static EventlogCodec
codec_by_name(const char *name)
{
	int			i;

	for (i = 0; i < lengthof(codecs); i++)
		if (strcmp(codec_name(codecs[i]), name) == 0)
			return codecs[i];
	fprintf(stderr, "unknown codec \"%s\"\n", name);
	exit(2);
}

/*
 * Random numbers: splitmix64, our own so that a seed means the same everywhere.
 */
static uint64 random_state;

static uint64
random_next(void)
{
	uint64		z = (random_state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 to n - 1 */
static uint32
random_below(uint32 n)
{
	return (uint32) (random_next() % n);
}

static bool
one_in(uint32 n)
{
	return random_below(n) == 0;
}

/* A length: mostly small, now and then around a varint's edges or large. */
static int32
random_length(void)
{
	static const int32 edges[] = {0, 1, 63, 64, 127, 128, 8191, 8192, 8193, 65535, 65536};

	switch (random_below(20))
	{
		case 0:
			return edges[random_below(lengthof(edges))];
		case 1:
			return (int32) random_below(one_in(20) ? 300000 : 5000);
		case 2:
			return 0;
		default:
			return (int32) random_below(150);
	}
}

/* A null-able string of random or of repeating bytes, in memory of its size. */
static char *
random_bytes(int32 len)
{
	char	   *p;
	int32		i;
	bool		compressible = one_in(2);

	if (len < 0)
		return NULL;
	p = pg_malloc(Max(len, 1));
	for (i = 0; i < len; i++)
		p[i] = compressible ? "abcdefgh"[i % 8] : (char) random_next();
	return p;
}

static int64
random_timestamp(int64 near)
{
	static const int64 edges[] = {
		PG_INT64_MIN, PG_INT64_MAX, PG_INT64_MIN + 1, PG_INT64_MAX - 1, 0, -1, 1
	};

	switch (random_below(30))
	{
		case 0:
			return edges[random_below(lengthof(edges))];
		case 1:
			return (int64) random_next();
		case 2:
			return -(int64) random_below(1000000);
		default:
			return near + random_below(one_in(3) ? 100000 : 3) - 1;
	}
}

/*
 * A batch as the test knows it: the records, and the bytes behind them.
 */
typedef struct Model
{
	int			count;
	EventlogRecord *records;	/* "offset" is the offset delta */
	EventlogBuf *headers;
} Model;

static void
model_make(Model *m, int count)
{
	int			i;
	int32		delta = one_in(4) ? (int32) random_below(1000) : 0;
	int64		now = INT64CONST(1700000000000);
	bool		gaps = one_in(3);

	m->count = count;
	m->records = pg_malloc0(sizeof(EventlogRecord) * Max(count, 1));
	m->headers = pg_malloc0(sizeof(EventlogBuf) * Max(count, 1));

	for (i = 0; i < count; i++)
	{
		EventlogRecord *rec = &m->records[i];
		EventlogBuf *h = &m->headers[i];
		int			n = one_in(3) ? (int) random_below(one_in(10) ? 100 : 5) : 0;
		int			j;
		char	   *prev_name = NULL;
		int32		prev_len = 0;

		rec->offset = delta;
		delta += 1;
		if (gaps)
			delta += (int32) random_below(one_in(10) ? 1000000 : 5);
		rec->timestamp = now = random_timestamp(now);
		if (now < 0 || now > INT64CONST(4000000000000))
			now = INT64CONST(1700000000000);
		rec->key_len = one_in(2) ? -1 : random_length();
		rec->key = random_bytes(rec->key_len);
		rec->value_len = one_in(5) ? -1 : random_length();
		rec->value = random_bytes(rec->value_len);

		for (j = 0; j < n; j++)
		{
			bool		duplicate = prev_name != NULL && one_in(3);
			int32		name_len = duplicate ? prev_len : (int32) random_below(30);
			char	   *name = duplicate ? prev_name : random_bytes(name_len);
			int32		value_len = one_in(4) ? -1 : random_length();
			char	   *value = random_bytes(value_len);

			eventlog_batch_add_header(h, name, name_len, value, value_len);
			free(value);
			if (!duplicate)
				free(prev_name);
			prev_name = name;
			prev_len = name_len;
		}
		free(prev_name);
		rec->headers = h->data;
		rec->headers_len = (int32) h->len;
		rec->headers_count = n;
	}
}

static void
model_free(Model *m)
{
	int			i;

	for (i = 0; i < m->count; i++)
	{
		free(unconstify(char *, m->records[i].key));
		free(unconstify(char *, m->records[i].value));
		eventlog_buf_free(&m->headers[i]);
	}
	free(m->records);
	free(m->headers);
}

static void
model_add(EventlogBatchBuilder *b, const EventlogRecord *rec)
{
	size_t		before = b->buf.len;
	size_t		bound = eventlog_batch_record_bound(rec);

	eventlog_batch_add(b, rec, (int32) rec->offset);
	CHECK(b->buf.len - before <= bound);
}

static bool
same_bytes(const char *a, int32 a_len, const char *b, int32 b_len)
{
	if (a_len != b_len || (a_len == -1) != (a == NULL) || (b_len == -1) != (b == NULL))
		return false;
	return a_len <= 0 || memcmp(a, b, a_len) == 0;
}

/* Do these bytes say what the model says? */
static void
model_compare(const Model *m, const char *bytes, size_t len, int64 base,
			  bool log_append_time, int64 append_time, EventlogBuf *scratch)
{
	EventlogBatchReader r;
	EventlogRecord rec;
	char	   *batch = pg_malloc(len);
	int64		offset;
	int64		max_timestamp = PG_INT64_MIN;
	int			i;

	memcpy(batch, bytes, len);
	CHECK(eventlog_batch_open(&r, batch, len, scratch) == NULL);
	CHECK(r.header.count == m->count);
	CHECK(r.header.base_offset == base);
	CHECK(r.header.leader_epoch == 7);
	CHECK(r.header.producer_id == -1 && r.header.producer_epoch == -1 &&
		  r.header.base_sequence == -1);
	CHECK(r.header.last_offset_delta == m->records[m->count - 1].offset);
	CHECK(r.header.base_timestamp == m->records[0].timestamp);

	for (i = 0; i < m->count; i++)
	{
		const EventlogRecord *want = &m->records[i];
		const char *p;
		const char *q;
		int			n = 0;
		const char *name;
		const char *value;
		int32		name_len;
		int32		value_len;

		max_timestamp = Max(max_timestamp, want->timestamp);
		memset(&rec, 0x7f, sizeof(rec));
		CHECK(eventlog_batch_next(&r, &rec));
		CHECK(rec.offset == base + want->offset);
		CHECK(rec.timestamp == (log_append_time ? append_time : want->timestamp));
		CHECK(same_bytes(rec.key, rec.key_len, want->key, want->key_len));
		CHECK(same_bytes(rec.value, rec.value_len, want->value, want->value_len));
		CHECK(rec.headers_count == want->headers_count);
		CHECK(rec.headers_len == want->headers_len);
		CHECK(rec.headers_len == 0 ||
			  memcmp(rec.headers, want->headers, rec.headers_len) == 0);
		p = rec.headers;
		q = rec.headers + rec.headers_len;
		while (eventlog_batch_next_header(&p, q, &name, &name_len, &value, &value_len))
			n++;
		CHECK(p == q && n == rec.headers_count);
	}
	CHECK(!eventlog_batch_next(&r, &rec));
	CHECK(r.error == NULL);
	CHECK(r.header.max_timestamp == (log_append_time ? append_time : max_timestamp));

	CHECK(eventlog_batch_open(&r, batch, len, scratch) == NULL);
	for (i = 0; i < m->count; i++)
	{
		CHECK(step_over(&r, &offset));
		CHECK(offset == base + m->records[i].offset);
	}
	CHECK(!step_over(&r, &offset));
	CHECK(r.error == NULL);

	free(batch);
}

/*
 * Random batches in all codecs: build, finish, read, compare.  On the way,
 * savepoints are rolled back, and batches are finished, extended and finished
 * again, as the producer does.
 */
static void
test_round_trips(int rounds)
{
	EventlogBatchBuilder b = {{0}};
	EventlogBuf finish_scratch = {0};
	EventlogBuf read_scratch = {0};
	int			round;

	for (round = 0; round < rounds; round++)
	{
		Model		m;
		int			count = 1 + (int) random_below(one_in(20) ? 2000 : 40);
		int			cut = (int) random_below(count + 1);
		int			i;
		int64		base = (int64) (random_next() >> (1 + random_below(60)));
		char	   *data;
		size_t		len;
		size_t		plain_len = 0;

		model_make(&m, count);
		base = Min(base, PG_INT64_MAX - m.records[count - 1].offset);

		eventlog_batch_begin(&b);
		for (i = 0; i < cut; i++)
			model_add(&b, &m.records[i]);
		if (one_in(2))
		{
			EventlogBatchBuilder saved = b;
			Model		junk;
			int			j;

			/* to be rolled back; offsets go on from where we are */
			model_make(&junk, 1 + (int) random_below(20));
			for (j = 0; j < junk.count; j++)
			{
				junk.records[j].offset += cut > 0 ? m.records[cut - 1].offset + 1 : 0;
				model_add(&b, &junk.records[j]);
			}
			if (one_in(2))
				CHECK(eventlog_batch_finish(&b, codecs[random_below(3)], false, 0,
											&finish_scratch, &data, &len) == NULL);
			eventlog_batch_truncate(&b, &saved);
			model_free(&junk);
		}
		if (cut > 0 && one_in(2))
			CHECK(eventlog_batch_finish(&b, codecs[random_below(3)], false, 0,
										&finish_scratch, &data, &len) == NULL);
		for (; i < count; i++)
			model_add(&b, &m.records[i]);
		CHECK(b.count == count);

		for (i = 0; i < lengthof(codecs); i++)
		{
			bool		log_append_time = one_in(4);
			int64		append_time = (int64) random_next();

			CHECK(eventlog_batch_finish(&b, codecs[i], log_append_time, append_time,
										&finish_scratch, &data, &len) == NULL);
			if (codecs[i] == EVENTLOG_CODEC_NONE)
				plain_len = len;
			CHECK(len <= plain_len);
			CHECK(((data[22] & EVENTLOG_BATCH_CODEC_MASK) != 0) == (len < plain_len));
			eventlog_batch_set_base(data, base, 7);
			model_compare(&m, data, len, base, log_append_time, append_time,
						  &read_scratch);
		}
		model_free(&m);
	}

	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&finish_scratch);
	eventlog_buf_free(&read_scratch);
}

/* The largest record that a topic takes: 64 MB, compressible and not. */
static void
test_large_record(void)
{
	EventlogBatchBuilder b = {{0}};
	EventlogBuf finish_scratch = {0};
	EventlogBuf read_scratch = {0};
	Model		m;
	EventlogRecord rec = {0};
	int			compressible;
	int			i;

	for (compressible = 0; compressible < 2; compressible++)
	{
		char	   *value = pg_malloc0(64 * 1024 * 1024);

		rec.value = value;
		rec.value_len = 64 * 1024 * 1024;
		rec.key_len = -1;
		if (!compressible)
			for (i = 0; i < rec.value_len; i += 8)
			{
				uint64		r = random_next();

				memcpy(value + i, &r, 8);
			}
		m.count = 1;
		m.records = &rec;
		eventlog_batch_begin(&b);
		model_add(&b, &rec);
		for (i = 0; i < lengthof(codecs); i++)
		{
			char	   *data;
			size_t		len;

			CHECK(eventlog_batch_finish(&b, codecs[i], false, 0,
										&finish_scratch, &data, &len) == NULL);
			if (compressible && codecs[i] != EVENTLOG_CODEC_NONE)
				CHECK(len < 1024 * 1024);
			eventlog_batch_set_base(data, 0, 7);
			model_compare(&m, data, len, 0, false, 0, &read_scratch);
		}
		free(value);
	}
	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&finish_scratch);
	eventlog_buf_free(&read_scratch);
}

/*
 * Hand-made batches.
 */

/* A batch around these record bytes, with a right checksum. */
static char *
make_batch(const char *records, size_t records_len, int16 attributes,
		   int32 count, int32 last_offset_delta, size_t *len)
{
	char	   *batch = pg_malloc0(EVENTLOG_BATCH_HEADER_SIZE + records_len);
	uint16		be16 = pg_hton16((uint16) attributes);
	uint32		be32;

	*len = EVENTLOG_BATCH_HEADER_SIZE + records_len;
	memcpy(batch + 21, &be16, 2);
	be32 = pg_hton32((uint32) last_offset_delta);
	memcpy(batch + 23, &be32, 4);
	be32 = pg_hton32((uint32) count);
	memcpy(batch + 57, &be32, 4);
	if (records_len > 0)
		memcpy(batch + EVENTLOG_BATCH_HEADER_SIZE, records, records_len);
	fix_envelope(batch, *len);
	return batch;
}

/* Reads all; returns the error or "" and the number of records before it. */
static const char *
read_all(const char *batch, size_t len, int *n)
{
	static EventlogBuf scratch = {0};
	EventlogBatchReader r;
	EventlogRecord rec;
	const char *error;

	*n = 0;
	error = eventlog_batch_open(&r, batch, len, &scratch);
	if (error == NULL)
	{
		while (eventlog_batch_next(&r, &rec))
			(*n)++;
		error = r.error;
	}
	eventlog_buf_free(&scratch);
	return error ? error : "";
}

typedef struct BadBatch
{
	const char *what;
	int16		attributes;
	int32		count;
	int32		last_offset_delta;
	const char *records;		/* space-separated hexadecimal */
	const char *error;			/* "" if it is a good one */
} BadBatch;

/* 0c = length 6: attributes, timestamp, offset, null key, null value, 0 headers */
static const BadBatch bad_batches[] = {
	{"smallest record", 0, 1, 0, "0c 00 00 00 01 01 00", ""},
	{"empty compacted batch", 0, 0, 5, "", ""},
	{"empty compacted lz4 batch", 3, 0, 5, "", ""},
	{"gap", 0, 2, 9, "0c 00 00 00 01 01 00 0c 00 00 12 01 01 00", ""},
	{"long varint of a small number", 0, 1, 0, "12 00 80 80 00 00 81 00 01 00", ""},
	{"five-byte varint", 0, 1, 0, "8c 80 80 80 00 00 00 00 01 01 00", ""},
	{"ten-byte timestamp", 0, 1, 0, "1e 00 ff ff ff ff ff ff ff ff ff 01 00 01 01 00", ""},
	{"attribute bits of a record", 0, 1, 0, "0c ff 00 00 01 01 00", ""},
	{"empty header name", 0, 1, 0, "10 00 00 00 01 01 02 00 01", ""},
	{"six-byte varint", 0, 1, 0, "8c 80 80 80 80 00 00 00 00 01 01 00", "record has an invalid length"},
	{"varint past 32 bits", 0, 1, 0, "8c 80 80 80 10 00 00 00 01 01 00", "record has an invalid length"},
	{"eleven-byte timestamp", 0, 1, 0, "20 00 ff ff ff ff ff ff ff ff ff ff 00 00 01 01 00", "record has an invalid timestamp"},
	{"ten-byte timestamp past 64 bits", 0, 1, 0, "1e 00 ff ff ff ff ff ff ff ff ff 02 00 01 01 00", "record has an invalid timestamp"},
	{"negative record length", 0, 1, 0, "0b 00 00 00 01 01 00", "record has an invalid length"},
	{"record length too small", 0, 1, 0, "0a 00 00 00 01 01 00", "record has an invalid length"},
	{"record past the batch", 0, 1, 0, "0e 00 00 00 01 01 00", "record has an invalid length"},
	{"huge record", 0, 1, 0, "fe ff ff ff 0f 00 00 00 01 01 00", "record has an invalid length"},
	{"offset goes down", 0, 2, 9, "0c 00 00 02 01 01 00 0c 00 00 00 01 01 00", "record has an invalid offset"},
	{"offset twice", 0, 2, 9, "0c 00 00 02 01 01 00 0c 00 00 02 01 01 00", "record has an invalid offset"},
	{"negative offset", 0, 1, 9, "0c 00 00 01 01 01 00", "record has an invalid offset"},
	{"offset past the last", 0, 1, 0, "0c 00 00 02 01 01 00", "record has an invalid offset"},
	{"offset cut off", 0, 1, 0, "0c 00 00 80 80 80 80", "record has an invalid offset"},
	{"key length -2", 0, 1, 0, "0c 00 00 00 03 01 00", "record has an invalid key length"},
	{"key past the record", 0, 2, 1, "0c 00 00 00 08 01 00 0c 00 00 02 01 01 00", "record has an invalid key length"},
	{"key fills the record", 0, 1, 0, "0c 00 00 00 04 01 00", "record has an invalid value length"},
	{"huge key", 0, 1, 0, "14 00 00 00 fe ff ff ff 0f 01 00", "record has an invalid key length"},
	{"value length -2", 0, 1, 0, "0c 00 00 00 01 03 00", "record has an invalid value length"},
	{"value past the record", 0, 1, 0, "0c 00 00 00 01 04 00", "record has an invalid value length"},
	{"value fills the record", 0, 1, 0, "0c 00 00 00 01 02 00", "record has an invalid number of headers"},
	{"negative header count", 0, 1, 0, "0c 00 00 00 01 01 01", "record has an invalid number of headers"},
	{"more headers than bytes", 0, 1, 0, "0e 00 00 00 01 01 02 00", "record has an invalid number of headers"},
	{"bytes after no headers", 0, 1, 0, "0e 00 00 00 01 01 00 00", "record has an invalid number of headers"},
	{"bytes after the last record", 0, 1, 0, "0c 00 00 00 01 01 00 00", "batch has bytes after its last record"},
	{"bytes in an empty batch", 0, 0, 0, "00", "batch has bytes after its last record"},
	{"fewer records than counted", 0, 2, 2, "0e 00 00 00 01 01 02 00 0c 00 00 00 01 01", "record has an invalid number of headers"},
	{"more counted than fit", 0, 2, 2, "0c 00 00 00 01 01 00", "batch has an invalid number of records"},
	{"more counted than offsets", 0, 2, 0, "0c 00 00 00 01 01 00 0c 00 00 02 01 01 00", "batch has an invalid number of records"},
	{"negative count", 0, -1, 0, "0c 00 00 00 01 01 00", "batch has an invalid number of records"},
	{"negative last offset", 0, 1, -1, "0c 00 00 00 01 01 00", "batch has invalid offsets"},
	{"control batch", 0x20, 1, 0, "0c 00 00 00 01 01 00", "batch is a control batch"},
	{"gzip", 1, 1, 0, "00", "batch is compressed with gzip, which is not supported"},
	{"snappy", 2, 1, 0, "00", "batch is compressed with snappy, which is not supported"},
	{"codec 5", 5, 1, 0, "00", "batch is compressed with an unknown codec"},
	{"lz4 of nothing", 3, 1, 0, "", "batch has truncated lz4 data"},
	{"lz4 with a bad magic", 3, 1, 0, "00 01 02 03 04 05 06 07", "batch has invalid lz4 data"},
	{"lz4 cut off in its header", 3, 1, 0, "04 22 4d 18 60", "batch has truncated lz4 data"},
	{"zstd of nothing", 4, 1, 0, "", "batch has invalid zstd data"},
	{"zstd with a bad magic", 4, 1, 0, "00 01 02 03 04 05 06 07", "batch has invalid zstd data"},
};

static size_t
from_hex(const char *hex, char *out)
{
	size_t		n = 0;
	unsigned	byte;
	int			used;

	while (sscanf(hex, "%2x%n", &byte, &used) == 1)
	{
		out[n++] = (char) byte;
		hex += used;
	}
	return n;
}

static void
test_hand_made(void)
{
	int			i;
	bool		good = true;

	for (i = 0; i < lengthof(bad_batches); i++)
	{
		const BadBatch *bad = &bad_batches[i];
		char		records[64];
		size_t		records_len = from_hex(bad->records, records);
		size_t		len;
		char	   *batch = make_batch(records, records_len, bad->attributes,
									   bad->count, bad->last_offset_delta, &len);
		int			n;
		const char *error = read_all(batch, len, &n);

		if (strcmp(error, bad->error) != 0)
		{
			printf("# %s: \"%s\", expected \"%s\"\n", bad->what, error, bad->error);
			good = false;
		}
		walk_batch(batch, len);
		free(batch);
	}
	ok(good, "hand-made batches give the expected errors");
}

/* Each check of the 61 bytes by itself. */
static void
test_bad_headers(void)
{
	static const struct
	{
		int			at;
		int			byte;
		const char *error;
	}			cases[] = {
		{0, 0x80, "batch has invalid offsets"},
		{0, 0x7f, ""},
		{8, 0x80, "batch is shorter than its header"},
		{8, 0x7f, "batch is too large"},
		{11, 0, "batch is shorter than its header"},
		{11, 57, "batch has another length than its header says"},
		{16, 1, "batch is not of format version 2"},
		{16, 3, "batch is not of format version 2"},
		{17, 0x55, "batch has an invalid checksum"},
		{22, 8, "batch has an invalid checksum"},
		{67, 1, "batch has an invalid checksum"},
	};
	char		records[16];
	size_t		records_len = from_hex("0c 00 00 00 01 01 00", records);
	size_t		len;
	char	   *batch = make_batch(records, records_len, 0, 1, 0, &len);
	int			i;
	int			n;
	bool		good = true;

	for (i = 0; i < lengthof(cases); i++)
	{
		char		old = batch[cases[i].at];
		const char *error;

		batch[cases[i].at] = (char) cases[i].byte;
		error = read_all(batch, len, &n);
		if (strcmp(error, cases[i].error) != 0)
		{
			printf("# byte %d = %d: \"%s\", expected \"%s\"\n",
				   cases[i].at, cases[i].byte, error, cases[i].error);
			good = false;
		}
		batch[cases[i].at] = old;
	}
	for (i = 0; i < (int) len; i++)
		if (read_all(batch, i, &n)[0] == '\0')
			good = false;
	memset(batch, 0xff, 8);
	batch[0] = 0x7f;
	batch[26] = 1;				/* last offset delta 1: one too many */
	fix_envelope(batch, len);
	good = good && strcmp(read_all(batch, len, &n), "batch has invalid offsets") == 0;
	free(batch);
	ok(good, "each field of the batch header is checked");
}

/* 500 records without payload, as bytes */
static char *
make_records(size_t *len)
{
	char	   *p = pg_malloc(500 * 8);
	int			i;

	*len = 0;
	for (i = 0; i < 500; i++)
	{
		if (i < 64)
			*len += from_hex("0c 00 00 00 01 01 00", p + *len);
		else
			*len += from_hex("0e 00 00 80 00 01 01 00", p + *len);
		if (i < 64)
			p[*len - 4] = (char) (i * 2);
		else
		{
			p[*len - 5] = (char) (0x80 | ((i * 2) & 0x7f));
			p[*len - 4] = (char) ((i * 2) >> 7);
		}
	}
	return p;
}

/* Frames that other writers make: all shapes of lz4, zstd without a size. */
static void
test_foreign_frames(void)
{
	size_t		records_len;
	char	   *records = make_records(&records_len);
	size_t		cap = 64 * 1024;
	char	   *frame = pg_malloc(cap);
	char	   *batch;
	size_t		size;
	size_t		len;
	bool		good = true;
	int			shape;
	int			n;
	ZSTD_CCtx  *cctx = ZSTD_createCCtx();
	ZSTD_inBuffer in = {records, records_len, 0};
	ZSTD_outBuffer out = {frame, cap, 0};

	for (shape = 0; shape < 64; shape++)
	{
		LZ4F_preferences_t prefs = {0};

		prefs.frameInfo.blockSizeID = LZ4F_max64KB + (shape & 3);
		prefs.frameInfo.blockMode = (shape & 4) ? LZ4F_blockLinked : LZ4F_blockIndependent;
		prefs.frameInfo.contentChecksumFlag = (shape & 8) ? 1 : 0;
		prefs.frameInfo.blockChecksumFlag = (shape & 16) ? 1 : 0;
		prefs.frameInfo.contentSize = (shape & 32) ? records_len : 0;
		size = LZ4F_compressFrame(frame, cap, records, records_len, &prefs);
		CHECK(!LZ4F_isError(size));
		batch = make_batch(frame, size, EVENTLOG_CODEC_LZ4, 500, 499, &len);
		good = good && read_all(batch, len, &n)[0] == '\0' && n == 500;
		walk_batch(batch, len);
		free(batch);
	}
	ok(good, "lz4 frames of all shapes are read");

	/* two frames, one after the other, with a skippable one between */
	size = LZ4F_compressFrame(frame, cap, records, 700, NULL);
	size += from_hex("50 2a 4d 18 03 00 00 00 61 62 63", frame + size);
	size += LZ4F_compressFrame(frame + size, cap - size, records + 700, records_len - 700, NULL);
	batch = make_batch(frame, size, EVENTLOG_CODEC_LZ4, 500, 499, &len);
	ok(read_all(batch, len, &n)[0] == '\0' && n == 500, "several lz4 frames in a batch are read");
	free(batch);

	CHECK(ZSTD_compressStream2(cctx, &out, &in, ZSTD_e_flush) == 0);
	CHECK(ZSTD_compressStream2(cctx, &out, &in, ZSTD_e_end) == 0);
	CHECK(ZSTD_getFrameContentSize(frame, out.pos) == ZSTD_CONTENTSIZE_UNKNOWN);
	batch = make_batch(frame, out.pos, EVENTLOG_CODEC_ZSTD, 500, 499, &len);
	ok(read_all(batch, len, &n)[0] == '\0' && n == 500, "a zstd frame without a size is read");
	free(batch);

	ZSTD_freeCCtx(cctx);
	free(frame);
	free(records);
}

/* A few kB that decompress to more than a batch may hold. */
static void
test_bombs(void)
{
	size_t		big = EVENTLOG_BATCH_MAX_SIZE + 1;
	size_t		bigger = big + 1000000;
	char	   *zeros = pg_malloc0(bigger);
	size_t		cap = LZ4F_compressFrameBound(bigger, NULL);
	char	   *frame = pg_malloc(cap);
	const char *text = "batch is too large after decompression";
	char	   *batch;
	size_t		size;
	size_t		len;
	int			n;
	ZSTD_CCtx  *cctx = ZSTD_createCCtx();
	ZSTD_inBuffer in = {zeros, big, 0};
	ZSTD_outBuffer out = {frame, cap, 0};

	size = LZ4F_compressFrame(frame, cap, zeros, big, NULL);
	batch = make_batch(frame, size, EVENTLOG_CODEC_LZ4, 1, 0, &len);
	ok(strcmp(read_all(batch, len, &n), text) == 0, "an lz4 bomb is refused");
	free(batch);

	size = LZ4F_compressFrame(frame, cap, zeros, bigger, NULL);
	batch = make_batch(frame, size, EVENTLOG_CODEC_LZ4, 1, 0, &len);
	ok(strcmp(read_all(batch, len, &n), text) == 0, "a larger lz4 bomb is refused");
	free(batch);

	/* at the limit it is no bomb: the error is another one */
	size = LZ4F_compressFrame(frame, cap, zeros, big - 1, NULL);
	batch = make_batch(frame, size, EVENTLOG_CODEC_LZ4, 1, 0, &len);
	ok(strcmp(read_all(batch, len, &n), "record has an invalid length") == 0,
	   "lz4 data of the largest size is not");
	free(batch);

	size = ZSTD_compress(frame, cap, zeros, big, 1);
	batch = make_batch(frame, size, EVENTLOG_CODEC_ZSTD, 1, 0, &len);
	ok(strcmp(read_all(batch, len, &n), text) == 0, "a zstd bomb with its size is refused");
	free(batch);

	CHECK(ZSTD_compressStream2(cctx, &out, &in, ZSTD_e_flush) == 0);
	CHECK(ZSTD_compressStream2(cctx, &out, &in, ZSTD_e_end) == 0);
	batch = make_batch(frame, out.pos, EVENTLOG_CODEC_ZSTD, 1, 0, &len);
	ok(strcmp(read_all(batch, len, &n), text) == 0, "a zstd bomb without its size is refused");
	free(batch);

	size = ZSTD_compress(frame, cap, zeros, big - 1, 1);
	batch = make_batch(frame, size, EVENTLOG_CODEC_ZSTD, 1, 0, &len);
	ok(strcmp(read_all(batch, len, &n), "record has an invalid length") == 0,
	   "zstd data of the largest size is not");
	free(batch);

	ZSTD_freeCCtx(cctx);
	free(frame);
	free(zeros);
}

/*
 * Mutations of valid batches.  Mostly the checksum is made right again, so
 * that what is behind it meets the bad bytes.
 */
static void
test_mutations(int rounds)
{
	EventlogBatchBuilder b = {{0}};
	EventlogBuf scratch = {0};
	int			round;
	int			accepted = 0;
	int			refused = 0;

	for (round = 0; round < rounds;)
	{
		Model		m;
		EventlogCodec codec = codecs[random_below(3)];
		char	   *data;
		size_t		len;
		int			i;

		model_make(&m, 1 + (int) random_below(10));
		eventlog_batch_begin(&b);
		for (i = 0; i < m.count; i++)
			model_add(&b, &m.records[i]);
		CHECK(eventlog_batch_finish(&b, codec, false, 0, &scratch, &data, &len) == NULL);

		for (i = 0; i < 50; i++, round++)
		{
			size_t		new_len = len;
			char	   *copy;
			int			flips = (int) random_below(4);
			size_t		focus;

			if (one_in(3))
				new_len = random_below((uint32) len + 1);
			else if (one_in(10))
				new_len = len + random_below(20);
			copy = pg_malloc0(Max(new_len, 1));
			memcpy(copy, data, Min(len, new_len));

			/* near the start there is most structure */
			focus = one_in(2) ? Min(new_len, 120) : new_len;
			while (flips-- > 0 && focus > 0)
			{
				size_t		at = random_below((uint32) focus);

				if (one_in(2))
					copy[at] ^= (char) (1 << random_below(8));
				else
					copy[at] = (char) random_next();
			}
			if (!one_in(10))
				fix_envelope(copy, new_len);
			if (walk_batch(copy, new_len) >= 0)
				accepted++;
			else
				refused++;
			free(copy);
		}
		model_free(&m);
	}
	printf("# %d mutated batches accepted, %d refused\n", accepted, refused);
	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&scratch);
}

/*
 * Segments: batches back to back, as Kafka keeps them in a file.
 */

static char *
read_file(const char *path, size_t *len)
{
	FILE	   *f = fopen(path, "rb");
	EventlogBuf buf = {0};
	size_t		n;

	if (f == NULL)
	{
		fprintf(stderr, "could not open \"%s\": %m\n", path);
		exit(2);
	}
	do
	{
		eventlog_buf_reserve(&buf, 65536);
		n = fread(buf.data + buf.len, 1, 65536, f);
		buf.len += n;
	} while (n > 0);
	fclose(f);
	*len = buf.len;
	return buf.data;
}

static void
print_hex(const char *p, int32 len)
{
	int32		i;

	if (len < 0)
		printf("null");
	else
	{
		printf("x");
		for (i = 0; i < len; i++)
			printf("%02x", (unsigned char) p[i]);
	}
}

/* In the format of the .expected files; see test/data/kafka/README.md. */
static void
print_record(const EventlogRecord *rec)
{
	const char *p = rec->headers;
	const char *name;
	const char *value;
	int32		name_len;
	int32		value_len;
	const char *comma = "";

	printf(INT64_FORMAT "\t" INT64_FORMAT "\t", rec->offset, rec->timestamp);
	print_hex(rec->key, rec->key_len);
	printf("\t");
	print_hex(rec->value, rec->value_len);
	printf("\t[");
	while (eventlog_batch_next_header(&p, rec->headers + rec->headers_len,
									  &name, &name_len, &value, &value_len))
	{
		printf("%s", comma);
		print_hex(name, name_len);
		printf("=");
		print_hex(value, value_len);
		comma = ",";
	}
	printf("]\n");
}

/*
 * Prints each record, and a comment line for each batch: its codec and other
 * attributes, which the records do not show.
 */
static int
decode_segment(const char *path)
{
	size_t		len;
	char	   *data = read_file(path, &len);
	EventlogBuf scratch = {0};
	size_t		at = 0;
	const char *error = NULL;

	while (at < len && error == NULL)
	{
		EventlogBatchReader r;
		EventlogRecord rec;
		size_t		size;
		char	   *batch;

		if (len - at < EVENTLOG_BATCH_HEADER_SIZE)
		{
			error = "segment ends inside a batch header";
			break;
		}
		error = eventlog_batch_parse_header(data + at, &r.header);
		if (error != NULL)
			break;
		size = 12 + (size_t) r.header.batch_length;
		if (size > len - at)
		{
			error = "segment ends inside a batch";
			break;
		}
		printf("# batch offset " INT64_FORMAT " count %d attributes 0x%02x\n",
			   r.header.base_offset, r.header.count, r.header.attributes);

		batch = pg_malloc(size);
		memcpy(batch, data + at, size);
		if (r.header.attributes & EVENTLOG_BATCH_CONTROL)
		{
			/* must be refused, and is no data */
			CHECK(strcmp(eventlog_batch_open(&r, batch, size, &scratch),
						 "batch is a control batch") == 0);
		}
		else
		{
			error = eventlog_batch_open(&r, batch, size, &scratch);
			while (error == NULL && eventlog_batch_next(&r, &rec))
				print_record(&rec);
			if (error == NULL)
				error = r.error;
		}
		free(batch);
		at += size;
	}
	if (error != NULL)
		fprintf(stderr, "%s: at byte %zu: %s\n", path, at, error);
	eventlog_buf_free(&scratch);
	free(data);
	return error == NULL ? 0 : 1;
}

/*
 * The fixed segment.  Its records must never change: stored with it is what
 * Kafka's own reader said about it.
 */
static int
write_segment(const char *path, const char *codec)
{
	EventlogBatchBuilder b = {{0}};
	EventlogBuf scratch = {0};
	EventlogBuf headers = {0};
	FILE	   *f = fopen(path, "wb");
	int64		base = 0;
	int			batch;
	int			i;

	if (f == NULL)
	{
		fprintf(stderr, "could not open \"%s\": %m\n", path);
		return 2;
	}

	for (batch = 0; batch < 4; batch++)
	{
		int32		delta = 0;
		char	   *data;
		size_t		len;
		bool		log_append_time = batch == 3;

		eventlog_batch_begin(&b);
		for (i = 0; i < 20; i++)
		{
			EventlogRecord rec = {0};
			char		key[32];
			char		value[400];

			rec.timestamp = INT64CONST(1700000000000) + batch * 60000 + i * i * 37 - 50;

			/* batch 2 has gaps, as after compaction */
			delta += batch == 2 && i % 3 == 2 ? 5 : 0;

			snprintf(key, sizeof(key), "key-%d-%d", batch, i);
			rec.key = key;
			rec.key_len = (int32) strlen(key);
			if (i % 4 == 0)
			{
				rec.key = NULL;
				rec.key_len = -1;
			}
			else if (i == 5)
				rec.key_len = 0;

			snprintf(value, sizeof(value),
					 "{\"batch\": %d, \"record\": %d, \"text\": \"%0*d\"}", batch, i,
					 i * 13 + 1, i);
			rec.value = value;
			rec.value_len = (int32) strlen(value);
			if (i % 7 == 3)
			{
				rec.value = NULL;
				rec.value_len = -1;
			}
			else if (i == 6)
				rec.value_len = 0;

			headers.len = 0;
			if (i % 5 == 1)
			{
				eventlog_batch_add_header(&headers, "trace", 5, "a1b2", 4);
				eventlog_batch_add_header(&headers, "trace", 5, "c3d4", 4);
				eventlog_batch_add_header(&headers, "none", 4, NULL, -1);
				eventlog_batch_add_header(&headers, "empty", 5, "", 0);
				eventlog_batch_add_header(&headers, "gr\303\274n", 5, "\000\377", 2);
				rec.headers_count = 5;
			}
			rec.headers = headers.data;
			rec.headers_len = (int32) headers.len;
			eventlog_batch_add(&b, &rec, delta++);
		}
		CHECK(eventlog_batch_finish(&b, codec_by_name(codec), log_append_time,
									INT64CONST(1700000999999), &scratch,
									&data, &len) == NULL);
		eventlog_batch_set_base(data, base, batch);
		base += delta;
		if (fwrite(data, 1, len, f) != len)
		{
			fprintf(stderr, "could not write \"%s\": %m\n", path);
			return 2;
		}
	}
	if (fclose(f) != 0)
	{
		fprintf(stderr, "could not write \"%s\": %m\n", path);
		return 2;
	}
	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&scratch);
	eventlog_buf_free(&headers);
	return 0;
}

/* Lines of "hex-of-key, murmur2, partition of 12", by tabs. */
static int
check_murmur2(const char *path)
{
	FILE	   *f = fopen(path, "r");
	char		line[1024];
	int			checked = 0;
	int			wrong = 0;

	if (f == NULL)
	{
		fprintf(stderr, "could not open \"%s\": %m\n", path);
		return 2;
	}
	while (fgets(line, sizeof(line), f) != NULL)
	{
		char		raw[512];
		char	   *key;
		char	   *tab = strchr(line, '\t');
		size_t		len;
		int			hash;
		int			partition;

		if (line[0] == '#')
			continue;
		CHECK(tab != NULL && line[0] == 'x');
		*tab = '\0';
		CHECK(sscanf(tab + 1, "%d\t%d", &hash, &partition) == 2);
		len = from_hex(line + 1, raw);
		key = pg_malloc(Max(len, 1));
		memcpy(key, raw, len);
		checked++;
		if (eventlog_murmur2(key, (int32) len) != hash ||
			eventlog_partition_for_key(key, (int32) len, 12) != partition)
		{
			fprintf(stderr, "%s: murmur2 is %d, expected %d\n", line,
					eventlog_murmur2(key, (int32) len), hash);
			wrong++;
		}
		free(key);
	}
	fclose(f);
	printf("checked %d wrong %d\n", checked, wrong);
	return wrong == 0 ? 0 : 1;
}

/*
 * Timings, for an optimized build without sanitizers.
 */
static double
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static int
bench(const char *codec)
{
	enum
	{
		RECORDS = 560,			/* about 64 kB */
		ROUNDS = 4000
	};
	EventlogBatchBuilder b = {{0}};
	EventlogBuf finish_scratch = {0};
	EventlogBuf read_scratch = {0};
	char	   *values = pg_malloc(RECORDS * 101);
	char	   *data = NULL;
	size_t		len = 0;
	double		add = 0;
	double		finish = 0;
	double		open = 0;
	double		next = 0;
	double		skip = 0;
	int			round;
	int			i;
	uint64		sum = 0;

	for (i = 0; i < RECORDS; i++)
		snprintf(values + i * 101, 101,
				 "{\"id\": %08d, \"customer\": \"%08x\", \"amount\": %07d, \"note\": \"ordered by web, ships %04d\", \"state\": 1}%20s",
				 i, (unsigned) random_next(), (int) random_below(10000000), i % 365, "");

	for (round = 0; round < ROUNDS; round++)
	{
		EventlogBatchReader r;
		EventlogRecord rec = {0};
		int64		offset;
		double		t0 = now_ns();
		double		t1;
		double		t2;

		eventlog_batch_begin(&b);
		rec.key_len = -1;
		rec.value_len = 100;
		for (i = 0; i < RECORDS; i++)
		{
			rec.value = values + i * 101;
			rec.timestamp = INT64CONST(1700000000000) + i / 100;
			eventlog_batch_add(&b, &rec, i);
		}
		t1 = now_ns();
		CHECK(eventlog_batch_finish(&b, codec_by_name(codec), false, 0,
									&finish_scratch, &data, &len) == NULL);
		t2 = now_ns();
		add += t1 - t0;
		finish += t2 - t1;

		t0 = now_ns();
		CHECK(eventlog_batch_open(&r, data, len, &read_scratch) == NULL);
		t1 = now_ns();
		while (eventlog_batch_next(&r, &rec))
			sum += rec.offset + rec.value_len + rec.value[3];
		t2 = now_ns();
		CHECK(r.error == NULL);
		open += t1 - t0;
		next += t2 - t1;

		r.next = r.records;
		r.remaining = r.header.count;
		r.last_delta = -1;
		t0 = now_ns();
		while (step_over(&r, &offset))
			sum += offset;
		skip += now_ns() - t0;
	}
	printf("%s: %d records of 100 bytes, batch %zu bytes; ns/record: "
		   "add %.1f finish %.1f = encode %.1f; open %.1f next %.1f = decode %.1f; skip %.1f (%u)\n",
		   codec, RECORDS, len,
		   add / ROUNDS / RECORDS, finish / ROUNDS / RECORDS, (add + finish) / ROUNDS / RECORDS,
		   open / ROUNDS / RECORDS, next / ROUNDS / RECORDS, (open + next) / ROUNDS / RECORDS,
		   skip / ROUNDS / RECORDS, (unsigned) (sum & 1));
	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&finish_scratch);
	eventlog_buf_free(&read_scratch);
	free(values);
	return 0;
}

int
main(int argc, char **argv)
{
	int			count;

	if (argc == 3 && strcmp(argv[1], "--decode") == 0)
		return decode_segment(argv[2]);
	if (argc == 3 && strcmp(argv[1], "--murmur2") == 0)
		return check_murmur2(argv[2]);
	if (argc == 4 && strcmp(argv[1], "--write") == 0)
		return write_segment(argv[2], argv[3]);
	if (argc == 3 && strcmp(argv[1], "--bench") == 0)
		return bench(argv[2]);
	if (argc > 3 || (argc > 1 && argv[1][0] == '-'))
	{
		fprintf(stderr, "usage: batch_fuzz [SEED [COUNT]] | --decode FILE | --murmur2 FILE | --write FILE CODEC | --bench CODEC\n");
		return 2;
	}

	random_state = seed_in_use = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	count = argc > 2 ? atoi(argv[2]) : 1000;
	printf("# seed " UINT64_FORMAT ", count %d\n", seed_in_use, count);

	test_hand_made();
	test_bad_headers();
	test_foreign_frames();
	test_bombs();
	test_large_record();
	ok(true, "records of 64 MB make the round trip");
	test_round_trips(count);
	ok(true, "random batches make the round trip in all codecs");
	test_mutations(count * 50);
	ok(true, "mutated batches are read or refused, never overrun");

	free_walk_buffers();
	printf("1..%d\n", tests_done);
	return 0;
}

#endif							/* EVENTLOG_LIBFUZZER */
