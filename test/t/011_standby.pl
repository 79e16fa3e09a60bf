# A streaming standby, with wal_consistency_checking for all resource managers:
# it replays a mixed workload and reads the same bytes; the pages that redo makes
# are the pages that the primary wrote (else the standby stops).  CREATE DATABASE
# copies topics by either strategy, on both.  A snapshot of the standby that
# takes a transaction for running goes on not seeing it though its records are
# frozen: replay waits for it, or cancels it.  A promoted standby goes on with the
# next offset, under the new timeline as partitionLeaderEpoch, and finishes what
# was prepared before.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

# "all" is read before our resource manager is registered, and leaves it out;
# naming it has the server look again.
my $primary = new_server('primary', streaming => 1, conf => <<'CONF');
wal_consistency_checking = 'all, eventlog'
shared_buffers = 16MB
max_connections = 20
max_standby_streaming_delay = -1
CONF
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
}

my @topics = qw(mixed truncated packed);

sub same
{
	my ($name, %params) = @_;

	catch_up();
	foreach my $topic (@topics)
	{
		my $there = topic_lines($primary, $topic, %params);

		ok($there ne '', "$name: there is something in $topic");
		ok(topic_lines($standby, $topic, %params) eq $there, "$name: the standby reads the same bytes of $topic");
	}
}

# ---- a mixed workload ----

$primary->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('mixed', 2, 'text', 'text', '{"segment.bytes": 1048576}');
SELECT eventlog.create_topic('truncated', 1, 'text', 'text');
SELECT eventlog.create_topic('packed', 1, 'text', 'text', '{"compression.type": "zstd"}');
INSERT INTO topics.mixed (partition, key, value) VALUES (0, 'tiny', 'tiny'), (1, null, null), (0, '', '');
INSERT INTO topics.mixed (partition, key, value) SELECT i % 2, 'k' || i % 100, repeat(md5(i::text), 1 + i % 9) FROM generate_series(1, 20000) i;
INSERT INTO topics.mixed (partition, key, value) SELECT 0, 'large', repeat(md5(i::text), 5000 * i) FROM generate_series(1, 6) i;
INSERT INTO topics.packed (key, value) SELECT i, repeat(md5((i / 100)::text), 10) FROM generate_series(1, 5000) i;
INSERT INTO topics.truncated (value) SELECT 'before ' || i FROM generate_series(1, 1000) i;
SELECT eventlog.produce('mixed', 'one', i::text, eventlog.headers('h', 'v', 'h', null), partition => 1)
	FROM generate_series(1, 10) i;
SQL
same('first load');

# transactions that end in every way
for my $i (1 .. 30)
{
	$primary->safe_psql('postgres', <<SQL);
BEGIN;
SELECT eventlog.produce('mixed', 'kept', 'a $i', partition => 0);
SAVEPOINT s;
INSERT INTO topics.mixed (partition, key, value) SELECT 0, 'gone', repeat('gone', 20000) FROM generate_series(1, 3);
SELECT count(*) FROM eventlog.flush();
ROLLBACK TO s;
SELECT eventlog.produce('mixed', 'kept', 'b $i', partition => 0);
SELECT count(*) FROM topics.mixed WHERE partition = 0;
COMMIT;
BEGIN;
INSERT INTO topics.mixed (key, value) SELECT 'gone', 'gone' FROM generate_series(1, 200);
SELECT count(*) FROM eventlog.flush();
ROLLBACK;
SQL
}
same('savepoints and aborts');
is( $standby->safe_psql('postgres', q{SELECT count(*) FROM topics.mixed WHERE key = 'gone'}),
	'0', 'what was rolled back is not seen on the standby');

$primary->safe_psql('postgres', 'VACUUM topics.mixed; VACUUM FREEZE topics.packed');
same('VACUUM marks and freezes');
$primary->safe_psql('postgres', <<'SQL');
CREATE INDEX ON topics.mixed (key);
INSERT INTO topics.mixed (partition, key, value) SELECT 1, 'k7', 'indexed' FROM generate_series(1, 50);
TRUNCATE topics.truncated;
INSERT INTO topics.truncated (value) SELECT 'after ' || i FROM generate_series(1, 500) i;
BEGIN; SELECT eventlog.create_topic('gone'); SELECT eventlog.produce('gone', null, '{}'); SELECT count(*) FROM eventlog.flush(); ROLLBACK;
CHECKPOINT;
INSERT INTO topics.mixed (partition, key, value) SELECT i % 2, 'k' || i, repeat('z', i % 2000) FROM generate_series(1, 3000) i;
VACUUM topics.mixed;
SQL
same('index, TRUNCATE, checkpoint');
my $by_index = q{SET enable_seqscan = off; SELECT count(*), sum(record_offset) FROM topics.mixed WHERE partition = 1 AND key = 'k7'};
is($standby->safe_psql('postgres', $by_index), $primary->safe_psql('postgres', $by_index), 'index scan on the standby');
my $backward = q{SELECT sum(hashtext(value)) FROM (SELECT value FROM topics.mixed WHERE partition = 0 ORDER BY record_offset DESC LIMIT 3000) t};
is($standby->safe_psql('postgres', $backward), $primary->safe_psql('postgres', $backward), 'backward scan on the standby');

my $read = q{SELECT count(*), sum(hashtextextended(encode(value, 'hex'), record_offset)) FROM eventlog.read('mixed', 0, 0, null)};
is($standby->safe_psql('postgres', $read), $primary->safe_psql('postgres', $read), 'read() on the standby');

