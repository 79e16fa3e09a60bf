/*-------------------------------------------------------------------------
 *
 * capture_desc.c
 *	  Descriptions of captured tables: from the catalogues, to bytes and back.
 *
 * Everything is read through syscache and relcache, which follow the historic
 * snapshot while the decoder has one set up.  So nothing here opens or locks
 * a relation, scans an index, or looks into the type cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_index.h"
#include "catalog/pg_range.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "capture_default.h"
#include "capture_desc.h"

/* --- types --- */

static EventlogTypeDesc *describe_type(Oid typid, int32 typmod);

typedef struct LabelOrder
{
	float4		order;
	char	   *label;
} LabelOrder;

static int
compare_labels(const void *a, const void *b)
{
	float4		x = ((const LabelOrder *) a)->order;
	float4		y = ((const LabelOrder *) b)->order;

	return (x > y) - (x < y);
}

/* An enum's labels, in their order. */
static void
describe_labels(EventlogTypeDesc *type)
{
	CatCList   *list = SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(type->oid));
	LabelOrder *found = palloc_array(LabelOrder, list->n_members + 1);

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_enum form = (Form_pg_enum) GETSTRUCT(&list->members[i]->tuple);

		found[i].order = form->enumsortorder;
		found[i].label = pstrdup(NameStr(form->enumlabel));
	}
	type->nlabels = list->n_members;
	ReleaseCatCacheList(list);

	qsort(found, type->nlabels, sizeof(LabelOrder), compare_labels);
	type->labels = palloc_array(char *, type->nlabels + 1);
	for (int i = 0; i < type->nlabels; i++)
		type->labels[i] = found[i].label;
	pfree(found);
}

/* A composite's fields. */
static void
describe_fields(EventlogTypeDesc *type, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	int			natts;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	natts = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);

	type->field_names = palloc_array(char *, natts + 1);
	type->field_types = palloc_array(EventlogTypeDesc *, natts + 1);
	for (int i = 1; i <= natts; i++)
	{
		Form_pg_attribute att;

		tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(i));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for attribute %d of relation %u", i, relid);
		att = (Form_pg_attribute) GETSTRUCT(tuple);
		if (!att->attisdropped)
		{
			type->field_names[type->nfields] = pstrdup(NameStr(att->attname));
			type->field_types[type->nfields] = describe_type(att->atttypid, att->atttypmod);
			type->nfields++;
		}
		ReleaseSysCache(tuple);
	}
}

/* A range's subtype or a multirange's range. */
static EventlogTypeDesc *
describe_range_element(Oid typid, bool multirange)
{
	HeapTuple	tuple = SearchSysCache1(multirange ? RANGEMULTIRANGE : RANGETYPE,
										ObjectIdGetDatum(typid));
	Form_pg_range form;
	Oid			element;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for range type %u", typid);
	form = (Form_pg_range) GETSTRUCT(tuple);
	element = multirange ? form->rngtypid : form->rngsubtype;
	ReleaseSysCache(tuple);
	return describe_type(element, -1);
}

/* Go from a domain to what it is over; the innermost typmod that there is. */
static HeapTuple
resolve_domains(Oid typid, EventlogTypeDesc *type)
{
	for (;;)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
		Form_pg_type form;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for type %u", typid);
		form = (Form_pg_type) GETSTRUCT(tuple);
		if (form->typtype != TYPTYPE_DOMAIN)
			return tuple;
		if (type->domain == NULL)
			type->domain = pstrdup(NameStr(form->typname));
		if (form->typtypmod >= 0)
			type->typmod = form->typtypmod;
		type->domain_not_null |= form->typnotnull;
		typid = form->typbasetype;
		ReleaseSysCache(tuple);
	}
}

