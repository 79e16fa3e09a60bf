# shellcheck shell=bash
# lib.sh: measuring and reporting, for the parts of the benchmark.
#
# Sourced by steps.sh.  A figure belongs to a path ("insert"), and in it to one
# of those that are compared ("topic", "hk", "hp"); record() notes it once a
# round.  row() says which two are compared in the report, and what the floor
# for their ratio is.

results=$STAGE/bench/results
rows=$STAGE/bench/rows
: >"$results"
: >"$rows"

quiet() {
	psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# Run a script; print how many seconds its statements between \timing on and
# \timing off have taken.
timed() {
	local out=$STAGE/bench/timed.$BASHPID

	psql -X -q -A -t -v ON_ERROR_STOP=1 "$@" >"$out" || return 1
	awk '/^Time: / { ms += $2 } END { print ms / 1000 }' "$out"
	mv "$out" "$STAGE/bench/timed"
}

# Of the last timed script: bytes between the first and the last line "wal|N".
wal_between() {
	awk -F '|' '$1 == "wal" { if (!n++) from = $2; to = $2 } END { print to - from }' \
		"$STAGE/bench/timed"
}

# rate RECORDS SECONDS, or any other quotient
rate() {
	awk -v n="$1" -v s="$2" 'BEGIN { x = n / s; printf x < 1000 ? "%.1f\n" : "%.0f\n", x }'
}

# bytes of WAL so far
wal_position() {
	quiet -c "SELECT pg_current_wal_insert_lsn() - '0/0'"
}

# record PATH WHO FIGURE
record() {
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$results"
	printf '  %-28s %-14s %s\n' "$1" "$2" "$3"
}

# row TITLE UNIT PATH OURS PEER [">=|<=" FLOOR]
# An empty title goes on with the line above, against another peer.
row() {
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "${6:-}" "${7:-}" >>"$rows"
}

# heading TEXT: rows that follow stand under it
heading() {
	printf '#\t%s\n' "$1" >>"$rows"
	say "$1"
}

# note TEXT: a sentence below the table of the heading
note() {
	printf '!\t%s\n' "$1" >>"$rows"
}

# The report's tables, from rows and results.
tables() {
	awk -F '\t' '
	function sort_numbers(a, n,		i, j, t) {
		for (i = 2; i <= n; i++) {
			t = a[i]
			for (j = i - 1; j >= 1 && a[j] > t; j--)
				a[j + 1] = a[j]
			a[j + 1] = t
		}
	}
	function median(key,	a, n, i, parts) {
		n = split(figures[key], parts, " ")
		for (i = 1; i <= n; i++)
			a[i] = parts[i] + 0
		sort_numbers(a, n)
		low = a[1]
		high = a[n]
		return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
	}
	function shown(x) {
		if (x >= 1e6)
			return sprintf("%.2f M", x / 1e6)
		if (x >= 10000)
			return sprintf("%.0f k", x / 1e3)
		return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x)
	}
	function spread(key,	m) {
		m = median(key)
		if (low == high)
			return shown(m)
		return sprintf("%s (%s–%s)", shown(m), shown(low), shown(high))
	}
	function notes() {
		if (pending != "")
			print "\n" pending
		pending = ""
	}
	FNR == NR {
		figures[$1 "\t" $2] = figures[$1 "\t" $2] " " $3
		next
	}
	$1 == "#" {
		notes()
		print "\n## " $2 "\n"
		head = 0
		next
	}
	$1 == "!" {
		pending = pending (pending == "" ? "" : "\n\n") $2
		next
	}
	{
		ours = $3 "\t" $4
		peer = $3 "\t" $5
		if (!(ours in figures) || !(peer in figures))
			next
		if (!head++) {
			print "| path | unit | ours | against | its figure | ratio | floor | reached |"
			print "|---|---|---|---|---|---|---|---|"
		}
		ratio = median(ours) / median(peer)
		reached = floor = ""
		if ($1 != "")
			title = $1
		if ($6 != "") {
			floor = ($6 == ">=" ? "≥ " : "≤ ") $7
			good = $6 == ">=" ? ratio >= $7 : ratio <= $7
			reached = good ? "yes" : "**no**"
			floors++
			if (!good)
				missed[++nmissed] = sprintf("%s, against %s: %.2f, floor %s", title, $5, ratio, floor)
		}
		printf "| %s | %s | %s | %s | %s | %.2f | %s | %s |\n", $1, $2,
			$1 == "" ? "" : spread(ours), $5, spread(peer), ratio, floor, reached
	}
	END {
		notes()
		printf "\n## Floors\n\n%d of %d reached.\n", floors - nmissed, floors
		if (nmissed)
			print "\nNot reached in this run:\n"
		for (i = 1; i <= nmissed; i++)
			print "- " missed[i]
	}' "$results" "$rows"
}
