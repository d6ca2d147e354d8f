/* SPDX-License-Identifier: GPL-2.0 */
/* The class of a field of a key: values that no rule distinguishes are of the same class.
 * Each field has a table of all its values or, if that would be long, a tree of the values
 * at which the class changes. A node has 16 of them, in one cache line.
 */
#ifndef __POLICY_FIELD_H
#define __POLICY_FIELD_H

#include "policy.h"

#define POLICY_FIELDS		7
#define POLICY_FANOUT		16
#define POLICY_LEVELS		5	/* for up to 16^5 changes */
#define POLICY_NO_CLASS		(~0U)

struct policy_field {
	__u8 word, shift;	/* position in the key */
	__u8 levels;		/* levels of the tree; 0: a table */
	__u8 unused;
	__u32 mask;
	__u32 last;		/* table: its last value; tree: the class of ~0 */
	__u32 classes_at;	/* __u32, by value or by position in the tree */
	__u32 bits_at, step;	/* bitmaps of the classes, and cells of a bitmap */
	__u32 stride;		/* factor of the class in the index of a cross product */
	__u32 level_at[POLICY_LEVELS];
	__u32 unused2[4];
};

static __always_inline const struct policy_field *
policy_field_at(const struct policy *p, const struct policy_head *head, __u64 f)
{
	return policy_at(p, head->fields_at + f * (sizeof(struct policy_field) / 8),
			 sizeof(struct policy_field));
}

/* Is the number less than @above? Without a branch, as the verifier would follow both. */
static __always_inline __u64 policy_less(__u32 number, __u64 above)
{
	__u64 less = number - above;

	policy_opaque(less);
	return less >> 63;
}

/* The index of the last of 16 numbers that is not above the value; the first never is. */
static __always_inline __u64 policy_node_find(const __u32 *node, __u64 value)
{
	__u64 at, above = value + 1;

	at = policy_less(node[8], above) << 3;
	at += policy_less(node[at + 4], above) << 2;
	at += policy_less(node[at + 2], above) << 1;
	return at + policy_less(node[at + 1], above);
}

static __always_inline const __u32 *policy_tree_find(const struct policy *p,
						     const struct policy_field *f, __u64 value)
{
	const __u32 *node;
	__u64 at = 0;
	int i;

	for (i = 0; i < POLICY_LEVELS; i++) {
		if (i == f->levels)
			break;
		node = policy_at(p, f->level_at[i] + at * POLICY_LINE, 64);
		if (!node)
			return NULL;
		at = at * POLICY_FANOUT + policy_node_find(node, value);
	}
	return policy_u32(p, f->classes_at, at);
}

static __always_inline __u32 policy_class(const struct policy *p, const struct policy_field *f,
					  const struct policy_words *k)
{
	__u32 value = k->w[f->word & 3] >> (f->shift & 63) & f->mask;
	const __u32 *class;

	if (f->levels) {
		if (value == ~0U)	/* unused entries of a node have this value, too */
			return f->last;
		class = policy_tree_find(p, f, value);
	} else {
		class = policy_u32(p, f->classes_at, value < f->last ? value : f->last);
	}
	return class ? *class : POLICY_NO_CLASS;
}

#endif
