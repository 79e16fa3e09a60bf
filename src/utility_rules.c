/*-------------------------------------------------------------------------
 *
 * utility_rules.c
 *	  Which utility statements a topic accepts.
 *
 * A topic's table has columns, partitions and storage that other code relies
 * on.  Statements that would change them are refused here, by name and with a
 * hint; what is harmless passes.  For ALTER TABLE that is a list of what is
 * allowed, so that subcommands of later servers are refused until somebody
 * has thought about them.
 *
 * A table that is stored by our access method but is in no topic is one that
 * a dump is being restored into: it may be made a partition, and what it is
 * like is checked when it is made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "utility.h"

pg_noreturn static void refuse(const char *message, const char *table,
							   const char *hint);

/* message has one %s, for the table's name. */
static void
refuse(const char *message, const char *table, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg(message, table),
			 errhint("%s", hint)));
}

static bool
is_ours(EventlogTableKind kind)
{
	return kind != EVENTLOG_TABLE_OTHER;
}

/* Does a statement with this USING clause, or none, make a table of ours? */
static bool
uses_our_storage(const char *access_method)
{
	if (access_method == NULL)
		access_method = default_table_access_method;
	return strcmp(access_method, "eventlog") == 0;
}

/* --- ALTER TABLE -------------------------------------------------------- */

static void
check_owner_of_leaf(const AlterTableStmt *stmt, const AlterTableCmd *cmd,
					const EventlogTopic *topic)
{
	Relation	rel = relation_open(topic->relid, AccessShareLock);
	Oid			owner = rel->rd_rel->relowner;

	relation_close(rel, AccessShareLock);
	if (get_rolespec_oid(cmd->newowner, false) != owner)
		refuse("cannot change the owner of \"%s\", which is a partition of a topic",
			   stmt->relation->relname,
			   "Change the owner of the topic's table: its partitions follow.");
}

static void
check_alter_table(const AlterTableStmt *stmt)
{
	EventlogTopic *topic;
	EventlogTableKind kind;
	const char *table = stmt->relation->relname;
	ListCell   *lc;

	kind = eventlog_utility_classify(stmt->relation, NULL, &topic);
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_SetAccessMethod && cmd->name != NULL &&
			!is_ours(kind) && strcmp(cmd->name, "eventlog") == 0)
			refuse("cannot change the access method of \"%s\" to eventlog", table,
				   "Create a topic with eventlog.create_topic(), and INSERT INTO it what the table has.");
		if (!is_ours(kind))
			continue;

		switch (cmd->subtype)
		{
			case AT_ChangeOwner:
				if (kind == EVENTLOG_TABLE_LEAF)
					check_owner_of_leaf(stmt, cmd, topic);
				break;

			case AT_SetStatistics:
			case AT_SetOptions:
			case AT_ResetOptions:
			case AT_SetTableSpace:
			case AT_SetRelOptions:
			case AT_ResetRelOptions:
			case AT_EnableTrig:
			case AT_EnableAlwaysTrig:
			case AT_EnableReplicaTrig:
			case AT_DisableTrig:
			case AT_EnableTrigAll:
			case AT_DisableTrigAll:
			case AT_EnableTrigUser:
			case AT_DisableTrigUser:
			case AT_EnableRule:
			case AT_EnableAlwaysRule:
			case AT_EnableReplicaRule:
			case AT_DisableRule:
			case AT_EnableRowSecurity:
			case AT_DisableRowSecurity:
			case AT_ForceRowSecurity:
			case AT_NoForceRowSecurity:
				break;

			case AT_AddColumn:
			case AT_DropColumn:
			case AT_AlterColumnType:
			case AT_ColumnDefault:
			case AT_SetStorage:
			case AT_SetCompression:
			case AT_AddIdentity:
				refuse("cannot change the columns of topic table \"%s\"", table,
					   "A topic's columns are fixed; what is to be kept with a record goes into its value or headers.");

			case AT_SetNotNull:
			case AT_AddConstraint:
			case AT_AddIndexConstraint:
			case AT_AddIndex:
				refuse("cannot add constraints to topic table \"%s\"", table,
					   "Check records before they are produced, or in a BEFORE INSERT trigger.");

			case AT_SetLogged:
			case AT_SetUnLogged:
			case AT_SetAccessMethod:
				refuse("cannot change how topic table \"%s\" is stored", table,
					   "Topics are always logged and stored by the access method eventlog.");

			case AT_AttachPartition:
				refuse("cannot attach partitions to topic table \"%s\"", table,
					   "Use eventlog.add_partitions().");

			case AT_DetachPartition:
			case AT_DetachPartitionFinalize:
				refuse("cannot detach partitions from topic table \"%s\"", table,
					   "A topic's partitions cannot be removed, as in Kafka.");

			case AT_AddInherit:
			case AT_DropInherit:
			case AT_AddOf:
			case AT_DropOf:
				refuse("cannot change the inheritance of topic table \"%s\"", table,
					   "A topic's table stands for itself.");

			case AT_ReplicaIdentity:
				refuse("cannot set the replica identity of topic table \"%s\"", table,
					   "Records of topics are never updated or deleted, and are not published.");

			case AT_ClusterOn:
			case AT_DropCluster:
				refuse("cannot cluster topic table \"%s\"", table,
					   "Records stay in the order of their offsets.");

			default:
				refuse("this form of ALTER TABLE is not supported for topic table \"%s\"", table,
					   "Owner, schema, name, tablespace, triggers, rules, statistics and row-level security of a topic's table can be changed.");
		}
	}
}

