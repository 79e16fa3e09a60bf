/*-------------------------------------------------------------------------
 *
 * balance.c
 *	  Who of a group's members gets which partition.
 *
 * Pure: arrays in, arrays out.  Where all members have subscribed to the same
 * topics, which is nearly always, each has a quota: the share rounded down,
 * and for as many as there is a rest, one more; those who have most now get
 * the larger quotas, so that the fewest partitions move.  Else partitions move
 * one by one from members that have more to those that have less, also over
 * others in between, as long as that makes a difference smaller.
 *
 *-------------------------------------------------------------------------
 */
#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "balance.h"

/* Members times partitions up to which others in between are looked for. */
#define MAX_SEARCH	100000

static inline bool
may_have(const EventlogBalance *b, int member, int partition)
{
	return b->subscribed[member * b->ntopics + b->topic[partition]];
}

static bool
all_alike(const EventlogBalance *b)
{
	for (int i = 0; i < b->nmembers * b->ntopics; i++)
	{
		if (!b->subscribed[i])
			return false;
	}
	return true;
}

/* Keep what may stay, and count it. */
static void
count_kept(EventlogBalance *b)
{
	memset(b->count, 0, sizeof(int) * b->nmembers);
	for (int p = 0; p < b->npartitions; p++)
	{
		if (b->target[p] >= 0 && !may_have(b, b->target[p], p))
			b->target[p] = -1;
		if (b->target[p] >= 0)
			b->count[b->target[p]]++;
	}
}

static void
balance_alike(EventlogBalance *b)
{
	int			share = b->npartitions / b->nmembers;
	int			rest = b->npartitions % b->nmembers;
	int		   *quota = b->scratch;
	int			next = 0;

	for (int m = 0; m < b->nmembers; m++)
	{
		quota[m] = share;
		if (rest > 0 && b->count[m] > share)
		{
			quota[m]++;
			rest--;
		}
	}
	for (int m = 0; m < b->nmembers && rest > 0; m++)
	{
		if (quota[m] == share)
		{
			quota[m]++;
			rest--;
		}
	}
	for (int p = 0; p < b->npartitions; p++)
	{
		int			m = b->target[p];

		if (m >= 0 && b->count[m] > quota[m])
		{
			b->count[m]--;
			b->target[p] = -1;
		}
	}
	for (int p = 0; p < b->npartitions; p++)
	{
		if (b->target[p] >= 0)
			continue;
		while (b->count[next] >= quota[next])
			next++;
		b->target[p] = next;
		b->count[next]++;
	}
}

/* The member with the fewest of those that may have a partition, or -1. */
static int
least(const EventlogBalance *b, int partition)
{
	int			best = -1;

	for (int m = 0; m < b->nmembers; m++)
	{
		if (may_have(b, m, partition) && (best < 0 || b->count[m] < b->count[best]))
			best = m;
	}
	return best;
}

static void
balance_unlike(EventlogBalance *b)
{
	bool		moved = true;

	for (int p = 0; p < b->npartitions; p++)
	{
		if (b->target[p] < 0 && (b->target[p] = least(b, p)) >= 0)
			b->count[b->target[p]]++;
	}
	/* each move makes the sum of squares smaller, so this ends */
	while (moved)
	{
		moved = false;
		for (int p = 0; p < b->npartitions; p++)
		{
			int			from = b->target[p];
			int			to = from < 0 ? -1 : least(b, p);

			if (to < 0 || b->count[to] + 1 >= b->count[from])
				continue;
			b->count[from]--;
			b->count[to]++;
			b->target[p] = to;
			moved = true;
		}
	}
}

/*
 * Members "first" and some other, which has at least two partitions less, may
 * have no topic in common, but others in between.  Find the shortest way over
 * those, by breadth, and move one partition along each step.  True if there
 * was a way.
 */
static bool
move_along(EventlogBalance *b, int first)
{
	int		   *via = b->scratch;	/* partition over which a member was reached */
	int		   *queue = b->scratch + b->nmembers;
	int			nqueue = 0;

	for (int m = 0; m < b->nmembers; m++)
		via[m] = -1;
	queue[nqueue++] = first;
	for (int q = 0; q < nqueue; q++)
	{
		for (int p = 0; p < b->npartitions; p++)
		{
			if (b->target[p] != queue[q])
				continue;
			for (int m = 0; m < b->nmembers; m++)
			{
				if (m == first || via[m] >= 0 || !may_have(b, m, p))
					continue;
				via[m] = p;
				queue[nqueue++] = m;
				if (b->count[m] + 1 >= b->count[first])
					continue;
				b->count[first]--;
				b->count[m]++;
				while (m != first)
				{
					int			from = b->target[via[m]];

					b->target[via[m]] = m;
					m = from;
				}
				return true;
			}
		}
	}
	return false;
}

static void
balance_over_others(EventlogBalance *b)
{
	bool		moved = true;

	/* in a large group the time is not worth it */
	if ((double) b->nmembers * b->npartitions > MAX_SEARCH)
		return;
	while (moved)
	{
		moved = false;
		for (int m = 0; m < b->nmembers; m++)
			moved |= move_along(b, m);
	}
}

void
eventlog_balance(EventlogBalance *b)
{
	if (b->nmembers == 0)
	{
		for (int p = 0; p < b->npartitions; p++)
			b->target[p] = -1;
		return;
	}
	count_kept(b);
	if (all_alike(b))
		balance_alike(b);
	else
	{
		balance_unlike(b);
		balance_over_others(b);
	}
}
