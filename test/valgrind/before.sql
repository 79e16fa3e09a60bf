-- Each part of the log once: produce, insert, COPY, batches that run across
-- pages, segments, savepoints, triggers and indexes, consumers, DDL.
CREATE EXTENSION pg_eventlog;
SELECT eventlog.create_topic('plain', 2, 'text', 'jsonb', config => '{"segment.bytes": 1048576}');
SELECT eventlog.create_topic('lz4', 1, 'text', 'text', config => '{"compression.type": "lz4"}');
SELECT eventlog.create_topic('zstd', 1, 'text', 'text', config => '{"compression.type": "zstd"}');

SELECT eventlog.produce('plain', 'k' || i, jsonb_build_object('n', i), headers => eventlog.headers('h', 'v'))
	FROM generate_series(1, 20) i;
INSERT INTO topics.plain (key, value) SELECT 'k' || i, jsonb_build_object('n', i, 'text', repeat('x', 20000))
	FROM generate_series(1, 100) i;
INSERT INTO topics.lz4 (key, value) SELECT 'k' || i, repeat('y', i) FROM generate_series(1, 300) i;
INSERT INTO topics.zstd (key, value) VALUES (NULL, repeat('z', 300000)), ('k', NULL) RETURNING record_offset;
COPY topics.lz4 (key, value) FROM stdin;
a	1
b	2
\.
INSERT INTO topics.lz4 (record_offset, partition, value) VALUES (5000, 0, 'by offset');

BEGIN;
SELECT eventlog.produce('lz4', 'a', 'kept');
SAVEPOINT one;
SELECT eventlog.produce('lz4', 'b', repeat('cut back ', 1000));
SELECT count(*) FROM topics.lz4;
ROLLBACK TO one;
SELECT eventlog.produce('lz4', 'c', 'kept');
SAVEPOINT two;
SELECT eventlog.flush();
RELEASE two;
COMMIT;
BEGIN;
SELECT eventlog.produce('lz4', 'a', 'gone');
SELECT count(*) FROM topics.lz4;
ROLLBACK;
BEGIN;
SELECT eventlog.produce('zstd', 'a', 'prepared');
PREPARE TRANSACTION 'p';
COMMIT PREPARED 'p';

SELECT count(*) FROM topics.plain;
SELECT record_offset FROM topics.plain WHERE partition = 0 AND record_offset BETWEEN 5 AND 9 ORDER BY record_offset DESC;
SELECT sum(length(value)) FROM topics.lz4 WHERE "timestamp" > now() - interval '1 hour';
SELECT count(*) FROM eventlog.read('zstd', 0, 0);
SELECT count(*) FROM eventlog.consume('g', 'plain', 50);
BEGIN;
SELECT count(*) FROM eventlog.consume('g', 'plain', 50);
SAVEPOINT s;
SELECT count(*) FROM eventlog.consume('g', 'plain', 5);
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM eventlog.partition_status('topics.plain');

SELECT eventlog.create_topic('indexed', 1, 'text', 'text');
CREATE INDEX ON topics.indexed (key);
INSERT INTO topics.indexed (key, value) SELECT i, i FROM generate_series(1, 50) i;
SELECT value FROM topics.indexed WHERE key = '7';
CREATE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER t AFTER INSERT ON topics.indexed FOR EACH ROW EXECUTE FUNCTION noticed();
SELECT eventlog.produce('indexed', '8', 'by the executor');

SELECT eventlog.alter_topic('plain', '{"compression.type": "zstd"}');
SELECT eventlog.add_partitions('plain', 3);
TRUNCATE topics.indexed;
ANALYZE topics.plain;
VACUUM topics.plain, topics.lz4;
BEGIN;
SELECT eventlog.create_topic('dropped', 1, 'text', 'text');
SELECT eventlog.produce('dropped', 'a', 'b');
ROLLBACK;
