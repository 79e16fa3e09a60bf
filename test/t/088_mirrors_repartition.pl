# A mirror to a topic that has fewer partitions than ours, exactly once: Kafka's
# group has an offset for each of its own partitions only, which carry the
# positions of the others.
#
# Needs Java and Kafka's jars (test/kafka/broker.sh); says so where they are not.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use FindBin;
use lib $FindBin::RealBin;
use EventlogTest;
use MirrorTest;

need_broker();
broker_start();
my $node = new_server('mirrors_repartition', conf => "restart_after_crash = on\n");
new_kafka_server($node);

sub sql { return $node->safe_psql('postgres', @_); }

# What has come back, once it is as much as was sent: each record once, in the
# order of its key.
sub compare
{
	my ($title) = @_;
	my $n = sql('SELECT count(*) FROM topics.wide');

	ok($node->poll_query_until('postgres', "SELECT count(*) >= $n FROM topics.back"), "$title: all $n have come");
	is(sql('SELECT count(*) - count(DISTINCT value) FROM topics.back'), '0', "$title: none twice");
	is(sql(<<'SQL'), '', "$title: the same ones, in their order");
SELECT key FROM (SELECT key, string_agg(value, ' ' ORDER BY "partition", record_offset) v FROM topics.wide GROUP BY key) a
FULL JOIN (SELECT key, string_agg(value, ' ' ORDER BY "partition", record_offset) v FROM topics.back GROUP BY key) b USING (key)
WHERE a.v IS DISTINCT FROM b.v
SQL
}

my $turn = 0;

# A command that produces 1000 records of 50 keys.
sub fill
{
	$turn++;
	return "SELECT count(eventlog.produce('wide', 'k' || i % 50, '$turn ' || i)) FROM generate_series(1, 1000) i;\n";
}

sql(<<SQL);
SELECT eventlog.create_topic('wide', 7, key_type => 'text', value_type => 'text');
SELECT eventlog.create_topic('back', 1, key_type => 'text', value_type => 'text');
SQL
ok(kafka_command('org.apache.kafka.tools.TopicCommand', '--create', '--topic', 'narrow', '--partitions', '2'), 'a topic of 2 partitions');
sql(<<SQL);
SELECT eventlog.create_mirror('out', 'kafka', 'out', 'wide', 'narrow', '{"repartition": "by_key"}');
SELECT eventlog.create_mirror('in', 'kafka', 'in', 'back', 'narrow', '{"repartition": "by_key", "topics.refresh.interval.ms": 1000}');
SQL
sql(fill());
compare('7 partitions to 2');
isnt(sql('SELECT count(DISTINCT "partition") FROM topics.wide'), '1', 'keys are in several partitions');

# ---- the worker and the server are killed, over and over ----

foreach my $round (1 .. 4)
{
	my $client = start_client($node, join('', map { fill() } 1 .. 10));
	usleep(150_000);
	kill_backend($node, worker_of($node, 'out'));
	finish_client($client);
}
compare('after the worker was killed');

sql(fill());
$node->stop('immediate');
$node->start;
compare('after the server was killed');

# One partition moves, and its carrier is committed, be that itself or another.
foreach my $p (0 .. 6)
{
	sql("SELECT eventlog.produce('wide', 'p$p', 'for $p', \"partition\" => $p)");
	compare("a record in partition $p");
	kill_backend($node, worker_of($node, 'out'));
}
compare('a worker killed after each');

# ---- Kafka's topic is given partitions ----

# The carried positions are those of partitions that it has afterwards, and the
# worker is still the same one when it finds that out.
sql("SELECT eventlog.pause_mirror('in')");
ok(kafka_command('org.apache.kafka.tools.TopicCommand', '--alter', '--topic', 'narrow', '--partitions', '5'), 'it is given 3 more');
broker_kill();
sql("SELECT eventlog.produce('wide', 'p0', 'a carrier alone', \"partition\" => 0)");
wait_for_state($node, 'out', 'failed', 'the broker is away');
broker_start();
sql("SELECT eventlog.resume_mirror('in')");
ok($node->poll_query_until('postgres', "SELECT state = 'streaming' AND lag = 0 FROM eventlog.mirrors WHERE name = 'out'"), 'and is back');
kill_backend($node, worker_of($node, 'out'));
sql("SELECT eventlog.produce('wide', 'p' || p, 'again for ' || p, \"partition\" => p) FROM generate_series(0, 6) p");
$node->poll_query_until('postgres', "SELECT lag = 0 FROM eventlog.mirrors WHERE name = 'out'");
my $n = sql('SELECT count(*) FROM topics.wide');
ok($node->poll_query_until('postgres', "SELECT count(*) >= $n FROM topics.back"), 'all have come');
is(sql('SELECT count(*) - count(DISTINCT value) FROM topics.back'), '0', 'none twice');

# ---- ours is given some, and begins anew ----

sql("SELECT eventlog.add_partitions('wide', 12)");
sql("SELECT eventlog.produce('wide', 'p11', 'for 11', \"partition\" => 11)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM topics.back WHERE value = 'for 11'"), 'a new partition of ours');
sql("SELECT eventlog.pause_mirror('out')");
wait_for_state($node, 'out', 'paused');
sql("SELECT eventlog.resume_mirror('out', start => 'earliest')");
$n = sql('SELECT 2 * count(*) FROM topics.wide');
ok($node->poll_query_until('postgres', "SELECT count(*) >= $n FROM topics.back"), 'from the start again: all twice');
kill_backend($node, worker_of($node, 'out'));
sql("SELECT eventlog.produce('wide', 'last', 'the last one')");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM topics.back WHERE value = 'the last one'"), 'and on');
is(sql('SELECT count(*) FROM topics.back'), $n + 1, 'none a third time');

# ---- too many ----

sql("SELECT eventlog.create_topic('many', 200)");
ok(kafka_command('org.apache.kafka.tools.TopicCommand', '--create', '--topic', 'one', '--partitions', '1'), 'a topic of 1 partition');
sql("SELECT eventlog.create_mirror('many', 'kafka', 'out', 'many', 'one', '{\"repartition\": \"by_key\"}')");
wait_for_state($node, 'many', 'stopped', 'more partitions than one can carry');
like(mirror_column($node, 'many', 'last_error'), qr/has 200 partitions, and Kafka's has only 1, too few to carry the positions/, 'which is told');

is(join("\n", grep { !/background worker "pg_eventlog mirror".* terminated by signal 9/ } split /\n/, crashes($node)),
	'', 'nothing else died');
broker_stop();
$node->stop;
done_testing();
