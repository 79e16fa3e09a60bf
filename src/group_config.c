/*-------------------------------------------------------------------------
 *
 * group_config.c
 *	  Configs of consumer groups: names, types, ranges, defaults.
 *
 * The names and defaults are Kafka's, where it has such a config for its
 * consumers, its share groups (KIP-1191) or its groups at large.  What is
 * stored in eventlog.consumer_group has passed here; times are stored in UTC,
 * so that they mean the same to every session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "group_config.h"
#include "topic_config.h"
#include "payload.h"
#include "topic_ddl.h"

typedef enum ConfigId
{
	AUTO_OFFSET_RESET,
	DEAD_LETTER_TOPIC,
	GROUP_TYPE,
	MAX_POLL_INTERVAL_MS
} ConfigId;

#define NUM_CONFIGS	(MAX_POLL_INTERVAL_MS + 1)

static const char *const names[NUM_CONFIGS] = {
	[AUTO_OFFSET_RESET] = "auto.offset.reset",
	[DEAD_LETTER_TOPIC] = "errors.deadletterqueue.topic.name",
	[GROUP_TYPE] = "group.type",
	[MAX_POLL_INTERVAL_MS] = "max.poll.interval.ms"
};

/* What the value must be. */
static const char *const rules[NUM_CONFIGS] = {
	[AUTO_OFFSET_RESET] = "It must be \"earliest\", \"latest\", \"none\", \"by_duration:\" and a duration such as PT24H, or a timestamp that begins with its year.",
	[DEAD_LETTER_TOPIC] = "It must be the name of a topic.",
	[GROUP_TYPE] = "It must be \"consume\" or \"members\".",
	[MAX_POLL_INTERVAL_MS] = "It must be an integer from 1 to 2147483647 (milliseconds)."
};

#define BY_DURATION						"by_duration:"

/* Values that were given, as text; NULL: not set. */
typedef struct ConfigSet
{
	char	   *values[NUM_CONFIGS];
} ConfigSet;

static const char *const use_names[] = {
	[EVENTLOG_GROUP_UNUSED] = NULL,
	[EVENTLOG_GROUP_CONSUME] = "consume",
	[EVENTLOG_GROUP_MEMBERS] = "members"
};

const char *
eventlog_group_use_name(EventlogGroupUse use)
{
	return use_names[use];
}

EventlogGroupUse
eventlog_group_use_of(const char *name)
{
	for (int i = EVENTLOG_GROUP_CONSUME; i < lengthof(use_names); i++)
	{
		if (strcmp(use_names[i], name) == 0)
			return (EventlogGroupUse) i;
	}
	return EVENTLOG_GROUP_UNUSED;
}

pg_noreturn static void
invalid_value(ConfigId id, const char *given)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for config \"%s\" of a consumer group: \"%s\"", names[id], given),
			 errdetail("%s", rules[id])));
}

static ConfigId
find_config(const char *name)
{
	for (int i = 0; i < NUM_CONFIGS; i++)
	{
		if (strcmp(names[i], name) == 0)
			return (ConfigId) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown config \"%s\" of a consumer group", name),
			 errhint("Groups have the configs \"%s\", \"%s\", \"%s\" and \"%s\".",
					 names[AUTO_OFFSET_RESET], names[DEAD_LETTER_TOPIC], names[GROUP_TYPE],
					 names[MAX_POLL_INTERVAL_MS])));
	return (ConfigId) 0;		/* keep compilers quiet */
}

/* ---- values ---- */

/*
 * Milliseconds of an ISO 8601 duration of days, hours, minutes and seconds, as
 * KIP-1106 has it: P[nD][T[nH][nM][n[.n]S]], not negative.  False if it is
 * something else.
 */
static bool
parse_duration(const char *s, int64 *ms)
{
	static const struct
	{
		char		letter;
		bool		of_day;		/* stands behind the T */
		int64		unit;
	}			parts[] = {
		{'D', false, INT64CONST(86400000)},
		{'H', true, 3600000},
		{'M', true, 60000},
		{'S', true, 1000}
	};
	bool		in_day = false;
	int			next = 0;
	int			nparts = 0,
				of_day = 0;

	*ms = 0;
	if (*s++ != 'P')
		return false;
	while (*s != '\0')
	{
		int64		number = 0,
					fraction = 0,
					scale = 1000;
		bool		decimal = false;

		if (*s == 'T')
		{
			if (in_day)
				return false;
			in_day = true;
			s++;
		}
		if (*s < '0' || *s > '9')
			return false;
		for (; *s >= '0' && *s <= '9'; s++)
		{
			if (pg_mul_s64_overflow(number, 10, &number) || pg_add_s64_overflow(number, *s - '0', &number))
				return false;
		}
		if (*s == '.')
		{
			decimal = true;
			for (s++; *s >= '0' && *s <= '9'; s++)
			{
				scale /= 10;
				fraction += (*s - '0') * scale;
			}
		}
		while (next < lengthof(parts) && (parts[next].letter != *s || parts[next].of_day != in_day))
			next++;
		if (next == lengthof(parts) || (decimal && *s != 'S') ||
			pg_mul_s64_overflow(number, parts[next].unit, &number) ||
			pg_add_s64_overflow(number, fraction, &number) ||
			pg_add_s64_overflow(*ms, number, ms))
			return false;
		of_day += parts[next].of_day;
		nparts++;
		next++;
		s++;
	}
	return nparts > 0 && (!in_day || of_day > 0);
}

