/*-------------------------------------------------------------------------
 *
 * log_xlog.c
 *	  The resource manager: redo, description, consistency mask.
 *
 * Redo touches the metapage last.  A standby's reader that sees a tail in the
 * metapage therefore finds everything below it in place.
 *
 * Redo does again just what log_storage.c did, by the same functions of
 * log_page.c, and takes nothing from pages that the record does not name:
 * those may be older or newer than the record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "storage/bufmgr.h"
#include "storage/standby.h"

#include "compat.h"
#include "log_format.h"
#include "log_meta.h"
#include "log_page.h"
#include "log_xlog.h"

static void
check_version(uint8 version, uint8 expected)
{
	if (version != expected)
		ereport(FATAL,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("WAL record of pg_eventlog has format version %u, which this library does not know",
						version),
				 errhint("Install on this server the version of pg_eventlog that the primary has, or a newer one.")));
}

static void
redo_append(XLogReaderState *record)
{
	char	   *data = XLogRecGetData(record);
	xl_eventlog_append xlrec;
	xl_eventlog_append_init init;
	xl_eventlog_append_summary sum;
	int			last_page = XLogRecMaxBlockId(record);
	bool		continues;
	uint16		end = 0;
	BlockNumber end_block = InvalidBlockNumber;
	EventlogBatchHeader header;
	bool		have_header = false;
	PGAlignedBlock single;

	memcpy(&xlrec, data, sizeof(xlrec));
	data += sizeof(xlrec);
	check_version(xlrec.version, EVENTLOG_FORMAT_VERSION);
	if (xlrec.flags & EVENTLOG_APPEND_INIT)
	{
		memcpy(&init, data, sizeof(init));
		data += sizeof(init);
	}
	if (xlrec.flags & EVENTLOG_APPEND_SUMMARY)
		memcpy(&sum, data, sizeof(sum));

	continues = !(xlrec.flags & EVENTLOG_APPEND_FIRST);
	for (int i = 1; i <= last_page; i++)
	{
		uint16		at = (i == 1) ? xlrec.start_byte : EVENTLOG_PAYLOAD_START;
		Buffer		buf;
		XLogRedoAction action;
		Size		len = 0;
		char	   *bytes = XLogRecGetBlockData(record, i, &len);

		if (bytes != NULL && (xlrec.flags & EVENTLOG_APPEND_SINGLE))
		{
			len = eventlog_entry_expand_single(single.data, bytes, len);
			bytes = single.data;
		}
		XLogRecGetBlockTag(record, i, NULL, NULL, &end_block);
		if (at == EVENTLOG_PAYLOAD_START)
		{
			buf = XLogInitBufferForRedo(record, i);
			action = BLK_NEEDS_REDO;
		}
		else
			action = XLogReadBufferForRedo(record, i, &buf);

		if (action == BLK_NEEDS_REDO)
		{
			Page		page = BufferGetPage(buf);

			if (at == EVENTLOG_PAYLOAD_START)
				eventlog_page_begin(page, &init, continues);
			if (!continues)
			{
				EventlogBatchHeader h;

				(void) eventlog_batch_parse_header(bytes + sizeof(EventlogEntry), &h);
				eventlog_page_note_start(page, at, h.base_offset);
			}
			eventlog_page_put(page, at, bytes, len);
			PageSetLSN(page, record->EndRecPtr);
			MarkBufferDirty(buf);
		}

		if (bytes != NULL)
			end = at + len;
		else if (BufferIsValid(buf))
			end = ((PageHeader) BufferGetPage(buf))->pd_lower;	/* full image */

		/* The metapage's part may need the batch's header. */
		if (i == 1 && !continues)
		{
			const char *head = bytes;

			if (head == NULL && BufferIsValid(buf))
				head = (char *) BufferGetPage(buf) + at;
			if (head != NULL)
				have_header = eventlog_batch_parse_header(head + sizeof(EventlogEntry), &header) == NULL;
		}
		if (BufferIsValid(buf))
			UnlockReleaseBuffer(buf);
		continues = true;
	}

	if (xlrec.flags & EVENTLOG_APPEND_LAST)
	{
		Buffer		metabuf;

		if (XLogReadBufferForRedo(record, 0, &metabuf) == BLK_NEEDS_REDO)
		{
			if (!(xlrec.flags & EVENTLOG_APPEND_SUMMARY))
			{
				if (!have_header)
					elog(PANIC, "append record of pg_eventlog has no batch header");
				sum.next_offset = header.base_offset + header.last_offset_delta + 1;
				sum.min_timestamp = sum.max_timestamp = header.max_timestamp;
			}
			eventlog_meta_appended(&EventlogPageGetMeta(BufferGetPage(metabuf))->head,
								   &sum, end_block, end);
			PageSetLSN(BufferGetPage(metabuf), record->EndRecPtr);
			MarkBufferDirty(metabuf);
		}
		if (BufferIsValid(metabuf))
			UnlockReleaseBuffer(metabuf);
	}
}

