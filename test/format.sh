#!/bin/bash
# make format-check: is src/ in the server's style (pgindent's)?  Uses the
# packaged clang-format and .clang-format; see there for what is not compared.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format >/dev/null || { echo "clang-format is missing: apt-get install clang-format" >&2; exit 1; }

# What clang-format would do otherwise and pgindent does not mind: closing
# braces of initializers on lines of their own, and macros, which it leaves
# alone.
normal() {
	sed -e '/^#[[:space:]]*define.*\\$/,/[^\\]$/d' | sed -z -E 's/,?[[:space:]]*\n[[:space:]]*\}([;,])/}\1/g'
}

status=0
for f in src/*.[ch] src/kafka/*.[ch]; do
	if ! diff -bB -u --label "$f" --label "$f (formatted)" \
			<(normal <"$f") <(clang-format "$f" | normal); then
		status=1
	fi
	if grep -nE '[[:space:]]+$|^    ' "$f" /dev/null; then
		echo "$f: white space at the end of a line, or spaces for tabs" >&2
		status=1
	fi
done
exit $status
