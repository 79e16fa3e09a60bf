# Base backups, recovery to a point in time, pg_rewind and incremental backups of
# a server that is busy producing, consuming, retaining and compacting.
#
# What must be in a topic is written to tables by the same transactions that
# produce and consume.  So in whatever state a server comes up, its tables say
# what its topics hold: every record sent, and nothing else; each group's
# records, once, up to its position; the newest record of each key.  And what
# two servers both hold is the same.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $primary = new_server('primary', streaming => 1, archiving => 1, conf => <<'CONF');
eventlog.maintenance = off
fsync = off
shared_buffers = 16MB
max_connections = 20
wal_keep_size = 1GB
max_wal_size = 1GB
max_prepared_transactions = 5
CONF

$primary->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('whole', 2, 'text', 'text', '{"segment.bytes": 1048576}');
SELECT eventlog.create_topic('ring', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 2000000}');
SELECT eventlog.create_topic('keys', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "compression.type": "lz4", "min.cleanable.dirty.ratio": 0.1}');
CREATE TABLE stop (x int);
CREATE TABLE sent (id text PRIMARY KEY);
CREATE TABLE got (partition int, record_offset bigint, id text);
CREATE TABLE newest (key text PRIMARY KEY, value text);

-- One after the other, until table stop has a row: a transaction that sends
-- small records, or one of several WAL records, or that rolls back.
CREATE PROCEDURE send(me text) LANGUAGE plpgsql AS $$
DECLARE
	i int := 0;
	id text;
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		i := i + 1;
		id := me || i;
		IF i % 40 = 0 THEN
			PERFORM eventlog.produce('whole', id, 'large' || repeat(md5(id), 12000), partition => i % 2);
			INSERT INTO sent VALUES (id);
		ELSE
			INSERT INTO topics.whole (partition, key, value) SELECT i % 2, id || '.' || g, repeat(md5(id), g) FROM generate_series(1, 20) g;
			INSERT INTO sent SELECT id || '.' || g FROM generate_series(1, 20) g;
		END IF;
		INSERT INTO topics.ring (key, value) SELECT id, repeat(md5(id || g), 30) FROM generate_series(1, 20) g;
		IF i % 7 = 0 THEN
			PERFORM count(*) FROM eventlog.flush();
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE PROCEDURE send_keys() LANGUAGE plpgsql AS $$
DECLARE
	i int := 0;
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		i := i + 1;
		WITH new AS (SELECT 'k' || (i * 37 + g) % 500 AS key, i || repeat(md5(random()::text), 20) AS value FROM generate_series(1, 20) g),
			sent AS (INSERT INTO topics.keys (key, value) SELECT key, value FROM new)
		INSERT INTO newest SELECT key, value FROM new ON CONFLICT (key) DO UPDATE SET value = excluded.value;
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;
CREATE PROCEDURE receive() LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		INSERT INTO got SELECT partition, record_offset, convert_from(key, 'UTF8')
			FROM eventlog.consume('g', 'whole', 50, auto_commit => true);
		COMMIT;
	END LOOP;
END $$;
CREATE PROCEDURE maintain() LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		PERFORM eventlog.maintain(topic) FROM unnest('{whole, ring, keys}'::text[]) topic;
		COMMIT;
	END LOOP;
END $$;
SQL

# ---- load ----

my @clients;

sub load_on
{
	my ($node, $round) = @_;

	$node->safe_psql('postgres', 'TRUNCATE stop');
	@clients = map { start_client($node, "CALL $_;\n", name => 'load') }
	  ("send('a$round.')", "send('b$round.')", 'send_keys()', 'receive()', 'maintain()');
}

sub load_off
{
	my ($node, $how) = @_;

	$node->safe_psql('postgres', 'INSERT INTO stop VALUES (1)');
	foreach my $client (@clients)
	{
		my ($status, $out, $err) = finish_client($client);

		is($status, 0, "$how: the load has run through") or diag($err);
	}
}

