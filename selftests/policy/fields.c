// SPDX-License-Identifier: GPL-2.0
/* The classes of a field: its values are cut where a span begins or ends, and parts with the
 * same set of spans have the same class. A set is identified by the sum of 128 random bits of
 * each member.
 */
#include <stdlib.h>
#include <string.h>

#include "build.h"

/* A span of @what begins or ends at @at */
struct change {
	uint64_t at;
	uint32_t what;
	int by;
};

struct set {
	uint64_t sum[2];
};

/* State of the sweep over all events */
struct sweep {
	struct partition *p;
	struct set set;
	int *count;		/* current spans of each rule or mask */
	uint64_t *bits;		/* the same, as a bitmap */
	struct set *known;	/* the set of each class */
	int known_room, start_room;
	int *hash;		/* hash table of sets */
	int hash_size;
};

static int by_place(const void *a, const void *b)
{
	const struct change *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static struct change *make_changes(const struct span *spans, int n)
{
	struct change *c = xalloc(2 * n, sizeof(*c));
	int i;

	for (i = 0; i < n; i++) {
		c[2 * i] = (struct change){ spans[i].lo, spans[i].what, 1 };
		c[2 * i + 1] = (struct change){ spans[i].hi + 1ULL, spans[i].what, -1 };
	}
	qsort(c, 2 * n, sizeof(*c), by_place);
	return c;
}

static void apply(struct sweep *s, const struct change *c)
{
	uint64_t state = c->what * 0x2545f4914f6cdd1dULL;
	int before = s->count[c->what];

	s->count[c->what] += c->by;
	if (!before == !s->count[c->what])
		return;
	s->set.sum[0] ^= random_next(&state);
	s->set.sum[1] ^= random_next(&state);
	s->bits[c->what / 64] ^= 1ULL << c->what % 64;
}

static void rehash_sets(struct sweep *s)
{
	int i, at;

	s->hash = empty_hash(s->hash, &s->hash_size);
	for (i = 0; i < s->p->classes; i++) {
		at = s->known[i].sum[0] & (s->hash_size - 1);
		while (s->hash[at] >= 0)
			at = (at + 1) & (s->hash_size - 1);
		s->hash[at] = i;
	}
}

static void keep_bitmap(struct sweep *s)
{
	struct partition *p = s->p;
	uint64_t bytes = p->words * 8ULL;

	if (!p->max_bytes || p->too_large)
		return;
	if ((p->classes + 1) * bytes > p->max_bytes) {
		p->too_large = true;
		return;
	}
	/* Grow to powers of two, to copy seldom */
	if (!(p->classes & (p->classes - 1)))
		p->bits = realloc(p->bits, (p->classes ? 2 * p->classes : 1) * bytes);
	if (!p->bits)
		abort();
	memcpy((char *)p->bits + p->classes * bytes, s->bits, bytes);
}

static int class_of_set(struct sweep *s)
{
	struct partition *p = s->p;
	int at;

	if (p->classes * 2 >= s->hash_size)
		rehash_sets(s);
	for (at = s->set.sum[0] & (s->hash_size - 1); s->hash[at] >= 0;
	     at = (at + 1) & (s->hash_size - 1))
		if (!memcmp(&s->known[s->hash[at]], &s->set, sizeof(s->set)))
			return s->hash[at];
	s->known = grow(s->known, p->classes, &s->known_room, sizeof(*s->known));
	s->known[p->classes] = s->set;
	keep_bitmap(s);
	s->hash[at] = p->classes;
	return p->classes++;
}

static void cut(struct sweep *s, uint32_t at)
{
	struct partition *p = s->p;
	int class = class_of_set(s), room = s->start_room;

	if (p->n && p->class[p->n - 1] == (uint32_t)class)
		return;
	p->start = grow(p->start, p->n, &room, sizeof(*p->start));
	p->class = grow(p->class, p->n, &s->start_room, sizeof(*p->class));
	p->start[p->n] = at;
	p->class[p->n++] = class;
}

void partition_make(struct partition *p, const struct span *spans, int n, int whats,
		    uint32_t max)
{
	struct change *c = make_changes(spans, n);
	struct sweep s = { .p = p };
	int i = 0;
	uint64_t at;

	p->words = (whats + 63) / 64;
	s.count = xalloc(whats, sizeof(int));
	s.bits = xalloc(p->words, 8);
	for (at = 0; at <= max; at = i < 2 * n ? c[i].at : 1ULL << 32) {
		for (; i < 2 * n && c[i].at == at; i++)
			apply(&s, &c[i]);
		cut(&s, at);
	}
	free(c);
	free(s.count);
	free(s.bits);
	free(s.known);
	free(s.hash);
}

void partition_free(struct partition *p)
{
	free(p->start);
	free(p->class);
	free(p->bits);
	memset(p, 0, sizeof(*p));
}

int partition_find(const struct partition *p, uint32_t value)
{
	int lo = 0, hi = p->n - 1, mid;

	while (lo < hi) {
		mid = (lo + hi + 1) / 2;
		if (p->start[mid] <= value)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

bool field_used(const struct rules *rules, enum field f)
{
	int i;

	for (i = 0; i < rules->n; i++)
		if (rules->rule[i].lo[f] || rules->rule[i].hi[f] != field_info[f].max)
			return true;
	return false;
}

struct policy_field *field_head(struct build *b, int i)
{
	return (struct policy_field *)(b->mem + head_of(b)->fields_at) + i;
}

/* ---- as a table or as a tree --------------------------------------------------------- */

/* A table is better unless it makes the policy large. */
static bool as_table(const struct build *b, const struct partition *p)
{
	uint64_t table = p->start[p->n - 1] + 1ULL, most = 8ULL * b->rules->n;

	if (most < 1024)
		most = 1024;
	return table <= most || table <= 2ULL * p->n;
}

static bool write_field_table(struct build *b, int i, const struct partition *p)
{
	uint32_t last = p->start[p->n - 1], value, *table;
	uint32_t at = build_room(b, (last + 1ULL) * 4);
	int cut = 0;

	if (!at)
		return false;
	table = (uint32_t *)(b->mem + at);
	for (value = 0; value <= last; value++) {
		cut += cut + 1 < p->n && p->start[cut + 1] == value;
		table[value] = p->class[cut];
	}
	field_head(b, i)->last = last;
	field_head(b, i)->classes_at = at;
	return true;
}

/* Write a level of the tree: a number for each of @n parts, of @each cuts */
static uint32_t write_level(struct build *b, const struct partition *p, int n, int each)
{
	int room = (n + POLICY_FANOUT - 1) / POLICY_FANOUT * POLICY_FANOUT, i;
	uint32_t at = build_room(b, room * 4ULL), *number = (uint32_t *)(b->mem + at);

	if (at)
		for (i = 0; i < room; i++)
			number[i] = i < n ? p->start[i * each] : ~0U;
	return at;
}

static bool write_field_tree(struct build *b, int i, const struct partition *p)
{
	int levels = 1, level, each = 1, cut, room;
	uint32_t at, *class;

	for (; each * POLICY_FANOUT < p->n; each *= POLICY_FANOUT)
		levels++;
	if (levels > POLICY_LEVELS)
		return refuse(b, "a field changes its class %d times", p->n);
	for (level = 0; level < levels; level++, each /= POLICY_FANOUT) {
		at = write_level(b, p, (p->n + each - 1) / each, each);
		if (!at)
			return false;
		field_head(b, i)->level_at[level] = at;
	}
	room = (p->n + POLICY_FANOUT - 1) / POLICY_FANOUT * POLICY_FANOUT;
	at = build_room(b, room * 4ULL);
	if (!at)
		return false;
	class = (uint32_t *)(b->mem + at);
	for (cut = 0; cut < room; cut++)
		class[cut] = p->class[cut < p->n ? cut : p->n - 1];
	field_head(b, i)->levels = levels;
	field_head(b, i)->classes_at = at;
	field_head(b, i)->last = p->class[p->n - 1];
	return true;
}

bool field_write(struct build *b, enum field f, int i, const struct partition *p)
{
	struct policy_field *field = field_head(b, i);

	field->word = field_info[f].word;
	field->shift = field_info[f].shift;
	field->mask = field_info[f].max;
	return as_table(b, p) ? write_field_table(b, i, p) : write_field_tree(b, i, p);
}
