/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Shared memory: asked for before the server makes it, filled in after.
 *
 * It is empty again after a crash, as all of the server's: nothing in it
 * must be worth keeping.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "capture_slot.h"
#include "member.h"
#include "mirror_slot.h"
#include "shmem.h"
#include "wakeup.h"

#define SHMEM_NAME "pg_eventlog"

EventlogShared *eventlog_shared = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static Size
shared_size(void)
{
	return add_size(offsetof(EventlogShared, blocks),
					mul_size(MaxBackends, sizeof(EventlogBlock)));
}

static void
shmem_request(void)
{
	if (next_shmem_request != NULL)
		next_shmem_request();

	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(SHMEM_NAME, 1);
	RequestAddinShmemSpace(eventlog_wakeup_shmem_size());
	RequestAddinShmemSpace(eventlog_member_shmem_size());
	RequestAddinShmemSpace(eventlog_capture_shmem_size());
	RequestAddinShmemSpace(eventlog_mirror_shmem_size());
}

static void
shmem_startup(void)
{
	bool		found;

	if (next_shmem_startup != NULL)
		next_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	eventlog_shared = ShmemInitStruct(SHMEM_NAME, shared_size(), &found);
	if (!found)
	{
		memset(eventlog_shared, 0, shared_size());
		eventlog_shared->lock = &GetNamedLWLockTranche(SHMEM_NAME)->lock;
		eventlog_shared->maxblocks = MaxBackends;
		for (int i = 0; i < EVENTLOG_MAX_DATABASES; i++)
			pg_atomic_init_u32(&eventlog_shared->databases[i].wake, 0);
	}
	eventlog_wakeup_shmem_init();
	eventlog_member_shmem_init();
	eventlog_capture_shmem_init();
	eventlog_mirror_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

void
eventlog_shmem_init(void)
{
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}
