/*-------------------------------------------------------------------------
 *
 * kafka_internal.h
 *	  What the files of pg_eventlog_kafka.so share.  The only one that includes
 *	  librdkafka's header.
 *
 * Threads: "the caller" is the thread that opened the client; "the helper" is
 * the client's own thread, which runs one operation at a time.  What both touch
 * is guarded by "lock", or belongs to whoever the state of the operation says.
 * librdkafka's threads run no code of ours.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_KAFKA_INTERNAL_H
#define EVENTLOG_KAFKA_INTERNAL_H

#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include <pthread.h>

#include <librdkafka/rdkafka.h>

#include "kafka_api.h"

#if RD_KAFKA_VERSION < 0x020000ff
#error "librdkafka 2.0 or later is needed"
#endif

/* Memory that is given back all at once.  malloc'd, so usable in any thread. */
typedef struct EventlogKafkaPool
{
	struct EventlogKafkaChunk *chunks;
} EventlogKafkaPool;

typedef void (*EventlogKafkaRun)(EventlogKafkaClient *client);

/* The operation that runs, or ran last, with its arguments and results. */
typedef struct EventlogKafkaOp
{
	EventlogKafkaRun run;
	int64		started;		/* eventlog_kafka_now() */
	int64		deadline;		/* likewise */
	EventlogKafkaError error;	/* error.name[0] is set if it failed */

	/* arguments, copied */
	const char *topic;
	const char *group;
	int32		partitions;
	int			replication_factor;
	int64		max_record_bytes;
	EventlogKafkaOption *options;
	int			noptions;

	/* arguments and results */
	EventlogKafkaOffset *offsets;
	int			noffsets;

	/* results */
	EventlogKafkaMetadata metadata;
	EventlogKafkaConfig *configs;
	int			nconfigs;
	int			target;

	EventlogKafkaPool pool;
} EventlogKafkaOp;

typedef struct EventlogKafkaTarget
{
	char	   *name;
	rd_kafka_topic_t *rkt;
	int32		partitions;		/* known to librdkafka */
	int64		max_record_bytes;
} EventlogKafkaTarget;

/* A partition that is read. */
typedef struct EventlogKafkaAssigned
{
	char	   *topic;
	int32		partition;
	int64		tag;
	bool		stopped;		/* trouble was told: nothing more comes */
} EventlogKafkaAssigned;

/* A batch handed out, with what it has to give back. */
typedef struct EventlogKafkaHeld
{
	EventlogKafkaBatch batch;	/* first, so that a pointer to it is one to us */
	rd_kafka_message_t **raw;
	int			nraw;
	int			capacity;
	EventlogKafkaPool headers;
	struct EventlogKafkaHeld *prev;
	struct EventlogKafkaHeld *next;
} EventlogKafkaHeld;

#define EVENTLOG_KAFKA_LOG_LINES	64
#define EVENTLOG_KAFKA_LOG_LENGTH	400

typedef struct EventlogKafkaLogLine
{
	int			level;
	char		text[EVENTLOG_KAFKA_LOG_LENGTH];
} EventlogKafkaLogLine;

struct EventlogKafkaClient
{
	EventlogKafkaKind kind;
	bool		transactional;
	rd_kafka_t *rk;
	rd_kafka_conf_t *group_conf;	/* for a consumer that asks for positions */
	rd_kafka_queue_t *main_queue;	/* events: errors, logs, statistics, ... */
	int			wake[2];		/* a pipe; [0] is event_fd() */

	/* --- guarded by lock --- */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	EventlogKafkaOpState op_state;
	bool		closing;		/* operations end at their next look */
	bool		destroyed;		/* the helper has destroyed rk and is ending */
	bool		abandoned;		/* nobody waits any more: the helper frees all */

	EventlogKafkaLogLine *log;	/* a ring of EVENTLOG_KAFKA_LOG_LINES */
	int			log_first;
	int			log_count;
	int64		log_dropped;
	char	   *new_stats;
	bool		has_broker_error;
	EventlogKafkaError broker_error;
	int64		broker_error_at;	/* eventlog_kafka_now() */
	int64		throttled_ms;
	EventlogKafkaDelivery delivery; /* count is 0 if there was no failure */
	rd_kafka_topic_partition_list_t *nudge; /* partitions to be nudged */

