# shellcheck shell=bash
# capture.sh: what the benchmark measures of captures, in the helpers' words of
# paths.sh and groups.sh.
#
#	CAPTURE			which measures of these: backlog live latency big tpcb idle snapshot
#	BIG_MB			size of the one large transaction
#	SNAPSHOT_ROWS	rows of the table that a snapshot copies
#	IDLE_SECONDS	how long an idle capture is watched
#	SCALE			of pgbench's tables

# --- captures ----------------------------------------------------------------

# wait_for SQL [SECONDS]: until it gives true, looked at so often
wait_for() {
	cat <<-SQL
		DO \$\$ BEGIN
			WHILE ($1) IS NOT TRUE LOOP
				PERFORM pg_sleep(${2:-0.002});
				ASSERT clock_timestamp() < now() + interval '10 min', 'this takes too long';
			END LOOP;
		END \$\$;
	SQL
}
is_streaming() {
	echo "SELECT state = 'streaming' FROM eventlog.captures WHERE name = '$1'"
}
# SQL: has TOPIC so many records?
has_records() {
	echo "SELECT high_watermark >= $2 FROM eventlog.partitions WHERE topic = '$1'"
}

# capture NAME TABLE ...: from now on
capture() {
	local name=$1
	shift

	quiet >/dev/null <<-SQL
		SET client_min_messages = warning;
		CREATE PUBLICATION $name FOR TABLE $(IFS=,; echo "$*");
		SELECT eventlog.create_capture('$name', '$name', config => '{"snapshot.mode": "no_data"}');
		$(wait_for "$(is_streaming "$name")")
	SQL
}
uncapture() {
	quiet >/dev/null -c "SELECT eventlog.drop_capture('$1', true)" -c "DROP PUBLICATION $1"
}

# The same number on both sides, and no record twice.
must_have() {
	local topic=$1 expected=$2 found

	found=$(quiet -c "SELECT count(*) || ' ' || count(DISTINCT (value #>> '{source,lsn}', key::text, value ->> 'op')) FROM topics.\"$topic\" WHERE value IS NOT NULL")
	[ "$found" = "$expected $expected" ] || die "topic $topic has records and different ones: $found, expected $expected"
}

source_table() {
	quiet -c "CREATE TABLE source (id bigint PRIMARY KEY, value text)"
}

# SQL: COUNT rows, 1,000 a transaction
source_rows() {
	cat <<-SQL
		DO \$\$ BEGIN
			FOR i IN 0 .. $COUNT / 1000 - 1 LOOP
				INSERT INTO source SELECT i * 1000 + j, '$value' FROM generate_series(1, 1000) j;
				COMMIT;
			END LOOP;
		END \$\$;
	SQL
}

# --- the parts ---------------------------------------------------------------

backlog_ours() {
	local s

	s=$({
		echo '\timing on'
		echo "SELECT eventlog.resume_capture('bench');"
		wait_for "$(has_records bench.public.source "$COUNT")" 0.01
	} | timed)
	record backlog ours "$(rate "$COUNT" "$s")"
}
backlog_wal2json() {
	local s

	s=$({
		echo '\timing on'
		echo "SELECT count(*) FROM pg_logical_slot_get_changes('peer', null, null, 'format-version', '2');"
	} | timed)
	[ "$(grep -x '[0-9]*' "$STAGE/bench/timed")" -ge $((COUNT + COUNT / 1000 * 2)) ] || die "wal2json has not decoded what was written"
	record backlog wal2json "$(rate "$COUNT" "$s")"
}

capture_backlog() {
	local round

	for round in $(seq "$ROUNDS"); do
		source_table
		capture bench source
		quiet >/dev/null -c "SELECT pg_create_logical_replication_slot('peer', 'wal2json')" \
			-c "SELECT eventlog.pause_capture('bench')"
		source_rows | quiet
		quiet -c CHECKPOINT
		if [ $((round % 2)) -eq 0 ]; then
			backlog_ours
			backlog_wal2json
		else
			backlog_wal2json
			backlog_ours
		fi
		must_have bench.public.source "$COUNT"
		uncapture bench
		quiet >/dev/null -c "SELECT pg_drop_replication_slot('peer')" -c "DROP TABLE source"
	done
	row "backlog, full envelope, appended and committed" "rows/s" backlog ours wal2json ">=" 1.5
}

