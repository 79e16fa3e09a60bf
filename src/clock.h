/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The time in Kafka's unit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CLOCK_H
#define EVENTLOG_CLOCK_H

#include <time.h>

/*
 * Milliseconds since 1970.  Where there is one, the clock that moves with the
 * kernel's tick (some ms) is read: it is several times cheaper than the exact
 * one, which a bulk load would feel.
 */
static inline int64
eventlog_now_ms(void)
{
	struct timespec ts;

#ifdef CLOCK_REALTIME_COARSE
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
#else
	clock_gettime(CLOCK_REALTIME, &ts);
#endif
	return (int64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif							/* EVENTLOG_CLOCK_H */
