-- 57_group_admin.sql: changing and dropping consumer groups.

CREATE FUNCTION eventlog.consumer_group_changed()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'eventlog_consumer_group_changed';
COMMENT ON FUNCTION eventlog.consumer_group_changed() IS
'trigger of eventlog.consumer_group: makes caches follow where that table is changed by SQL, as a restored dump does';
REVOKE ALL ON FUNCTION eventlog.consumer_group_changed() FROM PUBLIC;

CREATE TRIGGER consumer_group_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eventlog.consumer_group
	FOR EACH STATEMENT EXECUTE FUNCTION eventlog.consumer_group_changed();

CREATE FUNCTION eventlog.alter_group(consumer_group text, config jsonb)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_alter_group';
COMMENT ON FUNCTION eventlog.alter_group(text, jsonb) IS
'change configs of a consumer group that one owns, for all its topics: those named are set, or with null go back to their defaults, the others stay.
auto.offset.reset: what happens to a position below the log start: "none" (an error of SQLSTATE LG001, the default), "earliest", "latest", "by_duration:PT24H" (the first record of that time before now; days, hours, minutes and seconds in ISO 8601, as in KIP-1106), or a timestamp (the first record of that time or later).
max.poll.interval.ms: how long a member may take from one poll() to the next, 1 to 2147483647 ms; 300000.
errors.deadletterqueue.topic.name: topic for records that cannot be processed (KIP-1191); it need not exist yet.
group.type: "consume" (for consume(), in transactions) or "members" (for subscribe() and poll()); decided by the first use if it is not set. Changing it waits for the transactions that consume, up to lock_timeout, and is refused while the group has members.
Errors: undefined_object, insufficient_privilege, invalid_parameter_value, invalid_name, object_in_use';

CREATE FUNCTION eventlog.drop_group(consumer_group text, topic text DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eventlog_drop_group';
COMMENT ON FUNCTION eventlog.drop_group(text, text) IS
'remove a consumer group that one owns, with its committed offsets, as part of the transaction: on one topic, or on all (null). Waits for the transactions that consume, up to lock_timeout.
Errors: undefined_table, undefined_object, insufficient_privilege, object_in_use (the group has members)';
