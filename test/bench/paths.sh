# shellcheck shell=bash
# paths.sh: what the benchmark measures, one function a part.
#
# Those that are compared:
#	topic	a topic of one partition, text keys and values, null keys
#	hk		heap (id bigserial primary key, ts timestamptz default now(), value text)
#	hp		heap (ts timestamptz default now(), value text)

value=$(printf '%0100d' 0 | tr 0 x)

# SQL that makes and drops WHO, named NAME, and the name to use in statements.
create() {
	case $1 in
		topic) echo "SELECT eventlog.create_topic('$2', 1, value_type => 'text');" ;;
		hk) echo "CREATE TABLE $2 (id bigserial PRIMARY KEY, ts timestamptz DEFAULT now(), value text);" ;;
		hp) echo "CREATE TABLE $2 (ts timestamptz DEFAULT now(), value text);" ;;
	esac
}
table() {
	case $1 in
		topic) echo "topics.$2" ;;
		*) echo "$2" ;;
	esac
}
drop() {
	echo "DROP TABLE $(table "$1" "$2");"
}

# load PATH WHO NAME: SQL of a bulk path
load() {
	local path=$1 who=$2 name=$3 table body few=$((COUNT / 10))

	table=$(table "$who" "$name")
	case $path in
		insert)
			echo "INSERT INTO $table (value) SELECT value FROM src;" ;;
		copy)
			echo "COPY $table (value) FROM '$STAGE/bench/values.txt';" ;;
		batch)
			cat <<-SQL
				DO \$\$
				DECLARE
					a text[] := ARRAY(SELECT value FROM src LIMIT 1000);
				BEGIN
					FOR i IN 1..$((COUNT / 1000)) LOOP
						$([ "$who" = topic ] &&
							echo "PERFORM eventlog.produce_batch('$name', null, a);" ||
							echo "INSERT INTO $table (value) SELECT unnest(a);")
					END LOOP;
				END \$\$;
			SQL
			;;
		produce)
			if [ "$who" = topic ]; then
				echo "SELECT count(*) FROM (SELECT eventlog.produce('$name', null, value) FROM src LIMIT $few) s;"
			else
				echo "INSERT INTO $table (value) SELECT value FROM src LIMIT $few;"
			fi
			;;
		loop | expression)
			case $path.$who in
				loop.topic) body="PERFORM eventlog.produce('$name', null, v);" ;;
				expression.topic) body="CONTINUE WHEN eventlog.produce('$name', null, v) IS NULL;" ;;
				*) body="INSERT INTO $table (value) VALUES (v);" ;;
			esac
			loop "$body"
			;;
	esac
}
load_count() {
	case $1 in
		insert | copy | batch) echo "$COUNT" ;;
		*) echo $((COUNT / 10)) ;;
	esac
}

# loop BODY: a tenth of COUNT times round a plpgsql loop, with a value in v
loop() {
	cat <<-SQL
		DO \$\$
		DECLARE
			v text := '$value';
		BEGIN
			FOR i IN 1..$((COUNT / 10)) LOOP
				$1
			END LOOP;
		END \$\$;
	SQL
}

# Into a new file, by a session that has done the same before: otherwise its
# first touch of shared memory would be measured.  WAL is counted here as well.
load_fresh() {
	local path=$1 who=$2 s n

	n=$(load_count "$path")
	s=$({
		create "$who" b
		load "$path" "$who" b
		drop "$who" b
		create "$who" b
		echo "CHECKPOINT;"
		echo "SELECT 'wal', pg_current_wal_insert_lsn() - '0/0';"
		echo '\timing on'
		load "$path" "$who" b
		echo '\timing off'
		echo "SELECT 'wal', pg_current_wal_insert_lsn() - '0/0';"
	} | timed)
	record "$path fresh" "$who" "$(rate "$n" "$s")"
	case $path in
		insert | batch) record "$path wal" "$who" "$(rate "$(wal_between)" "$n")" ;;
	esac
	drop "$who" b | quiet
}

