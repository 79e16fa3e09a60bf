/*-------------------------------------------------------------------------
 *
 * group.c
 *	  Finding consumer groups, and deciding who may use them how.
 *
 * What C code needs to know of groups is kept in this backend's memory; that a
 * group does not exist is not kept.  An invalidation of
 * eventlog.consumer_group, which whoever changes that table sends with the
 * transaction, makes everything be read again.
 *
 * A first consume makes the group, and a first use decides in which way it is
 * used from then on: by transactions or by members.  Workers that start
 * together must not wait for each other's transactions there: a consumer that
 * finds that another one is just making the group goes on without it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "group.h"
#include "group_catalog.h"
#include "guc.h"
#include "locktag.h"
#include "log_scan.h"
#include "log_storage.h"
#include "payload.h"
#include "position.h"
#include "topic_config.h"

/* More groups than this are forgotten, all at once. */
#define MAX_CACHED	1024

#define KEY_SIZE	(offsetof(EventlogGroup, topic) + sizeof(Oid))

static HTAB *groups = NULL;
static const EventlogGroup *last_found = NULL;

/* Grows with each change; entries of an older one are read again. */
static uint64 generation = 1;

/* eventlog.consumer_group, as of the last reading */
static Oid	catalog = InvalidOid;

/* ---- the cache ---- */

static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == catalog)
		generation++;
}

void
eventlog_group_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

static void
make_cache(void)
{
	HASHCTL		ctl = {0};

	last_found = NULL;
	if (groups != NULL)
		hash_destroy(groups);
	groups = NULL;
	ctl.hcxt = TopMemoryContext;
	ctl.keysize = KEY_SIZE;
	ctl.entrysize = sizeof(EventlogGroup);
	groups = hash_create("eventlog groups", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Read a group from the table; NULL if there is no row. */
static const EventlogGroup *
read_group(const EventlogGroup *key)
{
	uint64		before = generation;
	EventlogGroupRow *row;
	EventlogGroupConfig config;
	EventlogGroup *entry;

	catalog = eventlog_group_catalog_oid();
	row = eventlog_group_catalog_get(key->name, key->topic);
	if (row == NULL)
	{
		hash_search(groups, key, HASH_REMOVE, NULL);
		return NULL;
	}
	eventlog_group_config_read(row->config, &config);

	/* no error from here on, but out of memory */
	if (hash_get_num_entries(groups) >= MAX_CACHED)
		make_cache();
	entry = hash_search(groups, key, HASH_ENTER, NULL);
	entry->owner = row->owner;
	entry->start = strcmp(row->start, "none") == 0 ? -1 : 0;
	entry->use = row->use;
	entry->config = config;

	/*
	 * If something changed while we read, what we have is at least as new as
	 * what the caller could rely on; the next lookup reads again.
	 */
	entry->generation = before;
	return entry;
}

const EventlogGroup *
eventlog_group_find(const char *group, Oid topic)
{
	EventlogGroup key;
	const EventlogGroup *entry;
	MemoryContext scratch,
				old;

	if (likely(last_found != NULL && last_found->generation == generation &&
			   last_found->topic == topic && strcmp(last_found->name, group) == 0))
		return last_found;

	last_found = NULL;
	if (strlen(group) > EVENTLOG_GROUP_NAME_MAX)
		return NULL;
	if (groups == NULL)
		make_cache();
	memset(&key, 0, KEY_SIZE);
	strcpy(key.name, group);
	key.topic = topic;
	entry = hash_search(groups, &key, HASH_FIND, NULL);
	if (entry == NULL || entry->generation != generation)
	{
		scratch = AllocSetContextCreate(CurrentMemoryContext, "eventlog group", ALLOCSET_SMALL_SIZES);
		old = MemoryContextSwitchTo(scratch);
		entry = read_group(&key);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(scratch);
	}
	last_found = entry;
	return entry;
}

uint64
eventlog_group_generation(void)
{
	return generation;
}

int64
eventlog_group_start(const char *group, Oid topic)
{
	const EventlogGroup *entry = eventlog_group_find(group, topic);

	return entry != NULL ? entry->start : 0;
}

EventlogResetPolicy
eventlog_group_reset_policy(const char *group, Oid topic)
{
	const EventlogGroup *entry = eventlog_group_find(group, topic);

	return entry != NULL ? entry->config.reset : EVENTLOG_RESET_ERROR;
}

int64
eventlog_group_reset_time(const char *group, Oid topic)
{
	const EventlogGroup *entry = eventlog_group_find(group, topic);
	int64		now = eventlog_timestamp_to_ms(GetCurrentTimestamp());

	if (entry == NULL)
		return now;
	return entry->config.reset == EVENTLOG_RESET_TIME ? entry->config.reset_ms :
		Max(now - entry->config.reset_ms, 0);
}

/* ---- checks ---- */

uint32
eventlog_group_hash(const char *group)
{
	return DatumGetUInt32(hash_any((const unsigned char *) group, strlen(group)));
}

void
eventlog_group_check_name(const char *group)
{
	if (group[0] == '\0' || strlen(group) > EVENTLOG_GROUP_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a consumer group: \"%.*s\"",
						pg_mbcliplen(group, strlen(group), 100), group),
				 errdetail("A group's name has 1 to %d bytes.", EVENTLOG_GROUP_NAME_MAX)));
}

