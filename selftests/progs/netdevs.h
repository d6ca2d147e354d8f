/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by netdevs.c and its BPF programs. */
#ifndef __NETDEVS_H
#define __NETDEVS_H

#include <linux/types.h>

#define ROWS_MAX	1024	/* most devices in a result */
#define NAME_SIZE	16
#define BUCKETS		20	/* buckets of a histogram: 0, 1, 2-3, 4-7, ... */

enum netdevs_key { BY_BYTES, BY_PACKETS, BY_DROPS, BY_ERRORS, BY_BACKLOG };

struct netdevs_row {
	__u64 key;		/* the value that rows are sorted by */
	__u64 rx_bytes, tx_bytes;
	__u64 rx_packets, tx_packets;
	__u64 drops;		/* of the device and its qdisc, both directions */
	__u64 errors;
	__u32 netns;		/* its inode number */
	__u32 reg_id;
	__u32 ifindex;
	__u32 qlen, backlog;
	char name[NAME_SIZE];
	char qdisc[16];
	__u32 occupancy[BUCKETS]; /* packets in the queue when one was enqueued */
	__u32 usecs[BUCKETS];	/* time in the qdisc */
};

#endif
