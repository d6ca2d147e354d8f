/* SPDX-License-Identifier: GPL-2.0 */
/* A classifier's program in the kernel, and its policy */
#ifndef __LOAD_H
#define __LOAD_H

#include "build.h"
#include "progs.h"

/* What the verifier said */
struct verified {
	unsigned long insns;	/* that it looked at */
	unsigned long usec;
};

/* A program and the map of maps it takes its policy from */
struct loaded {
	const struct classifier *classifier;
	struct policy_progs *skel;
	int prog, nothing;	/* fds */
	uint64_t cells;		/* that a policy can have */
	uint32_t generation;	/* of the policy in force */
	bool has_loop;
	struct verified verified;
};

/* For policies of up to @cells. False if the kernel refuses; errno says why. */
bool load(struct loaded *l, const struct classifier *c, uint64_t cells);
bool load_program(struct loaded *l, const char *name, uint64_t cells);
void unload(struct loaded *l);
/* As if the kernel had no bpf_loop(), for a test */
extern bool without_loop;

/* Makes that the policy, all of it at once: a look-up that has begun goes on with the one
 * before. When it returns, none uses that any more. The size that the kernel takes for it,
 * in bytes; 0, with errno, if it does not fit.
 */
uint64_t publish(struct loaded *l, const uint64_t *mem, uint64_t cells);

/* Overwrites the policy in place, as no one should: for a test that tells the difference.
 * From byte @from on.
 */
bool overwrite(const struct loaded *l, const uint64_t *mem, uint64_t from, uint64_t to);

/* Runs the program for so many keys, which are from the first on, over and over; the
 * answers are in l->skel->bss. Nanoseconds each.
 */
unsigned int run_keys(const struct loaded *l, int prog, uint32_t keys, uint32_t runs);

#endif
