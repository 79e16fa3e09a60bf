\echo Use "CREATE EXTENSION pg_eventlog" to load this file. \quit

-- 00_schema.sql: schemas, and what the database must be like.

-- Text in a topic is UTF-8, as Kafka's clients expect it.
DO $$
BEGIN
	IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
		RAISE EXCEPTION 'pg_eventlog needs a database whose encoding is UTF8, and this one has %',
				pg_catalog.current_setting('server_encoding')
			USING ERRCODE = 'feature_not_supported',
				HINT = 'Use CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
	END IF;
END
$$;

CREATE SCHEMA eventlog;
COMMENT ON SCHEMA eventlog IS 'pg_eventlog: functions, views and types of the event log';
GRANT USAGE ON SCHEMA eventlog TO PUBLIC;

-- Where create_topic() puts topics unless told otherwise.  A schema of that
-- name that the database has already is used as it is.
DO $$
BEGIN
	IF pg_catalog.to_regnamespace('topics') IS NULL THEN
		CREATE SCHEMA topics;
		COMMENT ON SCHEMA topics IS 'pg_eventlog: topics, unless created in another schema';
		GRANT USAGE ON SCHEMA topics TO PUBLIC;
	END IF;
END
$$;
-- 10_types.sql: records and headers.

CREATE TYPE eventlog.header AS (
	name text,
	value bytea
);
COMMENT ON TYPE eventlog.header IS
'one header of a record: a name, and bytes or null; names may repeat and order counts';

CREATE TYPE eventlog.record AS (
	topic text,
	partition int,
	record_offset bigint,
	"timestamp" timestamptz,
	key bytea,
	value bytea,
	headers eventlog.header[]
);
COMMENT ON TYPE eventlog.record IS
'a record as Kafka carries it: key and value are bytes, null is null (a null value is a tombstone)';

