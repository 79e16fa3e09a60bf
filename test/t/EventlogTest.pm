# Helpers of the TAP tests that run servers of their own.
#
# The ledger is what these tests stand on: a record once seen by anybody is
# kept here, outside of the server, by (topic, partition, offset) with a digest
# of all its bytes.  Whatever happens to the server, a record in the ledger is
# there afterwards and has the same digest, and an offset in the ledger never
# names anything else.
#
# No test looks at a clock: what has to be waited for is polled for, and a
# timeout only ends a test that hangs.

package EventlogTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  new_server kill_server kill_backend children wait_gone restart_server
  pause_on pause_off start_paused finish_client start_client wait_for_backend
  open_session close_sessions run_sql send_sql answer
  ledger_new ledger_add ledger_check ledger_rows record_digest leaf_file topic_lines batch_epochs verified jump_to_xid
);

# One line for each record: where it is and a digest of everything in it.
our $digest = q{md5(concat_ws('|', extract(epoch from "timestamp")::text,
	coalesce(encode(convert_to(key::text, 'UTF8'), 'hex'), 'null'),
	coalesce(encode(convert_to(value::text, 'UTF8'), 'hex'), 'null'), coalesce(headers::text, 'null')))};

# A server that preloads us, with the extension in its database postgres.
# conf: more settings; streaming, archiving: see init() of PostgreSQL::Test::Cluster.
sub new_server
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		allows_streaming => $params{streaming} // 0,
		has_archiving    => $params{archiving} // 0,
		extra            => [
			'--encoding=UTF8', '--no-locale', '--data-checksums', '--no-sync',
			@{ $params{initdb} // [] }
		]);
	$node->append_conf('postgresql.conf', <<CONF);
shared_preload_libraries = 'pg_eventlog'
autovacuum = off
log_statement = none
max_prepared_transactions = 5
CONF
	# However slow a standby is, a checkpoint takes no WAL from it.
	$node->append_conf('postgresql.conf', "wal_keep_size = 4GB\n") if $params{streaming};
	$node->append_conf('postgresql.conf', $params{conf}) if $params{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_eventlog')
	  unless $params{no_extension};
	return $node;
}

# ---- processes ----

# Process ids of the postmaster's children.
sub children
{
	my ($parent) = @_;
	my @found;

	opendir(my $dir, '/proc') or die "/proc: $!";
	foreach my $pid (grep { /^\d+$/ } readdir($dir))
	{
		open(my $stat, '<', "/proc/$pid/stat") or next;
		my $line = <$stat> // '';
		push @found, $pid if $line =~ /^\d+ \(.*\) \S+ (\d+) / && $1 == $parent;
	}
	return @found;
}

# Wait until processes are dead.
sub wait_gone
{
	foreach my $pid (@_)
	{
		my $left = 100 * $PostgreSQL::Test::Utils::timeout_default;

		while (process_state($pid) ne 'Z')
		{
			die "process $pid does not go away" if $left-- <= 0;
			usleep(10_000);
		}
	}
}

sub process_state
{
	my ($pid) = @_;

	open(my $stat, '<', "/proc/$pid/stat") or return 'Z';
	my $line = <$stat> // '';
	return $line =~ /^\d+ \(.*\) (\S)/ ? $1 : 'Z';
}

