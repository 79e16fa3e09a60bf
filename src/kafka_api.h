/*-------------------------------------------------------------------------
 *
 * kafka_api.h
 *	  What pg_eventlog_kafka.so offers to the mirror workers.
 *
 * librdkafka is linked by a library of its own, which only mirror workers
 * load.  The core reaches it through the one function below, which returns
 * one table of functions:
 *
 *		get = (EventlogKafkaGetApi)
 *			load_external_function("pg_eventlog_kafka", "eventlog_kafka_api", true, NULL);
 *		api = get();
 *		if (api->version != EVENTLOG_KAFKA_API_VERSION)
 *			...
 *
 * Load it in the worker, never in the postmaster: librdkafka has threads.
 *
 * Rules of the whole interface:
 *
 * - Nothing here uses the server: no palloc, no ereport, no latch.  Memory is
 *	 malloc'd, and errors come back as an EventlogKafkaError.  So all of it
 *	 works in a program without a server, where postgres_fe.h takes the place
 *	 of postgres.h, and an ERROR raised by the caller leaves it consistent.
 * - A client belongs to the thread that opened it.  Each client has a helper
 *	 thread for what can block; the caller's thread never waits for a broker.
 *	 No function calls back into the caller.
 * - What can block is an operation: start_xxx() returns at once.  A client has
 *	 at most one at a time.  When it has ended, event_fd() becomes readable and
 *	 op_state() tells.  An operation that failed with a retriable error may
 *	 simply be started again.
 * - A client that reported a fatal error, or one whose transaction had to be
 *	 aborted after a delivery error, is to be closed and opened anew.
 * - Memory that a function returns belongs to the client, and stays until the
 *	 function's comment says.
 *
 * The usual loop of a worker: wait for the latch and event_fd(); poll(); look
 * at op_state(); fetch() or produce(); poll_log() until it has no more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_KAFKA_API_H
#define EVENTLOG_KAFKA_API_H

/* includer has included postgres.h or postgres_fe.h */
#include "batch.h"

#define EVENTLOG_KAFKA_API_VERSION	2

typedef struct EventlogKafkaClient EventlogKafkaClient;

/* --- errors --- */

/*
 * "code" is Kafka's or librdkafka's number (theirs are negative), 0 if there
 * is no error.  At most one of fatal, abortable and retriable is what to do:
 *
 * fatal		the client is of no more use: close it
 * abortable	the transaction is lost: start_abort(), then close the client
 *				and open another (sequence numbers may not fit after a delivery
 *				error); the next transaction begins where the group stands
 * retriable	the same operation may be started again
 *
 * None of them: it will not work, however often it is tried; the operator has
 * to do something.
 *
 * "fenced" comes with fatal (or abortable): another producer with the same
 * transactional id has been initialised, or the broker has timed the
 * transaction out; the two look the same.  Who owns the mirror is for the
 * caller to find out before it initialises again.
 */
typedef struct EventlogKafkaError
{
	int			code;
	bool		fatal;
	bool		abortable;
	bool		retriable;
	bool		fenced;
	char		name[64];		/* "_TIMED_OUT", "UNKNOWN_TOPIC_OR_PART" */
	char		message[512];	/* one line, never with a secret */
} EventlogKafkaError;

/* Codes that callers tell apart; the others are for people. */
#define EVENTLOG_KAFKA_ERR_BAD_MSG					(-199)
#define EVENTLOG_KAFKA_ERR_TRANSPORT				(-195)
#define EVENTLOG_KAFKA_ERR_NO_RESOURCES				(-194)	/* memory, threads */
#define EVENTLOG_KAFKA_ERR_RESOLVE					(-193)
#define EVENTLOG_KAFKA_ERR_ALL_BROKERS_DOWN			(-187)
#define EVENTLOG_KAFKA_ERR_INVALID_ARG				(-186)
#define EVENTLOG_KAFKA_ERR_TIMED_OUT				(-185)
#define EVENTLOG_KAFKA_ERR_SSL						(-181)
#define EVENTLOG_KAFKA_ERR_AUTHENTICATION			(-169)
#define EVENTLOG_KAFKA_ERR_UNKNOWN_PARTITION		(-190)
#define EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC			(-188)
#define EVENTLOG_KAFKA_ERR_AUTO_OFFSET_RESET		(-140)	/* position out of range */
#define EVENTLOG_KAFKA_ERR_OFFSET_OUT_OF_RANGE		1
#define EVENTLOG_KAFKA_ERR_UNKNOWN_TOPIC_OR_PART	3
#define EVENTLOG_KAFKA_ERR_MSG_SIZE_TOO_LARGE		10
#define EVENTLOG_KAFKA_ERR_TOPIC_AUTHORIZATION		29
#define EVENTLOG_KAFKA_ERR_GROUP_AUTHORIZATION		30
#define EVENTLOG_KAFKA_ERR_INVALID_TIMESTAMP		32
#define EVENTLOG_KAFKA_ERR_TOPIC_ALREADY_EXISTS		36
#define EVENTLOG_KAFKA_ERR_TRANSACTION_AUTHORIZATION 53
#define EVENTLOG_KAFKA_ERR_UNSTABLE_OFFSET_COMMIT	88

