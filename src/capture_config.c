/*-------------------------------------------------------------------------
 *
 * capture_config.c
 *	  Reading the configuration of a capture.
 *
 * A configuration is a JSON object of property names and scalars; a scalar may
 * as well be a string, as in a connector.json.  The table of properties says
 * where most values go; those whose form is more than a word are read here.
 * Whatever is not known, does not fit its type or cannot be had together is an
 * error that names the property.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"

#include "capture_property.h"
#include "topic_config.h"
#include "topic_config.h"

/* A property that was given, as text. */
typedef struct Given
{
	char	   *name;			/* as written */
	char	   *key;			/* without transforms.<name>. */
	char	   *value;
} Given;

typedef struct Parser
{
	EventlogCaptureConfig *config;
	EventlogEncoderConfig *ec;
	int			ngiven;
	Given	   *given;
} Parser;

#define FLAT_CLASS		"io.debezium.transforms.ExtractNewRecordState"
#define OUTBOX_CLASS	"io.debezium.transforms.outbox.EventRouter"
#define ONE_TRANSFORM \
	"There can be one transform, of class " FLAT_CLASS " or " OUTBOX_CLASS "."
#define WHOLE_NUMBER	"a whole number from " INT64_FORMAT " to " INT64_FORMAT

static pg_noinline void
bad_value(const char *name, const char *value, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for property \"%s\" of a capture: \"%s\"", name, value),
			 errdetail("Expected is %s.", expected)));
}

static pg_noinline void
not_supported(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("property \"%s\" of a capture is not supported", name),
			 errdetail("%s", detail)));
}

/* --- the JSON object --- */

static char *
scalar_text(const char *name, JsonbValue *value)
{
	char	   *text = eventlog_config_scalar_text(value);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("property \"%s\" of a capture must be a string, a number or a boolean",
						name),
				 errhint("Lists are written as one string, with commas.")));
	return text;
}

/* Collect what is given; a null is as if it were not. */
static void
collect(Parser *parser, Jsonb *json)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	if (json == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(json) || JB_ROOT_IS_SCALAR(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the configuration of a capture must be a JSON object")));

	parser->given = palloc(sizeof(Given) * Max(JB_ROOT_COUNT(json), 1));
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type != jbvNull)
		{
			Given	   *given = &parser->given[parser->ngiven++];

			given->name = given->key = name;
			given->value = scalar_text(name, &value);
		}
	}
}

static Given *
find_given(Parser *parser, const char *key)
{
	for (int i = 0; i < parser->ngiven; i++)
	{
		if (strcmp(parser->given[i].key, key) == 0)
			return &parser->given[i];
	}
	return NULL;
}

static char *
given_value(Parser *parser, const char *key, char *otherwise)
{
	Given	   *given = find_given(parser, key);

	return given == NULL ? otherwise : given->value;
}

/* The value that is given, or else the default. */
static char *
value_of(Parser *parser, const char *key)
{
	const EventlogProperty *property = eventlog_property_find(key, parser->config->format);
	const char *value = eventlog_property_default(property, parser->config->compatible);

	return given_value(parser, key, unconstify(char *, value));
}

/* --- format and compatibility --- */

/*
 * "transforms" as in a connector.json: one transform, of a class that we have
 * a format for.  Its properties lose their prefix.
 */
static void
read_transforms(Parser *parser)
{
	Given	   *transforms = find_given(parser, "transforms");
	char	  **names;
	char	   *prefix;
	Given	   *type;

	if (transforms == NULL)
		return;
	if (eventlog_split_list(transforms->value, ',', &names) != 1)
		not_supported("transforms", ONE_TRANSFORM);
	prefix = psprintf("transforms.%s.", names[0]);
	type = find_given(parser, psprintf("%stype", prefix));
	if (type == NULL)
		bad_value("transforms", transforms->value,
				  "the name of a transform, whose class transforms.<name>.type says");
	if (strcmp(type->value, FLAT_CLASS) == 0)
		parser->config->format = EVENTLOG_FORMAT_FLAT;
	else if (strcmp(type->value, OUTBOX_CLASS) == 0)
		parser->config->format = EVENTLOG_FORMAT_OUTBOX;
	else
		not_supported(type->name, ONE_TRANSFORM);

	for (int i = 0; i < parser->ngiven; i++)
	{
		Given	   *given = &parser->given[i];

		if (given == type || strncmp(given->name, prefix, strlen(prefix)) != 0)
			continue;
		given->key = given->name + strlen(prefix);
		if (strcmp(given->key, "predicate") == 0 || strcmp(given->key, "negate") == 0)
			not_supported(given->name, "Java classes cannot be run here.");
		if (eventlog_property_find(given->key, parser->config->format) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown property \"%s\" of a capture", given->name)));
	}
}

