/*-------------------------------------------------------------------------
 *
 * mirror.h
 *	  A mirror: a topic here and a topic in Kafka, kept the same.
 *
 *	  mirror_sql.c		 create_mirror() and its like, views' functions
 *	  mirror_catalog.c	 tables eventlog.mirror and eventlog.mirror_position
 *	  mirror_position.c	 progress of mirrors, and pairs of offsets
 *	  mirror_topic.c	 which topics: rights, patterns
 *	  mirror_cluster.c	 which servers are one cluster: loops and doubles
 *	  mirror_config.c	 the configuration
 *	  mirror_option.c	 librdkafka's options: servers, user mappings, secrets
 *	  mirror_slot.c		 what processes share of mirrors
 *	  kafka_api.h		 what pg_eventlog_kafka.so offers: librdkafka
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_H
#define EVENTLOG_MIRROR_H

#include "utils/jsonb.h"

#include "catalog_sql.h"
#include "mirror_config.h"
#include "mirror_slot.h"
#include "topic.h"

/*
 * A row of eventlog.mirror, with what follows from it.
 *
 * A name that begins with "^" is a regular expression, for the side that is
 * the source: all its topics that match.  The other side's name is then what
 * regexp_replace() makes of the source's name, with \1 and \& as there; NULL:
 * the same name.
 */
typedef struct EventlogMirror
{
	int32		id;
	char	   *name;
	Oid			owner;
	char	   *server;			/* name of the foreign server */
	bool		out;			/* from here to Kafka */
	char	   *topic;
	char	   *kafka_topic;
	bool		pattern;
	Jsonb	   *config_json;
	EventlogMirrorConfig *config;
	bool		paused;

	/*
	 * Why it stands still, from one start to the next, "phase: message" with a
	 * phase as the view shows it: "diverged", "stopped", "fenced".  NULL: it
	 * does not.  resume_mirror() takes it away.
	 */
	char	   *stopped;

	/*
	 * Not NULL: somebody has said from where to go on, whatever positions there
	 * are, here or in Kafka.  eventlog_mirror_set_restart(id, NULL) when that has
	 * been done: for "in", in the transaction that sets the positions; for
	 * "out", once they are committed in Kafka.
	 */
	EventlogMirrorStart *restart;

	/*
	 * A name that no other mirror has, not even on another server, and that a
	 * successor inherits: group and transactional id in Kafka begin with it.
	 */
	char		identity[64];
	uint64		system_identifier;	/* where it has been working ... */
	Oid			database;
	uint32		timeline;
	int64		generation;		/* counts its owners: whoever starts working on it
								 * adds 1, and stops when it finds another number;
								 * the upper 32 bits count resume_mirror() */
} EventlogMirror;

/* Progress of a partition of the source. */
typedef struct EventlogMirrorPosition
{
	char	   *topic;			/* our topic's name */
	char	   *kafka_topic;
	int32		partition;		/* of the source */
	int64		record_offset;	/* ours; -1: not known */
	int64		kafka_offset;	/* Kafka's; -1: not known */
	int32		epoch;			/* of the source's, at that time; -1: not known */
	Oid			relation;		/* out: our topic's table, which no other topic of
								 * its name has; else invalid */
} EventlogMirrorPosition;

/* --- mirror_catalog.c --- */

/* SPI in the name of the owner of the tables of mirrors. */
static inline void
eventlog_mirror_sql_begin(EventlogCatalogSql *session)
{
	eventlog_catalog_sql_begin(session, "mirror", "mirrors");
}

/*
 * Load a mirror by name, or by id if name is NULL; palloc'd in the current
 * context.  NULL if there is none (missing_ok), else ERRCODE_UNDEFINED_OBJECT.
 * With lock, its row is locked until the end of the transaction.  "config" is
 * NULL: one that cannot be read any more must not be in the way.
 */
extern EventlogMirror *eventlog_mirror_load(const char *name, int32 id, bool lock,
											bool missing_ok);

/* Read "config", or raise. */
extern void eventlog_mirror_read_config(EventlogMirror *mirror);

/* A name or word for a message, cut if it is too long. */
extern const char *eventlog_mirror_clip_name(const char *name);

/*
 * Whoever is to add a mirror waits here for others that do, and for the end of
 * the transaction: two must not pass each other's checks.
 */
extern void eventlog_mirror_lock_catalog(void);

/* The same among workers, for mirrors that begin: never held for long. */
extern void eventlog_mirror_lock_admission(void);

/*
 * All mirrors, of a server or (NULL) of all.  Of one whose configuration cannot
 * be read, "config" is NULL.
 */
extern List *eventlog_mirror_load_list(const char *server);

