/*-------------------------------------------------------------------------
 *
 * kafka_request.c
 *	  A question to a Kafka cluster, asked by a process that lives for it alone.
 *
 * librdkafka has threads, which must not live in a user's backend.  So the
 * backend starts a background worker, hands it the question in a segment of
 * shared memory, and waits for the answer, a line of JSON through a queue in
 * that segment.  The worker connects to no database.  It ends when it has
 * answered, when its time is up, or when the backend has gone, which a flag in
 * the segment tells.
 *
 * Options may have secrets: they are wiped from the segment as soon as the
 * worker has read them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include <unistd.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kafka_api.h"
#include "kafka_request.h"
#include "worker.h"

#define REQUEST_MAGIC	0x45764b72
#define KEY_HEADER		0
#define KEY_QUEUE		1
#define QUEUE_BYTES		(64 * 1024)

/* How often the worker looks whether anybody still waits. */
#define SLICE_MS		100

/* At its end, a client gets this much time to go. */
#define CLOSE_MS		500

/* Operations know their time limit themselves; this much later nobody waits. */
#define GRACE_MS		1000

#define MAX_ANSWER_TOPICS	100000

/* What the worker is given; texts follow, each with its zero byte. */
typedef struct Header
{
	pg_atomic_uint32 abandoned; /* nobody waits any more */
	EventlogKafkaAsk ask;
	int			timeout_ms;
	int			noptions;
	int			nplaces;
	bool		has_group;
	Size		size;			/* of texts */
	char		texts[FLEXIBLE_ARRAY_MEMBER];
} Header;

/* ---- the backend's side ---- */

static void
append_text(StringInfo buf, const char *text)
{
	appendBinaryStringInfo(buf, text, strlen(text) + 1);
}

static void
write_texts(StringInfo buf, const EventlogKafkaRequest *request)
{
	for (int i = 0; i < request->noptions; i++)
	{
		append_text(buf, request->options[i].name);
		append_text(buf, request->options[i].value);
	}
	if (request->group != NULL)
		append_text(buf, request->group);
	for (int i = 0; i < request->nplaces; i++)
	{
		append_text(buf, request->places[i].topic);
		append_text(buf, psprintf("%d", request->places[i].partition));
		append_text(buf, psprintf(INT64_FORMAT, request->places[i].offset));
	}
}

/* The segment goes, be it at an error. */
static void
abandon(dsm_segment *segment, Datum arg)
{
	pg_atomic_write_u32(&((Header *) DatumGetPointer(arg))->abandoned, 1);
}

static dsm_segment *
make_segment(const EventlogKafkaRequest *request, shm_mq **mq)
{
	shm_toc_estimator estimator;
	StringInfoData texts;
	dsm_segment *segment;
	shm_toc    *toc;
	Header	   *header;

	initStringInfo(&texts);
	write_texts(&texts, request);
	shm_toc_initialize_estimator(&estimator);
	shm_toc_estimate_chunk(&estimator, offsetof(Header, texts) + texts.len);
	shm_toc_estimate_chunk(&estimator, QUEUE_BYTES);
	shm_toc_estimate_keys(&estimator, 2);
	segment = dsm_create(shm_toc_estimate(&estimator), 0);
	toc = shm_toc_create(REQUEST_MAGIC, dsm_segment_address(segment),
						 dsm_segment_map_length(segment));
	header = shm_toc_allocate(toc, offsetof(Header, texts) + texts.len);
	memset(header, 0, offsetof(Header, texts));
	pg_atomic_init_u32(&header->abandoned, 0);
	header->ask = request->ask;
	header->timeout_ms = request->timeout_ms;
	header->noptions = request->noptions;
	header->nplaces = request->nplaces;
	header->has_group = request->group != NULL;
	header->size = texts.len;
	memcpy(header->texts, texts.data, texts.len);
	shm_toc_insert(toc, KEY_HEADER, header);
	*mq = shm_mq_create(shm_toc_allocate(toc, QUEUE_BYTES), QUEUE_BYTES);
	shm_toc_insert(toc, KEY_QUEUE, *mq);
	shm_mq_set_receiver(*mq, MyProc);
	on_dsm_detach(segment, abandon, PointerGetDatum(header));

	explicit_bzero(texts.data, texts.len);
	pfree(texts.data);
	return segment;
}

