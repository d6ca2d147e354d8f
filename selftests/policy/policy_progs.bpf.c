// SPDX-License-Identifier: GPL-2.0
/* A program for each classifier, of a type for BPF_PROG_TEST_RUN, and one without a look-up.
 * Each run uses the next key.
 */
#include "policy.h"
#include <bpf/bpf_endian.h>

/* Set before the programs are loaded. A policy has as many cells as its map. */
const volatile __u32 policy_cells = POLICY_LINE;
const volatile bool policy_has_loop = false;

#include "linear.h"
#include "hashes.h"
#include "pruned.h"
#include "classes.h"
#include "tuplemerge.h"
#include "bitvec.h"
#include "remember.h"
#include "progs.h"

/* User space sets the size of the value, which is a policy. */
struct policy_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 64);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct policy_map);
} policies SEC(".maps");

struct policy_key keys[BATCH];
__u32 answers[BATCH];
__u32 next;
__u32 keys_mask;		/* number of keys used, minus 1 */

static __always_inline bool policy_get(struct policy *p)
{
	__u32 zero = 0;
	void *map = bpf_map_lookup_elem(&policies, &zero);

	if (!map)
		return false;
	p->mem = bpf_map_lookup_elem(map, &zero);
	p->cells = policy_cells;
	return p->mem;
}

static __always_inline __u32 policy_nothing(const struct policy *p, const struct policy_key *key)
{
	return key->id;
}

#define PROGRAM(name)								\
SEC("tc")									\
int name(struct __sk_buff *skb)							\
{										\
	__u32 i = next++ & keys_mask & (BATCH - 1);				\
	struct policy p;							\
										\
	if (policy_get(&p))							\
		answers[i] = policy_##name(&p, &keys[i]);			\
	return 0;								\
}

PROGRAM(nothing)
PROGRAM(linear)
PROGRAM(hashes)
PROGRAM(pruned)
PROGRAM(classes)
PROGRAM(tuplemerge)
PROGRAM(bitvec)

/* A look-up in the kernel's hash table, to compare its cost */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct policy_key);
	__type(value, __u32);
} hash SEC(".maps");

static __always_inline __u32 policy_kernel_hash(const struct policy *p,
						const struct policy_key *key)
{
	__u32 *value = bpf_map_lookup_elem(&hash, key);

	return value ? *value : POLICY_NONE;
}

PROGRAM(kernel_hash)

/* ---- a verdict for each socket ------------------------------------------------------- */

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct policy_memory);
} memories SEC(".maps");

__u32 looked_up;		/* number of look-ups not answered from the cache */
__u32 newer;			/* for a test: each run increases the generation by this */

static __always_inline __u32 answer_for(struct bpf_sock *sk, const struct policy *p,
					const struct policy_key *key, __u32 run)
{
	__u32 generation = policy_generation(p) + run * newer, answer;
	struct policy_memory *m;

	m = bpf_sk_storage_get(&memories, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (m && policy_recall(m, generation, &answer))
		return answer;
	looked_up++;
	answer = policy_tuplemerge(p, key);
	if (m)
		policy_remember(m, generation, answer);
	return answer;
}

SEC("tc")
int remember(struct __sk_buff *skb)
{
	__u32 i = next++ & keys_mask & (BATCH - 1);
	struct bpf_sock *sk = skb->sk;
	struct policy p;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk && policy_get(&p))
		answers[i] = answer_for(sk, &p, &keys[i], i);
	return 0;
}

/* ---- what processes may connect to: policy enforce ------------------------------------ */

/* Identities of cgroups */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CGROUPS_MAX);
	__type(key, __u64);
	__type(value, __u32);
} identities SEC(".maps");

__u64 verdicts[4];

/* Without an identity of the cgroup, everything is denied. The name is not known yet. */
static __always_inline int may_connect(struct bpf_sock_addr *ctx, __u32 addr)
{
	struct policy_key key = { .dst = bpf_ntohl(addr), .name = ~0U,
				  .dport = bpf_ntohs(ctx->user_port), .proto = ctx->protocol };
	__u64 cgroup = bpf_get_current_cgroup_id();
	__u32 *id = bpf_map_lookup_elem(&identities, &cgroup), verdict = POLICY_DENY;
	struct policy p;

	if (id && policy_get(&p)) {
		key.id = *id;
		verdict = POLICY_VERDICT(policy_tuplemerge(&p, &key));
	}
	__sync_fetch_and_add(&verdicts[verdict], 1);
	return verdict != POLICY_DENY;
}

/* IPv6 addresses are denied, except those mapped to IPv4, as rules have none. */
static __always_inline int may_connect6(struct bpf_sock_addr *ctx)
{
	if (ctx->user_ip6[0] || ctx->user_ip6[1] || ctx->user_ip6[2] != bpf_htonl(0xffff))
		return 0;
	return may_connect(ctx, ctx->user_ip6[3]);
}

SEC("cgroup/connect4")
int enforce_connect4(struct bpf_sock_addr *ctx)
{
	return may_connect(ctx, ctx->user_ip4);
}

SEC("cgroup/connect6")
int enforce_connect6(struct bpf_sock_addr *ctx)
{
	return may_connect6(ctx);
}

SEC("cgroup/sendmsg4")
int enforce_sendmsg4(struct bpf_sock_addr *ctx)
{
	return may_connect(ctx, ctx->user_ip4);
}

SEC("cgroup/sendmsg6")
int enforce_sendmsg6(struct bpf_sock_addr *ctx)
{
	return may_connect6(ctx);
}

/* ---- other types, which are only tested to load -------------------------------------- */

static __always_inline int allowed(__u32 src, __u32 port)
{
	struct policy_key key = { .id = src, .dport = port };
	struct policy p;

	return policy_get(&p) && POLICY_VERDICT(policy_pruned(&p, &key)) != POLICY_DENY;
}

SEC("xdp")
int type_xdp(struct xdp_md *ctx)
{
	return allowed(ctx->ingress_ifindex, 1) ? XDP_PASS : XDP_DROP;
}

SEC("sk_skb/stream_verdict")
int type_sk_skb(struct __sk_buff *skb)
{
	return allowed(skb->remote_ip4, skb->local_port) ? SK_PASS : SK_DROP;
}

SEC("sk_msg")
int type_sk_msg(struct sk_msg_md *msg)
{
	return allowed(msg->remote_ip4, msg->local_port) ? SK_PASS : SK_DROP;
}

SEC("cgroup/connect4")
int type_connect4(struct bpf_sock_addr *ctx)
{
	return allowed(ctx->user_ip4, ctx->user_port);
}

char _license[] SEC("license") = "GPL";
