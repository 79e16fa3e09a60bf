/*-------------------------------------------------------------------------
 *
 * check_walk.c
 *	  What must hold of the walk over a segment whatever its pages hold.
 *
 * Each page that the walk asks for is a new allocation of exactly its size,
 * and the one before is freed, so that the address sanitizer sees bytes read
 * behind a page or from one that may no longer be read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "port/pg_bswap.h"

#include "fuzz.h"
#include "log_page.h"
#include "log_walk.h"

StaticAssertDecl(sizeof(FuzzWalkHead) == 4, "the corpus was made with another head");
StaticAssertDecl(sizeof(FuzzWalkPage) == 64, "the corpus was made with another page");

typedef struct Pages
{
	int			n;
	char	   *pages;			/* n * BLCKSZ */
	char	   *lent;			/* what the walk has now */
} Pages;

/* The server's function of this name, for log_page.c. */
void
PageInit(Page page, Size pageSize, Size specialSize)
{
	PageHeader	p = (PageHeader) page;

	memset(p, 0, pageSize);
	p->pd_lower = SizeOfPageHeaderData;
	p->pd_upper = pageSize - MAXALIGN(specialSize);
	p->pd_special = p->pd_upper;
	PageSetPageSizeAndVersion(page, pageSize, PG_PAGE_LAYOUT_VERSION);
}

static const char *
get_page(void *arg, BlockNumber block)
{
	Pages	   *p = arg;

	free(p->lent);
	p->lent = NULL;
	if (block < FUZZ_WALK_FIRST_BLOCK || block - FUZZ_WALK_FIRST_BLOCK >= p->n)
		return NULL;
	p->lent = pg_malloc(BLCKSZ);
	memcpy(p->lent, p->pages + (size_t) (block - FUZZ_WALK_FIRST_BLOCK) * BLCKSZ, BLCKSZ);
	return p->lent;
}

static bool
same_pos(const EventlogPos *a, const EventlogPos *b)
{
	return a->offset == b->offset && a->segment == b->segment &&
		a->block == b->block && a->byte == b->byte;
}

/* Put a page together from its parts; returns how much of the input it took. */
static size_t
unpack_page(char *page, const char *input, size_t len)
{
	FuzzWalkPage parts;
	char	   *p = page + EVENTLOG_PAYLOAD_START;
	char	   *end = page + EVENTLOG_PAYLOAD_END;
	size_t		before;
	size_t		run;
	size_t		after;

	memcpy(&parts, input, sizeof(parts));
	input += sizeof(parts);
	len -= sizeof(parts);
	parts.stored = Min(Min(parts.stored, len), EVENTLOG_PAYLOAD_SIZE);
	before = Min(parts.run_at, parts.stored);
	run = Min(parts.run_length, EVENTLOG_PAYLOAD_SIZE - parts.stored);
	after = parts.stored - before;

	memset(page, 0, BLCKSZ);
	memcpy(page, parts.header, sizeof(parts.header));
	memcpy(page + EVENTLOG_PAYLOAD_END, parts.special, sizeof(parts.special));
	memcpy(p, input, before);
	memset(p + before, (char) parts.run_byte, run);
	memcpy(p + before + run, input + before, after);
	CHECK(p + before + run + after <= end);
	return sizeof(parts) + parts.stored;
}

/* Kind, version and owner, and where the parts of a page are. */
static void
fix_page(char *page)
{
	PageHeader	header = (PageHeader) page;
	EventlogPageSpecial *special = (EventlogPageSpecial *) (page + EVENTLOG_PAYLOAD_END);

	header->pd_upper = EVENTLOG_PAYLOAD_END;
	header->pd_special = EVENTLOG_PAYLOAD_END;
	PageSetPageSizeAndVersion(page, BLCKSZ, PG_PAGE_LAYOUT_VERSION);
	special->page_id = EVENTLOG_PAGE_DATA;
	special->version = EVENTLOG_FORMAT_VERSION;
	special->generation = FUZZ_WALK_GENERATION;
	special->incarnation = FUZZ_WALK_INCARNATION;
}

/*
 * Give the batch at which the walk has stopped the checksum that its bytes
 * have.  False if that does not help.
 */
