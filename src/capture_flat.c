/*-------------------------------------------------------------------------
 *
 * capture_flat.c
 *	  The unwrapped row, with what the envelope said in headers.
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
			 errmsg("format \"flat\" is not there yet")));
}

void
eventlog_flat_row(EventlogEncoder *encoder, EventlogEncoderTable *table, char op,
				  const EventlogSource *source, const EventlogColumnValue *row)
{
	not_yet();
}

void
eventlog_flat_update(EventlogEncoder *encoder, EventlogEncoderTable *table,
					 const EventlogSource *source, char old_kind,
					 const EventlogColumnValue *old, const EventlogColumnValue *row)
{
	not_yet();
}

void
eventlog_flat_delete(EventlogEncoder *encoder, EventlogEncoderTable *table,
					 const EventlogSource *source, char old_kind,
					 const EventlogColumnValue *old)
{
	not_yet();
}