capture_live() {
	local round s

	for round in $(seq "$ROUNDS"); do
		source_table
		quiet -c CHECKPOINT
		s=$({ echo '\timing on'; source_rows; } | timed)
		record "live rate" "not captured" "$(rate "$COUNT" "$s")"
		quiet -c "DROP TABLE source"

		source_table
		capture bench source
		quiet -c CHECKPOINT
		s=$({
			echo '\timing on'
			source_rows
			wait_for "$(has_records bench.public.source "$COUNT")" 0.001
		} | timed)
		record "live rate" ours "$(rate "$COUNT" "$s")"
		record "live lag" ours "$(awk '/^Time: / { s = $2 / 1000 } END { print s }' "$STAGE/bench/timed")"
		record "live rate" "150 k" 150000
		record "live lag" "0.5 s" 0.5
		must_have bench.public.source "$COUNT"
		uncapture bench
		quiet -c "DROP TABLE source"
	done
	row "inserting and capturing, until all is in the topic" "rows/s" "live rate" ours "150 k" ">=" 1
	row "" "" "live rate" ours "not captured"
	row "last insert's commit → committed in the topic" "s" "live lag" ours "0.5 s" "<=" 1
}

# follow TOPIC SYNCHRONOUS_COMMIT COUNT SQL: "p50 p99", and these of COMMIT
follow() {
	"$STAGE/bench/capture_client" "" "$1" 50 "$3" "$2" "$4" |
		sed 's/[a-z]*_*p[59][09]=//g'
}

capture_latency() {
	local round sync p50 p99 commit_p50 commit_p99

	for round in $(seq "$ROUNDS"); do
		for sync in on off; do
			source_table
			capture bench source
			# the topic is there after the first record
			quiet -c "INSERT INTO source VALUES (-1, '')"
			wait_for "$(has_records bench.public.source 1)" | quiet
			quiet -c CHECKPOINT
			read -r p50 p99 commit_p50 commit_p99 < <(follow bench.public.source $sync $((50 * SECONDS_EACH * 2)) \
				"INSERT INTO source VALUES (\$1::bigint, '$value')")
			record "latency p50 $sync" ours "$p50"
			record "latency p99 $sync" ours "$p99"
			record "latency p50 $sync" "COMMIT alone" "$commit_p50"
			record "latency p99 $sync" "COMMIT alone" "$commit_p99"
			record "latency p50 $sync" "2 ms" 2
			record "latency p99 $sync" "15 ms" 15
			uncapture bench
			quiet -c "DROP TABLE source"
		done
	done
	for sync in on off; do
		row "commit → consumer's row, synchronous_commit $sync, p50" "ms" "latency p50 $sync" ours "2 ms" "<=" 1
		row "" "" "latency p50 $sync" ours "COMMIT alone"
		row "the same, p99" "ms" "latency p99 $sync" ours "15 ms" "<=" 1
		row "" "" "latency p99 $sync" ours "COMMIT alone"
	done
}

# Megabytes that are a process's own: what it shares is not in RssAnon.
private_mb() {
	set -- "${@/#//proc/}"
	awk '/^RssAnon/ { mb += $2 / 1024 } END { print mb }' "${@/%//status}"
}

# The most that processes have in all, until a file is there.
watch_memory() {
	local until=$1 mb
	shift

	while [ ! -e "$until" ]; do
		private_mb "$@"
		sleep 0.05
	done | sort -n | tail -n 1
}

# Which numbers of records a reader sees, from one on until there are more.
watch_records() {
	quiet <<-SQL
		DO \$\$
		DECLARE
			seen text := '';
			n bigint;
			before bigint;
		BEGIN
			WHILE n IS NULL OR n <= 1 LOOP
				PERFORM pg_sleep(0.1);
				SELECT count(*) INTO n FROM topics."bench.public.big";
				IF n IS DISTINCT FROM before THEN
					seen := seen || ' ' || n;
				END IF;
				before := n;
			END LOOP;
			PERFORM set_config('bench.seen', seen, false);
		END \$\$;
		SELECT current_setting('bench.seen');
	SQL
}

# Follow topic "other" until closed() is called, which sets p50 and p99.
follow_until_closed() {
	follow other on 0 "$1" <"$STAGE/bench/input" >"$STAGE/bench/figures" &
	client=$!
	exec 8>"$STAGE/bench/input"
}
closed() {
	exec 8>&-
	wait "$client"
	read -r p50 p99 commit_p50 commit_p99 <"$STAGE/bench/figures"
}

