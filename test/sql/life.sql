-- The life of a topic's log: retention, delete_records, compaction, erasure,
-- reset_offsets, adopt_topic, verify, dump_batches; who may call them, and their
-- errors.  Crashes: test/t/017_life.pl; readers meanwhile: 018_life_readers.pl.
\set VERBOSITY terse
SET client_min_messages = warning;
-- what maintenance does is to be seen step by step
ALTER SYSTEM SET eventlog.maintenance = off;
SELECT pg_reload_conf();

-- ---- retention by size: the log start moves in segments, the file stays ----
SELECT eventlog.create_topic('l_bytes', 1, 'text', 'text', '{"retention.bytes": 3000000, "segment.bytes": 1048576}');
DO $$
BEGIN
	FOR i IN 1..40 LOOP
		PERFORM eventlog.produce_batch('l_bytes', null::text[], array_agg(repeat('x', 100) || g)) FROM generate_series(1, 5000) g;
		COMMIT;
	END LOOP;
END $$;
SELECT eventlog.maintain('l_bytes');
SELECT log_start_offset > 0 AS moved, high_watermark,
	(SELECT count(*) FROM topics.l_bytes) = high_watermark - log_start_offset AS all_there,
	(SELECT min(record_offset) FROM topics.l_bytes) = log_start_offset AS from_start,
	(high_watermark - log_start_offset) * 112 BETWEEN 3000000 AND 4500000 AS keeps_enough
FROM eventlog.partitions WHERE topic = 'l_bytes';

-- ---- retention by time: record timestamps if it is set, else age of writing ----
SELECT eventlog.create_topic('l_default', 1, 'text', 'text');
SELECT eventlog.create_topic('l_hour', 1, 'text', 'text', '{"retention.ms": 3600000}');
SELECT eventlog.create_topic('l_ever', 1, 'text', 'text', '{"retention.ms": -1}');
SELECT eventlog.produce(t, null, 'old', event_time => '2020-01-01') FROM unnest('{l_default,l_hour,l_ever}'::text[]) t;
SELECT eventlog.maintain(t) FROM unnest('{l_default,l_hour,l_ever}'::text[]) t;
SELECT eventlog.produce(t, null, 'new') FROM unnest('{l_default,l_hour,l_ever}'::text[]) t;
SELECT eventlog.maintain(t) FROM unnest('{l_default,l_hour,l_ever}'::text[]) t;
SELECT topic, log_start_offset, high_watermark FROM eventlog.partitions WHERE topic IN ('l_default', 'l_hour', 'l_ever') ORDER BY 1;
SELECT record_offset, value FROM topics.l_hour;
-- a limit that is set later holds for what is there
SELECT eventlog.alter_topic('l_ever', '{"retention.ms": 3600000}');
SELECT eventlog.maintain('l_ever');
-- the old record shares its segment with the new one, as in Kafka
SELECT record_offset, value FROM topics.l_ever;

