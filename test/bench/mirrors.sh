# shellcheck shell=bash
# mirrors.sh: what the benchmark measures of mirrors, beside librdkafka alone on
# the same broker, in the helpers' words of capture.sh.
#
#	MIRRORS			what of it: rates latency idle backlog
#	IDLE_SECONDS	how long idle mirrors are watched
#	BACKLOG_GB		how much is sent and fetched while the worker's memory is
#					watched, in GB

# Create a mirror, and print its records a second: the clock runs from the
# first of its transactions that is seen until all records are there, so that
# it has no part of connecting, and neither has the peer's.
mirror_rate() {
	local name=$1 direction=$2 topic=$3 kafka_topic=$4 config=$5

	quiet <<-SQL
		SET client_min_messages = warning;
		SELECT eventlog.create_mirror('$name', 'kafka', '$direction', '$topic', '$kafka_topic', '$config') \\g /dev/null
		DO \$\$
		DECLARE
			n bigint := 0;
			first_n bigint;
			first_at timestamptz;
		BEGIN
			WHILE n < $COUNT LOOP
				PERFORM pg_sleep(0.002);
				SELECT coalesce(max(records), 0) INTO n FROM eventlog.mirrors WHERE name = '$name';
				IF n > 0 AND first_at IS NULL THEN
					first_n := n;
					first_at := clock_timestamp();
				END IF;
				ASSERT clock_timestamp() < now() + interval '5 min', 'this takes too long';
			END LOOP;
			PERFORM set_config('bench.rate', round((n - first_n) / extract(epoch FROM clock_timestamp() - first_at))::text, false);
		END \$\$;
		SELECT current_setting('bench.rate');
		SELECT eventlog.drop_mirror('$name') \\g /dev/null
	SQL
}

# Rates of librdkafka alone, of the same records.
mirror_peer() {
	local codec=$1 topic=$2 out=$STAGE/bench/peer

	kafka_topic "$topic" 1 retention.ms=-1 2>/dev/null
	CLIENT_BENCH_COMPRESSION=$codec "$STAGE/bench/client_bench" "$KAFKA_BROKERS" "$topic" "$COUNT" >"$out"
	record "mirror out $codec" librdkafka "$(awk '$1 == "librdkafka" && $2 ~ /^produced/ { print $(NF - 1) }' "$out")"
	record "mirror in $codec" librdkafka "$(awk '$1 == "librdkafka" && $2 ~ /^consumed/ { print $(NF - 1) }' "$out")"
}

mirror_rates() {
	local codec=$1 round topic

	for round in $(seq "$ROUNDS"); do
		topic=m.$codec.$round
		kafka_topic "$topic.kafka" 1 retention.ms=-1 2>/dev/null
		quiet >/dev/null <<-SQL
			SELECT eventlog.create_topic('$topic', 1, 'text', 'text');
			SELECT eventlog.create_topic('$topic.back', 1, 'text', 'text');
			SELECT count(eventlog.produce('$topic', NULL::text, repeat('x', 100))) FROM generate_series(1, $COUNT);
			CHECKPOINT;
		SQL
		record "mirror out $codec" ours "$(mirror_rate out out "$topic" "$topic.kafka" "{\"compression.type\": \"$codec\"}")"
		quiet -c CHECKPOINT
		record "mirror in $codec" ours "$(mirror_rate in in "$topic.back" "$topic.kafka" '{}')"
		[ "$(quiet -c "SELECT count(*) FROM topics.\"$topic.back\"")" = "$COUNT" ] || die "the topic that came back has not $COUNT records"
		mirror_peer "$codec" "peer.$codec.$round"
	done
	row "backlog to Kafka, $codec" "records/s" "mirror out $codec" ours librdkafka ">=" 0.9
	row "backlog from Kafka, $codec" "records/s" "mirror in $codec" ours librdkafka ">=" 0.6
}

mirror_latency() {
	local round r

	quiet >/dev/null <<-SQL
		SELECT eventlog.create_topic(name, 1, 'text', 'text') FROM unnest(ARRAY['l.out', 'l.in']) name;
	SQL
	kafka_topic l.out 1 2>/dev/null
	kafka_topic l.in 1 2>/dev/null
	quiet >/dev/null -c "SELECT eventlog.create_mirror('l.out', 'kafka', 'out', 'l.out')" \
		-c "SELECT eventlog.create_mirror('l.in', 'kafka', 'in', 'l.in')" \
		-c "$(wait_for "SELECT bool_and(state = 'streaming') FROM eventlog.mirrors")"
	for round in $(seq "$ROUNDS"); do
		for direction in out in; do
			r=$("$STAGE/bench/mirror_client" $direction "$KAFKA_BROKERS" l.$direction l.$direction $((SECONDS_EACH * 20)))
			record "mirror latency $direction p50" ours "$(sed 's/p50=\([^ ]*\).*/\1/' <<<"$r")"
			record "mirror latency $direction p99" ours "$(sed 's/.*p99=//' <<<"$r")"
			quiet >/dev/null -c "SELECT eventlog.drop_group('mirror_client') FROM eventlog.consumer_groups WHERE consumer_group = 'mirror_client' LIMIT 1"
		done
	done
	record "mirror latency out p50" "25 ms" 25
	record "mirror latency out p99" "25 ms" 25
	record "mirror latency in p50" "20 ms" 20
	record "mirror latency in p99" "20 ms" 20
	row "COMMIT here → read_committed consumer, p50" ms "mirror latency out p50" ours "25 ms" "<=" 1
	row "the same, p99" ms "mirror latency out p99" ours "25 ms"
	row "acknowledged by Kafka → consumer here, p50" ms "mirror latency in p50" ours "20 ms" "<=" 1
	row "the same, p99" ms "mirror latency in p99" ours "20 ms"
	quiet >/dev/null -c "SELECT eventlog.drop_mirror(name) FROM eventlog.mirrors"
}

