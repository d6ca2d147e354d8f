// SPDX-License-Identifier: GPL-2.0
/* The verifier rejects each of these; the test has the expected messages. */
#include <linux/bpf.h>
#include "netdev_iter.h"
#include <bpf/bpf_tracing.h>

struct rtnl_link_stats64 stats;
struct bpf_qdisc_stats qstats;
int sink;

SEC("syscall")
int netns_without_rcu(void *ctx)
{
	struct bpf_iter_netns it;

	bpf_iter_netns_new(&it, 0);
	bpf_iter_netns_destroy(&it);
	return 0;
}

SEC("syscall")
int netdev_without_rcu(void *ctx)
{
	struct bpf_iter_netdev it;

	bpf_iter_netdev_new(&it, 0, 0, BPF_NETDEV_ITER_ALL);
	bpf_iter_netdev_destroy(&it);
	return 0;
}

/* The end of the RCU critical section invalidates the pointers an iterator returned. */
SEC("syscall")
int device_after_unlock(void *ctx)
{
	struct net_device *dev, *kept = 0;

	bpf_rcu_read_lock();
	bpf_for_each(netdev, dev, 0, 0, BPF_NETDEV_ITER_ALL) {
		kept = dev;
		break;
	}
	bpf_rcu_read_unlock();
	if (kept)
		bpf_netdev_get_stats64(kept, &stats, sizeof(stats));
	return 0;
}

SEC("syscall")
int qdisc_after_unlock(void *ctx)
{
	struct Qdisc *q, *kept = 0;
	struct net_device *dev;

	bpf_rcu_read_lock();
	bpf_for_each(netdev, dev, 0, 0, BPF_NETDEV_ITER_ALL) {
		bpf_for_each(qdisc, q, dev)
			kept = q;
		break;
	}
	bpf_rcu_read_unlock();
	if (kept)
		bpf_qdisc_get_stats(kept, &qstats, sizeof(qstats));
	return 0;
}

SEC("syscall")
int netns_after_unlock(void *ctx)
{
	struct bpf_iter_netdev devs;
	struct net *net, *kept = 0;

	bpf_rcu_read_lock();
	bpf_for_each(netns, net, 0) {
		kept = net;
		break;
	}
	bpf_rcu_read_unlock();
	bpf_rcu_read_lock();
	if (kept) {
		bpf_iter_netdev_new(&devs, kept, 0, 0);
		bpf_iter_netdev_destroy(&devs);
	}
	bpf_rcu_read_unlock();
	return 0;
}

/* The walk must also end with it */
SEC("syscall")
int next_after_unlock(void *ctx)
{
	struct bpf_iter_netdev it;

	bpf_rcu_read_lock();
	bpf_iter_netdev_new(&it, 0, 0, BPF_NETDEV_ITER_ALL);
	bpf_rcu_read_unlock();
	bpf_rcu_read_lock();
	sink = !!bpf_iter_netdev_next(&it);
	bpf_iter_netdev_destroy(&it);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int next_after_destroy(void *ctx)
{
	struct bpf_iter_netdev it;

	bpf_rcu_read_lock();
	bpf_iter_netdev_new(&it, 0, 0, BPF_NETDEV_ITER_ALL);
	bpf_iter_netdev_destroy(&it);
	sink = !!bpf_iter_netdev_next(&it);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int next_without_new(void *ctx)
{
	struct bpf_iter_netns it = {};

	bpf_rcu_read_lock();
	sink = !!bpf_iter_netns_next(&it);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int no_destroy(void *ctx)
{
	struct bpf_iter_netdev it;

	bpf_rcu_read_lock();
	bpf_iter_netdev_new(&it, 0, 0, BPF_NETDEV_ITER_ALL);
	bpf_rcu_read_unlock();
	return 0;
}

/* next() returns NULL at the end */
SEC("syscall")
int unchecked(void *ctx)
{
	struct bpf_iter_netdev it;
	struct net_device *dev;

	bpf_rcu_read_lock();
	bpf_iter_netdev_new(&it, 0, 0, BPF_NETDEV_ITER_ALL);
	dev = bpf_iter_netdev_next(&it);
	bpf_netdev_get_stats64(dev, &stats, sizeof(stats));
	bpf_iter_netdev_destroy(&it);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("iter/netdev")
int unchecked_seq(struct bpf_iter__netdev *ctx)
{
	bpf_netdev_get_stats64(ctx->dev, &stats, sizeof(stats));
	return 0;
}

SEC("iter/netdev")
int write_device(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;

	if (dev)
		dev->ifindex = 1;
	return 0;
}

/* A pointer of another type, and a NULL check that is missing */
SEC("iter/netdev")
int not_a_device(struct bpf_iter__netdev *ctx)
{
	bpf_netdev_get_stats64((void *)ctx->meta, &stats, sizeof(stats));
	return 0;
}

SEC("iter/netdev")
int made_up_qdisc(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;

	if (dev)
		bpf_qdisc_get_stats((void *)(long)dev->ifindex, &qstats, sizeof(qstats));
	return 0;
}

/* bpf_dev_net() returns NULL for a namespace that is being destroyed. */
SEC("iter/netdev")
int dev_net_unchecked(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;

	if (dev)
		sink = bpf_dev_net(dev)->net_cookie;
	return 0;
}

/* Loaded without CAP_PERFMON */
SEC("syscall")
int netns_unprivileged(void *ctx)
{
	struct bpf_iter_netns it;

	bpf_rcu_read_lock();
	bpf_iter_netns_new(&it, 0);
	bpf_iter_netns_destroy(&it);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int netdev_unprivileged(void *ctx)
{
	struct bpf_iter_netdev it;

	bpf_rcu_read_lock();
	bpf_iter_netdev_new(&it, 0, 0, BPF_NETDEV_ITER_ALL);
	bpf_iter_netdev_destroy(&it);
	bpf_rcu_read_unlock();
	return 0;
}

/* Drivers may take locks for their statistics, so tracing programs cannot call this */
SEC("tp_btf/sys_enter")
int BPF_PROG(stats_anywhere)
{
	struct net_device *dev;

	bpf_for_each(netdev, dev, 0, 0, BPF_NETDEV_ITER_ALL)
		bpf_netdev_get_stats64(dev, &stats, sizeof(stats));
	return 0;
}

/* A buffer smaller than its size argument */
SEC("iter/netdev")
int short_stats(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	__u64 few[4] = {};

	if (dev)
		bpf_netdev_get_stats64(dev, few, sizeof(few) + 8);
	return 0;
}

char _license[] SEC("license") = "GPL";
