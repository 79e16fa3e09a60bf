/*-------------------------------------------------------------------------
 *
 * capture_incremental_state.c
 *	  What is known of snapshots that signals have asked for, and is saved.
 *
 * The state lives in a memory context of its own, and is saved as JSON in the
 * capture's row of the catalogue, in the transaction that emits what it tells
 * of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "capture_incremental.h"
#include "capture_incremental_state.h"
#include "capture_notify.h"

/* ---- changing it ---- */

static char *
copy_string(EventlogIncrementalState *state, const char *text)
{
	return text ? MemoryContextStrdup(state->context, text) : NULL;
}

static List *
copy_strings(EventlogIncrementalState *state, List *texts)
{
	MemoryContext caller = MemoryContextSwitchTo(state->context);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, texts)
		result = lappend(result, pstrdup(lfirst(lc)));
	MemoryContextSwitchTo(caller);
	return result;
}

static List *
append(EventlogIncrementalState *state, List *list, void *item)
{
	MemoryContext caller = MemoryContextSwitchTo(state->context);

	list = lappend(list, item);
	MemoryContextSwitchTo(caller);
	return list;
}

static void
free_key(EventlogKey *key)
{
	for (int i = 0; i < key->n; i++)
	{
		if (key->values[i])
			pfree(key->values[i]);
	}
	if (key->values)
		pfree(key->values);
	*key = (EventlogKey) {0};
}

