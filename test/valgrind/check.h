/*-------------------------------------------------------------------------
 *
 * check.h
 *	  Included before everything else when built for "make check-valgrind":
 *	  whatever we hand over to the WAL or leave on a page must be initialized.
 *
 * valgrind itself would only say so when the bytes reach a file, by then in
 * another process as a rule, and could not tell them from the server's own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <valgrind/memcheck.h>

#include "access/xloginsert.h"
#include "storage/bufmgr.h"

#define XLogRegisterData(data, len) \
	(VALGRIND_CHECK_MEM_IS_DEFINED(data, len), XLogRegisterData(data, len))
#define XLogRegisterBufData(id, data, len) \
	(VALGRIND_CHECK_MEM_IS_DEFINED(data, len), XLogRegisterBufData(id, data, len))

/* whose pages have been changed by then */
#define MarkBufferDirty(buf) \
	(eventlog_check_page(BufferGetPage(buf)), MarkBufferDirty(buf))

/* header and payload, and the special area */
static inline void
eventlog_check_page(Page page)
{
	PageHeader	header = (PageHeader) page;

	(void) VALGRIND_CHECK_MEM_IS_DEFINED(page, header->pd_lower);
	(void) VALGRIND_CHECK_MEM_IS_DEFINED((char *) page + header->pd_special,
										 BLCKSZ - header->pd_special);
}
