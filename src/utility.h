/*-------------------------------------------------------------------------
 *
 * utility.h
 *	  Utility statements that touch topics.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_UTILITY_H
#define EVENTLOG_UTILITY_H

#include "nodes/parsenodes.h"
#include "topic.h"

/* What a table is to us. */
typedef enum EventlogTableKind
{
	EVENTLOG_TABLE_OTHER,		/* none of ours */
	EVENTLOG_TABLE_TOPIC,		/* a topic's table */
	EVENTLOG_TABLE_LEAF,		/* a leaf of a topic */
	EVENTLOG_TABLE_STRAY		/* stored by our access method, in no topic: a
								 * dump is being restored */
} EventlogTableKind;

/*
 * What is the table of this name?  Takes no lock, and does not mind if there
 * is none.  *relid and *topic, if not null, get what was found.
 */
extern EventlogTableKind eventlog_utility_classify(const RangeVar *name, Oid *relid,
												   EventlogTopic **topic);

/* Install the hooks; from _PG_init. */
extern void eventlog_utility_init(void);

/* utility_rules.c: raise if the statement must not be done to a topic. */
extern void eventlog_utility_check(Node *statement);

/* The same after CREATE TABLE has made a table. */
extern void eventlog_utility_check_created(const CreateStmt *stmt);

/*
 * utility_database.c: before and after any statement; see there.  The first
 * may wait for a worker to leave a database.
 */
extern void eventlog_utility_database_before(Node *statement);
extern void eventlog_utility_database_after(NodeTag statement);
extern void eventlog_utility_database_init(void);

#endif							/* EVENTLOG_UTILITY_H */
