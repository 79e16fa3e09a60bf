/*-------------------------------------------------------------------------
 *
 * capture_outbox.c
 *	  The outbox: rows that say themselves which topic they are for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "capture_event.h"

static pg_noinline void
not_yet(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("format \"outbox\" is not there yet")));
}

void
eventlog_outbox_prepare(EventlogEncoder *encoder, EventlogEncoderTable *table)
{
	not_yet();
}

void
eventlog_outbox_row(EventlogEncoder *encoder, EventlogEncoderTable *table,
					const EventlogSource *source, const EventlogColumnValue *row)
{
	not_yet();
}

void
eventlog_outbox_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
					   const EventlogSource *source, char old_kind,
					   const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	not_yet();
}

void
eventlog_outbox_message(EventlogEncoder *encoder, const EventlogSource *source,
						const char *prefix, const char *content, int32 len)
{
	not_yet();
}
