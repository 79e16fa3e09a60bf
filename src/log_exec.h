/*-------------------------------------------------------------------------
 *
 * log_exec.h
 *	  Running scans of a partition by offset and time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_EXEC_H
#define EVENTLOG_LOG_EXEC_H

#include "nodes/extensible.h"

/*
 * Methods of the scan.  A plan's custom_exprs are conditions "column op value"
 * on record_offset and "timestamp"; custom_private is a list of their btree
 * strategies, and whether the scan goes backward.
 */
extern const CustomScanMethods eventlog_scan_methods;

/* Value of an int2, int4 or int8 as an offset. */
extern int64 eventlog_offset_value(Oid type, Datum value);

/* Narrow [*lo, *hi] by "record_offset <strategy> value". */
extern void eventlog_narrow_offsets(int strategy, int64 value, int64 *lo, int64 *hi);

#endif							/* EVENTLOG_LOG_EXEC_H */
