/*-------------------------------------------------------------------------
 *
 * topic_ddl.c
 *	  SQL functions that make, change and drop topics, and their tables.
 *
 * A topic's table is PARTITION BY LIST (partition), with a leaf for each
 * partition, stored by our access method, and one for null, which forwards to
 * the leaf that the partitioner names.  Leaves are named <table>:<number> and
 * <table>:null; no topic's name has a colon.
 *
 * Leaves are made as tables of their own and then entered as partitions in one
 * go.  CREATE TABLE ... PARTITION OF and ALTER TABLE ... ATTACH PARTITION
 * would describe the parent's partitions anew for each of them: 1,000
 * partitions then take seconds, and ten times as many a hundred times as long.
 * What is entered is what the server would have entered (test/sql/topics.sql
 * compares).  It needs no stronger lock than ATTACH PARTITION: either way the
 * new rows of pg_class and pg_inherits become visible at commit.
 *
 * A topic that has triggers or indexes leaves it to ATTACH PARTITION to give
 * the new leaves theirs.
 *
 * Locks: ALTER and ADD take ShareUpdateExclusiveLock on the topic's table,
 * which neither reading nor producing conflicts with; DROP and RENAME take
 * AccessExclusiveLock on it and its leaves.  Names: topic_catalog.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "commands/tablespace.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg_eventlog.h"
#include "produce.h"
#include "topic_config.h"
#include "topic_ddl.h"

/* A shortened table name: this much of the topic's, "~", 8 hexadecimal digits. */
#define LEAF_SUFFIX_MAX		5	/* ":null", ":9999" */
#define TABLE_NAME_MAX		(NAMEDATALEN - 1 - LEAF_SUFFIX_MAX)
#define SHORTENED_PREFIX	(TABLE_NAME_MAX - 9)

#define NULL_LEAF			(-1)

bool		eventlog_topic_in_ddl = false;

PG_FUNCTION_INFO_V1(eventlog_create_topic);
PG_FUNCTION_INFO_V1(eventlog_alter_topic);
PG_FUNCTION_INFO_V1(eventlog_add_partitions);
PG_FUNCTION_INFO_V1(eventlog_drop_topic);

/* --- names ---------------------------------------------------------------- */

void
eventlog_topic_check_name(const char *name)
{
	size_t		len = strlen(name);
	const char *detail = NULL;

	if (len == 0)
		detail = "It must not be empty.";
	else if (len > EVENTLOG_TOPIC_NAME_MAX)
		detail = "It must not be longer than 249 characters.";
	else if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		detail = "It must not be \".\" or \"..\".";
	else if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		detail = "It must consist of ASCII letters, digits, \".\", \"_\" and \"-\".";

	if (detail != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid topic name \"%s\"", name),
				 errdetail("%s", detail)));
}

char *
eventlog_topic_table_name(const char *name, Oid schema)
{
	size_t		len = strlen(name);

	if (len <= TABLE_NAME_MAX)
		return pstrdup(name);

	for (uint64 seed = 0;; seed++)
	{
		uint64		hash = hash_bytes_extended((const unsigned char *) name, len, seed);
		char	   *table = psprintf("%.*s~%08x", SHORTENED_PREFIX, name, (uint32) hash);

		if (!OidIsValid(get_relname_relid(table, schema)))
			return table;
		CHECK_FOR_INTERRUPTS();
	}
}

static char *
leaf_name(const char *table, int32 partition)
{
	if (partition == NULL_LEAF)
		return psprintf("%s:null", table);
	return psprintf("%s:%d", table, partition);
}

/* --- making tables ---------------------------------------------------------- */

/* Run a utility command of ours, as the current user. */
static void
execute(const char *command)
{
	bool		was_in_ddl = eventlog_topic_in_ddl;

	SPI_connect();
	eventlog_topic_in_ddl = true;
	PG_TRY();
	{
		int			result = SPI_execute(command, false, 0);

		if (result != SPI_OK_UTILITY)
			elog(ERROR, "SPI_execute returned %d for %s", result, command);
	}
	PG_FINALLY();
	{
		eventlog_topic_in_ddl = was_in_ddl;
	}
	PG_END_TRY();
	SPI_finish();
}

