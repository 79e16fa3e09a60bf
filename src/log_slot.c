/*-------------------------------------------------------------------------
 *
 * log_slot.c
 *	  The tuple slot of a topic's leaf.
 *
 * A virtual slot that can stand for a record of a batch in a cursor's memory.
 * Columns are made when they are asked for, so that counting records or
 * reading offsets costs next to nothing.  The operations are a set of our own
 * even where they are the virtual slot's: the executor compiles slots with
 * exactly TTSOpsVirtual to expressions that never ask for columns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "log_slot.h"
#include "payload.h"

static EventlogPayloadType
column_payload_type(TupleDesc desc, int att)
{
	if (desc->natts <= att)
		return EVENTLOG_PAYLOAD_BYTEA;
	switch (TupleDescAttr(desc, att)->atttypid)
	{
		case TEXTOID:
			return EVENTLOG_PAYLOAD_TEXT;
		case JSONOID:
			return EVENTLOG_PAYLOAD_JSON;
		case JSONBOID:
			return EVENTLOG_PAYLOAD_JSONB;
		default:
			return EVENTLOG_PAYLOAD_BYTEA;
	}
}

static void
es_init(TupleTableSlot *slot)
{
	EventlogSlot *es = (EventlogSlot *) slot;

	es->has_record = false;
	es->other = NULL;
	memset(&es->key, 0, sizeof(es->key));
	memset(&es->value, 0, sizeof(es->value));
	if (slot->tts_tupleDescriptor)
	{
		es->key_type = column_payload_type(slot->tts_tupleDescriptor, EVENTLOG_ATT_KEY);
		es->value_type = column_payload_type(slot->tts_tupleDescriptor, EVENTLOG_ATT_VALUE);
	}
}

static void
es_release(TupleTableSlot *slot)
{
	EventlogSlot *es = (EventlogSlot *) slot;

	if (es->key.data)
		eventlog_buf_free(&es->key);
	if (es->value.data)
		eventlog_buf_free(&es->value);
	if (es->other)
		MemoryContextDelete(es->other);
	es->other = NULL;
}

static void
es_clear(TupleTableSlot *slot)
{
	EventlogSlot *es = (EventlogSlot *) slot;

	if (unlikely(es->other != NULL))
		MemoryContextReset(es->other);
	es->has_record = false;
	TTSOpsVirtual.clear(slot);
}

/*
 * Make a varlena of bytes in a buffer of the slot's.
 */
static Datum
make_varlena(TupleTableSlot *slot, EventlogBuf *buf, const char *bytes, int32 len)
{
	buf->len = 0;
	if (unlikely(buf->cap < (size_t) len + VARHDRSZ))
	{
		MemoryContext old = MemoryContextSwitchTo(slot->tts_mcxt);

		eventlog_buf_reserve(buf, (size_t) len + VARHDRSZ);
		MemoryContextSwitchTo(old);
	}
	SET_VARSIZE(buf->data, len + VARHDRSZ);
	memcpy(VARDATA(buf->data), bytes, len);
	return PointerGetDatum(buf->data);
}

static MemoryContext
other_context(TupleTableSlot *slot)
{
	EventlogSlot *es = (EventlogSlot *) slot;

	if (es->other == NULL)
		es->other = AllocSetContextCreate(slot->tts_mcxt, "eventlog slot", ALLOCSET_SMALL_SIZES);
	return es->other;
}

static Datum
make_payload(TupleTableSlot *slot, EventlogPayloadType type, EventlogBuf *buf,
			 const char *bytes, int32 len)
{
	MemoryContext old;
	Datum		result;

	if (likely(type != EVENTLOG_PAYLOAD_JSONB))
		return make_varlena(slot, buf, bytes, len);

	old = MemoryContextSwitchTo(other_context(slot));
	result = eventlog_payload_to_datum(type, bytes, len);
	MemoryContextSwitchTo(old);
	return result;
}

static void
es_getsomeattrs(TupleTableSlot *slot, int natts)
{
	EventlogSlot *es = (EventlogSlot *) slot;
	const EventlogRecord *rec = &es->record;
	Datum	   *values = slot->tts_values;
	bool	   *isnull = slot->tts_isnull;

	if (!es->has_record)
		elog(ERROR, "slot of a topic has no record");
	if (natts > EVENTLOG_ATT_KEY)
	{
		const char *problem = eventlog_batch_fields(&es->record);

		if (unlikely(problem != NULL))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("record at offset %lld is damaged: %s",
							(long long) rec->offset, problem)));
	}

	for (int att = slot->tts_nvalid; att < natts; att++)
	{
		isnull[att] = false;
		switch (att)
		{
			case EVENTLOG_ATT_PARTITION:
				values[att] = Int32GetDatum(es->partition);
				break;
			case EVENTLOG_ATT_OFFSET:
				values[att] = Int64GetDatum(rec->offset);
				break;
			case EVENTLOG_ATT_TIMESTAMP:
				values[att] = TimestampTzGetDatum(eventlog_ms_to_timestamp(rec->timestamp));
				break;
			case EVENTLOG_ATT_KEY:
				if ((isnull[att] = (rec->key_len < 0)) == false)
					values[att] = make_payload(slot, es->key_type, &es->key,
											   rec->key, rec->key_len);
				break;
			case EVENTLOG_ATT_VALUE:
				if ((isnull[att] = (rec->value_len < 0)) == false)
					values[att] = make_payload(slot, es->value_type, &es->value,
											   rec->value, rec->value_len);
				break;
			case EVENTLOG_ATT_HEADERS:
				if ((isnull[att] = (rec->headers_count == 0)) == false)
				{
					Oid			type = TupleDescAttr(slot->tts_tupleDescriptor, att)->atttypid;
					MemoryContext old = MemoryContextSwitchTo(other_context(slot));

					values[att] = eventlog_payload_decode_headers(rec, type);
					MemoryContextSwitchTo(old);
				}
				break;
			default:
				isnull[att] = true;
				break;
		}
	}
	slot->tts_nvalid = Max(slot->tts_nvalid, natts);
}

