/*-------------------------------------------------------------------------
 *
 * storage_extend.c
 *	  Add many blocks to a relation's file at once, for servers before 16.
 *
 * The storage manager of 15 adds a block by writing a page of zeroes: at the
 * rate of a bulk append that is half of all the work.  Here the file system is
 * asked to allocate the blocks (posix_fallocate), which it really does, so a
 * full disk is noticed now and not at a checkpoint.  The first block of a
 * segment file and the last block of the run go through the storage manager,
 * so that it makes the files, and has them synced at the next checkpoint.
 *
 * The caller holds the relation extension lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/relpath.h"
#include "storage/fd.h"

#include "compat.h"

#ifdef EVENTLOG_OWN_EXTEND

/* Fewer blocks than this are written. */
#define MIN_ALLOCATE	8

static void
write_zeroes(SMgrRelation smgr, BlockNumber from, BlockNumber to)
{
	PGAlignedBlock zero;

	memset(zero.data, 0, BLCKSZ);
	for (BlockNumber block = from; block < to; block++)
		smgrextend(smgr, MAIN_FORKNUM, block, zero.data, block != to - 1);
}

/*
 * Have the file system allocate [from, to) of an existing segment file.
 * False if it cannot do that kind of thing.
 */
static bool
allocate(SMgrRelation smgr, BlockNumber from, BlockNumber to)
{
	char	   *path = relpath(smgr->smgr_rnode, MAIN_FORKNUM);
	BlockNumber segment = from / RELSEG_SIZE;
	int			fd;
	int			rc;

	if (segment > 0)
	{
		char	   *base = path;

		path = psprintf("%s.%u", base, segment);
		pfree(base);
	}
	fd = OpenTransientFile(path, O_RDWR | PG_BINARY);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	do
	{
		rc = posix_fallocate(fd, (off_t) (from % RELSEG_SIZE) * BLCKSZ,
							 (off_t) (to - from) * BLCKSZ);
	} while (rc == EINTR);
	CloseTransientFile(fd);
	if (rc == EINVAL || rc == EOPNOTSUPP)
		return false;
	if (rc != 0)
	{
		errno = rc;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not extend file \"%s\": %m", path),
				 errhint("Check free disk space.")));
	}
	pfree(path);
	return true;
}

void
eventlog_extend_fork(SMgrRelation smgr, BlockNumber from, BlockNumber nblocks)
{
	BlockNumber end = from + nblocks;

	while (from < end)
	{
		BlockNumber stop = Min(end, (from / RELSEG_SIZE + 1) * RELSEG_SIZE);

		if (stop - from < MIN_ALLOCATE)
			write_zeroes(smgr, from, stop);
		else
		{
			if (from % RELSEG_SIZE == 0)
				write_zeroes(smgr, from, from + 1);
			if (!allocate(smgr, from, stop - 1))
				write_zeroes(smgr, from, stop - 1);
			write_zeroes(smgr, stop - 1, stop);
		}
		from = stop;
	}
}

#endif							/* EVENTLOG_OWN_EXTEND */
