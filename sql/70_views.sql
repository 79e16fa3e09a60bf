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
