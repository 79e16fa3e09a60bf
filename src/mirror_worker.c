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
 * A pair works in the name of its mirror's owner.  When the catalogue has
 * changed, all is closed and made anew.
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
#include "mirror_task.h"
#include "topic_ddl.h"
#include "wakeup.h"
#include "worker.h"

/* However little there is to do. */
#define MAX_WAIT_MS			1000

/* How often lag and rates are told. */
#define MEASURE_MS			2000

/* How long to wait for clients to close at the end. */
#define CLOSE_MS			200

/* Rows of this worker, which has nobody's buffers but its own. */
#define BUFFER_SIZE			"32MB"

/* What takes steps: an outgoing pair, or all incoming ones of an owner. */
typedef struct Task
{
	Oid			owner;
	EventlogMirrorOut *out;
	EventlogMirrorIn *in;
	EventlogMirrorPair *pairs;
	int			npairs;
	TimestampTz due;
} Task;

static EventlogService *my_service = NULL;
static const EventlogKafkaApi *api = NULL;
static MemoryContext tasks_context = NULL;
static Task *tasks = NULL;
static int	ntasks = 0;
static int	maxtasks = 0;
static List *slots = NIL;
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

/* Lag and rates of the mirrors, once in a while. */
static void
measure(TimestampTz now)
{
	static TimestampTz measured_at = 0;
	static uint64 records[EVENTLOG_MAX_MIRRORS];
	static uint64 bytes[EVENTLOG_MAX_MIRRORS];
	ListCell   *lc;
	int64		ms = (now - measured_at) / 1000;

	if (ms < MEASURE_MS)
		return;
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
	measured_at = now;
}

/* ---- tasks ---- */

static Task *
add_task(Oid owner)
{
	if (ntasks == maxtasks)
	{
		maxtasks = Max(maxtasks * 2, 16);
		tasks = tasks == NULL ? palloc(sizeof(Task) * maxtasks) :
			repalloc(tasks, sizeof(Task) * maxtasks);
	}
	memset(&tasks[ntasks], 0, sizeof(Task));
	tasks[ntasks].owner = owner;
	return &tasks[ntasks++];
}

static void
fill_pair(EventlogMirrorPair *pair, EventlogMirror *mirror, EventlogMirrorSlot *slot,
		  const char *topic, const char *kafka_topic)
{
	EventlogMirrorOption *server_options;
	EventlogKafkaOption *options;
	Oid			serverid;
	int			n = eventlog_mirror_options_load(mirror->server, mirror->owner, &serverid, &server_options);

	options = palloc(sizeof(EventlogKafkaOption) * (n + mirror->config->noptions + 1));
	for (int i = 0; i < n; i++)
	{
		options[i].name = server_options[i].name;
		options[i].value = server_options[i].value;
	}
	for (int i = 0; i < mirror->config->noptions; i++, n++)
	{
		options[n].name = mirror->config->options[i].name;
		options[n].value = mirror->config->options[i].value;
	}
	pair->mirror = mirror;
	pair->slot = slot;
	pair->topic = topic;
	pair->kafka_topic = kafka_topic;
	pair->options = options;
	pair->noptions = n;
	pair->group = mirror->identity;
	if (mirror->out && !mirror->config->at_least_once)
		pair->transactional_id = mirror->pattern ? psprintf("%s-%s", mirror->identity, topic) :
			mirror->identity;
}

/* The pairs of a mirror to Kafka: one, or all of our topics that match. */
static void
add_out(EventlogMirror *mirror, EventlogMirrorSlot *slot)
{
	List	   *relids;
	ListCell   *lc;
	Task	   *task;

	if (!mirror->pattern)
	{
		task = add_task(mirror->owner);
		task->pairs = palloc0(sizeof(EventlogMirrorPair));
		task->npairs = 1;
		fill_pair(task->pairs, mirror, slot, mirror->topic, mirror->kafka_topic);
		task->out = eventlog_mirror_out_create(task->pairs, api);
		return;
	}
	relids = eventlog_topic_catalog_list(CurrentMemoryContext);
	foreach(lc, relids)
	{
		EventlogTopic *topic = eventlog_topic_by_relid(lfirst_oid(lc));
		char	   *target = topic != NULL ? eventlog_mirror_map_topic(mirror, topic->name) : NULL;

		if (target == NULL || eventlog_mirror_find_loop(mirror, topic->name, target) != NULL)
			continue;
		task = add_task(mirror->owner);
		task->pairs = palloc0(sizeof(EventlogMirrorPair));
		task->npairs = 1;
		fill_pair(task->pairs, mirror, slot, pstrdup(topic->name), target);
		task->out = eventlog_mirror_out_create(task->pairs, api);
	}
}

