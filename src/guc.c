/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Settings, and the named pause points that tests use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <sys/stat.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/guc.h"

#include "guc.h"

int			eventlog_producer_buffer = 32 * 1024;	/* boot value: 32 MB */
bool		eventlog_auto_create_groups = true; /* boot value */
char	   *eventlog_pause_at = NULL;	/* boot value: "" */

void
eventlog_guc_init(void)
{
	DefineCustomIntVariable("eventlog.producer_buffer",
							"Memory for records that a transaction has produced and not yet appended.",
							"When a transaction's records take more than this, they are appended at once instead of at commit.",
							&eventlog_producer_buffer,
							32 * 1024, 64, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("eventlog.auto_create_groups",
							 "Creates a consumer group at its first use.",
							 "If off, a group must have been created by eventlog.create_group().",
							 &eventlog_auto_create_groups,
							 true,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("eventlog.pause_at",
							   "Point in the code at which this session stops (for tests).",
							   "The session goes on when the file eventlog_pause in the data directory is gone.",
							   &eventlog_pause_at,
							   "",
							   PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);

	MarkGUCPrefixReserved("eventlog");
}

/*
 * Wait here while the file "eventlog_pause" exists in the data directory.
 * The wait shows in pg_stat_activity as an extension's.  Nothing here can
 * fail or allocate.
 */
void
eventlog_guc_pause(const char *point)
{
	struct stat st;

	if (strcmp(point, eventlog_pause_at) != 0)
		return;

	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	while (stat("eventlog_pause", &st) == 0)
		pg_usleep(5000L);
	pgstat_report_wait_end();
}