# Into a file whose space has been used before.  A topic's is used again when
# its records were deleted and maintenance has found that nobody can be reading
# them any more; a heap's after DELETE and VACUUM.  What came before is flushed before the clock starts.
load_again() {
	local path=$1 who=$2 s

	quiet -c CHECKPOINT
	s=$({
		create "$who" b
		load "$path" "$who" b
		if [ "$who" = topic ]; then
			echo "SELECT eventlog.delete_records('b', 0, -1); SELECT eventlog.maintain('b');"
			echo "SELECT pg_current_xact_id(); SELECT eventlog.maintain('b');"
		else
			echo "DELETE FROM b; VACUUM (TRUNCATE false) b;"
		fi
		echo "\\! psql -XAtqc 'SELECT pg_current_xact_id()' >/dev/null"
		echo '\timing on'
		load "$path" "$who" b
	} | timed)
	record "$path again" "$who" "$(rate "$(load_count "$path")" "$s")"
	drop "$who" b | quiet
}

part_insert() {
	local path who round title hk hp s few=$((COUNT / 10))

	heading "Writing in bulk"
	for path in insert copy batch produce loop expression; do
		for round in $(seq "$ROUNDS"); do
			for who in topic hk hp; do
				load_fresh "$path" "$who"
			done
			for who in topic hk hp; do
				load_again "$path" "$who"
			done
			if [ "$path" = loop ]; then
				s=$({ echo '\timing on'; loop "PERFORM pg_backend_pid();"; } | timed)
				record "loop fresh" nothing "$(rate $few "$s")"
			fi
		done
		case $path in
			insert) title="INSERT … SELECT" hk=5 hp=2.2 ;;
			copy) title="COPY text" hk=2.2 hp=1.2 ;;
			batch) title="\`produce_batch\`, arrays of 1,000" hk=9 hp=3.5 ;;
			produce) title="\`produce()\`, $few in one statement" hk=5 hp=2.8 ;;
			loop) title="\`PERFORM produce()\`, $few in a plpgsql loop" hk=4 hp=2.8 ;;
			expression) title="\`produce() IS NULL\`, $few in a plpgsql loop" hk=4 hp=2.8 ;;
		esac
		row "$title, new file" "records/s" "$path fresh" topic hk ">=" $hk
		row "" "" "$path fresh" topic hp ">=" $hp
		row "$title, space used again" "records/s" "$path again" topic hk ">=" $hk
		row "" "" "$path again" topic hp ">=" $hp
	done
	row "WAL, INSERT … SELECT" "bytes/record" "insert wal" topic hk "<=" 0.5
	row "" "" "insert wal" topic hp
	row "WAL, \`produce_batch\`" "bytes/record" "batch wal" topic hk "<=" 0.5
	row "" "" "batch wal" topic hp
	row "\`produce()\` and a function that does nothing, by PERFORM" "calls/s" "loop fresh" topic nothing

	note "The source of INSERT … SELECT and of \`produce()\` in one statement is a table of $COUNT distinct values; of COPY, a file on the server."
	note "\`produce_batch\`: a plpgsql loop calls it with one array of 1,000 values until $COUNT are sent. The heaps do the same work by \`INSERT … SELECT unnest(array)\` in the same loop."
	note "\`produce()\` in one statement: \`SELECT produce(…, value) FROM …\`; the heaps: one INSERT … SELECT of as many rows. In a loop: one \`produce()\`, or one INSERT, each time round. PERFORM starts an executor for each call, whatever it calls, and the last line tells how much that is; where plpgsql evaluates an expression (IF, CONTINUE WHEN, an assignment) it does not."
	note "New file: a topic or table just made, by a session that has loaded and dropped one like it before. Space used again: the topic is loaded, emptied by delete_records() and maintained, so that its blocks are free, and loaded again; the heaps are loaded, emptied by DELETE and VACUUM without truncation, and loaded again. The WAL of what came before is flushed before the clock starts."
}

# --- one event per commit ---------------------------------------------------

# bench SCRIPT CLIENTS SECONDS [pgbench options]: transactions per second
bench() {
	local script=$1 clients=$2 seconds=$3 out
	shift 3

	out=$(pgbench -n -M prepared -D v="$value" -f "$script" -c "$clients" \
		-j "$((clients < 2 ? 1 : 2))" -T "$seconds" "$@" 2>&1) || { printf '%s\n' "$out" >&2; return 1; }
	printf '%s\n' "$out" | awk '/^tps = / { printf "%.0f\n", $3 }'
}

