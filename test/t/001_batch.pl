# The record batch codec (src/batch*.c, src/partitioner.c), without a server:
#
#	- random, hand-made and mutated batches, under the address and undefined
#	  behaviour sanitizers where the compiler has them (test/fuzz/batch_fuzz.c);
#	- segments written by a Kafka broker, read by us; and segments written by
#	  us, of which Kafka's reader said what they hold (test/data/kafka).
#
# BATCH_FUZZ_SEED and BATCH_FUZZ_COUNT choose another run.  The seed is printed.

use strict;
use warnings FATAL => 'all';

use FindBin;
use File::Spec;
use File::Temp qw(tempdir);
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $data = "$FindBin::RealBin/../data/kafka";
my @sources = ("$FindBin::RealBin/../fuzz/batch_fuzz.c",
	map { "$top/src/$_.c" } qw(batch batch_codec crc32c partitioner));
foreach my $file (@sources)
{
	BAIL_OUT("$file is missing") unless -f $file;
}
my $tmp = tempdir(CLEANUP => 1);

# Run a command: its exit status, and all that it wrote.
sub run_command
{
	my @command = @_;
	my $out = "$tmp/out";
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open(STDOUT, '>', $out) or die "$out: $!";
		open(STDERR, '>&', \*STDOUT) or die "dup: $!";
		exec(@command) or do { print STDERR "$command[0]: $!\n"; exit 127; };
	}
	waitpid($pid, 0);
	return ($?, slurp($out));
}

sub slurp
{
	my ($path) = @_;
	open(my $fh, '<:raw', $path) or die "$path: $!";
	local $/;
	my $text = <$fh>;
	return $text // '';
}

# pg_config of a server whose headers are installed: the stage of "make check"
# has one in the PATH that only knows the stage.
sub pg_config
{
	my @candidates = grep { defined } $ENV{PG_CONFIG};
	push @candidates, "$1/bin/pg_config"
	  if ($ENV{PGXS} // '') =~ m{^(.*)/lib/pgxs/};
	push @candidates, map { "$_/pg_config" } File::Spec->path();
	foreach my $candidate (@candidates)
	{
		my %dir;
		foreach my $what (qw(includedir-server pkglibdir libdir))
		{
			my ($status, $out) = run_command($candidate, "--$what");
			chomp $out;
			$dir{$what} = $out if $status == 0;
		}
		return %dir
		  if defined $dir{'includedir-server'}
		  && -f "$dir{'includedir-server'}/postgres_fe.h";
	}
	BAIL_OUT("no pg_config knows where postgres_fe.h is; set PG_CONFIG");
}

my %dir = pg_config();
my $cc = $ENV{CC} || 'cc';
my $program = "$tmp/batch_fuzz";

sub build
{
	my @flags = @_;
	return run_command($cc, @flags, '-g', '-O1', '-Wall', '-Werror',
		'-D_GNU_SOURCE', '-DFRONTEND', '-DUSE_ASSERT_CHECKING',
		'-isystem', $dir{'includedir-server'}, "-I$top/src",
		@sources, '-o', $program,
		"-L$dir{pkglibdir}", "-L$dir{libdir}",
		'-lpgcommon', '-lpgport', '-llz4', '-lzstd');
}

my ($status, $out) =
  build('-fsanitize=address,undefined', '-fno-sanitize-recover=undefined');
if ($status != 0)
{
	note("no sanitizers here: $out");
	($status, $out) = build();
}
is($status, 0, 'the codec builds without a server') or BAIL_OUT($out);

# Random input: our seed unless told, so that a failure comes again.
($status, $out) = run_command($program, $ENV{BATCH_FUZZ_SEED} // 1,
	$ENV{BATCH_FUZZ_COUNT} // 400);
my $reported = 0;
foreach my $line (split /\n/, $out)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/)
	{
		$reported++;
		ok(!$1, $2);
	}
	elsif ($line !~ /^1\.\./)
	{
		note($line);
	}
}
is($status, 0, 'batch_fuzz ended well') or diag($out);
like($out, qr/^1\.\.$reported$/m, 'batch_fuzz ran all its tests');

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
