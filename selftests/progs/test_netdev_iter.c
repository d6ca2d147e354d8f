// SPDX-License-Identifier: GPL-2.0
#include <stddef.h>
#include <linux/bpf.h>
#include "netdev_iter.h"
#include "test_netdev_iter.h"
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"

#define TCQ_F_INVISIBLE 0x80
#define TC_H_ROOT 0xffffffff
#define TC_H_MAJ(h) ((h) & 0xffff0000)

struct netdev_seen seen[NETDEV_ITER_MAX];
__u32 seen_count;
__u32 end_calls;	/* calls of the seq_file program with NULL */
int pid;

static __always_inline void describe(struct netdev_seen *s, struct net_device *dev)
{
	struct net *net = dev->nd_net.net;

	s->netns_cookie = net ? net->net_cookie : 0;
	s->reg_id = dev->reg_id;
	s->ifindex = dev->ifindex;
	__builtin_memcpy(s->name, dev->name, sizeof(s->name));
}

static __always_inline struct netdev_seen *next_seen(void)
{
	__u32 i = seen_count++;

	return i < NETDEV_ITER_MAX ? &seen[i] : 0;
}

SEC("iter/netns")
int seq_netns(struct bpf_iter__netns *ctx)
{
	struct netdev_seen s = {};
	struct net *net = ctx->net;

	if (!net) {
		end_calls++;
		return 0;
	}
	s.netns_cookie = net->net_cookie;
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

SEC("iter/netdev")
int seq_netdev(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	struct netdev_seen s = {};

	if (!dev) {
		end_calls++;
		return 0;
	}
	describe(&s, dev);
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

/* Attaching these must fail, as they could sleep while using a device or namespace. */
SEC("iter.s/netdev")
int seq_netdev_sleepable(struct bpf_iter__netdev *ctx)
{
	return 0;
}

SEC("iter.s/netns")
int seq_netns_sleepable(struct bpf_iter__netns *ctx)
{
	return 0;
}

struct netdev_stats_seen stats_seen;

static __always_inline void see_qdiscs(struct net_device *dev)
{
	struct Qdisc *q;
	__u32 i = 0;

	bpf_for_each(qdisc, q, dev) {
		struct qdisc_seen *s;

		if (q->flags & TCQ_F_INVISIBLE)
			continue;
		if (i >= 16)
			break;
		s = &stats_seen.qdisc[i++];
		bpf_probe_read_kernel_str(s->kind, sizeof(s->kind), q->ops->id);
		s->handle = q->handle;
		s->parent = q->parent;
		bpf_qdisc_get_stats(q, &s->stats, sizeof(s->stats));
	}
	stats_seen.qdiscs = i;
}

SEC("iter/netdev")
int seq_netdev_stats(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;

	if (!dev)
		return 0;
	describe(&stats_seen.dev, dev);
	bpf_netdev_get_stats64(dev, &stats_seen.stats, sizeof(stats_seen.stats));
	see_qdiscs(dev);
	bpf_seq_write(ctx->meta->seq, &stats_seen, sizeof(stats_seen));
	return 0;
}

SEC("iter/netdev")
int seq_netdev_link(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;

	if (!dev || bpf_netdev_get_stats64(dev, &stats_seen.stats, sizeof(stats_seen.stats)))
		return 0;
	describe(&stats_seen.dev, dev);
	bpf_seq_write(ctx->meta->seq, &stats_seen, offsetof(struct netdev_stats_seen, qdiscs));
	return 0;
}

/* The columns of /proc/net/dev for a device, computed as there */
SEC("iter/netdev")
int seq_netdev_proc(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	struct rtnl_link_stats64 s;
	struct netdev_proc p;

	if (!dev || bpf_netdev_get_stats64(dev, &s, sizeof(s)))
		return 0;
	describe(&p.dev, dev);
	p.rx_bytes = s.rx_bytes;
	p.rx_packets = s.rx_packets;
	p.rx_errs = s.rx_errors;
	p.rx_drop = s.rx_dropped + s.rx_missed_errors;
	p.rx_fifo = s.rx_fifo_errors;
	p.rx_frame = s.rx_length_errors + s.rx_over_errors + s.rx_crc_errors +
		     s.rx_frame_errors;
	p.rx_compressed = s.rx_compressed;
	p.multicast = s.multicast;
	p.tx_bytes = s.tx_bytes;
	p.tx_packets = s.tx_packets;
	p.tx_errs = s.tx_errors;
	p.tx_drop = s.tx_dropped;
	p.tx_fifo = s.tx_fifo_errors;
	p.colls = s.collisions;
	p.tx_carrier = s.tx_carrier_errors + s.tx_aborted_errors + s.tx_window_errors +
		       s.tx_heartbeat_errors;
	p.tx_compressed = s.tx_compressed;
	bpf_seq_write(ctx->meta->seq, &p, sizeof(p));
	return 0;
}

struct sizes_seen sizes;

/* Statistics of the device and its root qdisc, in smaller and larger buffers */
SEC("iter/netdev")
int seq_netdev_sizes(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	struct Qdisc *q;

	if (!dev)
		return 0;
	bpf_netdev_get_stats64(dev, sizes.link_short, sizeof(sizes.link_short));
	bpf_netdev_get_stats64(dev, sizes.link_long, sizeof(sizes.link_long));
	sizes.link_err = bpf_netdev_get_stats64(dev, sizes.link_short, 12);
	bpf_for_each(qdisc, q, dev) {
		bpf_qdisc_get_stats(q, sizes.qdisc_short, sizeof(sizes.qdisc_short));
		bpf_qdisc_get_stats(q, sizes.qdisc_long, sizeof(sizes.qdisc_long));
		sizes.qdisc_err = bpf_qdisc_get_stats(q, sizes.qdisc_short, 13);
		break;
	}
	return 0;
}

/* mq with too many queues for one call: the program adds up the children. */
int mq_err;
__u32 mq_children;
__u64 mq_packets;

SEC("iter/netdev")
int seq_netdev_mq(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	struct bpf_qdisc_stats s = {};
	__u32 handle = 0;
	struct Qdisc *q;

	if (!dev)
		return 0;
	bpf_for_each(qdisc, q, dev) {
		if (q->parent == TC_H_ROOT) {
			handle = q->handle;
			mq_err = bpf_qdisc_get_stats(q, &s, sizeof(s));
		} else if (TC_H_MAJ(q->parent) == handle &&
			   !bpf_qdisc_get_stats(q, &s, sizeof(s))) {
			mq_children++;
			mq_packets += s.packets;
		}
	}
	return 0;
}

/* The drops of a root qdisc, as reported in the middle of each graft */
__u64 graft_netns;
__u32 graft_ifindex;
__u32 graft_asked;
__u32 graft_drops;	/* largest value */

SEC("fentry/qdisc_put")
int BPF_PROG(graft)
{
	struct bpf_qdisc_stats s = {};
	struct net_device *dev;
	struct netdev_seen at;
	struct Qdisc *q;

	if ((bpf_get_current_pid_tgid() >> 32) != pid)
		return 0;
	bpf_for_each(netdev, dev, 0, 0, BPF_NETDEV_ITER_ALL) {
		describe(&at, dev);
		if (at.ifindex != graft_ifindex || at.netns_cookie != graft_netns)
			continue;
		bpf_for_each(qdisc, q, dev) {
			if (q->parent != TC_H_ROOT)
				continue;
			bpf_qdisc_get_stats(q, &s, sizeof(s));
			graft_asked++;
			if (s.drops > graft_drops)
				graft_drops = s.drops;
		}
	}
	return 0;
}

/* This is the example in Documentation/bpf/netdev_iter.rst. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} last SEC(".maps");

SEC("iter/netdev")
int dropped(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	struct rtnl_link_stats64 s;
	__u64 now, before, *old;
	struct net *net;
	__u32 id;

	if (!dev)
		return 0;
	net = dev->nd_net.net;
	if (!net || bpf_netdev_get_stats64(dev, &s, sizeof(s)))
		return 0;
	id = dev->reg_id;
	old = bpf_map_lookup_elem(&last, &id);
	before = old ? *old : 0;
	now = s.rx_dropped + s.rx_missed_errors + s.tx_dropped;
	if (now > before &&
	    BPF_SEQ_PRINTF(ctx->meta->seq, "netns %u %s: %llu\n",
			   net->ns.inum, dev->name, now - before))
		return 0;
	bpf_map_update_elem(&last, &id, &now, BPF_ANY);
	return 0;
}

static __always_inline void see_netns(void)
{
	struct netdev_seen *s;
	struct net *net;

	seen_count = 0;
	bpf_for_each(netns, net, 0) {
		s = next_seen();
		if (!s)
			break;
		s->netns_cookie = net->net_cookie;
	}
}

static __always_inline void see_all(void)
{
	struct net_device *dev;
	struct netdev_seen *s;

	seen_count = 0;
	bpf_for_each(netdev, dev, 0, 0, BPF_NETDEV_ITER_ALL) {
		s = next_seen();
		if (!s)
			break;
		describe(s, dev);
	}
}

static __always_inline void see_nested(void)
{
	struct net_device *dev;
	struct netdev_seen *s;
	struct net *net;

	seen_count = 0;
	bpf_for_each(netns, net, 0) {
		bpf_for_each(netdev, dev, net, 0, 0) {
			s = next_seen();
			if (!s)
				break;
			describe(s, dev);
		}
	}
}

SEC("syscall")
int open_netns(void *ctx)
{
	bpf_rcu_read_lock();
	see_netns();
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int open_netdev(void *ctx)
{
	bpf_rcu_read_lock();
	see_all();
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int open_nested(void *ctx)
{
	bpf_rcu_read_lock();
	see_nested();
	bpf_rcu_read_unlock();
	return 0;
}

/* One namespace at a time, each in a critical section of its own */
SEC("syscall")
int open_netns_resumed(void *ctx)
{
	struct netdev_seen *s;
	struct net *net;
	__u64 from = 0;
	bool found;

	seen_count = 0;
	bpf_repeat(NETDEV_ITER_MAX) {
		found = false;
		bpf_rcu_read_lock();
		bpf_for_each(netns, net, from) {
			s = next_seen();
			if (!s)
				break;
			s->netns_cookie = net->net_cookie;
			from = net->net_cookie + 1;
			found = true;
			break;
		}
		bpf_rcu_read_unlock();
		if (!found)
			break;
	}
	return 0;
}

SEC("syscall")
int open_netdev_resumed(void *ctx)
{
	struct net_device *dev;
	struct netdev_seen *s;
	__u32 from = 0;
	bool found;

	seen_count = 0;
	bpf_repeat(NETDEV_ITER_MAX) {
		found = false;
		bpf_rcu_read_lock();
		bpf_for_each(netdev, dev, 0, from, BPF_NETDEV_ITER_ALL) {
			s = next_seen();
			if (!s)
				break;
			describe(s, dev);
			from = dev->reg_id + 1;
			found = true;
			break;
		}
		bpf_rcu_read_unlock();
		if (!found)
			break;
	}
	return 0;
}

/* For each device, reg_id is set to the number of devices in its namespace */
SEC("iter/netdev")
int seq_neighbours(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev, *d;
	struct netdev_seen s = {};
	struct net *net;

	if (!dev)
		return 0;
	describe(&s, dev);
	s.reg_id = 0;
	net = bpf_dev_net(dev);
	if (net)
		bpf_for_each(netdev, d, net, 0, 0)
			s.reg_id++;
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

/* Walks with bad arguments. Return: the number of devices they show */
SEC("syscall")
int open_bad_args(void *ctx)
{
	struct net_device *dev;
	struct net *net;
	int shown = 0;

	bpf_rcu_read_lock();
	bpf_for_each(netdev, dev, 0, 0, 0)
		shown++;
	bpf_for_each(netdev, dev, 0, 0, BPF_NETDEV_ITER_ALL << 1)
		shown++;
	bpf_for_each(netns, net, 0)
		bpf_for_each(netdev, dev, net, 0, BPF_NETDEV_ITER_ALL)
			shown++;
	bpf_rcu_read_unlock();
	return shown;
}

/* The same in a kprobe */
SEC("kprobe/" SYS_PREFIX "sys_getpgid")
int probe_netdev(void *ctx)
{
	if ((bpf_get_current_pid_tgid() >> 32) == pid)
		see_all();
	return 0;
}

/* next() after the end returns NULL again */
SEC("syscall")
int open_past_end(void *ctx)
{
	struct bpf_iter_netdev devs;
	struct bpf_iter_netns nets;
	int again = 0;

	bpf_rcu_read_lock();
	bpf_iter_netns_new(&nets, 0);
	while (bpf_iter_netns_next(&nets))
		;
	again += !!bpf_iter_netns_next(&nets);
	bpf_iter_netns_destroy(&nets);

	bpf_iter_netdev_new(&devs, 0, 0, BPF_NETDEV_ITER_ALL);
	while (bpf_iter_netdev_next(&devs))
		;
	again += !!bpf_iter_netdev_next(&devs);
	bpf_iter_netdev_destroy(&devs);
	bpf_rcu_read_unlock();
	return again;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(trace_netdev)
{
	if ((bpf_get_current_pid_tgid() >> 32) == pid)
		see_all();
	return 0;
}

char _license[] SEC("license") = "GPL";
