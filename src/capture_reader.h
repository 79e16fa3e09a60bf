/*-------------------------------------------------------------------------
 *
 * capture_reader.h
 *	  What the readers of a snapshot and their leader say to each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_READER_H
#define EVENTLOG_CAPTURE_READER_H

#include "lib/stringinfo.h"
#include "port/atomics.h"
#include "storage/proc.h"

#include "capture_snapshot.h"

#define EVENTLOG_READER_MAGIC			0x65764c53
#define EVENTLOG_READER_QUEUE_SIZE		((Size) 1024 * 1024)
#define EVENTLOG_READER_FRAME_SIZE		(64 * 1024)

/* keys of the segment's table of contents */
#define EVENTLOG_READER_KEY_HEADER		1
#define EVENTLOG_READER_KEY_WORK		2
#define EVENTLOG_READER_KEY_SNAPSHOT	3
#define EVENTLOG_READER_KEY_QUEUES		4

/* first bytes of messages; 'E' and 'N' are the client protocol's */
#define EVENTLOG_SENT_FIRST			'f' /* a chunk's first row */
#define EVENTLOG_SENT_RECORDS		'r' /* records that were encoded */
#define EVENTLOG_SENT_LAST			'l' /* a chunk's last row */
#define EVENTLOG_SENT_DONE			'd' /* a chunk is read */

/* what a frame of records consists of */
#define EVENTLOG_ITEM_TOPIC			'T'
#define EVENTLOG_ITEM_RECORD		'R'
#define EVENTLOG_ITEM_SAME_HEADERS	'S' /* a record with the headers of the one before */

/* The segment's header. */
typedef struct EventlogReaderHeader
{
	Oid			database;
	Oid			owner;
	PGPROC	   *leader;
	int			leader_pid;
	pg_atomic_uint32 next_chunk;
	uint32		nqueues;
	Size		work_size;
} EventlogReaderHeader;

/* What is before a row or a frame. */
typedef struct EventlogSentHead
{
	int32		chunk;
	int32		rows;			/* of EVENTLOG_SENT_RECORDS */
} EventlogSentHead;

typedef struct EventlogSentRecord
{
	int64		timestamp;
	int32		topic;
	int32		partition;
	int32		key_len;
	int32		value_len;
	int32		headers_len;
	int32		headers_count;
} EventlogSentRecord;

/* What readers have to know of a snapshot, as bytes. */
extern void eventlog_reader_write_work(StringInfo out, const EventlogSnapshotWork *work);

#endif							/* EVENTLOG_CAPTURE_READER_H */
