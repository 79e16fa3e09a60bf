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

void
eventlog_convert_add_text(EventlogEncoder *encoder, const char *name,
							   const char *value, int32 len)
{
	EventlogBuf *json = &encoder->scratch;

	if (len < 0 && encoder->config->compatible &&
		encoder->ec->header_converter == EVENTLOG_CONVERTER_JSON)
	{
		value = "null";			/* JSON's, not Kafka's */
		len = 4;
	}
	else if (len >= 0 && encoder->ec->header_converter == EVENTLOG_CONVERTER_JSON)
	{
		json->len = 0;
		eventlog_json_string(json, value, len);
		value = json->data;
		len = (int32) json->len;
	}
	eventlog_batch_add_header(&encoder->headers, name, (int32) strlen(name), value, len);
}

void
eventlog_convert_add_json(EventlogEncoder *encoder, const char *name, const char *json,
						  size_t len)
{
	EventlogBuf *text = &encoder->scratch;

	if (len == 4 && memcmp(json, "null", 4) == 0)
	{
		eventlog_convert_add_text(encoder, name, NULL, -1);
		return;
	}
	if (encoder->ec->header_converter != EVENTLOG_CONVERTER_JSON)
	{
		text->len = 0;
		eventlog_convert_unquote(text, json, len);
		json = text->data;
		len = text->len;
	}
	eventlog_batch_add_header(&encoder->headers, name, (int32) strlen(name), json, (int32) len);
}
