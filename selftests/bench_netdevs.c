// SPDX-License-Identifier: GPL-2.0
/* What it costs to ask for the statistics of all devices of all namespaces, with
 * rtnetlink, /proc/net/dev and the iterators of BPF; and what the histograms of
 * netdevs cost a packet.
 *
 * Meant for a machine whose clock counts instructions (vmtest/vmtest -i): then a
 * nanosecond is one. Prints a line a figure: name, tab, value.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_packet.h>
#include <linux/net_namespace.h>
#include <linux/pkt_sched.h>

#include "bench.h"
#include "prog_tests/netdev_nl.h"
#include "progs/netdevs.h"
#include "progs/test_netdev_iter.h"
#include "netdevs.skel.h"
#include "test_netdev_iter.skel.h"

#define NSES	100
#define DEVS	10		/* of each, the loopback included */
#define ALL	(NSES * DEVS)
#define ROUNDS	5
#define PACKETS	1000

static struct nl_ns ns[NSES];
static struct test_netdev_iter *skel;
static struct netdevs *tool;
static int found;		/* devices */

static void make_world(void)
{
	char name[IFNAMSIZ];
	int i, j, ifindex;

	for (i = 0; i < NSES; i++) {
		if (nl_ns_new(&ns[i]))
			die("namespace");
		for (j = 1; j < DEVS; j++) {
			snprintf(name, sizeof(name), "dev%d", j);
			if (nl_link_new(&ns[i], name, "dummy"))
				die("device");
			ifindex = nl_link_index(&ns[i], name);
			if (nl_link_up(&ns[i], ifindex, true))
				die("device");
		}
	}
}

/* ---- the ways --------------------------------------------------------------- */

static void count_link(struct nlmsghdr *h, void *arg)
{
	struct ifinfomsg *ifi = NLMSG_DATA(h);

	found += !!nl_find(IFLA_RTA(ifi), IFLA_PAYLOAD(h), IFLA_STATS64);
}

/* @nsid: of the namespace to tell of, or -1 for that of the socket */
static void dump(int nl, int nsid)
{
	struct ifinfomsg ifi = {};
	struct nl_req r;

	nl_start(&r, RTM_GETLINK, NLM_F_DUMP, &ifi, sizeof(ifi));
	if (nsid >= 0)
		nl_u32(&r, IFLA_TARGET_NETNSID, nsid);
	if (nl_talk(nl, &r, count_link, NULL))
		die("RTM_GETLINK");
}

static void count_stats(struct nlmsghdr *h, void *arg)
{
	struct if_stats_msg *ism = NLMSG_DATA(h);

	found += !!nl_find((void *)ism + NLMSG_ALIGN(sizeof(*ism)),
			   NLMSG_PAYLOAD(h, sizeof(*ism)), IFLA_STATS_LINK_64);
}

/* Nothing but these, and neither names nor namespaces */
static void dump_stats(int nl)
{
	struct if_stats_msg ism = {
		.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64),
	};
	struct nl_req r;

	nl_start(&r, RTM_GETSTATS, NLM_F_DUMP, &ism, sizeof(ism));
	if (nl_talk(nl, &r, count_stats, NULL))
		die("RTM_GETSTATS");
}

static void by_setns_rtnetlink(void)
{
	int i, nl;

	for (i = 0; i < NSES; i++) {
		setns(ns[i].fd, CLONE_NEWNET);
		nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
		dump(nl, -1);
		close(nl);
	}
}

/* A socket for each namespace, opened once */
static void by_rtnetlink(void)
{
	int i;

	for (i = 0; i < NSES; i++)
		dump(ns[i].nl, -1);
}

static void by_rtm_getstats(void)
{
	int i;

	for (i = 0; i < NSES; i++)
		dump_stats(ns[i].nl);
}

/* One socket, which has been given a number of each of the others */
static void by_netnsid(void)
{
	static struct nl_ns here;
	struct rtgenmsg gen = {};
	struct nl_req r;
	int i;

	for (i = 0; !here.nl && i <= NSES; i++) {
		if (i == NSES) {
			here = ns[0];
			break;
		}
		nl_start(&r, RTM_NEWNSID, 0, &gen, sizeof(gen));
		nl_u32(&r, NETNSA_FD, ns[i].fd);
		nl_u32(&r, NETNSA_NSID, i);
		if (nl_talk(ns[0].nl, &r, NULL, NULL))
			die("RTM_NEWNSID");
	}
	for (i = 0; i < NSES; i++)
		dump(here.nl, i);
}

static void by_proc(void)
{
	static char buf[1 << 16];
	int i, fd, n, have;
	char *s;

	for (i = 0; i < NSES; i++) {
		setns(ns[i].fd, CLONE_NEWNET);
		fd = open("/proc/thread-self/net/dev", O_RDONLY);
		for (have = 0; (n = read(fd, buf + have, sizeof(buf) - 1 - have)) > 0; have += n)
			;
		close(fd);
		buf[have] = 0;
		for (s = buf; (s = strchr(s, ':')); s++)
			found++;
	}
}

