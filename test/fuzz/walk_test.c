/*-------------------------------------------------------------------------
 *
 * walk_test.c
 *	  Tests src/log_walk.c without a server.
 *
 *	walk_test			prints TAP
 *
 * A segment with entries of all shapes is walked as it is, then with one thing
 * damaged after the other: each damage must be called by its name, and each
 * entry that does not touch the damaged page must be found all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "port/pg_bswap.h"

#include "log_walk.h"
#include "segment.h"

#define NOW		INT64CONST(1700000000000)
#define MAX_ENTRIES	200

/* What a walk has found. */
typedef struct Found
{
	int			n;
	EventlogPos start[MAX_ENTRIES];
	BlockNumber last_block[MAX_ENTRIES];	/* on which the entry ends */
	uint64		sum[MAX_ENTRIES];
	int			problems;
	const char *problem;		/* the first one */
	BlockNumber block;
	uint16		byte;
} Found;

static int	tests_done = 0;
static TestSegment seg;
static Found sound;
static char *lent;
static BlockNumber unreadable = InvalidBlockNumber;

static void
ok(bool cond, const char *what)
{
	printf("%sok %d - %s\n", cond ? "" : "not ", ++tests_done, what);
	fflush(stdout);
}

/* A copy in memory of exactly its size; the one before is gone. */
static const char *
get_page(void *arg, BlockNumber block)
{
	const TestSegment *s = arg;

	free(lent);
	lent = NULL;
	if (block == unreadable || block < s->segment.first_block ||
		block - s->segment.first_block >= s->npages)
		return NULL;
	lent = pg_malloc(BLCKSZ);
	memcpy(lent, segment_page(s, block), BLCKSZ);
	return lent;
}

static void
walk(TestSegment *s, Found *f)
{
	static EventlogWalk w;

	memset(f, 0, sizeof(*f));
	eventlog_walk_begin(&w, &s->segment, 3, s->incarnation, s->next_offset, get_page, s);
	for (;;)
	{
		while (eventlog_walk_next(&w))
		{
			CHECK(f->n < MAX_ENTRIES);
			f->start[f->n] = w.entry_pos;
			f->last_block[f->n] = w.pos.block;
			f->sum[f->n] = fuzz_read_records(&w.reader);
			CHECK(w.reader.error == NULL);
			f->n++;
		}
		if (w.problem == NULL)
			break;
		if (f->problems++ == 0)
		{
			f->problem = w.problem;
			f->block = w.problem_block;
			f->byte = w.problem_byte;
		}
		if (!eventlog_walk_resync(&w))
			break;
	}
	eventlog_walk_end(&w);
}

static bool
has_entry(const Found *f, int64 offset, uint64 sum)
{
	for (int i = 0; i < f->n; i++)
		if (f->start[i].offset == offset && f->sum[i] == sum)
			return true;
	return false;
}

/* Are all entries there that do not touch this block? */
static bool
others_are_found(const Found *f, BlockNumber damaged)
{
	for (int i = 0; i < sound.n; i++)
		if ((damaged < sound.start[i].block || damaged > sound.last_block[i]) &&
			!has_entry(f, sound.start[i].offset, sound.sum[i]))
			return false;
	return true;
}

/* Entries of all shapes: see the places that segment_fill() makes. */
static void
make_segment(TestSegment *s)
{
	segment_begin(s);
	for (int i = 0; i < 20; i++)
		segment_append_records(s, 1 + i % 4, 10 + i * 17, EVENTLOG_CODEC_NONE, NOW + i * 10, 0, true);
	segment_append_records(s, 30, 100, EVENTLOG_CODEC_LZ4, NOW + 300, 0, true);
	segment_append_records(s, 30, 100, EVENTLOG_CODEC_ZSTD, NOW + 350, 5, true);

	/* ends with its page */
	segment_fill(s, segment_room(s), NOW + 400);
	/* leaves less than a head takes, and just as much */
	segment_fill(s, segment_room(s) + EVENTLOG_PAYLOAD_SIZE - (EVENTLOG_ENTRY_HEAD - 1), NOW + 100);
	segment_fill(s, EVENTLOG_PAYLOAD_SIZE - EVENTLOG_ENTRY_HEAD, NOW + 410);
	/* starts with just its head on the page; covers pages wholly */
	segment_append_records(s, 3, 9000, EVENTLOG_CODEC_NONE, NOW + 420, 7, true);
	/* covers pages wholly and ends with one */
	segment_fill(s, segment_room(s) + 2 * EVENTLOG_PAYLOAD_SIZE, NOW + 500);
	for (int i = 0; i < 30; i++)
		segment_append_records(s, 2, 300, EVENTLOG_CODEC_NONE, NOW + 600 - i, i % 3, true);
}

