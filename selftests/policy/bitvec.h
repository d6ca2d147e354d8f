/* SPDX-License-Identifier: GPL-2.0 */
/* Aggregated bit vectors: each class of a field has a bitmap of the rules it can match. The
 * answer is the first rule in all bitmaps. Each bitmap begins with a summary, a bit for each
 * 64 rules.
 */
#ifndef __POLICY_BITVEC_H
#define __POLICY_BITVEC_H

#include "pruned.h"

#define POLICY_BITVEC_WORDS	256
#define POLICY_BITVEC_MAX	(POLICY_BITVEC_WORDS * 64)	/* rules */
#define POLICY_BITVEC_SUMS	(POLICY_BITVEC_WORDS / 64)	/* words of the summary */

static __always_inline __u32 policy_bitvec(const struct policy *p, const struct policy_key *key)
{
	const struct policy_head *head = policy_head(p, POLICY_BITVEC);
	__u64 sums, sum, n_sums, at, bits;
	struct policy_bitmaps b;
	struct policy_words k;
	const __u32 *answer;
	int i;

	if (!policy_bitmaps(p, head, key, &k, &b))
		return POLICY_NONE;
	sums = policy_zero(head);
	sum = policy_zero(head);
	n_sums = (head->words + 63) / 64;
	/* Each round is for a word of the summary or for a word that has bits set. */
	for (i = 0; i < POLICY_BITVEC_WORDS + POLICY_BITVEC_SUMS; i++) {
		if (!sums) {
			if (sum == n_sums)
				break;
			sums = policy_bitmaps_and(p, head, &b, sum++);
			continue;
		}
		at = sum * 64 - 64 + policy_take_bit(&sums);
		bits = policy_bitmaps_and(p, head, &b, n_sums + at);
		if (!bits)
			continue;
		answer = policy_u32(p, head->answers_at, at * 64 + policy_take_bit(&bits));
		return answer ? *answer : POLICY_NONE;
	}
	return POLICY_NONE;
}

#endif
