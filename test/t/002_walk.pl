# Walking a segment whatever its bytes are (src/log_walk.c), without a server:
# sound and damaged segments (test/fuzz/walk_test.c), under the sanitizers.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use FuzzTest;
use Test::More;

run_tap(build_programs($ENV{CC} || 'cc', 'walk_test') . '/walk_test');

done_testing();
