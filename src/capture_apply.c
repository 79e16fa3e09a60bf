/*-------------------------------------------------------------------------
 *
 * capture_apply.c
 *	  pgoutput's messages, parsed, to the encoder.
 *
 * The messages are those of the server's logical replication protocol, version
 * 2 (protocol.sgml, "Logical Replication Message Formats").  They are read in
 * place, and every length is checked.
 *
 * Tables.  The decoder ships a description before pgoutput's relation message,
 * which says which columns rows have, and in which order.  Both are kept as
 * bytes, and given numbers as they come.  A transaction that was streamed
 * brings those of its own time, maybe long after newer ones have come: when it
 * has been replayed, the newest are put in place again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "capture_apply.h"
#include "capture_letter.h"
#include "capture_queue.h"
#include "capture_sink.h"
#include "capture_spool.h"
#include "payload.h"
#include "subtransaction.h"

/* How long to be careful after a row that could not be encoded. */
#define CAREFUL_MS		10000

/* A message being read. */
typedef struct Cursor
{
	const char *next;
	const char *end;
} Cursor;

/* A table's newest description. */
typedef struct Known
{
	Oid			relid;			/* hash key */
	uint64		sequence;		/* of the pair below */
	char	   *bytes;			/* description, then the relation message */
	uint32		table_len;
	uint32		relation_len;
	uint64		applied;		/* sequence that the encoder has */
	EventlogRelationDesc *desc; /* of that one; in context */
	EventlogEncoderTable *table;	/* NULL: not captured */
	MemoryContext context;
} Known;

static EventlogEncoder *encoder = NULL;
static EventlogApplyHooks hooks;
static HTAB *known = NULL;
static MemoryContext apply_context = NULL;
static MemoryContext message_context = NULL;

static EventlogSource source;	/* of the change in work */
static bool in_transaction = false;
static uint64 sequence = 0;		/* of messages */
static uint64 transaction_bytes = 0;
static TransactionId streaming_xid = InvalidTransactionId;	/* between STREAM
															 * START and STOP */
static char *description = NULL;	/* the last one, until its relation message */
static uint32 description_len = 0;
static uint32 description_size = 0;

/* The row that is being encoded; NULL: none. */
static const Known *current = NULL;
static char current_op;
static const EventlogColumnValue *current_row;

/* See eventlog_apply_set_careful(). */
static XLogRecPtr careful_lsn = InvalidXLogRecPtr;
static TimestampTz careful_until = 0;
static EventlogCaptureTopic *dead_letters = NULL;
static EventlogCaptureSink *dead_letter_sink = NULL;

/* Of a row's columns; they grow as needed. */
static EventlogColumnValue *old_row = NULL;
static EventlogColumnValue *new_row = NULL;
static int	row_size = 0;

/* ---- reading ---- */

pg_noreturn static void
bad_message(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("message of the output plugin is malformed")));
}

static void
need(Cursor *c, size_t len)
{
	if ((size_t) (c->end - c->next) < len)
		bad_message();
}

static uint8
get_byte(Cursor *c)
{
	need(c, 1);
	return (uint8) *c->next++;
}

static uint16
get_int16(Cursor *c)
{
	uint16		v;

	need(c, sizeof(v));
	memcpy(&v, c->next, sizeof(v));
	c->next += sizeof(v);
	return pg_ntoh16(v);
}

static uint32
get_int32(Cursor *c)
{
	uint32		v;

	need(c, sizeof(v));
	memcpy(&v, c->next, sizeof(v));
	c->next += sizeof(v);
	return pg_ntoh32(v);
}

static uint64
get_int64(Cursor *c)
{
	uint64		v;

	need(c, sizeof(v));
	memcpy(&v, c->next, sizeof(v));
	c->next += sizeof(v);
	return pg_ntoh64(v);
}

