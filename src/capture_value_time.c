/*-------------------------------------------------------------------------
 *
 * capture_value_time.c
 *	  Dates, times, timestamps and intervals as JSON, by time.precision.mode.
 *
 * Input is the ISO date style and the postgres interval style.  Moments are
 * kept as seconds and microseconds apart, so that those far off can be
 * written in any unit without overflow; in compatible mode nanoseconds wrap
 * around as Debezium's 64-bit ones do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"

#include "capture_value_plan.h"

#define SECONDS_A_DAY	86400
#define DAYS_A_MONTH	30.4375	/* 365.25 / 12 */
#define SECONDS_A_MONTH	INT64CONST(2629800)

/* What Debezium takes infinite dates and timestamps for. */
#define TIMESTAMP_INFINITY_SECONDS	INT64CONST(9223372036825)
#define TIMESTAMP_INFINITY_MICROS	200000
#define TIMESTAMP_NEGATIVE_INFINITY_SECONDS	INT64CONST(-9223372036833)
#define TIMESTAMP_NEGATIVE_INFINITY_MICROS	600000

/* A reader of text that does not end in a null byte. */
typedef struct Cursor
{
	const char *at;
	const char *end;
	const EventlogValuePlan *plan;
} Cursor;

typedef struct Moment
{
	int64		seconds;		/* since 1970-01-01, or since midnight */
	int			micros;			/* 0..999999, added to them */
} Moment;

/* --- reading --- */

static int64
take_number(Cursor *c)
{
	int64		value = 0;
	const char *start = c->at;

	while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - start < 12)
		value = value * 10 + (*c->at++ - '0');
	if (c->at == start)
		eventlog_value_malformed(c->plan);
	return value;
}

static bool
take_char(Cursor *c, char what)
{
	if (c->at == c->end || *c->at != what)
		return false;
	c->at++;
	return true;
}

static void
expect_char(Cursor *c, char what)
{
	if (!take_char(c, what))
		eventlog_value_malformed(c->plan);
}

static bool
take_word(Cursor *c, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (c->end - c->at) < len || memcmp(c->at, word, len) != 0)
		return false;
	c->at += len;
	return true;
}

/* An optional fraction of a second, as microseconds. */
static int
take_fraction(Cursor *c)
{
	int			micros = 0;
	int			unit = 100000;

	if (!take_char(c, '.'))
		return 0;
	for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; unit /= 10)
		micros += (*c->at++ - '0') * unit;
	return micros;
}

/* hours:minutes:seconds */
static Moment
take_time(Cursor *c)
{
	Moment		m;

	m.seconds = take_number(c) * 3600;
	expect_char(c, ':');
	m.seconds += take_number(c) * 60;
	expect_char(c, ':');
	m.seconds += take_number(c);
	m.micros = take_fraction(c);
	return m;
}

/* Offset from UTC in seconds, east being positive. */
static int
take_offset(Cursor *c)
{
	bool		west = take_char(c, '-');
	int			offset;

	if (!west)
		expect_char(c, '+');
	offset = (int) take_number(c) * 3600;
	if (take_char(c, ':'))
		offset += (int) take_number(c) * 60;
	if (take_char(c, ':'))
		offset += (int) take_number(c);
	return west ? -offset : offset;
}

/* Days from 1970-01-01 to a day of the Gregorian calendar, years proleptic. */
static int64
days_of_date(int64 year, int month, int day)
{
	int64		era;
	int			year_of_era;
	int			day_of_year;

	year -= month <= 2;
	era = (year >= 0 ? year : year - 399) / 400;
	year_of_era = (int) (year - era * 400);
	day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
		day_of_year - 719468;
}

static void
date_of_days(int64 days, int64 *year, int *month, int *day)
{
	int64		era;
	int			day_of_era;
	int			year_of_era;
	int			day_of_year;
	int			shifted;

	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	day_of_era = (int) (days - era * 146097);
	year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	shifted = (5 * day_of_year + 2) / 153;
	*day = day_of_year - (153 * shifted + 2) / 5 + 1;
	*month = shifted < 10 ? shifted + 3 : shifted - 9;
	*year = year_of_era + era * 400 + (*month <= 2);
}

/* year-month-day; the era, which comes last, is looked for ahead. */
static int64
take_date(Cursor *c)
{
	int64		year = take_number(c);
	int			month;
	int			day;

	expect_char(c, '-');
	month = (int) take_number(c);
	expect_char(c, '-');
	day = (int) take_number(c);
	if (month < 1 || month > 12 || day < 1 || day > 31)
		eventlog_value_malformed(c->plan);
	if (c->end - c->at >= 3 && memcmp(c->end - 3, " BC", 3) == 0)
	{
		c->end -= 3;
		year = 1 - year;
	}
	return days_of_date(year, month, day);
}

