# The launcher and the maintenance workers: they run, say what they do, get out
# of the way of DROP DATABASE and CREATE DATABASE, back off after errors, stop
# when told to, and never take the server down.
#
# Settings of a database (ALTER DATABASE ... SET) reach its workers: that is how
# a worker is made to stop or to fail at the point "maintain".

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

my $node = new_server('workers', streaming => 1, conf => <<'CONF');
eventlog.maintenance_interval = '100ms'
max_worker_processes = 8
CONF

# One value of the maintenance row of a database.
sub worker
{
	my ($database, $expression) = @_;

	return $node->safe_psql('postgres',
		"SELECT $expression FROM eventlog.workers WHERE kind = 'maintenance' AND database = '$database'");
}

sub wait_worker
{
	my ($database, $condition, $name) = @_;

	return ok($node->poll_query_until('postgres',
			"SELECT coalesce((SELECT $condition FROM eventlog.workers WHERE kind = 'maintenance' AND database = '$database'), false)"),
		$name)
	  || diag($node->safe_psql('postgres', 'TABLE eventlog.workers'));
}

# Runs go on: at least two more come to their end without an error.
sub wait_runs
{
	my ($database, $name) = @_;
	my $runs = worker($database, 'runs') || 0;

	return wait_worker($database, "runs >= $runs + 2 AND failures = 0", $name);
}

sub stayed_up
{
	my ($name) = @_;

	unlike(slurp_file($node->logfile), qr/PANIC|was terminated by signal|all server processes terminated/,
		"$name: the server has stayed up");
}

# ---- they run ----

wait_runs('postgres', 'runs appear after CREATE EXTENSION');
is($node->safe_psql('postgres', q{SELECT pid IS NOT NULL AND state = 'idle' AND runs >= 2 AND failures = 0 AND database IS NULL FROM eventlog.workers WHERE kind = 'launcher'}),
	't', 'the launcher is in the view');
is($node->safe_psql('postgres', q{SELECT a.backend_type FROM pg_stat_activity a JOIN eventlog.workers w USING (pid) WHERE w.kind = 'launcher'}),
	'pg_eventlog launcher', 'and in pg_stat_activity');
is(worker('postgres', 'finished_at >= started_at OR pid IS NOT NULL'), 't', 'start and end of a run');
is(worker('postgres', q{last_error IS NULL AND last_error_at IS NULL}), 't', 'no error');

# A database without the extension is looked at rarely, one with it at once.
$node->safe_psql('postgres', 'CREATE DATABASE other');
wait_worker('other', q{state = 'no extension' AND next_run_at > now() + interval '1 min' AND runs = 0},
	'a database without the extension');
$node->safe_psql('other', 'BEGIN; CREATE EXTENSION pg_eventlog; ROLLBACK');
is(worker('other', 'state'), 'no extension', 'CREATE EXTENSION rolled back: still none');
$node->safe_psql('other', 'CREATE EXTENSION pg_eventlog');
wait_runs('other', 'CREATE EXTENSION is noticed');
$node->safe_psql('other', 'DROP EXTENSION pg_eventlog');
wait_worker('other', q{state = 'no extension'}, 'DROP EXTENSION is noticed');
$node->safe_psql('other', 'CREATE EXTENSION pg_eventlog');
wait_runs('other', 'and that it is there again');

# Who sees what.
$node->safe_psql('postgres', 'CREATE ROLE nobody; CREATE ROLE watcher IN ROLE pg_monitor');
is($node->safe_psql('postgres', q{SET ROLE nobody; SELECT string_agg(database, ',') FROM eventlog.workers}),
	'postgres', 'anybody sees the workers of the current database');
is($node->safe_psql('postgres', q{SET ROLE nobody; SELECT count(*) FROM eventlog.worker_status() WHERE kind = 'launcher'}),
	'0', 'and no more by the function');
is($node->safe_psql('postgres', q{SET ROLE watcher; SELECT count(*) > 2 FROM eventlog.workers}),
	't', 'pg_monitor sees all');

# ---- databases come and go ----

$node->safe_psql('other', q{SELECT eventlog.create_topic('t', 2)});
wait_runs('other', 'with a topic');
my @failed;
foreach my $i (1 .. 20)
{
	# ends both the template's worker and that of the database that is dropped
	my ($status, $out, $err) = $node->psql('postgres', "CREATE DATABASE copy TEMPLATE other");
	push @failed, $err if $status;
	usleep(20_000 * ($i % 8));
	($status, $out, $err) = $node->psql('postgres', 'DROP DATABASE copy');
	push @failed, $err if $status;
}
is("@failed", '', 'CREATE DATABASE ... TEMPLATE and DROP DATABASE, 20 times');
wait_runs('other', 'the template is maintained again');
is(worker('copy', '1'), '', 'a dropped database is not in the view');

