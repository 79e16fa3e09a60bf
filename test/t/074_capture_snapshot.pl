# Snapshots of captures.
#
# The initial one: big tables in parts by several workers, marks of first and
# last rows, errors of readers, workers that are killed, tables and publications
# that change while it begins, row filters, column lists, row-level security.
#
# Incremental ones: while clients write and workers are killed, and through the
# races that watermarks are there for; what the topic says of a table in the end
# is the table, and no row was read twice.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

my $node = new_server('capture_snapshot', conf => <<'CONF');
wal_level = logical
max_worker_processes = 16
max_replication_slots = 20
max_wal_senders = 10
restart_after_crash = on
CONF

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub wait_until
{
	my ($name, $condition) = @_;

	$condition = "state = '$condition'" if $condition =~ /^\w+$/;
	return 1
	  if $node->poll_query_until('postgres',
		"SELECT coalesce((SELECT $condition FROM eventlog.captures WHERE name = '$name'), false)");
	die "capture $name: not $condition: " . sql("SELECT row_to_json(c) FROM eventlog.captures c");
}

sub caught_up
{
	my ($name) = @_;
	my $lsn = sql('SELECT pg_current_wal_flush_lsn()');

	return wait_until($name, "appended_lsn >= '$lsn'");
}

sub create
{
	my ($name, $publication, $config, %params) = @_;

	$config =~ s/'/''/g;
	sql("SELECT eventlog.create_capture('$name', '$publication', config => '$config')");
	wait_until($name, $params{state} // 'streaming');
}

sub drop { sql("SELECT eventlog.drop_capture('$_[0]', true)") }

sub signal_state { return sql("SELECT signal_state FROM eventlog.capture WHERE name = '$_[0]'") }

# Wait until no incremental or blocking snapshot is in work.
sub snapshots_done
{
	my ($name) = @_;

	caught_up($name);
	$node->poll_query_until('postgres', "SELECT signal_state IS NULL FROM eventlog.capture WHERE name = '$name'")
	  or die "$name: the incremental snapshot does not end: " . signal_state($name);
	caught_up($name);
}

# The table, and what its topic says: the last record of each key counts.
sub same_as_topic
{
	my ($name, $table, $what) = @_;
	my $diff = sql(<<SQL);
WITH newest AS (SELECT DISTINCT ON (key->>'id') key->>'id' AS id, value FROM topics."$name.public.$table"
	ORDER BY key->>'id', record_offset DESC),
told AS (SELECT jsonb_strip_nulls((value->'after')::jsonb) AS r FROM newest WHERE value->>'op' <> 'd'),
there AS (SELECT jsonb_strip_nulls(to_jsonb(t)) AS r FROM $table t)
SELECT count(*) || ': ' || coalesce(string_agg(d::text, ' ') FILTER (WHERE n <= 5), '') FROM (
	SELECT row_number() OVER () AS n, d FROM (
		(SELECT 'told' AS side, r FROM told EXCEPT ALL SELECT 'told', r FROM there)
		UNION ALL (SELECT 'there', r FROM there EXCEPT ALL SELECT 'there', r FROM told)) d) e
SQL
	is($diff, '0: ', $what);
}

sub reads
{
	my ($topic, $marker) = @_;

	return sql(<<SQL);
SELECT count(*) || ' of ' || count(DISTINCT key::text) FROM topics."$topic"
WHERE value->>'op' = 'r' AND value->'source'->>'snapshot' = '$marker'
SQL
}

sub set_conf
{
	my ($setting) = @_;

	$node->append_conf('postgresql.conf', "$setting\n");
	$node->reload;
}

sub pause_at
{
	my ($point) = @_;

	pause_on($node);
	set_conf("eventlog.pause_at = '$point'");
}

sub go_on
{
	set_conf("eventlog.pause_at = ''");
	pause_off($node);
}

sub wait_paused
{
	my ($kind, $count) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM pg_stat_activity WHERE backend_type = 'pg_eventlog $kind' AND wait_event_type = 'Extension' AND wait_event = 'Extension' AND query <> ''")
	  or die "no $count of $kind pause";
}

# ---- a big table, in parts ----

sql(<<'SQL');
CREATE TABLE big (id int PRIMARY KEY, v text);
ALTER TABLE big ALTER v SET STORAGE PLAIN;
INSERT INTO big SELECT i, repeat(chr(97 + i % 26), 1000) FROM generate_series(1, 60000) i;
DELETE FROM big WHERE id % 10 = 0;
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE small (id int PRIMARY KEY);
INSERT INTO small VALUES (1), (2);
CREATE PUBLICATION p FOR TABLE big, empty, small;
SQL

pause_at('capture-reader');
sql(q{SELECT eventlog.create_capture('c', 'p', config => '{"snapshot.max.threads": "3"}')});
wait_paused('snapshot reader', 3);
pass('three workers read');
is(sql(q{SELECT snapshot_tables FROM eventlog.captures}) // '', '', 'nothing has been read yet');

# One of the readers dies, and with it the server's other processes.
my $reader = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_eventlog snapshot reader' LIMIT 1});
set_conf("eventlog.pause_at = ''");
kill_backend($node, $reader);
wait_until('c', 'streaming');
is(sql(q{SELECT count(*) FROM topics."c.public.big"}), '54000', 'it is begun again, and all rows are there, once');

sub markers
{
	my ($name) = @_;

	return sql(<<SQL);
SELECT string_agg(concat_ws(' ', t, m, n, lo), ', ' ORDER BY t, lo) FROM (
	SELECT 'big' AS t, value->'source'->>'snapshot' AS m, count(*) AS n, min(record_offset) AS lo FROM topics."$name.public.big" GROUP BY 2
	UNION ALL
	SELECT 'small', value->'source'->>'snapshot', count(*), min(record_offset) FROM topics."$name.public.small" GROUP BY 2) x
SQL
}

my $markers = 'big first 1 0, big true 53998 1, big last_in_data_collection 1 53999, '
  . 'small first_in_data_collection 1 0, small last 1 1';
is(markers('c'), $markers, 'first and last rows are marked');
same_as_topic('c', 'big', 'a table in parts');
same_as_topic('c', 'small', 'a small table');
is(sql(q{SELECT snapshot_tables || ' ' || snapshot_tables_done FROM eventlog.captures}), '3 3', 'progress');
drop('c');

# The server has no process to spare: the appender reads alone, and there is not
# even one to decode afterwards.
set_conf('max_worker_processes = 3');
$node->restart;
sql(q{SELECT eventlog.create_capture('c', 'p', config => '{"snapshot.max.threads": "3"}')});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eventlog.topics WHERE topic = 'c.public.big'})
  or die 'the tables are not read';
