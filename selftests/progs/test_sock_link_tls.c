// SPDX-License-Identifier: GPL-2.0
/* Programs on the plaintext of TLS sockets. A record that is received begins with
 * its length, two bytes, and what to do with it. A message that is sent passes unless
 * there is a '!' in it.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

int bpf_msg_load_bytes(struct sk_msg_md *msg, __u32 offset, void *to, __u32 to__sz) __ksym;
int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags,
			struct bpf_dynptr *ptr__uninit) __ksym;

#define MSGS_MAX 64

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} jmp SEC(".maps");

__u32 msgs;			/* messages that were sent */
__u32 msg_size[MSGS_MAX];
__u32 msg_sum[MSGS_MAX];	/* of their bytes */
int load_err;			/* of a byte after the last one */

__u32 parsed;
__u32 verdicts;			/* records */
__u32 wrong;			/* that are not what the parser said */
int write_err;			/* of bpf_dynptr_write() */
int parser_ret;			/* in place of the length, if not 0 */
__u32 other;			/* runs of other_verdict */

SEC("sk_msg/tls")
int msg_verdict(struct sk_msg_md *msg)
{
	__u32 n = msgs, sum = 0, i;
	bool refuse = false;
	__u8 c = 0;

	bpf_for(i, 0, msg->size) {
		if (bpf_msg_load_bytes(msg, i, &c, sizeof(c)))
			return SK_DROP;
		sum += c;
		refuse |= c == '!';
	}
	load_err = bpf_msg_load_bytes(msg, msg->size, &c, sizeof(c));
	if (n < MSGS_MAX) {
		msg_size[n] = msg->size;
		msg_sum[n] = sum;
	}
	msgs++;
	return refuse ? SK_DROP : SK_PASS;
}

SEC("sk_skb/tls")
int parser(struct __sk_buff *skb)
{
	__be16 len;

	parsed++;
	if (parser_ret)
		return parser_ret;
	return bpf_skb_load_bytes(skb, 0, &len, sizeof(len)) ? 0 : bpf_ntohs(len);
}

SEC("sk_skb/tls")
int verdict(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__be16 len = 0;
	__u8 c = 'D';

	verdicts++;
	if (!bpf_dynptr_from_skb(skb, 0, &ptr))
		write_err = bpf_dynptr_write(&ptr, 2, "P", 1, 0);
	bpf_skb_load_bytes(skb, 0, &len, sizeof(len));
	if (bpf_ntohs(len) != skb->len)
		wrong++;
	bpf_skb_load_bytes(skb, 2, &c, sizeof(c));
	return c == 'D' ? SK_DROP : SK_PASS;
}

SEC("sk_skb/tls")
int other_verdict(struct __sk_buff *skb)
{
	other++;
	return SK_PASS;
}

SEC("sk_skb/tls")
int jump(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jmp, 0);
	return SK_DROP;
}

SEC("sk_skb/stream_verdict")
int plain_verdict(struct __sk_buff *skb)
{
	return SK_PASS;
}

SEC("sk_skb/stream_parser")
int plain_parser(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("sk_msg")
int plain_msg(struct sk_msg_md *msg)
{
	return SK_PASS;
}

__noinline int replaceable(struct __sk_buff *skb)
{
	return skb->len ? SK_PASS : SK_DROP;
}

SEC("sk_skb/tls")
int target(struct __sk_buff *skb)
{
	return replaceable(skb);
}

char _license[] SEC("license") = "GPL";
