# A capture on a server that takes over, and in copies of its database.
#
# Without its slot, which a standby before PostgreSQL 17 has not, a capture
# cannot prove that nothing is missing: it says from where on, and goes on only
# as it was told.  A copy (point-in-time recovery, a database made from a
# template, a restored dump) touches nothing until somebody resumes it there.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CaptureTest;
use EventlogTest;

my $primary = new_server('primary', streaming => 1, archiving => 1, conf => capture_conf());

$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE item (id int PRIMARY KEY, v text);
CREATE PUBLICATION items FOR TABLE item;
INSERT INTO item VALUES (1, 'at first');
SQL
create_capture($primary, 'strict', q{publication => 'items'});
create_capture($primary, 'anew',   q{publication => 'items', config => '{"snapshot.mode": "when_needed"}'});

$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', q{INSERT INTO item VALUES (2, 'before the failover')});
wait_caught_up($primary, $_) foreach qw(strict anew);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));

is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_eventlog%capture%'}),
	'0', 'a standby captures nothing');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM topics."strict.public.item"}), '2', 'and has the topics');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM eventlog.captures}), '2', 'and the view');

# ---- a database made from a template, a restored dump ----

my $copied = sub {
	my ($node, $database, $how) = @_;

	ok($node->poll_query_until($database, q{SELECT string_agg(DISTINCT state, ' ') = 'needs_adoption' FROM eventlog.captures}), "$how: needs adoption");
	$node->safe_psql($database, q{INSERT INTO item VALUES (100, 'in the copy')});
	is($node->safe_psql($database, q{SELECT count(*) FROM topics."strict.public.item" WHERE key->>'id' = '100'}), '0', "$how: nothing is captured");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_replication_slots WHERE database = '$database'"), '0', "$how: and no slot made");
};

is(scalar $primary->psql('postgres', q{SELECT 1}), 0, 'here');
$primary->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
$copied->($primary, 'copy', 'a copy of the database');
wait_capture($primary, 'strict', 'streaming');
$primary->safe_psql('postgres', q{INSERT INTO item VALUES (3, 'after the copy')});
wait_caught_up($primary, 'strict');
check_rebuilt($primary, 'strict', 'item', 'id', title => 'the original goes on');

my $dump = $primary->basedir . '/dump.sql';
$primary->command_ok([ 'pg_dump', '-f', $dump, $primary->connstr('postgres') ], 'dumped');
$primary->safe_psql('template1', 'CREATE DATABASE restored');
$primary->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $primary->connstr('restored') ], 'restored');
$copied->($primary, 'restored', 'a restored dump');

# Resumed by name, it is one of its own, with a slot of its own.
$primary->safe_psql('restored', q{SELECT eventlog.resume_capture('anew')});
wait_capture($primary, 'anew', 'streaming', db => 'restored');
$primary->safe_psql('restored', q{INSERT INTO item VALUES (101, 'adopted')});
wait_caught_up($primary, 'anew', db => 'restored');
is($primary->safe_psql('restored', q{SELECT count(*) FROM topics."anew.public.item" WHERE key->>'id' = '101'}), '1', 'adopted: it works');
is($primary->safe_psql('postgres', q{SELECT state FROM eventlog.captures WHERE name = 'anew'}), 'streaming', 'and the original, too');
is($primary->safe_psql('postgres', q{SELECT count(*) FROM topics."anew.public.item" WHERE key->>'id' = '101'}), '0', 'apart from each other');
$primary->safe_psql('restored', q{SELECT eventlog.drop_capture('anew')});

# ---- point-in-time recovery ----

$primary->safe_psql('postgres', q{SELECT pg_create_restore_point('here')});
$primary->safe_psql('postgres', q{INSERT INTO item VALUES (4, 'after the point')});
$primary->safe_psql('postgres', q{SELECT pg_switch_wal()});
my $recovered = PostgreSQL::Test::Cluster->new('recovered');
$recovered->init_from_backup($primary, 'b', has_restoring => 1, standby => 0);
$recovered->append_conf('postgresql.conf', "recovery_target_name = 'here'\nrecovery_target_action = 'promote'\n");
$recovered->start;
$recovered->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'recovery does not end';
$copied->($recovered, 'postgres', 'after point-in-time recovery');
$recovered->restart;
$copied->($recovered, 'postgres', 'and after a restart of that') if $recovered->safe_psql('postgres', q{DELETE FROM item WHERE id = 100}) eq '';
$recovered->stop;

# ---- failover ----

wait_caught_up($primary, $_) foreach qw(strict anew);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
$primary->stop('immediate');
$standby->promote;
$standby->safe_psql('postgres', q{INSERT INTO item VALUES (5, 'after the failover')});

if ($standby->safe_psql('postgres', 'SHOW server_version_num') < 170000)
{
	ok($standby->poll_query_until('postgres', q{SELECT state = 'failed' AND last_error LIKE '%slot%' FROM eventlog.captures WHERE name = 'strict'}),
		'a capture without its slot stops');
	like(capture_is($standby, 'strict', 'last_error'), qr/[0-9A-F]+\/[0-9A-F]+/, 'and says from where on something may be missing');
	is($standby->safe_psql('postgres', q{SELECT count(*) FROM topics."strict.public.item" WHERE key->>'id' = '5'}), '0',
		'and does not go on in silence');
	wait_capture($standby, 'anew', 'streaming');
	wait_caught_up($standby, 'anew');
	like($standby->safe_psql('postgres', q{SELECT string_agg(key->>'id', ' ' ORDER BY record_offset) FROM topics."anew.public.item" WHERE value->>'op' = 'r'}),
		qr/^1 1 2 3 4(?: 5)?$/, 'or reads everything anew, if it was told to');
	is($standby->safe_psql('postgres', q{SELECT count(*) FROM topics."anew.public.item" WHERE key->>'id' = '5'}), '1',
		'what was changed since the failover is there, once');
	$standby->safe_psql('postgres', q{INSERT INTO item VALUES (6, 'and on'); DELETE FROM item WHERE id = 2});
	wait_caught_up($standby, 'anew');
	is($standby->safe_psql('postgres', q{SELECT string_agg(coalesce(value->>'op', 'tombstone'), ' ' ORDER BY record_offset) FROM (SELECT * FROM topics."anew.public.item" ORDER BY record_offset DESC LIMIT 3) t}),
		'c d tombstone', 'and goes on');
}
$standby->stop;
done_testing();
