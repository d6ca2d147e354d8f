// SPDX-License-Identifier: GPL-2.0
/* The builders of all classifiers except TupleMerge */
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "linear.h"
#include "hashes.h"
#include "pruned.h"
#include "bitvec.h"

bool build_linear(struct build *b)
{
	const struct rules *rules = b->rules;
	uint32_t at;
	int i;

	if (rules->n > POLICY_LINEAR_MAX)
		return refuse(b, "it takes %d rules, and these are %d", POLICY_LINEAR_MAX,
			      rules->n);
	at = build_room(b, rules->n * sizeof(struct policy_rule));
	if (!at)
		return false;
	head_of(b)->rules_at = at;
	for (i = 0; i < rules->n; i++)
		make_line(rules, i, (struct policy_rule *)(b->mem + at) + i);
	return true;
}

/* ---- hashes, pruned ------------------------------------------------------------------ */

#define PREFIXES_MAX 32

struct prefixes {
	uint32_t value[PREFIXES_MAX], mask[PREFIXES_MAX];
	int n;
};

/* Split a range into the fewest prefixes */
static void make_prefixes(struct prefixes *p, enum field f, uint32_t lo, uint32_t hi)
{
	uint64_t at = lo, size;

	for (p->n = 0; at <= hi; at += size) {
		size = at ? at & -at : 1ULL << 32;
		while (at + size - 1 > hi)
			size /= 2;
		p->value[p->n] = at;
		p->mask[p->n++] = field_info[f].max & ~(uint32_t)(size - 1);
	}
}

static void add_prefix(struct entries *e, const struct policy_rule *line,
		       const struct prefixes *sport, int i, const struct prefixes *dport, int j)
{
	struct policy_key key, mask;
	int n;

	memcpy(&key, line->value, sizeof(key));
	memcpy(&mask, line->mask, sizeof(mask));
	key_set(&key, F_SPORT, sport->value[i]);
	key_set(&mask, F_SPORT, sport->mask[i]);
	key_set(&key, F_DPORT, dport->value[j]);
	key_set(&mask, F_DPORT, dport->mask[j]);
	n = entries_mask(e, &mask);
	if (line->answer - 1 < e->mask[n].best)
		e->mask[n].best = line->answer - 1;
	entries_add(e, &key, n, line->answer - 1);
}

static void add_prefixes(struct entries *e, const struct rules *rules, int i)
{
	const struct rule *r = &rules->rule[i];
	struct prefixes sport, dport;
	struct policy_rule line;
	int s, d;

	make_line(rules, i, &line);
	make_prefixes(&sport, F_SPORT, r->lo[F_SPORT], r->hi[F_SPORT]);
	make_prefixes(&dport, F_DPORT, r->lo[F_DPORT], r->hi[F_DPORT]);
	for (s = 0; s < sport.n; s++)
		for (d = 0; d < dport.n; d++)
			add_prefix(e, &line, &sport, s, &dport, d);
}

static int by_key(const void *a, const void *b)
{
	const struct policy_slot *x = a, *y = b;

	return memcmp(x->key, y->key, sizeof(x->key)) ?:
	       (x->value < y->value ? -1 : x->value > y->value);
}

static void keep_first_of_key(struct entries *e)
{
	int i, n = 0;

	qsort(e->slot, e->n, sizeof(*e->slot), by_key);
	for (i = 0; i < e->n; i++)
		if (!n || memcmp(e->slot[n - 1].key, e->slot[i].key, sizeof(e->slot->key)))
			e->slot[n++] = e->slot[i];
	e->n = n;
}

bool entries_of_rules(struct build *b, struct entries *e, int masks_max)
{
	int i;

	for (i = 0; i < b->rules->n; i++) {
		add_prefixes(e, b->rules, i);
		if (e->n * sizeof(*e->slot) > b->max_bytes)
			return refuse(b, "as prefixes, the rules are more than %d", e->n);
	}
	if (e->masks > masks_max)
		return refuse(b, "it takes %d masks, and these rules have %d", masks_max,
			      e->masks);
	entries_sort_masks(e);
	keep_first_of_key(e);
	return true;
}

bool build_hashes(struct build *b)
{
	struct entries e = {};
	bool ok = entries_of_rules(b, &e, POLICY_HASHES_MAX) && entries_write(b, &e);

	entries_free(&e);
	return ok;
}

/* ---- classifiers with classes of fields ---------------------------------------------- */

