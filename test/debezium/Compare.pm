# Is this what Debezium emitted?  Records compared byte by byte.
#
# A record is a line as in events.ndjson: an object of topic, partition, key,
# value and headers, in which key, value and header values stand as the bytes
# that they are.  Nothing is ever written anew from what was parsed: the parser
# only says where in the line each value stands, so that the spelling of
# numbers, the order of keys and white space count.
#
# What varies from run to run by its nature (times, positions, transaction ids,
# ids of watermarks) is replaced by a name in quotes, on both sides and only
# where it has the right form: null or a string in place of a number is a
# difference.  What is known about those values is checked instead:
#
# - relations inside a record, such as between ts_ms and ts_us, must hold if
#   they do in the expected record;
# - transaction ids, positions and commit positions of the two sides must
#   correspond one to one, and in the same order;
# - changes of one transaction have one commit time;
# - a record's own time lies in the time of the run, if that is given.

package Compare;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP;
use MIME::Base64;

our @EXPORT_OK = qw(parse_json parse_line compare_records read_accepted json_text is_json);

my $json   = JSON::PP->new->allow_nonref;
my $uuid   = qr/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
our %flaws;    # see below
my $second = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/;

# ---- where each value of a JSON text stands ----

# A node: {type, from, to}; objects have members [name, where the name begins,
# node], arrays have items.  Dies of what is no JSON.
sub parse_json
{
	my ($text) = @_;

	pos($text) = 0;
	my $node = parse_value(\$text, 0);
	$$node{text} = \$text;
	$text =~ /\G[ \t\r\n]*\z/gc or die "no JSON at " . (pos($text) // 0) . "\n";
	return $node;
}

sub is_json
{
	my ($text) = @_;

	return eval { parse_json($text); 1 } ? 1 : 0;
}

sub parse_value
{
	my ($text, $depth) = @_;

	die "JSON nested too deeply\n" if $depth > 500;
	$$text =~ /\G[ \t\r\n]*/gc;
	my $from = pos($$text);

	if ($$text =~ /\G\{/gc)
	{
		my @members;

		unless ($$text =~ /\G[ \t\r\n]*\}/gc)
		{
			do
			{
				$$text =~ /\G[ \t\r\n]*/gc;
				my $at   = pos($$text);
				my $name = parse_string($text);

				$$text =~ /\G[ \t\r\n]*:/gc or die "no colon at $at\n";
				push @members, [ $name, $at, parse_value($text, $depth + 1) ];
			} while ($$text =~ /\G[ \t\r\n]*,/gc);
			$$text =~ /\G[ \t\r\n]*\}/gc or die "object without end at $from\n";
		}
		return { type => 'object', from => $from, to => pos($$text), members => \@members };
	}
	if ($$text =~ /\G\[/gc)
	{
		my @items;

		unless ($$text =~ /\G[ \t\r\n]*\]/gc)
		{
			do { push @items, parse_value($text, $depth + 1) } while ($$text =~ /\G[ \t\r\n]*,/gc);
			$$text =~ /\G[ \t\r\n]*\]/gc or die "array without end at $from\n";
		}
		return { type => 'array', from => $from, to => pos($$text), items => \@items };
	}
	if (substr($$text, $from, 1) eq '"')
	{
		parse_string($text);
		return { type => 'string', from => $from, to => pos($$text) };
	}
	return { type => 'number', from => $from, to => pos($$text) }
	  if $$text =~ /\G-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/gc;
	return { type => $1, from => $from, to => pos($$text) } if $$text =~ /\G(null|true|false)/gc;
	die "no JSON at $from\n";
}