one_event() {
	case $1 in
		topic) echo "SELECT eventlog.produce('b', null, :v);" ;;
		*) echo "INSERT INTO b (value) VALUES (:v);" ;;
	esac
}

part_commit() {
	local round who clients tps before n=2000

	heading "One event per commit"
	for who in topic hk hp; do
		one_event "$who" >"$STAGE/bench/one_$who.sql"
	done
	for clients in 1 8 32; do
		for round in $(seq "$ROUNDS"); do
			for who in topic hk hp; do
				create "$who" b | quiet >/dev/null
				quiet -c CHECKPOINT
				tps=$(bench "$STAGE/bench/one_$who.sql" "$clients" "$SECONDS_EACH")
				record "commit $clients" "$who" "$tps"
				drop "$who" b | quiet
			done
		done
		row "one event per commit, $clients client$([ "$clients" = 1 ] || echo s)" "commits/s" "commit $clients" topic hk ">=" 1.1
		row "" "" "commit $clients" topic hp ">=" 1.0
	done
	for round in $(seq "$ROUNDS"); do
		for who in topic hk hp; do
			create "$who" b | quiet >/dev/null
			quiet -c CHECKPOINT
			pgbench -n -M prepared -D v="$value" -f "$STAGE/bench/one_$who.sql" -t 200 >/dev/null 2>&1
			before=$(wal_position)
			pgbench -n -M prepared -D v="$value" -f "$STAGE/bench/one_$who.sql" -t $n >/dev/null 2>&1
			record "commit wal" "$who" "$(rate "$(($(wal_position) - before))" $n)"
			drop "$who" b | quiet
		done
	done
	note "pgbench with prepared statements, $SECONDS_EACH s each; fsync and synchronous_commit are on."
	row "WAL, one event per commit" "bytes/commit" "commit wal" topic hk "<=" 1.0
	row "" "" "commit wal" topic hp
}

# --- two producers -----------------------------------------------------------

# Two sessions load at once; the sum of their rates.
part_concurrent() {
	local round who path at one two pid

	heading "Two producers on one partition"
	for path in insert batch; do
		for round in $(seq "$ROUNDS"); do
			for who in topic hp; do
				create "$who" b | quiet >/dev/null
				quiet -c CHECKPOINT
				at=$(awk -v t="$EPOCHREALTIME" 'BEGIN { printf "%.3f", t + 0.3 }')
				concurrent_one "$path" "$who" "$at" >"$STAGE/bench/two" &
				pid=$!
				one=$(concurrent_one "$path" "$who" "$at")
				wait "$pid"
				two=$(cat "$STAGE/bench/two")
				record "two $path" "$who" $((one + two))
				drop "$who" b | quiet
			done
		done
	done
	row "INSERT … SELECT, sum of both" "records/s" "two insert" topic hp ">=" 1.8
	row "\`produce_batch\`, sum of both" "records/s" "two batch" topic hp ">=" 1.8
}
concurrent_one() {
	local s

	s=$({
		echo "SELECT pg_sleep(greatest(0, $3 - extract(epoch FROM clock_timestamp())));"
		echo '\timing on'
		load "$1" "$2" b
	} | timed)
	rate "$COUNT" "$s"
}

# --- reading -------------------------------------------------------------------

