/* SPDX-License-Identifier: GPL-2.0 */
/* Rules as people write them, and as the builders take them */
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
	int word, shift;	/* in the key */
};

extern const struct field_info field_info[FIELDS];

/* A rule matches if each field of the key is from lo to hi. */
struct rule {
	uint32_t lo[FIELDS], hi[FIELDS];
	int verdict;
	int priority;		/* the greater, the earlier */
	int line;
	int name_node;		/* of names, or -1 */
	bool name_suffix;
};

struct identity {
	char name[64];
	uint32_t number;
};

/* The names that rules have, as a tree of their labels, the last label first */
struct name_node {
	int parent, depth;
	char label[64];
	bool has_suffix;	/* a rule has "*." in front of it */
	int kids;
	uint64_t size;		/* of the numbers for all below it; 0: none has one */
	uint32_t exact;		/* the number of this name */
	uint32_t below, unknown; /* the first number below, and of names no rule has */
	uint64_t used;
};

struct names {
	struct name_node *node;
	int n, room;
	int *hash;
	int hash_size;
};

struct rules {
	struct rule *rule;	/* the first is the one that counts */
	int n, room;
	struct identity *identity;
	int identities, identity_room;
	struct names names;
};

/* False if the text has errors, which are told, with their lines */
bool rules_read(struct rules *rules, FILE *text, const char *file, FILE *errors);
void rules_free(struct rules *rules);

/* All answers by the one way that needs no proof */
uint32_t rules_oracle(const struct rules *rules, const struct policy_key *key);

bool names_valid(const char *name);
int names_add(struct names *names, const char *name);
/* Numbers all names so that those below one are a prefix; false if 32 bits do not do */
bool names_number(struct names *names);
/* The number of any name */
uint32_t names_find(const struct names *names, const char *name);
void names_free(struct names *names);

uint32_t key_get(const struct policy_key *key, enum field f);
void key_set(struct policy_key *key, enum field f, uint32_t value);

/* Rule sets for tests, as text: the same for the same family, number and seed */
bool generate(FILE *text, const char *family, int n, uint64_t seed);
extern const char * const families[];

uint64_t random_next(uint64_t *state);
/* Half of them at the corners of rules */
void random_key(const struct rules *rules, uint64_t *state, struct policy_key *key);

void *grow(void *array, int n, int *room, size_t size);

#endif
