# What the tests of mirrors share: a broker that can be stopped, killed and
# started again, mirrors' states, and the comparison of two topics.

package MirrorTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Spec;
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

our @EXPORT = qw(
  need_broker broker_start broker_stop broker_kill broker_signal
  broker_address new_kafka_server mirror_state wait_for_state worker_of wait_for_records
  fill_bytes same_topics records_of kcat kcat_lengths
  broker_behind kafka_command psql_load mirror_column resident_kb crashes log_size
);

my $scripts = File::Spec->rel2abs("$FindBin::RealBin/../kafka");
my $dir;
my ($address, $pid);

# Skip the test, by name, where no broker can be had.
sub need_broker
{
	my $missing = `bash -c '. "\$1/broker.sh"; kafka_have' - '$scripts'`;
	chomp $missing;
	plan skip_all => "a real Kafka broker: $missing" if $? != 0;
	$dir = PostgreSQL::Test::Utils::tempdir() . '/broker';
}

# The broker; after an end of whatever kind the same one, under its address.
sub broker_start
{
	local $ENV{KAFKA_HEAP} = $ENV{KAFKA_HEAP} // '400m';
	system('bash', '-c',
		'. "$1/broker.sh" && kafka_start "$2" && printf "%s %s\n" "$KAFKA_BROKERS" "$KAFKA_PID" >"$2/address"',
		'-', $scripts, $dir) == 0
	  or die 'the broker does not start';
	($address, $pid) = split ' ', slurp_file("$dir/address");
}

sub broker_address { return $address; }

