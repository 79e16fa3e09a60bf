-- Dead letters: reject().
\set VERBOSITY default
SET client_min_messages = warning;
SELECT eventlog.create_topic('r', 2, 'text', 'text');
SELECT eventlog.create_topic('r_dead', 1, 'bytea', 'bytea');
SELECT eventlog.create_topic('r_json', 1, 'text', 'json');
INSERT INTO topics.r (partition, "timestamp", key, value, headers)
SELECT 0, timestamptz '2024-01-01 00:00:00Z' + i * interval '1 hour', 'k' || i, 'v' || i, eventlog.headers('h', 'x')
FROM generate_series(0, 9) i;
INSERT INTO topics.r (partition, value) SELECT 1, 'w' || i FROM generate_series(0, 4) i;
CREATE VIEW dead AS
SELECT record_offset, convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value,
	(SELECT string_agg(h.name || '=' || COALESCE(convert_from(h.value, 'UTF8'), '(null)'), ' ') FROM unnest(headers) h) AS headers
FROM topics.r_dead ORDER BY 1;
CREATE VIEW state AS
SELECT consumer_group, partition, current_offset FROM eventlog.consumer_groups WHERE topic = 'r' ORDER BY 1, 2;

-- a group needs a topic for them
SELECT eventlog.create_group('c', 'r');
SELECT eventlog.reject('c', 'r', 0, 0, 'bad');
SELECT eventlog.alter_group('c', '{"errors.deadletterqueue.topic.name": "r_none"}');
SELECT eventlog.reject('c', 'r', 0, 0, 'bad');
SELECT eventlog.alter_group('c', '{"errors.deadletterqueue.topic.name": "r_dead"}');
SELECT eventlog.reject('nobody', 'r', 0, 0, 'bad');
SELECT eventlog.reject('c', 'r', 2, 0, 'bad');
SELECT eventlog.reject('c', 'r', null, 0, 'bad');

-- in the transaction that has consumed it: commit() passes over it
BEGIN;
SELECT record_offset, value FROM eventlog.consume('c', null::topics.r, 3) WHERE partition = 0;
SELECT count(*) FROM eventlog.consume('c', null::topics.r, 100);
SELECT eventlog.reject('c', 'r', 0, 1, 'no number');
SELECT eventlog.commit('c', 'r', 0, 3);
COMMIT;
SELECT * FROM dead;
SELECT * FROM state;

-- rolled back with the transaction
BEGIN;
SELECT eventlog.reject('c', 'r', 0, 3, 'undone');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT eventlog.reject('c', 'r', 0, 3, 'undone');
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM dead;
SELECT * FROM state;

-- by itself: the next record, and no other
SELECT eventlog.reject('c', 'r', 0, 3);
SELECT eventlog.reject('c', 'r', 0, 5, 'not the next');
SELECT eventlog.reject('c', 'r', 0, 2, 'passed');
SELECT eventlog.reject('c', 'r', 0, 99, 'not there');
SELECT eventlog.reject('c', 'r', 0, -1, 'not there');
SELECT * FROM dead;
SELECT * FROM state;
SELECT record_offset FROM eventlog.consume('c', null::topics.r, 1, auto_commit => true) WHERE partition = 0;

-- a topic for dead letters that cannot take the value
SELECT eventlog.alter_group('c', '{"errors.deadletterqueue.topic.name": "r_json"}');
BEGIN;
SELECT count(*) FROM eventlog.consume('c', null::topics.r, 100);
SELECT eventlog.reject('c', 'r', 0, 6, 'not JSON');
ROLLBACK;
SELECT * FROM state;

-- behind what was aborted or removed the next record is the next one
BEGIN;
SELECT count(eventlog.produce('r', null, 'aborted', partition => 1)) FROM generate_series(1, 3);
SELECT count(*) FROM eventlog.flush();
ROLLBACK;
SELECT eventlog.produce('r', null, 'last', partition => 1);
SELECT eventlog.create_group('late', 'r', 'latest', '{"errors.deadletterqueue.topic.name": "r_dead"}');
SELECT eventlog.reset_offsets('late', 'r', 'offset', '5', 1);
SELECT eventlog.reject('late', 'r', 1, 8, 'behind a gap');
SELECT * FROM state WHERE consumer_group = 'late';

