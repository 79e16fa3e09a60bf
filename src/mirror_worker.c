/*-------------------------------------------------------------------------
 *
 * mirror_worker.c
 *	  The worker that serves the mirrors of one Kafka server.
 *
 * It loads pg_eventlog_kafka.so, which brings librdkafka and its threads, and
 * lets the pairs of topics take their steps in turn.  Between steps it waits
 * for librdkafka's descriptors, for its latch, which commits to topics set, and
 * for the time that a pair wants to be called again.
 *
 * A pair works in the name of its mirror's owner.  What there is to do is
 * mirror_load.c's to know.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "guc.h"
#include "mirror_load.h"
#include "mirror_task.h"
#include "topic_ddl.h"
#include "wakeup.h"
#include "worker.h"

/* However little there is to do. */
#define MAX_WAIT_MS			1000

#define TOGETHER_MS			250

/* How often lag and rates are told. */
#define MEASURE_MS			2000

/* How long to wait for clients to close at the end. */
#define CLOSE_MS			200

/* Rows of this worker, which has nobody's buffers but its own. */
#define BUFFER_SIZE			"32MB"

static EventlogService *my_service = NULL;
static const EventlogKafkaApi *api = NULL;
static uint32 reloads_seen = 0;

int64
eventlog_mirror_backoff_ms(int failures)
{
	return Min(INT64CONST(200) << Min(failures, 20), 60000);
}

/* ---- progress ---- */

void
eventlog_mirror_pair_load(const EventlogMirrorPair *pair, int npartitions,
						  int64 *ours, int64 *kafka)
{
	EventlogMirrorPosition *positions;
	int			n = eventlog_mirror_positions_load(pair->mirror->id, &positions);

	for (int p = 0; p < npartitions; p++)
		ours[p] = kafka[p] = -1;
	for (int i = 0; i < n; i++)
	{
		if (strcmp(positions[i].topic, pair->topic) != 0 ||
			strcmp(positions[i].kafka_topic, pair->kafka_topic) != 0 ||
			positions[i].partition >= npartitions)
			continue;
		ours[positions[i].partition] = positions[i].record_offset;
		kafka[positions[i].partition] = positions[i].kafka_offset;
	}
}

void
eventlog_mirror_pair_save(const EventlogMirrorPair *pair, int32 partition,
						  int64 ours, int64 kafka)
{
	EventlogMirrorPosition position = {
		.topic = unconstify(char *, pair->topic),
		.kafka_topic = unconstify(char *, pair->kafka_topic),
		.partition = partition,
		.record_offset = ours,
		.kafka_offset = kafka,
		.epoch = -1
	};

	eventlog_mirror_position_set(pair->mirror->id, &position);
}

void
eventlog_mirror_pair_tell(const EventlogMirrorPair *pair, int32 partition,
						  int64 position, int64 end)
{
	EventlogMirrorSlot *slot = pair->slot;
	EventlogMirrorPartition *entry = NULL;

	LWLockAcquire(eventlog_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < slot->npartitions && entry == NULL; i++)
	{
		if (slot->partitions[i].partition == partition &&
			(!pair->mirror->pattern ||
			 strncmp(slot->partitions[i].topic, pair->topic, sizeof(entry->topic) - 1) == 0))
			entry = &slot->partitions[i];
	}
	if (entry == NULL && slot->npartitions < EVENTLOG_MIRROR_PARTITIONS)
	{
		entry = &slot->partitions[slot->npartitions++];
		entry->partition = partition;
		strlcpy(entry->topic, pair->mirror->pattern ? pair->topic : "", sizeof(entry->topic));
		entry->end = entry->target = -1;
	}
	if (entry != NULL)
	{
		entry->position = position;
		if (end >= 0)
			entry->end = end;
	}
	LWLockRelease(eventlog_shared->lock);
}

void
eventlog_mirror_log(const EventlogKafkaApi *kafka, EventlogKafkaClient *client, const char *mirror)
{
	char		line[1024];
	int			level;

	while (kafka->poll_log(client, &level, line, sizeof(line)))
	{
		if (level <= 4)
			ereport(LOG,
					(errcode(ERRCODE_FDW_ERROR),
					 errmsg("mirror \"%s\": librdkafka: %s", mirror, line)));
	}
}

