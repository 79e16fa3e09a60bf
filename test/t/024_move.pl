# Moving logs: copied from topic to topic by INSERT ... SELECT, offsets and gaps
# included; and to other tablespaces, while blocks of the file are free, or
# retired and not yet free, with a crash right after.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('move', conf => <<'CONF');
eventlog.maintenance = off
allow_in_place_tablespaces = on
shared_buffers = 8MB
wal_consistency_checking = 'all, eventlog'
CONF
my $ledger = ledger_new();

# ---- topic to topic ----

$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('origin', 3, 'text', 'text', '{"segment.bytes": 1048576, "compression.type": "lz4"}');
SELECT eventlog.create_topic('copy', 3, 'text', 'text', '{"compression.type": "zstd"}');
INSERT INTO topics.origin (partition, record_offset, "timestamp", key, value, headers)
	SELECT i % 3, i * 5 + i / 100 * 1000, '2024-01-01Z'::timestamptz + i * interval '1.001 s', 'k' || i % 50,
		CASE WHEN i % 17 = 0 THEN null ELSE repeat(md5(i::text), 1 + i % 30) END, eventlog.headers('a', i::text, 'a', null)
	FROM generate_series(1, 9000) i;
BEGIN;
INSERT INTO topics.origin (partition, key, value) SELECT 1, 'gone', 'gone' FROM generate_series(1, 1000);
SELECT count(*) FROM eventlog.flush();
ROLLBACK;
INSERT INTO topics.origin (partition, key, value) VALUES (1, 'behind', 'what aborted'), (2, null, null);
SELECT eventlog.erase('origin', 'k7'), eventlog.delete_records('origin', 2, 5000);
INSERT INTO topics.copy (partition, record_offset, "timestamp", key, value, headers)
	SELECT partition, record_offset, "timestamp", key, value, headers FROM topics.origin ORDER BY partition, record_offset;
SQL
ok(topic_lines($node, 'copy') eq topic_lines($node, 'origin'), 'copied: the same records at the same offsets');
is($node->safe_psql('postgres', q{SELECT high_watermark FROM eventlog.partitions WHERE topic = 'copy' ORDER BY partition}),
	$node->safe_psql('postgres', q{SELECT high_watermark FROM eventlog.partitions WHERE topic = 'origin' ORDER BY partition}),
	'copied: the same next offsets');
my ($ret, $out, $err) = $node->psql('postgres', q{
	INSERT INTO topics.copy (partition, record_offset, "timestamp", key, value, headers)
		SELECT partition, record_offset, "timestamp", key, value, headers FROM topics.origin ORDER BY partition, record_offset});
like($err, qr/is below the high watermark/, 'copied: not twice');
ok(topic_lines($node, 'copy') eq topic_lines($node, 'origin'), 'copied: and that has changed nothing');
$node->safe_psql('postgres', q{
	INSERT INTO topics.origin (partition, key, value) SELECT i % 3, 'more', i FROM generate_series(1, 3000) i;
	INSERT INTO topics.copy (partition, record_offset, "timestamp", key, value, headers)
		SELECT o.partition, o.record_offset, o."timestamp", o.key, o.value, o.headers
		FROM topics.origin o JOIN eventlog.partitions p ON p.topic = 'copy' AND p.partition = o.partition AND o.record_offset >= p.high_watermark
		ORDER BY o.partition, o.record_offset});
ok(topic_lines($node, 'copy') eq topic_lines($node, 'origin'), 'copied: and it can be gone on with');

# ---- to another tablespace ----

$node->safe_psql('postgres', "CREATE TABLESPACE other LOCATION ''");
$node->safe_psql('postgres', "CREATE TABLESPACE third LOCATION ''");
$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('moved', 2, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 2000000}');
SELECT eventlog.create_topic('squeezed', 2, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0.1}');
CREATE INDEX ON topics.squeezed (key);
SELECT eventlog.create_group('g', 'moved', 'earliest', '{"auto.offset.reset": "earliest"}');
SQL

# Fill and maintain both.  With an old snapshot, which is returned, what is
# retired stays so.
sub work
{
	my ($retired) = @_;
	my $client;

	if ($retired)
	{
		$client = start_client($node, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_am; SELECT pg_sleep(3600);\n",
			name => 'old');
		wait_for_backend($node, 'old', "wait_event = 'PgSleep'");
	}
	for (1 .. 2)
	{
		$node->safe_psql('postgres', <<'SQL');
INSERT INTO topics.moved (partition, key, value) SELECT i % 2, 'k' || i, repeat(md5(i::text), 30) FROM generate_series(1, 8000) i;
INSERT INTO topics.squeezed (partition, key, value) SELECT i % 2, 'k' || (i * 7919) % 500, repeat(md5(random()::text), 20) FROM generate_series(1, 4000) i;
VACUUM topics.moved;
VACUUM topics.squeezed;
SELECT eventlog.maintain('moved'), eventlog.maintain('squeezed');
SQL
		$node->safe_psql('postgres', q{SELECT eventlog.maintain('moved'), eventlog.maintain('squeezed')});
	}
	return $client;
}

