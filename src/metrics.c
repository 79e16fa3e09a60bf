/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  Cumulative counters of topics and databases, in shared memory.
 *
 * Shared are a hash table of entries, one for each topic and one for each
 * database, and one entry more for what found no place in it.  Entries are
 * made and removed under the exclusive lock.  Under the shared lock they stay
 * where they are, and their counters, being atomic, may be added to.  The
 * entry of a database in which somebody works is never removed: a pointer to
 * one's own needs no lock.
 *
 * A backend counts for topics in its own memory, and adds that up at the end
 * of the transaction.  There nothing may raise, which is why the table has a
 * fixed size and all of a backend's memory is taken when something is counted.
 *
 * All is lost when the server restarts, as are the server's own statistics
 * after a crash.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "metrics.h"

#define SHMEM_NAME	"pg_eventlog metrics"

/* Databases that have counters of their own. */
#define MAX_DATABASES	64

/* A full table is looked through for dropped topics this often (ms). */
#define SWEEP_INTERVAL	10000

StaticAssertDecl((int) EVENTLOG_METRICS <= (int) EVENTLOG_TOPIC_METRICS,
				 "a database's counters fit into an entry");

typedef struct EntryKey
{
	Oid			dboid;
	Oid			topic;			/* InvalidOid: the database itself */
} EntryKey;

typedef struct Entry
{
	EntryKey	key;
	pg_atomic_uint64 since;		/* of a database: TimestampTz of the reset */
	pg_atomic_uint64 counters[EVENTLOG_TOPIC_METRICS];	/* by EventlogTopicMetric,
														 * or EventlogMetric */
} Entry;

typedef struct Shared
{
	LWLock	   *lock;			/* set at start, then constant */
	TimestampTz started;		/* constant */
	int			ntopics;		/* entries of topics; under the lock, and read
								 * without it as a hint */
	int			ndatabases;		/* entries of databases; under the lock */
	Entry		other;			/* topics beyond the limit, of all databases */
	Entry		other_databases;
} Shared;

/* What this transaction has counted for a topic. */
typedef struct Pending
{
	Oid			topic;			/* hash key */
	bool		dirty;			/* in the list */
	bool		tried;			/* to have a place found for it */
	struct Pending *next;
	uint64		counters[EVENTLOG_TOPIC_METRICS];
} Pending;

/* What a subtransaction has appended to a topic. */
typedef struct Appended
{
	Pending    *pending;
	SubTransactionId subid;
	uint64		records;
	uint64		bytes;
	uint64		batches;
} Appended;

static Shared *shared = NULL;	/* NULL: not loaded at server start */
static HTAB *entries = NULL;

static HTAB *pendings = NULL;
static Pending *last_pending = NULL;	/* of the last lookup */
static Pending *dirty = NULL;
static Appended *appended = NULL;
static int	nappended = 0;
static int	maxappended = 0;
static Entry *my_database = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/* ---- shared memory ---- */

static int
max_entries(void)
{
	return eventlog_max_topic_metrics + MAX_DATABASES;
}

static void
shmem_request(void)
{
	if (next_shmem_request != NULL)
		next_shmem_request();

	RequestAddinShmemSpace(add_size(MAXALIGN(sizeof(Shared)),
									hash_estimate_size(max_entries(), sizeof(Entry))));
	RequestNamedLWLockTranche(SHMEM_NAME, 1);
}

static void
init_entry(Entry *entry, TimestampTz since)
{
	pg_atomic_init_u64(&entry->since, (uint64) since);
	for (int i = 0; i < EVENTLOG_TOPIC_METRICS; i++)
		pg_atomic_init_u64(&entry->counters[i], 0);
}

