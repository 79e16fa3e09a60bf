/*-------------------------------------------------------------------------
 *
 * capture_chunk.c
 *	  Reading tables of incremental snapshots, a chunk at a time.
 *
 * A table is read in the order of its key, or of a column that the signal
 * names; one that has no key, by its blocks.  What goes wrong with one table,
 * such as a condition that makes no sense, ends that table, and the next one
 * is read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_operator.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "capture_chunk.h"
#include "capture_incremental.h"
#include "capture_notify.h"
#include "capture_query.h"
#include "capture_snapshot.h"
#include "subtransaction.h"

static EventlogCapture *capture = NULL;
static EventlogEncoder *encoder = NULL;
static EventlogIncrementalState *state = NULL;

/* The rows that are read. */
static EventlogWindow *window = NULL;
static Oid	window_relid = InvalidOid;

static bool table_locked = false;	/* and so was not read */

static void
free_window(void)
{
	if (window)
		eventlog_window_free(window);
	window = NULL;
	window_relid = InvalidOid;
}

/* A chunk being read. */
typedef struct Chunk
{
	EventlogSnapshotTable *table;
	const char *filter;
	int			nkeys;			/* columns by which the table is read */
	int		   *keys;
	bool		unique;			/* no two rows have the same */
	bool		keep_last;		/* as Debezium does, without a key */
	const char *sql;
	EventlogHeldRow last;
	uint64		rows;
} Chunk;

static void
add_condition(StringInfo sql, bool *has_where, const char *condition)
{
	appendStringInfo(sql, " %s (%s)", *has_where ? "AND" : "WHERE", condition);
	*has_where = true;
}

static char *
typed_literal(const EventlogTypeDesc *type, const char *text)
{
	return psprintf("%s::%s.%s", quote_literal_cstr(text), quote_identifier(type->schema),
					quote_identifier(type->name));
}

/*
 * An operator of the order that ORDER BY has, which is the type's: its name
 * alone would be looked up in the search path, and for a type of an extension
 * may mean something else.
 */
static char *
operator_of(const EventlogTypeDesc *type, int strategy)
{
	TypeCacheEntry *entry = lookup_type_cache(type->oid, TYPECACHE_EQ_OPR | TYPECACHE_GT_OPR);
	Oid			oid = strategy == BTEqualStrategyNumber ? entry->eq_opr : entry->gt_opr;
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(oid));
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type \"%s\" has no order", type->name)));
	result = psprintf("OPERATOR(%s.%s)",
					  quote_identifier(get_namespace_name(((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace)),
					  NameStr(((Form_pg_operator) GETSTRUCT(tuple))->oprname));
	ReleaseSysCache(tuple);
	return result;
}

/* A row comparison, if all columns' operator is the usual one; NULL: it is not. */
static char *
behind_row(const Chunk *chunk, const EventlogKey *key)
{
	StringInfoData columns;
	StringInfoData values;

	initStringInfo(&columns);
	initStringInfo(&values);
	for (int i = 0; i < chunk->nkeys; i++)
	{
		const EventlogColumnDesc *column = &chunk->table->desc->columns[chunk->keys[i]];

		if (strcmp(operator_of(column->type, BTGreaterStrategyNumber), "OPERATOR(pg_catalog.>)") != 0)
			return NULL;
		appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "", quote_identifier(column->name));
		appendStringInfo(&values, "%s%s", i > 0 ? ", " : "",
						 key->values[i] ? typed_literal(column->type, key->values[i]) : "NULL");
	}
	return psprintf("(%s) OPERATOR(pg_catalog.>) (%s)", columns.data, values.data);
}

/* "the row is behind this key", in the order of the index, nulls last. */
static char *
behind(const Chunk *chunk, const EventlogKey *key)
{
	char	   *result = NULL;

	if (chunk->nkeys > 1 && (result = behind_row(chunk, key)) != NULL)
		return result;
	for (int i = chunk->nkeys - 1; i >= 0; i--)
	{
		const EventlogColumnDesc *column = &chunk->table->desc->columns[chunk->keys[i]];
		const char *name = quote_identifier(column->name);
		char	   *literal;
		char	   *greater;

		if (key->values[i] == NULL)
			return "false";
		literal = typed_literal(column->type, key->values[i]);
		greater = psprintf("%s %s %s", name, operator_of(column->type, BTGreaterStrategyNumber), literal);
		if (result != NULL)
			result = psprintf("%s OR (%s %s %s AND (%s))", greater, name,
							  operator_of(column->type, BTEqualStrategyNumber), literal, result);
		else if (column->not_null || chunk->nkeys > 1)
			result = greater;
		else
			result = psprintf("%s OR %s IS NULL", greater, name);
	}
	return result;
}

