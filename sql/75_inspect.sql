-- 75_inspect.sql: looking into a log.

CREATE FUNCTION eventlog.verify(
	topic text,
	OUT partition int,
	OUT segment bigint,
	OUT block bigint,
	OUT record_offset bigint,
	OUT problem text
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'eventlog_verify';
COMMENT ON FUNCTION eventlog.verify(text) IS
'check every page and every batch of a topic, and give what is wrong as rows; none: all is sound. Metapage, segment map, generations, the chain of entries, offsets, checksums and records; and that each block has one use. Needs SELECT on the topic, or pg_monitor. Keeps maintenance, VACUUM and ANALYZE of a partition waiting while it is checked, nobody else. Where the server''s own checksum of a page is wrong, it warns, too.
Errors: undefined_table, insufficient_privilege';

CREATE FUNCTION eventlog.dump_batches(
	topic text,
	partition int,
	from_offset bigint DEFAULT 0,
	to_offset bigint DEFAULT NULL,
	OUT base_offset bigint,
	OUT last_offset bigint,
	OUT count int,
	OUT base_sequence int,
	OUT last_sequence int,
	OUT producer_id bigint,
	OUT producer_epoch int,
	OUT partition_leader_epoch int,
	OUT is_transactional boolean,
	OUT is_control boolean,
	OUT delete_horizon_ms bigint,
	OUT segment bigint,
	OUT block bigint,
	OUT byte int,
	OUT timestamp_type text,
	OUT max_timestamp_ms bigint,
	OUT size int,
	OUT magic int,
	OUT compress_codec text,
	OUT crc bigint,
	OUT xmin xid,
	OUT state text
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000
AS 'MODULE_PATHNAME', 'eventlog_dump_batches';
COMMENT ON FUNCTION eventlog.dump_batches(text, int, bigint, bigint) IS
'headers of the batches that hold offsets from_offset to to_offset, as Kafka''s DumpLogSegments shows them; segment, block and byte are where the batch''s entry starts; xmin is who wrote it, and state what became of him: committed, aborted, in progress, or frozen (committed, and too long ago to ask). Needs SELECT on the topic, or pg_monitor. Damage is a warning, and reading goes on behind it.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value';
