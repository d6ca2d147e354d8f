// SPDX-License-Identifier: GPL-2.0
/* Builds the tables of TupleMerge. Unlike in the paper, rules are not added one by one: all
 * rules are known, so the mask of the next table is the one for most of the remaining rules.
 * It starts with the most frequent lengths of prefixes, and is shortened field by field, as
 * long as the table gets more rules and no entry has more than POLICY_CHAIN.
 */
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "tuplemerge.h"

/* Lengths of prefixes */
struct lens {
	uint8_t len[FIELDS];
};

/* The number of rules with a masked key, in round @round */
struct count {
	uint64_t hash;
	uint32_t round;
	int n;
};

struct merge {
	const struct rules *rules;
	struct lens *lens;	/* lengths of each rule's prefixes */
	int *left;		/* rules that are not in a table */
	int n;
	struct count *count;
	uint32_t size, round;
	struct entries e;
	struct policy_rule *line;
	int lines;
};

static void lens_of(const struct rule *r, struct lens *l)
{
	int f;

	for (f = 0; f < FIELDS; f++)
		l->len[f] = prefix_len(f, r->lo[f], r->hi[f]);
}

static bool fits(const struct lens *rule, const struct lens *table)
{
	int f;

	for (f = 0; f < FIELDS; f++)
		if (rule->len[f] < table->len[f])
			return false;
	return true;
}

static void masked_key(const struct rule *r, const struct lens *table, struct policy_key *key)
{
	int f;

	memset(key, 0, sizeof(*key));
	for (f = 0; f < FIELDS; f++)
		key_set(key, f, r->lo[f] & prefix_mask(f, table->len[f]));
}

/* Count a rule with this key. Return: the count before */
static int count_key(struct merge *m, const struct policy_key *key)
{
	__u64 words[POLICY_KEY_CELLS], hash;
	struct count *c;
	uint32_t i;

	memcpy(words, key, sizeof(words));
	hash = policy_hash(words, 1);
	for (i = hash;; i++) {
		c = &m->count[i & (m->size - 1)];
		if (c->round != m->round)
			*c = (struct count){ hash, m->round, 0 };
		if (c->hash == hash)
			return c->n++;
	}
}

/* Does the rule fit into the table, in this round? */
static bool takes(struct merge *m, const struct lens *table, int rule)
{
	struct policy_key key;

	if (!fits(&m->lens[rule], table))
		return false;
	masked_key(&m->rules->rule[rule], table, &key);
	return count_key(m, &key) < POLICY_CHAIN;
}

static int count_taken(struct merge *m, const struct lens *table)
{
	int i, n = 0;

	m->round++;
	for (i = 0; i < m->n; i++)
		n += takes(m, table, m->left[i]);
	return n;
}

static struct lens commonest(struct merge *m)
{
	struct lens best = m->lens[m->left[0]];
	int i, n, most = 0;
	struct policy_key key;

	m->round++;
	for (i = 0; i < m->n; i++) {
		memset(&key, 0, sizeof(key));
		memcpy(&key, &m->lens[m->left[i]], sizeof(struct lens));
		n = count_key(m, &key);
		if (n > most) {
			most = n;
			best = m->lens[m->left[i]];
		}
	}
	return best;
}

/* The longest length that is shorter than the table's, of the remaining rules */
static int next_shorter(const struct merge *m, const struct lens *table, int f)
{
	int i, len, longest = 0;

	for (i = 0; i < m->n; i++) {
		len = m->lens[m->left[i]].len[f];
		if (len < table->len[f] && len > longest)
			longest = len;
	}
	return longest;
}

/* Shorten the field for which that gains most; false if none gains anything */
static bool improve(struct merge *m, struct lens *table, int *taken)
{
	struct lens best = *table, try;
	int f, n, most = *taken;

	for (f = 0; f < FIELDS; f++) {
		for (try = *table; try.len[f];) {
			try.len[f] = next_shorter(m, &try, f);
			n = count_taken(m, &try);
			if (n > most) {
				most = n;
				best = try;
			}
		}
	}
	if (most == *taken)
		return false;
	*taken = most;
	*table = best;
	return true;
}