/* --- opening --- */

typedef struct EventlogKafkaOption
{
	const char *name;			/* librdkafka's */
	const char *value;
} EventlogKafkaOption;

typedef enum EventlogKafkaKind
{
	/* transactional if transactional_id is given, else idempotent only */
	EVENTLOG_KAFKA_PRODUCER,
	/* reads what is committed, from partitions that are assigned */
	EVENTLOG_KAFKA_CONSUMER,
	/* only asks and creates (kafka_check, creating topics) */
	EVENTLOG_KAFKA_ADMIN
} EventlogKafkaKind;

typedef struct EventlogKafkaOpen
{
	EventlogKafkaKind kind;
	const char *transactional_id;	/* producer; NULL: at least once */
	const char *group;			/* consumer: librdkafka wants one; never joined */
	int			stats_interval_ms;	/* 0: no statistics */

	/*
	 * Options, already checked against the allow-list by the caller; the later
	 * one of a name wins.  They come after the library's defaults and before
	 * what it always sets (see open() below).
	 */
	const EventlogKafkaOption *options;
	int			noptions;
} EventlogKafkaOpen;

/* --- operations --- */

typedef enum EventlogKafkaOpState
{
	EVENTLOG_KAFKA_OP_NONE,		/* none was started yet */
	EVENTLOG_KAFKA_OP_RUNNING,
	EVENTLOG_KAFKA_OP_DONE,
	EVENTLOG_KAFKA_OP_FAILED
} EventlogKafkaOpState;

/*
 * A partition and a position, as argument and as result.  Offsets as
 * positions are of the next record.
 */
typedef struct EventlogKafkaOffset
{
	const char *topic;
	int32		partition;
	int64		offset;			/* see the functions; -1: none */
	int64		high;			/* start_watermarks() only */
	int			code;			/* result: error of this partition, or 0 */
	const char *metadata;		/* text that is committed with a group's position;
								 * NULL: none.  start_commit(), start_committed() */
} EventlogKafkaOffset;

#define EVENTLOG_KAFKA_OFFSET_BEGINNING	(-2)
#define EVENTLOG_KAFKA_OFFSET_END		(-1)

typedef struct EventlogKafkaBroker
{
	int32		id;
	int			port;
	const char *host;
} EventlogKafkaBroker;

typedef struct EventlogKafkaTopic
{
	const char *name;
	int32		partitions;		/* numbered from 0; 0 if there is an error */
	int32		replication_factor; /* of partition 0 */
	int32		leaderless;		/* partitions that have no leader just now */
	int			code;			/* error, or 0 */
} EventlogKafkaTopic;

typedef struct EventlogKafkaMetadata
{
	const char *cluster_id;		/* "" if unknown */
	int32		controller_id;	/* -1 if unknown */
	double		latency_ms;		/* one request, there and back */
	int			nbrokers;
	int			ntopics;
	const EventlogKafkaBroker *brokers;
	const EventlogKafkaTopic *topics;	/* internal ones too */
} EventlogKafkaMetadata;

/* One config entry of a topic; a NULL value is one that the broker hides. */
typedef struct EventlogKafkaConfig
{
	const char *name;
	const char *value;
	bool		is_default;
} EventlogKafkaConfig;

/* --- producing --- */

typedef enum EventlogKafkaProduced
{
	EVENTLOG_KAFKA_PRODUCED,
	/* no room: drop the snapshot, wait some ms (poll()), and try again */
	EVENTLOG_KAFKA_QUEUE_FULL,
	/* this record cannot be sent (size, partition, headers): dead letter */
	EVENTLOG_KAFKA_REFUSED,
	/* the client or its transaction has failed: see the error */
	EVENTLOG_KAFKA_FAILED
} EventlogKafkaProduced;

/* The first record since begin() that the target did not take. */
typedef struct EventlogKafkaDelivery
{
	int			target;
	int32		partition;
	int64		tag;			/* as given to produce() */
	int64		count;			/* records that were not taken, all told */
	EventlogKafkaError error;
} EventlogKafkaDelivery;

