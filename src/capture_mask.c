/*-------------------------------------------------------------------------
 *
 * capture_mask.c
 *	  Columns of which the values are hidden: by asterisks, by a hash, or by
 *	  cutting them.
 *
 * Debezium masks and hashes only columns of character types, and lets others
 * pass in the clear, without a word.  Here a mask hides whatever column it is
 * for, unless compatibility is asked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/md5.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "capture_event.h"

/* Java's serialized form of a string: a header, a type, a length, the bytes. */
#define JAVA_STREAM		"\xAC\xED\x00\x05"
#define JAVA_STRING		'\x74'
#define JAVA_LONGSTRING	'\x7C'

#define MAX_DIGEST	PG_SHA512_DIGEST_LENGTH

/* Asterisks, or characters that are left. */
#define MAX_LENGTH	1000000

/* --- the properties --- */

static void
read_hash_algorithm(EventlogMask *mask, const char *property, const char *name)
{
	static const struct
	{
		const char *name;
		pg_cryptohash_type type;
		int32		digits;
	}			algorithms[] = {
		{"MD5", PG_MD5, MD5_DIGEST_LENGTH * 2},
		{"SHA-1", PG_SHA1, 40},
		{"SHA1", PG_SHA1, 40},
		{"SHA", PG_SHA1, 40},
		{"SHA-224", PG_SHA224, PG_SHA224_DIGEST_LENGTH * 2},
		{"SHA-256", PG_SHA256, PG_SHA256_DIGEST_LENGTH * 2},
		{"SHA-384", PG_SHA384, PG_SHA384_DIGEST_LENGTH * 2},
		{"SHA-512", PG_SHA512, PG_SHA512_DIGEST_LENGTH * 2},
	};

	for (int i = 0; i < (int) lengthof(algorithms); i++)
	{
		if (pg_strcasecmp(algorithms[i].name, name) == 0)
		{
			mask->algorithm = algorithms[i].type;
			mask->length = algorithms[i].digits;
			return;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown hash algorithm \"%s\" in property \"%s\" of a capture", name, property),
			 errhint("There are MD5, SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512.")));
}

/* column.mask.hash.[v2.]ALGORITHM.with.salt.SALT; rest is after "hash." */
static void
read_hash_mask(EventlogMask *mask, const char *property, const char *rest)
{
	static const char middle[] = ".with.salt.";
	const char *salt;

	mask->kind = EVENTLOG_MASK_HASH;
	mask->java_object = strncmp(rest, "v2.", 3) != 0;
	if (!mask->java_object)
		rest += 3;
	salt = strstr(rest, middle);
	if (salt == NULL || salt == rest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown property \"%s\" of a capture", property),
				 errhint("The form is column.mask.hash.v2.ALGORITHM.with.salt.SALT.")));
	read_hash_algorithm(mask, property, pnstrdup(rest, salt - rest));
	mask->salt = pstrdup(salt + strlen(middle));
}

/* column.mask.with.N.chars, column.truncate.to.N.chars; rest begins with N */
static void
read_length_mask(EventlogMask *mask, const char *property, const char *rest)
{
	const char *end = strstr(rest, ".chars");

	if (end == NULL || strcmp(end, ".chars") != 0 || end == rest ||
		strspn(rest, "0123456789") != (size_t) (end - rest))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown property \"%s\" of a capture", property),
				 errhint("There are column.mask.with.N.chars and column.truncate.to.N.chars.")));
	mask->length = MAX_LENGTH;
	if (end - rest <= 6)
		mask->length = pg_strtoint32(pnstrdup(rest, end - rest));
}

bool
eventlog_mask_parse(EventlogMask *mask, const char *property)
{
	static const char chars[] = "column.mask.with.";
	static const char hash[] = "column.mask.hash.";
	static const char truncate[] = "column.truncate.to.";

	if (strncmp(property, chars, strlen(chars)) == 0)
	{
		mask->kind = EVENTLOG_MASK_CHARS;
		read_length_mask(mask, property, property + strlen(chars));
	}
	else if (strncmp(property, truncate, strlen(truncate)) == 0)
	{
		mask->kind = EVENTLOG_MASK_TRUNCATE;
		read_length_mask(mask, property, property + strlen(truncate));
	}
	else if (strncmp(property, hash, strlen(hash)) == 0)
		read_hash_mask(mask, property, property + strlen(hash));
	else
		return false;
	return true;
}

/* --- the columns --- */

/* Is it a type that JDBC calls CHAR or VARCHAR? */
static bool
is_character_type(const EventlogTypeDesc *type)
{
	if (type->kind == EVENTLOG_TYPE_ENUM)
		return true;
	if (type->kind != EVENTLOG_TYPE_BASE)
		return false;
	switch (type->oid)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case CHAROID:
			return true;
		default:
			return strcmp(type->name, "citext") == 0;
	}
}

/* Is its JSON a string of the characters that the server prints? */
static bool
is_printed_as_text(const EventlogTypeDesc *type)
{
	if (is_character_type(type))
		return true;
	switch (type->oid)
	{
		case JSONOID:
		case JSONBOID:
		case XMLOID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
			return true;
		default:
			return type->kind == EVENTLOG_TYPE_RANGE;
	}
}

/* The declared length of char(n) and varchar(n); -1 without one. */
static int32
declared_length(const EventlogTypeDesc *type)
{
	if ((type->oid == VARCHAROID || type->oid == BPCHAROID) && type->typmod >= (int32) VARHDRSZ)
		return type->typmod - VARHDRSZ;
	return -1;
}

