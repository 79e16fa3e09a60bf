# What becomes of a topic while somebody waits for its records (max_wait): a
# partition that is added is read, a topic that is dropped ends the wait, and so
# do a cancel, a timeout and the end of the session.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('waiting');
my $nwaiters = 0;

# A fresh topic of one partition, and a client that waits for its records.
sub waiter
{
	my ($call, %params) = @_;
	my $name = 'waiter' . $nwaiters++;

	$node->safe_psql('postgres', <<SQL);
DROP TABLE IF EXISTS topics.wait;
SELECT eventlog.create_topic('wait', 1, 'text', 'text');
SELECT eventlog.create_group('g', 'wait');
SQL
	my $client = start_client($node, <<SQL, name => $name);
@{[ $params{before} // '' ]}
SELECT count(*) FROM eventlog.tail('wait', 5);
SELECT partition FROM eventlog.$call;
SQL
	$client->{backend} = wait_for_backend($node, $name,
		"wait_event_type = 'Extension' AND query LIKE '%max_wait%'");
	return $client;
}

my $long = $PostgreSQL::Test::Utils::timeout_default . ' s';
my %calls = (
	consume => "consume('g', 'wait', max_wait => '$long')",
	tail    => "tail('wait', 5, max_wait => '$long')",
	read    => "read('wait', 0, 0, max_wait => '$long')");

foreach my $function (sort keys %calls)
{
	my ($client, $status, $out, $err);

	if ($function ne 'read')
	{
		$client = waiter($calls{$function});
		$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.add_partitions('wait', 2);
SELECT eventlog.produce('wait', null, 'x', partition => 1);
SQL
		($status, $out, $err) = finish_client($client);
		is("$status $out", "0 0\n1\n", "$function() reads a partition that is added while it waits");
	}

	foreach my $how ([ 'pg_cancel_backend', 'user request' ], [ 'pg_terminate_backend', 'administrator command' ])
	{
		$client = waiter($calls{$function});
		$node->safe_psql('postgres', "SELECT $how->[0]($client->{backend})");
		($status, $out, $err) = finish_client($client);
		like($err, qr/$how->[1]/, "$function() while it waits: $how->[0]()");
	}

	$client = waiter($calls{$function}, before => "SET statement_timeout = '1s';");
	($status, $out, $err) = finish_client($client);
	like($err, qr/statement timeout/, "$function() while it waits: statement_timeout");
}

# One that waits holds no partition, and so does not keep the topic.
my $client = waiter($calls{consume});
$node->safe_psql('postgres', 'DROP TABLE topics.wait');
my ($status, $out, $err) = finish_client($client);
like($err, qr/topic "wait" does not exist any more/, 'consume() of a topic that is dropped while it waits');

$node->stop;
done_testing();