capture_big() {
	local round pids p50 p99 commit_p50 commit_p99 memory seen n=$((BIG_MB * 1048576 / 1000)) dir=$STAGE/bench
	local produce="SELECT eventlog.produce('other', \$1::text, '$value')"
	local insert="INSERT INTO big SELECT i, repeat(md5(i::text), 31) FROM generate_series(1, $n) i"

	mkfifo "$dir/input"
	quiet >/dev/null -c "SELECT eventlog.create_topic('other', 1, 'text', 'text')"
	for round in $(seq $(((ROUNDS + 2) / 3))); do
		read -r p50 p99 commit_p50 commit_p99 < <(follow other on $((100 * SECONDS_EACH)) "$produce")
		record "big p50" "no transaction" "$p50"
		record "big p99" "no transaction" "$p99"

		quiet -c "CREATE TABLE big (id bigint PRIMARY KEY, value text)" -c CHECKPOINT
		follow_until_closed "$produce"
		quiet -c "$insert"
		closed
		record "big p50" "not captured" "$p50"
		record "big p99" "not captured" "$p99"

		quiet -c "TRUNCATE big"
		capture bench big
		# so that there is a topic to look at
		quiet -c "INSERT INTO big VALUES (0, '')"
		wait_for "$(has_records bench.public.big 1)" | quiet
		quiet -c CHECKPOINT
		pids=$(quiet -F ' ' -c "SELECT appender_pid, decoder_pid FROM eventlog.captures WHERE name = 'bench'")
		rm -f "$dir/whole"
		# shellcheck disable=SC2086
		watch_memory "$dir/whole" $pids >"$dir/memory" &
		memory=$!
		watch_records >"$dir/seen" &
		seen=$!
		follow_until_closed "$produce"
		quiet -c "$insert"
		wait "$seen"
		touch "$dir/whole"
		closed
		wait "$memory"
		[ "$(cat "$dir/seen")" = " 1 $((n + 1))" ] || die "records were seen of a part of a transaction: $(cat "$dir/seen")"
		record "big memory" ours "$(cat "$dir/memory")"
		record "big memory" "128 MB" 128
		record "big p50" meanwhile "$p50"
		record "big p99" meanwhile "$p99"
		must_have bench.public.big $((n + 1))
		uncapture bench
		quiet -c "DROP TABLE big"
	done
	drop topic other | quiet
	row "one transaction of $BIG_MB MB: memory of both workers" "MB" "big memory" ours "128 MB" "<=" 1
	row "another topic meanwhile, produce() → consumer's row, p50" "ms" "big p50" meanwhile "not captured"
	row "" "" "big p50" meanwhile "no transaction"
	row "the same, p99" "ms" "big p99" meanwhile "not captured"
	row "" "" "big p99" meanwhile "no transaction"
}

# tpcb WHO: transactions per second
tpcb() {
	local out

	quiet -c CHECKPOINT
	out=$(pgbench -n -c 4 -j 2 -T $((SECONDS_EACH * 3)) 2>&1) || { printf '%s\n' "$out" >&2; return 1; }
	record tpcb "$1" "$(printf '%s\n' "$out" | awk '/^tps = / { printf "%.0f\n", $3 }')"
}

tpcb_captured() {
	local table before

	before=$(quiet -c "SELECT count(*) FROM pgbench_history")
	capture bench pgbench_accounts pgbench_branches pgbench_tellers pgbench_history
	tpcb captured
	wait_for "SELECT appended_lsn >= '$(quiet -c "SELECT pg_current_wal_flush_lsn()")' FROM eventlog.captures WHERE name = 'bench'" | quiet
	for table in accounts branches tellers history; do
		must_have "bench.public.pgbench_$table" $(($(quiet -c "SELECT count(*) FROM pgbench_history") - before))
	done
	uncapture bench
}

capture_tpcb() {
	local round

	pgbench -i -q -s "$SCALE" >/dev/null 2>&1
	for round in $(seq "$ROUNDS"); do
		if [ $((round % 2)) -eq 0 ]; then
			tpcb_captured
			tpcb alone
		else
			tpcb alone
			tpcb_captured
		fi
	done
	quiet -c "DROP TABLE pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history"
	row "pgbench TPC-B, all four tables captured" "transactions/s" tpcb captured alone ">=" 0.75
}

# Nanoseconds of CPU that processes have used.
cpu_ns() {
	set -- "${@/#//proc/}"
	awk '{ ns += $1 } END { printf "%.0f\n", ns }' "${@/%//schedstat}"
}

