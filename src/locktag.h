/*-------------------------------------------------------------------------
 *
 * locktag.h
 *	  Our heavyweight locks.
 *
 * They are of the advisory class with a fourth field of our own, which the
 * server's advisory lock functions (1 and 2) do not use: (database, leaf or
 * topic, hash of the group's name, one of these).  pg_locks shows the fields
 * as database, classid, objid and objsubid.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_LOCKTAG_H
#define EVENTLOG_LOCKTAG_H

#define EVENTLOG_LOCK_CLAIM		0x6701	/* a group's claim on a partition */
#define EVENTLOG_LOCK_NEW_GROUP 0xE702	/* a group is being created */

#endif							/* EVENTLOG_LOCKTAG_H */
