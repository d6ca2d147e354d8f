// SPDX-License-Identifier: GPL-2.0
/* sk_msg programs for bench.c, one for each operation on a whole message. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "bench_msg.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2 * MSG_SOCKETS);
	__type(key, int);
	__type(value, int);
} sock_map SEC(".maps");

int target = 1;		/* the slot of the socket to redirect to */

SEC("sk_msg")
int pass(struct sk_msg_md *msg)
{
	return SK_PASS;
}

/* One record is one message: the program runs on each. */
SEC("sk_msg")
int pass_apply(struct sk_msg_md *msg)
{
	bpf_msg_apply_bytes(msg, msg->size);
	return SK_PASS;
}

/* The program runs once for a mebibyte. */
SEC("sk_msg")
int pass_apply_long(struct sk_msg_md *msg)
{
	bpf_msg_apply_bytes(msg, 1 << 20);
	return SK_PASS;
}

/* The message is corked until more data is sent. */
SEC("sk_msg")
int cork(struct sk_msg_md *msg)
{
	bpf_msg_cork_bytes(msg, msg->size + 1);
	return SK_PASS;
}

SEC("sk_msg")
int redirect_ingress(struct sk_msg_md *msg)
{
	return bpf_msg_redirect_map(msg, &sock_map, target, BPF_F_INGRESS);
}

SEC("sk_msg")
int redirect_egress(struct sk_msg_md *msg)
{
	return bpf_msg_redirect_map(msg, &sock_map, target, 0);
}

char _license[] SEC("license") = "GPL";
