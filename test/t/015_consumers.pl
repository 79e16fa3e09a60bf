# No record is skipped and none is delivered twice, whatever order transactions
# append and commit in: producers that sleep, flush early, abort and roll back
# to savepoints run at the same time as consumers in READ COMMITTED and in
# REPEATABLE READ, which themselves roll back now and then, as one that reads by
# offset, and as VACUUM.  In the end each group has received just what was
# committed, in the order of each partition.  Backends are killed on the way:
# their records go to the next consumer.
#
# CONSUMERS_SEED chooses another load; it is printed.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $seed = $ENV{CONSUMERS_SEED} // int(rand(1 << 30));
srand($seed);
note "CONSUMERS_SEED=$seed";

my $node = new_server('consumers', conf => <<'CONF');
fsync = off
max_connections = 40
shared_buffers = 16MB
restart_after_crash = on
CONF
my $partitions = 3;

$node->safe_psql('postgres', <<SQL);
SELECT eventlog.create_topic('busy', $partitions, 'text', 'text', '{"segment.bytes": 1048576}');
SELECT eventlog.create_group('committed', 'busy');
SELECT eventlog.create_group('repeatable', 'busy');
CREATE TABLE got (n bigserial, grp text, partition int, record_offset bigint, value text, PRIMARY KEY (grp, partition, record_offset));
CREATE TABLE sent (value text PRIMARY KEY);
CREATE TABLE reader_position (partition int PRIMARY KEY, next_offset bigint NOT NULL);
INSERT INTO reader_position SELECT i, 0 FROM generate_series(0, $partitions - 1) i;
-- reads by offset, without a group
CREATE FUNCTION read_on() RETURNS bigint LANGUAGE plpgsql AS \$\$
DECLARE p reader_position; total bigint := 0; n bigint;
BEGIN
	FOR p IN SELECT * FROM reader_position ORDER BY partition FOR UPDATE LOOP
		INSERT INTO got (grp, partition, record_offset, value)
			SELECT 'reader', r.partition, r.record_offset, convert_from(r.value, 'UTF8') FROM eventlog.read('busy', p.partition, p.next_offset, 200) r;
		GET DIAGNOSTICS n = ROW_COUNT;
		total := total + n;
		UPDATE reader_position SET next_offset = (SELECT max(record_offset) + 1 FROM got g WHERE g.grp = 'reader' AND g.partition = p.partition)
			WHERE partition = p.partition AND n > 0;
	END LOOP;
	RETURN total;
END
\$\$;
SQL

sub producer
{
	my ($worker, $ntx) = @_;
	my $sql = "SET synchronous_commit = off;\n";

	for my $t (1 .. $ntx)
	{
		my $id = "w${worker}t$t";
		my $p = int(rand($partitions));
		my $sleep = sprintf('SELECT pg_sleep(%.4f);', rand(0.02));
		my $send = sub {
			my ($v, $where) = @_;
			return "INSERT INTO sent VALUES ('$v'); SELECT eventlog.produce('busy', '$v', '$v', partition => $where);\n";
		};
		my $flush = 'SELECT count(*) FROM eventlog.flush();';
		my $kind = int(rand(6));

		$sql .= 'BEGIN;' . $send->("$id.1", $p);
		$sql .= $flush . $sleep if $kind == 1 || $kind == 2;
		$sql .= 'SAVEPOINT s;' . $send->("$id.lost", $p) . $flush . 'ROLLBACK TO s;' if $kind == 2 || $kind == 3;
		$sql .= 'SAVEPOINT s;' . $send->("$id.kept", ($p + 1) % $partitions) . ($t % 2 ? $flush : '') . 'RELEASE s;' if $kind == 3;
		$sql .= $sleep . $send->("$id.2", $p);
		$sql .= $flush . $sleep . 'ROLLBACK;' if $kind == 4;
		$sql .= "COMMIT;\n" if $kind != 4;
	}
	return $sql;
}

