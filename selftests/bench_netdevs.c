// SPDX-License-Identifier: GPL-2.0
/* Measures the cost of reading the statistics of all devices of all namespaces, with
 * rtnetlink, /proc/net/dev and BPF iterators.
 *
 * Meant for a VM whose clock counts instructions (vmtest/vmtest -i): each nanosecond is
 * one instruction. Prints a line for each figure: name, tab, value.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bench.h"
#include "prog_tests/netdev_nl.h"
#include "progs/netdevs.h"
#include "progs/test_netdev_iter.h"
#include "netdevs.skel.h"
#include "test_netdev_iter.skel.h"

#define NSES	100
#define DEVS	10		/* in each namespace, including the loopback device */
#define ALL	(NSES * DEVS)
#define ROUNDS	5

static struct nl_ns ns[NSES];
static struct test_netdev_iter *skel;
static struct netdevs *tool;
static int found;		/* number of devices */

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

/* ---- the methods ------------------------------------------------------------ */

static void count_link(struct nlmsghdr *h, void *arg)
{
	struct ifinfomsg *ifi = NLMSG_DATA(h);

	found += !!nl_find(IFLA_RTA(ifi), IFLA_PAYLOAD(h), IFLA_STATS64);
}

static void dump(int nl)
{
	struct ifinfomsg ifi = {};
	struct nl_req r;

	nl_start(&r, RTM_GETLINK, NLM_F_DUMP, &ifi, sizeof(ifi));
	if (nl_talk(nl, &r, count_link, NULL))
		die("RTM_GETLINK");
}

static void by_setns_rtnetlink(void)
{
	int i, nl;

	for (i = 0; i < NSES; i++) {
		setns(ns[i].fd, CLONE_NEWNET);
		nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
		dump(nl);
		close(nl);
	}
}

/* With a socket for each namespace, opened once */
static void by_rtnetlink(void)
{
	int i;

	for (i = 0; i < NSES; i++)
		dump(ns[i].nl);
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

static void by_tool(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	do {
		if (bpf_prog_test_run_opts(bpf_program__fd(tool->progs.pull), &opts))
			die("netdevs");
	} while (tool->bss->next_dev);
	found += tool->bss->devices;
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

int main(void)
{
	skel = test_netdev_iter__open_and_load();
	tool = netdevs__open();
	if (!skel || !tool)
		die("loading programs");
	bpf_program__set_autoload(tool->progs.enqueue, false);
	bpf_program__set_autoload(tool->progs.dequeue, false);
	if (netdevs__load(tool))
		die("loading programs");
	tool->data->rows_wanted = 10;
	tool->bss->sort_by = BY_DROPS;

	make_world();
	bench("setns and rtnetlink", by_setns_rtnetlink);
	bench("rtnetlink, sockets kept", by_rtnetlink);
	bench("setns and /proc/net/dev", by_proc);
	bench("iter/netdev", by_seq_file);
	bench("open-coded, with qdiscs, the top 10", by_tool);
	return 0;
}
