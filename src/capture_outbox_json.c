/*-------------------------------------------------------------------------
 *
 * capture_outbox_json.c
 *	  table.expand.json.payload: an outbox' payload as JSON of its own.
 *
 * In default mode the payload's JSON is the value, as it is.  Debezium makes a
 * Connect structure of it, which not all JSON fits: fields that are null or
 * empty arrays are dropped, objects of an array all get the fields of each,
 * numbers are ints, longs or doubles, and an array of different types makes
 * the whole payload stay a string.  Here the shape of a payload is worked out
 * by the same rules, and the payload then written in that shape.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "capture_event.h"
#include "capture_value_plan.h"

/* Deeper is no structure. */
#define MAX_DEPTH	1000

typedef enum NodeKind
{
	NODE_NULL,
	NODE_BOOL,
	NODE_NUMBER,
	NODE_STRING,
	NODE_ARRAY,
	NODE_OBJECT
} NodeKind;

typedef struct JsonNode
{
	NodeKind	kind;
	EventlogText text;			/* of a scalar: its JSON */
	int			n;
	EventlogText *names;		/* of an object: JSON strings */
	struct JsonNode **members;
} JsonNode;

typedef enum ShapeKind
{
	SHAPE_NULL,					/* Debezium's optional bytes */
	SHAPE_BOOL,
	SHAPE_STRING,
	SHAPE_INT,
	SHAPE_LONG,
	SHAPE_DOUBLE,
	SHAPE_ARRAY,
	SHAPE_OBJECT
} ShapeKind;

typedef struct Shape
{
	ShapeKind	kind;
	struct Shape *element;
	int			n;
	EventlogText *names;
	struct Shape **members;
} Shape;

typedef struct Reader
{
	const char *p;
	const char *end;
	bool		bad;			/* no JSON, or none that has a shape */
	bool		keep_nulls;
	int			depth;
} Reader;

/* --- JSON to nodes --- */

static JsonNode *read_node(Reader *reader);

static void
skip_blanks(Reader *reader)
{
	while (reader->p < reader->end && strchr(" \t\r\n", *reader->p) != NULL)
		reader->p++;
}

static bool
take(Reader *reader, char c)
{
	skip_blanks(reader);
	if (reader->p >= reader->end || *reader->p != c)
		return false;
	reader->p++;
	return true;
}

static EventlogText
read_string(Reader *reader)
{
	EventlogText text = {unconstify(char *, reader->p), 0};

	if (!take(reader, '"'))
		reader->bad = true;
	while (!reader->bad && reader->p < reader->end && *reader->p != '"')
		reader->p += *reader->p == '\\' && reader->p + 1 < reader->end ? 2 : 1;
	if (!take(reader, '"'))
		reader->bad = true;
	text.len = (int32) (reader->p - text.data);
	return text;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Step over digits, of which there has to be one. */
static bool
take_digits(const char **p, const char *end)
{
	if (*p == end || !is_digit(**p))
		return false;
	while (*p < end && is_digit(**p))
		(*p)++;
	return true;
}

static void
add_member(JsonNode *node, EventlogText name, JsonNode *value)
{
	/* room for 1, 2, 4, … */
	if ((node->n & (node->n - 1)) == 0)
	{
		int			room = Max(node->n * 2, 1);

		node->names = node->n == 0 ? palloc(sizeof(EventlogText) * room) :
			repalloc(node->names, sizeof(EventlogText) * room);
		node->members = node->n == 0 ? palloc(sizeof(JsonNode *) * room) :
			repalloc(node->members, sizeof(JsonNode *) * room);
	}
	node->names[node->n] = name;
	node->members[node->n++] = value;
}

static void
read_members(Reader *reader, JsonNode *node, char close)
{
	reader->p++;
	if (take(reader, close))
		return;
	do
	{
		EventlogText name = {NULL, 0};

		skip_blanks(reader);
		if (node->kind == NODE_OBJECT)
		{
			name = read_string(reader);
			if (!take(reader, ':'))
				reader->bad = true;
		}
		if (!reader->bad)
			add_member(node, name, read_node(reader));
	} while (!reader->bad && take(reader, ','));
	if (!take(reader, close))
		reader->bad = true;
}

/* Is the text of a node, which is neither string nor nested, JSON? */
static bool
is_scalar(const JsonNode *node)
{
	EventlogText text = node->text;
	const char *p = text.data;
	const char *end = text.data + text.len;

	if (node->kind == NODE_NULL)
		return text.len == 4 && memcmp(p, "null", 4) == 0;
	if (node->kind == NODE_BOOL)
		return (text.len == 4 && memcmp(p, "true", 4) == 0) ||
			(text.len == 5 && memcmp(p, "false", 5) == 0);
	p += p < end && *p == '-';
	if (p == end || (*p == '0' && p + 1 < end && is_digit(p[1])) || !take_digits(&p, end))
		return false;
	if (p < end && *p == '.' && (p++, !take_digits(&p, end)))
		return false;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		p += p < end && (*p == '-' || *p == '+');
		if (!take_digits(&p, end))
			return false;
	}
	return p == end;
}