static int used_fields(const struct rules *rules, enum field *used)
{
	int f, n = 0;

	for (f = 0; f < FIELDS; f++)
		if (field_used(rules, f))
			used[n++] = f;
	if (!n)
		used[n++] = F_PROTO;	/* at least one field is needed */
	return n;
}

static int room_for_fields(struct build *b, enum field *used)
{
	int n = used_fields(b->rules, used);
	uint32_t at = build_room(b, n * sizeof(struct policy_field));

	head_of(b)->fields = n;
	head_of(b)->fields_at = at;
	return at ? n : 0;
}

/* Write the bitmaps of a field's classes, of @step cells each, after their first @front cells */
static uint64_t *room_for_bitmaps(struct build *b, int i, const struct partition *p, int step)
{
	uint32_t at = build_room(b, (uint64_t)p->classes * step * 8);

	if (!at)
		return NULL;
	field_head(b, i)->bits_at = at;
	field_head(b, i)->step = step;
	return b->mem + at;
}

static struct span *spans_of_masks(const struct entries *e, enum field f)
{
	struct span *spans = xalloc(e->n, sizeof(*spans));
	struct policy_key key, mask;
	uint32_t lo, bits;
	int i, n;

	for (i = 0; i < e->n; i++) {
		n = e->slot[i].key[2] >> 48;
		memcpy(&key, e->slot[i].key, sizeof(key));
		memcpy(&mask, e->mask[n].mask, sizeof(mask));
		lo = key_get(&key, f);
		bits = key_get(&mask, f);
		spans[i] = (struct span){ lo, lo | (field_info[f].max & ~bits), n };
	}
	return spans;
}

static bool prune_by_field(struct build *b, const struct entries *e, enum field f, int i)
{
	struct partition p = { .max_bytes = b->max_bytes };
	struct span *spans = spans_of_masks(e, f);
	uint64_t *bits;
	int c, step = 1;
	bool ok;

	partition_make(&p, spans, e->n, e->masks, field_info[f].max);
	while (step < p.words)
		step *= 2;
	ok = !p.too_large && field_write(b, f, i, &p);
	bits = ok ? room_for_bitmaps(b, i, &p, step) : NULL;
	for (c = 0; bits && c < p.classes; c++)
		memcpy(bits + c * step, p.bits + c * p.words, p.words * 8);
	if (p.too_large)
		refuse(b, "%s has more than %d sets of masks", field_info[f].name, p.classes);
	head_of(b)->words = p.words;
	partition_free(&p);
	free(spans);
	return bits;
}

bool build_pruned(struct build *b)
{
	enum field used[FIELDS];
	struct entries e = {};
	bool ok = entries_of_rules(b, &e, POLICY_PRUNED_MAX) && entries_write(b, &e);
	int i, n = ok ? room_for_fields(b, used) : 0;

	for (i = 0; i < n && ok; i++)
		ok = prune_by_field(b, &e, used[i], i);
	entries_free(&e);
	return ok && n;
}

static struct span *spans_of_rules(const struct rules *rules, enum field f)
{
	struct span *spans = xalloc(rules->n, sizeof(*spans));
	int i;

	for (i = 0; i < rules->n; i++)
		spans[i] = (struct span){ rules->rule[i].lo[f], rules->rule[i].hi[f], i };
	return spans;
}

static void partition_by_rules(struct build *b, struct partition *p, enum field f)
{
	struct span *spans = spans_of_rules(b->rules, f);

	partition_make(p, spans, b->rules->n, b->rules->n, field_info[f].max);
	free(spans);
}

/* ---- classes ------------------------------------------------------------------------- */

#define FILL_MAX (1ULL << 33)	/* limit of entries written */

/* The cross product that is being built */
struct product {
	enum field used[FIELDS];
	struct partition p[FIELDS];
	uint64_t stride[FIELDS];
	int *class[FIELDS];	/* classes of the current rule */
	int classes[FIELDS];
	int *seen[FIELDS];	/* the last rule with a class */
	int n;
	uint64_t size, written;
	uint32_t *answer;
};

static void classes_of_rule(struct product *x, int i, const struct rule *r, int rank)
{
	const struct partition *p = &x->p[i];
	int cut = partition_find(p, r->lo[x->used[i]]), class;

	x->classes[i] = 0;
	for (; cut < p->n && p->start[cut] <= r->hi[x->used[i]]; cut++) {
		class = p->class[cut];
		if (x->seen[i][class] == rank)
			continue;
		x->seen[i][class] = rank;
		x->class[i][x->classes[i]++] = class;
	}
}

