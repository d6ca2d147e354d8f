/* SPDX-License-Identifier: GPL-2.0 */
/* The time, and reproducible random numbers */
#ifndef __CLOCK_RND_H
#define __CLOCK_RND_H

#include "testing_helpers.h"

static inline __u64 now_ms(void)
{
	return get_time_ns() / 1000000;
}

/* A random number less than @below; @state must not be 0. */
static inline unsigned int rnd_of(__u64 *state, unsigned int below)
{
	/* xorshift64* by Marsaglia and Vigna */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * 2685821657736338717ULL >> 33) % below;
}

#endif
