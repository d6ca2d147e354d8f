// SPDX-License-Identifier: GPL-2.0
/* Rule sets and keys for tests and benchmarks. The text depends only on family, number and
 * seed. Shares are percentages.
 *
 *	policy	identity : port : name, like the policies of services
 *	plain	the same, without ranges of ports
 *	acl	networks of customers to servers and ports
 *	fw	many wildcards, and ranges of ports
 *	ipc	between acl and fw
 *	worst	the most masks that rules can have, and keys that need many of them
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

const char * const families[] = { "policy", "plain", "acl", "fw", "ipc", "worst", NULL };

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (random_next(state) >> 32) * n >> 32;
}

/* ---- parts of rules --------------------------------------------------------------- */

/* The share of rules with a prefix of this length or, for ports, of this kind */
struct share {
	int percent;
	int what;
};

#define SHARES 8

/* Kinds of ports: any; above 1023; below 1024; a range; one */
enum { P_ANY, P_HIGH, P_LOW, P_RANGE, P_ONE };

struct family {
	const char *name;
	struct share src[SHARES], dst[SHARES], sport[SHARES], dport[SHARES], proto[SHARES];
};

static const struct family networks[] = {
	{ "acl",
	  .src = { { 8, 0 }, { 3, 8 }, { 12, 16 }, { 6, 20 }, { 30, 24 }, { 8, 28 }, { 33, 32 } },
	  .dst = { { 3, 0 }, { 7, 16 }, { 5, 22 }, { 22, 24 }, { 8, 27 }, { 10, 30 }, { 45, 32 } },
	  .sport = { { 96, P_ANY }, { 3, P_HIGH }, { 1, P_ONE } },
	  .dport = { { 25, P_ANY }, { 5, P_HIGH }, { 3, P_LOW }, { 7, P_RANGE }, { 60, P_ONE } },
	  .proto = { { 10, -1 }, { 75, 6 }, { 12, 17 }, { 3, 1 } } },
	{ "fw",
	  .src = { { 45, 0 }, { 5, 8 }, { 10, 16 }, { 15, 24 }, { 5, 28 }, { 20, 32 } },
	  .dst = { { 25, 0 }, { 5, 8 }, { 10, 16 }, { 20, 24 }, { 10, 29 }, { 30, 32 } },
	  .sport = { { 70, P_ANY }, { 20, P_HIGH }, { 2, P_LOW }, { 3, P_RANGE }, { 5, P_ONE } },
	  .dport = { { 30, P_ANY }, { 12, P_HIGH }, { 5, P_LOW }, { 13, P_RANGE }, { 40, P_ONE } },
	  .proto = { { 15, -1 }, { 60, 6 }, { 22, 17 }, { 3, 1 } } },
	{ "ipc",
	  .src = { { 15, 0 }, { 5, 10 }, { 10, 16 }, { 20, 24 }, { 10, 26 }, { 40, 32 } },
	  .dst = { { 15, 0 }, { 5, 12 }, { 10, 16 }, { 20, 24 }, { 10, 29 }, { 40, 32 } },
	  .sport = { { 75, P_ANY }, { 8, P_HIGH }, { 2, P_RANGE }, { 15, P_ONE } },
	  .dport = { { 40, P_ANY }, { 8, P_HIGH }, { 4, P_LOW }, { 6, P_RANGE }, { 42, P_ONE } },
	  .proto = { { 20, -1 }, { 50, 6 }, { 25, 17 }, { 5, 1 } } },
};

/* The current rule: its text, and the number of its wildcard bits */
struct maker {
	uint64_t state;
	uint64_t seed;		/* seed of the pools */
	int n;			/* number of rules */
	char text[400];
	int wild;
};

static int choose(struct maker *m, const struct share *shares)
{
	int at = below(&m->state, 100);

	while (at >= shares->percent) {
		at -= shares->percent;
		shares++;
	}
	return shares->what;
}

