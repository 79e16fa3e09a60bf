/*-------------------------------------------------------------------------
 *
 * balance_test.c
 *	  Tests src/balance.c without a server.
 *
 *	balance_test [SEED [COUNT]]		prints TAP
 *
 * A group of members and topics changes at random: members come and go and
 * change what they subscribe to, partitions are added.  After each change what
 * was promised must hold, and as many partitions as possible must have stayed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "balance.h"
#include "fuzz.h"

#define MAX_MEMBERS		40
#define MAX_TOPICS		6
#define MAX_PARTITIONS	300

static uint64 state;
static int	nmembers;
static int	ntopics;
static int	npartitions;
static bool subscribed[MAX_MEMBERS][MAX_TOPICS];
static int	topic[MAX_PARTITIONS];
static int	target[MAX_PARTITIONS];

static int
any(int n)
{
	state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
	return (int) ((state >> 33) % n);
}

static bool
same_subscription(int a, int b)
{
	return memcmp(subscribed[a], subscribed[b], sizeof(bool) * ntopics) == 0;
}

/* Balance, and say what is wrong with the result, or NULL. */
static const char *
balance_and_check(void)
{
	static bool flat[MAX_MEMBERS * MAX_TOPICS];
	int			count[MAX_MEMBERS];
	int			scratch[2 * MAX_MEMBERS];
	int			before[MAX_PARTITIONS];
	int			kept = 0,
				could_keep = 0,
				share,
				rest;
	int			had[MAX_MEMBERS] = {0};
	bool		alike = true;
	EventlogBalance b = {nmembers, ntopics, npartitions, flat, topic, target, count, scratch};

	for (int m = 0; m < nmembers; m++)
	{
		for (int t = 0; t < ntopics; t++)
		{
			flat[m * ntopics + t] = subscribed[m][t];
			alike &= subscribed[m][t];
		}
	}
	memcpy(before, target, sizeof(before));
	eventlog_balance(&b);

	memset(count, 0, sizeof(count));
	for (int p = 0; p < npartitions; p++)
	{
		bool		wanted = false;

		for (int m = 0; m < nmembers; m++)
			wanted |= subscribed[m][topic[p]];
		if (target[p] < -1 || target[p] >= nmembers)
			return "no such member";
		if ((target[p] >= 0) != wanted)
			return wanted ? "a partition that is wanted has no owner" : "a partition that nobody wants has one";
		if (target[p] < 0)
			continue;
		if (!subscribed[target[p]][topic[p]])
			return "an owner has not subscribed";
		count[target[p]]++;
		if (before[p] >= 0)
			had[before[p]]++;
		kept += (before[p] == target[p]);
	}
	for (int i = 0; i < nmembers; i++)
	{
		for (int j = 0; j < nmembers; j++)
		{
			if (same_subscription(i, j) && count[i] > count[j] + 1)
				return "sizes of like members differ by more than one";
		}
	}
	for (int p = 0; p < npartitions; p++)
	{
		for (int m = 0; m < nmembers && target[p] >= 0; m++)
		{
			if (subscribed[m][topic[p]] && count[m] + 1 < count[target[p]])
				return "a move would make it more even";
		}
	}
	if (alike && nmembers > 0)
	{
		share = npartitions / nmembers;
		rest = npartitions % nmembers;
		for (int m = 0; m < nmembers; m++)
		{
			could_keep += Min(had[m], share);
			if (had[m] > share && rest > 0)
			{
				could_keep++;
				rest--;
			}
		}
		if (kept != could_keep)
			return "more have moved than had to";
	}

	/* what is balanced stays as it is */
	memcpy(before, target, sizeof(before));
	eventlog_balance(&b);
	if (memcmp(before, target, sizeof(int) * npartitions) != 0)
		return "balancing again moves something";
	return NULL;
}

static void
change(bool alike)
{
	int			m;

	switch (any(6))
	{
		case 0:
		case 1:
			if (nmembers == MAX_MEMBERS)
				return;
			for (int t = 0; t < ntopics; t++)
				subscribed[nmembers][t] = alike || any(2);
			nmembers++;
			break;
		case 2:
		case 3:
			if (nmembers == 0)
				return;
			/* the last one takes the number of the one that leaves */
			m = any(nmembers--);
			memcpy(subscribed[m], subscribed[nmembers], sizeof(subscribed[m]));
			for (int p = 0; p < npartitions; p++)
			{
				if (target[p] == m)
					target[p] = -1;
				else if (target[p] == nmembers)
					target[p] = m;
			}
			break;
		case 4:
			for (int n = 1 + any(5); n > 0 && npartitions < MAX_PARTITIONS; n--)
			{
				topic[npartitions] = any(ntopics);
				target[npartitions++] = -1;
			}
			break;
		case 5:
			if (nmembers > 0 && !alike)
				subscribed[any(nmembers)][any(ntopics)] ^= 1;
			break;
	}
}

/*
 * Three partitions, two and one; the first and the last member have no topic in
 * common, but both have one with the second: each can have two.
 */
static const char *
over_another(void)
{
	static const int topics[] = {0, 0, 0, 0, 1, 1};
	static const int before[] = {0, 0, 0, 1, 1, 2};
	int			count[3] = {0};

	nmembers = 3;
	ntopics = 2;
	npartitions = 6;
	memset(subscribed, 0, sizeof(subscribed));
	subscribed[0][0] = subscribed[1][0] = subscribed[1][1] = subscribed[2][1] = true;
	memcpy(topic, topics, sizeof(topics));
	memcpy(target, before, sizeof(before));
	if (balance_and_check() != NULL)
		return balance_and_check();
	for (int p = 0; p < npartitions; p++)
		count[target[p]]++;
	return count[0] == 2 && count[1] == 2 && count[2] == 2 ? NULL : "not even";
}

int
main(int argc, char **argv)
{
	uint64		seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	int			count = argc > 2 ? atoi(argv[2]) : 200;
	bool		good;
	bool		all_good = true;

	printf("1..3\n# seed %llu, %d groups\n", (unsigned long long) seed, count);
	for (int alike = 1; alike >= 0; alike--)
	{
		good = true;
		for (int g = 0; g < count && good; g++)
		{
			state = seed + g;
			nmembers = npartitions = 0;
			ntopics = 1 + any(MAX_TOPICS);
			for (int i = 0; i < 100 && good; i++)
			{
				const char *wrong;

				change(alike);
				wrong = balance_and_check();
				if (wrong != NULL)
				{
					printf("# seed %llu, change %d: %s (%d members, %d topics, %d partitions)\n",
						   (unsigned long long) seed + g, i, wrong, nmembers, ntopics, npartitions);
					good = false;
				}
			}
		}
		all_good &= good;
		printf("%sok %d - %s\n", good ? "" : "not ", 2 - alike,
			   alike ? "members of the same topics" : "members of different topics");
	}
	good = over_another() == NULL;
	all_good &= good;
	printf("%sok 3 - partitions move over members in between\n", good ? "" : "not ");
	return all_good ? 0 : 1;
}
