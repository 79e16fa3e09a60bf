-- 87_capture.sql: changes of rows, captured into topics.

CREATE TABLE eventlog.capture (
	id int NOT NULL UNIQUE,
	name text COLLATE "C" PRIMARY KEY,
	owner regrole NOT NULL,
	publication name NOT NULL,
	topic_prefix text COLLATE "C" NOT NULL,
	config jsonb NOT NULL,
	paused boolean NOT NULL DEFAULT false,
	stage text COLLATE "C" NOT NULL DEFAULT 'pending'
		CHECK (stage OPERATOR(pg_catalog.=) ANY (ARRAY['pending', 'streaming', 'finished'])),
	start_lsn pg_lsn,
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	timeline int NOT NULL,
	signal_state jsonb,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE eventlog.capture IS
'catalogue of captures; read eventlog.captures, and change it with create_capture(), alter_capture(), pause_capture(), resume_capture(), drop_capture()';
COMMENT ON COLUMN eventlog.capture.id IS 'part of the names of its replication slot and origin';
COMMENT ON COLUMN eventlog.capture.name IS 'name';
COMMENT ON COLUMN eventlog.capture.owner IS 'role in whose name its workers work';
COMMENT ON COLUMN eventlog.capture.publication IS 'what is captured';
COMMENT ON COLUMN eventlog.capture.topic_prefix IS 'what names of its topics begin with';
COMMENT ON COLUMN eventlog.capture.config IS 'configuration, as it was given';
COMMENT ON COLUMN eventlog.capture.paused IS 'whether it is not to run';
COMMENT ON COLUMN eventlog.capture.stage IS
'pending: a slot, and a snapshot if wanted, are to be made; streaming; finished: snapshot.mode was initial_only';
COMMENT ON COLUMN eventlog.capture.start_lsn IS 'where its slot began';
COMMENT ON COLUMN eventlog.capture.system_identifier IS 'server where it has been working';
COMMENT ON COLUMN eventlog.capture.database_oid IS 'database where it has been working';
COMMENT ON COLUMN eventlog.capture.timeline IS 'timeline on which it has been working';
COMMENT ON COLUMN eventlog.capture.signal_state IS 'incremental snapshots in work';
COMMENT ON COLUMN eventlog.capture.created_at IS 'when it was created';
SELECT pg_catalog.pg_extension_config_dump('eventlog.capture', '');

CREATE FUNCTION eventlog.create_capture(
	name text,
	publication name,
	topic_prefix text DEFAULT NULL,
	config jsonb DEFAULT '{}'
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_create_capture';
COMMENT ON FUNCTION eventlog.create_capture(text, name, text, jsonb) IS
'capture the changes of a publication''s tables into topics, in Debezium''s format: first their rows, then every commit, exactly once.
name: unique in the database; publication: says which tables, columns, rows and operations; topic_prefix: begins the topics'' names, "prefix.schema.table" (default: name); config: Debezium''s property names, see capture_properties() and docs/capture-config.md. With {"format": "outbox"} rows of an outbox table are events for the topics that they name, and so is pg_logical_emit_message(true, ''Order'', ''{"id": "1", "key": "o-1", "type": "Paid", "payload": {...}, "headers": {...}}''), for topic outbox.event.Order.
Needs wal_level = logical, REPLICATION, SELECT on the tables, and CREATE on the schema of the topics. Returns at once: eventlog.captures tells how it goes.
Errors: insufficient_privilege, undefined_object, duplicate_object, invalid_parameter_value, feature_not_supported, object_not_in_prerequisite_state';

CREATE FUNCTION eventlog.capture_properties(
	OUT property text,
	OUT format text,
	OUT default_value text,
	OUT compatible_default text,
	OUT supported text,
	OUT note text
)
RETURNS SETOF record
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_capture_properties';
COMMENT ON FUNCTION eventlog.capture_properties() IS
'the properties that the configuration of a capture can have, and those of Debezium that it cannot.
property: with * at its end: all that begin so; format: the one that it belongs to (null: any); default_value, and compatible_default with "compatibility": "debezium" (null: none); supported: yes, ignored (accepted where it says what is the case anyway) or no; note: why not.';

CREATE FUNCTION eventlog.alter_capture(name text, config jsonb)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_alter_capture';
COMMENT ON FUNCTION eventlog.alter_capture(text, jsonb) IS
'change properties of a capture that one owns: those named are set, or with null go back to their defaults, the others stay. Its workers start anew with them.
Errors: undefined_object, insufficient_privilege, invalid_parameter_value, feature_not_supported';

CREATE FUNCTION eventlog.pause_capture(name text)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_pause_capture';
COMMENT ON FUNCTION eventlog.pause_capture(text) IS
'have a capture that one owns stand still. Its slot stays, and retains WAL: see eventlog.captures.
Errors: undefined_object, insufficient_privilege';

CREATE FUNCTION eventlog.resume_capture(name text)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_resume_capture';
COMMENT ON FUNCTION eventlog.resume_capture(text) IS
'have a capture that one owns go on: one that was paused, that has failed, or, in a server or database that is a copy, that waits to be adopted.
Errors: undefined_object, insufficient_privilege';

CREATE FUNCTION eventlog.drop_capture(name text, drop_topics boolean DEFAULT false)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_drop_capture';
COMMENT ON FUNCTION eventlog.drop_capture(text, boolean) IS
'drop a capture that one owns, and its replication slot. Its topics stay, unless drop_topics. Not inside a transaction block, since dropping a slot cannot be rolled back.
Errors: undefined_object, insufficient_privilege, active_sql_transaction, object_in_use';

CREATE FUNCTION eventlog.capture_status(
	OUT id int,
	OUT phase text,
	OUT pid int,
	OUT decoder_pid int,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT failures int,
	OUT next_start_at timestamptz,
	OUT snapshot_tables int,
	OUT snapshot_tables_done int,
	OUT snapshot_progress jsonb,
	OUT decoded_lsn pg_lsn,
	OUT appended_lsn pg_lsn,
	OUT confirmed_lsn pg_lsn,
	OUT source_time timestamptz,
	OUT records bigint,
	OUT transactions bigint,
	OUT current_transaction_bytes bigint,
	OUT queued_bytes bigint,
	OUT queue_bytes bigint
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_capture_status';
COMMENT ON FUNCTION eventlog.capture_status() IS
'state of the workers of captures in this database that one owns, all of them for members of pg_monitor; see eventlog.captures.
Errors: object_not_in_prerequisite_state (the library was not loaded at server start)';

CREATE FUNCTION eventlog.capture_is_home(system_identifier bigint, database_oid oid)
RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_capture_is_home_sql';
COMMENT ON FUNCTION eventlog.capture_is_home(bigint, oid) IS
'is this the server and database where a capture has been working?';

CREATE VIEW eventlog.captures WITH (security_barrier) AS
SELECT c.name,
	c.publication,
	c.topic_prefix,
	CASE WHEN NOT eventlog.capture_is_home(c.system_identifier, c.database_oid) THEN 'needs_adoption'
		WHEN s.phase OPERATOR(pg_catalog.=) 'needs_adoption' THEN s.phase
		WHEN c.paused THEN 'paused'
		WHEN c.stage OPERATOR(pg_catalog.=) 'finished' THEN 'stopped'
		ELSE coalesce(s.phase, 'not running') END AS state,
	s.last_error,
	s.last_error_at,
	s.failures,
	s.next_start_at,
	s.pid AS appender_pid,
	s.decoder_pid,
	s.snapshot_tables,
	s.snapshot_tables_done,
	s.snapshot_progress,
	s.decoded_lsn,
	s.appended_lsn,
	coalesce(r.confirmed_flush_lsn, s.confirmed_lsn) AS confirmed_lsn,
	w.lsn OPERATOR(pg_catalog.-) coalesce(s.appended_lsn, r.confirmed_flush_lsn) AS lag_bytes,
	CASE WHEN s.appended_lsn OPERATOR(pg_catalog.>=) w.lsn THEN 0
		ELSE greatest(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()
			OPERATOR(pg_catalog.-) s.source_time), 0) END AS lag_seconds,
	w.lsn OPERATOR(pg_catalog.-) r.restart_lsn AS retained_bytes,
	s.queued_bytes::float8 OPERATOR(pg_catalog./) s.queue_bytes::float8 AS queue_fill,
	s.records,
	s.transactions,
	s.current_transaction_bytes,
	coalesce(c.config OPERATOR(pg_catalog.->>) 'slot.name',
		'eventlog_' OPERATOR(pg_catalog.||) c.database_oid::text OPERATOR(pg_catalog.||) '_' OPERATOR(pg_catalog.||) c.id::text) AS slot_name,
	r.wal_status AS slot_wal_status,
	c.start_lsn,
	c.config,
	c.owner,
	c.created_at
FROM eventlog.capture c
	LEFT JOIN eventlog.capture_status() s ON s.id OPERATOR(pg_catalog.=) c.id
	LEFT JOIN pg_catalog.pg_replication_slots r ON r.slot_name OPERATOR(pg_catalog.=)
		coalesce(c.config OPERATOR(pg_catalog.->>) 'slot.name',
			'eventlog_' OPERATOR(pg_catalog.||) c.database_oid::text OPERATOR(pg_catalog.||) '_' OPERATOR(pg_catalog.||) c.id::text)::name
	CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
			THEN pg_catalog.pg_last_wal_replay_lsn()
			ELSE pg_catalog.pg_current_wal_flush_lsn() END AS lsn) w
WHERE pg_catalog.pg_has_role(c.owner, 'USAGE')
	OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eventlog.captures IS
'captures that one owns; all of them for members of pg_monitor';
COMMENT ON COLUMN eventlog.captures.name IS 'name of the capture';
COMMENT ON COLUMN eventlog.captures.publication IS 'publication whose tables are captured';
COMMENT ON COLUMN eventlog.captures.topic_prefix IS 'what names of its topics begin with';
COMMENT ON COLUMN eventlog.captures.state IS
'starting; snapshot: copies the tables'' rows; streaming; paused: by pause_capture(); stopped: snapshot.mode was initial_only, and it is done; failed: last_error says why, and it tries again at next_start_at; needs_adoption: this server or database is a copy, and nothing is done before resume_capture(); not running: the launcher does not know it yet, or the server is a standby';
COMMENT ON COLUMN eventlog.captures.last_error IS 'message of the last error, cut; it stays when the capture goes on';
COMMENT ON COLUMN eventlog.captures.last_error_at IS 'when that was';
COMMENT ON COLUMN eventlog.captures.failures IS 'failures in a row: the next start waits a second, doubled with each, 5 minutes at most';
COMMENT ON COLUMN eventlog.captures.next_start_at IS 'when it is started again after a failure';
COMMENT ON COLUMN eventlog.captures.appender_pid IS 'process that appends to the topics';
COMMENT ON COLUMN eventlog.captures.decoder_pid IS 'process that decodes the WAL';
COMMENT ON COLUMN eventlog.captures.snapshot_tables IS 'tables of the last snapshot';
COMMENT ON COLUMN eventlog.captures.snapshot_tables_done IS 'those that have been copied';
COMMENT ON COLUMN eventlog.captures.snapshot_progress IS
'tables of the last snapshot, the first 64 of those that it has come to: [{"table": "schema.table", "rows": copied so far, "done": boolean}, …]';
COMMENT ON COLUMN eventlog.captures.decoded_lsn IS 'the WAL is decoded up to here';
COMMENT ON COLUMN eventlog.captures.appended_lsn IS 'what was committed before this is in the topics';
COMMENT ON COLUMN eventlog.captures.confirmed_lsn IS 'WAL up to here is not needed any more, but for transactions that were running then';
COMMENT ON COLUMN eventlog.captures.lag_bytes IS 'WAL that is written and not yet appended';
COMMENT ON COLUMN eventlog.captures.lag_seconds IS 'seconds since the commit of the newest transaction that was appended, if there is WAL after it; 0 if there is none';
COMMENT ON COLUMN eventlog.captures.retained_bytes IS 'WAL that the slot retains';
COMMENT ON COLUMN eventlog.captures.queue_fill IS 'how full the queue from decoder to appender is, 0 to 1';
COMMENT ON COLUMN eventlog.captures.records IS 'records appended since the server was started';
COMMENT ON COLUMN eventlog.captures.transactions IS 'source transactions appended since the server was started';
COMMENT ON COLUMN eventlog.captures.current_transaction_bytes IS 'bytes of the source transaction that is being appended or spooled; 0 if there is none';
COMMENT ON COLUMN eventlog.captures.slot_name IS 'its replication slot';
COMMENT ON COLUMN eventlog.captures.slot_wal_status IS 'as in pg_replication_slots: lost means that WAL was removed that is still needed';
COMMENT ON COLUMN eventlog.captures.start_lsn IS 'where its slot began';
COMMENT ON COLUMN eventlog.captures.config IS 'properties that were set';
COMMENT ON COLUMN eventlog.captures.owner IS 'role in whose name its workers work';
COMMENT ON COLUMN eventlog.captures.created_at IS 'when it was created';
GRANT SELECT ON eventlog.captures TO PUBLIC;