is(markers('c'), $markers, 'the appender reads alone');
same_as_topic('c', 'big', 'read alone');
wait_until('c', q{last_error LIKE '%max_worker_processes%'});
set_conf('max_worker_processes = 16');
$node->restart;
wait_until('c', 'streaming');
is(sql(q{SELECT count(*) FROM topics."c.public.big"}), '54000', 'and it goes on when there is one');
drop('c');

# Some of those that are wanted.
set_conf('max_worker_processes = 5');
$node->restart;
create('c', 'p', '{"snapshot.max.threads": "8"}');
is(markers('c'), $markers, 'fewer readers than wanted');
drop('c');
set_conf('max_worker_processes = 16');
$node->restart;

# A terminated reader, and one that leaves the leader behind.
pause_at('capture-reader');
sql(q{SELECT eventlog.create_capture('c', 'p', config => '{"snapshot.max.threads": "2"}')});
wait_paused('snapshot reader', 2);
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_eventlog snapshot reader' LIMIT 1});
wait_until('c', 'failed');
like(sql(q{SELECT last_error FROM eventlog.captures}), qr/terminating background worker/, 'the end of a reader is an error of the snapshot');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_eventlog snapshot reader'})
  or die 'readers stay';
pass('the other reader goes, too');
wait_paused('snapshot reader', 2);
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_eventlog capture appender'});
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_eventlog snapshot reader' AND backend_start < now() - interval '0.2 s'})
  or die 'readers stay';
pass('readers go with the appender');
go_on();
wait_until('c', 'streaming');
is(markers('c'), $markers, 'and in the end it is done');
drop('c');

# Somebody who waits for the leader's lock on a table does not keep readers
# waiting, for whom the leader waits.
pause_at('capture-reader');
sql(q{SELECT eventlog.create_capture('c', 'p', config => '{"snapshot.max.threads": "2"}')});
wait_paused('snapshot reader', 2);
my $alter = start_client($node, 'ALTER TABLE big ADD COLUMN later int', name => 'alter');
wait_for_backend($node, 'alter', "wait_event_type = 'Lock'");
go_on();
wait_until('c', 'streaming');
is((finish_client($alter))[0], 0, 'who waits for a table gets it after the snapshot');
is(markers('c'), $markers, '... which was not held up');
drop('c');
sql('ALTER TABLE big DROP COLUMN later');

