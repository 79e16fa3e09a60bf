/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *	  Noticing that a log has changed, and waiting for it, through shared
 *	  memory.
 *
 * Two things, both in memory whose size is known at server start:
 *
 * 1. An array of activity counters, found by (database, relation).  Relations
 *	  that share one are looked at more often than need be; nothing else.
 *
 * 2. Waiters.  A channel is a relation with waiters.  It has a list of queues,
 *	  one for each group that waits on it, and one for each backend that waits
 *	  alone; a queue is a list of waiters.  A change wakes one waiter of each
 *	  queue, who by that leaves it: the one that came last, since a process that
 *	  has just run costs least to run again, and the others sleep on.
 *
 * Whoever changes a log must not pay for a thousand groups.  It notes the
 * change in the channel and wakes FANOUT; each of those, before it does
 * anything else, wakes FANOUT more.  A queue that has been served goes to the
 * end of the channel's list and remembers for which change that was, so that
 * those who register again meanwhile are not taken for those still to be
 * woken.
 *
 * No wake-up is lost: the counter grows before it is looked whether anybody
 * waits, and a waiter is registered before it reads the counter.  Both sides
 * have a full memory barrier in between.
 *
 * Channels, queues and waiters are protected by the lock of their partition,
 * which the channel determines.  Ends of transactions come here after the
 * transaction has left the list of running ones, and must not raise: nothing
 * is allocated then, and hash tables are only searched or shrunk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "metrics.h"
#include "wakeup.h"

#define ACTIVITY_SLOTS		16384	/* a power of two */
#define NPARTITIONS			16
#define FANOUT				2

/*
 * A waiter looks again by itself this often, for what nobody is told of: topics
 * that come and go, members that have not polled.
 */
#define LOOK_AGAIN_MS		2000
#define LOOK_AGAIN_STANDBY_MS	5	/* where no transaction ends */

#define TRANCHE_NAME		"pg_eventlog_wakeup"

typedef struct ActivitySlot
{
	pg_atomic_uint64 activity;
	pg_atomic_uint32 waiters;	/* registered on relations of this slot */
	pg_atomic_uint32 turn;
} ActivitySlot;

typedef struct ChannelKey
{
	Oid			dboid;
	Oid			relid;			/* InvalidOid: the whole database */
} ChannelKey;

typedef struct Channel
{
	ChannelKey	key;
	uint64		change;			/* number of the newest change */
	EventlogWaitMask mask;		/* of changes not yet offered to all queues */
	dlist_head	queues;			/* those not offered the newest one in front */
} Channel;

typedef struct QueueKey
{
	ChannelKey	channel;
	uint32		group;
	int32		procno;			/* whose own it is, or -1 */
} QueueKey;

typedef struct Queue
{
	QueueKey	key;
	uint64		offered;		/* the newest change that it was offered */
	dlist_node	link;			/* in Channel.queues */
	dlist_head	waiters;		/* never empty */
} Queue;

typedef struct Waiter
{
	dlist_node	link;			/* in Queue.waiters */
	Queue	   *queue;			/* NULL: not registered; also read without the
								 * lock by the waiter's own backend */
	int32		procno;
	EventlogWaitMask mask;
	QueueKey	key;			/* of the queue; stays when it has been left */
} Waiter;

typedef struct BackendWait
{
	pg_atomic_uint32 woken;		/* since the last look */
	Waiter		waiters[EVENTLOG_MAX_WAITS];
} BackendWait;

typedef struct WakeupShared
{
	ActivitySlot slots[ACTIVITY_SLOTS];
	BackendWait backends[FLEXIBLE_ARRAY_MEMBER];	/* [eventlog_max_procno()] */
} WakeupShared;

/* What this transaction has changed. */
typedef struct Touched
{
	Oid			topic;
	Oid			leaf;
	int32		partition;
} Touched;

static WakeupShared *shared = NULL;
static LWLockPadded *locks = NULL;
static HTAB *channels = NULL;
static HTAB *queues = NULL;

static EventlogWaitMask everything; /* all bits */
static Touched *touched = NULL;	/* in TopMemoryContext */
static int	ntouched = 0;
static int	maxtouched = 0;

static bool everybody = false;	/* it ends a prepared transaction */

