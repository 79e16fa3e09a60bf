/*-------------------------------------------------------------------------
 *
 * log_plan.c
 *	  Planning and running scans of a partition by offset and time.
 *
 * A log is ordered by offset, and nearly so by time: both can be searched
 * without an index.  This file offers the planner a scan that reads only what
 * conditions on record_offset and "timestamp" leave, and that returns records
 * ordered by record_offset, forward or backward.
 *
 * Conditions on record_offset are dealt with here for good; those on
 * "timestamp" narrow the scan and are checked again on each record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "log_plan.h"
#include "log_storage.h"
#include "log_tableam.h"
#include "payload.h"

static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;

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
	bool		columns_only;
	int32		counted;		/* rows of a batch still to be returned unread */
	int			ncolumns;
	AttrNumber	columns[EVENTLOG_NATTS];
	EventlogPayloadType key_type;
	EventlogPayloadType value_type;
	Oid			headers_type;
} EventlogScanState;

static Plan *plan_custom_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
							  List *tlist, List *clauses, List *custom_plans);
static Node *create_scan_state(CustomScan *cscan);
static void begin_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_scan(CustomScanState *node);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);
static void explain_scan(CustomScanState *node, List *ancestors, ExplainState *es);

static const CustomPathMethods path_methods = {
	.CustomName = "Eventlog Scan",
	.PlanCustomPath = plan_custom_path
};

