/*-------------------------------------------------------------------------
 *
 * capture_naming.c
 *	  Names of topics, fields and schemas, and lists of patterns for names.
 *
 * Patterns are the server's advanced regular expressions, anchored at both
 * ends and blind to case; what people write in Debezium's lists means the same
 * in them.  They are kept as text: the server caches the compiled ones, and
 * tables are matched once for each time that they become known, not for each
 * row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "regex/regex.h"
#include "utils/builtins.h"

#include "capture_naming.h"
#include "capture_value.h"

#define TOPIC_NAME_MAX	249

#define PATTERN_FLAGS	(REG_ADVANCED | REG_ICASE)

/* Tell which property a bad pattern is in. */
static void
pattern_error_context(void *arg)
{
	errcontext("property \"%s\" of the capture's configuration", (char *) arg);
}

/* The whole of a name has to match. */
static text *
make_regex(const char *property, const char *pattern, int flags)
{
	ErrorContextCallback callback;
	text	   *regex = cstring_to_text(psprintf("^(?:%s)$", pattern));

	callback.callback = pattern_error_context;
	callback.arg = unconstify(char *, property);
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	/* raises if it is none */
	(void) RE_compile_and_execute(regex, "", 0, flags, DEFAULT_COLLATION_OID, 0, NULL);

	error_context_stack = callback.previous;
	return regex;
}

text *
eventlog_pattern_make(const char *property, const char *pattern)
{
	return make_regex(property, pattern, PATTERN_FLAGS);
}

int
eventlog_split_list(const char *list, char separator, char ***parts)
{
	int			n = 0;
	const char *p = list;

	*parts = NULL;
	while (*p != '\0')
	{
		char	   *part = palloc(strlen(p) + 1);
		int			len = 0;

		while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
			p++;
		while (*p != '\0' && *p != separator)
		{
			if (p[0] == '\\' && p[1] == separator)
				p++;
			part[len++] = *p++;
		}
		if (*p == separator)
			p++;
		while (len > 0 && strchr(" \t\r\n", part[len - 1]) != NULL)
			len--;
		part[len] = '\0';
		if (len == 0)
			continue;
		*parts = *parts == NULL ? palloc(sizeof(char *)) :
			repalloc(*parts, (n + 1) * sizeof(char *));
		(*parts)[n++] = part;
	}
	return n;
}

void
eventlog_patterns_parse(EventlogPatterns *patterns, const char *property, const char *list)
{
	char	  **parts;

	patterns->n = eventlog_split_list(list, ',', &parts);
	patterns->regexes = palloc(Max(patterns->n, 1) * sizeof(text *));
	for (int i = 0; i < patterns->n; i++)
		patterns->regexes[i] = eventlog_pattern_make(property, parts[i]);
}

bool
eventlog_pattern_match(text *pattern, const char *name)
{
	return RE_compile_and_execute(pattern, unconstify(char *, name), strlen(name),
								  PATTERN_FLAGS, DEFAULT_COLLATION_OID, 0, NULL);
}

bool
eventlog_patterns_match(const EventlogPatterns *patterns, const char *name)
{
	for (int i = 0; i < patterns->n; i++)
	{
		if (eventlog_pattern_match(patterns->regexes[i], name))
			return true;
	}
	return false;
}

static inline bool
is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static inline bool
is_topic_char(char c)
{
	return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
}

