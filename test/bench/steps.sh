#!/bin/bash
# The inner part of the benchmark: runs in the stage, as the server's user.
set -euo pipefail
cd "$STAGE/src"
. test/server.sh
. "$STAGE/bench/settings"
. test/bench/lib.sh
. test/bench/paths.sh

server_init <<CONF
shared_buffers = 1GB
min_wal_size = 3GB
max_wal_size = 8GB
checkpoint_timeout = 1h
fsync = on
synchronous_commit = on
autovacuum = off
max_parallel_workers_per_gather = 0
max_connections = 100
log_checkpoints = off
CONF
server_start
quiet -c "CREATE EXTENSION pg_eventlog"

# WAL files that exist already are used again, so that nobody pays for new ones.
say "Warming up ..."
for i in $(seq 180); do
	echo "SELECT pg_logical_emit_message(false, 'warm', 'up'); SELECT pg_switch_wal();"
done | quiet >/dev/null
quiet -c CHECKPOINT

# The source of all bulk paths: distinct values of 100 bytes.
quiet <<SQL
CREATE UNLOGGED TABLE src (value text);
INSERT INTO src SELECT lpad(i::text, 20, '0') || repeat('x', 80) FROM generate_series(1, $COUNT) i;
VACUUM ANALYZE src;
COPY src TO '$STAGE/bench/values.txt';
SQL

for part in $parts; do
	"part_$part"
done

{
	cat <<-REPORT
		# Benchmarks

		This page is written by \`make bench\`, which sets up a throw-away server, measures, and removes it. This run: \`$COMMAND\`, $(date -u +%F), pg_eventlog ${REVISION:-0.1.0}.

		$(machine)
	REPORT
	tables
} >"$STAGE/bench/report.md"
cat "$STAGE/bench/report.md"