void
eventlog_group_check_owner(const char *group, Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
	{
		char	   *name = GetUserNameFromId(owner, true);

		/* roles can be dropped that own groups */
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for consumer group \"%s\"", group),
				 name ? errdetail("It belongs to role \"%s\".", name) :
				 errdetail("It belonged to a role that has been dropped."),
				 errhint("Consume as a member of that role, or under another group's name.")));
	}
}

static void
check_use(const char *group, EventlogGroupUse is, EventlogGroupUse wanted)
{
	if (is == EVENTLOG_GROUP_UNUSED || is == wanted)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 is == EVENTLOG_GROUP_MEMBERS ?
			 errmsg("consumer group \"%s\" is used by members, not by consume()", group) :
			 errmsg("consumer group \"%s\" is used by consume(), not by members", group),
			 errdetail("A group is used in one way, which its first use decides."),
			 is == EVENTLOG_GROUP_MEMBERS ?
			 errhint("Call eventlog.subscribe() and eventlog.poll(), or, while it has no member, change it by eventlog.alter_group() with {\"group.type\": \"consume\"}.") :
			 errhint("Call eventlog.consume(), or, while nobody consumes, change it by eventlog.alter_group() with {\"group.type\": \"members\"}.")));
}

/*
 * A group is used in the same way on all topics.  What others call by the same
 * name elsewhere is another group.
 */
static void
check_use_elsewhere(const char *group, EventlogGroupUse wanted)
{
	List	   *rows = eventlog_group_catalog_list(group);
	ListCell   *lc;

	foreach(lc, rows)
	{
		EventlogGroupRow *row = lfirst(lc);

		if (has_privs_of_role(GetUserId(), row->owner))
			check_use(group, row->use, wanted);
	}
}

static void
new_group_tag(LOCKTAG *tag, const char *group, Oid topic)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, topic, eventlog_group_hash(group), EVENTLOG_LOCK_NEW_GROUP);
}

