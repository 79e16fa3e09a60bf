/*-------------------------------------------------------------------------
 *
 * mirror_load.h
 *	  What a mirror worker has to do: its mirrors, and the jobs made of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_LOAD_H
#define EVENTLOG_MIRROR_LOAD_H

#include "nodes/pg_list.h"

#include "mirror_task.h"

/* What takes steps: an outgoing pair, or incoming ones of an owner. */
typedef struct EventlogMirrorJob
{
	Oid			owner;
	EventlogMirrorOut *out;		/* one of the two */
	EventlogMirrorIn *in;
	EventlogMirrorPair *pairs;
	int			npairs;
	TimestampTz due;
} EventlogMirrorJob;

/* of EventlogMirrorJob *: all that there are */
extern List *eventlog_mirror_jobs;

/* of EventlogMirrorSlot *: of all mirrors that this worker has */
extern List *eventlog_mirror_worker_slots(void);

/*
 * Look at the catalogue, outside of transactions: mirrors that are new or have
 * changed, or whose server has, are made anew; the others go on undisturbed.
 * With "again", those that are in trouble are made anew, too.
 */
extern void eventlog_mirror_load_jobs(Oid serverid, const EventlogKafkaApi *api, bool again);

/*
 * To be called often: see to mirrors that could not be loaded, and to patterns
 * for which there may be new topics.
 */
extern void eventlog_mirror_refresh_jobs(TimestampTz now);

/* Close all clients, and give the slots back. */
extern void eventlog_mirror_close_jobs(void);

#endif							/* EVENTLOG_MIRROR_LOAD_H */
