# The life of closed segments: retention, compaction, erasure and truncation of
# the file, with kill -9 in every step of each.
#
# A table holds a copy of every record that was ever produced.  Proved after
# each crash, and after the next maintenance:
#	- whatever a topic holds was produced, at that offset, with those bytes;
#	- a topic under retention holds all of it from its log start on, and the
#	  log start has moved to nowhere but a segment's beginning that its limits
#	  allow;
#	- a compacted topic holds the newest record of each key;
#	- what was erased does not come back, and no byte of it is in the file;
#	- the next record gets the next offset;
#	- every page and batch is sound, and each block of the file has one use.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('life', conf => <<'CONF');
fsync = on
shared_buffers = 4MB
max_connections = 20
max_wal_size = 64MB
restart_after_crash = on
eventlog.maintenance = off
CONF

$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('limited', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 3000000}');
SELECT eventlog.create_topic('compact', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "delete.retention.ms": 0, "min.cleanable.dirty.ratio": 0.1}');
SELECT eventlog.create_topic('packed', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "compression.type": "lz4", "min.cleanable.dirty.ratio": 0.1}');
CREATE TABLE produced (topic text, record_offset bigint, key text, value text);
CREATE TABLE erased (topic text, key text, upto bigint);
CREATE SEQUENCE mark;
-- Records with keys of a small set, each value different; every 50th a tombstone.
CREATE FUNCTION send(t text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('WITH sent AS (INSERT INTO topics.%I (key, value)
		SELECT ''k'' || (random() * 2000)::int,
			CASE WHEN g %% 50 = 0 AND %2$L <> ''limited'' THEN null
				ELSE nextval(''mark'') || repeat(md5(random()::text), 1 + (random() * 10)::int) END
		FROM generate_series(1, %3$s) g
		RETURNING record_offset, key, value)
		INSERT INTO produced SELECT %2$L, record_offset, key, value FROM sent', t, t, n);
END $$;
SQL

sub check
{
	my ($name) = @_;
	my $wrong = $node->safe_psql('postgres', <<'SQL');
CREATE TEMP TABLE there AS
	SELECT 'limited' AS topic, record_offset, key, value FROM topics.limited
	UNION ALL SELECT 'compact', record_offset, key, value FROM topics.compact
	UNION ALL SELECT 'packed', record_offset, key, value FROM topics.packed;
ANALYZE there;
ANALYZE produced;
SELECT 'never produced: ' || t.topic || ' ' || t.record_offset FROM there t
	LEFT JOIN produced p ON p.topic = t.topic AND p.record_offset = t.record_offset AND p.key = t.key
		AND p.value IS NOT DISTINCT FROM t.value
	WHERE p.topic IS NULL LIMIT 5;
SELECT 'twice: ' || topic || ' ' || record_offset FROM there GROUP BY topic, record_offset HAVING count(*) > 1 LIMIT 5;
SELECT 'missing: limited ' || p.record_offset FROM produced p
	JOIN eventlog.partitions s ON s.topic = 'limited' AND p.record_offset >= s.log_start_offset
	LEFT JOIN there t ON t.topic = 'limited' AND t.record_offset = p.record_offset
	LEFT JOIN erased e ON e.topic = 'limited' AND e.key = p.key AND p.record_offset < e.upto
	WHERE p.topic = 'limited' AND t.topic IS NULL AND e.topic IS NULL LIMIT 5;
WITH newest AS (SELECT DISTINCT ON (topic, key) * FROM produced WHERE topic <> 'limited'
	ORDER BY topic, key, record_offset DESC)
SELECT 'missing: ' || n.topic || ' ' || n.record_offset || ' ' || n.key FROM newest n
	LEFT JOIN there t ON t.topic = n.topic AND t.record_offset = n.record_offset
	LEFT JOIN erased e ON e.topic = n.topic AND e.key = n.key AND n.record_offset < e.upto
	WHERE t.topic IS NULL AND e.topic IS NULL AND n.value IS NOT NULL LIMIT 5;
-- a tombstone may be gone, but then so is what it stands for
WITH newest AS (SELECT DISTINCT ON (topic, key) * FROM produced WHERE topic <> 'limited'
	ORDER BY topic, key, record_offset DESC)
SELECT 'came back: ' || n.topic || ' ' || n.key FROM newest n
	JOIN there t ON t.topic = n.topic AND t.key = n.key AND t.value IS NOT NULL
	WHERE n.value IS NULL AND NOT EXISTS (SELECT FROM there o WHERE o.topic = n.topic AND o.record_offset = n.record_offset)
	LIMIT 5;
SELECT 'erased and there: ' || t.topic || ' ' || t.record_offset FROM there t
	JOIN erased e ON e.topic = t.topic AND e.key = t.key AND t.record_offset < e.upto LIMIT 5;
SELECT 'next offset: ' || s.topic || ' ' || s.high_watermark FROM eventlog.partitions s
	JOIN (SELECT topic, max(record_offset) AS last FROM produced GROUP BY topic) p USING (topic)
	WHERE s.high_watermark <= p.last;
SELECT 'damaged: ' || t.name || ' ' || v.problem || ' at block ' || v.block FROM eventlog.topic t, eventlog.verify(t.name) v;
SQL
	is($wrong, '', "$name: the topics hold what they must");
}

sub goes_on
{
	my ($name) = @_;

	foreach my $topic (qw(limited compact packed))
	{
		$node->safe_psql('postgres', "SELECT send('$topic', 300)");
		$node->safe_psql('postgres', "SELECT eventlog.maintain('$topic')") for 1 .. 2;
	}
	check("$name, and maintained");
}

$node->safe_psql('postgres', "SELECT send('$_', 15000)") foreach qw(limited compact packed);
check('before maintenance');
goes_on('before any crash');
ok($node->safe_psql('postgres', "SELECT log_start_offset > 0 FROM eventlog.partitions WHERE topic = 'limited'") eq 't',
	'the log start of the limited topic has moved');
ok($node->safe_psql('postgres', 'SELECT count(*) < 6000 FROM topics.compact') eq 't', 'the compacted topic has been compacted');

# ---- kill -9 at each step ----

my @at = (
	[ 'limited', 'retention-start',    'server' ],
	[ 'limited', 'meta-before-wal',    'server' ],
	[ 'limited', 'meta-after-wal',     'backend' ],
	[ 'limited', 'meta-after-wal',     'server' ],
	[ 'limited', 'retention-recycle',  'server' ],
	[ 'compact', 'compaction-group',   'server' ],
	[ 'compact', 'rewrite-reserved',   'server' ],
	[ 'packed',  'rewrite-reserved',   'backend' ],
	[ 'compact', 'rewrite-before-wal', 'server' ],
	[ 'packed',  'rewrite-before-wal', 'backend' ],
	[ 'compact', 'swap-before-wal',    'server' ],
	[ 'packed',  'swap-before-wal',    'backend' ],
	[ 'compact', 'swap-after-wal',     'server' ],
	[ 'packed',  'swap-after-wal',     'server' ],
	[ 'packed',  'swap-after-wal',     'backend' ]);

foreach my $case (@at)
{
	my ($topic, $point, $dies) = @$case;
	my $name = "$topic, $point, $dies dies";

	# retention is applied by who begins a segment
	$node->safe_psql('postgres', "SELECT send('$topic', 9000)") if $topic ne 'limited';
	my $client = start_paused($node, $point,
		$topic eq 'limited' ? "SELECT send('limited', 20000);" : "SELECT eventlog.maintain('$topic');");
	$dies eq 'server' ? restart_server($node) : kill_backend($node, $client->{backend});
	my ($status) = finish_client($client);
	isnt($status, 0, "$name: the caller is told");
	check($name);
	goes_on($name);
}

# ---- erasure ----

sub key_to_erase
{
	my ($topic) = @_;

	return $node->safe_psql('postgres',
		"SELECT key FROM topics.$topic WHERE value IS NOT NULL GROUP BY key ORDER BY count(*) DESC, key LIMIT 1");
}

# What of a key's bytes is in the file; the values of uncompressed topics can be
# looked for.
sub bytes_of
{
	my ($topic, $key) = @_;
	my @values = split /\n/, $node->safe_psql('postgres',
		"SELECT DISTINCT substr(value, 1, 40) FROM produced WHERE topic = '$topic' AND key = '$key' AND value IS NOT NULL");
	my $file = slurp_file(leaf_file($node, $topic, 0));

	return grep { index($file, $_) >= 0 } @values;
}

foreach my $case ([ 'limited', 'erase-segment' ], [ 'limited', 'swap-after-wal' ], [ 'compact', 'erase-blank' ],
	[ 'limited', 'blank-before-wal' ], [ 'packed', 'rewrite-before-wal' ])
{
	my ($topic, $point) = @$case;
	my $name = "erase from $topic, $point";
	my $key = key_to_erase($topic);
	my $there = $node->safe_psql('postgres', "SELECT count(*) FROM topics.$topic WHERE key = '$key'");

	cmp_ok(scalar(bytes_of($topic, $key)), '>', 0, "$name: the file holds the key's values") if $topic ne 'packed';
	my $client = start_paused($node, $point, "SELECT eventlog.erase('$topic', '$key');");
	restart_server($node);
	finish_client($client);
	$node->safe_psql('postgres', "SELECT eventlog.erase('$topic', '$key')");
	$node->safe_psql('postgres',
		"INSERT INTO erased SELECT '$topic', '$key', high_watermark FROM eventlog.partitions WHERE topic = '$topic'");
	is($node->safe_psql('postgres', "SELECT count(*) FROM topics.$topic WHERE key = '$key'"), 0, "$name: no record of the key is left");
	is(join(' ', bytes_of($topic, $key)), '', "$name: no byte of it is in the file") if $topic ne 'packed';
	check($name);
	goes_on($name);
	is($node->safe_psql('postgres',
		"SELECT count(*) FROM topics.$topic t JOIN erased e ON e.topic = '$topic' AND e.key = t.key AND t.record_offset < e.upto"),
		0, "$name: nor does it come back");
}

# ---- giving space back ----

$node->safe_psql('postgres', "SELECT send('limited', 15000); SELECT eventlog.delete_records('limited', 0, -1);");
$node->safe_psql('postgres', "SELECT eventlog.maintain('limited')") for 1 .. 3;
my $size = -s leaf_file($node, 'limited', 0);
my $client = start_paused($node, 'retention-truncate', 'VACUUM topics."limited:0"');
restart_server($node);
finish_client($client);
check('killed before the file is truncated');
$node->safe_psql('postgres', 'VACUUM topics."limited:0"; CHECKPOINT');
cmp_ok(-s leaf_file($node, 'limited', 0), '<', $size / 2, 'VACUUM gives free space back');
goes_on('truncated');
restart_server($node);
check('truncated and crashed');

$node->stop;
done_testing();
