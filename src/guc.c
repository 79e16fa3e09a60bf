/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Settings, and the named points at which tests stop or break a session.
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
int			eventlog_max_assignments = 16384;	/* boot value */
bool		eventlog_resume_after_promotion = true;
bool		eventlog_maintenance = true;	/* boot value */
int			eventlog_maintenance_interval = 10 * 1000;	/* boot value: 10 s */
int			eventlog_max_maintenance_workers = 2;	/* boot value */
int			eventlog_max_topic_metrics = 1024;	/* boot value */
bool		eventlog_skip_damaged_records = false;	/* boot value */
char	   *eventlog_pause_at = NULL;	/* boot value: "" */
char	   *eventlog_fail_at = NULL;	/* boot value: "" */

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

	DefineCustomBoolVariable("eventlog.resume_after_promotion",
							 "Lets captures go on when a standby has been promoted.",
							 "If off, they wait for eventlog.resume_capture().",
							 &eventlog_resume_after_promotion,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("eventlog.maintenance",
							 "Starts workers that maintain topics.",
							 "If off, none is started; one that runs goes on to its end.",
							 &eventlog_maintenance,
							 true,
							 PGC_SIGHUP, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("eventlog.maintenance_interval",
							"Time between two runs of maintenance in a database.",
							"A run can come earlier when there is work, and later after errors.",
							&eventlog_maintenance_interval,
							10 * 1000, 100, 24 * 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eventlog.max_assignments",
							"Partitions that members of all consumer groups can share at a time.",
							"Each partition of a topic counts once for each group with members that have subscribed to it, and each topic once for each such member.",
							&eventlog_max_assignments,
							16384, 64, 1024 * 1024,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eventlog.max_maintenance_workers",
							"Most maintenance workers at a time, over all databases.",
							"Each takes one of max_worker_processes while it runs.",
							&eventlog_max_maintenance_workers,
							2, 1, 32,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eventlog.max_topic_metrics",
							"Topics, over all databases, that have counters of their own.",
							"Those beyond it are counted together.",
							&eventlog_max_topic_metrics,
							1024, 0, 1000000,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("eventlog.skip_damaged_records",
							 "Reads on behind damaged parts of a log.",
							 "If off, damage is an error. If on, what cannot be read is passed over, with a warning that names the place and the offsets.",
							 &eventlog_skip_damaged_records,
							 false,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("eventlog.pause_at",
							   "Point in the code at which this session stops (for tests).",
							   "The session goes on when the file eventlog_pause in the data directory is gone.",
							   &eventlog_pause_at,
							   "",
							   PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("eventlog.fail_at",
							   "Point in the code at which this session raises an error (for tests).",
							   NULL,
							   &eventlog_fail_at,
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

/* Is this the point that a setting names, for any object or for this one? */
static bool
names_point(const char *setting, const char *point, const char *object)
{
	size_t		len = strlen(point);

	if (strncmp(setting, point, len) != 0)
		return false;
	return setting[len] == '\0' ||
		(setting[len] == ':' && strcmp(setting + len + 1, object) == 0);
}

void
eventlog_guc_pause_interruptible(const char *point, const char *object)
{
	struct stat st;

	if (!names_point(eventlog_pause_at, point, object))
		return;

	while (stat("eventlog_pause", &st) == 0)
	{
		pgstat_report_wait_start(PG_WAIT_EXTENSION);
		pg_usleep(5000L);
		pgstat_report_wait_end();
		CHECK_FOR_INTERRUPTS();
	}
}

void
eventlog_guc_fail(const char *point, const char *object)
{
	if (names_point(eventlog_fail_at, point, object))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("error asked for by eventlog.fail_at"),
				 errdetail("The point is \"%s\", the object \"%s\".", point, object)));
}
