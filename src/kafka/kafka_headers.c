/*-------------------------------------------------------------------------
 *
 * kafka_headers.c
 *	  Headers: Kafka's encoding, as records carry it, and librdkafka's objects.
 *
 * A header is its name's length, name, value's length and value; lengths are
 * zigzag varints, -1 for a null value.  librdkafka takes and gives names that
 * end at a zero byte.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka_internal.h"

/* A length at *p, -1 allowed; false if it does not fit into what is left. */
static bool
read_length(const char **p, const char *end, int32 *length)
{
	uint32		bits = 0;
	int			shift;

	for (shift = 0; shift <= 28; shift += 7)
	{
		uint8		byte;

		if (*p >= end)
			return false;
		byte = (uint8) (*p)[0];
		(*p)++;
		bits |= (uint32) (byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
		{
			*length = (int32) (bits >> 1) ^ -(int32) (bits & 1);
			return *length >= -1 && *length <= end - *p;
		}
	}
	return false;
}

static char *
write_length(char *p, int32 length)
{
	uint32		bits = ((uint32) length << 1) ^ (uint32) (length >> 31);

	while (bits >= 0x80)
	{
		*p++ = (char) (bits | 0x80);
		bits >>= 7;
	}
	*p++ = (char) bits;
	return p;
}

/* librdkafka's headers for a record's; NULL if the bytes are not headers. */
rd_kafka_headers_t *
eventlog_kafka_read_headers(const EventlogRecord *record)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(record->headers_count);
	const char *p = record->headers;
	const char *end = p + record->headers_len;
	int			i;

	for (i = 0; i < record->headers_count; i++)
	{
		const char *name;
		const char *value;
		int32		name_len;
		int32		value_len;

		if (!read_length(&p, end, &name_len) || name_len < 0)
			break;
		name = p;
		p += name_len;
		if (!read_length(&p, end, &value_len))
			break;
		value = value_len < 0 ? NULL : p;
		p += Max(value_len, 0);
		if (rd_kafka_header_add(headers, name, name_len, value, Max(value_len, 0)) !=
			RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
	}
	if (i < record->headers_count || p != end)
	{
		rd_kafka_headers_destroy(headers);
		return NULL;
	}
	return headers;
}

/* Encode headers for a record, in the pool's memory.  False if there is none. */
bool
eventlog_kafka_write_headers(const rd_kafka_headers_t *headers, EventlogKafkaPool *pool,
							 EventlogRecord *record)
{
	size_t		room = 0;
	size_t		count = rd_kafka_header_cnt(headers);
	size_t		i;
	const char *name;
	const void *value;
	size_t		size;
	char	   *data;
	char	   *p;

	for (i = 0; i < count; i++)
	{
		if (rd_kafka_header_get_all(headers, i, &name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		room += strlen(name) + size + 10;
	}
	count = i;
	p = data = eventlog_kafka_alloc(pool, room);
	if (data == NULL)
		return false;
	for (i = 0; i < count; i++)
	{
		int32		name_len;

		(void) rd_kafka_header_get_all(headers, i, &name, &value, &size);
		name_len = (int32) strlen(name);
		p = write_length(p, name_len);
		memcpy(p, name, name_len);
		p += name_len;
		p = write_length(p, value ? (int32) size : -1);
		if (value != NULL && size > 0)
		{
			memcpy(p, value, size);
			p += size;
		}
	}
	record->headers = data;
	record->headers_len = (int32) (p - data);
	record->headers_count = (int32) count;
	return true;
}
