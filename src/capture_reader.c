/*-------------------------------------------------------------------------
 *
 * capture_reader.c
 *	  Background workers that read chunks of a snapshot.
 *
 * Readers take chunks from a counter in shared memory, in order, read them
 * under the leader's snapshot and as the capture's owner, encode the rows with
 * an encoder of their own, and send records to the leader, each reader through
 * a queue of its own.  What the leader has to decide about (first and last
 * rows of a chunk) is sent as it was read.
 *
 * Messages begin with a byte that says what they are; errors and warnings come
 * in the form of the client protocol, as from parallel workers.  Nobody
 * outlives the other for long: when the leader goes, its segment and so the
 * queues go, and a reader that sends finds that out; when readers go and some
 * chunk was not reported as done, the leader raises.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "capture_query.h"
#include "capture_reader.h"
#include "capture_settings.h"
#include "guc.h"
#include "worker.h"

/* ---- what a snapshot is, as bytes ---- */

static void
put_int(StringInfo out, int32 value)
{
	appendBinaryStringInfo(out, (const char *) &value, sizeof(value));
}

static void
put_text(StringInfo out, const char *text)
{
	appendBinaryStringInfo(out, text, strlen(text) + 1);
}

static int32
get_int(StringInfo in)
{
	int32		value;

	memcpy(&value, in->data + in->cursor, sizeof(value));
	in->cursor += sizeof(value);
	return value;
}

static char *
get_text(StringInfo in)
{
	char	   *text = in->data + in->cursor;

	in->cursor += strlen(text) + 1;
	return text;
}

void
eventlog_reader_write_work(StringInfo out, const EventlogSnapshotWork *work)
{
	int32		config_size = VARSIZE_ANY(work->capture->config_json);

	appendBinaryStringInfo(out, (const char *) &work->source, sizeof(EventlogSource));
	put_int(out, config_size);
	appendBinaryStringInfo(out, (const char *) work->capture->config_json, config_size);
	put_text(out, work->capture->topic_prefix);
	put_int(out, work->ntables);
	for (int i = 0; i < work->ntables; i++)
	{
		const EventlogSnapshotTable *table = work->tables[i];

		put_int(out, (int32) table->relid);
		put_text(out, table->name);
		put_text(out, table->sql);
		put_int(out, table->has_where);
		put_int(out, table->users_sql);
		eventlog_desc_write(out, table->desc);
	}
	put_int(out, work->nchunks);
	appendBinaryStringInfo(out, (const char *) work->chunks,
						   work->nchunks * sizeof(EventlogSnapshotChunk));
}

/* A reader's view of it: tables, chunks and source.  The bytes must stay. */
static void
read_work(StringInfo in, EventlogSnapshotWork *work, Jsonb **config, char **prefix)
{
	int32		config_size;

	memset(work, 0, sizeof(*work));
	memcpy(&work->source, in->data, sizeof(EventlogSource));
	in->cursor = sizeof(EventlogSource);
	config_size = get_int(in);
	*config = palloc(config_size);
	memcpy(*config, in->data + in->cursor, config_size);
	in->cursor += config_size;
	*prefix = get_text(in);

	work->ntables = get_int(in);
	work->tables = palloc(Max(work->ntables, 1) * sizeof(EventlogSnapshotTable *));
	for (int i = 0; i < work->ntables; i++)
	{
		EventlogSnapshotTable *table = palloc0(sizeof(EventlogSnapshotTable));

		table->relid = (Oid) get_int(in);
		table->name = get_text(in);
		table->sql = get_text(in);
		table->has_where = get_int(in) != 0;
		table->users_sql = get_int(in) != 0;
		table->desc = eventlog_desc_read(in);
		work->tables[i] = table;
	}
	work->nchunks = get_int(in);
	work->chunks = palloc(Max(work->nchunks, 1) * sizeof(EventlogSnapshotChunk));
	memcpy(work->chunks, in->data + in->cursor, work->nchunks * sizeof(EventlogSnapshotChunk));
}

/* ---- the reader ---- */

/* A reader's way to the leader: sink of its encoder and output of its chunks. */
typedef struct Sender
{
	EventlogCaptureSink sink;	/* must be first */
	EventlogSnapshotOutput output;
	shm_mq_handle *queue;
	StringInfoData frame;
	StringInfoData message;
	int			chunk;			/* whose records are in the frame */
	int32		rows;			/* that they are of */
	int			ntopics;
	size_t		headers_at;		/* in the frame, of the last record; 0: none */
	int32		headers_len;
} Sender;

#define sender_of_output(output) \
	((Sender *) ((char *) (output) - offsetof(Sender, output)))

/*
 * An error that breaks in while a message is half sent must not be sent, too:
 * its bytes would be taken for the rest of the message.
 */
