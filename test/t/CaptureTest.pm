# Helpers of the tests of captures: waiting for one, and making tables anew from
# what is in their topics.
#
# A table is made anew in memory, record by record, and strictly: an insert of a
# row that is there, and a change of one that is not, are found, as is a record
# that comes twice or before one that it follows in the source.  What comes out
# is compared with the table, row by row and column by column.

package CaptureTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use EventlogTest;

our @EXPORT = qw(
  capture_conf create_capture capture_is wait_capture wait_caught_up worker_pid changes
  rebuilt check_rebuilt topic_of
);

my $json        = JSON::PP->new->utf8(0)->canonical;
my $unavailable = '__debezium_unavailable_value';

# Settings of a server that captures.
sub capture_conf
{
	return <<'CONF';
wal_level = logical
max_worker_processes = 24
max_replication_slots = 20
max_wal_senders = 10
CONF
}

sub literal
{
	my ($text) = @_;

	return "'" . $text =~ s/'/''/gr . "'";
}

# Create one; what: "publication => 'p', ..." and so on.
sub create_capture
{
	my ($node, $name, $what, %params) = @_;

	$node->safe_psql($params{db} // 'postgres', "SELECT eventlog.create_capture('$name', $what)");
	wait_capture($node, $name, 'streaming', %params) unless $params{no_wait};
}

# An expression over the row of a capture.
sub capture_is
{
	my ($node, $name, $expression, %params) = @_;

	return $node->safe_psql($params{db} // 'postgres',
		"SELECT $expression FROM eventlog.captures WHERE name = '$name'");
}

# Wait until a capture is in a state, or an expression holds.
sub wait_capture
{
	my ($node, $name, $condition, %params) = @_;

	$condition = "state = '$condition'" if $condition =~ /^\w+$/;
	return 1
	  if $node->poll_query_until($params{db} // 'postgres',
		"SELECT coalesce((SELECT $condition FROM eventlog.captures WHERE name = '$name'), false)");
	diag($node->safe_psql($params{db} // 'postgres', "SELECT row_to_json(c) FROM eventlog.captures c"));
	die "capture $name: not $condition";
}

# Wait until everything committed so far is in the topics.
sub wait_caught_up
{
	my ($node, $name, %params) = @_;
	my $lsn = $node->safe_psql($params{db} // 'postgres', 'SELECT pg_current_wal_flush_lsn()');

	return wait_capture($node, $name, "appended_lsn >= '$lsn'", %params);
}

# Process id of a capture's "decoder" or "appender", or undef.
sub worker_pid
{
	my ($node, $kind, %params) = @_;
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pg_eventlog%$kind%' LIMIT 1");

	return $pid eq '' ? undef : $pid;
}

# The records of a topic: hashes of op, key, before, after (JSON of the columns
# as texts, as jsonb writes it), xid, lsn, before_lsn, marker, and the record's
# place.
sub changes
{
	my ($node, $topic, %params) = @_;
	my $rows = $node->safe_psql($params{db} // 'postgres', <<SQL);
SELECT concat_ws(E'\\t', partition, record_offset, coalesce(key::jsonb::text, ''), coalesce(value->>'op', 'tombstone'),
	value->'source'->>'txId', coalesce(value->'source'->>'lsn', '0'),
	coalesce((value->'source'->>'sequence')::json->>0, '0'), value->'source'->>'snapshot',
	coalesce((SELECT jsonb_object_agg(k, v)::text FROM jsonb_each_text((value->'before')::jsonb) b (k, v) WHERE json_typeof(value->'before') = 'object'), 'null'),
	coalesce((SELECT jsonb_object_agg(k, v)::text FROM jsonb_each_text((value->'after')::jsonb) a (k, v) WHERE json_typeof(value->'after') = 'object'), 'null'))
FROM topics."$topic" ORDER BY partition, record_offset
SQL
	my @found;

	foreach my $row (split /\n/, $rows)
	{
		my %change;

		my @fields = split /\t/, $row;
		splice(@fields, 4, 0, 0) if @fields < 10 && $fields[3] ne 'tombstone';    # no txId
		if ($fields[3] eq 'tombstone')
		{
			@change{qw(partition offset key op)} = @fields;
		}
		else
		{
			@change{qw(partition offset key op xid lsn before_lsn marker before after)} = @fields;
		}
		push @found, \%change;
	}
	return @found;
}

sub topic_of
{
	my ($name, $table) = @_;

	return "$name." . ($table =~ /\./ ? $table : "public.$table");
}

# Play changes.  Returns ({key => row}, what is wrong).
sub rebuilt
{
	my (@changes) = @_;
	my (%rows, %seen, %last, @wrong);

	foreach my $change (@changes)
	{
		my ($op, $key) = @$change{qw(op key)};
		my $at = "$$change{partition}:$$change{offset} ($op of $key)";

		next if $op eq 'tombstone';

		# Once, and in the order of commits.
		my $id = join ' ', @$change{qw(xid lsn op key)};
		push @wrong, "$at: came before at $seen{$id}" if exists $seen{$id} && $op ne 'r';
		$seen{$id} = $at;
		if ($op ne 'r')
		{
			my $last = $last{ $$change{partition} };

			push @wrong, "$at: commit before $$change{before_lsn}, lsn $$change{lsn} after $$last[0], $$last[1]"
			  if $last
			  && ($$change{before_lsn} < $$last[0] || $$change{before_lsn} == $$last[0] && $$change{lsn} < $$last[1]);
			$last{ $$change{partition} } = [ @$change{qw(before_lsn lsn)} ];
		}

		my $row = $$change{after};
		if ($op eq 'c' || $op eq 'r')
		{
			push @wrong, "$at: the row is there" if $rows{$key};
			$rows{$key} = $row;
		}
		elsif ($op eq 'u')
		{
			push @wrong, "$at: the row is not there" unless $rows{$key};
			if (index($row, $unavailable) >= 0)
			{
				my ($new, $old) = map { $json->decode($_ // '{}') } $row, $rows{$key};

				$$new{$_} = $$old{$_} foreach grep { ($$new{$_} // '') eq $unavailable } keys %$new;
				$row = $json->encode($new);
			}
			$rows{$key} = $row;
		}
		elsif ($op eq 'd')
		{
			push @wrong, "$at: the row is not there" unless $rows{$key};
			delete $rows{$key};
		}
		elsif ($op eq 't')
		{
			%rows = ();
		}
	}
	return (\%rows, @wrong);
}

# A table is what its topic makes of it.  Returns the number of changes.
sub check_rebuilt
{
	my ($node, $name, $table, $key, %params) = @_;
	my @changes = changes($node, $params{topic} // topic_of($name, $table), %params);
	my ($rows, @wrong) = rebuilt(@changes);
	my $keys = join(', ', map { "'$_', t.$_" } split /,\s*/, $key);
	my %there;

	foreach my $line (split /\n/, $node->safe_psql($params{db} // 'postgres', <<SQL))
SELECT json_build_object($keys)::jsonb::text || E'\\t' || (SELECT jsonb_object_agg(k, v) FROM jsonb_each_text(to_jsonb(t)) e (k, v)) FROM $table t
SQL
	{
		my ($id, $row) = split /\t/, $line;

		$there{$id} = $row;
	}
	my %mine = map { $_ => $$rows{$_} } keys %$rows;
	foreach my $id (keys %there)
	{
		my ($x, $y) = ($there{$id}, $mine{$id});

		next if ($y // '') eq $x;
		if (!$y)
		{
			push @wrong, "$id is not in the topic";
			next;
		}
		($x, $y) = map { $json->decode($_) } $x, $y;
		push @wrong, map { "$id.$_: " . ($$x{$_} // 'null') . ' in the table, ' . ($$y{$_} // 'null') . ' in the topic' }
		  grep { ($$x{$_} // "\0") ne ($$y{$_} // "\0") } keys %$x;
	}
	push @wrong, map { "$_ is not in the table" } grep { !$there{$_} } keys %mine;

	ok(!@wrong, ($params{title} // $name) . ": $table is what its topic tells: " . keys(%there) . ' rows, ' . @changes . ' records');
	diag(join "\n", map { substr($_, 0, 300) } @wrong[ 0 .. ($#wrong > 9 ? 9 : $#wrong) ]) if @wrong;
	diag('... and ' . (@wrong - 10) . ' more') if @wrong > 10;
	return scalar @changes;
}

1;
