# A network that misbehaves: a TCP proxy in a process of its own, between
# clients and a Kafka broker whose advertised port it listens on.
#
# Its rules are changed while connections live:
#
#	pass				pass on all that comes
#	delay => MS			... each piece so much later
#	cut => N			reset each connection after N more bytes, again and again
#	freeze				nothing moves, in both directions, and new connections
#						get no answer; what was sent meanwhile moves later
#	swallow				what comes is read and lost; such connections are reset
#						by the next rule
#	refuse				no new connections, and the old ones are reset
#	fuzz => SEED, RATE	bytes from the broker are changed: flipped, lost, put in,
#						numbers of four bytes set to extremes, in one of RATE pieces
#	flip => TEXT, RATE	in one of RATE pieces, the first such text gets another
#						byte: inside of a record
#
# A rule is in force when its function returns.

package KafkaProxy;

use strict;
use warnings FATAL => 'all';

use Errno qw(EAGAIN EWOULDBLOCK EINTR);
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER PF_UNIX SOCK_STREAM PF_UNSPEC);
use Time::HiRes qw(time);

use constant PIECE => 65536;

# A proxy that listens, on a free port, and connects nowhere yet.
sub new
{
	my ($class) = @_;
	my $listener = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1', ReuseAddr => 1)
	  or die "listen: $!";

	return bless { listener => $listener, port => $listener->sockport }, $class;
}

sub port { return $_[0]{port}; }
sub address { return "127.0.0.1:$_[0]{port}"; }

sub start
{
	my ($self, $behind) = @_;

	socketpair(my $mine, my $theirs, PF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		$SIG{$_} = 'DEFAULT' foreach qw(INT TERM HUP);
		$SIG{PIPE} = 'IGNORE';
		close $mine;
		eval { run($self->{listener}, $theirs, $behind) };
		print STDERR "# proxy: $@" if $@;
		POSIX::_exit(1);
	}
	close $theirs;
	close delete $self->{listener};
	$mine->autoflush(1);
	@$self{qw(pid control owner)} = ($pid, $mine, $$);
}

# Returns what the proxy has counted: connections, cuts, mutations.
sub rule
{
	my ($self, @rule) = @_;
	my $control = $self->{control};

	print $control join("\t", @rule), "\n";
	my $answer = <$control> // die 'the proxy is gone';
	chomp $answer;
	return map { split /=/ } split / /, $answer;
}

sub stop
{
	my ($self) = @_;

	return unless $self->{pid};
	kill 'KILL', $self->{pid};
	waitpid($self->{pid}, 0);
	delete $self->{pid};
}

sub DESTROY
{
	my ($self) = @_;
	local $?;

	$self->stop if defined $self->{owner} && $self->{owner} == $$;
}

# ---- the process ----

my (%peer, %queue, %left, %swallowed, %from_broker, %open);
my @rule = ('pass');
my %count = (connections => 0, cuts => 0, mutations => 0);

