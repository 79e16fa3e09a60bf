\echo Use "ALTER EXTENSION pg_eventlog UPDATE" to load this file. \quit

-- From 0.1.0 to 0.2.0: what is changed.  What is new follows, from the parts
-- of the install script.

-- Topics that are there keep everything until their owners set a limit.
ALTER TABLE eventlog.topic ADD COLUMN default_retention boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN eventlog.topic.default_retention IS
'whether retention.ms, where it is not set, is Kafka''s default; topics from before 0.2 keep everything';

-- Positions keep what they are; their index has newer versions first.
ALTER TABLE eventlog.committed_offset
	ADD COLUMN version bigint NOT NULL DEFAULT 0,
	DROP CONSTRAINT committed_offset_pkey;
CREATE UNIQUE INDEX committed_offset_position
	ON eventlog.committed_offset (consumer_group, topic, partition, version DESC);
ALTER TABLE eventlog.committed_offset REPLICA IDENTITY USING INDEX committed_offset_position;
COMMENT ON COLUMN eventlog.committed_offset.consumer_group IS 'name of the group';
COMMENT ON COLUMN eventlog.committed_offset.topic IS 'the topic''s table';
COMMENT ON COLUMN eventlog.committed_offset.partition IS 'partition of the topic';
COMMENT ON COLUMN eventlog.committed_offset.next_offset IS 'the next offset to read';
COMMENT ON COLUMN eventlog.committed_offset.committed_at IS 'when it was set';
COMMENT ON COLUMN eventlog.committed_offset.version IS
'counts the pages that the row has moved through; newer versions come first in the index, so that a search passes no dead rows';

ALTER TABLE eventlog.consumer_group
	ADD COLUMN type text CHECK (type OPERATOR(pg_catalog.=) 'consume' OR type OPERATOR(pg_catalog.=) 'members');
COMMENT ON COLUMN eventlog.consumer_group.name IS 'name of the group';
COMMENT ON COLUMN eventlog.consumer_group.topic IS 'the topic''s table';
COMMENT ON COLUMN eventlog.consumer_group.owner IS 'role whose members may use the group';
COMMENT ON COLUMN eventlog.consumer_group.start IS 'where the group began: as given to create_group()';
COMMENT ON COLUMN eventlog.consumer_group.config IS 'configs that were set; the others have their defaults';
COMMENT ON COLUMN eventlog.consumer_group.created_at IS 'when the group was made for this topic';
COMMENT ON COLUMN eventlog.consumer_group.type IS
'its group.type: consume or members; null: nobody has used the group yet';

-- Both have other columns now, and are made anew below.
DROP VIEW eventlog.partitions, eventlog.consumer_groups;

COMMENT ON FUNCTION eventlog.create_group(text, text, text, jsonb) IS
'make a consumer group for a topic, owned by the current user; needs SELECT on the topic. start: earliest, latest (the last stable offset now), none (consuming is an error until an offset is committed), or a timestamp (the first record of that time or later). config: see alter_group(). Optional: a first consume() makes the group with start earliest, unless eventlog.auto_create_groups is off.
Errors: undefined_table, insufficient_privilege, duplicate_object, invalid_name, invalid_parameter_value, invalid_datetime_format';

COMMENT ON FUNCTION eventlog.consume(text, text, int, interval, boolean) IS
'the group''s next records of a topic, for this transaction; needs SELECT on the topic. Takes partitions that no other transaction of the group holds and keeps them until the end of the transaction; calls go on where the last one ended. commit() moves the group''s offsets in the same transaction; without it, and on rollback, the records go to the group''s next caller. What a call consumes is all that it returns, up to max_records (null: no limit), whatever the query does with the rows. max_wait: how long to wait if there is nothing; not under REPEATABLE READ and above. auto_commit: commit at once what the call returns.
Errors: undefined_table, undefined_object, insufficient_privilege, object_not_in_prerequisite_state (the group is used by members, or has no position to begin at), serialization_failure, LG001 (records were removed before the group has read them; the detail names their offsets), LG002 (the group has read what the log has lost)';

COMMENT ON FUNCTION eventlog.read(text, int, bigint, int, interval) IS
'records of a partition from an offset on, without a group; needs SELECT on the topic. Gives only what is committed, on disk, and below the last stable offset. max_records: null is no limit. max_wait: how long to wait if there is nothing; not under REPEATABLE READ and above.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value (no such partition, offset out of range), LG001 (offset below the log start)';

