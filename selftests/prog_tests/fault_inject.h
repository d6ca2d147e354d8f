/* SPDX-License-Identifier: GPL-2.0 */
/* Have allocations fail, which takes CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC. On a
 * kernel without them all succeed.
 */
#ifndef __FAULT_INJECT_H
#define __FAULT_INJECT_H

#include "test_progs.h"

#define FAILSLAB "/sys/kernel/debug/failslab/"
#define FAIL_PAGE_ALLOC "/sys/kernel/debug/fail_page_alloc/"

/* False if there is no such @file */
static inline bool set_fault(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY);

	if (fd < 0)
		return false;
	ASSERT_GT(write(fd, value, strlen(value)), 0, file);
	close(fd);
	return true;
}

#endif
