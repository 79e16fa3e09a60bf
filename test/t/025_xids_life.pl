# The life of a log while transaction ids go past 2^31 and wrap around:
# pg_resetwal moves the next one while blocks are retired and not yet free, and
# while log starts are asked for by transactions long gone.  What was retired
# becomes free, everything reads, on a standby too, and maintain() alone moves
# relfrozenxid, so that no autovacuum is needed.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('xids', streaming => 1, conf => <<'CONF');
eventlog.maintenance = off
autovacuum_freeze_max_age = 2000000000	# or it comes although it is off
max_connections = 10
shared_buffers = 8MB
CONF
my $ledger = ledger_new();
my @topics = qw(ring keys asked);

$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('ring', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 2000000}');
SELECT eventlog.create_topic('keys', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0.1}');
SELECT eventlog.create_topic('asked', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.ms": -1}');
CREATE TABLE newest (key text PRIMARY KEY, value text);
SQL

sub work
{
	$node->safe_psql('postgres', <<'SQL');
INSERT INTO topics.ring (key, value) SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 4000) i;
BEGIN;
INSERT INTO topics.ring (key, value) SELECT 'gone', 'gone' FROM generate_series(1, 100);
INSERT INTO topics.keys (key, value) SELECT 'k' || i, 'gone' FROM generate_series(1, 100) i;
SELECT count(*) FROM eventlog.flush();
ROLLBACK;
WITH new AS (SELECT 'k' || g % 300 AS key, g || repeat(md5(random()::text), 20) AS value FROM generate_series(1, 4000) g),
	sent AS (INSERT INTO topics.keys (key, value) SELECT key, value FROM new)
INSERT INTO newest SELECT DISTINCT ON (key) key, value FROM (SELECT *, row_number() OVER () AS n FROM new) t ORDER BY key, n DESC
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
INSERT INTO topics.asked (key, value) SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 2500) i;
SQL
	$node->safe_psql('postgres', "SELECT eventlog.maintain('$_')") foreach @topics;
}

# Bytes of partition 0 that are retired, and free.
sub space
{
	my ($topic) = @_;

	return split /\|/, $node->safe_psql('postgres',
		"SELECT retired_bytes, free_bytes FROM eventlog.maintenance WHERE topic = '$topic'");
}

sub log_start
{
	my ($topic) = @_;

	return $node->safe_psql('postgres', "SELECT log_start_offset FROM eventlog.partitions WHERE topic = '$topic'");
}

sub check
{
	my ($on, $name) = @_;

	is($on->safe_psql('postgres', <<'SQL'), '', "$name: what was committed, and nothing else");
SET enable_nestloop = off;
SELECT n.key FROM newest n LEFT JOIN (SELECT DISTINCT ON (key) key, value FROM topics.keys ORDER BY key, record_offset DESC) k USING (key)
	WHERE n.value IS DISTINCT FROM k.value LIMIT 5;
SELECT topic, key FROM (SELECT 'ring' AS topic, * FROM topics.ring UNION ALL SELECT 'asked', * FROM topics.asked) t
	WHERE value <> repeat(substr(value, 1, 32), 30) LIMIT 5;
SQL
	my @wrong = map { ledger_add($ledger, $_, topic_lines($on, $_)) } @topics;
	is("@wrong", '', "$name: no offset has ever named anything else");
	verified($on, $name, @topics);
}

# All but the topics: those are to be kept young by maintain() alone.
sub freeze_others
{
	$node->safe_psql('postgres', 'UPDATE pg_database SET datallowconn = true');
	$node->safe_psql($_, 'VACUUM FREEZE') foreach qw(template0 template1);
	$node->safe_psql('postgres', 'VACUUM FREEZE ' . $node->safe_psql('postgres', q{
		SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c JOIN pg_am a ON a.oid = c.relam
		WHERE c.relkind IN ('r', 'm') AND a.amname <> 'eventlog' AND c.relpersistence = 'p'}));
}

my $ages = q{SELECT max(age(c.relfrozenxid)) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'eventlog' AND c.relkind = 'r'};

work();
check($node, 'at first');
my $lap = 0;

# 2^31 = 2147483648, 2^32 = 4294967296; each is less than 2^31 ahead of the last
foreach my $step ([ 1_900_000_000, 0 ], [ 3_800_000_000, 0 ], [ 1_400_000_000, 1 ])
{
	my ($xid, $epoch) = @$step;
	my $name = 'lap ' . ++$lap;

	$xid += 100 - $xid % (8192 * 4 * 32);
	work();
	$node->safe_psql('postgres', q{SELECT eventlog.delete_records('asked', 0, high_watermark - 100) FROM eventlog.partitions WHERE topic = 'asked'});
	$node->psql('postgres', q{BEGIN; SELECT eventlog.delete_records('asked', 0, -1); ROLLBACK});
	my $start = log_start('asked');
	freeze_others();
	my %before = map { $_ => topic_lines($node, $_) } @topics;

	cmp_ok((space('ring'))[0], '>', 0, "$name: segments are retired before");
	cmp_ok((space('keys'))[0], '>', 0, "$name: replaced blocks are retired before");
	jump_to_xid($node, $xid, $epoch);
	is(log_start('asked'), $start, "$name: a log start that was asked for holds");
	is((grep { topic_lines($node, $_) ne $before{$_} } @topics), 0, "$name: everything reads");
	check($node, $name);
	cmp_ok((space('ring'))[0], '>', 0, "$name: still retired");

	cmp_ok($node->safe_psql('postgres', $ages), '>', 1_000_000_000, "$name: leaves have grown old");
	$node->safe_psql('postgres', "SELECT eventlog.maintain('$_')") foreach @topics;
	cmp_ok($node->safe_psql('postgres', $ages), '<', 1000, "$name: maintain() alone makes them young");
	is((space('ring'))[0] + (space('asked'))[0], 0, "$name: segments retired before are free");
	my @space = space('keys');
	cmp_ok($space[1], '>', 0, "$name: blocks replaced before are free");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM topics.asked}), 100, "$name: what was asked for is done");
	check($node, "$name, maintained");

	# a standby made now reads it all, and replays what comes
	$node->backup("lap$lap");
	my $standby = PostgreSQL::Test::Cluster->new("standby$lap");
	$standby->init_from_backup($node, "lap$lap", has_streaming => 1);
	$standby->start;
	work();
	work();
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is((grep { topic_lines($standby, $_) ne topic_lines($node, $_) } @topics), 0, "$name: a standby reads the same");
	check($standby, "$name, standby");
	$standby->stop;
	restart_server($node);
	check($node, "$name, crashed");
	freeze_others();
	is($node->safe_psql('postgres', q{SELECT max(age(datfrozenxid)) < 1000000 FROM pg_database}), 't',
		"$name: nothing holds datfrozenxid back");
}

# the files have not grown with it
foreach my $topic (@topics)
{
	cmp_ok(-s leaf_file($node, $topic, 0), '<', 20_000_000, "the file of $topic has not grown");
}
$node->stop;
done_testing();
