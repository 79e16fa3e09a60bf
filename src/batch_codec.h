/*-------------------------------------------------------------------------
 *
 * batch_codec.h
 *	  Compression of the records of one batch.  Used by batch.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_BATCH_CODEC_H
#define EVENTLOG_BATCH_CODEC_H

#include "batch.h"

/*
 * Compress "len" bytes at "src" and append the result to *dst (dst->len is
 * where it starts, and is moved).  Returns NULL or an error text; then *dst
 * holds what it held.
 */
extern const char *eventlog_codec_compress(EventlogCodec codec,
										   const char *src, size_t len,
										   EventlogBuf *dst);

/*
 * Decompress "len" bytes at "src" into *dst, replacing what it held.  The
 * result is at most EVENTLOG_BATCH_MAX_SIZE bytes; more is an error, met
 * before memory is taken for it.  Returns NULL or an error text.
 */
extern const char *eventlog_codec_decompress(EventlogCodec codec,
											 const char *src, size_t len,
											 EventlogBuf *dst);

#endif							/* EVENTLOG_BATCH_CODEC_H */
