/*-------------------------------------------------------------------------
 *
 * mirror_load.c
 *	  What a mirror worker has to do: its mirrors, and the jobs made of them.
 *
 * The catalogue is read whenever it may have changed.  A mirror is made anew
 * only if something that it depends on is different: its row, or an option of
 * its server or user mapping.  All of that is put into a text, its signature,
 * which is compared.
 *
 * A mirror to Kafka has a job for each pair of topics.  Mirrors from Kafka are
 * served by as few consumers as can be: those of an owner by one, unless two of
 * them read the same topic.  So if one of an owner's is made anew, all are.
 *
 * Mirrors that cannot be loaded (rights, options, no such topic) say so in
 * their slot, and are tried again after a while.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "mirror_load.h"
#include "mirror_option.h"
#include "subtransaction.h"
#include "topic_ddl.h"

/* A mirror as it was loaded. */
typedef struct Loaded
{
	int32		id;
	MemoryContext context;		/* has all of it */
	char	   *signature;
	EventlogMirror *mirror;		/* NULL if it is not to run now */
	EventlogMirrorSlot *slot;
	EventlogKafkaOption *options;
	int			noptions;
	bool		keep;
	int			failures;		/* to load it */
	TimestampTz retry_at;		/* 0: there is nothing to try again */
	TimestampTz refresh_at;		/* of an outgoing pattern: when to look for
								 * topics; 0: is not one */
} Loaded;

List	   *eventlog_mirror_jobs = NIL;

static List *loaded_mirrors = NIL;
static const EventlogKafkaApi *api;
static Oid	server_id;
static bool topics_changed = false;
static bool options_changed = false;

/* How often to look for what others have changed. */
#define LOOK_MS		1000

/* A server, a user mapping or the right to use them may be different. */
static void
options_may_differ(Datum arg, int cacheid, uint32 hashvalue)
{
	options_changed = true;
}

/* Some table is new, has changed or gone: it may be a topic. */
static void
relation_changed(Datum arg, Oid relid)
{
	topics_changed = true;
}

List *
eventlog_mirror_worker_slots(void)
{
	List	   *slots = NIL;
	ListCell   *lc;

	foreach(lc, loaded_mirrors)
	{
		Loaded	   *loaded = lfirst(lc);

		if (loaded->slot != NULL)
			slots = lappend(slots, loaded->slot);
	}
	return slots;
}

/* ---- jobs ---- */

static EventlogMirrorJob *
add_job(Oid owner)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	EventlogMirrorJob *job = palloc0(sizeof(EventlogMirrorJob));

	job->owner = owner;
	eventlog_mirror_jobs = lappend(eventlog_mirror_jobs, job);
	MemoryContextSwitchTo(old);
	return job;
}

static void
close_job(EventlogMirrorJob *job)
{
	for (int i = 0; i < job->npairs; i++)
	{
		/* a consumer has all pairs of its mirrors, a producer one of a pattern's */
		if (job->in != NULL)
			job->pairs[i].slot->troubled = 0;
		else if (job->pairs[i].phase >= EVENTLOG_MIRROR_FAILED)
			job->pairs[i].slot->troubled--;
	}
	if (job->out != NULL)
		eventlog_mirror_out_close(job->out);
	if (job->in != NULL)
		eventlog_mirror_in_close(job->in);
	eventlog_mirror_jobs = list_delete_ptr(eventlog_mirror_jobs, job);
	if (job->pairs != NULL)
		pfree(job->pairs);
	pfree(job);
}

/* Has the job something of the mirror? */
static bool
is_of(const EventlogMirrorJob *job, const EventlogMirror *mirror)
{
	for (int i = 0; i < job->npairs; i++)
		if (job->pairs[i].mirror == mirror)
			return true;
	return false;
}

static void
close_jobs_of(const EventlogMirror *mirror)
{
	List	   *all = list_copy(eventlog_mirror_jobs);
	ListCell   *lc;

	foreach(lc, all)
	{
		EventlogMirrorJob *job = lfirst(lc);

		if (is_of(job, mirror))
			close_job(job);
	}
	list_free(all);
}

/* All consumers of an owner. */
static void
close_incoming(Oid owner)
{
	List	   *all = list_copy(eventlog_mirror_jobs);
	ListCell   *lc;

	foreach(lc, all)
	{
		EventlogMirrorJob *job = lfirst(lc);

		if (job->out == NULL && job->owner == owner)
			close_job(job);
	}
	list_free(all);
}

