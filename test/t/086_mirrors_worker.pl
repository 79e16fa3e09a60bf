# What a mirror worker has to do changes while it works: one mirror more or less
# disturbs no other; patterns find topics that come later; options of the server
# and rights are followed; and what the view tells of a mirror.
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
my $node = new_server('worker');
new_kafka_server($node);

sub sql { return $node->safe_psql('postgres', @_); }

sub wait_until
{
	my ($query, $title) = @_;
	my $there = $node->poll_query_until('postgres', $query);

	diag(sql('SELECT name, state, last_error, lag, partitions FROM eventlog.mirrors')) unless $there;
	return ok($there, $title);
}

sub generations { return sql("SELECT string_agg(name || ' ' || generation, ', ' ORDER BY name) FROM eventlog.mirror"); }

# ---- one more, one less ----

sql(<<SQL);
SELECT eventlog.create_topic(t, 2, 'text', 'text') FROM unnest('{a, b, c, a.back, b.back}'::text[]) t;
SELECT eventlog.create_mirror(t || '.out', 'kafka', 'out', t, t, '{"create.topic": true, "statistics.interval.ms": 200}')
FROM unnest('{a, b}'::text[]) t;
SELECT eventlog.produce(t, i::text, i::text) FROM generate_series(1, 100) i, unnest('{a, b}'::text[]) t;
SQL
wait_until("SELECT bool_and(state = 'streaming' AND lag = 0 AND records = 100) FROM eventlog.mirrors", 'two mirrors have sent theirs');
my $before = generations();
sql("SELECT eventlog.create_mirror('c.out', 'kafka', 'out', 'c', 'c', '{\"create.topic\": true}')");
sql("SELECT eventlog.produce('c', 'k', 'v')");
wait_until("SELECT records = 1 FROM eventlog.mirrors WHERE name = 'c.out'", 'a third one works');
is(sql("SELECT string_agg(name || ' ' || generation, ', ' ORDER BY name) FROM eventlog.mirror WHERE name <> 'c.out'"),
	$before, 'and the others were not begun anew');
sql("SELECT eventlog.alter_mirror('c.out', '{\"transaction.max.records\": 7}'), eventlog.pause_mirror('a.out')");
wait_until("SELECT generation > 1 FROM eventlog.mirror WHERE name = 'c.out'", 'one that is altered is');
sql("SELECT eventlog.drop_mirror('c.out'), eventlog.resume_mirror('a.out')");
sql("SELECT eventlog.produce(t, 'x', 'x') FROM unnest('{a, b}'::text[]) t");
wait_until("SELECT bool_and(records = 101) FROM eventlog.mirrors", 'they go on');
is(sql("SELECT generation FROM eventlog.mirror WHERE name = 'b.out'") . ' ' . sql("SELECT failures FROM eventlog.mirrors WHERE name = 'b.out'"),
	'1 0', 'the one that nobody has touched, as if nothing had happened');

# ---- incoming ones, of one consumer ----

sql("SELECT eventlog.create_mirror(t || '.in', 'kafka', 'in', t || '.back', t) FROM unnest('{a, b}'::text[]) t");
wait_until("SELECT bool_and(state = 'streaming' AND records = 101 AND lag = 0) FROM eventlog.mirrors WHERE direction = 'in'",
	'two mirrors have read theirs');
# a partition's end, after the last transaction's marker, is learnt after its last record
wait_until(<<SQL, 'lag of partitions');
SELECT string_agg((p ->> 'partition') || ':' || (p ->> 'lag'), ' ' ORDER BY p ->> 'partition') = '0:0 1:0'
FROM eventlog.mirrors, jsonb_array_elements(partitions) p WHERE name = 'a.in'
SQL
sql("SELECT eventlog.pause_mirror('a.in'), eventlog.produce(t, 'y', 'y') FROM unnest('{a, b}'::text[]) t");
wait_for_records($node, 'b.back', 102, 'without the other, one goes on');
sql("SELECT eventlog.resume_mirror('a.in')");
wait_for_records($node, 'a.back', 102, 'and so does the other afterwards');
is(sql(q{SELECT count(*) FROM topics."a.back"}) . ' ' . sql(q{SELECT count(*) FROM topics."b.back"}), '102 102', 'nothing twice');

# restarted, and nothing to do: lag is known nevertheless
$node->restart;
wait_until("SELECT bool_and(lag = 0 AND state = 'streaming') FROM eventlog.mirrors WHERE direction = 'in'",
	'after a restart lag is known without any record');

# ---- statistics ----

sql("SELECT eventlog.alter_mirror('a.in', '{\"statistics.interval.ms\": 200}')");
sql("SELECT eventlog.produce('a', 'z', 'z')");
foreach my $name ('a.out', 'a.in')
{
	wait_until("SELECT (statistics ->> 'txmsgs') IS NOT NULL AND statistics ->> 'type' IN ('producer', 'consumer')"
		  . " AND statistics_at > now() - interval '1 minute' AND jsonb_typeof(statistics -> 'brokers') = 'object'"
		  . " AND EXISTS (SELECT FROM jsonb_each(statistics -> 'brokers') b WHERE b.value ->> 'state' = 'UP' AND b.value -> 'rtt' ? 'p99')"
		  . " AND NOT statistics ? 'topics' FROM eventlog.mirrors WHERE name = '$name'",
		"statistics of $name");
}
is(sql(<<SQL), '{"name": "x", "brokers": {"busy": {"rtt": {"avg": 1}, "rxbytes": 9, "txbytes": 9, "connects": 1}}}', 'what is cut');
SELECT eventlog.mirror_statistics('{"name": "x", "ts": 1, "topics": {"t": {}}, "brokers": {
	"busy": {"txbytes": 9, "rxbytes": 9, "connects": 1, "rtt": {"avg": 1, "sum": 2}, "wakeups": 1},
	"never": {"txbytes": 0, "rxbytes": 0, "connects": 0}}}', 4095)