static void
test_sound(void)
{
	Found		f;
	TestSegment s;

	walk(&seg, &sound);
	ok(sound.problems == 0 && sound.n == 20 + 2 + 3 + 1 + 1 + 30, "a sound segment has all its entries");

	/* what an append left that did not finish, on the tail page and behind */
	make_segment(&s);
	segment_append_records(&s, 2, 5000, EVENTLOG_CODEC_NONE, NOW + 9000, 0, false);
	walk(&s, &f);
	ok(f.problems == 0 && f.n == sound.n, "what lies behind the end is not looked at");
	segment_free(&s);

	segment_begin(&s);
	walk(&s, &f);
	ok(f.problems == 0 && f.n == 0, "an empty segment is sound");
	segment_append_records(&s, 2, 5000, EVENTLOG_CODEC_NONE, NOW, 0, false);
	walk(&s, &f);
	ok(f.problems == 0 && f.n == 0, "also with an unfinished append");
	segment_free(&s);

	/* every length that an entry can have at a page's end */
	for (int left = 0; left < 100; left++)
	{
		segment_begin(&s);
		segment_fill(&s, EVENTLOG_PAYLOAD_SIZE - left, NOW);
		segment_append_records(&s, 1, 1, EVENTLOG_CODEC_NONE, NOW, 0, true);
		segment_append_records(&s, 1, 9000, EVENTLOG_CODEC_NONE, NOW, 0, true);
		segment_append_records(&s, 1, 1, EVENTLOG_CODEC_NONE, NOW, 0, true);
		walk(&s, &f);
		CHECK(f.problems == 0 && f.n == 4);
		segment_free(&s);
	}
	ok(true, "entries of all lengths at the end of a page are found");
}

/*
 * Named damage.  "entry" is one of the sound walk, and "at" a byte counted
 * from its start; entry -1: of the second page, which begins inside an entry;
 * -2: of a page that begins with one.
 */
#define AT_PAGE_START	23
typedef struct Damage
{
	const char *what;
	int			entry;
	int			at;
	int			size;			/* of the field, in the machine's order if > 0 */
	int64		value;
	const char *problem;
} Damage;

#define SPECIAL(field)	(EVENTLOG_PAYLOAD_END + offsetof(EventlogPageSpecial, field))
#define HEADER(field)	offsetof(PageHeaderData, field)
#define BATCH(at)		((int) sizeof(EventlogEntry) + (at))

