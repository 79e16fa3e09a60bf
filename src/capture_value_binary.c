/*-------------------------------------------------------------------------
 *
 * capture_value_binary.c
 *	  Bytes and bit strings as JSON, by binary.handling.mode.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "capture_value_plan.h"

static const char base64_digits[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url_digits[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[] = "0123456789abcdef";

static void
put_base64(EventlogBuf *out, const char *digits, const unsigned char *bytes, size_t len)
{
	char	   *to;

	eventlog_buf_reserve(out, (len + 2) / 3 * 4);
	to = out->data + out->len;
	for (; len >= 3; bytes += 3, len -= 3)
	{
		*to++ = digits[bytes[0] >> 2];
		*to++ = digits[(bytes[0] & 3) << 4 | bytes[1] >> 4];
		*to++ = digits[(bytes[1] & 15) << 2 | bytes[2] >> 6];
		*to++ = digits[bytes[2] & 63];
	}
	if (len > 0)
	{
		*to++ = digits[bytes[0] >> 2];
		*to++ = digits[(bytes[0] & 3) << 4 | (len > 1 ? bytes[1] >> 4 : 0)];
		*to++ = len > 1 ? digits[(bytes[1] & 15) << 2] : '=';
		*to++ = '=';
	}
	out->len = to - out->data;
}

static void
put_hex(EventlogBuf *out, const unsigned char *bytes, size_t len)
{
	char	   *to;

	eventlog_buf_reserve(out, len * 2);
	to = out->data + out->len;
	for (size_t i = 0; i < len; i++)
	{
		*to++ = hex_digits[bytes[i] >> 4];
		*to++ = hex_digits[bytes[i] & 15];
	}
	out->len = to - out->data;
}

/* A JSON string of bytes. */
void
eventlog_json_binary(EventlogBuf *out, EventlogBinaryMode mode,
					 const unsigned char *bytes, size_t len)
{
	eventlog_json_literal(out, "\"");
	if (mode == EVENTLOG_BINARY_HEX)
		put_hex(out, bytes, len);
	else
		put_base64(out, mode == EVENTLOG_BINARY_BASE64_URL_SAFE ? base64_url_digits : base64_digits,
				   bytes, len);
	eventlog_json_literal(out, "\"");
}

/* --- bytea --- */

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void
write_bytea(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	size_t		n = (size_t) (len - 2) / 2;
	unsigned char space[256];
	unsigned char *bytes;

	if (len < 2 || len % 2 != 0 || text[0] != '\\' || text[1] != 'x')
		eventlog_value_malformed(plan);
	text += 2;
	if (plan->modes->binary == EVENTLOG_BINARY_HEX)
	{
		eventlog_json_literal(out, "\"");
		eventlog_json_raw(out, text, n * 2);
		eventlog_json_literal(out, "\"");
		return;
	}
	space[0] = 0;				/* for compilers that see an empty value read */
	bytes = n <= sizeof(space) ? space : MemoryContextAllocHuge(CurrentMemoryContext, n);
	for (size_t i = 0; i < n; i++)
	{
		int			high = hex_value(text[2 * i]);
		int			low = hex_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			eventlog_value_malformed(plan);
		bytes[i] = (unsigned char) (high << 4 | low);
	}
	eventlog_json_binary(out, plan->modes->binary, bytes, n);
	if (bytes != space)
		pfree(bytes);
}

void
eventlog_value_plan_bytea(EventlogValuePlan *plan)
{
	plan->write = write_bytea;
	plan->binary = true;
	plan->connect = plan->modes->binary == EVENTLOG_BINARY_BYTES ?
		EVENTLOG_CONNECT_BYTES : EVENTLOG_CONNECT_STRING;
}

/* --- bit strings --- */

static void
write_bit(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	if (len > 0 && text[len - 1] == '1')
		eventlog_json_literal(out, "true");
	else if (len == 0)			/* a varbit(1), which has no form of its own */
		eventlog_json_literal(out, "null");
	else
		eventlog_json_literal(out, "false");
}

/*
 * Debezium's Bits: the last bit is the lowest one of the first byte, and zero
 * bytes at the end are left out.
 */
static void
write_bits(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	unsigned char space[128];
	unsigned char *bytes;
	size_t		n;
	int32		first = 0;

	while (first < len && text[first] == '0')
		first++;
	n = (size_t) (len - first + 7) / 8;
	bytes = n <= sizeof(space) ? space : palloc(n);
	memset(bytes, 0, n);
	for (int32 i = len; i-- > first;)
	{
		int32		bit = len - 1 - i;

		if (text[i] == '1')
			bytes[bit / 8] |= (unsigned char) (1 << bit % 8);
		else if (text[i] != '0')
			eventlog_value_malformed(plan);
	}
	eventlog_json_binary(out, EVENTLOG_BINARY_BYTES, bytes, n);
	if (bytes != space)
		pfree(bytes);
}

/* Debezium's form loses a varbit's length, so ours is text. */
void
eventlog_value_plan_bits(EventlogValuePlan *plan)
{
	if (!plan->modes->compatible && plan->type->oid == VARBITOID)
	{
		plan->write = eventlog_value_write_text;
		plan->connect = EVENTLOG_CONNECT_STRING;
		return;
	}
	plan->precision = plan->type->typmod;
	if (plan->precision < 0)
		plan->precision = plan->type->oid == VARBITOID ? PG_INT32_MAX : 1;
	if (plan->precision == 1)
	{
		plan->write = write_bit;
		plan->connect = EVENTLOG_CONNECT_BOOLEAN;
		return;
	}
	plan->write = write_bits;
	plan->connect = EVENTLOG_CONNECT_BYTES;
	plan->semantic = "io.debezium.data.Bits";
}

/* --- types that Debezium does not know, with include.unknown.datatypes --- */

static void
write_text_bytes(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	eventlog_json_binary(out, plan->modes->binary, (const unsigned char *) text, len);
}

/* Geometric types come with their numbers as Java writes them. */
static void
write_geometry_bytes(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	EventlogBuf java = {0};
	const char *end = text + len;

	while (text < end)
	{
		const char *number = text;

		while (text < end && strchr("0123456789+-.eE", *text) != NULL && *text != '\0')
			text++;
		if (text == number || !eventlog_json_java_number(&java, number, text - number))
			eventlog_json_raw(&java, number, text - number);
		if (text < end)
			eventlog_json_raw(&java, text++, 1);
	}
	write_text_bytes(out, plan, java.data, java.len);
	eventlog_buf_free(&java);
}

void
eventlog_value_plan_unknown(EventlogValuePlan *plan)
{
	eventlog_value_plan_bytea(plan);
	switch (plan->type->domain == NULL ? plan->type->oid : InvalidOid)
	{
		case LINEOID:
		case LSEGOID:
		case BOXOID:
		case PATHOID:
		case POLYGONOID:
		case CIRCLEOID:
			plan->write = write_geometry_bytes;
			break;
		default:
			plan->write = write_text_bytes;
	}
}