static const char *
get_string(Cursor *c)
{
	const char *start = c->next;
	const char *zero = memchr(start, '\0', c->end - start);

	if (zero == NULL)
		bad_message();
	c->next = zero + 1;
	return start;
}

/* A tuple; columns that it does not have are null. */
static void
get_row(Cursor *c, EventlogColumnValue *row, int ncolumns)
{
	if (get_int16(c) != ncolumns)
		bad_message();
	for (int i = 0; i < ncolumns; i++)
	{
		EventlogColumnValue *value = &row[i];

		value->kind = get_byte(c);
		value->text = NULL;
		value->len = 0;
		if (value->kind == 't')
		{
			value->len = (int32) get_int32(c);
			if (value->len < 0)
				bad_message();
			need(c, value->len);
			value->text = c->next;
			c->next += value->len;
		}
		else if (value->kind != 'n' && value->kind != 'u')
			bad_message();
	}
}

/* ---- tables ---- */

/* Names of the columns, in their order, from a relation message. */
static int
column_names(Cursor *c, char ***names)
{
	int			n;

	(void) get_string(c);		/* schema */
	(void) get_string(c);		/* name */
	(void) get_byte(c);			/* replica identity */
	n = get_int16(c);
	*names = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		(void) get_byte(c);		/* flags */
		(*names)[i] = unconstify(char *, get_string(c));
		(void) get_int32(c);	/* type */
		(void) get_int32(c);	/* its modifier */
	}
	return n;
}

/* Have the encoder know a table as it was described. */
static void
apply_known(Known *k, const char *table, uint32 table_len,
			const char *relation, uint32 relation_len, uint64 number)
{
	MemoryContext old = MemoryContextSwitchTo(message_context);
	StringInfoData buf = {.data = unconstify(char *, table), .len = table_len, .maxlen = table_len};
	Cursor		c = {relation, relation + relation_len};
	EventlogRelationDesc *all;
	char	  **names;
	int			n;

	if (k->context == NULL)
		k->context = AllocSetContextCreate(apply_context, "captured table", ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(k->context);
	k->desc = NULL;
	k->table = NULL;
	k->applied = 0;
	(void) get_byte(&c);
	(void) get_int32(&c);		/* relid */
	n = column_names(&c, &names);
	MemoryContextSwitchTo(k->context);
	all = eventlog_desc_read(&buf);	/* whose strings the projection shares */
	k->desc = eventlog_desc_project(all, n, names);
	MemoryContextSwitchTo(old);
	if (hooks.table != NULL)
		hooks.table(hooks.arg, k->desc);
	k->table = eventlog_encoder_table(encoder, k->desc);
	k->applied = number;
	if (n >= row_size)			/* there are tables without columns */
	{
		row_size = n + 16;
		old_row = old_row == NULL ? MemoryContextAlloc(apply_context, sizeof(EventlogColumnValue) * row_size) :
			repalloc(old_row, sizeof(EventlogColumnValue) * row_size);
		new_row = new_row == NULL ? MemoryContextAlloc(apply_context, sizeof(EventlogColumnValue) * row_size) :
			repalloc(new_row, sizeof(EventlogColumnValue) * row_size);
	}
}

/*
 * A relation message, with the description that came before.  While a streamed
 * transaction is replayed, newer ones are kept.
 */
static void
apply_relation(const char *message, uint32 len, uint64 number)
{
	Cursor		c = {message + 1, message + len};
	Oid			relid = get_int32(&c);
	Known	   *k;
	bool		found;

	if (description_len == 0)
		bad_message();
	k = hash_search(known, &relid, HASH_ENTER, &found);
	if (!found)
		memset((char *) k + sizeof(Oid), 0, sizeof(Known) - sizeof(Oid));
	if (number >= k->sequence)
	{
		char	   *bytes = MemoryContextAlloc(apply_context, description_len + len);

		memcpy(bytes, description, description_len);
		memcpy(bytes + description_len, message, len);
		if (k->bytes != NULL)
			pfree(k->bytes);
		k->bytes = bytes;
		k->table_len = description_len;
		k->relation_len = len;
		k->sequence = number;
	}
	apply_known(k, description, description_len, message, len, number);
	description_len = 0;
}

static void
keep_description(const char *bytes, uint32 len)
{
	if (len > description_size)
	{
		if (description != NULL)
			pfree(description);
		description = MemoryContextAlloc(apply_context, len);
		description_size = len;
	}
	memcpy(description, bytes, len);
	description_len = len;
}

/* After a replay: the newest description of each table counts again. */
static void
restore_newest(void)
{
	HASH_SEQ_STATUS status;
	Known	   *k;

	hash_seq_init(&status, known);
	while ((k = hash_seq_search(&status)) != NULL)
	{
		if (k->applied != k->sequence && k->bytes != NULL)
			apply_known(k, k->bytes, k->table_len, k->bytes + k->table_len,
						k->relation_len, k->sequence);
	}
}

static Known *
get_known(Oid relid)
{
	static Known *last = NULL;	/* entries stay where they are */
	Known	   *k = last;

	if (k == NULL || k->relid != relid)
		k = last = hash_search(known, &relid, HASH_FIND, NULL);
	if (k == NULL || k->desc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("change of relation %u, which has not been described", relid)));
	return k;
}

