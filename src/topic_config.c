/*-------------------------------------------------------------------------
 *
 * topic_config.c
 *	  Kafka's topic configs: names, types, ranges, defaults.
 *
 * The tables below list every topic config of Kafka 4.1: "supported" are
 * those that have a meaning here, with the type, range and default that Kafka
 * documents (LogConfig.java; where we differ, the comment says so), "refused"
 * the others, each with what to use instead.  Whatever is in neither is taken
 * for a mistake, and the error names the config that comes nearest.
 *
 * What is stored in eventlog.topic has passed here, so that reading it back
 * checks nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

#include "topic_config.h"

typedef enum ConfigType
{
	CONFIG_INTEGER,				/* Kafka's INT and LONG; told apart by max */
	CONFIG_RATIO,				/* DOUBLE from 0 to 1 */
	CONFIG_CHOICE,				/* one of a list of words */
	CONFIG_POLICY				/* cleanup.policy: a list, in any order */
} ConfigType;

/* Index into supported[]. */
typedef enum ConfigId
{
	CLEANUP_POLICY,
	COMPRESSION_TYPE,
	DELETE_RETENTION_MS,
	MAX_COMPACTION_LAG_MS,
	MAX_MESSAGE_BYTES,
	TIMESTAMP_AFTER_MAX_MS,
	TIMESTAMP_BEFORE_MAX_MS,
	TIMESTAMP_TYPE,
	MIN_CLEANABLE_DIRTY_RATIO,
	MIN_COMPACTION_LAG_MS,
	RETENTION_BYTES,
	RETENTION_MS,
	SEGMENT_BYTES,
	SEGMENT_MS
} ConfigId;

#define NUM_SUPPORTED	(SEGMENT_MS + 1)

typedef struct ConfigDef
{
	const char *name;
	ConfigType	type;
	int64		min;			/* CONFIG_INTEGER */
	int64		max;
	int64		boot;			/* default of a CONFIG_INTEGER */
	const char *unit;
	const char *choices;		/* CONFIG_CHOICE: words, ", " between them */
} ConfigDef;

#define DAY_MS		INT64CONST(86400000)

/* What retention.bytes keeps is divided into so many segments at least. */
#define RETENTION_SEGMENTS	32

static const ConfigDef supported[NUM_SUPPORTED] = {
	[CLEANUP_POLICY] =
	{"cleanup.policy", CONFIG_POLICY},
	[COMPRESSION_TYPE] =
	{"compression.type", CONFIG_CHOICE,
	.choices = "producer, uncompressed, lz4, zstd"},
	[DELETE_RETENTION_MS] =
	{"delete.retention.ms", CONFIG_INTEGER, 0, PG_INT64_MAX, DAY_MS, "milliseconds"},
	[MAX_COMPACTION_LAG_MS] =
	{"max.compaction.lag.ms", CONFIG_INTEGER, 1, PG_INT64_MAX, PG_INT64_MAX, "milliseconds"},

	/* Kafka allows 0 to 2147483647; a record here has at most 64 MB */
	[MAX_MESSAGE_BYTES] =
	{"max.message.bytes", CONFIG_INTEGER, 1, 64 * 1024 * 1024, 1048588, "bytes"},
	[TIMESTAMP_AFTER_MAX_MS] =
	{"message.timestamp.after.max.ms", CONFIG_INTEGER, 0, PG_INT64_MAX, 3600000, "milliseconds"},
	[TIMESTAMP_BEFORE_MAX_MS] =
	{"message.timestamp.before.max.ms", CONFIG_INTEGER, 0, PG_INT64_MAX, PG_INT64_MAX, "milliseconds"},
	[TIMESTAMP_TYPE] =
	{"message.timestamp.type", CONFIG_CHOICE,
	.choices = "CreateTime, LogAppendTime"},
	[MIN_CLEANABLE_DIRTY_RATIO] =
	{"min.cleanable.dirty.ratio", CONFIG_RATIO},
	[MIN_COMPACTION_LAG_MS] =
	{"min.compaction.lag.ms", CONFIG_INTEGER, 0, PG_INT64_MAX, 0, "milliseconds"},

	/* Kafka takes any negative number for "no limit" */
	[RETENTION_BYTES] =
	{"retention.bytes", CONFIG_INTEGER, -1, PG_INT64_MAX, -1, "bytes"},
	[RETENTION_MS] =
	{"retention.ms", CONFIG_INTEGER, -1, PG_INT64_MAX, 7 * DAY_MS, "milliseconds"},
	[SEGMENT_BYTES] =
	{"segment.bytes", CONFIG_INTEGER, 1024 * 1024, PG_INT32_MAX, 1024 * 1024 * 1024, "bytes"},
	[SEGMENT_MS] =
	{"segment.ms", CONFIG_INTEGER, 1, PG_INT64_MAX, 7 * DAY_MS, "milliseconds"},
};

