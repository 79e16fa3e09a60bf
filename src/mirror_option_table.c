/*-------------------------------------------------------------------------
 *
 * mirror_option_table.c
 *	  Which options of librdkafka can be given, where, and with what values.
 *
 * This is an allow-list: what is not in it is refused, so that an option of a
 * later librdkafka is refused until somebody has thought about it.  Names,
 * types and ranges are those of librdkafka's CONFIGURATION.md, 2.0 to 2.14.
 * An option that the installed librdkafka does not know yet is an error when a
 * mirror starts.
 *
 * Refused are options that
 * - run commands or load code, however indirectly;
 * - reach network endpoints other than brokers, or files other than those that
 *	 a FILE option names;
 * - may have librdkafka log secrets;
 * - exactly-once depends on, which the workers set;
 * - mean nothing here, as those of consumer groups.
 *
 * They are listed in order to say why.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mirror_option.h"
#include "mirror_option_table.h"

#define S	EVENTLOG_OPTION_SERVER
#define M	EVENTLOG_OPTION_MAPPING
#define R	EVENTLOG_OPTION_MIRROR

#define STRING(name, where)			{name, EVENTLOG_OPTION_STRING, where, false, 0, 0, NULL, NULL}
#define PEM(name, where)			{name, EVENTLOG_OPTION_PEM, where, false, 0, 0, NULL, NULL}
#define FILE(name, where)			{name, EVENTLOG_OPTION_FILE, where, false, 0, 0, NULL, NULL}
#define BOOL(name, where)			{name, EVENTLOG_OPTION_BOOL, where, false, 0, 0, NULL, NULL}
#define INT(name, where, min, max)	{name, EVENTLOG_OPTION_INT, where, false, min, max, NULL, NULL}
#define WORD(name, where, words)	{name, EVENTLOG_OPTION_WORD, where, false, 0, 0, words, NULL}
#define WORD_BUT(name, where, words, note) \
	{name, EVENTLOG_OPTION_WORD, where, false, 0, 0, words, note}
#define SECRET(name)				{name, EVENTLOG_OPTION_STRING, M, true, 0, 0, NULL, NULL}
#define SECRET_PEM(name)			{name, EVENTLOG_OPTION_PEM, M, true, 0, 0, NULL, NULL}
#define REFUSED(name, note)			{name, EVENTLOG_OPTION_REFUSED, 0, false, 0, 0, NULL, note}
#define REFUSED_SECRET(name, note)	{name, EVENTLOG_OPTION_REFUSED, 0, true, 0, 0, NULL, note}

#define INT_MAX32	INT64CONST(2147483647)

#define OURS		"It is set by pg_eventlog."
#define NO_GROUPS	"It is set by pg_eventlog: mirrors are no members of consumer groups."
#define IN_CODE		"It can only be set by programs."
#define OUTDATED	"librdkafka has deprecated it, and it changes nothing that matters here."
#define RUNS		"It runs commands."
#define LOADS		"It loads code into the server."
#define NO_OAUTH	"SASL with OAUTHBEARER is not included, since it reaches endpoints other than brokers."
#define MECHANISMS	"GSSAPI would run commands, and OAUTHBEARER reach endpoints other than brokers."
#define NO_AVRO		"Avro and schema registries are not included: records are mirrored byte by byte. See docs/mirrors.md for a bridge."
#define JAVA(theirs) "It is an option of Java clients. librdkafka's is \"" theirs "\"."
#define MIRRORED	"It is not needed: mirrors keep each record's partition, or choose by the key."

const EventlogOptionRule eventlog_option_rules[] = {
	/* where, and how to be known there */
	{"bootstrap.servers", EVENTLOG_OPTION_HOSTS, S, false, 0, 0, NULL, NULL},
	STRING("client.id", S | R),
	STRING("client.rack", S),
	WORD("client.dns.lookup", S, " use_all_dns_ips resolve_canonical_bootstrap_servers_only "),
	WORD("broker.address.family", S, " any v4 v6 "),
	INT("broker.address.ttl", S, 0, 86400000),

	/* who, and by what right */
	WORD("security.protocol", S, " plaintext ssl sasl_plaintext sasl_ssl "),
	WORD_BUT("sasl.mechanism", S, " PLAIN SCRAM-SHA-256 SCRAM-SHA-512 ", MECHANISMS),
	WORD_BUT("sasl.mechanisms", S, " PLAIN SCRAM-SHA-256 SCRAM-SHA-512 ", MECHANISMS),
	STRING("sasl.username", M),
	SECRET("sasl.password"),
	FILE("ssl.ca.location", S),
	PEM("ssl.ca.pem", S),
	FILE("ssl.crl.location", S),
	FILE("ssl.certificate.location", S | M),
	PEM("ssl.certificate.pem", S | M),
	FILE("ssl.key.location", S | M),
	SECRET_PEM("ssl.key.pem"),
	SECRET("ssl.key.password"),
	FILE("ssl.keystore.location", S | M),
	SECRET("ssl.keystore.password"),
	STRING("ssl.cipher.suites", S),
	STRING("ssl.curves.list", S),
	STRING("ssl.sigalgs.list", S),
	BOOL("enable.ssl.certificate.verification", S),
	WORD("ssl.endpoint.identification.algorithm", S, " none https "),

	/* connections */
	INT("socket.timeout.ms", S, 10, 300000),
	INT("socket.send.buffer.bytes", S, 0, 100000000),
	INT("socket.receive.buffer.bytes", S, 0, 100000000),
	BOOL("socket.keepalive.enable", S),
	BOOL("socket.nagle.disable", S),
	INT("socket.max.fails", S, 0, 1000000),
	INT("socket.connection.setup.timeout.ms", S, 1000, INT_MAX32),
	INT("connections.max.idle.ms", S, 0, INT_MAX32),
	INT("reconnect.backoff.ms", S, 0, 3600000),
	INT("reconnect.backoff.max.ms", S, 0, 3600000),
	INT("retry.backoff.ms", S, 1, 300000),
	INT("retry.backoff.max.ms", S, 1, 300000),
	INT("api.version.request.timeout.ms", S, 1, 300000),
	BOOL("log.connection.close", S),
	WORD("metadata.recovery.strategy", S, " none rebootstrap "),
	INT("metadata.recovery.rebootstrap.trigger.ms", S, 0, INT_MAX32),
	INT("metadata.max.age.ms", S, 1, 86400000),
	INT("topic.metadata.refresh.interval.ms", S, -1, 3600000),
	INT("topic.metadata.refresh.fast.interval.ms", S, 1, 60000),
	BOOL("topic.metadata.refresh.sparse", S),
	INT("topic.metadata.propagation.max.ms", S, 0, 3600000),
	INT("message.max.bytes", S | R, 1000, 1000000000),
	INT("message.copy.max.bytes", S, 0, 1000000000),
	INT("receive.message.max.bytes", S | R, 1000, INT_MAX32),
	INT("max.in.flight.requests.per.connection", S | R, 1, 5),
	INT("max.in.flight", S | R, 1, 5),

	/* producing */
	WORD("compression.type", S | R, " none gzip snappy lz4 zstd "),
	WORD("compression.codec", S | R, " none gzip snappy lz4 zstd "),
	INT("compression.level", S | R, -1, 12),
	INT("linger.ms", S | R, 0, 900000),
	INT("queue.buffering.max.ms", S | R, 0, 900000),
	INT("queue.buffering.max.messages", S | R, 1000, INT_MAX32),
	INT("queue.buffering.max.kbytes", S | R, 1024, 1048576),
	INT("batch.num.messages", S | R, 1, 1000000),
	INT("batch.size", S | R, 1, INT_MAX32),
	INT("transaction.timeout.ms", S | R, 1000, INT_MAX32),
	INT("request.timeout.ms", S | R, 1, 900000),
	INT("message.timeout.ms", S | R, 1, INT_MAX32),
	INT("delivery.timeout.ms", S | R, 1, INT_MAX32),

	/* consuming */
	INT("queued.min.messages", S | R, 1, 10000000),
	INT("queued.max.messages.kbytes", S | R, 1, 1048576),
	INT("fetch.wait.max.ms", S | R, 0, 300000),
	INT("fetch.queue.backoff.ms", S | R, 0, 300000),
	INT("fetch.message.max.bytes", S | R, 1, 1000000000),
	INT("max.partition.fetch.bytes", S | R, 1, 1000000000),
	INT("fetch.max.bytes", S | R, 0, INT64CONST(2147483135)),
	INT("fetch.min.bytes", S | R, 0, INT_MAX32),
	INT("fetch.error.backoff.ms", S | R, 0, 300000),

	/* run commands, load code, reach out, tell secrets */
	REFUSED("sasl.kerberos.*", RUNS),
	REFUSED("plugin.library.paths", LOADS),
	REFUSED("interceptors", LOADS),
	REFUSED("ssl.engine.*", LOADS),
	REFUSED("ssl.providers", LOADS),
	REFUSED("ssl.ca.certificate.stores", "It is an option for Windows."),
	REFUSED_SECRET("sasl.oauthbearer.*", NO_OAUTH),
	REFUSED("enable.sasl.oauthbearer.unsecure.jwt", NO_OAUTH),
	REFUSED("https.ca.*", NO_OAUTH),
	REFUSED("debug", "It can have secrets logged."),

	/* what the workers set */
	REFUSED("metadata.broker.list", "Use \"bootstrap.servers\"."),
	REFUSED("transactional.id", OURS),
	REFUSED("enable.idempotence", OURS),
	REFUSED("enable.gapless.guarantee", OURS),
	REFUSED("acks", OURS),
	REFUSED("request.required.acks", OURS),
	REFUSED("retries", OURS),
	REFUSED("message.send.max.retries", OURS),
	REFUSED("delivery.report.only.error", OURS),
	REFUSED("queue.buffering.backpressure.threshold", OURS),
	REFUSED("queuing.strategy", OURS),
	REFUSED("isolation.level", OURS),
	REFUSED("enable.auto.commit", OURS),
	REFUSED("auto.commit.*", OURS),
	REFUSED("enable.auto.offset.store", OURS),
	REFUSED("enable.partition.eof", OURS),
	REFUSED("auto.offset.reset", "It is set by pg_eventlog. See \"start\" in the configuration of mirrors."),
	REFUSED("check.crcs", OURS),
	REFUSED("enable.metrics.push", OURS),
	REFUSED("allow.auto.create.topics",
			"It is set by pg_eventlog. See \"create.topic\" in the configuration of mirrors."),
	REFUSED("log.queue", OURS),
	REFUSED("log_level", OURS),
	REFUSED("log.thread.name", OURS),
	REFUSED("enabled_events", OURS),
	REFUSED("enable.random.seed", OURS),
	REFUSED("internal.termination.signal", OURS),
	REFUSED("partitioner", MIRRORED),
	REFUSED("sticky.partitioning.linger.ms", MIRRORED),
	REFUSED("group.*", NO_GROUPS),
	REFUSED("partition.assignment.strategy", NO_GROUPS),
	REFUSED("session.timeout.ms", NO_GROUPS),
	REFUSED("heartbeat.interval.ms", NO_GROUPS),
	REFUSED("coordinator.query.interval.ms", NO_GROUPS),
	REFUSED("max.poll.*", NO_GROUPS),
	REFUSED("share.*", NO_GROUPS),
	REFUSED("offset.store.*", "Positions are kept by pg_eventlog."),
	REFUSED("consume.callback.max.messages", OURS),
	REFUSED("topic.blacklist", "Use \"topics.exclude\" in the configuration of a mirror."),

	/* callbacks and objects */
	REFUSED("error_cb", IN_CODE),
	REFUSED("throttle_cb", IN_CODE),
	REFUSED("stats_cb", IN_CODE),
	REFUSED("log_cb", IN_CODE),
	REFUSED("background_event_cb", IN_CODE),
	REFUSED("socket_cb", IN_CODE),
	REFUSED("connect_cb", IN_CODE),
	REFUSED("closesocket_cb", IN_CODE),
	REFUSED("open_cb", IN_CODE),
	REFUSED("resolve_cb", IN_CODE),
	REFUSED("consume_cb", IN_CODE),
	REFUSED("rebalance_cb", IN_CODE),
	REFUSED("offset_commit_cb", IN_CODE),
	REFUSED("dr_cb", IN_CODE),
	REFUSED("dr_msg_cb", IN_CODE),
	REFUSED("partitioner_cb", IN_CODE),
	REFUSED("oauthbearer_token_refresh_cb", IN_CODE),
	REFUSED("ssl.certificate.verify_cb", IN_CODE),
	REFUSED("ssl_engine_callback_data", IN_CODE),
	REFUSED("msg_order_cmp", IN_CODE),
	REFUSED("opaque", IN_CODE),
	REFUSED("default_topic_conf", IN_CODE),
	REFUSED_SECRET("ssl_key", "Use \"ssl.key.pem\"."),
	REFUSED("ssl_certificate", "Use \"ssl.certificate.pem\"."),
	REFUSED("ssl_ca", "Use \"ssl.ca.pem\"."),

	/* of old */
	REFUSED("builtin.features", IN_CODE),
	REFUSED("topic.metadata.refresh.fast.cnt", OUTDATED),
	REFUSED("socket.blocking.max.ms", OUTDATED),
	REFUSED("reconnect.backoff.jitter.ms", OUTDATED),
	REFUSED("api.version.request", OUTDATED),
	REFUSED("api.version.fallback.ms", OUTDATED),
	REFUSED("broker.version.fallback", OUTDATED),
	REFUSED("produce.offset.report", OUTDATED),

	/* of others */
	REFUSED("schema.registry.*", NO_AVRO),
	REFUSED_SECRET("basic.auth.*", NO_AVRO),
	REFUSED("avro.*", NO_AVRO),
	REFUSED("auto.register.schemas", NO_AVRO),
	REFUSED("use.latest.version", NO_AVRO),
	REFUSED("value.subject.name.strategy", NO_AVRO),
	REFUSED("key.subject.name.strategy", NO_AVRO),
	REFUSED("key.converter*", NO_AVRO),
	REFUSED("value.converter*", NO_AVRO),
	REFUSED("key.serializer", NO_AVRO),
	REFUSED("value.serializer", NO_AVRO),
	REFUSED("key.deserializer", NO_AVRO),
	REFUSED("value.deserializer", NO_AVRO),
	REFUSED_SECRET("sasl.jaas.config", JAVA("sasl.username")),
	REFUSED("ssl.truststore.location", JAVA("ssl.ca.location")),
	REFUSED("ssl.truststore.certificates", JAVA("ssl.ca.pem")),
	REFUSED_SECRET("ssl.truststore.*", JAVA("ssl.ca.location")),
	REFUSED_SECRET("ssl.keystore.key", JAVA("ssl.key.pem")),
	REFUSED("ssl.keystore.certificate.chain", JAVA("ssl.certificate.pem")),
};

const int	eventlog_noption_rules = lengthof(eventlog_option_rules);

const EventlogOptionRule *
eventlog_option_rule(const char *name)
{
	for (int i = 0; i < eventlog_noption_rules; i++)
	{
		const EventlogOptionRule *rule = &eventlog_option_rules[i];
		size_t		len = strlen(rule->name);

		if (rule->name[len - 1] == '*' ?
			strncmp(rule->name, name, len - 1) == 0 : strcmp(rule->name, name) == 0)
			return rule;
	}
	return NULL;
}
