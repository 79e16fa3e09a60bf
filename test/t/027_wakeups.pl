# Waiting for records: whatever lets a record be read wakes who waits for it, one
# record does not wake more than it has to, and none is missed.
#
# What is not woken looks again by itself, once a second at the soonest.  So a
# wake-up that never comes shows as a pause of a second: here things are done so
# often that those pauses would add up to far more than the limits, which are
# wide.  WAKEUPS_ROUNDS sets the number of rounds of the loops.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use EventlogTest;

my $rounds = $ENV{WAKEUPS_ROUNDS} // 10000;
my $node = new_server('wakeups', streaming => 1, conf => <<'CONF');
fsync = off
max_connections = 100
CONF
my $long = $PostgreSQL::Test::Utils::timeout_default . ' s';

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub session { return open_session($node, @_) }

sub topic
{
	my ($name, $partitions, @groups) = @_;

	sql("SELECT eventlog.create_topic('$name', $partitions, 'text', 'text');"
		  . join('', map { "SELECT eventlog.create_group('$_', '$name');" } @groups));
}

# Wait until these sessions all wait in max_wait.
sub wait_until_asleep
{
	my $pids = join(',', map { $_->{pid} } @_);
	my $count = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM pg_stat_activity WHERE pid IN ($pids) AND state = 'active' AND wait_event_type = 'Extension'")
	  or die 'sessions do not get to wait';
}

# ---- each end of a transaction ----

topic('ends', 1, 'ends', 'polled');
{
	my ($writer, $consumer, $member, $reader) = map { session($_) } qw(writer consumer member reader);
	my %expected = ('COMMIT' => 'a b', 'ROLLBACK' => 'b', 'ROLLBACK TO s' => 'b', 'COMMIT PREPARED' => 'a b', 'ROLLBACK PREPARED' => 'b');
	my $values = q{SELECT string_agg(convert_from(value, 'UTF8'), ' ' ORDER BY record_offset) FROM};
	my $next = 0;

	run_sql($member, q{SELECT FROM eventlog.subscribe('polled', '{ends}')});
	foreach my $end ('COMMIT', 'ROLLBACK', 'ROLLBACK TO s', 'COMMIT PREPARED', 'ROLLBACK PREPARED')
	{
		my $good = 0;

		for my $i (1 .. 6)
		{
			# b comes behind a transaction that has appended a and goes on
			run_sql($writer, 'BEGIN; ' . ($end eq 'ROLLBACK TO s' ? 'SAVEPOINT s; ' : '')
				  . q{SELECT eventlog.produce('ends', null, 'a'); SELECT FROM eventlog.flush()});
			sql(q{SELECT eventlog.produce('ends', null, 'b')});
			send_sql($consumer, "$values eventlog.consume('ends', 'ends', 10, '$long', true)");
			send_sql($member, "$values eventlog.poll(10, '$long')");
			send_sql($reader, "$values eventlog.read('ends', 0, $next, 10, '$long')");
			wait_until_asleep($consumer, $member, $reader);
			if ($end =~ /^(\w+) PREPARED/)
			{
				run_sql($writer, "PREPARE TRANSACTION 'p'");
				sql("$end 'p'");
			}
			else
			{
				run_sql($writer, $end);
			}
			my @got = map { answer($_) } $consumer, $member, $reader;
			$good++ if "@got" eq join(' ', ($expected{$end}) x 3);
			note("$end: @got") if $i == 1;
			run_sql($writer, 'ROLLBACK') if $end eq 'ROLLBACK TO s';
			run_sql($member, 'SELECT FROM eventlog.commit()');
			$next = sql(q{SELECT high_watermark FROM eventlog.partitions WHERE topic = 'ends'});
		}
		is($good, 6, "$end lets consume(), poll() and read() go on");
	}
	close_sessions($writer, $consumer, $member, $reader);
}

# ---- one record, one waiter ----

