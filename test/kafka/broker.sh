# shellcheck shell=bash
# broker.sh: a throw-away Kafka broker, for tests, reference data and
# benchmarks.
#
# Sourced, not run.  Offers
#
#	kafka_fetch			fetch Kafka's jars if they are not in the cache yet
#	kafka_start DIR		format and start a broker whose files are all in DIR,
#						which must be empty; or one that was there before: it
#						comes back under its address, with what it had.  Sets
#						KAFKA_BROKERS (host:port) and KAFKA_PID
#	kafka_have			are Java and the jars there, so that nothing is to be
#						installed or fetched?  Says what is missing if not
#	kafka_stop			stop it and wait until it has ended
#	kafka_run CLASS ...	run one of Kafka's programs, such as
#						org.apache.kafka.tools.TopicCommand
#	kafka_topic NAME PARTITIONS [KEY=VALUE ...]
#						create a topic
#
# Settings, from the environment:
#	EVENTLOG_CACHE		where the jars are kept: ~/.cache/pg_eventlog
#	KAFKA_VERSION		4.1.0
#	KAFKA_HEAP			the broker's heap: 1g, Kafka's own default
#	KAFKA_SETTINGS		further lines of its server.properties
#	KAFKA_SECURE=1		further listeners, with passwords and TLS; see
#						kafka_secure
#	KAFKA_PROXY=PORT	a further listener, KAFKA_BEHIND, that tells clients to
#						come to this port of the loopback interface: somebody
#						has to pass on there what goes to KAFKA_BEHIND
#
# The broker is a single node (broker and controller), listens on the loopback
# interface only, on free ports, and runs as whoever started it.  It needs
# Debian's default-jre-headless and maven, which kafka_fetch installs if they
# are missing, having said so.

KAFKA_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KAFKA_VERSION=${KAFKA_VERSION:-4.1.0}
KAFKA_CACHE=${EVENTLOG_CACHE:-$HOME/.cache/pg_eventlog}/kafka-$KAFKA_VERSION
KAFKA_PID=
KAFKA_BROKERS=

kafka_say() { printf '%s\n' "$*" >&2; }

