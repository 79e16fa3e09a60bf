# pg_upgrade keeps topics: from every older server that OLD_SERVERS names, one
# after the other, to this one, and at last from this one to a cluster of the
# same version.
#
# Proved after each: records, offsets, gaps and the groups' positions are the
# same; the next record of each partition gets the next offset; groups go on
# where they were; and indexes, configs and DDL work.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub make_node
{
	my ($name, @where) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, @where);

	$node->init(extra => [ '--encoding=UTF8', '--no-locale', '--data-checksums' ]);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_eventlog'");
	return $node;
}

# Minor releases since November 2026 note a version with every column, and one
# from before refuses to restore that, for any table: a release may have a new
# major version of an older date than its old one's.  So the note is taken away.
sub forget_column_versions
{
	my ($old, $new) = @_;
	my $noted = q{SELECT count(*) > 0 FROM pg_attribute WHERE attoptions::text LIKE '%pg_attver=%'};

	$new->start;
	my $known = $new->safe_psql('postgres', $noted);
	$new->stop;
	return if $known eq 't' || $old->safe_psql('postgres', $noted) eq 'f';

	note 'the new server is older than the old one by date';
	$old->safe_psql('postgres', q{
		UPDATE pg_attribute SET attoptions = nullif(array(
			SELECT o FROM unnest(attoptions) o WHERE o NOT LIKE 'pg_attver=%'), '{}')
		WHERE attoptions::text LIKE '%pg_attver=%'});
}

# Offset of the newest record of each partition of a topic, with what comes next.
my $ends = q{SELECT partition, high_watermark FROM eventlog.partitions WHERE topic = '%s' ORDER BY 1};

# Everything there is to see.
my $state = q{
	SELECT topic, relation, partitions, key_type, value_type, config FROM eventlog.topics ORDER BY topic;
	SELECT partition, record_offset, "timestamp", key, value, headers FROM topics.orders ORDER BY 1, 2;
	SELECT partition, record_offset, "timestamp", key, value, headers FROM topics.plain ORDER BY 1, 2;
	SELECT partition, record_offset, "timestamp", key, value, headers FROM topics.squeezed ORDER BY 1, 2;
	SELECT topic, partition, log_start_offset, high_watermark, last_stable_offset FROM eventlog.partitions ORDER BY 1, 2;
	SELECT consumer_group, topic, partition, current_offset, log_end_offset, lag FROM eventlog.consumer_groups ORDER BY 1, 2, 3;
	SELECT indexdef FROM pg_indexes WHERE schemaname = 'topics' ORDER BY 1;
};

my @path = split ' ', $ENV{OLD_SERVERS} // '';
my @nodes = map { make_node('old' . $_, install_path => $path[$_]) } 0 .. $#path;
push @nodes, make_node('this'), make_node('same');

# ---- what there is to upgrade ----

my $old = shift @nodes;

$old->start;
$old->safe_psql('postgres', q{
	CREATE EXTENSION pg_eventlog;
	SELECT eventlog.create_topic('orders', 2, config => '{"compression.type": "lz4"}');
	CREATE INDEX ON topics.orders (key);
	SELECT eventlog.create_topic('plain', 3, 'text', 'text', '{"segment.bytes": 1048576}');
	SELECT eventlog.create_topic('squeezed', 1, 'bytea', 'jsonb', '{"compression.type": "zstd"}');
	SELECT eventlog.create_topic(repeat('long', 40));
	INSERT INTO topics.orders (key, value) SELECT 'k' || i, json_build_object('i', i) FROM generate_series(1, 10000) i;
	INSERT INTO topics.plain (key, value) SELECT 'k' || i, repeat(i::text, 300) FROM generate_series(1, 5000) i;
	INSERT INTO topics.squeezed (key, value) SELECT decode(md5(i::text), 'hex'), jsonb_build_object('i', i) FROM generate_series(1, 5000) i;
});

