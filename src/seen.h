/*-------------------------------------------------------------------------
 *
 * seen.h
 *	  What this session knows to be empty, so that it need not look again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_SEEN_H
#define EVENTLOG_SEEN_H

#include "topic.h"

/*
 * A group's view of a topic.  The numbers are activities (wakeup.h) that were
 * read before a look that found nothing beyond the group's committed offset; 0
 * if there was no such look.
 */
typedef struct EventlogSeen
{
	uint64		topic;			/* no partition had anything */
	int32		npartitions;
	uint64	   *partition;		/* [npartitions] */
} EventlogSeen;

/*
 * Valid until the next call.  What is known about a group is forgotten
 * whenever a catalogue of groups changes.
 */
extern EventlogSeen *eventlog_seen(const char *group, const EventlogTopic *topic);

/*
 * The group has committed all that there was in a partition: note that, if
 * something is known of the topic.  Neither raises nor allocates.
 */
extern void eventlog_seen_note(const char *group, Oid topic, int32 partition, uint64 activity);

/*
 * The topic's activity before this session's last look that found all of it
 * read, or 0 if the session has not looked or has left something unread.
 * False if it has never looked.
 */
extern bool eventlog_seen_last_look(Oid topic, uint64 *activity);
extern void eventlog_seen_set_last_look(Oid topic, uint64 activity);

#endif							/* EVENTLOG_SEEN_H */