/* Move the rules that fit into the table to the end of the remaining ones. */
static int *take(struct merge *m, const struct lens *table, int *n)
{
	int *taken = xalloc(m->n, sizeof(int)), i, kept = 0;

	*n = 0;
	m->round++;
	for (i = 0; i < m->n; i++) {
		if (takes(m, table, m->left[i]))
			taken[(*n)++] = m->left[i];
		else
			m->left[kept++] = m->left[i];
	}
	m->n = kept;
	return taken;
}

/* ---- the tables ---------------------------------------------------------------------- */

struct taken {
	struct policy_key key;
	int rule;
};

static int by_key(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;

	return memcmp(&x->key, &y->key, sizeof(x->key)) ?: x->rule - y->rule;
}

static void add_lines(struct merge *m, const struct taken *t, int n, int mask)
{
	bool first;
	int i;

	for (i = 0; i < n; i++) {
		first = !i || memcmp(&t[i - 1].key, &t[i].key, sizeof(t->key));
		if (first)
			entries_add(&m->e, &t[i].key, mask, m->lines);
		else
			m->line[m->lines - 1].more = 1;
		make_line(m->rules, t[i].rule, &m->line[m->lines++]);
	}
}

static void add_table(struct merge *m, const struct lens *table)
{
	struct policy_key mask = {};
	struct taken *t;
	int *rule, n, i, number;

	rule = take(m, table, &n);
	for (i = 0; i < FIELDS; i++)
		key_set(&mask, i, prefix_mask(i, table->len[i]));
	number = entries_new_mask(&m->e, &mask);
	t = xalloc(n, sizeof(*t));
	for (i = 0; i < n; i++) {
		masked_key(&m->rules->rule[rule[i]], table, &t[i].key);
		t[i].rule = rule[i];
	}
	m->e.mask[number].best = answer_of(m->rules, rule[0]) - 1;
	qsort(t, n, sizeof(*t), by_key);
	add_lines(m, t, n, number);
	free(rule);
	free(t);
}

static bool make_tables(struct build *b, struct merge *m)
{
	struct lens table;
	int taken, tables;

	for (tables = 0; m->n; tables++) {
		if (tables == POLICY_TABLES)
			return refuse(b, "%d tables leave %d rules over", tables, m->n);
		table = commonest(m);
		taken = count_taken(m, &table);
		while (improve(m, &table, &taken))
			;
		add_table(m, &table);
	}
	return true;
}

static bool write_tables(struct build *b, struct merge *m)
{
	uint32_t at;

	entries_sort_masks(&m->e);
	if (!entries_write(b, &m->e))
		return false;
	at = build_room(b, m->lines * sizeof(*m->line));
	if (!at)
		return false;
	head_of(b)->rules_at = at;
	memcpy(b->mem + at, m->line, m->lines * sizeof(*m->line));
	return true;
}

bool build_tuplemerge(struct build *b)
{
	int n = b->rules->n, i;
	struct merge m = { .rules = b->rules, .n = n, .size = 64 };
	bool ok;

	m.lens = xalloc(n, sizeof(*m.lens));
	m.left = xalloc(n, sizeof(int));
	m.line = xalloc(n, sizeof(*m.line));
	while (m.size < 2 * (uint32_t)n)
		m.size *= 2;
	m.count = xalloc(m.size, sizeof(*m.count));
	for (i = 0; i < n; i++) {
		m.left[i] = i;
		lens_of(&b->rules->rule[i], &m.lens[i]);
	}
	ok = make_tables(b, &m) && write_tables(b, &m);
	entries_free(&m.e);
	free(m.lens);
	free(m.left);
	free(m.line);
	free(m.count);
	return ok;
}