/* --- consuming --- */

typedef enum EventlogKafkaMessageKind
{
	EVENTLOG_KAFKA_RECORD,

	/*
	 * Everything committed so far has been told: record.offset is the next
	 * position.  It can be past the last record by control records and aborted
	 * ones, so progress has to be moved to it.  Comes again after new records.
	 */
	EVENTLOG_KAFKA_END,

	/*
	 * The partition cannot be read on: "code" says why, record.value (of
	 * value_len bytes) in words, record.offset where.  Nothing more comes from
	 * it in this client.
	 */
	EVENTLOG_KAFKA_TROUBLE
} EventlogKafkaMessageKind;

typedef struct EventlogKafkaMessage
{
	/*
	 * Key, value and headers point into librdkafka's memory, or the batch's:
	 * until release().  The timestamp is -1 if there is none.
	 */
	EventlogRecord record;
	int64		tag;			/* as given to assign() */
	int32		partition;
	int			code;			/* of EVENTLOG_KAFKA_TROUBLE */
	uint8		kind;			/* EventlogKafkaMessageKind */
	bool		append_time;	/* the timestamp is the broker's */
} EventlogKafkaMessage;

typedef struct EventlogKafkaBatch
{
	int			count;
	int64		bytes;			/* of keys, values and headers */
	EventlogKafkaMessage *messages;
} EventlogKafkaBatch;

/* A partition to read; offset: of the next record, or one of the two above. */
typedef struct EventlogKafkaAssign
{
	const char *topic;
	int32		partition;
	int64		offset;
	int64		tag;			/* comes back in messages */
} EventlogKafkaAssign;

/* --- the table --- */

/*
 * Functions that return bool return false on error, and then fill in *error;
 * "error" must not be NULL where it is a parameter.  Times are milliseconds.
 */
