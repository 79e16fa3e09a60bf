/*-------------------------------------------------------------------------
 *
 * maintain.c
 *	  What a maintenance worker does in a database: topic after topic.
 *
 * Each partition has a transaction of its own, so that locks and xids are
 * held no longer than they have to be, and an error costs one topic's turn.
 * There is no active snapshot: maintenance of a large log must not keep VACUUM
 * from removing rows elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "capture.h"
#include "guc.h"
#include "maintain.h"
#include "metrics.h"
#include "mirror.h"
#include "topic_ddl.h"
#include "topic_life.h"
#include "worker.h"

/*
 * One partition in one transaction.  Points for tests are named after the
 * topic, so that they can hit one of several.  Returns how many partitions the
 * topic has.
 */
static int32
maintain_in_transaction(Oid relid, int32 partition, const char **name, bool *frozen)
{
	EventlogTopic *topic;
	int32		npartitions = 0;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();

	/* dropped since the list was made: nothing to do */
	topic = eventlog_topic_by_relid(relid);
	if (topic != NULL)
	{
		*name = topic->name;
		npartitions = topic->npartitions;
		if (partition == 0)
		{
			eventlog_worker_progress("maintaining topic \"%s\"", topic->name);
			EVENTLOG_PAUSE_INTERRUPTIBLE("maintain", topic->name);
			EVENTLOG_FAIL("maintain", topic->name);
		}
		*frozen |= eventlog_topic_maintain(relid, partition, false);
	}
	CommitTransactionCommand();
	return npartitions;
}

void
eventlog_maintain_database(void)
{
	MemoryContext context;
	List	   *topics;
	ListCell   *lc;
	volatile bool frozen = false;

	context = AllocSetContextCreate(TopMemoryContext, "eventlog maintenance",
									ALLOCSET_DEFAULT_SIZES);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	topics = eventlog_topic_catalog_list(context);
	eventlog_metrics_sweep();
	eventlog_capture_register_all();
	eventlog_mirror_register_all();
	CommitTransactionCommand();

	foreach(lc, topics)
	{
		const char *volatile name = "?";

		eventlog_worker_check();
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			int32		npartitions = 1;

			for (int32 p = 0; p < npartitions; p++)
				npartitions = maintain_in_transaction(lfirst_oid(lc), p, (const char **) &name,
													  (bool *) &frozen);
		}
		PG_CATCH();
		{
			ErrorData  *error;

			HOLD_INTERRUPTS();
			MemoryContextSwitchTo(context);
			error = CopyErrorData();
			FlushErrorState();
			AbortCurrentTransaction();
			MemoryContextSwitchTo(context);
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not maintain topic \"%s\": %s", name, error->message),
					 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
					 error->context != NULL ? errcontext("%s", error->context) : 0));
			eventlog_worker_note_error(psprintf("topic \"%s\": %s", name, error->message));
			FreeErrorData(error);
			RESUME_INTERRUPTS();
		}
		PG_END_TRY();
	}
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(context);

	/* so that wraparound does not depend on autovacuum's getting here */
	if (frozen)
	{
		StartTransactionCommand();
		vac_update_datfrozenxid();
		CommitTransactionCommand();
	}
}
