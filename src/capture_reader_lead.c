/*-------------------------------------------------------------------------
 *
 * capture_reader_lead.c
 *	  The leader of a snapshot's readers: starts them, takes what they send.
 *
 * See capture_reader.c.  Records are handed to the sink as they are; rows and
 * the ends of chunks to whoever keeps the books of the snapshot.  While some
 * chunk's turn has not come, its reader's messages wait in its queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "storage/shm_toc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "capture_query.h"
#include "capture_reader.h"
#include "worker.h"

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
	Size		queues_size = mul_size(nqueues, EVENTLOG_READER_QUEUE_SIZE);
	StringInfoData bytes;
	shm_toc_estimator estimator;
	dsm_segment *segment;
	shm_toc    *toc;
	EventlogReaderHeader *header;
	char	   *space;
	Size		size;

	initStringInfo(&bytes);
	eventlog_reader_write_work(&bytes, work);

	shm_toc_initialize_estimator(&estimator);
	shm_toc_estimate_chunk(&estimator, sizeof(EventlogReaderHeader));
	shm_toc_estimate_chunk(&estimator, bytes.len);
	shm_toc_estimate_chunk(&estimator, snapshot_size);
	shm_toc_estimate_chunk(&estimator, queues_size);
	shm_toc_estimate_keys(&estimator, 4);
	size = shm_toc_estimate(&estimator);
	segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;
	toc = shm_toc_create(EVENTLOG_READER_MAGIC, dsm_segment_address(segment), size);

	header = shm_toc_allocate(toc, sizeof(EventlogReaderHeader));
	header->database = MyDatabaseId;
	header->owner = work->capture->owner;
	header->leader = MyProc;
	header->leader_pid = MyProcPid;
	pg_atomic_init_u32(&header->next_chunk, 0);
	header->nqueues = nqueues;
	header->work_size = bytes.len;
	shm_toc_insert(toc, EVENTLOG_READER_KEY_HEADER, header);

	space = shm_toc_allocate(toc, bytes.len);
	memcpy(space, bytes.data, bytes.len);
	shm_toc_insert(toc, EVENTLOG_READER_KEY_WORK, space);
	pfree(bytes.data);

	space = shm_toc_allocate(toc, snapshot_size);
	SerializeSnapshot(snapshot, space);
	shm_toc_insert(toc, EVENTLOG_READER_KEY_SNAPSHOT, space);

	space = shm_toc_allocate(toc, queues_size);
	for (int i = 0; i < nqueues; i++)
		shm_mq_set_receiver(shm_mq_create(space + i * EVENTLOG_READER_QUEUE_SIZE, EVENTLOG_READER_QUEUE_SIZE), MyProc);
	shm_toc_insert(toc, EVENTLOG_READER_KEY_QUEUES, space);
	return segment;
}

static void
start_readers(Readers *readers)
{
	shm_toc    *toc = shm_toc_attach(EVENTLOG_READER_MAGIC, dsm_segment_address(readers->segment));
	char	   *queues = shm_toc_lookup(toc, EVENTLOG_READER_KEY_QUEUES, false);

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
		reader->queue = shm_mq_attach((shm_mq *) (queues + i * EVENTLOG_READER_QUEUE_SIZE),
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
		EventlogSentRecord	head;

		if (item == EVENTLOG_ITEM_TOPIC)
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
		if (item == EVENTLOG_ITEM_RECORD && head.headers_len > 0)
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

	if (type == EVENTLOG_SENT_FIRST)
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
	EventlogSentHead head;

	if (nbytes == 0)
		cut_short();
	if (type == 'E' || type == 'N')
		raise_message(type, cursor, nbytes - 1);
	if (strchr("frld", type) == NULL)
		return true;

	memcpy(&head, take(&cursor, end, sizeof(head)), sizeof(head));
	if (head.chunk < 0 || head.chunk >= work->nchunks)
		cut_short();
	if (!work->ready(work->output, head.chunk) && type != EVENTLOG_SENT_DONE)
		return false;

	if (type == EVENTLOG_SENT_RECORDS)
	{
		hand_on_records(work, reader, cursor, end);
		work->output->rows(work->output, head.chunk, head.rows);
	}
	else if (type == EVENTLOG_SENT_DONE)
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
	EventlogReaderHeader *header = shm_toc_lookup(shm_toc_attach(EVENTLOG_READER_MAGIC, dsm_segment_address(readers->segment)),
										  EVENTLOG_READER_KEY_HEADER, false);

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
