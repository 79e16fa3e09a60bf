# Captures from the outside: their functions and views, whose rights they need
# and what happens when these go away, what they leave out, and that whatever
# goes wrong (a lost slot, a dropped publication, a database that is dropped) is
# said and loses nothing.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use CaptureTest;
use EventlogTest;

my $node = new_server('capture', conf => capture_conf() . "logical_decoding_work_mem = 64kB\n");

sub sql { return $node->safe_psql('postgres', $_[0]) }

# The error of a statement, or ''.
sub error_of
{
	my ($sql, %params) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $params{user} // 'postgres' ]);

	return $status == 0 ? '' : $err;
}

sub records
{
	my ($topic) = @_;

	return sql(qq{SELECT count(*) FROM topics."$topic"});
}

# A capture stops, and says this.
sub fails_with
{
	my ($name, $pattern, $title) = @_;

	wait_capture($node, $name, q{last_error IS NOT NULL AND state <> 'streaming'});
	like(capture_is($node, $name, 'last_error'), $pattern, $title);
}

# ---- the functions ----

sql(<<'SQL');
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(8, 2));
INSERT INTO item VALUES (1, 'apple', 1.50), (2, 'pear', null);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
CREATE PUBLICATION items FOR TABLE item;
CREATE PUBLICATION everything FOR ALL TABLES;
SQL

like(error_of(q{SELECT eventlog.create_capture('shop', publication => 'none')}), qr/publication "none" does not exist/, 'no such publication');
like(error_of(q{SELECT eventlog.create_capture('shop', publication => 'items', config => '{"no.such.key": 1}')}), qr/no\.such\.key/, 'an unknown key is refused by name');
like(error_of(q{SELECT eventlog.create_capture('shop', publication => 'items', config => '{"snapshot.mode": "sometimes"}')}), qr/snapshot\.mode/, 'so is a value');
like(error_of(q{SELECT eventlog.create_capture('', publication => 'items')}), qr/ERROR/, 'and an empty name');
like(error_of(q{SELECT eventlog.pause_capture('none')}), qr/"none" does not exist/, 'no such capture to pause');
like(error_of(q{SELECT eventlog.drop_capture('none')}),  qr/"none" does not exist/, 'nor to drop');
is(sql('SELECT count(*) FROM pg_replication_slots'), '0', 'nothing is left of what was refused');

create_capture($node, 'shop', q{publication => 'items'});
like(error_of(q{SELECT eventlog.create_capture('shop', publication => 'items')}), qr/"shop" already exists/, 'a name is given once');
sql(q{UPDATE item SET name = 'Apple' WHERE id = 1; DELETE FROM item WHERE id = 2; INSERT INTO item VALUES (3, 'fig', 2)});
wait_caught_up($node, 'shop');
check_rebuilt($node, 'shop', 'item', 'id');
is(sql(q{SELECT string_agg(coalesce(value->>'op', 'tombstone'), ' ' ORDER BY record_offset) FROM topics."shop.public.item"}),
	'r r u d tombstone c', 'snapshot and changes');

