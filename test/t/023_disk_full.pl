# A disk that is full, while records are appended, segments are rewritten and
# checkpoints are made: a clean error or none, nothing lost, no block that is
# used for nothing; retention and VACUUM still free space, and work goes on with
# it, or with space made otherwise.
#
# The disk is a tablespace on a small tmpfs.  So that no privilege is needed to
# mount it, the test runs in namespaces of its own.

use strict;
use warnings FATAL => 'all';

my $disk;

BEGIN
{
	use File::Temp ();

	$disk = $ENV{EVENTLOG_SMALL_DISK};
	unless ($disk)
	{
		my ($gid) = split ' ', $);
		my @namespace = ('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c',
			'mount -t tmpfs -o size=48m,mode=0700 tmpfs "$1" && shift && exec "$@"', 'sh');
		my @user = ('unshare', '--user', "--map-user=$>", "--map-group=$gid");

		$disk = File::Temp::tempdir();
		if (system(join(' ', map { "'$_'" } @namespace, $disk, @user, 'true') . ' >/dev/null 2>&1') != 0)
		{
			rmdir($disk);
			print "1..0 # SKIP no tmpfs can be mounted here\n";
			exit 0;
		}
		$ENV{EVENTLOG_SMALL_DISK} = $disk;
		my $status = system(@namespace, $disk, @user, $^X, $0);
		rmdir($disk);
		exit($status == 0 ? 0 : ($status >> 8) || 1);
	}
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('disk_full', conf => <<'CONF');
eventlog.maintenance = off
shared_buffers = 16MB
checkpoint_timeout = 1h
max_wal_size = 1GB
CONF
my $ledger = ledger_new();
my @topics = qw(plain ring keys);
my $probes = 0;

mkdir "$disk/space" or die "$disk/space: $!";
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk/space'");
$node->safe_psql('postgres', <<'SQL');
SET default_tablespace = small;
SELECT eventlog.create_topic('plain', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.ms": -1}');
SELECT eventlog.create_topic('ring', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 4000000}');
SELECT eventlog.create_topic('keys', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0.01, "delete.retention.ms": 0}');
RESET default_tablespace;
CREATE TABLE newest (key text PRIMARY KEY, value text);
SQL

# ---- the disk ----

# Fill the disk, but for some kB.
sub fill
{
	my ($leave) = @_;
	my $chunk = 'x' x 4096;

	open(my $fh, '>>', "$disk/filler") or die "$disk/filler: $!";
	$fh->autoflush(1);
	1 while (syswrite($fh, $chunk) // 0) == 4096;
	my $size = -s "$disk/filler";
	truncate($fh, $size > $leave * 1024 ? $size - $leave * 1024 : 0) or die;
	close($fh);
}

sub make_space
{
	unlink("$disk/filler");
}

sub available
{
	my ($line) = grep { /%/ } reverse split /\n/, `df -k --output=pcent,avail '$disk'`;
	my ($avail) = $line =~ /(\d+)\s*$/;
	return $avail;
}

# ---- what must hold ----

sub check
{
	my ($name) = @_;

	ledger_check($ledger, $node, 'plain', $name);
	is($node->safe_psql('postgres', q{SELECT count(*) FROM topics.plain WHERE key = 'gone'}), 0, "$name: nothing of a failed transaction is there");
	is($node->safe_psql('postgres', <<'SQL'), '', "$name: the newest record of each key is there");
SET enable_nestloop = off;
SELECT n.key FROM newest n LEFT JOIN (SELECT DISTINCT ON (key) key, value FROM topics.keys ORDER BY key, record_offset DESC) k USING (key)
	WHERE n.value IS DISTINCT FROM k.value LIMIT 5;
SELECT 'ring: ' || record_offset FROM topics.ring WHERE value <> repeat(substr(value, 1, 32), 30) LIMIT 5;
SQL
	verified($node, $name, @topics);
	unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal/, "$name: the server has stayed up");
}

sub fails
{
	my ($sql, $name) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	like($err, qr/ERROR:  53100: could not extend file/, "$name: says that the disk is full");
}

sub succeeds
{
	my ($sql, $name) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql);

	is($err, '', $name);
	return $out;
}