# The bytes between the quotes, not unescaped.
sub parse_string
{
	my ($text) = @_;

	$$text =~ /\G"/gc or die 'no string at ' . pos($$text) . "\n";
	my $from = pos($$text);
	while (1)
	{
		$$text =~ /\G[^"\\\x00-\x1f]+/gc;
		next if $$text =~ /\G\\(?:["\\\/bfnrt]|u[0-9a-fA-F]{4})/gc;
		last if $$text =~ /\G"/gc;
		die "string without end at $from\n";
	}
	return substr($$text, $from, pos($$text) - 1 - $from);
}

# Bytes as a JSON string.
sub json_text
{
	my ($bytes) = @_;
	my %short = ("\n" => '\n', "\r" => '\r', "\t" => '\t', "\b" => '\b', "\f" => '\f', '"' => '\"', '\\' => '\\\\');

	$bytes =~ s{(["\\\x00-\x1f])}{$short{$1} // sprintf('\u%04x', ord $1)}ge;
	return qq{"$bytes"};
}

# The member of an object, or undef.
sub member
{
	my ($node, @path) = @_;

	foreach my $name (@path)
	{
		return undef unless $node && $$node{type} eq 'object';
		my ($found) = grep { $$_[0] eq $name } @{ $$node{members} };
		$node = $found ? $$found[2] : undef;
	}
	return $node;
}

sub names
{
	my ($node) = @_;

	return $node && $$node{type} eq 'object' ? join(',', map { $$_[0] } @{ $$node{members} }) : '';
}

# ---- one record ----

# What a record is made of.  A key or value with its schema beside it
# (schemas.enable) is taken out: {key} and {value} are what they carry.
sub parse_line
{
	my ($line) = @_;
	my $node = parse_json($line);
	my %rec = (line => $line, node => $node);

	names($node) eq 'topic,partition,key,value,headers' or die "this is no record: $line\n";
	$rec{$_} = raw(\%rec, member($node, $_)) foreach qw(topic partition);
	$rec{topic} = $json->decode($rec{topic});
	foreach my $part (qw(key value))
	{
		my $it = member($node, $part);

		$it = member($it, 'payload') if names($it) eq 'schema,payload';
		$rec{$part} = $it;
	}
	$rec{headers} = member($node, 'headers');
	return \%rec;
}

sub raw
{
	my ($rec, $node) = @_;

	return $node ? substr($$rec{line}, $$node{from}, $$node{to} - $$node{from}) : undef;
}

# The number at a path below a node, if it is a plain whole number.
sub whole
{
	my ($rec, $node, @path) = @_;
	my $text = raw($rec, member($node, @path));

	return defined $text && $text =~ /^(?:0|[1-9]\d{0,18})$/ ? $text : undef;
}

# Replace what varies; fill in {masked}, {facts} and {holds}.
sub mask
{
	my ($rec) = @_;
	my $value = $$rec{value};
	my @cuts;
	my (%facts, %holds);
	my $hide = sub {
		my ($node, $form, $name) = @_;

		push @cuts, [ $$node{from}, $$node{to}, qq{"<$name>"} ] if $node && raw($rec, $node) =~ /^(?:$form)$/;
	};
	my $number = '0|[1-9]\d{0,18}';
	my $names  = names($value);

	if ($names eq 'ts_ms' && names($$rec{key}) eq 'serverName')
	{
		$facts{kind} = 'heartbeat';
		$facts{now}  = whole($rec, $value, 'ts_ms');
		$hide->(member($value, 'ts_ms'), $number, 'ts_ms');
	}
	elsif ($names eq 'status,id,event_count,data_collections,ts_ms')
	{
		my ($id, $key) = map { raw($rec, member($$rec{$_}, 'id')) // '' } qw(value key);

		$facts{kind} = 'transaction';
		$facts{now}  = whole($rec, $value, 'ts_ms');
		$holds{'key.id = value.id'} = $id eq $key;
		@facts{ 'txId', 'transaction.id' } = ($1, $id) if $id =~ /^"(\d+):(\d+)"$/;
		# the end of a commit, which later changes name, too
		$facts{'sequence[0]'} = $2 if defined $facts{txId} && raw($rec, member($value, 'status')) eq '"END"';
		$hide->($_, '"\d+:\d+"', 'txId:lsn') foreach member($$rec{key}, 'id'), member($value, 'id');
		$hide->(member($value, 'ts_ms'), $number, 'ts_ms');
		mask_collections($rec, member($value, 'data_collections'), \@cuts);
	}
	elsif ($names eq 'id,type,aggregate_type,additional_data,timestamp')
	{
		my ($id, $key) = map { raw($rec, member($$rec{$_}, 'id')) // '' } qw(value key);

		$facts{kind} = 'notification';
		$facts{now}  = whole($rec, $value, 'timestamp');
		$holds{'key.id = value.id'} = $id eq $key;
		$hide->($_, qq{"$uuid"}, 'uuid') foreach member($$rec{key}, 'id'), member($value, 'id');
		$hide->(member($value, 'timestamp'), $number, 'timestamp');
	}
	elsif (member($value, 'source', 'connector'))
	{
		mask_change($rec, $hide, \%facts, \%holds);
	}
	mask_watermarks($rec, \@cuts, \%facts);
	mask_metadata($rec, $hide);

	# From the end, so that places stay what they are.  A cut inside of another
	# is part of it.
	my $line = $$rec{line};
	my $end  = length $line;
	foreach my $cut (sort { $$b[0] <=> $$a[0] || $$b[1] <=> $$a[1] } outermost(@cuts))
	{
		substr($line, $$cut[0], $$cut[1] - $$cut[0]) = $$cut[2];
	}
	@$rec{qw(masked facts holds)} = ($line, \%facts, \%holds);
	return $rec;
}

sub outermost
{
	my @kept;

	foreach my $cut (sort { $$a[0] <=> $$b[0] || $$b[1] <=> $$a[1] } @_)
	{
		push @kept, $cut if !@kept || $$cut[0] >= $kept[-1][1];
	}
	return @kept;
}

# The list at the end of a transaction: a logical message's name has a hash in
# it, which decides where it stands, too.  Here such names come last.
sub mask_collections
{
	my ($rec, $list, $cuts) = @_;
	my (@tables, @messages);

	return unless $list && $$list{type} eq 'array';
	foreach my $item (@{ $$list{items} })
	{
		my $text = raw($rec, $item);

		push @{ $text =~ s/(LogicalDecodingMessageId\@)[0-9a-f]+"/$1<hash>"/ ? \@messages : \@tables }, $text;
	}
	push @$cuts, [ $$list{from}, $$list{to}, '[' . join(',', @tables, @messages) . ']' ] if @messages;
}

# A change, snapshot row or logical message: Debezium's envelope.
sub mask_change
{
	my ($rec, $hide, $facts, $holds) = @_;
	my $value  = $$rec{value};
	my $source = member($value, 'source');
	my $number = '0|[1-9]\d{0,18}';
	my %at;

	$$facts{kind}   = 'change';
	$$facts{op}     = (raw($rec, member($value, 'op')) // '') eq '"m"' ? 'message' : 'row';
	$$facts{marker} = raw($rec, member($source, 'snapshot')) // '';
	foreach my $name (qw(ts_ms ts_us ts_ns))
	{
		$at{$name}          = whole($rec, $value,  $name);
		$at{"source.$name"} = whole($rec, $source, $name);
		$hide->(member($value,  $name), $number, $name);
		$hide->(member($source, $name), $number, $name);
	}
	foreach my $prefix ('', 'source.')
	{
		my ($ms, $us, $ns) = map { $at{"$prefix$_"} } qw(ts_ms ts_us ts_ns);

		$$holds{"${prefix}ts_us fits ts_ms"} = thousandth($us) == $ms if defined $ms && defined $us;
		$$holds{"${prefix}ts_ns fits ts_us"} = thousandth($ns) == $us if defined $us && defined $ns;
	}
	$$holds{'source.ts_ns is whole microseconds'} = $at{'source.ts_ns'} % 1000 == 0 if defined $at{'source.ts_ns'};
	$$holds{'source.ts_ms is of late'} = abs($at{ts_ms} - $at{'source.ts_ms'}) < 3_600_000
	  if defined $at{ts_ms} && defined $at{'source.ts_ms'};
	$$holds{'source.ts_us is not after ts_us'} = $at{'source.ts_us'} <= $at{ts_us}
	  if defined $at{ts_us} && defined $at{'source.ts_us'};
	$$facts{now}    = $at{ts_ms};
	$$facts{commit} = $at{'source.ts_us'};

	$$facts{txId} = whole($rec, $source, 'txId');
	$$facts{lsn}  = whole($rec, $source, 'lsn');
	$hide->(member($source, $_), $number, $_) foreach qw(txId lsn xmin);

	my $sequence = member($source, 'sequence');
	if ($sequence && raw($rec, $sequence) =~ /^"\[(null|\\"(\d+)\\"),(null|\\"(\d+)\\")\]"$/)
	{
		my ($first, $second) = ($2, $4);

		$hide->($sequence, '.*', join ',', 'sequence', defined $first ? 'lsn' : 'null', defined $second ? 'lsn' : 'null');
		$$facts{'sequence[0]'} = $first;
		if (defined $$facts{lsn})
		{
			$$holds{'sequence[1] = lsn'} = defined $second && $second eq $$facts{lsn};
		}
		else
		{
			# A row of an incremental snapshot: where a watermark is, behind the last
			# commit.  Ours may have WAL of their own in between.
			$$holds{'sequence[1] is not before sequence[0]'} = ($second // 0) >= ($first // 0);
		}
	}

	my $id = raw($rec, member($value, 'transaction', 'id'));
	if (defined $id && $id =~ /^"(\d+):(\d+)"$/)
	{
		$$facts{'transaction.id'} = $id;
		$$holds{'transaction.id has txId'} = $1 eq ($$facts{txId} // '');
		$$holds{'transaction.id has lsn'}  = $2 eq ($$facts{lsn}  // '');
		$hide->(member($value, 'transaction', 'id'), '.*', 'txId:lsn');
	}
}

# A division of its own: the usual one is of floating-point numbers.
sub thousandth
{
	use integer;
	return $_[0] / 1000;
}

# Rows of the signal table that tell where an incremental snapshot's window
# opens and closes, and their tombstones.
sub mask_watermarks
{
	my ($rec, $cuts, $facts) = @_;
	my $id = raw($rec, member($$rec{key}, 'id'));

	return unless defined $id && $id =~ /^"($uuid)-(open|close)"$/;
	my ($window, $what) = ($1, $2);

	$$facts{window} = $window;
	foreach my $node (member($$rec{key}, 'id'),
		map { member($$rec{value}, $_, 'id') } qw(before after))
	{
		push @$cuts, [ $$node{from}, $$node{to}, qq{"<window>-$what"} ]
		  if $node && raw($rec, $node) eq $id;
	}
	foreach my $node (map { member($$rec{value}, $_, 'data') } qw(before after))
	{
		next unless $node && $$node{type} eq 'string';
		my $data = raw($rec, $node);

		$data =~ s/(\\"(?:open|close)WindowTimestamp\\": \\")$second(?:\.\d{3}|\.\d{6}|\.\d{9})?Z\\"/$1<time>\\"/g;
		push @$cuts, [ $$node{from}, $$node{to}, $data ];
	}
}

# Fields and headers that a flattened record carries of its source.
sub mask_metadata
{
	my ($rec, $hide) = @_;
	my $name = qr/^__(?:source_)?(ts_ms|ts_us|ts_ns|lsn|txId|xmin)$/;
	my $value = $$rec{value};

	if ($value && $$value{type} eq 'object')
	{
		$$_[0] =~ $name and $hide->($$_[2], '\d+', $1) foreach @{ $$value{members} };
	}
	foreach my $header (@{ $$rec{headers}{items} })
	{
		my ($key, $it) = @{ $$header{items} };

		raw($rec, $key) =~ /^"(.*)"$/s;
		$1 =~ $name and $hide->($it, '"?\d+"?', $1);
	}
}

# ---- accepted differences ----

# Lines "CASE TOPIC WHAT reason".  CASE and TOPIC are patterns with * and ?;
# WHAT is a dotted path from the record down, such as value.after.price, in
# which * is any one name; or * alone for whole records; or "flaw:NAME", one of
# those below.
sub read_accepted
{
	my ($file) = @_;
	my @list;

	open(my $in, '<', $file) or return [];
	while (my $line = <$in>)
	{
		next if $line =~ /^\s*(?:#|$)/;
		$line =~ /^(\S+)\s+(\S+)\s+(\S+)\s+(\S.*?)\s*$/ or die "$file:$.: CASE TOPIC WHAT reason, please\n";
		my %it = (case => glob_pattern($1), topic => glob_pattern($2), what => $3, reason => $4);

		if ($it{what} =~ /^flaw:(.*)/)
		{
			$it{flaw} = $flaws{$1} or die "$file:$.: no such flaw: $1\n";
		}
		else
		{
			my $path = join '\.', map { $_ eq '*' ? '[^.]+' : quotemeta } split /\./, $it{what};

			$it{path} = qr/^$path\z/s;
		}
		push @list, \%it;
	}
	close($in);
	return \@list;
}

sub glob_pattern
{
	my ($glob) = @_;
	my %wild = ('*' => '.*', '?' => '.');
	my $pattern = join('', map { $wild{$_} // quotemeta } split(//, $glob));

	return qr/^(?:.*\/)?$pattern\z/s;
}

# A text or number as a number, if it is one, or base64 of one.
sub number
{
	my ($raw) = @_;
	my ($text) = $raw =~ /^"?([^"\\]*)"?$/ or return undef;

	return $text + 0 if $text =~ /^-?\d+(?:\.\d+)?(?:E[-+]?\d+)?$/;
	return undef unless $raw =~ /^"[A-Za-z0-9+\/]+=*"$/ && length($text) % 4 == 0;
	my ($first, @others) = unpack('cC*', decode_base64($text));
	$first = $first * 256 + $_ foreach @others;
	return $first;
}

# What Debezium does to values of some types, known for certain from how the two
# differ: (type, of a snapshot, expected, got, path, names) -> it is this.
%flaws = (
	# a name that is not ASCII is misread, the table's key not found, and null
	'key-is-lost' => sub {
		my ($type, $snapshot, $want, $have, $path, $names) = @_;

		return $path eq 'key' && !$snapshot && $want eq 'null' && $have =~ /^\{/ && $names =~ /[\x{FF80}-\x{FFFF}]|\xEF[\xBE\xBF][\x80-\xBF]/;
	},

	# name: null in the stream, or empty if it must not be null
	'name-is-null' => sub {
		my ($type, $snapshot, $want, $have) = @_;

		return $type eq 'name' && !$snapshot && ($want eq 'null' || $want eq '""') && $have =~ /^"/;
	},

	# money: read as a double for a snapshot, which keeps 15 digits and writes
	# 1000.00 as 1000.0
	'money-is-double' => sub {
		my ($type, $snapshot, $want, $have) = @_;
		my ($x, $y) = map { number($_) } $want, $have;

		return
			 $type eq 'money'
		  && $snapshot
		  && defined $x
		  && defined $y
		  && abs($x - $y) <= 1e-15 * abs($y);
	},

	# int2vector and oidvector: always empty
	'vector-is-empty' => sub {
		my ($type, $snapshot, $want, $have) = @_;

		return $type =~ /^(?:int2|oid)vector$/ && $want eq '[]' && $have =~ /^\[[\d,-]+\]$/;
	},

	# dates before 1582-10-15 in a snapshot: of the Julian calendar, by mistake;
	# and of years before 1, which come out as after it
	'time-is-julian' => sub {
		my ($type, $snapshot, $want, $have) = @_;

		return 0 unless $snapshot && $type =~ /^(?:date|timestamp|timestamptz)$/;
		if ($want =~ /^-?\d+$/ && $have =~ /^-?\d+$/)
		{
			# whole days: of themselves, or milliseconds, microseconds, nanoseconds
			use integer;
			my $apart = $want - $have;

			return 1 if $type eq 'date' && $have < -719_162;
			foreach my $day ($type eq 'date' ? 1 : (86_400_000, 86_400_000_000, 86_400_000_000_000))
			{
				return 1 if $apart % $day == 0 && $apart / $day >= -40 && $apart / $day <= 12;
			}
			return 0;
		}
		# the same time of another day
		my ($x, $y) = map { /^"-?\d{4,}-\d\d-\d\d(T.*|Z)?"$/ ? $1 // '' : undef } $want, $have;
		my ($year) = $have =~ /^"(-?\d+)/;
		return 1 if $type eq 'date' && defined $x && defined $y && $year < 1;
		return defined $x && defined $y && $x eq $y && $year <= 1582;
	});

# Which of the accepted differences explain how two records differ: their
# reasons; nothing if not all is explained.
sub explained
{
	my ($e, $g, $accepted, $types) = @_;
	my ($want, $have) = map { parse_json($$_{masked}) } $e, $g;
	my (@found, %reasons, @cuts);

	return () unless @$accepted;
	field_differences($want, $have, '', \@found);
	return () unless @found;

	my ($schema, $table) = map { my $t = raw($g, member($$g{value}, 'source', $_)); $t ? $json->decode($t) : '' } qw(schema table);
	foreach my $difference (@found)
	{
		my $path = $$difference{path} =~ s/^(key|value)\.payload\./$1./r;
		my ($column) = $path =~ /^(?:key|value\.(?:before|after))\.(.*)/s;
		my $type = defined $column && $$types{"$schema.$table"}{$column} // '';
		my $snapshot = ($$g{facts}{marker} // '') !~ /^(?:"false"|null)?$/;
		my ($it) = grep {
			$$g{topic} =~ $$_{topic}
			  && ($$_{flaw}
				? defined $$difference{want} && defined $$difference{have} && $$_{flaw}->($type, $snapshot, @$difference{qw(want have)}, $path, "$schema.$table")
				: $path =~ $$_{path})
		} @$accepted;

		return () unless $it;
		$reasons{ $$it{reason} } = 1;
		push @{ $cuts[$_] }, @{ $$difference{places}[$_] } foreach 0, 1;
	}

	# All the rest must be the same, byte by byte.
	my @rest = map { without($_, $$_{masked}, shift @cuts) } $e, $g;
	return $rest[0] eq $rest[1] ? sort keys %reasons : ();
}

# A text without some places: [from, to].
sub without
{
	my ($rec, $text, $places) = @_;

	foreach my $place (sort { $$b[0] <=> $$a[0] } @{ $places // [] })
	{
		substr($text, $$place[0], $$place[1] - $$place[0]) = '';
	}
	return $text;
}

# Where a member of an object stands, with its name and one comma.
sub member_place
{
	my ($object, $name) = @_;
	my $members = $$object{members};

	foreach my $i (0 .. $#$members)
	{
		my ($key, $from, $it) = @{ $$members[$i] };

		next if $key ne $name;
		return [ $$members[ $i - 1 ][2]{to}, $$it{to} ] if $i > 0;
		return [ $from, $#$members > 0 ? $$members[1][1] : $$it{to} ];
	}
}

# ---- all records of a case ----

# Compare lines.  Named parameters:
#	accepted	from read_accepted(), those for this case
#	types		the columns' types: {"schema.table" => {column => type}}
#	repeats		how often records come depends on time (heartbeats)
#	since, until	Unix time in milliseconds, of the run that was got
# Returns (differences, reasons of the accepted ones).
sub compare_records
{
	my ($expected, $got, %params) = @_;
	my @accepted = @{ $params{accepted} // [] };
	my (%streams, @differences, @pairs, %reasons);

	foreach my $side ([ 0, $expected ], [ 1, $got ])
	{
		foreach my $line (@{ $$side[1] })
		{
			my $rec = mask(parse_line($line));
			my ($whole) = grep { $$_{what} eq '*' && $$rec{topic} =~ $$_{topic} } @accepted;

			if ($whole)
			{
				$reasons{ $$whole{reason} } = 1;
				next;
			}
			my $stream = $streams{"$$rec{topic}\0$$rec{partition}"} //= [ [], [] ];
			add_record($$stream[ $$side[0] ], $rec, $params{repeats});
		}
	}
	foreach my $name (sort keys %streams)
	{
		my ($want, $have) = @{ $streams{$name} };
		my ($topic, $partition) = split /\0/, $name;
		my $where = $partition eq '0' ? $topic : "$topic, partition $partition";

		foreach my $i (0 .. max($#$want, $#$have))
		{
			my ($e, $g) = ($$want[$i], $$have[$i]);

			if ($e && $g && $$e{masked} eq $$g{masked})
			{
				push @pairs, [ "$where, record $i", $e, $g ];
				next;
			}
			if ($e && $g && (my @why = explained($e, $g, \@accepted, $params{types} // {})))
			{
				@reasons{@why} = (1) x @why;
				push @pairs, [ "$where, record $i", $e, $g ];
				next;
			}
			push @differences,
			  { at => "$where, record $i", text => differs($e, $g) };
		}
		push @differences, { at => $where, text => sprintf("    %d records expected, %d are there\n", scalar @$want, scalar @$have) }
		  if @$want != @$have;
	}
	push @differences, relations(\@pairs, %params);
	return (\@differences, [ sort keys %reasons ]);
}

# Enter a record.  Where numbers vary, one that comes again at once counts once,
# and so do pairs.
sub add_record
{
	my ($list, $rec, $repeats) = @_;

	push @$list, $rec;
	return unless $repeats || $$rec{facts}{kind} && $$rec{facts}{kind} eq 'heartbeat';
	if (@$list >= 2 && $$list[-1]{masked} eq $$list[-2]{masked})
	{
		pop @$list;
	}
	elsif (@$list >= 4
		&& $$list[-1]{masked} eq $$list[-3]{masked}
		&& $$list[-2]{masked} eq $$list[-4]{masked})
	{
		splice(@$list, -2);
	}
}

sub first_number { return $_[0] =~ s/ .*//r }
sub max { return $_[0] > $_[1] ? $_[0] : $_[1] }

# What is known about the values that vary.
sub relations
{
	my ($pairs, %params) = @_;
	my (@differences, %to, %from, %commits, %unordered);

	foreach my $pair (@$pairs)
	{
		my ($where, $e, $g) = @$pair;
		my ($ef, $gf) = map { $$_{facts} } $e, $g;

		foreach my $rule (sort keys %{ $$e{holds} })
		{
			push @differences, { at => $where, text => "    does not hold: $rule\n" . shown($g) }
			  if $$e{holds}{$rule} && !$$g{holds}{$rule};
		}
		push @differences, { at => $where, text => "    its time is not that of the run: $$gf{now}\n" }
		  if defined $$gf{now}
		  && ($$gf{now} < ($params{since} // $$gf{now}) || $$gf{now} > ($params{until} // $$gf{now}));
		foreach my $what ('txId', 'lsn', 'sequence[0]', 'transaction.id', 'window')
		{
			my ($x, $y) = ($$ef{$what}, $$gf{$what});

			next unless defined $x && defined $y;

			# Positions of neighbours in the WAL may be equal by chance.
			($x, $y) = ("$x $$ef{op} " . ($$ef{txId} // 0), "$y $$gf{op} " . ($$gf{txId} // 0)) if $what eq 'lsn';
			$to{$what}{$x}   //= [ $y, $where ];
			# When a watermark comes between a client's changes depends on both.
			$unordered{$what}{$x} = 1 if defined $$ef{window} || $$ef{marker} && $$ef{marker} eq '"incremental"';
			$from{$what}{$y} //= [ $x, $where ];
			my $text =
				$to{$what}{$x}[0] ne $y   ? "expected the $what of $to{$what}{$x}[1] ($to{$what}{$x}[0]), got $y"
			  : $from{$what}{$y}[0] ne $x ? "expected another $what than that of $from{$what}{$y}[1] ($y)"
			  :                             next;
			push @differences, { at => $where, text => "    $text\n" };
		}
		next unless defined $$ef{commit} && defined $$gf{commit} && defined $$ef{txId} && $$ef{marker} eq '"false"';
		push @{ $commits{ $$ef{txId} } }, [ $where, $$ef{commit}, $$gf{commit} ];
	}
	# Where heartbeats write, what comes between two of them varies.
	foreach my $what ($params{repeats} ? () : ('txId', 'lsn', 'sequence[0]'))
	{
		my @order = sort { first_number($a) <=> first_number($b) } grep { !$unordered{$what}{$_} } keys %{ $to{$what} };

		foreach my $i (1 .. $#order)
		{
			my ($before, $after) = map { $to{$what}{ $order[$_] } } $i - 1, $i;
			my ($low, $high) = map { first_number($$_[0]) } $before, $after;

			push @differences, { at => $$after[1], text => "    $what $high should be above that of $$before[1] ($low)\n" }
			  if $low >= $high && first_number($order[ $i - 1 ]) < first_number($order[$i]);
		}
	}
	foreach my $xid (sort { $a <=> $b } keys %commits)
	{
		my ($first, @others) = @{ $commits{$xid} };

		foreach my $it (@others)
		{
			push @differences, { at => $$it[0], text => "    source.ts_us is not that of $$first[0], of the same transaction\n" }
			  if $$it[1] == $$first[1] && $$it[2] != $$first[2];
		}
	}
	return @differences;
}

# ---- showing it ----

sub shown
{
	my ($rec) = @_;
	my $line = $$rec{line};

	$line = substr($line, 0, 600) . ' ...' if length $line > 600;
	return "    got $line\n";
}

# Where two records differ: as fields, if both are there.
sub differs
{
	my ($e, $g) = @_;

	return "    not there:\n" . shown({ line => $$e{masked} }) =~ s/got/expected/r unless $g;
	return "    too much:\n" . shown({ line => $$g{masked} }) unless $e;
	my ($want, $have) = map { parse_json($$_{masked}) } $e, $g;
	my @found;

	field_differences($want, $have, '', \@found);
	@found = map { shown_difference($_) } @found;
	@found = ("the bytes differ:\n      expected $$e{masked}\n      got      $$g{masked}") unless @found;
	splice(@found, 8, scalar @found, '... and ' . (@found - 8) . ' fields more') if @found > 9;
	return join('', map { "    $_\n" } @found);
}

sub shown_difference
{
	my ($difference) = @_;
	my ($path, @both) = @$difference{qw(path want have)};

	return "$path: $$difference{text}" if $$difference{text};
	foreach my $text (@both)
	{
		$text = substr($text, 0, 300) . ' ... (' . length($text) . ' bytes)' if defined $text && length $text > 330;
	}
	return "$path: not there, expected $both[0]" unless defined $both[1];
	return "$path: too much, got $both[1]"       unless defined $both[0];
	return "$path: expected $both[0], got $both[1]";
}

# Collect where two nodes differ: {path, want, have (undef: not there), places:
# for each side, where that stands}.
sub field_differences
{
	my ($want, $have, $path, $found, $texts) = @_;

	$texts //= [ $$want{text}, $$have{text} ];
	my $x = substr(${ $$texts[0] }, $$want{from}, $$want{to} - $$want{from});
	my $y = substr(${ $$texts[1] }, $$have{from}, $$have{to} - $$have{from});

	return if $x eq $y;
	if ($$want{type} eq 'object' && $$have{type} eq 'object')
	{
		my @sides = map {
			+{ map { $$_[0] => $$_[2] } @{ $$_{members} } }
		} $want, $have;
		my $at = sub { return $path eq '' ? $_[0] : "$path.$_[0]" };

		foreach my $side (0, 1)
		{
			my ($node, $label) = $side == 0 ? ($want, 'want') : ($have, 'have');

			foreach my $name (grep { !$sides[ 1 - $side ]{$_} } map { $$_[0] } @{ $$node{members} })
			{
				my $it = $sides[$side]{$name};
				my %difference = (
					path   => $at->($name),
					$label => substr(${ $$texts[$side] }, $$it{from}, $$it{to} - $$it{from}));

				$difference{places}[$side] = [ member_place($node, $name) ];
				$difference{places}[ 1 - $side ] = [];
				push @$found, \%difference;
			}
		}
		my @orders = map {
			my $side = $_;
			join ',', grep { $sides[ 1 - $side ]{$_} } map { $$_[0] } @{ ($want, $have)[$side]{members} }
		} 0, 1;
		push @$found, { path => $path, text => "order of fields: expected $orders[0], got $orders[1]", places => [ [], [] ] }
		  if $orders[0] ne $orders[1];
		foreach my $member (@{ $$want{members} })
		{
			my $other = $sides[1]{ $$member[0] } or next;

			field_differences($$member[2], $other, $at->($$member[0]), $found, $texts);
		}
		return;
	}
	if ($$want{type} eq 'array' && $$have{type} eq 'array' && @{ $$want{items} } == @{ $$have{items} })
	{
		field_differences($$want{items}[$_], $$have{items}[$_], "$path\[$_\]", $found, $texts)
		  foreach 0 .. $#{ $$want{items} };
		return;
	}
	push @$found,
	  { path => $path, want => $x, have => $y, places => [ [ [ $$want{from}, $$want{to} ] ], [ [ $$have{from}, $$have{to} ] ] ] };
}

1;
