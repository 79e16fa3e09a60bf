/*-------------------------------------------------------------------------
 *
 * log_plan.c
 *	  Planning scans of a partition by offset and time.
 *
 * A log is ordered by offset, and nearly so by time: both can be searched
 * without an index.  This file offers the planner a scan that reads only what
 * conditions on record_offset and "timestamp" leave, and that returns records
 * ordered by record_offset, forward or backward.
 *
 * Conditions on record_offset are dealt with for good; those on "timestamp"
 * narrow the scan and are checked again on each record.  log_exec.c runs it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "log_exec.h"
#include "log_plan.h"
#include "log_slot.h"
#include "log_storage.h"

/* Records that a scan between two parameters is taken to read. */
#define PIECE_RECORDS	250.0

static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;

static Plan *plan_custom_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
							  List *tlist, List *clauses, List *custom_plans);

static const CustomPathMethods path_methods = {
	.CustomName = "Eventlog Scan",
	.PlanCustomPath = plan_custom_path
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
	bool		unknown_lo = false;
	bool		unknown_hi = false;
	List	   *others = NIL;
	ListCell   *lc,
			   *ls;

	eventlog_storage_read_meta(leaf, &meta, NULL);
	table_close(leaf, NoLock);
	total = (double) (meta.next_offset - meta.log_start_offset);
	if (total <= 0)
		return 1.0;

	forboth(lc, conds, ls, strategies)
	{
		OpExpr	   *op = (OpExpr *) lfirst(lc);
		int			strategy = lfirst_int(ls);
		Node	   *value = estimate_expression_value(root, (Node *) lsecond(op->args));

		if (is_offset_condition(op) && IsA(value, Const) && !((Const *) value)->constisnull)
			eventlog_narrow_offsets(strategy, eventlog_offset_value(((Const *) value)->consttype,
																	((Const *) value)->constvalue),
									&lo, &hi);
		else
		{
			others = lappend(others, op);
			if (is_offset_condition(op))
			{
				unknown_lo |= strategy >= BTEqualStrategyNumber;
				unknown_hi |= strategy <= BTEqualStrategyNumber;
			}
		}
	}
	lo = Max(lo, meta.log_start_offset);
	hi = Min(hi, meta.next_offset - 1);
	fraction = hi < lo ? 0.0 : ((double) (hi - lo) + 1) / total;
	if (others != NIL)
		fraction *= clauselist_selectivity(root, others, rel->relid, JOIN_INNER, NULL);

	/*
	 * Who gives both ends as parameters reads the log piece by piece.  Taking
	 * the piece for a small one keeps generic plans: there is no other plan to
	 * be found for a larger one.
	 */
	if (unknown_lo && unknown_hi)
		fraction = Min(fraction, PIECE_RECORDS / total);
	return fraction;
}

static void
add_eventlog_path(PlannerInfo *root, RelOptInfo *rel, List *conds, List *strategies,
				  double fraction, List *pathkeys, bool backward)
{
	CustomPath *cpath = makeNode(CustomPath);
	QualCost	qual_cost;
	double		tuples = rel->tuples * fraction;
	ParamPathInfo *param_info;

	/* as for a sequential scan: LATERAL may ask for other relations' columns */
	param_info = get_baserel_parampathinfo(root, rel, rel->lateral_relids);

	cost_qual_eval(&qual_cost, rel->baserestrictinfo, root);
	cpath->path.pathtype = T_CustomScan;
	cpath->path.parent = rel;
	cpath->path.pathtarget = rel->reltarget;
	cpath->path.param_info = param_info;
	cpath->path.rows = clamp_row_est(Min(param_info ? param_info->ppi_rows : rel->rows, tuples));
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

	cpath->flags = CUSTOMPATH_SUPPORT_PROJECTION | CUSTOMPATH_SUPPORT_BACKWARD_SCAN;
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
	cscan->methods = &eventlog_scan_methods;
	return &cscan->scan.plan;
}

void
eventlog_plan_init(void)
{
	RegisterCustomScanMethods(&eventlog_scan_methods);
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = plan_set_rel_pathlist;
}
