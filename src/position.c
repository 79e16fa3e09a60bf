/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Committed offsets of consumer groups: rows of eventlog.committed_offset.
 *
 * It is an ordinary table, so positions commit and roll back with everything
 * else, also with savepoints and prepared transactions, and are dumped and
 * replayed as tables are.  What is special is how its rows are found, so that
 * a commit costs the same whatever the oldest snapshot is.
 *
 * Its index is on (consumer_group, topic, partition, version DESC).  Setting a
 * position updates its row.  If the row's page has room that is a HOT update:
 * the version stays, and so does the index.  While an old snapshot keeps dead
 * rows from being pruned, pages fill up; then the row moves on to another page
 * under the next version, whose index entry sorts before the older ones.  A
 * search stops at the first row that it sees.  So it visits the rows of one
 * page at most, and never the dead ones that lie behind.  A btree scan takes
 * all entries of a leaf page that match before it returns the first, so a
 * search asks for versions from the last known one on; whatever that finds
 * first is also what it would find without.
 *
 * Searches use a dirty snapshot: whoever has the right to write a position
 * wants its newest version, and to know of a transaction that has written it
 * and has not ended.  No more than one transaction writes a position at a time
 * (consume.c's claims see to that).
 *
 * Under the SQL of 0.1, which the table may still have, there is no version
 * and the index is the primary key; positions then work as they did.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "group.h"
#include "position.h"

/* eventlog.committed_offset; all columns are NOT NULL */
#define ATTNUM_GROUP		1
#define ATTNUM_TOPIC		2
#define ATTNUM_PARTITION	3
#define ATTNUM_NEXT			4
#define ATTNUM_COMMITTED_AT	5
#define ATTNUM_VERSION		6	/* from 0.2 on */
#define NATTS				6

#define NKEYS				3

/* The table, kept until something about it changes. */
static struct
{
	Oid			relid;			/* InvalidOid: look it up */
	Oid			index;
	bool		versioned;		/* has the column version */
	bool		plain;			/* has no index but ours */
}			table;

/* The last group's name as a datum. */
static struct
{
	char		name[EVENTLOG_GROUP_NAME_MAX + 1];
	uint32		hash;
	union
	{
		char		bytes[VARHDRSZ + EVENTLOG_GROUP_NAME_MAX];
		int32		align;
	}			datum;
}			last_group;

/* The last known versions of positions, at places given by their hashes. */
#define NHINTS	64

typedef struct Hint
{
	uint32		hash;
	int64		version;
} Hint;

static Hint hints[NHINTS];

/* The newest row of a position that a search has found. */
typedef struct Found
{
	bool		exists;
	int64		next_offset;
	int64		version;
	TransactionId xmin;			/* of that row; FrozenTransactionId if frozen */
	ItemPointerData tid;
	Size		room;			/* free bytes of its page */
	TransactionId writer;
} Found;

/* ---- the table ---- */

static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == table.relid || relid == table.index)
		table.relid = InvalidOid;
}

void
eventlog_position_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/*
 * Open the table, and set *index to its index.  NULL if there is none: the
 * extension is being dropped.
 */
static Relation
open_table(LOCKMODE mode, Oid *index)
{
	Oid			schema,
				relid;
	Relation	rel;

	if (likely(OidIsValid(table.relid)))
	{
		relid = table.relid;
		*index = table.index;
		rel = table_open(relid, mode);
		if (likely(table.relid == relid))
			return rel;
		table_close(rel, mode); /* has changed just now */
	}

	schema = get_namespace_oid("eventlog", true);
	relid = OidIsValid(schema) ? get_relname_relid("committed_offset", schema) : InvalidOid;
	if (!OidIsValid(relid))
		return NULL;
	rel = table_open(relid, mode);
	table.versioned = RelationGetDescr(rel)->natts >= ATTNUM_VERSION;
	table.plain = list_length(RelationGetIndexList(rel)) == 1;
	table.index = get_relname_relid(table.versioned ? "committed_offset_position" : "committed_offset_pkey",
									schema);
	if (!OidIsValid(table.index))
		elog(ERROR, "eventlog.committed_offset has lost its index");
	*index = table.index;
	table.relid = relid;
	return rel;
}