# With KAFKA_PROXY: where the proxy is to connect to.
sub broker_behind
{
	my ($behind) = slurp_file("$dir/server.properties") =~ m{BEHIND://([\d.:]+)};

	return $behind;
}

# One of Kafka's programs, without its output.  Takes a second or two.
sub kafka_command
{
	my ($class, @args) = @_;

	my $out = PostgreSQL::Test::Utils::tempdir() . '/kafka_command';
	return 1 if system('bash', '-c', '. "$1/broker.sh"; out=$2; shift 2; kafka_run "$@" >"$out" 2>&1',
		'-', $scripts, $out, $class, '--bootstrap-server', $address, @args) == 0;
	diag("$class @args: " . slurp_file($out));
	return 0;
}

sub broker_signal
{
	my ($signal) = @_;
	kill $signal, $pid;
}

sub broker_stop
{
	return unless $pid;
	kill 'CONT', $pid;
	kill 'TERM', $pid;
	wait_gone($pid);
	undef $pid;
}

sub broker_kill
{
	return unless $pid;
	kill 'KILL', $pid;
	wait_gone($pid);
	undef $pid;
}

END
{
	my $status = $?;
	kill 'KILL', $pid if $pid;
	$? = $status;
}
$SIG{$_} = sub { exit 130 } foreach qw(INT TERM HUP);

# A foreign server "kafka", for the owner of mirrors.
sub new_kafka_server
{
	my ($node, %params) = @_;

	$node->safe_psql($params{db} // 'postgres', <<SQL);
CREATE SERVER kafka FOREIGN DATA WRAPPER eventlog_kafka OPTIONS ("bootstrap.servers" '$address');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka;
SQL
}

sub mirror_state
{
	my ($node, $name, %params) = @_;

	return $node->safe_psql($params{db} // 'postgres',
		"SELECT state FROM eventlog.mirrors WHERE name = '$name'");
}

sub wait_for_state
{
	my ($node, $name, $state, $title) = @_;
	my $there = $node->poll_query_until('postgres',
		"SELECT state ~ '^($state)\$' FROM eventlog.mirrors WHERE name = '$name'");

	diag($node->safe_psql('postgres', 'SELECT name, state, last_error, pid FROM eventlog.mirrors'))
	  unless $there;
	return ok($there, $title // "mirror \"$name\" is $state");
}

sub worker_of
{
	my ($node, $name) = @_;

	$node->poll_query_until('postgres',
		"SELECT pid IS NOT NULL FROM eventlog.mirrors WHERE name = '$name'");
	return $node->safe_psql('postgres', "SELECT pid FROM eventlog.mirrors WHERE name = '$name'");
}

sub mirror_column
{
	my ($node, $name, $expression) = @_;

	return $node->safe_psql('postgres', "SELECT $expression FROM eventlog.mirrors WHERE name = '$name'");
}

# A client that runs a script over and over, until the file is there, or the test
# has ended.
sub psql_load
{
	my ($node, $script, $stop) = @_;
	my @dsn = ('-d', $node->connstr('postgres'));
	my $test = $$;
	my $pid = fork() // die "fork: $!";

	return $pid if $pid;
	$SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
	while (!-e $stop && getppid() == $test)
	{
		system('psql', '-XAtq', @dsn, '-f', $script, '-o', '/dev/null') == 0
		  or usleep(200_000);
	}
	require POSIX;
	POSIX::_exit(0);
}

sub resident_kb
{
	my ($process) = @_;
	my ($kb) = slurp_file("/proc/$process/status") =~ /^VmRSS:\s+(\d+)/m;

	return $kb;
}

# Lines of the server's log that tell of a process that died, or worse.
sub crashes
{
	my ($node) = @_;

	return join("\n", grep { /terminated by signal|PANIC|TRAP:|\(PID \d+\) exited with exit code [^01]/ }
		  split /\n/, slurp_file($node->logfile));
}

sub log_size
{
	my ($node) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /\n/g);
}

# Until a topic has that many records.
sub wait_for_records
{
	my ($node, $topic, $n, $title) = @_;
	my $there = $node->poll_query_until('postgres', qq{SELECT count(*) >= $n FROM topics."$topic"});

	diag($node->safe_psql('postgres',
			qq{SELECT count(*) FROM topics."$topic"; SELECT name, state, last_error, records FROM eventlog.mirrors}))
	  unless $there;
	return ok($there, $title // "$n records have come to \"$topic\"");
}

# Records that are hard to carry, in a topic of bytes with three partitions.
# Returns how many.
sub fill_bytes
{
	my ($node, $topic) = @_;

	$node->safe_psql('postgres', <<SQL);
DO \$\$
DECLARE
	every bytea := (SELECT string_agg(decode(lpad(to_hex(b), 2, '0'), 'hex'), '' ORDER BY b) FROM generate_series(0, 255) b);
	noise bytea := (SELECT string_agg(sha256(int4send(i)), '') FROM generate_series(1, 31250) i);
BEGIN
	FOR p IN 0..2 LOOP
		PERFORM eventlog.produce('$topic', NULL::bytea, NULL::bytea, partition => p);
		PERFORM eventlog.produce('$topic', ''::bytea, ''::bytea, partition => p);
		PERFORM eventlog.produce('$topic', NULL::bytea, ''::bytea, partition => p);
		PERFORM eventlog.produce('$topic', ''::bytea, NULL::bytea, partition => p);
		PERFORM eventlog.produce('$topic', every, every || every, partition => p);
		PERFORM eventlog.produce('$topic', 'tombstone'::bytea, NULL::bytea, partition => p);
		PERFORM eventlog.produce('$topic', 'headers'::bytea, 'x'::bytea, partition => p,
			headers => ARRAY[('a', ''), ('a', NULL), ('', every), ('long', noise)]::eventlog.header[]);
		PERFORM eventlog.produce('$topic', 'no headers'::bytea, 'x'::bytea, partition => p, headers => ARRAY[]::eventlog.header[]);
		PERFORM eventlog.produce('$topic', 'epoch'::bytea, 'x'::bytea, partition => p, event_time => to_timestamp(0));
		PERFORM eventlog.produce('$topic', 'one'::bytea, 'x'::bytea, partition => p, event_time => to_timestamp(0.001));
		PERFORM eventlog.produce('$topic', 'old'::bytea, 'x'::bytea, partition => p, event_time => '1999-12-31 23:59:59.999Z');
		PERFORM eventlog.produce('$topic', 'large'::bytea, noise, partition => p);
		PERFORM eventlog.produce('$topic', int4send(i), sha256(int4send(i)), partition => p) FROM generate_series(1, 500) i;
	END LOOP;
END \$\$;
SQL
	return 3 * 512;
}

# The records of a topic by partition, in order, without their offsets: all
# bytes of each, by digest; null is not 'null' and not ''.
sub records_of
{
	my ($node, $topic, %params) = @_;

	return $node->safe_psql($params{db} // 'postgres', qq{
		SELECT partition, row_number() OVER (PARTITION BY partition ORDER BY record_offset),
			extract(epoch FROM "timestamp"), left(key::text, 30),
			md5(format('%L %L %L', key, value, headers))
		FROM topics."$topic" ORDER BY 1, 2});
}

# Two topics have the same records, partition by partition.
sub same_topics
{
	my ($node, $one, $other, $title) = @_;
	my @one = split /\n/, records_of($node, $one);
	my @other = split /\n/, records_of($node, $other);
	my $good = @one == @other;
	my @different;

	for (my $i = 0; $i < @one || $i < @other; $i++)
	{
		my ($a, $b) = ($one[$i] // '-', $other[$i] // '-');
		next if $a eq $b;
		$good = 0;
		push @different, "$a / $b" if @different < 10;
	}
	ok($good, "$title: " . @one . ' records');
	diag(scalar(@one) . ' and ' . scalar(@other) . " records; the first that differ:\n" . join("\n", @different))
	  unless $good;
	return $good;
}

# kcat's view of a topic in Kafka, or undef where there is no kcat.
sub kcat
{
	my ($topic, $format) = @_;

	return undef if system('sh -c "command -v kcat" >/dev/null 2>&1') != 0;
	my $out = `kcat -b $address -C -t '$topic' -o beginning -e -q -X isolation.level=read_committed -f '$format'`;
	die 'kcat failed' if $? != 0;
	return $out;
}

# What kcat tells of each record without its bytes, and the same from a topic
# here: partition, time, length of key and of value.
sub kcat_lengths
{
	my ($node, $topic, $kafka_topic) = @_;
	my $theirs = kcat($kafka_topic, '%p %o %T %K %S\n');

	return () unless defined $theirs;
	my $sorted = join("\n", map { s/^(\d+) \d+ /$1 /r }
		  sort { my ($p, $o) = split ' ', $a; my ($q, $r) = split ' ', $b; $p <=> $q || $o <=> $r }
		  split /\n/, $theirs);
	my $ours = $node->safe_psql('postgres', qq{
		SELECT concat_ws(' ', partition, (extract(epoch FROM "timestamp") * 1000)::bigint,
			coalesce(octet_length(key), -1), coalesce(octet_length(value), -1))
		FROM topics."$topic" ORDER BY partition, record_offset});
	return ($ours, $sorted);
}

1;