typedef struct RefusedConfig
{
	const char *name;
	const char *hint;
} RefusedConfig;

#define HINT_LEVEL \
	"The codec's default level is used; set only \"compression.type\"."
#define HINT_FLUSH \
	"When writes become durable is decided by synchronous_commit, for events as for rows."
#define HINT_REPLICATION \
	"Replication is PostgreSQL's own; see synchronous_standby_names and synchronous_commit."
#define HINT_THROTTLE \
	"Replication is PostgreSQL's own and has no throttle for each topic."
#define HINT_INDEX \
	"Offsets and timestamps are found without index files."
#define HINT_FILES \
	"Segments are parts of the partition's file and are used again, not deleted."
#define HINT_TIERED \
	"There is no tiered storage; use \"retention.ms\" and \"retention.bytes\"."
#define HINT_DIFFERENCE \
	"Kafka 4.0 removed it; use \"message.timestamp.before.max.ms\" and \"message.timestamp.after.max.ms\"."
#define HINT_FORMAT \
	"Kafka 4.0 removed it; records are always stored in message format v2."

static const RefusedConfig refused[] = {
	{"compression.gzip.level", HINT_LEVEL},
	{"compression.lz4.level", HINT_LEVEL},
	{"compression.zstd.level", HINT_LEVEL},
	{"file.delete.delay.ms", HINT_FILES},
	{"flush.messages", HINT_FLUSH},
	{"flush.ms", HINT_FLUSH},
	{"follower.replication.throttled.replicas", HINT_THROTTLE},
	{"index.interval.bytes", HINT_INDEX},
	{"internal.segment.bytes", "Use \"segment.bytes\"."},
	{"leader.replication.throttled.replicas", HINT_THROTTLE},
	{"local.retention.bytes", HINT_TIERED},
	{"local.retention.ms", HINT_TIERED},
	{"message.downconversion.enable", HINT_FORMAT},
	{"message.format.version", HINT_FORMAT},
	{"message.timestamp.difference.max.ms", HINT_DIFFERENCE},
	{"min.insync.replicas", HINT_REPLICATION},
	{"preallocate", "Space is always allocated ahead of need."},
	{"remote.copy.lag.bytes", HINT_TIERED},
	{"remote.copy.lag.ms", HINT_TIERED},
	{"remote.log.copy.disable", HINT_TIERED},
	{"remote.log.delete.on.disable", HINT_TIERED},
	{"remote.storage.enable", HINT_TIERED},
	{"segment.index.bytes", HINT_INDEX},
	{"segment.jitter.ms", "Partitions close their segments independently of each other."},
	{"unclean.leader.election.enable", HINT_REPLICATION},
};

/* A value that passed its checks: set, and what to store. */
typedef struct ConfigValue
{
	bool		is_set;
	JsonbValue	json;
} ConfigValue;

static bool
name_is(const char *name, const char *s, int len)
{
	return strlen(name) == len && memcmp(name, s, len) == 0;
}

