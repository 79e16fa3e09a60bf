\echo Use "CREATE EXTENSION pg_eventlog" to load this file. \quit

-- 00_schema.sql: schemas, and what the database must be like.

-- Text in a topic is UTF-8, as Kafka's clients expect it.
DO $$
BEGIN
	IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
		RAISE EXCEPTION 'pg_eventlog needs a database whose encoding is UTF8, and this one has %',
				pg_catalog.current_setting('server_encoding')
			USING ERRCODE = 'feature_not_supported',
				HINT = 'Use CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
	END IF;
END
$$;

CREATE SCHEMA eventlog;
COMMENT ON SCHEMA eventlog IS 'pg_eventlog: functions, views and types of the event log';
GRANT USAGE ON SCHEMA eventlog TO PUBLIC;

-- Where create_topic() puts topics unless told otherwise.  A schema of that
-- name that the database has already is used as it is.
DO $$
BEGIN
	IF pg_catalog.to_regnamespace('topics') IS NULL THEN
		CREATE SCHEMA topics;
		COMMENT ON SCHEMA topics IS 'pg_eventlog: topics, unless created in another schema';
		GRANT USAGE ON SCHEMA topics TO PUBLIC;
	END IF;
END
$$;
