// SPDX-License-Identifier: GPL-2.0
#include "sockmap_records.h"

static __always_inline int judge(struct __sk_buff *skb, char action)
{
	judged++;

	switch (action) {
	case 'P':
		return SK_PASS;
	case 'R':
		return bpf_sk_redirect_map(skb, &sock_map, 1, BPF_F_INGRESS);
	case 'T':
		return bpf_sk_redirect_map(skb, &sock_map, 1, 0);
	case 'I':
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

/* It cannot change a record, and looks at it where TCP has put it. */
SEC("sk_skb/stream_verdict")
int prog_verdict(struct __sk_buff *skb)
{
	return judge(skb, action_of(skb));
}

/* For another to take its place */
SEC("sk_skb/stream_verdict")
int prog_verdict_twin(struct __sk_buff *skb)
{
	return judge(skb, action_of(skb));
}

/* It can change the record, or its place in memory alone. */
SEC("sk_skb/stream_verdict")
int prog_verdict_changes(struct __sk_buff *skb)
{
	char action = action_of(skb);

	switch (action) {
	case 'G':
		judged++;
		return bpf_skb_adjust_room(skb, 8, 0, 0) ? SK_DROP : SK_PASS;
	case 'C':
		judged++;
		return bpf_skb_adjust_room(skb, -3, 0, 0) ? SK_DROP : SK_PASS;
	}
	bpf_skb_pull_data(skb, skb->len / 2);
	return judge(skb, action);
}

SEC("sk_skb/stream_verdict")
int prog_pass(struct __sk_buff *skb)
{
	return SK_PASS;
}

/* Connections join the map before they are accepted. */
SEC("sockops")
int prog_sockops(struct bpf_sock_ops *skops)
{
	int slot = 0;

	if (skops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		bpf_sock_map_update(skops, &sock_map, &slot, BPF_ANY);
	return 1;
}

SEC("sk_msg")
int prog_msg(struct sk_msg_md *msg)
{
	return SK_PASS;
}