static EventlogTypeDesc *
describe_type(Oid typid, int32 typmod)
{
	EventlogTypeDesc *type = palloc0_object(EventlogTypeDesc);
	HeapTuple	tuple;
	Form_pg_type form;
	char	   *schema;

	check_stack_depth();
	type->typmod = typmod;
	tuple = resolve_domains(typid, type);
	form = (Form_pg_type) GETSTRUCT(tuple);

	type->oid = form->oid;
	type->name = pstrdup(NameStr(form->typname));
	schema = get_namespace_name(form->typnamespace);
	type->schema = schema ? schema : pstrdup("");
	type->delimiter = form->typdelim;
	type->kind = EVENTLOG_TYPE_BASE;

	if (form->typtype == TYPTYPE_ENUM)
	{
		type->kind = EVENTLOG_TYPE_ENUM;
		describe_labels(type);
	}
	else if (form->typtype == TYPTYPE_COMPOSITE)
	{
		type->kind = EVENTLOG_TYPE_COMPOSITE;
		describe_fields(type, form->typrelid);
	}
	else if (form->typtype == TYPTYPE_RANGE)
	{
		type->kind = EVENTLOG_TYPE_RANGE;
		type->element = describe_range_element(form->oid, false);
	}
	else if (form->typtype == TYPTYPE_MULTIRANGE)
	{
		type->kind = EVENTLOG_TYPE_MULTIRANGE;
		type->element = describe_range_element(form->oid, true);
	}
	else if (IsTrueArrayType(form) && form->oid != INT2VECTOROID && form->oid != OIDVECTOROID)
	{
		type->kind = EVENTLOG_TYPE_ARRAY;
		type->element = describe_type(form->typelem, type->typmod);
	}
	ReleaseSysCache(tuple);
	return type;
}

/* --- columns and key --- */

/* The expression of a column's default; NULL: none. */
static const char *
column_default(Relation rel, AttrNumber attnum)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_defval; i++)
	{
		if (constr->defval[i].adnum == attnum)
			return constr->defval[i].adbin;
	}
	return NULL;
}

static void
describe_column(EventlogColumnDesc *column, Relation rel, Form_pg_attribute att)
{
	column->name = pstrdup(NameStr(att->attname));
	column->attnum = att->attnum;
	column->generated = att->attgenerated != '\0';
	column->type = describe_type(att->atttypid, att->atttypmod);
	column->not_null = att->attnotnull || column->type->domain_not_null;
	column->has_default = att->atthasdef && !column->generated;
	if (column->has_default)
	{
		const char *expression = column_default(rel, att->attnum);

		if (expression != NULL)
		{
			Node	   *node = stringToNode(expression);

			column->default_value = eventlog_default_constant(column->type, node);
			column->default_seen = eventlog_default_seen(column->type, node);
		}
	}
}

/* Index into columns of an attribute; -1: not there. */
static int
column_of_attnum(const EventlogRelationDesc *desc, AttrNumber attnum)
{
	for (int i = 0; i < desc->ncolumns; i++)
	{
		if (desc->columns[i].attnum == attnum)
			return i;
	}
	return -1;
}

/* May this index be the key: unique at once, over all rows, columns only? */
static bool
index_is_key(const EventlogRelationDesc *desc, HeapTuple tuple)
{
	Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);

	if (form->indisprimary)
		return true;
	if (!form->indisunique || !form->indimmediate || !form->indisvalid ||
		!heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		int			column = column_of_attnum(desc, form->indkey.values[i]);

		if (column < 0 || !desc->columns[column].not_null)
			return false;
	}
	return true;
}

/* Does Debezium take this index for a key: unique in some way, columns only? */
static bool
index_is_seen(const EventlogRelationDesc *desc, HeapTuple tuple)
{
	Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);

	if (form->indisprimary)
		return true;
	if (!form->indisunique)
		return false;
	for (int i = 0; i < form->indnatts; i++)
	{
		if (column_of_attnum(desc, form->indkey.values[i]) < 0)
			return false;
	}
	return true;
}

