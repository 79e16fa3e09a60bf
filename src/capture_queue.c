/*-------------------------------------------------------------------------
 *
 * capture_queue.c
 *	  Messages from a capture's decoder to its appender.
 *
 * Waking the other side costs more than copying a row: so messages are packed
 * into frames, which are shipped when they are full or when the decoder is
 * about to wait for WAL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shm_toc.h"
#include "utils/memutils.h"

#include "batch.h"
#include "capture_queue.h"

#define QUEUE_MAGIC		0x45764c71
#define KEY_SHARED		1
#define KEY_QUEUE		2

#define FRAME_BYTES		(64 * 1024)

struct EventlogQueue
{
	dsm_segment *segment;
	shm_mq_handle *mq;
	const char *next;			/* in the current frame */
	const char *end;
};

/* The decoder's. */
static shm_mq_handle *out = NULL;
static EventlogBuf frame;
static EventlogCaptureSlot *out_slot = NULL;

EventlogQueue *
eventlog_queue_create(EventlogQueueShared **shared, dsm_handle *handle)
{
	EventlogQueue *queue = MemoryContextAllocZero(TopMemoryContext, sizeof(EventlogQueue));
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	shm_toc_estimator estimator;
	shm_toc    *toc;
	shm_mq	   *mq;

	shm_toc_initialize_estimator(&estimator);
	shm_toc_estimate_chunk(&estimator, sizeof(EventlogQueueShared));
	shm_toc_estimate_chunk(&estimator, EVENTLOG_CAPTURE_QUEUE_BYTES);
	shm_toc_estimate_keys(&estimator, 2);
	queue->segment = dsm_create(shm_toc_estimate(&estimator), 0);
	dsm_pin_mapping(queue->segment);
	toc = shm_toc_create(QUEUE_MAGIC, dsm_segment_address(queue->segment),
						 dsm_segment_map_length(queue->segment));
	*shared = shm_toc_allocate(toc, sizeof(EventlogQueueShared));
	memset(*shared, 0, sizeof(EventlogQueueShared));
	shm_toc_insert(toc, KEY_SHARED, *shared);
	mq = shm_mq_create(shm_toc_allocate(toc, EVENTLOG_CAPTURE_QUEUE_BYTES),
					   EVENTLOG_CAPTURE_QUEUE_BYTES);
	shm_toc_insert(toc, KEY_QUEUE, mq);
	shm_mq_set_receiver(mq, MyProc);
	queue->mq = shm_mq_attach(mq, queue->segment, NULL);
	*handle = dsm_segment_handle(queue->segment);
	MemoryContextSwitchTo(old);
	return queue;
}

void
eventlog_queue_set_handle(EventlogQueue *queue, BackgroundWorkerHandle *handle)
{
	shm_mq_set_handle(queue->mq, handle);
}

EventlogQueueResult
eventlog_queue_next(EventlogQueue *queue, EventlogCaptureSlot *slot,
					EventlogMessageHeader *header, const char **bytes)
{
	if (queue->next == queue->end)
	{
		Size		len;
		void	   *data;

		switch (shm_mq_receive(queue->mq, &len, &data, true))
		{
			case SHM_MQ_SUCCESS:
				break;
			case SHM_MQ_WOULD_BLOCK:
				return EVENTLOG_QUEUE_EMPTY;
			case SHM_MQ_DETACHED:
				return EVENTLOG_QUEUE_CLOSED;
		}
		queue->next = data;
		queue->end = queue->next + len;
		pg_atomic_sub_fetch_u64(&slot->queued_bytes, len);
	}
	if (queue->end - queue->next < sizeof(EventlogMessageHeader))
		elog(ERROR, "bad frame in the queue of a capture");
	memcpy(header, queue->next, sizeof(EventlogMessageHeader));
	*bytes = queue->next + sizeof(EventlogMessageHeader);
	if (queue->end - *bytes < header->len)
		elog(ERROR, "bad frame in the queue of a capture");
	queue->next = *bytes + header->len;
	return EVENTLOG_QUEUE_MESSAGE;
}

EventlogQueueShared *
eventlog_queue_attach(dsm_handle handle)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	dsm_segment *segment;
	shm_toc    *toc;
	shm_mq	   *mq;
	EventlogQueueShared *shared;

	segment = dsm_attach(handle);
	if (segment == NULL)
		return NULL;
	dsm_pin_mapping(segment);
	toc = shm_toc_attach(QUEUE_MAGIC, dsm_segment_address(segment));
	if (toc == NULL)
		elog(ERROR, "bad magic number in the queue of a capture");
	shared = shm_toc_lookup(toc, KEY_SHARED, false);
	mq = shm_toc_lookup(toc, KEY_QUEUE, false);
	shm_mq_set_sender(mq, MyProc);
	out = shm_mq_attach(mq, segment, NULL);
	out_slot = &eventlog_captures->slots[shared->slot];
	eventlog_buf_reserve(&frame, FRAME_BYTES + BLCKSZ);
	MemoryContextSwitchTo(old);
	return shared;
}

void
eventlog_queue_ship(void)
{
	if (frame.len == 0)
		return;
	pg_atomic_add_fetch_u64(&out_slot->queued_bytes, frame.len);
	if (shm_mq_send(out, frame.len, frame.data, false, true) != SHM_MQ_SUCCESS)
		proc_exit(0);			/* the appender has gone */
	frame.len = 0;
	if (frame.cap > 16 * FRAME_BYTES)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		eventlog_buf_free(&frame);
		eventlog_buf_reserve(&frame, FRAME_BYTES + BLCKSZ);
		MemoryContextSwitchTo(old);
	}
}

void
eventlog_queue_put(EventlogMessageKind kind, XLogRecPtr lsn, const char *bytes, uint32 len)
{
	EventlogMessageHeader header = {.lsn = lsn, .len = len, .kind = kind};

	if (frame.cap - frame.len < sizeof(header) + len)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		eventlog_buf_reserve(&frame, sizeof(header) + len);
		MemoryContextSwitchTo(old);
	}
	memcpy(frame.data + frame.len, &header, sizeof(header));
	memcpy(frame.data + frame.len + sizeof(header), bytes, len);
	frame.len += sizeof(header) + len;
	if (frame.len >= FRAME_BYTES)
		eventlog_queue_ship();
}

uint32
eventlog_queue_unshipped(void)
{
	return frame.len;
}
