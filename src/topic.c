/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  Finding topics: by name, by table, by leaf.
 *
 * A topic is a row of eventlog.topic and the partitioned table that it names.
 * What C code needs to know of it is kept in this backend's memory, in three
 * hash tables: topics by table, topics by name, leaves by table.  A relcache
 * callback marks what has changed; the lookup functions, and nothing else,
 * read it again.  So whoever changes a topic has to send a relcache
 * invalidation for its table (topic_ddl.c does, and so does a trigger on
 * eventlog.topic, for whoever changes that table by hand or restores a dump).
 *
 * While a dump is being restored, records may come before the rows of
 * eventlog.topic: schemas and parallel jobs decide.  Leaves of a table that has
 * no row yet therefore get a topic as well, with default configs; only
 * eventlog_topic_by_leaf() returns it.
 *
 * Reading takes no lock on the topic, except while it has triggers: a caller
 * that goes on to use the topic's tables locks them, and looks the topic up
 * again if it needs to know that nothing changed before it had the lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "pg_eventlog.h"
#include "topic_config.h"
#include "topic_ddl.h"

typedef struct NameEntry
{
	char		name[EVENTLOG_TOPIC_NAME_MAX + 1];	/* hash key */
	EventlogTopic *topic;		/* may have another name by now */
} NameEntry;

typedef struct LeafEntry
{
	Oid			leaf;			/* hash key */
	EventlogTopic *topic;
	int32		partition;		/* -1 for the leaf of null */
	bool		valid;			/* false: the leaf's own entry has changed */
} LeafEntry;

/*
 * Topics and, with is_topic false, other partitioned tables that somebody
 * asked about; those have no leaves here, unless their leaves are stored by
 * our access method.
 */
static HTAB *topics = NULL;
static HTAB *names = NULL;
static HTAB *leaves = NULL;

/* What eventlog_topic_by_name() found last. */
static EventlogTopic *last_found = NULL;

/* What eventlog_topic_by_leaf() found last. */
static LeafEntry *last_leaf = NULL;

/*
 * Counts invalidations, so that reading a topic notices one that arrives
 * meanwhile.
 */
static uint64 invalidations = 0;

/* --- invalidation ------------------------------------------------------- */

/* A table has changed, or, with InvalidOid, any table may have. */
static void
relation_changed(Datum arg, Oid relid)
{
	EventlogTopic *topic;
	LeafEntry  *leaf;

	invalidations++;
	if (!OidIsValid(relid))
	{
		HASH_SEQ_STATUS status;

		hash_seq_init(&status, topics);
		while ((topic = hash_seq_search(&status)) != NULL)
			topic->valid = false;
		return;
	}

	topic = hash_search(topics, &relid, HASH_FIND, NULL);
	if (topic != NULL)
	{
		topic->valid = false;
		return;
	}
	leaf = hash_search(leaves, &relid, HASH_FIND, NULL);
	if (leaf != NULL)
		leaf->valid = false;
}

void
eventlog_topic_init(void)
{
	HASHCTL		ctl = {0};

	if (topics != NULL)
		return;

	ctl.hcxt = TopMemoryContext;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(EventlogTopic);
	topics = hash_create("eventlog topics", 64, &ctl,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(LeafEntry);
	leaves = hash_create("eventlog leaves", 256, &ctl,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.keysize = EVENTLOG_TOPIC_NAME_MAX + 1;
	ctl.entrysize = sizeof(NameEntry);
	names = hash_create("eventlog topic names", 64, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);

	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/* --- reading a topic ----------------------------------------------------- */

Oid
eventlog_relation_am(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			am = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		am = ((Form_pg_class) GETSTRUCT(tuple))->relam;
		ReleaseSysCache(tuple);
	}
	return am;
}

static EventlogPayloadType
payload_type_of_column(Oid relid, AttrNumber attnum)
{
	Oid			type = get_atttype(relid, attnum);
	EventlogPayloadType payload;

	if (!eventlog_topic_payload_type(type, &payload))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("column %d of table \"%s\" is not of a type that a topic can have",
						attnum, get_rel_name(relid))));
	return payload;
}

