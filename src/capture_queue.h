/*-------------------------------------------------------------------------
 *
 * capture_queue.h
 *	  Messages from a capture's decoder to its appender.
 *
 * The queue is a shm_mq in a segment of dynamic shared memory that the
 * appender makes.  Messages travel in frames, several in one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_QUEUE_H
#define EVENTLOG_CAPTURE_QUEUE_H

#include "access/xlogdefs.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/shm_mq.h"

#include "capture_slot.h"

typedef enum EventlogMessageKind
{
	EVENTLOG_MESSAGE_PGOUTPUT = 1,	/* one message of pgoutput */
	EVENTLOG_MESSAGE_TABLE = 2, /* description of the table that the next
								 * pgoutput message 'R' is about */
	EVENTLOG_MESSAGE_POSITION = 3	/* all that ends before lsn was shipped */
} EventlogMessageKind;

/* Before each message's bytes. */
typedef struct EventlogMessageHeader
{
	XLogRecPtr	lsn;
	uint32		len;
	uint32		kind;
} EventlogMessageHeader;

/* What the decoder has to know; first thing in the segment. */
typedef struct EventlogQueueShared
{
	Oid			dboid;
	Oid			owner;
	int			slot;			/* number of the capture's slot in shared memory */
	uint32		generation;		/* of the appender */
	XLogRecPtr	start_lsn;		/* commits up to here have been appended */
	RepOriginId origin;			/* of the appender's own commits */
	char		slot_name[NAMEDATALEN];
	char		publication[NAMEDATALEN];
	char		name[EVENTLOG_CAPTURE_NAME_MAX + 1];
	bool		messages;		/* logical messages are wanted */
	char		error[EVENTLOG_ERROR_BYTES];	/* why the decoder has ended */
} EventlogQueueShared;

/* --- the appender's end --- */

typedef struct EventlogQueue EventlogQueue;

/* Make the segment; kept until eventlog_queue_close(). */
extern EventlogQueue *eventlog_queue_create(EventlogQueueShared **shared, dsm_handle *handle);

/* The worker that is to be at the other end: if it never comes, that shows. */
extern void eventlog_queue_set_handle(EventlogQueue *queue, BackgroundWorkerHandle *handle);

typedef enum EventlogQueueResult
{
	EVENTLOG_QUEUE_MESSAGE,
	EVENTLOG_QUEUE_EMPTY,
	EVENTLOG_QUEUE_CLOSED
} EventlogQueueResult;

/* Next message; its bytes stay until the next call.  Does not wait. */
extern EventlogQueueResult eventlog_queue_next(EventlogQueue *queue, EventlogCaptureSlot *slot,
											   EventlogMessageHeader *header, const char **bytes);

/* --- the decoder's end --- */

extern EventlogQueueShared *eventlog_queue_attach(dsm_handle handle);

/* Put a message into the frame; ships it when it is full, and then may wait. */
extern void eventlog_queue_put(EventlogMessageKind kind, XLogRecPtr lsn,
							   const char *bytes, uint32 len);

/* Ship the frame, if it has anything. */
extern void eventlog_queue_ship(void);

/* Bytes in the frame. */
extern uint32 eventlog_queue_unshipped(void);

#endif							/* EVENTLOG_CAPTURE_QUEUE_H */