/* Does the list "a, b, c" have the word?  Its length is "len". */
static bool
list_has_word(const char *list, const char *word, int len)
{
	const char *p = list;

	while (p != NULL)
	{
		size_t		n = strcspn(p, ",");

		if (n == len && memcmp(p, word, len) == 0)
			return true;
		p = p[n] == ',' ? p + n + 2 : NULL;
	}
	return false;
}

/* Name of the supported config that is nearest to "name", if any is near. */
static const char *
nearest_config(const char *name, int len)
{
	const char *best = NULL;
	int			best_distance = Max(len / 2, 2) + 1;

	/* the limit of varstr_levenshtein(), in bytes */
	if (len > 255)
		return NULL;

	for (int i = 0; i < NUM_SUPPORTED; i++)
	{
		const char *candidate = supported[i].name;
		int			distance;

		distance = varstr_levenshtein_less_equal(name, len,
												 candidate, strlen(candidate),
												 1, 1, 1, best_distance, true);
		if (distance < best_distance)
		{
			best = candidate;
			best_distance = distance;
		}
	}
	return best;
}

/* Find a config's definition, or raise. */
static ConfigId
find_config(const char *name, int len)
{
	const char *nearest;

	for (int i = 0; i < NUM_SUPPORTED; i++)
		if (name_is(supported[i].name, name, len))
			return (ConfigId) i;

	for (int i = 0; i < lengthof(refused); i++)
		if (name_is(refused[i].name, name, len))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("topic config \"%s\" is not supported",
							refused[i].name),
					 errhint("%s", refused[i].hint)));

	nearest = nearest_config(name, len);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown topic config \"%s\"", pnstrdup(name, len)),
			 nearest != NULL ?
			 errhint("Perhaps you meant \"%s\".", nearest) :
			 errhint("Topic configs have Kafka's names, such as \"retention.ms\".")));
	return (ConfigId) 0;		/* keep compiler quiet */
}

char *
eventlog_config_scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/* The value as text, whatever it is. */
static char *
value_text(const JsonbValue *value)
{
	char	   *text = eventlog_config_scalar_text(value);

	if (text != NULL)
		return text;
	if (value->type == jbvBinary)
		return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	return pstrdup("null");
}

pg_noreturn static void invalid_value(const ConfigDef *def, const char *given,
									  const char *detail);

static void
invalid_value(const ConfigDef *def, const char *given, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for topic config \"%s\": \"%s\"",
					def->name, given),
			 errdetail("%s", detail)));
}

static void
set_string(ConfigValue *v, const char *s)
{
	v->is_set = true;
	v->json.type = jbvString;
	v->json.val.string.val = pstrdup(s);
	v->json.val.string.len = strlen(s);
}

static bool
parse_integer(const ConfigDef *def, const char *given, int64 *number)
{
	char	   *end;

	errno = 0;
	*number = strtoll(given, &end, 10);
	return errno == 0 && end != given && *end == '\0' &&
		*number >= def->min && *number <= def->max;
}

static void
set_integer(const ConfigDef *def, ConfigValue *v, const char *given)
{
	int64		number;

	if (!parse_integer(def, given, &number))
	{
		if (def->max == PG_INT64_MAX)
			invalid_value(def, given,
						  psprintf("It must be an integer of at least " INT64_FORMAT " (%s).",
								   def->min, def->unit));
		else
			invalid_value(def, given,
						  psprintf("It must be an integer from " INT64_FORMAT " to " INT64_FORMAT " (%s).",
								   def->min, def->max, def->unit));
	}
	v->is_set = true;
	v->json.type = jbvNumeric;
	v->json.val.numeric = int64_to_numeric(number);
}

static void
set_ratio(const ConfigDef *def, ConfigValue *v, const char *given)
{
	char	   *end;
	double		number;

	number = strtod(given, &end);
	if (end == given || *end != '\0' || isnan(number) ||
		number < 0.0 || number > 1.0)
		invalid_value(def, given, "It must be a number from 0 to 1.");

	v->is_set = true;
	v->json.type = jbvNumeric;
	v->json.val.numeric =
		DatumGetNumeric(DirectFunctionCall1(float8_numeric,
											Float8GetDatum(number)));
}