static JsonNode *
read_node(Reader *reader)
{
	JsonNode	   *node = palloc0(sizeof(JsonNode));
	const char *start;

	check_stack_depth();
	skip_blanks(reader);
	start = reader->p;
	if (start >= reader->end || reader->depth == MAX_DEPTH)
		reader->bad = true;
	else if (*start == '{' || *start == '[')
	{
		node->kind = *start == '{' ? NODE_OBJECT : NODE_ARRAY;
		reader->depth++;
		read_members(reader, node, *start == '{' ? '}' : ']');
		reader->depth--;
	}
	else if (*start == '"')
	{
		node->kind = NODE_STRING;
		node->text = read_string(reader);
	}
	else
	{
		while (reader->p < reader->end && strchr(",]} \t\r\n", *reader->p) == NULL)
			reader->p++;
		node->text.data = unconstify(char *, start);
		node->text.len = (int32) (reader->p - start);
		node->kind = *start == 'n' ? NODE_NULL : *start == 't' || *start == 'f' ? NODE_BOOL :
			NODE_NUMBER;
		if (!is_scalar(node))
			reader->bad = true;
	}
	return node;
}

/* --- shapes --- */

static Shape *shape_of(Reader *reader, const JsonNode *node);

static Shape *
make_shape(ShapeKind kind)
{
	Shape	   *shape = palloc0(sizeof(Shape));

	shape->kind = kind;
	return shape;
}