# Install Debian packages that are missing: kafka_need COMMAND PACKAGE ...
kafka_need() {
	local missing=() sudo=()

	while [ $# -gt 0 ]; do
		command -v "$1" >/dev/null || missing+=("$2")
		shift 2
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null; then
		kafka_say "Missing: ${missing[*]} (Debian's names); please install them by hand."
		return 1
	fi
	kafka_say "Installing with apt-get: ${missing[*]}"
	[ "$(id -u)" = 0 ] || sudo=(sudo -n)
	"${sudo[@]}" apt-get update -qq >&2 &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
			--no-install-recommends "${missing[@]}" >&2
}

kafka_have() {
	if ! command -v java >/dev/null; then
		echo "there is no Java"
		return 1
	fi
	if [ ! -f "$KAFKA_CACHE/kafka-tools-$KAFKA_VERSION.jar" ]; then
		echo "Kafka's jars are not in $(dirname "$KAFKA_CACHE")"
		return 1
	fi
}

# Maven gets the jars from the repository that it is configured for.  They come
# into the cache under their final name only when they are all there.
kafka_fetch() {
	local tmp

	kafka_need java default-jre-headless || return 1
	[ ! -f "$KAFKA_CACHE/kafka-tools-$KAFKA_VERSION.jar" ] || return 0
	kafka_need mvn maven || return 1
	kafka_say "Fetching Kafka $KAFKA_VERSION (55 MB) into $KAFKA_CACHE"

	mkdir -p "$(dirname "$KAFKA_CACHE")" || return 1
	tmp=$(mktemp -d "$KAFKA_CACHE.XXXXXX") || return 1
	if ! mvn -q -B -f "$KAFKA_HERE/pom.xml" -Dkafka.version="$KAFKA_VERSION" dependency:copy-dependencies \
			-DincludeScope=runtime -DoutputDirectory="$tmp/jars" >&2; then
		rm -rf "$tmp"
		kafka_say "Maven could not fetch Kafka."
		return 1
	fi
	# another run may have been faster
	chmod -R a+rX "$tmp/jars"
	mv -T "$tmp/jars" "$KAFKA_CACHE" 2>/dev/null || true
	rm -rf "$tmp"
	[ -f "$KAFKA_CACHE/kafka-tools-$KAFKA_VERSION.jar" ]
}

kafka_free_port() {
	perl -MIO::Socket::INET -e '
		print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

# Errors only, and only to standard error.
kafka_run() {
	java -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
		-cp "$KAFKA_CACHE/*" "$@"
}

# With KAFKA_SECURE: a certificate authority, certificates, and settings for
# three more listeners, of which these tell:
#
#	KAFKA_SASL		SASL_PLAINTEXT with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512
#	KAFKA_TLS		the same under TLS (SASL_SSL)
#	KAFKA_MTLS		TLS with the client's certificate
#	KAFKA_CERTS		a folder: ca.pem, client.pem and client.key
#
# Users are alice (alice-secret), who may do anything, and bob (bob-secret), who
# may do nothing.  Prints the settings.
kafka_secure() {
	local dir=$1 listener jaas=org.apache.kafka.common.security name

	KAFKA_CERTS=$dir/certs
	mkdir -p "$KAFKA_CERTS"
	(
		cd "$KAFKA_CERTS"
		openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
		for name in server client; do
			openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout $name.key -out $name.csr
			openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
				-extfile <(echo subjectAltName=IP:127.0.0.1) -out $name.pem
		done
		cat server.key server.pem >server.both
	) >"$dir/certs.log" 2>&1 || { cat "$dir/certs.log" >&2; return 1; }

	cat <<-CONF
		listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port,SASL://$KAFKA_SASL,TLS://$KAFKA_TLS,MTLS://$KAFKA_MTLS
		advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL://$KAFKA_SASL,TLS://$KAFKA_TLS,MTLS://$KAFKA_MTLS
		listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SASL_SSL,MTLS:SSL
		sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
		ssl.keystore.type=PEM
		ssl.keystore.location=$KAFKA_CERTS/server.both
		ssl.truststore.type=PEM
		ssl.truststore.location=$KAFKA_CERTS/ca.pem
		listener.name.mtls.ssl.client.auth=required
		authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
		super.users=User:ANONYMOUS;User:alice;User:CN=client
	CONF
	for listener in sasl tls; do
		cat <<-CONF
			listener.name.$listener.plain.sasl.jaas.config=$jaas.plain.PlainLoginModule required user_alice="alice-secret" user_bob="bob-secret";
			listener.name.$listener.scram-sha-256.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
			listener.name.$listener.scram-sha-512.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
		CONF
	done
}

# Write a new broker's settings and format its folder; sets KAFKA_BROKERS.
kafka_format() {
	local dir=$1 port controller_port i scram=()

	port=$(kafka_free_port)
	controller_port=$(kafka_free_port)
	mkdir -p "$dir/data"
	cat >"$dir/server.properties" <<-CONF
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$controller_port
		controller.listener.names=CONTROLLER
		inter.broker.listener.name=PLAINTEXT
		listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
		advertised.listeners=PLAINTEXT://127.0.0.1:$port
		log.dirs=$dir/data
		num.partitions=1
		auto.create.topics.enable=false
		offsets.topic.replication.factor=1
		offsets.topic.num.partitions=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		transaction.state.log.num.partitions=1
		group.initial.rebalance.delay.ms=0
		log.cleaner.backoff.ms=500
		${KAFKA_SETTINGS:-}
	CONF
	if [ -n "${KAFKA_SECURE:-}" ]; then
		KAFKA_SASL=127.0.0.1:$(kafka_free_port)
		KAFKA_TLS=127.0.0.1:$(kafka_free_port)
		KAFKA_MTLS=127.0.0.1:$(kafka_free_port)
		kafka_secure "$dir" >>"$dir/server.properties" || return 1
		KAFKA_CERTS=$dir/certs
		for i in SCRAM-SHA-256 SCRAM-SHA-512; do
			scram+=(--add-scram "$i=[name=alice,password=alice-secret]")
		done
	fi
	if ! kafka_run kafka.tools.StorageTool format -c "$dir/server.properties" \
			"${scram[@]}" -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')" \
			>"$dir/format.log" 2>&1; then
		cat "$dir/format.log" >&2
		return 1
	fi
	if [ -n "${KAFKA_PROXY:-}" ]; then
		KAFKA_BEHIND=127.0.0.1:$(kafka_free_port)
		cat >>"$dir/server.properties" <<-CONF
			listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port,BEHIND://$KAFKA_BEHIND
			advertised.listeners=PLAINTEXT://127.0.0.1:$port,BEHIND://127.0.0.1:$KAFKA_PROXY
			listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BEHIND:PLAINTEXT
		CONF
	fi
	KAFKA_BROKERS=127.0.0.1:$port
}

# Does not return before the broker answers; on error shows its log's end.
kafka_start() {
	local dir=$1 i

	if [ -f "$dir/server.properties" ]; then
		KAFKA_BROKERS=$(sed -n 's|^advertised.listeners=PLAINTEXT://\([^,]*\).*|\1|p' "$dir/server.properties" | head -n 1)
	else
		kafka_format "$dir" || return 1
	fi

	java -server -Xms"${KAFKA_HEAP:-1g}" -Xmx"${KAFKA_HEAP:-1g}" \
		-XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
		-XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent \
		-Djava.awt.headless=true \
		-cp "$KAFKA_CACHE/*" kafka.Kafka "$dir/server.properties" \
		>"$dir/broker.log" 2>&1 </dev/null &
	KAFKA_PID=$!

	for i in $(seq 600); do
		if grep -q 'Kafka Server started' "$dir/broker.log"; then
			return 0
		fi
		kill -0 "$KAFKA_PID" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 30 "$dir/broker.log" >&2
	kafka_say "The Kafka broker does not start."
	kafka_stop
	return 1
}

# Asks first, as that writes its files out; insists after 30 seconds.
kafka_stop() {
	local i pid=$KAFKA_PID

	[ -n "$pid" ] || return 0
	KAFKA_PID=
	kill -TERM "$pid" 2>/dev/null || true
	for i in $(seq 300); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
}

kafka_topic() {
	local name=$1 partitions=$2 config=() c
	shift 2

	for c in "$@"; do
		config+=(--config "$c")
	done
	kafka_run org.apache.kafka.tools.TopicCommand \
		--bootstrap-server "$KAFKA_BROKERS" --create --topic "$name" \
		--partitions "$partitions" --replication-factor 1 "${config[@]}" >&2
}
