/*-------------------------------------------------------------------------
 *
 * crc32c.c
 *	  CRC-32C of a run of bytes, fast on long runs.
 *
 * The server's CRC-32C feeds one chain of the processor's crc32 instruction,
 * which has a latency of three cycles: a third of what the processor can do.
 * Every batch is checksummed when it is written and checked whenever it is
 * read, so that is worth more code.  Three neighbouring stretches are fed to
 * three chains at once, and their sums are put together.
 *
 * That works because a CRC register is linear: the register after a stretch,
 * begun from some state, is the one begun from zero XOR what that state
 * becomes over as many zero bytes.  The latter is looked up in tables, made
 * at first use by running the instruction over zeroes.
 *
 * Without that instruction the server's own code is used, whatever it has
 * chosen.  Pure: no server state, links into the stand-alone fuzzer.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "port/pg_crc32c.h"

#include "crc32c.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_CRC_INSTRUCTION
#include <nmmintrin.h>
#endif

#ifdef HAVE_CRC_INSTRUCTION

/* Bytes of one stretch. */
#define STRETCH		512

/* What a register's byte k of value v becomes over STRETCH zero bytes. */
static uint32 over_zeroes[4][256];
static bool tables_made = false;

__attribute__((target("sse4.2")))
static uint32
feed(uint32 crc, const char *p, size_t len)
{
	uint64		word;

	for (; len >= 8; p += 8, len -= 8)
	{
		memcpy(&word, p, 8);
		crc = (uint32) _mm_crc32_u64(crc, word);
	}
	for (; len > 0; p++, len--)
		crc = _mm_crc32_u8(crc, (unsigned char) *p);
	return crc;
}

static void
make_tables(void)
{
	static const char zeroes[STRETCH];

	for (int k = 0; k < 4; k++)
	{
		for (uint32 v = 0; v < 256; v++)
			over_zeroes[k][v] = feed(v << (8 * k), zeroes, STRETCH);
	}
	tables_made = true;
}

static inline uint32
pass_zeroes(uint32 crc)
{
	return over_zeroes[0][crc & 0xff] ^ over_zeroes[1][(crc >> 8) & 0xff] ^
		over_zeroes[2][(crc >> 16) & 0xff] ^ over_zeroes[3][crc >> 24];
}

__attribute__((target("sse4.2")))
static uint32
feed_three(uint32 crc, const char *p, size_t len)
{
	while (len >= 3 * STRETCH)
	{
		uint64		a = crc,
					b = 0,
					c = 0;

		for (int i = 0; i < STRETCH; i += 8)
		{
			uint64		wa,
						wb,
						wc;

			memcpy(&wa, p + i, 8);
			memcpy(&wb, p + STRETCH + i, 8);
			memcpy(&wc, p + 2 * STRETCH + i, 8);
			a = _mm_crc32_u64(a, wa);
			b = _mm_crc32_u64(b, wb);
			c = _mm_crc32_u64(c, wc);
		}
		crc = pass_zeroes(pass_zeroes((uint32) a) ^ (uint32) b) ^ (uint32) c;
		p += 3 * STRETCH;
		len -= 3 * STRETCH;
	}
	return feed(crc, p, len);
}
#endif							/* HAVE_CRC_INSTRUCTION */

uint32
eventlog_crc32c(const char *data, size_t len)
{
	pg_crc32c	crc;

#ifdef HAVE_CRC_INSTRUCTION
	if (__builtin_cpu_supports("sse4.2"))
	{
		if (unlikely(!tables_made))
			make_tables();
		return feed_three(0xFFFFFFFF, data, len) ^ 0xFFFFFFFF;
	}
#endif

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, len);
	FIN_CRC32C(crc);
	return crc;
}
