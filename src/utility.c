/*-------------------------------------------------------------------------
 *
 * utility.c
 *	  Hooks on utility statements and on the dropping of objects.
 *
 * A topic's table is an ordinary partitioned table, so that ordinary DDL
 * reaches it.  For every utility statement, in this order:
 *
 *	1. what this transaction has produced and not yet appended is appended,
 *	   unless the statement cannot read, move or drop a topic's data;
 *	2. statements that would make a topic something else are refused
 *	   (utility_rules.c);
 *	3. workers leave a database that the statement wants for itself
 *	   (utility_database.c);
 *	4. the server, or the next extension, executes the statement;
 *	5. leaves and catalogues follow: after RENAME TO, SET SCHEMA, OWNER TO, and
 *	   what mirrors hang on (mirror_utility.c).
 *
 * A topic's catalogue row goes when its table goes, however that happens, by
 * the object access hook.
 *
 * Nothing here may look at catalogues before it knows that the statement is
 * no transaction control: ROLLBACK comes here in a failed transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "group.h"
#include "log_storage.h"
#include "mirror_utility.h"
#include "partition_catalog.h"
#include "produce.h"
#include "topic_ddl.h"
#include "subscription.h"
#include "utility.h"
#include "wakeup.h"

static ProcessUtility_hook_type next_ProcessUtility = NULL;
static object_access_hook_type next_object_access = NULL;

/* What is left to do after a statement. */
typedef enum FollowUp
{
	FOLLOW_NOTHING,
	FOLLOW_RENAME,
	FOLLOW_SCHEMA,
	FOLLOW_OWNER,
	FOLLOW_CREATED,
	FOLLOW_TRIGGERS,
	FOLLOW_MIRRORS
} FollowUp;

EventlogTableKind
eventlog_utility_classify(const RangeVar *name, Oid *relid, EventlogTopic **topic)
{
	Oid			oid = RangeVarGetRelid(name, NoLock, true);
	EventlogTableKind kind = EVENTLOG_TABLE_OTHER;
	EventlogTopic *found = NULL;
	int32		partition;

	if (OidIsValid(oid))
	{
		char		relkind = get_rel_relkind(oid);

		if (relkind == RELKIND_PARTITIONED_TABLE)
		{
			found = eventlog_topic_by_relid(oid);
			if (found != NULL)
				kind = EVENTLOG_TABLE_TOPIC;
		}
		else if (relkind == RELKIND_RELATION &&
				 eventlog_relation_am(oid) == eventlog_am_oid())
		{
			found = eventlog_topic_by_leaf(oid, &partition);
			if (found != NULL && !found->is_topic)
				found = NULL;
			kind = found != NULL ? EVENTLOG_TABLE_LEAF : EVENTLOG_TABLE_STRAY;
		}
	}
	if (relid != NULL)
		*relid = oid;
	if (topic != NULL)
		*topic = found;
	return kind;
}

/*
 * May the statement read, move or drop what is in a topic?  All may, except
 * those that are known not to, or that get here again with what they run.
 */
static bool
touches_data(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_TransactionStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_ConstraintsSetStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_DeclareCursorStmt:
		case T_DoStmt:
		case T_CallStmt:
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
		case T_ListenStmt:
		case T_NotifyStmt:
		case T_UnlistenStmt:
		case T_ExplainStmt:
		case T_DiscardStmt:
		case T_LoadStmt:
			return false;
		case T_CopyStmt:
			return !((CopyStmt *) statement)->is_from;
		default:
			return true;
	}
}

/*
 * Lock the topic that a statement is about to rename, as the server will: the
 * current user owns it, or the server's own error comes.  NULL if the table is
 * no topic, or not the user's.
 */
static EventlogTopic *
lock_for_rename(const RangeVar *name)
{
	for (;;)
	{
		Oid			relid;
		Oid			relid_locked;
		EventlogTopic *topic;

		if (eventlog_utility_classify(name, &relid, &topic) != EVENTLOG_TABLE_TOPIC ||
			!eventlog_user_owns_relation(relid))
			return NULL;
		LockRelationOid(relid, AccessExclusiveLock);
		if (eventlog_utility_classify(name, &relid_locked, &topic) == EVENTLOG_TABLE_TOPIC &&
			relid_locked == relid)
			return topic;
		UnlockRelationOid(relid, AccessExclusiveLock);
	}
}

