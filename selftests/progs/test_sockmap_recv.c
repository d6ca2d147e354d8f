// SPDX-License-Identifier: GPL-2.0
#include <stdbool.h>
#include "sockmap_records.h"

/* same as in sockmap_recv.h */
#define GROW 8
#define CUT 3
#define WROTE 256

__u8 wrote[WROTE];	/* which of the last records has prog_verdict_writes written to? */

static __always_inline int judge(struct __sk_buff *skb, char action)
{
	judged++;

	switch (action) {
	case 'P':
	case 'W':
		return SK_PASS;
	case 'R':
		return bpf_sk_redirect_map(skb, &sock_map, 1, BPF_F_INGRESS);
	case 'T':
		return bpf_sk_redirect_map(skb, &sock_map, 1, 0);
	case 'I':
	case 'Q':
		return bpf_sk_redirect_map(skb, &sock_map, 0, BPF_F_INGRESS);
	}
	return SK_DROP;
}

static __always_inline char action_of(struct __sk_buff *skb)
{
	char action = 0;

	bpf_skb_load_bytes(skb, 2, &action, sizeof(action));
	return action;
}

/* This program cannot change records, so it is shown them in place. */
SEC("sk_skb/stream_verdict")
int prog_verdict(struct __sk_buff *skb)
{
	return judge(skb, action_of(skb));
}

/* A second program, to replace the first */
SEC("sk_skb/stream_verdict")
int prog_verdict_twin(struct __sk_buff *skb)
{
	return judge(skb, action_of(skb));
}

/* Writes to the record in place, if the byte is in the linear data. */
SEC("sk_skb/stream_verdict")
int prog_verdict_writes(struct __sk_buff *skb)
{
	void *data_end = (void *)(long)skb->data_end;
	__u8 *data = (void *)(long)skb->data;
	char action = action_of(skb);
	bool here = false;

	if (action == 'W' && (void *)(data + CUT + 1) <= data_end) {
		data[CUT] = ~data[CUT];
		here = true;
	}
	wrote[judged % WROTE] = here;
	return judge(skb, action);
}

static __always_inline int invert(struct __sk_buff *skb, __u32 off)
{
	__u8 byte;

	if (bpf_skb_load_bytes(skb, off, &byte, sizeof(byte)))
		return -1;
	byte = ~byte;
	return bpf_skb_store_bytes(skb, off, &byte, sizeof(byte), 0);
}

static __always_inline int change(struct __sk_buff *skb, char action)
{
	switch (action) {
	case 'G':
		return bpf_skb_adjust_room(skb, GROW, 0, 0);
	case 'C':
		return bpf_skb_adjust_room(skb, -CUT, 0, 0);
	case 'H':
		return bpf_skb_change_head(skb, GROW, 0);
	case 'X':
		return bpf_skb_change_tail(skb, skb->len + GROW, 0);
	case 'Y':
		return bpf_skb_change_tail(skb, skb->len - CUT, 0);
	case 'N':
		return bpf_skb_change_tail(skb, 0, 0);
	case 'W':
		return invert(skb, CUT) ?: invert(skb, skb->len - 1);
	}
	return 1;
}

/* This program may change the record, or only its place in memory. */
SEC("sk_skb/stream_verdict")
int prog_verdict_changes(struct __sk_buff *skb)
{
	char action = action_of(skb);
	int ret = change(skb, action);

	if (ret <= 0) {
		judged++;
		return ret ? SK_DROP : SK_PASS;
	}
	bpf_skb_pull_data(skb, skb->len / 2);
	return judge(skb, action);
}

SEC("sk_skb/stream_verdict")
int prog_pass(struct __sk_buff *skb)
{
	return SK_PASS;
}

/* Connections are added to the map before they are accepted. */
SEC("sockops")
int prog_sockops(struct bpf_sock_ops *skops)
{
	int slot = 0;

	if (skops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		bpf_sock_map_update(skops, &sock_map, &slot, BPF_ANY);
	return 1;
}

SEC("sk_msg")
int prog_msg_insert(struct sk_msg_md *msg)
{
	char *data = msg->data;

	if ((void *)(data + 3) > msg->data_end || data[2] != 'J')
		return SK_PASS;
	return bpf_msg_redirect_map(msg, &sock_map, 0, BPF_F_INGRESS);
}

SEC("sk_msg")
int prog_msg(struct sk_msg_md *msg)
{
	return SK_PASS;
}
