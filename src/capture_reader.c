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
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "capture_query.h"
#include "capture_settings.h"
#include "capture_snapshot.h"
#include "guc.h"
#include "worker.h"

#define READER_MAGIC		0x65764c53
#define READER_QUEUE_SIZE	((Size) 1024 * 1024)
#define READER_FRAME_SIZE	(64 * 1024)

/* keys of the segment's table of contents */
#define READER_KEY_HEADER	1
#define READER_KEY_WORK		2
#define READER_KEY_SNAPSHOT	3
#define READER_KEY_QUEUES	4

/* first bytes of messages; 'E' and 'N' are the client protocol's */
#define MESSAGE_FIRST		'f' /* a chunk's first row */
#define MESSAGE_RECORDS		'r' /* records that were encoded */
#define MESSAGE_LAST		'l' /* a chunk's last row */
#define MESSAGE_DONE		'd' /* a chunk is read */

/* what a frame of records consists of */
#define ITEM_TOPIC			'T'
#define ITEM_RECORD			'R'
#define ITEM_SAME_HEADERS	'S' /* a record with the headers of the one before */

/* The segment's header. */
typedef struct ReaderHeader
{
	Oid			database;
	Oid			owner;
	PGPROC	   *leader;
	int			leader_pid;
	pg_atomic_uint32 next_chunk;
	uint32		nqueues;
	Size		work_size;
} ReaderHeader;

/* What is before a row or a frame. */
typedef struct MessageHead
{
	int32		chunk;
	int32		rows;			/* of MESSAGE_RECORDS */
} MessageHead;

typedef struct RecordHead
{
	int64		timestamp;
	int32		topic;
	int32		partition;
	int32		key_len;
	int32		value_len;
	int32		headers_len;
	int32		headers_count;
} RecordHead;

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

static void
write_work(StringInfo out, const EventlogSnapshotWork *work)
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
	MessageHead head = {sender->chunk, 0};

	resetStringInfo(&sender->frame);
	appendBinaryStringInfo(&sender->frame, (const char *) &head, sizeof(head));
	sender->headers_at = 0;
	sender->rows = 0;
}

static void
send_frame(Sender *sender)
{
	if (sender->frame.len == sizeof(MessageHead) && sender->rows == 0)
		return;
	((MessageHead *) sender->frame.data)->rows = sender->rows;
	send_bytes(sender, MESSAGE_RECORDS, &sender->frame);
	begin_frame(sender);
}

static void
put_topic(Sender *sender, EventlogCaptureTopic *topic)
{
	appendStringInfoChar(&sender->frame, ITEM_TOPIC);
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
	RecordHead	head = {
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
	appendStringInfoCharMacro(frame, same ? ITEM_SAME_HEADERS : ITEM_RECORD);
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
	if (frame->len >= READER_FRAME_SIZE)
		send_frame(sender);
}

static void
send_row(Sender *sender, char type, int chunk, const EventlogColumnValue *row, int ncolumns)
{
	MessageHead head = {chunk, 0};

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
	send_row(sender_of_output(output), MESSAGE_FIRST, chunk, row, chunk_columns(chunk));
}

static void
sender_rows(EventlogSnapshotOutput *output, int chunk, int64 rows)
{
	sender_of_output(output)->rows += (int32) rows;
}

static void
sender_last(EventlogSnapshotOutput *output, int chunk, const EventlogColumnValue *row)
{
	send_row(sender_of_output(output), MESSAGE_LAST, chunk, row, chunk_columns(chunk));
}

static void
sender_done(EventlogSnapshotOutput *output, int chunk)
{
	send_row(sender_of_output(output), MESSAGE_DONE, chunk, NULL, 0);
}

static void
reader_context(void *arg)
{
	const EventlogSnapshotTable *table = *(EventlogSnapshotTable **) arg;

	if (table)
		errcontext("snapshot of table %s", table->name);
}

static void
read_chunks(ReaderHeader *header, Sender *sender, EventlogEncoder *encoder)
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
	ReaderHeader *header = shm_toc_lookup(reader_toc, READER_KEY_HEADER, false);
	char	   *snapshot = shm_toc_lookup(reader_toc, READER_KEY_SNAPSHOT, false);
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

	bytes.data = shm_toc_lookup(reader_toc, READER_KEY_WORK, false);
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
	reader_toc = shm_toc_attach(READER_MAGIC, dsm_segment_address(reader_segment));
	if (reader_toc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("invalid magic number in dynamic shared memory segment")));

	queues = shm_toc_lookup(reader_toc, READER_KEY_QUEUES, false);
	queue = (shm_mq *) (queues + number * READER_QUEUE_SIZE);
	shm_mq_set_sender(queue, MyProc);
	reader_queue = shm_mq_attach(queue, reader_segment, NULL);
	pq_redirect_to_shm_mq(reader_segment, reader_queue);

	proc_exit(eventlog_worker_run(reader_body, reader_failed) ? 0 : 1);
}

