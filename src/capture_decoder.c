/*-------------------------------------------------------------------------
 *
 * capture_decoder.c
 *	  The worker that decodes WAL for a capture.
 *
 * It runs the server's own output plugin, pgoutput, in its process, and ships
 * what that prints to the appender.  It writes nothing: a process that decodes
 * must not (its xmin is not respected), which is why there are two workers.
 *
 * pgoutput's callbacks are wrapped.  Before changes of tables of schema
 * eventlog it is not called at all, and what the appender itself has committed
 * is left out as early as possible, by its replication origin.
 *
 * pgoutput says only names and types of a table's columns.  The rest, as it was
 * when the change was made, is described while the change's historic snapshot
 * is in place, and shipped before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "pgstat.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "storage/ipc.h"
#include "storage/sinval.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "capture_desc.h"
#include "capture_queue.h"
#include "capture_settings.h"
#include "capture_wal.h"
#include "worker.h"
#include "worker_slot.h"

/* While there is nothing to ship, tell of the position this often. */
#define POSITION_BYTES		(16 * 1024 * 1024)

/* The slot's position is moved this often. */
#define CONFIRM_INTERVAL_MS	200

static EventlogQueueShared *shared = NULL;
static EventlogCaptureSlot *my_slot = NULL;
static LogicalDecodingContext *decoding = NULL;
static OutputPluginCallbacks plugin;	/* pgoutput's own */
static Oid	our_schema = InvalidOid;
static bool in_stream = false;	/* between STREAM START and STREAM STOP */
static bool types_changed = false;	/* of described tables */
static HTAB *described = NULL;
static HTAB *composites = NULL;
static bool publication_checked = false;
static bool publication_there = true;
static XLogRecPtr told_position = InvalidXLogRecPtr;
static XLogRecPtr write_lsn = InvalidXLogRecPtr;
static XLogRecPtr confirmed = InvalidXLogRecPtr;
static TimestampTz confirmed_at = 0;

/* ---- shipping ---- */

static void
prepare_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write)
{
	resetStringInfo(ctx->out);
	write_lsn = lsn;
}

/* ---- types of tables that have been described ---- */

/*
 * pgoutput says again what a table is after the table has changed, but not
 * after an enum or a composite type of its columns has, nor, everywhere, after
 * its schema was renamed.  So then it is told that all described tables have.
 */
static bool
is_in(HTAB *set, Oid oid)
{
	return set != NULL && hash_search(set, &oid, HASH_FIND, NULL) != NULL;
}

static void
put_in(HTAB **set, const char *name, Oid oid)
{
	if (*set == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Oid),.hcxt = TopMemoryContext};

		*set = hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(*set, &oid, HASH_ENTER, NULL);
}

static void
names_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	types_changed = true;
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (is_in(composites, relid))
		types_changed = true;
}

static void
watch_type(const EventlogTypeDesc *type)
{
	if (type->kind == EVENTLOG_TYPE_COMPOSITE)
		put_in(&composites, "captured composite types", get_typ_typrelid(type->oid));
	for (int i = 0; i < type->nfields; i++)
		watch_type(type->field_types[i]);
	if (type->element != NULL)
		watch_type(type->element);
}

static void
watch_table(const EventlogRelationDesc *desc)
{
	put_in(&described, "described tables", desc->relid);
	for (int i = 0; i < desc->ncolumns; i++)
		watch_type(desc->columns[i].type);
}

static void
describe_again(void)
{
	HASH_SEQ_STATUS status;
	Oid		   *relid;

	types_changed = false;
	if (described == NULL)
		return;
	hash_seq_init(&status, described);
	while ((relid = hash_seq_search(&status)) != NULL)
	{
		SharedInvalidationMessage message = {
			.rc = {.id = SHAREDINVALRELCACHE_ID,.dbId = MyDatabaseId,.relId = *relid}
		};

		LocalExecuteInvalidationMessage(&message);
	}
}

/* Describe the table of a message 'R', under the change's snapshot. */
static void
ship_description(const char *message, int len)
{
	int			at = in_stream ? 5 : 1;
	uint32		relid;
	Relation	rel;
	EventlogRelationDesc *desc;
	StringInfoData buf;

	if (len < at + (int) sizeof(relid))
		elog(ERROR, "pgoutput's relation message is too short");
	memcpy(&relid, message + at, sizeof(relid));
	relid = pg_ntoh32(relid);
	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		elog(ERROR, "could not open relation %u", relid);
	initStringInfo(&buf);
	desc = eventlog_desc_build(rel);
	RelationClose(rel);
	watch_table(desc);
	eventlog_desc_write(&buf, desc);
	eventlog_queue_put(EVENTLOG_MESSAGE_TABLE, write_lsn, buf.data, buf.len);
	pfree(buf.data);
}

