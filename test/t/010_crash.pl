# Crashes: the server, or one backend, is killed with signal 9
#
#	- at every named pause point: file extension, segment switch, the parts of
#	  an entry that takes several WAL records, append; before and after the WAL
#	  record, with and without that WAL reaching the disk;
#	- under the load of several producers and readers;
#	- after others have read what was committed with synchronous_commit = off.
#
# Proved after each: whatever was acknowledged is there, no transaction is
# there in part, what was rolled back is not there, topic and table agree on
# every transaction, every (partition, offset) ever seen by anybody still has
# the same bytes, and the next append and read succeed.
#
# CRASH_SEED chooses another load; it is printed.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

my $partitions = 3;
my $seed = $ENV{CRASH_SEED} // int(rand(1 << 30));
srand($seed);
note "CRASH_SEED=$seed";

# Few buffers, so that pages go to disk before their transactions end.
my $node = new_server('crash', conf => <<'CONF');
fsync = on
wal_level = replica
shared_buffers = 2MB
max_connections = 30
restart_after_crash = on
full_page_writes = on
max_wal_size = 64MB
CONF

$node->safe_psql('postgres', <<SQL);
SELECT eventlog.create_topic('crash', $partitions, 'text', 'text', '{"segment.bytes": 1048576}');
CREATE TABLE done (tx text PRIMARY KEY);
CREATE TABLE other (n int);
-- n records of one transaction; every value says to which it belongs
CREATE FUNCTION send(tx text, n int, bytes int, p int) RETURNS bigint LANGUAGE sql AS \$\$
	WITH sent AS MATERIALIZED (
		SELECT eventlog.produce('crash', tx || '-' || i, format('%s:%s:%s:%s', tx, n, i, repeat('x', bytes)),
			partition => p)
		FROM generate_series(1, n) i)
	SELECT count(*) FROM sent
\$\$;
SQL

my $ledger = ledger_new();
my %acked;    # transactions that were told to have committed
my $probes = 0;

sub check
{
	my ($name) = @_;
	my ($half, $differ, $never);

	ledger_check($ledger, $node, 'crash', $name);
	$node->safe_psql('postgres', <<SQL);
DROP TABLE IF EXISTS there;
CREATE TEMP TABLE there AS
	SELECT split_part(value, ':', 1) AS tx, split_part(value, ':', 2)::int AS n,
		split_part(value, ':', 3)::int AS i
	FROM topics.crash;
SQL
	my $out = $node->safe_psql('postgres', <<SQL);
CREATE TEMP TABLE there AS
	SELECT split_part(value, ':', 1) AS tx, split_part(value, ':', 2)::int AS n,
		split_part(value, ':', 3)::int AS i
	FROM topics.crash;
SELECT count(*) FROM (SELECT FROM there GROUP BY tx
	HAVING count(*) <> max(n) OR count(DISTINCT i) <> max(n) OR min(i) <> 1 OR max(i) <> max(n)) half;
SELECT count(*) FROM (SELECT DISTINCT tx FROM there) t FULL JOIN done d USING (tx) WHERE t.tx IS NULL OR d.tx IS NULL;
SELECT count(*) FROM there WHERE tx LIKE 'never%';
SELECT tx FROM done;
SQL
	($half, $differ, $never, my @done) = split /\n/, $out;
	is("$half $differ $never", '0 0 0',
		"$name: no transaction is there in part, or without its table rows, or though rolled back");
	my %done = map { $_ => 1 } @done;
	my @lost = grep { !$done{$_} } keys %acked;
	is("@lost", '', "$name: all " . keys(%acked) . " acknowledged transactions are there");
}

# The next append and read of each partition.
sub probe
{
	my ($name) = @_;
	my $tx = 'probe' . $probes++;
	my $good = 0;

	$node->safe_psql('postgres', "BEGIN; INSERT INTO done VALUES ('$tx');"
		  . join('', map { "SELECT eventlog.produce('crash', null, '$tx:$partitions:" . ($_ + 1) . ":', partition => $_);" }
			  0 .. $partitions - 1)
		  . 'COMMIT');
	$acked{$tx} = 1;
	for my $p (0 .. $partitions - 1)
	{
		$good += $node->safe_psql('postgres',
			"SELECT value LIKE '$tx:%' FROM topics.crash WHERE partition = $p ORDER BY record_offset DESC LIMIT 1") eq 't';
	}
	is($good, $partitions, "$name: the next append and read succeed");
}

