#!/bin/bash
# make fuzz: any bytes for the codec and the page walk, for FUZZ_SECONDS.
# make fuzz-corpus ("--corpus"): write the inputs again with which they begin.
set -eu
cd "$(dirname "$0")/.."

test/prepare.sh fuzz
if [ "${1:-}" != --corpus ]; then
	exec perl test/t/003_fuzz.pl
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
make -s -C test/fuzz OUT="$tmp" make_corpus
mkdir -p test/fuzz/corpus/batch test/fuzz/corpus/walk
"$tmp/make_corpus" test/fuzz/corpus test/data/kafka
