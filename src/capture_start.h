/*-------------------------------------------------------------------------
 *
 * capture_start.h
 *	  What an appender does before it streams: slot, origin, snapshot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_START_H
#define EVENTLOG_CAPTURE_START_H

#include "capture.h"
#include "capture_encoder.h"

/*
 * Load the capture and see whether it may work here.  NULL if it is not to:
 * dropped, paused, finished, or a copy that waits to be adopted; *phase says
 * why.  Outside of transactions, as superuser.
 */
extern EventlogCapture *eventlog_capture_enter(int32 id, EventlogCapturePhase *phase);

/*
 * Have the slot ready, after a snapshot if one is due; returns the position
 * from which to stream, and whether that is the end of a commit that has been
 * appended.  Outside of transactions, as the capture's owner.
 */
extern XLogRecPtr eventlog_capture_prepare(EventlogCapture *capture, EventlogCaptureSlot *slot,
										   EventlogEncoder *encoder, EventlogCaptureSink *sink,
										   bool *after_commit);

/* Raise unless a role may decode WAL. */
extern void eventlog_capture_check_replication(Oid role);

/*
 * May the capture of one role use what belongs to another?  It trusts itself,
 * superusers, and roles that it is a member of: being a superuser is not
 * enough, since then it would trust everybody.
 */
extern bool eventlog_capture_trusts(Oid role, Oid owner);

/* --- utilities for capture_sql.c --- */

/* The slot, if it is there: its state, read under its lock. */
typedef struct EventlogSlotState
{
	bool		exists;
	bool		active;
	bool		invalid;
	bool		logical;
	bool		pgoutput;
	Oid			database;
	XLogRecPtr	confirmed;
} EventlogSlotState;

extern void eventlog_capture_slot_state(const char *name, EventlogSlotState *state);

#endif							/* EVENTLOG_CAPTURE_START_H */
