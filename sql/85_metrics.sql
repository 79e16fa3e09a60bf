-- 85_metrics.sql: what monitoring reads: counters, and gauges from the views.

CREATE FUNCTION eventlog.topic_counters(
	topic regclass,
	OUT name text,
	OUT via text,
	OUT value double precision,
	OUT help text
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 25
AS 'MODULE_PATHNAME', 'eventlog_topic_counters';
COMMENT ON FUNCTION eventlog.topic_counters(regclass) IS
'counters of a topic on which one has SELECT, or of any topic for pg_monitor; null: of the topics of all databases beyond eventlog.max_topic_metrics, for pg_monitor; see eventlog.metrics_topics.
Errors: object_not_in_prerequisite_state (the library was not loaded at server start)';

CREATE FUNCTION eventlog.database_counters(
	OUT name text,
	OUT value double precision,
	OUT help text
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 8
AS 'MODULE_PATHNAME', 'eventlog_database_counters';
COMMENT ON FUNCTION eventlog.database_counters() IS
'counters of the current database, and when they were last reset; see eventlog.metrics_database.
Errors: object_not_in_prerequisite_state (the library was not loaded at server start)';

CREATE FUNCTION eventlog.reset_metrics()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_reset_metrics';
COMMENT ON FUNCTION eventlog.reset_metrics() IS
'set the counters of eventlog.metrics to 0 for the current database, at once; for superusers, unless others are granted EXECUTE, as with pg_stat_reset().
Errors: object_not_in_prerequisite_state (the library was not loaded at server start)';
REVOKE ALL ON FUNCTION eventlog.reset_metrics() FROM PUBLIC;

-- Four views, since an exporter reads the parts one by one.

CREATE VIEW eventlog.metrics_topics WITH (security_barrier) AS
SELECT c.name,
	pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('topic', t.name, 'via', c.via)) AS labels,
	c.value,
	c.help,
	'counter'::text AS type
FROM (SELECT name, relation FROM eventlog.topic
		UNION ALL SELECT '(other)', NULL) t,
	LATERAL eventlog.topic_counters(t.relation) c;
COMMENT ON VIEW eventlog.metrics_topics IS
'the part of eventlog.metrics that counts what was produced and given out, by topic';
COMMENT ON COLUMN eventlog.metrics_topics.name IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_topics.labels IS
'topic; "(other)" is all that found no place, see eventlog.max_topic_metrics. via: consume, poll, read or tail';
COMMENT ON COLUMN eventlog.metrics_topics.value IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_topics.help IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_topics.type IS 'counter';
GRANT SELECT ON eventlog.metrics_topics TO PUBLIC;

CREATE VIEW eventlog.metrics_partitions WITH (security_barrier) AS
SELECT m.name,
	pg_catalog.jsonb_build_object('topic', p.topic, 'partition', p.partition::text) AS labels,
	m.value,
	m.help,
	'gauge'::text AS type
FROM eventlog.partitions p
	CROSS JOIN LATERAL (VALUES
		('kafka_topic_partition_current_offset', p.high_watermark::double precision,
			'Next offset of the partition: the high watermark.'),
		('kafka_topic_partition_oldest_offset', p.log_start_offset::double precision,
			'Offset of the oldest record kept.'),
		('kafka_cluster_partition_laststableoffsetlag',
			(p.high_watermark OPERATOR(pg_catalog.-) p.last_stable_offset)::double precision,
			'Offsets that consumers do not get yet, because a transaction in progress lies before them.'),
		('kafka_log_log_numlogsegments', p.segments::double precision,
			'Segments of the log.'),
		('eventlog_topic_partition_file_bytes', p.bytes::double precision,
			'Size of the file, with space for coming records.'),
		('eventlog_topic_partition_lso_held_seconds',
			CASE WHEN p.lso_holder_xid IS NULL THEN 0
				ELSE COALESCE(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-)
					COALESCE(
						(SELECT pg_catalog.min(a.xact_start)
							FROM pg_catalog.pg_locks l
								JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid
							WHERE l.locktype OPERATOR(pg_catalog.=) 'transactionid'
								AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock' AND l.granted
								AND l.transactionid OPERATOR(pg_catalog.=) p.lso_holder_xid),
						(SELECT x.prepared FROM pg_catalog.pg_prepared_xacts x
							WHERE x.transaction OPERATOR(pg_catalog.=) p.lso_holder_xid))), 0)
			END,
			'Age of the transaction that keeps consumers from what lies behind it; 0: none, or not known to who asks.')
	) m(name, value, help)
