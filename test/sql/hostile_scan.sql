--
-- Scans of topics in plans and logs that are out of the ordinary
--
SET client_min_messages = warning;
SET timezone = 'UTC';

--
-- A gap in the offsets behind a batch that fills pages: who asks for an
-- offset within the gap gets what follows it
--
SELECT eventlog.create_topic('gap', 1, 'text', 'text');
INSERT INTO topics.gap (partition, record_offset, value) VALUES (0, 0, repeat('x', 100000));
INSERT INTO topics.gap (partition, record_offset, value) VALUES (0, 1000, 'behind the gap');
INSERT INTO topics.gap (partition, record_offset, value)
	SELECT 0, 2000 + i, repeat('y', 5000) FROM generate_series(0, 20) i;
SELECT o, (SELECT min(record_offset) FROM topics.gap WHERE record_offset >= o) AS selected,
		(SELECT record_offset FROM eventlog.read('gap', 0, o, 1)) AS read,
		(SELECT max(record_offset) FROM topics.gap WHERE record_offset < o) AS before
	FROM unnest('{0, 1, 2, 500, 999, 1000, 1001, 1999, 2000, 2001}'::bigint[]) o;
SELECT eventlog.create_group('gap', 'gap');
SELECT record_offset FROM eventlog.consume('gap', 'gap', 1, auto_commit => true);
SELECT record_offset FROM eventlog.consume('gap', 'gap', 1, auto_commit => true);
SELECT count(eventlog.drop_topic('gap'));

--
-- Columns of other tables that LATERAL asks the scan for
--
SELECT eventlog.create_topic('lateral', 2, 'text', 'text');
INSERT INTO topics.lateral (partition, value) SELECT i % 2, i FROM generate_series(0, 19) i;
CREATE TEMP TABLE outside (n int, name text);
INSERT INTO outside VALUES (1, 'one'), (2, 'two');
EXPLAIN (COSTS OFF) SELECT o.n, l.* FROM outside o
	LEFT JOIN LATERAL (SELECT o.name AS of, o.n + t.record_offset AS sum FROM topics."lateral:0" t WHERE record_offset BETWEEN 5 AND 6) l ON true;
SELECT o.n, l.* FROM outside o
	LEFT JOIN LATERAL (SELECT o.name AS of, o.n + t.record_offset AS sum FROM topics."lateral:0" t WHERE record_offset BETWEEN 5 AND 6) l ON true
	ORDER BY 1, 3;
SELECT o.n, l.* FROM outside o
	LEFT JOIN LATERAL (SELECT o.name AS of, o.n + t.record_offset AS sum, t.value FROM topics.lateral t WHERE record_offset BETWEEN o.n AND 2) l ON l.sum > 3
	ORDER BY 1, 3, 4;
SELECT count(eventlog.drop_topic('lateral'));
DROP TABLE outside;
