/*-------------------------------------------------------------------------
 *
 * topic_ddl.h
 *	  Making, changing and dropping topics, and the catalogue of topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_TOPIC_DDL_H
#define EVENTLOG_TOPIC_DDL_H

#include "topic.h"
#include "utils/jsonb.h"

/* --- catalogue: topic_catalog.c --- */

/*
 * Name and configs of the topic that has this table; palloc'd.  False if none.
 * Without default_retention, which topics from before 0.2 do not have, nothing
 * is removed until the owner sets retention.ms.
 */
extern bool eventlog_topic_catalog_get(Oid relid, char **name, Jsonb **config,
									   bool *default_retention);

/* Table of the topic of this name, or InvalidOid. */
extern Oid	eventlog_topic_catalog_find(const char *name);

/*
 * Tables of all topics, as a list of oids in the context; empty without the
 * extension.
 */
extern List *eventlog_topic_catalog_list(MemoryContext context);

/*
 * Take the right to use a name, until the end of the transaction, and raise
 * ERRCODE_DUPLICATE_TABLE if a topic other than "relid" has it or a name that
 * collides with it.  Waits for a transaction that has taken it and not ended.
 */
extern void eventlog_topic_catalog_claim_name(const char *name, Oid relid);

/*
 * Change the catalogue, and send the invalidation.  The caller has checked
 * permissions and holds a lock on the topic's table that conflicts with
 * itself.  In _update, what is NULL stays.
 */
extern void eventlog_topic_catalog_insert(Oid relid, const char *name, Jsonb *config,
										  bool default_retention);
extern void eventlog_topic_catalog_update(Oid relid, const char *name, Jsonb *config);

/*
 * Tie a topic's table to the access method, so that DROP EXTENSION ... CASCADE
 * takes the whole topic.
 */
extern void eventlog_topic_catalog_depend(Oid relid);

/* Forget a table that is being dropped, topic or not. */
extern void eventlog_topic_catalog_delete(Oid relid);

/* --- tables: topic_ddl.c --- */

/* Raise ERRCODE_INVALID_NAME unless Kafka would accept the name. */
extern void eventlog_topic_check_name(const char *name);

/*
 * Name of the table of a topic: the topic's own, if the names of its leaves
 * then fit into an identifier, else a shortened one that no table in the
 * schema has.
 */
extern char *eventlog_topic_table_name(const char *name, Oid schema);

/* Make leaves follow a change that was made to the topic's table. */
extern void eventlog_topic_rename_leaves(Oid relid);
extern void eventlog_topic_move_leaves(Oid relid);
extern void eventlog_topic_own_leaves(Oid relid);

/*
 * Disable the row triggers of the leaf of null: rows only pass through it, and
 * their triggers are those of the leaf to which they go.  relid is a topic's
 * or a leaf's.
 */
extern void eventlog_topic_quiet_null_leaf(Oid relid);

#endif							/* EVENTLOG_TOPIC_DDL_H */
