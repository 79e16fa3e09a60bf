/*-------------------------------------------------------------------------
 *
 * topic_config.h
 *	  Kafka's topic configs: names, types, ranges, defaults.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_TOPIC_CONFIG_H
#define EVENTLOG_TOPIC_CONFIG_H

#include "topic.h"
#include "utils/jsonb.h"

/*
 * Apply "changes", as a user gave them, to a topic's stored configs: a JSON
 * object of config names and values, where null takes a config back to its
 * default.  Returns the new configs to store: numbers as JSON numbers, the
 * rest as strings, each as Kafka would write it.
 *
 * Errors: ERRCODE_INVALID_PARAMETER_VALUE for an unknown name or a value of
 * the wrong type or outside its range, ERRCODE_FEATURE_NOT_SUPPORTED for
 * configs of Kafka that mean nothing here.
 */
extern Jsonb *eventlog_topic_config_apply(Jsonb *stored, Jsonb *changes);

/* Fill in *config from stored configs and defaults. */
extern void eventlog_topic_config_read(Jsonb *stored, EventlogTopicConfig *config);

/*
 * A value in a set of configs as text: a string's own, a number's or boolean's
 * spelling; NULL for anything else.
 */
extern char *eventlog_config_scalar_text(const JsonbValue *value);

/* An empty set of configs. */
extern Jsonb *eventlog_topic_config_empty(void);

#endif							/* EVENTLOG_TOPIC_CONFIG_H */