static Relation
open_table_or_raise(LOCKMODE mode, Oid *index)
{
	Relation	rel = open_table(mode, index);

	if (rel == NULL)
		elog(ERROR, "eventlog.committed_offset does not exist");
	return rel;
}

/* A group's name, which is not empty, as text; good until the next call. */
static Datum
group_datum(const char *group)
{
	Assert(group[0] != '\0');
	if (strcmp(group, last_group.name) != 0)
	{
		size_t		len = strlen(group);

		if (len > EVENTLOG_GROUP_NAME_MAX)
			elog(ERROR, "name of a consumer group is too long");
		strcpy(last_group.name, group);
		SET_VARSIZE(last_group.datum.bytes, VARHDRSZ + len);
		memcpy(VARDATA(last_group.datum.bytes), group, len);
		last_group.hash = eventlog_group_hash(group);
	}
	return PointerGetDatum(last_group.datum.bytes);
}

/* Of the position whose keys were made last. */
static Hint *
find_hint(Oid topic, int32 partition)
{
	uint32		hash = hash_combine(hash_combine(last_group.hash, topic), (uint32) partition);
	Hint	   *hint = &hints[hash % NHINTS];

	if (hint->hash != hash)
	{
		hint->hash = hash;
		hint->version = 0;
	}
	return hint;
}

/*
 * The keys of a position in the index; good until the next call.  There are
 * NKEYS, and one more that asks for versions from a known one on.
 */
static ScanKey
position_keys(const char *group, Oid topic, int32 partition)
{
	static ScanKeyData keys[NKEYS + 1];

	if (keys[0].sk_attno == 0)
	{
		ScanKeyInit(&keys[1], ATTNUM_TOPIC, BTEqualStrategyNumber, F_OIDEQ, (Datum) 0);
		ScanKeyInit(&keys[2], ATTNUM_PARTITION, BTEqualStrategyNumber, F_INT4EQ, (Datum) 0);
		ScanKeyInit(&keys[3], ATTNUM_VERSION, BTGreaterEqualStrategyNumber, F_INT8GE, (Datum) 0);
		ScanKeyInit(&keys[0], ATTNUM_GROUP, BTEqualStrategyNumber, F_TEXTEQ, (Datum) 0);
		keys[0].sk_collation = C_COLLATION_OID;
		for (int i = 0; i < lengthof(keys); i++)
			keys[i].sk_func.fn_mcxt = TopMemoryContext;
	}
	keys[0].sk_argument = group_datum(group);
	keys[1].sk_argument = ObjectIdGetDatum(topic);
	keys[2].sk_argument = Int32GetDatum(partition);
	return keys;
}

/* ---- searching ---- */

static int64
get_int64(HeapTuple tuple, TupleDesc desc, AttrNumber attnum)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(tuple, attnum, desc, &isnull));
}