static bool begun = false;		/* nothing has been missed since */
static int	nwaits = 0;			/* waiters of ours that were registered */
static bool exit_callback = false;

int
eventlog_my_procno(void)
{
	return (int) (MyProc - ProcGlobal->allProcs);
}

int
eventlog_max_procno(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

/* ---- activity ---- */

static inline ActivitySlot *
activity_slot(Oid dboid, Oid relid)
{
	/* leaves of a topic have neighbouring oids: let them share cache lines */
	return &shared->slots[(murmurhash32(dboid) + relid) & (ACTIVITY_SLOTS - 1)];
}

uint64
eventlog_activity(Oid relid)
{
	return eventlog_activity_read(eventlog_activity_of(relid), eventlog_activity_of(InvalidOid));
}

EventlogActivity
eventlog_activity_of(Oid relid)
{
	return &activity_slot(MyDatabaseId, relid)->activity;
}

uint32
eventlog_next_turn(Oid relid)
{
	return pg_atomic_fetch_add_u32(&activity_slot(MyDatabaseId, relid)->turn, 1);
}

/* ---- channels ---- */

static uint32
channel_hash(const void *key, Size size)
{
	const ChannelKey *k = key;

	return hash_combine(murmurhash32(k->dboid), murmurhash32(k->relid));
}

/* In the partition of its channel. */
static uint32
queue_hash(const void *key, Size size)
{
	const QueueKey *k = key;
	uint32		of_channel = channel_hash(&k->channel, sizeof(ChannelKey));
	uint32		h = hash_combine(hash_combine(of_channel, k->group), (uint32) k->procno);

	return (h & ~(uint32) (NPARTITIONS - 1)) | (of_channel & (NPARTITIONS - 1));
}

static LWLock *
channel_lock(const ChannelKey *key)
{
	return &locks[channel_hash(key, sizeof(ChannelKey)) & (NPARTITIONS - 1)].lock;
}

/*
 * Take a waiter out of its queue, and the queue and the channel away if they
 * are empty.  The lock is held.  True if the channel is still there.
 */
static bool
leave_queue(Waiter *waiter)
{
	Queue	   *queue = waiter->queue;
	Channel    *channel;
	ChannelKey	key = waiter->key.channel;

	dlist_delete(&waiter->link);
	waiter->queue = NULL;
	pg_atomic_fetch_sub_u32(&activity_slot(key.dboid, key.relid)->waiters, 1);
	if (!dlist_is_empty(&queue->waiters))
		return true;
	dlist_delete(&queue->link);
	(void) hash_search(queues, &waiter->key, HASH_REMOVE, NULL);
	channel = hash_search(channels, &key, HASH_FIND, NULL);
	if (channel == NULL || !dlist_is_empty(&channel->queues))
		return channel != NULL;
	(void) hash_search(channels, &key, HASH_REMOVE, NULL);
	return false;
}

void
eventlog_wakeup_backend(int procno)
{
	pg_atomic_write_u32(&shared->backends[procno].woken, 1);
	pg_memory_barrier();
	SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

static void
wake(Waiter *waiter)
{
	eventlog_wakeup_backend(waiter->procno);
	eventlog_metrics_count(EVENTLOG_METRIC_WAKEUPS_SENT, 1);
}

static bool
overlap(const EventlogWaitMask *a, const EventlogWaitMask *b)
{
	uint64		both = 0;

	for (int i = 0; i < EVENTLOG_WAIT_WORDS; i++)
		both |= a->word[i] & b->word[i];
	return both != 0;
}

/*
 * Offer a channel's changes to queues that have not had them yet, until "n"
 * waiters have been woken.  The lock is held; the channel may be gone after.
 */
static void
relay(Channel *channel, int n)
{
	while (n > 0)
	{
		Queue	   *queue = dlist_container(Queue, link, dlist_head_node(&channel->queues));
		dlist_iter	iter;

		if (queue->offered >= channel->change)
		{
			memset(&channel->mask, 0, sizeof(EventlogWaitMask));	/* all have had it */
			return;
		}
		queue->offered = channel->change;
		dlist_delete(&queue->link);
		dlist_push_tail(&channel->queues, &queue->link);
		dlist_foreach(iter, &queue->waiters)
		{
			Waiter	   *waiter = dlist_container(Waiter, link, iter.cur);

			if (overlap(&waiter->mask, &channel->mask))
			{
				n--;
				wake(waiter);
				if (!leave_queue(waiter))
					return;
				break;
			}
		}
	}
}

/*
 * A partition of a relation, or (-1) all of it, has changed: let those who wait
 * on it know.
 */
static void
notify_channel(Oid relid, int32 partition)
{
	ChannelKey	key = {MyDatabaseId, relid};
	Channel    *channel;
	LWLock	   *lock;

	if (pg_atomic_read_u32(&activity_slot(MyDatabaseId, relid)->waiters) == 0)
		return;
	lock = channel_lock(&key);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	channel = hash_search(channels, &key, HASH_FIND, NULL);
	if (channel != NULL)
	{
		channel->change++;
		if (partition < 0)
			channel->mask = everything;
		else
			eventlog_wait_mask_add(&channel->mask, partition);
		relay(channel, FANOUT);
	}
	LWLockRelease(lock);
}

/* ---- those who change logs ---- */

void
eventlog_wakeup_at_end(Oid topic, Oid leaf, int32 partition)
{
	/* a large transaction appends to the same leaves again and again */
	for (int i = ntouched - 1; i >= 0 && i >= ntouched - 16; i--)
	{
		if (touched[i].leaf == leaf)
			return;
	}
	if (ntouched == maxtouched)
	{
		int			n = Max(maxtouched * 2, 64);

		touched = touched ? repalloc(touched, n * sizeof(Touched)) :
			MemoryContextAlloc(TopMemoryContext, n * sizeof(Touched));
		maxtouched = n;
	}
	touched[ntouched].topic = topic;
	touched[ntouched].leaf = leaf;
	touched[ntouched].partition = partition;
	ntouched++;
}

static void
wake_for_touched(void)
{
	for (int i = 0; i < ntouched; i++)
	{
		pg_atomic_fetch_add_u64(&activity_slot(MyDatabaseId, touched[i].leaf)->activity, 1);
		if (i == 0 || touched[i].topic != touched[i - 1].topic)
			pg_atomic_fetch_add_u64(&activity_slot(MyDatabaseId, touched[i].topic)->activity, 1);
	}
	for (int i = 0; i < ntouched; i++)
	{
		notify_channel(touched[i].leaf, -1);
		notify_channel(touched[i].topic, touched[i].partition);
	}
	notify_channel(InvalidOid, -1);
}

/* A prepared transaction has ended. */
static void
wake_everybody(void)
{
	HASH_SEQ_STATUS seq;
	Channel    *channel;

	pg_atomic_fetch_add_u64(&activity_slot(MyDatabaseId, InvalidOid)->activity, 1);
	for (int i = 0; i < NPARTITIONS; i++)
		LWLockAcquire(&locks[i].lock, LW_EXCLUSIVE);
	hash_seq_init(&seq, channels);
	while ((channel = hash_seq_search(&seq)) != NULL)
	{
		if (channel->key.dboid != MyDatabaseId)
			continue;
		channel->change++;
		channel->mask = everything;
		relay(channel, FANOUT);
	}
	for (int i = NPARTITIONS - 1; i >= 0; i--)
		LWLockRelease(&locks[i].lock);
}

void
eventlog_wakeup_everybody_at_end(void)
{
	everybody = true;
}

void
eventlog_wakeup_next(Oid topic, uint32 group)
{
	QueueKey	key = {{MyDatabaseId, topic}, group, -1};
	Queue	   *queue;
	LWLock	   *lock;

	if (pg_atomic_read_u32(&activity_slot(MyDatabaseId, topic)->waiters) == 0)
		return;
	lock = channel_lock(&key.channel);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	queue = hash_search(queues, &key, HASH_FIND, NULL);
	if (queue != NULL)
	{
		Waiter	   *waiter = dlist_container(Waiter, link, dlist_head_node(&queue->waiters));

		wake(waiter);
		(void) leave_queue(waiter);
	}
	LWLockRelease(lock);
}

/* ---- those who wait ---- */

/*
 * Give up what is registered, and pass on what this backend was woken for.
 * "unused": it has not looked since, so another of its group is to.
 */
static void
unregister(bool unused)
{
	BackendWait *mine;
	bool		woken;

	begun = false;
	if (nwaits == 0)
		return;
	mine = &shared->backends[eventlog_my_procno()];
	woken = unused && pg_atomic_read_u32(&mine->woken) != 0;
	for (int i = 0; i < nwaits; i++)
	{
		Waiter	   *waiter = &mine->waiters[i];
		LWLock	   *lock = channel_lock(&waiter->key.channel);
		Channel    *channel;
		bool		left = false;

		LWLockAcquire(lock, LW_EXCLUSIVE);
		if (waiter->queue != NULL)
			(void) leave_queue(waiter);
		else
			left = true;
		channel = hash_search(channels, &waiter->key.channel, HASH_FIND, NULL);
		if (channel != NULL)
			relay(channel, FANOUT);
		LWLockRelease(lock);
		if (woken && left && waiter->key.procno < 0)
			eventlog_wakeup_next(waiter->key.channel.relid, waiter->key.group);
	}
	nwaits = 0;
}

static void
wakeup_exit(int code, Datum arg)
{
	unregister(true);
}

void
eventlog_wait_begin(void)
{
	pg_atomic_write_u32(&shared->backends[eventlog_my_procno()].woken, 0);
	pg_memory_barrier();
	begun = true;
}

void
eventlog_wait_on(Oid relid, uint32 group, const EventlogWaitMask *mask)
{
	int32		procno = eventlog_my_procno();
	BackendWait *mine = &shared->backends[procno];
	Waiter	   *waiter;
	QueueKey	key;
	Channel    *channel;
	Queue	   *queue;
	LWLock	   *lock;
	bool		found;

	if (!exit_callback)
	{
		before_shmem_exit(wakeup_exit, (Datum) 0);
		exit_callback = true;
	}
	/* keys are hashed and compared as bytes; they have no padding */
	key.channel.dboid = MyDatabaseId;
	key.channel.relid = relid;
	key.group = group;
	key.procno = group == EVENTLOG_WAIT_ALONE ? procno : -1;

	if (nwaits == EVENTLOG_MAX_WAITS)
		elog(ERROR, "too many things to wait for");
	if (!begun)
		eventlog_wait_begin();
	waiter = &mine->waiters[nwaits];
	waiter->procno = procno;
	waiter->mask = mask ? *mask : everything;
	waiter->key = key;

	lock = channel_lock(&key.channel);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	channel = hash_search(channels, &key.channel, HASH_ENTER, &found);
	if (!found)
	{
		channel->change = 0;
		memset(&channel->mask, 0, sizeof(EventlogWaitMask));
		dlist_init(&channel->queues);
	}
	queue = hash_search(queues, &key, HASH_ENTER_NULL, &found);
	if (queue == NULL)
	{
		if (dlist_is_empty(&channel->queues))
			(void) hash_search(channels, &key.channel, HASH_REMOVE, NULL);
		LWLockRelease(lock);
		elog(ERROR, "no room for those who wait");
	}
	if (!found)
	{
		queue->offered = channel->change;
		dlist_init(&queue->waiters);
		dlist_push_tail(&channel->queues, &queue->link);
	}
	dlist_push_head(&queue->waiters, &waiter->link);
	waiter->queue = queue;
	nwaits++;
	pg_atomic_fetch_add_u32(&activity_slot(MyDatabaseId, relid)->waiters, 1);
	LWLockRelease(lock);
	pg_memory_barrier();
}

bool
eventlog_wait_possible(TimestampTz deadline)
{
	return !IsolationUsesXactSnapshot() && deadline > GetCurrentTimestamp();
}

/*
 * Sleep, but not on after the client has gone: nobody would get what this
 * session waits for, and a member that is gone has to make room.
 */
static void
sleep_until_latch(long timeout_ms)
{
	WaitEvent	event;

	if (MyProcPort == NULL || FeBeWaitSet == NULL || !WaitEventSetCanReportClosed())
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout_ms, PG_WAIT_EXTENSION);
		return;
	}
	/* who reads from the client next sets the events anew */
	ModifyWaitEvent(FeBeWaitSet, FeBeWaitSetSocketPos, WL_SOCKET_CLOSED, NULL);
	if (WaitEventSetWait(FeBeWaitSet, timeout_ms, &event, 1, PG_WAIT_EXTENSION) != 1)
		return;
	if (event.events & WL_POSTMASTER_DEATH)
		proc_exit(1);			/* this set only reports it, again and again */
	if (event.events & WL_SOCKET_CLOSED)
	{
		ClientConnectionLost = true;
		InterruptPending = true;
	}
}