# Wait until the log has moved on and its maintenance has been through.
sub let_it_work
{
	my ($node) = @_;
	my $state = q{SELECT sum(high_watermark) + 1000 FROM eventlog.partitions WHERE topic = 'whole'};
	my $log_start = q{SELECT log_start_offset + 1000 FROM eventlog.partitions WHERE topic = 'ring'};
	my ($more, $start) = map { $node->safe_psql('postgres', $_) } ($state, $log_start);

	$node->poll_query_until('postgres', qq{
		SELECT (SELECT sum(high_watermark) FROM eventlog.partitions WHERE topic = 'whole') > $more
			AND (SELECT log_start_offset FROM eventlog.partitions WHERE topic = 'ring') > $start
			AND (SELECT last_run_kept > 0 FROM eventlog.maintenance WHERE topic = 'keys')})
	  or die 'the load does not get on';
}

# What a server's tables say of its topics.
sub consistent
{
	my ($node, $name) = @_;

	verified($node, $name, qw(whole ring keys));
	is($node->safe_psql('postgres', <<'SQL'), '', "$name: the topics hold what the tables say");
SET enable_nestloop = off;	-- nothing is analyzed
SELECT 'lost: ' || id FROM (SELECT id FROM sent EXCEPT ALL SELECT key FROM topics.whole) t LIMIT 5;
SELECT 'not sent: ' || key FROM (SELECT key FROM topics.whole EXCEPT ALL SELECT id FROM sent) t LIMIT 5;
SELECT 'half: ' || key FROM topics.whole WHERE value LIKE 'large%' AND value <> 'large' || repeat(md5(key), 12000) LIMIT 5;
SELECT 'not received: ' || w.partition || ' ' || w.record_offset
	FROM topics.whole w JOIN eventlog.consumer_groups c ON c.consumer_group = 'g' AND c.partition = w.partition
	WHERE w.record_offset < c.current_offset AND w.key NOT IN (SELECT id FROM got) LIMIT 5;
SELECT 'received twice, or not to be: ' || g.partition || ' ' || g.record_offset FROM got g
	LEFT JOIN topics.whole w ON w.partition = g.partition AND w.record_offset = g.record_offset AND w.key = g.id
	JOIN eventlog.consumer_groups c ON c.consumer_group = 'g' AND c.partition = g.partition
	GROUP BY g.partition, g.record_offset HAVING count(*) > 1 OR count(w.key) = 0 OR g.record_offset >= max(c.current_offset) LIMIT 5;
SELECT 'not the newest: ' || n.key FROM newest n
	LEFT JOIN (SELECT DISTINCT ON (key) key, value FROM topics.keys ORDER BY key, record_offset DESC) k USING (key)
	WHERE n.value IS DISTINCT FROM k.value LIMIT 5;
SELECT 'torn: ' || key FROM topics.ring r WHERE value <> repeat(substr(value, 1, 32), 30) LIMIT 5;
SQL
}

sub offsets
{
	my ($node, $topic, $column) = @_;

	return { map { split /\|/ } split /\n/,
		$node->safe_psql('postgres', "SELECT partition, $column FROM eventlog.partitions WHERE topic = '$topic'") };
}

# What the older one holds, the younger one holds as well, as far back as it
# goes.  (It can hold more: a commit that the other one has not got.)
sub same_past
{
	my ($old, $young, $name) = @_;

	foreach my $topic (qw(whole ring))
	{
		my $from = offsets($young, $topic, 'log_start_offset');
		my %there = map { $_ => 1 } split /\n/, topic_lines($young, $topic);
		my @old = grep { /^(\d+)\|(\d+)\|/ && $2 >= $from->{$1} } split /\n/, topic_lines($old, $topic);

		cmp_ok(scalar @old, '>', 0, "$name: both have some of the same of $topic") if $topic eq 'whole';
		is((grep { !$there{$_} } @old), 0, "$name: what both have of $topic is the same");
	}
}