static void
set_choice(const ConfigDef *def, ConfigValue *v, const char *given)
{
	const char *word = given;

	if (def == &supported[COMPRESSION_TYPE])
	{
		/* what producers and batches call it */
		if (strcmp(word, "none") == 0)
			word = "uncompressed";
		if (strcmp(word, "gzip") == 0 || strcmp(word, "snappy") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("compression type \"%s\" is not supported", word),
					 errhint("Use \"lz4\" (fast) or \"zstd\" (small).")));
	}
	if (!list_has_word(def->choices, word, strlen(word)))
		invalid_value(def, given,
					  psprintf("It must be one of: %s.", def->choices));
	set_string(v, word);
}

/* cleanup.policy: "delete", "compact" or both with a comma between */
static void
set_policy(const ConfigDef *def, ConfigValue *v, const char *given)
{
	const char *p = given;
	bool		compact = false;
	bool		expire = false;

	for (;;)
	{
		size_t		n;
		size_t		word;

		p += strspn(p, " ");
		n = strcspn(p, ",");
		for (word = n; word > 0 && p[word - 1] == ' '; word--)
			;
		if (!compact && name_is("compact", p, word))
			compact = true;
		else if (!expire && name_is("delete", p, word))
			expire = true;
		else
			invalid_value(def, given,
						  "It must be \"delete\", \"compact\" or \"compact,delete\".");
		if (p[n] == '\0')
			break;
		p += n + 1;
	}
	if (compact && expire)
		set_string(v, "compact,delete");
	else
		set_string(v, compact ? "compact" : "delete");
}

static int64
integer_of(const ConfigValue *values, ConfigId id)
{
	if (!values[id].is_set)
		return supported[id].boot;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 NumericGetDatum(values[id].json.val.numeric)));
}

static bool
string_is(const ConfigValue *values, ConfigId id, const char *s)
{
	return values[id].is_set &&
		name_is(s, values[id].json.val.string.val,
				values[id].json.val.string.len);
}

/*
 * Has a stored value the type, and an integer the range, of its config?  Not
 * if somebody changed eventlog.topic by hand.
 */
static bool
is_stored_value(const ConfigDef *def, const JsonbValue *json)
{
	int64		number;

	if (def->type != CONFIG_INTEGER && def->type != CONFIG_RATIO)
		return json->type == jbvString;
	return json->type == jbvNumeric &&
		(def->type == CONFIG_RATIO || parse_integer(def, value_text(json), &number));
}

/*
 * Read an object of configs into values[].  What is stored ("stored") was
 * checked before; what of it makes no sense here, such as a name that it has
 * from a later version of this extension, is left out.
 */
static void
load(Jsonb *object, ConfigValue *values, bool stored)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	json;
	int			id = -1;

	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &json, true)) != WJB_DONE)
	{
		const ConfigDef *def;

		if (token == WJB_KEY)
		{
			if (!stored)
				id = find_config(json.val.string.val, json.val.string.len);
			else
				for (id = NUM_SUPPORTED - 1; id >= 0; id--)
					if (name_is(supported[id].name, json.val.string.val,
								json.val.string.len))
						break;
			continue;
		}
		if (token != WJB_VALUE || id < 0)
			continue;

		def = &supported[id];
		if (stored)
		{
			values[id].is_set = is_stored_value(def, &json);
			values[id].json = json;
		}
		else if (json.type == jbvNull)
			values[id].is_set = false;
		else if (def->type == CONFIG_INTEGER)
			set_integer(def, &values[id], value_text(&json));
		else if (def->type == CONFIG_RATIO)
			set_ratio(def, &values[id], value_text(&json));
		else if (def->type == CONFIG_CHOICE)
			set_choice(def, &values[id], value_text(&json));
		else
			set_policy(def, &values[id], value_text(&json));
	}
}