-- what the group has missed is not passed over in silence
SELECT eventlog.create_group('behind', 'r', config => '{"errors.deadletterqueue.topic.name": "r_dead"}');
SELECT eventlog.create_topic('r_short', 1, 'text', 'text');
INSERT INTO topics.r_short (value) SELECT 's' || i FROM generate_series(0, 9) i;
SELECT eventlog.create_group('behind', 'r_short', config => '{"errors.deadletterqueue.topic.name": "r_dead"}');
SELECT eventlog.reset_offsets('behind', 'r_short', 'offset', '2');
SELECT eventlog.delete_records('r_short', 0, 5);
SELECT eventlog.reject('behind', 'r_short', 0, 5, 'behind a loss');
SELECT eventlog.reject('behind', 'r_short', 0, 2, 'lost');
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'behind' AND topic = 'r_short';
SELECT eventlog.alter_group('behind', '{"auto.offset.reset": "earliest"}');
SELECT eventlog.reject('behind', 'r_short', 0, 5, 'the first that is left');
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'behind' AND topic = 'r_short';
SELECT eventlog.drop_group('behind');
SELECT eventlog.drop_topic('r_short');

-- members
SELECT eventlog.create_group('m', 'r', config => '{"errors.deadletterqueue.topic.name": "r_dead"}');
SELECT eventlog.subscribe('m', array['r']);
SELECT eventlog.reject('m', 'r', 0, 0, 'first');
BEGIN;
SELECT min(record_offset), count(*) FROM eventlog.poll(null::topics.r, 100) WHERE partition = 0;
SELECT eventlog.reject('m', 'r', 0, 4, 'polled');
SELECT eventlog.commit();
COMMIT;
SELECT * FROM state WHERE consumer_group = 'm';
SELECT record_offset, value, headers FROM dead WHERE headers ~ 'group=m' ORDER BY 1;
SELECT eventlog.unsubscribe();
SELECT eventlog.reject('m', 'r', 0, 10, 'no member any more');
-- who leaves cannot commit what it has read, and the error names the group
SELECT eventlog.reset_offsets('m', 'r', 'earliest', partition => 0);
SELECT eventlog.subscribe('m', array['r']);
BEGIN;
SELECT count(*) > 0 AS got FROM eventlog.poll();
SELECT eventlog.unsubscribe();
SELECT eventlog.commit();
ROLLBACK;

-- privileges: of the group's owner, and INSERT on the topic of dead letters
CREATE ROLE reject_role;
GRANT SELECT ON topics.r TO reject_role;
SET ROLE reject_role;
SELECT eventlog.reject('c', 'r', 0, 6, 'not mine');
SELECT eventlog.create_group('mine', 'r', config => '{"errors.deadletterqueue.topic.name": "r_dead"}');
SELECT eventlog.reject('mine', 'r', 0, 0, 'no INSERT');
RESET ROLE;
CREATE ROLE reject_gone;
GRANT SELECT ON topics.r TO reject_gone;
SET ROLE reject_gone;
SELECT eventlog.create_group('orphan', 'r');
RESET ROLE;
DROP OWNED BY reject_gone;
DROP ROLE reject_gone;
SET ROLE reject_role;
SELECT count(*) FROM eventlog.consume('orphan', 'r');
RESET ROLE;
SELECT eventlog.drop_group('orphan');
BEGIN READ ONLY;
SELECT eventlog.reject('c', 'r', 0, 6, 'read only');
ROLLBACK;
DROP OWNED BY reject_role;
SELECT eventlog.drop_group('mine');
DROP ROLE reject_role;
DROP VIEW dead, state;
SELECT eventlog.drop_topic(t) FROM unnest('{r,r_dead,r_json}'::text[]) t;
