/*-------------------------------------------------------------------------
 *
 * batch_test.c
 *	  Tests src/batch*.c and src/partitioner.c without a server.
 *
 *	batch_test [SEED [COUNT]]		hand-made, random and mutated batches;
 *									prints TAP
 *	batch_test --decode FILE		print a segment's records, one a line
 *	batch_test --murmur2 FILE		check murmur2.tsv against our partitioner
 *	batch_test --write FILE CODEC	write the fixed segment that Kafka's
 *									DumpLogSegments was shown
 *
 * test/t/001_batch.pl builds and runs it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include "batch_test.h"

const EventlogCodec codecs[NUM_CODECS] = {
	EVENTLOG_CODEC_NONE, EVENTLOG_CODEC_LZ4, EVENTLOG_CODEC_ZSTD
};

static int	tests_done = 0;

void
ok(bool cond, const char *what)
{
	printf("%sok %d - %s\n", cond ? "" : "not ", ++tests_done, what);
	fflush(stdout);
}

size_t
from_hex(const char *hex, char *out)
{
	size_t		n = 0;
	unsigned	byte;
	int			used;

	while (sscanf(hex, "%2x%n", &byte, &used) == 1)
	{
		out[n++] = (char) byte;
		hex += used;
	}
	return n;
}

static EventlogCodec
codec_by_name(const char *name)
{
	if (strcmp(name, "none") == 0)
		return EVENTLOG_CODEC_NONE;
	if (strcmp(name, "lz4") == 0)
		return EVENTLOG_CODEC_LZ4;
	if (strcmp(name, "zstd") == 0)
		return EVENTLOG_CODEC_ZSTD;
	fprintf(stderr, "unknown codec \"%s\"\n", name);
	exit(2);
}

/*
 * Segments: batches back to back, as Kafka keeps them in a file.
 */

static char *
read_file(const char *path, size_t *len)
{
	FILE	   *f = fopen(path, "rb");
	EventlogBuf buf = {0};
	size_t		n;

	if (f == NULL)
	{
		fprintf(stderr, "could not open \"%s\": %m\n", path);
		exit(2);
	}
	do
	{
		eventlog_buf_reserve(&buf, 65536);
		n = fread(buf.data + buf.len, 1, 65536, f);
		buf.len += n;
	} while (n > 0);
	fclose(f);
	*len = buf.len;
	return buf.data;
}

static void
print_hex(const char *p, int32 len)
{
	int32		i;

	if (len < 0)
		printf("null");
	else
	{
		printf("x");
		for (i = 0; i < len; i++)
			printf("%02x", (unsigned char) p[i]);
	}
}

/* In the format of the .expected files; see test/data/kafka/README.md. */
static void
print_record(const EventlogRecord *rec)
{
	const char *p = rec->headers;
	const char *name;
	const char *value;
	int32		name_len;
	int32		value_len;
	const char *comma = "";

	printf(INT64_FORMAT "\t" INT64_FORMAT "\t", rec->offset, rec->timestamp);
	print_hex(rec->key, rec->key_len);
	printf("\t");
	print_hex(rec->value, rec->value_len);
	printf("\t[");
	while (eventlog_batch_next_header(&p, rec->headers + rec->headers_len,
									  &name, &name_len, &value, &value_len))
	{
		printf("%s", comma);
		print_hex(name, name_len);
		printf("=");
		print_hex(value, value_len);
		comma = ",";
	}
	printf("]\n");
}

/*
 * Prints each record, and a comment line for each batch: its codec and other
 * attributes, which the records do not show.
 */
static int
decode_segment(const char *path)
{
	size_t		len;
	char	   *data = read_file(path, &len);
	EventlogBuf scratch = {0};
	size_t		at = 0;
	const char *error = NULL;

	while (at < len && error == NULL)
	{
		EventlogBatchReader r;
		EventlogRecord rec;
		size_t		size;
		char	   *batch;

		if (len - at < EVENTLOG_BATCH_HEADER_SIZE)
		{
			error = "segment ends inside a batch header";
			break;
		}
		error = eventlog_batch_parse_header(data + at, &r.header);
		if (error != NULL)
			break;
		size = 12 + (size_t) r.header.batch_length;
		if (size > len - at)
		{
			error = "segment ends inside a batch";
			break;
		}
		printf("# batch offset " INT64_FORMAT " count %d attributes 0x%02x\n",
			   r.header.base_offset, r.header.count, r.header.attributes);

		batch = pg_malloc(size);
		memcpy(batch, data + at, size);
		if (r.header.attributes & EVENTLOG_BATCH_CONTROL)
		{
			/* must be refused, and is no data */
			CHECK(strcmp(eventlog_batch_open(&r, batch, size, &scratch),
						 "batch is a control batch") == 0);
		}
		else
		{
			error = eventlog_batch_open(&r, batch, size, &scratch);
			while (error == NULL && eventlog_batch_next(&r, &rec))
				print_record(&rec);
			if (error == NULL)
				error = r.error;
		}
		free(batch);
		at += size;
	}
	if (error != NULL)
		fprintf(stderr, "%s: at byte %zu: %s\n", path, at, error);
	eventlog_buf_free(&scratch);
	free(data);
	return error == NULL ? 0 : 1;
}

/*
 * The fixed segment.  Its records must never change: stored with it is what
 * Kafka's own reader said about it.
 */