/* ---- changes ---- */

static void
tell_hook(Known *k, char op, char old_kind, const EventlogColumnValue *old,
		  const EventlogColumnValue *row)
{
	current = k;
	current_op = op;
	current_row = row != NULL ? row : old;
	if (hooks.change != NULL)
		hooks.change(hooks.arg, k->table, k->desc, op, &source, old_kind, old, row);
}

static void
apply_insert(Cursor *c)
{
	Known	   *k = get_known(get_int32(c));

	if (get_byte(c) != 'N')
		bad_message();
	get_row(c, new_row, k->desc->ncolumns);
	tell_hook(k, 'I', 0, NULL, new_row);
	if (k->table != NULL)
		eventlog_encoder_insert(encoder, k->table, &source, new_row);
}

static void
apply_update(Cursor *c)
{
	Known	   *k = get_known(get_int32(c));
	char		kind = get_byte(c);
	char		old_kind = 0;

	if (kind == 'K' || kind == 'O')
	{
		old_kind = kind;
		get_row(c, old_row, k->desc->ncolumns);
		kind = get_byte(c);
	}
	if (kind != 'N')
		bad_message();
	get_row(c, new_row, k->desc->ncolumns);
	tell_hook(k, 'U', old_kind, old_kind ? old_row : NULL, new_row);
	if (k->table != NULL)
		eventlog_encoder_update(encoder, k->table, &source, old_kind,
								old_kind ? old_row : NULL, new_row);
}

static void
apply_delete(Cursor *c)
{
	Known	   *k = get_known(get_int32(c));
	char		kind = get_byte(c);

	if (kind != 'K' && kind != 'O')
		bad_message();
	get_row(c, old_row, k->desc->ncolumns);
	tell_hook(k, 'D', kind, old_row, NULL);
	if (k->table != NULL)
		eventlog_encoder_delete(encoder, k->table, &source, kind, old_row);
}

static void
apply_truncate(Cursor *c)
{
	uint32		n = get_int32(c);

	(void) get_byte(c);			/* CASCADE, RESTART IDENTITY */
	for (uint32 i = 0; i < n; i++)
	{
		Known	   *k = get_known(get_int32(c));

		tell_hook(k, 'T', 0, NULL, NULL);
		if (k->table != NULL)
			eventlog_encoder_truncate(encoder, k->table, &source);
	}
}