bool
eventlog_topic_payload_type(Oid type, EventlogPayloadType *payload)
{
	switch (type)
	{
		case BYTEAOID:
			*payload = EVENTLOG_PAYLOAD_BYTEA;
			return true;
		case TEXTOID:
			*payload = EVENTLOG_PAYLOAD_TEXT;
			return true;
		case JSONOID:
			*payload = EVENTLOG_PAYLOAD_JSON;
			return true;
		case JSONBOID:
			*payload = EVENTLOG_PAYLOAD_JSONB;
			return true;
		default:
			return false;
	}
}

/*
 * Number of a leaf from its partition bound, -1 for the leaf of null.  False
 * if the table has no bound of that kind.
 */
static bool
partition_number(Oid leaf, int32 *number)
{
	HeapTuple	tuple;
	Datum		datum;
	bool		isnull;
	bool		found = false;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(leaf));
	if (!HeapTupleIsValid(tuple))
		return false;
	datum = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	if (!isnull)
	{
		PartitionBoundSpec *bound = stringToNode(TextDatumGetCString(datum));

		if (bound->strategy == PARTITION_STRATEGY_LIST && !bound->is_default &&
			list_length(bound->listdatums) == 1)
		{
			Const	   *value = linitial_node(Const, bound->listdatums);

			*number = value->constisnull ? -1 : DatumGetInt32(value->constvalue);
			found = true;
		}
	}
	ReleaseSysCache(tuple);
	return found;
}

static bool
has_insert_transition_table(Oid relid)
{
	HeapTuple	tuple;
	Relation	rel;
	bool		has_triggers;
	bool		result = false;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		return false;
	has_triggers = ((Form_pg_class) GETSTRUCT(tuple))->relhastriggers;
	ReleaseSysCache(tuple);
	if (!has_triggers)
		return false;

	rel = try_relation_open(relid, AccessShareLock);
	if (rel != NULL)
	{
		result = rel->trigdesc != NULL && rel->trigdesc->trig_insert_new_table;
		relation_close(rel, AccessShareLock);
	}
	return result;
}

