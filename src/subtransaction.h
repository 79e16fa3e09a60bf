/*-------------------------------------------------------------------------
 *
 * subtransaction.h
 *	  Doing something whose failure is survived.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_SUBTRANSACTION_H
#define EVENTLOG_SUBTRANSACTION_H

/*
 * Do some work in a subtransaction.  Returns NULL if it was done; else it has
 * been rolled back, and this is the error, in the caller's memory context:
 * FreeErrorData() it, or ReThrowError() it if it is not to be survived.
 */
extern ErrorData *eventlog_subtransaction_run(void (*work) (void *arg), void *arg);

/*
 * Is this what the server or somebody else wants from this process, or what
 * the server has not got, rather than a fault of the work?
 */
extern bool eventlog_subtransaction_must_rethrow(const ErrorData *error);

#endif							/* EVENTLOG_SUBTRANSACTION_H */
