-- Consumer groups: configs, types, alter_group(), drop_group(), caches, views.
\set VERBOSITY default
SET client_min_messages = warning;
SELECT eventlog.create_topic('q_one', 2, 'text', 'text');
SELECT eventlog.create_topic('q_two', 1, 'text', 'text');
INSERT INTO topics.q_one (partition, value) SELECT i % 2, i::text FROM generate_series(0, 19) i;
INSERT INTO topics.q_two ("timestamp", value)
SELECT timestamptz '2024-01-01 00:00:00Z' + i * interval '1 hour', i::text FROM generate_series(0, 9) i;
CREATE FUNCTION configs(text) RETURNS TABLE (topic regclass, config jsonb, type text) LANGUAGE sql
AS $$ SELECT topic, config, type FROM eventlog.consumer_group WHERE name = $1 ORDER BY 1 $$;

-- ---- configs ----
SELECT eventlog.create_group('g', 'q_one', config => '{"auto.offset.reset": "by_duration:PT24H", "max.poll.interval.ms": 1000,
	"errors.deadletterqueue.topic.name": "not.there.yet", "group.type": null}');
SELECT eventlog.create_group('g', 'q_two', config => '{"group.type": "consume", "max.poll.interval.ms": "2147483647"}');
SELECT * FROM configs('g');
-- named keys of all its topics are set, null removes
SELECT eventlog.alter_group('g', '{"errors.deadletterqueue.topic.name": null, "max.poll.interval.ms": 5}');
SELECT * FROM configs('g');
SELECT eventlog.alter_group('g', '{}');
-- a timestamp is kept in UTC
SET timezone = 'Asia/Tokyo';
SELECT eventlog.alter_group('g', '{"auto.offset.reset": "2024-01-01 12:30:00", "group.type": null, "max.poll.interval.ms": null}');
RESET timezone;
SELECT * FROM configs('g');