/* --- RENAME, SET SCHEMA, DROP ------------------------------------------- */

static void
check_rename(const RenameStmt *stmt)
{
	EventlogTableKind kind;

	if (stmt->relation == NULL)
		return;
	kind = eventlog_utility_classify(stmt->relation, NULL, NULL);
	if (is_ours(kind) && stmt->renameType == OBJECT_COLUMN)
		refuse("cannot rename columns of topic table \"%s\"", stmt->relation->relname,
			   "A topic's columns are fixed. A view can show them under other names.");
	if (kind == EVENTLOG_TABLE_LEAF && stmt->subname == NULL)
		refuse("cannot rename \"%s\", which is a partition of a topic", stmt->relation->relname,
			   "Rename the topic's table: its partitions follow.");
}

static void
check_set_schema(const AlterObjectSchemaStmt *stmt)
{
	if (stmt->relation != NULL &&
		eventlog_utility_classify(stmt->relation, NULL, NULL) == EVENTLOG_TABLE_LEAF)
		refuse("cannot move \"%s\", which is a partition of a topic", stmt->relation->relname,
			   "Move the topic's table: its partitions follow.");
}

/* A leaf may be dropped only together with its topic. */
static void
check_drop(const DropStmt *stmt)
{
	List	   *topics = NIL;
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE)
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid;

		if (eventlog_utility_classify(makeRangeVarFromNameList(lfirst(lc)),
									  &relid, NULL) == EVENTLOG_TABLE_TOPIC)
			topics = lappend_oid(topics, relid);
	}
	foreach(lc, stmt->objects)
	{
		RangeVar   *name = makeRangeVarFromNameList(lfirst(lc));
		EventlogTopic *topic;

		if (eventlog_utility_classify(name, NULL, &topic) == EVENTLOG_TABLE_LEAF &&
			!list_member_oid(topics, topic->relid))
			refuse("cannot drop \"%s\", which is a partition of a topic", name->relname,
				   "A topic's partitions cannot be removed, as in Kafka. Use TRUNCATE to empty one, or eventlog.drop_topic() to drop the topic.");
	}
}

/* --- CREATE TABLE ------------------------------------------------------- */

