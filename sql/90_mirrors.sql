-- 90_mirrors.sql: topics mirrored to and from Kafka clusters.

CREATE FUNCTION eventlog.kafka_validator(options text[], catalog oid)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_kafka_validator';
COMMENT ON FUNCTION eventlog.kafka_validator(text[], oid) IS
'checks the options of Kafka servers and of their user mappings, see docs/mirrors.md; called by the server';

CREATE FOREIGN DATA WRAPPER eventlog_kafka NO HANDLER VALIDATOR eventlog.kafka_validator;
COMMENT ON FOREIGN DATA WRAPPER eventlog_kafka IS
'Kafka clusters, for eventlog.create_mirror(). Whoever has USAGE on it can make servers, and so have this server connect to any host: grant it to a role made for that';

-- Numbers of mirrors are not given again: workers know mirrors by them.
CREATE SEQUENCE eventlog.mirror_id AS int;
SELECT pg_catalog.pg_extension_config_dump('eventlog.mirror_id', '');

CREATE TABLE eventlog.mirror (
	id int NOT NULL UNIQUE,
	name text COLLATE "C" PRIMARY KEY,
	owner regrole NOT NULL,
	server name NOT NULL,
	direction text COLLATE "C" NOT NULL
		CHECK (direction OPERATOR(pg_catalog.=) ANY (ARRAY['out', 'in'])),
	topic text COLLATE "C" NOT NULL,
	kafka_topic text COLLATE "C" NOT NULL,
	config jsonb NOT NULL,
	paused boolean NOT NULL DEFAULT false,
	stopped text,
	restart text,
	identity uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	timeline int NOT NULL,
	generation bigint NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE eventlog.mirror IS
'catalogue of mirrors; read eventlog.mirrors, and change it with create_mirror(), alter_mirror(), pause_mirror(), resume_mirror(), drop_mirror()';
COMMENT ON COLUMN eventlog.mirror.id IS 'number';
COMMENT ON COLUMN eventlog.mirror.name IS 'name';
COMMENT ON COLUMN eventlog.mirror.owner IS 'role in whose name its worker works';
COMMENT ON COLUMN eventlog.mirror.server IS 'foreign server: the Kafka cluster';
COMMENT ON COLUMN eventlog.mirror.direction IS 'out: from here to Kafka; in: from Kafka';
COMMENT ON COLUMN eventlog.mirror.topic IS 'topic here, or a pattern';
COMMENT ON COLUMN eventlog.mirror.kafka_topic IS 'topic in Kafka, or a pattern';
COMMENT ON COLUMN eventlog.mirror.config IS 'configuration, as it was given';
COMMENT ON COLUMN eventlog.mirror.paused IS 'whether it is not to run';
COMMENT ON COLUMN eventlog.mirror.stopped IS
'why it stands still until it is resumed, null if it does not: "phase: message"';
COMMENT ON COLUMN eventlog.mirror.restart IS
'from where it is to go on, as resume_mirror() was told and it has not done yet';
COMMENT ON COLUMN eventlog.mirror.identity IS
'what its group and its transactional id in Kafka are named by, "pg_eventlog-<identity>"';
COMMENT ON COLUMN eventlog.mirror.system_identifier IS 'server where it has been working';
COMMENT ON COLUMN eventlog.mirror.database_oid IS 'database where it has been working';
COMMENT ON COLUMN eventlog.mirror.timeline IS 'timeline on which it has been working';
COMMENT ON COLUMN eventlog.mirror.generation IS 'counts the workers that have taken it';
COMMENT ON COLUMN eventlog.mirror.created_at IS 'when it was created';
SELECT pg_catalog.pg_extension_config_dump('eventlog.mirror', '');

-- Rows are updated with each transaction of a mirror: with room in its page, a
-- row stays there, and the index is not touched.
CREATE TABLE eventlog.mirror_position (
	mirror int NOT NULL REFERENCES eventlog.mirror (id) ON DELETE CASCADE,
	kafka_topic text COLLATE "C" NOT NULL,
	partition int NOT NULL,
	topic text COLLATE "C" NOT NULL,
	record_offset bigint,
	kafka_offset bigint,
	epoch int,
	relation regclass,
	PRIMARY KEY (mirror, kafka_topic, partition)
) WITH (fillfactor = 25, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0,
	autovacuum_analyze_threshold = 1000000);
COMMENT ON TABLE eventlog.mirror_position IS
'progress of mirrors: of "in" mirrors, committed with the records; of "out" mirrors, a lower bound, since theirs is committed in Kafka with the records';
COMMENT ON COLUMN eventlog.mirror_position.mirror IS 'number of the mirror';
COMMENT ON COLUMN eventlog.mirror_position.kafka_topic IS 'topic in Kafka';
COMMENT ON COLUMN eventlog.mirror_position.partition IS 'partition of the source';
COMMENT ON COLUMN eventlog.mirror_position.topic IS 'topic here';
COMMENT ON COLUMN eventlog.mirror_position.record_offset IS 'the next offset here: to send, or to append at';
COMMENT ON COLUMN eventlog.mirror_position.kafka_offset IS 'the next offset in Kafka: to read, or to be given';
COMMENT ON COLUMN eventlog.mirror_position.relation IS 'direction out: the table of the topic whose offset it is, as another topic may be given its name';
COMMENT ON COLUMN eventlog.mirror_position.epoch IS 'leader epoch of the source; direction out: the timeline, if record_offset is just where Kafka is, else null or -1';
SELECT pg_catalog.pg_extension_config_dump('eventlog.mirror_position', '');

CREATE TABLE eventlog.mirror_sync (
	mirror int NOT NULL REFERENCES eventlog.mirror (id) ON DELETE CASCADE,
	kafka_topic text COLLATE "C" NOT NULL,
	partition int NOT NULL,
	topic text COLLATE "C" NOT NULL,
	record_offset bigint NOT NULL,
	kafka_offset bigint NOT NULL,
	synced_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (mirror, kafka_topic, partition, record_offset)
);
COMMENT ON TABLE eventlog.mirror_sync IS
'offsets of the two sides of mirrors that stood for the same moment; see mirror_offsets()';
COMMENT ON COLUMN eventlog.mirror_sync.mirror IS 'number of the mirror';
COMMENT ON COLUMN eventlog.mirror_sync.kafka_topic IS 'topic in Kafka';
COMMENT ON COLUMN eventlog.mirror_sync.partition IS 'partition of both sides';
COMMENT ON COLUMN eventlog.mirror_sync.topic IS 'topic here';
COMMENT ON COLUMN eventlog.mirror_sync.record_offset IS 'offset here';
COMMENT ON COLUMN eventlog.mirror_sync.kafka_offset IS 'offset in Kafka: of the same record, or of the first after it';
COMMENT ON COLUMN eventlog.mirror_sync.synced_at IS 'when that was noted';
SELECT pg_catalog.pg_extension_config_dump('eventlog.mirror_sync', '');

-- What is known of clusters that are there: not for dumps.  Rows are few, and
-- lists of brokers can be too long for an index.
CREATE TABLE eventlog.mirror_cluster (
	brokers text COLLATE "C" NOT NULL,
	cluster_id text COLLATE "C" NOT NULL,
	seen_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE eventlog.mirror_cluster IS
'which Kafka clusters have answered to mirrors: servers whose brokers have the same id are one cluster';
COMMENT ON COLUMN eventlog.mirror_cluster.brokers IS 'bootstrap.servers of a foreign server';
COMMENT ON COLUMN eventlog.mirror_cluster.cluster_id IS 'id of the cluster that has answered there';
COMMENT ON COLUMN eventlog.mirror_cluster.seen_at IS 'when that was learned';

CREATE FUNCTION eventlog.create_mirror(
	name text,
	server name,
	direction text,
	topic text,
	kafka_topic text DEFAULT NULL,
	config jsonb DEFAULT '{}'
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_create_mirror';
COMMENT ON FUNCTION eventlog.create_mirror(text, name, text, text, text, jsonb) IS
'mirror a topic to a Kafka cluster (direction out) or from one (in): keys, values, headers, timestamps and partitions, exactly once.
name: unique in the database; server: of foreign-data wrapper eventlog_kafka; topic: here; kafka_topic: there (default: the same name); config: see docs/mirrors.md. A name that begins with "^" is a regular expression for topics of the source; the other name then says what a name becomes, as in regexp_replace(), \& and \1 included (default: the same).
Needs USAGE on the server, and SELECT (out) or INSERT (in) on the topic. Returns at once: eventlog.mirrors tells how it goes.
Errors: insufficient_privilege, undefined_object, undefined_table, wrong_object_type, duplicate_object, invalid_parameter_value, invalid_name, feature_not_supported, object_in_use (there is a mirror the other way)';

CREATE FUNCTION eventlog.alter_mirror(name text, config jsonb)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_alter_mirror';
COMMENT ON FUNCTION eventlog.alter_mirror(text, jsonb) IS
'change the configuration of a mirror that one owns: keys that are named are set, or with null go back to their defaults, the others stay. Options of the server and of user mappings that have changed come into force as well.
Errors: undefined_object, insufficient_privilege, invalid_parameter_value, feature_not_supported';

CREATE FUNCTION eventlog.pause_mirror(name text)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_pause_mirror';
COMMENT ON FUNCTION eventlog.pause_mirror(text) IS
'have a mirror that one owns stand still.
Errors: undefined_object, insufficient_privilege';

CREATE FUNCTION eventlog.resume_mirror(name text, start text DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_resume_mirror';
COMMENT ON FUNCTION eventlog.resume_mirror(text, text) IS
'have a mirror that one owns go on: one that was paused, that has failed or stopped, or, in a server or database that is a copy, that waits to be adopted. start: from where to go on, instead of from where it was: earliest, latest, a timestamp, or an object of the source''s partitions and offsets, {"0": 100}; records between are left out, or come twice. One that is diverged needs it.
Errors: undefined_object, insufficient_privilege, invalid_parameter_value, duplicate_object, object_in_use (there is a mirror the other way, which is not paused), object_not_in_prerequisite_state (it is diverged, and no start is given)';

CREATE FUNCTION eventlog.drop_mirror(name text)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_drop_mirror';
COMMENT ON FUNCTION eventlog.drop_mirror(text) IS
'drop a mirror that one owns. The topics of both sides stay, and so does its group in Kafka, which expires.
Errors: undefined_object, insufficient_privilege';

CREATE FUNCTION eventlog.mirror_config_keys(
	OUT key text,
	OUT direction text,
	OUT default_value text,
	OUT expected text,
	OUT description text
)
RETURNS SETOF record
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_mirror_config_keys';
COMMENT ON FUNCTION eventlog.mirror_config_keys() IS
'what the configuration of a mirror can have, apart from the options of kafka_options() that mirrors can set; direction: where it means something (null: both); default_value: null if there is none.';

CREATE FUNCTION eventlog.kafka_options(
	OUT option text,
	OUT allowed_in text[],
	OUT expected text,
	OUT secret boolean,
	OUT file boolean,
	OUT note text
)
RETURNS SETOF record
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_kafka_options';
COMMENT ON FUNCTION eventlog.kafka_options() IS
'options of librdkafka: where each may be given (server, user mapping, mirror; empty: nowhere, and note says why), and what as. With * at its end: all that begin so. secret: only in user mappings, and never shown; file: only for members of pg_read_server_files.';

CREATE FUNCTION eventlog.mirror_status(
	OUT id int,
	OUT phase text,
	OUT pid int,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT failures int,
	OUT next_start_at timestamptz,
	OUT broker_error text,
	OUT broker_error_at timestamptz,
	OUT topics int,
	OUT partitions jsonb,
	OUT lag bigint,
	OUT records bigint,
	OUT bytes bigint,
	OUT transactions bigint,
	OUT aborted_transactions bigint,
	OUT dead_letters bigint,
	OUT records_per_second bigint,
	OUT bytes_per_second bigint,
	OUT broker_errors bigint,
	OUT throttled_ms bigint,
	OUT last_transaction_at timestamptz,
	OUT statistics jsonb,
	OUT statistics_at timestamptz
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_mirror_status';
COMMENT ON FUNCTION eventlog.mirror_status() IS
'state of the mirrors in this database that one owns, all of them for members of pg_monitor; see eventlog.mirrors.
Errors: object_not_in_prerequisite_state (the library was not loaded at server start)';

CREATE FUNCTION eventlog.mirror_worker_status(
	OUT server_oid oid,
	OUT phase text,
	OUT pid int,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT failures int,
	OUT next_start_at timestamptz
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_mirror_worker_status';
COMMENT ON FUNCTION eventlog.mirror_worker_status() IS
'workers of mirrors in this database, one for each Kafka server; see eventlog.mirrors.
Errors: object_not_in_prerequisite_state (the library was not loaded at server start)';

CREATE FUNCTION eventlog.mirror_is_home(system_identifier bigint, database_oid oid)
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_capture_is_home_sql';
COMMENT ON FUNCTION eventlog.mirror_is_home(bigint, oid) IS
'is this the server and database where a mirror has been working?';

CREATE FUNCTION eventlog.mirror_statistics(statistics jsonb, max_bytes int)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH broker AS (
		SELECT b.name, k.kept, sum(length(b.name) + length(k.kept::text) + 8)
				OVER (ORDER BY (b.value -> 'rxbytes')::text::numeric + (b.value -> 'txbytes')::text::numeric DESC, b.name) AS bytes
		FROM jsonb_each($1 -> 'brokers') b (name, value),
			LATERAL (SELECT jsonb_object_agg(m.key, CASE WHEN jsonb_typeof(m.value) = 'object'
					THEN (SELECT jsonb_object_agg(w.key, w.value) FROM jsonb_each(m.value) w
						WHERE w.key IN ('min', 'max', 'avg', 'p50', 'p99')) ELSE m.value END) AS kept
				FROM jsonb_each(b.value) m
				WHERE m.key IN ('nodeid', 'state', 'stateage', 'outbuf_cnt', 'waitresp_cnt', 'tx',
					'txbytes', 'txerrs', 'txretries', 'req_timeouts', 'rx', 'rxbytes', 'rxerrs',
					'connects', 'disconnects', 'rtt', 'throttle')) k
		WHERE b.value -> 'connects' <> '0')
	SELECT jsonb_set($1 - '{brokers,topics,cgrp,ts,simple_cnt,metadata_cache_cnt}'::text[], '{brokers}',
		coalesce((SELECT jsonb_object_agg(name, kept) FROM broker WHERE bytes < max_bytes - 1200), '{}'))::text
$$;
COMMENT ON FUNCTION eventlog.mirror_statistics(jsonb, int) IS
'librdkafka''s statistics cut down for eventlog.mirrors, to about max_bytes: without topics and groups, and of brokers only those that have been connected, the busiest first, with state, traffic, errors, round-trip time and throttling. Names and units are librdkafka''s.';

CREATE VIEW eventlog.mirrors WITH (security_barrier) AS
SELECT m.name,
	m.server,
	m.direction,
	m.topic,
	m.kafka_topic,
	CASE WHEN NOT eventlog.mirror_is_home(m.system_identifier, m.database_oid) THEN 'needs_adoption'
		WHEN m.paused THEN 'paused'
		WHEN m.stopped IS NOT NULL THEN pg_catalog.split_part(m.stopped, ':', 1)
		WHEN w.phase OPERATOR(pg_catalog.=) 'failed' THEN w.phase
		ELSE coalesce(s.phase, CASE WHEN w.pid IS NOT NULL THEN 'starting' END, 'not running') END AS state,
	coalesce(pg_catalog.substring(m.stopped, ': (.*)'), s.last_error, w.last_error) AS last_error,
	CASE WHEN s.last_error IS NULL THEN w.last_error_at ELSE s.last_error_at END AS last_error_at,
	coalesce(nullif(s.failures, 0), w.failures, 0) AS failures,
	coalesce(s.next_start_at, w.next_start_at) AS next_start_at,
	coalesce(s.pid, w.pid) AS pid,
	s.lag,
	s.partitions,
	s.topics,
	s.records,
	s.bytes,
	s.transactions,
	s.aborted_transactions,
	s.dead_letters,
	s.records_per_second,
	s.bytes_per_second,
	s.last_transaction_at,
	s.throttled_ms,
	s.broker_errors,
	s.broker_error AS last_broker_error,
	s.broker_error_at AS last_broker_error_at,
	s.statistics,
	s.statistics_at,
	'pg_eventlog-' OPERATOR(pg_catalog.||) m.identity::text AS kafka_group,
	m.config,
	m.owner,
	m.created_at
FROM eventlog.mirror m
	LEFT JOIN eventlog.mirror_status() s ON s.id OPERATOR(pg_catalog.=) m.id
	LEFT JOIN pg_catalog.pg_foreign_server f ON f.srvname OPERATOR(pg_catalog.=) m.server
	LEFT JOIN eventlog.mirror_worker_status() w ON w.server_oid OPERATOR(pg_catalog.=) f.oid
WHERE pg_catalog.pg_has_role(m.owner, 'USAGE')
	OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eventlog.mirrors IS
'mirrors that one owns; all of them for members of pg_monitor. What is counted is since the server was started';
COMMENT ON COLUMN eventlog.mirrors.name IS 'name of the mirror';
COMMENT ON COLUMN eventlog.mirrors.server IS 'foreign server: the Kafka cluster';
COMMENT ON COLUMN eventlog.mirrors.direction IS 'out: from here to Kafka; in: from Kafka';
COMMENT ON COLUMN eventlog.mirrors.topic IS 'topic here; with "^", a pattern';
COMMENT ON COLUMN eventlog.mirrors.kafka_topic IS 'topic in Kafka; with "^", a pattern';
COMMENT ON COLUMN eventlog.mirrors.state IS
'starting; connecting: no broker has answered yet; streaming; paused: by pause_mirror(); failed: last_error says why, and it tries again at next_start_at; stopped: likewise, and it does not try again before resume_mirror(); diverged: the two sides do not fit together, and resume_mirror() wants to know from where to go on; fenced: another server has taken the mirror over; needs_adoption: this server or database is a copy, and nothing is done before resume_mirror(); not running: the launcher does not know it yet, or the server is a standby';
COMMENT ON COLUMN eventlog.mirrors.last_error IS 'message of the last error, cut; it stays when the mirror goes on';
COMMENT ON COLUMN eventlog.mirrors.last_error_at IS 'when that was';
COMMENT ON COLUMN eventlog.mirrors.failures IS 'failures in a row: the next attempt waits a second, doubled with each, 5 minutes at most';
COMMENT ON COLUMN eventlog.mirrors.next_start_at IS 'when it tries again after a failure';
COMMENT ON COLUMN eventlog.mirrors.pid IS 'process of its worker, which all mirrors of a Kafka server share';
COMMENT ON COLUMN eventlog.mirrors.lag IS 'records of the source that are not yet in the target, all partitions; null: not known';
COMMENT ON COLUMN eventlog.mirrors.partitions IS
'the same for each partition of the source, the first 64: [{"topic": of a pattern, "partition", "position": next offset to mirror, "end": next offset that the source will give, for who reads what is committed, "lag", "target": next offset of the target}, …]';
COMMENT ON COLUMN eventlog.mirrors.topics IS 'of a pattern, topics that it matches';
COMMENT ON COLUMN eventlog.mirrors.records IS 'records mirrored';
COMMENT ON COLUMN eventlog.mirrors.bytes IS 'bytes of their keys, values and headers';
COMMENT ON COLUMN eventlog.mirrors.transactions IS 'transactions committed: of Kafka (out), of this server (in)';
COMMENT ON COLUMN eventlog.mirrors.aborted_transactions IS 'transactions that had to be aborted';
COMMENT ON COLUMN eventlog.mirrors.dead_letters IS 'records that the target refused, and that are in the dead-letter topic';
COMMENT ON COLUMN eventlog.mirrors.records_per_second IS 'over the last seconds';
COMMENT ON COLUMN eventlog.mirrors.bytes_per_second IS 'likewise';
COMMENT ON COLUMN eventlog.mirrors.last_transaction_at IS 'when the last transaction was committed';
COMMENT ON COLUMN eventlog.mirrors.throttled_ms IS 'milliseconds that brokers made it wait, by their quotas';
COMMENT ON COLUMN eventlog.mirrors.broker_errors IS 'errors of connections to brokers';
COMMENT ON COLUMN eventlog.mirrors.last_broker_error IS 'the last of them';
COMMENT ON COLUMN eventlog.mirrors.last_broker_error_at IS 'when that was';
COMMENT ON COLUMN eventlog.mirrors.statistics IS 'librdkafka''s statistics, its own names, cut down; see statistics.interval.ms';
COMMENT ON COLUMN eventlog.mirrors.statistics_at IS 'when they were made';
COMMENT ON COLUMN eventlog.mirrors.kafka_group IS 'name of its consumer group in Kafka (out), and of its transactional id, for ACLs';
COMMENT ON COLUMN eventlog.mirrors.config IS 'configuration that was given';
COMMENT ON COLUMN eventlog.mirrors.owner IS 'role in whose name its worker works';
COMMENT ON COLUMN eventlog.mirrors.created_at IS 'when it was created';
GRANT SELECT ON eventlog.mirrors TO PUBLIC;

CREATE FUNCTION eventlog.mirror_offsets(
	name text,
	partition int DEFAULT NULL,
	record_offset bigint DEFAULT NULL,
	kafka_offset bigint DEFAULT NULL,
	OUT topic text,
	OUT kafka_topic text,
	OUT source_partition int,
	OUT topic_offset bigint,
	OUT kafka_topic_offset bigint,
	OUT synced_at timestamptz
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'eventlog_mirror_offsets';
COMMENT ON FUNCTION eventlog.mirror_offsets(text, int, bigint, bigint) IS
'offsets of both sides of a mirror that stand for the same place: a consumer that has read all before the one can go on from the other. Pairs are kept every offset.sync.interval.ms, and for where the mirror is now (synced_at null).
With record_offset or kafka_offset: for each partition (or the one given) the pair to use for a consumer at that offset: the newest that is not past it, so that nothing is skipped, and some records may come twice.
Needs to own the mirror, or pg_monitor. Errors: undefined_object, insufficient_privilege, invalid_parameter_value, feature_not_supported (keys are repartitioned)';
