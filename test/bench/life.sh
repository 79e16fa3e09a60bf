# shellcheck shell=bash
# life.sh: what the benchmark measures of a log's life: retention, compaction,
# inspection, dumps, long logs and recovery.  One function a part, as in
# paths.sh, whose helpers are used here.
#
#	MANY	records of a long log: ten times COUNT

MANY=$((10 * COUNT))

# Maintenance workers do nothing while what they would do is being measured.
workers() {
	quiet -c "ALTER SYSTEM SET eventlog.maintenance = $1" -c "SELECT pg_reload_conf()" >/dev/null
	while [ "$1" = off ] && [ "$(quiet -c "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_eventlog maintenance%'")" != 0 ]; do
		sleep 0.1
	done
}

# Call a function of this file with the workers off.
without_workers() {
	local status=0

	workers off
	"$@" || status=$?
	workers on
	return "$status"
}

# limited NAME [MB]: a topic under retention.bytes
limited() {
	echo "SELECT eventlog.create_topic('$1', 1, value_type => 'text', config => '{\"retention.bytes\": $((${2:-$RETENTION_MB} * 1048576))}');"
}

# How long SQL takes, in seconds, while it runs in the background: read by
# "wait $pid" and this file.
in_background() {
	{ echo '\timing on'; cat; } | timed >"$STAGE/bench/background"
}

# --- retention ------------------------------------------------------------------

# append PATH NAME: SQL for COUNT records in four commits
append() {
	local part=$((COUNT / 4))

	case $1 in
		batch)
			cat <<-SQL
				DO \$\$
				DECLARE
					a text[] := ARRAY(SELECT value FROM src LIMIT 1000);
				BEGIN
					FOR i IN 1..4 LOOP
						FOR j IN 1..$((part / 1000)) LOOP
							PERFORM eventlog.produce_batch('$2', null, a);
						END LOOP;
						COMMIT;
					END LOOP;
				END \$\$;
			SQL
			;;
		insert)
			for _ in 1 2 3 4; do
				echo "INSERT INTO topics.$2 (value) SELECT value FROM src LIMIT $part;"
			done
			;;
	esac
}

# The append timed, by a session that has done the same before.
append_limited() {
	local s

	s=$({
		append "$1" kept
		echo "CHECKPOINT;"
		echo '\timing on'
		append "$1" kept
	} | timed)
	record "retention $1" limited "$(rate "$COUNT" "$s")"
	record "retention file" file "$(quiet -c "SELECT pg_relation_size(eventlog.partition_leaf('topics.kept', 0)) / 1048576.0")"
	record "retention file" asked "$RETENTION_MB"
}
append_fresh() {
	local s

	s=$({
		create topic b
		append "$1" b
		drop topic b
		create topic b
		echo "CHECKPOINT;"
		echo '\timing on'
		append "$1" b
		echo '\timing off'
		drop topic b
	} | timed)
	record "retention $1" fresh "$(rate "$COUNT" "$s")"
}

# A producer that commits 100 times a second, 2,000 records each, for so many
# seconds.
steady_producer() {
	cat <<-SQL
		DO \$\$
		DECLARE
			a text[] := ARRAY(SELECT value FROM src LIMIT 1000);
			start timestamptz := clock_timestamp();
			due interval;
		BEGIN
			FOR i IN 1..100 * $2 LOOP
				PERFORM eventlog.produce_batch('$1', null, a), eventlog.produce_batch('$1', null, a);
				COMMIT;
				due := start + i * interval '10 ms' - clock_timestamp();
				IF due > '0' THEN
					PERFORM pg_sleep(extract(epoch FROM due));
				END IF;
			END LOOP;
		END \$\$;
	SQL
}

