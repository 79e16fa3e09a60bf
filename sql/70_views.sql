-- 70_views.sql: the state of partitions and groups.

CREATE FUNCTION eventlog.lso_holder(xid xid, OUT top_xid xid, OUT pid int)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'eventlog_lso_holder';
COMMENT ON FUNCTION eventlog.lso_holder(xid) IS
'the top-level transaction of a transaction in progress, and the process that runs it, null for a prepared one; see eventlog.partitions';

CREATE FUNCTION eventlog.record_time(topic regclass, partition int, from_offset bigint)
RETURNS timestamptz
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'eventlog_record_time';
COMMENT ON FUNCTION eventlog.record_time(regclass, int, bigint) IS
'timestamp of the first committed record at or behind an offset of a topic on which one has SELECT, or any topic for pg_monitor; null if there is none below the last stable offset';

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
	h.top_xid AS lso_holder_xid,
	h.pid AS lso_holder_pid,
	p.gid AS lso_holder_gid,
	COALESCE(p.prepared, a.xact_start) AS lso_holder_since
FROM eventlog.topic t
	CROSS JOIN LATERAL eventlog.partition_status(t.relation) s
	CROSS JOIN LATERAL eventlog.lso_holder(s.lso_holder_xid) h
	LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) h.pid
	LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction OPERATOR(pg_catalog.=) h.top_xid;
COMMENT ON VIEW eventlog.partitions IS
'partitions of the topics on which one has SELECT; pg_monitor sees all';
COMMENT ON COLUMN eventlog.partitions.topic IS 'name of the topic';
COMMENT ON COLUMN eventlog.partitions.partition IS 'number of the partition, from 0 on';
COMMENT ON COLUMN eventlog.partitions.log_start_offset IS 'offset of the oldest record kept';
COMMENT ON COLUMN eventlog.partitions.high_watermark IS 'next offset to be assigned';
COMMENT ON COLUMN eventlog.partitions.last_stable_offset IS
'consumers read up to here: the first record of a transaction in progress, or the high watermark';
COMMENT ON COLUMN eventlog.partitions.bytes IS 'size of the file, space for coming records included';
COMMENT ON COLUMN eventlog.partitions.segments IS 'segments of the log, the one that is written to included';
COMMENT ON COLUMN eventlog.partitions.records IS
'offsets from log start to high watermark: records, and gaps left by aborted transactions';
COMMENT ON COLUMN eventlog.partitions.frozen_offset IS 'VACUUM has frozen what lies below';
COMMENT ON COLUMN eventlog.partitions.lso_holder_xid IS
'transaction in progress that holds the last stable offset below the high watermark';
COMMENT ON COLUMN eventlog.partitions.lso_holder_pid IS 'process that runs it; null if it is prepared';
COMMENT ON COLUMN eventlog.partitions.lso_holder_gid IS 'its identifier if it is prepared';
COMMENT ON COLUMN eventlog.partitions.lso_holder_since IS
'when it began, or was prepared; null also for a session of a role that one is not a member of, unless one has pg_read_all_stats';
GRANT SELECT ON eventlog.partitions TO PUBLIC;

CREATE VIEW eventlog.consumer_groups WITH (security_barrier) AS
SELECT g.name AS consumer_group,
	t.name AS topic,
	s.partition,
	o.next_offset AS current_offset,
	s.last_stable_offset AS log_end_offset,
	x.lag,
	COALESCE(m.pid, c.pid) AS consumer_id,
	a.client_addr AS host,
	COALESCE(m.client_id, a.application_name) AS client_id,
	CASE WHEN x.lag OPERATOR(pg_catalog.>) 0 THEN
		GREATEST(COALESCE(EXTRACT(epoch FROM pg_catalog.now() OPERATOR(pg_catalog.-)
			eventlog.record_time(t.relation, s.partition, GREATEST(o.next_offset, s.log_start_offset))), 0), 0)
	ELSE 0 END::double precision AS lag_seconds,
	o.committed_at AS last_commit_at,
	h.pid AS waits_for_pid
FROM eventlog.consumer_group g
	JOIN eventlog.topic t ON t.relation OPERATOR(pg_catalog.=) g.topic
	CROSS JOIN LATERAL eventlog.partition_status(t.relation) s
	CROSS JOIN LATERAL eventlog.lso_holder(s.lso_holder_xid) h
	LEFT JOIN eventlog.committed_offset o
		ON o.consumer_group OPERATOR(pg_catalog.=) g.name
		AND o.topic OPERATOR(pg_catalog.=) g.topic
		AND o.partition OPERATOR(pg_catalog.=) s.partition
	CROSS JOIN LATERAL (SELECT GREATEST(s.last_stable_offset OPERATOR(pg_catalog.-)
		GREATEST(o.next_offset, s.log_start_offset), 0) AS lag) x
	LEFT JOIN eventlog.member_status() m
		ON m.consumer_group OPERATOR(pg_catalog.=) g.name
		AND m.topic OPERATOR(pg_catalog.=) g.topic
		AND m.partition OPERATOR(pg_catalog.=) s.partition
	LEFT JOIN pg_catalog.pg_locks c
		ON c.granted AND c.locktype OPERATOR(pg_catalog.=) 'advisory'
		AND c.objsubid OPERATOR(pg_catalog.=) 26369
		AND c.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
			WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
		AND c.objid OPERATOR(pg_catalog.=) eventlog.claim_key(g.name)
		AND c.classid OPERATOR(pg_catalog.=) eventlog.partition_leaf(t.relation, s.partition)
	LEFT JOIN pg_catalog.pg_stat_activity a
		ON a.pid OPERATOR(pg_catalog.=) COALESCE(m.pid, c.pid)
WHERE pg_catalog.pg_has_role(g.owner, 'USAGE')
	OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eventlog.consumer_groups IS
'positions of one''s consumer groups, with the columns of Kafka''s consumer-groups tool; pg_monitor sees all';
COMMENT ON COLUMN eventlog.consumer_groups.consumer_group IS 'name of the group';
COMMENT ON COLUMN eventlog.consumer_groups.topic IS 'name of the topic';
COMMENT ON COLUMN eventlog.consumer_groups.partition IS 'number of the partition, from 0 on';
COMMENT ON COLUMN eventlog.consumer_groups.current_offset IS
'committed offset: the next to read; null before the first commit';
COMMENT ON COLUMN eventlog.consumer_groups.log_end_offset IS
'last stable offset, which is the end of the log for a consumer of committed records';
COMMENT ON COLUMN eventlog.consumer_groups.lag IS 'records up to the last stable offset, aborted ones included';
COMMENT ON COLUMN eventlog.consumer_groups.consumer_id IS
'process id of the member that owns the partition, or of the session whose transaction holds it by consume()';
COMMENT ON COLUMN eventlog.consumer_groups.host IS 'its client''s address';
COMMENT ON COLUMN eventlog.consumer_groups.client_id IS 'the member''s client_id, or the session''s application_name';
COMMENT ON COLUMN eventlog.consumer_groups.lag_seconds IS
'age of the oldest record that the group could consume and has not, in seconds, by the record''s timestamp; 0 if there is none';
COMMENT ON COLUMN eventlog.consumer_groups.last_commit_at IS 'when current_offset was set; null: never';
COMMENT ON COLUMN eventlog.consumer_groups.waits_for_pid IS
'process whose transaction keeps what lies behind log_end_offset from being consumed; null if none does, or a prepared one: see eventlog.partitions';
GRANT SELECT ON eventlog.consumer_groups TO PUBLIC;