# ---- errors ----

my $bad = '{"snapshot.select.statement.overrides": "public.big",'
  . ' "snapshot.select.statement.overrides.public.big": "SELECT id, (1000 / (id - 41001))::text AS v FROM big ORDER BY id"}';
create('c', 'p', $bad, state => 'failed');
like(sql(q{SELECT last_error FROM eventlog.captures}), qr/division by zero/, 'an error in a reader is told');
like(slurp_file($node->logfile), qr/division by zero.*?CONTEXT:.*?snapshot of table public\.big/s, '... with the table');
is(sql(q{SELECT count(*) FROM eventlog.topics WHERE topic LIKE 'c.%'}), '0', 'nothing is left of it');
(my $good = $bad) =~ s/41001/41000.5/;
$good =~ s/'/''/g;
sql("SELECT eventlog.alter_capture('c', '$good')");
sql(q{SELECT eventlog.resume_capture('c')});
wait_until('c', 'streaming');
is(sql(q{SELECT count(*) FROM topics."c.public.big"}), '54000', 'it goes on after the statement was changed');
drop('c');
create('c', 'p', '{"snapshot.select.statement.overrides": "public.small", "snapshot.select.statement.overrides.public.small": "DELETE FROM small"}', state => 'failed');
is(sql('SELECT count(*) FROM small'), '2', 'a statement that is no query is refused');
drop('c');

# Row-level security would hide rows.
sql(<<'SQL');
CREATE ROLE copier LOGIN REPLICATION;
GRANT CREATE ON SCHEMA topics TO copier;
CREATE TABLE guarded (id int PRIMARY KEY);
INSERT INTO guarded VALUES (1), (2);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY half ON guarded USING (id = 1);
GRANT SELECT ON guarded TO copier;
CREATE PUBLICATION guarded FOR TABLE guarded;
SQL
SKIP:
{
	my ($result, $out, $err) = $node->psql('postgres', <<'SQL');
SET ROLE copier;
SELECT eventlog.create_capture('c', 'guarded');
SQL
	skip "copier may not create captures: $err", 2 if $result != 0 || $err ne '';
	wait_until('c', 'failed');
	like(sql(q{SELECT last_error FROM eventlog.captures}), qr/row-level security/, 'row-level security is not passed by');
	sql('ALTER TABLE guarded DISABLE ROW LEVEL SECURITY');
	sql(q{SELECT eventlog.resume_capture('c')});
	wait_until('c', 'streaming');
	is(sql(q{SELECT count(*) FROM topics."c.public.guarded"}), '2', 'without it, all rows are there');
	drop('c');
}

# ---- publications ----