static void
do_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write)
{
	switch (ctx->out->data[0])
	{
		case 'S':
			in_stream = true;
			break;
		case 'E':
			in_stream = false;
			break;
		case 'R':
			ship_description(ctx->out->data, ctx->out->len);
			break;
	}
	eventlog_queue_put(EVENTLOG_MESSAGE_PGOUTPUT, write_lsn, ctx->out->data, ctx->out->len);
}

static void
update_progress(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool skipped_xact)
{
}

/* ---- pgoutput's callbacks, wrapped ---- */

static bool
filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	if (origin == shared->origin)
		return true;
	return plugin.filter_by_origin_cb != NULL && plugin.filter_by_origin_cb(ctx, origin);
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	publication_checked = false;
	plugin.begin_cb(ctx, txn);
}

static void
stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	publication_checked = false;
	plugin.stream_start_cb(ctx, txn);
}

/* Publications have changed, maybe in the middle of the transaction. */
static void
publications_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	publication_checked = false;
}

/*
 * As long as its publication does not exist nothing is published.  pgoutput of
 * servers before 18 would raise.
 */
static bool
has_publication(void)
{
	bool		there;

	if (unlikely(types_changed))
		describe_again();
	if (publication_checked)
		return publication_there;
	there = SearchSysCacheExists1(PUBLICATIONNAME, CStringGetDatum(shared->publication));
	if (!there && publication_there)
	{
		char	   *message = psprintf("publication \"%s\" did not exist at %X/%X: changes made without it are not captured",
									   shared->publication, LSN_FORMAT_ARGS(decoding->reader->ReadRecPtr));

		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("capture \"%s\": %s", shared->name, message)));
		LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
		eventlog_slot_note_error_locked(&my_slot->service.history, message);
		LWLockRelease(eventlog_shared->lock);
	}
	publication_there = there;
	publication_checked = true;
	return there;
}

static bool
is_captured(Relation relation)
{
	return RelationGetNamespace(relation) != our_schema && has_publication();
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
	   ReorderBufferChange *change)
{
	if (is_captured(relation))
		plugin.change_cb(ctx, txn, relation, change);
}

static void
stream_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
			  ReorderBufferChange *change)
{
	if (is_captured(relation))
		plugin.stream_change_cb(ctx, txn, relation, change);
}

static void
truncate_tables(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
		 Relation relations[], ReorderBufferChange *change)
{
	if (has_publication())
		plugin.truncate_cb(ctx, txn, nrelations, relations, change);
}

static void
stream_truncate_tables(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
				Relation relations[], ReorderBufferChange *change)
{
	if (has_publication())
		plugin.stream_truncate_cb(ctx, txn, nrelations, relations, change);
}

static void
wrap_plugin(LogicalDecodingContext *ctx)
{
	plugin = ctx->callbacks;
	ctx->callbacks.filter_by_origin_cb = filter_by_origin;
	ctx->callbacks.begin_cb = begin;
	ctx->callbacks.change_cb = change;
	ctx->callbacks.truncate_cb = truncate_tables;
	ctx->callbacks.stream_start_cb = stream_start;
	ctx->callbacks.stream_change_cb = stream_change;
	ctx->callbacks.stream_truncate_cb = stream_truncate_tables;
}

/* ---- the slot's position ---- */

static void
confirm(bool at_once)
{
	XLogRecPtr	lsn = pg_atomic_read_u64(&my_slot->confirm_lsn);
	TimestampTz now;

	if (lsn <= confirmed)
		return;
	now = GetCurrentTimestamp();
	if (!at_once && now - confirmed_at < CONFIRM_INTERVAL_MS * INT64CONST(1000))
		return;
	LogicalConfirmReceivedLocation(lsn);
	confirmed = lsn;
	confirmed_at = now;
	pg_atomic_write_u64(&my_slot->confirmed_lsn, lsn);
}

/*
 * Called between records.  All that ends before the reader's position has been
 * put into the frame; transactions that are in progress there end after it.
 */
static void
between_records(bool caught_up)
{
	XLogRecPtr	lsn = decoding->reader->EndRecPtr;

	pg_atomic_write_u64(&my_slot->decoded_lsn, lsn);
	if ((caught_up && lsn > told_position) || lsn > told_position + POSITION_BYTES)
	{
		eventlog_queue_put(EVENTLOG_MESSAGE_POSITION, lsn, "", 0);
		told_position = lsn;
	}
	eventlog_queue_ship();
	confirm(caught_up);
	if (caught_up)
		pgstat_report_stat(false);
}

