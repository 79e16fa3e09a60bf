#!/bin/bash
# Leave topics alone under full load and see what changes: "make bench-soak".
# A throw-away server has a topic under retention with one producer and a
# compacted one with another; a line a minute tells what has become of them.
#
# Settings, from the environment:
#	SOAK_MINUTES	10
#	RETENTION_MB	what retention keeps: 256
#	KEYS			keys of the compacted topic: 100000
#	OUT				file for the report: docs/benchmarks-soak.md if it takes
#					10 minutes or more, else none
#
# Packages that are missing are named and installed with apt-get.
set -euo pipefail
cd "$(dirname "$0")/../.."
. test/server.sh

minutes=${SOAK_MINUTES:-10}
report=${OUT:-}
[ -n "$report" ] || [ "$minutes" -lt 10 ] || report=docs/benchmarks-soak.md

test/prepare.sh build
say "Building ..."
stage_make

revision=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" pg_eventlog.control)
if commit=$(git rev-parse --short HEAD 2>/dev/null); then
	git diff --quiet HEAD -- src sql || commit="$commit and changes"
	revision="$revision ($commit)"
fi
command="make bench-soak"
for setting in SOAK_MINUTES RETENTION_MB KEYS; do
	[ -z "${!setting:-}" ] || command="$setting=${!setting} $command"
done

# stage_run starts with an empty environment, so settings go by file.
mkdir "$STAGE/bench"
{
	printf 'MINUTES=%q\nRETENTION_MB=%q\nKEYS=%q\n' "$minutes" "${RETENTION_MB:-256}" "${KEYS:-100000}"
	printf 'REVISION=%q\nCOMMAND=%q\n' "$revision" "$command"
} >"$STAGE/bench/settings"
[ "$(id -u)" != 0 ] || chown -R postgres: "$STAGE/bench"

status=0
stage_run bench/soak_steps.sh || status=$?
if [ -n "$report" ] && [ -s "$STAGE/bench/report.md" ]; then
	cp "$STAGE/bench/report.md" "$report"
	say "Written: $report"
fi
exit "$status"