sql(<<'SQL');
CREATE TABLE columns (id int PRIMARY KEY, shown text, hidden text, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE filtered (id int PRIMARY KEY, n int);
ALTER TABLE filtered REPLICA IDENTITY FULL;
CREATE TABLE parent (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE child1 PARTITION OF parent FOR VALUES FROM (0) TO (10);
CREATE TABLE child2 PARTITION OF parent FOR VALUES FROM (10) TO (20);
CREATE TABLE base (id int PRIMARY KEY);
CREATE TABLE derived () INHERITS (base);
INSERT INTO columns VALUES (1, 'a', 'secret');
INSERT INTO filtered VALUES (1, 1), (2, 20), (3, 30);
INSERT INTO parent VALUES (1, 'a'), (11, 'b');
INSERT INTO base VALUES (1);
INSERT INTO derived VALUES (2);
CREATE PUBLICATION chosen FOR TABLE columns (id, shown), filtered WHERE (n > 10), parent, base WITH (publish_via_partition_root);
CREATE PUBLICATION leaves FOR TABLE parent;
SQL
create('c', 'chosen', '{}');
sql("INSERT INTO columns VALUES (2, 'b', 'secret'); INSERT INTO filtered VALUES (4, 4), (5, 50)");
caught_up('c');
is(sql(q{SELECT string_agg((value->'after')::text, ' ' ORDER BY record_offset) FROM topics."c.public.columns"}),
	'{"id":1,"shown":"a"} {"id":2,"shown":"b"}', 'a column list, in the snapshot as in the stream');
is(sql(q{SELECT string_agg(key->>'id', ' ' ORDER BY record_offset) FROM topics."c.public.filtered"}),
	'2 3 5', 'a row filter, too');
is(sql(q{SELECT string_agg(topic, ' ' ORDER BY topic) FROM eventlog.topics WHERE topic LIKE 'c.%'}),
	'c.public.base c.public.columns c.public.derived c.public.filtered c.public.parent', 'tables as they are published');
is(sql(q{SELECT string_agg(key->>'id', ' ' ORDER BY record_offset) FROM topics."c.public.base"}),
	'1', 'a table is read without those that inherit from it');
drop('c');
create('c', 'leaves', '{}');
is(sql(q{SELECT string_agg(topic, ' ' ORDER BY topic) FROM eventlog.topics WHERE topic LIKE 'c.%'}),
	'c.public.child1 c.public.child2', 'partitions that are published by themselves');
drop('c');

# What changes between the slot's position and the reading.
foreach my $change (
	[ 'a table is rewritten', 'ALTER TABLE small ALTER id TYPE bigint', '2' ],
	[ 'a table is published', 'CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1); ALTER PUBLICATION p ADD TABLE late', '2' ])
{
	my ($what, $sql, $rows) = @$change;

	pause_at('capture-snapshot');
	sql(q{SELECT eventlog.create_capture('c', 'p')});
	wait_paused('capture appender', 1);
	sql($sql);
	go_on();
	wait_until('c', 'streaming');
	is(sql(q{SELECT count(*) FROM topics."c.public.small"}), $rows, "$what while the snapshot begins: all rows");
	like(slurp_file($node->logfile), qr/has changed since the snapshot was taken/, '... for it was begun again');
	is(sql(q{SELECT count(*) FROM topics."c.public.late"}), '1', 'the table that came late') if $what =~ /published/;
	drop('c');
}

# ---- incremental snapshots ----

sql(<<'SQL');
CREATE TABLE live (id int PRIMARY KEY, n int NOT NULL, v text);
INSERT INTO live SELECT i, 0, 'row ' || i FROM generate_series(1, 20000) i;
CREATE PUBLICATION live FOR TABLE live;
SQL
create('c', 'live', '{"snapshot.mode": "no_data", "incremental.snapshot.chunk.size": "500"}');

# Who may signal?
my ($result, $out, $err) = $node->psql('postgres', q{SET ROLE copier; SELECT eventlog.capture_signal('c', 'log')});
like($err, qr/must be owner of capture "c"/, 'signals come from the owner only');
($result, $out, $err) = $node->psql('postgres', q{SET ROLE copier; INSERT INTO eventlog.capture_signal_queue (capture_id, signal_id, type, data) VALUES (1, 'x', 'log', '{}')});
like($err, qr/permission denied/, 'not by going past the function');
($result, $out, $err) = $node->psql('postgres', q{SELECT eventlog.capture_signal('none', 'log')});
like($err, qr/"none" does not exist/, 'a capture that does not exist');
sql(q{SELECT eventlog.capture_signal('c', 'log', '{"message": "heard at {}"}')});
sql(q{SELECT eventlog.capture_signal('c', 'dance')});
sql(q{SELECT eventlog.capture_signal('c', 'execute-snapshot', '{"data-collections": ["public.(live"]}', 'bad')});
sql(q{SELECT pg_logical_emit_message(true, 'eventlog.signal', '1 999'), pg_logical_emit_message(false, 'eventlog.watermark', 'x-close')});
caught_up('c');
my $log = slurp_file($node->logfile);
like($log, qr/capture "c": heard at [0-9A-F]+\/[0-9A-F]+/, 'log');
like($log, qr/of type "dance" is ignored: there is no such type/, 'an unknown signal is ignored');
like($log, qr/signal "bad" of type "execute-snapshot" is ignored: invalid regular expression/, 'a bad one, too');
is(sql('SELECT count(*) FROM eventlog.capture_signal_queue'), '0', 'signals are taken from their table');
is(sql(q{SELECT count(*) FROM eventlog.topics WHERE topic LIKE 'c.%'}), '0', 'and are not captured themselves');

# The window: what changes while a chunk waits counts, not the chunk's row.
sub execute
{
	my ($name, $data) = @_;

	sql("SELECT eventlog.capture_signal('$name', 'execute-snapshot', '$data')");
}

pause_at('capture-chunk');
execute('c', '{"data-collections": ["public.live"]}');
wait_paused('capture appender', 1);
sql(<<'SQL');
UPDATE live SET n = 1 WHERE id = 1;
DELETE FROM live WHERE id = 2;
UPDATE live SET id = -3 WHERE id = 3;
INSERT INTO live VALUES (-4, 4, 'new');
BEGIN; UPDATE live SET n = 9 WHERE id = 4; ROLLBACK;
SQL
go_on();
snapshots_done('c');
same_as_topic('c', 'live', 'changes while a chunk waited');
is(sql(q{SELECT count(*) FROM topics."c.public.live" WHERE value->>'op' = 'r' AND key->>'id' IN ('1', '2', '3')}),
	'0', 'rows that have changed meanwhile are left out');
is(reads('c.public.live', 'incremental'), '19997 of 19997', 'the others were read, once');

# A table that is locked keeps its own rows waiting, but not the stream.
sql('CREATE TABLE other (id int PRIMARY KEY); ALTER PUBLICATION live ADD TABLE other');
my $locker = start_client($node, 'BEGIN; LOCK TABLE live; SELECT pg_sleep(1000); COMMIT', name => 'locker');
wait_for_backend($node, 'locker', "wait_event = 'PgSleep'");
execute('c', '{"data-collections": ["public.live"]}');
sql('INSERT INTO other VALUES (1)');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eventlog.topics WHERE topic = 'c.public.other'})
  or die 'the stream stands still';