/* ---- the leader ---- */

typedef struct Reader
{
	BackgroundWorkerHandle *handle;
	shm_mq_handle *queue;
	bool		gone;			/* its queue has nothing more */
	Size		nbytes;			/* message that waits for its turn */
	char	   *waiting;
	int			ntopics;
	EventlogCaptureTopic **topics;
} Reader;

typedef struct Readers
{
	EventlogSnapshotWork *work;
	dsm_segment *segment;
	int			wanted;
	int			nreaders;
	Reader	   *readers;
	int			chunks_done;
} Readers;

static dsm_segment *
make_segment(EventlogSnapshotWork *work, int nqueues)
{
	Snapshot	snapshot = GetActiveSnapshot();
	Size		snapshot_size = EstimateSnapshotSpace(snapshot);
	Size		queues_size = mul_size(nqueues, READER_QUEUE_SIZE);
	StringInfoData bytes;
	shm_toc_estimator estimator;
	dsm_segment *segment;
	shm_toc    *toc;
	ReaderHeader *header;
	char	   *space;
	Size		size;

	initStringInfo(&bytes);
	write_work(&bytes, work);

	shm_toc_initialize_estimator(&estimator);
	shm_toc_estimate_chunk(&estimator, sizeof(ReaderHeader));
	shm_toc_estimate_chunk(&estimator, bytes.len);
	shm_toc_estimate_chunk(&estimator, snapshot_size);
	shm_toc_estimate_chunk(&estimator, queues_size);
	shm_toc_estimate_keys(&estimator, 4);
	size = shm_toc_estimate(&estimator);
	segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;
	toc = shm_toc_create(READER_MAGIC, dsm_segment_address(segment), size);

	header = shm_toc_allocate(toc, sizeof(ReaderHeader));
	header->database = MyDatabaseId;
	header->owner = work->capture->owner;
	header->leader = MyProc;
	header->leader_pid = MyProcPid;
	pg_atomic_init_u32(&header->next_chunk, 0);
	header->nqueues = nqueues;
	header->work_size = bytes.len;
	shm_toc_insert(toc, READER_KEY_HEADER, header);

	space = shm_toc_allocate(toc, bytes.len);
	memcpy(space, bytes.data, bytes.len);
	shm_toc_insert(toc, READER_KEY_WORK, space);
	pfree(bytes.data);

	space = shm_toc_allocate(toc, snapshot_size);
	SerializeSnapshot(snapshot, space);
	shm_toc_insert(toc, READER_KEY_SNAPSHOT, space);

	space = shm_toc_allocate(toc, queues_size);
	for (int i = 0; i < nqueues; i++)
		shm_mq_set_receiver(shm_mq_create(space + i * READER_QUEUE_SIZE, READER_QUEUE_SIZE), MyProc);
	shm_toc_insert(toc, READER_KEY_QUEUES, space);
	return segment;
}