static void
redo_segment(XLogReaderState *record)
{
	xl_eventlog_segment xlrec;
	Buffer		metabuf,
				mapbuf;
	XLogRedoAction action;
	BlockNumber map_block;

	memcpy(&xlrec, XLogRecGetData(record), sizeof(xlrec));
	check_version(xlrec.version, EVENTLOG_FORMAT_VERSION);
	XLogRecGetBlockTag(record, 1, NULL, NULL, &map_block);

	if (xlrec.init_map)
	{
		mapbuf = XLogInitBufferForRedo(record, 1);
		action = BLK_NEEDS_REDO;
	}
	else
		action = XLogReadBufferForRedo(record, 1, &mapbuf);
	if (action == BLK_NEEDS_REDO)
	{
		Page		page = BufferGetPage(mapbuf);

		if (xlrec.init_map)
			eventlog_page_init(page, EVENTLOG_PAGE_MAP, xlrec.incarnation, 0);
		eventlog_page_put_segment(page, xlrec.closed_number, &xlrec.closed);
		PageSetLSN(page, record->EndRecPtr);
		MarkBufferDirty(mapbuf);
	}
	if (BufferIsValid(mapbuf))
		UnlockReleaseBuffer(mapbuf);

	if (XLogReadBufferForRedo(record, 0, &metabuf) == BLK_NEEDS_REDO)
	{
		eventlog_meta_switched(BufferGetPage(metabuf), &xlrec, map_block);
		PageSetLSN(BufferGetPage(metabuf), record->EndRecPtr);
		MarkBufferDirty(metabuf);
	}
	if (BufferIsValid(metabuf))
		UnlockReleaseBuffer(metabuf);
}

static void
redo_mark(XLogReaderState *record)
{
	xl_eventlog_mark xlrec;
	Buffer		buf;

	memcpy(&xlrec, XLogRecGetData(record), sizeof(xlrec));
	check_version(xlrec.version, EVENTLOG_FORMAT_VERSION);
	if (XLogReadBufferForRedo(record, 0, &buf) == BLK_NEEDS_REDO)
	{
		Size		len;
		uint16	   *bytes = (uint16 *) XLogRecGetBlockData(record, 0, &len);

		for (Size i = 0; i < len / sizeof(uint16); i++)
			eventlog_page_mark_aborted(BufferGetPage(buf), bytes[i]);
		PageSetLSN(BufferGetPage(buf), record->EndRecPtr);
		MarkBufferDirty(buf);
	}
	if (BufferIsValid(buf))
		UnlockReleaseBuffer(buf);
}

static void
redo_freeze(XLogReaderState *record)
{
	xl_eventlog_freeze xlrec;
	Buffer		metabuf;

	memcpy(&xlrec, XLogRecGetData(record), sizeof(xlrec));
	check_version(xlrec.version, EVENTLOG_FORMAT_VERSION);

	/*
	 * Below the frozen position xids are not looked at, but a snapshot of
	 * this standby may still take them for running.
	 */
	if (InHotStandby && TransactionIdIsValid(xlrec.conflict_xid))
		eventlog_resolve_conflict(record, xlrec.conflict_xid);

	if (XLogReadBufferForRedo(record, 0, &metabuf) == BLK_NEEDS_REDO)
	{
		EventlogPageGetMeta(BufferGetPage(metabuf))->head.frozen = xlrec.frozen;
		PageSetLSN(BufferGetPage(metabuf), record->EndRecPtr);
		MarkBufferDirty(metabuf);
	}
	if (BufferIsValid(metabuf))
		UnlockReleaseBuffer(metabuf);
}