# A consumer at the head, for so many seconds: records that it got, and the
# seconds spent in transactions that got 500.  Where there are fewer it waits
# for more.
head_consumer() {
	cat <<-SQL
		SET synchronous_commit = off;
		CREATE TEMP TABLE consumed (records bigint, in_full bigint, seconds float8);
		DO \$\$
		DECLARE
			start timestamptz := clock_timestamp();
			t timestamptz;
			n bigint;
			records bigint := 0;
			in_full bigint := 0;
			seconds float8 := 0;
		BEGIN
			LOOP
				t := clock_timestamp();
				EXIT WHEN t - start >= interval '$3 s';
				SELECT count(*) INTO n FROM eventlog.consume('$2', null::topics.$1, 500);
				PERFORM eventlog.commit();
				COMMIT;
				records := records + n;
				IF n = 500 THEN
					in_full := in_full + n;
					seconds := seconds + extract(epoch FROM clock_timestamp() - t);
				ELSE
					PERFORM pg_sleep(0.005);
				END IF;
			END LOOP;
			INSERT INTO consumed VALUES (records, in_full, seconds);
		END \$\$;
		SELECT records / $3, in_full / seconds FROM consumed;
	SQL
}

consume_at_head() {
	local topic=$1 who=$2 group=head$3 pid figures

	quiet -c "SELECT eventlog.create_group('$group', '$topic', 'latest')" -c CHECKPOINT >/dev/null
	steady_producer "$topic" $((SECONDS_EACH + 1)) | quiet &
	pid=$!
	sleep 0.5
	figures=$(head_consumer "$topic" "$group" "$SECONDS_EACH" | quiet)
	wait "$pid"
	record "retention head" "$who" "${figures%|*}"
	record "retention head, busy" "$who" "${figures#*|}"
}

part_retention() {
	local round path title

	heading "A topic under retention"
	limited kept | quiet >/dev/null
	# until the log has wrapped around twice
	for _ in $(seq $((RETENTION_MB * 2 * 1048576 / 110 / COUNT + 1))); do
		append batch kept | quiet
	done
	for round in $(seq "$ROUNDS"); do
		for path in batch insert; do
			append_limited $path
			append_fresh $path
		done
	done
	create topic b | quiet >/dev/null
	append batch b | quiet
	for round in $(seq "$ROUNDS"); do
		consume_at_head kept limited "$round"
		consume_at_head b unlimited "$round"
	done
	quiet -c "DROP TABLE topics.kept, topics.b"

	for path in batch insert; do
		title="\`produce_batch\`, arrays of 1,000"
		[ "$path" = batch ] || title="INSERT … SELECT"
		row "$title, $((COUNT / 4)) a commit" "records/s" "retention $path" limited fresh ">=" 1
	done
	row "size of the file" "MB" "retention file" file asked "<=" 1.3
	row "consumer at the head, by 500" "records/s" "retention head" limited unlimited ">=" 0.9
	row "the same, in calls that find 500" "records/s" "retention head, busy" limited unlimited ">=" 0.9
	note "**limited** keeps $RETENTION_MB MB (retention.bytes; **asked**) in segments of the default size, and its log has wrapped around before the clock starts; **fresh** is a new file of a topic without limits. Both by sessions that have appended as much before."
	note "The consumer commits each 500 with synchronous_commit off, while a producer commits 2,000 records 100 times a second; **unlimited** is a topic of which nothing is removed. Records a second are bounded by the producer; those of calls that find 500 are not, and count the time of consume(), commit() and COMMIT."
}

# --- compaction -----------------------------------------------------------------

# Of a topic named NAME: so many records, each key as often as any other.
keyed() {
	cat <<-SQL
		SELECT eventlog.create_topic('$1', 1, value_type => 'text', config => '{"cleanup.policy": "compact"}');
		INSERT INTO topics.$1 (key, value)
			SELECT 'key' || i * 7919::bigint % $KEYS, '$value' FROM generate_series(1, $MANY) i;
	SQL
}

