// SPDX-License-Identifier: GPL-2.0
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "test_sockmap_msg.h"
#include "sockmap_msg_fill.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} sock_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCRIPTS);
	__type(key, __u32);
	__type(value, struct msg_script);
} scripts SEC(".maps");

__u32 n_scripts;
int redirect;		/* 1: to the socket in slot 1, 2: to its ingress */
int runs;
int failed_ops;
__u32 size_seen;	/* of the message at the start of the last run */
__u32 log_sizes[LOGGED];
__u8 log_first[LOGGED];

static int apply_op(struct sk_msg_md *msg, const struct msg_op *op, __u8 with)
{
	__u32 start = op->start == MSG_END ? msg->size : op->start;
	int err = 0;

	switch (op->what) {
	case '+':
		err = bpf_msg_push_data(msg, start, op->len, 0);
		if (!err)
			err = fill(msg, start, op->len, with);
		break;
	case '-':
		err = bpf_msg_pop_data(msg, start, op->len, 0);
		break;
	case '=':
		err = bpf_msg_pull_data(msg, start, start + op->len, 0);
		break;
	case 'a':
		bpf_msg_apply_bytes(msg, op->len);
		break;
	case 'c':
		bpf_msg_cork_bytes(msg, op->len);
		break;
	}
	return err;
}

static void log_run(struct sk_msg_md *msg, __u32 run)
{
	__u8 *data = msg->data, *end = msg->data_end;

	if (run >= LOGGED)
		return;
	log_sizes[run] = msg->size;
	if (data + 1 <= end)
		log_first[run] = *data;
}

SEC("sk_msg")
int prog_msg(struct sk_msg_md *msg)
{
	struct msg_script *script;
	int verdict = SK_PASS;
	__u32 run = runs++;
	bool pass = false;
	int i;

	size_seen = msg->size;
	log_run(msg, run);
	if (run >= n_scripts)
		run = n_scripts - 1;
	script = bpf_map_lookup_elem(&scripts, &run);
	if (!script)
		return SK_PASS;
	for (i = 0; i < OPS; i++) {
		if (!script->ops[i].what)
			break;
		if (script->ops[i].what == 'd')
			verdict = SK_DROP;
		else if (script->ops[i].what == 'p')
			pass = true;
		else if (apply_op(msg, &script->ops[i], 0x80 + i))
			failed_ops++;
	}
	if (verdict == SK_PASS && redirect && !pass)
		return bpf_msg_redirect_map(msg, &sock_map, 1,
					    redirect == 2 ? BPF_F_INGRESS : 0);
	return verdict;
}

char _license[] SEC("license") = "GPL";
