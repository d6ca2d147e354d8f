/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of test_netdev_iter.c tell the test. */
#ifndef __TEST_NETDEV_ITER_H
#define __TEST_NETDEV_ITER_H

#include <linux/types.h>
#ifndef __bpf__
#include <linux/if_link.h>
#include <linux/gen_stats.h>
#endif

#define NETDEV_ITER_MAX		512	/* what open-coded iterators store */

/* One device; of a namespace, only netns_cookie */
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
	struct gnet_stats_queue stats;
};

struct netdev_stats_seen {
	struct netdev_seen dev;
	struct rtnl_link_stats64 stats;
	__u32 qdiscs;
	struct qdisc_seen qdisc[16];
};

#endif
