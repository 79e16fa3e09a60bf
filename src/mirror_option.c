/*-------------------------------------------------------------------------
 *
 * mirror_option.c
 *	  Options of Kafka servers and user mappings: checked when they are set, and
 *	  collected for a connection.
 *
 * The server calls the validator for each object with options of the wrapper,
 * with all of the object's options, in the name of the user who sets them.  No
 * message of ours ever has the value of an option that is a secret, or that
 * could be one because the user mistook its name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "mirror.h"
#include "mirror_option.h"
#include "mirror_option_table.h"

PG_FUNCTION_INFO_V1(eventlog_kafka_validator);
PG_FUNCTION_INFO_V1(eventlog_kafka_options);

/* Longest value that is taken, a chain of certificates included. */
#define MAX_VALUE_BYTES		65536

static const char *
place_name(int where)
{
	return where == EVENTLOG_OPTION_SERVER ? "a server" :
		where == EVENTLOG_OPTION_MAPPING ? "a user mapping" : "the configuration of a mirror";
}

/* "servers and user mappings", where an option can be given */
static char *
list_places(int where)
{
	static const char *const names[] = {"servers", "user mappings", "the configuration of mirrors"};
	StringInfoData buf;
	int			left = 0;

	for (int i = 0; i < lengthof(names); i++)
		left += (where >> i) & 1;
	initStringInfo(&buf);
	for (int i = 0; i < lengthof(names); i++)
	{
		if ((where & (1 << i)) == 0)
			continue;
		appendStringInfoString(&buf, names[i]);
		left--;
		if (left > 0)
			appendStringInfoString(&buf, left == 1 ? " and " : ", ");
	}
	return buf.data;
}

/* ---- values ---- */

static pg_noinline void
bad_value(const EventlogOptionRule *rule, const char *name, const char *value,
		  const char *expected, const char *hint)
{
	bool		hidden = rule->secret || rule->kind == EVENTLOG_OPTION_STRING ||
		rule->kind == EVENTLOG_OPTION_PEM;

	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 hidden ? errmsg("invalid value for option \"%s\"", name) :
			 errmsg("invalid value for option \"%s\": \"%s\"", name, eventlog_mirror_clip_name(value)),
			 errdetail("Expected is %s.", expected),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* "a, b, c", from " a b c " */
static char *
list_words(const char *words)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const char *p = words + 1; *p != '\0'; p++)
	{
		if (*p != ' ')
			appendStringInfoChar(&buf, *p);
		else if (p[1] != '\0')
			appendStringInfoString(&buf, ", ");
	}
	return buf.data;
}

static char *
describe_values(const EventlogOptionRule *rule)
{
	switch (rule->kind)
	{
		case EVENTLOG_OPTION_STRING:
			return pstrdup("text without control characters");
		case EVENTLOG_OPTION_INT:
			return psprintf("a whole number from " INT64_FORMAT " to " INT64_FORMAT,
							rule->min, rule->max);
		case EVENTLOG_OPTION_BOOL:
			return pstrdup("true or false");
		case EVENTLOG_OPTION_WORD:
			return psprintf("one of %s", list_words(rule->words));
		case EVENTLOG_OPTION_HOSTS:
			return pstrdup("a list of host:port, with commas between");
		case EVENTLOG_OPTION_PEM:
			return pstrdup("text in PEM format");
		case EVENTLOG_OPTION_FILE:
			return pstrdup("an absolute path on this server");
		case EVENTLOG_OPTION_REFUSED:
			break;
	}
	return pstrdup("nothing");
}

static bool
is_int(const char *value, int64 min, int64 max)
{
	char	   *end;
	int64		number;

	errno = 0;
	number = strtoi64(value, &end, 10);
	return errno == 0 && end != value && *end == '\0' && number >= min && number <= max;
}

static bool
is_word(const char *value, const char *words)
{
	size_t		len = strlen(value);

	if (len == 0 || strchr(value, ' ') != NULL)
		return false;
	for (const char *p = words; *p == ' ' && p[1] != '\0';)
	{
		const char *end = strchr(p + 1, ' ');

		if ((size_t) (end - p - 1) == len && pg_strncasecmp(p + 1, value, len) == 0)
			return true;
		p = end;
	}
	return false;
}

/* Characters of hosts, ports and IPv6 addresses, schemes included. */
static bool
is_host_list(const char *value)
{
	bool		has_host = false;

	for (const char *p = value; *p != '\0'; p++)
	{
		unsigned char c = (unsigned char) *p;

		if (isalnum(c) || (c & 0x80) != 0)
			has_host = true;
		else if (strchr(".:[]-_,/% ", c) == NULL)
			return false;
	}
	return has_host;
}

