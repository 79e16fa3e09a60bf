# The extension's own upgrade, and its removal: the SQL of an older version under
# this library, the catalogue after ALTER EXTENSION UPDATE against that of a fresh
# install, DROP EXTENSION with topics, and a server that no longer preloads the
# library.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('extension', no_extension => 1);
my $psql = sub { $node->safe_psql($_[0], $_[1]) };

# Everything that the extension owns, described.
my $describe = <<'SQL';
SET search_path = pg_catalog;
CREATE TEMP TABLE object AS
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pg_eventlog';
SELECT 'object', pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::name) FROM object ORDER BY 2;
SELECT 'function', pg_get_functiondef(objid), p.proacl FROM object JOIN pg_proc p ON p.oid = objid
	WHERE classid = 'pg_proc'::regclass ORDER BY 2;
SELECT 'view', objid::regclass, pg_get_viewdef(objid), c.reloptions, c.relacl FROM object JOIN pg_class c ON c.oid = objid
	WHERE classid = 'pg_class'::regclass AND c.relkind = 'v' ORDER BY objid::regclass::text;
SELECT 'column', attrelid::regclass, attnum, attname, atttypid::regtype, attnotnull, atthasdef, attgenerated, attcollation::regcollation,
		col_description(attrelid, attnum), pg_get_expr(d.adbin, d.adrelid)
	FROM object JOIN pg_attribute ON attrelid = objid LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
	WHERE classid = 'pg_class'::regclass AND attnum > 0 ORDER BY attrelid::regclass::text, attnum;
SELECT 'type', t.oid::regtype, string_agg(a.attname || ' ' || a.atttypid::regtype, ', ' ORDER BY attnum)
	FROM object JOIN pg_type t ON t.oid = objid JOIN pg_attribute a ON a.attrelid = t.typrelid
	WHERE classid = 'pg_type'::regclass GROUP BY t.oid ORDER BY t.oid::regtype::text;
SELECT 'index', pg_get_indexdef(indexrelid) FROM object JOIN pg_index ON indrelid = objid
	WHERE classid = 'pg_class'::regclass ORDER BY 2;
SELECT 'constraint', conrelid::regclass, conname, pg_get_constraintdef(c.oid) FROM object JOIN pg_constraint c ON conrelid = objid
	WHERE classid = 'pg_class'::regclass ORDER BY 2, 3;
SELECT 'trigger', pg_get_triggerdef(t.oid) FROM object JOIN pg_trigger t ON tgrelid = objid
	WHERE classid = 'pg_class'::regclass AND NOT tgisinternal ORDER BY 2;
SELECT 'dumped', unnest(extconfig)::regclass, unnest(extcondition) FROM pg_extension WHERE extname = 'pg_eventlog' ORDER BY 2;
SQL

$psql->('postgres', 'CREATE DATABASE fresh');
$psql->('postgres', 'CREATE DATABASE old');
$psql->('fresh', 'CREATE EXTENSION pg_eventlog');

# ---- this library under the oldest SQL ----

$psql->('old', q{CREATE EXTENSION pg_eventlog VERSION '0.1.0'});
$psql->('old', <<'SQL');
SELECT eventlog.create_topic('t', 2, 'text', 'text');
SELECT eventlog.produce('t', 'k' || i, 'v' || i, event_time => '2020-01-01') FROM generate_series(1, 1000) i;
SELECT count(*) FROM eventlog.consume('g', 't', 100, auto_commit => true);
VACUUM topics.t;
TRUNCATE topics.t;
SELECT eventlog.produce('t', 'k' || i, 'v' || i, event_time => '2020-01-01') FROM generate_series(1, 1000) i;
SELECT eventlog.add_partitions('t', 3);
SELECT eventlog.alter_topic('t', '{"compression.type": "lz4"}');
SELECT eventlog.create_topic('gone'); SELECT eventlog.drop_topic('gone');
SQL
is($psql->('old', 'SELECT count(*) FROM topics.t'), 1000, 'the library works under the SQL of 0.1.0');
my $next = $psql->('old', 'SELECT partition, high_watermark FROM eventlog.partitions ORDER BY 1');

# ---- ALTER EXTENSION UPDATE ----

$psql->('old', 'ALTER EXTENSION pg_eventlog UPDATE');
is($psql->('old', q{SELECT extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'pg_eventlog')
	FROM pg_extension WHERE extname = 'pg_eventlog'}), 't', 'updated to the newest version');
my $fresh = $psql->('fresh', $describe);
my $updated = $psql->('old', $describe);
cmp_ok(length($fresh), '>', 10_000, 'the extension can be described');
is($updated, $fresh, 'an updated extension is what a fresh one is');

$psql->('old', q{SELECT eventlog.maintain('t')}) for 1 .. 2;
is($psql->('old', 'SELECT count(*) FROM topics.t'), 1000, 'a topic from before keeps everything, however old');
is($psql->('old', 'SELECT partition, high_watermark FROM eventlog.partitions ORDER BY 1'), $next, 'and its offsets');
$psql->('old', q{SELECT eventlog.alter_topic('t', '{"retention.ms": 604800000}'); SELECT eventlog.maintain('t')});
is($psql->('old', 'SELECT count(*) FROM topics.t'), 0, 'until its owner sets a limit');

# ---- DROP EXTENSION ----

$psql->('fresh', q{SELECT eventlog.create_topic('t'); CREATE TABLE mine (n int); CREATE VIEW v AS SELECT * FROM topics.t});
my ($ret, $out, $err) = $node->psql('fresh', 'DROP EXTENSION pg_eventlog');
isnt($ret, 0, 'DROP EXTENSION does not drop topics by itself');
like($err, qr/table topics\.t depends on access method eventlog/, 'and says which');
$psql->('fresh', 'DROP EXTENSION pg_eventlog CASCADE');
is($psql->('fresh', q{SELECT to_regclass('topics.t') IS NULL AND to_regclass('v') IS NULL AND to_regclass('mine') IS NOT NULL}),
	't', 'CASCADE drops the topics, and what depends on them');
$psql->('old', 'DROP EXTENSION pg_eventlog CASCADE');

# ---- without the library ----

$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
is($psql->('old', 'SELECT 1'), 1, 'after that, a clean shutdown, the server starts without the library');
$node->stop;
done_testing();
