# The library that talks to Kafka (src/kafka), without a server, against a real
# broker that wants passwords (PLAIN, SCRAM), TLS, or a certificate, and that
# allows one user nothing.
#
# Needs Java and Kafka's jars (test/kafka/broker.sh), and openssl; says so where
# they are not.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use File::Spec;
use FuzzTest;
use Test::More;

my $dir = File::Spec->rel2abs("$FindBin::RealBin/../kafka");
my ($status, $missing) = run_command('bash', '-c',
	'. "$1/broker.sh"; kafka_have && { command -v openssl >/dev/null || { echo "there is no openssl"; exit 1; }; }',
	'-', $dir);
chomp $missing;
plan skip_all => "a real Kafka broker: $missing" if $status != 0;

my $programs = build_programs_in($dir, $ENV{CC} || 'cc', 'client_test');
local $ENV{KAFKA_SECURE} = 1;
run_tap("$dir/with_broker.sh", "$tmp/broker", "$programs/client_test", 'secure');

done_testing();
