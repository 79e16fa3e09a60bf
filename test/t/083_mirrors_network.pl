# Mirrors in both directions, under load, over a network that misbehaves: pieces
# come late, connections are reset in the middle of whatever is under way, bytes
# are swallowed, nobody listens, records are damaged on their way.  Afterwards
# the topic that went out and the one that came back in are equal, record by
# record.  And the server stops at once, whatever the network does.
#
# Then a broker that lies: its answers are changed at random.  What mirrors make
# of that is not asked, as nobody could know; but no process of the server dies,
# memory stays bounded, and the mirrors of another server of the same broker, and
# new ones afterwards, are not concerned.
#
# MIRROR_NETWORK_SEED chooses what happens; it is printed.
# MIRROR_FUZZ_SECONDS: how long the broker lies (12).
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
use KafkaProxy;
use MirrorTest;

my $seed = $ENV{MIRROR_NETWORK_SEED} // int(rand(1 << 30));
my $fuzz_seconds = $ENV{MIRROR_FUZZ_SECONDS} // 12;
srand($seed);
note "MIRROR_NETWORK_SEED=$seed";

need_broker();
my $proxy = KafkaProxy->new;
$ENV{KAFKA_PROXY} = $proxy->port;
broker_start();
$proxy->start(broker_behind());
my $node = new_server('mirrors_network');

sub sql { return $node->safe_psql('postgres', @_); }

# Times that a network needs to be given up are short, so that the test is.
my $impatience = q{"socket.timeout.ms" '3000', "reconnect.backoff.ms" '50', "reconnect.backoff.max.ms" '300',
	"transaction.timeout.ms" '10000', "message.timeout.ms" '8000'};
new_kafka_server($node);
sql(<<SQL);
CREATE SERVER far FOREIGN DATA WRAPPER eventlog_kafka
	OPTIONS ("bootstrap.servers" '@{[ $proxy->address ]}', $impatience);
CREATE USER MAPPING FOR CURRENT_USER SERVER far;
SELECT eventlog.create_topic(name, 2, key_type => 'text', value_type => 'text')
	FROM unnest(ARRAY['src', 'dst']) name;
SELECT eventlog.create_mirror('out', 'far', 'out', 'src', 'network', '{"create.topic": true}');
SELECT eventlog.create_mirror('in', 'far', 'in', 'dst', 'network');
SQL
my $sent = 0;

sub produce
{
	my ($count) = @_;
	sql("SELECT count(eventlog.produce('src', 'z' || i, 'value ' || i)) FROM generate_series(1, $count) i");
}

produce(10);
wait_for_records($node, 'dst', 10, 'the way through the proxy works');

# ---- a network that misbehaves ----

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $stop = "$tmp/stop";
append_to_file("$tmp/load.sql", join('', map {
			my $end = $_ % 5 ? 'COMMIT' : 'ROLLBACK';
			<<SQL } 1 .. 20));
BEGIN;
SELECT count(eventlog.produce('src', 'k' || (random() * 100)::int, 'damage me' || repeat(md5(random()::text), 1 + (random() * 5)::int)))
	FROM generate_series(1, 1 + (random() * 300)::int);
$end;
SELECT pg_sleep(0.03);
SQL
my $client = psql_load($node, "$tmp/load.sql", $stop);
my %counts;

sub phase
{
	my ($seconds, @rule) = @_;

	$proxy->rule(@rule);
	usleep($seconds * 1e6);
}

foreach my $turn (1 .. 2)
{
	# the first bytes of a connection, and in the middle of large transactions
	phase(1.5, cut => 200 + int(rand(5_000)));
	phase(1.5, cut => 20_000 + int(rand(300_000)));
	phase(1, delay => 20 + int(rand(200)));
	phase(1.5, flip => 'damage me', 3);
	phase(0.5 + rand(1), 'freeze');
	phase(0.3, 'pass');
	phase(0.3 + rand(1), 'refuse');
	phase(0.5, 'pass');
	phase(0.5 + rand(1), 'swallow');
	phase(0.5, 'pass');
}
# longer than anybody waits for an answer
phase(4, 'freeze');
%counts = $proxy->rule('pass');
append_to_file($stop, '');
waitpid($client, 0);
note join(', ', map { "$_: $counts{$_}" } sort keys %counts);
cmp_ok($counts{cuts}, '>', 20, 'connections were cut');
cmp_ok($counts{mutations}, '>', 3, 'records were damaged');
my $damaged = $counts{mutations};
my $n = sql('SELECT count(*) FROM topics.src');
cmp_ok($n, '>', 1000, 'there was load');
wait_for_records($node, 'dst', $n, 'all records arrive');
usleep(500_000);
same_topics($node, 'src', 'dst', 'after all that');
is(sql("SELECT string_agg(DISTINCT state, ',') FROM eventlog.mirrors"), 'streaming', 'both mirrors stream');

