# Readers in the middle of a log that wraps around under them, on the primary
# and on a standby: what a cursor gives is right, or a clean error; never other
# bytes.  A standby's old snapshot while freezing, retention, compaction and
# erasure replay: replay waits, or the query is cancelled.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $primary = new_server('primary', streaming => 1, conf => <<'CONF');
wal_consistency_checking = 'all, eventlog'
shared_buffers = 8MB
max_connections = 20
hot_standby_feedback = off
max_standby_streaming_delay = -1
CONF
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', <<'SQL');
SELECT eventlog.create_topic('ring', 1, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 2000000}');
SELECT eventlog.create_topic('keys', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "delete.retention.ms": 0}');
SQL

# Every value says its own offset.
sub fill
{
	my ($topic, $n) = @_;

	$primary->safe_psql('postgres', <<SQL);
DO \$\$
DECLARE
	first bigint;
BEGIN
	FOR i IN 1 .. $n LOOP
		SELECT high_watermark INTO first FROM eventlog.partitions WHERE topic = '$topic';
		PERFORM eventlog.produce_batch('$topic', array_agg('k' || (g % 300)), array_agg(first + g || ':' || repeat('x', 200)))
			FROM generate_series(0, 999) g;
		COMMIT;
	END LOOP;
END \$\$;
SQL
}

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
}

# Fetch all the rest of a cursor: the number of rows, or the error; and rows
# whose value is not that of their offset, or that come in no order.
sub drain
{
	my ($session, $topic) = @_;

	my $out = $session->query("FETCH ALL FROM c");
	my ($rows, $bad, $last) = (0, 0, -1);

	foreach my $line (split /\n/, $out)
	{
		next unless $line =~ /^(\d+)\|(\d+):/;
		$rows++;
		$bad++ if $1 != $2 || $1 <= $last;
		$last = $1;
	}
	my $error = $session->{stderr} // '';
	return ($rows, $bad, $last);
}

# PostgreSQL::Test::BackgroundPsql is not in every server's packages: a psql that
# reads its statements from a pipe.
package Session;

sub new
{
	my ($class, $node) = @_;
	my $self = bless { out => '', err => '', in => '' }, $class;

	$self->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		IPC::Run::timeout(2 * $PostgreSQL::Test::Utils::timeout_default));
	return $self;
}

sub query
{
	my ($self, $sql) = @_;

	$self->{out} = $self->{err} = '';
	$self->{in} = "$sql;\n\\echo ~done~\n";
	$self->{run}->pump until $self->{out} =~ /^~done~$/m || !$self->{run}->pumpable;
	$self->{out} =~ s/^~done~\n//m;
	return $self->{out};
}

sub end
{
	my ($self) = @_;

	$self->{in} = "\\q\n";
	eval { $self->{run}->finish };
}

package main;

fill('ring', 10);
fill('keys', 10);
catch_up();

# ---- primary ----

foreach my $topic (qw(ring keys))
{
	my $s = Session->new($primary);

	$s->query('BEGIN');
	$s->query("DECLARE c CURSOR FOR SELECT record_offset, value FROM topics.$topic");
	$s->query('FETCH 10 FROM c');
	my $before = $primary->safe_psql('postgres', "SELECT count(*) FROM topics.$topic");
	for (1 .. 8)
	{
		fill($topic, 5);
		$primary->safe_psql('postgres', "SELECT eventlog.maintain('$topic')");
	}
	my ($rows, $bad, $last) = drain($s, $topic);
	is($bad, 0, "$topic: a cursor on the primary gives no other bytes");
	if ($topic eq 'ring')
	{
		is($rows, $before - 10, 'ring: nothing is used again while a snapshot may need it: the cursor has it all');
		my $old = -s leaf_file($primary, 'ring', 0);
		$s->query('COMMIT');
		fill('ring', 400);
		$primary->safe_psql('postgres', 'CHECKPOINT');
		cmp_ok(-s leaf_file($primary, 'ring', 0), '<=', $old * 1.6, 'ring: then the space is used again');
	}
	else
	{
		cmp_ok($rows, '>', 0, 'keys: the cursor goes on in the compacted log');
		$s->query('COMMIT');
	}
	$s->end;
}