static bool
same_text(EventlogText a, EventlogText b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static int
find_member(const EventlogText *names, int n, EventlogText name)
{
	for (int i = 0; i < n; i++)
	{
		if (same_text(names[i], name))
			return i;
	}
	return -1;
}

static bool
same_shape(const Shape *a, const Shape *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	if (a->kind != b->kind || a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
	{
		if (!same_text(a->names[i], b->names[i]) || !same_shape(a->members[i], b->members[i]))
			return false;
	}
	return a->kind != SHAPE_ARRAY || same_shape(a->element, b->element);
}

/* Whole numbers fit an int or a long; anything else is a double, if it fits. */
static Shape *
shape_of_number(Reader *reader, EventlogText text)
{
	char	   *digits = pnstrdup(text.data, text.len);
	char	   *end;
	int64		value;

	if (strpbrk(digits, ".eE") != NULL)
		return make_shape(SHAPE_DOUBLE);
	errno = 0;
	value = strtoi64(digits, &end, 10);
	if (errno != 0 || *end != '\0')
	{
		reader->bad = true;		/* too large for a long */
		return NULL;
	}
	return make_shape(value >= PG_INT32_MIN && value <= PG_INT32_MAX ? SHAPE_INT : SHAPE_LONG);
}

static void
add_shape(Shape *shape, EventlogText name, Shape *member)
{
	int			at = find_member(shape->names, shape->n, name);

	if (at >= 0)
	{
		/* one that was only null so far gives way */
		if (shape->members[at]->kind == SHAPE_NULL)
			shape->members[at] = member;
		return;
	}
	shape->names = shape->n == 0 ? palloc(sizeof(EventlogText)) :
		repalloc(shape->names, sizeof(EventlogText) * (shape->n + 1));
	shape->members = shape->n == 0 ? palloc(sizeof(Shape *)) :
		repalloc(shape->members, sizeof(Shape *) * (shape->n + 1));
	shape->names[shape->n] = name;
	shape->members[shape->n++] = member;
}

static Shape *
shape_of_object(Reader *reader, const JsonNode *node, Shape *shape)
{
	for (int i = 0; i < node->n && !reader->bad; i++)
	{
		Shape	   *member = shape_of(reader, node->members[i]);

		if (member != NULL)
			add_shape(shape, node->names[i], member);
	}
	return shape;
}

/* The elements of an array are of one type; objects have the fields of all. */
static Shape *
shape_of_elements(Reader *reader, const JsonNode *array)
{
	const JsonNode *sample = NULL;
	Shape	   *shape = NULL;

	for (int i = 0; i < array->n && !reader->bad; i++)
	{
		const JsonNode *element = array->members[i];
		Shape	   *other;

		if (element->kind == NODE_NULL)
			continue;
		if (sample == NULL)
			sample = element;
		if (element->kind != sample->kind)
			reader->bad = true;
		else if (element->kind == NODE_OBJECT)
			shape = shape_of_object(reader, element,
									shape == NULL ? make_shape(SHAPE_OBJECT) : shape);
		else if (element == sample)
			shape = shape_of(reader, element);
		else if (element->kind == NODE_NUMBER)
		{
			other = shape_of(reader, element);
			if (!same_shape(shape, other))
				reader->bad = true;
		}
	}
	if (sample == NULL && reader->keep_nulls)
		return make_shape(SHAPE_NULL);
	if (shape == NULL)
		reader->bad = true;
	return shape;
}

static Shape *
shape_of(Reader *reader, const JsonNode *node)
{
	Shape	   *shape;

	check_stack_depth();
	switch (node->kind)
	{
		case NODE_NULL:
			return reader->keep_nulls ? make_shape(SHAPE_NULL) : NULL;
		case NODE_BOOL:
			return make_shape(SHAPE_BOOL);
		case NODE_STRING:
			return make_shape(SHAPE_STRING);
		case NODE_NUMBER:
			return shape_of_number(reader, node->text);
		case NODE_OBJECT:
			return shape_of_object(reader, node, make_shape(SHAPE_OBJECT));
		case NODE_ARRAY:
			if (node->n == 0)
				return NULL;
			shape = make_shape(SHAPE_ARRAY);
			shape->element = shape_of_elements(reader, node);
			return shape;
	}
	return NULL;
}

/* --- nodes to JSON --- */

static void
write_double(EventlogBuf *out, EventlogText text)
{
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	double		value = strtod(pnstrdup(text.data, text.len), NULL);

	if (isinf(value) && value > 0)
		eventlog_json_literal(out, "\"Infinity\"");
	else if (isinf(value))
		eventlog_json_literal(out, "\"-Infinity\"");
	else
		eventlog_json_java_number(out, digits, double_to_shortest_decimal_bufn(value, digits));
}

/* Is a value of this kind of this shape, its fields and elements aside? */
static bool
fits(Reader *reader, const JsonNode *node, const Shape *shape)
{
	switch (shape->kind)
	{
		case SHAPE_NULL:
			return false;
		case SHAPE_BOOL:
			return node->kind == NODE_BOOL;
		case SHAPE_STRING:
			return node->kind == NODE_STRING;
		case SHAPE_ARRAY:
			return node->kind == NODE_ARRAY;
		case SHAPE_OBJECT:
			return node->kind == NODE_OBJECT;
		case SHAPE_INT:
		case SHAPE_LONG:
		case SHAPE_DOUBLE:
			return node->kind == NODE_NUMBER &&
				same_shape(shape_of_number(reader, node->text), shape);
	}
	return false;
}

/* A string as Jackson escapes it, whatever escapes it came with. */
static void
write_string(EventlogBuf *out, EventlogText text)
{
	EventlogBuf plain = {0};

	eventlog_convert_unquote(&plain, text.data, text.len);
	eventlog_json_string(out, plain.data, (int32) plain.len);
}

/* A node in a shape; where they do not fit, the reader turns bad. */
static void
write_node(EventlogBuf *out, Reader *reader, const JsonNode *node, const Shape *shape)
{
	check_stack_depth();
	if (node == NULL || node->kind == NODE_NULL)
	{
		eventlog_json_literal(out, "null");
		return;
	}
	if (!fits(reader, node, shape))
	{
		reader->bad = true;
		return;
	}
	if (shape->kind == SHAPE_DOUBLE)
		write_double(out, node->text);
	else if (shape->kind == SHAPE_ARRAY)
	{
		for (int i = 0; i < node->n; i++)
		{
			eventlog_json_raw(out, i == 0 ? "[" : ",", 1);
			write_node(out, reader, node->members[i], shape->element);
		}
		eventlog_json_literal(out, "]");
	}
	else if (shape->kind == SHAPE_OBJECT)
	{
		eventlog_json_literal(out, "{");
		for (int i = 0; i < shape->n; i++)
		{
			int			at = find_member(node->names, node->n, shape->names[i]);

			if (i > 0)
				eventlog_json_literal(out, ",");
			write_string(out, shape->names[i]);
			eventlog_json_literal(out, ":");
			write_node(out, reader, at < 0 ? NULL : node->members[at], shape->members[i]);
		}
		eventlog_json_literal(out, "}");
	}
	else if (shape->kind == SHAPE_STRING)
		write_string(out, node->text);
	else
		eventlog_json_text(out, node->text);
}

bool
eventlog_outbox_expand(EventlogBuf *out, EventlogEncoder *encoder, const char *text, int32 len,
					   bool is_json)
{
	Reader		reader = {text, text + len, false, encoder->ec->outbox_keep_nulls, 0};
	size_t		before = out->len;
	MemoryContext context;
	MemoryContext old;
	JsonNode	   *node;

	if (len == 0 || (*text != '{' && *text != '['))
		return false;
	if (!encoder->config->compatible && is_json)
	{
		eventlog_json_raw(out, text, len);
		return true;
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "eventlog outbox payload",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	node = read_node(&reader);
	skip_blanks(&reader);
	if (!encoder->config->compatible)
	{
		reader.bad = reader.bad || reader.p < reader.end;
		eventlog_json_raw(out, text, len);
	}
	else if (node->kind != NODE_OBJECT)
		reader.bad = true;		/* only objects become structures */
	else if (!reader.bad)
	{
		Shape	   *shape = shape_of(&reader, node);

		if (!reader.bad)
			write_node(out, &reader, node, shape);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (reader.bad)
		out->len = before;
	return !reader.bad;
}
