#!/bin/bash
# The inner part of the benchmark: runs in the stage, as the server's user.
set -euo pipefail
cd "$STAGE/src"
. test/server.sh
. "$STAGE/bench/settings"
. test/bench/lib.sh
. test/bench/paths.sh
. test/bench/life.sh
. test/bench/groups.sh
. test/bench/members.sh
. test/bench/capture.sh
. test/bench/mirrors.sh

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

# Shared memory that has been touched before costs the kernel nothing new.
quiet <<SQL
CREATE UNLOGGED TABLE warm (value text);
INSERT INTO warm SELECT repeat('x', 1000) FROM generate_series(1, 1050000);
DROP TABLE warm;
SQL

# The source of all bulk paths: distinct values of 100 bytes.  A crash empties it.
create_source() {
	quiet <<-SQL
		SET client_min_messages = warning;
		DROP TABLE IF EXISTS src;
		CREATE UNLOGGED TABLE src (value text);
		INSERT INTO src SELECT lpad(i::text, 20, '0') || repeat('x', 80) FROM generate_series(1, $COUNT) i;
		VACUUM ANALYZE src;
	SQL
}
create_source
quiet -c "COPY src TO '$STAGE/bench/values.txt'"

# Each part by itself: one that fails does not take the others' figures along.
failed=
for part in $parts; do
	status=0
	"part_$part" &
	wait $! || status=$?
	[ "$status" -eq 0 ] || failed="$failed $part"
done

machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
memory=$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
server=$(quiet -c "SHOW server_version" | sed 's/ .*//')
{
	cat <<-REPORT
		# Benchmarks

		Written by \`$COMMAND\`, which sets up a throw-away server, measures, and removes it; the other ways to call it are told at the top of \`test/bench/run.sh\`.

		- pg_eventlog $REVISION, PostgreSQL $server, $(date -u +%F)
		- $machine, $(nproc) cores, $memory GB, Linux $(uname -r | sed 's/-.*//')
		- shared_buffers 1 GB, fsync on, autovacuum and parallel query off; WAL files and shared buffers have been used before the clock starts

		Values are text of 100 bytes. Ours is a topic of one partition, without keys and uncompressed unless the line says otherwise; **hk** is a heap \`(id bigserial PRIMARY KEY, ts timestamptz DEFAULT now(), value text)\`, **hp** is \`(ts timestamptz DEFAULT now(), value text)\`. Bulk paths take $COUNT records. Ours and the others are measured in turn, $ROUNDS times; figures are the median, with the least and the most in parentheses. The ratio is ours divided by the other's, and the floor is what it has to reach: for rates at least, for bytes at most.
	REPORT
	tables
	[ -z "$failed" ] || printf '\nParts that failed:%s.\n' "$failed"
} >"$STAGE/bench/report.md"
cat "$STAGE/bench/report.md"
[ -z "$failed" ]