/* date time [offset] */
static Moment
take_timestamp(Cursor *c, bool zone)
{
	int64		days = take_date(c);
	Moment		m;

	expect_char(c, ' ');
	m = take_time(c);
	m.seconds += days * SECONDS_A_DAY;
	if (zone)
		m.seconds -= take_offset(c);
	return m;
}

/* 1: infinity, -1: -infinity, 0: neither */
static int
infinity_of(const char *text, int32 len)
{
	if (len == 8 && memcmp(text, "infinity", 8) == 0)
		return 1;
	if (len == 9 && memcmp(text, "-infinity", 9) == 0)
		return -1;
	return 0;
}

/* --- writing --- */

/* Decimal digits with zeros in front. */
static void
put_padded(EventlogBuf *out, int64 value, int width)
{
	char		buf[24];
	int			at = sizeof(buf);

	do
	{
		buf[--at] = (char) ('0' + value % 10);
		value /= 10;
		width--;
	} while (value > 0 || width > 0);
	eventlog_json_raw(out, buf + at, sizeof(buf) - at);
}

/* Count of units of 10^-digits seconds, digits up to 9, of any size. */
static void
put_units(EventlogBuf *out, Moment m, int digits)
{
	static const int64 powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
	int64		fraction = m.micros;
	int			kept = Min(digits, 6);

	if (m.seconds >= 0 && m.seconds <= PG_INT32_MAX)
	{
		/* nearly all there are */
		eventlog_json_int(out, digits == 9 ? m.seconds * 1000000000 + fraction * 1000 :
						  m.seconds * powers[kept] + fraction / powers[6 - kept]);
		return;
	}
	if (m.seconds < 0 && fraction > 0)
	{
		/* towards zero first, then round towards minus infinity */
		m.seconds++;
		fraction = (1000000 - fraction + powers[6 - kept] - 1) / powers[6 - kept];
		if (fraction == powers[kept])
		{
			fraction = 0;
			m.seconds--;
		}
		eventlog_json_literal(out, "-");
		m.seconds = -m.seconds;
	}
	else
	{
		fraction /= powers[6 - kept];
		if (m.seconds < 0)
		{
			eventlog_json_literal(out, "-");
			m.seconds = -m.seconds;
		}
	}
	if (m.seconds > 0)
	{
		eventlog_json_int(out, m.seconds);
		put_padded(out, fraction, kept);
	}
	else
		eventlog_json_int(out, fraction);
	if (digits == 9 && (m.seconds > 0 || fraction > 0))
		eventlog_json_literal(out, "000");
}

/* The same as a 64-bit count, which may wrap around. */
static void
put_nanos(EventlogBuf *out, Moment m, bool wrap)
{
	if (wrap)
		eventlog_json_int(out, (int64) ((uint64) m.seconds * UINT64CONST(1000000000) +
										(uint64) m.micros * 1000));
	else
		put_units(out, m, 9);
}

/* A fraction: of this width, or, if that is negative, without zeros behind. */
static void
put_fraction(EventlogBuf *out, int micros, int width)
{
	int			digits = 6;

	if (width < 0 ? micros == 0 : width == 0)
		return;
	if (width < 0)
	{
		for (; micros % 10 == 0; digits--)
			micros /= 10;
	}
	else
	{
		for (; digits > width; digits--)
			micros /= 10;
	}
	eventlog_json_literal(out, ".");
	put_padded(out, micros, digits);
}

static void
put_clock(EventlogBuf *out, int64 seconds, int micros, int width)
{
	put_padded(out, seconds / 3600, 2);
	eventlog_json_literal(out, ":");
	put_padded(out, seconds / 60 % 60, 2);
	eventlog_json_literal(out, ":");
	put_padded(out, seconds % 60, 2);
	put_fraction(out, micros, width);
}

/* Years beyond four digits have a sign, as ISO 8601 wants it. */
static void
put_date(EventlogBuf *out, int64 days)
{
	int64		year;
	int			month;
	int			day;

	date_of_days(days, &year, &month, &day);
	if (year < 0)
		eventlog_json_literal(out, "-");
	else if (year > 9999)
		eventlog_json_literal(out, "+");
	put_padded(out, year < 0 ? -year : year, 4);
	eventlog_json_literal(out, "-");
	put_padded(out, month, 2);
	eventlog_json_literal(out, "-");
	put_padded(out, day, 2);
}

