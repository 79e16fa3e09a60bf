/*-------------------------------------------------------------------------
 *
 * balance.h
 *	  Who of a group's members gets which partition.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_BALANCE_H
#define EVENTLOG_BALANCE_H

typedef struct EventlogBalance
{
	int			nmembers;
	int			ntopics;
	int			npartitions;
	const bool *subscribed;		/* [nmembers * ntopics] */
	const int  *topic;			/* [npartitions] topic of each partition */
	int		   *target;			/* [npartitions] in: member or -1; out: anew */
	int		   *count;			/* [nmembers] out: partitions of each */
	int		   *scratch;		/* [2 * nmembers] */
} EventlogBalance;

/*
 * Sizes of members with the same subscription differ by one at most, and no
 * more partitions move than that takes.  Allocates nothing, never fails.
 */
extern void eventlog_balance(EventlogBalance *balance);

#endif							/* EVENTLOG_BALANCE_H */
