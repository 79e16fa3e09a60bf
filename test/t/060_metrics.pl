# The view eventlog.metrics: counters move by exactly what was done, whatever
# becomes of the transaction; who sees what; what happens to counters when a
# topic or database goes, and with the server; and what is in docs/metrics/:
# names that the view has, and files that the programs take which they are for.
#
# Where promtool and prometheus-postgres-exporter are installed (Debian packages
# prometheus and prometheus-postgres-exporter) they have their say.

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

my $records_in  = 'kafka_server_brokertopicmetrics_messagesin_total';
my $bytes_in    = 'kafka_server_brokertopicmetrics_bytesin_total';
my $aborted     = 'eventlog_topic_records_aborted_total';
my $records_out = 'kafka_consumer_consumer_fetch_manager_metrics_records_consumed_total';
my $bytes_out   = 'kafka_server_brokertopicmetrics_bytesout_total';
my $calls       = 'kafka_server_brokertopicmetrics_totalfetchrequests_total';
my $empty       = 'eventlog_topic_empty_fetches_total';

my $docs = 'docs/metrics';
my $node = new_server('metrics', streaming => 1, conf => <<'CONF');
eventlog.maintenance_interval = '200ms'
eventlog.max_topic_metrics = 8
CONF

sub sql
{
	my ($sql, $db) = @_;

	return $node->safe_psql($db // 'postgres', $sql);
}

# One value.  labels: SQL for jsonb
sub metric
{
	my ($name, %labels) = @_;
	my $db = delete $labels{db};
	my $labels = encode_json(\%labels);

	return sql("SELECT value FROM eventlog.metrics WHERE name = '$name' AND labels = '$labels'", $db);
}

# What was produced to topic t: records, batches, transactions, aborted records.
sub produced
{
	return join('|', map { metric($_, topic => 't') }
		  ($records_in, 'eventlog_topic_batches_in_total', 'eventlog_topic_transactions_in_total', $aborted));
}

# What was given out of topic t: records, bytes, calls, empty calls.
sub given
{
	my ($via) = @_;

	return join('|', map { metric($_, topic => 't', via => $via) } ($records_out, $bytes_out, $calls, $empty));
}

# Produce until that is counted for the topic itself.
sub finds_place
{
	my ($topic) = @_;

	for (1 .. 300)
	{
		sql("SELECT eventlog.produce('$topic', 'k', 'v')");
		return 1 if metric($records_in, topic => $topic) > 0;
		usleep(100_000);
	}
	return 0;
}

# ---- producing ----

sql(q{SELECT eventlog.create_topic('t', 1, 'text', 'text')});
is(produced(), '0|0|0|0', 'a topic has counters from the start');

sql(q{SELECT eventlog.produce('t', 'k', 'v' || i) FROM generate_series(1, 10) i});
is(produced(), '10|1|1|0', 'records of a transaction');
is(metric($bytes_in, topic => 't'), sql(q{SELECT sum(size) FROM eventlog.dump_batches('t', 0)}), 'bytes are those of the batch');
sql(q{INSERT INTO topics.t (key, value) VALUES ('k', 'v'), ('k', 'w')});
is(produced(), '12|2|2|0', 'INSERT');

sql(q{BEGIN; SELECT eventlog.produce('t', 'k', 'v') FROM generate_series(1, 5) i; ROLLBACK});
is(produced(), '12|2|2|5', 'rolled back before anything was appended');
sql(q{BEGIN; INSERT INTO topics.t (key, value) VALUES ('k', 'v'), ('k', 'w') RETURNING record_offset; ROLLBACK});
is(produced(), '12|2|2|7', 'rolled back when it was in the log');

sql(<<'SQL');
BEGIN;
SELECT eventlog.produce('t', 'k', 'a');
SAVEPOINT s;
SELECT eventlog.produce('t', 'k', 'b') FROM generate_series(1, 3);
ROLLBACK TO s;
SELECT eventlog.produce('t', 'k', 'c') FROM generate_series(1, 4);
RELEASE s;
COMMIT;
SQL
is(produced(), '17|3|3|10', 'a savepoint rolled back in the buffer');

sql(<<'SQL');
BEGIN;
INSERT INTO topics.t (key, value) VALUES ('k', 'a') RETURNING record_offset;
SAVEPOINT s;
INSERT INTO topics.t (key, value) VALUES ('k', 'b'), ('k', 'b') RETURNING record_offset;
SAVEPOINT u;
INSERT INTO topics.t (key, value) VALUES ('k', 'b') RETURNING record_offset;
RELEASE u;
ROLLBACK TO s;
SAVEPOINT w;
INSERT INTO topics.t (key, value) VALUES ('k', 'c') RETURNING record_offset;
RELEASE w;
COMMIT;
SQL
is(metric($records_in, topic => 't'), 19, 'savepoints rolled back in the log: what committed');
is(metric($aborted, topic => 't'), 13, 'and what did not');
is(metric('eventlog_topic_transactions_in_total', topic => 't'), 4, 'in one transaction');

my ($ret) = $node->psql('postgres', q{SELECT eventlog.produce('t', 'k', 'v') FROM generate_series(1, 2); SELECT 1/0},
	extra_params => ['-1']);
is(metric($aborted, topic => 't'), 15, 'an error');

sql(q{BEGIN; SELECT eventlog.produce('t', 'k', 'v'); PREPARE TRANSACTION 'p'});
is(metric($records_in, topic => 't'), 20, 'a prepared transaction counts');
sql(q{COMMIT PREPARED 'p'});
is(metric($records_in, topic => 't'), 20, 'once');

sql(q{SET eventlog.producer_buffer = '64kB'; SELECT eventlog.produce('t', 'k', repeat('v', 1000)) FROM generate_series(1, 1000)});
is(metric($records_in, topic => 't'), 1020, 'records that were appended early');
is(metric($bytes_in, topic => 't'),
	sql(q{SELECT sum(size) FROM eventlog.dump_batches('t', 0) WHERE state <> 'aborted'}), 'bytes of all batches that committed');

# ---- reading ----

my $size = sql(q{SELECT sum(length(key) + length(value)) FROM (SELECT * FROM topics.t ORDER BY record_offset LIMIT 5) r});
sql(q{SELECT count(*) FROM eventlog.consume('g', 't', 5)});
is(given('consume'), "5|$size|1|0", 'consume(), rolled back or not: the session did not commit');
sql(q{BEGIN; SELECT count(*) FROM eventlog.consume('g', 't', 5); ROLLBACK});
is(given('consume'), '10|' . 2 * $size . '|2|0', 'rolled back');
sql(q{SELECT count(*) FROM eventlog.consume('g', 't', null, auto_commit => true); SELECT count(*) FROM eventlog.consume('g', 't')});
is(metric($records_out, topic => 't', via => 'consume'), 1030, 'all of them');
is(metric($empty, topic => 't', via => 'consume'), 1, 'then none');
sql(q{SELECT count(*) FROM eventlog.read('t', 0, 0, 5)});
is(given('read'), "5|$size|1|0", 'read()');
sql(q{SELECT count(*) FROM eventlog.tail('t', 3)});
is(metric($records_out, topic => 't', via => 'tail'), 3, 'tail()');
is(given('poll'), '0|0|0|0', 'nothing by poll()');

my $member = $node->background_psql('postgres');
$member->query_safe(q{SET client_min_messages = warning; SELECT eventlog.subscribe('m', '{t}')});
is($member->query_safe('SELECT count(*) FROM eventlog.poll(5)'), '5', 'a member of a group polls');
is(given('poll'), "5|$size|1|0", 'poll()');
is(metric('kafka_consumergroup_members', consumergroup => 'm'), 1, 'it counts as one');
cmp_ok(metric('kafka_server_group_coordinator_metrics_group_completed_rebalance_count'), '>=', 1, 'joining is a rebalance');
is(metric('eventlog_polls_total') . '|' . metric('eventlog_empty_polls_total'), '1|0', 'one poll');
$member->query_safe('SELECT count(*) FROM eventlog.poll(null::int)');
$member->query_safe('SELECT count(*) FROM eventlog.poll(5)');
is(metric('eventlog_polls_total') . '|' . metric('eventlog_empty_polls_total'), '3|1', 'the third one was in vain');
$member->query_safe('SELECT eventlog.unsubscribe()');
$member->quit;
is(metric('kafka_consumergroup_members', consumergroup => 'm'), 0, 'it has left');

# ---- sleeping and waking ----

sql(q{SELECT count(*) FROM eventlog.consume('g', 't', null, auto_commit => true)});
my @waited = map { metric($_) } ('eventlog_waits_total', 'eventlog_wait_seconds_total', 'eventlog_wakeups_sent_total');
my $sleeper = start_client($node, q{SELECT count(*) FROM eventlog.consume('g', 't', max_wait => '3min')}, name => 'sleeper');
wait_for_backend($node, 'sleeper', "wait_event_type = 'Extension'");
sql(q{SELECT eventlog.produce('t', 'k', 'v')});
finish_client($sleeper);
my @now = map { metric($_) } ('eventlog_waits_total', 'eventlog_wait_seconds_total', 'eventlog_wakeups_sent_total');
cmp_ok($now[$_], '>', $waited[$_], qw(sleeps time wake-ups) [$_] . ' of a session that waits') foreach 0 .. 2;

# ---- many at a time, and the append lock ----

my @clients = map {
	start_client($node, join("\n", map { "SELECT eventlog.produce('t', 'k', 'v');" } 1 .. 200), name => "c$_")
} 1 .. 4;
finish_client($_) foreach @clients;
is(metric($records_in, topic => 't'), 1821, 'four sessions lose no count');
is(sql('SELECT count(*) FROM topics.t'), 1821, 'which is what is in the topic');

sql(q{SELECT eventlog.create_topic('busy', 1, 'text', 'text')});
is(metric('eventlog_topic_append_lock_waits_total', topic => 'busy'), 0, 'nobody has waited');
my $first = start_paused($node, 'append-before-wal', q{SELECT eventlog.produce('busy', 'k', 'v')}, name => 'first');
my $second = start_client($node, q{SELECT eventlog.produce('busy', 'k', 'v')}, name => 'second');
wait_for_backend($node, 'second', "wait_event = 'BufferContent' OR wait_event_type LIKE 'Buffer%'");
pause_off($node);
finish_client($_) foreach ($first, $second);
# maintenance and readers look at the page, too, for moments
cmp_ok(metric('eventlog_topic_append_lock_waits_total', topic => 'busy'), '>=', 1, 'one append has waited');
cmp_ok(metric('eventlog_topic_append_lock_wait_seconds_total', topic => 'busy'), '>', 0, 'for some time');

# ---- gauges ----

my $holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SAVEPOINT s; INSERT INTO topics.busy (key, value) VALUES ('k', 'v') RETURNING record_offset});
sql(q{SELECT eventlog.produce('busy', 'k', 'v')});
is(metric('kafka_cluster_partition_laststableoffsetlag', topic => 'busy', partition => '0'), 2, 'offsets held back');
cmp_ok(metric('eventlog_topic_partition_lso_held_seconds', topic => 'busy', partition => '0'),
	'>', 0, 'by a transaction whose age is known, in a savepoint');
