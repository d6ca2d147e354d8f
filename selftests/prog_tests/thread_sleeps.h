/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __THREAD_SLEEPS_H
#define __THREAD_SLEEPS_H

#include <stdbool.h>
#include <stdio.h>

/* Does thread @tid of this process sleep? */
static inline bool thread_sleeps(int tid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state == 'S';
}

#endif
