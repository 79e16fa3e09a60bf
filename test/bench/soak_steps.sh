#!/bin/bash
# The inner part of the soak: runs in the stage, as the server's user.
#
# Two sessions produce, each into its topic, as fast as they can: arrays of
# 1,000 records, a commit for each.  Meanwhile one sample a minute is taken:
# the producers' rates are what the topics' high watermarks have moved since
# the last one, and latencies are medians of 200 statements of each kind.
set -euo pipefail
cd "$STAGE/src"
. test/server.sh
. "$STAGE/bench/settings"
. test/bench/lib.sh

server_init <<CONF
shared_buffers = 1GB
max_wal_size = 4GB
CONF
server_start

quiet >/dev/null <<SQL
CREATE EXTENSION pg_eventlog;
SELECT eventlog.create_topic('kept', 1, value_type => 'text',
	config => '{"retention.bytes": $((RETENTION_MB * 1048576))}');
SELECT eventlog.create_topic('latest', 1, value_type => 'text', config => '{"cleanup.policy": "compact"}');

-- until the table is gone
CREATE TABLE go_on ();
CREATE PROCEDURE feed(topic text, nkeys int) LANGUAGE plpgsql AS \$\$
DECLARE
	a text[] := array_fill(repeat('x', 100), ARRAY[1000]);
	k text[];
	n bigint := 0;
BEGIN
	WHILE to_regclass('go_on') IS NOT NULL LOOP
		IF nkeys > 0 THEN
			k := ARRAY(SELECT 'key' || i * 7919 % nkeys FROM generate_series(n, n + 999) i);
			n := n + 1000;
		END IF;
		PERFORM eventlog.produce_batch(topic, k, a);
		COMMIT;
	END LOOP;
END \$\$;

-- microseconds, the median of 200, of reading one record at a random place
CREATE FUNCTION latency(topic text, by_time boolean) RETURNS float8 LANGUAGE plpgsql AS \$\$
DECLARE
	place record;
	query text := format('SELECT record_offset, "timestamp", value FROM topics.%I WHERE partition = 0 AND %s ORDER BY record_offset LIMIT 1',
		topic, CASE WHEN by_time THEN '"timestamp" >= \$2' ELSE 'record_offset >= \$1' END);
	times float8[];
	found record;
	o bigint;
	t timestamptz;
	start timestamptz;
	oldest timestamptz;
BEGIN
	SELECT log_start_offset AS low, high_watermark - log_start_offset AS width INTO place
		FROM eventlog.partitions p WHERE p.topic = latency.topic;
	EXECUTE format('SELECT "timestamp" FROM topics.%I WHERE partition = 0 ORDER BY record_offset LIMIT 1', topic) INTO oldest;
	FOR i IN 1..200 LOOP
		o := place.low + floor(random() * place.width);
		t := oldest + random() * (clock_timestamp() - oldest);
		start := clock_timestamp();
		EXECUTE query INTO found USING o, t;
		times[i] := extract(epoch FROM clock_timestamp() - start) * 1000000;
	END LOOP;
	RETURN percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM unnest(times) x;
END \$\$;
SQL

# A line of a sample: when, the high watermarks, and what the table shows.
sample() {
	quiet -F ' ' <<-SQL
		WITH p AS (SELECT * FROM eventlog.partitions), m AS (SELECT * FROM eventlog.maintenance)
		SELECT extract(epoch FROM clock_timestamp()), k.high_watermark, l.high_watermark,
			pg_relation_size(eventlog.partition_leaf('topics.kept', 0)) / 1048576.0,
			km.retired_bytes / 1048576.0,
			pg_relation_size(eventlog.partition_leaf('topics.latest', 0)) / 1048576.0,
			lm.retired_bytes / 1048576.0, lm.dirty_ratio,
			latency('kept', false), latency('kept', true), latency('latest', false), latency('latest', true)
		FROM p k, p l, m km, m lm
		WHERE k.topic = 'kept' AND l.topic = 'latest' AND km.topic = 'kept' AND lm.topic = 'latest';
	SQL
}