static Oid
headers_type(void)
{
	Oid			schema = get_namespace_oid("eventlog", false);
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum("header"),
									   ObjectIdGetDatum(schema));

	return get_array_type(type);
}

static Oid
create_parent(const char *schema, const char *table, Oid key_type, Oid value_type)
{
	const char *qualified = quote_qualified_identifier(schema, table);

	execute(psprintf("CREATE TABLE %s (partition pg_catalog.int4, "
					 "record_offset pg_catalog.int8, "
					 "\"timestamp\" pg_catalog.timestamptz, "
					 "key %s, value %s, headers eventlog.header[]) "
					 "PARTITION BY LIST (partition)",
					 qualified,
					 format_type_be_qualified(key_type),
					 format_type_be_qualified(value_type)));
	return get_relname_relid(table, get_namespace_oid(schema, false));
}

/* What the leaves of one topic have in common. */
typedef struct LeafTemplate
{
	const char *schema;
	const char *table;
	Oid			owner;
	Oid			key_type;
	Oid			value_type;
	char	   *tablespace;		/* or NULL */
	bool		inherited;		/* columns come from the parent, as when a
								 * partition is made as such; false for one
								 * that is to be attached */
} LeafTemplate;

static ColumnDef *
leaf_column(const LeafTemplate *template, const char *name, Oid type)
{
	ColumnDef  *column = makeColumnDef(name, type, -1, get_typcollation(type));

	if (template->inherited)
	{
		column->is_local = false;
		column->inhcount = 1;
	}
	return column;
}

/* Make the table of a leaf, which is not a partition yet. */
static Oid
create_leaf(const LeafTemplate *template, int32 partition)
{
	CreateStmt *stmt = makeNode(CreateStmt);
	ColumnDef  *number = leaf_column(template, "partition", INT4OID);

	if (partition != NULL_LEAF)
		number->cooked_default = (Node *)
			makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
					  Int32GetDatum(partition), false, true);

	stmt->relation = makeRangeVar(pstrdup(template->schema),
								  leaf_name(template->table, partition), -1);
	stmt->tableElts = list_make4(number,
								 leaf_column(template, "record_offset", INT8OID),
								 leaf_column(template, "timestamp", TIMESTAMPTZOID),
								 leaf_column(template, "key", template->key_type));
	stmt->tableElts = lappend(stmt->tableElts,
							  leaf_column(template, "value", template->value_type));
	stmt->tableElts = lappend(stmt->tableElts,
							  leaf_column(template, "headers", headers_type()));
	stmt->oncommit = ONCOMMIT_NOOP;
	stmt->accessMethod = "eventlog";
	stmt->tablespacename = template->tablespace;

	return DefineRelation(stmt, RELKIND_RELATION, template->owner, NULL, "").objectId;
}

/* FOR VALUES IN (partition) */
static PartitionBoundSpec *
leaf_bound(int32 partition)
{
	PartitionBoundSpec *bound = makeNode(PartitionBoundSpec);
	bool		isnull = (partition == NULL_LEAF);

	bound->strategy = PARTITION_STRATEGY_LIST;
	bound->listdatums =
		list_make1(makeConst(INT4OID, -1, InvalidOid, sizeof(int32),
							 Int32GetDatum(isnull ? 0 : partition), isnull, true));
	bound->location = -1;
	return bound;
}

/*
 * Enter tables as partitions: leaves[i] for partition first + i.  What the
 * server does for CREATE TABLE ... PARTITION OF, once for all of them; see at
 * the top.
 */