-- ---- delete_records: part of the transaction ----
SELECT eventlog.create_topic('l_del', 2, 'text', 'text');
INSERT INTO topics.l_del (partition, value) SELECT 0, i::text FROM generate_series(0, 99) i;
BEGIN;
SELECT eventlog.delete_records('l_del', 0, 10);
SAVEPOINT s;
SELECT eventlog.delete_records('l_del', 0, 50);
SELECT min(record_offset), count(*) FROM topics.l_del;
ROLLBACK TO s;
SELECT min(record_offset), count(*) FROM topics.l_del;
COMMIT;
SELECT min(record_offset), count(*) FROM topics.l_del;
BEGIN;
SELECT eventlog.delete_records('l_del', 0, 60);
ROLLBACK;
SELECT min(record_offset), count(*) FROM topics.l_del;
BEGIN;
SELECT eventlog.delete_records('l_del', 0, 30);
PREPARE TRANSACTION 'l_del';
SELECT min(record_offset) FROM topics.l_del;
COMMIT PREPARED 'l_del';
SELECT min(record_offset) FROM topics.l_del;
SELECT eventlog.delete_records('l_del', 0, 5) AS lower_is_nothing;
SELECT count(*) FROM topics.l_del WHERE partition = 0 AND record_offset < 40;
SELECT count(*) FROM topics.l_del WHERE partition = 0 AND "timestamp" > now() - interval '1 day';
SELECT record_offset FROM topics.l_del WHERE partition = 0 ORDER BY record_offset DESC OFFSET 68;
SELECT count(*) FROM topics.l_del TABLESAMPLE BERNOULLI (100);
SELECT eventlog.delete_records('l_del', 0, 1000);
SELECT eventlog.delete_records('l_del', 0, -2);
SELECT eventlog.delete_records('l_del', 7, 1);
SELECT eventlog.delete_records('nowhere', 0, 1);
SELECT eventlog.delete_records('l_del', 0, null);
SELECT eventlog.delete_records('l_del', 0, -1) AS everything;
SELECT count(*) FROM topics.l_del;
INSERT INTO topics.l_del (partition, value) VALUES (0, 'next') RETURNING record_offset;
-- records of a transaction that has not committed stay
BEGIN;
SELECT eventlog.produce('l_del', null, 'mine', partition => 1);
SELECT * FROM eventlog.flush();
SELECT eventlog.delete_records('l_del', 1, 1);
ROLLBACK;
SELECT relation, log_start_offset, next_offset FROM eventlog.partition_start WHERE relation::text LIKE '%l_del%';
SELECT * FROM eventlog.verify('l_del');

-- ---- groups whose records are gone ----
SELECT eventlog.create_topic('l_group', 1, 'text', 'text');
INSERT INTO topics.l_group (value) SELECT i::text FROM generate_series(0, 9) i;
SELECT eventlog.create_group('g', 'l_group');
SELECT eventlog.create_group('g_early', 'l_group', config => '{"auto.offset.reset": "earliest"}');
SELECT eventlog.create_group('g_late', 'l_group', config => '{"auto.offset.reset": "latest"}');
SELECT eventlog.create_group('g_never', 'l_group');
SELECT count(*) FROM eventlog.consume('g', 'l_group', 3, auto_commit => true);
SELECT count(*) FROM eventlog.consume('g_early', 'l_group', 3, auto_commit => true);
SELECT count(*) FROM eventlog.consume('g_late', 'l_group', 3, auto_commit => true);
SELECT eventlog.delete_records('l_group', 0, 6);
\set VERBOSITY default
SELECT * FROM eventlog.consume('g', 'l_group');
SELECT * FROM eventlog.read('l_group', 0, 2);
\set VERBOSITY terse
DO $$
BEGIN
	PERFORM * FROM eventlog.consume('g', 'l_group');
EXCEPTION WHEN SQLSTATE 'LG001' THEN
	RAISE WARNING 'LG001 was caught';
END $$;
SELECT record_offset FROM eventlog.consume('g_early', 'l_group', auto_commit => true);
SELECT record_offset FROM eventlog.consume('g_late', 'l_group', auto_commit => true);
-- that is where it goes on, whatever comes meanwhile
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g_late';
SELECT record_offset FROM eventlog.consume('g_never', 'l_group', auto_commit => true);
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'earliest', dry_run => true);
SELECT current_offset, lag FROM eventlog.consumer_groups WHERE consumer_group = 'g';
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'to-earliest');
SELECT record_offset FROM eventlog.consume('g', 'l_group', 2, auto_commit => true);
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'shift-by', '-1');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'offset', '9', 0);
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'to-offset', '77');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'to-datetime', '2000-01-01');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'by-duration', '-1 hour');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'current');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'latest');
BEGIN;
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'earliest');
SELECT count(*) FROM eventlog.consume('g', 'l_group', 2);
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'offset', '9');
SELECT count(*) FROM eventlog.consume('g', 'l_group');
ROLLBACK;
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g';
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'somewhere');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'offset');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'earliest', '1');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'offset', 'x');
SELECT * FROM eventlog.reset_offsets('g', 'l_group', 'earliest', partition => 3);
SELECT * FROM eventlog.reset_offsets('unknown', 'l_group', 'earliest');
SELECT eventlog.create_group('g_bad', 'l_group', config => '{"auto.offset.reset": "sometimes"}');
SELECT eventlog.create_group('g_bad', 'l_group', config => '[]');
-- a position that the log has lost
UPDATE eventlog.committed_offset SET next_offset = 1000 WHERE consumer_group = 'g';
\set VERBOSITY default
SELECT * FROM eventlog.consume('g', 'l_group');
\set VERBOSITY terse