bool
eventlog_group_lock(const char *group, Oid topic, bool wait)
{
	LOCKTAG		tag;

	new_group_tag(&tag, group, topic);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
eventlog_group_unlock(const char *group, Oid topic)
{
	LOCKTAG		tag;

	new_group_tag(&tag, group, topic);
	LockRelease(&tag, ExclusiveLock, false);
}

/*
 * A group that is not there, or that nobody has used yet.
 */
static void
first_use(const char *group, EventlogTopic *topic, EventlogGroupUse use)
{
	Oid			relid = topic->relid;
	EventlogGroupRow *row;

	if (!eventlog_group_lock(group, relid, use == EVENTLOG_GROUP_MEMBERS))
		return;					/* somebody else is just making it */
	row = eventlog_group_catalog_get(group, relid);
	if (row != NULL && row->use != EVENTLOG_GROUP_UNUSED)
	{
		/* somebody else just has */
		eventlog_group_unlock(group, relid);
		eventlog_group_check_owner(group, row->owner);
		check_use(group, row->use, use);
		return;
	}
	if (row != NULL)
		eventlog_group_check_owner(group, row->owner);
	check_use_elsewhere(group, use);
	if (row != NULL)
	{
		eventlog_group_catalog_update(row, row->config, use);
		return;
	}
	eventlog_group_catalog_insert(group, relid, "earliest", eventlog_topic_config_empty(), use);
	ereport(NOTICE,
			(errmsg("consumer group \"%s\" of topic \"%s\" has been created", group, topic->name),
			 errdetail("It starts at the earliest record.")));
}

void
eventlog_group_check(const char *group, EventlogTopic *topic, EventlogGroupUse use)
{
	const EventlogGroup *entry = eventlog_group_find(group, topic->relid);

	if (entry != NULL)
	{
		eventlog_group_check_owner(group, entry->owner);
		if (likely(entry->use == use))
			return;
		check_use(group, entry->use, use);

		/*
		 * Consuming may go on for long, and whoever drops the topic would have
		 * to wait for a row written here: it is left to the first commit.
		 */
		if (use == EVENTLOG_GROUP_CONSUME || XactReadOnly)
			return;
	}
	else
	{
		eventlog_group_check_name(group);
		if (!eventlog_auto_create_groups)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("consumer group \"%s\" of topic \"%s\" does not exist", group, topic->name),
					 errhint("Create it with eventlog.create_group(), or set eventlog.auto_create_groups.")));
		PreventCommandIfReadOnly(use == EVENTLOG_GROUP_MEMBERS ? "subscribe()" : "consume()");
	}
	first_use(group, topic, use);
}

void
eventlog_group_note_commit(const char *group, EventlogTopic *topic)
{
	const EventlogGroup *entry = eventlog_group_find(group, topic->relid);

	if (entry == NULL || likely(entry->use == EVENTLOG_GROUP_CONSUME))
		return;
	check_use(group, entry->use, EVENTLOG_GROUP_CONSUME);
	first_use(group, topic, EVENTLOG_GROUP_CONSUME);
}

void
eventlog_group_check_own(const char *group, EventlogTopic *topic)
{
	const EventlogGroup *entry = eventlog_group_find(group, topic->relid);

	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer group \"%s\" of topic \"%s\" does not exist", group, topic->name),
				 errhint("Create it with eventlog.create_group().")));
	eventlog_group_check_owner(group, entry->owner);
}

void
eventlog_group_forget_topic(Oid topic)
{
	eventlog_position_forget(NULL, topic);
	eventlog_group_catalog_forget(topic);
}

/* ---- positions by time ---- */

int64
eventlog_group_offset_for_time(Relation leaf, int64 time_ms)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	EventlogCursor *cur = eventlog_cursor_open(leaf, snapshot, true);
	int64		result = -1;
	EventlogRecord rec;

	cur->min_time = time_ms;
	eventlog_cursor_seek_time(cur, time_ms);
	while (result < 0 && eventlog_cursor_next(cur))
	{
		while (result < 0 && eventlog_batch_next(&cur->reader, &rec))
		{
			if (rec.timestamp >= time_ms && rec.offset >= cur->meta.log_start_offset)
				result = rec.offset;
		}
		if (cur->reader.error)
			eventlog_cursor_damaged(cur, cur->reader.error);
	}
	if (result < 0)
		result = eventlog_scan_lso(leaf, snapshot, NULL);
	eventlog_cursor_close(cur);
	UnregisterSnapshot(snapshot);
	return result;
}
