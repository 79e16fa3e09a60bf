#!/bin/bash
# make check: every test, on a throw-away server.  TESTS="name ..." picks some.
set -eu
cd "$(dirname "$0")/.."
. test/server.sh

test/prepare.sh test
say "Building ..."
stage_make
stage_run run_tests.sh
