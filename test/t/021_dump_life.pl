# Dumps of topics that have lived: with gaps, log starts in mid-segment, aborted
# ends, emptied, compacted and erased, and with groups anywhere in them.
#
# However a dump is taken and in whatever order it is restored: the records, log
# starts and positions are the dump's; every group goes on with the same record
# as in the source; and the next record gets an offset that nobody has had, as
# far as records, positions and eventlog.partition_start tell.  Maintenance may
# work meanwhile.  A topic's tables restored alone are made a topic again.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EventlogTest;

my $node = new_server('dump_life', no_extension => 1, conf => <<'CONF');
eventlog.maintenance = off
eventlog.maintenance_interval = 100ms
fsync = off
CONF
my @connect = ('-h', $node->host, '-p', $node->port);
my $dir = $node->basedir;
my $long = 'long' x 40;

$node->safe_psql('postgres', 'CREATE ROLE life_owner; CREATE ROLE life_reader; CREATE DATABASE source');
$node->safe_psql('source', <<SQL);
CREATE EXTENSION pg_eventlog;
CREATE SCHEMA abc;		-- restored before schema eventlog
SELECT eventlog.create_topic('limited', 2, 'text', 'text', '{"segment.bytes": 1048576, "retention.bytes": 1500000}');
SELECT eventlog.create_topic('gaps', 2, 'text', 'text', '{"retention.ms": -1}', 'abc');
SELECT eventlog.create_topic('tails', 2, 'text', 'text');
SELECT eventlog.create_topic('emptied', 2, 'text', 'text', '{"cleanup.policy": "compact,delete", "retention.ms": -1}');
SELECT eventlog.create_topic('cut', 1, 'text', 'text');
SELECT eventlog.create_topic('compact', 1, 'text', 'text',
	'{"segment.bytes": 1048576, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": 0.1}');
SELECT eventlog.create_topic('buried', 1, 'text', 'text', '{"cleanup.policy": "compact", "delete.retention.ms": 0}');
SELECT eventlog.create_topic('erased', 1, 'text', 'text', '{"compression.type": "lz4"}');
SELECT eventlog.create_topic('$long', 1, 'text', 'text');
ALTER TABLE abc.gaps OWNER TO life_owner;
GRANT SELECT ON topics.tails TO life_reader;

-- the log start moves to a segment's beginning, in one of two partitions
INSERT INTO topics.limited (partition, key, value) SELECT 1, 'k' || i, repeat(md5(i::text), 20) FROM generate_series(1, 6000) i;
INSERT INTO topics.limited (partition, key, value) SELECT 0, 'k' || i, i FROM generate_series(1, 10) i;
VACUUM topics.limited;
SELECT eventlog.maintain('limited');
SELECT eventlog.alter_topic('limited', '{"retention.bytes": 100000000}');

-- explicit offsets, and the log start in the middle of a batch
INSERT INTO abc.gaps (partition, record_offset, key, value) SELECT i % 2, i * 7 + (i / 100) * 1000, 'k' || i, i
	FROM generate_series(1, 1000) i;
SELECT eventlog.delete_records('gaps', 0, 1500);

-- the last offsets belong to aborted transactions; one partition has nothing else
INSERT INTO topics.tails (partition, key, value) SELECT 0, 'k' || i, i FROM generate_series(1, 100) i;
BEGIN;
INSERT INTO topics.tails (partition, key, value) SELECT i % 2, 'gone', i FROM generate_series(1, 200) i;
SELECT count(*) FROM eventlog.flush();
ROLLBACK;

-- deleted up to the end, with and without an aborted end
INSERT INTO topics.emptied (partition, key, value) SELECT i % 2, 'k' || i, i FROM generate_series(1, 200) i;
BEGIN;
INSERT INTO topics.emptied (partition, key, value) SELECT 1, 'gone', i FROM generate_series(1, 50) i;
SELECT count(*) FROM eventlog.flush();
ROLLBACK;
SELECT eventlog.delete_records('emptied', 0, -1), eventlog.delete_records('emptied', 1, -1);

