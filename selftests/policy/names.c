// SPDX-License-Identifier: GPL-2.0
/* Numbers for names, so that "*.ebpf.io" is a prefix of bits, like a network.
 *
 * The labels of all names are a tree. Each name has a number. A suffix has an aligned block of
 * numbers, with a power of two as its size, for the names below it: those in rules, and one
 * number for all others. If 32 bits are enough, suffixes with the same number of labels have
 * blocks of the same size, so that they need only one mask.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

#define LABELS_MAX 127

void *grow(void *array, int n, int *room, size_t size)
{
	if (n < *room)
		return array;
	*room = *room ? *room * 2 : 16;
	array = realloc(array, *room * size);
	if (!array)
		abort();
	return array;
}

bool names_valid(const char *name)
{
	int len = 0, labels = 1;

	if (strlen(name) > 253)
		return false;
	for (; *name; name++) {
		if (*name == '.') {
			if (!len || ++labels > LABELS_MAX)
				return false;
			len = 0;
		} else if (!isalnum(*name) && *name != '-' && *name != '_') {
			return false;
		} else if (++len > 63) {
			return false;
		}
	}
	return len > 0;
}

static uint32_t label_hash(int parent, const char *label)
{
	uint32_t h = parent * 0x9e3779b1U;

	while (*label)
		h = (h ^ (unsigned char)*label++) * 0x01000193U;
	return h ^ h >> 15;
}

/* The slot of a child with this label in the hash table, or an empty one for it */
static int *slot_of(const struct names *names, int parent, const char *label)
{
	uint32_t i = label_hash(parent, label);
	struct name_node *node;

	for (;; i++) {
		int *slot = &names->hash[i & (names->hash_size - 1)];

		if (*slot < 0)
			return slot;
		node = &names->node[*slot];
		if (node->parent == parent && !strcmp(node->label, label))
			return slot;
	}
}

static void rehash(struct names *names)
{
	int i;

	free(names->hash);
	names->hash_size = names->hash_size ? names->hash_size * 2 : 64;
	names->hash = malloc(names->hash_size * sizeof(int));
	if (!names->hash)
		abort();
	memset(names->hash, 0xff, names->hash_size * sizeof(int));
	for (i = 1; i < names->n; i++)
		*slot_of(names, names->node[i].parent, names->node[i].label) = i;
}

static int add_node(struct names *names, int parent, const char *label)
{
	struct name_node *node;

	names->node = grow(names->node, names->n, &names->room, sizeof(*node));
	node = &names->node[names->n];
	memset(node, 0, sizeof(*node));
	node->parent = parent;
	strcpy(node->label, label);
	if (parent >= 0) {
		node->depth = names->node[parent].depth + 1;
		names->node[parent].kids++;
	}
	return names->n++;
}

/* Remove the last label from the name; false if there is none */
static bool last_label(char *name, char *label)
{
	char *dot = strrchr(name, '.'), *from = dot ? dot + 1 : name, *c;

	if (!*from)
		return false;
	snprintf(label, 64, "%s", from);
	for (c = label; *c; c++)
		*c = tolower(*c);
	*(dot ?: name) = 0;
	return true;
}

int names_add(struct names *names, const char *name)
{
	char left[256], label[64];
	int node = 0, *slot;

	if (!names->n) {
		add_node(names, -1, "");
		rehash(names);
	}
	snprintf(left, sizeof(left), "%s", name);
	while (last_label(left, label)) {
		if (names->n * 2 >= names->hash_size)
			rehash(names);
		slot = slot_of(names, node, label);
		if (*slot < 0)
			*slot = add_node(names, node, label);
		node = *slot;
	}
	return node;
}

static uint64_t power_of_two(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static int *sort_nodes(struct names *names, int (*compare)(const void *, const void *, void *))
{
	int *order = malloc((names->n + 1) * sizeof(int)), i;

	if (!order)
		abort();
	for (i = 0; i < names->n; i++)
		order[i] = i;
	qsort_r(order, names->n, sizeof(int), compare, names);
	return order;
}

static int deepest_first(const void *a, const void *b, void *arg)
{
	struct names *names = arg;

	return names->node[*(int *)b].depth - names->node[*(int *)a].depth;
}

/* From the top down, and the largest first, so that all blocks are aligned */
static int largest_first(const void *a, const void *b, void *arg)
{
	struct names *names = arg;
	struct name_node *x = &names->node[*(int *)a], *y = &names->node[*(int *)b];

	if (x->depth != y->depth)
		return x->depth - y->depth;
	if (x->size != y->size)
		return x->size < y->size ? 1 : -1;
	return *(int *)a - *(int *)b;
}

/* Bottom up: a number for each child, the blocks of the children, and one for unknown names */
static bool set_sizes(struct names *names, bool alike)
{
	int *order = sort_nodes(names, deepest_first), i, j, k;
	struct name_node *node;
	uint64_t most;

	for (i = 0; i < names->n; i++)
		names->node[i].size = 0;
	for (i = 0; i < names->n; i = j) {
		most = 0;
		for (j = i; j < names->n; j++) {
			node = &names->node[order[j]];
			if (node->depth != names->node[order[i]].depth)
				break;
			node->size = node->kids || node->has_suffix || node->parent < 0 ?
				     power_of_two(node->size + node->kids + 1) : 0;
			most = node->size > most ? node->size : most;
		}
		for (k = i; k < j; k++) {
			node = &names->node[order[k]];
			if (alike && node->size)
				node->size = most;
			if (node->parent >= 0)
				names->node[node->parent].size += node->size;
		}
		if (most > 1ULL << 31)
			break;
	}
	free(order);
	return i == names->n;
}

static void place(struct names *names, struct name_node *node)
{
	struct name_node *parent = &names->node[node->parent];

	if (node->size) {
		node->below = parent->below + parent->used;
		parent->used += node->size;
	}
	node->unknown = node->size ? node->below + node->size - 1 : parent->unknown;
}

bool names_number(struct names *names)
{
	struct name_node *node;
	int *order, i;

	if (!names->n)
		return true;
	if (!set_sizes(names, true) && !set_sizes(names, false))
		return false;
	for (i = 0; i < names->n; i++)
		names->node[i].used = 0;
	names->node[0].below = 0;
	names->node[0].unknown = names->node[0].size - 1;
	order = sort_nodes(names, largest_first);
	for (i = 1; i < names->n; i++)
		place(names, &names->node[order[i]]);
	/* Numbers of names come after all blocks. */
	for (i = 1; i < names->n; i++) {
		node = &names->node[order[i]];
		node->exact = names->node[node->parent].below + names->node[node->parent].used++;
	}
	free(order);
	return true;
}

uint32_t names_find(const struct names *names, const char *name)
{
	char left[256], label[64];
	int node = 0, next;

	if (!names->n)
		return ~0U;
	snprintf(left, sizeof(left), "%s", name);
	while (last_label(left, label)) {
		next = *slot_of(names, node, label);
		if (next < 0)
			return names->node[node].unknown;
		node = next;
	}
	return node ? names->node[node].exact : names->node[0].unknown;
}

void names_free(struct names *names)
{
	free(names->node);
	free(names->hash);
	memset(names, 0, sizeof(*names));
}
