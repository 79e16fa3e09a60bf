/*-------------------------------------------------------------------------
 *
 * capture_incremental_state.h
 *	  What is known of snapshots that signals have asked for, and is saved.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_INCREMENTAL_STATE_H
#define EVENTLOG_CAPTURE_INCREMENTAL_STATE_H

#include "nodes/pg_list.h"
#include "storage/block.h"
#include "utils/jsonb.h"

/* A table that is read, or is going to be. */
typedef struct EventlogCollection
{
	char	   *name;			/* schema.table */
	char	   *filter;			/* a condition; NULL: none */
	char	   *surrogate;		/* column to read by instead of the key; NULL: none */
} EventlogCollection;

/* Texts of the key's columns; NULL: null. */
typedef struct EventlogKey
{
	int			n;
	char	  **values;
} EventlogKey;

/* How far the first table has been read. */
typedef struct EventlogPosition
{
	bool		has_last;
	EventlogKey last;			/* without a key: n is 0, and ... */
	BlockNumber next_block;		/* ... these count */
	BlockNumber end_block;
	Oid			file;			/* in which they are */
	bool		has_max;
	EventlogKey max;			/* the key to end with */
	int64		rows;			/* so far */
} EventlogPosition;

/* A blocking snapshot that is to be made. */
typedef struct EventlogBlockingRequest
{
	TransactionId xid;			/* of the signal */
	List	   *patterns;		/* strings */
	List	   *conditions;		/* of EventlogSnapshotCondition */
} EventlogBlockingRequest;

/* Read it as you like; change it by these functions, but for plain numbers. */
typedef struct EventlogIncrementalState
{
	MemoryContext context;
	char	   *correlation;	/* the signal's id; NULL: none */
	bool		paused;
	List	   *collections;	/* of EventlogCollection; the first is in work */
	List	   *to_stop;		/* patterns (strings) of what is not to be read */
	List	   *blocking;		/* of EventlogBlockingRequest */
	EventlogPosition position;	/* what was read ... */
	EventlogPosition sent;		/* ... and what was emitted, which is saved */
} EventlogIncrementalState;

/* NULL stands for a state in which nothing is to be done. */
extern EventlogIncrementalState *eventlog_state_from_jsonb(Jsonb *json);
extern Jsonb *eventlog_state_to_jsonb(const EventlogIncrementalState *state);

extern void eventlog_state_set_correlation(EventlogIncrementalState *state, const char *id);
extern void eventlog_state_add_collection(EventlogIncrementalState *state, const char *name,
										  const char *filter, const char *surrogate);
extern bool eventlog_state_remove_collection(EventlogIncrementalState *state, const char *name);

/* The first table is done. */
extern void eventlog_state_next_collection(EventlogIncrementalState *state);

extern void eventlog_state_add_stop(EventlogIncrementalState *state, List *patterns);
extern void eventlog_state_clear_stop(EventlogIncrementalState *state);
extern void eventlog_state_add_blocking(EventlogIncrementalState *state, TransactionId xid,
										List *patterns, List *conditions);
extern void eventlog_state_next_blocking(EventlogIncrementalState *state);

extern void eventlog_state_set_last(EventlogIncrementalState *state, int n, char **values);
extern void eventlog_state_set_max(EventlogIncrementalState *state, int n, char **values);

/* What has been read was emitted. */
extern void eventlog_state_sent(EventlogIncrementalState *state);

#endif							/* EVENTLOG_CAPTURE_INCREMENTAL_STATE_H */
