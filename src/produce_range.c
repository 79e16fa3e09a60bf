/*-------------------------------------------------------------------------
 *
 * produce_range.c
 *	  Which offsets a transaction's records got, for flush() and
 *	  last_produced().
 *
 * Ranges belong to the subtransaction of their records and go with it.  The
 * functions for the ends of transactions neither allocate nor raise.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "produce_buffer.h"

static EventlogRange *ranges = NULL;	/* of this transaction */
static int	nranges = 0;
static int	maxranges = 0;
static EventlogRange *last_ranges = NULL;	/* of the last one that committed */
static int	nlast_ranges = 0;
static int	maxlast_ranges = 0;

/*
 * Do these offsets go on where the last of the first n ranges of their leaf
 * ended?  Then they become part of it.
 */
static bool
extend_last(int n, Oid leaf, SubTransactionId subid, int64 first, int64 last)
{
	for (int i = n - 1; i >= 0 && i >= n - 16; i--)
	{
		EventlogRange *range = &ranges[i];

		if (range->leaf != leaf)
			continue;
		if (range->last_offset + 1 != first || range->subid != subid || range->reported)
			return false;
		range->last_offset = last;
		return true;
	}
	return false;
}

/*
 * Remember offsets that went to records of this subtransaction.
 */
void
eventlog_range_note(const LeafBuffer *buffer, SubTransactionId subid, int64 first, int64 last)
{
	EventlogRange *range;

	if (extend_last(nranges, buffer->leaf, subid, first, last))
		return;
	if (nranges == maxranges)
	{
		int			n = Max(maxranges * 2, 16);

		ranges = ranges ? repalloc_huge(ranges, n * sizeof(EventlogRange)) :
			MemoryContextAlloc(TopMemoryContext, n * sizeof(EventlogRange));
		maxranges = n;
	}
	range = &ranges[nranges++];
	range->topic = buffer->topic;
	range->leaf = buffer->leaf;
	range->partition = buffer->partition;
	range->first_offset = first;
	range->last_offset = last;
	range->subid = subid;
	range->reported = false;
}

int
eventlog_produce_ranges(EventlogRange **result)
{
	*result = ranges;
	return nranges;
}

int
eventlog_produce_last_ranges(EventlogRange **result)
{
	*result = last_ranges;
	return nlast_ranges;
}

/*
 * Offset of the last record that was appended to a leaf, or -1.
 */
int64
eventlog_range_last_offset(Oid leaf)
{
	for (int i = nranges - 1; i >= 0; i--)
	{
		if (ranges[i].leaf == leaf)
			return ranges[i].last_offset;
	}
	return -1;
}

void
eventlog_range_end_xact(bool keep)
{
	if (keep && nranges > 0)
	{
		EventlogRange *swap = last_ranges;
		int			swapmax = maxlast_ranges;

		last_ranges = ranges;
		nlast_ranges = nranges;
		maxlast_ranges = maxranges;
		ranges = swap;
		maxranges = swapmax;
	}
	nranges = 0;
}

void
eventlog_range_end_subxact(SubTransactionId subid, SubTransactionId parent, bool commit)
{
	int			kept = 0;

	for (int i = 0; i < nranges; i++)
	{
		if (ranges[i].subid == subid)
		{
			if (!commit)
				continue;
			ranges[i].subid = parent;
			if (!ranges[i].reported &&
				extend_last(kept, ranges[i].leaf, parent, ranges[i].first_offset,
							ranges[i].last_offset))
				continue;
		}
		ranges[kept++] = ranges[i];
	}
	nranges = kept;
}