# Gaps: aborted transactions and savepoints whose records have had offsets.
# Half of what is there is frozen; the rest is known by its xids.
foreach my $i (1 .. 5)
{
	$old->safe_psql('postgres', qq{
		BEGIN;
		SELECT eventlog.produce('plain', 'aborted', repeat('$i', 1000), partition => p) FROM generate_series(0, 2) p;
		SELECT * FROM eventlog.flush();
		ROLLBACK;
		BEGIN;
		SELECT eventlog.produce('squeezed', null, '{"before": $i}'::jsonb, headers => eventlog.headers('try', '$i'));
		SAVEPOINT s;
		SELECT eventlog.produce('squeezed', null, '{"aborted": $i}'::jsonb);
		SELECT * FROM eventlog.flush();
		ROLLBACK TO s;
		SELECT eventlog.produce('squeezed', null, '{"after": $i}'::jsonb, event_time => '2020-02-02 20:20:20.2+00');
		COMMIT;
		SELECT eventlog.produce('plain', 'kept', '$i', partition => p) FROM generate_series(0, 2) p;
	});
	$old->safe_psql('postgres', 'VACUUM FREEZE topics.plain, topics.squeezed') if $i == 2;
}
$old->safe_psql('postgres', q{
	BEGIN;
	SELECT count(*) FROM eventlog.consume('g', null::topics.orders, 1000);
	SELECT eventlog.commit();
	COMMIT;
	BEGIN;
	SELECT count(*) FROM eventlog.consume('g', null::topics.plain, 1234);
	SELECT eventlog.commit();
	COMMIT;
	BEGIN;
	SELECT count(*) FROM eventlog.consume('h', null::topics.squeezed, 10);
	SELECT eventlog.commit();
	COMMIT;
});
cmp_ok($old->safe_psql('postgres', q{
	SELECT min(p.high_watermark - t.n) FROM eventlog.partitions p
	JOIN (SELECT 'plain' AS topic, partition, count(*) AS n FROM topics.plain GROUP BY partition
		UNION ALL SELECT 'squeezed', partition, count(*) FROM topics.squeezed GROUP BY partition) t USING (topic, partition)}),
	'>=', 5, 'there are gaps');

# ---- step by step ----

my $nread = 1234;

foreach my $new (@nodes)
{
	my ($from, $to) = map { $_->config_data('--version') =~ /(\d+)/ } $old, $new;
	my $name = "$from to $to";
	my $before = $old->safe_psql('postgres', $state);

	forget_column_versions($old, $new);
	$old->stop;

	chdir $PostgreSQL::Test::Utils::tmp_check or die "chdir: $!";
	{
		# The new server's pg_upgrade, with its libraries.
		local %ENV = $new->_get_env();
		ok(run_log([ $new->config_data('--bindir') . '/pg_upgrade', '--no-sync',
				'-d', $old->data_dir, '-D', $new->data_dir,
				'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
				'-s', $new->host, '-p', $old->port, '-P', $new->port ]), "$name: pg_upgrade")
		  or BAIL_OUT(join('', map { slurp_file($_) =~ /(^.*error: .*\n(?:.*\n){0,9})/m ? $1 : () }
			  glob($new->data_dir . '/pg_upgrade_output.d/*/log/*dump*.log')));
	}

	$new->start;
	is($new->safe_psql('postgres', $state), $before, "$name: all is there");
	is($new->safe_psql('postgres', q{SET enable_seqscan = off;
			SELECT count(*) FROM topics.orders WHERE key = 'k500'}), '1', "$name: by the index, too");
	like($new->safe_psql('postgres', q{SET enable_seqscan = off;
			EXPLAIN SELECT * FROM topics.orders WHERE key = 'k500'}), qr/Index.* Scan/, "$name: an index scan");

	# The next offset is the one after the last, gap or not.
	foreach my $topic ('orders', 'plain', 'squeezed')
	{
		my $next = $new->safe_psql('postgres', sprintf($ends, $topic));

		$new->safe_psql('postgres', qq{
			INSERT INTO topics.$topic (partition, value)
			SELECT partition, '1' FROM eventlog.partitions WHERE topic = '$topic'});
		is($new->safe_psql('postgres',
				qq{SELECT partition, max(record_offset) FROM topics.$topic GROUP BY partition ORDER BY 1}),
			$next, "$name: $topic goes on at the next offset");
	}

	# Groups go on where they were.
	my $position = q{SELECT sum(current_offset) FROM eventlog.consumer_groups WHERE consumer_group = 'h'};
	my $at = $new->safe_psql('postgres', $position);
	is($new->safe_psql('postgres', q{
			BEGIN;
			SELECT min(record_offset) FROM eventlog.consume('h', null::topics.squeezed, 10);
			SELECT eventlog.commit();
			COMMIT;
		}) =~ /^(\d+)/ ? $1 : 'nothing', $at, "$name: a group goes on where it was");
	is($new->safe_psql('postgres', $position), $at + 10, "$name: and commits its position");
	$old = $new;
}

# ---- all the rest goes on, too ----

$old->safe_psql('postgres', q{
	SELECT eventlog.alter_topic('orders', '{"retention.ms": 5}');
	SELECT eventlog.add_partitions('orders', 3);
	INSERT INTO topics.orders (partition, key, value) VALUES (0, 'new', '1'), (2, 'new', '1');
	ALTER TABLE topics.orders RENAME TO purchases;
	VACUUM FREEZE topics.purchases;
});
is($old->safe_psql('postgres', q{SELECT count(*) FROM topics.purchases WHERE key = 'new'}), '2', 'DDL works');
$old->safe_psql('postgres', 'DROP EXTENSION pg_eventlog CASCADE');
is($old->safe_psql('postgres', "SELECT relname FROM pg_class WHERE relname ~ '^(purchases|plain|squeezed)'"), '',
	'DROP EXTENSION leaves nothing');

done_testing();
