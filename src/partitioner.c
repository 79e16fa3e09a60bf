/*-------------------------------------------------------------------------
 *
 * partitioner.c
 *	  Which partition a key belongs to: bit for bit what Kafka's Java client
 *	  and librdkafka's murmur2 partitioners say, so that producers here and
 *	  there send a key to the same partition.
 *
 * Pure, like batch.c, whose header declares it.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "batch.h"

/*
 * org.apache.kafka.common.utils.Utils.murmur2: MurmurHash2 of little-endian
 * words, the seed mixed with the length.
 */
int32
eventlog_murmur2(const char *key, int32 len)
{
	const unsigned char *p = (const unsigned char *) key;
	const uint32 m = 0x5bd1e995;
	uint32		h = 0x9747b28c ^ (uint32) len;
	int32		left = len;

	while (left >= 4)
	{
		uint32		k = (uint32) p[0] | (uint32) p[1] << 8 |
			(uint32) p[2] << 16 | (uint32) p[3] << 24;

		k *= m;
		k ^= k >> 24;
		k *= m;
		h *= m;
		h ^= k;
		p += 4;
		left -= 4;
	}

	switch (left)
	{
		case 3:
			h ^= (uint32) p[2] << 16;
			/* FALLTHROUGH */
		case 2:
			h ^= (uint32) p[1] << 8;
			/* FALLTHROUGH */
		case 1:
			h ^= (uint32) p[0];
			h *= m;
	}

	h ^= h >> 13;
	h *= m;
	h ^= h >> 15;
	return (int32) h;
}

int32
eventlog_partition_for_key(const char *key, int32 len, int32 partitions)
{
	return (eventlog_murmur2(key, len) & 0x7fffffff) % partitions;
}
