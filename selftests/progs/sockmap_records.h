/* SPDX-License-Identifier: GPL-2.0 */
/* Records for the tests of sockmap_recv.h and sockmap_strp_frame: two bytes
 * with the length of the whole record, a byte with the verdict, and payload.
 */
#ifndef __SOCKMAP_RECORDS_H
#define __SOCKMAP_RECORDS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} sock_map SEC(".maps");

__u64 judged;
int parse_error;

SEC("sk_skb/stream_parser")
int prog_parser(struct __sk_buff *skb)
{
	__be16 len;

	if (parse_error)
		return parse_error;
	if (bpf_skb_load_bytes(skb, 0, &len, sizeof(len)))
		return 0;
	return bpf_ntohs(len);
}

char _license[] SEC("license") = "GPL";

#endif
