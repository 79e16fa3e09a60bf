# shellcheck shell=bash
# members.sh: what the benchmark measures of waiting and of members of groups,
# one function a part, as in paths.sh, whose helpers are used here.
#
#	WAITERS	sessions that wait at a time: 1000

group_client() {
	"$STAGE/bench/group_client" "$1" "host=$PGHOST port=$PGPORT user=$PGUSER dbname=$PGDATABASE" "${@:2}"
}

# figure NAME: of "NAME=N ..." on standard input
figure() {
	sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p"
}

new_topic() {
	quiet -c "SELECT eventlog.create_topic('$1', ${2:-1}, value_type => 'text')" >/dev/null
}

part_latency() {
	local round r n=2000

	heading "From commit to consumer"
	EVENTLOG_CACHE=$STAGE/bench/cache
	. test/kafka/broker.sh
	trap kafka_stop EXIT
	trap 'exit 130' INT TERM HUP
	kafka_start "$STAGE/bench/kafka"
	kafka_topic warm 1 2>/dev/null
	kafka_run org.apache.kafka.tools.EndToEndLatency "$KAFKA_BROKERS" warm 5000 all 100 >/dev/null 2>&1
	for round in $(seq "$ROUNDS"); do
		new_topic b
		r=$(group_client latency b "$n")
		drop topic b | quiet
		record "latency p50" ours "$(figure p50 <<<"$r")"
		record "latency p99" ours "$(figure p99 <<<"$r")"
		kafka_topic "e$round" 1 2>/dev/null
		r=$(kafka_run org.apache.kafka.tools.EndToEndLatency "$KAFKA_BROKERS" "e$round" "$n" all 100 2>/dev/null)
		record "latency p50" Kafka "$(sed -n 's/.*50th = \([0-9.]*\).*/\1/p' <<<"$r")"
		record "latency p99" Kafka "$(sed -n 's/.*99th = \([0-9.]*\),.*/\1/p' <<<"$r")"
		record "latency mean" Kafka "$(sed -n 's/^Avg latency: \([0-9.]*\) ms.*/\1/p' <<<"$r")"
	done
	row "commit → row in a waiting \`poll()\`, p50" "ms" "latency p50" ours Kafka "<=" 0.7
	row "the same, p99" "ms" "latency p99" ours Kafka "<=" 0.3
	note "$n records of 100 bytes, one at a time, fsync on: from before the record is sent until it has arrived and the commit is answered. The peer is Kafka's own tool (EndToEndLatency, acks=all, on a warm broker with its defaults, so without fsync), which counts whole milliseconds: its mean is $(awk -F '\t' '$1 == "latency mean" { n++; s += $3 } END { printf "%.2f", s / n }' "$results") ms."
}

# with_waiters NAME KIND COMMAND ...: run a command while sessions wait
with_waiters() {
	local topic=$1 kind=$2 ready

	shift 2
	coproc WAIT { group_client wait "$topic" "$WAITERS" "$kind"; }
	if ! read -r ready <&"${WAIT[0]}" || [ "$ready" != ready ]; then
		echo "the sessions do not wait" >&2
		return 1
	fi
	"$@"
	eval "exec ${WAIT[1]}>&-"
	wait "$WAIT_PID" || true
	until [ "$(quiet -c "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'group_client'")" = 0 ]; do
		sleep 0.2
	done
}

# CPU microseconds a commit of a producing session, and its rate: "rate cpu"
produce_and_count() {
	local pid out cpu

	echo "SELECT eventlog.produce('$1', null, 'x');" >"$STAGE/bench/produce.sql"
	pgbench -n -M prepared -f "$STAGE/bench/produce.sql" -T "$SECONDS_EACH" >"$STAGE/bench/produce.out" 2>&1 &
	pid=$(pgbench_pid)
	cpu=$(ticks "$pid")
	sleep "$(awk -v s="$SECONDS_EACH" 'BEGIN { print s - 1 }')"
	cpu=$(($(ticks "$pid") - cpu))
	wait $!
	out=$(awk '/^tps = / { print $3 }' "$STAGE/bench/produce.out")
	awk -v tps="$out" -v cpu="$cpu" -v s="$SECONDS_EACH" -v hz="$(getconf CLK_TCK)" \
		'BEGIN { printf "%.1f %.2f\n", tps, cpu / hz * 1e6 / (tps * (s - 1)) }'
}

measured() {
	local name=$1 who=$2 r

	r=$(produce_and_count "$3")
	record "$name rate" "$who" "${r% *}"
	record "$name cpu" "$who" "${r#* }"
}

wakeups() {
	quiet -c "SELECT value FROM eventlog.metrics WHERE name = 'eventlog_wakeups_sent_total'"
}

