/*-------------------------------------------------------------------------
 *
 * kafka_pool.c
 *	  Memory that is given back all at once.
 *
 * Memory contexts belong to the server's one thread; this is what the helper
 * threads have instead.  A pool belongs to one thread at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

#define CHUNK_SIZE	8192

typedef struct EventlogKafkaChunk
{
	struct EventlogKafkaChunk *next;
	size_t		used;
	size_t		size;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} EventlogKafkaChunk;

/* Zeroed memory, or NULL if there is none. */
void *
eventlog_kafka_alloc(EventlogKafkaPool *pool, size_t size)
{
	EventlogKafkaChunk *chunk = pool->chunks;
	void	   *data;

	size = MAXALIGN(size);
	if (chunk == NULL || chunk->size - chunk->used < size)
	{
		size_t		room = size > CHUNK_SIZE ? size : CHUNK_SIZE;

		chunk = malloc(MAXALIGN(offsetof(EventlogKafkaChunk, data)) + room);
		if (chunk == NULL)
			return NULL;
		chunk->used = 0;
		chunk->size = room;
		chunk->next = pool->chunks;
		pool->chunks = chunk;
	}
	data = (char *) chunk + MAXALIGN(offsetof(EventlogKafkaChunk, data)) + chunk->used;
	chunk->used += size;
	memset(data, 0, size);
	return data;
}

/* A copy of a text; NULL stays NULL (and so a caller may have to look). */
char *
eventlog_kafka_copy(EventlogKafkaPool *pool, const char *text)
{
	size_t		size;
	char	   *copy;

	if (text == NULL)
		return NULL;
	size = strlen(text) + 1;
	copy = eventlog_kafka_alloc(pool, size);
	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}

void
eventlog_kafka_free(EventlogKafkaPool *pool)
{
	while (pool->chunks != NULL)
	{
		EventlogKafkaChunk *next = pool->chunks->next;

		free(pool->chunks);
		pool->chunks = next;
	}
}