bool
eventlog_topic_name_is_legal(const char *name)
{
	size_t		len = strlen(name);

	if (len == 0 || len > TOPIC_NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (const char *p = name; *p; p++)
	{
		if (!is_topic_char(*p))
			return false;
	}
	return true;
}

/* How many UTF-16 code units does the character take that begins here? */
static int
utf16_units(const char *p, int *bytes)
{
	*bytes = strnlen(p, pg_utf_mblen((const unsigned char *) p));
	return *bytes >= 4 ? 2 : 1;
}

void
eventlog_topic_name(char *out, size_t size, const char *name)
{
	size_t		len = 0;
	size_t		max = Min(size - 1, TOPIC_NAME_MAX);

	for (const char *p = name; *p != '\0' && len < max;)
	{
		int			bytes = 1;

		if (is_topic_char(*p))
			out[len++] = *p;
		else
		{
			for (int units = utf16_units(p, &bytes); units > 0 && len < max; units--)
				out[len++] = '_';
		}
		p += bytes;
	}
	out[len] = '\0';

	/* these two are not allowed, although their characters are */
	if (len <= 2 && strspn(out, ".") == len)
		memset(out, '_', len);
}

/* A code unit of UTF-16 as avro_unicode has it: not always four digits. */
static void
append_code_unit(StringInfo out, uint32 unit)
{
	appendStringInfo(out, unit < 0x100 ? "_u00%x" : "_u%x", unit);
}

/* Avro: a letter or "_", then these or digits, and dots between names. */
char *
eventlog_adjust_name(EventlogNameMode mode, const char *name, bool dots)
{
	StringInfoData out;
	bool		first = true;

	if (mode == EVENTLOG_NAME_NONE)
		return pstrdup(name);

	initStringInfo(&out);
	for (const char *p = name; *p != '\0'; first = false)
	{
		int			bytes = 1;
		int			units = utf16_units(p, &bytes);
		bool		digit = *p >= '0' && *p <= '9';

		if (mode == EVENTLOG_NAME_AVRO_UNICODE ?
			(is_alphanumeric(*p) && !(first && digit)) || (dots && *p == '.' && !first) :
			(is_alphanumeric(*p) && !(first && digit)) || *p == '_' || (dots && *p == '.' && !first))
			appendStringInfoChar(&out, *p);
		else if (mode == EVENTLOG_NAME_AVRO_UNICODE)
		{
			pg_wchar	c = utf8_to_unicode((const unsigned char *) p);

			if (units == 2)
			{
				append_code_unit(&out, 0xD800 + ((c - 0x10000) >> 10));
				append_code_unit(&out, 0xDC00 + (c & 0x3FF));
			}
			else
				append_code_unit(&out, c);
		}
		else
		{
			while (units-- > 0)
				appendStringInfoChar(&out, '_');
			if (first && digit)
				appendStringInfoChar(&out, *p);
		}
		p += bytes;
	}
	return out.data;
}

bool
eventlog_name_is_ascii(const char *name)
{
	while (*name != '\0' && !IS_HIGHBIT_SET(*name))
		name++;
	return *name == '\0';
}

char *
eventlog_name_as_latin1(const char *name)
{
	char	   *result;
	char	   *out;

	if (eventlog_name_is_ascii(name))
		return unconstify(char *, name);
	result = out = palloc(strlen(name) * 3 + 1);
	for (; *name != '\0'; name++)
	{
		if (!IS_HIGHBIT_SET(*name))
			*out++ = *name;
		else
		{
			unicode_to_utf8(0xFF00 | (unsigned char) *name, (unsigned char *) out);
			out += 3;
		}
	}
	*out = '\0';
	return result;
}

/* --- routes --- */

/*
 * Java names groups, as in (?<name>...); the server's expressions only number
 * them.  Copies the expression without the names, and notes these.
 */
static char *
take_group_names(EventlogRoute *route, const char *property, const char *regex)
{
	char	   *result = palloc(strlen(regex) + 1);
	char	   *out = result;
	bool		in_class = false;

	route->groups = palloc0(sizeof(char *) * EVENTLOG_ROUTE_GROUPS);
	for (const char *p = regex; *p != '\0'; p++)
	{
		*out++ = *p;
		if (*p == '\\' && p[1] != '\0')
			*out++ = *++p;
		else if (*p == '[' || *p == ']')
			in_class = *p == '[';
		else if (*p == '(' && !in_class)
		{
			bool		named = p[1] == '?' && p[2] == '<' && is_alphanumeric(p[3]);
			const char *end = named ? strchr(p, '>') : NULL;

			if (p[1] == '?' && end == NULL)
				continue;		/* no group that counts */
			if (route->ngroups == EVENTLOG_ROUTE_GROUPS)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("property \"%s\" of a capture has more than %d groups",
								property, EVENTLOG_ROUTE_GROUPS)));
			if (end != NULL)
			{
				route->groups[route->ngroups] = pnstrdup(p + 3, end - p - 3);
				p = end;
			}
			route->ngroups++;
		}
	}
	*out = '\0';
	return result;
}

/*
 * The group that a replacement refers to at p, which points at "$", and where
 * it goes on; -1 if there is no such group.
 */
static int
referred_group(const EventlogRoute *route, const char *p, const char **next)
{
	if (p[1] == '{')
	{
		const char *end = strchr(p, '}');

		*next = end == NULL ? p + strlen(p) : end + 1;
		for (int i = 0; end != NULL && i < route->ngroups; i++)
		{
			if (route->groups[i] != NULL && strncmp(route->groups[i], p + 2, end - p - 2) == 0 &&
				route->groups[i][end - p - 2] == '\0')
				return i + 1;
		}
		return -1;
	}
	*next = p + 2;
	if (p[1] < '0' || p[1] > '9' || p[1] - '0' > route->ngroups)
		return -1;
	return p[1] - '0';
}

void
eventlog_route_parse(EventlogRoute *route, const char *regex_property, const char *regex,
					 const char *replacement_property, const char *replacement)
{
	route->regex = make_regex(regex_property, take_group_names(route, regex_property, regex),
							  REG_ADVANCED);
	if (strcmp(regex, "(?<routedByValue>.*)") == 0)
		route->regex = NULL;
	route->replacement = pstrdup(replacement);
	for (const char *p = replacement; *p != '\0';)
	{
		if (*p == '\\' && p[1] != '\0')
			p += 2;
		else if (*p != '$')
			p++;
		else if (referred_group(route, p, &p) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("property \"%s\" of a capture refers to a group that \"%s\" does not have",
							replacement_property, regex_property)));
	}
}

/* The byte at which a character stands. */
static int32
byte_of_character(const char *value, int32 len, pg_regoff_t character)
{
	int32		at = 0;

	while (at < len && character-- > 0)
		at += pg_mblen(value + at);
	return Min(at, len);
}

void
eventlog_route_apply(EventlogBuf *out, const EventlogRoute *route, const char *value, int32 len)
{
	pg_regmatch_t matches[EVENTLOG_ROUTE_GROUPS + 1];

	if (route->regex == NULL)
	{
		matches[0].rm_so = matches[1].rm_so = 0;
		matches[0].rm_eo = matches[1].rm_eo = pg_mbstrlen_with_len(value, len);
	}
	else if (!RE_compile_and_execute(route->regex, unconstify(char *, value), len, REG_ADVANCED,
									 DEFAULT_COLLATION_OID, route->ngroups + 1, matches))
	{
		eventlog_json_raw(out, value, len);
		return;
	}

	for (const char *p = route->replacement; *p != '\0';)
	{
		int			group;
		int32		from;

		if (*p != '$')
		{
			p += *p == '\\' && p[1] != '\0';
			eventlog_json_raw(out, p++, 1);
			continue;
		}
		group = referred_group(route, p, &p);
		if (group < 0 || matches[group].rm_so < 0)
			continue;
		from = byte_of_character(value, len, matches[group].rm_so);
		eventlog_json_raw(out, value + from,
						  byte_of_character(value, len, matches[group].rm_eo) - from);
	}
}