static void
enter_partitions(Oid parent, const Oid *leaves, int count, int32 first)
{
	Relation	pg_class = table_open(RelationRelationId, RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(pg_class);
	ObjectAddress parent_address;

	ObjectAddressSet(parent_address, RelationRelationId, parent);
	for (int i = 0; i < count; i++)
	{
		Datum		values[Natts_pg_class] = {0};
		bool		nulls[Natts_pg_class] = {0};
		bool		replace[Natts_pg_class] = {0};
		ObjectAddress leaf_address;
		HeapTuple	tuple;

		tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(leaves[i]));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for relation %u", leaves[i]);
		values[Anum_pg_class_relispartition - 1] = BoolGetDatum(true);
		replace[Anum_pg_class_relispartition - 1] = true;
		values[Anum_pg_class_relpartbound - 1] =
			CStringGetTextDatum(nodeToString(leaf_bound(first + i)));
		replace[Anum_pg_class_relpartbound - 1] = true;
		tuple = heap_modify_tuple(tuple, RelationGetDescr(pg_class),
								  values, nulls, replace);
		CatalogTupleUpdateWithInfo(pg_class, &tuple->t_self, tuple, indexes);

		StoreSingleInheritance(leaves[i], parent, 1);
		ObjectAddressSet(leaf_address, RelationRelationId, leaves[i]);
		recordDependencyOn(&leaf_address, &parent_address, DEPENDENCY_AUTO);
	}
	CatalogCloseIndexes(indexes);
	table_close(pg_class, RowExclusiveLock);

	SetRelationHasSubclass(parent, true);
	CacheInvalidateRelcacheByRelid(parent);
	CommandCounterIncrement();
}

/* Have the server make a table a partition, with triggers and indexes. */
static void
attach_partition(const LeafTemplate *template, int32 partition)
{
	execute(psprintf("ALTER TABLE ONLY %s ATTACH PARTITION %s FOR VALUES IN (%d)",
					 quote_qualified_identifier(template->schema, template->table),
					 quote_qualified_identifier(template->schema,
												leaf_name(template->table, partition)),
					 partition));
}

/* --- arguments ---------------------------------------------------------------- */

static void
check_not_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

static void
check_may_write(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

static void
check_partition_count(int32 partitions)
{
	if (partitions < 1 || partitions > EVENTLOG_MAX_PARTITIONS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of partitions must be between 1 and %d",
						EVENTLOG_MAX_PARTITIONS)));
}

static void
check_payload_type(Oid type, const char *argument)
{
	EventlogPayloadType payload;

	if (!eventlog_topic_payload_type(type, &payload))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("type %s is not allowed as \"%s\"",
						format_type_be(type), argument),
				 errdetail("It must be bytea, text, json or jsonb.")));
}

/* The schema of this name, in which the current user may make a topic. */
static Oid
creation_schema(const char *name)
{
	RangeVar   *table = makeRangeVar(pstrdup(name), "", -1);
	Oid			schema;

	schema = RangeVarGetAndCheckCreationNamespace(table, NoLock, NULL);
	if (table->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("topics cannot be temporary"),
				 errhint("Choose another schema.")));
	if (IsCatalogNamespace(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("topics cannot be created in schema \"%s\"", name),
				 errhint("Choose another schema.")));
	return schema;
}

/*
 * Find a topic that the current user owns, and lock its table.  Waits for
 * whoever is renaming or dropping it.
 */
static EventlogTopic *
lock_own_topic(const char *name, LOCKMODE mode)
{
	for (;;)
	{
		EventlogTopic *topic = eventlog_topic_by_name(name, false);
		Oid			relid = topic->relid;

		eventlog_topic_check_owner(topic);
		LockRelationOid(relid, mode);
		topic = eventlog_topic_by_name(name, false);
		if (topic->relid == relid)
			return topic;
		UnlockRelationOid(relid, mode);
	}
}

/* --- SQL functions -------------------------------------------------------------- */

/*
 * create_topic(topic text, partitions int, key_type regtype, value_type
 * regtype, config jsonb, schema_name name) returns regclass
 */