/* Bytes of brokers are anything: what is not text here becomes "?". */
static char *
clean(const char *bytes, Size len)
{
	char	   *text = pnstrdup(bytes, len);

	if (!pg_verifymbstr(text, strlen(text), true))
	{
		for (char *p = text; *p != '\0'; p++)
			if (IS_HIGHBIT_SET(*p))
				*p = '?';
	}
	return text;
}

static char *
answer_text(Jsonb *answer, const char *field)
{
	JsonbValue	buf;
	JsonbValue *value = getKeyJsonValueFromContainer(&answer->root, field, strlen(field), &buf);

	return value == NULL || value->type != jbvString ? NULL :
		pnstrdup(value->val.string.val, value->val.string.len);
}

/* Offsets of an answer, in the order of the request. */
static void
take_offsets(EventlogKafkaRequest *request, Jsonb *answer)
{
	JsonbValue	buf;
	JsonbValue *list = getKeyJsonValueFromContainer(&answer->root, "offsets", 7, &buf);

	for (int i = 0; i < request->nplaces; i++)
	{
		JsonbValue *value = list == NULL || list->type != jbvBinary ? NULL :
			getIthJsonbValueFromContainer(list->val.binary.data, i);

		request->places[i].offset = value == NULL || value->type != jbvNumeric ? -1 :
			DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
	}
}

Jsonb *
eventlog_kafka_ask(EventlogKafkaRequest *request, char **error)
{
	dsm_segment *segment;
	shm_mq	   *mq;
	shm_mq_handle *queue;
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	Jsonb	   *answer = NULL;
	Size		len;
	void	   *data;

	segment = make_segment(request, &mq);
	eventlog_worker_describe(&worker, "Kafka request", "eventlog_kafka_request_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker could be started to ask the Kafka cluster"),
				 errhint("All of max_worker_processes are in use.")));
	queue = shm_mq_attach(mq, segment, handle);

	*error = NULL;
	if (shm_mq_receive(queue, &len, &data, false) != SHM_MQ_SUCCESS)
		*error = pstrdup("the process that asks the cluster has ended; the server's log may say why");
	else
	{
		answer = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(clean(data, len))));
		*error = answer_text(answer, "error");
	}
	dsm_detach(segment);
	if (*error != NULL)
		return NULL;
	if (request->ask == EVENTLOG_ASK_COMMITTED)
		take_offsets(request, answer);
	return answer;
}

/* ---- the worker's side ---- */

static Header *header = NULL;
static const EventlogKafkaApi *api = NULL;
static EventlogKafkaClient *client = NULL;
static bool threads_left = false;
static TimestampTz give_up_at = 0;

/* As read from the segment. */
static EventlogKafkaOption *options;
static char *group = NULL;
static EventlogKafkaOffset *places;

/* Runs last: exit handlers of libraries must not meet threads that run. */
static void
leave_at_once(int code, Datum arg)
{
	if (threads_left)
		_exit(code);
}

static void
close_client(int code, Datum arg)
{
	if (client == NULL)
		return;
	threads_left = !api->close(client, CLOSE_MS);
	client = NULL;
}

static const char *
next_text(const char **p)
{
	const char *text = *p;

	*p += strlen(text) + 1;
	return pstrdup(text);
}

static void
read_request(void)
{
	const char *p = header->texts;

	options = palloc(sizeof(EventlogKafkaOption) * Max(header->noptions, 1));
	for (int i = 0; i < header->noptions; i++)
	{
		options[i].name = next_text(&p);
		options[i].value = next_text(&p);
	}
	if (header->has_group)
		group = unconstify(char *, next_text(&p));
	places = palloc0(sizeof(EventlogKafkaOffset) * Max(header->nplaces, 1));
	for (int i = 0; i < header->nplaces; i++)
	{
		places[i].topic = next_text(&p);
		places[i].partition = atoi(next_text(&p));
		places[i].offset = strtoi64(next_text(&p), NULL, 10);
	}
	explicit_bzero(header->texts, header->size);
}

static void
put_json(StringInfo answer, const char *name, const char *value)
{
	appendStringInfo(answer, "%s\"%s\":", answer->len > 1 ? "," : "", name);
	escape_json(answer, value);
}