static void __attribute__((format(printf, 2, 3))) add(struct maker *m, const char *format, ...)
{
	size_t len = strlen(m->text);
	va_list args;

	va_start(args, format);
	vsnprintf(m->text + len, sizeof(m->text) - len, format, args);
	va_end(args);
}

/* Element @i of pool @pool */
static uint64_t pooled(struct maker *m, uint32_t pool, uint32_t i)
{
	uint64_t state = m->seed ^ (uint64_t)pool << 32 ^ i;

	return random_next(&state);
}

/* Sites have a /16 network, some /24 subnets and hosts in these. */
static void add_network(struct maker *m, const char *field, uint32_t pool, int len)
{
	uint32_t sites = 4 + m->n / 400, addr;
	uint32_t site = below(&m->state, sites), net = below(&m->state, 12);

	m->wild += 32 - len;
	if (!len)
		return;
	addr = (uint32_t)pooled(m, pool, site) & 0xffff0000;
	if (len > 16)
		addr |= pooled(m, pool + 1, site * 12 + net) & 0xff00;
	if (len > 24)
		addr |= random_next(&m->state) & 0xff;
	addr &= ~0U << (32 - len);
	add(m, " %s %u.%u.%u.%u", field, addr >> 24, addr >> 16 & 255, addr >> 8 & 255, addr & 255);
	if (len < 32)
		add(m, "/%d", len);
}

static const uint16_t services[] = {
	80, 443, 22, 25, 53, 8080, 8443, 3306, 5432, 6379, 9090, 9200, 2379, 10250, 389, 636,
	123, 161, 445, 1433, 1521, 5672, 9092, 11211, 27017, 3000, 5000, 8000, 8888, 993,
};

#define SERVICES (sizeof(services) / sizeof(services[0]))

/* With more rules, more ports are not well-known ones */
static uint32_t service(struct maker *m)
{
	uint32_t i = below(&m->state, SERVICES + m->n / 200);

	return i < SERVICES ? services[i] : 1024 + pooled(m, 50, i) % 30000;
}

static void add_range(struct maker *m, const char *field)
{
	static const uint16_t common[][2] = {
		{ 6000, 6063 }, { 137, 139 }, { 20, 21 }, { 5000, 5100 }, { 1024, 4999 },
		{ 30000, 32767 }, { 8000, 8099 }, { 49152, 65535 }, { 161, 162 }, { 6881, 6889 },
	};
	uint32_t i = below(&m->state, 16), first;

	m->wild += 8;
	if (i < 10) {
		add(m, " %s %u-%u", field, common[i][0], common[i][1]);
		return;
	}
	first = pooled(m, 51, i * 8 + below(&m->state, 8)) % 60000;
	add(m, " %s %u-%u", field, first, (uint32_t)(first + 1 + pooled(m, 52, first) % 1000));
}

static void add_port(struct maker *m, const char *field, int what)
{
	switch (what) {
	case P_ANY:
		m->wild += 16;
		break;
	case P_HIGH:
		m->wild += 15;
		add(m, " %s 1024-65535", field);
		break;
	case P_LOW:
		m->wild += 10;
		add(m, " %s 0-1023", field);
		break;
	case P_RANGE:
		add_range(m, field);
		break;
	default:
		add(m, " %s %u", field, service(m));
	}
}

static void add_proto(struct maker *m, int proto)
{
	static const char * const names[] = { [1] = "icmp", [6] = "tcp", [17] = "udp" };

	if (proto < 0)
		m->wild += 8;
	else
		add(m, " proto %s", names[proto]);
}

static void make_network(struct maker *m, const struct family *family)
{
	int src, dst;

	/* Leave out a rule that matches everything: it is rare, and no key would be unmatched. */
	do {
		src = choose(m, family->src);
		dst = choose(m, family->dst);
	} while (!src && !dst);
	add_network(m, "src", 1, src);
	add_network(m, "dst", 3, dst);
	add_port(m, "sport", choose(m, family->sport));
	add_port(m, "dport", choose(m, family->dport));
	add_proto(m, choose(m, family->proto));
}