Datum
eventlog_create_topic(PG_FUNCTION_ARGS)
{
	char	   *name;
	int32		partitions;
	Jsonb	   *config;
	Oid			schema_oid;
	Oid			relid;
	Oid		   *leaves;
	LeafTemplate template = {0};

	eventlog_require_preloaded();
	check_not_null(fcinfo, 0, "topic");
	check_not_null(fcinfo, 1, "partitions");
	check_not_null(fcinfo, 2, "key_type");
	check_not_null(fcinfo, 3, "value_type");
	check_not_null(fcinfo, 4, "config");
	check_not_null(fcinfo, 5, "schema_name");
	check_may_write("create_topic()");

	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	eventlog_topic_check_name(name);
	partitions = PG_GETARG_INT32(1);
	check_partition_count(partitions);
	template.key_type = PG_GETARG_OID(2);
	check_payload_type(template.key_type, "key_type");
	template.value_type = PG_GETARG_OID(3);
	check_payload_type(template.value_type, "value_type");
	config = eventlog_topic_config_apply(eventlog_topic_config_empty(),
										 PG_GETARG_JSONB_P(4));
	template.schema = NameStr(*PG_GETARG_NAME(5));
	schema_oid = creation_schema(template.schema);

	eventlog_topic_catalog_claim_name(name, InvalidOid);
	template.table = eventlog_topic_table_name(name, schema_oid);
	if (OidIsValid(get_relname_relid(template.table, schema_oid)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists in schema \"%s\"",
						template.table, template.schema),
				 errhint("It is not a topic. Choose another name or schema for the topic.")));
	template.owner = GetUserId();
	template.inherited = true;

	relid = create_parent(template.schema, template.table,
						  template.key_type, template.value_type);

	eventlog_topic_catalog_depend(relid);

	leaves = palloc(sizeof(Oid) * (partitions + 1));
	for (int32 n = NULL_LEAF; n < partitions; n++)
	{
		CHECK_FOR_INTERRUPTS();
		leaves[n - NULL_LEAF] = create_leaf(&template, n);
	}
	enter_partitions(relid, leaves, partitions + 1, NULL_LEAF);
	eventlog_topic_catalog_insert(relid, name, config, true);

	PG_RETURN_OID(relid);
}

/* alter_topic(topic text, config jsonb) */
Datum
eventlog_alter_topic(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic;
	char	   *name;
	Jsonb	   *config;
	bool		default_retention;

	check_not_null(fcinfo, 0, "topic");
	check_not_null(fcinfo, 1, "config");
	check_may_write("alter_topic()");

	topic = lock_own_topic(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						   ShareUpdateExclusiveLock);
	if (!eventlog_topic_catalog_get(topic->relid, &name, &config, &default_retention))
		elog(ERROR, "no row in eventlog.topic for relation %u", topic->relid);
	config = eventlog_topic_config_apply(config, PG_GETARG_JSONB_P(1));
	eventlog_topic_catalog_update(topic->relid, NULL, config);
	PG_RETURN_VOID();
}

/* add_partitions(topic text, total int) */
Datum
eventlog_add_partitions(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic;
	int32		total;
	int32		present;
	Oid			relid;
	Relation	rel;
	LeafTemplate template = {0};
	Oid		   *leaves;

	check_not_null(fcinfo, 0, "topic");
	check_not_null(fcinfo, 1, "total");
	check_may_write("add_partitions()");
	total = PG_GETARG_INT32(1);
	check_partition_count(total);

	topic = lock_own_topic(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						   ShareUpdateExclusiveLock);
	relid = topic->relid;
	present = topic->npartitions;
	if (total <= present)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" has %d partitions already",
						topic->name, present),
				 errhint("\"total\" is the number of partitions that the topic is to have. Partitions cannot be removed.")));

	rel = table_open(relid, NoLock);
	template.schema = get_namespace_name(RelationGetNamespace(rel));
	template.table = pstrdup(RelationGetRelationName(rel));
	template.owner = rel->rd_rel->relowner;
	template.key_type = get_atttype(relid, EVENTLOG_ATTNUM_KEY);
	template.value_type = get_atttype(relid, EVENTLOG_ATTNUM_VALUE);
	if (OidIsValid(rel->rd_rel->reltablespace))
		template.tablespace = get_tablespace_name(rel->rd_rel->reltablespace);
	template.inherited = !rel->rd_rel->relhasindex && !rel->rd_rel->relhastriggers;
	table_close(rel, NoLock);

	leaves = palloc(sizeof(Oid) * (total - present));
	for (int32 n = present; n < total; n++)
	{
		CHECK_FOR_INTERRUPTS();
		leaves[n - present] = create_leaf(&template, n);
		if (!template.inherited)
			attach_partition(&template, n);
	}
	if (template.inherited)
		enter_partitions(relid, leaves, total - present, present);
	PG_RETURN_VOID();
}

