#!/bin/bash
# make check-all: every test on every PostgreSQL version that a Debian release
# has, and pg_upgrade through all of them.
#
#	VERSIONS="17 18"		only these
#	TESTS="name ..."		only these tests
#	EVENTLOG_CACHE=DIR		where the other releases' root file systems are
#							kept; remove them to have new ones made
#	TIME_LIMIT=SECONDS		the whole takes no longer than that; a version that
#							would not end in time is not begun
#	BEST_EFFORT=1			a version that cannot be had is no failure
#
# The version of this machine's own PostgreSQL is tested here, the others each
# in a root file system of the release that has them (root.sh).  The newest one
# gets the servers before it as well, for 040_upgrade.
#
# A real Kafka broker is beside the tests on this machine only, since a root file
# system has no Java.
#
# Prints "PostgreSQL NN: N passed, N failed" for each version, and ends with
# the line "N passed, N failed" that sums them up.
set -euo pipefail
cd "$(dirname "$0")/.."

PG_CONFIG=${PG_CONFIG:-pg_config}
cache=${EVENTLOG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pg_eventlog}
mapfile -t versions < <(tr ' ' '\n' <<<"${VERSIONS:-15 17 18}" | sort -nu | grep .)
newest=${versions[-1]}
deadline=$((SECONDS + ${TIME_LIMIT:-86400}))
longest=0
passed=0
failed=0
missing=()
child=
old=()

say() { printf '%s\n' "$*"; }

finish() {
	local status=$?

	rm -rf "$work"
	if [ "$status" -ne 0 ] || [ "$failed" -gt 0 ] || [ "$passed" -eq 0 ] ||
		{ [ "${#missing[@]}" -gt 0 ] && [ -z "${BEST_EFFORT:-}" ]; }; then
		status=1
	fi
	say "$passed passed, $failed failed"
	exit "$status"
}

# The Debian release that has a version.  None has had 16.
suite_of() {
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky ;;
	esac
}

root_of() { say "$cache/debian-$(suite_of "$1")"; }

# Is it to be tested on this machine?  Not the newest of several: it is to have
# the others beside it, which is nothing to do to anybody's machine.
is_here() {
	[ "$("$PG_CONFIG" --bindir 2>/dev/null)" = "/usr/lib/postgresql/$1/bin" ] &&
		{ [ "$1" != "$newest" ] || [ "${#versions[@]}" -eq 1 ]; }
}

# Would another run end in time?  It may take a quarter longer than the longest.
time_suffices() { [ "$(time_left)" -gt $((longest * 5 / 4)) ]; }

time_left() {
	echo $((deadline - SECONDS > 0 ? deadline - SECONDS : 1))
}

not_tested() {
	say "PostgreSQL $1: not tested: $2"
	missing+=("$1")
}

# Run a command, in a process group of its own, for no longer than is left.
limited() {
	set -m
	timeout -k 60 "$(time_left)" "$@" </dev/null 9>&- &
	child=$!
	set +m
	wait "$child"
}

interrupted() {
	trap - INT TERM HUP
	[ -z "$child" ] || { kill -TERM -- "-$child"; wait "$child"; } 2>/dev/null
	exit 130
}

# Run "make check" in some way, and add up what it says.
count() {
	local nn=$1 status=0 began=$SECONDS out filter line p f
	shift

	# Its closing line appears with its version only.
	exec {out}> >(tee "$work/log" | grep --line-buffered -vxE '[0-9]+ passed, [0-9]+ failed')
	filter=$!
	limited "$@" >&"$out" 2>&1 || status=$?
	exec {out}>&-
	wait "$filter" || true
	# What has failed until then has failed; else it is as if it had not begun.
	if [ "$status" -eq 124 ] && [ -n "${BEST_EFFORT:-}" ] &&
		! grep -qE '^not ok |^# +[0-9]+ of [0-9]+ tests failed| \.\.\. FAILED' "$work/log"; then
		not_tested "$nn" "it did not end in time"
		longest=$((SECONDS - began))
		return
	fi
	[ "$status" -ne 124 ] || say "It did not end in time."
	line=$(grep -xE '[0-9]+ passed, [0-9]+ failed' "$work/log" | tail -n 1) || true
	read -r p _ f _ <<<"${line:-0 passed, 0 failed}"
	[ "$status" -eq 0 ] || [ "$f" -gt 0 ] || f=1
	say "PostgreSQL $nn: $p passed, $f failed"
	passed=$((passed + p))
	failed=$((failed + f))
	[ $((SECONDS - began)) -le "$longest" ] || longest=$((SECONDS - began))
}

# In a root file system: $1 is the version, $2 the root.
check_in_root() {
	local nn=$1 root=$2 servers=() v

	if [ "$nn" = "$newest" ]; then
		for v in "${old[@]}"; do
			if limited test/root.sh add "$root" \
				"$(suite_of "$v")" "$v" "$(is_here "$v" && say / || root_of "$v")" \
				"$(installed "$v")"; then
				servers+=("/usr/lib/postgresql/$v")
			else
				not_tested "$v to $nn" "server $v cannot be installed beside $nn"
			fi
		done
	fi
	# shellcheck disable=SC2016
	count "$nn" test/root.sh run "$root" env PG_CONFIG="/usr/lib/postgresql/$nn/bin/pg_config" \
		TESTS="${TESTS:-}" OLD_SERVERS="${servers[*]}" EVENTLOG_KAFKA=no \
		sh -c 'make check; status=$?; make -s install DESTDIR=/src/installed >&2; exit $status'
}

# Where "make install" of a version has put its files.
installed() {
	if is_here "$1"; then
		say "$work/installed"
	else
		say "$(root_of "$1")/src/installed"
	fi
}

mkdir -p "$cache"
work=$(mktemp -d)
trap finish EXIT
trap interrupted INT TERM HUP
exec 9>"$cache/lock"
flock -n 9 || { say "Waiting for another check-all ..."; flock 9; }

# Whoever is not root is asked for a password now, not by each command.
[ "$(id -u)" = 0 ] || [ ! -t 0 ] || sudo -v || true
# Elsewhere than on Debian, the root file systems are all there is.
test/prepare.sh test || true

for nn in "${versions[@]}"; do
	say "== PostgreSQL $nn"
	suite=$(suite_of "$nn")
	root=$(root_of "$nn")
	if [ -z "$suite" ]; then
		not_tested "$nn" "no Debian release has it"
	elif ! time_suffices; then
		not_tested "$nn" "the time would not suffice"
	elif is_here "$nn"; then
		count "$nn" make -s check
		make -s install DESTDIR="$work/installed" >/dev/null && old+=("$nn") || true
	elif limited test/root.sh make "$root" "$suite" "$nn"; then
		if time_suffices; then
			check_in_root "$nn" "$root"
			[ ! -d "$root/src/installed" ] || old+=("$nn")
		else
			not_tested "$nn" "the time would not suffice"
		fi
	else
		not_tested "$nn" "its root file system cannot be made (see above)"
	fi
done
