# Members that join, leave, hang, are cancelled and are killed at random, while
# records come: each group gets every record once.
#
# Who polls puts what it got into a table in the transaction that commits the
# offsets, so whatever becomes of a member, the table has each record once at
# the end.  One group's records also have a unique index, which makes members
# wait for those that were removed and go on; nothing refuses the others' second
# ones.  Beside the members, transactions consume for several groups and topics
# in random order.
#
# MEMBERS_SEED chooses another load, MEMBERS_SECONDS its length.

use strict;
use warnings FATAL => 'all';

use POSIX qw(WNOHANG);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use EventlogTest;

my $seed = $ENV{MEMBERS_SEED} // int(rand(1 << 30));
my $seconds = $ENV{MEMBERS_SECONDS} // 20;
srand($seed);
note "MEMBERS_SEED=$seed";

my $node = new_server('members_random', conf => <<'CONF');
fsync = off
max_connections = 60
max_prepared_transactions = 50
deadlock_timeout = 100ms
CONF
my @topics = map { "t$_" } 1 .. 4;
my @members = map { "members$_" } 1 .. 3;
my @consumers = map { "consume$_" } 1 .. 2;

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub any { return $_[ int(rand(@_)) ] }

foreach my $topic (@topics)
{
	sql("SELECT eventlog.create_topic('$topic', 3, 'text', 'text')");
	sql(join(';', map { "SELECT eventlog.create_group('$_', '$topic', config => '{\"max.poll.interval.ms\": 400}')" } @members));
	sql(join(';', map { "SELECT eventlog.create_group('$_', '$topic')" } @consumers));
}
sql(q{CREATE TABLE got (grp text, topic text, partition int, record_offset bigint);
	CREATE UNIQUE INDEX got_once ON got (topic, partition, record_offset) WHERE grp = 'members1'});

# ---- what sessions do ----

my $nprepared = 0;

sub some_topics
{
	my @some = grep { rand() < 0.6 } @topics;

	return rand() < 0.3 || !@some ? '^t' : join(',', @some);
}

sub end_of_transaction
{
	my $how = rand();

	return 'ROLLBACK;' if $how < 0.1;
	return 'SELECT FROM eventlog.commit(); COMMIT;' if $how < 0.9;
	my $gid = 'p' . $nprepared++;
	return "SELECT FROM eventlog.commit(); PREPARE TRANSACTION '$gid'; " . any('COMMIT', 'COMMIT', 'ROLLBACK') . " PREPARED '$gid';";
}

sub nap { return sprintf('SELECT pg_sleep(%.3f);', $_[0] * rand()) }

sub take
{
	my ($group, $from) = @_;

	return "INSERT INTO got SELECT '$group', topic, partition, record_offset FROM eventlog.$from;";
}

sub member
{
	my $group = any(@members);
	my $sql = "SET client_min_messages = error;\n";

	for (1 .. any(1, 1, 2))
	{
		$sql .= sprintf("SELECT FROM eventlog.subscribe('%s', '{%s}');\n", $group, some_topics());
		for (1 .. 5 + int(rand(40)))
		{
			my $poll = take($group, sprintf('poll(%d, %s)', 1 + int(rand(50)), any("'0'", "'50 ms'", "'300 ms'")));

			$sql .= 'BEGIN;' . $poll;
			$sql .= "SAVEPOINT s; $poll ROLLBACK TO s;" if rand() < 0.1;
			$sql .= "SAVEPOINT s; $poll SELECT FROM eventlog.commit(); RELEASE s; $poll" if rand() < 0.1;
			$sql .= nap(rand() < 0.04 ? 1 : 0.01);
			$sql .= 'SELECT FROM eventlog.commit(); SELECT FROM eventlog.unsubscribe();' if rand() < 0.02;
			$sql .= end_of_transaction() . "\n";
		}
		$sql .= any("SELECT FROM eventlog.unsubscribe();\n", "DISCARD ALL;\n", '');
		$group = any(@members);
	}
	return $sql;
}

sub consumer
{
	my $sql = "SET client_min_messages = error;\n";

	for (1 .. 30)
	{
		$sql .= 'BEGIN;';
		$sql .= take($_, "consume('$_', '" . any(@topics) . sprintf("', %d, %s)", 1 + int(rand(50)), any("'0'", "'20 ms'")))
		  foreach map { any(@consumers) } 1 .. 1 + int(rand(4));
		$sql .= end_of_transaction() . nap(0.05) . "\n";
	}
	return $sql;
}

sub producer
{
	my $sql = '';

	for (1 .. 50)
	{
		$sql .= 'BEGIN;';
		$sql .= sprintf("SELECT eventlog.produce('%s', null, 'x', partition => %d) FROM generate_series(1, %d);", any(@topics), int(rand(3)), 1 + int(rand(5)))
		  for 1 .. 1 + int(rand(3));
		$sql .= 'SELECT FROM eventlog.flush();' . nap(0.02) if rand() < 0.3;
		$sql .= rand() < 0.1 ? 'ROLLBACK;' : 'COMMIT;';
		$sql .= nap(0.03) . "\n";
	}
	return $sql;
}

# ---- the load ----

my %make = (member => \&member, consumer => \&consumer, producer => \&producer);
my @kinds = (('member') x 12, ('consumer') x 3, ('producer') x 2);
my @clients;
my %count;
my @unexpected;

sub start
{
	my ($kind) = @_;
	my $client = start_client($node, "\\set ON_ERROR_STOP off\n" . $make{$kind}->(), name => $kind);

	$client->{kind} = $kind;
	$count{$kind}++;
	return $client;
}

