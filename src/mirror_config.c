/*-------------------------------------------------------------------------
 *
 * mirror_config.c
 *	  Reading the configuration of a mirror.
 *
 * A configuration is a JSON object of names and scalars; a scalar may as well
 * be a string, as in Kafka's own files.  Names are those of Kafka, Kafka
 * Connect and librdkafka where these have one.  The table of keys says where
 * most values go.  Whatever is not known or does not fit is an error that
 * names the key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "mirror.h"
#include "mirror_config.h"
#include "mirror_option_table.h"
#include "topic.h"
#include "topic_config.h"
#include "topic_ddl.h"
#include "topic_config.h"

PG_FUNCTION_INFO_V1(eventlog_mirror_config_keys);

#define TOPIC_CONFIG_PREFIX		"topic.creation.default."

typedef enum KeyKind
{
	KEY_BOOL,
	KEY_INT,
	KEY_STRING,
	KEY_WORD,					/* "second" of the two words is true */
	KEY_SPECIAL					/* read by a function of its own */
} KeyKind;

typedef enum KeyDirection
{
	KEY_BOTH,
	KEY_OUT,
	KEY_IN
} KeyDirection;

typedef struct Key
{
	const char *name;
	KeyKind		kind;
	KeyDirection direction;
	size_t		offset;
	const char *value;			/* default, NULL: none */
	const char *first;
	const char *second;
	int64		min;
	int64		max;
	const char *expected;		/* of KEY_STRING and KEY_SPECIAL */
	const char *description;
} Key;

#define FIELD(f)	offsetof(EventlogMirrorConfig, f)
#define BOOL(name, direction, field, value, description) \
	{name, KEY_BOOL, direction, FIELD(field), value, NULL, NULL, 0, 0, NULL, description}
#define WORD(name, direction, field, first, second, description) \
	{name, KEY_WORD, direction, FIELD(field), first, first, second, 0, 0, NULL, description}
#define INT(name, direction, field, value, min, max, description) \
	{name, KEY_INT, direction, FIELD(field), value, NULL, NULL, min, max, NULL, description}
#define STRING(name, direction, field, value, expected, description) \
	{name, KEY_STRING, direction, FIELD(field), value, NULL, NULL, 0, 0, expected, description}
#define SPECIAL(name, direction, value, expected, description) \
	{name, KEY_SPECIAL, direction, 0, value, NULL, NULL, 0, 0, expected, description}

