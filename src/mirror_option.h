/*-------------------------------------------------------------------------
 *
 * mirror_option.h
 *	  Options of Kafka clusters: which of librdkafka's are allowed, and where.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_MIRROR_OPTION_H
#define EVENTLOG_MIRROR_OPTION_H

/* Where an option may be given. */
#define EVENTLOG_OPTION_SERVER		0x01
#define EVENTLOG_OPTION_MAPPING		0x02	/* user mapping */
#define EVENTLOG_OPTION_MIRROR		0x04	/* configuration of a mirror */

/* Name and value as librdkafka takes them; laid out as EventlogKafkaOption. */
typedef struct EventlogMirrorOption
{
	const char *name;
	const char *value;
} EventlogMirrorOption;

/* Name of the foreign-data wrapper. */
#define EVENTLOG_MIRROR_WRAPPER		"eventlog_kafka"

/* Is this an option that may be given in a mirror's configuration? */
extern bool eventlog_mirror_option_is_for_mirrors(const char *name);

/*
 * Raise unless the option may be given at "where", with this value.  The
 * error names the option, never the value of a secret.
 * ERRCODE_FDW_INVALID_OPTION_NAME: unknown, refused, or not there.
 * ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE: the value does not fit.
 * ERRCODE_INSUFFICIENT_PRIVILEGE: it names a file, and the role "reader" may
 * not read the server's files (InvalidOid: not checked).
 */
extern void eventlog_mirror_option_check(const char *name, const char *value, int where,
										 Oid reader);

/*
 * Options for a connection to a server in the name of a role: those of the
 * server, then those of the role's user mapping, or PUBLIC's, if there is one.
 * palloc'd in the current context.  All rights are checked again: the role has
 * USAGE on the server, the server's owner USAGE on the wrapper, and who has
 * files named may read them.  *serverid is the server's oid.
 *
 * Errors: ERRCODE_UNDEFINED_OBJECT, ERRCODE_INSUFFICIENT_PRIVILEGE,
 * ERRCODE_WRONG_OBJECT_TYPE (a server of another wrapper), and those above.
 */
extern int	eventlog_mirror_options_load(const char *server, Oid role, Oid *serverid,
										 EventlogMirrorOption **options);

/* Keep the server, if there is one, from being dropped or renamed meanwhile. */
extern void eventlog_mirror_lock_server(const char *server);

/* The server alone, with the same checks of rights for it. */
extern Oid	eventlog_mirror_server(const char *server, Oid role);

#endif							/* EVENTLOG_MIRROR_OPTION_H */
