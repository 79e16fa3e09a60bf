/*-------------------------------------------------------------------------
 *
 * capture_property.h
 *	  The table of the properties of captures, and their values' forms.
 *
 * capture_property.c holds the table; capture_config.c reads a configuration
 * by it, and does those properties of which the form is their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_PROPERTY_H
#define EVENTLOG_CAPTURE_PROPERTY_H

#include "capture_event.h"

typedef enum EventlogPropertyKind
{
	EVENTLOG_PROPERTY_BOOL,		/* true and false, or two words */
	EVENTLOG_PROPERTY_INT,		/* int32 */
	EVENTLOG_PROPERTY_LONG,		/* int64 */
	EVENTLOG_PROPERTY_STRING,	/* NULL if there is neither value nor default */
	EVENTLOG_PROPERTY_WORD,		/* one of words, as an int */
	EVENTLOG_PROPERTY_PATTERNS,
	EVENTLOG_PROPERTY_SPECIAL,	/* capture_config.c knows */
	EVENTLOG_PROPERTY_IGNORED,	/* only these words, which change nothing; NULL: any */
	EVENTLOG_PROPERTY_REFUSED	/* Debezium has it, we do not; text says why */
} EventlogPropertyKind;

typedef struct EventlogWord
{
	const char *word;			/* NULL ends the list */
	int			value;
} EventlogWord;

typedef struct EventlogProperty
{
	const char *name;			/* ending in "*": all that begin so */
	EventlogPropertyKind kind;
	const char *value;			/* default; NULL: none */
	const char *compatible;		/* default with compatibility debezium; NULL: the same */
	bool		encoder;		/* field is in EventlogEncoderConfig */
	size_t		offset;
	const EventlogWord *words;
	int64		min;
	int64		max;
	int			format;			/* EVENTLOG_FORMAT_x that it belongs to; -1: any */
	const char *text;			/* why refused */
} EventlogProperty;

extern const EventlogProperty eventlog_properties[];
extern const int eventlog_nproperties;

/* Its default; NULL: none. */
static inline const char *
eventlog_property_default(const EventlogProperty *property, bool compatible)
{
	if (compatible && property->compatible != NULL)
		return property->compatible;
	return property->value;
}

/* The property of this name in this format (-1: in any), or NULL. */
extern const EventlogProperty *eventlog_property_find(const char *name, int format);

#endif							/* EVENTLOG_CAPTURE_PROPERTY_H */