/*
 * The primary key; without one, of the indexes that could be one, that which
 * Debezium comes to first: one that the table is clustered by, or else by name.
 * To be released; NULL if there is none.
 */
static HeapTuple
find_key_index(const EventlogRelationDesc *desc, List *indexes,
			   bool (*is_key) (const EventlogRelationDesc *, HeapTuple))
{
	HeapTuple	best = NULL;
	char	   *best_name = NULL;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));
		char	   *name = get_rel_name(lfirst_oid(lc));
		Form_pg_index form;
		bool		better;

		if (!HeapTupleIsValid(tuple))
			continue;
		form = (Form_pg_index) GETSTRUCT(tuple);
		better = name != NULL && is_key(desc, tuple);
		if (better && best != NULL && !form->indisprimary)
		{
			Form_pg_index other = (Form_pg_index) GETSTRUCT(best);

			if (other->indisprimary || form->indisclustered != other->indisclustered)
				better = form->indisclustered && !other->indisprimary;
			else
				better = strcmp(name, best_name) < 0;
		}
		if (!better)
		{
			ReleaseSysCache(tuple);
			continue;
		}
		if (best != NULL)
			ReleaseSysCache(best);
		best = tuple;
		best_name = name;
	}
	return best;
}

static void
describe_key(EventlogRelationDesc *desc, Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	HeapTuple	tuple = find_key_index(desc, indexes, index_is_key);
	Form_pg_index form;

	if (tuple != NULL)
	{
		form = (Form_pg_index) GETSTRUCT(tuple);
		desc->key_is_primary = form->indisprimary;
		desc->keys = palloc_array(int, form->indnkeyatts);
		for (int i = 0; i < form->indnkeyatts; i++)
			desc->keys[desc->nkeys++] = column_of_attnum(desc, form->indkey.values[i]);
		ReleaseSysCache(tuple);
	}

	/* Debezium's has the columns that are only included, too */
	tuple = find_key_index(desc, indexes, index_is_seen);
	if (tuple != NULL)
	{
		int			n;

		form = (Form_pg_index) GETSTRUCT(tuple);
		n = form->indisprimary ? form->indnkeyatts : form->indnatts;
		desc->seen_keys = palloc_array(int, n);
		for (int i = 0; i < n; i++)
			desc->seen_keys[desc->nseen_keys++] = column_of_attnum(desc, form->indkey.values[i]);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
}

/* Mark the columns of the index that was made the replica identity. */
static void
describe_identity(EventlogRelationDesc *desc, Relation rel)
{
	Oid			index = desc->replica_identity == REPLICA_IDENTITY_INDEX ?
		RelationGetReplicaIndex(rel) : InvalidOid;
	HeapTuple	tuple;
	Form_pg_index form;

	if (!OidIsValid(index))
		return;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		int			column = column_of_attnum(desc, form->indkey.values[i]);

		if (column >= 0)
			desc->columns[column].in_identity = true;
	}
	ReleaseSysCache(tuple);
}

EventlogRelationDesc *
eventlog_desc_build(Relation rel)
{
	EventlogRelationDesc *desc = palloc0_object(EventlogRelationDesc);
	TupleDesc	tupdesc = RelationGetDescr(rel);
	char	   *schema = get_namespace_name(RelationGetNamespace(rel));

	desc->relid = RelationGetRelid(rel);
	desc->schema = schema ? schema : pstrdup("");
	desc->name = pstrdup(RelationGetRelationName(rel));
	desc->relkind = rel->rd_rel->relkind;
	desc->replica_identity = rel->rd_rel->relreplident;
	desc->owner = rel->rd_rel->relowner;
	desc->columns = palloc0_array(EventlogColumnDesc, tupdesc->natts + 1);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped)
			describe_column(&desc->columns[desc->ncolumns++], rel, att);
	}
	describe_key(desc, rel);
	describe_identity(desc, rel);
	return desc;
}

