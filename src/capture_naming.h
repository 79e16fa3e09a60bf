/*-------------------------------------------------------------------------
 *
 * capture_naming.h
 *	  Names of topics, fields and schemas, and lists of patterns for names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_NAMING_H
#define EVENTLOG_CAPTURE_NAMING_H

#include "batch.h"

typedef enum EventlogNameMode
{
	EVENTLOG_NAME_NONE,
	EVENTLOG_NAME_AVRO,
	EVENTLOG_NAME_AVRO_UNICODE
} EventlogNameMode;

/* Regular expressions, each of which a name matches as a whole or not. */
typedef struct EventlogPatterns
{
	int			n;				/* 0: none given */
	text	  **regexes;
} EventlogPatterns;

/*
 * A list as in table.include.list: regular expressions separated by commas
 * (a comma that is meant is written \,).  Raises for what is not one, naming
 * the property.
 */
extern void eventlog_patterns_parse(EventlogPatterns *patterns, const char *property,
									const char *list);

/* One pattern alone. */
extern text *eventlog_pattern_make(const char *property, const char *pattern);

/* Does any match the name?  Upper and lower case are the same to them. */
extern bool eventlog_patterns_match(const EventlogPatterns *patterns, const char *name);
extern bool eventlog_pattern_match(text *pattern, const char *name);

/* Split at commas, trimming blanks; "\," is a comma.  Empty parts are left out. */
extern int	eventlog_split_list(const char *list, char separator, char ***parts);

/*
 * A topic's name: characters that are illegal there become "_" (as many as
 * UTF-16 has for them, as in Debezium), and what is too long is cut.
 */
extern void eventlog_topic_name(char *out, size_t size, const char *name);

/* Would eventlog_topic_name() leave it as it is? */
extern bool eventlog_topic_name_is_legal(const char *name);

/* Adjust the name of a field, or with dots that of a schema.  palloc'd. */
extern char *eventlog_adjust_name(EventlogNameMode mode, const char *name, bool dots);

/* How a value becomes the name of a topic: Kafka Connect's RegexRouter. */
typedef struct EventlogRoute
{
	text	   *regex;			/* NULL: any value, which is group 1 */
	int			ngroups;
	char	  **groups;			/* names of the groups from 1 on; NULL: without */
	char	   *replacement;	/* with $1 or ${name} */
} EventlogRoute;

#define EVENTLOG_ROUTE_GROUPS	32

/*
 * Parse both.  Raises, naming the properties, for what is no regular
 * expression and for groups that there are not.
 */
extern void eventlog_route_parse(EventlogRoute *route, const char *regex_property,
								 const char *regex, const char *replacement_property,
								 const char *replacement);

/* Append the name for a value: the value itself, if it does not match. */
extern void eventlog_route_apply(EventlogBuf *out, const EventlogRoute *route,
								 const char *value, int32 len);

/*
 * A name in the stream as Debezium misreads it: each of its bytes is a
 * character, and those from 0x80 on are negative and so U+FF80 to U+FFFF.
 * palloc'd if it differs.
 */
extern char *eventlog_name_as_latin1(const char *name);

/* Are all its characters ASCII? */
extern bool eventlog_name_is_ascii(const char *name);

#endif							/* EVENTLOG_CAPTURE_NAMING_H */
