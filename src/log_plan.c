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
	if (conds != NIL || ascending != NIL)
		add_eventlog_path(root, rel, conds, strategies, fraction, ascending, false);
	if (descending != NIL)
		add_eventlog_path(root, rel, conds, strategies, fraction, descending, true);
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
	ExecAssignScanProjectionInfo(&node->ss);
	node->ss.ps.qual = ExecInitQual(cscan->scan.plan.qual, (PlanState *) node);

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

static TupleTableSlot *
next_record(ScanState *node)
{
	EventlogScanState *state = (EventlogScanState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	ScanDirection direction = state->backward ? BackwardScanDirection : ForwardScanDirection;

	if (state->scan == NULL)
		start_scan(state);
	while (!state->done && table_scan_getnextslot(state->scan, direction, slot))
	{
		int64		offset = ((EventlogSlot *) slot)->record.offset;

		if (likely(offset >= state->lo && offset <= state->hi))
			return slot;
		if (state->backward ? offset < state->lo : offset > state->hi)
			break;
	}
	state->done = true;
	return ExecClearTuple(slot);
}

static bool
recheck_record(ScanState *node, TupleTableSlot *slot)
{
	return true;				/* rows of a topic do not change */
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, (ExecScanAccessMtd) next_record,
					(ExecScanRecheckMtd) recheck_record);
}

static void
close_scan(EventlogScanState *state)
{
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
