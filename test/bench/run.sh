#!/bin/bash
# Measure pg_eventlog against heap tables, Kafka, PgQ, pgmq and an outbox, on a
# throw-away server, in turn with each peer: "make bench", or
#
#	test/bench/run.sh [PART ...]
#
# Parts, all unless some are named:
#	insert		INSERT ... SELECT, COPY, produce_batch() and produce(), and WAL
#	commit		one event per commit at 1, 8 and 32 clients
#	concurrent	two producers on one partition
#	scan		sequential scans
#	random		500 records at a random offset
#	size		bytes of file a record
#	kafka		a real Kafka broker: librdkafka produces and consumes
#	queue		PgQ and pgmq
#	outbox		a row and its event in one commit
#	memory		memory of a session that produces a lot
#	topics		one topic or a thousand
#	retention	a topic that stays at its size, and its consumer
#	compaction	records a second, memory, and producers meanwhile
#	inspect		verify()
#	dump		pg_dump and pg_restore
#	lookup		a record by offset and by time, in a long log and a short one
#	recovery	redo after kill -9
#	positions	committing positions, also under an old snapshot
#	latency		from a commit to a waiting consumer
#	waiters		a thousand sessions that wait
#	members		members and consumers of a group
#	capture		row changes into topics
#	mirrors		topics to and from Kafka, beside librdkafka alone
#
# Settings, from the environment:
#	COUNT		records of a bulk measurement: 1000000
#	ROUNDS		how often each is measured: 5, of which the median counts
#	SECONDS_EACH	how long pgbench runs: 5
#	KEYS		keys of compaction, which takes ten times COUNT records: COUNT
#	RETENTION_MB	what retention keeps: 256
#	WAL_MB		WAL of recovery: 1024
#	WAITERS		sessions that wait: 1000
#	MINUTES		how long positions are committed under an old snapshot: 10
#	CAPTURE		what of capture: backlog live latency big tpcb idle snapshot
#	MIRRORS		what of mirrors: rates latency idle backlog
#	BACKLOG_GB	how much mirrors move while their memory is watched: 1
#	BIG_MB		one transaction of capture: 1024
#	SNAPSHOT_ROWS	rows of capture's snapshot: 2000000
#	IDLE_SECONDS	how long an idle capture is watched: 60
#	SCALE		of pgbench's tables for capture: 20
#	OUT			file for the report: docs/benchmarks.md if all parts are run,
#				else none
#	PGMQ_SQL	pgmq's install script, if pgmq is to be measured
#
# Packages that are missing are named and installed with apt-get.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/server.sh

all="insert commit concurrent scan random size kafka queue outbox memory topics retention compaction inspect dump lookup recovery positions latency waiters members capture mirrors"
parts=${*:-$all}
for part in $parts; do
	case " $all " in
		*" $part "*) ;;
		*) die "There is no part \"$part\"; parts are: $all" ;;
	esac
done
quoted() { case $1 in *" "*) printf "'%s'" "$1" ;; *) printf %s "$1" ;; esac; }
has() { case " $parts " in *" $1 "*) return 0 ;; esac; return 1; }

report=${OUT:-}
[ -n "$report" ] || [ "$parts" != "$all" ] || report=docs/benchmarks.md

test/prepare.sh build
. test/kafka/broker.sh

# What only the benchmarks need: "package file-that-it-brings"
missing=()
need() {
	[ -e "$2" ] || missing+=("$1")
}
version=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
if has kafka || has latency || has waiters || has members || has capture || has mirrors; then
	need libpq-dev "$("$PG_CONFIG" --includedir)/libpq-fe.h"
fi
if has queue; then
	need "postgresql-$version-pgq3" "$("$PG_CONFIG" --sharedir)/extension/pgq.control"
fi
if has capture; then
	need "postgresql-$version-wal2json" "$("$PG_CONFIG" --pkglibdir)/wal2json.so"