static void
check_create(const CreateStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->inhRelations)
	{
		RangeVar   *parent = lfirst_node(RangeVar, lc);

		if (!is_ours(eventlog_utility_classify(parent, NULL, NULL)))
			continue;
		refuse("cannot create a partition or child of topic table \"%s\"", parent->relname,
			   "Use eventlog.add_partitions().");
	}
	if (stmt->partspec == NULL && uses_our_storage(stmt->accessMethod) &&
		stmt->relation->relpersistence != RELPERSISTENCE_PERMANENT)
		refuse("table \"%s\" cannot be temporary or unlogged with access method eventlog",
			   stmt->relation->relname,
			   "Topics are made by eventlog.create_topic() and are always logged.");
}

static void
check_create_as(const CreateTableAsStmt *stmt)
{
	if (uses_our_storage(stmt->into->accessMethod))
		refuse("table \"%s\" cannot be created from a query with access method eventlog",
			   stmt->into->rel->relname,
			   "Create a topic with eventlog.create_topic(), and INSERT INTO it.");
}

/*
 * The access method checks names and types of a new table's columns, before
 * the rest of the table is there.  This is the rest.
 */
static bool
has_plain_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attnotnull || att->attgenerated || att->attidentity ||
			att->atttypmod != -1)
			return false;
		if (i == EVENTLOG_ATTNUM_HEADERS - 1 &&
			strcmp(format_type_be_qualified(att->atttypid), "eventlog.header[]") != 0)
			return false;
	}
	return desc->constr == NULL || desc->constr->num_check == 0;
}

void
eventlog_utility_check_created(const CreateStmt *stmt)
{
	Oid			relid;
	Relation	rel;
	bool		ok;

	if (!is_ours(eventlog_utility_classify(stmt->relation, &relid, NULL)))
		return;
	rel = relation_open(relid, NoLock);
	ok = rel->rd_rel->relkind != RELKIND_RELATION || has_plain_columns(rel);
	relation_close(rel, NoLock);
	if (!ok)
		refuse("table \"%s\" cannot use access method eventlog",
			   stmt->relation->relname,
			   "It would have to have the columns of a topic, without constraints, identity or generated columns. Make topics with eventlog.create_topic().");
}

/* --- CREATE INDEX ---------------------------------------------------------- */

/* Does a raw expression name anything but the columns key and value? */
static bool
names_other_column(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, ColumnRef))
	{
		Node	   *name = llast(((ColumnRef *) node)->fields);

		return !IsA(name, String) ||
			(strcmp(strVal(name), "key") != 0 && strcmp(strVal(name), "value") != 0);
	}
	return raw_expression_tree_walker(node, names_other_column, context);
}

static bool
index_names_other_column(const List *elements)
{
	ListCell   *lc;

	foreach(lc, elements)
	{
		IndexElem  *element = lfirst_node(IndexElem, lc);

		if (element->name != NULL &&
			strcmp(element->name, "key") != 0 && strcmp(element->name, "value") != 0)
			return true;
		if (names_other_column(element->expr, NULL))
			return true;
	}
	return false;
}

static void
check_create_index(const IndexStmt *stmt)
{
	const char *method = stmt->accessMethod;

	if (stmt->relation == NULL ||
		!is_ours(eventlog_utility_classify(stmt->relation, NULL, NULL)))
		return;

	if (stmt->concurrent)
		refuse("cannot create an index concurrently on topic table \"%s\"", stmt->relation->relname,
			   "Use CREATE INDEX without CONCURRENTLY.");
	if (stmt->unique || stmt->primary || stmt->isconstraint || stmt->excludeOpNames != NIL)
		refuse("cannot create a unique index on topic table \"%s\"", stmt->relation->relname,
			   "A log may have any number of records with the same key. Use an index that is not unique.");
	if (method != NULL && strcmp(method, "btree") != 0 && strcmp(method, "hash") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot create an index with access method \"%s\" on topic table \"%s\"",
						method, stmt->relation->relname),
				 errhint("Topics can have indexes of access methods btree and hash.")));
	if (index_names_other_column(stmt->indexParams) ||
		index_names_other_column(stmt->indexIncludingParams) ||
		names_other_column(stmt->whereClause, NULL))
		refuse("cannot create an index on topic table \"%s\" with columns other than \"key\" and \"value\"",
			   stmt->relation->relname,
			   "Records are found by partition, record_offset and timestamp without an index.");
}

