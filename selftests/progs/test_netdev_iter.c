// SPDX-License-Identifier: GPL-2.0
#include <stddef.h>
#include <linux/bpf.h>
#include "netdev_iter.h"
#include "test_netdev_iter.h"
#include <bpf/bpf_tracing.h>

#define TCQ_F_INVISIBLE 0x80

struct netdev_seen seen[NETDEV_ITER_MAX];
__u32 seen_count;
__u32 end_calls;	/* of a seq_file's program with NULL */
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

/* May sleep, and so has to ask for RCU where it needs it */
SEC("iter.s/netdev")
int seq_netdev_sleepable(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	struct netdev_seen s = {};

	if (!dev)
		return 0;
	bpf_rcu_read_lock();
	describe(&s, dev);
	bpf_rcu_read_unlock();
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
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
		bpf_qdisc_get_stats(q, &s->stats);
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
	bpf_netdev_get_stats64(dev, &stats_seen.stats);
	see_qdiscs(dev);
	bpf_seq_write(ctx->meta->seq, &stats_seen, sizeof(stats_seen));
	return 0;
}

SEC("iter/netdev")
int seq_netdev_link(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;

	if (!dev || bpf_netdev_get_stats64(dev, &stats_seen.stats))
		return 0;
	describe(&stats_seen.dev, dev);
	bpf_seq_write(ctx->meta->seq, &stats_seen, offsetof(struct netdev_stats_seen, qdiscs));
	return 0;
}

/* What /proc/net/dev tells of a device, as it counts */
SEC("iter/netdev")
int seq_netdev_proc(struct bpf_iter__netdev *ctx)
{
	struct net_device *dev = ctx->dev;
	struct rtnl_link_stats64 s;
	struct netdev_proc p;

	if (!dev || bpf_netdev_get_stats64(dev, &s))
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

/* Documentation/bpf/netdev_iter.rst has this one. */
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
	if (!net || bpf_netdev_get_stats64(dev, &s))
		return 0;
	id = dev->reg_id;
	old = bpf_map_lookup_elem(&last, &id);
	before = old ? *old : 0;
	now = s.rx_dropped + s.tx_dropped;
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
	bpf_for_each(netns, net) {
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
	bpf_for_each(netdev, dev, 0) {
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
	bpf_for_each(netns, net) {
		bpf_for_each(netdev, dev, net) {
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

/* After the end there is nothing more */
SEC("syscall")
int open_past_end(void *ctx)
{
	struct bpf_iter_netdev devs;
	struct bpf_iter_netns nets;
	int again = 0;

	bpf_rcu_read_lock();
	bpf_iter_netns_new(&nets);
	while (bpf_iter_netns_next(&nets))
		;
	again += !!bpf_iter_netns_next(&nets);
	bpf_iter_netns_destroy(&nets);

	bpf_iter_netdev_new(&devs, 0);
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