static const Key keys[] = {
	SPECIAL("start", KEY_BOTH, "earliest",
			"earliest, latest, a timestamp, or an object of partitions and offsets",
			"where a partition of the source begins that the mirror has no position for"),
	WORD("repartition", KEY_BOTH, repartition, "refuse", "by_key",
		 "what to do where partition counts differ: stop, or choose each record's partition by its key"),
	WORD("delivery", KEY_OUT, at_least_once, "exactly_once", "at_least_once",
		 "at_least_once: without Kafka's transactions, for brokers that lack them"),
	STRING("errors.deadletterqueue.topic.name", KEY_BOTH, dead_letter_topic, NULL,
		   "the name of a topic of the target's side",
		   "where records go that the target refuses; without it, such a record stops the mirror"),
	BOOL("create.topic", KEY_BOTH, create_topic, "false",
		 "make the target's topic if it is missing, with the source's partitions and configs"),
	INT(TOPIC_CONFIG_PREFIX "partitions", KEY_BOTH, topic_partitions, NULL, 1, 10000,
		"partitions of topics that are made; without it, as many as the source has"),
	INT(TOPIC_CONFIG_PREFIX "replication.factor", KEY_OUT, replication_factor, "-1", -1, 100,
		"replicas of topics that are made; -1: the broker's default"),
	SPECIAL(TOPIC_CONFIG_PREFIX "*", KEY_BOTH, NULL, "the value of a topic config",
			"topic configs of topics that are made, such as cleanup.policy"),
	STRING("topic.schema", KEY_IN, topic_schema, "topics", "the name of a schema",
		   "where the tables of topics that are made are"),
	STRING("topic.key.type", KEY_IN, key_type, "bytea", "bytea, text, json or jsonb",
		   "type of keys of topics that are made"),
	STRING("topic.value.type", KEY_IN, value_type, "bytea", "bytea, text, json or jsonb",
		   "type of values of topics that are made"),
	INT("transaction.max.records", KEY_BOTH, transaction_records, "100000", 1, 10000000,
		"a transaction takes no more records than this"),
	INT("transaction.max.bytes", KEY_BOTH, transaction_bytes, "33554432", 1, 1073741824,
		"nor more bytes of keys, values and headers"),
	INT("transaction.max.ms", KEY_BOTH, transaction_ms, "1000", 1, 600000,
		"nor is it kept open for longer, while there is more to do"),
	STRING("topics.exclude", KEY_BOTH, exclude, NULL, "a regular expression",
		   "of patterns: topics of the source that do not count"),
	INT("topics.refresh.interval.ms", KEY_BOTH, refresh_ms, "60000", 1000, 86400000,
		"of patterns: how often new topics are looked for"),
	INT("offset.sync.interval.ms", KEY_BOTH, sync_ms, "60000", 100, 86400000,
		"how often pairs of offsets are kept for mirror_offsets()"),
	INT("offset.keepalive.interval.ms", KEY_OUT, idle_commit_ms, "86400000", 0, 604800000,
		"an idle mirror commits its offsets again after this time, so that Kafka does not forget them; 0: never"),
	INT("statistics.interval.ms", KEY_BOTH, stats_ms, "10000", 0, 86400000,
		"how often librdkafka's statistics are taken; 0: never"),
};

typedef struct Parser
{
	EventlogMirrorConfig *config;
	bool		out;
	StringInfoData topic_config;	/* JSON object, without its end */
	const char *given[lengthof(keys)];	/* NULL: not given */
} Parser;

static pg_noinline void
bad_value(const char *name, const char *value, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for key \"%s\" of a mirror's configuration: \"%s\"",
					name, eventlog_mirror_clip_name(value)),
			 errdetail("Expected is %s.", expected)));
}

static const Key *
find_key(const char *name)
{
	for (int i = 0; i < lengthof(keys); i++)
	{
		const Key  *key = &keys[i];
		size_t		len = strlen(key->name);

		if (key->name[len - 1] == '*' ? strncmp(key->name, name, len - 1) == 0 && name[len - 1] != '\0' :
			strcmp(key->name, name) == 0)
			return key;
	}
	return NULL;
}

static char *
describe_values(const Key *key)
{
	switch (key->kind)
	{
		case KEY_BOOL:
			return pstrdup("true or false");
		case KEY_WORD:
			return psprintf("%s or %s", key->first, key->second);
		case KEY_INT:
			return psprintf("a whole number from " INT64_FORMAT " to " INT64_FORMAT,
							key->min, key->max);
		case KEY_STRING:
		case KEY_SPECIAL:
			break;
	}
	return pstrdup(key->expected);
}

/* ---- values of forms of their own ---- */

static int64
read_number(const char *name, const char *value, int64 min, int64 max, const char *expected)
{
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoi64(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || number < min || number > max)
		bad_value(name, value, expected);
	return number;
}

/* {"0": 100, "1": 200} */
static void
read_start_offsets(EventlogMirrorStart *start, Jsonb *object, const char *expected)
{
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int			count = JB_ROOT_COUNT(object);
	int			n = 0;

	start->kind = EVENTLOG_START_OFFSETS;
	start->partitions = palloc(sizeof(int32) * Max(count, 1));
	start->offsets = palloc(sizeof(int64) * Max(count, 1));
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			start->partitions[n] = (int32)
				read_number("start", pnstrdup(value.val.string.val, value.val.string.len),
							0, PG_INT32_MAX, expected);
		else if (token == WJB_VALUE)
		{
			if (value.type != jbvNumeric)
				bad_value("start", "an object", expected);
			start->offsets[n++] =
				read_number("start", DatumGetCString(DirectFunctionCall1(numeric_out,
																		 NumericGetDatum(value.val.numeric))),
							0, PG_INT64_MAX, expected);
		}
	}
	start->noffsets = n;
}

