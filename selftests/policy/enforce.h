/* SPDX-License-Identifier: GPL-2.0 */
/* A policy on cgroups: what their processes may connect and send to */
#ifndef __ENFORCE_H
#define __ENFORCE_H

#include "load.h"

#define ENFORCE_CELLS ((1ULL << 20) / 8)	/* room for a policy */

bool enforcer_load(struct loaded *l);
/* From now on processes of the cgroup are subject to the policy, with that identity. */
bool enforcer_add(struct loaded *l, const char *cgroup, uint32_t identity);
/* Puts the rules in force; false, with the reason on stderr, leaves what was there. */
bool enforcer_set(struct loaded *l, const struct rules *rules);

#endif
