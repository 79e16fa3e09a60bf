/*-------------------------------------------------------------------------
 *
 * log_erase.h
 *	  Erasing the records of one key from a partition's file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOG_ERASE_H
#define EVENTLOG_LOG_ERASE_H

#include "log_storage.h"

/*
 * Remove all records with this key, but for those of other transactions in
 * progress, and overwrite every block of the file that held a copy.  When it
 * returns, the file on disk does not hold the bytes any more.  Not undone by
 * a rollback.  The caller holds ShareUpdateExclusiveLock.  Returns the number
 * of records that could be read before.  Errors: too much retired space to
 * wait for (ERRCODE_OBJECT_IN_USE).
 */
extern int64 eventlog_erase_key(Relation rel, const char *key, int32 key_len);

#endif							/* EVENTLOG_LOG_ERASE_H */
