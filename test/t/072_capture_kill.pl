# The processes of a capture, and the server, are killed by SIGKILL, over and
# over, while several clients write: single rows, transactions with savepoints
# that are rolled back, subtransactions that fail, updates of keys, deletes,
# large transactions, and changes of the tables.  After it every table is, row by
# row, what its topic tells, and no record is there twice or out of order.
#
# The same for the snapshot: one that is interrupted is made anew, and leaves
# nothing behind.
#
# CAPTURE_KILL_SECONDS: how long (60).  CAPTURE_KILL_SEED chooses who dies when;
# it is printed.

use strict;
use warnings FATAL => 'all';

use POSIX qw(WNOHANG);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use CaptureTest;
use EventlogTest;

my $seconds = $ENV{CAPTURE_KILL_SECONDS} // 60;
my $seed    = $ENV{CAPTURE_KILL_SEED}    // int(rand(1 << 30));
srand($seed);
note "CAPTURE_KILL_SEED=$seed";

my $node = new_server('capture_kill', conf => capture_conf() . <<'CONF');
fsync = on
restart_after_crash = on
logical_decoding_work_mem = 64kB
max_connections = 60
checkpoint_timeout = 30s
max_wal_size = 128MB
CONF

my $rows = 400_000;
$node->safe_psql('postgres', <<SQL);
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, filler text);
CREATE TABLE history (id bigserial PRIMARY KEY, account int, delta int, note text);
CREATE TABLE keys (k int PRIMARY KEY, v int, note text);
CREATE TABLE pairs (a int, b text, v numeric, PRIMARY KEY (a, b));
CREATE TABLE docs (id int PRIMARY KEY, v int, body text);
ALTER TABLE docs REPLICA IDENTITY FULL;
CREATE TABLE first (id int PRIMARY KEY, v text);
INSERT INTO accounts SELECT i, 0, repeat('x', 60) FROM generate_series(1, 500) i;
INSERT INTO keys SELECT i, 0, 'key ' || i FROM generate_series(1, 200) i;
INSERT INTO docs SELECT i, 0, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 300) j) FROM generate_series(1, 50) i;
INSERT INTO first SELECT i, md5(i::text) FROM generate_series(1, $rows) i;
CREATE PUBLICATION all_tables FOR ALL TABLES;
SQL

# Somebody dies, and the server comes back.
my %died;

sub kill_one
{
	my ($who) = @_;

	if ($who eq 'server')
	{
		restart_server($node);
	}
	else
	{
		my $pid = worker_pid($node, $who) or return 0;

		kill_backend($node, $pid);
	}
	$died{$who}++;
	return 1;
}

# ---- the load ----

my $scripts = $node->basedir . '/scripts';
mkdir $scripts;
my %load = (
	plain => <<'SQL',
\set a random(1, 500)
\set d random(-5000, 5000)
BEGIN;
UPDATE accounts SET balance = balance + :d WHERE id = :a;
INSERT INTO history (account, delta, note) VALUES (:a, :d, 'plain');
END;
SQL
	savepoints => <<'SQL',
\set a random(1, 500)
\set d random(-5000, 5000)
BEGIN;
INSERT INTO history (account, delta, note) VALUES (:a, :d, 'kept');
SAVEPOINT one;
UPDATE accounts SET balance = balance + 1000000 WHERE id = :a;
INSERT INTO history (account, delta, note) VALUES (:a, :d, 'rolled back');
SAVEPOINT two;
INSERT INTO history (account, delta, note) VALUES (:a, :d, 'rolled back');
ROLLBACK TO one;
UPDATE accounts SET balance = balance + :d WHERE id = :a;
SAVEPOINT three;
INSERT INTO history (account, delta, note) VALUES (:a, :d, 'kept');
RELEASE three;
END;
SQL
	failing => <<'SQL',
\set a random(1, 500)
DO $$
BEGIN
	INSERT INTO history (account, delta, note) VALUES (1, 1, 'kept');
	BEGIN
		INSERT INTO history (account, delta, note) VALUES (1, 1, 'rolled back');
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		INSERT INTO history (account, delta, note) VALUES (1, 1, 'kept');
	END;
END $$;
SQL
	keys => <<'SQL',
\set k random(1, 200)
\set v random(1, 1000)
UPDATE keys SET k = -k, v = :v WHERE k = :k;
UPDATE keys SET k = -k, v = :v WHERE k = -:k;
UPDATE keys SET v = v + 1 WHERE k = :k;
SQL
	pairs => <<'SQL',
\set a random(1, 20)
\set b random(1, 20)
\set v random(1, 100000)
DELETE FROM pairs WHERE a = :a AND b = 'b' || :b;
INSERT INTO pairs VALUES (:a, 'b' || :b, :v / 100.0) ON CONFLICT (a, b) DO UPDATE SET v = excluded.v;
BEGIN;
INSERT INTO pairs VALUES (:a, 'gone' || :b, 1.50) ON CONFLICT DO NOTHING;
DELETE FROM pairs WHERE a = :a AND b = 'gone' || :b;
ROLLBACK;
SQL
	docs => <<'SQL',
\set d random(1, 50)
UPDATE docs SET v = v + 1 WHERE id = :d;
SQL
	large => <<'SQL',
BEGIN;
INSERT INTO history (account, delta, note) SELECT i, i, 'large' FROM generate_series(1, 3000) i;
SAVEPOINT s;
INSERT INTO history (account, delta, note) SELECT i, i, 'rolled back' FROM generate_series(1, 3000) i;
ROLLBACK TO s;
INSERT INTO history (account, delta, note) SELECT i, i, 'large, too' FROM generate_series(1, 1000) i;
END;
SQL
	ddl => <<'SQL');