isnt(signal_state('c'), '', 'a locked table is waited for, beside the stream');
sql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'locker'});
finish_client($locker);
snapshots_done('c');
same_as_topic('c', 'live', 'and then it is read');
sql('ALTER PUBLICATION live DROP TABLE other');
drop('c');

# A commit that is in the WAL, but not visible yet: with a synchronous standby
# that does not answer, the transaction is decoded, and others do not see it.
create('c', 'live', '{"snapshot.mode": "no_data", "incremental.snapshot.chunk.size": "5000"}');
set_conf("synchronous_standby_names = 'nobody'");
my $waiting = start_client($node, 'SET synchronous_commit = on; UPDATE live SET n = 77 WHERE id = 77', name => 'waiting');
wait_for_backend($node, 'waiting', "wait_event = 'SyncRep'");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eventlog.topics WHERE topic = 'c.public.live'})
  or die 'the change is not in the topic';
$node->safe_psql('postgres', q{SET synchronous_commit = local; SELECT eventlog.capture_signal('c', 'execute-snapshot', '{"data-collections": ["public.live"]}')});
usleep(500_000);
set_conf("synchronous_standby_names = ''");
finish_client($waiting);
snapshots_done('c');
same_as_topic('c', 'live', 'a commit that is decoded before it is seen');
drop('c');

# While several clients write, and processes are killed.
create('c', 'live', '{"snapshot.mode": "no_data", "incremental.snapshot.chunk.size": "250"}');
my $writer = <<'SQL';
DO $$
DECLARE k int;
BEGIN
	FOR i IN 1..4000 LOOP
		k := 1 + (random() * 20000)::int;
		IF i % 10 = 0 THEN DELETE FROM live WHERE id = k;
		ELSIF i % 10 = 1 THEN INSERT INTO live VALUES (k, i, 'again') ON CONFLICT (id) DO UPDATE SET n = live.n + 1;
		ELSE UPDATE live SET n = n + 1 WHERE id = k;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.001);
	END LOOP;
END $$;
SQL
my @clients = map { start_client($node, $writer, name => "writer$_") } 1 .. 2;
execute('c', '{"data-collections": ["public.live"]}');
my $stops = 0;
foreach my $i (1 .. 6)
{
	usleep(150_000);
	last if signal_state('c') eq '';
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_eventlog capture appender'});
	$stops++;
}
note "the appender was ended $stops times";
snapshots_done('c');
finish_client($_) foreach @clients;
caught_up('c');
same_as_topic('c', 'live', 'under writes, with the appender ended again and again');
my ($rows, $keys) = split / of /, reads('c.public.live', 'incremental');
is($rows, $keys, 'no row was read twice');
cmp_ok($rows, '>', 10000, 'most were read');

# The same, and the server dies.
@clients = map { start_client($node, $writer, name => "writer$_") } 1 .. 2;
execute('c', '{"data-collections": ["public.live"]}');
usleep(300_000);
isnt(signal_state('c'), '', 'in the middle of it');
restart_server($node);
waitpid($_->{pid}, 0) foreach @clients;
snapshots_done('c');
same_as_topic('c', 'live', 'and the server killed');
is(sql(q{SELECT max(n) FROM (SELECT count(*) AS n FROM topics."c.public.live" WHERE value->>'op' = 'r' GROUP BY key::text) x}),
	'2', 'no row was read twice by one of the two');