my $send_keys = q{
	WITH new AS (SELECT 'k' || g %% 300 AS key, g || repeat(md5(random()::text), 20) AS value FROM generate_series(1, %d) g),
		sent AS (INSERT INTO topics.keys (key, value) SELECT key, value FROM new)
	INSERT INTO newest SELECT DISTINCT ON (key) key, value FROM (SELECT *, row_number() OVER () AS n FROM new) t ORDER BY key, n DESC
	ON CONFLICT (key) DO UPDATE SET value = excluded.value;
};
my $send_gone_keys = q{INSERT INTO topics.keys (key, value) SELECT 'gone', repeat('x', 700) FROM generate_series(1, 20000)};
my $send_ring = q{INSERT INTO topics.ring (key, value) SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 1000) i;};
my $send_gone = q{INSERT INTO topics.plain (key, value) SELECT 'gone', repeat('x', 5000) FROM generate_series(1, %d)};

$node->safe_psql('postgres', q{INSERT INTO topics.plain (key, value) SELECT 'kept', i || repeat('y', 1000) FROM generate_series(1, 3000) i});
$node->safe_psql('postgres', q{INSERT INTO topics.plain (key, value) VALUES ('victim', repeat('victim', 100))});
$node->safe_psql('postgres', sprintf($send_keys, 6000));
$node->safe_psql('postgres', $send_ring) for 1 .. 10;
$node->safe_psql('postgres', 'VACUUM topics.keys');
like($node->safe_psql('postgres', q{SELECT pg_relation_filepath('topics."plain:0"')}), qr/pg_tblspc/, 'the topics are on the small disk');
check('at first');

# ---- appending ----

fill(0);
foreach my $end ('COMMIT', 'SELECT count(*) FROM eventlog.flush(); COMMIT', q{PREPARE TRANSACTION 'full'})
{
	fails('BEGIN; ' . sprintf($send_gone, 3000) . "; $end", "append, $end");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'and it was not prepared') if $end =~ /PREPARE/;
}
check('append');

# a little space is enough for a little
make_space();
fill(200);
foreach my $i (1 .. 3)
{
	succeeds(qq{INSERT INTO topics.plain (key, value) VALUES ('kept', 'probe $i')}, "append: a small record finds room ($i)");
	fails(sprintf($send_gone, 3000), "append: a large one does not ($i)");
}
check('append, little space');

# a log under retention needs no more space than it has
fill(0);
for my $i (1 .. 15)
{
	my ($ret, $out, $err) = $node->psql('postgres', $send_ring);
	is($err, '', "retention: the log goes around on a full disk ($i)") if $i == 15 || $err ne '';
}
check('retention');

# ---- checkpoints ----

# All that was extended is allocated: it can be filled and written.
make_space();
$node->safe_psql('postgres', q{INSERT INTO topics.plain (key, value) SELECT 'kept', repeat('z', 1000) FROM generate_series(1, 2000)});
fill(0);
succeeds('CHECKPOINT', 'checkpoint: of what was appended before the disk was full');
$node->psql('postgres', q{INSERT INTO topics.plain (key, value) VALUES ('kept', 'as many as find room')}) for 1 .. 5;
succeeds($send_ring, 'checkpoint: there is space to use again');
succeeds('CHECKPOINT', 'checkpoint: of what was appended afterwards');
check('checkpoint');
restart_server($node);
check('checkpoint and crash');
fails(sprintf($send_gone, 3000), 'crash');
succeeds($send_ring, 'crash: a log under retention goes on');
restart_server($node);
check('full and crashed again');

# ---- rewriting ----