/* Returns whether it was transactional. */
static bool
apply_logical_message(Cursor *c, XLogRecPtr lsn)
{
	/* one outside of a transaction has the time of the last commit, as Debezium's */
	EventlogSource alone = {.lsn = lsn,.last_commit_lsn = source.last_commit_lsn,
		.xmin = source.xmin,.time = source.time != 0 ? source.time : GetCurrentTimestamp()};
	bool		transactional = (get_byte(c) & 1) != 0;
	const char *prefix;
	uint32		len;
	const EventlogSource *from;

	(void) get_int64(c);		/* its LSN */
	prefix = get_string(c);
	len = get_int32(c);
	need(c, len);
	if (len > PG_INT32_MAX)
		bad_message();
	if (!transactional)
		source.last_commit_lsn = alone.last_commit_lsn = lsn;
	from = transactional ? &source : &alone;
	if (hooks.message == NULL ||
		!hooks.message(hooks.arg, from, transactional, prefix, c->next, (int32) len))
		eventlog_encoder_message(encoder, from, transactional, prefix, c->next, (int32) len);
	return transactional;
}

/* ---- transactions ---- */

static void
begin_transaction(TransactionId xid, TimestampTz time)
{
	source.marker = EVENTLOG_MARKER_FALSE;
	source.xid = xid;
	source.time = time;
	in_transaction = true;
	transaction_bytes = 0;
	eventlog_encoder_begin(encoder, &source);
}

static void
end_transaction(XLogRecPtr end_lsn)
{
	source.lsn = end_lsn;		/* the commit record may begin where a message ended */
	eventlog_encoder_commit(encoder, &source);
	source.last_commit_lsn = end_lsn;
	source.xid = InvalidTransactionId;
	in_transaction = false;
	transaction_bytes = 0;
}

static EventlogApplied apply_change(char type, Cursor *c, const char *bytes, uint32 len,
									XLogRecPtr lsn, uint64 number);

static void
replay_one(uint64 number, const EventlogMessageHeader *header, const char *bytes)
{
	if (header->kind == EVENTLOG_MESSAGE_TABLE)
		keep_description(bytes, header->len);
	else
	{
		Cursor		c = {bytes + 1, bytes + header->len};

		source.lsn = header->lsn;
		(void) apply_change(bytes[0], &c, bytes, header->len, header->lsn, number);
	}
	MemoryContextReset(message_context);
}

static void
replay(TransactionId xid, XLogRecPtr end_lsn, TimestampTz time)
{
	EventlogSpool *spool = eventlog_spool_find(xid);

	if (spool == NULL)
		return;
	begin_transaction(xid, time);
	eventlog_spool_replay(spool, replay_one);
	source.lsn = end_lsn;
	end_transaction(end_lsn);
	restore_newest();
}

/* A message of a streamed transaction: put aside, without its xid. */
static void
put_aside(uint32 kind, XLogRecPtr lsn, const char *bytes, uint32 len)
{
	EventlogMessageHeader header = {.lsn = lsn,.len = len,.kind = kind};
	EventlogSpool *spool = eventlog_spool_open(streaming_xid);
	TransactionId subxid = streaming_xid;
	char	   *copy;

	if (kind == EVENTLOG_MESSAGE_TABLE)
	{
		eventlog_spool_add(spool, subxid, sequence, &header, bytes);
		return;
	}
	if (len < 1 + sizeof(TransactionId))
		bad_message();
	memcpy(&subxid, bytes + 1, sizeof(subxid));
	subxid = pg_ntoh32(subxid);
	copy = MemoryContextAlloc(message_context, len);
	copy[0] = bytes[0];
	memcpy(copy + 1, bytes + 1 + sizeof(subxid), len - 1 - sizeof(subxid));
	header.len = len - sizeof(subxid);
	eventlog_spool_add(spool, subxid, sequence, &header, copy);
}

/* ---- rows that cannot be encoded ---- */

bool
eventlog_apply_is_bad_row(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION ||
		category == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		category == ERRCODE_FEATURE_NOT_SUPPORTED ||
		sqlerrcode == ERRCODE_INVALID_NAME;
}