static const CustomScanMethods scan_methods = {
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

/* ---- conditions ---- */

/*
 * If a clause compares record_offset or "timestamp" with something that does
 * not depend on this relation, return it with the column on the left, and the
 * btree strategy; else NULL.
 */
static OpExpr *
match_condition(RelOptInfo *rel, Expr *clause, int *strategy)
{
	OpExpr	   *op = (OpExpr *) clause;
	Node	   *left,
			   *right;
	Oid			opno;
	Oid			family;
	Var		   *var;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2)
		return NULL;
	opno = op->opno;
	left = (Node *) linitial(op->args);
	right = (Node *) lsecond(op->args);
	if (!IsA(left, Var) || ((Var *) left)->varno != rel->relid)
	{
		Node	   *swap = left;

		left = right;
		right = swap;
		opno = get_commutator(opno);
		if (!OidIsValid(opno) || !IsA(left, Var) || ((Var *) left)->varno != rel->relid)
			return NULL;
	}
	var = (Var *) left;
	if (var->varlevelsup != 0 || contain_var_clause(right) || contain_volatile_functions(right))
		return NULL;

	if (var->varattno == EVENTLOG_ATT_OFFSET + 1)
	{
		Oid			type = exprType(right);

		if (type != INT8OID && type != INT4OID && type != INT2OID)
			return NULL;
		family = INTEGER_BTREE_FAM_OID;
	}
	else if (var->varattno == EVENTLOG_ATT_TIMESTAMP + 1)
	{
		if (exprType(right) != TIMESTAMPTZOID)
			return NULL;
		family = lookup_type_cache(TIMESTAMPTZOID, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	}
	else
		return NULL;

	*strategy = get_op_opfamily_strategy(opno, family);
	if (*strategy == InvalidStrategy)
		return NULL;
	return (OpExpr *) make_opclause(opno, BOOLOID, false, (Expr *) left, (Expr *) right,
									InvalidOid, op->inputcollid);
}

static bool
is_offset_condition(const OpExpr *op)
{
	return ((Var *) linitial(op->args))->varattno == EVENTLOG_ATT_OFFSET + 1;
}

static int64
offset_value(Oid type, Datum value)
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
static void
narrow_offsets(int strategy, int64 value, int64 *lo, int64 *hi)
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

/* ---- planning ---- */

/*
 * Fraction of the log that a scan under these conditions has to read.
 */
static double
estimate_fraction(PlannerInfo *root, RelOptInfo *rel, Oid relid, List *conds, List *strategies)
{
	Relation	leaf = table_open(relid, NoLock);
	EventlogMetaHead meta;
	double		total;
	int64		lo = 0,
				hi = PG_INT64_MAX;
	double		fraction = 1.0;
	List	   *others = NIL;
	ListCell   *lc,
			   *ls;

	eventlog_storage_read_meta(leaf, &meta);
	table_close(leaf, NoLock);
	total = (double) (meta.next_offset - meta.log_start_offset);
	if (total <= 0)
		return 1.0;

	forboth(lc, conds, ls, strategies)
	{
		OpExpr	   *op = (OpExpr *) lfirst(lc);
		Node	   *value = estimate_expression_value(root, (Node *) lsecond(op->args));

		if (is_offset_condition(op) && IsA(value, Const) && !((Const *) value)->constisnull)
			narrow_offsets(lfirst_int(ls), offset_value(((Const *) value)->consttype,
														((Const *) value)->constvalue), &lo, &hi);
		else
			others = lappend(others, op);
	}
	lo = Max(lo, meta.log_start_offset);
	hi = Min(hi, meta.next_offset - 1);
	fraction = hi < lo ? 0.0 : ((double) (hi - lo) + 1) / total;
	if (others != NIL)
		fraction *= clauselist_selectivity(root, others, rel->relid, JOIN_INNER, NULL);
	return fraction;
}

static void
add_eventlog_path(PlannerInfo *root, RelOptInfo *rel, List *conds, List *strategies,
				  double fraction, List *pathkeys, bool backward)
{
	CustomPath *cpath = makeNode(CustomPath);
	QualCost	qual_cost;
	double		tuples = rel->tuples * fraction;

	cost_qual_eval(&qual_cost, rel->baserestrictinfo, root);
	cpath->path.pathtype = T_CustomScan;
	cpath->path.parent = rel;
	cpath->path.pathtarget = rel->reltarget;
	cpath->path.rows = clamp_row_est(Min(rel->rows, tuples));
	cpath->path.pathkeys = pathkeys;

	/* a handful of page looks to find the start, then like a sequential scan */
	cpath->path.startup_cost = qual_cost.startup + rel->reltarget->cost.startup +
		(conds ? log2(rel->pages + 2.0) * cpu_operator_cost : 0.0);
	cpath->path.total_cost = cpath->path.startup_cost +
		ceil(rel->pages * fraction) * seq_page_cost +
		tuples * (cpu_tuple_cost + qual_cost.per_tuple) +
		cpath->path.rows * rel->reltarget->cost.per_tuple;
	if (backward)
		cpath->path.total_cost += tuples * cpu_operator_cost;
	else
		cpath->path.total_cost -= tuples * cpu_operator_cost;	/* as against a sequential scan */

	cpath->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	cpath->custom_private = list_make3(conds, strategies, makeBoolean(backward));
	cpath->methods = &path_methods;
	add_path(rel, &cpath->path);
}

static void
plan_set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	List	   *conds = NIL;
	List	   *strategies = NIL;
	ListCell   *lc;
	double		fraction = 1.0;
	HeapTuple	tuple;
	Oid			am;
	List	   *ascending,
			   *descending;
	Var		   *offset;
	int32		partition;

	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);

	if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION ||
		rte->tablesample != NULL || IS_DUMMY_REL(rel))
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(rte->relid));
	if (!HeapTupleIsValid(tuple))
		return;
	am = ((Form_pg_class) GETSTRUCT(tuple))->relam;
	ReleaseSysCache(tuple);
	if (am == HEAP_TABLE_AM_OID || am != eventlog_am_oid())
		return;

	/* the leaf of null passes on what is inserted, and is always empty */
	if (rel->reloptkind == RELOPT_OTHER_MEMBER_REL &&
		eventlog_topic_by_leaf(rte->relid, &partition) != NULL && partition < 0)
	{
		mark_dummy_rel(rel);
		return;
	}

	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		int			strategy;
		OpExpr	   *op;

		if (rinfo->pseudoconstant)
			continue;
		op = match_condition(rel, rinfo->clause, &strategy);
		if (op)
		{
			conds = lappend(conds, op);
			strategies = lappend_int(strategies, strategy);
		}
	}

	offset = makeVar(rel->relid, EVENTLOG_ATT_OFFSET + 1, INT8OID, -1, InvalidOid, 0);
	ascending = eventlog_offset_pathkeys(root, rel, (Expr *) offset, Int8LessOperator);
	descending = eventlog_offset_pathkeys(root, rel, (Expr *) offset, EVENTLOG_INT8_GREATER_OPERATOR);
	ascending = truncate_useless_pathkeys(root, rel, ascending);
	descending = truncate_useless_pathkeys(root, rel, descending);

	if (conds != NIL)
		fraction = estimate_fraction(root, rel, rte->relid, conds, strategies);
	add_eventlog_path(root, rel, conds, strategies, fraction, ascending, false);
	if (descending != NIL)
		add_eventlog_path(root, rel, conds, strategies, fraction, descending, true);
}

