// SPDX-License-Identifier: GPL-2.0
/* The longest time with bottom halves off while receiving: a network softirq, or a call of
 * tcp_data_ready().
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define NET_RX_SOFTIRQ 3

__u64 longest;
__u64 softirq_start;
__u64 call_start;

static __always_inline void ends(__u64 start)
{
	__u64 took = bpf_ktime_get_ns() - start;

	if (start && took > longest)
		longest = took;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(softirq_starts, unsigned int vec)
{
	if (vec == NET_RX_SOFTIRQ)
		softirq_start = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(softirq_ends, unsigned int vec)
{
	if (vec == NET_RX_SOFTIRQ)
		ends(softirq_start);
	return 0;
}

SEC("fentry/tcp_data_ready")
int BPF_PROG(call_starts)
{
	call_start = bpf_ktime_get_ns();
	return 0;
}

SEC("fexit/tcp_data_ready")
int BPF_PROG(call_ends)
{
	ends(call_start);
	return 0;
}

char _license[] SEC("license") = "GPL";
