# shellcheck shell=bash
# server.sh: a throw-away PostgreSQL for "make check" and "make demo".
#
# Sourced, not run.  Everything happens in one folder, $STAGE, made by mktemp:
#
#	$STAGE/pg		the server's programs, and links to its libraries and
#					files, with pg_eventlog installed among them; PostgreSQL
#					finds its files relative to its programs, so that the
#					system's own installation is neither needed nor changed
#	$STAGE/src		a copy of what the tests read
#	$STAGE/data		data directory; sock: its Unix socket; server.log
#
# The server refuses to run as root.  Started as root, the part that needs the
# server runs as user postgres; else as whoever started it.  Only processes
# started from here are ended.

PG_CONFIG=${PG_CONFIG:-pg_config}

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# --- as the caller ---------------------------------------------------------

as_server() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
	else
		"$@"
	fi
}

# Build, and make and fill $STAGE.  It is removed at exit, unless a file
# $STAGE/keep is there by then.  Arguments are make's, such as COPT=-O1.
stage_make() {
	local dir=${TMPDIR:-/tmp} bin lib share

	make -s -j"$(nproc)" "$@" || die "the build failed"

	as_server test -w "$dir" 2>/dev/null || dir=/tmp
	STAGE=$(mktemp -d "$dir/pg_eventlog.XXXXXX")
	trap stage_remove EXIT

	bin=$("$PG_CONFIG" --bindir)
	lib=$("$PG_CONFIG" --pkglibdir)
	share=$("$PG_CONFIG" --sharedir)
	mkdir -p "$STAGE/pg$bin" "$STAGE/pg$lib" "$STAGE/pg$share" "$STAGE/src"
	cp -a "$bin/." "$STAGE/pg$bin"
	cp -rs "$lib/." "$STAGE/pg$lib"
	cp -rs "$share/." "$STAGE/pg$share"
	make -s install DESTDIR="$STAGE/pg" "$@" >"$STAGE/install.log" 2>&1 ||
		{ cat "$STAGE/install.log" >&2; die "make install failed"; }
	cp -r README.md docs test expected src "$STAGE/src"
	mkdir -m 700 "$STAGE/sock" "$STAGE/tmp"
	[ "$(id -u)" != 0 ] || chown -Rh postgres: "$STAGE"
}

# Have every server of the stage started by this bit of bash, which ends with
# exec and is given the program and its arguments, for example "exec valgrind".
# What it reports belongs into $STAGE/reports.  Only servers are: what initdb
# starts does not load our library.
stage_wrap_server() {
	local postgres

	postgres=$STAGE/pg$("$PG_CONFIG" --bindir)/postgres
	mv "$postgres" "$postgres.real"
	cat >"$postgres" <<-WRAPPER
		#!/bin/bash
		[ "\$1" = -D ] || exec "$postgres.real" "\$@"
		$1 "$postgres.real" "\$@"
	WRAPPER
	chmod +x "$postgres"
	mkdir "$STAGE/reports"
	[ "$(id -u)" != 0 ] || chown postgres: "$STAGE/reports"
}

# Put Kafka's jars where the server's user can read them, for the tests with a
# real broker.  Where they or Java cannot be had, those tests say so.
# EVENTLOG_KAFKA=no does without.
stage_kafka() {
	[ "${EVENTLOG_KAFKA:-}" != no ] || return 0
	(
		. test/kafka/broker.sh
		kafka_have >/dev/null || kafka_fetch || exit 0
		mkdir "$STAGE/cache"
		cp -r "$KAFKA_CACHE" "$STAGE/cache"
		chmod -R a+rX "$STAGE/cache"
	) || true
}

# Processes whose program lies in the stage.
stage_pids() {
	find /proc -maxdepth 2 -name exe -lname "$STAGE/*" 2>/dev/null | cut -d/ -f3
}