static void
take(Found *found, Relation rel, SysScanDesc scan, HeapTuple tuple, bool room)
{
	HeapTupleHeader header = tuple->t_data;

	found->exists = true;
	found->next_offset = get_int64(tuple, RelationGetDescr(rel), ATTNUM_NEXT);
	found->version = table.versioned ? get_int64(tuple, RelationGetDescr(rel), ATTNUM_VERSION) : 0;
	found->xmin = HeapTupleHeaderXminFrozen(header) ? FrozenTransactionId :
		HeapTupleHeaderGetXmin(header);
	found->tid = tuple->t_self;
	if (room)
	{
		Buffer		buffer = ((BufferHeapTupleTableSlot *) scan->slot)->buffer;

		/* the fetch has pruned the page if that was possible */
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		found->room = PageGetHeapFreeSpace(BufferGetPage(buffer));
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
}

/*
 * Find the newest row that is committed or this transaction's own, and who
 * else has written one, among those that the keys select.
 */
static void
search(Relation rel, Relation index, int nkeys, ScanKey keys, bool room, Found *found)
{
	SnapshotData dirty;
	SysScanDesc scan;
	HeapTuple	tuple;

	InitDirtySnapshot(dirty);
	memset(found, 0, sizeof(*found));
	scan = systable_beginscan_ordered(rel, index, &dirty, nkeys, keys);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		if (TransactionIdIsValid(dirty.xmin))
		{
			/* inserted by a transaction in progress: look behind it */
			found->writer = dirty.xmin;
			continue;
		}
		if (TransactionIdIsValid(dirty.xmax))
			found->writer = dirty.xmax;
		take(found, rel, scan, tuple, room);
		break;
	}
	systable_endscan_ordered(scan);
}

static void
find_newest(Relation rel, Relation index, const char *group, Oid topic, int32 partition,
			bool room, Found *found)
{
	ScanKey		keys = position_keys(group, topic, partition);
	Hint	   *hint = find_hint(topic, partition);

	if (hint->version > 0 && table.versioned)
	{
		keys[3].sk_argument = Int64GetDatum(hint->version);
		keys[3].sk_attno = ATTNUM_VERSION;	/* scans up to 17 change it */
		search(rel, index, NKEYS + 1, keys, room, found);
		if (found->exists)
		{
			hint->version = found->version;
			return;
		}
	}
	for (;;)
	{
		search(rel, index, NKEYS, keys, room, found);

		/* what the writer has replaced may have gone out of sight meanwhile */
		if (!TransactionIdIsValid(found->writer) || found->exists ||
			TransactionIdIsInProgress(found->writer))
			break;
		CHECK_FOR_INTERRUPTS();
	}
	hint->version = found->version;
}

/*
 * A search whose snapshot changes on the way can miss a row that is moved in
 * front of it meanwhile.  Who has found nothing looks again with one that does
 * not, which is rare: a position has a row from its first commit on.
 */
static void
find_at_rest(Relation rel, Relation index, ScanKey keys, Found *found)
{
	Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan;
	HeapTuple	tuple;

	scan = systable_beginscan_ordered(rel, index, latest, NKEYS, keys);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
		take(found, rel, scan, tuple, false);
	systable_endscan_ordered(scan);
	UnregisterSnapshot(latest);
}

void
eventlog_position_get(const char *group, Oid topic, int32 partition,
					  Snapshot snapshot, EventlogPosition *position)
{
	Oid			indexid;
	Relation	rel = open_table_or_raise(AccessShareLock, &indexid);
	Relation	index = index_open(indexid, AccessShareLock);
	Found		found;

	find_newest(rel, index, group, topic, partition, false, &found);
	if (!found.exists && !TransactionIdIsValid(found.writer))
		find_at_rest(rel, index, position_keys(group, topic, partition), &found);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);

	position->next_offset = found.exists ? found.next_offset : -1;
	position->newer = found.exists && snapshot != NULL && TransactionIdIsNormal(found.xmin) &&
		!TransactionIdIsCurrentTransactionId(found.xmin) && XidInMVCCSnapshot(found.xmin, snapshot);
	position->writer = found.writer;
	if (TransactionIdIsValid(found.writer) && TransactionIdFollowsOrEquals(found.writer, TransactionXmin))
		position->writer = SubTransGetTopmostTransaction(found.writer);
}

/* ---- writing ---- */

/*
 * Update in place.  The page had room when we looked; if others have taken it
 * since, the row has gone to another page, and needs an index entry after all.
 */
