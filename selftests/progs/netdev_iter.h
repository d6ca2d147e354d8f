/* SPDX-License-Identifier: GPL-2.0 */
/* Kernel types and kfuncs for programs that walk namespaces, devices and
 * qdiscs. They are declared here so that programs also build with the vmlinux.h
 * of a kernel without them.
 */
#ifndef __NETDEV_ITER_H
#define __NETDEV_ITER_H

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define __kernel __attribute__((preserve_access_index))

/* Copied from linux/if_link.h, which includes too much */
struct rtnl_link_stats64 {
	__u64 rx_packets;
	__u64 tx_packets;
	__u64 rx_bytes;
	__u64 tx_bytes;
	__u64 rx_errors;
	__u64 tx_errors;
	__u64 rx_dropped;
	__u64 tx_dropped;
	__u64 multicast;
	__u64 collisions;
	__u64 rx_length_errors;
	__u64 rx_over_errors;
	__u64 rx_crc_errors;
	__u64 rx_frame_errors;
	__u64 rx_fifo_errors;
	__u64 rx_missed_errors;
	__u64 tx_aborted_errors;
	__u64 tx_carrier_errors;
	__u64 tx_fifo_errors;
	__u64 tx_heartbeat_errors;
	__u64 tx_window_errors;
	__u64 rx_compressed;
	__u64 tx_compressed;
	__u64 rx_nohandler;
	__u64 rx_otherhost_dropped;
};

struct bpf_qdisc_stats {
	__u64 bytes;
	__u64 packets;
	__u32 qlen;
	__u32 backlog;
	__u32 drops;
	__u32 requeues;
	__u32 overlimits;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __kernel;

struct ns_common {
	unsigned int inum;
} __kernel;

struct net {
	struct ns_common ns;
	__u64 net_cookie;
} __kernel;

struct net_device {
	char name[16];
	int ifindex;
	__u32 reg_id;
	struct {
		struct net *net;
	} nd_net;
} __kernel;

struct Qdisc_ops {
	char id[16];
} __kernel;

struct Qdisc {
	unsigned int flags;
	const struct Qdisc_ops *ops;
	__u32 handle;
	__u32 parent;
} __kernel;

struct bpf_iter__netns {
	struct bpf_iter_meta *meta;
	struct net *net;
} __kernel;

struct bpf_iter__netdev {
	struct bpf_iter_meta *meta;
	struct net_device *dev;
} __kernel;

struct bpf_iter_netns {
	__u64 __opaque[3];
};

struct bpf_iter_netdev {
	__u64 __opaque[2];
};

struct bpf_iter_qdisc {
	__u64 __opaque[3];
};

/* Weak, as programs are not loaded on kernels without the kfuncs. */
int bpf_iter_netns_new(struct bpf_iter_netns *it, __u64 from) __weak __ksym;
struct net *bpf_iter_netns_next(struct bpf_iter_netns *it) __weak __ksym;
void bpf_iter_netns_destroy(struct bpf_iter_netns *it) __weak __ksym;

enum bpf_netdev_iter_flags {
	BPF_NETDEV_ITER_ALL	= 1U << 0,
};

int bpf_iter_netdev_new(struct bpf_iter_netdev *it, struct net *net, __u32 from,
			__u32 flags) __weak __ksym;
struct net_device *bpf_iter_netdev_next(struct bpf_iter_netdev *it) __weak __ksym;
void bpf_iter_netdev_destroy(struct bpf_iter_netdev *it) __weak __ksym;

int bpf_iter_qdisc_new(struct bpf_iter_qdisc *it, struct net_device *dev) __weak __ksym;
struct Qdisc *bpf_iter_qdisc_next(struct bpf_iter_qdisc *it) __weak __ksym;
void bpf_iter_qdisc_destroy(struct bpf_iter_qdisc *it) __weak __ksym;

struct net *bpf_dev_net(struct net_device *dev) __weak __ksym;
int bpf_netdev_get_stats64(struct net_device *dev, void *stats,
			   __u32 stats__sz) __weak __ksym;
int bpf_qdisc_get_stats(struct Qdisc *q, void *stats, __u32 stats__sz) __weak __ksym;

void bpf_rcu_read_lock(void) __weak __ksym;
void bpf_rcu_read_unlock(void) __weak __ksym;

#endif