static void
shmem_startup(void)
{
	HASHCTL		ctl = {.keysize = sizeof(EntryKey), .entrysize = sizeof(Entry)};
	bool		found;

	if (next_shmem_startup != NULL)
		next_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(SHMEM_NAME, sizeof(Shared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(Shared));
		shared->lock = &GetNamedLWLockTranche(SHMEM_NAME)->lock;
		shared->started = GetCurrentTimestamp();
		init_entry(&shared->other, shared->started);
		init_entry(&shared->other_databases, shared->started);
	}
	entries = ShmemInitHash(SHMEM_NAME " entries", max_entries(), max_entries(), &ctl,
							HASH_ELEM | HASH_BLOBS);
	LWLockRelease(AddinShmemInitLock);
}

/*
 * The entry for a key; without a place for it, the one that stands for the
 * others.  Exclusive lock held.  Does not raise: the table's memory is there.
 */
static Entry *
make_entry_locked(Oid dboid, Oid topic)
{
	EntryKey	key = {.dboid = dboid, .topic = topic};
	Entry	   *other = OidIsValid(topic) ? &shared->other : &shared->other_databases;
	int		   *count = OidIsValid(topic) ? &shared->ntopics : &shared->ndatabases;
	int			limit = OidIsValid(topic) ? eventlog_max_topic_metrics : MAX_DATABASES;
	Entry	   *entry = hash_search(entries, &key, HASH_FIND, NULL);
	bool		found;

	if (entry != NULL)
		return entry;
	if (*count >= limit)
		return other;
	entry = hash_search(entries, &key, HASH_ENTER_NULL, &found);
	if (entry == NULL)
		return other;
	init_entry(entry, shared->started);
	(*count)++;
	return entry;
}

/* ---- counting for topics ---- */

/*
 * What this transaction counts for a topic, made if need be.
 */
static Pending *
get_pending(Oid topic)
{
	Pending    *pending = last_pending;

	if (pending == NULL || pending->topic != topic)
	{
		bool		found;

		if (pendings == NULL)
		{
			HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Pending)};

			ctl.hcxt = TopMemoryContext;
			pendings = hash_create("eventlog metrics", 64, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		pending = hash_search(pendings, &topic, HASH_ENTER, &found);
		if (!found)
		{
			memset(pending, 0, sizeof(Pending));
			pending->topic = topic;
		}
		last_pending = pending;
	}
	if (!pending->dirty)
	{
		pending->dirty = true;
		pending->next = dirty;
		dirty = pending;
		if (unlikely(!pending->tried && shared != NULL &&
					 shared->ntopics >= eventlog_max_topic_metrics))
		{
			static TimestampTz swept = 0;
			TimestampTz now = GetCurrentTimestamp();

			pending->tried = true;
			if (TimestampDifferenceExceeds(swept, now, SWEEP_INTERVAL))
			{
				swept = now;
				eventlog_metrics_sweep();
			}
		}
	}
	return pending;
}

void
eventlog_metrics_touch(Oid topic)
{
	(void) get_pending(topic);
}

/* Add to another of the last few; true if there is one of this kind. */
static bool
merge_appended(int n, const Appended *more)
{
	for (int i = n - 1; i >= 0 && i >= n - 16; i--)
	{
		Appended   *app = &appended[i];

		if (app->pending != more->pending || app->subid != more->subid)
			continue;
		app->records += more->records;
		app->bytes += more->bytes;
		app->batches += more->batches;
		return true;
	}
	return false;
}

void
eventlog_metrics_produced(Oid topic, SubTransactionId subid, int64 records, int64 bytes)
{
	Appended	app = {.subid = subid, .records = records, .bytes = bytes, .batches = 1};

	app.pending = get_pending(topic);
	if (merge_appended(nappended, &app))
		return;
	if (nappended == maxappended)
	{
		int			n = Max(maxappended * 2, 16);

		appended = appended ? repalloc_huge(appended, n * sizeof(Appended)) :
			MemoryContextAlloc(TopMemoryContext, n * sizeof(Appended));
		maxappended = n;
	}
	appended[nappended++] = app;
}