# ---- stopping while nobody answers ----

foreach my $rule ('freeze', 'swallow', 'refuse')
{
	$proxy->rule($rule);
	produce(2000);
	usleep(700_000);
	my $began = time;
	$node->stop('fast');
	my $took = time - $began;
	note sprintf('%s: %.2f s', $rule, $took);
	cmp_ok($took, '<', 5, "the server stops ($rule)");
	$proxy->rule('pass');
	$node->start;
	$n += 2000;
}
wait_for_records($node, 'dst', $n, 'all arrive when the network is back');
same_topics($node, 'src', 'dst', 'after stops in the middle');

# ---- a broker that lies ----

sql(<<SQL);
SELECT eventlog.create_topic(name, 2, key_type => 'text', value_type => 'text')
	FROM unnest(ARRAY['lied', 'lies', 'near', 'near.back']) name;
SELECT eventlog.create_mirror('out lied', 'far', 'out', 'lied', 'lied', '{"create.topic": true}');
SELECT eventlog.create_mirror('in lies', 'far', 'in', 'lies', 'lied');
SELECT eventlog.create_mirror('near out', 'kafka', 'out', 'near', 'near', '{"create.topic": true}');
SELECT eventlog.create_mirror('near in', 'kafka', 'in', 'near.back', 'near');
SQL
wait_for_state($node, 'out lied', 'streaming');
unlink $stop;
append_to_file("$tmp/lies.sql", <<SQL);
SELECT count(eventlog.produce(t, 'k' || i, repeat(md5(random()::text), 5)))
	FROM generate_series(1, 100) i, unnest(ARRAY['lied', 'near']) t;
SELECT pg_sleep(0.05);
SQL
$client = psql_load($node, "$tmp/lies.sql", $stop);
my $before = resident_kb(worker_of($node, 'out lied'));
my ($most, $checks, $until) = (0, 0, time + $fuzz_seconds);

# more and more of it; while all is wrong, there are connections only
$proxy->rule('fuzz', $seed, 10);
while (time < $until)
{
	my $left = $until - time;

	$proxy->rule('fuzz', int(rand(1 << 30)), $left > $fuzz_seconds * 0.6 ? 30 : $left > $fuzz_seconds * 0.3 ? 8 : 2);
	$node->psql('postgres', 'SET statement_timeout = 2000; SELECT count(*) FROM eventlog.kafka_check(\'far\')',
		stdout => \my $out, stderr => \my $err);
	$checks++;
	# resumed again and again, or the first answer that is wrong would end it
	$node->psql('postgres', q{SELECT eventlog.resume_mirror(name, CASE WHEN state = 'diverged' THEN 'latest' END)
		FROM eventlog.mirrors WHERE state ~ 'stopped|diverged|failed|fenced' AND server = 'far'},
		stdout => \$out, stderr => \$err);
	my $pid = sql("SELECT coalesce(max(pid), 0) FROM eventlog.mirrors WHERE name = 'out lied'");
	my $kb = $pid ? eval { resident_kb($pid) } : 0;
	$most = $kb if $kb && $kb > $most;
	usleep(300_000);
}
%counts = $proxy->rule('pass');
append_to_file($stop, '');
waitpid($client, 0);
note join(', ', map { "$_: $counts{$_}" } sort keys %counts);
note sprintf('%d checks; resident %d kB, at most %d kB', $checks, $before, $most);
cmp_ok($counts{mutations} - $damaged, '>', 10, 'the broker has lied');
cmp_ok($most, '<', 600_000, 'memory stays bounded');
is(crashes($node), '', 'no process of the server has died');
my $near = sql('SELECT count(*) FROM topics.near');
wait_for_records($node, 'near.back', $near, 'mirrors that were not lied to have gone on');
same_topics($node, 'near', 'near.back', 'beside a broker that lies');

# Mirrors made anew find all in order.
sql(<<SQL);
SELECT eventlog.drop_mirror(name) FROM eventlog.mirrors WHERE server = 'far';
SELECT eventlog.create_topic('lied.back', 2, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('out lied', 'far', 'out', 'lied', 'truth', '{"create.topic": true}');
SQL
wait_for_state($node, 'out lied', 'streaming');
sql("SELECT eventlog.create_mirror('in lies', 'far', 'in', 'lied.back', 'truth')");
wait_for_records($node, 'lied.back', sql('SELECT count(*) FROM topics.lied'), 'new mirrors take all');
same_topics($node, 'lied', 'lied.back', 'after the lies');
verified($node, 'all topics', 'src', 'dst', 'lies', 'lied.back', 'near.back');

$node->stop('fast');
broker_stop();
$proxy->stop;
done_testing();
