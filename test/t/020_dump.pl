# A dump, restored, has the topics: names, types, configs, owners, privileges,
# indexes, triggers, records with their offsets; and they are topics there, not
# just tables.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('dump');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_eventlog'");
$node->start;

my $long = 'long' x 40;
$node->safe_psql('postgres', 'CREATE ROLE dump_owner; CREATE ROLE dump_reader; CREATE DATABASE source;');

# "abc" is dumped before schema eventlog, "topics" after it
$node->safe_psql('source', qq{
	CREATE EXTENSION pg_eventlog;
	CREATE SCHEMA abc;
	SELECT eventlog.create_topic('orders', 2, config => '{"compression.type": "zstd"}');
	SELECT eventlog.create_topic('in.abc', 3, 'bytea', 'text', '{"retention.ms": -1}', 'abc');
	SELECT eventlog.create_topic('$long', 2);
	ALTER TABLE abc."in.abc" OWNER TO dump_owner;
	GRANT SELECT ON topics.orders TO dump_reader;
	CREATE INDEX ON topics.orders (key);
	CREATE FUNCTION upper_key() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN NEW.key = upper(NEW.key); RETURN NEW; END';
	CREATE TRIGGER upper_key BEFORE INSERT ON topics.orders FOR EACH ROW EXECUTE FUNCTION upper_key();
	INSERT INTO topics.orders (partition, "timestamp", key, value, headers)
		SELECT i % 2, '2024-01-01Z'::timestamptz + i * interval '1 s', 'k' || i, json_build_object('i', i),
			eventlog.headers('a', i::text, 'a', NULL)
		FROM generate_series(1, 1000) i;
	INSERT INTO abc."in.abc" (partition, key, value)
		SELECT 1, ('k' || i)::bytea, repeat(i::text, 1000) FROM generate_series(1, 100) i;
	INSERT INTO topics.orders (partition, key, value) VALUES (0, NULL, NULL);
});

my $state = q{
	SELECT topic, relation, partitions, key_type, value_type, config, owner FROM eventlog.topics ORDER BY topic;
	SELECT tableoid::regclass, partition, record_offset, "timestamp", key, value, headers
		FROM topics.orders ORDER BY partition, record_offset;
	SELECT tableoid::regclass, partition, record_offset, "timestamp", key, md5(value), headers
		FROM abc."in.abc" ORDER BY partition, record_offset;
	SELECT c.oid::regclass, c.relowner::regrole, c.relacl, a.amname, pg_get_expr(c.relpartbound, c.oid)
		FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
		WHERE c.relnamespace IN ('abc'::regnamespace, 'topics'::regnamespace)
		ORDER BY c.relnamespace::regnamespace::text, c.relname COLLATE "C";
	SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname = 'upper_key'
		ORDER BY tgrelid::regclass::text COLLATE "C";
};
my $before = $node->safe_psql('source', $state);
cmp_ok(length($before), '>', 10000, 'there is something to compare');

# How the dump is taken and restored.
my $dir = $node->basedir;
my @connect = ('-h', $node->host, '-p', $node->port);
my %ways = (
	plain => [ [qw(pg_dump -Fp)], undef ],
	custom => [ [qw(pg_dump -Fc)], [qw(pg_restore --exit-on-error)] ],
	parallel => [ [qw(pg_dump -Fd -j2)], [qw(pg_restore -j2)] ],
);
foreach my $way (sort keys %ways)
{
	my ($dump, $restore) = @{ $ways{$way} };
	my $file = "$dir/$way";

	$node->safe_psql('postgres', "CREATE DATABASE $way");
	command_ok([ @$dump, @connect, '-f', $file, 'source' ], "$way: dump");
	if ($restore)
	{
		command_ok([ @$restore, @connect, '-d', $way, $file ], "$way: restore");
	}
	else
	{
		command_ok([ 'psql', '-X', '-q', @connect, '-v', 'ON_ERROR_STOP=1', '-d', $way, '-f', $file ],
			"$way: restore");
	}
	is($node->safe_psql($way, $state), $before, "$way: all is there");

	# they are topics, in the session that restored and in others
	$node->safe_psql($way, q{
		SELECT eventlog.alter_topic('orders', '{"retention.ms": 5}');
		SELECT eventlog.add_partitions('orders', 3);
		INSERT INTO topics.orders (partition, key, value) VALUES (0, 'new', '1'), (2, 'new', '1');
		ALTER TABLE topics.orders RENAME TO purchases;
	});
	is( $node->safe_psql($way, q{
			SELECT topic, partitions, config FROM eventlog.topics WHERE topic = 'purchases';
			SELECT partition, record_offset, key FROM topics.purchases WHERE key = 'NEW' ORDER BY 1;
		}),
		qq(purchases|3|{"retention.ms": 5, "compression.type": "zstd"}\n0|501|NEW\n2|0|NEW),
		"$way: offsets and configs go on");
	my ($ret, $out, $err) = $node->psql($way, 'ALTER TABLE topics.purchases ADD COLUMN x int');
	like($err, qr/cannot change the columns of topic table "purchases"/, "$way: DDL is guarded");
	($ret, $out, $err) = $node->psql($way, "SELECT eventlog.create_topic('in_abc')");
	like($err, qr/topic name "in_abc" collides with topic "in.abc"/, "$way: names are taken");

	# dropping the extension takes whole topics
	$node->safe_psql($way, 'DROP EXTENSION pg_eventlog CASCADE');
	is($node->safe_psql($way, "SELECT relname FROM pg_class WHERE relname LIKE '%abc%' OR relname LIKE 'purchases%'"),
		'', "$way: DROP EXTENSION leaves nothing");
}

# schema and data apart
$node->safe_psql('postgres', 'CREATE DATABASE apart');
command_ok([ qw(pg_restore --exit-on-error --section=pre-data), @connect, '-d', 'apart', "$dir/custom" ], 'pre-data');
command_ok([ qw(pg_restore --exit-on-error --section=data), @connect, '-d', 'apart', "$dir/custom" ], 'data');
command_ok([ qw(pg_restore --exit-on-error --section=post-data), @connect, '-d', 'apart', "$dir/custom" ], 'post-data');
is($node->safe_psql('apart', $state), $before, 'sections: all is there');

done_testing();
