#!/bin/bash
# Make the reference data in this folder again, with a real Kafka broker and
# Kafka's own Java client (README.md says what is what).  Run it after changing
# Reference.java, or the fixed segment of test/fuzz/batch_test.c; then look at
# the differences and commit them.
#
# Takes a minute.  Needs, and with apt-get installs if missing: Debian's
# default-jdk-headless (a compiler for Reference.java) and maven, for the broker
# (test/kafka/broker.sh), and what a build of the extension needs.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
. ../../kafka/broker.sh

command -v gcc >/dev/null && command -v "${PG_CONFIG:-pg_config}" >/dev/null ||
	../../prepare.sh build
kafka_need javac default-jdk-headless
kafka_fetch

work=$(mktemp -d)
trap 'kafka_stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

javac -encoding UTF-8 -cp "$KAFKA_CACHE/*" -d "$work/classes" Reference.java
reference() {
	java -Xmx256m -Dfile.encoding=UTF-8 -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
		-cp "$work/classes:$KAFKA_CACHE/*" Reference "$@"
}
must_match() {
	diff -u "$1" "$2" || { echo "$3" >&2; exit 1; }
}

# --- the partitioner's hash
reference murmur2 >murmur2.tsv

# --- segments that Kafka wrote
mkdir "$work/broker"
kafka_start "$work/broker"
B=$KAFKA_BROKERS

# The records are from 2023: keep them, and all in one segment.
keep="retention.ms=-1 segment.ms=9223372036854775807"

for codec in none lz4 zstd; do
	kafka_topic "ref-$codec" 1 $keep
	reference produce "$B" "ref-$codec" "$codec" >"$work/sent"
	reference consume "$B" "ref-$codec" >"$codec.expected"
	must_match "$work/sent" "$codec.expected" "Kafka's consumer did not see what was sent."
done

kafka_topic ref-append-time 1 $keep message.timestamp.type=LogAppendTime
reference produce "$B" ref-append-time lz4 >"$work/sent"
reference consume "$B" ref-append-time >append-time.expected
must_match "$work/sent" append-time.expected "Kafka's consumer did not see what was sent."

kafka_topic ref-transactions 1 $keep
reference transactions "$B" ref-transactions zstd >"$work/sent"
reference consume "$B" ref-transactions >transactions.expected
must_match "$work/sent" transactions.expected "Kafka's consumer did not see what was sent."

kafka_topic ref-compacted 1 cleanup.policy=compact segment.ms=1000 \
	min.cleanable.dirty.ratio=0.01
reference compactable "$B" ref-compacted >"$work/sent"
for i in $(seq 60); do
	reference consume "$B" ref-compacted >"$work/compacted"
	[ "$(wc -l <"$work/compacted")" -gt 40 ] || break
	sleep 0.5
done
[ "$(wc -l <"$work/compacted")" -le 40 ] ||
	{ echo "The log cleaner did not come by." >&2; exit 1; }

kafka_stop

for name in none lz4 zstd append-time transactions compacted; do
	cp "$work/broker/data/ref-$name-0/00000000000000000000.log" "$name.log"
done
for name in none lz4 zstd append-time transactions; do
	set -- "$work/broker/data/ref-$name-0"/*.log
	[ $# -eq 1 ] || { echo "Topic ref-$name has several segments." >&2; exit 1; }
done

# of the compacted topic, what is in the first segment
set -- "$work"/broker/data/ref-compacted-0/*.log
next=$((10#$(basename "$2" .log)))
awk -F'\t' -v next_segment="$next" '$1 < next_segment' "$work/compacted" >compacted.expected

# --- segments that we write, judged by Kafka's reader
make -s -C ../../fuzz OUT="$work" SANITIZE= batch_test

for codec in none lz4 zstd; do
	mkdir "$work/$codec"
	segment=00000000000000000000.log
	cd "$work/$codec"
	"$work/batch_test" --write $segment "$codec"
	kafka_run kafka.tools.DumpLogSegments --deep-iteration --print-data-log \
		--files $segment >"$here/dump_$codec.txt" 2>errors ||
		{ cat errors >&2; exit 1; }
	# the gaps in the third batch are meant
	! grep -vE '^Non-consecutive offsets|^  [0-9]+ is followed by [0-9]+$' errors >&2 || exit 1
	reference decode $segment >decoded
	cd "$here"
	cp "$work/$codec/$segment" "written_$codec.log"
	if grep -iE 'isvalid: false|exception|corrupt' "dump_$codec.txt" ||
			! grep -q 'isvalid: true' "dump_$codec.txt"; then
		echo "DumpLogSegments does not like our $codec segment." >&2
		exit 1
	fi
	cmp "$work/none/decoded" "$work/$codec/decoded"
done
cp "$work/none/decoded" written.expected
ls -l
