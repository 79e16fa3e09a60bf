/*-------------------------------------------------------------------------
 *
 * log_exec.c
 *	  Running scans of a partition by offset and time.
 *
 * A scan evaluates its bounds when the first row is asked for, stands at the
 * right place of the log, and stops where only records out of bounds can
 * follow.  Three ways of returning rows, the quickest that will do: counting
 * (no column is asked for), columns straight from the batch (nothing else is
 * asked for), and the executor's usual way with conditions and projection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/ruleutils.h"

#include "compat.h"
#include "log_exec.h"
#include "log_tableam.h"
#include "payload.h"

typedef struct EventlogScanState
{
	CustomScanState css;
	bool		backward;
	int			nconds;
	AttrNumber *attnos;			/* [nconds] column, strategy and value of each */
	int		   *strategies;
	ExprState **values;

	TableScanDesc scan;			/* NULL until the first row is asked for */
	bool		done;
	int64		lo;				/* offsets to return, both included */
	int64		hi;
	uint64		pages_read;		/* by scans that have ended */

	/* no conditions to check, and no output but these columns */
	bool		both_ways;		/* a cursor may turn round */
	bool		columns_only;
	int32		counted;		/* rows of a batch still to be returned unread */
	int			ncolumns;
	AttrNumber	columns[EVENTLOG_NATTS];
	EventlogPayloadType key_type;
	EventlogPayloadType value_type;
	Oid			headers_type;
} EventlogScanState;

static Node *create_scan_state(CustomScan *cscan);
static void begin_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_scan(CustomScanState *node);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);
static void explain_scan(CustomScanState *node, List *ancestors, ExplainState *es);

const CustomScanMethods eventlog_scan_methods = {
	.CustomName = "Eventlog Scan",
	.CreateCustomScanState = create_scan_state
};

static const CustomExecMethods exec_methods = {
	.CustomName = "Eventlog Scan",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain_scan
};