sql(q{SELECT eventlog.pause_capture('shop')});
wait_capture($node, 'shop', 'paused');
is(worker_pid($node, 'decoder') // '', '', 'a paused capture has no workers');
sql(q{INSERT INTO item VALUES (4, 'kiwi', 3)});
is(records('shop.public.item'), '6', 'and captures nothing');
sql(q{SELECT eventlog.resume_capture('shop')});
wait_capture($node, 'shop', 'streaming');
wait_caught_up($node, 'shop');
check_rebuilt($node, 'shop', 'item', 'id', title => 'resumed');

sql(q{SELECT eventlog.alter_capture('shop', config => '{"tombstones.on.delete": "false"}')});
wait_capture($node, 'shop', 'streaming');
sql(q{DELETE FROM item WHERE id = 4});
wait_caught_up($node, 'shop');
is(sql(q{SELECT value->>'op' FROM topics."shop.public.item" ORDER BY record_offset DESC LIMIT 1}), 'd', 'altered: no tombstone any more');
like(error_of(q{SELECT eventlog.alter_capture('shop', config => '{"no.such.key": 1}')}), qr/no\.such\.key/, 'what is wrong is not altered');
is(capture_is($node, 'shop', 'state'), 'streaming', 'and disturbs nothing');

$node->restart;
wait_capture($node, 'shop', 'streaming');
sql(q{INSERT INTO item VALUES (5, 'lime', 0.30)});
wait_caught_up($node, 'shop');
check_rebuilt($node, 'shop', 'item', 'id', title => 'after a restart');

sql(q{SELECT eventlog.drop_capture('shop')});
is(sql('SELECT count(*) FROM pg_replication_slots'), '0', 'dropped, slot and all');
is(sql('SELECT count(*) FROM eventlog.captures'), '0', 'and not in the view');
is(sql('SELECT count(*) FROM pg_replication_origin'), '0', 'no replication origin is left');
isnt(records('shop.public.item'), '0', 'its topics stay');
sql(q{SELECT eventlog.drop_topic('shop.public.item')});

# ---- rolled back ----

sql(q{BEGIN; SELECT eventlog.create_capture('never', publication => 'items'); ROLLBACK});
is(sql('SELECT (SELECT count(*) FROM eventlog.captures), (SELECT count(*) FROM pg_replication_slots)'), '0|0', 'creating is rolled back');

# ---- no loop, and nothing of our own ----

create_capture($node, 'all', q{publication => 'everything', config => '{"snapshot.mode": "no_data"}'});
sql(q{CREATE TABLE none (); INSERT INTO none DEFAULT VALUES});
wait_caught_up($node, 'all');
is(sql(q{SELECT value->'after' FROM topics."all.public.none"}), '{}', 'a row without columns is a row');
sql(q{SELECT eventlog.create_topic('other', 1, 'text', 'text')});
sql(q{SELECT eventlog.produce('other', null, i::text) FROM generate_series(1, 1000) i});
sql(q{SELECT eventlog.create_group('g', 'other'); SELECT count(*) FROM eventlog.consume('g', 'other', 10)});
sql(q{INSERT INTO item VALUES (10, 'one', 1)});
wait_caught_up($node, 'all');
is(sql(q{SELECT string_agg(topic, ' ' ORDER BY topic) FROM eventlog.topics WHERE topic LIKE 'all.%'}), 'all.public.item all.public.none',
	'FOR ALL TABLES: only what is the user\'s');
is(records('all.public.item'), '1', 'once');

# ---- an idle database ----

sub lsn_diff { return sql("SELECT pg_wal_lsn_diff('$_[1]', '$_[0]')::bigint") }

$node->safe_psql('postgres', 'CREATE DATABASE busy');
my $confirmed = sql(q{SELECT confirmed_flush_lsn FROM pg_replication_slots});
$node->safe_psql('busy', 'CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 50000) i');
my $busy = sql('SELECT pg_current_wal_flush_lsn()');
ok($node->poll_query_until('postgres', "SELECT bool_and(confirmed_flush_lsn >= '$busy') FROM pg_replication_slots"),
	'nothing is published, and yet the slot moves on past what another database writes');
ok($node->poll_query_until('postgres', <<SQL), 'and so does what it retains');
SELECT bool_and(restart_lsn >= '$confirmed') FROM pg_replication_slots
SQL
sql('CHECKPOINT');
wait_caught_up($node, 'all');
my $written;
foreach (1 .. 10)
{
	# the first use of a page after a checkpoint may still come, of whomever
	my $before = sql('SELECT pg_current_wal_insert_lsn()');

	usleep(3_000_000);
	$written = lsn_diff($before, sql('SELECT pg_current_wal_insert_lsn()'));
	last if $written < 1000;
}
cmp_ok($written, '<', 1000, 'and an idle capture writes next to no WAL');

# ---- a large transaction, with parts that are rolled back ----

sql('CREATE TABLE large (id int PRIMARY KEY, v text)');
sql(<<'SQL');
BEGIN;
INSERT INTO large SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
SAVEPOINT a;
INSERT INTO large SELECT i, 'rolled back' FROM generate_series(20001, 40000) i;
UPDATE large SET v = 'rolled back';
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO large SELECT i, md5(i::text) FROM generate_series(20001, 30000) i;
SAVEPOINT c;
DELETE FROM large WHERE id % 2 = 0;
ROLLBACK TO c;
RELEASE b;
DELETE FROM large WHERE id % 3 = 0;
ALTER TABLE large ADD COLUMN w int;
UPDATE large SET w = id WHERE id <= 10;
COMMIT;
SQL
sql('BEGIN; INSERT INTO large SELECT i, md5(i::text) FROM generate_series(50001, 90000) i; ROLLBACK');
wait_caught_up($node, 'all');
check_rebuilt($node, 'all', 'large', 'id', title => 'a large transaction');
is(sql(q{SELECT count(*) FROM topics."all.public.large" WHERE value->'after'->>'v' = 'rolled back' OR (key->>'id')::int > 50000}),
	'0', 'nothing that was rolled back');

# Two that overlap, in the order of their commits.
{
	my ($a, $b) = map { open_session($node, $_) } qw(a b);

	run_sql($a, 'BEGIN; UPDATE large SET v = \'a1\' WHERE id <= 3000');
	run_sql($b, 'BEGIN; UPDATE large SET v = \'b1\' WHERE id BETWEEN 10000 AND 13000');
	run_sql($a, 'UPDATE large SET v = \'a2\' WHERE id <= 3000; INSERT INTO item VALUES (20, \'a\', 1)');
	run_sql($b, 'UPDATE large SET v = \'b2\' WHERE id BETWEEN 10000 AND 13000; INSERT INTO item VALUES (21, \'b\', 1); COMMIT');
	run_sql($a, 'COMMIT');
	close_sessions($a, $b);
	wait_caught_up($node, 'all');
	check_rebuilt($node, 'all', 'large', 'id', title => 'two at once');
	is(sql(q{SELECT string_agg(key->>'id', ' ' ORDER BY record_offset) FROM topics."all.public.item" WHERE key->>'id' LIKE '2_'}),
		'21 20', 'in the order of commits');
}

# ---- prepared transactions ----

sql(q{BEGIN; INSERT INTO item VALUES (30, 'prepared', 1); PREPARE TRANSACTION 'p1'});
sql(q{BEGIN; INSERT INTO item VALUES (31, 'given up', 1); PREPARE TRANSACTION 'p2'});
sql(q{INSERT INTO item VALUES (32, 'meanwhile', 1)});
wait_caught_up($node, 'all');
is(sql(q{SELECT count(*) FROM topics."all.public.item" WHERE key->>'id' IN ('30', '31')}), '0', 'prepared is not committed');
sql(q{ROLLBACK PREPARED 'p2'});
$node->restart;
sql(q{COMMIT PREPARED 'p1'});
wait_capture($node, 'all', 'streaming');
wait_caught_up($node, 'all');
is(sql(q{SELECT string_agg(key->>'id', ' ' ORDER BY record_offset) FROM topics."all.public.item" WHERE key->>'id' LIKE '3_'}),
	'32 30', 'what was prepared comes with COMMIT PREPARED, after a restart as well');

# ---- tables as they were ----

sql(q{SELECT eventlog.pause_capture('all')});
wait_capture($node, 'all', 'paused');
sql(<<'SQL');
CREATE TABLE shape (id int PRIMARY KEY, a text, b int);
INSERT INTO shape VALUES (1, 'first', 1);
ALTER TABLE shape RENAME COLUMN a TO c;
INSERT INTO shape VALUES (2, 'second', 2);
ALTER TABLE shape DROP COLUMN b;
INSERT INTO shape VALUES (3, 'third');
ALTER TABLE shape ADD COLUMN d numeric;
ALTER TABLE shape ALTER COLUMN id TYPE bigint;
INSERT INTO shape VALUES (5000000000, 'fourth', 4.50);
ALTER TABLE shape DROP CONSTRAINT shape_pkey, ADD PRIMARY KEY (c);
INSERT INTO shape VALUES (5, 'fifth', 5);
ALTER TABLE shape RENAME TO form;
INSERT INTO form VALUES (6, 'sixth', 6);
DROP TABLE form;
CREATE TABLE form (x int PRIMARY KEY);
INSERT INTO form VALUES (7);
SQL
sql(q{SELECT eventlog.resume_capture('all')});
wait_capture($node, 'all', 'streaming');
wait_caught_up($node, 'all');
is(sql(q{SELECT key || ' ' || (value->'after') FROM topics."all.public.shape" ORDER BY record_offset}), <<'ROWS' =~ s/\n\z//r,
{"id":1} {"id":1,"a":"first","b":1}
{"id":2} {"id":2,"c":"second","b":2}
{"id":3} {"id":3,"c":"third"}
{"id":5000000000} {"id":5000000000,"c":"fourth","d":"4.50"}
{"c":"fifth"} {"id":5,"c":"fifth","d":"5"}
ROWS
	'rows are read as what they were, keys and all');
is(sql(q{SELECT key || ' ' || (value->'after') FROM topics."all.public.form" ORDER BY record_offset}), <<'ROWS' =~ s/\n\z//r,
{"c":"sixth"} {"id":6,"c":"sixth","d":"6"}
{"x":7} {"x":7}
ROWS
	'tables that have had the same name');

# ---- dropped tables and publications ----

sql(q{INSERT INTO child VALUES (1, null); DROP TABLE child; INSERT INTO parent VALUES (1)});
wait_caught_up($node, 'all');
is(join(' ', records('all.public.child'), records('all.public.parent')), '1 1', 'a table is dropped');

my $items = records('all.public.item');
sql(q{DROP PUBLICATION everything});
sql(q{INSERT INTO item VALUES (40, 'unpublished', 1)});
wait_capture($node, 'all', q{last_error LIKE 'publication "everything" did not exist at %'});
is(records('all.public.item'), $items, 'a publication that is dropped: nothing is captured, and this is said');
sql(q{CREATE PUBLICATION everything FOR ALL TABLES; INSERT INTO item VALUES (41, 'published', 1)});
wait_caught_up($node, 'all');
is(sql(q{SELECT string_agg(key->>'id', ' ' ORDER BY record_offset) FROM topics."all.public.item" WHERE key->>'id' LIKE '4_'}), '41',
	'it goes on with one of that name');
sql(q{SELECT eventlog.drop_capture('all')});

# ---- rights ----

sql(<<'SQL');
CREATE ROLE plain LOGIN;
CREATE ROLE capturer LOGIN REPLICATION;
CREATE SCHEMA AUTHORIZATION capturer;
GRANT CREATE ON SCHEMA topics TO capturer, plain;
CREATE TABLE guarded (id int PRIMARY KEY, v text);
INSERT INTO guarded VALUES (1, 'a');
CREATE PUBLICATION guard FOR TABLE guarded;
SQL
like(error_of(q{SELECT eventlog.create_capture('mine', publication => 'guard')}, user => 'plain'), qr/permission denied|REPLICATION/, 'needs REPLICATION');
like(error_of(q{SELECT eventlog.create_capture('mine', publication => 'guard')}, user => 'capturer'), qr/permission denied for table "public.guarded"/, 'and SELECT on what is published');
is(sql('SELECT count(*) FROM pg_replication_slots'), '0', 'no slot is left behind');
sql('GRANT SELECT ON guarded TO capturer');
is(error_of(q{SELECT eventlog.create_capture('mine', publication => 'guard')}, user => 'capturer'), '', 'with both one may');
wait_capture($node, 'mine', 'streaming');
sql(q{INSERT INTO guarded VALUES (2, 'b')});
wait_caught_up($node, 'mine');
is(records('mine.public.guarded'), '2', 'and it works');
like(error_of(qq{SELECT eventlog.${_}_capture('mine')}, user => 'plain'), qr/permission denied|must be owner/, "nobody else may $_ it") foreach qw(pause resume drop);

sql(q{REVOKE SELECT ON guarded FROM capturer});
sql(q{INSERT INTO guarded VALUES (3, 'secret')});
fails_with('mine', qr/permission denied for table "public.guarded"/, 'SELECT revoked: it stops');
is(records('mine.public.guarded'), '2', 'and nothing more is told');
sql(q{GRANT SELECT ON guarded TO capturer});
sql(q{SELECT eventlog.resume_capture('mine')}) if capture_is($node, 'mine', 'state') ne 'streaming';
wait_capture($node, 'mine', 'streaming');
wait_caught_up($node, 'mine');
check_rebuilt($node, 'mine', 'guarded', 'id', title => 'granted again, nothing is missing');

sql(q{REVOKE INSERT ON topics."mine.public.guarded" FROM capturer; ALTER TABLE topics."mine.public.guarded" OWNER TO postgres});
sql(q{INSERT INTO guarded VALUES (4, 'd')});
fails_with('mine', qr/permission denied/, 'INSERT on the topic is needed, too');
sql(q{GRANT INSERT ON topics."mine.public.guarded" TO capturer});
sql(q{SELECT eventlog.resume_capture('mine')}) if capture_is($node, 'mine', 'state') ne 'streaming';
wait_capture($node, 'mine', 'streaming');
wait_caught_up($node, 'mine');
check_rebuilt($node, 'mine', 'guarded', 'id', title => 'the same there');

sql(q{ALTER ROLE capturer NOREPLICATION});
$node->restart;
fails_with('mine', qr/role "capturer" may not capture changes/, 'REPLICATION taken away');
sql(q{ALTER ROLE capturer REPLICATION});
sql(q{SELECT eventlog.resume_capture('mine')}) if capture_is($node, 'mine', 'state') ne 'streaming';
wait_capture($node, 'mine', 'streaming');

# ---- a lost slot ----

sql(q{SELECT eventlog.pause_capture('mine')});
wait_capture($node, 'mine', 'paused');
sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots});
sql(q{INSERT INTO guarded VALUES (5, 'missed')});
sql(q{SELECT eventlog.resume_capture('mine')});
fails_with('mine', qr/slot/, 'a slot that is gone is not made anew in silence');
like(capture_is($node, 'mine', 'last_error'), qr/[0-9A-F]+\/[0-9A-F]+/, 'from where on something may be missing is said');
is(records('mine.public.guarded'), '4', 'and nothing goes on as if nothing were');
sql(q{SELECT eventlog.drop_capture('mine')});

