/*-------------------------------------------------------------------------
 *
 * group_admin.c
 *	  create_group(), alter_group(), drop_group().
 *
 * Each locks the group, topic by topic, before it looks at the rows: a first
 * consume() that happens at the same time passes by, and another of these
 * functions waits.  Where consumers must not go on from what they know, the
 * claims of all partitions are taken, too, which waits for the transactions
 * that consume, as long as lock_timeout allows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "consume.h"
#include "group.h"
#include "group_catalog.h"
#include "log_scan.h"
#include "member.h"
#include "payload.h"
#include "position.h"

PG_FUNCTION_INFO_V1(eventlog_create_group);
PG_FUNCTION_INFO_V1(eventlog_alter_group);
PG_FUNCTION_INFO_V1(eventlog_drop_group);

static void
check_arguments(FunctionCallInfo fcinfo, int n, const char *function)
{
	for (int i = 0; i < n; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arguments of %s must not be null", function)));
	}
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

/*
 * create_group(consumer_group, topic, start, config)
 */
Datum
eventlog_create_group(PG_FUNCTION_ARGS)
{
	char	   *group,
			   *start;
	EventlogTopic *topic;
	Jsonb	   *config;
	EventlogGroupUse use = EVENTLOG_GROUP_UNUSED;
	Oid			relid;
	Oid		   *leaves;
	int			npartitions;
	bool		latest,
				by_time;
	int64		time_ms = 0;

	check_arguments(fcinfo, 4, "create_group()");
	group = text_to_cstring(PG_GETARG_TEXT_PP(0));
	eventlog_group_check_name(group);
	topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);
	start = text_to_cstring(PG_GETARG_TEXT_PP(2));
	eventlog_topic_check_acl(topic, ACL_SELECT);
	config = eventlog_group_config_apply(NULL, PG_GETARG_JSONB_P(3), &use);

	latest = (strcmp(start, "latest") == 0);
	by_time = !latest && strcmp(start, "earliest") != 0 && strcmp(start, "none") != 0;
	if (by_time)
		time_ms = eventlog_timestamp_to_ms(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																				   CStringGetDatum(start),
																				   ObjectIdGetDatum(InvalidOid),
																				   Int32GetDatum(-1))));

	relid = topic->relid;
	npartitions = topic->npartitions;
	leaves = eventlog_topic_copy_leaves(topic);
	(void) eventlog_group_lock(group, relid, true);
	if (eventlog_group_catalog_get(group, relid) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("consumer group \"%s\" of topic \"%s\" exists already",
						group, text_to_cstring(PG_GETARG_TEXT_PP(1)))));
	eventlog_group_catalog_insert(group, relid, start, config, use);
	if (!latest && !by_time)
		PG_RETURN_VOID();

	for (int p = 0; p < npartitions; p++)
	{
		Relation	leaf = table_open(leaves[p], AccessShareLock);
		int64		offset = by_time ? eventlog_group_offset_for_time(leaf, time_ms) :
			eventlog_scan_lso_now(leaf, NULL);

		table_close(leaf, NoLock);
		eventlog_position_set(group, relid, p, offset);
	}
	PG_RETURN_VOID();
}

/*
 * Lock a group on all its topics, or on one, and return the rows that are
 * there then.  Raises if there is none, or if one is not the current user's.
 */
static List *
lock_group(const char *group, Oid topic)
{
	List	   *rows = eventlog_group_catalog_list(group);
	List	   *locked = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		EventlogGroupRow *row = lfirst(lc);

		if (OidIsValid(topic) && row->topic != topic)
			continue;
		eventlog_group_check_owner(group, row->owner);
		(void) eventlog_group_lock(group, row->topic, true);
		row = eventlog_group_catalog_get(group, row->topic);
		if (row == NULL)
			continue;			/* dropped meanwhile */
		eventlog_group_check_owner(group, row->owner);
		locked = lappend(locked, row);
	}
	if (locked == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("consumer group \"%s\" does not exist", group),
				 errhint("The view eventlog.consumer_groups lists those that exist, with their topics.")));
	return locked;
}

static void
check_no_members(const char *group)
{
	if (eventlog_member_count(group) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("consumer group \"%s\" has members", group),
				 errhint("Have them call eventlog.unsubscribe(), or end their sessions.")));
}

/*
 * Take the claims of all partitions of a topic.
 */
static void
claim_all(const char *group, Oid relid)
{
	EventlogTopic *topic = eventlog_topic_by_relid(relid);
	int			npartitions;
	Oid		   *leaves;

	if (topic == NULL)
		return;					/* dropped meanwhile */
	npartitions = topic->npartitions;
	leaves = eventlog_topic_copy_leaves(topic);
	for (int p = 0; p < npartitions; p++)
		eventlog_consume_claim(group, leaves[p]);
}

/*
 * alter_group(consumer_group, config)
 */
Datum
eventlog_alter_group(PG_FUNCTION_ARGS)
{
	char	   *group;
	Jsonb	   *changes;
	EventlogGroupConfig parsed = {0};
	List	   *rows;
	ListCell   *lc;

	check_arguments(fcinfo, 2, "alter_group()");
	group = text_to_cstring(PG_GETARG_TEXT_PP(0));
	changes = PG_GETARG_JSONB_P(1);
	rows = lock_group(group, InvalidOid);
	foreach(lc, rows)
	{
		EventlogGroupRow *row = lfirst(lc);
		EventlogGroupUse use = row->use;
		Jsonb	   *config = eventlog_group_config_apply(row->config, changes, &use);

		if (use != row->use)
		{
			check_no_members(group);
			claim_all(group, row->topic);
		}
		eventlog_group_catalog_update(row, config, use);
		eventlog_group_config_read(config, &parsed);
	}
	/* members that are there take it up at once, for good when we commit */
	eventlog_member_set_max_poll(group, parsed.max_poll_interval_ms);
	PG_RETURN_VOID();
}

/*
 * drop_group(consumer_group, topic)
 */
Datum
eventlog_drop_group(PG_FUNCTION_ARGS)
{
	char	   *group;
	Oid			only = InvalidOid;
	List	   *rows;
	ListCell   *lc;

	check_arguments(fcinfo, 1, "drop_group()");
	group = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
	{
		EventlogTopic *topic = eventlog_topic_by_name(text_to_cstring(PG_GETARG_TEXT_PP(1)), false);

		eventlog_group_check_own(group, topic);
		only = topic->relid;
	}
	rows = lock_group(group, only);
	check_no_members(group);
	foreach(lc, rows)
	{
		EventlogGroupRow *row = lfirst(lc);
		EventlogTopic *topic;

		claim_all(group, row->topic);
		eventlog_position_forget(group, row->topic);
		eventlog_group_catalog_delete(row);

		/* what this transaction has consumed itself is not to be committed */
		topic = eventlog_topic_by_relid(row->topic);
		for (int p = 0; topic != NULL && p < topic->npartitions; p++)
			eventlog_consume_moved(group, topic->leaves[p], 0);
	}
	PG_RETURN_VOID();
}