void
eventlog_metrics_append_waited(Oid topic, int64 microseconds)
{
	Pending    *pending = get_pending(topic);

	pending->counters[EVENTLOG_TOPIC_LOCK_WAITS]++;
	pending->counters[EVENTLOG_TOPIC_LOCK_WAIT_US] += microseconds;
}

void
eventlog_metrics_discarded(Oid topic, int64 records)
{
	Pending    *pending;

	if (records == 0 || pendings == NULL)
		return;
	pending = hash_search(pendings, &topic, HASH_FIND, NULL);
	if (pending != NULL && pending->dirty)
		pending->counters[EVENTLOG_TOPIC_ABORTED] += records;
}

void
eventlog_metrics_consumed(Oid topic, EventlogVia via, int64 records, int64 bytes)
{
	Pending    *pending = get_pending(topic);

	pending->counters[EVENTLOG_TOPIC_OUT_RECORDS + via] += records;
	pending->counters[EVENTLOG_TOPIC_OUT_BYTES + via] += bytes;
	pending->counters[EVENTLOG_TOPIC_OUT_CALLS + via]++;
	if (records == 0)
		pending->counters[EVENTLOG_TOPIC_OUT_EMPTY + via]++;
}

/* ---- ends of transactions: nothing here may allocate or raise ---- */

static void
settle(const Appended *app, bool commit)
{
	uint64	   *counters = app->pending->counters;

	if (commit)
	{
		counters[EVENTLOG_TOPIC_RECORDS] += app->records;
		counters[EVENTLOG_TOPIC_BYTES] += app->bytes;
		counters[EVENTLOG_TOPIC_BATCHES] += app->batches;
		counters[EVENTLOG_TOPIC_TRANSACTIONS] = 1;
	}
	else
		counters[EVENTLOG_TOPIC_ABORTED] += app->records;
}

static void
add_pending(Entry *entry, Pending *pending)
{
	for (int i = 0; i < EVENTLOG_TOPIC_METRICS; i++)
	{
		if (pending->counters[i] == 0)
			continue;
		pg_atomic_fetch_add_u64(&entry->counters[i], (int64) pending->counters[i]);
		pending->counters[i] = 0;
	}
	pending->dirty = false;
}

/*
 * Add what this transaction has counted to shared memory.
 */
static void
flush(bool commit)
{
	bool		missing = false;

	for (int i = 0; i < nappended; i++)
		settle(&appended[i], commit);
	nappended = 0;
	if (dirty == NULL)
		return;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (Pending *pending = dirty; pending; pending = pending->next)
	{
		EntryKey	key = {.dboid = MyDatabaseId, .topic = pending->topic};
		Entry	   *entry = hash_search(entries, &key, HASH_FIND, NULL);

		if (entry != NULL)
			add_pending(entry, pending);
		else if (shared->ntopics >= eventlog_max_topic_metrics)
			add_pending(&shared->other, pending);
		else
			missing = true;
	}
	LWLockRelease(shared->lock);

	if (missing)
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		for (Pending *pending = dirty; pending; pending = pending->next)
		{
			if (pending->dirty)
				add_pending(make_entry_locked(MyDatabaseId, pending->topic), pending);
		}
		LWLockRelease(shared->lock);
	}
	dirty = NULL;
}

static void
metrics_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			flush(true);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			flush(false);
			break;
		default:
			break;
	}
}

