-- 20_access_method.sql: the storage of topics.

CREATE FUNCTION eventlog.eventlog_am_handler(internal)
RETURNS table_am_handler
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'eventlog_am_handler';
COMMENT ON FUNCTION eventlog.eventlog_am_handler(internal) IS
'handler of the table access method eventlog';

CREATE ACCESS METHOD eventlog TYPE TABLE HANDLER eventlog.eventlog_am_handler;
COMMENT ON ACCESS METHOD eventlog IS
'append-only log of Kafka record batches, for the partitions of topics';
