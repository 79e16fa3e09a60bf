--
-- The configuration of captures: what there is, defaults, and what is refused.
-- A configuration is looked at before anything else, so that one which is good
-- gets as far as to the publication that there is not.
--
\set VERBOSITY default
SET client_min_messages = warning;

SELECT property, format, default_value, nullif(compatible_default, default_value) AS compatible
FROM eventlog.capture_properties() WHERE supported = 'yes';
SELECT property FROM eventlog.capture_properties() WHERE supported = 'ignored';

CREATE FUNCTION try(config jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
BEGIN
	PERFORM eventlog.create_capture('c', 'there_is_none', config => config);
	RETURN 'created';
EXCEPTION
	WHEN undefined_object THEN
		RETURN 'good';
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
		RETURN SQLSTATE || ' ' || message || rtrim(' ' || detail);
END $$;

-- each property that is not supported is refused by name, with a reason
SELECT property, try(jsonb_build_object(replace(property, '*', 'x'), 'x') ||
					 CASE WHEN format IS NULL THEN '{}' ELSE jsonb_build_object('format', format) END)
FROM eventlog.capture_properties() WHERE supported = 'no';

-- each property is good with its default
SELECT property, format, try
FROM eventlog.capture_properties(),
	try(jsonb_build_object(property, default_value) ||
		CASE WHEN format IS NULL THEN '{}' ELSE jsonb_build_object('format', format) END)
WHERE supported = 'yes' AND default_value IS NOT NULL AND try <> 'good';
SELECT property, format, try
FROM eventlog.capture_properties(),
	try(jsonb_build_object(property, compatible_default, 'compatibility', 'debezium') ||
		CASE WHEN format IS NULL THEN '{}' ELSE jsonb_build_object('format', format) END)
WHERE supported = 'yes' AND compatible_default IS NOT NULL AND property <> 'compatibility' AND try <> 'good';

-- and refused, by name, with what it cannot be
SELECT property, try(jsonb_build_object(property, 'zzz') ||
					 CASE WHEN format IS NULL THEN '{}' ELSE jsonb_build_object('format', format) END)
FROM eventlog.capture_properties()
WHERE supported <> 'no' AND property NOT LIKE '%*';

-- numbers and booleans need no quotes, and null is nothing
SELECT try('{"heartbeat.interval.ms": 1000, "tombstones.on.delete": false, "slot.name": null}');
SELECT try('{"heartbeat.interval.ms": -1}'), try('{"heartbeat.interval.ms": 1.5}');
SELECT try('{"tombstones.on.delete": 1}'), try('{"table.include.list": ["a", "b"]}');
SELECT try('[]'), try('1'), try('{"nothing of ours": 1}'), try('{"": 1}');

-- a connector.json, but for what the arguments say
SELECT try('{"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput",
	"tasks.max": "1", "publication.autocreate.mode": "disabled", "topic.creation.default.replication.factor": "-1"}');
SELECT try('{"connector.class": "io.debezium.connector.mysql.MySqlConnector"}');
SELECT try('{"transforms": "unwrap", "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
	"transforms.unwrap.add.fields": "op,source.ts_ms:at"}');
SELECT try('{"transforms": "outbox", "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
	"transforms.outbox.route.by.field": "kind"}');
SELECT try('{"transforms": "a", "transforms.a.type": "org.example.Other"}');
SELECT try('{"transforms": "a,b", "transforms.a.type": "x", "transforms.b.type": "y"}');
SELECT try('{"transforms": "a"}');
SELECT try('{"transforms": "a", "transforms.a.type": "io.debezium.transforms.ExtractNewRecordState", "transforms.a.b": "c"}');
SELECT try('{"transforms.a.b": "c"}');
SELECT try('{"format": "flat", "transforms": "a", "transforms.a.type": "io.debezium.transforms.ExtractNewRecordState"}');
SELECT try('{"add.fields": "op"}'), try('{"format": "flat", "add.fields": "op,nothing"}');
SELECT try('{"format": "outbox", "table.field.event.id": "x"}'), try('{"format": "flat", "table.field.event.id": "x"}');
SELECT try('{"format": "outbox", "table.fields.additional.placement": "a:header,b:envelope:c,d:partition"}');
SELECT try('{"format": "outbox", "table.fields.additional.placement": "a:nowhere"}');
SELECT try('{"format": "outbox", "value.converter.schemas.enable": true}');
SELECT try('{"format": "outbox", "value.converter.schemas.enable": true, "value.converter": "org.apache.kafka.connect.json.JsonConverter"}');

SELECT try('{"format": "outbox", "route.topic.regex": "(a)(?<b>c)", "route.topic.replacement": "$1-${b}\\$"}');
SELECT try('{"format": "outbox", "route.topic.regex": "(a)(?:c)", "route.topic.replacement": "$2"}');
SELECT try('{"format": "outbox", "route.topic.replacement": "${nothing}"}'), try('{"format": "outbox", "route.topic.replacement": "${no"}');
SELECT try('{"format": "outbox", "route.topic.regex": "(a"}');

-- lists
SELECT try('{"table.include.list": "public\\.a.*, other.b"}'), try('{"table.include.list": "a(b"}');
SELECT try('{"table.include.list": "a", "table.exclude.list": "b"}');
SELECT try('{"column.include.list": "a", "column.exclude.list": "b"}');
SELECT try('{"message.key.columns": "public.t:a,b;(.*).u:c"}'), try('{"message.key.columns": "public.t"}');
SELECT try('{"skipped.operations": "c,u , d,t,m"}'), try('{"skipped.operations": "none,c"}');
SELECT try('{"snapshot.select.statement.overrides": "public.t", "snapshot.select.statement.overrides.public.t": "SELECT 1"}');
SELECT try('{"snapshot.select.statement.overrides": "public.t"}');
SELECT try('{"snapshot.select.statement.overrides.public.t": "SELECT 1"}');

-- masks
SELECT try('{"column.mask.with.3.chars": "a", "column.truncate.to.0.chars": "b", "column.mask.hash.SHA-256.with.salt.x": "c", "column.mask.hash.v2.MD5.with.salt.a.b": "d"}');
SELECT try('{"column.mask.with.x.chars": "a"}'), try('{"column.mask.with.3.char": "a"}');
SELECT try('{"column.mask.hash.v2.SHA-3.with.salt.x": "a"}'), try('{"column.mask.hash.SHA-256": "a"}');

-- together
SELECT try('{"errors.tolerance": "all"}'), try('{"errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead"}');
SELECT try('{"errors.deadletterqueue.topic.name": "no topic"}');
SELECT try('{"notification.enabled.channels": "sink"}'), try('{"notification.enabled.channels": "sink,jmx", "notification.sink.topic.name": "n"}');
SELECT try('{"value.converter": "org.apache.kafka.connect.storage.StringConverter"}');
SELECT try('{"value.converter": "org.apache.kafka.connect.storage.StringConverter", "format": "outbox"}');
SELECT try('{"topic.creation.default.retention.ms": "1000", "topic.creation.default.partitions": 3}');
SELECT try('{"topic.creation.default.retention.ms": "x"}'), try('{"topic.creation.default.a": "x"}');
SELECT try('{"topic.creation.default.include": "x"}'), try('{"topic.creation.mine.partitions": 3}');

DROP FUNCTION try;
