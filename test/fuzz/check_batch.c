/*-------------------------------------------------------------------------
 *
 * check_batch.c
 *	  What must hold of the batch reader whatever bytes it is given.
 *
 * Every batch under test lies in memory of exactly its size, decompressed
 * records too, so that the address sanitizer sees one byte read too many.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "port/pg_bswap.h"
#include "port/pg_crc32c.h"

#include "fuzz.h"

/* larger buffers are not kept from one input to the next */
#define KEEP_SIZE	(1024 * 1024)

uint64		fuzz_seed;

static EventlogBuf scratch;
static EventlogBuf finish_scratch;
static EventlogBatchBuilder builder;

void
fuzz_die(const char *file, int line, const char *what)
{
	fflush(stdout);
	fprintf(stderr, "# %s:%d: failed: %s (seed " UINT64_FORMAT ")\n",
			file, line, what, fuzz_seed);
	abort();
}

uint32
fuzz_batch_crc(const char *batch, size_t len)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, batch + 21, len - 21);
	FIN_CRC32C(crc);
	return crc;
}

void
fuzz_fix_envelope(char *batch, size_t len)
{
	uint32		be;

	if (len < EVENTLOG_BATCH_HEADER_SIZE)
		return;
	be = pg_hton32((uint32) (len - 12));
	memcpy(batch + 8, &be, 4);
	batch[16] = EVENTLOG_BATCH_MAGIC;
	be = pg_hton32(fuzz_batch_crc(batch, len));
	memcpy(batch + 17, &be, 4);
}

/* Touch all bytes of a field, so that a bad pointer is noticed. */
static uint64
touch(uint64 sum, const char *p, int32 len)
{
	sum = sum * 31 + (uint32) len;
	for (int32 i = 0; i < len; i++)
		sum = sum * 31 + (unsigned char) p[i];
	return sum;
}

/* The same for a whole record, as much of its headers as can be read. */
static uint64
touch_record(uint64 sum, const EventlogRecord *rec)
{
	const char *p = rec->headers;
	const char *end = rec->headers + rec->headers_len;
	const char *name;
	const char *value;
	int32		name_len;
	int32		value_len;

	CHECK(rec->key_len >= -1 && (rec->key == NULL) == (rec->key_len == -1));
	CHECK(rec->value_len >= -1 && (rec->value == NULL) == (rec->value_len == -1));
	CHECK(rec->headers_count >= 0 && rec->headers_len >= 0);
	sum = sum * 31 + (uint64) rec->offset;
	sum = sum * 31 + (uint64) rec->timestamp;
	sum = sum * 31 + (uint64) rec->headers_count;
	sum = touch(sum, rec->key, rec->key_len);
	sum = touch(sum, rec->value, rec->value_len);
	while (eventlog_batch_next_header(&p, end, &name, &name_len, &value, &value_len))
	{
		sum = touch(sum, name, name_len);
		sum = touch(sum, value, value_len);
	}
	CHECK(p <= end);
	return sum;
}

uint64
fuzz_read_records(EventlogBatchReader *r)
{
	EventlogRecord rec;
	uint64		sum = 0;

	while (eventlog_batch_next(r, &rec))
		sum = touch_record(sum, &rec);
	return sum;
}

/* Write what is in the builder in this codec, and read it again. */
static void
check_again(const EventlogBatchReader *first, EventlogCodec codec, uint64 sum)
{
	EventlogBatchReader again;
	bool		append_time = (first->header.attributes & EVENTLOG_BATCH_LOG_APPEND_TIME) != 0;
	char	   *data;
	size_t		size;

	CHECK(eventlog_batch_finish(&builder, codec, append_time, first->header.max_timestamp,
								&finish_scratch, &data, &size) == NULL);
	eventlog_batch_set_base(data, first->header.base_offset, first->header.leader_epoch);
	CHECK(eventlog_batch_open(&again, data, size, &scratch) == NULL);
	CHECK(again.header.count == first->header.count);
	CHECK(again.header.base_offset == first->header.base_offset);
	CHECK(again.header.leader_epoch == first->header.leader_epoch);
	CHECK(fuzz_batch_crc(data, size) == again.header.crc);
	CHECK(fuzz_read_records(&again) == sum);
	CHECK(again.error == NULL);
}

int
fuzz_check_batch(const char *bytes, size_t len)
{
	EventlogBatchReader reader;
	EventlogBatchReader stepper;
	EventlogRecord rec;
	char	   *batch = pg_malloc(Max(len, 1));
	char	   *records = NULL;
	const char *error;
	int			n = 0;
	int			stepped = 0;
	int64		last = -1;
	uint64		sum = 0;

	if (len > 0)
		memcpy(batch, bytes, len);

	error = eventlog_batch_open(&reader, batch, len, &scratch);
	CHECK(error == reader.error);
	if (error != NULL)
	{
		CHECK(!eventlog_batch_next(&reader, &rec));
		CHECK(!eventlog_batch_step(&reader, &rec));
		CHECK(reader.error == error);
		n = -1;
		goto done;
	}

	/* the scratch buffer may be larger than what is in it: copy it exactly */
	if (reader.records == scratch.data && scratch.data != NULL)
	{
		size_t		size = reader.end - reader.records;

		CHECK(size <= EVENTLOG_BATCH_MAX_SIZE);
		records = pg_malloc(Max(size, 1));
		memcpy(records, reader.records, size);
		reader.records = reader.next = records;
		reader.end = records + size;
	}
	stepper = reader;

	eventlog_batch_begin(&builder);
	while (eventlog_batch_next(&reader, &rec))
	{
		n++;
		CHECK(rec.offset > last);
		CHECK(rec.offset >= reader.header.base_offset);
		CHECK(rec.offset - reader.header.base_offset <= reader.header.last_offset_delta);
		last = rec.offset;
		sum = touch_record(sum, &rec);
		eventlog_batch_add(&builder, &rec,
						   (int32) (rec.offset - reader.header.base_offset));
	}
	CHECK(!eventlog_batch_next(&reader, &rec));

	/* without a look at the fields, as far at least */
	while (eventlog_batch_step(&stepper, &rec))
	{
		stepped++;
		if (stepped == n)
			CHECK(rec.offset == last);
	}
	CHECK(stepped >= n);

	if (reader.error != NULL)
	{
		n = -1;
		goto done;
	}
	CHECK(stepper.error == NULL && stepped == n);
	CHECK(n == reader.header.count);

	/* what our own reader accepts, our builder and reader must carry */
	if (n > 0)
	{
		check_again(&reader, EVENTLOG_CODEC_NONE, sum);
		check_again(&reader, EVENTLOG_CODEC_LZ4, sum);
		check_again(&reader, EVENTLOG_CODEC_ZSTD, sum);
	}

done:
	free(batch);
	free(records);
	if (scratch.cap > KEEP_SIZE)
		eventlog_buf_free(&scratch);
	if (finish_scratch.cap > KEEP_SIZE)
		eventlog_buf_free(&finish_scratch);
	if (builder.buf.cap > KEEP_SIZE)
		eventlog_buf_free(&builder.buf);
	return n;
}