part_scan() {
	local round who name query text floor s

	heading "Sequential scans"
	for who in topic hp; do
		create "$who" scan | quiet >/dev/null
		load insert "$who" scan | quiet
		quiet -c "VACUUM ANALYZE $(table "$who" scan)"
	done
	create hp scan_new | quiet
	load insert hp scan_new | quiet
	for round in $(seq "$ROUNDS"); do
		for query in "sum(length(value))" "sum(octet_length(value))" "count(*)"; do
			for who in topic hp "hp, no VACUUM"; do
				case $who in
					topic) name=topics.scan ;;
					hp) name=scan ;;
					*) name=scan_new ;;
				esac
				# twice unmeasured, for caches and hint bits
				text="SELECT $query FROM $name;"
				s=$(printf '%s\n' "$text" "$text" '\timing on' "$text" | timed)
				record "scan $query" "$who" "$(rate "$COUNT" "$s")"
			done
		done
	done
	for query in "sum(length(value))" "sum(octet_length(value))" "count(*)"; do
		floor=1.1
		[ "$query" != "count(*)" ] || floor=1.3
		row "\`$query\`" "records/s" "scan $query" topic hp ">=" $floor
		row "" "" "scan $query" topic "hp, no VACUUM" ">=" $floor
	done
	note "All in shared buffers, read twice before, no parallel query. \`length()\` counts characters, which in UTF-8 takes longer than either scan; \`octet_length()\` leaves that out. VACUUM has marked hp all-visible, which spares its scan the check of each row; \"no VACUUM\" has hint bits only."
	quiet -c "DROP TABLE topics.scan, scan, scan_new"
}

random_script() {
	echo "\\set r random(0, $COUNT - 500)"
	case $1 in
		topic) echo "SELECT record_offset, \"timestamp\", value FROM topics.$2 WHERE partition = 0 AND record_offset >= :r AND record_offset < :r + 500;" ;;
		hk) echo "SELECT id, ts, value FROM $2 WHERE id > :r AND id <= :r + 500;" ;;
		topic_sum) echo "SELECT sum(octet_length(value)) FROM topics.$2 WHERE partition = 0 AND record_offset >= :r AND record_offset < :r + 500;" ;;
		hk_sum) echo "SELECT sum(octet_length(value)) FROM $2 WHERE id > :r AND id <= :r + 500;" ;;
	esac
}

part_random() {
	local round who tps

	heading "500 records at a random offset"
	for who in topic hk; do
		create "$who" "random_$who" | quiet >/dev/null
		load insert "$who" "random_$who" | quiet
		quiet -c "VACUUM ANALYZE $(table "$who" "random_$who")"
		random_script "$who" "random_$who" >"$STAGE/bench/random_$who.sql"
		random_script "${who}_sum" "random_$who" >"$STAGE/bench/random_${who}_sum.sql"
	done
	for round in $(seq "$ROUNDS"); do
		for who in topic hk; do
			tps=$(bench "$STAGE/bench/random_$who.sql" 1 "$SECONDS_EACH")
			record "random rows" "$who" "$tps"
		done
		for who in topic hk; do
			tps=$(bench "$STAGE/bench/random_${who}_sum.sql" 1 "$SECONDS_EACH")
			record "random sum" "$who" "$tps"
		done
	done
	row "offset, time and value, sent to the client" "queries/s" "random rows" topic hk ">=" 2
	row "\`sum(octet_length(value))\`" "queries/s" "random sum" topic hk ">=" 2
	note "Prepared statements of one client, all in shared buffers: \`partition = 0 AND record_offset >= r AND record_offset < r + 500\` against a range of hk's primary key."
	for who in topic hk; do
		drop "$who" "random_$who" | quiet
	done
}

# --- size -------------------------------------------------------------------

# all files of a table, its indexes included, or of a topic
bytes_of() {
	quiet -c "SELECT pg_total_relation_size('$1') + COALESCE((SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = '$1'::regclass), 0)"
}