/*
 * librdkafka before 2.6.1 sends a nonce that brokers from 4.0 on reject, as if
 * the password were wrong (its issue 4895).
 */
static const char *
explain(const char *message)
{
	int			major;
	int			minor;
	int			patch;

	if (strstr(message, "SCRAM") == NULL ||
		sscanf(api->library_version(), "%d.%d.%d", &major, &minor, &patch) != 3 ||
		major * 10000 + minor * 100 + patch >= 20601)
		return message;
	return psprintf("%s; Kafka from 4.0 on refuses SCRAM from librdkafka before 2.6.1, and this is %s",
					message, api->library_version());
}

/*
 * What librdkafka reports of brokers that cannot be reached says more than that
 * the time is up.
 */
static void
put_error(StringInfo answer, EventlogKafkaError *error)
{
	EventlogKafkaError broker;

	resetStringInfo(answer);
	appendStringInfoChar(answer, '{');
	if (client != NULL && (error->code == EVENTLOG_KAFKA_ERR_TIMED_OUT ||
						   error->code == EVENTLOG_KAFKA_ERR_TRANSPORT ||
						   error->code == EVENTLOG_KAFKA_ERR_ALL_BROKERS_DOWN) &&
		api->broker_error(client, &broker))
		put_json(answer, "error", explain(broker.message));
	else
		put_json(answer, "error", error->message[0] != '\0' ? error->message : error->name);
}

/*
 * Wait for the operation; leaves if nobody wants its result any more.  There
 * are operations of librdkafka that do not heed their time limits, so the
 * whole request has one.
 */
static bool
wait_for(EventlogKafkaError *error)
{
	EventlogKafkaOpState state;
	int			level;
	char		line[1024];

	while ((state = api->op_wait(client, SLICE_MS, error)) == EVENTLOG_KAFKA_OP_RUNNING)
	{
		eventlog_worker_check();
		api->poll(client);
		while (api->poll_log(client, &level, line, sizeof(line)))
			;					/* what matters is in the answer */
		if (pg_atomic_read_u32(&header->abandoned) != 0)
			proc_exit(0);
		if (GetCurrentTimestamp() > give_up_at)
		{
			memset(error, 0, sizeof(*error));
			error->code = EVENTLOG_KAFKA_ERR_TIMED_OUT;
			strlcpy(error->message, "no answer in time", sizeof(error->message));
			return false;
		}
	}
	return state == EVENTLOG_KAFKA_OP_DONE;
}

static bool
open_client(EventlogKafkaError *error)
{
	EventlogKafkaOpen how = {0};
	bool		commit = header->ask == EVENTLOG_ASK_COMMIT;

	how.kind = commit ? EVENTLOG_KAFKA_PRODUCER : EVENTLOG_KAFKA_ADMIN;
	how.transactional_id = commit ? psprintf("pg_eventlog-group-%s", group) : NULL;
	how.options = options;
	how.noptions = header->noptions;
	client = api->open(&how, error);
	return client != NULL;
}

static void
put_cluster(StringInfo answer)
{
	const EventlogKafkaMetadata *found = api->metadata(client);

	put_json(answer, "cluster_id", found->cluster_id);
	put_json(answer, "librdkafka", api->library_version());
	appendStringInfo(answer, ",\"latency_ms\":%.3f,\"brokers\":[", found->latency_ms);
	for (int i = 0; i < found->nbrokers; i++)
	{
		appendStringInfo(answer, "%s{\"id\":%d,\"port\":%d,\"host\":", i > 0 ? "," : "",
						 found->brokers[i].id, found->brokers[i].port);
		escape_json(answer, found->brokers[i].host);
		appendStringInfoChar(answer, '}');
	}
	appendStringInfoString(answer, "],\"topics\":[");
	for (int i = 0; i < Min(found->ntopics, MAX_ANSWER_TOPICS); i++)
	{
		const EventlogKafkaTopic *topic = &found->topics[i];

		appendStringInfo(answer, "%s{\"partitions\":%d,\"replication_factor\":%d,\"leaderless\":%d,"
						 "\"error\":%d,\"topic\":", i > 0 ? "," : "", topic->partitions,
						 topic->replication_factor, topic->leaderless, topic->code);
		escape_json(answer, topic->name);
		appendStringInfoChar(answer, '}');
	}
	appendStringInfoChar(answer, ']');
}

