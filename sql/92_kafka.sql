-- 92_kafka.sql: questions to Kafka clusters.

CREATE FUNCTION eventlog.mirror_group(
	name text,
	consumer_group text,
	destination text,
	kafka_group text DEFAULT NULL,
	OUT topic text,
	OUT partition int,
	OUT topic_offset bigint,
	OUT kafka_topic_offset bigint
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_mirror_group';
COMMENT ON FUNCTION eventlog.mirror_group(text, text, text, text) IS
'copy the positions of a consumer group from one side of a mirror to the other, by mirror_offsets(), so that its consumers can go on there. destination: kafka or here; kafka_group: the group''s name in Kafka (default: the same). The group must have no live members on the side that is written to. Returns what was set.
Needs to own the mirror. Errors: undefined_object, insufficient_privilege, invalid_parameter_value, feature_not_supported, fdw_unable_to_establish_connection';

CREATE FUNCTION eventlog.kafka_check(
	server name,
	timeout interval DEFAULT '10 s',
	OUT ok boolean,
	OUT error text,
	OUT cluster_id text,
	OUT latency_ms float8,
	OUT brokers jsonb,
	OUT topics jsonb,
	OUT librdkafka text
)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'eventlog_kafka_check';
COMMENT ON FUNCTION eventlog.kafka_check(name, interval) IS
'connect to a Kafka server with the current user''s user mapping, and tell what is there: brokers, topics, and how long a request takes; or the error, in words.
Needs USAGE on the server. Errors: undefined_object, insufficient_privilege, wrong_object_type, configuration_limit_exceeded (no background worker could be started)';
