/* SPDX-License-Identifier: GPL-2.0 */
/* TupleMerge: rules with different masks share a hash table, whose mask is common to them,
 * so there are few tables. An entry has a few rules, which are compared in full. A range of
 * ports is one rule.
 */
#ifndef __POLICY_TUPLEMERGE_H
#define __POLICY_TUPLEMERGE_H

#include "policy.h"

#define POLICY_TABLES		64
#define POLICY_CHAIN		6	/* most rules of an entry */

/* The first matching rule from number @first on, if it is earlier than @best */
static __always_inline __u32 policy_chain(const struct policy *p, const struct policy_head *head,
					  const struct policy_words *k, __u64 first, __u32 best)
{
	const struct policy_rule *r;
	int i;

	for (i = 0; i < POLICY_CHAIN; i++) {
		r = policy_at(p, head->rules_at + (first + i) * POLICY_LINE, sizeof(*r));
		if (!r || r->answer - 1 > best)
			break;
		if (policy_rule_matches(r, k))
			return r->answer - 1;
		if (!r->more)
			break;
	}
	return best;
}

static __always_inline __u32 policy_tuplemerge(const struct policy *p,
					       const struct policy_key *key)
{
	const struct policy_head *head = policy_head(p, POLICY_TUPLEMERGE);
	const struct policy_mask *m;
	struct policy_words k;
	const __u32 *found;
	__u32 best;
	int i;

	if (!head)
		return POLICY_NONE;
	policy_words(key, &k);
	best = ~policy_zero(head);
	for (i = 0; i < POLICY_TABLES; i++) {
		if (i >= head->masks)
			break;
		m = policy_mask_at(p, head, i);
		if (!m || m->best > best)
			break;
		found = policy_find_masked(p, head, m, i, &k);
		if (found)
			best = policy_chain(p, head, &k, *found, best);
	}
	return best + 1;
}

#endif