static void
update_here(Relation rel, Relation index, ItemPointer tid, HeapTuple tuple,
			const Datum *values)
{
	eventlog_heap_update(rel, tid, tuple);
	if (!HeapTupleIsHeapOnly(tuple))
	{
		Datum		entry[NKEYS + 1];
		bool		nulls[NKEYS + 1] = {false};

		entry[0] = values[ATTNUM_GROUP - 1];
		entry[1] = values[ATTNUM_TOPIC - 1];
		entry[2] = values[ATTNUM_PARTITION - 1];
		entry[3] = values[ATTNUM_VERSION - 1];
		index_insert(index, entry, nulls, &tuple->t_self, rel, UNIQUE_CHECK_YES, false,
					 BuildIndexInfo(index));
	}
}

/* "expected": NULL, or what the position has to be. */
static bool
set_position(const char *group, Oid topic, int32 partition, const int64 *expected,
			 int64 next_offset)
{
	bool		bare = !HaveRegisteredOrActiveSnapshot();
	Oid			indexid;
	Relation	rel,
				index;
	Found		found;
	Datum		values[NATTS];
	bool		nulls[NATTS] = {false};
	HeapTuple	tuple;

	/* just before commit the portal's is gone, and writing needs one */
	if (bare)
		PushActiveSnapshot(GetTransactionSnapshot());
	rel = open_table_or_raise(RowExclusiveLock, &indexid);
	index = index_open(indexid, RowExclusiveLock);
	for (;;)
	{
		find_newest(rel, index, group, topic, partition, true, &found);
		if (!TransactionIdIsValid(found.writer))
			break;
		XactLockTableWait(found.writer, NULL, NULL, XLTW_None);
	}
	if (expected != NULL && *expected != (found.exists ? found.next_offset : -1))
	{
		index_close(index, NoLock);
		table_close(rel, NoLock);
		if (bare)
			PopActiveSnapshot();
		return false;
	}

	values[ATTNUM_GROUP - 1] = group_datum(group);
	values[ATTNUM_TOPIC - 1] = ObjectIdGetDatum(topic);
	values[ATTNUM_PARTITION - 1] = Int32GetDatum(partition);
	values[ATTNUM_NEXT - 1] = Int64GetDatum(next_offset);
	values[ATTNUM_COMMITTED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[ATTNUM_VERSION - 1] = Int64GetDatum(found.version);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	if (!found.exists)
		CatalogTupleInsert(rel, tuple);
	else if (!table.versioned || !table.plain)
		CatalogTupleUpdate(rel, &found.tid, tuple);
	else if (found.room >= MAXALIGN(tuple->t_len))
		update_here(rel, index, &found.tid, tuple, values);
	else
	{
		heap_freetuple(tuple);
		values[ATTNUM_VERSION - 1] = Int64GetDatum(found.version + 1);
		tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
		CatalogTupleUpdate(rel, &found.tid, tuple);
	}
	heap_freetuple(tuple);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	if (bare)
		PopActiveSnapshot();
	CommandCounterIncrement();
	return true;
}

void
eventlog_position_set(const char *group, Oid topic, int32 partition, int64 next_offset)
{
	(void) set_position(group, topic, partition, NULL, next_offset);
}

bool
eventlog_position_move(const char *group, Oid topic, int32 partition, int64 expected,
					   int64 next_offset)
{
	return set_position(group, topic, partition, &expected, next_offset);
}

void
eventlog_position_forget(const char *group, Oid topic)
{
	Oid			index;
	Relation	rel = open_table(RowExclusiveLock, &index);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	if (rel == NULL)
		return;					/* the extension is being dropped, too */
	if (group != NULL)
	{
		ScanKeyInit(&keys[0], ATTNUM_GROUP, BTEqualStrategyNumber, F_TEXTEQ, group_datum(group));
		keys[0].sk_collation = C_COLLATION_OID;
		ScanKeyInit(&keys[1], ATTNUM_TOPIC, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(topic));
		scan = systable_beginscan(rel, index, true, NULL, 2, keys);
	}
	else
	{
		ScanKeyInit(&keys[0], ATTNUM_TOPIC, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(topic));
		scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, keys);
	}
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
}
