--
-- What captures write in our default mode: envelopes, the flat form, outboxes
-- from tables and from logical messages, masks, keys.  The compatible mode is
-- compared with what Debezium emitted: see test/debezium/compare.
--
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SCHEMA cf;
SET search_path = cf, public;

-- Records of the captures' topics, without what varies; the context's headers
-- are the same everywhere.
CREATE FUNCTION steady(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace($1,
		'("(?:ts_ms|ts_us|ts_ns|lsn|txId|__lsn|__source_ts_ms)":)\d+', '\1 0', 'g'),
		'"sequence":"[^]]*]"', '"sequence":"S"', 'g'),
		'"id":"\d+:\d+"', '"id":"X"', 'g'),
		'"source":\{"version":"[^"]*","connector":"postgresql",', '"source":{', 'g')
$$;
CREATE FUNCTION header_list(eventlog.header[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(h.name || '=' || coalesce(CASE WHEN h.name ~ 'lsn|ts_ms' THEN 'N' ELSE convert_from(h.value, 'UTF8') END, 'null'), ' ' ORDER BY n)
	FROM unnest($1) WITH ORDINALITY h (name, value, n) WHERE h.name !~ '^__debezium.context'
$$;
CREATE FUNCTION records(topic text) RETURNS TABLE (key text, value text, headers text) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT steady(key::text), steady(value::text), header_list(headers) FROM topics.%I ORDER BY record_offset', topic);
EXCEPTION WHEN undefined_table THEN
	RETURN;
END $$;
CREATE PROCEDURE wait_for(topic text, expected bigint) LANGUAGE plpgsql AS $$
DECLARE
	error text;
BEGIN
	FOR i IN 1 .. 600 LOOP
		SELECT last_error INTO error FROM eventlog.captures WHERE state = 'failed';
		IF (SELECT count(*) FROM records(topic)) >= expected THEN
			RETURN;
		ELSIF error IS NOT NULL THEN
			RAISE EXCEPTION 'the capture says: %', error;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.1);
	END LOOP;
	RAISE EXCEPTION 'topic % has % records instead of %', topic, (SELECT count(*) FROM records(topic)), expected;
END $$;

CREATE PROCEDURE wait_until(capture text, wanted text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 600 LOOP
		EXIT WHEN (SELECT state FROM eventlog.captures WHERE name = capture) = wanted;
		COMMIT;
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;

-- Envelopes: what our defaults do otherwise than Debezium's.
CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, price numeric(8,2) DEFAULT 1, age interval);
CREATE TABLE by_code (id int PRIMARY KEY, code text NOT NULL UNIQUE, v text);
ALTER TABLE by_code REPLICA IDENTITY USING INDEX by_code_code_key;
CREATE TABLE "größe" ("id" int PRIMARY KEY, "maß" text);
CREATE TABLE secret (id int PRIMARY KEY, card text, pin int, note text);
CREATE PUBLICATION cf FOR TABLE item, by_code, "größe", secret;
INSERT INTO item VALUES (1, 'before', NULL, '1 mon 2 days');
SELECT eventlog.create_capture('cf', 'cf', config => '{
	"provide.transaction.metadata": true,
	"column.mask.with.3.chars": "cf.secret.card", "column.truncate.to.2.chars": "cf.secret.note",
	"column.mask.hash.v2.SHA-256.with.salt.pepper": "cf.secret.pin"}');
CALL wait_until('cf', 'streaming');
BEGIN;
INSERT INTO item VALUES (2, 'x', 1.50, '-1 day');
SELECT FROM pg_logical_emit_message(true, 'note', 'one');
SELECT FROM pg_logical_emit_message(true, 'note', 'two');
UPDATE item SET id = 3 WHERE id = 2;
DELETE FROM item WHERE id = 1;
COMMIT;
TRUNCATE item;
INSERT INTO by_code VALUES (1, 'a', 'v');
UPDATE by_code SET v = 'w';
UPDATE by_code SET code = 'b';
DELETE FROM by_code;
INSERT INTO "größe" VALUES (1, 'ü');
INSERT INTO secret VALUES (1, '1234-5678', 4711, 'confidential'), (2, NULL, NULL, NULL);
CALL wait_for('cf.cf.secret', 2);
SELECT * FROM records('cf.cf.item');
SELECT * FROM records('cf.message');
SELECT * FROM records('cf.cf.by_code');
SELECT * FROM records('cf.cf.gr__e');
SELECT value::json->'after' AS after FROM records('cf.cf.secret');
SELECT value::json->>'status' AS status, value::json->>'event_count' AS events, value::json->>'data_collections' AS collections FROM records('cf.transaction');
SELECT eventlog.drop_capture('cf');

-- The flat form.
SELECT eventlog.create_capture('flat', 'cf', config => '{"format": "flat", "table.include.list": "cf.item", "add.fields": "op"}');
CALL wait_until('flat', 'streaming');
INSERT INTO item VALUES (1, 'a', NULL, NULL), (2, 'b', 2, '1 day');
UPDATE item SET name = 'c' WHERE id = 1;
UPDATE item SET id = 3 WHERE id = 2;
DELETE FROM item WHERE id = 1;
CALL wait_for('flat.cf.item', 6);
SELECT * FROM records('flat.cf.item');
SELECT eventlog.pause_capture('flat');
CALL wait_until('flat', 'paused');
SELECT eventlog.alter_capture('flat', '{"delete.tombstone.handling.mode": "rewrite", "add.headers": "", "skipped.operations": "u"}');
SELECT eventlog.resume_capture('flat');
CALL wait_until('flat', 'streaming');
UPDATE item SET name = 'left out';
DELETE FROM item;
CALL wait_for('flat.cf.item', 7);
SELECT * FROM records('flat.cf.item') OFFSET 6;
SELECT eventlog.drop_capture('flat');

-- Outboxes: from a table, and from messages without any.
CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL,
	type varchar(255) NOT NULL, payload jsonb, tenant text, at timestamptz);
