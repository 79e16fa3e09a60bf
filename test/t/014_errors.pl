# Errors in the middle of producing: a full disk, cancel, statement_timeout,
# a terminated backend, values too large for memory.  Whatever was there before
# is there afterwards, nothing of the failed transaction is, the next append and
# read succeed, and the server never panics.
#
# The full disk is a limit on the size of files (RLIMIT_FSIZE), set on one
# backend by prlimit: writing past it fails as a full disk does, with EFBIG.
# (SIGXFSZ is ignored by the server.)

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

# WAL files are written by the limited backend, too, and must stay below its limit.
my $node = new_server('errors', initdb => ['--wal-segsize=1'], conf => <<'CONF');
wal_level = replica
shared_buffers = 4MB
max_connections = 20
min_wal_size = 16MB
CONF
my $ledger = ledger_new();
my $probes = 0;

$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('e', 2, 'text', 'text', '{"segment.bytes": 1048576, "max.message.bytes": 67108864}');
INSERT INTO topics.e (partition, key, value) SELECT i % 2, 'first', i::text FROM generate_series(1, 100) i;
SQL

# What was there is there, nothing of a failed transaction is, and the next
# append and read succeed.
sub check
{
	my ($name) = @_;

	ledger_check($ledger, $node, 'e', $name);
	is($node->safe_psql('postgres', q{SELECT count(*) FROM topics.e WHERE key = 'gone'}), '0', "$name: nothing of the failed transaction is there");
	$probes++;
	foreach my $p (0, 1)
	{
		is($node->safe_psql('postgres',
				qq{SELECT eventlog.produce('e', 'probe', 'probe $probes', partition => $p);
				SELECT value FROM topics.e WHERE partition = $p ORDER BY record_offset DESC LIMIT 1}),
			"\nprobe $probes", "$name: the next append to partition $p and its read succeed");
	}
	unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal/, "$name: the server has stayed up");
}

check('at first');

# ---- full disk ----

# A session whose files end here: (its psql, its pid).
sub limited
{
	my ($bytes) = @_;
	my $psql = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $psql->query_safe('SELECT pg_backend_pid()');

	system('prlimit', "--pid=$pid", "--fsize=$bytes") == 0 or die "prlimit: $?";
	return ($psql, $pid);
}

