/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by policy_progs.bpf.c and user space */
#ifndef __PROGS_H
#define __PROGS_H

#define BATCH 4096		/* number of keys, a power of two */
#define CGROUPS_MAX 256		/* for "policy enforce" */

#endif
