/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  What the views tell of progress: how old the next record of a group is,
 *	  and who holds the last stable offset back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/transam.h"
#include "funcapi.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "log_scan.h"
#include "payload.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventlog_record_time);
PG_FUNCTION_INFO_V1(eventlog_lso_holder);

/*
 * Timestamp (ms) of the first record at or behind an offset that a consumer
 * could get now.  False if there is none.
 */
static bool
first_time(Relation leaf, int64 from, int64 *time_ms)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EventlogCursor *cur = eventlog_cursor_open(leaf, snapshot, true);
	EventlogRecord rec;
	bool		found = false;

	eventlog_cursor_seek(cur, from);
	while (!found && eventlog_cursor_next(cur))
	{
		while (!found && eventlog_batch_next(&cur->reader, &rec))
		{
			if (rec.offset >= from && rec.offset >= cur->meta.log_start_offset)
			{
				*time_ms = rec.timestamp;
				found = true;
			}
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
	}
	eventlog_cursor_close(cur);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * record_time(topic, partition, from_offset)
 */
Datum
eventlog_record_time(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	int32		partition = PG_GETARG_INT32(1);
	EventlogTopic *topic = eventlog_topic_by_relid(relid);
	Relation	leaf;
	int64		time_ms;
	bool		found;

	if (topic == NULL || partition < 0 || partition >= topic->npartitions ||
		!eventlog_topic_may_look(relid))
		PG_RETURN_NULL();
	leaf = try_table_open(topic->leaves[partition], AccessShareLock);
	if (leaf == NULL)
		PG_RETURN_NULL();		/* dropped meanwhile */
	found = first_time(leaf, PG_GETARG_INT64(2), &time_ms);
	table_close(leaf, AccessShareLock);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(eventlog_ms_to_timestamp(time_ms));
}

/*
 * lso_holder(xid): its top-level transaction and the process that runs it.  A
 * prepared transaction is not run by any.
 */
Datum
eventlog_lso_holder(PG_FUNCTION_ARGS)
{
	TransactionId xid = PG_GETARG_TRANSACTIONID(0);
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};
	int			pid;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "lso_holder() must return a row");

	/* the parents of a subtransaction that ended long ago may be forgotten */
	if (TransactionIdIsNormal(xid) && TransactionIdFollowsOrEquals(xid, TransactionXmin))
		xid = SubTransGetTopmostTransaction(xid);
	pid = BackendXidGetPid(xid);
	values[0] = TransactionIdGetDatum(xid);
	values[1] = Int32GetDatum(pid);
	nulls[1] = pid == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
