// SPDX-License-Identifier: GPL-2.0
/* Tests, as KTAP: reading rules; comparing classifiers with the oracle, in user space and in
 * the kernel, also while the policy is replaced; and whether these checks can fail.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <bpf/libbpf.h>

#include "commands.h"
#include "enforce.h"
#include "load.h"
#include "policy_progs.skel.h"

static int passed, failed, skipped;
static const char *wanted;

/* Print a test point; false if it failed */
static bool __attribute__((format(printf, 2, 3))) ok(bool good, const char *name, ...)
{
	va_list args;

	printf("%sok %d ", good ? "" : "not ", passed + failed + skipped + 1);
	va_start(args, name);
	vprintf(name, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	*(good ? &passed : &failed) += 1;
	return good;
}

static void skip(const char *name, const char *why)
{
	skipped++;
	printf("ok %d %s # SKIP %s\n", passed + failed + skipped, name, why);
	fflush(stdout);
}

static bool is_wanted(const char *name)
{
	return strstr(name, wanted);
}

/* ---- reading rules ------------------------------------------------------------------- */

static bool read_text(struct rules *rules, const char *text, char *errors, size_t size)
{
	FILE *in = fmemopen((void *)text, strlen(text), "r"), *out;
	bool good;

	memset(errors, 0, size);
	out = fmemopen(errors, size, "w");
	if (!in || !out)
		abort();
	good = rules_read(rules, in, "t", out);
	fclose(in);
	fclose(out);
	return good;
}

static void test_errors(void)
{
	static const struct { const char *text, *error; } wrong[] = {
		{ "permit dport 80\n", "t:1: 'permit' is no verdict" },
		{ "\n# x\nallow port 80\n", "t:3: no field 'port'" },
		{ "allow dport\n", "t:1: dport has no value" },
		{ "allow dport 80 dport 81\n", "t:1: dport is there twice" },
		{ "allow dport 65536\n", "t:1: '65536' is no port" },
		{ "allow dport 80-\n", "t:1: '80-' is no port" },
		{ "allow dport 90-80\n", "t:1: the range '90-80' ends before it begins" },
		{ "allow src 10.0.0.1/8\n", "t:1: '10.0.0.1/8' has bits behind the first 8: the network is 10.0.0.0/8" },
		{ "allow src 10.0.0/8\n", "t:1: '10.0.0/8' is no IPv4 address" },
		{ "allow src 10.0.0.0/33\n", "t:1: '10.0.0.0/33': behind the / is a number of bits" },
		{ "allow id web\n", "t:1: no identity 'web'" },
		{ "identity web 1\nidentity web 2\n", "t:2: there is an identity 'web' already" },
		{ "identity a 1\nidentity b 1\n", "t:2: identity 'a' has the number 1 already" },
		{ "identity a 4294967296\n", "t:1: '4294967296' is no number of an identity" },
		{ "identity a\n", "t:1: an identity has a name and a number" },
		{ "allow name a..b\n", "t:1: 'a..b' is no name" },
		{ "allow name a.*.b\n", "t:1: 'a.*.b' is no name" },
		{ "allow name *.\n", "t:1: '*.' is no name" },
		{ "allow proto 256\n", "t:1: '256' is no protocol" },
		{ "allow priority 1000001\n", "t:1: '1000001' is no priority" },
		{ "allow dport 80\nlog dport 80\n", "t:2: never used: line 1 matches the same" },
		{ "allow dport 80\nlog dport 80 priority 1\n", "t:1: never used: line 2 matches the same" },
		{ "allow a b c d e f g h i j k l m n o p q r s t\n", "t:1: more than 19 words" },
	};
	char errors[2048];
	struct rules rules;
	unsigned int i;
	bool good;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		good = read_text(&rules, wrong[i].text, errors, sizeof(errors));
		good = !good && !strncmp(errors, wrong[i].error, strlen(wrong[i].error)) &&
		       strchr(errors, '\n') == errors + strlen(errors) - 1;
		if (!ok(good, "checker: %s", wrong[i].error))
			printf("# it says: %s\n", errors);
		rules_free(&rules);
	}
}

