/*-------------------------------------------------------------------------
 *
 * pg_eventlog.c
 *	  Magic block and start-up: ordered calls, nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "capture_slot.h"
#include "consume.h"
#include "group.h"
#include "guc.h"
#include "log_plan.h"
#include "log_xlog.h"
#include "metrics.h"
#include "pg_eventlog.h"
#include "position.h"
#include "produce.h"
#include "query.h"
#include "service.h"
#include "shmem.h"
#include "topic.h"
#include "subscription.h"
#include "utility.h"
#include "wakeup.h"
#include "worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static bool preloaded = false;

void
eventlog_require_preloaded(void)
{
	if (!preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_eventlog must be loaded at server start"),
				 errhint("Add pg_eventlog to shared_preload_libraries and restart the server.")));
}

/*
 * Without shared_preload_libraries the library does nothing, rather than
 * raise: pg_upgrade LOADs it to see whether it is there.  The access method's
 * handler and the lookup of topics then say what to do.
 */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	eventlog_guc_init();
	eventlog_shmem_init();
	eventlog_metrics_init();	/* its ends of transactions come last */
	eventlog_xlog_init();
	eventlog_topic_init();
	eventlog_utility_init();
	eventlog_produce_init();
	eventlog_query_init();
	eventlog_group_init();
	eventlog_position_init();
	eventlog_consume_init();
	eventlog_wakeup_init();
	eventlog_subscription_init();
	eventlog_plan_init();
	eventlog_service_init();
	eventlog_capture_init();
	eventlog_launcher_init();
	preloaded = true;
}
