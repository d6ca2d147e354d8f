// SPDX-License-Identifier: GPL-2.0
/* Statistics of devices and qdiscs in BPF iterators: each field must be equal
 * to what rtnetlink reports to ip and tc.
 */
#include <assert.h>
#include <linux/gen_stats.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "netdev_test.h"
#include "progs/netdevs.h"
#include "progs/test_netdev_iter.h"
#include "netdevs.skel.h"
#include "test_netdev_iter.skel.h"

#define TRIES 100		/* attempts to read unchanging statistics */
#define FRAMES 40		/* more than fit into a queue */
#define QUEUES 2

struct stats {
	struct test_netdev_iter *skel;
	struct nl_ns a, b;
	int tap[QUEUES];
};

/* ---- what rtnetlink reports ---------------------------------------------------- */

struct told {
	int ifindex;
	struct rtnl_link_stats64 link;
	int qdiscs;
	struct qdisc_seen qdisc[16];
};

static void keep_link(struct nlmsghdr *h, void *arg)
{
	struct ifinfomsg *ifi = NLMSG_DATA(h);
	struct told *t = arg;
	struct rtattr *a;

	a = nl_find(IFLA_RTA(ifi), IFLA_PAYLOAD(h), IFLA_STATS64);
	if (ASSERT_OK_PTR(a, "IFLA_STATS64") &&
	    ASSERT_EQ(RTA_PAYLOAD(a), sizeof(t->link), "size of the statistics"))
		memcpy(&t->link, RTA_DATA(a), sizeof(t->link));
}

static void keep_qdisc_stats(struct rtattr *all, struct bpf_qdisc_stats *s)
{
	struct gnet_stats_basic *basic;
	struct gnet_stats_queue *queue;
	struct rtattr *a;

	a = nl_find(RTA_DATA(all), RTA_PAYLOAD(all), TCA_STATS_BASIC);
	if (ASSERT_OK_PTR(a, "TCA_STATS_BASIC")) {
		basic = RTA_DATA(a);
		s->bytes = basic->bytes;
		s->packets = basic->packets;
	}
	a = nl_find(RTA_DATA(all), RTA_PAYLOAD(all), TCA_STATS_QUEUE);
	if (ASSERT_OK_PTR(a, "TCA_STATS_QUEUE")) {
		queue = RTA_DATA(a);
		s->qlen = queue->qlen;
		s->backlog = queue->backlog;
		s->drops = queue->drops;
		s->requeues = queue->requeues;
		s->overlimits = queue->overlimits;
	}
}

static void keep_qdisc(struct nlmsghdr *h, void *arg)
{
	struct tcmsg *tcm = NLMSG_DATA(h);
	struct told *t = arg;
	struct qdisc_seen *q;
	struct rtattr *a;

	if (tcm->tcm_ifindex != t->ifindex || t->qdiscs == ARRAY_SIZE(t->qdisc))
		return;
	q = &t->qdisc[t->qdiscs++];
	q->handle = tcm->tcm_handle;
	q->parent = tcm->tcm_parent;
	a = nl_find(TCA_RTA(tcm), TCA_PAYLOAD(h), TCA_KIND);
	if (a)
		strncpy(q->kind, RTA_DATA(a), sizeof(q->kind) - 1);
	a = nl_find(TCA_RTA(tcm), TCA_PAYLOAD(h), TCA_STATS2);
	if (ASSERT_OK_PTR(a, "TCA_STATS2"))
		keep_qdisc_stats(a, &q->stats);
}

static bool ask(const struct nl_ns *ns, struct told *t)
{
	struct ifinfomsg ifi = { .ifi_index = t->ifindex };
	struct tcmsg tcm = { .tcm_ifindex = t->ifindex };
	struct nl_req r;

	t->qdiscs = 0;
	memset(t->qdisc, 0, sizeof(t->qdisc));
	nl_start(&r, RTM_GETLINK, 0, &ifi, sizeof(ifi));
	if (!ASSERT_OK(nl_talk(ns->nl, &r, keep_link, t), "RTM_GETLINK"))
		return false;
	nl_start(&r, RTM_GETQDISC, NLM_F_DUMP, &tcm, sizeof(tcm));
	return ASSERT_OK(nl_talk(ns->nl, &r, keep_qdisc, t), "RTM_GETQDISC");
}

