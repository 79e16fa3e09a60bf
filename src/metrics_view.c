/*-------------------------------------------------------------------------
 *
 * metrics_view.c
 *	  SQL functions behind the view eventlog.metrics: the counters with their
 *	  names, and reset_metrics().
 *
 * Where Kafka's broker, its client or kafka_exporter count the same, the name
 * is what Prometheus gets from them; lower case, as exporters' usual rules
 * make it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "metrics.h"
#include "pg_eventlog.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(eventlog_topic_counters);
PG_FUNCTION_INFO_V1(eventlog_database_counters);
PG_FUNCTION_INFO_V1(eventlog_reset_metrics);

typedef struct CounterInfo
{
	int			counter;		/* EventlogTopicMetric or EventlogMetric */
	bool		each_via;		/* one for each EventlogVia */
	bool		seconds;		/* counted in microseconds */
	const char *name;
	const char *help;
} CounterInfo;

static const CounterInfo topic_counters[] = {
	{EVENTLOG_TOPIC_RECORDS, false, false,
		"kafka_server_brokertopicmetrics_messagesin_total",
	"Records produced by transactions that have committed."},
	{EVENTLOG_TOPIC_BYTES, false, false,
		"kafka_server_brokertopicmetrics_bytesin_total",
	"Bytes of their record batches, compressed if the topic is."},
	{EVENTLOG_TOPIC_BATCHES, false, false,
		"eventlog_topic_batches_in_total",
	"Record batches of transactions that have committed."},
	{EVENTLOG_TOPIC_TRANSACTIONS, false, false,
		"eventlog_topic_transactions_in_total",
	"Transactions that have produced to the topic and committed."},
	{EVENTLOG_TOPIC_ABORTED, false, false,
		"eventlog_topic_records_aborted_total",
	"Records of transactions and savepoints that were rolled back."},
	{EVENTLOG_TOPIC_LOCK_WAITS, false, false,
		"eventlog_topic_append_lock_waits_total",
	"Appends that did not get the append lock of their partition at once."},
	{EVENTLOG_TOPIC_LOCK_WAIT_US, false, true,
		"eventlog_topic_append_lock_wait_seconds_total",
	"Time that appends have waited for that lock."},
	{EVENTLOG_TOPIC_OUT_RECORDS, true, false,
		"kafka_consumer_consumer_fetch_manager_metrics_records_consumed_total",
	"Records given out, by the function that did it."},
	{EVENTLOG_TOPIC_OUT_BYTES, true, false,
		"kafka_server_brokertopicmetrics_bytesout_total",
	"Bytes of keys, values and headers of the records given out."},
	{EVENTLOG_TOPIC_OUT_CALLS, true, false,
		"kafka_server_brokertopicmetrics_totalfetchrequests_total",
	"Calls that asked for records; of poll(), for each partition that had some."},
	{EVENTLOG_TOPIC_OUT_EMPTY, true, false,
		"eventlog_topic_empty_fetches_total",
	"Calls that asked for records and got none; for those of poll() see eventlog_empty_polls_total."},
};

static const CounterInfo database_counters[] = {
	{EVENTLOG_METRIC_REBALANCES, false, false,
		"kafka_server_group_coordinator_metrics_group_completed_rebalance_count",
	"Rebalances of consumer groups."},
	{EVENTLOG_METRIC_MEMBERS_FENCED, false, false,
		"eventlog_members_fenced_total",
	"Members that have lost their partitions because they were not heard of in time."},
	{EVENTLOG_METRIC_WAITS, false, false,
		"eventlog_waits_total",
	"Times that a session has slept until there are records."},
	{EVENTLOG_METRIC_WAIT_US, false, true,
		"eventlog_wait_seconds_total",
	"Time that sessions have slept until there are records."},
	{EVENTLOG_METRIC_WAKEUPS_SENT, false, false,
		"eventlog_wakeups_sent_total",
	"Sleeping sessions woken by those who produce."},
	{EVENTLOG_METRIC_POLLS, false, false,
		"eventlog_polls_total",
	"Calls of poll()."},
	{EVENTLOG_METRIC_EMPTY_POLLS, false, false,
		"eventlog_empty_polls_total",
	"Calls of poll() that gave no record."},
};

/* by EventlogVia */
static const char *const via_names[EVENTLOG_VIAS] = {"consume", "poll", "read", "tail"};

#define TOPIC_COLUMNS		4
#define DATABASE_COLUMNS	3

static Datum
counter_value(const CounterInfo *info, uint64 n)
{
	return Float8GetDatum(info->seconds ? n / 1000000.0 : (double) n);
}

/*
 * topic_counters(topic): null is what found no place of its own
 */
Datum
eventlog_topic_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			topic = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	uint64		counters[EVENTLOG_TOPIC_METRICS];
	bool		any;

	eventlog_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	if (OidIsValid(topic) ?
		(eventlog_topic_by_relid(topic) == NULL || !eventlog_topic_may_look(topic)) :
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		return (Datum) 0;
	any = eventlog_metrics_get_topic(topic, counters);
	if (!any && !OidIsValid(topic))
		return (Datum) 0;

	for (int i = 0; i < lengthof(topic_counters); i++)
	{
		const CounterInfo *info = &topic_counters[i];

		for (int via = 0; via < (info->each_via ? EVENTLOG_VIAS : 1); via++)
		{
			Datum		values[TOPIC_COLUMNS];
			bool		nulls[TOPIC_COLUMNS] = {false};

			values[0] = CStringGetTextDatum(info->name);
			values[1] = CStringGetTextDatum(via_names[via]);
			nulls[1] = !info->each_via;
			values[2] = counter_value(info, counters[info->counter + via]);
			values[3] = CStringGetTextDatum(info->help);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

Datum
eventlog_database_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64		counters[EVENTLOG_METRICS];
	TimestampTz since;
	Datum		values[DATABASE_COLUMNS];
	bool		nulls[DATABASE_COLUMNS] = {false};

	eventlog_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	since = eventlog_metrics_get_database(counters);
	for (int i = 0; i < lengthof(database_counters); i++)
	{
		const CounterInfo *info = &database_counters[i];

		values[0] = CStringGetTextDatum(info->name);
		values[1] = counter_value(info, counters[info->counter]);
		values[2] = CStringGetTextDatum(info->help);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}

	/* the one gauge that is kept with the counters */
	values[0] = CStringGetTextDatum("eventlog_stats_reset_timestamp_seconds");
	values[1] = Float8GetDatum((double) since / USECS_PER_SEC +
							   (double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY);
	values[2] = CStringGetTextDatum("Unix time since when counters count: of the server's start, or of reset_metrics().");
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

Datum
eventlog_reset_metrics(PG_FUNCTION_ARGS)
{
	eventlog_require_preloaded();
	eventlog_metrics_sweep();
	eventlog_metrics_reset();
	PG_RETURN_VOID();
}
