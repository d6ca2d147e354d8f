/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by all classifiers: the key, the answer, and the layout of a policy in memory.
 *
 * A policy is one block of memory without pointers. User space builds it, and a program
 * finds it as the only element of an array map, which is the only element of a map of
 * maps. A look-up gets the inner map once and reads nothing else, so replacing the inner
 * map replaces the whole policy: no look-up reads parts of two policies.
 *
 * All offsets are in cells of 8 bytes. Nothing beyond the end is read; the answer is then
 * POLICY_NONE, which denies.
 *
 * This header and those of the classifiers are used by BPF programs and by user space,
 * where POLICY_TOUCH(cell, bytes), if defined, is called for all that a look-up reads.
 */
#ifndef __POLICY_H
#define __POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#ifdef __bpf__
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
/* Hide the value from the compiler, so that it uses the same register that was checked. */
#define policy_opaque(x)	asm volatile("" : "+r"(x))
#else
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define policy_opaque(x)	do { } while (0)
#endif

#ifndef POLICY_TOUCH
#define POLICY_TOUCH(cell, bytes) do { } while (0)
#endif

/* All fields are in the byte order of the machine, which is little-endian */
struct policy_key {
	__u32 id;		/* identity of the local end, for instance of a cgroup */
	__u32 src, dst;		/* addresses */
	__u32 name;		/* number of a name, from names_find() */
	__u16 sport, dport;
	__u8 proto;
	__u8 unused;		/* 0 */
	__u16 mask;		/* 0; in entries of hash tables, the number of the mask */
} __attribute__((aligned(8)));

#define POLICY_KEY_CELLS	3

/* The key as 64-bit words, and one unused word, as indexes have two bits */
struct policy_words {
	__u64 w[POLICY_KEY_CELLS + 1];
};

/* An answer has the verdict in the low bits, and above it the rank of the rule, from 1 on.
 * Of two answers other than POLICY_NONE, the smaller one is that of the earlier rule.
 */
enum policy_verdict {
	POLICY_DENY,
	POLICY_ALLOW,
	POLICY_LOG,		/* allow, and log */
};

#define POLICY_NONE		0
#define POLICY_ANSWER(rank, verdict) ((rank) << 2 | (verdict))
#define POLICY_VERDICT(answer)	((answer) & 3)
#define POLICY_RANK(answer)	((answer) >> 2)

enum policy_kind {
	POLICY_LINEAR = 1,
	POLICY_HASHES,
	POLICY_PRUNED,
	POLICY_CLASSES,
	POLICY_TUPLEMERGE,
	POLICY_BITVEC,
	POLICY_KINDS
};

/* The head of a policy. Not all classifiers use all fields. */
struct policy_head {
	__u32 kind;
	__u32 rules, rules_at;		/* struct policy_rule */
	__u32 masks, masks_at;		/* struct policy_mask */
	__u32 buckets, buckets_at;	/* struct policy_bucket */
	__u32 fields, fields_at;	/* struct policy_field */
	__u32 words;			/* length of a bitmap in 64-bit words */
	__u32 answers_at;		/* __u32 */
	__u32 generation;		/* different for each policy, from 1 on */
	__u64 seed;			/* seed of the hash */
	__u64 zero;			/* 0, which the verifier does not know: see policy_zero() */
};

/* A rule, in one cache line. Ports are ranges, which mask and value only approximate. */
struct policy_rule {
	__u64 value[POLICY_KEY_CELLS];
	__u64 mask[POLICY_KEY_CELLS];
	__u16 sport, sport_span, dport, dport_span;	/* first port, ports after it */
	__u32 answer;
	__u32 more;		/* number of further rules of the same entry in a hash table */
};

/* The bits of a key that are hashed */
struct policy_mask {
	__u64 mask[POLICY_KEY_CELLS];
	__u32 best;		/* the answer of its first rule, minus 1 */
	__u32 unused;
};

struct policy_slot {
	__u64 key[POLICY_KEY_CELLS];
	__u32 value;
	__u32 unused;
};

#define POLICY_SLOTS	2

struct policy_bucket {
	struct policy_slot slot[POLICY_SLOTS];
};

#define POLICY_LINE		8	/* size of a cache line in cells */

/* The policy that a look-up reads */
struct policy {
	const void *mem;
	__u64 cells;		/* at least POLICY_LINE; a constant for the verifier */
};

static __always_inline const void *policy_at(const struct policy *p, __u64 cell, __u32 bytes)
{
	policy_opaque(cell);
	if (cell > p->cells - bytes / 8)
		return NULL;
	POLICY_TOUCH(cell, bytes);
	return p->mem + cell * 8;
}

/* Element @i of an array of 32-bit numbers */
static __always_inline const __u32 *policy_u32(const struct policy *p, __u32 at, __u64 i)
{
	const __u32 *pair = policy_at(p, at + i / 2, 8);

	return pair ? pair + (i & 1) : NULL;
}

static __always_inline const struct policy_head *policy_head(const struct policy *p,
							      enum policy_kind kind)
{
	const struct policy_head *head = policy_at(p, 0, sizeof(*head));

	return head && head->kind == kind ? head : NULL;
}

/* The initial value of loop variables: 0, but any number for the verifier. So the verifier
 * finds no new state after a round, and does not follow each path through all rounds.
 *
 * Loops keep the best answer minus 1, so that POLICY_NONE is greater than all others, and no
 * comparison is needed at the end. After one, the verifier would follow all paths on which
 * it knows the result.
 */
