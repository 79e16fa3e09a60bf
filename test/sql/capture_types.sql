--
-- Every type in a capture's records, in our default mode: snapshot and stream.
-- The compatible mode is compared with what Debezium emitted: see
-- test/debezium/compare.
--
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SCHEMA ct;
SET search_path = ct, public;
CREATE EXTENSION hstore SCHEMA ct;
CREATE EXTENSION ltree SCHEMA ct;
CREATE EXTENSION citext SCHEMA ct;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'très bien');
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN price AS numeric(8,3);
CREATE DOMAIN good_mood AS mood;
CREATE TYPE point3 AS (x int, y numeric, label text, "at ""noon""" timestamptz);
CREATE TYPE outer_type AS (p point3, moods mood[], nothing int);
CREATE TYPE text_range AS RANGE (subtype = text);

CREATE TABLE numbers (id int PRIMARY KEY, si smallint, i int, bi bigint, n numeric, n10_2 numeric(10,2),
	m money, r real, d double precision, b boolean, o oid, di posint, dp price);
CREATE TABLE texts (id int PRIMARY KEY, c char(5), qc "char", nm name, vc varchar(10), t text, u uuid,
	j json, jb jsonb, x xml, e mood, ge good_mood, ip inet, ci cidr, mac macaddr, tv tsvector, tq tsquery,
	ls pg_lsn, rc regclass, iv int2vector, lt ltree, cit citext, h hstore, by bytea, b1 bit(1), b12 bit(12), bv varbit);
CREATE TABLE times (id int PRIMARY KEY, d date, t time, t0 time(0), tz timetz, ts timestamp, ts3 timestamp(3),
	tstz timestamptz, tstz0 timestamptz(0), iv interval);
CREATE TABLE nested (id int PRIMARY KEY, ai int[], a2 int[][], at text[], an numeric[], ad date[], aiv interval[],
	ab bit(3)[], aby bytea[], am mood[], adi posint[], ax box[], ap point3[], co point3, oo outer_type,
	r int4range, tr text_range, mr int4multirange, pt point, ln line, ci circle, nums float8[], ah hstore[]);

