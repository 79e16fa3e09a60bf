# The inner part of test/debezium/compare: runs cases on the server of the
# stage and compares what is in the topics with events.ndjson.
#
#	compare.pl LIST		LIST: a line "NAME<tab>FOLDER" for each case
#	compare.pl --self LIST	no server: each case is compared with itself, and with
#						copies of itself that were changed, which must be noticed
#
# Cases run two at a time, each in a database of its own.  Prints a line for
# each case, in the order of the list, and ends with "N passed, N failed".

use strict;
use warnings FATAL => 'all';

use Fcntl qw(:flock);
use File::Basename;
use IPC::Open3;
use JSON::PP;
use List::Util qw(min);
use POSIX qw(WNOHANG);
use Symbol qw(gensym);
use Time::HiRes qw(time usleep);

use lib dirname(__FILE__);
use Compare qw(parse_json parse_line compare_records read_accepted json_text is_json);

my $stage   = $ENV{STAGE} // '/nonexistent';
my $timeout = $ENV{COMPARE_TIMEOUT} || 60;
my $shown   = $ENV{COMPARE_SHOW} || 3;
my $at_once = $ENV{COMPARE_JOBS} || 2;
my $json    = JSON::PP->new->allow_nonref->canonical;

# Arguments of create_capture(), and how a connector reaches its server.
my $not_config =
  qr/^(?:name|connector\.class|tasks\.max|plugin\.name|slot\.name|publication\.name|publication\.autocreate\.mode|topic\.prefix|database\..*)$/;

# ---- a psql that is told what to do ----

