/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *	  Noticing that a log has changed, and waiting for it, through shared
 *	  memory.
 *
 * A log's activity is a number that grows whenever more of it may have become
 * visible: at the end, by commit or abort, of each transaction that appended
 * to it, and when a group's position was set back.  Who has read the number,
 * then taken a snapshot and then found nothing, need not look again before the
 * number is another one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_WAKEUP_H
#define EVENTLOG_WAKEUP_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

/* A group that any of its waiters may stand for; 0: one waits for oneself. */
#define EVENTLOG_WAIT_ALONE		0

/* A backend can wait for this many things at a time. */
#define EVENTLOG_MAX_WAITS		8

/*
 * Partitions of a topic that a waiter on the topic is interested in; those of
 * topics with very many share bits.
 */
#define EVENTLOG_WAIT_WORDS		16

typedef struct EventlogWaitMask
{
	uint64		word[EVENTLOG_WAIT_WORDS];
} EventlogWaitMask;

static inline void
eventlog_wait_mask_add(EventlogWaitMask *mask, int32 partition)
{
	mask->word[(partition / 64) % EVENTLOG_WAIT_WORDS] |= UINT64CONST(1) << (partition % 64);
}

/*
 * Activity of a topic (all its partitions) or of a leaf, in this database.
 * Above 0; never falls while the server runs; begins anew when it starts.
 */
extern uint64 eventlog_activity(Oid relid);

/*
 * The same in two steps, for who looks at many: where the number is kept, and
 * reading it.
 */
typedef const pg_atomic_uint64 *EventlogActivity;

extern EventlogActivity eventlog_activity_of(Oid relid);

static inline uint64
eventlog_activity_read(EventlogActivity leaf, EventlogActivity database)
{
	return pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, leaf)) +
		pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, database));
}

/* A number that grows by one with each call: whose turn it is. */
extern uint32 eventlog_next_turn(Oid relid);

/*
 * This transaction has done something to a leaf that others are to look at
 * when it ends, whichever way it ends.
 */
extern void eventlog_wakeup_at_end(Oid topic, Oid leaf, int32 partition);

/*
 * This transaction ends a prepared one; what that had done is not known here:
 * everybody looks again when this one has ended, however it does.
 */
extern void eventlog_wakeup_everybody_at_end(void);

/* Wake one waiter of a group on a topic: there may be something for it. */
extern void eventlog_wakeup_next(Oid topic, uint32 group);

/* Wake the backend of this number, if it sleeps in eventlog_wait_sleep(). */
extern void eventlog_wakeup_backend(int procno);

/*
 * Waiting: look; if there is nothing, register for all that could bring
 * something; look again; sleep; and so on.  Registrations are used up when the
 * backend is woken, so register again before each look.  End with
 * eventlog_wait_end(); an error ends it by itself.
 *
 * What eventlog_wakeup_backend() tells is not lost from eventlog_wait_begin()
 * on; the first eventlog_wait_on() calls it if need be.
 *
 * relid: a leaf, a topic, or InvalidOid for all of the database.  Of waiters of
 * the same group on the same relid, one is woken each time.  mask: only changes
 * of these partitions are of interest; NULL: all.
 */
extern void eventlog_wait_begin(void);
extern void eventlog_wait_on(Oid relid, uint32 group, const EventlogWaitMask *mask);

/*
 * Sleep until woken, or for two seconds at most; the end of the client ends it.  False if the deadline has
 * passed, or if no newer snapshot could be had (REPEATABLE READ and above).
 */
extern bool eventlog_wait_sleep(TimestampTz deadline);

extern void eventlog_wait_end(void);

/* Can a wait bring anything in this transaction? */
extern bool eventlog_wait_possible(TimestampTz deadline);

extern void eventlog_wakeup_init(void); /* from _PG_init: callbacks */
extern Size eventlog_wakeup_shmem_size(void);
extern void eventlog_wakeup_shmem_init(void);

/* This backend's number among the server's processes; below it are all. */
extern int	eventlog_my_procno(void);
extern int	eventlog_max_procno(void);

#endif							/* EVENTLOG_WAKEUP_H */
