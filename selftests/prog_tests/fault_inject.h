/* SPDX-License-Identifier: GPL-2.0 */
/* Make allocations fail, with CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC. On a
 * kernel without these, none fail.
 */
#ifndef __FAULT_INJECT_H
#define __FAULT_INJECT_H

#include "test_progs.h"

#define FAILSLAB "/sys/kernel/debug/failslab/"
#define FAIL_PAGE_ALLOC "/sys/kernel/debug/fail_page_alloc/"

/* Return: false if there is no such @file */
static inline bool set_fault(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY);

	if (fd < 0)
		return false;
	ASSERT_GT(write(fd, value, strlen(value)), 0, file);
	close(fd);
	return true;
}

/* Make @percent of slab and page allocations fail, at most @times. Return:
 * false if the kernel does not support it
 */
static inline bool set_fault_rate(const char *percent, const char *times)
{
	bool can;

	set_fault(FAILSLAB "verbose", "0");
	set_fault(FAIL_PAGE_ALLOC "verbose", "0");
	can = set_fault(FAIL_PAGE_ALLOC "times", times) && set_fault(FAILSLAB "times", times);
	set_fault(FAILSLAB "probability", percent);
	set_fault(FAIL_PAGE_ALLOC "probability", percent);
	return can;
}

/* How many slab allocations have yet to fail, -1 if the kernel does not support it */
static inline int failslab_times(void)
{
	int fd = open(FAILSLAB "times", O_RDONLY), n;
	char left[16] = "";

	if (fd < 0)
		return -1;
	n = read(fd, left, sizeof(left) - 1);
	close(fd);
	return ASSERT_GT(n, 0, "times") ? atoi(left) : -1;
}

#endif