package Session
{
	use Time::HiRes qw(time usleep);

	sub new
	{
		my ($class, $database, $errors, @options) = @_;
		my $self = bless { database => $database, out => '', errors => $errors }, $class;

		open(my $err, '>>', $errors) or die "$errors: $!";
		$$self{pid} = main::open3(my $in, my $out, '>&' . fileno($err), 'psql', '-XAtq', @options, '-d', $database);
		@$self{qw(in read)} = ($in, $out);
		binmode $_ foreach $in, $out;
		$in->autoflush(1);
		return $self;
	}

	# Have a text done.  Returns what was printed; dies if it takes too long.
	my $sent = 0;

	sub run
	{
		my ($self, $text, $seconds) = @_;
		my $mark = '--done-' . $$ . '-' . $sent++ . '--';
		my $until = time + ($seconds // $timeout);

		# Written bit by bit: psql reads no more while nobody reads its output.
		my $rest = "$text\n\\echo\n\\echo $mark\n";
		$$self{in}->blocking(0);
		while (1)
		{
			my ($r, $w) = ('', '');

			vec($r, fileno($$self{read}), 1) = 1;
			vec($w, fileno($$self{in}),   1) = 1 if $rest ne '';
			my $ready = select($r, $w, undef, $until > time ? $until - time : 0);
			if ($ready > 0 && $rest ne '' && vec($w, fileno($$self{in}), 1))
			{
				my $n = syswrite($$self{in}, $rest, 65536) // 0;

				substr($rest, 0, $n) = '';
			}
			if ($ready > 0 && vec($r, fileno($$self{read}), 1))
			{
				sysread($$self{read}, $$self{out}, 1 << 20, length $$self{out})
				  or die "psql ($$self{database}) ended: " . $self->errors . "\n";
			}
			last if $rest eq '' && $$self{out} =~ s/\A(.*?)\n?\n\Q$mark\E\n//s and return $1;
			die "psql ($$self{database}) does not answer: " . substr($text, 0, 200) . "\n" if time >= $until;
		}
	}

	sub errors
	{
		my ($self) = @_;

		open(my $in, '<', $$self{errors}) or return '';
		local $/;
		return scalar(<$in>) =~ s/\s+\z//r;
	}

	sub quit
	{
		my ($self) = @_;

		close($$self{in});
		close($$self{read});
		waitpid($$self{pid}, 0);
	}
}

# ---- files ----

sub slurp
{
	my ($file) = @_;

	open(my $in, '<:raw', $file) or return undef;
	local $/;
	return scalar(<$in>) // '';
}

sub expected_lines
{
	my ($folder) = @_;

	return grep { /\S/ } split /\n/, slurp("$folder/events.ndjson") // die "no events.ndjson\n";
}

sub literal
{
	my ($text) = @_;

	return "'" . $text =~ s/'/''/gr . "'";
}

sub identifier
{
	my ($text) = @_;

	return '"' . $text =~ s/"/""/gr . '"';
}

# ---- one case ----

# Returns (lines in the form of events.ndjson, notes, expected lines left as
# they are); dies if the case cannot be run.
sub run_case
{
	my ($case) = @_;
	my $folder = $$case{folder};
	my $connector = $json->decode(slurp("$folder/connector.json") // die "no connector.json\n");
	$connector = $$connector{config} if ref $$connector{config} eq 'HASH';
	my $database = $$connector{'database.dbname'} // "d_$$case{id}";
	my $work = "$stage/tmp/$$case{id}";

	$$case{connector} = $connector;
	$$case{capture}   = substr("c$$case{number}_$$case{id}", 0, 40);
	mkdir $work;

	# Another case of the same database waits.
	open(my $lock, '>', "$stage/tmp/lock." . unpack('H*', $database)) or die "lock: $!";
	flock($lock, LOCK_EX) or die "lock: $!";

	my $admin = Session->new('template1', "$work/admin.err", '-v', 'ON_ERROR_STOP=1');
	$admin->run('DROP DATABASE IF EXISTS ' . identifier($database) . ' WITH (FORCE);');
	$admin->run('CREATE DATABASE ' . identifier($database)
		  . q{ TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8';});

	my @lines;
	my $ok = eval { @lines = run_in_database($case, $database, $work); 1 };
	my $why = $@;

	eval { $admin->run('DROP DATABASE IF EXISTS ' . identifier($database) . ' WITH (FORCE);'); 1 }
	  or $ok && ($ok = 0, $why = "the database cannot be dropped: $@");
	eval { $admin->quit };
	die $why unless $ok;
	return @lines;
}

sub run_in_database
{
	my ($case, $database, $work) = @_;
	my ($folder, $connector, $capture) = @$case{qw(folder connector capture)};
	my $watch = Session->new($database, "$work/watch.err", '-v', 'ON_ERROR_STOP=1');
	my %config = map { $_ => $$connector{$_} } grep { !/$not_config/ } keys %$connector;

	$$case{since} = int(time * 1000) - 1000;
	$watch->run('CREATE EXTENSION pg_eventlog;');

	my $setup = Session->new($database, "$work/setup.err");
	$setup->run(slurp("$folder/setup.sql") // '');
	$setup->quit;
	$$case{setup_errors} = slurp("$work/setup.err") =~ s/^psql:.*?(?:NOTICE|WARNING|INFO):.*\n//mgr;

	$config{compatibility} = 'debezium';
	my $created = time;
	$watch->run(sprintf('SELECT eventlog.create_capture(%s, publication => %s, topic_prefix => %s, config => %s);',
		map { literal($_) } $capture, $$connector{'publication.name'} // 'dbz_publication',
		$$connector{'topic.prefix'} // $$case{id}, $json->encode(\%config)));
	wait_state($case, $watch, 'streaming', 'stopped', 'failed');

	my $psql = Session->new($database, "$work/workload.err");
	foreach my $part (split /^(--[ \t]*@(?:quiet|stop|start)\b.*)$/m, slurp("$folder/workload.sql") // '')
	{
		if ($part =~ /^--[ \t]*@(quiet|stop|start)/)
		{
			quiet($case, $watch) if $1 ne 'start';
			if ($1 eq 'stop')
			{
				$watch->run('SELECT eventlog.pause_capture(' . literal($capture) . ');');
				wait_state($case, $watch, 'paused', 'stopped', 'failed');
			}
			elsif ($1 eq 'start')
			{
				$watch->run('SELECT eventlog.resume_capture(' . literal($capture) . ');');
				wait_state($case, $watch, 'streaming', 'stopped', 'failed');
			}
		}
		elsif ($part =~ /\S/)
		{
			$psql->run($part);
		}
	}
	$psql->quit;
	quiet($case, $watch);
	wait_heartbeats($case, $watch);
	$$case{until} = int(time * 1000) + 1000;

	my @lines = read_topics($watch);
	$$case{types} = types($watch);
	($$case{state}, $$case{error}) = state($case, $watch);
	$watch->run('SELECT eventlog.drop_capture(' . literal($capture) . ');');
	$watch->quit;
	return @lines;
}

# (state, last error) of the capture.
sub state
{
	my ($case, $watch) = @_;
	my $row = $watch->run("SELECT state || '|' || coalesce(last_error, '') FROM eventlog.captures WHERE name = "
		  . literal($$case{capture}) . ';');

	return split /\|/, $row, 2;
}

sub wait_state
{
	my ($case, $watch, @states) = @_;
	my $until = time + $timeout;

	while (1)
	{
		my ($state, $error) = state($case, $watch);

		return $state if grep { $_ eq ($state // '') } @states;
		die "the capture does not get to be $states[0] but is " . ($state // 'not there') . ': ' . ($error // '') . "\n"
		  if time > $until;
		usleep(20_000);
	}
}

# Wait until no more events arrive: everything written so far has been captured,
# nothing has come for a while, and nothing that was written meanwhile (by the
# capture itself, too, as its watermarks are) brings more.
sub quiet
{
	my ($case, $watch) = @_;
	my $until = time + $timeout;
	my $count = -1;

	while (1)
	{
		my $lsn = $watch->run('SELECT pg_current_wal_flush_lsn();');

		while (1)
		{
			my $there = $watch->run("SELECT state <> 'streaming' OR appended_lsn >= '$lsn' FROM eventlog.captures WHERE name = "
				  . literal($$case{capture}) . ';');

			last if $there eq 't';
			die "the capture does not get to $lsn: " . $watch->run('SELECT c::text FROM eventlog.captures c;') . "\n"
			  if time > $until;
			usleep(10_000);
		}
		my $now = records($watch);
		last if $now == $count;
		$count = $now;

		# quiet for as long as this
		my $calm = time + 0.3;
		while (time < $calm)
		{
			usleep(60_000);
			$now = records($watch);
			($count, $calm) = ($now, time + 0.3) if $now != $count;
			die "records do not stop coming\n" if time > $until;
		}
	}
}

# How many records there are, but for heartbeats.
sub records
{
	my ($watch) = @_;

	return $watch->run(<<'SQL');
SELECT coalesce(sum(p.high_watermark), 0) FROM eventlog.topics t, eventlog.partitions p
WHERE p.topic = t.topic AND t.topic NOT LIKE '\_\_debezium-heartbeat%';
SQL
}

# A case that expects heartbeats gets the time that one needs.
sub wait_heartbeats
{
	my ($case, $watch) = @_;
	my $interval = $$case{connector}{'heartbeat.interval.ms'} or return;
	my $until = time + 2 * $interval / 1000 + 1;

	while (time < $until)
	{
		last if $watch->run(<<'SQL') > 0;
SELECT coalesce(sum(p.high_watermark), 0) FROM eventlog.partitions p WHERE p.topic LIKE '\_\_debezium-heartbeat%';
SQL
		usleep(100_000);
	}
}

# All records in the form of events.ndjson.
sub read_topics
{
	my ($watch) = @_;
	my $rows = $watch->run(<<'SQL');
SELECT encode(convert_to(t.topic, 'UTF8'), 'hex'), p.partition, coalesce(encode(r.key, 'hex'), '-'), coalesce(encode(r.value, 'hex'), '-'),
	coalesce((SELECT string_agg(encode(convert_to(h.name, 'UTF8'), 'hex') || ':' || coalesce(encode(h.value, 'hex'), '-'), ',' ORDER BY h.ordinality)
		FROM unnest(r.headers) WITH ORDINALITY h (name, value, ordinality)), '')
FROM eventlog.topics t
	JOIN eventlog.partitions p ON p.topic = t.topic
	CROSS JOIN LATERAL eventlog.read(t.topic, p.partition, 0, NULL) r
ORDER BY t.topic COLLATE "C", p.partition, r.record_offset;
SQL
	my @lines;

	foreach my $row (split /\n/, $rows)
	{
		my ($topic, $partition, $key, $value, $headers) = split /\|/, $row, -1;
		my @headers = map {
			my ($name, $it) = split /:/;
			'[' . json_text(pack('H*', $name)) . ',' . pasted($it) . ']'
		} split /,/, $headers;

		push @lines, sprintf('{"topic":%s,"partition":%s,"key":%s,"value":%s,"headers":[%s]}',
			json_text(pack('H*', $topic)), $partition, pasted($key), pasted($value), join(',', @headers));
	}
	return @lines;
}

# The types of all columns: {"schema.table" => {column => type}}.
sub types
{
	my ($watch) = @_;
	my $rows = $watch->run(<<'SQL');
SELECT encode(convert_to(json_build_array(n.nspname || '.' || c.relname, a.attname, t.typname)::text, 'UTF8'), 'hex')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'eventlog', 'topics') AND a.attnum > 0;
SQL
	my %types;

	foreach my $row (split /\n/, $rows)
	{
		my ($table, $column, $type) = @{ $json->decode(pack('H*', $row)) };

		$types{$table}{$column} = $type;
	}
	return \%types;
}

# Bytes as they stand in events.ndjson.
sub pasted
{
	my ($hex) = @_;

	return 'null' if $hex eq '-';
	my $bytes = pack('H*', $hex);
	return is_json($bytes) ? $bytes : json_text($bytes);
}

# ---- what is said about a case ----

# (passed, text)
sub judge
{
	my ($case, $accepted) = @_;
	my @lines;

	return (0, "FAILED\n    $@") unless eval { @lines = run_case($case); 1 };
	my @mine = grep { $$case{name} =~ $$_{case} } @$accepted;
	my ($differences, $reasons) = compare_records([ expected_lines($$case{folder}) ], \@lines,
		accepted => \@mine,
		types    => $$case{types},
		repeats  => defined $$case{connector}{'heartbeat.action.query'},
		since    => $$case{since},
		until    => $$case{until});
	my $failed = ($$case{state} // '') eq 'failed';
	my $told = join '', map { slurp("$$case{folder}/$_") // '' } qw(task-status.txt connector-warnings.txt);
	my $text = '';

	foreach my $it (@$differences[ 0 .. min($shown - 1, $#$differences) ])
	{
		$text .= "  $$it{at}\n$$it{text}";
	}
	$text .= sprintf("  and %d differences more\n", @$differences - $shown) if @$differences > $shown;
	if ($failed && $told !~ /^FAILED|uncaught/m)
	{
		$text .= "  the capture failed: $$case{error}\n";
	}
	elsif (!$failed && -e "$$case{folder}/task-status.txt")
	{
		$text .= "  the capture should have failed\n";
	}
	elsif ($failed && $text ne '')
	{
		$text .= "  (the capture failed, as it may: $$case{error})\n";
	}
	$text .= "  setup.sql: $$case{setup_errors}" if $text ne '' && $$case{setup_errors} =~ /\S/;
	return (0, "FAILED\n$text") if $text ne '';
	return (1, "ok\n" . join('', map { "  accepted: $_\n" } @$reasons));
}

# ---- without a server: does the comparison notice? ----

# Changed copies of the records: (what was done, lines).
sub mutants
{
	my (@lines) = @_;
	my @found;
	my $change = sub {
		my ($what, $code) = @_;

		foreach my $i (0 .. $#lines)
		{
			my @copy = @lines;

			$copy[$i] = $code->($copy[$i], $i) // next;
			next if $copy[$i] eq $lines[$i];
			push @found, [ "$what, line " . ($i + 1), @copy ];
			return;
		}
	};

	$change->('another digit', sub { $_[0] =~ s/("after":\{[^}]*?"\w+":\d*)(\d)([,}])/$1 . ($2 + 1) % 10 . $3/er });
	$change->('1.0 for 1', sub { $_[0] =~ s/("(?:after|before)":\{[^}]*?"\w+":-?\d+)([,}])/$1.0$2/r });
	$change->('a blank more',       sub { $_[0] =~ s/("value":\{"\w+"):/$1: /r });
	$change->('another header',     sub { $_[0] =~ s/("headers":\[\["[^"]*)"/$1x"/r });
	$change->('no headers',         sub { $_[0] =~ s/"headers":\[.+\]\}$/"headers":[]}/r });
	$change->('a string for lsn',   sub { $_[0] =~ s/"lsn":(\d+)/"lsn":"$1"/r });
	$change->('null for lsn',       sub { $_[0] =~ s/"lsn":\d+/"lsn":null/r });
	$change->('another lsn',        sub { $_[0] =~ s/"lsn":(\d+)/'"lsn":' . ($1 + 1)/er });
	$change->('null for txId',      sub { $_[0] =~ s/"txId":\d+/"txId":null/r });
	$change->('other microseconds', sub { $_[0] =~ s/"ts_us":(\d)/'"ts_us":' . ($1 + 1)/er });
	$change->('fields swapped',     sub { $_[0] =~ s/("schema":"[^"]*"),("table":"[^"]*")/$2,$1/r });
	$change->('another key',        sub { $_[0] =~ s/"key":\{"(\w+)":/"key":{"$1x":/r });
	$change->('another partition',  sub { $_[0] =~ s/"partition":0/"partition":1/r });
	foreach my $i (0 .. $#lines)
	{
		my @copy = @lines;

		next unless $lines[$i] =~ /"value":null/;
		splice(@copy, $i, 1);
		push @found, [ 'without a tombstone', @copy ];
		last;
	}
	foreach my $i (1 .. $#lines)
	{
		my ($before, $it) = map { parse_line($lines[$_]) } $i - 1, $i;
		my @copy = @lines;

		next if $$before{topic} ne $$it{topic} || $lines[$i] !~ /"txId":\d/;
		@copy[ $i - 1, $i ] = @copy[ $i, $i - 1 ];
		next if grep { $copy[$_] =~ /heartbeat/ } $i - 1, $i;
		push @found, [ "swapped, line $i", @copy ];
		last;
	}
	push @found, [ 'without the last record', @lines[ 0 .. $#lines - 1 ] ] if @lines && $lines[-1] !~ /heartbeat|update hb/;
	push @found, [ 'the last record twice', @lines, $lines[-1] ] if @lines && $lines[-1] !~ /heartbeat/;
	return @found;
}

sub judge_self
{
	my ($case) = @_;
	my @lines     = expected_lines($$case{folder});
	my $connector = $json->decode(slurp("$$case{folder}/connector.json") // '{}');
	my %how       = (repeats => defined $$connector{'heartbeat.action.query'});
	my ($differences) = compare_records(\@lines, \@lines, %how);
	my @wrong = map { "  with itself: $$_{at}\n$$_{text}" } @$differences;
	my @mutants = mutants(@lines);

	foreach my $mutant (@mutants)
	{
		my ($what, @copy) = @$mutant;
		my ($noticed) = compare_records(\@lines, \@copy, %how);

		push @wrong, "  not noticed: $what\n" unless @$noticed;
	}
	return (!@wrong, @wrong ? "FAILED\n" . join('', @wrong) : sprintf("ok, %d changed copies\n", scalar @mutants));
}

# ---- all of them ----

$SIG{PIPE} = 'IGNORE';
$| = 1;

my $self = @ARGV && $ARGV[0] eq '--self' && shift @ARGV;
my ($list) = @ARGV;
my $accepted = read_accepted(dirname(__FILE__) . '/accepted');
my (@cases, @left_out);

foreach my $line (split /\n/, slurp($list) // die "$list: $!\n")
{
	my ($name, $folder) = split /\t/, $line;
	my $id = lc $name =~ s/[^A-Za-z0-9]+/_/gr =~ s/^_+|_+$//gr;

	if (!$self && ($name =~ /-lagging$/ || (slurp("$folder/README.md") // '') =~ /timing dependent/i))
	{
		push @left_out, $name;
		next;
	}
	push @cases, { name => $name, folder => $folder, id => substr($id, -40), number => scalar @cases };
}

# Numbers of cases, for whoever is free.
my $results = "$stage/tmp/results";
if ($self) { $results = "/tmp/compare.$$" }
mkdir $results or die "$results: $!";
pipe(my $next, my $queue) or die "pipe: $!";
syswrite($queue, join '', map { pack('N', $_) } 0 .. $#cases) if @cases;
close($queue);

my %workers;
foreach my $i (1 .. min($at_once, scalar @cases))
{
	my $pid = fork() // die "fork: $!";

	if ($pid == 0)
	{
		while ((sysread($next, my $number, 4) // 0) == 4)
		{
			my $case = $cases[ unpack('N', $number) ];
			my $begun = time;
			my ($passed, $text) = eval { $self ? judge_self($case) : judge($case, $accepted) };
			my $file = "$results/$$case{number}";

			($passed, $text) = (0, "FAILED\n  $@") unless defined $text;
			open(my $out, '>:raw', "$file.new") or die "$file: $!";
			printf $out "%d%s ... %s", $passed ? 1 : 0, $$case{name}, $text;
			close($out);
			rename("$file.new", $file) or die "$file: $!";
		}
		POSIX::_exit(0);
	}
	$workers{$pid} = 1;
}

my ($passed, $failed) = (0, 0);
my @accepted_lines;
foreach my $case (@cases)
{
	my $file = "$results/$$case{number}";

	until (-e $file)
	{
		delete $workers{$_} foreach grep { waitpid($_, WNOHANG) != 0 } keys %workers;
		last if !%workers && !-e $file;
		usleep(20_000);
	}
	my $text = slurp($file) // "0$$case{name} ... FAILED\n  its process died\n";
	(substr($text, 0, 1, '') ? $passed : $failed)++;
	print $text;
	push @accepted_lines, map { "  $$case{name}: $_\n" } $text =~ /^  accepted: (.*)$/mg;
	unlink $file;
}
waitpid($_, 0) foreach keys %workers;
rmdir $results;

print "left out, because they depend on timing: @left_out\n" if @left_out;
print 'passed with accepted differences (' . @accepted_lines . "):\n", @accepted_lines if @accepted_lines;
print "$passed passed, $failed failed\n";
exit($failed == 0 && $passed > 0 ? 0 : 1);
