// SPDX-License-Identifier: GPL-2.0
/* Shared by the builders: memory, prefixes, the hash table */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Count the cache lines that look-ups read */
static void touch(unsigned long long cell, unsigned int bytes);
#define POLICY_TOUCH(cell, bytes) touch(cell, bytes)

#include "build.h"
#include "linear.h"
#include "hashes.h"
#include "pruned.h"
#include "classes.h"
#include "tuplemerge.h"
#include "bitvec.h"

#define SEEDS_MAX 8
#define KICKS_MAX 500

const struct classifier classifiers[] = {
	{ "linear", POLICY_LINEAR, build_linear, policy_linear },
	{ "hashes", POLICY_HASHES, build_hashes, policy_hashes },
	{ "pruned", POLICY_PRUNED, build_pruned, policy_pruned },
	{ "classes", POLICY_CLASSES, build_classes, policy_classes },
	{ "tuplemerge", POLICY_TUPLEMERGE, build_tuplemerge, policy_tuplemerge },
	{ "bitvec", POLICY_BITVEC, build_bitvec, policy_bitvec },
	{ NULL, 0, NULL, NULL },
};

#define TOUCHED_MAX (1 << 21)	/* cache lines of the largest policy */

static uint32_t touched[TOUCHED_MAX], now;	/* the last look-up that touched a line */
static int n_touched = -1;

static void touch_line(uint64_t line)
{
	if (line >= TOUCHED_MAX || touched[line] == now)
		return;
	touched[line] = now;
	n_touched++;
}

static void touch(unsigned long long cell, unsigned int bytes)
{
	if (n_touched < 0)
		return;
	touch_line(cell / POLICY_LINE);
	touch_line((cell + bytes / 8 - 1) / POLICY_LINE);
}

int lines_touched(const struct classifier *c, const struct policy *p,
		  const struct policy_key *key)
{
	int n;

	now++;
	n_touched = 0;
	c->lookup(p, key);
	n = n_touched;
	n_touched = -1;
	return n;
}

