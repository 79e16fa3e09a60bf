# pg_upgrade keeps topics: to a cluster of the same version, which is what there
# is to test with everywhere.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub make_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_eventlog'");
	return $node;
}

my $old = make_node('old');
my $new = make_node('new');

$old->start;
$old->safe_psql('postgres', q{
	CREATE EXTENSION pg_eventlog;
	SELECT eventlog.create_topic('orders', 2, config => '{"compression.type": "lz4"}');
	CREATE INDEX ON topics.orders (key);
	SELECT eventlog.create_topic(repeat('long', 40));
	INSERT INTO topics.orders (key, value) SELECT 'k' || i, json_build_object('i', i) FROM generate_series(1, 10000) i;
	BEGIN;
	SELECT count(*) FROM eventlog.consume('g', null::topics.orders, 1000);
	SELECT eventlog.commit();
	COMMIT;
});
my $state = q{
	SELECT topic, relation, partitions, key_type, value_type, config FROM eventlog.topics ORDER BY topic;
	SELECT partition, record_offset, "timestamp", key, value, headers FROM topics.orders ORDER BY 1, 2;
	SELECT topic, partition, log_start_offset, high_watermark, last_stable_offset FROM eventlog.partitions ORDER BY 1, 2;
	SELECT consumer_group, topic, partition, current_offset, log_end_offset, lag FROM eventlog.consumer_groups ORDER BY 1, 2, 3;
	SELECT key, record_offset FROM topics.orders WHERE key = 'k500';
};
my $before = $old->safe_psql('postgres', $state);
$old->stop;

chdir $PostgreSQL::Test::Utils::tmp_check or die "chdir: $!";
command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
		'-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade');

$new->start;
is($new->safe_psql('postgres', $state), $before, 'all is there');
$new->safe_psql('postgres', q{
	SELECT eventlog.alter_topic('orders', '{"retention.ms": 5}');
	SELECT eventlog.add_partitions('orders', 3);
	INSERT INTO topics.orders (partition, key, value) VALUES (0, 'new', '1'), (2, 'new', '1');
	ALTER TABLE topics.orders RENAME TO purchases;
	VACUUM FREEZE topics.purchases;
});
is($new->safe_psql('postgres', q{SELECT count(*) FROM topics.purchases}), '10002', 'and goes on');
$new->safe_psql('postgres', 'DROP EXTENSION pg_eventlog CASCADE');
is($new->safe_psql('postgres', "SELECT relname FROM pg_class WHERE relname LIKE 'purchases%'"), '',
	'DROP EXTENSION leaves nothing');

done_testing();
