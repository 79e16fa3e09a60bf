# README.md, followed word by word: all its SQL, in order, in one session.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my @blocks = $readme =~ /^```sql\n(.*?)^```$/msg;
cmp_ok(scalar(@blocks), '>', 5, 'README.md has SQL');

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_eventlog'\nwal_level = logical");
$node->start;

my ($ret, $out, $err) = $node->psql('postgres', join("\n", @blocks), on_error_stop => 1);
is($ret, 0, 'all of it works');
unlike($err, qr/ERROR|WARNING/, 'without errors');

# the events that it produces are in the topic, and are consumed
is($node->safe_psql('postgres', 'SELECT count(*) FROM topics.orders'), '2', 'events');
is($node->safe_psql('postgres', 'SELECT * FROM totals'), 'customer-7|50', 'consumed');
is($node->safe_psql('postgres', "SELECT sum(lag) FROM eventlog.consumer_groups"), '0', 'no lag');

# and changes of its table are captured
ok($node->poll_query_until('postgres', "SELECT state = 'streaming' FROM eventlog.captures"), 'captured');
$node->safe_psql('postgres', 'INSERT INTO orders VALUES (2, 60)');
ok($node->poll_query_until('postgres', q{SELECT string_agg(value ->> 'op', '') = 'rc' FROM topics."shop.public.orders"}),
	'the row that was there, and a new one');

done_testing();
