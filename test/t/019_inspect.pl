# Damaged files: the error names partition, block and offset, and loses nothing;
# verify() tells of all of it; with eventlog.skip_damaged_records reading goes on
# behind it, with a warning; dump_batches() does, too.  The server stays up.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('inspect', conf => "autovacuum = off\n");
# without the server's checksums, which would say less
$node->stop;
system_or_bail('pg_checksums', '--disable', '-D', $node->data_dir);
$node->start;

my $records = 20_000;

sub make_topic
{
	my ($topic) = @_;

	$node->safe_psql('postgres', <<SQL);
SELECT eventlog.create_topic('$topic', 1, 'text', 'text', '{"segment.bytes": 1048576}');
SELECT eventlog.produce_batch('$topic', array_agg('k' || i), array_agg(i || ':' || repeat('x', 200)))
	FROM generate_series(0, $records - 1) i;
SQL
	is($node->safe_psql('postgres', "SELECT * FROM eventlog.verify('$topic')"), '', "$topic: sound at first");
}

# Change bytes of one block of a topic's file, with the server down.
sub damage
{
	my ($topic, $block, $at, $bytes) = @_;
	my $file = leaf_file($node, $topic, 0);

	$node->stop;
	open(my $fh, '+<:raw', $file) or die "$file: $!";
	seek($fh, $block * 8192 + $at, 0);
	print $fh $bytes;
	close($fh);
	$node->start;
}

# Offsets and bytes of what a statement gives; and that they are the right ones.
sub read_all
{
	my ($topic, $set, $sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', "$set; $sql");
	my @rows = map { /^(\d+)\|(\d+):/ ? [ $1, $2 ] : () } split(/\n/, $out);
	my @wrong = grep { $_->[0] != $_->[1] } @rows;

	return ($ret, scalar(@rows), scalar(@wrong), $err);
}

my @cases = (
	[ 'content', 4000, 'garbage', qr/checksum/ ],
	[ 'empty', 0, "\0" x 8192, qr/page is empty/ ],
	[ 'version', 8188, pack('S', 9), qr/format version is unknown/ ],
	[ 'kind', 8190, pack('S', 0x1234), qr/another kind/ ],
	[ 'generation', 8160 + 16, pack('L', 77), qr/another segment|generation/ ],
	[ 'random', 24, join('', map { chr(int(rand(256))) } 1 .. 8100), qr/damaged/ ]);

foreach my $case (@cases)
{
	my ($topic, $at, $bytes, $says) = @$case;

	make_topic($topic);
	my ($block) = split /\|/, $node->safe_psql('postgres',
		"SELECT block + 1 FROM eventlog.dump_batches('$topic', 0, 7000, 7000)");
	damage($topic, $block, $at, $bytes);

	my ($ret, $rows, $wrong, $err) = read_all($topic, 'SET enable_seqscan = on',
		"SELECT record_offset, value FROM topics.$topic");
	isnt($ret, 0, "$topic: reading is an error");
	like($err, qr/log of partition "$topic:0" is damaged: .*\n?.*Block \d+, byte \d+, offset \d+/, "$topic: which names the place");

	my $problems = $node->safe_psql('postgres', "SELECT block, record_offset, problem FROM eventlog.verify('$topic')");
	my $start = $block - 1;
	like($problems, qr/^($block|$start)\|/m, "$topic: verify() names the block, or where its batch starts");
	like("$problems\n$err", $says, "$topic: and what is wrong");

	($ret, $rows, $wrong, $err) = read_all($topic, 'SET eventlog.skip_damaged_records = on',
		"SELECT record_offset, value FROM topics.$topic");
	is("$ret $wrong", '0 0', "$topic: reading goes on with the setting, with no wrong bytes");
	cmp_ok($rows, '>', $records - 600, "$topic: most records are there ($rows)");
	cmp_ok($rows, '<', $records, "$topic: and some are not");
	like($err, qr/WARNING:.*damaged.*\n.*Skipped offsets \d+ to \d+/, "$topic: a warning says which");

	my $sum = 0;
	$sum += $2 - $1 + 1 while $err =~ /Skipped offsets (\d+) to (\d+)/g;
	is($rows + $sum, $records, "$topic: what is skipped and what is read is all there was");

	is((read_all($topic, 'SET enable_seqscan = on',
			"SELECT record_offset, value FROM topics.$topic WHERE partition = 0 AND record_offset >= 15000"))[1],
		$records - 15_000, "$topic: from an offset behind the damage on, reading needs no setting");
	my ($r, $out, $warned) = $node->psql('postgres', "SELECT count(*) > 100 FROM eventlog.dump_batches('$topic', 0)");
	is($out, 't', "$topic: dump_batches() goes on behind the damage");
	like($warned, qr/WARNING.*damaged/, "$topic: with a warning");
	$node->safe_psql('postgres', "SELECT eventlog.produce('$topic', 'k', '$records:')");
	is($node->safe_psql('postgres',
			"SELECT value FROM topics.$topic WHERE partition = 0 AND record_offset = $records"), "$records:",
		"$topic: the next record is written and read");

	# consumers, too
	my ($n) = $node->safe_psql('postgres',
		"SET eventlog.skip_damaged_records = on; SELECT count(*) FROM eventlog.consume('g', '$topic', null)");
	is($n, $rows + 1, "$topic: a consumer with the setting gets the rest");
}

# ---- metapage and map ----

make_topic('meta');
damage('meta', 0, 24, 'xxxx');
my ($ret, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM topics.meta');
like($err, qr/block 0 of relation "meta:0" is damaged: magic number is wrong/, 'a damaged metapage is an error');
is($node->safe_psql('postgres', "SELECT block, problem FROM eventlog.verify('meta')"), '0|magic number is wrong', 'verify() tells');
($ret, $out, $err) = $node->psql('postgres', "SELECT eventlog.produce('meta', 'k', 'v')");
isnt($ret, 0, 'and nothing is appended');

make_topic('map');
$node->safe_psql('postgres', 'CHECKPOINT');
my $bytes = slurp_file(leaf_file($node, 'map', 0));
my ($map) = grep { unpack('S', substr($bytes, $_ * 8192 + 8190, 2)) == 0xEE02 } 1 .. length($bytes) / 8192 - 1;
damage('map', $map, 8190, pack('S', 0xEE09));
like($node->safe_psql('postgres', "SELECT problem FROM eventlog.verify('map')"), qr/another kind/, 'verify() finds a damaged map page');
($ret, $out, $err) = $node->psql('postgres', 'SET eventlog.skip_damaged_records = on; SELECT count(*) FROM topics.map');
like($err, qr/damaged/, 'reading through it is an error, with the setting as well');

# ---- the server's checksums ----

$node->stop;
system_or_bail('pg_checksums', '--enable', '-D', $node->data_dir);
$node->start;
make_topic('sums');
damage('sums', 40, 3000, 'garbage');
($ret, $out, $err) = $node->psql('postgres', 'SELECT count(octet_length(value)) FROM topics.sums');
like($err, qr/invalid page in block 40.*\n?.*reading partition "sums:0" at offset \d+/, "the server's checksum error says what was read");
($ret, $out, $err) = $node->psql('postgres',
	'SET eventlog.skip_damaged_records = on; SELECT count(*) FROM (SELECT value FROM topics.sums OFFSET 0) t');
is($ret, 0, 'and can be passed over');
like($err, qr/WARNING.*invalid page in block 40/, 'with a warning');

$node->stop;
done_testing();
