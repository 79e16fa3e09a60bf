/*-------------------------------------------------------------------------
 *
 * mirror_out.h
 *	  The inside of a mirror to Kafka, for the files that make it up:
 *	  mirror_out.c (its states), mirror_out_open.c, mirror_out_owner.c,
 *	  mirror_out_send.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_OUT_H
#define EVENTLOG_MIRROR_OUT_H

#include "utils/relcache.h"

#include "mirror_task.h"

/* Kafka's codes for records that are not as they have to be */
#define INVALID_MSG			2
#define INVALID_RECORD		87

#define OP_TIMEOUT_MS		10000
#define DEFAULT_BATCH_SIZE	1000000 /* librdkafka's */
#define CREATE_WAIT_MS		1000	/* for a topic that would be created if it is missing */
#define IDLE_CLOSE_MS		60000	/* when a client with nothing to do is closed */
#define LOOK_MS				1000	/* how often to look although nobody woke us */
#define FULL_WAIT_MS		2		/* the queue is full */
#define SAVE_MS				5000	/* how often lower bounds are written down */
#define EXACT_MS			60000	/* a partition that has not moved for so long ... */
#define GONE_FAILURES		6		/* until a topic that was there is gone */
#define STEP_BYTES			(8 * 1024 * 1024)	/* read in one step */

typedef enum OutState
{
	OUT_CLOSED,
	OUT_INIT,					/* registering the transactional id */
	OUT_TARGET,					/* looking up the topic */
	OUT_CREATE,					/* creating it */
	OUT_DESCRIBE,				/* asking how large its records may be */
	OUT_LETTERS,				/* looking up the dead-letter topic */
	OUT_CREATE_LETTERS,
	OUT_COMMITTED,				/* asking for the group's positions */
	OUT_READY,					/* a transaction may be open */
	OUT_COMMITTING,
	OUT_PAIRING					/* asking where Kafka's partitions end */
} OutState;

struct EventlogMirrorOut
{
	EventlogMirrorPair *pair;
	const EventlogKafkaApi *api;
	EventlogKafkaClient *client;
	OutState	state;
	int			target;
	bool		created;		/* tried to create the topic */
	int			target_partitions;
	bool		described;
	int64		max_batch_bytes;	/* of the target; 0: not known */
	int64		batch_size;		/* option of the client; 0: its default */
	int			letters;		/* target for dead letters; -1: none */
	bool		letters_created;

	/*
	 * When the broker has refused a batch, which does not say because of which
	 * record, transactions get shorter until one has that record alone.
	 */
	int64		limit;			/* records in a transaction; 0: as configured */
	int			last_partition; /* of the record sent last */
	int64		last_offset;
	int			refused_partition;	/* the record that was refused; -1: none */
	int64		refused_offset;
	EventlogKafkaError refused;

	Oid			relid;			/* of our topic, when it was looked up last */
	int			npartitions;	/* ours */
	int64	   *position;		/* committed in Kafka: next offset to send */
	int64	   *sent;			/* in the open transaction */
	int64	   *end;			/* where the log ended when it was looked at; -1: unknown */
	int64	   *saved;			/* lower bounds that are written down */

	/*
	 * What is written down is where Kafka is, no less, and says so.  That is
	 * taken back, for good, before more is committed in Kafka.
	 */
	bool	   *exact;
	TimestampTz *moved_at;		/* when the position was set last */
	int64	   *paired;			/* positions of the last pairs of offsets; -1: none */
	TimestampTz paired_at;		/* when they were kept */
	bool		known;			/* positions are */
	bool		restart;		/* to begin where resume_mirror() has said, and not
								 * yet committed */
	bool		pin;			/* not all of them have been committed with our token, where
								 * they belong */

	bool		in_transaction;
	int64		transaction_records;
	int64		transaction_bytes;
	int64		transaction_letters;
	TimestampTz transaction_began;
	bool		all_sent;		/* there was no more below the LSO */