sub consumer
{
	my ($group, $begin, $ncalls) = @_;
	my $sql = "\\set ON_ERROR_STOP off\n";

	for my $i (1 .. $ncalls)
	{
		my $n = 1 + int(rand(60));
		my $take = "INSERT INTO got (grp, partition, record_offset, value) SELECT '$group', partition, record_offset, convert_from(value, 'UTF8')"
		  . " FROM eventlog.consume('$group', 'busy', $n);";

		$sql .= "$begin;$take";
		$sql .= "SAVEPOINT s;$take ROLLBACK TO s;" if rand() < 0.1;
		$sql .= "$take" if rand() < 0.2;
		$sql .= rand() < 0.15 ? 'ROLLBACK;' : 'SELECT eventlog.commit(); COMMIT;';
		$sql .= sprintf("SELECT pg_sleep(%.4f);\n", rand(0.006));
	}
	return $sql;
}

my @producers = map { start_client($node, producer($_, 250), name => "producer$_") } 1 .. 5;
my @consumers = map { start_client($node, consumer('committed', 'BEGIN', 500), name => "consumer$_") } 1 .. 3;
push @consumers, map { start_client($node, consumer('repeatable', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 500), name => "repeatable$_") } 1 .. 2;
push @consumers, start_client($node, ("SELECT read_on(); SELECT pg_sleep(0.005);\n" x 200), name => 'reader');
push @consumers, start_client($node, ("VACUUM topics.busy; SELECT pg_sleep(0.05);\n" x 20), name => 'vacuum');

# one of each loses its connection
foreach my $name ('producer5', 'consumer3')
{
	$node->poll_query_until('postgres', q{SELECT count(*) > 50 FROM got});
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '$name'");
}
foreach my $client (@producers, @consumers)
{
	my ($status, $out, $err) = finish_client($client);
	$err =~ s/^psql:<stdin>:\d+: //mg;
	my @unexpected = grep { /ERROR|FATAL|PANIC/ && !/could not serialize access|current transaction is aborted|savepoint "s" does not exist|administrator command/ } split /\n/, $err;

	is("@unexpected[0 .. ($#unexpected > 2 ? 2 : $#unexpected)]", '', "$client->{name}: no unexpected error");
}

# the rest
foreach my $group ('committed', 'repeatable')
{
	my $left = 1000;
	while ($left-- > 0)
	{
		my $n = $node->safe_psql('postgres', qq{BEGIN;
			WITH taken AS (INSERT INTO got (grp, partition, record_offset, value) SELECT '$group', partition, record_offset, convert_from(value, 'UTF8')
				FROM eventlog.consume('$group', 'busy', 500) RETURNING 1) SELECT count(*) FROM taken;
			SELECT eventlog.commit(); COMMIT});
		last if $n =~ /^0\b/;
	}
}
while ($node->safe_psql('postgres', 'SELECT read_on()') ne '0') { }

my $committed = $node->safe_psql('postgres', 'SELECT count(*) FROM sent');
cmp_ok($committed, '>', 300, "$committed records were committed");
is($node->safe_psql('postgres', q{SELECT count(*) FROM sent FULL JOIN topics.busy t ON t.value = sent.value WHERE t.value IS NULL OR sent.value IS NULL}),
	'0', 'the log holds what was committed');
foreach my $group ('committed', 'repeatable', 'reader')
{
	is($node->safe_psql('postgres', qq{SELECT count(*), count(*) FILTER (WHERE g.value IS NULL), count(*) FILTER (WHERE t.value IS NULL)
		FROM (SELECT * FROM got WHERE grp = '$group') g FULL JOIN topics.busy t USING (partition, record_offset, value)}),
		"$committed|0|0", "$group: delivered is what was committed, each record once");
	is($node->safe_psql('postgres', qq{SELECT count(*) FROM (SELECT record_offset, lag(record_offset) OVER (PARTITION BY partition ORDER BY n) AS before
		FROM got WHERE grp = '$group') x WHERE record_offset <= before}), '0', "$group: in the order of each partition");
}
$node->stop;
done_testing();