static void
read_format(Parser *parser)
{
	char	   *format = given_value(parser, "format", NULL);
	char	   *compatibility = value_of(parser, "compatibility");

	if (format == NULL)
		read_transforms(parser);
	else if (find_given(parser, "transforms") != NULL)
		bad_value("transforms", given_value(parser, "transforms", ""),
				  "either this property or \"format\", not both");
	else if (strcmp(format, "debezium") == 0)
		parser->config->format = EVENTLOG_FORMAT_DEBEZIUM;
	else if (strcmp(format, "flat") == 0)
		parser->config->format = EVENTLOG_FORMAT_FLAT;
	else if (strcmp(format, "outbox") == 0)
		parser->config->format = EVENTLOG_FORMAT_OUTBOX;
	else
		bad_value("format", format, "one of debezium, flat, outbox");

	if (strcmp(compatibility, "debezium") == 0)
		parser->config->compatible = true;
	else if (strcmp(compatibility, "default") != 0)
		bad_value("compatibility", compatibility, "one of default, debezium");
	parser->config->values.compatible = parser->config->compatible;
}

/* Is all that is given known, and supported? */
static void
check_names(Parser *parser)
{
	for (int i = 0; i < parser->ngiven; i++)
	{
		Given	   *given = &parser->given[i];
		const EventlogProperty *property =
			eventlog_property_find(given->key, parser->config->format);
		bool		transform = strncmp(given->key, "transforms.", 11) == 0;

		if (property != NULL && property->kind == EVENTLOG_PROPERTY_REFUSED)
			not_supported(given->name, property->text);
		if (property == NULL && eventlog_property_find(given->key, -1) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("property \"%s\" of a capture belongs to another format", given->name),
					 errhint("See the property \"format\".")));
		if (property == NULL ||
			(transform && !(strlen(given->key) > 5 &&
							strcmp(given->key + strlen(given->key) - 5, ".type") == 0 &&
							find_given(parser, "transforms") != NULL)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown property \"%s\" of a capture", given->name)));
	}
}

/* --- values of the table's kinds --- */

static char *
list_words(const EventlogWord *words)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; words[i].word != NULL; i++)
		appendStringInfo(&buf, "%s%s", i == 0 ? "" : ", ", words[i].word);
	return words[1].word == NULL ? buf.data : psprintf("one of %s", buf.data);
}

static int
read_word(const char *name, const EventlogWord *words, const char *value)
{
	for (int i = 0; words[i].word != NULL; i++)
	{
		if (pg_strcasecmp(words[i].word, value) == 0)
			return words[i].value;
	}
	bad_value(name, value, list_words(words));
	return 0;					/* keep compiler quiet */
}

static bool
read_bool(const char *name, const char *value)
{
	if (pg_strcasecmp(value, "true") != 0 && pg_strcasecmp(value, "false") != 0)
		bad_value(name, value, "true or false");
	return pg_strcasecmp(value, "true") == 0;
}

static int64
read_int(const char *name, const char *value, int64 min, int64 max)
{
	char	   *end;
	int64		result;

	errno = 0;
	result = strtoi64(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || result < min || result > max)
		bad_value(name, value, psprintf(WHOLE_NUMBER, min, max));
	return result;
}