/* A moment of UTC in quotes. */
static void
put_iso(EventlogBuf *out, Moment m, int width)
{
	int64		days = m.seconds / SECONDS_A_DAY;
	int64		seconds = m.seconds % SECONDS_A_DAY;

	if (seconds < 0)
	{
		seconds += SECONDS_A_DAY;
		days--;
	}
	eventlog_json_literal(out, "\"");
	put_date(out, days);
	eventlog_json_literal(out, "T");
	put_clock(out, seconds, m.micros, width);
	eventlog_json_literal(out, "Z\"");
}

/* --- date --- */

static void
write_date(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};
	int			infinity = infinity_of(text, len);
	int64		days;

	if (infinity == 0)
	{
		days = take_date(&c);
		if (c.at != c.end)
			eventlog_value_malformed(plan);
	}
	else if (plan->modes->compatible)
		/* both come out at the low end */
		days = days_of_date(-5877611, 6, infinity > 0 ? 21 : 22);
	else if (plan->unit == EVENTLOG_UNIT_ISO)
	{
		eventlog_value_write_text(out, plan, text, len);
		return;
	}
	else
		days = infinity > 0 ? PG_INT32_MAX : PG_INT32_MIN;

	if (plan->unit != EVENTLOG_UNIT_ISO)
	{
		eventlog_json_int(out, plan->modes->compatible ? (int32) days : days);
		return;
	}
	eventlog_json_literal(out, "\"");
	put_date(out, days);
	eventlog_json_literal(out, "Z\"");
}

void
eventlog_value_plan_date(EventlogValuePlan *plan)
{
	plan->write = write_date;
	plan->connect = EVENTLOG_CONNECT_INT32;
	plan->unit = EVENTLOG_UNIT_MILLIS;
	switch (plan->modes->time)
	{
		case EVENTLOG_TIME_ISOSTRING:
			plan->connect = EVENTLOG_CONNECT_STRING;
			plan->semantic = "io.debezium.time.IsoDate";
			plan->unit = EVENTLOG_UNIT_ISO;
			break;
		case EVENTLOG_TIME_CONNECT:
			plan->semantic = "org.apache.kafka.connect.data.Date";
			break;
		default:
			plan->semantic = "io.debezium.time.Date";
			break;
	}
}

/* --- time --- */

static void
write_time(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};
	Moment		m = take_time(&c);

	switch (plan->unit)
	{
		case EVENTLOG_UNIT_MILLIS:
			eventlog_json_int(out, m.seconds * 1000 + m.micros / 1000);
			break;
		case EVENTLOG_UNIT_MICROS:
			eventlog_json_int(out, m.seconds * 1000000 + m.micros);
			break;
		case EVENTLOG_UNIT_NANOS:
			eventlog_json_int(out, m.seconds * 1000000000 + (int64) m.micros * 1000);
			break;
		case EVENTLOG_UNIT_ISO:
			if (plan->modes->compatible)
				m.seconds %= SECONDS_A_DAY; /* 24:00 is 00:00 there */
			eventlog_json_literal(out, "\"");
			put_clock(out, m.seconds, m.micros, -1);
			eventlog_json_literal(out, "Z\"");
			break;
	}
}

void
eventlog_value_plan_time(EventlogValuePlan *plan)
{
	int32		typmod = plan->type->typmod;

	plan->write = write_time;
	plan->connect = EVENTLOG_CONNECT_INT64;
	switch (plan->modes->time)
	{
		case EVENTLOG_TIME_ADAPTIVE:
			if (typmod >= 0 && typmod <= 3)
			{
				plan->connect = EVENTLOG_CONNECT_INT32;
				plan->semantic = "io.debezium.time.Time";
				plan->unit = EVENTLOG_UNIT_MILLIS;
				break;
			}
			/* FALLTHROUGH */
		case EVENTLOG_TIME_ADAPTIVE_MICROSECONDS:
		case EVENTLOG_TIME_MICROSECONDS:
			plan->semantic = "io.debezium.time.MicroTime";
			plan->unit = EVENTLOG_UNIT_MICROS;
			break;
		case EVENTLOG_TIME_NANOSECONDS:
			plan->semantic = "io.debezium.time.NanoTime";
			plan->unit = EVENTLOG_UNIT_NANOS;
			break;
		case EVENTLOG_TIME_CONNECT:
			plan->connect = EVENTLOG_CONNECT_INT32;
			plan->semantic = "org.apache.kafka.connect.data.Time";
			plan->unit = EVENTLOG_UNIT_MILLIS;
			break;
		case EVENTLOG_TIME_ISOSTRING:
			plan->connect = EVENTLOG_CONNECT_STRING;
			plan->semantic = "io.debezium.time.IsoTime";
			plan->unit = EVENTLOG_UNIT_ISO;
			break;
	}
}