/* The metapage's part of META and SWAP; "data" is what follows *xlrec. */
static void
redo_meta_page(XLogReaderState *record, const xl_eventlog_meta *xlrec, const char *data)
{
	const char *life = data + xlrec->head.nfree * sizeof(EventlogRun);
	Size		life_size = XLogRecGetData(record) + XLogRecGetDataLen(record) - life;
	Buffer		metabuf;

	if (XLogReadBufferForRedo(record, 0, &metabuf) == BLK_NEEDS_REDO)
	{
		eventlog_meta_replace(BufferGetPage(metabuf), xlrec, data, life, life_size);
		PageSetLSN(BufferGetPage(metabuf), record->EndRecPtr);
		MarkBufferDirty(metabuf);
	}
	if (BufferIsValid(metabuf))
		UnlockReleaseBuffer(metabuf);
}

static void
redo_meta(XLogReaderState *record)
{
	xl_eventlog_meta xlrec;

	memcpy(&xlrec, XLogRecGetData(record), sizeof(xlrec));
	check_version(xlrec.version, EVENTLOG_WAL_META_VERSION);

	/* a reader of this standby may be in blocks that become free */
	if (InHotStandby && TransactionIdIsValid(xlrec.conflict_xid))
		eventlog_resolve_conflict(record, xlrec.conflict_xid);
	redo_meta_page(record, &xlrec, XLogRecGetData(record) + sizeof(xlrec));
}

static void
redo_swap(XLogReaderState *record)
{
	xl_eventlog_swap xlrec;

	memcpy(&xlrec, XLogRecGetData(record), sizeof(xlrec));
	check_version(xlrec.meta.version, EVENTLOG_WAL_META_VERSION);
	for (int i = 1; i <= (xlrec.count2 > 0 ? 2 : 1); i++)
	{
		uint32		first = i == 1 ? xlrec.first : xlrec.first2;
		Buffer		buf;

		if (XLogReadBufferForRedo(record, i, &buf) == BLK_NEEDS_REDO)
		{
			Size		len;
			char	   *bytes = XLogRecGetBlockData(record, i, &len);

			for (Size n = 0; n < len / sizeof(EventlogSegment); n++)
			{
				EventlogSegment segment;

				memcpy(&segment, bytes + n * sizeof(EventlogSegment), sizeof(segment));
				eventlog_page_set_segment(BufferGetPage(buf), first + n, &segment);
			}
			PageSetLSN(BufferGetPage(buf), record->EndRecPtr);
			MarkBufferDirty(buf);
		}
		if (BufferIsValid(buf))
			UnlockReleaseBuffer(buf);
	}
	redo_meta_page(record, &xlrec.meta, XLogRecGetData(record) + sizeof(xlrec));
}

static void
redo_blank(XLogReaderState *record)
{
	xl_eventlog_blank xlrec;

	memcpy(&xlrec, XLogRecGetData(record), sizeof(xlrec));
	check_version(xlrec.version, EVENTLOG_WAL_META_VERSION);
	if (InHotStandby && TransactionIdIsValid(xlrec.conflict_xid))
		eventlog_resolve_conflict(record, xlrec.conflict_xid);
	for (int i = 0; i <= XLogRecMaxBlockId(record); i++)
	{
		Buffer		buf = XLogInitBufferForRedo(record, i);

		eventlog_page_init(BufferGetPage(buf), EVENTLOG_PAGE_DATA, xlrec.incarnation, 0);
		PageSetLSN(BufferGetPage(buf), record->EndRecPtr);
		MarkBufferDirty(buf);
		UnlockReleaseBuffer(buf);
	}
}

static void
eventlog_redo(XLogReaderState *record)
{
	switch (XLogRecGetInfo(record) & ~XLR_INFO_MASK)
	{
		case XLOG_EVENTLOG_APPEND:
			redo_append(record);
			break;
		case XLOG_EVENTLOG_SEGMENT:
			redo_segment(record);
			break;
		case XLOG_EVENTLOG_MARK:
			redo_mark(record);
			break;
		case XLOG_EVENTLOG_FREEZE:
			redo_freeze(record);
			break;
		case XLOG_EVENTLOG_META:
			redo_meta(record);
			break;
		case XLOG_EVENTLOG_SWAP:
			redo_swap(record);
			break;
		case XLOG_EVENTLOG_BLANK:
			redo_blank(record);
			break;
		default:
			elog(PANIC, "unknown WAL record of pg_eventlog: %u", XLogRecGetInfo(record));
	}
}

