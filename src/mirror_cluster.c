/*-------------------------------------------------------------------------
 *
 * mirror_cluster.c
 *	  Which Kafka servers are one cluster, and what mirrors must not do between
 *	  the same topics of it: go in both directions, or twice in one.
 *
 * Servers of one name are one cluster, and so are those with a broker in
 * common.  Others are if their brokers have told the same cluster id.  A worker
 * learns that from the first answer to a client of a mirror's, and keeps it in
 * eventlog.mirror_cluster by the brokers that were asked: so what is known of a
 * server is forgotten when it is given other brokers.
 *
 * create_mirror() and resume_mirror() refuse what can be told at that time.
 * What cannot is found here: with that first answer, before anything is read or
 * written, a mirror has to be admitted.  In one transaction, under a lock that
 * only these take, the id is written down and other mirrors are looked at.  If
 * one that is to work stands against it, the mirror stops.  So of two mirrors
 * the one that comes second sees the other's id, and never both go on.  Which is
 * why nothing is to be done about mirrors that are at work already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/snapmgr.h"

#include "mirror_task.h"

#define BROKERS_OPTION	"bootstrap.servers"

/* ---- clusters ---- */

/* Brokers of a server, as its options have them; NULL if it is gone. */
static char *
server_hosts(const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	ListCell   *lc;

	if (server == NULL)
		return NULL;
	foreach(lc, server->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, BROKERS_OPTION) == 0)
			return defGetString(option);
	}
	return NULL;
}

/* Brokers of a list, each as host:port in lower case. */
static List *
split_hosts(const char *hosts)
{
	List	   *result = NIL;
	char	   *copy = str_tolower(hosts, strlen(hosts), C_COLLATION_OID);
	char	   *rest = NULL;

	for (char *host = strtok_r(copy, ", ", &rest); host != NULL; host = strtok_r(NULL, ", ", &rest))
	{
		char	   *scheme = strstr(host, "://");
		char	   *port;

		if (scheme != NULL)
			host = scheme + 3;
		port = strrchr(host, ':');
		if (port == NULL || strchr(port, ']') != NULL)
			host = psprintf("%s:9092", host);
		result = lappend(result, host);
	}
	return result;
}

static bool
have_common_broker(const char *a, const char *b)
{
	List	   *hosts_b = split_hosts(b);
	ListCell   *la;
	ListCell   *lb;

	foreach(la, split_hosts(a))
	{
		foreach(lb, hosts_b)
			if (strcmp(lfirst(la), lfirst(lb)) == 0)
				return true;
	}
	return false;
}

/* Have both told the same id? */
static bool
have_same_id(const char *a, const char *b)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {CStringGetTextDatum(a), CStringGetTextDatum(b)};
	EventlogCatalogSql session;
	bool		same;

	eventlog_mirror_sql_begin(&session);
	if (SPI_execute_with_args("SELECT FROM eventlog.mirror_cluster a JOIN eventlog.mirror_cluster b"
							  " ON a.cluster_id OPERATOR(pg_catalog.=) b.cluster_id"
							  " WHERE a.brokers OPERATOR(pg_catalog.=) $1"
							  " AND b.brokers OPERATOR(pg_catalog.=) $2",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read eventlog.mirror_cluster");
	same = SPI_processed > 0;
	eventlog_catalog_sql_end(&session);
	return same;
}

/* Are they one cluster, as far as is known? */
static bool
same_cluster(const char *a, const char *b)
{
	char	   *hosts_a;
	char	   *hosts_b;

	if (strcmp(a, b) == 0)
		return true;
	hosts_a = server_hosts(a);
	hosts_b = server_hosts(b);
	return hosts_a != NULL && hosts_b != NULL &&
		(have_common_broker(hosts_a, hosts_b) || have_same_id(hosts_a, hosts_b));
}

/*
 * Write down which cluster the pair's brokers are, if that is new; an empty id
 * says that they do not tell.  What no server names any more goes.  The brokers
 * are those that were asked: the server may have been given others since.
 */
static void
note_cluster(const EventlogMirrorPair *pair, const char *id)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];
	const char *brokers = NULL;

	for (int i = 0; i < pair->noptions; i++)
		if (strcmp(pair->options[i].name, BROKERS_OPTION) == 0)
			brokers = pair->options[i].value;
	if (brokers == NULL)
		return;
	values[0] = CStringGetTextDatum(brokers);
	values[1] = CStringGetTextDatum(id);
	eventlog_catalog_sql_execute("mirror_cluster", "mirrors",
								 "DELETE FROM eventlog.mirror_cluster c WHERE CASE WHEN brokers OPERATOR(pg_catalog.=) $1"
								 " THEN cluster_id OPERATOR(pg_catalog.<>) $2"
								 " ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_foreign_server s,"
								 " LATERAL pg_catalog.pg_options_to_table(s.srvoptions) o"
								 " WHERE o.option_name OPERATOR(pg_catalog.=) '" BROKERS_OPTION "'"
								 " AND o.option_value OPERATOR(pg_catalog.=) c.brokers) END",
								 2, types, values, NULL);
	eventlog_catalog_sql_execute("mirror_cluster", "mirrors",
								 "INSERT INTO eventlog.mirror_cluster (brokers, cluster_id) SELECT $1, $2"
								 " WHERE $2 OPERATOR(pg_catalog.<>) '' AND NOT EXISTS"
								 " (SELECT FROM eventlog.mirror_cluster WHERE brokers OPERATOR(pg_catalog.=) $1)",
								 2, types, values, NULL);
}

