/*-------------------------------------------------------------------------
 *
 * mirror_option_table.h
 *	  The table of librdkafka's options, mirror_option_table.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_OPTION_TABLE_H
#define EVENTLOG_MIRROR_OPTION_TABLE_H

typedef enum EventlogOptionKind
{
	EVENTLOG_OPTION_STRING,
	EVENTLOG_OPTION_INT,
	EVENTLOG_OPTION_BOOL,
	EVENTLOG_OPTION_WORD,		/* one of "words" */
	EVENTLOG_OPTION_HOSTS,
	EVENTLOG_OPTION_PEM,
	EVENTLOG_OPTION_FILE,		/* absolute path on the server */
	EVENTLOG_OPTION_REFUSED		/* librdkafka or others have it; note says why not */
} EventlogOptionKind;

typedef struct EventlogOptionRule
{
	const char *name;			/* ending in "*": all that begin so */
	EventlogOptionKind kind;
	int			where;			/* EVENTLOG_OPTION_x, or-ed */
	bool		secret;			/* the value is never shown */
	int64		min;
	int64		max;
	const char *words;			/* with spaces between and around */
	const char *note;
} EventlogOptionRule;

extern const EventlogOptionRule eventlog_option_rules[];
extern const int eventlog_noption_rules;

/* The rule for an option, or NULL. */
extern const EventlogOptionRule *eventlog_option_rule(const char *name);

#endif							/* EVENTLOG_MIRROR_OPTION_TABLE_H */