void
eventlog_value_write_timetz(EventlogBuf *out, const EventlogValuePlan *plan,
							const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};
	Moment		m = take_time(&c);

	m.seconds = (m.seconds - take_offset(&c)) % SECONDS_A_DAY;
	if (m.seconds < 0)
		m.seconds += SECONDS_A_DAY;
	eventlog_json_literal(out, "\"");
	put_clock(out, m.seconds, m.micros, -1);
	eventlog_json_literal(out, "Z\"");
}

/* --- timestamp --- */

static void
write_timestamp(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};
	int			infinity = infinity_of(text, len);
	Moment		m;

	if (infinity == 0)
		m = take_timestamp(&c, false);
	else if (plan->unit == EVENTLOG_UNIT_ISO && !plan->modes->compatible)
	{
		eventlog_value_write_text(out, plan, text, len);
		return;
	}
	else
	{
		m.seconds = infinity > 0 ? TIMESTAMP_INFINITY_SECONDS : TIMESTAMP_NEGATIVE_INFINITY_SECONDS;
		m.micros = infinity > 0 ? TIMESTAMP_INFINITY_MICROS : TIMESTAMP_NEGATIVE_INFINITY_MICROS;
	}

	switch (plan->unit)
	{
		case EVENTLOG_UNIT_MILLIS:
			put_units(out, m, 3);
			break;
		case EVENTLOG_UNIT_MICROS:
			put_units(out, m, 6);
			break;
		case EVENTLOG_UNIT_NANOS:
			put_nanos(out, m, plan->modes->compatible);
			break;
		case EVENTLOG_UNIT_ISO:
			put_iso(out, m, -1);
			break;
	}
}

void
eventlog_value_plan_timestamp(EventlogValuePlan *plan)
{
	int32		typmod = plan->type->typmod;

	plan->write = write_timestamp;
	plan->connect = EVENTLOG_CONNECT_INT64;
	switch (plan->modes->time)
	{
		case EVENTLOG_TIME_ADAPTIVE:
		case EVENTLOG_TIME_ADAPTIVE_MICROSECONDS:
			if (typmod >= 0 && typmod <= 3)
			{
				plan->semantic = "io.debezium.time.Timestamp";
				plan->unit = EVENTLOG_UNIT_MILLIS;
				break;
			}
			/* FALLTHROUGH */
		case EVENTLOG_TIME_MICROSECONDS:
			plan->semantic = "io.debezium.time.MicroTimestamp";
			plan->unit = EVENTLOG_UNIT_MICROS;
			break;
		case EVENTLOG_TIME_NANOSECONDS:
			plan->semantic = "io.debezium.time.NanoTimestamp";
			plan->unit = EVENTLOG_UNIT_NANOS;
			break;
		case EVENTLOG_TIME_CONNECT:
			plan->semantic = "org.apache.kafka.connect.data.Timestamp";
			plan->unit = EVENTLOG_UNIT_MILLIS;
			break;
		case EVENTLOG_TIME_ISOSTRING:
			plan->connect = EVENTLOG_CONNECT_STRING;
			plan->semantic = "io.debezium.time.IsoTimestamp";
			plan->unit = EVENTLOG_UNIT_ISO;
			break;
	}
}

static void
write_timestamptz(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};

	if (infinity_of(text, len) != 0)
		eventlog_value_write_text(out, plan, text, len);
	else
		put_iso(out, take_timestamp(&c, true), plan->scale);
}

void
eventlog_value_plan_timestamptz(EventlogValuePlan *plan)
{
	plan->write = write_timestamptz;
	plan->connect = EVENTLOG_CONNECT_STRING;
	plan->semantic = "io.debezium.time.ZonedTimestamp";
	plan->scale = plan->type->typmod >= 0 ? plan->type->typmod : 6;
}

/* --- interval --- */

typedef struct IntervalParts
{
	int64		years;
	int64		months;
	int64		days;
	bool		negative_time;
	int64		hours;			/* these are not negative */
	int64		minutes;
	int64		seconds;
	int			micros;
} IntervalParts;