drop('c');

# ---- pause, stop, conditions ----

create('c', 'live', '{"snapshot.mode": "no_data", "incremental.snapshot.chunk.size": "100"}');
pause_at('capture-chunk');
execute('c', '{"data-collections": ["public.live"], "additional-conditions": [{"data-collection": "public.l.*", "filter": "id > 10000"}]}');
wait_paused('capture appender', 1);
sql(q{SELECT eventlog.capture_signal('c', 'pause-snapshot')});
go_on();
$node->poll_query_until('postgres', q{SELECT (signal_state->>'paused')::bool FROM eventlog.capture}) or die 'not paused';
caught_up('c');
restart_server($node);
wait_until('c', 'streaming');
caught_up('c');
my $read = sql(q{SELECT count(*) FROM eventlog.topics WHERE topic = 'c.public.live'})
  && sql(q{SELECT count(*) FROM topics."c.public.live" WHERE value->>'op' = 'r'});
cmp_ok($read, '<=', 300, "paused after $read rows, also by a restart");
sql(q{SELECT eventlog.capture_signal('c', 'resume-snapshot')});
snapshots_done('c');
is(reads('c.public.live', 'incremental'), sql('SELECT count(*) FROM live WHERE id > 10000') . ' of ' . sql('SELECT count(*) FROM live WHERE id > 10000'),
	'resumed, and the condition holds');
pause_at('capture-chunk');
execute('c', '{"data-collections": ["public.live"]}');
wait_paused('capture appender', 1);
sql(q{SELECT eventlog.capture_signal('c', 'stop-snapshot')});
go_on();
snapshots_done('c');
cmp_ok(sql(q{SELECT count(*) FROM topics."c.public.live" WHERE value->>'op' = 'r' AND (key->>'id')::int <= 10000}), '<=', 400, 'stopped');
execute('c', '{"data-collections": ["public.live"], "additional-conditions": [{"data-collection": "public.live", "filter": "no such thing"}]}');
snapshots_done('c');
like(slurp_file($node->logfile), qr/incremental snapshot of table "public.live" ends: SQL_EXCEPTION/, 'a condition that fails ends it, and nothing else');
drop('c');

# ---- tables without a key; keys that are not unique ----

sql(<<'SQL');
CREATE TABLE keyless (k int, v text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
INSERT INTO keyless SELECT i / 7, 'v' || i FROM generate_series(1, 3000) i;
INSERT INTO keyless VALUES (null, 'n1'), (null, 'n2');
CREATE PUBLICATION keyless FOR TABLE keyless;
SQL
create('c', 'keyless', '{"snapshot.mode": "no_data", "incremental.snapshot.chunk.size": "100"}');
pause_at('capture-chunk');
execute('c', '{"data-collections": ["public.keyless"]}');
wait_paused('capture appender', 1);
sql(q{DELETE FROM keyless WHERE v IN ('v1', 'v2'); UPDATE keyless SET v = 'changed' WHERE v = 'v3'});
go_on();
snapshots_done('c');
is(sql(q{SELECT count(*) || ' ' || count(DISTINCT value->'after'->>'v') FROM topics."c.public.keyless" WHERE value->>'op' = 'r'}),
	'2999 2999', 'a table without a key is read wholly, but for rows that have changed');
drop('c');
create('c', 'keyless', '{"snapshot.mode": "no_data", "incremental.snapshot.chunk.size": "100"}');
execute('c', '{"data-collections": ["public.keyless"], "surrogate-key": "k"}');
snapshots_done('c');
is(sql(q{SELECT count(*) FROM topics."c.public.keyless" WHERE value->>'op' = 'r'}),
	sql('SELECT count(*) FROM keyless'), 'rows with the same surrogate key, or none, are not lost');
drop('c');

# ---- blocking snapshots ----

create('c', 'p', '{"snapshot.mode": "no_data", "snapshot.max.threads": "2"}');
pause_at('capture-reader');
execute('c', '{"type": "blocking", "data-collections": ["public.big", "public.small"]}');
wait_paused('snapshot reader', 2);
restart_server($node);
set_conf("eventlog.pause_at = ''");
snapshots_done('c');
is(markers('c'), $markers, 'a blocking snapshot, which a crash has made begin again');
same_as_topic('c', 'big', 'a blocking snapshot');
drop('c');

$node->stop;
done_testing();