static void
add_order(StringInfo sql, const Chunk *chunk, const char *direction)
{
	for (int i = 0; i < chunk->nkeys; i++)
		appendStringInfo(sql, "%s%s%s", i > 0 ? ", " : " ORDER BY ",
						 quote_identifier(chunk->table->desc->columns[chunk->keys[i]].name), direction);
}

static void
begin_query(StringInfo sql, bool *has_where, const Chunk *chunk)
{
	initStringInfo(sql);
	appendStringInfoString(sql, chunk->table->sql);
	*has_where = chunk->table->has_where;
	if (chunk->filter)
		add_condition(sql, has_where, chunk->filter);
}

static const char *
max_key_query(const Chunk *chunk)
{
	StringInfoData sql;
	bool		has_where;

	begin_query(&sql, &has_where, chunk);
	add_order(&sql, chunk, " DESC");
	appendStringInfoString(&sql, " LIMIT 1");
	return sql.data;
}

static const char *
key_query(const Chunk *chunk)
{
	const EventlogPosition *at = &state->position;
	StringInfoData sql;
	bool		has_where;

	begin_query(&sql, &has_where, chunk);
	if (at->has_last)
	{
		add_condition(&sql, &has_where, behind(chunk, &at->last));
		add_condition(&sql, &has_where, psprintf("NOT (%s)", behind(chunk, &at->max)));
	}
	add_order(&sql, chunk, "");
	if (chunk->unique)
		appendStringInfo(&sql, " LIMIT %d", capture->config->incremental_chunk_size);
	else
		appendStringInfo(&sql, " FETCH FIRST %d ROWS WITH TIES", capture->config->incremental_chunk_size);
	return sql.data;
}

/* Of a table without a key: some of its blocks. */
static const char *
block_query(const Chunk *chunk, BlockNumber from, BlockNumber to)
{
	StringInfoData sql;
	bool		has_where;

	begin_query(&sql, &has_where, chunk);
	add_condition(&sql, &has_where, psprintf("ctid >= '(%u,0)'::pg_catalog.tid", from));
	add_condition(&sql, &has_where, psprintf("ctid < '(%u,0)'::pg_catalog.tid", to));
	return sql.data;
}

static void
take_row(void *arg, const EventlogColumnValue *row)
{
	Chunk	   *chunk = arg;

	if (window)
	{
		if (chunk->keep_last)
			eventlog_window_clear(window);
		eventlog_window_add(window, row);
	}
	eventlog_held_row_set(&chunk->last, chunk->table->desc->ncolumns, row);
	chunk->rows++;
}

static bool
run_query(void *arg)
{
	Chunk	   *chunk = arg;
	int			level = eventlog_capture_query_begin(chunk->filter != NULL);

	(void) eventlog_capture_query(chunk->sql, NULL, chunk->table->desc, take_row, chunk);
	eventlog_capture_query_end(level);
	return true;
}

typedef struct Attempt
{
	bool		(*what) (void *arg);
	void	   *arg;
	bool		ok;
} Attempt;

static void
attempt(void *arg)
{
	Attempt    *a = arg;

	a->ok = a->what(a->arg);
}

/*
 * Run something that a signal can have made fail; false if it has.  Who waits
 * long for a table that is locked would keep the stream waiting, too.
 */
static bool
try(bool (*what) (void *arg), void *arg)
{
	Attempt		a = {what, arg, false};
	ErrorData  *error = eventlog_subtransaction_run(attempt, &a);

	if (error == NULL)
		return a.ok;
	if (eventlog_subtransaction_must_rethrow(error))
		ReThrowError(error);
	table_locked = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
	ereport(table_locked ? DEBUG1 : LOG,
			(errmsg("capture \"%s\": incremental snapshot of a table is given up: %s",
					capture->name, error->message)));
	FreeErrorData(error);
	return false;
}

/*
 * How the table in work is read.  To find that out costs more than to read a
 * small chunk, so it is kept until something about the table or a publication
 * changes.
 */
static struct
{
	MemoryContext context;
	char	   *name;
	EventlogSnapshotTable *table;	/* NULL: not known */
	bool		valid;
}			plan;

static void
relation_changed(Datum arg, Oid relid)
{
	if (plan.table == NULL || relid == InvalidOid || relid == plan.table->relid)
		plan.valid = false;
}

static void
publication_changed(Datum arg, int cache, uint32 hash)
{
	plan.valid = false;
}

