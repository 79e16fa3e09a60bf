/*-------------------------------------------------------------------------
 *
 * capture_sink.c
 *	  The encoder's records, into topics.
 *
 * A topic is looked up, and the owner's right to produce to it checked, once in
 * each transaction.  A topic that does not exist is created in the name of the
 * owner, with the capture's configs: so both it and its first record are there
 * or neither is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "capture_sink.h"
#include "capture_start.h"
#include "produce.h"
#include "topic.h"

extern Datum eventlog_create_topic(PG_FUNCTION_ARGS);

/* What is known of a topic, behind EventlogCaptureTopic.sink. */
typedef struct Target
{
	EventlogTopic *topic;
	uint64		transaction;	/* in which it was looked up last */
} Target;

typedef struct TopicSink
{
	EventlogCaptureSink base;
	const EventlogCapture *capture;
} TopicSink;

static uint64 transaction = 0;
static uint64 records = 0;
static uint64 bytes = 0;

static EventlogTopic *
create_topic(const EventlogCapture *capture, const EventlogCaptureTopic *topic)
{
	const EventlogCaptureConfig *config = capture->config;
	NameData	schema;
	Oid			type = topic->plain ? TEXTOID : JSONOID;

	namestrcpy(&schema, config->topic_schema);
	(void) DirectFunctionCall6(eventlog_create_topic,
							   CStringGetTextDatum(topic->name),
							   Int32GetDatum(config->topic_partitions),
							   ObjectIdGetDatum(type),
							   ObjectIdGetDatum(type),
							   JsonbPGetDatum(config->topic_config),
							   NameGetDatum(&schema));
	CommandCounterIncrement();
	return eventlog_topic_by_name(topic->name, false);
}

/*
 * Who owns the topic reads it, and its triggers run in the name of who produces:
 * somebody else must not be able to catch a capture's records by making a topic
 * of the name first.
 */
static void
check_topic(const EventlogCapture *capture, const EventlogTopic *topic)
{
	HeapTuple	tuple;
	Oid			owner;

	eventlog_topic_check_acl(topic, ACL_INSERT);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(topic->relid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for topic \"%s\"", topic->name);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (!eventlog_capture_trusts(capture->owner, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("topic \"%s\" belongs to another role than capture \"%s\"",
						topic->name, capture->name),
				 errdetail("Role \"%s\", which owns the topic, would get all that is captured into it.",
						   GetUserNameFromId(owner, false)),
				 errhint("If that is meant, grant this role to \"%s\", which owns the capture.",
						 GetUserNameFromId(capture->owner, false))));
}

static EventlogTopic *
look_up(const EventlogCapture *capture, EventlogCaptureTopic *topic)
{
	Target	   *target = topic->sink;

	if (target == NULL)
		target = topic->sink = MemoryContextAllocZero(TopMemoryContext, sizeof(Target));
	if (target->transaction == transaction)
		return target->topic;
	target->topic = eventlog_topic_by_name(topic->name, true);
	if (target->topic == NULL)
		target->topic = create_topic(capture, topic);
	check_topic(capture, target->topic);
	target->transaction = transaction;
	return target->topic;
}

static void
emit(EventlogCaptureSink *sink, EventlogCaptureTopic *to, const EventlogRecord *rec,
	 int32 partition)
{
	EventlogTopic *topic = look_up(((TopicSink *) sink)->capture, to);
	EventlogRecord copy = *rec;

	if (partition < 0 && topic->npartitions == 1)
		partition = 0;
	if (partition >= topic->npartitions)
		eventlog_topic_check_partition(topic, partition);
	eventlog_produce_any(topic, partition, &copy);
	records++;
	bytes += Max(rec->key_len, 0) + Max(rec->value_len, 0) + rec->headers_len;
}

EventlogCaptureSink *
eventlog_capture_sink(const EventlogCapture *capture)
{
	TopicSink  *sink = palloc0(sizeof(TopicSink));

	sink->base.emit = emit;
	sink->capture = capture;
	return &sink->base;
}

void
eventlog_capture_sink_begin(void)
{
	transaction++;
	records = bytes = 0;
}

void
eventlog_capture_sink_forget(void)
{
	transaction++;
}

uint64
eventlog_capture_sink_records(void)
{
	return records;
}

uint64
eventlog_capture_sink_bytes(void)
{
	return bytes;
}
