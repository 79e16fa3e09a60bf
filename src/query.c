/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Executor hooks: what has to be known before a query runs.
 *
 * Before a query that reads a topic starts, this transaction's records for it
 * are appended, so that they are seen; leaf scans would be too late for that
 * under a parallel plan.  While a statement with RETURNING runs, inserted rows
 * get their offsets at once.  Statements that change rows are refused here,
 * since the access method would refuse them only at the first row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "parser/parsetree.h"

#include "compat.h"
#include "produce.h"
#include "query.h"
#include "topic.h"

static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorRun_hook_type prev_executor_run = NULL;

static void
refuse_topic(Oid relid, const char *what)
{
	int32		partition;
	EventlogTopic *topic;

	if (!OidIsValid(relid) || !OidIsValid(eventlog_am_oid()))
		return;
	topic = eventlog_topic_by_relid(relid);
	if (topic == NULL)
		topic = eventlog_topic_by_leaf(relid, &partition);
	if (topic)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("topics do not support %s", what),
				 errdetail("Topic \"%s\" is an append-only log: a record does not change once it is written.",
						   topic->name)));
}

/*
 * Statements that change or lock rows are refused even if they would find
 * none, and ON CONFLICT even where there is no index to conflict in.
 */
static void
check_modify_table(PlannedStmt *plan, Plan *node)
{
	ModifyTable *mt = (ModifyTable *) node;
	const char *what;
	ListCell   *lc;

	if (node == NULL || !IsA(node, ModifyTable))
		return;
	if (mt->operation == CMD_INSERT && mt->onConflictAction == ONCONFLICT_NONE)
		return;
	what = mt->operation == CMD_INSERT ? "ON CONFLICT" :
		mt->operation == CMD_UPDATE ? "UPDATE" :
		mt->operation == CMD_DELETE ? "DELETE" : "MERGE";

	/* the table named, which an empty set of partitions leaves alone */
	if (mt->nominalRelation > 0)
		refuse_topic(rt_fetch(mt->nominalRelation, plan->rtable)->relid, what);
	foreach(lc, mt->resultRelations)
		refuse_topic(rt_fetch(lfirst_int(lc), plan->rtable)->relid, what);
}

static void
check_plan(PlannedStmt *plan)
{
	ListCell   *lc;

	if (plan->commandType != CMD_SELECT)
		check_modify_table(plan, plan->planTree);
	if (plan->hasModifyingCTE)
	{
		foreach(lc, plan->subplans)
			check_modify_table(plan, (Plan *) lfirst(lc));
	}
	foreach(lc, plan->rowMarks)
	{
		PlanRowMark *mark = lfirst_node(PlanRowMark, lc);

		if (RowMarkRequiresRowShareLock(mark->markType))
			refuse_topic(rt_fetch(mark->rti, plan->rtable)->relid, "row locks");
	}
}

static void
query_executor_start(QueryDesc *desc, int eflags)
{
	check_plan(desc->plannedstmt);
	if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		eventlog_produce_flush_for(desc->plannedstmt);
	if (prev_executor_start)
		prev_executor_start(desc, eflags);
	else
		standard_ExecutorStart(desc, eflags);
}

static void
run(QueryDesc *desc, ScanDirection direction, uint64 count EVENTLOG_RUN_ONCE_PARAM)
{
	if (prev_executor_run)
		prev_executor_run(desc, direction, count EVENTLOG_RUN_ONCE_ARG);
	else
		standard_ExecutorRun(desc, direction, count EVENTLOG_RUN_ONCE_ARG);
}

static void
query_executor_run(QueryDesc *desc, ScanDirection direction, uint64 count
				   EVENTLOG_RUN_ONCE_PARAM)
{
	bool		saved = eventlog_produce_at_once;

	eventlog_produce_at_once = desc->plannedstmt->hasReturning ||
		desc->plannedstmt->hasModifyingCTE;
	eventlog_produce_query_begin(desc->snapshot ? desc->snapshot->curcid : FirstCommandId);
	PG_TRY();
	{
		run(desc, direction, count EVENTLOG_RUN_ONCE_ARG);
	}
	PG_FINALLY();
	{
		eventlog_produce_at_once = saved;
		eventlog_produce_query_end();
	}
	PG_END_TRY();
}

void
eventlog_query_init(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = query_executor_start;
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = query_executor_run;
}