/* --- to bytes and back --- */

static void
write_string(StringInfo out, const char *string)
{
	if (string == NULL)
	{
		pq_sendint32(out, PG_UINT32_MAX);
		return;
	}
	pq_sendint32(out, strlen(string));
	appendBinaryStringInfo(out, string, strlen(string));
}

static char *
read_string(StringInfo in)
{
	int32		len = (int32) pq_getmsgint(in, 4);

	return len < 0 ? NULL : pnstrdup(pq_getmsgbytes(in, len), len);
}

/* A count of things that take at least a byte each. */
static int
read_count(StringInfo in)
{
	uint32		count = pq_getmsgint(in, 4);

	if (count > (uint32) (in->len - in->cursor))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("description of a captured table is damaged")));
	return (int) count;
}

static void
write_type(StringInfo out, const EventlogTypeDesc *type)
{
	check_stack_depth();
	pq_sendint32(out, type->oid);
	write_string(out, type->schema);
	write_string(out, type->name);
	pq_sendbyte(out, type->kind);
	pq_sendint32(out, type->typmod);
	write_string(out, type->domain);
	pq_sendbyte(out, type->domain_not_null);
	pq_sendbyte(out, type->delimiter);
	pq_sendint32(out, type->nlabels);
	for (int i = 0; i < type->nlabels; i++)
		write_string(out, type->labels[i]);
	pq_sendint32(out, type->nfields);
	for (int i = 0; i < type->nfields; i++)
	{
		write_string(out, type->field_names[i]);
		write_type(out, type->field_types[i]);
	}
	pq_sendbyte(out, type->element != NULL);
	if (type->element != NULL)
		write_type(out, type->element);
}

static EventlogTypeDesc *
read_type(StringInfo in)
{
	EventlogTypeDesc *type = palloc0_object(EventlogTypeDesc);

	check_stack_depth();
	type->oid = pq_getmsgint(in, 4);
	type->schema = read_string(in);
	type->name = read_string(in);
	type->kind = (EventlogTypeKind) pq_getmsgbyte(in);
	type->typmod = (int32) pq_getmsgint(in, 4);
	type->domain = read_string(in);
	type->domain_not_null = pq_getmsgbyte(in) != 0;
	type->delimiter = (char) pq_getmsgbyte(in);
	type->nlabels = read_count(in);
	type->labels = palloc_array(char *, type->nlabels + 1);
	for (int i = 0; i < type->nlabels; i++)
		type->labels[i] = read_string(in);
	type->nfields = read_count(in);
	type->field_names = palloc_array(char *, type->nfields + 1);
	type->field_types = palloc_array(EventlogTypeDesc *, type->nfields + 1);
	for (int i = 0; i < type->nfields; i++)
	{
		type->field_names[i] = read_string(in);
		type->field_types[i] = read_type(in);
	}
	if (pq_getmsgbyte(in))
		type->element = read_type(in);
	return type;
}

static void
write_keys(StringInfo out, int n, const int *keys)
{
	pq_sendint32(out, n);
	for (int i = 0; i < n; i++)
		pq_sendint32(out, keys[i]);
}

static int *
read_keys(StringInfo in, int ncolumns, int *n)
{
	int		   *keys;

	*n = read_count(in);
	keys = palloc_array(int, *n + 1);
	for (int i = 0; i < *n; i++)
	{
		keys[i] = (int) pq_getmsgint(in, 4);
		if (keys[i] < 0 || keys[i] >= ncolumns)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("description of a captured table is damaged")));
	}
	return keys;
}

