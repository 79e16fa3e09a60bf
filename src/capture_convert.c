/*-------------------------------------------------------------------------
 *
 * capture_convert.c
 *	  Headers and texts as Kafka Connect's converters write them.
 *
 * JsonConverter writes JSON; StringConverter and SimpleHeaderConverter write
 * strings as they are, and all else as JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "capture_event.h"

static pg_wchar
hex4(const char *digits)
{
	char		text[5];

	memcpy(text, digits, 4);
	text[4] = '\0';
	return (pg_wchar) strtoul(text, NULL, 16);
}

void
eventlog_convert_unquote(EventlogBuf *out, const char *json, size_t len)
{
	const char *end = json + len - 1;

	if (len < 2 || *json != '"')
	{
		eventlog_json_raw(out, json, len);
		return;
	}
	for (const char *p = json + 1; p < end; p++)
	{
		unsigned char utf8[MAX_UNICODE_EQUIVALENT_STRING + 1];
		pg_wchar	c;

		if (*p != '\\')
		{
			eventlog_json_raw(out, p, 1);
			continue;
		}
		switch (*++p)
		{
			case 'b':
				eventlog_json_literal(out, "\b");
				break;
			case 'f':
				eventlog_json_literal(out, "\f");
				break;
			case 'n':
				eventlog_json_literal(out, "\n");
				break;
			case 'r':
				eventlog_json_literal(out, "\r");
				break;
			case 't':
				eventlog_json_literal(out, "\t");
				break;
			case 'u':
				c = hex4(p + 1);
				p += 4;
				if (c >= 0xD800 && c < 0xDC00 && end - p > 6)
				{
					c = 0x10000 + ((c & 0x3FF) << 10) +
						(hex4(p + 3) & 0x3FF);
					p += 6;
				}
				unicode_to_utf8(c, utf8);
				eventlog_json_raw(out, (char *) utf8, pg_utf_mblen(utf8));
				break;
			default:
				eventlog_json_raw(out, p, 1);
				break;
		}
	}
}

#define STRING_SCHEMA		"{\"type\":\"string\",\"optional\":false}"
#define NULL_STRING_SCHEMA	"{\"type\":\"string\",\"optional\":true}"

/* {"schema":…,"payload":…} into encoder->framed */
void
eventlog_convert_frame(EventlogEncoder *encoder, EventlogText schema, const char *json, size_t len)
{
	EventlogBuf *out = &encoder->framed;

	out->len = 0;
	eventlog_json_literal(out, "{\"schema\":");
	eventlog_json_text(out, schema);
	eventlog_json_literal(out, ",\"payload\":");
	eventlog_json_raw(out, json, len);
	eventlog_json_literal(out, "}");
}

/* A header of JSON, within its schema if headers have one. */
static void
add_header(EventlogEncoder *encoder, const char *name, EventlogText schema, const char *json,
		   size_t len)
{
	if (encoder->ec->header_schemas)
	{
		eventlog_convert_frame(encoder, schema, json, len);
		json = encoder->framed.data;
		len = encoder->framed.len;
	}
	eventlog_batch_add_header(&encoder->headers, name, (int32) strlen(name), json, (int32) len);
}

void
eventlog_convert_add_text(EventlogEncoder *encoder, const char *name,
						  const char *value, int32 len)
{
	EventlogText schema = {STRING_SCHEMA, sizeof(STRING_SCHEMA) - 1};
	EventlogText null_schema = {NULL_STRING_SCHEMA, sizeof(NULL_STRING_SCHEMA) - 1};
	EventlogBuf *json = &encoder->scratch;

	if (encoder->ec->header_converter != EVENTLOG_CONVERTER_JSON)
		eventlog_batch_add_header(&encoder->headers, name, (int32) strlen(name), value, len);
	else if (len < 0)
		eventlog_convert_add_json(encoder, name, null_schema, "null", 4);
	else
	{
		json->len = 0;
		eventlog_json_string(json, value, len);
		add_header(encoder, name, schema, json->data, json->len);
	}
}

void
eventlog_convert_add_json(EventlogEncoder *encoder, const char *name, EventlogText schema,
						  const char *json, size_t len)
{
	EventlogBuf *text = &encoder->scratch;
	bool		is_null = len == 4 && memcmp(json, "null", 4) == 0;

	if (encoder->ec->header_converter != EVENTLOG_CONVERTER_JSON && !is_null)
	{
		text->len = 0;
		eventlog_convert_unquote(text, json, len);
		eventlog_batch_add_header(&encoder->headers, name, (int32) strlen(name),
								  text->data, (int32) text->len);
	}
	else if (is_null && (encoder->ec->header_converter != EVENTLOG_CONVERTER_JSON ||
						 (!encoder->config->compatible && !encoder->ec->header_schemas)))
		eventlog_batch_add_header(&encoder->headers, name, (int32) strlen(name), NULL, -1);
	else
		add_header(encoder, name, schema, json, len);
}

void
eventlog_convert_add_key(EventlogEncoder *encoder, const EventlogEncoderTable *table,
						 const char *name, const char *json, size_t len)
{
	add_header(encoder, name, table->key_schema, json, len);
}
