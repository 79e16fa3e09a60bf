#!/bin/bash
# The middle part of test/debezium/compare: runs in the stage, as the server's
# user.
set -euo pipefail
cd "$STAGE/src"
. test/server.sh
. "$STAGE/cases/options"
export COMPARE_SHOW COMPARE_JOBS

server_init <<-CONF
	wal_level = logical
	timezone = UTC
	fsync = off
	max_worker_processes = 32
	max_replication_slots = 20
	max_wal_senders = 20
	max_prepared_transactions = 10
	shared_buffers = 256MB
	max_wal_size = 4GB
	log_min_messages = warning
CONF
server_start
status=0
perl test/debezium/compare.pl "$STAGE/cases/list" || status=$?
if grep -nE 'PANIC|TRAP|was terminated by signal' "$STAGE/server.log" >"$STAGE/crashes"; then
	say "The server has crashed:" >&2
	head -n 20 "$STAGE/crashes" >&2
	status=1
fi
[ -z "${KEEP:-}" ] || { touch "$STAGE/keep"; say "Kept: $STAGE" >&2; }
exit "$status"
