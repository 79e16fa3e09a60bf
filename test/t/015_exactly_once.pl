# Exactly once: what producers committed is what consumers receive
#
# Producers write a row and a record with the same number in one transaction,
# with savepoints that roll back, early appends, random waits and aborts.
# Consumers of one group in READ COMMITTED and of another in REPEATABLE READ
# write what they received to a table in the transaction that commits their
# offsets; some of them roll back.  The server is killed with signal 9 in the
# middle.  At the end, rows, records and each group's receipts are the same
# set: nothing skipped, nothing twice (a primary key sees to that), nothing
# that was rolled back.
#
# LOAD_SECONDS makes the two loads longer.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $seconds = $ENV{LOAD_SECONDS} // 4;
my $node    = new_server('once', conf => <<'CONF');
fsync = on
max_connections = 40
deadlock_timeout = 100ms
CONF

$node->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('t', 3, 'text', 'text', '{"segment.bytes": 1048576}');
SELECT eventlog.create_group('rc', 't');
SELECT eventlog.create_group('rr', 't');
CREATE SEQUENCE ids;
CREATE TABLE sent (id bigint PRIMARY KEY);
CREATE TABLE got (grp text, id bigint, p int, o bigint, PRIMARY KEY (grp, id), UNIQUE (grp, p, o));
CREATE FUNCTION send() RETURNS void LANGUAGE plpgsql AS $$
DECLARE i bigint := nextval('ids');
BEGIN
	INSERT INTO sent VALUES (i);
	IF i % 3 = 0 THEN
		INSERT INTO topics.t (key, value) VALUES (i::text, i::text);
	ELSE
		PERFORM eventlog.produce('t', CASE WHEN i % 2 = 0 THEN i::text END, i::text);
	END IF;
END $$;
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM send();
	PERFORM count(*) FROM eventlog.flush();
	PERFORM send();
	RAISE EXCEPTION 'undo';
EXCEPTION WHEN raise_exception THEN
	NULL;
END $$;
SQL

my %script = (
	producer => <<'SQL',
\set what random(1, 10)
\set wait random(0, 5)
BEGIN;
SELECT send();
\if :what <= 3
SELECT fail();
\endif
\if :what = 4
SELECT count(*) FROM eventlog.flush();
\endif
\if :what = 5
SAVEPOINT s;
SELECT send();
ROLLBACK TO s;
SELECT send();
\endif
\sleep :wait ms
SELECT send() FROM generate_series(1, :what);
\if :what = 10
ROLLBACK;
\else
COMMIT;
\endif
SQL
	rc => <<'SQL',
\set what random(1, 10)
\set n random(1, 60)
BEGIN;
INSERT INTO got SELECT 'rc', value::bigint, partition, record_offset FROM eventlog.consume('rc', null::topics.t, :n, '20 ms');
SAVEPOINT s;
INSERT INTO got SELECT 'rc', value::bigint, partition, record_offset FROM eventlog.consume('rc', null::topics.t, :n);
\if :what <= 2
ROLLBACK TO s;
\endif
SELECT eventlog.commit();
\if :what = 3
ROLLBACK;
\else
COMMIT;
\endif
SQL
	rr => <<'SQL',
\set n random(1, 60)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM sent WHERE id = 1;
INSERT INTO got SELECT 'rr', value::bigint, partition, record_offset FROM eventlog.consume('rr', null::topics.t, :n);
SELECT eventlog.commit();
COMMIT;
SQL
);

my $dir = PostgreSQL::Test::Utils::tempdir;
foreach my $name (keys %script)
{
	append_to_file("$dir/$name.sql", $script{$name});
}

sub load
{
	my ($name, $clients) = @_;
	my %run = (name => $name, out => '', err => '');

	$run{handle} = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', '--max-tries=1000', '-c', $clients, '-T', $seconds,
			'-f', "$dir/$name.sql", $node->connstr('postgres')
		],
		'<', \undef, '>', \$run{out}, '2>', \$run{err});
	return \%run;
}

sub loads
{
	return (load('producer', 6), load('rc', 4), load('rr', 3));
}

# --- a load that the server does not survive, then one that it does
my @first = loads();
select(undef, undef, undef, $seconds / 2);
restart_server($node);
foreach my $run (@first)
{
	IPC::Run::finish($run->{handle});
}
ok($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM sent') eq 't',
	'the first load committed something');

foreach my $run (loads())
{
	IPC::Run::finish($run->{handle});
	unlike($run->{err}, qr/ERROR|aborted/, "$run->{name}: no errors")
	  or diag($run->{err});
}

# --- a last record in each partition: lag counts what aborted behind the last
#     one that is received
$node->safe_psql('postgres', <<'SQL');
WITH s AS (INSERT INTO sent SELECT nextval('ids') FROM generate_series(0, 2) RETURNING id)
INSERT INTO topics.t (partition, value) SELECT row_number() OVER () - 1, id::text FROM s
SQL

# --- drain, and compare
foreach my $group ('rc', 'rr')
{
	$node->safe_psql('postgres', <<SQL);
INSERT INTO got SELECT '$group', value::bigint, partition, record_offset
FROM eventlog.consume('$group', null::topics.t, null, auto_commit => true)
SQL
	is($node->safe_psql('postgres', "SELECT count(*) FROM eventlog.consume('$group', 't')"),
		'0', "$group: nothing is left");
	is($node->safe_psql('postgres', "SELECT sum(lag) FROM eventlog.consumer_groups WHERE consumer_group = '$group'"),
		'0', "$group: no lag");
	is($node->safe_psql('postgres', <<SQL), '0', "$group received what was committed, and nothing else");
SELECT count(*) FROM (SELECT id FROM got WHERE grp = '$group') g FULL JOIN sent s USING (id)
WHERE g.id IS NULL OR s.id IS NULL
SQL
	is($node->safe_psql('postgres', <<SQL), '0', "$group: where it received it is where it is");
SELECT count(*) FROM topics.t t FULL JOIN (SELECT * FROM got WHERE grp = '$group') g
	ON t.partition = g.p AND t.record_offset = g.o AND t.value = g.id::text
WHERE t.partition IS NULL OR g.grp IS NULL
SQL
}
note($node->safe_psql('postgres', q{SELECT count(*) || ' committed' FROM sent}));

$node->stop;
done_testing();