/* Some rules, whose answers were found by hand. */
static const char example[] =
	"identity web-client 17\n"
	"identity db 4000000000\n"
	"allow id web-client name ebpf.io\n"			/* 3 */
	"allow id web-client dport 443 name *\n"		/* 4 */
	"log dport 80\n"					/* 5 */
	"deny name *.bad.io priority 5\n"			/* 6, the first */
	"allow name *.io dport 8000-8010 proto tcp\n"		/* 7 */
	"deny src 10.1.0.0/16 dport 5432 priority 1\n"		/* 8, the second */
	"allow id db src 10.0.0.0/8 sport 1024-65535 dport 5432\n";	/* 9 */

struct question {
	uint32_t id, src;
	const char *name;
	uint16_t sport, dport;
	uint8_t proto;
	int line;		/* line of the matching rule; 0: none */
};

static const struct question questions[] = {
	{ 17, 1, "ebpf.io", 1, 22, 6, 3 },
	{ 17, 1, "EBPF.io", 1, 443, 6, 3 },
	{ 17, 1, "www.ebpf.io", 1, 443, 6, 4 },
	{ 17, 1, "www.ebpf.io", 1, 22, 6, 0 },
	{ 18, 1, "ebpf.io", 1, 443, 6, 0 },
	{ 18, 1, "ebpf.io", 1, 80, 6, 5 },
	{ 17, 1, "bad.io", 1, 443, 6, 4 },
	{ 17, 1, "x.bad.io", 1, 443, 6, 6 },
	{ 17, 1, "x.y.bad.io", 1, 80, 6, 6 },
	{ 17, 1, "xbad.io", 1, 80, 6, 5 },
	{ 1, 1, "any.io", 1, 8000, 6, 7 },
	{ 1, 1, "any.io", 1, 8010, 6, 7 },
	{ 1, 1, "any.io", 1, 8011, 6, 0 },
	{ 1, 1, "any.io", 1, 7999, 6, 0 },
	{ 1, 1, "any.io", 1, 8000, 17, 0 },
	{ 1, 1, "io", 1, 8000, 6, 0 },
	{ 1, 1, "ebpf.io", 1, 8005, 6, 7 },
	{ 1, 1, "ebpf.com", 1, 8005, 6, 0 },
	{ 4000000000U, 0x0a010203, "", 2000, 5432, 6, 8 },
	{ 4000000000U, 0x0a020203, "", 2000, 5432, 6, 9 },
	{ 4000000000U, 0x0a020203, "", 1023, 5432, 6, 0 },
	{ 4000000000U, 0x0b020203, "", 2000, 5432, 6, 0 },
};

static int line_of(const struct rules *rules, uint32_t answer)
{
	return answer ? rules->rule[POLICY_RANK(answer) - 1].line : 0;
}

static void ask(const struct rules *rules, const struct policy *p, const struct classifier *c)
{
	const struct question *q;
	struct policy_key key;
	uint32_t answer;
	unsigned int i;
	int bad = 0;

	for (i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		q = &questions[i];
		key = (struct policy_key){ .id = q->id, .src = q->src, .dst = 1, .sport = q->sport,
					   .dport = q->dport, .proto = q->proto,
					   .name = names_find(&rules->names, q->name) };
		answer = c ? c->lookup(p, &key) : rules_oracle(rules, &key);
		if (line_of(rules, answer) == q->line &&
		    (!answer || rules->rule[POLICY_RANK(answer) - 1].verdict ==
				(int)POLICY_VERDICT(answer)))
			continue;
		bad++;
		printf("# question %u: line %d, not %d\n", i, line_of(rules, answer), q->line);
	}
	ok(!bad, "example: %s", c ? c->name : "oracle");
}

static void test_example(void)
{
	const struct classifier *c;
	struct rules rules;
	struct policy p;
	struct build b;
	char errors[1024];

	if (!ok(read_text(&rules, example, errors, sizeof(errors)), "example: is read")) {
		printf("# %s\n", errors);
		return;
	}
	ask(&rules, NULL, NULL);
	for (c = classifiers; c->name; c++) {
		if (!policy_build(c, &rules, MAX_BYTES, &b)) {
			ok(false, "example: %s: %s", c->name, b.why);
		} else {
			p = (struct policy){ b.mem, b.cells };
			ask(&rules, &p, c);
		}
		free(b.mem);
	}
	rules_free(&rules);
}