static void
metrics_subxact_callback(SubXactEvent event, SubTransactionId subid,
						 SubTransactionId parent, void *arg)
{
	int			kept = 0;

	if (nappended == 0 ||
		(event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	for (int i = 0; i < nappended; i++)
	{
		if (appended[i].subid == subid)
		{
			if (event == SUBXACT_EVENT_ABORT_SUB)
			{
				settle(&appended[i], false);
				continue;
			}
			appended[i].subid = parent;
			if (merge_appended(kept, &appended[i]))
				continue;
		}
		appended[kept++] = appended[i];
	}
	nappended = kept;
}

/* ---- counting for databases ---- */

void
eventlog_metrics_count(EventlogMetric metric, int64 n)
{
	if (shared == NULL || n == 0)
		return;
	if (my_database == NULL)
	{
		if (!OidIsValid(MyDatabaseId))
			my_database = &shared->other_databases;
		else
		{
			LWLockAcquire(shared->lock, LW_EXCLUSIVE);
			my_database = make_entry_locked(MyDatabaseId, InvalidOid);
			LWLockRelease(shared->lock);
		}
	}
	pg_atomic_fetch_add_u64(&my_database->counters[metric], n);
}

/* ---- reading, reset, giving places back ---- */

static void
copy_counters(Entry *entry, uint64 *counters, int n)
{
	for (int i = 0; i < n; i++)
		counters[i] = entry ? pg_atomic_read_u64(&entry->counters[i]) : 0;
}

bool
eventlog_metrics_get_topic(Oid topic, uint64 *counters)
{
	EntryKey	key = {.dboid = MyDatabaseId, .topic = topic};
	Entry	   *entry;

	LWLockAcquire(shared->lock, LW_SHARED);
	entry = OidIsValid(topic) ? hash_search(entries, &key, HASH_FIND, NULL) : &shared->other;
	copy_counters(entry, counters, EVENTLOG_TOPIC_METRICS);
	LWLockRelease(shared->lock);
	for (int i = 0; i < EVENTLOG_TOPIC_METRICS; i++)
	{
		if (counters[i] != 0)
			return true;
	}
	return false;
}

TimestampTz
eventlog_metrics_get_database(uint64 *counters)
{
	EntryKey	key = {.dboid = MyDatabaseId, .topic = InvalidOid};
	Entry	   *entry;
	TimestampTz since;

	LWLockAcquire(shared->lock, LW_SHARED);
	entry = hash_search(entries, &key, HASH_FIND, NULL);
	since = entry ? (TimestampTz) pg_atomic_read_u64(&entry->since) : shared->started;
	copy_counters(entry, counters, EVENTLOG_METRICS);
	LWLockRelease(shared->lock);
	return since;
}

void
eventlog_metrics_reset(void)
{
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS scan;
	Entry	   *entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	(void) make_entry_locked(MyDatabaseId, InvalidOid);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->key.dboid != MyDatabaseId)
			continue;
		pg_atomic_write_u64(&entry->since, (uint64) now);
		for (int i = 0; i < EVENTLOG_TOPIC_METRICS; i++)
			pg_atomic_write_u64(&entry->counters[i], 0);
	}
	LWLockRelease(shared->lock);
}

void
eventlog_metrics_sweep(void)
{
	EntryKey   *keys;
	int			nkeys = 0;
	int			ngone = 0;
	HASH_SEQ_STATUS scan;
	Entry	   *entry;

	if (shared == NULL)
		return;

	/* the catalogues are not read under the lock */
	keys = palloc(max_entries() * sizeof(EntryKey));
	LWLockAcquire(shared->lock, LW_SHARED);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		keys[nkeys++] = entry->key;
	LWLockRelease(shared->lock);

	for (int i = 0; i < nkeys; i++)
	{
		bool		there;

		if (keys[i].dboid == MyDatabaseId)
			there = !OidIsValid(keys[i].topic) ||
				SearchSysCacheExists1(RELOID, ObjectIdGetDatum(keys[i].topic));
		else
			there = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(keys[i].dboid));
		if (!there)
			keys[ngone++] = keys[i];
	}

	if (ngone > 0)
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		for (int i = 0; i < ngone; i++)
		{
			if (hash_search(entries, &keys[i], HASH_REMOVE, NULL) == NULL)
				continue;
			if (OidIsValid(keys[i].topic))
				shared->ntopics--;
			else
				shared->ndatabases--;
		}
		LWLockRelease(shared->lock);
	}
	pfree(keys);
}

void
eventlog_metrics_init(void)
{
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
	RegisterXactCallback(metrics_xact_callback, NULL);
	RegisterSubXactCallback(metrics_subxact_callback, NULL);
}