say "Producing for $MINUTES minutes ..."
sample >"$STAGE/bench/samples"
quiet -c "CALL feed('kept', 0)" &
kept=$!
quiet -c "CALL feed('latest', $KEYS)" &
latest=$!
start=$EPOCHREALTIME
for minute in $(seq "$MINUTES"); do
	sleep "$(awk -v a="$start" -v b="$EPOCHREALTIME" -v m="$minute" 'BEGIN { print a + 60 * m - b }')"
	sample | tee -a "$STAGE/bench/samples"
done
quiet -c "DROP TABLE go_on"
wait "$kept" "$latest"
damage=$(quiet -c "SELECT t, v.* FROM unnest('{kept,latest}'::text[]) t, eventlog.verify(t) v")
errors=$(quiet -c "SELECT last_error FROM eventlog.workers WHERE last_error IS NOT NULL")

machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
memory=$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
server=$(quiet -c "SHOW server_version" | sed 's/ .*//')
{
	cat <<-REPORT
		# Soak

		Written by \`$COMMAND\`, which sets up a throw-away server, loads it for $MINUTES minutes, and removes it; \`test/bench/soak.sh\` tells the settings.

		- pg_eventlog $REVISION, PostgreSQL $server, $(date -u +%F)
		- $machine, $(nproc) cores, $memory GB, Linux $(uname -r | sed 's/-.*//')
		- shared_buffers 1 GB, max_wal_size 4 GB, all else as the server and pg_eventlog have it; maintenance workers and autovacuum are on

		**kept** is a topic that keeps $RETENTION_MB MB (retention.bytes), **latest** a compacted one of $KEYS keys; both of one partition. Each has a producer of its own that sends arrays of 1,000 values of 100 bytes, with a commit for each, as fast as it can. At the end of each minute: records a second since the line before, size of the file, bytes in it that are no longer used and wait for older transactions, dirty ratio, and the median of 200 times to read one record at a random offset or time, by SQL in the server.

		| minute | kept: records/s | file, MB | retired, MB | by offset, µs | by time, µs | latest: records/s | file, MB | retired, MB | dirty | by offset, µs | by time, µs |
		|---|---|---|---|---|---|---|---|---|---|---|---|
	REPORT
	awk -v asked="$RETENTION_MB" '
	function shown(x) {
		return x >= 10000 ? sprintf("%.0f k", x / 1e3) : sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x)
	}
	function floor_line(what, ratio, sign, limit,	good) {
		good = sign == "≥" ? ratio >= limit : ratio <= limit
		if (!good)
			missed++
		return sprintf("| %s | %.2f | %s %s | %s |", what, ratio, sign, limit, good ? "yes" : "**no**")
	}
	NR > 1 {
		n = NR - 1
		kept[n] = ($2 - k) / ($1 - t)
		latest[n] = ($3 - l) / ($1 - t)
		file[n] = $4
		compacted[n] = $6
		if ($4 > largest)
			largest = $4
		for (i = 9; i <= 12; i++)
			latency[i, n] = $i
		printf "| %d | %s | %s | %s | %s | %s | %s | %s | %s | %.2f | %s | %s |\n", n, shown(kept[n]), shown($4),
			shown($5), shown($9), shown($10), shown(latest[n]), shown($6), shown($7), $8, shown($11), shown($12)
	}
	{
		t = $1
		k = $2
		l = $3
	}
	END {
		print "\n| last minute against the first | ratio | floor | reached |"
		print "|---|---|---|---|"
		print floor_line("kept: records/s", kept[n] / kept[1], "≥", 0.95)
		print floor_line("kept: largest file against bytes asked to keep", largest / asked, "≤", 1.3)
		print floor_line("latest: records/s", latest[n] / latest[1], "≥", 0.95)
		printf "| latest: file | %.2f | | |\n", compacted[n] / compacted[1]
		split("kept, by offset;kept, by time;latest, by offset;latest, by time", names, ";")
		for (i = 9; i <= 12; i++)
			printf "| µs, %s | %.2f | | |\n", names[i - 8], latency[i, n] / latency[i, 1]
		exit missed > 0
	}' "$STAGE/bench/samples" && status=0 || status=1
	printf '\n`verify()` at the end: %s. Errors of workers: %s.\n' "${damage:-no problem}" "${errors:-none}"
	[ -z "$damage$errors" ] || status=1
	echo "$status" >"$STAGE/bench/status"
} >"$STAGE/bench/report.md"
cat "$STAGE/bench/report.md"
exit "$(cat "$STAGE/bench/status")"