UNION ALL
SELECT m.name,
	pg_catalog.jsonb_build_object('topic', p.topic, 'partition', p.partition::text),
	m.value,
	m.help,
	'gauge'
FROM eventlog.maintenance p
	CROSS JOIN LATERAL (VALUES
		('eventlog_topic_partition_dirty_ratio', p.dirty_ratio,
			'Share of the log that compaction has not seen; it counts for compacted topics.'),
		('eventlog_topic_partition_free_bytes', p.free_bytes::double precision,
			'Bytes of the file that wait to be used again.'),
		('eventlog_topic_partition_retired_bytes', p.retired_bytes::double precision,
			'Bytes that become free when older transactions have ended.')
	) m(name, value, help)
WHERE m.value IS NOT NULL
UNION ALL
SELECT 'kafka_topic_partitions',
	pg_catalog.jsonb_build_object('topic', p.topic),
	pg_catalog.count(*),
	'Partitions of the topic.',
	'gauge'
FROM eventlog.partitions p
GROUP BY p.topic;
COMMENT ON VIEW eventlog.metrics_partitions IS
'the part of eventlog.metrics that tells the state of partitions, from eventlog.partitions and eventlog.maintenance, with their rules of who sees what';
COMMENT ON COLUMN eventlog.metrics_partitions.name IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_partitions.labels IS 'topic, partition';
COMMENT ON COLUMN eventlog.metrics_partitions.value IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_partitions.help IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_partitions.type IS 'gauge';
GRANT SELECT ON eventlog.metrics_partitions TO PUBLIC;

CREATE VIEW eventlog.metrics_groups WITH (security_barrier) AS
SELECT m.name,
	pg_catalog.jsonb_build_object('consumergroup', g.consumer_group, 'topic', g.topic,
		'partition', g.partition::text) AS labels,
	m.value,
	m.help,
	'gauge'::text AS type
FROM eventlog.consumer_groups g
	JOIN eventlog.topic t ON t.name OPERATOR(pg_catalog.=) g.topic
	CROSS JOIN LATERAL (VALUES
		('kafka_consumergroup_current_offset', g.current_offset::double precision,
			'Committed offset: the next that the group reads.'),
		('kafka_consumergroup_lag', g.lag::double precision,
			'Offsets up to the last stable one that the group has not committed.'),
		('eventlog_consumergroup_lag_seconds',
			g.lag_seconds,
			'Age, by its timestamp, of the oldest record that the group has not committed.')
	) m(name, value, help)
WHERE m.value IS NOT NULL
UNION ALL
SELECT 'kafka_consumergroup_members',
	pg_catalog.jsonb_build_object('consumergroup', g.consumer_group),
	pg_catalog.count(g.consumer_id),
	'Members of the group, and transactions that consume for it.',
	'gauge'
FROM (SELECT consumer_group, consumer_id FROM eventlog.consumer_groups
		UNION SELECT consumer_group, consumer_id FROM eventlog.group_members) g