# The server and all its processes die at once, without a chance to do
# anything.  (Killing the postmaster alone would leave a backend that is busy
# behind, which blocks the restart and goes on writing meanwhile.)
sub kill_server
{
	my ($node) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	kill 'STOP', $postmaster;
	my @pids = children($postmaster);
	$node->kill9;
	kill 'KILL', @pids;
	wait_gone($postmaster, @pids);

	# A dead postmaster that init has not reaped yet counts as alive to the
	# next one.  All its processes are dead: its lock files are stale.
	unlink($node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock');
}

sub restart_server
{
	my ($node) = @_;

	kill_server($node);
	pause_off($node);
	$node->start;
}

# One backend dies; the server (restart_after_crash = on) recovers by itself.
sub kill_backend
{
	my ($node, $pid) = @_;

	pause_off($node);
	kill 'KILL', $pid;
	wait_gone($pid);

	# a psql that is turned away may be gone before it was given its query
	my $left = 10;
	until (eval { $node->poll_query_until('postgres', 'SELECT true') })
	{
		die 'the server does not come back' if $left-- == 0;
		usleep(100_000);
	}
}

# ---- clients and pause points ----

sub pause_on
{
	my ($node) = @_;

	append_to_file($node->data_dir . '/eventlog_pause', '');
}

sub pause_off
{
	my ($node) = @_;

	unlink($node->data_dir . '/eventlog_pause');
}

# Run a script in a psql of its own; returns a handle for finish_client().
# Output goes to a file, so that nobody has to read it meanwhile.
my $nclients = 0;

sub start_client
{
	my ($node, $sql, %params) = @_;
	my $base = PostgreSQL::Test::Utils::tempdir() . '/client' . $nclients++;
	my $name = $params{name} // 'client';

	append_to_file("$base.sql", $sql);
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN,  '<', "$base.sql") or die;
		open(STDOUT, '>', "$base.out") or die;
		open(STDERR, '>', "$base.err") or die;
		exec('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
			$node->connstr($params{db} // 'postgres') . " application_name=$name")
		  or die "psql: $!";
	}
	return { pid => $pid, base => $base, name => $name };
}

# Wait for a client's end: (exit status, output, messages).
sub finish_client
{
	my ($client) = @_;

	my $left = 100 * $PostgreSQL::Test::Utils::timeout_default;

	while (waitpid($client->{pid}, WNOHANG) == 0)
	{
		usleep(10_000);
		next if $left-- > 0;
		kill 'KILL', $client->{pid};
		die "client \"$client->{name}\" does not end";
	}
	my $status = $? >> 8;
	return ($status, slurp_file("$client->{base}.out"), slurp_file("$client->{base}.err"));
}

# Process id of the backend with this name, once it waits for this.
sub wait_for_backend
{
	my ($node, $name, $condition) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '$name' AND ($condition)")
	  or die "backend \"$name\" does not get there: $condition";
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE application_name = '$name'");
}

# Start a client that stops at a pause point, and wait until it is there.
sub start_paused
{
	my ($node, $point, $sql, %params) = @_;

	pause_on($node);
	my $client = start_client($node, "SET eventlog.pause_at = '$point';\n$sql",
		name => $params{name} // 'paused');
	$client->{backend} = wait_for_backend($node, $client->{name}, "wait_event_type = 'Extension'");
	return $client;
}

# ---- sessions that are told each step ----

# A psql that goes on after errors; {pid} is its backend.
sub open_session
{
	my ($node, $name, %params) = @_;
	my $psql = $node->background_psql($params{db} // 'postgres', on_error_stop => 0);

	$psql->{name} = $name;
	run_sql($psql, "SET client_min_messages = warning; SET application_name = '$name'");
	$psql->{pid} = run_sql($psql, 'SELECT pg_backend_pid()');
	return $psql;
}

sub close_sessions
{
	$_->quit foreach @_;
}

# Have statements done; returns their rows and errors, joined by blanks.
sub run_sql
{
	my ($psql, $sql) = @_;

	send_sql($psql, $sql);
	return answer($psql);
}

# The same in two steps: meanwhile others can do theirs.
my $nsent = 0;

sub send_sql
{
	my ($psql, $sql) = @_;

	$psql->{sent} = $sql;
	$psql->{banner} = 'done ' . $nsent++ . '.';
	$psql->{stdin} .= "$sql\n;\n\\echo '$psql->{banner}'\n\\warn '$psql->{banner}'\n";
	$psql->{run}->pump_nb;
}

sub answer
{
	my ($psql) = @_;
	my $banner = quotemeta($psql->{banner});

	$psql->{timeout}->start($PostgreSQL::Test::Utils::timeout_default);
	until ($psql->{stdout} =~ /$banner/ && $psql->{stderr} =~ /$banner/)
	{
		eval { $psql->{run}->pump; 1 } or die "no answer from $psql->{name} to $psql->{sent}: $@";
	}
	my ($out, $err) = ($psql->{stdout}, $psql->{stderr});
	($psql->{stdout}, $psql->{stderr}) = ('', '');
	s/$banner\s*//, s/\s+\z//, s/^psql:<stdin>:\d+: //mg, s/\n/ /g foreach $out, $err;
	return join(' ', grep { $_ ne '' } $out, $err);
}

# ---- ledger ----

sub ledger_new
{
	return { rows => {}, checks => 0 };
}

# Lines "partition|offset|digest" of a topic, as somebody saw them.
sub topic_lines
{
	my ($node, $topic, %params) = @_;

	return $node->safe_psql($params{db} // 'postgres',
		qq{SELECT partition, record_offset, $digest FROM topics."$topic" ORDER BY 1, 2});
}

# Enter what was seen.  Returns what contradicts the ledger.
sub ledger_add
{
	my ($ledger, $topic, $lines) = @_;
	my $rows = $ledger->{rows}{$topic} //= {};
	my @wrong;

	foreach my $line (split /\n/, $lines)
	{
		my ($partition, $offset, $md5) = $line =~ /^(\d+)\|(\d+)\|([0-9a-f]{32})$/
		  or next;
		my $known = $rows->{"$partition|$offset"} //= $md5;

		push @wrong, "$topic $partition|$offset was $known and is $md5" if $known ne $md5;
	}
	return @wrong;
}

sub ledger_rows
{
	my ($ledger, $topic) = @_;

	return scalar keys %{ $ledger->{rows}{$topic} // {} };
}

# Everything in the ledger is in the topic and unchanged; what is new in the
# topic enters the ledger.
sub ledger_check
{
	my ($ledger, $node, $topic, $name, %params) = @_;
	my $lines = topic_lines($node, $topic, %params);
	my %there = map { /^(\d+\|\d+)\|/ ? ($1 => 1) : () } split(/\n/, $lines);
	my @missing = grep { !$there{$_} } keys %{ $ledger->{rows}{$topic} // {} };
	my @wrong = ledger_add($ledger, $topic, $lines);

	$ledger->{checks}++;
	my $good = ok(!@missing && !@wrong,
		"$name: all " . ledger_rows($ledger, $topic) . " records ever seen are there, unchanged");
	diag("missing: @missing[0 .. ($#missing > 9 ? 9 : $#missing)]") if @missing;
	diag("changed: @wrong[0 .. ($#wrong > 9 ? 9 : $#wrong)]") if @wrong;
	return $good;
}

# Path of a partition's file.
sub leaf_file
{
	my ($node, $topic, $partition, %params) = @_;

	return $node->data_dir . '/' . $node->safe_psql($params{db} // 'postgres',
		qq{SELECT pg_relation_filepath('topics."$topic:$partition"')});
}

# Every page and batch of topics is sound, and every block has one use.
sub verified
{
	my ($node, $name, @topics) = @_;

	return is(
		$node->safe_psql('postgres', join('', map { "SELECT '$_', v.* FROM eventlog.verify('$_') v;" } @topics)),
		'', "$name: verified");
}

# Base offset => partitionLeaderEpoch of the batches that start on each page,
# from the file's bytes.
sub batch_epochs
{
	my ($node, $topic, $partition) = @_;
	my %epochs;

	$node->safe_psql('postgres', 'CHECKPOINT');
	my $bytes = slurp_file(leaf_file($node, $topic, $partition));
	for (my $at = 0; $at < length($bytes); $at += 8192)
	{
		my $page = substr($bytes, $at, 8192);
		my ($lower) = unpack('x12 S', $page);
		my $special = substr($page, -32);
		my ($start, $id) = unpack('x24 S x4 S', $special);

		next if $id != 0xEE03 || $start == 0;
		while ($start + 40 <= $lower)
		{
			my ($base, $length, $epoch) = unpack('Q> N N', substr($page, $start + 16, 16));

			$epochs{$base} = $epoch;
			$start += 16 + 12 + $length;
		}
	}
	return %epochs;
}

# Move the next transaction id, as pg_resetwal's documentation says: the commit
# status of the new xids needs a file.
sub jump_to_xid
{
	my ($node, $xid, $epoch) = @_;
	my $file = sprintf('%s/pg_xact/%04X', $node->data_dir, int($xid / (8192 * 4 * 32)));

	$node->stop;
	$node->command_ok([ 'pg_resetwal', '-f', '-x', $xid, '-e', $epoch, $node->data_dir ],
		"next xid is $xid of epoch $epoch");
	unless (-e $file)
	{
		open(my $fh, '>:raw', $file) or die "$file: $!";
		print $fh "\0" x (32 * 8192);
		close($fh);
	}
	$node->start;
}

1;
