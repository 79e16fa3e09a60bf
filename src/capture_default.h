/*-------------------------------------------------------------------------
 *
 * capture_default.h
 *	  What a column's default expression says, as far as schemas tell it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_DEFAULT_H
#define EVENTLOG_CAPTURE_DEFAULT_H

#include "nodes/nodes.h"

#include "capture_desc.h"

/*
 * The text of a default of a column of this type, if it is a constant that
 * the column gets as it is; NULL else.
 */
extern char *eventlog_default_constant(const EventlogTypeDesc *type, Node *node);

/* The default that Debezium sees, as text of the type; NULL if it sees none. */
extern char *eventlog_default_seen(const EventlogTypeDesc *type, Node *node);

#endif							/* EVENTLOG_CAPTURE_DEFAULT_H */
