// SPDX-License-Identifier: GPL-2.0
/* What the devices of all namespaces do, filtered in the kernel. */
#include <linux/bpf.h>
#include "netdev_iter.h"
#include "netdevs.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define TC_H_ROOT	0xFFFFFFFFU
#define TC_H_INGRESS	0xFFFFFFF1U
#define TC_H_MAJ(h)	((h) & 0xFFFF0000U)
#define TCQ_F_INVISIBLE	0x80
#define TCQ_F_NOLOCK	0x100
#define E2BIG		7

struct dql {
	unsigned int num_queued;
	unsigned int num_completed;
	unsigned int limit;
} __kernel;

struct netdev_queue {
	struct net_device *dev;
	struct Qdisc *qdisc;
	struct dql dql;
} __kernel;

struct netdev_queue_stats_rx {
	__u64 bytes, packets;
	__u64 alloc_fail;
	__u64 hw_drops, hw_drop_overruns;
	__u64 csum_bad;
} __kernel;

struct netdev_queue_stats_tx {
	__u64 bytes, packets;
	__u64 hw_drops, hw_drop_errors;
	__u64 stop, wake;
} __kernel;

enum { QUEUE_TYPE_RX, QUEUE_TYPE_TX };

struct sk_buff {
	struct sk_buff *next;
	struct net_device *dev;
	__u16 queue_mapping;
} __kernel;

/* More of those in netdev_iter.h */
struct qdisc_skb_head {
	__u32 qlen;
} __kernel;

struct sk_buff_head {
	__u32 qlen;
} __kernel;

struct Qdisc___queue {
	int (*enqueue)(void);
	struct sk_buff_head gso_skb;	/* that come again: the driver was busy */
	struct qdisc_skb_head q;
	long privdata[];
} __kernel;

struct net_device___queue {
	struct netdev_queue *_tx;
	unsigned int real_num_rx_queues;
	unsigned int real_num_tx_queues;
} __kernel;

struct ptr_ring {
	int producer;
	int consumer_head;
	int size;
	void **queue;
} __kernel;

struct skb_array {
	struct ptr_ring ring;
} __kernel;

struct pfifo_fast_priv {
	struct skb_array q[3];
} __kernel;

void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __weak __ksym;

/* ---- the question --------------------------------------------------------- */

__u32 only_netns;			/* 0: of all */
__u64 only_name[NAME_SIZE / 8];		/* empty: any */
bool all_qdiscs;			/* or only the root and that of ingress */

/* ---- the answer, some devices at a time ------------------------------------- */

struct netdevs_row rows[ROWS_AT_ONCE];
struct netdevs_qdisc qdiscs[QDISCS_AT_ONCE];
__u32 rows_found;
__u32 qdiscs_found;
__u32 devices;			/* that were looked at since the first call */
__u32 next_dev;			/* where to continue, 0: it is complete */

/* ---- histograms, kept while the tool runs ----------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);	/* dev->reg_id */
	__type(value, __u32);
} watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct netdevs_hist_key);
	__type(value, struct netdevs_hist);
} hists SEC(".maps");

struct stamp {
	__u64 since;
	struct netdevs_hist_key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);	/* a packet on its way to the driver */
	__type(value, struct stamp);
} waiting SEC(".maps");

static const struct netdevs_hist no_hist;

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

static __always_inline struct netdevs_hist *hist_of(const struct netdevs_hist_key *key)
{
	struct netdevs_hist *h;

	h = bpf_map_lookup_elem(&hists, key);
	if (h)
		return h;
	bpf_map_update_elem(&hists, key, &no_hist, BPF_NOEXIST);
	return bpf_map_lookup_elem(&hists, key);
}

static __always_inline bool is_watched(__u32 reg_id)
{
	return bpf_map_lookup_elem(&watched, &reg_id);
}

/* What is read from it is not trusted, and zero if it is not there. */
static __always_inline struct netdev_queue *tx_queue(const struct net_device *dev, __u32 i)
{
	__u64 queues = 0;

	bpf_core_read(&queues, sizeof(queues), &((struct net_device___queue *)dev)->_tx);
	queues += i * bpf_core_type_size(struct netdev_queue);
	return bpf_rdonly_cast((void *)queues, bpf_core_type_id_kernel(struct netdev_queue));
}

