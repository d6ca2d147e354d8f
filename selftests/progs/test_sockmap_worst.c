// SPDX-License-Identifier: GPL-2.0
/* A parser and a verdict that count their runs and the bytes they are shown.
 * The first byte of a record is its verdict.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} sock_map SEC(".maps");

struct sock;

/* The length of a record, and how many bytes of it the parser needs */
__u32 record;
__u32 header;

__u64 parsed;		/* runs of the parser */
__u64 shown;		/* bytes shown to the parser, in total */
__u64 ticks;		/* jiffies in which the parser ran */
__u64 last_tick;
__u64 judged;		/* runs of the verdict */

__u64 cookie;		/* of the socket with the programs */
__u64 before;
__u64 at_once;		/* most runs of the verdict in one call of data_ready */

SEC("sk_skb/stream_parser")
int prog_parser(struct __sk_buff *skb)
{
	__u64 now = bpf_jiffies64();

	parsed++;
	shown += skb->len;
	if (now != last_tick)
		ticks++;
	last_tick = now;
	return skb->len < header ? 0 : record;
}

SEC("sk_skb/stream_verdict")
int prog_verdict(struct __sk_buff *skb)
{
	char action = 0;

	judged++;
	bpf_skb_load_bytes(skb, 0, &action, sizeof(action));
	if (action == 'R')
		return bpf_sk_redirect_map(skb, &sock_map, 1, BPF_F_INGRESS);
	return action == 'P' ? SK_PASS : SK_DROP;
}

/* Around the function that the kernel calls for received data */
SEC("fentry")
int BPF_PROG(data_ready_starts, struct sock *sk)
{
	if (bpf_get_socket_cookie(sk) == cookie)
		before = judged;
	return 0;
}

SEC("fexit")
int BPF_PROG(data_ready_ends, struct sock *sk)
{
	if (bpf_get_socket_cookie(sk) == cookie && judged - before > at_once)
		at_once = judged - before;
	return 0;
}

char _license[] SEC("license") = "GPL";