topic('one', 2, 'one');
{
	my @waiting = map { session("one$_") } 1 .. 12;
	my $sent = q{SELECT value FROM eventlog.metrics WHERE name = 'eventlog_wakeups_sent_total'};

	send_sql($_, "SELECT convert_from(value, 'UTF8') FROM eventlog.consume('one', 'one', 5, '$long', true)") foreach @waiting;
	wait_until_asleep(@waiting);
	my $before = sql($sent);
	my @got;
	while (@waiting)
	{
		sql(q{SELECT eventlog.produce('one', null, 'x')});

		# exactly one of them has it
		my $left = 100 * $PostgreSQL::Test::Utils::timeout_default;
		my @done;
		until (@done)
		{
			foreach my $psql (@waiting)
			{
				$psql->{run}->pump_nb;
				push @done, $psql if $psql->{stderr} =~ /done \d/;
			}
			die 'nobody has the record' if $left-- <= 0;
			usleep(10_000) unless @done;
		}
		push @got, scalar(@done) . answer($done[0]);
		close_sessions($done[0]);
		@waiting = grep { $_ != $done[0] } @waiting;
	}
	is("@got", join(' ', ('1x') x 12), 'each record goes to one of those who wait');
	my $wakeups = sql($sent) - $before;
	cmp_ok($wakeups, '<=', 16, "12 commits have woken $wakeups of up to 12 waiters");
}

# Waiters of their own are all woken, however many.
topic('all', 1);
{
	my @waiting = map { start_client($node, "SELECT convert_from(value, 'UTF8') FROM eventlog.read('all', 0, 0, max_wait => '$long')", name => "all$_") } 1 .. 40;

	$node->poll_query_until('postgres',
		q{SELECT count(*) = 40 FROM pg_stat_activity WHERE application_name LIKE 'all%' AND wait_event_type = 'Extension'}) or die;
	sql(q{SELECT eventlog.produce('all', null, 'x')});
	is(join('', map { my ($status, $out) = finish_client($_); $out } @waiting), "x\n" x 40, 'all who read by offset have the record');
}

# ---- the baton ----

topic('baton', 1, 'baton');
{
	my ($holder, $waiter) = map { session($_) } qw(holder waiter);
	my $one = sub { return "SELECT convert_from(value, 'UTF8') FROM eventlog.consume('baton', 'baton', 1, '$_[0]')" };
	my $started = time;
	my $good = 0;

	for my $i (1 .. 10)
	{
		foreach my $end ('SELECT FROM eventlog.commit(); COMMIT', 'ROLLBACK', 'SAVEPOINT')
		{
			sql("SELECT eventlog.produce('baton', null, 'a'), eventlog.produce('baton', null, 'b')");
			run_sql($holder, 'BEGIN; SAVEPOINT s');
			$good++ if run_sql($holder, $one->('0')) eq 'a';
			send_sql($waiter, 'BEGIN; ' . $one->($long));
			wait_until_asleep($waiter);
			run_sql($holder, $end eq 'SAVEPOINT' ? 'ROLLBACK TO s' : $end);
			$good++ if answer($waiter) eq ($end =~ /COMMIT/ ? 'b' : 'a');
			run_sql($holder, 'ROLLBACK') if $end eq 'SAVEPOINT';
			run_sql($waiter, 'SELECT count(*) FROM eventlog.consume($$baton$$, $$baton$$); SELECT FROM eventlog.commit(); COMMIT');
		}
	}
	is($good, 60, 'a claim that is released passes on what is left, in order');
	cmp_ok(time - $started, '<', 25, 'at once');
	close_sessions($holder, $waiter);
}

# ---- interrupts ----

