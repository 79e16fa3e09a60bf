# A topic that is dropped, or renamed, and another one that is given its name:
# what was sent of the one says nothing of the other, whatever their offsets.
# With a pattern the new one is mirrored from its beginning; a mirror of that
# one topic stops.
#
# Needs Java and Kafka's jars (test/kafka/broker.sh); says so where they are not.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FindBin;
use lib $FindBin::RealBin;
use EventlogTest;
use MirrorTest;

need_broker();
broker_start();
my $node = new_server('mirrors_remade', conf => "restart_after_crash = on\n");
new_kafka_server($node);

sub sql { return $node->safe_psql('postgres', @_); }

# Produce records, and note what should come out in Kafka.
sub fill
{
	my ($topic, $label, $n) = @_;

	return <<SQL;
WITH e AS (INSERT INTO sent SELECT '$topic', '$label ' || i FROM generate_series(1, $n) i RETURNING value)
SELECT count(eventlog.produce('$topic', NULL, value)) FROM e;
SQL
}

sub remake
{
	my ($topic, $partitions) = @_;

	return <<SQL;
SELECT eventlog.drop_topic('$topic');
SELECT eventlog.create_topic('$topic', $partitions, 'text', 'text');
SQL
}

# All that was produced has gone to Kafka, and come back, once.
sub compare
{
	my ($title) = @_;
	my $all = join(' UNION ALL ', map { "SELECT '$_', value FROM topics.\"back.$_\"" } qw(re.one re.two least.one));
	my $n = sql('SELECT count(*) FROM sent');

	ok($node->poll_query_until('postgres', "SELECT count(*) >= $n FROM ($all) a"), "$title: all $n have come");
	is(sql(<<SQL), '', "$title: each once");
SELECT string_agg(x::text, ' ') FROM (
	((TABLE sent EXCEPT ALL ($all)) LIMIT 5) UNION ALL ((($all) EXCEPT ALL TABLE sent) LIMIT 5)) x
SQL
}

sub kill_worker
{
	kill_backend($node, worker_of($node, 'all'));
	$node->poll_query_until('postgres', 'SELECT true');
}

sql(<<SQL);
CREATE TABLE sent (topic text, value text);
SELECT eventlog.create_topic(t, 2, 'text', 'text') FROM unnest('{re.one,re.two,least.one}'::text[]) t;
SELECT eventlog.create_topic('back.' || t, 2, 'text', 'text') FROM unnest('{re.one,re.two,least.one}'::text[]) t;
SELECT eventlog.create_mirror('all', 'kafka', 'out', '^re[.].*', 'to.\\&', '{"create.topic": true, "offset.sync.interval.ms": 1000}');
SELECT eventlog.create_mirror('least', 'kafka', 'out', '^least[.].*', 'to.\\&', '{"create.topic": true, "delivery": "at_least_once"}');
SQL
sql(fill('re.one', 'first', 3000) . fill('re.two', 'two', 50) . fill('least.one', 'first', 50));
ok($node->poll_query_until('postgres', "SELECT bool_and(state = 'streaming' AND lag = 0) FROM eventlog.mirrors"), 'to Kafka');
sql("SELECT eventlog.create_mirror('back', 'kafka', 'in', 'back.\\1', '^to[.](.*)')");
compare('the first ones');
ok($node->poll_query_until('postgres', "SELECT max(ours) > 1000 FROM eventlog.mirror_offsets('all') o (topic, kafka_topic, p, ours) WHERE topic = 're.one'"),
	'pairs of offsets');

# ---- patterns ----

sql(remake('re.one', 2));
sql(fill('re.one', 'second', 4000));
compare('made anew while its mirror runs, and beyond the old offsets');
is(sql(<<SQL), 't', 'pairs of the old one are forgotten');
SELECT coalesce(sum(n), 0) <= 4000 FROM (SELECT max(ours) n FROM eventlog.mirror_offsets('all') o (topic, kafka_topic, p, ours) WHERE topic = 're.one' GROUP BY p) o
SQL

sql('BEGIN;' . remake('re.one', 2) . fill('re.one', 'third', 10) . 'COMMIT');
compare('in one transaction, and it is shorter');

sql("SELECT eventlog.pause_mirror('all')");
sql(remake('re.one', 2) . fill('re.one', 'fourth', 100) . remake('re.one', 2) . fill('re.one', 'fifth', 100));
sql("DELETE FROM sent WHERE value LIKE 'fourth %'");
sql("SELECT eventlog.resume_mirror('all')");
compare('twice while the mirror is paused');

