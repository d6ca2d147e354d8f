// SPDX-License-Identifier: GPL-2.0
/* policy: rules with wildcards, looked up by BPF programs
 *
 *	policy check FILE		check rules, and list the classifiers that accept them
 *	policy generate FAMILY N SEED	print rules for tests
 *	policy enforce FILE IDENTITY=CGROUP...	apply rules to processes of cgroups
 *	policy test [KEYS [WORDS]]	run tests, or those with WORDS in their names; KTAP
 *	policy bench FAMILY:N...		measure the cost of look-ups; CSV
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "commands.h"

static int usage(void)
{
	fprintf(stderr, "usage: policy check FILE | generate FAMILY N SEED | enforce FILE IDENTITY=CGROUP... | test [KEYS [WORDS]] | bench FAMILY:N...\n"
			"families: policy, plain, acl, fw, ipc, worst\n");
	return 2;
}

bool rules_generate(struct rules *rules, const char *family, int n, uint64_t seed)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool ok;

	if (!f)
		abort();
	ok = generate(f, family, n, seed);
	fclose(f);
	if (ok) {
		f = fmemopen(text, len, "r");
		ok = f && rules_read(rules, f, family, stderr);
		if (f)
			fclose(f);
	}
	free(text);
	return ok;
}

static int check(const char *file)
{
	FILE *text = fopen(file, "r");
	const struct classifier *c;
	struct rules rules;
	struct build b;
	bool ok;

	if (!text) {
		fprintf(stderr, "policy: %s: %s\n", file, strerror(errno));
		return 1;
	}
	ok = rules_read(&rules, text, file, stderr);
	fclose(text);
	if (!ok)
		return 1;
	printf("%d rules, %d identities\n", rules.n, rules.identities);
	for (c = classifiers; c->name; c++) {
		if (policy_build(c, &rules, MAX_BYTES, &b))
			printf("%-12s%llu bytes\n", c->name, (unsigned long long)b.cells * 8);
		else
			printf("%-12sdoes not take them: %s\n", c->name, b.why);
		free(b.mem);
	}
	rules_free(&rules);
	return 0;
}

/* "policy:1000" */
static int bench_all(char **sets)
{
	int status = 0;
	char *colon;

	bench_kernel_hash();
	for (; *sets && !status; sets++) {
		colon = strchr(*sets, ':');
		if (!colon)
			return usage();
		*colon = 0;
		status = bench(*sets, atoi(colon + 1), 1);
	}
	return status;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (!strcmp(command, "check") && argc == 3)
		return check(argv[2]);
	if (!strcmp(command, "generate") && argc == 5)
		return generate(stdout, argv[2], atoi(argv[3]), strtoull(argv[4], NULL, 0)) ?
		       0 : usage();
	if (!strcmp(command, "enforce") && argc > 3)
		return enforce(argv[2], argv + 3);
	if (!strcmp(command, "test") && argc <= 4)
		return test(argc > 2 ? atoi(argv[2]) : 16384, argc > 3 ? argv[3] : "");
	if (!strcmp(command, "bench") && argc > 2)
		return bench_all(argv + 2);
	return usage();
}