static void
read_property(Parser *parser, const EventlogProperty *property)
{
	Given	   *given = find_given(parser, property->name);
	const char *name = given == NULL ? property->name : given->name;
	const char *value = given != NULL ? given->value :
		eventlog_property_default(property, parser->config->compatible);
	char	   *field = (property->encoder ? (char *) parser->ec : (char *) parser->config) +
		property->offset;

	if (value == NULL || (property->format >= 0 &&
						  property->format != (int) parser->config->format))
		return;

	switch (property->kind)
	{
		case EVENTLOG_PROPERTY_BOOL:
			*(bool *) field = property->words == NULL ? read_bool(name, value) :
				read_word(name, property->words, value) != 0;
			break;
		case EVENTLOG_PROPERTY_INT:
			*(int32 *) field = (int32) read_int(name, value, property->min, property->max);
			break;
		case EVENTLOG_PROPERTY_LONG:
			*(int64 *) field = read_int(name, value, property->min, property->max);
			break;
		case EVENTLOG_PROPERTY_STRING:
			*(char **) field = pstrdup(value);
			break;
		case EVENTLOG_PROPERTY_WORD:
			*(int *) field = read_word(name, property->words, value);
			break;
		case EVENTLOG_PROPERTY_PATTERNS:
			eventlog_patterns_parse((EventlogPatterns *) field, name, value);
			break;
		case EVENTLOG_PROPERTY_IGNORED:
			if (property->words != NULL)
				(void) read_word(name, property->words, value);
			break;
		case EVENTLOG_PROPERTY_SPECIAL:
		case EVENTLOG_PROPERTY_REFUSED:
			break;
	}
}

/* --- values of forms of their own --- */

/* skipped.operations: codes, or none. */
static void
read_skipped(Parser *parser)
{
	EventlogCaptureConfig *config = parser->config;
	char	   *value = value_of(parser, "skipped.operations");
	char	  **codes;
	int			n = eventlog_split_list(value, ',', &codes);

	for (int i = 0; i < n; i++)
	{
		const char *code = codes[i];

		if (strcmp(code, "none") == 0 && n == 1)
			return;
		else if (strcmp(code, "c") == 0)
			config->skip_create = true;
		else if (strcmp(code, "u") == 0)
			config->skip_update = true;
		else if (strcmp(code, "d") == 0)
			config->skip_delete = true;
		else if (strcmp(code, "t") == 0)
			config->skip_truncate = true;
		else if (strcmp(code, "m") == 0)
			config->skip_messages = true;
		else
			bad_value("skipped.operations", value, "none, or some of c, u, d, t, m");
	}
}

/* topic.creation.default.X but for the partitions: X is a config of topics. */
static void
read_topic_config(Parser *parser)
{
	static const char prefix[] = "topic.creation.default.";
	StringInfoData buf;
	bool		compression = false;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	for (int i = 0; i < parser->ngiven; i++)
	{
		Given	   *given = &parser->given[i];
		const char *name = given->key + strlen(prefix);

		if (strncmp(given->key, prefix, strlen(prefix)) != 0 ||
			strcmp(name, "partitions") == 0 || strcmp(name, "replication.factor") == 0)
			continue;
		if (strcmp(name, "include") == 0 || strcmp(name, "exclude") == 0)
			not_supported(given->name, "All topics are made with the same configuration.");
		if (strcmp(name, "compression.type") == 0)
			compression = true;
		if (buf.len > 1)
			appendStringInfoString(&buf, ", ");
		escape_json(&buf, name);
		appendStringInfoString(&buf, ": ");
		escape_json(&buf, given->value);
	}
	if (!compression)
		appendStringInfo(&buf, "%s\"compression.type\": \"lz4\"", buf.len > 1 ? ", " : "");
	appendStringInfoChar(&buf, '}');
	parser->config->topic_config =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data)));

	/* raises if topics cannot have them */
	(void) eventlog_topic_config_apply(eventlog_topic_config_empty(),
									   parser->config->topic_config);
}

/* A list of tables, and for each a property with its statement. */
static void
read_overrides(Parser *parser)
{
	static const char property[] = "snapshot.select.statement.overrides";
	EventlogCaptureConfig *config = parser->config;
	char	   *list = given_value(parser, property, NULL);

	if (list != NULL)
		config->noverrides = eventlog_split_list(list, ',', &config->override_tables);
	config->override_statements = palloc(sizeof(char *) * Max(config->noverrides, 1));
	for (int i = 0; i < config->noverrides; i++)
	{
		Given	   *given = find_given(parser, psprintf("%s.%s", property,
														config->override_tables[i]));

		if (given == NULL)
			bad_value(property, list,
					  psprintf("a list of tables, each with a property \"%s.<table>\"", property));
		config->override_statements[i] = given->value;
	}
	for (int i = 0; i < parser->ngiven; i++)
	{
		const char *key = parser->given[i].key;
		bool		listed = strncmp(key, property, strlen(property)) != 0 ||
			key[strlen(property)] != '.';

		for (int j = 0; j < config->noverrides && !listed; j++)
			listed = strcmp(key + strlen(property) + 1, config->override_tables[j]) == 0;
		if (!listed)
			bad_value(key, parser->given[i].value,
					  psprintf("that \"%s\" lists the table", property));
	}
}

