/* SPDX-License-Identifier: GPL-2.0 */
/* One rule after the other, for comparison with the others */
#ifndef __POLICY_LINEAR_H
#define __POLICY_LINEAR_H

#include "policy.h"

#define POLICY_LINEAR_MAX	(1 << 20)

struct policy_linear_state {
	struct policy p;
	struct policy_words k;
	__u64 at;
	__u32 answer;
};

static __always_inline int policy_linear_round(__u32 i, struct policy_linear_state *s)
{
	const struct policy_rule *r;

	r = policy_at(&s->p, s->at + (__u64)i * POLICY_LINE, sizeof(*r));
	if (!r)
		return 1;
	if (!policy_rule_matches(r, &s->k))
		return 0;
	s->answer = r->answer;
	return 1;
}

static __always_inline __u32 policy_linear(const struct policy *p, const struct policy_key *key)
{
	const struct policy_head *head = policy_head(p, POLICY_LINEAR);
	struct policy_linear_state s = { .p = *p };

	if (!head || !policy_can_loop(head->rules))
		return POLICY_NONE;
	policy_words(key, &s.k);
	s.at = head->rules_at;
	policy_rounds(head->rules, policy_linear_round, &s);
	return s.answer;
}

#endif
