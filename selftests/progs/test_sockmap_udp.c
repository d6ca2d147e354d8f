// SPDX-License-Identifier: GPL-2.0
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "test_sockmap_udp.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} sock_map SEC(".maps");

__u64 runs;

char _license[] SEC("license") = "GPL";

static __always_inline int verdict(struct __sk_buff *skb, char action)
{
	runs++;
	switch (action) {
	case DROP:
		return SK_DROP;
	case REDIRECT:
		return bpf_sk_redirect_map(skb, &sock_map, 1, BPF_F_INGRESS);
	case SEND:
		return bpf_sk_redirect_map(skb, &sock_map, 1, 0);
	case SELF:
		return bpf_sk_redirect_map(skb, &sock_map, 0, BPF_F_INGRESS);
	}
	return SK_PASS;
}

static __always_inline char action_of(struct __sk_buff *skb)
{
	char action = 0;

	bpf_skb_load_bytes(skb, 0, &action, sizeof(action));
	return action;
}

SEC("sk_skb/verdict")
int prog_reads(struct __sk_buff *skb)
{
	return verdict(skb, action_of(skb));
}

SEC("sk_skb/verdict")
int prog_writes(struct __sk_buff *skb)
{
	void *data_end = (void *)(long)skb->data_end;
	__u8 *data = (void *)(long)skb->data;

	if ((void *)(data + 2) <= data_end && data[0] == WRITE)
		data[1] = ~data[1];
	return verdict(skb, action_of(skb));
}

SEC("sk_skb/verdict")
int prog_resizes(struct __sk_buff *skb)
{
	char action = action_of(skb);
	__u8 byte;

	switch (action) {
	case GROW:
		if (bpf_skb_adjust_room(skb, GROW_BY, 0, 0))
			return SK_DROP;
		break;
	case CUT:
		if (bpf_skb_change_tail(skb, skb->len - 1, 0))
			return SK_DROP;
		break;
	case EMPTY:
		if (bpf_skb_adjust_room(skb, -(int)skb->len, 0, 0))
			return SK_DROP;
		break;
	case WRITE:
		if (bpf_skb_load_bytes(skb, 1, &byte, sizeof(byte)))
			break;
		byte = ~byte;
		if (bpf_skb_store_bytes(skb, 1, &byte, sizeof(byte), 0))
			return SK_DROP;
		break;
	}
	return verdict(skb, action);
}