-- ---- compaction ----
SELECT eventlog.create_topic('l_keys', 1, 'text', 'text', '{"cleanup.policy": "compact", "delete.retention.ms": 0}');
INSERT INTO topics.l_keys (key, value) SELECT 'k' || i % 10, 'v' || i FROM generate_series(0, 99) i;
SELECT eventlog.produce('l_keys', null, 'no key');
SELECT eventlog.produce_batch('l_keys', null::text[], '{a,b}'::text[]);
INSERT INTO topics.l_keys (value) VALUES ('no key');
SELECT eventlog.produce('l_keys', 'k3', null::text);
SELECT eventlog.maintain('l_keys');
SELECT record_offset, key, value FROM topics.l_keys ORDER BY 1;
SELECT base_offset, last_offset, count, delete_horizon_ms IS NOT NULL AS horizon, state FROM eventlog.dump_batches('l_keys', 0);
SELECT cleanup_policy, cleaned_offset, dirty_ratio, last_run_read, last_run_kept, last_run_at IS NOT NULL AS ran
FROM eventlog.maintenance WHERE topic = 'l_keys';
-- the tombstone goes with the next run, since it need not be kept
SELECT eventlog.maintain('l_keys');
SELECT record_offset, key, value FROM topics.l_keys WHERE key = 'k3';
SELECT high_watermark, log_start_offset FROM eventlog.partitions WHERE topic = 'l_keys';
-- reading by offset, time and backwards over the gaps
SELECT record_offset FROM topics.l_keys WHERE partition = 0 AND record_offset >= 95 ORDER BY record_offset;
SELECT record_offset FROM topics.l_keys WHERE partition = 0 ORDER BY record_offset DESC LIMIT 2;
SELECT record_offset FROM eventlog.read('l_keys', 0, 0, 3);
SELECT count(*) FROM eventlog.consume('all', 'l_keys', auto_commit => true);
INSERT INTO topics.l_keys (key, value) VALUES ('k1', 'newest') RETURNING record_offset;
-- nothing happens below the dirty ratio
SELECT eventlog.alter_topic('l_keys', '{"min.cleanable.dirty.ratio": 0.9}');
SELECT eventlog.maintain('l_keys');
SELECT count(*) FROM topics.l_keys WHERE key = 'k1';
SELECT eventlog.alter_topic('l_keys', '{"min.cleanable.dirty.ratio": 0, "min.compaction.lag.ms": 3600000}');
SELECT eventlog.maintain('l_keys');
SELECT count(*) FROM topics.l_keys WHERE key = 'k1';
SELECT eventlog.alter_topic('l_keys', '{"min.compaction.lag.ms": null}');
SELECT eventlog.maintain('l_keys');
SELECT value FROM topics.l_keys WHERE key = 'k1';
SELECT * FROM eventlog.verify('l_keys');

