/* SPDX-License-Identifier: GPL-2.0 */
/* What programs need of the kernel to add sockets to links */
#ifndef __TEST_SOCK_LINK_ADD_H
#define __TEST_SOCK_LINK_ADD_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct sock {
	int unused;
};

struct bpf_sock_ops_kern {
	int unused;
};

int bpf_sock_link_add(struct sock *sk, __u32 link_id) __ksym;
int bpf_sock_ops_link_add(struct bpf_sock_ops_kern *skops, __u32 link_id) __ksym;
void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

#endif