/* "1 year 2 mons -3 days 04:05:06.7", each part optional */
static IntervalParts
take_interval(Cursor *c)
{
	IntervalParts iv = {0};

	while (c->at < c->end)
	{
		bool		negative = take_char(c, '-');
		int64		value;

		if (!negative)
			take_char(c, '+');
		value = take_number(c);
		if (take_char(c, ':'))
		{
			iv.negative_time = negative;
			iv.hours = value;
			iv.minutes = take_number(c);
			expect_char(c, ':');
			iv.seconds = take_number(c);
			iv.micros = take_fraction(c);
			if (c->at != c->end)
				eventlog_value_malformed(c->plan);
			break;
		}
		if (negative)
			value = -value;
		if (take_word(c, " year"))
			iv.years = value;
		else if (take_word(c, " mon"))
			iv.months = value;
		else if (take_word(c, " day"))
			iv.days = value;
		else
			eventlog_value_malformed(c->plan);
		while (c->at < c->end && *c->at >= 'a' && *c->at <= 'z')
			c->at++;
		take_char(c, ' ');
	}
	return iv;
}

/* Microseconds as Debezium works them out, in floating point. */
static int64
debezium_micros(const IntervalParts *iv)
{
	double		sign = iv->negative_time ? -1 : 1;
	double		days = (double) (iv->years * 12 + iv->months) * DAYS_A_MONTH + (double) iv->days;
	double		fraction = sign * ((double) iv->seconds + iv->micros / 1e6);
	double		seconds = (((days * 24 + sign * (double) iv->hours) * 60) +
						   sign * (double) iv->minutes) * 60 + fraction;
	double		micros = seconds * 1e6;

	if (micros >= 9223372036854775807.0)
		return PG_INT64_MAX;
	if (micros <= -9223372036854775808.0)
		return PG_INT64_MIN;
	return (int64) micros;
}

/* The same without rounding; it, too, stops at what 64 bits hold. */
static int64
exact_micros(const IntervalParts *iv)
{
	int64		months = (iv->years * 12 + iv->months) * SECONDS_A_MONTH;
	int64		seconds = iv->hours * 3600 + iv->minutes * 60 + iv->seconds;
	int64		micros = iv->micros;
	int64		result;

	if (iv->negative_time)
	{
		seconds = -seconds;
		micros = -micros;
	}
	seconds += months + iv->days * SECONDS_A_DAY;
	if (pg_mul_s64_overflow(seconds, 1000000, &result) ||
		pg_add_s64_overflow(result, micros, &result))
		return seconds > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	return result;
}

static void
put_iso_interval(EventlogBuf *out, const IntervalParts *iv)
{
	int64		sign = iv->negative_time ? -1 : 1;

	eventlog_json_literal(out, "\"P");
	eventlog_json_int(out, iv->years);
	eventlog_json_literal(out, "Y");
	eventlog_json_int(out, iv->months);
	eventlog_json_literal(out, "M");
	eventlog_json_int(out, iv->days);
	eventlog_json_literal(out, "DT");
	eventlog_json_int(out, sign * iv->hours);
	eventlog_json_literal(out, "H");
	eventlog_json_int(out, sign * iv->minutes);
	eventlog_json_literal(out, "M");
	if (iv->negative_time && (iv->seconds > 0 || iv->micros > 0))
		eventlog_json_literal(out, "-");
	eventlog_json_int(out, iv->seconds);
	put_fraction(out, iv->micros, -1);
	eventlog_json_literal(out, "S\"");
}

static void
write_interval(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};
	int			infinity = infinity_of(text, len);
	IntervalParts iv;

	if (infinity != 0)
	{
		if (plan->modes->interval == EVENTLOG_INTERVAL_STRING)
			eventlog_value_write_text(out, plan, text, len);
		else
			eventlog_json_int(out, infinity > 0 ? PG_INT64_MAX : PG_INT64_MIN);
		return;
	}
	iv = take_interval(&c);
	if (plan->modes->interval == EVENTLOG_INTERVAL_STRING)
		put_iso_interval(out, &iv);
	else
		eventlog_json_int(out, plan->modes->compatible ? debezium_micros(&iv) : exact_micros(&iv));
}

void
eventlog_value_plan_interval(EventlogValuePlan *plan)
{
	plan->write = write_interval;
	if (plan->modes->interval == EVENTLOG_INTERVAL_STRING)
	{
		plan->connect = EVENTLOG_CONNECT_STRING;
		plan->semantic = "io.debezium.time.Interval";
	}
	else
	{
		plan->connect = EVENTLOG_CONNECT_INT64;
		plan->semantic = "io.debezium.time.MicroDuration";
	}
}