INSERT INTO topics.cut (key, value) SELECT 'k' || i, i FROM generate_series(1, 300) i;
TRUNCATE topics.cut;

-- compacted; and compacted away at the end, by a tombstone that is gone, too
INSERT INTO topics.compact (key, value) SELECT 'k' || (i * 7919) % 1000, repeat(md5(i::text), 15) FROM generate_series(1, 9000) i;
INSERT INTO topics.buried (key, value) SELECT 'k' || i % 100, i FROM generate_series(1, 1000) i;
INSERT INTO topics.buried (key, value) VALUES ('k7', null);
VACUUM topics.compact;
VACUUM topics.buried;
SELECT eventlog.maintain('compact'), eventlog.maintain('buried');
SELECT pg_sleep(0.01);
SELECT eventlog.maintain('compact'), eventlog.maintain('buried');

-- erased: keys everywhere, and the last one
INSERT INTO topics.erased (key, value) SELECT 'k' || i % 10, i FROM generate_series(1, 1000) i;
INSERT INTO topics.erased (key, value) SELECT 'last', i FROM generate_series(1, 5) i;
SELECT eventlog.erase('erased', 'k3'), eventlog.erase('erased', 'last');
SQL
my $leaf_of_long = $node->safe_psql('source', "SELECT relation FROM eventlog.topics WHERE topic = '$long'");
$node->safe_psql('source', <<SQL);
INSERT INTO $leaf_of_long (key, value) SELECT 'k' || i, i FROM generate_series(1, 500) i;
SELECT eventlog.delete_records('$long', 0, 123);

SELECT eventlog.create_group('middle', 'gaps', 'earliest', '{"auto.offset.reset": "latest"}');
SELECT count(*) FROM eventlog.consume('middle', 'gaps', 321, auto_commit => true);
SELECT count(*) FROM eventlog.consume('end', 'tails', null, auto_commit => true);
SELECT count(*) FROM eventlog.consume('middle', 'compact', 700, auto_commit => true);
SELECT count(*) FROM eventlog.consume('middle', 'erased', 400, auto_commit => true);
SELECT count(*) FROM eventlog.consume('middle', '$long', 50, auto_commit => true);
SELECT eventlog.create_group('late', 'cut', 'latest');
SELECT eventlog.create_group('lost', 'limited', 'none');
SELECT eventlog.reset_offsets('lost', 'limited', 'earliest');
SELECT eventlog.delete_records('limited', 1, log_start_offset + 100) FROM eventlog.partitions
	WHERE topic = 'limited' AND partition = 1;
SQL

is($node->safe_psql('source', q{SELECT log_start_offset > 0 FROM eventlog.partitions WHERE topic = 'limited' AND partition = 1}),
	't', 'source: retention has moved a log start');
is($node->safe_psql('source', q{SELECT current_offset || ' ' || log_end_offset FROM eventlog.consumer_groups WHERE consumer_group = 'end' AND topic = 'tails' AND partition = 0}),
	'200 200', 'source: a position is at the end of the log, behind what aborted');
cmp_ok($node->safe_psql('source', 'SELECT count(*) FROM topics.compact'), '<', 3000, 'source: compaction has left gaps');
is($node->safe_psql('source', 'SELECT max(record_offset) FROM topics.buried'), 1000 - 1, 'source: a tombstone at the end is gone');

# ---- what must be the same ----

my @topics = map { [ split /\|/ ] } split /\n/,
  $node->safe_psql('source', 'SELECT topic, relation, partitions FROM eventlog.topics ORDER BY topic');
is(scalar @topics, 9, 'all topics');

my $catalogue = <<'SQL';
SELECT topic, relation, partitions, key_type, value_type, config, owner FROM eventlog.topics ORDER BY topic;
SELECT c.oid::regclass, c.relowner::regrole, c.relacl FROM pg_class c
	WHERE c.relnamespace IN ('abc'::regnamespace, 'topics'::regnamespace) ORDER BY c.relname;