static void
start_readers(Readers *readers)
{
	shm_toc    *toc = shm_toc_attach(READER_MAGIC, dsm_segment_address(readers->segment));
	char	   *queues = shm_toc_lookup(toc, READER_KEY_QUEUES, false);

	readers->readers = palloc0(readers->wanted * sizeof(Reader));
	for (uint32 i = 0; i < readers->wanted; i++)
	{
		Reader	   *reader = &readers->readers[i];
		BackgroundWorker worker;

		eventlog_worker_describe(&worker, "snapshot reader", "eventlog_snapshot_reader_main");
		worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(readers->segment));
		worker.bgw_notify_pid = MyProcPid;
		memcpy(worker.bgw_extra, &i, sizeof(i));
		if (!RegisterDynamicBackgroundWorker(&worker, &reader->handle))
			break;
		reader->queue = shm_mq_attach((shm_mq *) (queues + i * READER_QUEUE_SIZE),
									  readers->segment, reader->handle);
		readers->nreaders++;
	}
}

/* Also when this process exits in the middle. */
static void
stop_readers(int code, Datum arg)
{
	Readers *readers = (Readers *) DatumGetPointer(arg);

	for (int i = 0; i < readers->nreaders; i++)
		TerminateBackgroundWorker(readers->readers[i].handle);
	if (readers->segment)
		dsm_detach(readers->segment);
	readers->segment = NULL;
	readers->nreaders = 0;
}

pg_noreturn static void
cut_short(void)
{
	elog(ERROR, "message of a snapshot reader is cut short");
}

static const char *
take(const char **cursor, const char *end, size_t len)
{
	const char *result = *cursor;

	if (end - *cursor < len)
		cut_short();
	*cursor += len;
	return result;
}

/*
 * The leader's object for a topic's name: they are few, and live as long as
 * the process, because a sink may keep what it has opened.
 */
static EventlogCaptureTopic *
leader_topic(const char *name, bool plain)
{
	static HTAB *topics = NULL;
	char		key[sizeof(((EventlogCaptureTopic *) NULL)->name)] = {0};
	EventlogCaptureTopic *topic;
	bool		found;

	if (topics == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(key),.entrysize = sizeof(EventlogCaptureTopic)};

		topics = hash_create("eventlog snapshot topics", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	}
	strlcpy(key, name, sizeof(key));
	topic = hash_search(topics, key, HASH_ENTER, &found);
	if (!found)
	{
		topic->plain = plain;
		topic->sink = NULL;
	}
	return topic;
}

static void
define_topic(Reader *reader, const char **cursor, const char *end)
{
	bool		plain = *take(cursor, end, 1) != 0;
	const char *name = *cursor;

	if (memchr(name, '\0', end - name) == NULL)
		cut_short();
	*cursor += strlen(name) + 1;
	if ((reader->ntopics & (reader->ntopics + 1)) == 0 || reader->topics == NULL)
	{
		Size		room = (2 * reader->ntopics + 2) * sizeof(EventlogCaptureTopic *);

		reader->topics = reader->topics ? repalloc(reader->topics, room) : palloc(room);
	}
	reader->topics[reader->ntopics++] = leader_topic(name, plain);
}

static void
hand_on_records(EventlogSnapshotWork *work, Reader *reader, const char *cursor, const char *end)
{
	EventlogRecord rec = {0};

	while (cursor < end)
	{
		char		item = *cursor++;
		RecordHead	head;

		if (item == ITEM_TOPIC)
		{
			define_topic(reader, &cursor, end);
			continue;
		}
		memcpy(&head, take(&cursor, end, sizeof(head)), sizeof(head));
		if (head.topic < 1 || head.topic > reader->ntopics)
			cut_short();
		rec.timestamp = head.timestamp;
		rec.key_len = head.key_len;
		rec.value_len = head.value_len;
		rec.headers_len = head.headers_len;
		rec.headers_count = head.headers_count;
		rec.key = take(&cursor, end, Max(head.key_len, 0));
		rec.value = take(&cursor, end, Max(head.value_len, 0));
		if (item == ITEM_RECORD && head.headers_len > 0)
			rec.headers = take(&cursor, end, Max(head.headers_len, 0));
		work->sink->emit(work->sink, reader->topics[head.topic - 1], &rec, head.partition);
	}
}

/* A reader's error is ours, in its words. */
static void
raise_message(char type, const char *data, Size nbytes)
{
	StringInfoData message;
	ErrorData	error;

	initStringInfo(&message);
	appendBinaryStringInfo(&message, data, nbytes);
	pq_parse_errornotice(&message, &error);
	error.elevel = type == 'E' ? ERROR : Min(error.elevel, WARNING);
	ThrowErrorData(&error);
	pfree(message.data);
}

