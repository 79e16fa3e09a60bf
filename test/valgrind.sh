#!/bin/bash
# make check-valgrind: a short run of a server under valgrind.  Fails if a
# report has a function of pg_eventlog in it.  KEEP=1 leaves the reports.
set -eu
cd "$(dirname "$0")/.."
. test/server.sh

test/prepare.sh valgrind
say "Building ..."
# WERROR: the macros of valgrind.h shadow and convert as they like
stage_make WERROR= COPT="-include $PWD/test/valgrind/check.h"
stage_wrap_server "exec valgrind --quiet --trace-children=yes --leak-check=no \
--track-origins=yes --num-callers=40 --error-limit=no \
--xml=yes --xml-file=$STAGE/reports/%p.xml"
stage_run valgrind/run.sh
