-- 50_consume.sql: consumer groups.

CREATE TABLE eventlog.consumer_group (
	name text COLLATE "C" NOT NULL,
	topic regclass NOT NULL,
	owner regrole NOT NULL,
	start text NOT NULL,
	config jsonb NOT NULL,
	created_at timestamptz NOT NULL,
	type text CHECK (type OPERATOR(pg_catalog.=) 'consume' OR type OPERATOR(pg_catalog.=) 'members'),
	PRIMARY KEY (name, topic)
);
COMMENT ON TABLE eventlog.consumer_group IS
'catalogue of consumer groups, a row for each topic that a group consumes; read eventlog.consumer_groups';
COMMENT ON COLUMN eventlog.consumer_group.name IS 'name of the group';
COMMENT ON COLUMN eventlog.consumer_group.topic IS 'the topic''s table';
COMMENT ON COLUMN eventlog.consumer_group.owner IS 'role whose members may use the group';
COMMENT ON COLUMN eventlog.consumer_group.start IS 'where the group began: as given to create_group()';
COMMENT ON COLUMN eventlog.consumer_group.config IS 'configs that were set; the others have their defaults';
COMMENT ON COLUMN eventlog.consumer_group.created_at IS 'when the group was made for this topic';
COMMENT ON COLUMN eventlog.consumer_group.type IS
'its group.type: consume or members; null: nobody has used the group yet';
SELECT pg_catalog.pg_extension_config_dump('eventlog.consumer_group', '');

CREATE TABLE eventlog.committed_offset (
	consumer_group text COLLATE "C" NOT NULL,
	topic regclass NOT NULL,
	partition int NOT NULL,
	next_offset bigint NOT NULL,
	committed_at timestamptz NOT NULL,
	version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 40);
CREATE UNIQUE INDEX committed_offset_position
	ON eventlog.committed_offset (consumer_group, topic, partition, version DESC);
ALTER TABLE eventlog.committed_offset REPLICA IDENTITY USING INDEX committed_offset_position;
COMMENT ON TABLE eventlog.committed_offset IS
'committed offsets of consumer groups: the next to read; read eventlog.consumer_groups';
COMMENT ON COLUMN eventlog.committed_offset.consumer_group IS 'name of the group';
COMMENT ON COLUMN eventlog.committed_offset.topic IS 'the topic''s table';
COMMENT ON COLUMN eventlog.committed_offset.partition IS 'partition of the topic';
COMMENT ON COLUMN eventlog.committed_offset.next_offset IS 'the next offset to read';
COMMENT ON COLUMN eventlog.committed_offset.committed_at IS 'when it was set';
COMMENT ON COLUMN eventlog.committed_offset.version IS
'counts the pages that the row has moved through; newer versions come first in the index, so that a search passes no dead rows';
SELECT pg_catalog.pg_extension_config_dump('eventlog.committed_offset', '');

CREATE FUNCTION eventlog.create_group(
	consumer_group text,
	topic text,
	start text DEFAULT 'earliest',
	config jsonb DEFAULT '{}'
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_create_group';
COMMENT ON FUNCTION eventlog.create_group(text, text, text, jsonb) IS
'make a consumer group for a topic, owned by the current user; needs SELECT on the topic. start: earliest, latest (the last stable offset now), none (consuming is an error until an offset is committed), or a timestamp (the first record of that time or later). config: see alter_group(). Optional: a first consume() makes the group with start earliest, unless eventlog.auto_create_groups is off.
Errors: undefined_table, insufficient_privilege, duplicate_object, invalid_name, invalid_parameter_value, invalid_datetime_format';

CREATE FUNCTION eventlog.consume(
	consumer_group text,
	topic text,
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0',
	auto_commit boolean DEFAULT false
)
RETURNS SETOF eventlog.record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_consume';
COMMENT ON FUNCTION eventlog.consume(text, text, int, interval, boolean) IS
'the group''s next records of a topic, for this transaction; needs SELECT on the topic. Takes partitions that no other transaction of the group holds and keeps them until the end of the transaction; calls go on where the last one ended. commit() moves the group''s offsets in the same transaction; without it, and on rollback, the records go to the group''s next caller. What a call consumes is all that it returns, up to max_records (null: no limit), whatever the query does with the rows. max_wait: how long to wait if there is nothing; not under REPEATABLE READ and above. auto_commit: commit at once what the call returns.
Errors: undefined_table, undefined_object, insufficient_privilege, object_not_in_prerequisite_state (the group is used by members, or has no position to begin at), serialization_failure, LG001 (records were removed before the group has read them; the detail names their offsets), LG002 (the group has read what the log has lost)';

CREATE FUNCTION eventlog.consume(
	consumer_group text,
	topic anyelement,
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0',
	auto_commit boolean DEFAULT false
)
RETURNS SETOF anyelement
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_consume';
COMMENT ON FUNCTION eventlog.consume(text, anyelement, int, interval, boolean) IS
'consume() with the columns and types of the topic''s table: consume(''group'', null::topics.orders)';

CREATE FUNCTION eventlog.commit()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_commit_all';
COMMENT ON FUNCTION eventlog.commit() IS
'commit the offsets of all that this transaction has consumed, as part of the transaction';

CREATE FUNCTION eventlog.commit(
	consumer_group text,
	topic text,
	partition int,
	next_offset bigint
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_commit_one';
COMMENT ON FUNCTION eventlog.commit(text, text, int, bigint) IS
'commit one partition''s offset, the next to read, as part of the transaction, which must have consumed up to it.
Errors: object_not_in_prerequisite_state (partition not consumed here), invalid_parameter_value (offset below the committed one or above what was consumed)';

CREATE FUNCTION eventlog.claim_key(consumer_group text)
RETURNS oid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eventlog_claim_key';
COMMENT ON FUNCTION eventlog.claim_key(text) IS
'the group''s part of its claims in pg_locks: a claim has the leaf''s oid as classid, this as objid and 26369 as objsubid';
