/*-------------------------------------------------------------------------
 *
 * capture_default.h
 *	  What a column's default expression says, as far as schemas tell it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_DEFAULT_H
#define EVENTLOG_CAPTURE_DEFAULT_H

#include "capture_desc.h"

/*
 * The default that Debezium reads from an expression (pg_attrdef.adbin) of a
 * column of this type, as text of the type; NULL if it sees none.  *constant
 * says whether the column really gets that value.
 */
extern char *eventlog_default_text(const EventlogTypeDesc *type, const char *adbin,
								   bool *constant);

#endif							/* EVENTLOG_CAPTURE_DEFAULT_H */
