/*-------------------------------------------------------------------------
 *
 * capture_query.c
 *	  Reading rows of captured tables by a query, as texts.
 *
 * The executor hands its rows to a receiver of ours, which prints them one at
 * a time: nothing is collected, so a table of any size needs the memory of one
 * row.  Strings and integers, which are most columns, are printed without
 * their output functions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "capture_query.h"

/* How a column of the result is printed. */
typedef enum PrintKind
{
	PRINT_MISSING,				/* the query has no such column */
	PRINT_FUNCTION,
	PRINT_STRING,
	PRINT_INT2,
	PRINT_INT4,
	PRINT_INT8
} PrintKind;

typedef struct PrintColumn
{
	PrintKind	kind;
	int			attno;			/* in the result, from 0 */
	FmgrInfo	output;
} PrintColumn;

typedef struct RowReceiver
{
	DestReceiver pub;
	const EventlogRelationDesc *desc;
	EventlogRowHandler handler;
	void	   *arg;
	PrintColumn *columns;
	EventlogColumnValue *values;
	char		(*digits)[MAXINT8LEN + 1];	/* of a column's integer */
	bool		recode;			/* texts are not UTF-8 yet */
	MemoryContext row_context;
	MemoryContext asker_context;
	uint64		rows;
} RowReceiver;

int
eventlog_capture_query_begin(bool users_sql)
{
	static const char *const settings[][2] = {
		{"jit", "off"},
		{"max_parallel_workers_per_gather", "0"}};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (users_sql)
		(void) set_config_option("search_path", "\"$user\", public", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
eventlog_capture_query_end(int level)
{
	AtEOXact_GUC(true, level);
}

static PrintKind
print_kind(Oid type, Oid output)
{
	switch (type)
	{
		case INT2OID:
			return PRINT_INT2;
		case INT4OID:
			return PRINT_INT4;
		case INT8OID:
			return PRINT_INT8;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return PRINT_STRING;
		default:
			return PRINT_FUNCTION;
	}
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc result)
{
	RowReceiver *receiver = (RowReceiver *) self;
	const EventlogRelationDesc *desc = receiver->desc;
	int			n = Max(desc->ncolumns, 1);

	receiver->columns = palloc0(n * sizeof(PrintColumn));
	receiver->values = palloc0(n * sizeof(EventlogColumnValue));
	receiver->digits = palloc(n * sizeof(*receiver->digits));
	for (int i = 0; i < desc->ncolumns; i++)
	{
		PrintColumn *column = &receiver->columns[i];

		column->kind = PRINT_MISSING;
		for (int j = 0; j < result->natts; j++)
		{
			Form_pg_attribute att = TupleDescAttr(result, j);
			Oid			output;
			bool		varlena;

			if (strcmp(NameStr(att->attname), desc->columns[i].name) != 0)
				continue;
			getTypeOutputInfo(att->atttypid, &output, &varlena);
			column->kind = print_kind(getBaseType(att->atttypid), output);
			column->attno = j;
			if (column->kind == PRINT_FUNCTION)
				fmgr_info(output, &column->output);
			break;
		}
	}
}

static void
set_text(RowReceiver *receiver, EventlogColumnValue *value, const char *text, size_t len)
{
	value->kind = 't';
	value->text = text;
	value->len = (int32) len;
	if (receiver->recode)
	{
		char	   *utf8 = pg_server_to_any(text, (int) len, PG_UTF8);

		if (utf8 != text)
		{
			value->text = utf8;
			value->len = (int32) strlen(utf8);
		}
	}
}

static void
print(RowReceiver *receiver, int i, Datum datum)
{
	PrintColumn *column = &receiver->columns[i];
	EventlogColumnValue *value = &receiver->values[i];

	switch (column->kind)
	{
		case PRINT_STRING:
			{
				struct varlena *string = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(datum));

				set_text(receiver, value, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
				break;
			}
		case PRINT_INT2:
			value->kind = 't';
			value->text = receiver->digits[i];
			value->len = pg_itoa(DatumGetInt16(datum), receiver->digits[i]);
			break;
		case PRINT_INT4:
			value->kind = 't';
			value->text = receiver->digits[i];
			value->len = pg_ltoa(DatumGetInt32(datum), receiver->digits[i]);
			break;
		case PRINT_INT8:
			value->kind = 't';
			value->text = receiver->digits[i];
			value->len = pg_lltoa(DatumGetInt64(datum), receiver->digits[i]);
			break;
		default:
			{
				char	   *text = OutputFunctionCall(&column->output, datum);

				set_text(receiver, value, text, strlen(text));
			}
	}
}

static bool
receiver_receive(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	int			ncolumns = receiver->desc->ncolumns;
	MemoryContext caller = MemoryContextSwitchTo(receiver->row_context);

	slot_getallattrs(slot);
	for (int i = 0; i < ncolumns; i++)
	{
		PrintColumn *column = &receiver->columns[i];

		if (column->kind == PRINT_MISSING || slot->tts_isnull[column->attno])
			receiver->values[i].kind = 'n';
		else
			print(receiver, i, slot->tts_values[column->attno]);
	}

	receiver->rows++;
	MemoryContextSwitchTo(receiver->asker_context);
	receiver->handler(receiver->arg, receiver->values);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(receiver->row_context);
	return true;
}

static void
receiver_nothing(DestReceiver *self)
{
}

uint64
eventlog_capture_query(const char *sql, ParamListInfo params, const EventlogRelationDesc *desc,
					   EventlogRowHandler handler, void *arg)
{
	RowReceiver receiver = {
		.pub = {.receiveSlot = receiver_receive,
			.rStartup = receiver_startup,
			.rShutdown = receiver_nothing,
			.rDestroy = receiver_nothing,
		.mydest = DestTuplestore},
		.desc = desc,
		.handler = handler,
		.arg = arg,
		.recode = GetDatabaseEncoding() != PG_UTF8,
		.asker_context = CurrentMemoryContext
	};
	SPIExecuteOptions options = {
		.params = params,
		.read_only = true,
		.must_return_tuples = true,
		.dest = &receiver.pub
	};
	int			result;

	SPI_connect();
	receiver.row_context = AllocSetContextCreate(CurrentMemoryContext, "eventlog snapshot row",
												 ALLOCSET_DEFAULT_SIZES);
	result = SPI_execute_extended(sql, &options);
	if (result != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("statement for a snapshot must be a SELECT"),
				 errdetail("It is: %s", sql)));
	SPI_finish();
	return receiver.rows;
}

/* ---- rows that are kept ---- */

void
eventlog_held_row_set(EventlogHeldRow *held, int ncolumns, const EventlogColumnValue *row)
{
	MemoryContext caller = MemoryContextSwitchTo(held->context);
	char	   *next;
	size_t		need = 0;

	if (held->bytes.data == NULL)
		initStringInfo(&held->bytes);
	if (held->values == NULL || held->room < ncolumns)
	{
		if (held->values)
			pfree(held->values);
		held->room = Max(ncolumns, 1);
		held->values = palloc(held->room * sizeof(EventlogColumnValue));
	}
	for (int i = 0; i < ncolumns; i++)
		need += row[i].kind == 't' ? row[i].len : 0;
	resetStringInfo(&held->bytes);
	if (need > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("row of a snapshot is too large"),
				 errdetail("It takes %zu bytes as text.", need)));
	enlargeStringInfo(&held->bytes, (int) need);
	MemoryContextSwitchTo(caller);

	next = held->bytes.data;
	held->ncolumns = ncolumns;
	for (int i = 0; i < ncolumns; i++)
	{
		held->values[i] = row[i];
		if (row[i].kind != 't')
			continue;
		memcpy(next, row[i].text, row[i].len);
		held->values[i].text = next;
		next += row[i].len;
	}
}

