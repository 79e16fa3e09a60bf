--
-- Mirrors: options of Kafka servers, secrets, rights, configurations.  No
-- broker is needed: mirrors are paused as soon as they are made.
--
\set VERBOSITY default
SET client_min_messages = warning;
CREATE ROLE mirror_admin;
CREATE ROLE mirror_user;
CREATE ROLE mirror_other;
GRANT CREATE ON DATABASE :DBNAME TO mirror_admin;
CREATE SCHEMA mirror_test AUTHORIZATION mirror_admin;
GRANT USAGE ON SCHEMA mirror_test TO mirror_user;

-- What may reach the network is for a role made for it.
SET ROLE mirror_admin;
CREATE SERVER kafka FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" 'localhost:1');
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER eventlog_kafka TO mirror_admin;
SET ROLE mirror_admin;
CREATE SERVER kafka FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" 'localhost:1',
	"security.protocol" 'SASL_PLAINTEXT', "sasl.mechanism" 'SCRAM-SHA-256', "linger.ms" '2');

-- Refused by name: unknown, ill-typed, out of range, dangerous, ours, others'.
ALTER SERVER kafka OPTIONS (ADD "no.such.option" '1');
ALTER SERVER kafka OPTIONS (ADD "socket.timeout.ms" 'soon');
ALTER SERVER kafka OPTIONS (ADD "socket.timeout.ms" '5');
ALTER SERVER kafka OPTIONS (ADD "socket.keepalive.enable" 'yes');
ALTER SERVER kafka OPTIONS (SET "security.protocol" 'telnet');
ALTER SERVER kafka OPTIONS (SET "sasl.mechanism" 'GSSAPI');
ALTER SERVER kafka OPTIONS (SET "sasl.mechanism" 'OAUTHBEARER');
ALTER SERVER kafka OPTIONS (SET "bootstrap.servers" 'localhost:1; rm -rf /');
ALTER SERVER kafka OPTIONS (ADD "client.id" E'a\nb');
ALTER SERVER kafka OPTIONS (ADD "sasl.kerberos.kinit.cmd" 'touch /tmp/x');
ALTER SERVER kafka OPTIONS (ADD "plugin.library.paths" '/tmp/x.so');
ALTER SERVER kafka OPTIONS (ADD "ssl.engine.location" '/tmp/x.so');
ALTER SERVER kafka OPTIONS (ADD "ssl.providers" 'legacy');
ALTER SERVER kafka OPTIONS (ADD "sasl.oauthbearer.token.endpoint.url" 'http://localhost');
ALTER SERVER kafka OPTIONS (ADD "debug" 'security');
ALTER SERVER kafka OPTIONS (ADD "transactional.id" 'x');
ALTER SERVER kafka OPTIONS (ADD "group.id" 'x');
ALTER SERVER kafka OPTIONS (ADD "isolation.level" 'read_uncommitted');
ALTER SERVER kafka OPTIONS (ADD "allow.auto.create.topics" 'true');
ALTER SERVER kafka OPTIONS (ADD "schema.registry.url" 'http://localhost:8081');
ALTER SERVER kafka OPTIONS (ADD "ssl.truststore.location" '/x');
ALTER SERVER kafka OPTIONS (DROP "bootstrap.servers");
CREATE FOREIGN TABLE mirror_test.ft (x int) SERVER kafka;
ALTER FOREIGN DATA WRAPPER eventlog_kafka OPTIONS (ADD x '1');

-- Secrets belong to user mappings, and no message has them.
ALTER SERVER kafka OPTIONS (ADD "sasl.password" 'hush');
ALTER SERVER kafka OPTIONS (ADD "sasl.username" 'alice');
ALTER SERVER kafka OPTIONS (ADD "ssl.key.pem" 'hush');
CREATE USER MAPPING FOR mirror_user SERVER kafka OPTIONS ("ssl.key.pem" 'hush');
CREATE USER MAPPING FOR mirror_user SERVER kafka OPTIONS ("sasl.password" E'hush\x01');
CREATE USER MAPPING FOR mirror_user SERVER kafka OPTIONS ("bootstrap.servers" 'localhost:2');
CREATE USER MAPPING FOR mirror_user SERVER kafka OPTIONS ("sasl.username" 'alice', "sasl.password" 'hush');
SELECT bool_and(allowed_in = ARRAY['user mapping'] OR allowed_in = '{}') AS only_there
FROM eventlog.kafka_options() WHERE secret;

-- Files are for those who may read them, and must be named in full.
ALTER SERVER kafka OPTIONS (ADD "ssl.ca.location" '/etc/ssl/ca.pem');
RESET ROLE;
GRANT pg_read_server_files TO mirror_admin;
SET ROLE mirror_admin;
ALTER SERVER kafka OPTIONS (ADD "ssl.ca.location" 'ca.pem');
ALTER SERVER kafka OPTIONS (ADD "ssl.ca.location" '/etc/ssl/ca.pem');
RESET ROLE;
SELECT srvname, srvoptions FROM pg_foreign_server WHERE srvname = 'kafka';

-- Whoever mirrors needs USAGE on the server, and rights on the topic.
SET ROLE mirror_admin;
SELECT eventlog.create_topic('mirror.a', 2, schema_name => 'mirror_test');
SET ROLE mirror_user;
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a');
SET ROLE mirror_admin;
GRANT USAGE ON FOREIGN SERVER kafka TO mirror_user;
SET ROLE mirror_user;
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a');
SET ROLE mirror_admin;
GRANT SELECT ON mirror_test."mirror.a" TO mirror_user;
SET ROLE mirror_user;
SELECT eventlog.create_mirror('m', 'kafka', 'in', 'mirror.a', 'k');

