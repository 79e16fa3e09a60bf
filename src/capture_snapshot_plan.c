/*-------------------------------------------------------------------------
 *
 * capture_snapshot_plan.c
 *	  Which tables a snapshot reads, in what order, and by which queries.
 *
 * A publication is followed to the letter: its tables, its column lists and
 * its row filters, so a snapshot shows what the stream would.  Debezium reads
 * whatever table its own lists let through, partitioned tables and their
 * partitions alike, and that is what the compatible mode does.
 *
 * The snapshot is as old as the slot's consistent point, while locks and
 * caches know the present.  What happened between is found by comparing the
 * two: a table that was rewritten would look empty, and one that was published
 * in between would miss rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "parser/scansup.h"
#include "regex/regex.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture_snapshot.h"
#include "topic.h"

/* A table that may be read, as the catalogue has it. */
typedef struct Candidate
{
	Oid			relid;
	char		relkind;
	char	   *schema;
	char	   *table;
	char	   *name;			/* schema.table */
	ArrayType  *columns;		/* NULL: all */
	char	   *filter;			/* NULL: none */
	BlockNumber nblocks;		/* with partitions */
	bool		has_children;
} Candidate;

/* $1: publication, $2: our access method, $3: table.include.list or null */
#define PUBLISHED \
	"SELECT c.oid, c.relkind, c.relam, n.nspname, c.relname," \
	" p.attnames::text[] AS columns, p.rowfilter AS filter" \
	" FROM pg_catalog.pg_publication_tables p" \
	" JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname" \
	" JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename" \
	" WHERE p.pubname = $1"
#define ALL_TABLES \
	"SELECT c.oid, c.relkind, c.relam, n.nspname, c.relname," \
	" NULL::text[] AS columns, NULL::text AS filter" \
	" FROM pg_catalog.pg_class c" \
	" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace" \
	" WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'" \
	" AND n.nspname <> 'information_schema' AND $1 IS NOT NULL"
#define CANDIDATES(source) \
	"SELECT t.oid, t.relkind, t.nspname::text, t.relname::text, t.columns, t.filter" \
	" FROM (" source ") t, LATERAL (" \
	"  SELECT pg_catalog.min(ord) AS rank" \
	"  FROM pg_catalog.regexp_split_to_table($3, '(?<!\\\\),') WITH ORDINALITY p(pattern, ord)" \
	"  WHERE t.nspname || '.' || t.relname ~*" \
	"   ('^(?:' || pg_catalog.replace(pg_catalog.btrim(pattern), '\\,', ',') || ')$')) r" \
	" WHERE t.nspname <> 'eventlog' AND t.relam <> $2 AND NOT EXISTS (" \
	"  SELECT FROM pg_catalog.pg_partition_tree(t.oid) l" \
	"  JOIN pg_catalog.pg_class lc ON lc.oid = l.relid WHERE lc.relam = $2)" \
	" ORDER BY rank NULLS LAST, (t.nspname || '.' || t.relname) COLLATE \"C\""

/* What a publication consists of, to notice changes: $1 is its name. */
#define FINGERPRINT \
	"SELECT pg_catalog.string_agg(part, E'\\n' ORDER BY part COLLATE \"C\") FROM (" \
	" SELECT p::text FROM pg_catalog.pg_publication p WHERE p.pubname = $1" \
	" UNION ALL SELECT r::text FROM pg_catalog.pg_publication_rel r" \
	"  JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1" \
	" UNION ALL SELECT n::text FROM pg_catalog.pg_publication_namespace n" \
	"  JOIN pg_catalog.pg_publication p ON p.oid = n.pnpubid WHERE p.pubname = $1" \
	") f(part)"

