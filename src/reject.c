/*-------------------------------------------------------------------------
 *
 * reject.c
 *	  Dead letters: reject().
 *
 * A record that cannot be processed is copied to the topic that the group's
 * config names, with headers that tell where it was and why, in the
 * transaction of whoever rejects it.  If that transaction has consumed the
 * record, its commit() passes over it like over the others.  If it has not,
 * as after a rollback, the record must be the next one of the group, and
 * rejecting it commits the offset behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "compat.h"
#include "consume.h"
#include "group.h"
#include "poll.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventlog_reject);

pg_noreturn static void
refuse(EventlogTopic *topic, int32 partition, int64 offset, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("offset %lld of partition %d of topic \"%s\" cannot be rejected",
					(long long) offset, partition, topic->name),
			 errdetail_internal("%s", why),
			 errhint("A record is rejected by the transaction that has consumed it, or when it is the group's next one.")));
}

/*
 * Copy one record, which must be the first at or behind "from".  The names of
 * the headers are those of KIP-1191.
 */
static void
copy_to(const char *dead_letters, const char *group, EventlogTopic *topic, int32 partition,
		int64 from, int64 offset, Datum reason, bool no_reason)
{
	/* topic, partition, where to look from, offset, dead letters, group, reason */
	static const char *const sql =
		"SELECT eventlog.produce($5::pg_catalog.text, r.key, r.value,"
		" pg_catalog.array_cat(r.headers, eventlog.headers("
		"'__dlq.errors.topic', $1, '__dlq.errors.partition', $2::pg_catalog.text,"
		" '__dlq.errors.offset', $4::pg_catalog.text, '__dlq.errors.group', $6,"
		" '__dlq.errors.message', $7)))"
		" FROM eventlog.read($1, $2, $3, 1) r"
		" WHERE r.record_offset OPERATOR(pg_catalog.=) $4";
	Oid			types[] = {TEXTOID, INT4OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(topic->name);
	values[1] = Int32GetDatum(partition);
	values[2] = Int64GetDatum(from);
	values[3] = Int64GetDatum(offset);
	values[4] = CStringGetTextDatum(dead_letters);
	values[5] = CStringGetTextDatum(group);
	values[6] = reason;
	if (no_reason)
		nulls[6] = 'n';
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_with_args(sql, lengthof(types), types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not copy a record to topic \"%s\"", dead_letters);
	if (SPI_processed != 1)
		refuse(topic, partition, offset, from < offset ?
			   psprintf("It is not the next record of group \"%s\", which is at offset %lld.",
						group, (long long) from) :
			   "There is no record at this offset.");
	SPI_finish();
}

/*
 * reject(consumer_group, topic, partition, record_offset, reason)
 */
Datum
eventlog_reject(PG_FUNCTION_ARGS)
{
	char	   *group;
	EventlogTopic *topic;
	int32		partition;
	int64		offset;
	const EventlogGroup *found;
	char	   *dead_letters;
	bool		member;
	int64		position;
	int64		first;

	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arguments of reject() must not be null")));
	}
	PreventCommandIfReadOnly("reject()");
	PreventCommandIfParallelMode("reject()");
	group = text_to_cstring(PG_GETARG_TEXT_PP(0));
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	partition = PG_GETARG_INT32(2);
	offset = PG_GETARG_INT64(3);
	eventlog_topic_check_acl(topic, ACL_SELECT);
	eventlog_topic_check_partition(topic, partition);
	eventlog_group_check_own(group, topic);

	found = eventlog_group_find(group, topic->relid);
	if (found == NULL || found->config.dead_letter_topic[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("consumer group \"%s\" has no topic for dead letters", group),
				 errhint("Name one by eventlog.alter_group() with {\"errors.deadletterqueue.topic.name\": \"...\"}; its types are best bytea.")));
	dead_letters = pstrdup(found->config.dead_letter_topic);

	member = eventlog_poll_is_member(group);
	position = member ? eventlog_poll_position(topic, partition, &first) :
		eventlog_consume_take(group, topic, partition, &first);
	if (offset < first)
		refuse(topic, partition, offset,
			   psprintf("Group \"%s\" has passed it, and is at offset %lld.",
						group, (long long) position));
	copy_to(dead_letters, group, topic, partition, Min(position, offset), offset,
			PG_ARGISNULL(4) ? (Datum) 0 : PG_GETARG_DATUM(4), PG_ARGISNULL(4));
	if (position <= offset)
	{
		if (member)
			eventlog_poll_pass(topic, partition, offset + 1);
		else
			eventlog_consume_pass(group, topic, partition, offset + 1);
	}
	PG_RETURN_VOID();
}