# Start with something in the log.
$node->safe_psql('postgres', "BEGIN; INSERT INTO done VALUES ('first'); SELECT send('first', 100, 1000, 0); COMMIT");
$acked{first} = 1;
probe('before any crash');
check('before any crash');

# ---- at pause points ----

my @at = (
	# point, records, bytes of each, who dies, is its WAL on disk
	[ 'append-before-wal',  1,  10,      'server',  0 ],
	[ 'append-before-wal',  40, 20_000,  'backend', 1 ],
	[ 'append-after-wal',   1,  10,      'server',  0 ],
	[ 'append-after-wal',   1,  10,      'server',  1 ],
	[ 'append-after-wal',   1,  700_000, 'backend', 1 ],
	[ 'part-before-wal',    1,  700_000, 'server',  1 ],
	[ 'part-after-wal',     1,  700_000, 'server',  1 ],
	[ 'part-after-wal',     2,  900_000, 'backend', 0 ],
	[ 'extend',             5,  300_000, 'server',  1 ],
	[ 'segment-before-wal', 30, 100_000, 'server',  1 ],
	[ 'segment-after-wal',  30, 100_000, 'server',  0 ],
	[ 'segment-after-wal',  30, 100_000, 'backend', 1 ]);

foreach my $case (@at)
{
	my ($point, $n, $bytes, $dies, $on_disk) = @$case;
	my $name = "$point, $n of $bytes bytes, $dies dies, WAL " . ($on_disk ? 'on disk' : 'maybe lost');
	my $tx = "never-$point-$n-$bytes-$dies-$on_disk";
	my $client = start_paused($node, $point,
		"BEGIN; INSERT INTO done VALUES ('$tx'); SELECT send('$tx', $n, $bytes, 0); COMMIT;");

	# A commit of somebody else takes all WAL before it to the disk.
	$node->safe_psql('postgres', 'INSERT INTO other VALUES (1)') if $on_disk;
	is($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM topics.crash WHERE partition = 1'),
		't', "$name: others read and write other partitions meanwhile");
	if ($dies eq 'server')
	{
		restart_server($node);
	}
	else
	{
		kill_backend($node, $client->{backend});
	}
	my ($status) = finish_client($client);
	isnt($status, 0, "$name: the producer is told");
	probe($name);
	check($name);
}

# ---- under load ----

# A producer's script.  Each transaction inserts a row into "done", too, and is
# acknowledged by a line of output.
sub producer
{
	my ($round, $worker, $ntx) = @_;
	my $sql = 'SET synchronous_commit = ' . ($worker % 2 ? "off;\n" : "on;\n");

	for my $t (1 .. $ntx)
	{
		my $tx = "r${round}w${worker}t$t";
		my $p = int(rand($partitions));
		my $kind = int(rand(8));
		my $begin = "BEGIN; INSERT INTO done VALUES ('$tx');\n";
		my $end = "COMMIT;\n" . ($worker % 2 ? '' : "\\echo ack $tx\n");

		if ($kind <= 1)
		{
			$sql .= "$begin SELECT send('$tx', 1, 100, null); $end";
		}
		elsif ($kind == 2)
		{
			$sql .= "$begin SELECT send('$tx', 200, 100, $p); $end";
		}
		elsif ($kind == 3)
		{
			$sql .= "$begin SELECT eventlog.produce('crash', null, '$tx:2:1:', partition => $p);\n"
			  . "SAVEPOINT s; SELECT send('never$tx', 3, 10, $p);"
			  . ($t % 2 ? 'SELECT * FROM eventlog.flush();' : '')
			  . "ROLLBACK TO s;\nSELECT eventlog.produce('crash', null, '$tx:2:2:', partition => $p); $end";
		}
		elsif ($kind == 4)
		{
			$sql .= "$begin SELECT send('$tx', 1, 400000, $p); $end";
		}
		elsif ($kind == 5)
		{
			$sql .= "BEGIN; SELECT send('never$tx', 20, 1000, $p); SELECT * FROM eventlog.flush(); ROLLBACK;\n";
		}
		elsif ($kind == 6)
		{
			$sql .= "$begin SELECT eventlog.produce('crash', null, '$tx:2:1:', partition => $p);\n"
			  . "SELECT * FROM eventlog.flush(); SELECT pg_sleep(0.002);\n"
			  . "SELECT eventlog.produce('crash', null, '$tx:2:2:', partition => $p); $end";
		}
		else
		{
			$sql .= "$begin INSERT INTO topics.crash (key, value) SELECT i::text, format('%s:%s:%s:', '$tx', 100, i)"
			  . " FROM generate_series(1, 100) i; $end";
		}
	}
	return $sql;
}

