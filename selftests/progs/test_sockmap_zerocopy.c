// SPDX-License-Identifier: GPL-2.0
#include "sockmap_records.h"

int verdict = SK_PASS;
int redirect;
__u32 cork;
__u32 apply;
__u64 msgs;

SEC("sk_msg")
int prog_msg(struct sk_msg_md *msg)
{
	msgs++;
	if (cork)
		bpf_msg_cork_bytes(msg, cork);
	if (apply)
		bpf_msg_apply_bytes(msg, apply);
	if (redirect)
		return bpf_msg_redirect_map(msg, &sock_map, 1, 0);
	return verdict;
}