static void
tell_phase(EventlogMirrorPair *pair, EventlogMirrorPhase phase, const char *message,
		   int failures, TimestampTz due)
{
	EventlogMirrorSlot *slot = pair->slot;
	bool		was_troubled = pair->phase >= EVENTLOG_MIRROR_FAILED;
	bool		is_troubled = phase >= EVENTLOG_MIRROR_FAILED;
	char		text[EVENTLOG_ERROR_BYTES + 300];

	pair->phase = phase;
	slot->troubled += (int) is_troubled - (int) was_troubled;
	if (!is_troubled && slot->troubled > 0)
		return;
	if (message != NULL && pair->mirror->pattern)
	{
		snprintf(text, sizeof(text), "topic \"%s\": %s", pair->topic, message);
		message = text;
	}
	eventlog_mirror_slot_failed(slot, phase, message, failures, due);
}

void
eventlog_mirror_pair_phase(EventlogMirrorPair *pair, EventlogMirrorPhase phase, const char *message)
{
	tell_phase(pair, phase, message, 0, 0);
}

void
eventlog_mirror_pair_failed(EventlogMirrorPair *pair, const char *message,
							int failures, TimestampTz due)
{
	tell_phase(pair, EVENTLOG_MIRROR_FAILED, message, failures, due);
}

void
eventlog_mirror_pair_stop(EventlogMirrorPair *pair, EventlogMirrorPhase phase, const char *message)
{
	bool		in_transaction = IsTransactionState();
	const char *word = phase == EVENTLOG_MIRROR_DIVERGED ? "diverged" :
		phase == EVENTLOG_MIRROR_FENCED ? "fenced" : "stopped";

	if (!in_transaction)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
	}
	eventlog_mirror_set_stopped(pair->mirror->id, psprintf("%s: %s", word, message));
	if (!in_transaction)
		CommitTransactionCommand();
	ereport(LOG,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("mirror \"%s\" has stopped: %s", pair->mirror->name, message)));
	eventlog_mirror_pair_phase(pair, phase, message);
}

/* Lag and rates of the mirrors, once in a while. */
static void
measure(TimestampTz now)
{
	static TimestampTz measured_at = 0;
	static uint64 records[EVENTLOG_MAX_MIRRORS];
	static uint64 bytes[EVENTLOG_MAX_MIRRORS];
	List	   *slots;
	ListCell   *lc;
	int64		ms = (now - measured_at) / 1000;

	if (ms < MEASURE_MS)
		return;
	slots = eventlog_mirror_worker_slots();
	foreach(lc, slots)
	{
		EventlogMirrorSlot *slot = lfirst(lc);
		int			n = slot - eventlog_mirrors->slots;
		uint64		now_records = pg_atomic_read_u64(&slot->records);
		uint64		now_bytes = pg_atomic_read_u64(&slot->bytes);
		uint64		lag = 0;
		bool		known = slot->npartitions > 0;

		if (measured_at != 0 && now_records >= records[n] && now_bytes >= bytes[n])
		{
			pg_atomic_write_u64(&slot->records_per_s, (now_records - records[n]) * 1000 / ms);
			pg_atomic_write_u64(&slot->bytes_per_s, (now_bytes - bytes[n]) * 1000 / ms);
		}
		records[n] = now_records;
		bytes[n] = now_bytes;
		for (int i = 0; i < slot->npartitions; i++)
		{
			if (slot->partitions[i].end < 0)
				known = false;
			else
				lag += Max(slot->partitions[i].end - slot->partitions[i].position, 0);
		}
		pg_atomic_write_u64(&slot->lag, known ? lag : PG_UINT64_MAX);
	}
	list_free(slots);
	measured_at = now;
}

/* ---- the loop ---- */

/* A step of a job, in its owner's name. */
static void
step(EventlogMirrorJob *job, TimestampTz now)
{
	MemoryContext context = CurrentMemoryContext;
	int64		wait_ms = MAX_WAIT_MS;

	SetUserIdAndSecContext(job->owner, SECURITY_RESTRICTED_OPERATION);
	PG_TRY();
	{
		if (job->out != NULL)
			eventlog_mirror_out_step(job->out, now, &wait_ms);
		else
			eventlog_mirror_in_step(job->in, now, &wait_ms);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		EmitErrorReport();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		if (job->out != NULL)
			eventlog_mirror_out_fail(job->out, error->message);
		else
			eventlog_mirror_in_fail(job->in, error->message);
		FreeErrorData(error);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, 0);
	job->due = now + wait_ms * 1000;

	/* those that only look once in a while do so together */
	if (wait_ms >= MAX_WAIT_MS)
		job->due -= job->due % (TOGETHER_MS * INT64CONST(1000));
}

