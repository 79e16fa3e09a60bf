/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The only place that knows server versions (15 to 18).
 *
 * Each shim names the change in the server that it bridges.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_COMPAT_H
#define EVENTLOG_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "pg_eventlog supports PostgreSQL 15 to 18"
#endif

/* 16: RelFileNode became RelFileLocator, rd_node rd_locator (b0a55e43299). */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
typedef RelFileLocator EventlogFileId;
#define EventlogRelFile(rel)		((rel)->rd_locator)
#define EventlogFileNumber(file)	((file).relNumber)
#else
#include "storage/relfilenode.h"
typedef RelFileNode EventlogFileId;
#define EventlogRelFile(rel)		((rel)->rd_node)
#define EventlogFileNumber(file)	((file).relNode)
#endif

/* 16: tuple_update tells which indexes (19d8e2308bc); set_new_filelocator. */
#if PG_VERSION_NUM >= 160000
#define EventlogUpdateIndexes	TU_UpdateIndexes
#define EventlogAmSetNewFile	relation_set_new_filelocator
#else
#define EventlogUpdateIndexes	bool
#define EventlogAmSetNewFile	relation_set_new_filenode
#endif

/* 16: simple_heap_update tells which indexes, too (19d8e2308bc). */
#if PG_VERSION_NUM >= 160000
#define eventlog_heap_update(rel, tid, tuple) \
	do { \
		TU_UpdateIndexes which_; \
\
		simple_heap_update((rel), (tid), (tuple), &which_); \
	} while (0)
#else
#define eventlog_heap_update(rel, tid, tuple)	simple_heap_update((rel), (tid), (tuple))
#endif

/* 16: rights on objects of any class are checked by one function (c727f511bd7). */
#if PG_VERSION_NUM >= 160000
#define eventlog_server_aclcheck(oid, role, mode) \
	object_aclcheck(ForeignServerRelationId, (oid), (role), (mode))
#define eventlog_wrapper_aclcheck(oid, role, mode) \
	object_aclcheck(ForeignDataWrapperRelationId, (oid), (role), (mode))
#else
#define eventlog_server_aclcheck(oid, role, mode)	pg_foreign_server_aclcheck((oid), (role), (mode))
#define eventlog_wrapper_aclcheck(oid, role, mode) \
	pg_foreign_data_wrapper_aclcheck((oid), (role), (mode))
#endif

/* 16: variable-length datum macros moved to varatt.h (d952373a987). */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * Add zeroed blocks to a relation's main fork.  16 can ask the file system for
 * many at once (smgrzeroextend, 4d330a61bb1); for 15 storage_extend.c does it.
 */
#include "storage/smgr.h"

#if PG_VERSION_NUM >= 160000
#define eventlog_extend_fork(smgr, from, nblocks) \
	smgrzeroextend(smgr, MAIN_FORKNUM, from, (int) (nblocks), false)
#else
#define EVENTLOG_OWN_EXTEND
extern void eventlog_extend_fork(SMgrRelation smgr, BlockNumber from, BlockNumber nblocks);
#endif

/* 16: the recursing form of EnableDisableTrigger has the name (ec0925c22a3). */
#if PG_VERSION_NUM >= 160000
#define eventlog_disable_triggers(rel) \
	EnableDisableTrigger(rel, NULL, InvalidOid, TRIGGER_DISABLED, true, false, \
						 ShareRowExclusiveLock)
#else
#define eventlog_disable_triggers(rel) \
	EnableDisableTriggerNew2(rel, NULL, InvalidOid, TRIGGER_DISABLED, true, false, \
							 ShareRowExclusiveLock)
#endif

/* 17: a backend's virtual transaction id moved (ab355e3a88d). */
#if PG_VERSION_NUM >= 170000
#define EventlogMyLxid()	(MyProc->vxid.lxid)
#else
#define EventlogMyLxid()	(MyProc->lxid)
#endif

/* 16: RegisterCustomRmgr takes a const table (1eda3ce8028). */
#if PG_VERSION_NUM >= 160000
#define EVENTLOG_RMGR_CONST const
#else
#define EVENTLOG_RMGR_CONST
#endif

/* 16: build_expression_pathkey has lost nullable_relids (b448f1c8d83). */
#include "optimizer/paths.h"
#define EVENTLOG_INT8_GREATER_OPERATOR	413 /* >(int8,int8), pg_operator.dat */

