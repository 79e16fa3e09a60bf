# Those who look after a log, and those who use it, in each other's way: two at
# the same partition, readers and producers while segments are moved, rewritten
# and given back.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('races', conf => <<'CONF');
eventlog.maintenance = off
max_connections = 20
CONF

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Batches of records with keys from a query; each value has a kilobyte.
sub send_keys
{
	my ($topic, $batches, $key, $n) = @_;

	sql(<<SQL);
DO \$\$
BEGIN
	FOR i IN 1 .. $batches LOOP
		PERFORM eventlog.produce_batch('$topic', array_agg($key), array_agg(repeat('x', 1000)))
			FROM generate_series(1, $n) g;
		COMMIT;
	END LOOP;
END \$\$;
SQL
}

sub is_sound
{
	my ($topic, $name) = @_;

	is(sql("SELECT * FROM eventlog.verify('$topic')"), '', "$name: the log is sound");
}

# ---- the age of segments that compaction has merged ----

sql(q{SELECT eventlog.create_topic('aged', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact,delete", "min.cleanable.dirty.ratio": 0.01}')});
send_keys('aged', 1, q{'once' || g}, 1200);
for (1 .. 2)
{
	send_keys('aged', 6, q{'often' || g}, 1200);
	sql('SELECT txid_current()');
	sql(q{SELECT eventlog.maintain('aged')}) for 1 .. 4;
}
is(sql(q{SELECT count(DISTINCT key) FROM topics.aged}), 2400,
	'nothing that was written now is older than seven days, however it was compacted');
sql(q{SELECT eventlog.alter_topic('aged', '{"retention.ms": 1}')});
sql(q{SELECT eventlog.maintain('aged')});
is(sql(q{SELECT count(*) FROM topics.aged}), 0, 'retention passes over merged segments');
is_sound('aged', 'aged');

# ---- giving space back behind which only an empty segment lies ----

sql(q{SELECT eventlog.create_topic('emptied', 1, 'text', 'text', '{"segment.bytes": 1048576}')});
for (1 .. 2)
{
	send_keys('emptied', 12, q{'k' || g}, 60);
	sql(q{SELECT eventlog.delete_records('emptied', 0, -1)});
	sql(q{SELECT eventlog.maintain('emptied')});
}
sql('SELECT txid_current()');
sql(q{SELECT eventlog.maintain('emptied')});
sql('VACUUM topics."emptied:0"');
is_sound('emptied', 'space given back');
send_keys('emptied', 1, q{'k' || g}, 60);
is_sound('emptied', 'and goes on');

# ---- giving space back behind a segment that was moved to the front of it ----

sql(q{SELECT eventlog.create_topic('shrunk', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0.01}')});
foreach my $batches (200, 2)
{
	send_keys('shrunk', $batches, q{'k' || g}, 100);
	for (1 .. 3)
	{
		sql('SELECT txid_current()');
		sql(q{SELECT eventlog.maintain('shrunk')});
	}
}
send_keys('shrunk', 1, q{'k' || g}, 100);
my $before = -s leaf_file($node, 'shrunk', 0);
sql('VACUUM topics."shrunk:0"; CHECKPOINT');
cmp_ok(-s leaf_file($node, 'shrunk', 0), '<', $before / 4, 'VACUUM gives back what an almost empty segment does not need');
is_sound('shrunk', 'shrunk');

# ---- two who move the log start ----

sql(q{SELECT eventlog.create_topic('noted', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 1048576}')});
foreach my $round (1 .. 2)
{
	send_keys('noted', 4, q{'k' || g}, 1000);
	my $first = start_client($node, <<'SQL', name => 'first');
BEGIN;
SELECT eventlog.maintain('noted');
SELECT count(*) FROM pg_stat_activity, pg_sleep(1);
COMMIT;
SQL
	wait_for_backend($node, 'first', q{query LIKE '%pg_stat_activity%'});
	my ($status, undef, $error) = $node->psql('postgres', q{SELECT eventlog.delete_records('noted', 0, -1)});
	is("$status $error", '0 ', "round $round: who moves the log start waits for maintenance that has");
	is((finish_client($first))[0], 0, "round $round: which ends well");
}
is(sql(q{SELECT log_start_offset = 8000 FROM eventlog.partition_start WHERE relation::text LIKE '%noted%'}), 't',
	'what dumps know of the log start is the last');

# ---- a reader that waits while the empty segment at which it stands is moved ----

sql(q{SELECT eventlog.create_topic('moved', 1, 'text', 'text', '{"segment.bytes": 1048576}')});
send_keys('moved', 40, q{'k' || g}, 100);
sql(q{SELECT eventlog.delete_records('moved', 0, -1)});
sql(q{SELECT eventlog.maintain('moved')});
sql('SELECT txid_current()');
my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $reader = start_client($node, "SELECT record_offset FROM eventlog.read('moved', 0, 4000, 1, interval '$timeout s')",
	name => 'reader');
wait_for_backend($node, 'reader', q{wait_event_type = 'Extension'});
sql(q{SELECT eventlog.maintain('moved')});
sql(q{SELECT eventlog.produce('moved', 'k', 'v')});
is((finish_client($reader))[1], "4000\n", 'a reader that waits finds what comes to a segment that was moved');

# ---- the hint of who saw the log as it was before it was rewritten ----

sql(q{SELECT eventlog.create_topic('hinted', 1, 'text', 'text', '{"segment.bytes": 10485760}')});
sql(q{BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'pin'});	# nothing is frozen
send_keys('hinted', 30, q{'k' || g}, 100);
my $looker = start_paused($node, 'hint-resolved', q{SELECT last_stable_offset FROM eventlog.partitions WHERE topic = 'hinted'});
is(sql(q{SELECT eventlog.erase('hinted', 'k7')}), 30, 'a key is erased while somebody looks');
pause_off($node);
is((finish_client($looker))[1], "3000\n", 'he has seen the end of the log');
is(sql(q{SELECT last_stable_offset FROM eventlog.partitions WHERE topic = 'hinted'}), 3000, 'and so does who comes next');
sql(q{ROLLBACK PREPARED 'pin'});

# ---- the bytes of a topic that was emptied in the transaction that made it ----

sql(<<'SQL');
BEGIN;
SELECT eventlog.create_topic('remade', 1, 'text', 'text');
SELECT eventlog.produce_batch('remade', array_agg('k' || g), array_agg(text 'secret value')) FROM generate_series(1, 3000) g;
SELECT eventlog.flush();
TRUNCATE topics.remade;
SELECT eventlog.produce('remade', 'k1', 'other');
COMMIT;
SELECT eventlog.erase('remade', 'k1');
SQL
is(index(slurp_file(leaf_file($node, 'remade', 0)), 'secret value'), -1,
	'TRUNCATE in the transaction that made the topic leaves no bytes');
is_sound('remade', 'remade');

# ---- many little segments, rewritten one by one ----

sql(q{SELECT eventlog.create_topic('little', 1, 'text', 'text', '{"segment.ms": 1}')});
sql(<<'SQL');
DO $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		PERFORM eventlog.produce('little', CASE WHEN i % 3 = 0 THEN 'gone' ELSE 'k' || i % 50 END, repeat('x', 100));
		COMMIT;
		PERFORM pg_sleep(0.002);
	END LOOP;
END $$;
SQL
is(sql(q{SELECT eventlog.erase('little', 'gone')}), 133, 'little segments: erased from many');
is_sound('little', 'little segments, erased');
sql(q{SELECT eventlog.alter_topic('little', '{"cleanup.policy": "compact", "segment.ms": null}')});
for (1 .. 3)
{
	sql('SELECT txid_current()');
	sql(q{SELECT eventlog.maintain('little')});
}
is(sql(q{SELECT count(*) FROM topics.little}), 50, 'little segments: and then compacted');
is_sound('little', 'little segments, compacted');

$node->stop;
done_testing();
