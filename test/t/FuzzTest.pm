# What the tests without a server share: building the programs of test/fuzz,
# and running them.

package FuzzTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename;
use File::Spec;
use File::Temp qw(tempdir);
use Test::More;

our @EXPORT = qw(build_programs build_programs_in run_command run_tap slurp $fuzz_dir $kafka_dir $tmp);

our $fuzz_dir = File::Spec->rel2abs(dirname(__FILE__) . '/../fuzz');
our $kafka_dir = File::Spec->rel2abs(dirname(__FILE__) . '/../data/kafka');
our $tmp = tempdir(CLEANUP => 1);

sub slurp
{
	my ($path) = @_;
	open(my $fh, '<:raw', $path) or die "$path: $!";
	local $/;
	my $text = <$fh>;
	return $text // '';
}

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
		my ($status, $dir) = run_command($candidate, '--includedir-server');
		chomp $dir;
		return $candidate if $status == 0 && -f "$dir/postgres_fe.h";
	}
	BAIL_OUT("no pg_config knows where postgres_fe.h is; set PG_CONFIG");
}

# Build programs of test/fuzz, as build_programs_in() does.
sub build_programs
{
	return build_programs_in($fuzz_dir, @_);
}

# Build programs of a directory with the sanitizers, or without where the
# compiler has none.  Returns the directory in which they are.
sub build_programs_in
{
	my ($dir, $cc, @programs) = @_;
	my @make = ('make', '-s', '-C', $dir, "OUT=$tmp", "CC=$cc",
		'PG_CONFIG=' . pg_config());

	# not the flags of the "make" that runs us
	delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
	my ($status, $out) = run_command(@make, @programs);
	if ($status != 0)
	{
		note("no sanitizers here: $out");
		($status, $out) = run_command(@make, 'SANITIZE=', @programs);
	}
	is($status, 0, "@programs: built without a server") or BAIL_OUT($out);
	return $tmp;
}

# Run a program that prints TAP, as if its tests were ours.
sub run_tap
{
	my @command = @_;
	my $name = basename($command[0]);
	my $reported = 0;
	my ($status, $out) = run_command(@command);

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
	is($status, 0, "$name ended well") or diag($out);
	like($out, qr/^1\.\.$reported$/m, "$name ran all its tests");
	return;
}

1;
