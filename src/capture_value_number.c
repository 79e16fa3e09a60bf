/*-------------------------------------------------------------------------
 *
 * capture_value_number.c
 *	  Numerics, money and floats as JSON, by decimal.handling.mode.
 *
 * Floats are spelled as Java's Double.toString spells them: the shortest
 * digits (which the server prints, too), with an exponent from 1e7 up and
 * below 1e-3; in compatible mode also with the digits too many that Java 17
 * gives large whole numbers.  Precise numerics are the unscaled integer in two's complement,
 * in base64; without a declared scale they come with their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "common/shortest_dec.h"
#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

#include "capture_value_plan.h"

#define MONEY_SCALE		2

/* A decimal number taken apart: sign, digits without leading zeros, scale. */
typedef struct Decimal
{
	bool		negative;
	char	   *digits;
	int			ndigits;		/* at least 1 */
	int			scale;			/* digits after the point */
	char		space[64];
} Decimal;

/* Special values of numeric and floats. */
static bool
is_special(const char *text, int32 len)
{
	return len > 0 && (text[0] == 'N' || text[0] == 'I' ||
					   (text[0] == '-' && len > 1 && text[1] == 'I'));
}

/* --- floats --- */

/* Digits d.ddd times ten to the exponent, as Java writes a double. */
static void
put_java_number(EventlogBuf *out, bool negative, const char *digits, int n, int exponent)
{
	static const char zeros[] = "00000000";

	if (negative)
		eventlog_json_literal(out, "-");
	if (exponent >= 7 || exponent < -3)
	{
		eventlog_json_raw(out, digits, 1);
		eventlog_json_literal(out, ".");
		if (n > 1)
			eventlog_json_raw(out, digits + 1, n - 1);
		else
			eventlog_json_literal(out, "0");
		eventlog_json_literal(out, "E");
		eventlog_json_int(out, exponent);
	}
	else if (exponent < 0)
	{
		eventlog_json_literal(out, "0.");
		eventlog_json_raw(out, zeros, -exponent - 1);
		eventlog_json_raw(out, digits, n);
	}
	else
	{
		int			whole = exponent + 1;

		eventlog_json_raw(out, digits, Min(n, whole));
		if (n < whole)
			eventlog_json_raw(out, zeros, whole - n);
		eventlog_json_literal(out, ".");
		if (n > whole)
			eventlog_json_raw(out, digits + whole, n - whole);
		else
			eventlog_json_literal(out, "0");
	}
}

/* Re-spell a number as Java does; false if it is none, or too long. */
bool
eventlog_json_java_number(EventlogBuf *out, const char *text, int32 len)
{
	const char *end = text + len;
	char		digits[32];
	int			n = 0;
	int			exponent = -1;	/* of the first digit kept, less what follows */
	bool		negative = false;
	bool		point = false;
	bool		any = false;

	if (text < end && *text == '-')
	{
		negative = true;
		text++;
	}
	for (; text < end && (*text == '.' || (*text >= '0' && *text <= '9')); text++)
	{
		if (*text == '.')
		{
			if (point)
				return false;
			point = true;
			continue;
		}
		any = true;
		if (n > 0 || *text != '0')
		{
			if (n == lengthof(digits))
				return false;
			digits[n++] = *text;
			if (!point)
				exponent++;
		}
		else if (point)
			exponent--;
	}
	if (!any)
		return false;
	if (text < end && (*text == 'e' || *text == 'E'))
	{
		bool		down = ++text < end && *text == '-';
		int			value = 0;

		if (text < end && (*text == '-' || *text == '+'))
			text++;
		if (text == end)
			return false;
		for (; text < end && *text >= '0' && *text <= '9' && value < 10000; text++)
			value = value * 10 + (*text - '0');
		exponent += down ? -value : value;
	}
	if (text != end)
		return false;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	if (n == 0)
	{
		if (negative)
			eventlog_json_literal(out, "-0.0");
		else
			eventlog_json_literal(out, "0.0");
	}
	else
		put_java_number(out, negative, digits, n, exponent);
	return true;
}

/*
 * Java 17 does not look for the shortest digits of a whole number below 2^63:
 * it rounds the number's own digits at the place that one bit of the mantissa
 * is certain to tell.  mantissa is 24 or 53.
 */
