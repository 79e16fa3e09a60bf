-- Consuming in transactions, reading by offset, tail(), groups, privileges.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE FUNCTION txt(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT convert_from($1, 'UTF8') $$;

SELECT eventlog.create_topic('c_one', 1, 'text', 'text');
INSERT INTO topics.c_one (key, value) SELECT 'k' || i, 'v' || i FROM generate_series(0, 9) i;

-- a first consume makes the group, and says so
SET client_min_messages = notice;
BEGIN;
SELECT topic, partition, record_offset, txt(key) AS key, txt(value) AS value, headers
FROM eventlog.consume('g', 'c_one', 3);
SET LOCAL client_min_messages = warning;
-- a second call goes on where the first ended
SELECT record_offset FROM eventlog.consume('g', 'c_one', 2);
ROLLBACK;
SET client_min_messages = warning;

-- rolled back: the records come again
BEGIN;
SELECT record_offset FROM eventlog.consume('g', 'c_one', 2);
SAVEPOINT s;
SELECT record_offset FROM eventlog.consume('g', 'c_one', 2);
-- ROLLBACK TO takes the position back
ROLLBACK TO s;
SELECT record_offset FROM eventlog.consume('g', 'c_one', 2);
SAVEPOINT s2;
SELECT record_offset FROM eventlog.consume('g', 'c_one', 2);
RELEASE s2;
SELECT current_offset, lag FROM eventlog.consumer_groups WHERE consumer_group = 'g';
SELECT eventlog.commit();
SELECT current_offset, lag FROM eventlog.consumer_groups WHERE consumer_group = 'g';
COMMIT;
SELECT consumer_group, topic, partition, current_offset, log_end_offset, lag, consumer_id, host, client_id
FROM eventlog.consumer_groups WHERE consumer_group = 'g';

-- commit inside a savepoint that rolls back is taken back
BEGIN;
SAVEPOINT s;
SELECT record_offset FROM eventlog.consume('g', 'c_one', 2);
SELECT eventlog.commit();
ROLLBACK TO s;
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g';
SELECT record_offset FROM eventlog.consume('g', 'c_one', 1);
SELECT eventlog.commit();
COMMIT;
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g';

-- typed, and auto_commit
SELECT partition, record_offset, key, value FROM eventlog.consume('g', null::topics.c_one, 1, auto_commit => true);
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g';

-- what a call consumes does not depend on what the query does with the rows
BEGIN;
SELECT record_offset FROM eventlog.consume('g_limit', 'c_one', 5) LIMIT 1;
SELECT record_offset FROM eventlog.consume('g_limit', 'c_one', 1);
ROLLBACK;
BEGIN;
SELECT record_offset FROM eventlog.consume('g_where', 'c_one', 5) WHERE record_offset > 3;
SELECT record_offset FROM eventlog.consume('g_where', 'c_one', 1);
ROLLBACK;
BEGIN;
DECLARE cur CURSOR FOR SELECT record_offset FROM eventlog.consume('g_cur', 'c_one', 5);
FETCH 1 FROM cur;
SELECT record_offset FROM eventlog.consume('g_cur', 'c_one', 1);
FETCH 1 FROM cur;
CLOSE cur;
SELECT record_offset FROM eventlog.consume('g_cur', 'c_one', 1);
ROLLBACK;
BEGIN;
-- in the select list, and rescanned by a nested loop
SELECT (r).record_offset FROM (SELECT eventlog.consume('g_list', 'c_one', 2) AS r OFFSET 0) s;
SET LOCAL enable_material = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SELECT n, record_offset FROM generate_series(1, 2) n, eventlog.consume('g_list', 'c_one', 2) ORDER BY 1, 2;
EXPLAIN (COSTS OFF) SELECT * FROM eventlog.consume('g_list', 'c_one', 2);
SELECT record_offset FROM eventlog.consume('g_list', 'c_one', 1);
ROLLBACK;

-- max_records: 0, null; max_wait
SELECT count(*) FROM eventlog.consume('g0', 'c_one', 0);
SELECT count(*) FROM eventlog.consume('g0', 'c_one', null);
SELECT count(*) FROM eventlog.consume('g0', 'c_one', -1);
SELECT eventlog.create_group('g_late', 'c_one', 'latest');
SELECT count(*) FROM eventlog.consume('g_late', 'c_one', 1, '10 ms');
SELECT count(*) FROM eventlog.consume('g_late', 'c_one', 1, '-1 s');

-- commit() of one partition
BEGIN;
SELECT count(*) FROM eventlog.consume('g1', 'c_one', 5);
SELECT eventlog.commit('g1', 'c_one', 0, 3);
SELECT eventlog.commit('g1', 'c_one', 0, 3);
COMMIT;
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g1';
SELECT eventlog.commit('g1', 'c_one', 0, 4);
BEGIN;
SELECT min(record_offset), max(record_offset) FROM eventlog.consume('g1', 'c_one', 5);
SAVEPOINT s;
SELECT eventlog.commit('g1', 'c_one', 0, 2);
ROLLBACK TO s;
SELECT eventlog.commit('g1', 'c_one', 0, 9);
ROLLBACK TO s;
SELECT eventlog.commit('g1', 'c_one', 1, 4);
ROLLBACK TO s;
SELECT eventlog.commit('g1', 'c_one', 0, -1);
ROLLBACK TO s;
SELECT eventlog.commit('g1', 'no_such_topic', 0, 1);
ROLLBACK;

-- own records are consumed only after commit
BEGIN;
SELECT eventlog.produce('c_one', 'own', 'own');
SELECT count(*) FROM eventlog.consume('g_own', 'c_one', null);
SELECT topic, partition, first_offset, last_offset FROM eventlog.flush();
SELECT count(*) FROM eventlog.consume('g_own', 'c_one', null);
SELECT high_watermark, last_stable_offset, lso_holder_xid IS NOT NULL AS held
FROM eventlog.partitions WHERE topic = 'c_one';
SELECT count(*) FROM eventlog.read('c_one', 0, 10);
ROLLBACK;
-- an aborted record leaves a gap, which nobody sees
SELECT high_watermark, last_stable_offset, lso_holder_xid IS NOT NULL AS held
FROM eventlog.partitions WHERE topic = 'c_one';
SELECT eventlog.produce('c_one', 'after', 'after');
SELECT record_offset, key FROM eventlog.read(null::topics.c_one, 0, 9);

-- a group passes what aborted at the end of the log, and has no lag
SELECT eventlog.create_topic('c_abort', 1, 'text', 'text');
SELECT eventlog.produce('c_abort', null, 'kept');
BEGIN;
SELECT eventlog.produce('c_abort', null, 'aborted');
SELECT first_offset FROM eventlog.flush();
ROLLBACK;
SELECT record_offset, value FROM eventlog.consume('g_abort', null::topics.c_abort, auto_commit => true);
SELECT current_offset, log_end_offset, lag FROM eventlog.consumer_groups WHERE consumer_group = 'g_abort';

-- rows and positions commit together
CREATE TABLE done (o bigint PRIMARY KEY);
BEGIN;
INSERT INTO done SELECT record_offset FROM eventlog.consume('g_rows', 'c_one', 4);
SELECT eventlog.commit();
COMMIT;
BEGIN;
INSERT INTO done SELECT record_offset FROM eventlog.consume('g_rows', 'c_one', 4);
SELECT eventlog.commit();
INSERT INTO done VALUES (1);
COMMIT;
SELECT count(*) FROM done;
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g_rows';

-- groups: where they start
SELECT eventlog.create_group('s_early', 'c_one');
SELECT eventlog.create_group('s_late', 'c_one', 'latest');
SELECT eventlog.create_group('s_none', 'c_one', 'none');
SELECT eventlog.create_topic('c_time', 1, 'text', 'text');
INSERT INTO topics.c_time ("timestamp", value)
SELECT timestamptz '2024-01-01 00:00:00Z' + i * interval '1 hour', i::text FROM generate_series(0, 9) i;
SELECT eventlog.create_group('s_time', 'c_time', '2024-01-01 03:30:00Z');
SELECT count(*) FROM eventlog.consume('s_early', 'c_one', null);
SELECT count(*) FROM eventlog.consume('s_late', 'c_one', null);
SELECT count(*) FROM eventlog.consume('s_none', 'c_one', null);
SELECT min(record_offset) FROM eventlog.consume('s_time', 'c_time', null);
SELECT eventlog.create_group('s_early', 'c_one');
SELECT eventlog.create_group('s_bad', 'c_one', 'sometime');
SELECT eventlog.create_group('', 'c_one');
SELECT eventlog.create_group('s_bad', 'no_such_topic');
SELECT eventlog.create_group('s_bad', 'c_one', config => '{"what": 1}');
SET eventlog.auto_create_groups = off;
SELECT count(*) FROM eventlog.consume('s_unknown', 'c_one');
RESET eventlog.auto_create_groups;

-- many partitions: one caller gets them all
SELECT eventlog.create_topic('c_many', 5, 'text', 'text');
INSERT INTO topics.c_many (key, value) SELECT i::text, i::text FROM generate_series(1, 100) i;
BEGIN;
SELECT count(*), count(DISTINCT partition) FROM eventlog.consume('m', 'c_many', 1000);
SELECT eventlog.commit();
COMMIT;
SELECT sum(lag) FROM eventlog.consumer_groups WHERE consumer_group = 'm';
-- in pieces: each record once, in order within its partition
CREATE TABLE got (n serial, p int, o bigint);
DO $$
BEGIN
	FOR i IN 1..15 LOOP
		INSERT INTO got (p, o) SELECT partition, record_offset FROM eventlog.consume('m2', 'c_many', 7);
		PERFORM eventlog.commit();
		COMMIT;
	END LOOP;
END $$;
SELECT count(*), count(DISTINCT (p, o)), bool_and(ordered) FROM
	(SELECT p, o, o = row_number() OVER (PARTITION BY p ORDER BY n) - 1 AS ordered FROM got) s;

-- a partition that was added starts at its earliest record
SELECT eventlog.add_partitions('c_many', 6);
SELECT eventlog.produce('c_many', 'new', 'new', partition => 5);
SELECT partition, record_offset FROM eventlog.consume('m2', 'c_many', auto_commit => true);

-- read(): bounds and errors
SELECT record_offset, txt(value) FROM eventlog.read('c_one', 0, 3, 2);
SELECT record_offset, value FROM eventlog.read(null::topics.c_one, 0, 3, 2);
SELECT count(*) FROM eventlog.read('c_one', 0, 12);
SELECT count(*) FROM eventlog.read('c_one', 0, 13);
SELECT count(*) FROM eventlog.read('c_one', 0, -1);
SELECT count(*) FROM eventlog.read('c_one', 1, 0);
SELECT count(*) FROM eventlog.read('c_one', -1, 0);
SELECT count(*) FROM eventlog.read('c_one', null, 0);
SELECT count(*) FROM eventlog.read('nope', 0, 0);
SELECT count(*) FROM eventlog.read(null::text, 0, 0);
SELECT count(*) FROM eventlog.read(null::done, 0, 0);
SELECT count(*) FROM eventlog.consume('g', null::int);
SELECT count(*) FROM eventlog.consume(null, 'c_one');

-- tail(): the newest, then what has come since
SELECT partition, record_offset, key, value FROM eventlog.tail('c_one', 2);
SELECT partition, record_offset, key, value FROM eventlog.tail('c_one', 2);
SELECT eventlog.produce('c_one', 't' || i, 'x') FROM generate_series(1, 3) i;
SELECT partition, record_offset, key, value FROM eventlog.tail('c_one', 2);
SELECT partition, record_offset, key, value FROM eventlog.tail('c_one', 2);
SELECT partition, record_offset, key, value FROM eventlog.tail('c_one', 2);
SELECT eventlog.create_topic('c_bytes', 1, 'bytea', 'bytea');
SELECT eventlog.produce('c_bytes', '\xff00'::bytea, 'text'::bytea);
SELECT key, value FROM eventlog.tail('c_bytes');

-- REPEATABLE READ: what the snapshot sees, at once
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM eventlog.consume('rr', 'c_one', 2, '1 hour');
SELECT eventlog.commit();
SELECT count(*) FROM eventlog.consume('s_late', 'c_time', null, '1 hour');
COMMIT;
SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'rr';

-- read only
BEGIN READ ONLY;
SELECT count(*) FROM eventlog.read('c_one', 0, 0);
SAVEPOINT s;
SELECT eventlog.produce('c_one', 'a', 'b');
ROLLBACK TO s;
SELECT count(*) FROM eventlog.consume('new_group', 'c_one');
ROLLBACK TO s;
SELECT eventlog.commit();
ROLLBACK;

-- privileges
CREATE ROLE regress_el_producer;
CREATE ROLE regress_el_consumer;
CREATE ROLE regress_el_other;
CREATE ROLE regress_el_monitor IN ROLE pg_monitor;
GRANT INSERT ON topics.c_one TO regress_el_producer;
GRANT SELECT ON topics.c_one TO regress_el_consumer, regress_el_other;
SET ROLE regress_el_producer;
SELECT eventlog.produce('c_one', 'p', 'p');
SELECT eventlog.produce_batch('c_one', array['p'], array['p']);
INSERT INTO topics.c_one (key, value) VALUES ('p', 'p');
INSERT INTO topics.c_one (partition, record_offset, key, value) VALUES (0, 1000, 'p', 'p');
SELECT count(*) FROM eventlog.read('c_one', 0, 0);
SELECT count(*) FROM eventlog.consume('g', 'c_one');
SELECT count(*) FROM eventlog.tail('c_one');
SELECT count(*) FROM eventlog.partitions;
SELECT count(*) FROM eventlog.consumer_groups;
SELECT count(*) FROM eventlog.committed_offset;
SELECT eventlog.alter_topic('c_one', '{}');
SET ROLE regress_el_consumer;
SELECT eventlog.produce('c_one', 'p', 'p');
SELECT count(*) > 0 FROM eventlog.read('c_one', 0, 0);
SELECT count(*) > 0 FROM eventlog.consume('g_consumer', 'c_one', auto_commit => true);
SELECT count(*) FROM eventlog.consume('g', 'c_one');
SELECT topic FROM eventlog.partitions;
SELECT consumer_group FROM eventlog.consumer_groups;
SET ROLE regress_el_other;
SELECT count(*) FROM eventlog.consume('g_consumer', 'c_one');
SELECT consumer_group FROM eventlog.consumer_groups;
SET ROLE regress_el_monitor;
SELECT count(DISTINCT topic) > 3, count(*) > 5 FROM eventlog.partitions;
SELECT count(*) > 5 FROM eventlog.consumer_groups;
SELECT count(*) FROM eventlog.read('c_one', 0, 0);
RESET ROLE;

-- row-level security is not gone past
ALTER TABLE topics.c_one ENABLE ROW LEVEL SECURITY;
SET ROLE regress_el_consumer;
SELECT count(*) FROM topics.c_one;
SELECT count(*) FROM eventlog.read('c_one', 0, 0);
SELECT count(*) FROM eventlog.consume('g_consumer', 'c_one');
SET ROLE regress_el_producer;
SELECT eventlog.produce('c_one', 'p', 'p');
RESET ROLE;
ALTER TABLE topics.c_one DISABLE ROW LEVEL SECURITY;

-- a topic takes its groups with it
SELECT eventlog.drop_topic('c_one');
SELECT count(*) FROM eventlog.consumer_groups WHERE topic = 'c_one';
SELECT count(*) FROM eventlog.consumer_group WHERE name = 'g';
SELECT count(*) FROM eventlog.committed_offset WHERE consumer_group = 'g';

-- TRUNCATE empties the log and keeps its next offset
TRUNCATE topics.c_time;
SELECT log_start_offset, high_watermark FROM eventlog.partitions WHERE topic = 'c_time';
SELECT eventlog.produce('c_time', null, 'again');
SELECT record_offset FROM eventlog.consume('s_time', 'c_time');

DROP OWNED BY regress_el_producer, regress_el_consumer, regress_el_other, regress_el_monitor;
DROP ROLE regress_el_producer, regress_el_consumer, regress_el_other, regress_el_monitor;
SELECT eventlog.drop_topic(topic) FROM eventlog.topics WHERE topic LIKE 'c\_%';
DROP TABLE done, got;
DROP FUNCTION txt(bytea);