sub look_at_errors
{
	my ($client) = @_;
	my $err = slurp_file("$client->{base}.err");

	foreach my $line (split /\n/, $err)
	{
		$count{fenced}++ if $line =~ /does not belong to this member/;
		next unless $line =~ /ERROR|FATAL|PANIC|WARNING/;
		push @unexpected, "$client->{kind}: $line"
		  unless $line =~ /does not belong to this member|administrator command|user request|current transaction is aborted|has not subscribed|no transaction in progress|savepoint "s" does not exist|prepared transaction with identifier "p\d+" does not exist|removed from group|is busy|not known yet|"got_once"|deadlock detected/;
	}
	unlink(map { "$client->{base}.$_" } qw(sql out err));
}

# An orphan keeps its partitions until somebody decides.
sub end_prepared
{
	my ($age) = @_;

	foreach my $gid (split /\n/, sql("SELECT gid FROM pg_prepared_xacts WHERE prepared < now() - interval '$age'"))
	{
		$node->psql('postgres', any('COMMIT', 'ROLLBACK') . " PREPARED '$gid'");
		$count{orphans}++;
	}
}

my $admin = open_session($node, 'admin');
my $until = time + $seconds;
my $next_orphans = time;

@clients = map { start($_) } @kinds;
while (time < $until)
{
	my $victim = run_sql($admin, q{SELECT pid FROM pg_stat_activity WHERE application_name IN ('member', 'consumer') ORDER BY random() LIMIT 1});

	if ($victim =~ /^\d+$/)
	{
		my $how = rand();

		if ($how < 0.4)
		{
			run_sql($admin, "SELECT pg_terminate_backend($victim)");
			$count{killed}++;
		}
		elsif ($how < 0.8)
		{
			run_sql($admin, "SELECT pg_cancel_backend($victim)");
			$count{cancelled}++;
		}
		elsif (kill('STOP', $victim))
		{
			usleep(500_000);
			kill 'CONT', $victim;
			$count{stopped}++;
		}
	}
	if (rand() < 0.02)
	{
		# partitions come while members run
		my $topic = any(@topics);
		run_sql($admin, "SELECT eventlog.add_partitions('$topic', 1 + partitions) FROM (SELECT count(*)::int AS partitions FROM eventlog.partitions WHERE topic = '$topic') x");
		$count{partitions}++;
	}
	if (time > $next_orphans)
	{
		end_prepared('700 ms');
		$next_orphans = time + 0.5;
	}
	foreach my $client (@clients)
	{
		next if waitpid($client->{pid}, WNOHANG) == 0;
		look_at_errors($client);
		$client = start($client->{kind});
	}
	usleep(50_000);
}

# nobody is disturbed any more
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('member', 'consumer', 'producer')});
my $left = 10 * $PostgreSQL::Test::Utils::timeout_default;
while (@clients && $left-- > 0)
{
	@clients = grep { waitpid($_->{pid}, WNOHANG) == 0 || (look_at_errors($_), 0)[1] } @clients;
	end_prepared('1 s');
	usleep(100_000);
}
is(scalar(@clients), 0, 'all sessions come to their ends');
end_prepared('0 s');
note(join(', ', map { "$_: $count{$_}" } sort keys %count));
is(join("\n", @unexpected[ 0 .. ($#unexpected > 4 ? 4 : $#unexpected) ]), '', 'no unexpected error');
is(sql('SELECT count(*) FROM eventlog.group_members'), '0', 'no members are left');
cmp_ok($count{fenced} // 0, '>', 0, 'members were fenced');

# ---- the rest, and the sum ----

foreach my $group (@members)
{
	my $psql = open_session($node, "rest of $group");
	my $n = 1;

	run_sql($psql, "SELECT FROM eventlog.subscribe('$group', '{^t}')");
	while ($n > 0)
	{
		my $out = run_sql($psql, "BEGIN; WITH i AS (INSERT INTO got SELECT '$group', topic, partition, record_offset FROM eventlog.poll(5000) RETURNING 1) SELECT count(*) FROM i; SELECT FROM eventlog.commit(); COMMIT");
		($n) = $out =~ /^(\d+)$/ or die "rest of $group: $out";
	}
	close_sessions($psql);
}
foreach my $group (@consumers)
{
	foreach my $topic (@topics)
	{
		my $n = 1;
		$n = sql("BEGIN; WITH i AS (INSERT INTO got SELECT '$group', topic, partition, record_offset FROM eventlog.consume('$group', '$topic', 5000) RETURNING 1) SELECT count(*) FROM i; SELECT FROM eventlog.commit(); COMMIT") while $n > 0;
	}
}
foreach my $group (@members, @consumers)
{
	foreach my $topic (@topics)
	{
		my ($records, $missing, $more) = split /\|/, sql(qq{SELECT count(*), count(*) FILTER (WHERE g.n IS NULL), count(*) FILTER (WHERE g.n > 1 OR t.value IS NULL)
			FROM (SELECT partition, record_offset, count(*) AS n FROM got WHERE grp = '$group' AND topic = '$topic' GROUP BY 1, 2) g
				FULL JOIN topics."$topic" t USING (partition, record_offset)});
		is("$missing $more", '0 0', "$group: all $records records of $topic, each once");
	}
}

# Two members that were removed, each with rows of its own in the way of the
# other's, can wait for each other in that unique index; in nothing else.
my $log = slurp_file($node->logfile);
my @deadlocks = grep { !/while inserting index tuple .* in relation "got_once"/ }
  $log =~ /ERROR:  deadlock detected(.*?)STATEMENT:/sg;
is(join('', @deadlocks), '', 'no deadlock but in the unique index of the table that members fill');
unlike($log, qr/PANIC|was terminated by signal/, 'no crash');
close_sessions($admin);
$node->stop;
done_testing();