static inline List *
eventlog_offset_pathkeys(PlannerInfo *root, RelOptInfo *rel, Expr *expr, Oid opno)
{
#if PG_VERSION_NUM >= 160000
	return build_expression_pathkey(root, expr, opno, rel->relids, false);
#else
	return build_expression_pathkey(root, expr, NULL, opno, rel->relids, false);
#endif
}

/* 16: conflicts tell whether a catalogue is meant (6af1793954e). */
#include "access/xlogreader.h"
#include "storage/standby.h"

static inline void
eventlog_resolve_conflict(XLogReaderState *record, TransactionId xid)
{
	EventlogFileId file;

	XLogRecGetBlockTag(record, 0, &file, NULL, NULL);
#if PG_VERSION_NUM >= 160000
	ResolveRecoveryConflictWithSnapshot(xid, false, file);
#else
	ResolveRecoveryConflictWithSnapshot(xid, file);
#endif
}

/*
 * 15 to 18: libpq/libpq.h, which declares these, needs the headers of GSSAPI
 * where the server was built with it, and those are not always installed.
 */
#include "storage/latch.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
extern PGDLLIMPORT WaitEventSet *FeBeWaitSet;
#ifndef FeBeWaitSetSocketPos
#define FeBeWaitSetSocketPos	0
#endif

/* 17: process kinds are asked for by their backend type (3d66dc2bb8a). */
#if PG_VERSION_NUM >= 170000
#define EventlogIsAutovacuum()	AmAutoVacuumWorkerProcess()
#else
#define EventlogIsAutovacuum()	IsAutoVacuumWorkerProcess()
#endif

/* 16: VACUUM tells indexes which table is theirs (61b313e47eb). */
#if PG_VERSION_NUM >= 160000
#define EVENTLOG_SET_HEAPREL(info, rel)		((info).heaprel = (rel))
#else
#define EVENTLOG_SET_HEAPREL(info, rel)		((void) 0)
#endif

/* 18: pg_noreturn replaced pg_attribute_noreturn() (3691edfab97). */
#ifndef pg_noreturn
#define pg_noreturn __attribute__((noreturn))
#endif

/* 16: pg_class_ownercheck became object_ownercheck (afbfc02983f). */
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"

static inline bool
eventlog_user_owns_relation(Oid relid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, GetUserId());
#else
	return pg_class_ownercheck(relid, GetUserId());
#endif
}

/* 16: pg_database_ownercheck became object_ownercheck (afbfc02983f). */
#include "catalog/pg_database.h"

static inline bool
eventlog_user_owns_database(Oid dboid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, dboid, GetUserId());
#else
	return pg_database_ownercheck(dboid, GetUserId());
#endif
}

/* 15.4: a database whose DROP was interrupted is marked invalid (c66a7d75e65). */
#ifndef DATCONNLIMIT_INVALID_DB
#define DATCONNLIMIT_INVALID_DB	(-2)
#endif

/* 17: transaction_timeout (51efe38cb92); before, workers turn off another twice. */
#if PG_VERSION_NUM >= 170000
#define EVENTLOG_TRANSACTION_TIMEOUT	"transaction_timeout"
#else
#define EVENTLOG_TRANSACTION_TIMEOUT	"statement_timeout"
#endif

/* 17: ANALYZE hands out its blocks by a read stream (041b96802ef). */
#if PG_VERSION_NUM >= 170000
#include "storage/read_stream.h"
#define EVENTLOG_ANALYZE_STREAM
#endif

/* 18: EXPLAIN's output functions moved to a header of their own (c65bc2e1d14). */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#endif

/* 18: a parallel scan names its table by locator (54562c9cfa2). */
#if PG_VERSION_NUM >= 180000
#define eventlog_set_parallel_relation(pscan, rel) \
	((pscan)->phs_locator = (rel)->rd_locator)
#else
#define eventlog_set_parallel_relation(pscan, rel) \
	((pscan)->phs_relid = RelationGetRelid(rel))
#endif