/* ---- what BPF reports ----------------------------------------------------------- */

static bool pull(struct stats *s, const struct nl_ns *ns, int ifindex,
		 struct netdev_stats_seen *seen)
{
	struct bpf_link *link;
	int fd, n = -1;

	link = attach_to(s->skel->progs.seq_netdev_stats, ns->fd, ifindex);
	if (!ASSERT_OK_PTR(link, "attach"))
		return false;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (ASSERT_OK_FD(fd, "create iterator")) {
		n = read(fd, seen, sizeof(*seen));
		ASSERT_EQ(n, sizeof(*seen), "read");
		close(fd);
	}
	bpf_link__destroy(link);
	return n == sizeof(*seen);
}

static const char * const link_fields[] = {
	"rx_packets",
	"tx_packets",
	"rx_bytes",
	"tx_bytes",
	"rx_errors",
	"tx_errors",
	"rx_dropped",
	"tx_dropped",
	"multicast",
	"collisions",
	"rx_length_errors",
	"rx_over_errors",
	"rx_crc_errors",
	"rx_frame_errors",
	"rx_fifo_errors",
	"rx_missed_errors",
	"tx_aborted_errors",
	"tx_carrier_errors",
	"tx_fifo_errors",
	"tx_heartbeat_errors",
	"tx_window_errors",
	"rx_compressed",
	"tx_compressed",
	"rx_nohandler",
	"rx_otherhost_dropped",
};

static void compare_link(const struct rtnl_link_stats64 *bpf, const struct rtnl_link_stats64 *nl)
{
	const __u64 *b = (const __u64 *)bpf, *n = (const __u64 *)nl;
	int i;

	static_assert(sizeof(*bpf) == ARRAY_SIZE(link_fields) * sizeof(__u64), "all fields");
	for (i = 0; i < ARRAY_SIZE(link_fields); i++)
		ASSERT_EQ(b[i], n[i], link_fields[i]);
}

static void compare_qdiscs(const struct netdev_stats_seen *bpf, const struct told *nl)
{
	const struct qdisc_seen *b, *n;
	int i, j;

	ASSERT_EQ(bpf->qdiscs, nl->qdiscs, "qdiscs");
	for (i = 0; i < nl->qdiscs; i++) {
		n = &nl->qdisc[i];
		for (j = 0; j < bpf->qdiscs; j++) {
			b = &bpf->qdisc[j];
			if (b->handle == n->handle && b->parent == n->parent)
				break;
		}
		if (!ASSERT_LT(j, bpf->qdiscs, n->kind))
			continue;
		ASSERT_STREQ(b->kind, n->kind, "kind");
		ASSERT_EQ(b->stats.bytes, n->stats.bytes, "bytes");
		ASSERT_EQ(b->stats.packets, n->stats.packets, "packets");
		ASSERT_EQ(b->stats.qlen, n->stats.qlen, "qlen");
		ASSERT_EQ(b->stats.backlog, n->stats.backlog, "backlog");
		ASSERT_EQ(b->stats.drops, n->stats.drops, "drops");
		ASSERT_EQ(b->stats.requeues, n->stats.requeues, "requeues");
		ASSERT_EQ(b->stats.overlimits, n->stats.overlimits, "overlimits");
	}
}

/* Compare both, for a device whose statistics do not change meanwhile. Return:
 * those of rtnetlink
 */
static const struct told *compare(struct stats *s, const struct nl_ns *ns, int ifindex)
{
	static struct told before, after;
	struct netdev_stats_seen seen;
	int i;

	before.ifindex = ifindex;
	after.ifindex = ifindex;
	for (i = 0; i < TRIES; i++) {
		if (!ask(ns, &before) || !pull(s, ns, ifindex, &seen) || !ask(ns, &after))
			return NULL;
		if (memcmp(&before, &after, sizeof(before)))
			continue;
		compare_link(&seen.stats, &after.link);
		compare_qdiscs(&seen, &after);
		return &after;
	}
	ASSERT_FAIL("statistics keep changing");
	return NULL;
}

/* ---- traffic -------------------------------------------------------------------- */