static void by_seq_file(void)
{
	static char buf[1 << 16];
	static int link = -1;
	int fd, n;

	if (link < 0)
		link = bpf_link_create(bpf_program__fd(skel->progs.seq_netdev_proc), 0,
				       BPF_TRACE_ITER, NULL);
	fd = bpf_iter_create(link);
	if (fd < 0)
		die("bpf_iter_create");
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		found += n / sizeof(struct netdev_proc);
	close(fd);
}

/* As the tool does: what it is told is copied. */
static void by_tool(void)
{
	static struct netdevs_row rows[2 * ALL];
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	__u32 n = 0, some;

	do {
		if (bpf_prog_test_run_opts(bpf_program__fd(tool->progs.pull), &opts))
			die("netdevs");
		some = tool->bss->rows_found;
		if (n + some > 2 * ALL)
			break;
		memcpy(rows + n, tool->bss->rows, some * sizeof(*rows));
		n += some;
	} while (tool->bss->next_dev);
	found += n;
}

static void bench(const char *name, void (*ask)(void))
{
	long long start;
	int i;

	ask();
	found = 0;
	start = now();
	for (i = 0; i < ROUNDS; i++)
		ask();
	start = now() - start;
	if (found < ROUNDS * ALL)
		die("not all devices");
	printf("%d devices of %d namespaces, %s\t%lld\n", ALL, NSES, name, start / ROUNDS);
	fflush(stdout);
}

/* ---- histograms -------------------------------------------------------------- */

static void use_qdisc(const struct nl_ns *ns, int ifindex, const char *kind)
{
	struct tcmsg tcm = {
		.tcm_ifindex = ifindex,
		.tcm_parent = TC_H_ROOT,
		.tcm_handle = 0x10000,
	};
	struct nl_req r;

	nl_start(&r, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &tcm, sizeof(tcm));
	nl_str(&r, TCA_KIND, kind);
	if (nl_talk(ns->nl, &r, NULL, NULL))
		die(kind);
}

/* Instructions of each packet to a device that drops it */
static void bench_packets(const char *qdisc, const char *how, int fd, int ifindex)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = ifindex,
		.sll_protocol = htons(0x88b5),
	};
	char frame[100] = {};
	long long start = 0;
	int i;

	for (i = -PACKETS; i < PACKETS; i++) {
		if (!i)
			start = now();
		if (sendto(fd, frame, sizeof(frame), 0, (void *)&to, sizeof(to)) < 0)
			die("sendto");
	}
	printf("packet by %s, %s\t%lld\n", qdisc, how, (now() - start) / PACKETS);
	fflush(stdout);
}

static void bench_histograms(const char *qdisc)
{
	int ifindex = nl_link_index(&ns[0], "dev1"), fd, here = nl_enter(&ns[0]);
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	__u32 one = 1, i, id = 0, other = 0;
	struct netdevs *hist;

	fd = socket(AF_PACKET, SOCK_RAW, 0);
	nl_leave(here);
	use_qdisc(&ns[0], ifindex, qdisc);
	bench_packets(qdisc, "plain", fd, ifindex);
	hist = netdevs__open_and_load();
	if (!hist || netdevs__attach(hist))
		die("histograms");
	do {
		if (bpf_prog_test_run_opts(bpf_program__fd(tool->progs.pull), &opts))
			die("netdevs");
		for (i = 0; i < tool->bss->rows_found; i++) {
			struct netdevs_row *r = &tool->bss->rows[i];

			if (r->netns_cookie == ns[0].cookie && r->ifindex == ifindex)
				id = r->reg_id;
			else
				other = r->reg_id;
		}
	} while (tool->bss->next_dev);
	bpf_map_update_elem(bpf_map__fd(hist->maps.watched), &other, &one, BPF_ANY);
	bench_packets(qdisc, "histograms of another device", fd, ifindex);
	bpf_map_update_elem(bpf_map__fd(hist->maps.watched), &id, &one, BPF_ANY);
	bench_packets(qdisc, "histograms", fd, ifindex);
	netdevs__destroy(hist);
	close(fd);
}

int main(void)
{
	skel = test_netdev_iter__open_and_load();
	tool = netdevs__open();
	if (!skel || !tool)
		die("loading programs");
	bpf_program__set_autoload(tool->progs.arrive, false);
	bpf_program__set_autoload(tool->progs.segmented, false);
	bpf_program__set_autoload(tool->progs.start_xmit, false);
	bpf_program__set_autoload(tool->progs.dropped, false);
	if (netdevs__load(tool))
		die("loading programs");

	make_world();
	bench("setns and rtnetlink", by_setns_rtnetlink);
	bench("rtnetlink, sockets kept", by_rtnetlink);
	bench("rtnetlink, one socket, IFLA_TARGET_NETNSID", by_netnsid);
	bench("RTM_GETSTATS, sockets kept", by_rtm_getstats);
	bench("setns and /proc/net/dev", by_proc);
	bench("iter/netdev", by_seq_file);
	bench("open-coded, with root qdiscs", by_tool);
	tool->bss->all_qdiscs = true;
	bench("open-coded, with all qdiscs", by_tool);
	bench_histograms("pfifo_fast");
	bench_histograms("fq");
	return 0;
}