static bool
plan_current(void *arg)
{
	Chunk	   *chunk = arg;
	EventlogCollection *current = linitial(state->collections);
	MemoryContext caller;

	if (plan.table == NULL || !plan.valid || strcmp(plan.name, current->name) != 0)
	{
		plan.table = NULL;
		MemoryContextReset(plan.context);
		caller = MemoryContextSwitchTo(plan.context);
		plan.valid = true;
		plan.name = pstrdup(current->name);
		plan.table = eventlog_snapshot_plan_table(capture, encoder, current->name);
		MemoryContextSwitchTo(caller);
	}
	chunk->table = plan.table;
	return chunk->table != NULL;
}

/* Is there a domain inside of a composite, an array or a range? */
static bool
has_domain_inside(const EventlogTypeDesc *type)
{
	if (type->element && (type->element->domain || has_domain_inside(type->element)))
		return true;
	for (int i = 0; i < type->nfields; i++)
	{
		if (type->field_types[i]->domain || has_domain_inside(type->field_types[i]))
			return true;
	}
	return false;
}

/*
 * May the key be written into a query?  Reading a literal checks the domains in
 * it, by functions of whoever made them, and in the name of the capture's owner.
 */
static bool
is_safe_key(const Chunk *chunk)
{
	for (int i = 0; i < chunk->nkeys; i++)
	{
		if (has_domain_inside(chunk->table->desc->columns[chunk->keys[i]].type))
			return false;
	}
	return true;
}

/* By what to read the current table.  Returns why not, or NULL. */
static const char *
prepare(Chunk *chunk)
{
	EventlogCollection *current = linitial(state->collections);
	bool		compatible = capture->config->compatible;
	const EventlogRelationDesc *desc;

	memset(chunk, 0, sizeof(*chunk));
	chunk->last.context = CurrentMemoryContext;
	chunk->filter = current->filter;
	if (!try(plan_current, chunk))
		return "UNKNOWN_SCHEMA";
	desc = chunk->table->desc;
	chunk->nkeys = desc->nkeys;
	chunk->keys = desc->keys;
	chunk->unique = true;
	chunk->keep_last = compatible && desc->nkeys == 0;
	if (current->surrogate)
	{
		chunk->keys = palloc(sizeof(int));
		chunk->nkeys = 1;
		chunk->unique = compatible;
		for (chunk->keys[0] = 0; chunk->keys[0] < desc->ncolumns; chunk->keys[0]++)
		{
			if (strcmp(desc->columns[chunk->keys[0]].name, current->surrogate) == 0)
				break;
		}
		if (chunk->keys[0] == desc->ncolumns)
			return "UNKNOWN_SCHEMA";
	}
	if (chunk->nkeys == 0 && compatible)
		return "NO_PRIMARY_KEY";
	if (!is_safe_key(chunk))
		chunk->nkeys = 0;
	return NULL;
}

static void
make_window(const Chunk *chunk)
{
	const EventlogRelationDesc *desc = chunk->table->desc;
	int		   *all = palloc(Max(desc->ncolumns, 1) * sizeof(int));
	MemoryContext caller;

	free_window();
	for (int i = 0; i < desc->ncolumns; i++)
		all[i] = i;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	if (desc->nkeys > 0)
		window = eventlog_window_create(desc, desc->nkeys, desc->keys);
	else
		window = eventlog_window_create(desc, chunk->keep_last ? 0 : desc->ncolumns, all);
	MemoryContextSwitchTo(caller);
	window_relid = desc->relid;
}

static void
key_of_last(const Chunk *chunk, char **values)
{
	for (int i = 0; i < chunk->nkeys; i++)
	{
		const EventlogColumnValue *value = &chunk->last.values[chunk->keys[i]];

		values[i] = NULL;
		if (value->kind == 't')
			values[i] = pg_any_to_server(pnstrdup(value->text, value->len), value->len, PG_UTF8);
	}
}

static void
notify_scanned(const char *status)
{
	char		rows[MAXINT8LEN + 1];

	pg_lltoa(state->position.rows, rows);
	eventlog_capture_notify(capture, encoder, state->correlation, EVENTLOG_NOTIFY_INCREMENTAL,
							"TABLE_SCAN_COMPLETED",
							"scanned_collection", ((EventlogCollection *) linitial(state->collections))->name,
							"connector_name", capture->topic_prefix,
							"total_rows_scanned", rows,
							"status", status,
							"data_collections", eventlog_incremental_collection_names(), NULL);
}

static char *
print_key(bool known, const EventlogKey *key)
{
	List	   *values = NIL;

	if (!known)
		return "\"<null>\"";
	for (int i = 0; i < key->n; i++)
		values = lappend(values, key->values[i] ? key->values[i] : "<null>");
	return eventlog_names_join(values);
}

