/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __COMMANDS_H
#define __COMMANDS_H

#include "rules.h"

#define MAX_BYTES (64ULL << 20)	/* largest policy */

int test(int keys, const char *words);
int bench(const char *family, int n, uint64_t seed);
void bench_kernel_hash(void);
int enforce(const char *file, char **cgroups);

/* Generate and read rules of a family */
bool rules_generate(struct rules *rules, const char *family, int n, uint64_t seed);

#endif
