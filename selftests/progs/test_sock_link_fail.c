// SPDX-License-Identifier: GPL-2.0
/* Each of these is refused by the verifier; the test knows with which words. */
#include "test_sock_link_add.h"

__u32 link;
struct bpf_sock_tuple tuple;

static __always_inline struct bpf_sock *look_up(void *ctx)
{
	return bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/* The reference stays the program's */
SEC("tc")
int not_released(struct __sk_buff *skb)
{
	struct bpf_sock *sk = look_up(skb);

	if (sk)
		bpf_sock_link_add((struct sock *)sk, link);
	return TC_ACT_OK;
}

SEC("xdp")
int released(struct xdp_md *xdp)
{
	struct bpf_sock *sk = look_up(xdp);

	if (!sk)
		return XDP_PASS;
	bpf_sk_release(sk);
	bpf_sock_link_add((struct sock *)sk, link);
	return XDP_PASS;
}

SEC("tc")
int unchecked(struct __sk_buff *skb)
{
	struct bpf_sock *sk = look_up(skb);

	bpf_sock_link_add((struct sock *)sk, link);
	if (sk)
		bpf_sk_release(sk);
	return TC_ACT_OK;
}

/* This may be a request or in TIME_WAIT, and less than a socket. */
SEC("tc")
int not_full(struct __sk_buff *skb)
{
	struct bpf_sock *sk;

	sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return TC_ACT_OK;
	bpf_sock_link_add((struct sock *)sk, link);
	bpf_sk_release(sk);
	return TC_ACT_OK;
}

SEC("tc")
int not_full_of_packet(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		bpf_sock_link_add((struct sock *)sk, link);
	return TC_ACT_OK;
}

/* A pointer of another type, and none at all */
SEC("tc")
int not_a_socket(struct __sk_buff *skb)
{
	bpf_sock_link_add(bpf_cast_to_kern_ctx(skb), link);
	return TC_ACT_OK;
}

SEC("tc")
int made_up(struct __sk_buff *skb)
{
	bpf_sock_link_add((void *)(long)skb->len, link);
	return TC_ACT_OK;
}

/* Not the kernel's context, and the socket in its place */
SEC("sockops")
int program_context(struct bpf_sock_ops *skops)
{
	bpf_sock_ops_link_add((void *)skops, link);
	return 1;
}

SEC("sockops")
int socket_for_context(struct bpf_sock_ops *skops)
{
	struct bpf_sock *sk = skops->sk;

	if (sk)
		bpf_sock_ops_link_add((void *)sk, link);
	return 1;
}

/* Programs of other types: a verdict runs with the lock of its socket held. */
SEC("sk_skb/stream_verdict")
int from_verdict(struct __sk_buff *skb)
{
	struct bpf_sock *sk = look_up(skb);

	if (!sk)
		return SK_PASS;
	bpf_sock_link_add((struct sock *)sk, link);
	bpf_sk_release(sk);
	return SK_PASS;
}

SEC("sockops")
int from_sockops(struct bpf_sock_ops *skops)
{
	struct bpf_sock *sk = look_up(skops);

	if (!sk)
		return 1;
	bpf_sock_link_add((struct sock *)sk, link);
	bpf_sk_release(sk);
	return 1;
}

/* The functions of SOCK_OPS are those of all programs for cgroups. */
SEC("cgroup_skb/ingress")
int from_cgroup_skb(struct __sk_buff *skb)
{
	bpf_sock_ops_link_add(bpf_cast_to_kern_ctx(skb), link);
	return 1;
}

SEC("tc")
int ops_from_tc(struct __sk_buff *skb)
{
	bpf_sock_ops_link_add(bpf_cast_to_kern_ctx(skb), link);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