/* Replace the leaves of a topic by those that it has now. */
static void
read_leaves(EventlogTopic *topic)
{
	MemoryContext scratch;
	MemoryContext old;
	List	   *children;
	ListCell   *lc;
	int32	   *numbers;
	int			i = 0;
	int32		count = 0;
	Oid			am = eventlog_am_oid();
	Oid			null_leaf = InvalidOid;
	Oid		   *oids;

	scratch = AllocSetContextCreate(CurrentMemoryContext, "eventlog leaves",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);

	children = find_inheritance_children(topic->relid, NoLock);
	numbers = palloc(sizeof(int32) * Max(list_length(children), 1));
	foreach(lc, children)
	{
		/* INT_MIN: not like one that we made, so of no use */
		if (eventlog_relation_am(lfirst_oid(lc)) != am ||
			!partition_number(lfirst_oid(lc), &numbers[i]))
			numbers[i] = PG_INT32_MIN;
		if (numbers[i] == -1)
			null_leaf = lfirst_oid(lc);
		else if (numbers[i] < EVENTLOG_MAX_PARTITIONS)
			count = Max(count, numbers[i] + 1);
		i++;
	}

	oids = MemoryContextAllocZero(TopMemoryContext, sizeof(Oid) * Max(count, 1));
	i = 0;
	foreach(lc, children)
	{
		int32		number = numbers[i++];

		if (number >= 0 && number < count)
			oids[number] = lfirst_oid(lc);
	}

	/* No error from here to the end, but out of memory. */
	last_leaf = NULL;
	for (int32 n = -1; n < topic->npartitions; n++)
	{
		Oid			leaf = n < 0 ? topic->null_leaf : topic->leaves[n];

		if (OidIsValid(leaf))
			hash_search(leaves, &leaf, HASH_REMOVE, NULL);
	}
	if (topic->leaves != NULL)
		pfree(topic->leaves);
	topic->leaves = oids;
	topic->npartitions = count;
	topic->null_leaf = null_leaf;
	for (int32 n = -1; n < count; n++)
	{
		Oid			leaf = n < 0 ? null_leaf : oids[n];
		LeafEntry  *entry;

		if (!OidIsValid(leaf))
			continue;
		entry = hash_search(leaves, &leaf, HASH_ENTER, NULL);
		entry->topic = topic;
		entry->partition = n;
		entry->valid = true;
	}

	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/* Read the topic's row and tables, or find out that it is no topic. */
static void
read_topic(EventlogTopic *topic)
{
	char	   *name;
	Jsonb	   *config;
	bool		default_retention = false;
	Oid			leaf;
	uint64		before = invalidations;

	topic->reads++;
	topic->is_topic = eventlog_topic_catalog_get(topic->relid, &name, &config, &default_retention);
	if (!topic->is_topic)
	{
		name = get_rel_name(topic->relid);
		config = eventlog_topic_config_empty();
	}
	read_leaves(topic);
	leaf = topic->npartitions > 0 ? topic->leaves[0] : topic->null_leaf;
	if (OidIsValid(leaf))
	{
		topic->key_type = payload_type_of_column(leaf, EVENTLOG_ATTNUM_KEY);
		topic->value_type = payload_type_of_column(leaf, EVENTLOG_ATTNUM_VALUE);
	}
	topic->has_transition_table = has_insert_transition_table(topic->relid);
	eventlog_topic_config_read(config, &topic->config);
	if (!default_retention && topic->config.retention_by_age)
		topic->config.retention_ms = -1;
	strlcpy(topic->name, name != NULL ? name : "", sizeof(topic->name));
	if (topic->is_topic)
	{
		NameEntry  *entry = hash_search(names, topic->name, HASH_ENTER, NULL);

		entry->topic = topic;
	}

	/*
	 * If something changed while we read, what we have is at least as new as
	 * what the caller could rely on; the next lookup reads again.
	 */
	topic->valid = (before == invalidations);
}

/* --- lookups -------------------------------------------------------------- */

/* The entry of a partitioned table, up to date; NULL if it is no such table. */
static EventlogTopic *
find_entry(Oid relid)
{
	EventlogTopic *topic;
	bool		found;

	eventlog_require_preloaded();
	topic = hash_search(topics, &relid, HASH_FIND, NULL);
	if (likely(topic != NULL && topic->valid))
		return topic;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE ||
		!OidIsValid(eventlog_am_oid()))
		return NULL;

	topic = hash_search(topics, &relid, HASH_ENTER, &found);
	if (!found)
	{
		MemSet(topic, 0, sizeof(EventlogTopic));
		topic->relid = relid;
	}
	read_topic(topic);
	return topic;
}

EventlogTopic *
eventlog_topic_by_relid(Oid relid)
{
	EventlogTopic *topic = find_entry(relid);

	return topic != NULL && topic->is_topic ? topic : NULL;
}

EventlogTopic *
eventlog_topic_by_table(Oid relid)
{
	return find_entry(relid);
}

