--
-- What a superuser can do to the catalogue by hand takes no backend down
--
SET client_min_messages = warning;

-- configs of the wrong type or range count as not set
SELECT eventlog.create_topic('by_hand', 2);
UPDATE eventlog.topic SET config = '{"segment.bytes": "x", "retention.ms": {}, "compression.type": 7, "cleanup.policy": null}' WHERE name = 'by_hand';
SELECT eventlog.produce('by_hand', 'k', '1');
UPDATE eventlog.topic SET config = '{"segment.bytes": 1e300, "max.message.bytes": -5, "compression.type": "gzip"}' WHERE name = 'by_hand';
SELECT eventlog.produce('by_hand', 'k', '2');
SELECT value FROM topics.by_hand ORDER BY record_offset;
UPDATE eventlog.topic SET config = '[]' WHERE name = 'by_hand';
SELECT eventlog.alter_topic('by_hand', '{"segment.bytes": 2000000}');
SELECT config FROM eventlog.topics WHERE topic = 'by_hand';

-- a partitioned table that is no topic
CREATE TABLE no_topic (LIKE topics.by_hand) PARTITION BY LIST (partition);
CREATE TABLE no_topic_0 PARTITION OF no_topic FOR VALUES IN (0);
INSERT INTO eventlog.topic (relation, name) VALUES ('no_topic', 'no_topic');
SELECT eventlog.produce('no_topic', 'k', '1');
SELECT eventlog.produce('no_topic', 'k', '1', partition => 0);
SELECT eventlog.consume('no_group', 'no_topic');
SELECT eventlog.read('no_topic', 0, 0);
DELETE FROM eventlog.topic WHERE name = 'no_topic';
DROP TABLE no_topic;

-- DROP EXTENSION would take along what depends on it
INSERT INTO eventlog.topic (relation, name) VALUES ('pg_class', 'no_topic');
SELECT count(*) FROM pg_depend d JOIN pg_am a ON d.refobjid = a.oid
	WHERE a.amname = 'eventlog' AND d.objid = 'pg_class'::regclass;
DELETE FROM eventlog.topic WHERE name = 'no_topic';

-- types of the extension that have been changed
BEGIN;
ALTER TYPE eventlog.header ADD ATTRIBUTE more int;
SAVEPOINT changed;
SELECT eventlog.produce('by_hand', 'k', '3', array[('a', 'b', 1)::eventlog.header]);
ROLLBACK TO changed;
ALTER TYPE eventlog.record ADD ATTRIBUTE more int;
SELECT eventlog.read('by_hand', 0, 0);
ROLLBACK;

SELECT eventlog.drop_topic('by_hand');
DELETE FROM eventlog.consumer_group WHERE name = 'no_group';