/* drop_topic(topic text) */
Datum
eventlog_drop_topic(PG_FUNCTION_ARGS)
{
	EventlogTopic *topic;
	ObjectAddress table;

	check_not_null(fcinfo, 0, "topic");
	check_may_write("drop_topic()");

	eventlog_produce_flush_all();
	topic = lock_own_topic(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						   AccessExclusiveLock);
	ObjectAddressSet(table, RelationRelationId, topic->relid);
	performDeletion(&table, DROP_RESTRICT, 0);
	PG_RETURN_VOID();
}

/* --- following changes of the topic's table ------------------------------------ */

void
eventlog_topic_rename_leaves(Oid relid)
{
	List	   *leaves = find_inheritance_children(relid, AccessExclusiveLock);
	EventlogTopic *topic = eventlog_topic_by_relid(relid);
	char	   *table = get_rel_name(relid);
	ListCell   *lc;

	foreach(lc, leaves)
	{
		Oid			leaf = lfirst_oid(lc);
		int32		partition;

		if (topic != NULL && eventlog_topic_by_leaf(leaf, &partition) == topic)
			RenameRelationInternal(leaf, leaf_name(table, partition), true, false);
	}
	CommandCounterIncrement();
}

void
eventlog_topic_move_leaves(Oid relid)
{
	List	   *leaves = find_inheritance_children(relid, AccessExclusiveLock);
	Oid			schema = get_rel_namespace(relid);
	ListCell   *lc;

	foreach(lc, leaves)
	{
		Relation	leaf = relation_open(lfirst_oid(lc), NoLock);
		ObjectAddresses *moved = new_object_addresses();

		if (RelationGetNamespace(leaf) != schema)
			AlterTableNamespaceInternal(leaf, RelationGetNamespace(leaf),
										schema, moved);
		free_object_addresses(moved);
		relation_close(leaf, NoLock);
	}
	CommandCounterIncrement();
}

void
eventlog_topic_own_leaves(Oid relid)
{
	List	   *leaves = find_inheritance_children(relid, AccessExclusiveLock);
	Relation	rel = relation_open(relid, NoLock);
	Oid			owner = rel->rd_rel->relowner;
	ListCell   *lc;

	relation_close(rel, NoLock);
	foreach(lc, leaves)
		ATExecChangeOwner(lfirst_oid(lc), owner, true, AccessExclusiveLock);
	CommandCounterIncrement();
}

void
eventlog_topic_quiet_null_leaf(Oid relid)
{
	int32		partition;
	EventlogTopic *topic = eventlog_topic_by_relid(relid);
	Relation	leaf;
	bool		loud = false;

	if (topic == NULL)
		topic = eventlog_topic_by_leaf(relid, &partition);
	if (topic == NULL || !OidIsValid(topic->null_leaf))
		return;
	leaf = table_open(topic->null_leaf, ShareRowExclusiveLock);
	for (int i = 0; leaf->trigdesc && i < leaf->trigdesc->numtriggers; i++)
		loud |= leaf->trigdesc->triggers[i].tgenabled != TRIGGER_DISABLED;
	if (loud)
		eventlog_disable_triggers(leaf);
	table_close(leaf, NoLock);
	CommandCounterIncrement();
}
