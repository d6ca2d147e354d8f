// SPDX-License-Identifier: GPL-2.0
/* Statistics of the devices of all namespaces, sorted and filtered in the kernel. */
#include <linux/bpf.h>
#include "netdev_iter.h"
#include "netdevs.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define TC_H_MAJ(h) ((h) & 0xffff0000)
#define DEVICES_AT_ONCE 256	/* in one RCU read-side critical section */

struct netdev_queue {
	struct net_device *dev;
} __kernel;

struct sk_buff {
	struct sk_buff *next;
} __kernel;

/* ---- the query --------------------------------------------------------- */

__u32 sort_by;
__u32 only_netns;		/* 0: all */
char only_name[NAME_SIZE];	/* prefix of the device name */
__u64 at_least;			/* least value of the sort key */
__u32 rows_wanted = ROWS_MAX;

/* ---- the result ----------------------------------------------------------- */

struct netdevs_row rows[ROWS_MAX];
__u32 order[ROWS_MAX];		/* indexes of rows[], the largest key first */
__u32 rows_found;
__u32 devices;			/* number of devices visited */
__u32 next_dev;			/* reg_id to continue at, 0: complete */

/* ---- histograms, kept while the tool runs ----------------------------------- */

struct hist {
	__u32 occupancy[BUCKETS];
	__u32 usecs[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);	/* dev->reg_id */
	__type(value, struct hist);
} hists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);	/* address of the skb of a packet in a qdisc */
	__type(value, __u64);	/* time when it was enqueued */
} waiting SEC(".maps");

static const struct hist no_hist;

/* 0, 1, 2-3, 4-7, ... */
static __always_inline __u32 bucket(__u64 v)
{
	__u32 i, shift;

	if (v >> (BUCKETS - 1))
		return BUCKETS - 1;
	i = v > 0;
	for (shift = 16; shift; shift >>= 1) {
		if (v >> shift) {
			v >>= shift;
			i += shift;
		}
	}
	return i < BUCKETS ? i : BUCKETS - 1;
}

static __always_inline struct hist *hist_of(const struct netdev_queue *txq)
{
	__u32 id = txq->dev->reg_id;
	struct hist *h;

	h = bpf_map_lookup_elem(&hists, &id);
	if (h)
		return h;
	bpf_map_update_elem(&hists, &id, &no_hist, BPF_NOEXIST);
	return bpf_map_lookup_elem(&hists, &id);
}

/* The packet is already counted in the qdisc, which may be a child of mq. Some
 * qdiscs are bypassed if a packet need not wait; then nothing is counted.
 */
SEC("tp_btf/qdisc_enqueue")
int BPF_PROG(enqueue, struct Qdisc *q, const struct netdev_queue *txq, struct sk_buff *skb)
{
	struct bpf_qdisc_stats stats = {};
	__u64 now = bpf_ktime_get_ns(), packet = (__u64)skb;
	struct hist *h = hist_of(txq);
	__u32 i;

	if (!h)
		return 0;
	bpf_map_update_elem(&waiting, &packet, &now, BPF_ANY);
	bpf_qdisc_get_stats(q, &stats, sizeof(stats));
	i = bucket(stats.qlen ? stats.qlen - 1 : 0);
	__sync_fetch_and_add(&h->occupancy[i], 1);
	return 0;
}

SEC("tp_btf/qdisc_dequeue")
int BPF_PROG(dequeue, struct Qdisc *q, const struct netdev_queue *txq, int packets,
	     struct sk_buff *skb)
{
	struct hist *h = hist_of(txq);
	__u64 packet = (__u64)skb, *since;
	__u32 i;

	if (!h)
		return 0;
	/* Several packets are a list */
	bpf_repeat(64) {
		if (!packet)
			break;
		since = bpf_map_lookup_elem(&waiting, &packet);
		if (since) {
			i = bucket((bpf_ktime_get_ns() - *since) / 1000);
			__sync_fetch_and_add(&h->usecs[i], 1);
		}
		bpf_map_delete_elem(&waiting, &packet);
		packet = (__u64)BPF_CORE_READ((struct sk_buff *)packet, next);
	}
	return 0;
}

/* ---- the walk ----------------------------------------------------------------- */

static struct netdevs_row row;
static struct rtnl_link_stats64 stats;

static __always_inline bool wanted(void)
{
	int i;

	if (only_netns && row.netns != only_netns)
		return false;
	bpf_for(i, 0, sizeof(only_name)) {
		if (!only_name[i])
			break;
		if (row.name[i] != only_name[i])
			return false;
	}
	return true;
}

