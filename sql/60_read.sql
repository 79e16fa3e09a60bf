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
Errors: undefined_table, insufficient_privilege, invalid_parameter_value (no such partition, offset out of range), LG001 (offset below the log start)';

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
