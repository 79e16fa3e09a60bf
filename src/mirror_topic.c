/*-------------------------------------------------------------------------
 *
 * mirror_topic.c
 *	  Which topics a mirror takes: rights, patterns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
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