static void
hand_on_row(EventlogSnapshotWork *work, char type, int chunk, const char *cursor, const char *end)
{
	int			ncolumns = work->tables[work->chunks[chunk].table]->desc->ncolumns;
	EventlogColumnValue *row = eventlog_row_read(&cursor, end, ncolumns);

	if (type == MESSAGE_FIRST)
		work->output->first(work->output, chunk, row);
	else
		work->output->last(work->output, chunk, row);
	pfree(row);
}

/* Take a message; false if it has to wait. */
static bool
consume(Readers *readers, Reader *reader, Size nbytes, char *data)
{
	EventlogSnapshotWork *work = readers->work;
	const char *end = data + nbytes;
	const char *cursor = data + 1;
	char		type = data[0];
	MessageHead head;

	if (nbytes == 0)
		cut_short();
	if (type == 'E' || type == 'N')
		raise_message(type, cursor, nbytes - 1);
	if (strchr("frld", type) == NULL)
		return true;

	memcpy(&head, take(&cursor, end, sizeof(head)), sizeof(head));
	if (head.chunk < 0 || head.chunk >= work->nchunks)
		cut_short();
	if (!work->ready(work->output, head.chunk) && type != MESSAGE_DONE)
		return false;

	if (type == MESSAGE_RECORDS)
	{
		hand_on_records(work, reader, cursor, end);
		work->output->rows(work->output, head.chunk, head.rows);
	}
	else if (type == MESSAGE_DONE)
	{
		readers->chunks_done++;
		work->output->done(work->output, head.chunk);
	}
	else
		hand_on_row(work, type, head.chunk, cursor, end);
	return true;
}

/* Messages of one reader, some at a time.  True if there were any. */
static bool
receive(Readers *readers, Reader *reader)
{
	bool		any = false;

	for (int i = 0; i < 8 && !reader->gone; i++)
	{
		if (reader->waiting == NULL)
		{
			void	   *data;
			shm_mq_result result = shm_mq_receive(reader->queue, &reader->nbytes, &data, true);

			if (result == SHM_MQ_WOULD_BLOCK)
				break;
			if (result == SHM_MQ_DETACHED)
			{
				reader->gone = true;
				return true;
			}
			reader->waiting = data;
		}
		if (!consume(readers, reader, reader->nbytes, reader->waiting))
			break;
		reader->waiting = NULL;
		any = true;
	}
	return any;
}

/*
 * Take what comes until all readers have gone.  False if none of them has begun
 * with anything: the server could not start them.
 */
static bool
receive_all(Readers *readers)
{
	ReaderHeader *header = shm_toc_lookup(shm_toc_attach(READER_MAGIC, dsm_segment_address(readers->segment)),
										  READER_KEY_HEADER, false);

	for (;;)
	{
		bool		any = false;
		bool		left = false;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < readers->nreaders; i++)
		{
			Reader	   *reader = &readers->readers[i];

			any |= !reader->gone && receive(readers, reader);
			left |= !reader->gone;
		}
		if (!left)
			break;
		if (any)
			continue;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, 0, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}

	if (readers->chunks_done == 0 && pg_atomic_read_u32(&header->next_chunk) == 0)
		return false;
	if (readers->chunks_done < readers->work->nchunks)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("reader of a snapshot ended before its work was done"),
				 errhint("The snapshot is begun again.")));
	return true;
}

bool
eventlog_snapshot_read_parallel(EventlogSnapshotWork *work, int wanted)
{
	Readers *readers = palloc0(sizeof(Readers));
	volatile bool done = false;

	readers->work = work;
	readers->wanted = Min(wanted, work->nchunks);
	readers->segment = make_segment(work, readers->wanted);
	if (readers->segment == NULL)
		return false;
	BecomeLockGroupLeader();
	PG_ENSURE_ERROR_CLEANUP(stop_readers, PointerGetDatum(readers));
	{
		start_readers(readers);
		if (readers->nreaders > 0)
			done = receive_all(readers);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_readers, PointerGetDatum(readers));
	stop_readers(0, PointerGetDatum(readers));
	return done;
}
