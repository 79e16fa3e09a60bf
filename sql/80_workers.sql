-- 80_workers.sql: background workers.

CREATE FUNCTION eventlog.worker_status(
	OUT kind text,
	OUT database_oid oid,
	OUT pid int,
	OUT state text,
	OUT activity text,
	OUT started_at timestamptz,
	OUT finished_at timestamptz,
	OUT runs bigint,
	OUT failures int,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT next_run_at timestamptz
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_worker_status';
COMMENT ON FUNCTION eventlog.worker_status() IS
'background workers: those of the current database, or all for members of pg_read_all_stats, as pg_monitor is; see eventlog.workers.
Errors: object_not_in_prerequisite_state (the library was not loaded at server start)';

CREATE VIEW eventlog.workers WITH (security_barrier) AS
SELECT s.kind,
	d.datname AS database,
	s.pid,
	s.state,
	s.activity,
	s.started_at,
	s.finished_at,
	s.runs,
	s.failures,
	s.last_error,
	s.last_error_at,
	s.next_run_at
FROM eventlog.worker_status() s
	LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.database_oid;
COMMENT ON VIEW eventlog.workers IS
'background workers: those of the current database, or all for members of pg_read_all_stats, as pg_monitor is. What it shows is lost when the server restarts; with many databases, those that have been idle for longest are left out';
COMMENT ON COLUMN eventlog.workers.kind IS
'launcher: starts the others, one for the server; maintenance: one run after the other in a database';
COMMENT ON COLUMN eventlog.workers.database IS 'where it works; null for the launcher';
COMMENT ON COLUMN eventlog.workers.pid IS 'process id, while there is a process';
COMMENT ON COLUMN eventlog.workers.state IS
'idle: waits until next_run_at; running; backing off: waits longer, because of last_error; blocked: a utility statement wants the database for itself; no extension: in this database, which is looked at again every 5 minutes; not running: there is no launcher, as on a standby';
COMMENT ON COLUMN eventlog.workers.activity IS 'what it does now';
COMMENT ON COLUMN eventlog.workers.started_at IS 'start of the last or current run; of the launcher''s process';
COMMENT ON COLUMN eventlog.workers.finished_at IS 'end of the last run';
COMMENT ON COLUMN eventlog.workers.runs IS
'runs that came to their end, with errors or without; for the launcher: workers started';
COMMENT ON COLUMN eventlog.workers.failures IS
'runs in a row that had errors: the next one waits for a second, doubled with each, and for 5 minutes at most';
COMMENT ON COLUMN eventlog.workers.last_error IS 'its message, cut; it stays when a later run succeeds';
COMMENT ON COLUMN eventlog.workers.last_error_at IS 'when that was';
COMMENT ON COLUMN eventlog.workers.next_run_at IS
'when the next run is due, as far as that is known; null while one runs, and if eventlog.maintenance is off';
GRANT SELECT ON eventlog.workers TO PUBLIC;
