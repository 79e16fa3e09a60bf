# Show the reports of valgrind, in XML, that have a function of pg_eventlog in
# them, each once.  The exit status says whether there are any.
#
# The server has reports of its own, such as padding in what it writes to WAL;
# whoever happens to write the page is on the stack then.  So of bytes that go
# to a file it counts where they come from, not who writes them.

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
		my $where = $error;
		$where =~ s{^.*?<auxwhat>Uninitialised value was created}{}s
		  if $error =~ m{<what>Syscall param };
		if ($where !~ m{<obj>[^<]*/pg_eventlog\.so</obj>})
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