/* ---- classifiers and the oracle ------------------------------------------------------ */

struct set {
	char name[40];
	struct rules rules;
	struct policy_key *keys;
	uint32_t *answers;	/* answers of the oracle */
	int n;
};

static bool set_make(struct set *s, const char *family, int rules, uint64_t seed, int keys)
{
	uint64_t state = seed ^ 0xabcdef;
	int i;

	memset(s, 0, sizeof(*s));
	snprintf(s->name, sizeof(s->name), "%s %d", family, rules);
	if (!rules_generate(&s->rules, family, rules, seed))
		return ok(false, "%s: rules are made", s->name);
	s->n = (keys + BATCH - 1) / BATCH * BATCH;
	s->keys = xalloc(s->n, sizeof(*s->keys));
	s->answers = xalloc(s->n, sizeof(*s->answers));
	for (i = 0; i < s->n; i++) {
		random_key(&s->rules, &state, &s->keys[i]);
		s->answers[i] = rules_oracle(&s->rules, &s->keys[i]);
	}
	return true;
}

static void set_free(struct set *s)
{
	rules_free(&s->rules);
	free(s->keys);
	free(s->answers);
}

static int differ_here(const struct set *s, const struct classifier *c, const struct build *b)
{
	struct policy p = { b->mem, b->cells };
	int i, n = 0;

	for (i = 0; i < s->n; i++)
		n += c->lookup(&p, &s->keys[i]) != s->answers[i];
	return n;
}

static int differ_in_kernel(const struct set *s, const struct loaded *l)
{
	struct policy_progs__bss *bss = l->skel->bss;
	int i, at, n = 0;

	for (at = 0; at < s->n; at += BATCH) {
		memcpy(bss->keys, s->keys + at, sizeof(bss->keys));
		memset(bss->answers, 0xff, sizeof(bss->answers));
		run_keys(l, l->prog, BATCH, BATCH);
		for (i = 0; i < BATCH; i++)
			n += bss->answers[i] != s->answers[at + i];
	}
	return n;
}

static void test_classifier(const struct set *s, const struct classifier *c)
{
	char name[80];
	struct loaded l;
	struct build b;
	int n;

	snprintf(name, sizeof(name), "%s: %s", s->name, c->name);
	if (!policy_build(c, &s->rules, MAX_BYTES, &b)) {
		skip(name, b.why);
		goto out;
	}
	n = differ_here(s, c, &b);
	ok(!n, "%s, user space: %d of %d keys differ", name, n, s->n);
	if (!load(&l, c, b.cells)) {
		ok(false, "%s, kernel: not loaded: %s", name, strerror(errno));
		goto out;
	}
	if (!publish(&l, b.mem, b.cells)) {
		ok(false, "%s, kernel: no policy: %s", name, strerror(errno));
	} else {
		n = differ_in_kernel(s, &l);
		ok(!n, "%s, kernel: %d of %d keys differ", name, n, s->n);
	}
	unload(&l);
out:
	free(b.mem);
}

static void test_family(const char *family, int rules, int keys)
{
	const struct classifier *c;
	char name[80];
	struct set s;

	snprintf(name, sizeof(name), "%s %d:", family, rules);
	if (!is_wanted(name))
		return;
	if (!set_make(&s, family, rules, rules, keys))
		return;
	for (c = classifiers; c->name; c++)
		test_classifier(&s, c);
	set_free(&s);
}

/* ---- replacing a policy -------------------------------------------------------------- */

#define REPLACED	50	/* times, however slow the machine is */
#define RACE_SECONDS	120

/* Two policies, and a writer that replaces the one by the other, in turn */
struct duel {
	struct loaded *l;
	struct build build[2];
	uint64_t cells;
	int replaced;
	bool stop;
};