-- errors
SELECT eventlog.alter_group('g', '{"what": 1}');
SELECT eventlog.alter_group('g', '[]');
SELECT eventlog.alter_group('g', '{"auto.offset.reset": "sometimes"}');
SELECT eventlog.alter_group('g', '{"auto.offset.reset": true}');
SELECT eventlog.alter_group('g', '{"auto.offset.reset": ["latest"]}');
-- the server's hint is not the same in all versions
\set VERBOSITY terse
SELECT eventlog.alter_group('g', '{"auto.offset.reset": "2024-13-01"}');
\set VERBOSITY default
SELECT eventlog.alter_group('g', '{"max.poll.interval.ms": 0}');
SELECT eventlog.alter_group('g', '{"max.poll.interval.ms": 2147483648}');
SELECT eventlog.alter_group('g', '{"max.poll.interval.ms": 1.5}');
SELECT eventlog.alter_group('g', '{"errors.deadletterqueue.topic.name": "a b"}');
SELECT eventlog.alter_group('g', '{"group.type": "share"}');
SELECT eventlog.alter_group('unknown', '{}');
SELECT eventlog.alter_group(null, '{}');
SELECT eventlog.alter_group('g', null);
SELECT eventlog.create_group('bad', 'q_one', config => '{"group.type": "classic"}');
-- durations
CREATE FUNCTION duration(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventlog.alter_group('g', jsonb_build_object('auto.offset.reset', 'by_duration:' || $1));
	RETURN 'good';
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN 'bad';
END $$;
SELECT d, duration(d) FROM unnest('{PT1H,P1D,P2DT3H4M5.678S,PT0S,PT0.5S,P1DT1S,P,PT,P1DT,T1H,1H,PT1,PT1.5H,PT-1H,-PT1H,P1M,P1Y,P1W,PT1M1H,P1H,PT1D,PT1S ,P99999999999999D,""}'::text[]) d;
BEGIN READ ONLY;
SELECT eventlog.alter_group('g', '{}');
ROLLBACK;
BEGIN READ ONLY;
SELECT eventlog.drop_group('g');
ROLLBACK;

-- ---- what auto.offset.reset does ----
SELECT eventlog.create_group('t_time', 'q_two', config => '{"auto.offset.reset": "2024-01-01 05:30:00Z"}');
SELECT eventlog.create_group('t_age', 'q_two', config => '{"auto.offset.reset": "by_duration:P1D"}');
SELECT eventlog.create_group('t_long', 'q_two', config => '{"auto.offset.reset": "by_duration:P100000D"}');
SELECT min(record_offset) FROM eventlog.consume('t_time', 'q_two', 1, auto_commit => true);
SELECT min(record_offset) FROM eventlog.consume('t_age', 'q_two', 1, auto_commit => true);
SELECT min(record_offset) FROM eventlog.consume('t_long', 'q_two', 1, auto_commit => true);
SELECT eventlog.delete_records('q_two', 0, 3);
SELECT min(record_offset) FROM eventlog.consume('t_time', 'q_two', 1);
SELECT min(record_offset) FROM eventlog.consume('t_age', 'q_two', 1);
SELECT min(record_offset) FROM eventlog.consume('t_long', 'q_two', 1);
-- where they have gone is kept, what they have got there is not committed
SELECT consumer_group, current_offset, lag FROM eventlog.consumer_groups WHERE consumer_group LIKE 't\_%' ORDER BY 1;

-- ---- types ----
-- the first commit decides, if the group is there already
SELECT eventlog.create_group('u', 'q_one');
BEGIN READ ONLY;
SELECT count(*) FROM eventlog.consume('u', 'q_one', 1);
COMMIT;
SELECT type FROM configs('u');
BEGIN;
SELECT count(*) FROM eventlog.consume('u', 'q_one', 1);
SELECT type FROM configs('u');
SELECT eventlog.commit();
SELECT type FROM configs('u');
ROLLBACK;
SELECT type FROM configs('u');
SELECT count(*) FROM eventlog.consume('u', 'q_one', 1, auto_commit => true);
SELECT type FROM configs('u');
-- else the first call
SELECT count(*) FROM eventlog.consume('made', 'q_one', 1);
SELECT type FROM configs('made');
-- members only
SELECT eventlog.create_group('m', 'q_one', config => '{"group.type": "members"}');
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
-- on any topic
SELECT count(*) FROM eventlog.consume('m', 'q_two', 1);
SELECT eventlog.alter_group('m', '{"group.type": "consume"}');
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
SELECT eventlog.alter_group('m', '{"group.type": "members"}');
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
-- rolled back with its transaction
BEGIN;
SELECT eventlog.alter_group('m', '{"group.type": null}');
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
ROLLBACK;
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
BEGIN;
SAVEPOINT s;
SELECT eventlog.alter_group('m', '{"group.type": "consume"}');
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
ROLLBACK TO s;
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
ROLLBACK;
-- changed by SQL, as by a dump that is restored
UPDATE eventlog.consumer_group SET type = 'consume' WHERE name = 'm';
SELECT count(*) FROM eventlog.consume('m', 'q_one', 1);
\set VERBOSITY terse
UPDATE eventlog.consumer_group SET type = 'other' WHERE name = 'm';
\set VERBOSITY default

-- ---- drop_group() ----
SELECT count(*) FROM eventlog.consume('g', 'q_one', 4, auto_commit => true);
SELECT count(*) FROM eventlog.consume('g', 'q_two', 4, auto_commit => true);
BEGIN;
SELECT eventlog.drop_group('g', 'q_one');
SELECT topic FROM configs('g');
SELECT topic, partition, next_offset FROM eventlog.committed_offset WHERE consumer_group = 'g' ORDER BY 1, 2;
ROLLBACK;
SELECT count(DISTINCT topic) FROM eventlog.committed_offset WHERE consumer_group = 'g';
-- what the same transaction has consumed is not committed
BEGIN;
SELECT count(*) FROM eventlog.consume('g', 'q_one', null);
SELECT eventlog.drop_group('g');
SELECT eventlog.commit();
COMMIT;
SELECT count(*) FROM configs('g');
SELECT count(*) FROM eventlog.committed_offset WHERE consumer_group = 'g';
SELECT eventlog.drop_group('g');
SELECT eventlog.drop_group('u', 'q_two');
SELECT eventlog.drop_group('u', 'no_such_topic');
SELECT eventlog.drop_group(null);
-- made again it begins anew
SELECT count(*) FROM eventlog.consume('g', 'q_one', null, auto_commit => true);

-- ---- privileges ----
CREATE ROLE regress_el_other;
GRANT SELECT ON topics.q_one TO regress_el_other;
SET ROLE regress_el_other;
SELECT eventlog.alter_group('g', '{}');
SELECT eventlog.drop_group('g');
SELECT eventlog.drop_group('g', 'q_one');
SELECT count(*) FROM eventlog.consume('g', 'q_one');
SELECT eventlog.create_group('mine', 'q_one');
SELECT eventlog.alter_group('mine', '{"auto.offset.reset": "latest"}');
SELECT eventlog.drop_group('mine');
RESET ROLE;

-- ---- views ----
-- no lag, then a lag of so many hours
SELECT partition, lag, lag_seconds, last_commit_at IS NOT NULL AS committed, waits_for_pid
FROM eventlog.consumer_groups WHERE consumer_group = 'g' ORDER BY 1;
SELECT eventlog.reset_offsets('g', 'q_one', 'latest') IS NOT NULL AS reset;
SELECT eventlog.produce('q_one', null, 'late', partition => 1, event_time => now() - interval '2 hours');
SELECT partition, lag, round(lag_seconds / 60) AS minutes FROM eventlog.consumer_groups WHERE consumer_group = 'g' ORDER BY 1;
BEGIN;
SELECT eventlog.produce('q_one', null, 'held', partition => 0);
SAVEPOINT s;
SELECT eventlog.produce('q_one', null, 'held', partition => 1);
SELECT count(*) FROM eventlog.flush();
-- the top-level transaction, also of what a savepoint wrote
SELECT partition, lso_holder_xid = pg_current_xact_id()::xid AS xid, lso_holder_pid = pg_backend_pid() AS pid,
	lso_holder_gid, lso_holder_since = now() AS since FROM eventlog.partitions WHERE topic = 'q_one' ORDER BY 1;
SELECT partition, lag, waits_for_pid = pg_backend_pid() AS waits FROM eventlog.consumer_groups WHERE consumer_group = 'g' ORDER BY 1;
PREPARE TRANSACTION 'regress_el_held';
SELECT partition, lso_holder_xid IS NOT NULL AS held, lso_holder_pid AS pid,
	lso_holder_gid, lso_holder_since IS NOT NULL AS since FROM eventlog.partitions WHERE topic = 'q_one' ORDER BY 1;
SELECT partition, lag, waits_for_pid FROM eventlog.consumer_groups WHERE consumer_group = 'g' ORDER BY 1;
ROLLBACK PREPARED 'regress_el_held';
SELECT partition, lso_holder_xid, lso_holder_since FROM eventlog.partitions WHERE topic = 'q_one' ORDER BY 1;
-- only aborted records: a lag without an age
SELECT partition, lag, lag_seconds FROM eventlog.consumer_groups WHERE consumer_group = 'g' AND partition = 0;
SELECT eventlog.record_time('topics.q_one', 7, 0), eventlog.record_time('topics.q_two', 0, 0), eventlog.record_time('pg_class', 0, 0);

DROP OWNED BY regress_el_other;
DROP ROLE regress_el_other;
SELECT eventlog.drop_topic(topic) FROM eventlog.topics WHERE topic LIKE 'q\_%';
SELECT count(*) FROM eventlog.consumer_group WHERE name IN ('g', 'm', 'u', 'made');
DROP FUNCTION configs(text), duration(text);
