-- 52_members.sql: consuming as members of a group.

CREATE FUNCTION eventlog.subscribe(
	consumer_group text,
	topics text[],
	client_id text DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_subscribe';
COMMENT ON FUNCTION eventlog.subscribe(text, text[], text) IS
'make this session a member of a consumer group, which shares the partitions of its topics among its members; needs SELECT on the topics. A name that begins with "^" is a regular expression: all topics that it matches and that one may read, later ones too. Takes effect at once and is not undone by a rollback; ends with unsubscribe(), DISCARD ALL or the session. A further call changes the topics, or the group. client_id: shown in views; the default is application_name. A member that has not called poll() for the group''s max.poll.interval.ms is removed. A group is used by members or by consume(), not by both.
Errors: undefined_table, insufficient_privilege, object_not_in_prerequisite_state (the group is used by consume()), configuration_limit_exceeded (eventlog.max_assignments), invalid_regular_expression';

CREATE FUNCTION eventlog.assign(
	consumer_group text,
	topic text,
	partitions int[] DEFAULT NULL,
	client_id text DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_assign';
COMMENT ON FUNCTION eventlog.assign(text, text, int[], text) IS
'make this session a member of a consumer group with exactly these partitions of a topic (null: all that it has now), without balancing; needs SELECT on the topic. Otherwise as subscribe(), which it replaces.
Errors: as subscribe(), and object_in_use (another member has one of them), invalid_parameter_value (no such partition)';

CREATE FUNCTION eventlog.unsubscribe()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_unsubscribe';
COMMENT ON FUNCTION eventlog.unsubscribe() IS
'leave the consumer group: at once, or, if this transaction has called commit(), when it ends. Other members get the partitions; what was not committed is read again';

CREATE FUNCTION eventlog.poll(
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0'
)
RETURNS SETOF eventlog.record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_poll';
COMMENT ON FUNCTION eventlog.poll(int, interval) IS
'the next records of the partitions that this member of a group has been given, from where the last call ended; a rollback takes that back. commit() moves the group''s offsets, in the same transaction or in a later one. Partitions change hands between calls; what a transaction has read stays its own until it ends, unless this member is removed. max_records: null is no limit. max_wait: how long to wait if there is nothing; not under REPEATABLE READ and above, where only what the snapshot sees is returned. While a statement waits it holds a snapshot: see wait_for().
Errors: object_not_in_prerequisite_state (not subscribed), LG001 (records were removed before the group has read them), LG002 (the group has read what the log has lost), LG003 (this member was removed, and other members have what this transaction has read)';

CREATE FUNCTION eventlog.poll(max_records smallint, max_wait interval DEFAULT '0')
RETURNS SETOF eventlog.record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_poll';
COMMENT ON FUNCTION eventlog.poll(smallint, interval) IS
'poll() for drivers that send small numbers as smallint';

CREATE FUNCTION eventlog.poll(max_records text, max_wait interval DEFAULT '0')
RETURNS SETOF eventlog.record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_poll';
COMMENT ON FUNCTION eventlog.poll(text, interval) IS
'poll() for parameters of undeclared type; max_records is a number';

CREATE FUNCTION eventlog.poll(
	topic anyelement,
	max_records int DEFAULT 500,
	max_wait interval DEFAULT '0'
)
RETURNS SETOF anyelement
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'eventlog_poll_typed';
COMMENT ON FUNCTION eventlog.poll(anyelement, int, interval) IS
'poll() of one topic, with the columns and types of its table: poll(null::topics.orders)';

CREATE FUNCTION eventlog.seek(topic text, partition int, next_offset bigint)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_seek';
COMMENT ON FUNCTION eventlog.seek(text, int, bigint) IS
'where the next poll() of an assigned partition begins; a rollback takes it back, and commit() makes it the group''s.
Errors: object_not_in_prerequisite_state (not assigned to this session), invalid_parameter_value (beyond the end of the log), LG001 (below the log start)';

CREATE FUNCTION eventlog.pause(topic text, partition int DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_pause';
COMMENT ON FUNCTION eventlog.pause(text, int) IS
'have poll() pass over an assigned partition, or all of a topic, until resume(), or until it is given to another member.
Errors: object_not_in_prerequisite_state (not assigned to this session)';

CREATE FUNCTION eventlog.resume(topic text, partition int DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_resume';
COMMENT ON FUNCTION eventlog.resume(text, int) IS 'the opposite of pause()';

CREATE FUNCTION eventlog.pause(topic text, partitions int[])
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
AS 'SELECT eventlog.pause($1, p) FROM pg_catalog.unnest($2) p';
COMMENT ON FUNCTION eventlog.pause(text, int[]) IS 'pause() of several partitions';

CREATE FUNCTION eventlog.resume(topic text, partitions int[])
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
AS 'SELECT eventlog.resume($1, p) FROM pg_catalog.unnest($2) p';
COMMENT ON FUNCTION eventlog.resume(text, int[]) IS 'resume() of several partitions';

CREATE FUNCTION eventlog.assignment(
	OUT topic text,
	OUT partition int,
	OUT next_offset bigint,
	OUT paused boolean
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_assignment';
COMMENT ON FUNCTION eventlog.assignment() IS
'the partitions that this session has been given, where its next poll() goes on (null: at the group''s committed offset), and whether it is paused; nothing if it has not subscribed';

CREATE PROCEDURE eventlog.wait_for(topics text[], max_wait interval DEFAULT '1 minute')
LANGUAGE C
AS 'MODULE_PATHNAME', 'eventlog_wait_for';
COMMENT ON PROCEDURE eventlog.wait_for(text[], interval) IS
'wait until there may be something new in one of the topics since this session has last found all of it read, or, if it never looked, from now on; a member of a group also returns when poll() would find something or what it has been given has changed. Needs SELECT on the topics; not on a standby. Outside of a transaction block it holds no snapshot meanwhile, so it is the way to wait for long.
Errors: undefined_table, insufficient_privilege, invalid_parameter_value';

CREATE FUNCTION eventlog.reject(
	consumer_group text,
	topic text,
	partition int,
	record_offset bigint,
	reason text DEFAULT NULL
)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_reject';
COMMENT ON FUNCTION eventlog.reject(text, text, int, bigint, text) IS
'copy a record that cannot be processed to the topic that the group''s config errors.deadletterqueue.topic.name names, and move on, in one transaction; needs INSERT on that topic, whose types are best bytea. Headers of the record are kept, and those of KIP-1191 added: __dlq.errors.topic, .partition, .offset, .group, .message (the reason). A transaction that has consumed the record rejects it and later calls commit(); else, as after a rollback, the record must be the group''s next one, and the offset behind it is committed.
Errors: object_not_in_prerequisite_state (the group names no topic), undefined_table, insufficient_privilege, invalid_parameter_value (no such record, or not the next one), LG003';

CREATE FUNCTION eventlog.member_status(
	OUT consumer_group text,
	OUT pid int,
	OUT role oid,
	OUT client_id text,
	OUT state text,
	OUT joined_at timestamptz,
	OUT last_poll_at timestamptz,
	OUT max_poll_interval_ms int,
	OUT topic oid,
	OUT partition int,
	OUT leaving boolean
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'eventlog_member_status';
COMMENT ON FUNCTION eventlog.member_status() IS
'members of the consumer groups of this database, with a row for each partition that they own: those of one''s own roles, or all for members of pg_read_all_stats, as pg_monitor is; see eventlog.group_members';

CREATE VIEW eventlog.group_members WITH (security_barrier) AS
SELECT m.consumer_group,
	t.name AS topic,
	m.partition,
	m.pid AS consumer_id,
	a.client_addr AS host,
	m.client_id,
	m.state,
	m.leaving,
	m.joined_at,
	m.last_poll_at,
	m.max_poll_interval_ms
FROM eventlog.member_status() m
	LEFT JOIN eventlog.topic t ON t.relation OPERATOR(pg_catalog.=) m.topic
	LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) m.pid;
COMMENT ON VIEW eventlog.group_members IS
'sessions that are members of consumer groups now, a row for each partition that they have been given: those of one''s own roles, or all for members of pg_read_all_stats, as pg_monitor is';
COMMENT ON COLUMN eventlog.group_members.consumer_group IS 'the group';
COMMENT ON COLUMN eventlog.group_members.topic IS 'topic of the partition; null if the member has none';
COMMENT ON COLUMN eventlog.group_members.partition IS 'a partition that it has been given; null if it has none';
COMMENT ON COLUMN eventlog.group_members.consumer_id IS 'process id of the session';
COMMENT ON COLUMN eventlog.group_members.host IS 'its client''s address';
COMMENT ON COLUMN eventlog.group_members.client_id IS 'as given to subscribe(), or its application_name then';
COMMENT ON COLUMN eventlog.group_members.state IS 'subscribed: takes part in balancing; assigned: has what it named';
COMMENT ON COLUMN eventlog.group_members.leaving IS
'the partition is meant for another member, and goes there as soon as this one has committed or rolled back what it has read of it, at the latest with its next poll()';
COMMENT ON COLUMN eventlog.group_members.joined_at IS 'when it has subscribed';
COMMENT ON COLUMN eventlog.group_members.last_poll_at IS 'when it has called poll() last, or looked by itself while it waits';
COMMENT ON COLUMN eventlog.group_members.max_poll_interval_ms IS
'milliseconds after that when it is removed: the group''s max.poll.interval.ms';
GRANT SELECT ON eventlog.group_members TO PUBLIC;
