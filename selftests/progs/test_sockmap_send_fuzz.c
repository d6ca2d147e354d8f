// SPDX-License-Identifier: GPL-2.0
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "test_sockmap_send_fuzz.h"
#include "sockmap_msg_fill.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, int);
} sock_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} sock_hash SEC(".maps");

struct send_script scripts[8];	/* the first n_scripts in turn; the size is a power of 2 */
struct send_run log_of[LOG];
__u32 n_scripts = 1;
__u32 runs;
int budget;	/* ring elements still free; corks only if positive */
__u64 judged;	/* bytes of all runs */

/* Return: the bits for send_run::failed, as if for op 0 */
static __u32 do_op(struct sk_msg_md *msg, const struct send_op *op, __u8 with)
{
	__u32 size = msg->size, start = send_op_start(op, size);
	__u32 len = send_op_len(op, size, start);

	if (!len)
		return 0;
	switch (op->what) {
	case '+':
		budget -= 2;
		if (bpf_msg_push_data(msg, start, len, 0))
			return 1;
		return fill(msg, start, len, with) ? 1 << 16 : 0;
	case '-':
		budget--;
		return !!bpf_msg_pop_data(msg, start, len, 0);
	case '=':
		return !!bpf_msg_pull_data(msg, start, start + len, 0);
	case 'w':
		return !!fill(msg, start, len, with);
	}
	return 0;
}

static int redirect(struct sk_msg_md *msg, __u32 how)
{
	int key = 1;

	switch (how) {
	case 'd':
		return SK_DROP;
	case 'e':
		return bpf_msg_redirect_map(msg, &sock_map, key, 0);
	case 'i':
		return bpf_msg_redirect_map(msg, &sock_map, key, BPF_F_INGRESS);
	case 'E':
		return bpf_msg_redirect_hash(msg, &sock_hash, &key, 0);
	case 'I':
		return bpf_msg_redirect_hash(msg, &sock_hash, &key, BPF_F_INGRESS);
	}
	return SK_PASS;
}

SEC("sk_msg")
int prog_send(struct sk_msg_md *msg)
{
	__u32 run = __sync_fetch_and_add(&runs, 1), failed = 0, cork = 0, how = 0;
	__u32 n = n_scripts ? n_scripts : 1;
	struct send_script *script = &scripts[run % n & 7];
	struct send_run *entry = &log_of[run & (LOG - 1)];
	int i;

	entry->size = msg->size;
	__sync_fetch_and_add(&judged, msg->size);
	for (i = 0; i < OPS; i++) {
		struct send_op *op = &script->ops[i];

		if (op->what == 'c')
			cork = op->len;
		else if (op->what == 'a')
			bpf_msg_apply_bytes(msg, op->len);
		else if (op->what == 'd' || op->what == 'e' || op->what == 'i' ||
			 op->what == 'E' || op->what == 'I')
			how = op->what;
		else if (op->what)
			failed |= do_op(msg, op, 0x80 + i) << i;
	}
	if (cork && budget > 0)
		bpf_msg_cork_bytes(msg, msg->size + cork);
	entry->failed = failed;
	return redirect(msg, how);
}

char _license[] SEC("license") = "GPL";