/*
 * The access method would refuse it only after an invalid index is there.
 */
static void
check_reindex(const ReindexStmt *stmt)
{
	bool		concurrently = false;
	Oid			relid;
	char		relkind;
	int32		partition;
	ListCell   *lc;

	foreach(lc, stmt->params)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "concurrently") == 0)
			concurrently = defGetBoolean(option);
	}
	if (!concurrently || stmt->relation == NULL)
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';
	if (relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX)
		relid = IndexGetRelation(relid, true);
	if (OidIsValid(relid) &&
		(eventlog_topic_by_relid(relid) != NULL || eventlog_topic_by_leaf(relid, &partition) != NULL))
		refuse("cannot rebuild indexes of topic table \"%s\" concurrently", get_rel_name(relid),
			   "Use REINDEX without CONCURRENTLY.");
}

/* --- the rest -------------------------------------------------------------- */

static void
check_vacuum(const VacuumStmt *stmt)
{
	bool		full = false;
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "full") == 0)
			full = defGetBoolean(option);
	}
	if (!stmt->is_vacuumcmd || !full)
		return;
	foreach(lc, stmt->rels)
	{
		VacuumRelation *vacuum = lfirst_node(VacuumRelation, lc);

		if (vacuum->relation != NULL &&
			is_ours(eventlog_utility_classify(vacuum->relation, NULL, NULL)))
			refuse("cannot run VACUUM FULL on topic table \"%s\"", vacuum->relation->relname,
				   "A topic's file never has dead records to get rid of. Use VACUUM without FULL.");
	}
}

static void
check_cluster(const ClusterStmt *stmt)
{
	if (stmt->relation != NULL &&
		is_ours(eventlog_utility_classify(stmt->relation, NULL, NULL)))
		refuse("cannot cluster topic table \"%s\"", stmt->relation->relname,
			   "Records stay in the order of their offsets.");
}

static void
check_publication(const List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		PublicationObjSpec *object = lfirst_node(PublicationObjSpec, lc);

		if (object->pubtable != NULL &&
			is_ours(eventlog_utility_classify(object->pubtable->relation, NULL, NULL)))
			refuse("cannot publish topic table \"%s\"", object->pubtable->relation->relname,
				   "Logical replication does not see the records of topics: subscribers would miss them without an error. Streaming replication does.");
	}
}

void
eventlog_utility_check(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			check_alter_table((AlterTableStmt *) statement);
			break;
		case T_RenameStmt:
			check_rename((RenameStmt *) statement);
			break;
		case T_AlterObjectSchemaStmt:
			check_set_schema((AlterObjectSchemaStmt *) statement);
			break;
		case T_DropStmt:
			check_drop((DropStmt *) statement);
			break;
		case T_CreateStmt:
			check_create((CreateStmt *) statement);
			break;
		case T_CreateForeignTableStmt:
			check_create(&((CreateForeignTableStmt *) statement)->base);
			break;
		case T_CreateTableAsStmt:
			check_create_as((CreateTableAsStmt *) statement);
			break;
		case T_IndexStmt:
			check_create_index((IndexStmt *) statement);
			break;
		case T_ReindexStmt:
			check_reindex((ReindexStmt *) statement);
			break;
		case T_VacuumStmt:
			check_vacuum((VacuumStmt *) statement);
			break;
		case T_ClusterStmt:
			check_cluster((ClusterStmt *) statement);
			break;
		case T_CreatePublicationStmt:
			check_publication(((CreatePublicationStmt *) statement)->pubobjects);
			break;
		case T_AlterPublicationStmt:
			if (((AlterPublicationStmt *) statement)->action != AP_DropObjects)
				check_publication(((AlterPublicationStmt *) statement)->pubobjects);
			break;
		default:
			break;
	}
}
