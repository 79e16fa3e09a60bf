/*-------------------------------------------------------------------------
 *
 * topic.h
 *	  What a topic is to the rest of the code: its tables, types and configs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_TOPIC_H
#define EVENTLOG_TOPIC_H

#include "nodes/parsenodes.h"
#include "utils/rel.h"

#include "batch.h"

#define EVENTLOG_TOPIC_NAME_MAX		249
#define EVENTLOG_MAX_PARTITIONS		10000

/* Columns of a topic's table and of its leaves. */
#define EVENTLOG_ATTNUM_PARTITION	1
#define EVENTLOG_ATTNUM_OFFSET		2
#define EVENTLOG_ATTNUM_TIMESTAMP	3
#define EVENTLOG_ATTNUM_KEY			4
#define EVENTLOG_ATTNUM_VALUE		5
#define EVENTLOG_ATTNUM_HEADERS		6

/* What the bytes of a key or value are, by the column's type. */
typedef enum EventlogPayloadType
{
	EVENTLOG_PAYLOAD_BYTEA,
	EVENTLOG_PAYLOAD_TEXT,
	EVENTLOG_PAYLOAD_JSON,
	EVENTLOG_PAYLOAD_JSONB
} EventlogPayloadType;

/* Topic configs that C code looks at; units are Kafka's. */
typedef struct EventlogTopicConfig
{
	int32		max_message_bytes;	/* max.message.bytes */
	EventlogCodec codec;		/* compression.type; producer = none */
	bool		log_append_time;	/* message.timestamp.type */
	int64		timestamp_before_max_ms;	/* message.timestamp.before.max.ms */
	int64		timestamp_after_max_ms; /* message.timestamp.after.max.ms */
	int64		segment_bytes;	/* segment.bytes, or less: see topic_config.c */
	int64		segment_ms;		/* segment.ms */
	int64		retention_bytes;	/* retention.bytes; -1: no limit */
	int64		retention_ms;	/* retention.ms; -1: no limit */
	bool		retention_by_age;	/* nobody has set retention.ms: its default
									 * counts from when records were written */
	bool		expires;		/* cleanup.policy has "delete" ... */
	bool		compacted;		/* ... has "compact" */
	int64		delete_retention_ms;	/* delete.retention.ms */
	int64		min_compaction_lag_ms;	/* min.compaction.lag.ms */
	int64		max_compaction_lag_ms;	/* max.compaction.lag.ms */
	double		min_dirty_ratio;	/* min.cleanable.dirty.ratio */
} EventlogTopicConfig;

/*
 * A cached topic.  Entries are never freed; their content is replaced, only
 * inside the lookup functions below, when an invalidation has arrived.  So a
 * pointer stays good for the session, but copy what must not change across
 * another lookup or anything that can process invalidations.
 */
typedef struct EventlogTopic
{
	Oid			relid;			/* the partitioned table; hash key */
	char		name[EVENTLOG_TOPIC_NAME_MAX + 1];
	bool		valid;			/* false: rebuilt at the next lookup */
	uint32		reads;			/* how often it was rebuilt; its name may change */
	bool		is_topic;		/* false: a table that is no topic, or not yet:
								 * a dump is being restored */
	EventlogPayloadType key_type;
	EventlogPayloadType value_type;
	int32		npartitions;
	Oid		   *leaves;			/* [npartitions], leaf table of each partition;
								 * InvalidOid where one is missing, which only
								 * tampering with catalogues can bring about */
	Oid			null_leaf;		/* leaf FOR VALUES IN (NULL), or InvalidOid */
	EventlogTopicConfig config;
	bool		has_transition_table;	/* an INSERT trigger on the topic has one */
} EventlogTopic;

/*
 * Find a topic by its name, exactly as written.  On error (unknown topic,
 * unless missing_ok): ERRCODE_UNDEFINED_TABLE.
 */
extern EventlogTopic *eventlog_topic_by_name(const char *name, bool missing_ok);

/* Find a topic by its partitioned table; NULL if that is no topic. */
extern EventlogTopic *eventlog_topic_by_relid(Oid relid);

/*
 * The same, but a partitioned table that is no topic, or not yet (a dump is
 * being restored), comes back too, with is_topic false.
 */
extern EventlogTopic *eventlog_topic_by_table(Oid relid);

/*
 * Find the topic to which a leaf table belongs and the leaf's partition
 * number (-1 for the leaf of null).  NULL if the table is not a topic's leaf.
 *
 * If the table is a partition stored by our access method and its parent has
 * no row in eventlog.topic yet, as while a dump is restored, what comes back
 * has is_topic false, default configs, and the name of the parent.
 */
extern EventlogTopic *eventlog_topic_by_leaf(Oid leaf, int32 *partition);

/*
 * Raise unless the current user has "mode" (ACL_INSERT, ACL_SELECT) on the
 * topic's table, and unless row-level security would have to be applied,
 * which functions that go past the executor cannot do.
 */
extern void eventlog_topic_check_acl(const EventlogTopic *topic, AclMode mode);

/*
 * A palloc'd copy of the topic's leaves, for who opens one after the other:
 * that can change the entry.
 */
extern Oid *eventlog_topic_copy_leaves(const EventlogTopic *topic);

/* Raise ERRCODE_INVALID_PARAMETER_VALUE unless the topic has this partition. */
extern void eventlog_topic_check_partition(const EventlogTopic *topic, int32 partition);

/* May the current user see the state of this topic in views? */
extern bool eventlog_topic_may_look(Oid relid);

/* Raise unless the current user owns the topic. */
extern void eventlog_topic_check_owner(const EventlogTopic *topic);

/* Can keys or values have this type?  If so, *payload is what that makes them. */
extern bool eventlog_topic_payload_type(Oid type, EventlogPayloadType *payload);

/*
 * True while create_topic and add_partitions of this backend make tables, so
 * that the utility hook lets their own DDL pass.
 */
extern bool eventlog_topic_in_ddl;

extern void eventlog_topic_init(void);	/* from _PG_init: caches, callbacks */

/* Access method of a table or index, or InvalidOid. */
extern Oid	eventlog_relation_am(Oid relid);

/* Grows whenever any table may have changed: topics and their partitions, too. */
extern uint64 eventlog_topic_invalidations(void);

/* Oid of the table access method, or InvalidOid without the extension. */
extern Oid	eventlog_am_oid(void);

/* Is this relation stored by our access method? */
static inline bool
eventlog_is_leaf(Relation rel)
{
	extern const struct TableAmRoutine eventlog_am_routine;

	return rel->rd_tableam == &eventlog_am_routine;
}

#endif							/* EVENTLOG_TOPIC_H */
