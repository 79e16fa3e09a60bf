# Transaction ids wrap around, several times: pg_resetwal moves the next xid by
# more than 2^30 between VACUUM FREEZEs, until the counter has gone past 2^32.
# Committed records stay visible and unchanged, aborted ones invisible,
# datfrozenxid advances, commit status is truncated under what was frozen, and a
# log that was never frozen holds datfrozenxid back.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('freeze', conf => "max_connections = 10\neventlog.maintenance = off\n");
my $ledger = ledger_new();

$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('laps', 2, 'text', 'text', '{"segment.bytes": 1048576}');
CREATE INDEX ON topics."laps:1" (key);
CREATE TABLE expected (lap int, key text, value text);
SQL

# Records of every kind of transaction; "gone" ones must never be seen.
sub write_lap
{
	my ($lap) = @_;

	$node->safe_psql('postgres', <<SQL);
INSERT INTO topics.laps (partition, key, value) SELECT i % 2, 'lap$lap', repeat('x', i) FROM generate_series(1, 500) i;
INSERT INTO expected SELECT $lap, 'lap$lap', repeat('x', i) FROM generate_series(1, 500) i;
BEGIN;
INSERT INTO topics.laps (partition, key, value) SELECT i % 2, 'gone', 'aborted' FROM generate_series(1, 200) i;
SELECT count(*) FROM eventlog.flush();
ROLLBACK;
BEGIN;
SELECT eventlog.produce('laps', 'lap$lap', 'before the savepoint', partition => 0);
SAVEPOINT s;
SELECT eventlog.produce('laps', 'gone', 'aborted subtransaction', partition => 0);
SELECT count(*) FROM eventlog.flush();
ROLLBACK TO s;
SAVEPOINT t;
SELECT eventlog.produce('laps', 'lap$lap', 'subtransaction', partition => 1);
SELECT count(*) FROM eventlog.flush();
RELEASE t;
INSERT INTO expected VALUES ($lap, 'lap$lap', 'before the savepoint'), ($lap, 'lap$lap', 'subtransaction');
COMMIT;
BEGIN;
SELECT eventlog.produce('laps', 'gone', 'aborted and large: ' || repeat('y', 400000), partition => 1);
SELECT count(*) FROM eventlog.flush();
ROLLBACK;
SQL
}

sub check_lap
{
	my ($name) = @_;

	ledger_check($ledger, $node, 'laps', $name);
	is($node->safe_psql('postgres', <<'SQL'), '0|0', "$name: what was committed, and nothing else");
SELECT (SELECT count(*) FROM (SELECT key, value FROM topics.laps EXCEPT ALL SELECT key, value FROM expected) a),
	(SELECT count(*) FROM (SELECT key, value FROM expected EXCEPT ALL SELECT key, value FROM topics.laps) b)
SQL
	is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM topics."laps:1" WHERE key = 'gone'}),
		'0', "$name: no aborted record through an index");
}

sub pg_xact_files
{
	opendir(my $dir, $node->data_dir . '/pg_xact') or die;
	return sort grep { /^[0-9A-F]{4}$/ } readdir($dir);
}

sub vacuum_freeze
{
	# every database, or the oldest one holds the commit status back
	$node->safe_psql('postgres', 'UPDATE pg_database SET datallowconn = true');
	foreach my $db (qw(postgres template0 template1))
	{
		$node->safe_psql($db, 'VACUUM FREEZE');
	}
}

write_lap(0);
check_lap('lap 0');

# What has not been frozen holds datfrozenxid back.
$node->safe_psql('postgres', 'VACUUM FREEZE pg_class');
my $leaf_xid = q{SELECT relfrozenxid FROM pg_class WHERE oid = 'topics."laps:0"'::regclass};
my $unfrozen = $node->safe_psql('postgres', $leaf_xid);
isnt($unfrozen, '0', 'a leaf has a relfrozenxid from the start');
$node->safe_psql('postgres', 'CREATE TABLE burn (n int)');
$node->safe_psql('postgres', join('', map { "INSERT INTO burn VALUES ($_);\n" } 1 .. 50));
vacuum_freeze();
my $frozen = $node->safe_psql('postgres', $leaf_xid);
cmp_ok($frozen, '>', $unfrozen, 'VACUUM FREEZE moves relfrozenxid');

# A transaction that is still running holds it back.
my $open = $node->background_psql('postgres');
$open->query_safe(q{BEGIN; SELECT eventlog.produce('laps', 'lap0', 'still open', partition => 0); SELECT count(*) FROM eventlog.flush()});
my $open_xid = $open->query_safe('SELECT txid_current()');
write_lap(1);
vacuum_freeze();
cmp_ok($node->safe_psql('postgres', $leaf_xid), '<=', $open_xid, 'a running writer holds relfrozenxid back');
check_lap('with a running writer');
$open->query_safe(q{INSERT INTO expected VALUES (0, 'lap0', 'still open'); COMMIT});
$open->quit;
check_lap('it has committed');
vacuum_freeze();
cmp_ok($node->safe_psql('postgres', $leaf_xid), '>', $open_xid, 'and then no longer');

# Laps.  2^32 = 4294967296; each step is less than 2^31 ahead of what is frozen.
my $lap = 1;
foreach my $step ([ 1_000_000_000, 0 ], [ 2_000_000_000, 0 ], [ 2_900_000_000, 0 ], [ 4_200_000_000, 0 ],
	[ 900_000_000, 1 ], [ 2_500_000_000, 1 ], [ 3_900_000_000, 1 ], [ 1_100_000_000, 2 ])
{
	my ($xid, $epoch) = @$step;
	my $before = $node->safe_psql('postgres', q{SELECT datfrozenxid FROM pg_database WHERE datname = 'postgres'});

	# a multiple of what one file holds
	$xid -= $xid % (8192 * 4 * 32);
	$xid += 100;
	$lap++;
	jump_to_xid($node, $xid, $epoch);
	check_lap("lap $lap, frozen before");
	write_lap($lap);
	check_lap("lap $lap, new");
	restart_server($node) if $lap % 2;
	vacuum_freeze();
	check_lap("lap $lap, frozen");
	my $after = $node->safe_psql('postgres', q{SELECT datfrozenxid FROM pg_database WHERE datname = 'postgres'});
	isnt($after, $before, "lap $lap: datfrozenxid has moved");
	is($node->safe_psql('postgres',
			q{SELECT max(age(datfrozenxid)) < 100000 AND (SELECT max(age(relfrozenxid)) < 100000 FROM pg_class WHERE relfrozenxid <> '0') FROM pg_database}),
		't', "lap $lap: everything is young");
	$node->safe_psql('postgres', 'CHECKPOINT');
	my @files = pg_xact_files();
	is(scalar @files, 1, "lap $lap: older commit status is gone (@files)");
}

is($node->safe_psql('postgres', q{SELECT count(*) FROM topics.laps WHERE key = 'gone' OR value LIKE '%aborted%'}),
	'0', 'nothing aborted, after all laps');
$node->safe_psql('postgres', 'REINDEX TABLE topics."laps:1"');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM topics."laps:1" WHERE key = 'lap0'}),
	$node->safe_psql('postgres', q{SELECT count(*) FROM topics."laps:1" WHERE key || '' = 'lap0'}), 'an index built over frozen records');

$node->stop;
done_testing();