part_size() {
	local who records repeat=30 compression

	heading "Bytes of file a record"
	for who in topic hk hp; do
		create "$who" b | quiet >/dev/null
		load insert "$who" b | quiet
		record "size" "$who" "$(rate "$(bytes_of "$(table "$who" b)")" "$COUNT")"
		drop "$who" b | quiet
	done
	row "100-byte values, uncompressed" "bytes/record" size topic hk "<=" 0.7
	row "" "" size topic hp

	# Each earthquake many times, as an event of its own each time.
	awk -v n=$repeat '
		match($0, /"id":"[^"]*"}$/) {
			start = substr($0, 1, RSTART + RLENGTH - 3)
			for (i = 1; i <= n; i++)
				print i "\t" start "-" i "\"}"
		}' test/data/earthquakes.ndjson | sort -s -n -k 1,1 | cut -f 2 >"$STAGE/bench/feed.ndjson"
	records=$(wc -l <"$STAGE/bench/feed.ndjson")
	quiet <<-SQL
		CREATE TABLE feed_json (id bigserial PRIMARY KEY, ts timestamptz DEFAULT now(), value json);
		CREATE TABLE feed_jsonb (id bigserial PRIMARY KEY, ts timestamptz DEFAULT now(), value jsonb);
		COPY feed_json (value) FROM '$STAGE/bench/feed.ndjson' (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02');
		INSERT INTO feed_jsonb (value) SELECT value::jsonb FROM feed_json ORDER BY id;
	SQL
	for compression in none lz4 zstd; do
		quiet <<-SQL >/dev/null
			SELECT eventlog.create_topic('feed_$compression', config => '{"compression.type": "${compression/none/uncompressed}"}');
			INSERT INTO topics.feed_$compression (key, value) SELECT value ->> 'id', value FROM feed_json ORDER BY id;
		SQL
		record feed "topic, $compression" "$(rate "$(bytes_of "topics.feed_$compression")" "$records")"
		drop topic "feed_$compression" | quiet
	done
	for who in json jsonb; do
		record feed "hk, $who" "$(rate "$(bytes_of "feed_$who")" "$records")"
		quiet -c "DROP TABLE feed_$who"
	done
	row "earthquake feed, zstd" "bytes/record" feed "topic, zstd" "hk, json" "<=" 0.2
	row "" "" feed "topic, zstd" "hk, jsonb" "<=" 0.2
	row "earthquake feed, lz4" "bytes/record" feed "topic, lz4" "hk, json"
	row "earthquake feed, uncompressed" "bytes/record" feed "topic, none" "hk, json"
	note "hk with its index. The feed: test/data/earthquakes.ndjson, $repeat times with ids of their own, $records events of 712 bytes; the topic has keys as well, the heaps have not."
}

# --- Kafka ----------------------------------------------------------------------

# Of a client's line, the rate.
client() {
	"$@" | sed -n 's/^records_per_s=\([0-9]*\) .*/\1/p'
}

# consume() by a loop in the server that only counts.
consume_loop() {
	cat <<-SQL
		DO \$\$
		DECLARE
			n bigint;
			total bigint := 0;
		BEGIN
			LOOP
				SELECT count(*) INTO n FROM eventlog.consume('$1', null::topics.b, 500);
				EXIT WHEN n = 0;
				PERFORM eventlog.commit();
				COMMIT;
				total := total + n;
			END LOOP;
			ASSERT total = $COUNT, total;
		END \$\$;
	SQL
}

