# Members of consumer groups: who gets which partition, when a partition changes
# hands, and that no member's late commit ever doubles or loses a record.
#
# Members are sessions that are told each step, so that nothing here depends on
# time; what has to happen by itself is waited for.  A member that hangs is one
# that is stopped by SIGSTOP at a known place.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

my $node = new_server('members', conf => <<'CONF');
fsync = off
max_connections = 60
eventlog.max_assignments = 256
log_min_messages = fatal
CONF
my $long = $PostgreSQL::Test::Utils::timeout_default . ' s';

sub session { return open_session($node, @_) }
sub quit { close_sessions(@_) }
sub sql { return $node->safe_psql('postgres', $_[0]) }

# Wait until a backend waits at a pause point, or in max_wait.
sub wait_until_paused
{
	my ($psql) = @_;

	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $psql->{pid}")
	  or die "$psql->{name} does not get there";
}

# Wait until a group has so many members.
sub wait_for_members
{
	my ($group, $count) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(DISTINCT consumer_id) = $count FROM eventlog.group_members WHERE consumer_group = '$group'")
	  or die "group $group does not get to $count members";
}

my $assignment = q{SELECT string_agg(topic || partition, ' ' ORDER BY topic, partition) FROM eventlog.assignment()};

sub partitions { return run_sql($_[0], $assignment) }

# Poll, and put what comes into the table got: within one transaction with what
# follows.  The answer is "partition:value ..." of what came.
sub take
{
	my ($max) = @_;

	$max //= 500;
	return "WITH r AS (SELECT * FROM eventlog.poll($max)),"
	  . " i AS (INSERT INTO got (topic, partition, record_offset, value, pid) SELECT topic, partition, record_offset, convert_from(value, 'UTF8'), pg_backend_pid() FROM r)"
	  . " SELECT string_agg(partition || ':' || convert_from(value, 'UTF8'), ' ' ORDER BY topic, partition, record_offset) FROM r";
}

# A topic with records a0 a1 ... in each partition, and a group of members.
my %topics;

sub topic
{
	my ($name, $partitions, $records, %params) = @_;
	my $config = $params{ms} ? qq({"max.poll.interval.ms": $params{ms}}) : '{}';

	$topics{$name} = 1;
	sql(qq{SELECT eventlog.create_topic('$name', $partitions, 'text', 'text');
		SELECT eventlog.create_group('$name', '$name', config => '$config');
		INSERT INTO topics."$name" (partition, value) SELECT p, 'a' || i FROM generate_series(0, $partitions - 1) p, generate_series(1, $records) i});
}

sub produce
{
	my ($name, $partition, @values) = @_;

	sql(join(';', map { "SELECT eventlog.produce('$name', null, '$_', partition => $partition)" } @values));
}

# Everything in the topic has been taken once, and the group's offsets say so.
sub all_taken
{
	my ($name, $what) = @_;

	is(sql(qq{SELECT count(*) FILTER (WHERE g.n IS NULL) || ' missing, ' || count(*) FILTER (WHERE g.n > 1 OR t.value IS NULL) || ' too often'
		FROM (SELECT partition, record_offset, count(*) AS n FROM got WHERE topic = '$name' GROUP BY 1, 2) g
			FULL JOIN topics."$name" t USING (partition, record_offset)}),
		'0 missing, 0 too often', $what);
}

# Let members take what is left, each in transactions of its own.
sub drain
{
	my ($name, @members) = @_;
	my $left = 200;

	while ($left-- > 0)
	{
		foreach my $psql (@members)
		{
			my $out = run_sql($psql, 'BEGIN; ' . take() . '; SELECT FROM eventlog.commit(); COMMIT');

			run_sql($psql, 'ROLLBACK') if $out =~ /ERROR/;
		}
		return if sql(qq{SELECT (SELECT count(*) FROM got WHERE topic = '$name') >= (SELECT count(*) FROM topics."$name")}) eq 't';
		usleep(20_000);
	}
}

sql('CREATE TABLE got (n bigserial, topic text, partition int, record_offset bigint, value text, pid int)');

# ---- who gets which partition ----

