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
 * Note a leaf's log start, which may be going to be this one only when the
 * transaction commits, and its next offset, unless its row has this log start
 * already.  "removed" says that records have gone behind the log start: then
 * a change of the next offset counts as well.  The caller holds
 * ShareUpdateExclusiveLock on the leaf, until the end of the transaction if
 * this returns true: the row has been written.  Does nothing where the table
 * is missing (SQL of 0.1).
 */
extern bool eventlog_partition_note(Relation leaf, int64 log_start, bool removed);

/* Forget a leaf that is being dropped. */
extern void eventlog_partition_forget(Oid leaf);

#endif							/* EVENTLOG_PARTITION_CATALOG_H */
