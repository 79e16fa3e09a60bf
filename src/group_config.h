/*-------------------------------------------------------------------------
 *
 * group_config.h
 *	  Configs of consumer groups: names, types, ranges, defaults.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_GROUP_CONFIG_H
#define EVENTLOG_GROUP_CONFIG_H

#include "utils/jsonb.h"

#include "topic.h"

/* In which way a group is used; "group.type". */
#define EVENTLOG_DEFAULT_MAX_POLL_MS	300000

typedef enum EventlogGroupUse
{
	EVENTLOG_GROUP_UNUSED,		/* not yet */
	EVENTLOG_GROUP_CONSUME,		/* consume() */
	EVENTLOG_GROUP_MEMBERS		/* subscribe() */
} EventlogGroupUse;

/* What a group does whose position lies below the log start. */
typedef enum EventlogResetPolicy
{
	EVENTLOG_RESET_ERROR,		/* none */
	EVENTLOG_RESET_EARLIEST,
	EVENTLOG_RESET_LATEST,
	EVENTLOG_RESET_DURATION,	/* by_duration:, before now */
	EVENTLOG_RESET_TIME
} EventlogResetPolicy;

typedef struct EventlogGroupConfig
{
	EventlogResetPolicy reset;	/* auto.offset.reset */
	int64		reset_ms;		/* the duration, or the time */
	int32		max_poll_interval_ms;	/* max.poll.interval.ms */
	char		dead_letter_topic[EVENTLOG_TOPIC_NAME_MAX + 1]; /* errors.deadletterqueue.topic.name;
																 * empty: none */
} EventlogGroupConfig;

/*
 * Apply "changes", as a user gave them, to a group's stored configs: an object
 * of names and values, where null takes a config back to its default.  Returns
 * what to store.  "group.type" is not stored there: if it is named, *use is
 * set.
 *
 * Errors: ERRCODE_INVALID_PARAMETER_VALUE for an unknown name or a wrong
 * value; ERRCODE_INVALID_NAME, those of timestamps.
 */
extern Jsonb *eventlog_group_config_apply(Jsonb *stored, Jsonb *changes, EventlogGroupUse *use);

/* Fill in *config from stored configs and defaults. */
extern void eventlog_group_config_read(Jsonb *stored, EventlogGroupConfig *config);

/* "consume", "members", or NULL if unused; and back, from a column's value. */
extern const char *eventlog_group_use_name(EventlogGroupUse use);
extern EventlogGroupUse eventlog_group_use_of(const char *name);

#endif							/* EVENTLOG_GROUP_CONFIG_H */
