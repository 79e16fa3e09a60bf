/*-------------------------------------------------------------------------
 *
 * catalog_sql.h
 *	  SQL on the extension's own tables, in the name of their owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CATALOG_SQL_H
#define EVENTLOG_CATALOG_SQL_H

typedef struct EventlogCatalogSql
{
	Oid			user;
	int			context;
	bool		snapshot;
} EventlogCatalogSql;

/* Is there a table of this name in schema eventlog?  Needs a transaction. */
extern bool eventlog_catalog_has(const char *table);

/*
 * Begin to use SPI as the owner of the table, and end it.  The caller has
 * checked what the user may; statements qualify all names.  "what" begins the
 * error where the table is missing: "captures need version 0.2 ...".
 * Errors: ERRCODE_UNDEFINED_TABLE.
 */
extern void eventlog_catalog_sql_begin(EventlogCatalogSql *session, const char *table,
									   const char *what);
extern void eventlog_catalog_sql_end(EventlogCatalogSql *session);

/* Run one statement that returns nothing; nulls as SPI has them. */
extern void eventlog_catalog_sql_execute(const char *table, const char *what, const char *sql,
										 int nargs, Oid *types, Datum *values,
										 const char *nulls);

#endif							/* EVENTLOG_CATALOG_SQL_H */
