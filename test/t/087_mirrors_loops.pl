# Loops and doubles between mirrors whose servers name one Kafka cluster without
# a broker in common: they are found before a single record has gone round, in
# whichever order the mirrors begin.
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
my $node = new_server('loops');
new_kafka_server($node);
my ($port) = broker_address() =~ /:(\d+)$/;

sub sql { return $node->safe_psql('postgres', @_); }

# A server of this name for the same broker, by a name that nobody has used yet:
# each part of 127.0.0.1 can be written in three ways.
my @spellings = ('localhost');
foreach my $first ('127', '0x7f', '0177')
{
	push @spellings, map { "$first.0.0.$_" } '1', '0x1', '01';
	push @spellings, map { "$first.$_" } '1', '0x1', '01';
}
@spellings = grep { $_ ne '127.0.0.1' } @spellings;

sub another_name { return shift(@spellings) . ":$port"; }

sub new_name
{
	my ($server) = @_;
	my $name = another_name();

	sql(qq{CREATE SERVER $server FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" '$name');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $server});
}

sub create
{
	my ($name, $server, $direction, $topic, $kafka_topic) = @_;
	my $types = $direction eq 'in' ? ', "topic.key.type": "text", "topic.value.type": "text"' : '';

	return "SELECT eventlog.create_mirror('$name', '$server', '$direction', '$topic', '$kafka_topic',"
	  . qq{ '{"create.topic": true, "topics.refresh.interval.ms": 1000$types}')};
}

sub fill
{
	my ($topic, $n) = @_;
	sql("SELECT count(eventlog.produce('$topic', i::text, 'value')) FROM generate_series(1, $n) i");
}

sub here { return sql(qq{SELECT count(*) FROM topics."$_[0]"}); }
sub there { return scalar(() = (kcat($_[0], '%o\n') // return '?') =~ /\n/g); }

# Both sides have what they are to have, and so it stays.
sub still
{
	my ($topic, $here, $kafka_topic, $there, $title) = @_;

	foreach my $wait (0, 1_500_000)
	{
		usleep($wait);
		my $found = there($kafka_topic);
		$found = $there if $found eq '?';
		is(here($topic) . " $found", "$here $there", $wait ? "$title, still" : $title);
	}
}

sub wait_until
{
	my ($query, $title) = @_;
	my $there = $node->poll_query_until('postgres', $query);

	diag(sql('SELECT name, state, last_error, records FROM eventlog.mirrors; SELECT * FROM eventlog.mirror_cluster')) unless $there;
	return ok($there, $title);
}

sub wait_for_sent
{
	my ($mirror, $n) = @_;
	return wait_until("SELECT records = $n AND lag = 0 FROM eventlog.mirrors WHERE name = '$mirror'", "$mirror has done $n records");
}

sub refused
{
	my ($sql, $like, $title) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql);

	return like($err, $like, $title);
}

sub error_of { return sql("SELECT last_error FROM eventlog.mirrors WHERE name = '$_[0]'"); }
sub drop_mirrors { sql('SELECT eventlog.drop_mirror(name) FROM eventlog.mirrors'); }

sub in_log
{
	my ($text, $from) = @_;
	my $found;

	for (my $i = 0; $i < 300 && !$found; $i++)
	{
		usleep(100_000) if $i > 0;
		$found = substr(slurp_file($node->logfile), $from) =~ /$text/;
	}
	return $found;
}

# ---- out, then in ----

new_name('first');
sql("SELECT eventlog.create_topic('a', 2, 'text', 'text')");
fill('a', 100);
sql(create('a.out', 'kafka', 'out', 'a', 'ka'));
wait_for_sent('a.out', 100);
sql(create('a.in', 'first', 'in', 'a', 'ka'));
wait_for_state($node, 'a.in', 'stopped', 'a mirror back by another name of the cluster stops');
like(error_of('a.in'), qr/^mirror "a\.out" goes the other way between the same topics.*topic of its own/, 'and says why');
fill('a', 50);
wait_for_sent('a.out', 150);
still('a', 150, 'ka', 150, 'nothing came back');
$node->restart;
fill('a', 10);
wait_until("SELECT records = 10 AND lag = 0 FROM eventlog.mirrors WHERE name = 'a.out'", 'after a restart the one goes on');
is(mirror_state($node, 'a.in'), 'stopped', 'and the other does not');
still('a', 160, 'ka', 160, 'nothing came back');

# ---- what is known ----

refused("SELECT eventlog.resume_mirror('a.in')", qr/mirror "a\.out" goes the other way between the same topics/,
	'the one that has stopped cannot be resumed');
sql("SELECT eventlog.drop_mirror('a.in')");
refused(create('a.in', 'first', 'in', 'a', 'ka'), qr/mirror "a\.out" goes the other way between the same topics/,
	'now that it is known, such a mirror is refused');
refused(create('a.out2', 'first', 'out', 'a', 'ka'), qr/mirror "a\.out" does that already/, 'so is one that does the same');
sql("SELECT eventlog.create_topic('a.own', 2, 'text', 'text')");
sql(create('a.own', 'first', 'in', 'a.own', 'ka'));
wait_for_records($node, 'a.own', 160, 'a topic of its own is no loop');

# Other brokers, and the server is any cluster.
sql(q{ALTER SERVER first OPTIONS (SET "bootstrap.servers" '127.0.0.1:1')});
sql(create('a.later', 'first', 'in', 'a', 'ka'));
wait_for_state($node, 'a.later', 'connecting|failed', 'with other brokers it is not known what the server is');
my $name = another_name();
sql(qq{ALTER SERVER first OPTIONS (SET "bootstrap.servers" '$name')});
wait_for_state($node, 'a.later', 'stopped', 'with brokers of that cluster again, it is found out again');
still('a', 160, 'ka', 160, 'nothing came back');
is(sql(q{SELECT count(*) FROM eventlog.mirror_cluster}), 2, 'what no server names any more is forgotten');

# ---- paused ----

sql("SELECT eventlog.pause_mirror('a.out')");
sql("SELECT eventlog.resume_mirror('a.later')");
wait_for_records($node, 'a', 320, 'once the other is paused, it can');
refused("SELECT eventlog.resume_mirror('a.out')", qr/mirror "a\.later" goes the other way between the same topics/, 'and then the other cannot');
still('a', 320, 'ka', 160, 'each record came once');
sql("SELECT eventlog.drop_mirror('a.later')");
sql("SELECT eventlog.resume_mirror('a.out')");
wait_until("SELECT state = 'streaming' AND lag = 0 FROM eventlog.mirrors WHERE name = 'a.out'", 'when it is dropped, the other goes on');
drop_mirrors();

# One that is paused is seen when it is resumed, though nothing was known of its
# server when both were created.
new_name('asleep');
sql("SELECT eventlog.create_topic('z', 1, 'text', 'text')");
fill('z', 10);
sql('BEGIN; ' . create('z.in', 'asleep', 'in', 'z', 'kz') . "; SELECT eventlog.pause_mirror('z.in'); COMMIT");
sql(create('z.out', 'kafka', 'out', 'z', 'kz'));
wait_for_sent('z.out', 10);
is(mirror_state($node, 'z.out'), 'streaming', 'one that is paused does not count');
sql("SELECT eventlog.resume_mirror('z.in')");
wait_for_state($node, 'z.in', 'stopped', 'until it is resumed');
still('z', 10, 'kz', 10, 'nothing came back');
drop_mirrors();

# ---- in, then out ----

new_name('second');
sql("SELECT eventlog.create_topic(t, 1, 'text', 'text') FROM unnest('{b, b.source}'::text[]) t");
fill('b.source', 30);
sql(create('b.source', 'kafka', 'out', 'b.source', 'kb'));
wait_for_sent('b.source', 30);
sql(create('b.in', 'kafka', 'in', 'b', 'kb'));
wait_for_records($node, 'b', 30);
sql(create('b.out', 'second', 'out', 'b', 'kb'));
wait_for_state($node, 'b.out', 'stopped', 'a mirror back to Kafka stops as well');
like(error_of('b.out'), qr/^mirror "b\.in" goes the other way/, 'and says why');
fill('b.source', 5);
wait_for_records($node, 'b', 35);
still('b', 35, 'kb', 35, 'nothing went back');
drop_mirrors();

# A topic that is missing in Kafka is not made either.
new_name('missing');
sql(create('c.in', 'kafka', 'in', 'b', 'kc'));
wait_for_state($node, 'c.in', 'failed', 'a mirror of a topic that is not there');
sql(create('c.out', 'missing', 'out', 'b', 'kc'));
wait_for_state($node, 'c.out', 'stopped', 'counts too');
is(sql("SELECT count(*) FROM eventlog.kafka_check('kafka') k, jsonb_array_elements(topics) t WHERE t ->> 'topic' = 'kc'"), 0,
	'the other one has not made the topic');
drop_mirrors();

# ---- doubles ----

new_name('third');
sql(create('d.out', 'kafka', 'out', 'b', 'kd'));
wait_for_sent('d.out', 35);
sql(create('d.out2', 'third', 'out', 'b', 'kd'));
wait_for_state($node, 'd.out2', 'stopped', 'a mirror that does the same by another name stops');
like(error_of('d.out2'), qr/^mirror "d\.out" does that already/, 'and says why');
still('b', 35, 'kd', 35, 'nothing was sent twice');
new_name('fourth');
sql("SELECT eventlog.create_topic('d', 1, 'text', 'text')");
sql(create('d.in', 'kafka', 'in', 'd', 'kd'));
wait_for_records($node, 'd', 35);
sql(create('d.in2', 'fourth', 'in', 'd', 'kd'));
wait_for_state($node, 'd.in2', 'stopped', 'so does one from Kafka');
still('d', 35, 'kd', 35, 'nothing was read twice');
drop_mirrors();

# ---- both at once ----

# Neither cluster is known, and both mirrors begin: one of them goes on.
foreach my $round (1 .. 3)
{
	my ($t, $k) = ("e$round", "ke$round");

	new_name("one$round");
	new_name("other$round");
	sql("SELECT eventlog.create_topic('$t', 1, 'text', 'text')");
	fill($t, 40);
	sql(create("$t.fill", 'kafka', 'out', 'b.source', $k));
	wait_for_sent("$t.fill", 35);
	sql("SELECT eventlog.drop_mirror('$t.fill')");
	sql('BEGIN; ' . create("$t.out", "one$round", 'out', $t, $k) . '; ' . create("$t.in", "other$round", 'in', $t, $k) . '; COMMIT');
	wait_until("SELECT count(*) = 1 FROM eventlog.mirrors WHERE name LIKE '$t.%' AND state = 'stopped'", 'of two that begin at once, one stops');
	wait_until("SELECT count(*) = 1 FROM eventlog.mirrors WHERE name LIKE '$t.%' AND state = 'streaming' AND lag = 0 AND records > 0",
		'and one goes on');
	if (mirror_state($node, "$t.in") eq 'stopped')
	{
		still($t, 40, $k, 75, 'records went out, and none came back');
	}
	else
	{
		still($t, 75, $k, 35, 'records came in, and none went back');
	}
	drop_mirrors();
}

# ---- patterns ----

# Out by a pattern; back one by one, and by a pattern.
new_name('fifth');
new_name('sixth');
sql("SELECT eventlog.create_topic('p.a', 1, 'text', 'text')");
fill('p.a', 10);
sql(create('p.out', 'kafka', 'out', '^p[.]', 'k.\\&'));
wait_for_sent('p.out', 10);
sql(create('p.in', 'fifth', 'in', 'p.a', 'k.p.a'));
wait_for_state($node, 'p.in', 'stopped', 'one back against a pattern stops');
my $from = -s $node->logfile;
sql(create('p.all', 'sixth', 'in', 'p.', '^k[.]p[.]'));
ok(in_log(qr/mirror "p\.all" leaves out topic "k\.p\.a"/, $from), 'a pattern leaves out what another one sends');
is(mirror_state($node, 'p.all'), 'streaming', 'and goes on otherwise');
still('p.a', 10, 'k.p.a', 10, 'nothing came back');
drop_mirrors();

# In, and then out by a pattern: against one mirror, and against a pattern.
new_name('seventh');
new_name('eighth');
sql(create('q.source', 'kafka', 'out', 'b.source', 'k.q'));
wait_for_sent('q.source', 35);
sql(create('q.in', 'kafka', 'in', 'q', 'k.q'));
wait_for_records($node, 'q', 35);
sql(create('q.out', 'seventh', 'out', '^q$', 'k.\\&'));
wait_for_state($node, 'q.out', 'stopped', 'a pattern stops, if one goes the other way');
still('q', 35, 'k.q', 35, 'nothing went back');
sql("SELECT eventlog.drop_mirror('q.in'), eventlog.drop_mirror('q.out')");
sql(create('q.all', 'kafka', 'in', 'q', '^k[.]q$'));
wait_for_records($node, 'q', 70, 'the same by a pattern');
$from = -s $node->logfile;
sql(create('q.out', 'eighth', 'out', '^q$', 'k.\\&'));
ok(in_log(qr/mirror "q\.out" leaves out topic "q"/, $from), 'a pattern leaves out what another one brings');
is(mirror_state($node, 'q.out'), 'streaming', 'and goes on otherwise');
still('q', 70, 'k.q', 35, 'nothing went back');
sql("SELECT eventlog.drop_mirror('q.all')");
wait_until("SELECT records = 70 FROM eventlog.mirrors WHERE name = 'q.out'", 'what was left out is taken when the other is gone');

is(crashes($node), '', 'nothing crashed');
$node->stop;
broker_stop();
done_testing();
