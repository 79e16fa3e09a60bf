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