CREATE PROCEDURE fill(plus int) LANGUAGE sql AS $$
	INSERT INTO numbers VALUES
		(plus + 1, -32768, -2147483648, -9223372036854775808, -0.000000000000000000000000000001, -99999999.99,
			'-92233720368547758.08', 1e-37, 1e-300, true, 4294967295, 1, 1.5),
		(plus + 2, 1, 2, 9007199254740993, 123456789012345678901234567890.10, 0.1,
			'1234.5', 123456792, 123456789.123456789, false, 0, 2, 0),
		(plus + 3, 0, 0, 0, 'NaN', 'NaN', 0, 'NaN', 'Infinity', NULL, 0, NULL, NULL),
		(plus + 4, NULL, NULL, NULL, 'Infinity', NULL, NULL, '-0', '-Infinity', NULL, NULL, NULL, NULL);
	INSERT INTO texts VALUES
		(plus + 1, 'é', 'y', 'name', 'varchar', E'"quoted" \\back/slash\nline\ttab\r\x01\x1f\x7f Zażółć 日本語 🙂 end',
			'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"b": 1,  "a":[1,2.50]}', '{"b": 1, "a": "\u00e9"}',
			'<a b="c">x</a>', 'très bien', 'ok', '192.168.1.5/24', '10.0.0.0/8', '08:00:2b:01:02:03',
			'the fat cat:3', 'a & b', '16/B374D848', 'pg_class', '1 2', 'Top.Science', 'MiXeD',
			'a=>1, b=>NULL, "c d"=>"x\"y\\z", é=>日', '\x00ff80', b'1', b'100000000001', b'0010'),
		(plus + 2, '', '', '', '', '', NULL, 'null', '{}', '', NULL, NULL, '::1', '::/0', NULL, '', '', '0/0', NULL, '',
			'', '', '', '\x', b'0', b'000000000000', b'');
	INSERT INTO times VALUES
		(plus + 1, '2024-02-29', '12:34:56.789012', '12:34:56', '12:34:56.7+02', '2024-02-29 12:34:56.789012',
			'2024-02-29 12:34:56.789', '2024-02-29 12:34:56.1+02', '2024-02-29 12:34:56-08', '1 year 2 mons 3 days 04:05:06.789012'),
		(plus + 2, '0044-03-15 BC', '24:00', '00:00', '00:00-15:59', '0044-03-15 12:00:00.000001 BC', '1500-01-01',
			'0044-03-15 12:00:00+00 BC', '12345-01-01Z', '-1 day -00:00:00.000001'),
		(plus + 3, 'infinity', NULL, NULL, NULL, 'infinity', '-infinity', '-infinity', 'infinity', '178000000 years'),
		(plus + 4, '-infinity', NULL, NULL, NULL, '294276-12-31 23:59:59.999999', '1969-12-31 23:59:59.999', '294276-12-31 23:59:59.999999Z', NULL, '-10 mons +3 days');
	INSERT INTO nested VALUES
		(plus + 1, '{1,2,NULL}', '[0:1][1:2]={{1,2},{3,NULL}}', '{a,"b,c",NULL,"","q\"\\","NULL"}', '{1.50,NaN}',
			'{2024-02-29,infinity}', '{1 day,-00:00:01}', '{101,010}', '{"\\x01ff","\\x"}', '{sad,"très bien"}', '{1,2}',
			'{(1,1),(0,0);(3,4),(1,2)}', array[(1, 2.50, 'a"b', '2020-01-01Z')::point3, NULL],
			(1, NULL, 'x, "y" \z', '2020-01-01Z'), ((7, 8, '', NULL)::point3, '{ok}', NULL),
			'[1,5]', '["a b",c)', '{[1,2],[5,6]}', '(1.5,-2)', '{1,2,3}', '<(0,0),1>', '{1.5,NaN,1e300}', array['a=>1'::hstore]),
		(plus + 2, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', NULL, NULL, 'empty', NULL, '{}',
			NULL, NULL, NULL, '{}', NULL);
$$;

-- The first rows come by the snapshot, the same again by the stream.
CALL fill(0);
CREATE PUBLICATION ct FOR TABLE numbers, texts, times, nested;
SELECT eventlog.create_capture('ct', 'ct');

CREATE FUNCTION records(topic text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM topics.%I', topic) INTO n;
	RETURN n;
EXCEPTION WHEN undefined_table THEN
	RETURN 0;
END $$;
CREATE PROCEDURE wait_for(topic text, expected bigint) LANGUAGE plpgsql AS $$
DECLARE
	error text;
BEGIN
	FOR i IN 1 .. 600 LOOP
		SELECT last_error INTO error FROM eventlog.captures WHERE last_error IS NOT NULL;
		IF records(topic) >= expected THEN
			RETURN;
		ELSIF error IS NOT NULL THEN
			RAISE EXCEPTION 'the capture says: %', error;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.1);
	END LOOP;
	RAISE EXCEPTION 'topic % has % records instead of %', topic, records(topic), expected;
END $$;
CALL wait_for('ct.ct.nested', 2);
CALL fill(100);
CALL wait_for('ct.ct.nested', 4);

-- Which is to give the same.
CREATE FUNCTION rows("table" text, op text, capture text DEFAULT 'ct') RETURNS TABLE (id int, n int, "column" text, value json)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		SELECT (r.value->'after'->>'id')::int %% 100, c.n::int, c.key, c.value
		FROM topics.%I r, json_each(r.value->'after') WITH ORDINALITY c (key, value, n)
		WHERE r.value->>'op' = $1 AND c.key <> 'id' AND ($1 = 'c' OR (r.value->'after'->>'id')::int < 100)
		ORDER BY 1, 2
	$q$, capture || '.ct.' || "table") USING op;
END $$;
SELECT t, s.*, r.value FROM unnest('{numbers,texts,times,nested}'::text[]) t, rows(t, 'c') s
	FULL JOIN LATERAL rows(t, 'r') r USING (id, "column") WHERE s.value::text IS DISTINCT FROM r.value::text;