topic('bal', 7, 2);
{
	my @m = map { session("bal$_") } 1 .. 4;
	my %owner;
	my $subscribe = q{SELECT FROM eventlog.subscribe('bal', '{bal}')};

	# sizes differ by one at most, and no more moves than that takes
	my $check = sub {
		my ($name, $moves, @members) = @_;
		my %now;
		my @sizes;

		foreach my $psql (@members)
		{
			my @have = split / /, partitions($psql);

			push @sizes, scalar @have;
			$now{$_} .= $psql->{name} foreach @have;
		}
		@sizes = sort { $a <=> $b } @sizes;
		is(join(' ', map { "bal$_=" . ($now{"bal$_"} ? 'one' : 'none') } 0 .. 6), join(' ', map { "bal$_=one" } 0 .. 6),
			"$name: each partition has an owner");
		is(scalar(grep { $now{$_} !~ /^bal\d$/ } keys %now), 0, "$name: and no second one");
		cmp_ok($sizes[-1] - $sizes[0], '<=', 1, "$name: sizes @sizes");
		is(scalar(grep { ($owner{$_} // '') ne $now{$_} } keys %now), $moves, "$name: $moves partitions have moved");
		%owner = %now;
	};

	run_sql($m[0], $subscribe);
	$check->('one member', 7, $m[0]);
	run_sql($m[1], $subscribe);
	$check->('a second', 3, @m[ 0, 1 ]);
	run_sql($m[2], $subscribe);
	$check->('a third', 2, @m[ 0 .. 2 ]);
	run_sql($m[3], $subscribe);
	$check->('a fourth', 1, @m);
	run_sql($m[0], 'SELECT FROM eventlog.unsubscribe()');
	$check->('the first leaves', 2, @m[ 1 .. 3 ]);
	is(partitions($m[0]), '', 'who has left has nothing');
	quit($m[1]);
	$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM (SELECT DISTINCT consumer_id FROM eventlog.group_members WHERE consumer_group = 'bal') x});
	$check->('another one ends its session', 2, @m[ 2, 3 ]);
	sql(q{SELECT eventlog.add_partitions('bal', 9)});
	delete @owner{ grep { $_ =~ /bal[78]/ } keys %owner };
	my @sizes = map { scalar(split / /, partitions($_)) } @m[ 2, 3, 2, 3 ];
	is($sizes[2] + $sizes[3], 9, 'partitions that are added have owners');
	quit(@m[ 0, 2, 3 ]);
}

# Members of different topics: each topic only to who wants it.
{
	topic('both1', 3, 0);
	topic('both2', 3, 0);
	sql(q{SELECT eventlog.create_group('both', 'both1'); SELECT eventlog.create_group('both', 'both2')});
	my @m = map { session("both$_") } 1 .. 3;

	run_sql($m[0], q{SELECT FROM eventlog.subscribe('both', '{both1}')});
	run_sql($m[1], q{SELECT FROM eventlog.subscribe('both', '{both1,both2}')});
	run_sql($m[2], q{SELECT FROM eventlog.subscribe('both', '{both2}')});
	partitions($_) foreach @m;
	my @have = map { partitions($_) } @m;
	is(join(' ', sort map { split / / } @have), 'both10 both11 both12 both20 both21 both22', 'two topics: each partition has one owner');
	unlike($have[0], qr/both2/, 'who wants one topic gets that one');
	unlike($have[2], qr/both1/, 'and who wants the other, that one');
	quit(@m);
}

# ---- when a partition changes hands ----

topic('hand', 2, 3);
{
	my ($one, $two) = map { session("hand$_") } 1, 2;
	my $subscribe = q{SELECT FROM eventlog.subscribe('hand', '{hand}')};

	foreach my $end ('COMMIT', 'ROLLBACK')
	{
		run_sql($one, $subscribe);
		run_sql($one, 'BEGIN');
		like(run_sql($one, take(1)), qr/:/, "$end: one member reads");
		like(run_sql($one, take(1)), qr/:/, "$end: of both partitions");
		run_sql($two, $subscribe);
		my $kept = sql(q{SELECT string_agg(partition::text, ' ') FROM eventlog.group_members WHERE consumer_group = 'hand' AND leaving});
		unlike(run_sql($two, 'BEGIN; ' . take()), defined $kept && $kept ne '' ? qr/\b$kept:/ : qr/^$/,
			"$end: what the first has read stays with it while its transaction runs");
		run_sql($two, 'SELECT FROM eventlog.commit(); COMMIT');
		run_sql($one, 'SELECT FROM eventlog.commit()') if $end eq 'COMMIT';
		run_sql($one, $end);
		is(sql(q{SELECT string_agg(n::text, ' ') FROM (SELECT count(*) AS n FROM eventlog.group_members WHERE consumer_group = 'hand' GROUP BY consumer_id) x}),
			'1 1', "$end hands it over, without another poll of its owner");
		run_sql($_, 'SELECT FROM eventlog.unsubscribe()') foreach $one, $two;
	}
	run_sql($one, $subscribe);
	drain('hand', $one);
	all_taken('hand', 'each record was delivered once');
	quit($one, $two);
}

# Partitions that stay keep flowing while another is on its way.
topic('flow', 2, 2);
{
	my ($one, $two) = map { session("flow$_") } 1, 2;
	my $subscribe = q{SELECT FROM eventlog.subscribe('flow', '{flow}')};

	run_sql($one, $subscribe);
	run_sql($one, 'BEGIN');
	is(run_sql($one, take()), '0:a1 0:a2 1:a1 1:a2', 'a member with all partitions has read all of them');
	run_sql($two, $subscribe);
	is(partitions($two), '', 'the second member has to wait');
	my $stays = sql(q{SELECT partition FROM eventlog.group_members WHERE consumer_group = 'flow' AND NOT leaving AND partition IS NOT NULL});
	produce('flow', $stays, 'b1');
	produce('flow', 1 - $stays, 'c1');
	is(run_sql($one, take()), "$stays:b1", 'the partition that stays goes on, the other does not');
	send_sql($two, "SELECT partition, convert_from(value, 'UTF8') FROM eventlog.poll(10, '$long')");
	wait_until_paused($two);
	run_sql($one, 'SELECT FROM eventlog.commit(); COMMIT');
	is(answer($two), (1 - $stays) . '|c1', 'which the second member gets with the commit, and what came behind it');
	quit($one, $two);
}

# Records that were read and not committed go to the new owner, and the old one
# is told.
topic('lost', 2, 1);
{
	my ($one, $two) = map { session("lost$_") } 1, 2;
	my $subscribe = q{SELECT FROM eventlog.subscribe('lost', '{lost}')};

	run_sql($one, $subscribe);
	is(run_sql($one, q{SELECT count(*) FROM eventlog.poll()}), '2', 'a member reads and does not commit');
	run_sql($two, $subscribe);
	is(partitions($two), '', 'nothing changes hands yet');
	is(run_sql($one, q{SELECT count(*) FROM eventlog.poll()}), '0', 'its next poll gives a partition up');
	is(run_sql($two, q{SELECT count(*) FROM eventlog.poll()}), '1', 'the new owner gets its record');
	like(run_sql($one, "\\set VERBOSITY verbose\nSELECT FROM eventlog.commit()"), qr/ERROR:  LG003/, 'commit() says that it is lost');
	is(run_sql($one, 'SELECT FROM eventlog.commit()'), '', 'once');

	# also to who catches the error
	run_sql($two, 'SELECT FROM eventlog.unsubscribe()');
	run_sql($one, 'SELECT FROM eventlog.poll()');
	run_sql($two, $subscribe);
	run_sql($one, 'SELECT FROM eventlog.poll()');
	run_sql($one, 'BEGIN; SAVEPOINT s');
	like(run_sql($one, 'SELECT FROM eventlog.commit()'), qr/ERROR/, 'commit() says it again');
	run_sql($one, 'ROLLBACK TO s');
	like(run_sql($one, 'SELECT FROM eventlog.commit()'), qr/ERROR/, 'and again, if the error was caught');
	run_sql($one, 'ROLLBACK');
	quit($one, $two);
}

# A backend's exit is a leave, whatever it was doing.
topic('exit', 2, 2);
{
	my $two = session('exit2');
	my $subscribe = q{SELECT FROM eventlog.subscribe('exit', '{exit}')};
	my $one = session('exit1');

	run_sql($one, $subscribe);
	run_sql($one, 'BEGIN; ' . take());
	run_sql($two, $subscribe);
	send_sql($two, "SELECT partition FROM eventlog.poll(1, '$long')");
	wait_until_paused($two);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($one->{pid})");
	like(answer($two), qr/^[01]$/, 'a member is terminated in its transaction: another one that waits gets its records');
	wait_for_members('exit', 1);
	is(partitions($two), 'exit0 exit1', 'and its partitions');
	eval { $one->quit };
	quit($two);
}

# ---- fencing ----

# Stop a member at a pause point of its commit, have its group remove it, let
# another one take over; then go on.
foreach my $point ('member-commit', 'member-committing')
{
	my $name = $point eq 'member-commit' ? 'fence1' : 'fence2';

	topic($name, 2, 3, ms => 1000);
	my ($one, $two) = (session('stopped'), session('other'));
	my $subscribe = "SELECT FROM eventlog.subscribe('$name', '{$name}')";

	run_sql($one, $subscribe);
	run_sql($one, 'BEGIN');
	is(run_sql($one, take()), '0:a1 0:a2 0:a3 1:a1 1:a2 1:a3', "$point: a member reads");
	run_sql($one, 'SELECT FROM eventlog.commit()');
	pause_on($node);
	run_sql($one, "SET eventlog.pause_at = '$point'");
	send_sql($one, "\\set VERBOSITY verbose\nCOMMIT");
	wait_until_paused($one);
	kill 'STOP', $one->{pid};

	run_sql($two, $subscribe);
	my $got = '';
	if ($point eq 'member-commit')
	{
		# it has not begun to commit: its partitions are anybody's
		my $left = 10 * $PostgreSQL::Test::Utils::timeout_default;
		$got = run_sql($two, 'BEGIN; ' . take());
		while ($left-- > 0 && $got eq '')
		{
			run_sql($two, 'ROLLBACK');
			usleep(100_000);
			$got = run_sql($two, 'BEGIN; ' . take());
		}
		is($got, '0:a1 0:a2 0:a3 1:a1 1:a2 1:a3', "$point: stopped for too long, it loses its partitions");
		is(run_sql($two, 'SELECT FROM eventlog.commit(); COMMIT'), '', "$point: and the other one commits");
	}
	else
	{
		# it may still commit: the new owner has the partitions, and waits
		while (partitions($two) ne "${name}0 ${name}1")
		{
			usleep(50_000);
		}
		unlike(run_sql($two, 'BEGIN; ' . take()), qr/0:/, "$point: the new owner of its partitions waits for its end");
		run_sql($two, 'ROLLBACK');
		produce($name, 0, 'late');
		unlike(run_sql($two, 'BEGIN; ' . take()), qr/0:/, "$point: also if there is something new");
		run_sql($two, 'ROLLBACK');
	}
	kill 'CONT', $one->{pid};
	pause_off($node);
	my $out = answer($one);
	if ($point eq 'member-commit')
	{
		like($out, qr/ERROR:  LG003/, "$point: its late commit is refused");
		is(sql("SELECT count(*) FROM got WHERE pid = $one->{pid}"), '0', "$point: with all that it has done");
	}
	else
	{
		# whether its second partition was still its own is a race that it loses
		like($out, qr/ERROR:  LG003/, "$point: what it had not begun to commit is refused");
	}
	run_sql($one, "SET eventlog.pause_at = ''");
	drain($name, $one, $two);
	all_taken($name, "$point: each record was delivered once");
	quit($one, $two);
}

# The same with one partition: the commit that has begun goes through, whether
# its position is in the table yet or only announced in shared memory.
foreach my $point ('member-owned', 'member-committing')
{
	my $name = $point eq 'member-owned' ? 'fence3' : 'fence6';

	topic($name, 1, 3, ms => 1000);
	my ($one, $two) = (session('stopped'), session('other'));
	my $subscribe = "SELECT FROM eventlog.subscribe('$name', '{$name}')";

	run_sql($one, $subscribe);
	run_sql($one, 'BEGIN; ' . take() . '; SELECT FROM eventlog.commit()');
	pause_on($node);
	run_sql($one, "SET eventlog.pause_at = '$point'");
	send_sql($one, 'COMMIT');
	wait_until_paused($one);
	kill 'STOP', $one->{pid};
	run_sql($two, $subscribe);
	usleep(50_000) while (partitions($two) ne "${name}0");
	is(run_sql($two, take()), '', "$point: a commit has begun, and the new owner waits for its end");
	kill 'CONT', $one->{pid};
	pause_off($node);
	is(answer($one), '', "$point: it goes through");
	is(run_sql($two, take()), '', "$point: and the new owner goes on behind it");
	produce($name, 0, 'late');
	drain($name, $two);
	all_taken($name, "$point: a commit that has begun: each record was delivered once");

	run_sql($one, "SET eventlog.pause_at = ''");
	like(run_sql($one, take()), qr/WARNING.*joins it again/, "$point: who was removed joins again with its next poll");
	wait_for_members($name, 2);
	quit($one, $two);
}

# The group is gone meanwhile, and made anew by another member: what shared
# memory knew of the stopped member's commit is lost, and still nothing doubles.
topic('fence4', 1, 3, ms => 1000);
topic('fence5', 1, 0, ms => 1000);
sql(q{SELECT eventlog.create_group('fence4', 'fence5', config => '{"max.poll.interval.ms": 1000}')});
{
	my ($one, $two, $three) = (session('stopped'), session('other'), session('third'));

	run_sql($one, q{SELECT FROM eventlog.subscribe('fence4', '{fence4}')});
	run_sql($one, 'BEGIN; ' . take() . '; SELECT FROM eventlog.commit()');
	pause_on($node);
	run_sql($one, "SET eventlog.pause_at = 'member-owned'");
	send_sql($one, "\\set VERBOSITY verbose\nCOMMIT");
	wait_until_paused($one);
	kill 'STOP', $one->{pid};
	run_sql($two, q{SELECT FROM eventlog.subscribe('fence4', '{fence5}')});
	while (sql(q{SELECT count(DISTINCT consumer_id) FROM eventlog.group_members WHERE consumer_group = 'fence4'}) > 1)
	{
		run_sql($two, 'SELECT FROM eventlog.poll()');
		usleep(50_000);
	}
	run_sql($three, q{SELECT FROM eventlog.subscribe('fence4', '{fence4}')});
	my $got = run_sql($three, 'BEGIN; ' . take());
	my $done = run_sql($three, 'SELECT FROM eventlog.commit(); COMMIT');
	note("the third got: $got; $done");
	kill 'CONT', $one->{pid};
	pause_off($node);
	note('the stopped one: ' . answer($one));
	run_sql($one, "ROLLBACK; SET eventlog.pause_at = ''");
	drain('fence4', $three);
	all_taken('fence4', 'a stopped member whose group was made anew: each record was delivered once');
	quit($one, $two, $three);
}

# ---- transactions ----

topic('trans', 1, 4);
{
	my ($one, $two) = (session('trans1'), session('trans2'));
	my $subscribe = q{SELECT FROM eventlog.subscribe('trans', '{trans}')};

	run_sql($one, $subscribe);
	is(run_sql($one, 'BEGIN; ' . take(1)), '0:a1', 'poll() in a transaction');
	run_sql($one, 'ROLLBACK');
	is(run_sql($one, 'BEGIN; ' . take(1)), '0:a1', 'again after its rollback');
	run_sql($one, 'SAVEPOINT s');
	is(run_sql($one, take(1)), '0:a2', 'and the next in a savepoint');
	run_sql($one, 'SELECT FROM eventlog.commit(); ROLLBACK TO s');
	is(run_sql($one, take(1)), '0:a2', 'again after the rollback to it');
	run_sql($one, 'SELECT FROM eventlog.commit(); RELEASE s; COMMIT');
	is(sql(q{SELECT next_offset FROM eventlog.committed_offset WHERE consumer_group = 'trans'}), '2', 'commit() has committed both');

	# prepared
	is(run_sql($one, 'BEGIN; ' . take(1)), '0:a3', 'a transaction to be prepared');
	run_sql($one, q{SELECT FROM eventlog.commit(); PREPARE TRANSACTION 'p1'});
	is(run_sql($one, take()), '', 'its partition waits for it');
	run_sql($two, $subscribe);
	quit($one);
	wait_for_members('trans', 1);
	is(run_sql($two, take()), '', 'also with another owner');
	run_sql($two, 'SELECT FROM eventlog.unsubscribe()');
	run_sql($two, $subscribe);
	is(run_sql($two, take()), '', 'and in a group that was made anew');
	send_sql($two, "SELECT convert_from(value, 'UTF8') FROM eventlog.poll(1, '$long')");
	wait_until_paused($two);
	sql(q{COMMIT PREPARED 'p1'});
	is(answer($two), 'a4', 'COMMIT PREPARED: the next owner goes on behind it');
	run_sql($two, 'BEGIN');
	run_sql($two, q{SELECT FROM eventlog.seek('trans', 0, 3)});
	is(run_sql($two, take()), '0:a4', 'after seek()');
	run_sql($two, q{SELECT FROM eventlog.commit(); PREPARE TRANSACTION 'p2'});
	sql(q{ROLLBACK PREPARED 'p2'});
	is(run_sql($two, 'BEGIN; ' . take() . '; SELECT FROM eventlog.commit(); COMMIT'), '0:a4', 'ROLLBACK PREPARED gives the records again');
	all_taken('trans', 'transactions: each record was delivered once');

	# REPEATABLE READ
	produce('trans', 0, 'r1');
	run_sql($two, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	produce('trans', 0, 'r2');
	is(run_sql($two, take()), '0:r1', 'REPEATABLE READ: what the snapshot sees');
	is(run_sql($two, q{SELECT count(*) FROM eventlog.poll(1, '1 minute')}), '0', 'and no waiting for more');
	run_sql($two, 'SELECT FROM eventlog.commit(); COMMIT');
	is(run_sql($two, 'BEGIN ISOLATION LEVEL SERIALIZABLE; ' . take() . '; SELECT FROM eventlog.commit(); COMMIT'), '0:r2', 'SERIALIZABLE: the rest');
	quit($two);
}

# What commit() has noted is not lost by what comes after it in the transaction.
topic('noted1', 1, 2);
topic('noted2', 1, 2);
{
	my ($one, $two) = (session('noted1'), session('noted2'));
	my $subscribe = q{SELECT FROM eventlog.subscribe('noted1', '{noted1}')};

	run_sql($one, $subscribe);
	run_sql($one, 'BEGIN; ' . take(1) . '; SELECT FROM eventlog.commit(); SELECT FROM eventlog.unsubscribe()');
	run_sql($two, $subscribe);
	is(partitions($two), '', 'unsubscribe() in a transaction that commits: it leaves at its end');
	run_sql($one, 'COMMIT');
	is(run_sql($two, 'BEGIN; ' . take(1) . '; SELECT FROM eventlog.commit(); COMMIT'), '0:a2', 'and has committed');
	run_sql($two, 'SELECT FROM eventlog.unsubscribe()');

	foreach my $call (q{eventlog.subscribe('noted2', '{noted2}')}, q{eventlog.subscribe('noted1', '{nothing}')},
		q{eventlog.assign('noted2', 'noted2')})
	{
		produce('noted1', 0, 'b');
		run_sql($one, $subscribe);
		run_sql($one, 'BEGIN; ' . take(1) . '; SELECT FROM eventlog.commit()');
		my $out = run_sql($one, "DO \$\$ BEGIN PERFORM $call; EXCEPTION WHEN undefined_table OR object_not_in_prerequisite_state THEN NULL; END \$\$; COMMIT");
		run_sql($one, 'ROLLBACK') if $out =~ /ERROR/;
		run_sql($one, 'SELECT FROM eventlog.unsubscribe()');
		run_sql($two, $subscribe);
		drain('noted1', $two);
		run_sql($two, 'SELECT FROM eventlog.unsubscribe()');
		all_taken('noted1', "$call after commit(): each record was delivered once");
	}

	# what was read is not forgotten silently either
	produce('noted1', 0, 'c');
	run_sql($one, $subscribe);
	run_sql($one, 'BEGIN; ' . take(1) . '; SELECT FROM eventlog.unsubscribe()');
	like(run_sql($one, 'SELECT FROM eventlog.commit()'), qr/ERROR/, 'commit() of what was read before unsubscribe() in this transaction is an error');
	run_sql($one, 'ROLLBACK');
	is(run_sql($one, 'SELECT FROM eventlog.commit()'), '', 'and only there');
	quit($one, $two);
}

# ---- calls ----

topic('call', 3, 2);
{
	my ($one, $two) = (session('call1'), session('call2'));

	run_sql($one, q{SELECT FROM eventlog.assign('call', 'call', '{0,0,2}')});
	is(partitions($one), 'call0 call2', 'assign(): the partitions that it names, once each');
	like(run_sql($two, q{SELECT FROM eventlog.assign('call', 'call', '{2}')}), qr/ERROR:  partition 2 is assigned to another member/,
		'assign(): not to two');
	run_sql($two, q{SELECT FROM eventlog.subscribe('call', '{call}')});
	is(partitions($two), 'call1', 'the rest is for those who subscribe');
	like(run_sql($one, q{SELECT FROM eventlog.assign('call', 'call', '{1}')}), qr/ERROR:  partition 1 is assigned/, 'and not to be assigned');

	# the session that got the error can be cancelled still
	send_sql($one, "SELECT pg_sleep($PostgreSQL::Test::Utils::timeout_default)");
	$node->poll_query_until('postgres', "SELECT query LIKE '%pg_sleep%' AND state = 'active' FROM pg_stat_activity WHERE pid = $one->{pid}");
	sql("SELECT pg_cancel_backend($one->{pid})");
	like(answer($one), qr/canceling statement/, 'after an error of assign() the session can be cancelled');

	run_sql($one, q{SELECT FROM eventlog.assign('call', 'call', '{0}')});
	is(join(', ', partitions($one), partitions($two)), 'call0, call1 call2', 'assign() anew gives up what it does not name');

	# to subscribe, and back
	run_sql($two, q{SELECT FROM eventlog.unsubscribe()});
	run_sql($one, q{SELECT FROM eventlog.subscribe('call', '{call}')});
	is(partitions($one), 'call0 call1 call2', 'subscribe() after assign()');
	run_sql($one, q{SELECT FROM eventlog.assign('call', 'call', '{1}')});
	run_sql($two, q{SELECT FROM eventlog.subscribe('call', '{call}')});
	is(join(', ', partitions($one), partitions($two)), 'call1, call0 call2', 'assign() after subscribe()');

	# seek, pause, resume, typed
	is(run_sql($two, q{SELECT string_agg(partition || value, ' ' ORDER BY partition, record_offset) FROM eventlog.poll(null::topics.call)}), '0a1 0a2 2a1 2a2', 'poll() of a type');
	is(run_sql($two, q{SELECT eventlog.seek('call', 0, 1), eventlog.seek('call', 2, 0), eventlog.pause('call', 2)}), '||', 'seek() and pause()');
	is(run_sql($two, q{SELECT string_agg(partition || value, ' ' ORDER BY partition, record_offset) FROM eventlog.poll(null::topics.call)}), '0a2', 'poll() goes on there, without what is paused');
	is(run_sql($two, q{SELECT string_agg(partition || ' ' || coalesce(next_offset, -1) || ' ' || paused, ', ' ORDER BY partition) FROM eventlog.assignment()}), '0 2 false, 2 0 true', 'assignment() says so');
	run_sql($two, q{SELECT FROM eventlog.resume('call')});
	is(run_sql($two, q{SELECT string_agg(partition || value, ' ' ORDER BY partition, record_offset) FROM eventlog.poll(null::topics.call)}), '2a1 2a2', 'resume()');
	like(run_sql($two, q{SELECT FROM eventlog.seek('call', 1, 0)}), qr/ERROR:  partition 1 of topic "call" is not assigned/, 'seek() of another one\'s');
	like(run_sql($two, q{SELECT FROM eventlog.seek('call', 0, 3)}), qr/ERROR:  offset 3 is out of range/, 'seek() beyond the end');
	run_sql($two, 'BEGIN');
	run_sql($two, q{SELECT FROM eventlog.seek('call', 0, 0)});
	run_sql($two, 'ROLLBACK');
	is(run_sql($two, q{SELECT count(*) FROM eventlog.poll()}), '0', 'a rollback takes seek() back');
	like(run_sql($two, q{SELECT FROM eventlog.commit('call', 'call', 0, 3)}), qr/ERROR:  offset 3 is not among/, 'commit() of what was not read');
	run_sql($two, q{SELECT FROM eventlog.commit('call', 'call', 0, 1)});
	is(sql(q{SELECT string_agg(partition || ':' || next_offset, ' ') FROM eventlog.committed_offset WHERE consumer_group = 'call'}), '0:1', 'commit() of one partition');

	# DISCARD ALL
	run_sql($two, 'DISCARD ALL');
	like(run_sql($two, 'SELECT FROM eventlog.poll()'), qr/ERROR:  this session has not subscribed/, 'DISCARD ALL ends the subscription');
	wait_for_members('call', 1);
	quit($one, $two);
}

# Patterns, topics that come and go, also with the same name.
{
	my $one = session('pattern');

	topic('pat-a', 1, 1);
	topic('pat-b', 1, 1);
	run_sql($one, q{SELECT FROM eventlog.subscribe('pattern', '{^pat-}')});
	is(partitions($one), 'pat-a0 pat-b0', 'a pattern');
	topic('pat-c', 2, 1);
	is(partitions($one), 'pat-a0 pat-b0 pat-c0 pat-c1', 'a topic that comes later');
	send_sql($one, "SELECT topic FROM eventlog.poll(10, '$long') WHERE convert_from(value, 'UTF8') = 'new'");
	is(answer($one), '', 'their records');
	send_sql($one, "SELECT topic FROM eventlog.poll(10, '$long')");
	wait_until_paused($one);
	topic('pat-d', 1, 1);
	is(answer($one), 'pat-d', 'a topic that comes while the member waits');
	run_sql($one, 'SELECT FROM eventlog.commit()');
	send_sql($one, "SELECT topic FROM eventlog.poll(10, '$long')");
	wait_until_paused($one);
	sql(q{DROP TABLE topics."pat-a"});
	pass('who waits for records does not keep the topic');
	topic('pat-a', 1, 1);
	is(answer($one), 'pat-a', 'a topic that is dropped and made again');
	quit($one);
}

# More topics than can be waited for singly.
{
	my $one = session('many');

	topic("many$_", 9, 0) foreach 1 .. 12;
	run_sql($one, q{SELECT FROM eventlog.subscribe('many', '{^many}')});
	is(scalar(split / /, partitions($one)), 108, 'a hundred partitions');
	send_sql($one, "SELECT topic, partition FROM eventlog.poll(10, '$long')");
	wait_until_paused($one);
	produce('many7', 5, 'x');
	is(answer($one), 'many7|5', 'a record in one of them ends the waiting');
	quit($one);
}

# A long session does not grow.
topic('grow', 4, 0);
{
	my $one = session('grow');
	my $rounds = $ENV{MEMBERS_ROUNDS} // 20000;
	my $loop = sub {
		return "DO \$\$ DECLARE n bigint; BEGIN FOR i IN 1 .. $_[0] LOOP"
		  . " PERFORM eventlog.produce('grow', null, 'x', partition => i % 4) WHERE i % 10 = 0;"
		  . " SELECT count(*) INTO n FROM eventlog.poll(); PERFORM eventlog.commit(); COMMIT; END LOOP; END \$\$";
	};
	my $size = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts};

	run_sql($one, q{SELECT FROM eventlog.subscribe('grow', '{grow}')});
	is(run_sql($one, $loop->(2000)), '', 'polling and committing in a loop');
	run_sql($one, $size);
	my $before = run_sql($one, $size);
	is(run_sql($one, $loop->($rounds)), '', "$rounds times");
	my $after = run_sql($one, $size);
	cmp_ok($after - $before, '<', 256 * 1024, "does not take more memory ($before, $after)");
	quit($one);
}

# ---- shared memory ----

# Of 256 assignments, all are free again whatever was done with them: one member
# of a group with as many partitions as there can be, and not one more.
topic('room', 150, 0);
topic('rest', 104, 0);
topic('more', 2, 0);
{
	my ($one, $two) = (session('room1'), session('room2'));
	my $all = sub {
		my ($name) = @_;

		is(run_sql($one, q{SELECT FROM eventlog.subscribe('room', '{room,rest}')}), '', "$name: there is room for 254 partitions");
		like(run_sql($two, q{SELECT FROM eventlog.subscribe('other', '{more,rest}')}),
			qr/ERROR:  members of consumer groups share too many partitions .* 2 are left of 256.*eventlog\.max_assignments/, "$name: and for two more");
		is(run_sql($two, q{SELECT FROM eventlog.subscribe('other', '{more}')}), '', "$name: which can be had");
		run_sql($_, 'SELECT FROM eventlog.unsubscribe()') foreach $one, $two;
	};

	$all->('at first');
	my $calls = q{CASE i % 7 WHEN 0 THEN eventlog.subscribe('room', '{rest}') WHEN 1 THEN eventlog.subscribe('room', '{room,rest}')
		WHEN 2 THEN eventlog.assign('room', 'rest', array[i % 100, i % 50]) WHEN 3 THEN eventlog.assign('room', 'room')
		WHEN 4 THEN eventlog.subscribe('more', '{more}') WHEN 5 THEN eventlog.subscribe('more', '{room,rest,more}')
		ELSE eventlog.unsubscribe() END};
	send_sql($_, "DO \$\$ BEGIN FOR i IN 1 .. 700 LOOP BEGIN PERFORM $calls, count(*) FROM eventlog.poll(); EXCEPTION WHEN object_in_use OR configuration_limit_exceeded OR object_not_in_prerequisite_state THEN NULL; END; COMMIT; END LOOP; PERFORM eventlog.unsubscribe(); END \$\$")
	  foreach $one, $two;
	is(join('', answer($one), answer($two)), '', 'members that change what they want all the time');
	$all->('after that');
	quit($one, $two);
}

# alter_group() is for members that are there, too: who waits stays, who is
# silent goes, without having polled since.
topic('altered', 2, 2);
{
	my $one = session('altered1');
	my $two = session('altered2');

	run_sql($_, q{SELECT FROM eventlog.subscribe('altered', '{altered}')}) foreach $one, $two;
	run_sql($one, q{SELECT FROM eventlog.poll(null::int)}) for 1 .. 2;
	run_sql($one, 'SELECT FROM eventlog.commit()');
	send_sql($one, qq{SELECT count(*) FROM eventlog.poll(max_wait => '$PostgreSQL::Test::Utils::timeout_default s')});
	wait_for_backend($node, 'altered1', "wait_event_type = 'Extension'");
	sql(q{SELECT eventlog.alter_group('altered', '{"max.poll.interval.ms": 500}')});
	is(answer($one), '2', 'the silent member is removed, and the one that waits gets its records');
	run_sql($one, q{SELECT eventlog.pause('altered', '{0,1}'::int[])});
	is(run_sql($one, 'SELECT string_agg(paused::text, NULL) FROM eventlog.assignment()'), 'truetrue', 'pause() of several partitions');
	run_sql($one, q{SELECT eventlog.resume('altered', '{1}'::int[])});
	is(run_sql($one, 'SELECT string_agg(paused::text, NULL ORDER BY partition) FROM eventlog.assignment()'), 'truefalse', 'resume() of one');
	quit($one, $two);
}

is(sql('SELECT count(*) FROM eventlog.group_members'), '0', 'no members are left');

# A server that is started again has prepared transactions, and no members.
topic('again', 1, 2);
{
	my $one = session('again1');

	run_sql($one, q{SELECT FROM eventlog.subscribe('again', '{again}')});
	run_sql($one, 'BEGIN; ' . take(1) . q{; SELECT FROM eventlog.commit(); PREPARE TRANSACTION 'p3'});
	quit($one);
	restart_server($node);
	$one = session('again2');
	run_sql($one, q{SELECT FROM eventlog.subscribe('again', '{again}')});
	is(run_sql($one, 'BEGIN; ' . take() . '; COMMIT'), '', 'a prepared transaction keeps its partition over a restart');
	sql(q{COMMIT PREPARED 'p3'});
	drain('again', $one);
	all_taken('again', 'and each record is delivered once');
	quit($one);
}
$node->stop;
done_testing();