/*
 * ALTER TABLE ... RENAME TO renames the topic.  Claim its new name, and give
 * the statement the name of the table, which is shorter where the names of
 * the leaves would not fit.  Returns the table, or InvalidOid if it is no
 * topic.
 */
static Oid
prepare_rename(PlannedStmt **pstmt, bool *read_only_tree)
{
	RenameStmt *stmt = (RenameStmt *) (*pstmt)->utilityStmt;
	EventlogTopic *topic = lock_for_rename(stmt->relation);
	char	   *table;

	if (topic == NULL)
		return InvalidOid;

	eventlog_topic_check_name(stmt->newname);
	eventlog_topic_catalog_claim_name(stmt->newname, topic->relid);
	table = eventlog_topic_table_name(stmt->newname,
									  get_rel_namespace(topic->relid));
	if (strcmp(table, stmt->newname) != 0)
	{
		*pstmt = copyObject(*pstmt);
		*read_only_tree = false;
		((RenameStmt *) (*pstmt)->utilityStmt)->newname = table;
	}
	return topic->relid;
}

static bool
changes_owner(const AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_ChangeOwner)
			return true;
	return false;
}

static bool
enables_triggers(const AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		switch (lfirst_node(AlterTableCmd, lc)->subtype)
		{
			case AT_EnableTrig:
			case AT_EnableAlwaysTrig:
			case AT_EnableReplicaTrig:
			case AT_EnableTrigAll:
			case AT_EnableTrigUser:
				return true;
			default:
				break;
		}
	}
	return false;
}

/* Find out what is to be done after the statement, and to which table. */
static FollowUp
prepare_follow_up(PlannedStmt **pstmt, bool *read_only_tree, Oid *relid)
{
	Node	   *statement = (*pstmt)->utilityStmt;

	*relid = InvalidOid;
	if (eventlog_mirror_utility_concerns(statement))
		return FOLLOW_MIRRORS;
	switch (nodeTag(statement))
	{
		case T_RenameStmt:
			{
				RenameStmt *stmt = (RenameStmt *) statement;

				/* ALTER INDEX and the like can rename tables, too */
				if (stmt->relation == NULL || stmt->subname != NULL)
					return FOLLOW_NOTHING;
				*relid = prepare_rename(pstmt, read_only_tree);
				return OidIsValid(*relid) ? FOLLOW_RENAME : FOLLOW_NOTHING;
			}
		case T_AlterObjectSchemaStmt:
			{
				AlterObjectSchemaStmt *stmt = (AlterObjectSchemaStmt *) statement;
				EventlogTopic *topic;

				if (stmt->relation == NULL)
					return FOLLOW_NOTHING;
				topic = lock_for_rename(stmt->relation);
				if (topic == NULL)
					return FOLLOW_NOTHING;
				*relid = topic->relid;
				return FOLLOW_SCHEMA;
			}
		case T_AlterTableStmt:
			{
				AlterTableStmt *stmt = (AlterTableStmt *) statement;

				if (changes_owner(stmt) &&
					eventlog_utility_classify(stmt->relation, relid, NULL) == EVENTLOG_TABLE_TOPIC)
					return FOLLOW_OWNER;
				if (enables_triggers(stmt) &&
					eventlog_utility_classify(stmt->relation, relid, NULL) != EVENTLOG_TABLE_OTHER)
					return FOLLOW_TRIGGERS;
				return FOLLOW_NOTHING;
			}
		case T_CreateTrigStmt:
			if (eventlog_utility_classify(((CreateTrigStmt *) statement)->relation,
										  relid, NULL) == EVENTLOG_TABLE_TOPIC)
				return FOLLOW_TRIGGERS;
			return FOLLOW_NOTHING;
		case T_CreateStmt:
			return FOLLOW_CREATED;
		default:
			return FOLLOW_NOTHING;
	}
}