static int
write_segment(const char *path, const char *codec)
{
	EventlogBatchBuilder b = {{0}};
	EventlogBuf scratch = {0};
	EventlogBuf headers = {0};
	FILE	   *f = fopen(path, "wb");
	int64		base = 0;
	int			batch;
	int			i;

	if (f == NULL)
	{
		fprintf(stderr, "could not open \"%s\": %m\n", path);
		return 2;
	}

	for (batch = 0; batch < 4; batch++)
	{
		int32		delta = 0;
		char	   *data;
		size_t		len;
		bool		log_append_time = batch == 3;

		eventlog_batch_begin(&b);
		for (i = 0; i < 20; i++)
		{
			EventlogRecord rec = {0};
			char		key[32];
			char		value[400];

			rec.timestamp = INT64CONST(1700000000000) + batch * 60000 + i * i * 37 - 50;

			/* batch 2 has gaps, as after compaction */
			delta += batch == 2 && i % 3 == 2 ? 5 : 0;

			snprintf(key, sizeof(key), "key-%d-%d", batch, i);
			rec.key = key;
			rec.key_len = (int32) strlen(key);
			if (i % 4 == 0)
			{
				rec.key = NULL;
				rec.key_len = -1;
			}
			else if (i == 5)
				rec.key_len = 0;

			snprintf(value, sizeof(value),
					 "{\"batch\": %d, \"record\": %d, \"text\": \"%0*d\"}", batch, i,
					 i * 13 + 1, i);
			rec.value = value;
			rec.value_len = (int32) strlen(value);
			if (i % 7 == 3)
			{
				rec.value = NULL;
				rec.value_len = -1;
			}
			else if (i == 6)
				rec.value_len = 0;

			headers.len = 0;
			if (i % 5 == 1)
			{
				eventlog_batch_add_header(&headers, "trace", 5, "a1b2", 4);
				eventlog_batch_add_header(&headers, "trace", 5, "c3d4", 4);
				eventlog_batch_add_header(&headers, "none", 4, NULL, -1);
				eventlog_batch_add_header(&headers, "empty", 5, "", 0);
				eventlog_batch_add_header(&headers, "gr\303\274n", 5, "\000\377", 2);
				rec.headers_count = 5;
			}
			rec.headers = headers.data;
			rec.headers_len = (int32) headers.len;
			eventlog_batch_add(&b, &rec, delta++);
		}
		CHECK(eventlog_batch_finish(&b, codec_by_name(codec), log_append_time,
									INT64CONST(1700000999999), &scratch,
									&data, &len) == NULL);
		eventlog_batch_set_base(data, base, batch);
		base += delta;
		if (fwrite(data, 1, len, f) != len)
		{
			fprintf(stderr, "could not write \"%s\": %m\n", path);
			return 2;
		}
	}
	if (fclose(f) != 0)
	{
		fprintf(stderr, "could not write \"%s\": %m\n", path);
		return 2;
	}
	eventlog_buf_free(&b.buf);
	eventlog_buf_free(&scratch);
	eventlog_buf_free(&headers);
	return 0;
}

/* Lines of "hex-of-key, murmur2, partition of 12", by tabs. */
static int
check_murmur2(const char *path)
{
	FILE	   *f = fopen(path, "r");
	char		line[1024];
	int			checked = 0;
	int			wrong = 0;

	if (f == NULL)
	{
		fprintf(stderr, "could not open \"%s\": %m\n", path);
		return 2;
	}
	while (fgets(line, sizeof(line), f) != NULL)
	{
		char		raw[512];
		char	   *key;
		char	   *tab = strchr(line, '\t');
		size_t		len;
		int			hash;
		int			partition;

		if (line[0] == '#')
			continue;
		CHECK(tab != NULL && line[0] == 'x');
		*tab = '\0';
		CHECK(sscanf(tab + 1, "%d\t%d", &hash, &partition) == 2);
		len = from_hex(line + 1, raw);
		key = pg_malloc(Max(len, 1));
		memcpy(key, raw, len);
		checked++;
		if (eventlog_murmur2(key, (int32) len) != hash ||
			eventlog_partition_for_key(key, (int32) len, 12) != partition)
		{
			fprintf(stderr, "%s: murmur2 is %d, expected %d\n", line,
					eventlog_murmur2(key, (int32) len), hash);
			wrong++;
		}
		free(key);
	}
	fclose(f);
	printf("checked %d wrong %d\n", checked, wrong);
	return wrong == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	uint64		seed;
	int			count;

	if (argc == 3 && strcmp(argv[1], "--decode") == 0)
		return decode_segment(argv[2]);
	if (argc == 3 && strcmp(argv[1], "--murmur2") == 0)
		return check_murmur2(argv[2]);
	if (argc == 4 && strcmp(argv[1], "--write") == 0)
		return write_segment(argv[2], argv[3]);
	if (argc > 3 || (argc > 1 && argv[1][0] == '-'))
	{
		fprintf(stderr, "usage: batch_test [SEED [COUNT]] | --decode FILE | --murmur2 FILE | --write FILE CODEC\n");
		return 2;
	}

	seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	count = argc > 2 ? atoi(argv[2]) : 1000;
	printf("# seed " UINT64_FORMAT ", count %d\n", seed, count);
	test_bad_batches();
	test_random_batches(seed, count);
	printf("1..%d\n", tests_done);
	return 0;
}
