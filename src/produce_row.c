/*-------------------------------------------------------------------------
 *
 * produce_row.c
 *	  Rows that the access method is to store, and what all producers share
 *	  about a record: its timestamp and its partition.
 *
 * A row's columns become a record of the producer's buffer.  Where a
 * statement needs to know the offset of the row at once (RETURNING, indexes,
 * AFTER triggers), the record is appended before the row is done, and the
 * columns that the log fills in are written back into the slot.  That is
 * decided here, row by row: index and trigger code takes the TID directly,
 * and a row that came through the topic's table is in a plain virtual slot,
 * so no slot of ours could fill it in later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "log_slot.h"
#include "log_storage.h"
#include "payload.h"
#include "produce.h"

/* Explicit offsets of which one is checked before it is appended. */
#define CHECK_OFFSETS	1000

bool		eventlog_produce_at_once = false;

static MemoryContext row_context = NULL;

int64
eventlog_produce_timestamp(const EventlogTopic *topic, bool given, TimestampTz event_time)
{
	const EventlogTopicConfig *config = &topic->config;
	int64		now_ms = eventlog_now_ms();
	int64		ms;

	if (!given || config->log_append_time)
	{
		if (given)
			(void) eventlog_timestamp_to_ms(event_time);	/* infinity is an error */
		return now_ms;
	}
	ms = eventlog_timestamp_to_ms(event_time);
	if ((now_ms > ms && now_ms - ms > config->timestamp_before_max_ms) ||
		(ms > now_ms && ms - now_ms > config->timestamp_after_max_ms))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of the record is outside of the limits of topic \"%s\"", topic->name),
				 errdetail("The limits are message.timestamp.before.max.ms and message.timestamp.after.max.ms."),
				 errhint("Change them with eventlog.alter_topic(), or leave the time null.")));
	return ms;
}

/*
 * Kafka's rule: a key's hash, and without a key one partition until a batch's
 * worth has gone there, then the next one.
 */
int32
eventlog_produce_partition(EventlogTopic *topic, const char *key, int32 key_len)
{
	static Oid	sticky_topic = InvalidOid;
	static int32 sticky_partition = 0;
	static uint32 rotation = 0;

	if (topic->npartitions == 1)
		return 0;
	if (unlikely(topic->npartitions < 1))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" has no partitions", topic->name),
				 errhint("Make topics with eventlog.create_topic(), not by hand.")));
	if (key_len >= 0)
		return eventlog_partition_for_key(key, key_len, topic->npartitions);

	if (sticky_topic != topic->relid || sticky_partition >= topic->npartitions)
	{
		if (rotation == 0)
			rotation = (uint32) MyProcPid;
		sticky_topic = topic->relid;
		sticky_partition = rotation++ % topic->npartitions;
	}
	if (eventlog_produce_batch_is_full(topic->leaves[sticky_partition]))
		sticky_partition = (sticky_partition + 1) % topic->npartitions;
	return sticky_partition;
}

/*
 * Does a row of this leaf need its offset as soon as it is inserted?
 */
static bool
needs_offset_now(Relation leaf, const EventlogTopic *topic)
{
	return eventlog_produce_at_once || topic->has_transition_table ||
		leaf->rd_rel->relhasindex ||
		(leaf->trigdesc && (leaf->trigdesc->trig_insert_after_row ||
							leaf->trigdesc->trig_insert_new_table));
}

/*
 * Complain early about an offset that the log cannot take.  Appending checks
 * it again, so of offsets that rise within a transaction, as a restored dump's
 * do, not each has to be looked at.
 */
static void
check_offset(Relation leaf, int partition, int64 offset)
{
	static Oid	checked_leaf = InvalidOid;
	static TimestampTz checked_in = 0;
	static int64 checked = 0;
	EventlogMetaHead meta;

	if (checked_leaf == RelationGetRelid(leaf) &&
		checked_in == GetCurrentTransactionStartTimestamp() &&
		offset > checked && offset - checked < CHECK_OFFSETS)
		return;
	eventlog_storage_read_meta(leaf, &meta, NULL);
	if (offset < meta.next_offset)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record_offset %lld is below the high watermark %lld of partition %d",
						(long long) offset, (long long) meta.next_offset, partition),
				 errhint("Leave record_offset out to have the next one assigned.")));
	if (offset > meta.tid_base + EVENTLOG_MAX_OFFSET)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record_offset %lld is out of range", (long long) offset),
				 errdetail("The greatest offset that a topic's table can hold is %lld.",
						   (long long) (meta.tid_base + EVENTLOG_MAX_OFFSET))));
	checked_leaf = RelationGetRelid(leaf);
	checked_in = GetCurrentTransactionStartTimestamp();
	checked = offset;
}

