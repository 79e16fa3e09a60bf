# Trouble on either side of a mirror: each has an outcome that is seen in the
# view, that docs/mirrors.md tells, and in which no record is lost or doubled
# unless somebody has said so.
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
$ENV{KAFKA_SETTINGS} = <<CONF;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
CONF
broker_start();
my $node = new_server('mirrors_trouble', conf => "restart_after_crash = on\n");
new_kafka_server($node);

sub sql { return $node->safe_psql('postgres', @_); }
sub topic_command { return kafka_command('org.apache.kafka.tools.TopicCommand', @_); }

# What is missing for long is missed soon.
sql(q{ALTER SERVER kafka OPTIONS (ADD "topic.metadata.propagation.max.ms" '1000', ADD "topic.metadata.refresh.interval.ms" '1000')});

# A topic here, with a mirror of the same name to a topic in Kafka of the same
# name; and one back into NAME.back, mirror NAME.in.
sub make_pair
{
	my ($name, %params) = @_;
	my $config = $params{config} // '{"create.topic": true}';
	my $in = $params{in} // '{"topics.refresh.interval.ms": 1000}';

	sql(<<SQL);
SELECT eventlog.create_topic('$name', 1, key_type => 'text', value_type => 'text',
	config => '@{[ $params{topic} // '{}' ]}');
SELECT eventlog.create_topic('$name.back', 1, key_type => 'text', value_type => '@{[ $params{type} // 'text' ]}');
SELECT eventlog.create_mirror('$name', 'kafka', 'out', '$name', '$name', '$config');
SQL
	wait_for_state($node, $name, 'streaming', "a mirror \"$name\"");
	sql("SELECT eventlog.create_mirror('$name.in', 'kafka', 'in', '$name.back', '$name', '$in')");
}

my %count;

sub fill
{
	my ($name, $n) = @_;

	sql("SELECT count(eventlog.produce('$name', 'k' || i, 'value ' || i)) FROM generate_series(1, $n) i");
	$count{$name} += $n;
}

sub arrived
{
	my ($name, $n, $title) = @_;

	return wait_for_records($node, "$name.back", $n, $title);
}

sub last_error { return mirror_column($node, $_[0], 'last_error'); }

sub resume
{
	my ($name, $start) = @_;

	sql("SELECT eventlog.resume_mirror('$name'" . (defined $start ? ", '$start')" : ')'));
}

# Nothing more comes: what is there is all.
sub stays
{
	my ($topic, $n, $title) = @_;

	usleep(700_000);
	is(sql(qq{SELECT count(*) FROM topics."$topic"}), $n, $title);
}

# ---- the group's offsets are gone ----

make_pair('group');
fill('group', 50);
arrived('group', 50, 'a mirror');
my $group = mirror_column($node, 'group', 'kafka_group');
ok(kafka_command('org.apache.kafka.tools.consumer.group.ConsumerGroupCommand', '--delete', '--group', $group),
	'its group in Kafka is deleted while it runs');
fill('group', 50);
arrived('group', 100, 'it goes on, as it knows where it is');
kill_backend($node, worker_of($node, 'group'));
fill('group', 50);
arrived('group', 150, 'and so does its successor: the group has been made anew');
sql("SELECT eventlog.pause_mirror('group')");
wait_for_state($node, 'group', 'paused');
usleep(300_000);
kafka_command('org.apache.kafka.tools.consumer.group.ConsumerGroupCommand', '--delete', '--group', $group);
fill('group', 50);
resume('group');
wait_for_state($node, 'group', 'diverged', 'if the group is deleted while it stands still, it does not guess');
like(last_error('group'), qr/no position of ours any more/, 'and says why');
stays('group.back', 150, 'nothing comes twice');
$node->psql('postgres', "SELECT eventlog.resume_mirror('group')", stderr => \my $refused);
like($refused, qr/is diverged/, 'it wants to know from where to go on');
resume('group', '{"0": 150}');
arrived('group', 200, 'told so, it does');
same_topics($node, 'group', 'group.back', 'a group that was deleted');

# a mirror that has been idle knows exactly: as if it had been for a minute
sql("SELECT eventlog.pause_mirror('group')");
usleep(300_000);
sql(q{UPDATE eventlog.mirror_position p SET record_offset = 200, epoch = 1 FROM eventlog.mirror m
	WHERE m.id = p.mirror AND m.name = 'group'});
