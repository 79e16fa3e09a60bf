--
-- Storage: records of every size and kind come back as they went in, across
-- pages, batches and segments, compressed or not.
--
\set VERBOSITY default
\pset format unaligned
\pset null (null)
SET client_min_messages = warning;
SET timezone = 'UTC';

-- Every record of a topic against what went in, by whole scan and one by one.
CREATE FUNCTION check_topic(topic text, expected regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	missing bigint; extra bigint; single bigint; backward bigint; r record; n int := 0;
BEGIN
	EXECUTE format('SELECT count(*) FROM (SELECT n, k, md5(v) AS v FROM %s EXCEPT ALL SELECT row_number() OVER (ORDER BY record_offset) - 1, key, md5(value) FROM topics.%I) t', expected, topic) INTO missing;
	EXECUTE format('SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY record_offset) - 1, key, md5(value) FROM topics.%I EXCEPT ALL SELECT n, k, md5(v) FROM %s) t', topic, expected) INTO extra;
	EXECUTE format('SELECT count(*) FROM (SELECT lag(record_offset) OVER () AS after, record_offset FROM (SELECT record_offset FROM topics.%I ORDER BY record_offset DESC) b) c WHERE after <= record_offset', topic || ':0') INTO backward;
	single := 0;
	FOR r IN EXECUTE format('SELECT n, k, md5(v) AS v FROM %s ORDER BY n', expected) LOOP
		n := n + 1;
		CONTINUE WHEN n > 50 AND n % 97 <> 0;
		DECLARE found text; BEGIN
			EXECUTE format('SELECT md5(value) FROM topics.%I WHERE record_offset = %s', topic || ':0', r.n) INTO found;
			IF found IS DISTINCT FROM r.v THEN single := single + 1; END IF;
		END;
	END LOOP;
	RETURN format('missing %s, extra %s, wrong by offset %s, backward %s', missing, extra, single, backward);
END
$$;

--
-- Sizes around every border: varints, short varlenas, pages, WAL records
--
CREATE TABLE sizes (n serial, k text, v text);
INSERT INTO sizes (k, v)
	SELECT 'k' || size, repeat('x', size) FROM (
		SELECT DISTINCT greatest(0, base + d) AS size
		FROM unnest(ARRAY[0, 1, 63, 64, 126, 127, 128, 255, 256, 2048, 4096, 8000, 8111, 8192, 16384, 32704, 32768, 65536, 262144, 300000, 524288]) base,
			generate_series(-3, 3) d) s ORDER BY 1;
UPDATE sizes SET n = n - 1, v = CASE WHEN length(v) > 10 THEN substr(v, 11) || lpad(n::text, 10, '0') ELSE v END;
SELECT count(*) FROM sizes;
SELECT eventlog.create_topic('sizes', 1, 'text', 'text', '{"segment.bytes": 1048576}');
INSERT INTO topics.sizes (key, value) SELECT k, v FROM sizes ORDER BY n;
SELECT check_topic('sizes', 'sizes');
-- one batch for each, so that entries start and end at every place of a page
SELECT eventlog.create_topic('singles', 1, 'text', 'text', '{"segment.bytes": 1048576}');
DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM sizes ORDER BY n LOOP
	PERFORM eventlog.produce('singles', r.k, r.v); PERFORM eventlog.flush(); END LOOP; END $$;
SELECT check_topic('singles', 'sizes');
-- every length of an entry near a page's size, one after the other
CREATE TABLE near AS SELECT i AS n, 'k' || i AS k, repeat(chr(97 + i % 26), i) AS v FROM generate_series(0, 8200) i WHERE i % 7 = 0 OR i > 7900;
UPDATE near SET n = m.m FROM (SELECT k, row_number() OVER (ORDER BY n) - 1 AS m FROM near) m WHERE m.k = near.k;
SELECT eventlog.create_topic('near', 1, 'text', 'text');
DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM near ORDER BY n LOOP
	PERFORM eventlog.produce('near', r.k, r.v); PERFORM eventlog.flush(); END LOOP; END $$;
SELECT check_topic('near', 'near');

--
-- Compression
--
DO $$ DECLARE codec text; BEGIN FOREACH codec IN ARRAY ARRAY['lz4', 'zstd', 'uncompressed', 'producer'] LOOP
	PERFORM eventlog.create_topic('codec_' || codec, 1, 'text', 'text', jsonb_build_object('compression.type', codec, 'segment.bytes', 1048576));
	EXECUTE format('INSERT INTO topics.%I (key, value) SELECT k, v FROM sizes ORDER BY n', 'codec_' || codec);
END LOOP; END $$;
SELECT codec, check_topic('codec_' || codec, 'sizes'),
	pg_relation_size(format('topics."codec_%s:0"', codec)) < pg_relation_size('topics."sizes:0"') / 4 AS much_smaller
	FROM unnest(ARRAY['lz4', 'zstd', 'uncompressed', 'producer']) codec;
SELECT eventlog.create_topic('codec_gzip', config => '{"compression.type": "gzip"}');
-- incompressible
CREATE TABLE noise AS SELECT i - 1 AS n, 'k' || i AS k, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 1 + i * 7 % 300) j) AS v FROM generate_series(1, 400) i;
SELECT eventlog.create_topic('noise', 1, 'text', 'text', '{"compression.type": "zstd"}');
INSERT INTO topics.noise (key, value) SELECT k, v FROM noise ORDER BY n;
SELECT check_topic('noise', 'noise');