EventlogTopic *
eventlog_topic_by_name(const char *name, bool missing_ok)
{
	NameEntry  *entry;
	EventlogTopic *topic;
	Oid			relid;

	if (likely(last_found != NULL && last_found->valid &&
			   last_found->is_topic && strcmp(last_found->name, name) == 0))
		return last_found;

	eventlog_require_preloaded();
	if (strlen(name) <= EVENTLOG_TOPIC_NAME_MAX)
	{
		entry = hash_search(names, name, HASH_FIND, NULL);
		if (entry != NULL && entry->topic->valid && entry->topic->is_topic &&
			strcmp(entry->topic->name, name) == 0)
		{
			last_found = entry->topic;
			return last_found;
		}

		relid = eventlog_topic_catalog_find(name);
		if (OidIsValid(relid))
		{
			topic = eventlog_topic_by_relid(relid);
			if (topic != NULL && strcmp(topic->name, name) == 0)
			{
				last_found = topic;
				return topic;
			}
		}
	}

	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("topic \"%s\" does not exist", name),
				 errhint("Create it with eventlog.create_topic(). The view eventlog.topics lists those that exist; names are case-sensitive and have no schema.")));
	return NULL;
}

EventlogTopic *
eventlog_topic_by_leaf(Oid leaf, int32 *partition)
{
	LeafEntry  *entry;
	EventlogTopic *topic;

	eventlog_require_preloaded();
	entry = last_leaf;
	if (entry == NULL || entry->leaf != leaf)
		entry = last_leaf = hash_search(leaves, &leaf, HASH_FIND, NULL);
	if (unlikely(entry == NULL || !entry->valid || !entry->topic->valid))
	{
		if (!get_rel_relispartition(leaf))
			return NULL;
		topic = find_entry(get_partition_parent(leaf, true));
		if (topic == NULL)
			return NULL;

		/*
		 * Reading a topic enters its leaves.  If it was not read again, the
		 * parent is the same and so is the bound, which cannot change without
		 * an invalidation of the parent.
		 */
		entry = hash_search(leaves, &leaf, HASH_FIND, NULL);
		if (entry == NULL || entry->topic != topic)
			return NULL;
		entry->valid = true;
	}
	*partition = entry->partition;
	return entry->topic;
}

Oid
eventlog_am_oid(void)
{
	return get_table_am_oid("eventlog", true);
}

/* --- permissions ---------------------------------------------------------- */

void
eventlog_topic_check_acl(const EventlogTopic *topic, AclMode mode)
{
	/* The last check that passed; good for the rest of its transaction. */
	static struct
	{
		const EventlogTopic *topic;
		AclMode		mode;
		Oid			user;
		LocalTransactionId lxid;
		uint64		invalidations;
	}			passed;
	LocalTransactionId lxid = EventlogMyLxid();
	AclResult	result;

	if (likely(passed.topic == topic && passed.mode == mode && passed.user == GetUserId() &&
			   passed.lxid == lxid && passed.invalidations == invalidations))
		return;

	result = pg_class_aclcheck(topic->relid, GetUserId(), mode);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, topic->name);

	if (check_enable_rls(topic->relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("topic \"%s\" has row-level security that applies to you", topic->name),
				 errhint("Policies work with SELECT and INSERT on the topic's table. To use functions on the topic, disable row-level security for it.")));

	passed.topic = topic;
	passed.mode = mode;
	passed.user = GetUserId();
	passed.lxid = lxid;
	passed.invalidations = invalidations;
}

Oid *
eventlog_topic_copy_leaves(const EventlogTopic *topic)
{
	Oid		   *leaves = palloc(sizeof(Oid) * topic->npartitions);

	memcpy(leaves, topic->leaves, sizeof(Oid) * topic->npartitions);
	return leaves;
}

void
eventlog_topic_check_partition(const EventlogTopic *topic, int32 partition)
{
	if (partition < 0 || partition >= topic->npartitions)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition %d of topic \"%s\" does not exist", partition, topic->name),
				 errdetail("The topic has partitions 0 to %d.", topic->npartitions - 1)));
}

bool
eventlog_topic_may_look(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

void
eventlog_topic_check_owner(const EventlogTopic *topic)
{
	if (!eventlog_user_owns_relation(topic->relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, topic->name);
}

uint64
eventlog_topic_invalidations(void)
{
	return invalidations;
}
