/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Kafka's RecordBatch v2: building, parsing and walking one batch.
 *
 * A batch is 61 bytes of header, then the records, compressed as a whole if
 * the header's attributes say so:
 *
 *		 0	int64	baseOffset				\
 *		 8	int32	batchLength (from 12)	 | not covered by the checksum,
 *		12	int32	partitionLeaderEpoch	 | so offsets are filled in last
 *		16	int8	magic = 2				/
 *		17	uint32	crc: CRC-32C of byte 21 to the end
 *		21	int16	attributes
 *		23	int32	lastOffsetDelta
 *		27	int64	baseTimestamp
 *		35	int64	maxTimestamp
 *		43	int64	producerId				\
 *		51	int16	producerEpoch			 | -1: not an idempotent producer
 *		53	int32	baseSequence			/
 *		57	int32	count
 *		61	records
 *
 * A record, all numbers but the attributes being zigzag varints:
 *
 *		length (of what follows), attributes int8 (unused), timestampDelta,
 *		offsetDelta, keyLength, key, valueLength, value, headerCount,
 *		headerCount * (nameLength, name, valueLength, value)
 *
 * where a length of -1 means null.  Deltas are against the batch's base
 * values; offset deltas rise but may leave gaps (compaction makes them), and
 * timestamp deltas wrap around like Java's, so every timestamp is storable.
 *
 * Invariants:
 *	- Reading: r->next <= r->end, and nothing outside [data, data + len) or the
 *	  scratch buffer is ever read, whatever the bytes.  A record is bounded
 *	  against the batch once, its fields then against the record's end.
 *	- Offsets handed out rise and lie within the header's lastOffsetDelta.
 *	- Building: buf.len is the end of the last record; the 61 bytes before the
 *	  first are written by eventlog_batch_finish() only.
 *	- Nothing here raises, except that memory may run out.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"

#include "batch.h"
#include "batch_codec.h"
#include "crc32c.h"

/* bytes of the fields of the header */
#define BASE_OFFSET_AT			0
#define BATCH_LENGTH_AT			8
#define LEADER_EPOCH_AT			12
#define MAGIC_AT				16
#define CRC_AT					17
#define ATTRIBUTES_AT			21
#define LAST_OFFSET_DELTA_AT	23
#define BASE_TIMESTAMP_AT		27
#define MAX_TIMESTAMP_AT		35
#define PRODUCER_ID_AT			43
#define PRODUCER_EPOCH_AT		51
#define BASE_SEQUENCE_AT		53
#define COUNT_AT				57

/* batchLength counts from here */
#define LENGTH_BASE				12

/* attributes, two deltas, two lengths, header count: a byte each */
#define MIN_RECORD_BODY			6

/* the same with every varint at its longest, and the record's length */
#define MAX_RECORD_OVERHEAD		(5 + 1 + 10 + 5 + 5 + 5 + 5)

/*
 * Bytes.
 */

/*
 * Make room for "more" bytes after buf->len.  A buffer belongs to the memory
 * context that was current when it was first given memory.
 */
void
eventlog_buf_reserve(EventlogBuf *buf, size_t more)
{
	size_t		need = buf->len + more;
	size_t		cap;

	if (likely(need <= buf->cap))
		return;

	cap = Max(need, buf->cap * 2);
	cap = Max(cap, 1024);

#ifdef FRONTEND
	buf->data = pg_realloc(buf->data, cap);
#else
	if (buf->data == NULL)
		buf->data = palloc_extended(cap, MCXT_ALLOC_HUGE);
	else
		buf->data = repalloc_huge(buf->data, cap);
#endif
	buf->cap = cap;
}

/* Give the memory back; the buffer is empty and can be used again. */
void
eventlog_buf_free(EventlogBuf *buf)
{
	if (buf->data != NULL)
		pfree(buf->data);
	buf->data = NULL;
	buf->len = 0;
	buf->cap = 0;
}

static inline void
put_int16(char *p, int16 v)
{
	uint16		be = pg_hton16((uint16) v);

	memcpy(p, &be, sizeof(be));
}

static inline void
put_int32(char *p, int32 v)
{
	uint32		be = pg_hton32((uint32) v);

	memcpy(p, &be, sizeof(be));
}