static EventlogMirrorPair *
add_pair(EventlogMirrorJob *job, const Loaded *loaded, const char *topic, const char *kafka_topic)
{
	EventlogMirror *mirror = loaded->mirror;
	EventlogMirrorPair *pair;

	job->pairs = job->pairs == NULL ? MemoryContextAlloc(TopMemoryContext, sizeof(EventlogMirrorPair)) :
		repalloc(job->pairs, sizeof(EventlogMirrorPair) * (job->npairs + 1));
	pair = &job->pairs[job->npairs++];
	memset(pair, 0, sizeof(EventlogMirrorPair));
	pair->mirror = mirror;
	pair->slot = loaded->slot;
	pair->topic = topic;
	pair->kafka_topic = kafka_topic;
	pair->options = loaded->options;
	pair->noptions = loaded->noptions;
	pair->group = mirror->identity;
	return pair;
}

static void
add_outgoing(Loaded *loaded, const char *topic, const char *kafka_topic)
{
	EventlogMirror *mirror = loaded->mirror;
	EventlogMirrorJob *job = add_job(mirror->owner);
	MemoryContext old = MemoryContextSwitchTo(loaded->context);
	EventlogMirrorPair *pair = add_pair(job, loaded, pstrdup(topic), pstrdup(kafka_topic));

	if (!mirror->config->at_least_once)
		pair->transactional_id = mirror->pattern ? psprintf("%s-%s", mirror->identity, topic) :
			mirror->identity;
	job->out = eventlog_mirror_out_create(pair, api);
	MemoryContextSwitchTo(old);
}

static EventlogMirrorJob *
find_outgoing(const EventlogMirror *mirror, const char *topic)
{
	ListCell   *lc;

	foreach(lc, eventlog_mirror_jobs)
	{
		EventlogMirrorJob *job = lfirst(lc);

		if (job->out != NULL && job->pairs[0].mirror == mirror && strcmp(job->pairs[0].topic, topic) == 0)
			return job;
	}
	return NULL;
}

/* A pattern's topic is new: mirror it, unless it would be a loop. */
static void
find_outgoing_topic(Loaded *loaded, const char *topic, const char *kafka_topic)
{
	if (!eventlog_mirror_would_loop(loaded->mirror, topic, kafka_topic))
		add_outgoing(loaded, topic, kafka_topic);
}

/*
 * An outgoing pattern: jobs for our topics that match and have none, and none
 * for those that are gone, or left out.  In a transaction.
 */
static void
match_topics(Loaded *loaded, TimestampTz now)
{
	EventlogMirror *mirror = loaded->mirror;
	List	   *relids = eventlog_topic_catalog_list(CurrentMemoryContext);
	List	   *jobs = list_copy(eventlog_mirror_jobs);
	ListCell   *lc;
	int			ntopics = 0;

	foreach(lc, jobs)
	{
		EventlogMirrorJob *job = lfirst(lc);

		if (job->out != NULL && job->pairs[0].mirror == mirror &&
			(job->pairs[0].left_out || eventlog_topic_by_name(job->pairs[0].topic, true) == NULL))
			close_job(job);
	}
	foreach(lc, relids)
	{
		EventlogTopic *topic = eventlog_topic_by_relid(lfirst_oid(lc));
		char	   *name = topic != NULL ? pstrdup(topic->name) : NULL;
		char	   *target = name != NULL ? eventlog_mirror_map_topic(mirror, name) : NULL;

		if (target == NULL)
			continue;
		ntopics++;
		if (find_outgoing(mirror, name) == NULL)
			find_outgoing_topic(loaded, name, target);
	}
	loaded->slot->ntopics = ntopics;
	if (ntopics == 0)
		eventlog_mirror_slot_phase(loaded->slot, EVENTLOG_MIRROR_STREAMING, NULL);
	loaded->refresh_at = now + mirror->config->refresh_ms * INT64CONST(1000);
}

/*
 * A consumer reads a topic once: mirrors of the same topic need one each, and
 * so do patterns, which may find any.
 */
static bool
may_join(const EventlogMirrorJob *job, const EventlogMirror *mirror)
{
	for (int i = 0; i < job->npairs; i++)
	{
		if (mirror->pattern || job->pairs[i].mirror->pattern ||
			strcmp(job->pairs[i].kafka_topic, mirror->kafka_topic) == 0)
			return false;
	}
	return true;
}