/* ---- loops and doubles ---- */

/* Does the mirror take this pair of topics? */
static bool
takes_pair(const EventlogMirror *mirror, const char *topic, const char *kafka_topic)
{
	char	   *target;

	if (!mirror->pattern)
		return strcmp(mirror->topic, topic) == 0 && strcmp(mirror->kafka_topic, kafka_topic) == 0;
	target = eventlog_mirror_map_topic(mirror, mirror->out ? topic : kafka_topic);
	return target != NULL && strcmp(target, mirror->out ? kafka_topic : topic) == 0;
}

/* Does this one count?  A mirror is never against itself. */
static bool
counts(const EventlogMirror *other, const EventlogMirror *mirror, bool at_work)
{
	return other->id != mirror->id &&
		(!at_work || (!other->paused && other->stopped == NULL && eventlog_mirror_is_home(other)));
}

char *
eventlog_mirror_find_loop(const EventlogMirror *mirror, const char *topic, const char *kafka_topic,
						  bool at_work)
{
	List	   *others = eventlog_mirror_load_list(NULL);
	ListCell   *lc;

	foreach(lc, others)
	{
		EventlogMirror *other = lfirst(lc);

		if (counts(other, mirror, at_work) && other->out != mirror->out &&
			(topic != NULL ? takes_pair(other, topic, kafka_topic) :
			 !other->pattern && takes_pair(mirror, other->topic, other->kafka_topic)) &&
			same_cluster(other->server, mirror->server))
			return other->name;
	}
	return NULL;
}

char *
eventlog_mirror_find_double(const EventlogMirror *mirror, bool at_work)
{
	List	   *others = eventlog_mirror_load_list(NULL);
	ListCell   *lc;

	foreach(lc, others)
	{
		EventlogMirror *other = lfirst(lc);

		if (counts(other, mirror, at_work) && other->out == mirror->out &&
			strcmp(other->topic, mirror->topic) == 0 &&
			strcmp(other->kafka_topic, mirror->kafka_topic) == 0 &&
			same_cluster(other->server, mirror->server))
			return other->name;
	}
	return NULL;
}

/* ---- admission ---- */

/* Why the mirror must not go on; NULL if it may. */
static char *
find_objection(const EventlogMirror *mirror)
{
	char	   *other = eventlog_mirror_find_double(mirror, true);

	if (other != NULL)
		return psprintf("mirror \"%s\" does that already: both servers are the same Kafka cluster", other);
	other = eventlog_mirror_find_loop(mirror, mirror->pattern ? NULL : mirror->topic,
									  mirror->kafka_topic, true);
	if (other != NULL)
		return psprintf("mirror \"%s\" goes the other way between the same topics: both servers are the same"
						" Kafka cluster, and records would go round for ever."
						" Let one of the two have a topic of its own, or pause or drop one", other);
	return NULL;
}

/* May the pair be mirrored?  If not, its mirror stops, or leaves it out. */
static bool
may_go_on(EventlogMirrorPair *pair)
{
	const EventlogMirror *mirror = pair->mirror;
	const char *source = mirror->out ? pair->topic : pair->kafka_topic;
	char	   *objection = find_objection(mirror);

	if (objection != NULL)
	{
		eventlog_mirror_pair_stop(pair, EVENTLOG_MIRROR_STOPPED, objection);
		return false;
	}
	if (!mirror->pattern || eventlog_mirror_is_pattern(source))
		return true;
	pair->left_out = eventlog_mirror_would_loop(mirror, pair->topic, pair->kafka_topic);
	if (pair->left_out)
		eventlog_mirror_pair_phase(pair, EVENTLOG_MIRROR_STREAMING, NULL);
	return !pair->left_out;
}

bool
eventlog_mirror_would_loop(const EventlogMirror *mirror, const char *topic, const char *kafka_topic)
{
	char	   *other = eventlog_mirror_find_loop(mirror, topic, kafka_topic, true);

	if (other != NULL)
		ereport(LOG,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("mirror \"%s\" leaves out topic \"%s\"", mirror->name,
						mirror->out ? topic : kafka_topic),
				 errdetail("Mirror \"%s\" goes the other way.", other)));
	return other != NULL;
}

bool
eventlog_mirror_pair_admit(EventlogMirrorPair *pair, const char *cluster)
{
	char		id[EVENTLOG_MIRROR_CLUSTER_BYTES];
	bool		may;

	/* bytes of a broker's */
	strlcpy(id, cluster, sizeof(id));
	for (char *p = id; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	if (pair->admitted && strcmp(pair->cluster, id) == 0)
		return true;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	eventlog_mirror_lock_admission();
	note_cluster(pair, id);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	may = may_go_on(pair);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pair->admitted = may;
	strlcpy(pair->cluster, id, sizeof(pair->cluster));
	return may;
}