/* Send @count frames of @len bytes on a device. Some may be dropped, then
 * sendto() fails.
 */
static void send_frames(const struct nl_ns *ns, int ifindex, int count, int len)
{
	int fd = packet_socket(ns), i;

	for (i = 0; ASSERT_OK_FD(fd, "packet socket") && i < count; i++)
		send_frame(fd, ifindex, len, 0);
	close(fd);
}

/* The carrier of a device is used only after a worker has processed its change.
 * A request for this device waits for that.
 */
static void settle(const struct nl_ns *ns, const char *name)
{
	ASSERT_GT(nl_link_index(ns, name), 0, name);
}

static int up(const struct nl_ns *ns, const char *name)
{
	int ifindex = nl_link_index(ns, name);

	ASSERT_OK(nl_link_up(ns, ifindex, true), name);
	return ifindex;
}

static int mtu(const struct nl_ns *ns, int ifindex, __u32 mtu)
{
	return nl_link_change(ns, ifindex, IFLA_MTU, &mtu, sizeof(mtu));
}

/* No packets of the kernel's own */
static void no_ipv6(const struct nl_ns *ns)
{
	int here = nl_enter(ns);

	write_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	write_sysctl("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	nl_leave(here);
}

/* A veth pair between the two namespaces */
static void make_veth(struct stats *s, int *a, int *b)
{
	ASSERT_OK(nl_veth_new(&s->a, "va", &s->b, "vb"), "veth");
	*a = up(&s->a, "va");
	*b = up(&s->b, "vb");
	settle(&s->a, "va");
}

/* ---- devices --------------------------------------------------------------------- */

/* Frames without a handler, and frames larger than the MTU of the peer, count
 * as dropped.
 */
static void veth(struct stats *s)
{
	const struct told *t;
	int a, b;

	make_veth(s, &a, &b);
	send_frames(&s->a, a, 5, FRAME_LEN);
	ASSERT_OK(mtu(&s->b, b, FRAME_LEN / 2), "mtu");
	send_frames(&s->a, a, 7, FRAME_LEN);
	send_frames(&s->b, b, 3, FRAME_LEN / 2);

	t = compare(s, &s->a, a);
	if (t) {
		ASSERT_EQ(t->link.tx_packets, 5, "sent");
		ASSERT_EQ(t->link.tx_dropped, 7, "dropped on transmit");
		ASSERT_EQ(t->link.rx_packets, 3, "received");
	}
	t = compare(s, &s->b, b);
	if (t) {
		ASSERT_EQ(t->link.rx_packets, 5, "received");
		ASSERT_EQ(t->link.rx_dropped, 5 + 7, "dropped on receive");
	}
}

static void dummy(struct stats *s)
{
	const struct told *t;
	int ifindex;

	ASSERT_OK(nl_link_new(&s->a, "dum", "dummy"), "dummy");
	ifindex = up(&s->a, "dum");
	send_frames(&s->a, ifindex, 5, FRAME_LEN);
	t = compare(s, &s->a, ifindex);
	if (t)
		ASSERT_EQ(t->link.tx_bytes, 5 * FRAME_LEN, "bytes sent");
}

static void loopback(struct stats *s)
{
	const struct told *t;
	int ifindex;

	ifindex = up(&s->a, "lo");
	send_frames(&s->a, ifindex, 5, FRAME_LEN);
	t = compare(s, &s->a, ifindex);
	if (t) {
		ASSERT_EQ(t->link.tx_packets, 5, "sent");
		ASSERT_EQ(t->link.rx_packets, 5, "received");
	}
}

/* The bridge passes frames from its port up to itself, and floods its own
 * frames to the port.
 */
static void bridge(struct stats *s)
{
	const struct told *t;
	int br, port, peer;

	ASSERT_OK(nl_link_new(&s->a, "br", "bridge"), "bridge");
	ASSERT_OK(nl_veth_new(&s->a, "port", &s->b, "peer"), "veth");
	br = nl_link_index(&s->a, "br");
	port = nl_link_index(&s->a, "port");
	ASSERT_OK(nl_link_change(&s->a, port, IFLA_MASTER, &br, sizeof(br)), "port");
	peer = up(&s->b, "peer");
	up(&s->a, "port");
	settle(&s->b, "peer");
	settle(&s->a, "port");
	up(&s->a, "br");
	settle(&s->a, "br");
	send_frames(&s->b, peer, 5, FRAME_LEN);
	send_frames(&s->a, br, 4, FRAME_LEN);
	t = compare(s, &s->a, br);
	if (t) {
		ASSERT_EQ(t->link.rx_packets, 5, "received");
		ASSERT_EQ(t->link.tx_packets, 4, "sent");
	}
	compare(s, &s->a, port);
}

static void vlan(struct stats *s)
{
	int a, b, va, vb;
	const struct told *t;

	make_veth(s, &a, &b);
	ASSERT_OK(nl_vlan_new(&s->a, "vlan", a, 7), "vlan");
	ASSERT_OK(nl_vlan_new(&s->b, "vlan", b, 7), "vlan");
	va = up(&s->a, "vlan");
	vb = up(&s->b, "vlan");
	send_frames(&s->a, va, 6, FRAME_LEN);
	/* The lower device drops frames that are too large for its peer */
	ASSERT_OK(mtu(&s->b, b, FRAME_LEN / 2), "mtu");
	send_frames(&s->a, va, 2, FRAME_LEN);
	t = compare(s, &s->a, va);
	if (t)
		ASSERT_EQ(t->link.tx_packets + t->link.tx_dropped, 8, "sent or dropped");
	t = compare(s, &s->b, vb);
	if (t)
		ASSERT_EQ(t->link.rx_packets, 6, "received");
	compare(s, &s->a, a);
}

/* A tun or tap device with @queues transmit queues, each of which stops after
 * RING frames, as nobody reads them.
 */
static int make_tap(struct stats *s, int flags, int queues)
{
	struct ifreq ifr = {
		.ifr_flags = flags | IFF_NO_PI | IFF_VNET_HDR | IFF_BACKPRESSURE,
		.ifr_name = "tap",
	};
	int here = nl_enter(&s->a), i, ifindex;
	__u32 txqlen = RING;

	if (queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	for (i = 0; i < queues; i++) {
		s->tap[i] = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
		ASSERT_OK_FD(s->tap[i], "open tun");
		ASSERT_OK(ioctl(s->tap[i], TUNSETIFF, &ifr), "TUNSETIFF");
	}
	nl_leave(here);
	ifindex = nl_link_index(&s->a, "tap");
	ASSERT_OK(nl_link_change(&s->a, ifindex, IFLA_TXQLEN, &txqlen, sizeof(txqlen)),
		  "txqlen");
	return ifindex;
}

static void close_tap(struct stats *s)
{
	int i;

	for (i = 0; i < QUEUES; i++)
		if (s->tap[i] > 0)
			close(s->tap[i]);
}

/* IPv4 packets with an invalid gso_type in struct virtio_net_hdr are written to
 * the tun device.
 */
static void multi_queue(struct stats *s)
{
	char bad[100] = { [1] = 0x08, [10] = 0x45 };
	const struct told *t;
	int ifindex, i;

	ifindex = make_tap(s, IFF_TUN, QUEUES);
	ASSERT_OK(nl_link_up(&s->a, ifindex, true), "up");
	send_frames(&s->a, ifindex, FRAMES, FRAME_LEN);
	for (i = 0; i < 3; i++)
		ASSERT_ERR(write(s->tap[i % QUEUES], bad, sizeof(bad)), "bad packet");
	t = compare(s, &s->a, ifindex);
	if (t)
		ASSERT_EQ(t->link.rx_frame_errors, 3, "errors");
	close_tap(s);
}

/* Several devices in one read, each with its own statistics */
static void many(struct stats *s)
{
	size_t len = offsetof(struct netdev_stats_seen, qdiscs);
	struct netdev_stats_seen *seen = NULL;
	int ifindex[20], fd, n, i, j;
	static char buf[1 << 16];
	struct bpf_link *link;
	char name[IFNAMSIZ];

	for (i = 0; i < ARRAY_SIZE(ifindex); i++) {
		snprintf(name, sizeof(name), "dum%d", i);
		ASSERT_OK(nl_link_new(&s->a, name, "dummy"), "dummy");
		ifindex[i] = up(&s->a, name);
		send_frames(&s->a, ifindex[i], i, FRAME_LEN);
	}
	link = bpf_program__attach_iter(s->skel->progs.seq_netdev_link, NULL);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	fd = bpf_iter_create(bpf_link__fd(link));
	n = read(fd, buf, sizeof(buf)) / len;
	for (i = 0; i < ARRAY_SIZE(ifindex); i++) {
		for (j = 0; j < n; j++) {
			seen = (void *)(buf + j * len);
			if (seen->dev.netns_cookie == s->a.cookie &&
			    seen->dev.ifindex == ifindex[i])
				break;
		}
		if (ASSERT_LT(j, n, "shown"))
			ASSERT_EQ(seen->stats.tx_packets, i, "sent");
	}
	close(fd);
	bpf_link__destroy(link);
}

/* The example of Documentation/bpf/netdev_iter.rst, for two devices in two
 * namespaces. It is read byte by byte: no line must be repeated because of
 * that.
 */
static void expect_dropped(struct stats *s, int a, int b)
{
	char text[4096], want[2][128];
	struct bpf_link *link;
	struct stat st;
	int fd, n, i;

	link = bpf_program__attach_iter(s->skel->progs.dropped, NULL);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	fd = bpf_iter_create(bpf_link__fd(link));
	ASSERT_OK_FD(fd, "create iterator");
	for (n = 0; n < sizeof(text) - 1 && read(fd, text + n, 1) == 1; n++)
		;
	text[n] = 0;
	close(fd);
	bpf_link__destroy(link);

	for (i = 0; i < 2; i++) {
		fstat(i ? s->b.fd : s->a.fd, &st);
		n = i ? b : a;
		snprintf(want[i], sizeof(want[i]), "netns %u %s: %d\n", (unsigned int)st.st_ino,
			 i ? "vb" : "va", n);
		if (n)
			ASSERT_HAS_SUBSTR(text, want[i], "dropped");
		else if (!ASSERT_NULL(strstr(text, i ? "vb" : "va"), "nothing dropped"))
			printf("%s\n", text);
	}
}

static void dropped(struct stats *s)
{
	int a, b;

	make_veth(s, &a, &b);
	send_frames(&s->a, a, 5, FRAME_LEN);
	compare(s, &s->b, b);
	expect_dropped(s, 0, 5);
	expect_dropped(s, 0, 0);
	ASSERT_OK(mtu(&s->b, b, FRAME_LEN / 2), "mtu");
	send_frames(&s->a, a, 7, FRAME_LEN);
	expect_dropped(s, 7, 7);
}

/* ---- qdiscs ------------------------------------------------------------------------ */

/* The queue is full, and further frames were dropped. */
static void check_full(const struct told *t, const char *kind)
{
	int i;

	for (i = 0; t && i < t->qdiscs; i++)
		if (!strcmp(t->qdisc[i].kind, kind) && t->qdisc[i].stats.qlen) {
			ASSERT_GT(t->qdisc[i].stats.backlog, 0, "backlog");
			ASSERT_GT(t->qdisc[i].stats.drops, 0, "drops");
			return;
		}
	ASSERT_FAIL("no %s with packets", kind);
}

static void one_queue(struct stats *s, const char *kind)
{
	int ifindex = make_tap(s, IFF_TAP, 1);

	ASSERT_OK(nl_link_up(&s->a, ifindex, true), "up");
	ASSERT_OK(qdisc_new(&s->a, ifindex, TC_H_ROOT, 0x10000, kind), kind);
	send_frames(&s->a, ifindex, FRAMES, FRAME_LEN);
	check_full(compare(s, &s->a, ifindex), kind);
	close_tap(s);
}

static void pfifo_fast(struct stats *s)
{
	one_queue(s, "pfifo_fast");
}

static void fq(struct stats *s)
{
	one_queue(s, "fq");
}

static void fq_codel(struct stats *s)
{
	one_queue(s, "fq_codel");
}

/* tbf has a child qdisc with the queue. */
static void tbf(struct stats *s)
{
	const struct told *t;
	int ifindex;

	ASSERT_OK(nl_link_new(&s->a, "dum", "dummy"), "dummy");
	ifindex = up(&s->a, "dum");
	ASSERT_OK(qdisc_new(&s->a, ifindex, TC_H_ROOT, 0x10000, "tbf"), "tbf");
	send_frames(&s->a, ifindex, FRAMES, FRAME_LEN);
	t = compare(s, &s->a, ifindex);
	check_full(t, "tbf");
	if (t)
		ASSERT_GT(t->qdisc[0].stats.overlimits, 0, "overlimits");
}

/* mq has no queue of its own, and reports the sum of its children, whether they
 * count per CPU or not.
 */
static void mq_sum(struct stats *s)
{
	static const char * const kinds[] = { "fq", "pfifo_fast", "fq_codel" };
	int ifindex = make_tap(s, IFF_TAP, QUEUES), i;
	char name[16];

	ASSERT_OK(nl_link_up(&s->a, ifindex, true), "up");
	ASSERT_OK(qdisc_new(&s->a, ifindex, TC_H_ROOT, 0x10000, "mq"), "mq");
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(name, sizeof(name), "mq, %s", kinds[i]);
		ASSERT_OK(qdisc_new(&s->a, ifindex, 0x10001, (2 + i) << 16, kinds[i]), name);
		send_frames(&s->a, ifindex, FRAMES, FRAME_LEN);
		check_full(compare(s, &s->a, ifindex), "mq");
	}
	close_tap(s);
}

static bool pull_once(struct bpf_program *prog, const struct nl_ns *ns, int ifindex)
{
	struct bpf_link *link;
	int fd, n = -1;
	char buf[16];

	link = attach_to(prog, ns->fd, ifindex);
	if (!ASSERT_OK_PTR(link, "attach"))
		return false;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (ASSERT_OK_FD(fd, "create iterator")) {
		n = read(fd, buf, sizeof(buf));
		close(fd);
	}
	bpf_link__destroy(link);
	return ASSERT_EQ(n, 0, "read");
}

/* Statistics are cut off at the size of the program's buffer; a larger buffer
 * is cleared.
 */
static void sizes(struct stats *s)
{
	struct sizes_seen *seen = &s->skel->bss->sizes;
	int ifindex, i;

	ASSERT_OK(nl_link_new(&s->a, "dum", "dummy"), "dummy");
	ifindex = up(&s->a, "dum");
	ASSERT_OK(qdisc_new(&s->a, ifindex, TC_H_ROOT, 0x10000, "fq"), "fq");
	send_frames(&s->a, ifindex, 3, FRAME_LEN);
	memset(seen, 0xff, sizeof(*seen));
	if (!pull_once(s->skel->progs.seq_netdev_sizes, &s->a, ifindex))
		return;
	/* rx_packets, tx_packets, rx_bytes, tx_bytes; bytes, packets */
	ASSERT_EQ(seen->link_short[0], 0, "received");
	ASSERT_EQ(seen->link_short[1], 3, "sent");
	ASSERT_EQ(seen->link_long[1], 3, "sent");
	ASSERT_EQ(seen->link_long[3], 3 * FRAME_LEN, "bytes sent");
	ASSERT_EQ(seen->link_err, -EINVAL, "size within a field");
	ASSERT_EQ(seen->qdisc_short[0], 3 * FRAME_LEN, "bytes");
	ASSERT_EQ(seen->qdisc_short[1], 3, "packets");
	ASSERT_EQ(seen->qdisc_long[1], 3, "packets");
	ASSERT_EQ(seen->qdisc_err, -EINVAL, "size within a field");
	for (i = LONG_STATS / 2; i < LONG_STATS; i++)
		if (!ASSERT_EQ(seen->link_long[i], 0, "cleared") ||
		    !ASSERT_EQ(seen->qdisc_long[i], 0, "cleared"))
			break;
}

/* The most sets of counters that bpf_qdisc_get_stats() adds up */
#define QDISC_STATS_MAX 2048

/* mq with one queue more than that: one call for all of them fails. The program
 * adds up the queues with a call for each.
 */
static void mq_many(struct stats *s)
{
	__u32 queues = QDISC_STATS_MAX + 1;
	struct rtattr *info;
	struct nl_req r;
	int ifindex;

	nl_link_start(&r, "many");
	nl_u32(&r, IFLA_NUM_TX_QUEUES, queues);
	info = nl_nest(&r, IFLA_LINKINFO);
	nl_str(&r, IFLA_INFO_KIND, "dummy");
	nl_end(&r, info);
	if (!ASSERT_OK(nl_talk(s->a.nl, &r, NULL, NULL), "dummy"))
		return;
	ifindex = up(&s->a, "many");
	ASSERT_OK(qdisc_new(&s->a, ifindex, TC_H_ROOT, 0x10000, "mq"), "mq");
	send_frames(&s->a, ifindex, 7, FRAME_LEN);
	if (!pull_once(s->skel->progs.seq_netdev_mq, &s->a, ifindex))
		return;
	ASSERT_EQ(s->skel->bss->mq_err, -E2BIG, "one call for all");
	ASSERT_EQ(s->skel->bss->mq_children, queues, "queues");
	ASSERT_EQ(s->skel->bss->mq_packets, 7, "packets");
}

/* Statistics are read while qdiscs are grafted: below a classful qdisc, one
 * that counts per CPU stops doing so.
 */
#define GRAFTS 30

struct grafter {
	const struct nl_ns *ns;
	int ifindex;
	int err;
};

static void *graft_thread(void *arg)
{
	static const char * const kinds[] = { "pfifo_fast", "fq_codel" };
	struct grafter *g = arg;
	int i;

	for (i = 0; i < GRAFTS && !g->err; i++)
		g->err = qdisc_new(g->ns, g->ifindex, 0x10001, (2 + i) << 16, kinds[i % 2]);
	return NULL;
}

static void grafts(struct stats *s)
{
	struct grafter g = { .ns = &s->b };
	struct netdev_stats_seen seen;
	pthread_t thread;
	int reads = 0;

	ASSERT_OK(nl_link_new(&s->b, "dum", "dummy"), "dummy");
	g.ifindex = up(&s->b, "dum");
	ASSERT_OK(qdisc_new(&s->b, g.ifindex, TC_H_ROOT, 0x10000, "tbf"), "tbf");
	if (!ASSERT_OK(pthread_create(&thread, NULL, graft_thread, &g), "thread"))
		return;
	while (pthread_tryjoin_np(thread, NULL)) {
		if (!pull(s, &s->b, g.ifindex, &seen))
			break;
		reads++;
	}
	ASSERT_OK(g.err, "graft");
	printf("%d reads, the qdisc replaced %d times\n", reads, GRAFTS);
	compare(s, &s->b, g.ifindex);
}

/* While a root qdisc is grafted, the device has the new one already, but the
 * transmit queues still have the old one, which must not be counted once per
 * queue.
 */
static void graft(struct stats *s)
{
	int ifindex = make_tap(s, IFF_TAP, QUEUES), i;
	struct bpf_link *link;
	struct told t = { .ifindex = ifindex };
	__u32 drops = 0;

	ASSERT_OK(nl_link_up(&s->a, ifindex, true), "up");
	link = bpf_program__attach(s->skel->progs.graft);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	s->skel->bss->graft_netns = s->a.cookie;
	s->skel->bss->graft_ifindex = ifindex;
	s->skel->bss->pid = getpid();
	for (i = 0; i < 3; i++) {
		ASSERT_OK(qdisc_new(&s->a, ifindex, TC_H_ROOT, 0x10000, "tbf"), "tbf");
		send_frames(&s->a, ifindex, FRAMES, FRAME_LEN);
		if (ask(&s->a, &t) && t.qdisc[0].stats.drops > drops)
			drops = t.qdisc[0].stats.drops;
		ASSERT_OK(qdisc_new(&s->a, ifindex, TC_H_ROOT, 0x20000, "mq"), "mq");
	}
	ASSERT_GT(drops, 0, "dropped");
	s->skel->bss->pid = 0;
	bpf_link__destroy(link);
	ASSERT_GT(s->skel->bss->graft_asked, 0, "asked");
	ASSERT_LE(s->skel->bss->graft_drops, drops, "drops");
out:
	close_tap(s);
}

/* ---- the programs of netdevs ------------------------------------------------ */

static __u32 sum(const __u32 *counts)
{
	__u32 total = 0;
	int i;

	for (i = 0; i < BUCKETS; i++)
		total += counts[i];
	return total;
}

static const struct netdevs_row *tool_row(struct netdevs *skel, int n)
{
	return &skel->bss->rows[skel->bss->order[n]];
}

/* Two devices of this namespace have dropped frames, one more than the other.
 * Devices without drops are left out. The histograms have, for each packet, how
 * many were in the queue before it, and for each packet that left the queue,
 * how long it was there.
 */
static void tool(struct stats *s)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct netdevs *skel;
	int dum, a, b;
	struct stat st;

	make_veth(s, &a, &b);
	ASSERT_OK(nl_link_new(&s->a, "dum", "dummy"), "dummy");
	dum = up(&s->a, "dum");
	ASSERT_OK(qdisc_new(&s->a, dum, TC_H_ROOT, 0x10000, "tbf"), "tbf");
	ASSERT_OK(mtu(&s->b, b, FRAME_LEN / 2), "mtu");
	skel = netdevs__open_and_load();
	if (!ASSERT_OK_PTR(skel, "load") || !ASSERT_OK(netdevs__attach(skel), "attach"))
		goto out;
	send_frames(&s->a, dum, FRAMES, FRAME_LEN);
	send_frames(&s->a, a, 7, FRAME_LEN);

	fstat(s->a.fd, &st);
	skel->bss->only_netns = st.st_ino;
	skel->bss->sort_by = BY_DROPS;
	skel->bss->at_least = 1;
	do {
		if (!ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pull), &opts),
			       "pull"))
			goto out;
	} while (skel->bss->next_dev);
	if (ASSERT_EQ(skel->bss->rows_found, 2, "devices")) {
		ASSERT_STREQ(tool_row(skel, 0)->name, "dum", "most");
		ASSERT_STREQ(tool_row(skel, 0)->qdisc, "tbf", "its qdisc");
		ASSERT_EQ(tool_row(skel, 0)->qlen, RING, "in the queue");
		ASSERT_EQ(sum(tool_row(skel, 0)->usecs), BURST, "dequeued");
		ASSERT_EQ(sum(tool_row(skel, 0)->occupancy), RING + BURST, "enqueued");
		ASSERT_EQ(tool_row(skel, 0)->occupancy[0], BURST + 1, "none before");
		ASSERT_EQ(tool_row(skel, 0)->occupancy[1], 1, "one before");
		ASSERT_STREQ(tool_row(skel, 1)->name, "va", "less");
		ASSERT_EQ(tool_row(skel, 1)->drops, 7, "drops");
	}
