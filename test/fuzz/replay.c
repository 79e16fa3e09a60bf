/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  Give files to a fuzz target, without libFuzzer: what was found once is
 *	  tried again with every compiler.
 *
 *	fuzz_xxx_replay FILE ...
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		FILE	   *f = fopen(argv[i], "rb");
		uint8	   *data;
		long		size;

		/* named before it is tried: after a crash it is the last line */
		printf("%s\n", argv[i]);
		fflush(stdout);
		if (f == NULL || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0)
		{
			fprintf(stderr, "could not open \"%s\": %m\n", argv[i]);
			return 2;
		}
		rewind(f);
		data = malloc(Max(size, 1));
		if (fread(data, 1, size, f) != (size_t) size)
		{
			fprintf(stderr, "could not read \"%s\": %m\n", argv[i]);
			return 2;
		}
		fclose(f);
		LLVMFuzzerTestOneInput(data, size);
		free(data);
	}
	return 0;
}
