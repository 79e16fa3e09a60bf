#!/bin/bash
# make demo: a week of earthquakes goes into a topic, survives a kill -9 and
# comes out again, on a throw-away server.  KEEP=1 leaves the server running.
set -eu
cd "$(dirname "$0")/.."
. test/server.sh

test/prepare.sh build
say "Building ..."
stage_make
stage_run demo_steps.sh
