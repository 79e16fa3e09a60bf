/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Kafka's RecordBatch v2: building, parsing and walking one batch.
 *
 * This module is pure: it reads and writes bytes, knows no relation, lock,
 * snapshot or page, and never raises.  Functions that can meet bad bytes
 * return NULL on success and a constant English text on failure.  Compiled
 * with -DFRONTEND it links without a server (the fuzzer does that).
 *
 * All integers of the format are big-endian; varints are zigzag.  The layout
 * is listed in docs/format.md.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_BATCH_H
#define EVENTLOG_BATCH_H

/* includer has included postgres.h or postgres_fe.h */

#define EVENTLOG_BATCH_HEADER_SIZE	61
#define EVENTLOG_BATCH_MAGIC		2
#define EVENTLOG_BATCH_MAX_SIZE		(80 * 1024 * 1024)	/* 64 MB record + slack */

/* attribute bits */
#define EVENTLOG_BATCH_CODEC_MASK		0x0007
#define EVENTLOG_BATCH_LOG_APPEND_TIME	0x0008
#define EVENTLOG_BATCH_TRANSACTIONAL	0x0010
#define EVENTLOG_BATCH_CONTROL			0x0020
#define EVENTLOG_BATCH_DELETE_HORIZON	0x0040

typedef enum EventlogCodec
{
	EVENTLOG_CODEC_NONE = 0,
	EVENTLOG_CODEC_GZIP = 1,	/* named for messages only: not decoded */
	EVENTLOG_CODEC_SNAPPY = 2,	/* likewise */
	EVENTLOG_CODEC_LZ4 = 3,
	EVENTLOG_CODEC_ZSTD = 4
} EventlogCodec;

/* A growable byte buffer; memory comes from the current memory context. */
typedef struct EventlogBuf
{
	char	   *data;
	size_t		len;
	size_t		cap;
} EventlogBuf;

/*
 * One record.  Key and value point into somebody else's memory; a length of
 * -1 means null.  "headers" are Kafka's encoded headers without the leading
 * count, which is headers_count; headers_len is their length in bytes.
 */
typedef struct EventlogRecord
{
	int64		offset;			/* set by the reader; ignored by the builder */
	int64		timestamp;		/* milliseconds since 1970-01-01 UTC */
	const char *key;
	const char *value;
	const char *headers;
	int32		key_len;
	int32		value_len;
	int32		headers_len;
	int32		headers_count;
} EventlogRecord;

/* A batch under construction: buf holds 61 bytes of header, then records. */
typedef struct EventlogBatchBuilder
{
	EventlogBuf buf;
	int32		count;			/* records so far */
	int32		last_offset_delta;	/* of the last record; -1 when empty */
	int64		base_timestamp; /* of the first record, unless given */
	int64		max_timestamp;
	int64		min_timestamp;
	bool		base_given;
} EventlogBatchBuilder;

/* The header of a batch, decoded. */
typedef struct EventlogBatchHeader
{
	int64		base_offset;
	int32		batch_length;	/* bytes after this field: total size - 12 */
	int32		leader_epoch;
	uint32		crc;
	int16		attributes;
	int32		last_offset_delta;
	int64		base_timestamp;
	int64		max_timestamp;
	int64		producer_id;
	int16		producer_epoch;
	int32		base_sequence;
	int32		count;
} EventlogBatchHeader;

/* A batch being read. */
typedef struct EventlogBatchReader
{
	EventlogBatchHeader header;
	const char *records;		/* first byte of the (decompressed) records */
	const char *next;			/* next record */
	const char *end;
	int32		remaining;		/* records not yet returned */
	int32		last_delta;		/* offset delta of the last one; -1 at first */
	const char *error;			/* set by eventlog_batch_next on bad bytes */
} EventlogBatchReader;

/* --- bytes --- */
extern void eventlog_buf_reserve(EventlogBuf *buf, size_t more);
extern void eventlog_buf_free(EventlogBuf *buf);

/* --- building --- */

/* Start an empty batch; keeps and reuses the memory of an earlier one. */
extern void eventlog_batch_begin(EventlogBatchBuilder *b);

/* The same, for a batch whose base timestamp is not its first record's. */
extern void eventlog_batch_begin_at(EventlogBatchBuilder *b, int64 base_timestamp);

/*
 * Bytes that the record takes at most in an uncompressed batch, length prefix
 * included.  Never less than what eventlog_batch_add() writes.
 */
extern size_t eventlog_batch_record_bound(const EventlogRecord *rec);

