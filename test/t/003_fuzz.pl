# Any bytes at all, without a server, under the sanitizers: batches
# (test/fuzz/fuzz_batch.c) and the pages of a segment (fuzz_walk.c).
#
#	- the stored corpus, with any compiler;
#	- with clang, FUZZ_SECONDS (60) of libFuzzer, half for each, side by side.
#
# An input that fails is shown in base64.  Keep it in test/fuzz/corpus, with
# the fix.  With FUZZ_KEEP=DIR the inputs that reach something new go there.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use File::Path qw(make_path);
use FuzzTest;
use MIME::Base64;
use POSIX qw(ceil);
use Test::More;

my @kinds = qw(batch walk);
my $corpus = "$fuzz_dir/corpus";
my $seconds = $ENV{FUZZ_SECONDS} // 60;

# What is stored is made by a program: is it still the same?
my $dir = build_programs($ENV{CC} || 'cc',
	qw(make_corpus fuzz_batch_replay fuzz_walk_replay));
make_path(map { "$tmp/corpus/$_" } @kinds);
my ($status, $out) = run_command("$dir/make_corpus", "$tmp/corpus", $kafka_dir);
is($status, 0, 'made the corpus again') or diag($out);
foreach my $kind (@kinds)
{
	my @made = glob("$tmp/corpus/$kind/*");
	my @missing = grep { !-f "$corpus/$kind/" . s{.*/}{}r } @made;
	cmp_ok(scalar(@made), '>', 10, "inputs for fuzz_$kind were made");
	is("@missing", '', 'and they are stored (make fuzz-corpus stores them)');
}

foreach my $kind (@kinds)
{
	($status, $out) = run_command("$dir/fuzz_${kind}_replay", glob("$corpus/$kind/*"));
	is($status, 0, "fuzz_$kind takes all of the stored corpus") or diag($out);
}

SKIP:
{
	my $clang = $ENV{CLANG} || 'clang';
	($status) = run_command($clang, '--version');
	skip('no clang: apt-get install clang libclang-rt-14-dev', scalar(@kinds))
	  if $status != 0;

	build_programs($clang, map { "fuzz_$_" } @kinds);
	my %pid;
	foreach my $kind (@kinds)
	{
		my $new = ($ENV{FUZZ_KEEP} // "$tmp/new") . "/$kind";
		make_path($new, "$tmp/crash_$kind");
		my $pid = fork() // die "fork: $!";
		if ($pid == 0)
		{
			open(STDOUT, '>', "$tmp/$kind.log") or die "$tmp/$kind.log: $!";
			open(STDERR, '>&', \*STDOUT) or die "dup: $!";
			exec("$tmp/fuzz_$kind", '-max_total_time=' . ceil($seconds / @kinds),
				'-timeout=20', '-max_len=65536', '-print_final_stats=1',
				"-artifact_prefix=$tmp/crash_$kind/", $new, "$corpus/$kind")
			  or exit 127;
		}
		$pid{$kind} = $pid;
	}
	foreach my $kind (@kinds)
	{
		waitpid($pid{$kind}, 0);
		$status = $?;
		my $log = slurp("$tmp/$kind.log");
		my ($runs) = $log =~ /^stat::number_of_executed_units: (\d+)/m;
		is($status, 0, "fuzz_$kind: " . ($runs // 'no') . ' inputs, none of which fails');
		next if $status == 0;

		# without the list of inputs that were tried before
		diag(join('', map { "$_\n" } grep { !/^#\d/ } split(/\n/, $log)));
		diag("$_:\n" . encode_base64(slurp($_))) foreach glob("$tmp/crash_$kind/*");
	}
}

done_testing();
