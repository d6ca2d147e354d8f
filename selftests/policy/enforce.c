// SPDX-License-Identifier: GPL-2.0
/* policy enforce: apply a file of rules to what the processes of cgroups connect and send
 * to, by the identity of the cgroup, address, port and protocol. SIGHUP reads the file again;
 * if it has errors, the previous rules stay.
 *
 * Rules with a name match no connection, as the name is not known on connect(). Child cgroups
 * do not inherit an identity. The policy is removed when the process ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "commands.h"
#include "enforce.h"
#include "policy_progs.skel.h"

bool enforcer_load(struct loaded *l)
{
	return load_program(l, "enforce_", ENFORCE_CELLS);
}

static bool attach(struct loaded *l, int cgroup)
{
	const struct bpf_program *progs[] = {
		l->skel->progs.enforce_connect4, l->skel->progs.enforce_connect6,
		l->skel->progs.enforce_sendmsg4, l->skel->progs.enforce_sendmsg6,
	};
	unsigned int i;

	for (i = 0; i < sizeof(progs) / sizeof(progs[0]); i++)
		if (!bpf_program__attach_cgroup(progs[i], cgroup))
			return false;
	return true;
}

bool enforcer_add(struct loaded *l, const char *cgroup, uint32_t identity)
{
	int fd = open(cgroup, O_RDONLY | O_DIRECTORY), map = bpf_map__fd(l->skel->maps.identities);
	struct stat st;
	uint64_t id;
	bool ok;

	if (fd < 0)
		return false;
	ok = !fstat(fd, &st);
	id = st.st_ino;		/* the id of a cgroup is its inode number */
	ok = ok && !bpf_map_update_elem(map, &id, &identity, BPF_ANY) && attach(l, fd);
	close(fd);
	return ok;
}

bool enforcer_set(struct loaded *l, const struct rules *rules)
{
	struct build b;
	bool ok = policy_build(classifier_find("tuplemerge"), rules, ENFORCE_CELLS * 8, &b);

	if (!ok)
		fprintf(stderr, "policy: not in force: %s\n", b.why);
	else if (!publish(l, b.mem, b.cells))
		ok = !fprintf(stderr, "policy: not in force: %s\n", strerror(errno));
	free(b.mem);
	return ok;
}

static bool read_file(struct rules *rules, const char *file)
{
	FILE *text = fopen(file, "r");
	bool ok;

	memset(rules, 0, sizeof(*rules));
	if (!text) {
		fprintf(stderr, "policy: %s: %s\n", file, strerror(errno));
		return false;
	}
	ok = rules_read(rules, text, file, stderr);
	fclose(text);
	return ok;
}

/* "web-client=/sys/fs/cgroup/web" */
static bool add_cgroup(struct loaded *l, const struct rules *rules, const char *pair)
{
	const char *path = strchr(pair, '=');
	int i;

	for (i = 0; path && i < rules->identities; i++)
		if (strlen(rules->identity[i].name) == (size_t)(path - pair) &&
		    !strncmp(rules->identity[i].name, pair, path - pair))
			break;
	if (!path || i == rules->identities) {
		fprintf(stderr, "policy: '%s' is not IDENTITY=CGROUP with an identity of the rules\n",
			pair);
		return false;
	}
	if (enforcer_add(l, path + 1, rules->identity[i].number))
		return true;
	fprintf(stderr, "policy: %s: %s\n", path + 1, strerror(errno));
	return false;
}

/* Run until a signal other than SIGHUP */
static void serve(struct loaded *l, const char *file)
{
	struct rules rules;
	sigset_t signals;
	int got;

	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	puts("in force");
	fflush(stdout);
	while (!sigwait(&signals, &got) && got == SIGHUP) {
		if (read_file(&rules, file) && enforcer_set(l, &rules))
			puts("replaced");
		fflush(stdout);
		rules_free(&rules);
	}
	printf("denied %llu, allowed %llu, allowed and logged %llu\n",
	       l->skel->bss->verdicts[POLICY_DENY], l->skel->bss->verdicts[POLICY_ALLOW],
	       l->skel->bss->verdicts[POLICY_LOG]);
}

int enforce(const char *file, char **cgroups)
{
	struct rules rules;
	struct loaded l;
	bool ok;

	if (!read_file(&rules, file))
		return 1;
	if (!enforcer_load(&l)) {
		fprintf(stderr, "policy: the programs are not loaded: %s\n", strerror(errno));
		return 1;
	}
	ok = enforcer_set(&l, &rules);
	for (; ok && *cgroups; cgroups++)
		ok = add_cgroup(&l, &rules, *cgroups);
	rules_free(&rules);
	if (ok)
		serve(&l, file);
	unload(&l);
	return !ok;
}
