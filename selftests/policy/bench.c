// SPDX-License-Identifier: GPL-2.0
/* Measures the cost of look-ups, for scripts/bench-policy: a line of CSV for each classifier.
 *
 * Meant for a VM whose clock counts instructions (vmtest/vmtest -i): each nanosecond is one
 * instruction. Each key is looked up several times, and the minimum is used, because of
 * interrupts. The cost of a program without a look-up is subtracted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <bpf/libbpf.h>

#include "commands.h"
#include "load.h"
#include "policy_progs.skel.h"

#define SAMPLES		1000	/* keys that match a rule, and as many that match none */
#define SLOW_SAMPLES	50	/* the same, if a look-up takes more than SLOW */
#define SLOW		10000
#define SLOWEST_SAMPLES	10	/* the same, if it takes more than SLOWEST */
#define SLOWEST		1000000
#define TRIES		200000	/* random keys to select them from */
#define TIMES		8	/* look-ups of a key in a row, if it is not slow */
#define ROUNDS		3

struct sample {
	struct policy_key key[SAMPLES];
	int n;
};

/* Figures of one kind, for each key */
struct figures {
	unsigned int at[SAMPLES];
	int n;
};

static int by_value(const void *a, const void *b)
{
	unsigned int x = *(unsigned int *)a, y = *(unsigned int *)b;

	return x < y ? -1 : x > y;
}

/* Median, 99th percentile, worst; empty if there are none */
static void print_figures(struct figures *f)
{
	if (!f->n) {
		printf(",,,");
		return;
	}
	qsort(f->at, f->n, sizeof(f->at[0]), by_value);
	printf(",%u,%u,%u", f->at[f->n / 2], f->at[(f->n * 99 - 1) / 100], f->at[f->n - 1]);
}

static void take_samples(const struct rules *rules, struct sample *hits, struct sample *misses)
{
	uint64_t state = 99;
	struct policy_key key;
	struct sample *s;
	int i;

	hits->n = misses->n = 0;
	for (i = 0; i < TRIES && (hits->n < SAMPLES || misses->n < SAMPLES); i++) {
		random_key(rules, &state, &key);
		/* The oracle is slow, and with many rules, few keys match. */
		s = rules_oracle(rules, &key) ? hits : misses;
		if (s->n < SAMPLES)
			s->key[s->n++] = key;
	}
}

/* The number of masks, if a range of ports were one prefix, of its common bits */
static int count_lengths(const struct rules *rules)
{
	struct policy_rule line;
	struct policy_key mask;
	struct entries e = {};
	int i, n;

	for (i = 0; i < rules->n; i++) {
		make_line(rules, i, &line);
		memcpy(&mask, line.mask, sizeof(mask));
		entries_mask(&e, &mask);
	}
	n = e.masks;
	entries_free(&e);
	return n;
}

static unsigned int run_once(const struct loaded *l, int prog, int times)
{
	unsigned int least = ~0U, cost;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		cost = run_keys(l, prog, 1, times);
		least = cost < least ? cost : least;
	}
	return least;
}

static void measure(const struct loaded *l, const struct sample *s, struct figures *f)
{
	unsigned int nothing = run_once(l, l->nothing, TIMES), cost;
	int i, n = s->n, times = TIMES;

	for (i = 0; i < n; i++) {
		l->skel->bss->keys[0] = s->key[i];
		cost = run_once(l, l->prog, times);
		f->at[i] = cost > nothing ? cost - nothing : 0;
		if (f->at[i] > SLOW && times > 1) {
			times = 1;
			n = n < SLOW_SAMPLES ? n : SLOW_SAMPLES;
			nothing = run_once(l, l->nothing, times);
			i = -1;
		} else if (f->at[i] > SLOWEST) {
			n = n < SLOWEST_SAMPLES ? n : SLOWEST_SAMPLES;
		}
	}
	f->n = i;
}

static void count_lines(const struct classifier *c, const struct policy *p,
			const struct sample *s, struct figures *f)
{
	int i;

	f->n = s->n < SLOW_SAMPLES ? s->n : SLOW_SAMPLES;
	for (i = 0; i < f->n; i++)
		f->at[i] = lines_touched(c, p, &s->key[i]);
}

/* CPU time of this process, without waiting. */
static unsigned long long cpu_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void bench_loaded(struct loaded *l, const struct build *b,
			 const struct sample *hits, const struct sample *misses,
			 unsigned long long build_cost)
{
	static struct figures f;
	struct policy p = { b->mem, b->cells };
	unsigned long long start, kernel;

	start = cpu_time();
	kernel = publish(l, b->mem, b->cells);
	start = cpu_time() - start;
	if (!kernel) {
		printf(",\"no policy: %s\"\n", strerror(errno));
		return;
	}
	printf(",");
	measure(l, hits, &f);
	print_figures(&f);
	measure(l, misses, &f);
	print_figures(&f);
	count_lines(l->classifier, &p, hits, &f);
	print_figures(&f);
	count_lines(l->classifier, &p, misses, &f);
	print_figures(&f);
	printf(",%llu,%llu,%llu,%llu,%lu,%lu,%u,%d\n", kernel, kernel / b->rules->n, build_cost,
	       start, l->verified.insns, l->verified.usec, ((struct policy_head *)b->mem)->masks,
	       count_lengths(b->rules));
}

static void bench_classifier(const struct classifier *c, const struct rules *rules,
			     const struct sample *hits, const struct sample *misses)
{
	unsigned long long start = cpu_time();
	struct loaded l;
	struct build b;

	if (!policy_build(c, rules, MAX_BYTES, &b)) {
		printf(",\"%s\"\n", b.why);
	} else {
		start = cpu_time() - start;
		if (load(&l, c, b.cells)) {
			bench_loaded(&l, &b, hits, misses, start);
			unload(&l);
		} else {
			printf(",\"not loaded: %s\"\n", strerror(errno));
		}
	}
	fflush(stdout);
	free(b.mem);
}

/* Print a comment: the cost of a look-up in the kernel's hash table, with the same type of key */
void bench_kernel_hash(void)
{
	static struct sample hits, misses;
	static struct figures f;
	struct policy_key key = {};
	struct loaded l;
	uint32_t i;

	if (!load_program(&l, "kernel_hash", POLICY_LINE)) {
		fprintf(stderr, "policy: kernel_hash: %s\n", strerror(errno));
		return;
	}
	for (i = 0; i < 10000; i++) {
		key.src = key.dst = i;
		if (bpf_map__update_elem(l.skel->maps.hash, &key, sizeof(key), &i, sizeof(i), 0))
			break;
		if (i < SAMPLES)
			hits.key[hits.n++] = misses.key[misses.n++] = key;
		misses.key[misses.n - 1].proto = 1;
	}
	publish(&l, (uint64_t[POLICY_LINE]){}, POLICY_LINE);
	printf("# BPF_MAP_TYPE_HASH");
	measure(&l, &hits, &f);
	print_figures(&f);
	measure(&l, &misses, &f);
	print_figures(&f);
	putchar('\n');
	unload(&l);
}

int bench(const char *family, int n, uint64_t seed)
{
	static struct sample hits, misses;
	const struct classifier *c;
	struct rules rules;

	if (!rules_generate(&rules, family, n, seed)) {
		fprintf(stderr, "policy: no %d rules of family %s\n", n, family);
		return 1;
	}
	take_samples(&rules, &hits, &misses);
	for (c = classifiers; c->name; c++) {
		printf("%s,%d,%llu,%s", family, n, (unsigned long long)seed, c->name);
		bench_classifier(c, &rules, &hits, &misses);
	}
	rules_free(&rules);
	return 0;
}