-- Files named in options, and the wrapper, are checked for the owner again.
RESET ROLE;
REVOKE pg_read_server_files FROM mirror_admin;
SET ROLE mirror_user;
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a');
RESET ROLE;
ALTER SERVER kafka OPTIONS (DROP "ssl.ca.location");
REVOKE USAGE ON FOREIGN DATA WRAPPER eventlog_kafka FROM mirror_admin;
SET ROLE mirror_user;
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a');
SELECT eventlog.kafka_check('kafka');
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER eventlog_kafka TO mirror_admin;

-- What create_mirror() refuses.
SET ROLE mirror_user;
SELECT eventlog.create_mirror('m', 'nowhere', 'out', 'mirror.a');
SELECT eventlog.create_mirror('m', 'kafka', 'up', 'mirror.a');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'no.such.topic');
SELECT eventlog.create_mirror('m', 'kafka', 'in', 'no.such.topic');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', 'a/b');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', '^a');
SELECT eventlog.create_mirror('m', 'kafka', 'out', '^(', 'x');
SELECT eventlog.create_mirror('', 'kafka', 'out', 'mirror.a');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '[]');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"no.such.key": 1}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"repartition": "maybe"}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"start": "sometime"}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"start": {"0": -5}}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"transaction.max.records": 0}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"topic.schema": "x"}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"bootstrap.servers": "x"}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"sasl.password": "hush"}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"compression.type": "zip"}');
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', config => '{"value.converter": "AvroConverter"}');
SELECT eventlog.create_mirror('m', 'kafka', 'in', 'x', config => '{"create.topic": true, "topic.creation.default.retention.ms": "soon"}');

-- A mirror: its configuration as it is kept, and what others can see.
BEGIN;
SET LOCAL TimeZone = 'Asia/Tokyo';
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', 'pg.a',
	'{"start": "2026-01-01 09:00", "compression.type": "lz4", "transaction.max.records": 1000, "repartition": null}');
SELECT eventlog.pause_mirror('m');
COMMIT;
SELECT name, server, direction, topic, kafka_topic, state, config, owner FROM eventlog.mirrors;
SELECT eventlog.create_mirror('m', 'kafka', 'out', 'mirror.a', 'x');
SELECT eventlog.create_mirror('m2', 'kafka', 'out', 'mirror.a', 'pg.a');
SELECT eventlog.alter_mirror('m', '{"start": {"0": 10, "1": 20}, "compression.type": null}');
SELECT eventlog.alter_mirror('m', '{"linger.ms": -1}');
SELECT config FROM eventlog.mirrors;
SELECT * FROM eventlog.mirror_offsets('m');
SELECT * FROM eventlog.mirror_offsets('m', record_offset => 1, kafka_offset => 1);
SET ROLE mirror_other;
SELECT count(*) FROM eventlog.mirrors;
SELECT eventlog.alter_mirror('m', '{}');
SELECT eventlog.pause_mirror('m');
SELECT eventlog.resume_mirror('m');
SELECT eventlog.drop_mirror('m');
SELECT * FROM eventlog.mirror_offsets('m');
SELECT * FROM eventlog.mirror_group('m', 'g', 'kafka');
SELECT name FROM eventlog.mirror;
SELECT eventlog.drop_mirror('nobody');

-- Loops: the other way between the same topics, by name or by pattern, be it by
-- another server for the same cluster.
RESET ROLE;
ALTER TABLE mirror_test."mirror.a" OWNER TO mirror_user;
CREATE SERVER kafka2 FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" 'elsewhere, SSL://LOCALHOST:1');
CREATE SERVER kafka3 FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" 'localhost:3');
GRANT USAGE ON FOREIGN SERVER kafka2, kafka3 TO mirror_user;
SET ROLE mirror_user;
SELECT eventlog.create_mirror('back', 'kafka', 'in', 'mirror.a', 'pg.a');
SELECT eventlog.create_mirror('back', 'kafka2', 'in', 'mirror.a', 'pg.a');
SELECT eventlog.create_mirror('back', 'kafka', 'in', 'mirror.\1', '^pg\.(.*)$');
BEGIN;
SELECT eventlog.create_mirror('back', 'kafka', 'in', 'mirror.a', 'pg.b');
SELECT eventlog.create_mirror('far', 'kafka3', 'in', 'mirror.a', 'pg.a');
SELECT eventlog.create_mirror('many', 'kafka', 'in', 'from_\1', '^pg\.(.*)$', '{"create.topic": true, "topics.exclude": "tmp"}');
ROLLBACK;

-- A mirror that is diverged wants to know from where to go on.
RESET ROLE;
UPDATE eventlog.mirror SET stopped = 'diverged: Kafka has what this server has lost';
SET ROLE mirror_user;
SELECT state, last_error FROM eventlog.mirrors;
SELECT eventlog.resume_mirror('m');
SELECT eventlog.resume_mirror('m', 'somewhere');
BEGIN;
SELECT eventlog.resume_mirror('m', '{"0": 7}');
SELECT eventlog.pause_mirror('m');
COMMIT;
RESET ROLE;
SELECT paused, stopped, restart FROM eventlog.mirror;

-- In a copy it waits for its adoption.
UPDATE eventlog.mirror SET system_identifier = 1, paused = false;
SELECT state FROM eventlog.mirrors;
SELECT eventlog.drop_mirror('m');
SELECT count(*) FROM eventlog.mirrors;

DROP SERVER kafka, kafka2, kafka3 CASCADE;
SELECT eventlog.drop_topic('mirror.a');
REVOKE CREATE ON DATABASE :DBNAME FROM mirror_admin;
REVOKE USAGE ON FOREIGN DATA WRAPPER eventlog_kafka FROM mirror_admin;
DROP SCHEMA mirror_test;
DROP ROLE mirror_admin, mirror_user, mirror_other;
