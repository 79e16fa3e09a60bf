/*-------------------------------------------------------------------------
 *
 * position.h
 *	  Committed offsets of consumer groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_POSITION_H
#define EVENTLOG_POSITION_H

#include "utils/snapshot.h"

/* What eventlog.committed_offset says of a group's partition. */
typedef struct EventlogPosition
{
	int64		next_offset;	/* committed, or set by this transaction; the
								 * next to read; -1: none */
	bool		newer;			/* a version exists that the snapshot does not
								 * see */
	TransactionId writer;		/* top-level xid of another transaction, in
								 * progress or prepared, that has written the
								 * position; else invalid */
} EventlogPosition;

/*
 * The newest version, whoever wrote it.  "snapshot" only says what counts as
 * newer; it may be NULL.
 */
extern void eventlog_position_get(const char *group, Oid topic, int32 partition,
								  Snapshot snapshot, EventlogPosition *position);

/*
 * Set it, in this transaction; may be called just before commit.  The caller
 * is the only one who may write the position.  If another transaction that has
 * written it is still in progress all the same, wait for its end.
 *
 * move: only if it is "expected" then, which may be -1 for none; else return
 * false.
 */
extern void eventlog_position_set(const char *group, Oid topic, int32 partition,
								  int64 next_offset);
extern bool eventlog_position_move(const char *group, Oid topic, int32 partition,
								   int64 expected, int64 next_offset);

/* Remove a group's positions in a topic; all groups' if "group" is NULL. */
extern void eventlog_position_forget(const char *group, Oid topic);

extern void eventlog_position_init(void);	/* from _PG_init */

#endif							/* EVENTLOG_POSITION_H */
