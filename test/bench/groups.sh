# shellcheck shell=bash
# groups.sh: what the benchmark measures of consumer groups, one function a
# part, as in paths.sh, whose helpers are used here.
#
#	MINUTES	how long positions are committed under an old snapshot

# CPU that a process has used, in clock ticks
ticks() {
	awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# The session that pgbench has opened.
pgbench_pid() {
	local pid=

	while [ -z "$pid" ]; do
		sleep 0.1
		pid=$(quiet -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' LIMIT 1")
	done
	echo "$pid"
}

# commits_of GROUP: of one record each
commits_of() {
	quiet -c "SELECT COALESCE(sum(next_offset), 0) FROM eventlog.committed_offset WHERE consumer_group = '$1'"
}

# Rate, and microseconds of CPU a commit, of so many seconds: "rate cpu"
stretch() {
	local pid=$1 seconds=$2 n cpu from

	n=$(commits_of pinned)
	cpu=$(ticks "$pid")
	from=$EPOCHREALTIME
	sleep "$seconds"
	n=$(($(commits_of pinned) - n))
	cpu=$(($(ticks "$pid") - cpu))
	awk -v n="$n" -v cpu="$cpu" -v hz="$(getconf CLK_TCK)" -v from="$from" -v to="$EPOCHREALTIME" \
		'BEGIN { printf "%.1f %.2f\n", n / (to - from), cpu / hz * 1e6 / n }'
}

# bench_one SQL: rate of a statement by one client
bench_one() {
	echo "$1" >"$STAGE/bench/one.sql"
	bench "$STAGE/bench/one.sql" 1 "$SECONDS_EACH"
}

consume_one() {
	echo "SELECT value FROM eventlog.consume('$1', null::topics.b, 1, auto_commit => true);"
}

part_positions() {
	local round pid holder pinner first last tps records stretch=60

	heading "Committed positions"
	[ "$MINUTES" -gt 1 ] || stretch=20
	tps=$(bench_one "SELECT pg_logical_emit_message(true, '', '');")
	# more than can be consumed one by one
	records=$(awk -v tps="$tps" -v m="$MINUTES" -v more="$((ROUNDS * SECONDS_EACH))" \
		'BEGIN { printf "%d", (tps > 8000 ? tps : 8000) * (m * 60 + 5 + more) * 1.3 }')
	create topic b | quiet >/dev/null
	quiet -c "INSERT INTO topics.b (value) SELECT 'x' FROM generate_series(1, $records)" \
		-c "SELECT eventlog.create_group(g, 'b') FROM unnest('{free,pinned}'::text[]) g" \
		-c "SELECT eventlog.create_group('idle', 'b', 'latest')" -c "VACUUM topics.b" -c CHECKPOINT >/dev/null

	for round in $(seq "$ROUNDS"); do
		record "position commit" bare "$(bench_one "SELECT pg_logical_emit_message(true, '', '');")"
		record "position commit" consume "$(bench_one "$(consume_one free)")"
		record "empty consume" select "$(bench_one "SELECT 1;")"
		record "empty consume" consume "$(bench_one "$(consume_one idle)")"
	done

	# a snapshot that stays
	{ echo "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT pg_sleep(86400);" | PGAPPNAME=pinner quiet >/dev/null 2>&1 || true; } &
	holder=$!
	pinner=
	while [ -z "$pinner" ]; do
		sleep 0.1
		pinner=$(quiet -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'pinner' AND backend_xmin IS NOT NULL")
	done
	consume_one pinned >"$STAGE/bench/one.sql"
	pgbench -n -M prepared -f "$STAGE/bench/one.sql" -T $((MINUTES * 60 + 5)) >/dev/null 2>&1 &
	pid=$(pgbench_pid)
	sleep 1
	first=$(stretch "$pid" "$stretch")
	[ $((MINUTES * 60 - 2 * stretch)) -le 0 ] || sleep $((MINUTES * 60 - 2 * stretch))
	last=$(stretch "$pid" "$stretch")
	wait $!
	record "pinned rate" last "${last% *}"
	record "pinned rate" first "${first% *}"
	record "pinned cpu" last "${last#* }"
	record "pinned cpu" first "${first#* }"
	for round in $(seq "$ROUNDS"); do
		record "pinned commit" bare "$(bench_one "SELECT pg_logical_emit_message(true, '', '');")"
		record "pinned commit" consume "$(bench_one "$(consume_one pinned)")"
	done
	[ "$(quiet -c "SELECT min(lag) > 0 FROM eventlog.consumer_groups WHERE consumer_group IN ('free', 'pinned')")" = t ] ||
		die "consumers have come to the end of the topic: their rates mean nothing"
	record "pinned growth" table "$(quiet -c "SELECT pg_total_relation_size('eventlog.committed_offset')::float8")"
	record "pinned growth" commits "$(commits_of pinned)"
	quiet -c "SELECT pg_terminate_backend($pinner)" >/dev/null
	wait "$holder"
	drop topic b | quiet

	row "\`consume()\` of one record and its commit" "commits/s" "position commit" consume bare ">=" 0.7
	row "the same under an old snapshot, after $MINUTES min of it" "commits/s" "pinned commit" consume bare ">=" 0.7
	row "the same, last against first" "commits/s" "pinned rate" last first ">=" 0.95
	row "CPU of the session a commit, last against first" "µs" "pinned cpu" last first "<=" 1.05
	row "growth of positions, a commit under an old snapshot" "bytes" "pinned growth" table commits
	row "\`consume()\` that finds nothing" "calls/s" "empty consume" consume select ">=" 0.9
	note "pgbench with prepared statements and one client, fsync on. **bare** is a transaction that takes an xid, writes an empty logical message and commits: one that has written nothing would not wait for the disk. First and last are stretches of $stretch s at the beginning and end of $MINUTES min in which another session keeps a snapshot and nothing can be pruned; CPU is from /proc/PID/stat. **select** is \`SELECT 1\`."
}
