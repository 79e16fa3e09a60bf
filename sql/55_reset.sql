-- 55_reset.sql: moving the offsets of consumer groups.

CREATE TYPE eventlog.offset_reset AS (
	topic text,
	partition int,
	old_offset bigint,
	new_offset bigint
);
COMMENT ON TYPE eventlog.offset_reset IS
'what reset_offsets() did to a partition: the committed offset before (null: none) and after';

CREATE FUNCTION eventlog.reset_offsets(
	consumer_group text,
	topic text,
	target text,
	value text DEFAULT NULL,
	partition int DEFAULT NULL,
	dry_run boolean DEFAULT false
)
RETURNS SETOF eventlog.offset_reset
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_reset_offsets';
COMMENT ON FUNCTION eventlog.reset_offsets(text, text, text, text, int, boolean) IS
'set the committed offsets of a consumer group that one owns, as part of the transaction; one partition, or all. target: earliest, latest (the last stable offset), current, offset (value), datetime (value: first record of that time or later), by-duration (value: an interval before now), shift-by (value: records forward, or back if negative); Kafka''s "to-" may be written in front. An offset outside of the log becomes its start or end, with a warning. Waits for the transaction that consumes a partition, up to lock_timeout; refused while the group has members. dry_run: only tell, which is always possible.
Errors: undefined_table, undefined_object, insufficient_privilege, invalid_parameter_value, object_in_use';