typedef struct EventlogKafkaApi
{
	int			version;		/* EVENTLOG_KAFKA_API_VERSION */

	/* librdkafka's at run time: "2.0.2" */
	const char *(*library_version)(void);

	/*
	 * Does this librdkafka know the option, and take the value?  The message
	 * does not repeat the value of options that may be secret.  No allow-list.
	 */
	bool		(*check_option)(EventlogKafkaKind kind, const char *name,
								 const char *value, EventlogKafkaError *error);

	/*
	 * Open a client.  Connects to nothing yet and does not block.  NULL on
	 * error: an option that does not fit, no threads or memory.
	 *
	 * Always set, whatever the options say: log.queue, enable.metrics.push off
	 * where known, allow.auto.create.topics off; for producers
	 * enable.idempotence, transactional.id, delivery.report.only.error; for
	 * consumers enable.auto.commit and enable.auto.offset.store off,
	 * isolation.level=read_committed, enable.partition.eof,
	 * auto.offset.reset=error (a lost position is told, never reset), group.id,
	 * check.crcs.
	 *
	 * Set unless the options have it: client.id=pg_eventlog; for producers
	 * retry.backoff.ms=5, linger.ms=5, batch.num.messages=100000,
	 * queue.buffering.max.messages=200000, queue.buffering.max.kbytes=32768,
	 * message.max.bytes=100000000 (batches are limited by batch.size, which has
	 * to be at most the target's max.message.bytes); for consumers
	 * queued.min.messages=100000, queued.max.messages.kbytes=16384 (librdkafka
	 * takes up to four times that), fetch.error.backoff.ms=20,
	 * fetch.queue.backoff.ms=10 where known.
	 */
	EventlogKafkaClient *(*open)(const EventlogKafkaOpen *how, EventlogKafkaError *error);

	/*
	 * Close, and free what belongs to the client, batches that were not
	 * released included.  An open transaction is left to the broker, which
	 * aborts it when its time is up or the id is initialised again; call
	 * start_abort() before, if there is time.  Takes no longer than timeout_ms
	 * (0 is allowed); true if all is gone.  False: a broker keeps it waiting
	 * (the rest goes on in its thread and frees itself): a worker that exits
	 * has to do so by _exit(), since exit handlers of libraries may meet
	 * running threads.  The client is gone for the caller in either case.
	 */
	bool		(*close)(EventlogKafkaClient *client, int timeout_ms);

	/*
	 * A descriptor that becomes readable when an operation has ended, records
	 * or an end of a partition have arrived, or there is something to log.
	 * For a WaitEventSet; the same for the client's life.
	 */
	int			(*event_fd)(EventlogKafkaClient *client);

	/*
	 * Make event_fd() unreadable and serve what is there: delivery errors,
	 * broker errors, statistics, throttling.  Call it before looking at states
	 * and before fetch(), at each turn of the loop.  Never blocks.
	 */
	void		(*poll)(EventlogKafkaClient *client);

	/*
	 * The next line that librdkafka logged, its syslog level (3 is an error, 4
	 * a warning, 6 information) in *level.  False if there is no more.
	 */
	bool		(*poll_log)(EventlogKafkaClient *client, int *level, char *line, size_t size);

	/*
	 * librdkafka's statistics as JSON, the newest; NULL if there are none yet.
	 * Stays until the next poll().
	 */
	const char *(*stats)(EventlogKafkaClient *client);

	/*
	 * Trouble with brokers since the last call (down, authentication, TLS):
	 * the newest error.  False if there was none.  Connections are tried again
	 * by themselves.  *fatal in it is the client's end.
	 */
	bool		(*broker_error)(EventlogKafkaClient *client, EventlogKafkaError *error);

	/* ms that brokers made us wait (quotas), summed up */
	int64		(*throttled_ms)(EventlogKafkaClient *client);

	/*
	 * The state of the operation started last; *error (may be NULL) is filled
	 * in if it failed.  Its results stay until the next start_xxx().
	 */
	EventlogKafkaOpState (*op_state)(EventlogKafkaClient *client, EventlogKafkaError *error);

	/*
	 * Wait up to timeout_ms for the operation: for tests and programs.
	 */
	EventlogKafkaOpState (*op_wait)(EventlogKafkaClient *client, int timeout_ms,
									 EventlogKafkaError *error);

	/* --- asking and creating: any kind of client --- */

	/* Brokers, and one topic or (NULL) all.  Result: metadata(). */
	bool		(*start_metadata)(EventlogKafkaClient *client, const char *topic,
								   int timeout_ms, EventlogKafkaError *error);
	const EventlogKafkaMetadata *(*metadata)(EventlogKafkaClient *client);

	/*
	 * Which cluster it is, as brokers have said with any answer about topics:
	 * start_metadata() or start_target(), failed ones too.  Cut to size.  False,
	 * and "", if none has: there was no answer, or the brokers are too old.
	 */
	bool		(*cluster_id)(EventlogKafkaClient *client, char *id, size_t size);

	/*
	 * Create a topic; replication_factor -1 takes the broker's default.  One
	 * that exists is the error TOPIC_ALREADY_EXISTS.  Its partitions may take
	 * a moment until all brokers know them; start_target() waits for that.
	 */
	bool		(*start_create_topic)(EventlogKafkaClient *client, const char *topic,
									   int32 partitions, int replication_factor,
									   const EventlogKafkaOption *configs, int nconfigs,
									   int timeout_ms, EventlogKafkaError *error);

	/* A topic's configs.  Result: configs(). */
	bool		(*start_describe_topic)(EventlogKafkaClient *client, const char *topic,
										 int timeout_ms, EventlogKafkaError *error);
	const EventlogKafkaConfig *(*configs)(EventlogKafkaClient *client, int *count);

	/*
	 * What a group has committed (topic and partition are read): with
	 * require_stable, so it waits for transactions that are about to commit or
	 * to be timed out.  Result: offsets(), -1 where nothing is committed.
	 * Call after init_transactions, so that no transaction of ours is open.
	 */
	bool		(*start_committed)(EventlogKafkaClient *client, const char *group,
									const EventlogKafkaOffset *partitions, int count,
									int timeout_ms, EventlogKafkaError *error);

	/*
	 * Where partitions begin and end.  Result: offsets(), the log start in
	 * "offset", in "high" the high watermark.
	 */
	bool		(*start_watermarks)(EventlogKafkaClient *client,
									 const EventlogKafkaOffset *partitions, int count,
									 int timeout_ms, EventlogKafkaError *error);

	/*
	 * The first records at or after a time: "offset" is the time (ms) in the
	 * argument and the offset in the result, -1 if there is none.  Control
	 * records count, with the time of their commit.  The times
	 * EVENTLOG_KAFKA_OFFSET_BEGINNING and _END ask for where the log begins and
	 * ends; for a consumer it ends where the first open transaction begins.
	 */
	bool		(*start_offsets_for_times)(EventlogKafkaClient *client,
											const EventlogKafkaOffset *times, int count,
											int timeout_ms, EventlogKafkaError *error);

	/* Result of the three above, in the order of the arguments. */
	const EventlogKafkaOffset *(*offsets)(EventlogKafkaClient *client, int *count);

	/* --- producing --- */

	/*
	 * Register with the broker; whoever has the same transactional id is
	 * fenced, and its open transaction aborted.  Once per client, before all
	 * else.  Retriable (_TIMED_OUT) while no broker answers.
	 */
	bool		(*start_init)(EventlogKafkaClient *client, int timeout_ms,
							   EventlogKafkaError *error);

	/*
	 * Look up a topic to produce to; waits until every one of at least
	 * min_partitions is known.  max_record_bytes limits a record's size in an
	 * uncompressed batch (the topic's max.message.bytes; 0: no check).  The
	 * result is target(), a small number for produce(), and target_partitions().
	 * Started again for a topic, it returns the same number, and looks again.
	 */
	bool		(*start_target)(EventlogKafkaClient *client, const char *topic,
								 int32 min_partitions, int64 max_record_bytes,
								 int timeout_ms, EventlogKafkaError *error);
	int			(*target)(EventlogKafkaClient *client);
	int32		(*target_partitions)(EventlogKafkaClient *client, int target);

	/* Begin a transaction.  Local: the broker hears of it by its records. */
	bool		(*begin)(EventlogKafkaClient *client, EventlogKafkaError *error);

	/*
	 * Queue a record.  All is copied; record->offset is not used, and "tag"
	 * names the record in delivery_failure().  Nulls, empty values, headers
	 * and timestamps (0 and -1 as well) arrive as they are; header names end
	 * at a zero byte, if they have one.  Only QUEUE_FULL leaves *error alone.
	 */
	EventlogKafkaProduced (*produce)(EventlogKafkaClient *client, int target, int32 partition,
									  const EventlogRecord *record, int64 tag,
									  EventlogKafkaError *error);

	/* Records queued or under way, and the bytes of those queued since begin(). */
	int			(*queue_length)(EventlogKafkaClient *client);
	int64		(*produced_bytes)(EventlogKafkaClient *client);

	/*
	 * Commit: wait until all records are delivered, with the positions
	 * (topic, partition, offset) as the group's committed offsets in the same
	 * transaction.  Topics and partitions of the positions must exist.  count
	 * may be 0.  If it fails as retriable, start it again with the same
	 * positions: what was done is not done twice.  If it fails otherwise
	 * without being abortable or fatal, or the connection breaks for longer
	 * than the caller wants to wait: close; whether it was committed is told by
	 * start_committed() of the next client.
	 */
	bool		(*start_commit)(EventlogKafkaClient *client, const char *group,
								 const EventlogKafkaOffset *positions, int count,
								 int timeout_ms, EventlogKafkaError *error);

	/* Abort the transaction; what is queued is dropped. */
	bool		(*start_abort)(EventlogKafkaClient *client, int timeout_ms,
								EventlogKafkaError *error);

	/* Without transactions: wait until all records are delivered. */
	bool		(*start_flush)(EventlogKafkaClient *client, int timeout_ms,
								EventlogKafkaError *error);

	/*
	 * What was not taken since begin(); without transactions, since the last
	 * call.
	 */
	bool		(*delivery_failure)(EventlogKafkaClient *client, EventlogKafkaDelivery *failure);

	/* --- consuming --- */

	/*
	 * Add partitions to those that are read.  Each is assigned once in a
	 * client's life: to read it from elsewhere, close the client and open
	 * another.  Nothing blocks: records come when they come.
	 */
	bool		(*assign)(EventlogKafkaClient *client, const EventlogKafkaAssign *partitions,
						   int count, EventlogKafkaError *error);

	/*
	 * Where an assigned partition ends, open transactions included, as the
	 * broker said with the newest fetch; -1: not known yet.
	 */
	int64		(*end_offset)(EventlogKafkaClient *client, const char *topic, int32 partition);

	/*
	 * What has arrived, up to max messages and about max_bytes; NULL if there
	 * is nothing.  Never blocks.  Call it until NULL before waiting again, or
	 * event_fd() may stay silent.  Partitions come in runs, in order of offset
	 * in each.  Several batches may be held; release() each when it is
	 * committed, in any order.
	 */
	EventlogKafkaBatch *(*fetch)(EventlogKafkaClient *client, int max, int64 max_bytes);
	void		(*release)(EventlogKafkaClient *client, EventlogKafkaBatch *batch);
} EventlogKafkaApi;

typedef const EventlogKafkaApi *(*EventlogKafkaGetApi)(void);

/* The one symbol of pg_eventlog_kafka.so that the core looks up. */
extern PGDLLEXPORT const EventlogKafkaApi *eventlog_kafka_api(void);

#endif							/* EVENTLOG_KAFKA_API_H */