my $size = -s leaf_file($node, 'keys', 0);
fails($send_gone_keys, 'compaction: nothing is left in the file');
foreach my $i (1 .. 5)
{
	fails(q{SELECT eventlog.maintain('keys')}, "compaction $i");
	fails(q{SELECT eventlog.erase('plain', 'victim')}, "erasure $i");
}
check('compaction');
$node->psql('postgres', sprintf($send_keys, 100));
check('compaction, and more records');
restart_server($node);
check('compaction and crash');
make_space();
succeeds(q{SELECT eventlog.maintain('keys')}, 'compaction: with space, it works');
is($node->safe_psql('postgres', q{SELECT last_run_kept > 0 FROM eventlog.maintenance WHERE topic = 'keys'}), 't', 'compaction: to its end');
$node->safe_psql('postgres', q{SELECT eventlog.maintain('keys')}) for 1 .. 3;
is($node->safe_psql('postgres', q{SELECT retired_bytes FROM eventlog.maintenance WHERE topic = 'keys'}), 0, 'compaction: all that was replaced is free');
cmp_ok($node->safe_psql('postgres', q{SELECT free_bytes FROM eventlog.maintenance WHERE topic = 'keys'}), '>', 2_000_000, 'compaction: which is most of it');
cmp_ok($node->safe_psql('postgres', q{SELECT bytes - free_bytes FROM eventlog.maintenance JOIN eventlog.partitions USING (topic, partition) WHERE topic = 'keys'}),
	'<', $size, 'compaction: nothing stays reserved');
check('compacted');

# its own free space is enough for the next run
fill(0);
succeeds(sprintf($send_keys, 2000), 'compacted: records go to what is free');
$node->safe_psql('postgres', 'VACUUM topics.keys');
succeeds(q{SELECT eventlog.maintain('keys')}, 'compacted: and so does compaction, on a full disk');
check('compacted on a full disk');

# ---- space from retention ----

# A segment that has no end yet does not insist on growing.
make_space();
$node->safe_psql('postgres', <<'SQL');
SET default_tablespace = small;
SELECT eventlog.create_topic('open', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.ms": -1}');
INSERT INTO topics.open (key, value) SELECT 'kept', repeat('t', 1000) FROM generate_series(1, 5500) i;
SQL
fill(0);
$node->psql('postgres', q{INSERT INTO topics.open (key, value) SELECT 'kept', repeat('s', 1000) FROM generate_series(1, 10)}) for 1 .. 200;
my $send_open = q{INSERT INTO topics.open (key, value) SELECT 'kept', repeat('r', 1000) FROM generate_series(1, 2500)};
fails($send_open, 'open segment');
$node->safe_psql('postgres', q{SELECT eventlog.delete_records('open', 0, 4500)});
succeeds(q{SELECT eventlog.maintain('open')}, "open segment: maintenance ($_)") for 1 .. 3;
succeeds($send_open, 'open segment: records go to what was freed');
is($node->safe_psql('postgres', q{SELECT count(*) FROM topics.open WHERE value LIKE 'r%'}), 2500, 'open segment: and are there');
push @topics, 'open';
check('open segment');

fails(sprintf($send_gone, 3000), 'deleting: before');
$node->safe_psql('postgres', q{SELECT eventlog.delete_records('plain', 0, 4000)});
$ledger = ledger_new();
succeeds(q{SELECT eventlog.maintain('plain')}, "deleting: maintenance ($_)") for 1 .. 3;
cmp_ok($node->safe_psql('postgres', q{SELECT free_bytes FROM eventlog.maintenance WHERE topic = 'plain'}), '>', 3_000_000, 'deleting: makes space');
succeeds(q{INSERT INTO topics.plain (key, value) SELECT 'kept', repeat('v', 1000) FROM generate_series(1, 2000)}, 'deleting: which is used again');
check('deleting');
$node->safe_psql('postgres', q{SELECT eventlog.delete_records('plain', 0, -1)});
$ledger = ledger_new();
succeeds(q{SELECT eventlog.maintain('plain')}, "deleting all: maintenance ($_)") for 1 .. 3;
my $before = available();
succeeds(q{VACUUM topics.plain}, 'deleting all: VACUUM');
cmp_ok(available(), '>', $before + 2000, 'deleting all: VACUUM gives it back to the disk');
check('deleting all');

make_space();
$node->safe_psql('postgres', q{INSERT INTO topics.plain (key, value) SELECT 'kept', repeat('u', 1000) FROM generate_series(1, 5000)});
$node->safe_psql('postgres', $send_ring);
$node->safe_psql('postgres', sprintf($send_keys, 2000));
$node->safe_psql('postgres', "SELECT eventlog.maintain('$_')") foreach @topics;
check('with space, all goes on');
restart_server($node);
check('to the end');
$node->stop;
done_testing();