$holder->query_safe('ROLLBACK');
$holder->quit;
is(metric('eventlog_topic_partition_lso_held_seconds', topic => 'busy', partition => '0'), 0, 'and no longer');
sql(q{BEGIN; INSERT INTO topics.busy (key, value) VALUES ('k', 'v') RETURNING record_offset; PREPARE TRANSACTION 'p'});
cmp_ok(metric('eventlog_topic_partition_lso_held_seconds', topic => 'busy', partition => '0'), '>', 0, 'by a prepared transaction');
sql(q{ROLLBACK PREPARED 'p'});

is(metric('kafka_consumergroup_lag', consumergroup => 'g', topic => 't', partition => '0'), 801, 'lag of a group');
sql(q{SELECT eventlog.create_topic('old', 1, 'text', 'text');
	SELECT eventlog.create_group('late', 'old');
	SELECT eventlog.produce('old', 'k', 'v', event_time => now() - interval '1 hour')});
my $late = metric('eventlog_consumergroup_lag_seconds', consumergroup => 'late', topic => 'old', partition => '0');
ok($late > 3599 && $late < 4200, 'lag in time') or diag($late);
is(metric('kafka_consumergroup_current_offset', consumergroup => 'late', topic => 'old', partition => '0'), '', 'no offset before the first commit');
sql(q{SELECT count(*) FROM eventlog.consume('late', 'old', auto_commit => true)});
is(metric('eventlog_consumergroup_lag_seconds', consumergroup => 'late', topic => 'old', partition => '0'), 0, 'no lag');
is(metric('kafka_consumergroup_current_offset', consumergroup => 'late', topic => 'old', partition => '0'), 1, 'committed offset');
is(metric('kafka_topic_partitions', topic => 't'), 1, 'partitions');
is(sql(q{SELECT count(*) FROM eventlog.partitions p JOIN eventlog.metrics m ON m.labels = jsonb_build_object('topic', p.topic, 'partition', p.partition::text)
	WHERE m.name = 'kafka_topic_partition_current_offset' AND m.value = p.high_watermark
	OR m.name = 'kafka_topic_partition_oldest_offset' AND m.value = p.log_start_offset
	OR m.name = 'eventlog_topic_partition_file_bytes' AND m.value = p.bytes}), 9, 'the same as in eventlog.partitions');