static inline void
put_int64(char *p, int64 v)
{
	uint64		be = pg_hton64((uint64) v);

	memcpy(p, &be, sizeof(be));
}

static inline int16
get_int16(const char *p)
{
	uint16		be;

	memcpy(&be, p, sizeof(be));
	return (int16) pg_ntoh16(be);
}

static inline int32
get_int32(const char *p)
{
	uint32		be;

	memcpy(&be, p, sizeof(be));
	return (int32) pg_ntoh32(be);
}

static inline int64
get_int64(const char *p)
{
	uint64		be;

	memcpy(&be, p, sizeof(be));
	return (int64) pg_ntoh64(be);
}

/*
 * Varints.
 */

static inline uint32
zigzag32(int32 v)
{
	return ((uint32) v << 1) ^ (uint32) (v >> 31);
}

static inline uint64
zigzag64(int64 v)
{
	return ((uint64) v << 1) ^ (uint64) (v >> 63);
}

static inline int32
unzigzag32(uint32 v)
{
	return (int32) ((v >> 1) ^ (~(v & 1) + 1));
}

static inline int64
unzigzag64(uint64 v)
{
	return (int64) ((v >> 1) ^ (~(v & 1) + 1));
}

/*
 * Bytes that a varint takes: a seventh of its bits, rounded up.  With b the
 * position of the highest bit, (9b + 73) / 64 is that for b from 0 to 63.
 */
static inline uint32
varint_size(uint64 v)
{
	return (pg_leftmost_one_pos64(v | 1) * 9 + 73) >> 6;
}

static inline char *
put_varint(char *p, uint64 v)
{
	while (v >= 0x80)
	{
		*p++ = (char) (v | 0x80);
		v >>= 7;
	}
	*p++ = (char) v;
	return p;
}

/*
 * Read a varint of any length, whose value fits "bits" bits.  Returns where it
 * ends, or NULL if it is cut off or too long.
 */
static pg_noinline const char *
get_varint_slow(const char *p, const char *end, int bits, uint64 *v)
{
	uint64		result = 0;
	int			shift;

	for (shift = 0; shift < bits && p < end; shift += 7)
	{
		uint64		byte = (unsigned char) *p++;

		/* the last byte may not carry bits beyond the type's */
		if (shift + 7 > bits && (byte >> (bits - shift)) != 0)
			return NULL;
		result |= (byte & 0x7f) << shift;
		if (byte < 0x80)
		{
			*v = result;
			return p;
		}
	}
	return NULL;
}

/*
 * The readers proper: one and two bytes inline, which is all that typical
 * records have.  Return where the varint ends, or NULL.
 */
static inline const char *
get_varint32(const char *p, const char *end, int32 *v)
{
	uint64		raw;

	if (likely(end - p >= 2))
	{
		uint32		b0 = (unsigned char) p[0];
		uint32		b1 = (unsigned char) p[1];

		if (likely(b0 < 0x80))
		{
			*v = unzigzag32(b0);
			return p + 1;
		}
		if (likely(b1 < 0x80))
		{
			*v = unzigzag32((b0 & 0x7f) | (b1 << 7));
			return p + 2;
		}
	}
	p = get_varint_slow(p, end, 32, &raw);
	if (p != NULL)
		*v = unzigzag32((uint32) raw);
	return p;
}

static inline const char *
get_varint64(const char *p, const char *end, int64 *v)
{
	uint64		raw;

	if (likely(end - p >= 2))
	{
		uint32		b0 = (unsigned char) p[0];
		uint32		b1 = (unsigned char) p[1];

		if (likely(b0 < 0x80))
		{
			*v = unzigzag32(b0);
			return p + 1;
		}
		if (likely(b1 < 0x80))
		{
			*v = unzigzag32((b0 & 0x7f) | (b1 << 7));
			return p + 2;
		}
	}
	p = get_varint_slow(p, end, 64, &raw);
	if (p != NULL)
		*v = unzigzag64(raw);
	return p;
}

/*
 * Building.
 */

void
eventlog_batch_begin(EventlogBatchBuilder *b)
{
	b->buf.len = 0;
	eventlog_buf_reserve(&b->buf, EVENTLOG_BATCH_HEADER_SIZE);
	b->buf.len = EVENTLOG_BATCH_HEADER_SIZE;
	b->count = 0;
	b->last_offset_delta = -1;
	b->base_timestamp = 0;
	b->max_timestamp = 0;
	b->min_timestamp = 0;
	b->base_given = false;
}

