#!/bin/bash
# make check: every test, on a throw-away server.  TESTS="name ..." picks some.
# OLD_SERVERS="/usr/lib/postgresql/15 ..." names installed older servers, with
# pg_eventlog installed for them, to begin pg_upgrade with.  EVENTLOG_KAFKA=no
# leaves out what needs a real Kafka broker, and with it Java.
set -eu
cd "$(dirname "$0")/.."
. test/server.sh

test/prepare.sh test
say "Building ..."
stage_make
case " ${TESTS:-kafka} " in
	*kafka* | *mirror*) stage_kafka ;;
esac
stage_run run_tests.sh