/* Of the transmit queue that was chosen for a packet */
static __always_inline struct Qdisc *qdisc_of(const struct sk_buff *skb,
					      const struct net_device *dev)
{
	return tx_queue(dev, skb->queue_mapping)->qdisc;
}

/* Packets in the three rings of pfifo_fast, which counts them by CPU, and one would
 * have to look at all of them.
 */
static __always_inline __u32 pfifo_fast_qlen(const struct Qdisc___queue *q)
{
	__u32 sum = q->gso_skb.qlen;
	const void *rings;
	int i;

	if (!bpf_core_type_exists(struct pfifo_fast_priv))
		return sum;
	rings = (void *)q + bpf_core_field_offset(q->privdata) +
		bpf_core_field_offset(struct pfifo_fast_priv, q);
	for (i = 0; i < 3; i++) {
		const struct ptr_ring *r = bpf_rdonly_cast(rings,
				bpf_core_type_id_kernel(struct ptr_ring));
		int n = r->producer - r->consumer_head;
		__u64 at = 0;

		/* It is full or empty: what is there? */
		if (!n && r->size)
			bpf_probe_read_kernel(&at, sizeof(at), r->queue + r->producer);
		sum += n < 0 || at ? n + r->size : n;
		rings += bpf_core_type_size(struct skb_array);
	}
	return sum;
}

/* Before the qdisc sees it, if it is not bypassed. A device without one has a qdisc
 * (noqueue) that takes nothing.
 */
SEC("tp_btf/net_dev_queue")
int BPF_PROG(arrive, struct sk_buff *skb)
{
	const struct net_device *dev = skb->dev;
	const struct Qdisc___queue *queue;
	__u64 packet = (__u64)skb;
	struct netdevs_hist *h;
	struct stamp s = {};
	struct Qdisc *q;

	s.key.reg_id = dev->reg_id;
	if (!is_watched(s.key.reg_id))
		return 0;
	q = qdisc_of(skb, dev);
	queue = (void *)q;
	if (!queue || !queue->enqueue)
		return 0;
	s.key.handle = q->handle;
	s.key.parent = q->parent;
	h = hist_of(&s.key);
	if (h)
		h->occupancy[bucket(q->flags & TCQ_F_NOLOCK ? pfifo_fast_qlen(queue) :
							      queue->q.qlen)]++;
	s.since = bpf_ktime_get_ns();
	bpf_map_update_elem(&waiting, &packet, &s, BPF_ANY);
	return 0;
}

/* Before, in or after the qdisc: its segments take its place. */
SEC("fexit/__skb_gso_segment")
int BPF_PROG(segmented, struct sk_buff *skb, __u64 features, bool tx_path,
	     struct sk_buff *segs)
{
	__u64 packet = (__u64)skb, seg = (__u64)segs;
	struct stamp *found, s;

