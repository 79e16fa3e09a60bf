/*-------------------------------------------------------------------------
 *
 * subscription.h
 *	  This session as a member of a consumer group: its partitions, and how far
 *	  it has read them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_SUBSCRIPTION_H
#define EVENTLOG_SUBSCRIPTION_H

#include "emit.h"
#include "member.h"

/* What the group has committed is not known; -1 is that it has nothing. */
#define EVENTLOG_BASE_UNKNOWN	(-2)

/* A partition of this session. */
typedef struct EventlogAssigned
{
	EventlogOwned owned;
	int64		position;		/* next offset to hand out; -1: not known yet */
	int64		clean;			/* position with nothing outstanding: as read, or
								 * as committed last; -1: not known */
	int64		base;			/* the group's committed offset, as this session
								 * knows it; -1: none; or BASE_UNKNOWN */
	int64		pending;		/* to be written when the transaction commits, or -1 */
	bool		used;			/* this transaction got records of it */
	bool		in_use;			/* shared memory says that it is in use */
	bool		paused;
	bool		astray;			/* somebody else has moved the committed offset */
	bool		active;			/* something of the above is to be looked at when
								 * the transaction ends, or at the next poll */
} EventlogAssigned;

/* Name of the group, or NULL if this session has not subscribed. */
extern const char *eventlog_subscription_group(void);

/*
 * Subscribe: to topics by their names, or, where a name begins with "^", to
 * those that it matches as a regular expression, now and later.  manual: to
 * these partitions of one topic (NULL: all), without balancing.
 */
extern void eventlog_subscription_begin(const char *group, const char *client_id,
										List *names, bool manual, const int32 *partitions,
										int npartitions);

/* Leave the group, at the end of the transaction if it has commits to write. */
extern void eventlog_subscription_end(void);

/*
 * Before a poll: take part in the group, join it again if this session was
 * removed, and take up what has changed.
 */
extern void eventlog_subscription_refresh(void);

/* What is assigned, as of the last refresh; in the order of leaves. */
extern EventlogAssigned *eventlog_subscription_assigned(int *count);

/* One of them, or NULL. */
extern EventlogAssigned *eventlog_subscription_find(Oid topic, int32 partition);

/*
 * The next one, from this number on, of which more may be there than has been
 * handed out, or the count of all; and what the activity was before the last
 * look that came to the end (0: there may be more).
 */
extern int	eventlog_subscription_next(int from);
extern void eventlog_subscription_set_seen(EventlogAssigned *assigned, uint64 activity);

/* Before its position or pending commit changes: for rollbacks. */
extern void eventlog_subscription_save(EventlogAssigned *assigned);

/*
 * Commit, with the transaction: all positions, or one partition's.  Errors:
 * LG003.
 */
extern void eventlog_subscription_commit(void);
extern void eventlog_subscription_commit_one(EventlogAssigned *assigned, int64 next_offset);

/* Has something changed in what this session has?  The next refresh tells. */
extern bool eventlog_subscription_has_news(void);

/* How long the member may be silent; 0 if this session has not subscribed. */
extern int	eventlog_subscription_max_poll_ms(void);

extern void eventlog_subscription_init(void);	/* from _PG_init: callbacks */

#endif							/* EVENTLOG_SUBSCRIPTION_H */
