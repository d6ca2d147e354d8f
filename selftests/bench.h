/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the benchmarks */
#ifndef __BENCH_H
#define __BENCH_H

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

/* The time in nanoseconds, or in instructions if the clock counts these */
static inline long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

#define HAPROXY "/usr/sbin/haproxy"

/* bench_relay.c */
void relay_by_splice(int listener, const struct sockaddr_in *server);
void relay_by_haproxy(int listener, const struct sockaddr_in *server);

#endif
