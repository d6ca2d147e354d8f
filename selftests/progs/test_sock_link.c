// SPDX-License-Identifier: GPL-2.0
#include "sockmap_records.h"

__u64 judged_bytes;
__u64 sent;

/* Relaxed, as the JIT of arm64 has fetch-and-add only since 5.18. */
static void count(struct __sk_buff *skb)
{
	__atomic_fetch_add(&judged, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&judged_bytes, skb->len, __ATOMIC_RELAXED);
}

SEC("sk_skb/stream_verdict")
int prog_pass(struct __sk_buff *skb)
{
	count(skb);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int prog_drop(struct __sk_buff *skb)
{
	count(skb);
	return SK_DROP;
}

/* Drops the records that say so */
SEC("sk_skb/stream_verdict")
int prog_judge(struct __sk_buff *skb)
{
	char action = 0;

	count(skb);
	bpf_skb_load_bytes(skb, 2, &action, sizeof(action));
	return action == 'P' ? SK_PASS : SK_DROP;
}

SEC("sk_skb/verdict")
int prog_skb(struct __sk_buff *skb)
{
	__atomic_fetch_add(&judged, 1, __ATOMIC_RELAXED);
	return SK_DROP;
}

/* A parser must not change packets */
SEC("sk_skb/stream_parser")
int prog_parser_changes(struct __sk_buff *skb)
{
	return bpf_skb_change_tail(skb, 10, 0) ? 0 : skb->len;
}

/* All records are ten bytes long. */
SEC("sk_skb/stream_parser")
int prog_parser_ten(struct __sk_buff *skb)
{
	return 10;
}

SEC("sk_skb/stream_parser")
int prog_parser_one(struct __sk_buff *skb)
{
	return 1;
}

SEC("sk_msg")
int prog_msg_pass(struct sk_msg_md *msg)
{
	__atomic_fetch_add(&sent, 1, __ATOMIC_RELAXED);
	return SK_PASS;
}

SEC("sk_msg")
int prog_msg_cork(struct sk_msg_md *msg)
{
	bpf_msg_cork_bytes(msg, 100);
	return SK_PASS;
}

SEC("sk_msg")
int prog_msg_drop(struct sk_msg_md *msg)
{
	__atomic_fetch_add(&sent, 1, __ATOMIC_RELAXED);
	return SK_DROP;
}

/* A program for links of another type */
SEC("sockops")
int prog_sockops(struct bpf_sock_ops *skops)
{
	return 1;
}

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} other_map SEC(".maps");

SEC("sockops")
int prog_add_accepted(struct bpf_sock_ops *skops)
{
	int key = 0;

	if (skops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		bpf_sock_map_update(skops, &other_map, &key, BPF_ANY);
	return 1;
}
