/*-------------------------------------------------------------------------
 *
 * capture_heartbeat.c
 *	  What a capture does by the clock.
 *
 * A heartbeat is a record in a topic of its own.  Here, unlike with other
 * tools, it is not needed to let the slot move on in a quiet database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "capture_apply.h"
#include "capture_heartbeat.h"
#include "capture_sink.h"

#define NEVER_MS	(3600 * 1000)

static TimestampTz next_heartbeat = 0;
static TimestampTz next_xmin = 0;

/*
 * The query is the user's: what it writes is captured as anybody else's, and
 * not taken for the appender's own.
 */
static void
run_action(const char *query)
{
	RepOriginId origin = replorigin_session_origin;
	int			result;

	replorigin_session_origin = InvalidRepOriginId;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) set_config_option("search_path", "\"$user\", public", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	result = SPI_execute(query, false, 0);
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("heartbeat.action.query failed: %s", SPI_result_code_string(result))));
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	replorigin_session_origin = origin;
}

static void
beat(const EventlogCapture *capture, EventlogEncoder *encoder, TimestampTz now)
{
	if (capture->config->heartbeat_action_query != NULL)
		run_action(capture->config->heartbeat_action_query);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	eventlog_capture_sink_begin();
	eventlog_encoder_heartbeat(encoder, now);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static TransactionId
slot_xmin(const char *name)
{
	TransactionId xmin = InvalidTransactionId;
	ReplicationSlot *slot;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		xmin = slot->data.catalog_xmin;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return xmin;
}

/* Is it time?  If so, when it will be again is written down. */
static bool
is_due(int64 interval_ms, TimestampTz now, TimestampTz *next, int64 *wait_ms)
{
	bool		due;

	if (interval_ms <= 0)
		return false;
	due = *next <= now;
	if (due)
		*next = now + interval_ms * 1000;
	*wait_ms = Min(*wait_ms, Max((*next - now) / 1000, 1));
	return due;
}

int64
eventlog_capture_heartbeat(const EventlogCapture *capture, EventlogEncoder *encoder)
{
	const EventlogCaptureConfig *config = capture->config;
	int64		wait_ms = NEVER_MS;
	TimestampTz now;

	if (config->heartbeat_interval_ms <= 0 && config->xmin_fetch_interval_ms <= 0)
		return wait_ms;
	now = GetCurrentTimestamp();
	if (is_due(config->heartbeat_interval_ms, now, &next_heartbeat, &wait_ms))
		beat(capture, encoder, now);
	if (is_due(config->xmin_fetch_interval_ms, now, &next_xmin, &wait_ms))
		eventlog_apply_set_xmin(slot_xmin(capture->slot_name));
	return wait_ms;
}