part_kafka() {
	local round r s async pg="host=$PGHOST port=$PGPORT user=$PGUSER dbname=$PGDATABASE"

	heading "Kafka"
	EVENTLOG_CACHE=$STAGE/bench/cache
	. test/kafka/broker.sh
	trap kafka_stop EXIT
	trap 'exit 130' INT TERM HUP
	kafka_start "$STAGE/bench/kafka"
	async="$pg options='-c synchronous_commit=off'"

	# until the broker's code is compiled
	kafka_topic warm 1 2>/dev/null
	for round in 1 2 3; do
		"$STAGE/bench/kafka_client" produce "$KAFKA_BROKERS" warm 0 "$COUNT" 100 >/dev/null
		"$STAGE/bench/kafka_client" consume "$KAFKA_BROKERS" warm 0 "$COUNT" >/dev/null
	done
	for round in $(seq "$ROUNDS"); do
		{ create topic b; create topic warm; } | quiet >/dev/null
		quiet -c CHECKPOINT
		kafka_topic "b$round" 1 2>/dev/null
		sync
		r=$(client "$STAGE/bench/pg_client" produce "$pg" b "$COUNT" 100 1000 warm)
		record "kafka produce" "topic" "$r"
		r=$(client "$STAGE/bench/kafka_client" produce "$KAFKA_BROKERS" "b$round" 0 "$COUNT" 100)
		record "kafka produce" "Kafka" "$r"

		quiet -c "SELECT eventlog.create_group(g, 'b') FROM unnest('{loop,aloop,client,aclient}'::text[]) g" >/dev/null
		s=$({ echo '\timing on'; consume_loop loop; } | timed)
		record "kafka consume" "loop" "$(rate "$COUNT" "$s")"
		s=$({ echo 'SET synchronous_commit = off;'; echo '\timing on'; consume_loop aloop; } | timed)
		record "kafka consume" "loop, async" "$(rate "$COUNT" "$s")"
		r=$(client "$STAGE/bench/kafka_client" consume "$KAFKA_BROKERS" "b$round" 0 "$COUNT")
		record "kafka consume" "Kafka" "$r"
		r=$(client "$STAGE/bench/kafka_client" consume "$KAFKA_BROKERS" "b$round" 0 "$COUNT" "g$round" 500)
		record "kafka consume" "Kafka, committing" "$r"
		r=$(client "$STAGE/bench/pg_client" consume "$pg" client b "$COUNT" 500)
		record "kafka consume" "client" "$r"
		r=$(client "$STAGE/bench/pg_client" consume "$async" aclient b "$COUNT" 500)
		record "kafka consume" "client, async" "$r"
		drop topic b | quiet
	done
	row "durable \`produce_batch\` by a client" \
		"records/s" "kafka produce" "topic" "Kafka" ">=" 2.5
	row "\`consume()\` by 500, typed, counted in a plpgsql loop" \
		"records/s" "kafka consume" "loop" "Kafka" ">=" 1
	row "" "" "kafka consume" "loop" "Kafka, committing"
	row "the same, \`synchronous_commit = off\`" \
		"records/s" "kafka consume" "loop, async" "Kafka" ">=" 1
	row "\`consume()\` by 500, typed, rows fetched by a client" \
		"records/s" "kafka consume" "client" "Kafka"
	row "" "" "kafka consume" "client" "Kafka, committing"
	row "the same, \`synchronous_commit = off\`" \
		"records/s" "kafka consume" "client, async" "Kafka"
	row "" "" "kafka consume" "client, async" "Kafka, committing"
	note "Kafka $KAFKA_VERSION, a broker with its own defaults, by librdkafka over the loopback interface: test/bench/kafka_client.c. Its producer waits for acks=all, which with one broker means the page cache, without fsync."
	note "Our client, over a Unix socket: test/bench/pg_client.c. It sends arrays of 1,000 and commits, with fsync, every million records, by a session that has done the same before, as the broker has."
	note "**Kafka** reads without committing positions; **Kafka, committing** commits its group's position after every 500 records and waits for the broker, which gathers such commits for 5 ms (group.coordinator.append.linger.ms) and does not fsync them. Ours commits the group's position with each batch of 500, with fsync unless said otherwise."
}

# --- PgQ and pgmq -------------------------------------------------------------------

# again RECORDS CREATE DROP SCRIPT: rate of a script's records, the second time
# that a session runs it, on what CREATE makes anew
again() {
	local count=$1 create=$2 drop=$3 script=$4 s

	s=$(printf '%s\n' "SET client_min_messages = warning;" \
		"$create" "$script" "$drop" "$create" "CHECKPOINT;" \
		'\timing on' "$script" '\timing off' "$drop" | timed)
	rate "$count" "$s"
}
again_topic() {
	again "$1" "SELECT eventlog.create_topic('b', value_type => '$2');" "DROP TABLE topics.b;" "$3"
}
again_pgq() {
	again "$1" "SELECT pgq.create_queue('q');" "SELECT pgq.drop_queue('q', true);" "$2"
}
again_pgmq() {
	again "$1" "SELECT pgmq.create('q');" "SELECT pgmq.drop_queue('q');" "$2"
}

# batches BODY: a tenth of COUNT records in arrays of 1,000, in a, as jsonb
batches() {
	cat <<-SQL
		DO \$\$
		DECLARE
			a jsonb[] := ARRAY(SELECT jsonb_build_object('event', left(value, 86)) FROM src LIMIT 1000);
		BEGIN
			FOR i IN 1..$((COUNT / 10000)) LOOP
				$1
			END LOOP;
		END \$\$;
	SQL
}

