/* SPDX-License-Identifier: GPL-2.0 */
/* Builders make the memory that a classifier reads, from rules */
#ifndef __BUILD_H
#define __BUILD_H

#include "rules.h"
#include "field.h"

/* A policy that is being built */
struct build {
	const struct rules *rules;
	uint64_t max_bytes;	/* larger policies are refused */
	uint64_t *mem;
	uint64_t cells, room;
	char why[200];		/* reason of a refusal */
};

struct classifier {
	const char *name;
	enum policy_kind kind;
	bool (*build)(struct build *b);
	uint32_t (*lookup)(const struct policy *p, const struct policy_key *key);
};

extern const struct classifier classifiers[];	/* ends with an entry without a name */

const struct classifier *classifier_find(const char *name);

/* Return: false if the rules are refused, with the reason in b->why. Free b->mem later. */
bool policy_build(const struct classifier *c, const struct rules *rules, uint64_t max_bytes,
		  struct build *b);

/* The number of distinct cache lines, of 64 bytes, that a look-up reads */
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

/* Allocate @bytes at the begin of a cache line. Return: the cell; 0 if too large */
uint32_t build_room(struct build *b, uint64_t bytes);

static inline uint32_t answer_of(const struct rules *rules, int i)
{
	return POLICY_ANSWER(i + 1, rules->rule[i].verdict);
}

/* Convert a rule to a cache line */
void make_line(const struct rules *rules, int i, struct policy_rule *line);

/* The length of the common prefix of lo and hi */
int prefix_len(enum field f, uint32_t lo, uint32_t hi);
uint32_t prefix_mask(enum field f, int len);

/* Masks, and slots of a hash table; keys include the number of their mask */
struct entries {
	struct policy_mask *mask;
	int masks, mask_room;
	struct policy_slot *slot;
	int n, room;
	int *hash;		/* hash table of masks */
	int hash_size;
};

/* The number of a mask; a new one is added */
int entries_mask(struct entries *e, const struct policy_key *mask);
/* Add a mask, even if it exists */
int entries_new_mask(struct entries *e, const struct policy_key *mask);
void entries_add(struct entries *e, const struct policy_key *masked, int mask, uint32_t value);
/* Sort masks in the order of their first rules, and update the slots */
void entries_sort_masks(struct entries *e);
bool entries_write(struct build *b, const struct entries *e);
void entries_free(struct entries *e);

/* Entries for all rules as prefixes; of the same key, only that of the first rule */
bool entries_of_rules(struct build *b, struct entries *e, int masks_max);

/* A rule or a mask, @what, that matches the values from lo to hi */
struct span {
	uint32_t lo, hi, what;
};

/* Values of a field from start[i] on are of class[i]. Values that are in the same set of
 * spans are of the same class.
 */
struct partition {
	uint32_t *start, *class;
	int n, classes;
	int words;		/* length of a bitmap */
	uint64_t *bits;		/* a bitmap of rules or masks for each class */
	uint64_t max_bytes;	/* limit of bitmaps; 0: make none */
	bool too_large;
};

void partition_make(struct partition *p, const struct span *spans, int n, int whats,
		    uint32_t max);
void partition_free(struct partition *p);
int partition_find(const struct partition *p, uint32_t value);

/* Does any rule restrict the field? */
bool field_used(const struct rules *rules, enum field f);
/* Write a field, with its head as number @i. */
bool field_write(struct build *b, enum field f, int i, const struct partition *p);
struct policy_field *field_head(struct build *b, int i);

#endif
