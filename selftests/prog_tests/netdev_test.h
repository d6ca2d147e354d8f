/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the tests of iterators of network devices */
#ifndef __NETDEV_TEST_H
#define __NETDEV_TEST_H

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/pkt_sched.h>

#include "test_progs.h"
#include "netdev_nl.h"

#define FRAME_LEN 1000
#define RING 4			/* frames that fit into a queue */
#define BURST 2			/* frames in a burst of tbf */
#define UNKNOWN_PROTO 0x88b5	/* reserved for experiments, has no handler */

static inline bool kernel_lacks_targets(void)
{
	if (libbpf_find_vmlinux_btf_id("netdev", BPF_TRACE_ITER) > 0)
		return false;
	printf("%s:SKIP: no iterators of network devices in this kernel\n", __func__);
	test__skip();
	return true;
}

/* The kfuncs of the series for 7.2 and 6.12 have other arguments. */
static inline bool kernel_has_kfuncs(void)
{
	return libbpf_find_vmlinux_btf_id("bpf_dev_net", BPF_TRACE_FENTRY) > 0;
}

static inline bool kernel_lacks_kfuncs(void)
{
	if (kernel_has_kfuncs())
		return false;
	printf("%s:SKIP: no open-coded iterators of network devices in this kernel\n",
	       __func__);
	test__skip();
	return true;
}

static inline struct bpf_link *attach_to(struct bpf_program *prog, int netns_fd, int ifindex)
{
	union bpf_iter_link_info info = {
		.netdev = { .netns_fd = netns_fd, .ifindex = ifindex },
	};
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);

	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	return bpf_program__attach_iter(prog, &opts);
}

static inline int packet_socket(const struct nl_ns *ns)
{
	int here = nl_enter(ns), fd;

	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	nl_leave(here);
	return fd;
}

/* Send a frame of @len bytes on a device. Return: the result of sendto() */
static inline int send_frame(int fd, int ifindex, int len, int flags)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = ifindex,
		.sll_protocol = htons(UNKNOWN_PROTO),
	};
	char frame[2000] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1 };

	frame[12] = UNKNOWN_PROTO >> 8;
	frame[13] = UNKNOWN_PROTO & 0xff;
	return sendto(fd, frame, len, flags, (void *)&to, sizeof(to));
}

/* Make @kind the child qdisc of @parent, with a limit of RING frames. tbf sends
 * BURST frames, and then a byte per second.
 */
static inline int qdisc_new(const struct nl_ns *ns, int ifindex, __u32 parent, __u32 handle,
			    const char *kind)
{
	struct tcmsg tcm = {
		.tcm_ifindex = ifindex,
		.tcm_parent = parent,
		.tcm_handle = handle,
	};
	struct tc_tbf_qopt tbf = {
		.rate = { .rate = 1, .linklayer = TC_LINKLAYER_ETHERNET },
		.limit = RING * FRAME_LEN,
	};
	struct rtattr *options;
	struct nl_req r;

	nl_start(&r, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &tcm, sizeof(tcm));
	nl_str(&r, TCA_KIND, kind);
	if (!strcmp(kind, "fq")) {
		options = nl_nest(&r, TCA_OPTIONS);
		nl_u32(&r, TCA_FQ_PLIMIT, RING);
		nl_end(&r, options);
	} else if (!strcmp(kind, "fq_codel")) {
		options = nl_nest(&r, TCA_OPTIONS);
		nl_u32(&r, TCA_FQ_CODEL_LIMIT, RING);
		nl_end(&r, options);
	} else if (!strcmp(kind, "tbf")) {
		options = nl_nest(&r, TCA_OPTIONS);
		nl_attr(&r, TCA_TBF_PARMS, &tbf, sizeof(tbf));
		nl_u32(&r, TCA_TBF_BURST, BURST * FRAME_LEN);
		nl_end(&r, options);
	}
	return nl_talk(ns->nl, &r, NULL, NULL);
}

#endif
