--
-- Topics: create, alter, add partitions, drop, and plain DDL on their tables.
--
\set VERBOSITY default
SET client_min_messages = warning;
CREATE ROLE topics_owner;
CREATE ROLE topics_other;
CREATE ROLE topics_reader;
CREATE SCHEMA topics_test;
GRANT CREATE, USAGE ON SCHEMA topics_test TO topics_owner;
GRANT USAGE ON SCHEMA topics_test TO topics_other, topics_reader;

-- Tables of a topic with their types, owners and bounds; no numbers that change.
CREATE VIEW topic_tables AS
SELECT c.relnamespace::regnamespace AS schema, c.relname, c.relkind,
	CASE WHEN c.relowner = 'topics_owner'::regrole THEN 'topics_owner' ELSE 'creator' END AS owner, a.amname, pg_get_expr(c.relpartbound, c.oid) AS bound
FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
WHERE c.oid IN (SELECT relation FROM eventlog.topic
	UNION SELECT inhrelid FROM pg_inherits WHERE inhparent IN (SELECT relation FROM eventlog.topic));

--
-- create_topic
--
SELECT eventlog.create_topic('orders');
SELECT eventlog.create_topic('orders.v2', 3, 'bytea', 'jsonb',
	'{"retention.ms": "60000", "compression.type": "zstd"}', 'topics_test');
SELECT eventlog.create_topic(topic => 'by-name', value_type => 'text', key_type => 'json', partitions => 2);
SELECT topic, relation, partitions, key_type, value_type, config FROM eventlog.topics ORDER BY topic;
SELECT * FROM topic_tables ORDER BY schema, relname COLLATE "C";
\d topics.orders
\d topics."orders:0"
\d topics."orders:null"

-- What the server enters for CREATE TABLE ... PARTITION OF, we have entered, too.
CREATE TABLE plain (partition int, record_offset bigint, "timestamp" timestamptz,
	key text, value json, headers eventlog.header[]) PARTITION BY LIST (partition);
