# Show the reports of valgrind, in XML, that have a function of pg_eventlog in
# them, each once.  The exit status says whether there are any.
#
# Left out are leaks, which valgrind looks for whenever it writes XML, and
# uninitialized bytes in what goes to a file: the server has padding there, the
# stack has whoever happens to write it out, and palloc uses memory again
# without valgrind's knowledge.  check.h sees to ours.

use strict;
use warnings FATAL => 'all';

my %seen;
my $processes = 0;
my $others = 0;

foreach my $file (@ARGV)
{
	open(my $fh, '<', $file) or die "$file: $!";
	my $xml = do { local $/; <$fh> } // '';
	close($fh);
	$processes++ if $xml =~ m{<obj>[^<]*/pg_eventlog\.so</obj>} || $xml =~ /<tool>memcheck/;
	foreach my $error ($xml =~ m{<error>(.*?)</error>}sg)
	{
		next if $error =~ m{<kind>Leak_|<what>Syscall param p?write};
		if ($error !~ m{<obj>[^<]*/pg_eventlog\.so</obj>})
		{
			$others++;
			next;
		}
		my ($what) = $error =~ m{<(?:what|text)>([^<]*)<};
		my $text = "$what\n";
		while ($error =~ m{<auxwhat>([^<]*)<|<frame>(.*?)</frame>}sg)
		{
			if (defined $1)
			{
				$text .= "  $1\n";
				next;
			}
			my %frame = $2 =~ m{<(\w+)>([^<]*)<}g;
			$text .= sprintf("    %s (%s)\n", $frame{fn} // '?',
				defined $frame{file} ? "$frame{file}:$frame{line}" : $frame{obj} // '?');
		}
		print "$text\n" unless $seen{$text}++;
	}
}
printf("%d processes, %d reports with pg_eventlog in them, %d without\n",
	$processes, scalar(keys %seen), $others);
die "valgrind has watched no server\n" if $processes < 5;
exit(%seen ? 1 : 0);