/* The key of the current row, or false. */
static bool
current_key(EventlogBuf *out)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = false;

	if (current == NULL || current->table == NULL || current_row == NULL)
		return false;
	PG_TRY();
	{
		eventlog_encoder_key(encoder, current->table, current_row, out);
		ok = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		out->len = 0;
	}
	PG_END_TRY();
	return ok;
}

const char *
eventlog_apply_describe(XLogRecPtr *lsn)
{
	EventlogBuf key = {0};

	if (current == NULL)
		return NULL;
	*lsn = source.lsn;
	if (!current_key(&key))
		return psprintf("table %s.%s", current->desc->schema, current->desc->name);
	return psprintf("table %s.%s, key %.*s", current->desc->schema, current->desc->name,
					(int) Min(key.len, 100), key.data);
}

static void
send_dead_letter(const char *message)
{
	EventlogBuf key = {0};
	bool		has_key = current_key(&key);

	eventlog_capture_letter(dead_letter_sink, dead_letters, current->desc, current_op, &source,
							current_row, has_key ? &key : NULL, message);
}

typedef struct Change
{
	void		(*apply) (Cursor *c);
	Cursor	   *cursor;
} Change;

static void
apply_one(void *arg)
{
	Change	   *change = arg;

	change->apply(change->cursor);
}

/* Apply a change in a subtransaction; if that fails, its row is a dead letter. */
static void
apply_carefully(void (*apply) (Cursor *c), Cursor *c)
{
	Change		change = {apply, c};
	ErrorData  *error = eventlog_subtransaction_run(apply_one, &change);

	if (error == NULL)
		return;
	eventlog_capture_sink_forget();
	if (current == NULL || !eventlog_apply_is_bad_row(error->sqlerrcode))
		ReThrowError(error);
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("a change of table \"%s.%s\" goes to dead-letter topic \"%s\": %s",
					current->desc->schema, current->desc->name, dead_letters->name,
					error->message)));
	send_dead_letter(error->message);
	FreeErrorData(error);
	careful_until = GetCurrentTimestamp() + CAREFUL_MS * INT64CONST(1000);
}

static inline void
apply_row(void (*apply) (Cursor *c), Cursor *c)
{
	if (unlikely(dead_letters != NULL) &&
		(source.lsn <= careful_lsn || GetCurrentTimestamp() < careful_until))
		apply_carefully(apply, c);
	else
		apply(c);
	current = NULL;
}

void
eventlog_apply_set_careful(XLogRecPtr lsn, const char *dead_letter_topic,
						   EventlogCaptureSink *sink)
{
	careful_lsn = lsn;
	careful_until = GetCurrentTimestamp() + CAREFUL_MS * INT64CONST(1000);
	dead_letters = MemoryContextAllocZero(TopMemoryContext, sizeof(EventlogCaptureTopic));
	strlcpy(dead_letters->name, dead_letter_topic, sizeof(dead_letters->name));
	dead_letter_sink = sink;
}

void
eventlog_apply_check_tables(void)
{
	HASH_SEQ_STATUS status;
	Known	   *k;

	hash_seq_init(&status, known);
	while ((k = hash_seq_search(&status)) != NULL)
	{
		if (k->desc != NULL && k->table != NULL && hooks.table != NULL)
			hooks.table(hooks.arg, k->desc);
	}
}

/* What can come inside a transaction. */
static EventlogApplied
apply_change(char type, Cursor *c, const char *bytes, uint32 len, XLogRecPtr lsn, uint64 number)
{
	transaction_bytes += len;
	switch (type)
	{
		case 'I':
			apply_row(apply_insert, c);
			break;
		case 'U':
			apply_row(apply_update, c);
			break;
		case 'D':
			apply_row(apply_delete, c);
			break;
		case 'T':
			apply_row(apply_truncate, c);
			break;
		case 'R':
			apply_relation(bytes, len, number);
			return EVENTLOG_APPLIED_TABLE;
		case 'M':
			if (!apply_logical_message(c, lsn))
				return EVENTLOG_APPLIED_ALONE;
			break;
		case 'Y':				/* names of types: the description has them */
		case 'O':				/* where the transaction came from first */
			break;
		default:
			bad_message();
	}
	return EVENTLOG_APPLIED_CHANGE;
}

