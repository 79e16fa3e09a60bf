--
-- Producing: memory of calls, and calls during calls
--
SET client_min_messages = warning;

-- Memory that calls leave behind: none, whatever their types and errors.
SELECT eventlog.create_topic('leak', 1, 'json', 'json');
CREATE FUNCTION memory() RETURNS bigint LANGUAGE sql AS
	'SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts';
DO $$
DECLARE
	before bigint;
BEGIN
	-- a session keeps some of its buffer, so fill that first
	FOR i IN 1..20000 LOOP
		PERFORM eventlog.produce('leak', i, i);
	END LOOP;
	PERFORM eventlog.flush();
	before := memory();
	FOR i IN 1..20000 LOOP
		PERFORM eventlog.produce('leak', i, i::numeric);
	END LOOP;
	PERFORM eventlog.flush();
	IF memory() > before + 500000 THEN
		RAISE WARNING 'values of two types by turns left % bytes behind', memory() - before;
	END IF;
	before := memory();
	FOR i IN 1..5000 LOOP
		BEGIN
			PERFORM eventlog.produce('leak', i, repeat('{', 100));
		EXCEPTION WHEN invalid_text_representation THEN
			NULL;
		END;
	END LOOP;
	IF memory() > before + 500000 THEN
		RAISE WARNING 'failed calls left % bytes behind', memory() - before;
	END IF;
	before := memory();
	FOR i IN 1..5000 LOOP
		BEGIN
			INSERT INTO topics.leak (partition, value, headers) VALUES (0, '1', array[null::eventlog.header]);
		EXCEPTION WHEN null_value_not_allowed THEN
			NULL;
		END;
	END LOOP;
	IF memory() > before + 500000 THEN
		RAISE WARNING 'failed rows left % bytes behind', memory() - before;
	END IF;
END
$$;

-- A cast that produces while produce() converts its arguments.
CREATE TYPE chatty AS ENUM ('1', '2', '3');
CREATE FUNCTION chatty_to_json(c chatty) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventlog.produce('leak', repeat('"', 2), to_json('from the cast of ' || c));
	BEGIN
		PERFORM eventlog.produce('leak', null, repeat('[', 2000));
	EXCEPTION WHEN invalid_text_representation THEN
		NULL;
	END;
	RETURN to_json('cast ' || c);
END
$$;
CREATE CAST (chatty AS json) WITH FUNCTION chatty_to_json(chatty);
TRUNCATE topics.leak;
SELECT eventlog.produce('leak', jsonb_build_object('key', repeat('k', 30)), '1'::chatty);
SELECT eventlog.produce_batch('leak', array[jsonb_build_object('key', 2), jsonb_build_object('key', 3)], array['2'::chatty, '3'::chatty]);
SELECT key, value FROM topics.leak ORDER BY record_offset;

SELECT eventlog.drop_topic('leak');
DROP TYPE chatty CASCADE;
DROP FUNCTION memory;

-- What flush() tells, and what it does not tell again, over savepoints; many
-- calls and many savepoints cost as much each as a few.
SELECT eventlog.create_topic('ranges', 1, 'text', 'text');
BEGIN;
SELECT eventlog.produce('ranges', null, '0');
SAVEPOINT a;
SELECT eventlog.produce('ranges', null, '1');
SAVEPOINT b;
SELECT eventlog.produce('ranges', null, 'rolled back');
SELECT * FROM eventlog.flush();
ROLLBACK TO b;
SELECT eventlog.produce('ranges', null, '3');
SELECT * FROM eventlog.flush();
RELEASE a;
SELECT * FROM eventlog.flush();
SELECT eventlog.produce('ranges', null, '4');
SAVEPOINT c;
INSERT INTO topics.ranges (value) VALUES ('5') RETURNING record_offset;
RELEASE c;
INSERT INTO topics.ranges (value) VALUES ('6') RETURNING record_offset;
SELECT * FROM eventlog.flush();
COMMIT;
SELECT * FROM eventlog.last_produced();
DO $$
BEGIN
	FOR i IN 1..100000 LOOP
		PERFORM eventlog.produce('ranges', null, 'x');
		PERFORM eventlog.flush();
	END LOOP;
END
$$;
SELECT * FROM eventlog.last_produced();
SELECT eventlog.drop_topic('ranges');

-- A call site that is used again after the topic of that name is another one
SELECT eventlog.create_topic('site', 1, 'text', 'text');
DO $$
DECLARE
	n int;
BEGIN
	FOR i IN 1..3 LOOP
		n := eventlog.produce_batch('site', null::text[], array['call ' || i]);
		IF i = 1 THEN
			ALTER TABLE topics.site RENAME TO renamed;
			PERFORM eventlog.create_topic('site', 1, 'text', 'text');
			PERFORM eventlog.produce('renamed', null, 'to the renamed one');
		END IF;
	END LOOP;
END
$$;
SELECT value FROM topics.site;
SELECT value FROM topics.renamed;
SELECT eventlog.drop_topic('site'), eventlog.drop_topic('renamed');