SELECT id, "column", value FROM rows('numbers', 'r');
SELECT id, "column", value FROM rows('texts', 'r');
SELECT id, "column", value FROM rows('times', 'r');
SELECT id, "column", value FROM rows('nested', 'r');

-- What the WAL does not tell: columns beside the key, and unchanged TOASTed values.
CREATE TABLE absent (id int PRIMARY KEY, i int NOT NULL, t text NOT NULL DEFAULT 'x', n numeric(6,2) NOT NULL, a int[] NOT NULL,
	big text, an numeric[], ab boolean[], by bytea, j jsonb, co point3, h hstore, num numeric, v varbit, wanted int DEFAULT 7);
DO $$
DECLARE
	c text;
BEGIN
	FOREACH c IN ARRAY '{big,an,ab,by,j,co,h,num,v}'::text[] LOOP
		EXECUTE format('ALTER TABLE absent ALTER %I SET STORAGE external', c);
	END LOOP;
END $$;
ALTER PUBLICATION ct ADD TABLE absent;
INSERT INTO absent VALUES (1, 1, 'y', 1, '{1}', repeat('x', 9000), array_fill(1.5, array[2000]), array_fill(true, array[9000]),
	decode(repeat('00', 9000), 'hex'), to_jsonb(repeat('x', 9000)), (1, 2, repeat('x', 9000), now()), hstore('k', repeat('x', 9000)),
	repeat('123456789', 1000)::numeric, repeat('10', 40000)::varbit, NULL);
UPDATE absent SET i = 2;
DELETE FROM absent;
CALL wait_for('ct.ct.absent', 4);
SELECT c.key AS "column", c.value FROM topics."ct.ct.absent" r, json_each(r.value->'after') c
WHERE r.value->>'op' = 'u' ORDER BY record_offset;
SELECT value->'before' AS before FROM topics."ct.ct.absent" WHERE value->>'op' = 'd';


-- Other modes: what they write otherwise than ours.  A null column here is left out there.
CREATE FUNCTION otherwise() RETURNS TABLE ("table" text, id int, "column" text, value json) LANGUAGE sql AS $$
	SELECT t, o.id, o."column", m.value
	FROM unnest('{numbers,texts,times,nested}'::text[]) WITH ORDINALITY AS x (t, i)
		CROSS JOIN rows(t, 'r') o LEFT JOIN rows(t, 'r', 'm') m ON m.id = o.id AND m."column" = o."column"
	WHERE o.value::text <> 'null' AND m.value::text IS DISTINCT FROM o.value::text
	ORDER BY x.i, o.id, o.n;
$$;
SELECT eventlog.create_capture('m', 'ct', config => '{"compatibility": "debezium"}');
CALL wait_for('m.ct.nested', 4);
SELECT * FROM otherwise();
SELECT eventlog.drop_capture('m', true);
SELECT eventlog.create_capture('m', 'ct', config => '{"compatibility": "debezium", "include.unknown.datatypes": true,
	"decimal.handling.mode": "string", "time.precision.mode": "isostring", "binary.handling.mode": "hex",
	"interval.handling.mode": "string", "hstore.handling.mode": "map"}');
CALL wait_for('m.ct.nested', 4);
SELECT * FROM otherwise();
SELECT eventlog.drop_capture('m', true);
SELECT eventlog.create_capture('m', 'ct', config => '{"decimal.handling.mode": "double", "time.precision.mode": "nanoseconds",
	"binary.handling.mode": "base64-url-safe", "interval.handling.mode": "numeric"}');
CALL wait_for('m.ct.nested', 4);
SELECT * FROM otherwise();
SELECT eventlog.drop_capture('m', true);
SELECT eventlog.create_capture('m', 'ct', config => '{"decimal.handling.mode": "precise", "value.converter.decimal.format": "NUMERIC",
	"time.precision.mode": "connect", "binary.handling.mode": "base64"}');
CALL wait_for('m.ct.nested', 4);
SELECT * FROM otherwise();
SELECT eventlog.drop_capture('m', true);

SELECT eventlog.drop_capture('ct', true);
DROP PUBLICATION ct;
DROP SCHEMA ct CASCADE;
