-- 10_types.sql: records and headers.

CREATE TYPE eventlog.header AS (
	name text,
	value bytea
);
COMMENT ON TYPE eventlog.header IS
'one header of a record: a name, and bytes or null; names may repeat and order counts';

CREATE TYPE eventlog.record AS (
	topic text,
	partition int,
	record_offset bigint,
	"timestamp" timestamptz,
	key bytea,
	value bytea,
	headers eventlog.header[]
);
COMMENT ON TYPE eventlog.record IS
'a record as Kafka carries it: key and value are bytes, null is null (a null value is a tombstone)';

CREATE FUNCTION eventlog.headers(VARIADIC names_and_values text[])
RETURNS eventlog.header[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_headers_from_text';
COMMENT ON FUNCTION eventlog.headers(text[]) IS
'headers from pairs: headers(''name'', ''value'', ...); values are stored as UTF-8, null is null; an odd count or a null name is an error';

CREATE FUNCTION eventlog.headers(names_and_values jsonb)
RETURNS eventlog.header[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_headers_from_jsonb';
COMMENT ON FUNCTION eventlog.headers(jsonb) IS
'headers from a JSON object, in jsonb''s order of keys: a string becomes its text, null becomes null, anything else its JSON text; not an object is an error';

CREATE CAST (jsonb AS eventlog.header[])
	WITH FUNCTION eventlog.headers(jsonb) AS IMPLICIT;
COMMENT ON CAST (jsonb AS eventlog.header[]) IS
'headers from a JSON object, as eventlog.headers(jsonb)';

CREATE FUNCTION eventlog.header(headers eventlog.header[], name text)
RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_header_last';
COMMENT ON FUNCTION eventlog.header(eventlog.header[], text) IS
'value of the last header of that name (Kafka''s lastHeader); null if there is none or its value is null';
