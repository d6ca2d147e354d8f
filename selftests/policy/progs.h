/* SPDX-License-Identifier: GPL-2.0 */
/* What policy.bpf.c and its user space have in common */
#ifndef __PROGS_H
#define __PROGS_H

#define BATCH 4096		/* keys, a power of two */
#define CGROUPS_MAX 256		/* that "policy enforce" takes */

#endif
