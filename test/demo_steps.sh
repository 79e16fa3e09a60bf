#!/bin/bash
# The inner part of "make demo": runs in the stage, as the server's user.
set -euo pipefail
cd "$STAGE/src"
. test/server.sh

if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$'\e[1m' cyan=$'\e[36m' dim=$'\e[2m' plain=$'\e[0m'
else
	bold='' cyan='' dim='' plain=''
fi
step_number=0

step() {
	step_number=$((step_number + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$step_number" "$1" "$plain"
	[ $# -lt 2 ] || printf '%s\n' "$2" | fold -s -w 76 | sed 's/^/   /; s/ *$//'
	printf '\n'
}

quiet() {
	psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# Show statements (indented by two tabs where they are written here), run them,
# show what they give; with "-" before them, nothing of that.
sql() {
	local text show=yes

	if [ "$1" = - ]; then
		show='' && shift
	fi
	text=$(printf '%s\n' "$1" | sed 's/^		//')
	printf '%s\n' "$text" | sed "s/^/   $cyan/; s/\$/$plain/"
	# commit() returns nothing, in a table
	printf '%s\n' "$text" | sed 's|^\(SELECT eventlog.commit()\);|\1 \\g /dev/null|' |
		psql -X -q -v ON_ERROR_STOP=1 $([ -n "$show" ] || echo '-o /dev/null') \
			-P linestyle=unicode -P border=1 -P footer=off -P null=∅ 2>&1 |
		sed 's/^/   /; s/ *$//' | sed '/^$/d'
	printf '\n'
}

step "A throw-away PostgreSQL with pg_eventlog" \
	"In a folder of its own, reached by a Unix socket only. What an installation needs is one line in postgresql.conf, and CREATE EXTENSION; for captures, wal_level = logical as well."
server_init <<CONF
# small enough for a laptop; fsync stays on, we are going to crash it
shared_buffers = 64MB
wal_level = logical
max_connections = 20
log_min_messages = log
CONF
server_start
sql "SHOW shared_preload_libraries;"
sql "CREATE EXTENSION pg_eventlog;"

step "A topic" \
	"Three partitions, keys are text, values JSON, stored compressed by zstd. Configs have Kafka's names. A topic is a partitioned table as well."
sql "SELECT eventlog.create_topic('quakes', 3,
		       config => '{\"compression.type\": \"zstd\", \"retention.ms\": -1}');"

step "A week of real earthquakes" \
	"1,707 events of the U.S. Geological Survey, 31 January to 7 February 2018. The key is the event's id, so that all news of one quake stay in order in one partition. Everything is appended when the transaction commits, or not at all."
quiet -c "CREATE TABLE feed (line bigserial, doc json)"
quiet -c "\copy feed (doc) from 'test/data/earthquakes.ndjson' (format csv, quote e'\x01', delimiter e'\x02')"
sql - "SELECT eventlog.produce('quakes', doc ->> 'id', doc,
		       headers => eventlog.headers('source', 'usgs'),
		       event_time => to_timestamp((doc #>> '{properties,time}')::bigint / 1000.0))
		FROM feed ORDER BY line DESC;"
sql "SELECT topic, partition, log_start_offset, high_watermark, records FROM eventlog.partitions;"

step "Plain SQL: the strongest of the week" \
	"A topic can be queried like any table."
sql "SELECT value #>> '{properties,mag}' AS magnitude, \"timestamp\"::timestamp(0) AS at,
		       value #>> '{properties,place}' AS place
		FROM topics.quakes
		WHERE (value #>> '{properties,mag}')::float >= 5.8
		ORDER BY (value #>> '{properties,mag}')::float DESC, \"timestamp\";"

step "By time and by offset" \
	"Both are found without an index: a partition knows which offsets and times its segments and pages hold."
sql "SELECT count(*), min(\"timestamp\"), max(\"timestamp\") FROM topics.quakes
		WHERE \"timestamp\" >= '2018-02-06 12:00Z' AND \"timestamp\" < '2018-02-06 18:00Z';"
sql "SELECT partition, record_offset, key, value #>> '{properties,title}' AS title
		FROM eventlog.read(null::topics.quakes, 0, 100, 3);"

step "A row and its event in one commit, and a kill -9" \
	"A client books transfers: in each transaction a row in a table and an event in a topic, some rolled back. In the middle of it all processes of the server are killed, without a chance to write anything."
quiet -c "CREATE TABLE transfers (id int PRIMARY KEY, amount int)" \
	-c "SELECT eventlog.create_topic('transfers')" >/dev/null
sql - "BEGIN;
		INSERT INTO transfers VALUES (1, 10);
		SELECT eventlog.produce('transfers', '1', json_build_object('id', 1, 'amount', 10));
		COMMIT;"
for id in $(seq 2 200000); do
	printf "BEGIN; INSERT INTO transfers VALUES (%d, %d);
		SELECT eventlog.produce('transfers', '%d', json_build_object('id', %d, 'amount', %d)); %s;\n" \
		"$id" "${id}0" "$id" "$id" "${id}0" "$([ $((id % 7)) -eq 0 ] && echo ROLLBACK || echo COMMIT)"
done 2>/dev/null | psql -X -q -o /dev/null >/dev/null 2>&1 &
client=$!
for i in $(seq 300); do
	[ "$(quiet -c 'SELECT count(*) FROM transfers')" -lt 1000 ] || break
	sleep 0.1
done
printf '   ... and so on, some with ROLLBACK. After %s rows:\n\n' "$(quiet -c 'SELECT count(*) FROM transfers')"
printf '   %skill -9 %s%s\n' "$cyan" "$(server_pids | paste -sd' ')" "$plain"
server_kill
wait "$client" || true
server_start
printf '%s\n\n' "$(grep -ohE 'database system was not properly shut down.*|redo (starts|done) at [0-9A-F/]+' "$STAGE/server.log" | sed 's/^/   /')"
sql "SELECT (SELECT count(*) FROM transfers) AS rows,
		       (SELECT count(*) FROM topics.transfers) AS events,
		       (SELECT count(*) FROM transfers t
		            FULL JOIN topics.transfers e ON e.key = t.id::text
		            WHERE t.id IS NULL OR e.key IS NULL) AS \"one without the other\";"
sql "SELECT count(*) AS quakes FROM topics.quakes;"

step "A consumer group" \
	"What a consumer makes of the events and how far it has read are committed together: that is exactly-once. Any number of sessions may do this at once; each gets other partitions."
quiet -c "CREATE TABLE alerts (magnitude numeric, place text)"
sql "BEGIN;
		INSERT INTO alerts
		    SELECT (value #>> '{properties,mag}')::numeric, value #>> '{properties,place}'
		    FROM eventlog.consume('alerting', null::topics.quakes, max_records => 1000)
		    WHERE (value #>> '{properties,mag}')::numeric >= 5;
		SELECT eventlog.commit();
		COMMIT;
		SELECT count(*) AS alerts FROM alerts;"
sql "SELECT consumer_group, topic, partition, current_offset, log_end_offset, lag
		FROM eventlog.consumer_groups;"

step "A consumer that fails" \
	"It reads the rest, then rolls back. Nothing is lost and nothing is skipped: the next one gets the same events."
sql "BEGIN;
		SELECT count(*) AS consumed FROM eventlog.consume('alerting', null::topics.quakes, max_records => 1000);
		ROLLBACK;
		BEGIN;
		INSERT INTO alerts
		    SELECT (value #>> '{properties,mag}')::numeric, value #>> '{properties,place}'
		    FROM eventlog.consume('alerting', null::topics.quakes, max_records => 1000)
		    WHERE (value #>> '{properties,mag}')::numeric >= 5;
		SELECT eventlog.commit();
		COMMIT;"
sql "SELECT (SELECT count(*) FROM alerts) AS alerts, sum(lag) AS lag
		FROM eventlog.consumer_groups WHERE consumer_group = 'alerting';"

step "Two workers, one of which is killed" \
	"Sessions that subscribe share the partitions. Each polls, writes down what it got, and commits both together, in a loop; whoever has nothing to do sleeps, and is woken by the commit that brings something."
quiet -c "CREATE TABLE done (worker text, key text, at timestamptz DEFAULT now())" \
	-c "SELECT eventlog.create_topic('jobs', 4)" >/dev/null
worker() {
	cat <<-SQL
		SET client_min_messages = error;
		SET application_name = '$1';
		SELECT eventlog.subscribe('workers', array['jobs']);
	SQL
	while cat <<-SQL 2>/dev/null
		BEGIN;
		INSERT INTO done (worker, key) SELECT '$1', key FROM eventlog.poll(null::topics.jobs, max_wait => '1 s');
		SELECT eventlog.commit();
		COMMIT;
	SQL
	do :; done
}
run_worker() {
	worker "$1" | psql -X -q -o /dev/null >/dev/null 2>&1 || true
}
run_worker anna &
anna=$!
run_worker bert &
bert=$!
members="SELECT count(DISTINCT consumer_id) FROM eventlog.group_members"
until [ "$(quiet -c "$members")" = 2 ]; do sleep 0.1; done
sql "SELECT eventlog.produce_batch('jobs', array_agg('job ' || i), array_agg('{}'::json))
		FROM generate_series(1, 1000) i;"
until [ "$(quiet -c 'SELECT count(*) FROM done')" = 1000 ]; do sleep 0.1; done
sql "SELECT topic, partition, current_offset, log_end_offset, lag, client_id
		FROM eventlog.consumer_groups WHERE consumer_group = 'workers';"
sql "SELECT pg_terminate_backend(consumer_id) AS killed, client_id FROM eventlog.group_members WHERE client_id = 'anna' LIMIT 1;"
sql "SELECT eventlog.produce_batch('jobs', array_agg('job ' || i), array_agg('{}'::json))
		FROM generate_series(1001, 2000) i;"
until [ "$(quiet -c 'SELECT count(*) FROM done')" = 2000 ]; do sleep 0.1; done
sql "SELECT topic, partition, current_offset, log_end_offset, lag, client_id
		FROM eventlog.consumer_groups WHERE consumer_group = 'workers';"
sql "SELECT worker, count(*) AS jobs, count(*) FILTER (WHERE substr(key, 5)::int > 1000) AS \"after the kill\",
		       sum(count(DISTINCT key)) OVER () AS \"different jobs\"
		FROM done GROUP BY worker ORDER BY worker;"
quiet -c "SELECT pg_terminate_backend(consumer_id) FROM eventlog.group_members" >/dev/null
wait "$anna" "$bert" || true

step "A table's changes, captured" \
	"A table of the same earthquakes, as seismologists would keep it. A publication says what is captured; its rows come first, then each commit, exactly once, in Debezium's format."
quiet <<SQL
CREATE TABLE earthquakes (id text PRIMARY KEY, magnitude numeric, place text, at timestamptz);
ALTER TABLE earthquakes REPLICA IDENTITY FULL;
INSERT INTO earthquakes
	SELECT doc ->> 'id', (doc #>> '{properties,mag}')::numeric, doc #>> '{properties,place}',
		to_timestamp((doc #>> '{properties,time}')::bigint / 1000.0)
	FROM feed ORDER BY line DESC;
SQL
sql - "CREATE PUBLICATION seismology FOR TABLE earthquakes;
		SELECT eventlog.create_capture('seismo', 'seismology');"
until [ "$(quiet -c "SELECT state FROM eventlog.captures")" = streaming ]; do sleep 0.1; done
sql "SELECT name, state, records, snapshot_tables_done AS \"tables copied\", lag_bytes FROM eventlog.captures;"
sql "SELECT value ->> 'op' AS op, count(*), max((value #>> '{after,magnitude}')::numeric) AS strongest
		FROM topics.\"seismo.public.earthquakes\" GROUP BY 1;"
quiet >/dev/null <<SQL
CREATE TABLE news (n serial, op text, id text, before text, after text, ms numeric);
SELECT eventlog.create_group('newsroom', 'seismo.public.earthquakes', 'latest');
SQL
news="INSERT INTO news (op, id, before, after, ms)
		    SELECT value ->> 'op', key ->> 'id', value #>> '{before,magnitude}',
		        concat_ws(', ', value #>> '{after,magnitude}', value #>> '{after,place}'),
		        extract(epoch FROM clock_timestamp()) * 1000 - (value #>> '{source,ts_us}')::numeric / 1000
		    FROM eventlog.consume('newsroom', null::topics.\"seismo.public.earthquakes\",
		        max_wait => '1 s', auto_commit => true);"
printf '   Somebody waits for news, in a loop:\n\n'
printf '%s\n' "$news" | sed "s/^\t\t//; s/^/   $cyan/; s/\$/$plain/"
printf '\n'
until [ "$(quiet -c "SELECT count(*) FROM news")" -ge 4 ]; do quiet -c "$news" || break; done &
newsroom=$!
sleep 0.5
printf '   while the table changes, in commits of their own:\n\n'
for change in \
	"INSERT INTO earthquakes VALUES ('xx1', 5.1, '12km N of Hualien, Taiwan', now());" \
	"UPDATE earthquakes SET magnitude = 5.4 WHERE id = 'xx1';" \
	"DELETE FROM earthquakes WHERE id = 'xx1';"
do
	sql "$change" | sed '/^$/d'
	sleep 0.3
done
wait "$newsroom"
printf '\n'
sql "SELECT op, id, before, after, round(ms, 1) AS \"ms from commit to consumer\" FROM news ORDER BY n;"
printf '   The last one is the tombstone: from then on compaction may forget the key.\n\n'
sql "SELECT jsonb_pretty(value::jsonb - 'before') AS \"the update, as it is in the topic\"
		FROM topics.\"seismo.public.earthquakes\" WHERE value ->> 'op' = 'u';"
quiet -c "SELECT eventlog.drop_capture('seismo', true)" >/dev/null

step "To Kafka and back" \
	"A real Apache Kafka, a foreign server for it, and two mirrors: one sends the topic out, the other fetches it into a second topic. Keys, values, headers, timestamps and partitions stay what they are."
. test/kafka/broker.sh
if ! why=$(kafka_have); then
	printf '   Not shown here: %s.\n' "$why"
else
	export KAFKA_HEAP=400m
	demo_exit() {
		local status=$?

		set +e
		kafka_stop
		(exit "$status")
		server_exit
	}
	trap demo_exit EXIT
	kafka_start "$STAGE/kafka"
	printf '   Apache Kafka %s listens on %s.\n\n' "$KAFKA_VERSION" "$KAFKA_BROKERS"
	quiet -c "SELECT eventlog.create_topic('quakes.back', 3)" >/dev/null
	sql - "CREATE SERVER kafka FOREIGN DATA WRAPPER eventlog_kafka
		    OPTIONS (\"bootstrap.servers\" '$KAFKA_BROKERS');
		CREATE USER MAPPING FOR CURRENT_USER SERVER kafka;
		SELECT eventlog.create_mirror('there', 'kafka', 'out', 'quakes', 'earthquakes',
		    config => '{\"create.topic\": true, \"compression.type\": \"zstd\"}');
		SELECT eventlog.create_mirror('back', 'kafka', 'in', 'quakes.back', 'earthquakes');"
	for i in $(seq 300); do
		[ "$(quiet -c 'SELECT count(*) FROM topics."quakes.back"')" -lt 1707 ] || break
		sleep 0.1
	done
	sql "SELECT name, direction, topic, kafka_topic, state, records, transactions FROM eventlog.mirrors ORDER BY direction DESC;"
	if command -v kcat >/dev/null; then
		printf '   %skcat -b %s -t earthquakes -C -o beginning -c 3 -f ...%s\n\n' "$cyan" "$KAFKA_BROKERS" "$plain"
		kcat -b "$KAFKA_BROKERS" -t earthquakes -p 0 -C -o beginning -c 3 -e -q -X isolation.level=read_committed \
			-f '%p %o  %k  %h  %S bytes\n' | sed 's/^/   /'
		printf '   ...\n   kcat counts %s records.\n\n' "$(kcat -b "$KAFKA_BROKERS" -t earthquakes -C -o beginning -e -q \
			-X isolation.level=read_committed -f '%o\n' | wc -l)"
	fi
	sql "WITH sent AS (SELECT *, row_number() OVER (PARTITION BY partition ORDER BY record_offset) AS n FROM topics.quakes),
		     back AS (SELECT *, row_number() OVER (PARTITION BY partition ORDER BY record_offset) AS n FROM topics.\"quakes.back\")
		SELECT count(sent.n) AS sent, count(back.n) AS back,
		       count(*) FILTER (WHERE sent.value::text IS DISTINCT FROM back.value::text OR sent.key IS DISTINCT FROM back.key
		           OR sent.\"timestamp\" IS DISTINCT FROM back.\"timestamp\" OR sent.headers::text IS DISTINCT FROM back.headers::text) AS different
		FROM sent FULL JOIN back USING (partition, n);"
	quiet -c "SELECT eventlog.drop_mirror(name) FROM eventlog.mirrors" >/dev/null
	kafka_stop
	trap server_exit EXIT
fi

step "How much room it takes" \
	"The same events as a table with a key of its own, and as a topic."
sql "CREATE TABLE heap_quakes AS SELECT record_offset AS id, \"timestamp\", key, value, headers FROM topics.quakes;
		CREATE INDEX ON heap_quakes (id);
		SELECT pg_size_pretty(sum(length(value::text))) AS \"JSON text\",
		       pg_size_pretty(pg_total_relation_size('heap_quakes')) AS \"table with index\",
		       (SELECT pg_size_pretty(sum(bytes)) FROM eventlog.partitions WHERE topic = 'quakes') AS topic
		FROM topics.quakes;"

psql_command="psql -h $STAGE/sock -U postgres"
[ "$CALLER" = "$(id -un)" ] || [ "$CALLER" = root ] || psql_command="sudo -u $(id -un) $psql_command"
if [ -n "${KEEP:-}" ]; then
	cat >"$STAGE/stop" <<STOP
#!/bin/sh
# Stop the demo's server and remove all that is left of the demo.
if [ "\$(id -u)" = 0 ]; then run="setpriv --reuid=$(id -un) --regid=$(id -gn) --init-groups --"; else run=; fi
\$run $(command -v pg_ctl) -D $STAGE/data -m fast -w stop >/dev/null
rm -rf $STAGE
STOP
	chmod 755 "$STAGE/stop"
	touch "$STAGE/keep"
	trap - EXIT
	step "It is running: have a look" "Topics are in schema topics, functions and views in schema eventlog."
	printf '   %s%s%s\n' "$bold" "$psql_command" "$plain"
	printf '   %s\\df eventlog.*      \\dv eventlog.*      \\d+ topics.quakes%s\n\n' "$dim" "$plain"
	printf '   Stop it and clean up:\n   %s%s/stop%s\n\n' "$bold" "$STAGE" "$plain"
else
	server_stop
	printf '\nThat was it; the server and its folder are gone. To keep them and look around\nwith psql, run %smake demo KEEP=1%s: it ends by saying how.\n\n' "$bold" "$plain"
fi