/*
 * A consumer reads a topic once: mirrors of the same topic need one each, and
 * so do patterns, which may find any.
 */
static bool
may_join(const Task *task, const EventlogMirror *mirror)
{
	for (int i = 0; i < task->npairs; i++)
	{
		if (mirror->pattern || task->pairs[i].mirror->pattern ||
			strcmp(task->pairs[i].kafka_topic, mirror->kafka_topic) == 0)
			return false;
	}
	return true;
}

/* A mirror from Kafka: one task for all of an owner, as far as that goes. */
static void
add_in(EventlogMirror *mirror, EventlogMirrorSlot *slot)
{
	Task	   *task = NULL;

	for (int i = 0; i < ntasks; i++)
		if (tasks[i].out == NULL && tasks[i].owner == mirror->owner && may_join(&tasks[i], mirror))
			task = &tasks[i];
	if (task == NULL)
		task = add_task(mirror->owner);
	task->pairs = task->pairs == NULL ? palloc0(sizeof(EventlogMirrorPair)) :
		repalloc(task->pairs, sizeof(EventlogMirrorPair) * (task->npairs + 1));
	memset(&task->pairs[task->npairs], 0, sizeof(EventlogMirrorPair));
	fill_pair(&task->pairs[task->npairs++], mirror, slot, mirror->topic, mirror->kafka_topic);
}

/* Take the mirror over, if it is to run here.  Outside of transactions. */
static EventlogMirrorSlot *
enter_mirror(EventlogMirror *mirror)
{
	EventlogMirrorSlot *slot = eventlog_mirror_slot_take(mirror->id, mirror->owner);

	if (slot == NULL)
	{
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("mirror \"%s\" is not started: there are too many", mirror->name)));
		return NULL;
	}
	slots = lappend(slots, slot);
	if (mirror->stopped != NULL)
	{
		const char *message = strstr(mirror->stopped, ": ");

		eventlog_mirror_slot_phase(slot, strncmp(mirror->stopped, "diverged", 8) == 0 ?
								   EVENTLOG_MIRROR_DIVERGED : EVENTLOG_MIRROR_STOPPED,
								   message != NULL ? message + 2 : NULL);
		return NULL;
	}
	if (!eventlog_mirror_enter(mirror, slot))
		return NULL;
	eventlog_mirror_slot_phase(slot, EVENTLOG_MIRROR_CONNECTING, NULL);
	return slot;
}

static void
drop_tasks(void)
{
	ListCell   *lc;

	for (int i = 0; i < ntasks; i++)
	{
		if (tasks[i].out != NULL)
			eventlog_mirror_out_close(tasks[i].out);
		if (tasks[i].in != NULL)
			eventlog_mirror_in_close(tasks[i].in);
	}
	foreach(lc, slots)
		eventlog_mirror_slot_release(lfirst(lc));
	slots = NIL;
	tasks = NULL;
	ntasks = maxtasks = 0;
	MemoryContextReset(tasks_context);
}

/* A mirror that cannot be started says so, and the others are. */
static void
load_mirror(EventlogMirror *mirror)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		EventlogMirrorSlot *slot = enter_mirror(mirror);

		if (slot != NULL)
		{
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			MemoryContextSwitchTo(tasks_context);
			if (!mirror->pattern && (mirror->out || !mirror->config->create_topic))
				eventlog_mirror_check_topic(mirror->owner, mirror->topic, mirror->out);
			if (mirror->out)
				add_out(mirror, slot);
			else
				add_in(mirror, slot);
			CommitTransactionCommand();
		}
	}
	PG_CATCH();
	{
		ErrorData  *error;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("mirror \"%s\": %s", mirror->name, error->message)));
		if (slots != NIL)
			eventlog_mirror_slot_phase(llast(slots), EVENTLOG_MIRROR_FAILED, error->message);
		FreeErrorData(error);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