static bool
has_control_characters(const char *value, bool lines)
{
	for (const char *p = value; *p != '\0'; p++)
	{
		unsigned char c = (unsigned char) *p;

		if ((c < ' ' && !(lines && (c == '\n' || c == '\r' || c == '\t'))) || c == 0x7f)
			return true;
	}
	return false;
}

static bool
fits(const EventlogOptionRule *rule, const char *value)
{
	if (has_control_characters(value, rule->kind == EVENTLOG_OPTION_PEM))
		return false;
	switch (rule->kind)
	{
		case EVENTLOG_OPTION_STRING:
			return true;
		case EVENTLOG_OPTION_INT:
			return is_int(value, rule->min, rule->max);
		case EVENTLOG_OPTION_BOOL:
			return strcmp(value, "true") == 0 || strcmp(value, "false") == 0;
		case EVENTLOG_OPTION_WORD:
			return is_word(value, rule->words);
		case EVENTLOG_OPTION_HOSTS:
			return is_host_list(value);
		case EVENTLOG_OPTION_PEM:
			return strstr(value, "-----BEGIN ") != NULL;
		case EVENTLOG_OPTION_FILE:
			return is_absolute_path(value);
		case EVENTLOG_OPTION_REFUSED:
			break;
	}
	return false;
}

/* ---- checking ---- */

bool
eventlog_mirror_option_is_for_mirrors(const char *name)
{
	const EventlogOptionRule *rule = eventlog_option_rule(name);

	return rule != NULL && (rule->where & EVENTLOG_OPTION_MIRROR) != 0;
}

static void
check_name(const char *name, const EventlogOptionRule *rule, int where)
{
	if (rule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("unknown option \"%s\" of a Kafka server", name),
				 errhint("eventlog.kafka_options() lists those that there are.")));
	if (rule->kind == EVENTLOG_OPTION_REFUSED)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" of a Kafka server is not allowed", name),
				 errdetail("%s", rule->note),
				 errhint("eventlog.kafka_options() lists those that are.")));
	if ((rule->where & where) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" does not belong to %s", name, place_name(where)),
				 rule->secret ? errdetail("It is a secret, and others can read what is given there.") : 0,
				 errhint("It belongs to %s.", list_places(rule->where))));
}

static void
check_reader(const char *name, Oid reader)
{
	if (OidIsValid(reader) && !has_privs_of_role(reader, ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for option \"%s\"", name),
				 errdetail("It names a file of the server, and role \"%s\" does not have the privileges of role \"pg_read_server_files\".",
						   GetUserNameFromId(reader, false)),
				 errhint("Options whose names end in \"pem\" take the text itself.")));
}

void
eventlog_mirror_option_check(const char *name, const char *value, int where, Oid reader)
{
	const EventlogOptionRule *rule = eventlog_option_rule(name);

	check_name(name, rule, where);
	if (rule->kind == EVENTLOG_OPTION_FILE)
		check_reader(name, reader);
	if (strlen(value) > MAX_VALUE_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("value of option \"%s\" is too long", name),
				 errdetail("It has %zu bytes; %d is the most.", strlen(value), MAX_VALUE_BYTES)));
	if (!fits(rule, value))
		bad_value(rule, name, value, describe_values(rule), rule->note);
}

/* What must not be together in a server's options, or must be there. */
static void
check_server(List *options)
{
	ListCell   *lc;
	bool		hosts = false;

	foreach(lc, options)
	{
		if (strcmp(((DefElem *) lfirst(lc))->defname, "bootstrap.servers") == 0)
			hosts = true;
	}
	if (!hosts)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("a Kafka server needs the option \"bootstrap.servers\""),
				 errhint("For example: OPTIONS (\"bootstrap.servers\" 'kafka1:9092,kafka2:9092').")));
}

/* kafka_validator(options text[], catalog oid) */
Datum
eventlog_kafka_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	int			where = 0;
	ListCell   *lc;

	if (catalog == ForeignServerRelationId)
		where = EVENTLOG_OPTION_SERVER;
	else if (catalog == UserMappingRelationId)
		where = EVENTLOG_OPTION_MAPPING;
	else if (catalog == ForeignTableRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("Kafka topics cannot be foreign tables"),
				 errhint("Use eventlog.create_mirror().")));
	else if (options != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("unknown option \"%s\" of foreign-data wrapper eventlog_kafka",
						((DefElem *) linitial(options))->defname),
				 errhint("Options belong to servers and user mappings.")));

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		eventlog_mirror_option_check(option->defname, defGetString(option), where, GetUserId());
	}
	if (where == EVENTLOG_OPTION_SERVER)
		check_server(options);
	PG_RETURN_VOID();
}