ok($node->poll_query_until('postgres', q{SELECT value > 0 FROM eventlog.metrics WHERE name = 'eventlog_worker_runs_total' AND labels = '{"kind": "maintenance"}'}),
	'runs of maintenance');

# ---- the shape ----

my $names = sql('SELECT DISTINCT name FROM eventlog.metrics ORDER BY 1');
is(sql(q{SELECT name, labels, count(*) FROM eventlog.metrics GROUP BY 1, 2 HAVING count(*) > 1}), '', 'names are unique with their labels');
is(sql(q{SELECT name FROM eventlog.metrics WHERE name !~ '^(kafka|eventlog)_[a-z0-9_]+$' OR type NOT IN ('counter', 'gauge') OR help = ''
	OR name IS NULL OR labels IS NULL OR value IS NULL OR help IS NULL OR type IS NULL}), '', 'names, types and help are what Prometheus takes');
is(sql(q{SELECT name FROM eventlog.metrics GROUP BY name HAVING count(DISTINCT (type, help)) > 1}), '', 'a name has one type and one help');
is(sql(q{SELECT m.name, k FROM eventlog.metrics m, jsonb_object_keys(labels) k WHERE k !~ '^[a-z_]+$' OR jsonb_typeof(labels -> k) <> 'string'}),
	'', 'labels are strings');
