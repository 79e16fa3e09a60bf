/*-------------------------------------------------------------------------
 *
 * fuzz_batch.c
 *	  Fuzz target: one batch of any bytes.
 *
 * The input's first byte says what is done to the rest, so that the fuzzer
 * gets behind checksum and compression, which it could hardly invent:
 *
 *		0	nothing
 *		1	length, magic and checksum are made right
 *		2	what follows the batch header is compressed with lz4 first
 *		3	likewise with zstd
 *
 * Other values mean the same as their two lowest bits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "port/pg_bswap.h"

#include "batch_codec.h"
#include "fuzz.h"

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static const EventlogCodec codecs[] = {
		EVENTLOG_CODEC_NONE, EVENTLOG_CODEC_NONE,
		EVENTLOG_CODEC_LZ4, EVENTLOG_CODEC_ZSTD
	};
	EventlogBuf batch = {0};
	int			what;
	EventlogCodec codec;

	if (size == 0)
		return 0;
	what = data[0] & 3;
	codec = codecs[what];
	data++;
	size--;

	eventlog_buf_reserve(&batch, Max(size, 1));
	if (codec == EVENTLOG_CODEC_NONE || size < EVENTLOG_BATCH_HEADER_SIZE)
	{
		memcpy(batch.data, data, size);
		batch.len = size;
	}
	else
	{
		memcpy(batch.data, data, EVENTLOG_BATCH_HEADER_SIZE);
		batch.len = EVENTLOG_BATCH_HEADER_SIZE;
		CHECK(eventlog_codec_compress(codec, (const char *) data + EVENTLOG_BATCH_HEADER_SIZE,
									  size - EVENTLOG_BATCH_HEADER_SIZE, &batch) == NULL);
		batch.data[22] = (batch.data[22] & ~EVENTLOG_BATCH_CODEC_MASK) | codec;
	}
	if (what != 0)
		fuzz_fix_envelope(batch.data, batch.len);
	fuzz_check_batch(batch.data, batch.len);
	eventlog_buf_free(&batch);
	return 0;
}