fi
if [ ${#missing[@]} -gt 0 ]; then
	say "These packages are missing and will be installed with apt-get: ${missing[*]}"
	sudo=()
	[ "$(id -u)" = 0 ] || sudo=(sudo -n)
	"${sudo[@]}" apt-get update -qq
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends "${missing[@]}"
fi
if has kafka || has latency || has mirrors; then kafka_fetch; fi

say "Building ..."
stage_make

mkdir "$STAGE/bench"
if has kafka; then
	"${CC:-cc}" -O2 -Wall test/bench/kafka_client.c -o "$STAGE/bench/kafka_client" -lrdkafka
	"${CC:-cc}" -O2 -Wall test/bench/pg_client.c -o "$STAGE/bench/pg_client" \
		-I"$("$PG_CONFIG" --includedir)" -L"$("$PG_CONFIG" --libdir)" -lpq
fi
if has kafka || has latency || has mirrors; then
	mkdir "$STAGE/bench/cache"
	cp -r "$KAFKA_CACHE" "$STAGE/bench/cache"
fi
if has latency || has waiters || has members; then
	"${CC:-cc}" -O2 -Wall test/bench/group_client.c -o "$STAGE/bench/group_client" \
		-I"$("$PG_CONFIG" --includedir)" -L"$("$PG_CONFIG" --libdir)" -lpq
fi
if has capture; then
	"${CC:-cc}" -O2 -Wall test/bench/capture_client.c -o "$STAGE/bench/capture_client" \
		-I"$("$PG_CONFIG" --includedir)" -L"$("$PG_CONFIG" --libdir)" -lpq -lpthread
fi
if has mirrors; then
	"${CC:-cc}" -O2 -Wall test/bench/mirror_client.c -o "$STAGE/bench/mirror_client" \
		-I"$("$PG_CONFIG" --includedir)" -L"$("$PG_CONFIG" --libdir)" -lpq -lrdkafka
	make -s -C test/kafka OUT="$STAGE/bench" client_bench
fi
if { has queue || has members; } && [ -n "${PGMQ_SQL:-}" ]; then
	cp "$PGMQ_SQL" "$STAGE/bench/pgmq.sql"
fi

revision=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" pg_eventlog.control)
if commit=$(git rev-parse --short HEAD 2>/dev/null); then
	git diff --quiet HEAD -- src sql || commit="$commit and changes"
	revision="$revision ($commit)"
fi
command="make bench"
[ $# -eq 0 ] || command="test/bench/run.sh $*"
for setting in COUNT ROUNDS SECONDS_EACH KEYS RETENTION_MB WAL_MB MINUTES WAITERS CAPTURE BIG_MB SNAPSHOT_ROWS IDLE_SECONDS SCALE MIRRORS BACKLOG_GB; do
	[ -z "${!setting:-}" ] || command="$setting=$(quoted "${!setting}") $command"
done
[ -z "${PGMQ_SQL:-}" ] || command="PGMQ_SQL=pgmq.sql $command"

# stage_run starts with an empty environment, so settings go by file.
{
	printf 'parts=%q\n' "$parts"
	printf 'COUNT=%q\nROUNDS=%q\nSECONDS_EACH=%q\nKAFKA_VERSION=%q\n' \
		"${COUNT:-1000000}" "${ROUNDS:-5}" "${SECONDS_EACH:-5}" "$KAFKA_VERSION"
	printf 'KEYS=%q\nRETENTION_MB=%q\nWAL_MB=%q\nMINUTES=%q\n' \
		"${KEYS:-${COUNT:-1000000}}" "${RETENTION_MB:-256}" "${WAL_MB:-1024}" "${MINUTES:-10}"
	printf 'WAITERS=%q\n' "${WAITERS:-1000}"
	printf 'CAPTURE=%q\nBIG_MB=%q\nSNAPSHOT_ROWS=%q\nIDLE_SECONDS=%q\nSCALE=%q\n' \
		"${CAPTURE:-backlog live latency big tpcb idle snapshot}" "${BIG_MB:-1024}" \
		"${SNAPSHOT_ROWS:-2000000}" "${IDLE_SECONDS:-60}" "${SCALE:-20}"
	printf 'MIRRORS=%q\nBACKLOG_GB=%q\n' "${MIRRORS:-rates latency idle backlog}" "${BACKLOG_GB:-1}"
	printf 'REVISION=%q\nCOMMAND=%q\n' "$revision" "$command"
} >"$STAGE/bench/settings"
[ "$(id -u)" != 0 ] || chown -R postgres: "$STAGE/bench"

status=0
stage_run bench/steps.sh || status=$?
if [ -n "$report" ] && [ -s "$STAGE/bench/report.md" ]; then
	cp "$STAGE/bench/report.md" "$report"
	say "Written: $report"
fi
exit "$status"
