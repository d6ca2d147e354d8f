/* SPDX-License-Identifier: GPL-2.0 */
/* What programs need of the kernel to walk namespaces, devices and qdiscs, so that
 * they build without its vmlinux.h.
 */
#ifndef __NETDEV_ITER_H
#define __NETDEV_ITER_H

#include <linux/gen_stats.h>
#include <linux/if_link.h>
#include <bpf/bpf_helpers.h>

#define __kernel __attribute__((preserve_access_index))

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
	__u64 __opaque[2];
};

struct bpf_iter_netdev {
	__u64 __opaque[2];
};

struct bpf_iter_qdisc {
	__u64 __opaque[3];
};

__ksym int bpf_iter_netns_new(struct bpf_iter_netns *it);
__ksym struct net *bpf_iter_netns_next(struct bpf_iter_netns *it);
__ksym void bpf_iter_netns_destroy(struct bpf_iter_netns *it);

__ksym int bpf_iter_netdev_new(struct bpf_iter_netdev *it, struct net *net);
__ksym struct net_device *bpf_iter_netdev_next(struct bpf_iter_netdev *it);
__ksym void bpf_iter_netdev_destroy(struct bpf_iter_netdev *it);

__ksym int bpf_iter_qdisc_new(struct bpf_iter_qdisc *it, struct net_device *dev);
__ksym struct Qdisc *bpf_iter_qdisc_next(struct bpf_iter_qdisc *it);
__ksym void bpf_iter_qdisc_destroy(struct bpf_iter_qdisc *it);

__ksym int bpf_netdev_get_stats64(struct net_device *dev,
				  struct rtnl_link_stats64 *stats);
__ksym void bpf_qdisc_get_stats(struct Qdisc *q, struct gnet_stats_queue *stats);

__ksym void bpf_rcu_read_lock(void);
__ksym void bpf_rcu_read_unlock(void);

#endif
