/*-------------------------------------------------------------------------
 *
 * capture_default.c
 *	  What a column's default expression says, as far as schemas tell it.
 *
 * Debezium does not evaluate defaults.  It looks at their SQL text: a literal
 * counts as the default, a function call counts as a zero of the type, and of
 * anything longer the first quoted literal counts.  Schemas, and nulls that
 * JsonConverter replaces, show the result, so it is worked out the same way
 * here.  No expression is ever run: it is the table owner's, and the worker
 * that decodes may be somebody else's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "nodes/nodes.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "capture_default.h"

/* What a function call counts as, by type; NULL: defaults are not looked at. */
static const char *
zero_of_type(const EventlogTypeDesc *type)
{
	switch (type->oid)
	{
		case BITOID:
			return type->typmod > 1 ? "00" : "0";
		case VARBITOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
			return "0";
		case NUMERICOID:
			return "0.0";
		case BOOLOID:
			return "f";
		case BPCHAROID:
		case VARCHAROID:
		case TEXTOID:
		case XMLOID:
			return "";
		case JSONOID:
		case JSONBOID:
			return "{}";
		case UUIDOID:
			return "00000000-0000-0000-0000-000000000000";
		case DATEOID:
			return "1970-01-01";
		case TIMEOID:
		case INTERVALOID:
			return "00:00:00";
		case TIMESTAMPOID:
			return "1970-01-01 00:00:00";
		case TIMESTAMPTZOID:
			return "1970-01-01 00:00:00+00";
		default:
			return NULL;
	}
}

/* Does the text begin with a call: perhaps "(", a name, "(", and a ")"? */
static bool
looks_like_call(const char *text)
{
	const char *p = text;
	const char *name;

	if (*p == '(')
		p++;
	name = p;
	while (isalnum((unsigned char) *p) || *p == '_' || *p == '.')
		p++;
	if (p == name || *p != '(')
		return false;
	p += strcspn(p, ")\n");
	return *p == ')';
}

static bool
is_current_time(const char *text)
{
	static const char *const names[] = {"current_timestamp", "current_time", "current_date",
	"localtime", "localtimestamp"};

	for (size_t i = 0; i < lengthof(names); i++)
	{
		if (pg_strcasecmp(text, names[i]) == 0)
			return true;
	}
	return false;
}

/*
 * What stands between the first two quotes of a line, whatever they quote; all
 * of the text if there are no quotes; NULL for a null, or without such a line.
 */
static char *
first_literal(const char *text)
{
	const char *start = strchr(text, '\'');

	if (start == NULL)
		return strncmp(text, "NULL::", 6) == 0 ? NULL : pstrdup(text);
	while (start != NULL)
	{
		size_t		len = strcspn(start + 1, "'\n");

		if (start[1 + len] == '\'')
			return pnstrdup(start + 1, len);
		start = strchr(start + 1, '\'');
	}
	return NULL;
}

static bool
is_integer(const char *text, const EventlogTypeDesc *type)
{
	const char *digits = text + (*text == '-' || *text == '+');
	int64		value;
	char	   *end;

	if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
		return false;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0)
		return false;
	return type->oid == INT8OID ||
		(type->oid == INT4OID && value >= PG_INT32_MIN && value <= PG_INT32_MAX) ||
		(type->oid == INT2OID && value >= PG_INT16_MIN && value <= PG_INT16_MAX);
}

static bool
is_number(const char *text, bool special)
{
	char	   *end;
	double		value;

	if (*text == '\0' || isspace((unsigned char) *text))
		return false;
	value = strtod(text, &end);
	return *end == '\0' && (special || (!isnan(value) && !isinf(value)));
}

/* Is this text, taken out of an expression, a value that the type can have? */
static bool
is_value(const EventlogTypeDesc *type, const char *text)
{
	switch (type->oid)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return is_integer(text, type);
		case NUMERICOID:
			return is_number(text, false);
		case FLOAT4OID:
		case FLOAT8OID:
			return is_number(text, true);
		case BITOID:
		case VARBITOID:
			return strspn(text, "01") == strlen(text);
		case UUIDOID:
			return strlen(text) == 36 && strspn(text, "0123456789abcdef-") == 36;
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return isdigit((unsigned char) *text) && strlen(text) >= 8;
		case INTERVALOID:
			return isdigit((unsigned char) *text) || *text == '-';
		default:
			return true;
	}
}

/*
 * The expression without the casts that fit it to the column and leave the
 * text of a value as it is, if the type can have that text.
 */
static Node *
strip_casts(Node *node)
{
	for (;;)
	{
		if (IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
		else if (IsA(node, CoerceToDomain))
			node = (Node *) ((CoerceToDomain *) node)->arg;
		else if (IsA(node, FuncExpr) &&
				 ((FuncExpr *) node)->funcformat == COERCE_IMPLICIT_CAST)
		{
			FuncExpr   *cast = (FuncExpr *) node;

			switch (cast->funcresulttype)
			{
				case INT2OID:
				case INT4OID:
				case INT8OID:
				case FLOAT4OID:
				case FLOAT8OID:
				case NUMERICOID:
				case VARCHAROID:
					node = linitial(cast->args);
					break;
				default:
					return node;
			}
		}
		else
			return node;
	}
}

char *
eventlog_default_constant(const EventlogTypeDesc *type, Node *node)
{
	Const	   *value = (Const *) strip_casts(node);
	Oid			output;
	bool		is_varlena;
	char	   *text;

	if (!IsA(value, Const) || value->constisnull)
		return NULL;
	getTypeOutputInfo(value->consttype, &output, &is_varlena);
	text = OidOutputFunctionCall(output, value->constvalue);
	return is_value(type, text) ? text : NULL;
}

/*
 * An enum's, if its type is named without a schema or quotes; which leaves out
 * all schemas but those of Debezium's search_path.
 */
static char *
enum_default_seen(const EventlogTypeDesc *type, const char *text)
{
	const char *cast = strstr(text, "'::");

	if (text[0] != '\'' || cast == NULL || cast == text || strcmp(type->schema, "public") != 0)
		return NULL;
	if (strcmp(cast + 3, type->name) != 0 &&
		strcmp(cast + 3, psprintf("public.%s", type->name)) != 0)
		return NULL;
	return pnstrdup(text + 1, cast - text - 1);
}

/* Of the dates there are in Java, infinite ones are the first and the last. */
static char *
date_default_seen(char *text)
{
	if (strcmp(text, "infinity") == 0)
		return pstrdup("999999999-12-31");
	if (strcmp(text, "-infinity") == 0)
		return pstrdup("1000000000-01-01 BC");
	return text;
}

char *
eventlog_default_seen(const EventlogTypeDesc *type, Node *node)
{
	const char *zero = zero_of_type(type);
	char	   *text;
	char	   *value;

	if (type->domain != NULL || (zero == NULL && type->kind != EVENTLOG_TYPE_ENUM))
		return NULL;
	text = deparse_expression(node, NIL, false, false);
	if (type->kind == EVENTLOG_TYPE_ENUM)
		return enum_default_seen(type, text);
	if (looks_like_call(text) || is_current_time(text))
		return pstrdup(zero);
	value = first_literal(text);
	if (value != NULL && type->oid == BOOLOID)
		return pstrdup(pg_strcasecmp(value, "true") == 0 ? "t" : "f");
	if (value != NULL && type->oid == DATEOID)
		value = date_default_seen(value);
	return value != NULL && is_value(type, value) ? value : NULL;
}