EventlogApplied
eventlog_apply_message(uint32 kind, XLogRecPtr lsn, const char *bytes, uint32 len,
					   XLogRecPtr *end_lsn, TimestampTz *time)
{
	Cursor		c;
	EventlogApplied result = EVENTLOG_APPLIED_STREAMED;
	TransactionId xid;
	TransactionId subxid;
	EventlogSpool *spool;
	char		type;

	sequence++;
	MemoryContextReset(message_context);
	if (kind == EVENTLOG_MESSAGE_TABLE)
	{
		if (TransactionIdIsValid(streaming_xid))
			put_aside(kind, lsn, bytes, len);
		else
			keep_description(bytes, len);
		return EVENTLOG_APPLIED_TABLE;
	}
	if (len < 1)
		bad_message();
	type = bytes[0];
	c.next = bytes + 1;
	c.end = bytes + len;

	switch (type)
	{
		case 'B':
			(void) get_int64(&c);	/* final LSN */
			*time = (TimestampTz) get_int64(&c);
			source.lsn = lsn;	/* of its first change */
			begin_transaction(get_int32(&c), *time);
			return EVENTLOG_APPLIED_BEGIN;
		case 'C':
			(void) get_byte(&c);
			source.lsn = get_int64(&c);
			*end_lsn = get_int64(&c);
			*time = (TimestampTz) get_int64(&c);
			end_transaction(*end_lsn);
			return EVENTLOG_APPLIED_COMMIT;
		case 'S':
			streaming_xid = get_int32(&c);
			(void) eventlog_spool_open(streaming_xid);
			return result;
		case 'E':
			streaming_xid = InvalidTransactionId;
			return result;
		case 'c':
			xid = get_int32(&c);
			(void) get_byte(&c);
			(void) get_int64(&c);	/* commit LSN */
			*end_lsn = get_int64(&c);
			*time = (TimestampTz) get_int64(&c);
			replay(xid, *end_lsn, *time);
			return EVENTLOG_APPLIED_COMMIT;
		case 'A':
			xid = get_int32(&c);
			subxid = get_int32(&c);
			spool = eventlog_spool_find(xid);
			if (spool != NULL && subxid == xid)
				eventlog_spool_forget(spool);
			else if (spool != NULL)
				eventlog_spool_abort(spool, subxid);
			return result;
	}

	if (TransactionIdIsValid(streaming_xid))
	{
		put_aside(kind, lsn, bytes, len);
		return result;
	}
	if (in_transaction)
		source.lsn = lsn;
	result = apply_change(type, &c, bytes, len, lsn, sequence);
	if (result == EVENTLOG_APPLIED_ALONE)
	{
		*end_lsn = lsn;			/* its end: the next record may begin there */
		*time = 0;
	}
	return result;
}

uint64
eventlog_apply_bytes(void)
{
	return transaction_bytes + eventlog_spool_bytes();
}

void
eventlog_apply_set_xmin(TransactionId xmin)
{
	source.xmin = xmin;
}

XLogRecPtr
eventlog_apply_last_commit(void)
{
	return source.last_commit_lsn;
}

void
eventlog_apply_init(EventlogEncoder *to, const EventlogApplyHooks *with, XLogRecPtr last_commit_lsn)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Known)};

	encoder = to;
	hooks = *with;
	apply_context = AllocSetContextCreate(TopMemoryContext, "capture apply", ALLOCSET_DEFAULT_SIZES);
	message_context = AllocSetContextCreate(apply_context, "capture message", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = apply_context;
	known = hash_create("captured tables", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	source.last_commit_lsn = last_commit_lsn;
}
