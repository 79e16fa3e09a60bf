# Servers that are set up otherwise, and damaged files.
#
#	- wal_level = minimal: a topic made and loaded in one transaction is there
#	  after a crash, whatever its size;
#	- without shared_preload_libraries: a clear error, a quiet LOAD;
#	- a database in another encoding than UTF-8: refused at CREATE EXTENSION;
#	- damaged pages of every kind, with and without data checksums: the error
#	  names relation, block and offset, the server stays up, and what lies on
#	  other pages and in other partitions stays readable.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

# ---- wal_level = minimal ----

my $node = new_server('minimal', conf => <<'CONF');
wal_level = minimal
max_wal_senders = 0
fsync = on
shared_buffers = 4MB
CONF
is($node->safe_psql('postgres', 'SHOW wal_level'), 'minimal', 'wal_level is minimal');

# below and above wal_skip_threshold, which decides between WAL and fsync
foreach my $rows (10, 1000, 50_000)
{
	$node->safe_psql('postgres', <<SQL);
BEGIN;
SELECT eventlog.create_topic('new$rows', 2, 'text', 'text', '{"segment.bytes": 1048576}');
INSERT INTO topics.new$rows (partition, key, value) SELECT i % 2, i, repeat('v', 200) FROM generate_series(1, $rows) i;
SAVEPOINT s;
INSERT INTO topics.new$rows (partition, key, value) SELECT 0, 'gone', repeat('v', 200) FROM generate_series(1, $rows) i;
SELECT count(*) FROM eventlog.flush();
ROLLBACK TO s;
SELECT eventlog.produce('new$rows', 'large', repeat('x', 900000), partition => 1);
SELECT eventlog.produce('new$rows', 'last', 'last', partition => 0);
COMMIT;
SQL
}
my $ledger = ledger_new();
foreach my $rows (10, 1000, 50_000)
{
	ledger_check($ledger, $node, "new$rows", "$rows rows before the crash");
}
# in a file that TRUNCATE has made, too, twice in one transaction
$node->safe_psql('postgres', <<'SQL');
BEGIN;
TRUNCATE topics.new1000;
INSERT INTO topics.new1000 (partition, value) SELECT 0, 'gone' FROM generate_series(1, 3000) i;
TRUNCATE topics.new1000;
INSERT INTO topics.new1000 (partition, value) SELECT 0, repeat('t', 2000) FROM generate_series(1, 3000) i;
COMMIT;
SQL
delete $ledger->{rows}{new1000};
ledger_check($ledger, $node, 'new1000', 'truncated and loaded');
restart_server($node);
foreach my $rows (10, 1000, 50_000)
{
	ledger_check($ledger, $node, "new$rows", "$rows rows after the crash");
}
is($node->safe_psql('postgres', q{SELECT count(*), count(*) FILTER (WHERE key = 'gone') FROM topics.new50000}), '50002|0', 'and nothing else is');
$node->safe_psql('postgres', q{SELECT eventlog.produce('new50000', 'after', 'after the crash', partition => 1)});
is($node->safe_psql('postgres', q{SELECT value FROM topics.new50000 WHERE key = 'after'}), 'after the crash', 'the next append and read succeed');
restart_server($node);
ledger_check($ledger, $node, 'new50000', 'crashed again');

# an error while committing such a transaction leaves nothing
my ($status, $out, $err) = $node->psql('postgres', <<'SQL');
BEGIN;
SELECT eventlog.create_topic('never', 1, 'text', 'text');
SELECT eventlog.produce('never', null, 'x');
SELECT count(*) FROM eventlog.flush();
SELECT 1 / 0;
COMMIT;
SQL
like($err, qr/division by zero/, 'a transaction that fails');
is($node->safe_psql('postgres', q{SELECT to_regclass('topics.never') IS NULL}), 't', 'leaves no topic');

# ---- other encodings ----

