/*-------------------------------------------------------------------------
 *
 * member.c
 *	  Sessions that are members of consumer groups: there are none yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "member.h"

int
eventlog_member_count(const char *group)
{
	return 0;
}