GROUP BY g.consumer_group;
COMMENT ON VIEW eventlog.metrics_groups IS
'the part of eventlog.metrics that tells the state of consumer groups, from eventlog.consumer_groups and eventlog.group_members, with their rules of who sees what';
COMMENT ON COLUMN eventlog.metrics_groups.name IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_groups.labels IS 'consumergroup, topic, partition';
COMMENT ON COLUMN eventlog.metrics_groups.value IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_groups.help IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_groups.type IS 'gauge';
GRANT SELECT ON eventlog.metrics_groups TO PUBLIC;

CREATE VIEW eventlog.metrics_database WITH (security_barrier) AS
SELECT c.name,
	'{}'::jsonb AS labels,
	c.value,
	c.help,
	CASE c.name WHEN 'eventlog_stats_reset_timestamp_seconds' THEN 'gauge' ELSE 'counter' END AS type
FROM eventlog.database_counters() c
UNION ALL
SELECT m.name,
	pg_catalog.jsonb_build_object('kind', w.kind),
	m.value,
	m.help,
	m.type
FROM (SELECT kind,
			pg_catalog.sum(runs)::double precision AS runs,
			pg_catalog.max(failures)::double precision AS failures,
			pg_catalog.count(pid)::double precision AS running,
			pg_catalog.date_part('epoch', pg_catalog.max(finished_at)) AS finished
		FROM eventlog.workers
		WHERE database IS NULL OR database OPERATOR(pg_catalog.=) pg_catalog.current_database()
		GROUP BY kind) w
	CROSS JOIN LATERAL (VALUES
		('eventlog_worker_runs_total', w.runs, 'counter',
			'Runs of workers in the database that came to their end; for the launcher: workers started in all databases.'),
		('eventlog_worker_failures', w.failures, 'gauge',
			'Runs in a row that had errors.'),
		('eventlog_worker_processes', w.running, 'gauge',
			'Processes there are now.'),
		('eventlog_worker_last_run_timestamp_seconds', w.finished, 'gauge',
			'Unix time at which the last run came to its end.')
	) m(name, value, type, help)
WHERE m.value IS NOT NULL;
COMMENT ON VIEW eventlog.metrics_database IS
'the part of eventlog.metrics that is about the database: what members and sleeping sessions do, and workers, as far as eventlog.workers shows them';
COMMENT ON COLUMN eventlog.metrics_database.name IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_database.labels IS 'none, or kind: of worker';
COMMENT ON COLUMN eventlog.metrics_database.value IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_database.help IS 'as in eventlog.metrics';
COMMENT ON COLUMN eventlog.metrics_database.type IS 'counter or gauge';
GRANT SELECT ON eventlog.metrics_database TO PUBLIC;

CREATE VIEW eventlog.metrics WITH (security_barrier) AS
SELECT name, labels, value, help, type FROM eventlog.metrics_topics
UNION ALL
SELECT name, labels, value, help, type FROM eventlog.metrics_partitions
UNION ALL
SELECT name, labels, value, help, type FROM eventlog.metrics_groups
UNION ALL
SELECT name, labels, value, help, type FROM eventlog.metrics_database;
COMMENT ON VIEW eventlog.metrics IS
'what there is to monitor in the current database, as Prometheus wants it, of topics and groups that one may see; pg_monitor sees all. Counters begin at 0 when the server starts, and count a transaction when it ends: what it produced if it has committed or was prepared, what it was given in any case. SELECT from a topic''s table is not counted';
COMMENT ON COLUMN eventlog.metrics.name IS
'name of the metric: that of Kafka or kafka_exporter where they have the same, else it begins with eventlog_';
COMMENT ON COLUMN eventlog.metrics.labels IS 'labels; with the name they are unique';
COMMENT ON COLUMN eventlog.metrics.value IS 'value; times are in seconds, sizes in bytes';
COMMENT ON COLUMN eventlog.metrics.help IS 'what it means';
COMMENT ON COLUMN eventlog.metrics.type IS 'counter: only grows, until the server restarts or reset_metrics() is called; gauge';
GRANT SELECT ON eventlog.metrics TO PUBLIC;