/* What is to look at once, since a topic has news: is there any? */
static bool
find_news(void)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, eventlog_mirror_jobs)
	{
		EventlogMirrorJob *job = lfirst(lc);

		if (job->out != NULL && eventlog_mirror_out_is_waiting(job->out) &&
			eventlog_mirror_out_has_news(job->out))
		{
			job->due = 0;
			found = true;
		}
	}
	return found;
}

/* Until a descriptor can be read, a topic has changed, or the time has come. */
static void
wait_for_work(int64 wait_ms)
{
	WaitEventSet *set = eventlog_create_wait_set(list_length(eventlog_mirror_jobs) + 2);
	WaitEvent	events[16];
	ListCell   *lc;
	int			n;

	/* from here on commits set the latch; they may have come before */
	eventlog_wait_end();
	eventlog_wait_on(InvalidOid, EVENTLOG_WAIT_ALONE, NULL);
	if (find_news())
		wait_ms = 0;
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	foreach(lc, eventlog_mirror_jobs)
	{
		EventlogMirrorJob *job = lfirst(lc);
		int			fd = job->out != NULL ? eventlog_mirror_out_fd(job->out) :
			eventlog_mirror_in_fd(job->in);

		if (fd >= 0)
			AddWaitEventToSet(set, WL_SOCKET_READABLE, fd, NULL, job);
	}
	n = WaitEventSetWait(set, wait_ms, events, lengthof(events), PG_WAIT_EXTENSION);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_SOCKET_READABLE)
			((EventlogMirrorJob *) events[i].user_data)->due = 0;
		else
			(void) find_news();
	}
	FreeWaitEventSet(set);
	ResetLatch(MyLatch);
}

/* All steps that are due, or nearly so; when the next one is. */
static TimestampTz
take_steps(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = now + MAX_WAIT_MS * INT64CONST(1000);
	ListCell   *lc;

	foreach(lc, eventlog_mirror_jobs)
	{
		EventlogMirrorJob *job = lfirst(lc);

		if (job->due <= now)
			step(job, now);
		next = Min(next, job->due);
	}
	return next;
}

static void
work(void)
{
	for (;;)
	{
		TimestampTz now;
		TimestampTz next;

		eventlog_worker_check();
		if (my_service->reloads != reloads_seen)
		{
			reloads_seen = my_service->reloads;
			eventlog_mirror_load_jobs(my_service->id, api, true);
			if (eventlog_mirror_worker_slots() == NIL)
			{
				eventlog_service_finish(EVENTLOG_PHASE_STOPPED);
				return;
			}
			eventlog_service_works();
		}
		next = take_steps();
		now = GetCurrentTimestamp();
		eventlog_mirror_refresh_jobs(now);
		measure(now);
		if (next > now)
			wait_for_work(Max((next - now) / 1000, 1));
		pgstat_report_stat(false);
	}
}

static void
run(void)
{
	EventlogKafkaGetApi get_api;

	eventlog_worker_connect(my_service->dboid);
	SetConfigOption("eventlog.producer_buffer", BUFFER_SIZE, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	get_api = (EventlogKafkaGetApi) load_external_function("pg_eventlog_kafka", "eventlog_kafka_api", true, NULL);
	api = get_api();
	if (api->version != EVENTLOG_KAFKA_API_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("libraries pg_eventlog and pg_eventlog_kafka do not fit together"),
				 errhint("Install both from one build.")));
	reloads_seen = my_service->reloads - 1;
	work();
}

static void
failed(const char *message)
{
	eventlog_service_failed(message, false);
}

/*
 * The last thing in this process: threads of librdkafka's may still run, and
 * must not meet exit handlers of libraries.
 */
static void
exit_hard(int code, Datum arg)
{
	_exit(code == 0 ? 0 : 1);
}

/* Before the connection to shared memory goes: clients first. */
static void
close_clients(int code, Datum arg)
{
	eventlog_mirror_close_jobs();
}

void
eventlog_mirror_main(Datum arg)
{
	on_proc_exit(exit_hard, 0);
	eventlog_worker_begin();
	my_service = eventlog_mirror_worker_enter();
	if (my_service == NULL)
		proc_exit(0);
	before_shmem_exit(close_clients, 0);
	proc_exit(eventlog_worker_run(run, failed) ? 0 : 1);
}