static bool
fix_crc(Pages *p, const EventlogWalk *w)
{
	char	   *crc = p->pages + (size_t) (w->problem_block - FUZZ_WALK_FIRST_BLOCK) * BLCKSZ +
		w->problem_byte + sizeof(EventlogEntry) + 17;
	uint32		now;
	uint32		be;

	if (strcmp(w->problem, "batch has an invalid checksum") != 0)
		return false;
	now = fuzz_batch_crc(w->batch, w->entry.length);
	CHECK(now != w->header.crc);
	be = pg_hton32(now);
	memcpy(crc, &be, sizeof(be));
	return true;
}

int
fuzz_check_walk(const char *input, size_t len, int *problems)
{
	Pages		pages = {0};
	FuzzWalkHead head;
	EventlogSegment segment = {0};
	EventlogWalk w = {0};
	EventlogPos last = {0};
	int			found = 0;

	*problems = 0;
	if (len < sizeof(head))
		return 0;
	memcpy(&head, input, sizeof(head));
	input += sizeof(head);
	len -= sizeof(head);

	pages.pages = pg_malloc(FUZZ_WALK_MAX_PAGES * BLCKSZ);
	while (pages.n < FUZZ_WALK_MAX_PAGES)
	{
		char	   *page = pages.pages + (size_t) pages.n * BLCKSZ;
		size_t		took;

		if (len < ((head.flags & FUZZ_WALK_PACKED) ? sizeof(FuzzWalkPage) : BLCKSZ))
			break;
		if (head.flags & FUZZ_WALK_PACKED)
			took = unpack_page(page, input, len);
		else
		{
			memcpy(page, input, BLCKSZ);
			took = BLCKSZ;
		}
		if (head.flags & FUZZ_WALK_FIX_PAGES)
			fix_page(page);
		input += took;
		len -= took;
		pages.n++;
	}

	segment.base_offset = FUZZ_WALK_BASE_OFFSET;
	segment.max_timestamp = PG_INT64_MAX;
	segment.first_block = FUZZ_WALK_FIRST_BLOCK;
	segment.end_block = FUZZ_WALK_FIRST_BLOCK + Max(pages.n, 1) - 1;
	if (head.flags & FUZZ_WALK_MORE)
		segment.end_block += 5;
	segment.end_byte = head.end_byte;
	segment.generation = FUZZ_WALK_GENERATION;
	segment.state = EVENTLOG_SEGMENT_CLOSED;

	eventlog_walk_begin(&w, &segment, 7, FUZZ_WALK_INCARNATION, PG_INT64_MAX, get_page, &pages);
	for (;;)
	{
		EventlogPos before = w.pos;

		if (eventlog_walk_next(&w))
		{
			CHECK(w.problem == NULL);
			CHECK(w.entry_pos.segment == 7 && w.pos.segment == 7);
			CHECK(w.entry_pos.block >= segment.first_block);
			CHECK(w.pos.block < segment.end_block ||
				  (w.pos.block == segment.end_block && w.pos.byte <= segment.end_byte));
			CHECK(w.entry_pos.block > last.block ||
				  (w.entry_pos.block == last.block && w.entry_pos.byte >= last.byte));
			CHECK(w.entry_pos.offset >= FUZZ_WALK_BASE_OFFSET);
			CHECK(w.entry_pos.offset >= before.offset && w.pos.offset > w.entry_pos.offset);
			CHECK(w.reader.header.base_offset == w.header.base_offset);
			(void) fuzz_read_records(&w.reader);
			last = w.pos;
			found++;
			continue;
		}

		/* nothing is handed out, and nothing has moved */
		CHECK(same_pos(&w.pos, &before));
		if (w.problem == NULL)
			break;
		if ((head.flags & FUZZ_WALK_FIX_CRC) && fix_crc(&pages, &w))
		{
			/* the walk still has the page as it was */
			w.page = NULL;
			continue;
		}
		(*problems)++;
		if (!eventlog_walk_resync(&w))
		{
			CHECK(!eventlog_walk_next(&w) && w.problem == NULL);
			break;
		}
		CHECK(w.pos.block > before.block && w.pos.block <= segment.end_block);
	}

	eventlog_walk_end(&w);
	free(pages.lent);
	free(pages.pages);
	return found;
}
