// SPDX-License-Identifier: GPL-2.0
/* Programs for every TCP socket of a machine: a sockops program adds each listening
 * socket to links that connections inherit, and each connecting one to links of its
 * own. all_tcp.c makes the links. What is passed is all; what was seen is counted.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>

/* Of the kernel, not in a header */
struct bpf_sock_ops_kern {
	int unused;
};

int bpf_sock_ops_link_add(struct bpf_sock_ops_kern *skops, __u32 link_id) __ksym;
void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

/* The ids: of the parser's link if there is one, else 0, and of the verdict's */
__u32 for_listeners[2];
__u32 for_clients[2];

__u64 listeners;	/* sockets that were added */
__u64 clients;
__u64 accepted;		/* connections with the programs of their listener */
__u64 missed;		/* without */
__u64 refused;		/* sockets that could not be added, and why the last one */
int refused_err;
__u64 runs;		/* of the verdict */
__u64 bytes;

static void count(__u64 *counter, __u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static int add(struct bpf_sock_ops *skops, const __u32 *links)
{
	int err = 0;

	if (links[0])
		err = bpf_sock_ops_link_add(bpf_cast_to_kern_ctx(skops), links[0]);
	return err ?: bpf_sock_ops_link_add(bpf_cast_to_kern_ctx(skops), links[1]);
}

static void add_and_count(struct bpf_sock_ops *skops, const __u32 *links, __u64 *added)
{
	int err = add(skops, links);

	if (err)
		refused_err = err;
	count(err ? &refused : added, 1);
}

SEC("sockops")
int add_socket(struct bpf_sock_ops *skops)
{
	switch (skops->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		add_and_count(skops, for_listeners, &listeners);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		add_and_count(skops, for_clients, &clients);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		/* The slots of one that has inherited are taken. */
		count(add(skops, for_clients) == -EBUSY ? &accepted : &missed, 1);
		break;
	}
	return 1;
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

char _license[] SEC("license") = "GPL";
