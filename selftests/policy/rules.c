// SPDX-License-Identifier: GPL-2.0
/* Reads rules as text, one per line:
 *
 *	identity web-client 17
 *	allow id web-client dport 443 name *.ebpf.io
 *	deny src 10.0.0.0/8 dst 192.0.2.1 proto tcp dport 8000-8080 priority 10
 *	log dport 80
 *
 * A rule is a verdict (allow, deny, log: allow and log), then fields and their values, in any
 * order. Fields that are left out, or have the value "*", match anything. Of all matching
 * rules, the one with the greatest priority (default 0) decides, and of these the first one.
 * If no rule matches, the verdict is deny. "*.ebpf.io" matches all names below ebpf.io, but
 * not ebpf.io.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

#define WORDS_MAX	20
#define ERRORS_MAX	20
#define PRIORITY_MAX	1000000

const struct field_info field_info[FIELDS] = {
	[F_ID] =    { "id", ~0U, 0, 0 },
	[F_SRC] =   { "src", ~0U, 0, 32 },
	[F_DST] =   { "dst", ~0U, 1, 0 },
	[F_NAME] =  { "name", ~0U, 1, 32 },
	[F_SPORT] = { "sport", 0xffff, 2, 0 },
	[F_DPORT] = { "dport", 0xffff, 2, 16 },
	[F_PROTO] = { "proto", 0xff, 2, 32 },
};

static const char * const verdicts[] = {
	[POLICY_DENY] = "deny", [POLICY_ALLOW] = "allow", [POLICY_LOG] = "log",
};

struct reader {
	struct rules *rules;
	const char *file;
	FILE *to;
	int line, errors;
};

/* Print the line and the error. Return: false, for the caller to return */
static bool __attribute__((format(printf, 2, 3)))
wrong(struct reader *r, const char *why, ...)
{
	va_list args;

	if (r->errors++ >= ERRORS_MAX)
		return false;
	fprintf(r->to, "%s:%d: ", r->file, r->line);
	va_start(args, why);
	vfprintf(r->to, why, args);
	va_end(args);
	fputc('\n', r->to);
	return false;
}

static bool to_number(const char *text, long max, uint32_t *number)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*end || errno || value > (unsigned long)max)
		return false;
	*number = value;
	return true;
}

static struct identity *find_identity(struct rules *rules, const char *name)
{
	int i;

	for (i = 0; i < rules->identities; i++)
		if (!strcmp(rules->identity[i].name, name))
			return &rules->identity[i];
	return NULL;
}

static bool read_identity(struct reader *r, char **word, int words)
{
	struct rules *rules = r->rules;
	struct identity *id;
	uint32_t number;
	int i;

	if (words != 3)
		return wrong(r, "an identity has a name and a number: identity web-client 17");
	if (strlen(word[1]) >= sizeof(id->name) || !strcmp(word[1], "*"))
		return wrong(r, "'%.70s' is no name for an identity", word[1]);
	if (!to_number(word[2], ~0U, &number))
		return wrong(r, "'%s' is no number of an identity, which is 0 to 4294967295", word[2]);
	for (i = 0; i < rules->identities; i++) {
		if (!strcmp(rules->identity[i].name, word[1]))
			return wrong(r, "there is an identity '%s' already", word[1]);
		if (rules->identity[i].number == number)
			return wrong(r, "identity '%s' has the number %u already",
				     rules->identity[i].name, number);
	}
	rules->identity = grow(rules->identity, rules->identities, &rules->identity_room,
			       sizeof(*id));
	id = &rules->identity[rules->identities++];
	strcpy(id->name, word[1]);
	id->number = number;
	return true;
}

static bool read_id(struct reader *r, struct rule *rule, const char *value)
{
	struct identity *id = find_identity(r->rules, value);

	if (!id)
		return wrong(r, "no identity '%s': a line before has to say 'identity %s NUMBER'",
			     value, value);
	rule->lo[F_ID] = rule->hi[F_ID] = id->number;
	return true;
}

static bool read_network(struct reader *r, struct rule *rule, enum field f, const char *value)
{
	char text[INET_ADDRSTRLEN + 1], *slash;
	uint32_t len = 32, rest;
	struct in_addr addr;

	snprintf(text, sizeof(text), "%s", value);
	slash = strchr(value, '/');
	if (slash && slash - value < (long)sizeof(text))
		text[slash - value] = 0;
	if (inet_pton(AF_INET, text, &addr) != 1)
		return wrong(r, "'%s' is no IPv4 address or network", value);
	if (slash && !to_number(slash + 1, 32, &len))
		return wrong(r, "'%s': behind the / is a number of bits, 0 to 32", value);
	rest = len ? (1ULL << (32 - len)) - 1 : ~0U;
	rule->lo[f] = ntohl(addr.s_addr);
	if (rule->lo[f] & rest) {
		addr.s_addr = htonl(rule->lo[f] & ~rest);
		return wrong(r, "'%s' has bits behind the first %u: the network is %s/%u", value,
			     len, inet_ntoa(addr), len);
	}
	rule->hi[f] = rule->lo[f] | rest;
	return true;
}

