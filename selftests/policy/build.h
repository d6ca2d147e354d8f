/* SPDX-License-Identifier: GPL-2.0 */
/* Builders: from rules to the memory that a classifier reads */
#ifndef __BUILD_H
#define __BUILD_H

#include "rules.h"
#include "field.h"

/* A policy in the making */
struct build {
	const struct rules *rules;
	uint64_t max_bytes;	/* more are refused */
	uint64_t *mem;
	uint64_t cells, room;
	char why[200];		/* it was refused */
};

struct classifier {
	const char *name;
	enum policy_kind kind;
	bool (*build)(struct build *b);
	uint32_t (*lookup)(const struct policy *p, const struct policy_key *key);
};

extern const struct classifier classifiers[];	/* ends with one without a name */

const struct classifier *classifier_find(const char *name);

/* False if the rules do not fit; b->why says why. What was built, to be freed, is b->mem. */
bool policy_build(const struct classifier *c, const struct rules *rules, uint64_t max_bytes,
		  struct build *b);

/* Distinct lines of the cache, of 64 bytes, that a look-up reads of the policy */
int lines_touched(const struct classifier *c, const struct policy *p,
		  const struct policy_key *key);

bool build_linear(struct build *b);
bool build_hashes(struct build *b);
bool build_pruned(struct build *b);
bool build_classes(struct build *b);
bool build_tuplemerge(struct build *b);
bool build_bitvec(struct build *b);

/* ---- for builders -------------------------------------------------------------------- */

bool refuse(struct build *b, const char *why, ...) __attribute__((format(printf, 2, 3)));
void *xalloc(size_t n, size_t size);
int *empty_hash(int *old, int *size);

static inline struct policy_head *head_of(struct build *b)
{
	return (struct policy_head *)b->mem;
}

/* Room for @bytes at the begin of a line: the cell; 0 if that is too much */
uint32_t build_room(struct build *b, uint64_t bytes);

static inline uint32_t answer_of(const struct rules *rules, int i)
{
	return POLICY_ANSWER(i + 1, rules->rule[i].verdict);
}

/* A rule in a line */
void make_line(const struct rules *rules, int i, struct policy_rule *line);

/* Bits from the front that lo and hi have in common */
int prefix_len(enum field f, uint32_t lo, uint32_t hi);
uint32_t prefix_mask(enum field f, int len);

/* Masks, and slots of a hash table whose keys name the number of their mask */
struct entries {
	struct policy_mask *mask;
	int masks, mask_room;
	struct policy_slot *slot;
	int n, room;
	int *hash;		/* of masks */
	int hash_size;
};

/* The number of a mask, which is added if it is new */
int entries_mask(struct entries *e, const struct policy_key *mask);
/* One more, even if there is such a mask */
int entries_new_mask(struct entries *e, const struct policy_key *mask);
void entries_add(struct entries *e, const struct policy_key *masked, int mask, uint32_t value);
/* In the order of their first rules; slots are told */
void entries_sort_masks(struct entries *e);
bool entries_write(struct build *b, const struct entries *e);
void entries_free(struct entries *e);

/* All rules as prefixes, one entry for each; of the same key, the first rule's */
bool entries_of_rules(struct build *b, struct entries *e, int masks_max);

/* Something (a rule, a mask) that stands for the values from lo to hi */
struct span {
	uint32_t lo, hi, what;
};

/* Values of a field from start[i] on are of class[i]: of one class are those that the
 * same set of things stands for.
 */
struct partition {
	uint32_t *start, *class;
	int n, classes;
	int words;		/* of a bitmap */
	uint64_t *bits;		/* a bitmap of the set, for each class */
	uint64_t max_bytes;	/* of bitmaps; 0: none are wanted */
	bool too_large;
};

void partition_make(struct partition *p, const struct span *spans, int n, int whats,
		    uint32_t max);
void partition_free(struct partition *p);
int partition_find(const struct partition *p, uint32_t value);

/* Does any rule say something of that field? */
bool field_used(const struct rules *rules, enum field f);
/* The field's head is at number @i of those in b. */
bool field_write(struct build *b, enum field f, int i, const struct partition *p);
struct policy_field *field_head(struct build *b, int i);

#endif
