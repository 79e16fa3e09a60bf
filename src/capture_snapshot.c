#include "postgres.h"
#include "capture_snapshot.h"
void
eventlog_capture_snapshot(EventlogCapture *capture, EventlogCaptureSink *sink,
						  EventlogEncoder *encoder, XLogRecPtr start_lsn)
{
}
