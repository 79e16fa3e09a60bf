/*-------------------------------------------------------------------------
 *
 * capture_notify.c
 *	  Notifications about snapshots, in Debezium's form.
 *
 * A notification is a record of its own topic, written in the transaction that
 * does what it tells of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "capture_notify.h"
#include "clock.h"

void
eventlog_random_uuid(char *out)
{
	static const char digits[] = "0123456789abcdef";
	uint8		bytes[16];
	char	   *next = out;

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	bytes[6] = (bytes[6] & 0x0f) | 0x40;
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*next++ = '-';
		*next++ = digits[bytes[i] >> 4];
		*next++ = digits[bytes[i] & 0x0f];
	}
	*next = '\0';
}

/* Notifications that wait for a transaction that they belong to. */
static bool deferring = false;
static List *deferred = NIL;	/* key, value, key, value ... */

static void
append_string(EventlogBuf *out, const char *text)
{
	char	   *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);

	eventlog_json_string(out, utf8, strlen(utf8));
}

void
eventlog_capture_notify(EventlogCapture *capture, EventlogEncoder *encoder,
						const char *id, const char *aggregate, const char *type, ...)
{
	EventlogBuf key = {0};
	EventlogBuf value = {0};
	char		uuid[EVENTLOG_UUID_LEN + 1];
	const char *name;
	bool		any = false;
	va_list		args;

	if (capture->config->notification_topic == NULL)
		return;
	if (id == NULL)
	{
		eventlog_random_uuid(uuid);
		id = uuid;
	}

	eventlog_json_literal(&key, "{\"id\":");
	append_string(&key, id);
	eventlog_json_literal(&key, "}");

	eventlog_json_literal(&value, "{\"id\":");
	append_string(&value, id);
	eventlog_json_literal(&value, ",\"type\":");
	append_string(&value, type);
	eventlog_json_literal(&value, ",\"aggregate_type\":");
	append_string(&value, aggregate);
	eventlog_json_literal(&value, ",\"additional_data\":{");
	va_start(args, type);
	while ((name = va_arg(args, const char *)) != NULL)
	{
		const char *datum = va_arg(args, const char *);

		if (datum == NULL)
			continue;
		if (any)
			eventlog_json_literal(&value, ",");
		any = true;
		append_string(&value, name);
		eventlog_json_literal(&value, ":");
		append_string(&value, datum);
	}
	va_end(args);
	eventlog_json_literal(&value, "},\"timestamp\":");
	eventlog_json_int(&value, eventlog_now_ms());
	eventlog_json_literal(&value, "}");

	/* as strings */
	eventlog_buf_reserve(&key, 1);
	key.data[key.len] = '\0';
	eventlog_buf_reserve(&value, 1);
	value.data[value.len] = '\0';
	if (deferring)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		deferred = lappend(lappend(deferred, pstrdup(key.data)), pstrdup(value.data));
		MemoryContextSwitchTo(caller);
	}
	else
		eventlog_encoder_notify(encoder, key.data, value.data);
	eventlog_buf_free(&key);
	eventlog_buf_free(&value);
}

void
eventlog_notify_defer(bool defer)
{
	deferring = defer;
}

void
eventlog_notify_flush(EventlogEncoder *encoder)
{
	for (int i = 0; i + 1 < list_length(deferred); i += 2)
		eventlog_encoder_notify(encoder, list_nth(deferred, i), list_nth(deferred, i + 1));
	list_free_deep(deferred);
	deferred = NIL;
}

bool
eventlog_names_contain(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

char *
eventlog_names_join(List *names)
{
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	foreach(lc, names)
		appendStringInfo(&out, "%s%s", out.len > 0 ? "," : "", (char *) lfirst(lc));
	return out.data;
}

/* Java's String.hashCode(), with the upper half folded in, as its maps do. */
static uint32
java_hash(const char *name)
{
	const unsigned char *next = (const unsigned char *) pg_server_to_any(name, strlen(name), PG_UTF8);
	uint32		hash = 0;

	for (; *next != '\0'; next += pg_utf_mblen(next))
	{
		pg_wchar	c = utf8_to_unicode(next);

		if (c >= 0x10000)
		{
			hash = hash * 31 + 0xd800 + ((c - 0x10000) >> 10);
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		hash = hash * 31 + c;
	}
	return hash ^ (hash >> 16);
}

List *
eventlog_names_java_set(List *names)
{
	uint32		buckets = 16;
	List	   *result = NIL;
	ListCell   *lc;

	while (buckets < list_length(names) / 0.75 + 1)
		buckets *= 2;
	for (uint32 bucket = 0; bucket < buckets; bucket++)
	{
		foreach(lc, names)
		{
			if ((java_hash(lfirst(lc)) & (buckets - 1)) == bucket)
				result = lappend(result, lfirst(lc));
		}
	}
	return result;
}
