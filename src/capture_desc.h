/*-------------------------------------------------------------------------
 *
 * capture_desc.h
 *	  What a captured table is like: columns, types and key, as of a change.
 *
 * The decoder builds a description under the historic catalogue snapshot of
 * the change that it is decoding, and ships it before the rows; so rows that
 * are read late are still read as what they were.  Snapshots build it from
 * the catalogue as it is.  A description holds no pointers into caches.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_DESC_H
#define EVENTLOG_CAPTURE_DESC_H

#include "access/attnum.h"
#include "lib/stringinfo.h"
#include "utils/rel.h"

typedef enum EventlogTypeKind
{
	EVENTLOG_TYPE_BASE,
	EVENTLOG_TYPE_ENUM,
	EVENTLOG_TYPE_COMPOSITE,
	EVENTLOG_TYPE_RANGE,
	EVENTLOG_TYPE_MULTIRANGE,
	EVENTLOG_TYPE_ARRAY
} EventlogTypeKind;

typedef struct EventlogTypeDesc
{
	Oid			oid;			/* of the type itself; domains are resolved */
	char	   *schema;
	char	   *name;			/* pg_type.typname */
	EventlogTypeKind kind;
	int32		typmod;			/* -1: none */
	char	   *domain;			/* name of the (outermost) domain; NULL: none */
	bool		domain_not_null;	/* the domain, or one under it, is NOT NULL */
	int			nlabels;		/* of an enum */
	char	  **labels;
	char		delimiter;		/* between the elements of an array of these */
	struct EventlogTypeDesc *element;	/* of an array; of a range, its subtype;
										 * of a multirange, its range */
	int			nfields;		/* of a composite; dropped ones left out */
	char	  **field_names;
	struct EventlogTypeDesc **field_types;
} EventlogTypeDesc;

typedef struct EventlogColumnDesc
{
	char	   *name;
	AttrNumber	attnum;
	bool		not_null;
	bool		generated;		/* a stored generated column */
	bool		in_identity;	/* of the index that is the replica identity;
								 * false if no index was chosen for it */
	bool		has_default;
	char	   *default_value;	/* text of the default, where it is a constant
								 * of the column's type; NULL else */
	char	   *default_seen;	/* what Debezium takes for the default, as the
								 * type's text; NULL: nothing */
	EventlogTypeDesc *type;
} EventlogColumnDesc;

typedef struct EventlogRelationDesc
{
	Oid			relid;
	char	   *schema;
	char	   *name;
	char		relkind;
	char		replica_identity;	/* pg_class.relreplident */
	Oid			owner;
	int			ncolumns;
	EventlogColumnDesc *columns;
	int			nkeys;			/* 0: no key */
	int		   *keys;			/* indexes into columns, in the order of the
								 * primary key, or else of a unique index on
								 * columns that are all NOT NULL */
	bool		key_is_primary;
	int			nseen_keys;		/* the same as Debezium sees it: without a */
	int		   *seen_keys;		/* primary key any unique index on columns */
} EventlogRelationDesc;

/*
 * Describe a table, all columns that are not dropped.  Looks only at system
 * catalogues, with syscache and relcache, so that it can be called under a
 * historic snapshot.  palloc'd in the current context.
 */
extern EventlogRelationDesc *eventlog_desc_build(Relation rel);

/* To bytes and back; the second in the current context. */
extern void eventlog_desc_write(StringInfo out, const EventlogRelationDesc *desc);
extern EventlogRelationDesc *eventlog_desc_read(StringInfo in);

/*
 * The same table with only these columns, in this order.  A key of which a
 * column is missing is no key.  Names that the table does not have raise.
 */
extern EventlogRelationDesc *eventlog_desc_project(const EventlogRelationDesc *desc,
												   int ncolumns, char **names);

#endif							/* EVENTLOG_CAPTURE_DESC_H */
