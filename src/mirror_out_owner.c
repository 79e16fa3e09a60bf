/*-------------------------------------------------------------------------
 *
 * mirror_out_owner.c
 *	  A mirror from a topic to Kafka: whose it is, and whether the positions
 *	  that Kafka has are of our log.
 *
 * A broker does not tell a producer that another one has taken its
 * transactional id from one whose transaction took too long, and two servers,
 * such as a promoted standby and the primary it was made from, do not see each
 * other.  So each position that is committed in Kafka carries, as its metadata,
 * a token of who committed it: a term, which resume_mirror() raises, the
 * timeline, and the number of the worker.  Tokens have an order.  Whoever finds
 * one that is above its own has been succeeded, and stays away; whoever has the
 * highest one goes on, even if it has just been fenced.  So the two cannot fence
 * each other for ever.  Whoever begins commits all positions with its token at
 * once.
 *
 * The token ends with the OID of our topic's table.  If that is another one's, the
 * topic has been dropped or renamed since, and its name given to another one:
 * the position says nothing about that.
 *
 * The timeline also says of which history a position is: if the record before
 * it was written here later than the position was, on another timeline, then
 * Kafka has records that our log has lost, whatever their numbers.
 *
 * Our position of partition p is the group's offset of Kafka's partition p.  If
 * that topic has fewer, n, partition p's position is in the metadata of
 * partition p modulo n, behind the token, as " p:offset".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "emit.h"
#include "log_scan.h"
#include "mirror_out.h"

/* The upper half of a generation; the lower one counts workers. */
#define TERM(generation)	((uint32) ((uint64) (generation) >> 32))

/* Brokers take so much with a position, unless offset.metadata.max.bytes says otherwise. */
#define METADATA_BYTES	4096
#define TOKEN_BYTES		100
#define CARRIED_BYTES	26		/* one position at most */

/* Who has committed a position, and of which topic. */
typedef struct Token
{
	uint32		term;
	uint32		timeline;
	uint32		worker;
	uint64		system;
	Oid			topic;
} Token;

static Token
own_token(const EventlogMirrorOut *out)
{
	const EventlogMirror *mirror = out->pair->mirror;
	Token		token = {
		.term = TERM(mirror->generation),
		.timeline = mirror->timeline,
		.worker = (uint32) mirror->generation,
		.system = GetSystemIdentifier(),
		.topic = out->relid
	};

	return token;
}

/* As the metadata of a position; "size" is at least 80. */
void
eventlog_out_token(const EventlogMirrorOut *out, char *text, size_t size)
{
	Token		token = own_token(out);

	snprintf(text, size, "pg_eventlog %u.%u.%u " UINT64_FORMAT " %u",
			 token.term, token.timeline, token.worker, token.system, token.topic);
}

static bool
read_token(const char *text, Token *token)
{
	unsigned long long system;

	if (text == NULL ||
		sscanf(text, "pg_eventlog %u.%u.%u %llu %u", &token->term, &token->timeline,
			   &token->worker, &system, &token->topic) != 5)
		return false;
	token->system = system;
	return true;
}

static int
compare(const Token *a, const Token *b)
{
	if (a->term != b->term)
		return a->term < b->term ? -1 : 1;
	if (a->timeline != b->timeline)
		return a->timeline < b->timeline ? -1 : 1;
	if (a->worker != b->worker)
		return a->worker < b->worker ? -1 : 1;
	return 0;
}

/*
 * Who has had the mirror before, by the positions that Kafka has.  False if
 * that is a successor, and we have to stay away.
 */
bool
eventlog_out_may_own(EventlogMirrorOut *out, const EventlogKafkaOffset *offsets, int count)
{
	EventlogMirror *mirror = unconstify(EventlogMirror *, out->pair->mirror);
	Token		mine = own_token(out);
	Token		highest = {0};
	Token		token;
	bool		found = false;

	for (int p = 0; p < count; p++)
	{
		if (offsets[p].offset < 0 || !read_token(offsets[p].metadata, &token))
			continue;
		if (!found || compare(&token, &highest) > 0)
			highest = token;
		found = true;
	}
	if (!found || compare(&highest, &mine) <= 0)
		return true;
	if (!out->restart)
		return false;

	/* somebody has said that it is to go on here: from now on we are above */
	mirror->generation = ((int64) (highest.term + 1) << 32) | (uint32) mirror->generation;
	eventlog_mirror_set_generation(mirror->id, mirror->generation);
	ForceSyncCommit();
	return true;
}