static __always_inline void add_qdisc(const struct bpf_qdisc_stats *s)
{
	row.qlen += s->qlen;
	row.backlog += s->backlog;
	row.drops += s->drops;
}

static __always_inline void add_qdiscs(struct net_device *dev)
{
	struct bpf_qdisc_stats s = {};
	struct Qdisc *q;
	__u32 root = 0;
	int err = 0;

	/* The first one is the root. Its statistics include those of the others. */
	bpf_for_each(qdisc, q, dev) {
		bpf_probe_read_kernel_str(row.qdisc, sizeof(row.qdisc), q->ops->id);
		root = q->handle;
		err = bpf_qdisc_get_stats(q, &s, sizeof(s));
		break;
	}
	add_qdisc(&s);
	if (!err)
		return;
	/* The root has more children than one call adds up. */
	bpf_for_each(qdisc, q, dev) {
		if (TC_H_MAJ(q->parent) == root && !bpf_qdisc_get_stats(q, &s, sizeof(s)))
			add_qdisc(&s);
	}
}

static __always_inline void add_hist(void)
{
	struct hist *h = bpf_map_lookup_elem(&hists, &row.reg_id);

	if (!h)
		return;
	__builtin_memcpy(row.occupancy, h->occupancy, sizeof(row.occupancy));
	__builtin_memcpy(row.usecs, h->usecs, sizeof(row.usecs));
}

static __always_inline void start_row(struct net_device *dev)
{
	struct net *net = dev->nd_net.net;

	__builtin_memset(&row, 0, sizeof(row));
	row.netns = net ? net->ns.inum : 0;
	row.reg_id = dev->reg_id;
	row.ifindex = dev->ifindex;
	__builtin_memcpy(row.name, dev->name, sizeof(row.name));
}

static __always_inline void fill_row(struct net_device *dev)
{
	row.rx_bytes = stats.rx_bytes;
	row.tx_bytes = stats.tx_bytes;
	row.rx_packets = stats.rx_packets;
	row.tx_packets = stats.tx_packets;
	row.drops = stats.rx_dropped + stats.rx_missed_errors + stats.tx_dropped;
	row.errors = stats.rx_errors + stats.tx_errors;
	add_qdiscs(dev);
	add_hist();

	switch (sort_by) {
	case BY_BYTES:
		row.key = row.rx_bytes + row.tx_bytes;
		break;
	case BY_PACKETS:
		row.key = row.rx_packets + row.tx_packets;
		break;
	case BY_DROPS:
		row.key = row.drops;
		break;
	case BY_ERRORS:
		row.key = row.errors;
		break;
	case BY_BACKLOG:
		row.key = row.backlog;
		break;
	}
}

/* Insert the row at its place; if all rows are used, the smallest is dropped. */
static __always_inline void keep_row(void)
{
	__u32 n = rows_found, slot, at, i;

	if (n > ROWS_MAX || rows_wanted > ROWS_MAX || !rows_wanted)
		return;
	if (n < rows_wanted) {
		slot = n;
		at = n;
		rows_found = n + 1;
	} else {
		at = rows_wanted - 1;
		slot = order[at & (ROWS_MAX - 1)];
		if (rows[slot & (ROWS_MAX - 1)].key >= row.key)
			return;
	}
	rows[slot & (ROWS_MAX - 1)] = row;
	bpf_for(i, 0, ROWS_MAX) {
		__u32 before;

		if (!at)
			break;
		before = order[(at - 1) & (ROWS_MAX - 1)];
		if (rows[before & (ROWS_MAX - 1)].key >= row.key)
			break;
		order[at & (ROWS_MAX - 1)] = before;
		at--;
	}
	order[at & (ROWS_MAX - 1)] = slot;
}

/* Visit some devices, from @from on. Return: the device to continue at, 0 at the end */
static __always_inline __u32 pull_some(__u32 from)
{
	struct net_device *dev;
	__u32 n = 0;

	bpf_for_each(netdev, dev, 0, from, BPF_NETDEV_ITER_ALL) {
		if (n++ == DEVICES_AT_ONCE)
			return dev->reg_id;
		devices++;
		start_row(dev);
		if (!wanted() || bpf_netdev_get_stats64(dev, &stats, sizeof(stats)))
			continue;
		fill_row(dev);
		if (row.key >= at_least)
			keep_row();
	}
	return 0;
}

/* Must be run again until next_dev is 0 */
SEC("syscall")
int pull(void *ctx)
{
	if (!next_dev) {
		rows_found = 0;
		devices = 0;
	}
	bpf_rcu_read_lock();
	next_dev = pull_some(next_dev);
	bpf_rcu_read_unlock();
	return 0;
}

char _license[] SEC("license") = "GPL";