SQL
is(sql(<<SQL), 't t', 'of many brokers the busiest, as far as they have room');
SELECT (length(s) < 4096)::text::char || ' ' || (s::jsonb -> 'brokers' ? 'broker500')::text::char
FROM eventlog.mirror_statistics((SELECT jsonb_build_object('brokers', jsonb_object_agg('broker' || i,
	jsonb_build_object('txbytes', i, 'rxbytes', i, 'connects', 1, 'state', 'UP')))
	FROM generate_series(1, 500) i), 4095) s
SQL

# ---- patterns ----

sql("SELECT eventlog.create_mirror('all', 'kafka', 'out', '^later[.](.*)', 'from.here.\\1', '{\"create.topic\": true}')");
wait_for_state($node, 'all', 'streaming', 'a pattern without a topic');
sql("SELECT eventlog.create_topic('later.one', 1, 'text', 'text'); SELECT eventlog.produce('later.one', 'k', 'v')");
wait_until("SELECT records = 1 AND topics = 1 FROM eventlog.mirrors WHERE name = 'all'", 'finds one that is made later');
sql("SELECT eventlog.create_topic('later.two', 1, 'text', 'text'); SELECT eventlog.produce('later.two', 'k', 'v')");
wait_until("SELECT records = 2 AND topics = 2 FROM eventlog.mirrors WHERE name = 'all'", 'and another one');
is(sql("SELECT generation FROM eventlog.mirror WHERE name = 'all'"), '1', 'without beginning anew');
sql("SELECT eventlog.drop_topic('later.one')");
wait_until("SELECT state = 'streaming' AND topics = 1 FROM eventlog.mirrors WHERE name = 'all'", 'one that is dropped is left');

# ---- trouble of one is not trouble of others ----

sql("SELECT eventlog.create_topic('gone', 1, 'text', 'text')");
sql("SELECT eventlog.create_mirror('gone', 'kafka', 'out', 'gone', 'gone', '{\"create.topic\": true}')");
wait_for_state($node, 'gone', 'streaming');
sql("ALTER TABLE topics.gone RENAME TO renamed");
sql("SELECT eventlog.pause_mirror('gone')");
sql("SELECT eventlog.resume_mirror('gone')");
wait_for_state($node, 'gone', 'failed', 'a mirror without its topic');
like(sql("SELECT last_error || ' ' || (failures > 0) || ' ' || (next_start_at IS NOT NULL) FROM eventlog.mirrors WHERE name = 'gone'"),
	qr/gone.* does not exist true true/, 'says so, and when it tries again');
is(sql("SELECT string_agg(DISTINCT state, ',') FROM eventlog.mirrors WHERE name <> 'gone'"), 'streaming', 'the others stream');
sql("ALTER TABLE topics.renamed RENAME TO gone");
wait_for_state($node, 'gone', 'streaming', 'by itself, once there is the topic again');

# another topic of the same name has other records where the old ones were sent
sql("SELECT eventlog.produce('gone', 'k', 'old ' || i) FROM generate_series(1, 10) i");
wait_until("SELECT records = 10 FROM eventlog.mirrors WHERE name = 'gone'", 'records of a topic');
sql("SELECT eventlog.drop_topic('gone')");
sql("SELECT eventlog.create_topic('gone', 1, 'text', 'text')");
sql("SELECT eventlog.produce('gone', 'k', 'new ' || i) FROM generate_series(1, 15) i");
wait_for_state($node, 'gone', 'diverged', 'that is dropped and made anew');
sql("SELECT eventlog.resume_mirror('gone', start => 'earliest')");
wait_until("SELECT records = 25 FROM eventlog.mirrors WHERE name = 'gone'", 'all of the new one are sent when somebody has said so');

# ---- options of the server, and rights ----

my $address = broker_address();
$before = generations();
sql(q{ALTER SERVER kafka OPTIONS (SET "bootstrap.servers" '127.0.0.1:1')});
sql("SELECT eventlog.produce('a', 'z', 'nobody hears')");
wait_for_state($node, 'a.out', 'connecting|failed', 'another address is tried');
isnt(generations(), $before, 'all have begun anew');
sql(qq{ALTER SERVER kafka OPTIONS (SET "bootstrap.servers" '$address')});
wait_for_state($node, 'a.out', 'streaming', 'and the right one');
wait_for_records($node, 'a.back', 104);

sql(<<SQL);
CREATE ROLE clerk;
GRANT USAGE ON FOREIGN SERVER kafka TO clerk;
CREATE USER MAPPING FOR clerk SERVER kafka;
SELECT eventlog.create_topic('clerks', 1, 'text', 'text');
GRANT SELECT ON TABLE topics.clerks TO clerk;
SET ROLE clerk;
SELECT eventlog.create_mirror('clerk', 'kafka', 'out', 'clerks', 'clerks', '{"create.topic": true}');
SQL
wait_for_state($node, 'clerk', 'streaming', 'a mirror of a role without rights of its own');
sql("REVOKE USAGE ON FOREIGN SERVER kafka FROM clerk");
wait_until("SELECT state = 'failed' AND last_error ~ 'permission denied for foreign server' FROM eventlog.mirrors WHERE name = 'clerk'",
	'a right that is taken away ends it');
sql("GRANT USAGE ON FOREIGN SERVER kafka TO clerk");
wait_for_state($node, 'clerk', 'streaming', 'and given back, begins it');

is($node->log_contains('_FENCED') ? 'fenced' : '', '', 'no client was fenced by its successor');
$node->stop;
broker_stop();
done_testing();