void
eventlog_held_row_free(EventlogHeldRow *held)
{
	if (held->values)
		pfree(held->values);
	if (held->bytes.data)
		pfree(held->bytes.data);
	*held = (EventlogHeldRow) {.context = held->context};
}

void
eventlog_row_write(StringInfo out, int ncolumns, const EventlogColumnValue *row)
{
	for (int i = 0; i < ncolumns; i++)
	{
		appendStringInfoCharMacro(out, row[i].kind);
		if (row[i].kind != 't')
			continue;
		appendBinaryStringInfo(out, (const char *) &row[i].len, sizeof(int32));
		appendBinaryStringInfo(out, row[i].text, row[i].len);
	}
}

EventlogColumnValue *
eventlog_row_read(const char **cursor, const char *end, int ncolumns)
{
	EventlogColumnValue *row = palloc0(Max(ncolumns, 1) * sizeof(EventlogColumnValue));
	const char *next = *cursor;

	for (int i = 0; i < ncolumns; i++)
	{
		if (end - next < 1)
			elog(ERROR, "row of a snapshot is cut short");
		row[i].kind = *next++;
		if (row[i].kind != 't')
			continue;
		if (end - next < sizeof(int32))
			elog(ERROR, "row of a snapshot is cut short");
		memcpy(&row[i].len, next, sizeof(int32));
		next += sizeof(int32);
		if (row[i].len < 0 || end - next < row[i].len)
			elog(ERROR, "row of a snapshot is cut short");
		row[i].text = next;
		next += row[i].len;
	}
	*cursor = next;
	return row;
}
