/*-------------------------------------------------------------------------
 *
 * batch_test.h
 *	  The parts of batch_test.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_BATCH_TEST_H
#define EVENTLOG_BATCH_TEST_H

#include "fuzz.h"

/* --- batch_test.c --- */

#define NUM_CODECS	3
extern const EventlogCodec codecs[NUM_CODECS];

/* One line of TAP. */
extern void ok(bool cond, const char *what);

/* Space-separated hexadecimal to bytes; returns how many. */
extern size_t from_hex(const char *hex, char *out);

/* --- batch_bad.c: each check by itself --- */

extern void test_bad_batches(void);

/* --- batch_random.c: batches from random numbers --- */

extern void test_random_batches(uint64 seed, int count);

#endif							/* EVENTLOG_BATCH_TEST_H */
