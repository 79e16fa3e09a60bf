--
-- Mirrors and what they hang on: servers, roles, topics of others, the
-- extension, transactions.  No broker is needed: mirrors are paused as soon as
-- they are made.
--
\set VERBOSITY default
SET client_min_messages = warning;
CREATE ROLE mirror_admin;
CREATE ROLE mirror_user;
CREATE ROLE mirror_heir;
GRANT CREATE ON DATABASE :DBNAME TO mirror_admin;
CREATE SCHEMA mirror_objects;
GRANT CREATE, USAGE ON SCHEMA mirror_objects TO mirror_user, mirror_admin;
GRANT USAGE ON FOREIGN DATA WRAPPER eventlog_kafka TO mirror_admin;
SET ROLE mirror_admin;
CREATE SERVER kafka FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
CREATE SERVER unused FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
GRANT USAGE ON FOREIGN SERVER kafka TO mirror_user;
SET ROLE mirror_user;
SELECT eventlog.create_topic('mirror.objects', 1, schema_name => 'mirror_objects');
BEGIN;
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.objects');
SELECT eventlog.pause_mirror('m');
COMMIT;

-- A server that is used stays, under whatever name.
SET ROLE mirror_admin;
DROP SERVER kafka;
DROP SERVER kafka CASCADE;
DROP SERVER unused;
ALTER SERVER kafka RENAME TO cluster;
RESET ROLE;
DROP OWNED BY mirror_admin;
SELECT name, server, state FROM eventlog.mirrors;
SET ROLE mirror_user;
SELECT eventlog.alter_mirror('m', '{"linger.ms": 1}');
SELECT eventlog.create_mirror('n', 'kafka', 'out', 'mirror.objects', 'n');

-- So does a role that has mirrors, unless they go with it.
RESET ROLE;
DROP ROLE mirror_user;
REASSIGN OWNED BY mirror_user TO mirror_heir;
SELECT name, owner FROM eventlog.mirrors;
DROP ROLE mirror_heir;
REASSIGN OWNED BY mirror_heir TO mirror_user;
SET ROLE mirror_heir;
\set VERBOSITY terse
DROP OWNED BY mirror_user;
\set VERBOSITY default
RESET ROLE;
SELECT name, owner FROM eventlog.mirrors;
BEGIN;
DROP OWNED BY mirror_user;
SELECT count(*) FROM eventlog.mirrors;
ROLLBACK;

-- The extension.
BEGIN;
DROP EXTENSION pg_eventlog CASCADE;
ROLLBACK;

-- A configuration that cannot be read any more is not in the way.
UPDATE eventlog.mirror SET config = '{"was.known.once": 1}';
SELECT name, config FROM eventlog.mirrors;
SELECT * FROM eventlog.mirror_offsets('m');
SELECT eventlog.alter_mirror('m', '{"linger.ms": 1}');
SELECT eventlog.pause_mirror('m');
BEGIN;
SELECT eventlog.drop_mirror('m');
SELECT count(*) FROM eventlog.mirrors;
ROLLBACK;
SELECT eventlog.alter_mirror('m', '{"was.known.once": null}');
SELECT name, config FROM eventlog.mirrors;

-- Topics of others, whose triggers would run in the name of the mirror's owner.
SET ROLE mirror_admin;
SELECT eventlog.create_topic('mirror.stranger', 1, schema_name => 'mirror_objects');
GRANT INSERT ON mirror_objects."mirror.stranger" TO PUBLIC;
SET ROLE mirror_user;
SELECT eventlog.create_mirror('n', 'cluster', 'in', 'mirror.stranger', 'n');
RESET ROLE;
\set VERBOSITY terse
SELECT eventlog.create_mirror('n', 'cluster', 'in', 'mirror.stranger', 'n');
\set VERBOSITY default
GRANT mirror_admin TO mirror_user;
BEGIN;
SET LOCAL ROLE mirror_user;
SELECT eventlog.create_mirror('n', 'cluster', 'in', 'mirror.stranger', 'n');
ROLLBACK;

-- Transactions.
SET ROLE mirror_user;
BEGIN;
SELECT eventlog.create_mirror('n', 'cluster', 'out', 'mirror.objects', 'n');
PREPARE TRANSACTION 'mirror';
BEGIN;
SAVEPOINT s;
SELECT eventlog.create_mirror('n', 'cluster', 'out', 'mirror.objects', 'n');
ROLLBACK TO s;
COMMIT;
BEGIN READ ONLY;
SELECT eventlog.create_mirror('n', 'cluster', 'out', 'mirror.objects', 'n');
ROLLBACK;
SELECT count(*) FROM eventlog.mirrors;

-- Names, long ones too.
SELECT eventlog.drop_mirror(repeat('x', 10000));
SELECT eventlog.create_mirror(repeat('x', 64), 'cluster', 'out', 'mirror.objects', 'n');
SELECT eventlog.create_mirror('n', 'cluster', repeat('x', 10000), 'mirror.objects', 'n');
SELECT eventlog.create_mirror('n', 'cluster', 'out', 'mirror.objects', 'n', jsonb_build_object(repeat('x', 10000), 1));
SELECT eventlog.create_mirror('n', 'cluster', 'out', 'mirror.objects', 'n', jsonb_build_object('compression.type', repeat('é', 10000)));
SELECT eventlog.create_mirror('n', 'cluster', 'out', 'mirror.objects', 'n', jsonb_build_object('client.id', repeat('x', 100000)));
SELECT eventlog.mirror_group('m', '', 'kafka');
SELECT eventlog.mirror_group('m', repeat('é', 10000), 'kafka');
SELECT eventlog.mirror_group('m', 'g', 'kafka', 'pg_eventlog-g');
SELECT eventlog.mirror_group('m', 'g', 'there');

SELECT eventlog.drop_mirror('m');

-- Options with which no client can be opened.  Each user has a mapping of his own.
RESET ROLE;
ALTER SERVER cluster OPTIONS (ADD "security.protocol" 'ssl');
SET ROLE mirror_user;
CREATE USER MAPPING FOR mirror_user SERVER cluster OPTIONS ("ssl.key.pem" '-----BEGIN PRIVATE KEY-----hush');
SELECT ok, error IS NOT NULL AS error, error ~ 'hush' AS told FROM eventlog.kafka_check('cluster');
RESET ROLE;
SELECT eventlog.drop_topic('mirror.objects');
SELECT eventlog.drop_topic('mirror.stranger');
DROP SERVER cluster CASCADE;
DROP OWNED BY mirror_admin, mirror_user;
DROP SCHEMA mirror_objects;
DROP ROLE mirror_admin, mirror_user, mirror_heir;
