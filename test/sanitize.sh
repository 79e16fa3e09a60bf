#!/bin/bash
# make check-sanitize: the tests, on a build with the address and undefined
# behaviour sanitizers.  TESTS="name ..." picks some.
#
# The server is the system's, without sanitizers: they see what our code does,
# and through their memcpy and malloc much of what the server does for it, but
# not one palloc'd chunk running into the next.
set -eu
cd "$(dirname "$0")/.."
. test/server.sh

test/prepare.sh test
libasan=$(readlink -f "$("${CC:-gcc}" -print-file-name=libasan.so)")
[ -f "$libasan" ] || die "${CC:-gcc} has no address sanitizer"

# Left out: the tests without a server use the sanitizers anyhow, and 014_errors
# takes the address space away, without which the sanitizer cannot live.
if [ -z "${TESTS:-}" ]; then
	TESTS=$(for f in test/sql/*.sql test/specs/*.spec test/t/*.pl; do
		name=$(basename "$f")
		case $name in 00* | 014_errors.pl) ;; *) echo "${name%.*}" ;; esac
	done | paste -s -d ' ')
fi

say "Building ..."
# instrumented code makes the compiler guess wrongly at what is uninitialized
stage_make WERROR= COPT="-O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"

# Some libraries of the server use gettext when they are loaded, which calls
# malloc under a lock; were that the first call, the sanitizer would begin there
# and wait for the same lock.  So a library that is loaded first calls it first.
cat >"$STAGE/first.c" <<'C'
#include <stdlib.h>
void *volatile chunk;
static void __attribute__((constructor))
first(void)
{
	chunk = malloc(1);
	free(chunk);
}
C
"${CC:-gcc}" -shared -fPIC -Wl,-z,initfirst "$STAGE/first.c" -o "$STAGE/first.so"

# The server leaves functions by longjmp and keeps what it has until it ends.
# Its name stays that of the wrapper, by which "pg_ctl restart" starts it again.
stage_wrap_server "export LD_PRELOAD=$libasan:$STAGE/first.so
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:quarantine_size_mb=16:abort_on_error=1:log_path=$STAGE/reports/asan
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1:log_path=$STAGE/reports/ubsan
exec -a \"\$0\""
stage_run run_tests.sh