void
eventlog_desc_write(StringInfo out, const EventlogRelationDesc *desc)
{
	pq_sendint32(out, desc->relid);
	write_string(out, desc->schema);
	write_string(out, desc->name);
	pq_sendbyte(out, desc->relkind);
	pq_sendbyte(out, desc->replica_identity);
	pq_sendint32(out, desc->owner);
	pq_sendint32(out, desc->ncolumns);
	for (int i = 0; i < desc->ncolumns; i++)
	{
		const EventlogColumnDesc *column = &desc->columns[i];

		write_string(out, column->name);
		pq_sendint16(out, column->attnum);
		pq_sendbyte(out, column->not_null);
		pq_sendbyte(out, column->generated);
		pq_sendbyte(out, column->in_identity);
		pq_sendbyte(out, column->has_default);
		write_string(out, column->default_value);
		write_string(out, column->default_seen);
		write_type(out, column->type);
	}
	pq_sendbyte(out, desc->key_is_primary);
	write_keys(out, desc->nkeys, desc->keys);
	write_keys(out, desc->nseen_keys, desc->seen_keys);
}

EventlogRelationDesc *
eventlog_desc_read(StringInfo in)
{
	EventlogRelationDesc *desc = palloc0_object(EventlogRelationDesc);

	desc->relid = pq_getmsgint(in, 4);
	desc->schema = read_string(in);
	desc->name = read_string(in);
	desc->relkind = (char) pq_getmsgbyte(in);
	desc->replica_identity = (char) pq_getmsgbyte(in);
	desc->owner = pq_getmsgint(in, 4);
	desc->ncolumns = read_count(in);
	desc->columns = palloc0_array(EventlogColumnDesc, desc->ncolumns + 1);
	for (int i = 0; i < desc->ncolumns; i++)
	{
		EventlogColumnDesc *column = &desc->columns[i];

		column->name = read_string(in);
		column->attnum = (AttrNumber) pq_getmsgint(in, 2);
		column->not_null = pq_getmsgbyte(in) != 0;
		column->generated = pq_getmsgbyte(in) != 0;
		column->in_identity = pq_getmsgbyte(in) != 0;
		column->has_default = pq_getmsgbyte(in) != 0;
		column->default_value = read_string(in);
		column->default_seen = read_string(in);
		column->type = read_type(in);
	}
	desc->key_is_primary = pq_getmsgbyte(in) != 0;
	desc->keys = read_keys(in, desc->ncolumns, &desc->nkeys);
	desc->seen_keys = read_keys(in, desc->ncolumns, &desc->nseen_keys);
	return desc;
}

/* --- a part of the columns --- */

static int
column_of_name(const EventlogRelationDesc *desc, const char *name)
{
	for (int i = 0; i < desc->ncolumns; i++)
	{
		if (strcmp(desc->columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

EventlogRelationDesc *
eventlog_desc_project(const EventlogRelationDesc *desc, int ncolumns, char **names)
{
	EventlogRelationDesc *result = palloc_object(EventlogRelationDesc);

	*result = *desc;
	result->ncolumns = ncolumns;
	result->columns = palloc_array(EventlogColumnDesc, ncolumns + 1);
	for (int i = 0; i < ncolumns; i++)
	{
		int			source = column_of_name(desc, names[i]);

		if (source < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s.%s\" does not exist",
							names[i], desc->schema, desc->name)));
		result->columns[i] = desc->columns[source];
	}

	result->nkeys = 0;
	result->keys = palloc_array(int, desc->nkeys + 1);
	for (int i = 0; i < desc->nkeys; i++)
	{
		int			key = column_of_name(result, desc->columns[desc->keys[i]].name);

		if (key < 0)
		{
			result->nkeys = 0;
			break;
		}
		result->keys[result->nkeys++] = key;
	}

	/* what is left of it is still a key to Debezium */
	result->nseen_keys = 0;
	result->seen_keys = palloc_array(int, desc->nseen_keys + 1);
	for (int i = 0; i < desc->nseen_keys; i++)
	{
		int			key = column_of_name(result, desc->columns[desc->seen_keys[i]].name);

		if (key >= 0)
			result->seen_keys[result->nseen_keys++] = key;
	}
	return result;
}