static void
load_tasks(void)
{
	List	   *mirrors = NIL;
	ListCell   *lc;
	ForeignServer *server;

	drop_tasks();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(tasks_context);
	server = GetForeignServerExtended(my_service->id, FSV_MISSING_OK);
	if (server != NULL)
		mirrors = eventlog_mirror_load_all(server->servername);
	CommitTransactionCommand();
	MemoryContextSwitchTo(tasks_context);
	foreach(lc, mirrors)
		load_mirror(lfirst(lc));
	for (int i = 0; i < ntasks; i++)
	{
		if (tasks[i].out == NULL)
			tasks[i].in = eventlog_mirror_in_create(tasks[i].pairs, tasks[i].npairs, api);
	}
}

/* ---- the loop ---- */

/* A step of a task, in its owner's name. */
static void
step(Task *task, TimestampTz now)
{
	MemoryContext context = CurrentMemoryContext;
	int64		wait_ms = MAX_WAIT_MS;

	SetUserIdAndSecContext(task->owner, SECURITY_RESTRICTED_OPERATION);
	PG_TRY();
	{
		if (task->out != NULL)
			eventlog_mirror_out_step(task->out, now, &wait_ms);
		else
			eventlog_mirror_in_step(task->in, now, &wait_ms);
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
		if (task->out != NULL)
			eventlog_mirror_out_fail(task->out, error->message);
		else
			eventlog_mirror_in_fail(task->in, error->message);
		FreeErrorData(error);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, 0);
	task->due = now + wait_ms * 1000;
}

/* Until a descriptor can be read, a topic has changed, or the time has come. */
static void
wait_for_work(int64 wait_ms)
{
	WaitEventSet *set = eventlog_create_wait_set(ntasks + 2);
	WaitEvent	event;

	/* from here on commits set the latch; they may have come before */
	eventlog_wait_end();
	eventlog_wait_on(InvalidOid, EVENTLOG_WAIT_ALONE, NULL);
	for (int i = 0; i < ntasks; i++)
	{
		if (tasks[i].out != NULL && eventlog_mirror_out_is_waiting(tasks[i].out) &&
			eventlog_mirror_out_has_news(tasks[i].out))
		{
			tasks[i].due = 0;
			wait_ms = 0;
		}
	}

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < ntasks; i++)
	{
		int			fd = tasks[i].out != NULL ? eventlog_mirror_out_fd(tasks[i].out) :
			eventlog_mirror_in_fd(tasks[i].in);

		if (fd >= 0)
			AddWaitEventToSet(set, WL_SOCKET_READABLE, fd, NULL, &tasks[i]);
	}
	if (WaitEventSetWait(set, wait_ms, &event, 1, PG_WAIT_EXTENSION) > 0)
	{
		if (event.events & WL_SOCKET_READABLE)
			((Task *) event.user_data)->due = 0;
		else
		{
			/* a commit: all that send look */
			for (int i = 0; i < ntasks; i++)
				if (tasks[i].out != NULL)
					tasks[i].due = 0;
		}
	}
	FreeWaitEventSet(set);
	ResetLatch(MyLatch);
}

static void
work(void)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz next = now + MAX_WAIT_MS * INT64CONST(1000);

		eventlog_worker_check();
		if (my_service->reloads != reloads_seen)
		{
			reloads_seen = my_service->reloads;
			load_tasks();
			if (ntasks == 0 && slots == NIL)
			{
				eventlog_service_finish(EVENTLOG_PHASE_STOPPED);
				return;
			}
			eventlog_service_works();
		}
		for (int i = 0; i < ntasks; i++)
		{
			if (tasks[i].due <= now)
				step(&tasks[i], now);
			next = Min(next, tasks[i].due);
		}
		now = GetCurrentTimestamp();
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
	tasks_context = AllocSetContextCreate(TopMemoryContext, "eventlog mirrors", ALLOCSET_DEFAULT_SIZES);
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
	for (int i = 0; i < ntasks; i++)
	{
		if (tasks[i].out != NULL)
			eventlog_mirror_out_close(tasks[i].out);
		if (tasks[i].in != NULL)
			eventlog_mirror_in_close(tasks[i].in);
	}
	for (ListCell *lc = list_head(slots); lc != NULL; lc = lnext(slots, lc))
		eventlog_mirror_slot_release(lfirst(lc));
	ntasks = 0;
	slots = NIL;
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
