/*-------------------------------------------------------------------------
 *
 * capture_json.c
 *	  JSON strings and integers, spelled as Jackson spells them.
 *
 * Jackson escapes quotes, backslashes and control characters, with letters
 * where JSON has them and else with upper-case hexadecimal; and what is
 * outside the basic multilingual plane it writes as two surrogates.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "capture_value.h"

#define REPEAT(byte)	(UINT64CONST(0x0101010101010101) * (byte))
#define HIGH_BITS		REPEAT(0x80)

static const char hex_digits[] = "0123456789ABCDEF";

/* Does one of eight bytes need more than copying?  May also say so wrongly. */
static inline bool
needs_escape(uint64 x)
{
	uint64		quote = x ^ REPEAT('"');
	uint64		backslash = x ^ REPEAT('\\');
	uint64		found;

	/* below 0x20; equal to a quote or backslash; at least 0xF0 */
	found = (x - REPEAT(0x20)) & ~x;
	found |= (quote - REPEAT(0x01)) & ~quote;
	found |= (backslash - REPEAT(0x01)) & ~backslash;
	found |= x & (x << 1) & (x << 2) & (x << 3);
	return (found & HIGH_BITS) != 0;
}

static inline bool
is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0xF0 && c != '"' && c != '\\';
}

/* First byte of text that is not copied as it is. */
static inline const char *
plain_end(const char *text, const char *end)
{
	while (end - text >= 8)
	{
		uint64		x;

		memcpy(&x, text, 8);
		if (needs_escape(x))
			break;
		text += 8;
	}
	while (text < end && is_plain((unsigned char) *text))
		text++;
	return text;
}

static char *
put_unicode(char *to, unsigned int unit)
{
	*to++ = '\\';
	*to++ = 'u';
	*to++ = hex_digits[(unit >> 12) & 15];
	*to++ = hex_digits[(unit >> 8) & 15];
	*to++ = hex_digits[(unit >> 4) & 15];
	*to++ = hex_digits[unit & 15];
	return to;
}

/* Write one character that must be escaped; returns the bytes it took. */
static int
put_escaped(EventlogBuf *out, const unsigned char *text, ptrdiff_t left)
{
	char		escaped[12];
	char	   *to = escaped;
	int			taken = 1;

	if (*text >= 0xF0)
	{
		if (left < 4 || *text > 0xF4)
			*to++ = (char) *text;	/* not UTF-8: the encoding's business */
		else
		{
			unsigned int c = ((text[0] & 0x07) << 18 | (text[1] & 0x3F) << 12 |
							  (text[2] & 0x3F) << 6 | (text[3] & 0x3F)) - 0x10000;

			to = put_unicode(to, 0xD800 + ((c >> 10) & 0x3FF));
			to = put_unicode(to, 0xDC00 + (c & 0x3FF));
			taken = 4;
		}
	}
	else
	{
		static const char letters[] = "btn\0fr";	/* from \b on */

		if (*text == '"' || *text == '\\')
		{
			*to++ = '\\';
			*to++ = (char) *text;
		}
		else if (*text >= '\b' && *text <= '\r' && letters[*text - '\b'] != '\0')
		{
			*to++ = '\\';
			*to++ = letters[*text - '\b'];
		}
		else
			to = put_unicode(to, *text);
	}
	eventlog_json_raw(out, escaped, to - escaped);
	return taken;
}

void
eventlog_json_string(EventlogBuf *out, const char *text, int32 len)
{
	const char *end = text + len;

	if (unlikely(out->cap - out->len < (size_t) len + 2))
		eventlog_buf_reserve(out, (size_t) len + 2);
	out->data[out->len++] = '"';
	for (;;)
	{
		const char *stop = plain_end(text, end);

		eventlog_json_raw(out, text, stop - text);
		if (stop == end)
			break;
		text = stop + put_escaped(out, (const unsigned char *) stop, end - stop);
	}
	eventlog_json_literal(out, "\"");
}

void
eventlog_json_int(EventlogBuf *out, int64 value)
{
	if (unlikely(out->cap - out->len < MAXINT8LEN + 1))
		eventlog_buf_reserve(out, MAXINT8LEN + 1);
	out->len += pg_lltoa(value, out->data + out->len);
}