# It goes on: offsets, timelines, groups, maintenance.
sub goes_on
{
	my ($node, $name, $timeline) = @_;
	my $next = offsets($node, 'whole', 'high_watermark');
	my $id = "next, $name";
	my $first = $node->safe_psql('postgres',
		qq{INSERT INTO topics.whole (partition, key, value) VALUES (1, '$id', 'next') RETURNING record_offset});

	is($first, $next->{1}, "$name: the next record gets the next offset");
	my %epochs = batch_epochs($node, 'whole', 1);
	is($epochs{$first}, $timeline, "$name: and the batch timeline $timeline");
	$node->safe_psql('postgres', "INSERT INTO sent VALUES ('$id')");
	$node->safe_psql('postgres', q{
		INSERT INTO got SELECT partition, record_offset, convert_from(key, 'UTF8') FROM eventlog.consume('g', 'whole', null, auto_commit => true)});
	$node->safe_psql('postgres', "SELECT eventlog.maintain('$_')") foreach qw(whole ring keys ring keys);
	$node->safe_psql('postgres', 'VACUUM topics.whole, topics.ring, topics.keys');
	consistent($node, "$name, and went on");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM topics.whole} ), $node->safe_psql('postgres', q{SELECT count(*) FROM got}),
		"$name: the group has got every record");
}

# ---- a base backup while all are at work ----

load_on($primary, 1);
let_it_work($primary);
$primary->backup('base');
load_off($primary, 'backup');
consistent($primary, 'primary');

my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($primary, 'base');
$copy->append_conf('postgresql.conf', "archive_mode = off\n");
$copy->start;
consistent($copy, 'backup');
same_past($copy, $primary, 'backup');
goes_on($copy, 'backup', 1);
$copy->stop;

# ---- to a point in time ----

load_on($primary, 2);
let_it_work($primary);
$primary->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT eventlog.produce('whole', 'prepared', 'large' || repeat(md5('prepared'), 12000), partition => 0);
INSERT INTO sent VALUES ('prepared');
PREPARE TRANSACTION 'at_the_point';
SELECT pg_create_restore_point('middle');
SQL
$primary->safe_psql('postgres', q{COMMIT PREPARED 'at_the_point'});
let_it_work($primary);
load_off($primary, 'point in time');
consistent($primary, 'primary, later');
my $future = offsets($primary, 'whole', 'high_watermark');
my $position = $primary->safe_psql('postgres', q{SELECT current_offset FROM eventlog.consumer_groups WHERE consumer_group = 'g' AND partition = 0});
my $walfile = $primary->safe_psql('postgres', 'SELECT pg_walfile_name(pg_switch_wal())');
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= '$walfile' FROM pg_stat_archiver") or die 'nothing is archived';

my $past = PostgreSQL::Test::Cluster->new('past');
$past->init_from_backup($primary, 'base', has_restoring => 1, standby => 0);
$past->append_conf('postgresql.conf', <<'CONF');
archive_mode = off
recovery_target_name = 'middle'
recovery_target_action = 'promote'
CONF
$past->start;
$past->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
consistent($past, 'point in time');
my $end = offsets($past, 'whole', 'high_watermark');
cmp_ok($end->{0}, '<', $position, 'point in time: the log ends before positions of the lost future');

sub refused
{
	my ($node, $sql, $pattern, $name) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	like($err, $pattern, $name);
}

refused($past, "SELECT * FROM eventlog.read('whole', 0, $position)", qr/ERROR:  22023: .*out of range/,
	'point in time: reading from one of these is an error');
refused($past, "BEGIN; UPDATE eventlog.committed_offset SET next_offset = $position WHERE consumer_group = 'g' AND partition = 0; SELECT * FROM eventlog.consume('g', 'whole', null)",
	qr/LG002.*diverged.*offset $position/s, 'point in time: consuming from one of these is an error');
is($past->safe_psql('postgres', "SELECT count(*) FROM topics.whole WHERE key = 'prepared'"), 0, 'point in time: what was prepared is not yet committed');
$past->safe_psql('postgres', q{COMMIT PREPARED 'at_the_point'});
same_past($past, $primary, 'point in time');
goes_on($past, 'point in time', 2);
$past->stop;

# ---- pg_rewind ----

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "archive_mode = off\n");
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
consistent($standby, 'standby');
$standby->promote;

