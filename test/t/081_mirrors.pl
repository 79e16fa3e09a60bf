# Mirrors against a real Kafka broker: what goes out and comes back in is the
# same, byte by byte, whatever is in it; what was rolled back never leaves;
# pausing, dropping, a broker that is away, and a copy of the database.
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
my $node = new_server('mirrors');
new_kafka_server($node);

sub sql { return $node->safe_psql('postgres', @_); }

# The position of a partition that an "out" mirror has committed, as Kafka's.
sub mirrored { return sql("SELECT count(*) FROM topics.\"$_[0]\""); }

# ---- bytes of all kinds ----

sql(<<SQL);
SELECT eventlog.create_topic('bytes', 3, key_type => 'bytea', value_type => 'bytea',
	config => '{"compression.type": "lz4"}');
SELECT eventlog.create_topic('bytes.back', 3, key_type => 'bytea', value_type => 'bytea');
SELECT eventlog.create_mirror('out', 'kafka', 'out', 'bytes', 'bytes.kafka', '{"create.topic": true}');
SQL
my $n = fill_bytes($node, 'bytes');
wait_for_state($node, 'out', 'streaming', 'a mirror whose topic is not there makes it');
sql("SELECT eventlog.create_mirror('in', 'kafka', 'in', 'bytes.back', 'bytes.kafka')");
wait_for_records($node, 'bytes.back', $n);
same_topics($node, 'bytes', 'bytes.back', 'out and in again');
SKIP:
{
	my ($ours, $theirs) = kcat_lengths($node, 'bytes', 'bytes.kafka');

	skip 'there is no kcat', 1 unless defined $ours;
	is($theirs, $ours, 'kcat sees the same partitions, times and lengths, and nulls as nulls');
}
is(sql("SELECT string_agg(DISTINCT state, ',') FROM eventlog.mirrors"), 'streaming', 'both stream');

# ---- transactions ----

