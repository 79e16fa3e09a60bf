# Mirrors of a server that has been succeeded, and of its copies.
#
# A standby is promoted while its primary lives on: the promoted one has the
# mirrors, the other is fenced and stays so.  If Kafka has what the promoted one
# has lost, it does not go on by itself, even when its log has grown past that
# meanwhile.  Copies of a server wait to be adopted, and fence nothing.
#
# Needs Java and Kafka's jars (test/kafka/broker.sh); says so where they are not.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use FindBin;
use lib $FindBin::RealBin;
use EventlogTest;
use MirrorTest;

need_broker();
broker_start();
my $old = new_server('mirrors_old', streaming => 1, archiving => 1);
my $judge = new_server('mirrors_judge');
new_kafka_server($_) foreach $old, $judge;

foreach my $topic (qw(whole torn))
{
	$old->safe_psql('postgres', <<SQL);
SELECT eventlog.create_topic('$topic', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('$topic', 'kafka', 'out', '$topic', '$topic', '{"create.topic": true}');
SQL
	wait_for_state($old, $topic, 'streaming');
	$judge->safe_psql('postgres', <<SQL);
SELECT eventlog.create_topic('$topic', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('$topic', 'kafka', 'in', '$topic');
SQL
}

# What has to be in Kafka, by topic.
my %expected = (whole => '', torn => '');

sub produce
{
	my ($node, $topic, $key, $n, %params) = @_;

	$node->safe_psql('postgres', ($params{before} // '') .
		"SELECT count(eventlog.produce('$topic', '$key', 'value ' || i)) FROM generate_series(1, $n) i");
	return if $params{unseen};
	$expected{$topic} .= $key x $n;
}

sub has_arrived
{
	my ($topic, $title) = @_;
	my $n = length $expected{$topic};

	wait_for_records($judge, $topic, $n, "$title: all has come");
	usleep(300_000);
	is($judge->safe_psql('postgres', "SELECT string_agg(key, '' ORDER BY record_offset) FROM topics.$topic"),
		$expected{$topic}, "$title: in order, once each");
}

produce($old, $_, 'a', 50) foreach qw(whole torn);
has_arrived($_, 'before') foreach qw(whole torn);
$old->backup('b');
my $new = PostgreSQL::Test::Cluster->new('mirrors_new');
$new->init_from_backup($old, 'b', has_streaming => 1);
$new->start;
produce($old, $_, 'b', 10) foreach qw(whole torn);
has_arrived($_, 'with a standby') foreach qw(whole torn);
$old->wait_for_catchup($new, 'replay', $old->lsn('flush'));
is($new->safe_psql('postgres', 'SELECT count(*) FROM eventlog.mirrors WHERE pid IS NOT NULL'), 0, 'a standby mirrors nothing');

# ---- promoted while the primary lives on, which has sent more ----

$new->safe_psql('postgres', "ALTER SYSTEM SET primary_conninfo = ''; ");
$new->reload;
$new->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_wal_receiver');
produce($old, 'torn', 'c', 10);
has_arrived('torn', 'what the standby never gets');
# at once more than was lost: numbers alone tell nothing
produce($new, 'torn', 'd', 30, unseen => 1, before => 'SELECT pg_promote();');
wait_for_state($new, 'torn', 'diverged', 'a promoted standby that lacks what Kafka has does not go on');
note mirror_column($new, 'torn', 'last_error');
produce($new, 'whole', 'd', 10);
has_arrived('whole', 'one that lacks nothing does, by itself');
is(mirror_state($new, 'whole'), 'streaming', 'it streams');

produce($old, 'whole', 'x', 10, unseen => 1);
wait_for_state($old, 'whole', 'fenced', 'the primary that was is fenced');
like(mirror_column($old, 'whole', 'last_error'), qr/another server/, 'and says why');
produce($new, 'whole', 'e', 10);
has_arrived('whole', 'beside it');
$old->restart;
produce($old, 'whole', 'x', 10, unseen => 1);
usleep(1_500_000);
is(mirror_state($old, 'whole'), 'fenced', 'it stays so, after a restart too');
produce($new, 'whole', 'f', 10);
has_arrived('whole', 'which disturbs nobody');
is(mirror_state($new, 'whole'), 'streaming', 'the successor streams');

# the one that was not succeeded goes on
produce($old, 'torn', 'g', 10);
has_arrived('torn', 'the primary has what nobody has taken over');

# ---- somebody chooses ----

$new->psql('postgres', "SELECT eventlog.resume_mirror('torn')", stderr => \my $refused);
like($refused, qr/is diverged/, 'the promoted one wants to know from where');
# it lacks the last ones
$new->safe_psql('postgres', q{SELECT eventlog.resume_mirror('torn', '{"0": 60}')});
$expected{torn} .= 'd' x 30;
has_arrived('torn', 'told so, it takes over');
produce($old, 'torn', 'x', 10, unseen => 1);
wait_for_state($old, 'torn', 'fenced', 'and now the other is fenced');
$old->safe_psql('postgres', q{SELECT eventlog.resume_mirror('torn')});
wait_for_state($old, 'torn', 'fenced', 'resumed without a start, it finds its successor');
produce($new, 'torn', 'h', 10);
has_arrived('torn', 'which goes on');
$old->safe_psql('postgres', q{SELECT eventlog.resume_mirror('torn', 'latest')});
wait_for_state($old, 'torn', 'streaming', 'with a start, it takes the mirror back');
produce($old, 'torn', 'i', 10);
has_arrived('torn', 'taken back');
produce($new, 'torn', 'x', 10, unseen => 1);
wait_for_state($new, 'torn', 'fenced', 'so the promoted one is fenced');
produce($old, 'torn', 'j', 10);
has_arrived('torn', 'to the end');
$old->stop('fast');

# ---- copies ----

my $dump = $new->basedir . '/dump.sql';
$new->command_ok([ 'pg_dump', '-f', $dump, $new->connstr('postgres') ], 'dumped');
$new->safe_psql('template1', 'CREATE DATABASE restored');
$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $new->connstr('restored') ], 'restored');
$new->backup('c');
my $copy = PostgreSQL::Test::Cluster->new('mirrors_copy');
$copy->init_from_backup($new, 'c');
$copy->append_conf('postgresql.conf', "restore_command = 'false'\nrecovery_target_action = 'promote'\n");
append_to_file($copy->data_dir . '/recovery.signal', '');
$copy->start;
$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
$copy->safe_psql('postgres', q{SELECT count(eventlog.produce('whole', 'x', 'copy')) FROM generate_series(1, 100)});
$new->safe_psql('restored', q{SELECT count(eventlog.produce('whole', 'x', 'copy')) FROM generate_series(1, 100)});
wait_for_state($copy, 'whole', 'needs_adoption', 'a copy started beside its original waits to be adopted');
is($new->safe_psql('restored', q{SELECT state FROM eventlog.mirrors WHERE name = 'whole'}), 'needs_adoption', 'and so does a restored dump');
produce($new, 'whole', 'k', 10);
usleep(1_000_000);
produce($new, 'whole', 'l', 10);
has_arrived('whole', 'beside copies');
is(mirror_state($new, 'whole'), 'streaming', 'the original streams');
is($new->safe_psql('postgres', q{SELECT aborted_transactions FROM eventlog.mirrors WHERE name = 'whole'}), 0, 'and was not fenced');

# The copy has records that Kafka has not, and lacks those that it has.
$copy->safe_psql('postgres', q{SELECT eventlog.resume_mirror('whole')});
wait_for_state($copy, 'whole', 'diverged', 'adopted, the copy finds that Kafka has another history');
produce($new, 'whole', 'm', 10);
has_arrived('whole', 'which concerns the original not');

is(crashes($_), '', 'no process has died') foreach $old, $new, $copy;
$_->stop('fast') foreach $copy, $new, $judge;
broker_stop();
done_testing();