static void
put_java_whole(EventlogBuf *out, double value, int mantissa)
{
	bool		negative = value < 0;
	uint64		whole = (uint64) (negative ? -value : value);
	int			bits = pg_leftmost_one_pos64(whole);
	char		digits[MAXINT8LEN + 1];
	int			n;
	int			exponent = 0;

	if (bits > mantissa)
	{
		/* digits in a power of two, less one */
		int			drop = (bits - mantissa - 1) * 30103 / 100000;
		uint64		power = 1;

		for (int i = 0; i < drop; i++)
			power *= 10;
		whole = (whole + power / 2) / power;
		exponent = drop;
	}
	n = pg_ulltoa_n(whole, digits);
	exponent += n - 1;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	put_java_number(out, negative, digits, n, exponent);
}

static bool
is_java_whole(double value, int mantissa)
{
	double		limit = mantissa == FLT_MANT_DIG ? 16777216.0 : 9007199254740992.0;

	return fabs(value) >= limit && fabs(value) < 9223372036854775808.0;
}

/* NaN and infinities are strings in JSON. */
static void
put_special(EventlogBuf *out, const char *text, int32 len)
{
	eventlog_json_literal(out, "\"");
	eventlog_json_raw(out, text, len);
	eventlog_json_literal(out, "\"");
}

/* strtod on text that does not end in a null byte. */
static double
text_to_double(const char *text, int32 len, const EventlogValuePlan *plan)
{
	char		space[64];
	char	   *copy = len < (int32) sizeof(space) ? space : palloc(len + 1);
	char	   *end;
	double		value;

	memcpy(copy, text, len);
	copy[len] = '\0';
	value = strtod(copy, &end);
	if (end != copy + len || len == 0)
		eventlog_value_malformed(plan);
	if (copy != space)
		pfree(copy);
	return value;
}

/* Numbers that Java 17 spells in ways of its own; false: it is none. */
static bool
write_java_special(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	int			mantissa = plan->connect == EVENTLOG_CONNECT_FLOAT ? FLT_MANT_DIG : DBL_MANT_DIG;
	double		value;

	/* such numbers have many digits, or an exponent */
	if (len < 8 && memchr(text, 'e', len) == NULL)
		return false;
	value = text_to_double(text, len, plan);
	if (mantissa == FLT_MANT_DIG)
		value = (float) value;
	if (fabs(value) < (mantissa == FLT_MANT_DIG ? FLT_MIN : DBL_MIN) && value != 0 &&
		memchr(text, '.', len) == NULL)
	{
		/* the least of all get a second digit, if one would do */
		char		two[32];

		eventlog_json_java_number(out, two, snprintf(two, sizeof(two), "%.1e", value));
		return true;
	}
	if (!is_java_whole(value, mantissa))
		return false;
	put_java_whole(out, value, mantissa);
	return true;
}

void
eventlog_value_write_float(EventlogBuf *out, const EventlogValuePlan *plan,
						   const char *text, int32 len)
{
	if (is_special(text, len))
		put_special(out, text, len);
	else if (plan->modes->compatible && len >= 5 && write_java_special(out, plan, text, len))
		return;
	else if (!eventlog_json_java_number(out, text, len))
		eventlog_value_malformed(plan);
}

static void
put_double(EventlogBuf *out, double value, const EventlogValuePlan *plan)
{
	char		buf[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isinf(value))
		put_special(out, value > 0 ? "Infinity" : "-Infinity", value > 0 ? 8 : 9);
	else if (plan->modes->compatible && is_java_whole(value, DBL_MANT_DIG))
		put_java_whole(out, value, DBL_MANT_DIG);
	else
		eventlog_json_java_number(out, buf, double_to_shortest_decimal_bufn(value, buf));
}

/* --- points --- */

static void
put_le_double(unsigned char *to, double value)
{
	uint64		bits;

	memcpy(&bits, &value, 8);
	for (int i = 0; i < 8; i++)
		to[i] = (unsigned char) (bits >> (8 * i));
}

/* "(x,y)" as Debezium's Point, with well-known binary. */
void
eventlog_value_write_point(EventlogBuf *out, const EventlogValuePlan *plan,
						   const char *text, int32 len)
{
	const char *comma = memchr(text, ',', len);
	unsigned char wkb[21] = {1, 1, 0, 0, 0};
	const char *x = text + 1;
	int32		xlen;
	int32		ylen;

	if (len < 5 || text[0] != '(' || text[len - 1] != ')' || comma == NULL)
		eventlog_value_malformed(plan);
	xlen = comma - x;
	ylen = text + len - 1 - (comma + 1);
	put_le_double(wkb + 5, text_to_double(x, xlen, plan));
	put_le_double(wkb + 13, text_to_double(comma + 1, ylen, plan));

	eventlog_json_literal(out, "{\"x\":");
	eventlog_value_write_float(out, plan, x, xlen);
	eventlog_json_literal(out, ",\"y\":");
	eventlog_value_write_float(out, plan, comma + 1, ylen);
	eventlog_json_literal(out, ",\"wkb\":");
	eventlog_json_binary(out, EVENTLOG_BINARY_BYTES, wkb, sizeof(wkb));
	eventlog_json_literal(out, ",\"srid\":null}");
}

