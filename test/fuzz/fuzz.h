/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *	  What the fuzzers, their replay and the tests without a server share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_FUZZ_H
#define EVENTLOG_FUZZ_H

/* includer has included postgres_fe.h */

#include "batch.h"

/* not an assertion: it must hold in every build, and name its line */
#define CHECK(cond) \
	do { \
		if (!(cond)) \
			fuzz_die(__FILE__, __LINE__, #cond); \
	} while (0)

extern void fuzz_die(const char *file, int line, const char *what) __attribute__((noreturn));

/* set by whoever draws random numbers, to be told when something fails */
extern uint64 fuzz_seed;

/* --- check_batch.c --- */

/* CRC of a batch, by the server's code rather than ours. */
extern uint32 fuzz_batch_crc(const char *batch, size_t len);

/* Make length, magic and checksum right, so that the bytes behind are met. */
extern void fuzz_fix_envelope(char *batch, size_t len);

/*
 * Open and walk a batch whose bytes may be anything.  What was read without an
 * error must survive being written again, in every codec.  Returns the number
 * of records, or -1 if an error was reported.
 */
extern int	fuzz_check_batch(const char *bytes, size_t len);

/* Read all records of an open reader; returns a sum over their bytes. */
extern uint64 fuzz_read_records(EventlogBatchReader *r);

/* --- check_walk.c --- */

/*
 * The input of the page walker's fuzzer: a FuzzWalkHead, then pages, the first
 * of which is block FUZZ_WALK_FIRST_BLOCK.  Numbers are in the machine's order.
 */
typedef struct FuzzWalkHead
{
	uint8		flags;			/* FUZZ_WALK_xxx */
	uint8		pad;
	uint16		end_byte;		/* of the segment, on its last page */
} FuzzWalkHead;

#define FUZZ_WALK_PACKED	0x01	/* pages are FuzzWalkPages, else whole ones */
#define FUZZ_WALK_FIX_PAGES	0x02	/* make kind, version and owner right */
#define FUZZ_WALK_FIX_CRC	0x04	/* make checksums of batches right */
#define FUZZ_WALK_MORE		0x08	/* the segment goes on behind the input */

#define FUZZ_WALK_FIRST_BLOCK	1
#define FUZZ_WALK_GENERATION	1
#define FUZZ_WALK_INCARNATION	0x600D600D
#define FUZZ_WALK_BASE_OFFSET	1000

/*
 * A page without the bytes that say nothing: header, special area, and the
 * payload, of which one run of equal bytes is left out and the end is zero.
 */
typedef struct FuzzWalkPage
{
	char		header[24];
	char		special[32];
	uint16		stored;			/* bytes of payload that follow */
	uint16		run_at;			/* the run is before this one of them */
	uint16		run_length;
	uint16		run_byte;
} FuzzWalkPage;

#define FUZZ_WALK_MAX_PAGES		64

/*
 * Walk a segment whose bytes may be anything.  Returns the number of entries
 * that were found, and in *problems how often damage was met.
 */
extern int	fuzz_check_walk(const char *input, size_t len, int *problems);

#endif							/* EVENTLOG_FUZZ_H */