\set n random(1, 1000000000)
ALTER TABLE accounts ADD COLUMN IF NOT EXISTS extra int;
UPDATE accounts SET extra = :n WHERE id % 100 = 7;
\sleep 300 ms
ALTER TABLE accounts DROP COLUMN IF EXISTS extra;
CREATE TABLE IF NOT EXISTS brief (id int PRIMARY KEY);
INSERT INTO brief VALUES (:n) ON CONFLICT DO NOTHING;
\sleep 100 ms
DROP TABLE IF EXISTS brief;
\sleep 100 ms
SQL
append_to_file("$scripts/$_.sql", $load{$_}) foreach keys %load;

my %weight = (plain => 200, savepoints => 100, failing => 50, keys => 100, pairs => 100, docs => 50, large => 1);

sub pgbench
{
	my (@arguments) = @_;
	my $pid = fork() // die "fork: $!";

	return $pid if $pid;
	open(STDIN, '<', '/dev/null') or die;
	open(STDOUT, '>>', "$scripts/out") or die;
	open(STDERR, '>&', \*STDOUT) or die;
	exec('pgbench', '-n', '-T', '600', '-h', $node->host, '-p', $node->port, @arguments, 'postgres') or die "pgbench: $!";
}

my @running;

sub start_load
{
	@running = (
		pgbench('-c', 4, '-R', 400, map { ('-f', "$scripts/$_.sql\@$weight{$_}") } sort keys %weight),
		pgbench('-c', 1, '-f', "$scripts/ddl.sql"));
}

sub stop_load
{
	kill 'TERM', @running;
	waitpid($_, 0) foreach @running;
	@running = ();
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'});
}

# Every table but the one that nobody changes.
my $records;

sub check_tables
{
	my ($title) = @_;

	$records = 0;
	$records += check_rebuilt($node, 'shop', @$_, title => $title)
	  foreach [ 'accounts', 'id' ], [ 'history', 'id' ], [ 'keys', 'k' ], [ 'pairs', 'a, b' ], [ 'docs', 'id' ];
}

# ---- a snapshot while others write ----

start_load();
usleep(500_000);
create_capture($node, 'shop', q{publication => 'all_tables'}, no_wait => 1);
my $interrupted = 0;
foreach my $who (qw(appender server decoder))
{
	wait_capture($node, 'shop', q{state IN ('snapshot', 'streaming')});
	usleep(int(rand(200_000)));
	$interrupted++ if capture_is($node, 'shop', 'state') eq 'snapshot' && kill_one($who);

	stop_load();
	start_load();
	my ($status, $out) = $node->psql('postgres', q{SELECT count(*) FROM topics."shop.public.first"});
	ok($status != 0 || $out eq '0' || $out eq $rows, "$who died in the snapshot: all of it or nothing is seen");
}
wait_capture($node, 'shop', 'streaming');
usleep(500_000);
stop_load();
note "the snapshot was interrupted $interrupted times";
wait_caught_up($node, 'shop');
check_tables('snapshot under load');
my $first = <<'SQL';
SELECT (SELECT count(*) FROM (SELECT id, v FROM first EXCEPT SELECT (value->'after'->>'id')::int, value->'after'->>'v' FROM topics."shop.public.first") t),
	(SELECT count(*) FROM topics."shop.public.first")
SQL
is($node->safe_psql('postgres', $first), "0|$rows", 'the snapshot has each row, once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1', 'and one slot');

# ---- over and over ----

my $end = time + $seconds;
my $rounds = 0;
while (time < $end)
{
	start_load();
	usleep(300_000 + int(rand(1_700_000)));
	kill_one((qw(decoder appender server))[ int(rand(3)) ]);
	# Sometimes at once again, before it has caught up.
	kill_one((qw(decoder appender server))[ int(rand(3)) ]) if rand() < 0.3;
	stop_load();
	$rounds++;
	wait_capture($node, 'shop', 'streaming') if rand() < 0.3;
}
note "$rounds rounds; died: " . join(', ', map { "$_ $died{$_} times" } sort keys %died);
ok($died{$_}, "$_ was killed") foreach qw(decoder appender server);

wait_caught_up($node, 'shop');
check_tables('at last');
is($node->safe_psql('postgres', $first), "0|$rows", 'and what was in the snapshot is still there, once');
note "$records records";
is($node->safe_psql('postgres', q{SELECT count(*) FROM topics."shop.public.history" WHERE value->'after'->>'note' = 'rolled back'}),
	'0', 'nothing that was rolled back');
is($node->safe_psql('postgres', q{SELECT count(*) FROM topics."shop.public.history" WHERE value->>'op' NOT IN ('c', 'r')}),
	'0', 'inserts are inserts');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1', 'still one slot');

$node->stop;
done_testing();