part_queue() {
	local round r few=$((COUNT / 10))

	heading "Queues in PostgreSQL"
	quiet -c "CREATE EXTENSION pgq" 2>/dev/null >/dev/null
	for round in $(seq "$ROUNDS"); do
		r=$(again_topic "$COUNT" text "$(load batch topic b)")
		record queue "produce_batch" "$r"
		r=$(again_topic $few text "$(load produce topic b)")
		record queue "produce" "$r"
		r=$(again_pgq $few "SELECT count(*) FROM (SELECT pgq.insert_event('q', 'event', value) FROM src LIMIT $few) s;")
		record queue "PgQ" "$r"
		r=$(again_topic $few text "$(load loop topic b)")
		record queue "produce loop" "$r"
		r=$(again_pgq $few "$(loop "PERFORM pgq.insert_event('q', 'event', v);")")
		record queue "PgQ loop" "$r"
	done
	quiet -c "DROP EXTENSION pgq CASCADE" 2>/dev/null
	row "\`produce_batch\`, arrays of 1,000; \`pgq.insert_event()\`, $few in one statement" "records/s" queue "produce_batch" "PgQ" ">=" 30
	row "\`produce()\`; \`pgq.insert_event()\`, $few in one statement" "records/s" queue "produce" "PgQ"
	row "\`produce()\`; \`pgq.insert_event()\`, $few in a plpgsql loop" "records/s" queue "produce loop" "PgQ loop"

	if [ ! -f "$STAGE/bench/pgmq.sql" ]; then
		note "pgmq was not measured: PGMQ_SQL was not set to its install script."
		return
	fi
	quiet -f "$STAGE/bench/pgmq.sql" >/dev/null 2>&1
	for round in $(seq "$ROUNDS"); do
		r=$(again_topic "$COUNT" text "$(load batch topic b)")
		record pgmq text "$r"
		r=$(again_topic $few json "$(batches "PERFORM eventlog.produce_batch('b', null, a);")")
		record pgmq jsonb "$r"
		r=$(again_pgmq $few "$(batches "PERFORM pgmq.send_batch('q', a);")")
		record pgmq pgmq "$r"
	done
	row "\`produce_batch\` of text; \`pgmq.send_batch()\` of jsonb; arrays of 1,000" "records/s" pgmq text pgmq ">=" 15
	row "\`produce_batch\` of the same jsonb into a json topic" "records/s" pgmq jsonb pgmq
	note "All in sessions that have done the same once before."
}

# --- a row and its event ---------------------------------------------------------------

part_outbox() {
	local round who clients tps

	heading "A row and its event in one commit"
	cat >"$STAGE/bench/outbox_topic.sql" <<-SQL
		\\set a random(1, 100000)
		BEGIN;
		INSERT INTO orders (customer, amount) VALUES (:a, :a);
		SELECT eventlog.produce('b', :a::text, :v);
		COMMIT;
	SQL
	cat >"$STAGE/bench/outbox_outbox.sql" <<-SQL
		\\set a random(1, 100000)
		BEGIN;
		INSERT INTO orders (customer, amount) VALUES (:a, :a);
		INSERT INTO outbox (topic, key, payload) VALUES ('b', :a::text, :v);
		COMMIT;
	SQL
	for clients in 1 8 32; do
		for round in $(seq "$ROUNDS"); do
			for who in topic outbox; do
				quiet <<-SQL >/dev/null
					CREATE TABLE orders (id bigserial PRIMARY KEY, customer int, amount int);
					CREATE TABLE outbox (id bigserial PRIMARY KEY, topic text, key text, payload text, created_at timestamptz DEFAULT now());
					$(create topic b)
					CHECKPOINT;
				SQL
				tps=$(bench "$STAGE/bench/outbox_$who.sql" "$clients" "$SECONDS_EACH")
				record "outbox $clients" "$who" "$tps"
				quiet -c "DROP TABLE orders, outbox, topics.b"
			done
		done
		row "row and \`produce()\`; row and outbox INSERT: $clients client$([ "$clients" = 1 ] || echo s)" "commits/s" "outbox $clients" topic outbox ">=" 1.0
	done
	note "The outbox's rows would still have to be read, sent and deleted; that is not counted."
}

# --- bounded and flat ------------------------------------------------------------------