--
-- Large: 64 MB is the most
--
SELECT eventlog.create_topic('large', 1, 'text', 'text', '{"max.message.bytes": 67108864, "segment.bytes": 1048576}');
SELECT eventlog.create_topic('too_large', config => '{"max.message.bytes": 2147483647}');
CREATE TABLE large AS SELECT n, 'k' || n AS k, repeat(md5(n::text), (ARRAY[1000000, 32768, 1, 2000000, 1, 2097000])[n + 1]) AS v FROM generate_series(0, 5) n;
INSERT INTO topics.large (key, value) SELECT k, v FROM large ORDER BY n;
SELECT check_topic('large', 'large');
SELECT eventlog.produce('large', null, repeat('x', 67108864 - 100));
SELECT length(value) FROM topics.large WHERE record_offset = 6;
SELECT eventlog.produce('large', null, repeat('x', 67108865));
INSERT INTO topics.large (value) VALUES (repeat('x', 67108865));
SELECT count(*) FROM topics.large;
SELECT eventlog.create_topic('small', 1, 'text', 'text', '{"max.message.bytes": 100}');
SELECT eventlog.produce('small', null, repeat('x', 101));
SELECT eventlog.produce('small', 'k', 'v');
SELECT key, value FROM topics.small;

--
-- Null and empty, in every type
--
DO $$ DECLARE t regtype; BEGIN FOREACH t IN ARRAY ARRAY['text', 'bytea', 'json', 'jsonb']::regtype[] LOOP
	PERFORM eventlog.create_topic('nulls_' || t, 1, t, t);
END LOOP; END $$;
INSERT INTO topics.nulls_text (key, value) VALUES (null, null), ('', ''), ('k', null), (null, 'v'), (E'\t\n\\', 'größe 漢字 🎉');
INSERT INTO topics.nulls_bytea (key, value) VALUES (null, null), ('', ''), ('\x00', null), (null, '\x00ff00'), ('\xdeadbeef', '\xc328');
INSERT INTO topics.nulls_json (key, value) VALUES (null, null), ('null', 'null'), ('1', null), (null, '{"a" : 1, "a": 2}'), ('""', ' [1, 2 ] ');
INSERT INTO topics.nulls_jsonb (key, value) VALUES (null, null), ('null', 'null'), ('1', null), (null, '{"b" : 1, "a": 2}'), ('""', '[1, 2 ]');
SELECT key, value, key IS NULL AS nokey, value IS NULL AS tombstone FROM topics.nulls_text ORDER BY record_offset;
SELECT key, value, key IS NULL AS nokey, value IS NULL AS tombstone FROM topics.nulls_bytea ORDER BY record_offset;
SELECT key, value, key IS NULL AS nokey, value IS NULL AS tombstone FROM topics.nulls_json ORDER BY record_offset;
SELECT key, value, key IS NULL AS nokey, value IS NULL AS tombstone FROM topics.nulls_jsonb ORDER BY record_offset;
-- the bytes are Kafka's
SELECT partition, record_offset, key, value FROM eventlog.read('nulls_jsonb', 0, 0);
SELECT eventlog.produce('nulls_text', 'nul', convert_from('\x6100', 'UTF8'));
SELECT eventlog.produce('nulls_text', 'bytes', '\xc328'::bytea);
SELECT eventlog.produce('nulls_json', '1', '{"a":');
INSERT INTO topics.nulls_json (value) VALUES ('{"a":');
SELECT eventlog.produce('nulls_bytea', '\x01'::bytea, '\x00c328'::bytea);
SELECT key, value FROM topics.nulls_bytea WHERE key = '\x01';

