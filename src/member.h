/*-------------------------------------------------------------------------
 *
 * member.h
 *	  Sessions that are members of consumer groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MEMBER_H
#define EVENTLOG_MEMBER_H

/* How many members a group has at the moment. */
extern int	eventlog_member_count(const char *group);

#endif							/* EVENTLOG_MEMBER_H */
