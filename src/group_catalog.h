/*-------------------------------------------------------------------------
 *
 * group_catalog.h
 *	  The table eventlog.consumer_group: a row for each topic of a group.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_GROUP_CATALOG_H
#define EVENTLOG_GROUP_CATALOG_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

#include "group_config.h"

/* A row, palloc'd. */
typedef struct EventlogGroupRow
{
	char	   *name;
	Oid			topic;
	Oid			owner;
	char	   *start;
	Jsonb	   *config;
	TimestampTz created_at;
	EventlogGroupUse use;
	ItemPointerData tid;
} EventlogGroupRow;

/* Oid of the table, or InvalidOid. */
extern Oid	eventlog_group_catalog_oid(void);

/* The newest row of a group and topic; NULL if there is none. */
extern EventlogGroupRow *eventlog_group_catalog_get(const char *group, Oid topic);

/* All rows of a group, by their topics' oids. */
extern List *eventlog_group_catalog_list(const char *group);

/*
 * Changes.  They tell the caches, and make themselves visible to what follows
 * in the transaction.  The caller holds EVENTLOG_LOCK_NEW_GROUP of group and
 * topic, so that nobody else changes the row.
 */
extern void eventlog_group_catalog_insert(const char *group, Oid topic, const char *start,
										  Jsonb *config, EventlogGroupUse use);
extern void eventlog_group_catalog_update(EventlogGroupRow *row, Jsonb *config,
										  EventlogGroupUse use);
extern void eventlog_group_catalog_delete(EventlogGroupRow *row);

/* Remove the rows of a topic that is being dropped. */
extern void eventlog_group_catalog_forget(Oid topic);

#endif							/* EVENTLOG_GROUP_CATALOG_H */