static const Damage damages[] = {
	{"page id", -1, SPECIAL(page_id), 2, EVENTLOG_PAGE_MAP, "page is of another kind"},
	{"page version", -1, SPECIAL(version), 2, 99, "format version is unknown"},
	{"generation", -1, SPECIAL(generation), 4, 2, "page belongs to another segment"},
	{"incarnation", -1, SPECIAL(incarnation), 4, 5, "page belongs to another file"},
	{"first start in the page header", -1, SPECIAL(first_start), 2, 8, "page says that an entry starts where none can"},
	{"first start in the special area", -1, SPECIAL(first_start), 2, 8170, "page says that an entry starts where none can"},
	{"first start past the page", -1, SPECIAL(first_start), 2, 60000, "page says that an entry starts where none can"},
	{"first start inside an entry", -1, SPECIAL(first_start), 2, 200, "page says that an entry starts inside another"},
	{"no first start", -1, SPECIAL(first_start), 2, 0, "page does not say that an entry starts here"},
	{"low first offset", -1, SPECIAL(first_offset), 8, 1, "first offset of a page is too low"},
	{"high first offset", -1, SPECIAL(first_offset), 8, 1000000, "page and batch disagree about their first offset"},
	{"wrong first start", -2, SPECIAL(first_start), 2, 200, "page does not say that an entry starts here"},
	{"wrong first offset", -2, SPECIAL(first_offset), 8, 1, "page and batch disagree about their first offset"},
	{"low greatest timestamp", -2, SPECIAL(max_timestamp), 8, 1, "greatest timestamp of a page is too low"},
	{"pd_lower in an entry's head", -2, HEADER(pd_lower), 2, 100, "page ends inside the head of an entry"},
	{"greatest timestamp", -1, SPECIAL(max_timestamp), 8, 1, "greatest timestamp of a page is too low"},
	{"page size", -1, HEADER(pd_pagesize_version), 2, 0x4004, "special area has a wrong size"},
	{"special area before the page's end", -1, HEADER(pd_special), 2, 8000, "special area has a wrong size"},
	{"special area past the page", -1, HEADER(pd_special), 2, 0xFFFF, "special area has a wrong size"},
	{"pd_lower in the header", -1, HEADER(pd_lower), 2, 23, "payload ends before it starts"},
	{"pd_lower in the special area", -1, HEADER(pd_lower), 2, 8161, "payload runs into the special area"},
	{"pd_lower in an entry that goes on", -1, HEADER(pd_lower), 2, 100, "page ends inside a batch"},
	{"pd_lower in a batch", -1, HEADER(pd_lower), 2, 8000, "page ends inside a batch"},
	{"pd_upper 0", -1, HEADER(pd_upper), 2, 0, "page is empty"},
	{"length of an entry", 5, 0, 4, 100, "entry and batch disagree about their length"},
	{"flags of an entry", 5, 12, 4, 0x80, "entry has unknown flags"},
	{"low offset", 5, BATCH(0), -8, 3, "offsets do not rise"},
	{"high offset", 5, BATCH(0), -8, 1000000, "offset is beyond the end of its segment"},
	{"greatest offset", 5, BATCH(0), -8, PG_INT64_MAX, "batch has invalid offsets"},
	{"length of a batch", 5, BATCH(8), -4, 90, "entry and batch disagree about their length"},
	{"magic", 5, BATCH(16), 1, 1, "batch is not of format version 2"},
	{"checksum", 5, BATCH(17), -4, 1, "batch has an invalid checksum"},
	{"record", 5, BATCH(70), 1, 99, "batch has an invalid checksum"},
	{"timestamp", 5, BATCH(35), -8, PG_INT64_MAX, "timestamp is greater than the greatest of its segment"},
};

static void
put(char *p, int size, int64 value)
{
	uint32		be32 = pg_hton32((uint32) value);
	uint64		be64 = pg_hton64((uint64) value);

	switch (size)
	{
		case -8:
			memcpy(p, &be64, 8);
			break;
		case -4:
			memcpy(p, &be32, 4);
			break;
		default:				/* of the bytes of a little-endian number the first */
			for (int i = 0; i < size; i++)
				p[i] = (char) ((uint64) value >> (8 * i));
			break;
	}
}

static void
test_named_damage(void)
{
	CHECK(sound.start[AT_PAGE_START].byte == EVENTLOG_PAYLOAD_START);
	for (int i = 0; i < lengthof(damages); i++)
	{
		const Damage *d = &damages[i];
		BlockNumber block = d->entry == -1 ? seg.segment.first_block + 1 :
			sound.start[d->entry == -2 ? AT_PAGE_START : d->entry].block;
		char	   *page = segment_page(&seg, block);
		int			at = d->entry < 0 ? d->at : sound.start[d->entry].byte + d->at;
		char		saved[BLCKSZ];
		Found		f;
		bool		good;
		char		text[200];

		memcpy(saved, page, BLCKSZ);
		put(page + at, d->size, d->value);
		walk(&seg, &f);
		good = f.problem != NULL && strcmp(f.problem, d->problem) == 0 && f.block == block;
		if (!good)
			printf("# \"%s\" at block %u, byte %u\n", f.problem ? f.problem : "none", f.block, f.byte);
		snprintf(text, sizeof(text), "%s: %s", d->what, d->problem);
		ok(good && others_are_found(&f, block), text);
		memcpy(page, saved, BLCKSZ);
	}
}