/* A text of the configuration as it was given; NULL: none. */
static char *
config_text(Jsonb *config, const char *name)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(&config->root, name, strlen(name), &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

bool
eventlog_capture_name_matches(const char *name, const char *pattern, bool ignore_case)
{
	text	   *whole = cstring_to_text(psprintf("^(?:%s)$", pattern));
	bool		result;

	result = RE_compile_and_execute(whole, unconstify(char *, name), strlen(name),
									REG_ADVANCED | (ignore_case ? REG_ICASE : 0),
									DEFAULT_COLLATION_OID, 0, NULL);
	pfree(whole);
	return result;
}

static void
refuse_moved(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("%s \"%s\" has changed since the snapshot was taken", what, name),
			 errdetail("Rows would be missing from the snapshot."),
			 errhint("The snapshot is begun again.")));
}

/* ---- catalogue ---- */

static char *
fingerprint(const char *publication)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(publication)};
	char	   *result;

	if (SPI_execute_with_args(FINGERPRINT, 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the publication");
	result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	return result ? result : "";
}

static void
check_publication(const char *publication)
{
	char	   *then = fingerprint(publication);
	char	   *now;

	PushActiveSnapshot(GetLatestSnapshot());
	now = fingerprint(publication);
	PopActiveSnapshot();
	if (strcmp(then, now) != 0)
		refuse_moved("publication", publication);
}

static List *
read_candidates(EventlogCapture *capture, MemoryContext context)
{
	Oid			types[3] = {TEXTOID, OIDOID, TEXTOID};
	Datum		values[3] = {CStringGetTextDatum(capture->publication),
	ObjectIdGetDatum(eventlog_am_oid())};
	char	   *include = config_text(capture->config_json, "table.include.list");
	char		nulls[4] = "   ";
	List	   *result = NIL;

	if (include)
		values[2] = CStringGetTextDatum(include);
	else
		nulls[2] = 'n';
	if (SPI_execute_with_args(capture->config->compatible ? CANDIDATES(ALL_TABLES) : CANDIDATES(PUBLISHED),
							  3, types, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of the publication");

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		MemoryContext caller = MemoryContextSwitchTo(context);
		Candidate  *candidate = palloc0(sizeof(Candidate));
		bool		isnull;
		Datum		value;

		candidate->relid = DatumGetObjectId(SPI_getbinval(tuple, tupdesc, 1, &isnull));
		candidate->relkind = DatumGetChar(SPI_getbinval(tuple, tupdesc, 2, &isnull));
		candidate->schema = TextDatumGetCString(SPI_getbinval(tuple, tupdesc, 3, &isnull));
		candidate->table = TextDatumGetCString(SPI_getbinval(tuple, tupdesc, 4, &isnull));
		candidate->name = psprintf("%s.%s", candidate->schema, candidate->table);
		value = SPI_getbinval(tuple, tupdesc, 5, &isnull);
		if (!isnull)
			candidate->columns = DatumGetArrayTypePCopy(value);
		value = SPI_getbinval(tuple, tupdesc, 6, &isnull);
		if (!isnull)
			candidate->filter = TextDatumGetCString(value);
		if (eventlog_capture_config_has_table(capture->config, candidate->schema,
											  candidate->table) ||
			(capture->config->signal_table &&
			 strcmp(candidate->name, capture->config->signal_table) == 0))
			result = lappend(result, candidate);
		MemoryContextSwitchTo(caller);
	}
	return result;
}

/*
 * Was one of these tables, now locked, rewritten after the snapshot?  Its rows
 * were written anew by then, and the snapshot does not see them.
 */
static void
check_files(List *relids)
{
	Oid			types[1] = {OIDARRAYOID};
	int			n = list_length(relids);
	Datum	   *elements = palloc(Max(n, 1) * sizeof(Datum));
	Datum		values[1];
	int			i = 0;
	ListCell   *lc;

	foreach(lc, relids)
		elements[i++] = ObjectIdGetDatum(lfirst_oid(lc));
	values[0] = PointerGetDatum(construct_array(elements, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	if (SPI_execute_with_args("SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class"
							  " WHERE oid = ANY ($1) AND relkind = 'r'"
							  " AND relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(oid)",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the files of the tables");
	if (SPI_processed > 0)
		refuse_moved("table", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

/*
 * Lock a table and what is below it, until the transaction ends, and learn
 * its size.  False if it has gone.
 */
static bool
lock_table(Candidate *candidate, List **locked)
{
	Relation	rel = try_relation_open(candidate->relid, AccessShareLock);
	List	   *members;
	ListCell   *lc;

	if (rel == NULL)
		return false;
	members = find_all_inheritors(candidate->relid, AccessShareLock, NULL);
	candidate->has_children = list_length(members) > 1;
	foreach(lc, members)
	{
		Relation	member = try_relation_open(lfirst_oid(lc), NoLock);

		if (member == NULL)
			continue;
		if (member->rd_rel->relkind == RELKIND_RELATION)
			candidate->nblocks += RelationGetNumberOfBlocks(member);
		relation_close(member, NoLock);
	}
	relation_close(rel, NoLock);
	*locked = list_concat(*locked, members);
	return true;
}

/* ---- queries ---- */

/* The statement that was configured or asked for instead of the whole table. */
static char *
find_override(EventlogCapture *capture, const EventlogSnapshotRequest *request, const char *name)
{
	const EventlogCaptureConfig *config = capture->config;
	const char *statement = NULL;
	char	   *copy;
	int			len;
	ListCell   *table;
	ListCell   *sql;

	forboth(table, request->override_tables, sql, request->override_statements)
	{
		if (strcmp(lfirst(table), name) == 0)
			statement = lfirst(sql);
	}
	for (int i = 0; request->initial && i < config->noverrides; i++)
	{
		if (strcmp(config->override_tables[i], name) == 0)
			statement = config->override_statements[i];
	}
	if (statement == NULL)
		return NULL;

	copy = pstrdup(statement);
	for (len = strlen(copy); len > 0 && (copy[len - 1] == ';' || scanner_isspace(copy[len - 1]));)
		copy[--len] = '\0';
	return copy;
}

/* The columns that are published, of those that the table has. */
static EventlogRelationDesc *
project(EventlogRelationDesc *desc, const Candidate *candidate)
{
	Datum	   *published;
	int			npublished;
	char	  **names = palloc(Max(desc->ncolumns, 1) * sizeof(char *));
	int			n = 0;

	if (candidate->columns == NULL)
		return desc;
	deconstruct_array(candidate->columns, TEXTOID, -1, false, TYPALIGN_INT,
					  &published, NULL, &npublished);
	for (int i = 0; i < desc->ncolumns; i++)
	{
		if (desc->columns[i].generated && !EVENTLOG_PUBLISHES_GENERATED)
			continue;
		for (int j = 0; j < npublished; j++)
		{
			if (strcmp(desc->columns[i].name, TextDatumGetCString(published[j])) == 0)
			{
				names[n++] = desc->columns[i].name;
				break;
			}
		}
	}
	return eventlog_desc_project(desc, n, names);
}

static void
build_query(EventlogSnapshotTable *table, const Candidate *candidate, const char *override,
			bool compatible)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (override && (compatible || candidate->filter == NULL))
	{
		table->sql = pstrdup(override);
		return;
	}

	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < table->desc->ncolumns; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(table->desc->columns[i].name));
	if (override)
		appendStringInfo(&sql, " FROM (%s) AS %s", override, quote_identifier(candidate->table));
	else
	{
		/* a table that is published says nothing of those that inherit from it */
		appendStringInfo(&sql, " FROM %s%s.%s",
						 candidate->relkind == RELKIND_RELATION && !compatible ? "ONLY " : "",
						 quote_identifier(candidate->schema), quote_identifier(candidate->table));
	}
	if (candidate->filter)
		appendStringInfo(&sql, " WHERE (%s)", candidate->filter);
	table->sql = sql.data;
	table->has_where = candidate->filter != NULL;
}

char *
eventlog_snapshot_chunk_sql(const EventlogSnapshotTable *table, const EventlogSnapshotChunk *chunk)
{
	StringInfoData sql;

	if (chunk->from == 0 && chunk->to == 0)
		return pstrdup(table->sql);
	initStringInfo(&sql);
	appendStringInfo(&sql, "%s %s ctid >= '(%u,0)'::pg_catalog.tid", table->sql,
					 table->has_where ? "AND" : "WHERE", chunk->from);
	if (chunk->to != InvalidBlockNumber)
		appendStringInfo(&sql, " AND ctid < '(%u,0)'::pg_catalog.tid", chunk->to);
	return sql.data;
}

/* ---- the plan ---- */

static EventlogSnapshotTable *
plan_table(EventlogCapture *capture, EventlogEncoder *encoder,
		   const EventlogSnapshotRequest *request, const Candidate *candidate)
{
	bool		compatible = capture->config->compatible;
	EventlogSnapshotTable *table = palloc0(sizeof(EventlogSnapshotTable));
	char	   *override = find_override(capture, request, candidate->name);
	Relation	rel = relation_open(candidate->relid, NoLock);

	table->relid = candidate->relid;
	table->name = candidate->name;
	table->desc = project(eventlog_desc_build(rel), candidate);
	table->nblocks = candidate->nblocks;
	table->file = rel->rd_rel->relfilenode;
	table->by_blocks = override == NULL && !candidate->has_children &&
		rel->rd_tableam == GetHeapamTableAmRoutine();
	relation_close(rel, NoLock);

	if (eventlog_encoder_table(encoder, table->desc) == NULL)
		return NULL;
	table->users_sql = override != NULL;
	build_query(table, candidate, override, compatible);
	return table;
}

static bool
matches(List *patterns, const char *name)
{
	ListCell   *lc;

	if (patterns == NIL)
		return true;
	foreach(lc, patterns)
	{
		if (eventlog_capture_name_matches(name, lfirst(lc), true))
			return true;
	}
	return false;
}

List *
eventlog_snapshot_plan(EventlogCapture *capture, EventlogEncoder *encoder,
					   const EventlogSnapshotRequest *request, List **all_tables)
{
	MemoryContext context = CurrentMemoryContext;
	const char *signal_table = capture->config->signal_table;
	List	   *candidates;
	List	   *tables = NIL;
	List	   *locked = NIL;
	ListCell   *lc;

	SPI_connect();
	if (!capture->config->compatible && request->initial)
		check_publication(capture->publication);
	candidates = read_candidates(capture, context);
	MemoryContextSwitchTo(context);
	foreach(lc, candidates)
	{
		Candidate  *candidate = lfirst(lc);
		EventlogSnapshotTable *table;
		bool		signals = signal_table && strcmp(candidate->name, signal_table) == 0;

		if (!matches(request->patterns, candidate->name))
			continue;
		if (!signals && request->initial &&
			!eventlog_capture_config_in_snapshot(capture->config, candidate->name))
			continue;
		if (all_tables)
			*all_tables = lappend(*all_tables, candidate->name);
		if (signals)
			continue;
		if (!lock_table(candidate, &locked))
			refuse_moved("table", candidate->name);
		table = plan_table(capture, encoder, request, candidate);
		if (table)
			tables = lappend(tables, table);
	}
	check_files(locked);
	SPI_finish();
	MemoryContextSwitchTo(context);
	return tables;
}

EventlogSnapshotTable *
eventlog_snapshot_plan_table(EventlogCapture *capture, EventlogEncoder *encoder, const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	EventlogSnapshotRequest request = {0};
	EventlogSnapshotTable *table = NULL;
	List	   *candidates;
	List	   *locked = NIL;
	ListCell   *lc;

	SPI_connect();
	candidates = read_candidates(capture, context);
	SPI_finish();
	foreach(lc, candidates)
	{
		Candidate  *candidate = lfirst(lc);

		if (strcmp(candidate->name, name) == 0 && lock_table(candidate, &locked))
			table = plan_table(capture, encoder, &request, candidate);
	}
	return table;
}

List *
eventlog_snapshot_table_names(EventlogCapture *capture)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *result = NIL;
	List	   *candidates;
	ListCell   *lc;

	/* the transaction may be older than the newest table */
	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	candidates = read_candidates(capture, context);
	SPI_finish();
	PopActiveSnapshot();
	foreach(lc, candidates)
		result = lappend(result, ((Candidate *) lfirst(lc))->name);
	return result;
}
