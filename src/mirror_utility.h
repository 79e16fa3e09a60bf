/*-------------------------------------------------------------------------
 *
 * mirror_utility.h
 *	  Utility statements about what mirrors hang on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_UTILITY_H
#define EVENTLOG_MIRROR_UTILITY_H

#include "nodes/parsenodes.h"

/* Before a statement is executed: raise if mirrors are against it. */
extern void eventlog_mirror_utility_before(Node *statement);

/* Is there something to be done for mirrors after the statement?  Then do it. */
extern bool eventlog_mirror_utility_concerns(Node *statement);
extern void eventlog_mirror_utility_after(Node *statement);

/* A server is being dropped: raise if a mirror uses it. */
extern void eventlog_mirror_check_server_drop(Oid serverid);

/* Raise if there is a mirror in this database: the extension is to go. */
extern void eventlog_mirror_check_none(void);

#endif							/* EVENTLOG_MIRROR_UTILITY_H */