is(sql(q{SELECT name FROM eventlog.metrics WHERE name LIKE '%\_total' AND type <> 'counter' OR type = 'counter' AND name !~ '_(total|count)$'}),
	'', 'counters are called so');

# ---- who sees what ----

sql('CREATE ROLE nobody; CREATE ROLE watcher IN ROLE pg_monitor; CREATE ROLE reader; GRANT SELECT ON topics.t TO reader');
is(sql(q{SET ROLE nobody; SELECT DISTINCT labels - 'kind' FROM eventlog.metrics}), '{}', 'no topic, no group for those who have no right to it');
is(sql(q{SET ROLE reader; SELECT string_agg(DISTINCT labels ->> 'topic', ',') FROM eventlog.metrics}), 't', 'the topics that one may read');
is(sql(q{SET ROLE nobody; SELECT eventlog.topic_counters('topics.t'), eventlog.record_time('topics.t', 0, 0)}), '', 'nor by the functions');
is(sql(q{SET ROLE watcher; SELECT count(DISTINCT (name, labels)) FROM eventlog.metrics}), sql('SELECT count(*) FROM eventlog.metrics'), 'pg_monitor sees all');
my ($status, $out, $err) = $node->psql('postgres', 'SET ROLE watcher; SELECT eventlog.reset_metrics()');
like($err, qr/permission denied for function reset_metrics/, 'resetting is for superusers');

# ---- more topics than there are places ----

sql(qq{SELECT eventlog.create_topic('x$_', 1, 'text', 'text'); SELECT eventlog.produce('x$_', 'k', 'v')}) foreach 1 .. 7;
is(sql("SELECT sum(value) FROM eventlog.metrics WHERE name = '$records_in' AND labels ->> 'topic' LIKE 'x%'"), 5, 'five topics find a place');
is(metric($records_in, topic => '(other)'), 2, 'what does not is counted together');
is(sql(q{SET ROLE reader; SELECT count(*) FROM eventlog.metrics WHERE labels ->> 'topic' = '(other)'}), 0, 'for pg_monitor');
sql("SELECT eventlog.drop_topic('x$_')") foreach 1 .. 5;
ok(finds_place('x6'), 'places of dropped topics are given back');

sql('CREATE DATABASE other');
sql(q{CREATE EXTENSION pg_eventlog; SELECT eventlog.create_topic('t' || i, 1, 'text', 'text') FROM generate_series(1, 10) i;
	SELECT eventlog.produce('t' || i, 'k', 'v') FROM generate_series(1, 10) i}, 'other');