void
eventlog_batch_begin_at(EventlogBatchBuilder *b, int64 base_timestamp)
{
	eventlog_batch_begin(b);
	b->base_timestamp = base_timestamp;
	b->base_given = true;
}

size_t
eventlog_batch_record_bound(const EventlogRecord *rec)
{
	return MAX_RECORD_OVERHEAD +
		(size_t) Max(rec->key_len, 0) +
		(size_t) Max(rec->value_len, 0) +
		(size_t) rec->headers_len;
}

void
eventlog_batch_add(EventlogBatchBuilder *b, const EventlogRecord *rec,
				   int32 offset_delta)
{
	uint32		key_size = (uint32) Max(rec->key_len, 0);
	uint32		value_size = (uint32) Max(rec->value_len, 0);
	uint32		headers_size = (uint32) rec->headers_len;
	uint64		ts;
	uint32		off;
	uint32		klen;
	uint32		vlen;
	uint32		hcount;
	uint32		body;
	uint32		total;
	char	   *p;

	Assert(offset_delta > b->last_offset_delta);
	Assert(rec->headers_count > 0 || rec->headers_len == 0);

	if (unlikely(b->count == 0))
	{
		if (!b->base_given)
			b->base_timestamp = rec->timestamp;
		b->max_timestamp = rec->timestamp;
		b->min_timestamp = rec->timestamp;
	}
	else
	{
		b->max_timestamp = Max(b->max_timestamp, rec->timestamp);
		b->min_timestamp = Min(b->min_timestamp, rec->timestamp);
	}

	ts = zigzag64((int64) ((uint64) rec->timestamp - (uint64) b->base_timestamp));
	off = zigzag32(offset_delta);
	klen = zigzag32(rec->key_len);
	vlen = zigzag32(rec->value_len);
	hcount = zigzag32(rec->headers_count);

	body = 1 + varint_size(ts) + varint_size(off) +
		varint_size(klen) + key_size +
		varint_size(vlen) + value_size +
		varint_size(hcount) + headers_size;
	total = varint_size(zigzag32((int32) body)) + body;

	if (unlikely(b->buf.len + total > b->buf.cap))
		eventlog_buf_reserve(&b->buf, total);

	p = b->buf.data + b->buf.len;
	p = put_varint(p, zigzag32((int32) body));
	*p++ = 0;					/* attributes: none are defined */
	p = put_varint(p, ts);
	p = put_varint(p, off);
	p = put_varint(p, klen);
	if (key_size > 0)
	{
		memcpy(p, rec->key, key_size);
		p += key_size;
	}
	p = put_varint(p, vlen);
	if (value_size > 0)
	{
		memcpy(p, rec->value, value_size);
		p += value_size;
	}
	p = put_varint(p, hcount);
	if (headers_size > 0)
	{
		memcpy(p, rec->headers, headers_size);
		p += headers_size;
	}

	Assert(p == b->buf.data + b->buf.len + total);
	b->buf.len += total;
	b->count++;
	b->last_offset_delta = offset_delta;
}

void
eventlog_batch_truncate(EventlogBatchBuilder *b, const EventlogBatchBuilder *saved)
{
	Assert(saved->buf.len <= b->buf.len);
	Assert(saved->count <= b->count);

	b->buf.len = saved->buf.len;
	b->count = saved->count;
	b->last_offset_delta = saved->last_offset_delta;
	b->base_timestamp = saved->base_timestamp;
	b->max_timestamp = saved->max_timestamp;
	b->min_timestamp = saved->min_timestamp;
}