static void
notify_in_progress(void)
{
	eventlog_capture_notify(capture, encoder, state->correlation, EVENTLOG_NOTIFY_INCREMENTAL,
							"IN_PROGRESS",
							"current_collection_in_progress",
							((EventlogCollection *) linitial(state->collections))->name,
							"connector_name", capture->topic_prefix,
							"maximum_key", print_key(state->position.has_max, &state->position.max),
							"data_collections", eventlog_incremental_collection_names(),
							"last_processed_key", print_key(state->position.has_last, &state->position.last),
							NULL);
}

/* The next rows by key.  Returns a status if the table is done, or NULL. */
static const char *
read_by_key(Chunk *chunk)
{
	char	  **key = palloc0(chunk->nkeys * sizeof(char *));

	if (!state->position.has_max)
	{
		free_window();
		chunk->rows = 0;
		chunk->sql = max_key_query(chunk);
		if (!try(run_query, chunk))
			return "SQL_EXCEPTION";
		if (chunk->rows == 0)
			return "EMPTY";
		key_of_last(chunk, key);
		eventlog_state_set_max(state, chunk->nkeys, key);
	}
	make_window(chunk);
	chunk->rows = 0;
	chunk->sql = key_query(chunk);
	if (!try(run_query, chunk))
		return "SQL_EXCEPTION";
	if (chunk->rows == 0)
		return "SUCCEEDED";
	key_of_last(chunk, key);
	eventlog_state_set_last(state, chunk->nkeys, key);
	return NULL;
}

/*
 * The next rows of a table without a key, some blocks at a time: what is moved
 * by an update meanwhile is in the stream.  If the table cannot be read so, all
 * of it is one chunk.  If it has been rewritten, it is read again.
 */
static const char *
read_without_key(Chunk *chunk)
{
	EventlogPosition *at = &state->position;
	BlockNumber step = Max(capture->config->incremental_chunk_size / 64, 1);

	if (!at->has_last || (chunk->table->by_blocks && at->file != chunk->table->file))
	{
		eventlog_state_set_last(state, 0, NULL);
		at->next_block = 0;
		at->end_block = chunk->table->by_blocks ? chunk->table->nblocks : 1;
		at->file = chunk->table->file;
	}
	make_window(chunk);
	chunk->rows = 0;
	while (at->next_block < at->end_block && chunk->rows == 0)
	{
		BlockNumber to = at->end_block - at->next_block <= step ? at->end_block : at->next_block + step;
		StringInfoData all;
		bool		has_where;

		CHECK_FOR_INTERRUPTS();
		begin_query(&all, &has_where, chunk);
		chunk->sql = chunk->table->by_blocks ? block_query(chunk, at->next_block, to) : all.data;
		if (!try(run_query, chunk))
			return "SQL_EXCEPTION";
		at->next_block = to;
	}
	return chunk->rows == 0 ? "SUCCEEDED" : NULL;
}

/* Read rows of the first table that has some left. */
static void
read_rows(void)
{
	while (state->collections != NIL)
	{
		Chunk		chunk;
		const char *status = prepare(&chunk);

		CHECK_FOR_INTERRUPTS();
		if (status == NULL)
			status = chunk.nkeys > 0 ? read_by_key(&chunk) : read_without_key(&chunk);
		if (table_locked)
			return;
		if (status == NULL)
		{
			state->position.rows += chunk.rows;
			notify_in_progress();
			return;
		}
		if (strcmp(status, "SUCCEEDED") != 0 && strcmp(status, "EMPTY") != 0)
			ereport(LOG,
					(errmsg("capture \"%s\": incremental snapshot of table \"%s\" ends: %s",
							capture->name, ((EventlogCollection *) linitial(state->collections))->name,
							status)));
		notify_scanned(status);
		eventlog_incremental_next_collection();
		free_window();
	}
}

EventlogWindow *
eventlog_chunk_read(Oid *relid, bool *locked)
{
	EventlogWindow *result;

	free_window();
	table_locked = false;
	read_rows();
	if (table_locked)
		free_window();
	*locked = table_locked;
	*relid = window_relid;
	result = window;
	window = NULL;
	return result;
}

void
eventlog_chunk_init(EventlogCapture *c, EventlogEncoder *e, EventlogIncrementalState *s)
{
	capture = c;
	encoder = e;
	state = s;
	plan.context = AllocSetContextCreate(TopMemoryContext, "eventlog incremental plan",
										 ALLOCSET_SMALL_SIZES);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONOID, publication_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONRELMAP, publication_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONNAMESPACEMAP, publication_changed, (Datum) 0);
}
