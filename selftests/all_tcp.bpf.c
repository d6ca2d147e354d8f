// SPDX-License-Identifier: GPL-2.0
/* Programs that pass and count everything. all_tcp.c attaches them to every TCP socket of
 * a machine.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 runs;		/* runs of the verdict */
__u64 bytes;

static void count(__u64 *counter, __u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

SEC("sk_skb/stream_parser")
int parser(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("sk_skb/stream_verdict")
int verdict(struct __sk_buff *skb)
{
	count(&runs, 1);
	count(&bytes, skb->len);
	return SK_PASS;
}

SEC("sk_msg")
int msg(struct sk_msg_md *msg)
{
	count(&runs, 1);
	count(&bytes, msg->size);
	return SK_PASS;
}

/* The same for the plaintext of TLS. Older kernels do not have these types. */
SEC("?sk_skb/tls")
int tls_parser(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("?sk_skb/tls")
int tls_verdict(struct __sk_buff *skb)
{
	count(&runs, 1);
	count(&bytes, skb->len);
	return SK_PASS;
}

SEC("?sk_msg/tls")
int tls_msg(struct sk_msg_md *msg)
{
	count(&runs, 1);
	count(&bytes, msg->size);
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