static Datum
es_getsysattr(TupleTableSlot *slot, int attnum, bool *isnull)
{
	EventlogSlot *es = (EventlogSlot *) slot;

	*isnull = false;
	switch (attnum)
	{
		case MinTransactionIdAttributeNumber:
			return TransactionIdGetDatum(es->xmin);
		case MinCommandIdAttributeNumber:
		case MaxCommandIdAttributeNumber:
			return CommandIdGetDatum(es->cmin);
		case MaxTransactionIdAttributeNumber:
			return TransactionIdGetDatum(InvalidTransactionId);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("topics do not have system column %d", attnum)));
	}
	return 0;					/* keep compilers quiet */
}

static void
es_materialize(TupleTableSlot *slot)
{
	EventlogSlot *es = (EventlogSlot *) slot;

	if (TTS_SHOULDFREE(slot))
		return;
	slot_getallattrs(slot);
	TTSOpsVirtual.materialize(slot);
	es->has_record = false;		/* its bytes may go now */
}

/*
 * Copy a row, as COPY into a topic does with each.  The columns' bytes go into
 * a buffer that the slot keeps, which costs no allocation a row.
 */
static void
es_copyslot(TupleTableSlot *dst, TupleTableSlot *src)
{
	EventlogSlot *es = (EventlogSlot *) dst;
	TupleDesc	desc = dst->tts_tupleDescriptor;
	int			natts = src->tts_tupleDescriptor->natts;
	Size		size = 0;
	char	   *p;

	es_clear(dst);
	slot_getallattrs(src);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attbyval || src->tts_isnull[i])
			continue;
		if (att->attlen != -1 ||
			VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(src->tts_values[i])))
		{
			TTSOpsVirtual.copyslot(dst, src);
			size = 0;
			break;
		}
		size += MAXALIGN(VARSIZE_ANY(DatumGetPointer(src->tts_values[i])));
	}

	if (TTS_EMPTY(dst))
	{
		es->value.len = 0;
		if (unlikely(es->value.cap < size))
		{
			MemoryContext old = MemoryContextSwitchTo(dst->tts_mcxt);

			eventlog_buf_reserve(&es->value, size);
			MemoryContextSwitchTo(old);
		}
		p = es->value.data;
		for (int i = 0; i < natts; i++)
		{
			Datum		value = src->tts_values[i];

			dst->tts_isnull[i] = src->tts_isnull[i];
			if (!src->tts_isnull[i] && !TupleDescAttr(desc, i)->attbyval)
			{
				Size		len = VARSIZE_ANY(DatumGetPointer(value));

				memcpy(p, DatumGetPointer(value), len);
				value = PointerGetDatum(p);
				p += MAXALIGN(len);
			}
			dst->tts_values[i] = value;
		}
		dst->tts_nvalid = natts;
		dst->tts_flags &= ~TTS_FLAG_EMPTY;
	}

	dst->tts_tid = src->tts_tid;
	if (eventlog_is_slot(src))
	{
		es->xmin = ((EventlogSlot *) src)->xmin;
		es->cmin = ((EventlogSlot *) src)->cmin;
	}
}

static HeapTuple
es_copy_heap_tuple(TupleTableSlot *slot)
{
	HeapTuple	tuple;

	slot_getallattrs(slot);
	tuple = heap_form_tuple(slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	tuple->t_self = slot->tts_tid;
	tuple->t_tableOid = slot->tts_tableOid;
	return tuple;
}

static MinimalTuple
es_copy_minimal_tuple(TupleTableSlot *slot EVENTLOG_EXTRA_PARAM)
{
	slot_getallattrs(slot);
	return heap_form_minimal_tuple(slot->tts_tupleDescriptor, slot->tts_values,
								   slot->tts_isnull EVENTLOG_EXTRA_ARG);
}

const TupleTableSlotOps eventlog_slot_ops = {
	.base_slot_size = sizeof(EventlogSlot),
	.init = es_init,
	.release = es_release,
	.clear = es_clear,
	.getsomeattrs = es_getsomeattrs,
	.getsysattr = es_getsysattr,
	.materialize = es_materialize,
	.copyslot = es_copyslot,
	.get_heap_tuple = NULL,
	.get_minimal_tuple = NULL,
	.copy_heap_tuple = es_copy_heap_tuple,
	.copy_minimal_tuple = es_copy_minimal_tuple
};