# Records a second of a producer that commits 1,000 at a time, for so many
# seconds.
producer() {
	cat <<-SQL
		CREATE TEMP TABLE sent (n bigint);
		DO \$\$
		DECLARE
			k text[] := ARRAY(SELECT 'key' || i FROM generate_series(1, 1000) i);
			a text[] := ARRAY(SELECT value FROM src LIMIT 1000);
			start timestamptz := clock_timestamp();
			n bigint := 0;
		BEGIN
			WHILE clock_timestamp() - start < interval '$2 s' LOOP
				PERFORM eventlog.produce_batch('$1', k, a);
				COMMIT;
				n := n + 1000;
			END LOOP;
			INSERT INTO sent VALUES (n / extract(epoch FROM clock_timestamp() - start));
		END \$\$;
		SELECT n FROM sent;
	SQL
}

# Records that the last run has read, which must be about all: what is being
# written meanwhile can keep the newest segment out of it.
compacted() {
	local n

	n=$(quiet -c "SELECT last_run_read FROM eventlog.maintenance WHERE topic = 'latest'")
	[ "${n:-0}" -ge $((MANY * 8 / 10)) ] || die "compaction has read ${n:-no} records of $MANY"
	echo "$n"
}

compaction_alone() {
	local mb limit n

	{ keyed latest; create topic b; } | quiet >/dev/null
	quiet -c CHECKPOINT
	mb=$(peak_memory <<-SQL
		\\o $STAGE/bench/compaction.out
		\\timing on
		SELECT eventlog.maintain('latest');
	SQL
	)
	n=$(compacted)
	record compaction rate "$(rate "$n" "$(awk '/^Time: / { print $2 / 1000 }' "$STAGE/bench/peak.out")")"
	record compaction floor 500000
	limit=$(quiet -c "SELECT setting::int / 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'")
	record "compaction memory" peak "$mb"
	record "compaction memory" maintenance_work_mem "$limit"
	quiet -c "DROP TABLE topics.b, topics.latest"
}

compaction_meanwhile() {
	local topic=$1 title=$2 pid n

	keyed latest | quiet >/dev/null
	create topic other | quiet >/dev/null
	quiet -c CHECKPOINT
	record "compaction $title" "without" "$(producer "$topic" "$window" | quiet)"
	in_background <<<"SELECT eventlog.maintain('latest');" &
	pid=$!
	sleep 0.3
	record "compaction $title" "meanwhile" "$(producer "$topic" "$window" | quiet)"
	kill -0 "$pid" 2>/dev/null || note "Compaction ended before the producer's $window s did: COUNT is too small."
	wait "$pid"
	n=$(compacted)
	record "compaction beside" "$title" "$(rate "$n" "$(cat "$STAGE/bench/background")")"
	quiet -c "DROP TABLE topics.latest, topics.other"
}

compaction() {
	local round rounds=$((ROUNDS < 2 ? 1 : 2))
	local window=$((SECONDS_EACH < 4 ? SECONDS_EACH : 4))

	for round in $(seq $rounds); do
		compaction_alone
		compaction_meanwhile other "another topic"
		compaction_meanwhile latest "the same topic"
	done
	row "\`maintain()\`, one core" "records/s" compaction rate floor ">=" 1
	row "peak memory" MB "compaction memory" peak maintenance_work_mem "<=" 1
	row "producer into another topic, meanwhile and without" "records/s" "compaction another topic" meanwhile without ">=" 0.8
	row "producer into the same topic, meanwhile and without" "records/s" "compaction the same topic" meanwhile without ">=" 0.8
	note "One call of \`eventlog.maintain()\` for $MANY records of $KEYS keys, which come in turn; $rounds times. It freezes them, reads them for their keys, reads them again and rewrites them. The peer **floor** is 500,000 records/s. Peak memory is RssAnon of the backend, so without shared buffers, above what it has when it has produced one record."
	note "The producer sends arrays of 1,000, each with its own commit, for $window s, first without and then beside the compaction. Workers are off."
}
part_compaction() {
	heading "Compaction"
	without_workers compaction
}