static bool
is_other_topic(const EventlogMirrorOut *out, const char *metadata)
{
	Token		token;

	return read_token(metadata, &token) && token.system == GetSystemIdentifier() &&
		token.topic != out->relid;
}

/*
 * Are the positions that Kafka has those of another topic that had the name of
 * ours?  If there is one of ours, then others are what is left, of partitions
 * that ours lacked at first.
 */
bool
eventlog_out_has_other_topic(const EventlogMirrorOut *out, const EventlogKafkaOffset *offsets, int count)
{
	bool		other = false;
	Token		token;

	for (int p = 0; p < count; p++)
	{
		if (offsets[p].offset < 0 || !read_token(offsets[p].metadata, &token) ||
			token.system != GetSystemIdentifier())
			continue;
		if (token.topic == out->relid)
			return false;
		other = true;
	}
	return other;
}

/*
 * Is a position that Kafka has of another history than our log?  Then *timeline
 * is the one on which it was committed.
 */
bool
eventlog_out_is_foreign(const EventlogMirrorOut *out, Relation leaf, const EventlogKafkaOffset *offset,
						uint32 *timeline)
{
	Token		token;
	EventlogCursor *cur;
	Snapshot	snapshot;
	bool		foreign = false;

	if (!read_token(offset->metadata, &token) || token.system != GetSystemIdentifier())
		return false;
	*timeline = token.timeline;
	if (token.timeline > out->pair->mirror->timeline)
		return true;
	if (offset->offset <= 0 || token.timeline == out->pair->mirror->timeline)
		return false;
	snapshot = eventlog_fresh_snapshot();
	cur = eventlog_cursor_open(leaf, snapshot, false);
	eventlog_cursor_seek(cur, offset->offset - 1);
	if (eventlog_cursor_next_head(cur) && cur->header.base_offset < offset->offset)
		foreign = (uint32) cur->header.leader_epoch > token.timeline;
	eventlog_cursor_close(cur);
	UnregisterSnapshot(snapshot);
	return foreign;
}

/* ---- positions of partitions that Kafka's topic lacks ---- */

bool
eventlog_out_can_carry(int npartitions, int target_partitions)
{
	return target_partitions > 0 &&
		(npartitions - 1) / target_partitions <= (METADATA_BYTES - TOKEN_BYTES) / CARRIED_BYTES;
}

/* What to commit with the position of Kafka's partition t. */
char *
eventlog_out_metadata(const EventlogMirrorOut *out, int t)
{
	StringInfoData text;
	char		token[TOKEN_BYTES];

	eventlog_out_token(out, token, sizeof(token));
	initStringInfo(&text);
	appendStringInfoString(&text, token);
	for (int p = t + out->target_partitions; p < out->npartitions; p += out->target_partitions)
		appendStringInfo(&text, " %d:%lld", p, (long long) out->sent[p]);
	return text.data;
}

/* Find partition p in such a text; -1 if it is not in there. */
static int64
find_carried(const char *text, int p)
{
	Token		token;
	const char *rest = text;

	if (!read_token(text, &token))
		return -1;
	while ((rest = strchr(rest, ' ')) != NULL)
	{
		int			partition;
		long long	offset;

		rest++;
		if (sscanf(rest, "%d:%lld", &partition, &offset) == 2 && partition == p)
			return offset;
	}
	return -1;
}

/*
 * Our position of partition p, as Kafka has it in any of these; an offset of -1
 * if it has none of this topic.  If it is in more than one place, Kafka's topic has been given
 * partitions since, and the highest is the last.
 */
EventlogKafkaOffset
eventlog_out_committed_position(const EventlogMirrorOut *out, const EventlogKafkaOffset *offsets,
								int count, int p)
{
	EventlogKafkaOffset found = {.partition = p,.offset = -1};

	for (int t = 0; t < count; t++)
	{
		int64		offset = t == p ? offsets[t].offset : find_carried(offsets[t].metadata, p);

		if (offset > found.offset && !is_other_topic(out, offsets[t].metadata))
		{
			found.offset = offset;
			found.metadata = offsets[t].metadata;
		}
	}
	return found;
}