SKIP:
{
	skip 'no prlimit here', 1 if system('prlimit --version >/dev/null 2>&1') != 0;

	foreach my $how (
		[ 'at commit',        q{BEGIN; %s; COMMIT} ],
		[ 'at flush()',       q{BEGIN; %s; SELECT count(*) FROM eventlog.flush(); COMMIT} ],
		[ 'at a read',        q{BEGIN; %s; SELECT count(*) FROM topics.e; COMMIT} ],
		[ 'at PREPARE',       q{BEGIN; %s; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'} ],
		[ 'at RETURNING',     q{INSERT INTO topics.e (partition, key, value) SELECT 0, 'gone', repeat('x', 900000) FROM generate_series(1, 40) RETURNING length(value) < 0 AND record_offset < 0} ])
	{
		my ($name, $sql) = @$how;
		my $insert = q{SELECT count(eventlog.produce('e', 'gone', repeat('x', 900000), partition => 0)) FROM generate_series(1, 20)};

		# a little more than the file has now: it fails half-way
		my $size = -s leaf_file($node, 'e', 0);
		my ($psql, $pid) = limited($size + 3_000_000);
		$sql = sprintf($sql, $insert) if $sql =~ /%s/;
		my ($out, $failed) = $psql->query($sql);
		ok($failed, "disk full $name: the producer is told");
		like($psql->{stderr}, qr/could not extend file|File too large/, "disk full $name: why");
		$psql->{stderr} = '';
		$psql->query('ROLLBACK');
		$psql->{stderr} = '';
		check("disk full $name");

		# the same session goes on, and catches the error in a block
		$size = -s leaf_file($node, 'e', 0);
		system('prlimit', "--pid=$pid", '--fsize=' . ($size + 100_000)) == 0 or die;
		$psql->query(<<'SQL');
BEGIN;
SELECT eventlog.produce('e', 'kept', 'before the block', partition => 0);
DO $$ BEGIN
	PERFORM eventlog.produce('e', 'gone', repeat('x', 900000), partition => 0) FROM generate_series(1, 10);
	PERFORM count(*) FROM topics.e;
EXCEPTION WHEN OTHERS THEN NULL; END $$;
SELECT eventlog.produce('e', 'kept', 'after the block', partition => 1);
COMMIT
SQL
		$psql->{stderr} = '';
		check("disk full $name, caught");
		$psql->quit;
	}
	is($node->safe_psql('postgres', q{SELECT count(*), count(*) FILTER (WHERE value = 'before the block') FROM topics.e WHERE key = 'kept'}),
		'10|5', 'what surrounded a caught error was committed');
}

# ---- cancel and timeouts, while the session stands at a pause point ----

foreach my $point ('extend', 'part-before-wal', 'part-after-wal', 'segment-before-wal', 'segment-after-wal',
	'append-before-wal', 'append-after-wal')
{
	foreach my $how (qw(pg_cancel_backend pg_terminate_backend))
	{
		my $name = "$how at $point";
		my $client = start_paused($node, $point,
			q{BEGIN; SELECT count(eventlog.produce('e', 'gone', repeat('x', 700000), partition => 0)) FROM generate_series(1, 4); SELECT count(*) FROM eventlog.flush(); SELECT pg_sleep(600); COMMIT;},
			name => 'victim');

		is($node->safe_psql('postgres', "SELECT $how($client->{backend})"), 't', "$name: sent");
		pause_off($node);
		my ($status, $out, $err) = finish_client($client);
		isnt($status, 0, "$name: the producer is told");
		like($err, qr/canceling statement|terminating connection/, "$name: why");
		check($name);
	}
}

# statement_timeout somewhere in a large append: whenever it comes
for my $ms (1, 3, 10, 30, 60)
{
	my ($status, $out, $err) = $node->psql('postgres', <<SQL);
SET statement_timeout = $ms;
BEGIN;
INSERT INTO topics.e (partition, key, value) SELECT i % 2, 'gone', repeat(md5(i::text), 100) FROM generate_series(1, 20000) i;
SELECT pg_sleep(600);
SQL
	like($err, qr/statement timeout/, "timeout after $ms ms");
	check("timeout after $ms ms");
}

# ---- memory ----

foreach my $case (
	[ 'value larger than max.message.bytes', q{SELECT eventlog.produce('e', 'gone', repeat('x', 67108864), partition => 0)}, qr/too large for topic/ ],
	[ 'value of 250 MB',  q{SELECT eventlog.produce('e', 'gone', repeat('x', 250000000), partition => 0)}, qr/too large|invalid memory alloc|out of memory/ ],
	[ 'INSERT of 250 MB', q{INSERT INTO topics.e (partition, key, value) VALUES (0, 'gone', repeat('x', 250000000))}, qr/too large|invalid memory alloc|out of memory/ ],
	[ 'large headers',         q{SELECT eventlog.produce('e', 'gone', 'x', eventlog.headers('h', repeat('x', 68000000)), partition => 0)}, qr/too large/ ],
	[ 'many headers',          q{SELECT eventlog.produce('e', 'gone', 'x', array(SELECT row('h', repeat('x', 1000)::bytea)::eventlog.header FROM generate_series(1, 70000)), partition => 0)}, qr/too large/ ])
{
	my ($name, $sql, $why) = @$case;
	my ($status, $out, $err) = $node->psql('postgres',
		"BEGIN; SELECT count(eventlog.produce('e', 'gone', repeat('y', 1000))) FROM generate_series(1, 1000); $sql; COMMIT;");

	isnt($status, 0, "$name: refused");
	like($err, $why, "$name: why");
	check($name);

	# in a block, the rest goes on
	$node->psql('postgres', qq{BEGIN; SELECT eventlog.produce('e', 'around', '1', partition => 0);
		SAVEPOINT s;\n\\set ON_ERROR_STOP off\n$sql; ROLLBACK TO s; SELECT eventlog.produce('e', 'around', '2', partition => 0); COMMIT;});
	check("$name, in a savepoint");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM topics.e WHERE key = 'around'}), '10', 'what surrounded the errors was committed');

# a limit on the backend's memory: out of memory wherever it strikes
SKIP:
{
	skip 'no prlimit here', 1 if system('prlimit --version >/dev/null 2>&1') != 0;
	foreach my $mb (40, 80, 160)
	{
		my $psql = $node->background_psql('postgres', on_error_stop => 0);
		my $pid = $psql->query_safe('SELECT pg_backend_pid()');
		$psql->query_safe(q{SELECT eventlog.produce('e', 'warm', 'warm', partition => 0)});
		my ($vm) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+) kB/m;
		system('prlimit', "--pid=$pid", '--as=' . ($vm * 1024 + $mb * 1048576)) == 0 or die;
		my ($out, $failed) = $psql->query(q{BEGIN; SET LOCAL eventlog.producer_buffer = '1GB';
			SELECT count(eventlog.produce('e', 'gone', repeat('x', 20000000), partition => 0)) FROM generate_series(1, 30); SELECT 1 / 0; COMMIT});
		like($psql->{stderr}, qr/out of memory/, "$mb MB: fails");
		$psql->{stderr} = '';
		$psql->query('ROLLBACK');
		$psql->{stderr} = '';
		is($psql->query(q{SELECT eventlog.produce('e', 'small', 'small', partition => 0); SELECT value FROM topics.e WHERE key = 'small' LIMIT 1}),
			"\nsmall", "$mb MB: the session goes on");
		$psql->quit;
		check("out of memory at $mb MB");
	}
}

$node->safe_psql('postgres', 'VACUUM FREEZE topics.e');
check('frozen');
restart_server($node);
check('crashed');
$node->stop;
done_testing();
