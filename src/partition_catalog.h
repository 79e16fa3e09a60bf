/*-------------------------------------------------------------------------
 *
 * partition_catalog.h
 *	  What dumps need to know of partitions beside their records.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_PARTITION_CATALOG_H
#define EVENTLOG_PARTITION_CATALOG_H

#include "utils/rel.h"

/*
 * Note a leaf's log start and next offset, unless its row has this log start
 * already.  Does nothing where the table is missing (SQL of 0.1).  True if the
 * row was written: then the caller keeps his lock on the leaf to the end of
 * the transaction, since it is that which keeps others from the row.
 */
extern bool eventlog_partition_note(Oid leaf, int64 log_start, int64 next_offset);

/* Forget a leaf that is being dropped. */
extern void eventlog_partition_forget(Oid leaf);

#endif							/* EVENTLOG_PARTITION_CATALOG_H */