/*
 * Add a record whose offset is the batch's base offset plus offset_delta;
 * deltas must rise.
 */
extern void eventlog_batch_add(EventlogBatchBuilder *b,
							   const EventlogRecord *rec, int32 offset_delta);

/*
 * Drop the records after the first "count", which end at byte "len" of the
 * buffer; min and max timestamps and the last delta are the caller's, saved
 * when the batch was at that point.
 */
extern void eventlog_batch_truncate(EventlogBatchBuilder *b, const EventlogBatchBuilder *saved);

/*
 * Finish: fill in the header, compress if the codec says so and it helps (the
 * batch stays uncompressed if compressing does not make it smaller), and
 * checksum.  The bytes are in b->buf or in *scratch and stay valid until either changes; their
 * address and length go to *data and *len.  base offset and leader epoch are
 * zero until eventlog_batch_set_base().  With log_append_time the attribute
 * bit is set and max_timestamp becomes append_time.  The builder's records
 * are left as they were.  Returns NULL or an error text.
 */
extern const char *eventlog_batch_finish(EventlogBatchBuilder *b,
										 EventlogCodec codec,
										 bool log_append_time, int64 append_time,
										 EventlogBuf *scratch,
										 char **data, size_t *len);

/*
 * Finish a batch that takes the place of another, of which it holds some of
 * the records: it keeps that one's range of offsets, codec and time type.
 * With delete_horizon (KIP-534) the base timestamp is the time (ms) from which
 * on tombstones need not be kept; begin it with eventlog_batch_begin_at().
 */
extern const char *eventlog_batch_finish_like(EventlogBatchBuilder *b,
											  const EventlogBatchHeader *old,
											  bool delete_horizon, EventlogBuf *scratch,
											  char **data, size_t *len);

/* Fill in the two fields that the checksum does not cover. */
extern void eventlog_batch_set_base(char *batch, int64 base_offset, int32 leader_epoch);

/* Append one header to an encoded header array.  value_len -1 is null. */
extern void eventlog_batch_add_header(EventlogBuf *buf, const char *name, int32 name_len,
									  const char *value, int32 value_len);

/* --- reading --- */

/*
 * Decode the 61 bytes at "data" and check what can be checked from them
 * alone (magic, counts, lengths).  Returns NULL or an error text.
 */
extern const char *eventlog_batch_parse_header(const char *data, EventlogBatchHeader *h);

/*
 * Check a whole batch of "len" bytes (header, CRC), decompress it into
 * *scratch if it is compressed, and place the reader before its first record.
 * Returns NULL or an error text.
 */
extern const char *eventlog_batch_open(EventlogBatchReader *r, const char *data,
									   size_t len, EventlogBuf *scratch);

/*
 * Next record: true and *rec, or false at the end or on bad bytes (then
 * r->error says what).  Never reads outside the batch, whatever the bytes.
 * Timestamps are the batch's max_timestamp under LogAppendTime.
 */
extern bool eventlog_batch_next(EventlogBatchReader *r, EventlogRecord *rec);

/*
 * The two halves of eventlog_batch_next(), for readers that often need but the
 * offset and the time: step to the next record, and decode the fields of a
 * record that was stepped to (NULL, or an error text).
 */
extern bool eventlog_batch_step(EventlogBatchReader *r, EventlogRecord *rec);
extern const char *eventlog_batch_fields(EventlogRecord *rec);

#define EVENTLOG_RECORD_UNREAD	(-2)	/* key_len before eventlog_batch_fields() */

/*
 * Walk encoded headers: *p moves from rec->headers towards end; false at the
 * end (then *p == end) or on bad bytes (then *p stays before them).
 * eventlog_batch_next() does not look inside the headers.
 */
extern bool eventlog_batch_next_header(const char **p, const char *end,
									   const char **name, int32 *name_len,
									   const char **value, int32 *value_len);

/* Place the reader before the batch's first record again. */
static inline void
eventlog_batch_rewind(EventlogBatchReader *r)
{
	r->next = r->records;
	r->remaining = r->header.count;
	r->last_delta = -1;
	r->error = NULL;
}

/* --- partitioner --- */

/* Kafka's murmur2 (seed 0x9747b28c) of the key's bytes. */
extern int32 eventlog_murmur2(const char *key, int32 len);

/* (murmur2 & 0x7fffffff) % partitions */
extern int32 eventlog_partition_for_key(const char *key, int32 len, int32 partitions);

#endif							/* EVENTLOG_BATCH_H */