static void
set_key(EventlogIncrementalState *state, EventlogKey *key, int n, char **values)
{
	EventlogKey copy = {.n = n};

	copy.values = MemoryContextAllocZero(state->context, Max(n, 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
		copy.values[i] = copy_string(state, values[i]);
	free_key(key);
	*key = copy;
}

static void
free_position(EventlogPosition *position)
{
	free_key(&position->last);
	free_key(&position->max);
	*position = (EventlogPosition) {0};
}

static void
copy_position(EventlogIncrementalState *state, EventlogPosition *to, const EventlogPosition *from)
{
	free_position(to);
	*to = *from;
	to->last = to->max = (EventlogKey) {0};
	if (from->has_last)
		set_key(state, &to->last, from->last.n, from->last.values);
	if (from->has_max)
		set_key(state, &to->max, from->max.n, from->max.values);
}

static void
free_collection(EventlogCollection *collection)
{
	pfree(collection->name);
	if (collection->filter)
		pfree(collection->filter);
	if (collection->surrogate)
		pfree(collection->surrogate);
	pfree(collection);
}

void
eventlog_state_set_correlation(EventlogIncrementalState *state, const char *id)
{
	char	   *copy = copy_string(state, id);

	if (state->correlation)
		pfree(state->correlation);
	state->correlation = copy;
}

void
eventlog_state_add_collection(EventlogIncrementalState *state, const char *name,
							  const char *filter, const char *surrogate)
{
	EventlogCollection *collection = MemoryContextAllocZero(state->context,
															sizeof(EventlogCollection));

	collection->name = copy_string(state, name);
	if (filter && filter[0] != '\0')
		collection->filter = copy_string(state, filter);
	if (surrogate && surrogate[0] != '\0')
		collection->surrogate = copy_string(state, surrogate);
	state->collections = append(state, state->collections, collection);
}

bool
eventlog_state_remove_collection(EventlogIncrementalState *state, const char *name)
{
	bool		found = false;

	for (int i = list_length(state->collections) - 1; i > 0; i--)
	{
		EventlogCollection *collection = list_nth(state->collections, i);

		if (strcmp(collection->name, name) != 0)
			continue;
		state->collections = list_delete_nth_cell(state->collections, i);
		free_collection(collection);
		found = true;
	}
	return found;
}

void
eventlog_state_next_collection(EventlogIncrementalState *state)
{
	EventlogCollection *done = linitial(state->collections);

	state->collections = list_delete_first(state->collections);
	free_collection(done);
	free_position(&state->position);
	free_position(&state->sent);
}

void
eventlog_state_add_stop(EventlogIncrementalState *state, List *patterns)
{
	ListCell   *lc;

	foreach(lc, patterns)
		state->to_stop = append(state, state->to_stop, copy_string(state, lfirst(lc)));
}

void
eventlog_state_clear_stop(EventlogIncrementalState *state)
{
	list_free_deep(state->to_stop);
	state->to_stop = NIL;
}

void
eventlog_state_add_blocking(EventlogIncrementalState *state, TransactionId xid,
							List *patterns, List *conditions)
{
	EventlogBlockingRequest *request = MemoryContextAllocZero(state->context,
															  sizeof(EventlogBlockingRequest));
	ListCell   *lc;

	request->xid = xid;
	request->patterns = copy_strings(state, patterns);
	foreach(lc, conditions)
	{
		const EventlogSnapshotCondition *condition = lfirst(lc);
		EventlogSnapshotCondition *copy = MemoryContextAlloc(state->context,
															 sizeof(EventlogSnapshotCondition));

		copy->pattern = copy_string(state, condition->pattern);
		copy->filter = copy_string(state, condition->filter);
		request->conditions = append(state, request->conditions, copy);
	}
	state->blocking = append(state, state->blocking, request);
}

void
eventlog_state_next_blocking(EventlogIncrementalState *state)
{
	state->blocking = list_delete_first(state->blocking);
}

void
eventlog_state_set_last(EventlogIncrementalState *state, int n, char **values)
{
	set_key(state, &state->position.last, n, values);
	state->position.has_last = true;
}

void
eventlog_state_set_max(EventlogIncrementalState *state, int n, char **values)
{
	set_key(state, &state->position.max, n, values);
	state->position.has_max = true;
}

void
eventlog_state_sent(EventlogIncrementalState *state)
{
	copy_position(state, &state->sent, &state->position);
}

/* ---- as JSON ---- */

static void
put_string(StringInfo out, const char *text)
{
	if (text)
		escape_json(out, text);
	else
		appendStringInfoString(out, "null");
}

static void
put_strings(StringInfo out, List *texts)
{
	ListCell   *lc;

	appendStringInfoChar(out, '[');
	foreach(lc, texts)
	{
		if (lc != list_head(texts))
			appendStringInfoChar(out, ',');
		put_string(out, lfirst(lc));
	}
	appendStringInfoChar(out, ']');
}

static void
put_key(StringInfo out, const char *name, bool known, const EventlogKey *key)
{
	if (!known)
		return;
	appendStringInfo(out, ",\"%s\":[", name);
	for (int i = 0; i < key->n; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		put_string(out, key->values[i]);
	}
	appendStringInfoChar(out, ']');
}

static void
put_collections(StringInfo out, const EventlogIncrementalState *state)
{
	ListCell   *lc;

	appendStringInfoString(out, ",\"collections\":[");
	foreach(lc, state->collections)
	{
		const EventlogCollection *collection = lfirst(lc);

		appendStringInfoString(out, lc == list_head(state->collections) ? "[" : ",[");
		put_string(out, collection->name);
		appendStringInfoChar(out, ',');
		put_string(out, collection->filter);
		appendStringInfoChar(out, ',');
		put_string(out, collection->surrogate);
		appendStringInfoChar(out, ']');
	}
	appendStringInfoChar(out, ']');
}

/* Each as [xid, [pattern, ...], [pattern, filter, ...]]. */
static void
put_blocking(StringInfo out, const EventlogIncrementalState *state)
{
	ListCell   *lc;

	appendStringInfoString(out, ",\"blocking\":[");
	foreach(lc, state->blocking)
	{
		const EventlogBlockingRequest *request = lfirst(lc);
		List	   *conditions = NIL;
		ListCell   *c;

		foreach(c, request->conditions)
		{
			const EventlogSnapshotCondition *condition = lfirst(c);

			conditions = lappend(lappend(conditions, condition->pattern), condition->filter);
		}
		appendStringInfo(out, "%s[%u,", lc == list_head(state->blocking) ? "" : ",", request->xid);
		put_strings(out, request->patterns);
		appendStringInfoChar(out, ',');
		put_strings(out, conditions);
		appendStringInfoChar(out, ']');
	}
	appendStringInfoChar(out, ']');
}

Jsonb *
eventlog_state_to_jsonb(const EventlogIncrementalState *state)
{
	const EventlogPosition *sent = &state->sent;
	StringInfoData out;

	if (state->collections == NIL && state->blocking == NIL)
		return NULL;
	initStringInfo(&out);
	appendStringInfo(&out, "{\"paused\":%s,\"rows\":" INT64_FORMAT
					 ",\"next_block\":%u,\"end_block\":%u,\"file\":%u,\"correlation\":",
					 state->paused ? "true" : "false", sent->rows,
					 sent->next_block, sent->end_block, sent->file);
	put_string(&out, state->correlation);
	put_key(&out, "last", sent->has_last, &sent->last);
	put_key(&out, "max", sent->has_max, &sent->max);
	appendStringInfoString(&out, ",\"stop\":");
	put_strings(&out, state->to_stop);
	put_collections(&out, state);
	put_blocking(&out, state);
	appendStringInfoChar(&out, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

static JsonbValue *
member(Jsonb *json, const char *name)
{
	return getKeyJsonValueFromContainer(&json->root, name, strlen(name), NULL);
}

static int64
to_int(JsonbValue *value)
{
	if (value == NULL || value->type != jbvNumeric)
		return 0;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

static char *
to_string(JsonbValue *value)
{
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* Elements of an array, as JsonbValues; NIL if it is none. */
static List *
to_list(JsonbValue *value)
{
	List	   *result = NIL;

	if (value == NULL || value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return NIL;
	for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
		result = lappend(result, getIthJsonbValueFromContainer(value->val.binary.data, i));
	return result;
}

static List *
to_strings(JsonbValue *value)
{
	List	   *result = NIL;
	List	   *items = to_list(value);
	ListCell   *lc;

	foreach(lc, items)
	{
		char	   *text = to_string(lfirst(lc));

		if (text)
			result = lappend(result, text);
	}
	return result;
}

static bool
get_key(EventlogIncrementalState *state, Jsonb *json, const char *name, EventlogKey *key)
{
	JsonbValue *value = member(json, name);
	List	   *items = to_list(value);
	char	  **values = palloc(Max(list_length(items), 1) * sizeof(char *));

	for (int i = 0; i < list_length(items); i++)
		values[i] = to_string(list_nth(items, i));
	if (value)
		set_key(state, key, list_length(items), values);
	return value != NULL;
}

static void
get_position(EventlogIncrementalState *state, Jsonb *json)
{
	EventlogPosition *position = &state->position;

	position->rows = to_int(member(json, "rows"));
	position->next_block = (BlockNumber) to_int(member(json, "next_block"));
	position->end_block = (BlockNumber) to_int(member(json, "end_block"));
	position->file = (Oid) to_int(member(json, "file"));
	position->has_last = get_key(state, json, "last", &position->last);
	position->has_max = get_key(state, json, "max", &position->max);
	eventlog_state_sent(state);
}

static void
get_collections(EventlogIncrementalState *state, Jsonb *json)
{
	List	   *items = to_list(member(json, "collections"));
	ListCell   *lc;

	foreach(lc, items)
	{
		List	   *parts = to_list(lfirst(lc));

		if (list_length(parts) == 3 && to_string(linitial(parts)))
			eventlog_state_add_collection(state, to_string(linitial(parts)),
										  to_string(lsecond(parts)), to_string(lthird(parts)));
	}
}

static void
get_blocking(EventlogIncrementalState *state, Jsonb *json)
{
	List	   *items = to_list(member(json, "blocking"));
	ListCell   *lc;

	foreach(lc, items)
	{
		List	   *parts = to_list(lfirst(lc));
		List	   *texts;
		List	   *conditions = NIL;

		if (list_length(parts) != 3)
			continue;
		texts = to_strings(lthird(parts));
		for (int i = 0; i + 1 < list_length(texts); i += 2)
		{
			EventlogSnapshotCondition *condition = palloc(sizeof(EventlogSnapshotCondition));

			condition->pattern = list_nth(texts, i);
			condition->filter = list_nth(texts, i + 1);
			conditions = lappend(conditions, condition);
		}
		eventlog_state_add_blocking(state, (TransactionId) to_int(linitial(parts)),
									to_strings(lsecond(parts)), conditions);
	}
}

EventlogIncrementalState *
eventlog_state_from_jsonb(Jsonb *json)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "eventlog incremental state",
												  ALLOCSET_SMALL_SIZES);
	EventlogIncrementalState *state = MemoryContextAllocZero(context,
															 sizeof(EventlogIncrementalState));
	JsonbValue *paused;

	state->context = context;
	if (json == NULL || !JB_ROOT_IS_OBJECT(json))
		return state;
	paused = member(json, "paused");
	state->paused = paused && paused->type == jbvBool && paused->val.boolean;
	eventlog_state_set_correlation(state, to_string(member(json, "correlation")));
	eventlog_state_add_stop(state, to_strings(member(json, "stop")));
	get_position(state, json);
	get_collections(state, json);
	get_blocking(state, json);
	return state;
}
