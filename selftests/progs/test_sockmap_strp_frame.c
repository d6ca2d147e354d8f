// SPDX-License-Identifier: GPL-2.0
#include "sockmap_records.h"

__u64 misframed;

/* Data that is not exactly one whole record is misframed */
SEC("sk_skb/stream_verdict")
int prog_verdict(struct __sk_buff *skb)
{
	__u8 head[3] = {};

	judged++;
	if (bpf_skb_load_bytes(skb, 0, head, sizeof(head)) ||
	    skb->len != (head[0] << 8 | head[1])) {
		misframed++;
		return SK_DROP;
	}
	return head[2] == 'P' ? SK_PASS : SK_DROP;
}

/* The same, after pulling all of the record into the linear area, where the
 * program can read and write it directly.
 */
SEC("sk_skb/stream_verdict")
int prog_verdict_pull(struct __sk_buff *skb)
{
	__u8 *data, *end;

	judged++;
	if (bpf_skb_pull_data(skb, skb->len)) {
		misframed++;
		return SK_DROP;
	}
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + 3 > end || end - data != (data[0] << 8 | data[1])) {
		misframed++;
		return SK_DROP;
	}
	if (data[2] != 'P')
		return SK_DROP;
	data[2] = 'p';
	return SK_PASS;
}