/* 18: minimal tuples with room in front of them (a0942f441ed). */
#if PG_VERSION_NUM >= 180000
#define EVENTLOG_EXTRA_PARAM		, Size extra
#define EVENTLOG_EXTRA_ARG			, extra
#else
#define EVENTLOG_EXTRA_PARAM
#define EVENTLOG_EXTRA_ARG
#endif

/* 18: ExecutorRun always executes once (3eea7a0c97e). */
#if PG_VERSION_NUM >= 180000
#define EVENTLOG_RUN_ONCE_PARAM
#define EVENTLOG_RUN_ONCE_ARG
#else
#define EVENTLOG_RUN_ONCE_PARAM		, bool execute_once
#define EVENTLOG_RUN_ONCE_ARG		, execute_once
#endif

/* 17: LogLogicalMessage can flush what is not transactional (173b56f1ef5). */
#include "access/xlog.h"
#include "replication/message.h"

static inline XLogRecPtr
eventlog_log_message(const char *prefix, const char *content, size_t len, bool transactional)
{
#if PG_VERSION_NUM >= 170000
	return LogLogicalMessage(prefix, content, len, transactional, false);
#else
	return LogLogicalMessage(prefix, content, len, transactional);
#endif
}

/* 18: publications can publish generated columns (7054186c4e). */
#if PG_VERSION_NUM >= 180000
#define EVENTLOG_PUBLISHES_GENERATED	true
#else
#define EVENTLOG_PUBLISHES_GENERATED	false
#endif

/*
 * 18: vacuum_delay_point tells VACUUM from ANALYZE (e5b0b0ce150),
 * vac_update_relstats counts pages that are all frozen (99f8f3fbbc8),
 * pgstat_report_vacuum takes when it began (30a6ed0ce4b).
 */
#if PG_VERSION_NUM >= 180000
#define eventlog_vacuum_delay_point()	vacuum_delay_point(false)
#define EVENTLOG_ALL_FROZEN(pages)		, (pages)
#define eventlog_report_vacuum(rel, tuples, start) \
	pgstat_report_vacuum(RelationGetRelid(rel), (rel)->rd_rel->relisshared, \
						 (tuples), 0, (start))
#else
#define eventlog_vacuum_delay_point()	vacuum_delay_point()
#define EVENTLOG_ALL_FROZEN(pages)
#define eventlog_report_vacuum(rel, tuples, start) \
	((void) (start), \
	 pgstat_report_vacuum(RelationGetRelid(rel), (rel)->rd_rel->relisshared, \
						  (tuples), 0))
#endif

/*
 * 17: slots can be synchronised to standbys (c393308b69d); 18: acquiring one
 * can check that it is valid (f41d8468ddea).
 */
#include "replication/slot.h"

#if PG_VERSION_NUM >= 170000
#define eventlog_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false, true, false)
#else
#define eventlog_slot_create(name, persistency) \
	ReplicationSlotCreate((name), true, (persistency), false)
#endif
#if PG_VERSION_NUM >= 180000
#define eventlog_slot_acquire(name, nowait)	ReplicationSlotAcquire((name), (nowait), true)
#else
#define eventlog_slot_acquire(name, nowait)	ReplicationSlotAcquire((name), (nowait))
#endif

/* 16: an invalidated slot says why (15f8203a5975). */
#if PG_VERSION_NUM >= 160000
#define eventlog_slot_is_invalid(slot)	((slot)->data.invalidated != RS_INVAL_NONE)
#else
#define eventlog_slot_is_invalid(slot) \
	(XLogRecPtrIsInvalid((slot)->data.restart_lsn) && \
	 !XLogRecPtrIsInvalid((slot)->data.invalidated_at))
#endif

/* 16: an origin can be shared by processes (216a784829c). */
#include "replication/origin.h"

#if PG_VERSION_NUM >= 160000
#define eventlog_origin_setup(origin)	replorigin_session_setup((origin), 0)
#else
#define eventlog_origin_setup(origin)	replorigin_session_setup(origin)
#endif

/* 17: a wait event set belongs to a resource owner (50c67c2019a). */
#include "storage/latch.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#if PG_VERSION_NUM >= 170000
#define eventlog_create_wait_set(n)	CreateWaitEventSet(NULL, (n))
#else
#define eventlog_create_wait_set(n)	CreateWaitEventSet(CurrentMemoryContext, (n))
#endif

#endif							/* EVENTLOG_COMPAT_H */