	/* --- the caller's --- */
	pthread_t	helper;
	char	   *stats;
	int64		produced_bytes;
	EventlogKafkaHeld *held;	/* batches not yet released */
	EventlogKafkaHeld *spare;	/* one released, to be used again */
	EventlogKafkaAssigned *assigned;
	int			nassigned;
	int			assigned_capacity;
	rd_kafka_queue_t *records;	/* consumer's queue of messages */
	const rd_kafka_topic_t *last_rkt;	/* the partition looked up last */
	int32		last_partition;
	int			last_assigned;
	int64		full_messages;	/* of a full queue; 0: it needs no nudges */
	int64		full_bytes;
	bool		was_full;		/* or may have been, since the last nudge */

	/* --- the helper's while an operation runs, else the caller's --- */
	EventlogKafkaOp op;
	EventlogKafkaTarget *targets;
	int			ntargets;
	bool		in_transaction;
	bool		positions_sent; /* in this transaction */
	bool		group_known;	/* a group's coordinator has answered */

	/* while produce() makes librdkafka take a timestamp that it would change */
	bool		zero_timestamp;
	bool		zero_failed;
};

/* --- kafka.c --- */
extern void eventlog_kafka_serve(EventlogKafkaClient *client);
extern void eventlog_kafka_note_trouble(EventlogKafkaClient *client,
										const EventlogKafkaError *error);
extern int64 eventlog_kafka_now(void);

/* --- kafka_error.c --- */
extern void eventlog_kafka_set_error(EventlogKafkaClient *client, EventlogKafkaError *error,
									 int code, const char *format, ...) pg_attribute_printf(4, 5);
extern void eventlog_kafka_take_error(EventlogKafkaClient *client, EventlogKafkaError *error,
									  rd_kafka_error_t *from, const char *what);
extern bool eventlog_kafka_out_of_memory(EventlogKafkaError *error);

/* --- kafka_pool.c --- */
extern void *eventlog_kafka_alloc(EventlogKafkaPool *pool, size_t size);
extern char *eventlog_kafka_copy(EventlogKafkaPool *pool, const char *text);
extern void eventlog_kafka_free(EventlogKafkaPool *pool);

/* --- kafka_thread.c --- */
extern bool eventlog_kafka_thread_start(EventlogKafkaClient *client, EventlogKafkaError *error);
extern bool eventlog_kafka_op_begin(EventlogKafkaClient *client, EventlogKafkaError *error);
extern void eventlog_kafka_op_start(EventlogKafkaClient *client, EventlogKafkaRun run,
									int timeout_ms);
extern bool eventlog_kafka_op_closing(EventlogKafkaClient *client);
extern int	eventlog_kafka_op_slice(EventlogKafkaClient *client, int most);
extern void eventlog_kafka_op_pause(EventlogKafkaClient *client, int ms);
extern void eventlog_kafka_op_expired(EventlogKafkaClient *client, const char *what);
extern EventlogKafkaOpState eventlog_kafka_op_state(EventlogKafkaClient *client,
													EventlogKafkaError *error);
extern EventlogKafkaOpState eventlog_kafka_op_wait(EventlogKafkaClient *client, int timeout_ms,
												   EventlogKafkaError *error);
extern bool eventlog_kafka_thread_end(EventlogKafkaClient *client, int timeout_ms);
extern void eventlog_kafka_client_free(EventlogKafkaClient *client);

/* --- kafka_nudge.c --- */
extern void eventlog_kafka_nudge_init(EventlogKafkaClient *client);
extern void eventlog_kafka_nudge(EventlogKafkaClient *client, const EventlogKafkaHeld *held);
extern void eventlog_kafka_nudge_run(EventlogKafkaClient *client);

/* --- kafka_admin.c --- */
extern bool eventlog_kafka_cluster_id(EventlogKafkaClient *client, char *id, size_t size);
extern bool eventlog_kafka_start_metadata(EventlogKafkaClient *client, const char *topic,
										  int timeout_ms, EventlogKafkaError *error);
extern bool eventlog_kafka_start_create_topic(EventlogKafkaClient *client, const char *topic,
											  int32 partitions, int replication_factor,
											  const EventlogKafkaOption *configs, int nconfigs,
											  int timeout_ms, EventlogKafkaError *error);
