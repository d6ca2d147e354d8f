/* SPDX-License-Identifier: GPL-2.0 */
/* A cache of the answer for a socket, in its storage (BPF_MAP_TYPE_SK_STORAGE), which is
 * valid as long as the policy is not replaced. As each socket has its own, no peer can fill
 * the cache or displace other entries.
 *
 * The key must not change during the life of the socket. It is a single word, so that
 * programs on other CPUs do not read a part of it.
 */
#ifndef __POLICY_REMEMBER_H
#define __POLICY_REMEMBER_H

#include "policy.h"

struct policy_memory {
	__u64 word;		/* generation << 32 | answer; no policy has generation 0 */
};

static __always_inline __u32 policy_generation(const struct policy *p)
{
	const struct policy_head *head = policy_at(p, 0, sizeof(*head));

	return head ? head->generation : 0;
}

static __always_inline bool policy_recall(const struct policy_memory *m, __u32 generation,
					  __u32 *answer)
{
	__u64 word = *(const volatile __u64 *)&m->word;

	*answer = word;
	return generation && word >> 32 == generation;
}

static __always_inline void policy_remember(struct policy_memory *m, __u32 generation,
					    __u32 answer)
{
	*(volatile __u64 *)&m->word = (__u64)generation << 32 | answer;
}

#endif