static void
eventlog_desc(StringInfo buf, XLogReaderState *record)
{
	char	   *data = XLogRecGetData(record);

	switch (XLogRecGetInfo(record) & ~XLR_INFO_MASK)
	{
		case XLOG_EVENTLOG_APPEND:
			{
				xl_eventlog_append xlrec;

				memcpy(&xlrec, data, sizeof(xlrec));
				appendStringInfo(buf, "byte %u, pages %d%s%s%s", xlrec.start_byte,
								 XLogRecMaxBlockId(record),
								 xlrec.flags & EVENTLOG_APPEND_FIRST ? ", first" : "",
								 xlrec.flags & EVENTLOG_APPEND_LAST ? ", last" : "",
								 xlrec.flags & EVENTLOG_APPEND_SINGLE ? ", single" : "");
				break;
			}
		case XLOG_EVENTLOG_SEGMENT:
			{
				xl_eventlog_segment xlrec;

				memcpy(&xlrec, data, sizeof(xlrec));
				appendStringInfo(buf, "closed %u, base offset %lld, block %u, generation %u",
								 xlrec.closed_number, (long long) xlrec.active.base_offset,
								 xlrec.active.first_block, xlrec.active.generation);
				break;
			}
		case XLOG_EVENTLOG_FREEZE:
			{
				xl_eventlog_freeze xlrec;

				memcpy(&xlrec, data, sizeof(xlrec));
				appendStringInfo(buf, "offset %lld, conflict xid %u",
								 (long long) xlrec.frozen.offset, xlrec.conflict_xid);
				break;
			}
		case XLOG_EVENTLOG_META:
			{
				xl_eventlog_meta xlrec;

				memcpy(&xlrec, data, sizeof(xlrec));
				appendStringInfo(buf, "log start %lld, first segment %u, free runs %u, conflict xid %u",
								 (long long) xlrec.head.log_start_offset,
								 xlrec.head.first_segment, xlrec.head.nfree, xlrec.conflict_xid);
				break;
			}
		case XLOG_EVENTLOG_SWAP:
			{
				xl_eventlog_swap xlrec;

				memcpy(&xlrec, data, sizeof(xlrec));
				appendStringInfo(buf, "segments %u to %u", xlrec.first,
								 xlrec.first + xlrec.count + xlrec.count2 - 1);
				break;
			}
		case XLOG_EVENTLOG_BLANK:
			appendStringInfo(buf, "blocks %d", XLogRecMaxBlockId(record) + 1);
			break;
	}
}

static const char *
eventlog_identify(uint8 info)
{
	switch (info & ~XLR_INFO_MASK)
	{
		case XLOG_EVENTLOG_APPEND:
			return "APPEND";
		case XLOG_EVENTLOG_SEGMENT:
			return "SEGMENT";
		case XLOG_EVENTLOG_MARK:
			return "MARK_ABORTED";
		case XLOG_EVENTLOG_FREEZE:
			return "FREEZE";
		case XLOG_EVENTLOG_META:
			return "META";
		case XLOG_EVENTLOG_SWAP:
			return "SWAP";
		case XLOG_EVENTLOG_BLANK:
			return "BLANK";
	}
	return NULL;
}

/*
 * Blank what may differ between primary and standby (wal_consistency_checking).
 */
static void
eventlog_mask(char *pagedata, BlockNumber blkno)
{
	Page		page = (Page) pagedata;

	mask_page_lsn_and_checksum(page);
	mask_page_hint_bits(page);
	mask_unused_space(page);
	if (EventlogPageGetSpecial(page)->page_id == EVENTLOG_PAGE_META)
		memset(&EventlogPageGetMeta(page)->head.resolved, MASK_MARKER, sizeof(EventlogPos));
}

static EVENTLOG_RMGR_CONST RmgrData eventlog_rmgr = {
	.rm_name = EVENTLOG_RMGR_NAME,
	.rm_redo = eventlog_redo,
	.rm_desc = eventlog_desc,
	.rm_identify = eventlog_identify,
	.rm_mask = eventlog_mask
};

void
eventlog_xlog_init(void)
{
	RegisterCustomRmgr(EVENTLOG_RMGR_ID, &eventlog_rmgr);
}