static __always_inline __u64 policy_zero(const struct policy_head *head)
{
	return *(const volatile __u64 *)&head->zero;
}

static __always_inline void policy_words(const struct policy_key *key, struct policy_words *k)
{
	__builtin_memcpy(k->w, key, sizeof(*key));
	k->w[POLICY_KEY_CELLS] = 0;
}

static __always_inline bool policy_port_in(__u16 port, __u16 first, __u16 span)
{
	return (__u16)(port - first) <= span;
}

static __always_inline bool policy_rule_matches(const struct policy_rule *r,
						const struct policy_words *k)
{
	return !(((k->w[0] ^ r->value[0]) & r->mask[0]) |
		 ((k->w[1] ^ r->value[1]) & r->mask[1]) |
		 ((k->w[2] ^ r->value[2]) & r->mask[2])) &&
	       policy_port_in(k->w[2], r->sport, r->sport_span) &&
	       policy_port_in(k->w[2] >> 16, r->dport, r->dport_span);
}

/* ---- the hash table: an entry is in one of two buckets, of a cache line each --------- */

static __always_inline __u64 policy_hash(const __u64 *k, __u64 seed)
{
	__u64 h = (k[0] ^ seed) * 0x9e3779b97f4a7c15ULL;

	h = (h ^ h >> 32 ^ k[1]) * 0xc2b2ae3d27d4eb4fULL;
	h = (h ^ h >> 29 ^ k[2]) * 0x165667b19e3779f9ULL;
	h = (h ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

/* The number of one of two buckets, from the low or the high half of the hash */
static __always_inline __u32 policy_bucket_of(__u64 hash, __u32 buckets, int which)
{
	return ((which ? hash >> 32 : (__u32)hash) * buckets) >> 32;
}

static __always_inline bool policy_slot_is(const struct policy_slot *s, const __u64 *k)
{
	return !((s->key[0] ^ k[0]) | (s->key[1] ^ k[1]) | (s->key[2] ^ k[2]));
}

static __always_inline const __u32 *policy_bucket_find(const struct policy *p,
						       const struct policy_head *head,
						       const __u64 *k, __u64 hash, int which)
{
	const struct policy_bucket *b;

	b = policy_at(p, head->buckets_at +
			 (__u64)policy_bucket_of(hash, head->buckets, which) * POLICY_LINE,
		      sizeof(*b));
	if (!b)
		return NULL;
	if (policy_slot_is(&b->slot[0], k))
		return &b->slot[0].value;
	if (policy_slot_is(&b->slot[1], k))
		return &b->slot[1].value;
	return NULL;
}

/* The table's value for the masked key @k */
static __always_inline const __u32 *policy_find(const struct policy *p,
						const struct policy_head *head, const __u64 *k)
{
	__u64 hash = policy_hash(k, head->seed);
	const __u32 *value = policy_bucket_find(p, head, k, hash, 0);

	return value ?: policy_bucket_find(p, head, k, hash, 1);
}

static __always_inline const struct policy_mask *policy_mask_at(const struct policy *p,
								const struct policy_head *head,
								__u64 i)
{
	return policy_at(p, head->masks_at + i * (sizeof(struct policy_mask) / 8),
			 sizeof(struct policy_mask));
}

/* The table's value for the key masked by mask number @i */
static __always_inline const __u32 *policy_find_masked(const struct policy *p,
						       const struct policy_head *head,
						       const struct policy_mask *m, __u64 i,
						       const struct policy_words *k)
{
	__u64 masked[POLICY_KEY_CELLS] = {
		k->w[0] & m->mask[0], k->w[1] & m->mask[1], (k->w[2] & m->mask[2]) | i << 48,
	};

	return policy_find(p, head, masked);
}

/* policy_rounds() calls round(i, state) for i from 0 to n - 1, or until it returns not 0. For
 * more than POLICY_FEW rounds, BPF programs use bpf_loop(), from Linux 5.17 on; a shorter loop
 * is verified round by round. The constant policy_has_loop says whether the kernel has
 * bpf_loop(); without it, policy_can_loop() is false for more rounds.
 */
#define POLICY_FEW 512

#ifdef __bpf__
extern const volatile bool policy_has_loop;

static __always_inline bool policy_can_loop(__u32 n)
{
	return policy_has_loop || n <= POLICY_FEW;
}

#define policy_rounds(n, round, state) do {					\
	__u32 __n = (n), __i;							\
										\
	if (policy_has_loop && __n > POLICY_FEW) {				\
		__typeof__(*(state)) __state = *(state);			\
										\
		bpf_loop(__n, round, &__state, 0);				\
		*(state) = __state;						\
		break;								\
	}									\
	for (__i = 0; __i < POLICY_FEW; __i++)					\
		if (__i >= __n || round(__i, state))				\
			break;							\
} while (0)
#else
static __always_inline bool policy_can_loop(__u32 n)
{
	return true;
}

#define policy_rounds(n, round, state) do {					\
	__u32 __n = (n), __i;							\
										\
	for (__i = 0; __i < __n; __i++)						\
		if (round(__i, state))						\
			break;							\
} while (0)
#endif

/* Clear the lowest set bit of @bits, which must not be 0. Return: its number. This uses
 * exclusive or, as with "bits & (bits - 1)" the verifier would track a smaller bound in each
 * round.
 */
static __always_inline __u32 policy_take_bit(__u64 *bits)
{
	__u64 x = *bits & -*bits;

	policy_opaque(x);
	*bits ^= x;
	x--;
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return x * 0x0101010101010101ULL >> 56;
}

#endif