out:
	netdevs__destroy(skel);
}

/* ---------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(struct stats *s);
} tests[] = {
	{ "veth", veth },
	{ "dummy", dummy },
	{ "loopback", loopback },
	{ "bridge", bridge },
	{ "vlan", vlan },
	{ "multi_queue", multi_queue },
	{ "many", many },
	{ "sizes", sizes },
	{ "dropped", dropped },
	{ "pfifo_fast", pfifo_fast },
	{ "fq", fq },
	{ "fq_codel", fq_codel },
	{ "tbf", tbf },
	{ "mq", mq_sum },
	{ "mq_many", mq_many },
	{ "graft", graft },
	{ "grafts", grafts },
	{ "tool", tool },
};

static void run(struct test_netdev_iter *skel, void (*test)(struct stats *s))
{
	struct stats s = { .skel = skel };

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	memset(skel->bss, 0, sizeof(*skel->bss));
	if (ASSERT_OK(nl_ns_new(&s.a), "namespace")) {
		if (ASSERT_OK(nl_ns_new(&s.b), "namespace")) {
			no_ipv6(&s.a);
			no_ipv6(&s.b);
			test(&s);
			nl_ns_close(&s.b);
		}
		nl_ns_close(&s.a);
	}
}

void test_netdev_stats(void)
{
	struct test_netdev_iter *skel = NULL;
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		if (test__start_subtest(tests[i].name) && !kernel_lacks_kfuncs())
			run(skel = skel ?: test_netdev_iter__open_and_load(), tests[i].run);
	test_netdev_iter__destroy(skel);
}