topic('int', 1, 'int');
{
	my $member = session('member');
	my %calls = (poll => "SELECT FROM eventlog.poll(1, '$long')", wait_for => "CALL eventlog.wait_for('{int}', '$long')");

	run_sql($member, q{SELECT FROM eventlog.subscribe('int', '{int}')});
	foreach my $call (sort keys %calls)
	{
		run_sql($member, 'SELECT FROM eventlog.poll()');
		send_sql($member, $calls{$call});
		wait_until_asleep($member);
		if ($call eq 'wait_for')
		{
			is(sql("SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE pid = $member->{pid}"), 't',
				'wait_for() holds no snapshot');
		}
		sql("SELECT pg_cancel_backend($member->{pid})");
		like(answer($member), qr/canceling statement due to user request/, "$call() while it waits: cancelled");
		run_sql($member, 'SELECT FROM eventlog.poll()');
		like(run_sql($member, "SET statement_timeout = '300ms'; $calls{$call}"), qr/due to statement timeout/, "$call(): timed out");
		run_sql($member, 'RESET statement_timeout');
	}

	send_sql($member, "DO \$\$ BEGIN PERFORM eventlog.poll(1, '$long'); EXCEPTION WHEN query_canceled THEN PERFORM eventlog.poll(1, '$long'); END \$\$");
	wait_until_asleep($member);
	sql("SELECT pg_cancel_backend($member->{pid})");
	wait_until_asleep($member);
	sql(q{SELECT eventlog.produce('int', null, 'x')});
	is(answer($member), '', 'a cancel that is caught, and another wait after it');
	run_sql($member, 'SELECT FROM eventlog.commit()');

	# what was there before wait_for() is news, for who polls too
	is(run_sql($member, q{SELECT count(*) FROM eventlog.poll()}), '0', 'poll() finds nothing');
	sql(q{SELECT eventlog.produce('int', null, 'x')});
	is(run_sql($member, "SET statement_timeout = '$long'; CALL eventlog.wait_for('{int}', '1 hour'); RESET statement_timeout"), '',
		'what comes between poll() and wait_for() ends wait_for()');
	is(run_sql($member, q{SELECT count(*) FROM eventlog.poll()}), '1', 'and is there');
	close_sessions($member);
}

# ---- none is missed ----

topic('ping', 1, 'ping');
topic('pong', 1, 'pong');
{
	my ($one, $two, $member) = map { session($_) } qw(one two member);

	# each answers the other; how often it took a second
	my $loop = sub {
		my ($first, $to, $get, $n) = @_;
		my $send = "PERFORM eventlog.produce('$to', null, 'x');";
		my $receive = "LOOP at := clock_timestamp(); $get EXIT WHEN n > 0; tries := tries + 1; IF tries > 100 THEN RAISE 'nothing comes'; END IF; END LOOP;"
		  . " IF clock_timestamp() - at > '900 ms' THEN slow := slow + 1; END IF;";
		return "DO \$\$ DECLARE n bigint; at timestamptz; slow int := 0; tries int := 0; BEGIN FOR i IN 1 .. $n LOOP "
		  . ($first ? "$send COMMIT; $receive COMMIT;" : "$receive COMMIT; $send COMMIT;")
		  . " END LOOP; RAISE WARNING 'slow: %', slow; END \$\$";
	};
	my $consume = sub { return "SELECT count(*) INTO n FROM eventlog.consume('$_[0]', '$_[0]', 1, '10 s', true);" };
	my $poll = "SELECT count(*) INTO n FROM eventlog.poll(1, '10 s'); PERFORM eventlog.commit();";

	foreach my $how ('consume()', 'poll()')
	{
		if ($how eq 'poll()')
		{
			sql(q{SELECT eventlog.create_group('polled', 'pong')});
			run_sql($one, q{SELECT FROM eventlog.subscribe('polled', '{pong}')});
			run_sql($one, q{SELECT count(*) FROM eventlog.poll(null)});
			run_sql($one, 'SELECT FROM eventlog.commit()');
		}
		send_sql($two, $loop->(0, 'pong', $consume->('ping'), $rounds));
		send_sql($one, $loop->(1, 'ping', $how eq 'poll()' ? $poll : $consume->('pong'), $rounds));
		local $PostgreSQL::Test::Utils::timeout_default = $PostgreSQL::Test::Utils::timeout_default + $rounds / 50;
		my ($a, $b) = (answer($one), answer($two));
		my $slow = 0;
		$slow += $_ foreach "$a $b" =~ /slow: (\d+)/g;
		unlike("$a $b", qr/ERROR/, "$how: $rounds rounds of ping-pong");
		cmp_ok($slow, '<=', 2, "$how: none of them was missed ($slow took a second)");
	}
	close_sessions($one, $two, $member);
}

