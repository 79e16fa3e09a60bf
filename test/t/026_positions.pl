# Committed offsets while an old snapshot is kept: a commit costs as much after
# 20,000 others as at first, and positions are right all the same, with
# rollbacks, savepoints and prepared transactions, across VACUUM and a crash.
#
# The cost is counted in blocks that were looked at.  What keeps dead rows is a
# prepared transaction.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('positions', conf => "eventlog.maintenance = off\n");

$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('p', 1, 'text', 'text');
INSERT INTO topics.p (value) SELECT i::text FROM generate_series(0, 29999) i;
SELECT eventlog.create_group('g', 'p');

CREATE PROCEDURE advance(n int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		PERFORM eventlog.consume('g', 'p', 1);
		PERFORM eventlog.commit();
		COMMIT;
	END LOOP;
END $$;
SQL

# So many commits, by a session of its own: what it looked at is known when it
# has gone.
sub blocks
{
	my ($commits) = @_;
	my $count = q{SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit
		FROM pg_statio_all_tables WHERE relid = 'eventlog.committed_offset'::regclass};
	my $before = $node->safe_psql('postgres', $count);

	$node->safe_psql('postgres', "CALL advance($commits)");
	$node->poll_query_until('postgres', "SELECT ($count) >= $before + $commits") or die 'no statistics';
	return ($node->safe_psql('postgres', $count) - $before) / $commits;
}

sub position
{
	return $node->safe_psql('postgres',
		q{SELECT string_agg(current_offset::text, ' ') FROM eventlog.consumer_groups WHERE consumer_group = 'g'});
}

# ---- cost ----

blocks(100);
$node->safe_psql('postgres', q{BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'old'});
my $first = blocks(1000);
blocks(18_000);
my $last = blocks(1000);
note sprintf('blocks a commit: %.2f at first, %.2f at last', $first, $last);
cmp_ok($last, '<=', 1.5 * $first, 'under an old snapshot, the last of 20,000 commits looks at as many blocks as the first');
is(position(), 20_100, 'each of them has moved the position');

# ---- correctness ----

my $expected = 20_100;
my $wrong = '';

# often enough for the row to move to other pages in all of them
foreach my $i (1 .. 150)
{
	$node->safe_psql('postgres', q{
		BEGIN; SELECT count(*) FROM eventlog.consume('g', 'p', 3); SELECT eventlog.commit(); ROLLBACK;
		BEGIN; SELECT count(*) FROM eventlog.consume('g', 'p', 1); SELECT eventlog.commit();
		SAVEPOINT s; SELECT count(*) FROM eventlog.consume('g', 'p', 2); SELECT eventlog.commit(); ROLLBACK TO s;
		SAVEPOINT s; SELECT count(*) FROM eventlog.consume('g', 'p', 1); SELECT eventlog.commit(); RELEASE s;
		COMMIT;
		BEGIN; SELECT count(*) FROM eventlog.consume('g', 'p', 5); SELECT eventlog.commit(); PREPARE TRANSACTION 'no';
		ROLLBACK PREPARED 'no';
		BEGIN; SELECT count(*) FROM eventlog.consume('g', 'p', 1); SELECT eventlog.commit(); PREPARE TRANSACTION 'yes';
		COMMIT PREPARED 'yes'});
	$expected += 3;
	my $is = position();
	$wrong .= " $i: $is, not $expected" if $is ne $expected;
}
is($wrong, '', 'rollbacks, savepoints and prepared transactions leave the right position, of one row');
is($node->safe_psql('postgres', q{SELECT count(*) FROM eventlog.committed_offset WHERE consumer_group = 'g'}), 1, 'one row in the table, too');
cmp_ok($node->safe_psql('postgres', 'SELECT max(version) FROM eventlog.committed_offset'), '>', 100, 'it has moved through many pages');

# ---- a prepared transaction has the partition ----

$node->safe_psql('postgres', q{
	BEGIN; SELECT count(*) FROM eventlog.consume('g', 'p', 7); SELECT eventlog.commit(); PREPARE TRANSACTION 'holds'});
is(position(), $expected, 'what is prepared is not seen');
is($node->safe_psql('postgres', q{SELECT count(*) FROM eventlog.consume('g', 'p')}), 0, 'and its partition is passed over');
my ($ret, $out, $err) = $node->psql('postgres', q{SET lock_timeout = '100ms'; SELECT * FROM eventlog.reset_offsets('g', 'p', 'earliest')});
like($err, qr/canceling statement due to lock timeout/, 'reset_offsets() waits for it');
foreach my $call (q{drop_group('g')}, q{drop_group('g', 'p')}, q{alter_group('g', '{"group.type": "members"}')})
{
	($ret, $out, $err) = $node->psql('postgres', qq{SET lock_timeout = '100ms'; SELECT eventlog.$call});
	like($err, qr/canceling statement due to lock timeout/, "$call, too");
}
is($node->safe_psql('postgres', q{SELECT old_offset FROM eventlog.reset_offsets('g', 'p', 'latest', dry_run => true)}), $expected,
	'a dry run does not, and tells the committed position');
$node->safe_psql('postgres', q{COMMIT PREPARED 'holds'});
$expected += 7;
is(position(), $expected, 'once committed it is seen');

# the first row of a position
$node->safe_psql('postgres', q{
	SELECT eventlog.create_group('new', 'p');
	BEGIN; SELECT count(*) FROM eventlog.consume('new', 'p', 7); SELECT eventlog.commit(); PREPARE TRANSACTION 'holds'});
is($node->safe_psql('postgres', q{SELECT old_offset IS NULL FROM eventlog.reset_offsets('new', 'p', 'latest', dry_run => true)}), 't',
	'a position whose first commit is prepared does not exist yet');
$node->safe_psql('postgres', q{COMMIT PREPARED 'holds'});
is($node->safe_psql('postgres', q{SELECT old_offset FROM eventlog.reset_offsets('new', 'p', 'latest', dry_run => true)}), 7, 'and then it does');

# ---- afterwards ----

restart_server($node);
is(position(), $expected, 'a crash changes nothing');
$node->safe_psql('postgres', q{COMMIT PREPARED 'old'});
$node->safe_psql('postgres', 'VACUUM eventlog.committed_offset');
is(position(), $expected, 'nor does VACUUM');
blocks(10);
is(position(), $expected + 10, 'the group goes on');
my $size = $node->safe_psql('postgres', q{SELECT pg_relation_size('eventlog.committed_offset')});
blocks(2000);
is($node->safe_psql('postgres', q{SELECT pg_relation_size('eventlog.committed_offset')}), $size,
	'without old snapshots the table does not grow');

$node->stop;
done_testing();
