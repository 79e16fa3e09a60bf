#!/bin/sh
# Install the Debian packages that a build and its tests need and that are
# missing.  Names them first.  Asks only on a terminal, and not there either
# under DEBIAN_FRONTEND=noninteractive.
#
#	test/prepare.sh build|test|fuzz|valgrind
#
# fuzz: what "make fuzz" needs; valgrind: what "make check-valgrind" needs.
# Prints nothing when everything is there.
set -eu

what=${1:-build}

say() { printf '%s\n' "$*" >&2; }

# Debian's client package has PGXS, too, but not the headers.
have_pgxs() {
	[ -n "${PG_CONFIG:-}" ] && f=$("$PG_CONFIG" --pgxs 2>/dev/null) && [ -f "$f" ] &&
		d=$("$PG_CONFIG" --includedir-server 2>/dev/null) && [ -f "$d/postgres.h" ]
}
installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif [ -t 0 ]; then
		sudo "$@"
	else
		sudo -n "$@"
	fi
}

# What is missing, apart from the server itself: commands, headers, modules.
missing_tools() {
	command -v gcc >/dev/null || command -v "${CC:-gcc}" >/dev/null || echo gcc
	printf '#include <stdio.h>\n' | ${CC:-gcc} -E - >/dev/null 2>&1 || echo libc6-dev
	[ -f /usr/include/lz4.h ] || [ -f /usr/local/include/lz4.h ] || echo liblz4-dev
	[ -f /usr/include/zstd.h ] || [ -f /usr/local/include/zstd.h ] || echo libzstd-dev
	[ -f /usr/include/librdkafka/rdkafka.h ] || [ -f /usr/local/include/librdkafka/rdkafka.h ] ||
		echo librdkafka-dev
	case $what in
		test)
			perl -MIPC::Run -e 1 2>/dev/null || echo libipc-run-perl
			perl -MTest::More -MTime::HiRes -e 1 2>/dev/null || echo perl
			;;
		fuzz)
			perl -MTest::More -MTime::HiRes -e 1 2>/dev/null || echo perl
			have_fuzzer || missing_fuzzer
			;;
		valgrind)
			command -v valgrind >/dev/null || echo valgrind
			;;
	esac
}

# clang, and the part of its runtime that is libFuzzer
have_fuzzer() {
	printf 'int LLVMFuzzerTestOneInput(const char *data, long size) { return 0; }\n' |
		clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null 2>/dev/null
}
missing_fuzzer() {
	command -v clang >/dev/null || echo clang
	v=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9][0-9]*\)$/\1/p')
	# before 14 it came with clang itself
	[ -z "$(apt-cache search --names-only "^libclang-rt-$v-dev\$")" ] || echo "libclang-rt-$v-dev"
}

# The server's major version: that of PG_CONFIG, else what Debian calls default.
server_version() {
	if v=$("${PG_CONFIG:-pg_config}" --version 2>/dev/null); then
		echo "$v" | sed 's/^PostgreSQL \([0-9]*\).*/\1/'
	else
		apt-cache depends postgresql 2>/dev/null |
			sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
	fi
}

missing_server() {
	v=$1
	have_pgxs || { installed "postgresql-server-dev-$v" || echo "postgresql-server-dev-$v"; }
	bindir=$("${PG_CONFIG:-pg_config}" --bindir 2>/dev/null || echo "/usr/lib/postgresql/$v/bin")
	[ "$what" = fuzz ] || [ -x "$bindir/initdb" ] || echo "postgresql-$v"
	if [ "$what" = test ]; then
		sharedir=$("${PG_CONFIG:-pg_config}" --sharedir 2>/dev/null || echo "/usr/share/postgresql/$v")
		[ -f "$sharedir/extension/pgtap.control" ] || echo "postgresql-$v-pgtap"
	fi
}

tools=$(missing_tools)
version=$(server_version)
if [ -n "$version" ] && [ -z "$tools" ] && [ -z "$(missing_server "$version")" ]; then
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	say "Missing: $(echo $tools) and PostgreSQL's server and development files."
	say "This is no Debian system, so please install them by hand (PG_CONFIG names the server)."
	exit 1
fi
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
	say "Packages are missing, and neither are you root nor is there sudo."
	say "As root, please: apt-get update && apt-get install $(echo $tools) postgresql-${version:-15} postgresql-server-dev-${version:-15}"
	exit 1
fi
if [ -z "$version" ] || { [ "$what" = fuzz ] && [ -z "$(apt-cache search --names-only '^clang$')" ]; }; then
	say "Reading the list of packages (apt-get update) ..."
	as_root apt-get update -qq >&2
	updated=yes
	version=$(server_version)
	tools=$(missing_tools)
	[ -n "$version" ] || { say "apt-get knows no package postgresql-NN."; exit 1; }
fi

packages=$(echo $tools $(missing_server "$version"))
say "These packages are missing and will be installed with apt-get:"
say "    $packages"
if [ -t 0 ] && [ "${DEBIAN_FRONTEND:-}" != noninteractive ]; then
	printf 'Go on? [Y/n] ' >&2
	read -r answer
	case $answer in
		''|[yY]*) ;;
		*) say "Nothing was installed."; exit 1 ;;
	esac
fi
[ "${updated:-}" = yes ] || as_root apt-get update -qq >&2
log=$(mktemp)
if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	-o Dpkg::Use-Pty=0 --no-install-recommends $packages >"$log" 2>&1; then
	cat "$log" >&2
	rm -f "$log"
	exit 1
fi
rm -f "$log"