static bool
put_offsets(StringInfo answer, EventlogKafkaError *error)
{
	int			count;
	const EventlogKafkaOffset *found = api->offsets(client, &count);

	appendStringInfoString(answer, "\"offsets\":[");
	for (int i = 0; i < count; i++)
	{
		if (found[i].code != 0)
		{
			snprintf(error->message, sizeof(error->message),
					 "Kafka's error %d for partition %d of topic \"%s\"", found[i].code,
					 found[i].partition, found[i].topic);
			return false;
		}
		appendStringInfo(answer, "%s" INT64_FORMAT, i > 0 ? "," : "", found[i].offset);
	}
	appendStringInfoChar(answer, ']');
	return true;
}

static bool
ask_committed(EventlogKafkaError *error)
{
	return api->start_committed(client, group, places, header->nplaces, header->timeout_ms, error) &&
		wait_for(error);
}

/*
 * Offsets of a group without members, through a transaction of offsets alone.
 * Asking for them first has a new cluster make the topic that holds them: the
 * transaction would otherwise wait for it until its time is up.
 */
static bool
ask_commit(EventlogKafkaError *error)
{
	return api->start_init(client, header->timeout_ms, error) && wait_for(error) &&
		ask_committed(error) && api->begin(client, error) &&
		api->start_commit(client, group, places, header->nplaces, header->timeout_ms, error) &&
		wait_for(error);
}

static void
answer_request(StringInfo answer)
{
	EventlogKafkaError error = {0};
	bool		done;

	give_up_at = GetCurrentTimestamp() + (header->timeout_ms + GRACE_MS) * INT64CONST(1000);
	done = open_client(&error);
	if (done)
	{
		switch (header->ask)
		{
			case EVENTLOG_ASK_CLUSTER:
				done = api->start_metadata(client, NULL, header->timeout_ms, &error) &&
					wait_for(&error);
				if (done)
					put_cluster(answer);
				break;
			case EVENTLOG_ASK_COMMITTED:
				done = ask_committed(&error) && put_offsets(answer, &error);
				break;
			case EVENTLOG_ASK_COMMIT:
				done = ask_commit(&error);
				break;
		}
	}
	if (!done)
	{
		if (client != NULL)
			api->poll(client);
		put_error(answer, &error);
	}
	appendStringInfoChar(answer, '}');
}

static shm_mq_handle *queue = NULL;
static StringInfoData answer;

static void
serve(void)
{
	EventlogKafkaGetApi get = (EventlogKafkaGetApi)
		load_external_function("$libdir/pg_eventlog_kafka", "eventlog_kafka_api", true, NULL);

	api = get();
	if (api->version != EVENTLOG_KAFKA_API_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_eventlog_kafka belongs to another version of pg_eventlog"),
				 errhint("Install both together, and restart the server.")));
	before_shmem_exit(close_client, 0);
	read_request();
	initStringInfo(&answer);
	appendStringInfoChar(&answer, '{');
	answer_request(&answer);
}

static void
failed(const char *message)
{
	initStringInfo(&answer);
	appendStringInfoChar(&answer, '{');
	put_json(&answer, "error", message);
	appendStringInfoChar(&answer, '}');
}

void
eventlog_kafka_request_main(Datum arg)
{
	dsm_segment *segment;
	shm_toc    *toc;
	shm_mq	   *mq;

	on_proc_exit(leave_at_once, 0);
	eventlog_worker_begin();
	segment = dsm_attach(DatumGetUInt32(arg));
	toc = segment == NULL ? NULL : shm_toc_attach(REQUEST_MAGIC, dsm_segment_address(segment));
	if (toc == NULL)
		proc_exit(0);			/* whoever asked has gone */
	header = shm_toc_lookup(toc, KEY_HEADER, false);
	mq = shm_toc_lookup(toc, KEY_QUEUE, false);
	shm_mq_set_sender(mq, MyProc);
	queue = shm_mq_attach(mq, segment, NULL);
	MemoryContextSwitchTo(TopMemoryContext);
	(void) eventlog_worker_run(serve, failed);
	(void) shm_mq_send(queue, answer.len, answer.data, false, true);
	dsm_detach(segment);
	proc_exit(0);
}