/* ---- collecting ---- */

Oid
eventlog_mirror_server(const char *name, Oid role)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	ForeignDataWrapper *wrapper;

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint("Create it by CREATE SERVER %s FOREIGN DATA WRAPPER %s.",
						 quote_identifier(name), EVENTLOG_MIRROR_WRAPPER)));
	wrapper = GetForeignDataWrapper(server->fdwid);
	if (strcmp(wrapper->fdwname, EVENTLOG_MIRROR_WRAPPER) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not a Kafka cluster", name),
				 errdetail("Its foreign-data wrapper is \"%s\", not \"%s\".",
						   wrapper->fdwname, EVENTLOG_MIRROR_WRAPPER)));
	if (eventlog_server_aclcheck(server->serverid, role, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", name),
				 errdetail("Role \"%s\" does not have USAGE on it.", GetUserNameFromId(role, false))));
	if (eventlog_wrapper_aclcheck(server->fdwid, server->owner, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign-data wrapper %s", EVENTLOG_MIRROR_WRAPPER),
				 errdetail("Role \"%s\", which owns server \"%s\", may not have this server connect to Kafka clusters.",
						   GetUserNameFromId(server->owner, false), name),
				 errhint("Use GRANT USAGE ON FOREIGN DATA WRAPPER %s.", EVENTLOG_MIRROR_WRAPPER)));
	return server->serverid;
}

void
eventlog_mirror_lock_server(const char *name)
{
	Oid			serverid = get_foreign_server_oid(name, true);

	if (OidIsValid(serverid))
		LockDatabaseObject(ForeignServerRelationId, serverid, 0, AccessShareLock);
}

/* Options of the role's user mapping, or of that for PUBLIC; NIL: none. */
static List *
load_mapping(Oid serverid, Oid role)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
										ObjectIdGetDatum(serverid));
	List	   *options = NIL;
	Datum		datum;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

static int
add_options(EventlogMirrorOption *result, int n, List *options, int where, Oid reader)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		result[n].name = pstrdup(option->defname);
		result[n].value = pstrdup(defGetString(option));
		eventlog_mirror_option_check(result[n].name, result[n].value, where, reader);
		n++;
	}
	return n;
}

int
eventlog_mirror_options_load(const char *name, Oid role, Oid *serverid,
							 EventlogMirrorOption **options)
{
	ForeignServer *server;
	List	   *mapping;
	int			n;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that owns the mirror has been dropped"),
				 errhint("A superuser can drop the mirror.")));
	*serverid = eventlog_mirror_server(name, role);
	server = GetForeignServer(*serverid);
	mapping = load_mapping(*serverid, role);
	*options = palloc(sizeof(EventlogMirrorOption) *
					  Max(list_length(server->options) + list_length(mapping), 1));
	n = add_options(*options, 0, server->options, EVENTLOG_OPTION_SERVER, server->owner);
	return add_options(*options, n, mapping, EVENTLOG_OPTION_MAPPING, role);
}

/* ---- listing ---- */

/* kafka_options() */
Datum
eventlog_kafka_options(PG_FUNCTION_ARGS)
{
	static const char *const places[] = {"server", "user mapping", "mirror"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < eventlog_noption_rules; i++)
	{
		const EventlogOptionRule *rule = &eventlog_option_rules[i];
		bool		refused = rule->kind == EVENTLOG_OPTION_REFUSED;
		Datum		values[6];
		bool		nulls[6] = {0};
		Datum		allowed[lengthof(places)];
		int			nallowed = 0;

		for (int p = 0; p < lengthof(places); p++)
		{
			if (rule->where & (1 << p))
				allowed[nallowed++] = CStringGetTextDatum(places[p]);
		}
		values[0] = CStringGetTextDatum(rule->name);
		values[1] = PointerGetDatum(construct_array(allowed, nallowed, TEXTOID, -1, false,
													TYPALIGN_INT));
		nulls[2] = refused;
		values[2] = refused ? (Datum) 0 : CStringGetTextDatum(describe_values(rule));
		values[3] = BoolGetDatum(rule->secret);
		values[4] = BoolGetDatum(rule->kind == EVENTLOG_OPTION_FILE);
		nulls[5] = rule->note == NULL;
		values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(rule->note);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