/* Tell shared memory of the servers that this database has mirrors of. */
extern void eventlog_mirror_register_all(void);

extern int32 eventlog_mirror_insert(const char *name, Oid owner, const char *server, bool out,
									const char *topic, const char *kafka_topic, Jsonb *config);
extern void eventlog_mirror_delete(int32 id);
extern void eventlog_mirror_set_config(int32 id, Jsonb *config);
extern void eventlog_mirror_set_paused(int32 id, bool paused);

/* It is not to go on until somebody resumes it; why: NULL takes that back. */
extern void eventlog_mirror_set_stopped(int32 id, const char *why);

/* It is to go on from there (as in "start" of the configuration), or NULL. */
extern void eventlog_mirror_set_restart(int32 id, const char *start);

/*
 * This server, database and timeline are where it works now, by somebody's
 * choice: its generation becomes greater than any that it has had, and than that
 * of the one it is a copy of.
 */
extern void eventlog_mirror_set_home(int32 id);

extern void eventlog_mirror_set_generation(int32 id, int64 generation);

/* Is this where the mirror has been working, as far as that can be told? */
extern bool eventlog_mirror_is_home(const EventlogMirror *mirror);

/*
 * What a worker does before it touches Kafka for a mirror, in a transaction of
 * its own: false if the mirror waits to be adopted, with its slot saying so.
 * Else the mirror is this worker's: its generation is one more, in the
 * catalogue and in *mirror, and whoever worked on it before finds that out.
 */
extern bool eventlog_mirror_enter(EventlogMirror *mirror, EventlogMirrorSlot *slot);

/* Is it still this worker's?  To be asked before initialising again. */
extern bool eventlog_mirror_is_mine(const EventlogMirror *mirror);

/* --- mirror_position.c --- */

/* Progress: all of a mirror; *positions is palloc'd. */
extern int	eventlog_mirror_positions_load(int32 id, EventlogMirrorPosition **positions);

/*
 * Set the position of a partition, in this transaction.  Cheap: one update of
 * a small row by its key.
 */
extern void eventlog_mirror_position_set(int32 id, const EventlogMirrorPosition *position);

/*
 * Keep a pair of offsets for translation, in this transaction: see
 * eventlog.mirror_offsets().  Both must be known.
 */
extern void eventlog_mirror_sync_add(int32 id, const EventlogMirrorPosition *position);

/* Forget all pairs of a mirror. */
extern void eventlog_mirror_syncs_forget(int32 id);

/* Forget all that is known of a topic in Kafka, pairs too, in this transaction. */
extern void eventlog_mirror_positions_forget(int32 id, const char *kafka_topic);

/*
 * The pair to use for a consumer of one side, at *record_offset or, if that is
 * negative, at *kafka_offset: both are set.  The newest pair that is not past
 * it.  False if there is none, which is for whoever asks to handle.
 */
extern bool eventlog_mirror_translate(int32 id, const char *kafka_topic, int32 partition,
									  int64 *record_offset, int64 *kafka_offset);

/* --- mirror_topic.c --- */

/*
 * Raise unless the current user, who is this role, may write to the topic and
 * trusts its owner, whose triggers run in the name of who writes.  Cheap enough
 * for each batch.
 */
extern void eventlog_mirror_check_target(Oid role, const EventlogTopic *topic);

/* Raise unless the role may read (out) or write (in, as above) the topic here. */
extern void eventlog_mirror_check_topic(Oid role, const char *topic, bool out);

/* Does the name begin as a pattern does? */
extern bool eventlog_mirror_is_pattern(const char *name);

/*
 * The target's name for a source's topic, by the mirror's pattern; NULL if it
 * does not match or is excluded.  In a transaction.
 */
extern char *eventlog_mirror_map_topic(const EventlogMirror *mirror, const char *source);

/* --- mirror_cluster.c --- */

/*
 * Would it be a loop if this mirror took this pair of topics?  Returns the name
 * of a mirror that goes the other way between them, or NULL.  For patterns,
 * each pair is to be asked for when it is found; topic NULL asks for pairs of
 * mirrors without patterns, as far as they are known.  With at_work, mirrors
 * that stand still until somebody resumes them do not count.
 */
extern char *eventlog_mirror_find_loop(const EventlogMirror *mirror, const char *topic,
									   const char *kafka_topic, bool at_work);

/* The same of a pattern's pair; if so, the log says that it is left out. */
extern bool eventlog_mirror_would_loop(const EventlogMirror *mirror, const char *topic,
									   const char *kafka_topic);

/* Name of a mirror that does the same, or NULL. */
extern char *eventlog_mirror_find_double(const EventlogMirror *mirror, bool at_work);

#endif							/* EVENTLOG_MIRROR_H */