bool
eventlog_wait_sleep(TimestampTz deadline)
{
	BackendWait *mine = &shared->backends[eventlog_my_procno()];
	TimestampTz since = GetCurrentTimestamp();
	TimestampTz look_again = TimestampTzPlusMilliseconds(since,
														 RecoveryInProgress() ? LOOK_AGAIN_STANDBY_MS :
														 LOOK_AGAIN_MS);
	bool		in_time = true;

	EVENTLOG_PAUSE_INTERRUPTIBLE("wait-sleep", NULL);
	for (;;)
	{
		long		left;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (pg_atomic_read_u32(&mine->woken) != 0)
			break;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), Min(deadline, look_again));
		if (left <= 0)
		{
			in_time = look_again < deadline;
			break;
		}
		sleep_until_latch(left);
	}
	unregister(false);
	eventlog_metrics_count(EVENTLOG_METRIC_WAITS, 1);
	eventlog_metrics_count(EVENTLOG_METRIC_WAIT_US, GetCurrentTimestamp() - since);
	return in_time;
}

void
eventlog_wait_end(void)
{
	unregister(false);
}

/* ---- transactions ---- */

static void
wakeup_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			unregister(true);
			if (ntouched > 0)
				wake_for_touched();
			ntouched = 0;
			if (everybody)
				wake_everybody();
			everybody = false;
			break;
		case XACT_EVENT_PREPARE:
			ntouched = 0;		/* what ends it wakes everybody */
			break;
		default:
			break;
	}
}