	if (!seg || seg >= (__u64)-4095)
		return 0;
	found = bpf_map_lookup_elem(&waiting, &packet);
	if (!found)
		return 0;
	s = *found;
	bpf_map_delete_elem(&waiting, &packet);
	bpf_repeat(1024) {
		if (!seg)
			break;
		bpf_map_update_elem(&waiting, &seg, &s, BPF_ANY);
		seg = (__u64)BPF_CORE_READ((struct sk_buff *)seg, next);
	}
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(start_xmit, struct sk_buff *skb, struct net_device *dev)
{
	__u64 now = bpf_ktime_get_ns(), packet = (__u64)skb;
	struct netdevs_hist_key key = {};
	const struct Qdisc___queue *queue;
	struct netdevs_hist *h;
	struct stamp *s;
	struct Qdisc *q;

	key.reg_id = dev->reg_id;
	if (!is_watched(key.reg_id))
		return 0;
	s = bpf_map_lookup_elem(&waiting, &packet);
	if (s && s->key.reg_id == key.reg_id) {
		h = hist_of(&s->key);
		if (h)
			h->usecs[bucket((now - s->since) / 1000)]++;
		bpf_map_delete_elem(&waiting, &packet);
		return 0;
	}
	q = qdisc_of(skb, dev);
	queue = (void *)q;
	if (!queue || !queue->enqueue)
		return 0;
	key.handle = q->handle;
	key.parent = q->parent;
	h = hist_of(&key);
	if (h)
		h->untimed++;
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(dropped, struct sk_buff *skb)
{
	__u64 packet = (__u64)skb;
	struct netdevs_hist *h;
	struct stamp *s;

	s = bpf_map_lookup_elem(&waiting, &packet);
	if (!s)
		return 0;
	h = hist_of(&s->key);
	if (h)
		h->dropped++;
	bpf_map_delete_elem(&waiting, &packet);
	return 0;
}

/* ---- the walk ----------------------------------------------------------------- */

/* In a kernel without packet schedulers */
static __always_inline bool has_qdiscs(void)
{
	return bpf_ksym_exists(bpf_iter_qdisc_new);
}

/* An mq that has more queues than one call adds up */
static __always_inline void add_children(struct net_device *dev, struct netdevs_qdisc *sum)
{
	struct netdevs_qdisc s = {};
	struct Qdisc *q;

	bpf_for_each(qdisc, q, dev) {
		if (TC_H_MAJ(q->parent) != TC_H_MAJ(sum->handle) || q->parent == TC_H_ROOT ||
		    bpf_qdisc_get_stats(q, &s, offsetof(struct netdevs_qdisc, handle)))
			continue;
		sum->bytes += s.bytes;
		sum->packets += s.packets;
		sum->qlen += s.qlen;
		sum->backlog += s.backlog;
		sum->drops += s.drops;
		sum->requeues += s.requeues;
		sum->overlimits += s.overlimits;
	}
}

/* Returns whether there was room for all. */
static __always_inline bool add_qdiscs(struct net_device *dev, struct netdevs_row *r)
{
	struct netdevs_qdisc *d;
	struct Qdisc *q;
	__u32 n;

	r->first_qdisc = qdiscs_found;
	r->qdiscs = 0;
	if (!has_qdiscs())
		return true;
	bpf_for_each(qdisc, q, dev) {
		if (q->flags & TCQ_F_INVISIBLE)
			continue;
		if (!all_qdiscs && q->parent != TC_H_ROOT && q->parent != TC_H_INGRESS)
			continue;
		n = qdiscs_found;
		if (n >= QDISCS_AT_ONCE)
			return false;
		d = &qdiscs[n];
		__builtin_memset(d, 0, sizeof(*d));
		d->handle = q->handle;
		d->parent = q->parent;
		bpf_probe_read_kernel_str(d->kind, sizeof(d->kind), q->ops->id);
		if (bpf_qdisc_get_stats(q, d, offsetof(struct netdevs_qdisc, handle)) == -E2BIG)
			add_children(dev, d);
		qdiscs_found = n + 1;
		r->qdiscs++;
	}
	return true;
}

/* Does the question include it? Fills what that takes. */
static __always_inline bool wanted(struct net_device *dev, struct netdevs_row *r)
{
	struct net *net = NULL;

	if (bpf_core_field_exists(dev->nd_net.net))
		net = dev->nd_net.net;
	r->netns = net ? net->ns.inum : 0;
	r->netns_cookie = net ? net->net_cookie : 0;
	if (only_netns && r->netns != only_netns)
		return false;
	__builtin_memset(r->name, 0, sizeof(r->name));
	bpf_probe_read_kernel_str(r->name, sizeof(r->name), dev->name);
	return !only_name[0] || (only_name[0] == *(__u64 *)r->name &&
				 only_name[1] == *(__u64 *)(r->name + 8));
}

/* In this call. The verifier would follow a variable of the stack, step by step. */
static __u32 looked_at;

/* Some devices, from @from on. Returns where to continue, 0 at the end. */
static __always_inline __u32 pull_some(__u32 from)
{
	struct net_device *dev;
	struct netdevs_row *r;
	__u32 n;

	looked_at = 0;
	bpf_for_each(netdev, dev, 0, from, BPF_NETDEV_ITER_ALL) {
		n = rows_found;
		if (looked_at++ == ROWS_AT_ONCE || n >= ROWS_AT_ONCE)
			return dev->reg_id;
		devices++;
		r = &rows[n];
		if (!wanted(dev, r) ||
		    bpf_netdev_get_stats64(dev, &r->stats, sizeof(r->stats)))
			continue;
		r->reg_id = dev->reg_id;
		r->ifindex = dev->ifindex;
		r->rx_queues = ((struct net_device___queue *)dev)->real_num_rx_queues;
		r->tx_queues = ((struct net_device___queue *)dev)->real_num_tx_queues;
		/* Again, when there is more room */
		if (!add_qdiscs(dev, r) && n) {
			devices--;
			return dev->reg_id;
		}
		rows_found = n + 1;
	}
	return 0;
}

/* To be run again until next_dev is 0 */
SEC("syscall")
int pull(void *ctx)
{
	if (!next_dev)
		devices = 0;
	rows_found = 0;
	qdiscs_found = 0;
	bpf_rcu_read_lock();
	next_dev = pull_some(next_dev);
	bpf_rcu_read_unlock();
	return 0;
}

/* ---- the queues of a device, some at a time --------------------------------------- */

__u32 queue_dev, queue_type;	/* of this device, RX or TX */
__u32 queue_first, queue_last;	/* from this one to the one before that */
struct netdevs_queue queues[QUEUES_AT_ONCE];

static __u64 words[32];

#define COUNTER(dir, field) \
	words[bpf_core_field_offset(struct netdev_queue_stats_##dir, field) / 8 % 32]

static __always_inline void add_bql(struct net_device *dev)
{
	struct netdev_queue *txq;
	__u32 i;

	if (!bpf_core_field_exists(struct netdev_queue, dql))
		return;
	bpf_for(i, 0, QUEUES_AT_ONCE) {
		if (queue_first + i >= queue_last)
			break;
		txq = tx_queue(dev, queue_first + i);
		queues[i].bql_limit = txq->dql.limit;
		queues[i].bql_inflight = txq->dql.num_queued - txq->dql.num_completed;
	}
}

/* Asks the driver, which may sleep. */
static __always_inline void add_counters(struct netdevs_queue *q, __u32 i)
{
	if (!bpf_ksym_exists(bpf_netdev_get_queue_stats) ||
	    bpf_netdev_get_queue_stats(queue_dev, queue_type, i, words, sizeof(words)))
		return;
	__builtin_memset(q, 0xff, offsetof(struct netdevs_queue, bql_limit));
	q->counted = true;
	if (queue_type == QUEUE_TYPE_RX) {
		q->bytes = COUNTER(rx, bytes);
		q->packets = COUNTER(rx, packets);
		q->hw_drops = COUNTER(rx, hw_drops);
		q->hw_drop_overruns = COUNTER(rx, hw_drop_overruns);
		q->alloc_fail = COUNTER(rx, alloc_fail);
		q->csum_bad = COUNTER(rx, csum_bad);
	} else {
		q->bytes = COUNTER(tx, bytes);
		q->packets = COUNTER(tx, packets);
		q->hw_drops = COUNTER(tx, hw_drops);
		q->hw_drop_errors = COUNTER(tx, hw_drop_errors);
		q->stop = COUNTER(tx, stop);
		q->wake = COUNTER(tx, wake);
	}
}

SEC("syscall")
int pull_queues(void *ctx)
{
	struct net_device *dev;
	__u32 i;

	bpf_for(i, 0, QUEUES_AT_ONCE)
		__builtin_memset(&queues[i], 0, sizeof(queues[i]));
	if (queue_type == QUEUE_TYPE_TX) {
		bpf_rcu_read_lock();
		bpf_for_each(netdev, dev, 0, queue_dev, BPF_NETDEV_ITER_ALL) {
			if (dev->reg_id == queue_dev)
				add_bql(dev);
			break;
		}
		bpf_rcu_read_unlock();
	}
	bpf_for(i, 0, QUEUES_AT_ONCE) {
		if (queue_first + i >= queue_last)
			break;
		add_counters(&queues[i], queue_first + i);
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
