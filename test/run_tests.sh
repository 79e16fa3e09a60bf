#!/bin/bash
# The inner part of "make check": runs in the stage, as the server's user.
# KEEP=1 leaves the stage, with logs and data directories, to look at.
# Ends with the line "N passed, N failed"; the exit code says the same.
set -euo pipefail
cd "$STAGE/src"
. test/server.sh

passed=0
failed=0

# Names of the tests of one kind: all, or those that TESTS picks.
names() {
	local f name

	for f in "$@"; do
		name=$(basename "$f")
		name=${name%.*}
		[ -e "$f" ] || continue
		case " ${TESTS:-$name} " in
			*" $name "*) printf '%s\n' "$name" ;;
		esac
	done
}

# Add what pg_regress or a TAP program reported.  Up to 15 pg_regress writes
# "test name ... ok"; later ones and TAP write "ok 1 - name".
count() {
	local ok bad

	ok=$(grep -cE '^ok |^test .* \.\.\. ok |^     .* \.\.\. ok ' "$1" || true)
	bad=$(grep -cE '^not ok |\.\.\. FAILED' "$1" || true)
	passed=$((passed + ok))
	failed=$((failed + bad))
	[ "$bad" -gt 0 ] || [ "$2" -eq 0 ] || failed=$((failed + 1))
}

run_regress() {
	local program=$1 status=0 out=$STAGE/regress.out
	shift

	"$(dirname "$PGXS")/../test/$program" --inputdir=test --outputdir=. \
		--bindir="$(dirname "$(command -v psql)")" \
		--encoding=UTF8 --no-locale --load-extension=pg_eventlog "$@" \
		2>&1 | tee "$out" | grep -vE '^(SET|[A-Z]+ DATABASE|CREATE EXTENSION|=+.*=+|)$' || status=1
	count "$out" "$status"
	if [ "$status" -ne 0 ]; then
		cat regression.diffs 2>/dev/null || tail -n 40 "$STAGE/server.log"
	fi
}

run_program() {
	local name=$1 status=0 out=$STAGE/$1.out
	shift

	"$@" >"$out" 2>&1 || status=$?
	grep -qE '^ok |^1\.\.0 # SKIP' "$out" || status=1
	if [ "$status" -ne 0 ]; then
		printf '%s ... FAILED\n' "$name"
	elif grep -qE '^1\.\.0 # SKIP' "$out"; then
		printf '%s ... not here: %s\n' "$name" "$(sed -n 's/^1\.\.0 # SKIP *//p' "$out")"
	else
		printf '%s ... %s\n' "$name" "$(grep -cE '^ok ' "$out")"
	fi
	count "$out" "$status"
	if [ "$status" -ne 0 ]; then
		cat "$out"
		tail -n 60 "${TESTDIR:-$STAGE}"/tmp_check/log/regress_log_* 2>/dev/null || true
		# What the servers had to say; errors are part of the tests, these are not.
		grep -E 'PANIC|TRAP|could not receive data|was terminated by signal|CONTEXT:  WAL redo' \
			"${TESTDIR:-$STAGE}"/tmp_check/log/*.log 2>/dev/null | tail -n 20 || true
	fi
}

# --- SQL and isolation tests, on one server
sql=$(names test/sql/*.sql)
specs=$(names test/specs/*.spec)
if [ -n "$sql$specs" ]; then
	server_init <<-CONF
		fsync = off
		max_prepared_transactions = 10
		wal_level = logical
		log_statement = none
	CONF
	server_start
	if [ -n "$sql" ]; then
		say "# SQL tests"
		run_regress regress/pg_regress --load-extension=pgtap --dbname=regression $sql
	fi
	if [ -n "$specs" ]; then
		say "# Isolation tests"
		run_regress isolation/pg_isolation_regress --dbname=isolation $specs
	fi
	server_stop
fi

# --- servers of their own: crashes, standbys, upgrades
tap=$(names test/t/*.pl)
if [ -n "$tap" ]; then
	say "# TAP tests"
	export PG_REGRESS TESTDIR TESTDATADIR TESTLOGDIR PERL5LIB
	# Test::Cluster picks its own.
	unset PGHOST PGPORT PGUSER PGDATABASE
	PG_REGRESS="$(dirname "$PGXS")/../test/regress/pg_regress"
	PERL5LIB="$(dirname "$PGXS")/../test/perl:$STAGE/src/test/t"
	for t in $tap; do
		# Test::Utils looks at TESTDIR up to 15, at the others from 16 on
		TESTDIR=$STAGE/src/tap/$t
		TESTDATADIR=$TESTDIR/tmp_check
		TESTLOGDIR=$TESTDIR/tmp_check/log
		mkdir -p "$TESTDIR"
		run_program "$t" perl "test/t/$t.pl"
		[ -n "${KEEP:-}" ] || rm -rf "$TESTDIR/tmp_check"
	done
fi

# --- what watched the servers has said, if anything did
if [ -d "$STAGE/reports" ]; then
	if [ -z "$(ls "$STAGE/reports")" ]; then
		say "reports ... none"
		passed=$((passed + 1))
	else
		say "reports ... FAILED"
		tail -n 100 "$STAGE"/reports/*
		failed=$((failed + 1))
	fi
fi

[ -z "${KEEP:-}" ] || { touch "$STAGE/keep"; say "Kept: $STAGE"; }
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
