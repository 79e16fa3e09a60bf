/*-------------------------------------------------------------------------
 *
 * capture_spool.c
 *	  Messages of transactions that are streamed before they commit.
 *
 * A transaction too large for the decoder's memory comes in pieces, mixed with
 * others.  Its messages wait in a temporary file until it commits, and are
 * forgotten if it does not.
 *
 * A subtransaction that is rolled back takes with it what was added from its
 * first message on: while it runs, all messages are its own or those of
 * subtransactions inside it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "batch.h"
#include "capture_spool.h"

/* Where a subtransaction's first message is. */
typedef struct Start
{
	TransactionId subxid;
	int			file;
	off_t		offset;
	uint64		bytes;			/* of the spool, before it */
} Start;

struct EventlogSpool
{
	EventlogSpool *next;
	TransactionId xid;
	BufFile    *file;
	int			end_file;		/* logical end: what lies behind is void */
	off_t		end_offset;
	uint64		bytes;
	HTAB	   *subxids;		/* those in starts; NULL: none */
	Start	   *starts;			/* in the order of the file */
	int			nstarts;
	int			maxstarts;
};

typedef struct Entry
{
	uint64		sequence;
	EventlogMessageHeader header;
} Entry;

static EventlogSpool *spools = NULL;
static MemoryContext spool_context = NULL;

EventlogSpool *
eventlog_spool_find(TransactionId xid)
{
	for (EventlogSpool *spool = spools; spool != NULL; spool = spool->next)
	{
		if (spool->xid == xid)
			return spool;
	}
	return NULL;
}

EventlogSpool *
eventlog_spool_open(TransactionId xid)
{
	EventlogSpool *spool = eventlog_spool_find(xid);
	MemoryContext old;

	if (spool != NULL)
		return spool;
	if (spool_context == NULL)
		spool_context = AllocSetContextCreate(TopMemoryContext, "eventlog spools",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(spool_context);
	spool = palloc0(sizeof(EventlogSpool));
	spool->xid = xid;
	spool->file = BufFileCreateTemp(true);
	MemoryContextSwitchTo(old);
	spool->next = spools;
	spools = spool;
	return spool;
}

static void
note_start(EventlogSpool *spool, TransactionId subxid)
{
	Start	   *start;
	bool		found;

	if (spool->nstarts > 0 && spool->starts[spool->nstarts - 1].subxid == subxid)
		return;
	if (spool->subxids == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(TransactionId), .entrysize = sizeof(TransactionId)};

		ctl.hcxt = spool_context;
		spool->subxids = hash_create("eventlog spool", 64, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(spool->subxids, &subxid, HASH_ENTER, &found);
	if (found)
		return;
	if (spool->nstarts == spool->maxstarts)
	{
		spool->maxstarts = Max(spool->maxstarts * 2, 16);
		spool->starts = spool->starts == NULL ?
			MemoryContextAlloc(spool_context, spool->maxstarts * sizeof(Start)) :
			repalloc(spool->starts, spool->maxstarts * sizeof(Start));
	}
	start = &spool->starts[spool->nstarts++];
	start->subxid = subxid;
	start->file = spool->end_file;
	start->offset = spool->end_offset;
	start->bytes = spool->bytes;
}

void
eventlog_spool_add(EventlogSpool *spool, TransactionId subxid, uint64 sequence,
				   const EventlogMessageHeader *header, const char *bytes)
{
	Entry		entry = {.sequence = sequence, .header = *header};

	if (subxid != spool->xid)
		note_start(spool, subxid);
	BufFileWrite(spool->file, &entry, sizeof(entry));
	if (header->len > 0)
		BufFileWrite(spool->file, unconstify(char *, bytes), header->len);
	BufFileTell(spool->file, &spool->end_file, &spool->end_offset);
	spool->bytes += sizeof(entry) + header->len;
}

void
eventlog_spool_abort(EventlogSpool *spool, TransactionId subxid)
{
	if (spool->subxids == NULL || hash_search(spool->subxids, &subxid, HASH_FIND, NULL) == NULL)
		return;
	for (int i = spool->nstarts - 1; i >= 0; i--)
	{
		Start	   *start = &spool->starts[i];

		(void) hash_search(spool->subxids, &start->subxid, HASH_REMOVE, NULL);

		if (start->subxid != subxid)
			continue;
		if (BufFileSeek(spool->file, start->file, start->offset, SEEK_SET) != 0)
			elog(ERROR, "could not seek in the spool of transaction %u", spool->xid);
		spool->end_file = start->file;
		spool->end_offset = start->offset;
		spool->bytes = start->bytes;
		spool->nstarts = i;
		return;
	}
}

static void
read_exact(EventlogSpool *spool, void *to, size_t len)
{
	if (BufFileRead(spool->file, to, len) != len)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the spool of transaction %u", spool->xid)));
}

void
eventlog_spool_replay(EventlogSpool *spool, EventlogSpoolReader reader)
{
	uint64		done = 0;
	EventlogBuf buf = {0};

	if (BufFileSeek(spool->file, 0, 0, SEEK_SET) != 0)
		elog(ERROR, "could not seek in the spool of transaction %u", spool->xid);
	while (done < spool->bytes)
	{
		Entry		entry;

		CHECK_FOR_INTERRUPTS();
		read_exact(spool, &entry, sizeof(entry));
		if (buf.cap < entry.header.len)
		{
			MemoryContext old = MemoryContextSwitchTo(spool_context);

			buf.len = 0;
			eventlog_buf_reserve(&buf, entry.header.len);
			MemoryContextSwitchTo(old);
		}
		if (entry.header.len > 0)
			read_exact(spool, buf.data, entry.header.len);
		done += sizeof(entry) + entry.header.len;
		reader(entry.sequence, &entry.header, buf.data);
	}
	eventlog_buf_free(&buf);
	eventlog_spool_forget(spool);
}

void
eventlog_spool_forget(EventlogSpool *spool)
{
	for (EventlogSpool **link = &spools; *link != NULL; link = &(*link)->next)
	{
		if (*link == spool)
		{
			*link = spool->next;
			break;
		}
	}
	BufFileClose(spool->file);
	if (spool->subxids != NULL)
		hash_destroy(spool->subxids);
	if (spool->starts != NULL)
		pfree(spool->starts);
	pfree(spool);
}

uint64
eventlog_spool_bytes(void)
{
	uint64		bytes = 0;

	for (EventlogSpool *spool = spools; spool != NULL; spool = spool->next)
		bytes += spool->bytes;
	return bytes;
}
