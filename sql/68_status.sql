-- 68_status.sql: what the views of partitions and groups are made of.

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
