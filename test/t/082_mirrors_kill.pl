# Mirrors in both directions, under load, while their worker, the server and the
# broker are killed by SIGKILL, over and over: afterwards the topic that went out
# and the one that came back in are equal, record by record.
#
# Then a broker that does not answer: the server still stops at once.  And a
# zombie: a worker that is stopped while it sends, outlives its server, and goes
# on beside a successor, which was made from the server's files: nothing comes
# twice.
#
# MIRROR_KILL_SECONDS: how long (40).  MIRROR_KILL_SEED chooses who dies when;
# it is printed.
#
# Needs Java and Kafka's jars (test/kafka/broker.sh); says so where they are not.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use FindBin;
use lib $FindBin::RealBin;
use EventlogTest;
use MirrorTest;

my $seconds = $ENV{MIRROR_KILL_SECONDS} // 40;
my $seed    = $ENV{MIRROR_KILL_SEED}    // int(rand(1 << 30));
srand($seed);
note "MIRROR_KILL_SEED=$seed";

need_broker();
broker_start();
my $node = new_server('mirrors_kill', conf => "fsync = on\nrestart_after_crash = on\n");
new_kafka_server($node);

sub sql { return $node->safe_psql('postgres', @_); }

sql(<<SQL);
SELECT eventlog.create_topic(name, 3, key_type => 'text', value_type => 'text')
	FROM unnest(ARRAY['src', 'dst']) name;
SELECT eventlog.create_mirror('out', 'kafka', 'out', 'src', 'killed', '{"create.topic": true}');
SELECT eventlog.create_mirror('in', 'kafka', 'in', 'dst', 'killed');
SQL

# A client that writes until it is told to stop, and starts again when the
# server has died.  One transaction in five is rolled back.
my $stop = PostgreSQL::Test::Utils::tempdir() . '/stop';
my $load = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($load, join('', map {
			my $end = $_ % 5 ? 'COMMIT' : 'ROLLBACK';
			<<SQL } 1 .. 20) . "SELECT pg_sleep(0.3);\n");
BEGIN;
SELECT count(eventlog.produce('src', 'k' || (random() * 100)::int, repeat(md5(random()::text), 1 + (random() * 5)::int)))
	FROM generate_series(1, 1 + (random() * 300)::int);
$end;
SQL

sub start_load
{
	my @dsn = ('-d', $node->connstr('postgres'));
	my $pid = fork() // die "fork: $!";

	return $pid if $pid;
	$SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	while (!-e $stop)
	{
		system('psql', '-XAtq', @dsn, '-f', $load, '-o', '/dev/null') == 0
		  or usleep(200_000);
	}
	require POSIX;
	POSIX::_exit(0);
}

my @clients = map { start_load() } 1 .. 2;
my %died = (worker => 0, server => 0, broker => 0);
my $until = time + $seconds;

while (time < $until)
{
	usleep(300_000 + int(rand(2_500_000)));
	my $chance = rand();
	if ($chance < 0.15)
	{
		broker_kill();
		broker_start();
		$died{broker}++;
	}
	elsif ($chance < 0.35)
	{
		restart_server($node);
		$died{server}++;
	}
	else
	{
		my $pid = eval { sql("SELECT pid FROM eventlog.mirrors WHERE pid IS NOT NULL LIMIT 1") } or next;
		kill_backend($node, $pid);
		$died{worker}++;
	}
}
# whatever the dice say, each dies once
if (!$died{worker})
{
	kill_backend($node, worker_of($node, 'out'));
	$died{worker}++;
}
if (!$died{server})
{
	restart_server($node);
	$died{server}++;
}
if (!$died{broker})
{
	broker_kill();
	broker_start();
	$died{broker}++;
}
append_to_file($stop, '');
waitpid($_, 0) foreach @clients;
note join(', ', map { "$_ killed $died{$_} times" } sort keys %died);

my $n = sql('SELECT count(*) FROM topics.src');
cmp_ok($n, '>', 1000, 'there was load');
wait_for_records($node, 'dst', $n, 'all records arrive');
usleep(1_000_000);
same_topics($node, 'src', 'dst', 'after all these deaths');
verified($node, 'both topics', 'src', 'dst');
is(sql("SELECT string_agg(DISTINCT state, ',') FROM eventlog.mirrors"), 'streaming', 'both mirrors stream');

# ---- a broker that does not answer ----

sub produce
{
	my ($count) = @_;
	sql("SELECT count(eventlog.produce('src', 'z' || i, 'value ' || i)) FROM generate_series(1, $count) i");
	$n += $count;
}

produce(10);
wait_for_records($node, 'dst', $n);
broker_signal('STOP');
produce(10);
usleep(1_000_000);
my $began = time;
$node->stop('fast');
my $took = time - $began;
cmp_ok($took, '<', 5, sprintf('with a frozen broker the server stops (%.1f s)', $took));
broker_signal('CONT');
$node->start;
wait_for_records($node, 'dst', $n);
same_topics($node, 'src', 'dst', 'after a frozen broker');

# ---- a zombie ----

# Stop a process where it holds nothing that others of its server wait for, in
# the WAL or in a buffer: they could not be asked for anything any more.
sub stop_outside_locks
{
	my ($pid) = @_;

	for my $attempt (1 .. 50)
	{
		my $timed_out = 0;

		kill 'STOP', $pid;
		$node->psql('postgres',
			"SELECT count(*) FROM topics.src; SELECT count(*) FROM topics.dst; SELECT pg_logical_emit_message(true, 'test', 'x')",
			timeout => 3, timed_out => \$timed_out);
		return unless $timed_out;
		kill 'CONT', $pid;
		usleep(20_000);
	}
	die 'the process always holds a lock';
}

# The worker is stopped in the middle of its load, all others die, and the files
# come to life elsewhere.
my $zombie = worker_of($node, 'out');
my $client = start_client($node, <<SQL x 100);
SELECT count(eventlog.produce('src', 'y' || i, repeat('y', 200))) FROM generate_series(1, 5000) i;
SQL
wait_for_records($node, 'dst', $n + 20_000, 'it sends');
stop_outside_locks($zombie);
finish_client($client);
sql("SELECT count(eventlog.produce('src', 'y' || i, 'after it')) FROM generate_series(1, 100) i");
cmp_ok(sql('SELECT count(*) FROM topics.dst'), '<', sql('SELECT count(*) FROM topics.src'), 'it is stopped before its end');
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
kill 'STOP', $postmaster;
my @others = grep { $_ != $zombie } children($postmaster);
$node->kill9;
kill 'KILL', @others;
wait_gone($postmaster, @others);

my $heir = PostgreSQL::Test::Cluster->new('mirrors_heir');
mkdir $heir->basedir;
system('cp', '-a', $node->data_dir, $heir->data_dir) == 0 or die 'cp';
unlink($heir->data_dir . '/postmaster.pid');
$heir->append_conf('postgresql.conf', 'port = ' . $heir->port);
$heir->start;
$node = $heir;
produce(1000);
$n = sql('SELECT count(*) FROM topics.src');
wait_for_records($node, 'dst', $n, 'the successor sends what is left');
kill 'CONT', $zombie;
wait_gone($zombie);
produce(1000);
wait_for_records($node, 'dst', $n, 'and goes on when the zombie has moved');
usleep(2_000_000);
same_topics($node, 'src', 'dst', 'beside a zombie');
is(sql("SELECT string_agg(DISTINCT state, ',') FROM eventlog.mirrors"), 'streaming', 'the successor streams');

unlink($stop);
broker_stop();
done_testing();