/* Of the masks for a column the first is taken, in Debezium's order of the kinds. */
static int
compare_masks(const void *a, const void *b)
{
	const EventlogMask *x = a;
	const EventlogMask *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (int) y->java_object - (int) x->java_object;
}

static void
read_masks(Parser *parser)
{
	parser->ec->masks = palloc0(sizeof(EventlogMask) * Max(parser->ngiven, 1));
	for (int i = 0; i < parser->ngiven; i++)
	{
		Given	   *given = &parser->given[i];
		EventlogMask *mask = &parser->ec->masks[parser->ec->nmasks];

		if (!eventlog_mask_parse(mask, given->key))
			continue;
		eventlog_patterns_parse(&mask->columns, given->name, given->value);
		parser->ec->nmasks++;
	}
	if (parser->ec->nmasks > 1)
		qsort(parser->ec->masks, parser->ec->nmasks, sizeof(EventlogMask), compare_masks);
}

/*
 * message.key.columns: table:column,column;table:column.  Each column with its
 * table before it is a regular expression.
 */
static void
read_key_columns(Parser *parser)
{
	static const char property[] = "message.key.columns";
	EventlogPatterns *keys = &parser->ec->key_columns;
	char	   *value = given_value(parser, property, NULL);
	char	  **rules;
	int			n;

	if (value == NULL)
		return;
	n = eventlog_split_list(value, ';', &rules);
	for (int i = 0; i < n; i++)
	{
		char	   *colon = strrchr(rules[i], ':');
		char	  **columns;
		int			ncolumns;

		if (colon == NULL || colon == rules[i])
			bad_value(property, value, "table:column,column;table:column");
		*colon = '\0';
		ncolumns = eventlog_split_list(colon + 1, ',', &columns);
		if (ncolumns == 0)
			bad_value(property, value, "table:column,column;table:column");
		keys->regexes = keys->n == 0 ? palloc(sizeof(text *) * ncolumns) :
			repalloc(keys->regexes, sizeof(text *) * (keys->n + ncolumns));
		for (int j = 0; j < ncolumns; j++)
			keys->regexes[keys->n++] =
				eventlog_pattern_make(property, psprintf("%s.%s", rules[i], columns[j]));
	}
}

/* add.headers, add.fields: op,table,source.lsn:alias */
static EventlogAddedField *
read_added_metadata(const char *property, char *value, const char *prefix, int *n)
{
	char	  **parts;
	EventlogAddedField *fields;

	*n = eventlog_split_list(value, ',', &parts);
	fields = palloc0(sizeof(EventlogAddedField) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		char	   *alias = strrchr(parts[i], ':');

		if (alias != NULL)
			*alias++ = '\0';
		fields[i].field = parts[i];
		fields[i].what = eventlog_flat_field(parts[i]);
		if (fields[i].what < 0)
			bad_value(property, value, "a list of fields of the envelope: op, ts_ms, ts_us, ts_ns, and those of source and transaction");
		if (alias == NULL)
		{
			/* source.lsn becomes source_lsn */
			alias = pstrdup(parts[i]);
			for (char *p = alias; *p; p++)
			{
				if (*p == '.')
					*p = '_';
			}
		}
		fields[i].alias = psprintf("%s%s", prefix, alias);
	}
	return fields;
}