# What is written down is of the new one, and Kafka has the old one's positions.
pause_on($node);
$node->append_conf('postgresql.conf', "eventlog.pause_at = 'mirror-commit'\n");
$node->reload;
sql(remake('re.one', 2) . fill('re.one', 'sixth', 200));
ok($node->poll_query_until('postgres', <<SQL), 'the worker is about to commit where it begins');
SELECT count(*) = 2 FROM eventlog.mirror_position WHERE kafka_topic = 'to.re.one' AND relation = 'topics."re.one"'::regclass
SQL
kill_worker();
$node->append_conf('postgresql.conf', "eventlog.pause_at = ''\n");
pause_off($node);
$node->reload;
compare('killed between two commits');
kill_worker();
sql(fill('re.one', 'seventh', 10));
compare('killed after them');
$node->stop('immediate');
$node->start;
sql(fill('re.one', 'eighth', 10) . fill('re.two', 'eighth', 10));
compare('after the server was killed');

sql('ALTER TABLE topics."re.one" RENAME TO "other.one"');
sql("SELECT eventlog.create_topic('re.one', 2, 'text', 'text');" . fill('re.one', 'ninth', 500));
compare('renamed, and another one made');

# positions are in PostgreSQL only
sql(remake('least.one', 2) . fill('least.one', 'second', 100));
compare('at least once');

# ---- a mirror of one topic ----

sql("SELECT eventlog.create_topic('plain', 2, 'text', 'text')");
sql("SELECT eventlog.create_mirror('plain', 'kafka', 'out', 'plain', 'plain', '{\"create.topic\": true, \"repartition\": \"by_key\"}')");
sql("SELECT count(eventlog.produce('plain', NULL, 'v')) FROM generate_series(1, 10)");
ok($node->poll_query_until('postgres', "SELECT records = 10 FROM eventlog.mirrors WHERE name = 'plain'"), 'a mirror of one topic');
sql(<<SQL);
BEGIN;
ALTER TABLE topics.plain RENAME TO fancy;
SELECT eventlog.create_topic('plain', 1, 'text', 'text');
COMMIT;
SELECT count(eventlog.produce('plain', NULL, 'v')) FROM generate_series(1, 20);
SQL
wait_for_state($node, 'plain', 'diverged', 'stops when its name is given to another one');
like(sql("SELECT last_error FROM eventlog.mirrors WHERE name = 'plain'"), qr/^topic "plain" is another one/, 'and says so');
sql("SELECT eventlog.resume_mirror('plain', start => 'earliest')");
ok($node->poll_query_until('postgres', "SELECT state = 'streaming' AND lag = 0 AND records = 30 FROM eventlog.mirrors WHERE name = 'plain'"), 'and begins where it is told to');
sql("SELECT eventlog.add_partitions('plain', 2)");
sql("SELECT count(eventlog.produce('plain', NULL, 'v')) FROM generate_series(1, 20)");
ok($node->poll_query_until('postgres', "SELECT state = 'streaming' AND lag = 0 FROM eventlog.mirrors WHERE name = 'plain'"), 'a partition more than at first');
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM eventlog.mirror_position WHERE kafka_topic = 'plain' AND relation = 'topics.plain'::regclass"), 'both are its own');
kill_worker();
wait_for_state($node, 'plain', 'streaming', 'and after the worker was killed')
  or diag(sql('SELECT name, state, last_error, pid FROM eventlog.mirrors'));

# ---- the one in Kafka has gone, too ----

sql("SELECT eventlog.drop_mirror('back')");
sql("SELECT eventlog.drop_topic('re.two')");
ok(kafka_command('org.apache.kafka.tools.TopicCommand', '--delete', '--topic', 'to.re.two'), 'both are dropped');
sql("SELECT eventlog.create_topic('re.two', 2, 'text', 'text'); SELECT eventlog.produce('re.two', NULL, 'v')");
ok($node->poll_query_until('postgres', "SELECT state = 'streaming' AND lag = 0 FROM eventlog.mirrors WHERE name = 'all'"), 'the new one has one in Kafka made for it');
sql("SELECT eventlog.create_topic('again', 2, 'text', 'text'); SELECT eventlog.create_mirror('again', 'kafka', 'in', 'again', 'to.re.two')");
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM topics.again'), 'which has its record');

done_testing();
