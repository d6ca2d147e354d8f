// SPDX-License-Identifier: GPL-2.0
/* What programs on the plaintext of TLS sockets must not do */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int bpf_msg_load_bytes(struct sk_msg_md *msg, __u32 offset, void *to, __u32 to__sz) __ksym;
int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags,
			struct bpf_dynptr *ptr__uninit) __ksym;
void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *ptr, __u32 offset, void *buffer,
			    __u32 buffer__szk) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sock_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, __u32);
} queue SEC(".maps");

SEC("?sk_skb/tls")
int skb_store_bytes(struct __sk_buff *skb)
{
	return bpf_skb_store_bytes(skb, 0, "x", 1, 0);
}

SEC("?sk_skb/tls")
int skb_pull_data(struct __sk_buff *skb)
{
	return bpf_skb_pull_data(skb, 0);
}

SEC("?sk_skb/tls")
int skb_change_tail(struct __sk_buff *skb)
{
	return bpf_skb_change_tail(skb, 1, 0);
}

SEC("?sk_skb/tls")
int skb_change_head(struct __sk_buff *skb)
{
	return bpf_skb_change_head(skb, 1, 0);
}

SEC("?sk_skb/tls")
int skb_adjust_room(struct __sk_buff *skb)
{
	return bpf_skb_adjust_room(skb, 1, 0, 0);
}

SEC("?sk_skb/tls")
int skb_redirect(struct __sk_buff *skb)
{
	return bpf_sk_redirect_map(skb, &sock_map, 0, 0);
}

SEC("?sk_msg/tls")
int msg_push_data(struct sk_msg_md *msg)
{
	return bpf_msg_push_data(msg, 0, 1, 0);
}

SEC("?sk_msg/tls")
int msg_pop_data(struct sk_msg_md *msg)
{
	return bpf_msg_pop_data(msg, 0, 1, 0);
}

SEC("?sk_msg/tls")
int msg_pull_data(struct sk_msg_md *msg)
{
	return bpf_msg_pull_data(msg, 0, 1, 0);
}

SEC("?sk_msg/tls")
int msg_apply_bytes(struct sk_msg_md *msg)
{
	return bpf_msg_apply_bytes(msg, 1);
}

SEC("?sk_msg/tls")
int msg_cork_bytes(struct sk_msg_md *msg)
{
	return bpf_msg_cork_bytes(msg, 1);
}

SEC("?sk_msg/tls")
int msg_redirect(struct sk_msg_md *msg)
{
	return bpf_msg_redirect_map(msg, &sock_map, 0, 0);
}

SEC("?sk_skb/tls")
int parser_store_bytes(struct __sk_buff *skb)
{
	return bpf_skb_store_bytes(skb, 0, "x", 1, 0);
}

SEC("?sk_skb/tls")
int skb_write(struct __sk_buff *skb)
{
	__u32 *data = (void *)(long)skb->data;

	if ((void *)(data + 1) <= (void *)(long)skb->data_end)
		*data = 0;
	return SK_PASS;
}

SEC("?sk_msg/tls")
int msg_write(struct sk_msg_md *msg)
{
	__u32 *data = msg->data;

	if ((void *)(data + 1) <= msg->data_end)
		*data = 0;
	return SK_PASS;
}

SEC("?sk_skb/tls")
int ctx_write(struct __sk_buff *skb)
{
	skb->priority = 1;
	return SK_PASS;
}

SEC("?sk_skb/tls")
int dynptr_write(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u32 buf = 0, *data;

	if (bpf_dynptr_from_skb(skb, 0, &ptr))
		return SK_PASS;
	data = bpf_dynptr_slice_rdwr(&ptr, 0, &buf, sizeof(buf));
	if (data)
		*data = 0;
	return SK_PASS;
}

/* A helper that writes to its memory */
SEC("?sk_skb/tls")
int helper_write(struct __sk_buff *skb)
{
	__u32 *data = (void *)(long)skb->data;

	if ((void *)(data + 1) <= (void *)(long)skb->data_end)
		bpf_map_pop_elem(&queue, data);
	return SK_PASS;
}

/* A kfunc that does */
SEC("?sk_msg/tls")
int kfunc_write(struct sk_msg_md *msg)
{
	__u32 *data = msg->data;

	if ((void *)(data + 1) <= msg->data_end)
		bpf_msg_load_bytes(msg, 1, data, sizeof(*data));
	return SK_PASS;
}

__noinline int zero(__u32 *p)
{
	if (p)
		*p = 0;
	return 0;
}

/* A function that does, and is verified by itself */
SEC("?sk_skb/tls")
int func_write(struct __sk_buff *skb)
{
	__u32 *data = (void *)(long)skb->data;

	if ((void *)(data + 1) <= (void *)(long)skb->data_end)
		zero(data);
	return SK_PASS;
}

SEC("?freplace/replaceable")
int ext_store_bytes(struct __sk_buff *skb)
{
	return bpf_skb_store_bytes(skb, 0, "x", 1, 0);
}

SEC("?freplace/replaceable")
int ext_write(struct __sk_buff *skb)
{
	__u32 *data = (void *)(long)skb->data;

	if ((void *)(data + 1) <= (void *)(long)skb->data_end)
		*data = 0;
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