	uint64		activity;		/* of the topic, when all was sent; 0: unknown */
	TimestampTz stats_at;		/* when statistics were taken */
	TimestampTz used_at;
	TimestampTz saved_at;
	bool		keeping;		/* the commit under way has all positions */
	TimestampTz kept_at;		/* when all positions were committed last */
	TimestampTz retry_at;
	int			failures;
};

/* --- mirror_out.c --- */

extern void eventlog_out_close_client(EventlogMirrorOut *out);
extern void eventlog_out_stop_for_good(EventlogMirrorOut *out, EventlogMirrorPhase phase, const char *message);
extern void eventlog_out_fail_by_kafka(EventlogMirrorOut *out, const char *what, const EventlogKafkaError *error);

/* --- mirror_out_open.c --- */

extern void eventlog_out_create_target(EventlogMirrorOut *out);
extern bool eventlog_out_is_gone(EventlogMirrorOut *out, const EventlogKafkaError *error);
extern bool eventlog_out_partitions_fit(EventlogMirrorOut *out);
extern void eventlog_out_ask_for_target(EventlogMirrorOut *out);
extern void eventlog_out_open_client(EventlogMirrorOut *out);
extern void eventlog_out_ask_for_sizes(EventlogMirrorOut *out);
extern void eventlog_out_take_sizes(EventlogMirrorOut *out);
extern void eventlog_out_ask_for_letters(EventlogMirrorOut *out);
extern void eventlog_out_create_letters(EventlogMirrorOut *out);
extern void eventlog_out_ask_for_positions(EventlogMirrorOut *out);
extern bool eventlog_out_take_positions(EventlogMirrorOut *out, EventlogTopic *topic);

/* --- mirror_out_owner.c --- */

extern void eventlog_out_token(const EventlogMirrorOut *out, char *text, size_t size);
extern bool eventlog_out_may_own(EventlogMirrorOut *out, const EventlogKafkaOffset *offsets, int count);
extern bool eventlog_out_is_foreign(const EventlogMirrorOut *out, Relation leaf,
									const EventlogKafkaOffset *offset, uint32 *timeline);
extern bool eventlog_out_has_other_topic(const EventlogMirrorOut *out,
										 const EventlogKafkaOffset *offsets, int count);
extern bool eventlog_out_can_carry(int npartitions, int target_partitions);
extern char *eventlog_out_metadata(const EventlogMirrorOut *out, int t);
extern EventlogKafkaOffset eventlog_out_committed_position(const EventlogMirrorOut *out,
														   const EventlogKafkaOffset *offsets, int count, int p);

/* --- mirror_out_send.c --- */

extern bool eventlog_out_begin_transaction(EventlogMirrorOut *out);
extern bool eventlog_out_is_refusal(EventlogMirrorOut *out, const EventlogKafkaDelivery *failure);
extern EventlogTopic *eventlog_out_get_topic(EventlogMirrorOut *out);
extern bool eventlog_out_keep_is_due(const EventlogMirrorOut *out, TimestampTz now);
extern void eventlog_out_start_commit(EventlogMirrorOut *out);
extern void eventlog_out_send_records(EventlogMirrorOut *out, TimestampTz now, int64 *wait_ms);
extern void eventlog_out_save_positions(EventlogMirrorOut *out, TimestampTz now);
extern void eventlog_out_save_position(EventlogMirrorOut *out, int p, int64 position, bool exact);
extern void eventlog_out_forget_restart(EventlogMirrorOut *out, TimestampTz now);
extern bool eventlog_out_pairs_are_due(const EventlogMirrorOut *out, TimestampTz now, bool leaving);
extern void eventlog_out_ask_for_ends(EventlogMirrorOut *out, TimestampTz now);
extern void eventlog_out_take_ends(EventlogMirrorOut *out);
extern void eventlog_out_streaming(EventlogMirrorOut *out);
extern void eventlog_out_committed(EventlogMirrorOut *out, TimestampTz now);

#endif							/* EVENTLOG_MIRROR_OUT_H */
