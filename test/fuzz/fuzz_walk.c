/*-------------------------------------------------------------------------
 *
 * fuzz_walk.c
 *	  Fuzz target: a segment whose pages are any bytes.  See fuzz.h for the
 *	  input's form.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "fuzz.h"

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	int			problems;

	fuzz_check_walk((const char *) data, size, &problems);
	return 0;
}
