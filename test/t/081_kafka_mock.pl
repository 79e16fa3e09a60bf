# The library that talks to Kafka (src/kafka), without a server, against
# librdkafka's mock cluster, whose brokers answer with errors.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use FuzzTest;
use Test::More;

run_tap(build_programs_in("$FindBin::RealBin/../kafka", $ENV{CC} || 'cc', 'client_test')
	  . '/client_test', 'mock');

done_testing();