static void
test_missing_pages(void)
{
	bool		good = true;
	Found		f;
	int			npages = seg.npages;

	for (BlockNumber block = seg.segment.first_block; block <= seg.segment.end_block; block++)
	{
		unreadable = block;
		walk(&seg, &f);
		good = good && f.problems > 0 && f.block == block && others_are_found(&f, block) &&
			strcmp(f.problem, "page cannot be read") == 0;
	}
	unreadable = InvalidBlockNumber;
	ok(good, "behind each page that cannot be read the walk goes on");

	for (seg.npages = 0; seg.npages < npages; seg.npages++)
	{
		walk(&seg, &f);
		good = good && f.problems > 0 && strcmp(f.problem, "page cannot be read") == 0;
	}
	ok(good, "a file that was cut off is noticed");
}

/* The segment's own numbers may be wrong as well. */
static void
test_bad_segment(void)
{
	EventlogSegment saved = seg.segment;
	int64		saved_next = seg.next_offset;
	Found		f;
	bool		good = true;

	for (uint32 byte = 0; byte <= PG_UINT16_MAX; byte += 11)
	{
		seg.segment.end_byte = byte;
		walk(&seg, &f);
		good = good && (f.problems > 0 || byte == saved.end_byte || byte == sound.start[sound.n - 1].byte);
	}
	seg.segment = saved;
	for (BlockNumber block = 0; block < saved.end_block + 10; block++)
	{
		seg.segment.end_block = block;
		walk(&seg, &f);
		good = good && (f.problems > 0 || block == saved.end_block);
	}
	seg.segment.end_block = InvalidBlockNumber;
	seg.segment.first_block = InvalidBlockNumber;
	seg.segment.end_byte = 0;
	walk(&seg, &f);
	good = good && f.problems == 1 && f.n == 0;
	seg.segment = saved;
	ok(good, "a wrong end of the segment is noticed");

	seg.next_offset--;
	walk(&seg, &f);
	ok(f.problems == 1 && strcmp(f.problem, "offset is beyond the end of its segment") == 0,
	   "a segment that runs into the next one is noticed");
	seg.next_offset = saved_next;

	seg.segment.base_offset = seg.next_offset + 1;
	walk(&seg, &f);
	ok(f.problems > 0 && strcmp(f.problem, "offsets do not rise") == 0,
	   "a segment whose first offset is too high is noticed");
	seg.segment = saved;
}

/*
 * One bit at a time, everywhere.  Not every bit is checked (the writer's xid
 * cannot be), but nothing that is wrong may be given out as records, and
 * nothing beyond the page be lost.
 */
static void
test_bits(void)
{
	size_t		size = (size_t) seg.npages * BLCKSZ;
	int			noticed = 0;
	bool		good = true;

	for (size_t at = 0; at < size; at += 11)
	{
		BlockNumber block = seg.segment.first_block + at / BLCKSZ;
		char		bit = (char) (1 << (at % 8));
		Found		f;

		seg.pages[at] ^= bit;
		walk(&seg, &f);
		seg.pages[at] ^= bit;
		noticed += (f.problems > 0);
		if (!others_are_found(&f, block))
		{
			printf("# bit %d of byte %zu of block %u\n", (int) (at % 8), at % BLCKSZ, block);
			good = false;
		}
	}
	printf("# %d of %zu wrong bits were noticed\n", noticed, size / 11 + 1);
	ok(good, "one wrong bit loses nothing beyond its page");
}

int
main(void)
{
	make_segment(&seg);
	test_sound();
	test_named_damage();
	test_missing_pages();
	test_bad_segment();
	test_bits();
	free(lent);
	segment_free(&seg);
	printf("1..%d\n", tests_done);
	return 0;
}
