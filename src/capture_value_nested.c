/*-------------------------------------------------------------------------
 *
 * capture_value_nested.c
 *	  Values made of values as JSON: arrays, composites and hstore.
 *
 * The text of each has its own rules of quoting.  What is inside is handed to
 * the plan of the element's type, as the text that its type printed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "capture_value_plan.h"

typedef struct Cursor
{
	const char *at;
	const char *end;
	const EventlogValuePlan *plan;
	EventlogBuf scratch;		/* text with its quoting undone */
} Cursor;

static char
peek(const Cursor *c)
{
	return c->at < c->end ? *c->at : '\0';
}

static void
expect(Cursor *c, char what)
{
	if (c->at == c->end || *c->at != what)
		eventlog_value_malformed(c->plan);
	c->at++;
}

/*
 * What is inside double quotes, of which the first is next; a backslash, or
 * with doubled also a quote, stands before a character that is meant as such.
 */
static void
take_quoted(Cursor *c, bool doubled, const char **text, int32 *len)
{
	const char *start = ++c->at;

	while (c->at < c->end && *c->at != '"' && *c->at != '\\')
		c->at++;
	if (c->at < c->end && *c->at == '"' && !(doubled && c->at + 1 < c->end && c->at[1] == '"'))
	{
		/* nothing to undo */
		*text = start;
		*len = c->at++ - start;
		return;
	}
	c->scratch.len = 0;
	eventlog_json_raw(&c->scratch, start, c->at - start);
	for (;;)
	{
		if (c->at == c->end)
			eventlog_value_malformed(c->plan);
		if (*c->at == '"')
		{
			if (!(doubled && c->at + 1 < c->end && c->at[1] == '"'))
				break;
			c->at++;
		}
		else if (*c->at == '\\' && ++c->at == c->end)
			eventlog_value_malformed(c->plan);
		eventlog_json_raw(&c->scratch, c->at++, 1);
	}
	c->at++;
	*text = c->scratch.data;
	*len = (int32) c->scratch.len;
}

/* --- arrays --- */

/* Skip an inner array, braces included. */
static void
skip_inner(Cursor *c)
{
	int			depth = 0;

	do
	{
		const char *text;
		int32		len;

		if (c->at == c->end)
			eventlog_value_malformed(c->plan);
		if (*c->at == '"')
		{
			take_quoted(c, false, &text, &len);
			continue;
		}
		if (*c->at == '{')
			depth++;
		else if (*c->at == '}')
			depth--;
		c->at++;
	} while (depth > 0);
}

static void
write_element(EventlogBuf *out, Cursor *c, char delimiter)
{
	const EventlogValuePlan *element = c->plan->element;
	const char *text;
	int32		len;

	if (peek(c) == '"')
	{
		take_quoted(c, false, &text, &len);
		element->write(out, element, text, len);
		return;
	}
	text = c->at;
	while (c->at < c->end && *c->at != delimiter && *c->at != '}')
		c->at++;
	len = c->at - text;
	if (len == 4 && memcmp(text, "NULL", 4) == 0)
		eventlog_json_literal(out, "null");
	else
		element->write(out, element, text, len);
}

static void
write_dimension(EventlogBuf *out, Cursor *c, char delimiter)
{
	bool		first = true;

	check_stack_depth();
	expect(c, '{');
	eventlog_json_literal(out, "[");
	while (peek(c) != '}')
	{
		if (!first)
		{
			expect(c, delimiter);
			eventlog_json_literal(out, ",");
		}
		first = false;
		if (peek(c) != '{')
			write_element(out, c, delimiter);
		else if (c->plan->modes->compatible)
		{
			/* Debezium cannot read these */
			skip_inner(c);
			eventlog_json_literal(out, "null");
		}
		else
			write_dimension(out, c, delimiter);
	}
	c->at++;
	eventlog_json_literal(out, "]");
}

void
eventlog_value_write_array(EventlogBuf *out, const EventlogValuePlan *plan,
						   const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};

	/* bounds other than 1, which JSON has no place for: "[0:2]=" */
	if (peek(&c) == '[')
	{
		while (c.at < c.end && *c.at != '=')
			c.at++;
		expect(&c, '=');
	}
	write_dimension(out, &c, plan->type->element->delimiter);
	if (c.at != c.end)
		eventlog_value_malformed(plan);
	if (c.scratch.data != NULL)
		eventlog_buf_free(&c.scratch);
}

/* --- composites --- */

/* An object of the fields; "(a,,"b c")", nothing being null. */
void
eventlog_value_write_composite(EventlogBuf *out, const EventlogValuePlan *plan,
							   const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};

	check_stack_depth();
	expect(&c, '(');
	eventlog_json_literal(out, "{");
	for (int i = 0; i < plan->nfields; i++)
	{
		const EventlogValuePlan *field = plan->fields[i];

		if (i > 0)
		{
			expect(&c, ',');
			eventlog_json_literal(out, ",");
		}
		eventlog_json_raw(out, plan->field_names[i].data, plan->field_names[i].len);
		if (peek(&c) == ',' || peek(&c) == ')')
			eventlog_json_literal(out, "null");
		else if (peek(&c) == '"')
		{
			take_quoted(&c, true, &text, &len);
			field->write(out, field, text, len);
		}
		else
		{
			text = c.at;
			while (c.at < c.end && *c.at != ',' && *c.at != ')')
				c.at++;
			field->write(out, field, text, c.at - text);
		}
	}
	expect(&c, ')');
	eventlog_json_literal(out, "}");
	if (c.scratch.data != NULL)
		eventlog_buf_free(&c.scratch);
}