/* Consumers for the incoming mirrors that have none. */
static void
make_incoming(void)
{
	ListCell   *lc;
	ListCell   *lj;

	foreach(lc, loaded_mirrors)
	{
		Loaded	   *loaded = lfirst(lc);
		EventlogMirror *mirror = loaded->mirror;
		EventlogMirrorJob *job = NULL;
		bool		has_one = false;

		if (mirror == NULL || mirror->out)
			continue;
		foreach(lj, eventlog_mirror_jobs)
		{
			EventlogMirrorJob *other = lfirst(lj);

			has_one |= is_of(other, mirror);
			if (job == NULL && other->out == NULL && other->in == NULL &&
				other->owner == mirror->owner && may_join(other, mirror))
				job = other;
		}
		if (!has_one)
			(void) add_pair(job != NULL ? job : add_job(mirror->owner), loaded, mirror->topic, mirror->kafka_topic);
	}
	foreach(lj, eventlog_mirror_jobs)
	{
		EventlogMirrorJob *job = lfirst(lj);

		if (job->out == NULL && job->in == NULL)
			job->in = eventlog_mirror_in_create(job->pairs, job->npairs, api);
	}
}

/* ---- mirrors ---- */

static void
forget(Loaded *loaded)
{
	if (loaded->mirror != NULL && loaded->mirror->out)
		close_jobs_of(loaded->mirror);
	else if (loaded->mirror != NULL)
		close_incoming(loaded->mirror->owner);
	if (loaded->slot != NULL)
		eventlog_mirror_slot_release(loaded->slot);
	loaded_mirrors = list_delete_ptr(loaded_mirrors, loaded);
	MemoryContextDelete(loaded->context);
}

/* Options of the mirror: its server's, its owner's mapping, its own. */
static void
load_options(Loaded *loaded, const EventlogMirror *mirror)
{
	EventlogMirrorOption *options;
	Oid			serverid;
	int			n = eventlog_mirror_options_load(mirror->server, mirror->owner, &serverid, &options);

	loaded->options = palloc(sizeof(EventlogKafkaOption) * (n + mirror->config->noptions + 1));
	for (int i = 0; i < n + mirror->config->noptions; i++)
	{
		const EventlogMirrorOption *from = i < n ? &options[i] : &mirror->config->options[i - n];

		loaded->options[i].name = from->name;
		loaded->options[i].value = from->value;
	}
	loaded->noptions = n + mirror->config->noptions;
}

typedef struct OptionsArg
{
	Loaded		loaded;
	const EventlogMirror *mirror;
} OptionsArg;

static void
try_options(void *arg)
{
	OptionsArg *options = arg;

	load_options(&options->loaded, options->mirror);
}

/* All that a mirror depends on, as a text. */
static char *
make_signature(const EventlogMirror *mirror)
{
	StringInfoData text;
	OptionsArg	arg = {.mirror = mirror};
	ErrorData  *error = NULL;

	initStringInfo(&text);
	/* of the generation, what resume_mirror() counts, not what workers do */
	appendStringInfo(&text, "%u %u %d %d %s\n%s\n%s\n%s\n%s\n%s\n", (uint32) (mirror->generation >> 32),
					 mirror->owner, mirror->out, mirror->restart != NULL,
					 mirror->identity, mirror->name, mirror->server, mirror->topic, mirror->kafka_topic,
					 mirror->stopped != NULL ? mirror->stopped : "");
	appendStringInfoString(&text, JsonbToCString(NULL, &mirror->config_json->root, VARSIZE(mirror->config_json)));
	if (mirror->config != NULL)
		error = eventlog_subtransaction_run(try_options, &arg);
	if (error != NULL)
	{
		if (eventlog_subtransaction_must_rethrow(error))
			ReThrowError(error);
		appendStringInfo(&text, "\n%s", error->message);
	}
	for (int i = 0; i < arg.loaded.noptions; i++)
		appendStringInfo(&text, "\n%s=%s", arg.loaded.options[i].name, arg.loaded.options[i].value);
	return text.data;
}