static bool read_ports(struct reader *r, struct rule *rule, enum field f, char *value)
{
	char *dash = strchr(value, '-');
	bool ok;

	if (dash)
		*dash = 0;
	ok = to_number(value, 65535, &rule->lo[f]) &&
	     to_number(dash ? dash + 1 : value, 65535, &rule->hi[f]);
	if (dash)
		*dash = '-';
	if (!ok)
		return wrong(r, "'%s' is no port or range of ports, 0 to 65535", value);
	if (rule->lo[f] > rule->hi[f])
		return wrong(r, "the range '%s' ends before it begins", value);
	return true;
}

static bool read_proto(struct reader *r, struct rule *rule, const char *value)
{
	static const struct { const char *name; uint32_t number; } protos[] = {
		{ "icmp", 1 }, { "tcp", 6 }, { "udp", 17 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(protos) / sizeof(protos[0]); i++)
		if (!strcmp(value, protos[i].name))
			break;
	if (i < sizeof(protos) / sizeof(protos[0]))
		rule->lo[F_PROTO] = protos[i].number;
	else if (!to_number(value, 255, &rule->lo[F_PROTO]))
		return wrong(r, "'%s' is no protocol: tcp, udp, icmp or 0 to 255", value);
	rule->hi[F_PROTO] = rule->lo[F_PROTO];
	return true;
}

/* The number is set when all names are known. */
static bool read_name(struct reader *r, struct rule *rule, const char *value)
{
	rule->name_suffix = !strncmp(value, "*.", 2);
	if (!names_valid(value + 2 * rule->name_suffix))
		return wrong(r, "'%.80s' is no name: labels of letters, digits, - and _, and only in front '*.'",
			     value);
	rule->name_node = names_add(&r->rules->names, value + 2 * rule->name_suffix);
	if (rule->name_suffix)
		r->rules->names.node[rule->name_node].has_suffix = true;
	return true;
}

static bool read_priority(struct reader *r, struct rule *rule, const char *value)
{
	bool minus = *value == '-';
	uint32_t number;

	if (!to_number(value + minus, PRIORITY_MAX, &number))
		return wrong(r, "'%s' is no priority, %d to %d", value, -PRIORITY_MAX, PRIORITY_MAX);
	rule->priority = minus ? -(int)number : (int)number;
	return true;
}

static bool read_value(struct reader *r, struct rule *rule, enum field f, char *value)
{
	if (!strcmp(value, "*"))
		return true;
	switch (f) {
	case F_ID:
		return read_id(r, rule, value);
	case F_SRC:
	case F_DST:
		return read_network(r, rule, f, value);
	case F_NAME:
		return read_name(r, rule, value);
	case F_SPORT:
	case F_DPORT:
		return read_ports(r, rule, f, value);
	default:
		return read_proto(r, rule, value);
	}
}

static bool read_field(struct reader *r, struct rule *rule, unsigned int *seen, char *field,
		       char *value)
{
	int f;

	for (f = 0; f < FIELDS; f++)
		if (!strcmp(field, field_info[f].name))
			break;
	if (f == FIELDS && strcmp(field, "priority"))
		return wrong(r, "no field '%s': id, src, dst, name, sport, dport, proto, priority",
			     field);
	if (!value)
		return wrong(r, "%s has no value", field);
	if (*seen & 1U << f)
		return wrong(r, "%s is there twice", field);
	*seen |= 1U << f;
	return f == FIELDS ? read_priority(r, rule, value) : read_value(r, rule, f, value);
}

static bool read_rule(struct reader *r, char **word, int words)
{
	struct rule rule = { .line = r->line, .name_node = -1 };
	unsigned int seen = 0;
	int i, f;

	while (rule.verdict <= POLICY_LOG && strcmp(word[0], verdicts[rule.verdict]))
		rule.verdict++;
	if (rule.verdict > POLICY_LOG)
		return wrong(r, "'%s' is no verdict: allow, deny or log", word[0]);
	for (f = 0; f < FIELDS; f++)
		rule.hi[f] = field_info[f].max;
	for (i = 1; i < words; i += 2)
		if (!read_field(r, &rule, &seen, word[i], i + 1 < words ? word[i + 1] : NULL))
			return false;
	r->rules->rule = grow(r->rules->rule, r->rules->n, &r->rules->room, sizeof(rule));
	r->rules->rule[r->rules->n++] = rule;
	return true;
}

static bool read_line(struct reader *r, char *line)
{
	char *word[WORDS_MAX + 1], *comment = strchr(line, '#'), *save;
	int words = 0;

	if (comment)
		*comment = 0;
	for (word[0] = strtok_r(line, " \t\r\n", &save); word[words];
	     word[words] = strtok_r(NULL, " \t\r\n", &save))
		if (++words == WORDS_MAX)
			return wrong(r, "more than %d words", WORDS_MAX - 1);
	if (!words)
		return true;
	return strcmp(word[0], "identity") ? read_rule(r, word, words) :
					     read_identity(r, word, words);
}

static void set_name(const struct names *names, struct rule *rule)
{
	struct name_node *node = &names->node[rule->name_node];

	rule->lo[F_NAME] = rule->name_suffix ? node->below : node->exact;
	rule->hi[F_NAME] = rule->name_suffix ? node->below + (uint32_t)(node->size - 1) :
					       node->exact;
}

static int by_rank(const void *a, const void *b)
{
	const struct rule *x = a, *y = b;

	return x->priority != y->priority ? (x->priority < y->priority ? 1 : -1) :
					    x->line - y->line;
}

static int compare_match(const struct rule *x, const struct rule *y)
{
	return memcmp(x->lo, y->lo, sizeof(x->lo)) ?: memcmp(x->hi, y->hi, sizeof(x->hi));
}

static int by_match(const void *a, const void *b)
{
	const struct rule *x = *(struct rule **)a, *y = *(struct rule **)b;

	return compare_match(x, y) ?: (x > y) - (x < y);
}

/* A rule that matches the same keys as an earlier one is an error. */
static bool check_twins(struct reader *r)
{
	struct rules *rules = r->rules;
	struct rule **order = malloc((rules->n + 1) * sizeof(*order));
	int i, errors = r->errors;

	if (!order)
		abort();
	for (i = 0; i < rules->n; i++)
		order[i] = &rules->rule[i];
	qsort(order, rules->n, sizeof(*order), by_match);
	for (i = 1; i < rules->n; i++) {
		if (compare_match(order[i - 1], order[i]))
			continue;
		r->line = order[i]->line;
		wrong(r, "never used: line %d matches the same and comes before it",
		      order[i - 1]->line);
	}
	free(order);
	return errors == r->errors;
}

static bool finish(struct reader *r)
{
	struct rules *rules = r->rules;
	int i;

	if (!names_number(&rules->names))
		return wrong(r, "the names of all rules need more than 32 bits: fewer labels in one name, or fewer names");
	for (i = 0; i < rules->n; i++)
		if (rules->rule[i].name_node >= 0)
			set_name(&rules->names, &rules->rule[i]);
	qsort(rules->rule, rules->n, sizeof(*rules->rule), by_rank);
	return check_twins(r);
}

bool rules_read(struct rules *rules, FILE *text, const char *file, FILE *errors)
{
	struct reader r = { .rules = rules, .file = file, .to = errors };
	size_t room = 0;
	char *line = NULL;
	ssize_t len;

	memset(rules, 0, sizeof(*rules));
	while ((len = getline(&line, &room, text)) >= 0) {
		r.line++;
		if (strlen(line) != (size_t)len)
			wrong(&r, "a byte of 0 in the text");
		else
			read_line(&r, line);
	}
	if (ferror(text))
		wrong(&r, "%s", strerror(errno));
	free(line);
	if (!r.errors)
		finish(&r);
	if (r.errors > ERRORS_MAX)
		fprintf(errors, "%s: %d errors more\n", file, r.errors - ERRORS_MAX);
	return !r.errors;
}

void rules_free(struct rules *rules)
{
	names_free(&rules->names);
	free(rules->rule);
	free(rules->identity);
	memset(rules, 0, sizeof(*rules));
}

uint32_t key_get(const struct policy_key *key, enum field f)
{
	uint64_t word;

	memcpy(&word, (const char *)key + field_info[f].word * 8, 8);
	return word >> field_info[f].shift & field_info[f].max;
}

void key_set(struct policy_key *key, enum field f, uint32_t value)
{
	char *at = (char *)key + field_info[f].word * 8;
	uint64_t word;

	memcpy(&word, at, 8);
	word &= ~((uint64_t)field_info[f].max << field_info[f].shift);
	word |= (uint64_t)(value & field_info[f].max) << field_info[f].shift;
	memcpy(at, &word, 8);
}

uint32_t rules_oracle(const struct rules *rules, const struct policy_key *key)
{
	const struct rule *r;
	uint32_t v[FIELDS];
	int i, f;

	for (f = 0; f < FIELDS; f++)
		v[f] = key_get(key, f);
	for (i = 0; i < rules->n; i++) {
		r = &rules->rule[i];
		for (f = 0; f < FIELDS; f++)
			if (v[f] < r->lo[f] || v[f] > r->hi[f])
				break;
		if (f == FIELDS)
			return POLICY_ANSWER(i + 1, r->verdict);
	}
	return POLICY_NONE;
}