const struct classifier *classifier_find(const char *name)
{
	const struct classifier *c;

	for (c = classifiers; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

bool policy_build(const struct classifier *c, const struct rules *rules, uint64_t max_bytes,
		  struct build *b)
{
	memset(b, 0, sizeof(*b));
	b->rules = rules;
	b->max_bytes = max_bytes;
	if (!rules->n)
		return refuse(b, "there are no rules");
	build_room(b, sizeof(struct policy_head));
	if (!b->mem)
		return false;
	head_of(b)->kind = c->kind;
	head_of(b)->rules = rules->n;
	return c->build(b);
}

bool refuse(struct build *b, const char *why, ...)
{
	va_list args;

	if (b->why[0])
		return false;
	va_start(args, why);
	vsnprintf(b->why, sizeof(b->why), why, args);
	va_end(args);
	return false;
}

void *xalloc(size_t n, size_t size)
{
	void *mem = calloc(n + 1, size);

	if (!mem)
		abort();
	return mem;
}

/* An empty hash table with twice as many slots as @old */
int *empty_hash(int *old, int *size)
{
	int *hash;

	free(old);
	*size = *size ? *size * 2 : 64;
	hash = xalloc(*size, sizeof(int));
	memset(hash, 0xff, *size * sizeof(int));
	return hash;
}

uint32_t build_room(struct build *b, uint64_t bytes)
{
	uint64_t at = b->cells, cells = (bytes + 63) / 64 * POLICY_LINE;

	if (bytes > b->max_bytes || (at + cells) * 8 > b->max_bytes) {
		refuse(b, "it would take more than %llu KiB",
		       (unsigned long long)b->max_bytes / 1024);
		return 0;
	}
	b->cells += cells;
	if (b->cells > b->room) {
		b->room = b->cells + b->room / 2;
		b->mem = realloc(b->mem, b->room * 8);
		if (!b->mem)
			abort();
	}
	memset(b->mem + at, 0, cells * 8);
	return at;
}

/* ---- prefixes ------------------------------------------------------------------------ */

static int field_bits(enum field f)
{
	return 32 - __builtin_clz(field_info[f].max);
}

int prefix_len(enum field f, uint32_t lo, uint32_t hi)
{
	int bits = field_bits(f);

	return lo == hi ? bits : bits - (32 - __builtin_clz(lo ^ hi));
}

uint32_t prefix_mask(enum field f, int len)
{
	int bits = field_bits(f);

	return len ? field_info[f].max & ~(uint32_t)((1ULL << (bits - len)) - 1) : 0;
}

void make_line(const struct rules *rules, int i, struct policy_rule *line)
{
	const struct rule *r = &rules->rule[i];
	struct policy_key value = {}, mask = {};
	uint32_t bits;
	int f;

	for (f = 0; f < FIELDS; f++) {
		bits = prefix_mask(f, prefix_len(f, r->lo[f], r->hi[f]));
		key_set(&mask, f, bits);
		key_set(&value, f, r->lo[f] & bits);
	}
	memset(line, 0, sizeof(*line));
	memcpy(line->value, &value, sizeof(value));
	memcpy(line->mask, &mask, sizeof(mask));
	line->sport = r->lo[F_SPORT];
	line->sport_span = r->hi[F_SPORT] - r->lo[F_SPORT];
	line->dport = r->lo[F_DPORT];
	line->dport_span = r->hi[F_DPORT] - r->lo[F_DPORT];
	line->answer = answer_of(rules, i);
}

/* ---- masks --------------------------------------------------------------------------- */

static __u64 mix(const __u64 *key)
{
	return policy_hash(key, 0x51ed270b);
}

static void rehash_masks(struct entries *e)
{
	int i, at;

	e->hash = empty_hash(e->hash, &e->hash_size);
	for (i = 0; i < e->masks; i++) {
		at = mix(e->mask[i].mask) & (e->hash_size - 1);
		while (e->hash[at] >= 0)
			at = (at + 1) & (e->hash_size - 1);
		e->hash[at] = i;
	}
}

int entries_new_mask(struct entries *e, const struct policy_key *mask)
{
	e->mask = grow(e->mask, e->masks, &e->mask_room, sizeof(*e->mask));
	memset(&e->mask[e->masks], 0, sizeof(*e->mask));
	memcpy(e->mask[e->masks].mask, mask, sizeof(*mask));
	e->mask[e->masks].best = ~0U;
	return e->masks++;
}

int entries_mask(struct entries *e, const struct policy_key *mask)
{
	__u64 words[POLICY_KEY_CELLS];
	int at;

	memcpy(words, mask, sizeof(words));
	if (e->masks * 2 >= e->hash_size)
		rehash_masks(e);
	for (at = mix(words) & (e->hash_size - 1); e->hash[at] >= 0;
	     at = (at + 1) & (e->hash_size - 1))
		if (!memcmp(e->mask[e->hash[at]].mask, words, sizeof(words)))
			return e->hash[at];
	e->hash[at] = e->masks;
	return entries_new_mask(e, mask);
}

static void set_mask_number(struct policy_slot *slot, int mask)
{
	slot->key[2] = (slot->key[2] & ~0ULL >> 16) | (uint64_t)mask << 48;
}

static int mask_number(const struct policy_slot *slot)
{
	return slot->key[2] >> 48;
}

void entries_add(struct entries *e, const struct policy_key *masked, int mask, uint32_t value)
{
	struct policy_slot *slot;

	e->slot = grow(e->slot, e->n, &e->room, sizeof(*slot));
	slot = &e->slot[e->n++];
	memcpy(slot->key, masked, sizeof(slot->key));
	set_mask_number(slot, mask);
	slot->value = value;
	slot->unused = 0;
}

static int by_best(const void *a, const void *b)
{
	const struct policy_mask *x = a, *y = b;

	return x->best < y->best ? -1 : x->best > y->best;
}

void entries_sort_masks(struct entries *e)
{
	int *now = xalloc(e->masks, sizeof(int)), i;

	for (i = 0; i < e->masks; i++)
		e->mask[i].unused = i;
	qsort(e->mask, e->masks, sizeof(*e->mask), by_best);
	for (i = 0; i < e->masks; i++) {
		now[e->mask[i].unused] = i;
		e->mask[i].unused = 0;
	}
	for (i = 0; i < e->n; i++)
		set_mask_number(&e->slot[i], now[mask_number(&e->slot[i])]);
	free(now);
}

void entries_free(struct entries *e)
{
	free(e->mask);
	free(e->slot);
	free(e->hash);
	memset(e, 0, sizeof(*e));
}

/* ---- the hash table ------------------------------------------------------------------ */

/* A mask number that no key has. */
static bool is_empty(const struct policy_slot *slot)
{
	return mask_number(slot) == 0xffff;
}

static void empty_table(struct policy_bucket *table, uint32_t buckets)
{
	uint32_t i, j;

	memset(table, 0, buckets * sizeof(*table));
	for (i = 0; i < buckets; i++)
		for (j = 0; j < POLICY_SLOTS; j++)
			table[i].slot[j].key[2] = ~0ULL;
}

static bool put_in(struct policy_bucket *bucket, const struct policy_slot *slot)
{
	int i;

	for (i = 0; i < POLICY_SLOTS; i++) {
		if (is_empty(&bucket->slot[i])) {
			bucket->slot[i] = *slot;
			return true;
		}
	}
	return false;
}

/* Put an entry into one of its two buckets. If both are full, move another entry to its other
 * bucket, and so on (cuckoo hashing).
 */
static bool table_put(struct policy_bucket *table, uint32_t buckets, uint64_t seed,
		      struct policy_slot slot)
{
	uint64_t state = seed, hash;
	struct policy_slot out;
	uint32_t at, victim;
	int kicks;

	for (kicks = 0; kicks < KICKS_MAX; kicks++) {
		hash = policy_hash(slot.key, seed);
		if (put_in(&table[policy_bucket_of(hash, buckets, 0)], &slot) ||
		    put_in(&table[policy_bucket_of(hash, buckets, 1)], &slot))
			return true;
		at = policy_bucket_of(hash, buckets, random_next(&state) & 1);
		victim = random_next(&state) % POLICY_SLOTS;
		out = table[at].slot[victim];
		table[at].slot[victim] = slot;
		slot = out;
	}
	return false;
}

static bool table_fill(struct build *b, const struct entries *e)
{
	struct policy_head *head = head_of(b);
	struct policy_bucket *table = (void *)(b->mem + head->buckets_at);
	int i;

	empty_table(table, head->buckets);
	for (i = 0; i < e->n; i++)
		if (!table_put(table, head->buckets, head->seed, e->slot[i]))
			return false;
	return true;
}

static bool write_table(struct build *b, const struct entries *e)
{
	uint32_t buckets = e->n * 5LL / (POLICY_SLOTS * 4) + 2, at;
	uint64_t state = e->n;
	int i;

	at = build_room(b, buckets * sizeof(struct policy_bucket));
	if (!at)
		return false;
	head_of(b)->buckets = buckets;
	head_of(b)->buckets_at = at;
	for (i = 0; i < SEEDS_MAX; i++) {
		head_of(b)->seed = random_next(&state);
		if (table_fill(b, e))
			return true;
	}
	return refuse(b, "%d entries go into no hash table", e->n);
}

bool entries_write(struct build *b, const struct entries *e)
{
	uint32_t at = build_room(b, e->masks * sizeof(struct policy_mask));

	if (!at)
		return false;
	memcpy(b->mem + at, e->mask, e->masks * sizeof(struct policy_mask));
	head_of(b)->masks = e->masks;
	head_of(b)->masks_at = at;
	return write_table(b, e);
}