static const char *
finish(EventlogBatchBuilder *b, EventlogCodec codec, int16 attributes,
	   int32 last_offset_delta, int64 max_timestamp,
	   EventlogBuf *scratch, char **data, size_t *len)
{
	char	   *batch = b->buf.data;
	size_t		size = b->buf.len;

	if (b->count == 0)
		return "batch has no records";
	if (size > EVENTLOG_BATCH_MAX_SIZE)
		return "batch is too large";

	if (codec != EVENTLOG_CODEC_NONE)
	{
		const char *error;

		scratch->len = 0;
		eventlog_buf_reserve(scratch, EVENTLOG_BATCH_HEADER_SIZE);
		scratch->len = EVENTLOG_BATCH_HEADER_SIZE;
		error = eventlog_codec_compress(codec,
										batch + EVENTLOG_BATCH_HEADER_SIZE,
										size - EVENTLOG_BATCH_HEADER_SIZE,
										scratch);
		if (error != NULL)
			return error;
		if (scratch->len < size)
		{
			batch = scratch->data;
			size = scratch->len;
			attributes |= (int16) codec;
		}
	}

	put_int64(batch + BASE_OFFSET_AT, 0);
	put_int32(batch + BATCH_LENGTH_AT, (int32) (size - LENGTH_BASE));
	put_int32(batch + LEADER_EPOCH_AT, 0);
	batch[MAGIC_AT] = EVENTLOG_BATCH_MAGIC;
	put_int16(batch + ATTRIBUTES_AT, attributes);
	put_int32(batch + LAST_OFFSET_DELTA_AT, last_offset_delta);
	put_int64(batch + BASE_TIMESTAMP_AT, b->base_timestamp);
	put_int64(batch + MAX_TIMESTAMP_AT, max_timestamp);
	put_int64(batch + PRODUCER_ID_AT, -1);
	put_int16(batch + PRODUCER_EPOCH_AT, -1);
	put_int32(batch + BASE_SEQUENCE_AT, -1);
	put_int32(batch + COUNT_AT, b->count);

	put_int32(batch + CRC_AT,
			  (int32) eventlog_crc32c(batch + ATTRIBUTES_AT, size - ATTRIBUTES_AT));

	*data = batch;
	*len = size;
	return NULL;
}

const char *
eventlog_batch_finish(EventlogBatchBuilder *b, EventlogCodec codec,
					  bool log_append_time, int64 append_time,
					  EventlogBuf *scratch, char **data, size_t *len)
{
	return finish(b, codec, log_append_time ? EVENTLOG_BATCH_LOG_APPEND_TIME : 0,
				  b->last_offset_delta, log_append_time ? append_time : b->max_timestamp,
				  scratch, data, len);
}

const char *
eventlog_batch_finish_like(EventlogBatchBuilder *b, const EventlogBatchHeader *old,
						   bool delete_horizon, EventlogBuf *scratch,
						   char **data, size_t *len)
{
	bool		append_time = (old->attributes & EVENTLOG_BATCH_LOG_APPEND_TIME) != 0;
	int16		attributes = old->attributes &
		~(EVENTLOG_BATCH_CODEC_MASK | EVENTLOG_BATCH_DELETE_HORIZON);

	if (delete_horizon)
		attributes |= EVENTLOG_BATCH_DELETE_HORIZON;
	return finish(b, (EventlogCodec) (old->attributes & EVENTLOG_BATCH_CODEC_MASK), attributes,
				  old->last_offset_delta, append_time ? old->max_timestamp : b->max_timestamp,
				  scratch, data, len);
}

void
eventlog_batch_set_base(char *batch, int64 base_offset, int32 leader_epoch)
{
	put_int64(batch + BASE_OFFSET_AT, base_offset);
	put_int32(batch + LEADER_EPOCH_AT, leader_epoch);
}

void
eventlog_batch_add_header(EventlogBuf *buf, const char *name, int32 name_len,
						  const char *value, int32 value_len)
{
	char	   *p;

	eventlog_buf_reserve(buf, 5 + (size_t) name_len + 5 + (size_t) Max(value_len, 0));

	p = buf->data + buf->len;
	p = put_varint(p, zigzag32(name_len));
	if (name_len > 0)
	{
		memcpy(p, name, name_len);
		p += name_len;
	}
	p = put_varint(p, zigzag32(value_len));
	if (value_len > 0)
	{
		memcpy(p, value, value_len);
		p += value_len;
	}
	buf->len = p - buf->data;
}

/*
 * Reading.
 */

