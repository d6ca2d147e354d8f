/* SPDX-License-Identifier: GPL-2.0 */
/* Rules as text, and for builders */
#ifndef __RULES_H
#define __RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "policy.h"

enum field { F_ID, F_SRC, F_DST, F_NAME, F_SPORT, F_DPORT, F_PROTO, FIELDS };

struct field_info {
	const char *name;
	uint32_t max;
	int word, shift;	/* position in the key */
};

extern const struct field_info field_info[FIELDS];

/* A rule matches if each field of the key is between lo and hi. */
struct rule {
	uint32_t lo[FIELDS], hi[FIELDS];
	int verdict;
	int priority;		/* greater ones come first */
	int line;
	int name_node;		/* node of the name, or -1 */
	bool name_suffix;
};

struct identity {
	char name[64];
	uint32_t number;
};

/* All names in rules, as a tree of labels, from the last label on */
struct name_node {
	int parent, depth;
	char label[64];
	bool has_suffix;	/* a rule has this name after "*." */
	int kids;
	uint64_t size;		/* numbers of all names below it; 0: there are none */
	uint32_t exact;		/* the number of this name */
	uint32_t below, unknown; /* first number below it; number of unknown names */
	uint64_t used;
};

struct names {
	struct name_node *node;
	int n, room;
	int *hash;
	int hash_size;
};

struct rules {
	struct rule *rule;	/* the first matching one decides */
	int n, room;
	struct identity *identity;
	int identities, identity_room;
	struct names names;
};

/* Return: false if the text has errors, which are printed with their lines */
bool rules_read(struct rules *rules, FILE *text, const char *file, FILE *errors);
void rules_free(struct rules *rules);

/* The correct answer, by comparison with each rule */
uint32_t rules_oracle(const struct rules *rules, const struct policy_key *key);

bool names_valid(const char *name);
int names_add(struct names *names, const char *name);
/* Number all names, so that those below a name have a common prefix; false if 32 bits are
 * not enough
 */
bool names_number(struct names *names);
/* The number of a name, which need not be in a rule */
uint32_t names_find(const struct names *names, const char *name);
void names_free(struct names *names);

uint32_t key_get(const struct policy_key *key, enum field f);
void key_set(struct policy_key *key, enum field f, uint32_t value);

/* A rule set for tests, as text, determined by family, number and seed */
bool generate(FILE *text, const char *family, int n, uint64_t seed);
extern const char * const families[];

uint64_t random_next(uint64_t *state);
/* Half of the keys are at the corners of rules */
void random_key(const struct rules *rules, uint64_t *state, struct policy_key *key);

void *grow(void *array, int n, int *room, size_t size);

#endif