my ($status, $out, $err) = $standby->psql('postgres', q{SELECT eventlog.produce('mixed', 'no', 'no')});
like($err, qr/read-only transaction|during recovery/, 'nothing is produced on a standby');
($status, $out, $err) = $standby->psql('postgres', q{SELECT count(*) FROM eventlog.consume('g', 'mixed')});
like($err, qr/read-only transaction|during recovery/, 'nor consumed for a group');
unlike($standby->safe_psql('postgres', 'SELECT count(*) FROM topics.mixed'), qr/^0$/, 'and the standby goes on');

# ---- CREATE DATABASE ----

$primary->safe_psql('postgres', 'CREATE DATABASE template_of_ours TEMPLATE postgres');
foreach my $strategy (qw(wal_log file_copy))
{
	$primary->safe_psql('postgres', "CREATE DATABASE by_$strategy TEMPLATE template_of_ours STRATEGY $strategy");
	is(topic_lines($primary, 'mixed', db => "by_$strategy"), topic_lines($primary, 'mixed'), "$strategy copies a topic intact");
	my $next = $primary->safe_psql("by_$strategy", <<'SQL');
SELECT max(record_offset) + 1 FROM topics.mixed WHERE partition = 0;
INSERT INTO topics.mixed (partition, key, value) VALUES (0, 'new', 'in the copy') RETURNING record_offset;
VACUUM FREEZE topics.mixed;
SQL
	my ($wanted, $got) = split /\n/, $next;
	cmp_ok($got, '>=', $wanted, "$strategy: the copy goes on with a higher offset");
	same("$strategy: in the copy", db => "by_$strategy");
	is($primary->safe_psql('postgres', q{SELECT count(*) FROM topics.mixed WHERE key = 'new'}), '0', "$strategy: and not in the original");
}

# ---- conflict between an old snapshot and freezing ----

sub open_conflict
{
	my ($key) = @_;
	my $writer = $primary->background_psql('postgres', on_error_die => 1);
	$writer->query_safe("BEGIN; SELECT eventlog.produce('truncated', '$key', 'running'); SELECT count(*) FROM eventlog.flush()");

	# somebody else's commit makes sure that the standby knows both
	$primary->safe_psql('postgres', 'CHECKPOINT; SELECT txid_current()');
	catch_up();
	my $reader = $standby->background_psql('postgres', on_error_stop => 0);
	$reader->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM topics.mixed WHERE record_offset < 0");
	is($reader->query_safe("SELECT count(*) FROM topics.truncated WHERE key = '$key'"), '0', "$key: running on the standby");
	$writer->query_safe('COMMIT');
	$writer->quit;
	$primary->safe_psql('postgres', 'VACUUM topics.truncated');
	return $reader;
}

my $reader = open_conflict('waits');
ok($standby->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryConflictSnapshot'}),
	'replay of freezing waits for an older snapshot');
is($reader->query_safe(q{SELECT count(*) FROM topics.truncated WHERE key = 'waits'}), '0', 'which goes on not seeing the frozen record');
$reader->query_safe('COMMIT');
catch_up();
is($reader->query_safe(q{SELECT count(*) FROM topics.truncated WHERE key = 'waits'}), '1', 'and sees it in its next transaction');
$reader->quit;

$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = 0');
$standby->reload;
$reader = open_conflict('cancels');
catch_up();
my $answer = eval { $reader->query(q{SELECT 'rows ' || count(*) FROM topics.truncated WHERE key = 'cancels'}) } // '';
unlike($answer, qr/rows 1/, 'an older snapshot is not shown frozen records');
eval { $reader->quit };
like(slurp_file($standby->logfile), qr/due to conflict with recovery/, 'it is cancelled');
same('after conflicts');

# ---- promotion ----

my %before = batch_epochs($primary, 'mixed', 0);
is(join(' ', sort { $a <=> $b } keys %{ { map { $_ => 1 } values %before } }), '1', 'all batches were written under timeline 1');
$primary->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT eventlog.produce('mixed', 'prepared', 'prepared before, committed after', partition => 0);
PREPARE TRANSACTION 'before_promotion';
SQL
my $ledger = ledger_new();
ledger_check($ledger, $primary, $_, 'before promotion') foreach @topics;
my $high = $primary->safe_psql('postgres', q{SELECT max(record_offset) FROM topics.mixed WHERE partition = 0});
catch_up();
kill_server($primary);
$standby->promote;
ledger_check($ledger, $standby, $_, 'promoted') foreach @topics;
my $first = $standby->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT eventlog.produce('mixed', 'promoted', 'after promotion', partition => 0);
SELECT first_offset FROM eventlog.flush();
COMMIT;
SQL
$first =~ s/^\s+//;
is($first, $high + 2, 'the next offset comes behind the prepared one');
$standby->safe_psql('postgres', q{COMMIT PREPARED 'before_promotion'});
is($standby->safe_psql('postgres', q{SELECT value FROM topics.mixed WHERE partition = 0 AND record_offset > } . $high . ' ORDER BY record_offset'),
	"prepared before, committed after\nafter promotion", 'both are read');
my %after = batch_epochs($standby, 'mixed', 0);
is($after{$first}, 2, 'the new batch carries timeline 2');
is((grep { !defined $after{$_} || $after{$_} != 1 } keys %before), 0, 'the old ones still carry timeline 1');
$standby->safe_psql('postgres', 'VACUUM FREEZE topics.mixed');
$standby->safe_psql('postgres', q{INSERT INTO topics.mixed (partition, value) SELECT 1, repeat('new', 1000) FROM generate_series(1, 2000)});
restart_server($standby);
ledger_check($ledger, $standby, $_, 'promoted and crashed') foreach @topics;

my $log = slurp_file($standby->logfile);
unlike($log, qr/inconsistent page found|PANIC/, 'no page differed');
$standby->stop;
done_testing();
