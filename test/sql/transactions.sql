--
-- Transactions: what a transaction, its savepoints and its queries see of
-- what it produced is what they would see of a heap table's rows.
--
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

SELECT eventlog.create_topic('tx', 1, 'text', 'text');
CREATE TABLE copy (n serial, value text);

-- The topic's values, and the copy's, in order; a line only where they differ.
CREATE FUNCTION differs(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	log text[]; heap text[];
BEGIN
	SELECT array_agg(md5(value) ORDER BY record_offset) INTO log FROM topics.tx;
	SELECT array_agg(md5(value) ORDER BY n) INTO heap FROM copy;
	IF log IS DISTINCT FROM heap THEN
		RETURN NEXT format('%s: the topic has %s records and the copy %s', what,
			coalesce(cardinality(log), 0), coalesce(cardinality(heap), 0));
	END IF;
END
$$;
-- The same in the reverse order, by a backward scan.
CREATE FUNCTION differs_backward(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	log text[]; heap text[];
BEGIN
	SELECT array_agg(v) INTO log FROM (SELECT md5(value) AS v FROM topics.tx
		WHERE partition = 0 ORDER BY record_offset DESC) t;
	SELECT array_agg(md5(value) ORDER BY n DESC) INTO heap FROM copy;
	IF log IS DISTINCT FROM heap THEN
		RETURN NEXT format('%s: backward differs', what);
	END IF;
END
$$;

-- Both at once, within one statement, and a look from the statement's own snapshot.
CREATE FUNCTION put_tx(v text) RETURNS void LANGUAGE plpgsql VOLATILE AS
$$ BEGIN INSERT INTO copy (value) VALUES (v); PERFORM eventlog.produce('tx', null::text, v); END $$;
CREATE FUNCTION differs_stable(what text) RETURNS text LANGUAGE plpgsql STABLE AS
$$ BEGIN RETURN (SELECT string_agg(d, ' ') FROM differs(what) d); END $$;
ALTER FUNCTION differs(text) STABLE;

--
-- Savepoints of all shapes: random statements, the same for the topic and for
-- the copy, are compared all the time.  Prints nothing where all is well.
--
CREATE FUNCTION random_statements(seed float, transactions int, steps int)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	stack text[];
	kind int;
	nsave int := 0;
	nvalue int := 0;
	v text;
	i int;
BEGIN
	PERFORM setseed(seed);
	FOR t IN 1 .. transactions LOOP
		RETURN NEXT CASE t % 4 WHEN 0 THEN 'BEGIN ISOLATION LEVEL REPEATABLE READ'
			WHEN 1 THEN 'BEGIN ISOLATION LEVEL SERIALIZABLE' ELSE 'BEGIN' END;
		stack := '{}';
		FOR s IN 1 .. steps LOOP
			kind := floor(random() * 20);
			nvalue := nvalue + 1;
			v := format('repeat(%L, %s)', 'v' || nvalue || ' ',
				CASE floor(random() * 6) WHEN 0 THEN 5000 WHEN 1 THEN 500 ELSE 1 END);
			IF kind = 4 THEN
				RETURN NEXT format('SELECT d, e FROM (SELECT put_tx(%1$s), differs_stable(''within'') AS d, put_tx(''second '' || %1$s), differs_stable(''within'') AS e OFFSET 0) t WHERE d IS NOT NULL OR e IS NOT NULL', v);
			ELSIF kind < 5 THEN
				RETURN NEXT format('INSERT INTO copy (value) VALUES (%s)', v);
				RETURN NEXT format('SELECT 1 WHERE eventlog.produce(''tx'', null::text, %s) IS NULL', v);
			ELSIF kind < 7 THEN
				RETURN NEXT format('INSERT INTO topics.tx (value) VALUES (%s)', v);
				RETURN NEXT format('INSERT INTO copy (value) VALUES (%s)', v);
			ELSIF kind = 7 THEN
				RETURN NEXT format('INSERT INTO topics.tx (partition, value) SELECT 0, i || %s FROM generate_series(1, 20) i', v);
				RETURN NEXT format('INSERT INTO copy (value) SELECT i || %s FROM generate_series(1, 20) i', v);
			ELSIF kind < 11 THEN
				nsave := nsave + 1;
				-- names that are used again hide older ones
				stack := stack || ('s' || CASE WHEN random() < 0.2 AND cardinality(stack) > 0
					THEN substr(stack[cardinality(stack)], 2)::int ELSE nsave END);
				RETURN NEXT 'SAVEPOINT ' || stack[cardinality(stack)];
			ELSIF kind < 14 AND cardinality(stack) > 0 THEN
				i := 1 + floor(random() * cardinality(stack));
				-- the newest one of that name is meant
				i := (SELECT max(p) FROM unnest(stack) WITH ORDINALITY u(name, p) WHERE name = stack[i]);
				RETURN NEXT 'ROLLBACK TO ' || stack[i];
				stack := stack[1:i];
			ELSIF kind = 14 AND cardinality(stack) > 0 THEN
				i := 1 + floor(random() * cardinality(stack));
				i := (SELECT max(p) FROM unnest(stack) WITH ORDINALITY u(name, p) WHERE name = stack[i]);
				RETURN NEXT 'RELEASE ' || stack[i];
				stack := stack[1:i - 1];
			ELSIF kind = 15 THEN
				RETURN NEXT format('SELECT differs(%L)', t || '.' || s);
			ELSIF kind = 16 THEN
				RETURN NEXT 'SELECT 1 FROM eventlog.flush() WHERE topic IS NULL';
			ELSIF kind = 17 THEN
				-- one block that keeps, one that fails, one inside another
				RETURN NEXT format('DO %L', format(
					'BEGIN INSERT INTO copy (value) VALUES (%1$s); PERFORM eventlog.produce(''tx'', null::text, %1$s);
					BEGIN INSERT INTO copy (value) VALUES (''gone''); PERFORM eventlog.produce(''tx'', null::text, ''gone'');
						BEGIN PERFORM eventlog.produce(''tx'', null::text, ''gone, too''); EXCEPTION WHEN OTHERS THEN RAISE; END;
						PERFORM count(*) FROM topics.tx WHERE random() < %2$s; RAISE division_by_zero;
					EXCEPTION WHEN division_by_zero THEN
						INSERT INTO copy (value) VALUES (''handled''); PERFORM eventlog.produce(''tx'', null::text, ''handled''); END;
					END', v, s % 2));
			ELSIF kind = 18 THEN
				RETURN NEXT format('SELECT differs_backward(%L)', t || '.' || s);
			ELSE
				-- more subtransactions than a snapshot's cache has room for
				RETURN NEXT format('DO %L', format(
					'BEGIN FOR i IN 1 .. 70 LOOP BEGIN
						INSERT INTO copy (value) VALUES (%1$L || i); PERFORM eventlog.produce(''tx'', null::text, %1$L || i);
						IF i %% 3 = 0 THEN PERFORM 1 / 0; END IF;
					EXCEPTION WHEN division_by_zero THEN END; END LOOP; END', 'sub' || nvalue || '.'));
			END IF;
		END LOOP;
		RETURN NEXT format('SELECT differs(%L)', t || ' before its end');
		RETURN NEXT CASE WHEN t % 5 = 2 THEN 'ROLLBACK' ELSE 'COMMIT' END;
		RETURN NEXT format('SELECT differs(%L)', t || ' after its end');
		RETURN NEXT format('SELECT differs_backward(%L)', t || ' after its end');
	END LOOP;
END
$$;

SELECT count(*) > 500 AS enough FROM random_statements(0.25, 20, 25);
\set ECHO none
SELECT random_statements(0.25, 20, 25) \gexec
-- buffers that overflow all the time
SET eventlog.producer_buffer = '64kB';
SELECT random_statements(0.5, 20, 25) \gexec
RESET eventlog.producer_buffer;
-- through the executor: an index
CREATE INDEX tx_key ON topics.tx (key);
SELECT random_statements(0.75, 12, 25) \gexec
DROP INDEX topics.tx_key;
-- compressed batches
SELECT 1 WHERE eventlog.alter_topic('tx', '{"compression.type": "lz4"}') IS NULL;
SELECT random_statements(-0.25, 12, 25) \gexec
SELECT 1 WHERE eventlog.alter_topic('tx', '{"compression.type": null}') IS NULL;
\set ECHO all
-- not only nothing
SELECT count(*) > 1000 AS enough, count(DISTINCT record_offset) = count(*) AS offsets_differ FROM topics.tx;

--
-- PREPARE TRANSACTION
--
BEGIN;
SELECT eventlog.produce('tx', 'p', 'prepared and committed');
SAVEPOINT s;
SELECT eventlog.produce('tx', 'p', 'rolled back');
ROLLBACK TO s;
SELECT eventlog.produce('tx', 'p', 'prepared and committed, too');
PREPARE TRANSACTION 'tx_1';
BEGIN;
SELECT eventlog.produce('tx', 'p', 'prepared and rolled back');
PREPARE TRANSACTION 'tx_2';
SELECT value FROM topics.tx WHERE key = 'p';
BEGIN;
SELECT eventlog.produce('tx', 'p', 'after them');
COMMIT;
SELECT value FROM topics.tx WHERE key = 'p';
COMMIT PREPARED 'tx_1';
ROLLBACK PREPARED 'tx_2';
SELECT value FROM topics.tx WHERE key = 'p' ORDER BY record_offset;

--
-- Offsets: flush() and last_produced()
--
SELECT eventlog.create_topic('ranges', 2, 'text', 'text');
SELECT eventlog.produce('ranges', null, 'a', partition => 0);
SELECT * FROM eventlog.last_produced();
BEGIN;
SELECT eventlog.produce('ranges', null, 'b', partition => 0);
SELECT eventlog.produce('ranges', null, 'c', partition => 1);
SELECT eventlog.produce('ranges', null, 'd', partition => 0);
SELECT * FROM eventlog.flush() ORDER BY partition;
SELECT * FROM eventlog.flush();
SELECT eventlog.produce('ranges', null, 'e', partition => 0);
SELECT * FROM eventlog.last_produced();		-- still the one before
SELECT * FROM eventlog.flush();
COMMIT;
SELECT * FROM eventlog.last_produced();
-- one that rolls back, or produces nothing, leaves it alone
BEGIN;
SELECT eventlog.produce('ranges', null, 'gone', partition => 0);
SELECT * FROM eventlog.flush();
ROLLBACK;
SELECT * FROM eventlog.last_produced();
-- in a savepoint that rolls back; offset 5 is not used again
BEGIN;
SELECT eventlog.produce('ranges', null, 'f', partition => 0);
SAVEPOINT s;
SELECT eventlog.produce('ranges', null, 'gone', partition => 0);
SELECT * FROM eventlog.flush();
ROLLBACK TO s;
SELECT eventlog.produce('ranges', null, 'g', partition => 0);
SELECT value FROM topics.ranges WHERE partition = 0 ORDER BY record_offset;
COMMIT;
SELECT record_offset, value FROM topics.ranges WHERE partition = 0 ORDER BY record_offset;
-- f was appended within the savepoint, but is not the savepoint's
SELECT * FROM eventlog.last_produced();

--
-- A query sees what was produced before it, and not what it produces itself
--
-- a cursor opened before and after
BEGIN;
SELECT eventlog.produce('ranges', null, 'h', partition => 1);
DECLARE before SCROLL CURSOR FOR SELECT value FROM topics.ranges WHERE partition = 1;
SELECT eventlog.produce('ranges', null, 'i', partition => 1);
DECLARE after SCROLL CURSOR FOR SELECT value FROM topics.ranges WHERE partition = 1;
INSERT INTO topics.ranges (partition, value) VALUES (1, 'j');
SELECT * FROM eventlog.flush();
FETCH ALL FROM before;
FETCH ALL FROM after;
FETCH BACKWARD ALL FROM after;
SELECT value FROM topics.ranges WHERE partition = 1;
ROLLBACK;

-- functions that produce and read within one statement, and the same on a heap
CREATE TABLE heap_ranges (n serial, value text);
CREATE FUNCTION counts() RETURNS text LANGUAGE plpgsql VOLATILE AS
$$ BEGIN RETURN (SELECT count(*) FROM topics.ranges WHERE value LIKE 'f%-') || ' ' || (SELECT count(*) FROM heap_ranges WHERE value LIKE 'f%-'); END $$;
CREATE FUNCTION counts_stable() RETURNS text LANGUAGE plpgsql STABLE AS
$$ BEGIN RETURN (SELECT count(*) FROM topics.ranges WHERE value LIKE 'f%-') || ' ' || (SELECT count(*) FROM heap_ranges WHERE value LIKE 'f%-'); END $$;
CREATE FUNCTION put_both(v text) RETURNS text LANGUAGE plpgsql VOLATILE AS
$$ BEGIN INSERT INTO heap_ranges (value) VALUES (v); PERFORM eventlog.produce('ranges', null::text, v, partition => 0); RETURN v; END $$;
SELECT put_both('f' || i || '-'), counts(), counts_stable() FROM generate_series(1, 3) i;
BEGIN;
SELECT put_both('f4-');
SELECT put_both('f5-');
SELECT counts_stable(), put_both('f6-'), counts_stable(), counts(), counts_stable();
SELECT put_both('f7-'), counts_stable();
COMMIT;
SELECT counts();
-- what an earlier statement has produced is seen, though not yet appended when this one starts
BEGIN;
SELECT put_both('f8-');
SELECT put_both('f9-'), counts_stable();
COMMIT;
BEGIN;
SELECT put_both('f10-');
SELECT put_both('f11-');
SELECT put_both('f12-'), put_both('f13-'), counts_stable(), counts();
COMMIT;
BEGIN;
SELECT put_both('f14-');
SELECT eventlog.produce('ranges', null, 'f15-', partition => 0), counts_stable();
SAVEPOINT s;
SELECT put_both('f16-'), put_both('f17-'), counts_stable();
ROLLBACK TO s;
SELECT put_both('f18-'), counts_stable(), put_both('f19-'), counts_stable(), counts(), counts_stable();
COMMIT;
SELECT counts();
-- the scan of the statement itself does not see what its functions produce
SELECT count(put_both('g-' || value)) = count(*) AS once_each FROM topics.ranges WHERE partition = 0;
INSERT INTO topics.ranges (partition, value) SELECT partition, 'again ' || value FROM topics.ranges;
SELECT count(*) FILTER (WHERE value LIKE 'again%') * 2 = count(*) AS doubled FROM topics.ranges;
WITH ins AS (INSERT INTO topics.ranges (partition, value) VALUES (1, 'cte') RETURNING value)
	SELECT count(*) AS cte, (SELECT count(*) FROM topics.ranges WHERE value = 'cte') AS seen FROM ins;

--
-- DDL with records still buffered; DROP and TRUNCATE in savepoints
--
SELECT eventlog.create_topic('ddl', 1, 'text', 'text');
BEGIN;
SELECT eventlog.produce('ddl', null, '0');
SAVEPOINT s;
SELECT eventlog.produce('ddl', null, 'gone');
TRUNCATE topics.ddl;
SELECT eventlog.produce('ddl', null, 'gone, too');
SELECT value FROM topics.ddl;
ROLLBACK TO s;
SELECT eventlog.produce('ddl', null, '1');
SELECT value FROM topics.ddl ORDER BY record_offset;
SAVEPOINT s;
SELECT eventlog.produce('ddl', null, 'gone');
DROP TABLE topics.ddl;
SELECT eventlog.produce('ddl', null, 'nowhere to go');
ROLLBACK TO s;
SELECT eventlog.produce('ddl', null, '2');
CREATE INDEX ON topics.ddl (key);
SELECT eventlog.produce('ddl', 'three', '3');
SELECT eventlog.alter_topic('ddl', '{"compression.type": "zstd"}');
SELECT eventlog.produce('ddl', 'four', '4');
ALTER TABLE topics.ddl RENAME TO "ddl.renamed";
SELECT eventlog.produce('ddl.renamed', null, '5');
SELECT eventlog.add_partitions('ddl.renamed', 2);
SELECT eventlog.produce('ddl.renamed', null, '6', partition => 1);
COMMIT;
SELECT partition, key, value FROM topics."ddl.renamed" ORDER BY partition, record_offset;
SET enable_seqscan = off;
SELECT value FROM topics."ddl.renamed" WHERE key = 'three';
RESET enable_seqscan;
-- TRUNCATE goes on with the next offset, also twice in the transaction that made the topic
SELECT max(record_offset) AS last FROM topics."ddl.renamed" WHERE partition = 0 \gset
TRUNCATE topics."ddl.renamed";
SELECT eventlog.produce('ddl.renamed', null, 'new', partition => 0);
SELECT record_offset > :last AS higher FROM topics."ddl.renamed" WHERE partition = 0;
BEGIN;
SELECT eventlog.create_topic('ddl.new', 1, 'text', 'text');
SELECT eventlog.produce('ddl.new', null, '0');
TRUNCATE topics."ddl.new";
SELECT eventlog.produce('ddl.new', null, '1');
TRUNCATE topics."ddl.new";
SELECT eventlog.produce('ddl.new', null, '2');
COMMIT;
SELECT record_offset, value FROM topics."ddl.new";
SELECT eventlog.drop_topic('ddl.new');
-- create, produce, roll back, in a loop: a new file may get an old one's number
BEGIN;
SAVEPOINT s;
SELECT eventlog.create_topic('ddl.loop', 1, 'text', 'text');
SELECT eventlog.produce('ddl.loop', null, 'x');
SELECT first_offset FROM eventlog.flush();
ROLLBACK TO s;
SELECT eventlog.create_topic('ddl.loop', 1, 'text', 'text');
SELECT eventlog.produce('ddl.loop', null, 'x');
SELECT first_offset FROM eventlog.flush();
ROLLBACK;

--
-- Large values from elsewhere
--
CREATE TABLE toasted (v text);
ALTER TABLE toasted ALTER v SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT string_agg(md5(i::text || n), '') FROM generate_series(1, 32768) i, generate_series(1, 3) n GROUP BY n;
CREATE TABLE digests AS SELECT md5(v) AS digest, length(v) FROM toasted;
BEGIN;
INSERT INTO topics.ranges (partition, key, value) SELECT 0, 'toasted', v FROM toasted;
SELECT count(eventlog.produce('ranges', 'toasted', v, partition => 0)) FROM toasted;
DROP TABLE toasted;
SELECT md5(value), count(*) FROM topics.ranges WHERE key = 'toasted' GROUP BY 1 EXCEPT SELECT digest, 2 FROM digests;
COMMIT;
SELECT md5(value), count(*), min(length(value)) FROM topics.ranges WHERE key = 'toasted' GROUP BY 1 EXCEPT SELECT digest, 2, length FROM digests;
SELECT count(*) FROM topics.ranges WHERE key = 'toasted';

--
-- Read-only and failed transactions
--
BEGIN READ ONLY;
SELECT eventlog.produce('tx', 'no', 'no');
ROLLBACK;
BEGIN READ ONLY;
INSERT INTO topics.tx (value) VALUES ('no');
ROLLBACK;
BEGIN;
SELECT eventlog.produce('tx', 'no', 'no');
SELECT 1 / 0;
COMMIT;
SELECT count(*) FROM topics.tx WHERE key = 'no';
-- deferred triggers produce at the last moment
CREATE TABLE deferred_rows (n int);
CREATE FUNCTION deferred_produce() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM eventlog.produce('tx', 'deferred', new.n::text); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON deferred_rows DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION deferred_produce();
BEGIN;
INSERT INTO deferred_rows VALUES (1), (2);
SELECT count(*) FROM topics.tx WHERE key = 'deferred';
COMMIT;
SELECT value FROM topics.tx WHERE key = 'deferred';
-- procedures that commit
CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 4 LOOP
		PERFORM eventlog.produce('tx', 'procedure', i::text);
		IF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END
$$;
CALL committing();
SELECT value FROM topics.tx WHERE key = 'procedure';
-- WITH HOLD
BEGIN;
SELECT eventlog.produce('tx', 'held', 'held');
DECLARE held CURSOR WITH HOLD FOR SELECT value FROM topics.tx WHERE key = 'held';
SELECT eventlog.produce('tx', 'held', 'later');
COMMIT;
FETCH ALL FROM held;
CLOSE held;

SELECT eventlog.drop_topic('tx');
SELECT eventlog.drop_topic('ranges');
SELECT eventlog.drop_topic('ddl.renamed');
DROP TABLE copy, heap_ranges, deferred_rows, digests;
DROP PROCEDURE committing;
DROP FUNCTION put_tx, differs_stable, differs, differs_backward, random_statements, counts, counts_stable, put_both, deferred_produce;
