/*-------------------------------------------------------------------------
 *
 * batch_random.c
 *	  Random batches: what is built is what is read, in every codec.
 *
 * Savepoints are rolled back on the way, and batches finished, extended and
 * finished again, as the producer does.  Then the same batches with bytes
 * changed, which must be read or refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "batch_test.h"

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
		CHECK(eventlog_batch_step(&r, &rec));
		CHECK(rec.offset == base + m->records[i].offset);
	}
	CHECK(!eventlog_batch_step(&r, &rec));
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
		base = Min(base, PG_INT64_MAX - 1 - m.records[count - 1].offset);

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

		for (i = 0; i < NUM_CODECS; i++)
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
		for (i = 0; i < NUM_CODECS; i++)
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
				fuzz_fix_envelope(copy, new_len);
			if (fuzz_check_batch(copy, new_len) >= 0)
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

void
test_random_batches(uint64 seed, int count)
{
	random_state = fuzz_seed = seed;
	test_large_record();
	ok(true, "records of 64 MB make the round trip");
	test_round_trips(count);
	ok(true, "random batches make the round trip in all codecs");
	test_mutations(count * 50);
	ok(true, "mutated batches are read or refused, never overrun");
}