extern bool eventlog_kafka_start_describe_topic(EventlogKafkaClient *client, const char *topic,
												int timeout_ms, EventlogKafkaError *error);

/* --- kafka_offsets.c --- */
extern bool eventlog_kafka_start_committed(EventlogKafkaClient *client, const char *group,
										   const EventlogKafkaOffset *partitions, int count,
										   int timeout_ms, EventlogKafkaError *error);
extern bool eventlog_kafka_start_watermarks(EventlogKafkaClient *client,
											const EventlogKafkaOffset *partitions, int count,
											int timeout_ms, EventlogKafkaError *error);
extern bool eventlog_kafka_start_offsets_for_times(EventlogKafkaClient *client,
												   const EventlogKafkaOffset *times, int count,
												   int timeout_ms, EventlogKafkaError *error);
extern bool eventlog_kafka_copy_offsets(EventlogKafkaClient *client,
										const EventlogKafkaOffset *offsets, int count,
										EventlogKafkaError *error);
extern rd_kafka_topic_partition_list_t *eventlog_kafka_offset_list(EventlogKafkaClient *client);
extern bool eventlog_kafka_ask_group(EventlogKafkaClient *client,
									 rd_kafka_topic_partition_list_t **result);

/* --- kafka_producer.c --- */
extern bool eventlog_kafka_start_init(EventlogKafkaClient *client, int timeout_ms,
									  EventlogKafkaError *error);
extern bool eventlog_kafka_start_target(EventlogKafkaClient *client, const char *topic,
										int32 min_partitions, int64 max_record_bytes,
										int timeout_ms, EventlogKafkaError *error);
extern bool eventlog_kafka_begin(EventlogKafkaClient *client, EventlogKafkaError *error);
extern EventlogKafkaProduced eventlog_kafka_produce(EventlogKafkaClient *client, int target,
													int32 partition,
													const EventlogRecord *record, int64 tag,
													EventlogKafkaError *error);
extern int64 eventlog_kafka_produced_bytes(EventlogKafkaClient *client);
extern int32 eventlog_kafka_target_partitions(EventlogKafkaClient *client, int target);
extern rd_kafka_resp_err_t eventlog_kafka_on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf,
												 void *opaque, char *text, size_t size);
extern void eventlog_kafka_targets_free(EventlogKafkaClient *client);

/* --- kafka_transaction.c --- */
extern bool eventlog_kafka_start_commit(EventlogKafkaClient *client, const char *group,
										const EventlogKafkaOffset *positions, int count,
										int timeout_ms, EventlogKafkaError *error);
extern bool eventlog_kafka_start_abort(EventlogKafkaClient *client, int timeout_ms,
									   EventlogKafkaError *error);
extern bool eventlog_kafka_start_flush(EventlogKafkaClient *client, int timeout_ms,
									   EventlogKafkaError *error);
extern void eventlog_kafka_note_delivery(EventlogKafkaClient *client,
										 const rd_kafka_message_t *message);
extern bool eventlog_kafka_delivery_failure(EventlogKafkaClient *client,
											EventlogKafkaDelivery *failure);

/* --- kafka_headers.c --- */
extern rd_kafka_headers_t *eventlog_kafka_read_headers(const EventlogRecord *record);
extern bool eventlog_kafka_write_headers(const rd_kafka_headers_t *headers,
										 EventlogKafkaPool *pool, EventlogRecord *record);

/* --- kafka_consumer.c --- */
extern bool eventlog_kafka_assign(EventlogKafkaClient *client,
								  const EventlogKafkaAssign *partitions, int count,
								  EventlogKafkaError *error);
extern int64 eventlog_kafka_end_offset(EventlogKafkaClient *client, const char *topic, int32 partition);
extern EventlogKafkaBatch *eventlog_kafka_fetch(EventlogKafkaClient *client, int max,
												int64 max_bytes);
extern void eventlog_kafka_release(EventlogKafkaClient *client, EventlogKafkaBatch *batch);
extern void eventlog_kafka_assigned_free(EventlogKafkaClient *client);

#endif							/* EVENTLOG_KAFKA_INTERNAL_H */