/* --- hstore --- */

typedef struct Pair
{
	EventlogBuf key;
	EventlogBuf value;
	bool		is_null;
	uint32		hash;			/* as a key of Java's HashMap */
	int			position;
} Pair;

typedef struct Pairs
{
	Pair	   *pairs;
	int			n;
	int			room;
} Pairs;

/* Java's String.hashCode of UTF-8, spread as HashMap does. */
static uint32
java_hash(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *) text;
	const unsigned char *end = p + len;
	uint32		hash = 0;

	while (p < end)
	{
		ptrdiff_t	left = end - p;

		if (*p < 0x80 || left < 2)
			hash = hash * 31 + *p++;
		else if (*p < 0xE0 || left < 3)
		{
			hash = hash * 31 + ((p[0] & 0x1F) << 6 | (p[1] & 0x3F));
			p += 2;
		}
		else if (*p < 0xF0 || left < 4)
		{
			hash = hash * 31 + ((p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F));
			p += 3;
		}
		else
		{
			uint32		c = ((p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 |
							 (p[2] & 0x3F) << 6 | (p[3] & 0x3F)) - 0x10000;

			hash = hash * 31 + (0xD800 + (c >> 10));
			hash = hash * 31 + (0xDC00 + (c & 0x3FF));
			p += 4;
		}
	}
	return hash ^ (hash >> 16);
}

static int
compare_pairs(const void *a, const void *b, void *arg)
{
	uint32		mask = *(uint32 *) arg;
	const Pair *x = a;
	const Pair *y = b;
	uint32		xb = x->hash & mask;
	uint32		yb = y->hash & mask;

	if (xb != yb)
		return xb < yb ? -1 : 1;
	return x->position - y->position;
}

/* Bring the pairs into the order in which Java's HashMap lists them. */
static void
sort_as_java(Pairs *list)
{
	uint32		buckets = 16;

	while ((uint64) list->n * 4 > (uint64) buckets * 3)
		buckets *= 2;
	buckets--;
	qsort_arg(list->pairs, list->n, sizeof(Pair), compare_pairs, &buckets);
}

static void
keep_text(EventlogBuf *to, const char *text, int32 len)
{
	eventlog_json_raw(to, text, len);
}

/* "key"=>"value", "key"=>NULL */
static Pairs
take_pairs(Cursor *c)
{
	Pairs		list = {NULL, 0, 0};

	while (c->at < c->end)
	{
		Pair	   *pair;
		const char *text;
		int32		len;

		if (list.n == list.room)
		{
			list.room = list.room ? list.room * 2 : 16;
			list.pairs = list.pairs ?
				repalloc_huge(list.pairs, list.room * sizeof(Pair)) :
				palloc(list.room * sizeof(Pair));
		}
		pair = &list.pairs[list.n];
		memset(pair, 0, sizeof(Pair));
		pair->position = list.n++;
		if (peek(c) != '"')
			eventlog_value_malformed(c->plan);
		take_quoted(c, false, &text, &len);
		keep_text(&pair->key, text, len);
		pair->hash = java_hash(text, len);
		expect(c, '=');
		expect(c, '>');
		if (peek(c) == '"')
		{
			take_quoted(c, false, &text, &len);
			keep_text(&pair->value, text, len);
		}
		else if (c->end - c->at >= 4 && memcmp(c->at, "NULL", 4) == 0)
		{
			pair->is_null = true;
			c->at += 4;
		}
		else
			eventlog_value_malformed(c->plan);
		if (c->at < c->end)
		{
			expect(c, ',');
			expect(c, ' ');
		}
	}
	return list;
}

/* An hstore as a JSON object. */
static void
write_hstore_map(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	Cursor		c = {text, text + len, plan};
	Pairs		list = take_pairs(&c);

	if (plan->modes->compatible)
		sort_as_java(&list);
	eventlog_json_literal(out, "{");
	for (int i = 0; i < list.n; i++)
	{
		Pair	   *pair = &list.pairs[i];

		if (i > 0)
			eventlog_json_literal(out, ",");
		eventlog_json_string(out, pair->key.data, pair->key.len);
		eventlog_json_literal(out, ":");
		if (pair->is_null)
			eventlog_json_literal(out, "null");
		else
			eventlog_json_string(out, pair->value.data, pair->value.len);
		eventlog_buf_free(&pair->key);
		eventlog_buf_free(&pair->value);
	}
	eventlog_json_literal(out, "}");
	if (list.pairs != NULL)
		pfree(list.pairs);
	if (c.scratch.data != NULL)
		eventlog_buf_free(&c.scratch);
}

/* The same as a JSON string that holds the object. */
static void
write_hstore_json(EventlogBuf *out, const EventlogValuePlan *plan, const char *text, int32 len)
{
	EventlogBuf map = {0};

	write_hstore_map(&map, plan, text, len);
	eventlog_json_string(out, map.data, map.len);
	eventlog_buf_free(&map);
}

void
eventlog_value_plan_hstore(EventlogValuePlan *plan)
{
	if (plan->modes->hstore == EVENTLOG_HSTORE_MAP)
	{
		plan->connect = EVENTLOG_CONNECT_MAP;
		plan->write = write_hstore_map;
	}
	else
	{
		plan->connect = EVENTLOG_CONNECT_STRING;
		plan->semantic = "io.debezium.data.Json";
		plan->write = write_hstore_json;
	}
}