# clock ticks that a process has used
ticks() {
	awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

# 50 mirrors in each direction with nothing to do: those that send close their
# clients after a minute.
mirror_idle() {
	local pid before

	quiet >/dev/null <<-SQL
		SELECT eventlog.create_topic('i' || i, 1, 'text', 'text') FROM generate_series(1, 100) i;
		SELECT eventlog.create_mirror('i' || i, 'kafka', 'out', 'i' || i, 'i' || i, '{"create.topic": true}') FROM generate_series(1, 50) i;
		$(wait_for "SELECT bool_and(state = 'streaming') FROM eventlog.mirrors")
		SELECT eventlog.create_mirror('i' || i, 'kafka', 'in', 'i' || i, 'i' || (i - 50)) FROM generate_series(51, 100) i;
		$(wait_for "SELECT bool_and(state = 'streaming') FROM eventlog.mirrors")
	SQL
	sleep 75
	pid=$(quiet -c "SELECT DISTINCT pid FROM eventlog.mirrors")
	before=$(ticks "$pid")
	sleep "$IDLE_SECONDS"
	record "mirror idle CPU" ours "$(awk -v t=$(($(ticks "$pid") - before)) -v hz="$(getconf CLK_TCK)" -v s="$IDLE_SECONDS" 'BEGIN { print 100 * t / hz / s }')"
	record "mirror idle CPU" "1 %" 1
	record "mirror idle memory" ours "$(awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$pid/status")"
	record "mirror idle memory" "256 MB" 256
	row "100 idle mirrors: CPU" "% of a core" "mirror idle CPU" ours "1 %" "<=" 1
	row "the same: resident memory" MB "mirror idle memory" ours "256 MB" "<=" 1
	quiet >/dev/null -c "SELECT eventlog.drop_mirror(name) FROM eventlog.mirrors"
}

# Most private memory of the worker (MB) until a mirror has all records; what it
# has touched of shared buffers is the server's.
peak_memory() {
	local name=$1 records=$2 pid peak=0 now

	quiet >/dev/null -c "$(wait_for "SELECT bool_and(pid IS NOT NULL) FROM eventlog.mirrors")"
	pid=$(quiet -c "SELECT DISTINCT pid FROM eventlog.mirrors")
	while [ "$(quiet -c "SELECT coalesce(max(records), 0) < $records FROM eventlog.mirrors WHERE name = '$name'")" = t ]; do
		now=$(awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$pid/status")
		[ "$now" -le "$peak" ] || peak=$now
		sleep 0.2
	done
	echo "$peak"
}

mirror_backlog() {
	local records=$((BACKLOG_GB * 1000000)) n=0

	kafka_topic backlog.kafka 1 retention.ms=-1 2>/dev/null
	quiet >/dev/null <<-SQL
		SELECT eventlog.create_topic('backlog', 1, 'text', 'text');
		SELECT eventlog.create_topic('backlog.back', 1, 'text', 'text');
	SQL
	while [ "$n" -lt "$records" ]; do
		quiet >/dev/null -c "SELECT count(eventlog.produce('backlog', NULL::text, repeat('x', 1000))) FROM generate_series(1, 1000000)"
		n=$((n + 1000000))
	done
	quiet >/dev/null -c "SELECT eventlog.create_mirror('backlog out', 'kafka', 'out', 'backlog', 'backlog.kafka')"
	record "mirror out memory" ours "$(peak_memory "backlog out" "$records")"
	quiet >/dev/null -c "SELECT eventlog.drop_mirror('backlog out')" \
		-c "SELECT eventlog.create_mirror('backlog in', 'kafka', 'in', 'backlog.back', 'backlog.kafka')"
	record "mirror in memory" ours "$(peak_memory "backlog in" "$records")"
	quiet >/dev/null -c "SELECT eventlog.drop_mirror('backlog in')"
	record "mirror out memory" "256 MB" 256
	record "mirror in memory" "256 MB" 256
	row "$BACKLOG_GB GB to Kafka: most private memory of the worker" MB "mirror out memory" ours "256 MB" "<=" 1
	row "$BACKLOG_GB GB from Kafka: the same" MB "mirror in memory" ours "256 MB" "<=" 1
}

part_mirrors() {
	local what

	heading "Mirrors"
	EVENTLOG_CACHE=$STAGE/bench/cache
	. test/kafka/broker.sh
	trap kafka_stop EXIT
	rm -rf "$STAGE/bench/kafka"
	kafka_start "$STAGE/bench/kafka"
	quiet -c "CREATE SERVER kafka FOREIGN DATA WRAPPER eventlog_kafka OPTIONS (\"bootstrap.servers\" '$KAFKA_BROKERS')" \
		-c "CREATE USER MAPPING FOR CURRENT_USER SERVER kafka"
	for what in $MIRRORS; do
		case $what in
			rates)
				mirror_rates none
				mirror_rates lz4
				;;
			latency | idle | backlog) "mirror_$what" ;;
			*) die "mirrors: there is no \"$what\"; there is: rates latency idle backlog" ;;
		esac
	done
	note "Kafka $KAFKA_VERSION, a broker with its own defaults on the same machine, one partition. Rates are those of $COUNT records of 100 equal bytes without keys that were there already, in transactions of up to 100,000; librdkafka's are those of a bare transactional producer and a bare read_committed consumer (test/kafka/client_bench.c). Latencies are those of single records, one at a time (test/bench/mirror_client.c)."
}
