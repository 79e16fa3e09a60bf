/*-------------------------------------------------------------------------
 *
 * worker_status.c
 *	  What the view eventlog.workers shows.
 *
 * Errors can name what is in a database: only those see them who may see the
 * statistics of all, and for the current database everybody in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "pg_eventlog.h"
#include "worker_slot.h"

PG_FUNCTION_INFO_V1(eventlog_worker_status);

#define STATUS_COLUMNS	12

/* A copy of what is shared, to be looked at without the lock. */
typedef struct Status
{
	int			pid;
	const char *state;
	TimestampTz due;			/* 0: unknown */
	EventlogWorkerHistory history;
} Status;

/*
 * Texts were written in the encoding of another database, which may not be
 * ours: what is not valid here is shown as "?".
 */
static Datum
text_datum(char *text)
{
	if (!pg_verifymbstr(text, strlen(text), true))
	{
		for (char *p = text; *p != '\0'; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
	}
	return CStringGetTextDatum(text);
}

static void
put(ReturnSetInfo *rsinfo, const char *kind, Oid dboid, Status *status)
{
	EventlogWorkerHistory *history = &status->history;
	Datum		values[STATUS_COLUMNS] = {0};
	bool		nulls[STATUS_COLUMNS] = {0};
	int			i = 0;

	values[i++] = CStringGetTextDatum(kind);
	nulls[i] = !OidIsValid(dboid);
	values[i++] = ObjectIdGetDatum(dboid);
	nulls[i] = status->pid == 0;
	values[i++] = Int32GetDatum(status->pid);
	values[i++] = CStringGetTextDatum(status->state);
	if (history->activity[0] == '\0')
		nulls[i++] = true;
	else
		values[i++] = text_datum(history->activity);
	nulls[i] = history->started_at == 0;
	values[i++] = TimestampTzGetDatum(history->started_at);
	nulls[i] = history->finished_at == 0;
	values[i++] = TimestampTzGetDatum(history->finished_at);
	values[i++] = Int64GetDatum(history->runs);
	values[i++] = Int32GetDatum(history->failures);
	if (history->error_at == 0)
		nulls[i++] = true;
	else
		values[i++] = text_datum(history->error);
	nulls[i] = history->error_at == 0;
	values[i++] = TimestampTzGetDatum(history->error_at);
	nulls[i] = status->due == 0;
	values[i++] = TimestampTzGetDatum(status->due);
	Assert(i == STATUS_COLUMNS);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
put_launcher(ReturnSetInfo *rsinfo)
{
	Status		status;

	LWLockAcquire(eventlog_shared->lock, LW_SHARED);
	status.pid = eventlog_shared->launcher_pid;
	status.due = status.pid == 0 ? 0 : eventlog_shared->launcher_due;
	status.history = eventlog_shared->launcher;
	LWLockRelease(eventlog_shared->lock);
	if (status.pid != 0)
		status.state = "idle";
	else if (status.history.failures > 0)
		status.state = "backing off";
	else
		status.state = "not running";
	put(rsinfo, "launcher", InvalidOid, &status);
}

static const char *
database_state(const EventlogDatabase *slot)
{
	if (slot->state != EVENTLOG_WORKER_NONE)
		return "running";
	if (eventlog_slot_is_blocked_locked(slot->dboid))
		return "blocked";
	if (slot->history.failures > 0 || slot->not_started)
		return "backing off";
	if (slot->presence == EVENTLOG_ABSENT)
		return "no extension";
	return "idle";
}

Datum
eventlog_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		sees_all;

	eventlog_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	sees_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);

	if (sees_all)
		put_launcher(rsinfo);
	for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
	{
		EventlogDatabase *slot = &eventlog_shared->databases[i];
		Status		status;
		Oid			dboid;

		LWLockAcquire(eventlog_shared->lock, LW_SHARED);
		dboid = slot->dboid;
		status.pid = slot->pid;
		status.state = database_state(slot);
		status.due = slot->state == EVENTLOG_WORKER_NONE && eventlog_maintenance ? slot->due : 0;
		status.history = slot->history;
		LWLockRelease(eventlog_shared->lock);

		if (OidIsValid(dboid) && (sees_all || dboid == MyDatabaseId))
			put(rsinfo, "maintenance", dboid, &status);
	}
	return (Datum) 0;
}