-- an index goes along
SELECT eventlog.create_topic('l_index', 1, 'text', 'text', '{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0}');
CREATE INDEX ON topics.l_index (key);
INSERT INTO topics.l_index (key, value) SELECT 'k' || i % 5, i::text FROM generate_series(1, 200) i;
SELECT eventlog.maintain('l_index');
SET enable_seqscan = off;
SELECT record_offset, value FROM topics.l_index WHERE key = 'k2';
VACUUM topics.l_index;
SELECT record_offset, value FROM topics.l_index WHERE key = 'k2';
SELECT reltuples FROM pg_class WHERE oid = 'topics."l_index:0"'::regclass;
RESET enable_seqscan;

-- ---- erasure ----
SELECT eventlog.create_topic('l_erase', 2, 'text', 'text', '{"compression.type": "zstd"}');
INSERT INTO topics.l_erase (partition, key, value) SELECT i % 2, CASE WHEN i % 10 = 0 THEN 'secret' ELSE 'k' || i END, i::text FROM generate_series(0, 99) i;
SELECT eventlog.erase('l_erase', 'secret');
SELECT eventlog.erase('l_erase', 'secret');
SELECT count(*), count(DISTINCT (partition, record_offset)), bool_and(key <> 'secret') FROM topics.l_erase;
SELECT partition, high_watermark FROM eventlog.partitions WHERE topic = 'l_erase' ORDER BY 1;
SELECT eventlog.erase('l_erase', null);
SELECT eventlog.erase('nowhere', 'k');
SELECT eventlog.create_topic('l_bytea', 1, 'bytea', 'text');
SELECT eventlog.produce('l_bytea', '\x0102'::bytea, 'v');
SELECT eventlog.erase('l_bytea', '\x0102'::bytea);
SELECT * FROM eventlog.verify('l_erase');

-- ---- adopt_topic ----
SELECT eventlog.create_topic('l_adopt', 1, 'text', 'text');
SELECT eventlog.produce('l_adopt', 'k', 'v');
SELECT eventlog.adopt_topic('topics.l_adopt');
DELETE FROM eventlog.topic WHERE name = 'l_adopt';
SELECT eventlog.produce('l_adopt', 'k', 'v');
SELECT eventlog.adopt_topic('topics.l_adopt', '{"retention.ms": 1000, "wrong": 1}');
SELECT eventlog.adopt_topic('topics.l_adopt', '{"compression.type": "lz4"}');
SELECT eventlog.produce('l_adopt', 'k', 'v');
SELECT record_offset FROM topics.l_adopt;
CREATE TABLE l_table (n int);
SELECT eventlog.adopt_topic('l_table');
SELECT eventlog.adopt_topic('topics."l_adopt:0"');
SELECT eventlog.adopt_topic(0);
DROP TABLE l_table;

-- ---- who may ----
CREATE ROLE regress_el_life;
GRANT SELECT, INSERT ON topics.l_del TO regress_el_life;
SET ROLE regress_el_life;
SELECT eventlog.delete_records('l_del', 0, 1);
SELECT eventlog.erase('l_del', 'k');
SELECT eventlog.maintain('l_del');
SELECT eventlog.adopt_topic('topics.l_del');
SELECT * FROM eventlog.reset_offsets('g', 'l_del', 'earliest');
SELECT count(*) FROM eventlog.maintenance;
SELECT * FROM eventlog.verify('l_del');
SELECT count(*) FROM eventlog.verify('l_keys');
SELECT count(*) FROM eventlog.dump_batches('l_keys', 0);
INSERT INTO eventlog.partition_start VALUES ('topics."l_del:0"', 10000, 10000);
RESET ROLE;
BEGIN READ ONLY;
SELECT eventlog.maintain('l_del');
ROLLBACK;
BEGIN READ ONLY;
SELECT eventlog.erase('l_del', 'k');
ROLLBACK;
DROP OWNED BY regress_el_life;
DROP ROLE regress_el_life;
SELECT eventlog.drop_topic(topic) FROM eventlog.topics WHERE topic LIKE 'l\_%';
SELECT count(*) FROM eventlog.partition_start;
ALTER SYSTEM RESET eventlog.maintenance;
SELECT pg_reload_conf();