sql(<<SQL);
SELECT eventlog.create_topic('text', 3, key_type => 'text', value_type => 'text');
SELECT eventlog.create_topic('text.back', 3, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('text.out', 'kafka', 'out', 'text', 'text', '{"create.topic": true}');
SELECT eventlog.create_mirror('text.in', 'kafka', 'in', 'text.back', 'text');
BEGIN;
SELECT eventlog.produce('text', 'a', 'committed');
SAVEPOINT s;
SELECT eventlog.produce('text', 'b', 'rolled back to a savepoint');
SELECT eventlog.flush();
ROLLBACK TO s;
SELECT eventlog.produce('text', 'c', 'committed');
COMMIT;
BEGIN;
SELECT eventlog.produce('text', 'd', 'rolled back');
SELECT eventlog.flush();
ROLLBACK;
SELECT eventlog.produce('text', 'e', 'committed');
SQL
my $open = open_session($node, 'open');
run_sql($open, "BEGIN; SELECT eventlog.produce('text', 'f', 'open', partition => 0); SELECT eventlog.flush()");
sql("SELECT eventlog.produce('text', 'g', 'behind', partition => 0)");
sql("SELECT eventlog.produce('text', 'h', 'beside', partition => 1)");
wait_for_records($node, 'text.back', 4, 'what was committed arrives, in front of an open transaction');
is(sql('SELECT string_agg(key, \'\' ORDER BY key) FROM topics."text.back"'), 'aceh', 'and nothing else');
run_sql($open, 'ROLLBACK');
close_sessions($open);
wait_for_records($node, 'text.back', 5, 'what stood behind it arrives when it is rolled back');
same_topics($node, 'text', 'text.back', 'rolled-back transactions and savepoints');

# ---- offsets ----

# Pairs of offsets of both sides, and groups that are moved by them: what a group
# has not read, it finds there; in both directions of both kinds of mirrors.
sql(<<SQL);
SELECT eventlog.create_topic('moving', 2, key_type => 'text', value_type => 'text');
SELECT eventlog.create_topic('moving.back', 2, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('moving.out', 'kafka', 'out', 'moving', 'moving', '{"create.topic": true, "offset.sync.interval.ms": 100}');
SQL
wait_for_state($node, 'moving.out', 'streaming');
sql(q{SELECT eventlog.create_mirror('moving.in', 'kafka', 'in', 'moving.back', 'moving', '{"offset.sync.interval.ms": 100}')});
foreach my $round (1 .. 3)
{
	# aborted and empty ends make offsets differ
	sql(q{SELECT count(eventlog.produce('moving', 'k' || i, 'value', partition => i % 2)) FROM generate_series(1, 100) i});
	wait_for_records($node, 'moving.back', 100 * $round);
	foreach my $mirror (qw(moving.out moving.in))
	{
		ok($node->poll_query_until('postgres', qq{
			SELECT count(*) = 2 FROM eventlog.mirror_offsets('$mirror') WHERE topic_offset = 50 * $round}),
			"pairs of $mirror reach the end of what was mirrored, $round");
	}
}
is(sql(q{SELECT count(*) FROM eventlog.mirror_offsets('moving.in') o
	WHERE NOT EXISTS (SELECT FROM eventlog.mirror_offsets('moving.out') p
		WHERE p.source_partition = o.source_partition AND p.topic_offset = o.topic_offset
			AND p.kafka_topic_offset >= o.kafka_topic_offset)}), 0,
	'both mirrors know the same pairs, of control records apart');
foreach my $topic (qw(moving moving.back))
{
	my $mirror = $topic eq 'moving' ? 'moving.out' : 'moving.in';

	# at the beginning, in the middle and at the end
	foreach my $offset (0, 77, 150)
	{
		sql("SELECT eventlog.create_group('there', '$topic')") if $offset == 0;
		sql("SELECT eventlog.reset_offsets('there', '$topic', 'offset', '$offset')");
		my $there = sql("SELECT string_agg(partition || ' ' || kafka_topic_offset, ',' ORDER BY partition) FROM eventlog.mirror_group('$mirror', 'there', 'kafka')");
		my $group = sql("SELECT string_agg(partition || ' ' || topic_offset, ',' ORDER BY partition) FROM eventlog.mirror_group('$mirror', 'there', 'here')");
		my %here = map { split ' ' } split /,/, $group;

		ok(keys %here == 2 && !(grep { $_ > $offset } values %here), "$mirror: a group at $offset skips nothing there and back: $there, $group");
		ok(!(grep { $_ != $offset } values %here), "$mirror: and repeats nothing at $offset") if $offset != 77;
	}
}

# ---- pausing ----

sub fill_text
{
	my ($count) = @_;
	sql("SELECT count(eventlog.produce('text', 'k' || i, 'value ' || i)) FROM generate_series(1, $count) i");
}

sql("SELECT eventlog.pause_mirror('text.in')");
wait_for_state($node, 'text.in', 'paused');
fill_text(100);
wait_for_state($node, 'text.out', 'streaming');
usleep(500_000);
is(mirrored('text.back'), 5, 'a paused mirror takes nothing');
sql("SELECT eventlog.pause_mirror('text.out')");
fill_text(100);
sql("SELECT eventlog.resume_mirror('text.in')");
wait_for_records($node, 'text.back', 105, 'one that is resumed goes on');
sql("SELECT eventlog.resume_mirror('text.out')");
wait_for_records($node, 'text.back', 205, 'and so does the other');
same_topics($node, 'text', 'text.back', 'after pausing and resuming');

# ---- dropping and creating again ----

# A mirror is known by its identity, not by its name: a new one does not go on
# where another has been, it starts where it is told to.
sql("SELECT eventlog.drop_mirror('text.in')");
is(sql("SELECT count(*) FROM eventlog.mirror_position p WHERE NOT EXISTS (SELECT FROM eventlog.mirror m WHERE m.id = p.mirror)"),
	0, 'a dropped mirror leaves no positions');
sql(<<SQL);
SELECT eventlog.create_topic('text.again', 3, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('text.in', 'kafka', 'in', 'text.again', 'text');
SQL
wait_for_records($node, 'text.again', 205, 'a new mirror of the same name starts at the beginning');
same_topics($node, 'text', 'text.again', 'a mirror made again');
sql(<<SQL);
SELECT eventlog.drop_mirror('text.out');
SELECT eventlog.create_mirror('text.out', 'kafka', 'out', 'text', 'text', '{"start": "latest"}');
SQL
wait_for_state($node, 'text.out', 'streaming');
usleep(500_000);
is(mirrored('text.again'), 205, 'a new outgoing mirror that starts at the end sends nothing twice');
fill_text(50);
wait_for_records($node, 'text.again', 255, 'and what comes from then on');
same_topics($node, 'text', 'text.again', 'an outgoing mirror made again');

# ---- rights ----

# What is taken away stops a mirror, says so, and harms nobody else; given back,
# it goes on by itself.
sql(<<SQL);
CREATE ROLE mirror_admin;
CREATE ROLE mirror_user;
GRANT USAGE ON FOREIGN DATA WRAPPER eventlog_kafka TO mirror_admin;
GRANT USAGE ON FOREIGN SERVER kafka TO mirror_user;
GRANT CREATE ON SCHEMA topics TO mirror_user;
ALTER SERVER kafka OWNER TO mirror_admin;
SET SESSION AUTHORIZATION mirror_user;
SELECT eventlog.create_topic('user', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('user.out', 'kafka', 'out', 'user', 'user', '{"create.topic": true}');
SELECT eventlog.create_mirror('user.in', 'kafka', 'in', 'user.back', 'user', '{"create.topic": true, "topic.value.type": "text"}');
SQL
wait_for_state($node, $_, 'streaming') foreach qw(user.out user.in);
foreach my $right ('USAGE ON FOREIGN SERVER kafka%mirror_user', 'USAGE ON FOREIGN DATA WRAPPER eventlog_kafka%mirror_admin',
	'SELECT, INSERT ON topics."user", topics."user.back"%mirror_user')
{
	my ($what, $role) = split /%/, $right;

	sql("REVOKE $what FROM $role CASCADE");
	sql(q{SELECT eventlog.produce('user', 'k', 'v')});
	wait_for_state($node, $_, 'failed', "$_ fails without $what") foreach $what =~ /SELECT/ ? qw(user.out) : qw(user.out user.in);
	like(sql(q{SELECT last_error FROM eventlog.mirrors WHERE name = 'user.out'}), qr/permission denied/, 'and says so');
	$node->restart;
	wait_for_state($node, 'user.out', 'failed', 'after a restart as well');
	sql("GRANT $what TO $role");
	sql('GRANT USAGE ON FOREIGN SERVER kafka TO mirror_user');
	wait_for_state($node, $_, 'streaming', "$_ goes on with it") foreach qw(user.out user.in);
}
wait_for_records($node, 'user.back', 3, 'and nothing is lost');

# A topic that somebody else has made first would have its triggers run in the
# name of the mirror's owner.
sql(<<'SQL');
CREATE ROLE mallory;
GRANT CREATE ON SCHEMA topics TO mallory;
SET SESSION AUTHORIZATION mallory;
SELECT eventlog.create_topic('trap.user', 1, key_type => 'bytea', value_type => 'bytea');
GRANT INSERT ON topics."trap.user" TO PUBLIC;
RESET SESSION AUTHORIZATION;
SELECT eventlog.create_mirror('trap', 'kafka', 'in', 'trap.\&', '^user$', '{"create.topic": true}');
SQL
wait_for_state($node, 'trap', 'failed', 'a topic that belongs to somebody else is no target');
like(sql(q{SELECT last_error FROM eventlog.mirrors WHERE name = 'trap'}), qr/belongs to another role/, 'the view says so');
is(sql('SELECT count(*) FROM topics."trap.user"'), 0, 'and nothing got there');
sql(q{SELECT eventlog.drop_mirror('trap')});

# Options with which no client can be opened, again and again; what is secret in
# them is told nowhere.
sql(<<'SQL');
CREATE SERVER unusable FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" 'localhost:1', "security.protocol" 'ssl');
CREATE USER MAPPING FOR CURRENT_USER SERVER unusable OPTIONS ("ssl.key.pem" '-----BEGIN PRIVATE KEY-----hush');
SELECT eventlog.create_mirror('key.out', 'unusable', 'out', 'text', 'k');
SELECT eventlog.create_mirror('key.in', 'unusable', 'in', 'text.back', 'k');
SQL
foreach my $mirror (qw(key.out key.in))
{
	ok($node->poll_query_until('postgres', "SELECT state = 'failed' AND failures > 2 FROM eventlog.mirrors WHERE name = '$mirror'"),
		"options with which no client can be opened: $mirror fails");
	is(sql("SELECT last_error ~ 'hush' FROM eventlog.mirrors WHERE name = '$mirror'"), 'f', 'and does not tell the key');
}
wait_for_state($node, 'text.out', 'streaming', 'others go on');
sql(q{SELECT eventlog.drop_mirror('key.out'), eventlog.drop_mirror('key.in')});
unlike(slurp_file($node->logfile) =~ s/^.*STATEMENT:.*$//mgr, qr/BEGIN PRIVATE KEY-----hush/, 'nor does the log');

# ---- patterns ----

sql(<<'SQL');
SELECT eventlog.create_mirror('pattern', 'kafka', 'out', '^p\.(.*)$', 'kp.\1', '{"create.topic": true, "topics.refresh.interval.ms": 1000}');
SELECT eventlog.create_topic('p.one', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.produce('p.one', 'k', 'v');
SQL
ok($node->poll_query_until('postgres', q{SELECT topics = 1 AND records = 1 AND state = 'streaming' FROM eventlog.mirrors WHERE name = 'pattern'}),
	'an outgoing pattern takes topics that are made later');
sql(q{SELECT eventlog.drop_topic('p.one')});
ok($node->poll_query_until('postgres', q{SELECT topics = 0 AND state = 'streaming' FROM eventlog.mirrors WHERE name = 'pattern'}),
	'and forgets those that are dropped');
sql(q{SELECT eventlog.drop_mirror('pattern')});

# ---- a broker that is away ----

broker_stop();
fill_text(200);
ok($node->poll_query_until('postgres',
		"SELECT bool_or(state <> 'streaming' OR broker_errors > 0 OR last_broker_error IS NOT NULL) FROM eventlog.mirrors"),
	'while the broker is away, the view says so');
usleep(3_000_000);
fill_text(200);
broker_start();
wait_for_records($node, 'text.again', 655, 'they go on when it is back');
same_topics($node, 'text', 'text.again', 'after the broker was away');

# ---- the server ----

$node->restart;
fill_text(100);
wait_for_records($node, 'text.again', 755, 'they go on after a restart of the server');
restart_server($node);
fill_text(100);
wait_for_records($node, 'text.again', 855, 'and after a crash');
same_topics($node, 'text', 'text.again', 'after restarts');

# ---- a copy ----

# A database made from this one has the same mirrors, which touch nothing.
sql('CREATE DATABASE copy TEMPLATE postgres');
is($node->safe_psql('copy', "SELECT string_agg(DISTINCT state, ',') FROM eventlog.mirrors"),
	'needs_adoption', 'in a copy of the database they wait to be adopted');
$node->safe_psql('copy', "SELECT count(eventlog.produce('text', 'copy', 'x')) FROM generate_series(1, 100)");
fill_text(100);
wait_for_records($node, 'text.again', 955, 'the original goes on');
usleep(2_000_000);
same_topics($node, 'text', 'text.again', 'beside a copy');
is($node->safe_psql('copy', 'SELECT count(*) FROM topics."text.again"'), 855, 'the copy takes nothing');
is(sql("SELECT count(*) FROM eventlog.mirrors WHERE state ~ 'fenced|diverged|stopped'"), 0, 'nobody was fenced');
is($node->safe_psql('copy', "SELECT string_agg(DISTINCT state, ',') FROM eventlog.mirrors"),
	'needs_adoption', 'the copy still waits');

# ---- the end ----

my $began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 10, 'the server stops');
broker_stop();
done_testing();