# With what an interrupted test may have left running.
stage_remove() {
	local pids tries

	[ ! -e "$STAGE/keep" ] || return 0
	for ((tries = 0; tries < 50; tries++)); do
		pids=$(stage_pids)
		[ -n "$pids" ] || break
		# First an immediate shutdown, which frees shared memory.
		# shellcheck disable=SC2086
		kill -"$([ "$tries" -lt 40 ] && echo QUIT || echo KILL)" $pids 2>/dev/null || true
		sleep 0.1
	done
	rm -rf "$STAGE"
}

# Run a script of the stage as the server's user, in a process group of its
# own: an interrupt is passed on once, and we wait until it has cleaned up.
stage_run() {
	local script=$1 status=0 child

	set -m
	as_server env -i \
		STAGE="$STAGE" HOME="$STAGE" TMPDIR="$STAGE/tmp" \
		PATH="$STAGE/pg$("$PG_CONFIG" --bindir):/usr/local/bin:/usr/bin:/bin" \
		PGXS="$("$PG_CONFIG" --pgxs)" PGCLIENTENCODING=UTF8 \
		LANG=C.UTF-8 TERM="${TERM:-dumb}" \
		KEEP="${KEEP:-}" TESTS="${TESTS:-}" OLD_SERVERS="${OLD_SERVERS:-}" \
		EVENTLOG_SMALL_DISK="${EVENTLOG_SMALL_DISK:-}" EVENTLOG_CACHE="$STAGE/cache" \
		FUZZ_SECONDS="${FUZZ_SECONDS:-60}" CALLER="$(id -un)" \
		bash "$STAGE/src/test/$script" </dev/null &
	child=$!
	set +m
	trap 'kill -TERM -- -$child 2>/dev/null' INT TERM HUP
	while :; do
		status=0
		wait "$child" || status=$?
		kill -0 "$child" 2>/dev/null || break
	done
	trap - INT TERM HUP
	return "$status"
}

# --- as the server's user, in the stage -------------------------------------

# Make the data directory; more settings come on standard input.
server_init() {
	PGHOST=$STAGE/sock PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PGHOST PGPORT PGUSER PGDATABASE
	trap server_exit EXIT
	trap 'exit 130' INT TERM HUP

	initdb -D "$STAGE/data" -U postgres -A trust -E UTF8 --no-locale \
		--no-sync >"$STAGE/initdb.log" 2>&1 ||
		{ cat "$STAGE/initdb.log" >&2; die "initdb failed"; }
	cat >>"$STAGE/data/postgresql.conf" <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$STAGE/sock'
		shared_preload_libraries = 'pg_eventlog'
		$(cat)
	CONF
}

server_start() {
	if ! pg_ctl -D "$STAGE/data" -l "$STAGE/server.log" -w -t 60 start \
			>"$STAGE/pg_ctl.log" 2>&1; then
		tail -n 20 "$STAGE/server.log" >&2
		die "the server does not start"
	fi
}

server_stop() {
	pg_ctl -D "$STAGE/data" -m "${1:-fast}" -w stop >"$STAGE/pg_ctl.log" 2>&1
}

# The postmaster and its children, by their ids.
server_pids() {
	local postmaster

	postmaster=$(head -n 1 "$STAGE/data/postmaster.pid")
	printf '%s\n' "$postmaster"
	{ grep -lsx "PPid:	$postmaster" /proc/[0-9]*/status || true; } | cut -d/ -f3
}

# The whole server dies at once, without a chance to do anything.  A process
# that nobody has waited for yet (state Z) is dead as well, but its id in
# postmaster.pid and the like would keep the next server from starting.
server_kill() {
	local pids pid

	pids=$(server_pids)
	# shellcheck disable=SC2086
	kill -KILL $pids 2>/dev/null || true
	for pid in $pids; do
		while grep -qs '^State:	[^ZX]' "/proc/$pid/status"; do
			sleep 0.05
		done
	done
	rm -f "$STAGE/data/postmaster.pid" "$STAGE"/sock/.s.PGSQL.*.lock
}

server_exit() {
	local status=$?

	trap - EXIT INT TERM HUP
	[ ! -f "$STAGE/data/postmaster.pid" ] || server_stop immediate || true
	exit "$status"
}