--
-- Headers: order, duplicates, null and empty values
--
SELECT eventlog.create_topic('headers', 1, 'text', 'text');
SELECT eventlog.produce('headers', 'a', null, eventlog.headers('x', '1', 'y', null, 'x', '2', '', '', 'x', '1'));
SELECT eventlog.produce('headers', 'b', null, '{"obj": {"a": 1}, "s": "text", "n": null}'::jsonb);
SELECT eventlog.produce('headers', 'c', null, '{}'::eventlog.header[]);
SELECT eventlog.produce('headers', 'd', null, array_agg(row('h' || i, repeat('v', i * 4)::bytea)::eventlog.header ORDER BY i)) FROM generate_series(1, 500) i;
INSERT INTO topics.headers (key, headers) VALUES ('e', array[row('größe', '\x00')::eventlog.header]);
SELECT key, headers, eventlog.header(headers, 'x') AS last_x FROM topics.headers WHERE key <> 'd' ORDER BY record_offset;
SELECT cardinality(headers), (headers[500]).name, length((headers[500]).value), md5(headers::text) = (SELECT md5(array_agg(row('h' || i, repeat('v', i * 4)::bytea)::eventlog.header ORDER BY i)::text) FROM generate_series(1, 500) i) AS same
	FROM topics.headers WHERE key = 'd';
SELECT eventlog.produce('headers', 'f', null, array[null]::eventlog.header[]);
SELECT eventlog.produce('headers', 'f', null, array[row(null, 'v')]::eventlog.header[]);

--
-- Timestamps
--
SELECT eventlog.create_topic('times', 1, 'text', 'text', '{"message.timestamp.after.max.ms": 9223372036854775807}');
INSERT INTO topics.times (key, "timestamp") VALUES
	('epoch', '1970-01-01 00:00+00'), ('before', '1969-12-31 23:59:59.9999+00'), ('negative', '1969-12-31 23:59:59.001+00'),
	('floor', '2024-01-01 00:00:00.001999+00'), ('bc', '0044-03-15 12:00+00 BC'), ('first', '4713-01-01 00:00+00 BC'),
	('last', '294276-12-31 23:59:59.999999+00'), ('y10k', '10000-01-01 00:00+00');
SELECT key, "timestamp" FROM topics.times ORDER BY record_offset;
SELECT key FROM topics.times WHERE "timestamp" < '1970-01-01 00:00+00' ORDER BY record_offset;
SELECT key FROM topics.times WHERE "timestamp" <= '0001-01-01 00:00+00 BC' ORDER BY record_offset;
SELECT key FROM topics.times WHERE "timestamp" > '2024-01-01 00:00:00.0009+00' ORDER BY record_offset;
SELECT key FROM topics.times WHERE "timestamp" = '1969-12-31 23:59:59.999+00';
SELECT key FROM topics.times WHERE "timestamp" BETWEEN '-infinity' AND '1960-01-01 00:00+00' ORDER BY record_offset;
SELECT eventlog.produce('times', 'infinite', null, event_time => 'infinity');
SELECT eventlog.produce('times', 'infinite', null, event_time => '-infinity');
SELECT eventlog.produce_batch('times', array['a', 'b'], null::text[], event_times => array[null, '2000-01-01 00:00+00']::timestamptz[]);
SELECT key, "timestamp" > '2020-01-01' AS now FROM topics.times WHERE key IN ('a', 'b') ORDER BY key;
-- limits, and the log's own time
SELECT eventlog.create_topic('limits', 1, 'text', 'text', '{"message.timestamp.before.max.ms": 1000, "message.timestamp.after.max.ms": 3600000}');
SELECT eventlog.produce('limits', 'old', null, event_time => '2000-01-01');
SELECT eventlog.produce('limits', 'future', null, event_time => now() + interval '2 hours');
SELECT eventlog.produce('limits', 'near', null, event_time => now() + interval '30 minutes');
SELECT key FROM topics.limits;
SELECT eventlog.create_topic('log_time', 1, 'text', 'text', '{"message.timestamp.type": "LogAppendTime"}');
INSERT INTO topics.log_time (key, "timestamp") SELECT 'k' || i, '2000-01-01'::timestamptz + i * interval '1 day' FROM generate_series(1, 100) i;
SELECT eventlog.produce('log_time', 'p', null, event_time => '1999-01-01');
SELECT count(*), bool_and("timestamp" > '2020-01-01') AS append_time, count(DISTINCT "timestamp") <= 2 AS by_batch FROM topics.log_time;
SELECT count(*) FROM topics.log_time WHERE "timestamp" < '2020-01-01';
SELECT count(*) FROM topics.log_time WHERE "timestamp" > '2020-01-01';
INSERT INTO topics.log_time (key, "timestamp") VALUES ('r', '2000-01-01') RETURNING "timestamp" > '2020-01-01' AS append_time;

