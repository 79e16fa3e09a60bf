#!/bin/bash
# The inner part of "make check-valgrind": runs in the stage, as the server's
# user.  The server is crashed in between, so that redo is seen as well.
set -euo pipefail
cd "$STAGE/src"
. test/server.sh

[ -z "${KEEP:-}" ] || { touch "$STAGE/keep"; say "Kept: $STAGE"; }
server_init <<-CONF
	fsync = off
	autovacuum = off
	jit = off
	shared_buffers = 16MB
	max_wal_size = 64MB
	max_prepared_transactions = 2
CONF
for part in before after; do
	say "$part the crash ..."
	server_start
	psql -X -q -v ON_ERROR_STOP=1 -f "test/valgrind/$part.sql" >"$STAGE/$part.out" 2>&1 ||
		{ cat "$STAGE/$part.out"; tail -n 20 "$STAGE/server.log"; exit 1; }
	if [ "$part" = before ]; then
		server_kill
	else
		server_stop
	fi
done
perl test/valgrind/report.pl "$STAGE"/reports/*.xml
