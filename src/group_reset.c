/*-------------------------------------------------------------------------
 *
 * group_reset.c
 *	  reset_offsets(): moving the committed offsets of a consumer group.
 *
 * The targets are those of Kafka's consumer-groups tool.  Each partition's
 * claim is taken first, which waits (as long as lock_timeout allows) for the
 * transaction that consumes it; it is kept to the end of the transaction.  As
 * in Kafka, offsets are not reset while the group has members.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "consume.h"
#include "group.h"
#include "log_scan.h"
#include "log_storage.h"
#include "member.h"
#include "payload.h"
#include "position.h"
#include "topic.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(eventlog_reset_offsets);

typedef enum Target
{
	TO_EARLIEST,
	TO_LATEST,
	TO_CURRENT,
	TO_OFFSET,
	TO_DATETIME,
	BY_DURATION,
	SHIFT_BY
} Target;

typedef struct TargetDef
{
	const char *name;			/* in Kafka with "to-" in front, if to */
	bool		to;
	const char *value;			/* what the value is; NULL: there is none */
} TargetDef;

static const TargetDef targets[] = {
	[TO_EARLIEST] = {"earliest", true, NULL},
	[TO_LATEST] = {"latest", true, NULL},
	[TO_CURRENT] = {"current", true, NULL},
	[TO_OFFSET] = {"offset", true, "an offset"},
	[TO_DATETIME] = {"datetime", true, "a timestamp"},
	[BY_DURATION] = {"by-duration", false, "an interval"},
	[SHIFT_BY] = {"shift-by", false, "a number of offsets, negative to go back"},
};

typedef struct Reset
{
	Target		target;
	int64		number;			/* TO_OFFSET, SHIFT_BY */
	int64		time_ms;		/* TO_DATETIME, BY_DURATION */
} Reset;

static Target
find_target(const char *name)
{
	for (int i = 0; i < lengthof(targets); i++)
	{
		if (strcmp(name, targets[i].name) == 0 ||
			(targets[i].to && strncmp(name, "to-", 3) == 0 && strcmp(name + 3, targets[i].name) == 0))
			return (Target) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown target \"%s\"", name),
			 errhint("Targets are earliest, latest, current, offset, datetime, by-duration and shift-by.")));
	return TO_CURRENT;			/* keep compilers quiet */
}

static void
parse_value(Reset *reset, const char *value)
{
	const TargetDef *def = &targets[reset->target];

	if ((value != NULL) != (def->value != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 def->value == NULL ?
				 errmsg("target \"%s\" takes no value", def->name) :
				 errmsg("target \"%s\" needs a value", def->name),
				 def->value == NULL ? 0 : errdetail("It is %s.", def->value)));
	switch (reset->target)
	{
		case TO_OFFSET:
		case SHIFT_BY:
			reset->number = DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(value)));
			break;
		case TO_DATETIME:
			reset->time_ms =
				eventlog_timestamp_to_ms(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																				 CStringGetDatum(value),
																				 ObjectIdGetDatum(InvalidOid),
																				 Int32GetDatum(-1))));
			break;
		case BY_DURATION:
			{
				Datum		interval = DirectFunctionCall3(interval_in, CStringGetDatum(value),
														   ObjectIdGetDatum(InvalidOid),
														   Int32GetDatum(-1));
				Datum		then = DirectFunctionCall2(timestamptz_mi_interval,
													   TimestampTzGetDatum(GetCurrentTimestamp()),
													   interval);

				reset->time_ms = eventlog_timestamp_to_ms(DatumGetTimestampTz(then));
				break;
			}
		default:
			break;
	}
}

/*
 * The offset that the target means in one partition, within what the log
 * holds.
 */
static int64
target_offset(const Reset *reset, Relation leaf, int32 partition, int64 committed)
{
	int64		lso = eventlog_scan_lso_now(leaf, NULL);
	EventlogMetaHead meta;
	int64		offset = 0;
	int64		given;

	eventlog_storage_read_meta(leaf, &meta, NULL);
	switch (reset->target)
	{
		case TO_EARLIEST:
			return meta.log_start_offset;
		case TO_LATEST:
			return lso;
		case TO_CURRENT:
			offset = committed >= 0 ? committed : lso;
			break;
		case TO_OFFSET:
			offset = reset->number;
			break;
		case TO_DATETIME:
		case BY_DURATION:
			return eventlog_group_offset_for_time(leaf, reset->time_ms);
		case SHIFT_BY:
			offset = committed >= 0 ? committed : meta.log_start_offset;
			if (pg_add_s64_overflow(offset, reset->number, &offset))
				offset = reset->number < 0 ? 0 : PG_INT64_MAX;
			break;
	}
	given = offset;
	offset = Max(meta.log_start_offset, Min(offset, lso));
	if (offset != given)
		ereport(WARNING,
				(errmsg("offset %lld is out of range for partition %d: taking %lld",
						(long long) given, partition, (long long) offset)));
	return offset;
}

/*
 * reset_offsets(consumer_group, topic, target, value, partition, dry_run)
 */
Datum
eventlog_reset_offsets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *group;
	EventlogTopic *topic;
	Reset		reset = {0};
	bool		dry_run = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
	int			npartitions;
	Oid		   *leaves;
	Oid			relid;
	Datum		topic_name;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("consumer_group, topic and target must not be null")));
	if (!dry_run)
	{
		PreventCommandIfReadOnly("reset_offsets()");
		PreventCommandIfParallelMode("reset_offsets()");
	}
	group = text_to_cstring(PG_GETARG_TEXT_PP(0));
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	eventlog_topic_check_acl(topic, ACL_SELECT);
	eventlog_group_check_own(group, topic);
	if (!dry_run && eventlog_member_count(group) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("consumer group \"%s\" has members", group),
				 errhint("Offsets are reset while a group is inactive: have its members call eventlog.unsubscribe(), or end their sessions.")));
	reset.target = find_target(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	parse_value(&reset, PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3)));
	if (!PG_ARGISNULL(4))
		eventlog_topic_check_partition(topic, PG_GETARG_INT32(4));

	InitMaterializedSRF(fcinfo, 0);
	relid = topic->relid;
	npartitions = topic->npartitions;
	topic_name = CStringGetTextDatum(topic->name);
	leaves = eventlog_topic_copy_leaves(topic);
	for (int p = 0; p < npartitions; p++)
	{
		Relation	leaf;
		EventlogPosition position;
		int64		old,
					new;
		Datum		values[4];
		bool		nulls[4] = {false};

		if (!PG_ARGISNULL(4) && PG_GETARG_INT32(4) != p)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!dry_run)
			eventlog_consume_claim(group, leaves[p]);
		leaf = try_table_open(leaves[p], AccessShareLock);
		if (leaf == NULL)
			continue;			/* dropped meanwhile */
		eventlog_position_get(group, relid, p, NULL, &position);
		old = position.next_offset;
		new = target_offset(&reset, leaf, p, old);
		table_close(leaf, NoLock);
		if (!dry_run)
		{
			eventlog_position_set(group, relid, p, new);
			eventlog_wakeup_at_end(relid, leaves[p], p);
			eventlog_consume_moved(group, leaves[p], new);
		}
		values[0] = topic_name;
		values[1] = Int32GetDatum(p);
		values[2] = Int64GetDatum(Max(old, 0));
		nulls[2] = old < 0;
		values[3] = Int64GetDatum(new);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