# With snapshot.mode = when_needed there is another snapshot.
sql(q{SELECT eventlog.drop_topic('mine.public.guarded')});
create_capture($node, 'again', q{publication => 'guard', config => '{"snapshot.mode": "when_needed"}'});
sql(q{SELECT eventlog.pause_capture('again')});
wait_capture($node, 'again', 'paused');
sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots});
sql(q{INSERT INTO guarded VALUES (6, 'missed')});
sql(q{SELECT eventlog.resume_capture('again')});
wait_capture($node, 'again', 'streaming');
wait_caught_up($node, 'again');
is(sql(q{SELECT count(*) FROM topics."again.public.guarded" WHERE value->'after'->>'v' = 'missed' AND value->>'op' = 'r' AND key->>'id' = '6'}),
	'1', 'when_needed: it is read anew');
sql(q{SELECT eventlog.drop_capture('again')});

# More WAL than max_slot_wal_keep_size.
create_capture($node, 'slow', q{publication => 'guard', config => '{"snapshot.mode": "no_data"}'});
sql(q{SELECT eventlog.pause_capture('slow')});
wait_capture($node, 'slow', 'paused');
sql(q{ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'});
sql(q{ALTER SYSTEM SET wal_keep_size = 0});
sql(q{ALTER SYSTEM SET max_wal_size = '32MB'});
sql(q{SELECT pg_reload_conf()});
$node->safe_psql('busy', 'CREATE TABLE t2 AS SELECT i, md5(i::text) FROM generate_series(1, 1000000) i');
sql('CHECKPOINT');
ok($node->poll_query_until('postgres', q{SELECT wal_status = 'lost' FROM pg_replication_slots}), 'a slot is invalidated');
sql(q{SELECT eventlog.resume_capture('slow')});
fails_with('slow', qr/slot|WAL/, 'that is said');
sql(q{SELECT eventlog.drop_capture('slow')});
is(sql('SELECT count(*) FROM pg_replication_slots'), '0', 'and it can be dropped');
sql(q{ALTER SYSTEM RESET ALL});
sql(q{SELECT pg_reload_conf()});

# ---- a row that cannot be told ----

sql(<<'SQL');
CREATE TABLE wide (id int PRIMARY KEY, v text);
CREATE PUBLICATION wides FOR TABLE wide;
SQL
create_capture($node, 'wide', q{publication => 'wides', config => '{"topic.creation.default.max.message.bytes": "100000"}'});
sql(q{INSERT INTO wide VALUES (1, 'small')});
sql(q{INSERT INTO wide VALUES (2, repeat('x', 200000))});
fails_with('wide', qr/"id":\s*2|\{"id": ?2\}/, 'a record that is too large: the row is named');
sql(q{SELECT eventlog.drop_capture('wide')});

# ---- databases that are dropped and copied ----

$node->safe_psql('postgres', 'CREATE DATABASE gone');
$node->safe_psql('gone', <<'SQL');
CREATE EXTENSION pg_eventlog;
CREATE TABLE t (id int PRIMARY KEY);
CREATE PUBLICATION p FOR ALL TABLES;
SQL
create_capture($node, 'c', q{publication => 'p'}, db => 'gone');
$node->safe_psql('gone', 'INSERT INTO t VALUES (1)');
wait_caught_up($node, 'c', db => 'gone');
is(error_of('DROP DATABASE gone'), '', 'a database is dropped while it is captured');
is(sql('SELECT count(*) FROM pg_replication_slots'), '0', 'and the slot with it');

$node->safe_psql('postgres', 'CREATE DATABASE model');
$node->safe_psql('model', 'CREATE EXTENSION pg_eventlog; CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR ALL TABLES');
create_capture($node, 'c', q{publication => 'p'}, db => 'model');
my ($refused, undef, $message) = $node->psql('model', 'DROP EXTENSION pg_eventlog CASCADE');
isnt($refused, 0, 'DROP EXTENSION is refused while there are captures');
is(error_of('CREATE DATABASE like_model TEMPLATE model'), '', 'a database that is captured is copied');
wait_capture($node, 'c', 'streaming', db => 'model');
is($node->safe_psql('like_model', q{SELECT state FROM eventlog.captures}), 'needs_adoption', 'the copy waits to be adopted');
$node->safe_psql('like_model', q{SELECT eventlog.drop_capture('c')});
is($node->safe_psql('model', q{SELECT state FROM eventlog.captures}), 'streaming', 'dropped there, it goes on here');
$node->safe_psql('model', q{INSERT INTO t VALUES (1)});
wait_caught_up($node, 'c', db => 'model');
is($node->safe_psql('model', q{SELECT count(*) FROM topics."c.public.t"}), '1', 'with its slot');
$node->safe_psql('model', q{SELECT eventlog.drop_capture('c')});
$node->safe_psql('model', 'DROP EXTENSION pg_eventlog CASCADE');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'model' AND backend_type LIKE 'pg_eventlog%capture%'}),
	'DROP EXTENSION without captures, and no worker is left');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, 'the server has stayed up');
$node->stop;
done_testing();