void
eventlog_produce_row(Relation leaf, TupleTableSlot *slot)
{
	int32		partition;
	EventlogTopic *topic = eventlog_topic_by_leaf(RelationGetRelid(leaf), &partition);
	Datum	   *values;
	bool	   *isnull;
	EventlogRecord rec;
	int64		explicit_offset = -1;
	MemoryContext old;

	if (topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not part of a topic", RelationGetRelationName(leaf)),
				 errhint("Make topics with eventlog.create_topic().")));
	if (unlikely(row_context == NULL))
		row_context = AllocSetContextCreate(TopMemoryContext, "eventlog row",
											ALLOCSET_DEFAULT_SIZES);
	slot_getallattrs(slot);
	values = slot->tts_values;
	isnull = slot->tts_isnull;

	MemoryContextReset(row_context);	/* a row that failed may have left something */
	old = MemoryContextSwitchTo(row_context);

	rec.key = rec.value = rec.headers = NULL;
	rec.key_len = rec.value_len = -1;
	rec.headers_len = rec.headers_count = 0;
	if (!isnull[EVENTLOG_ATT_KEY])
		eventlog_payload_from_column(topic->key_type, values[EVENTLOG_ATT_KEY],
									 &rec.key, &rec.key_len);
	if (!isnull[EVENTLOG_ATT_VALUE])
		eventlog_payload_from_column(topic->value_type, values[EVENTLOG_ATT_VALUE],
									 &rec.value, &rec.value_len);
	if (!isnull[EVENTLOG_ATT_HEADERS])
	{
		EventlogBuf headers = {0};

		rec.headers_count = eventlog_payload_encode_headers(values[EVENTLOG_ATT_HEADERS], &headers);
		rec.headers = headers.data;
		rec.headers_len = headers.len;
	}
	rec.timestamp = eventlog_produce_timestamp(topic, !isnull[EVENTLOG_ATT_TIMESTAMP],
											   isnull[EVENTLOG_ATT_TIMESTAMP] ? 0 :
											   DatumGetTimestampTz(values[EVENTLOG_ATT_TIMESTAMP]));
	if (!isnull[EVENTLOG_ATT_OFFSET])
	{
		eventlog_topic_check_owner(topic);
		explicit_offset = DatumGetInt64(values[EVENTLOG_ATT_OFFSET]);
		if (partition < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a row with an explicit record_offset must name its partition")));
		check_offset(leaf, partition, explicit_offset);
	}

	if (partition < 0)
	{
		/* the leaf of null: the partitioner says where the row really goes */
		bool		needs_insert;

		partition = eventlog_produce_partition(topic, rec.key, rec.key_len);
		needs_insert = eventlog_produce_leaf_needs_insert(topic, partition);

		/*
		 * An INSERT of its own for the row would fire the statement's trigger,
		 * too, which then sees the row twice.
		 */
		if (needs_insert && topic->has_transition_table)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a row inserted into topic \"%s\" must name its partition", topic->name),
					 errdetail("The topic has a trigger with a transition table, and indexes or row triggers."),
					 errhint("Give the partition, or use eventlog.produce(), which chooses it first.")));
		if (needs_insert)
		{
			MemoryContextSwitchTo(old);
			values[EVENTLOG_ATT_PARTITION] = Int32GetDatum(partition);
			isnull[EVENTLOG_ATT_PARTITION] = false;
			if (eventlog_produce_by_insert(topic, values, isnull))
				eventlog_offset_to_tid(DatumGetInt64(values[EVENTLOG_ATT_OFFSET]), 0, &slot->tts_tid);
			MemoryContextReset(row_context);
			return;
		}
	}

	eventlog_produce_record(topic, partition, &rec, explicit_offset);
	MemoryContextSwitchTo(old);
	MemoryContextReset(row_context);

	if (needs_offset_now(leaf, topic))
	{
		int64		append_time;
		int64		offset = eventlog_produce_append_now(topic->leaves[partition], &append_time);

		if (topic->config.log_append_time)
			rec.timestamp = append_time;
		values[EVENTLOG_ATT_PARTITION] = Int32GetDatum(partition);
		values[EVENTLOG_ATT_OFFSET] = Int64GetDatum(offset);
		values[EVENTLOG_ATT_TIMESTAMP] = TimestampTzGetDatum(eventlog_ms_to_timestamp(rec.timestamp));
		isnull[EVENTLOG_ATT_PARTITION] = isnull[EVENTLOG_ATT_OFFSET] =
			isnull[EVENTLOG_ATT_TIMESTAMP] = false;
		eventlog_offset_to_tid(offset, 0, &slot->tts_tid);
	}
}

void
eventlog_produce_rows(Relation leaf, TupleTableSlot **slots, int nslots)
{
	for (int i = 0; i < nslots; i++)
		eventlog_produce_row(leaf, slots[i]);
}
