/*-------------------------------------------------------------------------
 *
 * capture_wal.c
 *	  Reading WAL as it comes.
 *
 * WAL can be read as soon as it is flushed.  Backends that commit wake whoever
 * waits for that (capture_slot.c), and tell where their commit ends.  Under
 * synchronous_commit = off that is not flushed yet: then the reader flushes it
 * itself, but not more often than every few milliseconds.  What nobody tells of
 * is found by looking now and then.
 *
 * To be woken costs both sides, and it cannot be worth it for every commit when
 * hundreds come in a second: then the reader lets some come together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xlog.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "capture_wal.h"
#include "worker.h"

/* Own flushes are at least this far apart. */
#define FLUSH_INTERVAL_MS	5

/* How long to sleep at most: shortly after there was WAL, and later. */
#define BUSY_SLEEP_MS		20
#define IDLE_SLEEP_MS		500
#define BUSY_MS				1000

/*
 * If waits are not longer than this on average, the reader first sleeps a while
 * without being woken.
 */
#define OFTEN_US			4000
#define LINGER_MS			5

/* How often "pause" is called while there is WAL to read. */
#define PAUSE_INTERVAL_MS	10

static EventlogCaptureSlot *my_slot = NULL;
static void (*my_pause) (bool caught_up) = NULL;
static TimestampTz last_flush = 0;
static TimestampTz last_wal = 0;
static TimestampTz last_pause = 0;
static TimestampTz last_wake = 0;	/* when it last had waited */
static int64 mean_wait_us = IDLE_SLEEP_MS * 1000;	/* time between waits, what was
													 * slept anyway left out */

void
eventlog_wal_wait_setup(EventlogCaptureSlot *slot, void (*pause) (bool caught_up))
{
	my_slot = slot;
	my_pause = pause;
}

static int64
ms_since(TimestampTz then, TimestampTz now)
{
	return (now - then) / 1000;
}

/* Flush what somebody has committed, but not too often: how long to wait yet. */
static int64
flush_commits(XLogRecPtr flushed, TimestampTz now)
{
	XLogRecPtr	commit = pg_atomic_read_u64(&eventlog_captures->commit_lsn);

	if (commit <= flushed)
		return IDLE_SLEEP_MS;
	if (ms_since(last_flush, now) < FLUSH_INTERVAL_MS)
		return FLUSH_INTERVAL_MS - ms_since(last_flush, now);

	/* from before a crash, it may not be there at all */
	if (commit <= GetXLogInsertRecPtr())
		XLogFlush(commit);
	last_flush = now;
	return 0;
}

static void
fall_asleep(void)
{
	if (pg_atomic_exchange_u32(&my_slot->asleep, 1) == 0)
		pg_atomic_add_fetch_u32(&eventlog_captures->nasleep, 1);
	pg_memory_barrier();
}

static void
wake_up(void)
{
	if (pg_atomic_exchange_u32(&my_slot->asleep, 0) != 0)
		pg_atomic_sub_fetch_u32(&eventlog_captures->nasleep, 1);
}

static void
wait_for(XLogRecPtr lsn)
{
	bool		linger = mean_wait_us < OFTEN_US;
	int64		lingered_us = linger ? LINGER_MS * 1000 : 0;
	TimestampTz now;

	while (GetFlushRecPtr(NULL) < lsn)
	{
		int64		wait_ms;

		eventlog_worker_check();
		my_pause(true);
		ResetLatch(MyLatch);
		if (linger)
		{
			/* not on the latch, which the appender sets as it reads the queue */
			linger = false;
			pg_usleep(LINGER_MS * 1000L);
			continue;
		}

		/* from here on commits wake us; they may have come before */
		fall_asleep();
		now = GetCurrentTimestamp();
		wait_ms = flush_commits(GetFlushRecPtr(NULL), now);
		if (wait_ms > 0 && GetFlushRecPtr(NULL) < lsn)
		{
			if (ms_since(last_wal, now) < BUSY_MS)
				wait_ms = Min(wait_ms, BUSY_SLEEP_MS);
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 wait_ms, PG_WAIT_EXTENSION);
		}
		wake_up();
	}
	now = GetCurrentTimestamp();
	mean_wait_us += (Min(now - last_wake - lingered_us, IDLE_SLEEP_MS * 1000) - mean_wait_us) / 8;
	last_wake = now;
}

int
eventlog_wal_read_page(XLogReaderState *state, XLogRecPtr page, int want,
					   XLogRecPtr record, char *buf)
{
	if (GetFlushRecPtr(NULL) < page + want)
		wait_for(page + want);
	last_wal = GetCurrentTimestamp();
	if (ms_since(last_pause, last_wal) >= PAUSE_INTERVAL_MS)
	{
		last_pause = last_wal;
		eventlog_worker_check();
		my_pause(false);
	}
	return read_local_xlog_page(state, page, want, record, buf);
}
