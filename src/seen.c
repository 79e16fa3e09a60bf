/*-------------------------------------------------------------------------
 *
 * seen.c
 *	  What this session knows to be empty, so that it need not look again.
 *
 * Memory of the session only.  It is a cache: entries are thrown away as soon
 * as there are too many, and a look costs no more than it did before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "group.h"
#include "seen.h"

#define MAX_ENTRIES		4096
#define MAX_PARTITIONS	(64 * 1024)

typedef struct SeenKey
{
	char		group[EVENTLOG_GROUP_NAME_MAX + 1];
	Oid			topic;
} SeenKey;

typedef struct SeenEntry
{
	SeenKey		key;
	EventlogSeen seen;
} SeenEntry;

typedef struct LastLook
{
	Oid			topic;			/* hash key */
	uint64		activity;
} LastLook;

static MemoryContext context = NULL;
static HTAB *entries = NULL;
static int64 npartitions = 0;
static uint64 generation = 0;	/* of the catalogue of groups */

static HTAB *looks = NULL;

EventlogSeen *
eventlog_seen(const char *group, const EventlogTopic *topic)
{
	SeenKey		key;
	SeenEntry  *entry;
	bool		found;

	if (entries != NULL &&
		(generation != eventlog_group_generation() ||
		 hash_get_num_entries(entries) >= MAX_ENTRIES || npartitions > MAX_PARTITIONS))
	{
		entries = NULL;
		MemoryContextReset(context);
	}
	if (entries == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(SeenKey), .entrysize = sizeof(SeenEntry)};

		if (context == NULL)
			context = AllocSetContextCreate(TopMemoryContext, "eventlog seen", ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = context;
		npartitions = 0;
		generation = eventlog_group_generation();
		entries = hash_create("eventlog seen", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	memset(&key, 0, sizeof(key));
	strlcpy(key.group, group, sizeof(key.group));
	key.topic = topic->relid;
	entry = hash_search(entries, &key, HASH_ENTER, &found);
	if (!found || entry->seen.npartitions != topic->npartitions)
	{
		entry->seen.topic = 0;
		entry->seen.npartitions = 0;
		entry->seen.partition = MemoryContextAllocZero(context, sizeof(uint64) * topic->npartitions);
		entry->seen.npartitions = topic->npartitions;
		npartitions += topic->npartitions;
	}
	return &entry->seen;
}

void
eventlog_seen_note(const char *group, Oid topic, int32 partition, uint64 activity)
{
	SeenKey		key;
	SeenEntry  *entry;

	if (entries == NULL || generation != eventlog_group_generation())
		return;
	memset(&key, 0, sizeof(key));
	strlcpy(key.group, group, sizeof(key.group));
	key.topic = topic;
	entry = hash_search(entries, &key, HASH_FIND, NULL);
	if (entry != NULL && partition < entry->seen.npartitions)
		entry->seen.partition[partition] = activity;
}

bool
eventlog_seen_last_look(Oid topic, uint64 *activity)
{
	LastLook   *look = looks ? hash_search(looks, &topic, HASH_FIND, NULL) : NULL;

	if (look == NULL)
		return false;
	*activity = look->activity;
	return true;
}

void
eventlog_seen_set_last_look(Oid topic, uint64 activity)
{
	LastLook   *look;

	if (looks == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(LastLook)};

		ctl.hcxt = TopMemoryContext;
		looks = hash_create("eventlog looks", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	look = hash_search(looks, &topic, HASH_ENTER, NULL);
	look->activity = activity;
}
