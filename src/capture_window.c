/*-------------------------------------------------------------------------
 *
 * capture_window.c
 *	  Rows of a chunk that wait for what the stream has about them.
 *
 * A chunk of an incremental snapshot is read while the stream goes on.  Its
 * rows are kept until the stream has got to where they were read; those that
 * it has had a change of by then are older than that change, and are dropped.
 *
 * Rows are told apart by the texts of their key columns, which both sides print
 * under the same settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "capture_query.h"
#include "capture_window.h"

typedef struct WindowRow
{
	EventlogHeldRow row;
	bool		gone;
	uint32		hash;
	int			next;			/* in its bucket; -1: none */
} WindowRow;

struct EventlogWindow
{
	MemoryContext context;
	int			ncolumns;
	int			nkeys;
	const char **names;			/* of the key columns */
	int		   *keys;
	int		   *stream_keys;	/* where they are in a row of the stream */
	int			nrows;
	int			room;
	WindowRow  *rows;
	int		   *buckets;		/* as many as there is room for rows */
};

EventlogWindow *
eventlog_window_create(const EventlogRelationDesc *desc, int nkeys, const int *keys)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventlog window",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	EventlogWindow *window = palloc0(sizeof(EventlogWindow));

	window->context = context;
	window->ncolumns = desc->ncolumns;
	window->nkeys = nkeys;
	window->names = palloc(Max(nkeys, 1) * sizeof(char *));
	window->keys = palloc(Max(nkeys, 1) * sizeof(int));
	window->stream_keys = palloc(Max(nkeys, 1) * sizeof(int));
	for (int i = 0; i < nkeys; i++)
	{
		window->names[i] = pstrdup(desc->columns[keys[i]].name);
		window->keys[i] = keys[i];
	}
	MemoryContextSwitchTo(caller);
	return window;
}

void
eventlog_window_free(EventlogWindow *window)
{
	MemoryContextDelete(window->context);
}

/* Of a row's key columns, which are at these places. */
static uint32
hash_key(const EventlogWindow *window, const int *places, const EventlogColumnValue *row)
{
	uint32		hash = 0;

	for (int i = 0; i < window->nkeys; i++)
	{
		const EventlogColumnValue *value = &row[places[i]];
		uint32		one = 0;

		if (value->kind == 't')
			one = hash_bytes((const unsigned char *) value->text, value->len);
		hash = hash_combine(hash, one);
	}
	return hash;
}

static void
rebuild(EventlogWindow *window)
{
	for (int i = 0; i < window->room; i++)
		window->buckets[i] = -1;
	for (int i = 0; i < window->nrows; i++)
	{
		WindowRow  *row = &window->rows[i];
		int		   *bucket = &window->buckets[row->hash % window->room];

		row->next = *bucket;
		*bucket = i;
	}
}

void
eventlog_window_add(EventlogWindow *window, const EventlogColumnValue *row)
{
	WindowRow  *to;

	if (window->nrows == window->room)
	{
		MemoryContext caller = MemoryContextSwitchTo(window->context);
		int			room = Max(window->room * 2, 64);

		window->rows = window->rows ? repalloc_huge(window->rows, room * sizeof(WindowRow)) :
			palloc(room * sizeof(WindowRow));
		window->buckets = window->buckets ? repalloc_huge(window->buckets, room * sizeof(int)) :
			palloc(room * sizeof(int));
		window->room = room;
		MemoryContextSwitchTo(caller);
		rebuild(window);
	}
	to = &window->rows[window->nrows];
	memset(to, 0, sizeof(WindowRow));
	to->row.context = window->context;
	eventlog_held_row_set(&to->row, window->ncolumns, row);
	to->hash = hash_key(window, window->keys, row);
	to->next = window->buckets[to->hash % window->room];
	window->buckets[to->hash % window->room] = window->nrows++;
}

/*
 * Is it the row?  A value that the stream does not tell, because it has not
 * changed and is stored apart, may be any.
 */
static bool
same_key(const EventlogWindow *window, const WindowRow *held, const EventlogColumnValue *row)
{
	for (int i = 0; i < window->nkeys; i++)
	{
		const EventlogColumnValue *ours = &held->row.values[window->keys[i]];
		const EventlogColumnValue *theirs = &row[window->stream_keys[i]];

		if (theirs->kind == 'u')
			continue;
		if (ours->kind != theirs->kind)
			return false;
		if (ours->kind == 't' && (ours->len != theirs->len ||
								  memcmp(ours->text, theirs->text, ours->len) != 0))
			return false;
	}
	return true;
}

/* Where the key columns are in the stream's rows.  False if one is missing. */
static bool
place_keys(EventlogWindow *window, const EventlogRelationDesc *desc)
{
	for (int i = 0; i < window->nkeys; i++)
	{
		int			place = 0;

		while (place < desc->ncolumns && strcmp(desc->columns[place].name, window->names[i]) != 0)
			place++;
		if (place == desc->ncolumns)
			return false;
		window->stream_keys[i] = place;
	}
	return true;
}

void
eventlog_window_remove(EventlogWindow *window, const EventlogRelationDesc *desc,
					   const EventlogColumnValue *row)
{
	bool		hashed = true;

	if (window->nrows == 0 || window->nkeys == 0 || !place_keys(window, desc))
		return;
	for (int i = 0; i < window->nkeys; i++)
	{
		if (row[window->stream_keys[i]].kind == 'u')
			hashed = false;
	}
	if (hashed)
	{
		uint32		hash = hash_key(window, window->stream_keys, row);

		for (int i = window->buckets[hash % window->room]; i >= 0; i = window->rows[i].next)
		{
			if (window->rows[i].hash == hash && !window->rows[i].gone &&
				same_key(window, &window->rows[i], row))
			{
				window->rows[i].gone = true;
				return;
			}
		}
		return;
	}
	for (int i = 0; i < window->nrows; i++)
	{
		if (!window->rows[i].gone && same_key(window, &window->rows[i], row))
			window->rows[i].gone = true;
	}
}

void
eventlog_window_clear(EventlogWindow *window)
{
	for (int i = 0; i < window->nrows; i++)
		window->rows[i].gone = true;
}

int
eventlog_window_size(const EventlogWindow *window)
{
	return window->nrows;
}

const EventlogColumnValue *
eventlog_window_row(const EventlogWindow *window, int i)
{
	return window->rows[i].gone ? NULL : window->rows[i].row.values;
}
