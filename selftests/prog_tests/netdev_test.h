/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of iterators of network devices share */
#ifndef __NETDEV_TEST_H
#define __NETDEV_TEST_H

#include "test_progs.h"

static inline bool kernel_lacks_targets(void)
{
	if (libbpf_find_vmlinux_btf_id("netdev", BPF_TRACE_ITER) > 0)
		return false;
	printf("%s:SKIP: no iterators of network devices in this kernel\n", __func__);
	test__skip();
	return true;
}

static inline bool kernel_has_kfuncs(void)
{
	return libbpf_find_vmlinux_btf_id("bpf_iter_netdev_new", BPF_TRACE_FENTRY) > 0;
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

#endif