/* An error says that it is no timestamp; add of what. */
static void
start_context(void *arg)
{
	errcontext("where a mirror is to start, which is earliest, latest, a timestamp, or an object of partitions and offsets");
}

static void
read_start(EventlogMirrorStart *start, const char *value)
{
	TimestampTz time;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = start_context};

	if (pg_strcasecmp(value, "earliest") == 0)
		start->kind = EVENTLOG_START_EARLIEST;
	else if (pg_strcasecmp(value, "latest") == 0)
		start->kind = EVENTLOG_START_LATEST;
	else
	{
		error_context_stack = &context;
		time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(value),
													   ObjectIdGetDatum(InvalidOid),
													   Int32GetDatum(-1)));
		error_context_stack = context.previous;
		if (TIMESTAMP_NOT_FINITE(time))
			bad_value("start", value, "a finite timestamp");
		start->kind = EVENTLOG_START_TIME;
		start->time_ms = time / 1000 +
			(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000;
	}
}

void
eventlog_mirror_start_parse(const char *text, EventlogMirrorStart *start)
{
	memset(start, 0, sizeof(*start));
	if (text[0] == '{')
		read_start_offsets(start, DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																	 CStringGetDatum(text))),
						   "an object of partitions and offsets");
	else
		read_start(start, text);
}

static void
check_regex(const char *pattern)
{
	/* raises for one that cannot be compiled */
	(void) DirectFunctionCall2Coll(textregexeq, C_COLLATION_OID, CStringGetTextDatum(""),
								   CStringGetTextDatum(pattern));
}

static void
check_type(const char *name, const char *type)
{
	static const char *const types[] = {"bytea", "text", "json", "jsonb"};

	for (int i = 0; i < lengthof(types); i++)
	{
		if (strcmp(types[i], type) == 0)
			return;
	}
	bad_value(name, type, "bytea, text, json or jsonb");
}

/* ---- the JSON object ---- */

static char *
scalar_text(const char *name, JsonbValue *value)
{
	char	   *text = eventlog_config_scalar_text(value);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" of a mirror's configuration must be a string, a number or a boolean",
						name)));
	return text;
}

static void
add_option(EventlogMirrorConfig *config, const char *name, const char *value)
{
	EventlogMirrorOption *option = &config->options[config->noptions++];

	eventlog_mirror_option_check(name, value, EVENTLOG_OPTION_MIRROR, InvalidOid);
	option->name = name;
	option->value = value;
}

static void
add_topic_config(Parser *parser, const char *name, const char *value)
{
	StringInfo	buf = &parser->topic_config;

	appendStringInfoString(buf, buf->len > 1 ? ", " : "");
	escape_json(buf, name + strlen(TOPIC_CONFIG_PREFIX));
	appendStringInfoString(buf, ": ");
	escape_json(buf, value);
}

static void
take(Parser *parser, const char *name, JsonbValue *value)
{
	const Key  *key = find_key(name);

	if (key == NULL)
	{
		if (eventlog_option_rule(name) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown key \"%s\" of a mirror's configuration", eventlog_mirror_clip_name(name)),
					 errhint("eventlog.mirror_config_keys() lists those that there are.")));
		add_option(parser->config, name, scalar_text(name, value));
		return;
	}
	if (key->direction != KEY_BOTH && (key->direction == KEY_OUT) != parser->out)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" means nothing to a mirror of direction \"%s\"", name,
						parser->out ? "out" : "in")));
	if (strcmp(key->name, "start") == 0 && value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data))
		read_start_offsets(&parser->config->start, JsonbValueToJsonb(value), key->expected);
	else if (strcmp(key->name, "start") == 0)
		read_start(&parser->config->start, scalar_text(name, value));
	else if (key->kind == KEY_SPECIAL)
		add_topic_config(parser, name, scalar_text(name, value));
	else
		parser->given[key - keys] = scalar_text(name, value);
}