sub drop
{
	my ($socket) = @_;

	my @ends = grep { defined && $open{$_} } $socket, $peer{$socket};

	foreach my $end (@ends)
	{
		delete $_->{$end} foreach \%peer, \%queue, \%left, \%swallowed, \%from_broker, \%open;
		# a reset instead of a friendly end
		setsockopt($end, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
		close $end;
	}
}

sub set_rule
{
	my (@new) = @_;

	my @lost = $new[0] eq 'refuse' ? values %open :
	  $rule[0] eq 'swallow' ? grep { $swallowed{$_} } values %open : ();

	drop($_) foreach @lost;
	@rule = @new;
	%left = map { $_ => $rule[1] } keys %open if $rule[0] eq 'cut';
	srand($rule[1]) if $rule[0] eq 'fuzz';
}

sub mutate
{
	my ($data) = @_;
	my $n = length($data);
	my $kind = int(rand(5));
	my $at = int(rand($n));

	if ($kind == 0)
	{
		substr($data, int(rand($n)), 1) ^= chr(1 + int(rand(255))) foreach 0 .. int(rand(8));
	}
	elsif ($kind == 1)
	{
		substr($data, $at) = '';
	}
	elsif ($kind == 2)
	{
		substr($data, $at, 0) = join('', map { chr(int(rand(256))) } 0 .. int(rand(64)));
	}
	elsif ($n >= 4)
	{
		my @extremes = (0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x7fff, 0xffff, 0x10000, int(rand(2**32)));

		# the length of the answer, or anything
		$at = $kind == 3 ? 0 : int(rand($n - 3));
		substr($data, $at, 4) = pack('N', $extremes[ int(rand(@extremes)) ]);
	}
	return $data;
}

# What the rules make of a piece; undef: it is lost.
sub transform
{
	my ($socket, $data) = @_;

	if ($rule[0] eq 'swallow')
	{
		$swallowed{$socket} = 1;
		return undef;
	}
	return $data unless $from_broker{$socket};
	if ($rule[0] eq 'fuzz' && rand($rule[2]) < 1)
	{
		$count{mutations}++;
		return mutate($data);
	}
	if ($rule[0] eq 'flip' && rand($rule[2]) < 1)
	{
		my $at = index($data, $rule[1]);

		if ($at >= 0)
		{
			$count{mutations}++;
			substr($data, $at, 1) ^= "\x01";
		}
	}
	return $data;
}

sub take
{
	my ($socket) = @_;
	my $n = sysread($socket, my $data, PIECE);

	return if !defined $n && ($! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR);
	return drop($socket) unless $n;
	my $cut = 0;
	if ($rule[0] eq 'cut')
	{
		my $room = $left{$socket} // $rule[1];

		$left{$socket} = $room - length($data);
		$left{$peer{$socket}} = $left{$socket};
		if ($left{$socket} <= 0)
		{
			# what comes before the cut still arrives, if there is no more in front of it
			$count{cuts}++;
			syswrite($peer{$socket}, substr($data, 0, $room))
			  if $room > 0 && !@{ $queue{ $peer{$socket} } };
			return drop($socket);
		}
	}
	$data = transform($socket, $data);
	push @{ $queue{$peer{$socket}} }, [ time + ($rule[0] eq 'delay' ? $rule[1] / 1000 : 0), $data ]
	  if defined $data && length $data;
}

sub give
{
	my ($socket) = @_;

	while (my $first = $queue{$socket}[0])
	{
		return if $first->[0] > time;
		my $n = syswrite($socket, $first->[1]);

		if (!defined $n)
		{
			return if $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
			return drop($socket);
		}
		return substr($first->[1], 0, $n) = '' if $n < length($first->[1]);
		shift @{ $queue{$socket} };
	}
}

sub meet
{
	my ($listener, $behind) = @_;
	my $client = $listener->accept or return;

	if ($rule[0] eq 'refuse')
	{
		setsockopt($client, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
		close $client;
		return;
	}
	my $broker = IO::Socket::INET->new(PeerAddr => $behind, Timeout => 2);
	return close $client unless $broker;
	$count{connections}++;
	$peer{$client} = $broker;
	$peer{$broker} = $client;
	$from_broker{$broker} = 1;
	foreach my $socket ($client, $broker)
	{
		$socket->blocking(0);
		setsockopt($socket, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
		$open{$socket} = $socket;
		$queue{$socket} = [];
	}
}

sub run
{
	my ($listener, $control, $behind) = @_;

	$control->autoflush(1);
	while (1)
	{
		my $frozen = $rule[0] eq 'freeze';
		# no more is read than can be passed on
		my @readers = grep { @{ $queue{ $peer{$_} } } < 20 } values %open;
		my @writers = grep { @{ $queue{$_} } } values %open;
		my $later = 0;
		my $now = time;

		@writers = grep { $queue{$_}[0][0] <= $now || ($later = 1, 0)[1] } @writers;
		my ($can_read, $can_write) = IO::Select->select(
			IO::Select->new($control, $frozen ? () : ($listener, @readers)),
			$frozen || !@writers ? undef : IO::Select->new(@writers), undef, $later ? 0.002 : 1);

		foreach my $socket (@{ $can_read // [] })
		{
			if ($socket == $control)
			{
				my $line = <$control>;

				POSIX::_exit(0) unless defined $line;
				chomp $line;
				set_rule(split /\t/, $line);
				print $control join(' ', map { "$_=$count{$_}" } sort keys %count), "\n";
				last;
			}
			elsif ($socket == $listener) { meet($listener, $behind); }
			elsif ($open{$socket}) { take($socket); }
		}
		foreach my $socket (@{ $can_write // [] })
		{
			give($socket) if $open{$socket};
		}
	}
}

1;