const char *
eventlog_batch_parse_header(const char *data, EventlogBatchHeader *h)
{
	h->base_offset = get_int64(data + BASE_OFFSET_AT);
	h->batch_length = get_int32(data + BATCH_LENGTH_AT);
	h->leader_epoch = get_int32(data + LEADER_EPOCH_AT);
	h->crc = (uint32) get_int32(data + CRC_AT);
	h->attributes = get_int16(data + ATTRIBUTES_AT);
	h->last_offset_delta = get_int32(data + LAST_OFFSET_DELTA_AT);
	h->base_timestamp = get_int64(data + BASE_TIMESTAMP_AT);
	h->max_timestamp = get_int64(data + MAX_TIMESTAMP_AT);
	h->producer_id = get_int64(data + PRODUCER_ID_AT);
	h->producer_epoch = get_int16(data + PRODUCER_EPOCH_AT);
	h->base_sequence = get_int32(data + BASE_SEQUENCE_AT);
	h->count = get_int32(data + COUNT_AT);

	if (data[MAGIC_AT] != EVENTLOG_BATCH_MAGIC)
		return "batch is not of format version 2";
	if (h->batch_length < EVENTLOG_BATCH_HEADER_SIZE - LENGTH_BASE)
		return "batch is shorter than its header";
	if (h->batch_length > EVENTLOG_BATCH_MAX_SIZE - LENGTH_BASE)
		return "batch is too large";
	/* behind the last offset there must be a next one */
	if (h->base_offset < 0 || h->last_offset_delta < 0 ||
		h->base_offset >= PG_INT64_MAX - h->last_offset_delta)
		return "batch has invalid offsets";

	/* A compacted batch keeps its offsets even if no record is left in it. */
	if (h->count < 0 || h->count - 1 > h->last_offset_delta)
		return "batch has an invalid number of records";
	if ((h->attributes & EVENTLOG_BATCH_CODEC_MASK) == EVENTLOG_CODEC_NONE &&
		h->count > (h->batch_length + LENGTH_BASE - EVENTLOG_BATCH_HEADER_SIZE) / (1 + MIN_RECORD_BODY))
		return "batch has an invalid number of records";
	return NULL;
}

const char *
eventlog_batch_open(EventlogBatchReader *r, const char *data, size_t len,
					EventlogBuf *scratch)
{
	EventlogCodec codec;
	const char *error;

	/* whatever goes wrong, a reader that was not opened has no records */
	r->records = r->next = r->end = data;
	r->remaining = 0;
	r->last_delta = -1;
	r->error = NULL;

	if (len < EVENTLOG_BATCH_HEADER_SIZE)
		return r->error = "batch is shorter than its header";
	error = eventlog_batch_parse_header(data, &r->header);
	if (error != NULL)
		return r->error = error;
	if (len != (size_t) r->header.batch_length + LENGTH_BASE)
		return r->error = "batch has another length than its header says";

	if (eventlog_crc32c(data + ATTRIBUTES_AT, len - ATTRIBUTES_AT) != r->header.crc)
		return r->error = "batch has an invalid checksum";

	/* Control records are transaction markers, not data. */
	if (r->header.attributes & EVENTLOG_BATCH_CONTROL)
		return r->error = "batch is a control batch";

	codec = (EventlogCodec) (r->header.attributes & EVENTLOG_BATCH_CODEC_MASK);
	if (codec == EVENTLOG_CODEC_NONE)
	{
		r->records = data + EVENTLOG_BATCH_HEADER_SIZE;
		r->end = data + len;
	}
	else if (r->header.count > 0)
	{
		error = eventlog_codec_decompress(codec,
										  data + EVENTLOG_BATCH_HEADER_SIZE,
										  len - EVENTLOG_BATCH_HEADER_SIZE,
										  scratch);
		if (error != NULL)
			return r->error = error;
		r->records = scratch->data;
		r->end = scratch->data + scratch->len;
	}
	r->next = r->records;
	r->remaining = r->header.count;
	return NULL;
}

/* Bad bytes: nothing more comes from this batch. */
static pg_noinline bool
reader_fail(EventlogBatchReader *r, const char *error)
{
	r->error = error;
	r->remaining = 0;
	r->next = r->end;
	return false;
}

/* No record is left: true to the header only if no byte is left either. */
static pg_noinline bool
reader_finish(EventlogBatchReader *r)
{
	if (r->error == NULL && r->next != r->end)
		return reader_fail(r, "batch has bytes after its last record");
	return false;
}

/*
 * Read what all records begin with.  On success returns what follows the
 * offset delta, and *rec_end is the record's end, within the batch.
 */
