/*-------------------------------------------------------------------------
 *
 * crc32c.h
 *	  CRC-32C of a run of bytes, fast on long runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CRC32C_H
#define EVENTLOG_CRC32C_H

extern uint32 eventlog_crc32c(const char *data, size_t len);

#endif							/* EVENTLOG_CRC32C_H */
