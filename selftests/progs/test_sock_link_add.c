// SPDX-License-Identifier: GPL-2.0
/* Sockets added to links made with BPF_F_SOCK_NONE */
#include <stdbool.h>
#include "test_sock_link_add.h"

__u32 op;
__u32 links[2];
int errs[2];
struct bpf_sock_tuple tuple;
bool udp;

SEC("sockops")
int add_established(struct bpf_sock_ops *skops)
{
	struct bpf_sock_ops_kern *kern = (void *)skops;

	if (skops->op != op)
		return 1;
	/* Where there is no such function, the context is what it takes. */
	if (bpf_ksym_exists(bpf_cast_to_kern_ctx))
		kern = bpf_cast_to_kern_ctx(skops);
	errs[0] = bpf_sock_ops_link_add(kern, links[0]);
	errs[1] = bpf_sock_ops_link_add(kern, links[1]);
	return 1;
}

SEC("tc")
int add_looked_up(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	errs[0] = -1;
	sk = udp ? bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0) :
		   bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return TC_ACT_OK;
	errs[0] = bpf_sock_link_add((struct sock *)sk, links[0]);
	errs[1] = bpf_sock_link_add((struct sock *)sk, links[1]);
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