sub space
{
	return $node->safe_psql('postgres', <<'SQL');
SELECT m.topic, m.partition, m.free_bytes, m.retired_bytes, p.log_start_offset, p.high_watermark, p.segments, p.frozen_offset
FROM eventlog.maintenance m JOIN eventlog.partitions p USING (topic, partition) WHERE m.topic IN ('moved', 'squeezed') ORDER BY 1, 2;
SQL
}

sub tablespaces
{
	return $node->safe_psql('postgres', q{
		SELECT c.relname, coalesce(t.spcname, 'default') FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
		WHERE c.relname ~ '^(moved|squeezed):\d$' ORDER BY 1});
}

my @leaves = ('moved:0', 'moved:1', 'squeezed:0', 'squeezed:1');
foreach my $case (
	[ 'one leaf', 0, 'ALTER TABLE topics."moved:0" SET TABLESPACE other; ALTER TABLE topics."squeezed:1" SET TABLESPACE other;',
		[qw(other default default other)] ],
	[ 'one leaf, with retired blocks', 1, 'ALTER TABLE topics."moved:0" SET TABLESPACE third; ALTER TABLE topics."squeezed:1" SET TABLESPACE pg_default;',
		[qw(third default default default)] ],
	[ 'a whole topic', 0, join('', map { "ALTER TABLE topics.\"$_\" SET TABLESPACE other;" } 'moved', @leaves[ 0, 1 ]),
		[qw(other other default default)] ],
	[ 'all in a tablespace', 1, 'ALTER TABLE ALL IN TABLESPACE other SET TABLESPACE third;', [qw(third third default default)] ],
	[ 'all of pg_default', 1, 'ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE other; ALTER TABLE ALL IN TABLESPACE third SET TABLESPACE pg_default;',
		[qw(default default other other)] ])
{
	my ($name, $retired, $sql, $where) = @$case;
	my $client = work($retired);
	my @free = split /\n/, space();

	is((grep { (split /\|/)[2] > 0 } @free) > 0, 1, "$name: blocks are free") if !$retired;
	is((grep { (split /\|/)[3] > 0 } @free) > 0, 1, "$name: blocks are retired") if $retired;
	my %before = map { $_ => topic_lines($node, $_) } qw(moved squeezed);
	my $space = space();

	# rolled back, then done, then crashed before any checkpoint
	my $tablespaces = tablespaces();
	$node->safe_psql('postgres', "BEGIN; $sql INSERT INTO topics.moved (partition, key, value) VALUES (0, 'gone', 'gone'); ROLLBACK;")
	  if $sql !~ / ALL IN /;
	is(tablespaces(), $tablespaces, "$name: rolled back");
	$node->safe_psql('postgres', $sql);
	is(tablespaces(), join("\n", map { "$leaves[$_]|$where->[$_]" } 0 .. 3), "$name: moved");
	is(space(), $space, "$name: space and offsets are what they were");
	restart_server($node);
	finish_client($client) if $client;
	is(space(), $space, "$name: crashed: and still are");
	verified($node, "$name: crashed", qw(moved squeezed));
	foreach my $topic (qw(moved squeezed))
	{
		ok(topic_lines($node, $topic) eq $before{$topic}, "$name: crashed: $topic has its records");
		ledger_add($ledger, $topic, $before{$topic});
	}
	is($node->safe_psql('postgres', q{SET enable_seqscan = off; SET enable_indexscan = on; SELECT count(*) FROM topics.squeezed WHERE key = 'k7'}),
		$node->safe_psql('postgres', q{SET enable_indexscan = off; SELECT count(*) FROM topics.squeezed WHERE key = 'k7'}), "$name: the index finds the same");

	# it goes on, and what was retired becomes free
	my $next = $node->safe_psql('postgres', q{SELECT high_watermark FROM eventlog.partitions WHERE topic = 'moved' AND partition = 0});
	is($node->safe_psql('postgres', q{INSERT INTO topics.moved (partition, key, value) VALUES (0, 'next', 'next') RETURNING record_offset}), $next,
		"$name: the next record gets the next offset");
	$node->safe_psql('postgres', q{SELECT eventlog.maintain('moved'), eventlog.maintain('squeezed')}) for 1 .. 2;
	$node->safe_psql('postgres', 'SELECT txid_current()');
	$node->safe_psql('postgres', q{SELECT eventlog.maintain('moved'), eventlog.maintain('squeezed')});
	verified($node, $name, qw(moved squeezed));
	is((grep { (split /\|/)[3] > 0 } split /\n/, space()), 0, "$name: what was retired becomes free");
	my @wrong = ledger_add($ledger, 'moved', topic_lines($node, 'moved'));
	push @wrong, ledger_add($ledger, 'squeezed', topic_lines($node, 'squeezed'));
	is("@wrong", '', "$name: no offset has ever named anything else");
	cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM eventlog.consume('g', 'moved', null, auto_commit => true)}), '>', 0,
		"$name: the group goes on");
}

# file sizes have stayed bounded through it all
foreach my $p (0, 1)
{
	cmp_ok(-s leaf_file($node, 'moved', $p), '<', 16_000_000, "partition $p: the file has not grown");
}
unlike(slurp_file($node->logfile), qr/PANIC|inconsistent page/, 'no page differed');
$node->stop;
done_testing();
