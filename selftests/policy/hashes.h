/* SPDX-License-Identifier: GPL-2.0 */
/* A look-up in a hash table for each mask of the rules, in the order of their first rules.
 * It ends when no remaining mask has an earlier rule than the one found.
 *
 * A range of ports is split into prefixes. All masks share one table.
 */
#ifndef __POLICY_HASHES_H
#define __POLICY_HASHES_H

#include "policy.h"

#define POLICY_HASHES_MAX	32768	/* masks */

struct policy_hashes_state {
	struct policy p;
	const struct policy_head *head;
	struct policy_words k;
	__u32 best;
};

static __always_inline int policy_hashes_round(__u32 i, struct policy_hashes_state *s)
{
	const struct policy_mask *m = policy_mask_at(&s->p, s->head, i);
	const __u32 *found;

	if (!m || m->best > s->best)
		return 1;
	found = policy_find_masked(&s->p, s->head, m, i, &s->k);
	if (found && *found < s->best)
		s->best = *found;
	return 0;
}

static __always_inline __u32 policy_hashes(const struct policy *p, const struct policy_key *key)
{
	struct policy_hashes_state s = { .p = *p };

	s.head = policy_head(p, POLICY_HASHES);
	if (!s.head || !policy_can_loop(s.head->masks))
		return POLICY_NONE;
	policy_words(key, &s.k);
	s.best = ~policy_zero(s.head);
	policy_rounds(s.head->masks, policy_hashes_round, &s);
	return s.best + 1;
}

#endif