static void *write_in_turn(void *arg)
{
	struct duel *d = arg;
	struct build *b;

	while (!__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
		b = &d->build[d->replaced & 1];
		if (!publish(d->l, b->mem, b->cells))
			break;
		__atomic_add_fetch(&d->replaced, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* For keys with different answers: how often the answer was of each policy, or of neither */
struct score {
	long first, second, neither;
};

static void keep_score(struct score *score, const uint32_t *got, const uint32_t *a,
		       const uint32_t *b)
{
	int i;

	for (i = 0; i < BATCH; i++) {
		if (got[i] != a[i] && got[i] != b[i])
			score->neither++;
		else if (a[i] != b[i])
			*(got[i] == a[i] ? &score->first : &score->second) += 1;
	}
}

static void race(struct duel *d, const struct set *s, const uint32_t *other, struct score *score)
{
	time_t end = time(NULL) + RACE_SECONDS;
	pthread_t writer;

	memset(score, 0, sizeof(*score));
	if (pthread_create(&writer, NULL, write_in_turn, d))
		abort();
	do {
		run_keys(d->l, d->l->prog, BATCH, BATCH);
		keep_score(score, d->l->skel->bss->answers, s->answers, other);
	} while (time(NULL) < end &&
		 (!score->first || !score->second ||
		  __atomic_load_n(&d->replaced, __ATOMIC_RELAXED) < REPLACED));
	__atomic_store_n(&d->stop, true, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
}

static void duel_prepare(struct duel *d, const struct set *s)
{
	memcpy(d->l->skel->bss->keys, s->keys, sizeof(d->l->skel->bss->keys));
	publish(d->l, d->build[0].mem, d->build[0].cells);
}

static void test_race(struct duel *d, const struct set *s, const uint32_t *other)
{
	struct score score;

	duel_prepare(d, s);
	race(d, s, other, &score);
	if (ok(!score.neither && score.first && score.second && d->replaced >= REPLACED,
	       "replaced: %s: each answer is of the one policy or the other",
	       d->l->classifier->name))
		return;
	printf("# %ld of the one, %ld of the other, %ld of neither; replaced %d times\n",
	       score.first, score.second, score.neither, d->replaced);
}

/* test_race() must fail if a policy is overwritten in place: half of it is of the one policy,
 * and half of the other.
 */
static void test_torn(struct duel *d, const struct set *s, const uint32_t *other)
{
	struct score score = {};
	int part;

	duel_prepare(d, s);
	for (part = 1; part < 8 && !score.neither; part++) {
		if (!overwrite(d->l, d->build[1].mem, 0, d->build[1].cells * part))
			break;
		run_keys(d->l, d->l->prog, BATCH, BATCH);
		keep_score(&score, d->l->skel->bss->answers, s->answers, other);
	}
	if (!ok(score.neither, "replaced: %s: half a policy is noticed", d->l->classifier->name))
		printf("# %ld of the one, %ld of the other\n", score.first, score.second);
}

static void test_replace_of(const struct classifier *c, struct set *s, const struct rules *rules,
			    const uint32_t *other)
{
	struct loaded l;
	struct duel d = { .l = &l };

	if (!policy_build(c, &s->rules, MAX_BYTES, &d.build[0]) ||
	    !policy_build(c, rules, MAX_BYTES, &d.build[1])) {
		ok(false, "replaced: %s is not built", c->name);
		return;
	}
	d.cells = d.build[0].cells > d.build[1].cells ? d.build[0].cells : d.build[1].cells;
	if (!load(&l, c, d.cells)) {
		ok(false, "replaced: %s is not loaded: %s", c->name, strerror(errno));
	} else {
		test_race(&d, s, other);
		test_torn(&d, s, other);
		unload(&l);
	}
	free(d.build[0].mem);
	free(d.build[1].mem);
}

static void test_replace(void)
{
	uint32_t *other = xalloc(BATCH, sizeof(*other));
	const struct classifier *c;
	struct rules rules;
	struct set s;
	int i;

	if (!set_make(&s, "policy", 300, 5, BATCH) || !rules_generate(&rules, "policy", 300, 6))
		return;
	for (i = 0; i < BATCH; i++)
		other[i] = rules_oracle(&rules, &s.keys[i]);
	for (c = classifiers; c->name; c++)
		test_replace_of(c, &s, &rules, other);
	rules_free(&rules);
	set_free(&s);
	free(other);
}

/* ---- checks that must fail, and refusals --------------------------------------------- */

/* A rule with another verdict, and a missing rule */
static void test_finds(const struct classifier *c, struct set *s)
{
	struct rule *middle = &s->rules.rule[s->rules.n / 8], kept = *middle;
	struct build b;
	int f;

	middle->verdict = (middle->verdict + 1) % 3;
	if (policy_build(c, &s->rules, MAX_BYTES, &b))
		ok(differ_here(s, c, &b), "finds: %s: a wrong verdict", c->name);
	free(b.mem);
	*middle = kept;
	for (f = 0; f < FIELDS; f++)
		if (middle->lo[f] == middle->hi[f])
			middle->lo[f] = middle->hi[f] = middle->lo[f] ^ 1;
	if (policy_build(c, &s->rules, MAX_BYTES, &b))
		ok(differ_here(s, c, &b), "finds: %s: a rule that is another", c->name);
	free(b.mem);
	*middle = kept;
}

static void test_can_fail(void)
{
	const struct classifier *c;
	struct set s;

	if (!set_make(&s, "policy", 100, 3, 16384))
		return;
	for (c = classifiers; c->name; c++)
		test_finds(c, &s);
	set_free(&s);
}

static void refused(const char *classifier, const char *family, int n, uint64_t max_bytes,
		    const char *why)
{
	struct rules rules;
	struct build b;
	bool good;

	if (!rules_generate(&rules, family, n, 1)) {
		ok(false, "refused: %s %d is made", family, n);
		return;
	}
	good = policy_build(classifier_find(classifier), &rules, max_bytes, &b);
	if (!ok(!good && strstr(b.why, why), "refused: %s, %s %d: %s", classifier, family, n, why))
		printf("# it says: %s\n", b.why);
	free(b.mem);
	rules_free(&rules);
}

static void test_refusals(void)
{
	refused("linear", "policy", 100, 4096, "it would take more than 4 KiB");
	refused("hashes", "fw", 1000, 16384, "as prefixes, the rules are more than");
	refused("pruned", "acl", 2000, MAX_BYTES, "it takes 512 masks, and these rules have");
	refused("classes", "acl", 1000, MAX_BYTES,
		"the table of all combinations would take more than 65536 KiB");
	refused("bitvec", "acl", 20000, MAX_BYTES, "it takes 16384 rules, and these are 20000");
	refused("bitvec", "acl", 2000, 1 << 16, "the bitmaps of src would take more than 64 KiB");
	refused("tuplemerge", "acl", 1000, 1 << 14, "it would take more than 16 KiB");
}

/* A program denies all without a policy, or with another classifier's or a truncated one. */
static void test_deny(const struct classifier *c, struct set *s)
{
	const struct classifier *next = c[1].name ? c + 1 : classifiers;
	struct build b = {}, wrong = {};
	struct loaded l;
	int i, answered = 0;

	if (!policy_build(c, &s->rules, MAX_BYTES, &b) ||
	    !policy_build(next, &s->rules, MAX_BYTES, &wrong) || !load(&l, c, b.cells)) {
		ok(false, "deny: %s is not loaded", c->name);
		return;
	}
	memcpy(l.skel->bss->keys, s->keys, sizeof(l.skel->bss->keys));
	run_keys(&l, l.prog, BATCH, BATCH);
	for (i = 0; i < BATCH; i++)
		answered += !!l.skel->bss->answers[i];
	ok(!answered, "deny: %s without a policy", c->name);
	if (wrong.cells > b.cells) {
		ok(!publish(&l, wrong.mem, wrong.cells) && errno == E2BIG,
		   "deny: %s refuses a policy that is too large", c->name);
		wrong.cells = b.cells;
	}
	if (!publish(&l, wrong.mem, wrong.cells))
		ok(false, "deny: %s has the policy of %s", c->name, next->name);
	run_keys(&l, l.prog, BATCH, BATCH);
	for (i = 0; i < BATCH; i++)
		answered += !!l.skel->bss->answers[i];
	ok(!answered, "deny: %s with the policy of %s", c->name, next->name);
	unload(&l);
	free(b.mem);
	free(wrong.mem);
}

static void test_denials(void)
{
	const struct classifier *c;
	struct set s;

	if (!set_make(&s, "policy", 100, 3, BATCH))
		return;
	for (c = classifiers; c->name; c++)
		test_deny(c, &s);
	set_free(&s);
}

/* The first answer for a socket is cached until the policy is replaced. All runs of a call use
 * the same socket.
 */
static void test_remember(void)
{
	struct loaded l;
	struct build b;
	struct set s;
	int i, kept = 0, differ = 0;

	if (!set_make(&s, "policy", 100, 3, BATCH) ||
	    !policy_build(classifier_find("tuplemerge"), &s.rules, MAX_BYTES, &b) ||
	    !load_program(&l, "remember", b.cells) || !publish(&l, b.mem, b.cells)) {
		ok(false, "remember: is loaded: %s", strerror(errno));
		return;
	}
	memcpy(l.skel->bss->keys, s.keys, sizeof(l.skel->bss->keys));
	run_keys(&l, l.prog, BATCH, BATCH);
	for (i = 0; i < BATCH; i++)
		kept += l.skel->bss->answers[i] == s.answers[0];
	ok(kept == BATCH && l.skel->bss->looked_up == 1, "remember: what was decided");
	l.skel->bss->looked_up = 0;
	l.skel->bss->newer = 1;
	run_keys(&l, l.prog, BATCH, BATCH);
	for (i = 0; i < BATCH; i++)
		differ += l.skel->bss->answers[i] != s.answers[i];
	ok(!differ && l.skel->bss->looked_up == BATCH, "remember: not of another policy");
	unload(&l);
	free(b.mem);
	set_free(&s);
}

/* ---- processes in cgroups ------------------------------------------------------------- */

#define CGROUPS "/tmp/policy-cgroups"

static void write_to(const char *file, int number)
{
	FILE *f = fopen(file, "w");

	if (f) {
		fprintf(f, "%d\n", number);
		fclose(f);
	}
}

/* Connect in a process of the cgroup. Return: 0 or the error */
static int connect_from(const char *cgroup, const struct sockaddr *addr, socklen_t len)
{
	int status = -1, sk;
	pid_t pid = fork();

	if (!pid) {
		write_to(cgroup, getpid());
		sk = socket(addr->sa_family, SOCK_STREAM, 0);
		_exit(sk < 0 || connect(sk, addr, len) ? errno : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static int listen_on(struct sockaddr_in *addr)
{
	int sk = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(*addr);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (sk < 0 || bind(sk, (void *)addr, len) || listen(sk, 16) ||
	    getsockname(sk, (void *)addr, &len))
		abort();
	return sk;
}

static void expect(const char *cgroup, const void *addr, socklen_t len, int error,
		   const char *what)
{
	char procs[100];
	int got;

	snprintf(procs, sizeof(procs), CGROUPS "/%s/cgroup.procs", cgroup);
	got = connect_from(procs, addr, len);
	if (!ok(got == error, "enforce: %s: %s", cgroup, what))
		printf("# %d (%s), not %d\n", got, strerror(got), error);
}

/* Replace the rules by "allow id web dport PORT" and similar ones */
static bool set_text(struct loaded *l, const char *format, int port)
{
	char text[300], errors[300];
	struct rules rules;
	bool good;

	snprintf(text, sizeof(text), format, port);
	good = read_text(&rules, text, errors, sizeof(errors)) && enforcer_set(l, &rules);
	rules_free(&rules);
	return good;
}

static void test_connections(struct loaded *l)
{
	static const char rules[] = "identity web 1\nidentity db 2\n"
				    "allow id web dst 127.0.0.0/8 dport %d\n";
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 }, six;
	struct sockaddr_in addr;
	int sk = listen_on(&addr), port = ntohs(addr.sin_port);

	mapped.sin6_port = addr.sin_port;
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	six = mapped;
	inet_pton(AF_INET6, "::1", &six.sin6_addr);
	if (!ok(set_text(l, rules, port), "enforce: rules are put in force"))
		return;
	expect("web", &addr, sizeof(addr), 0, "may connect");
	expect("web", &mapped, sizeof(mapped), 0, "may connect, by an IPv6 socket");
	expect("web", &six, sizeof(six), EPERM, "may not connect by IPv6");
	expect("db", &addr, sizeof(addr), EPERM, "may not connect");
	ok(set_text(l, "identity db 2\nlog id db dport %d\n", port), "enforce: rules are replaced");
	expect("web", &addr, sizeof(addr), EPERM, "may not connect any more");
	expect("db", &addr, sizeof(addr), 0, "may connect now");
	ok(l->skel->bss->verdicts[POLICY_LOG] == 1 && l->skel->bss->verdicts[POLICY_ALLOW] == 2 &&
	   l->skel->bss->verdicts[POLICY_DENY] == 2, "enforce: verdicts are counted");
	close(sk);
}

static void test_enforce(void)
{
	struct loaded l;

	mkdir(CGROUPS, 0700);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL)) {
		skip("enforce", "no cgroup2");
		return;
	}
	mkdir(CGROUPS "/web", 0700);
	mkdir(CGROUPS "/db", 0700);
	if (ok(enforcer_load(&l), "enforce: is loaded")) {
		if (ok(enforcer_add(&l, CGROUPS "/web", 1) && enforcer_add(&l, CGROUPS "/db", 2),
		       "enforce: is on cgroups"))
			test_connections(&l);
		unload(&l);
	}
	rmdir(CGROUPS "/web");
	rmdir(CGROUPS "/db");
	umount(CGROUPS);
	rmdir(CGROUPS);
}

/* Before Linux 5.17, there is no bpf_loop(): policies that need it are refused, others not. */
static void test_without_loop(const char *name, const char *family, int n, bool good)
{
	struct rules rules;
	struct loaded l;
	struct build b;
	bool published;

	if (!rules_generate(&rules, family, n, 1) ||
	    !policy_build(classifier_find(name), &rules, MAX_BYTES, &b))
		abort();
	without_loop = true;
	if (!load(&l, classifier_find(name), b.cells)) {
		ok(false, "without bpf_loop: %s is loaded: %s", name, strerror(errno));
	} else {
		published = publish(&l, b.mem, b.cells);
		ok(published == good, "without bpf_loop: %s, %s %d: %s", name, family, n,
		   good ? "taken" : "refused");
		unload(&l);
	}
	without_loop = false;
	free(b.mem);
	rules_free(&rules);
}

static void test_loops(void)
{
	test_without_loop("linear", "policy", 512, true);
	test_without_loop("linear", "policy", 513, false);
	test_without_loop("hashes", "acl", 100, true);
	test_without_loop("hashes", "worst", 1100, false);
}

/* Programs of these types can have a classifier, too. */
static void test_types(void)
{
	static const char * const types[] = {
		"type_xdp", "type_sk_skb", "type_sk_msg", "type_connect4",
	};
	struct loaded l;
	unsigned int i;
	bool good;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		good = load_program(&l, types[i], MAX_BYTES / 64);
		if (ok(good, "types: %s is loaded", types[i]))
			unload(&l);
	}
}

int test(int keys, const char *words)
{
	static const int sizes[] = { 100, 1000, 10000 };
	static const struct { const char *name; void (*test)(void); } tests[] = {
		{ "checker", test_errors }, { "example", test_example },
		{ "finds", test_can_fail }, { "refused", test_refusals },
		{ "remember", test_remember }, { "without bpf_loop", test_loops },
		{ "enforce", test_enforce }, { "types", test_types }, { "deny", test_denials }, { "replaced", test_replace },
	};
	unsigned int i, j;

	wanted = words;
	puts("TAP version 14");
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (is_wanted(tests[i].name))
			tests[i].test();
	for (i = 0; families[i]; i++)
		for (j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++)
			if (strcmp(families[i], "worst") || sizes[j] <= 1000)
				test_family(families[i], sizes[j], keys);
	printf("1..%d\n%d passed, %d failed, %d skipped\n", passed + failed + skipped, passed,
	       failed, skipped);
	return failed || !passed;
}