/* ---- the policies of services -------------------------------------------------------- */

static uint32_t identities(int n)
{
	return 8 + n / 50;
}

enum { N_ANY, N_ZONE, N_DOMAIN, N_HOST };

static void add_name(struct maker *m, int what)
{
	static const char * const zones[] = { "io", "com", "org", "net", "dev", "internal" };
	uint32_t domain = below(&m->state, 8 + m->n / 12);
	uint32_t zone = pooled(m, 60, domain) % 6;

	switch (what) {
	case N_ANY:
		m->wild += 32;
		return;
	case N_ZONE:
		m->wild += 24;
		add(m, " name *.%s", zones[zone]);
		return;
	case N_DOMAIN:
		m->wild += 16;
		add(m, " name *.d%u.%s", domain, zones[zone]);
		return;
	default:
		add(m, " name h%u.d%u.%s", below(&m->state, 6), domain, zones[zone]);
	}
}

static void make_policy(struct maker *m, bool ranges)
{
	static const struct { int percent; bool id; int port, name; } shapes[] = {
		{ 52, true, P_ONE, N_HOST }, { 16, true, P_ONE, N_DOMAIN },
		{ 7, true, P_ONE, N_ANY }, { 7, true, P_ANY, N_HOST },
		{ 4, true, P_ANY, N_DOMAIN }, { 2, true, P_ANY, N_ZONE },
		{ 3, true, P_RANGE, N_DOMAIN }, { 2, true, P_RANGE, N_ANY },
		{ 3, false, P_ONE, N_HOST }, { 2, false, P_ONE, N_DOMAIN },
		{ 1, false, P_ANY, N_HOST }, { 1, false, P_RANGE, N_DOMAIN },
	};
	int i = 0, at = below(&m->state, 100);

	for (; at >= shapes[i].percent; i++)
		at -= shapes[i].percent;
	if (shapes[i].id)
		add(m, " id service%u", below(&m->state, identities(m->n)));
	else
		m->wild += 32;
	add_port(m, "dport", shapes[i].port == P_RANGE && !ranges ? P_ONE : shapes[i].port);
	add_name(m, shapes[i].name);
}

/* ---- the worst ------------------------------------------------------------------------ */

#define WORST_MAX (2 * 32 * 32)

/* Two rules for each pair of lengths of prefixes. 0.0.0.0 matches the source of the one and the
 * destination of the other, so a packet from 0.0.0.0 to 0.0.0.0 can match with each mask, field
 * by field, but matches with none.
 */
static void make_worst(struct maker *m, int i)
{
	int src = i / 2 % 32 + 1, dst = i / 64 % 32 + 1;
	uint32_t bit = 1U << (32 - (i & 1 ? src : dst));
	char other[20];

	snprintf(other, sizeof(other), "%u.%u.%u.%u", bit >> 24, bit >> 16 & 255, bit >> 8 & 255,
		 bit & 255);
	add(m, " src %s/%d dst %s/%d", i & 1 ? other : "0.0.0.0", src,
	    i & 1 ? "0.0.0.0" : other, dst);
}

/* ---- the text ------------------------------------------------------------------------ */

struct seen {
	uint64_t *hash;
	uint32_t size;		/* a power of two */
};

/* Leave out rules that match the same as an earlier one */
static bool is_new(struct seen *seen, const char *text)
{
	uint64_t h = 0xcbf29ce484222325ULL;
	uint32_t i;

	while (*text)
		h = (h ^ (unsigned char)*text++) * 0x100000001b3ULL;
	h += !h;
	for (i = h ^ h >> 32;; i++) {
		uint64_t *slot = &seen->hash[i & (seen->size - 1)];

		if (*slot == h)
			return false;
		if (!*slot) {
			*slot = h;
			return true;
		}
	}
}