/* table.fields.additional.placement: column:place[:alias],... */
static void
read_placement(Parser *parser)
{
	static const char property[] = "table.fields.additional.placement";
	char	   *value = value_of(parser, property);
	EventlogEncoderConfig *ec = parser->ec;
	char	  **parts;

	ec->noutbox_added = eventlog_split_list(value, ',', &parts);
	ec->outbox_added = palloc0(sizeof(EventlogAddedField) * Max(ec->noutbox_added, 1));
	for (int i = 0; i < ec->noutbox_added; i++)
	{
		EventlogAddedField *added = &ec->outbox_added[i];
		char	  **words;
		int			n = eventlog_split_list(parts[i], ':', &words);

		if (n < 2 || n > 3)
			bad_value(property, value, "column:header|envelope|partition[:alias],...");
		added->field = words[0];
		added->alias = n == 3 ? words[2] : words[0];
		if (strcmp(words[1], "header") == 0)
			added->place = EVENTLOG_PLACE_HEADER;
		else if (strcmp(words[1], "envelope") == 0)
			added->place = EVENTLOG_PLACE_ENVELOPE;
		else if (strcmp(words[1], "partition") == 0)
			added->place = EVENTLOG_PLACE_PARTITION;
		else
			bad_value(property, value, "column:header|envelope|partition[:alias],...");
	}
}

static void
read_format_properties(Parser *parser)
{
	EventlogEncoderConfig *ec = parser->ec;
	bool		compatible = parser->config->compatible;

	if (parser->config->format == EVENTLOG_FORMAT_FLAT)
	{
		/* Debezium adds nothing unless told; then deletes cannot be told from nulls */
		ec->flat_headers = read_added_metadata("add.headers",
											   value_of(parser, "add.headers"),
											   ec->flat_header_prefix, &ec->nflat_headers);
		ec->flat_fields = read_added_metadata("add.fields",
											  value_of(parser, "add.fields"),
											  ec->flat_field_prefix, &ec->nflat_fields);
	}
	if (parser->config->format == EVENTLOG_FORMAT_OUTBOX)
	{
		/* by default an event is what its producer wrote, not JSON around it */
		if (!compatible && find_given(parser, "key.converter") == NULL)
			ec->key_converter = EVENTLOG_CONVERTER_STRING;
		if (!compatible && find_given(parser, "value.converter") == NULL)
			ec->value_converter = EVENTLOG_CONVERTER_STRING;
		if (!compatible && find_given(parser, "header.converter") == NULL)
			ec->header_converter = EVENTLOG_CONVERTER_SIMPLE;

		eventlog_route_parse(&ec->outbox_router, "route.topic.regex",
							 value_of(parser, "route.topic.regex"), "route.topic.replacement",
							 ec->outbox_topic);
		read_placement(parser);
	}
}

/* --- what cannot be had together --- */

static void
exclude_each_other(Parser *parser, const char *one, const char *other)
{
	if (find_given(parser, one) != NULL && find_given(parser, other) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("properties \"%s\" and \"%s\" of a capture exclude each other",
						one, other)));
}

static void
read_channels(Parser *parser)
{
	static const char property[] = "notification.enabled.channels";
	char	   *value = given_value(parser, property, "");
	char	  **channels;
	int			n = eventlog_split_list(value, ',', &channels);

	for (int i = 0; i < n; i++)
	{
		if (strcmp(channels[i], "sink") != 0)
			not_supported(property, "The only channel of notifications is \"sink\", a topic.");
	}
	if (n > 0 && parser->config->notification_topic == NULL)
		bad_value(property, value, "that notification.sink.topic.name names the topic");
	if (n == 0)
		parser->config->notification_topic = NULL;
}

static void
check_topic_name(const char *property, const char *name)
{
	if (name != NULL && !eventlog_topic_name_is_legal(name))
		bad_value(property, name, "the name of a topic: 1 to 249 of [a-zA-Z0-9._-]");
}

static void
needs_json(const char *property)
{
	bad_value(property, "true", "false, unless the converter is JsonConverter");
}

/*
 * In Kafka Connect a JSON converter that a connector names for itself, and does
 * not say otherwise, has schemas.
 */
static void
read_schemas(Parser *parser, const char *converter, EventlogConverter kind, bool *schemas)
{
	if (parser->config->compatible && kind == EVENTLOG_CONVERTER_JSON &&
		find_given(parser, converter) != NULL &&
		find_given(parser, psprintf("%s.schemas.enable", converter)) == NULL)
		*schemas = true;
}