static void
send_bytes(Sender *sender, char type, StringInfo bytes)
{
	shm_mq_iovec iov[2] = {{&type, 1}, {bytes->data, bytes->len}};
	CommandDest saved = whereToSendOutput;

	whereToSendOutput = DestNone;
	if (shm_mq_sendv(sender->queue, iov, 2, false, true) != SHM_MQ_SUCCESS)
		proc_exit(0);			/* the leader has gone */
	whereToSendOutput = saved;
}

static void
begin_frame(Sender *sender)
{
	EventlogSentHead head = {sender->chunk, 0};

	resetStringInfo(&sender->frame);
	appendBinaryStringInfo(&sender->frame, (const char *) &head, sizeof(head));
	sender->headers_at = 0;
	sender->rows = 0;
}

static void
send_frame(Sender *sender)
{
	if (sender->frame.len == sizeof(EventlogSentHead) && sender->rows == 0)
		return;
	((EventlogSentHead *) sender->frame.data)->rows = sender->rows;
	send_bytes(sender, EVENTLOG_SENT_RECORDS, &sender->frame);
	begin_frame(sender);
}

static void
put_topic(Sender *sender, EventlogCaptureTopic *topic)
{
	appendStringInfoChar(&sender->frame, EVENTLOG_ITEM_TOPIC);
	appendStringInfoChar(&sender->frame, topic->plain);
	put_text(&sender->frame, topic->name);
	topic->sink = (void *) (intptr_t) ++sender->ntopics;
}

static void
sender_emit(EventlogCaptureSink *sink, EventlogCaptureTopic *topic, const EventlogRecord *rec,
			int32 partition)
{
	Sender	   *sender = (Sender *) sink;
	StringInfo	frame = &sender->frame;
	EventlogSentRecord	head = {
		.timestamp = rec->timestamp,
		.partition = partition,
		.key_len = rec->key_len,
		.value_len = rec->value_len,
		.headers_len = rec->headers_len,
		.headers_count = rec->headers_count
	};
	bool		same;

	if (topic->sink == NULL)
		put_topic(sender, topic);
	head.topic = (int32) (intptr_t) topic->sink;
	same = sender->headers_at > 0 && rec->headers_len == sender->headers_len &&
		memcmp(frame->data + sender->headers_at, rec->headers, rec->headers_len) == 0;

	enlargeStringInfo(frame, 1 + sizeof(head) + Max(rec->key_len, 0) + Max(rec->value_len, 0) +
					  Max(rec->headers_len, 0));
	appendStringInfoCharMacro(frame, same ? EVENTLOG_ITEM_SAME_HEADERS : EVENTLOG_ITEM_RECORD);
	appendBinaryStringInfo(frame, (const char *) &head, sizeof(head));
	if (rec->key_len > 0)
		appendBinaryStringInfo(frame, rec->key, rec->key_len);
	if (rec->value_len > 0)
		appendBinaryStringInfo(frame, rec->value, rec->value_len);
	if (!same && rec->headers_len > 0)
	{
		sender->headers_at = frame->len;
		sender->headers_len = rec->headers_len;
		appendBinaryStringInfo(frame, rec->headers, rec->headers_len);
	}
	if (frame->len >= EVENTLOG_READER_FRAME_SIZE)
		send_frame(sender);
}

static void
send_row(Sender *sender, char type, int chunk, const EventlogColumnValue *row, int ncolumns)
{
	EventlogSentHead head = {chunk, 0};

	send_frame(sender);
	resetStringInfo(&sender->message);
	appendBinaryStringInfo(&sender->message, (const char *) &head, sizeof(head));
	if (row)
		eventlog_row_write(&sender->message, ncolumns, row);
	send_bytes(sender, type, &sender->message);
}

/* What a reader has to know beside; there is one reader in a process. */
static EventlogSnapshotWork *reader_work;

static int
chunk_columns(int chunk)
{
	return reader_work->tables[reader_work->chunks[chunk].table]->desc->ncolumns;
}

static void
sender_first(EventlogSnapshotOutput *output, int chunk, const EventlogColumnValue *row)
{
	send_row(sender_of_output(output), EVENTLOG_SENT_FIRST, chunk, row, chunk_columns(chunk));
}

static void
sender_rows(EventlogSnapshotOutput *output, int chunk, int64 rows)
{
	sender_of_output(output)->rows += (int32) rows;
}

static void
sender_last(EventlogSnapshotOutput *output, int chunk, const EventlogColumnValue *row)
{
	send_row(sender_of_output(output), EVENTLOG_SENT_LAST, chunk, row, chunk_columns(chunk));
}

static void
sender_done(EventlogSnapshotOutput *output, int chunk)
{
	send_row(sender_of_output(output), EVENTLOG_SENT_DONE, chunk, NULL, 0);
}