-- out of order, over segments: every condition on time finds all
SELECT eventlog.create_topic('disorder', 1, 'text', 'text', '{"segment.bytes": 1048576}');
CREATE TABLE disorder AS SELECT i AS n, '2024-01-01 00:00+00'::timestamptz + (i + CASE WHEN i % 1000 = 7 THEN -5000 WHEN i % 1500 = 3 THEN 8000 ELSE i % 13 END) * interval '1 second' AS t FROM generate_series(1, 20000) i;
INSERT INTO topics.disorder ("timestamp", key, value) SELECT t, n, repeat('d', 200) FROM disorder ORDER BY n;
SELECT a, b FROM generate_series(0, 20000, 1700) a, generate_series(0, 22000, 4400) b
	WHERE (SELECT count(*) FROM topics.disorder WHERE "timestamp" >= '2024-01-01 00:00+00'::timestamptz + a * interval '1 second' AND "timestamp" < '2024-01-01 00:00+00'::timestamptz + b * interval '1 second')
		<> (SELECT count(*) FROM disorder WHERE t >= '2024-01-01 00:00+00'::timestamptz + a * interval '1 second' AND t < '2024-01-01 00:00+00'::timestamptz + b * interval '1 second');

--
-- Explicit offsets
--
SELECT eventlog.create_topic('offsets', 1, 'text', 'text');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 10, 'ten'), (0, 11, 'eleven'), (0, 20, 'twenty');
INSERT INTO topics.offsets (partition, value) VALUES (0, 'next');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 5000000000, 'far'), (0, 9000000000, 'farther') RETURNING record_offset, ctid;
SELECT eventlog.produce('offsets', null, 'after', partition => 0);
SELECT record_offset, value FROM topics.offsets ORDER BY record_offset;
SELECT value FROM topics.offsets WHERE record_offset IN (10, 12, 19, 20, 21, 22, 5000000000, 8999999999, 9000000000);
SELECT value FROM topics.offsets WHERE record_offset > 11 AND record_offset < 9000000000 ORDER BY record_offset;
SELECT value FROM topics.offsets WHERE partition = 0 AND record_offset < 5000000000 ORDER BY record_offset DESC;
SELECT value FROM topics."offsets:0" WHERE ctid = (SELECT ctid FROM topics."offsets:0" WHERE record_offset = 5000000000);
SELECT record_offset, convert_from(value, 'UTF8') FROM eventlog.read('offsets', 0, 15);
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 9000000001, 'taken');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 9000000010, 'a'), (0, 9000000010, 'twice');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 9000000010, 'a'), (0, 9000000009, 'falling');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, -5, 'negative');
COPY topics.offsets (partition, record_offset, value) FROM stdin;
0	9000000100	copied
0	9000000200	copied
0	\N	copied without
\.
SELECT record_offset, value FROM topics.offsets WHERE record_offset > 9000000001 ORDER BY record_offset;
BEGIN;
INSERT INTO topics.offsets (partition, value) VALUES (0, 'buffered');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 9000000202, 'collides with the buffer');
COMMIT;
-- not the owner
CREATE ROLE offsets_writer;
GRANT USAGE ON SCHEMA topics TO offsets_writer;
GRANT INSERT, SELECT ON topics.offsets TO offsets_writer;
SET ROLE offsets_writer;
INSERT INTO topics.offsets (partition, value) VALUES (0, 'allowed');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 9100000000, 'refused');
RESET ROLE;
-- the end of what TIDs can say
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 9223372036854775807, 'no');
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, 140737488289792, 'no');
SELECT 4294967294::bigint * 32768 - 1 AS greatest \gset
INSERT INTO topics.offsets (partition, record_offset, value) VALUES (0, :greatest, 'the last one') RETURNING ctid;
SELECT eventlog.produce('offsets', null, 'one too many', partition => 0);
SELECT value FROM topics."offsets:0" WHERE record_offset = :greatest;
SELECT value FROM topics."offsets:0" WHERE ctid = (SELECT ctid FROM topics."offsets:0" WHERE record_offset = :greatest);
SELECT count(*) FROM topics.offsets;

SELECT count(eventlog.drop_topic(topic)) FROM eventlog.topics
	WHERE topic IN ('sizes', 'singles', 'near', 'noise', 'large', 'small', 'headers', 'times', 'limits', 'log_time', 'disorder', 'offsets')
		OR topic LIKE 'codec%' OR topic LIKE 'nulls%';
DROP OWNED BY offsets_writer;
DROP ROLE offsets_writer;
DROP TABLE sizes, near, noise, large, disorder;
DROP FUNCTION check_topic;