CREATE TABLE "plain:0" PARTITION OF plain (partition DEFAULT 0) FOR VALUES IN (0) USING heap;
CREATE TABLE "plain:null" PARTITION OF plain FOR VALUES IN (NULL) USING heap;
CREATE FUNCTION described(parent regclass, leaf regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('class %s %s %s %s %s %s', relkind, relispartition, relhassubclass, relpersistence,
		relchecks, pg_get_expr(relpartbound, oid))
	FROM pg_class WHERE oid = leaf
	UNION ALL
	SELECT format('parent %s %s', relhassubclass, relkind) FROM pg_class WHERE oid = parent
	UNION ALL
	SELECT format('attribute %s %s %s %s %s %s %s %s', attnum, attname, atttypid::regtype, attislocal,
		attinhcount, atthasdef, attnotnull, attcollation::regcollation)
	FROM pg_attribute WHERE attrelid = leaf AND attnum > 0
	UNION ALL
	SELECT format('inherits %s %s', inhparent = parent, inhseqno) FROM pg_inherits WHERE inhrelid = leaf
	UNION ALL
	SELECT format('depends %s %s %s', deptype, refclassid::regclass,
		CASE WHEN refobjid = parent THEN 'parent' ELSE pg_describe_object(refclassid, refobjid, refobjsubid) END)
	FROM pg_depend WHERE objid = leaf AND classid = 'pg_class'::regclass
		AND refclassid NOT IN ('pg_am'::regclass, 'pg_namespace'::regclass)
	UNION ALL
	SELECT format('default %s %s', adnum, pg_get_expr(adbin, adrelid)) FROM pg_attrdef WHERE adrelid = leaf
	UNION ALL
	SELECT pg_get_partition_constraintdef(leaf)
$$;
SELECT described('plain', '"plain:0"') EXCEPT ALL SELECT described('topics.orders', 'topics."orders:0"');
SELECT described('topics.orders', 'topics."orders:0"') EXCEPT ALL SELECT described('plain', '"plain:0"');
SELECT described('plain', '"plain:null"') EXCEPT ALL SELECT described('topics.orders', 'topics."orders:null"');
SELECT described('topics.orders', 'topics."orders:null"') EXCEPT ALL SELECT described('plain', '"plain:null"');
SELECT count(*) FROM described('topics.orders', 'topics."orders:0"');

-- names
SELECT eventlog.create_topic('');
SELECT eventlog.create_topic('.');
SELECT eventlog.create_topic('..');
SELECT eventlog.create_topic('a b');
SELECT eventlog.create_topic('a/b');
SELECT eventlog.create_topic('a:1');
SELECT eventlog.create_topic('"quoted"');
SELECT eventlog.create_topic('größe');
SELECT eventlog.create_topic(repeat('x', 250));
SELECT eventlog.create_topic('...');
SELECT eventlog.create_topic('select');
SELECT eventlog.create_topic('-');
SELECT eventlog.create_topic('Orders');
SELECT topic, relation FROM eventlog.topics WHERE topic IN ('...', 'select', '-', 'Orders') ORDER BY 1;
SELECT eventlog.create_topic('orders');
SELECT eventlog.create_topic('orders', schema_name => 'topics_test');
SELECT eventlog.create_topic('orders_v2');
SELECT eventlog.create_topic('___');
CREATE TABLE topics.taken (a int);
SELECT eventlog.create_topic('taken');
DROP TABLE topics.taken;
CREATE TABLE topics."taken:0" (a int);
SELECT eventlog.create_topic('taken');
DROP TABLE topics."taken:0";
SELECT eventlog.create_topic('taken');
SELECT eventlog.drop_topic(t) FROM unnest(ARRAY['...', 'select', '-', 'Orders', 'taken']) t;

-- a name of 58 bytes is a table's as it is; a longer one is shortened
SELECT eventlog.create_topic(repeat('x', 58), 2);
SELECT eventlog.create_topic(repeat('x', 59), 2);
SELECT eventlog.create_topic(repeat('x', 249), 2);
SELECT eventlog.create_topic(repeat('x', 248) || 'y', 2);
SELECT length(topic), topic LIKE '%y' AS y, relation, partitions FROM eventlog.topics WHERE topic LIKE 'xxx%' ORDER BY topic;
SELECT eventlog.create_topic(repeat('x', 249));
SELECT eventlog.alter_topic(repeat('x', 249), '{"segment.bytes": 1048576}');
SELECT eventlog.add_partitions(repeat('x', 249), 3);
SELECT length(topic), relation, partitions, config FROM eventlog.topics WHERE topic = repeat('x', 249);
SELECT eventlog.drop_topic(repeat('x', n)) FROM unnest(ARRAY[58, 59, 249]) n;
SELECT eventlog.drop_topic(repeat('x', 248) || 'y');
SELECT count(*) FROM topic_tables WHERE relname LIKE 'xxx%';

-- other arguments
SELECT eventlog.create_topic(NULL);
SELECT eventlog.create_topic('bad', NULL);
SELECT eventlog.create_topic('bad', key_type => NULL);
SELECT eventlog.create_topic('bad', value_type => NULL);
SELECT eventlog.create_topic('bad', config => NULL);
SELECT eventlog.create_topic('bad', schema_name => NULL);
SELECT eventlog.create_topic('bad', 0);
SELECT eventlog.create_topic('bad', -1);
SELECT eventlog.create_topic('bad', 10001);
SELECT eventlog.create_topic('bad', key_type => 'int');
SELECT eventlog.create_topic('bad', value_type => 'varchar');
SELECT eventlog.create_topic('bad', value_type => 'text[]');
SELECT eventlog.create_topic('bad', schema_name => 'nowhere');
SELECT eventlog.create_topic('bad', schema_name => 'pg_catalog');
CREATE TEMP TABLE make_temp_schema (a int);
SELECT eventlog.create_topic('bad', schema_name => 'pg_temp');
BEGIN READ ONLY;
SELECT eventlog.create_topic('bad');
ROLLBACK;
SELECT count(*) FROM eventlog.topics WHERE topic = 'bad';

-- in a transaction that does not commit
BEGIN;
SELECT eventlog.create_topic('gone', 2);
SELECT topic, partitions FROM eventlog.topics WHERE topic = 'gone';
SAVEPOINT s;
SELECT eventlog.add_partitions('gone', 4);
SELECT topic, partitions FROM eventlog.topics WHERE topic = 'gone';
ROLLBACK TO s;
SELECT topic, partitions FROM eventlog.topics WHERE topic = 'gone';
SELECT eventlog.add_partitions('gone', 3);
SELECT topic, partitions FROM eventlog.topics WHERE topic = 'gone';
ROLLBACK;
SELECT eventlog.alter_topic('gone', '{}');
SELECT count(*) FROM topic_tables WHERE relname LIKE 'gone%';

--
-- configs
--
CREATE FUNCTION try_config(config text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM eventlog.alter_topic('orders', config::jsonb);
	RETURN (SELECT t.config FROM eventlog.topics t WHERE topic = 'orders');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END
$$;
\pset format unaligned
\pset tuples_only on

-- each that is supported: its limits, and just outside of them
SELECT c || E'\n' || try_config(c) FROM unnest(ARRAY[
	'{"cleanup.policy": "delete"}', '{"cleanup.policy": "compact"}',
	'{"cleanup.policy": "compact,delete"}', '{"cleanup.policy": " delete , compact "}',
	'{"cleanup.policy": "keep"}', '{"cleanup.policy": ""}', '{"cleanup.policy": "delete,"}',
	'{"cleanup.policy": "delete,delete"}', '{"cleanup.policy": 1}', '{"cleanup.policy": null}',
	'{"compression.type": "producer"}', '{"compression.type": "uncompressed"}', '{"compression.type": "none"}',
	'{"compression.type": "lz4"}', '{"compression.type": "zstd"}', '{"compression.type": "gzip"}',
	'{"compression.type": "snappy"}', '{"compression.type": "ZSTD"}', '{"compression.type": "lz"}',
	'{"compression.type": ""}', '{"compression.type": null}',
	'{"message.timestamp.type": "CreateTime"}', '{"message.timestamp.type": "LogAppendTime"}',
	'{"message.timestamp.type": "createtime"}', '{"message.timestamp.type": true}', '{"message.timestamp.type": null}'
]) WITH ORDINALITY AS u(c, n) ORDER BY n;
SELECT c || E'\n' || try_config(c) FROM unnest(ARRAY[
	'{"delete.retention.ms": 0}', '{"delete.retention.ms": -1}', '{"delete.retention.ms": null}',
	'{"max.compaction.lag.ms": 1}', '{"max.compaction.lag.ms": 0}', '{"max.compaction.lag.ms": null}',
	'{"max.message.bytes": 1}', '{"max.message.bytes": 67108864}', '{"max.message.bytes": 0}',
	'{"max.message.bytes": 67108865}', '{"max.message.bytes": null}',
	'{"message.timestamp.after.max.ms": 0}', '{"message.timestamp.after.max.ms": -1}', '{"message.timestamp.after.max.ms": null}',
	'{"message.timestamp.before.max.ms": 0}', '{"message.timestamp.before.max.ms": -1}', '{"message.timestamp.before.max.ms": null}',
	'{"min.cleanable.dirty.ratio": 0}', '{"min.cleanable.dirty.ratio": 1}', '{"min.cleanable.dirty.ratio": 0.25}',
	'{"min.cleanable.dirty.ratio": "0.75"}', '{"min.cleanable.dirty.ratio": 1.01}', '{"min.cleanable.dirty.ratio": -0.1}',
	'{"min.cleanable.dirty.ratio": "NaN"}', '{"min.cleanable.dirty.ratio": "half"}', '{"min.cleanable.dirty.ratio": null}',
	'{"min.compaction.lag.ms": 0}', '{"min.compaction.lag.ms": -1}', '{"min.compaction.lag.ms": null}',
	'{"retention.bytes": -1}', '{"retention.bytes": 0}', '{"retention.bytes": -2}', '{"retention.bytes": null}',
	'{"retention.ms": -1}', '{"retention.ms": 9223372036854775807}', '{"retention.ms": 9223372036854775808}',
	'{"retention.ms": -2}', '{"retention.ms": null}',
	'{"segment.bytes": 1048576}', '{"segment.bytes": 2147483647}', '{"segment.bytes": 1048575}',
	'{"segment.bytes": 2147483648}', '{"segment.bytes": null}',
	'{"segment.ms": 1}', '{"segment.ms": 0}', '{"segment.ms": null}'
]) WITH ORDINALITY AS u(c, n) ORDER BY n;

-- spellings of numbers
SELECT c || E'\n' || try_config(c) FROM unnest(ARRAY[
	'{"retention.ms": "1000"}', '{"retention.ms": 1e3}', '{"retention.ms": 1.5}', '{"retention.ms": "1s"}',
	'{"retention.ms": ""}', '{"retention.ms": true}', '{"retention.ms": {"a": 1}}', '{"retention.ms": [1000]}',
	'{"retention.ms": null}'
]) WITH ORDINALITY AS u(c, n) ORDER BY n;

-- several at once: all or none; null takes back; limits of one against another
SELECT c || E'\n' || try_config(c) FROM unnest(ARRAY[
	'{"retention.ms": 5, "segment.ms": 6, "compression.type": "lz4"}', '{"retention.ms": 7, "segment.ms": 0}',
	'{"segment.ms": null, "retention.bytes": 8}', '{}', '{"min.compaction.lag.ms": 10, "max.compaction.lag.ms": 9}',
	'{"min.compaction.lag.ms": 10}', '{"max.compaction.lag.ms": 9}', '{"max.compaction.lag.ms": 10}',
	'[]', '"retention.ms"', 'null',
	'{"retention.ms": null, "retention.bytes": null, "compression.type": null, "min.compaction.lag.ms": null, "max.compaction.lag.ms": null}'
]) WITH ORDINALITY AS u(c, n) ORDER BY n;

-- Kafka's others, each with what to use instead
SELECT c || E'\n' || try_config(format('{"%s": 1}', c)) FROM unnest(ARRAY[
	'compression.gzip.level', 'compression.lz4.level', 'compression.zstd.level', 'file.delete.delay.ms',
	'flush.messages', 'flush.ms', 'follower.replication.throttled.replicas', 'index.interval.bytes',
	'internal.segment.bytes', 'leader.replication.throttled.replicas', 'local.retention.bytes',
	'local.retention.ms', 'message.downconversion.enable', 'message.format.version',
	'message.timestamp.difference.max.ms', 'min.insync.replicas', 'preallocate', 'remote.copy.lag.bytes',
	'remote.copy.lag.ms', 'remote.log.copy.disable', 'remote.log.delete.on.disable', 'remote.storage.enable',
	'segment.index.bytes', 'segment.jitter.ms', 'unclean.leader.election.enable'
]) WITH ORDINALITY AS u(c, n) ORDER BY n;

-- unknown ones, and what is near
SELECT c || E'\n' || try_config(format('{"%s": 1}', c)) FROM unnest(ARRAY[
	'retention_ms', 'retention.msec', 'Retention.ms', 'log.retention.ms', 'compression', 'max.messages.bytes',
	'cleanup.policies', 'colour', '', repeat('retention.ms', 30)
]) WITH ORDINALITY AS u(c, n) ORDER BY n;
SELECT try_config('{"retention.ms": 1, "colour": "red"}');
SELECT try_config('{}');

\pset tuples_only off
\pset format aligned
SELECT eventlog.create_topic('bad', config => '{"retention.ms": "soon"}');
SELECT eventlog.create_topic('bad', config => '{"retention_ms": 1}');
SELECT eventlog.create_topic('bad', config => '[]');
SELECT eventlog.create_topic('defaults', config => '{"retention.ms": null}');
SELECT config FROM eventlog.topics WHERE topic = 'defaults';
SELECT eventlog.drop_topic('defaults');
SELECT eventlog.alter_topic(NULL, '{}');
SELECT eventlog.alter_topic('orders', NULL);
SELECT eventlog.alter_topic('nothing', '{}');
SELECT eventlog.alter_topic('ORDERS', '{}');
SELECT eventlog.alter_topic(repeat('x', 300), '{}');
DROP FUNCTION try_config;

--
-- add_partitions
--
SELECT eventlog.add_partitions('orders', 3);
SELECT relname, bound FROM topic_tables WHERE relname LIKE 'orders:%' ORDER BY relname COLLATE "C";
\d topics."orders:2"
CREATE TABLE "plain:2" PARTITION OF plain (partition DEFAULT 2) FOR VALUES IN (2) USING heap;
CREATE TABLE "plain:3" PARTITION OF plain (partition DEFAULT 3) FOR VALUES IN (3) USING heap;
SELECT described('plain', '"plain:2"') EXCEPT ALL SELECT described('topics.orders', 'topics."orders:2"');
SELECT described('topics.orders', 'topics."orders:2"') EXCEPT ALL SELECT described('plain', '"plain:2"');
SELECT eventlog.add_partitions('orders', 3);
SELECT eventlog.add_partitions('orders', 2);
SELECT eventlog.add_partitions('orders', 0);
SELECT eventlog.add_partitions('orders', 10001);
SELECT eventlog.add_partitions('orders', NULL);
SELECT eventlog.add_partitions(NULL, 5);
SELECT eventlog.add_partitions('nothing', 5);

-- triggers of the topic are on the new partitions, too
CREATE FUNCTION topics_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER before_row BEFORE INSERT ON topics.orders FOR EACH ROW EXECUTE FUNCTION topics_trigger();
CREATE TRIGGER after_row AFTER INSERT ON topics.orders FOR EACH ROW EXECUTE FUNCTION topics_trigger();
SELECT eventlog.add_partitions('orders', 4);
SELECT described('plain', '"plain:3"') EXCEPT ALL SELECT described('topics.orders', 'topics."orders:3"');
SELECT described('topics.orders', 'topics."orders:3"') EXCEPT ALL SELECT described('plain', '"plain:3"');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'topics."orders:3"'::regclass ORDER BY 1;
ALTER TABLE topics.orders DISABLE TRIGGER after_row;
DROP TRIGGER before_row ON topics.orders;
DROP TRIGGER after_row ON topics.orders;
DROP FUNCTION described;
DROP TABLE plain;

--
-- privileges
--
SET ROLE topics_owner;
SELECT eventlog.create_topic('mine');
SELECT eventlog.create_topic('mine', 2, schema_name => 'topics_test');
SELECT eventlog.alter_topic('orders', '{"retention.ms": 1}');
SELECT eventlog.add_partitions('orders', 7);
SELECT eventlog.drop_topic('orders');
SELECT topic, owner FROM eventlog.topics ORDER BY topic;
SELECT * FROM eventlog.topic;
UPDATE eventlog.topic SET name = 'theirs';
SELECT eventlog.topic_changed();
GRANT SELECT ON topics_test.mine TO topics_reader;
SET ROLE topics_other;
SELECT topic FROM eventlog.topics ORDER BY topic;
SELECT eventlog.alter_topic('mine', '{"retention.ms": 1}');
SELECT eventlog.add_partitions('mine', 7);
SELECT eventlog.drop_topic('mine');
ALTER TABLE topics_test.mine RENAME TO theirs;
ALTER TABLE topics_test.mine SET SCHEMA topics;
DROP TABLE topics_test.mine;
SET ROLE topics_reader;
SELECT topic FROM eventlog.topics ORDER BY topic;
SELECT eventlog.alter_topic('mine', '{"retention.ms": 1}');
RESET ROLE;
GRANT pg_monitor TO topics_other;
SET ROLE topics_other;
SELECT topic FROM eventlog.topics ORDER BY topic;
SELECT eventlog.alter_topic('mine', '{"retention.ms": 1}');
RESET ROLE;
REVOKE pg_monitor FROM topics_other;

-- partitions that somebody else adds belong to the topic's owner
SELECT eventlog.add_partitions('mine', 3);
SELECT DISTINCT owner FROM topic_tables WHERE relname LIKE 'mine%';
SET ROLE topics_owner;
SELECT eventlog.alter_topic('mine', '{"retention.ms": 1}');
ALTER TABLE topics_test.mine RENAME TO still_mine;
SELECT eventlog.drop_topic('still_mine');
RESET ROLE;

--
-- plain DDL that a topic follows
--
ALTER TABLE topics.orders RENAME TO "purchase-orders";
SELECT topic, relation, partitions FROM eventlog.topics WHERE relation = 'topics."purchase-orders"'::regclass;
SELECT relname FROM topic_tables WHERE relname LIKE 'purchase%' ORDER BY relname COLLATE "C";
SELECT eventlog.alter_topic('orders', '{}');
SELECT eventlog.alter_topic('purchase-orders', '{}');
ALTER TABLE topics."purchase-orders" RENAME TO "not a topic";
ALTER TABLE topics."purchase-orders" RENAME TO "orders_v2";
ALTER TABLE topics."purchase-orders" RENAME TO "purchase-orders";
ALTER TABLE topics."purchase-orders" RENAME TO "purchase_orders";
ALTER TABLE topics."purchase_orders" RENAME TO "by-name";
ALTER TABLE topics."purchase_orders" RENAME TO "orders.v2";
ALTER TABLE IF EXISTS topics.nothing RENAME TO something;
ALTER INDEX topics."purchase_orders" RENAME TO orders;
SELECT topic, relation FROM eventlog.topics ORDER BY topic;
BEGIN;
ALTER TABLE topics.orders RENAME TO never;
SELECT eventlog.alter_topic('never', '{}');
ROLLBACK;
SELECT eventlog.alter_topic('never', '{}');
SELECT eventlog.alter_topic('orders', '{}');

-- to a name whose table's has to be shortened, and back from one
ALTER TABLE topics.orders RENAME TO oooooooooooooooooooooooooooooooooooooooooooooooooooooooooooo;
SELECT topic, relation FROM eventlog.topics WHERE topic LIKE 'ooo%';
SELECT eventlog.alter_topic('oooooooooooooooooooooooooooooooooooooooooooooooooooooooooooo', '{}');
SELECT format('ALTER TABLE %s RENAME TO orders', relation) FROM eventlog.topics WHERE topic LIKE 'ooo%' \gexec
SELECT relname FROM topic_tables WHERE relname LIKE 'o%' ORDER BY relname COLLATE "C";

-- a function that renames, and one that finds the name
CREATE FUNCTION rename_by_function() RETURNS name LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventlog.alter_topic('orders', '{}');
	ALTER TABLE topics.orders RENAME TO renamed;
	PERFORM eventlog.alter_topic('renamed', '{}');
	ALTER TABLE topics.renamed RENAME TO orders;
	RETURN 'topics.orders'::regclass;
END
$$;
SELECT rename_by_function();
SELECT rename_by_function();
DROP FUNCTION rename_by_function;

ALTER TABLE topics.orders SET SCHEMA topics_test;
SELECT schema, relname FROM topic_tables WHERE relname LIKE 'orders%' ORDER BY relname COLLATE "C";
SELECT eventlog.add_partitions('orders', 5);
SELECT schema, relname FROM topic_tables WHERE relname LIKE 'orders:4';
ALTER TABLE topics_test.orders SET SCHEMA topics;
CREATE TABLE topics_test."orders:2" (a int);
ALTER TABLE topics.orders SET SCHEMA topics_test;
DROP TABLE topics_test."orders:2";

ALTER TABLE topics.orders OWNER TO topics_owner;
SELECT DISTINCT owner FROM topic_tables WHERE relname LIKE 'orders:%' OR relname = 'orders';
ALTER TABLE topics."orders:1" OWNER TO topics_owner;
ALTER TABLE topics."orders:1" OWNER TO topics_other;
REASSIGN OWNED BY topics_owner TO CURRENT_USER;
SELECT DISTINCT owner FROM topic_tables WHERE relname LIKE 'orders:%' OR relname = 'orders';

GRANT SELECT, INSERT ON topics.orders TO topics_reader;
REVOKE ALL ON topics.orders FROM topics_reader;
COMMENT ON TABLE topics.orders IS 'all orders';
ALTER TABLE topics.orders ALTER key SET STATISTICS 100;
ALTER TABLE topics."orders:1" SET (autovacuum_enabled = off);
ALTER TABLE topics."orders:1" RESET (autovacuum_enabled);
ALTER TABLE topics.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE topics.orders DISABLE ROW LEVEL SECURITY;
ALTER TABLE topics.orders SET TABLESPACE pg_default;
CREATE VIEW seen AS SELECT * FROM topics.orders;
TRUNCATE topics.orders;
TRUNCATE topics."orders:1";
VACUUM topics.orders;
ANALYZE topics.orders;
LOCK topics.orders IN SHARE MODE;
BEGIN; LOCK topics.orders; COMMIT;

--
-- plain DDL that is refused
--
ALTER TABLE topics.orders ADD COLUMN extra text;
ALTER TABLE topics.orders DROP COLUMN headers;
ALTER TABLE topics.orders ALTER COLUMN value TYPE jsonb;
ALTER TABLE topics.orders ALTER COLUMN value SET DEFAULT '{}';
ALTER TABLE topics.orders ALTER COLUMN value SET NOT NULL;
ALTER TABLE topics.orders ALTER COLUMN value DROP NOT NULL;
ALTER TABLE topics.orders ALTER COLUMN value SET STORAGE external;
ALTER TABLE topics.orders ALTER COLUMN value SET COMPRESSION pglz;
ALTER TABLE topics.orders ALTER COLUMN record_offset ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE topics.orders ADD CHECK (key IS NOT NULL);
ALTER TABLE topics.orders ADD PRIMARY KEY (partition, record_offset);
ALTER TABLE topics.orders ADD UNIQUE (key);
ALTER TABLE topics.orders SET LOGGED;
ALTER TABLE topics.orders SET UNLOGGED;
ALTER TABLE topics.orders SET ACCESS METHOD heap;
ALTER TABLE topics.orders INHERIT seen;
ALTER TABLE topics.orders OF eventlog.record;
ALTER TABLE topics.orders REPLICA IDENTITY FULL;
ALTER TABLE topics.orders SET WITHOUT CLUSTER;
ALTER TABLE topics.orders CLUSTER ON orders_pkey;
ALTER TABLE topics.orders ATTACH PARTITION topics_test."orders.v2:0" FOR VALUES IN (7);
ALTER TABLE topics.orders DETACH PARTITION topics."orders:1";
ALTER TABLE topics.orders DETACH PARTITION topics."orders:1" CONCURRENTLY;
ALTER TABLE topics."orders:1" ADD COLUMN extra text;
ALTER TABLE topics."orders:1" ALTER COLUMN partition SET DEFAULT 2;
ALTER TABLE topics."orders:1" ADD CHECK (key IS NOT NULL);
ALTER TABLE topics."orders:1" SET UNLOGGED;
ALTER TABLE topics."orders:1" SET ACCESS METHOD heap;
ALTER TABLE topics."orders:1" NO INHERIT topics.orders;
ALTER TABLE topics."orders:1" RENAME TO other;
ALTER TABLE topics."orders:1" SET SCHEMA topics_test;
ALTER TABLE topics.orders RENAME COLUMN value TO payload;
ALTER TABLE topics."orders:1" RENAME value TO payload;
DROP TABLE topics."orders:1";
DROP TABLE topics."orders:1" CASCADE;
CREATE TABLE extra PARTITION OF topics.orders FOR VALUES IN (7);
CREATE TABLE extra PARTITION OF topics.orders DEFAULT;
CREATE TABLE extra () INHERITS (topics.orders);
CREATE FOREIGN TABLE extra PARTITION OF topics.orders FOR VALUES IN (7) SERVER nowhere;
CREATE INDEX ON topics.orders (record_offset);
CREATE INDEX ON topics.orders (partition);
CREATE INDEX ON topics.orders ("timestamp");
CREATE INDEX ON topics.orders (key, record_offset);
CREATE INDEX ON topics.orders (key) INCLUDE (record_offset);
CREATE INDEX ON topics.orders (key) WHERE record_offset > 5;
CREATE INDEX ON topics.orders ((record_offset / 100));
CREATE INDEX ON topics.orders ((orders.*::text));
CREATE INDEX ON topics.orders (eventlog.header(headers, 'id'));
CREATE UNIQUE INDEX ON topics.orders (key);
CREATE INDEX ON topics.orders USING gin (key);
CREATE INDEX ON topics.orders USING brin (key);
CREATE INDEX ON topics."orders:1" (record_offset);
CLUSTER topics.orders;
CLUSTER topics."orders:1" USING orders_pkey;
VACUUM FULL topics.orders;
VACUUM (FULL true) topics."orders:1";
VACUUM (FULL false) topics."orders:1";
CREATE PUBLICATION topics_pub FOR TABLE topics.orders;
CREATE PUBLICATION topics_pub FOR TABLE topics_test, topics."orders:1";
SET client_min_messages = error;
CREATE PUBLICATION topics_pub;
SET client_min_messages = warning;
ALTER PUBLICATION topics_pub ADD TABLE topics.orders;
ALTER PUBLICATION topics_pub SET TABLE topics.orders;
ALTER PUBLICATION topics_pub DROP TABLE topics.orders;
DROP PUBLICATION topics_pub;

-- storage of our own for other tables
CREATE TABLE other (a int) USING eventlog;
CREATE TEMP TABLE other (a int) USING eventlog;
CREATE UNLOGGED TABLE other (LIKE topics.orders) USING eventlog;
CREATE TABLE other USING eventlog AS SELECT 1;
CREATE MATERIALIZED VIEW other USING eventlog AS SELECT 1;
CREATE TABLE other (LIKE topics.orders, CHECK (key IS NOT NULL)) USING eventlog;
CREATE TABLE other (partition int NOT NULL, record_offset bigint, "timestamp" timestamptz,
	key text, value json, headers eventlog.header[]) USING eventlog;
CREATE TABLE other (partition int, record_offset bigint GENERATED ALWAYS AS IDENTITY, "timestamp" timestamptz,
	key text, value json, headers eventlog.header[]) USING eventlog;
CREATE TABLE other (partition int, record_offset bigint, "timestamp" timestamptz,
	key text, value json, headers text) USING eventlog;
CREATE TABLE other (a int);
ALTER TABLE other SET ACCESS METHOD eventlog;
DROP TABLE other;
BEGIN;
SET LOCAL default_table_access_method = eventlog;
SAVEPOINT s;
CREATE TABLE other (a int);
ROLLBACK TO s;
CREATE TABLE other AS SELECT 1;
ROLLBACK TO s;
-- which is how a dump makes leaves
CREATE TABLE other (LIKE topics.orders);
ROLLBACK;

--
-- dropping
--
SELECT eventlog.drop_topic('orders');
DROP TABLE topics.orders;
DROP VIEW seen;
BEGIN;
DROP TABLE topics.orders;
SELECT topic FROM eventlog.topics WHERE topic = 'orders';
SELECT eventlog.create_topic('orders', 9);
SELECT topic, partitions FROM eventlog.topics WHERE topic = 'orders';
ROLLBACK;
SELECT topic, partitions FROM eventlog.topics WHERE topic = 'orders';
BEGIN;
DROP TABLE topics."orders:1", topics.orders;
ROLLBACK;
SELECT eventlog.drop_topic('orders');
SELECT eventlog.drop_topic('orders');
SELECT eventlog.drop_topic(NULL);
DROP TABLE topics."by-name";
SELECT topic FROM eventlog.topics ORDER BY topic;
DROP SCHEMA topics_test CASCADE;
SELECT topic FROM eventlog.topics ORDER BY topic;
SELECT count(*) FROM eventlog.topic;
SELECT count(*) FROM pg_class WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'eventlog');

-- a thousand partitions, a thousand topics
SELECT eventlog.create_topic('wide', 1000);
SELECT partitions FROM eventlog.topics WHERE topic = 'wide';
SELECT count(*), count(DISTINCT bound) FROM topic_tables WHERE relname LIKE 'wide:%';
SELECT eventlog.drop_topic('wide');
DO $$ BEGIN FOR i IN 1..1000 LOOP PERFORM eventlog.create_topic('many' || i); COMMIT; END LOOP; END $$;
SELECT count(*), sum(partitions) FROM eventlog.topics;
DO $$ BEGIN FOR i IN 1..1000 LOOP PERFORM eventlog.drop_topic('many' || i); COMMIT; END LOOP; END $$;
SELECT count(*) FROM eventlog.topics;

--
-- headers
--
SELECT eventlog.headers();
SELECT eventlog.headers('a', 'one', 'b', 'zwei ü', 'a', NULL, '', '');
SELECT eventlog.headers('a');
SELECT eventlog.headers(NULL, 'x');
SELECT eventlog.headers(VARIADIC ARRAY[]::text[]);
SELECT eventlog.headers(VARIADIC NULL::text[]) IS NULL;
SELECT h.* FROM unnest('{"s": "text", "n": 1.50, "t": true, "z": null, "o": {"a": [1]}, "e": ""}'::jsonb::eventlog.header[]) h;
SELECT eventlog.headers('{}'::jsonb);
SELECT eventlog.headers('[1]'::jsonb);
SELECT eventlog.headers('"a"'::jsonb);
SELECT convert_from(eventlog.header(eventlog.headers('a', 'one', 'b', 'two', 'a', 'three'), 'a'), 'UTF8');
SELECT eventlog.header(eventlog.headers('a', 'one', 'a', NULL), 'a') IS NULL;
SELECT eventlog.header(eventlog.headers('a', 'one'), 'A') IS NULL;
SELECT eventlog.header('{"a": "x"}'::jsonb, 'a');
SELECT eventlog.header(ARRAY[NULL, ROW(NULL, 'x')::eventlog.header, ROW('a', 'y')::eventlog.header, NULL], 'a');
SELECT eventlog.header(NULL, 'a') IS NULL;

--
-- indexes on keys and values
--
SELECT eventlog.create_topic('indexed', 2, value_type => 'jsonb');
CREATE INDEX ON topics.indexed (key);
CREATE INDEX ON topics.indexed USING hash (value);
CREATE INDEX ON topics.indexed ((value ->> 'id')) INCLUDE (key) WHERE key IS NOT NULL;
CREATE INDEX indexed_key_all ON topics.indexed (key);
ALTER INDEX topics.indexed_key_all RENAME TO indexed_key_2;
SELECT eventlog.add_partitions('indexed', 3);
SELECT indexdef FROM pg_indexes WHERE tablename = 'indexed:2' ORDER BY 1;
DROP INDEX topics.indexed_key_2;
SELECT eventlog.drop_topic('indexed');

--
-- the extension's own: no parameter or column is named by a reserved word,
-- and everything has a comment
--
SELECT p.oid::regprocedure, a AS reserved
FROM pg_proc p, unnest(p.proargnames) a, pg_get_keywords() k
WHERE p.pronamespace = 'eventlog'::regnamespace AND k.word = a AND k.catcode IN ('R', 'T');
SELECT c.oid::regclass, a.attname AS reserved
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0, pg_get_keywords() k
WHERE c.relnamespace = 'eventlog'::regnamespace AND c.relkind IN ('r', 'v', 'c')
	AND k.word = a.attname AND k.catcode IN ('R', 'T');
SELECT p.oid::regprocedure AS uncommented FROM pg_proc p
WHERE p.pronamespace = 'eventlog'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass AS uncommented FROM pg_class c
WHERE c.relnamespace = 'eventlog'::regnamespace AND c.relkind IN ('r', 'v')
	AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT t.oid::regtype AS uncommented FROM pg_type t
WHERE t.typnamespace = 'eventlog'::regnamespace AND t.typtype = 'c' AND obj_description(t.oid, 'pg_type') IS NULL
	AND (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c';
SELECT c.oid::regclass, a.attname AS uncommented
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.oid IN ('eventlog.topic'::regclass, 'eventlog.topics'::regclass)
	AND col_description(c.oid, a.attnum) IS NULL;

-- nothing for PUBLIC but functions that check for themselves, types and views
SELECT c.oid::regclass, c.relacl FROM pg_class c
WHERE c.relnamespace = 'eventlog'::regnamespace AND c.relkind NOT IN ('v', 'c', 'i')
	AND array_to_string(c.relacl, ' ') ~ '(^| )=';

DROP VIEW topic_tables;
DROP FUNCTION topics_trigger;
DROP ROLE topics_owner, topics_other, topics_reader;
