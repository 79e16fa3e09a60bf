/*-------------------------------------------------------------------------
 *
 * capture_notify.h
 *	  Notifications about snapshots, in Debezium's form.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_NOTIFY_H
#define EVENTLOG_CAPTURE_NOTIFY_H

#include "nodes/pg_list.h"

#include "capture.h"
#include "capture_encoder.h"

#define EVENTLOG_NOTIFY_INITIAL		"Initial Snapshot"
#define EVENTLOG_NOTIFY_INCREMENTAL	"Incremental Snapshot"

/* A random (version 4) UUID as text. */
#define EVENTLOG_UUID_LEN 36
extern void eventlog_random_uuid(char *out);

/*
 * Send a notification, if the capture sends any.  id: NULL for a random one.
 * Then pairs of name and value of its additional data, in their order, up to
 * a NULL; a NULL value leaves the pair out.
 */
extern void eventlog_capture_notify(EventlogCapture *capture, EventlogEncoder *encoder,
									const char *id, const char *aggregate, const char *type, ...);

/*
 * Keep notifications from now on, or not any more; and send those that were
 * kept, in the transaction that what they tell of is part of.
 */
extern void eventlog_notify_defer(bool defer);
extern void eventlog_notify_flush(EventlogEncoder *encoder);

extern bool eventlog_names_contain(List *names, const char *name);

/* Names, joined by commas. */
extern char *eventlog_names_join(List *names);

/* The same names in the order of iteration that a set has in Java. */
extern List *eventlog_names_java_set(List *names);

#endif							/* EVENTLOG_CAPTURE_NOTIFY_H */
