// SPDX-License-Identifier: GPL-2.0
/* Each of these is refused by the verifier; the test knows with which words. */
#include <linux/bpf.h>
#include "netdev_iter.h"
#include <bpf/bpf_tracing.h>

struct rtnl_link_stats64 stats;
struct gnet_stats_queue qstats;
int sink;

SEC("syscall")
int netns_without_rcu(void *ctx)
{
	struct bpf_iter_netns it;

	bpf_iter_netns_new(&it);
	bpf_iter_netns_destroy(&it);
	return 0;
}

SEC("syscall")
int netdev_without_rcu(void *ctx)
{
	struct bpf_iter_netdev it;

	bpf_iter_netdev_new(&it, 0);
	bpf_iter_netdev_destroy(&it);
	return 0;
}

/* The step that invalidates what an iterator returned: the end of the section. */
SEC("syscall")
int device_after_unlock(void *ctx)
{
	struct net_device *dev, *kept = 0;

	bpf_rcu_read_lock();
	bpf_for_each(netdev, dev, 0) {
		kept = dev;
		break;
	}
	bpf_rcu_read_unlock();
	if (kept)
		bpf_netdev_get_stats64(kept, &stats);
	return 0;
}

SEC("syscall")
int qdisc_after_unlock(void *ctx)
{
	struct Qdisc *q, *kept = 0;
	struct net_device *dev;

	bpf_rcu_read_lock();
	bpf_for_each(netdev, dev, 0) {
		bpf_for_each(qdisc, q, dev)
			kept = q;
		break;
	}
	bpf_rcu_read_unlock();
	if (kept)
		bpf_qdisc_get_stats(kept, &qstats);
	return 0;
}

SEC("syscall")
int netns_after_unlock(void *ctx)
{
	struct bpf_iter_netdev devs;
	struct net *net, *kept = 0;

	bpf_rcu_read_lock();
	bpf_for_each(netns, net) {
		kept = net;
		break;
	}
	bpf_rcu_read_unlock();
	bpf_rcu_read_lock();
	if (kept) {
		bpf_iter_netdev_new(&devs, kept);
		bpf_iter_netdev_destroy(&devs);
	}
	bpf_rcu_read_unlock();
	return 0;
}

/* The walk itself ends there as well */
SEC("syscall")
int next_after_unlock(void *ctx)
{
	struct bpf_iter_netdev it;

	bpf_rcu_read_lock();
	bpf_iter_netdev_new(&it, 0);
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
	bpf_iter_netdev_new(&it, 0);
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
	bpf_iter_netdev_new(&it, 0);
	bpf_rcu_read_unlock();
	return 0;
}

/* At the end it is NULL */
SEC("syscall")
int unchecked(void *ctx)
{
	struct bpf_iter_netdev it;
	struct net_device *dev;

	bpf_rcu_read_lock();
	bpf_iter_netdev_new(&it, 0);
	dev = bpf_iter_netdev_next(&it);
	bpf_netdev_get_stats64(dev, &stats);
	bpf_iter_netdev_destroy(&it);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("iter/netdev")
int unchecked_seq(struct bpf_iter__netdev *ctx)
{
	bpf_netdev_get_stats64(ctx->dev, &stats);
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

/* A pointer of another type, and none at all */
SEC("iter/netdev")
int not_a_device(struct bpf_iter__netdev *ctx)
{
	bpf_netdev_get_stats64((void *)ctx->meta, &stats);
	return 0;
}

SEC("iter/netdev")
int made_up_qdisc(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;

	if (dev)
		bpf_qdisc_get_stats((void *)(long)dev->ifindex, &qstats);
	return 0;
}

/* Drivers take locks for their statistics */
SEC("tp_btf/sys_enter")
int BPF_PROG(stats_anywhere)
{
	struct net_device *dev;

	bpf_for_each(netdev, dev, 0)
		bpf_netdev_get_stats64(dev, &stats);
	return 0;
}

/* Too small for all that is stored there */
SEC("iter/netdev")
int short_stats(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	__u64 few[4] = {};

	if (dev)
		bpf_netdev_get_stats64(dev, (void *)few);
	return 0;
}

char _license[] SEC("license") = "GPL";