capture_idle() {
	local pids cpu wal

	source_table
	capture bench source
	quiet -c "INSERT INTO source VALUES (0, '')"
	wait_for "$(has_records bench.public.source 1)" | quiet
	# what the server itself writes after there was something
	quiet -c CHECKPOINT
	sleep 20
	pids=$(quiet -F ' ' -c "SELECT appender_pid, decoder_pid FROM eventlog.captures WHERE name = 'bench'")
	wal=$(wal_position)
	# shellcheck disable=SC2086
	cpu=$(cpu_ns $pids)
	sleep "$IDLE_SECONDS"
	# shellcheck disable=SC2086
	cpu=$(($(cpu_ns $pids) - cpu))
	record "idle cpu" ours "$(awk -v ns="$cpu" -v s="$IDLE_SECONDS" 'BEGIN { print ns / 1e9 / s * 100 }')"
	record "idle cpu" "0.1 %" 0.1
	record "idle wal" ours "$(($(wal_position) - wal))"
	record "idle wal" "1 kB" 1024
	uncapture bench
	quiet -c "DROP TABLE source"
	row "idle: CPU of both workers, of one core" "%" "idle cpu" ours "0.1 %" "<=" 1
	row "idle: WAL written in $IDLE_SECONDS s" "bytes" "idle wal" ours "1 kB" "<=" 1
}

snapshot_ours() {
	local s

	quiet -c "CREATE PUBLICATION bench FOR TABLE source"
	s=$({
		echo '\timing on'
		echo "SELECT eventlog.create_capture('bench', 'bench');"
		wait_for "$(is_streaming bench)"
	} | timed)
	record snapshot ours "$(rate "$SNAPSHOT_ROWS" "$s")"
	must_have bench.public.source "$SNAPSHOT_ROWS"
	uncapture bench
}
snapshot_copy() {
	local s

	s=$({
		echo '\timing on'
		echo "COPY source TO '$STAGE/bench/copied';"
	} | timed)
	record snapshot "COPY TO" "$(rate "$SNAPSHOT_ROWS" "$s")"
	rm "$STAGE/bench/copied"
}

capture_snapshot() {
	local round

	source_table
	quiet -c "INSERT INTO source SELECT i, '$value' FROM generate_series(1, $SNAPSHOT_ROWS) i" -c "VACUUM ANALYZE source"
	for round in $(seq "$ROUNDS"); do
		quiet -c CHECKPOINT
		if [ $((round % 2)) -eq 0 ]; then
			snapshot_ours
			snapshot_copy
		else
			snapshot_copy
			snapshot_ours
		fi
	done
	quiet -c "DROP TABLE source"
	row "snapshot of $SNAPSHOT_ROWS rows" "rows/s" snapshot ours "COPY TO" ">=" 0.5
}

part_capture() {
	local measure status failed=

	heading "Capture"
	quiet -c "ALTER SYSTEM SET wal_level = logical" \
		-c "ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, wal2json"
	server_stop
	server_start
	for measure in $CAPTURE; do
		status=0
		"capture_$measure" &
		wait $! || status=$?
		[ "$status" -eq 0 ] || failed="$failed $measure"
		[ -z "$failed" ] || break
	done
	[ -z "$failed" ] || quiet >/dev/null -c "SELECT eventlog.pause_capture(name) FROM eventlog.captures" -c "SELECT pg_sleep(1)"
	# a server of another wal_level does not start with a logical slot
	quiet >/dev/null -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active"
	quiet -c "ALTER SYSTEM RESET ALL"
	server_stop
	server_start
	create_source

	note "The server has wal_level = logical here, and of everything else what stands at the top. The table is \`(id bigint PRIMARY KEY, value text)\`, a value has 100 bytes, a transaction 1,000 rows unless it is said otherwise; captures have the default configuration but for snapshot.mode = no_data, so records are Debezium's full envelope (without schemas), and topics are compressed by lz4. After each measurement every record is counted: as many as rows were changed, none twice."
	note "Backlog: the WAL is written while the capture is paused; then from resume_capture(), the start of its workers included, until the last record is committed. **wal2json** is \`SELECT count(*) FROM pg_logical_slot_get_changes(…, 'format-version', '2')\` over the same WAL."
	note "Live: one session inserts, and commits after 1,000 rows; the clock runs until all is in the topic. Commit → consumer's row: 50 transactions of one row a second; from before COMMIT is sent until the row has arrived at another client, which waits in consume(); so it has the source's own fsync in it, and that of the record before somebody sees it. **COMMIT alone** is what the source's own client waits for its COMMIT."
	note "One transaction: rows of 1,000 bytes; the most that decoder and appender had of RssAnon at the same time, looked at every 50 ms. A reader that counted every 100 ms saw nothing of it, and then all. Meanwhile 50 records a second go to another topic, and one waits for them: **not captured** is the same without a capture, **no transaction** without the large transaction as well."
	note "TPC-B: pgbench -c 4 -j 2, scale $SCALE, $((SECONDS_EACH * 3)) s each. Idle: CPU from /proc/PID/schedstat. Snapshot: from create_capture() until it is streaming; **COPY TO** is \`COPY table TO\` a file on the server."
	[ -z "$failed" ] || die "failed:$failed"
}
