/* SPDX-License-Identifier: GPL-2.0 */
/* A table with the answer for each combination of the classes of the fields. A look-up reads
 * each field's class, and one entry of this cross product, whatever the number of rules.
 */
#ifndef __POLICY_CLASSES_H
#define __POLICY_CLASSES_H

#include "field.h"

static __always_inline __u32 policy_classes(const struct policy *p, const struct policy_key *key)
{
	const struct policy_head *head = policy_head(p, POLICY_CLASSES);
	const struct policy_field *field;
	struct policy_words k;
	const __u32 *answer;
	__u64 at = 0;
	__u32 class;
	int f;

	if (!head)
		return POLICY_NONE;
	policy_words(key, &k);
	for (f = 0; f < POLICY_FIELDS; f++) {
		if (f >= head->fields)
			break;
		field = policy_field_at(p, head, f);
		if (!field)
			return POLICY_NONE;
		class = policy_class(p, field, &k);
		if (class == POLICY_NO_CLASS)
			return POLICY_NONE;
		at += (__u64)class * field->stride;
	}
	answer = policy_u32(p, head->answers_at, at);
	return answer ? *answer : POLICY_NONE;
}

#endif
