-- 65_maintenance.sql: the life of a log: retention, compaction, erasure, dumps.

CREATE TABLE eventlog.partition_start (
	relation regclass PRIMARY KEY,
	log_start_offset bigint NOT NULL,
	next_offset bigint NOT NULL
);
COMMENT ON TABLE eventlog.partition_start IS
'for dumps: log start and next offset of leaves whose log start has moved, or from which compaction or erasure has removed records, as of the last time that was noticed; read eventlog.partitions';
COMMENT ON COLUMN eventlog.partition_start.relation IS 'the leaf table';
COMMENT ON COLUMN eventlog.partition_start.log_start_offset IS 'offset of the oldest record kept';
COMMENT ON COLUMN eventlog.partition_start.next_offset IS
'high watermark: a restored log gives out no offset below it';
SELECT pg_catalog.pg_extension_config_dump('eventlog.partition_start', '');

CREATE FUNCTION eventlog.partition_start_restored()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'eventlog_partition_start_restored';
COMMENT ON FUNCTION eventlog.partition_start_restored() IS
'trigger of eventlog.partition_start: a dump is being restored; the log goes on with the dump''s offsets';
REVOKE ALL ON FUNCTION eventlog.partition_start_restored() FROM PUBLIC;

CREATE TRIGGER partition_start_restored
	BEFORE INSERT ON eventlog.partition_start
	FOR EACH ROW EXECUTE FUNCTION eventlog.partition_start_restored();

CREATE FUNCTION eventlog.committed_offset_restored()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'eventlog_committed_offset_restored';
COMMENT ON FUNCTION eventlog.committed_offset_restored() IS
'trigger of eventlog.committed_offset: a dump is being restored; the log gives out no offset that a group has passed';
REVOKE ALL ON FUNCTION eventlog.committed_offset_restored() FROM PUBLIC;

CREATE TRIGGER committed_offset_restored
	BEFORE INSERT ON eventlog.committed_offset
	FOR EACH ROW EXECUTE FUNCTION eventlog.committed_offset_restored();

CREATE FUNCTION eventlog.maintain(topic text)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_maintain';
COMMENT ON FUNCTION eventlog.maintain(text) IS
'do for a topic that one owns what the maintenance workers do by themselves: freeze, move the log start as retention.ms and retention.bytes say, compact, make space free that nobody can be reading any more, and prepare more. Space of what one call removes is free from the next call on. Waits for VACUUM and ANALYZE of the same partitions; neither waits for nor blocks those who produce and read.
Errors: undefined_table, insufficient_privilege';

CREATE FUNCTION eventlog.delete_records(topic text, partition int, before_offset bigint)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_delete_records';
COMMENT ON FUNCTION eventlog.delete_records(text, int, bigint) IS
'move the log start of a partition of a topic that one owns up to before_offset, as part of the transaction, and return the log start; -1 is the last stable offset: all committed records. As Kafka''s DeleteRecords; the space is used again.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value (no such partition, offset beyond the last stable one)';

CREATE FUNCTION eventlog.erase(topic text, key "any")
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_erase';
COMMENT ON FUNCTION eventlog.erase(text, "any") IS
'remove all records with this key from a topic that one owns, whatever its cleanup.policy, and return their number; offsets of others do not change. When it returns, no file of the topic holds the bytes any more; WAL, backups, indexes on the topic, statistics, and what others have made of the records do. Takes effect at once and is not undone by a rollback. Records of transactions in progress stay. Reads the whole topic, and rewrites the segments that hold the key.
Errors: undefined_table, insufficient_privilege, object_in_use (try again when open transactions have ended)';

CREATE FUNCTION eventlog.erase(topic text, key text)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_erase';
COMMENT ON FUNCTION eventlog.erase(text, text) IS
'erase() for a key given as text, and for parameters of undeclared type';

CREATE FUNCTION eventlog.adopt_topic(relation regclass, config jsonb DEFAULT '{}')
RETURNS text
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_adopt_topic';
COMMENT ON FUNCTION eventlog.adopt_topic(regclass, jsonb) IS
'make a table that one owns, and that was a topic''s, a topic again, under the table''s name, which is returned: for tables that were restored alone (pg_dump -t). Without retention.ms in config it keeps everything.
Errors: wrong_object_type, duplicate_table, invalid_name, insufficient_privilege, invalid_parameter_value';

CREATE FUNCTION eventlog.compaction_status(
	topic regclass,
	OUT partition int,
	OUT cleaned_offset bigint,
	OUT clean_bytes bigint,
	OUT dirty_bytes bigint,
	OUT dirty_ratio double precision,
	OUT last_run_at timestamptz,
	OUT last_run_read bigint,
	OUT last_run_kept bigint,
	OUT free_bytes bigint,
	OUT retired_bytes bigint
)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_compaction_status';
COMMENT ON FUNCTION eventlog.compaction_status(regclass) IS
'one row for each partition of a topic on which one has SELECT, or any topic for pg_monitor; see eventlog.maintenance';

CREATE VIEW eventlog.maintenance WITH (security_barrier) AS
SELECT t.name AS topic,
	s.partition,
	COALESCE(t.config OPERATOR(pg_catalog.->>) 'cleanup.policy', 'delete') AS cleanup_policy,
	s.cleaned_offset,
	s.clean_bytes,
	s.dirty_bytes,
	s.dirty_ratio,
	s.last_run_at,
	s.last_run_read,
	s.last_run_kept,
	s.free_bytes,
	s.retired_bytes
FROM eventlog.topic t, LATERAL eventlog.compaction_status(t.relation) s;
COMMENT ON VIEW eventlog.maintenance IS
'what compaction has done and what awaits it, and free space, by partition, of the topics on which one has SELECT; pg_monitor sees all';
COMMENT ON COLUMN eventlog.maintenance.cleanup_policy IS 'the topic''s cleanup.policy';
COMMENT ON COLUMN eventlog.maintenance.cleaned_offset IS
'below this offset no key has two records, if the topic is compacted';
COMMENT ON COLUMN eventlog.maintenance.clean_bytes IS 'bytes of the log below cleaned_offset';
COMMENT ON COLUMN eventlog.maintenance.dirty_bytes IS 'bytes of the log from there on';
COMMENT ON COLUMN eventlog.maintenance.dirty_ratio IS
'dirty_bytes of all; compaction runs from min.cleanable.dirty.ratio on';
COMMENT ON COLUMN eventlog.maintenance.last_run_at IS 'when compaction last came to an end; null: never';
COMMENT ON COLUMN eventlog.maintenance.last_run_read IS 'records that it read';
COMMENT ON COLUMN eventlog.maintenance.last_run_kept IS 'records that it kept';
COMMENT ON COLUMN eventlog.maintenance.free_bytes IS 'bytes of the file that wait to be used again';
COMMENT ON COLUMN eventlog.maintenance.retired_bytes IS
'bytes of what was removed or replaced, which become free when transactions that are older have ended';
GRANT SELECT ON eventlog.maintenance TO PUBLIC;