# Greatest anonymous memory of a backend while it runs a script, in MB, above
# what it has when it has produced one record.
peak_memory() {
	local fifo=$STAGE/bench/fifo pid backend rss low=0 high=0

	mkfifo "$fifo"
	quiet <"$fifo" >"$STAGE/bench/peak.out" &
	pid=$!
	exec 9>"$fifo"
	printf '%s\n' "SELECT eventlog.produce('b', null, 'x');" \
		"SELECT pg_sleep(0.2), pg_backend_pid();" >&9
	backend=
	while [ -z "$backend" ]; do
		sleep 0.05
		backend=$(sed -n 's/^|\([0-9]*\)$/\1/p' "$STAGE/bench/peak.out")
	done
	low=$(awk '/^RssAnon/ { print $2 }' "/proc/$backend/status")
	cat >&9
	exec 9>&-
	while rss=$(awk '/^RssAnon/ { print $2 }' "/proc/$backend/status" 2>/dev/null) && [ -n "$rss" ]; do
		[ "$rss" -le "$high" ] || high=$rss
		sleep 0.02
	done
	wait "$pid"
	rm "$fifo"
	awk -v kb=$((high - low)) 'BEGIN { printf "%.1f\n", kb / 1024 }'
}

part_memory() {
	local round mb many=$((5 * COUNT)) limit

	heading "Memory of a session that produces $many records in one transaction"
	limit=$(quiet -c "SELECT setting::int / 1024 + 8 FROM pg_settings WHERE name = 'eventlog.producer_buffer'")
	for round in 1; do
		create topic b | quiet >/dev/null
		mb=$(peak_memory <<<"INSERT INTO topics.b (value) SELECT value FROM src, generate_series(1, 5);")
		record memory insert "$mb"
		mb=$(peak_memory <<-SQL
			DO \$\$
			DECLARE
				v text := '$value';
			BEGIN
				FOR i IN 1..$many LOOP
					PERFORM eventlog.produce('b', null, v);
				END LOOP;
			END \$\$;
		SQL
		)
		record memory loop "$mb"
		record memory "buffer + 8" "$limit"
		drop topic b | quiet
	done
	row "INSERT … SELECT, peak above an idle session" MB memory insert "buffer + 8" "<=" 1
	row "\`produce()\` in a plpgsql loop, peak above an idle session" MB memory loop "buffer + 8" "<=" 1
	note "RssAnon of the backend, so without shared buffers. The peer is eventlog.producer_buffer and 8 MB."
}

# One database with one topic, another with a thousand.
part_topics() {
	local round who n=1000 some=20 tps s i

	heading "One topic or a thousand"
	random_script topic_sum b >"$STAGE/bench/random_b.sql"
	for who in one thousand; do
		quiet -c "CREATE DATABASE $who"
		{
			echo "CREATE EXTENSION pg_eventlog;"
			create topic b
			echo "INSERT INTO topics.b (value) SELECT lpad(i::text, 20, '0') || repeat('x', 80) FROM generate_series(1, $COUNT) i;"
			[ "$who" = one ] || for i in $(seq 2 $n); do create topic "t$i"; done
		} | quiet -d "$who" >/dev/null
	done
	for round in $(seq "$ROUNDS"); do
		for who in one thousand; do
			s=$({
				create topic warm
				echo '\timing on'
				for i in $(seq $some); do create topic "new$i"; done
				echo '\timing off'
				for i in $(seq $some); do drop topic "new$i"; done
				drop topic warm
			} | timed -d "$who")
			record "create" "$who" "$(rate $some "$s")"
		done
		for who in one thousand; do
			tps=$(bench "$STAGE/bench/random_b.sql" 1 "$SECONDS_EACH" "$who")
			record "random topics" "$who" "$tps"
		done
	done
	row "\`create_topic\`" "topics/s" create thousand one ">=" 0.9
	row "500 records at a random offset, \`sum(octet_length(value))\`" "queries/s" "random topics" thousand one ">=" 0.9
	note "\"Ours\" is a database with $n topics, the other has one. The same is meant to cost the same; the floor leaves room for noise."
	for who in one thousand; do
		quiet -c "DROP DATABASE $who"
	done
}