is(sql("SELECT string_agg(DISTINCT labels ->> 'topic', ',') FROM eventlog.metrics WHERE name = '$records_in' AND labels ->> 'topic' NOT LIKE 't%'", 'other'),
	'(other)', 'another database shows topics of its own');
is(sql("SELECT sum(value) > 0 FROM eventlog.metrics WHERE name = '$records_in' AND labels ->> 'topic' LIKE 't%'", 'other'), 't', 'which take places, too');
sql('DROP DATABASE other');
sql(q{SELECT eventlog.create_topic('y', 1, 'text', 'text')});
ok(finds_place('y'), 'places of a dropped database are given back');
sql(q{SELECT eventlog.create_topic('z', 1, 'text', 'text'); SELECT eventlog.produce('z', 'k', 'v')});
is(metric($records_in, topic => 'z'), 1, 'so that new topics find one');

# ---- docs/metrics ----

sub names_in
{
	my ($text) = @_;
	my %found = map { $_ => 1 } $text =~ /\b((?:kafka|eventlog)_[a-z0-9_]+)/g;

	return \%found;
}

my %known = map { $_ => 1 } split(/\n/, $names);
my $queries = slurp_file("$docs/postgres_exporter.yaml");
my $dashboard = slurp_file("$docs/grafana_dashboard.json");
my $rules = slurp_file("$docs/prometheus_rules.yaml");

my %exported;
my $family;
foreach my $line (split /\n/, $queries)
{
	$family = $1 if $line =~ /^(\w+):$/;
	$exported{"${family}_$1"} = 1 if $line =~ /FILTER .* AS (\w+),?$/;
}
is(join("\n", sort keys %exported), $names, 'the exporter is told of every metric, and of no other');
is_deeply([ grep { !$known{$_} } sort keys %{ names_in($dashboard) } ], [], 'the dashboard uses names that the view has');
is_deeply([ grep { !$known{$_} } sort keys %{ names_in($rules) } ], [], 'so do the alert rules');
my $parsed = decode_json($dashboard);
my @targets = map { @{ $_->{targets} // [] } } @{ $parsed->{panels} };
cmp_ok(scalar(@targets), '>', 20, 'the dashboard is JSON, with panels');
my %ids;
$ids{ $_->{id} }++ foreach @{ $parsed->{panels} };
is(scalar(keys %ids), scalar(@{ $parsed->{panels} }), 'whose ids are unique');

sub installed
{
	my ($program) = @_;

	return grep { -x "$_/$program" } split(/:/, $ENV{PATH});
}

if (installed('promtool'))
{
	command_ok([ 'promtool', 'check', 'rules', "$docs/prometheus_rules.yaml" ], 'promtool takes the alert rules');

	# its expressions are the dashboard's; Grafana fills in what begins with $
	my $all = "groups:\n- name: dashboard\n  rules:\n";
	my $n = 0;
	foreach my $target (@targets)
	{
		my $expr = $target->{expr};

		$expr =~ s/\$__rate_interval/5m/g;
		$all .= sprintf("  - record: dashboard:expr:%d\n    expr: %s\n", $n++, encode_json([$expr]) =~ s/^\[|\]$//gr);
	}
	my $file = PostgreSQL::Test::Utils::tempdir() . '/dashboard.yaml';
	append_to_file($file, $all);
	command_ok([ 'promtool', 'check', 'rules', $file ], 'and the expressions of the dashboard');
}
else
{
	diag('promtool is not installed: the alert rules were not checked by it');
}

if (installed('prometheus-postgres-exporter'))
{
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $log = PostgreSQL::Test::Utils::tempdir() . '/exporter.log';
	my $body = '';

	sql('CREATE ROLE monitor LOGIN IN ROLE pg_monitor');
	sql(q{ALTER SYSTEM SET eventlog.maintenance = off; SELECT pg_reload_conf()});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_eventlog maintenance'}),
		'nothing moves');
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		$ENV{DATA_SOURCE_NAME} = 'postgresql://monitor@/postgres?sslmode=disable&host=' . $node->host . '&port=' . $node->port;
		open(STDOUT, '>', $log) or die;
		open(STDERR, '>&', \*STDOUT) or die;
		exec('prometheus-postgres-exporter', '--disable-default-metrics', '--disable-settings-metrics',
			"--extend.query-path=$docs/postgres_exporter.yaml", "--web.listen-address=127.0.0.1:$port") or die;
	}
	for (1 .. 200)
	{
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);

		if ($socket)
		{
			print $socket "GET /metrics HTTP/1.0\r\n\r\n";
			$body = do { local $/; <$socket> };
			close($socket);
			last;
		}
		usleep(50_000);
	}
	kill 'TERM', $pid;
	waitpid($pid, 0);

	# name|labels|value, as both say it
	my (@scraped, %types);
	foreach my $line (split /\r?\n/, $body)
	{
		$types{$1} = $2 if $line =~ /^# TYPE (\S+) (\S+)/;
		next unless $line =~ /^((?:kafka|eventlog)_\w+)\{(.*)\} (\S+)$/;
		my ($name, $labels, $value) = ($1, $2, $3);
		my %labels = $labels =~ /(\w+)="([^"]*)"/g;

		delete @labels{qw(server datname)};
		push @scraped, join('|', $name, join(',', map { "$_=$labels{$_}" } sort keys %labels), sprintf('%.6g', $value));
	}
	my @viewed = map {
		my ($name, $labels, $value) = split(/\|/, $_, 3);
		join('|', $name, $labels, sprintf('%.6g', $value))
	} split(/\n/, sql(q{SELECT name, (SELECT coalesce(string_agg(key || '=' || value, ',' ORDER BY key), '') FROM jsonb_each_text(labels)), value FROM eventlog.metrics}));

	# what goes on by itself: the age of a record
	my $steady = sub { [ sort grep { !/lag_seconds/ } @_ ] };
	is_deeply($steady->(@scraped), $steady->(@viewed), 'the exporter gives what the view has') or diag(slurp_file($log));
	is(join(',', map { "$_ $types{$_}" } grep { exists $types{$_} } sort keys %known),
		sql(q{SELECT string_agg(DISTINCT name || ' ' || type, ',' ORDER BY name || ' ' || type) FROM eventlog.metrics}), 'with its types');
	sql(q{ALTER SYSTEM RESET eventlog.maintenance; SELECT pg_reload_conf()});
}
else
{
	diag('prometheus-postgres-exporter is not installed: its queries were not run by it');
}