int64
eventlog_offset_value(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

/*
 * Narrow [*lo, *hi] by "record_offset <strategy> value".
 */
void
eventlog_narrow_offsets(int strategy, int64 value, int64 *lo, int64 *hi)
{
	switch (strategy)
	{
		case BTLessStrategyNumber:
			*hi = Min(*hi, value == PG_INT64_MIN ? PG_INT64_MIN : value - 1);
			break;
		case BTLessEqualStrategyNumber:
			*hi = Min(*hi, value);
			break;
		case BTEqualStrategyNumber:
			*lo = Max(*lo, value);
			*hi = Min(*hi, value);
			break;
		case BTGreaterEqualStrategyNumber:
			*lo = Max(*lo, value);
			break;
		case BTGreaterStrategyNumber:
			*lo = Max(*lo, value == PG_INT64_MAX ? PG_INT64_MAX : value + 1);
			break;
	}
}

static Node *
create_scan_state(CustomScan *cscan)
{
	EventlogScanState *state = palloc0(sizeof(EventlogScanState));

	NodeSetTag(state, T_CustomScanState);
	state->css.methods = &exec_methods;
	return (Node *) state;
}

/*
 * Does the plan return only columns, each at most once, and check nothing?
 * (In-place datums cannot serve a column twice, nor a plan that returns the
 * scan's own slot, nor a scan that may come back to the batch.)
 */
static void
find_columns(EventlogScanState *state, CustomScan *cscan)
{
	EventlogSlot *slot = (EventlogSlot *) state->css.ss.ss_ScanTupleSlot;
	TupleDesc	desc = state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	Bitmapset  *seen = NULL;
	ListCell   *lc;

	if (cscan->scan.plan.qual != NIL || state->css.ss.ps.ps_ProjInfo == NULL || state->both_ways)
		return;
	foreach(lc, cscan->scan.plan.targetlist)
	{
		Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

		if (!IsA(var, Var) || var->varattno <= 0 || bms_is_member(var->varattno, seen))
			return;
		seen = bms_add_member(seen, var->varattno);
		state->columns[state->ncolumns++] = var->varattno;
	}
	state->key_type = slot->key_type;
	state->value_type = slot->value_type;
	state->headers_type = TupleDescAttr(desc, EVENTLOG_ATT_HEADERS)->atttypid;
	state->columns_only = true;
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags)
{
	EventlogScanState *state = (EventlogScanState *) node;
	CustomScan *cscan = (CustomScan *) node->ss.ps.plan;
	Relation	rel = node->ss.ss_currentRelation;
	List	   *strategies = (List *) linitial(cscan->custom_private);
	int			i = 0;
	ListCell   *lc,
			   *ls;

	/*
	 * The server gives custom scans a virtual slot.  Ours makes columns only
	 * when they are asked for; what was compiled for the other is redone.
	 */
	ExecInitScanTupleSlot(estate, &node->ss, RelationGetDescr(rel), table_slot_callbacks(rel));
	node->ss.ss_ScanTupleSlot->tts_tableOid = RelationGetRelid(rel);
	ExecAssignScanProjectionInfo(&node->ss);
	node->ss.ps.qual = ExecInitQual(cscan->scan.plan.qual, (PlanState *) node);

	state->both_ways = (eflags & EXEC_FLAG_BACKWARD) != 0;
	find_columns(state, cscan);

	state->backward = boolVal(lsecond(cscan->custom_private));
	state->nconds = list_length(cscan->custom_exprs);
	state->attnos = palloc(sizeof(AttrNumber) * Max(state->nconds, 1));
	state->strategies = palloc(sizeof(int) * Max(state->nconds, 1));
	state->values = palloc(sizeof(ExprState *) * Max(state->nconds, 1));
	forboth(lc, cscan->custom_exprs, ls, strategies)
	{
		OpExpr	   *op = (OpExpr *) lfirst(lc);

		state->attnos[i] = ((Var *) linitial(op->args))->varattno;
		state->strategies[i] = lfirst_int(ls);
		state->values[i] = ExecInitExpr((Expr *) lsecond(op->args), (PlanState *) node);
		i++;
	}
}

/*
 * Evaluate the conditions and stand at the right place of the log.
 */
static void
start_scan(EventlogScanState *state)
{
	CustomScan *cscan = (CustomScan *) state->css.ss.ps.plan;
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	EventlogCursor *cur;
	ListCell   *lc;
	int			i = 0;

	state->scan = table_beginscan(state->css.ss.ss_currentRelation,
								  state->css.ss.ps.state->es_snapshot, 0, NULL);
	cur = ((EventlogScanDesc *) state->scan)->cur;
	state->done = false;
	state->lo = 0;
	state->hi = PG_INT64_MAX;

	foreach(lc, cscan->custom_exprs)
	{
		OpExpr	   *op = (OpExpr *) lfirst(lc);
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(state->values[i], econtext, &isnull);
		int			strategy = state->strategies[i];

		if (isnull)
			state->done = true; /* comparisons with null are never true */
		else if (state->attnos[i] == EVENTLOG_ATT_OFFSET + 1)
			eventlog_narrow_offsets(strategy, eventlog_offset_value(exprType((Node *) lsecond(op->args)), value),
						   &state->lo, &state->hi);
		else
		{
			TimestampTz time = DatumGetTimestampTz(value);
			bool		finite = !TIMESTAMP_NOT_FINITE(time);
			int64		ms = finite ? eventlog_timestamp_to_ms(time) : 0;

			/* records' times are whole milliseconds */
			if (strategy >= BTEqualStrategyNumber)
				cur->min_time = Max(cur->min_time, finite ? ms :
									TIMESTAMP_IS_NOEND(time) ? PG_INT64_MAX : PG_INT64_MIN);
			if (strategy <= BTEqualStrategyNumber)
				cur->max_time = Min(cur->max_time, finite ? ms :
									TIMESTAMP_IS_NOEND(time) ? PG_INT64_MAX : PG_INT64_MIN);
		}
		i++;
	}
	if (state->lo > state->hi || cur->min_time > cur->max_time)
		state->done = true;
	if (state->done)
		return;

	if (state->backward)
	{
		eventlog_cursor_seek_behind(cur, Min(state->hi, cur->meta.next_offset));
		((EventlogScanDesc *) state->scan)->started = true;
		return;
	}
	if (cur->min_time != PG_INT64_MIN)
		eventlog_cursor_seek_time(cur, cur->min_time);
	if (cur->pos.offset < state->lo)
		eventlog_cursor_seek(cur, state->lo);
}

/*
 * The next record within the bounds.
 */
static inline bool
step(EventlogScanState *state, EventlogRecord *record)
{
	EventlogScanDesc *scan;
	bool		forward = !state->backward;

	if (unlikely(state->scan == NULL))
		start_scan(state);
	if (unlikely(state->done))
		return false;
	if (unlikely(state->both_ways) &&
		ScanDirectionIsBackward(state->css.ss.ps.state->es_direction))
		forward = !forward;
	scan = (EventlogScanDesc *) state->scan;
	for (;;)
	{
		int64		offset;

		/* most often the batch at hand has another one */
		if (!forward || scan->use_records || !scan->cur->on_batch ||
			!eventlog_batch_step(&scan->cur->reader, record))
		{
			if (!eventlog_scan_step(scan, forward, record))
				break;
		}
		offset = record->offset;
		if (likely(offset >= state->lo && offset <= state->hi))
		{
			pgstat_count_heap_getnext(state->css.ss.ss_currentRelation);
			return true;
		}
		if (forward ? offset > state->hi : offset < state->lo)
			break;
	}
	if (!state->both_ways)
		state->done = true;
	return false;
}

static TupleTableSlot *
next_record(ScanState *node)
{
	EventlogScanState *state = (EventlogScanState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	EventlogScanDesc *scan;

	if (!step(state, &((EventlogSlot *) slot)->record))
		return ExecClearTuple(slot);
	scan = (EventlogScanDesc *) state->scan;
	eventlog_slot_show(slot, scan->partition, scan->cur->entry.xmin, scan->cur->entry.cmin,
					   scan->tid_base);
	return slot;
}

/*
 * A text, json or bytea datum of bytes in a batch.  A short one is made in
 * place: the byte before the bytes is the last one of their length, which has
 * been read, and becomes the header of a short varlena.  That is why this is
 * only for scans that never decode a record twice.
 */
static Datum
datum_in_batch(EventlogPayloadType type, const char *bytes, int32 len)
{
	if (type == EVENTLOG_PAYLOAD_JSONB)
		return eventlog_payload_to_datum(type, bytes, len);
	if (len <= VARATT_SHORT_MAX - VARHDRSZ_SHORT)
	{
		char	   *varlena = unconstify(char *, bytes) - VARHDRSZ_SHORT;

		SET_VARSIZE_SHORT(varlena, len + VARHDRSZ_SHORT);
		return PointerGetDatum(varlena);
	}
	return PointerGetDatum(cstring_to_text_with_len(bytes, len));
}

/*
 * One row more, of which nothing but its being there is asked (count(*)).
 * Batches that lie within the bounds are counted by their headers.
 */
static bool
count_one(EventlogScanState *state)
{
	EventlogRecord rec;
	EventlogScanDesc *scan;
	EventlogCursor *cur;

	if (likely(state->counted > 0))
	{
		state->counted--;
		return true;
	}
	if (state->scan == NULL)
		start_scan(state);
	scan = (EventlogScanDesc *) state->scan;
	cur = scan->cur;
	while (!state->done && !state->backward && !cur->on_batch && cur->min_time == PG_INT64_MIN &&
		   cur->max_time == PG_INT64_MAX)
	{
		int64		first,
					last;

		if (!eventlog_cursor_next_seen(cur))
		{
			state->done = true;
			return false;
		}
		scan->started = true;
		first = cur->header.base_offset;
		last = first + cur->header.last_offset_delta;
		if (first < Max(state->lo, cur->meta.log_start_offset) || last > state->hi ||
			cur->header.count == 0)
		{
			eventlog_cursor_read(cur);	/* record by record */
			break;
		}
		state->counted = cur->header.count - 1;
		cur->on_batch = false;
		return true;
	}
	if (!step(state, &rec))
		return false;
	if (cur->on_batch && cur->reader.remaining == 0)
		cur->on_batch = false;	/* the next one may be counted again */
	return true;
}

/*
 * Return columns straight from the record, where the plan asks for nothing
 * but columns and there is nothing to check.
 */
static TupleTableSlot *
exec_columns(EventlogScanState *state)
{
	TupleTableSlot *slot = state->css.ss.ps.ps_ResultTupleSlot;
	MemoryContext old;
	EventlogRecord rec;
	const char *problem;

	if (state->ncolumns == 0)
	{
		if (!count_one(state))
			return ExecClearTuple(slot);
		if (TTS_EMPTY(slot))
			ExecStoreVirtualTuple(slot);
		return slot;
	}
	ExecClearTuple(slot);
	if (!step(state, &rec))
		return slot;

	problem = eventlog_batch_fields(&rec);
	if (unlikely(problem != NULL))
		eventlog_cursor_damaged(((EventlogScanDesc *) state->scan)->cur, problem);
	ResetExprContext(state->css.ss.ps.ps_ExprContext);
	old = MemoryContextSwitchTo(state->css.ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
	for (int i = 0; i < state->ncolumns; i++)
	{
		Datum	   *value = &slot->tts_values[i];
		bool	   *isnull = &slot->tts_isnull[i];

		*isnull = false;
		switch (state->columns[i] - 1)
		{
			case EVENTLOG_ATT_PARTITION:
				*value = Int32GetDatum(((EventlogScanDesc *) state->scan)->partition);
				break;
			case EVENTLOG_ATT_OFFSET:
				*value = Int64GetDatum(rec.offset);
				break;
			case EVENTLOG_ATT_TIMESTAMP:
				*value = TimestampTzGetDatum(eventlog_ms_to_timestamp(rec.timestamp));
				break;
			case EVENTLOG_ATT_KEY:
				if ((*isnull = (rec.key_len < 0)) == false)
					*value = datum_in_batch(state->key_type, rec.key, rec.key_len);
				break;
			case EVENTLOG_ATT_VALUE:
				if ((*isnull = (rec.value_len < 0)) == false)
					*value = datum_in_batch(state->value_type, rec.value, rec.value_len);
				break;
			case EVENTLOG_ATT_HEADERS:
				if ((*isnull = (rec.headers_count == 0)) == false)
					*value = eventlog_payload_decode_headers(&rec, state->headers_type);
				break;
		}
	}
	MemoryContextSwitchTo(old);
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck_record(ScanState *node, TupleTableSlot *slot)
{
	return true;				/* rows of a topic do not change */
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	EventlogScanState *state = (EventlogScanState *) node;

	if (state->columns_only)
		return exec_columns(state);
	return ExecScan(&node->ss, (ExecScanAccessMtd) next_record,
					(ExecScanRecheckMtd) recheck_record);
}

static void
close_scan(EventlogScanState *state)
{
	state->counted = 0;
	if (state->scan)
	{
		state->pages_read += ((EventlogScanDesc *) state->scan)->cur->pages_read;
		table_endscan(state->scan);
	}
	state->scan = NULL;
}

static void
end_scan(CustomScanState *node)
{
	close_scan((EventlogScanState *) node);
}

static void
rescan(CustomScanState *node)
{
	close_scan((EventlogScanState *) node);
	ExecScanReScan(&node->ss);
}

static void
explain_scan(CustomScanState *node, List *ancestors, ExplainState *es)
{
	EventlogScanState *state = (EventlogScanState *) node;
	CustomScan *cscan = (CustomScan *) node->ss.ps.plan;

	if (cscan->custom_exprs != NIL)
	{
		List	   *context = set_deparse_context_plan(es->deparse_cxt, node->ss.ps.plan, ancestors);
		Node	   *cond = (Node *) make_ands_explicit(cscan->custom_exprs);

		ExplainPropertyText("Log Cond", deparse_expression(cond, context, false, false), es);
	}
	if (state->backward)
		ExplainPropertyText("Direction", "Backward", es);
	if (es->analyze)
	{
		uint64		pages = state->pages_read;

		if (state->scan)
			pages += ((EventlogScanDesc *) state->scan)->cur->pages_read;
		ExplainPropertyUInteger("Pages Read", NULL, pages, es);
	}
}
