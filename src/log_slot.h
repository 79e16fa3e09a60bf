/*-------------------------------------------------------------------------
 *
 * log_slot.h
 *	  The tuple slot of a topic's leaf.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_SLOT_H
#define EVENTLOG_LOG_SLOT_H

#include "executor/tuptable.h"

#include "log_format.h"
#include "topic.h"

/* Columns of a topic's table, 0-based. */
#define EVENTLOG_ATT_PARTITION	0
#define EVENTLOG_ATT_OFFSET		1
#define EVENTLOG_ATT_TIMESTAMP	2
#define EVENTLOG_ATT_KEY		3
#define EVENTLOG_ATT_VALUE		4
#define EVENTLOG_ATT_HEADERS	5
#define EVENTLOG_NATTS			6

typedef struct EventlogSlot
{
	VirtualTupleTableSlot base;

	/* The record that the slot shows; its bytes are the cursor's. */
	EventlogRecord record;
	int32		partition;
	TransactionId xmin;
	CommandId	cmin;
	bool		has_record;

	EventlogPayloadType key_type;
	EventlogPayloadType value_type;

	/* Varlenas are built here, when a column is first asked for. */
	EventlogBuf key;
	EventlogBuf value;
	MemoryContext other;		/* jsonb and headers; NULL until needed */
} EventlogSlot;

extern const TupleTableSlotOps eventlog_slot_ops;

static inline bool
eventlog_is_slot(const TupleTableSlot *slot)
{
	return slot->tts_ops == &eventlog_slot_ops;
}

/* TID of an offset and back; see log_format.h. */
static inline void
eventlog_offset_to_tid(int64 offset, int64 tid_base, ItemPointer tid)
{
	int64		distance = offset - tid_base;

	ItemPointerSet(tid, (BlockNumber) (distance >> EVENTLOG_TID_BITS),
				   (OffsetNumber) ((distance & (EVENTLOG_TIDS_PER_BLOCK - 1)) + 1));
}

static inline int64
eventlog_tid_to_offset(ItemPointer tid, int64 tid_base)
{
	OffsetNumber pos = ItemPointerGetOffsetNumberNoCheck(tid);

	if (pos < 1 || pos > EVENTLOG_TIDS_PER_BLOCK)
		return -1;
	return tid_base + ((int64) ItemPointerGetBlockNumberNoCheck(tid) << EVENTLOG_TID_BITS) + pos - 1;
}

/*
 * Show the record that is in the slot's "record" already, perhaps with its
 * fields not yet decoded.  Its bytes must stay until the slot is cleared.
 */
static inline void
eventlog_slot_show(TupleTableSlot *slot, int32 partition, TransactionId xmin,
				   CommandId cmin, int64 tid_base)
{
	EventlogSlot *es = (EventlogSlot *) slot;

	if (unlikely(TTS_SHOULDFREE(slot) || es->other != NULL))
		ExecClearTuple(slot);
	es->partition = partition;
	es->xmin = xmin;
	es->cmin = cmin;
	es->has_record = true;
	slot->tts_flags &= ~TTS_FLAG_EMPTY;
	slot->tts_nvalid = 0;
	eventlog_offset_to_tid(es->record.offset, tid_base, &slot->tts_tid);
}

/* Show a record. */
static inline void
eventlog_slot_store(TupleTableSlot *slot, const EventlogRecord *record, int32 partition,
					TransactionId xmin, CommandId cmin, int64 tid_base)
{
	((EventlogSlot *) slot)->record = *record;
	eventlog_slot_show(slot, partition, xmin, cmin, tid_base);
}

#endif							/* EVENTLOG_LOG_SLOT_H */