# both go on, each for itself, with everything that changes files
sub diverge
{
	my ($node, $round) = @_;

	load_on($node, $round);
	let_it_work($node);
	load_off($node, "diverging $round");
	$node->safe_psql('postgres', <<SQL);
SELECT eventlog.create_topic('new$round', 1, 'text', 'text');
INSERT INTO topics.new$round (value) SELECT 'new$round ' || i FROM generate_series(1, 1000) i;
SELECT eventlog.erase('ring', (SELECT key FROM topics.ring ORDER BY record_offset LIMIT 1));
VACUUM topics.whole, topics.ring, topics.keys;
SQL
}
diverge($primary, 3);
diverge($standby, 4);
$primary->stop;
$standby->safe_psql('postgres', 'CHECKPOINT');
command_ok([ 'pg_rewind', '--source-server', $standby->connstr('postgres'), '--target-pgdata', $primary->data_dir, '--no-sync' ],
	'pg_rewind');
my ($port, $host) = ($primary->port, $primary->host);
$primary->append_conf('postgresql.conf', "port = $port\nunix_socket_directories = '$host'\narchive_mode = off\n");
$primary->enable_streaming($standby);
$primary->set_standby_mode;
$primary->start;
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('insert'));
consistent($primary, 'rewound');
foreach my $topic (qw(whole ring keys new4))
{
	my $there = topic_lines($standby, $topic);

	ok($there ne '' && topic_lines($primary, $topic) eq $there, "rewound: it has the records of $topic");
}
is($primary->safe_psql('postgres', q{SELECT to_regclass('topics.new3')}), '', 'rewound: and not its own');

# The files' pages, without what a page leaves out: free space in it.  The
# metapage has a hint that is not replayed.
sub pages
{
	my ($node, $topic, $partition) = @_;
	my $bytes = slurp_file(leaf_file($node, $topic, $partition));
	my @pages;

	for (my $at = 8192; $at < length($bytes); $at += 8192)
	{
		my $page = substr($bytes, $at, 8192);
		my ($lower, $upper) = unpack('x12 S S', $page);

		push @pages, $lower == 0 ? '' : substr($page, 24, $lower - 24) . substr($page, $upper);
	}
	return @pages;
}
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->wait_for_catchup($primary, 'replay', $standby->lsn('insert'));
$primary->safe_psql('postgres', 'CHECKPOINT');
foreach my $leaf ([ 'whole', 0 ], [ 'whole', 1 ], [ 'ring', 0 ], [ 'keys', 0 ])
{
	my @here = pages($primary, @$leaf);
	my @there = pages($standby, @$leaf);
	my @differ = grep { ($here[$_] // '') ne ($there[$_] // '') } 0 .. ($#here > $#there ? $#here : $#there);

	is("@differ", '', "rewound: the same bytes in partition $leaf->[1] of $leaf->[0]");
}
$standby->stop;
$primary->promote;
goes_on($primary, 'rewound and promoted', 3);

# ---- incremental backups ----

SKIP:
{
	skip 'incremental backups come with PostgreSQL 17', 1 if $primary->pg_version < 17;

	$primary->append_conf('postgresql.conf', "summarize_wal = on\n");
	$primary->restart;
	$primary->backup('full');
	load_on($primary, 5);
	let_it_work($primary);
	$primary->command_ok([ 'pg_basebackup', '-c', 'fast', '--no-sync', '-D', $primary->backup_dir . '/part', '-d', $primary->connstr('postgres'),
			'--incremental', $primary->backup_dir . '/full/backup_manifest' ], 'incremental backup');
	load_off($primary, 'incremental backup');
	command_ok([ 'pg_combinebackup', '--no-sync', '-o', $primary->backup_dir . '/combined', map { $primary->backup_dir . "/$_" } qw(full part) ],
		'pg_combinebackup');
	my $combined = PostgreSQL::Test::Cluster->new('combined');
	$combined->init_from_backup($primary, 'combined');
	$combined->append_conf('postgresql.conf', "archive_mode = off\n");
	$combined->start;
	consistent($combined, 'incremental backup');
	same_past($combined, $primary, 'incremental backup');
	goes_on($combined, 'incremental backup', 3);
	$combined->stop;
}

$primary->stop;
done_testing();