$node->safe_psql('postgres', q{CREATE DATABASE latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
($status, $out, $err) = $node->psql('latin1', 'CREATE EXTENSION pg_eventlog');
like($err, qr/needs a database whose encoding is UTF8, and this one has LATIN1/, 'another encoding is refused');
$node->safe_psql('postgres', q{CREATE DATABASE sql_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
($status, $out, $err) = $node->psql('sql_ascii', 'CREATE EXTENSION pg_eventlog');
like($err, qr/needs a database whose encoding is UTF8/, 'no encoding is, too');

# ---- without preloading ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
($status, $out, $err) = $node->psql('postgres', q{LOAD 'pg_eventlog'; SELECT 'loaded'});
is("$status $out $err", '0 loaded ', 'LOAD without preloading says nothing');
foreach my $sql ('SELECT count(*) FROM topics.new10', q{SELECT eventlog.produce('new10', 'k', 'v')},
	q{INSERT INTO topics.new10 (partition, value) VALUES (0, 'x')}, q{SELECT eventlog.create_topic('x')},
	q{LOAD 'pg_eventlog'; SELECT count(*) FROM topics.new10}, 'TRUNCATE topics.new10', q{SELECT eventlog.drop_topic('new10')})
{
	($status, $out, $err) = $node->psql('postgres', $sql);
	like($err, qr/pg_eventlog must be loaded at server start.*shared_preload_libraries/s, "$sql: clear error with a hint");
}

# Every function of ours, with every argument null, and with some that are not:
# an error or nothing, never a crash.
my @calls = split /\n/, $node->safe_psql('postgres', <<'SQL');
WITH f AS (
	SELECT p.oid, p.proname, p.prokind, array(SELECT t::regtype::text FROM unnest(p.proargtypes) WITH ORDINALITY u(t, n) ORDER BY n) AS types
	FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	WHERE p.pronamespace = 'eventlog'::regnamespace AND l.lanname = 'c' AND p.prorettype NOT IN ('trigger'::regtype, 'table_am_handler'::regtype)
), calls AS (
	SELECT f.oid, proname, prokind, v, (SELECT string_agg(CASE
			WHEN v = 1 THEN 'null::' || CASE t WHEN '"any"' THEN 'text' WHEN 'anyelement' THEN 'topics.new10' ELSE t END
			WHEN t IN ('text', '"any"', 'name') THEN quote_literal('new10')
			WHEN t IN ('integer', 'bigint', 'smallint') THEN '0'
			WHEN t = 'jsonb' THEN '''{}''::jsonb'
			WHEN t = 'regtype' THEN '''text''::regtype'
			WHEN t = 'regclass' THEN '''topics.new10''::regclass'
			WHEN t = 'boolean' THEN 'true'
			WHEN t = 'text[]' THEN '''{a,b}''::text[]'
			WHEN t = 'interval' THEN '''0''::interval'
			ELSE 'null::' || CASE t WHEN 'anyelement' THEN 'topics.new10' ELSE t END END, ', ' ORDER BY n)
		FROM unnest(types) WITH ORDINALITY u(t, n)) AS args
	FROM f, (VALUES (1), (2)) n(v)
)
SELECT format(CASE prokind WHEN 'p' THEN 'CALL eventlog.%I(%s)' ELSE 'SELECT eventlog.%I(%s)' END, proname, args) FROM calls
SQL
cmp_ok(scalar @calls, '>=', 20, 'there are functions to call');
foreach my $call (@calls)
{
	($status, $out, $err) = $node->psql('postgres', $call);
	unlike($err, qr/connection|terminated/, "$call: no crash");
	last if $err =~ /connection|terminated/;
}
is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the server is up');
$node->safe_psql('postgres', 'CREATE DATABASE unloaded TEMPLATE template0');
($status, $out, $err) = $node->psql('unloaded', 'CREATE EXTENSION pg_eventlog');
ok($status == 0 || $err =~ /must be loaded at server start/, 'CREATE EXTENSION without preloading does no harm');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_eventlog'");
$node->restart;
ledger_check($ledger, $node, 'new50000', 'preloaded again');
$node->stop;

# ---- damage ----

# Change a byte of a stopped server's file.
sub flip
{
	my ($file, $at) = @_;

	open(my $fh, '+<:raw', $file) or die "$file: $!";
	sysseek($fh, $at, 0);
	sysread($fh, my $byte, 1);
	sysseek($fh, $at, 0);
	syswrite($fh, chr(ord($byte) ^ 0x55));
	close($fh);
}

sub damage_tests
{
	my ($checksums) = @_;
	my $with = $checksums ? 'checksums' : 'no checksums';
	my $server = PostgreSQL::Test::Cluster->new($checksums ? 'damaged' : 'damaged_plain');

	$server->init(extra => [ '--encoding=UTF8', '--no-locale', '--no-sync', ($checksums ? '--data-checksums' : ()) ]);
	$server->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_eventlog'\nautovacuum = off\n");
	$server->start;
	$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_eventlog;
SELECT eventlog.create_topic('d', 2, 'text', 'text', '{"segment.bytes": 1048576}');
INSERT INTO topics.d (partition, key, value) SELECT 0, i, repeat(md5(i::text), 10) FROM generate_series(1, 20000) i;
INSERT INTO topics.d (partition, key, value) SELECT 1, i, md5(i::text) FROM generate_series(1, 1000) i;
SQL
	my $file = leaf_file($server, 'd', 0);
	my $all = $server->safe_psql('postgres', 'SELECT sum(hashtextextended(value, record_offset)) FROM topics.d WHERE partition = 0');
	my $flat = $server->safe_psql('postgres', 'SELECT count(*), md5(string_agg(value, \',\' ORDER BY record_offset)) FROM topics.d WHERE partition = 1');


	$server->stop;
	my $pristine = slurp_file($file);
	my $pages = length($pristine) / 8192;
	$server->start;
	my @places = (
		[ 'a record',               60 * 8192 + 4000, 0 ],
		[ 'the middle of a batch',  200 * 8192 + 1000, 0 ],
		[ 'a page header',          90 * 8192 + 12, 1 ],
		[ 'a special area',         90 * 8192 + 8192 - 1, 1 ],
		[ 'a generation',           90 * 8192 + 8192 - 16, 1 ],
		[ 'the tail page',          0, 2 ]);

	foreach my $place (@places)
	{
		my ($what, $at, $kind) = @$place;
		my $name = "$with, $what";
		my $block;

		$server->stop;
		open(my $fh, '>:raw', $file) or die;
		print $fh $pristine;
		close($fh);
		if ($kind == 2)
		{
			# the last page that holds anything, the first byte of its payload
			for ($block = $pages - 1; substr($pristine, $block * 8192, 24) !~ /[^\0]/; $block--) { }
			$at = $block * 8192 + 100;
		}
		$block = int($at / 8192);
		flip($file, $at);
		$server->start;

		my ($status, $out, $err) = $server->psql('postgres', 'SELECT sum(hashtextextended(value, record_offset)) FROM topics.d WHERE partition = 0');
		isnt($status, 0, "$name: noticed");
		like($err, qr/block $block\b|Block $block\b|block \d+, byte \d+, offset \d+/i, "$name: names the block ($err)");
		like($err, qr/d:0|base\/\d+\/\d+/, "$name: names the relation");
		is($server->safe_psql('postgres', 'SELECT count(*), md5(string_agg(value, \',\' ORDER BY record_offset)) FROM topics.d WHERE partition = 1'),
			$flat, "$name: the other partition is readable");

		# of the damaged partition: everything that the damaged page does not hold
		my ($good, $bad) = (0, 0);
		foreach my $offset (map { $_ * 400 } 0 .. 49)
		{
			my ($s, $value) = $server->psql('postgres', "SELECT value = repeat(md5(($offset + 1)::text), 10) FROM topics.d WHERE partition = 0 AND record_offset = $offset");
			if ($s != 0) { $bad++ } elsif ($value eq 't') { $good++ } else { fail("$name: offset $offset: wrong value '$value'") }
		}
		cmp_ok($good, '>=', 45, "$name: other offsets of the partition are readable ($good of 50)");

		($status, $out, $err) = $server->psql('postgres', q{INSERT INTO topics.d (partition, key, value) VALUES (0, 'after', 'damage') RETURNING value});
		ok($out eq 'damage' || ($kind == 2 && $err =~ /damaged|invalid page/), "$name: producing goes on, unless the tail page is damaged ($out$err)");
		is($server->safe_psql('postgres', q{INSERT INTO topics.d (partition, key, value) VALUES (1, 'after', 'damage') RETURNING value}), 'damage', "$name: the other partition can be produced to");
		$server->safe_psql('postgres', 'SELECT eventlog.produce(\'d\', null, \'x\', partition => 1)');
		$server->safe_psql('postgres', q{DELETE FROM pg_class WHERE false});
		$flat = $server->safe_psql('postgres', 'SELECT count(*), md5(string_agg(value, \',\' ORDER BY record_offset)) FROM topics.d WHERE partition = 1');
		unlike(slurp_file($server->logfile), qr/PANIC|terminated by signal/, "$name: the server has stayed up");
	}

	# the metapage: nothing can be read, and says so
	$server->stop;
	flip($file, 24);
	$server->start;
	my ($status, $out, $err) = $server->psql('postgres', 'SELECT count(*) FROM topics."d:0"');
	like($err, qr/block 0/, "$with, the metapage: error names it ($err)");
	is($server->safe_psql('postgres', 'SELECT count(*), md5(string_agg(value, \',\' ORDER BY record_offset)) FROM topics.d WHERE partition = 1'),
		$flat, "$with, the metapage: the other partition is readable");
	$server->safe_psql('postgres', q{DROP TABLE topics.d});
	$server->stop;
}

damage_tests(0);
damage_tests(1);
done_testing();