void
eventlog_mask_prepare(EventlogEncoder *encoder, EventlogField *field,
					  const EventlogColumnDesc *column, const char *full_name)
{
	const EventlogEncoderConfig *ec = encoder->ec;
	int32		declared = declared_length(column->type);

	field->compatible = encoder->config->compatible;
	field->not_null = column->not_null;
	field->placeholder = encoder->config->values.placeholder;
	for (int i = 0; i < ec->nmasks; i++)
	{
		const EventlogMask *mask = &ec->masks[i];

		if (!eventlog_patterns_match(&mask->columns, full_name))
			continue;
		field->binary = column->type->oid == BYTEAOID;
		field->mask_length = mask->length;

		/* Debezium's schema says so even of a column that it then leaves in the clear */
		if (mask->kind != EVENTLOG_MASK_TRUNCATE)
			field->mask_parameter = "\"masked\":\"true\"";
		else if (declared < 0 || declared > mask->length)
			field->mask_parameter = psprintf("\"truncateLength\":\"%d\"", mask->length);

		if (mask->kind == EVENTLOG_MASK_TRUNCATE ?
			field->mask_parameter == NULL || (!field->binary && !is_printed_as_text(column->type)) :
			field->compatible && !is_character_type(column->type))
			return;
		field->mask_makes_text = mask->kind != EVENTLOG_MASK_TRUNCATE &&
			!is_printed_as_text(column->type);
		if (mask->kind == EVENTLOG_MASK_HASH && declared > 0)
			field->mask_length = Min(mask->length, declared);
		field->mask = mask;
		return;
	}
}

/* --- values --- */

static pg_noinline void
hash_failed(pg_cryptohash_ctx *ctx)
{
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("could not hash a column's value: %s", pg_cryptohash_error(ctx))));
}

/* The digest of salt and text, as many of its hexadecimal digits as wanted. */
static void
write_hash(EventlogBuf *out, const EventlogField *field, const char *text, int32 len)
{
	static const char digits[] = "0123456789abcdef";
	const EventlogMask *mask = field->mask;
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(mask->algorithm);
	uint8		head[13];
	int			head_len = 0;
	uint8		digest[MAX_DIGEST];
	char		hex[MAX_DIGEST * 2];

	if (mask->java_object)
	{
		int			bytes = len > PG_UINT16_MAX ? 8 : 2;

		memcpy(head, JAVA_STREAM, 4);
		head[4] = bytes == 8 ? JAVA_LONGSTRING : JAVA_STRING;
		for (int i = 0; i < bytes; i++)
			head[5 + i] = (uint8) ((uint64) len >> (8 * (bytes - 1 - i)));
		head_len = 5 + bytes;
	}
	if (ctx == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) mask->salt, strlen(mask->salt)) < 0 ||
		pg_cryptohash_update(ctx, head, head_len) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) text, len) < 0 ||
		pg_cryptohash_final(ctx, digest, mask->length / 2) < 0)
		hash_failed(ctx);
	pg_cryptohash_free(ctx);

	for (int i = 0; i < mask->length / 2; i++)
	{
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	eventlog_json_literal(out, "\"");
	eventlog_json_raw(out, hex, field->mask_length);
	eventlog_json_literal(out, "\"");
}

/* The bytes that so many UTF-16 code units take; half a pair is left out. */
static int32
clip(const char *text, int32 len, int32 units)
{
	int32		at = 0;

	while (at < len && units > 0)
	{
		int			bytes = pg_utf_mblen((const unsigned char *) text + at);

		units -= bytes >= 4 ? 2 : 1;
		if (units < 0 || at + bytes > len)
			break;
		at += bytes;
	}
	return at;
}

/* A text, hashed or cut. */
static void
write_text(EventlogBuf *out, const EventlogField *field, const char *text, int32 len)
{
	if (field->mask->kind == EVENTLOG_MASK_HASH)
		write_hash(out, field, text, len);
	else
		eventlog_json_string(out, text, clip(text, len, field->mask_length));
}

/*
 * Debezium masks, hashes and cuts also what it puts in place of values that the
 * WAL does not tell; ours is left to be seen as what it is.  bytea is two
 * digits for each byte, after \x.
 */
void
eventlog_mask_write(EventlogBuf *out, const EventlogField *field,
					const EventlogColumnValue *value, char kind)
{
	const EventlogMask *mask = field->mask;

	if (mask->kind == EVENTLOG_MASK_CHARS)
	{
		eventlog_json_literal(out, "\"");
		eventlog_buf_reserve(out, mask->length);
		memset(out->data + out->len, '*', mask->length);
		out->len += mask->length;
		eventlog_json_literal(out, "\"");
	}
	else if (value->kind == 'u' && field->compatible && !field->binary)
		write_text(out, field, field->placeholder, (int32) strlen(field->placeholder));
	else if (value->kind == 'u')
		eventlog_value_write_unavailable(out, field->plan);
	else if (value->kind == 'n' && kind == 'K' && field->not_null && mask->kind == EVENTLOG_MASK_HASH)
		write_text(out, field, "", 0);
	else if (value->kind == 'n' && kind == 'K')
		eventlog_value_write_missing(out, field->plan);
	else if (value->kind == 'n')
		eventlog_value_write_null(out, field->plan);
	else if (field->binary && mask->kind == EVENTLOG_MASK_TRUNCATE)
		eventlog_value_write(out, field->plan, value->text,
							 Min(value->len, 2 + 2 * field->mask_length));
	else
		write_text(out, field, value->text, value->len);
}