static bool
parse_reset(const char *value, EventlogGroupConfig *config)
{
	config->reset_ms = 0;
	if (strcmp(value, "none") == 0)
		config->reset = EVENTLOG_RESET_ERROR;
	else if (strcmp(value, "earliest") == 0)
		config->reset = EVENTLOG_RESET_EARLIEST;
	else if (strcmp(value, "latest") == 0)
		config->reset = EVENTLOG_RESET_LATEST;
	else if (strncmp(value, BY_DURATION, strlen(BY_DURATION)) == 0)
	{
		config->reset = EVENTLOG_RESET_DURATION;
		return parse_duration(value + strlen(BY_DURATION), &config->reset_ms);
	}
	else if (value[0] >= '0' && value[0] <= '9')
	{
		config->reset = EVENTLOG_RESET_TIME;
		config->reset_ms =
			eventlog_timestamp_to_ms(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																			 CStringGetDatum(value),
																			 ObjectIdGetDatum(InvalidOid),
																			 Int32GetDatum(-1))));
	}
	else
		return false;
	return true;
}

static bool
parse_integer(const char *value, int32 *number)
{
	char	   *end;
	long long	n;

	errno = 0;
	n = strtoll(value, &end, 10);
	*number = (int32) n;
	return errno == 0 && end != value && *end == '\0' && n >= 1 && n <= PG_INT32_MAX;
}

/* Raise unless the value is good; return it as it is stored. */
static char *
check_value(ConfigId id, char *value)
{
	EventlogGroupConfig scratch;

	switch (id)
	{
		case AUTO_OFFSET_RESET:
			if (!parse_reset(value, &scratch))
				invalid_value(id, value);
			if (scratch.reset == EVENTLOG_RESET_TIME)
			{
				char	   *utc = palloc(MAXDATELEN + 1);
				int			zone = 0;
				Datum		time = TimestampTzGetDatum(eventlog_ms_to_timestamp(scratch.reset_ms));

				return JsonEncodeDateTime(utc, time, TIMESTAMPTZOID, &zone);
			}
			break;
		case DEAD_LETTER_TOPIC:
			eventlog_topic_check_name(value);
			break;
		case GROUP_TYPE:
			if (eventlog_group_use_of(value) == EVENTLOG_GROUP_UNUSED)
				invalid_value(id, value);
			break;
		case MAX_POLL_INTERVAL_MS:
			if (!parse_integer(value, &scratch.max_poll_interval_ms))
				invalid_value(id, value);
			break;
	}
	return value;
}

/* ---- sets ---- */

/* Text of a string or a number; NULL for null. */
static char *
value_text(ConfigId id, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
		case jbvNumeric:
			return eventlog_config_scalar_text(value);
		case jbvBool:
			invalid_value(id, eventlog_config_scalar_text(value));
			break;
		default:
			invalid_value(id, JsonbToCString(NULL, value->val.binary.data, value->val.binary.len));
			break;
	}
	return NULL;				/* keep compilers quiet */
}

/* Put what the object names into the set.  *named tells which those are. */
static void
load(Jsonb *object, ConfigSet *set, bool check, bool *named)
{
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	ConfigId	id = (ConfigId) 0;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			id = find_config(pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE)
		{
			set->values[id] = value_text(id, &value);
			if (check && set->values[id] != NULL)
				set->values[id] = check_value(id, set->values[id]);
			if (named != NULL)
				named[id] = true;
		}
	}
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *s)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, s);
	value.val.string.len = strlen(s);
	pushJsonbValue(state, token, &value);
}

static Jsonb *
store(const ConfigSet *set)
{
	JsonbParseState *state = NULL;
	JsonbValue	number;
	int32		n;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < NUM_CONFIGS; i++)
	{
		if (set->values[i] == NULL || i == GROUP_TYPE)
			continue;
		push_string(&state, WJB_KEY, names[i]);
		if (i == MAX_POLL_INTERVAL_MS)
		{
			(void) parse_integer(set->values[i], &n);
			number.type = jbvNumeric;
			number.val.numeric = int64_to_numeric(n);
			pushJsonbValue(&state, WJB_VALUE, &number);
		}
		else
			push_string(&state, WJB_VALUE, set->values[i]);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
eventlog_group_config_apply(Jsonb *stored, Jsonb *changes, EventlogGroupUse *use)
{
	ConfigSet	set = {{NULL}};
	bool		named[NUM_CONFIGS] = {false};

	if (!JB_ROOT_IS_OBJECT(changes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("configs of a consumer group must be a JSON object"),
				 errhint("For example: '{\"auto.offset.reset\": \"earliest\"}'.")));
	if (stored != NULL)
		load(stored, &set, false, NULL);
	load(changes, &set, true, named);
	if (named[GROUP_TYPE])
		*use = set.values[GROUP_TYPE] == NULL ? EVENTLOG_GROUP_UNUSED :
			eventlog_group_use_of(set.values[GROUP_TYPE]);
	return store(&set);
}

void
eventlog_group_config_read(Jsonb *stored, EventlogGroupConfig *config)
{
	ConfigSet	set = {{NULL}};

	memset(config, 0, sizeof(*config));
	config->max_poll_interval_ms = EVENTLOG_DEFAULT_MAX_POLL_MS;
	load(stored, &set, true, NULL);
	if (set.values[AUTO_OFFSET_RESET] != NULL)
		(void) parse_reset(set.values[AUTO_OFFSET_RESET], config);
	if (set.values[MAX_POLL_INTERVAL_MS] != NULL)
		(void) parse_integer(set.values[MAX_POLL_INTERVAL_MS], &config->max_poll_interval_ms);
	if (set.values[DEAD_LETTER_TOPIC] != NULL)
		strlcpy(config->dead_letter_topic, set.values[DEAD_LETTER_TOPIC], sizeof(config->dead_letter_topic));
}