static void
check_together(Parser *parser)
{
	EventlogCaptureConfig *config = parser->config;
	EventlogEncoderConfig *ec = parser->ec;
	char	   *tolerance = given_value(parser, "errors.tolerance", NULL);

	exclude_each_other(parser, "schema.include.list", "schema.exclude.list");
	exclude_each_other(parser, "table.include.list", "table.exclude.list");
	exclude_each_other(parser, "column.include.list", "column.exclude.list");
	exclude_each_other(parser, "message.prefix.include.list", "message.prefix.exclude.list");

	if (tolerance != NULL && strcmp(tolerance, "none") != 0 && strcmp(tolerance, "all") != 0)
		bad_value("errors.tolerance", tolerance, "none or all");
	if (tolerance != NULL && strcmp(tolerance, "all") == 0 && config->dead_letter_topic == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("property \"errors.tolerance\" of a capture may be \"all\" only together with \"errors.deadletterqueue.topic.name\""),
				 errdetail("Rows are never left out silently.")));
	if (tolerance != NULL && strcmp(tolerance, "none") == 0 && config->dead_letter_topic != NULL)
		bad_value("errors.tolerance", tolerance, "all, with a dead-letter topic");

	check_topic_name("errors.deadletterqueue.topic.name", config->dead_letter_topic);
	check_topic_name("notification.sink.topic.name", config->notification_topic);

	if (config->format != EVENTLOG_FORMAT_OUTBOX &&
		(ec->key_converter != EVENTLOG_CONVERTER_JSON ||
		 ec->value_converter != EVENTLOG_CONVERTER_JSON))
		not_supported(ec->key_converter != EVENTLOG_CONVERTER_JSON ? "key.converter" :
					  "value.converter",
					  "The string converter is for format \"outbox\".");
	if (ec->key_schemas && ec->key_converter != EVENTLOG_CONVERTER_JSON)
		needs_json("key.converter.schemas.enable");
	if (ec->value_schemas && ec->value_converter != EVENTLOG_CONVERTER_JSON)
		needs_json("value.converter.schemas.enable");
	if (ec->header_schemas && ec->header_converter != EVENTLOG_CONVERTER_JSON)
		needs_json("header.converter.schemas.enable");
	if (ec->value_schemas && ec->outbox_expand)
		not_supported("table.expand.json.payload", "There are no schemas of expanded payloads.");
}

EventlogCaptureConfig *
eventlog_capture_config_parse(Jsonb *json)
{
	Parser		parser = {0};

	parser.config = palloc0(sizeof(EventlogCaptureConfig));
	parser.ec = palloc0(sizeof(EventlogEncoderConfig));
	parser.config->encoder = parser.ec;

	collect(&parser, json);
	read_format(&parser);
	check_names(&parser);
	for (int i = 0; i < eventlog_nproperties; i++)
		read_property(&parser, &eventlog_properties[i]);
	read_skipped(&parser);
	read_topic_config(&parser);
	read_overrides(&parser);
	read_masks(&parser);
	read_key_columns(&parser);
	read_channels(&parser);
	read_format_properties(&parser);
	read_schemas(&parser, "key.converter", parser.ec->key_converter, &parser.ec->key_schemas);
	read_schemas(&parser, "value.converter", parser.ec->value_converter,
				 &parser.ec->value_schemas);
	read_schemas(&parser, "header.converter", parser.ec->header_converter,
				 &parser.ec->header_schemas);
	check_together(&parser);
	return parser.config;
}

bool
eventlog_capture_config_has_table(const EventlogCaptureConfig *config,
								  const char *schema, const char *name)
{
	const EventlogEncoderConfig *ec = config->encoder;
	char	   *full_name = psprintf("%s.%s", schema, name);
	bool		result = true;

	if (config->signal_table != NULL && strcmp(config->signal_table, full_name) == 0)
		result = true;			/* signals have to be seen */
	else if ((ec->schema_include.n > 0 && !eventlog_patterns_match(&ec->schema_include, schema)) ||
			 eventlog_patterns_match(&ec->schema_exclude, schema) ||
			 (ec->table_include.n > 0 && !eventlog_patterns_match(&ec->table_include, full_name)) ||
			 eventlog_patterns_match(&ec->table_exclude, full_name))
		result = false;
	pfree(full_name);
	return result;
}

bool
eventlog_capture_config_in_snapshot(const EventlogCaptureConfig *config, const char *name)
{
	const EventlogPatterns *included = &config->encoder->snapshot_include;

	return included->n == 0 || eventlog_patterns_match(included, name);
}
