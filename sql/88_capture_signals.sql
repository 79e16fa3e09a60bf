-- 88_capture_signals.sql: signals to captures.

-- Signals wait here until the appender meets the messages that name them.  The
-- table is written by capture_signal() and the appender only.
CREATE TABLE eventlog.capture_signal_queue (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	capture_id int NOT NULL,
	signal_id text NOT NULL,
	type text NOT NULL,
	data jsonb NOT NULL
);
COMMENT ON TABLE eventlog.capture_signal_queue IS
'signals given by capture_signal() that their captures have not come to yet';
COMMENT ON COLUMN eventlog.capture_signal_queue.id IS 'number of the signal';
COMMENT ON COLUMN eventlog.capture_signal_queue.capture_id IS 'whom it is for: eventlog.capture.id';
COMMENT ON COLUMN eventlog.capture_signal_queue.signal_id IS 'its id, which notifications carry';
COMMENT ON COLUMN eventlog.capture_signal_queue.type IS 'what is to be done';
COMMENT ON COLUMN eventlog.capture_signal_queue.data IS 'parameters';

CREATE FUNCTION eventlog.capture_signal(
	capture text,
	type text,
	data jsonb DEFAULT '{}',
	id text DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_capture_signal';
COMMENT ON FUNCTION eventlog.capture_signal(text, text, jsonb, text) IS
'send a signal to a capture that one owns, as Debezium''s signals; it takes effect where the stream has this transaction.
type: execute-snapshot (data: "data-collections", an array of patterns of "schema.table"; "type", incremental or blocking; "additional-conditions"; "surrogate-key"), stop-snapshot ("data-collections"), pause-snapshot, resume-snapshot, log ("message"); id: of the signal, in notifications (default: a random one).
What cannot be done is mentioned in the server''s log.
Errors: undefined_object, insufficient_privilege, null_value_not_allowed';
