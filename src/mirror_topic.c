/*-------------------------------------------------------------------------
 *
 * mirror_topic.c
 *	  Which topics a mirror takes: rights, patterns, loops.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/syscache.h"

#include "capture_start.h"
#include "mirror.h"
#include "topic.h"

void
eventlog_mirror_check_target(Oid role, const EventlogTopic *topic)
{
	HeapTuple	tuple;
	Oid			owner;

	eventlog_topic_check_acl(topic, ACL_INSERT);
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(topic->relid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for topic \"%s\"", topic->name);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (!eventlog_capture_trusts(role, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("topic \"%s\" belongs to another role than the mirror", topic->name),
				 errdetail("What role \"%s\", which owns the topic, has its triggers do would be done in the name of role \"%s\".",
						   GetUserNameFromId(owner, false), GetUserNameFromId(role, true)),
				 errhint("Have the topic's owner create the mirror, or grant that role to the mirror's owner.")));
}

void
eventlog_mirror_check_topic(Oid role, const char *name, bool out)
{
	EventlogTopic *topic = eventlog_topic_by_name(name, false);
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	if (user != role)
		SetUserIdAndSecContext(role, context | SECURITY_LOCAL_USERID_CHANGE);
	if (out)
		eventlog_topic_check_acl(topic, ACL_SELECT);
	else
		eventlog_mirror_check_target(role, topic);
	if (user != role)
		SetUserIdAndSecContext(user, context);
}

static bool
matches(const char *name, const char *pattern)
{
	return DatumGetBool(DirectFunctionCall2Coll(textregexeq, C_COLLATION_OID,
												CStringGetTextDatum(name),
												CStringGetTextDatum(pattern)));
}

char *
eventlog_mirror_map_topic(const EventlogMirror *mirror, const char *source)
{
	const char *pattern = mirror->out ? mirror->topic : mirror->kafka_topic;
	const char *target = mirror->out ? mirror->kafka_topic : mirror->topic;

	if (!mirror->pattern)
		return strcmp(source, pattern) == 0 ? pstrdup(target) : NULL;
	if (!matches(source, pattern) ||
		(mirror->config != NULL && mirror->config->exclude != NULL &&
		 matches(source, mirror->config->exclude)))
		return NULL;

	/* the same text, or another pattern, says that names stay */
	if (eventlog_mirror_is_pattern(target))
		return pstrdup(source);
	return text_to_cstring(DatumGetTextPP(DirectFunctionCall3Coll(textregexreplace_noopt,
																  C_COLLATION_OID,
																  CStringGetTextDatum(source),
																  CStringGetTextDatum(pattern),
																  CStringGetTextDatum(target))));
}

/* ---- loops ---- */

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

		if (strcmp(option->defname, "bootstrap.servers") == 0)
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

/* Are they one cluster, as far as can be told without asking it? */
static bool
same_cluster(const char *a, const char *b)
{
	char	   *hosts_a;
	char	   *hosts_b;

	if (strcmp(a, b) == 0)
		return true;
	hosts_a = server_hosts(a);
	hosts_b = server_hosts(b);
	return hosts_a != NULL && hosts_b != NULL && have_common_broker(hosts_a, hosts_b);
}

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

char *
eventlog_mirror_find_loop(const EventlogMirror *mirror, const char *topic, const char *kafka_topic)
{
	List	   *others = eventlog_mirror_load_list(NULL);
	ListCell   *lc;

	foreach(lc, others)
	{
		EventlogMirror *other = lfirst(lc);

		if (other->id == mirror->id || other->out == mirror->out ||
			!same_cluster(other->server, mirror->server))
			continue;
		if (topic != NULL ? takes_pair(other, topic, kafka_topic) :
			!other->pattern && takes_pair(mirror, other->topic, other->kafka_topic))
			return other->name;
	}
	return NULL;
}

char *
eventlog_mirror_find_double(const EventlogMirror *mirror)
{
	List	   *others = eventlog_mirror_load_list(NULL);
	ListCell   *lc;

	foreach(lc, others)
	{
		EventlogMirror *other = lfirst(lc);

		if (other->id != mirror->id && other->out == mirror->out &&
			same_cluster(other->server, mirror->server) &&
			strcmp(other->topic, mirror->topic) == 0 &&
			strcmp(other->kafka_topic, mirror->kafka_topic) == 0)
			return other->name;
	}
	return NULL;
}
