# docs/mirrors.md, followed word by word: all its SQL, in order, and what it says
# comes out.
#
# Needs Java and Kafka's jars (test/kafka/broker.sh); says so where they are not.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use FindBin;
use lib $FindBin::RealBin;
use EventlogTest;
use MirrorTest;

need_broker();
broker_start();
my $node = new_server('docs');
my $docs = slurp_file("$FindBin::RealBin/../../docs/mirrors.md");
my ($host, $port) = split /:/, broker_address();

# each block, with what is printed for its last statement, if that is told
my @blocks;
push @blocks, [$1, $2] while $docs =~ /^```sql\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?/msg;
cmp_ok(scalar(@blocks), '>', 8, 'docs/mirrors.md has SQL');

# Words and numbers, whatever the width of columns.
sub normal
{
	my ($text) = @_;

	$text =~ s/\Q$host\E/localhost/g;
	$text =~ s/\b$port\b/9092/g;
	$text =~ s/^\(\d+ rows?\)$//mg;
	$text =~ s/[-+]{2,}/--/g;
	$text =~ s/[ \t]+/ /g;
	$text =~ s/ $//mg;
	$text =~ s/\n+/\n/g;
	$text =~ s/^\n//;
	return $text;
}

sub run_block
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	my $ret = $node->psql('postgres', "\\pset format aligned\n\\pset tuples_only off\n$sql",
		stdout => \$out, stderr => \$err, on_error_stop => 1);

	return ($ret, $out, $err);
}

foreach my $block (@blocks)
{
	my ($sql, $expected) = @$block;
	my ($title) = $sql =~ /\n?([^\n]*?);?\n\z/;

	$sql =~ s/'localhost:9092'/"'" . broker_address() . "'"/ge;
	my ($ret, $out, $err) = run_block($sql);

	# what mirrors do takes its time
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (defined $expected && normal($out) ne normal($expected) && time < $until)
	{
		usleep(200_000);
		($ret, $out, $err) = run_block($sql);
	}
	is($ret, 0, "works: $title") or diag($err);
	unlike($err, qr/ERROR|WARNING/, 'without errors');
	is(normal($out), normal($expected), 'and prints what the page says') if defined $expected;
}

broker_stop();
done_testing();