# A reader that keeps no snapshot while it waits has to be told.
{
	my $from = $primary->safe_psql('postgres', "SELECT log_start_offset FROM eventlog.partitions WHERE topic = 'ring'");

	fill('ring', 40);
	$primary->safe_psql('postgres', "SELECT eventlog.maintain('ring')") for 1 .. 2;
	my ($ret, $out, $err) = $primary->psql('postgres', "SELECT * FROM eventlog.read('ring', 0, $from)",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/LG001/, 'read() below the log start is an error of its own');
}

# ---- standby, whose replay waits for its queries ----

catch_up();
{
	my $s = Session->new($standby);

	$s->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my ($count) = $s->query('SELECT count(*) FROM topics.ring') =~ /(\d+)/;
	$s->query('DECLARE c CURSOR FOR SELECT record_offset, value FROM topics.ring');
	$s->query('FETCH 10 FROM c');
	fill('ring', 60);
	$primary->safe_psql('postgres', "SELECT eventlog.maintain('ring')") for 1 .. 2;
	# replay comes to where blocks are freed, and waits there
	$standby->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryConflictSnapshot'")
	  or die 'replay does not wait';
	my ($rows, $bad) = drain($s, 'ring');
	is("$rows $bad", ($count - 10) . ' 0', 'standby: an open cursor has all of its snapshot; replay waits for it');
	$s->query('COMMIT');
	$s->end;
	catch_up();
	pass('standby: then replay goes on');
}

# ---- standby, whose replay does not wait ----

$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\n");
$standby->reload;
foreach my $topic (qw(ring keys))
{
	my $s = Session->new($standby);

	$s->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$s->query("DECLARE c CURSOR FOR SELECT record_offset, value FROM topics.$topic");
	$s->query('FETCH 10 FROM c');
	for (1 .. 6)
	{
		fill($topic, 10);
		$primary->safe_psql('postgres', "SELECT eventlog.maintain('$topic'); ");
		$primary->safe_psql('postgres', "SELECT eventlog.erase('$topic', 'k7')");
	}
	catch_up();
	my ($rows, $bad) = drain($s, $topic);
	is($bad, 0, "standby, $topic: a cursor gives no other bytes ($rows rows; " . ($s->{err} =~ /(ERROR|FATAL)[^\n]*/ ? $& : 'no error') . ')');
	like($s->{err}, qr/conflict with recovery|removed while they were read|connection/, "standby, $topic: it is told why it ends")
	  if $topic eq 'ring';
	$s->end;
}

# ---- the same bytes on both, and after promotion ----

foreach my $topic (qw(ring keys))
{
	ok(topic_lines($standby, $topic) eq topic_lines($primary, $topic), "$topic: the standby has the same records");
	is($_->safe_psql('postgres', "SELECT * FROM eventlog.verify('$topic')"), '', "$topic: and its pages are sound on " . $_->name)
	  foreach ($primary, $standby);
}
my $next = $primary->safe_psql('postgres', "SELECT high_watermark FROM eventlog.partitions WHERE topic = 'ring'");
$primary->stop;
$standby->promote;
is($standby->safe_psql('postgres', "SELECT eventlog.produce('ring', 'k', '$next:'); SELECT first_offset FROM eventlog.last_produced()"),
	"\n$next", 'promoted: the log goes on with the next offset');
$standby->safe_psql('postgres', "SELECT eventlog.maintain('$_')") foreach qw(ring keys ring keys);
is($standby->safe_psql('postgres', q{SELECT count(*) FROM topics.ring WHERE split_part(value, ':', 1) <> record_offset::text}), 0,
	'promoted: maintenance goes on');
$standby->stop;
done_testing();