# With workers that would stay for ever: the hook has to send them away.
pause_on($node);
$node->safe_psql('postgres', q{ALTER DATABASE other SET eventlog.pause_at = 'maintain'});

sub wait_paused
{
	wait_worker('other', q{state = 'running' AND activity = 'maintaining topic "t"'}, shift);
	return worker('other', 'pid');
}

my $pid = wait_paused('a worker in the middle of its work');
is($node->safe_psql('postgres', "SELECT backend_type, datname, query FROM pg_stat_activity WHERE pid = $pid"),
	'pg_eventlog maintenance|other|maintaining topic "t"', 'its progress in pg_stat_activity');
my ($status, $out, $err) = $node->psql('postgres', 'CREATE DATABASE copy TEMPLATE other');
is("$status $err", '0 ', 'CREATE DATABASE while a worker works in the template');
$node->safe_psql('postgres', 'DROP DATABASE copy');
wait_paused('it comes back');
($status, $out, $err) = $node->psql('postgres', 'ALTER DATABASE other RENAME TO another');
is("$status $err", '0 ', 'ALTER DATABASE ... RENAME');
$node->safe_psql('postgres', 'ALTER DATABASE another RENAME TO other');
wait_paused('and back');
($status, $out, $err) = $node->psql('postgres', "BEGIN; ALTER DATABASE other RENAME TO another; SELECT state FROM eventlog.workers WHERE database = 'another'; ROLLBACK");
is("$status $out $err", '0 blocked ', 'the database is blocked until the transaction ends');
$pid = wait_paused('and is not after a rollback');

# Those who may not do it do not end workers.
$node->safe_psql('postgres', 'CREATE ROLE guest LOGIN');
foreach my $sql ('DROP DATABASE other', 'CREATE DATABASE copy2 TEMPLATE other', 'ALTER DATABASE other RENAME TO copy2')
{
	($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'guest' ]);
	like($err, qr/must be owner|permission denied/, "refused: $sql");
}
is(worker('other', 'pid'), $pid, 'the worker is still the same');
is($node->safe_psql('postgres', q{SELECT count(*) FROM eventlog.workers WHERE state = 'blocked'}), '0', 'nothing is blocked');

# An interrupted statement leaves no block behind.
foreach my $sql ('DROP DATABASE other', 'CREATE DATABASE copy2 TEMPLATE other')
{
	my $busy = $node->background_psql('other');
	my $name = $sql =~ /^(\w+)/ ? $1 : '';
	my $client = start_client($node, $sql, name => $name);
	$client->{backend} = wait_for_backend($node, $name, "query LIKE '%other%'");
	wait_worker('other', q{state = 'blocked'}, "$sql blocks");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($client->{backend})");
	finish_client($client);
	$busy->quit;
	wait_paused("$sql, terminated: a worker comes back");
}

# The tablespace moves, too.
my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");
($status, $out, $err) = $node->psql('postgres', 'ALTER DATABASE other SET TABLESPACE elsewhere');
is("$status $err", '0 ', 'ALTER DATABASE ... SET TABLESPACE');
wait_paused('and a worker comes back');
$node->safe_psql('postgres', 'ALTER DATABASE other SET TABLESPACE pg_default');
$node->safe_psql('postgres', 'DROP TABLESPACE elsewhere');
$pid = wait_paused('twice');

# ---- signals ----

$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_worker('other', "pid IS DISTINCT FROM $pid", 'a terminated worker goes');
is(worker('other', 'failures'), '0', 'which is no failure');
wait_paused('and another one comes');

my $launcher = $node->safe_psql('postgres', q{SELECT pid FROM eventlog.workers WHERE kind = 'launcher'});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
ok($node->poll_query_until('postgres',
		"SELECT pid <> $launcher FROM eventlog.workers WHERE kind = 'launcher' AND pid IS NOT NULL"),
	'a terminated launcher comes back');
is(worker('other', 'state'), 'running', 'the worker has outlived it');
wait_runs('postgres', 'and runs go on');

# The limit holds.
$node->append_conf('postgresql.conf', 'eventlog.max_maintenance_workers = 1');
$node->reload;
my $runs = worker('postgres', 'runs');
wait_worker('postgres', 'next_run_at < now() - interval \'300 ms\'', 'one worker at most: others wait');