static void
reader_context(void *arg)
{
	const EventlogSnapshotTable *table = *(EventlogSnapshotTable **) arg;

	if (table)
		errcontext("snapshot of table %s", table->name);
}

static void
read_chunks(EventlogReaderHeader *header, Sender *sender, EventlogEncoder *encoder)
{
	EventlogSource source = reader_work->source;
	EventlogSnapshotTable *table = NULL;
	ErrorContextCallback context = {
		.previous = error_context_stack,.callback = reader_context,.arg = &table
	};
	uint32		chunk;

	error_context_stack = &context;
	while ((chunk = pg_atomic_fetch_add_u32(&header->next_chunk, 1)) < reader_work->nchunks)
	{
		CHECK_FOR_INTERRUPTS();
		table = reader_work->tables[reader_work->chunks[chunk].table];
		pgstat_report_activity(STATE_RUNNING, table->name);
		EVENTLOG_PAUSE_INTERRUPTIBLE("capture-reader", table->name);
		sender->chunk = chunk;
		begin_frame(sender);
		eventlog_snapshot_read_chunk(encoder, table, reader_work->chunks, chunk, &source,
									 &sender->output);
	}
	error_context_stack = context.previous;
}

/* The segment, once this reader has attached. */
static dsm_segment *reader_segment;
static shm_toc *reader_toc;
static shm_mq_handle *reader_queue;

static void
reader_body(void)
{
	EventlogReaderHeader *header = shm_toc_lookup(reader_toc, EVENTLOG_READER_KEY_HEADER, false);
	char	   *snapshot = shm_toc_lookup(reader_toc, EVENTLOG_READER_KEY_SNAPSHOT, false);
	EventlogSnapshotWork work;
	StringInfoData bytes = {0};
	Sender		sender = {
		.sink = {.emit = sender_emit},
		.output = {.first = sender_first,.rows = sender_rows,
		.last = sender_last,.done = sender_done},
		.queue = reader_queue
	};
	EventlogEncoder *encoder;
	Jsonb	   *config;
	char	   *prefix;
	Oid			user;
	int			security;

	/*
	 * The leader holds locks on the tables, and waits for us: whoever waits
	 * for it must not keep us waiting.  Before any lock is taken.
	 */
	if (!BecomeLockGroupMember(header->leader, header->leader_pid))
		proc_exit(0);			/* the leader has gone */
	eventlog_worker_connect(header->database);
	eventlog_capture_settings();
	/* what goes wrong is told to the leader, which writes it to the log */
	SetConfigOption("log_min_messages", "fatal", PGC_SUSET, PGC_S_OVERRIDE);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	XactReadOnly = true;
	RestoreTransactionSnapshot(RestoreSnapshot(snapshot), header->leader);
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(header->owner, security | SECURITY_RESTRICTED_OPERATION);

	bytes.data = shm_toc_lookup(reader_toc, EVENTLOG_READER_KEY_WORK, false);
	bytes.len = bytes.maxlen = (int) header->work_size;
	read_work(&bytes, &work, &config, &prefix);
	reader_work = &work;
	initStringInfo(&sender.frame);
	initStringInfo(&sender.message);
	encoder = eventlog_encoder_create(eventlog_capture_config_parse(config), prefix,
									  get_database_name(header->database), &sender.sink);
	for (int i = 0; i < work.ntables; i++)
		(void) eventlog_encoder_table(encoder, work.tables[i]->desc);

	read_chunks(header, &sender, encoder);

	SetUserIdAndSecContext(user, security);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static void
reader_failed(const char *message)
{
}

void
eventlog_snapshot_reader_main(Datum arg)
{
	uint32		number;
	char	   *queues;
	shm_mq	   *queue;

	memcpy(&number, MyBgworkerEntry->bgw_extra, sizeof(number));
	eventlog_worker_begin();

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "eventlog snapshot reader");
	reader_segment = dsm_attach(DatumGetUInt32(arg));
	if (reader_segment == NULL)
		proc_exit(0);			/* the leader has gone */
	reader_toc = shm_toc_attach(EVENTLOG_READER_MAGIC, dsm_segment_address(reader_segment));
	if (reader_toc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("invalid magic number in dynamic shared memory segment")));

	queues = shm_toc_lookup(reader_toc, EVENTLOG_READER_KEY_QUEUES, false);
	queue = (shm_mq *) (queues + number * EVENTLOG_READER_QUEUE_SIZE);
	shm_mq_set_sender(queue, MyProc);
	reader_queue = shm_mq_attach(queue, reader_segment, NULL);
	pq_redirect_to_shm_mq(reader_segment, reader_queue);

	proc_exit(eventlog_worker_run(reader_body, reader_failed) ? 0 : 1);
}