/* Logs were emptied: a dump is going to need their next offsets. */
static void
note_truncation(TruncateStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->relations)
	{
		RangeVar   *var = lfirst_node(RangeVar, lc);
		Oid			relid = RangeVarGetRelid(var, NoLock, true);
		List	   *tables;
		ListCell   *child;

		if (!OidIsValid(relid))
			continue;
		tables = find_all_inheritors(relid, NoLock, NULL);
		foreach(child, tables)
		{
			Oid			table = lfirst_oid(child);
			Relation	leaf;
			EventlogMeta meta;

			if (get_rel_relkind(table) != RELKIND_RELATION ||
				eventlog_relation_am(table) != eventlog_am_oid())
				continue;
			leaf = table_open(table, NoLock);
			eventlog_storage_read_all(leaf, &meta);
			if (meta.head.next_offset > 0)
				(void) eventlog_partition_note(leaf, meta.head.next_offset, false);
			table_close(leaf, NoLock);
		}
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *query_env, DestReceiver *dest,
				QueryCompletion *completion)
{
	FollowUp	follow = FOLLOW_NOTHING;
	NodeTag		tag = nodeTag(pstmt->utilityStmt);
	Oid			relid = InvalidOid;
	char	   *new_name = NULL;
	bool		discards_all = tag == T_DiscardStmt &&
		((DiscardStmt *) pstmt->utilityStmt)->target == DISCARD_ALL;

	if (tag == T_TransactionStmt)
	{
		TransactionStmtKind kind = ((TransactionStmt *) pstmt->utilityStmt)->kind;

		/* the transaction that was prepared may have produced, whoever ends it */
		if (kind == TRANS_STMT_COMMIT_PREPARED || kind == TRANS_STMT_ROLLBACK_PREPARED)
			eventlog_wakeup_everybody_at_end();
	}
	if (!eventlog_topic_in_ddl && touches_data(pstmt->utilityStmt) &&
		IsTransactionState() && OidIsValid(eventlog_am_oid()))
	{
		eventlog_produce_before_utility();
		eventlog_utility_check(pstmt->utilityStmt);
		eventlog_mirror_utility_before(pstmt->utilityStmt);
		if (IsA(pstmt->utilityStmt, RenameStmt))
			new_name = ((RenameStmt *) pstmt->utilityStmt)->newname;
		follow = prepare_follow_up(&pstmt, &read_only_tree, &relid);
	}
	eventlog_utility_database_before(pstmt->utilityStmt);

	if (next_ProcessUtility != NULL)
		next_ProcessUtility(pstmt, query_string, read_only_tree, context,
							params, query_env, dest, completion);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, completion);

	if (discards_all)
		eventlog_subscription_end();

	if (tag == T_TruncateStmt && OidIsValid(eventlog_am_oid()))
		note_truncation((TruncateStmt *) pstmt->utilityStmt);

	/* after a ROLLBACK in a procedure the statement may be gone */
	eventlog_utility_database_after(tag);
	switch (follow)
	{
		case FOLLOW_NOTHING:
			break;
		case FOLLOW_RENAME:
			CommandCounterIncrement();
			eventlog_topic_rename_leaves(relid);
			eventlog_topic_catalog_update(relid, new_name, NULL);
			break;
		case FOLLOW_SCHEMA:
			CommandCounterIncrement();
			eventlog_topic_move_leaves(relid);
			break;
		case FOLLOW_OWNER:
			CommandCounterIncrement();
			eventlog_topic_own_leaves(relid);
			break;
		case FOLLOW_TRIGGERS:
			CommandCounterIncrement();
			eventlog_topic_quiet_null_leaf(relid);
			break;
		case FOLLOW_CREATED:
			CommandCounterIncrement();
			eventlog_utility_check_created((CreateStmt *) pstmt->utilityStmt);
			break;
		case FOLLOW_MIRRORS:
			CommandCounterIncrement();
			eventlog_mirror_utility_after(pstmt->utilityStmt);
			break;
	}
}

/* A topic's catalogue row goes with its table; mirrors need their servers. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
			  void *arg)
{
	if (next_object_access != NULL)
		next_object_access(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == ForeignServerRelationId)
		eventlog_mirror_check_server_drop(object_id);
	if (class_id != RelationRelationId || sub_id != 0)
		return;
	if (access != OAT_DROP || !OidIsValid(eventlog_am_oid()))
		return;
	if (get_rel_relkind(object_id) == RELKIND_RELATION &&
		eventlog_relation_am(object_id) == eventlog_am_oid())
		eventlog_partition_forget(object_id);
	if (get_rel_relkind(object_id) == RELKIND_PARTITIONED_TABLE)
	{
		eventlog_topic_catalog_delete(object_id);
		eventlog_group_forget_topic(object_id);
	}
}

void
eventlog_utility_init(void)
{
	next_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	eventlog_utility_database_init();
	next_object_access = object_access_hook;
	object_access_hook = object_access;
}
