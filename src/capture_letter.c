/*-------------------------------------------------------------------------
 *
 * capture_letter.c
 *	  Captured rows that could not be encoded, as records of a dead-letter topic.
 *
 * Such a row is told as it came: its columns as text, with the error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "utils/timestamp.h"

#include "capture_letter.h"
#include "payload.h"

static void
put_text(EventlogBuf *out, const char *name, const char *text, int32 len)
{
	eventlog_json_string(out, name, strlen(name));
	eventlog_json_literal(out, ":");
	if (text == NULL)
		eventlog_json_literal(out, "null");
	else
		eventlog_json_string(out, text, len);
}

void
eventlog_capture_letter(EventlogCaptureSink *sink, EventlogCaptureTopic *topic,
						const EventlogRelationDesc *desc, char op,
						const EventlogSource *source, const EventlogColumnValue *row,
						const EventlogBuf *key, const char *message)
{
	EventlogBuf value = {0};
	EventlogBuf headers = {0};
	EventlogRecord rec = {.key_len = -1};
	char		text[64];

	eventlog_json_literal(&value, "{");
	put_text(&value, "schema", desc->schema, strlen(desc->schema));
	eventlog_json_literal(&value, ",");
	put_text(&value, "table", desc->name, strlen(desc->name));
	eventlog_json_literal(&value, ",");
	put_text(&value, "op", op == 'I' ? "c" : op == 'U' ? "u" : op == 'D' ? "d" : "t", 1);
	snprintf(text, sizeof(text), ",\"lsn\":" UINT64_FORMAT ",\"txId\":%u,", source->lsn, source->xid);
	eventlog_json_raw(&value, text, strlen(text));
	put_text(&value, "error", message, strlen(message));
	eventlog_json_literal(&value, ",\"columns\":{");
	for (int i = 0; row != NULL && i < desc->ncolumns; i++)
	{
		if (i > 0)
			eventlog_json_literal(&value, ",");
		put_text(&value, desc->columns[i].name, row[i].text, row[i].len);
	}
	eventlog_json_literal(&value, "}}");

	if (key != NULL)
	{
		rec.key = key->data;
		rec.key_len = key->len;
	}
	rec.value = value.data;
	rec.value_len = value.len;
	rec.timestamp = eventlog_timestamp_to_ms(GetCurrentTimestamp());
	eventlog_batch_add_header(&headers, "__connect.errors.exception.message", 34,
							  message, strlen(message));
	eventlog_batch_add_header(&headers, "__connect.errors.connector.name", 31,
							  topic->name, strlen(topic->name));
	rec.headers = headers.data;
	rec.headers_len = headers.len;
	rec.headers_count = 2;
	sink->emit(sink, topic, &rec, -1);
}
