/* SPDX-License-Identifier: GPL-2.0 */
/* Between netdevs.c and its programs. Include it after struct rtnl_link_stats64. */
#ifndef __NETDEVS_H
#define __NETDEVS_H

#include <linux/types.h>

#define ROWS_AT_ONCE	256	/* devices of one call */
#define QDISCS_AT_ONCE	4096	/* and their qdiscs */
#define QUEUES_AT_ONCE	64
#define NAME_SIZE	16
#define BUCKETS		20	/* of a histogram: 0, 1, 2-3, 4-7, ... */

struct netdevs_qdisc {
	/* These begin as struct bpf_qdisc_stats does. */
	__u64 bytes, packets;
	__u32 qlen, backlog;
	__u32 drops, requeues, overlimits;
	__u32 handle, parent;
	char kind[NAME_SIZE];
};

struct netdevs_row {
	struct rtnl_link_stats64 stats;
	__u64 netns_cookie;
	char name[NAME_SIZE];	/* with zeros to the end */
	__u32 netns;		/* its inode number */
	__u32 reg_id;
	__u32 ifindex;
	__u32 first_qdisc;	/* its qdiscs are in qdiscs[], from this on */
	__u32 qdiscs;
	__u32 rx_queues, tx_queues;
};

/* What packets met in the qdisc of a transmit queue, which is the root, or below mq
 * one of its children.
 */
struct netdevs_hist_key {
	__u32 reg_id;
	__u32 handle, parent;
};

struct netdevs_hist {
	__u64 occupancy[BUCKETS];	/* packets before each that came */
	__u64 usecs[BUCKETS];		/* from there to the driver */
	__u64 dropped;			/* that came, and did not get to the driver */
	__u64 untimed;			/* that got there, nobody knows since when */
};

/* A counter that the driver does not have */
#define NOT_COUNTED	(~0ULL)

/* A queue, as the driver and byte queue limits see it */
struct netdevs_queue {
	__u64 bytes, packets;
	__u64 hw_drops, hw_drop_overruns, hw_drop_errors, alloc_fail, csum_bad;
	__u64 stop, wake;
	__u32 bql_limit, bql_inflight;	/* 0, 0: the driver does without */
	bool counted;			/* all but byte queue limits */
};

#endif