kafka_command('org.apache.kafka.tools.consumer.group.ConsumerGroupCommand', '--delete', '--group', $group);
fill('group', 50);
resume('group');
arrived('group', 250, 'offsets of an idle mirror that have expired are no loss');
same_topics($node, 'group', 'group.back', 'after expired offsets');
is(sql(q{SELECT epoch IS NULL FROM eventlog.mirror_position p JOIN eventlog.mirror m ON m.id = p.mirror WHERE m.name = 'group'}),
	't', 'what is written down is not taken for exact once it moves');

# ---- our records are gone before they are sent ----

make_pair('ours', topic => '{"segment.bytes": 1048576}');
fill('ours', 10);
arrived('ours', 10, 'a mirror');
sql("SELECT eventlog.pause_mirror('ours')");
wait_for_state($node, 'ours', 'paused');
fill('ours', 10);
sql("SELECT eventlog.delete_records('ours', 0, 15)");
resume('ours');
wait_for_state($node, 'ours', 'diverged', 'records that were removed before they were sent are not passed over');
like(last_error('ours'), qr/offsets 10 to 14 of ours were removed/, 'which is told');
resume('ours', 'earliest');
arrived('ours', 15, 'from the beginning that is left');
stays('ours.back', 15, 'and no more');

# what was rolled back may go
sql("BEGIN; SELECT eventlog.produce('ours', 'x', 'rolled back') FROM generate_series(1, 5); SELECT eventlog.flush(); ROLLBACK");
fill('ours', 1);
arrived('ours', 16, 'a record behind what was rolled back');
sql("BEGIN; SELECT eventlog.produce('ours', 'x', 'rolled back') FROM generate_series(1, 5); SELECT eventlog.flush(); ROLLBACK");
usleep(1_500_000);
sql("SELECT eventlog.delete_records('ours', 0, -1)");
fill('ours', 1);
arrived('ours', 17, 'removing what was sent is no trouble');
is(mirror_state($node, 'ours'), 'streaming', 'it streams');

# ---- Kafka's records are gone before they are read ----