static const struct family *network_family(const char *name)
{
	unsigned int i;

	for (i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
		if (!strcmp(networks[i].name, name))
			return &networks[i];
	return NULL;
}

/* Rules that match more come later, the usual order. */
static void write_rule(struct maker *m, FILE *text)
{
	static const struct share verdict[] = {
		{ 70, POLICY_ALLOW }, { 22, POLICY_DENY }, { 8, POLICY_LOG },
	};
	static const char * const names[] = { "deny", "allow", "log" };

	fprintf(text, "%s%s", names[choose(m, verdict)], m->text);
	if (m->wild / 8)
		fprintf(text, " priority %d", -(m->wild / 8));
	fputc('\n', text);
}

static void write_identities(FILE *text, int n)
{
	uint32_t i;

	for (i = 0; i < identities(n); i++)
		fprintf(text, "identity service%u %u\n", i, i + 1);
}

static void make_rule(struct maker *m, const char *name, int i)
{
	const struct family *family = network_family(name);

	m->text[0] = 0;
	m->wild = 0;
	if (family)
		make_network(m, family);
	else if (!strcmp(name, "worst"))
		make_worst(m, i);
	else
		make_policy(m, !strcmp(name, "policy"));
}

static bool is_family(const char *name)
{
	int i;

	for (i = 0; families[i]; i++)
		if (!strcmp(families[i], name))
			return true;
	return false;
}

bool generate(FILE *text, const char *name, int n, uint64_t seed)
{
	struct maker m = { .state = seed, .seed = seed * 0x9e3779b97f4a7c15ULL + 1, .n = n };
	struct seen seen = { .size = 64 };
	int i, tries = 0;

	if (!is_family(name) || n < 1 || (!strcmp(name, "worst") && n > WORST_MAX))
		return false;
	while (seen.size < 2 * (uint32_t)n)
		seen.size *= 2;
	seen.hash = calloc(seen.size, sizeof(*seen.hash));
	if (!seen.hash)
		abort();
	fprintf(text, "# %s, %d rules, seed %llu\n", name, n, (unsigned long long)seed);
	if (!strcmp(name, "policy") || !strcmp(name, "plain"))
		write_identities(text, n);
	for (i = 0; i < n && tries < 100 * n + 10000; tries++) {
		make_rule(&m, name, i);
		if (!is_new(&seen, m.text))
			continue;
		write_rule(&m, text);
		i++;
	}
	free(seen.hash);
	return i == n;
}

/* ---- keys ---------------------------------------------------------------------------- */

static uint32_t corner(uint64_t *state, uint32_t lo, uint32_t hi)
{
	switch (below(state, 8)) {
	case 0:
		return lo - 1;
	case 1:
		return hi + 1;
	case 2:
	case 3:
		return hi;
	case 4:
		return lo + random_next(state) % ((uint64_t)hi - lo + 1);
	default:
		return lo;
	}
}

static uint32_t value_of(const struct rule *r, int f, uint64_t *state, bool corners)
{
	if (corners)
		return corner(state, r->lo[f], r->hi[f]);
	return r->lo[f] + random_next(state) % ((uint64_t)r->hi[f] - r->lo[f] + 1);
}

/* Half of the keys are at the corners of a rule. Of the others, most have each field of a
 * different rule, and some are random.
 */
void random_key(const struct rules *rules, uint64_t *state, struct policy_key *key)
{
	int how = below(state, 8), f;
	const struct rule *r = &rules->rule[below(state, rules->n)];

	memset(key, 0, sizeof(*key));
	for (f = 0; f < FIELDS; f++) {
		if (how == 7) {
			key_set(key, f, random_next(state));
			continue;
		}
		if (how == 4 || how == 5)
			r = &rules->rule[below(state, rules->n)];
		key_set(key, f, value_of(r, f, state, how < 4));
	}
}