# --- verify ------------------------------------------------------------------------

inspect() {
	local round s mb

	create topic b | quiet >/dev/null
	for _ in $(seq 5); do
		append insert b | quiet
	done
	mb=$(quiet -c "SELECT sum(size) / 1e6 FROM eventlog.dump_batches('b', 0)")
	quiet -c "SELECT * FROM eventlog.verify('b')"
	for round in $(seq "$ROUNDS"); do
		s=$(printf '%s\n' '\timing on' "SELECT * FROM eventlog.verify('b');" | timed)
		record inspect verify "$(rate "$mb" "$s")"
		record inspect floor 500
	done
	drop topic b | quiet
	row "\`verify()\`" "MB/s" inspect verify floor ">=" 1
	note "${mb%.*} MB of batches, in shared buffers. The peer is 500 MB/s."
}
part_inspect() {
	heading "Inspection"
	without_workers inspect
}

# --- dumps -------------------------------------------------------------------------

part_dump() {
	local round who s n=$((2 * COUNT)) restored

	heading "Dump and restore"
	for who in topic heap "heap with key"; do
		quiet -c "CREATE DATABASE \"dump $who\""
		quiet -d "dump $who" >/dev/null <<-SQL
			CREATE EXTENSION pg_eventlog;
			$(create topic b)
			INSERT INTO topics.b (value) SELECT lpad(i::text, 20, '0') || repeat('x', 80) FROM generate_series(1, $n) i;
		SQL
		[ "$who" = topic ] ||
			quiet -d "dump $who" -c "CREATE TABLE heap AS TABLE topics.b" -c "DROP TABLE topics.b"
		[ "$who" != "heap with key" ] ||
			quiet -d "dump $who" -c "ALTER TABLE heap ADD PRIMARY KEY (partition, record_offset)"
		quiet -d "dump $who" -c "VACUUM ANALYZE"
		pg_dump -Fc -Z0 -f "$STAGE/bench/$who.dump" "dump $who"
	done
	for round in $(seq "$ROUNDS"); do
		for who in topic heap; do
			s=$(seconds pg_dump -Fc -Z0 -f "$STAGE/bench/$who.dump" "dump $who")
			record dump "$who" "$(rate $n "$s")"
		done
		for who in topic heap "heap with key"; do
			quiet -c "CREATE DATABASE dump_restored" -c CHECKPOINT
			s=$(seconds pg_restore --exit-on-error -d dump_restored "$STAGE/bench/$who.dump")
			record restore "$who" "$(rate $n "$s")"
			restored=topics.b
			[ "$who" = topic ] || restored=heap
			[ "$(quiet -d dump_restored -c "SELECT count(*) FROM $restored")" = $n ] || die "not all was restored"
			quiet -c "DROP DATABASE dump_restored"
		done
	done
	for who in topic heap "heap with key"; do
		quiet -c "DROP DATABASE \"dump $who\""
	done
	row "\`pg_dump -Fc -Z0\`" "records/s" dump topic heap ">=" 1
	row "\`pg_restore\`" "records/s" restore topic heap ">=" 1.5
	row "" "" restore topic "heap with key"
	note "A database with the extension and a topic of $n records, and databases with the extension and a heap that has the same rows and columns; **heap with key** has a primary key (partition, record_offset), by which it can be read as a topic can."
}

# seconds COMMAND ...
seconds() {
	local start=$EPOCHREALTIME

	"$@" >&2
	awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}

# --- long logs ----------------------------------------------------------------------

# Records of a topic are a millisecond apart from 2020 on.
lookup_script() {
	local where="partition = 0 AND record_offset >= :r"

	echo "\\set r random(0, $3 - 1)"
	case $1 in
		read) echo "SELECT value FROM eventlog.read('$2', 0, :r, 1);"; return ;;
		time) where="partition = 0 AND \"timestamp\" >= to_timestamp(1577836800 + :r::float8 / 1000)" ;;
	esac
	echo "SELECT record_offset, \"timestamp\", value FROM topics.$2 WHERE $where ORDER BY record_offset LIMIT 1;"
}