static Jsonb *
store(ConfigValue *values)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < NUM_SUPPORTED; i++)
	{
		JsonbValue	name;

		if (!values[i].is_set)
			continue;
		name.type = jbvString;
		name.val.string.val = unconstify(char *, supported[i].name);
		name.val.string.len = strlen(supported[i].name);
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE, &values[i].json);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
eventlog_topic_config_empty(void)
{
	ConfigValue values[NUM_SUPPORTED] = {0};

	return store(values);
}

Jsonb *
eventlog_topic_config_apply(Jsonb *stored, Jsonb *changes)
{
	ConfigValue values[NUM_SUPPORTED] = {0};
	int64		min_lag;
	int64		max_lag;

	if (!JB_ROOT_IS_OBJECT(changes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic configs must be a JSON object"),
				 errhint("For example: '{\"retention.ms\": 3600000, \"compression.type\": \"zstd\"}'.")));

	load(stored, values, true);
	load(changes, values, false);

	min_lag = integer_of(values, MIN_COMPACTION_LAG_MS);
	max_lag = integer_of(values, MAX_COMPACTION_LAG_MS);
	if (min_lag > max_lag)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic config \"min.compaction.lag.ms\" must not be above \"max.compaction.lag.ms\""),
				 errdetail("They are " INT64_FORMAT " and " INT64_FORMAT ".",
						   min_lag, max_lag)));
	return store(values);
}

void
eventlog_topic_config_read(Jsonb *stored, EventlogTopicConfig *config)
{
	ConfigValue values[NUM_SUPPORTED] = {0};

	load(stored, values, true);

	config->max_message_bytes = integer_of(values, MAX_MESSAGE_BYTES);
	config->codec =
		string_is(values, COMPRESSION_TYPE, "lz4") ? EVENTLOG_CODEC_LZ4 :
		string_is(values, COMPRESSION_TYPE, "zstd") ? EVENTLOG_CODEC_ZSTD :
		EVENTLOG_CODEC_NONE;
	config->log_append_time = string_is(values, TIMESTAMP_TYPE, "LogAppendTime");
	config->timestamp_before_max_ms = integer_of(values, TIMESTAMP_BEFORE_MAX_MS);
	config->timestamp_after_max_ms = integer_of(values, TIMESTAMP_AFTER_MAX_MS);
	config->segment_ms = integer_of(values, SEGMENT_MS);
	config->retention_bytes = integer_of(values, RETENTION_BYTES);
	config->retention_ms = integer_of(values, RETENTION_MS);
	config->retention_by_age = !values[RETENTION_MS].is_set;
	config->expires = !string_is(values, CLEANUP_POLICY, "compact");
	config->compacted = string_is(values, CLEANUP_POLICY, "compact") ||
		string_is(values, CLEANUP_POLICY, "compact,delete");
	config->delete_retention_ms = integer_of(values, DELETE_RETENTION_MS);
	config->min_compaction_lag_ms = integer_of(values, MIN_COMPACTION_LAG_MS);
	config->max_compaction_lag_ms = integer_of(values, MAX_COMPACTION_LAG_MS);
	config->min_dirty_ratio = values[MIN_CLEANABLE_DIRTY_RATIO].is_set ?
		DatumGetFloat8(DirectFunctionCall1(numeric_float8,
										   NumericGetDatum(values[MIN_CLEANABLE_DIRTY_RATIO].json.val.numeric))) :
		0.5;

	/*
	 * Segments are what retention removes, so the file keeps to its limit as
	 * closely as segments are small against it.
	 */
	config->segment_bytes = integer_of(values, SEGMENT_BYTES);
	if (config->expires && config->retention_bytes >= 0)
		config->segment_bytes = Min(config->segment_bytes,
									Max(config->retention_bytes / RETENTION_SEGMENTS,
										supported[SEGMENT_BYTES].min));
}
