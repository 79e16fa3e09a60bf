/*-------------------------------------------------------------------------
 *
 * capture_wal.h
 *	  Reading WAL as it comes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_WAL_H
#define EVENTLOG_CAPTURE_WAL_H

#include "access/xlogreader.h"

#include "capture_slot.h"

/*
 * A page_read callback that waits for WAL by its latch.  Before each sleep,
 * and now and then while there is WAL to read, it calls "pause"; caught_up
 * tells which of the two.
 */
extern void eventlog_wal_wait_setup(EventlogCaptureSlot *slot, void (*pause) (bool caught_up));
extern int	eventlog_wal_read_page(XLogReaderState *state, XLogRecPtr page, int want,
								   XLogRecPtr record, char *buf);

#endif							/* EVENTLOG_CAPTURE_WAL_H */