static void
read_key(Parser *parser, int number)
{
	const Key  *key = &keys[number];
	const char *value = parser->given[number];
	char	   *field = (char *) parser->config + key->offset;

	if (value == NULL)
		value = key->value;
	if (value == NULL)
		return;
	switch (key->kind)
	{
		case KEY_BOOL:
			if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
				bad_value(key->name, value, describe_values(key));
			*(bool *) field = value[0] == 't';
			break;
		case KEY_WORD:
			if (pg_strcasecmp(value, key->first) != 0 && pg_strcasecmp(value, key->second) != 0)
				bad_value(key->name, value, describe_values(key));
			*(bool *) field = pg_strcasecmp(value, key->second) == 0;
			break;
		case KEY_INT:
			*(int32 *) field = (int32) read_number(key->name, value, key->min, key->max,
												   describe_values(key));
			break;
		case KEY_STRING:
			*(char **) field = pstrdup(value);
			break;
		case KEY_SPECIAL:
			break;
	}
}

/* What topics here would be refused for is refused now. */
static void
finish(Parser *parser)
{
	EventlogMirrorConfig *config = parser->config;

	appendStringInfoChar(&parser->topic_config, '}');
	config->topic_config = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															  CStringGetDatum(parser->topic_config.data)));
	if (!parser->out)
		(void) eventlog_topic_config_apply(eventlog_topic_config_empty(), config->topic_config);
	if (config->dead_letter_topic != NULL)
		eventlog_topic_check_name(config->dead_letter_topic);
	if (config->exclude != NULL)
		check_regex(config->exclude);
	check_type("topic.key.type", config->key_type != NULL ? config->key_type : "bytea");
	check_type("topic.value.type", config->value_type != NULL ? config->value_type : "bytea");
	if (config->replication_factor == 0)
		bad_value(TOPIC_CONFIG_PREFIX "replication.factor", "0", "-1, or a number from 1 to 100");
}

EventlogMirrorConfig *
eventlog_mirror_config_parse(Jsonb *json, bool out)
{
	Parser		parser = {.out = out};
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(json) || JB_ROOT_IS_SCALAR(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the configuration of a mirror must be a JSON object")));
	parser.config = palloc0(sizeof(EventlogMirrorConfig));
	parser.config->options = palloc(sizeof(EventlogMirrorOption) * Max(JB_ROOT_COUNT(json), 1));
	initStringInfo(&parser.topic_config);
	appendStringInfoChar(&parser.topic_config, '{');

	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type != jbvNull)
			take(&parser, name, &value);
	}
	for (int i = 0; i < lengthof(keys); i++)
		read_key(&parser, i);
	finish(&parser);
	return parser.config;
}

/* ---- listing ---- */

/* mirror_config_keys() */
Datum
eventlog_mirror_config_keys(PG_FUNCTION_ARGS)
{
	static const char *const directions[] = {NULL, "out", "in"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(keys); i++)
	{
		const Key  *key = &keys[i];
		Datum		values[5] = {0};
		bool		nulls[5] = {0};

		values[0] = CStringGetTextDatum(key->name);
		nulls[1] = directions[key->direction] == NULL;
		if (!nulls[1])
			values[1] = CStringGetTextDatum(directions[key->direction]);
		nulls[2] = key->value == NULL;
		if (!nulls[2])
			values[2] = CStringGetTextDatum(key->value);
		values[3] = CStringGetTextDatum(describe_values(key));
		values[4] = CStringGetTextDatum(key->description);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