SELECT consumer_group, topic, partition, current_offset, last_commit_at FROM eventlog.consumer_groups ORDER BY 1, 2, 3;
SELECT name, topic, owner, start, config FROM eventlog.consumer_group ORDER BY 1, 2::text;
SQL
my $starts = 'SELECT topic, partition, log_start_offset FROM eventlog.partitions ORDER BY topic, partition';

sub records_of
{
	my ($db, $relation) = @_;

	return $node->safe_psql($db,
		qq{SELECT partition, record_offset, $EventlogTest::digest FROM $relation ORDER BY 1, 2});
}

# What a group would consume.
sub consumed_by
{
	my ($db, $group, $topic) = @_;

	return $node->safe_psql($db, <<SQL);
BEGIN;
SELECT partition, record_offset, encode(key, 'escape'), md5(value) FROM eventlog.consume('$group', '$topic', null) ORDER BY 1, 2;
ROLLBACK;
SQL
}

my @groups = ([ 'middle', 'gaps' ], [ 'end', 'tails' ], [ 'middle', 'compact' ], [ 'middle', 'erased' ], [ 'middle', $long ],
	[ 'late', 'cut' ], [ 'new', 'limited' ], [ 'new', 'emptied' ]);

my %source = (
	catalogue => $node->safe_psql('source', $catalogue),
	starts    => $node->safe_psql('source', $starts),
	records   => { map { ($_->[0] => records_of('source', $_->[1])) } @topics },
	consumed  => { map { ("@$_" => consumed_by('source', @$_)) } @groups });
is($source{consumed}{'end tails'}, '', 'source: nothing is left for a group at the end');
like($source{consumed}{'middle gaps'}, qr/^0\|\d+\|k/, 'source: there is something left for one in the middle');

# The offsets that have been given out, as far as a dump can know.
my %given = map { my ($topic, $partition, $offset) = split /\|/; ("$topic $partition" => $offset) } split /\n/,
  $node->safe_psql('source', 'SELECT topic, partition, high_watermark FROM eventlog.partitions');
$given{'tails 1'} = 0;    # nobody has seen these: aborted, and no group has passed them

sub newest_by_key
{
	my ($db) = @_;

	return $node->safe_psql($db, 'SELECT DISTINCT ON (key) key, record_offset, value FROM topics.compact ORDER BY key, record_offset DESC');
}

sub same_as_source
{
	my ($db, $name, %params) = @_;

	is($node->safe_psql($db, $catalogue), $source{catalogue}, "$name: topics, configs, privileges, groups, positions");
	is($node->safe_psql($db, $starts), $source{starts}, "$name: log starts");
	my @differ = grep { records_of($db, $_->[1]) ne $source{records}{ $_->[0] } }
	  grep { !$params{maintained} || $_->[0] !~ /compact|buried/ } @topics;
	is(join(' ', map { $_->[0] } @differ), '', "$name: records");
	is(newest_by_key($db), newest_by_key('source'), "$name: the newest record of each key") if $params{maintained};

	foreach my $case (grep { !$params{maintained} || $_->[1] ne 'compact' } @groups)
	{
		is(consumed_by($db, @$case), $source{consumed}{"@$case"}, "$name: $case->[0] goes on in $case->[1] where it was");
	}
	my ($ret, $out, $err) = $node->psql($db, q{SELECT * FROM eventlog.consume('lost', 'limited')},
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/LG001.*has missed records of partition 1/s, "$name: a group that has missed records is told");

	# the log goes on
	my @reused;
	foreach my $topic (@topics)
	{
		foreach my $p (0 .. $topic->[2] - 1)
		{
			my $offset = $node->safe_psql($db, "INSERT INTO $topic->[1] (partition, key, value) VALUES ($p, 'new', 'new $p') RETURNING record_offset");

			push @reused, "$topic->[0] $p: $offset" if $offset < $given{"$topic->[0] $p"};
		}
	}
	is(join(', ', @reused), '', "$name: no offset is given out again");
	foreach my $case (@groups)
	{
		my $want = $source{consumed}{"@$case"};
		my ($partitions) = map { $_->[2] } grep { $_->[0] eq $case->[1] } @topics;
		my @got = split /\n/, consumed_by($db, @$case);
		my $new = grep { /\|new\|/ } @got;

		is($new, $partitions, "$name: $case->[0] gets what is new in $case->[1]");
		next if $params{maintained} && $case->[1] eq 'compact';
		is(join("\n", grep { !/\|new\|/ } @got), $want, "$name: and nothing else than before");
	}
	foreach my $topic (map { $_->[0] } @topics)
	{
		$node->safe_psql($db, "SELECT eventlog.maintain('$topic')");
	}
	$node->safe_psql($db, "SELECT eventlog.delete_records('$_->[0]', 0, -1)") foreach @topics;
	is($node->safe_psql($db, join(' UNION ALL ', map { "SELECT * FROM (SELECT record_offset FROM $_->[1] WHERE partition = 0) t" } @topics)),
		'', "$name: they are maintained as topics");
}