# ---- reset, and the end of the server ----

my $since = metric('eventlog_stats_reset_timestamp_seconds');
is(sql(q{SELECT value <= extract(epoch FROM now()) AND value >= extract(epoch FROM pg_postmaster_start_time()) - 60 FROM eventlog.metrics WHERE name = 'eventlog_stats_reset_timestamp_seconds'}),
	't', 'since when it counts');
sql('SELECT eventlog.reset_metrics()');
is(sql(q{SELECT name, labels, value FROM eventlog.metrics WHERE type = 'counter' AND value <> 0 AND labels ->> 'topic' IS DISTINCT FROM '(other)' AND name NOT LIKE '%worker%'}), '', 'reset');
cmp_ok(metric('eventlog_stats_reset_timestamp_seconds'), '>', $since, 'and when that was');
sql(q{SELECT eventlog.produce('t', 'k', 'v')});
is(produced(), '1|1|1|0', 'counting goes on');

foreach my $how ('restart', 'crash')
{
	$how eq 'crash' ? restart_server($node) : $node->restart;
	is(produced(), '0|0|0|0', "$how: counters begin anew");
	is(metric('kafka_topic_partition_current_offset', topic => 't', partition => '0'),
		sql(q{SELECT high_watermark FROM eventlog.partitions WHERE topic = 't'}), "$how: gauges are what they were");
	sql(q{SELECT eventlog.produce('t', 'k', 'v')});
	is(produced(), '1|1|1|0', "$how: and count");
}

# ---- a standby ----

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('metrics_standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT count(*) FROM eventlog.read('t', 0, 0, 5)}), 5, 'a standby');
is($standby->safe_psql('postgres', qq{SELECT value FROM eventlog.metrics WHERE name = '$records_out' AND labels = '{"topic": "t", "via": "read"}'}),
	5, 'counts what it gives out');
is($standby->safe_psql('postgres', 'SELECT DISTINCT name FROM eventlog.metrics EXCEPT SELECT unnest(string_to_array($$' . $names . '$$, E\'\n\'))'), '', 'in the same view');
$standby->stop;
$node->stop;
done_testing();
