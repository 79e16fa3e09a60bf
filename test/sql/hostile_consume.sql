--
-- Consuming: a topic that is dropped by the transaction that consumes it
--
SET client_min_messages = warning;

SELECT eventlog.create_topic('dropped', 1, 'text', 'text');
SELECT eventlog.produce('dropped', null, i::text) FROM generate_series(1, 3) i;
BEGIN;
SELECT convert_from(value, 'UTF8') FROM eventlog.consume('dropper', 'dropped', 2);
DROP TABLE topics.dropped;
SELECT eventlog.create_topic('dropped', 1, 'text', 'text');
SELECT eventlog.commit();
COMMIT;
SELECT count(*) AS left_behind FROM eventlog.committed_offset WHERE consumer_group = 'dropper';
SELECT eventlog.drop_topic('dropped');