/* Why a mirror does not run, as the catalogue has it. */
static void
tell_stopped(const Loaded *loaded, const EventlogMirror *mirror)
{
	const char *message = mirror->config != NULL ? strstr(mirror->stopped, ": ") : NULL;
	EventlogMirrorPhase phase = strncmp(mirror->stopped, "diverged", 8) == 0 ?
		EVENTLOG_MIRROR_DIVERGED : EVENTLOG_MIRROR_STOPPED;

	eventlog_mirror_slot_phase(loaded->slot, phase, message != NULL ? message + 2 : mirror->stopped);
}

/* Make the jobs of a mirror, if it is to run here.  Outside of transactions. */
static void
start_mirror(Loaded *loaded, EventlogMirror *mirror)
{
	MemoryContext old;

	if (mirror->stopped != NULL)
	{
		tell_stopped(loaded, mirror);
		return;
	}
	if (!eventlog_mirror_enter(mirror, loaded->slot))
		return;
	eventlog_mirror_slot_phase(loaded->slot, EVENTLOG_MIRROR_CONNECTING, NULL);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	old = MemoryContextSwitchTo(loaded->context);
	load_options(loaded, mirror);
	if (!mirror->pattern && (mirror->out || !mirror->config->create_topic))
		eventlog_mirror_check_topic(mirror->owner, mirror->topic, mirror->out);
	loaded->mirror = mirror;
	MemoryContextSwitchTo(old);
	if (!mirror->out)
		close_incoming(mirror->owner);
	else if (mirror->pattern)
		match_topics(loaded, GetCurrentTimestamp());
	else
		add_outgoing(loaded, mirror->topic, mirror->kafka_topic);
	CommitTransactionCommand();
}

/* A mirror that cannot be started says so, and the others are. */
static void
try_start(Loaded *loaded, EventlogMirror *mirror)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		start_mirror(loaded, mirror);
		loaded->failures = 0;
		loaded->retry_at = 0;
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
		if (loaded->mirror != NULL && loaded->mirror->out)
			close_jobs_of(loaded->mirror);
		loaded->mirror = NULL;
		loaded->retry_at = GetCurrentTimestamp() + eventlog_mirror_backoff_ms(loaded->failures++) * 1000;
		eventlog_mirror_slot_failed(loaded->slot, EVENTLOG_MIRROR_FAILED, error->message,
									loaded->failures, loaded->retry_at);
		FreeErrorData(error);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/*
 * A mirror as it was just seen in the catalogue, with its signature.  One that
 * has failed before takes that count with it.
 */
static void
load_mirror(const EventlogMirror *seen, const char *signature, int failures)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "eventlog mirror", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Loaded	   *loaded = palloc0(sizeof(Loaded));
	EventlogMirror *mirror = NULL;

	loaded->id = seen->id;
	loaded->context = context;
	loaded->signature = pstrdup(signature);
	loaded->failures = failures;
	loaded->slot = eventlog_mirror_slot_take(seen->id, seen->owner);
	MemoryContextSwitchTo(TopMemoryContext);
	loaded_mirrors = lappend(loaded_mirrors, loaded);
	if (loaded->slot == NULL)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("mirror \"%s\" is not started: there are too many", seen->name)));
	else if (seen->config == NULL)
		tell_stopped(loaded, seen);
	else
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		MemoryContextSwitchTo(context);
		mirror = eventlog_mirror_load(NULL, seen->id, false, true);
		if (mirror != NULL)
			eventlog_mirror_read_config(mirror);
		CommitTransactionCommand();
		MemoryContextSwitchTo(old);
		if (mirror != NULL && !mirror->paused)
			try_start(loaded, mirror);
	}
	MemoryContextSwitchTo(old);
}

static Loaded *
find_loaded(int32 id)
{
	ListCell   *lc;

	foreach(lc, loaded_mirrors)
	{
		Loaded	   *loaded = lfirst(lc);

		if (loaded->id == id)
			return loaded;
	}
	return NULL;
}

/* Is the mirror to stay as it is? */
static bool
can_keep(const Loaded *loaded, const char *signature, bool again, TimestampTz now)
{
	if (strcmp(loaded->signature, signature) != 0)
		return false;
	if (loaded->retry_at != 0 && (again || loaded->retry_at <= now))
		return false;
	return !again || (loaded->slot != NULL && loaded->slot->phase < EVENTLOG_MIRROR_FAILED);
}