CREATE FUNCTION eventlog.headers(VARIADIC names_and_values text[])
RETURNS eventlog.header[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_headers_from_text';
COMMENT ON FUNCTION eventlog.headers(text[]) IS
'headers from pairs: headers(''name'', ''value'', ...); values are stored as UTF-8, null is null; an odd count or a null name is an error';

CREATE FUNCTION eventlog.headers(names_and_values jsonb)
RETURNS eventlog.header[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_headers_from_jsonb';
COMMENT ON FUNCTION eventlog.headers(jsonb) IS
'headers from a JSON object, in jsonb''s order of keys: a string becomes its text, null becomes null, anything else its JSON text; not an object is an error';

CREATE CAST (jsonb AS eventlog.header[])
	WITH FUNCTION eventlog.headers(jsonb) AS IMPLICIT;
COMMENT ON CAST (jsonb AS eventlog.header[]) IS
'headers from a JSON object, as eventlog.headers(jsonb)';

CREATE FUNCTION eventlog.header(headers eventlog.header[], name text)
RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_header_last';
COMMENT ON FUNCTION eventlog.header(eventlog.header[], text) IS
'value of the last header of that name (Kafka''s lastHeader); null if there is none or its value is null';
-- 20_access_method.sql: the storage of topics.

CREATE FUNCTION eventlog.eventlog_am_handler(internal)
RETURNS table_am_handler
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'eventlog_am_handler';
COMMENT ON FUNCTION eventlog.eventlog_am_handler(internal) IS
'handler of the table access method eventlog';

CREATE ACCESS METHOD eventlog TYPE TABLE HANDLER eventlog.eventlog_am_handler;
COMMENT ON ACCESS METHOD eventlog IS
'append-only log of Kafka record batches, for the partitions of topics';
-- 30_topics.sql: topics.

CREATE TABLE eventlog.topic (
	relation regclass PRIMARY KEY,
	name text COLLATE "C" NOT NULL UNIQUE,
	folded_name text COLLATE "C" NOT NULL UNIQUE
		GENERATED ALWAYS AS (pg_catalog.replace(name, '.', '_')) STORED,
	config jsonb NOT NULL DEFAULT '{}',
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE eventlog.topic IS
'catalogue of topics; read eventlog.topics, and change it with create_topic(), alter_topic(), drop_topic()';
COMMENT ON COLUMN eventlog.topic.relation IS 'the topic''s table';
COMMENT ON COLUMN eventlog.topic.name IS
'name, which the table''s is too, unless it is too long for an identifier';
COMMENT ON COLUMN eventlog.topic.folded_name IS
'name with "_" for ".": names that differ only in these collide, as in Kafka';
COMMENT ON COLUMN eventlog.topic.config IS 'configs that differ from their defaults by the owner''s wish';
COMMENT ON COLUMN eventlog.topic.created_at IS 'when the topic was created';
SELECT pg_catalog.pg_extension_config_dump('eventlog.topic', '');

CREATE FUNCTION eventlog.topic_changed()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'eventlog_topic_changed';
COMMENT ON FUNCTION eventlog.topic_changed() IS
'trigger of eventlog.topic: makes caches follow where that table is changed by SQL, as a restored dump does';
REVOKE ALL ON FUNCTION eventlog.topic_changed() FROM PUBLIC;

CREATE TRIGGER topic_changed
	AFTER INSERT OR UPDATE OR DELETE ON eventlog.topic
	FOR EACH ROW EXECUTE FUNCTION eventlog.topic_changed();

CREATE FUNCTION eventlog.create_topic(
	topic text,
	partitions int DEFAULT 1,
	key_type regtype DEFAULT 'pg_catalog.text',
	value_type regtype DEFAULT 'pg_catalog.json',
	config jsonb DEFAULT '{}',
	schema_name name DEFAULT 'topics'
)
RETURNS regclass
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_create_topic';
COMMENT ON FUNCTION eventlog.create_topic(text, int, regtype, regtype, jsonb, name) IS
'create a topic and return its table.
topic: 1 to 249 of [a-zA-Z0-9._-], unique in the database; partitions: 1 to 10000; key_type, value_type: bytea, text, json or jsonb; config: Kafka''s topic configs, such as {"retention.ms": 3600000, "compression.type": "zstd"}; schema_name: where the table is made, which needs CREATE there.
Errors: invalid_name, duplicate_table, invalid_parameter_value, feature_not_supported';

CREATE FUNCTION eventlog.alter_topic(topic text, config jsonb)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_alter_topic';
COMMENT ON FUNCTION eventlog.alter_topic(text, jsonb) IS
'change configs of a topic that one owns: those named are set, or with null go back to their defaults, the others stay. Neither waits for nor blocks those who produce and read.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value, feature_not_supported';

CREATE FUNCTION eventlog.add_partitions(topic text, total int)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_add_partitions';
COMMENT ON FUNCTION eventlog.add_partitions(text, int) IS
'give a topic that one owns more partitions, up to "total". Keys are spread over all partitions from then on: records of one key may go to another partition than before, as in Kafka. Neither waits for nor blocks those who produce and read.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value';

CREATE FUNCTION eventlog.drop_topic(topic text)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_drop_topic';
COMMENT ON FUNCTION eventlog.drop_topic(text) IS
'drop a topic that one owns and all its records; the same as DROP TABLE of its table.
Errors: undefined_table, insufficient_privilege, dependent_objects_still_exist';

CREATE VIEW eventlog.topics WITH (security_barrier) AS
SELECT t.name AS topic,
	t.relation,
	(SELECT pg_catalog.count(*)
		FROM pg_catalog.pg_inherits i
			JOIN pg_catalog.pg_class l ON l.oid OPERATOR(pg_catalog.=) i.inhrelid
		WHERE i.inhparent OPERATOR(pg_catalog.=) t.relation
			AND pg_catalog.pg_get_expr(l.relpartbound, l.oid)
				OPERATOR(pg_catalog.<>) 'FOR VALUES IN (NULL)')::int AS partitions,
	k.atttypid::regtype AS key_type,
	v.atttypid::regtype AS value_type,
	t.config,
	c.relowner::regrole AS owner,
	t.created_at
FROM eventlog.topic t
	JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relation
	JOIN pg_catalog.pg_attribute k ON k.attrelid OPERATOR(pg_catalog.=) t.relation
		AND k.attname OPERATOR(pg_catalog.=) 'key'
	JOIN pg_catalog.pg_attribute v ON v.attrelid OPERATOR(pg_catalog.=) t.relation
		AND v.attname OPERATOR(pg_catalog.=) 'value'
WHERE pg_catalog.has_table_privilege(t.relation, 'SELECT, INSERT, TRUNCATE, TRIGGER')
	OR pg_catalog.pg_has_role(c.relowner, 'USAGE')
	OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eventlog.topics IS
'topics on which one has a privilege; all of them for members of pg_monitor';
COMMENT ON COLUMN eventlog.topics.topic IS 'name of the topic';
COMMENT ON COLUMN eventlog.topics.relation IS 'its table';
COMMENT ON COLUMN eventlog.topics.partitions IS 'number of its partitions';
COMMENT ON COLUMN eventlog.topics.key_type IS 'type of keys in SQL';
COMMENT ON COLUMN eventlog.topics.value_type IS 'type of values in SQL';
COMMENT ON COLUMN eventlog.topics.config IS 'configs that were set; the others have their defaults';
COMMENT ON COLUMN eventlog.topics.owner IS 'owner of the topic and its table';
COMMENT ON COLUMN eventlog.topics.created_at IS 'when it was created';
GRANT SELECT ON eventlog.topics TO PUBLIC;
-- 40_produce.sql: writing records.

CREATE FUNCTION eventlog.produce(
	topic text,
	key "any" DEFAULT NULL,
	value "any" DEFAULT NULL,
	headers eventlog.header[] DEFAULT NULL,
	partition int DEFAULT NULL,
	event_time timestamptz DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_produce';
COMMENT ON FUNCTION eventlog.produce(text, "any", "any", eventlog.header[], int, timestamptz) IS
'send one record to a topic, as part of this transaction; needs INSERT on the topic. Asynchronous, as Kafka''s send: the record is checked and buffered now and appended when the transaction commits; offsets are told by flush() and last_produced().
key, value: any type; null is null, and a null value is a tombstone. In json topics text is parsed as JSON and other types go through to_jsonb(); in text topics values take their text form. headers: see eventlog.headers(); jsonb objects are accepted. partition: null has the partitioner choose, by Kafka''s murmur2 of the key or, without a key, one partition for a batch''s worth of records and then the next. event_time: floored to milliseconds; null is now.
Errors: undefined_table, insufficient_privilege, program_limit_exceeded (larger than max.message.bytes), invalid_text_representation (JSON), character_not_in_repertoire, invalid_parameter_value (partition), datetime_value_out_of_range';

CREATE FUNCTION eventlog.produce(
	topic text,
	key text,
	value text,
	headers eventlog.header[] DEFAULT NULL,
	partition int DEFAULT NULL,
	event_time timestamptz DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_produce';
COMMENT ON FUNCTION eventlog.produce(text, text, text, eventlog.header[], int, timestamptz) IS
'produce() with text, for drivers that do not declare their parameters'' types';

CREATE FUNCTION eventlog.produce(
	topic text,
	key "any",
	value text,
	headers eventlog.header[] DEFAULT NULL,
	partition int DEFAULT NULL,
	event_time timestamptz DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_produce';
COMMENT ON FUNCTION eventlog.produce(text, "any", text, eventlog.header[], int, timestamptz) IS
'produce() where a driver declares the type of one of key and value only';

CREATE FUNCTION eventlog.produce(
	topic text,
	key text,
	value "any",
	headers eventlog.header[] DEFAULT NULL,
	partition int DEFAULT NULL,
	event_time timestamptz DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_produce';
COMMENT ON FUNCTION eventlog.produce(text, text, "any", eventlog.header[], int, timestamptz) IS
'produce() where a driver declares the type of one of key and value only';

CREATE FUNCTION eventlog.produce_batch(
	topic text,
	keys "any",
	vals "any",
	headers eventlog.header[] DEFAULT NULL,
	partition int DEFAULT NULL,
	event_times timestamptz[] DEFAULT NULL
)
RETURNS int
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_produce_batch';
COMMENT ON FUNCTION eventlog.produce_batch(text, "any", "any", eventlog.header[], int, timestamptz[]) IS
'send many records, in the order of the arrays, as produce() would one by one; returns how many. keys, vals: arrays of any type and of one length; null stands for an array of nulls. headers: the same for every record. A driver that does not declare its parameters'' types needs casts: $2::text[].
Errors: as produce(); array_subscript_error (lengths differ), datatype_mismatch (not an array)';

CREATE FUNCTION eventlog.flush(
	OUT topic text,
	OUT partition int,
	OUT first_offset bigint,
	OUT last_offset bigint
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_flush';
COMMENT ON FUNCTION eventlog.flush() IS
'append what this transaction has produced so far, and tell the offsets, one row for each contiguous range; offsets that an earlier call has told are left out. Until the transaction ends it then holds the last stable offset of those partitions, as a Kafka transaction does';

CREATE FUNCTION eventlog.last_produced(
	OUT topic text,
	OUT partition int,
	OUT first_offset bigint,
	OUT last_offset bigint
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_last_produced';
COMMENT ON FUNCTION eventlog.last_produced() IS
'offsets of the records of this session''s last transaction that produced and committed, one row for each contiguous range; topic is null if it was dropped since';
-- 50_consume.sql: consumer groups.

CREATE TABLE eventlog.consumer_group (
	name text COLLATE "C" NOT NULL,
	topic regclass NOT NULL,
	owner regrole NOT NULL,
	start text NOT NULL,
	config jsonb NOT NULL,
	created_at timestamptz NOT NULL,
	PRIMARY KEY (name, topic)
);
COMMENT ON TABLE eventlog.consumer_group IS
'catalogue of consumer groups, a row for each topic that a group consumes; read eventlog.consumer_groups';
SELECT pg_catalog.pg_extension_config_dump('eventlog.consumer_group', '');

CREATE TABLE eventlog.committed_offset (
	consumer_group text COLLATE "C" NOT NULL,
	topic regclass NOT NULL,
	partition int NOT NULL,
	next_offset bigint NOT NULL,
	committed_at timestamptz NOT NULL,
	PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 40);
COMMENT ON TABLE eventlog.committed_offset IS
'committed offsets of consumer groups: the next to read; read eventlog.consumer_groups';
SELECT pg_catalog.pg_extension_config_dump('eventlog.committed_offset', '');

CREATE FUNCTION eventlog.create_group(
	consumer_group text,
	topic text,
	start text DEFAULT 'earliest',
	config jsonb DEFAULT '{}'
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_create_group';
COMMENT ON FUNCTION eventlog.create_group(text, text, text, jsonb) IS
'make a consumer group for a topic, owned by the current user; needs SELECT on the topic. start: earliest, latest (the last stable offset now), none (consuming is an error until an offset is committed), or a timestamp (the first record of that time or later). Optional: a first consume() makes the group with start earliest, unless eventlog.auto_create_groups is off.
Errors: undefined_table, insufficient_privilege, duplicate_object, invalid_name, invalid_datetime_format';

CREATE FUNCTION eventlog.consume(
	consumer_group text,
	topic text,
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0',
	auto_commit boolean DEFAULT false
)
RETURNS SETOF eventlog.record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_consume';
COMMENT ON FUNCTION eventlog.consume(text, text, int, interval, boolean) IS
'the group''s next records of a topic, for this transaction; needs SELECT on the topic. Takes partitions that no other transaction of the group holds and keeps them until the end of the transaction; calls go on where the last one ended. commit() moves the group''s offsets in the same transaction; without it, and on rollback, the records go to the group''s next caller. What a call consumes is all that it returns, up to max_records (null: no limit), whatever the query does with the rows. max_wait: how long to wait if there is nothing; not under REPEATABLE READ and above. auto_commit: commit at once what the call returns.
Errors: undefined_table, undefined_object, insufficient_privilege, serialization_failure';

CREATE FUNCTION eventlog.consume(
	consumer_group text,
	topic anyelement,
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0',
	auto_commit boolean DEFAULT false
)
RETURNS SETOF anyelement
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_consume';
COMMENT ON FUNCTION eventlog.consume(text, anyelement, int, interval, boolean) IS
'consume() with the columns and types of the topic''s table: consume(''group'', null::topics.orders)';

CREATE FUNCTION eventlog.commit()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_commit_all';
COMMENT ON FUNCTION eventlog.commit() IS
'commit the offsets of all that this transaction has consumed, as part of the transaction';

CREATE FUNCTION eventlog.commit(
	consumer_group text,
	topic text,
	partition int,
	next_offset bigint
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_commit_one';
COMMENT ON FUNCTION eventlog.commit(text, text, int, bigint) IS
'commit one partition''s offset, the next to read, as part of the transaction, which must have consumed up to it.
Errors: object_not_in_prerequisite_state (partition not consumed here), invalid_parameter_value (offset below the committed one or above what was consumed)';

CREATE FUNCTION eventlog.claim_key(consumer_group text)
RETURNS oid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_claim_key';
COMMENT ON FUNCTION eventlog.claim_key(text) IS
'the group''s part of its claims in pg_locks: a claim has the leaf''s oid as classid, this as objid and 26369 as objsubid';
-- 60_read.sql: reading without a group.

CREATE FUNCTION eventlog.read(
	topic text,
	partition int,
	from_offset bigint,
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0'
)
RETURNS SETOF eventlog.record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_read';
COMMENT ON FUNCTION eventlog.read(text, int, bigint, int, interval) IS
'records of a partition from an offset on, without a group; needs SELECT on the topic. Gives only what is committed, on disk, and below the last stable offset. max_records: null is no limit. max_wait: how long to wait if there is nothing; not under REPEATABLE READ and above.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value (no such partition, offset out of range)';

CREATE FUNCTION eventlog.read(
	topic anyelement,
	partition int,
	from_offset bigint,
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0'
)
RETURNS SETOF anyelement
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_read';
COMMENT ON FUNCTION eventlog.read(anyelement, int, bigint, int, interval) IS
'read() with the columns and types of the topic''s table: read(null::topics.orders, 0, 0)';

CREATE FUNCTION eventlog.tail(
	topic text,
	n int DEFAULT 10,
	max_wait interval DEFAULT '0',
	OUT partition int,
	OUT record_offset bigint,
	OUT "timestamp" timestamptz,
	OUT key text,
	OUT value text
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_tail';
COMMENT ON FUNCTION eventlog.tail(text, int, interval) IS
'the newest n records of all partitions, as text; in one session further calls give what has come since, at most n a call, so that \watch follows the topic. Bytes that are no text are shown in hex.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value';
-- 70_views.sql: the state of partitions and groups.

CREATE FUNCTION eventlog.partition_status(
	topic regclass,
	OUT partition int,
	OUT log_start_offset bigint,
	OUT high_watermark bigint,
	OUT last_stable_offset bigint,
	OUT bytes bigint,
	OUT segments int,
	OUT records bigint,
	OUT frozen_offset bigint,
	OUT lso_holder_xid xid
)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_partition_status';
COMMENT ON FUNCTION eventlog.partition_status(regclass) IS
'one row for each partition of a topic on which one has SELECT, or any topic for pg_monitor; see eventlog.partitions';

CREATE FUNCTION eventlog.partition_leaf(topic regclass, partition int)
RETURNS oid
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'eventlog_partition_leaf';
COMMENT ON FUNCTION eventlog.partition_leaf(regclass, int) IS
'table that holds a partition of a topic; null if there is none';

CREATE VIEW eventlog.partitions WITH (security_barrier) AS
SELECT t.name AS topic,
	s.partition,
	s.log_start_offset,
	s.high_watermark,
	s.last_stable_offset,
	s.bytes,
	s.segments,
	s.records,
	s.frozen_offset,
	s.lso_holder_xid
FROM eventlog.topic t, LATERAL eventlog.partition_status(t.relation) s;
COMMENT ON VIEW eventlog.partitions IS
'partitions of the topics on which one has SELECT; pg_monitor sees all';
COMMENT ON COLUMN eventlog.partitions.log_start_offset IS 'offset of the oldest record kept';
COMMENT ON COLUMN eventlog.partitions.high_watermark IS 'next offset to be assigned';
COMMENT ON COLUMN eventlog.partitions.last_stable_offset IS
'consumers read up to here: the first record of a transaction in progress, or the high watermark';
COMMENT ON COLUMN eventlog.partitions.bytes IS 'size of the file, space for coming records included';
COMMENT ON COLUMN eventlog.partitions.records IS
'offsets from log start to high watermark: records, and gaps left by aborted transactions';
COMMENT ON COLUMN eventlog.partitions.frozen_offset IS 'VACUUM has frozen what lies below';
COMMENT ON COLUMN eventlog.partitions.lso_holder_xid IS
'transaction in progress that holds the last stable offset below the high watermark';
GRANT SELECT ON eventlog.partitions TO PUBLIC;

CREATE VIEW eventlog.consumer_groups WITH (security_barrier) AS
SELECT g.name AS consumer_group,
	t.name AS topic,
	s.partition,
	o.next_offset AS current_offset,
	s.last_stable_offset AS log_end_offset,
	GREATEST(s.last_stable_offset OPERATOR(pg_catalog.-)
		GREATEST(o.next_offset, s.log_start_offset), 0) AS lag,
	a.pid AS consumer_id,
	a.client_addr AS host,
	a.application_name AS client_id,
	o.committed_at
FROM eventlog.consumer_group g
	JOIN eventlog.topic t ON t.relation OPERATOR(pg_catalog.=) g.topic
	CROSS JOIN LATERAL eventlog.partition_status(t.relation) s
	LEFT JOIN eventlog.committed_offset o
		ON o.consumer_group OPERATOR(pg_catalog.=) g.name
		AND o.topic OPERATOR(pg_catalog.=) g.topic
		AND o.partition OPERATOR(pg_catalog.=) s.partition
	LEFT JOIN (pg_catalog.pg_locks l
			JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid)
		ON l.locktype OPERATOR(pg_catalog.=) 'advisory'
		AND l.objsubid OPERATOR(pg_catalog.=) 26369
		AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
			WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
		AND l.objid OPERATOR(pg_catalog.=) eventlog.claim_key(g.name)
		AND l.classid OPERATOR(pg_catalog.=) eventlog.partition_leaf(t.relation, s.partition)
WHERE pg_catalog.pg_has_role(g.owner, 'USAGE')
	OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eventlog.consumer_groups IS
'positions of one''s consumer groups, with the columns of Kafka''s consumer-groups tool; pg_monitor sees all';
COMMENT ON COLUMN eventlog.consumer_groups.current_offset IS
'committed offset: the next to read; null before the first commit';
COMMENT ON COLUMN eventlog.consumer_groups.log_end_offset IS
'last stable offset, which is the end of the log for a consumer of committed records';
COMMENT ON COLUMN eventlog.consumer_groups.lag IS 'records up to the last stable offset, aborted ones included';
COMMENT ON COLUMN eventlog.consumer_groups.consumer_id IS
'process id of the session whose transaction holds the partition';
COMMENT ON COLUMN eventlog.consumer_groups.host IS 'its client''s address';
COMMENT ON COLUMN eventlog.consumer_groups.client_id IS 'its application_name';
GRANT SELECT ON eventlog.consumer_groups TO PUBLIC;