/* --- decimals --- */

static void
free_decimal(Decimal *d)
{
	if (d->digits != d->space)
		pfree(d->digits);
}

/*
 * Take a number apart, with room for a scale of at least min_scale.  The
 * digits get zeros behind up to that scale.
 */
static void
parse_decimal(Decimal *d, const char *text, int32 len, int min_scale,
			  const EventlogValuePlan *plan)
{
	const char *end = text + len;
	size_t		room = (size_t) len + Max(min_scale, 0) + 1;
	bool		point = false;
	bool		any = false;

	d->negative = text < end && *text == '-';
	if (text < end && (*text == '-' || *text == '+'))
		text++;
	d->digits = room <= sizeof(d->space) ? d->space : palloc(room);
	d->ndigits = 0;
	d->scale = 0;
	for (; text < end; text++)
	{
		if (*text == '.' && !point)
		{
			point = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			eventlog_value_malformed(plan);
		any = true;
		if (d->ndigits > 0 || *text != '0')
			d->digits[d->ndigits++] = *text;
		d->scale += point;
	}
	if (!any)
		eventlog_value_malformed(plan);
	for (; d->scale < min_scale; d->scale++)
	{
		if (d->ndigits > 0)
			d->digits[d->ndigits++] = '0';
	}
	if (d->ndigits == 0)
	{
		d->digits[d->ndigits++] = '0';
		d->negative = false;
	}
}

/* A numeric never has digits beyond its column's scale, but a default may. */
static void
cut_to_scale(Decimal *d, int scale, const EventlogValuePlan *plan)
{
	for (; d->scale > scale && d->scale > 0; d->scale--)
	{
		if (d->digits[d->ndigits - 1] != '0')
			eventlog_value_malformed(plan);
		if (d->ndigits > 1)
			d->ndigits--;
	}
}

/* Zeros behind the point go; so do those of a scale below zero. */
static void
strip_zeros(Decimal *d)
{
	while (d->scale > 0 && (d->digits[d->ndigits - 1] == '0'))
	{
		d->scale--;
		if (d->ndigits > 1)
			d->ndigits--;
	}
}

/* The integer that the digits are, in two's complement, big-endian; palloc'd. */
static unsigned char *
unscaled_bytes(const Decimal *d, size_t *len)
{
	int			nlimbs = 0;
	uint32	   *limbs = palloc0_array(uint32, d->ndigits / 9 + 2);
	unsigned char *bytes;
	size_t		n;
	size_t		skip = 0;

	for (int at = 0; at < d->ndigits;)
	{
		int			take = (d->ndigits - at) % 9 ? (d->ndigits - at) % 9 : 9;
		uint64		carry = 0;
		uint32		power = 1;

		for (int i = 0; i < take; i++)
		{
			carry = carry * 10 + (d->digits[at++] - '0');
			power *= 10;
		}
		for (int i = 0; i < nlimbs; i++)
		{
			carry += (uint64) limbs[i] * power;
			limbs[i] = (uint32) carry;
			carry >>= 32;
		}
		if (carry)
			limbs[nlimbs++] = (uint32) carry;
	}

	/* a sign byte in front, then the limbs from the highest */
	n = (size_t) nlimbs * 4 + 1;
	bytes = palloc0(n);
	for (int i = 0; i < nlimbs; i++)
	{
		uint32		big = pg_hton32(limbs[nlimbs - 1 - i]);

		memcpy(bytes + 1 + (size_t) i * 4, &big, 4);
	}
	pfree(limbs);
	if (d->negative)
	{
		int			carry = 1;

		for (size_t i = n; i-- > 0;)
		{
			int			byte = (unsigned char) ~bytes[i] + carry;

			bytes[i] = (unsigned char) byte;
			carry = byte >> 8;
		}
	}
	/* bytes that only repeat the sign are left out */
	while (skip + 1 < n &&
		   ((bytes[skip] == 0x00 && !(bytes[skip + 1] & 0x80)) ||
			(bytes[skip] == 0xFF && (bytes[skip + 1] & 0x80))))
		skip++;
	memmove(bytes, bytes + skip, n - skip);
	*len = n - skip;
	return bytes;
}

static void
put_unscaled(EventlogBuf *out, const Decimal *d)
{
	size_t		len;
	unsigned char *bytes;

	if (d->ndigits <= 18)
	{
		unsigned char fixed[8];
		int64		value = 0;
		int			skip = 0;

		for (int i = 0; i < d->ndigits; i++)
			value = value * 10 + (d->digits[i] - '0');
		if (d->negative)
			value = -value;
		for (int i = 0; i < 8; i++)
			fixed[i] = (unsigned char) ((uint64) value >> (8 * (7 - i)));
		while (skip < 7 &&
			   ((fixed[skip] == 0x00 && !(fixed[skip + 1] & 0x80)) ||
				(fixed[skip] == 0xFF && (fixed[skip + 1] & 0x80))))
			skip++;
		eventlog_json_binary(out, EVENTLOG_BINARY_BYTES, fixed + skip, 8 - skip);
		return;
	}
	bytes = unscaled_bytes(d, &len);
	eventlog_json_binary(out, EVENTLOG_BINARY_BYTES, bytes, len);
	pfree(bytes);
}

/* As Java's BigDecimal.toString: with an exponent below 1e-6. */
static void
put_big_decimal(EventlogBuf *out, const Decimal *d)
{
	int			exponent = d->ndigits - 1 - d->scale;
	int			whole = d->ndigits - d->scale;

	if (d->negative)
		eventlog_json_literal(out, "-");
	if (d->scale == 0)
		eventlog_json_raw(out, d->digits, d->ndigits);
	else if (exponent < -6)
	{
		eventlog_json_raw(out, d->digits, 1);
		if (d->ndigits > 1)
		{
			eventlog_json_literal(out, ".");
			eventlog_json_raw(out, d->digits + 1, d->ndigits - 1);
		}
		eventlog_json_literal(out, "E");
		eventlog_json_int(out, exponent);
	}
	else if (whole > 0)
	{
		eventlog_json_raw(out, d->digits, whole);
		eventlog_json_literal(out, ".");
		eventlog_json_raw(out, d->digits + whole, d->scale);
	}
	else
	{
		eventlog_json_literal(out, "0.");
		for (; whole < 0; whole++)
			eventlog_json_literal(out, "0");
		eventlog_json_raw(out, d->digits, d->ndigits);
	}
}

/* The digits with all their zeros, in quotes. */
static void
put_plain(EventlogBuf *out, const Decimal *d)
{
	int			whole = d->ndigits - d->scale;

	eventlog_json_literal(out, "\"");
	if (d->negative)
		eventlog_json_literal(out, "-");
	if (whole > 0)
		eventlog_json_raw(out, d->digits, whole);
	else
		eventlog_json_literal(out, "0");
	if (d->scale > 0)
	{
		eventlog_json_literal(out, ".");
		for (; whole < 0; whole++)
			eventlog_json_literal(out, "0");
		eventlog_json_raw(out, d->digits + Max(whole, 0), d->ndigits - Max(whole, 0));
	}
	eventlog_json_literal(out, "\"");
}

/* --- numeric --- */

/* Ours: all digits, and PostgreSQL's names of special values. */
static void
write_exact(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	put_special(out, text, len);
}

static void
write_string(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	if (!is_special(text, len))
		put_special(out, text, len);
	else if (text[0] == 'N')
		eventlog_json_literal(out, "\"NAN\"");
	else if (text[0] == '-')
		eventlog_json_literal(out, "\"NEGATIVE_INFINITY\"");
	else
		eventlog_json_literal(out, "\"POSITIVE_INFINITY\"");
}

static void
write_double(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	if (is_special(text, len))
		put_special(out, text, len);
	else
		put_double(out, text_to_double(text, len, plan), plan);
}

/* numeric(p,s): base64, or a JSON number with decimal.format=NUMERIC */
static void
write_precise(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Decimal		d;

	if (is_special(text, len))
	{
		eventlog_json_literal(out, "null");
		return;
	}
	parse_decimal(&d, text, len, plan->scale, plan);
	cut_to_scale(&d, Max(plan->scale, 0), plan);
	if (plan->modes->decimal_numeric)
		put_big_decimal(out, &d);
	else
		put_unscaled(out, &d);
	free_decimal(&d);
}

/* numeric without a scale */
static void
write_variable(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Decimal		d;

	if (is_special(text, len))
	{
		eventlog_json_literal(out, "null");
		return;
	}
	parse_decimal(&d, text, len, 0, plan);
	strip_zeros(&d);
	eventlog_json_literal(out, "{\"scale\":");
	eventlog_json_int(out, d.scale);
	eventlog_json_literal(out, ",\"value\":");
	put_unscaled(out, &d);
	eventlog_json_literal(out, "}");
	free_decimal(&d);
}

/*
 * A default of numeric(p,s), which need not have been written with s digits:
 * make its text what the column's value prints.
 */
void
eventlog_value_write_decimal_default(EventlogBuf *out, const EventlogValuePlan *plan,
									 const char *text, int32 len)
{
	EventlogBuf scaled = {0};
	Decimal		d;

	if (plan->precision == 0 || is_special(text, len))
	{
		plan->write(out, plan, text, len);
		return;
	}
	parse_decimal(&d, text, len, plan->scale, plan);
	cut_to_scale(&d, Max(plan->scale, 0), plan);
	put_plain(&scaled, &d);
	plan->write(out, plan, scaled.data + 1, scaled.len - 2);
	eventlog_buf_free(&scaled);
	free_decimal(&d);
}

void
eventlog_value_plan_numeric(EventlogValuePlan *plan)
{
	int32		typmod = plan->type->typmod;

	if (typmod >= (int32) VARHDRSZ)
	{
		plan->precision = ((typmod - VARHDRSZ) >> 16) & 0xFFFF;
		plan->scale = (((typmod - VARHDRSZ) & 0x7FF) ^ 1024) - 1024;
	}
	plan->connect = EVENTLOG_CONNECT_STRING;
	switch (plan->modes->decimal)
	{
		case EVENTLOG_DECIMAL_EXACT:
			plan->write = write_exact;
			break;
		case EVENTLOG_DECIMAL_STRING:
			plan->write = write_string;
			break;
		case EVENTLOG_DECIMAL_DOUBLE:
			plan->connect = EVENTLOG_CONNECT_DOUBLE;
			plan->write = write_double;
			break;
		case EVENTLOG_DECIMAL_PRECISE:
			if (plan->precision > 0)
			{
				plan->connect = EVENTLOG_CONNECT_BYTES;
				plan->semantic = "org.apache.kafka.connect.data.Decimal";
				plan->write = write_precise;
			}
			else
			{
				plan->connect = EVENTLOG_CONNECT_STRUCT;
				plan->semantic = "io.debezium.data.VariableScaleDecimal";
				plan->write = write_variable;
			}
			break;
	}
}

/* --- money --- */

/*
 * Money is printed with lc_monetary's signs: what is left of it is a sign,
 * digits, and the decimal separator, which is the last of "." and "," unless
 * it stands before three digits as separators of thousands do.
 */
static int32
plain_money(char *to, const char *text, int32 len)
{
	int32		last = -1;
	int32		out = 0;
	bool		digits = false;

	for (int32 i = 0; i < len; i++)
	{
		if (text[i] == '.' || text[i] == ',')
			last = i;
	}
	if (last >= 0)
	{
		int32		behind = 0;

		for (int32 i = last + 1; i < len; i++)
			behind += text[i] >= '0' && text[i] <= '9';
		if (behind == 0 || behind > MONEY_SCALE)
			last = -1;
	}
	for (int32 i = 0; i < len; i++)
	{
		if (text[i] == '-' || text[i] == '(')
		{
			if (out == 0)
				to[out++] = '-';
		}
		else if (text[i] >= '0' && text[i] <= '9')
		{
			to[out++] = text[i];
			digits = true;
		}
		else if (i == last && digits)
			to[out++] = '.';
	}
	return out;
}

static void
write_money(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	char		plain[64];
	Decimal		d;

	if (len >= (int32) sizeof(plain) - 1)
		eventlog_value_malformed(plan);
	len = plain_money(plain, text, len);
	parse_decimal(&d, plain, len, MONEY_SCALE, plan);
	if (plan->modes->decimal == EVENTLOG_DECIMAL_DOUBLE)
		put_double(out, text_to_double(plain, len, plan), plan);
	else if (plan->modes->decimal != EVENTLOG_DECIMAL_PRECISE)
		put_plain(out, &d);
	else if (plan->modes->decimal_numeric)
		put_big_decimal(out, &d);
	else
		put_unscaled(out, &d);
	free_decimal(&d);
}

void
eventlog_value_plan_money(EventlogValuePlan *plan)
{
	plan->scale = MONEY_SCALE;
	plan->write = write_money;
	plan->connect = EVENTLOG_CONNECT_STRING;
	if (plan->modes->decimal == EVENTLOG_DECIMAL_DOUBLE)
		plan->connect = EVENTLOG_CONNECT_DOUBLE;
	else if (plan->modes->decimal == EVENTLOG_DECIMAL_PRECISE)
	{
		plan->connect = EVENTLOG_CONNECT_BYTES;
		plan->semantic = "org.apache.kafka.connect.data.Decimal";
	}
}