/*
 * Is this "partition = n" with the number of the leaf that is scanned?
 */
static bool
is_own_partition(PlannerInfo *root, RelOptInfo *rel, Expr *clause)
{
	OpExpr	   *op = (OpExpr *) clause;
	Var		   *var;
	Const	   *value;
	int32		partition;

	if (!IsA(op, OpExpr) || op->opno != Int4EqualOperator)
		return false;
	var = (Var *) linitial(op->args);
	value = (Const *) lsecond(op->args);
	if (!IsA(var, Var) || var->varno != rel->relid || var->varlevelsup != 0 ||
		var->varattno != EVENTLOG_ATT_PARTITION + 1 ||
		!IsA(value, Const) || value->constisnull)
		return false;
	return eventlog_topic_by_leaf(planner_rt_fetch(rel->relid, root)->relid, &partition) != NULL &&
		partition == DatumGetInt32(value->constvalue);
}

static Plan *
plan_custom_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
				 List *tlist, List *clauses, List *custom_plans)
{
	CustomScan *cscan = makeNode(CustomScan);
	List	   *conds = (List *) linitial(path->custom_private);
	List	   *quals = NIL;
	ListCell   *lc;

	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		int			strategy;
		OpExpr	   *op;

		if (rinfo->pseudoconstant)
			continue;
		op = match_condition(rel, rinfo->clause, &strategy);
		if (op && is_offset_condition(op))
			continue;			/* exact: need not be checked again */
		if (is_own_partition(root, rel, rinfo->clause))
			continue;			/* true of every record here */
		quals = lappend(quals, rinfo->clause);
	}

	cscan->scan.plan.targetlist = tlist;
	cscan->scan.plan.qual = quals;
	cscan->scan.scanrelid = rel->relid;
	cscan->flags = path->flags;
	cscan->custom_exprs = conds;
	cscan->custom_private = list_make2(lsecond(path->custom_private), lthird(path->custom_private));
	cscan->methods = &scan_methods;
	return &cscan->scan.plan;
}

/* ---- execution ---- */

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
 * scan's own slot.)
 */
static void
find_columns(EventlogScanState *state, CustomScan *cscan)
{
	EventlogSlot *slot = (EventlogSlot *) state->css.ss.ss_ScanTupleSlot;
	TupleDesc	desc = state->css.ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	Bitmapset  *seen = NULL;
	ListCell   *lc;

	if (cscan->scan.plan.qual != NIL || state->css.ss.ps.ps_ProjInfo == NULL)
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
			narrow_offsets(strategy, offset_value(exprType((Node *) lsecond(op->args)), value),
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

	if (unlikely(state->scan == NULL))
		start_scan(state);
	if (unlikely(state->done))
		return false;
	scan = (EventlogScanDesc *) state->scan;
	for (;;)
	{
		int64		offset;

		/* most often the batch at hand has another one */
		if (state->backward || !scan->cur->on_batch ||
			!eventlog_batch_step(&scan->cur->reader, record))
		{
			if (!eventlog_scan_step(scan, !state->backward, record))
				break;
		}
		offset = record->offset;
		if (likely(offset >= state->lo && offset <= state->hi))
		{
			pgstat_count_heap_getnext(state->css.ss.ss_currentRelation);
			return true;
		}
		if (state->backward ? offset < state->lo : offset > state->hi)
			break;
	}
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

void
eventlog_plan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = plan_set_rel_pathlist;
}
