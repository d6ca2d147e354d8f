/* SPDX-License-Identifier: GPL-2.0 */
/* Like hashes.h, but only for masks with which each field alone can match: each class of a
 * field has a bitmap of these masks.
 */
#ifndef __POLICY_PRUNED_H
#define __POLICY_PRUNED_H

#include "field.h"

#define POLICY_PRUNED_WORDS	8
#define POLICY_PRUNED_MAX	(POLICY_PRUNED_WORDS * 64)	/* masks */

/* The positions of the bitmaps of the key's classes. at[POLICY_FIELDS] is not used. */
struct policy_bitmaps {
	__u64 at[POLICY_FIELDS + 1];
};

/* Find the bitmaps, and the words of the key. Return: false if no rule can match */
static __always_inline bool policy_bitmaps(const struct policy *p,
					   const struct policy_head *head,
					   const struct policy_key *key, struct policy_words *k,
					   struct policy_bitmaps *b)
{
	const struct policy_field *field;
	__u32 class;
	int f;

	if (!head)
		return false;
	policy_words(key, k);
	for (f = 0; f < POLICY_FIELDS; f++) {
		b->at[f] = policy_zero(head);
		if (f >= head->fields)
			continue;
		field = policy_field_at(p, head, f);
		if (!field)
			return false;
		class = policy_class(p, field, k);
		if (class == POLICY_NO_CLASS)
			return false;
		b->at[f] += field->bits_at + (__u64)class * field->step;
	}
	return true;
}

/* The intersection of word @i of all bitmaps; there is at least one field */
static __always_inline __u64 policy_bitmaps_and(const struct policy *p,
						const struct policy_head *head,
						const struct policy_bitmaps *b, __u64 i)
{
	__u32 fields = *(const volatile __u32 *)&head->fields;	/* unknown to the verifier */
	const __u64 *word = policy_at(p, b->at[0] + i, sizeof(*word));
	__u64 bits;
	__u32 f;

	if (!word)
		return 0;
	bits = *word;
	for (f = 1; f < POLICY_FIELDS; f++) {
		if (f >= fields)
			break;
		word = policy_at(p, b->at[f] + i, sizeof(*word));
		if (!word)
			return 0;
		bits &= *word;
	}
	return bits;
}

static __always_inline __u32 policy_pruned(const struct policy *p, const struct policy_key *key)
{
	const struct policy_head *head = policy_head(p, POLICY_PRUNED);
	const struct policy_mask *m;
	struct policy_bitmaps b;
	struct policy_words k;
	__u64 bits, word, mask;
	__u32 best;
	const __u32 *found;
	int i;

	if (!policy_bitmaps(p, head, key, &k, &b))
		return POLICY_NONE;
	best = ~policy_zero(head);
	bits = policy_zero(head);
	word = policy_zero(head);
	/* Each round is for a word or for a bit. */
	for (i = 0; i < POLICY_PRUNED_MAX + POLICY_PRUNED_WORDS; i++) {
		if (!bits) {
			if (word == head->words)
				break;
			bits = policy_bitmaps_and(p, head, &b, word++);
			continue;
		}
		mask = word * 64 - 64 + policy_take_bit(&bits);
		m = policy_mask_at(p, head, mask);
		if (!m || m->best > best)
			break;
		found = policy_find_masked(p, head, m, mask, &k);
		if (found && *found < best)
			best = *found;
	}
	return best + 1;
}

#endif