/* The mirrors of the server that are not paused, and their signatures. */
static List *
see_mirrors(List **signatures)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *seen = NIL;
	List	   *mirrors = NIL;
	ForeignServer *server;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	server = GetForeignServerExtended(server_id, FSV_MISSING_OK);
	if (server != NULL)
		seen = eventlog_mirror_load_list(server->servername);
	foreach(lc, seen)
	{
		EventlogMirror *mirror = lfirst(lc);

		if (mirror->paused)
			continue;
		mirrors = lappend(mirrors, mirror);
		*signatures = lappend(*signatures, make_signature(mirror));
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return mirrors;
}

static void
look_at_catalogue(bool again)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "eventlog mirrors seen", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TimestampTz now = GetCurrentTimestamp();
	List	   *signatures = NIL;
	List	   *mirrors = see_mirrors(&signatures);
	List	   *before = list_copy(loaded_mirrors);
	ListCell   *lc;
	ListCell   *ls;

	foreach(lc, before)
		((Loaded *) lfirst(lc))->keep = false;
	forboth(lc, mirrors, ls, signatures)
	{
		Loaded	   *loaded = find_loaded(((EventlogMirror *) lfirst(lc))->id);

		if (loaded != NULL)
			loaded->keep = can_keep(loaded, lfirst(ls), again, now);
	}
	forboth(lc, mirrors, ls, signatures)
	{
		EventlogMirror *mirror = lfirst(lc);
		Loaded	   *loaded = find_loaded(mirror->id);
		int			failures = loaded != NULL ? loaded->failures : 0;

		if (loaded != NULL && loaded->keep)
			continue;
		if (loaded != NULL)
			forget(loaded);
		load_mirror(mirror, lfirst(ls), failures);
		find_loaded(mirror->id)->keep = true;
	}
	before = list_copy(loaded_mirrors);
	foreach(lc, before)
	{
		if (!((Loaded *) lfirst(lc))->keep)
			forget(lfirst(lc));
	}
	make_incoming();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
eventlog_mirror_load_jobs(Oid serverid, const EventlogKafkaApi *kafka, bool again)
{
	static bool registered = false;

	server_id = serverid;
	api = kafka;
	if (!registered)
	{
		registered = true;
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, options_may_differ, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, options_may_differ, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGUSERSERVER, options_may_differ, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, options_may_differ, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, options_may_differ, (Datum) 0);
	}
	options_changed = false;
	look_at_catalogue(again);
}

/* Topics of outgoing patterns.  An error is told, and the rest goes on. */
static void
refresh_patterns(TimestampTz now, bool all)
{
	MemoryContext context = CurrentMemoryContext;
	ListCell   *lc;

	foreach(lc, loaded_mirrors)
	{
		Loaded	   *loaded = lfirst(lc);

		if (loaded->refresh_at == 0 || loaded->mirror == NULL || (!all && loaded->refresh_at > now))
			continue;
		PG_TRY();
		{
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			match_topics(loaded, now);
			CommitTransactionCommand();
		}
		PG_CATCH();
		{
			HOLD_INTERRUPTS();
			EmitErrorReport();
			FlushErrorState();
			AbortOutOfAnyTransaction();
			loaded->refresh_at = now + loaded->mirror->config->refresh_ms * INT64CONST(1000);
			RESUME_INTERRUPTS();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
	}
}

/* Mirrors to Kafka find out whether their topics are still the ones they were. */
static void
check_topics(void)
{
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	foreach(lc, eventlog_mirror_jobs)
	{
		EventlogMirrorJob *job = lfirst(lc);

		if (job->out != NULL)
			eventlog_mirror_out_check_topic(job->out);
	}
	CommitTransactionCommand();
}

void
eventlog_mirror_refresh_jobs(TimestampTz now)
{
	static TimestampTz looked_at = 0;
	bool		look = options_changed;
	ListCell   *lc;

	if (now - looked_at < LOOK_MS * INT64CONST(1000))
		return;
	looked_at = now;

	/* whatever there is of invalidations comes with this */
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	CommitTransactionCommand();
	foreach(lc, loaded_mirrors)
	{
		Loaded	   *loaded = lfirst(lc);

		look |= loaded->retry_at != 0 && loaded->retry_at <= now;
	}
	if (look)
		eventlog_mirror_load_jobs(server_id, api, false);
	look = topics_changed;
	topics_changed = false;
	refresh_patterns(now, look);
	if (look)
		check_topics();
}

void
eventlog_mirror_close_jobs(void)
{
	while (loaded_mirrors != NIL)
		forget(linitial(loaded_mirrors));
}
