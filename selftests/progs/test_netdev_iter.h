/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the programs of test_netdev_iter.c and the tests. */
#ifndef __TEST_NETDEV_ITER_H
#define __TEST_NETDEV_ITER_H

#include <linux/types.h>
#ifndef __bpf__
#include <linux/if_link.h>

/* Same as in the kernel */
struct bpf_qdisc_stats {
	__u64 bytes;
	__u64 packets;
	__u32 qlen;
	__u32 backlog;
	__u32 drops;
	__u32 requeues;
	__u32 overlimits;
};
#endif

#define NETDEV_ITER_MAX		512	/* most records of an open-coded iterator */

/* A device; for a namespace, only netns_cookie is set */
struct netdev_seen {
	__u64 netns_cookie;
	__u32 reg_id;
	__u32 ifindex;
	char name[16];
};

/* The columns of /proc/net/dev */
struct netdev_proc {
	struct netdev_seen dev;
	__u64 rx_bytes, rx_packets, rx_errs, rx_drop, rx_fifo, rx_frame, rx_compressed;
	__u64 multicast;
	__u64 tx_bytes, tx_packets, tx_errs, tx_drop, tx_fifo, colls, tx_carrier;
	__u64 tx_compressed;
};

struct qdisc_seen {
	char kind[16];
	__u32 handle;
	__u32 parent;
	struct bpf_qdisc_stats stats;
};

/* Buffers that are smaller and larger than the kernel's statistics */
#define SHORT_STATS 2
#define LONG_STATS 64

struct sizes_seen {
	__u64 link_short[SHORT_STATS], link_long[LONG_STATS];
	__u64 qdisc_short[SHORT_STATS], qdisc_long[LONG_STATS];
	int link_err, qdisc_err;	/* with a size that ends within a field */
};

struct netdev_stats_seen {
	struct netdev_seen dev;
	struct rtnl_link_stats64 stats;
	__u32 qdiscs;
	struct qdisc_seen qdisc[16];
};

#endif