static void
wakeup_subxact_callback(SubXactEvent event, SubTransactionId subid,
						SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	/* a wait that was cancelled; and what had been appended is aborted now */
	unregister(true);
	if (ntouched > 0)
		wake_for_touched();
}

void
eventlog_wakeup_init(void)
{
	memset(&everything, 0xff, sizeof(everything));
	RegisterXactCallback(wakeup_xact_callback, NULL);
	RegisterSubXactCallback(wakeup_subxact_callback, NULL);
}

/* ---- shared memory ---- */

static Size
shared_size(void)
{
	return add_size(offsetof(WakeupShared, backends),
					mul_size(eventlog_max_procno(), sizeof(BackendWait)));
}

/* No more channels or queues than there can be waiters. */
static long
max_waiters(void)
{
	return (long) eventlog_max_procno() * EVENTLOG_MAX_WAITS;
}

Size
eventlog_wakeup_shmem_size(void)
{
	Size		size = shared_size();

	RequestNamedLWLockTranche(TRANCHE_NAME, NPARTITIONS);
	size = add_size(size, hash_estimate_size(max_waiters(), sizeof(Channel)));
	return add_size(size, hash_estimate_size(max_waiters(), sizeof(Queue)));
}

void
eventlog_wakeup_shmem_init(void)
{
	HASHCTL		ctl;
	bool		found;

	shared = ShmemInitStruct("pg_eventlog wake-ups", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		for (int i = 0; i < ACTIVITY_SLOTS; i++)
		{
			pg_atomic_init_u64(&shared->slots[i].activity, 1);
			pg_atomic_init_u32(&shared->slots[i].waiters, 0);
			pg_atomic_init_u32(&shared->slots[i].turn, 0);
		}
		for (int i = 0; i < eventlog_max_procno(); i++)
			pg_atomic_init_u32(&shared->backends[i].woken, 0);
	}
	locks = GetNamedLWLockTranche(TRANCHE_NAME);

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(ChannelKey);
	ctl.entrysize = sizeof(Channel);
	ctl.hash = channel_hash;
	ctl.num_partitions = NPARTITIONS;
	channels = ShmemInitHash("pg_eventlog channels", max_waiters(), max_waiters(), &ctl,
							 HASH_ELEM | HASH_FUNCTION | HASH_PARTITION);
	ctl.keysize = sizeof(QueueKey);
	ctl.entrysize = sizeof(Queue);
	ctl.hash = queue_hash;
	queues = ShmemInitHash("pg_eventlog queues", max_waiters(), max_waiters(), &ctl,
						   HASH_ELEM | HASH_FUNCTION | HASH_PARTITION);
}