# Fast shutdown, with a worker in the middle of its work.
$node->stop('fast');
ok(1, 'a fast shutdown ends a worker that works');
like(slurp_file($node->logfile), qr/database system is shut down/, 'cleanly');
pause_off($node);
$node->append_conf('postgresql.conf', 'eventlog.max_maintenance_workers = 2');
$node->start;
wait_runs('other', 'and after a restart they run again');

# One that waits for a lock.
my $lock = $node->background_psql('other');
$lock->query_safe('BEGIN; LOCK TABLE eventlog.topic');
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_eventlog maintenance' AND wait_event_type = 'Lock'}),
	'a worker waits for a lock');
$node->restart;
eval { $lock->quit };
stayed_up('signals');

# ---- errors ----

$node->safe_psql('other', q{SELECT eventlog.create_topic('u', 1)});
$node->safe_psql('postgres', q{ALTER DATABASE other RESET eventlog.pause_at; ALTER DATABASE other SET eventlog.fail_at = 'maintain:t'});
wait_worker('other', q{failures BETWEEN 2 AND 8 AND state = 'backing off' AND next_run_at - finished_at = power(2, failures - 1) * interval '1 s'}, 'errors: the worker backs off');
is(worker('other', 'last_error'), 'topic "t": error asked for by eventlog.fail_at', 'the error is in the view');
is(worker('other', 'last_error_at >= started_at AND runs > 0'), 't', 'and when it was');
like(slurp_file($node->logfile), qr/LOG: .*could not maintain topic "t": error asked for/, 'and in the log');

# The other topic is maintained nevertheless.
pause_on($node);
$node->safe_psql('postgres', q{ALTER DATABASE other SET eventlog.pause_at = 'maintain:u'});
wait_worker('other', q{activity = 'maintaining topic "u"'}, 'one topic\'s error does not keep the others from being maintained');
pause_off($node);

# CREATE EXTENSION begins anew, at once.
$node->safe_psql('other', 'DROP EXTENSION pg_eventlog CASCADE');
$node->safe_psql('postgres', q{ALTER DATABASE other RESET eventlog.fail_at; ALTER DATABASE other RESET eventlog.pause_at});
$node->safe_psql('other', 'CREATE EXTENSION pg_eventlog');
wait_runs('other', 'the next run without errors ends that');
stayed_up('errors');

# A database that cannot be connected to.
$node->safe_psql('postgres', q{CREATE DATABASE closed});
wait_worker('closed', q{state = 'no extension'}, 'a database');
$node->safe_psql('closed', q{CREATE EXTENSION pg_eventlog});
wait_runs('closed', 'is maintained');
$node->safe_psql('postgres', 'UPDATE pg_database SET datallowconn = false WHERE datname = \'closed\'');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM eventlog.workers WHERE database = 'closed'}),
	'one that has been closed is given up');
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
wait_runs('closed', 'and found again when it is open');
$node->safe_psql('postgres', 'DROP DATABASE closed');

# Off, and on again.
$node->append_conf('postgresql.conf', 'eventlog.maintenance = off');
$node->reload;
wait_worker('other', q{state = 'idle' AND next_run_at IS NULL}, 'eventlog.maintenance = off');
$runs = worker('other', 'runs');
usleep(500_000);
is(worker('other', 'runs'), $runs, 'nothing is started');
$node->append_conf('postgresql.conf', 'eventlog.maintenance = on');
$node->reload;
wait_runs('other', 'and on');

# ---- no room for workers ----

# The launcher and the server's own logical replication launcher take two.
$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
$node->restart;
ok($node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM eventlog.workers WHERE kind = 'maintenance' AND state = 'backing off' AND last_error LIKE '%max_worker_processes%' AND failures = 0}),
	'no worker can be started: the view says why');
ok($node->poll_query_until('postgres',
		q{SELECT last_error LIKE '%max_worker_processes%' FROM eventlog.workers WHERE kind = 'launcher'}),
	'for the launcher, too');
stayed_up('no room');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
wait_runs('other', 'with room again, they run');

# ---- standby ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT kind, state, pid FROM eventlog.workers'), 'launcher|not running|',
	'no launcher on a standby');
$standby->promote;
ok($standby->poll_query_until('postgres',
		q{SELECT coalesce(string_agg(database, ',' ORDER BY database) = 'other,postgres', false) FROM eventlog.workers WHERE runs >= 2 AND failures = 0 AND kind = 'maintenance'}),
	'after promotion it starts by itself');
$standby->stop;

stayed_up('at the end');
$node->stop;
done_testing();
