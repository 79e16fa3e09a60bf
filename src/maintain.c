/*-------------------------------------------------------------------------
 *
 * maintain.c
 *	  What a maintenance worker does in a database: topic after topic.
 *
 * Each topic has a transaction of its own, so that locks and snapshots are
 * held no longer than they have to be, and an error costs one topic's turn.
 * There is no active snapshot: maintenance of a large log must not keep VACUUM
 * from removing rows elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "guc.h"
#include "maintain.h"
#include "topic_ddl.h"
#include "topic_life.h"
#include "worker.h"

/*
 * One topic in one transaction.  Points for tests are named after the topic,
 * so that they can hit one of several.
 */
static void
maintain_in_transaction(Oid relid, const char **name)
{
	EventlogTopic *topic;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();

	/* dropped since the list was made: nothing to do */
	topic = eventlog_topic_by_relid(relid);
	if (topic != NULL)
	{
		*name = topic->name;
		eventlog_worker_progress("maintaining topic \"%s\"", topic->name);
		EVENTLOG_PAUSE_INTERRUPTIBLE("maintain", topic->name);
		EVENTLOG_FAIL("maintain", topic->name);
		eventlog_topic_maintain(relid, false);
	}
	CommitTransactionCommand();
}

void
eventlog_maintain_database(void)
{
	MemoryContext context;
	List	   *topics;
	ListCell   *lc;

	context = AllocSetContextCreate(TopMemoryContext, "eventlog maintenance",
									ALLOCSET_DEFAULT_SIZES);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	topics = eventlog_topic_catalog_list(context);
	CommitTransactionCommand();

	foreach(lc, topics)
	{
		const char *volatile name = "?";

		eventlog_worker_check();
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			maintain_in_transaction(lfirst_oid(lc), (const char **) &name);
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
}