make_pair('theirs');
fill('theirs', 10);
arrived('theirs', 10, 'a mirror');
sql("SELECT eventlog.pause_mirror('theirs.in')");
wait_for_state($node, 'theirs.in', 'paused');
fill('theirs', 10);
$node->poll_query_until('postgres', "SELECT lag = 0 FROM eventlog.mirrors WHERE name = 'theirs'");
my $json = PostgreSQL::Test::Utils::tempdir() . '/delete.json';
append_to_file($json, '{"partitions": [{"topic": "theirs", "partition": 0, "offset": 15}], "version": 1}');
ok(kafka_command('org.apache.kafka.tools.DeleteRecordsCommand', '--offset-json-file', $json), 'records in Kafka are removed');
resume('theirs.in');
wait_for_state($node, 'theirs.in', 'diverged', 'records that were removed before they were read are not passed over');
like(last_error('theirs.in'), qr/position is not in Kafka's log/, 'which is told');
stays('theirs.back', 10, 'nothing is taken');
resume('theirs.in', 'earliest');
wait_for_records($node, 'theirs.back', 11, 'from the beginning that is left');
wait_for_state($node, 'theirs.in', 'streaming');
is(mirror_state($node, 'theirs'), 'streaming', 'the other direction is not concerned');

# ---- a topic is deleted ----

make_pair('gone');
fill('gone', 30);
arrived('gone', 30, 'a mirror');
ok(topic_command('--delete', '--topic', 'gone'), 'its topic in Kafka is deleted');
fill('gone', 10);
ok($node->poll_query_until('postgres',
		"SELECT count(*) = 2 FROM eventlog.mirrors WHERE name ~ '^gone' AND state ~ 'failed|stopped'"),
	'both directions say so');
like(last_error('gone.in'), qr/topic "gone" is not there|nknown topic/, 'the reading one');
# which of the two librdkafka says depends on what it learns first
like(last_error('gone'), qr/nknown topic|UNKNOWN_TOPIC|topic "gone", partition 0: .*UNKNOWN_PARTITION/, 'the writing one, which does not make a topic anew that lacks records');
ok(mirror_column($node, 'gone', 'next_start_at IS NOT NULL AND failures > 0') eq 't', 'when it tries again is told')
  if mirror_state($node, 'gone') eq 'failed';
ok(topic_command('--create', '--topic', 'gone', '--partitions', '1'), 'it is made anew, empty');
wait_for_state($node, 'gone', 'diverged|stopped', 'the writing one does not go on in the middle');
wait_for_state($node, 'gone.in', 'diverged|stopped', 'the reading one neither, its position is beyond the end');
resume('gone', 'earliest');
resume('gone.in', 'earliest');
arrived('gone', 70, 'told so, both begin anew');
is(sql(q{SELECT md5(string_agg(key || value, ',' ORDER BY record_offset)) FROM topics."gone.back" WHERE record_offset >= 30}),
	sql(q{SELECT md5(string_agg(key || value, ',' ORDER BY record_offset)) FROM topics.gone}), 'with all records');

# ---- records that the target refuses ----

make_pair('large', config => '{"create.topic": true, "topic.creation.default.max.message.bytes": 2000}');
sql("SELECT eventlog.produce('large', 'a', 'small'), eventlog.produce('large', 'b', repeat(md5('x'), 100)), eventlog.produce('large', 'c', 'small')");
wait_for_state($node, 'large', 'stopped', 'a record that is too large stops a mirror');
like(last_error('large'), qr/partition 0, offset 1: .*MSG_SIZE_TOO_LARGE/, 'which record, is told');
sql(q{SELECT eventlog.alter_mirror('large', '{"errors.deadletterqueue.topic.name": "large.letters"}')});
resume('large');
arrived('large', 2, 'with a dead-letter topic it goes on');
is(sql(q{SELECT string_agg(key, '' ORDER BY record_offset) FROM topics."large.back"}), 'ac', 'with the others');
is(mirror_column($node, 'large', 'dead_letters'), 1, 'one dead letter');
SKIP:
{
	my $letters = kcat('large.letters', '%k %S\n');

	skip 'there is no kcat', 1 unless defined $letters;
	is($letters, "b 3200\n", 'which is in that topic');
}

make_pair('typed', type => 'jsonb');
sql(q[SELECT eventlog.produce('typed', 'a', '{"a": 1}'), eventlog.produce('typed', 'b', '{not json'), eventlog.produce('typed', 'c', '[]')]);
wait_for_state($node, 'typed.in', 'stopped', 'a record that our type refuses stops a mirror');
like(last_error('typed.in'), qr/partition 0, offset 1: .*json/, 'which record, is told');
stays('typed.back', 0, 'nothing of its batch stays');
sql(q{SELECT eventlog.alter_mirror('typed.in', '{"errors.deadletterqueue.topic.name": "typed.letters", "create.topic": true}')});
resume('typed.in');
arrived('typed', 2, 'with a dead-letter topic it goes on');
is(sql(q{SELECT string_agg(key, '' ORDER BY record_offset) FROM topics."typed.back"}), 'ac', 'with the others, once each');
is(sql(q{SELECT count(*) FROM topics."typed.letters"}), 1, 'the one is in the dead-letter topic');

# ---- rights are lost and given back ----

make_pair('rights');
fill('rights', 10);
arrived('rights', 10, 'a mirror');

sub acl
{
	my ($what, @to) = @_;
	return kafka_command('org.apache.kafka.tools.AclCommand', $what, '--force', '--deny-principal', 'User:ANONYMOUS', @to);
}
ok(acl('--add', '--topic', 'rights', '--operation', 'Write', '--operation', 'Read'), 'its rights are taken away');
fill('rights', 10);
wait_for_state($node, 'rights', 'failed');
like(last_error('rights'), qr/AUTHORIZATION_FAILED|authoriz/i, 'the writing one says why');
ok(kafka_command('org.apache.kafka.tools.AclCommand', '--remove', '--force', '--topic', 'rights'), 'they are given back');
arrived('rights', 20, 'both go on by themselves');
same_topics($node, 'rights', 'rights.back', 'after rights were lost');

# ---- partitions are added ----

sql(<<SQL);
SELECT eventlog.create_topic('more', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_topic('more.back', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('more', 'kafka', 'out', 'more', 'more', '{"create.topic": true, "repartition": "by_key"}');
SELECT eventlog.create_mirror('more.in', 'kafka', 'in', 'more.back', 'more', '{"repartition": "by_key", "topics.refresh.interval.ms": 1000}');
SQL
fill('more', 20);
arrived('more', 20, 'a mirror that chooses partitions by key');
ok(topic_command('--alter', '--topic', 'more', '--partitions', '3'), 'partitions are added in Kafka');
fill('more', 20);
arrived('more', 40, 'the records of the new ones come too');
is(sql('SELECT string_agg(DISTINCT state, \',\') FROM eventlog.mirrors WHERE name ~ \'^more\''), 'streaming', 'both stream');

sql(<<SQL);
SELECT eventlog.create_topic('grown', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_topic('grown.back', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('grown', 'kafka', 'out', 'grown', 'grown', '{"create.topic": true}');
SELECT eventlog.create_mirror('grown.in', 'kafka', 'in', 'grown.back', 'grown', '{"topics.refresh.interval.ms": 1000}');
SQL
fill('grown', 20);
arrived('grown', 20, 'a mirror that keeps partitions');
sql("SELECT eventlog.add_partitions('grown', 2)");
fill('grown', 20);
wait_for_state($node, 'grown', 'stopped', 'partitions that Kafka lacks stop it');
like(last_error('grown'), qr/has 2 partitions, and Kafka's has 1/, 'which is told');
topic_command('--alter', '--topic', 'grown', '--partitions', '2');
resume('grown');
wait_for_state($node, 'grown.in', 'stopped', 'partitions that we lack stop the other');
sql("SELECT eventlog.add_partitions('grown.back', 2)");
resume('grown.in');
arrived('grown', 40, 'with as many on both sides they go on');
same_topics($node, 'grown', 'grown.back', 'after partitions were added');

# ---- at least once ----

sql(<<SQL);
SELECT eventlog.create_topic('least', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_topic('least.back', 1, key_type => 'text', value_type => 'text');
SELECT eventlog.create_mirror('least', 'kafka', 'out', 'least', 'least', '{"create.topic": true, "delivery": "at_least_once"}');
SELECT eventlog.create_mirror('least.in', 'kafka', 'in', 'least.back', 'least');
SQL
foreach my $turn (1 .. 3)
{
	my $client = start_client($node, "SELECT count(eventlog.produce('least', 'k' || i, 'turn $turn')) FROM generate_series(1, 2000) i;\n" x 5);
	usleep(200_000);
	kill_backend($node, worker_of($node, 'least'));
	finish_client($client);
}
my $kept = sql('SELECT count(*) FROM topics.least');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM (SELECT key, value, count(*) FROM topics.least GROUP BY 1, 2
	EXCEPT SELECT a.key, a.value, a.n FROM (SELECT key, value, count(*) AS n FROM topics.least GROUP BY 1, 2) a
	JOIN (SELECT key, value, count(*) AS n FROM topics."least.back" GROUP BY 1, 2) b ON a.key = b.key AND a.value = b.value AND b.n >= a.n) missing}),
	'at least once: nothing is lost when the worker dies');
note "$kept records, and ", sql('SELECT count(*) FROM topics."least.back"'), ' have arrived';
sql("SELECT eventlog.pause_mirror('least')");
wait_for_state($node, 'least', 'paused');
$kept = sql('SELECT count(*) FROM topics."least.back"');
sql("SELECT count(eventlog.produce('least', 'skipped', 'x')) FROM generate_series(1, 10)");
resume('least', 'latest');
wait_for_state($node, 'least', 'streaming');
usleep(500_000);
sql("SELECT eventlog.pause_mirror('least')");
wait_for_state($node, 'least', 'paused');
sql("SELECT count(eventlog.produce('least', 'meanwhile', 'x')) FROM generate_series(1, 10)");
resume('least');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 10 FROM topics."least.back" WHERE key = 'meanwhile'}),
	'a start that was given counts once: what comes later is not left out');

# ---- the broker is away for long ----

my $worker = worker_of($node, 'group');
my $resident = resident_kb($worker);
my $lines = log_size($node);
my $began = time;
broker_stop();
fill('group', 10);
wait_for_state($node, 'group', 'failed', 'the writing one says so');
ok($node->poll_query_until('postgres',
		q{SELECT state = 'failed' AND failures > 1 AND next_start_at > now() FROM eventlog.mirrors WHERE name = 'group.in'}),
	'and the reading one: failures and the next attempt are shown');
usleep(3_000_000) while time - $began < 12;
my $more = (log_size($node) - $lines) / (time - $began) * 60;
is(worker_of($node, 'group'), $worker, 'the worker lives');
note sprintf('%.0f lines of log a minute; resident %d kB, now %d kB', $more, $resident, resident_kb($worker));
cmp_ok($more, '<', 600, 'the log does not grow fast');
cmp_ok(resident_kb($worker), '<', $resident + 50_000, 'nor does the worker');
broker_start();
resume('group');
arrived('group', 260, 'they go on when it is back');
same_topics($node, 'group', 'group.back', 'after a broker that was away for long');

is(join("\n", grep { !/by signal 9: Killed/ } split /\n/, crashes($node)), '', 'no process has died but those that were killed');
$node->stop('fast');
broker_stop();
done_testing();
