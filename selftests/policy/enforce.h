/* SPDX-License-Identifier: GPL-2.0 */
/* A policy for what processes of cgroups may connect and send to */
#ifndef __ENFORCE_H
#define __ENFORCE_H

#include "load.h"

#define ENFORCE_CELLS ((1ULL << 20) / 8)	/* largest policy */

bool enforcer_load(struct loaded *l);
/* Apply the policy to processes of the cgroup, with this identity. */
bool enforcer_add(struct loaded *l, const char *cgroup, uint32_t identity);
/* Replace the rules. On failure, return false, print the reason, and keep the rules. */
bool enforcer_set(struct loaded *l, const struct rules *rules);

#endif
