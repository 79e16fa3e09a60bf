# A member's process is killed by SIGKILL, between reading and committing and
# while it commits: the server restarts, shared memory is made anew, and the
# members that come then get every record that was not committed, once.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('members_kill', conf => "restart_after_crash = on\nmax_prepared_transactions = 5\n");
my $records = 200;

$node->safe_psql('postgres', <<SQL);
SELECT eventlog.create_topic('t', 4, 'text', 'text');
INSERT INTO topics.t (partition, value) SELECT i % 4, i::text FROM generate_series(1, $records) i;
CREATE TABLE got (value text);
SQL

my $work = <<'SQL';
SET client_min_messages = error;
SELECT eventlog.subscribe('g', array['t']);
SQL
my $round = <<'SQL';
BEGIN;
INSERT INTO got SELECT value FROM eventlog.poll(null::topics.t, 20);
SELECT eventlog.commit();
COMMIT;
SQL

my $killed = 0;
foreach my $point (qw(member-commit member-owned member-committing))
{
	$node->safe_psql('postgres', $work . $round);
	my $client = start_paused($node, $point, $work . $round, name => "victim_$point");

	ok(kill('KILL', $client->{backend}), "$point: killed");
	$killed++;
	finish_client($client);
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server has not come back';
	is($node->safe_psql('postgres', 'SELECT count(*) FROM eventlog.group_members'), '0', "$point: no members after the restart");
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT value) FROM got'),
		join('|', (20 * $killed) x 2), "$point: what was committed is there, once");
}

# A prepared transaction survives, and its partitions wait for it.
$node->safe_psql('postgres', $work . <<'SQL');
BEGIN;
INSERT INTO got SELECT value FROM eventlog.poll(null::topics.t, 20);
SELECT eventlog.commit();
PREPARE TRANSACTION 'p';
SQL
my $client = start_client($node, "SELECT pg_sleep(600)", name => 'victim');
kill('KILL', wait_for_backend($node, 'victim', "state = 'active'"));
finish_client($client);
$node->poll_query_until('postgres', 'SELECT true') or die 'the server has not come back';

my $rest = $work . $round x 20;
$node->safe_psql('postgres', $rest);
my $left = $records - 20 * $killed - $node->safe_psql('postgres', 'SELECT count(*) FROM got') + 20 * $killed;
cmp_ok($left, '>=', 20, 'records of a prepared transaction are given to nobody');
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
$node->safe_psql('postgres', $rest);
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT value) FROM got'),
	"$records|$records", 'all records, each once');
is($node->safe_psql('postgres', "SELECT sum(lag) FROM eventlog.consumer_groups WHERE consumer_group = 'g'"),
	'0', 'no lag');

$node->stop;
done_testing();
