/* SPDX-License-Identifier: GPL-2.0 */
/* A classifier's program in the kernel, and its policy */
#ifndef __LOAD_H
#define __LOAD_H

#include "build.h"
#include "progs.h"

/* Statistics of the verifier */
struct verified {
	unsigned long insns;	/* processed instructions */
	unsigned long usec;
};

/* A program and the map of maps with its policy */
struct loaded {
	const struct classifier *classifier;
	struct policy_progs *skel;
	int prog, nothing;	/* fds */
	uint64_t cells;		/* largest size of a policy */
	uint32_t generation;	/* of the current policy */
	bool has_loop;
	struct verified verified;
};

/* Load for policies of up to @cells. Return: false, with errno, if that fails. */
bool load(struct loaded *l, const struct classifier *c, uint64_t cells);
bool load_program(struct loaded *l, const char *name, uint64_t cells);
void unload(struct loaded *l);
/* For a test: do not use bpf_loop() */
extern bool without_loop;

/* Replace the policy in one step: look-ups that have begun still use the previous one, which
 * is no longer used when this returns. Return: the memory that the kernel uses for the policy,
 * in bytes; 0, with errno, on failure.
 */
uint64_t publish(struct loaded *l, const uint64_t *mem, uint64_t cells);

/* Overwrite a part of the policy in place, from byte @from on. This is wrong, and only for a
 * test that must detect it.
 */
bool overwrite(const struct loaded *l, const uint64_t *mem, uint64_t from, uint64_t to);

/* Run the program @runs times, for the first @keys keys in turn; the answers are in
 * l->skel->bss. Return: nanoseconds for each run
 */
unsigned int run_keys(const struct loaded *l, int prog, uint32_t keys, uint32_t runs);

#endif