# A transaction that writes to many topics wakes those who wait for the last,
# and for the first.
{
	topic("many$_", 3, 'many') foreach 1 .. 12;
	my @waiting = map { session("many$_") } 1, 12;

	for my $i (1 .. 5)
	{
		send_sql($waiting[0], "SELECT count(*) FROM eventlog.consume('many', 'many1', 1, '$long', true)");
		send_sql($waiting[1], "SELECT count(*) FROM eventlog.consume('many', 'many12', 1, '$long', true)");
		wait_until_asleep(@waiting);
		sql('BEGIN;' . join('', map { "SELECT eventlog.produce('many$_', null, 'x', partition => 1);" } 1 .. 12) . 'COMMIT');
		my @got = map { answer($_) } @waiting;
		is("@got", '1 1', 'a transaction with many topics wakes the waiters of each') if "@got" ne '1 1' || $i == 5;
	}
	close_sessions(@waiting);
}

# ---- a standby ----

{
	$node->backup('copy');
	my $standby = PostgreSQL::Test::Cluster->new('standby');

	$standby->init_from_backup($node, 'copy', has_streaming => 1);
	$standby->start;
	my $reader = open_session($standby, 'reader');
	my $next = sql(q{SELECT high_watermark FROM eventlog.partitions WHERE topic = 'one' AND partition = 1});

	send_sql($reader, "SELECT convert_from(value, 'UTF8') FROM eventlog.read('one', 1, $next, max_wait => '$long')");
	$standby->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $reader->{pid}") or die;
	sql(q{SELECT eventlog.produce('one', null, 'replayed', partition => 1)});
	is(answer($reader), 'replayed', 'read() waits on a standby');
	run_sql($reader, q{SELECT count(*) FROM eventlog.tail('one', 1)});
	send_sql($reader, "SELECT value FROM eventlog.tail('one', 1, max_wait => '$long')");
	$standby->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $reader->{pid}") or die;
	sql(q{SELECT eventlog.produce('one', null, 'again', partition => 1)});
	is(answer($reader), 'again', 'tail() waits on a standby');
	foreach my $call (q{SELECT eventlog.subscribe('one', '{one}')}, q{SELECT eventlog.assign('one', 'one')}, 'SELECT eventlog.poll()',
		q{SELECT eventlog.consume('one', 'one')}, q{CALL eventlog.wait_for('{one}', '1 s')})
	{
		like(run_sql($reader, $call), qr/ERROR:  cannot execute \w+\(\) during recovery/, "on a standby: $call");
	}
	is(run_sql($reader, 'SELECT count(*) FROM eventlog.group_members'), '0', 'on a standby: no members');

	# promoted, it is like any other
	$standby->promote;
	run_sql($reader, q{SELECT FROM eventlog.consume('one', 'one', null, '0', true)});
	send_sql($reader, "SELECT convert_from(value, 'UTF8') FROM eventlog.consume('one', 'one', 1, '$long', true)");
	$standby->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $reader->{pid}") or die;
	$standby->safe_psql('postgres', q{SELECT eventlog.produce('one', null, 'promoted')});
	is(answer($reader), 'promoted', 'after its promotion consume() waits');
	close_sessions($reader);
	$standby->stop;
}

# ---- shutdown ----

{
	my @clients = map { start_client($node, $_, name => 'last') } "SELECT FROM eventlog.consume('one', 'one', 1, '1 hour')",
	  "SELECT FROM eventlog.read('all', 0, 1, max_wait => '1 hour')", "CALL eventlog.wait_for('{one,all}', '1 hour')",
	  "SELECT eventlog.subscribe('last', '{^.}'); SELECT FROM eventlog.poll(null); SELECT FROM eventlog.poll(1, '1 hour')";

	sql(q{SELECT FROM eventlog.consume('one', 'one', null, '0', true)});
	$node->poll_query_until('postgres', q{SELECT count(*) >= 3 FROM pg_stat_activity WHERE application_name = 'last' AND wait_event_type = 'Extension'}) or die;
	$node->stop('fast');
	like(join('', map { (finish_client($_))[2] } @clients), qr/administrator command/, 'a fast shutdown ends those who wait');
}
done_testing();
