-- 30_topics.sql: topics.

CREATE TABLE eventlog.topic (
	relation regclass PRIMARY KEY,
	name text COLLATE "C" NOT NULL UNIQUE,
	folded_name text COLLATE "C" NOT NULL UNIQUE
		GENERATED ALWAYS AS (pg_catalog.replace(name, '.', '_')) STORED,
	config jsonb NOT NULL DEFAULT '{}',
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	default_retention boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE eventlog.topic IS
'catalogue of topics; read eventlog.topics, and change it with create_topic(), alter_topic(), drop_topic()';
COMMENT ON COLUMN eventlog.topic.relation IS 'the topic''s table';
COMMENT ON COLUMN eventlog.topic.name IS
'name, which the table''s is too, unless it is too long for an identifier';
COMMENT ON COLUMN eventlog.topic.folded_name IS
'name with "_" for ".": names that differ only in these collide, as in Kafka';
COMMENT ON COLUMN eventlog.topic.config IS 'configs that differ from their defaults by the owner''s wish';
COMMENT ON COLUMN eventlog.topic.created_at IS 'when the topic was created';
COMMENT ON COLUMN eventlog.topic.default_retention IS
'whether retention.ms, where it is not set, is Kafka''s default; topics from before 0.2 keep everything';
SELECT pg_catalog.pg_extension_config_dump('eventlog.topic', '');

CREATE FUNCTION eventlog.topic_changed()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'eventlog_topic_changed';
COMMENT ON FUNCTION eventlog.topic_changed() IS
'trigger of eventlog.topic: makes caches follow where that table is changed by SQL, as a restored dump does';
REVOKE ALL ON FUNCTION eventlog.topic_changed() FROM PUBLIC;

CREATE TRIGGER topic_changed
	AFTER INSERT OR UPDATE OR DELETE ON eventlog.topic
	FOR EACH ROW EXECUTE FUNCTION eventlog.topic_changed();

CREATE FUNCTION eventlog.create_topic(
	topic text,
	partitions int DEFAULT 1,
	key_type regtype DEFAULT 'pg_catalog.text',
	value_type regtype DEFAULT 'pg_catalog.json',
	config jsonb DEFAULT '{}',
	schema_name name DEFAULT 'topics'
)
RETURNS regclass
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_create_topic';
COMMENT ON FUNCTION eventlog.create_topic(text, int, regtype, regtype, jsonb, name) IS
'create a topic and return its table.
topic: 1 to 249 of [a-zA-Z0-9._-], unique in the database; partitions: 1 to 10000; key_type, value_type: bytea, text, json or jsonb; config: Kafka''s topic configs, such as {"retention.ms": 3600000, "compression.type": "zstd"}; schema_name: where the table is made, which needs CREATE there.
Errors: invalid_name, duplicate_table, invalid_parameter_value, feature_not_supported';

CREATE FUNCTION eventlog.alter_topic(topic text, config jsonb)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_alter_topic';
COMMENT ON FUNCTION eventlog.alter_topic(text, jsonb) IS
'change configs of a topic that one owns: those named are set, or with null go back to their defaults, the others stay. Neither waits for nor blocks those who produce and read.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value, feature_not_supported';

CREATE FUNCTION eventlog.add_partitions(topic text, total int)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_add_partitions';
COMMENT ON FUNCTION eventlog.add_partitions(text, int) IS
'give a topic that one owns more partitions, up to "total". Keys are spread over all partitions from then on: records of one key may go to another partition than before, as in Kafka. Neither waits for nor blocks those who produce and read.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value';

CREATE FUNCTION eventlog.drop_topic(topic text)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_drop_topic';
COMMENT ON FUNCTION eventlog.drop_topic(text) IS
'drop a topic that one owns and all its records; the same as DROP TABLE of its table.
Errors: undefined_table, insufficient_privilege, dependent_objects_still_exist';

CREATE VIEW eventlog.topics WITH (security_barrier) AS
SELECT t.name AS topic,
	t.relation,
	(SELECT pg_catalog.count(*)
		FROM pg_catalog.pg_inherits i
			JOIN pg_catalog.pg_class l ON l.oid OPERATOR(pg_catalog.=) i.inhrelid
		WHERE i.inhparent OPERATOR(pg_catalog.=) t.relation
			AND pg_catalog.pg_get_expr(l.relpartbound, l.oid)
				OPERATOR(pg_catalog.<>) 'FOR VALUES IN (NULL)')::int AS partitions,
	k.atttypid::regtype AS key_type,
	v.atttypid::regtype AS value_type,
	t.config,
	c.relowner::regrole AS owner,
	t.created_at
FROM eventlog.topic t
	JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relation
	JOIN pg_catalog.pg_attribute k ON k.attrelid OPERATOR(pg_catalog.=) t.relation
		AND k.attname OPERATOR(pg_catalog.=) 'key'
	JOIN pg_catalog.pg_attribute v ON v.attrelid OPERATOR(pg_catalog.=) t.relation
		AND v.attname OPERATOR(pg_catalog.=) 'value'
WHERE pg_catalog.has_table_privilege(t.relation, 'SELECT, INSERT, TRUNCATE, TRIGGER')
	OR pg_catalog.pg_has_role(c.relowner, 'USAGE')
	OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eventlog.topics IS
'topics on which one has a privilege; all of them for members of pg_monitor';
COMMENT ON COLUMN eventlog.topics.topic IS 'name of the topic';
COMMENT ON COLUMN eventlog.topics.relation IS 'its table';
COMMENT ON COLUMN eventlog.topics.partitions IS 'number of its partitions';
COMMENT ON COLUMN eventlog.topics.key_type IS 'type of keys in SQL';
COMMENT ON COLUMN eventlog.topics.value_type IS 'type of values in SQL';
COMMENT ON COLUMN eventlog.topics.config IS 'configs that were set; the others have their defaults';
COMMENT ON COLUMN eventlog.topics.owner IS 'owner of the topic and its table';
COMMENT ON COLUMN eventlog.topics.created_at IS 'when it was created';
GRANT SELECT ON eventlog.topics TO PUBLIC;
