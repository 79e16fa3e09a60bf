/*-------------------------------------------------------------------------
 *
 * log_sample.c
 *	  The table access method's part in ANALYZE and TABLESAMPLE.
 *
 * ANALYZE draws physical blocks: a batch belongs to the block on which it
 * starts.  TABLESAMPLE's "blocks" are runs of SAMPLE_BLOCK offsets, which keep
 * both sampling methods even whatever the sizes of batches.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tsmapi.h"
#include "nodes/execnodes.h"
#include "utils/snapmgr.h"

#include "log_tableam.h"

#define SAMPLE_BLOCK	64

static bool
analyze_block(EventlogScanDesc *scan, BlockNumber block)
{
	if (scan->cur == NULL)
	{
		scan->analyze_snapshot = RegisterSnapshot(GetLatestSnapshot());
		scan->cur = eventlog_cursor_open(scan->rs_base.rs_rd, scan->analyze_snapshot, false);
		scan->tid_base = scan->cur->meta.tid_base;
	}
	if (block >= scan->cur->meta.alloc_block)
		return false;
	return eventlog_cursor_seek_physical(scan->cur, block);
}

#ifdef EVENTLOG_ANALYZE_STREAM
/* False means that there are no more blocks, so go on to one with batches. */
bool
eventlog_analyze_next_block(TableScanDesc sscan, ReadStream *stream)
{
	Buffer		buffer;

	while (BufferIsValid(buffer = read_stream_next_buffer(stream, NULL)))
	{
		BlockNumber block = BufferGetBlockNumber(buffer);

		ReleaseBuffer(buffer);
		if (analyze_block((EventlogScanDesc *) sscan, block))
			return true;
	}
	return false;
}
#else
bool
eventlog_analyze_next_block(TableScanDesc sscan, BlockNumber block,
							BufferAccessStrategy strategy)
{
	return analyze_block((EventlogScanDesc *) sscan, block);
}
#endif

bool
eventlog_analyze_next_tuple(TableScanDesc sscan, TransactionId oldest_xmin,
							double *liverows, double *deadrows, TupleTableSlot *slot)
{
	EventlogScanDesc *scan = (EventlogScanDesc *) sscan;
	EventlogCursor *cur = scan->cur;
	EventlogRecord record;

	for (;;)
	{
		while (cur->on_batch && eventlog_batch_next(&cur->reader, &record))
		{
			if (record.offset < cur->meta.log_start_offset)
				continue;
			eventlog_slot_store(slot, &record, scan->partition, cur->entry.xmin,
								cur->entry.cmin, scan->tid_base);
			*liverows += 1;
			return true;
		}
		if (cur->on_batch && cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
		if (!eventlog_cursor_next(cur))
		{
			ExecClearTuple(slot);
			return false;
		}
	}
}

bool
eventlog_sample_next_block(TableScanDesc sscan, struct SampleScanState *state)
{
	EventlogScanDesc *scan = (EventlogScanDesc *) sscan;
	TsmRoutine *tsm = state->tsmroutine;
	const EventlogMetaHead *meta = &scan->cur->meta;
	int64		nblocks = (meta->next_offset - meta->log_start_offset + SAMPLE_BLOCK - 1) / SAMPLE_BLOCK;
	BlockNumber block;

	nblocks = Min(nblocks, (int64) MaxBlockNumber);
	if (tsm->NextSampleBlock)
		block = tsm->NextSampleBlock(state, (BlockNumber) nblocks);
	else
	{
		block = scan->started ? scan->sample_block + 1 : 0;
		if (block >= nblocks)
			block = InvalidBlockNumber;
	}
	if (!BlockNumberIsValid(block))
		return false;

	scan->started = true;
	scan->sample_block = block;
	scan->sample_first = meta->log_start_offset + (int64) block * SAMPLE_BLOCK;
	return true;
}

bool
eventlog_sample_next_tuple(TableScanDesc sscan, struct SampleScanState *state,
						   TupleTableSlot *slot)
{
	EventlogScanDesc *scan = (EventlogScanDesc *) sscan;
	EventlogCursor *cur = scan->cur;
	TsmRoutine *tsm = state->tsmroutine;

	for (;;)
	{
		OffsetNumber pos = tsm->NextSampleTuple(state, scan->sample_block, SAMPLE_BLOCK);
		int64		offset;
		EventlogRecord record;

		if (!OffsetNumberIsValid(pos))
		{
			ExecClearTuple(slot);
			return false;
		}
		offset = scan->sample_first + pos - 1;
		if (eventlog_fetch_offset(cur, offset, &record))
		{
			eventlog_slot_store(slot, &record, scan->partition, cur->entry.xmin,
								cur->entry.cmin, scan->tid_base);
			return true;
		}
	}
}