# A reader's script: prints the newest records again and again.
sub reader
{
	my ($p) = @_;

	return qq{SELECT partition, record_offset, $EventlogTest::digest FROM topics.crash
		WHERE partition = $p ORDER BY record_offset DESC LIMIT 20;\n} x 3000;
}

for my $round (1 .. 8)
{
	my $name = "load $round";
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM done');
	my $want = $before + 20 + int(rand(150));
	my @producers = map { start_client($node, producer($round, $_, 400), name => "producer$_") } 0 .. 3;
	my @readers = map { start_client($node, reader($_), name => "reader$_") } 0 .. 1;

	$node->safe_psql('postgres', 'CHECKPOINT') if $round % 2;
	$node->poll_query_until('postgres', "SELECT count(*) >= $want FROM done");
	if ($round % 4 == 0)
	{
		my $pid = $node->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE application_name = 'producer0'");
		kill_backend($node, $pid);
	}
	else
	{
		restart_server($node);
	}
	foreach my $client (@producers)
	{
		my ($status, $out) = finish_client($client);
		$acked{$1} = 1 while $out =~ /^ack (\S+)$/mg;
	}
	foreach my $client (@readers)
	{
		my ($status, $out) = finish_client($client);
		my @wrong = ledger_add($ledger, 'crash', $out);
		is("@wrong", '', "$name: reader saw the same bytes all the time");
	}
	probe($name);
	check($name);
	$node->safe_psql('postgres', 'VACUUM topics.crash') if $round == 5;
}

$node->safe_psql('postgres', 'VACUUM FREEZE topics.crash');
check('frozen');
restart_server($node);
check('frozen and crashed');

# ---- what was read stays ----

# The WAL writer sleeps, so that nobody but a reader flushes commits.
sub stop_walwriter
{
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
	kill 'STOP', $pid;
	return $pid;
}

$node->safe_psql('postgres', q{SELECT eventlog.create_topic('async', 1, 'text', 'text');
	SELECT eventlog.create_topic('control', 1, 'text', 'text'); CREATE INDEX ON topics."async:0" (key)});

# Its name since 16, or the one before.
my $always_parallel = $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
my @reads = (
	[ 'sequential scan', q{SELECT count(*) FROM topics.async} ],
	[ 'backward scan', q{SELECT count(*) FROM (SELECT record_offset FROM topics.async WHERE partition = 0
		ORDER BY record_offset DESC LIMIT 100) t} ],
	[ 'scan from an offset', q{SELECT count(*) FROM topics.async WHERE partition = 0 AND record_offset >= 0} ],
	[ 'index scan', q{SET enable_seqscan = off; SELECT count(*) FROM topics.async WHERE partition = 0 AND key = 'k'} ],
	[ 'parallel scan', qq{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
		SET $always_parallel = on; SELECT count(*) FROM topics.async} ],
	[ 'scan after VACUUM', q{VACUUM topics."async:0"; SELECT count(*) FROM topics.async} ]);
my $nasync = 0;

foreach my $read (@reads)
{
	my ($how, $sql) = @$read;

	stop_walwriter();
	$nasync++;
	$node->safe_psql('postgres', q{SET synchronous_commit = off; SELECT eventlog.produce('async', 'k', 'read by somebody')});
	is($node->safe_psql('postgres', $sql), $nasync, "$how: an asynchronous commit is read");
	$node->safe_psql('postgres',
		q{SET synchronous_commit = off; SELECT eventlog.produce('control', null, 'nobody reads this')});
	restart_server($node);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM topics.async'), $nasync,
		"$how: what was read is there after a crash");
	ledger_check($ledger, $node, 'async', $how);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM topics.control'), '0',
		"$how: what nobody read was not flushed by anybody else");
}
probe('asynchronous commits');
check('asynchronous commits');

$node->stop;
done_testing();