lookup() {
	local round who n way tps file

	for who in short long; do
		n=10000
		[ $who = short ] || n=$MANY
		quiet >/dev/null <<-SQL
			SELECT eventlog.create_topic('$who', 1, value_type => 'text', config => '{"retention.ms": -1}');
			INSERT INTO topics.$who ("timestamp", value)
				SELECT to_timestamp(1577836800 + i / 1000.0), '$value' FROM generate_series(0, $n - 1) i;
			VACUUM ANALYZE topics.$who;
		SQL
		for way in offset read time; do
			lookup_script $way $who $n >"$STAGE/bench/lookup_${way}_$who.sql"
		done
	done
	for round in $(seq "$ROUNDS"); do
		for way in offset read time; do
			for who in long short; do
				tps=$(bench "$STAGE/bench/lookup_${way}_$who.sql" 1 "$SECONDS_EACH")
				record "lookup $way" $who "$(rate 1000000 "$tps")"
			done
		done
	done
	quiet -c "DROP TABLE topics.short, topics.long"
	row "\`WHERE record_offset >= … LIMIT 1\`" "µs" "lookup offset" long short "<=" 1.2
	row "\`eventlog.read()\` of one record" "µs" "lookup read" long short "<=" 1.2
	row "\`WHERE \"timestamp\" >= … LIMIT 1\`" "µs" "lookup time" long short "<=" 1.2
	note "**long** has $MANY records, **short** 10000. pgbench with prepared statements, one client, $SECONDS_EACH s each, at a random place; the client's and the executor's time are in it. Both logs are in shared buffers, for which the server has 3 GB here."
}
part_lookup() {
	local status=0

	heading "Lookups in a long log"
	quiet -c "ALTER SYSTEM SET shared_buffers = '3GB'" -c "ALTER SYSTEM SET eventlog.maintenance = off"
	server_stop
	server_start
	lookup || status=$?
	quiet -c "ALTER SYSTEM RESET ALL"
	server_stop
	server_start
	return "$status"
}

# --- recovery ---------------------------------------------------------------------------

part_recovery() {
	local round who before target lines s

	heading "Recovery"
	for round in $(seq "$ROUNDS"); do
		for who in topic hk hp; do
			create_source
			create $who b | quiet >/dev/null
			quiet -c CHECKPOINT
			before=$(wal_position)
			target=$((before + WAL_MB * 1048576))
			until [ "$(wal_position)" -ge "$target" ]; do
				quiet <<-SQL
					DO \$\$ BEGIN
						WHILE pg_current_wal_insert_lsn() - '0/0' < $target LOOP
							INSERT INTO $(table $who b) (value) SELECT value FROM src LIMIT 20000;
							COMMIT;
						END LOOP;
					END \$\$;
				SQL
			done
			record "recovery wal" $who "$((($(wal_position) - before) / 1048576))"
			lines=$(wc -l <"$STAGE/server.log")
			server_kill
			server_start
			s=$(tail -n "+$((lines + 1))" "$STAGE/server.log" |
				sed -n 's/.*redo done at .*elapsed: \([0-9.]*\) s.*/\1/p')
			record recovery $who "${s:?the server log does not tell how long redo took}"
			drop $who b | quiet
		done
	done
	create_source
	row "redo of $WAL_MB MB of WAL" "s" recovery topic hk "<=" 1
	row "" "" recovery topic hp "<=" 1
	note "INSERT … SELECT, 20000 rows a commit, then kill -9. Time is what the server's log says of redo (\"redo done … elapsed\"). It begins at a checkpoint that lies before the first row, and pages that were written before are in the page cache."
}