sub fresh
{
	my ($db) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	return ('-d', $db);
}

sub drop
{
	$node->safe_psql('postgres', "DROP DATABASE $_[0]");
}

# ---- formats ----

my %dumps = (
	plain     => [qw(-Fp)],
	root      => [qw(-Fp --load-via-partition-root)],
	custom    => [qw(-Fc)],
	directory => [qw(-Fd -j2)]);
foreach my $way (sort keys %dumps)
{
	command_ok([ 'pg_dump', @connect, @{ $dumps{$way} }, '-f', "$dir/$way", 'source' ], "$way: dump");
}
foreach my $way (qw(plain root))
{
	command_ok([ 'psql', '-Xq', @connect, '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$way", fresh($way) ], "$way: restore");
	same_as_source($way, $way);
	drop($way);
}
foreach my $case ([ 'directory', '-j2' ], [ 'custom', '-j2' ], [ 'custom', '--single-transaction' ])
{
	my ($way, $option) = @$case;

	command_ok([ 'pg_restore', '--exit-on-error', @connect, $option, fresh('restored'), "$dir/$way" ], "$way $option: restore");
	same_as_source('restored', "$way $option");
	drop('restored');
}

# ---- orders ----

# The archive's list, with the data of eventlog's tables first or last.
sub ordered_list
{
	my ($catalogue_first) = @_;
	my ($list) = run_command([ 'pg_restore', '-l', "$dir/custom" ]);
	my @lines = split /\n/, $list;
	my @data = grep { / TABLE DATA / } @lines;
	my @ours = grep { / TABLE DATA eventlog / } @data;
	my @leaves = grep { !/ TABLE DATA eventlog / } @data;
	my ($at) = grep { $lines[$_] =~ / TABLE DATA / } 0 .. $#lines;

	# groups before topics and topics before log starts, or the other way round
	@ours = $catalogue_first ? sort { (split ' ', $a)[6] cmp (split ' ', $b)[6] } @ours
	  : sort { (split ' ', $b)[6] cmp (split ' ', $a)[6] } @ours;
	my @ordered = $catalogue_first ? (@ours, @leaves) : (reverse(@leaves), @ours);
	my @out = (grep({ !/ TABLE DATA / } @lines[ 0 .. $at - 1 ]), @ordered, grep { !/ TABLE DATA / } @lines[ $at .. $#lines ]);

	cmp_ok(scalar @ours, '>=', 4, 'the catalogue is dumped');
	append_to_file("$dir/list$catalogue_first", join("\n", @out) . "\n");
	return "$dir/list$catalogue_first";
}

foreach my $first (0, 1)
{
	my $name = 'catalogue ' . ($first ? 'first' : 'last');
	my $list = ordered_list($first);

	command_ok([ 'pg_restore', '--exit-on-error', @connect, '-L', $list, fresh('restored'), "$dir/custom" ], "$name: restore");
	same_as_source('restored', $name);
	drop('restored');

	# the schema, then the data, with the indexes and triggers there already
	fresh('restored');
	foreach my $options ([ '--section=pre-data' ], [ '--section=post-data' ], [ '--data-only', '-L', $list ])
	{
		command_ok([ 'pg_restore', '--exit-on-error', @connect, @$options, '-d', 'restored', "$dir/custom" ], "$name: @$options[0]");
	}
	same_as_source('restored', "$name, in sections");
	drop('restored');
}

# ---- while workers maintain what is being restored ----

$node->append_conf('postgresql.conf', 'eventlog.maintenance = on');
$node->reload;
foreach my $round (1 .. 2)
{
	command_ok([ 'pg_restore', '--exit-on-error', @connect, '-j2', fresh('maintained'), "$dir/directory" ], 'with workers: restore');
	ok($node->poll_query_until('maintained', q{SELECT count(*) = 1 FROM eventlog.workers WHERE database = 'maintained' AND runs > 1}),
		'with workers: they come');
	same_as_source('maintained', 'with workers', maintained => 1);
	is($node->safe_psql('maintained', q{SELECT last_error FROM eventlog.workers WHERE database = 'maintained'}), '', 'with workers: no error');
	drop('maintained');
}
$node->append_conf('postgresql.conf', 'eventlog.maintenance = off');
$node->reload;

# ---- tables alone ----

foreach my $options ([], ['--column-inserts'])
{
	my $name = "tables alone @$options";

	command_ok([ 'pg_dump', @connect, @$options, '-f', "$dir/alone@$options", '-t', 'abc.gaps', '-t', 'abc.gaps:*', '-t', 'topics.compact',
		'-t', 'topics.compact:*', 'source' ], "$name: dump");
	fresh('alone');
	$node->safe_psql('alone', 'CREATE EXTENSION pg_eventlog; CREATE SCHEMA abc');
	command_ok([ 'psql', '-Xq', @connect, '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/alone@$options", '-d', 'alone' ], "$name: restore");
	is($node->safe_psql('alone', q{SELECT count(*) FROM eventlog.topics}), 0, "$name: no topic yet");
	is($node->safe_psql('alone', q{SELECT eventlog.adopt_topic('abc.gaps', '{"retention.ms": -1}'), eventlog.adopt_topic('topics.compact', '{"cleanup.policy": "compact"}')}),
		'gaps|compact', "$name: adopted");
	is(records_of('alone', 'abc.gaps'), $source{records}{gaps}, "$name: records with their offsets");
	is($node->safe_psql('alone', q{SELECT topic, relation, partitions, key_type, value_type, config FROM eventlog.topics ORDER BY 1}),
		qq{compact|topics.compact|1|text|text|{"cleanup.policy": "compact"}\ngaps|abc.gaps|2|text|text|{"retention.ms": -1}}, "$name: topics");
	is($node->safe_psql('alone', q{
			SELECT eventlog.produce('gaps', 'new', 'new', partition => 1);
			SELECT record_offset FROM abc.gaps WHERE key = 'new'}),
		"\n" . $given{'gaps 1'}, "$name: the log goes on");
	is($node->safe_psql('alone', q{SELECT count(*) FROM eventlog.consume('g', 'gaps', null, auto_commit => true)}),
		1 + scalar(split /\n/, $source{records}{gaps}), "$name: all is consumed");
	$node->safe_psql('alone', q{VACUUM topics.compact; SELECT eventlog.maintain('compact'), eventlog.maintain('gaps'), eventlog.delete_records('gaps', 0, -1)});
	is($node->safe_psql('alone', q{SELECT count(*), count(DISTINCT key) FROM topics.compact}), '1000|1000', "$name: compacted");
	is($node->safe_psql('alone', q{SELECT count(*) FROM abc.gaps WHERE partition = 0}), 0, "$name: deleted");
	my ($ret, $out, $err) = $node->psql('alone', q{SELECT eventlog.adopt_topic('abc.gaps')});
	like($err, qr/is a topic already/, "$name: once");
	drop('alone');
}

$node->stop;
done_testing();