static inline const char *
reader_start_record(EventlogBatchReader *r, const char **rec_end,
					int64 *ts_delta, int32 *delta)
{
	const char *p;
	int32		body;

	p = get_varint32(r->next, r->end, &body);
	if (unlikely(p == NULL || body < MIN_RECORD_BODY || body > r->end - p))
	{
		reader_fail(r, "record has an invalid length");
		return NULL;
	}
	*rec_end = p + body;

	p = get_varint64(p + 1, *rec_end, ts_delta);
	if (unlikely(p == NULL))
	{
		reader_fail(r, "record has an invalid timestamp");
		return NULL;
	}
	p = get_varint32(p, *rec_end, delta);
	if (unlikely(p == NULL || *delta <= r->last_delta ||
				 *delta > r->header.last_offset_delta))
	{
		reader_fail(r, "record has an invalid offset");
		return NULL;
	}
	return p;
}

bool
eventlog_batch_step(EventlogBatchReader *r, EventlogRecord *rec)
{
	const char *p;
	const char *rec_end;
	int64		ts_delta;
	int32		delta;

	if (unlikely(r->remaining == 0))
		return reader_finish(r);

	p = reader_start_record(r, &rec_end, &ts_delta, &delta);
	if (unlikely(p == NULL))
		return false;

	rec->offset = r->header.base_offset + delta;
	if (likely(!(r->header.attributes & EVENTLOG_BATCH_LOG_APPEND_TIME)))
		rec->timestamp = (int64) ((uint64) r->header.base_timestamp + (uint64) ts_delta);
	else
		rec->timestamp = r->header.max_timestamp;

	/* where eventlog_batch_fields() goes on */
	rec->key = p;
	rec->value = rec_end;
	rec->key_len = EVENTLOG_RECORD_UNREAD;

	r->next = rec_end;
	r->last_delta = delta;
	r->remaining--;
	return true;
}

const char *
eventlog_batch_fields(EventlogRecord *rec)
{
	const char *p = rec->key;
	const char *rec_end = rec->value;
	int32		length;

	if (rec->key_len != EVENTLOG_RECORD_UNREAD)
		return NULL;

	p = get_varint32(p, rec_end, &length);
	if (unlikely(p == NULL || length < -1 || length > rec_end - p))
		return "record has an invalid key length";
	rec->key_len = length;
	if (length < 0)
		rec->key = NULL;
	else
	{
		rec->key = p;
		p += length;
	}

	p = get_varint32(p, rec_end, &length);
	if (unlikely(p == NULL || length < -1 || length > rec_end - p))
		return "record has an invalid value length";
	rec->value_len = length;
	if (length < 0)
		rec->value = NULL;
	else
	{
		rec->value = p;
		p += length;
	}

	/* a header takes two bytes at least; its inside is checked when walked */
	if (likely(rec_end - p == 1 && *p == 0))
	{
		p = rec_end;
		length = 0;
	}
	else
	{
		p = get_varint32(p, rec_end, &length);
		if (unlikely(p == NULL || length < 0 || length > (rec_end - p) / 2 ||
					 (length == 0 && p != rec_end)))
			return "record has an invalid number of headers";
	}
	rec->headers = p;
	rec->headers_count = length;
	rec->headers_len = (int32) (rec_end - p);
	return NULL;
}

bool
eventlog_batch_next(EventlogBatchReader *r, EventlogRecord *rec)
{
	const char *problem;

	if (unlikely(!eventlog_batch_step(r, rec)))
		return false;
	problem = eventlog_batch_fields(rec);
	if (unlikely(problem != NULL))
		return reader_fail(r, problem);
	return true;
}

bool
eventlog_batch_next_header(const char **p, const char *end,
						   const char **name, int32 *name_len,
						   const char **value, int32 *value_len)
{
	const char *q = *p;

	if (q >= end)
		return false;

	q = get_varint32(q, end, name_len);
	if (q == NULL || *name_len < 0 || *name_len > end - q)
		return false;
	*name = q;
	q += *name_len;

	q = get_varint32(q, end, value_len);
	if (q == NULL || *value_len < -1 || *value_len > end - q)
		return false;
	*value = *value_len < 0 ? NULL : q;
	q += Max(*value_len, 0);

	*p = q;
	return true;
}
