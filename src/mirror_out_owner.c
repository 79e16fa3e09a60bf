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
 * each other for ever.  A new owner commits all positions with its token at
 * once.
 *
 * The timeline also says of which history a position is: if the record before
 * it was written here later than the position was, on another timeline, then
 * Kafka has records that our log has lost, whatever their numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "emit.h"
#include "log_scan.h"
#include "mirror_out.h"

/* The upper half of a generation; the lower one counts workers. */
#define TERM(generation)	((uint32) ((uint64) (generation) >> 32))

/* Who has committed a position. */
typedef struct Token
{
	uint32		term;
	uint32		timeline;
	uint32		worker;
	uint64		system;
} Token;

static Token
own_token(const EventlogMirrorOut *out)
{
	const EventlogMirror *mirror = out->pair->mirror;
	Token		token = {
		.term = TERM(mirror->generation),
		.timeline = mirror->timeline,
		.worker = (uint32) mirror->generation,
		.system = GetSystemIdentifier()
	};

	return token;
}

/* As the metadata of a position; "size" is at least 80. */
void
eventlog_out_token(const EventlogMirrorOut *out, char *text, size_t size)
{
	Token		token = own_token(out);

	snprintf(text, size, "pg_eventlog %u.%u.%u " UINT64_FORMAT,
			 token.term, token.timeline, token.worker, token.system);
}

static bool
read_token(const char *text, Token *token)
{
	unsigned long long system;

	if (text == NULL ||
		sscanf(text, "pg_eventlog %u.%u.%u %llu", &token->term, &token->timeline,
			   &token->worker, &system) != 4)
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
 * that is a successor, and we have to stay away.  *is_new: it was not this
 * worker, so all positions have to be committed as ours.
 */
bool
eventlog_out_may_own(EventlogMirrorOut *out, const EventlogKafkaOffset *offsets, int count,
					 bool *is_new)
{
	EventlogMirror *mirror = unconstify(EventlogMirror *, out->pair->mirror);
	Token		mine = own_token(out);
	Token		highest = {0};
	Token		token;
	bool		found = false;

	*is_new = false;
	for (int p = 0; p < count; p++)
	{
		if (offsets[p].offset < 0 || !read_token(offsets[p].metadata, &token))
		{
			*is_new |= offsets[p].offset >= 0;
			continue;
		}
		*is_new |= compare(&token, &mine) != 0;
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
	*is_new = true;
	return true;
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
