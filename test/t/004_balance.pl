# Who of a group's members gets which partition (src/balance.c), without a
# server: groups that change at random (test/fuzz/balance_test.c), under the
# sanitizers.
#
# BALANCE_SEED and BALANCE_COUNT choose another run.  The seed is printed.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use FuzzTest;
use Test::More;

run_tap(build_programs($ENV{CC} || 'cc', 'balance_test') . '/balance_test',
	$ENV{BALANCE_SEED} // int(rand(1 << 30)), $ENV{BALANCE_COUNT} // 300);

done_testing();
