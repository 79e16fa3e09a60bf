/*-------------------------------------------------------------------------
 *
 * batch_codec.c
 *	  Compression of the records of one batch: lz4 and zstd as Kafka does it.
 *
 * Kafka's lz4 is the LZ4 *frame* format with independent 64 kB blocks, no
 * content size and no checksums (the batch has its own); its zstd is one plain
 * zstd frame, from Java without a content size.  The reader takes any valid
 * frame of either.
 *
 * Invariants:
 *	- Library contexts live in statics, are made at first use and are kept for
 *	  the life of the process: making one costs more than compressing a batch.
 *	  Each call starts by resetting the one it uses, so an error raised while
 *	  growing a buffer (out of memory) leaves nothing to clean up.
 *	- Output never exceeds EVENTLOG_BATCH_MAX_SIZE, whatever the input claims.
 *	  The output buffer grows with what was really decoded, except that a zstd
 *	  frame's declared size is believed up to that limit.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <lz4frame.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "batch_codec.h"

/* Kafka's default, compression.zstd.level */
#define ZSTD_LEVEL		3

/* The least room to decode into: one lz4 block, so that none is copied twice. */
#define DECODE_STEP		(64 * 1024)

static const char *lz4_compress(const char *src, size_t len, EventlogBuf *dst);
static const char *lz4_decompress(const char *src, size_t len, EventlogBuf *dst);
static const char *zstd_compress(const char *src, size_t len, EventlogBuf *dst);
static const char *zstd_decompress(const char *src, size_t len, EventlogBuf *dst);

const char *
eventlog_codec_compress(EventlogCodec codec, const char *src, size_t len,
						EventlogBuf *dst)
{
	switch (codec)
	{
		case EVENTLOG_CODEC_LZ4:
			return lz4_compress(src, len, dst);
		case EVENTLOG_CODEC_ZSTD:
			return zstd_compress(src, len, dst);
		default:
			return "compression codec is not supported";
	}
}

const char *
eventlog_codec_decompress(EventlogCodec codec, const char *src, size_t len,
						  EventlogBuf *dst)
{
	dst->len = 0;

	switch (codec)
	{
		case EVENTLOG_CODEC_LZ4:
			return lz4_decompress(src, len, dst);
		case EVENTLOG_CODEC_ZSTD:
			return zstd_decompress(src, len, dst);
		case EVENTLOG_CODEC_GZIP:
			return "batch is compressed with gzip, which is not supported";
		case EVENTLOG_CODEC_SNAPPY:
			return "batch is compressed with snappy, which is not supported";
		default:
			return "batch is compressed with an unknown codec";
	}
}

static const char *
lz4_compress(const char *src, size_t len, EventlogBuf *dst)
{
	static const LZ4F_preferences_t prefs = {
		.frameInfo = {
			.blockSizeID = LZ4F_max64KB,
			.blockMode = LZ4F_blockIndependent
		},
		.autoFlush = 1
	};
	size_t		bound = LZ4F_compressFrameBound(len, &prefs);
	size_t		written;

	eventlog_buf_reserve(dst, bound);
	written = LZ4F_compressFrame(dst->data + dst->len, bound, src, len, &prefs);
	if (LZ4F_isError(written))
		return "could not compress the batch with lz4";
	dst->len += written;
	return NULL;
}

/*
 * Decode any number of frames up to the end of the input.  The library writes
 * straight into our buffer as long as a whole block fits there.
 */
static const char *
lz4_decompress(const char *src, size_t len, EventlogBuf *dst)
{
	static LZ4F_dctx *dctx = NULL;
	const char *end = src + len;
	size_t		hint;

	if (dctx == NULL)
	{
		if (LZ4F_isError(LZ4F_createDecompressionContext(&dctx, LZ4F_VERSION)))
		{
			dctx = NULL;
			return "could not create an lz4 context";
		}
	}
	else
		LZ4F_resetDecompressionContext(dctx);

	for (;;)
	{
		size_t		src_size = end - src;
		size_t		dst_size;
		size_t		room;

		/*
		 * The room includes one byte above the limit, so that going past the
		 * limit is seen rather than taken for a block that waits for room.
		 */
		if (dst->len > EVENTLOG_BATCH_MAX_SIZE)
			return "batch is too large after decompression";
		eventlog_buf_reserve(dst, DECODE_STEP);
		room = Min(dst->cap, EVENTLOG_BATCH_MAX_SIZE + (size_t) 1) - dst->len;

		dst_size = room;
		hint = LZ4F_decompress(dctx, dst->data + dst->len, &dst_size,
							   src, &src_size, NULL);
		if (LZ4F_isError(hint) ||
			(src < end && src_size == 0 && dst_size == 0))
			return "batch has invalid lz4 data";
		dst->len += dst_size;
		src += src_size;

		/* the end mark is taken only after all output before it was given */
		if (src == end)
			break;
	}

	if (hint != 0)
		return "batch has truncated lz4 data";
	if (dst->len > EVENTLOG_BATCH_MAX_SIZE)
		return "batch is too large after decompression";
	return NULL;
}

static const char *
zstd_compress(const char *src, size_t len, EventlogBuf *dst)
{
	static ZSTD_CCtx *cctx = NULL;
	size_t		bound = ZSTD_compressBound(len);
	size_t		written;

	if (cctx == NULL && (cctx = ZSTD_createCCtx()) == NULL)
		return "could not create a zstd context";

	eventlog_buf_reserve(dst, bound);
	written = ZSTD_compressCCtx(cctx, dst->data + dst->len, bound, src, len,
								ZSTD_LEVEL);
	if (ZSTD_isError(written))
		return "could not compress the batch with zstd";
	dst->len += written;
	return NULL;
}

/*
 * Decode in one call into the buffer as it is, and again into a larger one
 * while that was too small: readers reuse the buffer, so the first call nearly
 * always does, and one-shot decoding needs no window memory, which a hostile
 * frame could ask 128 MB of.
 */
static const char *
zstd_decompress(const char *src, size_t len, EventlogBuf *dst)
{
	static ZSTD_DCtx *dctx = NULL;
	unsigned long long declared = ZSTD_getFrameContentSize(src, len);
	size_t		want;

	if (declared == ZSTD_CONTENTSIZE_ERROR)
		return "batch has invalid zstd data";
	if (dctx == NULL && (dctx = ZSTD_createDCtx()) == NULL)
		return "could not create a zstd context";

	if (declared == ZSTD_CONTENTSIZE_UNKNOWN)
		want = Min(Max(len * 4, DECODE_STEP), EVENTLOG_BATCH_MAX_SIZE);
	else if (declared > EVENTLOG_BATCH_MAX_SIZE)
		return "batch is too large after decompression";
	else
		want = (size_t) declared;

	for (;;)
	{
		size_t		room;
		size_t		written;

		eventlog_buf_reserve(dst, Max(want, 1));
		room = Min(dst->cap, EVENTLOG_BATCH_MAX_SIZE);
		written = ZSTD_decompressDCtx(dctx, dst->data, room, src, len);
		if (!ZSTD_isError(written))
		{
			dst->len = written;
			return NULL;
		}
		if (ZSTD_getErrorCode(written) != ZSTD_error_dstSize_tooSmall)
			return "batch has invalid zstd data";
		if (room >= EVENTLOG_BATCH_MAX_SIZE)
			return "batch is too large after decompression";
		want = Min(room * 2, EVENTLOG_BATCH_MAX_SIZE);
	}
}
