# The record batch codec (src/batch*.c, src/partitioner.c), without a server:
#
#	- random, hand-made and mutated batches, under the address and undefined
#	  behaviour sanitizers where the compiler has them (test/fuzz/batch_*.c);
#	- segments written by a Kafka broker, read by us; and segments written by
#	  us, of which Kafka's reader said what they hold (test/data/kafka).
#
# BATCH_FUZZ_SEED and BATCH_FUZZ_COUNT choose another run.  The seed is printed.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use FuzzTest;
use Test::More;

my $data = $kafka_dir;
my $program = build_programs($ENV{CC} || 'cc', 'batch_test') . '/batch_test';
my ($status, $out);

# Random input: our seed unless told, so that a failure comes again.
run_tap($program, $ENV{BATCH_FUZZ_SEED} // 1, $ENV{BATCH_FUZZ_COUNT} // 400);

# What our reader says of a segment, without the lines about batches.
sub decode
{
	my ($file) = @_;
	my ($status, $out) = run_command($program, '--decode', $file);
	return ("exit status $status: $out") if $status != 0;
	return join('', grep { !/^#/ } split(/^/, $out));
}

# Segments that Kafka wrote.
foreach my $name (qw(none lz4 zstd append-time transactions compacted))
{
	my $expected = slurp("$data/$name.expected");
	cmp_ok(length($expected), '>', 0, "Kafka's consumer saw records of $name.log");
	ok(decode("$data/$name.log") eq $expected,
		"Kafka's segment $name.log reads as by Kafka's consumer");
}

# Segments that we wrote once, of which Kafka's reader printed the records
# (written.expected) and Kafka's DumpLogSegments the batches (dump_*.txt).
my $expected = slurp("$data/written.expected");
foreach my $codec (qw(none lz4 zstd))
{
	my $stored = slurp("$data/written_$codec.log");
	my $dump = slurp("$data/dump_$codec.txt");

	my @batches =
	  $dump =~ /^baseOffset: .* position: (\d+) .* crc: (\d+) isvalid: true$/mg;
	my $same = 0;
	while (my ($position, $crc) = splice(@batches, 0, 2))
	{
		$same++ if unpack('N', substr($stored, $position + 17, 4)) == $crc;
	}
	is($same, 4, "DumpLogSegments found the 4 batches of written_$codec.log valid");
	is(() = $dump =~ /^\| offset: /mg, 80, "and 80 records in them");

	ok(decode("$data/written_$codec.log") eq $expected,
		"written_$codec.log reads as by Kafka's reader");

	($status, $out) = run_command($program, '--write', "$tmp/now.log", $codec);
	is($status, 0, "writes the segment again with $codec") or diag($out);
	my $same_bytes = slurp("$tmp/now.log") eq $stored;
	if ($codec eq 'none')
	{
		ok($same_bytes, 'and the same bytes');
	}
	else
	{
		# Another version of the library may compress otherwise.
		note("compressed bytes differ from the stored ones: another $codec library?")
		  unless $same_bytes;
		ok($same_bytes || decode("$tmp/now.log") eq $expected,
			'and the same bytes, or at least the same records');
	}
}

($status, $out) = run_command($program, '--murmur2', "$data/murmur2.tsv");
is($status, 0, "murmur2 and partitions are those of Kafka's Java client")
  or diag($out);
like($out, qr/^checked (?:[2-9]\d\d|\d{4,}) wrong 0$/m, 'for more than 200 keys');

done_testing();