/* ---- the worker ---- */

/* Exit callback. */
static void
leave(int code, Datum arg)
{
	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	if (my_slot->service.helper_pid == MyProcPid)
	{
		pg_atomic_sub_fetch_u32(&eventlog_captures->ndecoders, 1);
		my_slot->service.helper_pid = 0;
		my_slot->decoder_latch = NULL;
		if (pg_atomic_exchange_u32(&my_slot->asleep, 0) != 0)
			pg_atomic_sub_fetch_u32(&eventlog_captures->nasleep, 1);
	}
	if (my_slot->service.latch != NULL)
		SetLatch(my_slot->service.latch);
	LWLockRelease(eventlog_shared->lock);
}

static bool
enter(void)
{
	bool		welcome;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	welcome = my_slot->service.dboid == shared->dboid && my_slot->service.generation == shared->generation &&
		my_slot->service.state == EVENTLOG_WORKER_RUNNING &&
		!eventlog_slot_is_blocked_locked(shared->dboid);
	if (welcome)
	{
		pg_atomic_add_fetch_u32(&eventlog_captures->ndecoders, 1);
		my_slot->service.helper_pid = MyProcPid;
		my_slot->decoder_latch = MyLatch;
	}
	LWLockRelease(eventlog_shared->lock);
	if (welcome)
		on_shmem_exit(leave, 0);
	return welcome;
}

static List *
plugin_options(void)
{
	List	   *options = NIL;

	options = lappend(options, makeDefElem("proto_version", (Node *) makeString("2"), -1));
	options = lappend(options, makeDefElem("publication_names",
										   (Node *) makeString(pstrdup(quote_identifier(shared->publication))), -1));
	options = lappend(options, makeDefElem("streaming", (Node *) makeString("on"), -1));
	if (shared->messages)
		options = lappend(options, makeDefElem("messages", (Node *) makeString("true"), -1));
	return options;
}

static void
decode(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "capture decoder",
												  ALLOCSET_DEFAULT_SIZES);

	eventlog_worker_connect(shared->dboid);
	eventlog_capture_settings();
	StartTransactionCommand();
	our_schema = get_namespace_oid("eventlog", true);
	CommitTransactionCommand();
	SetUserIdAndSecContext(shared->owner, SECURITY_RESTRICTED_OPERATION);
	MemoryContextSwitchTo(context);

	eventlog_slot_acquire(shared->slot_name, false);
	decoding = CreateDecodingContext(shared->start_lsn, plugin_options(), false,
									 XL_ROUTINE(.page_read = eventlog_wal_read_page,
												.segment_open = wal_segment_open,
												.segment_close = wal_segment_close),
									 prepare_write, do_write, update_progress);
	if (XLogRecPtrIsInvalid(MyReplicationSlot->data.restart_lsn))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replication slot \"%s\" has been invalidated", shared->slot_name)));
	wrap_plugin(decoding);
	CacheRegisterSyscacheCallback(PUBLICATIONNAME, publications_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMTYPOIDNAME, names_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, names_changed, (Datum) 0);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	confirmed = MyReplicationSlot->data.confirmed_flush;
	pg_atomic_write_u64(&my_slot->confirmed_lsn, confirmed);
	eventlog_wal_wait_setup(my_slot, between_records);
	XLogBeginRead(decoding->reader, MyReplicationSlot->data.restart_lsn);
	InvalidateSystemCaches();
	pgstat_report_activity(STATE_RUNNING, shared->name);

	for (;;)
	{
		char	   *error = NULL;

		CHECK_FOR_INTERRUPTS();
		if (XLogReadRecord(decoding->reader, &error) == NULL && error != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("could not read WAL: %s", error)));
		LogicalDecodingProcessRecord(decoding, decoding->reader);
	}
}

/* The appender reports it. */
static void
failed(const char *message)
{
	strlcpy(shared->error, message, EVENTLOG_ERROR_BYTES);
}

void
eventlog_decoder_main(Datum arg)
{
	eventlog_worker_begin();
	shared = eventlog_queue_attach(DatumGetUInt32(arg));
	if (shared == NULL)
		proc_exit(0);			/* the appender has gone */
	my_slot = &eventlog_captures->slots[shared->slot];
	if (!enter())
		proc_exit(0);
	(void) eventlog_worker_run(decode, failed);
	proc_exit(1);
}