static void fill(struct product *x, int i, uint64_t at, uint32_t answer)
{
	int c;

	for (c = 0; c < x->classes[i]; c++) {
		uint64_t to = at + x->class[i][c] * x->stride[i];

		if (i + 1 < x->n)
			fill(x, i + 1, to, answer);
		else if (!x->answer[to])
			x->answer[to] = answer;
	}
}

static bool fill_all(struct build *b, struct product *x)
{
	int rule, i;
	uint64_t times;

	for (rule = 0; rule < b->rules->n; rule++) {
		times = 1;
		for (i = 0; i < x->n; i++) {
			classes_of_rule(x, i, &b->rules->rule[rule], rule + 1);
			times *= x->classes[i];
		}
		x->written += times;
		if (x->written > FILL_MAX)
			return refuse(b, "to fill the table would take too long");
		fill(x, 0, 0, answer_of(b->rules, rule));
	}
	return true;
}

static bool write_product(struct build *b, struct product *x)
{
	uint32_t at = build_room(b, x->size * 4);
	int i;

	if (!at)
		return refuse(b, "the table has %llu entries", (unsigned long long)x->size);
	for (i = 0; i < x->n; i++) {
		field_head(b, i)->stride = x->stride[i];
		x->class[i] = xalloc(x->p[i].classes, sizeof(int));
		x->seen[i] = xalloc(x->p[i].classes, sizeof(int));
	}
	head_of(b)->answers_at = at;
	x->answer = (uint32_t *)(b->mem + at);
	return fill_all(b, x);
}

bool build_classes(struct build *b)
{
	struct product x = { .size = 1 };
	bool ok;
	int i;

	x.n = room_for_fields(b, x.used);
	ok = x.n;
	for (i = 0; i < x.n && ok; i++) {
		partition_by_rules(b, &x.p[i], x.used[i]);
		x.stride[i] = x.size;
		x.size *= x.p[i].classes;
		ok = field_write(b, x.used[i], i, &x.p[i]);
		if (ok && x.size * 4 > b->max_bytes)
			ok = refuse(b, "the table of all combinations would take more than %llu KiB",
				    (unsigned long long)b->max_bytes / 1024);
	}
	ok = ok && write_product(b, &x);
	for (i = 0; i < x.n; i++) {
		partition_free(&x.p[i]);
		free(x.class[i]);
		free(x.seen[i]);
	}
	return ok;
}

/* ---- bitvec -------------------------------------------------------------------------- */

/* A bit for each nonzero word, then the words */
static void write_bitmap(uint64_t *to, const uint64_t *bits, int words)
{
	int sums = (words + 63) / 64, i;

	for (i = 0; i < words; i++) {
		to[sums + i] = bits[i];
		if (bits[i])
			to[i / 64] |= 1ULL << i % 64;
	}
}

static bool bitmaps_of_field(struct build *b, enum field f, int i)
{
	struct partition p = { .max_bytes = b->max_bytes };
	uint64_t *bits;
	bool ok;
	int c, step;

	partition_by_rules(b, &p, f);
	step = (p.words + (p.words + 63) / 64 + POLICY_LINE - 1) / POLICY_LINE * POLICY_LINE;
	if (p.too_large)
		refuse(b, "the bitmaps of %s would take more than %llu KiB", field_info[f].name,
		       (unsigned long long)b->max_bytes / 1024);
	ok = !p.too_large && field_write(b, f, i, &p);
	bits = ok ? room_for_bitmaps(b, i, &p, step) : NULL;
	for (c = 0; bits && c < p.classes; c++)
		write_bitmap(bits + (uint64_t)c * step, p.bits + (uint64_t)c * p.words, p.words);
	head_of(b)->words = p.words;
	partition_free(&p);
	return bits;
}

bool build_bitvec(struct build *b)
{
	enum field used[FIELDS];
	uint32_t at, *answer;
	int i, n;

	if (b->rules->n > POLICY_BITVEC_MAX)
		return refuse(b, "it takes %d rules, and these are %d", POLICY_BITVEC_MAX,
			      b->rules->n);
	at = build_room(b, b->rules->n * 4ULL);
	n = at ? room_for_fields(b, used) : 0;
	if (!n)
		return false;
	head_of(b)->answers_at = at;
	answer = (uint32_t *)(b->mem + at);
	for (i = 0; i < b->rules->n; i++)
		answer[i] = answer_of(b->rules, i);
	for (i = 0; i < n; i++)
		if (!bitmaps_of_field(b, used[i], i))
			return false;
	return true;
}