CREATE PUBLICATION cf_outbox FOR TABLE outbox;
INSERT INTO outbox VALUES ('00000000-0000-4000-8000-000000000001', 'Order', 'o-1', 'Made', '{"a": 1.50}', 't', '2001-02-03 04:05:06.789Z');
SELECT eventlog.create_capture('outbox', 'cf_outbox', config => '{"format": "outbox", "table.field.event.timestamp": "at",
	"table.fields.additional.placement": "type:header:eventType,tenant:header"}');
CALL wait_until('outbox', 'streaming');
INSERT INTO outbox VALUES ('00000000-0000-4000-8000-000000000002', 'Order', 'o-1', 'Paid', '"text"', NULL, NULL),
	('00000000-0000-4000-8000-000000000003', 'Order', 'o-2', 'Gone', NULL, E't\n"', NULL),
	('00000000-0000-4000-8000-000000000004', 'a/b c', 'x', 'Odd', '[1, null]', 't', NULL);
DELETE FROM outbox;
SELECT FROM pg_logical_emit_message(true, 'Order', '{"id": 7, "key": "o-3", "type": "Paid", "payload": {"paid": true, "n": 1.50}, "headers": {"tenant": "t", "tries": 2, "nothing": null}}');
SELECT FROM pg_logical_emit_message(false, 'Order', '{"aggregateid": 8, "payload": "plain text"}');
CALL wait_for('outbox.event.Order', 5);
SELECT key, value, regexp_replace(headers, 'id=\d{2,}$', 'id=LSN') AS headers FROM records('outbox.event.Order');
SELECT * FROM records('outbox.event.a_b_c');
SELECT "timestamp" AT TIME ZONE 'UTC' AS at FROM topics."outbox.event.Order" ORDER BY record_offset LIMIT 1;
SELECT FROM pg_logical_emit_message(true, 'Order', 'no event');
CALL wait_until('outbox', 'failed');
SELECT state, last_error FROM eventlog.captures;
SELECT eventlog.alter_capture('outbox', '{"message.prefix.exclude.list": "Order"}');
SELECT eventlog.resume_capture('outbox');
CALL wait_until('outbox', 'streaming');
INSERT INTO outbox VALUES ('00000000-0000-4000-8000-000000000005', 'Order', 'o-9', 'Last', '{}', NULL, NULL);
CALL wait_for('outbox.event.Order', 6);
SELECT * FROM records('outbox.event.Order') OFFSET 5;
SELECT eventlog.drop_capture('outbox');

DROP PUBLICATION cf, cf_outbox;
SELECT count(eventlog.drop_topic(topic)) FROM eventlog.topics WHERE topic ~ '^(cf|flat|outbox)\.';
DROP SCHEMA cf CASCADE;