# All of the server's sessions but this one, in clock ticks
all_ticks() {
	local pid sum=0

	for pid in $(quiet -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'group_client'"); do
		sum=$((sum + $(ticks "$pid")))
	done
	echo "$sum"
}

idle_members() {
	local from cpu before

	cpu=$(all_ticks)
	from=$EPOCHREALTIME
	sleep 10
	cpu=$(($(all_ticks) - cpu))
	record "idle members" ours "$(awk -v c="$cpu" -v hz="$(getconf CLK_TCK)" -v a="$from" -v b="$EPOCHREALTIME" \
		'BEGIN { printf "%.2f", 100 * c / hz / (b - a) }')"
	record "idle members" "3 %" 3
	before=$(wakeups)
	quiet -c "SELECT eventlog.produce('waited', null, 'x')" >/dev/null
	sleep 0.5
	record "members woken" ours "$(($(wakeups) - before))"
	record "members woken" one 1
}

part_waiters() {
	local round

	heading "A thousand that wait"
	quiet -c "ALTER SYSTEM SET max_connections = $((WAITERS + 100))"
	server_stop
	server_start
	for round in $(seq "$ROUNDS"); do
		new_topic waited "$WAITERS"
		with_waiters waited members idle_members
		drop topic waited | quiet
		new_topic waited
		new_topic free
		measured "one group waits" nobody free
		with_waiters waited group measured "one group waits" waiting waited
		drop topic waited | quiet
		new_topic waited
		WAITERS=1 with_waiters waited group measured "one group waits" "one waits" waited
		drop topic waited | quiet
		new_topic waited
		measured "groups wait" nobody free
		with_waiters waited groups measured "groups wait" waiting waited
		{ drop topic waited; drop topic free; } | quiet
	done
	quiet -c "ALTER SYSTEM RESET max_connections"
	server_stop
	server_start
	row "CPU of $WAITERS members that wait, of one core" "%" "idle members" ours "3 %" "<=" 1
	row "members woken by one commit" "" "members woken" ours one "<=" 1
	row "producer while $WAITERS sessions of one group wait" "commits/s" "one group waits rate" waiting nobody ">=" 0.85
	row "" "" "one group waits rate" waiting "one waits"
	row "the same, its CPU a commit" "µs" "one group waits cpu" waiting nobody
	row "" "" "one group waits cpu" waiting "one waits"
	row "producer while $WAITERS groups wait, its CPU a commit" "µs" "groups wait cpu" waiting nobody "<=" 4
	row "the same, its rate" "commits/s" "groups wait rate" waiting nobody
	note "One event per commit by one client of pgbench, fsync on; **nobody** is the same into a topic for which nobody waits. The sessions that are woken consume the record and commit, with synchronous_commit off, and share the two cores with the producer, the client that holds their connections, and the server."
}

# polls TOPIC GROUP: microseconds of a poll that finds one record, and commits
polls() {
	quiet <<-SQL | tail -1
		SET client_min_messages = warning;
		SET synchronous_commit = off;
		SELECT eventlog.subscribe('$2', array['$1']);
		SELECT count(*) FROM eventlog.poll(null::int);
		SELECT eventlog.commit();
		CREATE TEMP TABLE used (us float8);
		DO \$\$
		DECLARE t timestamptz; us float8 := 0; got int;
		BEGIN
			FOR i IN 1 .. 3000 LOOP
				PERFORM set_config('synchronous_commit', 'on', true);
				PERFORM eventlog.produce('$1', null, 'x', partition => 0);
				COMMIT;
				t := clock_timestamp();
				SELECT count(*) INTO got FROM eventlog.poll();
				PERFORM eventlog.commit();
				COMMIT;
				us := us + extract(epoch FROM clock_timestamp() - t) * 1e6;
				ASSERT got = 1;
			END LOOP;
			INSERT INTO used VALUES (us / 3000);
		END \$\$;
		SELECT round(us::numeric, 2) FROM used;
	SQL
}

# consumers N: records a second that N consumers of one group get, by 500
consumers() {
	local n=$1 group=$2 got

	echo "SELECT value FROM eventlog.consume('$group', null::topics.b, 500, auto_commit => true);" >"$STAGE/bench/consume.sql"
	bench "$STAGE/bench/consume.sql" "$n" "$SECONDS_EACH" >/dev/null
	got=$(quiet -c "SELECT sum(next_offset) FROM eventlog.committed_offset WHERE consumer_group = '$group'")
	if [ "$got" -ge "$backlog" ]; then
		echo "the consumers have come to the end of the log" >&2
		return 1
	fi
	rate "$got" "$SECONDS_EACH"
}

# the most and the least that a partition of a group has got on
fairness() {
	quiet -c "SELECT round(max(current_offset)::numeric / min(current_offset), 3)
		FROM eventlog.consumer_groups WHERE consumer_group = '$1'"
}

# The peer: messages that 8 clients read and archive, by 500
pgmq_consumers() {
	local got

	quiet -f "$STAGE/bench/pgmq.sql" >/dev/null 2>&1
	quiet <<-SQL >/dev/null
		SELECT pgmq.create('b');
		SELECT pgmq.send_batch('b', array_fill(jsonb_build_object('v', repeat('x', 90)), array[1000]))
		FROM generate_series(1, 400);
	SQL
	quiet -c "VACUUM ANALYZE pgmq.q_b" -c CHECKPOINT
	echo "WITH m AS MATERIALIZED (SELECT msg_id, message FROM pgmq.read('b', 60, 500)),
		a AS (SELECT pgmq.archive('b', array_agg(msg_id)) FROM m)
		SELECT message FROM m WHERE (SELECT count(*) FROM a) > 0;" | tr '\n' ' ' >"$STAGE/bench/pgmq_read.sql"
	bench "$STAGE/bench/pgmq_read.sql" 8 "$SECONDS_EACH" >/dev/null
	got=$(quiet -c "SELECT count(*) FROM pgmq.a_b")
	quiet -c "SET client_min_messages = error" -c "DROP SCHEMA pgmq CASCADE"
	rate "$got" "$SECONDS_EACH"
}

part_members() {
	local round r backlog

	heading "Members and consumers of a group"
	new_topic one
	new_topic many 1000
	quiet >/dev/null <<-SQL
		SELECT eventlog.create_topic('taken', 8, value_type => 'text');
		SELECT eventlog.create_topic('joined', 50, value_type => 'text');
		SELECT eventlog.create_topic('crowded', 1, value_type => 'text');
		SELECT eventlog.create_group('g' || i, 'crowded') FROM generate_series(1, 1000) i;
	SQL
	for round in $(seq "$ROUNDS"); do
		record "poll" "1 partition" "$(polls one p)"
		record "poll" "1,000 partitions" "$(polls many p)"
		record "poll" "1,000 groups" "$(polls crowded p)"
		r=$(group_client takeover taken 50)
		record "takeover" ours "$(figure max <<<"$r")"
		record "takeover" "100 ms" 100
		r=$(group_client join joined 50)
		record "join" ours "$(figure ms <<<"$r")"
		record "join" "1 s" 1000
	done
	quiet -c "DROP TABLE topics.one, topics.many, topics.taken, topics.joined, topics.crowded"

	quiet -c "SELECT eventlog.create_topic('b', 8, value_type => 'text')" >/dev/null
	backlog=$((SECONDS_EACH * 5000000))
	quiet -c "INSERT INTO topics.b (partition, value) SELECT i % 8, repeat('x', 100) FROM generate_series(1, $backlog) i"
	quiet -c "VACUUM topics.b" -c CHECKPOINT
	for round in $(seq "$ROUNDS"); do
		record "consumers" "1" "$(consumers 1 "one$round")"
		record "consumers" "8" "$(consumers 8 "eight$round")"
		record "fairness" "8" "$(fairness "eight$round")"
		record "consumers" "16" "$(consumers 16 "sixteen$round")"
		record "fairness" "16" "$(fairness "sixteen$round")"
		record "fairness" even 1
		[ ! -f "$STAGE/bench/pgmq.sql" ] || record "consumers" pgmq "$(pgmq_consumers)"
	done
	drop topic b | quiet
	row "\`poll()\` and commit, a group of 1,000 partitions" "µs" "poll" "1,000 partitions" "1 partition" "<=" 1.2
	row "the same, a topic with 1,000 groups" "µs" "poll" "1,000 groups" "1 partition" "<=" 1.2
	row "a member's session ends: its records are with another (the longest of 50)" "ms" "takeover" ours "100 ms" "<=" 1
	row "50 members join at once: each has its partition" "ms" "join" ours "1 s" "<=" 1
	row "8 consumers of one group, 8 partitions, 500 records a commit" "records/s" "consumers" 8 1 ">=" 1.8
	row "" "" "consumers" 8 pgmq ">=" 50
	row "16 consumers, 8 partitions" "records/s" "consumers" 16 1
	row "most and least consumed partition, 8 consumers" "" "fairness" 8 even "<=" 1.2
	row "the same, 16 consumers" "" "fairness" 16 even "<=" 1.2
	note "A poll is measured in the server, one record is produced and committed, with fsync; then poll(), commit() and a COMMIT with synchronous_commit off are timed. Consumers are clients of pgbench which fetch the values, fsync on; **pgmq** is 8 clients that pgmq.read() and pgmq.archive() 500 messages in one statement."
	[ -f "$STAGE/bench/pgmq.sql" ] || note "pgmq was not measured: PGMQ_SQL was not set to its install script."
}
