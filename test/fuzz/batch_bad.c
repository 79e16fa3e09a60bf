/*-------------------------------------------------------------------------
 *
 * batch_bad.c
 *	  Batches made by hand: each check of the reader by itself.
 *
 * Good and bad records, each field of the header, the frames that other
 * writers of lz4 and zstd make, and small frames that decompress to very much.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <lz4frame.h>
#include <zstd.h>

#include "port/pg_bswap.h"

#include "batch_test.h"

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
	fuzz_fix_envelope(batch, *len);
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
		fuzz_check_batch(batch, len);
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
	/* there must be a next offset */
	memset(batch, 0xff, 8);
	batch[0] = 0x7f;
	good = good && strcmp(read_all(batch, len, &n), "batch has invalid offsets") == 0;
	batch[7] = (char) 0xfe;
	good = good && strcmp(read_all(batch, len, &n), "") == 0;
	batch[26] = 1;				/* last offset delta */
	fuzz_fix_envelope(batch, len);
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
		fuzz_check_batch(batch, len);
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

void
test_bad_batches(void)
{
	test_hand_made();
	test_bad_headers();
	test_foreign_frames();
	test_bombs();
}
