#!/bin/bash
# make demo: a week of earthquakes goes into a topic, survives a kill -9, comes
# out again, and travels to a real Kafka and back, on throw-away servers.  KEEP=1
# leaves PostgreSQL running, EVENTLOG_KAFKA=no does without Kafka, for which Java
# and 55 MB of jars are installed and fetched if they are missing.
set -eu
cd "$(dirname "$0")/.."
. test/server.sh

test/prepare.sh build
say "Building ..."
stage_make
stage_kafka
stage_run demo_steps.sh
