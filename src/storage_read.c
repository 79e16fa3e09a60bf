/*-------------------------------------------------------------------------
 *
 * storage_read.c
 *	  Reading a partition's file: metapage, segments, pages.
 *
 * Readers share-lock one page at a time; only a map page is looked at while
 * the metapage is still locked, since map pages are used again.  So readers
 * cannot deadlock with anybody.  They copy what they need and keep no pin.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "storage/procarray.h"
#include "storage/smgr.h"

#include "guc.h"
#include "log_meta.h"
#include "log_page.h"
#include "log_storage.h"

void
eventlog_storage_damaged(Relation rel, BlockNumber block, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("block %u of relation \"%s\" is damaged: %s",
					block, RelationGetRelationName(rel), problem),
			 errhint("Restore the relation from a backup. eventlog.verify() tells what is damaged.")));
}

Page
eventlog_storage_meta_page(Relation rel, Buffer metabuf)
{
	Page		page = BufferGetPage(metabuf);
	const char *problem = eventlog_page_check(page, EVENTLOG_PAGE_META);

	if (problem)
		eventlog_storage_damaged(rel, EVENTLOG_METAPAGE_BLKNO, problem);
	return page;
}

/*
 * The log start with what committed transactions, and this one, have asked
 * for since it was last moved.
 */
static int64
effective_start(const EventlogMetaHead *head, const EventlogLife *life)
{
	int64		start = head->log_start_offset;

	for (int i = 0; i < life->npending; i++)
	{
		if (life->pending[i].offset > start &&
			eventlog_storage_start_holds(&life->pending[i]))
			start = life->pending[i].offset;
	}
	return start;
}

bool
eventlog_storage_start_holds(const EventlogPendingStart *pending)
{
	TransactionId xid = XidFromFullTransactionId(pending->xid);

	return TransactionIdIsCurrentTransactionId(xid) ||
		(!TransactionIdIsInProgress(xid) && TransactionIdDidCommit(xid));
}

void
eventlog_storage_read_meta(Relation rel, EventlogMetaHead *meta, uint32 *layout)
{
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	const EventlogLife *life;
	Page		page;

	LockBuffer(metabuf, BUFFER_LOCK_SHARE);
	page = eventlog_storage_meta_page(rel, metabuf);
	memcpy(meta, &EventlogPageGetMeta(page)->head, sizeof(EventlogMetaHead));
	life = eventlog_meta_life(page);
	if (layout)
		*layout = life ? life->layout : 0;
	if (life && life->npending > 0)
		meta->log_start_offset = effective_start(meta, life);
	UnlockReleaseBuffer(metabuf);
}

void
eventlog_storage_read_all(Relation rel, EventlogMeta *meta)
{
	Buffer		metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);

	LockBuffer(metabuf, BUFFER_LOCK_SHARE);
	eventlog_meta_copy(eventlog_storage_meta_page(rel, metabuf), meta);
	UnlockReleaseBuffer(metabuf);
}

bool
eventlog_storage_read_segment(Relation rel, const EventlogMetaHead *meta, uint32 layout,
							  uint32 number, EventlogSegment *segment)
{
	Buffer		metabuf,
				buf;
	BlockNumber block;
	const EventlogLife *life;
	const char *problem;
	Page		page;

	if (number == meta->active_segment)
	{
		*segment = meta->active;
		segment->end_block = meta->tail_block;
		segment->end_byte = meta->tail_byte;
		return true;
	}

	metabuf = ReadBuffer(rel, EVENTLOG_METAPAGE_BLKNO);
	LockBuffer(metabuf, BUFFER_LOCK_SHARE);
	page = eventlog_storage_meta_page(rel, metabuf);
	life = eventlog_meta_life(page);
	if (life && (life->layout != layout || number < life->recycle_segment))
	{
		UnlockReleaseBuffer(metabuf);
		return false;
	}
	block = EventlogPageGetMeta(page)->map_blocks[(number / EVENTLOG_SEGMENTS_PER_MAP) % EVENTLOG_MAP_BLOCKS];

	buf = ReadBuffer(rel, block);
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	problem = eventlog_page_check(BufferGetPage(buf), EVENTLOG_PAGE_MAP);
	if (problem == NULL)
		*segment = EventlogPageGetSegments(BufferGetPage(buf))[number % EVENTLOG_SEGMENTS_PER_MAP];
	UnlockReleaseBuffer(buf);
	UnlockReleaseBuffer(metabuf);
	if (problem)
		eventlog_storage_damaged(rel, block, problem);
	return true;
}

void
eventlog_storage_get_segment(Relation rel, const EventlogMeta *meta, uint32 number,
							 EventlogSegment *segment)
{
	if (!eventlog_storage_read_segment(rel, &meta->head, meta->life.layout, number, segment))
		elog(ERROR, "segment %u of \"%s\" is not there", number, RelationGetRelationName(rel));
}

const char *
eventlog_storage_read_page(Relation rel, BlockNumber block,
						   BufferAccessStrategy strategy, uint16 from,
						   char *dst, EventlogPageSpecial *special, uint16 *end)
{
	Buffer		buf = ReadBufferExtended(rel, MAIN_FORKNUM, block,
										 eventlog_skip_damaged_records ? RBM_ZERO_ON_ERROR : RBM_NORMAL,
										 strategy);
	Page		page;
	const char *problem;

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buf);
	problem = eventlog_page_check(page, EVENTLOG_PAGE_DATA);
	if (problem == NULL)
	{
		*end = ((PageHeader) page)->pd_lower;
		if (*end > EVENTLOG_PAYLOAD_END || *end < EVENTLOG_PAYLOAD_START)
			problem = "payload runs into the special area";
		else
		{
			*special = *EventlogPageGetSpecial(page);
			if (*end > from && dst != NULL)
				memcpy(dst, (char *) page + from, *end - from);
		}
	}
	UnlockReleaseBuffer(buf);
	return problem;
}

const char *
eventlog_storage_read_image(Relation rel, BlockNumber block, BufferAccessStrategy strategy,
							char *image)
{
	Buffer		buf;

	if (block >= smgrnblocks(RelationGetSmgr(rel), MAIN_FORKNUM))
		return NULL;
	buf = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_ZERO_ON_ERROR, strategy);
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	memcpy(image, BufferGetPage(buf), BLCKSZ);
	UnlockReleaseBuffer(buf);
	return image;
}
